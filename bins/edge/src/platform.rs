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
