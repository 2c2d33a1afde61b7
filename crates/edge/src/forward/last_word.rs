//! What a visitor is told when the edge ends a WebSocket: where the service's last frame ends, one of our own is put behind it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional};

use super::{frames::Frames, upgrade::Protocol};

/// A Close with the status for whoever breaks the rules (RFC 6455 §7.4.1), unmasked as a server's frames are, and why.
const NOT_ADMITTED: &[u8] = b"\x88\x17\x03\xf0not admitted any more";
/// How long saying it may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// A visitor's connection, of which is known where in a frame the service has got to.
pub(super) struct Followed<S> {
    io: S,
    /// `None` where the protocol has no frames that we know, and when nothing more may be sent.
    frames: Option<Frames>,
}

impl<S> Followed<S> {
    pub(super) fn new(io: S, protocol: &Protocol) -> Self {
        Self { io, frames: matches!(protocol, Protocol::WebSocket).then(Frames::default) }
    }
}

/// Carries bytes both ways until either side ends, or `revoked` does: the service's stream is reset then, and the visitor is
/// told if that can be.
pub(super) async fn carry<V, S>(mut visitor: Followed<V>, mut service: S, revoked: impl Future<Output = ()>)
where
    V: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let ended = tokio::select! {
        ended = copy_bidirectional(&mut visitor, &mut service) => Some(ended),
        () = revoked => None,
    };
    match ended {
        Some(Ok(_)) => {}
        Some(Err(error)) => tracing::debug!(%error, "an upgraded connection was cut"),
        None => {
            tracing::debug!("an upgraded connection was ended: its visitor is not admitted any more");
            drop(service);
            visitor.turn_away().await;
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Followed<S> {
    /// Says why it ends. Inside of a frame nothing is said: it would be taken for the service's own.
    async fn turn_away(mut self) {
        if !self.frames.as_ref().is_some_and(Frames::takes_another) {
            return;
        }
        let goodbye = async {
            self.write_all(NOT_ADMITTED).await?;
            self.shutdown().await?;
            // Input that is left unread would have the system reset the connection, and what was said be lost.
            tokio::io::copy(&mut self, &mut tokio::io::sink()).await
        };
        tokio::time::timeout(GOODBYE, goodbye).await.ok();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Followed<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Followed<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.io).poll_write(cx, buf))?;
        if let Some(frames) = &mut this.frames {
            frames.follow(buf.get(..written).unwrap_or_default());
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.frames = None;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures::{SinkExt, StreamExt};
    use http::HeaderValue;
    use tokio::{
        io::{AsyncReadExt, DuplexStream},
        sync::oneshot,
        task::JoinHandle,
        time::{Instant, timeout},
    };
    use tokio_tungstenite::{
        WebSocketStream,
        tungstenite::{
            Message,
            protocol::{Role, frame::coding::CloseCode},
        },
    };

    use super::*;

    /// Somebody who visits a service by way of the edge.
    struct Scene {
        visitor: DuplexStream,
        service: DuplexStream,
        revoke: oneshot::Sender<()>,
        carrying: JoinHandle<()>,
    }

    impl Scene {
        /// `size` is what may wait on either side for being read.
        fn new(protocol: &Protocol, size: usize) -> Self {
            let ((visitor, door), (stream, service)) = (tokio::io::duplex(size), tokio::io::duplex(size));
            let (revoke, revoked) = oneshot::channel::<()>();
            let revoked = async {
                revoked.await.ok();
            };
            let carrying = tokio::spawn(carry(Followed::new(door, protocol), stream, revoked));
            Self { visitor, service, revoke, carrying }
        }

        /// Has the service say something, which the visitor gets, then ends it; gives what the visitor gets after that.
        async fn left_after(mut self, said: &[u8]) -> Vec<u8> {
            self.service.write_all(said).await.unwrap();
            let mut got = vec![0; said.len()];
            self.visitor.read_exact(&mut got).await.unwrap();
            assert_eq!(got, said);
            self.revoke.send(()).unwrap();
            let mut left = Vec::new();
            self.visitor.read_to_end(&mut left).await.unwrap();
            assert_eq!(self.service.read(&mut [0]).await.unwrap(), 0, "the service has its end, too");
            drop(self.visitor);
            self.carrying.await.unwrap();
            left
        }
    }

    // S5, H8
    #[tokio::test(start_paused = true)]
    async fn a_visitor_who_is_not_admitted_any_more_is_told_by_a_close() {
        let Scene { visitor, service, revoke, carrying } = Scene::new(&Protocol::WebSocket, 1024);
        let mut client = WebSocketStream::from_raw_socket(visitor, Role::Client, None).await;
        let mut service = WebSocketStream::from_raw_socket(service, Role::Server, None).await;
        // Longer than what may wait, so that it comes in pieces; and a part of a message, which may have control frames inside.
        for size in [0, 125, 126, 100_000] {
            let (message, sent) = (Message::binary(vec![7; size]), Message::text("and back"));
            let (there, back) = tokio::join!(service.send(message.clone()), client.next());
            there.unwrap();
            assert_eq!(back.unwrap().unwrap(), message);
            client.send(sent.clone()).await.unwrap();
            assert_eq!(service.next().await.unwrap().unwrap(), sent);
        }
        service.get_mut().write_all(b"\x01\x03Hel").await.unwrap();
        let early = timeout(Duration::from_secs(3600), client.next()).await;
        assert!(early.is_err(), "{early:?}");
        let begun = Instant::now();
        revoke.send(()).unwrap();
        let Some(Ok(Message::Close(Some(close)))) = client.next().await else { panic!("no Close") };
        assert_eq!((close.code, close.reason.as_str()), (CloseCode::Policy, "not admitted any more"));
        assert!(client.next().await.is_none(), "it ends in order");
        assert!(!matches!(service.next().await, Some(Ok(_))), "the service gets no more");
        drop(client);
        carrying.await.unwrap();
        assert!(begun.elapsed() < GOODBYE, "whoever closes is not waited for");
    }

    // H8
    #[tokio::test(start_paused = true)]
    async fn nothing_is_said_inside_of_a_frame_behind_a_close_or_in_a_protocol_that_we_do_not_know() {
        let websocket = || Scene::new(&Protocol::WebSocket, 1024);
        assert_eq!(websocket().left_after(b"").await, NOT_ADMITTED);
        assert_eq!(websocket().left_after(b"\x81\x05Hello").await, NOT_ADMITTED);
        for said in [&b"\x81"[..], b"\x81\x05Hell", b"\x81\x05Hello\x82\x7e\x01", b"\x88\x02\x03\xe8"] {
            assert_eq!(websocket().left_after(said).await, b"", "{said:02x?}");
        }
        let named = Protocol::Named(HeaderValue::from_static("tcp"));
        for said in [&b""[..], b"\x81\x05Hello", b"any bytes"] {
            assert_eq!(Scene::new(&named, 1024).left_after(said).await, b"", "{said:02x?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_sent_is_no_part_of_a_frame_and_whoever_reads_nothing_is_not_waited_for() {
        // Five bytes of a frame of seven fit, then two whole frames but not what would be said.
        for (size, expected) in [(5, &b"\x81\x05Hel"[..]), (14, b"\x81\x05Hello\x81\x05Hello")] {
            let mut scene = Scene::new(&Protocol::WebSocket, size);
            for _ in 0..2 {
                timeout(Duration::from_secs(1), scene.service.write_all(b"\x81\x05Hello")).await.ok();
            }
            // Until the edge has taken what it can.
            tokio::time::sleep(Duration::from_secs(1)).await;
            let begun = Instant::now();
            scene.revoke.send(()).unwrap();
            scene.carrying.await.unwrap();
            assert!(begun.elapsed() <= GOODBYE + Duration::from_millis(10), "{:?}", begun.elapsed());
            let mut got = Vec::new();
            scene.visitor.read_to_end(&mut got).await.unwrap();
            assert_eq!(got, expected);
        }
    }

    #[tokio::test]
    async fn either_side_may_end_before_the_other_and_after_that_nothing_is_said() {
        let mut scene = Scene::new(&Protocol::WebSocket, 1024);
        scene.service.write_all(b"\x81\x05Hello").await.unwrap();
        scene.service.shutdown().await.unwrap();
        let mut got = Vec::new();
        scene.visitor.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"\x81\x05Hello");
        // The other way goes on.
        scene.visitor.write_all(b"still").await.unwrap();
        let mut heard = [0; 5];
        scene.service.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"still");
        scene.revoke.send(()).unwrap();
        scene.carrying.await.unwrap();
        assert_eq!(scene.visitor.read(&mut [0]).await.unwrap(), 0);
    }
}
