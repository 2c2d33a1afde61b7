//! So many at once, and so many a second: buckets that leak.

use std::time::Instant;

/// So many at once, and so many a second.
#[derive(Clone, Copy)]
pub(super) struct Rate {
    pub(super) burst: u32,
    pub(super) per_second: u32,
}

impl Rate {
    pub(super) const fn times(self, networks: u32) -> Self {
        Self { burst: self.burst.saturating_mul(networks), per_second: self.per_second.saturating_mul(networks) }
    }
}

/// A bucket that leaks: what was poured in, in thousandths, as of then.
#[derive(Clone, Copy)]
pub(super) struct Level {
    pub(super) filled: u64,
    at: Instant,
}

impl Level {
    pub(super) const fn empty(now: Instant) -> Self {
        Self { filled: 0, at: now }
    }

    pub(super) fn settle(&mut self, rate: Rate, now: Instant) {
        let millis = u64::try_from(now.saturating_duration_since(self.at).as_millis()).unwrap_or(u64::MAX);
        self.filled = self.filled.saturating_sub(millis.saturating_mul(u64::from(rate.per_second)));
        self.at = now;
    }

    /// Pours some in; whether it still fits.
    pub(super) fn pour(&mut self, amount: u32, rate: Rate, now: Instant) -> bool {
        self.settle(rate, now);
        let filled = self.filled.saturating_add(u64::from(amount).saturating_mul(1000));
        let fits = filled <= u64::from(rate.burst).saturating_mul(1000);
        if fits {
            self.filled = filled;
        }
        fits
    }
}
