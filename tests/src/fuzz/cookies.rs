//! Cookies and other fields of a head on their way: what is ours stays here, in both directions.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use tunnel_edge::{
    fuzzing,
    session::cookie::{LANGUAGE_COOKIE, LOGIN_COOKIE, OUT_COOKIE, SESSION_COOKIE, WRITER_COOKIE, values},
};

use crate::told;

/// Every cookie of ours; from the documentation.
const OURS: [&str; 5] = [SESSION_COOKIE, LOGIN_COOKIE, OUT_COOKIE, LANGUAGE_COOKIE, WRITER_COOKIE];
/// The most values of one name that are looked at.
const VALUES_MAX: usize = 4;

/// Lines of `Name: value`; one without a colon is the value of a `Cookie`.
pub(super) fn run(data: &[u8]) {
    let headers = headers(data);
    found(&headers);
    to_origin(&headers);
    to_visitor(&headers);
}

fn headers(data: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(64) {
        let (name, value) = match line.iter().position(|byte| *byte == b':') {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (&b"cookie"[..], line),
        };
        let name = HeaderName::from_bytes(name);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.trim_ascii())) {
            headers.append(name, value);
        }
    }
    headers
}

/// Cookies of a head as a lax reader sees them: trimmed, names in any case.
fn pairs(headers: &HeaderMap) -> Vec<(Vec<u8>, Vec<u8>)> {
    let all = headers.get_all(header::COOKIE).iter();
    let pieces = all.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let pairs = pieces.map(|piece| {
        let at = piece.iter().position(|byte| *byte == b'=').unwrap_or(piece.len());
        let value = piece.get(at + 1..).unwrap_or_default();
        (piece[..at].trim_ascii().to_ascii_lowercase(), value.to_vec())
    });
    pairs.collect()
}

fn is_ours(name: &[u8]) -> bool {
    OURS.iter().any(|ours| ours.to_ascii_lowercase().as_bytes() == name)
}

/// A value that is found stands in the head under exactly that name.
fn found(headers: &HeaderMap) {
    for name in OURS {
        let found = values(headers.get_all(header::COOKIE), name);
        assert!(found.len() <= VALUES_MAX);
        let known = pairs(headers);
        for value in found {
            let named = known.iter().any(|(other, sent)| {
                *other == name.to_ascii_lowercase().as_bytes() && sent.trim_ascii_end() == value.as_bytes()
            });
            assert!(named, "{value:?} is no cookie {name} of {headers:?}");
        }
    }
}

fn to_origin(headers: &HeaderMap) {
    let sent = fuzzing::to_origin(headers);
    let (before, after) = (pairs(headers), pairs(&sent));
    assert!(after.iter().all(|(name, _)| !is_ours(name)), "{headers:?} goes on as {sent:?}");
    let others = |pairs: &[(Vec<u8>, Vec<u8>)]| -> Vec<(Vec<u8>, Vec<u8>)> {
        pairs
            .iter()
            .filter(|(name, value)| !is_ours(name) && (!name.is_empty() || !value.is_empty()))
            .cloned()
            .collect()
    };
    // One line has all of them, in their order; a line of spaces only has none.
    assert!(sent.get_all(header::COOKIE).iter().count() <= 1);
    assert_eq!(meant(others(&before)), meant(others(&after)), "cookies of others are lost or changed");
    let again = fuzzing::to_origin(&sent);
    assert_eq!(meant(pairs(&again)), meant(pairs(&sent)), "what went on once goes on as it is");
    for name in sent.keys() {
        let plain: String = name.as_str().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        assert!(!is_kept_here(&plain), "{name} goes on to an origin");
    }
    for line in headers.get_all(header::CONNECTION) {
        for listed in line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            let listed = HeaderName::from_bytes(listed).ok().filter(|name| *name != header::COOKIE);
            assert!(listed.is_none_or(|name| !sent.contains_key(name)), "{line:?} lists what goes on: {sent:?}");
        }
    }
}

/// Without the spaces around them, which nobody counts.
fn meant(pairs: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<(Vec<u8>, Vec<u8>)> {
    pairs.into_iter().map(|(name, value)| (name, value.trim_ascii().to_vec())).collect()
}

/// Names that concern the connection, or by which an origin learns who somebody is; from the documentation.
fn is_kept_here(name: &str) -> bool {
    let connection = ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];
    let framing = ["content-length", "host", "expect", "http2-settings"];
    [&connection[..], &framing].concat().contains(&name) || told::is_kept(name)
}

/// What an origin answers sets no cookie of ours, by any reading of it.
fn to_visitor(headers: &HeaderMap) {
    let sent = fuzzing::to_visitor(headers);
    for line in sent.get_all(header::SET_COOKIE) {
        let pair = line.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        // A cookie without a name is sent back as its value alone, which then looks like one with a name.
        let pair = pair.trim_ascii();
        let pair = pair.strip_prefix(b"=").unwrap_or(pair);
        let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
        assert!(!is_ours(&name.to_ascii_lowercase()), "an origin sets {line:?}");
    }
}
