//! The time that has passed for certain.

use sqlx::SqlitePool;
use tunnel_proto::UnixTime;

use super::values::{time, time_of};
use crate::store::StoreError;

pub(super) async fn passed(pool: &SqlitePool) -> Result<Option<UnixTime>, StoreError> {
    let row = sqlx::query("SELECT passed FROM clock WHERE id = 1").fetch_optional(pool).await?;
    row.map(|row| time_of(&row, "passed")).transpose()
}

pub(super) async fn note(pool: &SqlitePool, at: UnixTime) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO clock (id, passed) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET passed = excluded.passed")
        .bind(time(at))
        .execute(pool)
        .await?;
    Ok(())
}
