//! Streams that the peer opens.

use std::{fmt, future::Future, io, pin::Pin, sync::Arc};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::{
    io::AsyncWriteExt,
    sync::{OwnedSemaphorePermit, mpsc},
    time::timeout,
};

use super::{Handle, control::read_message, driver::Opened, stream::Stream};
use crate::{
    message::{Accepted, Message, Opening, StreamRefusal, StreamRefused, short_text},
    mux,
    version::Place,
};

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

async fn read_open(mut raw: mux::Stream, permit: OwnedSemaphorePermit, handle: Arc<Handle>) -> Option<Pending> {
    let (version, _, them) = handle.shared.roles()?;
    let deadline = handle.shared.settings.frame_deadline;
    let first = timeout(deadline, read_message(&mut raw, version, deadline)).await;
    let opening = match first {
        Ok(Ok(Some(message))) if version.allows(message.kind(), them, Place::StreamOpening) => match message {
            Message::Open(open) => Ok(Opening::Service(open)),
            Message::OpenGrant(open) => Ok(Opening::Grant(open)),
            other => Err(format!("{:?}", other.kind())),
        },
        Ok(Ok(Some(other))) => Err(format!("{:?}", other.kind())),
        other => Err(format!("{other:?}")),
    };
    match opening {
        Ok(opening) => Some(Pending { opening, raw, permit, handle }),
        Err(opening) => {
            tracing::debug!(opening, "refused a stream that does not begin as it should");
            refuse(&mut raw, StreamRefusal::Malformed, "the opening could not be understood").await.ok();
            None
        }
    }
}

/// A stream that waits to be accepted or refused. Dropping it resets the stream without an answer.
pub struct Pending {
    /// What the peer asks for: [`Opening::Service`] from an edge, [`Opening::Grant`] from an access client.
    pub opening: Opening,
    raw: mux::Stream,
    permit: OwnedSemaphorePermit,
    handle: Arc<Handle>,
}

impl Pending {
    /// Answers that the stream is a connection to the service from here on.
    pub async fn accept(mut self) -> io::Result<Stream> {
        let (version, ..) = self.handle.shared.roles().ok_or(io::ErrorKind::ConnectionReset)?;
        let answer = Message::from(Accepted::default()).encode().map_err(io::Error::other)?;
        self.raw.write_all(&answer).await?;
        Ok(Stream::accepted_here(self.raw, self.permit, self.handle, version))
    }

    /// Answers an opening that asks only for addresses ([`crate::message::Open::resolve`]). The stream ends here.
    pub async fn resolved(mut self, addresses: Vec<std::net::IpAddr>) -> io::Result<()> {
        let answer = Message::from(Accepted { addresses }).encode().map_err(io::Error::other)?;
        self.raw.write_all(&answer).await?;
        self.raw.shutdown().await
    }

    /// Answers that it is not, and why. The text is cut to its limit.
    pub async fn refuse(mut self, code: StreamRefusal, text: impl Into<String>) {
        // Whether or not it can still be told, the stream ends here.
        refuse(&mut self.raw, code, text).await.ok();
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("opening", &self.opening).finish_non_exhaustive()
    }
}

async fn refuse(raw: &mut mux::Stream, code: StreamRefusal, text: impl Into<String>) -> io::Result<()> {
    let refused = StreamRefused { code, text: short_text(text) };
    let answer = Message::from(refused).encode().map_err(io::Error::other)?;
    raw.write_all(&answer).await?;
    raw.shutdown().await
}
