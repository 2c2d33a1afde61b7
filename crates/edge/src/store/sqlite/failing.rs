//! Whether changes can be written (F17, F18): noted wherever one is tried.

use std::{
    ops::{Deref, DerefMut},
    path::Path,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use sqlx::{Sqlite, Transaction};

use crate::{
    platform,
    store::{ROOM, StoreError, Unwritable},
};

/// Why changes fail, if they do.
#[derive(Debug, Default)]
pub(super) struct Failing(Mutex<Option<Unwritable>>);

impl Failing {
    pub(super) fn now(&self) -> Option<Unwritable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes that a change failed, if others would as well.
    pub(super) fn failed(&self, error: &sqlx::Error) {
        if !concerns_all(error) {
            return;
        }
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = noted.as_ref().map_or_else(Instant::now, |noted| noted.since);
        *noted = Some(Unwritable { since, why: error.to_string() });
    }

    /// Notes that the database at `path` took a change. A small one fits on a disk that is full, into what the log took
    /// before.
    pub(super) fn succeeded(&self, path: &Path) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.is_some() && platform::free_space(path).is_none_or(|free| free >= ROOM) {
            *noted = None;
        }
    }
}

/// Whether an error says something of the database, and not of what was to be written.
fn concerns_all(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => {
            let code = error.code().and_then(|code| code.parse::<i32>().ok());
            // BUSY, LOCKED, READONLY, IOERR, CORRUPT, FULL, CANTOPEN and NOTADB, with or without their extended codes.
            matches!(code.map(|code| code & 0xff), Some(5 | 6 | 8 | 10 | 11 | 13 | 14 | 26))
        }
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut => true,
        _ => false,
    }
}

/// A change under way.
pub(super) struct Change<'a> {
    pub(super) transaction: Transaction<'static, Sqlite>,
    pub(super) failing: &'a Failing,
    pub(super) path: &'a Path,
}

impl Change<'_> {
    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        let Self { transaction, failing, path } = self;
        match transaction.commit().await {
            Ok(()) => failing.succeeded(path),
            Err(error) => {
                failing.failed(&error);
                return Err(error);
            }
        }
        Ok(())
    }

    pub(super) async fn rollback(self) -> Result<(), sqlx::Error> {
        self.transaction.rollback().await
    }
}

impl Deref for Change<'_> {
    type Target = Transaction<'static, Sqlite>;

    fn deref(&self) -> &Self::Target {
        &self.transaction
    }
}

impl DerefMut for Change<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.transaction
    }
}

/// What became of a change of one statement.
pub(super) fn noted<T>(failing: &Failing, path: &Path, done: Result<T, StoreError>) -> Result<T, StoreError> {
    match &done {
        Ok(_) => failing.succeeded(path),
        Err(StoreError::Database(error)) => failing.failed(error),
        Err(_) => {}
    }
    done
}

#[cfg(test)]
mod tests {
    use tunnel_proto::UnixTime;

    use crate::store::{AuditEvent, AuditRecord, Declared, Store as _, sqlite::SqliteStore};

    // F18
    #[tokio::test]
    async fn since_when_and_why_nothing_can_be_written_is_known_until_something_is() {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(dir.path().join("edge.db")).await.unwrap();
        let record = [AuditRecord::new(UnixTime(1), AuditEvent::Login)];
        store.append_audit(&record).await.unwrap();
        assert_eq!(store.unwritable(), None);
        sqlx::query("PRAGMA query_only = ON").execute(&store.writer).await.unwrap();
        assert!(store.append_audit(&record).await.is_err());
        let first = store.unwritable().unwrap();
        assert!(first.why.contains("readonly"), "{}", first.why);
        assert!(store.note_passed(UnixTime(2)).await.is_err());
        assert_eq!(store.unwritable().unwrap().since, first.since, "since the first one");
        sqlx::query("PRAGMA query_only = OFF").execute(&store.writer).await.unwrap();
        store.note_passed(UnixTime(3)).await.unwrap();
        assert_eq!(store.unwritable(), None);
        // What cannot be written for its own sake says nothing of the others.
        let revision = store.declared().await.unwrap().0;
        let declared = Declared::default();
        store.replace_declared(revision, &declared, &[]).await.unwrap();
        assert!(store.replace_declared(revision, &declared, &[]).await.is_err());
        assert_eq!(store.unwritable(), None);
    }
}
