//! The books of a link: what each stream has buffered, which ends were clean, and when the peer was last heard.
//!
//! The multiplexer below tells none of this, so it is read from the frames that pass the socket (`socket.rs`), in both
//! directions, and from what our own side reads. Locks are held for a few instructions, never across a wait; the order is
//! book, then ledger.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use futures::task::AtomicWaker;
use tokio::time::Instant;

use super::liveness::Pulse;

/// The bytes of a yamux header.
pub(super) const YAMUX_HEADER: usize = 12;
/// The stream on which the control frames run: the first that the connecting side opens.
const CONTROL_STREAM: u32 = 1;
/// What the multiplexer spends on a buffered frame besides its payload: a list entry and the smallest allocation. Without
/// it, frames of one byte would cost a hundred times what they seem to (T6).
pub(super) const CHUNK_COST: usize = 96;
/// Multiplexer pings a peer may send in a second. An honest one sends one in ten seconds.
const PINGS_PER_SECOND: u32 = 64;
/// Frames without payload a peer may send in a second: window updates, openings, ends.
const EMPTY_FRAMES_PER_SECOND: u32 = 50_000;
/// Frames with hardly any payload that a peer may send in a second: what they cost to read is bounded here, what they cost to
/// keep by [`CHUNK_COST`].
const SMALL_FRAMES_PER_SECOND: u32 = 200_000;
const SMALL_FRAME: usize = 32;
/// Streams that a peer may open in a second.
const OPENINGS_PER_SECOND: u32 = 20_000;
/// Frames for streams that there are not (any more) a peer may send in a second. When we reset every stream at once, what was
/// on its way fills all windows: 256 KiB for each of 1,024 streams and 16 MiB beside, in frames of 16 KiB.
const STRAY_FRAMES_PER_SECOND: u32 = 25_000;
/// Which part of all these a peer may send of whom nothing is known: it has nothing to say yet but who it is.
const OF_STRANGERS: u32 = 100;

pub(super) mod flags {
    pub(crate) const SYN: u16 = 1;
    pub(crate) const FIN: u16 = 4;
    pub(crate) const RST: u16 = 8;
}

/// One yamux header, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MuxHeader {
    pub(super) kind: u8,
    pub(super) flags: u16,
    pub(super) stream: u32,
    pub(super) len: u32,
}

impl MuxHeader {
    pub(super) const DATA: u8 = 0;
    const WINDOW_UPDATE: u8 = 1;
    const PING: u8 = 2;
    const GO_AWAY: u8 = 3;

    pub(super) fn parse(bytes: [u8; YAMUX_HEADER]) -> Self {
        let [_, kind, f0, f1, s0, s1, s2, s3, l0, l1, l2, l3] = bytes;
        Self {
            kind,
            flags: u16::from_be_bytes([f0, f1]),
            stream: u32::from_be_bytes([s0, s1, s2, s3]),
            len: u32::from_be_bytes([l0, l1, l2, l3]),
        }
    }

    pub(super) fn bytes(self) -> [u8; YAMUX_HEADER] {
        let [f0, f1] = self.flags.to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.to_be_bytes();
        let [l0, l1, l2, l3] = self.len.to_be_bytes();
        [0, self.kind, f0, f1, s0, s1, s2, s3, l0, l1, l2, l3]
    }

    /// The bytes that follow the header.
    pub(super) fn body(self) -> usize {
        if self.kind == Self::DATA { usize::try_from(self.len).unwrap_or(usize::MAX) } else { 0 }
    }

    /// Whether it begins what a stream carries: neither what is said of streams, nor what is said on the control stream.
    pub(super) fn is_payload(self) -> bool {
        self.body() > 0 && self.stream != CONTROL_STREAM
    }

    fn has(self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    pub(super) fn ends(self) -> bool {
        self.kind <= Self::WINDOW_UPDATE && self.has(flags::FIN)
    }
}

/// One stream in the books.
pub(super) struct Account {
    pub(super) id: u32,
    ledger: Mutex<Ledger>,
    /// The multiplexer's stream, until its owner drops it or the budget takes it away.
    pub(super) stream: Mutex<Option<yamux::Stream>>,
    /// Who waits on the stream, should it be taken away. The multiplexer wakes nobody when it is dropped or closed by us.
    pub(super) reader: AtomicWaker,
    pub(super) writer: AtomicWaker,
}

#[derive(Default)]
struct Ledger {
    payload: usize,
    cost: usize,
    phase: Phase,
    /// The peer has ended its direction, and everything before the end has arrived.
    fin_received: bool,
    /// The peer has reset the stream.
    rst_received: bool,
    /// Our side has asked for the end of its direction.
    shut: bool,
    /// The end of our direction is on its way.
    fin_sent: bool,
    /// Dropped before its end: whatever ends it on the wire must be a reset.
    discard: bool,
    /// Dropped after our end but before the peer's: a reset must follow our end.
    rst_wanted: bool,
    /// Nothing more will be sent.
    done: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Live,
    Settling,
    Freed,
}

impl Account {
    fn new(id: u32) -> Arc<Self> {
        Arc::new(Self {
            id,
            ledger: Mutex::default(),
            stream: Mutex::new(None),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
        })
    }

