//! A stream of the multiplexer as bytes, with honest ends: an end of data is an end only if the peer said so.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

use super::{Broken, Mux};

/// One stream. Dropping it resets the stream, unless both directions have ended.
///
/// A read of nothing is the peer's clean end; whatever else ended the stream is [`io::ErrorKind::ConnectionReset`], after all that
/// came before. `flush` returns at once: what is written is sent as soon as the socket takes it. `shutdown` ends our direction.
#[derive(Debug)]
pub struct Stream {
    mux: Arc<Mux>,
    id: u32,
    /// What was taken from the multiplexer and not read yet.
    piece: BytesMut,
}

impl Stream {
    /// Takes charge of a stream that was opened or accepted.
    pub fn new(mux: &Arc<Mux>, id: u32) -> Self {
        Self { mux: mux.clone(), id, piece: BytesMut::new() }
    }

    /// Its number on the wire.
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// Waits, without reading, until it is cut: nobody takes what is written to it. What came before can be read, and unless the
    /// peer has ended its direction, ends with [`io::ErrorKind::ConnectionReset`].
    pub fn poll_cut(&self, cx: &Context<'_>) -> Poll<()> {
        self.mux.poll_cut(self.id, cx)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.mux.with(|engine| engine.release(self.id));
    }
}

impl From<Broken> for io::Error {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Reset => Self::new(io::ErrorKind::ConnectionReset, "the stream was reset, or its link is over"),
            Broken::Ended => io::ErrorKind::BrokenPipe.into(),
        }
    }
}

impl AsyncBufRead for Stream {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        if this.piece.is_empty() {
            // None is the end, which is an empty piece.
            this.piece = ready!(this.mux.poll_read(this.id, cx))?.unwrap_or_default();
        }
        Poll::Ready(Ok(&this.piece))
    }

    fn consume(self: Pin<&mut Self>, count: usize) {
        let this = self.get_mut();
        this.piece.advance(count.min(this.piece.len()));
        if this.piece.is_empty() {
            this.piece = BytesMut::new();
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let piece = ready!(self.as_mut().poll_fill_buf(cx))?;
        let count = piece.len().min(buf.remaining());
        buf.put_slice(piece.get(..count).unwrap_or_default());
        self.consume(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.mux.poll_write(self.id, buf, cx).map_err(io::Error::from)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What is written is in the driver's hands at once, and the driver sends whatever it has before it waits. A stream that was
        // cut is no error here: what came before can still be read.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.mux.with(|engine| engine.finish(self.id)).map_err(io::Error::from))
    }
}
