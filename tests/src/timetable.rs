//! Requests at fixed times, whatever becomes of those before: a load that does not wait for answers.
//!
//! Half of them go by HTTP/2, many at once on few connections; most others by HTTP/1.1 on connections that are kept; and one of
//! twenty on a connection of its own. What a browser would ask again is asked again, and counted apart. Everything is made
//! beforehand that can be: the load is to leave the machine to what is tried.

mod kept;
mod shared;
mod tally;

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::tally::Report;
use self::{
    kept::Kept,
    shared::{LANES, Shared},
    tally::Tally,
};
use crate::{PATIENCE, raw::Door};

/// One of so many requests has a connection of its own.
const ANEW: u32 = 20;
/// How often it is looked whether more was answered.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What is asked for: `/` of a host that answers with a length.
#[derive(Clone, Debug)]
pub struct Page {
    /// Where to knock, by TLS.
    pub door: Door,
    /// The host.
    pub host: String,
    /// The session, as `name=value`.
    pub cookie: String,
    /// The body of the answer.
    pub body: String,
}

impl Page {
    /// The request by HTTP/1.1, with further fields.
    fn request(&self, more: &str) -> Vec<u8> {
        format!("GET / HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\n{more}\r\n", self.host, self.cookie).into_bytes()
    }
}

/// How a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// By HTTP/1.1 on a connection of its own.
    Anew,
    /// By HTTP/1.1 on one that is kept.
    Kept,
    /// By HTTP/2, on this one of the connections.
    Shared(usize),
}

impl Way {
    fn of(number: u32) -> Self {
        if number.is_multiple_of(ANEW) {
            Self::Anew
        } else if number.is_multiple_of(2) {
            Self::Kept
        } else {
            Self::Shared((number / 2) as usize % LANES)
        }
    }
}

/// A request on its way.
struct Trip<'a> {
    tally: &'a Tally,
    due: Instant,
    is_sent: bool,
}

impl Trip<'_> {
    /// All of it was written. Once more counts for nothing.
    fn sent(&mut self) {
        if !self.is_sent {
            self.is_sent = true;
            self.tally.sent(self.due.elapsed());
        }
    }
}

/// Who asks.
struct Askers {
    kept: Kept,
    shared: Vec<Shared>,
    tally: Tally,
}

impl Askers {
    /// One request, up to its answer.
    async fn ask(&self, number: u32, due: Instant) {
        let (mut trip, way) = (Trip { tally: &self.tally, due, is_sent: false }, Way::of(number));
        let asking = async {
            match way {
                Way::Anew => self.kept.anew(&mut trip).await,
                Way::Kept => self.kept.ask(&mut trip).await,
                Way::Shared(lane) => self.shared[lane].ask(&mut trip).await,
            }
        };
        match timeout(PATIENCE, asking).await {
            Ok(Ok(())) => self.tally.answered(due.elapsed()),
            Ok(Err(error)) => self.tally.failed(format!("request {number} ({way:?}): {error:#}")),
            Err(_) => self.tally.failed(format!("request {number} ({way:?}): no answer within {PATIENCE:?}")),
        }
    }
}

/// Requests that are under way at their times.
#[derive(Debug)]
pub struct Timetable {
    tally: Tally,
    stop: CancellationToken,
    departures: JoinHandle<Report>,
}

impl Timetable {
    /// Begins to ask for a page so many times a second.
    pub fn begin(rate: u32, page: &Page) -> Self {
        let (tally, stop) = (Tally::new(rate), CancellationToken::new());
        let shared = (0..LANES).map(|_| Shared::new(page)).collect();
        let askers = Askers { kept: Kept::new(page), shared, tally: tally.clone() };
        let departures = tokio::spawn(depart(Arc::new(askers), rate, stop.clone()));
        Self { tally, stop, departures }
    }

    /// Waits until so many more were answered.
    ///
    /// # Errors
    /// One failed, or they are not answered in time.
    pub async fn goes_on(&self, count: u64) -> Result<()> {
        let wanted = self.tally.count() + count;
        let more = async {
            while self.tally.count() < wanted {
                if self.tally.has_failed() {
                    self.tally.report().all_served()?;
                }
                sleep(LOOK_EVERY).await;
            }
            Ok(())
        };
        timeout(PATIENCE, more).await.with_context(|| format!("requests are not answered: {}", self.tally.report()))?
    }

    /// Ends it, when what is under way is over.
    ///
    /// # Errors
    /// The load itself broke.
    pub async fn end(self) -> Result<Report> {
        self.stop.cancel();
        Ok(self.departures.await?)
    }
}

/// Has one request after the other leave at its time; late ones at once.
async fn depart(askers: Arc<Askers>, rate: u32, stop: CancellationToken) -> Report {
    let (begun, under_way, mut number) = (Instant::now(), TaskTracker::new(), 0_u32);
    while !stop.is_cancelled() {
        // By the number, so that no error adds up.
        let due = begun + Duration::from_secs(1) * number / rate;
        sleep_until(due).await;
        askers.tally.due();
        let one = askers.clone();
        under_way.spawn(async move { one.ask(number, due).await });
        number += 1;
    }
    under_way.close();
    under_way.wait().await;
    askers.tally.report()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_has_its_share() {
        let ways: Vec<_> = (0..1000).map(Way::of).collect();
        let count = |wanted: fn(&Way) -> bool| ways.iter().filter(|way| wanted(way)).count();
        assert_eq!(count(|way| *way == Way::Anew), 50);
        assert_eq!(count(|way| *way == Way::Kept), 450);
        for lane in 0..LANES {
            assert_eq!(ways.iter().filter(|way| **way == Way::Shared(lane)).count(), 500 / LANES);
        }
    }
}
