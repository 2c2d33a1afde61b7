//! What is at a hostname: asked there, and believed only when the edge that it names vouches for it.

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
use tunnel_proto::{
    AppId, Hostname, Name, UnixTime,
    access::{APP_LIFE, APP_PATH, APP_TYPE, AppClaims, SignedApp},
    dial::{AskError, EdgeAddress},
};

use crate::{carrier::Carrier, error::Error, host::AppHost};

/// The path of an edge's keys, on its login host.
const CERTS_PATH: &str = "/.access/certs";
/// By how many seconds two clocks may differ.
const LEEWAY: u64 = 60;
/// The longest descriptor that is looked at, in bytes.
const DESCRIPTOR_MAX: usize = 4096;

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
    let issuer = issuer(&signed.descriptor).ok_or_else(|| doubtful("it is not a signed descriptor".to_owned()))?;
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
    let claims = verify(&signed.descriptor, &keys.to_string(), hostname, now).map_err(doubtful)?;
    if claims.iss != issuer {
        return Err(doubtful("it names two edges".to_owned()));
    }
    Ok(App { host: claims.hostname, id: claims.aud, name: claims.name, issuer, edge })
}

fn nothing(host: &Hostname, at: &EdgeAddress, error: AskError) -> Error {
    let host = host.to_string();
    match error {
        AskError::Refused(problem) => Error::NoApplication { host, reason: problem.message },
        AskError::Status { status } => Error::NoApplication { host, reason: format!("the answer was HTTP {status}") },
        AskError::Answer { reason } => Error::NoApplication { host, reason },
        other => Error::ask(&at.to_string(), other),
    }
}

/// The issuer that a descriptor names, believed by nobody yet.
fn issuer(descriptor: &str) -> Option<String> {
    if descriptor.len() > DESCRIPTOR_MAX {
        return None;
    }
    let payload = descriptor.split('.').nth(1)?;
    let payload = BASE64URL_NOPAD.decode(payload.as_bytes()).ok()?;
    serde_json::from_slice::<AppClaims>(&payload).ok().map(|claims| claims.iss)
}

/// The claims of a descriptor about `hostname`, if a key of the set signed them and they count now.
fn verify(descriptor: &str, jwks_json: &str, hostname: &Hostname, now: UnixTime) -> Result<AppClaims, String> {
    let header = jsonwebtoken::decode_header(descriptor).map_err(|_| "its header cannot be understood".to_owned())?;
    if header.alg != Algorithm::ES256 || header.typ.as_deref() != Some(APP_TYPE) {
        return Err("its header is not that of a descriptor".to_owned());
    }
    let keys: JwkSet =
        serde_json::from_str(jwks_json).map_err(|_| "the edge's keys cannot be understood".to_owned())?;
    let key = header.kid.as_deref().and_then(|kid| keys.find(kid)).ok_or("it is signed by an unknown key")?;
    let key = DecodingKey::from_jwk(key).map_err(|_| "the edge's key cannot be used".to_owned())?;
    let mut rules = Validation::new(Algorithm::ES256);
    // Judged below, by the time that was given.
    (rules.validate_exp, rules.validate_aud) = (false, false);
    rules.required_spec_claims.clear();
    let claims = jsonwebtoken::decode::<AppClaims>(descriptor, &key, &rules);
    let claims = claims.map_err(|_| "its signature does not fit".to_owned())?.claims;
    let longest = claims.iat.0.saturating_add(APP_LIFE);
    if claims.exp.0.saturating_add(LEEWAY) <= now.0
        || claims.iat.0 > now.0.saturating_add(LEEWAY)
        || claims.exp.0 > longest
    {
        return Err("it does not count at this time: check the clock".to_owned());
    }
    if claims.hostname != *hostname {
        return Err(format!("it is about `{}`", claims.hostname));
    }
    Ok(claims)
}
