//! One runtime for each processor core, for programs that carry many bytes.
//!
//! A runtime whose threads share all of their tasks moves a connection from thread to thread, and wakes one for what another has
//! just read. A task of a [`Cores`] stays on one thread, with its sockets and its timers, and with what it spawns. Nothing in
//! these crates needs it: they run in whichever runtime they are started in, and take such handles beside.

use std::{io, num::NonZeroUsize, sync::mpsc, thread};

use tokio::{
    runtime::{Builder, Handle},
    sync::watch,
};

/// The most cores that [`usual`] names: every listener wakes all of them for each connection, so that with more there is less to
/// gain.
pub const USUAL_MAX: usize = 16;
/// Threads for what blocks, such as questions to the system's resolver, over all cores: as many as tokio has in one runtime.
const BLOCKING_MAX: usize = 512;
/// And at least so many for each core.
const BLOCKING_MIN: usize = 8;

/// Threads of which each drives a runtime of its own. Dropping it ends them, and cuts what they still do.
#[derive(Debug)]
pub struct Cores {
    handles: Vec<Handle>,
    /// Each of them runs until this is dropped.
    _running: watch::Sender<()>,
}

impl Cores {
    /// Starts `count` of them, which are called `name` and their number. Works in a runtime and outside of any.
    ///
    /// # Errors
    /// The system gives no more threads or descriptors.
    pub fn start(name: &str, count: NonZeroUsize) -> io::Result<Self> {
        let running = watch::Sender::new(());
        let blocking = (BLOCKING_MAX / count).max(BLOCKING_MIN);
        let handles = (0..count.get()).map(|number| start(format!("{name}-{number}"), blocking, running.subscribe()));
        Ok(Self { handles: handles.collect::<io::Result<_>>()?, _running: running })
    }

    /// What puts tasks onto each of them. It may outlive them, and does nothing then.
    pub fn handles(&self) -> &[Handle] {
        &self.handles
    }
}

/// As many as this process may use at a time, at most [`USUAL_MAX`].
pub fn usual() -> NonZeroUsize {
    let most = const { NonZeroUsize::new(USUAL_MAX).expect("not zero") };
    thread::available_parallelism().map_or(NonZeroUsize::MIN, |there_are| there_are.min(most))
}

/// Starts one, which runs until nobody is at the other end of `running`.
fn start(name: String, blocking: usize, mut running: watch::Receiver<()>) -> io::Result<Handle> {
    let (sender, started) = mpsc::sync_channel(1);
    // Made and dropped by its own thread: a runtime must not be dropped inside of another.
    let work = move || {
        let runtime = match Builder::new_current_thread().enable_all().max_blocking_threads(blocking).build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(sender.send(Err(error))),
        };
        let _ = sender.send(Ok(runtime.handle().clone()));
        runtime.block_on(async move { while running.changed().await.is_ok() {} });
        // Without waiting for what blocks.
        runtime.shutdown_background();
    };
    thread::Builder::new().name(name).spawn(work)?;
    started.recv().unwrap_or_else(|_| Err(io::Error::other("a thread ended before it began")))
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, thread::ThreadId, time::Duration};

    use super::*;

    fn cores(count: usize) -> Cores {
        Cores::start("core", NonZeroUsize::new(count).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn what_is_put_onto_a_core_stays_on_its_thread_with_all_that_it_spawns() {
        let cores = cores(3);
        let mut threads: HashSet<ThreadId> = HashSet::from([thread::current().id()]);
        for (number, core) in cores.handles().iter().enumerate() {
            let task = core.spawn(async {
                let mut seen = HashSet::from([thread::current().id()]);
                for _ in 0..20 {
                    let child = async {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        (thread::current().id(), thread::current().name().map(str::to_owned))
                    };
                    let (id, name) = tokio::spawn(child).await.unwrap();
                    seen.extend([id, thread::current().id()]);
                    assert!(name.is_some_and(|name| name.starts_with("core-")));
                }
                (seen, Handle::current().id())
            });
            let (seen, runtime) = task.await.unwrap();
            assert_eq!((seen.len(), runtime), (1, core.id()), "core {number}");
            threads.extend(seen);
        }
        assert_eq!(threads.len(), 4, "each has a thread of its own");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_goes_on_is_cut_with_the_cores_and_nothing_begins_any_more() {
        let cores = cores(2);
        let handles = cores.handles().to_vec();
        let endless: Vec<_> = handles.iter().map(|core| core.spawn(std::future::pending::<()>())).collect();
        drop(cores);
        for task in endless {
            assert!(task.await.unwrap_err().is_cancelled());
        }
        for core in handles {
            assert!(core.spawn(async {}).await.unwrap_err().is_cancelled());
        }
    }

    #[test]
    fn there_is_always_a_core_and_never_more_than_pay() {
        assert!((1..=USUAL_MAX).contains(&usual().get()));
    }
}
