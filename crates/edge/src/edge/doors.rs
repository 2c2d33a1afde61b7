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
