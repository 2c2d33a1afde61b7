//! Where a bastion leads: what a visitor names, and what an administrator allows.

use std::net::{IpAddr, SocketAddr};

use tunnel_proto::{Destination, DestinationRange, destination::is_special};
use url::{Host, Url};

use super::{text, two_lines};

/// The first line is a destination and a range; the second one is a destination that the range may hold.
pub(super) fn run(data: &[u8]) {
    let (first, second) = two_lines(data);
    let (Some(first), Some(second)) = (text(first), text(second)) else { return };
    for written in [first, second] {
        destination(written);
    }
    range(first, second);
}

/// A destination is an address or a name, has one form, and is what other readers see.
fn destination(written: &str) {
    let Ok(named) = written.parse::<Destination>() else { return };
    assert_eq!(named.to_string().parse::<Destination>().as_ref(), Ok(&named), "{written:?}");
    assert_ne!(named.port(), 0);
    match (named.address(), named.name()) {
        (Some(address), None) => {
            assert_eq!(address.port(), named.port());
            assert_eq!(address.ip().to_canonical(), address.ip(), "{written:?} is IPv4 in the clothes of IPv6");
            assert_eq!(Destination::from(address), named);
        }
        (None, Some(name)) => {
            // No resolver and no browser takes it for an address.
            assert!(name.as_str().parse::<IpAddr>().is_err(), "{written:?}");
            let url = Url::parse(&format!("http://{name}/")).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(url.host(), Some(Host::Domain(name.as_str())), "{written:?}");
        }
        both => panic!("{written:?} is {both:?}"),
    }
    if let Some(url) = written.contains("://").then(|| Url::parse(written).ok()).flatten() {
        assert!(url.username().is_empty() && url.password().is_none(), "{written:?} names somebody");
        if let (Some(host), Some(name)) = (url.host_str(), named.name()) {
            let host = host.to_ascii_lowercase();
            let host = host.strip_suffix('.').unwrap_or(&host);
            assert!(host == name.as_str() || !host.is_ascii() || host.contains('%'), "{written:?} leads to {host}");
        }
        assert!(url.port_or_known_default().is_none_or(|port| port == named.port()), "{written:?}");
    }
}

/// A range has one form, and holds what a plain comparison of bits holds, but for what nobody means by a range.
fn range(written: &str, destination: &str) {
    let Ok(range) = written.parse::<DestinationRange>() else { return };
    let shown = range.to_string();
    assert_eq!(shown.parse::<DestinationRange>().as_ref(), Ok(&range), "{written:?}");
    let Some(address) = destination.parse::<Destination>().ok().and_then(|named| named.address()) else { return };
    let (held, alone) = plainly(&shown, address);
    let expected = held && (alone || !is_special(address.ip()));
    assert_eq!(range.contains(address), expected, "{range} and {address}");
    assert_eq!(range.names(address), expected && alone, "{range} and {address}");
    assert!(!range.contains(address) || range.has_port(address.port()));
    if let IpAddr::V4(v4) = address.ip() {
        let dressed = SocketAddr::new(v4.to_ipv6_mapped().into(), address.port());
        assert_eq!(range.contains(dressed), expected, "{range} and {dressed}");
    }
}

/// Whether an address is in a range by its text, bit by bit, and whether the range is one address.
fn plainly(range: &str, address: SocketAddr) -> (bool, bool) {
    let (net, ports) = range.rsplit_once(':').expect("a range has ports");
    let (first, last) = match ports.split_once('-') {
        _ if ports == "*" => (1, u16::MAX),
        Some((first, last)) => (first.parse().expect("a port"), last.parse().expect("a port")),
        None => (ports.parse().expect("a port"), ports.parse().expect("a port")),
    };
    let net = net.trim_start_matches('[').trim_end_matches(']');
    let (net, length) = net.split_once('/').unwrap_or((net, ""));
    let (net, ip) = (bits(net.parse().expect("an address")), bits(address.ip()));
    let length: usize = if length.is_empty() { net.len() } else { length.parse().expect("a length") };
    let same = net.len() == ip.len() && net[..length] == ip[..length];
    (same && (first..=last).contains(&address.port()), length == net.len())
}

fn bits(ip: IpAddr) -> Vec<bool> {
    let bytes = match ip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).collect()
}
