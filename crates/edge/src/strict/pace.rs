//! Between whoever reads a connection's requests and whoever answers them.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use tokio::sync::Notify;

use crate::request::Malformed;

/// Where the requests of a connection are.
#[derive(Default)]
pub(crate) struct Pace {
    turn: Mutex<Turn>,
    /// A head has come whole.
    whole: Notify,
}

#[derive(Default)]
struct Turn {
    /// How the last request was answered; `None` while it is not.
    answered: Option<Answered>,
    refused: Option<Malformed>,
    is_amid_a_head: bool,
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

    /// The request that was asked has its answer.
    pub(crate) fn answer(&self, is_switching: bool) {
        let mut turn = self.turn();
        turn.answered = Some(if is_switching { Answered::BySwitching } else { Answered::Plainly });
        if let Some(reader) = turn.reader.take() {
            reader.wake();
        }
    }

    /// Waits while a head has come in part.
    pub(crate) async fn whole_head(&self) {
        loop {
            let whole = self.whole.notified();
            if !self.turn().is_amid_a_head {
                return;
            }
            whole.await;
        }
    }

    /// A request goes to whoever answers it.
    pub(super) fn ask(&self) {
        self.turn().answered = None;
    }

    /// What is asked next is refused.
    pub(super) fn refuse(&self, fault: Malformed) {
        self.turn().refused = Some(fault);
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

    /// Whether a head has come in part.
    pub(super) fn is_amid_a_head(&self, is: bool) {
        let mut turn = self.turn();
        if std::mem::replace(&mut turn.is_amid_a_head, is) && !is {
            self.whole.notify_waiters();
        }
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
