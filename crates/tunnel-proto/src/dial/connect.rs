//! Opening a TCP connection to a name: resolve, then race the addresses ("happy eyeballs", RFC 8305).

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::{Instant, sleep_until},
};

use super::{Shortage, SocketTarget, platform};
use crate::link::LinkSocket;

/// How long one address is tried alone before the next one joins (RFC 8305 §5).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);
/// How many addresses of a name are tried.
const CANDIDATES_MAX: usize = 16;
/// The biggest segment sent to an edge, and asked of it: IPv6 promises every path 1,280 bytes, of which 60 are headers.
/// Tunnels on the way (PPPoE, DS-Lite, MAP-E) often drop what is bigger without saying so, and a link would stall for ever.
const SMALL_SEGMENT: u32 = 1220;

/// Connects to the first address of `target` that answers. Sets `TCP_NODELAY`.
///
/// There is no time limit here: wrap it in one. Dropping the future stops all attempts.
pub async fn dial(target: &SocketTarget) -> Result<TcpStream, DialError> {
    dial_with(target, Segments::Usual).await
}

/// [`dial`] for an edge: across the internet, segments are kept so small that every path carries them, and little stands in
/// front of what is urgent ([`LinkSocket`]).
pub async fn dial_edge(target: &SocketTarget) -> Result<LinkSocket, DialError> {
    dial_with(target, Segments::Small).await.map(LinkSocket::new)
}

async fn dial_with(target: &SocketTarget, segments: Segments) -> Result<TcpStream, DialError> {
    let addresses = order(resolve(target).await?);
    let stream = race(addresses, segments).await?;
    stream.set_nodelay(true).map_err(DialError::Connect)?;
    Ok(stream)
}

/// How big the segments of a connection may be.
#[derive(Clone, Copy)]
enum Segments {
    /// What the system finds out.
    Usual,
    /// At most [`SMALL_SEGMENT`].
    Small,
}

async fn connect(address: SocketAddr, segments: Segments) -> io::Result<TcpStream> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    if let Segments::Small = segments
        && !address.ip().is_loopback()
        && let Err(error) = platform::limit_segments(&socket, SMALL_SEGMENT)
    {
        tracing::debug!(%error, "segments cannot be limited");
    }
    socket.connect(address).await.map_err(|error| explain(error, address))
}

/// What `error`, by which `address` was not connected to, means. Systems say that no address is available when every local port is
/// taken, and also when they have no address of their own to go there from, such as one of IPv6.
fn explain(error: io::Error, address: SocketAddr) -> io::Error {
    // Windows says so of addresses alone.
    if error.kind() != io::ErrorKind::AddrNotAvailable || (!cfg!(windows) && has_source(address)) {
        return error;
    }
    let text = format!("this machine has no address from which {} is reached", address.ip());
    io::Error::new(io::ErrorKind::NetworkUnreachable, text)
}

/// Whether this machine has an address to go to `address` from. A datagram socket needs the same one, and none of the ports of TCP;
/// connecting it sends nothing.
fn has_source(address: SocketAddr) -> bool {
    let any: IpAddr = if address.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    let connected = UdpSocket::bind((any, 0)).and_then(|socket| socket.connect(address));
    !connected.is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable)
}

/// Why no connection was made.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name does not resolve.
    #[error("the name `{host}` does not resolve: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// The name resolves to nothing.
    #[error("the name `{host}` has no address")]
    NoAddress {
        /// The name.
        host: String,
    },
    /// No address answers: why the first one does not, or the first that could not be tried for a [`Shortage`].
    #[error("{0}")]
    Connect(#[source] io::Error),
}

impl DialError {
    /// What this machine is short of, if that is why.
    pub fn shortage(&self) -> Option<Shortage> {
        match self {
            Self::Resolve { source, .. } | Self::Connect(source) => Shortage::of(source),
            Self::NoAddress { .. } => None,
        }
    }
}

async fn resolve(target: &SocketTarget) -> Result<Vec<SocketAddr>, DialError> {
    let (host, port) = (target.host(), target.port());
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    if is_localhost(host) {
        return Ok(vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]);
    }
    let found = tokio::net::lookup_host((host, port)).await;
    let found = found.map_err(|said| DialError::Resolve { host: host.to_owned(), source: unresolved(said) })?;
    let addresses: Vec<SocketAddr> = found.take(CANDIDATES_MAX).collect();
    if addresses.is_empty() { Err(DialError::NoAddress { host: host.to_owned() }) } else { Ok(addresses) }
}

/// Why a name was not found. A resolver that gets no descriptor may say that there is no such name: asked for a socket, the system
/// says what is the matter.
fn unresolved(said: io::Error) -> io::Error {
    TcpSocket::new_v4().err().filter(|error| Shortage::of(error).is_some()).unwrap_or(said)
}

/// `localhost` and the names below it are this machine, whatever a resolver says (RFC 6761 §6.3).
fn is_localhost(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost")
}

