//! Heads on their way: built, never copied.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{request::normal, session::cookie::is_ours};

/// What begins like this is kept from an origin as well; see [`is_reserved`].
const RESERVED_PREFIXES: [&str; 14] = [
    "access-user-",
    "cf-access-",
    "x-forwarded-",
    "x-auth-request-",
    "x-remote-",
    "x-goog-authenticated-user-",
    "x-goog-iap-",
    "x-ms-client-principal-",
    "x-amzn-oidc-",
    "x-authentik-",
    "x-pomerium-",
    "tailscale-",
    "x-ssl-client-",
    "ssl-client-",
];

/// Whether a visitor's field of this name, in normal form, is kept from the origin, which might take the visitor's word by it for
/// who or where somebody is, or for another path than the one that was judged: ours, those of the product that this one
/// replaces, and those that only proxies tell. They are removed in every spelling that comes to the same normal form. What applications call fields of their own (`X-Access-Token`, `X-User`) is not
/// among them. docs/what-passes.md lists them all.
pub(super) fn is_reserved(normal: &str) -> bool {
    let is_listed = matches!(
        normal,
        "access-jwt-assertion"
            | "access-user-email"
            | "forwarded"
            | "remote-user"
            | "remote-email"
            | "remote-groups"
            | "remote-name"
            | "x-authenticated-user"
            | "x-webauth-user"
            | "x-real-ip"
            | "x-client-ip"
            | "x-cluster-client-ip"
            | "x-forwarded"
            | "x-original-host"
            | "x-original-url"
            | "x-original-uri"
            | "x-rewrite-url"
            | "x-ms-client-principal"
            | "true-client-ip"
            | "cf-connecting-ip"
    );
    is_listed || RESERVED_PREFIXES.iter().any(|prefix| normal.starts_with(prefix))
}

/// Whether a field of this name, in normal form, concerns one connection only (RFC 9110 §7.6.1), or frames a body. Never forwarded;
/// framing is set anew.
pub(super) fn is_hop_by_hop(normal: &str) -> bool {
    matches!(
        normal,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-authentication-info"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "content-length"
            | "upgrade"
            | "http2-settings"
    )
}

/// The fields that the other side's `Connection` lists.
fn listed(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(header::CONNECTION).iter();
    let names = values.flat_map(|value| value.as_bytes().split(|b| *b == b','));
    names.map(|name| String::from_utf8_lossy(name).trim().to_ascii_lowercase()).collect()
}

/// How many fields of our own are set beside a visitor's.
const OURS: usize = 12;

/// What of a request's headers goes on to the origin, before our own are set.
pub(crate) fn request(headers: &HeaderMap) -> HeaderMap {
    let listed = listed(headers);
    let mut out = HeaderMap::with_capacity(headers.len().saturating_add(OURS));
    for (name, value) in headers {
        let plain = name.as_str();
        let normal = normal(plain);
        let dropped = is_hop_by_hop(&normal)
            || is_reserved(&normal)
            || *name == header::HOST
            || *name == header::COOKIE
            || *name == header::EXPECT
            || listed.iter().any(|other| other == plain);
        if !dropped {
            out.append(name.clone(), value.clone());
        }
    }
    if let Some(cookie) = cookies(headers) {
        out.insert(header::COOKIE, cookie);
    }
    out
}

/// The visitor's cookies without ours, in one field (RFC 9113 §8.2.3), each as it came.
fn cookies(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut kept: Vec<u8> = Vec::new();
    for pair in headers.get_all(header::COOKIE).iter().flat_map(|value| value.as_bytes().split(|b| *b == b';')) {
        let pair = pair.strip_prefix(b" ").unwrap_or(pair);
        let name = pair.split(|b| *b == b'=').next().unwrap_or_default().trim_ascii();
        if is_ours(name) || pair.trim_ascii().is_empty() {
            continue;
        }
        if !kept.is_empty() {
            kept.extend_from_slice(b"; ");
        }
        kept.extend_from_slice(pair);
    }
    (!kept.is_empty()).then(|| HeaderValue::from_bytes(&kept).ok()).flatten()
}

