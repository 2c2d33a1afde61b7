//! Tasks that last as long as the edge: one that panics is begun anew, and costs what it was at and nothing else (F29).

use std::{future::Future, panic::AssertUnwindSafe};

use futures::FutureExt as _;
use tokio::{runtime::Handle, task::JoinHandle};
use tunnel_proto::task::anew;

/// Runs `work` until it ends, again whenever it panics. Aborting the handle ends it.
pub(crate) fn keep<T>(name: &'static str, work: impl Fn() -> T + Send + 'static) -> JoinHandle<()>
where
    T: Future<Output = ()> + Send + 'static,
{
    keep_on(&Handle::current(), name, work)
}

/// The same on a runtime that need not be this one.
pub(crate) fn keep_on<T>(runtime: &Handle, name: &'static str, work: impl Fn() -> T + Send + 'static) -> JoinHandle<()>
where
    T: Future<Output = ()> + Send + 'static,
{
    runtime.spawn(async move {
        anew(name, work).await.ok();
    })
}

/// What `job` gives; `None` when it panics, which ends nothing but the job. Takes no more memory than the job, as an async
/// function would, which has room for it twice.
pub(crate) fn contain<T>(name: &'static str, job: impl Future<Output = T>) -> impl Future<Output = Option<T>> {
    // What a job shares is behind locks that forget that they were held by one that panicked.
    AssertUnwindSafe(job).catch_unwind().map(move |done| {
        done.inspect_err(|_| {
            tracing::error!(task = name, "a job panicked, which is a defect of this program; the next one goes on")
        })
        .ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
