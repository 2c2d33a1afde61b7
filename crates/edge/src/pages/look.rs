//! What pages look like: the stylesheet, the logo and the script, under `/.access/assets/` on every host, and what of it is
//! the operator's own.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

use axum::body::Body;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, X_CONTENT_TYPE_OPTIONS},
};

use crate::{Lang, Response, config::Brand};

/// The look of an edge's pages.
pub struct Look {
    name: Option<String>,
    lang: Lang,
    assets: Vec<Asset>,
    /// The asset that is the logo.
    logo: &'static str,
}

struct Asset {
    name: &'static str,
    kind: &'static str,
    bytes: Bytes,
    /// The beginning of the SHA-256 of the bytes.
    hash: String,
}

/// The largest logo, in bytes: it is fetched by whoever opens a page.
pub const LOGO_MAX: u64 = 64 * 1024;
const STYLE: &str = "tunnel.css";
const LOGO: &str = "logo.svg";
const SVG: &str = "image/svg+xml";
const PNG: &str = "image/png";
/// How a PNG begins (RFC 2083 §3.1).
const PNG_MARK: &[u8] = b"\x89PNG\r\n\x1a\n";

static PLAIN: LazyLock<Arc<Look>> = LazyLock::new(|| Arc::new(Look::with(&Brand::default(), None)));

impl Look {
    /// The look of pages without a brand.
    pub fn plain() -> Arc<Self> {
        PLAIN.clone()
    }

    /// The look of a brand, whose logo is read now.
    pub fn load(brand: &Brand) -> Result<Arc<Self>, LogoError> {
        let logo = brand.logo.as_deref().map(read_logo).transpose()?;
        Ok(Arc::new(Self::with(brand, logo)))
    }

    fn with(brand: &Brand, logo: Option<(&'static str, Vec<u8>)>) -> Self {
        let script = asset("passkey.js", "text/javascript; charset=utf-8", include_bytes!("../../assets/passkey.js"));
        let own_logo = logo.is_some();
        let logo = match logo {
            Some((PNG, bytes)) => asset("brand.png", PNG, &bytes),
            Some((kind, bytes)) => asset("brand.svg", kind, &bytes),
            None => asset(LOGO, SVG, include_bytes!("../../assets/logo.svg")),
        };
        let mut css = include_str!("../../assets/tunnel.css").to_owned();
        let color = brand.color.as_ref().map(|color| format!(" --brand: {color};"));
        let image = own_logo.then(|| format!(" --brand-logo: url(\"{}\");", logo.link()));
        let width = brand.logo_width.as_ref().map(|width| format!(" --brand-logo-width: {width};"));
        let own: String = [color, image, width].into_iter().flatten().collect();
        if !own.is_empty() {
            css.push_str("\n:root {");
            css.push_str(&own);
            css.push_str(" }\n");
        }
        let style = asset(STYLE, "text/css; charset=utf-8", css.as_bytes());
        let name = logo.name;
        Self { name: brand.name.clone(), lang: brand.language, assets: vec![style, logo, script], logo: name }
    }

    /// What the organisation calls itself.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The language for whoever accepts none that pages are written in.
    pub const fn lang(&self) -> Lang {
        self.lang
    }

    /// The address of an asset, which changes with its content; for templates.
    pub(super) fn link(&self, name: &str) -> String {
        self.assets.iter().find(|asset| asset.name == name).map(Asset::link).unwrap_or_default()
    }

    /// The address of the logo and its type.
    pub(super) fn icon(&self) -> (String, &'static str) {
        (self.link(self.logo), if self.logo == "brand.png" { PNG } else { SVG })
    }

    /// Answers GET and HEAD for `name` (what follows `/.access/assets/`); `None` when there is no such asset. An address
    /// with the current content's hash may be kept for a year, any other for five minutes.
    pub fn serve(&self, name: &str, query: Option<&str>, headers: &HeaderMap) -> Option<Response> {
        crate::faults::at("asset");
        let asset = self.assets.iter().find(|asset| asset.name == name)?;
        let current = query.and_then(|query| query.strip_prefix("v=")) == Some(asset.hash.as_str());
        let keep = if current { "public, max-age=31536000, immutable" } else { "public, max-age=300" };
        let etag = format!("\"{}\"", asset.hash);
        let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let known = known.flat_map(|value| value.split(',')).any(|tag| matches_etag(tag.trim(), &etag));
        let mut response = Response::new(if known { Body::empty() } else { Body::from(asset.bytes.clone()) });
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(keep));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
        // The logo opened by itself is a document of this origin; it may do nothing.
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(NOTHING));
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
}

const NOTHING: &str = "default-src 'none'; frame-ancestors 'none'; sandbox";

impl fmt::Debug for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Look").field("name", &self.name).field("lang", &self.lang).finish_non_exhaustive()
    }
}

impl Asset {
    fn link(&self) -> String {
        format!("/.access/assets/{}?v={}", self.name, self.hash)
    }
}

fn asset(name: &'static str, kind: &'static str, bytes: &[u8]) -> Asset {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let hash = HEXLOWER.encode(digest.as_ref().get(..8).unwrap_or_default());
    Asset { name, kind, bytes: Bytes::copy_from_slice(bytes), hash }
}

fn matches_etag(tag: &str, etag: &str) -> bool {
    tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag
}

/// A logo and its type, told by its content.
fn read_logo(path: &Path) -> Result<(&'static str, Vec<u8>), LogoError> {
    let unreadable = |source| LogoError::Unreadable { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(unreadable)?.len() > LOGO_MAX {
        return Err(LogoError::TooLarge { path: path.to_owned() });
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    if bytes.starts_with(PNG_MARK) {
        return Ok((PNG, bytes));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) if text.contains("<svg") => Ok((SVG, bytes)),
        _ => Err(LogoError::Neither { path: path.to_owned() }),
    }
}

/// Why a logo cannot be shown. Each names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogoError {
    /// It cannot be read.
    #[error("`{path}` cannot be read: {source}", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is larger than everybody should have to fetch.
    #[error("`{path}` is larger than {LOGO_MAX} bytes", path = .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is no picture that browsers show.
    #[error("`{path}` is neither SVG nor PNG", path = .path.display())]
    Neither {
        /// The file.
        path: PathBuf,
    },
}
