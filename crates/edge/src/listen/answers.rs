//! Answers that nobody takes: in HTTP/2 a visitor that grants no window makes nothing be written, so that no socket stalls
//! and nothing is ever late (H14). Each stream is watched by itself: a film that is paused must not end its page.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::http::STALL_TIME;

/// How often it is looked whether a stream still moves.
const LOOK_EVERY: Duration = Duration::from_secs(30);

tokio::task_local! {
    static STREAM: Arc<Answer>;
}

/// Since when a piece of an answer waits to be taken.
#[derive(Default)]
pub(super) struct Answer(Mutex<Option<Instant>>);

impl Answer {
    /// The one of the stream that is being served; `None` in HTTP/1, where the socket tells.
    pub(super) fn current() -> Option<Arc<Self>> {
        STREAM.try_with(Arc::clone).ok()
    }

    /// A piece was handed over.
    pub(super) fn handed(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// The next one is asked for.
    pub(super) fn taken(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn since(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a piece has waited for [`STALL_TIME`].
    async fn is_left_lying(&self) {
        loop {
            let left = self.since().map_or(STALL_TIME, |since| STALL_TIME.saturating_sub(since.elapsed()));
            if left.is_zero() {
                return;
            }
            sleep(left.min(LOOK_EVERY)).await;
        }
    }
}

/// Runs the streams of HTTP/2 connections. One whose answer is left lying is dropped, which resets it.
#[derive(Clone, Copy)]
pub(super) struct Streams;

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, stream: F) {
        let answer = Arc::<Answer>::default();
        let watched = answer.clone();
        tokio::spawn(STREAM.scope(answer, async move {
            tokio::select! {
                _ = stream => {}
                () = watched.is_left_lying() => tracing::debug!("an answer is left lying by its visitor"),
            }
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // H14
    #[tokio::test(start_paused = true)]
    async fn only_what_is_handed_over_and_not_taken_is_left_lying() {
        let (answer, start) = (Answer::default(), Instant::now());
        let patient = tokio::time::timeout(STALL_TIME * 10, answer.is_left_lying()).await;
        assert!(patient.is_err(), "a service may take its time");
        for _ in 0..10 {
            answer.handed();
            assert!(tokio::time::timeout(STALL_TIME / 2, answer.is_left_lying()).await.is_err());
            answer.taken();
        }
        let silent = tokio::time::timeout(STALL_TIME * 2, answer.is_left_lying()).await;
        assert!(silent.is_err(), "what was taken is not waited for: the next piece is the service's affair");
        answer.handed();
        let handed = Instant::now();
        answer.is_left_lying().await;
        assert!(handed.elapsed() >= STALL_TIME && handed.elapsed() < STALL_TIME + LOOK_EVERY);
        assert!(start.elapsed() > STALL_TIME * 15);
    }
}
