//! A stream of the multiplexer with honest ends: an end of data is an end only if the peer said so.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures::task::AtomicWaker;
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

    fn with<R>(
        &self,
        waiting: &AtomicWaker,
        cx: &mut Context<'_>,
        f: impl FnOnce(Pin<&mut yamux::Stream>, &mut Context<'_>) -> Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        let mut stream = lock(&self.account.stream);
        let Some(stream) = stream.as_mut() else {
            let text = "the stream was cut: its link was closed, or holds too many unread bytes";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, text)));
        };
        let result = f(Pin::new(stream), cx);
        if result.is_pending() {
            // While the stream is held: whoever takes it away comes later, and wakes us.
            waiting.register(cx.waker());
        }
        result
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
        let mut read = |cx: &mut Context<'_>| {
            self.with(&self.account.reader, cx, |stream, cx| futures::io::AsyncRead::poll_read(stream, cx, unfilled))
        };
        let result = match read(cx) {
            // The link ended between two of the multiplexer's own steps; what it had buffered can be read all the same.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::WriteZero => read(cx),
            other => other,
        };
        match ready!(result) {
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
        self.with(&self.account.writer, cx, |stream, cx| futures::io::AsyncWrite::poll_write(stream, cx, buf))
            .map_err(|_| reset())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What is written is in the driver's hands at once, and the driver sends whatever it has before it waits.
        if self.account.is_shut() {
            return Poll::Ready(Ok(()));
        }
        self.with(&self.account.writer, cx, futures::io::AsyncWrite::poll_flush).map_err(|_| reset())
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.account.is_shut() {
            return Poll::Ready(Ok(()));
        }
        let account = &self.account;
        self.with(&account.writer, cx, |stream, cx| {
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
