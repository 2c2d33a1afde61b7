//! One head, judged to the letter of RFC 9112 before any library reads it.

use http::{HeaderMap, HeaderValue, Uri, header};

use crate::request::{METHOD_MAX, Malformed};

/// The largest head, in bytes, and the most fields (H15).
pub(crate) const HEAD_MAX: usize = 32 * 1024;
pub(crate) const FIELDS_MAX: usize = 100;
/// Digits of a length that surely fit into 64 bits.
const LENGTH_DIGITS: usize = 18;

const LENGTH: &[u8] = b"content-length";
const CODING: &[u8] = b"transfer-encoding";

/// How long the body is that follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes; none, if nothing is said.
    Length(u64),
    /// As the chunks say.
    Chunked,
}

/// The search for the end of a head, which goes on where it was when more bytes have come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Search {
    /// Bytes looked at.
    at: usize,
    /// The last one was CR.
    cr: bool,
    /// Bytes of the present line.
    line: usize,
    /// Lines before it.
    lines: usize,
}

impl Search {
    /// Where the head ends that `bytes` begin with; `None` while it is not all there. The bytes of the call before come
    /// again, with more behind them.
    pub(super) fn end(&mut self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        loop {
            if !self.cr {
                // Nearly all of a head: bytes of which each is like the one before it.
                let rest = bytes.get(self.at..).unwrap_or_default();
                let plain = rest.iter().position(|byte| !is_plain(*byte)).unwrap_or(rest.len());
                self.at = self.at.saturating_add(plain);
                self.line = self.line.saturating_add(plain);
            }
            let next = bytes.get(self.at);
            self.at = self.at.saturating_add(usize::from(next.is_some()));
            if self.at > HEAD_MAX {
                return Err(if self.lines == 0 { Malformed::TargetTooLong } else { Malformed::HeadTooLarge });
            }
            let Some(byte) = next else { return Ok(None) };
            match byte {
                b'\n' if self.cr => {
                    // An empty line ends a head, but for one before it (RFC 9112 §2.2).
                    if self.line == 0 && self.lines > 0 {
                        return Ok(Some(self.at));
                    }
                    *self = Self { at: self.at, lines: self.lines.saturating_add(1), ..Self::default() };
                }
                _ if self.cr => return Err(Malformed::Syntax),
                b'\r' => self.cr = true,
                _ => return Err(Malformed::Syntax),
            }
        }
    }
}

/// Judges a whole head, its empty line included. What passes has one reading: that of every parser that takes it at all.
pub(super) fn judge(head: &[u8]) -> Result<Framing, Malformed> {
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    let head = head.strip_suffix(b"\r\n\r\n").ok_or(Malformed::Syntax)?;
    let mut lines = head.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let is_modern = request_line(lines.next().unwrap_or_default())?;
    let (mut length, mut is_chunked, mut fields) = (None, false, 0_usize);
    for line in lines {
        fields = fields.saturating_add(1);
        if fields > FIELDS_MAX {
            return Err(Malformed::HeadTooLarge);
        }
        let (name, value) = field(line).ok_or(Malformed::Syntax)?;
        if reads_as(name, CODING) {
            let is_plain = name.eq_ignore_ascii_case(CODING) && value.eq_ignore_ascii_case(b"chunked");
            if !is_plain || !is_modern || is_chunked {
                return Err(Malformed::Framing);
            }
            is_chunked = true;
        } else if reads_as(name, LENGTH) {
            if length.is_some() || !name.eq_ignore_ascii_case(LENGTH) {
                return Err(Malformed::Framing);
            }
            length = Some(number(value).ok_or(Malformed::Framing)?);
        }
    }
    match (is_chunked, length) {
        (true, None) => Ok(Framing::Chunked),
        (true, Some(_)) => Err(Malformed::Framing),
        (false, length) => Ok(Framing::Length(length.unwrap_or(0))),
    }
}

