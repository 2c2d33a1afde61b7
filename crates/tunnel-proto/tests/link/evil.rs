//! Peers that speak the multiplexer by hand (T6).

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tunnel_proto::{
    LinkId, Revision,
    link::{self, LinkEnd, Settings, Welcomed},
    message::{Limits, Message, Role, TableAccepted},
};

use crate::{hello, open};

pub(crate) const SYN: u16 = 1;
pub(crate) const FIN: u16 = 4;
pub(crate) const RST: u16 = 8;

pub(crate) fn mux(kind: u8, flags: u16, stream: u32, len: u32) -> Vec<u8> {
    let mut bytes = vec![0, kind];
    bytes.extend(flags.to_be_bytes());
    bytes.extend(stream.to_be_bytes());
    bytes.extend(len.to_be_bytes());
    bytes
}

pub(crate) fn data(stream: u32, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = mux(0, flags, stream, body.len() as u32);
    bytes.extend(body);
    bytes
}

pub(crate) fn frame(message: &Message) -> Vec<u8> {
    message.encode().unwrap()
}

/// What data frames carried for one stream.
pub(crate) fn payload(mut bytes: &[u8], stream: u32) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<12>() {
        let len = if header[1] == 0 { u32::from_be_bytes(header[8..12].try_into().unwrap()) as usize } else { 0 };
        if header[1] == 0 && header[4..8] == stream.to_be_bytes() {
            all.extend(&rest[..len]);
        }
        bytes = &rest[len..];
    }
    all
}

/// A link whose other end is ours to write by hand, after an honest greeting.
pub(crate) async fn victim(settings: Settings) -> (Welcomed, DuplexStream) {
    let (near, mut far) = tokio::io::duplex(1 << 20);
    far.write_all(&data(1, SYN, &frame(&hello().into()))).await.unwrap();
    let greeting = link::accept(tokio::io::BufReader::new(near), Role::Connector, settings).await.unwrap();
    let welcomed = greeting.welcome(LinkId::from_random([7; 16]), Limits::default(), vec![]).await.unwrap();
    (welcomed, far)
}

/// Reads and forgets, so that the victim is never blocked.
pub(crate) fn drain(mut reader: impl AsyncRead + Send + Unpin + 'static) {
    tokio::spawn(async move { tokio::io::copy(&mut reader, &mut tokio::io::sink()).await });
}

pub(crate) async fn ends(link: &tunnel_proto::link::Link) -> LinkEnd {
    tokio::time::timeout(Duration::from_secs(60), link.closed()).await.expect("the link ends")
}

// T6
#[tokio::test]
async fn broken_rules_of_the_multiplexer_end_the_link_at_once() {
    for bytes in [
        vec![1; 12],
        mux(9, 0, 3, 0),
        // More than the window, and more than any frame.
        mux(0, 0, 1, 1 << 24),
        data(1, 0, &[0; 300_000]),
        // A stream of the wrong side, and one that exists.
        data(2, SYN, b"x"),
        data(1, SYN, b"x"),
        // A credit beyond any window.
        [mux(1, 0, 1, u32::MAX), mux(1, 0, 1, u32::MAX)].concat(),
        // A pong nobody asked for.
        mux(2, 2, 0, 77),
    ] {
        let (welcomed, far) = victim(Settings::default()).await;
        let (reader, mut writer) = tokio::io::split(far);
        drain(reader);
        writer.write_all(&bytes).await.unwrap();
        let end = ends(&welcomed.link).await;
        assert!(matches!(end, LinkEnd::Protocol(_)), "{end:?} after {:?}", &bytes[..12]);
    }
}

