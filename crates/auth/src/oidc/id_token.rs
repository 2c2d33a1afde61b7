//! ID tokens: a statement of the provider's about a person, for this client and this login (OpenID Connect Core §3.1.3.7,
//! RFC 7515, RFC 8725).

use aws_lc_rs::digest::{self, digest};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};
use tunnel_proto::UnixTime;

use super::{
    JsonError, json,
    keys::{Algorithm, Found, KeySet},
};
use crate::secret::same;

/// The longest token that is looked at, in bytes.
pub const TOKEN_MAX: usize = 64 * 1024;
/// How far the provider's clock may be from ours, in seconds.
pub const LEEWAY: u64 = 60;
/// How long ago a token may have been made: it comes straight from the provider. Generous, for clocks that are wrong.
const AGE_MAX: u64 = 24 * 3600;
/// The latest end of any token: 9999. What lies beyond is no time.
const TIME_MAX: u64 = 253_402_300_800;
/// The longest subject (§2), in bytes.
const SUBJECT_MAX: usize = 255;
/// The most audiences that are looked at.
const AUDIENCES_MAX: usize = 32;

/// What a token has to be about.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The issuer, exactly.
    pub issuer: &'a str,
    /// The client that it is for.
    pub client_id: &'a str,
    /// The nonce of the login.
    pub nonce: Nonce<'a>,
    /// The access token that came with it.
    pub access_token: Option<&'a str>,
    /// Since when the person must have authenticated at the provider; `None` where any time will do.
    pub authenticated_since: Option<UnixTime>,
    /// Now.
    pub now: UnixTime,
}

/// The nonce that a token has to bring back.
#[derive(Clone, Copy, Debug)]
pub enum Nonce<'a> {
    /// This one: the token is the answer to a login.
    Of(&'a str),
    /// This one or none: the token came by a refresh of that login (§12.2).
    IfAny(&'a str),
}

impl Nonce<'_> {
    fn is_met_by(self, found: Option<&Value>) -> bool {
        match (self, found) {
            (Self::IfAny(_), None) => true,
            (Self::Of(wanted) | Self::IfAny(wanted), Some(Value::String(found))) => {
                same(found.as_bytes(), wanted.as_bytes())
            }
            (Self::Of(_) | Self::IfAny(_), _) => false,
        }
    }
}

/// The claims of a token that was verified.
#[derive(Clone, Debug, PartialEq)]
pub struct Claims {
    subject: String,
    all: Map<String, Value>,
}

impl Claims {
    /// What the issuer calls the person: 1 to 255 visible ASCII characters.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// A claim.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.all.get(name)
    }

    /// Claims as a test has them.
    #[cfg(test)]
    pub(super) fn of(all: Map<String, Value>) -> Self {
        Self { subject: "somebody".to_owned(), all }
    }
}

/// Why a token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is longer than any sensible one.
    #[error("the ID token is longer than {TOKEN_MAX} bytes")]
    Size,
    /// It is not three parts of unpadded base64url.
    #[error("the ID token is not three parts of base64url")]
    Form,
    /// Its header is no object, or has a member that changes what the rest means.
    #[error("the header of the ID token cannot be understood")]
    Header,
    /// It is another kind of token.
    #[error("the header of the ID token names another type of token")]
    Type,
    /// Its algorithm is none of those that count, or not that of the key.
    #[error("the ID token is signed by an algorithm that does not count here")]
    Algorithm,
    /// Its key is not published, as far as is known.
    #[error("the ID token is signed by a key that the provider does not publish")]
    UnknownKey,
    /// More than one key could be meant.
    #[error("the ID token does not say by which of several keys it is signed")]
    AmbiguousKey,
    /// The signature is not the key's.
    #[error("the signature of the ID token is wrong")]
    Signature,
    /// The claims are no object.
    #[error("the claims of the ID token are {0}")]
    Claims(#[from] JsonError),
    /// It is another issuer's.
    #[error("the ID token is from another issuer")]
    Issuer,
    /// It is for another client.
    #[error("the ID token is for another client (`aud`)")]
    Audience,
    /// It was given to another client.
    #[error("the ID token was given to another client (`azp`)")]
    AuthorizedParty,
    /// It has ended, or has no end.
    #[error("the ID token has expired, or is valid without end")]
    Expired,
    /// It is from the future, from long ago, or from no time at all.
    #[error("the ID token is not from now (is a clock wrong?)")]
    Time,
    /// The person has not authenticated again, or it is not said that they have.
    #[error("the ID token does not say that the person has just authenticated (`auth_time`)")]
    NotRecent,
    /// It is the answer to another login.
    #[error("the ID token belongs to another login (`nonce`)")]
    Nonce,
    /// It is about nobody.
    #[error("the ID token names nobody (`sub`)")]
    Subject,
    /// It came with another access token.
    #[error("the ID token belongs to another access token (`at_hash`)")]
    AccessToken,
}

