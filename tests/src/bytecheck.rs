//! Bytes through a way and back, every one of which is known: many streams at once in both directions, with slow readers and
//! with ends in every order. The first byte that is lost, doubled, out of order, of another stream or damaged is reported.
//!
//! A [`Plan`] says what is carried; its seed decides lengths, pieces, pauses and ends. [`Service`] is the far end,
//! [`exchange`] the near one.

mod checker;

use std::{collections::HashSet, net::SocketAddr, sync::Arc, sync::Mutex, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

pub use checker::{BLOCK, Checker, Fault, Flow, Random, Wrong, block, flow_of};

/// The longest piece that is written or read at once.
const PIECE: usize = 40 * 1024;
/// The longest piece that a slow reader takes.
const SLOW_PIECE: usize = 8 * 1024;
/// How long a slow reader rests after each piece.
const SLOW_REST: Duration = Duration::from_millis(1);
/// How long a slow reader stops half-way: long enough for everything on the way to fill up.
const SLOW_STOP: Duration = Duration::from_millis(500);
/// Of so many streams one has a slow reader at one end, and another one at the other.
const SLOW_EVERY: u32 = 4;

/// How long one end is waited for when the other has failed.
const AFTERMATH: Duration = Duration::from_secs(5);

/// What is carried.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Decides all that is not said here.
    pub seed: u64,
    /// Streams at once.
    pub streams: u32,
    /// Bytes in each direction of each stream, give or take a tenth.
    pub bytes: u64,
    /// Whether a direction can end by itself.
    pub half_close: bool,
}

/// One end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client,
    Service,
}

/// In which order a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Each direction as soon as it has said all.
    Freely,
    /// This side's direction first; the other one goes on for long.
    First(Side),
    /// The client's direction once it has received everything; then the other one.
    Whole,
}

/// How far the reading of one side has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Heard {
    Some,
    Everything,
    TheEnd,
}

impl Plan {
    fn random(&self, stream: u32, purpose: u64) -> Random {
        Random::new(self.seed.wrapping_mul(31).wrapping_add(u64::from(stream)).rotate_left(32) ^ purpose)
    }

    /// What a side sends on a stream, and how long it is.
    fn flow(&self, stream: u32, side: Side) -> (Flow, u64) {
        let flow = stream * 2 + u32::from(side == Side::Service);
        let tenth = usize::try_from(self.bytes / 10).unwrap().max(1);
        (Flow(flow), self.bytes + self.random(flow, 1).up_to(2 * tenth) as u64 - tenth as u64)
    }

    fn ending(&self, stream: u32) -> Ending {
        match (self.half_close, self.random(stream, 2).up_to(3)) {
            (false, _) => Ending::Whole,
            (true, 1) => Ending::First(Side::Client),
            (true, 2) => Ending::First(Side::Service),
            (true, _) => Ending::Freely,
        }
    }

    fn is_slow(stream: u32, side: Side) -> bool {
        stream % SLOW_EVERY == u32::from(side == Side::Service)
    }
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Client => Self::Service,
            Self::Service => Self::Client,
        }
    }
}

