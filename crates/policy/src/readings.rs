//! Every plausible reading of a request's path.
//!
//! Servers differ in how they read a path, and the edge cannot know which one stands behind it. So the path is forwarded
//! untouched, and judged in every way in which a server might read it.

use std::collections::{BTreeMap, VecDeque};

/// The most readings that are followed up; a path with more of them is judged as if it could mean anything.
const READINGS_MAX: usize = 128;
/// The most bytes of readings that are followed up, which bounds the work that one request can ask for.
const READINGS_BYTES: usize = 128 * 1024;
/// How often percent-encoding is undone: once by the server, once more by what stands behind it.
const DECODINGS: u8 = 2;

/// The readings of a path, or the admission that there are too many.
pub(crate) enum Readings {
    /// All of them, the raw one first.
    All(Vec<Vec<u8>>),
    /// So many that every application and every reserved path must be reckoned with.
    Anything,
}

/// All readings that follow from the raw path by undoing percent-encoding (twice at most), turning `\` into `/`, cutting
/// path parameters, removing dot segments, merging slashes, cutting at NUL, `?` and `#`, mending overlong UTF-8 and
/// dropping what Windows drops from the end of a segment, in any order and any number of times. Case is not folded here.
pub(crate) fn readings(raw: &[u8]) -> Readings {
    if is_plain(raw) {
        return Readings::All(vec![raw.to_vec()]);
    }
    let mut order = vec![raw.to_vec()];
    let mut decodings = BTreeMap::from([(raw.to_vec(), 0)]);
    let mut queue = VecDeque::from([(raw.to_vec(), 0)]);
    let mut bytes = raw.len();
    while let Some((path, decoded)) = queue.pop_front() {
        let again = (decoded < DECODINGS).then(|| (decode(&path), decoded.saturating_add(1)));
        for (reading, decoded) in STEPS.iter().map(|step| (step(&path), decoded)).chain(again) {
            match decodings.get_mut(&reading) {
                // Reached again with more decodings left: what follows from it must be looked at again.
                Some(known) if *known > decoded => *known = decoded,
                Some(_) => continue,
                None => {
                    bytes = bytes.saturating_add(reading.len());
                    if order.len() >= READINGS_MAX || bytes > READINGS_BYTES {
                        return Readings::Anything;
                    }
                    order.push(reading.clone());
                    decodings.insert(reading.clone(), decoded);
                }
            }
            queue.push_back((reading, decoded));
        }
    }
    Readings::All(order)
}

/// Whether no step changes the path: it begins with `/`, and holds nothing that any server treats specially.
pub(crate) fn is_plain(path: &[u8]) -> bool {
    let ordinary = |b: &u8| b.is_ascii_alphanumeric() || b"/-_.~!$&'()*+,=@".contains(b);
    let dotted = |segment: &[u8]| segment.last() == Some(&b'.');
    let segments = || path.split(|b| *b == b'/');
    path.first() == Some(&b'/')
        && path.iter().all(ordinary)
        && !path.windows(2).any(|pair| pair == b"//")
        && !segments().any(dotted)
}

type Step = fn(&[u8]) -> Vec<u8>;

const STEPS: [Step; 8] =
    [rooted, forward_slashes, without_parameters, without_dots, merged_slashes, cut, shortened, windows_names];

/// A path that does not begin with `/` is read as if it did.
fn rooted(path: &[u8]) -> Vec<u8> {
    if path.first() == Some(&b'/') { path.to_vec() } else { [b"/", path].concat() }
}

fn decode(path: &[u8]) -> Vec<u8> {
    percent_encoding::percent_decode(path).collect()
}

fn forward_slashes(path: &[u8]) -> Vec<u8> {
    path.iter().map(|b| if *b == b'\\' { b'/' } else { *b }).collect()
}

/// `/a;x=y/b` is `/a/b` to servers that know path parameters (RFC 3986 §3.3).
fn without_parameters(path: &[u8]) -> Vec<u8> {
    by_segment(path, |segment| segment.split(|b| *b == b';').next().unwrap_or_default())
}

/// RFC 3986 §5.2.4; `..` at the root stays at the root.
fn without_dots(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut segments = path.split(|b| *b == b'/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b"." => {}
            b".." if kept.len() > 1 => drop(kept.pop()),
            b".." => {}
            _ => {
                kept.push(segment);
                continue;
            }
        }
        if last {
            kept.push(b"");
        }
    }
    kept.join(&b'/')
}

fn merged_slashes(path: &[u8]) -> Vec<u8> {
    let mut merged = path.to_vec();
    merged.dedup_by(|a, b| *a == b'/' && *b == b'/');
    merged
}

