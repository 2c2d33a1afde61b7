//! A clock that does not go back behind time that has passed.
//!
//! How much has passed is known by a clock that cannot be set. When the wall clock is set back, the edge goes on from where it
//! was, at half the pace, until the two meet: what has expired stays so, and what is to expire still does. A leap forward
//! counts at once, for whatever it ends; but it is held for time that has passed only once it has stood for a day.
//! Until then it can be taken back: otherwise a clock that was wrong for a minute would be wrong for ever.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tunnel_proto::UnixTime;

use super::Clock;

/// By how much the wall clock may be put right in a step without anything else: what tokens allow.
const SKEW: Duration = Duration::from_secs(60);
/// How long a leap forward has to stand until it cannot be taken back any more: whoever looks at their edge once a day has seen
/// by then that it says so.
const BELIEVED: Duration = Duration::from_secs(24 * 3600);
/// How old what the process that serves has noted may be: it does so each minute.
const NOTED_WITHIN: Duration = Duration::from_secs(150);

/// How an edge sees the clock of its machine (`GET /v1/health`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockStatus {
    /// What the clock shows.
    pub shown: UnixTime,
    /// What the edge goes by.
    pub now: UnixTime,
    /// The time that has passed for certain: what has expired by then counts no more, whatever the clock shows.
    pub passed: UnixTime,
}

impl ClockStatus {
    /// How far the clock is behind time that has passed, when that is more than may be.
    pub fn behind(&self) -> Option<Duration> {
        Some(self.now.since(self.shown)).filter(|behind| *behind > SKEW)
    }

    /// By how much it has leapt forward, while that can be taken back.
    pub fn ahead(&self) -> Option<Duration> {
        Some(self.now.since(self.passed)).filter(|ahead| *ahead > SKEW)
    }
}

/// A clock that does not go back behind time that has passed.
#[derive(Debug)]
pub struct Lasting {
    source: Clock,
    began: Instant,
    passed: Mutex<Passed>,
}

impl Lasting {
    pub(super) fn new(source: Clock, passed: Option<UnixTime>) -> Self {
        let floor = passed.map_or_else(|| source.since_1970(), |passed| Duration::from_secs(passed.0));
        let passed = Passed { floor, at: Duration::ZERO, leapt: None };
        Self { source, began: Instant::now(), passed: Mutex::new(passed) }
    }

    pub(super) const fn source(&self) -> &Clock {
        &self.source
    }

    pub(super) fn now(&self) -> UnixTime {
        UnixTime(self.look().0.as_secs())
    }

    pub(super) fn status(&self) -> ClockStatus {
        let (now, floor) = self.look();
        let seconds = |time: Duration| UnixTime(time.as_secs());
        ClockStatus { shown: self.source.shown(), now: seconds(now), passed: seconds(floor) }
    }

    pub(super) fn believe(&self) -> UnixTime {
        let mut passed = self.passed();
        *passed = Passed { floor: self.source.since_1970(), at: self.steady(), leapt: None };
        UnixTime(passed.floor.as_secs())
    }

    /// Takes over what the process that serves in this one's place has noted: what has passed there has passed. Where that is
    /// what the clock shows, and this one does not believe it, an administrator does; whether that is so.
    pub(super) fn follow(&self, noted: UnixTime) -> bool {
        let noted = Duration::from_secs(noted.0);
        let mut passed = self.passed();
        let (wall, steady) = (self.source.since_1970(), self.steady());
        let behind = passed.look(wall, steady).saturating_sub(wall);
        let is_believed = behind > SKEW && wall.abs_diff(noted) <= NOTED_WITHIN;
        if is_believed {
            *passed = Passed { floor: wall, at: steady, leapt: None };
        } else {
            passed.floor = passed.floor.max(noted);
        }
        is_believed
    }

    fn look(&self) -> (Duration, Duration) {
        let mut passed = self.passed();
        let now = passed.look(self.source.since_1970(), self.steady());
        (now, passed.floor)
    }

