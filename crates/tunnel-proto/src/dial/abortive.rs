//! A TCP connection that does not end in order by accident.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// A TCP connection that ends by a reset when it is dropped, also where the task or the program that carries it ends first, from
/// [`arm`](Self::arm) on until our direction was shut down: whoever is at its other end takes nothing for whole that was cut.
#[derive(Debug)]
pub struct AbortiveTcp(TcpStream);

impl AbortiveTcp {
    /// A connection that ends as any other until it is armed.
    pub const fn new(tcp: TcpStream) -> Self {
        Self(tcp)
    }

    /// From here on its end is a reset, unless our direction is shut down before.
    pub fn arm(&self) {
        self.linger(Some(Duration::ZERO));
    }

    /// The connection.
    pub const fn tcp(&self) -> &TcpStream {
        &self.0
    }

    fn linger(&self, time: Option<Duration>) {
        if let Err(error) = socket2::SockRef::from(&self.0).set_linger(time) {
            tracing::debug!(%error, "how a connection ends is up to the system");
        }
    }
}

impl AsyncRead for AbortiveTcp {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, buf)
    }
}

impl AsyncWrite for AbortiveTcp {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Before, since some systems let nothing be set once both directions have ended.
        self.linger(None);
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    async fn pair() -> (AbortiveTcp, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (AbortiveTcp::new(near.unwrap()), far.unwrap().0)
    }

    #[tokio::test]
    async fn it_ends_by_a_reset_once_armed_unless_its_end_was_said() {
        for (armed, said, reset) in [(false, false, false), (true, false, true), (true, true, false)] {
            let (mut near, mut far) = pair().await;
            near.write_all(b"part").await.unwrap();
            let mut part = [0; 4];
            far.read_exact(&mut part).await.unwrap();
            if armed {
                near.arm();
            }
            if said {
                near.shutdown().await.unwrap();
            }
            drop(near);
            let end = far.read_u8().await.unwrap_err().kind();
            let expected = if reset { io::ErrorKind::ConnectionReset } else { io::ErrorKind::UnexpectedEof };
            assert_eq!(end, expected, "armed {armed}, said {said}");
        }
    }

    #[tokio::test]
    async fn what_the_system_still_holds_when_its_end_is_said_arrives() {
        let (mut near, mut far) = pair().await;
        near.arm();
        let mut sent = 0;
        let filling = async {
            loop {
                sent += near.write(&[7; 65_536]).await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_millis(300), filling).await.unwrap_err();
        near.shutdown().await.unwrap();
        drop(near);
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.unwrap();
        assert_eq!(got.len(), sent);
    }
}
