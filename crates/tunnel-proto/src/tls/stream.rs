//! A connection after its handshake.

use std::{
    fmt, io,
    io::IoSlice,
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustls::{Error, crypto::cipher::OutboundChunks};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

use super::{
    Agreed, WRITE_MAX,
    incoming::Incoming,
    outgoing::Outgoing,
    records::{Opened, PAYLOAD_MAX, Records},
};

/// A connection by TLS 1.3. Made by [`connect`](super::connect), [`accept`](super::accept) or [`Arrival`](super::Arrival).
///
/// What is written is sealed in records of 16 KiB, as far as there is as much, and goes out at once as far as the socket
/// takes it; the rest does with the next write or flush. Reading by [`AsyncBufRead`] gives a record at a time where it was
/// opened. Shutting down tells the peer that this direction is over; a connection that ends without the peer having said so
/// is an [`io::ErrorKind::UnexpectedEof`].
///
/// It holds a buffer of [`READ_MAX`](super::READ_MAX) bytes while something arrives or is not read, and next to nothing else
/// while nothing waits to be sent.
pub struct TlsStream<IO> {
    io: IO,
    records: Records,
    incoming: Incoming,
    outgoing: Outgoing,
    agreed: Agreed,
    /// The peer has said that it sends no more.
    ended: bool,
    /// We have.
    closing: bool,
    /// What was wrong with what came.
    failure: Option<Error>,
}

impl<IO> TlsStream<IO> {
    pub(super) fn new(io: IO, records: Records, agreed: Agreed, received: Vec<u8>) -> Self {
        let (incoming, outgoing) = (Incoming::new(received), Outgoing::default());
        Self { io, records, incoming, outgoing, agreed, ended: false, closing: false, failure: None }
    }

    /// What the handshake agreed on.
    pub const fn agreed(&self) -> &Agreed {
        &self.agreed
    }

    /// The same connection through something else, which what it went through has become.
    pub fn map_io<T>(self, change: impl FnOnce(IO) -> T) -> TlsStream<T> {
        let Self { io, records, incoming, outgoing, agreed, ended, closing, failure } = self;
        TlsStream { io: change(io), records, incoming, outgoing, agreed, ended, closing, failure }
    }

    /// What this goes through. Reading from it or writing to it breaks the connection.
    pub const fn io(&self) -> &IO {
        &self.io
    }

    #[cfg(test)]
    pub(super) const fn parts(&mut self) -> (&mut Records, &Incoming, &Outgoing) {
        (&mut self.records, &self.incoming, &self.outgoing)
    }

    /// To send what the stream itself would not.
    #[cfg(test)]
    pub(super) const fn io_for_tests(&mut self) -> &mut IO {
        &mut self.io
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> TlsStream<IO> {
    /// Waits until something can be read, or nothing more will come.
    fn poll_plain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if !self.incoming.plain().is_empty() || self.ended {
                return Poll::Ready(Ok(()));
            }
            self.check()?;
            match self.incoming.open(&mut self.records) {
                Ok(Some(opened)) => {
                    self.note(opened);
                    continue;
                }
                Ok(None) => {}
                Err(error) => {
                    self.fail(error, cx);
                    continue;
                }
            }
            let mut space = ReadBuf::new(self.incoming.room());
            let read = Pin::new(&mut self.io).poll_read(cx, &mut space);
            let bytes = space.filled().len();
            match read {
                Poll::Ready(Ok(())) if bytes > 0 => self.incoming.filled(bytes),
                Poll::Ready(Ok(())) => {
                    self.incoming.clear();
                    let text = "the connection ended without the peer having closed it";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, text)));
                }
                other => {
                    self.incoming.rest();
                    return other;
                }
            }
        }
    }

    /// Opens what has come already, without waiting.
    fn open_next(&mut self, cx: &mut Context<'_>) {
        while self.incoming.plain().is_empty() && !self.ended && self.failure.is_none() {
            match self.incoming.open(&mut self.records) {
                Ok(Some(opened)) => self.note(opened),
                Ok(None) => return,
                Err(error) => self.fail(error, cx),
            }
        }
    }

    fn note(&mut self, opened: Opened) {
        if opened == Opened::Closed {
            self.ended = true;
            self.incoming.clear();
        }
    }

    /// Nothing more is read or written. The peer is told why, if it takes that now.
    fn fail(&mut self, error: Error, cx: &mut Context<'_>) {
        self.incoming.clear();
        if !self.closing && self.records.complain(&error, &mut self.outgoing).is_ok() {
            let _ = self.poll_send(cx);
        }
        self.failure = Some(error);
    }

    fn check(&self) -> io::Result<()> {
        match &self.failure {
            Some(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error.clone())),
            None => Ok(()),
        }
    }

    /// Sends what waits.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.outgoing.waiting() > 0 {
            let (slices, count) = self.outgoing.slices();
            let slices = slices.get(..count).unwrap_or_default();
            match ready!(Pin::new(&mut self.io).poll_write_vectored(cx, slices))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.outgoing.note_sent(sent),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Seals as much as may wait to be sent, and sends what goes.
    fn poll_seal(&mut self, cx: &mut Context<'_>, payload: OutboundChunks<'_>) -> Poll<io::Result<usize>> {
        self.check()?;
        if self.closing {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let mut room = WRITE_MAX;
        if self.outgoing.waiting() > 0 && self.poll_send(cx)?.is_pending() {
            room = WRITE_MAX.saturating_sub(self.outgoing.waiting());
            // Less than a record would make short ones of all that follows.
            if room < PAYLOAD_MAX {
                return Poll::Pending;
            }
            room = room.saturating_sub(room % PAYLOAD_MAX);
        }
        let (mut rest, _) = payload.split_at(room);
        let taken = rest.len();
        while !rest.is_empty() {
            let (record, after) = rest.split_at(PAYLOAD_MAX);
            self.records.seal(record, &mut self.outgoing).map_err(io::Error::other)?;
            rest = after;
        }
        // Whatever goes wrong is told by the next call: this much is taken.
        let _ = self.poll_send(cx);
        Poll::Ready(Ok(taken))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        ready!(this.poll_plain(cx))?;
        loop {
            let plain = this.incoming.plain();
            let bytes = plain.len().min(buf.remaining());
            buf.put_slice(plain.get(..bytes).unwrap_or_default());
            this.incoming.consume(bytes);
            if bytes == 0 || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            this.open_next(cx);
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncBufRead for TlsStream<IO> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        ready!(this.poll_plain(cx))?;
        Poll::Ready(Ok(this.incoming.plain()))
    }

    fn consume(self: Pin<&mut Self>, bytes: usize) {
        self.get_mut().incoming.consume(bytes);
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_seal(cx, OutboundChunks::Single(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let chunks: Vec<&[u8]> = bufs.iter().map(|buf| &**buf).collect();
        self.get_mut().poll_seal(cx, OutboundChunks::new(&chunks))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.closing {
            this.closing = true;
            if this.failure.is_none() {
                this.records.close(&mut this.outgoing).map_err(io::Error::other)?;
            }
        }
        ready!(this.poll_send(cx))?;
        ready!(Pin::new(&mut this.io).poll_flush(cx))?;
        match ready!(Pin::new(&mut this.io).poll_shutdown(cx)) {
            // The peer was faster.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            other => Poll::Ready(other),
        }
    }
}

impl<IO> fmt::Debug for TlsStream<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("agreed", &self.agreed).finish_non_exhaustive()
    }
}
