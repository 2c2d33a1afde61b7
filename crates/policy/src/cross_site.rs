//! What browsers may do to an application on behalf of other sites.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// With which requests that another site has a browser make the session cookie of an application goes (RFC 6265bis §5.6.7).
/// From strict to lenient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SameSite {
    /// With none, not even when a link is followed.
    Strict,
    /// When a link is followed.
    #[default]
    Lax,
    /// With all of them, forms and what scripts ask included.
    None,
}

impl SameSite {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Pages of other origins that may call an application by scripts (Fetch §3.2). What they ask first is answered by the edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cors {
    /// Where the pages are from: `https://HOST[:PORT]`, as browsers write it.
    pub allowed_origins: Vec<String>,
    /// The methods they may use, beside those that any page may (GET, HEAD and POST).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_methods: Vec<String>,
    /// The fields they may send, beside those that any page may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_headers: Vec<String>,
    /// Whether they may ask, and read, as the visitor: with the session's cookie, where the browser sends that.
    #[serde(default)]
    pub allow_credentials: bool,
    /// How long a browser may remember all this (whole seconds), where not as long as it does by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Duration>,
}