    fn passed(&self) -> MutexGuard<'_, Passed> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For a manual clock no time passes but what it is moved by.
    fn steady(&self) -> Duration {
        match self.source {
            Clock::Manual(_) => Duration::ZERO,
            Clock::System | Clock::Lasting(_) => self.began.elapsed(),
        }
    }
}

/// What is known of the time that has passed.
#[derive(Debug)]
struct Passed {
    /// It is not before this (since 1970).
    floor: Duration,
    /// When that was looked at last, by the clock that cannot be set.
    at: Duration,
    /// Since when, by the same, the wall clock is farther ahead than time has passed, and how far it has been all the while.
    leapt: Option<(Duration, Duration)>,
}

impl Passed {
    /// What to go by when the wall clock shows `wall` and the clock that cannot be set `steady`.
    fn look(&mut self, wall: Duration, steady: Duration) -> Duration {
        let gone = steady.saturating_sub(self.at);
        self.at = steady;
        let least = self.floor.saturating_add(gone / 2);
        if wall < least {
            (self.floor, self.leapt) = (least, None);
            return least;
        }
        let expected = self.floor.saturating_add(gone);
        let ahead = wall.saturating_sub(expected);
        if ahead <= SKEW {
            (self.floor, self.leapt) = (wall, None);
            return wall;
        }
        // Only what has stood all the while: it may have leapt farther a moment ago.
        let (since, by) = self.leapt.map_or((steady, ahead), |(since, by)| (since, by.min(ahead)));
        let believed = steady.saturating_sub(since) >= BELIEVED;
        (self.floor, self.leapt) =
            if believed { (expected.saturating_add(by), None) } else { (expected, Some((since, by))) };
        wall
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    };

    use super::*;

    const START: u64 = 1_800_000_000;
    const HOUR: u64 = 3600;
    const YEAR: u64 = 365 * 24 * HOUR;

    /// A wall clock beside one that cannot be set, both in seconds.
    struct Machine {
        passed: Passed,
        steady: u64,
    }

    impl Machine {
        fn begin() -> Self {
            Self { passed: Passed { floor: Duration::from_secs(START), at: Duration::ZERO, leapt: None }, steady: 0 }
        }

        /// `seconds` later the wall clock shows `wall`, counted from the start; what is gone by, counted likewise.
        fn after(&mut self, seconds: u64, wall: i64) -> i64 {
            self.steady += seconds;
            let wall = Duration::from_secs(START.saturating_add_signed(wall));
            let now = self.passed.look(wall, Duration::from_secs(self.steady)).as_secs();
            i64::try_from(now).unwrap() - i64::try_from(START).unwrap()
        }
    }

    // F16
    #[test]
    fn a_clock_that_is_put_right_by_a_minute_changes_nothing_for_anybody() {
        let mut machine = Machine::begin();
        assert_eq!(machine.after(100, 100), 100);
        assert_eq!(machine.after(10, 170), 170, "forward by a minute");
        assert_eq!(machine.after(10, 120), 175, "back by a minute: on at half the pace");
        assert_eq!(machine.after(100, 220), 225);
        assert_eq!(machine.after(10, 230), 230, "and on together");
        assert_eq!(machine.after(10, 240), 240);
    }

    // F16
    #[test]
    fn a_clock_that_is_set_back_revives_nothing_and_keeps_nothing_for_ever() {
        let hour = i64::try_from(HOUR).unwrap();
        let mut machine = Machine::begin();
        assert_eq!(machine.after(HOUR, hour), hour);
        // By an hour: what has expired stays so.
        assert_eq!(machine.after(0, 0), hour);
        // A code of ten minutes is gone after twenty.
        assert_eq!(machine.after(1200, 1200), hour + 600);
        // After two hours both are the same again.
        assert_eq!(machine.after(6000, 7200), 7200);
        assert_eq!(machine.after(60, 7260), 7260);
        // One that stands still keeps nothing alive either.
        assert!(machine.after(HOUR, 7260) >= 7260 + hour / 2);
    }

