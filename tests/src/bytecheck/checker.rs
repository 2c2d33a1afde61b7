//! Blocks that say where they belong, and a judge of what arrives.

use std::{fmt, ops::Range};

/// Bytes of a block.
pub const BLOCK: usize = 4096;
/// Where a block says which flow it is of.
const FLOW: Range<usize> = 0..4;
/// Where a block says how far from the beginning of its flow it begins.
const OFFSET: Range<usize> = 4..12;
/// Where a block has what only seed and place decide.
const FILLING: Range<usize> = 12..BLOCK - 4;
/// Where a block has the checksum of all before.
const SUM: Range<usize> = BLOCK - 4..BLOCK;
/// Bytes that are still read after the first wrong one, to tell what happened: more than any program on the way writes at once.
const HORIZON: usize = 64 * BLOCK;

/// One direction of one stream, among all that a run has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow(pub u32);

/// The block of `flow` that begins at `offset`, in a run of this seed.
pub fn block(seed: u64, flow: Flow, offset: u64) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK];
    bytes[FLOW].copy_from_slice(&flow.0.to_be_bytes());
    bytes[OFFSET].copy_from_slice(&offset.to_be_bytes());
    let mut random = Random::new(seed ^ u64::from(flow.0).rotate_left(40) ^ offset.rotate_left(8));
    for piece in bytes[FILLING].chunks_mut(8) {
        piece.copy_from_slice(&random.draw().to_be_bytes()[..piece.len()]);
    }
    let sum = crc32(&bytes[..SUM.start]);
    bytes[SUM].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// The flow that the beginning of a block names, if that much is there.
pub fn flow_of(bytes: &[u8]) -> Option<Flow> {
    Some(Flow(u32::from_be_bytes(bytes.get(FLOW)?.try_into().ok()?)))
}

/// The flow and the offset that a block says it has; `None` for what is no block.
fn place_of(bytes: &[u8]) -> Option<(Flow, u64)> {
    let offset = u64::from_be_bytes(bytes.get(OFFSET)?.try_into().ok()?);
    let is_block = offset % BLOCK as u64 == 0 && bytes[SUM] == crc32(&bytes[..SUM.start]).to_be_bytes();
    is_block.then_some((flow_of(bytes)?, offset))
}

/// What a flow did not do as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The flow.
    pub flow: Flow,
    /// The first byte that is not right, counted from the beginning of the flow.
    pub at: u64,
    /// What happened there.
    pub fault: Fault,
}

/// The ways in which bytes go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Bytes are missing; what came in their place belongs further on, if anything came.
    Lost {
        /// Where it belongs.
        next: Option<u64>,
    },
    /// Bytes came once more.
    Duplicated {
        /// Where they belong.
        from: u64,
    },
    /// Bytes came before those that belong here, which followed.
    Reordered {
        /// Where they belong.
        early: u64,
    },
    /// Bytes of another flow came.
    Leaked {
        /// Which one.
        from: Flow,
    },
    /// Bytes came that were never sent so, or too few of them to tell.
    Damaged,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "flow {} is wrong from byte {} on: {:?}", self.flow.0, self.at, self.fault)
    }
}

impl std::error::Error for Wrong {}

/// Judges the bytes of one flow as they come.
#[derive(Debug)]
pub struct Checker {
    seed: u64,
    flow: Flow,
    len: u64,
    /// Bytes that were right.
    good: u64,
    /// The block that is being compared.
    expected: Vec<u8>,
    /// The first wrong byte and what came after it.
    suspect: Vec<u8>,
}

impl Checker {
    /// A judge of `flow`, which has `len` bytes.
    pub fn new(seed: u64, flow: Flow, len: u64) -> Self {
        Self { seed, flow, len, good: 0, expected: Vec::new(), suspect: Vec::new() }
    }

