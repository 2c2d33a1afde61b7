//! HTTP/1 as its specification has it, read slowly and without mercy: the second opinion on what the edge reads.
//!
//! By RFC 9112 to the letter, with one of the liberties that it gives a server (§2.2): an empty line before a request is
//! passed over. Framing is said once, or not at all.

/// One request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: String,
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
    while let Some((request, after)) = request(rest) {
        let goes_on = request.body.is_some();
        all.push(request);
        rest = after;
        if !goes_on {
            break;
        }
    }
    all
}

fn request(rest: &[u8]) -> Option<(Request, &[u8])> {
    let (line, mut rest) = line(rest.strip_prefix(b"\r\n").unwrap_or(rest))?;
    let mut words = line.split(|byte| *byte == b' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let is_target = !target.is_empty() && target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#');
    let good = words.next().is_none() && is_token(method) && is_target;
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
        Framing::Chunked => match chunked(rest) {
            Some((body, after)) => (Some(body), after),
            None => (None, rest),
        },
    };
    request.body = body;
    Some((request, after))
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
    Chunked,
}

fn framing(request: &Request) -> Option<Framing> {
    let lengths = request.values("content-length");
    match request.values("transfer-encoding").as_slice() {
        [] => {}
        [coding] if request.is_1_1 && coding.eq_ignore_ascii_case(b"chunked") => {
            return lengths.is_empty().then_some(Framing::Chunked);
        }
        _ => return None,
    }
    match lengths.as_slice() {
        [] => Some(Framing::Length(0)),
        [length] if length.iter().all(u8::is_ascii_digit) => {
            std::str::from_utf8(length).ok()?.parse().ok().map(Framing::Length)
        }
        _ => None,
    }
}

/// A chunked body and what follows it.
fn chunked(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut body = Vec::new();
    loop {
        let (line, after) = line(rest)?;
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (size, extension) = line.split_at(digits);
        // Padding of a size to a width.
        let spaces = extension.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let extension = &extension[spaces..];
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
        let (line, after) = line(rest)?;
        rest = after;
        if line.is_empty() {
            return Some((body, rest));
        }
    }
}

/// A line without its end: up to the first CR, which an LF must follow.
fn line(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = rest.iter().position(|byte| *byte == b'\r')?;
    let after = rest[at + 1..].strip_prefix(b"\n")?;
    Some((&rest[..at], after))
}
