//! Signs of life and draining. The clock is tokio's, paused: it moves when everything waits.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::watch,
    time::Instant,
};
use tunnel_proto::{
    link::{LinkEnd, OpenError, Settings, Stream},
    message::{DrainReason, Message, StreamRefusal, StreamRefused},
};

use crate::{next, open, pair, pair_over, pair_with, stream};

/// Two ends of a path that can be told to swallow everything.
fn path() -> (DuplexStream, DuplexStream, watch::Sender<bool>) {
    let (near, mut a) = tokio::io::duplex(64 * 1024);
    let (far, mut b) = tokio::io::duplex(64 * 1024);
    let (silent, gate) = watch::channel(false);
    tokio::spawn(async move {
        let (mut from_near, mut from_far) = (vec![0; 65536], vec![0; 65536]);
        loop {
            tokio::select! {
                Ok(count @ 1..) = a.read(&mut from_near) => if !*gate.borrow() {
                    b.write_all(&from_near[..count]).await.ok();
                },
                Ok(count @ 1..) = b.read(&mut from_far) => if !*gate.borrow() {
                    a.write_all(&from_far[..count]).await.ok();
                },
                else => break,
            }
        }
    });
    (near, far, silent)
}

// F8
#[tokio::test(start_paused = true)]
async fn a_quiet_link_lives_on() {
    let (edge, connector) = pair().await;
    tokio::select! {
        end = edge.link.closed() => panic!("{end}"),
        end = connector.link.closed() => panic!("{end}"),
        () = tokio::time::sleep(Duration::from_secs(3600)) => {}
    }
    assert!(edge.link.rtt().is_some());
}

/// Two ends of a path that forgets whoever says nothing for `memory`, as a NAT does.
fn forgetful(memory: Duration) -> (DuplexStream, DuplexStream) {
    let (near, a) = tokio::io::duplex(64 * 1024);
    let (far, b) = tokio::io::duplex(64 * 1024);
    tokio::spawn(async move {
        let ((mut from_near, mut to_near), (mut from_far, mut to_far)) = (tokio::io::split(a), tokio::io::split(b));
        let (mut near_bytes, mut far_bytes) = (vec![0; 65536], vec![0; 65536]);
        loop {
            let passed = async {
                tokio::select! {
                    Ok(count @ 1..) = from_near.read(&mut near_bytes) => to_far.write_all(&near_bytes[..count]).await,
                    Ok(count @ 1..) = from_far.read(&mut far_bytes) => to_near.write_all(&far_bytes[..count]).await,
                    else => Err(io::ErrorKind::UnexpectedEof.into()),
                }
            };
            match tokio::time::timeout(memory, passed).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                // Neither end is told.
                Err(_) => std::future::pending().await,
            }
        }
    });
    (near, far)
}

/// A day, in which a person does not touch the terminal.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// The shortest memory of a NAT for TCP that is known to be in use: AWS's Global Accelerator has 90 seconds.
const NAT_MEMORY: Duration = Duration::from_secs(90);

// F8
#[tokio::test(start_paused = true)]
async fn a_stream_that_idles_for_a_day_carries_on() {
    let (near, far) = forgetful(NAT_MEMORY);
    let (edge, mut connector) = pair_over(near, far, Settings::for_edge(), Settings::default()).await;
    let (mut near, mut far) = stream(&edge, &mut connector).await;
    for word in [b"first", b"later"] {
        near.write_all(word).await.unwrap();
        let mut heard = [0; 5];
        far.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, word);
        far.write_all(word).await.unwrap();
        near.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, word);
        tokio::time::sleep(DAY).await;
    }
    assert_eq!((edge.link.streams(), connector.link.streams()), (1, 1));
}

// F8
#[tokio::test(start_paused = true)]
async fn a_peer_that_falls_silent_is_noticed_within_fifteen_seconds() {
    let (near, far, silent) = path();
    let (edge, connector) = pair_over(near, far, Settings::for_edge(), Settings::default()).await;
    tokio::time::sleep(Duration::from_secs(25)).await;
    silent.send(true).unwrap();
    let start = Instant::now();
    assert_eq!(edge.link.closed().await, LinkEnd::PeerSilent);
    assert_eq!(connector.link.closed().await, LinkEnd::PeerSilent);
    assert!(start.elapsed() <= Duration::from_secs(15), "{:?}", start.elapsed());
}

