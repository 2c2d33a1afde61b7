//! Readings of a path: whatever a server makes of it, the application that it arrives at must admit.

use std::{
    collections::{HashSet, VecDeque},
    sync::OnceLock,
};

use tunnel_policy::{Application, Declarations, PathPattern, PolicySet, Target, is_reserved};
use tunnel_proto::{AppId, Hostname};

use super::text;

/// The longest path that is tried. Longer ones have more readings than anybody follows up.
const LONGEST: usize = 256;
/// The most readings that are made here.
const READINGS: usize = 256;
/// How often percent-encoding is undone.
const DECODINGS: u8 = 2;
/// Which paths belong to whom. Everything else is nobody's.
const APPLICATIONS: [(&str, &str); 4] = [("a", "/a"), ("ab", "/a/b"), ("b", "/b*"), ("star", "/*/a")];

/// Every reading of a slow and plain reader is reckoned with, by the policies and where the edge keeps paths for itself.
pub(super) fn run(data: &[u8]) {
    let Some(path) = text(data).filter(|path| path.len() <= LONGEST) else { return };
    pattern(path);
    let (host, set) = site();
    let matched = set.applications_for(host, path);
    let named: HashSet<&str> =
        matched.raw.into_iter().chain(matched.others.iter().copied()).map(|app| app.name.as_str()).collect();
    let admitted = matched.required().is_some();
    let reserved = is_reserved(path);
    for reading in readings(path.as_bytes()) {
        let shown = || String::from_utf8_lossy(&reading).into_owned();
        assert!(reserved || !is_ours(&reading), "{path:?} is read as {:?}, which is the edge's own", shown());
        if !admitted {
            continue;
        }
        let owner = owner(&reading);
        let owner = owner.unwrap_or_else(|| panic!("{path:?} is read as {:?}, which is nobody's", shown()));
        assert!(named.contains(owner), "{path:?} is read as {:?}, which is {owner}'s; asked: {named:?}", shown());
        // A server that does not care about case arrives at one more, perhaps.
        if let Some(owner) = self::owner(&reading.to_ascii_lowercase()) {
            assert!(named.contains(owner), "{path:?} is read as {:?} in any case; asked: {named:?}", shown());
        }
    }
}

/// A pattern has one form, and covers itself and what is below it.
fn pattern(written: &str) {
    let Ok(pattern) = written.parse::<PathPattern>() else { return };
    assert_eq!(pattern.as_str().parse::<PathPattern>().as_ref(), Ok(&pattern), "{written:?}");
    assert!(pattern.covers(pattern.as_str()), "{written:?}");
    assert!(pattern.covers(&format!("{}/x", pattern.as_str())), "{written:?}");
}

fn site() -> &'static (Hostname, PolicySet) {
    static SITE: OnceLock<(Hostname, PolicySet)> = OnceLock::new();
    SITE.get_or_init(|| {
        let host: Hostname = "x.example".parse().expect("a hostname");
        let applications: Vec<_> = APPLICATIONS
            .iter()
            .zip(1..)
            .map(|((name, path), id)| {
                let path = Some(path.parse().expect("a path"));
                let target = Target { host: host.clone().into(), path };
                Application::new(AppId::from_bytes([id; 32]), name.parse().expect("a name"), vec![target], vec![])
            })
            .collect();
        let set = PolicySet::new(Declarations { applications: &applications, ..Declarations::default() });
        (host, set.expect("a good set"))
    })
}

/// Whose a path is, to the letter: the most specific of those whose pattern it falls under.
fn owner(path: &[u8]) -> Option<&'static str> {
    // In the order of how closely they describe a path.
    ["ab", "a", "star", "b"].into_iter().find(|name| {
        let (_, pattern) = APPLICATIONS.iter().find(|(known, _)| known == name).expect("an application");
        covers(pattern.as_bytes(), path)
    })
}