/// What of an origin's answer goes on to the visitor. Where else it is served (`Alt-Svc`) is not the visitor's way: browsers would
/// try the edge's own ports by it.
pub(crate) fn response(headers: HeaderMap) -> HeaderMap {
    let listed = listed(&headers);
    let is_dropped = |name: &HeaderName, value: &HeaderValue| {
        let plain = name.as_str();
        let length = *name == header::CONTENT_LENGTH;
        let of_this_hop = is_hop_by_hop(plain) || listed.iter().any(|other| other == plain);
        (of_this_hop && !length) || *name == header::ALT_SVC || (*name == header::SET_COOKIE && sets_ours(value))
    };
    let mut out = if headers.iter().any(|(name, value)| is_dropped(name, value)) {
        let mut kept = HeaderMap::with_capacity(headers.len());
        let mut last = None;
        for (name, value) in headers {
            // What has the name of the one before it comes without.
            last = name.or(last);
            if let Some(name) = last.as_ref().filter(|name| !is_dropped(name, &value)) {
                kept.append(name.clone(), value);
            }
        }
        kept
    } else {
        headers
    };
    if out.contains_key(CLEAR_SITE_DATA) {
        let cleared = cleared(&out);
        out.remove(CLEAR_SITE_DATA);
        if let Some(cleared) = cleared {
            out.insert(CLEAR_SITE_DATA, cleared);
        }
    }
    out
}

const CLEAR_SITE_DATA: &str = "clear-site-data";

/// What an origin may have its visitors' browsers forget: not cookies, which would be those of the whole registrable domain,
/// ours and other applications' among them (T11).
fn cleared(headers: &HeaderMap) -> Option<HeaderValue> {
    let reaches_cookies = |kind: &[u8]| kind.contains(&b'*') || kind.to_ascii_lowercase().starts_with(b"\"cookies");
    let kinds = headers.get_all(CLEAR_SITE_DATA).iter().flat_map(|value| value.as_bytes().split(|b| *b == b','));
    let kept: Vec<_> =
        kinds.map(<[u8]>::trim_ascii).filter(|kind| !kind.is_empty() && !reaches_cookies(kind)).collect();
    (!kept.is_empty()).then(|| HeaderValue::from_bytes(&kept.join(&b", "[..])).ok()).flatten()
}

/// Whether an answer's end is said once: by one length, by `chunked` alone, or by the end of the stream. Of two, visitors
/// might believe the other.
pub(super) fn is_framed_once(headers: &HeaderMap) -> bool {
    let all = |name| headers.get_all(name).iter().collect::<Vec<_>>();
    match (&*all(header::CONTENT_LENGTH), &*all(header::TRANSFER_ENCODING)) {
        ([], []) => true,
        ([length], []) => !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit),
        ([], [coding]) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        _ => false,
    }
}

