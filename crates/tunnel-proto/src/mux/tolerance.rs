//! How often a peer may send what costs it nothing.
//!
//! Frames with payload are paid for by sending it, and bounded by windows and the memory budget. All others are counted, by the
//! second; what an honest peer sends is far below.

use std::time::Duration;

use tokio::time::Instant;

use super::wire::{Header, Kind, flags};

/// Multiplexer pings a peer may send in a second. An honest one sends one in five seconds.
const PINGS_PER_SECOND: u32 = 64;
/// Frames without payload a peer may send in a second: window updates, openings, ends.
const EMPTY_FRAMES_PER_SECOND: u32 = 50_000;
/// Frames with hardly any payload that a peer may send in a second: what they cost to read is bounded here. What they cost to
/// keep is little more than they carry, since they are kept together.
const SMALL_FRAMES_PER_SECOND: u32 = 200_000;
const SMALL_FRAME: usize = 32;
/// Streams that a peer may open in a second.
const OPENINGS_PER_SECOND: u32 = 20_000;
/// Frames for streams that there are not (any more) a peer may send in a second. When we reset every stream at once, what was
/// on its way fills all windows: 256 KiB for each of 1,024 streams and what they have grown by, in frames of 16 KiB. Ours
/// are smaller where little leaves, which then takes more than a second.
const STRAY_FRAMES_PER_SECOND: u32 = 25_000;
/// Which part of all these a peer may send of whom nothing is known: it has nothing to say yet but who it is.
const OF_STRANGERS: u32 = 100;

/// What the peer has sent in this second of what is counted.
#[derive(Debug)]
pub(super) struct Tolerance {
    second: Instant,
    spent: Spent,
    stranger: bool,
}

#[derive(Debug, Default)]
struct Spent {
    pings: u32,
    empties: u32,
    small: u32,
    openings: u32,
    strays: u32,
}

impl Tolerance {
    pub(super) fn new(stranger: bool, now: Instant) -> Self {
        Self { second: now, spent: Spent::default(), stranger }
    }

    /// The peer may send what any other may.
    pub(super) const fn trust(&mut self) {
        self.stranger = false;
    }

    /// A second may have gone by.
    pub(super) fn tick(&mut self, now: Instant) {
        if now.saturating_duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.spent) = (now, Spent::default());
        }
    }

    /// Counts a frame; whether the peer may still send such. `known`: its stream is there.
    pub(super) fn bears(&mut self, header: Header, known: bool) -> bool {
        let stranger = self.stranger;
        let count = |spent: &mut u32, most: u32| {
            *spent = spent.saturating_add(1);
            // Pings are few enough as it is.
            *spent <= if stranger { (most / OF_STRANGERS).max(PINGS_PER_SECOND) } else { most }
        };
        let spent = &mut self.spent;
        let mut borne = true;
        match header.body() {
            0 => borne &= count(&mut spent.empties, EMPTY_FRAMES_PER_SECOND),
            1..SMALL_FRAME => borne &= count(&mut spent.small, SMALL_FRAMES_PER_SECOND),
            _ => {}
        }
        if header.kind == Kind::Ping {
            borne &= count(&mut spent.pings, PINGS_PER_SECOND);
        } else if header.is_of_a_stream() {
            if header.has(flags::SYN) {
                borne &= count(&mut spent.openings, OPENINGS_PER_SECOND);
            } else if !known {
                borne &= count(&mut spent.strays, STRAY_FRAMES_PER_SECOND);
            }
        }
        borne
    }
}