/// `METHOD target HTTP/1.x` with one space in each place; whether it is HTTP/1.1.
fn request_line(line: &[u8]) -> Result<bool, Malformed> {
    let mut words = line.split(|b| *b == b' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Malformed::Syntax);
    };
    if !is_token(method) {
        return Err(Malformed::Syntax);
    }
    if method.len() > METHOD_MAX {
        return Err(Malformed::Method);
    }
    // A fragment is no part of any target (RFC 9112 §3.2), and what comes later would cut it off without a word. What is none to
    // the library it would answer itself, without a page.
    let is_plain = target.iter().all(|b| matches!(b, 0x21..=0x7e) && *b != b'#');
    if !is_plain || Uri::try_from(target).is_err() {
        return Err(Malformed::Target);
    }
    match version {
        b"HTTP/1.1" => Ok(true),
        b"HTTP/1.0" => Ok(false),
        _ => Err(Malformed::Syntax),
    }
}

/// Who reads the answer to a head that is refused, as far as it came: whether a person does, and in which language. It is all
/// that a page needs, and decides nothing else.
pub(super) fn asker(head: &[u8]) -> HeaderMap {
    let mut found = HeaderMap::new();
    let mut lines = head.split(|b| *b == b'\n');
    let line = lines.next().unwrap_or_default();
    for line in lines.take(FIELDS_MAX) {
        let Some((name, value)) = field(line.strip_suffix(b"\r").unwrap_or(line)) else { continue };
        let said = ASKER.into_iter().find(|said| name.eq_ignore_ascii_case(said.as_bytes()));
        let value = HeaderValue::from_bytes(value).ok().filter(|value| value.len() <= ASKER_MAX);
        if let (Some(said), Some(value)) = (said, value) {
            found.insert(said, value);
        }
    }
    // A target that was too long for anything behind it: to be opened is what most of them are for.
    if line.len() > HEAD_MAX && line.starts_with(b"GET ") {
        found.insert(header::ACCEPT, HeaderValue::from_static("text/html"));
    }
    found
}

/// The cookies of a head that is too large, as far as it came, and the host that they are for.
pub(super) fn cookies(head: &[u8]) -> HeaderMap {
    let mut found = HeaderMap::new();
    let lines = head.get(..HEAD_MAX).unwrap_or(head).split(|b| *b == b'\n');
    for (name, value) in lines.filter_map(|line| field(line.strip_suffix(b"\r").unwrap_or(line))) {
        let known = [header::HOST, header::COOKIE]
            .into_iter()
            .find(|known| name.eq_ignore_ascii_case(known.as_str().as_bytes()));
        if let (Some(name), Ok(value)) = (known, HeaderValue::from_bytes(value)) {
            found.append(name, value);
        }
    }
    found
}

/// What a head that is too large asks for: cookies depend on it.
pub(super) fn target(head: &[u8]) -> Option<Uri> {
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    let line = head.split(|b| *b == b'\n').next()?;
    Uri::try_from(line.split(|b| *b == b' ').nth(1)?).ok()
}

/// What [`asker`] looks for, and the longest that it takes.
const ASKER: [&str; 4] = ["accept", "accept-language", "sec-fetch-mode", "x-requested-with"];
const ASKER_MAX: usize = 1024;

/// Name and value of a field's line, without space around the value; `None` if it is none.
pub(super) fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|b| *b == b':')?;
    let (name, value) = (line.get(..colon)?, line.get(colon..)?.strip_prefix(b":")?);
    (is_token(name) && value.iter().all(|byte| is_plain(*byte))).then_some((name, value.trim_ascii()))
}

/// Whether something is a token (RFC 9110 §5.6.2).
pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|b| is_token_byte(*b))
}

/// Whether a byte may stand in a token.
pub(super) const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

/// Whether a byte may stand in a line: whatever is no control character, but for the tab.
const fn is_plain(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

/// Whether some server takes a name for `framing`: in any case, and with anything for its `-`.
fn reads_as(name: &[u8], framing: &[u8]) -> bool {
    let same = |(a, b): (&u8, &u8)| a.eq_ignore_ascii_case(b) || (*b == b'-' && !a.is_ascii_alphanumeric());
    name.len() == framing.len() && name.iter().zip(framing).all(same)
}

/// A length: decimal digits and nothing else.
fn number(text: &[u8]) -> Option<u64> {
    let is_plain = !text.is_empty() && text.len() <= LENGTH_DIGITS && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| is_plain)?.parse().ok()
}
