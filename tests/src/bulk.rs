//! Streams that carry as much as they can, and an echo beside them: a service, and who uses it by whatever way leads there.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use crate::{Apart, Netns, PATIENCE};

/// What is written and read at once.
const PIECE: usize = 64 * 1024;
/// A typed letter with what SSH makes of it.
const LETTER: usize = 64;
/// One letter is typed every so often: fast enough for a hundredth of them to be more than one.
const TYPED_EVERY: Duration = Duration::from_millis(10);

/// In which direction a load goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Towards {
    /// From the service to the client.
    Client,
    /// From the client to the service.
    Service,
}

impl std::fmt::Display for Towards {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Client => "down",
            Self::Service => "up",
        })
    }
}

/// What a client says first: what it wants, and by which number it is counted.
const DOWN: u8 = b'd';
const UP: u8 = b'u';
const ECHO: u8 = b'e';

type Counts = Arc<Mutex<HashMap<u32, Arc<AtomicU64>>>>;

/// A service that gives or takes as many bytes as it can, or sends back what it gets. It has a thread of its own.
#[derive(Debug)]
pub struct Bulk {
    port: u16,
    taken: Counts,
    _apart: Apart,
}

impl Bulk {
    /// Starts it on a machine, at all addresses of it.
    ///
    /// # Errors
    /// No port.
    pub fn start(net: &Netns) -> Result<Self> {
        let taken = Counts::default();
        let counts = taken.clone();
        let (apart, listener) = net.inside(async {
            let listener = std::net::TcpListener::bind("0.0.0.0:0")?;
            listener.set_nonblocking(true)?;
            anyhow::Ok((Apart::start()?, listener))
        })?;
        let port = listener.local_addr()?.port();
        apart.handle().spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            while let Ok((tcp, _)) = listener.accept().await {
                // Whoever has had enough just goes.
                tokio::spawn(serve(tcp, counts.clone()));
            }
        });
        Ok(Self { port, taken, _apart: apart })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The counter of what is taken from a client of this number.
    fn taken_from(&self, number: u32) -> Arc<AtomicU64> {
        taken_from(&self.taken, number)
    }
}

fn taken_from(counts: &Counts, number: u32) -> Arc<AtomicU64> {
    counts.lock().unwrap().entry(number).or_default().clone()
}

async fn serve(mut tcp: TcpStream, counts: Counts) -> Result<()> {
    tcp.set_nodelay(true)?;
    let (kind, number) = (tcp.read_u8().await?, tcp.read_u32().await?);
    match kind {
        DOWN => give(&mut tcp).await,
        UP => take(&mut tcp, &taken_from(&counts, number)).await,
        ECHO => {
            let mut letter = [0; LETTER];
            loop {
                tcp.read_exact(&mut letter).await?;
                tcp.write_all(&letter).await?;
            }
        }
        other => bail!("nobody asks for {other}"),
    }
}

async fn give(tcp: &mut TcpStream) -> Result<()> {
    let piece = vec![7; PIECE];
    loop {
        tcp.write_all(&piece).await?;
    }
}

async fn take(tcp: &mut TcpStream, counter: &AtomicU64) -> Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let n = tcp.read(&mut piece).await?;
        ensure!(n > 0, "the end");
        counter.fetch_add(n as u64, Ordering::Relaxed);
    }
}

async fn ask(to: SocketAddr, kind: u8, number: u32) -> Result<TcpStream> {
    let mut tcp = timeout(PATIENCE, TcpStream::connect(to)).await.context("nobody answers")??;
    tcp.set_nodelay(true)?;
    // Dropped, it is over at once: nothing that was written is sent any more.
    tcp.set_zero_linger()?;
    let mut first = vec![kind];
    first.extend(number.to_be_bytes());
    tcp.write_all(&first).await?;
    Ok(tcp)
}

/// Streams that carry as much as they can, until dropped.
#[derive(Debug)]
pub struct Load {
    counters: Vec<Arc<AtomicU64>>,
    streams: JoinSet<Result<()>>,
}

