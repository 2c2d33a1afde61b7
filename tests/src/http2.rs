//! HTTP/2 by hand: header blocks that no library would send.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};

use crate::raw::{Door, Raw};

/// The largest frame that is taken where nothing else was agreed (RFC 9113 §4.2).
pub const FRAME_MAX: usize = 16_384;
/// The flag of the last frame of a header block.
const END_HEADERS: u8 = 4;

/// An HTTP/2 connection on which anything can be sent.
#[derive(Debug)]
pub struct Http2 {
    raw: Raw,
    waiting: Vec<u8>,
    next: u32,
    /// What became of streams while another was waited for.
    known: HashMap<u32, Outcome>,
}

/// How the peer answered a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A status.
    Status(u16),
    /// RST_STREAM with this code.
    Reset(u32),
    /// GOAWAY with this code, or the end of the connection (code 0).
    Gone(u32),
}

impl Outcome {
    /// The status; 0 for a reset or the end.
    pub fn status(self) -> u16 {
        match self {
            Self::Status(status) => status,
            Self::Reset(_) | Self::Gone(_) => 0,
        }
    }
}

impl Http2 {
    /// Connects and exchanges prefaces.
    ///
    /// # Errors
    /// The door did not open.
    pub async fn open(door: &Door) -> Result<Self> {
        let mut raw = door.offering(&["h2"]).open().await?;
        raw.send(&preface()).await?;
        Ok(Self { raw, waiting: Vec::new(), next: 1, known: HashMap::new() })
    }

    /// Sends a request of exactly these fields, without a body unless one is given, and waits for what becomes of it.
    ///
    /// # Errors
    /// Nothing came in time.
    pub async fn ask(&mut self, fields: &[(&str, &str)], body: Option<&[u8]>) -> Result<Outcome> {
        let stream = self.begin(fields, body.is_none()).await?;
        if let Some(body) = body {
            self.raw.send(&frame(0, 1, stream, body)).await?;
        }
        self.outcome(stream).await
    }

    /// Sends frames as they are.
    ///
    /// # Errors
    /// It took too long.
    pub async fn send_raw(&mut self, frames: &[u8]) -> Result<()> {
        self.raw.send(frames).await
    }

    /// Sends a header block and, if `end`, the end of the stream. Gives the stream's number.
    ///
    /// # Errors
    /// It took too long.
    pub async fn begin(&mut self, fields: &[(&str, &str)], end: bool) -> Result<u32> {
        let stream = self.next;
        self.next += 2;
        self.raw.send(&head(u8::from(end), stream, &block(fields))).await?;
        Ok(stream)
    }

    /// Sends trailers, which end the stream.
    ///
    /// # Errors
    /// It took too long.
    pub async fn trailers(&mut self, stream: u32, fields: &[(&str, &str)]) -> Result<()> {
        let block: Vec<u8> = fields.iter().flat_map(|(name, value)| literal(name, value)).collect();
        self.raw.send(&frame(1, 5, stream, &block)).await
    }

    /// Sends DATA.
    ///
    /// # Errors
    /// It took too long.
    pub async fn data(&mut self, stream: u32, bytes: &[u8], end: bool) -> Result<()> {
        self.raw.send(&frame(0, u8::from(end), stream, bytes)).await
    }

    /// Sends a frame of any kind.
    ///
    /// # Errors
    /// It took too long.
    pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<()> {
        self.raw.send(&frame(kind, flags, stream, payload)).await
    }

    /// What becomes of a stream.
    ///
    /// # Errors
    /// Nothing came in time.
    pub async fn outcome(&mut self, stream: u32) -> Result<Outcome> {
        loop {
            if let Some(outcome) = self.known.remove(&stream) {
                return Ok(outcome);
            }
            let Some((kind, flags, id, payload)) = self.frame().await? else { return Ok(Outcome::Gone(0)) };
            match kind {
                1 if id == stream => {
                    let padding = usize::from(flags & 8 != 0) + if flags & 0x20 != 0 { 5 } else { 0 };
                    let status = status(payload.get(padding..).context("a short HEADERS frame")?)?;
                    if status >= 200 {
                        return Ok(Outcome::Status(status));
                    }
                }
                3 if id == stream => return Ok(Outcome::Reset(code(&payload, 0))),
                // A polite GOAWAY (no error) may still be followed by the answer.
                7 if code(&payload, 4) != 0 => return Ok(Outcome::Gone(code(&payload, 4))),
                _ => self.heed(kind, flags, id, &payload).await?,
            }
        }
    }

