//! Sockets: accepting, the TLS handshake, and which of links and visitors a connection is.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::body::Body;
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_io_timeout::TimeoutWriter;
use tokio_rustls::LazyConfigAcceptor;
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};
use tunnel_proto::{
    Hostname,
    identity::{ALPN_ACCESS, ALPN_LINK},
};

use crate::{
    State,
    acme::{ALPN_CHALLENGE, Acme},
    clients, connectors,
    front::{self, Door},
};

/// Visitors' connections at a time, over all listeners.
const CONNECTIONS_MAX: usize = 8192;
/// Connections whose TLS handshake is under way. Links need a place among these only, so that no crowd of visitors keeps
/// connectors out.
const HANDSHAKES_MAX: usize = 1024;
/// Visitors' connections from one network at a time: an IPv4 address, or what one customer has of IPv6. Trusted proxies
/// speak for many, and loopback is this machine.
const CONNECTIONS_PER_NETWORK: usize = 512;
/// Time for a TLS handshake (H13).
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// Time for a request's head (H13).
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long a connection is kept on which nothing is asked any more; one on which nothing ever was, for [`HEAD_TIME`].
const IDLE_TIME: Duration = Duration::from_secs(60);
/// How long a visitor may take nothing of what waits for it.
const STALL_TIME: Duration = Duration::from_secs(120);
/// Silence after which the system asks whether a peer is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);
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
        /// For links of connectors and operators.
        links: Arc<ServerConfig>,
        /// For links of access clients.
        access: Arc<ServerConfig>,
        /// Where certificates come by ACME.
        challenges: Option<Challenges>,
    },
    /// Links only.
    Links(Arc<ServerConfig>),
}

/// What handshakes need where certificates come by ACME.
#[derive(Clone)]
pub(crate) struct Challenges {
    pub(crate) acme: Arc<Acme>,
    /// For authorities that make sure that a name is ours.
    pub(crate) tls: Arc<ServerConfig>,
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
    /// Places for handshakes and for visitors.
    pub(crate) handshakes: Arc<Semaphore>,
    pub(crate) room: Arc<Semaphore>,
    pub(crate) crowd: Arc<Crowd>,
}