impl Load {
    /// Starts so many streams to `to`, where a way to the service begins or the service is.
    ///
    /// # Errors
    /// Nobody answers there.
    pub async fn start(service: &Bulk, to: SocketAddr, towards: Towards, streams: u32) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut load = Self { counters: Vec::new(), streams: JoinSet::new() };
        for _ in 0..streams {
            let number = u32::try_from(NEXT.fetch_add(1, Ordering::Relaxed))?;
            let counter = service.taken_from(number);
            let counted = counter.clone();
            load.counters.push(counter);
            load.streams.spawn(async move {
                match towards {
                    Towards::Client => take(&mut ask(to, DOWN, number).await?, &counted).await,
                    Towards::Service => give(&mut ask(to, UP, number).await?).await,
                }
            });
        }
        Ok(load)
    }

    /// Bits a second of each stream during `window`, once `warm` has gone by: what arrives, not what is sent.
    ///
    /// # Errors
    /// A stream has ended.
    pub async fn rates(&mut self, warm: Duration, window: Duration) -> Result<Rates> {
        sleep(warm).await;
        let (before, begun) = (self.so_far(), Instant::now());
        sleep(window).await;
        let (after, seconds) = (self.so_far(), begun.elapsed().as_secs_f64());
        if let Some(ended) = self.streams.try_join_next() {
            ended?.context("a stream has ended")?;
        }
        Ok(Rates(after.iter().zip(&before).map(|(after, before)| (after - before) as f64 * 8.0 / seconds).collect()))
    }

    fn so_far(&self) -> Vec<u64> {
        self.counters.iter().map(|counter| counter.load(Ordering::Relaxed)).collect()
    }
}

/// Bits a second of each of some streams.
#[derive(Clone, Debug)]
pub struct Rates(Vec<f64>);

impl Rates {
    /// Mbit/s of all together.
    pub fn mbit(&self) -> f64 {
        self.0.iter().sum::<f64>() / 1e6
    }

    /// Jain's index: 1 where all have the same, 1/n where one has everything.
    pub fn fairness(&self) -> f64 {
        let (sum, squares) = (self.0.iter().sum::<f64>(), self.0.iter().map(|rate| rate * rate).sum::<f64>());
        if squares == 0.0 { 0.0 } else { sum * sum / (squares * self.0.len() as f64) }
    }
}

/// How long letters took to come back, shortest first.
#[derive(Clone, Debug)]
pub struct Waits(Vec<Duration>);

impl Waits {
    /// The wait that so many parts of a hundred do not exceed, in milliseconds.
    pub fn percentile(&self, percent: usize) -> f64 {
        let last = self.0.len().saturating_sub(1);
        let nth = (self.0.len() * percent).div_ceil(100).saturating_sub(1).min(last);
        self.0.get(nth).copied().unwrap_or_default().as_secs_f64() * 1000.0
    }
}

/// Somebody who types: a letter every 10 ms, whether or not the last one has come back.
///
/// # Errors
/// Nobody answers, or not all letters came back.
pub async fn typing(to: SocketAddr, warm: Duration, window: Duration) -> Result<Waits> {
    let (mut from, mut into) = ask(to, ECHO, 0).await?.into_split();
    // The way is open once the first one is back.
    let mut letter = [7; LETTER];
    into.write_all(&letter).await?;
    timeout(PATIENCE, from.read_exact(&mut letter)).await.context("the first letter is not back")??;
    sleep(warm).await;
    let letters = window.as_millis() / TYPED_EVERY.as_millis();
    let typed = Mutex::new(VecDeque::new());
    let types = async {
        let mut every = interval(TYPED_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for _ in 0..letters {
            every.tick().await;
            typed.lock().unwrap().push_back(Instant::now());
            into.write_all(&[7; LETTER]).await?;
        }
        anyhow::Ok(())
    };
    let reads = async {
        let mut waits = Vec::new();
        for _ in 0..letters {
            from.read_exact(&mut letter).await?;
            let at = typed.lock().unwrap().pop_front().context("a letter that nobody typed")?;
            waits.push(at.elapsed());
        }
        anyhow::Ok(waits)
    };
    let both = async { tokio::try_join!(types, reads) };
    let (_, mut waits) = timeout(window + PATIENCE, both).await.context("letters are not back")??;
    waits.sort();
    Ok(Waits(waits))
}

/// The one in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