/// By trying every length that a `*` may stand for; what is below is covered, too.
fn covers(pattern: &[u8], path: &[u8]) -> bool {
    match pattern.split_first() {
        None => path.first().is_none_or(|byte| *byte == b'/'),
        Some((b'*', rest)) => (0..=path.len()).any(|at| covers(rest, &path[at..])),
        Some((first, rest)) => path.split_first().is_some_and(|(next, path)| next == first && covers(rest, path)),
    }
}

fn is_ours(path: &[u8]) -> bool {
    let path = path.to_ascii_lowercase();
    [&b"/.access"[..], b"/cdn-cgi/access"]
        .iter()
        .any(|ours| path.strip_prefix(*ours).is_some_and(|rest| rest.first().is_none_or(|byte| *byte == b'/')))
}

/// What servers make of a path, in every order of their steps, as far as that leads.
fn readings(path: &[u8]) -> HashSet<Vec<u8>> {
    let mut seen = HashSet::from([(path.to_vec(), 0)]);
    let mut queue = VecDeque::from([(path.to_vec(), 0)]);
    while let Some((path, decoded)) = queue.pop_front() {
        let mut next: Vec<_> = STEPS.iter().map(|step| (step(&path), decoded)).collect();
        if decoded < DECODINGS {
            next.push((decode(&path), decoded + 1));
        }
        for reading in next {
            if seen.len() < READINGS && seen.insert(reading.clone()) {
                queue.push_back(reading);
            }
        }
    }
    seen.into_iter().map(|(path, _)| path).collect()
}

type Step = fn(&[u8]) -> Vec<u8>;

/// Written independently of the engine, from what servers are known to do.
const STEPS: [Step; 6] = [backslashes, parameters, dots, slashes, ends, names];

fn decode(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < path.len() {
        let digits = path.get(at + 1..at + 3).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        match digits.filter(|_| path[at] == b'%').and_then(text) {
            Some(digits) => {
                out.push(u8::from_str_radix(digits, 16).expect("two digits"));
                at += 3;
            }
            None => {
                out.push(path[at]);
                at += 1;
            }
        }
    }
    out
}

fn backslashes(path: &[u8]) -> Vec<u8> {
    path.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect()
}

fn each_segment(path: &[u8], change: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    path.split(|byte| *byte == b'/').map(change).collect::<Vec<_>>().join(&b'/')
}

fn parameters(path: &[u8]) -> Vec<u8> {
    each_segment(path, |segment| segment.iter().copied().take_while(|byte| *byte != b';').collect())
}

/// RFC 3986 §5.2.4, step by step as it is written there.
fn dots(path: &[u8]) -> Vec<u8> {
    if path.first() != Some(&b'/') {
        return path.to_vec();
    }
    let (mut input, mut output) = (path.to_vec(), Vec::new());
    while !input.is_empty() {
        if input.starts_with(b"/./") {
            input.drain(..2);
        } else if input == b"/." {
            input.truncate(1);
        } else if input.starts_with(b"/../") || input == b"/.." {
            input = if input.len() > 3 { input.split_off(3) } else { b"/".to_vec() };
            output.truncate(output.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
        } else {
            let end = input.iter().skip(1).position(|byte| *byte == b'/').map_or(input.len(), |at| at + 1);
            output.extend(input.drain(..end));
        }
    }
    output
}

fn slashes(path: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::new();
    for byte in path {
        if *byte != b'/' || out.last() != Some(&b'/') {
            out.push(*byte);
        }
    }
    out
}

/// Where C strings end, and where a second reader sees a query or a fragment.
fn ends(path: &[u8]) -> Vec<u8> {
    path.iter().copied().take_while(|byte| !matches!(byte, 0 | b'?' | b'#')).collect()
}

/// Windows: dots and spaces at the end of a name do not count, but where nothing else is left.
fn names(path: &[u8]) -> Vec<u8> {
    each_segment(path, |segment| {
        let mut name = segment.to_vec();
        while name.last() == Some(&b' ') || (name.last() == Some(&b'.') && name != b"." && name != b"..") {
            name.pop();
        }
        name
    })
}
