//! The assertion: what an origin is told about a visitor, signed, for minutes (RFC 7519; ES256 or RS256 of RFC 7518 §3).
//!
//! It is a statement to the origin and never a credential: the edge accepts none. The same keys sign what is at a hostname,
//! for the access client ([`verify_app`]), and what services are asked about people ([`Question`]), as tokens of other types.

mod app;
mod jwk;
mod jwks;
mod key;
mod question;
mod service;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tunnel_proto::{AppId, EmailAddress, PersonId, UnixTime};

pub use app::{AppError, app_issuer, verify_app};
pub use jwk::Jwk;
pub use jwks::{Jwks, KEYS_MAX};
pub use key::{Algorithm, KeyError, SigningKey};
pub use question::{
    QUESTION_LIFE, QUESTION_MAX, QUESTION_TYPE, Question, QuestionApp, QuestionGeo, QuestionIdentity, QuestionIdp,
};
pub use service::ServiceClaims;

/// How long an assertion lives, in seconds.
pub const ASSERTION_LIFE: u64 = 5 * 60;
/// The longest token that is looked at, in bytes. It travels in a header, twice where the compatible one is sent, and many
/// servers take 8 KiB of headers.
pub const ASSERTION_MAX: usize = 4096;
/// By how many seconds two clocks may differ.
pub const LEEWAY: u64 = 60;

/// What an assertion says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssertionClaims {
    /// The applications it is for.
    pub aud: Vec<AppId>,
    /// The visitor's verified address.
    pub email: EmailAddress,
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
    /// Differs for each login of the same person.
    pub identity_nonce: String,
    /// The person, stable across logins.
    pub sub: PersonId,
    /// The country that the person logged in from, if it is known: two letters (ISO 3166-1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// Claims of the login method that it was told to pass on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub custom: BTreeMap<String, Value>,
}

/// What kind of token an assertion is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// For one application, about a person.
    App,
}

impl AssertionClaims {
    /// The claims about a person for one application, for [`ASSERTION_LIFE`] from `now`.
    pub fn new(iss: &str, app: AppId, sub: PersonId, email: EmailAddress, identity_nonce: &str, now: UnixTime) -> Self {
        Self {
            aud: vec![app],
            email,
            exp: UnixTime(now.0.saturating_add(ASSERTION_LIFE)),
            iat: now,
            nbf: now,
            iss: iss.to_owned(),
            kind: TokenKind::App,
            identity_nonce: identity_nonce.to_owned(),
            sub,
            country: None,
            custom: BTreeMap::new(),
        }
    }

    /// The same with the country that the person logged in from.
    #[must_use]
    pub fn from_country(self, country: Option<String>) -> Self {
        Self { country, ..self }
    }

    /// The same with claims of the login method.
    #[must_use]
    pub fn with_custom(self, custom: BTreeMap<String, Value>) -> Self {
        Self { custom, ..self }
    }
}

/// What an assertion that was verified says, and of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claims {
    /// Of a person.
    Person(AssertionClaims),
    /// Of a machine with a service token.
    Machine(ServiceClaims),
}

/// Why an assertion was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AssertionError {
    /// Not three parts of canonical base64url in at most 4 KiB.
    #[error("not a signed token")]
    Malformed,
    /// The header has another algorithm or type, lacks one, or says something that is not understood.
    #[error("the token's header is not that of an assertion")]
    Header,
    /// Signed by a key that is not in the set.
    #[error("signed by an unknown key")]
    UnknownKey,
    /// The signature is not that of these contents.
    #[error("the signature does not fit")]
    Signature,
    /// The contents are not those of an assertion.
    #[error("the contents are not those of an assertion")]
    Claims,
    /// From another issuer.
    #[error("from another issuer")]
    Issuer,
    /// For another application.
    #[error("for another application")]
    Audience,
    /// Ended, or not yet begun.
    #[error("not valid at this time")]
    Time,
}
