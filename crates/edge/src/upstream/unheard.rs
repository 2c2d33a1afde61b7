//! What comes on a stream by HTTP/1 and comes to nothing: between two pieces of an answer there is little, but the library
//! reads the size of a chunk for as long as it goes on (T11).

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that may come to nothing: more than as many informational heads as there may be, the answer's own, and what is read
/// ahead of it.
const UNHEARD_MAX: usize = 1024 * 1024;

/// How many bytes have come since something came of them.
#[derive(Default)]
pub(super) struct Unheard {
    bytes: AtomicUsize,
    /// The stream has changed its protocol: nobody says what comes of bytes.
    switched: AtomicBool,
}

impl Unheard {
    /// Something came of them, or is to come.
    pub(super) fn heard(&self) {
        self.bytes.store(0, Relaxed);
    }

    /// Whatever comes from here on is no HTTP.
    pub(super) fn switch(&self) {
        self.switched.store(true, Relaxed);
    }

    fn more(&self, count: usize) -> io::Result<()> {
        let before = self.bytes.fetch_add(count, Relaxed);
        if before.saturating_add(count) > UNHEARD_MAX && !self.switched.load(Relaxed) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "nothing comes of what the service sends"));
        }
        Ok(())
    }
}

/// A stream whose bytes are counted.
pub(super) struct Counted<T> {
    io: T,
    unheard: Arc<Unheard>,
}

impl<T> Counted<T> {
    pub(super) fn new(io: T, unheard: Arc<Unheard>) -> Self {
        Self { io, unheard }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        Poll::Ready(self.unheard.more(buf.filled().len().saturating_sub(before)))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn what_comes_to_nothing_ends_and_what_is_heard_or_no_http_goes_on() {
        const PIECE: usize = UNHEARD_MAX / 4;
        let unheard = Arc::<Unheard>::default();
        let mut stream = Counted::new(tokio::io::repeat(b'0'), unheard.clone());
        let mut piece = vec![0; PIECE];
        for _ in 0..3 {
            for _ in 0..4 {
                stream.read_exact(&mut piece).await.unwrap();
            }
            unheard.heard();
        }
        for _ in 0..4 {
            stream.read_exact(&mut piece).await.unwrap();
        }
        assert_eq!(stream.read_exact(&mut piece).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        unheard.switch();
        for _ in 0..8 {
            stream.read_exact(&mut piece).await.unwrap();
        }
    }
}
