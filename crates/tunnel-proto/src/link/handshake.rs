//! How a link begins: the side that connected says `Hello` on the first stream, the edge answers.

use std::{io, sync::Arc};

use tokio::{
    io::{AsyncBufRead, AsyncWrite, AsyncWriteExt},
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    Control, Handle, Incoming, Link, LinkEnd, Settings, Shared,
    control::{self, EVENTS_MAX, OUTGOING_MAX, ReadError, read_message},
    driver::{Driver, Opened},
};
use crate::{
    LinkId,
    frame::FrameError,
    message::{Hello, LinkRefusal, Message, Refuse, Role, Welcome, short_text},
    mux::{self, Mode},
    version::Version,
};

/// A link that is up, from the side that connected.
#[derive(Debug)]
pub struct Connected {
    /// The link.
    pub link: Link,
    /// Streams that the edge opens.
    pub incoming: Incoming,
    /// The control stream.
    pub control: Control,
    /// What the edge said.
    pub welcome: Welcome,
}

/// Makes a link of a connection to an edge, whose TLS handshake is done, and greets it.
///
/// Takes at most [`Settings::handshake_deadline`]. The link runs in two tasks of the current runtime; when the last of
/// what this returns and of its streams is dropped, it closes.
pub async fn connect<T>(io: T, hello: Hello, settings: Settings) -> Result<Connected, ConnectError>
where
    T: AsyncBufRead + AsyncWrite + Unpin + Send + 'static,
{
    let greeting = Message::from(hello.clone()).encode().map_err(ConnectError::Greeting)?;
    let parts = Parts::start(io, Mode::Client, settings);
    let shared = parts.handle.shared.clone();
    let exchange = async {
        let mut stream = shared.mux.open().ok_or_else(|| ConnectError::Lost(shared.how_it_ended()))?;
        stream.write_all(&greeting).await.map_err(|_| ConnectError::Lost(shared.how_it_ended()))?;
        let answer = read_message(&mut stream, Version::V1, shared.settings.frame_deadline).await;
        Ok::<_, ConnectError>((stream, answer))
    };
    let (stream, answer) =
        timeout(shared.settings.handshake_deadline, exchange).await.map_err(|_| ConnectError::Late)??;
    let welcome = match answer {
        Ok(Some(Message::Welcome(welcome))) if hello.versions.contains(&welcome.version) => welcome,
        Ok(Some(Message::Welcome(welcome))) => return Err(ConnectError::Version(welcome.version)),
        Ok(Some(Message::Refuse(refuse))) => return Err(ConnectError::Refused(refuse)),
        Ok(Some(other)) => return Err(ConnectError::Answer(FrameError::OutOfPlace { kind: other.kind() })),
        Ok(None) => return Err(ConnectError::Lost(LinkEnd::PeerClosed)),
        Err(ReadError::Frame(error)) => return Err(ConnectError::Answer(error)),
        Err(ReadError::Late) => return Err(ConnectError::Late),
        Err(ReadError::Io(_)) => return Err(ConnectError::Lost(shared.how_it_ended())),
    };
    let version = Version(welcome.version);
    let (link, incoming, control) = parts.finish(stream, welcome.link, (version, hello.role, Role::Edge));
    Ok(Connected { link, incoming, control, welcome })
}