// T6
#[tokio::test]
async fn a_frame_that_no_window_has_room_for_ends_the_link_at_once() {
    // On the control stream, which is never taken away, and as the first of a stream that nobody has yet.
    for header in [mux(0, 0, 1, 1 << 20), mux(0, SYN, 3, 1 << 20)] {
        let settings = Settings { memory: 1 << 20, accepts_streams: true, ..Settings::default() };
        let (welcomed, far) = victim(settings).await;
        let (reader, mut writer) = tokio::io::split(far);
        drain(reader);
        writer.write_all(&header).await.unwrap();
        let end = tokio::time::timeout(Duration::from_secs(5), welcomed.link.closed()).await;
        // No window is as wide.
        assert!(matches!(end, Ok(LinkEnd::Protocol(_))), "{end:?}");
    }
}

// T6
#[tokio::test]
async fn a_connector_that_opens_a_stream_loses_its_link() {
    let (welcomed, mut far) = victim(Settings::for_edge()).await;
    far.write_all(&data(3, SYN, &frame(&open(0).into()))).await.unwrap();
    assert!(matches!(ends(&welcomed.link).await, LinkEnd::Protocol(_)));
}

// T5
#[tokio::test]
async fn an_unknown_critical_frame_ends_the_link_and_an_ignorable_one_does_not() {
    let (welcomed, mut far) = victim(Settings::for_edge()).await;
    far.write_all(&data(1, 0, &[0xff, 0, 0, 3, 1, 2, 3])).await.unwrap();
    // Reserved, and marked as one to skip.
    far.write_all(&data(1, 0, &[0x95, 0, 0, 0])).await.unwrap();
    far.write_all(&data(1, 0, &frame(&tunnel_proto::message::Ping { nonce: 5 }.into()))).await.unwrap();
    let mut seen = Vec::new();
    while !seen.windows(7).any(|window| window == [0x09, 0, 0, 3, 0xa1, 0, 5]) {
        assert!(far.read_buf(&mut seen).await.unwrap() > 0, "the ping is answered");
    }
    far.write_all(&data(1, 0, &[0x7f, 0, 0, 0])).await.unwrap();
    assert!(matches!(ends(&welcomed.link).await, LinkEnd::Protocol(_)));
}

// T5
#[tokio::test]
async fn a_known_frame_from_the_wrong_side_ends_the_link() {
    for bytes in [
        frame(&TableAccepted { revision: Revision(1) }.into()),
        frame(&hello().into()),
        frame(&open(0).into()),
        // Of `tunnel-access/1`.
        vec![0x30, 0, 0, 1, 0xa0],
    ] {
        let (welcomed, mut far) = victim(Settings::for_edge()).await;
        far.write_all(&data(1, 0, &bytes)).await.unwrap();
        assert!(matches!(ends(&welcomed.link).await, LinkEnd::Protocol(_)), "{bytes:?}");
    }
}

/// Reads what the victim says on `stream`, up to a frame that begins with `tag`.
async fn says(far: &mut DuplexStream, stream: u32, tag: u8) -> Vec<u8> {
    let mut seen = Vec::new();
    loop {
        let said = payload(&whole_frames(&seen), stream);
        if said.first() == Some(&tag) {
            return said;
        }
        assert!(far.read_buf(&mut seen).await.unwrap() > 0, "{tag:#x} is said");
    }
}

/// The multiplexer's frames that have arrived to their end.
fn whole_frames(bytes: &[u8]) -> Vec<u8> {
    let mut end = 0;
    while let Some(header) = bytes.get(end..end + 12) {
        let len = if header[1] == 0 { u32::from_be_bytes(header[8..12].try_into().unwrap()) as usize } else { 0 };
        if bytes.len() < end + 12 + len {
            break;
        }
        end += 12 + len;
    }
    bytes[..end].to_vec()
}

