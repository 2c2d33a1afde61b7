//! Who sent a request, as the edge says.

use std::collections::BTreeMap;

use serde_json::Value;
use tunnel_auth::{
    AppError, AssertionError,
    assertion::{AssertionClaims, ServiceClaims},
};
use tunnel_proto::{AppId, EmailAddress, PersonId, UnixTime, dial::AskError};

/// Who sent a request, as the edge signed it for this request and this application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    email: EmailAddress,
    person: PersonId,
    app: AppId,
    until: UnixTime,
    country: Option<String>,
    claims: BTreeMap<String, Value>,
}

impl Identity {
    pub(crate) fn new(claims: AssertionClaims, app: AppId) -> Self {
        Self {
            email: claims.email,
            person: claims.sub,
            app,
            until: claims.exp,
            country: claims.country,
            claims: claims.custom,
        }
    }

    /// The verified address.
    pub const fn email(&self) -> &EmailAddress {
        &self.email
    }

    /// The person, stable across logins.
    pub const fn person(&self) -> PersonId {
        self.person
    }

    /// The application that the edge admitted the person to.
    pub const fn app(&self) -> AppId {
        self.app
    }

    /// When the statement ends. It is about one request; a session of its own must ask again.
    pub const fn until(&self) -> UnixTime {
        self.until
    }

    /// The country that the person logged in from, where the edge knows it: two letters (ISO 3166-1).
    pub fn country(&self) -> Option<&str> {
        self.country.as_deref()
    }

    /// Claims of the login method that the edge passes on, by name.
    pub const fn claims(&self) -> &BTreeMap<String, Value> {
        &self.claims
    }
}

/// A machine that sent a request, admitted by its service token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    token: String,
    app: AppId,
    until: UnixTime,
}

impl Machine {
    pub(crate) fn new(claims: ServiceClaims, app: AppId) -> Self {
        Self { token: claims.common_name, app, until: claims.exp }
    }

    /// The public id of its service token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The application that the edge admitted it to.
    pub const fn app(&self) -> AppId {
        self.app
    }

    /// When the statement ends.
    pub const fn until(&self) -> UnixTime {
        self.until
    }
}

/// Who sent a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sender {
    /// A person.
    Person(Identity),
    /// A machine.
    Machine(Machine),
}

/// Why nobody is known to have sent a request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Not exactly one assertion: the request did not come through the edge.
    #[error("the request has no assertion of the edge")]
    Missing,
    /// The assertion is not one, or not for here and now.
    #[error("the assertion is not believed: {0}")]
    Assertion(#[from] AssertionError),
    /// It is about a machine, where persons are wanted.
    #[error("it was sent by a machine, not by a person")]
    NoPerson,
    /// The edge's keys cannot be had.
    #[error("the edge's keys cannot be had: {reason}")]
    Keys {
        /// What happened.
        reason: String,
    },
    /// What the edge says is at the hostname is not believed.
    #[error("what the edge says of the hostname is not believed: {0}")]
    App(#[from] AppError),
    /// The hostname is a pattern, so that the edge cannot be asked which application it is.
    #[error("the hostname is a wildcard: say which application it is")]
    NoApp,
}

impl From<AskError> for IdentityError {
    fn from(error: AskError) -> Self {
        Self::Keys { reason: error.to_string() }
    }
}

impl IdentityError {
    /// With what status a request is turned away: it is its own fault, or for now nobody could be known.
    #[cfg(any(feature = "axum08", feature = "tower"))]
    pub(crate) const fn status(&self) -> http::StatusCode {
        match self {
            Self::Missing | Self::Assertion(_) | Self::NoPerson => http::StatusCode::FORBIDDEN,
            _ => http::StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// What somebody reads whose request is turned away.
#[cfg(any(feature = "axum08", feature = "tower"))]
pub(crate) const UNKNOWN: &str = "It is not known who sent this request.\n";
