//! Certificates that were issued, and the operators that hold some of them.

use sqlx::{Sqlite, SqlitePool, Transaction, sqlite::SqliteRow};
use tunnel_proto::{OperatorId, TunnelId, UnixTime};

use super::values::{bytes_of, json, json_of, text_of, time, time_of};
use crate::store::{CertificateHolder, CertificateRecord, OperatorRecord, StoreError};

/// The holder as it is stored.
fn stored(holder: &CertificateHolder) -> (&'static str, &[u8]) {
    match holder {
        CertificateHolder::Tunnel(id) => ("tunnel", id.as_bytes()),
        CertificateHolder::Operator(id) => ("operator", id.as_bytes()),
    }
}

pub(super) async fn put(pool: &SqlitePool, certificate: &CertificateRecord) -> Result<(), StoreError> {
    let (kind, holder) = stored(&certificate.holder);
    sqlx::query("INSERT INTO certificates (serial, holder_kind, holder, issued, expires) VALUES (?, ?, ?, ?, ?)")
        .bind(certificate.serial.as_str())
        .bind(kind)
        .bind(holder)
        .bind(time(certificate.issued))
        .bind(time(certificate.expires))
        .execute(pool)
        .await?;
    Ok(())
}

pub(super) async fn revoke(pool: &SqlitePool, holder: &CertificateHolder, now: UnixTime) -> Result<(), StoreError> {
    let (kind, holder) = stored(holder);
    sqlx::query("UPDATE certificates SET revoked = ? WHERE holder_kind = ? AND holder = ? AND revoked IS NULL")
        .bind(time(now))
        .bind(kind)
        .bind(holder)
        .execute(pool)
        .await?;
    Ok(())
}

pub(super) async fn certified(pool: &SqlitePool, now: UnixTime) -> Result<Vec<TunnelId>, StoreError> {
    let rows = sqlx::query(
        "SELECT DISTINCT holder FROM certificates WHERE holder_kind = 'tunnel' AND revoked IS NULL AND expires > ?",
    )
    .bind(time(now))
    .fetch_all(pool)
    .await?;
    rows.iter().map(|row| bytes_of(row, "holder").map(TunnelId::from_bytes)).collect()
}

pub(super) async fn revoked(pool: &SqlitePool, now: UnixTime) -> Result<Vec<String>, StoreError> {
    let serials =
        sqlx::query_scalar("SELECT serial FROM certificates WHERE revoked IS NOT NULL AND expires > ? ORDER BY serial")
            .bind(time(now))
            .fetch_all(pool)
            .await?;
    Ok(serials)
}

pub(super) async fn put_operator(pool: &SqlitePool, operator: &OperatorRecord) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO operators (id, machine, hostnames, approved_by, approved) VALUES (?, ?, ?, ?, ?) \
         ON CONFLICT (id) DO UPDATE SET machine = excluded.machine, hostnames = excluded.hostnames, \
         approved_by = excluded.approved_by, approved = excluded.approved",
    )
    .bind(operator.id.as_bytes().as_slice())
    .bind(operator.machine.as_str())
    .bind(json("operator", &operator.hostnames)?)
    .bind(operator.approved_by.as_str())
    .bind(time(operator.approved))
    .execute(pool)
    .await?;
    Ok(())
}

pub(super) async fn operators(pool: &SqlitePool) -> Result<Vec<OperatorRecord>, StoreError> {
    let rows = sqlx::query("SELECT id, machine, hostnames, approved_by, approved FROM operators ORDER BY approved, id")
        .fetch_all(pool)
        .await?;
    rows.iter().map(operator_of).collect()
}

pub(super) async fn operator(pool: &SqlitePool, id: OperatorId) -> Result<Option<OperatorRecord>, StoreError> {
    let row = sqlx::query("SELECT id, machine, hostnames, approved_by, approved FROM operators WHERE id = ?")
        .bind(id.as_bytes().as_slice())
        .fetch_optional(pool)
        .await?;
    row.as_ref().map(operator_of).transpose()
}

fn operator_of(row: &SqliteRow) -> Result<OperatorRecord, StoreError> {
    Ok(OperatorRecord {
        id: OperatorId::from_bytes(bytes_of(row, "id")?),
        machine: text_of(row, "machine")?,
        hostnames: json_of(row, "hostnames")?,
        approved_by: text_of(row, "approved_by")?,
        approved: time_of(row, "approved")?,
    })
}

/// Certificates that have ended are nobody's any more.
pub(super) async fn sweep(tx: &mut Transaction<'_, Sqlite>, now: UnixTime) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM certificates WHERE expires <= ?").bind(time(now)).execute(&mut **tx).await?;
    Ok(())
}
