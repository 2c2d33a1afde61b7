//! Whoever sends without end, and whoever is to notice nothing of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use futures::TryFutureExt as _;
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    PATIENCE,
    http2::frame,
    raw::{Door, Raw},
};

/// Bytes of a flood that are sent at once.
pub(crate) const AT_ONCE: usize = 16 * 1024;
/// Connections that nobody who floods them is given, one after the other.
const TAKEN_MAX: usize = 50;
/// How long the pulse rests between two beats: somebody who reads pages, and not another flood.
const REST: Duration = Duration::from_millis(5);

/// One HTTP/2 connection after another, on each of which the same is sent without end.
pub struct Flood {
    /// What it is.
    pub name: &'static str,
    /// What begins a connection, after the preface.
    pub begin: Vec<u8>,
    /// The n-th piece of a connection.
    pub piece: Box<dyn Fn(u32) -> Vec<u8> + Send + Sync>,
}

impl Flood {
    /// A flood of `piece`.
    pub fn of(name: &'static str, piece: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self { name, begin: Vec::new(), piece: Box::new(piece) }
    }

    /// The same after something that is sent once.
    pub fn after(self, begin: Vec<u8>) -> Self {
        Self { begin, ..self }
    }

    /// Floods `door` for `time`, and on until a first connection is ended; how many were.
    ///
    /// # Errors
    /// No connection was ended in time.
    pub async fn run(&self, door: &Door, time: Duration) -> Result<usize> {
        let (begun, mut ended) = (Instant::now(), 0);
        while begun.elapsed() < time || ended == 0 {
            ensure!(begun.elapsed() < time + PATIENCE, "no connection was ended for {}", self.name);
            // One that is refused has been noticed as well.
            let Ok(raw) = door.offering(&["h2"]).open().await else {
                ended += 1;
                continue;
            };
            ended += usize::from(self.one(raw, begun, time).await?);
        }
        Ok(ended)
    }

    /// Floods one connection of `door` after the other until the edge takes no more; how many it took.
    ///
    /// # Errors
    /// It takes one after the other, or one was not ended in time.
    pub async fn until_shut_out(&self, door: &Door) -> Result<usize> {
        for taken in 0..TAKEN_MAX {
            let Ok(raw) = door.offering(&["h2"]).open().await else { return Ok(taken) };
            ensure!(self.one(raw, Instant::now(), Duration::ZERO).await?, "{} goes on for ever", self.name);
        }
        bail!("{TAKEN_MAX} connections were taken for {}", self.name)
    }

    /// Floods one connection; whether that was ended.
    async fn one(&self, mut raw: Raw, begun: Instant, time: Duration) -> Result<bool> {
        let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frame(4, 0, 0, &[]), &self.begin].concat();
        raw.send(&preface).await?;
        let (mut n, mut answers) = (0, Answers::default());
        loop {
            let mut pieces = Vec::new();
            while pieces.len() < AT_ONCE {
                pieces.extend((self.piece)(n));
                n += 1;
            }
            raw.send(&pieces).await?;
            while raw.stirs(Duration::from_micros(100)).await {
                let some = raw.read().await?;
                if some.is_empty() || answers.end_in(&some) {
                    return Ok(true);
                }
            }
            if begun.elapsed() > time + PATIENCE {
                return Ok(false);
            }
        }
    }
}

/// What an edge answers in frames.
#[derive(Default)]
struct Answers(Vec<u8>);

impl Answers {
    /// Whether there is a GOAWAY among what has come.
    fn end_in(&mut self, bytes: &[u8]) -> bool {
        self.0.extend_from_slice(bytes);
        while let [a, b, c, kind, ..] = self.0.as_slice() {
            let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
            if *kind == 7 {
                return true;
            }
            if self.0.len() < 9 + length {
                break;
            }
            self.0.drain(..9 + length);
        }
        false
    }
}

/// Somebody logged in who asks for one page after another on one connection, and is to notice nothing.
#[derive(Debug)]
pub struct Pulse {
    beats: Arc<AtomicUsize>,
    stop: CancellationToken,
    task: JoinHandle<Result<Vec<Duration>>>,
}

impl Pulse {
    /// Begins to ask for `/` at `host` by `door`, with this cookie.
    pub fn start(door: &Door, host: &str, cookie: &str) -> Self {
        Self::begin(door, host, cookie, false)
    }

    /// The same of a service that fails, by turns, all who ask it at the time: 502 or 504 is said then, and counts for nothing.
    pub fn of_a_bad_service(door: &Door, host: &str, cookie: &str) -> Self {
        Self::begin(door, host, cookie, true)
    }

    fn begin(door: &Door, host: &str, cookie: &str, may_fail: bool) -> Self {
        let (door, stop, beats) = (door.clone(), CancellationToken::new(), Arc::<AtomicUsize>::default());
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n\r\n");
        let (stopped, counted) = (stop.clone(), beats.clone());
        let name = host.to_owned();
        let asking = async move {
            let mut raw = door.open().await?;
            let mut times = Vec::new();
            while !stopped.is_cancelled() {
                let begun = Instant::now();
                raw.send(request.as_bytes()).await?;
                let answer = raw.answer(true).await?;
                if may_fail && matches!(answer.status, 502 | 504) {
                    raw = door.open().await?;
                    tokio::time::sleep(REST).await;
                    continue;
                }
                ensure!(answer.status == 200, "{} for somebody who is logged in", answer.status);
                times.push(begun.elapsed());
                counted.fetch_add(1, Relaxed);
                tokio::time::sleep(REST).await;
            }
            Ok(times)
        };
        let task =
            tokio::spawn(asking.inspect_err(move |error: &anyhow::Error| eprintln!("asked at {name}: {error:#}")));
        Self { beats, stop, task }
    }

    /// Waits for `count` more answers.
    ///
    /// # Errors
    /// They did not come in time.
    pub async fn beats(&self, count: usize) -> Result<()> {
        let wanted = self.beats.load(Relaxed) + count;
        let waiting = async {
            while self.beats.load(Relaxed) < wanted && !self.task.is_finished() {
                tokio::time::sleep(REST).await;
            }
        };
        timeout(PATIENCE, waiting).await.context("somebody who is logged in waits in vain")?;
        ensure!(!self.task.is_finished(), "somebody who is logged in was not served");
        Ok(())
    }

    /// Ends it; how long the slowest of a hundred answers took.
    ///
    /// # Errors
    /// A request was not answered as it should be.
    pub async fn p99(self) -> Result<Duration> {
        self.stop.cancel();
        let mut times = self.task.await??;
        times.sort();
        let at = (times.len() * 99 / 100).min(times.len().saturating_sub(1));
        times.get(at).copied().context("nothing was asked")
    }
}
