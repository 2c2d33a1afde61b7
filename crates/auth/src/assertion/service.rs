//! What an origin is told about a machine that was admitted by its service token.

use serde::{Deserialize, Serialize};
use tunnel_proto::{AppId, UnixTime};

use super::{ASSERTION_LIFE, TokenKind};

/// What an assertion says about a machine: there is no person in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceClaims {
    /// The applications it is for.
    pub aud: Vec<AppId>,
    /// The public id of the service token.
    pub common_name: String,
    /// When it ends.
    pub exp: UnixTime,
    /// When it was made.
    pub iat: UnixTime,
    /// From when it counts.
    pub nbf: UnixTime,
    /// The edge: `https://access.ZONE[:port]`.
    pub iss: String,
    /// `app`: what kind of token this is.
    #[serde(rename = "type")]
    pub kind: TokenKind,
    /// Empty: nobody.
    pub sub: String,
}

impl ServiceClaims {
    /// The claims about the machine with the service token `id` for one application, for [`ASSERTION_LIFE`] from `now`.
    pub fn new(iss: &str, app: AppId, id: &str, now: UnixTime) -> Self {
        Self {
            aud: vec![app],
            common_name: id.to_owned(),
            exp: UnixTime(now.0.saturating_add(ASSERTION_LIFE)),
            iat: now,
            nbf: now,
            iss: iss.to_owned(),
            kind: TokenKind::App,
            sub: String::new(),
        }
    }
}
