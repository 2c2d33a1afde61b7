//! How much a peer may send on a stream before some of it was read: somewhat more than bandwidth times the shortest round trip near,
//! and about twice as much over a distance.
//!
//! What arrives is counted for a round trip at a time. Where that is so much of the window that the window may be what holds the
//! peer back, it doubles; where it was much less for several round trips, the window shrinks towards the most of them, since what
//! is more would only stand in a queue on the way, with whatever else goes there behind it. The round trip is the shortest of late:
//! the one under load has those queues in it.

use std::time::Duration;

use tokio::time::Instant;

/// What each side may send on a stream before it hears more (the yamux specification).
pub const WINDOW_START: usize = 256 * 1024;
/// The most that the window of one stream grows to: 16 MiB is 640 Mbit/s over 200 ms.
pub const WINDOW_MAX: usize = 16 * 1024 * 1024;
/// The least that it shrinks to over a distance.
const WINDOW_MIN: usize = 64 * 1024;
/// The same within a machine or a room. Between the two, where scheduling and radio take as long as the round trip, it is
/// [`WINDOW_START`].
const WINDOW_MIN_NEAR: usize = 128 * 1024;
/// A round trip counts as this long at least: what is shorter is on this machine, where scheduling decides. Whatever a window has
/// beyond its need stands in front of everybody else's: with a millisecond here, an echo beside a download takes twice as long,
/// and the download gets no more.
const ROUND_TRIP_MIN: Duration = Duration::from_micros(300);
/// Up to which round trip the way is within a machine or a room.
const NEAR: Duration = Duration::from_millis(1);
/// From which round trip on the way is a distance.
pub const FAR: Duration = Duration::from_millis(5);
/// How much of a window has to arrive in the shortest round trip for it to grow, and to stay as it is, in hundredths: near and over a
/// distance. A round trip under load is longer, by the queues on the way and by a quarter of the window, which is read before the peer
/// hears of it; so over a distance a peer that the window holds back brings little more than three fifths of it, and less while the
/// path gives less than it did. Near, queues are all that there is.
const FULL: [usize; 2] = [75, 50];
/// See [`FULL`].
const ENOUGH: [usize; 2] = [60, 40];
/// How much it is after it shrank, in hundredths of what arrives: enough for it not to be full at once. Over a distance that is more
/// than the path holds, so that what is lost, or late, leaves no gap: what is more waits where it comes from, as links go by what
/// arrives ([`LinkSocket`](crate::link::LinkSocket)). With 180 in the place of 220, 64 streams of a link got 0.7 of 200 Mbit/s over
/// 200 ms, in the place of 0.9.
const SPARE: [usize; 2] = [140, 220];
/// A peer that says nothing for two round trips, and for this long, pauses.
const PAUSE_MIN: Duration = Duration::from_millis(2);
/// Round trips of which the best one counts before a window shrinks: a connection that has just begun, or has lost something, is
/// slow for a while.
const ROUND_TRIPS: u8 = 8;
/// A stream on which nothing comes for so long needs no more than it began with.
pub(super) const IDLE: Duration = Duration::from_secs(10);
/// How long the shortest round trip counts, half of it at least: then the path may be another one.
const PATH_TIME: Duration = Duration::from_secs(60);

/// The window that one stream's peer has.
#[derive(Debug)]
pub(super) struct Window {
    /// What it is to be, in bytes.
    size: usize,
    /// What the peer may still send, or has under way.
    credit: usize,
    /// Since when what arrives is counted, and how much has.
    count: Option<(Instant, usize)>,
    /// When payload last came.
    last: Option<Instant>,
    /// The most that arrived in a round trip since the window last changed, and in how many it did not fill it.
    best: usize,
    unfilled: u8,
}

/// What follows from something having been read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Given {
    /// What the peer may send more.
    pub(super) credit: usize,
    /// What the window has grown by beyond [`WINDOW_START`], before and now.
    pub(super) grown_before: usize,
    pub(super) grown: usize,
}

impl Window {
    pub(super) const fn new() -> Self {
        Self { size: WINDOW_START, credit: WINDOW_START, count: None, last: None, best: 0, unfilled: 0 }
    }

    /// What it has grown by.
    pub(super) const fn grown(&self) -> usize {
        self.size.saturating_sub(WINDOW_START)
    }

    /// The peer sends so many bytes; whether it may.
    pub(super) fn spend(&mut self, bytes: usize, now: Instant, round_trip: Option<Duration>) -> bool {
        let Some(left) = self.credit.checked_sub(bytes) else { return false };
        self.credit = left;
        if bytes > 0 {
            // A pause of the peer says nothing of the path: a page and then another one are not slow.
            let pause = (round_trip.unwrap_or_default() * 2).max(PAUSE_MIN);
            let paused = self.last.is_none_or(|last| now.saturating_duration_since(last) >= pause);
            match &mut self.count {
                Some((_, count)) if !paused => *count = count.saturating_add(bytes),
                // What comes first opens the count, and is not in it.
                _ => self.count = Some((now, 0)),
            }
            self.last = Some(now);
        }
        true
    }

