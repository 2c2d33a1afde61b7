//! What a running connector tells about itself: its state, and counters.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use tunnel_proto::dial::Carried;

/// How a connector is doing. Watch it with [`Connector::status`](crate::Connector::status).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// No link is up. Nothing can be reached.
    Connecting {
        /// What kept the last attempt from succeeding.
        problem: Option<Arc<str>>,
    },
    /// All links are up.
    Online {
        /// How many.
        links: usize,
    },
    /// Some links are up: everything can be reached, with less redundancy.
    Degraded {
        /// How many.
        links: usize,
        /// What kept the last attempt of another link from succeeding.
        problem: Option<Arc<str>>,
    },
    /// Stopping: what is in flight is being finished.
    Draining,
    /// Over. [`Connector::ended`](crate::Connector::ended) says why.
    Ended,
}

impl Status {
    /// Whether the edge can reach the services.
    pub const fn is_ready(&self) -> bool {
        matches!(self, Self::Online { .. } | Self::Degraded { .. })
    }

    /// How many links are up.
    pub const fn links(&self) -> usize {
        match self {
            Self::Online { links } | Self::Degraded { links, .. } => *links,
            _ => 0,
        }
    }
}

/// Counters since the connector started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Streams that were served, now or before.
    pub streams: u64,
    /// Streams being served now.
    pub streams_open: usize,
    /// Streams that were refused, whatever the reason.
    pub refused: u64,
    /// Bytes carried to the services.
    pub bytes_to_services: u64,
    /// Bytes carried from the services.
    pub bytes_from_services: u64,
    /// Links that were established.
    pub links_established: u64,
    /// Attempts to establish a link that failed.
    pub links_failed: u64,
}

/// The live form of [`Counters`].
#[derive(Debug, Default)]
pub(crate) struct Meters {
    pub(crate) streams: AtomicU64,
    pub(crate) streams_open: AtomicUsize,
    pub(crate) refused: AtomicU64,
    pub(crate) carried: Carried,
    pub(crate) links_established: AtomicU64,
    pub(crate) links_failed: AtomicU64,
}

impl Meters {
    pub(crate) fn read(&self) -> Counters {
        Counters {
            streams: self.streams.load(Ordering::Relaxed),
            streams_open: self.streams_open.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            bytes_to_services: self.carried.to_service.load(Ordering::Relaxed),
            bytes_from_services: self.carried.from_service.load(Ordering::Relaxed),
            links_established: self.links_established.load(Ordering::Relaxed),
            links_failed: self.links_failed.load(Ordering::Relaxed),
        }
    }

    /// Counts a stream as open until the guard is dropped.
    pub(crate) fn open_stream(self: &Arc<Self>) -> OpenStream {
        self.streams.fetch_add(1, Ordering::Relaxed);
        self.streams_open.fetch_add(1, Ordering::Relaxed);
        OpenStream(self.clone())
    }
}

pub(crate) struct OpenStream(Arc<Meters>);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.streams_open.fetch_sub(1, Ordering::Relaxed);
    }
}
