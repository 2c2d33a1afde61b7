//! A provider's keys (RFC 7517), each for one algorithm or one family of them.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{DecodingKey, crypto::aws_lc};
use serde_json::{Map, Value};

use super::{JsonError, json};

/// The most keys of one provider.
pub const KEYS_MAX: usize = 100;
/// The longest name of a key, in bytes.
const KID_MAX: usize = 512;
/// The sizes of RSA keys, in bits: smaller ones are broken, larger ones cost too much.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// The longest public exponent, in bytes.
const EXPONENT_MAX: usize = 8;
/// How long a coordinate of P-256, and a key of Ed25519, is.
const POINT: usize = 32;

/// The algorithms that a token may be signed by. There are no others, whatever a provider offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA, PKCS #1 v1.5, SHA-256.
    Rs256,
    /// RSA-PSS, SHA-256.
    Ps256,
    /// ECDSA on P-256, SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    const ALL: [Self; 4] = [Self::Rs256, Self::Ps256, Self::Es256, Self::EdDsa];

    /// The algorithm of exactly this name (RFC 7518 §3.1, RFC 8037).
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    const fn theirs(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Ps256 => jsonwebtoken::Algorithm::PS256,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

/// The keys of a provider that can be used: those for signing by one of the [`Algorithm`]s, of sufficient size.
#[derive(Clone, Debug)]
pub struct KeySet(Vec<Key>);

#[derive(Clone)]
struct Key {
    kid: Option<String>,
    /// What it may be used for; fixed here, not by the token.
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("kid", &self.kid).field("algorithms", &self.algorithms).finish_non_exhaustive()
    }
}

/// Why what a provider publishes is no set of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// It is not an object.
    #[error("the provider's keys are {0}")]
    Json(#[from] JsonError),
    /// It has no list of keys.
    #[error("the provider's keys are no list")]
    NoList,
    /// There are more than anybody needs.
    #[error("the provider publishes more than {KEYS_MAX} keys")]
    TooMany,
    /// None can be used.
    #[error("none of the provider's keys is for signing by RS256, PS256, ES256 or EdDSA and large enough")]
    NoneUsable,
}

/// Which key a token means.
pub(super) enum Found<'a> {
    One(Signer<'a>),
    /// It names a key that is not here; there may be new ones.
    Unknown,
    /// The key is for another algorithm.
    OtherAlgorithm,
    /// More than one fits.
    Ambiguous,
}

/// A key, for one algorithm.
pub(super) struct Signer<'a> {
    key: &'a Key,
    algorithm: Algorithm,
}

impl KeySet {
    /// Reads what a provider publishes. Keys that cannot be used are passed over.
    pub fn read(bytes: &[u8]) -> Result<Self, KeySetError> {
        let document = json::object(bytes)?;
        let keys = document.get("keys").and_then(Value::as_array).ok_or(KeySetError::NoList)?;
        if keys.len() > KEYS_MAX {
            return Err(KeySetError::TooMany);
        }
        let usable: Vec<_> = keys.iter().filter_map(Value::as_object).filter_map(key).collect();
        if usable.is_empty() { Err(KeySetError::NoneUsable) } else { Ok(Self(usable)) }
    }

    /// The key that a token means: the one of its name, or the only one for its algorithm when it gives no name.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Found<'_> {
        let named = |key: &&Key| kid.is_none_or(|kid| key.kid.as_deref() == Some(kid));
        if !self.0.iter().any(|key| named(&key)) {
            return Found::Unknown;
        }
        let mut fitting = self.0.iter().filter(named).filter(|key| key.algorithms.contains(&algorithm));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Found::One(Signer { key, algorithm }),
            (None, _) => Found::OtherAlgorithm,
            (Some(_), Some(_)) => Found::Ambiguous,
        }
    }
}

impl Signer<'_> {
    /// Whether this key signed the message.
    pub(super) fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        // Not the process's default, which somebody else could have chosen.
        let verifier = (aws_lc::DEFAULT_PROVIDER.verifier_factory)(&self.algorithm.theirs(), &self.key.key);
        verifier.is_ok_and(|verifier| verifier.verify(message, &signature.to_vec()).is_ok())
    }
}

/// A key, if it can be used.
fn key(jwk: &Map<String, Value>) -> Option<Key> {
    let text = |name: &str| jwk.get(name).map(|value| value.as_str());
    // A member that is there and no text is nothing to go by: `?` on the inner option.
    let kid = text("kid").map_or(Some(None), |kid| kid.map(|kid| Some(kid.to_owned())))?;
    if kid.as_ref().is_some_and(|kid| kid.len() > KID_MAX) {
        return None;
    }
    if text("use").is_some_and(|purpose| purpose != Some("sig")) {
        return None;
    }
    if let Some(operations) = jwk.get("key_ops") {
        operations.as_array()?.iter().find(|operation| operation.as_str() == Some("verify"))?;
    }
    let bytes = |name: &str| BASE64URL_NOPAD.decode(text(name)??.as_bytes()).ok();
    let point = |name: &str| bytes(name).filter(|bytes| bytes.len() == POINT);
    let (family, key): (&[Algorithm], _) = match (text("kty")??, text("crv").flatten()) {
        ("RSA", _) => {
            let (n, e) = (bytes("n")?, bytes("e")?);
            let sound = RSA_BITS.contains(&bits(&n)) && is_exponent(&e);
            let key = DecodingKey::from_rsa_raw_components(&n, &e);
            (&[Algorithm::Rs256, Algorithm::Ps256], sound.then_some(key)?)
        }
        ("EC", Some("P-256")) => {
            let uncompressed = [&[4], point("x")?.as_slice(), point("y")?.as_slice()].concat();
            (&[Algorithm::Es256], DecodingKey::from_ec_der(&uncompressed))
        }
        ("OKP", Some("Ed25519")) => (&[Algorithm::EdDsa], DecodingKey::from_ed_der(&point("x")?)),
        _ => return None,
    };
    let algorithms = match text("alg") {
        None => family.to_vec(),
        Some(name) => vec![Algorithm::parse(name?).filter(|algorithm| family.contains(algorithm))?],
    };
    Some(Key { kid, algorithms, key })
}

/// How many bits a number has.
fn bits(number: &[u8]) -> usize {
    let mut significant = number.iter().skip_while(|byte| **byte == 0);
    let first = significant.next().map_or(0, |byte| 8usize.saturating_sub(byte.leading_zeros() as usize));
    significant.count().saturating_mul(8).saturating_add(first)
}

/// Odd, at least 3, and short.
fn is_exponent(number: &[u8]) -> bool {
    let odd = number.last().is_some_and(|last| last & 1 == 1);
    odd && number.len() <= EXPONENT_MAX && bits(number) >= 2
}
