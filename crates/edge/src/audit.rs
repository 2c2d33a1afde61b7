//! The record of what happened: decisions, refusals, logins, enrolments.
//!
//! Whoever has something to record puts it in a queue and goes on; one task writes the queue to the store. Changes of the
//! configuration do not come this way: the store writes their record in the transaction that makes them, and so refuses
//! the change when it cannot be recorded.
//!
//! The queue holds [`QUEUE_MAX`] records. When the store cannot keep up, or its disk is full, records wait here; of what
//! no longer fits the newest is dropped and counted, decisions and requests of strangers first (the last
//! [`RESERVED`] places are for logins, enrolments and the like). The count is recorded as soon as there is room.

mod queue;
mod refusals;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};

use crate::{
    Clock,
    store::{AuditRecord, Store},
    task,
};
use queue::Queue;
use refusals::Refusals;

pub use queue::{QUEUE_MAX, RESERVED};
pub use refusals::REFUSAL_WINDOW;

/// The handle of the audit record. Dropping it stops its task; what was not written by then is lost, so
/// [`close`](Audit::close) first.
pub struct Audit {
    shared: Arc<Shared>,
    written: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

struct Shared {
    inner: Mutex<Inner>,
    work: Notify,
}

#[derive(Default)]
struct Inner {
    queue: Queue,
    refusals: Refusals,
    /// Since when the store takes none.
    held: Option<Instant>,
}

/// Records that are not on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// How many wait.
    pub count: usize,
    /// How many were dropped since, because too many waited.
    pub lost: u32,
    /// Since when the store takes none; nothing while it does.
    pub held: Option<Instant>,
}

impl Audit {
    /// Starts the task that writes to `store`. Needs a tokio runtime.
    pub fn start(store: Arc<dyn Store>, clock: Clock) -> Self {
        let shared = Arc::new(Shared { inner: Mutex::default(), work: Notify::new() });
        let (progress, written) = watch::channel(0);
        let (queue, progress) = (shared.clone(), Arc::new(progress));
        let writing = move || write(queue.clone(), store.clone(), clock.clone(), progress.clone());
        Self { shared, written, task: task::keep("audit", writing) }
    }

    /// Records something. Never waits; see the module for what happens when the queue is full.
    pub fn record(&self, record: AuditRecord) {
        self.shared.with(|inner| inner.queue.push(record));
        self.shared.work.notify_one();
    }

    /// Records a refusal. The first one of an application, source and reason is recorded at once; those that follow
    /// within [`REFUSAL_WINDOW`] become one record with their count.
    pub fn refused(&self, record: AuditRecord) {
        let fresh =
            self.shared.with(|inner| inner.refusals.note(record).map(|first| inner.queue.push(first)).is_some());
        if fresh {
            self.shared.work.notify_one();
        }
    }

    /// Waits until everything recorded so far, counted refusals included, is on disk; at most [`FLUSH_PATIENCE`].
    pub async fn flush(&self) -> Result<(), AuditError> {
        let target = self.shared.with(|inner| {
            for counted in inner.refusals.all() {
                inner.queue.push(counted);
            }
            inner.queue.accepted()
        });
        self.shared.work.notify_one();
        let mut written = self.written.clone();
        let done = tokio::time::timeout(FLUSH_PATIENCE, written.wait_for(|written| *written >= target)).await;
        match done {
            Ok(Ok(_)) => Ok(()),
            _ => Err(AuditError::NotWritten { waiting: self.waiting() }),
        }
    }

    /// How many records wait to be written. More than a moment's worth means that the store is in trouble.
    pub fn waiting(&self) -> usize {
        self.shared.with(|inner| inner.queue.len())
    }

    /// What is not on disk, and whether that is more than a moment's worth.
    pub fn held(&self) -> Waiting {
        self.shared.with(|inner| Waiting { count: inner.queue.len(), lost: inner.queue.lost(), held: inner.held })
    }