    // F16
    #[test]
    fn a_leap_forward_counts_at_once_and_can_be_taken_back_within_a_day() {
        let years = i64::try_from(10 * YEAR).unwrap();
        let mut machine = Machine::begin();
        assert_eq!(machine.after(60, 60 + years), 60 + years, "what it ends has ended");
        assert_eq!(machine.after(HOUR, 3660 + years), 3660 + years);
        assert_eq!(machine.after(60, 3720), 3720, "set right: nobody is locked out");
        // But not behind what has passed meanwhile.
        assert_eq!(machine.after(0, 0), 3720);

        let mut machine = Machine::begin();
        machine.after(60, 60 + years);
        let day = i64::try_from(24 * HOUR).unwrap();
        machine.after(24 * HOUR, 60 + years + day);
        assert_eq!(
            machine.after(0, 60 + day),
            60 + years + day,
            "it has stood for a day: an administrator has to say so"
        );
    }

    // F16
    #[test]
    fn a_leap_that_has_stood_for_a_day_vouches_for_none_that_came_later() {
        let (day, years) = (i64::try_from(24 * HOUR).unwrap(), i64::try_from(10 * YEAR).unwrap());
        let week = 7 * day;
        let mut machine = Machine::begin();
        // The edge was away for a week; a day later, for a minute, the clock is wrong by ten years.
        assert_eq!(machine.after(60, 60 + week), 60 + week);
        machine.after(24 * HOUR - 60, day + week);
        assert_eq!(machine.after(60, 60 + day + week + years), 60 + day + week + years);
        assert_eq!(machine.after(60, 120 + day + week), 120 + day + week, "set right: nobody is locked out");
        assert_eq!(machine.after(0, 0), 120 + day + week, "and the week has passed");
    }

    // F16
    #[test]
    fn what_a_process_before_has_seen_to_pass_has_passed_until_an_administrator_says_otherwise() {
        let wall = Arc::new(AtomicU64::new(START));
        let clock = Clock::Manual(wall.clone()).lasting(Some(UnixTime(START + HOUR)));
        assert_eq!((clock.now(), clock.shown()), (UnixTime(START + HOUR), UnixTime(START)));
        assert_eq!(clock.status().behind(), Some(Duration::from_secs(HOUR)));
        clock.advance(Duration::from_secs(2 * HOUR));
        assert_eq!(clock.now(), UnixTime(START + 2 * HOUR));
        let status = clock.status();
        assert_eq!((status.behind(), status.ahead()), (None, Some(Duration::from_secs(HOUR))));
        assert_eq!(status.passed, UnixTime(START + HOUR));

        wall.store(START - YEAR, SeqCst);
        assert_eq!(clock.now(), UnixTime(START + HOUR));
        assert_eq!(clock.believe(), UnixTime(START - YEAR));
        assert_eq!(clock.now(), UnixTime(START - YEAR));
        assert_eq!((clock.status().behind(), clock.status().ahead()), (None, None));
    }

    // F3, F16
    #[test]
    fn a_process_that_was_replaced_believes_what_the_one_that_serves_does_and_nothing_that_is_only_old() {
        let wall = Arc::new(AtomicU64::new(START));
        let behind = || Clock::Manual(wall.clone()).lasting(Some(UnixTime(START + HOUR)));
        let clock = behind();
        assert!(!clock.follow(UnixTime(START + HOUR + 30)), "nobody has said anything");
        assert_eq!(clock.now(), UnixTime(START + HOUR + 30), "what has passed there has passed");
        assert!(!clock.follow(UnixTime(START - HOUR)), "it has noted nothing for long");
        assert_eq!(clock.now(), UnixTime(START + HOUR + 30));
        assert!(clock.follow(UnixTime(START)), "an administrator believes the clock");
        assert_eq!((clock.now(), clock.status().behind()), (UnixTime(START), None));
        assert!(!clock.follow(UnixTime(START)), "once");
        // Noted a minute before it is looked at.
        let clock = behind();
        wall.store(START + 60, SeqCst);
        assert!(clock.follow(UnixTime(START)));
        assert_eq!(clock.now(), UnixTime(START + 60));
    }
}