// T5
#[tokio::test]
async fn a_stream_that_does_not_begin_as_it_should_is_refused_and_the_link_lives() {
    for opening in [
        frame(&TableAccepted { revision: Revision(1) }.into()),
        vec![0x7f, 0, 0, 0],
        // Longer than an opening may be; not what it says to be.
        vec![0x40, 0, 0x10, 0x01],
        vec![0x40, 0, 0, 1, 0xa0],
    ] {
        let (mut welcomed, mut far) = victim(Settings::default()).await;
        far.write_all(&data(3, SYN, &opening)).await.unwrap();
        far.write_all(&data(5, SYN, &frame(&open(42).into()))).await.unwrap();
        assert_eq!(crate::rule_of(&welcomed.incoming.next().await.unwrap()), 42, "after {opening:?}");
        let next = tokio::spawn(async move { welcomed.incoming.next().await });
        let said = says(&mut far, 3, 0x42).await;
        let (refused, _) = Message::parse(&said, tunnel_proto::version::Version::V1).unwrap();
        let Some(Message::StreamRefused(refused)) = refused else { panic!("{said:?}") };
        assert_eq!(refused.code, tunnel_proto::message::StreamRefusal::Malformed, "after {opening:?}");
        next.abort();
    }
}

// T5
#[tokio::test]
async fn an_answer_that_is_none_fails_its_stream_and_the_link_lives() {
    for answer in [frame(&hello().into()), vec![0x7f, 0, 0, 0], vec![0x42, 0, 0x10, 0x01], vec![0x42, 0, 0, 1, 0xa0]] {
        let (welcomed, mut far) = victim(Settings::for_edge()).await;
        let mut stream = welcomed.link.open(open(0)).await.unwrap();
        says(&mut far, 2, 0x40).await;
        far.write_all(&data(2, 2, &answer)).await.unwrap();
        let error = stream.accepted().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "after {answer:?}");
        drop(stream);
        far.write_all(&data(1, 0, &frame(&tunnel_proto::message::Ping { nonce: 5 }.into()))).await.unwrap();
        let mut seen = Vec::new();
        while !seen.windows(7).any(|window| window == [0x09, 0, 0, 3, 0xa1, 0, 5]) {
            assert!(far.read_buf(&mut seen).await.unwrap() > 0, "the link lives");
        }
    }
}

// T6: a withheld body.
#[tokio::test(start_paused = true)]
async fn a_frame_that_is_not_finished_ends_the_link_after_ten_seconds() {
    let (welcomed, mut far) = victim(Settings::default()).await;
    far.write_all(&mux(0, 0, 1, 1000)).await.unwrap();
    let start = tokio::time::Instant::now();
    assert!(matches!(ends(&welcomed.link).await, LinkEnd::Late(_)));
    assert!(start.elapsed() <= Duration::from_secs(11));
}

// T6: frames of one byte cost far more than they carry, and that is what counts.
#[tokio::test]
async fn frames_of_one_byte_stay_within_the_budget() {
    let budget = 1 << 20;
    let (mut welcomed, far) = victim(Settings { memory: budget, ..Settings::default() }).await;
    let (reader, mut writer) = tokio::io::split(far);
    drain(reader);
    let link = welcomed.link.clone();
    let send = tokio::spawn(async move {
        for id in 0..40_u32 {
            let id = 3 + 2 * id;
            writer.write_all(&data(id, SYN, &frame(&open(0).into()))).await?;
            let drizzle = data(id, 0, b"x").repeat(1000);
            for _ in 0..20 {
                writer.write_all(&drizzle).await?;
            }
        }
        io::Result::Ok(writer)
    });
    let mut held = Vec::new();
    let watch = async {
        while let Some(pending) = welcomed.incoming.next().await {
            held.push(pending);
            assert!(link.buffered() <= budget + budget / 4, "{}", link.buffered());
        }
    };
    tokio::select! {
        () = watch => {}
        sent = send => drop(sent),
    }
    assert!(link.buffered() <= budget + budget / 4, "{}", link.buffered());
}

