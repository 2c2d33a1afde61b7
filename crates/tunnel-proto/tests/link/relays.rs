//! What a relay does with what a side said before it was cut.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter, DuplexStream, ReadBuf},
    task::JoinHandle,
    time::{Instant, sleep},
};
use tunnel_proto::link::{Carried, RelayError, Stream, join, relay};

use crate::{pair, stream};

/// What is sent before the cut, in bytes: more than a service has room for.
const SENT: usize = 8 * 1024;
/// How much a slow service takes at a time.
const PART: usize = 512;
const SECOND: Duration = Duration::from_secs(1);

type Relaying = JoinHandle<Result<(), RelayError>>;

/// Carries between a stream and a service with room for a KiB.
fn carry(mut stream: Stream) -> (DuplexStream, Relaying) {
    let (mut near, far) = tokio::io::duplex(1024);
    (far, tokio::spawn(async move { relay(&mut stream, &mut near, &Carried::default()).await }))
}

/// What comes when a part of it is taken every four minutes.
async fn slowly(service: &mut DuplexStream) -> Vec<u8> {
    let mut got = vec![0; SENT];
    for part in got.chunks_mut(PART) {
        sleep(240 * SECOND).await;
        service.read_exact(part).await.unwrap();
    }
    got
}

#[track_caller]
fn assert_reset_by_the_edge(ended: Result<(), RelayError>) {
    let Err(RelayError::Edge(error)) = ended else { panic!("{ended:?}") };
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

/// How a relay ends, that has to.
async fn end(relaying: Relaying) -> Result<(), RelayError> {
    tokio::time::timeout(3600 * SECOND, relaying).await.expect("it goes on for ever").unwrap()
}

/// The same, where one side was cut just now and the other takes nothing.
async fn after_a_while(relaying: Relaying) -> Result<(), RelayError> {
    let began = Instant::now();
    let ended = end(relaying).await;
    assert!((300..310).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    ended
}

#[tokio::test(start_paused = true)]
async fn a_service_that_takes_nothing_does_not_keep_what_was_cut() {
    for (said_all, link_is_over) in [(false, false), (false, true), (true, false), (true, true)] {
        let (edge, mut connector) = pair().await;
        let (mut near, far) = stream(&edge, &mut connector).await;
        let (_service, relaying) = carry(far);
        near.write_all(&[7; SENT]).await.unwrap();
        if said_all {
            near.shutdown().await.unwrap();
        }
        sleep(3600 * SECOND).await;
        assert!(!relaying.is_finished(), "nothing was cut");
        let kept = if link_is_over {
            edge.link.close();
            Some(near)
        } else {
            drop(near);
            None
        };
        assert_reset_by_the_edge(after_a_while(relaying).await);
        drop(kept);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_service_gets_all_that_came_before_a_cut() {
    for said_all in [false, true] {
        let (edge, mut connector) = pair().await;
        let (mut near, far) = stream(&edge, &mut connector).await;
        let (mut service, relaying) = carry(far);
        near.write_all(&[7; SENT]).await.unwrap();
        if said_all {
            near.shutdown().await.unwrap();
        }
        drop(near);
        // What it says meanwhile is for nobody, and ends nothing.
        service.write_all(b"acknowledged").await.unwrap();
        assert_eq!(slowly(&mut service).await, [7; SENT]);
        if said_all {
            assert_eq!(service.read(&mut [0; 1]).await.unwrap(), 0, "its end, too");
            let ended = end(relaying).await;
            assert!(matches!(ended, Err(RelayError::Left(_))), "{ended:?}");
        } else {
            assert_reset_by_the_edge(end(relaying).await);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_service_is_left_by_whoever_said_all_and_went() {
    let (edge, mut connector) = pair().await;
    let (mut near, far) = stream(&edge, &mut connector).await;
    let (mut service, relaying) = carry(far);
    near.write_all(b"question").await.unwrap();
    near.shutdown().await.unwrap();
    let mut got = Vec::new();
    service.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"question");
    sleep(3600 * SECOND).await;
    assert!(!relaying.is_finished(), "the answer may still come");
    let began = Instant::now();
    drop(near);
    let ended = end(relaying).await;
    assert!(matches!(ended, Err(RelayError::Left(_))), "{ended:?}");
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
}

/// A service behind TLS is one that holds back what it was given.
#[tokio::test(start_paused = true)]
async fn what_a_service_holds_back_is_flushed_before_a_cut() {
    let (edge, mut connector) = pair().await;
    let (mut near, mut far) = stream(&edge, &mut connector).await;
    near.write_all(&[7; SENT]).await.unwrap();
    drop(near);
    // All of it, and the cut, are there when the relay begins.
    sleep(SECOND).await;
    let (service, mut origin) = tokio::io::duplex(2 * SENT);
    let mut service = BufWriter::with_capacity(2 * SENT, service);
    assert_reset_by_the_edge(relay(&mut far, &mut service, &Carried::default()).await);
    drop(service);
    let mut got = Vec::new();
    origin.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, [7; SENT]);
}

/// Between two links, as at an edge: the service's stream is the one that is cut.
#[tokio::test(start_paused = true)]
async fn a_visitor_who_takes_nothing_does_not_keep_what_a_service_cut() {
    let (first, mut at_edge) = pair().await;
    let (second, mut connector) = pair().await;
    let (mut visitor, mut inner) = stream(&first, &mut at_edge).await;
    let (mut outer, mut service) = stream(&second, &mut connector).await;
    let relaying = tokio::spawn(async move { join(&mut inner, &mut outer, &Carried::default()).await });
    // As much as there is room for everywhere.
    let filled = async { while service.write(&[7; SENT]).await.is_ok() {} };
    tokio::time::timeout(60 * SECOND, filled).await.unwrap_err();
    assert!(!relaying.is_finished(), "nothing was cut");
    drop(service);
    let ended = after_a_while(relaying).await;
    assert!(matches!(ended, Err(RelayError::Service(_))), "{ended:?}");
    // It had never read. What did not get as far is missing, and that shows.
    let mut got = Vec::new();
    let end = visitor.read_to_end(&mut got).await;
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert!(!got.is_empty() && got.iter().all(|byte| *byte == 7));
}

/// A connection that was reset: a writer is told, and a reader then finds what came before, and an end.
struct Reset(&'static [u8]);

impl AsyncRead for Reset {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        buf.put_slice(std::mem::take(&mut self.0));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Reset {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn an_answer_before_a_reset_arrives_and_does_not_look_whole() {
    let (edge, mut connector) = pair().await;
    let (mut near, mut far) = stream(&edge, &mut connector).await;
    near.write_all(b"more than it reads").await.unwrap();
    // There when the relay begins, so that it writes first.
    far.read_u8().await.unwrap();
    let ended = relay(&mut far, &mut Reset(b"too much"), &Carried::default()).await;
    assert!(matches!(ended, Err(RelayError::Service(_))), "{ended:?}");
    drop(far);
    let mut got = Vec::new();
    let end = near.read_to_end(&mut got).await;
    assert_eq!(got, b"too much");
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}
