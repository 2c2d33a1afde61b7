//! The engine at one end, the `yamux` crate at the other, either way round.

use std::{
    future::poll_fn,
    io::ErrorKind,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{mpsc, oneshot},
};
use tokio_util::compat::{FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};
use tunnel_proto::mux::{End, Mode, Mux};

use crate::{LIMITS, drive, exchange};

type BoxStream = Pin<Box<dyn Stream>>;

trait Stream: AsyncRead + AsyncWrite + Send {}

impl<S: AsyncRead + AsyncWrite + Send> Stream for S {}

/// One end of a connection, whoever speaks there.
struct Peer {
    open: mpsc::Sender<oneshot::Sender<BoxStream>>,
    opened: mpsc::Receiver<BoxStream>,
    ended: oneshot::Receiver<Option<End>>,
    close: Option<oneshot::Sender<()>>,
}

impl Peer {
    async fn open(&self) -> BoxStream {
        let (sender, receiver) = oneshot::channel();
        self.open.send(sender).await.unwrap();
        receiver.await.unwrap()
    }

    async fn accept(&mut self) -> BoxStream {
        self.opened.recv().await.unwrap()
    }

    /// Our engine, driven by a task.
    fn ours(io: tokio::io::DuplexStream, mode: Mode) -> Self {
        let (open, mut requests) = mpsc::channel::<oneshot::Sender<BoxStream>>(64);
        let (sender, opened) = mpsc::channel(1024);
        let (end, ended) = oneshot::channel();
        let (close, closing) = oneshot::channel();
        let mux = Mux::new(mode, LIMITS);
        let accepting = mux.clone();
        tokio::spawn(async move {
            while let Some(request) = requests.recv().await {
                request.send(Box::pin(mux.open().unwrap())).ok();
            }
        });
        tokio::spawn(async move {
            let mux = accepting.clone();
            let mut driving = Box::pin(drive(accepting, io));
            let mut closing = Some(closing);
            let ended = poll_fn(|cx| {
                if is_asked(&mut closing, cx) {
                    mux.with(|engine| engine.go_away());
                }
                let end = driving.as_mut().poll(cx);
                while let Some(stream) = mux.accept() {
                    sender.try_send(Box::pin(stream) as BoxStream).ok();
                }
                end
            });
            end.send(ended.await).ok();
        });
        Self { open, opened, ended, close: Some(close) }
    }

    /// The crate, driven by a task.
    fn theirs(io: tokio::io::DuplexStream, mode: Mode) -> Self {
        let (open, mut requests) = mpsc::channel::<oneshot::Sender<BoxStream>>(64);
        let (sender, opened) = mpsc::channel(1024);
        let (end, ended) = oneshot::channel();
        let (close, closing) = oneshot::channel();
        let mode = match mode {
            Mode::Client => yamux::Mode::Client,
            Mode::Server => yamux::Mode::Server,
        };
        let mut config = yamux::Config::default();
        config.set_max_connection_receive_window(None);
        config.set_max_num_streams(2048);
        let mut connection = yamux::Connection::new(io.compat(), config, mode);
        tokio::spawn(async move {
            let (mut next, mut leaving): (Option<oneshot::Sender<BoxStream>>, bool) = (None, false);
            let mut closing = Some(closing);
            poll_fn(|cx| {
                leaving |= is_asked(&mut closing, cx);
                if leaving {
                    return connection.poll_close(cx).map(|_| ());
                }
                loop {
                    if next.is_none()
                        && let Poll::Ready(Some(request)) = requests.poll_recv(cx)
                    {
                        next = Some(request);
                    }
                    if next.is_some()
                        && let Poll::Ready(Ok(stream)) = connection.poll_new_outbound(cx)
                    {
                        next.take().unwrap().send(Box::pin(stream.compat())).ok();
                        continue;
                    }
                    match connection.poll_next_inbound(cx) {
                        Poll::Ready(Some(Ok(stream))) => {
                            sender.try_send(Box::pin(stream.compat()) as BoxStream).ok();
                        }
                        Poll::Ready(_) => return Poll::Ready(()),
                        Poll::Pending => return Poll::Pending,
                    }
                }
            })
            .await;
            end.send(None).ok();
        });
        Self { open, opened, ended, close: Some(close) }
    }
}

/// Whether the end was asked for just now.
fn is_asked(closing: &mut Option<oneshot::Receiver<()>>, cx: &mut Context<'_>) -> bool {
    let asked = closing.as_mut().map(|closing| Pin::new(closing).poll(cx));
    match asked {
        Some(Poll::Ready(asked)) => {
            *closing = None;
            asked.is_ok()
        }
        _ => false,
    }
}

