//! What has come for a stream and was not read: few allocations, however small the pieces are that it comes in.

use std::collections::VecDeque;

use bytes::{Buf, BytesMut};

/// The smallest allocation.
const CHUNK_MIN: usize = 128;
/// The largest: two frames, which are written on at once. What a reader has in hands is one of these, and counted nowhere.
const CHUNK_MAX: usize = 32 * 1024;
/// What keeping an allocation costs beside its bytes.
const CHUNK_COST: usize = 64;

/// A queue of bytes.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    chunks: VecDeque<BytesMut>,
    bytes: usize,
    cost: usize,
    /// How large the next allocation is at least. Grows with what comes, from nothing whenever all was read in small pieces.
    next: usize,
}

impl Chunks {
    /// Bytes in the queue.
    pub(super) const fn len(&self) -> usize {
        self.bytes
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// What keeping them costs, in bytes.
    pub(super) const fn cost(&self) -> usize {
        self.cost
    }

    /// Appends bytes: to the last allocation as far as it has room, so that what is kept never costs much more than it is.
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        self.bytes = self.bytes.saturating_add(bytes.len());
        while !bytes.is_empty() {
            if let Some(last) = self.chunks.back_mut()
                && let spare @ 1.. = last.capacity() - last.len()
            {
                let (head, rest) = bytes.split_at(spare.min(bytes.len()));
                last.extend_from_slice(head);
                bytes = rest;
                continue;
            }
            let chunk = BytesMut::with_capacity(bytes.len().max(self.next).clamp(CHUNK_MIN, CHUNK_MAX));
            self.next = (chunk.capacity() * 2).min(CHUNK_MAX);
            self.cost = self.cost.saturating_add(cost_of(&chunk));
            self.chunks.push_back(chunk);
        }
    }

    /// Takes the first allocation.
    pub(super) fn pop(&mut self) -> Option<BytesMut> {
        let chunk = self.chunks.pop_front()?;
        self.bytes -= chunk.remaining();
        self.cost -= cost_of(&chunk);
        if self.chunks.is_empty() && chunk.len() < CHUNK_MAX / 4 {
            self.next = 0;
        }
        Some(chunk)
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// What keeping an allocation costs, in bytes.
fn cost_of(chunk: &BytesMut) -> usize {
    chunk.capacity().saturating_add(CHUNK_COST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // T6
    #[test]
    fn bytes_that_come_one_by_one_cost_little_more_than_they_are() {
        let mut chunks = Chunks::default();
        for _ in 0..100_000 {
            chunks.push(b"x");
        }
        assert!(chunks.cost() < 100_000 + CHUNK_MAX + 16 * CHUNK_COST, "{}", chunks.cost());
        let mut one = Chunks::default();
        one.push(b"x");
        assert_eq!(one.cost(), CHUNK_MIN + CHUNK_COST);
    }

    proptest! {
        #[test]
        fn what_comes_out_is_what_went_in_and_the_books_are_right(
            steps in prop::collection::vec((0_usize..70_000, 0_usize..3), 0..40)
        ) {
            let (mut chunks, mut fed, mut got) = (Chunks::default(), Vec::new(), Vec::new());
            for (len, pops) in steps {
                let bytes: Vec<u8> = (0..len).map(|at| (at ^ fed.len()) as u8).collect();
                chunks.push(&bytes);
                fed.extend_from_slice(&bytes);
                for _ in 0..pops {
                    got.extend_from_slice(&chunks.pop().unwrap_or_default());
                }
                prop_assert_eq!(chunks.len(), fed.len() - got.len());
                let cost: usize = chunks.chunks.iter().map(cost_of).sum();
                prop_assert_eq!(chunks.cost(), cost);
                prop_assert!(cost <= 3 * chunks.len() + CHUNK_MAX + CHUNK_COST * chunks.chunks.len());
            }
            while let Some(chunk) = chunks.pop() {
                got.extend_from_slice(&chunk);
            }
            prop_assert!(got == fed && chunks.is_empty() && chunks.cost() == 0);
        }
    }
}
