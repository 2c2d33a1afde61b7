//! A link's bytes as the payloads of a WebSocket's binary messages (RFC 6455).

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use futures::{Sink, Stream};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
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

impl<T: Io> AsyncBufRead for Bytestream<T> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        while this.rest.is_empty() {
            match ready!(Pin::new(&mut this.socket).poll_next(cx)) {
                None | Some(Ok(Message::Close(_))) => break,
                Some(Ok(Message::Binary(bytes))) => this.rest = bytes,
                Some(Ok(Message::Text(_))) => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "text in the place of a link")));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
            }
        }
        Poll::Ready(Ok(&this.rest))
    }

    fn consume(self: Pin<&mut Self>, count: usize) {
        let this = self.get_mut();
        this.rest.advance(count.min(this.rest.len()));
    }
}

impl<T: Io> AsyncRead for Bytestream<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let there = ready!(self.as_mut().poll_fill_buf(cx))?;
        let count = there.len().min(buf.remaining());
        buf.put_slice(there.get(..count).unwrap_or_default());
        self.consume(count);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        time::{sleep, timeout},
    };
    use tokio_tungstenite::tungstenite::{
        handshake::server::{Request, Response},
        http::HeaderValue,
    };
    use tunnel_proto::{
        GrantId, InstanceId, LinkId,
        link::{self, Settings},
        message::{Hello, OpenGrant, Role},
    };

    use super::*;

    /// The edge's end of it.
    async fn accept<T: Io>(io: T) -> Bytestream<T> {
        #[allow(clippy::result_large_err, reason = "the shape that is asked for")]
        let choose = |_: &Request, mut answer: Response| {
            answer.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(LINK_PROTOCOL));
            Ok(answer)
        };
        let socket = tokio_tungstenite::accept_hdr_async(io, choose).await.unwrap();
        Bytestream { socket, rest: Bytes::new() }
    }

    /// A way that forgets whoever says nothing for a minute and a half, as a NAT or a proxy does.
    async fn forgetful(near: tokio::io::DuplexStream, far: tokio::io::DuplexStream) {
        let ((mut from_near, mut to_near), (mut from_far, mut to_far)) =
            (tokio::io::split(near), tokio::io::split(far));
        let (mut near_bytes, mut far_bytes) = (vec![0; 65536], vec![0; 65536]);
        loop {
            let passed = async {
                tokio::select! {
                    Ok(count @ 1..) = from_near.read(&mut near_bytes) => to_far.write_all(&near_bytes[..count]).await,
                    Ok(count @ 1..) = from_far.read(&mut far_bytes) => to_near.write_all(&far_bytes[..count]).await,
                    else => Err(io::ErrorKind::UnexpectedEof.into()),
                }
            };
            match timeout(Duration::from_secs(90), passed).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) => std::future::pending().await,
            }
        }
    }

    // R66
    #[tokio::test]
    async fn an_answer_whose_head_does_not_end_is_not_read_on() {
        let edge = EdgeAddress::parse("https://access.example.com", None).unwrap();
        for begin in ["HTTP/1.1 101 Switching Protocols\r\nx-filler: ", "HTTP/1.1 101 ", "H"] {
            let (near, mut far) = tokio::io::duplex(16 * 1024);
            let answering = async {
                far.write_all(begin.as_bytes()).await.unwrap();
                let mut sent = 0;
                while sent < 1 << 20 && far.write_all(&[b'f'; 4096]).await.is_ok() {
                    sent += 4096;
                }
                sent
            };
            let both = async { tokio::join!(open(&edge, near, &[]), answering) };
            let (opened, sent) = timeout(Duration::from_secs(20), both).await.unwrap();
            assert!(matches!(opened, Err(Error::Protocol { .. })), "{begin}");
            assert!(sent <= 128 * 1024, "{begin}: {sent} bytes were taken");
        }
    }

    // F8
    #[tokio::test(start_paused = true)]
    async fn a_stream_inside_a_websocket_that_idles_for_a_day_carries_on() {
        let ((near, a), (far, b)) = (tokio::io::duplex(64 * 1024), tokio::io::duplex(64 * 1024));
        tokio::spawn(forgetful(a, b));
        let edge = EdgeAddress::parse("https://access.example.com", None).unwrap();
        let (near, far) = tokio::join!(open(&edge, near, &[]), accept(far));
        let hello = Hello::new(Role::Access, "test", InstanceId::from_random([1; 16]));
        let accepting = async {
            let greeting =
                link::accept(tokio::io::BufReader::new(far), Role::Access, Settings::default()).await.unwrap();
            greeting.welcome(LinkId::from_random([2; 16]), Default::default(), vec![]).await.unwrap()
        };
        let (client, mut edge) = tokio::join!(link::connect(near.unwrap(), hello, Settings::for_edge()), accepting);
        let client = client.unwrap();
        let mut near = client.link.open(OpenGrant { grant: GrantId(1), destination: None }).await.unwrap();
        let mut far = edge.incoming.next().await.unwrap().accept().await.unwrap();
        for word in [b"first", b"later"] {
            near.write_all(word).await.unwrap();
            let mut heard = [0; 5];
            far.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, word);
            far.write_all(word).await.unwrap();
            near.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, word);
            sleep(Duration::from_secs(24 * 3600)).await;
        }
    }
}
