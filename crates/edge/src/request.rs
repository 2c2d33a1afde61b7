//! What a request must be before anything is decided about it: one authority, one method, one plain target.
//!
//! hyper parses strictly but does not look at `Host`, passes on `CONNECT`, and takes targets that servers read in more than
//! one way. What is ambiguous is refused here; what passes has one reading of its host and is forwarded as it came. What
//! hyper hides from this place is refused before it: by `strict.rs`, on HTTP/1 connections.

use std::borrow::Cow;

use http::{HeaderMap, Method, Uri, Version, header, request::Parts, uri::Scheme};
use tunnel_proto::{Hostname, hostname::HostnameError};

use crate::strict::{FIELDS_MAX, HEAD_MAX};

/// The longest method, in bytes.
pub const METHOD_MAX: usize = 32;
/// The longest authority, in bytes: a hostname, its dot, a colon and a port.
const AUTHORITY_MAX: usize = 253 + 1 + 1 + 5;

/// A host and, where it was written, its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The canonical host.
    pub host: Hostname,
    /// The port as written; a request's, only if it is not the scheme's own.
    pub port: Option<u16>,
}

impl Authority {
    /// Parses `host[:port]` strictly: no user, no address, one trailing dot at most.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok().filter(|text| text.is_ascii() && text.len() <= AUTHORITY_MAX)?;
        let (host, port) = match text.split_once(':') {
            None => (text, None),
            Some((host, port)) => (host, Some(parse_port(port)?)),
        };
        Some(Self { host: Hostname::parse(host).ok()?, port })
    }

    /// Whether the text is a well-formed address (`192.0.2.1`, `[2001:db8::1]`) with or without a port: no hostname, but
    /// nothing malformed either.
    fn is_address(text: &[u8]) -> bool {
        let Ok(text) = std::str::from_utf8(text) else { return false };
        let bare = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let (host, port) = match bare {
            Some((host, rest)) => (host, rest.strip_prefix(':').or((!rest.is_empty()).then_some("x"))),
            None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        let good = if bare.is_some() {
            host.parse::<std::net::Ipv6Addr>().is_ok()
        } else {
            Hostname::parse(host) == Err(HostnameError::Address)
        };
        good && port.is_none_or(|port| parse_port(port).is_some())
    }
}

fn parse_port(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

/// Why a request is refused before it has a host to be judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// No host, several, or one that is none.
    #[error("the host is missing, repeated or malformed")]
    Host,
    /// The host is an address. It names no application, but the request is well formed.
    #[error("the host is an address")]
    Address,
    /// `CONNECT`, `TRACE` or an overlong method.
    #[error("the method is not served")]
    Method,
    /// A target of another form, or one that servers read in more than one way.
    #[error("the target is malformed or ambiguous")]
    Target,
    /// Framing that is not exactly one of length and `chunked`, or a body that does not keep to it.
    #[error("the framing is ambiguous")]
    Framing,
    /// A head that is none, to the letter.
    #[error("the head is malformed")]
    Syntax,
    /// More bytes or fields than a head may have.
    #[error("the head is too large")]
    HeadTooLarge,
    /// A request line that alone is as long as a head may be.
    #[error("the target is too long")]
    TargetTooLong,
}

/// Checks a request's head; answers its one authority.
pub fn check(parts: &Parts, https: bool) -> Result<Authority, Malformed> {
    check_size(parts)?;
    check_fields(&parts.headers)?;
    check_method(&parts.method)?;
    check_target(parts, https)?;
    check_framing(&parts.headers, parts.version)?;
    authority(parts, if https { 443 } else { 80 })
}

/// That a head of HTTP/2 is no larger than one of HTTP/1.1 may be, which was measured as it came: which version a browser
/// speaks must not decide whether its cookies fit. Counted as RFC 9113 §6.5.2 has it.
fn check_size(parts: &Parts) -> Result<(), Malformed> {
    if parts.version < Version::HTTP_2 {
        return Ok(());
    }
    let uri = &parts.uri;
    let target = uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target > HEAD_MAX {
        return Err(Malformed::TargetTooLong);
    }
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    let scheme = uri.scheme_str().map_or(0, str::len);
    let pseudo = [(7, parts.method.as_str().len()), (7, scheme), (10, authority), (5, target)].into_iter();
    let fields = parts.headers.iter().map(|(name, value)| (name.as_str().len(), value.len()));
    let size = pseudo.chain(fields).fold(0_usize, |size, (name, value)| size.saturating_add(name + value + 32));
    if size > HEAD_MAX { Err(Malformed::HeadTooLarge) } else { Ok(()) }
}