    /// Whether the peer's direction ended as it should.
    pub(super) fn ended_cleanly(&self) -> bool {
        lock(&self.ledger).fin_received
    }

    /// Notes that our direction's end has been asked for.
    pub(super) fn note_shut(&self) {
        lock(&self.ledger).shut = true;
    }

    pub(super) fn is_shut(&self) -> bool {
        lock(&self.ledger).shut
    }
}

/// The books of one link.
pub(super) struct Meter {
    limit: AtomicUsize,
    live: AtomicUsize,
    settling: AtomicUsize,
    blocked: AtomicBool,
    violation: AtomicBool,
    injecting: AtomicBool,
    stranger: AtomicBool,
    book: Mutex<Book>,
    pulse: Mutex<Pulse>,
}

struct Book {
    accounts: HashMap<u32, Arc<Account>>,
    settling: Vec<Arc<Account>>,
    injections: Vec<u32>,
    second: Instant,
    spent: Spent,
}

/// What the peer has sent in this second of what is counted.
#[derive(Default)]
struct Spent {
    pings: u32,
    empties: u32,
    small: u32,
    openings: u32,
    strays: u32,
}

impl Meter {
    pub(super) fn new(limit: usize, stranger: bool, now: Instant) -> Self {
        Self {
            limit: AtomicUsize::new(limit),
            live: AtomicUsize::new(0),
            settling: AtomicUsize::new(0),
            blocked: AtomicBool::new(false),
            violation: AtomicBool::new(false),
            injecting: AtomicBool::new(false),
            stranger: AtomicBool::new(stranger),
            book: Mutex::new(Book {
                accounts: HashMap::new(),
                settling: Vec::new(),
                injections: Vec::new(),
                second: now,
                spent: Spent::default(),
            }),
            pulse: Mutex::new(Pulse::new(now)),
        }
    }

    /// The account of a stream, opened when there is none.
    pub(super) fn account(&self, id: u32) -> Arc<Account> {
        lock(&self.book).accounts.entry(id).or_insert_with(|| Account::new(id)).clone()
    }

    /// Bytes buffered now, with what keeping them costs.
    pub(super) fn buffered(&self) -> usize {
        self.live.load(Relaxed).saturating_add(self.settling.load(Relaxed))
    }

