//! Between whoever reads a connection's requests and whoever answers them.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use http::{HeaderMap, Uri};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use crate::request::Malformed;

/// Where the requests of a connection are.
#[derive(Default)]
pub(crate) struct Pace {
    turn: Mutex<Turn>,
    /// A head has begun to come, or has come whole.
    head: Notify,
}

#[derive(Default)]
struct Turn {
    /// How the last request was answered; `None` while it is not.
    answered: Option<Answered>,
    refused: Option<Malformed>,
    /// Who reads that it is.
    asker: HeaderMap,
    /// What was asked for, where the answer depends on it.
    target: Option<Uri>,
    /// How many requests were asked, and how many answers are gone.
    asked: usize,
    gone: usize,
    /// Since when a head comes in pieces.
    head_since: Option<Instant>,
    reader: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// Another request may follow.
    Plainly,
    /// The connection has changed its protocol.
    BySwitching,
}

impl Pace {
    /// Why the request that is now asked is refused, if it is.
    pub(crate) fn refused(&self) -> Option<Malformed> {
        self.turn().refused
    }

    /// Who reads the answer to what is refused, in the fields by which a request says so.
    pub(crate) fn asker(&self) -> HeaderMap {
        self.turn().asker.clone()
    }

    /// What the refused head asks for, where the answer depends on it.
    pub(crate) fn target(&self) -> Option<Uri> {
        self.turn().target.clone()
    }

    /// The request that was asked has its answer.
    pub(crate) fn answer(&self, is_switching: bool) {
        let mut turn = self.turn();
        turn.answered = Some(if is_switching { Answered::BySwitching } else { Answered::Plainly });
        if let Some(reader) = turn.reader.take() {
            reader.wake();
        }
    }

    /// The answer is on its way, until what this gives is dropped.
    pub(crate) fn going(self: &Arc<Self>) -> Going {
        Going(self.clone())
    }

    /// Waits while a head has come in part.
    pub(crate) async fn whole_head(&self) {
        loop {
            let changed = self.head.notified();
            if self.turn().head_since.is_none() {
                return;
            }
            changed.await;
        }
    }

    /// Waits until a head has been on its way for `limit` (H13).
    pub(crate) async fn late_head(&self, limit: Duration) {
        loop {
            let changed = self.head.notified();
            let since = self.turn().head_since;
            match since {
                None => changed.await,
                Some(since) => {
                    if timeout_at(since + limit, changed).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// A request goes to whoever answers it.
    pub(super) fn ask(&self) {
        let mut turn = self.turn();
        (turn.answered, turn.asked) = (None, turn.asked.saturating_add(1));
    }

    /// What is asked next is refused.
    pub(super) fn refuse(&self, fault: Malformed) {
        self.turn().refused = Some(fault);
    }

    /// Who asks what is refused, and for what.
    pub(super) fn is_asked_by(&self, asker: HeaderMap, target: Option<Uri>) {
        let mut turn = self.turn();
        (turn.asker, turn.target) = (asker, target);
    }

    /// How the last request was answered, if it was.
    pub(super) fn answered(&self) -> Option<Answered> {
        self.turn().answered
    }

    /// Whether the last request has its answer; if not, `cx` hears of it.
    pub(super) fn poll_answered(&self, cx: &Context<'_>) -> Poll<()> {
        let mut turn = self.turn();
        if turn.answered.is_some() {
            return Poll::Ready(());
        }
        turn.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Whether no answer is to come or on its way; if one is, `cx` hears of its end.
    pub(super) fn poll_gone(&self, cx: &Context<'_>) -> Poll<()> {
        let mut turn = self.turn();
        // What is refused is answered, and was never asked.
        if turn.gone >= turn.asked {
            return Poll::Ready(());
        }
        turn.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Whether a head has come in part.
    pub(super) fn is_amid_a_head(&self, is: bool) {
        let mut turn = self.turn();
        if turn.head_since.is_some() != is {
            turn.head_since = is.then(Instant::now);
            self.head.notify_waiters();
        }
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer on its way.
pub(crate) struct Going(Arc<Pace>);

impl Drop for Going {
    fn drop(&mut self) {
        let mut turn = self.0.turn();
        turn.gone = turn.gone.saturating_add(1);
        if let Some(reader) = turn.reader.take() {
            reader.wake();
        }
    }
}
