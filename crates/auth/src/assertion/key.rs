//! The keys that sign assertions.

use std::{fmt, str::FromStr};

use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der},
    rand::SystemRandom,
    rsa::{self, KeySize},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256},
};
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

use super::{AssertionClaims, Jwk, ServiceClaims, jwk::Material};
use crate::secret::SecretBytes;

/// How a key signs (RFC 7518 §3.1). It is a property of the key, never of a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    /// ECDSA with P-256 and SHA-256 (§3.4): short, and quick to make.
    #[default]
    #[serde(rename = "ES256")]
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (§3.3), of 2048 bits: what verifiers for other products often know alone.
    #[serde(rename = "RS256")]
    Rs256,
}

impl Algorithm {
    /// All that there are.
    pub const ALL: [Self; 2] = [Self::Es256, Self::Rs256];

    /// Its name in the header of a token.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = KeyError;

    /// Reads exactly the name that is written; every other one is an algorithm that counts for nothing.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == text).ok_or(KeyError::NotAKey)
    }
}

/// A key that signs assertions.
pub struct SigningKey {
    pair: Pair,
    public: Jwk,
}

enum Pair {
    Es256(EcdsaKeyPair),
    Rs256(Box<rsa::KeyPair>),
}

impl SigningKey {
    /// A new key, and its PKCS #8 form for keeping (sealed). One for RS256 takes a tenth of a second of a processor, or
    /// several.
    pub fn generate(algorithm: Algorithm) -> Result<(Self, SecretBytes), KeyError> {
        let crypto = |_| KeyError::Crypto;
        let pkcs8 = match algorithm {
            Algorithm::Es256 => {
                let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
                pkcs8.map_err(crypto)?.as_ref().to_vec()
            }
            Algorithm::Rs256 => {
                let pair = rsa::KeyPair::generate(KeySize::Rsa2048).map_err(crypto)?;
                let pkcs8: Pkcs8V1Der<'_> = pair.as_der().map_err(crypto)?;
                pkcs8.as_ref().to_vec()
            }
        };
        let pkcs8 = SecretBytes::new(pkcs8);
        Ok((Self::from_pkcs8(algorithm, pkcs8.expose())?, pkcs8))
    }

    /// The key kept as PKCS #8.
    pub fn from_pkcs8(algorithm: Algorithm, pkcs8: &[u8]) -> Result<Self, KeyError> {
        let not_a_key = |_| KeyError::NotAKey;
        let (pair, material) = match algorithm {
            Algorithm::Es256 => {
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).map_err(not_a_key)?;
                let material = Material::of_point(pair.public_key().as_ref()).ok_or(KeyError::NotAKey)?;
                (Pair::Es256(pair), material)
            }
            Algorithm::Rs256 => {
                let pair = rsa::KeyPair::from_pkcs8(pkcs8).map_err(not_a_key)?;
                let public = pair.public_key();
                let [modulus, exponent] =
                    [public.modulus(), public.exponent()].map(|number| number.big_endian_without_leading_zero());
                let material = Material::of_rsa(modulus, exponent);
                (Pair::Rs256(Box::new(pair)), material)
            }
        };
        let public = Jwk::new(material);
        // What nobody would verify by is not signed with.
        if public.is_usable() { Ok(Self { pair, public }) } else { Err(KeyError::NotAKey) }
    }

    /// The id of the key: its RFC 7638 thumbprint.
    pub fn kid(&self) -> &str {
        self.public.kid()
    }

    /// How it signs.
    pub const fn algorithm(&self) -> Algorithm {
        match self.pair {
            Pair::Es256(_) => Algorithm::Es256,
            Pair::Rs256(_) => Algorithm::Rs256,
        }
    }

    /// The public half.
    pub fn public(&self) -> Jwk {
        self.public.clone()
    }

    /// The assertion that says `claims`.
    pub fn sign(&self, claims: &AssertionClaims) -> Result<String, KeyError> {
        self.sign_typed(TYP, claims)
    }

    /// The assertion that says `claims` about a machine.
    pub fn sign_service(&self, claims: &ServiceClaims) -> Result<String, KeyError> {
        self.sign_typed(TYP, claims)
    }

    /// The token of the type `typ` that says `claims`.
    pub(super) fn sign_typed(&self, typ: &str, claims: &impl Serialize) -> Result<String, KeyError> {
        let header = Header { alg: self.algorithm().as_str().into(), kid: self.kid().to_owned(), typ: typ.into() };
        let header = serde_json::to_vec(&header).map_err(|_| KeyError::Crypto)?;
        self.sign_raw(&header, &serde_json::to_vec(claims).map_err(|_| KeyError::Crypto)?)
    }

    pub(super) fn sign_raw(&self, header: &[u8], body: &[u8]) -> Result<String, KeyError> {
        let mut token = format!("{}.{}", BASE64URL_NOPAD.encode(header), BASE64URL_NOPAD.encode(body));
        let signature = self.pair.sign(token.as_bytes())?;
        token.push('.');
        BASE64URL_NOPAD.encode_append(&signature, &mut token);
        Ok(token)
    }
}

impl Pair {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let random = SystemRandom::new();
        match self {
            Self::Es256(pair) => {
                pair.sign(&random, message).map(|signature| signature.as_ref().to_vec()).map_err(|_| KeyError::Crypto)
            }
            Self::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let signed = pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature);
                signed.map(|()| signature).map_err(|_| KeyError::Crypto)
            }
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid()).finish_non_exhaustive()
    }
}

/// Exactly what we write: a second or unknown member (`crit`, `jku`, `zip`, …) makes a header that is not ours.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) alg: String,
    pub(super) kid: String,
    pub(super) typ: String,
}

/// The type of assertions.
pub(super) const TYP: &str = "JWT";

/// Why a key could not be made or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The crypto provider refused; this is not the caller's fault.
    #[error("the cryptographic provider refused")]
    Crypto,
    /// Not a key of the algorithm in the expected form, or one that is too weak.
    #[error("not a key for assertions")]
    NotAKey,
}
