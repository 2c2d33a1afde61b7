//! The keys that sign assertions, and the set of public keys that origins check them with (RFC 7517).

use std::fmt;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey},
};
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tunnel_proto::{AppId, UnixTime};

use super::{ASSERTION_LIFE, ASSERTION_MAX, AssertionClaims, AssertionError, LEEWAY};
use crate::secret::SecretBytes;

const SIGNATURE_LEN: usize = 64;
const COORDINATE_LEN: usize = 32;

/// A key that signs assertions with ES256. The algorithm is a property of the key, never of a token.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    public: Jwk,
}

impl SigningKey {
    /// A new key, and its PKCS #8 form for keeping (sealed).
    pub fn generate() -> Result<(Self, SecretBytes), KeyError> {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .map_err(|_| KeyError::Crypto)?;
        let pkcs8 = SecretBytes::new(pkcs8.as_ref().to_vec());
        Ok((Self::from_pkcs8(pkcs8.expose())?, pkcs8))
    }

    /// The key kept as PKCS #8.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).map_err(|_| KeyError::NotAKey)?;
        // SEC 1 §2.3.3: 4, then the two coordinates.
        let (x, y) = match pair.public_key().as_ref().split_first() {
            Some((4, point)) if point.len() == 2 * COORDINATE_LEN => point.split_at(COORDINATE_LEN),
            _ => return Err(KeyError::NotAKey),
        };
        let public = Jwk::new(BASE64URL_NOPAD.encode(x), BASE64URL_NOPAD.encode(y));
        Ok(Self { pair, public })
    }

    /// The id of the key: its RFC 7638 thumbprint.
    pub fn kid(&self) -> &str {
        &self.public.kid
    }

    /// The public half.
    pub fn public(&self) -> Jwk {
        self.public.clone()
    }

    /// The assertion that says `claims`.
    pub fn sign(&self, claims: &AssertionClaims) -> Result<String, KeyError> {
        self.sign_typed(TYP, claims)
    }

    /// The token of the type `typ` that says `claims`.
    pub(super) fn sign_typed(&self, typ: &str, claims: &impl Serialize) -> Result<String, KeyError> {
        let header = Header { alg: ALG.into(), kid: self.public.kid.clone(), typ: typ.into() };
        let header = serde_json::to_vec(&header).map_err(|_| KeyError::Crypto)?;
        self.sign_raw(&header, &serde_json::to_vec(claims).map_err(|_| KeyError::Crypto)?)
    }

    pub(super) fn sign_raw(&self, header: &[u8], body: &[u8]) -> Result<String, KeyError> {
        let mut token = format!("{}.{}", BASE64URL_NOPAD.encode(header), BASE64URL_NOPAD.encode(body));
        let signature = self.pair.sign(&SystemRandom::new(), token.as_bytes()).map_err(|_| KeyError::Crypto)?;
        token.push('.');
        BASE64URL_NOPAD.encode_append(signature.as_ref(), &mut token);
        Ok(token)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.public.kid).finish_non_exhaustive()
    }
}

/// A public key as origins fetch it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwk {
    kid: String,
    kty: String,
    crv: String,
    alg: String,
    #[serde(rename = "use")]
    usage: String,
    x: String,
    y: String,
}

impl Jwk {
    fn new(x: String, y: String) -> Self {
        // RFC 7638 §3.2: the required members in this order, without white space.
        let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let thumbprint = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, canonical.as_bytes());
        Self {
            kid: BASE64URL_NOPAD.encode(thumbprint.as_ref()),
            kty: "EC".into(),
            crv: "P-256".into(),
            alg: ALG.into(),
            usage: "sig".into(),
            x,
            y,
        }
    }

    fn point(&self) -> Option<Vec<u8>> {
        let suitable = self.kty == "EC" && self.crv == "P-256" && self.alg == ALG && self.usage == "sig";
        let mut point = vec![4];
        for coordinate in [&self.x, &self.y] {
            let bytes = BASE64URL_NOPAD.decode(coordinate.as_bytes()).ok()?;
            if bytes.len() != COORDINATE_LEN {
                return None;
            }
            point.extend_from_slice(&bytes);
        }
        suitable.then_some(point)
    }
}

