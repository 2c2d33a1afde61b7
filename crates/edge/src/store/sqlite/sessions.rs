//! People and their sessions.

use sqlx::{Row as _, Sqlite, SqlitePool, Transaction, sqlite::SqliteRow};
use tunnel_proto::{EmailAddress, PersonId, UnixTime};

use super::values::{bytes_of, corrupt, json, json_of, text_of, time, time_of};
use crate::store::{SecretHash, SessionKind, SessionRecord, StoreError};

pub(super) async fn put(pool: &SqlitePool, session: &SessionRecord) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO sessions (id, kind, device, host, parent, identity, created, expires, grants) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) \
         ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, device = excluded.device, host = excluded.host, \
         parent = excluded.parent, identity = excluded.identity, created = excluded.created, \
         expires = excluded.expires, grants = excluded.grants",
    )
    .bind(session.id.as_slice())
    .bind(session.kind.as_str())
    .bind(session.device.as_deref())
    .bind(session.host.as_str())
    .bind(session.parent.as_ref().map(SecretHash::as_slice))
    .bind(json("session", &session.identity)?)
    .bind(time(session.created))
    .bind(time(session.expires))
    .bind(json("session", &session.grants)?)
    .execute(pool)
    .await?;
    Ok(())
}

pub(super) async fn live(pool: &SqlitePool, now: UnixTime) -> Result<Vec<SessionRecord>, StoreError> {
    let rows = sqlx::query(
        "SELECT id, kind, device, host, parent, identity, created, expires, grants FROM sessions \
         WHERE expires > ? ORDER BY created, id",
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
        host: text_of(row, "host")?,
        parent: parent.map(|_| bytes_of(row, "parent")).transpose()?,
        identity: json_of(row, "identity")?,
        created: time_of(row, "created")?,
        expires: time_of(row, "expires")?,
        grants: json_of(row, "grants")?,
    })
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
    }
    Ok(())
}

pub(super) async fn person(
    pool: &SqlitePool,
    email: &EmailAddress,
    candidate: PersonId,
    now: UnixTime,
) -> Result<PersonId, StoreError> {
    // Changing the row to itself is what makes `RETURNING` answer for the one that was there.
    let id: Vec<u8> = sqlx::query_scalar(
        "INSERT INTO people (email, id, created) VALUES (?, ?, ?) \
         ON CONFLICT (email) DO UPDATE SET email = excluded.email RETURNING id",
    )
    .bind(email.as_str())
    .bind(candidate.as_bytes().as_slice())
    .bind(time(now))
    .fetch_one(pool)
    .await?;
    let id = id.try_into().map_err(|_| corrupt("person", "not 16 bytes"))?;
    Ok(PersonId::from_bytes(id))
}

pub(super) async fn sweep(tx: &mut Transaction<'_, Sqlite>, now: UnixTime) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM sessions WHERE expires <= ?").bind(time(now)).execute(&mut **tx).await?;
    Ok(())
}