/// Each way round: who opens streams, and who takes them. The pipe is narrow, so that much is under way in pieces.
fn pairs() -> [(&'static str, Peer, Peer); 4] {
    let pair = |ours: Mode, theirs: Mode| {
        let (near, far) = tokio::io::duplex(50_000);
        (Peer::ours(near, ours), Peer::theirs(far, theirs))
    };
    let ((a, b), (c, d)) = (pair(Mode::Client, Mode::Server), pair(Mode::Server, Mode::Client));
    let ((e, f), (g, h)) = (pair(Mode::Client, Mode::Server), pair(Mode::Server, Mode::Client));
    [("client opens", a, b), ("server opens", c, d), ("client takes", f, e), ("server takes", h, g)]
}

#[tokio::test]
async fn bulk_goes_both_ways_at_once() {
    for (_, opener, mut taker) in pairs() {
        let (near, taking) = (opener.open().await, tokio::spawn(async move { taker.accept().await }));
        let near = tokio::spawn(exchange(near, 1, 2, 8 << 20));
        exchange(taking.await.unwrap(), 2, 1, 8 << 20).await;
        near.await.unwrap();
    }
}

#[tokio::test]
async fn many_streams_at_once_keep_their_bytes_apart() {
    for (way, opener, mut taker) in pairs() {
        let mut tasks = tokio::task::JoinSet::new();
        let taking = tokio::spawn(async move {
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..64 {
                let mut stream = taker.accept().await;
                tasks.spawn(async move {
                    let seed = stream.read_u64().await.unwrap();
                    exchange(stream, seed + 1000, seed, 200_000).await;
                });
            }
            tasks.join_all().await;
            taker
        });
        for seed in 0..64 {
            let mut stream = opener.open().await;
            tasks.spawn(async move {
                stream.write_u64(seed).await.unwrap();
                exchange(stream, seed, seed + 1000, 200_000).await;
            });
        }
        tasks.join_all().await;
        drop(taking.await.expect(way));
    }
}

#[tokio::test]
async fn storms_of_openings_and_ends_harm_nothing() {
    for (way, opener, mut taker) in pairs() {
        let taking = tokio::spawn(async move {
            for turn in 0..2000_u64 {
                let mut stream = taker.accept().await;
                // Some are answered, some are dropped at once, some after they were read.
                if turn % 3 > 0 {
                    assert_eq!(stream.read_u64().await.unwrap(), turn);
                }
                if turn % 3 > 1 {
                    stream.write_u64(turn).await.unwrap();
                    stream.shutdown().await.unwrap();
                    while stream.read(&mut [0; 16]).await.is_ok_and(|count| count > 0) {}
                }
            }
            taker
        });
        for turn in 0..2000_u64 {
            let mut stream = opener.open().await;
            stream.write_u64(turn).await.unwrap();
            if turn % 3 > 1 {
                assert_eq!(stream.read_u64().await.expect(way), turn);
                stream.shutdown().await.unwrap();
            }
        }
        let mut taker = taking.await.unwrap();
        let near = tokio::spawn(exchange(
            {
                let mut last = opener.open().await;
                last.write_u8(1).await.unwrap();
                last
            },
            1,
            2,
            100_000,
        ));
        let mut last = taker.accept().await;
        last.read_u8().await.unwrap();
        exchange(last, 2, 1, 100_000).await;
        near.await.unwrap();
    }
}

#[tokio::test]
async fn a_direction_that_has_ended_leaves_the_other_open() {
    for (_, opener, mut taker) in pairs() {
        let mut near = opener.open().await;
        near.write_all(b"question").await.unwrap();
        near.shutdown().await.unwrap();
        let mut far = taker.accept().await;
        let mut all = Vec::new();
        far.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"question");
        let bytes = crate::pattern(5, 3 << 20);
        let answer = bytes.clone();
        let answering = tokio::spawn(async move {
            far.write_all(&answer).await.unwrap();
            far.shutdown().await.unwrap();
        });
        let mut all = Vec::new();
        near.read_to_end(&mut all).await.unwrap();
        assert!(all == bytes);
        answering.await.unwrap();
    }
}

#[tokio::test]
async fn a_reset_ends_writing_at_the_other_end() {
    for (way, opener, mut taker) in pairs() {
        let mut near = opener.open().await;
        near.write_all(b"first").await.unwrap();
        drop(taker.accept().await);
        let writing = async { while near.write_all(&[0; 64 * 1024]).await.is_ok() {} };
        tokio::time::timeout(Duration::from_secs(20), writing).await.expect(way);
        // The connection lives on.
        let mut next = opener.open().await;
        next.write_all(b"second").await.unwrap();
        let mut bytes = [0; 6];
        taker.accept().await.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"second");
    }
}

#[tokio::test]
async fn going_away_ends_the_other_end_too() {
    for ours in [Mode::Client, Mode::Server] {
        let (near, far) = tokio::io::duplex(50_000);
        let theirs = if ours == Mode::Client { Mode::Server } else { Mode::Client };
        let (mut ours, mut theirs) = (Peer::ours(near, ours), Peer::theirs(far, theirs));
        let mut stream = theirs.open().await;
        stream.write_all(b"before").await.unwrap();
        let mut taken = ours.accept().await;
        taken.read_exact(&mut [0; 6]).await.unwrap();
        theirs.close.take().unwrap().send(()).unwrap();
        assert_eq!(ours.ended.await.unwrap(), Some(End::PeerClosed));
        assert_eq!(taken.read(&mut [0; 1]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    for ours in [Mode::Client, Mode::Server] {
        let (near, far) = tokio::io::duplex(50_000);
        let theirs = if ours == Mode::Client { Mode::Server } else { Mode::Client };
        let (mut ours, theirs) = (Peer::ours(near, ours), Peer::theirs(far, theirs));
        ours.close.take().unwrap().send(()).unwrap();
        theirs.ended.await.unwrap();
    }
}

/// The crate measures its round trip with pings, and so does the engine: each must be content with the other's answers.
#[tokio::test(start_paused = true)]
async fn pings_are_answered_for_minutes() {
    for (_, opener, mut taker) in pairs() {
        let mut near = opener.open().await;
        near.write_u8(0).await.unwrap();
        let mut far = taker.accept().await;
        far.read_u8().await.unwrap();
        for turn in 0..60_u8 {
            near.write_all(&[turn; 5000]).await.unwrap();
            far.read_exact(&mut [0; 5000]).await.unwrap();
            far.write_all(&[turn; 5000]).await.unwrap();
            near.read_exact(&mut [0; 5000]).await.unwrap();
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        drop((near, far));
    }
}
