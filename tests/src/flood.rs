//! Whoever sends without end, and whoever is to notice nothing of it.

use std::{
    sync::{
        Arc, Mutex,
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
pub(crate) const TAKEN_MAX: usize = 50;
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

    /// Floods `door` by one connection, until that is ended.
    ///
    /// # Errors
    /// There was none to be had, so that nothing was sent, or it was not ended in time.
    pub async fn once(&self, door: &Door) -> Result<()> {
        let raw = door.offering(&["h2"]).open().await;
        self.one(raw.with_context(|| format!("nothing is taken of {}", self.name))?).await
    }

    /// The same for whom the edge may have shut out: a connection that is not to be had has been ended as well.
    ///
    /// # Errors
    /// It was not ended in time.
    pub async fn knock(&self, door: &Door) -> Result<()> {
        match door.offering(&["h2"]).open().await {
            Ok(raw) => self.one(raw).await,
            Err(_) => Ok(()),
        }
    }

    /// Floods `door` until `others` is done, and on until a first connection is ended; how many were.
    ///
    /// # Errors
    /// `others` failed, or a connection was not to be had or not ended in time.
    pub async fn beside<T>(&self, door: &Door, others: impl Future<Output = Result<T>>) -> Result<(usize, T)> {
        meanwhile(|| self.once(door), others).await
    }

    /// Floods one connection of `door` after the other until the edge takes no more; how many it took.
    ///
    /// # Errors
    /// It takes one after the other, or one was not ended in time.
    pub async fn until_shut_out(&self, door: &Door) -> Result<usize> {
        for taken in 0..TAKEN_MAX {
            let Ok(raw) = door.offering(&["h2"]).open().await else { return Ok(taken) };
            self.one(raw).await?;
        }
        bail!("{TAKEN_MAX} connections were taken for {}", self.name)
    }

    /// Floods one connection until it is ended.
    async fn one(&self, mut raw: Raw) -> Result<()> {
        let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frame(4, 0, 0, &[]), &self.begin].concat();
        raw.send(&preface).await?;
        let (begun, mut n, mut answers) = (Instant::now(), 0, Answers::default());
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
                    return Ok(());
                }
            }
            ensure!(begun.elapsed() < PATIENCE, "{} goes on for ever", self.name);
        }
    }
}

/// Does something again and again until `others` is done, and once at least; how often it was done.
///
/// # Errors
/// Either failed.
pub async fn meanwhile<F, T>(once: impl Fn() -> F, others: impl Future<Output = Result<T>>) -> Result<(usize, T)>
where
    F: Future<Output = Result<()>>,
{
    let over = CancellationToken::new();
    let again = async {
        let mut count = 0;
        while count == 0 || !over.is_cancelled() {
            once().await?;
            count += 1;
        }
        Ok::<usize, anyhow::Error>(count)
    };
    let others = async {
        let done = others.await;
        over.cancel();
        done
    };
    tokio::try_join!(again, others)
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
    /// How long those answers took that belong to no window yet.
    times: Arc<Mutex<Vec<Duration>>>,
    stop: CancellationToken,
    task: JoinHandle<Result<()>>,
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
        let times = Arc::<Mutex<Vec<Duration>>>::default();
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n\r\n");
        let (stopped, counted, timed) = (stop.clone(), beats.clone(), times.clone());
        let name = host.to_owned();
        let asking = async move {
            let mut raw = door.open().await?;
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
                timed.lock().unwrap().push(begun.elapsed());
                counted.fetch_add(1, Relaxed);
                tokio::time::sleep(REST).await;
            }
            Ok(())
        };
        let task =
            tokio::spawn(asking.inspect_err(move |error: &anyhow::Error| eprintln!("asked at {name}: {error:#}")));
        Self { beats, times, stop, task }
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

    /// A window that begins now, of `count` answers at least and of this time at least: how long the slowest of a hundred of them
    /// took.
    ///
    /// # Errors
    /// They did not come in time.
    pub async fn window(&self, count: usize, time: Duration) -> Result<Duration> {
        self.open_window();
        let (beaten, ()) = tokio::join!(self.beats(count), tokio::time::sleep(time));
        beaten?;
        self.close_window()
    }

    /// Begins a window.
    pub fn open_window(&self) {
        self.times.lock().unwrap().clear();
    }

    /// Ends it: how long the slowest of a hundred answers took since it began.
    ///
    /// # Errors
    /// There was none.
    pub fn close_window(&self) -> Result<Duration> {
        let mut times = std::mem::take(&mut *self.times.lock().unwrap());
        times.sort();
        let at = (times.len() * 99 / 100).min(times.len().saturating_sub(1));
        times.get(at).copied().context("nothing was asked")
    }

    /// Ends it.
    ///
    /// # Errors
    /// A request was not answered as it should be.
    pub async fn end(self) -> Result<()> {
        self.stop.cancel();
        self.task.await?
    }
}

