//! How fast a link sends.

use std::time::Duration;

use tokio::time::Instant;

/// What is taken to leave in a second before it is counted, in bytes: [`UNSENT_START`](super::UNSENT_START) in 6 ms.
const PACE_START: f64 = 10.9e6;
/// The most that matters: with this a link writes [`BULK_MAX`](crate::mux::BULK_MAX) at once.
const PACE_MAX: f64 = 44.0e6;
/// What is less than this, in bytes, is not worth a look at the clock.
const COUNT_MIN: usize = 16 * 1024;
/// How long what leaves is counted, at least; and what took longer had pauses in it, which say nothing of the path.
const COUNT_TIME: Duration = Duration::from_millis(50);
/// See [`COUNT_TIME`].
const COUNT_TIME_MAX: Duration = Duration::from_secs(4);
/// What is left of a pace, at least, where less leaves: that may be for want of more to send, for a while.
const SLOWER: f64 = 0.75;
/// What a pace grows by, at least, where more would have left.
const FASTER: f64 = 1.25;

/// How many bytes leave in a second. Of whoever sends less than could leave, it is that: what is done by it costs the less the less
/// he sends.
#[derive(Debug)]
pub(super) struct Pace {
    since: Instant,
    bytes: usize,
    dry: bool,
    pace: f64,
}

impl Pace {
    pub(super) const fn new(since: Instant) -> Self {
        Self { since, bytes: 0, dry: false, pace: PACE_START }
    }

    /// All had left before more was given: more would have.
    pub(super) const fn note_dry(&mut self) {
        self.dry = true;
    }

    /// Some more leave: how many do in a second, whenever that is counted anew.
    pub(super) fn note(&mut self, bytes: usize, now: impl FnOnce() -> Instant) -> Option<f64> {
        self.bytes = self.bytes.saturating_add(bytes);
        // Of whoever sends little, nobody need know when.
        if self.bytes < COUNT_MIN {
            return None;
        }
        let now = now();
        let taken = now.saturating_duration_since(self.since);
        if taken < COUNT_TIME {
            return None;
        }
        let counted = self.bytes as f64 / taken.as_secs_f64();
        let least = self.pace * if self.dry { FASTER } else { SLOWER };
        (self.since, self.bytes, self.dry) = (now, 0, false);
        if taken > COUNT_TIME_MAX {
            return None;
        }
        self.pace = counted.max(least).min(PACE_MAX);
        Some(self.pace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// The pace after a second in which so many bytes left each millisecond.
    fn after(bytes: usize) -> Option<f64> {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        (1..=1000).filter_map(|ms| pace.note(bytes, || start + MS * ms)).last().map(f64::round)
    }

    #[test]
    fn it_is_what_leaves_in_a_second() {
        assert_eq!(after(10), None, "of who types nobody looks at the clock");
        // 10 Mbit/s, 200, and what a room has.
        assert_eq!([1_250, 25_000, 1_000_000].map(after), [1.25e6, 2.5e7, PACE_MAX].map(Some));
    }

    #[test]
    fn it_is_counted_anew_after_a_while_only() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        assert_eq!(pace.note(1_000_000, || start + COUNT_TIME / 2), None);
        assert_eq!(pace.note(1, || start + COUNT_TIME).map(f64::round), Some(20_000_020.0));
        assert_eq!(pace.note(1, || unreachable!("too little")), None);
        assert_eq!(pace.note(1 << 16, || start + MS * 60_000), None, "there was a pause");
        assert_eq!(pace.note(1 << 16, || start + MS * 61_000).map(f64::round), Some(15_000_015.0), "bit by bit");
    }

    #[test]
    fn where_all_had_left_it_rises_whatever_was_counted() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        for turn in 1..=20 {
            pace.note_dry();
            pace.note(COUNT_MIN, || start + COUNT_TIME * turn);
        }
        assert_eq!(pace.pace, PACE_MAX);
    }
}
