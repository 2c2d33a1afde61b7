//! Between our types and the database's.

use serde::{Serialize, de::DeserializeOwned};
use sqlx::{Row as _, sqlite::SqliteRow};
use tunnel_proto::UnixTime;

use crate::store::StoreError;

/// A time as it is stored. Times beyond the column's range are its end, which is as good as never.
pub(super) fn time(time: UnixTime) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

pub(super) fn time_of(row: &SqliteRow, column: &'static str) -> Result<UnixTime, StoreError> {
    let seconds: i64 = row.try_get(column)?;
    u64::try_from(seconds).map(UnixTime).map_err(|_| corrupt(column, "a time before 1970"))
}

pub(super) fn number_of(row: &SqliteRow, column: &'static str) -> Result<u32, StoreError> {
    let number: i64 = row.try_get(column)?;
    u32::try_from(number).map_err(|_| corrupt(column, "out of range"))
}

pub(super) fn bytes_of<const N: usize>(row: &SqliteRow, column: &'static str) -> Result<[u8; N], StoreError> {
    let bytes: &[u8] = row.try_get(column)?;
    bytes.try_into().map_err(|_| corrupt(column, format_args!("not {N} bytes")))
}

pub(super) fn text_of<T>(row: &SqliteRow, column: &'static str) -> Result<T, StoreError>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    let text: &str = row.try_get(column)?;
    text.parse().map_err(|error| corrupt(column, error))
}

pub(super) fn json<T: Serialize + ?Sized>(what: &'static str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| corrupt(what, error))
}

/// Reads what [`json`] wrote. The error says where, never what was written there.
pub(super) fn json_of<T: DeserializeOwned>(row: &SqliteRow, column: &'static str) -> Result<T, StoreError> {
    let text: &str = row.try_get(column)?;
    serde_json::from_str(text).map_err(|error| corrupt(column, error))
}

pub(super) fn corrupt(what: &'static str, reason: impl ToString) -> StoreError {
    StoreError::Corrupt { what, reason: reason.to_string() }
}
