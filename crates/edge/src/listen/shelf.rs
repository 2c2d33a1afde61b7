//! A bounded number of places. When none is left, the oldest that can be done without is given away: whoever comes now and
//! means it is served, and whoever only holds a place loses it (H13).

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::activity::Activity;

/// How long whoever has just come is left alone, so that not everybody is sent away before anybody has said a word.
const SPARED: Duration = Duration::from_secs(1);

/// The places of one kind.
pub(super) struct Shelf {
    free: Arc<Semaphore>,
    taken: Mutex<BTreeMap<u64, Arc<Spot>>>,
    next: AtomicU64,
}

/// One place that is taken.
struct Spot {
    permit: Mutex<Option<OwnedSemaphorePermit>>,
    since: Instant,
    activity: Arc<Activity>,
    kept: AtomicBool,
    lost: CancellationToken,
}

impl Shelf {
    pub(super) fn new(places: usize) -> Arc<Self> {
        let free = Arc::new(Semaphore::new(places.clamp(1, Semaphore::MAX_PERMITS)));
        Arc::new(Self { free, taken: Mutex::default(), next: AtomicU64::new(0) })
    }

    /// A place; `None` when all are taken by those who need theirs.
    pub(super) fn take(self: &Arc<Self>) -> Option<Taken> {
        self.take_at(Instant::now())
    }

    fn take_at(self: &Arc<Self>, now: Instant) -> Option<Taken> {
        let permit = match self.free.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.shed(now)?,
        };
        let spot = Arc::new(Spot {
            permit: Mutex::new(Some(permit)),
            since: now,
            activity: Arc::default(),
            kept: AtomicBool::new(false),
            lost: CancellationToken::new(),
        });
        let number = self.next.fetch_add(1, Relaxed);
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).insert(number, spot.clone());
        Some(Taken { shelf: self.clone(), number, spot })
    }

    /// Takes the place away from the oldest that can be done without.
    fn shed(&self, now: Instant) -> Option<OwnedSemaphorePermit> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.values().find_map(|spot| spot.give_up(now))
    }
}

impl Spot {
    fn give_up(&self, now: Instant) -> Option<OwnedSemaphorePermit> {
        let needed = self.kept.load(Relaxed) || self.activity.is_busy() || now.duration_since(self.since) < SPARED;
        if needed {
            return None;
        }
        let permit = self.permit.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        self.lost.cancel();
        Some(permit)
    }
}

/// A taken place; free again when dropped.
pub(super) struct Taken {
    shelf: Arc<Shelf>,
    number: u64,
    spot: Arc<Spot>,
}

impl Taken {
    /// What goes on at this place. While something does, it is not given away.
    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.spot.activity
    }

    /// Keeps the place from being given away.
    pub(super) fn keep(&self) {
        self.spot.kept.store(true, Relaxed);
    }

    /// Whether it is kept from being given away.
    pub(super) fn is_kept(&self) -> bool {
        self.spot.kept.load(Relaxed)
    }

    /// Cancelled when the place was given away.
    pub(super) fn lost(&self) -> &CancellationToken {
        &self.spot.lost
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.shelf.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // H13
    #[test]
    fn the_oldest_place_that_nobody_needs_is_given_away() {
        let (shelf, start) = (Shelf::new(3), Instant::now());
        let places: Vec<_> = (0..3).map(|_| shelf.take_at(start).unwrap()).collect();
        assert!(shelf.take_at(start).is_none(), "whoever has just come is spared");
        let later = start + SPARED;
        places[0].keep();
        let busy = places[1].activity().begin();
        let next = shelf.take_at(later).unwrap();
        let lost: Vec<_> = places.iter().map(|place| place.lost().is_cancelled()).collect();
        assert_eq!(lost, [false, false, true]);
        assert!(shelf.take_at(later).is_none(), "all others are needed, or new");
        drop(busy);
        let _last = shelf.take_at(later).unwrap();
        assert!(places[1].lost().is_cancelled() && !places[0].lost().is_cancelled());
        // Whoever lost a place gives none back.
        drop(places);
        drop(next);
        assert_eq!(shelf.free.available_permits(), 2);
    }
}