    /// Sets the budget anew.
    pub(super) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Relaxed);
    }

    /// The peer may send what any other may.
    pub(super) fn trust(&self) {
        self.stranger.store(false, Relaxed);
    }

    /// Whether the streams that are still open hold more than the budget.
    pub(super) fn is_over(&self) -> bool {
        self.live.load(Relaxed) > self.limit.load(Relaxed)
    }

    /// Whether even closing streams did not bring the buffers down.
    pub(super) fn is_hopeless(&self) -> bool {
        let limit = self.limit.load(Relaxed);
        self.buffered() > limit.saturating_add(limit / 4)
    }

    pub(super) fn set_blocked(&self, blocked: bool) {
        self.blocked.store(blocked, Relaxed);
    }

    /// Whether the socket takes no more for now.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.load(Relaxed)
    }

    pub(super) fn note_violation(&self) {
        self.violation.store(true, Relaxed);
    }

    /// Whether the peer broke the multiplexer's rules.
    pub(super) fn is_violated(&self) -> bool {
        self.violation.load(Relaxed)
    }

    pub(super) fn pulse(&self) -> MutexGuard<'_, Pulse> {
        lock(&self.pulse)
    }

    /// Enters a header that the multiplexer is about to read.
    pub(super) fn inbound(&self, header: MuxHeader) {
        let mut book = lock(&self.book);
        if !book.tolerates(header, self.stranger.load(Relaxed)) {
            self.note_violation();
        }
        if header.kind > MuxHeader::WINDOW_UPDATE {
            return;
        }
        let account = if header.has(flags::SYN) {
            Some(book.accounts.entry(header.stream).or_insert_with(|| Account::new(header.stream)).clone())
        } else {
            book.accounts.get(&header.stream).cloned()
        };
        let Some(account) = account else { return };
        let mut ledger = lock(&account.ledger);
        if header.body() > 0 {
            self.add(&mut ledger, header.body());
        }
        if header.has(flags::RST) {
            ledger.rst_received = true;
            if ledger.discard {
                ledger.discard = false;
                book.accounts.remove(&header.stream);
            }
        }
    }

    /// Enters that a frame which ends the peer's direction has passed whole.
    pub(super) fn inbound_end(&self, stream: u32) {
        if let Some(account) = lock(&self.book).accounts.get(&stream) {
            lock(&account.ledger).fin_received = true;
        }
    }

    /// Enters a header that the multiplexer sends, and corrects what it would say wrongly: a stream that was dropped
    /// half-way must not look finished.
    pub(super) fn outbound(&self, mut header: MuxHeader) -> MuxHeader {
        {
            let mut pulse = self.pulse();
            pulse.note_said();
            if header.is_payload() {
                pulse.note_sent();
            }
        }
        if header.kind == MuxHeader::GO_AWAY && header.len != 0 {
            self.note_violation();
        }
        if header.kind > MuxHeader::WINDOW_UPDATE || !(header.has(flags::FIN) || header.has(flags::RST)) {
            return header;
        }
        let mut book = lock(&self.book);
        let Some(account) = book.accounts.get(&header.stream).cloned() else { return header };
        let mut ledger = lock(&account.ledger);
        if ledger.discard {
            header.flags = (header.flags & !flags::FIN) | flags::RST;
            book.accounts.remove(&header.stream);
        } else {
            ledger.fin_sent = true;
            if ledger.rst_wanted {
                book.injections.push(header.stream);
                self.injecting.store(true, Relaxed);
            }
        }
        header
    }

    /// The resets to send besides what the multiplexer sends.
    pub(super) fn take_injections(&self) -> Vec<MuxHeader> {
        if !self.injecting.swap(false, Relaxed) {
            return Vec::new();
        }
        let mut book = lock(&self.book);
        let streams = std::mem::take(&mut book.injections);
        let reset = |stream| MuxHeader { kind: MuxHeader::DATA, flags: flags::RST, stream, len: 0 };
        streams.into_iter().inspect(|id| drop(book.accounts.remove(id))).map(reset).collect()
    }

    fn add(&self, ledger: &mut Ledger, payload: usize) {
        let cost = payload.saturating_add(CHUNK_COST);
        let total = match ledger.phase {
            Phase::Live => &self.live,
            Phase::Settling => &self.settling,
            Phase::Freed => return,
        };
        ledger.payload = ledger.payload.saturating_add(payload);
        ledger.cost = ledger.cost.saturating_add(cost);
        total.fetch_add(cost, Relaxed);
    }

    /// Enters that our side has read `count` bytes.
    pub(super) fn consumed(&self, account: &Account, count: usize) {
        let mut ledger = lock(&account.ledger);
        if ledger.phase != Phase::Live {
            return;
        }
        let left = ledger.payload.saturating_sub(count);
        // What frames cost beside their payload goes in proportion; all of it with the last byte.
        let overhead = ledger.cost.saturating_sub(ledger.payload);
        let share = (overhead as u64).saturating_mul(left as u64) / (ledger.payload as u64).max(1);
        let cost = if left == 0 { 0 } else { left.saturating_add(usize::try_from(share).unwrap_or(0)) };
        let freed = ledger.cost.saturating_sub(cost);
        ledger.payload = left;
        ledger.cost -= freed;
        self.live.fetch_sub(freed, Relaxed);
    }

    /// Lets go of a stream, by its owner or by force. Unless both directions had ended, the peer learns of a reset.
    pub(super) fn discard(&self, account: &Arc<Account>) {
        let Some(stream) = lock(&account.stream).take() else { return };
        let closed = stream.is_closed();
        {
            let mut book = lock(&self.book);
            let mut ledger = lock(&account.ledger);
            ledger.phase = Phase::Settling;
            self.live.fetch_sub(ledger.cost, Relaxed);
            self.settling.fetch_add(ledger.cost, Relaxed);
            if ledger.shut && !ledger.fin_received && !ledger.rst_received {
                ledger.rst_wanted = true;
                if ledger.fin_sent {
                    book.injections.push(account.id);
                    self.injecting.store(true, Relaxed);
                }
            } else if !ledger.shut && !closed && !ledger.rst_received {
                ledger.discard = true;
            } else {
                ledger.done = true;
            }
            book.settling.push(account.clone());
        }
        // Wakes the driver, which forgets the stream and its buffers.
        drop(stream);
        account.reader.wake();
        account.writer.wake();
    }

    /// Takes every stream away: the link was closed by our side.
    pub(super) fn cut(&self) {
        let accounts: Vec<_> = lock(&self.book).accounts.values().cloned().collect();
        accounts.iter().for_each(|account| self.discard(account));
    }

    /// Strikes streams out that the multiplexer has forgotten: called when it has nothing left to do.
    pub(super) fn settle(&self) {
        let mut book = lock(&self.book);
        for account in std::mem::take(&mut book.settling) {
            let mut ledger = lock(&account.ledger);
            self.settling.fetch_sub(ledger.cost, Relaxed);
            ledger.cost = 0;
            ledger.payload = 0;
            ledger.phase = Phase::Freed;
            if ledger.done {
                book.accounts.remove(&account.id);
            }
        }
    }

    /// Resets the streams with most unread bytes until the others keep to the budget; how many.
    pub(super) fn enforce(&self) -> usize {
        let mut reset = 0;
        while self.is_over() {
            let most = {
                let book = lock(&self.book);
                let live = book.accounts.values().filter(|account| account.id != CONTROL_STREAM);
                // One whose first frame is still on its way is nobody's yet, and cannot be taken away.
                let taken = live.filter(|account| lock(&account.stream).is_some());
                taken
                    .map(|account| (lock(&account.ledger).live_cost(), account))
                    .max_by_key(|(cost, _)| *cost)
                    .map(|(cost, account)| (cost, account.clone()))
            };
            match most {
                Some((cost, account)) if cost > 0 => self.discard(&account),
                _ => break,
            }
            reset += 1;
        }
        reset
    }
}

