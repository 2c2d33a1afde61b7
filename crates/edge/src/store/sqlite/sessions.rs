//! People and their sessions.

use std::net::IpAddr;

use sqlx::{Row as _, Sqlite, SqlitePool, Transaction, sqlite::SqliteRow};
use tunnel_proto::{EmailAddress, PersonId, UnixTime};

use super::values::{bytes_of, corrupt, json, json_of, text_of, time, time_of};
use crate::store::{FUTURE, ISSUER_INVITED, Met, PersonRecord, SecretHash, SessionKind, SessionRecord, StoreError};

pub(super) async fn put(pool: &SqlitePool, session: &SessionRecord) -> Result<bool, StoreError> {
    // In one statement: another process may end the login in the same moment.
    let put = sqlx::query(
        "INSERT INTO sessions \
         (id, kind, device, source, host, parent, identity, issuer, attributes, created, seen, expires, grants) \
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13 \
         WHERE ?6 IS NULL OR EXISTS (SELECT 1 FROM sessions WHERE id = ?6) \
         ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, device = excluded.device, source = excluded.source, \
         host = excluded.host, parent = excluded.parent, identity = excluded.identity, \
         issuer = excluded.issuer, attributes = excluded.attributes, created = excluded.created, seen = excluded.seen, \
         expires = excluded.expires, grants = excluded.grants",
    )
    .bind(session.id.as_slice())
    .bind(session.kind.as_str())
    .bind(session.device.as_deref())
    .bind(session.source.map(|source| source.to_string()))
    .bind(session.host.as_str())
    .bind(session.parent.as_ref().map(SecretHash::as_slice))
    .bind(json("session", &session.identity)?)
    .bind(session.issuer.as_str())
    .bind(json("session", &session.attributes)?)
    .bind(time(session.created))
    .bind(time(session.seen))
    .bind(time(session.expires))
    .bind(json("session", &session.grants)?)
    .execute(pool)
    .await?;
    Ok(put.rows_affected() > 0)
}

pub(super) async fn move_to(pool: &SqlitePool, id: &SecretHash, login: &SecretHash) -> Result<bool, StoreError> {
    let moved = sqlx::query(
        "UPDATE sessions SET parent = ?2 WHERE id = ?1 AND EXISTS (SELECT 1 FROM sessions AS login WHERE login.id = ?2)",
    )
    .bind(id.as_slice())
    .bind(login.as_slice())
    .execute(pool)
    .await?;
    Ok(moved.rows_affected() > 0)
}

pub(super) async fn live(pool: &SqlitePool, now: UnixTime) -> Result<Vec<SessionRecord>, StoreError> {
    let rows = sqlx::query(
        "SELECT id, kind, device, source, host, parent, identity, issuer, attributes, created, seen, expires, grants \
         FROM sessions WHERE expires > ? ORDER BY created, id",
    )
    .bind(time(now))
    .fetch_all(pool)
    .await?;
    rows.iter().map(session).collect()
}

fn session(row: &SqliteRow) -> Result<SessionRecord, StoreError> {
    let parent: Option<&[u8]> = row.try_get("parent")?;
    Ok(SessionRecord {
        id: bytes_of(row, "id")?,
        kind: kind(row)?,
        device: row.try_get("device")?,
        source: source(row)?,
        host: text_of(row, "host")?,
        parent: parent.map(|_| bytes_of(row, "parent")).transpose()?,
        identity: json_of(row, "identity")?,
        issuer: row.try_get("issuer")?,
        attributes: json_of(row, "attributes")?,
        created: time_of(row, "created")?,
        seen: time_of(row, "seen")?,
        expires: time_of(row, "expires")?,
        grants: json_of(row, "grants")?,
    })
}

fn source(row: &SqliteRow) -> Result<Option<IpAddr>, StoreError> {
    let text: Option<&str> = row.try_get("source")?;
    text.map(|text| text.parse().map_err(|_| corrupt("source", "not an address"))).transpose()
}

