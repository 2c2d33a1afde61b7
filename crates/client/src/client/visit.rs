//! A person's login under way: its own task, for all who wait for it, whoever of them gives up.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinHandle, time::timeout};

/// Something that takes a person's time. Cut off when dropped.
pub(super) struct Visit<T> {
    outcome: watch::Receiver<Option<T>>,
    waiting: Arc<watch::Sender<usize>>,
    task: JoinHandle<()>,
}

impl<T: Clone + Send + Sync + 'static> Visit<T> {
    /// Begins it. It goes on until there is an outcome, or nobody has waited for `grace`.
    pub(super) fn begin(grace: Duration, work: impl Future<Output = T> + Send + 'static) -> Arc<Self> {
        let (sender, outcome) = watch::channel(None);
        let waiting = Arc::new(watch::Sender::new(0));
        let mut waiters = waiting.subscribe();
        let task = tokio::spawn(async move {
            let forsaken = async {
                loop {
                    // The other end goes with the whole of it, and this task as well.
                    if waiters.wait_for(|count| *count == 0).await.is_err() {
                        return;
                    }
                    let Ok(Ok(_)) = timeout(grace, waiters.wait_for(|count| *count > 0)).await else { return };
                }
            };
            tokio::select! {
                done = work => drop(sender.send_replace(Some(done))),
                () = forsaken => {}
            }
        });
        Arc::new(Self { outcome, waiting, task })
    }

    /// Whether there is nothing more to wait for.
    pub(super) fn is_over(&self) -> bool {
        self.outcome.borrow().is_some() || self.task.is_finished()
    }

    /// The outcome, if there is one already.
    pub(super) fn outcome(&self) -> Option<T> {
        self.outcome.borrow().clone()
    }

    /// Waits for the outcome; `None` if it was given up.
    pub(super) async fn wait(&self) -> Option<T> {
        let _waiter = Waiter::new(&self.waiting);
        let mut outcome = self.outcome.clone();
        outcome.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone())
    }
}

impl<T> Drop for Visit<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Somebody waits, for as long as this lives.
struct Waiter<'a>(&'a watch::Sender<usize>);

impl<'a> Waiter<'a> {
    fn new(waiting: &'a watch::Sender<usize>) -> Self {
        waiting.send_modify(|count| *count = count.saturating_add(1));
        Self(waiting)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use tokio::time::sleep;

    use super::*;

    const GRACE: Duration = Duration::from_millis(600);

    /// Takes a while, and counts how often that ended.
    fn visit(length: Duration, ends: &Arc<AtomicUsize>) -> Arc<Visit<u8>> {
        struct End(Arc<AtomicUsize>);
        impl Drop for End {
            fn drop(&mut self) {
                self.0.fetch_add(1, SeqCst);
            }
        }
        let end = End(ends.clone());
        Visit::begin(GRACE, async move {
            let _end = end;
            sleep(length).await;
            7
        })
    }

    #[tokio::test]
    async fn it_goes_on_for_a_while_without_anybody_and_no_longer() {
        let ends = Arc::new(AtomicUsize::new(0));
        let long = visit(GRACE * 10, &ends);
        for _ in 0..3 {
            assert!(timeout(GRACE / 2, long.wait()).await.is_err(), "somebody gives up");
            sleep(GRACE / 2).await;
            assert!(!long.is_over());
        }
        sleep(GRACE * 2).await;
        assert!(long.is_over());
        assert_eq!((long.wait().await, ends.load(SeqCst)), (None, 1));
        // One who waits all the time gets it, however long it takes.
        assert_eq!(visit(GRACE * 3, &ends).wait().await, Some(7));
        // And it ends with whom it belongs to.
        let dropped = visit(GRACE * 10, &ends);
        sleep(Duration::from_millis(50)).await;
        drop(dropped);
        sleep(Duration::from_millis(50)).await;
        assert_eq!(ends.load(SeqCst), 3);
    }
}
