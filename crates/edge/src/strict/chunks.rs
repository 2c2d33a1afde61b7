//! A chunked body followed to its end (RFC 9112 §7.1), so that it is known where the next head begins.

use super::head::{FIELDS_MAX, field, is_token_byte};

/// The longest line that says a chunk's size, extensions included, in bytes.
pub(super) const SIZE_LINE_MAX: usize = 256;
/// Digits of a size; leading zeros count.
const SIZE_DIGITS: usize = 16;
/// Bytes of extensions in one body: nothing uses them, so that many are an attack.
pub(super) const EXTENSIONS_MAX: usize = 8 * 1024;
/// Bytes of trailers in one body.
pub(super) const TRAILERS_MAX: usize = 8 * 1024;

/// How far a chunked body has come.
#[derive(Debug)]
pub(super) struct Chunks {
    part: Part,
    /// The present line of a size or of trailers.
    line: Vec<u8>,
    extensions: usize,
    trailers: usize,
    fields: usize,
}

#[derive(Debug)]
enum Part {
    Size,
    Data(u64),
    DataCr,
    DataLf,
    Trailers,
}

/// What has been seen of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Not yet its end.
    More,
    /// Its end.
    End,
    /// What is no chunked body.
    Broken,
}

impl Chunks {
    pub(super) fn new() -> Self {
        Self { part: Part::Size, line: Vec::new(), extensions: 0, trailers: 0, fields: 0 }
    }

    /// Follows the body through `bytes`; how many of them belong to it and may be read, and how it goes on after these.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> (usize, Seen) {
        let mut at = 0_usize;
        while let Some(byte) = bytes.get(at) {
            let seen = match self.part {
                Part::Data(left) => {
                    let here = bytes.len().saturating_sub(at);
                    let some = here.min(usize::try_from(left).unwrap_or(usize::MAX));
                    let left = left.saturating_sub(some as u64);
                    self.part = if left == 0 { Part::DataCr } else { Part::Data(left) };
                    at = at.saturating_add(some);
                    continue;
                }
                Part::DataCr if *byte == b'\r' => self.goes_on(Part::DataLf),
                Part::DataLf if *byte == b'\n' => self.goes_on(Part::Size),
                Part::DataCr | Part::DataLf => Seen::Broken,
                Part::Size if *byte == b'\n' => self.size(),
                Part::Trailers if *byte == b'\n' => self.trailer(),
                Part::Size => self.longer(*byte, SIZE_LINE_MAX),
                Part::Trailers => self.longer(*byte, TRAILERS_MAX.saturating_sub(self.trailers)),
            };
            match seen {
                Seen::More => at = at.saturating_add(1),
                Seen::End => return (at.saturating_add(1), Seen::End),
                // The byte that breaks it is not read by anybody.
                Seen::Broken => return (at, Seen::Broken),
            }
        }
        (at, Seen::More)
    }

    fn goes_on(&mut self, part: Part) -> Seen {
        self.part = part;
        Seen::More
    }

    fn longer(&mut self, byte: u8, max: usize) -> Seen {
        if self.line.len() > max {
            return Seen::Broken;
        }
        self.line.push(byte);
        Seen::More
    }

    /// The line of a size is whole but for its LF.
    fn size(&mut self) -> Seen {
        let Some((size, extensions)) = self.line.strip_suffix(b"\r").and_then(size_line) else { return Seen::Broken };
        self.extensions = self.extensions.saturating_add(extensions);
        if self.extensions > EXTENSIONS_MAX {
            return Seen::Broken;
        }
        self.line.clear();
        self.goes_on(if size == 0 { Part::Trailers } else { Part::Data(size) })
    }

    /// A line of trailers is whole but for its LF; the empty one ends the body.
    fn trailer(&mut self) -> Seen {
        let Some(line) = self.line.strip_suffix(b"\r") else { return Seen::Broken };
        if line.is_empty() {
            return Seen::End;
        }
        self.fields = self.fields.saturating_add(1);
        if field(line).is_none() || self.fields > FIELDS_MAX {
            return Seen::Broken;
        }
        self.trailers = self.trailers.saturating_add(self.line.len());
        self.line.clear();
        Seen::More
    }
}

/// A chunk's size, and the bytes of its extensions.
fn size_line(line: &[u8]) -> Option<(u64, usize)> {
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    let (size, rest) = line.split_at_checked(digits).filter(|_| digits <= SIZE_DIGITS)?;
    let size = u64::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()?;
    // Some pad their sizes to a width; every reader passes over that.
    let spaces = rest.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    are_extensions(rest.get(spaces..)?).then_some((size, rest.len()))
}

/// `*( ";" token [ "=" ( token / quoted-string ) ] )`, without the space within that RFC 9112 §7.1.1 calls bad.
fn are_extensions(mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        let Some(after) = rest.strip_prefix(b";").and_then(after_token) else { return false };
        rest = after;
        if let Some(value) = rest.strip_prefix(b"=") {
            let after = value.strip_prefix(b"\"").map_or_else(|| after_token(value), after_quoted);
            let Some(after) = after else { return false };
            rest = after;
        }
    }
    true
}

fn after_token(text: &[u8]) -> Option<&[u8]> {
    let token = text.iter().take_while(|b| is_token_byte(**b)).count();
    text.get(token..).filter(|_| token > 0)
}

/// What follows a quoted string whose first quote is gone.
fn after_quoted(text: &[u8]) -> Option<&[u8]> {
    let mut is_escaped = false;
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'\t' | b' '..=b'~' if is_escaped => is_escaped = false,
            b'"' => return text.get(at.saturating_add(1)..),
            b'\\' => is_escaped = true,
            b'\t' | b' '..=b'~' => {}
            _ => return None,
        }
    }
    None
}
