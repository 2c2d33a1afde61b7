//! Which runtime a connection lives in, from its handshake to its end.
//!
//! A program that has a runtime of one thread for each core gives their handles, and every listener is registered with each of
//! them: the same socket, so that whoever is free accepts. Sockets of their own at one port (`SO_REUSEPORT`) would not do: the
//! system deals connections out to them by a hash, and what waits in one that is closed is lost, while the process that takes
//! this one's place may have another number of cores. Where no handles are given, there is one runtime: that in which the edge
//! was started.

use tokio::runtime::Handle;
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

/// A core is asked to leave a connection to another one when it has more than the other by this part.
const UNEVEN: usize = 8;

/// The runtimes that connections live in; there is one at least.
pub(super) struct Cores(Vec<Core>);

struct Core {
    runtime: Handle,
    /// Counts the connections that live here. Nobody waits for them here.
    connections: TaskTracker,
}

/// The core of a connection, which counts there for as long as this lives.
pub(super) struct Home {
    elsewhere: Option<Handle>,
    _counted: TaskTrackerToken,
}

impl Cores {
    /// The runtimes of these handles; where there are none, the one that this is called in.
    pub(super) fn new(handles: &[Handle]) -> Self {
        let core = |runtime: &Handle| Core { runtime: runtime.clone(), connections: TaskTracker::new() };
        Self(match handles {
            [] => vec![core(&Handle::current())],
            some => some.iter().map(core).collect(),
        })
    }

    pub(super) fn runtimes(&self) -> impl Iterator<Item = &Handle> {
        self.0.iter().map(|core| &core.runtime)
    }

    /// Where a connection is to live that was accepted in this runtime.
    pub(super) fn home(&self) -> Home {
        let here = Handle::current().id();
        let own = self.0.iter().position(|core| core.runtime.id() == here);
        let held: Vec<usize> = self.0.iter().map(|core| core.connections.len()).collect();
        let at = choose(own, &held);
        let core = self.0.get(at).or(self.0.first()).expect("there is one at least");
        Home { elsewhere: (own != Some(at)).then(|| core.runtime.clone()), _counted: core.connections.token() }
    }

    /// How many connections live on each core.
    #[cfg(test)]
    pub(super) fn held(&self) -> Vec<usize> {
        self.0.iter().map(|core| core.connections.len()).collect()
    }
}

impl Home {
    /// The runtime that the connection has to be moved to, if it is not this one.
    pub(super) const fn elsewhere(&self) -> Option<&Handle> {
        self.elsewhere.as_ref()
    }
}

/// Whoever accepts keeps, for it was free; but connections last, links for days, and one that wakes a little sooner than the
/// others would have them all.
fn choose(own: Option<usize>, held: &[usize]) -> usize {
    let (emptiest, least) = held.iter().copied().enumerate().min_by_key(|(_, held)| *held).unwrap_or_default();
    let most = least.saturating_add(least / UNEVEN);
    own.filter(|own| held.get(*own).is_some_and(|held| *held <= most)).unwrap_or(emptiest)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    #[test]
    fn who_accepts_keeps_unless_another_has_clearly_fewer() {
        for (own, held, at) in [
            (Some(1), &[0, 0][..], 1),
            (Some(1), &[0, 1], 0),
            (Some(0), &[4, 5, 3], 2),
            (Some(0), &[9, 8], 0),
            (Some(0), &[10, 8], 1),
            (Some(1), &[800, 900], 1),
            (Some(1), &[800, 901], 0),
            // One that is none of them.
            (None, &[2, 1, 1], 1),
        ] {
            assert_eq!(choose(own, held), at, "{own:?} {held:?}");
        }
    }

    #[tokio::test]
    async fn without_cores_everything_is_where_the_edge_was_started() {
        let cores = Cores::new(&[]);
        let homes: Vec<_> = (0..100).map(|_| cores.home()).collect();
        assert!(homes.iter().all(|home| home.elsewhere().is_none()));
        assert_eq!(cores.held(), [100]);
        drop(homes);
        assert_eq!(cores.held(), [0]);
    }

    #[tokio::test]
    async fn few_connections_are_as_many_on_each_core_whoever_accepts_them() {
        let threads = tunnel_proto::cores::Cores::start("core", NonZeroUsize::new(4).unwrap()).unwrap();
        let cores = std::sync::Arc::new(Cores::new(threads.handles()));
        let accepting = cores.clone();
        let first = threads.handles()[0].clone();
        let homes = first.spawn(async move { (0..8).map(|_| accepting.home()).collect::<Vec<_>>() }).await.unwrap();
        assert_eq!(cores.held(), [2, 2, 2, 2]);
        assert_eq!(homes.iter().filter(|home| home.elsewhere().is_none()).count(), 2);
    }
}