// T6: openings and resets in haste.
#[tokio::test]
async fn openings_reset_at_once_leave_nothing_behind() {
    let (mut welcomed, far) = victim(Settings::default()).await;
    let (reader, mut writer) = tokio::io::split(far);
    drain(reader);
    tokio::spawn(async move {
        let mut bytes = Vec::new();
        for id in 0..900_u32 {
            bytes.extend(data(3 + 2 * id, SYN, &frame(&open(0).into())));
            bytes.extend(mux(0, RST, 3 + 2 * id, 0));
        }
        bytes.extend(data(99_999, SYN | FIN, &frame(&open(42).into())));
        writer.write_all(&bytes).await.unwrap();
        std::future::pending::<()>().await;
    });
    loop {
        match welcomed.incoming.next().await {
            Some(pending) if crate::rule_of(&pending) == 42 => break,
            Some(pending) => drop(pending),
            None => {
                // Cut off as a flood is as good.
                let end = ends(&welcomed.link).await;
                assert!(matches!(end, LinkEnd::Protocol(_)), "{end:?}");
                return;
            }
        }
    }
    welcomed.link.idle().await;
    crate::empty(&welcomed.link).await;
}

// T6
#[tokio::test]
async fn whoever_learns_that_nothing_more_is_said_learns_why() {
    for _ in 0..20 {
        let (mut welcomed, mut far) = victim(Settings::for_edge()).await;
        far.write_all(&data(1, 0, &[0x7f, 0, 0, 0])).await.unwrap();
        assert!(welcomed.control.next().await.is_none());
        let end = tokio::time::timeout(Duration::ZERO, welcomed.link.closed()).await;
        assert!(matches!(end, Ok(LinkEnd::Protocol(_))), "{end:?}");
    }
}

// T6
#[tokio::test]
async fn a_flood_of_pings_ends_the_link() {
    let (welcomed, far) = victim(Settings::default()).await;
    let (reader, mut writer) = tokio::io::split(far);
    drain(reader);
    writer.write_all(&mux(2, SYN, 0, 1).repeat(1000)).await.ok();
    assert!(matches!(ends(&welcomed.link).await, LinkEnd::Protocol(_)));
}

#[tokio::test]
async fn a_panic_below_stays_in_the_links_task() {
    struct Panics;
    impl AsyncRead for Panics {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            panic!("on purpose")
        }
    }
    impl AsyncWrite for Panics {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(buf.len()))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }
    let error =
        link::accept(tokio::io::BufReader::new(Panics), Role::Connector, Settings::default()).await.unwrap_err();
    assert_eq!(error, link::AcceptError::Lost(LinkEnd::Aborted));
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let id = prop_oneof![Just(0_u32), Just(1), Just(2), 3..12_u32, any::<u32>()];
    let len = prop_oneof![0..64_u32, Just(u32::MAX), any::<u32>()];
    (0..5_u8, 0..16_u16, id, len, proptest::collection::vec(any::<u8>(), 0..64), any::<bool>()).prop_map(
        |(kind, flags, id, len, body, honest)| if honest { data(id, flags, &body) } else { mux(kind, flags, id, len) },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    // T6
    #[test]
    fn whatever_a_peer_sends_the_link_ends_without_a_panic(
        frames in proptest::collection::vec(any_frame(), 0..20),
        tail in proptest::collection::vec(any::<u8>(), 0..40),
        greets in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (near, mut far) = tokio::io::duplex(1 << 16);
            let mut bytes = if greets { data(1, SYN, &frame(&hello().into())) } else { Vec::new() };
            bytes.extend(frames.concat());
            bytes.extend(tail);
            let evil = async {
                far.write_all(&bytes).await.ok();
                far.shutdown().await.ok();
                tokio::io::copy(&mut far, &mut tokio::io::sink()).await.ok();
            };
            let honest = async {
                match link::accept(tokio::io::BufReader::new(near), Role::Connector, Settings::default()).await {
                    Ok(greeting) => {
                        let welcomed = greeting.welcome(LinkId::from_bytes([0; 16]), Limits::default(), vec![]).await;
                        if let Ok(mut welcomed) = welcomed {
                            while let Some(pending) = welcomed.incoming.next().await {
                                drop(pending.accept().await);
                            }
                            assert_ne!(welcomed.link.closed().await, LinkEnd::Aborted);
                        }
                    }
                    Err(error) => assert_ne!(error, link::AcceptError::Lost(LinkEnd::Aborted)),
                }
            };
            tokio::join!(evil, honest);
        });
    }
}
