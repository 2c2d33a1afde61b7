//! Pages of other origins that an application lists (Fetch §3.2): what their browsers ask first is answered here, and their
//! scripts may read what the edge refuses. What a service answers says for itself who may read it.
//!
//! A preflight carries no credential, so that no permit could be made for it: none reaches a service in this way.

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};
use tunnel_policy::Cors;

use crate::{Response, State, Visit, snapshot::Snapshot};

/// Whether a browser asks by this what a page may ask (Fetch §4.8).
pub(crate) fn is_preflight(parts: &Parts) -> bool {
    parts.method == Method::OPTIONS && one(&parts.headers, &header::ACCESS_CONTROL_REQUEST_METHOD).is_some()
}

/// A page of an origin that every application concerned lists.
pub(crate) struct Listed<'a> {
    cors: &'a Cors,
    origin: HeaderValue,
}

impl<'a> Listed<'a> {
    /// The page that a request comes from.
    pub(crate) fn find(state: &State, snapshot: &'a Snapshot, visit: &Visit, parts: &Parts) -> Option<Self> {
        let origin = one(&parts.headers, &header::ORIGIN)?;
        // A wildcard of an application does not reach what is the edge's own.
        if visit.host == *state.login_host() || tunnel_policy::is_reserved(parts.uri.path()) {
            return None;
        }
        Self::of(snapshot.policies.applications_for(&visit.host, parts.uri.path()).cors()?, origin)
    }

    /// To the letter: browsers write an origin in one way. `null` is what pages of anybody may say.
    fn of(cors: &'a Cors, origin: &HeaderValue) -> Option<Self> {
        let listed = cors.allowed_origins.iter().any(|listed| listed.as_bytes() == origin.as_bytes());
        (listed && origin.as_bytes() != b"null").then(|| Self { cors, origin: origin.clone() })
    }

    /// Lets the page's scripts read an answer.
    pub(crate) fn let_read(&self, headers: &mut HeaderMap) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, self.origin.clone());
        if self.cors.allow_credentials {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }

    /// The answer to a preflight: exactly what is listed, whatever it asks for.
    pub(crate) fn preflight(&self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        self.let_read(headers);
        for (name, listed) in [
            (header::ACCESS_CONTROL_ALLOW_METHODS, &self.cors.allowed_methods),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, &self.cors.allowed_headers),
        ] {
            if let (false, Ok(listed)) = (listed.is_empty(), HeaderValue::try_from(listed.join(", "))) {
                headers.insert(name, listed);
            }
        }
        if let Some(age) = self.cors.max_age {
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(age.as_secs()));
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// The value of a field that stands there once.
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Request;

    use super::*;

    const DESK: &str = "https://desk.example.com";

    fn cors() -> Cors {
        Cors {
            // What no file may say: the list alone is not what keeps it out.
            allowed_origins: vec![DESK.to_owned(), "null".to_owned()],
            allowed_methods: vec!["PUT".to_owned(), "DELETE".to_owned()],
            allowed_headers: vec!["content-type".to_owned(), "x-api".to_owned()],
            allow_credentials: true,
            max_age: Some(Duration::from_secs(600)),
        }
    }

    fn fields(response: &Response) -> Vec<String> {
        let line = |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
        response.headers().iter().map(line).collect()
    }

    // H9
    #[test]
    fn an_origin_is_listed_to_the_letter_or_not_at_all() {
        let cors = cors();
        for (origin, listed) in [
            (DESK, true),
            ("https://desk.example.com/", false),
            ("https://DESK.example.com", false),
            ("https://desk.example.com:443", false),
            ("https://desk.example.com.evil.test", false),
            ("https://evil.test/https://desk.example.com", false),
            ("http://desk.example.com", false),
            ("https://desk.example.com https://evil.test", false),
            ("desk.example.com", false),
            ("null", false),
            ("*", false),
            ("", false),
        ] {
            assert_eq!(Listed::of(&cors, &HeaderValue::from_static(origin)).is_some(), listed, "{origin}");
        }
    }

    // H9
    #[test]
    fn a_preflight_is_answered_by_what_is_listed_and_nothing_else() {
        let full = cors();
        let answer = Listed::of(&full, &HeaderValue::from_static(DESK)).unwrap().preflight();
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        assert_eq!(
            fields(&answer),
            [
                "access-control-allow-origin: https://desk.example.com",
                "access-control-allow-credentials: true",
                "vary: Origin",
                "access-control-allow-methods: PUT, DELETE",
                "access-control-allow-headers: content-type, x-api",
                "access-control-max-age: 600",
                "cache-control: no-store",
            ]
        );
        let bare = Cors {
            allowed_methods: Vec::new(),
            allowed_headers: Vec::new(),
            allow_credentials: false,
            max_age: None,
            ..full
        };
        let answer = Listed::of(&bare, &HeaderValue::from_static(DESK)).unwrap().preflight();
        let expected =
            ["access-control-allow-origin: https://desk.example.com", "vary: Origin", "cache-control: no-store"];
        assert_eq!(fields(&answer), expected);
    }

    // H9
    #[test]
    fn only_what_browsers_send_is_a_preflight() {
        let asks = |method: &str, fields: &[&str]| {
            let mut request = Request::builder().method(method).uri("/x");
            for field in fields {
                request = request.header("access-control-request-method", *field);
            }
            is_preflight(&request.body(()).unwrap().into_parts().0)
        };
        assert!(asks("OPTIONS", &["PUT"]));
        assert!(!asks("OPTIONS", &[]));
        assert!(!asks("OPTIONS", &["PUT", "GET"]));
        assert!(!asks("GET", &["PUT"]));
        assert!(!asks("options", &["PUT"]));
    }
}
