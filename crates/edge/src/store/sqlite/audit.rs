//! The audit record: appended to, read, and verified. The database's own triggers refuse anything else.

use aws_lc_rs::digest;
use futures::TryStreamExt as _;
use sqlx::{Row as _, Sqlite, SqlitePool, Transaction};
use tunnel_proto::{Revision, UnixTime};

use super::values::{bytes_of, corrupt, json, json_of, time};
use crate::store::{AuditRecord, StoreError};

/// Appends records; `revision` is the revision of the configuration that the change they tell of led to.
pub(super) async fn append(
    tx: &mut Transaction<'_, Sqlite>,
    records: &[AuditRecord],
    revision: Option<Revision>,
) -> Result<(), StoreError> {
    let last = sqlx::query("SELECT chain FROM audit ORDER BY id DESC LIMIT 1").fetch_optional(&mut **tx).await?;
    let mut chain = match last {
        Some(row) => bytes_of(&row, "chain")?,
        None => BEGINNING,
    };
    let revision = revision.map(|revision| i64::try_from(revision.0).unwrap_or(i64::MAX));
    for record in records {
        let text = json("audit record", record)?;
        chain = next(&chain, revision, &text);
        sqlx::query("INSERT INTO audit (at, event, revision, record, chain) VALUES (?, ?, ?, ?, ?)")
            .bind(time(record.at))
            .bind(record.event.as_str())
            .bind(revision)
            .bind(text)
            .bind(chain.as_slice())
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

pub(super) async fn newest(pool: &SqlitePool, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
    let rows =
        sqlx::query("SELECT record FROM audit ORDER BY id DESC LIMIT ?").bind(i64::from(limit)).fetch_all(pool).await?;
    rows.iter().map(|row| json_of(row, "record")).collect()
}

pub(super) async fn of_reference(
    pool: &SqlitePool,
    reference: &str,
    limit: u32,
) -> Result<Vec<AuditRecord>, StoreError> {
    let rows =
        sqlx::query("SELECT record FROM audit WHERE json_extract(record, '$.reference') = ? ORDER BY id DESC LIMIT ?")
            .bind(reference)
            .bind(i64::from(limit))
            .fetch_all(pool)
            .await?;
    rows.iter().map(|row| json_of(row, "record")).collect()
}

pub(super) async fn decisions(pool: &SqlitePool, since: UnixTime, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
    let rows = sqlx::query(
        "SELECT record FROM audit WHERE json_extract(record, '$.decided') IS NOT NULL AND at >= ? \
         ORDER BY at DESC, id DESC LIMIT ?",
    )
    .bind(time(since))
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    rows.iter().map(|row| json_of(row, "record")).collect()
}

pub(super) async fn verify(pool: &SqlitePool) -> Result<u64, StoreError> {
    let mut rows = sqlx::query("SELECT id, revision, record, chain FROM audit ORDER BY id").fetch(pool);
    let (mut chain, mut records) = (BEGINNING, 0u64);
    while let Some(row) = rows.try_next().await? {
        chain = next(&chain, row.try_get("revision")?, row.try_get("record")?);
        if chain != bytes_of::<32>(&row, "chain")? {
            let id: i64 = row.try_get("id")?;
            return Err(corrupt("audit record", format_args!("the chain breaks at number {id}")));
        }
        records = records.saturating_add(1);
    }
    Ok(records)
}

/// What the first record's predecessor counts as.
const BEGINNING: [u8; 32] = [0; 32];

fn next(chain: &[u8; 32], revision: Option<i64>, record: &str) -> [u8; 32] {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(chain);
    hash.update(&revision.unwrap_or(-1).to_be_bytes());
    hash.update(record.as_bytes());
    let mut out = [0; 32];
    out.copy_from_slice(hash.finish().as_ref());
    out
}