/// As many fields as by HTTP/1, where they were counted before (H15). Cookies come in fields of their own by HTTP/2 (RFC 9113
/// §8.2.3), and are one here as they were there.
fn check_fields(headers: &HeaderMap) -> Result<(), Malformed> {
    let more_cookies = headers.get_all(header::COOKIE).iter().count().saturating_sub(1);
    let fields = headers.len().saturating_sub(more_cookies);
    if fields > FIELDS_MAX { Err(Malformed::HeadTooLarge) } else { Ok(()) }
}

fn check_method(method: &Method) -> Result<(), Malformed> {
    let refused = *method == Method::CONNECT || *method == Method::TRACE || method.as_str().len() > METHOD_MAX;
    if refused { Err(Malformed::Method) } else { Ok(()) }
}

/// The one authority. The scheme's own port, written or not, is the same authority (RFC 3986 §6.2.3).
fn authority(parts: &Parts, own_port: u16) -> Result<Authority, Malformed> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let header = hosts.next();
    if hosts.next().is_some() {
        return Err(Malformed::Host);
    }
    let target = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    let named = header.map(http::HeaderValue::as_bytes).or(target.filter(|_| parts.version >= Version::HTTP_2));
    let named = named.ok_or(Malformed::Host)?;
    let parse = |text: &[u8]| {
        let fault = || if Authority::is_address(text) { Malformed::Address } else { Malformed::Host };
        let mut authority = Authority::parse(text).ok_or_else(fault)?;
        authority.port = authority.port.filter(|port| *port != own_port);
        Ok(authority)
    };
    let authority = parse(named)?;
    match target.map(parse).transpose()? {
        Some(other) if other != authority => Err(Malformed::Host),
        _ => Ok(authority),
    }
}

fn check_target(parts: &Parts, https: bool) -> Result<(), Malformed> {
    let uri: &Uri = &parts.uri;
    if let Some(scheme) = uri.scheme() {
        let expected = if https { Scheme::HTTPS } else { Scheme::HTTP };
        if *scheme != expected {
            return Err(Malformed::Target);
        }
    }
    let path = uri.path();
    let asterisk = path == "*" && parts.method == Method::OPTIONS;
    // A query alone reads as `/` with it, which is right in an absolute target only (RFC 9113 §8.3.1).
    let is_cut = parts.version >= Version::HTTP_2 && uri.path_and_query().is_some_and(|t| t.as_str().starts_with('?'));
    if is_cut || !(path.starts_with('/') || asterisk) || !path.bytes().all(|b| matches!(b, 0x21..=0x7e) && b != b'\\') {
        return Err(Malformed::Target);
    }
    if !plainly_encoded(path) {
        return Err(Malformed::Target);
    }
    let query = uri.query().unwrap_or_default();
    if query.bytes().all(|b| matches!(b, 0x21..=0x7e)) { Ok(()) } else { Err(Malformed::Target) }
}

/// Whether every `%` in a path begins two hexadecimal digits, and none of them is NUL, CR or LF.
fn plainly_encoded(path: &str) -> bool {
    path.split('%').skip(1).all(|rest| {
        let byte = rest.get(..2).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let byte = byte.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        byte.is_some_and(|byte| !matches!(byte, 0 | b'\r' | b'\n'))
    })
}

fn check_framing(headers: &HeaderMap, version: Version) -> Result<(), Malformed> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => {}
        // A length beside it was refused before hyper, which takes the coding alone (RFC 9112 §6.1).
        (Some(one), None) if version == Version::HTTP_11 && one.as_bytes().eq_ignore_ascii_case(b"chunked") => {}
        _ => return Err(Malformed::Framing),
    }
    // A look-alike that a lenient server takes for framing.
    let alike = |name: &http::HeaderName| {
        let plain = normal(name.as_str());
        matches!(&*plain, "transfer-encoding" | "content-length") && plain != name.as_str()
    };
    if headers.keys().any(alike) { Err(Malformed::Framing) } else { Ok(()) }
}

/// Whether a connection that became this protocol would carry requests that nobody judged.
pub(crate) fn carries_requests(protocol: &str) -> bool {
    let name = protocol.split('/').next().unwrap_or_default();
    ["h2c", "h2", "h3", "http", "tls"].iter().any(|other| name.eq_ignore_ascii_case(other))
}

