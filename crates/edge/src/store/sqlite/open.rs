//! Opening the database: the file, its health, its schema.

use std::{path::Path, time::Duration};

use sqlx::{
    Connection, Sqlite, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use tunnel_proto::Revision;

use super::{Failing, SqliteStore, configuration, copy};
use crate::{
    platform,
    store::{Declared, StoreError},
};

/// The schema, one step per version; step `n` (from 1) leads to version `n` and is never edited once released.
const MIGRATIONS: [&str; 8] = [
    include_str!("../../../migrations/0001_first.sql"),
    include_str!("../../../migrations/0002_client_sessions.sql"),
    include_str!("../../../migrations/0003_people.sql"),
    include_str!("../../../migrations/0004_passkeys.sql"),
    include_str!("../../../migrations/0005_revalidations.sql"),
    include_str!("../../../migrations/0006_session_issuer.sql"),
    include_str!("../../../migrations/0007_visitor_certificates.sql"),
    include_str!("../../../migrations/0008_clock.sql"),
];
/// The first SQLite without the write-ahead-log corruption of 3.7.0 to 3.51.2 (<https://sqlite.org/wal.html#walresetbug>).
const SQLITE_OLDEST: (u32, u32, u32) = (3, 51, 3);
/// How long a writer waits for another process that holds the file, and a caller for a connection.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Connections that read.
const READERS: u32 = 4;

/// Who has the file open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Users {
    /// Nobody, as far as is known.
    Unknown,
    /// A process of the same edge, which checked its health, as long as that takes.
    Ours,
}

pub(super) async fn open(path: &Path, users: Users) -> Result<SqliteStore, StoreError> {
    let file = |source| StoreError::File { path: path.to_owned(), source };
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        platform::private_dir(dir).map_err(|source| StoreError::File { path: dir.to_owned(), source })?;
    }
    // Before anything is made, or what is left of the log is thrown away.
    if is_nothing(path)
        && let Some(gone) = copy::gone(path, newest_schema())
    {
        return Err(gone);
    }
    // SQLite gives the log and the shared index beside the file the rights of the file.
    platform::ensure_private(path).map_err(file)?;

    let options = options(path);
    let writer = pool(1).connect_with(options.clone()).await.map_err(|error| damaged(path, error))?;
    let opened = async {
        recent(&writer).await?;
        if users == Users::Unknown {
            healthy(path, &writer).await?;
        }
        if is_new(&writer).await?
            && let Some(gone) = copy::gone(path, newest_schema())
        {
            return Err(gone);
        }
        match older(&writer).await? {
            Some(older) => {
                let kept = copy::before_migration(path, older).await;
                kept.map_err(|error| StoreError::NotKept(Box::new(error)))?;
            }
            // Nobody makes such a copy now.
            None => copy::clear(path),
        }
        prepare(&writer, &MIGRATIONS).await
    };
    let opened = opened.await.map_err(|error| match error {
        StoreError::Database(error) => damaged(path, error),
        StoreError::NewerSchema { found, known, .. } => {
            StoreError::NewerSchema { found, known, before: copy::before(path, known) }
        }
        error => error,
    });
    if let Err(error) = opened {
        writer.close().await;
        return Err(error);
    }
    let readers = pool(READERS).connect_lazy_with(options.pragma("query_only", "ON"));
    Ok(SqliteStore { path: path.to_owned(), writer, readers, failing: Failing::default() })
}

/// What is declared in a database of an older schema, which stays as it is; `None` when it is not older. What has become of
/// the document since may keep it from being read.
pub(super) async fn declared_before(path: &Path) -> Result<Option<(Revision, Declared)>, StoreError> {
    let reader = pool(1).connect_with(options(path).pragma("query_only", "ON")).await?;
    let found = async {
        match older(&reader).await? {
            Some(_) => configuration::declared(&reader).await.map(Some),
            None => Ok(None),
        }
    };
    let found = found.await;
    reader.close().await;
    found
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(PATIENCE)
        .foreign_keys(true)
        // What was deleted (a sealed mail, a code's hash) does not stay readable in free pages.
        .pragma("secure_delete", "ON")
        // Without it `INSERT OR REPLACE` would delete rows unseen by the audit record's triggers.
        .pragma("recursive_triggers", "ON")
        .pragma("trusted_schema", "OFF")
        .pragma("cell_size_check", "ON")
}

fn pool(most: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(most)
        .acquire_timeout(PATIENCE)
        .idle_timeout(None)
        .max_lifetime(None)
        // On a full disk SQLite ends a transaction by itself. The connection's own count still has it, and would begin no
        // other one ever again (F17).
        .before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
}

/// Checks the program.
async fn recent(writer: &SqlitePool) -> Result<(), StoreError> {
    let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(writer).await?;
    if !recent_enough(&version) {
        let reason = format!("SQLite {version} may corrupt its log; 3.51.3 or newer is needed");
        return Err(StoreError::Corrupt { what: "database", reason });
    }
    Ok(())
}

