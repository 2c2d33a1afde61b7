//! PIN challenges. One that was never armed takes as long and answers the same as one that was: every code is wrong.

use sqlx::{Row as _, Sqlite, SqlitePool, Transaction};
use tunnel_proto::UnixTime;

use super::values::{number_of, time, time_of};
use crate::store::{FUTURE, PinAttempt, PinOutcome, PinRecord, SecretHash, StoreError};

pub(super) async fn open(tx: &mut Transaction<'_, Sqlite>, pin: &PinRecord) -> Result<(), StoreError> {
    sqlx::query("UPDATE pins SET void = 1 WHERE login = ? AND app = ? AND void = 0")
        .bind(pin.login.as_slice())
        .bind(pin.app.as_bytes().as_slice())
        .execute(&mut **tx)
        .await?;
    sqlx::query("INSERT INTO pins (id, login, app, email, created, expires) VALUES (?, ?, ?, ?, ?, ?)")
        .bind(pin.id.as_slice())
        .bind(pin.login.as_slice())
        .bind(pin.app.as_bytes().as_slice())
        .bind(pin.email.as_slice())
        .bind(time(pin.created))
        .bind(time(pin.expires))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn arm(pool: &SqlitePool, id: &SecretHash, code: &SecretHash) -> Result<bool, StoreError> {
    let armed = sqlx::query("UPDATE pins SET code = ? WHERE id = ? AND code IS NULL AND void = 0")
        .bind(code.as_slice())
        .bind(id.as_slice())
        .execute(pool)
        .await?;
    Ok(armed.rows_affected() > 0)
}

/// Whether a code for this challenge could still be of use.
pub(super) async fn waits(pool: &SqlitePool, id: &SecretHash, now: UnixTime) -> Result<bool, StoreError> {
    let found: Option<i64> = sqlx::query_scalar("SELECT 1 FROM pins WHERE id = ? AND void = 0 AND expires > ?")
        .bind(id.as_slice())
        .bind(time(now))
        .fetch_optional(pool)
        .await?;
    Ok(found.is_some())
}

/// The hand-over can only bring the end nearer.
pub(super) async fn sent(pool: &SqlitePool, id: &SecretHash, expires: UnixTime) -> Result<(), StoreError> {
    sqlx::query("UPDATE pins SET expires = min(expires, ?) WHERE id = ?")
        .bind(time(expires))
        .bind(id.as_slice())
        .execute(pool)
        .await?;
    Ok(())
}

pub(super) async fn attempt(tx: &mut Transaction<'_, Sqlite>, attempt: &PinAttempt) -> Result<PinOutcome, StoreError> {
    let row = sqlx::query("SELECT email, code, tries, void, expires FROM pins WHERE id = ? AND login = ? AND app = ?")
        .bind(attempt.id.as_slice())
        .bind(attempt.login.as_slice())
        .bind(attempt.app.as_bytes().as_slice())
        .fetch_optional(&mut **tx)
        .await?;
    let Some(row) = row else {
        return Ok(PinOutcome::Unknown);
    };
    let tries = number_of(&row, "tries")?.saturating_add(1);
    if number_of(&row, "void")? != 0 || tries > attempt.max_tries {
        return Ok(PinOutcome::Void);
    }
    if time_of(&row, "expires")? <= attempt.now {
        return Ok(PinOutcome::Expired);
    }
    let code: Option<&[u8]> = row.try_get("code")?;
    let right = code.is_some_and(|code| aws_lc_rs::constant_time::verify_slices_are_equal(code, &attempt.code).is_ok());
    let left = attempt.max_tries.saturating_sub(tries);
    sqlx::query("UPDATE pins SET tries = ?, void = ? WHERE id = ?")
        .bind(i64::from(tries))
        .bind(i64::from(right || left == 0))
        .bind(attempt.id.as_slice())
        .execute(&mut **tx)
        .await?;
    match (right, left) {
        (true, _) => Ok(PinOutcome::Right(row.try_get("email")?)),
        (false, 0) => Ok(PinOutcome::Void),
        (false, left) => Ok(PinOutcome::Wrong(left)),
    }
}

pub(super) async fn sweep(tx: &mut Transaction<'_, Sqlite>, now: UnixTime) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM pins WHERE expires <= ? OR created > ?")
        .bind(time(now))
        .bind(time(now.plus(FUTURE)))
        .execute(&mut **tx)
        .await?;
    Ok(())
}
