//! One-time things, and how often things happen.

use std::time::Duration;

use sqlx::{Sqlite, SqliteConnection, SqlitePool, Transaction};
use tunnel_proto::UnixTime;

use super::values::time;
use crate::store::{FUTURE, OnceKind, OneTime, RateLimit, SecretHash, StoreError};

/// No one-time thing is kept for so long.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

pub(super) async fn put(tx: &mut Transaction<'_, Sqlite>, thing: &OneTime) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO once (kind, key, bind, payload, expires) VALUES (?, ?, ?, ?, ?) ON CONFLICT (kind, key) \
         DO UPDATE SET bind = excluded.bind, payload = excluded.payload, expires = excluded.expires",
    )
    .bind(thing.kind.as_str())
    .bind(thing.key.as_slice())
    .bind(thing.bind.as_slice())
    .bind(thing.payload.as_slice())
    .bind(time(thing.expires))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Judges and consumes in one statement: nothing can come between reading and using up.
pub(super) async fn take(
    tx: &mut Transaction<'_, Sqlite>,
    kind: OnceKind,
    key: &SecretHash,
    bind: &SecretHash,
    now: UnixTime,
) -> Result<Option<Vec<u8>>, StoreError> {
    let taken = sqlx::query_scalar(
        "DELETE FROM once WHERE kind = ? AND key = ? AND bind = ? AND expires > ? RETURNING payload",
    )
    .bind(kind.as_str())
    .bind(key.as_slice())
    .bind(bind.as_slice())
    .bind(time(now))
    .fetch_optional(&mut **tx)
    .await?;
    Ok(taken)
}

pub(super) async fn peek(
    pool: &SqlitePool,
    kind: OnceKind,
    key: &SecretHash,
    now: UnixTime,
) -> Result<Option<Vec<u8>>, StoreError> {
    let payload = sqlx::query_scalar("SELECT payload FROM once WHERE kind = ? AND key = ? AND expires > ?")
        .bind(kind.as_str())
        .bind(key.as_slice())
        .bind(time(now))
        .fetch_optional(pool)
        .await?;
    Ok(payload)
}

/// Whether one of the limits is reached.
pub(super) async fn is_reached(
    connection: &mut SqliteConnection,
    key: &SecretHash,
    now: UnixTime,
    limits: &[RateLimit],
) -> Result<bool, StoreError> {
    for limit in limits {
        let window = i64::try_from(limit.window.as_secs()).unwrap_or(i64::MAX);
        // Events of the future count too: a clock that was set back does not lift a limit.
        let happened: i64 = sqlx::query_scalar("SELECT count(*) FROM events WHERE key = ? AND at > ?")
            .bind(key.as_slice())
            .bind(time(now).saturating_sub(window))
            .fetch_one(&mut *connection)
            .await?;
        if happened >= i64::from(limit.events) {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) async fn count(
    tx: &mut Transaction<'_, Sqlite>,
    key: &SecretHash,
    now: UnixTime,
    limits: &[RateLimit],
) -> Result<bool, StoreError> {
    if is_reached(tx, key, now, limits).await? {
        return Ok(false);
    }
    let Some(longest) = limits.iter().map(|limit| limit.window).max() else {
        return Ok(true);
    };
    sqlx::query("INSERT INTO events (key, at, expires) VALUES (?, ?, ?)")
        .bind(key.as_slice())
        .bind(time(now))
        .bind(time(now.plus(longest)))
        .execute(&mut **tx)
        .await?;
    Ok(true)
}

pub(super) async fn sweep(tx: &mut Transaction<'_, Sqlite>, now: UnixTime) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM once WHERE expires <= ? OR expires > ?")
        .bind(time(now))
        .bind(time(now.plus(LONGEST).plus(FUTURE)))
        .execute(&mut **tx)
        .await?;
    // Those of the future would count until then.
    sqlx::query("DELETE FROM events WHERE expires <= ? OR at > ?")
        .bind(time(now))
        .bind(time(now.plus(FUTURE)))
        .execute(&mut **tx)
        .await?;
    Ok(())
}
