//! What is worth a warning, but not one for each time it happens: whoever floods would fill the log.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How often one kind of trouble is warned of at most.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// One kind of trouble.
pub(super) struct Notice {
    what: &'static str,
    since: Mutex<(u64, Option<Instant>)>,
}

impl Notice {
    pub(super) const fn new(what: &'static str) -> Self {
        Self { what, since: Mutex::new((0, None)) }
    }

    /// Counts it, and warns with the count when the last warning is long ago.
    pub(super) fn note(&self) {
        if let Some(count) = self.count(Instant::now()) {
            tracing::warn!(count, "{}", self.what);
        }
    }

    fn count(&self, now: Instant) -> Option<u64> {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.0 = since.0.saturating_add(1);
        if since.1.is_some_and(|warned| now.duration_since(warned) < WARN_EVERY) {
            return None;
        }
        let (count, _) = std::mem::replace(&mut *since, (0, Some(now)));
        Some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_warned_of_once_a_minute_with_its_count() {
        let (notice, start) = (Notice::new("trouble"), Instant::now());
        assert_eq!(notice.count(start), Some(1));
        assert_eq!(notice.count(start + Duration::from_secs(1)), None);
        assert_eq!(notice.count(start + Duration::from_secs(59)), None);
        assert_eq!(notice.count(start + Duration::from_secs(60)), Some(3));
    }
}