/// Whether an origin tries to set a cookie of ours (T11, S2).
fn sets_ours(value: &HeaderValue) -> bool {
    let pair = value.as_bytes().split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    // A cookie without a name is sent back as its value alone, which then looks like one with a name (RFC 6265bis §5.7).
    let pair = pair.strip_prefix(b"=").unwrap_or(pair).trim_ascii();
    is_ours(pair.split(|b| *b == b'=').next().unwrap_or_default().trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
        };
        let mut map = HeaderMap::new();
        pairs.iter().map(pair).for_each(|(name, value)| {
            map.append(name, value);
        });
        map
    }

    #[test]
    fn a_visitors_word_for_who_or_where_it_is_never_goes_on() {
        // H6, H7
        for name in [
            "Access-User-Email",
            "access_user_email",
            "Access.User.Email",
            "CF_Access_Jwt-Assertion",
            "x.forwarded.for",
            "X-Forwarded-Uri",
            "Remote_User",
            "Forwarded",
            "x-original-url",
            "X-Original-Host",
            "X-Forwarded",
            "X-Cluster-Client-IP",
            "X_Remote_User",
            "X-Remote-Role",
            "X-Goog-Authenticated-User-Email",
            "X-Goog-IAP-JWT-Assertion",
            "X-MS-Client-Principal",
            "X-MS-CLIENT-PRINCIPAL-NAME",
            "x-amzn-oidc-data",
            "X-authentik-username",
            "X-Pomerium-Jwt-Assertion",
            "Tailscale-User-Login",
            "X-SSL-Client-S-DN",
            "Ssl_Client_Verify",
        ] {
            assert!(request(&headers(&[(name, "evil")])).is_empty(), "{name}");
        }
    }

    #[test]
    fn what_an_application_calls_fields_of_its_own_goes_on() {
        for name in
            ["X-Access-Token", "X_Access_Token", "X-User", "X-User-Email", "X-User-Id", "X-Host", "Access-Token"]
        {
            assert_eq!(request(&headers(&[(name, "its own")])).len(), 1, "{name}");
        }
    }

    #[test]
    fn what_a_connection_field_lists_and_what_frames_is_dropped() {
        let sent = headers(&[
            ("connection", "close, X-Secret"),
            ("x-secret", "1"),
            ("transfer_encoding", "chunked"),
            ("content.length", "5"),
            ("te", "trailers"),
            ("accept", "*/*"),
            ("access-control-request-headers", "x"),
        ]);
        let names: Vec<_> = request(&sent).keys().map(|name| name.as_str().to_owned()).collect();
        assert_eq!(names, ["accept", "access-control-request-headers"]);
    }

    #[test]
    fn our_cookies_stay_here_and_others_go_on_as_they_came() {
        // S3
        let sent =
            headers(&[("cookie", "a=1; __Host-access=secret; b=\"x y\""), ("cookie", "__host-ACCESS-login=z; c")]);
        assert_eq!(request(&sent).get("cookie").unwrap(), "a=1; b=\"x y\"; c");
        assert!(request(&headers(&[("cookie", "__Host-access=secret")])).get("cookie").is_none());
    }

    #[test]
    fn an_answer_ends_in_one_place() {
        // H10, T11
        for good in [&[][..], &[("content-length", "5")], &[("transfer-encoding", "Chunked")]] {
            assert!(is_framed_once(&headers(good)), "{good:?}");
        }
        for bad in [
            &[("content-length", "5"), ("content-length", "5")][..],
            &[("content-length", "5, 5")],
            &[("content-length", "")],
            &[("content-length", "5"), ("transfer-encoding", "chunked")],
            &[("transfer-encoding", "gzip, chunked")],
            &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
        ] {
            assert!(!is_framed_once(&headers(bad)), "{bad:?}");
        }
    }

    #[test]
    fn an_origin_clears_its_own_data_and_nobodys_cookies() {
        // T11
        let kept = |lines: &[&str]| {
            let sent: Vec<_> = lines.iter().map(|line| ("clear-site-data", *line)).collect();
            let kept = response(headers(&sent));
            let values = kept.get_all("clear-site-data").iter().map(|value| value.to_str().unwrap().to_owned());
            values.collect::<Vec<_>>()
        };
        assert_eq!(kept(&["\"cache\", \"cookies\",\"storage\""]), ["\"cache\", \"storage\""]);
        assert_eq!(
            kept(&["\"executionContexts\"", "\"Cookies\" , \"*\"", "\"cache\""]),
            ["\"executionContexts\", \"cache\""]
        );
        for bad in [&["\"*\""][..], &["\"cookies\""], &["", "\"cookies\""], &["\"storage:*\""]] {
            assert!(kept(bad).is_empty(), "{bad:?}");
        }
    }

    #[test]
    fn an_origin_says_of_no_other_way_to_it() {
        // T11
        let sent = headers(&[("alt-svc", "h3=\":443\"; ma=2592000"), ("server", "Caddy"), ("Alt-Svc", "clear")]);
        assert_eq!(response(sent), headers(&[("server", "Caddy")]));
    }

    #[test]
    fn an_origin_cannot_set_our_cookies() {
        // S2, T11
        let sent = headers(&[
            ("set-cookie", "__Host-access=x; Path=/"),
            ("set-cookie", "__HOST-access ; x"),
            ("set-cookie", "a=b"),
        ]);
        let kept = response(sent);
        assert_eq!(kept.get_all("set-cookie").iter().collect::<Vec<_>>(), ["a=b"]);
    }
}
