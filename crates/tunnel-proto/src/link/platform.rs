//! What differs between operating systems: how a socket sends.

use std::io::{self, IoSlice};

use socket2::SockRef;
use tokio::net::TcpStream;

/// The rules for how fast a link sends, where the system has them. Others take each packet that is lost for a sign that the path
/// is full, also where it only is a bad one; and as all streams of a link share its pace, all of them together would get what one
/// connection does. These go by what arrives, and leave long queues on the way short; those of a few milliseconds they overrun.
pub(super) const CONGESTION_CONTROL: &str = "bbr";

/// Has the system say that a socket takes nothing more while it holds so many bytes that were not sent.
#[cfg(any(target_os = "android", target_os = "linux"))]
pub(super) fn keep_unsent_short(tcp: &TcpStream, bytes: u32) -> io::Result<()> {
    SockRef::from(tcp).set_tcp_notsent_lowat(bytes)
}

/// Writes bytes to which the system adds no others: it would add whatever it is given, up to 64 KiB, before it asks how much it
/// holds.
#[cfg(any(target_os = "android", target_os = "linux"))]
pub(super) fn write_apart(tcp: &TcpStream, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
    SockRef::from(tcp).send_vectored_with_flags(bytes, libc::MSG_EOR | libc::MSG_NOSIGNAL)
}

/// Has the system send by [`CONGESTION_CONTROL`].
#[cfg(target_os = "linux")]
pub(super) fn control_congestion(tcp: &TcpStream) -> io::Result<()> {
    SockRef::from(tcp).set_tcp_congestion(CONGESTION_CONTROL.as_bytes())
}

/// Nothing else lets itself be told.
#[cfg(not(any(target_os = "android", target_os = "linux")))]
pub(super) fn keep_unsent_short(_: &TcpStream, _: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Nobody asks where [`keep_unsent_short`] is refused.
#[cfg(not(any(target_os = "android", target_os = "linux")))]
pub(super) fn write_apart(_: &TcpStream, _: &[IoSlice<'_>]) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Only Linux has a choice of them for each socket.
#[cfg(not(target_os = "linux"))]
pub(super) fn control_congestion(_: &TcpStream) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
