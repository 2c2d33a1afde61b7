use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tunnel_proto::{link::Settings, message::StreamRefusal, message::StreamRefused};

use crate::{next, open, pair, pair_over, pattern, stream};

#[tokio::test]
async fn a_stream_carries_what_its_opening_said_and_bytes_both_ways() {
    let (edge, mut connector) = pair().await;
    let mut near = edge.link.open(open(5)).await.unwrap();
    near.write_all(b"question").await.unwrap();
    let pending = next(&mut connector).await;
    assert_eq!(pending.opening, open(5).into());
    let mut far = pending.accept().await.unwrap();
    let mut bytes = [0; 8];
    far.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"question");
    far.write_all(b"answer!!").await.unwrap();
    near.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"answer!!");
    assert_eq!((edge.link.streams(), connector.link.streams()), (1, 1));
    assert_eq!(edge.link.id(), connector.link.id());
    drop((near, far));
    tokio::join!(edge.link.idle(), connector.link.idle());
}

#[tokio::test]
async fn a_refusal_reaches_the_opener_with_its_code_and_the_link_lives() {
    let (edge, mut connector) = pair().await;
    let mut near = edge.link.open(open(0)).await.unwrap();
    near.write_all(&[1; 1000]).await.unwrap();
    next(&mut connector).await.refuse(StreamRefusal::ServiceRefused, "nobody listens at 127.0.0.1:1").await;
    let error = near.read(&mut [0; 16]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    let refused = error.get_ref().unwrap().downcast_ref::<StreamRefused>().unwrap();
    assert_eq!((refused.code, refused.text.as_str()), (StreamRefusal::ServiceRefused, "nobody listens at 127.0.0.1:1"));
    // Again, and by the other ways of asking.
    assert_eq!(near.accepted().await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    let written = async {
        loop {
            near.write_all(&[0; 16 * 1024]).await?;
        }
    };
    let written: io::Result<()> = written.await;
    assert_eq!(written.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    drop(near);
    stream(&edge, &mut connector).await;
}

#[tokio::test]
async fn an_opening_can_be_awaited() {
    let (edge, mut connector) = pair().await;
    let mut near = edge.link.open(open(0)).await.unwrap();
    let pending = next(&mut connector).await;
    let mut far = pending.accept().await.unwrap();
    near.accepted().await.unwrap();
    far.write_all(b"x").await.unwrap();
    assert_eq!(near.read_u8().await.unwrap(), b'x');
}

// R45
#[tokio::test]
async fn a_closed_direction_leaves_the_other_open_for_eight_mebibytes() {
    let (edge, mut connector) = pair().await;
    for turn in 0..2 {
        let (near, far) = stream(&edge, &mut connector).await;
        let (mut first, mut second) = if turn == 0 { (near, far) } else { (far, near) };
        let (request, response) = (pattern(1, 8 << 20), pattern(2, 8 << 20));
        let asking = async {
            first.write_all(&request).await.unwrap();
            first.shutdown().await.unwrap();
            let mut all = Vec::new();
            first.read_to_end(&mut all).await.unwrap();
            assert!(all == response, "the answer arrived whole");
        };
        let answering = async {
            let mut all = Vec::new();
            second.read_to_end(&mut all).await.unwrap();
            assert!(all == request, "the question arrived whole");
            second.write_all(&response).await.unwrap();
            second.shutdown().await.unwrap();
        };
        tokio::join!(asking, answering);
    }
}

// R45
#[tokio::test]
async fn small_half_closed_exchanges_are_exact_five_hundred_times() {
    let (edge, mut connector) = pair().await;
    let serve = tokio::spawn(async move {
        while let Some(pending) = connector.incoming.next().await {
            tokio::spawn(async move {
                let mut far = pending.accept().await.unwrap();
                let mut all = Vec::new();
                far.read_to_end(&mut all).await.unwrap();
                far.write_all(&all).await.unwrap();
                far.shutdown().await.unwrap();
            });
        }
    });
    for turn in 0..500_usize {
        let mut near = edge.link.open(open(0)).await.unwrap();
        let bytes = pattern(turn as u64, turn * 7 % 1500);
        near.write_all(&bytes).await.unwrap();
        near.shutdown().await.unwrap();
        let mut all = Vec::new();
        near.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, bytes, "in turn {turn}");
    }
    drop(edge);
    serve.await.unwrap();
}

async fn bulk(pipe: usize, streams: usize, len: usize) {
    let (a, b) = tokio::io::duplex(pipe);
    let (edge, mut connector) = pair_over(a, b, Settings::for_edge(), Settings::default()).await;
    let serve = tokio::spawn(async move {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..streams {
            let pending = next(&mut connector).await;
            tasks.spawn(async move {
                let seed = u64::from(crate::rule_of(&pending));
                exchange(pending.accept().await.unwrap(), seed + 1000, seed, len).await;
            });
        }
        tasks.join_all().await;
    });
    let mut tasks = tokio::task::JoinSet::new();
    for seed in 0..streams as u32 {
        let near = edge.link.open(open(seed)).await.unwrap();
        tasks.spawn(exchange(near, u64::from(seed), u64::from(seed) + 1000, len));
    }
    tasks.join_all().await;
    serve.await.unwrap();
    edge.link.idle().await;
    crate::empty(&edge.link).await;
}

async fn exchange(stream: tunnel_proto::link::Stream, ours: u64, theirs: u64, len: usize) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let write = async {
        for chunk in pattern(ours, len).chunks(10_007) {
            writer.write_all(chunk).await.unwrap();
        }
        writer.shutdown().await.unwrap();
    };
    let read = async {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).await.unwrap();
        assert!(all == pattern(theirs, len), "stream {ours} read what stream {theirs} wrote");
    };
    tokio::join!(write, read);
}

// R45
#[tokio::test]
async fn many_streams_at_once_keep_their_bytes_apart() {
    bulk(64 * 1024, 32, 1 << 20).await;
}

// R45: a pipe so narrow that every write and read is partial.
#[tokio::test]
async fn a_narrow_pipe_changes_nothing() {
    bulk(97, 6, 64 * 1024).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn several_threads_change_nothing() {
    bulk(64 * 1024, 24, 1 << 20).await;
}

#[tokio::test]
async fn bulk_leaves_in_big_writes() {
    let (a, b) = tokio::io::duplex(1 << 20);
    let writes = Arc::new(AtomicUsize::new(0));
    let counted = Counted { io: a, writes: writes.clone() };
    let (edge, mut connector) = pair_over(counted, b, Settings::for_edge(), Settings::default()).await;
    let (mut near, mut far) = stream(&edge, &mut connector).await;
    let before = writes.load(Relaxed);
    let bytes = pattern(3, 8 << 20);
    let write = async {
        near.write_all(&bytes).await.unwrap();
        near.shutdown().await.unwrap();
    };
    let mut all = Vec::new();
    let (_, read) = tokio::join!(write, far.read_to_end(&mut all));
    read.unwrap();
    let writes = writes.load(Relaxed) - before;
    // Each of the 512 frames apart would be 1,024 writes.
    assert!(writes <= 300, "8 MiB took {writes} writes");
}

struct Counted<T> {
    io: T,
    writes: Arc<AtomicUsize>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Relaxed);
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
