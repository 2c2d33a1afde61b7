//! Tasks that last as long as the edge: one that panics is begun anew, and costs what it was at and nothing else (F29).

use std::{future::Future, panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt as _;
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

/// How long a task that panicked rests, so that one that does so again and again leaves time for everything else.
const REST: Duration = Duration::from_secs(1);

/// Runs `work` until it ends, again whenever it panics. Aborting the handle ends it.
pub(crate) fn keep<T>(name: &'static str, work: impl Fn() -> T + Send + 'static) -> JoinHandle<()>
where
    T: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(async move {
        // A task of its own each time: what it holds is dropped before the next one begins.
        while let Err(error) = AbortOnDropHandle::new(tokio::spawn(work())).await {
            if !error.is_panic() {
                return;
            }
            tracing::error!(task = name, "a task panicked, which is a defect of this program; it begins anew");
            tokio::time::sleep(REST).await;
        }
    })
}

/// What `job` gives; `None` when it panics, which ends nothing but the job.
pub(crate) async fn contain<T>(name: &'static str, job: impl Future<Output = T>) -> Option<T> {
    // What a job shares is behind locks that forget that they were held by one that panicked.
    let done = AssertUnwindSafe(job).catch_unwind().await;
    done.inspect_err(|_| {
        tracing::error!(task = name, "a job panicked, which is a defect of this program; the next one goes on")
    })
    .ok()
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    };

    use super::*;

    // F29
    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_is_begun_anew_until_it_ends() {
        let begun = Arc::new(AtomicUsize::new(0));
        let counted = begun.clone();
        let kept = keep("of a test", move || {
            let turn = counted.fetch_add(1, Relaxed);
            async move { assert!(turn >= 3, "on purpose") }
        });
        kept.await.unwrap();
        assert_eq!(begun.load(Relaxed), 4);
    }

    // F29
    #[tokio::test]
    async fn a_job_that_panics_ends_alone() {
        assert_eq!(contain("of a test", async { 7 }).await, Some(7));
        let broken = async { "no number".parse::<u8>().expect("on purpose") };
        assert_eq!(contain("of a test", broken).await, None);
    }

    #[tokio::test]
    async fn whoever_ends_the_handle_ends_the_work() {
        let (alive, ended) = tokio::sync::oneshot::channel::<()>();
        let alive = std::sync::Mutex::new(Some(alive));
        let kept = keep("of a test", move || {
            let alive = alive.lock().unwrap().take();
            async move {
                std::future::pending::<()>().await;
                drop(alive);
            }
        });
        tokio::task::yield_now().await;
        kept.abort();
        assert!(ended.await.is_err(), "what the work held is gone");
    }
}
