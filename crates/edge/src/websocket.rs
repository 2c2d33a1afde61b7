//! The edge's own WebSockets: the door to TCP services for clients that know nothing else, and links of access clients
//! where something in between spoils the native ones.

use std::{io, sync::Arc, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures::{SinkExt, StreamExt, TryStreamExt, future::ready};
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use tokio::{
    io::{AsyncBufRead, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::oneshot,
    time::{MissedTickBehavior, interval},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error as WsError, Message as WsMessage,
        error::ProtocolError,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};
use tunnel_proto::{access::LINK_PROTOCOL, link::FRAME_PAYLOAD};

use crate::{
    Response, State, Visit,
    clients::{self, turned_away},
    forward,
    listen::{Place, Switch, Switched},
    tcp::Opened,
};

/// The longest message that is taken; the client that people have sends 16 KiB at most.
const MESSAGE_MAX: usize = 1024 * 1024;
/// What may wait to be sent before the service is not read any more.
const WRITE_BUFFER: usize = 256 * 1024;
/// How often a silent client is asked for a sign of life, so that nothing in between forgets the connection.
const PING_EVERY: Duration = Duration::from_secs(45);
/// How long a service may go on reading after its visitor has ended.
const LINGER: Duration = Duration::from_secs(30);
/// How long the last word may take.
const GOODBYE: Duration = Duration::from_secs(2);

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_MAX))
        .max_frame_size(Some(MESSAGE_MAX))
        .max_write_buffer_size(MESSAGE_MAX.saturating_add(WRITE_BUFFER))
        .write_buffer_size(0)
}

/// Answers a well-formed handshake, and hands over what the connection becomes. `None` when it is no connection of ours.
fn upgrade(
    parts: &Parts,
    protocol: Option<&'static str>,
) -> (Response, oneshot::Receiver<Switched>, Option<Arc<Place>>) {
    let key = parts.headers.get(header::SEC_WEBSOCKET_KEY).map(|key| forward::accept_of(key.as_bytes()));
    let place = parts.extensions.get::<Arc<Place>>().cloned();
    let visitor = Switch::taken(parts.extensions.get());
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Some(accept) = key.and_then(|key| HeaderValue::try_from(key).ok()) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(protocol) = protocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    (answer, visitor, place)
}

/// Whether a handshake asks for a link of an access client.
pub(crate) fn wants_link(headers: &HeaderMap) -> bool {
    let mut offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let lists =
        |value: &HeaderValue| value.to_str().is_ok_and(|list| list.split(',').any(|one| one.trim() == LINK_PROTOCOL));
    offered.any(lists)
}

/// A link of an access client, inside a WebSocket.
pub(crate) fn link(state: &Arc<State>, visit: &Visit, parts: Parts) -> Response {
    let (answer, visitor, place) = upgrade(&parts, Some(LINK_PROTOCOL));
    let (state, source) = (state.clone(), visit.source);
    tokio::spawn(async move {
        let Ok(io) = visitor.await else { return };
        let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config())).await;
        let (cut, stopping) = match &place {
            Some(place) => (Some(place.clone()), place.stopping()),
            None => (None, Default::default()),
        };
        let serving = clients::serve(state, bytes_of(socket), source, stopping, place);
        tokio::select! {
            () = serving => {}
            () = cut_by(cut.as_deref()) => {}
            () = lost_by(cut.as_deref()) => {}
        }
    });
    answer
}

async fn cut_by(place: Option<&Place>) {
    match place {
        Some(place) => place.cut().await,
        None => std::future::pending().await,
    }
}

/// Until it carries somebody's credential, a link may lose its place to somebody else.
async fn lost_by(place: Option<&Place>) {
    match place {
        Some(place) => place.lost().await,
        None => std::future::pending().await,
    }
}

/// The payloads of binary messages as a byte stream, in both directions. Where one message ends means nothing.
fn bytes_of<S>(socket: WebSocketStream<S>) -> impl AsyncBufRead + AsyncWrite + Unpin + Send + 'static
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sink, stream) = socket.split();
    let stream = stream.map_err(broken).try_filter_map(|message| ready(Ok(payload(message))));
    let sink = sink.sink_map_err(broken).with(|bytes: Bytes| ready(Ok::<_, io::Error>(WsMessage::Binary(bytes))));
    tokio::io::join(StreamReader::new(stream), SinkWriter::new(CopyToBytes::new(sink)))
}

fn payload(message: WsMessage) -> Option<Bytes> {
    match message {
        WsMessage::Binary(bytes) => Some(bytes),
        WsMessage::Text(text) => Some(text.into()),
        _ => None,
    }
}

fn broken(error: WsError) -> io::Error {
    match error {
        WsError::Io(error) => error,
        other => io::Error::other(other),
    }
}

/// A stream to a TCP service, inside a WebSocket of a client that opens one for each connection.
pub(crate) fn carry(state: &Arc<State>, parts: Parts, opened: Opened) -> Response {
    let (answer, visitor, place) = upgrade(&parts, None);
    if let Some(place) = &place {
        place.keep();
    }
    let state = state.clone();
    tokio::spawn(async move {
        let Ok(io) = visitor.await else { return };
        let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config())).await;
        let Opened { stream, permit, .. } = opened;
        tokio::select! {
            () = relay(socket, stream, turned_away(&state, &permit)) => {}
            () = cut_by(place.as_deref()) => {}
        }
    });
    answer
}

