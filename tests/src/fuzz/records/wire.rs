//! What an input has a peer send, and how much of that a strict reader is given.
//!
//! The input is a sequence of steps. Each begins with a byte whose lowest three bits say what happens:
//!
//! - 0 to 5: a record. Of data (0), an alert (1), handshake messages (2), a change of cipher (3), or of the type that the next
//!   byte says (4), with as many bytes as the byte after that says; or of the type, with the byte, and of the length (two
//!   bytes) that come next (5). The higher bits say what is odd about it, see [`Record::read`].
//! - 6: the last record once more, as often as the next byte says.
//! - 7: the next byte has the peer wait (0), send bytes that are no record (1), or go in the middle of a record (2).

use std::ops::Range;

use super::peer::{ALERT, DATA, HANDSHAKE, HEADER, Peer};

/// Bytes after which no more is sent.
const WIRE_MAX: usize = 256 * 1024;
/// Bytes of records with an incomplete message in them, after which no more is sent: rustls holds them as they came, and stops
/// at 64 KiB with whatever comes then. Ours holds the message alone.
const PENDING_MAX: usize = 40 * 1024;
/// Pieces in which it is handed over; the rest is one.
const PIECES_MAX: usize = 2_000;
/// Bytes of the sealed part of a record at most (RFC 8446 §5.2).
const SEALED_MAX: usize = 16 * 1024 + 256;
/// Bytes of a handshake message, new keys, and records without anything in them that ours bears.
const MESSAGE_MAX: usize = 16 * 1024;
const KEY_UPDATES_MAX: u32 = 32;
const EMPTIES_MAX: u32 = 32;
const CHANGE_CIPHER_SPEC: u8 = 20;
/// The type of the message that announces new keys.
const KEY_UPDATE: u8 = 24;

/// All that is sent after the handshake.
#[derive(Default)]
pub(super) struct Wire {
    pub(super) bytes: Vec<u8>,
    /// Records with something for the program, as far as they may be opened: where each begins, and how much is in it.
    pub(super) data: Vec<(usize, usize)>,
    /// Up to where all is handed over before the rest.
    pauses: Vec<usize>,
    /// The first record that ours refuses if it gets that far, though rustls may go on.
    refused: Option<Range<usize>>,
}

impl Wire {
    /// What this input has the peer send. With `usual_levels`, alerts have the level that rustls wants.
    pub(super) fn of(script: &[u8], peer: &mut Peer, usual_levels: bool) -> Self {
        let mut script = Script(script);
        let mut sending = Sending::new(peer, usual_levels);
        let mut last = None;
        while let Some(what) = script.step()
            && !sending.is_enough()
        {
            match what & 7 {
                6 => (0..script.byte() & 63).for_each(|_| sending.again(last.as_ref())),
                7 => match script.byte() % 3 {
                    0 => sending.waits(script.byte()),
                    1 => sending.strays(script.bytes()),
                    _ => {
                        sending.goes(script.byte());
                        break;
                    }
                },
                _ => {
                    let record = Record::read(what, &mut script);
                    sending.record(&record);
                    last = Some(record);
                }
            }
        }
        sending.wire
    }

    /// The pieces in which it is handed over, none longer than so many bytes; zero is as long as may be.
    pub(super) fn pieces(&self, longest: u8) -> Vec<&[u8]> {
        let longest = if longest == 0 { usize::MAX } else { usize::from(longest) };
        let mut pieces = Vec::new();
        let mut rest = self.bytes.as_slice();
        for pause in self.pauses.iter().copied().chain([self.bytes.len()]) {
            let handed = self.bytes.len() - rest.len();
            let (mut now, later) = rest.split_at(pause.clamp(handed, self.bytes.len()) - handed);
            rest = later;
            while !now.is_empty() {
                let length = if pieces.len() < PIECES_MAX { longest.min(now.len()) } else { now.len() };
                let (piece, after) = now.split_at(length);
                pieces.push(piece);
                now = after;
            }
        }
        pieces
    }

