//! What differs between systems.

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
