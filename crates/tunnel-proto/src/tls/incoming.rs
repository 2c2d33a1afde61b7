//! What came from the socket: opened records that nobody has read yet, then records that are still sealed.

use std::ops::Range;

use rustls::Error;

use super::{
    pool,
    records::{self, Opened, RECORD_HEADER, RECORD_MAX, Records},
};

/// A read of this many bytes is one of many: more will follow, and the buffer stays. As much as a record carries.
const MUCH: usize = records::PAYLOAD_MAX;

/// One buffer, taken from the pool while something arrives; a small one, or none, while nothing does.
#[derive(Default)]
pub(super) struct Incoming {
    buffer: Vec<u8>,
    /// Opened, and not read.
    plain: Range<usize>,
    /// As it came. Begins no earlier than `plain` ends.
    raw: Range<usize>,
    /// Bytes of the last read.
    last: usize,
}

impl Incoming {
    /// Goes on with what came in one with the end of the handshake.
    pub(super) fn new(buffer: Vec<u8>) -> Self {
        let raw = 0..buffer.len();
        Self { buffer, plain: 0..0, raw, last: 0 }
    }

    /// What is opened and not read.
    pub(super) fn plain(&self) -> &[u8] {
        self.buffer.get(self.plain.clone()).unwrap_or_default()
    }

    /// Some of that was read.
    pub(super) fn consume(&mut self, bytes: usize) {
        self.plain.start = self.plain.start.saturating_add(bytes).min(self.plain.end);
    }

    /// Opens the next record where it lies; `None` as long as it has not come whole. Everything that was opened before must
    /// have been read.
    pub(super) fn open(&mut self, records: &mut Records) -> Result<Option<Opened>, Error> {
        let Some(raw) = self.buffer.get_mut(self.raw.clone()) else { return Ok(None) };
        let Some(header) = raw.first_chunk::<RECORD_HEADER>() else { return Ok(None) };
        let length = records::length(*header)?;
        let Some(record) = raw.get_mut(..length) else { return Ok(None) };
        let opened = records.open(record)?;
        let start = self.raw.start.saturating_add(RECORD_HEADER);
        if let Opened::Data(length) = opened {
            self.plain = start..start.saturating_add(length);
        }
        self.raw.start = self.raw.start.saturating_add(length);
        Ok(Some(opened))
    }

    /// Where to read to: room for a record at least. Everything that was opened before must have been read.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.buffer.len() < super::READ_MAX {
            self.move_to(pool::take());
        } else if self.raw.is_empty() {
            self.raw = 0..0;
        } else if self.buffer.len().saturating_sub(self.raw.end) < RECORD_MAX {
            self.buffer.copy_within(self.raw.clone(), 0);
            self.raw = 0..self.raw.len();
        }
        self.plain = 0..0;
        self.buffer.get_mut(self.raw.end..).unwrap_or_default()
    }

    /// So many bytes were read to there.
    pub(super) fn filled(&mut self, bytes: usize) {
        self.last = bytes;
        self.raw.end = self.raw.end.saturating_add(bytes).min(self.buffer.len());
    }

    /// Nothing more is there for now: gives the buffer back, unless much comes. A piece of a record is kept in as much memory
    /// as it needs, for whoever sends it may leave it at that.
    pub(super) fn rest(&mut self) {
        if !self.plain.is_empty() || (!self.raw.is_empty() && self.last >= MUCH) {
            return;
        }
        let kept = self.buffer.get(self.raw.clone()).unwrap_or_default().to_vec();
        self.move_to(kept);
    }

    /// Nothing of it will be read.
    pub(super) fn clear(&mut self) {
        (self.plain, self.raw) = (0..0, 0..0);
        self.rest();
    }

    /// Bytes of memory that this holds.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.buffer.capacity()
    }

    /// Has another buffer, with what is not opened at its front.
    fn move_to(&mut self, mut buffer: Vec<u8>) {
        let raw = self.buffer.get(self.raw.clone()).unwrap_or_default();
        if let Some(front) = buffer.get_mut(..raw.len()) {
            front.copy_from_slice(raw);
        }
        (self.plain, self.raw) = (0..0, 0..raw.len());
        pool::give(std::mem::replace(&mut self.buffer, buffer));
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        pool::give(std::mem::take(&mut self.buffer));
    }
}