/// Both directions of one stream, as one side has them. `begun` was read already.
async fn converse(io: impl AsyncRead + AsyncWrite, plan: Plan, stream: u32, side: Side, begun: &[u8]) -> Result<u64> {
    let (mut reader, mut writer) = tokio::io::split(io);
    let (hear, heard) = watch::channel(Heard::Some);
    let (ours, theirs) = (plan.flow(stream, side), plan.flow(stream, side.other()));
    let receiving = async {
        let mut random = plan.random(stream, 3 + side as u64);
        let (mut checker, mut buffer, mut stop) = (Checker::new(plan.seed, theirs.0, theirs.1), vec![0; PIECE], true);
        let (mut count, slow) = (begun.len() as u64, Plan::is_slow(stream, side));
        checker.take(begun)?;
        loop {
            let most = random.up_to(if slow { SLOW_PIECE } else { PIECE });
            let read =
                reader.read(&mut buffer[..most]).await.with_context(|| format!("reading, after {count} bytes"))?;
            if read == 0 {
                break;
            }
            count += read as u64;
            checker.take(&buffer[..read])?;
            if checker.is_complete() {
                hear.send_replace(Heard::Everything);
            }
            if slow {
                let rest = if stop && count > theirs.1 / 2 { SLOW_STOP } else { SLOW_REST };
                stop &= rest == SLOW_REST;
                sleep(rest).await;
            }
        }
        checker.end()?;
        hear.send_replace(Heard::TheEnd);
        anyhow::Ok(count)
    };
    let sending = async {
        let mut heard = heard.clone();
        let mut wait_for = async |wanted: Heard| heard.wait_for(|heard| *heard >= wanted).await.map(|_| ());
        let ending = plan.ending(stream);
        let mut random = plan.random(stream, 5 + side as u64);
        // Whoever is not to end first keeps half of it until the other direction has ended.
        let mut hold = ending == Ending::First(side.other());
        let (mut queue, mut made, mut sent) = (Vec::new(), 0, 0);
        while sent < ours.1 {
            if hold && sent >= ours.1 / 2 {
                wait_for(Heard::TheEnd).await?;
                hold = false;
            }
            while queue.len() < PIECE && made < ours.1 {
                let block = block(plan.seed, ours.0, made);
                let len = usize::try_from(ours.1 - made).unwrap().min(BLOCK);
                queue.extend_from_slice(&block[..len]);
                made += len as u64;
            }
            let len = random.up_to(PIECE).min(queue.len());
            writer.write_all(&queue[..len]).await.with_context(|| format!("writing, after {sent} bytes"))?;
            writer.flush().await?;
            queue.drain(..len);
            sent += len as u64;
        }
        match (ending, side) {
            (Ending::Whole, Side::Client) => wait_for(Heard::Everything).await?,
            (Ending::Whole, Side::Service) => wait_for(Heard::TheEnd).await?,
            _ => {}
        }
        // With both ends in one go, the other one may be faster.
        writer.shutdown().await.or_else(|error| if ending == Ending::Whole { Ok(()) } else { Err(error) })?;
        anyhow::Ok(())
    };
    let (count, ()) = tokio::try_join!(receiving, sending)?;
    Ok(count)
}

/// The far end: a TCP service on 127.0.0.1.
#[derive(Debug)]
pub struct Service {
    address: SocketAddr,
    plan: Plan,
    outcomes: JoinSet<Result<u64>>,
}

impl Service {
    /// Listens for the streams of a plan.
    ///
    /// # Errors
    /// No port.
    pub async fn start(plan: Plan) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let mut outcomes = JoinSet::new();
        outcomes.spawn(serve(listener, plan));
        Ok(Self { address, plan, outcomes })
    }

    /// The service as a connector publishes it.
    pub fn url(&self) -> String {
        format!("tcp://{}", self.address)
    }
}

/// Takes as many connections as a plan has streams, each of which says which one it is; how many bytes came.
async fn serve(listener: TcpListener, plan: Plan) -> Result<u64> {
    let (seen, mut streams) = (Arc::new(Mutex::new(HashSet::new())), JoinSet::new());
    for _ in 0..plan.streams {
        let (mut tcp, _) = listener.accept().await?;
        let seen = seen.clone();
        streams.spawn(async move {
            let mut begun = vec![0; size_of::<u32>()];
            tcp.read_exact(&mut begun).await.context("the beginning of a stream")?;
            let Some(Flow(flow)) = flow_of(&begun) else { bail!("no flow") };
            ensure!(flow % 2 == 0 && flow / 2 < plan.streams, "no client has a flow {flow}");
            ensure!(seen.lock().unwrap().insert(flow), "the flow {flow} came twice");
            let heard = converse(tcp, plan, flow / 2, Side::Service, &begun).await;
            heard.with_context(|| format!("at the service of stream {}", flow / 2))
        });
    }
    sum(streams).await
}

/// Carries everything over what `connect` makes for each stream, all at once, and waits for both ends; how many bytes came.
///
/// # Errors
/// A byte was not what it should have been; the message says which. Or it took longer than `limit`.
pub async fn exchange<F, T>(service: Service, limit: Duration, connect: impl Fn(u32) -> F) -> Result<u64>
where
    F: Future<Output = Result<T>> + Send + 'static,
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    let (plan, mut streams) = (service.plan, JoinSet::new());
    for stream in 0..plan.streams {
        let connecting = connect(stream);
        streams.spawn(async move {
            let heard = async { converse(connecting.await?, plan, stream, Side::Client, &[]).await }.await;
            heard.with_context(|| format!("at the client of stream {stream}, {:?}", plan.ending(stream)))
        });
    }
    let mut ends = service.outcomes;
    ends.spawn(sum(streams));
    let both = async {
        let first = ends.join_next().await.context("two ends")??;
        match (first, ends.join_next()) {
            (Ok(first), second) => Ok(first + second.await.context("two ends")???),
            // What one end met says more together with what the other did.
            (Err(first), second) => match timeout(AFTERMATH, second).await {
                Ok(Some(Ok(Err(second)))) => bail!("{first:#}; {second:#}"),
                _ => Err(first),
            },
        }
    };
    timeout(limit, both).await.with_context(|| format!("{plan:?} was not carried within {limit:?}"))?
}