/// The public keys that are valid now: the one that signs, and those that signed what has not ended yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwks {
    keys: Vec<Jwk>,
}

impl Jwks {
    /// The set of these keys.
    pub fn new(keys: impl IntoIterator<Item = Jwk>) -> Self {
        Self { keys: keys.into_iter().collect() }
    }

    /// The set as `/.access/certs` serves it.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings and lists only")
    }

    /// The set as it was fetched from `/.access/certs`. Keys of other kinds make the whole set unreadable.
    pub fn from_json(text: &str) -> Result<Self, KeyError> {
        let set: Self = serde_json::from_str(text).map_err(|_| KeyError::NotAKey)?;
        if set.keys.iter().all(|key| key.point().is_some()) { Ok(set) } else { Err(KeyError::NotAKey) }
    }

    /// Judges a token strictly: ES256 and nothing else, exactly the header that we write, a known key, and then issuer,
    /// audience and times (with [`LEEWAY`]). Nothing of the contents is believed before the signature is.
    pub fn verify(
        &self,
        token: &str,
        iss: &str,
        app: &AppId,
        now: UnixTime,
    ) -> Result<AssertionClaims, AssertionError> {
        let claims: AssertionClaims = self.open(token, TYP)?;
        judge(&claims, iss, app, now)?;
        Ok(claims)
    }

    /// What a token of the type `typ` says, if a key of the set signed it. Neither of these types is accepted as another.
    pub(super) fn open<T: DeserializeOwned>(&self, token: &str, typ: &str) -> Result<T, AssertionError> {
        if token.len() > ASSERTION_MAX {
            return Err(AssertionError::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(AssertionError::Malformed)?;
        let (header, body) = signed.split_once('.').ok_or(AssertionError::Malformed)?;
        let [header, body, signature] = [decode(header)?, decode(body)?, decode(signature)?];
        if signature.len() != SIGNATURE_LEN {
            return Err(AssertionError::Malformed);
        }
        let header: Header = object(&header).ok_or(AssertionError::Header)?;
        if header.alg != ALG || header.typ != typ {
            return Err(AssertionError::Header);
        }
        let key = self.keys.iter().find(|key| key.kid == header.kid).ok_or(AssertionError::UnknownKey)?;
        let point = key.point().ok_or(AssertionError::UnknownKey)?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| AssertionError::Signature)?;
        object(&body).ok_or(AssertionError::Claims)
    }
}

fn judge(claims: &AssertionClaims, iss: &str, app: &AppId, now: UnixTime) -> Result<(), AssertionError> {
    let begun = |at: UnixTime| at.0 <= now.0.saturating_add(LEEWAY);
    let lasting = claims.exp.0 > claims.iat.0 && claims.exp.since(claims.iat).as_secs() <= ASSERTION_LIFE;
    if claims.iss != iss {
        Err(AssertionError::Issuer)
    } else if !claims.aud.contains(app) {
        Err(AssertionError::Audience)
    } else if !begun(claims.iat) || !begun(claims.nbf) || !lasting || claims.exp.0.saturating_add(LEEWAY) <= now.0 {
        Err(AssertionError::Time)
    } else {
        Ok(())
    }
}

pub(super) fn decode(part: &str) -> Result<Vec<u8>, AssertionError> {
    match BASE64URL_NOPAD.decode(part.as_bytes()) {
        Ok(bytes) if !bytes.is_empty() => Ok(bytes),
        _ => Err(AssertionError::Malformed),
    }
}

/// A JSON object; serde would read a struct from a list, too.
pub(super) fn object<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    if json.first() == Some(&b'{') { serde_json::from_slice(json).ok() } else { None }
}

/// Exactly what we write: a second or unknown member (`crit`, `jku`, `zip`, …) makes a header that is not ours.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    kid: String,
    typ: String,
}

const ALG: &str = "ES256";
const TYP: &str = "JWT";

/// Why a key could not be made or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The crypto provider refused; this is not the caller's fault.
    #[error("the cryptographic provider refused")]
    Crypto,
    /// Not a P-256 key in the expected form.
    #[error("not an ES256 key")]
    NotAKey,
}
