//! Sockets: accepting, the TLS handshake, and which of links and visitors a connection is.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::LazyConfigAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tunnel_proto::identity::ALPN_LINK;

use crate::{
    State, connectors,
    front::{self, Door},
};

/// Connections at a time, over all listeners (F20: the system's limit of descriptors is not met first).
const CONNECTIONS_MAX: usize = 8192;
/// Time for a TLS handshake (H13).
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// Time for a request's head (H13).
const HEAD_TIME: Duration = Duration::from_secs(10);
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
/// How long accepting pauses when the system has no descriptor left.
const PAUSE: Duration = Duration::from_millis(100);

/// What a listener takes.
#[derive(Clone)]
pub(crate) enum Takes {
    /// Visitors by plain HTTP.
    Plain,
    /// Visitors by HTTPS, and links.
    Everything {
        /// For visitors.
        visitors: Arc<ServerConfig>,
        /// For links.
        links: Arc<ServerConfig>,
    },
    /// Links only.
    Links(Arc<ServerConfig>),
}

/// What all connections share.
#[derive(Clone)]
pub(crate) struct Connections {
    pub(crate) state: Arc<State>,
    pub(crate) tasks: TaskTracker,
    /// No new connections, and no new requests on old ones.
    pub(crate) stopping: CancellationToken,
    /// Everything ends now.
    pub(crate) cut: CancellationToken,
    pub(crate) room: Arc<Semaphore>,
}

impl Connections {
    pub(crate) fn new(state: Arc<State>) -> Self {
        Self {
            state,
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            cut: CancellationToken::new(),
            room: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        }
    }

    /// Accepts until told to stop.
    pub(crate) async fn accept(self, listener: TcpListener, takes: Takes) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.stopping.cancelled() => return,
            };
            let (socket, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            // Over the limit a connection is closed at once: waiting would look like a dead edge.
            let Ok(room) = self.room.clone().try_acquire_owned() else { continue };
            let (one, takes) = (self.clone(), takes.clone());
            self.tasks.spawn(async move {
                let cut = one.cut.clone();
                tokio::select! {
                    () = one.connection(socket, peer, takes) => {}
                    () = cut.cancelled() => {}
                }
                drop(room);
            });
        }
    }

    async fn connection(self, socket: TcpStream, peer: SocketAddr, takes: Takes) {
        socket.set_nodelay(true).ok();
        let port = socket.local_addr().map_or(0, |local| local.port());
        let peer = peer.ip().to_canonical();
        match takes {
            Takes::Plain => self.http(socket, Door { https: false, peer, port }).await,
            Takes::Links(links) => {
                if let Some(tls) = handshake(socket, None, links).await {
                    connectors::serve(self.state, tls, peer).await;
                }
            }
            Takes::Everything { visitors, links } => {
                let Some(tls) = handshake(socket, Some(visitors), links).await else { return };
                if tls.get_ref().1.alpn_protocol() == Some(ALPN_LINK) {
                    connectors::serve(self.state, tls, peer).await;
                } else {
                    self.http(tls, Door { https: true, peer, port }).await;
                }
            }
        }
    }

    async fn http(self, io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, door: Door) {
        let state = self.state.clone();
        let service = service_fn(move |request| front::serve(state.clone(), door, request));
        let builder = builder();
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(io), service);
        tokio::pin!(connection);
        let mut stopping = false;
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
        .max_headers(FIELDS_MAX)
        .half_close(true);
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

/// The TLS handshake: with the configuration for links when the client offers to speak one, else with that for visitors.
/// `None` when it fails, takes too long, or is none.
async fn handshake(
    socket: TcpStream,
    visitors: Option<Arc<ServerConfig>>,
    links: Arc<ServerConfig>,
) -> Option<tokio_rustls::server::TlsStream<TcpStream>> {
    let shake = async {
        let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), socket).await?;
        let is_link = start.client_hello().alpn().is_some_and(|mut offered| offered.any(|one| one == ALPN_LINK));
        match (is_link, visitors) {
            (true, _) => start.into_stream(links).await,
            (false, Some(visitors)) => start.into_stream(visitors).await,
            (false, None) => Err(io::Error::other("not a link")),
        }
    };
    match tokio::time::timeout(HANDSHAKE_TIME, shake).await {
        Ok(Ok(tls)) => Some(tls),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
        Err(_) => None,
    }
}
