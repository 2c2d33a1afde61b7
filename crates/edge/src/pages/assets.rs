//! The stylesheet, the logo and the script, under `/.access/assets/` on every host.

use std::sync::LazyLock;

use axum::body::Body;
use data_encoding::HEXLOWER;
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, X_CONTENT_TYPE_OPTIONS},
};

use crate::Response;

struct Asset {
    name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
    /// The beginning of the SHA-256 of the bytes.
    hash: String,
}

static ASSETS: LazyLock<[Asset; 3]> = LazyLock::new(|| {
    [
        asset("tunnel.css", "text/css; charset=utf-8", include_bytes!("../../assets/tunnel.css")),
        asset("logo.svg", "image/svg+xml", include_bytes!("../../assets/logo.svg")),
        asset("passkey.js", "text/javascript; charset=utf-8", include_bytes!("../../assets/passkey.js")),
    ]
});

fn asset(name: &'static str, kind: &'static str, bytes: &'static [u8]) -> Asset {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let hash = HEXLOWER.encode(digest.as_ref().get(..8).unwrap_or_default());
    Asset { name, kind, bytes, hash }
}

/// The address of an asset, which changes with its content; for templates.
pub(super) fn link(name: &str) -> String {
    let hash = ASSETS.iter().find(|asset| asset.name == name).map(|asset| asset.hash.as_str()).unwrap_or_default();
    format!("/.access/assets/{name}?v={hash}")
}

/// Answers GET and HEAD for `name` (what follows `/.access/assets/`); `None` when there is no such asset. An address with
/// the current content's hash may be kept for a year, any other for five minutes.
pub fn serve(name: &str, query: Option<&str>, headers: &HeaderMap) -> Option<Response> {
    let asset = ASSETS.iter().find(|asset| asset.name == name)?;
    let current = query.and_then(|query| query.strip_prefix("v=")) == Some(asset.hash.as_str());
    let keep = if current { "public, max-age=31536000, immutable" } else { "public, max-age=300" };
    let etag = format!("\"{}\"", asset.hash);
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let known = known.flat_map(|value| value.split(',')).any(|tag| matches_etag(tag.trim(), &etag));
    let mut response = Response::new(if known { Body::empty() } else { Body::from(asset.bytes) });
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(keep));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    // The logo opened by itself is a document of this origin; it may do nothing.
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(ETAG, etag);
    }
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(asset.kind));
    }
    Some(response)
}

fn matches_etag(tag: &str, etag: &str) -> bool {
    tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag
}
