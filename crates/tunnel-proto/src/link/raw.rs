//! A stream of the multiplexer with honest ends: an end of data is an end only if the peer said so.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::meter::{Account, Meter, lock};

/// Dropping it resets the stream, unless both directions have ended.
pub(super) struct Raw {
    account: Arc<Account>,
    meter: Arc<Meter>,
}

impl Raw {
    /// Takes charge of the multiplexer's stream.
    pub(super) fn new(stream: yamux::Stream, meter: &Arc<Meter>) -> Self {
        let account = meter.account(stream.id().val());
        *lock(&account.stream) = Some(stream);
        Self { account, meter: meter.clone() }
    }

    fn with<R>(&self, f: impl FnOnce(Pin<&mut yamux::Stream>) -> Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        match lock(&self.account.stream).as_mut() {
            Some(stream) => f(Pin::new(stream)),
            None => Poll::Ready(Err(io::Error::new(
                io::ErrorKind::ConnectionReset,
                "the stream was reset: its link holds too many unread bytes",
            ))),
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.meter.discard(&self.account);
    }
}

fn reset() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the stream was reset")
}

impl AsyncRead for Raw {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let unfilled = buf.initialize_unfilled();
        let read = self.with(|stream| futures::io::AsyncRead::poll_read(stream, cx, unfilled));
        match ready!(read) {
            // The multiplexer says "end" for a reset and a lost link as well.
            Ok(0) if self.account.ended_cleanly() => Poll::Ready(Ok(())),
            Ok(0) => Poll::Ready(Err(reset())),
            Ok(count) => {
                self.meter.consumed(&self.account, count);
                buf.advance(count);
                Poll::Ready(Ok(()))
            }
            Err(error) if error.kind() == io::ErrorKind::WriteZero => Poll::Ready(Err(reset())),
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl AsyncWrite for Raw {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if self.account.is_shut() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.with(|stream| futures::io::AsyncWrite::poll_write(stream, cx, buf)).map_err(|_| reset())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What is written is in the driver's hands at once, and the driver sends whatever it has before it waits.
        if self.account.is_shut() {
            return Poll::Ready(Ok(()));
        }
        self.with(|stream| futures::io::AsyncWrite::poll_flush(stream, cx)).map_err(|_| reset())
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.account.is_shut() {
            return Poll::Ready(Ok(()));
        }
        let account = &self.account;
        self.with(|stream| {
            if stream.is_closed() {
                return Poll::Ready(Err(reset()));
            }
            let closed = futures::io::AsyncWrite::poll_close(stream, cx);
            if let Poll::Ready(Ok(())) = closed {
                account.note_shut();
            }
            closed
        })
        .map_err(|_| reset())
    }
}