/// A header name as lenient servers read it: some take `_` and `.` for `-`, and gateways to CGI take whatever is no letter
/// or digit for `_` (`http` has made the name lower-case).
///
/// Nearly every name is its own normal form, and costs nothing.
pub fn normal(name: &str) -> Cow<'_, str> {
    if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Cow::Borrowed(name);
    }
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(target: &str, hosts: &[&str]) -> Result<Authority, Malformed> {
        let mut request = http::Request::builder().uri(target);
        for host in hosts {
            request = request.header("host", *host);
        }
        check(&request.body(()).unwrap().into_parts().0, false)
    }

    #[test]
    fn a_head_of_http_2_is_no_larger_than_one_of_http_1() {
        // H15
        let sized = |version, target: usize, field: usize| {
            let uri = format!("http://a.test/{}", "x".repeat(target));
            let request = http::Request::builder().version(version).uri(uri).header("cookie", "x".repeat(field));
            check(&request.body(()).unwrap().into_parts().0, false).map(drop)
        };
        assert_eq!(sized(Version::HTTP_2, 10, HEAD_MAX - 1024), Ok(()));
        assert_eq!(sized(Version::HTTP_2, 10, HEAD_MAX), Err(Malformed::HeadTooLarge));
        assert_eq!(sized(Version::HTTP_2, HEAD_MAX / 2, HEAD_MAX / 2), Err(Malformed::HeadTooLarge));
        assert_eq!(sized(Version::HTTP_2, HEAD_MAX, 0), Err(Malformed::TargetTooLong));
    }

    #[test]
    fn there_is_exactly_one_host_with_one_reading() {
        // H2
        for (target, hosts) in [
            ("/", &[][..]),
            ("/", &["a.test", "a.test"]),
            ("/", &["a.test", "b.test"]),
            ("/", &[""]),
            ("/", &["a.test, b.test"]),
            ("/", &["user@a.test"]),
            ("/", &["a.test/x"]),
            ("/", &["a.test?x"]),
            ("/", &["a.test:"]),
            ("/", &["a.test:0"]),
            ("/", &["a.test:99999"]),
            ("/", &["a.test:+80"]),
            ("/", &["a..test"]),
            ("/", &["a.test.."]),
            ("/", &["[::1"]),
            ("/", &["a%2etest"]),
            ("http://b.test/", &["a.test"]),
        ] {
            assert_eq!(checked(target, hosts), Err(Malformed::Host), "{target} {hosts:?}");
        }
        for host in ["127.0.0.1", "127.0.0.1:80", "[::1]", "[::1]:8080", "2130706433"] {
            assert_eq!(checked("/", &[host]), Err(Malformed::Address), "{host}");
        }
        let same = Authority { host: "a.b.test".parse().unwrap(), port: None };
        for host in ["a.b.test", "A.B.TEST", "a.B.test.", "A.b.tesT"] {
            assert_eq!(checked("/", &[host]).as_ref(), Ok(&same), "{host}");
        }
        assert_eq!(checked("http://A.b.test/x", &["a.b.test"]).as_ref(), Ok(&same));
    }

    #[test]
    fn a_head_has_so_many_fields_and_cookies_are_one() {
        // H15
        let with = |fields: usize, cookies: usize| {
            let mut request = http::Request::builder().uri("/").version(Version::HTTP_2).header("host", "a.test");
            request = (1..fields).fold(request, |request, _| request.header("x", "y"));
            request = (0..cookies).fold(request, |request, _| request.header("cookie", "a=b"));
            check(&request.body(()).unwrap().into_parts().0, false).map(drop)
        };
        assert_eq!(with(FIELDS_MAX, 0), Ok(()));
        assert_eq!(with(FIELDS_MAX + 1, 0), Err(Malformed::HeadTooLarge));
        assert_eq!(with(FIELDS_MAX - 1, 90), Ok(()));
        assert_eq!(with(FIELDS_MAX, 90), Err(Malformed::HeadTooLarge));
    }

    #[test]
    fn an_ambiguous_target_is_refused() {
        // H1
        for target in ["/a%00", "/a%0d%0a", "/a%0A", "/%zz", "/%", "/%2", "*", "/a\\b", "https://a.test/"] {
            let Ok(uri) = target.parse::<Uri>() else { continue };
            let (mut parts, ()) = http::Request::new(()).into_parts();
            parts.uri = uri;
            parts.headers.insert("host", "a.test".parse().unwrap());
            assert_eq!(check(&parts, false), Err(Malformed::Target), "{target}");
        }
        assert!(checked("/a%2fb?x=%zz&y=%0a", &["a.test"]).is_ok());
    }
}