    /// Waits until it is asked to go (GOAWAY), and gives the code; `None` if the connection ends without that. What becomes of
    /// streams meanwhile is kept.
    ///
    /// # Errors
    /// Nothing came in time.
    pub async fn asked_to_go(&mut self) -> Result<Option<u32>> {
        while let Some((kind, flags, id, payload)) = self.frame().await? {
            if kind == 7 {
                return Ok(Some(code(&payload, 4)));
            }
            self.heed(kind, flags, id, &payload).await?;
        }
        Ok(None)
    }

    /// Does what any client does with a frame that nobody waits for.
    async fn heed(&mut self, kind: u8, flags: u8, id: u32, payload: &[u8]) -> Result<()> {
        match kind {
            // What is sent of bodies is taken, or the connection would be full of them.
            0 if !payload.is_empty() => {
                let taken = u32::try_from(payload.len())?.to_be_bytes();
                self.raw.send(&frame(8, 0, 0, &taken)).await?;
            }
            1 | 3 => self.note(kind, flags, id, payload),
            4 if flags & 1 == 0 => self.raw.send(&frame(4, 1, 0, &[])).await?,
            6 if flags & 1 == 0 => self.raw.send(&frame(6, 1, 0, payload)).await?,
            _ => {}
        }
        Ok(())
    }

    /// Keeps what a frame says about the outcome of a stream that nobody waits for.
    fn note(&mut self, kind: u8, flags: u8, id: u32, payload: &[u8]) {
        let padding = usize::from(flags & 8 != 0) + if flags & 0x20 != 0 { 5 } else { 0 };
        let outcome = match kind {
            1 => payload.get(padding..).and_then(|block| status(block).ok()).map(Outcome::Status),
            _ => Some(Outcome::Reset(code(payload, 0))),
        };
        if let Some(outcome) = outcome.filter(|outcome| !(100..200).contains(&outcome.status())) {
            self.known.entry(id).or_insert(outcome);
        }
    }

    async fn frame(&mut self) -> Result<Option<Frame>> {
        loop {
            if let Some(frame) = take(&mut self.waiting) {
                return Ok(Some(frame));
            }
            let some = self.raw.read().await?;
            if some.is_empty() {
                return Ok(None);
            }
            self.waiting.extend(some);
        }
    }
}

/// A frame as it came: kind, flags, stream and payload.
pub(crate) type Frame = (u8, u8, u32, Vec<u8>);

/// Takes the first frame of what has come, once it is whole.
pub(crate) fn take(waiting: &mut Vec<u8>) -> Option<Frame> {
    let [a, b, c, kind, flags, id @ ..] = waiting.as_slice() else { return None };
    let end = 9 + (usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c));
    if waiting.len() < end {
        return None;
    }
    let id = u32::from_be_bytes([id[0] & 0x7f, id[1], id[2], id[3]]);
    let (kind, flags, payload) = (*kind, *flags, waiting[9..end].to_vec());
    waiting.drain(..end);
    Some((kind, flags, id, payload))
}

/// What begins a connection.
pub(crate) fn preface() -> Vec<u8> {
    // SETTINGS_HEADER_TABLE_SIZE of none: then every answer says its status in full.
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[0, 1, 0, 0, 0, 0])].concat()
}

/// A frame as it is sent.
///
/// # Panics
/// The payload is longer than any frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("small frames").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The number of four bytes that stands there; 0 where there is none.
fn code(payload: &[u8], at: usize) -> u32 {
    payload.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes)
}

/// A header block in as many frames as it needs, the first of them with `flags` beside.
fn head(flags: u8, stream: u32, block: &[u8]) -> Vec<u8> {
    let ends = |rest: &[u8]| if rest.is_empty() { END_HEADERS } else { 0 };
    let (first, mut rest) = block.split_at(block.len().min(FRAME_MAX));
    let mut frames = frame(1, flags | ends(rest), stream, first);
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.len().min(FRAME_MAX));
        frames.extend(frame(9, ends(after), stream, piece));
        rest = after;
    }
    frames
}

