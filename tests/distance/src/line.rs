//! The packets of one direction that are on their way.

use std::{collections::VecDeque, time::Duration};

use crate::{Fate, Judge, Way};

/// The longest packet: what an Ethernet carries.
pub const PACKET_MAX: usize = 1500;
/// Packets on their way in one direction: most of a second at a Gbit/s, in 100 MB. What comes beyond is dropped.
pub const WAITING_MAX: usize = 65_536;

/// Room for one packet. What has arrived leaves its room to the next one, so that nothing is allocated for each.
pub type Packet = Box<[u8; PACKET_MAX]>;

#[derive(Debug)]
struct Waiting {
    due: Duration,
    len: usize,
    packet: Packet,
}

/// One direction: a judge, and what waits, in the order of coming, which is that of arriving.
#[derive(Debug)]
pub struct Line {
    judge: Judge,
    waiting: VecDeque<Waiting>,
    spare: Vec<Packet>,
}

impl Line {
    /// An empty one.
    pub fn new(way: Way, seed: u64) -> Self {
        Self { judge: Judge::new(way, seed), waiting: VecDeque::new(), spare: Vec::new() }
    }

    /// Room to read the next packet into.
    pub fn room(&mut self) -> Packet {
        self.spare.pop().unwrap_or_else(|| Box::new([0; PACKET_MAX]))
    }

    /// Gives back room that is not needed.
    pub fn spare(&mut self, packet: Packet) {
        self.spare.push(packet);
    }

    /// Sends the first `len` bytes of a packet on their way, at `now`.
    pub fn send(&mut self, now: Duration, packet: Packet, len: usize) -> Fate {
        let mut fate = self.judge.judge(now, len);
        if self.waiting.len() >= WAITING_MAX && matches!(fate, Fate::Arrives(_)) {
            fate = Fate::Dropped;
        }
        match fate {
            Fate::Arrives(due) => self.waiting.push_back(Waiting { due, len, packet }),
            Fate::Lost | Fate::Dropped => self.spare.push(packet),
        }
        fate
    }

    /// When the next packet arrives.
    pub fn next(&self) -> Option<Duration> {
        self.waiting.front().map(|waiting| waiting.due)
    }

    /// Hands out the next packet if it has arrived at `now`, and says how late that is.
    pub fn arrived<T>(&mut self, now: Duration, out: impl FnOnce(&[u8]) -> T) -> Option<(Duration, T)> {
        let Waiting { due, len, packet } = self.waiting.pop_front_if(|waiting| waiting.due <= now)?;
        let handed = out(packet.get(..len).unwrap_or_default());
        self.spare.push(packet);
        Some((now - due, handed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn send(line: &mut Line, now: Duration, byte: u8) -> Fate {
        let mut packet = line.room();
        packet[..10].fill(byte);
        line.send(now, packet, 10)
    }

    #[test]
    fn packets_arrive_in_order_when_they_are_due_and_not_before() {
        let mut line = Line::new(Way::after(10 * MS), 1);
        for n in 0..3_u8 {
            assert_eq!(send(&mut line, MS * u32::from(n), n), Fate::Arrives(MS * (10 + u32::from(n))));
        }
        assert_eq!(line.next(), Some(10 * MS));
        assert!(line.arrived(9 * MS, |_| ()).is_none());
        assert_eq!(line.arrived(10 * MS, <[u8]>::to_vec), Some((Duration::ZERO, vec![0; 10])));
        assert!(line.arrived(10 * MS, |_| ()).is_none());
        assert_eq!(line.arrived(14 * MS, <[u8]>::to_vec), Some((3 * MS, vec![1; 10])));
        assert_eq!(line.arrived(14 * MS, <[u8]>::to_vec), Some((2 * MS, vec![2; 10])));
        assert_eq!(line.next(), None);
        send(&mut line, 20 * MS, 3);
        assert_eq!(line.spare.len(), 2, "the room of one that has arrived is used again");
    }

    #[test]
    fn there_is_an_end_to_what_is_on_its_way() {
        let mut line = Line::new(Way::after(MS), 1);
        for _ in 0..WAITING_MAX {
            assert!(matches!(send(&mut line, Duration::ZERO, 1), Fate::Arrives(_)));
        }
        assert_eq!(send(&mut line, Duration::ZERO, 1), Fate::Dropped);
    }
}