    /// Whether everything has come, and was right.
    pub fn is_complete(&self) -> bool {
        self.good == self.len && self.suspect.is_empty()
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// They, or some before them, are not what belongs there.
    pub fn take(&mut self, mut bytes: &[u8]) -> Result<(), Wrong> {
        while self.suspect.is_empty() && !bytes.is_empty() {
            let within = usize::try_from(self.good % BLOCK as u64).unwrap();
            if within == 0 {
                self.expected = block(self.seed, self.flow, self.good);
            }
            let left = usize::try_from(self.len - self.good).unwrap().min(BLOCK - within);
            let expected = &self.expected[within..within + left];
            let right = expected.iter().zip(bytes).take_while(|(wanted, came)| wanted == came).count();
            self.good += right as u64;
            bytes = &bytes[right..];
            if right < left || left == 0 {
                break;
            }
        }
        self.suspect.extend_from_slice(bytes);
        if self.suspect.len() >= HORIZON { Err(self.wrong()) } else { Ok(()) }
    }

    /// Takes the end.
    ///
    /// # Errors
    /// It came too early, or after something wrong.
    pub fn end(&self) -> Result<(), Wrong> {
        match self.suspect.is_empty() {
            true if self.is_complete() => Ok(()),
            true => Err(self.fault(Fault::Lost { next: None })),
            false => Err(self.wrong()),
        }
    }

    fn fault(&self, fault: Fault) -> Wrong {
        Wrong { flow: self.flow, at: self.good, fault }
    }

    /// What happened, by the whole blocks that came with the first wrong byte or after it, wherever they begin.
    fn wrong(&self) -> Wrong {
        // Blocks begin alike: what was right of this one may be the beginning of another.
        let within = usize::try_from(self.good % BLOCK as u64).unwrap();
        let came = [&self.expected[..within], &self.suspect].concat();
        // With each where the first wrong byte itself belongs, if it came together with that block.
        let blocks = || {
            came.windows(BLOCK).enumerate().filter_map(|(at, bytes)| {
                let (flow, offset) = place_of(bytes)?;
                Some((flow, offset, (offset + within as u64).saturating_sub(at as u64)))
            })
        };
        let Some((flow, _, source)) = blocks().next() else { return self.fault(Fault::Damaged) };
        // What belongs here: the block that is being compared, or, where that was torn, the one after it.
        let here = [self.good - within as u64, self.good.next_multiple_of(BLOCK as u64)];
        let follows = || blocks().any(|(flow, at, from)| flow == self.flow && here.contains(&at) && from != source);
        self.fault(match () {
            () if flow != self.flow => Fault::Leaked { from: flow },
            () if source < self.good => Fault::Duplicated { from: source },
            () if source == self.good => Fault::Damaged,
            () if follows() => Fault::Reordered { early: source },
            () => Fault::Lost { next: Some(source) },
        })
    }
}

/// Numbers that a seed decides (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next one.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The next one, from 1 to `most`.
    pub fn up_to(&mut self, most: usize) -> usize {
        usize::try_from(self.draw() % most as u64).unwrap() + 1
    }
}

/// CRC-32 as Ethernet and gzip have it.
fn crc32(bytes: &[u8]) -> u32 {
    static TABLE: [u32; 256] = crc32_table();
    !bytes.iter().fold(!0, |sum: u32, byte| TABLE[usize::from(sum.to_le_bytes()[0] ^ byte)] ^ (sum >> 8))
}