/// A header block of these fields.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| literal(name, value)).collect()
}

/// A field as a literal without indexing and without Huffman coding (RFC 7541 §6.2.2).
fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut out = vec![0];
    for text in [name, value] {
        let mut length = text.len();
        if length < 127 {
            out.push(u8::try_from(length).expect("checked above"));
        } else {
            out.push(127);
            length -= 127;
            while length >= 128 {
                out.push(u8::try_from(length % 128).expect("below 128") | 128);
                length /= 128;
            }
            out.push(u8::try_from(length).expect("below 128"));
        }
        out.extend(text.bytes());
    }
    out
}

/// The status of an answer's header block: `:status` is always its first field, after table size updates.
pub(crate) fn status(mut block: &[u8]) -> Result<u16> {
    while let [first, rest @ ..] = block
        && first & 0xe0 == 0x20
    {
        block = rest;
    }
    let [first, rest @ ..] = block else { bail!("an empty header block") };
    match first {
        0x88 => return Ok(200),
        0x89 => return Ok(204),
        0x8a => return Ok(206),
        0x8b => return Ok(304),
        0x8c => return Ok(400),
        0x8d => return Ok(404),
        0x8e => return Ok(500),
        // A literal whose name is one of the static table's `:status` entries (8 to 14).
        0x48..=0x4e | 0x08..=0x0e => {}
        _ => bail!("the first field is not :status: {block:02x?}"),
    }
    let [length, value @ ..] = rest else { bail!("a cut header block") };
    let digits = if length & 0x80 == 0 {
        String::from_utf8_lossy(value.get(..3).context("three digits")?).into_owned()
    } else {
        huffman_digits(value, 3)?
    };
    Ok(digits.parse()?)
}

/// Decodes `count` decimal digits of the static Huffman code (RFC 7541 appendix B): 0–2 have 5 bits, the others 6.
fn huffman_digits(bytes: &[u8], count: usize) -> Result<String> {
    let mut bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |i| u32::from(byte >> i & 1)));
    let mut take = |n: u32| (0..n).try_fold(0, |all, _| bits.next().map(|bit| all << 1 | bit)).context("cut");
    let mut digits = String::new();
    for _ in 0..count {
        let five = take(5)?;
        let digit = if five <= 2 { five } else { (five << 1 | take(1)?).checked_sub(0x19).context("not a digit")? + 3 };
        digits.push(char::from_digit(digit, 10).context("not a digit")?);
    }
    Ok(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_head_takes_several_frames() {
        for (length, sizes) in [(0, &[0][..]), (FRAME_MAX, &[FRAME_MAX]), (FRAME_MAX + 1, &[FRAME_MAX, 1])] {
            let (mut frames, mut seen) = (head(1, 3, &vec![7; length]), Vec::new());
            while !frames.is_empty() {
                let size = usize::from(frames[0]) << 16 | usize::from(frames[1]) << 8 | usize::from(frames[2]);
                seen.push((frames[3], frames[4], size));
                frames.drain(..9 + size);
            }
            let last = sizes.len() - 1;
            let kind = |n: usize| -> (u8, u8) { if n == 0 { (1, 1) } else { (9, 0) } };
            let flags = |n: usize| kind(n).1 | if n == last { END_HEADERS } else { 0 };
            let expected: Vec<_> = sizes.iter().enumerate().map(|(n, size)| (kind(n).0, flags(n), *size)).collect();
            assert_eq!(seen, expected);
        }
    }

    #[test]
    fn statuses_are_read_in_every_coding() {
        for (block, expected) in [
            (&[0x88][..], 200),
            (&[0x20, 0x8d], 404),
            (&[0x48, 3, b'4', b'0', b'3'], 403),
            (&[0x48, 0x82, 0x64, 0x02], 302),
            (&[0x48, 0x82, 0x64, 0x0e, 0xff], 307),
        ] {
            assert_eq!(status(block).ok(), Some(expected), "{block:02x?}");
        }
    }
}
