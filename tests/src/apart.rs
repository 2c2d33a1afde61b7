//! A thread and a runtime beside the test's own, for what would take all of its time.

use anyhow::{Context, Result};
use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

/// A runtime of one thread, in the namespace of whoever starts it. Dropping it ends what runs there.
#[derive(Debug)]
pub struct Apart {
    handle: Handle,
    _running: oneshot::Sender<()>,
}

impl Apart {
    /// Starts it.
    ///
    /// # Errors
    /// The system refused.
    pub fn start() -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (handle, (running, ended)) = (runtime.handle().clone(), oneshot::channel::<()>());
        std::thread::Builder::new().name("apart".into()).spawn(move || {
            // Nothing is sent, ever: it ends when the sender is dropped.
            let _ = runtime.block_on(ended);
        })?;
        Ok(Self { handle, _running: running })
    }

    /// Where to spawn what runs there.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Does something there, with all sockets and timers that it makes.
    ///
    /// # Errors
    /// It panicked.
    pub async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T> {
        self.handle.spawn(work).await.context("what ran apart came to no end")
    }
}
