//! A local port that leads to a service.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::FutureExt as _;
use tokio::{
    net::{TcpListener, TcpStream, lookup_host},
    sync::oneshot,
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};
use tunnel_proto::{
    Destination,
    dial::{AbortiveTcp, Carried, RelayError, relay},
    faults,
};

use crate::{client::Client, error::Error, event::Event, host::AppHost, platform};

/// Local connections at a time; more wait in the system's queue.
const CONNECTIONS_MAX: usize = 4096;
/// The pause after the system could not accept a connection: most often for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a program that has closed its side waits for a service: longer than one takes to be reached, and not so long that
/// programs which try again and again pile up while a person logs in.
const HALF_CLOSED_LIMIT: Duration = Duration::from_secs(20);

/// How long a connection waits for the one before it to reach the service. Programs that open several at once tell them apart by
/// their order, and several links lead to a service.
const ORDER_LIMIT: Duration = Duration::from_millis(250);

/// How a local port is opened.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ForwardOptions {
    /// Other machines may use the port as well, as the person who logged in.
    pub dangerously_for_everyone: bool,
}

impl ForwardOptions {
    /// Also listens at addresses that other machines reach. Whoever connects acts as the person who logged in.
    #[must_use]
    pub const fn dangerously_for_everyone(mut self) -> Self {
        self.dangerously_for_everyone = true;
        self
    }
}

/// A local port that leads to a service, for as long as this lives: dropped, the port is closed and its connections are cut.
#[derive(Debug)]
pub struct Forward {
    address: SocketAddr,
    counters: Arc<Counters>,
    task: JoinHandle<()>,
}

/// What a forwarded port has carried.
#[derive(Debug, Default)]
pub struct Counters {
    open: AtomicUsize,
    total: AtomicU64,
    connected: AtomicU64,
    carried: Carried,
}

impl Counters {
    /// Connections now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Connections since the beginning.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Those of them that got through to the service.
    pub fn connected(&self) -> u64 {
        self.connected.load(Ordering::Relaxed)
    }

    /// Bytes to the service.
    pub fn sent(&self) -> u64 {
        self.carried.from_service.load(Ordering::Relaxed)
    }

    /// Bytes from the service.
    pub fn received(&self) -> u64 {
        self.carried.to_service.load(Ordering::Relaxed)
    }
}

impl Forward {
    pub(crate) async fn begin(
        client: Client,
        host: AppHost,
        destination: Option<Destination>,
        address: &str,
        options: ForwardOptions,
    ) -> Result<Self, Error> {
        let failed = |error: io::Error| Error::Listen { address: address.to_owned(), reason: error.to_string() };
        let found: Vec<SocketAddr> = lookup_host(address).await.map_err(failed)?.collect();
        let first = found.first().copied().ok_or_else(|| failed(io::ErrorKind::AddrNotAvailable.into()))?;
        if !options.dangerously_for_everyone && found.iter().any(|address| !address.ip().is_loopback()) {
            return Err(Error::Listen {
                address: address.to_owned(),
                reason: "other machines could use it as you; listen at 127.0.0.1 or [::1]".to_owned(),
            });
        }
        let listener = TcpListener::bind(first).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let counters = Arc::new(Counters::default());
        let port = Port {
            client,
            host,
            destination,
            local: address,
            counters: counters.clone(),
            open_to_all: options.dangerously_for_everyone,
        };
        let task = tokio::spawn(listen(listener, Arc::new(port)));
        Ok(Self { address, counters, task })
    }

