//! Both sides of a flood: the link that has to bear it, and who floods, by hand. A pipe in memory is between them.

use std::{
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use rustix::time::{ClockId, clock_gettime};
use tokio::{
    io::{AsyncBufReadExt, AsyncWrite, AsyncWriteExt, BufReader, DuplexStream},
    runtime::{Builder, Runtime},
    sync::oneshot,
    time::{sleep, timeout},
};
use tunnel_proto::{
    InstanceId, LinkId,
    link::{self, Link, LinkEnd, MEMORY_MAX, Pending, Settings, Stream, Welcomed},
    message::{Hello, Limits, Message, Role, StreamRefusal},
    mux::{HEADER, flags},
};

use super::floods::{Does, Flood, Peer, data};
use crate::pieces;

/// How long a flood goes on at most.
const FLOOD_TIME: Duration = Duration::from_secs(2);
/// What is received and sent at a time, as a record of TLS holds it.
const RECORD: usize = 16 * 1024;
/// What is under way in each direction between two threads, at most.
const PIPE: usize = 256 * 1024;
/// What an honest peer's bytes are measured by.
const HONEST: u64 = 64 << 20;

/// What it was for the link.
#[derive(Debug)]
pub(super) struct Borne {
    /// Processor time of its thread.
    pub(super) cpu: Duration,
    pub(super) time: Duration,
    /// How it ended. `None`: not in time.
    pub(super) end: Option<LinkEnd>,
}

/// What was sent.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) bytes: u64,
    pub(super) frames: u64,
    /// What the link held unread meanwhile, at most, in bytes.
    pub(super) held: usize,
}

/// Floods a link from another thread, as fast as it takes it.
///
/// # Errors
/// There was no link to flood.
pub(super) fn timed(peer: Peer, flood: &Flood) -> Result<(Borne, Sent)> {
    let (near, far) = tokio::io::duplex(PIPE);
    let (ready, begin) = oneshot::channel();
    thread::scope(|scope| {
        let bearing = scope.spawn(move || alone(bear(near, peer, flood, ready)));
        let flooding = scope.spawn(move || alone(attack(far, peer, flood, RECORD, begin)));
        anyhow::Ok((joined(bearing)?, joined(flooding)?))
    })
}

/// Floods a link on one thread, where nothing is sent before what came before it was taken: how much it takes.
///
/// # Errors
/// There was no link to flood.
pub(super) fn counted(peer: Peer, flood: &Flood) -> Result<(Borne, Sent)> {
    let (near, far) = tokio::io::duplex((flood.piece)(peer, 0).map_or(HEADER, |piece| piece.len()));
    let (ready, begin) = oneshot::channel();
    alone(async {
        let (borne, sent) = tokio::join!(bear(near, peer, flood, ready), attack(far, peer, flood, 1, begin));
        anyhow::Ok((borne?, sent?))
    })
}

/// The processor time that each byte of an honest connector costs a link, in nanoseconds: one stream, as much as it takes.
///
/// # Errors
/// It did not work.
pub(super) fn honest() -> Result<f64> {
    let (near, far) = tokio::io::duplex(PIPE);
    let cpu = thread::scope(|scope| {
        let taking = scope.spawn(move || alone(take(near)));
        let sending = scope.spawn(move || alone(send(far)));
        let cpu = joined(taking)?;
        joined(sending)?;
        anyhow::Ok(cpu)
    })?;
    Ok(cpu.as_nanos() as f64 / HONEST as f64)
}

fn alone<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime: Runtime = Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(work)
}

fn joined<T>(side: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    side.join().map_err(|_| anyhow!("one side panicked"))?
}

/// What this thread has used. The scheduler's own figures (`schedstat`) lag behind by a tick for a thread that runs.
fn thread_cpu() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap()
}

/// The link, from the moment when it is up.
async fn bear(near: DuplexStream, peer: Peer, flood: &Flood, ready: oneshot::Sender<Link>) -> Result<Borne> {
    let Welcomed { link, mut incoming, mut control, .. } = welcomed(near, peer.role(), peer.settings()).await?;
    if peer == Peer::Client {
        link.set_memory(MEMORY_MAX);
        link.trust();
    }
    let mut streams = Vec::new();
    for _ in 0..flood.opened_to(peer) {
        streams.push(link.open(pieces::opening()).await?);
    }
    let (begun, before) = (Instant::now(), thread_cpu());
    ready.send(link.clone()).map_err(|_| anyhow!("nobody is there to flood"))?;
    for stream in streams {
        tokio::spawn(using(stream, flood.does));
    }
    let serving = async {
        loop {
            tokio::select! {
                message = control.next() => if message.is_none() { return },
                pending = incoming.next() => match pending {
                    Some(pending) => {
                        tokio::spawn(answer(pending, peer, flood.does));
                    }
                    None => return,
                },
            }
        }
    };
    let (end, ()) = tokio::join!(timeout(FLOOD_TIME, link.closed()), async {
        // It may be over before, and is not where the link lives.
        timeout(FLOOD_TIME, serving).await.ok();
    });
    Ok(Borne { cpu: thread_cpu().saturating_sub(before), time: begun.elapsed(), end: end.ok() })
}

async fn welcomed(near: DuplexStream, role: Role, settings: Settings) -> Result<Welcomed> {
    let greeting = link::accept(BufReader::with_capacity(RECORD, near), role, settings).await?;
    Ok(greeting.welcome(LinkId::from_random([7; 16]), Limits::default(), Vec::new()).await?)
}

