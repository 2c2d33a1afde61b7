//! How the socket below a link is set.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
};

use socket2::SockRef;
use tokio::net::TcpStream;

/// What the system may hold of what was not sent yet, in bytes. All that stands there is in front of whatever is urgent; a link
/// fills it again as soon as half of it has gone.
pub const UNSENT_MAX: u32 = 64 * 1024;
/// The rules for how fast a link sends, where the system has them. Others take each packet that is lost for a sign that the path
/// is full, also where it only is a bad one; and as all streams of a link share its pace, all of them together would get what one
/// connection does. These go by what arrives, and leave long queues on the way short; those of a few milliseconds they overrun.
const CONGESTION_CONTROL: &str = "bbr";

/// Sets the socket below a link, as far as the system can: it holds little of what the link sends, so that the link decides for
/// as long as it can what goes first, and it does not slow down for every packet that is lost. The first is of Linux and
/// Android, the other of Linux.
pub fn prepare_socket(tcp: &TcpStream) {
    /// It was refused once: asking has the system look for it each time, which takes long.
    static REFUSED: AtomicBool = AtomicBool::new(false);
    let socket = SockRef::from(tcp);
    if let Err(error) = keep_unsent_short(&socket) {
        tracing::debug!(%error, "the system holds as much as it likes of what a link sends");
    }
    // Whether it is there, and for whom, is up to whoever runs the machine.
    if !REFUSED.load(Ordering::Relaxed)
        && let Err(error) = control_congestion(&socket)
    {
        // Whatever else is wrong is wrong with this socket alone.
        let lasts = matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported
        );
        REFUSED.store(lasts, Ordering::Relaxed);
        tracing::debug!(%error, "the system does not give links {CONGESTION_CONTROL}");
    }
}

#[cfg(any(target_os = "android", target_os = "linux"))]
fn keep_unsent_short(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_notsent_lowat(UNSENT_MAX)
}

#[cfg(target_os = "linux")]
fn control_congestion(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_congestion(CONGESTION_CONTROL.as_bytes())
}

#[cfg(not(any(target_os = "android", target_os = "linux")))]
fn keep_unsent_short(_: &SockRef<'_>) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
fn control_congestion(_: &SockRef<'_>) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
