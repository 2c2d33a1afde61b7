//! Opening a TCP connection to a name: resolve, then race the addresses ("happy eyeballs", RFC 8305).

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep_until},
};

use crate::address::SocketTarget;

/// How long one address is tried alone before the next one joins (RFC 8305 §5).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);
/// How many addresses of a name are tried.
const ADDRESSES_MAX: usize = 16;

/// Connects to the first address of `target` that answers. Sets `TCP_NODELAY`.
///
/// There is no time limit here: wrap it in one. Dropping the future stops all attempts.
pub(crate) async fn dial(target: &SocketTarget) -> Result<TcpStream, DialError> {
    let addresses = order(resolve(target).await?);
    let stream = race(addresses).await?;
    stream.set_nodelay(true).map_err(DialError::Connect)?;
    Ok(stream)
}

/// Why no connection was made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("the name `{host}` does not resolve: {source}")]
    Resolve { host: String, source: io::Error },
    #[error("the name `{host}` has no address")]
    NoAddress { host: String },
    #[error("{0}")]
    Connect(#[source] io::Error),
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
    let found = found.map_err(|source| DialError::Resolve { host: host.to_owned(), source })?;
    let addresses: Vec<SocketAddr> = found.take(ADDRESSES_MAX).collect();
    if addresses.is_empty() { Err(DialError::NoAddress { host: host.to_owned() }) } else { Ok(addresses) }
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

async fn race(addresses: Vec<SocketAddr>) -> Result<TcpStream, DialError> {
    let mut waiting = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    attempts.extend(waiting.next().map(TcpStream::connect));
    let mut next_at = Instant::now() + NEXT_ADDRESS;
    let mut first_error = None;
    loop {
        let more = waiting.len() > 0;
        tokio::select! {
            ended = attempts.next(), if !attempts.is_empty() => match ended {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => {
                    first_error.get_or_insert(error);
                    // A refusal need not wait for its turn to be over.
                    next_at = Instant::now();
                }
                None => {}
            },
            () = sleep_until(next_at), if more => {
                attempts.extend(waiting.next().map(TcpStream::connect));
                next_at = Instant::now() + NEXT_ADDRESS;
            }
            else => {
                let none = || io::Error::from(io::ErrorKind::AddrNotAvailable);
                return Err(DialError::Connect(first_error.unwrap_or_else(none)));
            }
        }
    }
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

    #[tokio::test]
    async fn a_port_where_nothing_listens_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = SocketTarget::new("127.0.0.1", listener.local_addr().unwrap().port()).unwrap();
        drop(listener);
        let error = dial(&target).await.unwrap_err();
        assert!(matches!(error, DialError::Connect(source) if source.kind() == io::ErrorKind::ConnectionRefused));
    }
}
