//! What differs between systems.

/// Raises the number of files and sockets that this process may have open to what the system allows it.
#[cfg(unix)]
pub(crate) fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Where it is refused, the limit is what it was.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// Untested: other systems have no such limit, or none that is met.
#[cfg(not(unix))]
pub(crate) const fn raise_descriptors() {}

/// Waits until the system asks the program to end (SIGTERM). Never, where there is no such thing.
#[cfg(unix)]
pub(crate) async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => drop(terminate.recv().await),
        Err(_) => std::future::pending().await,
    }
}

/// Untested: other systems end a program by Ctrl+C alone.
#[cfg(not(unix))]
pub(crate) async fn terminated() {
    std::future::pending().await
}

/// Requests to start anew by SIGHUP.
pub(crate) struct Hangups(#[cfg(unix)] Option<tokio::signal::unix::Signal>);

impl Hangups {
    /// Takes them from now on. Untested: there are none on other systems.
    pub(crate) fn taken() -> Self {
        Self(
            #[cfg(unix)]
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok(),
        )
    }

    /// Leaves it to the system what the signal does: it ends the program.
    pub(crate) const fn ignored() -> Self {
        Self(
            #[cfg(unix)]
            None,
        )
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        #[cfg(unix)]
        if let Some(signal) = &mut self.0 {
            signal.recv().await;
            return;
        }
        std::future::pending().await
    }
}

/// Tells the service manager how this program is, if one asked for it (`sd_notify(3)`).
#[cfg(unix)]
pub(crate) fn tell_manager(state: &str) {
    use std::os::unix::net::UnixDatagram;
    let Some(address) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let told = UnixDatagram::unbound().and_then(|socket| match abstract_address(&address) {
        Some(name) => socket.send_to_addr(state.as_bytes(), &name?),
        None => socket.send_to(state.as_bytes(), &address),
    });
    if let Err(error) = told {
        tracing::warn!(%error, "the service manager is not told how the edge is");
    }
}

/// An address that is no file begins with `@`.
#[cfg(target_os = "linux")]
fn abstract_address(address: &std::ffi::OsStr) -> Option<std::io::Result<std::os::unix::net::SocketAddr>> {
    use std::os::{linux::net::SocketAddrExt as _, unix::ffi::OsStrExt as _, unix::net::SocketAddr};
    address.as_bytes().strip_prefix(b"@").map(SocketAddr::from_abstract_name)
}

/// Untested: other systems have no such addresses.
#[cfg(all(unix, not(target_os = "linux")))]
fn abstract_address(_: &std::ffi::OsStr) -> Option<std::io::Result<std::os::unix::net::SocketAddr>> {
    None
}

/// Untested: other systems have no such manager.
#[cfg(not(unix))]
pub(crate) const fn tell_manager(_: &str) {}