async fn sum(mut streams: JoinSet<Result<u64>>) -> Result<u64> {
    let mut sum = 0;
    while let Some(stream) = streams.join_next().await {
        sum += stream??;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    const PLAN: Plan = Plan { seed: 1, streams: 8, bytes: 300_000, half_close: true };
    const LIMIT: Duration = Duration::from_secs(60);

    /// A way that takes what the `nth` connection brings through `change`, piece by piece.
    async fn way(to: SocketAddr, change: impl Fn(usize, &mut Vec<u8>) + Send + Sync + 'static) -> Result<SocketAddr> {
        let (listener, change) = (TcpListener::bind("127.0.0.1:0").await?, Arc::new(change));
        let here = listener.local_addr()?;
        tokio::spawn(async move {
            for nth in 0.. {
                let (Ok((near, _)), change) = (listener.accept().await, change.clone()) else { return };
                tokio::spawn(async move {
                    let (mut from_near, mut to_near) = near.into_split();
                    let (mut from_far, mut to_far) = TcpStream::connect(to).await?.into_split();
                    let back = tokio::spawn(async move {
                        tokio::io::copy(&mut from_far, &mut to_near).await?;
                        to_near.shutdown().await
                    });
                    let mut buffer = vec![0; 10_000];
                    while let Ok(n @ 1..) = from_near.read(&mut buffer).await {
                        let mut piece = buffer[..n].to_vec();
                        change(nth, &mut piece);
                        to_far.write_all(&piece).await?;
                    }
                    to_far.shutdown().await?;
                    back.await?
                });
            }
        });
        Ok(here)
    }

    async fn carried(plan: Plan, change: impl Fn(usize, &mut Vec<u8>) + Send + Sync + 'static) -> Result<u64> {
        let service = Service::start(plan).await?;
        let address = way(service.address, change).await?;
        exchange(service, LIMIT, move |_| async move { Ok(TcpStream::connect(address).await?) }).await
    }

    #[tokio::test]
    async fn an_honest_way_is_found_honest() {
        for seed in 1..4 {
            for half_close in [true, false] {
                let plan = Plan { seed, half_close, ..PLAN };
                let all: u64 = (0..plan.streams)
                    .flat_map(|n| [Side::Client, Side::Service].map(|side| plan.flow(n, side).1))
                    .sum();
                assert_eq!(carried(plan, |_, _| ()).await.unwrap(), all);
            }
        }
        let endings: HashSet<_> = (0..PLAN.streams).map(|n| format!("{:?}", PLAN.ending(n))).collect();
        assert_eq!(endings.len(), 3, "a plan has all the ends: {endings:?}");
    }

    #[tokio::test]
    async fn a_way_that_drops_or_doubles_or_mixes_is_found_out() {
        let stray = block(PLAN.seed, Flow(2), 0);
        let once = |what: fn(&mut Vec<u8>, &[u8])| {
            let (stray, pieces) = (stray.clone(), std::sync::atomic::AtomicUsize::new(0));
            move |nth: usize, piece: &mut Vec<u8>| {
                if nth == 3 && pieces.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 4 {
                    what(piece, &stray);
                }
            }
        };
        for (what, says) in [
            (once(|piece, _| piece.truncate(piece.len() / 2)), "Lost"),
            (once(|piece, _| piece.extend_from_within(..)), "Duplicated"),
            (once(|piece, stray| piece.extend_from_slice(stray)), "Leaked"),
            (once(|piece, _| piece[7] ^= 4), "Damaged"),
        ] {
            let error = format!("{:#}", carried(PLAN, what).await.unwrap_err());
            assert!(error.contains(says) && error.contains("at the service of stream"), "{says}: {error}");
        }
    }
}
