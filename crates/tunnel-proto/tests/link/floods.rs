//! Peers that send without end what costs them nothing (T6). The clock stands still while they do, so that every budget is
//! that of one second.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::io::AsyncWriteExt;
use tunnel_proto::link::{LinkEnd, Settings};

use crate::{
    evil::{FIN, RST, SYN, data, drain, ends, frame, mux, victim},
    open,
};

/// How a link ends on which `piece` of each number is sent, one after the other, and how many bytes that took.
async fn flooded(count: u32, piece: impl Fn(u32) -> Vec<u8> + Send + 'static) -> (LinkEnd, usize) {
    let (mut welcomed, far) = victim(Settings::default()).await;
    let (reader, mut writer) = tokio::io::split(far);
    drain(reader);
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let flood = tokio::spawn(async move {
        for n in 0..count {
            let piece = piece(n);
            if writer.write_all(&piece).await.is_err() {
                return;
            }
            counted.fetch_add(piece.len(), Relaxed);
        }
        // Nothing more, and not gone either.
        std::future::pending::<()>().await;
    });
    let link = welcomed.link.clone();
    let incoming = async { while welcomed.incoming.next().await.is_some() {} };
    let (end, ()) = tokio::join!(ends(&link), incoming);
    flood.abort();
    (end, sent.load(Relaxed))
}

#[tokio::test(start_paused = true)]
async fn each_flood_ends_its_link() {
    let opening = frame(&open(0).into());
    let (with_end, with_reset) = (opening.clone(), opening);
    let floods: [(&str, (LinkEnd, usize)); 7] = [
        ("window updates of nothing", flooded(60_000, |_| mux(1, 0, 1, 0)).await),
        ("data for a stream that there is not", flooded(60_000, |_| data(99, 0, &[7; 100])).await),
        ("window updates for it", flooded(60_000, |_| mux(1, 0, 99, 1)).await),
        ("resets of it", flooded(60_000, |_| mux(0, RST, 99, 0)).await),
        ("openings that end at once", flooded(60_000, move |n| data(3 + 2 * n, SYN | FIN, &with_end)).await),
        (
            "openings that are reset at once",
            flooded(60_000, move |n| [data(3 + 2 * n, SYN, &with_reset), mux(0, RST, 3 + 2 * n, 0)].concat()).await,
        ),
        ("pings", flooded(1_000, |n| mux(2, SYN, 0, n)).await),
    ];
    for (flood, (end, sent)) in floods {
        println!(
            "{flood}: {} KiB in a second end the link, and with it a handshake's worth of the flooder's work",
            sent / 1024
        );
        assert!(matches!(end, LinkEnd::Protocol(_)), "{end:?} after {flood}");
        // What the flooder could have had read for nothing, at most, before it had to begin anew.
        assert!(sent <= 4 * 1024 * 1024, "{sent} bytes of {flood}");
    }
}

/// What a connector or somebody who is logged in may send, and nobody else.
#[tokio::test(start_paused = true)]
async fn of_whom_nothing_is_known_less_is_borne() {
    for trusted in [false, true] {
        let (welcomed, far) = victim(Settings { stranger: true, ..Settings::default() }).await;
        if trusted {
            welcomed.link.trust();
        }
        let (reader, mut writer) = tokio::io::split(far);
        drain(reader);
        for _ in 0..1_000 {
            // It may have been cut already.
            writer.write_all(&mux(1, 0, 1, 1)).await.ok();
        }
        let end = tokio::time::timeout(Duration::from_secs(1), welcomed.link.closed()).await;
        assert_eq!(matches!(end, Ok(LinkEnd::Protocol(_))), !trusted, "{end:?} where it is trusted: {trusted}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_on_its_way_to_streams_that_are_reset_is_no_flood() {
    let (welcomed, far) = victim(Settings::for_edge()).await;
    let (reader, mut writer) = tokio::io::split(far);
    drain(reader);
    // The windows of 1,024 streams, in whole frames.
    for n in 0..16 * 1024_u32 {
        writer.write_all(&data(2 + 2 * (n % 1024), 0, &[7; 16])).await.unwrap();
    }
    writer.write_all(&data(1, 0, &frame(&tunnel_proto::message::Ping { nonce: 5 }.into()))).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(welcomed.link.open(open(0)).await.is_ok(), "the link lives");
}

#[tokio::test(start_paused = true)]
async fn whoever_takes_nothing_loses_its_link_whatever_signs_of_life_it_gives() {
    let settings = Settings { write_deadline: Duration::from_secs(20), ..Settings::for_edge() };
    let (welcomed, mut far) = victim(settings).await;
    let begun = tokio::time::Instant::now();
    let alive = tokio::spawn(async move {
        while far.write_all(&mux(1, 0, 1, 0)).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    for _ in 0..16 {
        // Full, it takes no openings either, and may end while one waits.
        let Ok(mut stream) = welcomed.link.open(open(0)).await else { break };
        tokio::spawn(async move { while stream.write_all(&[7; 16 * 1024]).await.is_ok() {} });
    }
    let end = ends(&welcomed.link).await;
    assert!(matches!(end, LinkEnd::Late(_)), "{end:?}");
    assert!(begun.elapsed() >= Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    alive.abort();
}
