//! Memory: whoever takes an answer slowly, or not at all, costs little of it (H14, F22); and where it runs short all the same,
//! nothing new is begun until it is back (F21).

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;
use tunnel_tests::{
    Connector, Edge, EdgeConfig, EvilPeer, Lab, MemoryGroup, PATIENCE, Raw,
    evil_link::{RST, SYN, data, mux},
    http2::Http2,
    process::{long, many_sockets},
    run,
    stage::{APP, WWW},
};

use super::slow::{ANSWER, HELD, PER_READER, POTS, SIP, Site, crowd, p99, slow_reader, small_buffers, until_it_says};

/// Slow readers, and the connectors behind them: no link has to give one up.
fn readers() -> usize {
    if long() { 1000 } else { 600 }
}
const CONNECTORS: usize = 2;
/// How long they are watched, and how long somebody else may wait meanwhile.
const WATCHED: Duration = Duration::from_secs(3);
const NOTICEABLE: Duration = Duration::from_secs(1);

/// The memory that an edge is to make do with, in MiB: about twice what it takes when it has little to do. And what the system
/// ends it for.
const LIMIT: u64 = 160;
const HARD_LIMIT: u64 = 256;
/// More readers than can fill that.
const READERS_MAX: usize = 1500;
/// Links of a connector with bad intentions at a time, and how soon each comes back.
const EVIL: u32 = 4;
const COMES_BACK: Duration = Duration::from_millis(20);

/// F22, H14: who reads slowly, or nothing, holds a window of each thing on the way, and no more; nobody else notices.
#[test]
fn whoever_reads_nothing_costs_little() {
    run("readers", async |lab| {
        many_sockets()?;
        small_buffers(&lab)?;
        let mut site = Site::new(&lab, async |config| Edge::start(&lab, config).await).await?;
        site.connectors(&lab, CONNECTORS).await?;
        site.is_open().await?;
        let before = site.edge.process.rss_kib()?;
        let (mut slow, over) = (JoinSet::new(), CancellationToken::new());
        for raw in crowd(&site, 2, readers(), None, &site.head("GET", &format!("/bytes/{ANSWER}"), "")).await? {
            slow.spawn(slow_reader(raw, over.clone()));
        }
        // No window at all: answers are there, and nothing may be sent.
        let held = site.held(0).await?;
        let (begun, mut visits) = (Instant::now(), Vec::new());
        while begun.elapsed() < WATCHED {
            visits.push(site.is_open().await?);
            sleep(Duration::from_millis(20)).await;
        }
        let count = (slow.len() + HELD) as u64;
        let grown = site.edge.process.rss_kib()?.saturating_sub(before);
        let slowest = p99(visits);
        eprintln!("{count} readers who are slow cost {grown} KiB, {} KiB each; others wait {slowest:?}", grown / count);
        ensure!(grown < count * PER_READER + CONNECTORS as u64 * POTS, "{grown} KiB for {count} readers");
        ensure!(slowest < NOTICEABLE, "others wait for {slowest:?}");
        over.cancel();
        while let Some(taken) = slow.join_next().await {
            ensure!(taken?? > SIP, "a reader got nothing more");
        }
        drop(held);
        site.is_open().await?;
        Ok(())
    });
}

/// A link that floods, one that sends more than it may, or one that leaves half of something to be kept; and then the next one. None
/// is taken while memory is short.
async fn evil(lab: Lab, number: u32) {
    loop {
        if let Ok(peer) = EvilPeer::connector(&lab, APP)
            && let Ok(link) = peer.greeted().await
        {
            let ended = match number % 3 {
                0 => {
                    let piece = |n: u32| [data(3 + 2 * n, SYN, b"x"), mux(0, RST, 3 + 2 * n, 0)].concat();
                    link.until_it_ends(true, piece).await
                }
                1 => link.until_it_ends(true, |_| data(1, 0, &[0; 16_000])).await,
                _ => link.until_it_ends(false, |_| [mux(0, 0, 1, 1 << 20), vec![0; 1 << 19]].concat()).await,
            };
            // It may have been ended with the test's time, which is for the others to say.
            drop(ended);
        }
        sleep(COMES_BACK).await;
    }
}

