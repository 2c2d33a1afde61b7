//! A link's bytes as the payloads of a WebSocket's binary messages (RFC 6455).

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use futures::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{self, ClientRequestBuilder, Message, client::IntoClientRequest, protocol::WebSocketConfig},
};
use tunnel_proto::{
    access::{LINK_PATH, LINK_PROTOCOL},
    dial::EdgeAddress,
};

use super::Io;
use crate::{error::Error, header::ExtraHeader};

/// The longest message that is taken: the longest frame of a link, and some room.
const MESSAGE_MAX: usize = 2 * 1024 * 1024;
/// The longest message that is sent.
const MESSAGE_SENT: usize = 64 * 1024;

/// Asks `edge` for a WebSocket that carries a link.
pub(super) async fn open<T: Io>(edge: &EdgeAddress, io: T, headers: &[ExtraHeader]) -> Result<Bytestream<T>, Error> {
    let strange = |reason: String| Error::Protocol { at: edge.to_string(), reason };
    let uri = format!("wss://{}{LINK_PATH}", edge.authority()).parse().map_err(Error::internal)?;
    let request = ClientRequestBuilder::new(uri).with_sub_protocol(LINK_PROTOCOL).into_client_request();
    let mut request = request.map_err(Error::internal)?;
    request.headers_mut().extend(headers.iter().map(|header| (header.name.clone(), header.value.clone())));
    let config = WebSocketConfig::default().max_message_size(Some(MESSAGE_MAX)).max_frame_size(Some(MESSAGE_MAX));
    let opened = client_async_with_config(request, io, Some(config)).await;
    let (socket, _) = opened.map_err(|error| match error {
        tungstenite::Error::Http(answer) => strange(format!("it answered HTTP {}", answer.status())),
        other => strange(other.to_string()),
    })?;
    Ok(Bytestream { socket, rest: Bytes::new() })
}

/// A WebSocket as a stream of bytes. Where one message ends means nothing.
#[derive(Debug)]
pub(super) struct Bytestream<T> {
    socket: WebSocketStream<T>,
    rest: Bytes,
}

impl<T: Io> AsyncRead for Bytestream<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                None | Some(Ok(Message::Close(_))) => return Poll::Ready(Ok(())),
                Some(Ok(Message::Binary(bytes))) => self.rest = bytes,
                Some(Ok(Message::Text(_))) => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "text in the place of a link")));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
            }
        }
        let count = self.rest.len().min(buf.remaining());
        buf.put_slice(self.rest.get(..count).unwrap_or_default());
        self.rest.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<T: Io> AsyncWrite for Bytestream<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let piece = buf.get(..buf.len().min(MESSAGE_SENT)).unwrap_or_default();
        let socket = &mut self.socket;
        ready!(Pin::new(&mut *socket).poll_ready(cx)).map_err(broken)?;
        Pin::new(socket).start_send(Message::Binary(Bytes::copy_from_slice(piece))).map_err(broken)?;
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(broken)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx).map_err(broken)
    }
}

fn broken(error: tungstenite::Error) -> io::Error {
    match error {
        tungstenite::Error::Io(error) => error,
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => io::ErrorKind::BrokenPipe.into(),
        other => io::Error::other(other.to_string()),
    }
}
