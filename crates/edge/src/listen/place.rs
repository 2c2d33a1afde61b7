//! Places: how many connections there are, in all and of each network.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::OwnedSemaphorePermit;
use tokio_util::{sync::CancellationToken, task::task_tracker::TaskTrackerToken};

/// Visitors' connections from one network at a time: an IPv4 address, or what one customer has of IPv6. Trusted proxies
/// speak for many, and loopback is this machine.
const CONNECTIONS_PER_NETWORK: usize = 512;

/// A visitor's place, for as long as its connection lasts, whatever the connection becomes.
pub(crate) struct Place {
    pub(super) _room: OwnedSemaphorePermit,
    pub(super) _crowd: Option<InCrowd>,
    pub(super) _task: TaskTrackerToken,
    pub(super) stopping: CancellationToken,
    pub(super) cut: CancellationToken,
}

impl Place {
    /// Waits until everything is to end.
    pub(crate) async fn cut(&self) {
        self.cut.cancelled().await;
    }

    /// Cancelled when nothing new is to begin.
    pub(crate) fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }
}

/// How many connections each network has.
#[derive(Default)]
pub(crate) struct Crowd(Mutex<HashMap<Vec<u8>, usize>>);

impl Crowd {
    pub(super) fn enter(self: &Arc<Self>, peer: IpAddr) -> Option<InCrowd> {
        let network = network(peer);
        let mut crowd = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = crowd.entry(network.clone()).or_default();
        if *count >= CONNECTIONS_PER_NETWORK {
            return None;
        }
        *count = count.saturating_add(1);
        Some(InCrowd { crowd: self.clone(), network })
    }
}

/// One connection of a network; counted until dropped.
pub(super) struct InCrowd {
    crowd: Arc<Crowd>,
    network: Vec<u8>,
}

impl Drop for InCrowd {
    fn drop(&mut self) {
        let mut crowd = self.crowd.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = crowd.get_mut(&self.network) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                crowd.remove(&self.network);
            }
        }
    }
}

/// The network that an address is counted with: itself, or the /56 of an IPv6 address (RFC 6177).
fn network(peer: IpAddr) -> Vec<u8> {
    match peer {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().iter().take(7).copied().collect(),
    }
}
