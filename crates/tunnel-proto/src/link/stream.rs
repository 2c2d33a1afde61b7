//! A stream of a link, from either end.

use std::{
    any::Any,
    fmt, io,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf},
    sync::OwnedSemaphorePermit,
    task::coop,
};

use super::{Handle, Shared, relay::Side};
use crate::{
    frame::{FrameError, HEADER_LEN, Header},
    message::{Message, StreamRefused},
    mux,
    version::{Place, Version},
};

/// One stream: a connection to a service, as bytes in both directions.
///
/// The opener may write at once; its first read takes the peer's answer off the stream. If that is a refusal, the read
/// fails with [`io::ErrorKind::ConnectionRefused`], and the error's inner value is the [`StreamRefused`]; so does a write
/// that comes to know of it. `shutdown` ends our direction and leaves the other one open. A read of zero bytes is the
/// peer's clean end; a stream that was cut in any other way fails with [`io::ErrorKind::ConnectionReset`]. Dropping a
/// stream before both directions have ended resets it. `flush` returns at once; nothing is held back.
pub struct Stream {
    raw: mux::Stream,
    answer: Answer,
    version: Version,
    // After `raw`: the place is free once the stream is.
    _seat: Seat,
    kept: Option<Box<dyn Any + Send + Sync>>,
    _handle: Arc<Handle>,
}

enum Answer {
    Waiting(Vec<u8>),
    Accepted(Vec<IpAddr>),
    Refused(StreamRefused),
}

impl Stream {
    pub(super) fn opened(
        raw: mux::Stream,
        permit: OwnedSemaphorePermit,
        handle: Arc<Handle>,
        version: Version,
    ) -> Self {
        Self::new(raw, Answer::Waiting(Vec::new()), permit, handle, version)
    }

    pub(super) fn accepted_here(
        raw: mux::Stream,
        permit: OwnedSemaphorePermit,
        handle: Arc<Handle>,
        version: Version,
    ) -> Self {
        Self::new(raw, Answer::Accepted(Vec::new()), permit, handle, version)
    }

    fn new(
        raw: mux::Stream,
        answer: Answer,
        permit: OwnedSemaphorePermit,
        handle: Arc<Handle>,
        version: Version,
    ) -> Self {
        let seat = Seat { permit: Some(permit), shared: handle.shared.clone() };
        Self { raw, answer, version, _seat: seat, kept: None, _handle: handle }
    }

    /// Keeps a value for as long as it lives itself: its owner's count of streams, say. One at a time; the one before is dropped.
    pub fn keep(&mut self, value: impl Any + Send + Sync) {
        self.kept = Some(Box::new(value));
    }

    /// Waits for the peer's answer: nothing, or its refusal as an error like that of a read. Cancel safe; need not be
    /// called, since the first read does the same.
    pub async fn accepted(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_answer(cx)).await
    }

    /// The addresses that the peer answered with, where only they were asked for
    /// ([`crate::message::Open::resolve`]).
    pub async fn resolved(mut self) -> io::Result<Vec<IpAddr>> {
        self.accepted().await?;
        match std::mem::replace(&mut self.answer, Answer::Accepted(Vec::new())) {
            Answer::Accepted(addresses) => Ok(addresses),
            Answer::Waiting(_) | Answer::Refused(_) => Ok(Vec::new()),
        }
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let so_far = match &mut self.answer {
                Answer::Accepted(_) => return Poll::Ready(Ok(())),
                Answer::Refused(refused) => {
                    let refused = refused.clone();
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionRefused, refused)));
                }
                Answer::Waiting(so_far) => so_far,
            };
            let missing = missing(so_far, self.version).map_err(invalid)?;
            if missing > 0 {
                let mut chunk = [0; 256];
                let mut buf = ReadBuf::new(chunk.get_mut(..missing.min(256)).unwrap_or_default());
                // A peer that sends frames to be skipped without end gets no more of the thread than one that sends payload.
                let turn = ready!(coop::poll_proceed(cx));
                ready!(Pin::new(&mut self.raw).poll_read(cx, &mut buf))?;
                turn.made_progress();
                if buf.filled().is_empty() {
                    let text = "the stream ended before it was answered";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, text)));
                }
                so_far.extend_from_slice(buf.filled());
                continue;
            }
            let (message, _) = Message::parse(so_far, self.version).map_err(invalid)?;
            self.answer = match message {
                None => Answer::Waiting(Vec::new()),
                Some(Message::Accepted(accepted)) => Answer::Accepted(accepted.addresses),
                Some(Message::StreamRefused(refused)) => Answer::Refused(refused),
                Some(other) => return Poll::Ready(Err(invalid(FrameError::OutOfPlace { kind: other.kind() }))),
            };
        }
    }

    /// A write failed: if that is because the peer refused, say so.
    fn explain(&mut self, cx: &mut Context<'_>, error: io::Error) -> io::Error {
        match self.poll_answer(cx) {
            Poll::Ready(Err(refused)) if refused.kind() == io::ErrorKind::ConnectionRefused => refused,
            _ => error,
        }
    }
}

