//! Mails that wait for the mail server, and the log of what became of each. A mail's sealed body exists only while it waits.

use std::time::Duration;

use sqlx::{Row as _, Sqlite, SqlitePool, Transaction, sqlite::SqliteRow};
use tunnel_proto::UnixTime;

use super::values::{bytes_of, number_of, time, time_of};
use crate::store::{FUTURE, MailLogEntry, MailOutcome, MailRecord, StoreError};

/// How long the delivery log is kept.
const LOG_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

pub(super) async fn queue(tx: &mut Transaction<'_, Sqlite>, mail: &MailRecord) -> Result<(), StoreError> {
    let id: i64 = sqlx::query_scalar(
        "INSERT INTO mails (sealed, recipient, domain, queued, due, expires, tries) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id",
    )
    .bind(mail.sealed.as_slice())
    .bind(mail.recipient.as_slice())
    .bind(mail.domain.as_str())
    .bind(time(mail.queued))
    .bind(time(mail.due))
    .bind(time(mail.expires))
    .bind(i64::from(mail.tries))
    .fetch_one(&mut **tx)
    .await?;
    note(tx, id, "queued", mail.queued, &mail.domain, None).await
}

pub(super) async fn due(pool: &SqlitePool, now: UnixTime, limit: u32) -> Result<Vec<MailRecord>, StoreError> {
    let rows = sqlx::query(
        "SELECT id, sealed, recipient, domain, queued, due, expires, tries FROM mails WHERE due <= ? ORDER BY due, id LIMIT ?",
    )
    .bind(time(now))
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    rows.iter().map(mail).collect()
}

fn mail(row: &SqliteRow) -> Result<MailRecord, StoreError> {
    Ok(MailRecord {
        id: row.try_get("id")?,
        sealed: row.try_get("sealed")?,
        recipient: bytes_of(row, "recipient")?,
        domain: row.try_get("domain")?,
        queued: time_of(row, "queued")?,
        due: time_of(row, "due")?,
        expires: time_of(row, "expires")?,
        tries: number_of(row, "tries")?,
    })
}

pub(super) async fn outcome(
    tx: &mut Transaction<'_, Sqlite>,
    id: i64,
    outcome: &MailOutcome,
    now: UnixTime,
) -> Result<(), StoreError> {
    let (state, detail) = match outcome {
        MailOutcome::Sent => ("sent", None),
        MailOutcome::Deferred(_, said) => ("deferred", Some(said.as_str())),
        MailOutcome::Bounced(said) => ("bounced", Some(said.as_str())),
        MailOutcome::Lapsed => ("lapsed", None),
        MailOutcome::Withheld => ("withheld", None),
    };
    let domain: Option<String> = match outcome {
        MailOutcome::Deferred(due, _) => {
            sqlx::query_scalar("UPDATE mails SET due = ?, tries = tries + 1 WHERE id = ? RETURNING domain")
                .bind(time(*due))
                .bind(id)
                .fetch_optional(&mut **tx)
                .await?
        }
        _ => {
            sqlx::query_scalar("DELETE FROM mails WHERE id = ? RETURNING domain")
                .bind(id)
                .fetch_optional(&mut **tx)
                .await?
        }
    };
    match domain {
        Some(domain) => note(tx, id, state, now, &domain, detail).await,
        None => Ok(()),
    }
}

async fn note(
    tx: &mut Transaction<'_, Sqlite>,
    id: i64,
    state: &str,
    at: UnixTime,
    domain: &str,
    detail: Option<&str>,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO mail_log (id, state, at, domain, detail) VALUES (?, ?, ?, ?, ?)")
        .bind(id)
        .bind(state)
        .bind(time(at))
        .bind(domain)
        .bind(detail)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn log(pool: &SqlitePool, limit: u32) -> Result<Vec<MailLogEntry>, StoreError> {
    let rows = sqlx::query("SELECT id, state, at, domain, detail FROM mail_log ORDER BY seq DESC LIMIT ?")
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await?;
    let entry = |row: &SqliteRow| {
        Ok(MailLogEntry {
            id: row.try_get("id")?,
            state: row.try_get("state")?,
            at: time_of(row, "at")?,
            domain: row.try_get("domain")?,
            detail: row.try_get("detail")?,
        })
    };
    rows.iter().map(entry).collect()
}

pub(super) async fn sweep(tx: &mut Transaction<'_, Sqlite>, now: UnixTime) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO mail_log (id, state, at, domain) \
         SELECT id, 'lapsed', ?, domain FROM mails WHERE expires <= ? OR queued > ?",
    )
    .bind(time(now))
    .bind(time(now))
    .bind(time(now.plus(FUTURE)))
    .execute(&mut **tx)
    .await?;
    sqlx::query("DELETE FROM mails WHERE expires <= ? OR queued > ?")
        .bind(time(now))
        .bind(time(now.plus(FUTURE)))
        .execute(&mut **tx)
        .await?;
    let oldest = time(now).saturating_sub(i64::try_from(LOG_KEPT.as_secs()).unwrap_or(i64::MAX));
    sqlx::query("DELETE FROM mail_log WHERE at < ?").bind(oldest).execute(&mut **tx).await?;
    Ok(())
}
