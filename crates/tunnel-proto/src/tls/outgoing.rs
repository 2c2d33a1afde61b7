//! Sealed records on their way to the socket.

use std::{collections::VecDeque, io::IoSlice};

use super::records::RECORD_MAX;

/// Pieces that are handed to the socket at a time.
pub(super) const SLICES: usize = 16;
/// A record up to this size, in bytes, joins the one before it: small ones would each cost a piece of memory of their own.
const SMALL: usize = 4 * 1024;

/// What is to be sent, in order. Each piece is a record as the cipher made it, or several small ones.
#[derive(Default)]
pub(super) struct Outgoing {
    pieces: VecDeque<Vec<u8>>,
    /// Bytes of the first piece that are sent already.
    sent: usize,
    /// Bytes of all pieces, without those.
    waiting: usize,
}

impl Outgoing {
    pub(super) fn push(&mut self, record: Vec<u8>) {
        self.waiting = self.waiting.saturating_add(record.len());
        match self.pieces.back_mut() {
            Some(last) if record.len() <= SMALL && last.len().saturating_add(record.len()) <= RECORD_MAX => {
                last.extend_from_slice(&record);
            }
            _ => self.pieces.push_back(record),
        }
    }

    /// Bytes that wait.
    pub(super) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// The first of what waits, for a vectored write.
    pub(super) fn slices(&self) -> ([IoSlice<'_>; SLICES], usize) {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut count = 0_usize;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            let from = if count == 0 { self.sent } else { 0 };
            *slice = IoSlice::new(piece.get(from..).unwrap_or_default());
            count = count.saturating_add(1);
        }
        (slices, count)
    }

    /// Forgets what was sent.
    pub(super) fn note_sent(&mut self, bytes: usize) {
        self.waiting = self.waiting.saturating_sub(bytes);
        self.sent = self.sent.saturating_add(bytes);
        while let Some(first) = self.pieces.front()
            && self.sent >= first.len()
        {
            self.sent = self.sent.saturating_sub(first.len());
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_pushed_comes_out_in_order_however_it_is_taken(
            lengths in prop::collection::vec(1_usize..20_000, 0..40),
            takes in prop::collection::vec(1_usize..50_000, 1..20),
        ) {
            let mut outgoing = Outgoing::default();
            let mut expected = Vec::new();
            let mut got = Vec::new();
            let mut takes = takes.iter().cycle();
            let mut drain = |outgoing: &mut Outgoing, all: bool| while outgoing.waiting() > 0 {
                let (slices, count) = outgoing.slices();
                let there: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
                let taken = there.len().min(*takes.next().unwrap());
                got.extend_from_slice(&there[..taken]);
                outgoing.note_sent(taken);
                if !all {
                    break;
                }
            };
            for (number, length) in lengths.into_iter().enumerate() {
                let record = vec![u8::try_from(number).unwrap(); length];
                expected.extend_from_slice(&record);
                outgoing.push(record);
                drain(&mut outgoing, false);
            }
            drain(&mut outgoing, true);
            prop_assert!(got == expected);
            prop_assert!(outgoing.pieces.is_empty() && outgoing.sent == 0);
        }
    }

    #[test]
    fn small_records_share_a_piece() {
        let mut outgoing = Outgoing::default();
        (0..10_000).for_each(|_| outgoing.push(vec![1; 23]));
        assert!(outgoing.pieces.len() <= 230_000 / (RECORD_MAX - 23) + 1, "{} pieces", outgoing.pieces.len());
        assert_eq!(outgoing.waiting(), 230_000);
    }
}
