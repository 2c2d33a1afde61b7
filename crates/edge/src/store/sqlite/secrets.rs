//! Named secrets of the installation, sealed by the caller.

use sqlx::{Sqlite, SqlitePool, Transaction};

use crate::store::StoreError;

pub(super) async fn secret(pool: &SqlitePool, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(sqlx::query_scalar("SELECT sealed FROM secrets WHERE name = ?").bind(name).fetch_optional(pool).await?)
}

pub(super) async fn put_if_absent(pool: &SqlitePool, name: &str, sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
    // Changing the row to itself is what makes `RETURNING` answer for the one that was there.
    let kept = sqlx::query_scalar(
        "INSERT INTO secrets (name, sealed) VALUES (?, ?) \
         ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING sealed",
    )
    .bind(name)
    .bind(sealed)
    .fetch_one(pool)
    .await?;
    Ok(kept)
}

/// False when the secret is not `expected`.
pub(super) async fn replace(
    tx: &mut Transaction<'static, Sqlite>,
    name: &str,
    expected: &[u8],
    sealed: &[u8],
) -> Result<bool, StoreError> {
    let done = sqlx::query("UPDATE secrets SET sealed = ? WHERE name = ? AND sealed = ?")
        .bind(sealed)
        .bind(name)
        .bind(expected)
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected() == 1)
}
