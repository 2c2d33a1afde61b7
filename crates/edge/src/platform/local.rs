//! The owner-only socket between programs of one user on one machine.

#[cfg(unix)]
mod imp {
    use std::{io, path::Path};

    use crate::platform::Handle;

    /// A connection.
    pub type LocalStream = tokio::net::UnixStream;

    /// A socket in the file system at which the owner's other programs call.
    #[derive(Debug)]
    pub struct LocalListener(tokio::net::UnixListener);

    impl LocalListener {
        /// Makes the socket, for its owner only. There must be nothing at `path`.
        pub fn bind(path: &Path) -> io::Result<Self> {
            let listener = tokio::net::UnixListener::bind(path)?;
            crate::platform::owner_only(path)?;
            Ok(Self(listener))
        }

        /// The next connection.
        pub async fn accept(&self) -> io::Result<LocalStream> {
            Ok(self.0.accept().await?.0)
        }

        /// For the process that goes on with it.
        pub fn handle(&self) -> io::Result<Handle> {
            Handle::of_local(&self.0)
        }

        /// One that another process made.
        pub fn adopt(handle: Handle) -> io::Result<Self> {
            handle.into_local().map(Self)
        }
    }

    /// Calls at the socket at `path`.
    pub async fn connect_local(path: &Path) -> io::Result<LocalStream> {
        tokio::net::UnixStream::connect(path).await
    }

    /// Whether the other side runs as this process's user or as root, by what the kernel says (`SO_PEERCRED`).
    pub fn peer_is_trusted(stream: &LocalStream) -> io::Result<bool> {
        let peer = stream.peer_cred()?.uid();
        Ok(peer == 0 || peer == crate::platform::own_user())
    }
}

#[cfg(not(unix))]
mod imp {
    use std::{io, path::Path};

    use crate::platform::Handle;

    /// A connection; there are none here.
    pub type LocalStream = tokio::io::DuplexStream;

    /// There is no such socket here.
    #[derive(Debug)]
    pub struct LocalListener(std::convert::Infallible);

    impl LocalListener {
        /// Always fails.
        pub fn bind(_: &Path) -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        /// Cannot be called.
        pub async fn accept(&self) -> io::Result<LocalStream> {
            match self.0 {}
        }

        /// Cannot be called.
        pub fn handle(&self) -> io::Result<Handle> {
            match self.0 {}
        }

        /// Always fails.
        pub fn adopt(_: Handle) -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    /// Always fails.
    pub async fn connect_local(_: &Path) -> io::Result<LocalStream> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Cannot be called with a connection.
    pub fn peer_is_trusted(_: &LocalStream) -> io::Result<bool> {
        Ok(false)
    }
}

pub use imp::*;
