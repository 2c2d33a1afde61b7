//! The listeners of an edge: bound once, and registered with every core.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use tokio::{net::TcpListener as Listener, runtime::Handle, task::JoinHandle};

use super::{Edge, StartError};
use crate::{
    Config,
    listen::{Connections, Takes},
    task,
};

impl Edge {
    /// Accepts no more, on any core. What waits at a listener that another process has as well is for that one.
    pub(super) async fn shut_doors(&mut self) {
        self.connections.shut.cancel();
        for door in self.accepting.drain(..) {
            // Ended by itself, or with its runtime: it accepts no more.
            let _ = door.await;
        }
        self.doors.clear();
    }
}

/// A listener, and the address that it was asked for by. It wakes nobody: those of the cores do.
pub(super) type Door = (SocketAddr, TcpListener);
type Bound = (Vec<Door>, Vec<Door>, Vec<Door>);

/// Binds every listener that is not among those `taken` over; what of these is not wanted any more is closed. A port 0 becomes
/// the one that the system chose, so that addresses can be printed.
pub(super) fn bind_all(config: &mut Config, mut taken: Vec<(SocketAddr, TcpListener)>) -> Result<Bound, StartError> {
    let quick = config.quick_start;
    if quick && !config.listen.iter().chain(&config.http_listen).all(|address| address.ip().is_loopback()) {
        return Err(StartError::NotLoopback);
    }
    let mut bound = Vec::new();
    for addresses in [&mut config.listen, &mut config.http_listen, &mut config.tunnel_listen] {
        let mut listeners = Vec::new();
        for address in addresses.iter_mut() {
            let wanted = *address;
            let bound = match taken.iter().position(|(before, _)| *before == wanted) {
                Some(at) => Ok(taken.swap_remove(at).1),
                None => listen(wanted),
            };
            match bound {
                Ok(listener) => {
                    *address = listener.local_addr().unwrap_or(wanted);
                    listeners.push((wanted, listener));
                }
                // A machine without IPv6 still has the other loopback address.
                Err(error) if quick && address.is_ipv6() && error.kind() != io::ErrorKind::AddrInUse => {}
                Err(source) => return Err(StartError::Listen { address: *address, source }),
            }
        }
        bound.push(listeners);
    }
    let mut bound = bound.into_iter();
    let mut next = || bound.next().unwrap_or_default();
    Ok((next(), next(), next()))
}

/// A listener that takes IPv6 only where it is named: `0.0.0.0:443` and `[::]:443` stand side by side.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

/// The listener of a door in a runtime.
pub(super) type Registered = (Handle, Arc<Listener>);

/// The same socket in each of these runtimes.
pub(super) fn registered<'a>(
    (wanted, listener): &Door,
    runtimes: impl Iterator<Item = &'a Handle>,
) -> Result<Vec<Registered>, StartError> {
    let register = |runtime: &Handle| {
        let _within = runtime.enter();
        Ok((runtime.clone(), Arc::new(Listener::from_std(listener.try_clone()?)?)))
    };
    let registered: io::Result<_> = runtimes.map(register).collect();
    registered.map_err(|source| StartError::Listen { address: *wanted, source })
}

/// Accepts in the runtime of a listener.
pub(super) fn accept(connections: &Connections, (runtime, listener): Registered, takes: &Takes) -> JoinHandle<()> {
    let (connections, takes) = (connections.clone(), takes.clone());
    task::keep_on(&runtime, "accept", move || connections.clone().accept(listener.clone(), takes.clone()))
}