/// Checks the file, before anything is written. Reads all of it.
async fn healthy(path: &Path, writer: &SqlitePool) -> Result<(), StoreError> {
    let health: String = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(writer).await?;
    if health != "ok" {
        let reason = format!("{health}; {}", copy::restore(path));
        return Err(StoreError::Corrupt { what: "database", reason });
    }
    Ok(())
}

/// Whether there is no file, or one without a byte, as the first moment of a first start leaves it.
fn is_nothing(path: &Path) -> bool {
    match std::fs::metadata(path) {
        Ok(file) => file.len() == 0,
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

/// Whether nothing was ever made in the database: it is new, or has lost everything.
async fn is_new(pool: &SqlitePool) -> Result<bool, StoreError> {
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(pool).await?;
    Ok(tables == 0)
}

/// The newest schema that this program knows.
fn newest_schema() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// The schema of a database that has an older one than ours.
async fn older(pool: &SqlitePool) -> Result<Option<i64>, StoreError> {
    let ours: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE name = 'schema_version'").fetch_one(pool).await?;
    if ours == 0 {
        return Ok(None);
    }
    let found: i64 = sqlx::query_scalar("SELECT version FROM schema_version WHERE id = 1").fetch_one(pool).await?;
    Ok(Some(found).filter(|found| *found < newest_schema()))
}

/// Checks the schema, and brings it up to date.
async fn prepare(writer: &SqlitePool, migrations: &[&'static str]) -> Result<(), StoreError> {
    let mut tx = writer.begin_with("BEGIN IMMEDIATE").await?;
    migrate(&mut tx, migrations).await?;
    Ok(tx.commit().await?)
}

/// Brings the schema up to date inside `tx`: all of it or, when a step fails or the program dies, nothing.
async fn migrate(tx: &mut Transaction<'_, Sqlite>, migrations: &[&'static str]) -> Result<(), StoreError> {
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(&mut **tx).await?;
    let known = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    let found: i64 = if tables == 0 {
        sqlx::query(
            "CREATE TABLE schema_version (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL) STRICT",
        )
        .execute(&mut **tx)
        .await?;
        sqlx::query("INSERT INTO schema_version (id, version) VALUES (1, 0)").execute(&mut **tx).await?;
        0
    } else {
        let ours: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE name = 'schema_version'")
            .fetch_one(&mut **tx)
            .await?;
        if ours == 0 {
            let reason = "it is another program's database".to_owned();
            return Err(StoreError::Corrupt { what: "database", reason });
        }
        sqlx::query_scalar("SELECT version FROM schema_version WHERE id = 1").fetch_one(&mut **tx).await?
    };
    if found > known {
        return Err(StoreError::NewerSchema { found, known, before: None });
    }
    let done = usize::try_from(found).unwrap_or(0);
    for step in migrations.iter().skip(done) {
        sqlx::raw_sql(*step).execute(&mut **tx).await?;
    }
    sqlx::query("UPDATE schema_version SET version = ? WHERE id = 1").bind(known).execute(&mut **tx).await?;
    Ok(())
}

fn recent_enough(version: &str) -> bool {
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next(), next()) >= SQLITE_OLDEST
}

/// Tells a file that is not, or no longer, a database apart from other failures.
fn damaged(path: &Path, error: sqlx::Error) -> StoreError {
    let code = match &error {
        sqlx::Error::Database(database) => database.code().and_then(|code| code.parse::<i32>().ok()),
        _ => None,
    };
    // SQLITE_CORRUPT and SQLITE_NOTADB, with or without their extended codes.
    match code.map(|code| code & 0xff) {
        Some(11 | 26) => {
            let reason = format!("`{}`: {error}; {}", path.display(), copy::restore(path));
            StoreError::Corrupt { what: "database", reason }
        }
        _ => StoreError::Database(error),
    }
}

/// What to do with a database that is damaged or gone.
pub(super) const RESTORE: &str =
    "put a backup in its place, or, to begin anew, move everything in the data directory away";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_sqlite_with_the_log_bug_is_told_from_one_without() {
        for (version, good) in
            [("3.51.3", true), ("3.51.2", false), ("3.46.1", false), ("3.52.0", true), ("4.0.0", true)]
        {
            assert_eq!(recent_enough(version), good, "{version}");
        }
        assert!(!recent_enough("nonsense"));
    }

    // F19
    #[tokio::test]
    async fn a_migration_that_fails_half_way_leaves_the_old_schema() {
        let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.unwrap();
        prepare(&pool, &["CREATE TABLE one (a INTEGER)"]).await.unwrap();
        let broken = ["CREATE TABLE one (a INTEGER)", "CREATE TABLE two (b INTEGER); INSERT INTO three VALUES (1)"];
        assert!(prepare(&pool, &broken).await.is_err());
        let names: Vec<String> =
            sqlx::query_scalar("SELECT name FROM sqlite_schema ORDER BY name").fetch_all(&pool).await.unwrap();
        assert_eq!(names, ["one", "schema_version"]);
        let fixed = ["CREATE TABLE one (a INTEGER)", "CREATE TABLE two (b INTEGER)"];
        prepare(&pool, &fixed).await.unwrap();
        assert!(matches!(
            prepare(&pool, &["CREATE TABLE one (a INTEGER)"]).await,
            Err(StoreError::NewerSchema { found: 2, known: 1, before: None })
        ));
    }

    /// The statements of a step, one by one.
    fn statements(step: &str) -> Vec<String> {
        let bare: Vec<_> = step.lines().map(|line| line.split("--").next().unwrap_or_default()).collect();
        let (mut all, mut whole) = (Vec::new(), String::new());
        for piece in bare.join("\n").split_inclusive(';') {
            whole += piece;
            let is_trigger = whole.trim_start().starts_with("CREATE TRIGGER");
            if whole.ends_with(';') && (!is_trigger || whole.ends_with("END;")) {
                all.push(std::mem::take(&mut whole));
            }
        }
        assert_eq!(whole.trim(), "", "a statement without an end");
        all
    }

    /// The steps up to the `count`th statement of all behind step `done`, and `last` behind that.
    fn cut(done: usize, count: usize, last: &str) -> Vec<&'static str> {
        let mut left = count;
        let mut steps = MIGRATIONS[..done].to_vec();
        for step in &MIGRATIONS[done..] {
            let statements = statements(step);
            let some = statements.len().min(left);
            steps.push(format!("{}{}", statements[..some].concat(), if some == left { last } else { "" }).leak());
            left -= some;
            if some < statements.len() {
                break;
            }
        }
        steps
    }

    /// All that a schema is, with its version.
    async fn schema(pool: &SqlitePool) -> Vec<String> {
        let mut all: Vec<String> =
            sqlx::query_scalar("SELECT type || ' ' || name || ': ' || coalesce(sql, '') FROM sqlite_schema ORDER BY 1")
                .fetch_all(pool)
                .await
                .unwrap();
        if all.iter().any(|line| line.starts_with("table schema_version")) {
            let version: i64 = sqlx::query_scalar("SELECT version FROM schema_version").fetch_one(pool).await.unwrap();
            all.push(version.to_string());
        }
        all
    }

    // F19
    #[tokio::test]
    async fn wherever_a_migration_fails_or_is_killed_the_schema_is_the_old_one_and_then_the_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let fresh = open(&dir.path().join("fresh.db"), Users::Unknown).await.unwrap();
        let new = schema(&fresh.writer).await;
        let with_log = |path: &Path| path.with_extension("db-wal");
        for done in [0, 1] {
            let base = dir.path().join(format!("schema-{done}.db"));
            platform::ensure_private(&base).unwrap();
            let pool_of_base = pool(1).connect_with(options(&base)).await.unwrap();
            if done > 0 {
                prepare(&pool_of_base, &MIGRATIONS[..done]).await.unwrap();
            }
            let old = schema(&pool_of_base).await;
            pool_of_base.close().await;
            let count: usize = MIGRATIONS[done..].iter().map(|step| statements(step).len()).sum();
            assert!(count > 10, "{count} statements");
            // A new database has nothing to lose: some of its moments are enough.
            for number in (0..=count).step_by(if done == 0 { 7 } else { 1 }) {
                let path = dir.path().join(format!("{done}-{number}.db"));
                std::fs::copy(&base, &path).unwrap();
                // With hardly a page in memory, so that what is not committed is in the log.
                let writer = pool(1).connect_with(options(&path).pragma("cache_size", "2")).await.unwrap();
                let broken = cut(done, number, "INSERT INTO nothing VALUES (1);");
                assert!(prepare(&writer, &broken).await.is_err(), "{done}, {number}");
                assert_eq!(schema(&writer).await, old, "after a failure at {number} of {count}");

                let mut tx = writer.begin_with("BEGIN IMMEDIATE").await.unwrap();
                migrate(&mut tx, &cut(done, number, "")).await.unwrap();
                let killed = dir.path().join(format!("{done}-{number}-killed.db"));
                std::fs::copy(&path, &killed).unwrap();
                if with_log(&path).exists() {
                    std::fs::copy(with_log(&path), with_log(&killed)).unwrap();
                }
                drop(tx);
                writer.close().await;
                let reader = pool(1).connect_with(options(&killed)).await.unwrap();
                assert_eq!(schema(&reader).await, old, "killed after {number} of {count}");
                reader.close().await;
                let opened = open(&killed, Users::Unknown).await.unwrap();
                assert_eq!(schema(&opened.writer).await, new, "opened again after {number} of {count}");
                opened.writer.close().await;
                opened.readers.close().await;
            }
        }
    }
}
