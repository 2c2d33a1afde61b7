//! How long to wait before the next attempt to reach the edge.

use std::time::Duration;

/// The longest pause before the first retry after a loss. Only jitter: connectors that lost the same edge at the same
/// moment should not return in one wave.
pub const FIRST_RETRY_JITTER: Duration = Duration::from_millis(250);
/// The ceiling of the first pause that grows; it doubles with every further failure.
pub const RETRY_BASE: Duration = Duration::from_millis(500);
/// No pause is longer than this, so that a network that comes back is used again within seconds.
pub const RETRY_CAP: Duration = Duration::from_secs(5);

/// The pauses between attempts: at first only jitter, then a ceiling that doubles up to [`RETRY_CAP`], of which a
/// random part is waited ("full jitter").
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Nothing has failed yet.
    pub const fn new() -> Self {
        Self { failures: 0 }
    }

    /// The pause before the next attempt, chosen by `random` (any value; all of them equally likely).
    pub fn next_pause(&mut self, random: u64) -> Duration {
        let ceiling = ceiling(self.failures);
        self.failures = self.failures.saturating_add(1);
        let span = u64::try_from(ceiling.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        Duration::from_millis(random % span)
    }

    /// An attempt succeeded and lasted: the next failure is a first one again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// How many attempts failed in a row.
    pub const fn failures(&self) -> u32 {
        self.failures
    }
}

fn ceiling(failures: u32) -> Duration {
    match failures.checked_sub(1) {
        None => FIRST_RETRY_JITTER,
        Some(doublings) => {
            let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
            RETRY_BASE.saturating_mul(factor).min(RETRY_CAP)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ceilings_double_from_the_base_to_the_cap() {
        let ceilings: Vec<u128> = (0..8).map(|failures| ceiling(failures).as_millis()).collect();
        assert_eq!(ceilings, [250, 500, 1000, 2000, 4000, 5000, 5000, 5000]);
    }

    proptest! {
        // F12
        #[test]
        fn no_pause_exceeds_its_ceiling_and_success_starts_over(randoms in prop::collection::vec(any::<u64>(), 1..80)) {
            let mut backoff = Backoff::new();
            for (failures, random) in (0_u32..).zip(&randoms) {
                prop_assert_eq!(backoff.failures(), failures);
                let pause = backoff.next_pause(*random);
                prop_assert!(pause <= ceiling(failures), "{:?} after {}", pause, failures);
                prop_assert!(pause <= RETRY_CAP);
            }
            backoff.reset();
            prop_assert!(backoff.next_pause(u64::MAX) <= FIRST_RETRY_JITTER);
        }

        #[test]
        fn the_whole_span_of_a_pause_is_reachable(millis in 0_u64..=5000) {
            let mut backoff = Backoff { failures: 60 };
            prop_assert_eq!(backoff.next_pause(millis), Duration::from_millis(millis));
        }
    }
}
