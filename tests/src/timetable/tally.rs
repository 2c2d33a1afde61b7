//! What became of requests that are sent at fixed times.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

/// How late a request may be sent that counts as sent at its time.
const LATE: Duration = Duration::from_secs(1);
/// Of so many requests, one may find that the connection it was sent on is closed, and be asked again: it has come between the
/// edge's farewell and the end. An edge that hung up on everybody who keeps a connection would have more of them.
const CLOSED: u64 = 1_000;
/// Failures that are told in full.
const TOLD: usize = 5;

#[derive(Clone, Debug, Default)]
struct Counts {
    due: u64,
    punctual: u64,
    latest: Duration,
    answered: u64,
    /// From the time when each was due to its answer.
    took: Vec<Duration>,
    closed: u64,
    refused: u64,
    failed: u64,
    failures: Vec<String>,
}

/// Counts as it goes.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    rate: u32,
    begun: Instant,
    counts: Arc<Mutex<Counts>>,
}

impl Tally {
    pub(super) fn new(rate: u32) -> Self {
        Self { rate, begun: Instant::now(), counts: Arc::default() }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap()
    }

    /// The time of one has come.
    pub(super) fn due(&self) {
        self.counts().due += 1;
    }

    /// It was written, so long after its time.
    pub(super) fn sent(&self, late: Duration) {
        let mut counts = self.counts();
        counts.punctual += u64::from(late <= LATE);
        counts.latest = counts.latest.max(late);
    }

    /// It was answered, so long after its time.
    pub(super) fn answered(&self, took: Duration) {
        let mut counts = self.counts();
        counts.answered += 1;
        counts.took.push(took);
    }

    /// A connection that was kept turned out to be closed.
    pub(super) fn closed(&self) {
        self.counts().closed += 1;
    }

    /// A connection of HTTP/2 did not look at a request.
    pub(super) fn refused(&self) {
        self.counts().refused += 1;
    }

    pub(super) fn failed(&self, how: String) {
        let mut counts = self.counts();
        counts.failed += 1;
        if counts.failures.len() < TOLD {
            counts.failures.push(how);
        }
    }

    /// How many were answered.
    pub(super) fn count(&self) -> u64 {
        self.counts().answered
    }

    /// Whether one failed.
    pub(super) fn has_failed(&self) -> bool {
        self.counts().failed > 0
    }

    /// What is known so far.
    pub(super) fn report(&self) -> Report {
        let mut counts = self.counts().clone();
        counts.took.sort_unstable();
        Report { rate: self.rate, time: self.begun.elapsed(), counts }
    }
}

/// What became of all.
#[derive(Clone, Debug)]
pub struct Report {
    rate: u32,
    time: Duration,
    counts: Counts,
}

impl Report {
    /// How long so many of a hundred answers took at most.
    fn took(&self, hundredths: usize) -> Duration {
        let took = &self.counts.took;
        took.get((took.len() * hundredths / 100).min(took.len().saturating_sub(1))).copied().unwrap_or_default()
    }

    /// Whether the load was as large as it was to be: so many of a hundred requests were sent within a second of their time.
    ///
    /// # Errors
    /// Too many requests were sent too late.
    pub fn was_punctual(&self, of_a_hundred: u64) -> Result<()> {
        let Counts { due, punctual, .. } = self.counts;
        ensure!(
            punctual * 100 >= due * of_a_hundred,
            "this machine, with all that runs on it, does not bring {} requests a second on their way, so that nothing is \
             shown of an edge that is asked so much: {self}",
            self.rate
        );
        Ok(())
    }

    /// Whether every request was answered, and right.
    ///
    /// # Errors
    /// One failed, or nobody knows what became of it, or connections are closed on people who keep them.
    pub fn all_served(&self) -> Result<()> {
        let Counts { due, answered, closed, failed, ref failures, .. } = self.counts;
        ensure!(failed == 0, "requests failed, the first of them: {}; {self}", failures.join("; "));
        ensure!(
            answered + failed == due,
            "nobody knows what became of some requests: who sent them may have panicked; {self}"
        );
        ensure!(closed <= due / CLOSED, "connections that are kept are closed between requests: {self}");
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { due, punctual, latest, answered, closed, refused, failed, .. } = &self.counts;
        let each_second = |count: u64| count as f64 / self.time.as_secs_f64();
        write!(
            f,
            "{due} requests were due in {:.1?}, {:.1} a second of {}; {punctual} were sent within {LATE:?} of their time, the \
             latest after {latest:.1?}; {answered} were answered, {:.1} a second, half of them within {:.1?}, 99 of 100 within \
             {:.1?}, all within {:.1?}; {closed} were sent again because a connection that was kept had been closed, {refused} \
             because a farewell of HTTP/2 did not cover them; {failed} failed",
            self.time,
            each_second(*due),
            self.rate,
            each_second(*answered),
            self.took(50),
            self.took(99),
            self.took(100),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_as_large_as_it_says_when_hardly_a_request_is_late() {
        for (late, at_least, is_punctual) in
            [(0, 95, true), (5, 95, true), (6, 95, false), (50, 50, true), (51, 50, false)]
        {
            let tally = Tally::new(100);
            for number in 0..100 {
                tally.due();
                tally.sent(if number < late { LATE * 2 } else { LATE / 2 });
                tally.answered(LATE);
            }
            assert_eq!(tally.report().was_punctual(at_least).is_ok(), is_punctual, "{late}: {}", tally.report());
        }
    }

    #[test]
    fn one_failure_is_too_much_and_what_is_not_sent_is_late() {
        let tally = Tally::new(100);
        for _ in 0..CLOSED {
            tally.due();
            tally.answered(LATE);
        }
        tally.closed();
        tally.refused();
        assert!(tally.report().all_served().is_ok() && tally.report().was_punctual(1).is_err());
        tally.closed();
        assert!(tally.report().all_served().is_err(), "one of a thousand at most is closed");
        let tally = Tally::new(100);
        tally.due();
        tally.failed("503".into());
        let said = tally.report().all_served().unwrap_err().to_string();
        assert!(tally.has_failed() && said.contains("503") && said.contains("1 failed"), "{said}");
    }

    #[test]
    fn a_request_of_which_nobody_knows_what_became_is_not_served() {
        let tally = Tally::new(100);
        (0..2).for_each(|_| tally.due());
        tally.answered(LATE);
        let said = tally.report().all_served().unwrap_err().to_string();
        assert!(said.contains("nobody knows what became") && said.contains("2 requests were due"), "{said}");
        tally.answered(LATE);
        assert!(tally.report().all_served().is_ok());
    }
}
