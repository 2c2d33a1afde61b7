//! `certs`: the keys that assertions are checked with.

use axum::body::Body;
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, X_CONTENT_TYPE_OPTIONS},
};

use crate::{
    Response,
    keys::{Audience, CERTS_LIFE, Keys},
};

/// Answers `certs`. It may be kept for [`CERTS_LIFE`]; a new key is published for longer before it signs.
pub(crate) fn answer(keys: &Keys, audience: Audience, headers: &HeaderMap) -> Response {
    crate::faults::at("keys");
    let published = keys.published(audience);
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let known = known.flat_map(|value| value.split(',')).any(|tag| names(tag.trim(), &published.etag));
    let mut response = Response::new(if known { Body::empty() } else { Body::from(published.json) });
    // The first keys of an edge come one after the other, within moments.
    let keep = match published.complete {
        true => HeaderValue::try_from(format!("public, max-age={}", CERTS_LIFE.as_secs())),
        false => Ok(HeaderValue::from_static("no-cache")),
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, keep.unwrap_or_else(|_| HeaderValue::from_static("no-cache")));
    headers.insert(ETAG, published.etag);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    response
}

/// Whether an entity tag of `If-None-Match` is ours; weak ones count here (RFC 9110 §13.1.2).
fn names(tag: &str, etag: &HeaderValue) -> bool {
    tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == etag.as_bytes()
}
