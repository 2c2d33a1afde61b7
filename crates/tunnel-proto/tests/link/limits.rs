use std::io::ErrorKind;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tunnel_proto::{
    link::{OpenError, STREAMS_MAX, Settings},
    message::{StreamRefusal, StreamRefused},
};

use crate::{next, open, pair, pair_with, stream};

// T6
#[tokio::test]
async fn one_stream_too_many_fails_alone() {
    let (edge, mut connector) = pair().await;
    let mut held = Vec::new();
    for _ in 0..STREAMS_MAX {
        held.push(stream(&edge, &mut connector).await);
    }
    assert_eq!(edge.link.room(), 0);
    assert_eq!(edge.link.open(open(0)).await.unwrap_err(), OpenError::TooManyStreams);
    for (near, far) in held.iter_mut().step_by(100) {
        near.write_all(b"alive").await.unwrap();
        far.read_exact(&mut [0; 5]).await.unwrap();
    }
    held.truncate(STREAMS_MAX - 1);
    // The connector's place is free when the reset has arrived.
    while connector.link.streams() == STREAMS_MAX {
        tokio::task::yield_now().await;
    }
    held.push(stream(&edge, &mut connector).await);
}

// T6: openings beyond 256 wait for answers, and 1,024 unanswered ones are no reason to lose the link.
#[tokio::test]
async fn unanswered_openings_wait_and_harm_nothing() {
    let (edge, mut connector) = pair().await;
    let link = edge.link.clone();
    let opening = tokio::spawn(async move {
        let mut held = Vec::new();
        for _ in 0..STREAMS_MAX {
            held.push(link.open(open(0)).await.unwrap());
        }
        held
    });
    let mut far = Vec::new();
    for _ in 0..STREAMS_MAX {
        far.push(next(&mut connector).await.accept().await.unwrap());
    }
    assert_eq!(opening.await.unwrap().len(), STREAMS_MAX);
}

// T6
#[tokio::test]
async fn the_accepting_side_refuses_beyond_its_own_limit_and_the_link_lives() {
    let (edge, mut connector) = pair_with(Settings::for_edge(), Settings { streams: 4, ..Settings::default() }).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(stream(&edge, &mut connector).await);
    }
    for _ in 0..50 {
        let mut near = edge.link.open(open(0)).await.unwrap();
        let error = near.read(&mut [0; 1]).await.unwrap_err();
        let refused = error.get_ref().unwrap().downcast_ref::<StreamRefused>().unwrap();
        assert_eq!(refused.code, StreamRefusal::TooManyStreams);
    }
    let (near, far) = held.first_mut().unwrap();
    near.write_all(b"alive").await.unwrap();
    far.read_exact(&mut [0; 5]).await.unwrap();
}

// T6
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn opening_and_dropping_in_haste_harms_nothing() {
    let (edge, mut connector) = pair().await;
    let serve = tokio::spawn(async move {
        while let Some(pending) = connector.incoming.next().await {
            drop(pending.accept().await)
        }
    });
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let link = edge.link.clone();
        tasks.spawn(async move {
            for _ in 0..1000 {
                match link.open(open(0)).await {
                    Ok(stream) => drop(stream),
                    Err(OpenError::TooManyStreams) => tokio::task::yield_now().await,
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }
    tasks.join_all().await;
    edge.link.idle().await;
    assert_eq!(edge.link.room(), STREAMS_MAX);
    crate::empty(&edge.link).await;
    drop(edge);
    serve.await.unwrap();
}

// T6
#[tokio::test]
async fn over_the_budget_the_stream_with_most_unread_bytes_is_reset_and_others_live() {
    let budget = 512 * 1024;
    let (edge, mut connector) =
        pair_with(Settings::for_edge(), Settings { memory: budget, ..Settings::default() }).await;
    let (mut small, mut small_far) = stream(&edge, &mut connector).await;
    small.write_all(b"unread").await.unwrap();
    let mut hoards = Vec::new();
    for _ in 0..8 {
        let (near, far) = stream(&edge, &mut connector).await;
        let (_, mut writer) = tokio::io::split(near);
        hoards.push((tokio::spawn(async move { while writer.write_all(&[7; 4096]).await.is_ok() {} }), far));
    }
    let mut reset = 0;
    for (task, mut far) in hoards {
        // Read on: a stream that lives goes on for ever, one that was reset says so.
        let mut total = 0;
        while total < 1 << 20 {
            match far.read(&mut [0; 16 * 1024]).await {
                Ok(count) => total += count,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                    reset += 1;
                    break;
                }
            }
            assert!(connector.link.buffered() <= budget + budget / 4);
        }
        drop(far);
        task.await.unwrap();
    }
    assert!((1..8).contains(&reset), "{reset} of 8 were reset");
    small_far.read_exact(&mut [0; 6]).await.unwrap();
}