    /// Writes what waits, then stops.
    pub async fn close(self) -> Result<(), AuditError> {
        self.flush().await
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The writing task. A batch stays in the queue until the store has it.
async fn write(shared: Arc<Shared>, store: Arc<dyn Store>, clock: Clock, progress: Arc<watch::Sender<u64>>) {
    crate::faults::at("audit");
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut pause = PAUSE_FIRST;
    loop {
        tokio::select! {
            () = shared.work.notified() => {}
            _ = tick.tick() => shared.with(|inner| {
                for counted in inner.refusals.due(clock.now()) {
                    inner.queue.push(counted);
                }
            }),
        }
        loop {
            let batch = shared.with(|inner| inner.queue.batch(clock.now()));
            if batch.is_empty() {
                break;
            }
            match store.append_audit(&batch).await {
                Ok(()) => {
                    let done = shared.with(|inner| {
                        inner.held = None;
                        inner.queue.written()
                    });
                    progress.send_replace(done);
                    pause = PAUSE_FIRST;
                }
                Err(error) => {
                    let waiting = shared.with(|inner| {
                        inner.held.get_or_insert_with(Instant::now);
                        inner.queue.len()
                    });
                    tracing::error!(%error, waiting, "audit records wait");
                    tokio::time::sleep(pause).await;
                    pause = pause.saturating_mul(2).min(PAUSE_LAST);
                }
            }
        }
    }
}

/// How long [`Audit::flush`] waits for the store.
pub const FLUSH_PATIENCE: Duration = Duration::from_secs(5);
/// How often counted refusals are looked at.
const TICK: Duration = Duration::from_secs(5);
/// How long the task waits after the store failed: at first, and at most.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_LAST: Duration = Duration::from_secs(5);

/// Why the record is not complete on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// The store did not take it in time.
    #[error("{waiting} audit records are not written yet; is the disk full?")]
    NotWritten {
        /// How many wait.
        waiting: usize,
    },
}

#[cfg(test)]
mod tests {
    use tunnel_proto::UnixTime;

    use super::*;
    use crate::store::{AuditEvent, sqlite::SqliteStore};

    /// Generous: a machine that is busy writes ten thousand records.
    const WITHIN: Duration = Duration::from_secs(60);
    /// Records more than fit.
    const TOO_MANY: usize = 50;

    // F17, A9
    #[tokio::test]
    async fn what_the_store_does_not_take_is_written_once_it_does_and_what_did_not_fit_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("edge.db");
        let store = Arc::new(SqliteStore::open(&path).await.unwrap());
        let beside = sqlx::SqlitePool::connect_with(sqlx::sqlite::SqliteConnectOptions::new().filename(&path));
        let beside = beside.await.unwrap();
        let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'on purpose'); END";
        sqlx::raw_sql(refuse).execute(&beside).await.unwrap();
        let audit = Audit::start(store.clone(), Clock::System);
        let login = |number: usize| {
            let detail = Some(number.to_string());
            audit.record(AuditRecord { detail, ..AuditRecord::new(UnixTime(1), AuditEvent::Login) });
        };
        // More than one batch has.
        (0..300).for_each(login);
        let refused = async {
            while audit.held().held.is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(WITHIN, refused).await.expect("the store takes them");
        assert_eq!((audit.held().count, audit.held().lost), (300, 0), "they wait");
        (300..QUEUE_MAX + TOO_MANY).for_each(login);
        assert_eq!((audit.held().count, audit.held().lost as usize), (QUEUE_MAX, TOO_MANY));

        sqlx::raw_sql("DROP TRIGGER refuse").execute(&beside).await.unwrap();
        let written = async {
            // The second time with the record of those that were lost.
            for _ in 0..2 {
                while audit.flush().await.is_err() {}
            }
        };
        tokio::time::timeout(WITHIN, written).await.expect("they are never written");
        assert_eq!(audit.held(), Waiting { count: 0, lost: 0, held: None });
        let mut all = store.audit(u32::MAX).await.unwrap();
        all.reverse();
        let (lost, logins): (Vec<_>, Vec<_>) = all.iter().partition(|record| record.event == AuditEvent::Lost);
        let details: Vec<usize> = logins.iter().filter_map(|record| record.detail.as_ref()?.parse().ok()).collect();
        assert!(details.into_iter().eq(0..QUEUE_MAX), "{} logins, each once and in order", logins.len());
        assert_eq!(lost.iter().map(|record| record.count as usize).sum::<usize>(), TOO_MANY);
        assert_eq!(store.verify_audit().await.unwrap(), all.len() as u64);
    }
}