impl TokenError {
    /// Whether the provider's keys may have changed since they were read.
    pub fn may_be_new_key(self) -> bool {
        self == Self::UnknownKey
    }

    /// Whether the provider speaks of somebody or something else than it was asked about: no trouble that passes.
    pub fn is_about_another(self) -> bool {
        matches!(self, Self::Issuer | Self::Audience | Self::AuthorizedParty | Self::Nonce | Self::Subject)
    }
}

/// The claims of `token`, if it is the provider's statement, for this client, about this login, and from now.
pub fn verify(token: &str, keys: &KeySet, expected: &Expected<'_>) -> Result<Claims, TokenError> {
    let (all, algorithm) = signed(token, keys)?;
    judge(&all, algorithm, expected)?;
    let subject = all.get("sub").and_then(Value::as_str).filter(|sub| is_subject(sub)).ok_or(TokenError::Subject)?;
    Ok(Claims { subject: subject.to_owned(), all })
}

/// What a token says, if one of the keys signed it, and how. Whether it is about what it should be is not judged.
pub(super) fn signed(token: &str, keys: &KeySet) -> Result<(Map<String, Value>, Algorithm), TokenError> {
    if token.len() > TOKEN_MAX {
        return Err(TokenError::Size);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Form)?;
    let (header, claims) = message.split_once('.').ok_or(TokenError::Form)?;
    let decode = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| TokenError::Form);
    let (header, claims, signature) = (decode(header)?, decode(claims)?, decode(signature)?);
    let (kid, algorithm) = read_header(&header)?;
    let signer = match keys.find(kid.as_deref(), algorithm) {
        Found::One(signer) => signer,
        Found::Unknown => return Err(TokenError::UnknownKey),
        Found::OtherAlgorithm => return Err(TokenError::Algorithm),
        Found::Ambiguous => return Err(TokenError::AmbiguousKey),
    };
    if !signer.signed(message.as_bytes(), &signature) {
        // Who does not name its keys may have changed the only one.
        return Err(if kid.is_none() { TokenError::UnknownKey } else { TokenError::Signature });
    }
    Ok((json::object(&claims)?, algorithm))
}

/// The key's name and the algorithm. Members that bring a key along are not looked at; those that change the meaning of
/// the rest are refused.
fn read_header(bytes: &[u8]) -> Result<(Option<String>, Algorithm), TokenError> {
    let header = json::object(bytes).map_err(|_| TokenError::Header)?;
    if ["crit", "zip", "b64", "enc"].iter().any(|name| header.contains_key(*name)) {
        return Err(TokenError::Header);
    }
    match header.get("typ") {
        None => {}
        Some(Value::String(kind)) if kind.eq_ignore_ascii_case("JWT") => {}
        Some(_) => return Err(TokenError::Type),
    }
    let algorithm = header.get("alg").and_then(Value::as_str).and_then(Algorithm::parse);
    let algorithm = algorithm.ok_or(TokenError::Algorithm)?;
    match header.get("kid") {
        None => Ok((None, algorithm)),
        Some(Value::String(kid)) => Ok((Some(kid.clone()), algorithm)),
        Some(_) => Err(TokenError::Header),
    }
}

