//! How much a peer may send on a stream before some of it was read: bandwidth times the shortest round trip, twice.
//!
//! A window is given back when half of it was read. Whoever needs less than a round trip for that half could have sent more, and
//! gets twice as much; whoever needs many of them gets less again. The round trip is the shortest of late, since the one under
//! load has the queues in it that too large a window makes.

use std::time::Duration;

use tokio::time::Instant;

/// What each side may send on a stream before it hears more (the yamux specification).
pub const WINDOW_START: usize = 256 * 1024;
/// The most that the window of one stream grows to: 16 MiB is 640 Mbit/s over 200 ms.
pub const WINDOW_MAX: usize = 16 * 1024 * 1024;
/// A round trip counts as this long at least: what is shorter is on this machine, where scheduling decides.
const ROUND_TRIP_MIN: Duration = Duration::from_millis(1);
/// Round trips for half a window from which on it is more than is needed.
const SLOW: u32 = 8;
/// A stream on which nothing comes for so long needs no more than it began with.
pub(super) const IDLE: Duration = Duration::from_secs(10);
/// How long the shortest round trip counts, half of it at least: then the path may be another one.
const PATH_TIME: Duration = Duration::from_secs(60);

/// The window that one stream's peer has.
#[derive(Debug)]
pub(super) struct Window {
    /// What it is to be, in bytes.
    size: usize,
    /// What the peer may still send.
    credit: usize,
    /// When the first payload came after the last credit was given.
    since: Option<Instant>,
    /// When payload last came.
    last: Option<Instant>,
}

/// What follows from something having been read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Given {
    /// What the peer may send more.
    pub(super) credit: usize,
    /// The window's size before and now.
    pub(super) was: usize,
    pub(super) is: usize,
}

impl Window {
    pub(super) const fn new() -> Self {
        Self { size: WINDOW_START, credit: WINDOW_START, since: None, last: None }
    }

    /// What it has grown by.
    pub(super) const fn grown(&self) -> usize {
        self.size - WINDOW_START
    }

    /// The peer sends so many bytes; whether it may.
    pub(super) fn spend(&mut self, bytes: usize, now: Instant) -> bool {
        let Some(left) = self.credit.checked_sub(bytes) else { return false };
        self.credit = left;
        if bytes > 0 {
            self.since.get_or_insert(now);
            self.last = Some(now);
        }
        true
    }

    /// Whether nothing has come for so long that it needs no more than it began with.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        self.last.is_none_or(|last| now.saturating_duration_since(last) >= IDLE)
    }

    /// Goes back to what it began with, as far as what was promised allows.
    pub(super) const fn reset(&mut self) {
        self.size = WINDOW_START;
    }

    /// Something was read, and so many bytes are left unread: what more the peer may send, if it is worth saying. `room` is
    /// what windows may still grow by.
    pub(super) fn read(
        &mut self,
        unread: usize,
        now: Instant,
        round_trip: Option<Duration>,
        room: usize,
    ) -> Option<Given> {
        if self.size.saturating_sub(self.credit.saturating_add(unread)) < self.size / 2 {
            return None;
        }
        let was = self.size;
        if let (Some(round_trip), Some(since)) = (round_trip, self.since.take()) {
            let (taken, round_trip) = (now.saturating_duration_since(since), round_trip.max(ROUND_TRIP_MIN));
            if taken < round_trip {
                self.size = (was * 2).min(was.saturating_add(room)).min(WINDOW_MAX);
            } else if taken >= round_trip * SLOW {
                self.size = (was / 2).max(WINDOW_START);
            }
        }
        let credit = self.size.saturating_sub(self.credit.saturating_add(unread));
        self.credit += credit;
        Some(Given { credit, was, is: self.size })
    }
}

/// The shortest round trip of late.
#[derive(Debug)]
pub(super) struct RoundTrip {
    shortest: Option<Duration>,
    /// The shortest since `since`, which takes the other's place when that has counted for long enough.
    next: Option<Duration>,
    since: Instant,
}

