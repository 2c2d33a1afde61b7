//! The keys of a hostile provider, and signatures by them over bytes that no honest library would sign.

use aws_lc_rs::{
    encoding::AsDer,
    hmac,
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
        RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding,
    },
};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde_json::{Value, json};

/// A key pair of each kind that providers sign with.
pub struct Keys {
    name: String,
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({})", self.name)
    }
}

/// What a token is signed by.
#[derive(Clone, Copy, Debug)]
pub enum By<'a> {
    /// The RSA key, PKCS #1 padding, SHA-256.
    Rs256(&'a Keys),
    /// The same with SHA-384.
    Rs384(&'a Keys),
    /// The same with SHA-512.
    Rs512(&'a Keys),
    /// The RSA key, PSS padding.
    Ps256(&'a Keys),
    /// The P-256 key.
    Es256(&'a Keys),
    /// The Ed25519 key.
    EdDsa(&'a Keys),
    /// A secret that both sides are thought to have.
    Hs256(&'a [u8]),
    /// Nothing: the signature is empty.
    Nobody,
    /// These bytes in the place of a signature.
    Bytes(&'a [u8]),
}

impl By<'_> {
    /// The signature over `message`.
    ///
    /// # Panics
    /// The cryptography failed.
    pub fn sign(self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let rsa = |keys: &Keys, padding: &'static dyn RsaEncoding| {
            let mut signature = vec![0; keys.rsa.public_modulus_len()];
            keys.rsa.sign(padding, &random, message, &mut signature).expect("an RSA signature");
            signature
        };
        match self {
            Self::Rs256(keys) => rsa(keys, &RSA_PKCS1_SHA256),
            Self::Rs384(keys) => rsa(keys, &RSA_PKCS1_SHA384),
            Self::Rs512(keys) => rsa(keys, &RSA_PKCS1_SHA512),
            Self::Ps256(keys) => rsa(keys, &RSA_PSS_SHA256),
            Self::Es256(keys) => keys.ec.sign(&random, message).expect("an ECDSA signature").as_ref().to_vec(),
            Self::EdDsa(keys) => keys.ed.sign(message).as_ref().to_vec(),
            Self::Hs256(secret) => hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message).as_ref().to_vec(),
            Self::Nobody => Vec::new(),
            Self::Bytes(bytes) => bytes.to_vec(),
        }
    }
}

impl Keys {
    /// New keys, whose ids begin with `name`.
    ///
    /// # Panics
    /// The cryptography failed.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).expect("an RSA key"),
            ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a P-256 key"),
            ed: Ed25519KeyPair::generate().expect("an Ed25519 key"),
        }
    }

    /// The id of a key: `kind` is `rsa`, `ec` or `ed`.
    pub fn kid(&self, kind: &str) -> String {
        format!("{}-{kind}", self.name)
    }

    /// The public RSA key as RFC 7517 writes it, without an algorithm, as the big providers publish theirs.
    pub fn rsa_jwk(&self) -> Value {
        json!({"kty": "RSA", "use": "sig", "kid": self.kid("rsa"), "n": BASE64URL_NOPAD.encode(&self.modulus()), "e": "AQAB"})
    }

    /// What is published: the keys, and some that a relying party cannot use and has to pass over.
    pub fn jwks(&self) -> Value {
        let point = self.ec.public_key().as_ref();
        let base64 = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        json!({"keys": [
            {"kty": "AKP", "alg": "ML-DSA-44", "kid": "tomorrow", "pub": base64(&[7; 1312])},
            {"kty": "unheard-of", "kid": 7},
            {"kty": "oct", "kid": self.kid("oct"), "k": base64(OCT)},
            {"kty": "RSA", "use": "enc", "kid": self.kid("enc"), "n": base64(&self.modulus()), "e": "AQAB"},
            self.rsa_jwk(),
            {"kty": "EC", "use": "sig", "alg": "ES256", "crv": "P-256", "kid": self.kid("ec"), "x": base64(&point[1..33]), "y": base64(&point[33..])},
            {"kty": "OKP", "use": "sig", "alg": "EdDSA", "crv": "Ed25519", "kid": self.kid("ed"), "x": base64(self.ed.public_key().as_ref())},
        ]})
    }

    /// The modulus of the RSA key.
    ///
    /// # Panics
    /// The encoding is not what 2048 bits make of it.
    pub fn modulus(&self) -> Vec<u8> {
        // A sequence of the modulus, with a zero before its high bit, and of the exponent 65537.
        let der = self.rsa.public_key().as_ref();
        assert_eq!((der.len(), &der[..9], &der[265..]), (270, &HEAD[..], &[2, 3, 1, 0, 1][..]), "2048 bits");
        der[9..265].to_vec()
    }

    /// The public RSA key as people have it in files, every way: what a confused verifier takes for a shared secret.
    ///
    /// # Panics
    /// The cryptography failed.
    pub fn rsa_public(&self, form: PublicForm) -> Vec<u8> {
        let pkcs1 = self.rsa.public_key().as_ref().to_vec();
        let spki = self.rsa.public_key().as_der().expect("an encoded key").as_ref().to_vec();
        match form {
            PublicForm::SpkiDer => spki,
            PublicForm::SpkiPem => pem("PUBLIC KEY", &spki),
            PublicForm::Pkcs1Der => pkcs1,
            PublicForm::Pkcs1Pem => pem("RSA PUBLIC KEY", &pkcs1),
            PublicForm::Modulus => self.modulus(),
            PublicForm::ModulusText => BASE64URL_NOPAD.encode(&self.modulus()).into_bytes(),
            PublicForm::Jwk => self.rsa_jwk().to_string().into_bytes(),
        }
    }
}

/// How a public key is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "their names are what they are")]
pub enum PublicForm {
    SpkiDer,
    SpkiPem,
    Pkcs1Der,
    Pkcs1Pem,
    Modulus,
    ModulusText,
    Jwk,
}

/// The symmetric key that is published, for everybody to read.
pub(super) const OCT: &[u8] = b"a shared secret that stands on the wall";
const HEAD: [u8; 9] = [0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00];

/// A certificate or key as text.
pub(super) fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    let text = BASE64.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line)).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n")).into_bytes()
}
