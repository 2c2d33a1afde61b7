//! A visitor's HTTP/1 connection to its very end, or until it becomes something else.
//!
//! From the first request on that asks for another protocol, the library ends a connection by giving it away, whatever the
//! answers were: what it still holds is not sent, and nothing is said at the end (no `close_notify`). So this gives one away
//! only after an answer that switches. Any other is driven once more, which ends it in the ordinary way.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use http::Request;
use hyper::{
    body::{Body, Incoming},
    server::conn::http1,
    service::HttpService,
    upgrade::OnUpgrade,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::oneshot,
};

use crate::strict::Strict;

/// The bytes of a connection.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// What a connection has become.
pub(crate) type Switched = Box<dyn Io>;

/// What is to become of one connection.
#[derive(Default)]
pub(crate) struct Switch {
    /// A request has asked for another protocol.
    asked: AtomicBool,
    taker: Mutex<Option<oneshot::Sender<Switched>>>,
}

impl Switch {
    /// Notes whether a request asks for another protocol. One that does can be answered by switching to it.
    pub(super) fn note<B>(self: &Arc<Self>, request: &mut Request<B>) {
        if request.extensions_mut().remove::<OnUpgrade>().is_some() {
            self.asked.store(true, Relaxed);
            request.extensions_mut().insert(self.clone());
        }
    }

    /// For whoever answers by switching: the connection, once that answer is sent. Without a connection that can be switched,
    /// nothing ever comes.
    pub(crate) fn taken(switch: Option<&Arc<Self>>) -> oneshot::Receiver<Switched> {
        let (taker, taken) = oneshot::channel();
        if let Some(switch) = switch {
            *switch.taker() = Some(taker);
        }
        taken
    }

    fn taker(&self) -> MutexGuard<'_, Option<oneshot::Sender<Switched>>> {
        self.taker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection on its way there.
pub(super) struct ToItsEnd<S, T: HttpService<Incoming>> {
    connection: Option<Box<http1::Connection<TokioIo<Strict<S>>, T>>>,
    switch: Arc<Switch>,
    /// The library has given it away once.
    is_ending: bool,
}

impl<S, T> ToItsEnd<S, T>
where
    S: Io + 'static,
    T: HttpService<Incoming>,
    T::ResBody: 'static,
    <T::ResBody as Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    pub(super) fn new(connection: http1::Connection<TokioIo<Strict<S>>, T>, switch: Arc<Switch>) -> Self {
        Self { connection: Some(Box::new(connection)), switch, is_ending: false }
    }

    /// What is being asked is answered, and then it ends.
    pub(super) fn graceful_shutdown(&mut self) {
        if let Some(connection) = self.connection.as_mut().filter(|_| !self.is_ending) {
            Pin::new(&mut **connection).graceful_shutdown();
        }
    }
}

