//! The wall clock, which tests may hold in their hands, and what becomes of it when it leaps.

mod lasting;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tunnel_proto::UnixTime;

pub use self::lasting::{ClockStatus, Lasting};

/// Where the edge reads the time that it stores, sends and compares with what is stored. Waiting does not use it.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The system's clock.
    #[default]
    System,
    /// A clock that stands still until it is moved.
    Manual(Arc<AtomicU64>),
    /// One of these that does not go back behind time that has passed: an edge makes it of the one that it is given.
    Lasting(Arc<Lasting>),
}

impl Clock {
    /// A clock that stands at `start`.
    pub fn manual(start: UnixTime) -> Self {
        Self::Manual(Arc::new(AtomicU64::new(start.0)))
    }

    /// The same for a process that knows, from one before it, that it is not before `passed`.
    pub(crate) fn lasting(self, passed: Option<UnixTime>) -> Self {
        match self {
            lasting @ Self::Lasting(_) => lasting,
            source => Self::Lasting(Arc::new(Lasting::new(source, passed))),
        }
    }

    /// Now.
    pub fn now(&self) -> UnixTime {
        match self {
            Self::Lasting(lasting) => lasting.now(),
            Self::System | Self::Manual(_) => self.shown(),
        }
    }

    /// What the clock shows, also when that cannot be.
    pub fn shown(&self) -> UnixTime {
        UnixTime(self.since_1970().as_secs())
    }

    fn since_1970(&self) -> Duration {
        match self {
            Self::System => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            Self::Manual(now) => Duration::from_secs(now.load(Ordering::SeqCst)),
            Self::Lasting(lasting) => lasting.source().since_1970(),
        }
    }

    /// How this machine's clock does.
    pub fn status(&self) -> ClockStatus {
        match self {
            Self::Lasting(lasting) => lasting.status(),
            Self::System | Self::Manual(_) => {
                let now = self.shown();
                ClockStatus { shown: now, now, passed: now }
            }
        }
    }

    /// Goes by what the clock shows, whatever has passed; says what that is.
    pub(crate) fn believe(&self) -> UnixTime {
        match self {
            Self::Lasting(lasting) => lasting.believe(),
            Self::System | Self::Manual(_) => self.shown(),
        }
    }

    /// Takes over what the process that serves in this one's place has noted of the time; whether this one believes what the
    /// clock shows from now on, because that one does.
    pub(crate) fn follow(&self, noted: UnixTime) -> bool {
        match self {
            Self::Lasting(lasting) => lasting.follow(noted),
            Self::System | Self::Manual(_) => false,
        }
    }

    /// Moves a manual clock on; the system's clock stays as it is.
    pub fn advance(&self, by: Duration) {
        match self {
            Self::System => {}
            Self::Manual(now) => {
                now.fetch_add(by.as_secs(), Ordering::SeqCst);
            }
            Self::Lasting(lasting) => lasting.source().advance(by),
        }
    }
}

/// How far the wall clock may part from one that never leaps before somebody should know: what tokens allow.
const LEAP: u64 = 60;

/// Watches the wall clock beside one that never leaps: sessions, PINs and certificates are judged by the wall clock.
/// One that stands still is told at every look.
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
        let before = std::mem::replace(self, Self::new(wall, steady));
        let leap = wall.0.abs_diff(expected.0);
        let stands = wall == before.wall && leap > LEAP / 2;
        (leap > LEAP || stands).then_some((leap, wall > expected))
    }
}

/// Notices when the wall clock leaps forward, for everybody who waits until a moment of it: they need not look at it themselves. Where
/// it is set back or stands still they wake too soon, and wait again.
#[derive(Debug, Default)]
pub(crate) struct Leaps(Mutex<Option<(UnixTime, Instant)>>);

/// By how many seconds the two clocks may part without a leap, as the wall clock is read in whole ones.
const READING: u64 = 1;

impl Leaps {
    /// Whether the wall clock has run ahead of one that never leaps since it last did.
    pub(crate) fn noticed(&self, wall: UnixTime, steady: Instant) -> bool {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (began, at) = *held.get_or_insert((wall, steady));
        let expected = began.plus(steady.saturating_duration_since(at));
        if wall.0.abs_diff(expected.0) > READING {
            *held = Some((wall, steady));
        }
        wall.0 > expected.0.saturating_add(READING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // S8
    #[test]
    fn every_leap_forward_is_noticed_once_also_a_small_one_that_is_made_again_and_again_and_time_that_passes_is_none() {
        let (began, leaps) = (Instant::now(), Leaps::default());
        let at = |millis: u64, wall: u64| leaps.noticed(UnixTime(wall), began + Duration::from_millis(millis));
        assert!((0..4000).all(|tick| !at(tick * 250, 10_000 + (tick * 250).div_ceil(1000))));
        assert!(at(1_000_000, 11_060) && !at(1_000_250, 11_060), "forward");
        assert!(!at(1_000_500, 9_000) && !at(1_000_750, 9_000), "back");
        assert!((1..100).all(|second| !at(1_000_750 + second * 1_000, 9_000)), "it stands still");
        assert!(at(1_100_000, 9_010) && !at(1_100_250, 9_010), "and is moved on");
        let slow: Vec<_> = (1..5).map(|step| at(1_100_250 + step * 250, 9_010 + step)).collect();
        assert!(slow.contains(&true), "a second in a quarter of one: {slow:?}");
    }

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

    // F16
    #[test]
    fn a_clock_that_stands_still_is_told_again_and_again() {
        let began = Instant::now();
        let mut watch = ClockWatch::new(UnixTime(10_000), began);
        let mut at = |seconds: u64, wall: u64| watch.look(UnixTime(wall), began + Duration::from_secs(seconds));
        assert_eq!(at(60, 10_060), None);
        assert_eq!(at(120, 10_060), Some((60, false)));
        assert_eq!(at(180, 10_060), Some((60, false)));
        assert_eq!(at(240, 10_120), None);
    }
}
