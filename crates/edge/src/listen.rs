//! Sockets: accepting, the TLS handshake, and which of links and visitors a connection is.

mod activity;
mod answers;
mod cores;
mod descriptors;
mod frames;
mod handshake;
mod http;
mod notice;
mod place;
mod relief;
mod shelf;
mod sources;
mod switch;

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock, atomic::AtomicUsize},
    time::Duration,
};

use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::Semaphore,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tunnel_proto::{identity::ALPN_ACCESS, link::LinkSocket, tls::TlsStream};

use self::{
    cores::{Cores, Home},
    descriptors::{Shares, Spare},
    handshake::{Failed, Secure, handshake},
    notice::Notice,
    shelf::{Shelf, Taken},
    sources::{Counted, Sources},
};
pub(crate) use self::{
    frames::{Watch, Watched},
    place::{HeldUp, OneHeldUp, Place},
    sources::{Glitch, Known, Origin},
    switch::{Switch, Switched},
};
use crate::{
    Config, State,
    acme::{ALPN_CHALLENGE, Acme},
    clients, connectors,
    front::Door,
    memory::Shortage,
    operators::OPERATOR_LINKS_MAX,
    registry::LINKS_MAX,
};

/// Connections whose TLS handshake is under way. Links need a place among these only, so that no crowd of visitors keeps
/// connectors out.
const HANDSHAKES_MAX: usize = 1024;
/// Where only links are taken, handshakes have places of their own, one for so many of those.
const LINK_HANDSHAKES: usize = 4;
/// Silence after which the system asks whether a peer is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// Time for the first byte where no handshake begins with it (H13).
const FIRST_BYTE_TIME: Duration = Duration::from_secs(5);
/// How long accepting pauses when the system has no descriptor left.
const PAUSE: Duration = Duration::from_millis(100);

static NO_ROOM: Notice = Notice::new("connections are turned away: there are as many as there may be");
static NO_MEMORY: Notice = Notice::new("connections are turned away: memory is short");
static NO_DESCRIPTOR: Notice = Notice::new("connections are turned away: the system has no descriptor left");

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
    /// No new connections.
    pub(crate) shut: CancellationToken,
    /// No new connections, and no new requests on old ones.
    pub(crate) stopping: CancellationToken,
    /// Everything ends now.
    pub(crate) cut: CancellationToken,
    /// HTTP requests and WebSockets end now.
    pub(crate) cut_http: CancellationToken,
    /// Connections of visitors, and those of which it is not known yet whose they are.
    pub(crate) visitors: TaskTracker,
    /// Places for handshakes, for visitors, for links of connectors and for those of operators.
    handshakes: Arc<Shelf>,
    room: Arc<Shelf>,
    links: Arc<Semaphore>,
    operators: Arc<Semaphore>,
    /// Places for handshakes where only links are taken, so that no crowd of visitors keeps connectors out.
    link_handshakes: Arc<Shelf>,
    sources: Arc<Sources>,
    cores: Arc<Cores>,
}

/// A connection that is not yet what it is to become: with its place among these, and counted with its network.
pub(crate) struct Entering {
    place: Taken,
    origin: Origin,
    _counted: Counted,
    home: Arc<Home>,
}

impl Connections {
    /// Of connections that live in the runtimes of `cores`; where there are none, in this one.
    pub(crate) fn new(state: Arc<State>, cores: &[Handle]) -> Self {
        let stopping = CancellationToken::new();
        let Config { listen, http_listen, tunnel_listen, .. } = &state.config;
        let listeners = [listen, http_listen, tunnel_listen].map(Vec::len).into_iter().sum();
        let wanted = Shares { visitors: state.config.connections, handshakes: HANDSHAKES_MAX, links: LINKS_MAX };
        let shares = descriptors::shares(wanted, cores.len(), listeners);
        let sources = Arc::new(Sources::new(state.config.connections_per_network, shares.visitors));
        Self {
            state,
            tasks: TaskTracker::new(),
            shut: stopping.child_token(),
            stopping,
            cut: CancellationToken::new(),
            cut_http: CancellationToken::new(),
            visitors: TaskTracker::new(),
            handshakes: Shelf::new(shares.handshakes),
            room: Shelf::new(shares.visitors),
            links: Arc::new(Semaphore::new(shares.links)),
            operators: Arc::new(Semaphore::new(shares.links.min(OPERATOR_LINKS_MAX))),
            link_handshakes: Shelf::new(shares.handshakes / LINK_HANDSHAKES),
            sources,
            cores: Arc::new(Cores::new(cores)),
        }
    }