/// A visitor's place, for as long as its connection lasts, whatever the connection becomes.
pub(crate) struct Place {
    _room: OwnedSemaphorePermit,
    _crowd: Option<InCrowd>,
    _task: TaskTrackerToken,
    stopping: CancellationToken,
    cut: CancellationToken,
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
    fn enter(self: &Arc<Self>, peer: IpAddr) -> Option<InCrowd> {
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
struct InCrowd {
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

impl Connections {
    pub(crate) fn new(state: Arc<State>) -> Self {
        Self {
            state,
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            cut: CancellationToken::new(),
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            room: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            crowd: Arc::default(),
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
            let (one, takes) = (self.clone(), takes.clone());
            // Over the limit a connection is closed at once: waiting would look like a dead edge.
            let Ok(handshake) = self.handshakes.clone().try_acquire_owned() else { continue };
            self.tasks.spawn(async move {
                let cut = one.cut.clone();
                tokio::select! {
                    () = one.connection(socket, peer, takes, handshake) => {}
                    () = cut.cancelled() => {}
                }
            });
        }
    }

    async fn connection(self, socket: TcpStream, peer: SocketAddr, takes: Takes, handshaking: OwnedSemaphorePermit) {
        socket.set_nodelay(true).ok();
        let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
        socket2::SockRef::from(&socket).set_tcp_keepalive(&keepalive).ok();
        let port = socket.local_addr().map_or(0, |local| local.port());
        let peer = peer.ip().to_canonical();
        match takes {
            Takes::Plain => {
                drop(handshaking);
                let Some(place) = self.place(peer) else { return };
                self.http(socket, false, Door { https: false, peer, port }, place).await;
            }
            Takes::Links(links) => {
                if let Some(tls) = handshake(socket, None, links).await {
                    drop(handshaking);
                    connectors::serve(self.state, tls, peer).await;
                }
            }
            Takes::Everything { visitors, links, access, challenges } => {
                let public = Some((visitors, access, challenges));
                let Some(tls) = handshake(socket, public, links).await else { return };
                drop(handshaking);
                let speaks = tls.get_ref().1.alpn_protocol();
                // The authority has seen what it wanted to (RFC 8737 §3).
                if speaks == Some(ALPN_CHALLENGE) {
                    return;
                }
                if speaks == Some(ALPN_LINK) {
                    return connectors::serve(self.state, tls, peer).await;
                }
                let Some(place) = self.place(peer) else { return };
                if speaks == Some(ALPN_ACCESS) {
                    return clients::serve(self.state, tls, peer, self.stopping).await;
                }
                let h2 = speaks == Some(b"h2");
                self.http(tls, h2, Door { https: true, peer, port }, place).await;
            }
        }
    }

    /// A place for a visitor; `None` when there is none, for all or for this network.
    fn place(&self, peer: IpAddr) -> Option<Arc<Place>> {
        let speaks_for_many =
            peer.is_loopback() || self.state.config.trusted_proxies.iter().any(|net| net.contains(&peer));
        let crowd = if speaks_for_many { None } else { Some(self.crowd.enter(peer)?) };
        let room = self.room.clone().try_acquire_owned().ok()?;
        Some(Arc::new(Place {
            _room: room,
            _crowd: crowd,
            _task: self.tasks.token(),
            stopping: self.stopping.clone(),
            cut: self.cut.clone(),
        }))
    }

    async fn http(self, io: impl AsyncRead + AsyncWrite + Send + 'static, h2: bool, door: Door, place: Arc<Place>) {
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

/// What is being asked on a connection, since when nothing is, and whether anything ever was.
struct Activity(Mutex<(usize, Instant, bool)>);

impl Default for Activity {
    fn default() -> Self {
        Self(Mutex::new((0, Instant::now(), false)))
    }
}

impl Activity {
    fn begin(self: &Arc<Self>) -> Busy {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = (state.0.saturating_add(1), state.1, true);
        Busy(self.clone())
    }

    fn idle_for_too_long(&self) -> bool {
        let (busy, since, ever) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        busy == 0 && since.elapsed() > if ever { IDLE_TIME } else { HEAD_TIME }
    }
}

/// One request, until its answer is gone.
struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = (state.0.saturating_sub(1), Instant::now(), true);
    }
}

/// An answer's body, which keeps its request counted.
struct Counted {
    body: Body,
    _busy: Busy,
}

impl http_body::Body for Counted {
    type Data = bytes::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
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

/// The configurations for who is not a link of a connector: visitors, access clients, authorities.
type Public = (Arc<ServerConfig>, Arc<ServerConfig>, Option<Challenges>);

/// The TLS handshake: with the configuration for links when the client offers to speak one, with that for access clients
/// when it offers that, with that for authorities when it offers that and nothing else, else with that for visitors. `None`
/// when it fails, takes too long, or is none.
async fn handshake(
    socket: TcpStream,
    public: Option<Public>,
    links: Arc<ServerConfig>,
) -> Option<tokio_rustls::server::TlsStream<TcpStream>> {
    let shake = async {
        let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), socket).await?;
        let (config, early) = {
            let hello = start.client_hello();
            let offers = |name: &[u8]| hello.alpn().is_some_and(|mut offered| offered.any(|one| one == name));
            let only = |name: &[u8]| hello.alpn().is_some_and(|mut offered| offered.all(|one| one == name));
            match public {
                _ if offers(ALPN_LINK) => (links, None),
                Some((_, access, challenges)) if offers(ALPN_ACCESS) => (access, challenges),
                Some((.., Some(challenges))) if only(ALPN_CHALLENGE) => (challenges.tls, None),
                Some((visitors, _, challenges)) => (visitors, challenges),
                None => return Err(io::Error::other("not a link")),
            }
        };
        if let Some(Challenges { acme, .. }) = early {
            let host = start.client_hello().server_name().and_then(|name| Hostname::parse(name).ok());
            if let Some(host) = host {
                acme.ready(&host).await;
            }
        }
        start.into_stream(config).await
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