/// Alternates between the families, beginning with the family of the first address.
fn order(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (same, other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|a| a.is_ipv6() == first_is_v6);
    let mut other = other.into_iter();
    let mut ordered = Vec::new();
    for address in same {
        ordered.push(address);
        ordered.extend(other.next());
    }
    ordered.extend(other);
    ordered
}

async fn race(addresses: Vec<SocketAddr>, segments: Segments) -> Result<TcpStream, DialError> {
    let mut waiting = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    attempts.extend(waiting.next().map(|address| connect(address, segments)));
    let mut next_at = Instant::now() + NEXT_ADDRESS;
    let mut failure = None;
    loop {
        let more = waiting.len() > 0;
        tokio::select! {
            ended = attempts.next(), if !attempts.is_empty() => match ended {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => {
                    failure = Some(match failure.take() {
                        Some(first) => telling(first, error),
                        None => error,
                    });
                    // A refusal need not wait for its turn to be over.
                    next_at = Instant::now();
                }
                None => {}
            },
            () = sleep_until(next_at), if more => {
                attempts.extend(waiting.next().map(|address| connect(address, segments)));
                next_at = Instant::now() + NEXT_ADDRESS;
            }
            else => {
                let none = || io::Error::from(io::ErrorKind::HostUnreachable);
                return Err(DialError::Connect(failure.unwrap_or_else(none)));
            }
        }
    }
}

/// Which of two failures is told. What could not be tried for a shortage may be well, whatever another address said.
fn telling(first: io::Error, next: io::Error) -> io::Error {
    if Shortage::of(&first).is_none() && Shortage::of(&next).is_some() { next } else { first }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn names_below_localhost_are_this_machine() {
        for host in ["localhost", "www.localhost", "a.b.localhost"] {
            let target = SocketTarget::new(host, 80).unwrap();
            assert!(resolve(&target).await.unwrap().iter().all(|a| a.ip().is_loopback()), "{host}");
        }
        assert!(!is_localhost("notlocalhost") && !is_localhost("localhost.example.com"));
    }

    #[test]
    fn families_alternate_from_the_first() {
        let v4 = |n| SocketAddr::from(([192, 0, 2, n], 1));
        let v6 = |n| SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n), 1));
        assert_eq!(order(vec![v6(1), v6(2), v6(3), v4(1)]), [v6(1), v4(1), v6(2), v6(3)]);
        assert_eq!(order(vec![v4(1), v6(1), v6(2)]), [v4(1), v6(1), v6(2)]);
        assert!(order(Vec::new()).is_empty());
    }

    #[tokio::test]
    async fn a_service_on_one_loopback_family_only_is_found() {
        let listener = TcpListener::bind("[::1]:0").await.unwrap();
        let target = SocketTarget::new("localhost", listener.local_addr().unwrap().port()).unwrap();
        assert!(dial(&target).await.unwrap().peer_addr().unwrap().is_ipv6());
    }

    #[test]
    fn what_could_not_be_tried_is_told_before_what_failed() {
        let (refused, other) = (io::ErrorKind::ConnectionRefused, io::ErrorKind::NetworkUnreachable);
        let (ports, memory) = (io::ErrorKind::AddrNotAvailable, io::ErrorKind::OutOfMemory);
        for (first, next, told) in
            [(refused, other, refused), (refused, ports, ports), (ports, refused, ports), (ports, memory, ports)]
        {
            assert_eq!(telling(first.into(), next.into()).kind(), told, "{first}, {next}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn ports_are_short_only_where_there_is_an_address_to_go_from() {
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        assert!(has_source(here));
        for kind in [io::ErrorKind::AddrNotAvailable, io::ErrorKind::ConnectionRefused] {
            assert_eq!(explain(kind.into(), here).kind(), kind);
        }
        // Whether this machine has IPv6 or not.
        let there = SocketAddr::from((Ipv6Addr::LOCALHOST, 9));
        let kind = explain(io::ErrorKind::AddrNotAvailable.into(), there).kind();
        assert_eq!(kind == io::ErrorKind::AddrNotAvailable, has_source(there));
    }

    #[test]
    fn a_name_that_is_not_found_with_descriptors_left_is_not_there() {
        assert_eq!(unresolved(io::Error::other("no such name")).to_string(), "no such name");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn segments_to_an_edge_fit_every_path() {
        let socket = TcpSocket::new_v4().unwrap();
        platform::limit_segments(&socket, SMALL_SEGMENT).unwrap();
        assert_eq!(socket2::SockRef::from(&socket).tcp_mss().unwrap(), SMALL_SEGMENT);
    }

    #[tokio::test]
    async fn a_port_where_nothing_listens_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = SocketTarget::new("127.0.0.1", listener.local_addr().unwrap().port()).unwrap();
        drop(listener);
        let error = dial(&target).await.unwrap_err();
        assert!(matches!(error, DialError::Connect(source) if source.kind() == io::ErrorKind::ConnectionRefused));
    }
}
