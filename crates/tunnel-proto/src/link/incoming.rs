//! Streams that the peer opens.

use std::{fmt, future::Future, io, pin::Pin, sync::Arc};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::{
    io::AsyncWriteExt,
    sync::{OwnedSemaphorePermit, mpsc},
    time::timeout,
};

use super::{Handle, control::read_message, driver::Opened, raw::Raw, stream::Stream};
use crate::message::{Accepted, Message, Open, StreamRefusal, StreamRefused, short_text};

/// The streams that the peer opens, in the order in which their openings arrive.
///
/// Keeps the link open. As many openings wait as the link may have streams; whoever does not call [`Incoming::next`] makes
/// the peer wait, not the link.
pub struct Incoming {
    opened: mpsc::Receiver<Opened>,
    reading: FuturesUnordered<Pin<Box<dyn Future<Output = Option<Pending>> + Send>>>,
    handle: Arc<Handle>,
}

impl Incoming {
    pub(super) fn new(opened: mpsc::Receiver<Opened>, handle: Arc<Handle>) -> Self {
        Self { opened, reading: FuturesUnordered::new(), handle }
    }

    /// The next opening, read and well-formed; others are refused here. `None` when the link is over. Cancel safe.
    pub async fn next(&mut self) -> Option<Pending> {
        loop {
            tokio::select! {
                opened = self.opened.recv() => match opened {
                    Some((raw, permit)) => self.reading.push(Box::pin(read_open(raw, permit, self.handle.clone()))),
                    None => return None,
                },
                Some(pending) = self.reading.next(), if !self.reading.is_empty() => {
                    if let Some(pending) = pending {
                        return Some(pending);
                    }
                }
            }
        }
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").finish_non_exhaustive()
    }
}

async fn read_open(mut raw: Raw, permit: OwnedSemaphorePermit, handle: Arc<Handle>) -> Option<Pending> {
    let (version, ..) = handle.shared.roles()?;
    let deadline = handle.shared.settings.frame_deadline;
    let first = timeout(deadline, read_message(&mut raw, version, deadline)).await;
    match first {
        Ok(Ok(Some(Message::Open(open)))) => Some(Pending { open, raw, permit, handle }),
        other => {
            tracing::debug!(opening = ?other, "refused a stream that does not begin as it should");
            refuse(&mut raw, StreamRefusal::Malformed, "the opening could not be understood").await.ok();
            None
        }
    }
}

/// A stream that waits to be accepted or refused. Dropping it resets the stream without an answer.
pub struct Pending {
    /// What the peer asks for.
    pub open: Open,
    raw: Raw,
    permit: OwnedSemaphorePermit,
    handle: Arc<Handle>,
}

impl Pending {
    /// Answers that the stream is a connection to the service from here on.
    pub async fn accept(mut self) -> io::Result<Stream> {
        let (version, ..) = self.handle.shared.roles().ok_or(io::ErrorKind::ConnectionReset)?;
        let answer = Message::from(Accepted {}).encode().map_err(io::Error::other)?;
        self.raw.write_all(&answer).await?;
        Ok(Stream::accepted_here(self.raw, self.permit, self.handle, version))
    }

    /// Answers that it is not, and why. The text is cut to its limit.
    pub async fn refuse(mut self, code: StreamRefusal, text: impl Into<String>) {
        // Whether or not it can still be told, the stream ends here.
        refuse(&mut self.raw, code, text).await.ok();
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("open", &self.open).finish_non_exhaustive()
    }
}

async fn refuse(raw: &mut Raw, code: StreamRefusal, text: impl Into<String>) -> io::Result<()> {
    let refused = StreamRefused { code, text: short_text(text) };
    let answer = Message::from(refused).encode().map_err(io::Error::other)?;
    raw.write_all(&answer).await?;
    raw.shutdown().await
}
