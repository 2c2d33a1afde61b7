//! Copies of the database: made while it is used, and looked at before anybody counts on them.

use std::path::{Path, PathBuf};

use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};

use super::open::{PATIENCE, RESTORE};
use crate::{
    backup::{self, FOLDER},
    keys::MASTER_KEY,
    platform,
    store::StoreError,
};

/// What a copy from before a change of schema is called until it is whole.
const SCHEMA_PART: &str = "schema.part";

/// A whole copy at `path`, looked at as a whole; says which schema it has. The file is made first so that it is never open to
/// others.
pub(super) async fn make(database: &Path, path: &Path) -> Result<i64, StoreError> {
    platform::create_private(path, b"").map_err(|source| StoreError::File { path: path.to_owned(), source })?;
    let made = async {
        write(database, path).await?;
        check(path).await
    };
    made.await.inspect_err(|_| {
        // Half a copy takes room, and is of no use.
        let _ = backup::remove_part(path);
    })
}

/// Written by SQLite itself, by a connection of its own: nobody who writes waits for it.
async fn write(database: &Path, path: &Path) -> Result<(), StoreError> {
    let invalid = || StoreError::File { path: path.to_owned(), source: std::io::ErrorKind::InvalidInput.into() };
    let target = path.to_str().ok_or_else(invalid)?;
    let options = SqliteConnectOptions::new()
        .filename(database)
        .create_if_missing(false)
        .busy_timeout(PATIENCE)
        .pragma("trusted_schema", "OFF")
        .pragma("cell_size_check", "ON");
    let mut own = SqliteConnection::connect_with(&options).await?;
    let made = sqlx::query("VACUUM INTO ?").bind(target).execute(&mut own).await;
    own.close().await?;
    made?;
    Ok(())
}

/// Looks at all of a copy; says which schema it has.
pub(super) async fn check(path: &Path) -> Result<i64, StoreError> {
    // Not read-only, although nothing is written: of a database that is, SQLite checks no constraint.
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(false);
    let mut own = SqliteConnection::connect_with(&options.pragma("cell_size_check", "ON")).await?;
    let checked = async {
        let health: String = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut own).await?;
        if health != "ok" {
            return Err(StoreError::Corrupt { what: "copy", reason: health });
        }
        let version: i64 =
            sqlx::query_scalar("SELECT version FROM schema_version WHERE id = 1").fetch_one(&mut own).await?;
        Ok(version)
    };
    let checked = checked.await;
    own.close().await?;
    checked
}

/// Keeps the database as it is before its schema becomes another one: a program of before cannot read it afterwards.
pub(super) async fn before_migration(database: &Path, version: i64) -> Result<(), StoreError> {
    let file = |path: &Path, source| StoreError::File { path: path.to_owned(), source };
    let folder = folder(database);
    platform::private_dir(&folder).map_err(|source| file(&folder, source))?;
    let (kept, part) = (folder.join(of_schema(version)), folder.join(SCHEMA_PART));
    backup::remove_part(&part).map_err(|source| file(&part, source))?;
    let copied = make(database, &part).await?;
    if copied != version {
        return Err(StoreError::Corrupt { what: "copy", reason: format!("it has schema {copied}, not {version}") });
    }
    std::fs::rename(&part, &kept).map_err(|source| file(&kept, source))
}

/// Removes what a process left that was killed while it made such a copy. It takes room, and does no harm otherwise.
pub(super) fn clear(database: &Path) {
    let part = folder(database).join(SCHEMA_PART);
    if let Err(error) = backup::remove_part(&part) {
        tracing::warn!(path = %part.display(), %error, "half a copy of the database cannot be removed");
    }
}

fn of_schema(version: i64) -> String {
    format!("edge-schema-{version}.db")
}

/// The newest copy from before a change of schema that a program can read which knows that version.
pub(super) fn before(database: &Path, known: i64) -> Option<PathBuf> {
    let folder = folder(database);
    (1..=known).rev().map(|version| folder.join(of_schema(version))).find(|path| path.exists())
}

/// Where copies of a database are.
pub(super) fn folder(database: &Path) -> PathBuf {
    database.parent().unwrap_or(Path::new("")).join(FOLDER)
}

/// That there was a database where there is none now, if something shows it. The master key is made after the database, and
/// only once that is on disk, so a first start that died on its way leaves nothing that does; copies are made of what is there.
pub(super) fn gone(database: &Path, known: i64) -> Option<StoreError> {
    let key = database.with_file_name(MASTER_KEY);
    // An empty one is of a start that died before it was written.
    let key = Some(key).filter(|key| std::fs::metadata(key).is_ok_and(|file| file.len() > 0));
    let sign = key.or_else(|| backup::newest(&folder(database))).or_else(|| before(database, known))?;
    Some(StoreError::Gone { path: database.to_owned(), sign, mend: restore(database) })
}

/// What to do with a database that is damaged or gone.
pub(super) fn restore(database: &Path) -> String {
    let newest = backup::newest(&folder(database));
    newest.map_or_else(|| RESTORE.to_owned(), |path| format!("{RESTORE}; the newest backup is `{}`", path.display()))
}
