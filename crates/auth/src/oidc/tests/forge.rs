//! Signing anything.

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
        RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding,
    },
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

pub(super) struct Keys {
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
}

/// What a token is signed by.
#[derive(Clone, Copy)]
pub(super) enum By<'a> {
    Rs256(&'a Keys),
    Rs384(&'a Keys),
    Rs512(&'a Keys),
    Ps256(&'a Keys),
    Es256(&'a Keys),
    EdDsa(&'a Keys),
    Hs256(&'a [u8]),
    Bytes(&'a [u8]),
}

pub(super) fn base64(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

impl By<'_> {
    fn sign(self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let rsa = |keys: &Keys, padding: &'static dyn RsaEncoding| {
            let mut signature = vec![0; keys.rsa.public_modulus_len()];
            keys.rsa.sign(padding, &random, message, &mut signature).unwrap();
            signature
        };
        match self {
            Self::Rs256(keys) => rsa(keys, &RSA_PKCS1_SHA256),
            Self::Rs384(keys) => rsa(keys, &RSA_PKCS1_SHA384),
            Self::Rs512(keys) => rsa(keys, &RSA_PKCS1_SHA512),
            Self::Ps256(keys) => rsa(keys, &RSA_PSS_SHA256),
            Self::Es256(keys) => keys.ec.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::EdDsa(keys) => keys.ed.sign(message).as_ref().to_vec(),
            Self::Hs256(secret) => hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message).as_ref().to_vec(),
            Self::Bytes(bytes) => bytes.to_vec(),
        }
    }
}

/// A token of these very bytes.
pub(super) fn token(header: &str, claims: &str, by: By<'_>) -> String {
    let message = format!("{}.{}", base64(header.as_bytes()), base64(claims.as_bytes()));
    let signature = base64(&by.sign(message.as_bytes()));
    format!("{message}.{signature}")
}

impl Keys {
    pub(super) fn new() -> Self {
        Self {
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
            ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            ed: Ed25519KeyPair::generate().unwrap(),
        }
    }

    /// The public RSA key, PKCS #1.
    pub(super) fn rsa_der(&self) -> &[u8] {
        self.rsa.public_key().as_ref()
    }

    pub(super) fn modulus(&self) -> Vec<u8> {
        self.rsa_der()[9..265].to_vec()
    }

    pub(super) fn rsa_jwk(&self, kid: &str) -> Value {
        json!({"kty": "RSA", "use": "sig", "kid": kid, "n": base64(&self.modulus()), "e": "AQAB"})
    }

    pub(super) fn ec_jwk(&self, kid: &str) -> Value {
        let point = self.ec.public_key().as_ref();
        let (x, y) = (base64(&point[1..33]), base64(&point[33..]));
        json!({"kty": "EC", "alg": "ES256", "crv": "P-256", "kid": kid, "x": x, "y": y})
    }

    pub(super) fn ed_jwk(&self, kid: &str) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": base64(self.ed.public_key().as_ref())})
    }

    /// What is published: a key of each kind, and some that cannot be used.
    pub(super) fn jwks(&self) -> Value {
        let mut enc = self.rsa_jwk("enc");
        enc["use"] = json!("enc");
        let oct = json!({"kty": "oct", "kid": "oct", "k": base64(b"on the wall")});
        let unheard = json!({"kty": "AKP", "kid": 7});
        json!({"keys": [unheard, oct, enc, self.rsa_jwk("rsa"), self.ec_jwk("ec"), self.ed_jwk("ed")]})
    }
}
