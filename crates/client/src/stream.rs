//! A connection to a service.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf},
    time::timeout,
};
use tunnel_proto::{GrantId, Hostname, dial::Side, link, message::CutReason};

use crate::{error::Error, grants::LiveLink};

/// How long the word of why a connection was cut may be behind the cut itself.
const REASON_LAG: Duration = Duration::from_millis(300);

/// A connection to a service: bytes in both directions, each of which ends by itself.
///
/// `shutdown` ends our direction and leaves the other one open. A connection that was cut fails with
/// [`io::ErrorKind::ConnectionReset`]; where the edge ended the right to it, the error's inner value is the
/// [`Error`](crate::Error) that says why. Dropping it before both directions have ended resets it.
pub struct Stream {
    stream: link::Stream,
    live: Arc<LiveLink>,
    grant: GrantId,
    host: Hostname,
}

impl Stream {
    pub(crate) const fn new(stream: link::Stream, live: Arc<LiveLink>, grant: GrantId, host: Hostname) -> Self {
        Self { stream, live, grant, host }
    }

    /// The host that it was opened at.
    pub const fn host(&self) -> &Hostname {
        &self.host
    }

    /// Why the edge ended the right to it, if it did.
    pub fn why_ended(&self) -> Option<Error> {
        let reason = self.live.why_ended(self.grant)?;
        Some(Error::Revoked { host: self.host.to_string(), reason })
    }

    /// Tells why a connection was cut, for when it is not at hand any more.
    pub(crate) fn inquest(&self) -> Inquest {
        Inquest { live: self.live.clone(), grant: self.grant, host: self.host.clone() }
    }

    fn explain(&self, error: io::Error) -> io::Error {
        match self.why_ended() {
            Some(why) => io::Error::new(error.kind(), why),
            None => error,
        }
    }
}

/// Who knows why a connection was cut.
pub(crate) struct Inquest {
    live: Arc<LiveLink>,
    grant: GrantId,
    host: Hostname,
}

impl Inquest {
    /// Waits until the link is over; why.
    pub(crate) async fn link_over(&self) -> Error {
        Error::Lost(self.live.link.closed().await)
    }

    /// Why the connection was cut. The word of it may come a moment after the cut.
    pub(crate) async fn why_cut(&self, error: &io::Error) -> Error {
        let revoked = || {
            let reason = self.live.why_ended(self.grant)?;
            Some(Error::Revoked { host: self.host.to_string(), reason })
        };
        if let Some(error) = revoked() {
            return error;
        }
        match timeout(REASON_LAG, self.link_over()).await {
            Ok(lost) => lost,
            Err(_) => revoked().unwrap_or_else(|| {
                let reason = match self.live.why_cut(self.grant) {
                    Some(CutReason::ConnectorGone) => {
                        "the connector that leads to it stopped, or lost its connection to the edge".to_owned()
                    }
                    _ => error.to_string(),
                };
                Error::Cut { host: self.host.to_string(), reason }
            }),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        read.map_err(|error| self.explain(error))
    }
}

impl Side for Stream {
    const END_IS_SURE: bool = true;

    fn poll_cut(&self, cx: &Context<'_>) -> Poll<()> {
        self.stream.poll_cut(cx)
    }
}

impl AsyncBufRead for Stream {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_fill_buf(cx) {
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(this.explain(error))),
            Poll::Pending => return Poll::Pending,
        }
        // What is there is there the second time, too.
        Pin::new(&mut this.stream).poll_fill_buf(cx)
    }

    fn consume(mut self: Pin<&mut Self>, count: usize) {
        Pin::new(&mut self.stream).consume(count);
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        written.map_err(|error| self.explain(error))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        flushed.map_err(|error| self.explain(error))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        shut.map_err(|error| self.explain(error))
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("host", &self.host).finish_non_exhaustive()
    }
}