    /// Which networks are not let in, and in which somebody was admitted lately.
    pub(crate) fn known(&self) -> Known {
        self.sources.known()
    }

    /// Takes over what the process before knew.
    pub(crate) fn go_on_with(&self, known: Known) {
        self.sources.go_on_with(known);
    }

    /// The runtimes that connections live in.
    pub(crate) fn runtimes(&self) -> impl Iterator<Item = &Handle> {
        self.cores.runtimes()
    }

    /// How many connections live in each of them.
    #[cfg(test)]
    pub(crate) fn held(&self) -> Vec<usize> {
        self.cores.held()
    }

    /// Accepts until told to stop.
    pub(crate) async fn accept(self, listener: Arc<TcpListener>, takes: Takes) {
        let mut spare = Spare::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.shut.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let (socket, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    NO_DESCRIPTOR.note();
                    tracing::debug!(%error, "a connection cannot be accepted");
                    if !spare.turn_away(&listener).await {
                        tokio::time::sleep(PAUSE).await;
                    }
                    continue;
                }
            };
            crate::faults::at("accept");
            // Over the limit a connection is closed at once: waiting would look like a dead edge.
            let Some(entering) = self.enter(peer.ip().to_canonical(), &takes) else { continue };
            self.begin(socket, peer, takes.clone(), entering);
        }
    }

    /// Has a connection begin on its core.
    fn begin(&self, socket: TcpStream, peer: SocketAddr, takes: Takes, entering: Entering) {
        let (one, home) = (self.clone(), entering.home.clone());
        let Some(elsewhere) = home.elsewhere() else {
            self.tasks.spawn(one.until_cut(socket, peer, takes, entering));
            return;
        };
        let moved = match socket.into_std() {
            Ok(moved) => moved,
            Err(error) => return tracing::debug!(%peer, %error, "a connection cannot be moved to its core"),
        };
        let there = async move {
            match TcpStream::from_std(moved) {
                Ok(socket) => Box::pin(one.until_cut(socket, peer, takes, entering)).await,
                Err(error) => tracing::debug!(%peer, %error, "a connection cannot be moved to its core"),
            }
        };
        self.tasks.spawn_on(there, elsewhere);
    }

    async fn until_cut(self, socket: TcpStream, peer: SocketAddr, takes: Takes, entering: Entering) {
        // Links keep nothing else of what they entered by.
        let (cut, _home) = (self.cut.clone(), entering.home.clone());
        tokio::select! {
            () = self.connection(socket, peer, takes, entering) => {}
            () = cut.cancelled() => {}
        }
    }

    /// Counts a connection that has just come; `None` when it is one too many.
    fn enter(&self, peer: IpAddr, takes: &Takes) -> Option<Entering> {
        if self.state.memory.shortage() == Shortage::Severe {
            NO_MEMORY.note();
            return None;
        }
        let speaks_for_many =
            peer.is_loopback() || self.state.config.trusted_proxies.iter().any(|net| net.contains(&peer));
        let origin = self.sources.origin(peer, speaks_for_many);
        let counted = origin.arrive()?;
        let shelf = match takes {
            Takes::Links(_) => &self.link_handshakes,
            Takes::Plain | Takes::Everything { .. } => &self.handshakes,
        };
        let Some(place) = shelf.take() else {
            NO_ROOM.note();
            return None;
        };
        Some(Entering { place, origin, _counted: counted, home: Arc::new(self.cores.home()) })
    }

    async fn connection(self, socket: TcpStream, peer: SocketAddr, takes: Takes, entering: Entering) {
        crate::faults::at("connection");
        let visitor = self.visitors.token();
        socket.set_nodelay(true).ok();
        let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
        socket2::SockRef::from(&socket).set_tcp_keepalive(&keepalive).ok();
        let port = socket.local_addr().map_or(0, |local| local.port());
        let peer = peer.ip().to_canonical();
        match takes {
            Takes::Plain => {
                let begins = entering.or_lost(timeout(FIRST_BYTE_TIME, socket.readable())).await;
                if !matches!(begins, Some(Ok(Ok(())))) {
                    return;
                }
                let Some(place) = self.place(entering) else { return };
                self.http(socket, false, Door { https: false, peer, port }, place).await;
            }
            Takes::Links(links) => {
                if let Some(Secure::Link(tls)) = entering.tried(Box::pin(handshake(socket, None, links))).await {
                    drop(visitor);
                    Box::pin(self.link(tls, peer, entering)).await;
                }
            }
            Takes::Everything { visitors, links, access, challenges } => {
                let shaking = Box::pin(handshake(socket, Some((visitors, access, challenges)), links));
                match entering.tried(shaking).await {
                    None => {}
                    Some(Secure::Link(tls)) if tls.agreed().alpn.as_deref() == Some(ALPN_ACCESS) => {
                        self.access(tls, peer, entering).await;
                    }
                    Some(Secure::Link(tls)) => {
                        drop(visitor);
                        Box::pin(self.link(tls, peer, entering)).await;
                    }
                    Some(Secure::Public(tls)) => {
                        let speaks = tls.get_ref().1.alpn_protocol();
                        // The authority has seen what it wanted to (RFC 8737 §3).
                        if speaks == Some(ALPN_CHALLENGE) {
                            return;
                        }
                        let h2 = speaks == Some(b"h2");
                        let Some(place) = self.place(entering) else { return };
                        self.http(*tls, h2, Door { https: true, peer, port }, place).await;
                    }
                }
            }
        }
    }

    /// A link of an access client.
    async fn access(self, tls: Box<TlsStream<TcpStream>>, peer: IpAddr, entering: Entering) {
        let Some(place) = self.place(entering) else { return };
        let tls = tls.map_io(LinkSocket::new);
        let serving = Box::pin(clients::serve(self.state, tls, peer, self.stopping, Some(place.clone())));
        tokio::select! {
            () = serving => {}
            () = place.lost() => tracing::debug!(%peer, "an access client's link lost its place"),
        }
    }

    /// A link of a connector or an operator.
    async fn link(self, tls: Box<TlsStream<TcpStream>>, peer: IpAddr, entering: Entering) {
        let tls = tls.map_io(LinkSocket::new);
        let places = self.link_places(connectors::is_operators(&self.state, &tls)).clone();
        let Ok(_place) = places.try_acquire_owned() else { return NO_ROOM.note() };
        connectors::serve(self.state, tls, peer, entering).await;
    }

    /// The places of links: those of operators, or those of connectors.
    const fn link_places(&self, operator: bool) -> &Arc<Semaphore> {
        if operator { &self.operators } else { &self.links }
    }

    /// A place for a visitor; `None` when there is none, for all or for this network.
    fn place(&self, entering: Entering) -> Option<Arc<Place>> {
        let counted = entering.origin.stay()?;
        let Some(room) = self.room.take() else {
            NO_ROOM.note();
            return None;
        };
        Some(Arc::new(Place {
            room,
            origin: entering.origin.clone(),
            _counted: counted,
            kept: OnceLock::new(),
            _task: self.tasks.token(),
            _visitor: self.visitors.token(),
            _home: entering.home,
            stopping: self.stopping.clone(),
            cut: self.cut.clone(),
            cut_http: self.cut_http.clone(),
            leaving: CancellationToken::new(),
            over: CancellationToken::new(),
            borne: AtomicUsize::new(0),
            held_up: Arc::default(),
        }))
    }
}

