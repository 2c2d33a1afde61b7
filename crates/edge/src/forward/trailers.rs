//! Fields after a body (RFC 9110 §6.5), in both directions: few, small, and none that a recipient could take for part of the
//! head.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header, request::Parts};

use super::head::{is_hop_by_hop, is_reserved};
use crate::request::normal;

/// The most fields after one body, and their most bytes.
const FIELDS_MAX: usize = 64;
const BYTES_MAX: usize = 16 * 1024;

/// What must not stand after a body, beside what concerns one connection: routing, authentication, modifiers of the request,
/// control of the answer, and what says how to read the content (RFC 9110 §6.5.1). In normal form.
const NEVER: [&str; 51] = [
    "accept",
    "accept-encoding",
    "accept-ranges",
    "age",
    "alt-svc",
    "authorization",
    "authentication-info",
    "cache-control",
    "cdn-cache-control",
    "cdn-loop",
    "clear-site-data",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-location",
    "content-range",
    "content-security-policy",
    "content-security-policy-report-only",
    "content-type",
    "cookie",
    "cross-origin-embedder-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "date",
    "expect",
    "expires",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "link",
    "location",
    "max-forwards",
    "origin",
    "permissions-policy",
    "pragma",
    "range",
    "referer",
    "referrer-policy",
    "refresh",
    "retry-after",
    "set-cookie",
    "strict-transport-security",
    "vary",
    "warning",
    "www-authenticate",
    "x-content-type-options",
    "x-frame-options",
    "x-http-method-override",
];

/// What a visitor may say after a body: how to find out whether the body arrived as it was sent. Servers may merge trailers into
/// the head, so everything else would be a way around what is done to heads.
const FROM_VISITORS: [&str; 4] = ["content-digest", "content-md5", "digest", "repr-digest"];
/// And what begins like this.
const FROM_VISITORS_PREFIX: &str = "x-checksum-";

/// Which fields go on after a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Trailers {
    /// None.
    #[default]
    Dropped,
    /// Those that the head announced.
    Announced(Vec<HeaderName>),
    /// All that may stand there.
    Any,
}

impl Trailers {
    /// Of a request. Without a length alone: only then does either version of HTTP carry them on.
    pub(super) fn of_request(parts: &Parts, has_length: bool) -> Self {
        // A body of these is sent on only if something says so in the head; nobody says what it is in trailers.
        let bodiless = matches!(parts.method, Method::GET | Method::HEAD);
        let names = if has_length || bodiless { Vec::new() } else { announced(&parts.headers, may_be_a_visitors) };
        if names.is_empty() { Self::Dropped } else { Self::Announced(names) }
    }

    /// Of an answer, for a visitor who takes them or does not.
    pub(super) fn of_answer(taken: Taken, answer: &HeaderMap) -> Self {
        match taken {
            Taken::No => Self::Dropped,
            Taken::Always => Self::Any,
            // HTTP/1.1 has them only behind chunks.
            Taken::Asked if answer.contains_key(header::CONTENT_LENGTH) => Self::Dropped,
            Taken::Asked => match announced(answer, may_be_a_services) {
                names if names.is_empty() => Self::Dropped,
                names => Self::Announced(names),
            },
        }
    }

    /// The field `Trailer` that says so.
    pub(super) fn announcement(&self) -> Option<HeaderValue> {
        let Self::Announced(names) = self else { return None };
        let names: Vec<&str> = names.iter().map(HeaderName::as_str).collect();
        HeaderValue::try_from(names.join(", ")).ok()
    }

    /// What of these fields goes on; none where there are too many to be meant.
    pub(super) fn pick(&self, fields: HeaderMap) -> Option<HeaderMap> {
        let bytes = fields.iter().map(|(name, value)| name.as_str().len().saturating_add(value.len()));
        if fields.len() > FIELDS_MAX || bytes.fold(0, usize::saturating_add) > BYTES_MAX {
            tracing::debug!(fields = fields.len(), "too much was sent after a body and is dropped");
            return None;
        }
        let kept = |name: &HeaderName| match self {
            Self::Dropped => false,
            Self::Announced(names) => names.contains(name),
            Self::Any => may_be_a_services(name),
        };
        let mut picked = HeaderMap::new();
        for (name, value) in fields.iter().filter(|(name, _)| kept(name)) {
            picked.append(name.clone(), value.clone());
        }
        (!picked.is_empty()).then_some(picked)
    }
}

/// How a visitor takes trailers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Not at all.
    No,
    /// As HTTP/1.1 does for those who ask for it.
    Asked,
    /// As HTTP/2 does.
    Always,
}

impl Taken {
    pub(super) fn by(parts: &Parts) -> Self {
        match parts.version {
            Version::HTTP_2 => Self::Always,
            Version::HTTP_11 if asks(&parts.headers) => Self::Asked,
            _ => Self::No,
        }
    }
}

/// Whether a request says that it takes trailers.
pub(super) fn asks(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::TE).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|one| one.trim().eq_ignore_ascii_case("trailers"))
}

