//! Tasks that last as long as an edge or a connector: one that panics is begun anew, and costs what it was at and nothing else
//! (F29).

use std::{future::Future, time::Duration};

use tokio::{
    task::{JoinError, JoinHandle},
    time::sleep,
};

/// How long a task that panicked rests, so that one that does so again and again leaves time for everything else.
const REST: Duration = Duration::from_secs(1);

/// A task that ends when nobody waits for it any more.
struct Held<T>(JoinHandle<T>);

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs `work` until it ends, again whenever it panics. Dropping the future ends it.
///
/// # Errors
/// The runtime ended it.
pub async fn anew<T, F>(name: &'static str, work: impl Fn() -> F) -> Result<T, JoinError>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    loop {
        // A task of its own each time: what it holds is dropped before the next one begins.
        let mut held = Held(tokio::spawn(work()));
        let ended = (&mut held.0).await;
        match ended {
            Err(error) if error.is_panic() => {
                tracing::error!(task = name, "a task panicked, which is a defect of this program; it begins anew");
                sleep(REST).await;
            }
            ended => return ended,
        }
    }
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
        let ended = anew("of a test", move || {
            let turn = counted.fetch_add(1, Relaxed);
            async move {
                assert!(turn >= 3, "on purpose");
                turn
            }
        });
        assert_eq!(ended.await.unwrap(), 3);
        assert_eq!(begun.load(Relaxed), 4);
    }
}
