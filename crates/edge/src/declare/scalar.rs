//! Values that are written as text: durations, targets, origins, address ranges.

use std::{net::IpAddr, time::Duration};

use ipnet::{IpNet, Ipv4Net};
use tunnel_policy::{PathPattern, Target, is_reserved};
use tunnel_proto::HostPattern;
use url::Host;

use crate::{
    outbound,
    request::carries_requests,
    store::{IDLE_MIN, LOGIN_MIN, OpenIdMethod, SESSION_MAX},
};

/// The shortest session: anything shorter would end before the login does.
const SESSION_MIN: Duration = Duration::from_secs(60);

/// The longest address of an evaluation.
const URL_MAX: usize = 1024;

const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

/// How long a session lasts for an application.
pub(super) fn session(text: &str) -> Result<Duration, String> {
    within(text, SESSION_MIN, "a session lasts")
}

/// How long a login lasts at the login host.
pub(super) fn login(text: &str) -> Result<Duration, String> {
    within(text, LOGIN_MIN, "a login lasts")
}

/// How long a session lasts without use.
pub(super) fn idle(text: &str) -> Result<Duration, String> {
    within(text, IDLE_MIN, "a session lasts without use")
}

/// How often a provider is asked whether it still vouches for a login.
pub(super) fn revalidate(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    match (OpenIdMethod::REVALIDATE_MIN..=OpenIdMethod::REVALIDATE_MAX).contains(&duration) {
        true => Ok(duration),
        false => Err(format!("`{text}` is out of range: a provider is asked again every 1m to every 30d")),
    }
}

fn within(text: &str, least: Duration, what: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    match (least..=SESSION_MAX).contains(&duration) {
        true => Ok(duration),
        false => Err(format!("`{text}` is out of range: {what} from {} to 31d", duration_text(least))),
    }
}

/// A duration of any length.
fn duration(text: &str) -> Result<Duration, String> {
    seconds(text).map(Duration::from_secs)
}

/// A duration of any length, in seconds: `24h`, `30m`, `1h30m`, `7d`.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a duration: write for example `30m`, `24h` or `7d`");
    let mut seconds = 0u64;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = rest.split_at_checked(digits).ok_or_else(wrong)?;
        let (unit, scale) = UNITS.iter().find(|(name, _)| unit.starts_with(name)).ok_or_else(wrong)?;
        let number: u64 = number.parse().map_err(|_| wrong())?;
        seconds = number.checked_mul(*scale).and_then(|part| seconds.checked_add(part)).ok_or_else(wrong)?;
        rest = rest.get(digits.saturating_add(unit.len())..).unwrap_or_default();
    }
    Ok(seconds)
}

