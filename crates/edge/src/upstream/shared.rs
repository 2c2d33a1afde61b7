//! Streams that speak HTTP/2: each carries the requests of many visitors at a time, every one in a stream of its own.
//!
//! HTTP/2 keeps requests apart, so a broken one costs itself alone. Services that authenticate the connection are the
//! exception: a request with NTLM or Negotiate goes on a connection of its session only, and one on which such a challenge
//! was seen takes no new requests (S1c).
//!
//! What a service sends that costs it nothing has budgets, as what visitors send (T11): over one, a connection takes no new
//! requests; far over it, it is cut.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tunnel_proto::link::Stream;

use super::{HEAD_MAX, IDLE_MAX};
use crate::{
    forward::RequestBody,
    listen::{Watch, Watched},
};

/// Requests of one connection at a time, if its service takes as many.
const REQUESTS_MAX: usize = 32;
/// What one answer may send ahead of its visitor, in bytes.
const STREAM_WINDOW: u32 = 256 * 1024;
/// What all answers of a connection may: visitors who do not read leave the others theirs.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * REQUESTS_MAX as u32;
/// What one request may have waiting, in bytes.
const SEND_BUFFER: usize = 256 * 1024;
/// The largest list of fields, as HTTP/2 counts it.
const FIELDS_MAX: u32 = HEAD_MAX as u32;
/// Streams that the service makes us reset before the connection is given up.
const LOCAL_RESETS: usize = 64;
/// How often a connection in use is asked for a sign of life, and how long that may take.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_PATIENCE: Duration = Duration::from_secs(20);

/// A connection. It ends when nobody holds it any more.
pub(super) struct Shared {
    sender: SendRequest<RequestBody>,
    /// Requests at a time that its service allows, by what it has said last.
    allowed: Arc<AtomicUsize>,
    used: Mutex<Used>,
    retired: AtomicBool,
    watch: Arc<Watch>,
}

/// Requests under way, and since when they are that many.
struct Used {
    requests: usize,
    since: Instant,
}

impl Shared {
    /// Speaks HTTP/2 on a stream, without waiting for what the service has to say about it.
    pub(super) async fn begin(stream: Stream) -> Result<Arc<Self>, hyper::Error> {
        let watch = Watch::of_service(REQUESTS_MAX as u32);
        let (sender, mut connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_max_send_streams(REQUESTS_MAX)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(FIELDS_MAX)
            .max_local_error_reset_streams(LOCAL_RESETS)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_PATIENCE)
            .handshake(TokioIo::new(Watched::new(stream, Some(watch.clone()))))
            .await?;
        // What the service allows is known as soon as it has said so; until then it is what most allow at least.
        let allowed = Arc::new(AtomicUsize::new(connection.current_max_send_streams()));
        let publish = allowed.clone();
        tokio::spawn(async move {
            let driving = std::future::poll_fn(|cx| {
                let ended = Pin::new(&mut connection).poll(cx);
                publish.store(connection.current_max_send_streams(), Relaxed);
                ended
            });
            if let Err(error) = driving.await {
                tracing::debug!(%error, "an HTTP/2 stream to a service ended");
            }
        });
        let used = Mutex::new(Used { requests: 0, since: Instant::now() });
        Ok(Arc::new(Self { sender, allowed, used, retired: AtomicBool::new(false), watch }))
    }

    /// Room for one more request, if there is some.
    pub(super) fn seat(self: &Arc<Self>) -> Option<Seat> {
        if self.is_over() {
            return None;
        }
        let allowed = self.allowed.load(Relaxed);
        let mut used = self.used();
        if used.requests >= allowed.min(REQUESTS_MAX) {
            return None;
        }
        *used = Used { requests: used.requests.saturating_add(1), since: Instant::now() };
        drop(used);
        self.watch.asks();
        Some(Seat { sender: self.sender.clone(), shared: self.clone() })
    }

    /// Whether it takes no more requests.
    fn is_over(&self) -> bool {
        self.retired.load(Relaxed) || self.watch.is_over() || self.sender.is_closed()
    }

    /// Whether it is worth being kept.
    pub(super) fn is_kept(&self) -> bool {
        let used = self.used();
        !self.is_over() && (used.requests > 0 || used.since.elapsed() < IDLE_MAX)
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one request on a connection.
pub(super) struct Seat {
    pub(super) sender: SendRequest<RequestBody>,
    shared: Arc<Shared>,
}

impl Seat {
    /// Lets the connection take no more requests.
    pub(super) fn retire(&self) {
        self.shared.retired.store(true, Relaxed);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut used = self.shared.used();
        *used = Used { requests: used.requests.saturating_sub(1), since: Instant::now() };
    }
}
