//! Connections that the edge lets through, for a program to take one by one.

use std::{
    fmt,
    future::Future,
    io,
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{mpsc, oneshot},
};
use tunnel_proto::{HostPattern, Identity, Name, link::Stream};

use crate::{
    error::Error,
    published::Published,
    service::{Opening, StreamHandler},
    status::{Counters, Status},
    verifier::Verifier,
};

/// Connections that wait to be taken. More wait at the edge, as those of a listening socket do.
const BACKLOG: usize = 128;

/// Takes the connections of one hostname. Dropping it ends that abruptly: connections that were taken are cut.
pub struct Listener {
    published: Published,
    connections: mpsc::Receiver<Conn>,
    verifier: Verifier,
}

impl Listener {
    pub(crate) const fn new(published: Published, connections: mpsc::Receiver<Conn>, verifier: Verifier) -> Self {
        Self { published, connections, verifier }
    }

    /// The next connection. Fails when there will be none any more: it was drained, or trying again would not help. A
    /// lost edge is not such an end; it is waited for. Cancel safe.
    pub async fn accept(&mut self) -> Result<Conn, Error> {
        if let Some(connection) = self.connections.recv().await {
            return Ok(connection);
        }
        self.published.ended().await?;
        Err(Error::Incomplete { what: "to be published: it was stopped" })
    }

    /// Where people reach it.
    pub const fn hostname(&self) -> &HostPattern {
        self.published.hostname()
    }

    /// Checks who sent requests for this hostname.
    pub fn verifier(&self) -> Verifier {
        self.verifier.clone()
    }

    /// How its links are doing, now and whenever that changes.
    pub fn status(&self) -> tokio::sync::watch::Receiver<Status> {
        self.published.status()
    }

    /// Counters since it was published.
    pub fn counters(&self) -> Counters {
        self.published.counters()
    }
}

impl futures::Stream for Listener {
    type Item = Conn;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Conn>> {
        self.connections.poll_recv(cx)
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("hostname", self.hostname()).finish_non_exhaustive()
    }
}

/// Hands streams over to a listener.
pub(crate) fn pair() -> (impl StreamHandler, mpsc::Receiver<Conn>) {
    let (sender, receiver) = mpsc::channel(BACKLOG);
    let handler = move |stream: Stream, opening: Opening| hand_over(sender.clone(), stream, opening);
    (handler, receiver)
}

fn hand_over(
    to: mpsc::Sender<Conn>,
    stream: Stream,
    opening: Opening,
) -> impl Future<Output = io::Result<()>> + Send + 'static {
    let (held, dropped) = oneshot::channel();
    async move {
        // When nobody listens any more the stream goes with the message, and is reset.
        let gone = |_| io::Error::from(io::ErrorKind::ConnectionAborted);
        to.send(Conn { stream, opening, _held: held }).await.map_err(gone)?;
        drop(to);
        // Counted as open for as long as the program has it.
        dropped.await.ok();
        Ok(())
    }
}

/// A connection through the edge. It is reset if it is dropped before it was shut down.
pub struct Conn {
    stream: Stream,
    opening: Opening,
    _held: oneshot::Sender<()>,
}

impl Conn {
    /// The hostname that it is for.
    pub const fn hostname(&self) -> &HostPattern {
        &self.opening.rule
    }

    /// The address of who opened it, as the edge saw it. A connection of a web service is shared by visitors; there it says
    /// little.
    pub const fn client_addr(&self) -> IpAddr {
        self.opening.source
    }

    /// The person whose it is. Only TCP services have it: of requests, [`Verifier`] tells.
    pub const fn identity(&self) -> Option<&Identity> {
        self.opening.identity.as_ref()
    }

    /// The service token, by its name, where a machine opened it and no person. For TCP services only.
    pub const fn service_token(&self) -> Option<&Name> {
        self.opening.service_token.as_ref()
    }

    /// Ties the logs of this program to those of the edge.
    pub const fn trace(&self) -> [u8; 16] {
        self.opening.trace
    }
}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conn").field("hostname", self.hostname()).finish_non_exhaustive()
    }
}

impl AsyncRead for Conn {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Conn {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