// F8
#[tokio::test(start_paused = true)]
async fn with_traffic_it_is_noticed_within_three() {
    let (near, far, silent) = path();
    let (edge, mut connector) = pair_over(near, far, Settings::for_edge(), Settings::default()).await;
    let (mut near, _far) = stream(&edge, &mut connector).await;
    near.accepted().await.unwrap();
    silent.send(true).unwrap();
    near.write_all(b"anybody there?").await.unwrap();
    let start = Instant::now();
    assert_eq!(edge.link.closed().await, LinkEnd::PeerSilent);
    assert!(start.elapsed() <= Duration::from_millis(3_100), "{:?}", start.elapsed());
    assert_eq!(near.read(&mut [0; 1]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

// F4, F8
#[tokio::test(start_paused = true)]
async fn a_peer_is_doubted_before_it_is_given_up_and_a_living_one_never() {
    let (near, far, silent) = path();
    let (edge, mut connector) = pair_over(near, far, Settings::for_edge(), Settings::default()).await;
    let (mut near, _far) = stream(&edge, &mut connector).await;
    near.accepted().await.unwrap();
    edge.link.ask();
    assert!(tokio::time::timeout(Duration::from_secs(65), edge.link.doubted()).await.is_err());
    assert_eq!(edge.link.unheard(), None);
    silent.send(true).unwrap();
    near.write_all(b"anybody there?").await.unwrap();
    let start = Instant::now();
    edge.link.doubted().await;
    assert!(start.elapsed() <= Duration::from_millis(2_100), "{:?}", start.elapsed());
    assert!(edge.link.unheard().unwrap() >= Duration::from_millis(1_900));
    // Whoever knows more does not wait for the rest.
    edge.link.give_up();
    assert_eq!(edge.link.closed().await, LinkEnd::PeerSilent);
    assert!(start.elapsed() <= Duration::from_millis(2_200), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn who_cannot_wait_learns_of_silence_sooner_and_of_a_living_peer_never() {
    const PATIENCE: Duration = Duration::from_millis(1500);
    let (near, far, silent) = path();
    let (edge, connector) = pair_over(near, far, Settings::for_edge(), Settings::default()).await;
    // It says nothing by itself, and is asked.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(tokio::time::timeout(PATIENCE * 2, edge.link.silence(PATIENCE)).await.is_err());
    silent.send(true).unwrap();
    let start = Instant::now();
    edge.link.silence(PATIENCE).await;
    assert!(start.elapsed() <= PATIENCE + Duration::from_millis(10), "{:?}", start.elapsed());
    // The link itself has more patience.
    silent.send(false).unwrap();
    let over = async { tokio::join!(edge.link.closed(), connector.link.closed()) };
    assert!(tokio::time::timeout(Duration::from_secs(60), over).await.is_err());
}

// F8: any byte counts, and one direction of traffic makes the other side answer.
#[tokio::test(start_paused = true)]
async fn traffic_in_one_direction_keeps_both_ends_alive() {
    let (edge, mut connector) = pair().await;
    let (mut near, mut far) = stream(&edge, &mut connector).await;
    for _ in 0..120 {
        far.write_all(b"event").await.unwrap();
        near.read_exact(&mut [0; 5]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    assert_eq!(edge.link.streams(), 1);
}

#[tokio::test]
async fn a_draining_link_opens_nothing_and_lets_live_streams_end() {
    let (mut edge, mut connector) = pair().await;
    let (mut near, mut far) = stream(&edge, &mut connector).await;
    connector.link.drain(DrainReason::Shutdown, Duration::from_secs(30));
    assert_eq!(edge.link.draining().await, DrainReason::Shutdown);
    match edge.control.next().await {
        Some(Message::Drain(drain)) => assert_eq!(drain.deadline_secs, 30),
        other => panic!("{other:?}"),
    }
    assert_eq!(edge.link.open(open(0)).await.unwrap_err(), OpenError::Draining);
    near.write_all(b"last words").await.unwrap();
    near.shutdown().await.unwrap();
    let mut words = String::new();
    far.read_to_string(&mut words).await.unwrap();
    far.shutdown().await.unwrap();
    near.read_to_string(&mut words).await.unwrap();
    assert_eq!(words, "last words");
    drop((near, far));
    connector.link.idle().await;
    connector.link.close();
    assert_eq!(edge.link.closed().await, LinkEnd::PeerClosed);
}

#[tokio::test]
async fn a_stream_opened_while_the_drain_is_on_its_way_is_refused_as_draining() {
    let (edge, connector) = pair().await;
    connector.link.drain(DrainReason::Shutdown, Duration::ZERO);
    let mut near: Stream = edge.link.open(open(0)).await.unwrap();
    let error = near.read(&mut [0; 1]).await.unwrap_err();
    let refused = error.get_ref().unwrap().downcast_ref::<StreamRefused>().unwrap();
    assert_eq!(refused.code, StreamRefusal::Draining);
}

#[tokio::test]
async fn a_link_that_has_opened_its_share_drains_by_itself() {
    let settings = Settings { rotate_after: 3, ..Settings::for_edge() };
    let (edge, mut connector) = pair_with(settings, Settings::default()).await;
    for _ in 0..3 {
        let near = edge.link.open(open(0)).await.unwrap();
        drop((near, next(&mut connector).await));
    }
    assert_eq!(edge.link.open(open(0)).await.unwrap_err(), OpenError::Draining);
    assert_eq!(connector.link.draining().await, DrainReason::Rotation);
}
