//! What differs between operating systems: Unix sockets and segment sizes. Windows is written and untested.

use std::{io, path::Path};

use tokio::net::TcpSocket;
#[cfg(unix)]
pub use tokio::net::UnixStream;

/// Connects to the Unix socket at `path`.
#[cfg(unix)]
pub async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(path).await
}

#[cfg(not(unix))]
pub use tokio::net::TcpStream as UnixStream;

/// Unix sockets are not offered here by the runtime.
#[cfg(not(unix))]
pub async fn connect_unix(_path: &Path) -> io::Result<UnixStream> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "unix sockets are not available on this system"))
}

/// Whether something might answer at the socket `path`: it is there and is a socket.
pub(crate) fn is_socket(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        std::fs::metadata(path).is_ok_and(|found| found.file_type().is_socket())
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        false
    }
}

/// Limits the segments of a connection that is yet to be made, in both directions.
pub(crate) fn limit_segments(socket: &TcpSocket, bytes: u32) -> io::Result<()> {
    #[cfg(unix)]
    {
        socket2::SockRef::from(socket).set_tcp_mss(bytes)
    }
    #[cfg(not(unix))]
    {
        let _ = (socket, bytes);
        Err(io::ErrorKind::Unsupported.into())
    }
}