/// Where C strings end, and where a second parser sees a query or a fragment.
fn cut(path: &[u8]) -> Vec<u8> {
    path.split(|b| matches!(b, 0 | b'?' | b'#')).next().unwrap_or_default().to_vec()
}

/// Overlong UTF-8 of two or three bytes becomes the ASCII character that lax decoders see in it.
fn shortened(path: &[u8]) -> Vec<u8> {
    let mut short = Vec::with_capacity(path.len());
    let mut rest = path;
    loop {
        rest = match rest {
            [] => return short,
            [lead @ 0xC0..=0xC1, next @ 0x80..=0xBF, tail @ ..] => {
                short.push(((lead & 1) << 6) | (next & 0x3F));
                tail
            }
            [0xE0, lead @ 0x80..=0x81, next @ 0x80..=0xBF, tail @ ..] => {
                short.push(((lead & 1) << 6) | (next & 0x3F));
                tail
            }
            [byte, tail @ ..] => {
                short.push(*byte);
                tail
            }
        };
    }
}

/// Windows drops dots and spaces from the end of a name, and reads `name::$DATA` and the like as `name`.
fn windows_names(path: &[u8]) -> Vec<u8> {
    by_segment(path, |segment| {
        let stream = segment.windows(2).position(|pair| matches!(pair, b"::" | b":$"));
        let mut name = segment.get(..stream.unwrap_or(segment.len())).unwrap_or_default();
        while let [head @ .., last] = name
            && (last.is_ascii_whitespace() || *last == b'.' && !matches!(name, b"." | b".."))
        {
            name = head;
        }
        name
    })
}

fn by_segment(path: &[u8], map: impl Fn(&[u8]) -> &[u8]) -> Vec<u8> {
    path.split(|b| *b == b'/').map(map).collect::<Vec<_>>().join(&b'/')
}

/// The path as a server sees it that does not care about case, by Unicode where it is UTF-8: `K` (Kelvin) is `k`, `ſ` is
/// `s` and `ı` is `i`, as in every case-insensitive comparison somewhere.
pub(crate) fn fold(path: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(path) {
        Ok(text) if !text.is_ascii() => {
            text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect::<String>().into_bytes()
        }
        _ => path.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(path: &str) -> Vec<String> {
        match readings(path.as_bytes()) {
            Readings::All(all) => all.iter().map(|reading| String::from_utf8_lossy(reading).into_owned()).collect(),
            Readings::Anything => panic!("{path} has too many readings"),
        }
    }

    #[test]
    fn a_plain_path_has_one_reading() {
        for path in ["/", "/a", "/a/b.html", "/~user/.well-known/x,y", "/wp-admin/"] {
            assert_eq!(all(path), [path]);
        }
    }

    #[test]
    fn every_step_is_found_alone_and_combined() {
        let table = [
            ("/a%62", "/ab"),
            ("/a%2562", "/ab"),
            ("/a\\b", "/a/b"),
            ("/a;x/b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/./b", "/a/b"),
            ("/a/..", "/"),
            ("/../../a", "/a"),
            ("//a", "/a"),
            ("/a%00.html", "/a"),
            ("/a%3fx", "/a"),
            ("/a%23x", "/a"),
            ("/a%c0%afb", "/a/b"),
            ("/a%e0%80%afb", "/a/b"),
            ("/a.", "/a"),
            ("/a%20", "/a"),
            ("/a::$INDEX_ALLOCATION/b", "/a/b"),
            ("/x/..%2f..%5ca", "/a"),
            ("/x/%252e%252e/a", "/a"),
            ("/x/..;/a", "/a"),
            ("/x/.%00./../a", "/x/."),
            ("/x//../a", "/a"),
            ("/x//../a", "/x/a"),
            ("/x/.. /a", "/a"),
            ("a", "/a"),
        ];
        for (path, reading) in table {
            assert!(all(path).iter().any(|found| found == reading), "{path} is read as {reading}: {:?}", all(path));
        }
    }

    #[test]
    fn a_plain_path_is_what_no_step_changes() {
        for path in ["/a/b", "/.a/b-c", "/a=b,c"] {
            assert!(is_plain(path.as_bytes()));
            assert!(STEPS.iter().all(|step| step(path.as_bytes()) == path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn a_path_with_too_many_readings_could_mean_anything() {
        let path = "/a%2f..;x%255c.%20%c0%af%00%3f//".repeat(400);
        assert!(matches!(readings(path.as_bytes()), Readings::Anything));
    }

    #[test]
    fn folding_knows_the_letters_that_fold_into_ascii() {
        for (path, folded) in
            [("/ADMIN", "/admin"), ("/\u{212a}ey", "/key"), ("/\u{17f}ecret", "/secret"), ("/adm\u{131}n", "/admin")]
        {
            assert_eq!(fold(path.as_bytes()), folded.as_bytes());
        }
    }
}
