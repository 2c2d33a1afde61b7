//! A visitor's place among the connections.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use tokio_util::{sync::CancellationToken, task::task_tracker::TaskTrackerToken};

use super::{
    activity::Activity,
    cores::Home,
    http::H2_STREAMS,
    shelf::Taken,
    sources::{Counted, Glitch, Origin, Standing},
};

/// Faults of one connection that are borne while its network is let in slowly: as many as it may have requests on their way. The
/// first has it asked to go: whoever is innocent gets an answer, to what else is on its way as well, and comes again.
pub(super) const BORNE_MAX: usize = H2_STREAMS as usize;

/// A visitor's place, for as long as its connection lasts, whatever the connection becomes.
pub(crate) struct Place {
    pub(super) room: Taken,
    pub(super) origin: Origin,
    pub(super) _counted: Counted,
    /// Counted with its network as well, once it is kept.
    pub(super) kept: OnceLock<Option<Counted>>,
    pub(super) _task: TaskTrackerToken,
    pub(super) _visitor: TaskTrackerToken,
    pub(super) _home: Arc<Home>,
    pub(super) stopping: CancellationToken,
    pub(super) cut: CancellationToken,
    pub(super) cut_http: CancellationToken,
    /// Asks this connection alone to go.
    pub(super) leaving: CancellationToken,
    /// Ends it.
    pub(super) over: CancellationToken,
    /// How often it did wrong while its network was let in slowly.
    pub(super) borne: AtomicUsize,
    pub(super) held_up: Arc<HeldUp>,
}

impl Place {
    /// Waits until everything is to end.
    pub(crate) async fn cut(&self) {
        self.cut.cancelled().await;
    }

    /// Waits until everything is to end, or HTTP and WebSockets are.
    pub(crate) async fn cut_http(&self) {
        tokio::select! {
            () = self.cut.cancelled() => {}
            () = self.cut_http.cancelled() => {}
        }
    }

    /// Cancelled when nothing new is to begin.
    pub(crate) fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }

    /// Waits until this connection is to end: its place is needed by somebody else, or its source is not let in any more.
    pub(crate) async fn lost(&self) {
        tokio::select! {
            () = self.room.lost().cancelled() => {}
            () = self.over.cancelled() => {}
        }
    }

    /// Waits until this connection is asked to go.
    pub(super) async fn asked_to_go(&self) {
        self.leaving.cancelled().await;
    }

    /// Keeps the place whatever happens: somebody who was admitted has it.
    pub(crate) fn keep(&self) {
        self.room.keep();
        self.kept.get_or_init(|| self.origin.keep());
    }

    /// Enters what the visitor did wrong. Whose network is not let in any more loses its place, too, and whose is let in slowly
    /// is asked to go before that, unless somebody who was admitted has it.
    pub(crate) fn note(&self, glitch: Glitch) {
        let standing = self.origin.note(glitch);
        if self.room.is_kept() {
            return;
        }
        match standing {
            Standing::Open => {}
            Standing::Slowly if self.borne.fetch_add(1, Relaxed) < BORNE_MAX => self.leaving.cancel(),
            Standing::Slowly | Standing::Out => self.over.cancel(),
        }
    }

    /// The request bodies of this connection that wait for us.
    pub(crate) fn held_up(&self) -> Arc<HeldUp> {
        self.held_up.clone()
    }

    pub(super) fn activity(&self) -> Arc<Activity> {
        self.room.activity().clone()
    }
}

/// How many request bodies of one connection have a piece that a service does not take. Their connection's window may be
/// full of that, so that nothing of its other bodies arrives, which is not the visitor's fault.
#[derive(Debug, Default)]
pub(crate) struct HeldUp(AtomicUsize);

impl HeldUp {
    /// Counts one, until it is dropped.
    pub(crate) fn one(self: &Arc<Self>) -> OneHeldUp {
        self.0.fetch_add(1, Relaxed);
        OneHeldUp(self.clone())
    }

    /// Whether there is any.
    pub(crate) fn any(&self) -> bool {
        self.0.load(Relaxed) > 0
    }
}

/// One request body that waits for us.
#[derive(Debug)]
pub(crate) struct OneHeldUp(Arc<HeldUp>);

impl Drop for OneHeldUp {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}