async fn answer(pending: Pending, peer: Peer, does: Does) {
    if peer == Peer::Stranger {
        pending.refuse(StreamRefusal::NotGranted, "the link has no such grant, or it has ended").await;
    } else if let Ok(stream) = pending.accept().await {
        using(stream, does).await;
    }
}

async fn using(mut stream: Stream, does: Does) {
    match does {
        Does::Hold => std::future::pending().await,
        Does::Send => while stream.write_all(&[7; RECORD]).await.is_ok() {},
        Does::Read => loop {
            let count = stream.fill_buf().await.map_or(0, |bytes| bytes.len());
            if count == 0 {
                return;
            }
            stream.consume(count);
        },
    }
}

/// Who floods: greets as it should, and then sends `at_once` bytes at a time, or a piece if that is more.
async fn attack(
    far: DuplexStream,
    peer: Peer,
    flood: &Flood,
    at_once: usize,
    begin: oneshot::Receiver<Link>,
) -> Result<Sent> {
    let (mut reader, mut writer) = tokio::io::split(far);
    writer.write_all(&data(1, flags::SYN, &Message::from(hello(peer.role())).encode()?)).await?;
    let reading = tokio::spawn(async move { tokio::io::copy(&mut reader, &mut tokio::io::sink()).await });
    let link = begin.await?;
    if !flood.reads_answers {
        reading.abort();
    }
    let mut sent = Sent::default();
    tokio::select! {
        _ = link.closed() => {}
        () = sleep(FLOOD_TIME) => {}
        () = sent.flood(&mut writer, &link, peer, flood, at_once) => {}
    }
    Ok(sent)
}

impl Sent {
    async fn flood(
        &mut self,
        writer: &mut (impl AsyncWrite + Unpin),
        link: &Link,
        peer: Peer,
        flood: &Flood,
        at_once: usize,
    ) {
        let at_once = if flood.pace.is_some() { 1 } else { at_once };
        let (mut pieces, mut batch) = (flood.pieces(peer), Vec::<u8>::new());
        loop {
            batch.clear();
            while batch.len() < at_once
                && let Some(piece) = pieces.next()
            {
                batch.extend_from_slice(&piece);
            }
            if batch.is_empty() {
                // Nothing more, and not gone either.
                return std::future::pending().await;
            }
            if !self.send(writer, link, &batch).await {
                return;
            }
            if let Some(pace) = flood.pace {
                sleep(pace).await;
            }
        }
    }

    /// Sends whole frames; whether all of them could be.
    async fn send(&mut self, writer: &mut (impl AsyncWrite + Unpin), link: &Link, batch: &[u8]) -> bool {
        let (before, mut at) = (self.frames, 0);
        while at < batch.len() {
            let Ok(count @ 1..) = writer.write(&batch[at..]).await else { return false };
            at += count;
            self.bytes += count as u64;
            self.frames = before + frames(&batch[..at]);
            self.held = self.held.max(link.buffered());
        }
        true
    }
}

/// How many frames have begun.
fn frames(mut bytes: &[u8]) -> u64 {
    let mut count = 0;
    while let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() {
        // Only data has something behind the header.
        let body = if header[1] == 0 { u32::from_be_bytes([header[8], header[9], header[10], header[11]]) } else { 0 };
        bytes = rest.get(body as usize..).unwrap_or_default();
        count += 1;
    }
    count
}

fn hello(role: Role) -> Hello {
    Hello::new(role, "bench", InstanceId::from_random([3; 16]))
}

/// Takes what an honest connector sends; what that took.
async fn take(near: DuplexStream) -> Result<Duration> {
    let welcomed = welcomed(near, Role::Connector, Settings::for_edge()).await?;
    let mut stream = welcomed.link.open(pieces::opening()).await?;
    stream.accepted().await?;
    let (before, mut taken) = (thread_cpu(), 0);
    while taken < HONEST {
        let count = stream.fill_buf().await?.len();
        ensure!(count > 0, "the stream ended early");
        stream.consume(count);
        taken += count as u64;
    }
    Ok(thread_cpu().saturating_sub(before))
}

/// An honest connector, which sends until the other side has what it wants, and goes.
async fn send(far: DuplexStream) -> Result<()> {
    let far = BufReader::with_capacity(RECORD, far);
    let mut connected = link::connect(far, hello(Role::Connector), Settings::default()).await?;
    let mut stream = connected.incoming.next().await.context("a stream")?.accept().await?;
    let piece = vec![7; 64 * 1024];
    while stream.write_all(&piece).await.is_ok() {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use tunnel_proto::mux::Kind;

    use super::*;
    use crate::attack::floods::{FLOODS, bare};

    #[test]
    fn frames_are_counted_once_their_headers_are_whole() {
        let both = [data(1, 0, b"abc"), bare(Kind::Ping, flags::SYN, 0, 1_000)].concat();
        assert_eq!((frames(&both), frames(&both[..20]), frames(&both[..12]), frames(&both[..11])), (2, 1, 1, 0));
    }

    // T6
    #[test]
    fn a_flood_is_counted_to_the_frame_that_ends_its_link() {
        let pings = FLOODS.iter().find(|flood| flood.name == "pings").unwrap();
        for peer in Peer::ALL {
            for (borne, sent) in [counted(peer, pings).unwrap(), timed(peer, pings).unwrap()] {
                assert!(matches!(borne.end, Some(LinkEnd::Protocol(_))), "{borne:?}");
                assert!(sent.frames >= 64, "{sent:?}");
            }
            // Those of a second, or of two if it began anew meanwhile; one too many, and one that was on its way.
            let (_, sent) = counted(peer, pings).unwrap();
            assert!((65..=130).contains(&sent.frames) && sent.bytes / 12 == sent.frames, "{sent:?}");
        }
    }
}
