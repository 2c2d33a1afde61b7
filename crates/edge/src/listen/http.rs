//! HTTP on a visitor's connection: its limits, and how it ends.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_io_timeout::TimeoutWriter;

use super::{
    Connections, Place,
    activity::{Activity, Counted, HEAD_TIME},
};
use crate::front::{self, Door};

/// How long a visitor may take nothing of what waits for it.
const STALL_TIME: Duration = Duration::from_secs(120);
/// The largest head, in bytes, and the most fields (H15).
const HEAD_MAX: usize = 32 * 1024;
const FIELDS_MAX: usize = 100;
/// HTTP/2: streams, windows and budgets of one connection (H14).
const H2_STREAMS: u32 = 100;
const H2_STREAM_WINDOW: u32 = 256 * 1024;
const H2_CONNECTION_WINDOW: u32 = 1024 * 1024;
const H2_HEADER_LIST: u32 = 32 * 1024;
const H2_RESETS: usize = 20;
const H2_LOCAL_RESETS: usize = 64;
const H2_PING: Duration = Duration::from_secs(20);

impl Connections {
    pub(super) async fn http(
        self,
        io: impl AsyncRead + AsyncWrite + Send + 'static,
        h2: bool,
        door: Door,
        place: Arc<Place>,
    ) {
        let mut io = TimeoutWriter::new(io);
        io.set_timeout(Some(STALL_TIME));
        let io = TokioIo::new(Box::pin(io));
        let state = self.state.clone();
        let activity = Arc::<Activity>::default();
        let active = activity.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(place.clone());
            let busy = active.begin();
            let serving = front::serve(state.clone(), door, request);
            async move { serving.await.map(|response| response.map(|body| Body::new(Counted { body, _busy: busy }))) }
        });
        // Decided by what TLS agreed on: looking at the first bytes would wait for them without limit.
        let builder = if h2 { builder().http2_only() } else { builder().http1_only() };
        let connection = builder.serve_connection_with_upgrades(io, service);
        tokio::pin!(connection);
        let (mut stopping, mut leaving) = (false, false);
        let mut idle = tokio::time::interval(HEAD_TIME);
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(peer = %door.peer, %error, "a visitor's connection ended");
                    }
                    return;
                }
                () = self.stopping.cancelled(), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                _ = idle.tick() => {
                    let over = activity.idle_for_too_long();
                    // Asked to go, it is gone by the next look at the latest.
                    if over && leaving {
                        return;
                    }
                    if over && !stopping {
                        connection.as_mut().graceful_shutdown();
                    }
                    leaving = over;
                }
            }
        }
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_MAX)
        .max_headers(FIELDS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(H2_PING)
        .max_concurrent_streams(H2_STREAMS)
        .initial_stream_window_size(H2_STREAM_WINDOW)
        .initial_connection_window_size(H2_CONNECTION_WINDOW)
        .max_header_list_size(H2_HEADER_LIST)
        .max_pending_accept_reset_streams(H2_RESETS)
        .max_local_error_reset_streams(H2_LOCAL_RESETS);
    builder
}
