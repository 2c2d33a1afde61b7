//! Something that an edge publishes: fetched when it is needed, kept for a while, and never fetched often.

use std::{
    future::Future,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use tunnel_proto::dial::AskError;

use crate::identity::IdentityError;

/// How long it counts before it is fetched again: as long as an edge says that its keys may be kept.
const LIFE: Duration = Duration::from_secs(5 * 60);
/// How long it counts while the edge cannot be asked. What was withdrawn meanwhile counts no longer than this.
const LIFE_MAX: Duration = Duration::from_secs(24 * 3600);
/// How soon the edge is asked again that did not answer.
const RETRY: Duration = Duration::from_secs(5);
/// How long fetching may take.
const FETCH_LIMIT: Duration = Duration::from_secs(10);

/// The thing, if it is known, and when it was asked for.
pub(crate) struct Fresh<T> {
    /// Whoever misses something in it may have it fetched again this often.
    again: Duration,
    known: RwLock<Option<Arc<Kept<T>>>>,
    asked: tokio::sync::Mutex<Asked>,
}

/// When the edge was asked last.
#[derive(Default)]
struct Asked {
    /// Because it was needed.
    needed: Option<Instant>,
    /// Because something was missed in it.
    missed: Option<Instant>,
}

/// The thing as it was fetched.
pub(crate) struct Kept<T> {
    pub(crate) value: T,
    at: Instant,
}

impl<T> Fresh<T> {
    pub(crate) fn new(again: Duration) -> Self {
        let (known, asked) = Default::default();
        Self { again, known, asked }
    }

    /// What is known, by `fetch` when it is too old. What was good is better than nothing while the edge cannot be asked.
    pub(crate) async fn get(
        &self,
        fetch: impl Future<Output = Result<T, IdentityError>>,
    ) -> Result<Arc<Kept<T>>, IdentityError> {
        let known = self.known();
        let aged = |limit| known.as_ref().filter(|known| known.at.elapsed() < limit).cloned();
        if let Some(young) = aged(LIFE) {
            return Ok(young);
        }
        let fetched = async {
            let mut asked = self.asked.lock().await;
            self.unless_too_soon(&mut asked.needed, known.as_ref(), RETRY, fetch).await
        };
        fetched.await.or_else(|error| aged(LIFE_MAX).ok_or(error))
    }

    /// Something newer than `seen`, in which something was missed; `seen` itself when it is too soon to ask again.
    pub(crate) async fn newer(
        &self,
        seen: &Arc<Kept<T>>,
        fetch: impl Future<Output = Result<T, IdentityError>>,
    ) -> Result<Arc<Kept<T>>, IdentityError> {
        let mut asked = self.asked.lock().await;
        self.unless_too_soon(&mut asked.missed, Some(seen), self.again, fetch).await
    }

    fn known(&self) -> Option<Arc<Kept<T>>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the edge says now; or what somebody else has fetched since `seen`, or too short a time ago to ask again.
    async fn unless_too_soon(
        &self,
        asked: &mut Option<Instant>,
        seen: Option<&Arc<Kept<T>>>,
        again: Duration,
        fetch: impl Future<Output = Result<T, IdentityError>>,
    ) -> Result<Arc<Kept<T>>, IdentityError> {
        let known = self.known();
        let newer = match (&known, seen) {
            (Some(known), Some(seen)) => !Arc::ptr_eq(known, seen),
            (known, _) => known.is_some(),
        };
        if newer || asked.is_some_and(|asked| asked.elapsed() < again) {
            let silent = || IdentityError::Keys { reason: "the edge did not answer a moment ago".to_owned() };
            return known.filter(|known| known.at.elapsed() < LIFE_MAX).ok_or_else(silent);
        }
        *asked = Some(Instant::now());
        let fetched = tokio::time::timeout(FETCH_LIMIT, fetch).await.map_err(|_| AskError::Timeout)??;
        let fetched = Arc::new(Kept { value: fetched, at: Instant::now() });
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(fetched.clone());
        Ok(fetched)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Answers with how often it was asked, or not at all.
    #[derive(Default)]
    struct Edge {
        asked: AtomicUsize,
        silent: bool,
    }

    impl Edge {
        async fn answer(&self) -> Result<usize, IdentityError> {
            let asked = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
            if self.silent { Err(IdentityError::Keys { reason: "silent".to_owned() }) } else { Ok(asked) }
        }
    }

    #[tokio::test]
    async fn many_who_need_it_at_once_have_it_fetched_once() {
        let (edge, fresh) = (Edge::default(), Fresh::new(Duration::ZERO));
        let all = futures::future::join_all((0..100).map(|_| fresh.get(edge.answer()))).await;
        assert!(all.iter().all(|got| got.as_ref().is_ok_and(|kept| kept.value == 1)));
        // All of them miss something in it: that is one question, too.
        let seen = fresh.get(edge.answer()).await.unwrap();
        let all = futures::future::join_all((0..100).map(|_| fresh.newer(&seen, edge.answer()))).await;
        assert!(all.iter().all(|got| got.as_ref().is_ok_and(|kept| kept.value == 2)));
        assert_eq!(edge.asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn whoever_misses_something_does_not_make_it_ask_without_end() {
        let (edge, fresh) = (Edge::default(), Fresh::new(Duration::from_secs(60)));
        let mut seen = fresh.get(edge.answer()).await.unwrap();
        for _ in 0..1000 {
            seen = fresh.newer(&seen, edge.answer()).await.unwrap();
        }
        assert_eq!((seen.value, edge.asked.load(Ordering::SeqCst)), (2, 2), "once a minute");
    }

    #[tokio::test]
    async fn an_edge_that_does_not_answer_is_not_asked_at_every_request() {
        let (edge, fresh) = (Edge { silent: true, ..Edge::default() }, Fresh::<usize>::new(Duration::ZERO));
        for _ in 0..1000 {
            assert!(fresh.get(edge.answer()).await.is_err());
        }
        assert_eq!(edge.asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn what_was_good_is_kept_while_the_edge_is_silent_but_not_for_ever() {
        let (edge, fresh) = (Edge { silent: true, ..Edge::default() }, Fresh::new(Duration::ZERO));
        let yesterday = Instant::now().checked_sub(LIFE_MAX).unwrap();
        for (at, good) in [(yesterday + Duration::from_secs(60), true), (yesterday, false)] {
            *fresh.known.write().unwrap() = Some(Arc::new(Kept { value: 7, at }));
            *fresh.asked.lock().await = Asked::default();
            assert_eq!(fresh.get(edge.answer()).await.is_ok(), good);
        }
    }
}