/// The names that a head announces and that `may` stand after the body.
fn announced(headers: &HeaderMap, may: impl Fn(&HeaderName) -> bool) -> Vec<HeaderName> {
    let lines = headers.get_all(header::TRAILER).iter().filter_map(|line| line.to_str().ok());
    let names = lines.flat_map(|line| line.split(',')).filter_map(|name| name.trim().parse::<HeaderName>().ok());
    names.filter(|name| may(name)).take(FIELDS_MAX).collect()
}

fn may_be_a_visitors(name: &HeaderName) -> bool {
    FROM_VISITORS.contains(&name.as_str()) || name.as_str().starts_with(FROM_VISITORS_PREFIX)
}

fn may_be_a_services(name: &HeaderName) -> bool {
    let plain = normal(name.as_str());
    !(NEVER.contains(&&*plain) || is_hop_by_hop(&plain) || is_reserved(&plain) || plain.starts_with("access-control-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(names: &[&str]) -> HeaderMap {
        names.iter().map(|name| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_static("1"))).collect()
    }

    fn names(fields: Option<HeaderMap>) -> Vec<String> {
        fields.unwrap_or_default().keys().map(|name| name.as_str().to_owned()).collect()
    }

    fn request(version: Version, method: Method, lines: &[(&'static str, &'static str)]) -> Parts {
        let mut request = http::Request::new(());
        *request.version_mut() = version;
        *request.method_mut() = method;
        for (name, value) in lines {
            request.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        request.into_parts().0
    }

    #[test]
    fn after_an_answer_comes_nothing_that_frames_routes_or_names_anybody() {
        // H5, H6
        for name in [
            "transfer-encoding",
            "Content_Length",
            "content.length",
            "connection",
            "trailer",
            "host",
            "set-cookie",
            "Set_Cookie",
            "authorization",
            "www-authenticate",
            "cache-control",
            "content-type",
            "location",
            "access-user-email",
            "Access_User_Email",
            "cf-access-jwt-assertion",
            "x-forwarded-for",
            "access-control-allow-origin",
            "strict-transport-security",
        ] {
            assert_eq!(Trailers::Any.pick(fields(&[name])), None, "{name}");
        }
        let told = ["grpc-status", "grpc-message", "grpc-status-details-bin", "server-timing", "digest", "my-own_word"];
        assert_eq!(names(Trailers::Any.pick(fields(&told))), told);
        assert_eq!(Trailers::Dropped.pick(fields(&told)), None);
    }

    #[test]
    fn a_visitor_says_only_checksums_after_a_body_and_only_those_it_announced() {
        // H6
        let lines = &[
            ("trailer", "Content-Digest, Access-User-Email, x-mine"),
            ("trailer", "x-checksum-crc32, content_digest"),
        ];
        let post = request(Version::HTTP_11, Method::POST, lines);
        let trailers = Trailers::of_request(&post, false);
        assert_eq!(trailers.announcement().unwrap(), "content-digest, x-checksum-crc32");
        let sent = fields(&["access-user-email", "content-digest", "digest", "x-mine", "content_digest"]);
        assert_eq!(names(trailers.pick(sent)), ["content-digest"]);
        assert_eq!(Trailers::of_request(&post, true), Trailers::Dropped);
        assert_eq!(Trailers::of_request(&request(Version::HTTP_11, Method::GET, lines), false), Trailers::Dropped);
        let none = request(Version::HTTP_2, Method::POST, &[("trailer", "access-user-email")]);
        assert_eq!(Trailers::of_request(&none, false), Trailers::Dropped);
    }

    #[test]
    fn trailers_go_to_visitors_who_take_them() {
        let answer = fields(&["trailer"]);
        let mut named = HeaderMap::new();
        named.insert("trailer", HeaderValue::from_static("grpc-status, Set-Cookie"));
        let taken = |version, lines| Taken::by(&request(version, Method::GET, lines));
        assert_eq!(taken(Version::HTTP_2, &[]), Taken::Always);
        assert_eq!(taken(Version::HTTP_11, &[]), Taken::No);
        assert_eq!(taken(Version::HTTP_11, &[("te", "gzip, Trailers")]), Taken::Asked);
        assert_eq!(taken(Version::HTTP_10, &[("te", "trailers")]), Taken::No);
        assert_eq!(Trailers::of_answer(Taken::Always, &answer), Trailers::Any);
        assert_eq!(Trailers::of_answer(Taken::No, &named), Trailers::Dropped);
        let announced = Trailers::of_answer(Taken::Asked, &named);
        assert_eq!(announced.announcement().unwrap(), "grpc-status");
        named.insert("content-length", HeaderValue::from_static("3"));
        assert_eq!(Trailers::of_answer(Taken::Asked, &named), Trailers::Dropped);
    }

    #[test]
    fn too_much_after_a_body_is_dropped_whole() {
        let mut many = HeaderMap::new();
        (0..=FIELDS_MAX).for_each(|n| {
            many.insert(format!("x-{n}").parse::<HeaderName>().unwrap(), HeaderValue::from_static("1"));
        });
        assert_eq!(Trailers::Any.pick(many), None);
        let mut large = HeaderMap::new();
        large.insert("x-large", HeaderValue::try_from("x".repeat(BYTES_MAX)).unwrap());
        assert_eq!(Trailers::Any.pick(large), None);
    }
}
