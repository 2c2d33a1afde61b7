//! How slowly a visitor may send a request's body (H13): what it has sent earns it time, and waiting for it spends that.

use std::time::Duration;

use tokio::time::Instant;

/// What a visitor may wait with the first byte, and begins with.
const GRACE: Duration = Duration::from_secs(10);
/// The time that one byte earns: at 500 bytes a second a body may take for ever.
const PER_BYTE: Duration = Duration::from_millis(2);
/// The most that is earned: a long upload survives a change of networks, and does not earn an afternoon of silence.
const MOST: Duration = Duration::from_secs(120);
/// For how long a visitor is let off when the wait turns out to be no fault of its own.
const LET_OFF: Duration = Duration::from_secs(1);

/// The time that a visitor has left. Only the time counts in which we would take more and there is none.
#[derive(Debug)]
pub(super) struct Pace {
    left: Duration,
    waiting: Option<Instant>,
}

impl Pace {
    pub(super) const fn new() -> Self {
        Self { left: GRACE, waiting: None }
    }

    /// There is nothing to take; by when there must be.
    pub(super) fn waits(&mut self, now: Instant) -> Instant {
        *self.waiting.get_or_insert(now) + self.left
    }

    /// Something has come.
    pub(super) fn arrived(&mut self, bytes: usize, now: Instant) {
        if let Some(since) = self.waiting.take() {
            self.left = self.left.saturating_sub(now.saturating_duration_since(since));
        }
        let earned = PER_BYTE.saturating_mul(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.left = self.left.saturating_add(earned).min(MOST);
    }

    /// The wait was not the visitor's fault.
    pub(super) fn let_off(&mut self, now: Instant) {
        self.left = self.left.max(LET_OFF);
        self.waiting = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a body lives that sends `bytes` every `every` for an hour, of which the service takes `taking` to take each.
    fn lives(bytes: usize, every: Duration, taking: Duration) -> bool {
        let (mut pace, mut now) = (Pace::new(), Instant::now());
        let end = now + Duration::from_secs(3600);
        while now < end {
            let late = pace.waits(now);
            now += every;
            if now > late {
                return false;
            }
            pace.arrived(bytes, now);
            now += taking;
        }
        true
    }

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    // H13
    #[test]
    fn a_body_lives_at_five_hundred_bytes_a_second_and_not_below() {
        assert!(lives(500, secs(1), Duration::ZERO));
        assert!(lives(4096, secs(8), Duration::ZERO));
        assert!(lives(50, Duration::from_millis(100), Duration::ZERO));
        assert!(!lives(450, secs(1), Duration::ZERO));
        assert!(!lives(1, secs(1), Duration::ZERO));
        assert!(!lives(1 << 20, secs(11), Duration::ZERO), "nothing at all in the first ten seconds");
    }

    #[test]
    fn a_service_that_takes_its_time_costs_the_visitor_nothing() {
        assert!(lives(500, secs(1), secs(100)));
        assert!(!lives(100, secs(1), secs(100)));
    }

    #[test]
    fn a_long_upload_survives_a_pause_and_not_a_silence() {
        let (mut pace, start) = (Pace::new(), Instant::now());
        pace.arrived(1 << 30, start);
        assert_eq!(pace.waits(start), start + MOST);
        pace.arrived(1, start + secs(119));
        assert_eq!(pace.waits(start + secs(119)), start + MOST + PER_BYTE);
    }

    #[test]
    fn whoever_is_let_off_has_at_least_another_moment() {
        let (mut pace, start) = (Pace::new(), Instant::now());
        assert_eq!(pace.waits(start), start + GRACE);
        pace.arrived(0, start + GRACE);
        pace.let_off(start + GRACE);
        assert_eq!(pace.waits(start + GRACE), start + GRACE + LET_OFF);
    }
}