    /// Where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// What it has carried.
    pub const fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Port {
    client: Client,
    host: AppHost,
    destination: Option<Destination>,
    local: SocketAddr,
    counters: Arc<Counters>,
    open_to_all: bool,
}

/// Takes connections, for as long as it is polled. A panic costs those that there are, and not the port.
async fn listen(listener: TcpListener, port: Arc<Port>) {
    // What connections share is behind locks that forget that they were held by one that panicked.
    while AssertUnwindSafe(accept(&listener, &port)).catch_unwind().await.is_err() {
        tracing::error!("a local port panicked, which is a defect of this program; it goes on");
        sleep(ACCEPT_PAUSE).await;
    }
}

async fn accept(listener: &TcpListener, port: &Arc<Port>) {
    let mut connections = JoinSet::new();
    let mut before = None;
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((tcp, _)) => {
                    faults::at("local port");
                    let (turn, next) = oneshot::channel();
                    connections.spawn(port.clone().serve(tcp, before.replace(next), turn));
                }
                Err(error) => {
                    tracing::debug!(%error, "a local connection cannot be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a local connection panicked, which is a defect of this program");
                }
            }
        }
    }
}

impl Port {
    /// Serves one connection. `before` ends when the one before it has reached its service, and `turn` is dropped when this
    /// one has.
    async fn serve(
        self: Arc<Self>,
        tcp: TcpStream,
        before: Option<oneshot::Receiver<Infallible>>,
        turn: oneshot::Sender<Infallible>,
    ) {
        faults::at("local connection");
        // Whatever ends this before it has ended in order, an orderly end would look like a service that has no more to say.
        let mut tcp = AbortiveTcp::new(tcp);
        tcp.arm();
        if let Err(reason) = self.check(tcp.tcp()) {
            tracing::warn!(host = %self.host, reason, "a local connection was refused");
            return;
        }
        tcp.tcp().set_nodelay(true).ok();
        self.counters.total.fetch_add(1, Ordering::Relaxed);
        let _open = Open::new(&self.counters);
        if let Some(before) = before {
            timeout(ORDER_LIMIT, before).await.ok();
        }
        let opened = tokio::select! {
            opened = self.client.open(&self.host, self.destination.as_ref()) => opened,
            // Whoever came went away while we were logging in.
            () = gone(tcp.tcp()) => {
                tracing::debug!(host = %self.host, "a program closed its side before its connection was through");
                return;
            }
        };
        let mut stream = match opened {
            Ok(stream) => stream,
            Err(error) => return self.failed(&error),
        };
        drop(turn);
        self.counters.connected.fetch_add(1, Ordering::Relaxed);
        let ended = relay(&mut stream, &mut tcp, &self.counters.carried).await;
        drop(tcp);
        // Also where the far side had ended before: what the program has still said is lost then.
        if let Err(RelayError::Edge(error) | RelayError::Left(error)) = ended {
            self.failed(&stream.inquest().why_cut(&error).await);
        }
    }

    /// Refuses programs of other users: the port acts as the person who logged in.
    fn check(&self, tcp: &TcpStream) -> Result<(), String> {
        if self.open_to_all {
            return Ok(());
        }
        let ends = tcp.local_addr().and_then(|local| Ok((local, tcp.peer_addr()?)));
        let (local, peer) = ends.map_err(|error| error.to_string())?;
        match platform::foreign_user(local, peer) {
            Ok(None) => Ok(()),
            Ok(Some(user)) => {
                self.client.tell(Event::Stranger { host: self.host.hostname().clone(), user });
                Err(format!("it is of the user {user}"))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    fn failed(&self, error: &Error) {
        let host = self.host.hostname().clone();
        self.client.tell(Event::Failed { host, local: self.local, error: error.clone() });
    }
}

/// Waits until the other end of a connection is gone. Data that waits to be read is none of our business yet; an end without
/// any may be a program that has nothing to say and waits for an answer, and is gone if a service takes long to be reached.
async fn gone(tcp: &TcpStream) {
    let mut byte = [0];
    match tcp.peek(&mut byte).await {
        Ok(0) => sleep(HALF_CLOSED_LIMIT).await,
        Err(_) => {}
        Ok(_) => std::future::pending().await,
    }
}

/// A connection counts as open for as long as this lives.
struct Open<'a>(&'a Counters);

impl<'a> Open<'a> {
    fn new(counters: &'a Counters) -> Self {
        counters.open.fetch_add(1, Ordering::Relaxed);
        Self(counters)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
