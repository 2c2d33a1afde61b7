//! What differs between operating systems: Unix sockets. Windows is written and untested.

use std::{io, path::Path};

#[cfg(unix)]
pub(crate) use tokio::net::UnixStream;

/// Connects to the Unix socket at `path`.
#[cfg(unix)]
pub(crate) async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(path).await
}

#[cfg(not(unix))]
pub(crate) use tokio::net::TcpStream as UnixStream;

/// Unix sockets are not offered here by the runtime.
#[cfg(not(unix))]
pub(crate) async fn connect_unix(_path: &Path) -> io::Result<UnixStream> {
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
