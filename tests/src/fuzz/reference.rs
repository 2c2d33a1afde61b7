//! HTTP/1 as its specification has it, read slowly and without mercy: the second opinion on what the edge reads.
//!
//! By RFC 9112 with three liberties, each of which it gives a server (§2.2, §3.2.2): empty lines before a request are passed
//! over, a line of a head may end with LF alone, and a fragment is no part of a target. Of framing there is one kind or none.

/// One request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: String,
    /// Without a fragment.
    pub(super) target: String,
    /// HTTP/1.1, and not HTTP/1.0.
    pub(super) is_1_1: bool,
    /// In the order sent; names in lower case, values without the spaces around them.
    pub(super) fields: Vec<(String, Vec<u8>)>,
    /// Decoded; nothing where it is not there whole.
    pub(super) body: Option<Vec<u8>>,
}

impl Request {
    /// The values of a field.
    pub(super) fn values(&self, name: &str) -> Vec<&[u8]> {
        self.fields.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_slice()).collect()
    }
}

/// The requests of a connection, up to the first one that is none, or after which nobody can tell where the next begins.
pub(super) fn requests(mut rest: &[u8]) -> Vec<Request> {
    let mut all = Vec::new();
    while let Some((request, after, is_last)) = request(rest) {
        let goes_on = request.body.is_some() && !is_last;
        all.push(request);
        rest = after;
        if !goes_on {
            break;
        }
    }
    all
}

fn request(mut rest: &[u8]) -> Option<(Request, &[u8], bool)> {
    let line = loop {
        let (line, after) = line(rest)?;
        rest = after;
        if !line.is_empty() {
            break line;
        }
    };
    let mut words = line.split(|byte| *byte == b' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let target = target.split(|byte| *byte == b'#').next().unwrap_or_default();
    let good =
        words.next().is_none() && is_token(method) && !target.is_empty() && target.iter().all(u8::is_ascii_graphic);
    let is_1_1 = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        _ => return None,
    };
    let fields = fields(&mut rest)?;
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    let mut request = Request { method: text(method)?, target: text(target)?, is_1_1, fields, body: None };
    let framing = framing(&request).filter(|_| good)?;
    let (body, after) = match framing {
        Framing::Length(length) => {
            match usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length)) {
                Some((body, after)) => (Some(body.to_vec()), after),
                None => (None, rest),
            }
        }
        Framing::Chunked { .. } => match chunked(rest) {
            Some((body, after)) => (Some(body), after),
            None => (None, rest),
        },
    };
    request.body = body;
    Some((request, after, framing == Framing::Chunked { beside_a_length: true }))
}

/// A line without its end.
fn line(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = rest.iter().position(|byte| *byte == b'\n')?;
    let line = &rest[..at];
    Some((line.strip_suffix(b"\r").unwrap_or(line), &rest[at + 1..]))
}

fn fields(rest: &mut &[u8]) -> Option<Vec<(String, Vec<u8>)>> {
    let mut fields = Vec::new();
    loop {
        let (line, after) = line(rest)?;
        *rest = after;
        if line.is_empty() {
            return Some(fields);
        }
        // What begins with a space continues the line before it, which nobody sends any more (§5.2).
        let at = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (&line[..at], trimmed(&line[at + 1..]));
        let good = value.iter().all(|byte| matches!(byte, b'\t' | 0x20..=0x7e | 0x80..));
        let name = std::str::from_utf8(name).ok().filter(|name| good && is_token(name.as_bytes()))?;
        fields.push((name.to_ascii_lowercase(), value.to_vec()));
    }
}

fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}

/// Where the body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(u64),
    /// Beside a length it is chunked all the same, and the last that is read (§6.1).
    Chunked {
        beside_a_length: bool,
    },
}

fn framing(request: &Request) -> Option<Framing> {
    let lengths = request.values("content-length");
    match request.values("transfer-encoding").as_slice() {
        [] => {}
        [coding] if request.is_1_1 && coding.eq_ignore_ascii_case(b"chunked") => {
            return Some(Framing::Chunked { beside_a_length: !lengths.is_empty() });
        }
        _ => return None,
    }
    let Some(first) = lengths.first() else { return Some(Framing::Length(0)) };
    let digits = !first.is_empty() && first.iter().all(u8::is_ascii_digit);
    let number: Option<u64> = std::str::from_utf8(first).ok().filter(|_| digits)?.parse().ok();
    // Several may say the same, however many zeros they begin with.
    let same = |other: &&[u8]| {
        let other = std::str::from_utf8(other).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
        other.and_then(|text| text.parse().ok()) == number
    };
    number.filter(|_| lengths.iter().all(same)).map(Framing::Length)
}

/// A chunked body and what follows it. Here every line ends with CRLF, and nothing in between has either.
fn chunked(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut body = Vec::new();
    loop {
        let (line, after) = strict_line(rest)?;
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (size, extension) = line.split_at(digits);
        // An extension, or spaces where there could be one (§7.1.1).
        let extension = trimmed(extension);
        if digits == 0 || !(extension.is_empty() || extension.starts_with(b";")) || line.contains(&b'\n') {
            return None;
        }
        let size = usize::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()?;
        if size == 0 {
            rest = after;
            break;
        }
        let (data, after) = after.split_at_checked(size)?;
        body.extend(data);
        rest = after.strip_prefix(b"\r\n")?;
    }
    loop {
        let (line, after) = strict_line(rest)?;
        rest = after;
        if line.is_empty() {
            return Some((body, rest));
        }
    }
}

/// Up to the first CR, which an LF must follow.
fn strict_line(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = rest.iter().position(|byte| *byte == b'\r')?;
    let after = rest[at + 1..].strip_prefix(b"\n")?;
    Some((&rest[..at], after))
}
