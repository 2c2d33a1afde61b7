//! A public key as origins fetch it (RFC 7517), and what its signatures are.

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey},
};
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

use super::{Algorithm, AssertionError};

/// A coordinate of P-256, in bytes.
const COORDINATE_LEN: usize = 32;
/// A signature of ES256, in bytes.
const ES256_LEN: usize = 2 * COORDINATE_LEN;
/// The shortest modulus of RS256, in bits (RFC 7518 §3.3).
const MODULUS_MIN: usize = 2048;
/// The longest, in bits: checking a signature takes time that grows with it.
const MODULUS_MAX: usize = 4096;
/// The only public exponent, 65537. Small ones have a history, and big ones take time.
const EXPONENT: &[u8] = &[1, 0, 1];
/// What the key is for.
const USAGE: &str = "sig";

/// A public key as origins fetch it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwk {
    kid: String,
    alg: Algorithm,
    #[serde(rename = "use")]
    usage: String,
    #[serde(flatten)]
    material: Material,
}

/// The key itself, by its family (RFC 7518 §6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kty")]
pub(super) enum Material {
    /// A point of an elliptic curve (§6.2).
    #[serde(rename = "EC")]
    Point { crv: String, x: String, y: String },
    /// Modulus and exponent (§6.3).
    #[serde(rename = "RSA")]
    Rsa { n: String, e: String },
}

impl Material {
    /// The point in its uncompressed form (SEC 1 §2.3.3): 4, then the two coordinates.
    pub(super) fn of_point(bytes: &[u8]) -> Option<Self> {
        let (x, y) = match bytes.split_first() {
            Some((4, point)) if point.len() == 2 * COORDINATE_LEN => point.split_at(COORDINATE_LEN),
            _ => return None,
        };
        Some(Self::Point { crv: CURVE.into(), x: BASE64URL_NOPAD.encode(x), y: BASE64URL_NOPAD.encode(y) })
    }

    /// Both numbers big-endian, without leading zeros.
    pub(super) fn of_rsa(modulus: &[u8], exponent: &[u8]) -> Self {
        Self::Rsa { n: BASE64URL_NOPAD.encode(modulus), e: BASE64URL_NOPAD.encode(exponent) }
    }

    fn algorithm(&self) -> Algorithm {
        match self {
            Self::Point { .. } => Algorithm::Es256,
            Self::Rsa { .. } => Algorithm::Rs256,
        }
    }

    /// RFC 7638 §3.2: the required members in the order of their names, without white space.
    fn thumbprint(&self) -> String {
        let canonical = match self {
            Self::Point { crv, x, y } => format!(r#"{{"crv":"{crv}","kty":"EC","x":"{x}","y":"{y}"}}"#),
            Self::Rsa { n, e } => format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#),
        };
        BASE64URL_NOPAD.encode(digest(&SHA256, canonical.as_bytes()).as_ref())
    }

    /// What signatures are checked by; `None` when it is of another curve, too weak, or not written as it should be.
    fn parsed(&self) -> Option<Parsed> {
        match self {
            Self::Point { crv, x, y } => {
                let mut point = vec![4];
                for coordinate in [x, y] {
                    let bytes = BASE64URL_NOPAD.decode(coordinate.as_bytes()).ok()?;
                    if bytes.len() != COORDINATE_LEN {
                        return None;
                    }
                    point.extend_from_slice(&bytes);
                }
                (crv == CURVE).then_some(Parsed::Es256(point))
            }
            Self::Rsa { n, e } => {
                let [n, e] = [n, e].map(|number| BASE64URL_NOPAD.decode(number.as_bytes()).ok());
                let (n, e) = (n?, e?);
                let zeros = usize::try_from(n.first()?.leading_zeros()).ok()?;
                let bits = n.len().checked_mul(8)?.checked_sub(zeros)?;
                // A leading zero is another way of writing the same number; an even one has no two odd factors.
                let well_made = zeros < 8 && n.last()? & 1 == 1;
                let strong = (MODULUS_MIN..=MODULUS_MAX).contains(&bits) && e == EXPONENT;
                (well_made && strong).then_some(Parsed::Rs256 { n, e })
            }
        }
    }
}

const CURVE: &str = "P-256";

/// A key that signatures can be checked by.
enum Parsed {
    Es256(Vec<u8>),
    Rs256 { n: Vec<u8>, e: Vec<u8> },
}

impl Jwk {
    pub(super) fn new(material: Material) -> Self {
        Self { kid: material.thumbprint(), alg: material.algorithm(), usage: USAGE.into(), material }
    }

    /// The id of the key, by which tokens name it.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// How it signs.
    pub const fn algorithm(&self) -> Algorithm {
        self.alg
    }

    /// Whether a signature can be checked by it: for signing, of the family that its algorithm needs, and strong enough.
    pub fn is_usable(&self) -> bool {
        self.parsed().is_some()
    }

    fn parsed(&self) -> Option<Parsed> {
        let suitable = self.usage == USAGE && self.alg == self.material.algorithm();
        self.material.parsed().filter(|_| suitable)
    }

    /// Whether `signature` is that of `message`.
    pub(super) fn check(&self, message: &[u8], signature: &[u8]) -> Result<(), AssertionError> {
        let fits = match self.parsed().ok_or(AssertionError::UnknownKey)? {
            Parsed::Es256(_) if signature.len() != ES256_LEN => return Err(AssertionError::Malformed),
            Parsed::Rs256 { n, .. } if signature.len() != n.len() => return Err(AssertionError::Malformed),
            Parsed::Es256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature),
            Parsed::Rs256 { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
        };
        fits.map_err(|_| AssertionError::Signature)
    }
}
