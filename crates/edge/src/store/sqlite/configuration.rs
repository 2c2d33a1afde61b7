//! The declared configuration: one document with its revision, checked whenever it is read. Who changed it, when and to
//! which revision is in the audit record, written in the same transaction.

use sqlx::{Row as _, Sqlite, SqlitePool, Transaction};
use tunnel_proto::Revision;

use super::values::{corrupt, json, json_of};
use crate::store::{Declared, StoreError};

pub(super) async fn declared(pool: &SqlitePool) -> Result<(Revision, Declared), StoreError> {
    let row = sqlx::query("SELECT revision, document FROM declared WHERE id = 1").fetch_one(pool).await?;
    let revision = revision(row.try_get("revision")?)?;
    // Of thousands of applications that takes a while: not where everybody is served.
    let declared = tokio::task::spawn_blocking(move || json_of(&row, "document")).await;
    Ok((revision, declared.map_err(|error| corrupt("document", error))??))
}

pub(super) async fn replace(
    tx: &mut Transaction<'_, Sqlite>,
    expected: Revision,
    declared: &Declared,
) -> Result<Revision, StoreError> {
    let document = json("configuration", declared)?;
    let changed: Option<i64> = sqlx::query_scalar(
        "UPDATE declared SET revision = revision + 1, document = ? WHERE id = 1 AND revision = ? RETURNING revision",
    )
    .bind(document)
    .bind(i64::try_from(expected.0).unwrap_or(-1))
    .fetch_optional(&mut **tx)
    .await?;
    match changed {
        Some(number) => revision(number),
        None => {
            let found: i64 =
                sqlx::query_scalar("SELECT revision FROM declared WHERE id = 1").fetch_one(&mut **tx).await?;
            Err(StoreError::Conflict(revision(found)?))
        }
    }
}

fn revision(number: i64) -> Result<Revision, StoreError> {
    u64::try_from(number).map(Revision).map_err(|_| corrupt("revision", "below zero"))
}
