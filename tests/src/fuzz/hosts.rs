//! Hosts: names, patterns of names, and what stands in `Host`.

use tunnel_edge::request::Authority;
use tunnel_proto::{HostPattern, Hostname};

use super::{text, two_lines};

/// The first line is a name, a `Host` and a pattern; the second one a name that may match it.
pub(super) fn run(data: &[u8]) {
    let (first, second) = two_lines(data);
    authority(first);
    let Some(first) = text(first) else { return };
    hostname(first);
    let host = text(second).and_then(|second| Hostname::parse(second).ok());
    pattern(first, host.as_ref());
}

/// There is one form, and every spelling of it has the same.
fn hostname(written: &str) {
    let Ok(host) = Hostname::parse(written) else { return };
    let canonical = host.as_str();
    assert!(is_canonical(canonical), "{written:?} became {canonical:?}");
    for spelling in [canonical.to_owned(), canonical.to_ascii_uppercase(), format!("{canonical}."), host.to_string()] {
        assert_eq!(Hostname::parse(&spelling).as_ref(), Ok(&host), "{spelling:?} of {written:?}");
    }
    if written.is_ascii() {
        let plain = written.to_ascii_lowercase();
        assert_eq!(plain.strip_suffix('.').unwrap_or(&plain), canonical, "an ASCII name is changed in case only");
    }
    // A second opinion: what browsers make of the canonical name is that name.
    let url = url::Url::parse(&format!("https://{canonical}/")).unwrap_or_else(|error| panic!("{canonical}: {error}"));
    assert_eq!(url.host_str(), Some(canonical), "browsers read {canonical:?} as another host");
    assert!(host.is_within(&host));
    if let Ok(child) = host.child("a") {
        assert!(child.is_within(&host) && !host.is_within(&child));
    }
}

/// Letters, digits, `-` and `_` in labels of 1 to 63, 253 in all, and no number at the end.
fn is_canonical(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253
        && name.split('.').all(label)
        && name.rsplit('.').next().is_some_and(|last| !last.bytes().all(|b| b.is_ascii_digit()))
}

/// A `Host` has one reading, and all of it is read.
fn authority(written: &[u8]) {
    let Some(authority) = Authority::parse(written) else { return };
    let written = text(written).expect("what was read is text");
    let (name, port) = written.split_once(':').map_or((written, None), |(name, port)| (name, Some(port)));
    let name = name.to_ascii_lowercase();
    assert_eq!(authority.host.as_str(), name.strip_suffix('.').unwrap_or(&name), "{written:?}");
    assert_eq!(authority.port, port.map(|port| port.parse().expect("a port is a number")), "{written:?}");
    assert!(port.is_none_or(|port| port.bytes().all(|b| b.is_ascii_digit())), "{written:?}");
    assert_ne!(authority.port, Some(0));
}

/// A pattern has one form, and matches what a plain comparison label by label matches.
fn pattern(written: &str, host: Option<&Hostname>) {
    let Ok(pattern) = written.parse::<HostPattern>() else { return };
    assert_eq!(pattern.as_str().parse::<HostPattern>().as_ref(), Ok(&pattern), "{written:?}");
    assert_eq!(pattern.exact().is_some(), !written.contains('*'), "{written:?}");
    if let Some(exact) = pattern.exact() {
        assert!(pattern.matches(&exact) && Hostname::parse(written).as_ref() == Ok(&exact), "{written:?}");
    }
    if let Some(host) = host {
        let (ours, theirs): (Vec<_>, Vec<_>) =
            (pattern.as_str().split('.').collect(), host.as_str().split('.').collect());
        let plainly = ours.len() == theirs.len()
            && ours.iter().zip(&theirs).all(|(ours, theirs)| matches(ours.as_bytes(), theirs.as_bytes()));
        assert_eq!(pattern.matches(host), plainly, "{pattern} and {host}");
    }
}

/// By trying every length that a `*` may stand for.
fn matches(pattern: &[u8], label: &[u8]) -> bool {
    match pattern.split_first() {
        None => label.is_empty(),
        Some((b'*', rest)) => (0..=label.len()).any(|at| matches(rest, &label[at..])),
        Some((first, rest)) => label.split_first().is_some_and(|(next, label)| next == first && matches(rest, label)),
    }
}