/// How many bytes the frame at the start of `bytes` still lacks, and whether it may stand there at all.
fn missing(bytes: &[u8], version: Version) -> Result<usize, FrameError> {
    let Some((header, body)) = bytes.split_first_chunk::<HEADER_LEN>() else {
        return Ok(HEADER_LEN - bytes.len());
    };
    let header = Header::parse(*header, version)?;
    if let Header::Frame { kind, .. } = header
        && !version.allows(kind, crate::message::Role::Connector, Place::StreamAnswer)
    {
        return Err(FrameError::OutOfPlace { kind });
    }
    Ok(header.body_len().saturating_sub(body.len()))
}

fn invalid(error: FrameError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !matches!(this.answer, Answer::Accepted(_)) {
            ready!(this.poll_answer(cx))?;
        }
        // A peer that sends without end must not keep the reader's task, and with it a thread, to itself (T11).
        let turn = ready!(coop::poll_proceed(cx));
        let read = Pin::new(&mut this.raw).poll_read(cx, buf);
        if read.is_ready() {
            turn.made_progress();
        }
        read
    }
}

impl AsyncBufRead for Stream {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        if !matches!(this.answer, Answer::Accepted(_)) {
            ready!(this.poll_answer(cx))?;
        }
        let turn = ready!(coop::poll_proceed(cx));
        let filled = Pin::new(&mut this.raw).poll_fill_buf(cx);
        if filled.is_ready() {
            turn.made_progress();
        }
        filled
    }

    fn consume(mut self: Pin<&mut Self>, count: usize) {
        Pin::new(&mut self.raw).consume(count);
    }
}

impl Side for Stream {
    const END_IS_SURE: bool = true;

    fn poll_cut(&self, cx: &Context<'_>) -> Poll<()> {
        self.raw.poll_cut(cx)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let turn = ready!(coop::poll_proceed(cx));
        let written = ready!(Pin::new(&mut this.raw).poll_write(cx, buf));
        turn.made_progress();
        Poll::Ready(written.map_err(|error| this.explain(cx, error)))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let flushed = ready!(Pin::new(&mut this.raw).poll_flush(cx));
        Poll::Ready(flushed.map_err(|error| this.explain(cx, error)))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let shut = ready!(Pin::new(&mut this.raw).poll_shutdown(cx));
        Poll::Ready(shut.map_err(|error| this.explain(cx, error)))
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

/// A place under the limit of streams; gives itself back.
pub(super) struct Seat {
    permit: Option<OwnedSemaphorePermit>,
    shared: Arc<Shared>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.permit = None;
        self.shared.idle.notify_waiters();
    }
}

/// Why a stream was not opened. The link itself goes on, except after `Closed`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The link is over.
    #[error("the link is closed")]
    Closed,
    /// The link carries as many streams as it may; try another.
    #[error("the link carries as many streams as it may")]
    TooManyStreams,
    /// The link takes no new streams; try another.
    #[error("the link is draining")]
    Draining,
    /// The opening exceeds a limit.
    #[error("the opening cannot be sent")]
    Invalid(#[source] FrameError),
}
