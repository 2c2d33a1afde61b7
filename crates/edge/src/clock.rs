//! The wall clock, which tests may hold in their hands.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tunnel_proto::UnixTime;

/// Where the edge reads the time that it stores, sends and compares with what is stored. Waiting does not use it.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The system's clock.
    #[default]
    System,
    /// A clock that stands still until it is moved.
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// A clock that stands at `start`.
    pub fn manual(start: UnixTime) -> Self {
        Self::Manual(Arc::new(AtomicU64::new(start.0)))
    }

    /// Now.
    pub fn now(&self) -> UnixTime {
        match self {
            Self::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                UnixTime(since.as_secs())
            }
            Self::Manual(now) => UnixTime(now.load(Ordering::SeqCst)),
        }
    }

    /// Moves a manual clock on; the system's clock stays as it is.
    pub fn advance(&self, by: Duration) {
        if let Self::Manual(now) = self {
            now.fetch_add(by.as_secs(), Ordering::SeqCst);
        }
    }
}

/// How far the wall clock may part from one that never leaps before somebody should know: what tokens allow.
const LEAP: u64 = 60;

/// Watches the wall clock beside one that never leaps: sessions, PINs and certificates are judged by the wall clock.
#[derive(Debug)]
pub(crate) struct ClockWatch {
    wall: UnixTime,
    steady: Instant,
}

impl ClockWatch {
    pub(crate) const fn new(wall: UnixTime, steady: Instant) -> Self {
        Self { wall, steady }
    }

    /// By how many seconds the wall clock has leapt since the last look, forward (`true`) or back, if it has.
    pub(crate) fn look(&mut self, wall: UnixTime, steady: Instant) -> Option<(u64, bool)> {
        let expected = self.wall.plus(steady.saturating_duration_since(self.steady));
        *self = Self::new(wall, steady);
        let leap = wall.0.abs_diff(expected.0);
        (leap > LEAP).then_some((leap, wall > expected))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // S8
    #[test]
    fn a_wall_clock_that_leaps_is_noticed_once_and_one_that_creeps_is_not() {
        let began = Instant::now();
        let mut watch = ClockWatch::new(UnixTime(10_000), began);
        let mut at = |seconds: u64, wall: u64| watch.look(UnixTime(wall), began + Duration::from_secs(seconds));
        assert_eq!(at(60, 10_060), None);
        assert_eq!(at(120, 10_180), None, "a minute is what tokens allow");
        assert_eq!(at(180, 13_841), Some((3601, true)));
        assert_eq!(at(240, 13_901), None, "told once");
        assert_eq!(at(300, 10_361), Some((3600, false)));
        assert_eq!(at(360, 10_421), None);
        assert_eq!(at(420, 0), Some((10_481, false)));
    }
}