/// The duration as it is read.
pub(super) fn duration_text(duration: Duration) -> String {
    let mut left = duration.as_secs();
    // A day is written as 24h, as everybody does.
    let units = UNITS
        .iter()
        .filter(|(unit, _)| *unit != "d" || (left > 86_400 && left.is_multiple_of(86_400)))
        .collect::<Vec<_>>();
    let mut text = String::new();
    for (unit, scale) in units {
        let many = left.checked_div(*scale).unwrap_or_default();
        if many > 0 {
            text.push_str(&format!("{many}{unit}"));
            left = left.checked_rem(*scale).unwrap_or_default();
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// `HOSTNAME` or `HOSTNAME/PATH`, either with wildcards.
pub(super) fn target(text: &str) -> Result<Target, String> {
    let (host, path) = match text.find('/') {
        Some(at) if !text.contains("://") => text.split_at(at),
        _ => (text, ""),
    };
    let host = host_pattern(host)?;
    if path.is_empty() {
        return Ok(Target { host, path: None });
    }
    let path: PathPattern = path.parse().map_err(|error| format!("`{text}`: {error}"))?;
    if is_reserved(path.as_str()) {
        return Err(format!("`{text}`: the path `{path}` belongs to the edge itself and cannot be declared"));
    }
    Ok(Target { host, path: Some(path).filter(|path| !path.is_root()) })
}

/// A hostname, perhaps with wildcards.
pub(super) fn host_pattern(text: &str) -> Result<HostPattern, String> {
    if let Some((scheme, rest)) = text.split_once("://") {
        return Err(format!("`{text}`: write the hostname without `{scheme}://`: `{rest}`"));
    }
    if let Some((host, port)) = text.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())) {
        return Err(format!("`{text}`: write the hostname without the port `:{port}`: `{host}`"));
    }
    text.parse().map_err(|error| format!("`{text}` is not a hostname: {error}"))
}

/// The origin of a page: `https://HOST[:PORT]`.
pub(super) fn origin(text: &str) -> Result<String, String> {
    let wrong = || format!("`{text}` is not an origin: write `https://HOST` or `https://HOST:PORT`");
    let url = url::Url::parse(text).map_err(|_| wrong())?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    match matches!(url.scheme(), "https" | "http") && url.has_host() && bare && url.password().is_none() {
        true => Ok(url.origin().ascii_serialization()),
        false => Err(wrong()),
    }
}

/// The longest name of a protocol, in bytes.
const PROTOCOL_MAX: usize = 32;

/// A protocol for the field `Upgrade`: a name, or a name and a version (RFC 9110 §7.8).
pub(super) fn upgrade(text: &str) -> Result<String, String> {
    let (name, version) = text.split_once('/').map_or((text, None), |(name, version)| (name, Some(version)));
    let token = |text: &str| !text.is_empty() && text.bytes().all(is_token);
    if text.len() > PROTOCOL_MAX || !token(name) || !version.is_none_or(token) {
        return Err(format!("`{text}` is not a protocol: write the word of its `Upgrade` field, for example `tcp`"));
    }
    if name.eq_ignore_ascii_case("websocket") {
        return Err("WebSockets pass without being listed: leave `websocket` out".to_owned());
    }
    if carries_requests(text) {
        return Err(format!("`{text}` cannot be listed: what it carries are requests that the edge could not judge"));
    }
    Ok(text.to_owned())
}

/// RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The address of a service that is asked about people, or of its keys. A private one is let through only if that is
/// declared; only then is plain HTTP, which in turn is spoken to private addresses only.
pub(super) fn evaluation(text: &str, private: bool) -> Result<String, String> {
    let wrong = || format!("`{text}` is not an address of the form `https://HOST/PATH`");
    let url = url::Url::parse(text).map_err(|_| wrong())?;
    let bare = url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
    if !bare || !url.has_host() || text.len() > URL_MAX {
        return Err(wrong());
    }
    let literal: Option<IpAddr> = match url.host() {
        Some(Host::Ipv4(v4)) => Some(v4.into()),
        Some(Host::Ipv6(v6)) => Some(v6.into()),
        Some(Host::Domain(_)) | None => None,
    };
    match url.scheme() {
        "https" if !private && literal.is_some_and(|ip| !outbound::is_public(ip)) => {
            Err(format!("`{text}`: a private address is asked only with `danger_allow_private_address: true`"))
        }
        "https" => Ok(url.into()),
        "http" if private => Ok(url.into()),
        "http" => {
            Err(format!("`{text}`: a service is asked by https; plain http needs `danger_allow_private_address: true`"))
        }
        _ => Err(wrong()),
    }
}

/// An address or a range; a range of IPv4 addresses in IPv6 clothes becomes IPv4.
pub(super) fn range(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    let net = text.parse::<IpNet>().ok().or_else(address);
    let net =
        net.ok_or_else(|| format!("`{text}` is not an address or range: write `203.0.113.7` or `203.0.113.0/24`"))?;
    let mapped = match net.addr().to_canonical() {
        IpAddr::V4(v4) if net.prefix_len() >= 96 => Ipv4Net::new(v4, net.prefix_len().saturating_sub(96)).ok(),
        _ => None,
    };
    let net = if let (IpNet::V6(_), Some(v4)) = (net, mapped) { IpNet::V4(v4) } else { net };
    Ok(net.trunc())
}

/// The range as [`range`] reads it.
pub(super) fn range_text(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

/// A range of destinations, `CIDR:PORT`.
pub(super) fn destinations(text: &str) -> Result<tunnel_proto::DestinationRange, String> {
    text.parse().map_err(|error| format!("`{text}`: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_again() {
        let table = [
            ("24h", 86_400, "24h"),
            ("1d", 86_400, "24h"),
            ("90m", 5_400, "1h30m"),
            ("7d", 604_800, "7d"),
            ("25h", 90_000, "25h"),
            ("1m1s", 61, "1m1s"),
        ];
        for (text, seconds, again) in table {
            assert_eq!(session(text), Ok(Duration::from_secs(seconds)));
            assert_eq!(duration_text(Duration::from_secs(seconds)), again);
        }
        for text in [
            "",
            "h",
            "24",
            "-1h",
            "1.5h",
            "24 h",
            "1y",
            "59s",
            "32d",
            "0s",
            "99999999999999999999h",
            "9999999999999999d",
        ] {
            assert!(session(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn ranges_have_one_form() {
        for (text, form) in [
            ("203.0.113.7", "203.0.113.7"),
            ("203.0.113.9/24", "203.0.113.0/24"),
            ("::ffff:203.0.113.0/120", "203.0.113.0/24"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            assert_eq!(range(text).map(|net| range_text(&net)), Ok(form.to_owned()));
        }
        for text in ["", "203.0.113.0/33", "203.0.113", "example.com", "203.0.113.0-203.0.113.9"] {
            assert!(range(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn origins_have_one_form() {
        assert_eq!(origin("https://A.example:443/"), Ok("https://a.example".to_owned()));
        assert_eq!(origin("https://a.example:8443"), Ok("https://a.example:8443".to_owned()));
        for text in ["a.example", "https://a.example/x", "ftp://a.example", "https://u@a.example", "null", "*"] {
            assert!(origin(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn only_protocols_whose_bytes_are_no_requests_can_be_listed() {
        // H8
        for text in ["tcp", "SPDY/3.1", "x-mine", "Foo/bar"] {
            assert_eq!(upgrade(text), Ok(text.to_owned()));
        }
        for text in
            ["websocket", "WebSocket", "websocket/13", "h2c", "H2C", "http/2.0", "HTTP/3", "http", "TLS/1.0", "tls"]
        {
            assert!(upgrade(text).is_err(), "{text:?}");
        }
        for text in ["", "a b", "a,b", "a/", "/a", "a/b/c", "a;b", "\u{e9}", &"x".repeat(33)] {
            assert!(upgrade(text).unwrap_err().contains("is not a protocol"), "{text:?}");
        }
    }

    #[test]
    fn each_time_has_bounds_of_its_own() {
        assert!(login("15m").is_ok() && login("31d").is_ok() && idle("5m").is_ok() && session("1m").is_ok());
        assert_eq!(login("14m").unwrap_err(), "`14m` is out of range: a login lasts from 15m to 31d");
        assert_eq!(idle("299s").unwrap_err(), "`299s` is out of range: a session lasts without use from 5m to 31d");
        assert!(revalidate("1m").is_ok() && revalidate("1h").is_ok() && revalidate("30d").is_ok());
        for text in ["59s", "0s", "721h", "31d"] {
            assert!(revalidate(text).unwrap_err().contains("every 1m to every 30d"), "{text}");
        }
        for text in ["32d", "745h"] {
            assert!(login(text).is_err() && idle(text).is_err() && session(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_evaluation_is_asked_over_tls_and_in_the_world_unless_declared_otherwise() {
        for private in [false, true] {
            assert_eq!(evaluation("https://E.example/x?y=1", private), Ok("https://e.example/x?y=1".to_owned()));
        }
        for text in ["http://e.example/x", "http://127.0.0.1:8080/x", "https://10.0.0.1/x", "https://[::1]/x"] {
            let refused = evaluation(text, false).unwrap_err();
            assert!(refused.contains("danger_allow_private_address"), "{text}: {refused}");
            assert_eq!(evaluation(text, true), Ok(text.to_owned()));
        }
        let long = format!("https://e.example/{}", "x".repeat(URL_MAX));
        for text in [
            "ftp://e.example/x",
            "https://u:p@e.example/",
            "https://u@e.example/",
            "https://",
            "e.example/x",
            "https://e.example/#x",
            "",
            &long,
        ] {
            assert!(evaluation(text, false).is_err() && evaluation(text, true).is_err(), "{text:?}");
        }
    }
}