impl Ledger {
    fn live_cost(&self) -> usize {
        if self.phase == Phase::Live { self.cost } else { 0 }
    }
}

impl Book {
    /// Counts a frame; whether the peer may still send such.
    fn tolerates(&mut self, header: MuxHeader, stranger: bool) -> bool {
        let now = Instant::now();
        if now.duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.spent) = (now, Spent::default());
        }
        let of_a_stream = header.kind <= MuxHeader::WINDOW_UPDATE;
        let opens = of_a_stream && header.has(flags::SYN);
        let strays = of_a_stream && !opens && !self.accounts.contains_key(&header.stream);
        let empty = header.body() == 0;
        let spent = &mut self.spent;
        [
            (header.kind == MuxHeader::PING, &mut spent.pings, PINGS_PER_SECOND),
            (empty, &mut spent.empties, EMPTY_FRAMES_PER_SECOND),
            (!empty && header.body() < SMALL_FRAME, &mut spent.small, SMALL_FRAMES_PER_SECOND),
            (opens, &mut spent.openings, OPENINGS_PER_SECOND),
            (strays, &mut spent.strays, STRAY_FRAMES_PER_SECOND),
        ]
        .into_iter()
        .all(|(is_one, count, most)| {
            *count = count.saturating_add(u32::from(is_one));
            // Pings are few enough as it is.
            *count <= if stranger { (most / OF_STRANGERS).max(PINGS_PER_SECOND) } else { most }
        })
    }
}

/// The books are plain numbers, right after every statement; a panic elsewhere does not spoil them.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The books of a link with this budget, whose peer has sent so many frames of so many bytes each on one stream.
    fn after(limit: usize, frames: usize, payload: u32) -> (Meter, Arc<Account>) {
        let meter = Meter::new(limit, false, Instant::now());
        let account = meter.account(3);
        let header = MuxHeader { kind: MuxHeader::DATA, flags: 0, stream: 3, len: payload };
        (0..frames).for_each(|_| meter.inbound(header));
        assert!(!meter.is_violated());
        (meter, account)
    }

    // T6
    #[test]
    fn many_small_frames_use_up_a_budget_long_before_the_same_bytes_in_few() {
        const BUDGET: usize = 1 << 20;
        // A frame costs 96 bytes besides what it carries.
        for (payload, most) in [(1, BUDGET / 97), (32, BUDGET / 128), (16 * 1024, 63)] {
            assert!(!after(BUDGET, most, payload).0.is_over(), "{most} frames of {payload}");
            assert!(after(BUDGET, most + 1, payload).0.is_over(), "{} frames of {payload}", most + 1);
        }
    }

    // T6
    #[test]
    fn what_is_read_frees_what_its_frames_cost() {
        let (meter, account) = after(1 << 20, 1000, 1);
        assert_eq!(meter.buffered(), 97_000);
        meter.consumed(&account, 500);
        assert_eq!(meter.buffered(), 48_500);
        meter.consumed(&account, 500);
        assert_eq!(meter.buffered(), 0);
    }
}