pub(super) async fn touch(tx: &mut Transaction<'_, Sqlite>, uses: &[(SecretHash, UnixTime)]) -> Result<(), StoreError> {
    for (id, seen) in uses {
        sqlx::query("UPDATE sessions SET seen = max(seen, ?) WHERE id = ?")
            .bind(time(*seen))
            .bind(id.as_slice())
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

fn kind(row: &SqliteRow) -> Result<SessionKind, StoreError> {
    match row.try_get("kind")? {
        "browser" => Ok(SessionKind::Browser),
        "client" => Ok(SessionKind::Client),
        _ => Err(corrupt("session", "of an unknown kind")),
    }
}

pub(super) async fn end(tx: &mut Transaction<'_, Sqlite>, ids: &[SecretHash]) -> Result<(), StoreError> {
    for id in ids {
        sqlx::query("DELETE FROM sessions WHERE id = ? OR parent = ?")
            .bind(id.as_slice())
            .bind(id.as_slice())
            .execute(&mut **tx)
            .await?;
        sqlx::query("DELETE FROM revalidations WHERE login = ?").bind(id.as_slice()).execute(&mut **tx).await?;
    }
    Ok(())
}

pub(super) async fn meet(pool: &SqlitePool, met: &Met<'_>) -> Result<PersonId, StoreError> {
    let id: Vec<u8> = sqlx::query_scalar(
        "INSERT INTO people (issuer, subject, id, email, method, attributes, created, seen, source) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) \
         ON CONFLICT (issuer, subject) DO UPDATE SET email = excluded.email, method = excluded.method, \
         attributes = excluded.attributes, seen = excluded.seen, source = excluded.source RETURNING id",
    )
    .bind(met.issuer)
    .bind(met.subject)
    .bind(met.candidate.as_bytes().as_slice())
    .bind(met.email.as_str())
    .bind(met.method.as_str())
    .bind(json("person", met.attributes)?)
    .bind(time(met.now))
    .bind(time(met.now))
    .bind(met.source.map(|source| source.to_string()))
    .fetch_one(pool)
    .await?;
    let id = id.try_into().map_err(|_| corrupt("person", "not 16 bytes"))?;
    Ok(PersonId::from_bytes(id))
}

pub(super) async fn unvouch(pool: &SqlitePool, person: PersonId) -> Result<(), StoreError> {
    sqlx::query("UPDATE people SET seen = 0 WHERE id = ? AND issuer <> ?")
        .bind(person.as_bytes().as_slice())
        .bind(ISSUER_INVITED)
        .execute(pool)
        .await?;
    Ok(())
}

pub(super) async fn person(pool: &SqlitePool, id: PersonId) -> Result<Option<PersonRecord>, StoreError> {
    let row = sqlx::query(
        "SELECT id, issuer, subject, email, method, attributes, created, seen, source FROM people WHERE id = ?",
    )
    .bind(id.as_bytes().as_slice())
    .fetch_optional(pool)
    .await?;
    row.as_ref().map(person_of).transpose()
}

pub(super) async fn people(pool: &SqlitePool, limit: u32) -> Result<Vec<PersonRecord>, StoreError> {
    let rows = sqlx::query(
        "SELECT id, issuer, subject, email, method, attributes, created, seen, source FROM people \
         ORDER BY seen DESC, id LIMIT ?",
    )
    .bind(limit)
    .fetch_all(pool)
    .await?;
    rows.iter().map(person_of).collect()
}

pub(super) async fn people_of(
    pool: &SqlitePool,
    issuer: Option<&str>,
    email: Option<&EmailAddress>,
) -> Result<Vec<PersonRecord>, StoreError> {
    let rows = sqlx::query(
        "SELECT id, issuer, subject, email, method, attributes, created, seen, source FROM people \
         WHERE (?1 IS NULL OR issuer = ?1) AND (?2 IS NULL OR email = ?2) ORDER BY email, created, id",
    )
    .bind(issuer)
    .bind(email.map(EmailAddress::as_str))
    .fetch_all(pool)
    .await?;
    rows.iter().map(person_of).collect()
}

fn person_of(row: &SqliteRow) -> Result<PersonRecord, StoreError> {
    Ok(PersonRecord {
        id: PersonId::from_bytes(bytes_of(row, "id")?),
        issuer: row.try_get("issuer")?,
        subject: row.try_get("subject")?,
        email: text_of(row, "email")?,
        method: text_of(row, "method")?,
        attributes: json_of(row, "attributes")?,
        created: time_of(row, "created")?,
        seen: time_of(row, "seen")?,
        source: source(row)?,
    })
}

pub(super) async fn sweep(tx: &mut Transaction<'_, Sqlite>, now: UnixTime) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM sessions WHERE expires <= ? OR created > ?")
        .bind(time(now))
        .bind(time(now.plus(FUTURE)))
        .execute(&mut **tx)
        .await?;
    sqlx::query("UPDATE sessions SET seen = ? WHERE seen > ?")
        .bind(time(now))
        .bind(time(now.plus(FUTURE)))
        .execute(&mut **tx)
        .await?;
    Ok(())
}