/// What to do about an address that cannot be listened at.
pub(super) fn hint(address: &SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "; another program has the port: `ss -ltnp 'sport = :{}'` says which; end it, or name another port",
            address.port()
        ),
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need a right: `setcap cap_net_bind_service=+ep` on the program, or a service manager"
                .to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address".to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, num::NonZeroUsize, time::Duration};

    use tempfile::TempDir;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
        time::{sleep, timeout},
    };
    use tunnel_proto::cores::Cores;

    use super::*;
    use crate::{Clock, edge::Screen};

    const CORES: usize = 3;
    const PATIENCE: Duration = Duration::from_secs(20);

    async fn edge() -> (Edge, Cores, TempDir) {
        let (dir, cores) =
            (tempfile::tempdir().unwrap(), Cores::start("core", NonZeroUsize::new(CORES).unwrap()).unwrap());
        let mut config = Config::quick_start(dir.path().to_owned(), Vec::new());
        config.listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
        config.http_listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
        let screen = Screen::new(io::sink());
        let edge = Edge::start_on(cores.handles(), config, Clock::System, screen).await.unwrap();
        (edge, cores, dir)
    }

    async fn asked(visitor: &mut TcpStream) {
        visitor.write_all(b"GET /.access/certs HTTP/1.1\r\nHost: access.localhost\r\n\r\n").await.unwrap();
        let mut answer = [0; 15];
        timeout(PATIENCE, visitor.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
    }

    /// Waits until the cores have so many connections in all.
    async fn until(edge: &Edge, are: impl Fn(usize) -> bool) {
        let waiting = async {
            while !are(edge.connections.held().iter().sum()) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{:?}", edge.connections.held()));
    }

    async fn nobody_listens(addresses: &[SocketAddr]) {
        for address in addresses {
            let refused = TcpStream::connect(address).await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused, "{address}");
        }
    }

    #[tokio::test]
    async fn connections_are_dealt_out_to_all_cores_and_no_core_accepts_after_the_edge_has_stopped() {
        let (edge, cores, _dir) = edge().await;
        assert_eq!(edge.accepting.len(), 2 * CORES, "each listener is with each core");
        let mut visitors = Vec::new();
        for _ in 0..10 * CORES {
            let mut visitor = TcpStream::connect(edge.plain[0]).await.unwrap();
            asked(&mut visitor).await;
            visitors.push(visitor);
        }
        let held = edge.connections.held();
        assert_eq!(held.iter().sum::<usize>(), 10 * CORES, "{held:?}");
        assert!(held.iter().all(|held| (8..=12).contains(held)), "{held:?}");
        visitors.truncate(CORES);
        // What has ended is not counted.
        until(&edge, |held| held == CORES).await;
        let addresses = [edge.listening(), edge.plain()].concat();
        edge.stop(Duration::from_secs(1)).await;
        nobody_listens(&addresses).await;
        drop(cores);
    }

    // F3
    #[tokio::test]
    async fn no_core_of_a_process_that_was_replaced_accepts_and_each_goes_on_with_what_it_has() {
        let (mut edge, _cores, _dir) = edge().await;
        let mut visitors = Vec::new();
        for count in 1..=CORES {
            let mut visitor = TcpStream::connect(edge.plain[0]).await.unwrap();
            // It has begun to ask.
            visitor.write_all(b"GET /.access/certs HTTP/1.1\r\n").await.unwrap();
            visitors.push(visitor);
            until(&edge, |held| held == count).await;
        }
        assert_eq!(edge.connections.held(), [1; CORES]);
        edge.shut_doors().await;
        nobody_listens(&[edge.listening(), edge.plain()].concat()).await;
        assert!(edge.doors.is_empty() && edge.accepting.is_empty());
        for mut visitor in visitors {
            visitor.write_all(b"Host: access.localhost\r\n\r\n").await.unwrap();
            let mut answer = [0; 15];
            timeout(PATIENCE, visitor.read_exact(&mut answer)).await.unwrap().unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200 OK");
        }
        edge.stop(Duration::from_secs(1)).await;
    }

    // F3
    #[tokio::test]
    async fn what_waits_at_a_listener_that_is_shut_here_is_for_whoever_has_it_as_well() {
        let (mut edge, _cores, _dir) = edge().await;
        let address = edge.plain[0];
        let (_, theirs) = edge.doors.iter().find(|(_, one)| one.local_addr().unwrap() == address).unwrap();
        let theirs = Listener::from_std(theirs.try_clone().unwrap()).unwrap();
        edge.shut_doors().await;
        let mut visitor = TcpStream::connect(address).await.unwrap();
        let (mut taken, _) = timeout(PATIENCE, theirs.accept()).await.unwrap().unwrap();
        taken.write_all(b"x").await.unwrap();
        assert_eq!(visitor.read_u8().await.unwrap(), b'x');
        edge.stop(Duration::from_secs(1)).await;
    }
}
