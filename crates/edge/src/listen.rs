//! Sockets: accepting, the TLS handshake, and which of links and visitors a connection is.

mod activity;
mod handshake;
mod http;
mod place;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tunnel_proto::identity::{ALPN_ACCESS, ALPN_LINK};

use self::handshake::handshake;
pub(crate) use self::place::{Crowd, Place};
use crate::{State, clients, connectors, front::Door};

/// Visitors' connections at a time, over all listeners.
const CONNECTIONS_MAX: usize = 8192;
/// Connections whose TLS handshake is under way. Links need a place among these only, so that no crowd of visitors keeps
/// connectors out.
const HANDSHAKES_MAX: usize = 1024;
/// Silence after which the system asks whether a peer is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);
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
    /// Places for handshakes and for visitors.
    pub(crate) handshakes: Arc<Semaphore>,
    pub(crate) room: Arc<Semaphore>,
    pub(crate) crowd: Arc<Crowd>,
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
            Takes::Everything { visitors, links, access } => {
                let Some(tls) = handshake(socket, Some((visitors, access)), links).await else { return };
                drop(handshaking);
                let speaks = tls.get_ref().1.alpn_protocol();
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
}
