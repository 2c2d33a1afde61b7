//! What is asked on a connection, and how long ago.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::body::Body;

use super::answers::Answer;
use crate::strict::Going;

/// Time for a request's head (H13).
pub(super) const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long a connection is kept on which nothing is asked any more; one on which nothing ever was, for [`HEAD_TIME`].
const IDLE_TIME: Duration = Duration::from_secs(60);

/// What is being asked on a connection, since when nothing is, and whether anything ever was.
pub(super) struct Activity(Mutex<(usize, Instant, bool)>);

impl Default for Activity {
    fn default() -> Self {
        Self(Mutex::new((0, Instant::now(), false)))
    }
}

impl Activity {
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = (state.0.saturating_add(1), state.1, true);
        Busy(self.clone())
    }

    /// Whether anything is being asked.
    pub(super) fn is_busy(&self) -> bool {
        self.busy() > 0
    }

    /// How many things are being asked.
    pub(super) fn busy(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// Whether by `now` nothing has been asked for so long.
    pub(super) fn rests_for(&self, time: Duration, now: Instant) -> bool {
        let (busy, since, _) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        busy == 0 && now.saturating_duration_since(since) >= time
    }

    /// Whether by `now` nothing has been asked for longer than a connection is kept for that.
    pub(super) fn idle_for_too_long(&self, now: Instant) -> bool {
        let (busy, since, ever) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        busy == 0 && now.saturating_duration_since(since) > if ever { IDLE_TIME } else { HEAD_TIME }
    }
}

/// One request, until its answer is gone.
pub(super) struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = (state.0.saturating_sub(1), Instant::now(), true);
    }
}

/// An answer's body, which keeps its request counted.
pub(super) struct Counted {
    pub(super) body: Body,
    pub(super) _busy: Busy,
    pub(super) answer: Option<Arc<Answer>>,
    pub(super) _going: Going,
}

impl http_body::Body for Counted {
    type Data = bytes::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, axum::Error>>> {
        if let Some(answer) = &self.answer {
            answer.taken();
        }
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let (Poll::Ready(Some(Ok(_))), Some(answer)) = (&polled, &self.answer) {
            answer.handed();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // H13
    #[test]
    fn a_connection_is_kept_for_a_minute_after_its_last_answer_and_for_a_heads_time_before_its_first_request() {
        let activity = Arc::<Activity>::default();
        let idle_after = |time: Duration| activity.idle_for_too_long(Instant::now() + time);
        let second = Duration::from_secs(1);
        assert!(!idle_after(HEAD_TIME - second) && idle_after(HEAD_TIME + second), "nothing was ever asked");
        let (one, other) = (activity.begin(), activity.begin());
        assert!(!idle_after(IDLE_TIME * 100), "two things are asked");
        drop(one);
        assert!(!idle_after(IDLE_TIME * 100), "one is");
        drop(other);
        assert!(!idle_after(IDLE_TIME - second) && idle_after(IDLE_TIME + second), "all is answered");
        drop(activity.begin());
        assert!(!idle_after(IDLE_TIME - second) && idle_after(IDLE_TIME + second), "and asked again");
    }
}
