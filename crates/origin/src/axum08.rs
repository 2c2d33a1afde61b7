//! For programs with axum 0.8 (feature `axum08`): `axum::serve` takes a [`Listener`], and handlers take an [`Identity`].
//!
//! The extractor needs the hostname's [`Verifier`](crate::Verifier) among the request's extensions. `Http::serve` puts it
//! there; with `axum::serve` a layer does: `router.layer(axum::Extension(listener.verifier()))`. What a layer before it found
//! out already (`verify::AssertionLayer`, feature `tower`) is taken as it is.

use std::io;

use axum::{
    extract::FromRequestParts,
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use tunnel_proto::HostPattern;

use crate::{
    identity::{Identity, IdentityError, Sender, UNKNOWN},
    listener::{Conn, Listener},
    verifier::Verifier,
};

impl axum::serve::Listener for Listener {
    type Io = Conn;
    type Addr = HostPattern;

    async fn accept(&mut self) -> (Conn, HostPattern) {
        match Self::accept(self).await {
            Ok(connection) => {
                let hostname = connection.hostname().clone();
                (connection, hostname)
            }
            Err(error) => {
                // This cannot fail, and there is nothing more to come.
                tracing::error!(hostname = %self.hostname(), %error, "no more connections");
                std::future::pending().await
            }
        }
    }

    fn local_addr(&self) -> io::Result<HostPattern> {
        Ok(self.hostname().clone())
    }
}

impl<S: Sync> FromRequestParts<S> for Identity {
    type Rejection = IdentityRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, IdentityRejection> {
        match sender(parts).await? {
            Sender::Person(identity) => Ok(identity),
            Sender::Machine(_) => Err(IdentityError::NoPerson.into()),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Sender {
    type Rejection = IdentityRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, IdentityRejection> {
        sender(parts).await
    }
}

async fn sender(parts: &Parts) -> Result<Sender, IdentityRejection> {
    if let Some(known) = parts.extensions.get::<Sender>() {
        return Ok(known.clone());
    }
    let verifier = parts.extensions.get::<Verifier>().cloned().ok_or(IdentityRejection::NoVerifier)?;
    Ok(verifier.sender(&parts.headers).await?)
}

/// Why a handler that takes an [`Identity`] was not called.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityRejection {
    /// The program does not check who sends requests here.
    #[error("no verifier is among the extensions of the request")]
    NoVerifier,
    /// Nobody is known to have sent it.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl IntoResponse for IdentityRejection {
    fn into_response(self) -> Response {
        tracing::warn!(error = %self, "a request without a person was turned away");
        let status = match self {
            Self::NoVerifier => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Identity(error) => error.status(),
        };
        (status, UNKNOWN).into_response()
    }
}