/// Why there is no link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The edge does not want it, and says why.
    #[error(transparent)]
    Refused(#[from] Refuse),
    /// The edge did not answer in time.
    #[error("the edge did not answer in time")]
    Late,
    /// The connection was lost first.
    #[error("the connection was lost before the edge answered")]
    Lost(#[source] LinkEnd),
    /// The edge chose a version that was not offered.
    #[error("the edge chose version {0} of the protocol, which was not offered")]
    Version(u16),
    /// The edge's answer could not be understood.
    #[error("the edge's answer could not be understood")]
    Answer(#[source] FrameError),
    /// The greeting exceeds a limit.
    #[error("the greeting cannot be sent")]
    Greeting(#[source] FrameError),
}

/// Takes a connection, whose TLS handshake is done, and reads the greeting.
///
/// `role` is what the peer's certificate says; a greeting that says otherwise is refused here, as is one without a common
/// version or one that cannot be understood. Takes at most [`Settings::handshake_deadline`].
pub async fn accept<T>(io: T, role: Role, settings: Settings) -> Result<Greeting, AcceptError>
where
    T: AsyncBufRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut parts = Parts::start(io, Mode::Server, settings);
    let shared = parts.handle.shared.clone();
    let Some(control) = parts.control.take() else { return Err(AcceptError::Lost(LinkEnd::Aborted)) };
    let read = async {
        let mut stream = control.await.map_err(|_| AcceptError::Lost(shared.how_it_ended()))?;
        let hello = read_message(&mut stream, Version::V1, shared.settings.frame_deadline).await;
        Ok::<_, AcceptError>((stream, hello))
    };
    let (mut stream, hello) =
        timeout(shared.settings.handshake_deadline, read).await.map_err(|_| AcceptError::Late)??;
    let refusal = match hello {
        Ok(Some(Message::Hello(hello))) if hello.role != role => {
            let text = format!("the certificate is that of a {role}, the greeting that of a {}", hello.role);
            (LinkRefusal::RoleMismatch, text, AcceptError::Role { certificate: role, greeting: hello.role })
        }
        Ok(Some(Message::Hello(hello))) => match Version::negotiate(&hello.versions) {
            Some(version) => return Ok(Greeting { parts, stream, hello, version }),
            None => {
                let text = format!("this edge speaks version {} of the protocol", Version::V1);
                (LinkRefusal::VersionUnsupported, text, AcceptError::Version(hello.versions))
            }
        },
        Ok(Some(other)) => malformed(FrameError::OutOfPlace { kind: other.kind() }),
        Err(ReadError::Frame(error)) => malformed(error),
        Ok(None) => return Err(AcceptError::Lost(LinkEnd::PeerClosed)),
        Err(ReadError::Late) => return Err(AcceptError::Late),
        Err(ReadError::Io(_)) => return Err(AcceptError::Lost(shared.how_it_ended())),
    };
    let (code, text, error) = refusal;
    // Whether or not it can still be told.
    say_no(&mut stream, Refuse { code, text, retryable: false }).await.ok();
    Err(error)
}

fn malformed(error: FrameError) -> (LinkRefusal, String, AcceptError) {
    (LinkRefusal::Malformed, "the greeting could not be understood".to_owned(), AcceptError::Greeting(error))
}

async fn say_no(stream: &mut mux::Stream, refuse: Refuse) -> io::Result<()> {
    let frame = Message::from(refuse).encode().map_err(io::Error::other)?;
    stream.write_all(&frame).await?;
    stream.shutdown().await
}

/// A peer that has said hello and waits for an answer. Dropping it closes the connection without one.
pub struct Greeting {
    parts: Parts,
    stream: mux::Stream,
    hello: Hello,
    version: Version,
}

impl Greeting {
    /// What the peer said.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// The version to be spoken.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Answers that the link is up. `edges` are other edges of the installation.
    pub async fn welcome(
        mut self,
        link: LinkId,
        limits: crate::message::Limits,
        edges: Vec<String>,
    ) -> Result<Welcomed, AcceptError> {
        let shared = self.parts.handle.shared.clone();
        let welcome = Welcome { version: self.version.0, link, limits, edges };
        let frame = Message::from(welcome).encode().map_err(AcceptError::Answer)?;
        self.stream.write_all(&frame).await.map_err(|_| AcceptError::Lost(shared.how_it_ended()))?;
        let roles = (self.version, Role::Edge, self.hello.role);
        let (link, incoming, control) = self.parts.finish(self.stream, link, roles);
        Ok(Welcomed { link, incoming, control, hello: self.hello })
    }

    /// Answers that it is not wanted, and why. The text is cut to its limit.
    pub async fn refuse(mut self, code: LinkRefusal, text: impl Into<String>, retryable: bool) {
        // Whether or not it can still be told, the connection ends here.
        say_no(&mut self.stream, Refuse { code, text: short_text(text), retryable }).await.ok();
    }
}

impl std::fmt::Debug for Greeting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Greeting").field("hello", &self.hello).field("version", &self.version).finish_non_exhaustive()
    }
}

/// A link that is up, from the edge's side.
#[derive(Debug)]
pub struct Welcomed {
    /// The link.
    pub link: Link,
    /// Streams that the peer opens: none, unless [`Settings::accepts_streams`].
    pub incoming: Incoming,
    /// The control stream.
    pub control: Control,
    /// What the peer said.
    pub hello: Hello,
}

/// Why a connection did not become a link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// The peer did not say hello in time.
    #[error("the peer did not say hello in time")]
    Late,
    /// The connection was lost first.
    #[error("the connection was lost during the handshake")]
    Lost(#[source] LinkEnd),
    /// The greeting is not that of the certificate's role. The peer was told.
    #[error("the certificate is that of a {certificate}, the greeting that of a {greeting}")]
    Role {
        /// What the certificate says.
        certificate: Role,
        /// What the greeting says.
        greeting: Role,
    },
    /// No version in common; these were offered. The peer was told.
    #[error("no common version among {0:?}")]
    Version(Vec<u16>),
    /// The greeting could not be understood. The peer was told.
    #[error("the greeting could not be understood")]
    Greeting(#[source] FrameError),
    /// The answer exceeds a limit.
    #[error("the answer cannot be sent")]
    Answer(#[source] FrameError),
}

/// A running link before its handshake is done.
struct Parts {
    handle: Arc<Handle>,
    opened: mpsc::Receiver<Opened>,
    outgoing: mpsc::Receiver<Vec<u8>>,
    control: Option<oneshot::Receiver<mux::Stream>>,
}

impl Parts {
    fn start<T>(io: T, mode: Mode, settings: Settings) -> Self
    where
        T: AsyncBufRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (opened, received) = mpsc::channel(settings.streams.max(1));
        let (control, outgoing) = mpsc::channel(OUTGOING_MAX);
        let (first, control_stream) = match mode {
            Mode::Client => (None, None),
            Mode::Server => {
                let (sender, receiver) = oneshot::channel();
                (Some(sender), Some(receiver))
            }
        };
        let shared = Arc::new(Shared::new(mode, settings, control));
        tokio::spawn(Driver::new(io, shared.clone(), first, opened));
        Self { handle: Arc::new(Handle { shared }), opened: received, outgoing, control: control_stream }
    }

    fn finish(self, stream: mux::Stream, id: LinkId, roles: control::Roles) -> (Link, Incoming, Control) {
        let shared = self.handle.shared.clone();
        shared.begin(id, roles);
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        tokio::spawn(control::run(shared.clone(), stream, self.outgoing, sender));
        // A first round trip, so that the distance is known from the start.
        shared.ask(tokio::time::Instant::now());
        let control = Control::new(events, self.handle.clone());
        let incoming = Incoming::new(self.opened, self.handle.clone());
        (Link { handle: self.handle }, incoming, control)
    }
}
