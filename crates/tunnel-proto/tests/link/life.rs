//! Signs of life and draining. The clock is tokio's, paused: it moves when everything waits.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf},
    sync::watch,
    time::Instant,
};
use tunnel_proto::{
    link::{Connected, LinkEnd, OpenError, Settings, Stream, Welcomed},
    message::{DrainReason, Message, StreamRefusal, StreamRefused},
};

use crate::{next, open, pair, pair_over, pair_with, pattern, stream};

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
    silent.send(true).unwrap();
    near.write_all(b"anybody there?").await.unwrap();
    let start = Instant::now();
    edge.link.doubted().await;
    assert!(start.elapsed() <= Duration::from_millis(2_100), "{:?}", start.elapsed());
    assert_eq!(edge.link.closed().await, LinkEnd::PeerSilent);
    assert!(start.elapsed() <= Duration::from_millis(3_100), "{:?}", start.elapsed());
}

/// Carries every piece on once `delay` has passed and `open` is true.
async fn carry(
    mut from: ReadHalf<DuplexStream>,
    mut to: WriteHalf<DuplexStream>,
    delay: Duration,
    mut open: watch::Receiver<bool>,
) {
    let mut bytes = vec![0; 65536];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        tokio::time::sleep(delay).await;
        if open.wait_for(|open| *open).await.is_err() {
            return;
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

/// A link whose bytes take `delay` either way, and wait for as long as its path is not open.
async fn link_over(delay: Duration) -> (Welcomed, Connected, watch::Sender<bool>) {
    let (near, a) = tokio::io::duplex(64 * 1024);
    let (far, b) = tokio::io::duplex(64 * 1024);
    let ((from_near, to_near), (from_far, to_far)) = (tokio::io::split(a), tokio::io::split(b));
    let (open, is_open) = watch::channel(true);
    tokio::spawn(carry(from_near, to_far, delay, is_open.clone()));
    tokio::spawn(carry(from_far, to_near, delay, is_open));
    let (edge, connector) = pair_over(near, far, Settings::for_edge(), Settings::default()).await;
    (edge, connector, open)
}

// F4: four links of one connector beside one that is silent to its end, as an edge has them: one is dead as well, one idle, one
// slow, and what one is sent waits for the socket.
#[tokio::test(start_paused = true)]
async fn beside_a_dead_link_another_dead_one_is_known_three_seconds_after_the_doubt_and_living_ones_go_on() {
    const DELAY: Duration = Duration::from_millis(400);
    let (first, mut first_far, first_open) = link_over(Duration::ZERO).await;
    let (dead, _dead_far, dead_open) = link_over(Duration::ZERO).await;
    let (idle, _idle_far, _idle_open) = link_over(Duration::ZERO).await;
    let (slow, _slow_far, _slow_open) = link_over(DELAY).await;
    let (queued, mut queued_far, queued_open) = link_over(Duration::ZERO).await;
    let (mut vain, _vain_far) = stream(&first, &mut first_far).await;
    vain.accepted().await.unwrap();
    let (mut upload, _upload_far) = stream(&queued, &mut queued_far).await;
    upload.accepted().await.unwrap();
    slow.link.ask();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(slow.link.rtt().unwrap() >= DELAY * 2);

    first_open.send_replace(false);
    dead_open.send_replace(false);
    vain.write_all(b"anybody there?").await.unwrap();
    first.link.doubted().await;
    let since = Instant::now();
    [&dead, &idle, &slow, &queued].iter().for_each(|other| other.link.ask());
    // More than what lies on the way, and less than the stream's window.
    queued_open.send_replace(false);
    let uploaded = tokio::spawn(async move {
        upload.write_all(&pattern(1, 240 * 1024)).await.unwrap();
        upload
    });
    tokio::time::sleep_until(since + Duration::from_secs(2)).await;
    queued_open.send_replace(true);
    assert_eq!(first.link.closed().await, LinkEnd::PeerSilent);
    assert_eq!(dead.link.closed().await, LinkEnd::PeerSilent);
    assert!(since.elapsed() <= Duration::from_millis(3_100), "{:?}", since.elapsed());
    tokio::select! {
        end = idle.link.closed() => panic!("the idle one: {end}"),
        end = slow.link.closed() => panic!("the slow one: {end}"),
        end = queued.link.closed() => panic!("the one with bytes that wait: {end}"),
        () = tokio::time::sleep(Duration::from_secs(60)) => {}
    }
    assert_eq!(queued.link.streams(), 1);
    drop(uploaded.await.unwrap());
}

// F4: a stall that is just over the three seconds of one link costs that one, and none of those beside it.
#[tokio::test(start_paused = true)]
async fn a_stall_that_one_link_dies_of_is_survived_by_those_beside_it() {
    let (first, mut first_far, first_open) = link_over(Duration::ZERO).await;
    let (other, _other_far, other_open) = link_over(Duration::ZERO).await;
    let (mut vain, _vain_far) = stream(&first, &mut first_far).await;
    vain.accepted().await.unwrap();
    first_open.send_replace(false);
    other_open.send_replace(false);
    vain.write_all(b"anybody there?").await.unwrap();
    first.link.doubted().await;
    other.link.ask();
    assert_eq!(first.link.closed().await, LinkEnd::PeerSilent);
    tokio::time::sleep(Duration::from_millis(200)).await;
    other_open.send_replace(true);
    assert!(tokio::time::timeout(Duration::from_secs(60), other.link.closed()).await.is_err());
}

// F4: slow links would otherwise go on to doubt each other.
#[tokio::test(start_paused = true)]
async fn a_slow_link_that_is_asked_for_another_raises_no_doubt_of_its_own() {
    let (edge, _connector, _open) = link_over(Duration::from_millis(700)).await;
    for _ in 0..4 {
        edge.link.ask();
        assert!(tokio::time::timeout(Duration::from_secs(3), edge.link.doubted()).await.is_err());
    }
    assert!(edge.link.rtt().unwrap() > Duration::from_secs(1));
}

// F8: bytes that wait for the socket for longer than silence may last, and then leave. The answer takes its time, too.
#[tokio::test(start_paused = true)]
async fn a_link_whose_bytes_leave_after_a_long_stall_is_not_given_up_for_the_time_before() {
    let (edge, mut connector, open) = link_over(Duration::from_millis(400)).await;
    let (mut upload, _far) = stream(&edge, &mut connector).await;
    upload.accepted().await.unwrap();
    open.send_replace(false);
    // More than what lies on the way, and less than the stream's window.
    let uploaded = tokio::spawn(async move {
        upload.write_all(&pattern(1, 240 * 1024)).await.unwrap();
        upload
    });
    tokio::time::sleep(Duration::from_secs(5)).await;
    open.send_replace(true);
    tokio::select! {
        end = edge.link.closed() => panic!("{end}"),
        end = connector.link.closed() => panic!("{end}"),
        () = tokio::time::sleep(Duration::from_secs(60)) => {}
    }
    assert_eq!(edge.link.streams(), 1);
    drop(uploaded.await.unwrap());
}

/// Bytes that a line of 64 kbit/s carries in a second.
const LINE: u64 = 8_000;
/// What its buffer holds: five seconds of them.
const DEPTH: usize = 40_000;

/// Carries bytes on as fast as that line, and stands still for `stall` each five seconds, as for a packet that is lost again and
/// again.
async fn crawl(mut from: ReadHalf<DuplexStream>, mut to: WriteHalf<DuplexStream>, stall: Duration) {
    let (mut bytes, mut carried) = ([0; 400], 0);
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        carried += count;
        if carried >= DEPTH {
            carried = 0;
            tokio::time::sleep(stall).await;
        }
        tokio::time::sleep(Duration::from_micros(count as u64 * 1_000_000 / LINE)).await;
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

/// A link over a slow line with a deep buffer either way.
async fn slow_line(stall: Duration) -> (Welcomed, Connected) {
    let ((near, a), (far, b)) = (tokio::io::duplex(DEPTH), tokio::io::duplex(DEPTH));
    let ((from_near, to_near), (from_far, to_far)) = (tokio::io::split(a), tokio::io::split(b));
    tokio::spawn(crawl(from_near, to_far, stall));
    tokio::spawn(crawl(from_far, to_near, stall));
    pair_over(near, far, Settings::for_edge(), Settings::default()).await
}

// F8: what the buffer takes at once waits for no socket, and a question is behind all of it.
#[tokio::test(start_paused = true)]
async fn an_answer_that_a_slow_line_carries_for_five_seconds_is_not_taken_for_silence() {
    let (edge, mut connector) = slow_line(Duration::ZERO).await;
    let (mut near, mut far) = stream(&edge, &mut connector).await;
    near.accepted().await.unwrap();
    let (sent, mut got) = (pattern(1, DEPTH - 4096), vec![0; DEPTH - 4096]);
    for _ in 0..3 {
        let begun = Instant::now();
        far.write_all(&sent).await.unwrap();
        near.read_exact(&mut got).await.unwrap();
        assert_eq!(got, sent);
        assert!(begun.elapsed() > Duration::from_secs(4), "{:?}", begun.elapsed());
        tokio::time::sleep(Duration::from_secs(20)).await;
    }
    assert_eq!((edge.link.streams(), connector.link.streams()), (1, 1));
}

// F8: four downloads and four uploads at a time, more than the buffers hold, over a line that stands still again and again.
#[tokio::test(start_paused = true)]
async fn a_link_over_a_slow_and_lossy_line_carries_four_streams_to_their_ends() {
    const SIZE: usize = 100 * 1024;
    let (edge, mut connector) = slow_line(Duration::from_millis(2_500)).await;
    let mut ends = Vec::new();
    for _ in 0..4 {
        let (mut near, far) = stream(&edge, &mut connector).await;
        near.accepted().await.unwrap();
        ends.extend([near, far]);
    }
    let mut carrying = tokio::task::JoinSet::new();
    for (n, end) in (0_u64..).zip(ends) {
        carrying.spawn(async move {
            let (mut reader, mut writer) = tokio::io::split(end);
            // The other end of a stream has the number beside it.
            let (says, hears, mut heard) = (pattern(n, SIZE), pattern(n ^ 1, SIZE), vec![0; SIZE]);
            let (said, read) = tokio::join!(writer.write_all(&says), reader.read_exact(&mut heard));
            said.unwrap();
            read.unwrap();
            assert_eq!(heard, hears);
            // Dropped now, what was said might be cut on its way.
            (reader, writer)
        });
    }
    let mut carried = Vec::new();
    while let Some(end) = carrying.join_next().await {
        carried.push(end.unwrap());
    }
    assert_eq!((carried.len(), edge.link.streams(), connector.link.streams()), (8, 4, 4));
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