impl Entering {
    /// What `work` gives, unless the place is given to somebody else meanwhile.
    pub(crate) async fn or_lost<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            () = self.place.lost().cancelled() => None,
        }
    }

    /// [`Entering::or_lost`] for a handshake. One that came to nothing is a fault of its source, unless it is one of ours; no
    /// more than a request that is turned away where any browser may have been brought to it.
    async fn tried<T>(&self, shaking: impl Future<Output = Result<T, Failed>>) -> Option<T> {
        let done = self.or_lost(shaking).await?;
        match done {
            Err(Failed::Theirs) => {
                self.origin.note(Glitch::Handshake);
            }
            Err(Failed::ABrowsers) => {
                self.origin.note(Glitch::TurnedAway);
            }
            Ok(_) | Err(Failed::Ours) => {}
        }
        done.ok()
    }

    /// Where the connection comes from.
    pub(crate) fn origin(&self) -> Origin {
        self.origin.clone()
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::net::Ipv4Addr;

    use tempfile::TempDir;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::{place::BORNE_MAX, sources::Standing, *};
    use crate::{Clock, Edge, edge::Screen, tls};

    async fn edge() -> (Edge, TempDir) {
        configured(|_| ()).await
    }

    #[allow(clippy::unwrap_used)] // a helper of tests
    async fn configured(change: impl FnOnce(&mut Config)) -> (Edge, TempDir) {
        let base = tempfile::tempdir().unwrap();
        let mut config = Config::quick_start(base.path().join("edge"), Vec::new());
        config.listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
        config.http_listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
        change(&mut config);
        (Edge::start(config, Clock::System, Screen::new(std::io::sink())).await.unwrap(), base)
    }

    /// Has a network let in slowly, in which somebody was admitted.
    fn have_let_in_slowly(origin: &Origin) {
        // A few of these are too many, however slow this is and whatever leaks meanwhile.
        let mut notes = (0..1000).map(|_| origin.note(Glitch::GivenUp));
        assert!(notes.any(|standing| standing == Standing::Slowly));
    }

    // H13
    #[tokio::test(flavor = "multi_thread")]
    async fn whoever_is_turned_away_is_counted_with_its_network() {
        let (edge, _base) = edge().await;
        let connections = Connections::new(edge.state().clone(), &[]);
        let peer = IpAddr::from([192, 0, 2, 1]);
        let entering = connections.enter(peer, &Takes::Plain).unwrap();
        let origin = entering.origin();
        let place = connections.place(entering).unwrap();
        let (mut visitor, io) = tokio::io::duplex(64 * 1024);
        let serving = tokio::spawn(connections.clone().http(io, false, Door { https: false, peer, port: 80 }, place));
        // What others of the network did ends nothing by itself.
        while origin.note(Glitch::Flood) != Standing::Out {}
        visitor.write_all(b"GET /.access/certs HTTP/1.1\r\nHost: access.localhost\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        timeout(FIRST_BYTE_TIME, visitor.read_exact(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 "), "{answer:?}");
        visitor.write_all(b"GET / HTTP/1.1\r\nHost: nobody.localhost\r\n\r\n").await.unwrap();
        let ended = timeout(FIRST_BYTE_TIME, visitor.read_to_end(&mut Vec::new())).await;
        assert!(ended.is_ok(), "whoever is turned away in a network that is shut out stays");
        serving.await.unwrap();
        drop(connections);
        edge.stop(Duration::from_secs(1)).await;
    }

    // H13
    #[tokio::test(flavor = "multi_thread")]
    async fn whoever_is_turned_away_in_a_network_that_is_let_in_slowly_is_answered_and_sent_away() {
        let (edge, _base) = edge().await;
        let connections = Connections::new(edge.state().clone(), &[]);
        let peer = IpAddr::from([192, 0, 2, 1]);
        let entering = connections.enter(peer, &Takes::Plain).unwrap();
        let origin = entering.origin();
        let place = connections.place(entering).unwrap();
        let kept = connections.place(connections.enter(peer, &Takes::Plain).unwrap()).unwrap();
        kept.keep();
        have_let_in_slowly(&origin);
        let (mut visitor, io) = tokio::io::duplex(64 * 1024);
        let door = Door { https: false, peer, port: 80 };
        let serving = tokio::spawn(connections.clone().http(io, false, door, place.clone()));
        let request = b"GET / HTTP/1.1\r\nHost: nobody.localhost\r\n\r\n";
        visitor.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        timeout(FIRST_BYTE_TIME, visitor.read_to_end(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 "), "{}", String::from_utf8_lossy(&answer));
        serving.await.unwrap();
        // Whoever does not go and asks on is cut, others are not.
        have_let_in_slowly(&origin);
        (1..BORNE_MAX).for_each(|_| place.note(Glitch::TurnedAway));
        assert!(!place.over.is_cancelled(), "as many may be on their way");
        for one in [&place, &kept] {
            (0..BORNE_MAX).for_each(|_| one.note(Glitch::TurnedAway));
        }
        assert!(place.over.is_cancelled());
        assert!(!kept.leaving.is_cancelled() && !kept.over.is_cancelled());
        assert!(connections.enter(peer, &Takes::Plain).is_some(), "somebody in it was admitted");
        drop((place, kept, connections));
        edge.stop(Duration::from_secs(1)).await;
    }

    // H13
    #[tokio::test(flavor = "multi_thread")]
    async fn all_that_is_on_its_way_by_http_2_is_answered_in_a_network_that_is_let_in_slowly() {
        let (edge, _base) = edge().await;
        let connections = Connections::new(edge.state().clone(), &[]);
        let peer = IpAddr::from([192, 0, 2, 1]);
        let place = connections.place(connections.enter(peer, &Takes::Plain).unwrap()).unwrap();
        let kept = connections.place(connections.enter(peer, &Takes::Plain).unwrap()).unwrap();
        kept.keep();
        have_let_in_slowly(&place.origin);
        let (visitor, io) = tokio::io::duplex(64 * 1024);
        let door = Door { https: false, peer, port: 80 };
        let serving = tokio::spawn(connections.clone().http(io, true, door, place.clone()));
        let mut client = h2::client::Builder::new();
        // Room for all answers, in whichever order they are read.
        client.initial_connection_window_size(1024 * 1024);
        let (asks, connection) = client.handshake::<_, bytes::Bytes>(visitor).await.unwrap();
        let ask = || {
            let request = ::http::Request::get("http://nobody.localhost/").body(()).unwrap();
            asks.clone().send_request(request, true).unwrap().0
        };
        // All of them are on their way before anything is read.
        let answers: Vec<_> = (0..20).map(|_| ask()).collect();
        let reading = tokio::spawn(connection);
        for answer in answers {
            let mut body = timeout(FIRST_BYTE_TIME, answer).await.unwrap().unwrap().into_body();
            while let Some(piece) = timeout(FIRST_BYTE_TIME, body.data()).await.unwrap() {
                piece.unwrap();
            }
        }
        assert!(place.leaving.is_cancelled() && !place.over.is_cancelled());
        timeout(FIRST_BYTE_TIME, serving).await.expect("it is sent away").unwrap();
        reading.abort();
        drop((asks, place, kept, connections));
        edge.stop(Duration::from_secs(1)).await;
    }

    // H13
    #[tokio::test(flavor = "multi_thread")]
    async fn a_network_has_as_many_connections_as_the_configuration_says() {
        let (edge, _base) = configured(|config| config.connections_per_network = 40).await;
        let connections = Connections::new(edge.state().clone(), &[]);
        let enter = |last: u8| {
            let entering = connections.enter(IpAddr::from([192, 0, 2, last]), &Takes::Plain).unwrap();
            connections.place(entering)
        };
        let mut places: Vec<_> = (0..40).map_while(|_| enter(1)).collect();
        assert_eq!(places.len(), 40);
        assert!(enter(1).is_none(), "one more than there may be");
        assert!(enter(2).is_some(), "another network has its own");
        places.pop();
        assert!(enter(1).is_some(), "a place is free again");
        drop((places, connections));
        edge.stop(Duration::from_secs(1)).await;
    }

    // H13
    #[tokio::test(flavor = "multi_thread")]
    async fn a_crowd_of_visitors_keeps_no_link_out_nor_connectors_an_operator() {
        let (edge, _base) = edge().await;
        let state = edge.state().clone();
        let certificate = Arc::new(tls::Fixed::new(&state.ca, state.login_host(), state.now()).unwrap());
        let links = Takes::Links(Arc::new(tls::for_visitors(certificate).unwrap()));
        let connections = Connections::new(state, &[]);
        let peer = IpAddr::from(Ipv4Addr::LOCALHOST);
        let mut crowd = Vec::new();
        while let Some(place) = connections.handshakes.take() {
            // Or the oldest would make room.
            place.keep();
            crowd.push(place);
        }
        assert!(connections.enter(peer, &Takes::Plain).is_none(), "there are {} already", crowd.len());
        assert!(connections.enter(peer, &links).is_some());

        let mut all = Vec::new();
        while let Ok(place) = connections.link_places(false).clone().try_acquire_owned() {
            all.push(place);
        }
        assert!(connections.link_places(true).clone().try_acquire_owned().is_ok(), "{} connectors are up", all.len());
        drop(connections);
        edge.stop(Duration::from_secs(1)).await;
    }
}