impl<S, T> Future for ToItsEnd<S, T>
where
    S: Io + 'static,
    T: HttpService<Incoming>,
    T::ResBody: 'static,
    <T::ResBody as Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Output = hyper::Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            let Some(connection) = this.connection.as_mut() else { return Poll::Ready(Ok(())) };
            ready!(Pin::new(&mut **connection).poll(cx))?;
            let taker = this.switch.taker().take();
            if let Some(taker) = taker {
                if let Some(connection) = this.connection.take() {
                    let parts = connection.into_parts();
                    let mut io = parts.io.into_inner();
                    io.put_back(&parts.read_buf);
                    // Where nobody waits for it any more, it is closed.
                    drop(taker.send(Box::new(io)));
                }
                return Poll::Ready(Ok(()));
            }
            if this.is_ending || !this.switch.asked.load(Relaxed) {
                return Poll::Ready(Ok(()));
            }
            this.is_ending = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, time::Duration};

    use bytes::Bytes;
    use http::{Response, StatusCode, header};
    use http_body_util::Full;
    use hyper::service::service_fn;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpSocket, TcpStream},
        time::timeout,
    };

    use super::*;
    use crate::strict::Pace;

    const LARGE: usize = 8 * 1024 * 1024;
    const PATIENCE: Duration = Duration::from_secs(20);
    const ASKS: &str = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";

    /// Answers what comes on `io` as the door does: `/large` at once with as many bytes as that, whatever of the request is
    /// still to come, `/switch` by echoing, and the rest with two bytes.
    async fn serve(io: TcpStream) -> hyper::Result<()> {
        let (switch, pace) = (Arc::<Switch>::default(), Arc::<Pace>::default());
        let strict = TokioIo::new(Strict::new(io, Some(pace.clone())));
        let noted = switch.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            noted.note(&mut request);
            let pace = pace.clone();
            async move {
                let answered = match request.uri().path() {
                    "/large" => Response::new(Full::new(Bytes::from(vec![b'x'; LARGE]))),
                    "/switch" => {
                        let taken = Switch::taken(request.extensions().get());
                        tokio::spawn(async move {
                            let io = taken.await.unwrap();
                            let (mut from, mut to) = tokio::io::split(io);
                            tokio::io::copy(&mut from, &mut to).await.unwrap();
                            to.shutdown().await.unwrap();
                        });
                        let mut switching = Response::new(Full::default());
                        *switching.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                        switching.headers_mut().insert(header::CONNECTION, "Upgrade".parse().unwrap());
                        switching.headers_mut().insert(header::UPGRADE, "echo".parse().unwrap());
                        switching
                    }
                    _ => Response::new(Full::from("ok")),
                };
                pace.answer(answered.status() == StatusCode::SWITCHING_PROTOCOLS);
                Ok::<_, Infallible>(answered)
            }
        });
        ToItsEnd::new(http1::Builder::new().serve_connection(strict, service), switch).await
    }

    /// What a visitor reads to the end, who sends all at once and then begins slowly, with a small receive buffer. The end is
    /// one that is said: the socket stays open beside, so that leaving it says nothing.
    async fn read(sent: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(64 * 1024).unwrap();
        let mut visitor = socket.connect(listener.local_addr().unwrap()).await.unwrap();
        let io = listener.accept().await.unwrap().0.into_std().unwrap();
        let beside = io.try_clone().unwrap();
        let serving = tokio::spawn(serve(TcpStream::from_std(io).unwrap()));
        visitor.write_all(sent.as_bytes()).await.unwrap();
        let mut all = vec![0; 64];
        timeout(PATIENCE, visitor.read_exact(&mut all)).await.expect("nothing came").unwrap();
        timeout(PATIENCE, visitor.read_to_end(&mut all)).await.expect("no end was said").unwrap();
        drop(visitor);
        serving.await.unwrap().unwrap();
        drop(beside);
        String::from_utf8(all).unwrap()
    }

    fn assert_whole(read: &str, sent: &str) {
        let (head, body) = read.rsplit_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {LARGE}")), "{head} after {sent:?}");
        assert_eq!(body.len(), LARGE, "after {sent:?}");
    }

    #[tokio::test]
    async fn an_answer_is_sent_whole_and_its_end_said_whatever_protocol_was_asked_for() {
        // H8
        let websocket = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
        let (first, close) = (format!("GET /first HTTP/1.1\r\n{ASKS}\r\n"), "Connection: close\r\n");
        for sent in [
            format!("GET /large HTTP/1.1\r\n{close}\r\n"),
            format!("GET /large HTTP/1.1\r\n{ASKS}{close}\r\n"),
            format!("GET /large HTTP/1.1\r\n{websocket}{close}\r\n"),
            // What is answered before it has come whole: the library is done with it while it holds all of the answer.
            format!("POST /large HTTP/1.1\r\n{ASKS}Content-Length: 100\r\n\r\nbegun"),
            format!("{first}POST /large HTTP/1.1\r\nContent-Length: 100\r\n\r\nbegun"),
            format!("{first}GET /large HTTP/1.1\r\n{close}\r\n"),
        ] {
            assert_whole(&read(&sent).await, &sent);
        }
    }

    #[tokio::test]
    async fn after_a_switch_the_connection_is_whoevers_has_switched_it_with_all_that_came() {
        // H8
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut visitor = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let serving = tokio::spawn(serve(listener.accept().await.unwrap().0));
        let asked = "Connection: Upgrade\r\nUpgrade: echo\r\n";
        let sent = format!("GET /first HTTP/1.1\r\n{asked}\r\nGET /switch HTTP/1.1\r\n{asked}\r\n\0early ");
        visitor.write_all(sent.as_bytes()).await.unwrap();
        timeout(PATIENCE, serving).await.expect("the switch took too long").unwrap().unwrap();
        visitor.write_all(b"late").await.unwrap();
        visitor.shutdown().await.unwrap();
        let mut all = String::new();
        timeout(PATIENCE, visitor.read_to_string(&mut all)).await.expect("no end was said").unwrap();
        let (heads, echoed) = all.rsplit_once("\r\n\r\n").unwrap();
        assert!(heads.starts_with("HTTP/1.1 200") && heads.contains("HTTP/1.1 101"), "{heads}");
        assert_eq!(echoed, "\0early late");
    }
}