    /// What rustls is given for a strict reading, and whether ours must refuse what comes next if it has got that far.
    ///
    /// This is all in which the two are allowed to differ:
    ///
    /// - Ours refuses a record by its header, if it says another type than that of sealed records, or more than a record may
    ///   have (RFC 8446 §5.2). rustls first waits for the rest. It opens a sealed record of any type, and it only knows that a
    ///   record is too long when it is opened, or 2 KiB later.
    /// - Ours refuses some sealed records that rustls may bear, see [`Sending::is_refused`].
    /// - rustls wants a version that it knows in the header, and a level that it knows in an alert, and looks at both. They are to
    ///   be ignored (RFC 8446 §5.1, §6), so that it is given the usual ones.
    /// - rustls refuses a header before all of it is there. It is given whole ones.
    pub(super) fn for_a_strict_reader(&self) -> (Vec<u8>, bool) {
        let mut given = self.bytes.clone();
        let mut at = 0;
        let mut refused = false;
        while let Some(header) = given.get_mut(at..at + HEADER) {
            let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
            if header[0] != DATA || length > SEALED_MAX {
                refused = true;
                break;
            }
            header[1..3].copy_from_slice(&[3, 3]);
            at += HEADER + length;
        }
        given.truncate(at);
        match &self.refused {
            Some(record) if record.start < given.len() => {
                given.truncate(record.start);
                (given, true)
            }
            _ => (given, refused),
        }
    }
}

/// The peer at work, and as much of the receiver's state as it has to know.
struct Sending<'a> {
    peer: &'a mut Peer,
    usual_levels: bool,
    wire: Wire,
    /// Nothing is spoilt or refused by both, so that the next record may be opened. After that none is, whatever comes.
    sound: bool,
    /// The beginning of a handshake message, and where the record with it begins.
    message: Vec<u8>,
    message_from: usize,
    /// Since the last data.
    empties: u32,
    key_updates: u32,
}

impl<'a> Sending<'a> {
    fn new(peer: &'a mut Peer, usual_levels: bool) -> Self {
        let (wire, message) = (Wire::default(), Vec::new());
        Self { peer, usual_levels, wire, sound: true, message, message_from: 0, empties: 0, key_updates: 0 }
    }

    fn is_enough(&self) -> bool {
        let length = self.wire.bytes.len();
        length > WIRE_MAX || length - self.message_from > PENDING_MAX
    }

    fn again(&mut self, record: Option<&Record>) {
        if let Some(record) = record
            && !self.is_enough()
        {
            self.record(record);
        }
    }

    /// Hands over all but the last bytes before going on.
    fn waits(&mut self, kept: u8) {
        self.wire.pauses.push(self.wire.bytes.len().saturating_sub(usize::from(kept)));
    }

    fn strays(&mut self, bytes: &[u8]) {
        self.wire.bytes.extend_from_slice(bytes);
        self.sound &= bytes.is_empty();
        self.settle();
    }

    /// Loses the last bytes, and sends no more.
    fn goes(&mut self, lost: u8) {
        let length = self.wire.bytes.len().saturating_sub(usize::from(lost));
        self.wire.bytes.truncate(length);
        self.wire.refused = self.wire.refused.take().filter(|record| record.end <= length);
    }

    fn record(&mut self, record: &Record) {
        let (start, inner) = (self.wire.bytes.len(), record.inner(self.usual_levels));
        let bytes = if record.unsealed { unsealed(&inner) } else { self.peer.seal(&inner) };
        let sent = record.spoil(&bytes);
        // Nobody looks at the version.
        let same = sent.len() == bytes.len() && sent[0] == bytes[0] && sent[3..] == bytes[3..];
        self.sound &= same && !record.unsealed;
        self.wire.bytes.extend_from_slice(&sent);
        if self.sound {
            self.note(&inner, start, record.keeps_keys);
        }
        self.settle();
    }

    fn settle(&mut self) {
        if self.message.is_empty() {
            self.message_from = self.wire.bytes.len();
        }
    }

    /// Keeps up with what the receiver makes of a record.
    fn note(&mut self, inner: &[u8], start: usize, keeps_keys: bool) {
        let Some((kind, content)) = parted(inner) else { return };
        if kind == DATA && !content.is_empty() {
            self.wire.data.push((start, content.len()));
        }
        if self.is_refused(kind, content, keeps_keys) {
            let end = self.wire.bytes.len();
            self.wire.refused.get_or_insert(start..end);
        }
    }

    /// Whether ours has to refuse a record, though rustls may bear it: handshake records without anything in them (which RFC
    /// 8446 §5.4 has refused; rustls passes them over), messages of more than 16 KiB, which none has (rustls waits until they
    /// are there), and what comes too often. Ours counts from data to data; rustls counts records without anything in them
    /// anew after each record with something, and keys anew after data without anything in it as well.
    fn is_refused(&mut self, kind: u8, content: &[u8], keeps_keys: bool) -> bool {
        match kind {
            DATA if content.is_empty() => {
                self.empties += 1;
                self.empties > EMPTIES_MAX
            }
            DATA => {
                (self.empties, self.key_updates) = (0, 0);
                false
            }
            HANDSHAKE if content.is_empty() => true,
            HANDSHAKE => self.messages(content, keeps_keys),
            _ => false,
        }
    }