/// How a WebSocket ends.
enum End {
    /// The visitor ended it in order.
    Visitor,
    /// The visitor's connection broke, or it broke the protocol.
    Broken,
    /// The edge ends it, and says so (RFC 6455 §7.4.1).
    Said(CloseCode, &'static str),
}

/// Carries bytes until either side ends, or the right to it does: a WebSocket has no half-close. The visitor's end without a
/// closing frame is an orderly one, too. Silence ends nothing, also of a client that does not answer when it is asked.
async fn relay<S, T>(socket: WebSocketStream<S>, service: T, turned_away: impl Future<Output = ()>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let (mut to_visitor, mut from_visitor) = socket.split();
    let (mut from_service, mut to_service) = tokio::io::split(service);
    let inward = async {
        loop {
            let bytes = match from_visitor.next().await {
                Some(Ok(message)) => payload(message),
                None
                | Some(Err(
                    WsError::ConnectionClosed | WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake),
                )) => {
                    // What was sent before the end is the service's.
                    return if to_service.shutdown().await.is_ok() { End::Visitor } else { End::Broken };
                }
                Some(Err(_)) => return End::Broken,
            };
            if let Some(bytes) = bytes
                && to_service.write_all(&bytes).await.is_err()
            {
                return End::Said(CloseCode::Error, "the service went away");
            }
        }
    };
    let outward = async {
        let mut buffer = vec![0; FRAME_PAYLOAD];
        let mut ping = interval(PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ping.tick().await;
        loop {
            let message = tokio::select! {
                read = from_service.read(&mut buffer) => match read {
                    Ok(0) => return End::Said(CloseCode::Normal, "the service has ended"),
                    Ok(n) => WsMessage::Binary(Bytes::copy_from_slice(buffer.get(..n).unwrap_or_default())),
                    Err(_) => return End::Said(CloseCode::Error, "the service went away"),
                },
                _ = ping.tick() => WsMessage::Ping(Bytes::new()),
            };
            if to_visitor.send(message).await.is_err() {
                return End::Broken;
            }
        }
    };
    let end = tokio::select! {
        end = inward => end,
        end = outward => end,
        () = turned_away => End::Said(CloseCode::Policy, "not admitted any more"),
    };
    match end {
        End::Said(code, reason) => {
            let close = WsMessage::Close(Some(CloseFrame { code, reason: reason.into() }));
            let goodbye = async {
                to_visitor.send(close).await.ok();
                // Input that is left unread would have the system reset the connection, and what was answered be lost.
                while let Some(Ok(_)) = from_visitor.next().await {}
            };
            tokio::time::timeout(GOODBYE, goodbye).await.ok();
        }
        // A service that still reads must not be reset for the visitor's having said all; what it answers is nobody's.
        End::Visitor => {
            tokio::time::timeout(LINGER, tokio::io::copy(&mut from_service, &mut tokio::io::sink())).await.ok();
        }
        End::Broken => {}
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::{sleep, timeout};

    use super::*;

    /// A day, in which nobody says anything.
    const DAY: Duration = Duration::from_secs(24 * 3600);

    /// A client that people have: it sends no pings of its own. Reads the next payload, and counts the pings before it.
    async fn hear<S: AsyncRead + AsyncWrite + Unpin>(client: &mut WebSocketStream<S>) -> (Bytes, u64) {
        let mut pings = 0;
        loop {
            match client.next().await.unwrap().unwrap() {
                WsMessage::Ping(_) => pings += 1,
                WsMessage::Binary(bytes) => return (bytes, pings),
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_idles_for_a_day_carries_on() {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (service, mut end) = tokio::io::duplex(64 * 1024);
        let door = WebSocketStream::from_raw_socket(far, Role::Server, Some(config())).await;
        let mut client = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
        let carrying = tokio::spawn(relay(door, service, pending()));
        let mut word = [0; 5];
        client.send(WsMessage::binary(&b"first"[..])).await.unwrap();
        end.read_exact(&mut word).await.unwrap();
        // One that reads meanwhile, and answers by itself to what keeps the way open.
        let idle = timeout(DAY, hear(&mut client)).await;
        assert!(idle.is_err(), "{idle:?}");
        end.write_all(b"later").await.unwrap();
        assert_eq!(hear(&mut client).await.0, "later");
        // One that does not, for as long as what it is asked fits into what it does not read.
        sleep(DAY).await;
        end.write_all(b"still").await.unwrap();
        let (bytes, pings) = hear(&mut client).await;
        assert_eq!(bytes, "still");
        let expected = DAY.as_secs() / PING_EVERY.as_secs();
        assert!((expected - 1..=expected + 1).contains(&pings), "{pings} pings in a day");
        client.send(WsMessage::binary(&b"there"[..])).await.unwrap();
        end.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"there");
        assert!(!carrying.is_finished());
    }
}
