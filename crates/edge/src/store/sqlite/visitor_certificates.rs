//! Certificates that visitors are shown, and who orders them.

use std::time::Duration;

use sqlx::{Row as _, Sqlite, SqlitePool, Transaction, sqlite::SqliteRow};
use tunnel_proto::{HostPattern, UnixTime};

use super::values::{number_of, text_of, time, time_of};
use crate::store::{HeldCertificate, OrderFailed, SecretHash, StoreError, VisitorCertificate};

/// How long what has ended, and is not ordered any more, is remembered.
const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 3600);

pub(super) async fn all(pool: &SqlitePool) -> Result<Vec<VisitorCertificate>, StoreError> {
    let rows = sqlx::query(
        "SELECT name, chain, sealed, directory, issued, expires, failures, next, error, claimed \
         FROM visitor_certificates ORDER BY name",
    )
    .fetch_all(pool)
    .await?;
    rows.iter().map(certificate).collect()
}

fn certificate(row: &SqliteRow) -> Result<VisitorCertificate, StoreError> {
    let chain: Option<String> = row.try_get("chain")?;
    let sealed: Option<Vec<u8>> = row.try_get("sealed")?;
    let held = match (chain, sealed) {
        (Some(chain), Some(sealed)) => {
            let (issued, expires) = (time_of(row, "issued")?, time_of(row, "expires")?);
            let directory: Option<String> = row.try_get("directory")?;
            Some(HeldCertificate { chain, sealed, directory: directory.unwrap_or_default(), issued, expires })
        }
        _ => None,
    };
    Ok(VisitorCertificate {
        name: text_of(row, "name")?,
        held,
        failures: number_of(row, "failures")?,
        next: time_of(row, "next")?,
        error: row.try_get("error")?,
        claimed: time_of(row, "claimed")?,
    })
}

/// False when somebody else has it. What lies twice as far ahead as a claim was made by a clock that was wrong.
pub(super) async fn claim(
    pool: &SqlitePool,
    name: &HostPattern,
    claimant: &SecretHash,
    now: UnixTime,
    until: UnixTime,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "INSERT INTO visitor_certificates (name, claimant, claimed) VALUES (?, ?, ?) \
         ON CONFLICT (name) DO UPDATE SET claimant = excluded.claimant, claimed = excluded.claimed \
         WHERE visitor_certificates.claimed <= ? OR visitor_certificates.claimed > ? \
         OR visitor_certificates.claimant = excluded.claimant",
    )
    .bind(name.as_str())
    .bind(claimant.as_slice())
    .bind(time(until))
    .bind(time(now))
    .bind(time(until.plus(until.since(now))))
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// False, and nothing written, when the claim is lost.
pub(super) async fn put(
    tx: &mut Transaction<'_, Sqlite>,
    name: &HostPattern,
    claimant: &SecretHash,
    held: &HeldCertificate,
    next: UnixTime,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "UPDATE visitor_certificates SET chain = ?, sealed = ?, directory = ?, issued = ?, expires = ?, failures = 0, \
         next = ?, error = NULL, claimant = NULL, claimed = 0 WHERE name = ? AND claimant = ?",
    )
    .bind(held.chain.as_str())
    .bind(held.sealed.as_slice())
    .bind(held.directory.as_str())
    .bind(time(held.issued))
    .bind(time(held.expires))
    .bind(time(next))
    .bind(name.as_str())
    .bind(claimant.as_slice())
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// False when there is none.
pub(super) async fn renew(pool: &SqlitePool, name: &HostPattern) -> Result<bool, StoreError> {
    let done = sqlx::query("UPDATE visitor_certificates SET directory = NULL, next = 0 WHERE name = ?")
        .bind(name.as_str())
        .execute(pool)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// False, and nothing written, when the claim is lost.
pub(super) async fn failed(
    tx: &mut Transaction<'_, Sqlite>,
    name: &HostPattern,
    claimant: &SecretHash,
    failed: &OrderFailed<'_>,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "UPDATE visitor_certificates SET failures = ?, next = ?, error = ?, claimant = NULL, claimed = 0 \
         WHERE name = ? AND claimant = ?",
    )
    .bind(i64::from(failed.failures))
    .bind(time(failed.next))
    .bind(failed.error)
    .bind(name.as_str())
    .bind(claimant.as_slice())
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn sweep(tx: &mut Transaction<'_, Sqlite>, now: UnixTime) -> Result<(), StoreError> {
    let old = UnixTime(now.0.saturating_sub(REMEMBERED.as_secs()));
    sqlx::query("DELETE FROM visitor_certificates WHERE coalesce(expires, 0) <= ? AND next <= ? AND claimed <= ?")
        .bind(time(old))
        .bind(time(old))
        .bind(time(old))
        .execute(&mut **tx)
        .await?;
    Ok(())
}