/// The slowest of a hundred answers to others, in windows that alternate: without what is tried, and beside it. A machine that is
/// busy with something else is so in both, and one window says nothing: the medians are compared.
#[derive(Clone, Debug, Default)]
pub struct Windows {
    without: Vec<Duration>,
    beside: Vec<Duration>,
}

impl Windows {
    /// Windows after which it is said that others wait, and not that one more could tell.
    pub const MOST: usize = 9;

    /// One more of each.
    pub fn add(&mut self, without: Duration, beside: Duration) {
        self.without.push(without);
        self.beside.push(beside);
    }

    /// Whether others take twice as long at most, or hardly any time.
    fn are_even(&self, noticeable: Duration) -> bool {
        median(&self.beside) <= (median(&self.without) * 2).max(noticeable)
    }

    /// Whether there are fewer than `least`, or more could tell something else.
    pub fn want_more(&self, least: usize, noticeable: Duration) -> bool {
        let count = self.beside.len();
        count < least || (count < Self::MOST && !self.are_even(noticeable))
    }

    /// Says how much slower others were served, and holds it against twice the time.
    ///
    /// # Errors
    /// They were served more slowly than that, and more slowly than is `noticeable`.
    pub fn check(&self, what: &str, noticeable: Duration) -> Result<()> {
        let (without, beside, count) = (median(&self.without), median(&self.beside), self.beside.len());
        eprintln!("{what}: p99 of others {beside:?}, {without:?} without, by {count} windows");
        ensure!(self.are_even(noticeable), "{what}: others wait for {beside:?}, {without:?} without: {self:?}");
        Ok(())
    }
}

/// The one in the middle; the slower one of two.
pub fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTICEABLE: Duration = Duration::from_millis(50);

    fn windows(of: &[(u64, u64)]) -> Windows {
        let mut windows = Windows::default();
        of.iter().for_each(|(without, beside)| {
            windows.add(Duration::from_millis(*without), Duration::from_millis(*beside));
        });
        windows
    }

    #[test]
    fn others_wait_when_most_windows_say_so() {
        for (of, is_even) in [
            (&[(10, 49), (10, 50), (10, 50)][..], true),
            (&[(10, 51), (10, 52), (10, 5)], false),
            (&[(10, 900), (10, 12), (10, 11)], true),
            (&[(100, 199), (100, 200), (100, 900)], true),
            (&[(100, 201), (100, 250), (100, 10)], false),
            (&[(100, 201), (10, 201), (10, 201)], false),
        ] {
            assert_eq!(windows(of).check("a flood", NOTICEABLE).is_ok(), is_even, "{of:?}");
        }
    }

    #[test]
    fn more_windows_are_looked_at_while_they_say_that_others_wait() {
        assert!(windows(&[(10, 10)]).want_more(3, NOTICEABLE));
        assert!(!windows(&[(10, 10); 3]).want_more(3, NOTICEABLE));
        assert!(windows(&[(10, 90); 3]).want_more(3, NOTICEABLE));
        assert!(!windows(&[(10, 90), (10, 10), (10, 10)]).want_more(3, NOTICEABLE));
        assert!(!windows(&[(10, 90); Windows::MOST]).want_more(3, NOTICEABLE));
    }

    #[tokio::test]
    async fn something_is_done_once_at_least_and_no_more_when_others_are_done() {
        let done = AtomicUsize::new(0);
        let once = || async {
            done.fetch_add(1, Relaxed);
            tokio::task::yield_now().await;
            Ok(())
        };
        let (count, word) = meanwhile(once, async { Ok("word") }).await.unwrap();
        assert_eq!((count, done.load(Relaxed), word), (1, 1, "word"));
        let fails = async { Err::<(), _>(anyhow::anyhow!("not served")) };
        assert!(meanwhile(once, fails).await.is_err());
    }
}