    /// Changes keys where the receiver does: after a message that says so and ends with its record.
    fn messages(&mut self, content: &[u8], keeps_keys: bool) -> bool {
        self.message.extend_from_slice(content);
        let &[kind, a, b, c, ref after @ ..] = self.message.as_slice() else { return false };
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        if length > MESSAGE_MAX {
            return true;
        }
        let Some(rest) = after.get(length..) else { return false };
        let changes = kind == KEY_UPDATE && rest.is_empty();
        self.message.clear();
        if !changes {
            // Both refuse any other message, and whatever is behind this one.
            self.sound = false;
            return false;
        }
        self.key_updates += 1;
        if keeps_keys {
            self.sound = false;
        } else {
            self.peer.change_keys();
        }
        self.key_updates > KEY_UPDATES_MAX
    }
}

/// A record that is to be sent.
#[derive(Default)]
struct Record {
    /// Content, type, and zeros if it is padded.
    inner: Vec<u8>,
    unsealed: bool,
    /// A bit that is another one, somewhere in the record.
    flipped: Option<(usize, u8)>,
    /// The length that it says it has.
    length: Option<[u8; 2]>,
    /// Bytes that are missing at its end.
    missing: usize,
    /// The sender goes on by its old keys.
    keeps_keys: bool,
}

impl Record {
    /// Bits of the first byte: padded (8), with a flipped bit (16), with another length in its header (32), not sealed (64),
    /// without its end or without new keys after it (128). Each has its bytes after the content, in this order.
    fn read(what: u8, script: &mut Script<'_>) -> Self {
        let kind = match what & 7 {
            0 => DATA,
            1 => ALERT,
            2 => HANDSHAKE,
            3 => CHANGE_CIPHER_SPEC,
            _ => script.byte(),
        };
        let mut inner = if what & 7 == 5 {
            let byte = script.byte();
            vec![byte; usize::from(script.number() & 0x7fff)]
        } else {
            script.bytes().to_vec()
        };
        inner.push(kind);
        if what & 8 != 0 {
            inner.resize(inner.len() + usize::from(script.byte()), 0);
        }
        let mut record = Self { inner, unsealed: what & 64 != 0, ..Self::default() };
        if what & 16 != 0 {
            record.flipped = Some((usize::from(script.number()), 1 << (script.byte() & 7)));
        }
        if what & 32 != 0 {
            record.length = Some(script.number().to_be_bytes());
        }
        if what & 128 != 0 {
            let byte = script.byte();
            (record.keeps_keys, record.missing) = (byte & 1 != 0, usize::from(byte >> 1));
        }
        record
    }

    fn inner(&self, usual_levels: bool) -> Vec<u8> {
        let mut inner = self.inner.clone();
        if usual_levels && matches!(parted(&inner), Some((ALERT, [_, _]))) {
            inner[0] = 1;
        }
        inner
    }

    /// The record as it is sent.
    fn spoil(&self, record: &[u8]) -> Vec<u8> {
        let mut sent = record.to_vec();
        if let Some((at, bit)) = self.flipped {
            let at = at % sent.len();
            sent[at] ^= bit;
        }
        if let Some(length) = self.length {
            sent[3..HEADER].copy_from_slice(&length);
        }
        sent.truncate(sent.len().saturating_sub(self.missing).max(1));
        sent
    }
}

/// Type and content of what a record has inside; nothing if it has no type.
fn parted(inner: &[u8]) -> Option<(u8, &[u8])> {
    let at = inner.iter().rposition(|byte| *byte != 0)?;
    Some((inner[at], &inner[..at]))
}

fn unsealed(inner: &[u8]) -> Vec<u8> {
    let (kind, content) = inner.split_last().expect("a type at least");
    let length = u16::try_from(content.len()).expect("two bytes say how long it is").to_be_bytes();
    [&[*kind, 3, 3][..], &length, content].concat()
}

/// What is left of the input. What is missing at its end is zero.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn step(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn byte(&mut self) -> u8 {
        self.step().unwrap_or(0)
    }

    fn number(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// A byte says how many.
    fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes
    }
}
