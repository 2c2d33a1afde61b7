//! What becomes of a packet: told the time, and with chances of a seed.

use std::time::Duration;

use fastrand::Rng;

/// Chances are parts of so many.
const MILLION: u32 = 1_000_000;

/// What one direction of a distance does to packets. Nothing, as long as nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Way {
    delay: Duration,
    jitter: Duration,
    bottleneck: Option<Bottleneck>,
    lost: u32,
}

/// The slowest place of a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bottleneck {
    bits_a_second: u64,
    queue: u64,
}

impl Way {
    /// Packets take so long, beside what the slowest place makes of it.
    #[must_use]
    pub fn after(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }

    /// The slowest place lets so many bits pass in a second, counted over whole IP packets. Before it `queue` bytes can wait;
    /// what comes when it is full is dropped, as most routers do.
    #[must_use]
    pub fn through(self, bits_a_second: u64, queue: u64) -> Self {
        Self { bottleneck: Some(Bottleneck { bits_a_second: bits_a_second.max(1), queue }), ..self }
    }

    /// Of a million packets so many are lost, each by chance, before the queue.
    #[must_use]
    pub fn losing(self, of_a_million: u32) -> Self {
        Self { lost: of_a_million.min(MILLION), ..self }
    }

    /// Up to so much more delay by chance. No packet overtakes another one.
    #[must_use]
    pub fn shaking(self, jitter: Duration) -> Self {
        Self { jitter, ..self }
    }
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is there at this time.
    Arrives(Duration),
    /// It is lost by chance.
    Lost,
    /// The queue was full.
    Dropped,
}

/// Decides what becomes of the packets of one direction. Times are since any beginning.
#[derive(Debug)]
pub struct Judge {
    way: Way,
    losses: Rng,
    shakes: Rng,
    /// When the slowest place has let everything pass that has come so far.
    free_at: Duration,
    /// When the last packet arrives.
    last: Duration,
}

impl Judge {
    /// For one direction, with the chances of a seed.
    pub fn new(way: Way, seed: u64) -> Self {
        // Two sources, so that neither what is dropped nor whether there is jitter changes which packets are lost.
        let mut seeds = Rng::with_seed(seed);
        Self { way, losses: seeds.fork(), shakes: seeds.fork(), free_at: Duration::ZERO, last: Duration::ZERO }
    }

    /// Decides about the next packet, of `len` bytes, which has come at `now`.
    pub fn judge(&mut self, now: Duration, len: usize) -> Fate {
        if self.way.lost > 0 && self.losses.u32(..MILLION) < self.way.lost {
            return Fate::Lost;
        }
        let Some(through) = self.through(now, len as u64) else { return Fate::Dropped };
        let shake = match u64::try_from(self.way.jitter.as_nanos()) {
            Ok(0) | Err(_) => Duration::ZERO,
            Ok(jitter) => Duration::from_nanos(self.shakes.u64(..=jitter)),
        };
        self.last = self.last.max(through + self.way.delay + shake);
        Fate::Arrives(self.last)
    }

    /// When the packet has passed the slowest place, unless there is no room for it in the queue.
    fn through(&mut self, now: Duration, len: u64) -> Option<Duration> {
        let Some(Bottleneck { bits_a_second, queue }) = self.way.bottleneck else { return Some(now) };
        let begins = self.free_at.max(now);
        let waiting = (begins - now).as_nanos() * u128::from(bits_a_second) / (8 * NANOS);
        if waiting > 0 && waiting + u128::from(len) > u128::from(queue) {
            return None;
        }
        let takes = u128::from(len) * 8 * NANOS / u128::from(bits_a_second);
        self.free_at = begins + Duration::from_nanos(u64::try_from(takes).unwrap_or(u64::MAX));
        Some(self.free_at)
    }
}

const NANOS: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn fates(judge: &mut Judge, packets: u32, every: Duration) -> Vec<Fate> {
        (0..packets).map(|n| judge.judge(every * n, 1500)).collect()
    }

    #[test]
    fn a_packet_takes_as_long_as_the_way_is() {
        let mut judge = Judge::new(Way::after(25 * MS), 1);
        assert_eq!(judge.judge(3 * MS, 1500), Fate::Arrives(28 * MS));
        assert_eq!(judge.judge(3 * MS, 40), Fate::Arrives(28 * MS));
        assert_eq!(Judge::new(Way::default(), 1).judge(MS, 1500), Fate::Arrives(MS));
    }

    #[test]
    fn packets_pass_the_slowest_place_one_after_the_other() {
        // 12 Mbit/s: a packet of 1500 bytes for each millisecond.
        let mut judge = Judge::new(Way::after(10 * MS).through(12_000_000, 100_000), 1);
        assert_eq!(judge.judge(5 * MS, 1500), Fate::Arrives(16 * MS));
        assert_eq!(judge.judge(5 * MS, 1500), Fate::Arrives(17 * MS));
        assert_eq!(judge.judge(6 * MS, 750), Fate::Arrives(17 * MS + MS / 2));
        // It has been idle since.
        assert_eq!(judge.judge(50 * MS, 1500), Fate::Arrives(61 * MS));
    }

    #[test]
    fn what_finds_the_queue_full_is_dropped_and_what_comes_later_is_not() {
        let mut judge = Judge::new(Way::after(MS).through(12_000_000, 3000), 1);
        let burst: Vec<_> = (0..5).map(|_| judge.judge(Duration::ZERO, 1500)).collect();
        let there = |after: u32| Fate::Arrives(MS * after);
        assert_eq!(burst, [there(2), there(3), Fate::Dropped, Fate::Dropped, Fate::Dropped]);
        assert_eq!(judge.judge(MS, 1500), there(4), "one has left the queue");
        assert_eq!(judge.judge(MS, 1500), Fate::Dropped);
    }

    #[test]
    fn an_empty_queue_takes_a_packet_that_is_longer_than_itself() {
        let mut judge = Judge::new(Way::default().through(12_000_000, 100), 1);
        assert_eq!(judge.judge(Duration::ZERO, 1500), Fate::Arrives(MS));
    }

    #[test]
    fn of_the_same_packets_the_same_seed_loses_the_same_ones() {
        let way = Way::after(MS).losing(10_000);
        let lost = |seed, way, every| -> Vec<bool> {
            fates(&mut Judge::new(way, seed), 20_000, every).iter().map(|fate| *fate == Fate::Lost).collect()
        };
        let first = lost(7, way, MS);
        assert_eq!(first, lost(7, way, MS / 50), "whenever they come");
        assert_eq!(first, lost(7, way.shaking(MS).through(1_000_000, 5000), MS / 50), "and whatever else happens");
        assert_ne!(first, lost(8, way, MS));
        let count = first.iter().filter(|lost| **lost).count();
        assert!((120..=280).contains(&count), "one of a hundred: {count} of 20,000");
    }

    #[test]
    fn jitter_delays_and_nothing_is_overtaken() {
        let mut judge = Judge::new(Way::after(10 * MS).shaking(5 * MS), 3);
        let (mut last, mut shaken) = (Duration::ZERO, 0);
        for n in 0..1000_u32 {
            let now = MS / 4 * n;
            let Fate::Arrives(at) = judge.judge(now, 100) else { panic!("nothing is lost") };
            assert!(at >= last && at >= now + 10 * MS && at <= now + 15 * MS);
            shaken += u32::from(at > now + 11 * MS);
            last = at;
        }
        assert!(shaken > 500, "{shaken}");
    }
}
