//! By what logins are confirmed later.

use sqlx::{Row as _, Sqlite, SqlitePool, Transaction, sqlite::SqliteRow};
use tunnel_proto::UnixTime;

use super::values::{bytes_of, json, text_of, time, time_of};
use crate::store::{FUTURE, Revalidation, SecretHash, StoreError, Told};

/// False, and nothing kept, when there is no such login any more.
pub(super) async fn put(pool: &SqlitePool, kept: &Revalidation) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "INSERT INTO revalidations (login, method, sealed, confirmed) \
         SELECT ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM sessions WHERE id = ?) \
         ON CONFLICT (login) DO UPDATE SET method = excluded.method, sealed = excluded.sealed, \
         confirmed = excluded.confirmed",
    )
    .bind(kept.login.as_slice())
    .bind(kept.method.as_str())
    .bind(kept.sealed.as_slice())
    .bind(time(kept.confirmed))
    .bind(kept.login.as_slice())
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn all(pool: &SqlitePool) -> Result<Vec<Revalidation>, StoreError> {
    let rows = sqlx::query("SELECT login, method, sealed, confirmed FROM revalidations").fetch_all(pool).await?;
    rows.iter().map(revalidation).collect()
}

pub(super) async fn one(pool: &SqlitePool, login: &SecretHash) -> Result<Option<Revalidation>, StoreError> {
    let row = sqlx::query("SELECT login, method, sealed, confirmed FROM revalidations WHERE login = ?")
        .bind(login.as_slice())
        .fetch_optional(pool)
        .await?;
    row.as_ref().map(revalidation).transpose()
}

fn revalidation(row: &SqliteRow) -> Result<Revalidation, StoreError> {
    Ok(Revalidation {
        login: bytes_of(row, "login")?,
        method: text_of(row, "method")?,
        sealed: row.try_get("sealed")?,
        confirmed: time_of(row, "confirmed")?,
    })
}

/// False when it is not there any more.
pub(super) async fn rotate(pool: &SqlitePool, login: &SecretHash, sealed: &[u8]) -> Result<bool, StoreError> {
    let done = sqlx::query("UPDATE revalidations SET sealed = ? WHERE login = ?")
        .bind(sealed)
        .bind(login.as_slice())
        .execute(pool)
        .await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn confirm(
    tx: &mut Transaction<'_, Sqlite>,
    login: &SecretHash,
    now: UnixTime,
    told: Option<Told<'_>>,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE revalidations SET confirmed = ? WHERE login = ?")
        .bind(time(now))
        .bind(login.as_slice())
        .execute(&mut **tx)
        .await?;
    let Some(told) = told else { return Ok(()) };
    for (session, attributes) in told.sessions {
        sqlx::query("UPDATE sessions SET attributes = ? WHERE id = ?")
            .bind(json("session", attributes)?)
            .bind(session.as_slice())
            .execute(&mut **tx)
            .await?;
    }
    sqlx::query("UPDATE people SET attributes = ? WHERE id = ? AND method = ?")
        .bind(json("person", told.attributes)?)
        .bind(told.person.as_bytes().as_slice())
        .bind(told.method.as_str())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn forget(pool: &SqlitePool, login: &SecretHash) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM revalidations WHERE login = ?").bind(login.as_slice()).execute(pool).await?;
    Ok(())
}

/// What is of no use: nothing is left that came from the login. What a clock that was wrong noted is taken back.
pub(super) async fn sweep(tx: &mut Transaction<'_, Sqlite>, now: UnixTime) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM revalidations WHERE NOT EXISTS \
         (SELECT 1 FROM sessions WHERE sessions.id = revalidations.login OR sessions.parent = revalidations.login)",
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query("UPDATE revalidations SET confirmed = ? WHERE confirmed > ?")
        .bind(time(now))
        .bind(time(now.plus(FUTURE)))
        .execute(&mut **tx)
        .await?;
    Ok(())
}