fn judge(claims: &Map<String, Value>, algorithm: Algorithm, expected: &Expected<'_>) -> Result<(), TokenError> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    if text("iss") != Some(expected.issuer) {
        return Err(TokenError::Issuer);
    }
    let several = audience(claims.get("aud"), expected.client_id)?;
    match claims.get("azp") {
        None if several => return Err(TokenError::AuthorizedParty),
        None => {}
        Some(party) if party.as_str() == Some(expected.client_id) => {}
        Some(_) => return Err(TokenError::AuthorizedParty),
    }
    times(claims, expected.now)?;
    recent(claims, expected)?;
    if !expected.nonce.is_met_by(claims.get("nonce")) {
        return Err(TokenError::Nonce);
    }
    match (claims.get("at_hash"), expected.access_token) {
        (None, _) => Ok(()),
        (Some(Value::String(hash)), Some(token)) if *hash == half_hash(algorithm, token) => Ok(()),
        (Some(_), _) => Err(TokenError::AccessToken),
    }
}

/// Whether there are several audiences, one of which is the client.
fn audience(audience: Option<&Value>, client_id: &str) -> Result<bool, TokenError> {
    match audience {
        Some(Value::String(one)) if one == client_id => Ok(false),
        Some(Value::Array(list)) if list.len() <= AUDIENCES_MAX && list.iter().all(Value::is_string) => {
            let ours = list.iter().any(|one| one.as_str() == Some(client_id));
            if ours { Ok(list.len() > 1) } else { Err(TokenError::Audience) }
        }
        _ => Err(TokenError::Audience),
    }
}

/// Times are whole seconds: a fraction is no reason to let a token live longer.
fn times(claims: &Map<String, Value>, now: UnixTime) -> Result<(), TokenError> {
    let time = |name: &str| claims.get(name).map(|value| value.as_u64().filter(|time| *time < TIME_MAX));
    let (earliest, latest) = (now.0.saturating_sub(LEEWAY), now.0.saturating_add(LEEWAY));
    let expires = time("exp").flatten().ok_or(TokenError::Expired)?;
    if expires <= earliest {
        return Err(TokenError::Expired);
    }
    let issued = time("iat").flatten().ok_or(TokenError::Time)?;
    if issued > latest || issued < now.0.saturating_sub(AGE_MAX) || expires <= issued {
        return Err(TokenError::Time);
    }
    match time("nbf") {
        None => Ok(()),
        Some(Some(from)) if from <= latest => Ok(()),
        Some(_) => Err(TokenError::Time),
    }
}

/// Whether the person authenticated when that was asked for (§3.1.2.1, `max_age`). Without a word of it they did not.
fn recent(claims: &Map<String, Value>, expected: &Expected<'_>) -> Result<(), TokenError> {
    let Some(since) = expected.authenticated_since else { return Ok(()) };
    let earliest = since.0.saturating_sub(LEEWAY);
    let latest = expected.now.0.saturating_add(LEEWAY);
    match claims.get("auth_time").and_then(Value::as_u64) {
        Some(at) if (earliest..=latest).contains(&at) => Ok(()),
        _ => Err(TokenError::NotRecent),
    }
}

/// The left half of the hash that goes with the algorithm (§3.1.3.6).
fn half_hash(algorithm: Algorithm, token: &str) -> String {
    let hash = match algorithm {
        Algorithm::Rs256 | Algorithm::Ps256 | Algorithm::Es256 => digest(&digest::SHA256, token.as_bytes()),
        Algorithm::EdDsa => digest(&digest::SHA512, token.as_bytes()),
    };
    let hash = hash.as_ref();
    BASE64URL_NOPAD.encode(hash.get(..hash.len() / 2).unwrap_or_default())
}

/// Whether this can be somebody: 1 to 255 visible ASCII characters and spaces.
pub(super) fn is_subject(text: &str) -> bool {
    (1..=SUBJECT_MAX).contains(&text.len()) && text.bytes().all(|b| matches!(b, 0x20..=0x7e))
}
