//! Where a browser is sent after a login, and where the answer to an access client is brought.

use tunnel_edge::fuzzing;
use url::{Host, Url};

use super::text;

/// The longest path and query that a login returns to.
const TARGET_MAX: usize = 4096;

/// Nothing leads anywhere but to the origin that was visited, or to this machine.
pub(super) fn run(data: &[u8]) {
    let Some(raw) = text(data) else { return };
    returns(raw);
    callback(raw);
}

fn returns(raw: &str) {
    let target = fuzzing::return_target(raw);
    assert!(target.starts_with('/') && target.len() <= TARGET_MAX, "{raw:?} returns to {target:?}");
    assert!(target.bytes().all(|b| b.is_ascii_graphic()), "{target:?} does not fit into a field");
    assert!(target == "/" || raw.starts_with(target), "{target:?} is not what was asked for: {raw:?}");
    assert_eq!(fuzzing::return_target(target), target, "the second time it is the same");
    for origin in ["https://www.example.com", "https://www.example.com:8443", "http://www.localhost:8080"] {
        let url = Url::parse(&format!("{origin}{target}")).unwrap_or_else(|error| panic!("{target:?}: {error}"));
        assert_eq!(url.origin().ascii_serialization(), origin, "{target:?}");
        assert!(url.username().is_empty() && url.password().is_none(), "{target:?}");
    }
}

/// By the exact text, and by what a browser makes of it.
fn callback(uri: &str) {
    if !fuzzing::is_client_callback(uri) {
        return;
    }
    let url = Url::parse(uri).unwrap_or_else(|error| panic!("{uri:?}: {error}"));
    let loopback = match url.host() {
        Some(Host::Ipv4(ip)) => ip == std::net::Ipv4Addr::LOCALHOST,
        Some(Host::Ipv6(ip)) => ip == std::net::Ipv6Addr::LOCALHOST,
        _ => false,
    };
    assert!(loopback && url.scheme() == "http", "{uri:?} leads elsewhere");
    assert!(url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none());
    assert!(url.port_or_known_default().is_some_and(|port| port != 0), "{uri:?}");
    let written = uri.replacen(":80/", "/", 1);
    assert_eq!(url.as_str(), written, "a browser goes elsewhere than {uri:?}");
}
