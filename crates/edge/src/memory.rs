//! How short memory is (F21). The shorter it is, the less is begun, so that the system never has to end the edge for it;
//! what is under way goes on.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

use crate::platform::{
    self,
    memory::{Group, limited_groups},
};

/// How short memory is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shortage {
    /// There is enough.
    #[default]
    None,
    /// Strangers are not served, and keep no connection.
    Slight,
    /// Nobody keeps a connection on which nothing is asked.
    Serious,
    /// Nothing new is begun: no connection, no request, no stream.
    Severe,
}

/// From how much of the limit on a shortage begins, and below how much it ends, in per cent. Between the two it stays as it
/// is, so that what is given up does not come back at once.
const STEPS: [(Shortage, u64, u64); 3] =
    [(Shortage::Severe, 95, 90), (Shortage::Serious, 90, 85), (Shortage::Slight, 80, 75)];

impl Shortage {
    /// What follows on this one when so many bytes of so many are taken.
    fn next(self, taken: u64, limit: u64) -> Self {
        let percent = taken.saturating_mul(100) / limit.max(1);
        let holds = |(step, begins, ends): &&(Self, u64, u64)| percent >= if self >= *step { *ends } else { *begins };
        STEPS.iter().find(holds).map_or(Self::None, |(step, ..)| *step)
    }

    const fn of(number: u8) -> Self {
        match number {
            0 => Self::None,
            1 => Self::Slight,
            2 => Self::Serious,
            _ => Self::Severe,
        }
    }
}

/// How short memory is now, for whoever is about to take some.
#[derive(Debug, Default)]
pub(crate) struct Memory(AtomicU8);

impl Memory {
    pub(crate) fn shortage(&self) -> Shortage {
        Shortage::of(self.0.load(Relaxed))
    }

    pub(crate) fn set(&self, shortage: Shortage) {
        self.0.store(shortage as u8, Relaxed);
    }
}

/// What memory is held against.
pub(crate) struct Gauge {
    /// For this process alone, in bytes; as configured.
    limit: Option<u64>,
    groups: Vec<Group>,
    shortage: Shortage,
    /// By the last look.
    least: u64,
}

impl Gauge {
    /// `None` where nothing limits.
    pub(crate) fn new(limit: Option<u64>) -> Option<Self> {
        let groups = limited_groups();
        (limit.is_some() || !groups.is_empty()).then_some(Self { limit, groups, shortage: Shortage::None, least: 0 })
    }

    /// Looks how short memory is, by the limit that is nearest; a change is said once.
    pub(crate) fn look(&mut self) -> Shortage {
        let own = self.limit.and_then(|limit| Some((platform::resident_kib()?.saturating_mul(1024), limit)));
        let all: Vec<_> = own.into_iter().chain(self.groups.iter().filter_map(Group::usage)).collect();
        self.least = all.iter().map(|(_, limit)| *limit).min().unwrap_or_default();
        let judged = all.into_iter().map(|(taken, limit)| (self.shortage.next(taken, limit), taken, limit));
        let (shortage, taken, limit) = judged.max_by_key(|(shortage, ..)| *shortage).unwrap_or_default();
        let (taken, limit) = (taken >> 20, limit >> 20);
        if shortage > self.shortage {
            tracing::warn!(?shortage, mebibytes = taken, of = limit, "memory is short: less is begun");
        } else if shortage < self.shortage {
            tracing::info!(?shortage, mebibytes = taken, of = limit, "memory is less short than it was");
        }
        self.shortage = shortage;
        shortage
    }

    /// The smallest limit, in bytes, as of the last look.
    pub(crate) const fn least(&self) -> u64 {
        self.least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // F21
    #[test]
    fn a_shortage_begins_at_its_mark_and_ends_well_below() {
        use Shortage::{None, Serious, Severe, Slight};
        let mut now = None;
        for (percent, then) in [
            (0, None),
            (79, None),
            (80, Slight),
            (75, Slight),
            (74, None),
            (79, None),
            (90, Serious),
            (94, Serious),
            (86, Serious),
            (84, Slight),
            (89, Slight),
            (95, Severe),
            (90, Severe),
            (89, Serious),
            (100, Severe),
            (250, Severe),
            (85, Serious),
            (10, None),
            (99, Severe),
            (76, Slight),
            (0, None),
        ] {
            now = now.next(percent, 100);
            assert_eq!(now, then, "at {percent} per cent");
        }
        assert_eq!(None.next(u64::MAX, 0), Severe, "a limit of nothing is none to divide by");
    }

    #[test]
    fn what_was_set_is_read() {
        let memory = Memory::default();
        for shortage in [Shortage::None, Shortage::Slight, Shortage::Serious, Shortage::Severe] {
            memory.set(shortage);
            assert_eq!(memory.shortage(), shortage);
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_over_its_own_limit_is_short_of_memory() {
        let mut gauge = Gauge { limit: Some(1024 * 1024), groups: Vec::new(), shortage: Shortage::None, least: 0 };
        assert_eq!(gauge.look(), Shortage::Severe);
        assert_eq!(gauge.least(), 1024 * 1024);
        gauge.limit = Some(1 << 50);
        assert_eq!(gauge.look(), Shortage::None);
    }
}
