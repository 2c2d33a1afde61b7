//! The control stream after the handshake: signs of life and draining are handled here, the rest goes to the role.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    time::{Instant, timeout},
};

use super::{Handle, LinkEnd, Shared};
use crate::{
    frame::{FrameError, HEADER_LEN, Header},
    message::{Message, Pong, Role},
    mux,
    version::{Place, Version},
};

/// Control messages that may wait for the role.
pub(super) const EVENTS_MAX: usize = 32;
/// How long the role may take to make room for one more. A peer whose messages are not handled until then loses the link:
/// signs of life are behind them.
const ROOM_TIME: Duration = Duration::from_secs(1);
/// Control messages that may wait for the socket. Beyond that the link is not usable any more.
pub(super) const OUTGOING_MAX: usize = 256;

/// The role's end of the control stream.
#[derive(Debug)]
pub struct Control {
    events: mpsc::Receiver<Message>,
    sender: ControlSender,
}

impl Control {
    pub(super) fn new(events: mpsc::Receiver<Message>, handle: Arc<Handle>) -> Self {
        Self { events, sender: ControlSender { handle } }
    }

    /// The peer's next message, in order: any that its role may send, except Ping and Pong. `None` when the link is over, and
    /// [`Link::closed`](super::Link::closed) says at once why.
    ///
    /// Cancel safe. Up to 32 messages wait; a peer that sends more loses the link, unless they are taken within a second.
    pub async fn next(&mut self) -> Option<Message> {
        self.events.recv().await
    }

    /// Sends a message; see [`ControlSender::send`].
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), ControlError> {
        self.sender.send(message).await
    }

    /// A sender that other tasks can hold.
    pub fn sender(&self) -> ControlSender {
        self.sender.clone()
    }
}

/// Sends control messages of a link. Cheap to clone; keeps the link open.
#[derive(Clone, Debug)]
pub struct ControlSender {
    handle: Arc<Handle>,
}

impl ControlSender {
    /// Hands a message to the link, in order. Returns once there is room for it, which is not yet delivery.
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), ControlError> {
        let message = message.into();
        let shared = &self.handle.shared;
        let (version, us, them) = shared.roles().ok_or(ControlError::Closed)?;
        if !version.allows(message.kind(), us, Place::Control(them)) {
            return Err(ControlError::Invalid(FrameError::OutOfPlace { kind: message.kind() }));
        }
        let frame = message.encode().map_err(ControlError::Invalid)?;
        shared.control.send(frame).await.map_err(|_| ControlError::Closed)
    }
}

/// Why a control message was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The link is over.
    #[error("the link is closed")]
    Closed,
    /// The message is not one that this side may send, or exceeds a limit.
    #[error("the message cannot be sent")]
    Invalid(#[source] FrameError),
}

/// Runs the control stream until it ends, and the link with it.
pub(super) async fn run(
    shared: Arc<Shared>,
    stream: mux::Stream,
    outgoing: mpsc::Receiver<Vec<u8>>,
    events: mpsc::Sender<Message>,
) {
    let guard = EndsLink(shared.clone());
    crate::faults::at("signs of life");
    let mut over = shared.end.subscribe();
    let (reader, writer) = tokio::io::split(stream);
    let end = tokio::select! {
        end = receive(&shared, reader, &events) => end,
        end = send(writer, outgoing) => end,
    };
    shared.end(end);
    // Whoever waits for messages learns that there will be none only when it can be told why.
    drop(over.wait_for(Option::is_some).await);
    drop((events, guard));
}

struct EndsLink(Arc<Shared>);

impl Drop for EndsLink {
    fn drop(&mut self) {
        self.0.end(LinkEnd::Aborted);
    }
}

async fn send(mut writer: impl tokio::io::AsyncWrite + Unpin, mut outgoing: mpsc::Receiver<Vec<u8>>) -> LinkEnd {
    while let Some(frame) = outgoing.recv().await {
        if let Err(error) = writer.write_all(&frame).await {
            return LinkEnd::Lost(error.to_string());
        }
    }
    LinkEnd::Closed
}

async fn receive(shared: &Shared, mut reader: impl AsyncRead + Unpin, events: &mpsc::Sender<Message>) -> LinkEnd {
    let Some((version, us, them)) = shared.roles() else { return LinkEnd::Aborted };
    let place = |message: &Message| version.allows(message.kind(), them, Place::Control(us));
    loop {
        match read_message(&mut reader, version, shared.settings.frame_deadline).await {
            Ok(Some(message)) if !place(&message) => {
                return LinkEnd::Protocol(FrameError::OutOfPlace { kind: message.kind() }.to_string());
            }
            Ok(Some(Message::Ping(ping))) => {
                if shared.try_send(&Pong { nonce: ping.nonce }.into()).is_err() {
                    return LinkEnd::Protocol("more pings than answers fit".to_owned());
                }
            }
            Ok(Some(Message::Pong(pong))) => shared.answered(pong.nonce, Instant::now()),
            Ok(Some(message)) => {
                if let Message::Drain(drain) = &message {
                    shared.drained_by_peer(drain.reason);
                }
                if timeout(ROOM_TIME, events.send(message)).await.is_err() {
                    return LinkEnd::Protocol("control messages come faster than they are handled".to_owned());
                }
            }
            Ok(None) => return LinkEnd::PeerClosed,
            Err(ReadError::Io(error)) => return LinkEnd::Lost(error.to_string()),
            Err(ReadError::Late) => return LinkEnd::Late("a control frame was begun and not finished".to_owned()),
            Err(ReadError::Frame(error)) => return LinkEnd::Protocol(error.to_string()),
        }
    }
}

/// The next message of a frame stream, skipping what may be skipped; `None` at its clean end. Waits for the first byte as
/// long as it takes, and for the rest of the frame until the deadline. Reads no byte beyond the frame.
pub(super) async fn read_message(
    reader: &mut (impl AsyncRead + Unpin),
    version: Version,
    deadline: Duration,
) -> Result<Option<Message>, ReadError> {
    loop {
        let mut tag = [0; 1];
        if reader.read(&mut tag).await.map_err(ReadError::Io)? == 0 {
            return Ok(None);
        }
        let body = async {
            let mut len = [0; HEADER_LEN - 1];
            reader.read_exact(&mut len).await.map_err(ReadError::Io)?;
            let ([tag], [a, b, c]) = (tag, len);
            let header = Header::parse([tag, a, b, c], version).map_err(ReadError::Frame)?;
            let mut body = Vec::new();
            let len = header.body_len();
            // Grows with what arrives, not with what is announced.
            let read = reader.take(len as u64).read_to_end(&mut body).await.map_err(ReadError::Io)?;
            if read < len {
                return Err(ReadError::Frame(FrameError::Short));
            }
            Ok((header, body))
        };
        let (header, body) = timeout(deadline, body).await.map_err(|_| ReadError::Late)??;
        if let Header::Frame { kind, .. } = header {
            return Message::decode(kind, &body).map(Some).map_err(ReadError::Frame);
        }
    }
}

#[derive(Debug)]
pub(super) enum ReadError {
    Io(io::Error),
    Frame(FrameError),
    Late,
}

/// What the control stream needs to know of both ends.
pub(super) type Roles = (Version, Role, Role);
