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
    /// Whether HTTP is what is spoken there, so that nothing is under way where nothing is asked.
    http: AtomicBool,
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
            http: AtomicBool::new(false),
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

    /// How much goes on: what is asked at each place, and the place itself where nothing is.
    pub(super) fn held(&self) -> usize {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.values().map(|spot| spot.activity.busy().max(1)).sum()
    }

    /// Takes away every place at which HTTP is spoken and nothing is asked: those of strangers, and, with `all`, those of
    /// whoever was admitted, too. They are free again once whoever has them notices.
    pub(super) fn relieve(&self, all: bool) {
        self.relieve_at(all, Instant::now());
    }

    fn relieve_at(&self, all: bool, now: Instant) {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.values().filter(|spot| spot.is_idle(all, now)).for_each(|spot| spot.lost.cancel());
    }
}

impl Spot {
    fn is_idle(&self, all: bool, now: Instant) -> bool {
        self.http.load(Relaxed) && (all || !self.kept.load(Relaxed)) && self.activity.rests_for(SPARED, now)
    }

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

    /// HTTP is spoken at this place, until what this gives is dropped.
    pub(super) fn speaks_http(&self) -> SpeaksHttp {
        self.spot.http.store(true, Relaxed);
        SpeaksHttp(self.spot.clone())
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

/// As long as HTTP is spoken at a place.
pub(super) struct SpeaksHttp(Arc<Spot>);

impl Drop for SpeaksHttp {
    fn drop(&mut self) {
        self.0.http.store(false, Relaxed);
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

    // F21
    #[test]
    fn where_memory_is_short_idle_places_of_strangers_go_first_then_everybodys_and_never_what_is_under_way() {
        let shelf = Shelf::new(8);
        let start = Instant::now();
        let [stranger, staff, busy, websocket] = [(); 4].map(|()| shelf.take().unwrap());
        let lost = || [&stranger, &staff, &busy, &websocket].map(|place| place.lost().is_cancelled());
        let speak = [&stranger, &staff, &busy].map(Taken::speaks_http);
        drop(websocket.speaks_http());
        [&staff, &busy, &websocket].into_iter().for_each(Taken::keep);
        let _asked = [busy.activity().begin(), busy.activity().begin()];
        assert_eq!(shelf.held(), 5);
        shelf.relieve_at(true, start);
        assert_eq!(lost(), [false; 4], "whoever has just come is spared");
        let later = Instant::now() + SPARED;
        shelf.relieve_at(false, later);
        assert_eq!(lost(), [true, false, false, false]);
        shelf.relieve_at(true, later);
        assert_eq!(lost(), [true, true, false, false]);
        drop(speak);
    }
}
