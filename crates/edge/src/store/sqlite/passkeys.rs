//! Passkeys, and the invitations that make people who are known by nothing else.

use sqlx::{Row as _, Sqlite, SqlitePool, Transaction, sqlite::SqliteRow};
use tunnel_proto::{EmailAddress, PersonId, UnixTime};

use super::values::{bytes_of, text_of, time, time_of};
use crate::store::{
    FUTURE, HeldPasskey, ISSUER_INVITED, InvitationRecord, Joined, Joining, PASSKEYS_MAX, PasskeyKept, PasskeyRecord,
    SecretHash, StoreError,
};

pub(super) async fn put(tx: &mut Transaction<'_, Sqlite>, passkey: &PasskeyRecord) -> Result<PasskeyKept, StoreError> {
    let person = passkey.person.as_bytes().as_slice();
    let known: i64 =
        sqlx::query_scalar("SELECT count(*) FROM people WHERE id = ?").bind(person).fetch_one(&mut **tx).await?;
    if known == 0 {
        return Ok(PasskeyKept::NoPerson);
    }
    let held: i64 =
        sqlx::query_scalar("SELECT count(*) FROM passkeys WHERE person = ?").bind(person).fetch_one(&mut **tx).await?;
    if held >= i64::from(PASSKEYS_MAX) {
        return Ok(PasskeyKept::TooMany);
    }
    let put = sqlx::query(
        "INSERT INTO passkeys (id, person, label, credential, created, used) VALUES (?, ?, ?, ?, ?, ?) \
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(passkey.id.as_slice())
    .bind(person)
    .bind(passkey.label.as_str())
    .bind(passkey.credential.as_str())
    .bind(time(passkey.created))
    .bind(passkey.used.map(time))
    .execute(&mut **tx)
    .await?;
    Ok(if put.rows_affected() > 0 { PasskeyKept::Yes } else { PasskeyKept::Taken })
}

pub(super) async fn of_person(pool: &SqlitePool, person: PersonId) -> Result<Vec<PasskeyRecord>, StoreError> {
    let rows = sqlx::query(
        "SELECT id, person, label, credential, created, used FROM passkeys WHERE person = ? ORDER BY created, id",
    )
    .bind(person.as_bytes().as_slice())
    .fetch_all(pool)
    .await?;
    rows.iter().map(passkey).collect()
}

pub(super) async fn held(
    pool: &SqlitePool,
    email: Option<&EmailAddress>,
    limit: u32,
) -> Result<Vec<HeldPasskey>, StoreError> {
    let rows = sqlx::query(
        "SELECT passkeys.id AS id, person, label, credential, passkeys.created AS created, used, email, method, issuer \
         FROM passkeys JOIN people ON people.id = passkeys.person WHERE ?1 IS NULL OR email = ?1 \
         ORDER BY email, passkeys.created, passkeys.id LIMIT ?2",
    )
    .bind(email.map(EmailAddress::as_str))
    .bind(limit)
    .fetch_all(pool)
    .await?;
    rows.iter().map(held_passkey).collect()
}

fn held_passkey(row: &SqliteRow) -> Result<HeldPasskey, StoreError> {
    Ok(HeldPasskey {
        passkey: passkey(row)?,
        email: text_of(row, "email")?,
        method: text_of(row, "method")?,
        issuer: row.try_get("issuer")?,
    })
}

pub(super) async fn find(pool: &SqlitePool, id: &SecretHash) -> Result<Option<PasskeyRecord>, StoreError> {
    let row = sqlx::query("SELECT id, person, label, credential, created, used FROM passkeys WHERE id = ?")
        .bind(id.as_slice())
        .fetch_optional(pool)
        .await?;
    row.as_ref().map(passkey).transpose()
}

fn passkey(row: &SqliteRow) -> Result<PasskeyRecord, StoreError> {
    let used: Option<i64> = row.try_get("used")?;
    Ok(PasskeyRecord {
        id: bytes_of(row, "id")?,
        person: PersonId::from_bytes(bytes_of(row, "person")?),
        label: row.try_get("label")?,
        credential: row.try_get("credential")?,
        created: time_of(row, "created")?,
        used: used.map(|_| time_of(row, "used")).transpose()?,
    })
}

/// What it counted before is compared and replaced in one statement, so that no use is judged by what another changed.
pub(super) async fn used(
    pool: &SqlitePool,
    id: &SecretHash,
    before: &str,
    after: &str,
    now: UnixTime,
) -> Result<bool, StoreError> {
    let written = sqlx::query("UPDATE passkeys SET credential = ?, used = ? WHERE id = ? AND credential = ?")
        .bind(after)
        .bind(time(now))
        .bind(id.as_slice())
        .bind(before)
        .execute(pool)
        .await?;
    Ok(written.rows_affected() > 0)
}

pub(super) async fn delete(pool: &SqlitePool, person: PersonId, id: &SecretHash) -> Result<bool, StoreError> {
    let deleted = sqlx::query("DELETE FROM passkeys WHERE id = ? AND person = ?")
        .bind(id.as_slice())
        .bind(person.as_bytes().as_slice())
        .execute(pool)
        .await?;
    Ok(deleted.rows_affected() > 0)
}

/// Nothing that the address or the person could be joined by before counts any more. One address is of one invited person.
pub(super) async fn invite(
    tx: &mut Transaction<'_, Sqlite>,
    invitation: &InvitationRecord,
) -> Result<bool, StoreError> {
    let person = invitation.person.as_bytes().as_slice();
    let others: i64 = sqlx::query_scalar("SELECT count(*) FROM people WHERE issuer = ? AND email = ? AND id <> ?")
        .bind(ISSUER_INVITED)
        .bind(invitation.email.as_str())
        .bind(person)
        .fetch_one(&mut **tx)
        .await?;
    if others > 0 {
        return Ok(false);
    }
    sqlx::query("DELETE FROM passkeys WHERE person = ?").bind(person).execute(&mut **tx).await?;
    sqlx::query("DELETE FROM invitations WHERE email = ? OR person = ?")
        .bind(invitation.email.as_str())
        .bind(person)
        .execute(&mut **tx)
        .await?;
    sqlx::query(
        "INSERT INTO invitations (key, person, subject, email, name, created, expires) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(invitation.key.as_slice())
    .bind(person)
    .bind(invitation.subject.as_str())
    .bind(invitation.email.as_str())
    .bind(invitation.name.as_deref())
    .bind(time(invitation.created))
    .bind(time(invitation.expires))
    .execute(&mut **tx)
    .await?;
    Ok(true)
}

pub(super) async fn invitation(
    pool: &SqlitePool,
    key: &SecretHash,
    now: UnixTime,
) -> Result<Option<InvitationRecord>, StoreError> {
    let row = sqlx::query(
        "SELECT key, person, subject, email, name, created, expires FROM invitations WHERE key = ? AND expires > ?",
    )
    .bind(key.as_slice())
    .bind(time(now))
    .fetch_optional(pool)
    .await?;
    row.as_ref().map(invitation_of).transpose()
}

pub(super) async fn invitations(pool: &SqlitePool, now: UnixTime) -> Result<Vec<InvitationRecord>, StoreError> {
    let rows = sqlx::query(
        "SELECT key, person, subject, email, name, created, expires FROM invitations WHERE expires > ? \
         ORDER BY created, key",
    )
    .bind(time(now))
    .fetch_all(pool)
    .await?;
    rows.iter().map(invitation_of).collect()
}

fn invitation_of(row: &SqliteRow) -> Result<InvitationRecord, StoreError> {
    Ok(InvitationRecord {
        key: bytes_of(row, "key")?,
        person: PersonId::from_bytes(bytes_of(row, "person")?),
        subject: row.try_get("subject")?,
        email: text_of(row, "email")?,
        name: row.try_get("name")?,
        created: time_of(row, "created")?,
        expires: time_of(row, "expires")?,
    })
}

/// Judges and consumes in one statement. The caller commits [`Joined::Yes`] alone.
pub(super) async fn join(tx: &mut Transaction<'_, Sqlite>, joining: &Joining<'_>) -> Result<Joined, StoreError> {
    let person = joining.passkey.person;
    let taken = sqlx::query(
        "DELETE FROM invitations WHERE key = ? AND person = ? AND expires > ? \
         RETURNING key, person, subject, email, name, created, expires",
    )
    .bind(joining.key.as_slice())
    .bind(person.as_bytes().as_slice())
    .bind(time(joining.now))
    .fetch_optional(&mut **tx)
    .await?;
    let Some(invitation) = taken.as_ref().map(invitation_of).transpose()? else { return Ok(Joined::Gone) };
    know(tx, &invitation, joining).await?;
    match put(tx, joining.passkey).await? {
        PasskeyKept::Yes => Ok(Joined::Yes),
        PasskeyKept::Taken => Ok(Joined::Taken),
        PasskeyKept::TooMany | PasskeyKept::NoPerson => Ok(Joined::Gone),
    }
}

/// Who had a link before is still the same person.
async fn know(
    tx: &mut Transaction<'_, Sqlite>,
    invitation: &InvitationRecord,
    joining: &Joining<'_>,
) -> Result<(), StoreError> {
    let (person, now) = (invitation.person.as_bytes().as_slice(), time(joining.now));
    let source = joining.source.map(|source| source.to_string());
    let known = sqlx::query(
        "UPDATE people SET email = ?, method = ?, seen = ?, source = ? WHERE id = ? AND issuer = ? AND subject = ?",
    )
    .bind(invitation.email.as_str())
    .bind(joining.method.as_str())
    .bind(now)
    .bind(source.as_deref())
    .bind(person)
    .bind(ISSUER_INVITED)
    .bind(invitation.subject.as_str())
    .execute(&mut **tx)
    .await?;
    if known.rows_affected() > 0 {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO people (issuer, subject, id, email, method, attributes, created, seen, source) \
         VALUES (?, ?, ?, ?, ?, '{}', ?, ?, ?)",
    )
    .bind(ISSUER_INVITED)
    .bind(invitation.subject.as_str())
    .bind(person)
    .bind(invitation.email.as_str())
    .bind(joining.method.as_str())
    .bind(now)
    .bind(now)
    .bind(source.as_deref())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

pub(super) async fn forget(tx: &mut Transaction<'_, Sqlite>, person: PersonId) -> Result<(), StoreError> {
    let person = person.as_bytes().as_slice();
    for statement in [
        "DELETE FROM passkeys WHERE person = ?",
        "DELETE FROM invitations WHERE person = ?",
        "DELETE FROM people WHERE id = ?",
    ] {
        sqlx::query(statement).bind(person).execute(&mut **tx).await?;
    }
    Ok(())
}

pub(super) async fn sweep(tx: &mut Transaction<'_, Sqlite>, now: UnixTime) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM invitations WHERE expires <= ? OR created > ?")
        .bind(time(now))
        .bind(time(now.plus(FUTURE)))
        .execute(&mut **tx)
        .await?;
    Ok(())
}
