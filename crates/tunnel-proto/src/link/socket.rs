//! How the socket below a link is set.

use tokio::net::TcpStream;

/// What the system may hold of what was not sent yet, in bytes. All that stands there is in front of whatever is urgent; a link
/// fills it again as soon as half of it has gone.
pub const UNSENT_MAX: u32 = 64 * 1024;

/// Has the system hold little of what a link sends, so that the link decides for as long as it can what goes first. Only Linux
/// and Android can.
pub fn keep_unsent_short(tcp: &TcpStream) {
    #[cfg(any(target_os = "android", target_os = "linux"))]
    if let Err(error) = socket2::SockRef::from(tcp).set_tcp_notsent_lowat(UNSENT_MAX) {
        tracing::debug!(%error, "the system holds as much as it likes of what a link sends");
    }
    #[cfg(not(any(target_os = "android", target_os = "linux")))]
    let _ = tcp;
}
