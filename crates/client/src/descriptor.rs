//! What is at a hostname: asked there, and believed only when the edge that it names vouches for it.

use tunnel_auth::{AppError, AssertionError, app_issuer, verify_app};
use tunnel_proto::{
    AppId, Hostname, Name, UnixTime,
    access::{APP_PATH, SignedApp},
    dial::{AskError, EdgeAddress},
};

use crate::{carrier::Carrier, error::Error, host::AppHost};

/// The path of an edge's keys, on its login host.
const CERTS_PATH: &str = "/.access/certs";

/// An application, as its edge describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// The hostname.
    pub host: Hostname,
    /// Its id.
    pub id: AppId,
    /// Its name, to show.
    pub name: Name,
    /// The edge: `https://LOGIN-HOST[:port]`.
    pub issuer: String,
    pub(crate) edge: EdgeAddress,
}

/// Asks what is at `host`. `known` is the edge that it must belong to, where one is known; `through` is where every
/// question is dialled, where that was given.
pub(crate) async fn discover(
    carrier: &Carrier,
    host: &AppHost,
    known: Option<&str>,
    through: Option<&EdgeAddress>,
    now: UnixTime,
) -> Result<App, Error> {
    let hostname = host.hostname();
    let at = host.address(through)?;
    let signed: SignedApp =
        carrier.ask(&at, APP_PATH, None::<&()>).await.map_err(|error| nothing(hostname, &at, error))?;
    let doubtful = |reason: String| Error::Descriptor { host: hostname.to_string(), reason };
    let issuer = app_issuer(&signed.descriptor).map_err(|error| doubtful(error.to_string()))?;
    if let Some(known) = known.filter(|known| *known != issuer) {
        return Err(Error::OtherEdge { host: hostname.to_string(), known: known.to_owned(), found: issuer });
    }
    let named = EdgeAddress::parse(&issuer, None).map_err(|error| doubtful(error.to_string()))?;
    let edge = match through {
        Some(through) if through.name() != named.name() => {
            let known = through.url();
            return Err(Error::OtherEdge { host: hostname.to_string(), known, found: issuer });
        }
        Some(through) => EdgeAddress::new(through.target().clone(), named.name().clone()),
        None => named,
    };
    // From the edge that it names, which must prove its name: never from the host that names it.
    let keys: serde_json::Value =
        carrier.ask(&edge, CERTS_PATH, None::<&()>).await.map_err(|error| Error::ask(&edge.to_string(), error))?;
    let claims = verify_app(&signed.descriptor, &keys.to_string(), hostname, now);
    let claims = claims.map_err(|error| match error {
        AppError::Token(AssertionError::Time) => {
            Error::Clock { at: hostname.to_string(), reason: "what its edge says of it now".to_owned() }
        }
        other => doubtful(other.to_string()),
    })?;
    if claims.iss != issuer {
        return Err(doubtful("it names two edges".to_owned()));
    }
    Ok(App { host: claims.hostname, id: claims.aud, name: claims.name, issuer, edge })
}

fn nothing(host: &Hostname, at: &EdgeAddress, error: AskError) -> Error {
    let host = host.to_string();
    match error {
        AskError::Refused(problem) if !matches!(problem.code.as_str(), "too_many" | "internal") => {
            Error::NoApplication { host, reason: problem.message }
        }
        AskError::Status { status } if !status.is_server_error() => {
            Error::NoApplication { host, reason: format!("the answer was HTTP {status}") }
        }
        AskError::Answer { reason } => Error::NoApplication { host, reason },
        other => Error::ask(&at.to_string(), other),
    }
}