const fn crc32_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut sum = index as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 };
            bit += 1;
        }
        table[index] = sum;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: u64 = 7;
    const HERE: Flow = Flow(4);
    /// Not a whole number of blocks.
    const LEN: usize = 40 * BLOCK + 77;

    fn sent(flow: Flow, len: usize) -> Vec<u8> {
        let blocks = (0..).step_by(BLOCK).take(len.div_ceil(BLOCK)).flat_map(|offset| block(SEED, flow, offset));
        blocks.take(len).collect()
    }

    /// The judgement about `bytes`, that come in pieces of all lengths.
    fn judged(bytes: &[u8], seed: u64) -> Result<(), Wrong> {
        let (mut checker, mut random, mut rest) = (Checker::new(SEED, HERE, LEN as u64), Random::new(seed), bytes);
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(random.up_to(20_000).min(rest.len()));
            checker.take(piece)?;
            rest = after;
        }
        checker.end()
    }

    #[track_caller]
    fn assert_found(bytes: &[u8], at: usize, fault: Fault) {
        for seed in 0..5 {
            let Wrong { flow, at: found, fault: what } = judged(bytes, seed).unwrap_err();
            // Where a byte is the same by chance, or as the beginnings of all blocks are, the first wrong one comes later.
            let late = usize::try_from(found).unwrap().checked_sub(at);
            assert!(
                late.is_some_and(|late| late < 16) && flow == HERE,
                "found at {found}, and it is at {at}: {what:?}"
            );
            let shifted = |offset: u64| offset + late.unwrap() as u64;
            let expected = match fault {
                Fault::Lost { next } => Fault::Lost { next: next.map(shifted) },
                Fault::Duplicated { from } => Fault::Duplicated { from: shifted(from) },
                Fault::Reordered { early } => Fault::Reordered { early: shifted(early) },
                other => other,
            };
            assert_eq!(what, expected);
        }
    }

    #[test]
    fn what_arrives_as_it_was_sent_is_right() {
        for seed in 0..20 {
            assert_eq!(judged(&sent(HERE, LEN), seed), Ok(()));
        }
    }

    #[test]
    fn a_loss_is_found_at_its_first_byte() {
        // A block, less than one, and a piece that begins and ends anywhere.
        for (at, len) in [(8 * BLOCK, BLOCK), (9_999, 1), (5 * BLOCK - 1, 16_372), (0, 100)] {
            let mut bytes = sent(HERE, LEN);
            bytes.drain(at..at + len);
            assert_found(&bytes, at, Fault::Lost { next: Some((at + len) as u64) });
        }
        let bytes = sent(HERE, LEN);
        for at in [0, BLOCK, LEN - 1] {
            assert_found(&bytes[..at], at, Fault::Lost { next: None });
        }
    }

    #[test]
    fn a_duplicate_is_found_at_its_first_byte() {
        for (begin, end) in [(8 * BLOCK, 9 * BLOCK), (5 * BLOCK - 1, 11 * BLOCK + 3), (0, 20 * BLOCK)] {
            let mut bytes = sent(HERE, LEN);
            let again = bytes[begin..end].to_vec();
            bytes.splice(end..end, again);
            assert_found(&bytes, end, Fault::Duplicated { from: begin as u64 });
        }
        // Also when everything has come already.
        let bytes = sent(HERE, LEN);
        let again = [&bytes[..], &bytes[BLOCK..]].concat();
        assert_found(&again, LEN, Fault::Duplicated { from: BLOCK as u64 });
    }

    #[test]
    fn a_changed_order_is_found_at_the_first_early_byte() {
        for (first, second, end) in [(8, 9, 10), (3, 7, 9)].map(|(a, b, c)| (a * BLOCK, b * BLOCK, c * BLOCK)) {
            let mut bytes = sent(HERE, LEN);
            bytes[first..end].rotate_left(second - first);
            assert_found(&bytes, first, Fault::Reordered { early: second as u64 });
        }
        let mut bytes = sent(HERE, LEN);
        bytes[10_000..60_000].rotate_left(16_372);
        assert_found(&bytes, 10_000, Fault::Reordered { early: 26_372 });
    }

    #[test]
    fn bytes_of_another_stream_are_found() {
        let other = sent(Flow(9), LEN);
        // In the place of ours, and between them.
        let mut bytes = sent(HERE, LEN);
        bytes[8 * BLOCK..10 * BLOCK].copy_from_slice(&other[8 * BLOCK..10 * BLOCK]);
        assert_found(&bytes, 8 * BLOCK, Fault::Leaked { from: Flow(9) });
        let mut bytes = sent(HERE, LEN);
        bytes.splice(10_001..10_001, other[3 * BLOCK..7 * BLOCK].to_vec());
        assert_found(&bytes, 10_001, Fault::Leaked { from: Flow(9) });
        assert_found(&other, 0, Fault::Leaked { from: Flow(9) });
    }

    #[test]
    fn a_single_wrong_bit_is_found() {
        for at in [0, 11, 12, BLOCK - 1, BLOCK, 20 * BLOCK + 5, LEN - 1] {
            let mut bytes = sent(HERE, LEN);
            bytes[at] ^= 1;
            for seed in 0..5 {
                let wrong = judged(&bytes, seed).unwrap_err();
                assert_eq!((wrong.at, wrong.fault), (at as u64, Fault::Damaged));
            }
        }
    }

    #[test]
    fn the_checksum_is_the_known_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
