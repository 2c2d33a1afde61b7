//! How often something in this process panicked: each time is a defect of the program, and costs somebody something (F29).

use std::{
    panic,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tunnel_proto::UnixTime;

/// For so long after a panic somebody should look into it.
const RECENT: Duration = Duration::from_secs(3600);

static SEEN: Mutex<(u64, Option<Instant>)> = Mutex::new((0, None));

/// How often something panicked in the process that serves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PanicStatus {
    /// How often since it began.
    pub count: u64,
    /// The last time.
    pub last: Option<UnixTime>,
    /// Whether that was within the last hour.
    pub recent: bool,
}

/// Counts from now on every panic in this process, whoever survives it. What was done at a panic before is still done.
pub fn count() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        {
            let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
            *seen = (seen.0.saturating_add(1), Some(Instant::now()));
        }
        before(info);
    }));
}

/// How often something panicked, at `now`.
pub(crate) fn status(now: UnixTime) -> PanicStatus {
    let (count, last) = *SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let ago = last.map(|last| last.elapsed());
    PanicStatus {
        count,
        last: ago.map(|ago| UnixTime(now.0.saturating_sub(ago.as_secs()))),
        recent: ago.is_some_and(|ago| ago < RECENT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // F29
    #[test]
    fn a_panic_that_is_survived_is_counted_and_told_of_as_before() {
        let usual = panic::take_hook();
        let told = std::sync::Arc::new(Mutex::new(0));
        let telling = told.clone();
        panic::set_hook(Box::new(move |_| *telling.lock().unwrap() += 1));
        count();
        let before = status(UnixTime(1000)).count;
        let survived = [(); 2].map(|()| panic::catch_unwind(|| panic!("on purpose")).is_err());
        panic::set_hook(usual);
        assert_eq!(survived, [true; 2]);
        let after = status(UnixTime(1000));
        assert!(after.count >= before + 2 && after.recent, "{after:?}");
        assert!(after.last.is_some_and(|last| last.0 > 900), "{after:?}");
        assert!(*told.lock().unwrap() >= 2);
    }
}