    /// Whether nothing has come for so long that it needs no more than it began with.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        self.last.is_none_or(|last| now.saturating_duration_since(last) >= IDLE)
    }

    /// Goes back to what it began with, as far as what was promised allows.
    pub(super) fn reset(&mut self) {
        self.size = self.size.min(WINDOW_START);
        self.count = None;
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
        if self.size.saturating_sub(self.credit.saturating_add(unread)) < self.size / 4 {
            return None;
        }
        let grown_before = self.grown();
        if let Some(round_trip) = round_trip {
            self.fit(round_trip.max(ROUND_TRIP_MIN), now, room);
        }
        let credit = self.size.saturating_sub(self.credit.saturating_add(unread));
        self.credit += credit;
        Some(Given { credit, grown_before, grown: self.grown() })
    }

    /// Has the window fit what arrives in a round trip, once one has gone by.
    fn fit(&mut self, round_trip: Duration, now: Instant, room: usize) {
        let Some((since, count)) = self.count else { return };
        let taken = now.saturating_duration_since(since);
        if taken < round_trip {
            return;
        }
        self.count = Some((now, 0));
        // Truncation is of a part of a byte.
        let arrived = (count as f64 * round_trip.as_secs_f64() / taken.as_secs_f64()) as usize;
        self.best = self.best.max(arrived);
        self.unfilled = self.unfilled.saturating_add(1);
        let [full, enough, spare] = [FULL, ENOUGH, SPARE].map(|[near, far]| if round_trip < FAR { near } else { far });
        if arrived >= self.size / 100 * full {
            let most = self.size.max(WINDOW_START).saturating_add(room).min(WINDOW_MAX);
            self.size = (self.size * 2).min(most).max(self.size);
        } else if self.unfilled < ROUND_TRIPS {
            return;
        } else if self.best < self.size / 100 * enough {
            let least = match round_trip {
                trip if trip < NEAR => WINDOW_MIN_NEAR,
                trip if trip < FAR => WINDOW_START,
                _ => WINDOW_MIN,
            };
            self.size = (self.best / 100 * spare).max(least).min(self.size);
        }
        (self.best, self.unfilled) = (0, 0);
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
    use std::collections::VecDeque;

    use super::*;

    const RTT: Duration = Duration::from_millis(50);

    /// A peer that fills its window whenever it can, over a path of so many bytes a second and 50 ms: what it carried in the last
    /// second, and the window in the end.
    fn filled(rate: usize, room: usize, window: &mut Window, seconds: u64) -> (usize, usize) {
        let (start, step) = (Instant::now(), Duration::from_millis(1));
        // What the peer may send; under way to it, and to us.
        let (mut may, mut to_peer, mut to_us) = (window.credit, vec![0; 25], vec![0; 25]);
        let (mut queue, mut grown, mut last) = (0, window.grown(), 0);
        for ms in 0..seconds * 1000 {
            let now = start + step * u32::try_from(ms).unwrap();
            may += to_peer.remove(0);
            queue += std::mem::take(&mut may);
            let passes = queue.min(rate / 1000);
            queue -= passes;
            to_us.push(passes);
            let arrives = to_us.remove(0);
            assert!(window.spend(arrives, now, Some(RTT)));
            last += if ms >= (seconds - 1) * 1000 { arrives } else { 0 };
            let given = window.read(0, now, Some(RTT), room.saturating_sub(grown));
            grown = grown + given.as_ref().map_or(0, |given| given.grown)
                - given.as_ref().map_or(0, |given| given.grown_before);
            to_peer.push(given.map_or(0, |given| given.credit));
        }
        (last, window.size)
    }

    #[test]
    fn a_window_grows_until_the_path_is_full_and_hardly_further() {
        for rate in [2 << 20, 5 << 20, 25 << 20, 100 << 20] {
            let (carried, size) = filled(rate, usize::MAX, &mut Window::new(), 20);
            assert!(carried > rate / 100 * 97, "{carried} of {rate} in a second, by a window of {size}");
            let path = rate / 20;
            assert!(size <= path * 26 / 10, "{size} for a path that holds {path}");
        }
    }

    #[test]
    fn a_window_grows_also_where_a_fifth_of_a_round_trip_is_spent_in_queues() {
        // 200 Mbit/s over 200 ms.
        let (trip, slow) = (Duration::from_millis(200), Duration::from_millis(240));
        assert!(carried(trip, slow, 25_000_000) > 24_000_000);
    }

    #[test]
    fn a_window_that_fits_stays_as_it_is() {
        for rate in [2 << 20, 5 << 20, 25 << 20, 100 << 20] {
            let mut window = Window::new();
            filled(rate, usize::MAX, &mut window, 20);
            let fits = window.size;
            filled(rate, usize::MAX, &mut window, 20);
            assert_eq!(window.size, fits, "at {rate} bytes a second");
        }
    }

    /// What one stream carries a second where the shortest round trip is `trip`, but what is sent is answered after `slow`
    /// only, and the way takes `rate` bytes a second.
    fn carried(trip: Duration, slow: Duration, rate: usize) -> usize {
        let step = if trip < FAR { Duration::from_micros(50) } else { Duration::from_millis(1) };
        let delay = (slow.as_micros() / step.as_micros()) as usize;
        let at_once = (rate as f64 * step.as_secs_f64()) as usize;
        let (mut window, start) = (Window::new(), Instant::now());
        let mut under_way: VecDeque<usize> = VecDeque::from(vec![0; delay]);
        let (mut may, mut total) = (window.credit, 0);
        for at in 0..40_000_u32 {
            let now = start + step * at;
            // Sent, arrived, read, and what is given for it back: all of that takes the whole time.
            let sent = may.min(at_once);
            may -= sent;
            under_way.push_back(sent);
            let arrives = under_way.pop_front().unwrap();
            assert!(window.spend(arrives, now, Some(trip)));
            may += window.read(0, now, Some(trip), usize::MAX).map_or(0, |given| given.credit);
            total += if at >= 20_000 { arrives } else { 0 };
        }
        (total as f64 / 20_000.0 / step.as_secs_f64()) as usize
    }

    #[test]
    fn a_short_way_is_filled_also_by_a_machine_that_has_other_things_to_do() {
        let us = Duration::from_micros;
        // 10 Gbit/s in a room, and within a machine that takes a millisecond for everything.
        assert!(carried(us(100), us(300), 1_250_000_000) > 1_100_000_000);
        assert!(carried(us(100), us(1000), 1_250_000_000) >= 90_000_000);
        // Radio: 2 ms at best, 8 ms while much is carried.
        assert!(carried(us(2000), us(8000), 50_000_000) >= 24_000_000);
    }

    #[test]
    fn a_connection_that_has_just_begun_does_not_lose_its_window() {
        let (mut window, start) = (Window::new(), Instant::now());
        // As TCP begins: twice as much in each round trip.
        for turn in 0..6_u32 {
            let now = start + RTT * turn;
            assert!(window.spend((8 * 1024) << turn, now, Some(RTT)));
            window.read(0, now, Some(RTT), usize::MAX);
            assert!(window.size >= WINDOW_START, "{} in round trip {turn}", window.size);
        }
    }

    #[test]
    fn a_window_grows_no_further_than_there_is_room() {
        assert_eq!(filled(100 << 20, 1 << 20, &mut Window::new(), 5).1, WINDOW_START + (1 << 20));
        assert_eq!(filled(100 << 20, 0, &mut Window::new(), 5).1, WINDOW_START);
        assert_eq!(filled(1 << 40, usize::MAX, &mut Window::new(), 5).1, WINDOW_MAX);
    }

    #[test]
    fn a_window_hardly_swings_where_what_arrives_does() {
        let (mut window, start, mut changes) = (Window::new(), Instant::now(), 0);
        // 200 Mbit/s, of which every round trip has between 85 and 115 of a hundred.
        for trip in 0..4000_u32 {
            let arrives = (1_250_000 / 100 * (85 + (trip as usize * 7919) % 31)).min(window.credit);
            let before = window.size;
            for part in 0..10 {
                window.spend(arrives / 10, start + RTT * trip + RTT / 10 * part, Some(RTT));
                window.read(0, start + RTT * trip + RTT / 10 * part, Some(RTT), usize::MAX);
            }
            changes += u32::from(trip > 100 && window.size != before);
        }
        assert!(changes <= 4, "{changes} changes");
        assert!(window.size >= 2_000_000, "{}", window.size);
    }

    #[test]
    fn a_window_that_is_hardly_used_any_more_shrinks() {
        let mut window = Window::new();
        assert!(filled(100 << 20, usize::MAX, &mut window, 5).1 > 4 << 20);
        let now = Instant::now();
        assert!(!window.is_idle(now) && window.is_idle(now + IDLE + Duration::from_secs(5)));
        // It is looked at when a quarter of it was read, which takes two to three seconds now.
        assert!(filled(1 << 20, usize::MAX, &mut window, 60).1 <= 2 * WINDOW_MIN);
        window = Window::new();
        filled(100 << 20, usize::MAX, &mut window, 5);
        window.reset();
        assert_eq!(window.grown(), 0);
    }

    #[test]
    fn nobody_may_send_more_than_the_window() {
        let (mut window, now) = (Window::new(), Instant::now());
        assert!(window.spend(WINDOW_START, now, None));
        assert!(!window.spend(1, now, None));
        assert_eq!(window.read(WINDOW_START / 4 * 3 + 1, now, None, 0), None, "less than a quarter was read");
        let given = Given { credit: WINDOW_START / 2, grown_before: 0, grown: 0 };
        assert_eq!(window.read(WINDOW_START / 2, now, None, 0), Some(given));
        assert!(window.spend(WINDOW_START / 2, now, None));
        assert!(!window.spend(1, now, None));
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