impl Site {
    /// What somebody gets who is not logged in; 0 for a closed door.
    async fn for_strangers(&self) -> Result<u16> {
        let request = format!("GET / HTTP/1.1\r\nHost: {WWW}\r\nConnection: close\r\n\r\n");
        Ok(self.door()?.ask(request.as_bytes()).await.map_or(0, |answer| answer.status))
    }

    /// Another reader who takes nothing; `None` when nothing new is begun.
    async fn reader(&self) -> Result<Option<Raw>> {
        let Ok(mut raw) = self.door()?.open().await else { return Ok(None) };
        raw.send(self.head("GET", &format!("/bytes/{ANSWER}"), "").as_bytes()).await?;
        let begun = raw.answer(false).await.is_ok_and(|answer| answer.status == 200);
        Ok(begun.then_some(raw))
    }
}

/// F21: first strangers are refused, then whatever is new; what is open goes on, and all is served again once there is memory. The
/// system, which would end the edge at its own limit, never has to, although readers are slow and a connector is evil.
#[test]
fn an_edge_that_is_short_of_memory_begins_nothing_new_and_recovers() {
    run("memory", async |lab| {
        many_sockets()?;
        let group = MemoryGroup::new("edge", HARD_LIMIT)?;
        let limited = async |config: EdgeConfig| {
            let extra = format!("memory = {LIMIT}");
            let config = EdgeConfig { extra, ..config };
            Edge::start_as(&lab, config, |command| group.command(&lab, &command)).await
        };
        let site = Site::new(&lab, limited).await?;
        let _other = Connector::publish(&lab, APP, &site.streams.url()).await?;
        let log = &site.edge.process.log;
        let mut events = site.door()?.open().await?;
        events.send(site.head("GET", "/events", "").as_bytes()).await?;
        let mut got = Vec::new();
        until_it_says(&mut events, &mut got, ": open").await?;
        // A connection that is in use, for what is asked on it later.
        let mut held = Http2::open(&site.door()?).await?;
        let target = format!("/bytes/{ANSWER}");
        assert_eq!(held.ask(&site.fields(&target), None).await?.status(), 200);
        ensure!(site.for_strangers().await? == 401, "strangers are sent to log in");

        let mut links = JoinSet::new();
        for number in 0..EVIL {
            links.spawn(evil(lab.clone(), number));
        }
        let (mut readers, mut strangers) = (Vec::new(), true);
        while let Some(reader) = site.reader().await? {
            readers.push(reader);
            // By and by, so that every step is seen.
            sleep(Duration::from_millis(5)).await;
            if strangers && site.for_strangers().await? == 503 {
                strangers = false;
                site.is_open().await.context("whoever is logged in is served for longer than strangers")?;
            }
            let taken = site.edge.process.rss_kib()? / 1024;
            ensure!(readers.len() < READERS_MAX, "nobody is refused, with {taken} MiB of {LIMIT}");
        }
        ensure!(!strangers, "strangers were served until the end");
        eprintln!("{} readers, {} MiB", readers.len(), site.edge.process.rss_kib()? / 1024);
        log.wait_for("memory is short: less is begun.*Severe|Severe.*memory is short: less is begun").await?;
        let begun = Instant::now();
        while held.ask(&site.fields("/bytes/1000"), None).await?.status() != 503 {
            ensure!(begun.elapsed() < PATIENCE, "a request on an open connection is served");
        }
        // What is open goes on.
        for n in 0..20 {
            ensure!(site.streams.say(&format!("event {n}")) == 1, "the stream is cut");
            until_it_says(&mut events, &mut got, &format!("data: event {n}\n\n")).await?;
        }
        let peak = site.edge.process.peak_rss_kib()? / 1024;
        ensure!(peak < LIMIT + 64, "it grew on to {peak} MiB");
        eprintln!("its group took {} of {HARD_LIMIT} MiB", group.peak()?);
        ensure!(group.killed()? == 0, "the system ended something for want of memory");

        links.shutdown().await;
        drop((readers, held));
        let begun = Instant::now();
        while site.is_open().await.is_err() || site.for_strangers().await? != 401 {
            ensure!(begun.elapsed() < PATIENCE, "the edge does not recover: {}", log.tail(5));
            sleep(Duration::from_millis(100)).await;
        }
        for _ in 0..20 {
            site.is_open().await.context("after all are gone")?;
        }
        ensure!(site.streams.say("the last event") == 1, "the stream is cut");
        until_it_says(&mut events, &mut got, "data: the last event\n\n").await
    });
}