impl RoundTrip {
    pub(super) const fn new(now: Instant) -> Self {
        Self { shortest: None, next: None, since: now }
    }

    pub(super) fn note(&mut self, taken: Duration, now: Instant) {
        if now.saturating_duration_since(self.since) >= PATH_TIME {
            (self.shortest, self.next, self.since) = (self.next.take(), None, now);
        }
        let least = |known: Option<Duration>| Some(known.map_or(taken, |known| known.min(taken)));
        self.shortest = least(self.shortest);
        self.next = least(self.next);
    }

    pub(super) const fn shortest(&self) -> Option<Duration> {
        self.shortest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(50);

    /// A peer that fills its window whenever it can, over a path of so many bytes a second; the window in the end.
    fn filled(rate: usize, room: usize, window: &mut Window, seconds: u64) -> usize {
        let (start, step) = (Instant::now(), Duration::from_millis(1));
        let mut grown = window.grown();
        for ms in 0..seconds * 1000 {
            let now = start + step * u32::try_from(ms).unwrap();
            let sent = (rate / 1000).min(window.credit);
            assert!(window.spend(sent, now));
            if let Some(given) = window.read(0, now, Some(RTT), room.saturating_sub(grown)) {
                grown = grown + given.is - given.was;
            }
        }
        window.size
    }

    #[test]
    fn a_window_grows_to_twice_what_the_path_holds_and_no_further() {
        for rate in [25 << 20, 5 << 20, 100 << 20] {
            let path = rate / 20;
            let size = filled(rate, usize::MAX, &mut Window::new(), 20);
            let fits = size >= (2 * path).clamp(WINDOW_START, WINDOW_MAX) && size <= (5 * path).max(WINDOW_START);
            assert!(fits, "{size} for a path that holds {path}");
        }
    }

    #[test]
    fn a_window_grows_no_further_than_there_is_room() {
        assert_eq!(filled(100 << 20, 1 << 20, &mut Window::new(), 5), WINDOW_START + (1 << 20));
        assert_eq!(filled(100 << 20, 0, &mut Window::new(), 5), WINDOW_START);
    }

    #[test]
    fn a_window_that_is_hardly_used_any_more_shrinks() {
        let mut window = Window::new();
        assert!(filled(100 << 20, usize::MAX, &mut window, 5) > 4 << 20);
        assert_eq!(filled(1 << 18, usize::MAX, &mut window, 300), WINDOW_START);
    }

    #[test]
    fn nobody_may_send_more_than_the_window() {
        let (mut window, now) = (Window::new(), Instant::now());
        assert!(window.spend(WINDOW_START, now));
        assert!(!window.spend(1, now));
        assert_eq!(window.read(WINDOW_START / 2 + 1, now, None, 0), None, "less than half was read");
        let given = Given { credit: WINDOW_START / 2, was: WINDOW_START, is: WINDOW_START };
        assert_eq!(window.read(WINDOW_START / 2, now, None, 0), Some(given));
        assert!(window.spend(WINDOW_START / 2, now));
        assert!(!window.spend(1, now));
    }

    #[test]
    fn the_shortest_round_trip_counts_until_the_path_may_be_another() {
        let (start, ms) = (Instant::now(), Duration::from_millis);
        let mut round_trip = RoundTrip::new(start);
        assert_eq!(round_trip.shortest(), None);
        round_trip.note(ms(50), start);
        round_trip.note(ms(400), start);
        assert_eq!(round_trip.shortest(), Some(ms(50)));
        round_trip.note(ms(200), start + PATH_TIME);
        assert_eq!(round_trip.shortest(), Some(ms(50)), "it was seen within the last two minutes");
        round_trip.note(ms(210), start + PATH_TIME * 2);
        assert_eq!(round_trip.shortest(), Some(ms(200)));
    }
}
