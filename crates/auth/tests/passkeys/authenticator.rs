//! A browser and an authenticator in software, which can be told to do wrong.

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair},
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

/// An authenticator with one passkey, and the browser that it is plugged into.
pub(crate) struct Authenticator {
    /// The origin that the browser is at.
    pub(crate) origin: String,
    /// The relying party that the browser passes on.
    pub(crate) party: String,
    /// How often it was used; 0 when it does not count.
    pub(crate) counter: u32,
    /// Whether it makes sure of its user.
    pub(crate) verifies: bool,
    /// Whether its passkey may leave it.
    pub(crate) synced: bool,
    /// Whether it keeps the passkey where it finds it by itself.
    pub(crate) discoverable: bool,
    /// Whether what it signs is damaged on the way.
    pub(crate) bogus: bool,
    /// Whom the passkey is for, once there is one.
    pub(crate) user: Vec<u8>,
    id: Vec<u8>,
    key: EcdsaKeyPair,
}

impl Authenticator {
    /// One that does everything right at this origin.
    pub(crate) fn new(origin: &str, party: &str) -> Self {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new()).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref()).unwrap();
        Self {
            origin: origin.to_owned(),
            party: party.to_owned(),
            counter: 1,
            verifies: true,
            synced: false,
            discoverable: true,
            bogus: false,
            user: Vec::new(),
            id: digest(&SHA256, key.public_key().as_ref()).as_ref()[..20].to_vec(),
            key,
        }
    }

    /// What `navigator.credentials.create` gives for these options.
    pub(crate) fn create(&mut self, options: &Value) -> Value {
        self.user = bytes(&options["user"]["id"]);
        let client = self.client("webauthn.create", options);
        let length = u16::try_from(self.id.len()).unwrap().to_be_bytes();
        let attested = [&[0; 16][..], &length, &self.id, &cose(self.key.public_key().as_ref())].concat();
        let data = [self.data(0x40), attested].concat();
        // {"fmt": "none", "attStmt": {}, "authData": data}
        let attestation = [
            &[0xa3][..],
            &text("fmt"),
            &text("none"),
            &text("attStmt"),
            &[0xa0],
            &text("authData"),
            &[0x59],
            &u16::try_from(data.len()).unwrap().to_be_bytes(),
            &data,
        ];
        json!({
            "id": encode(&self.id),
            "rawId": encode(&self.id),
            "type": "public-key",
            "response": {
                "attestationObject": encode(&attestation.concat()),
                "clientDataJSON": encode(&client),
                "transports": ["internal"],
            },
            "clientExtensionResults": {"credProps": {"rk": self.discoverable}},
        })
    }

    /// What `navigator.credentials.get` gives for these options.
    pub(crate) fn get(&mut self, options: &Value) -> Value {
        self.counter += u32::from(self.counter > 0);
        let client = self.client("webauthn.get", options);
        let data = self.data(0);
        let signed = [&data[..], digest(&SHA256, &client).as_ref()].concat();
        let mut signature = self.key.sign(&SystemRandom::new(), &signed).unwrap().as_ref().to_vec();
        if self.bogus {
            *signature.last_mut().unwrap() ^= 1;
        }
        json!({
            "id": encode(&self.id),
            "rawId": encode(&self.id),
            "type": "public-key",
            "response": {
                "authenticatorData": encode(&data),
                "clientDataJSON": encode(&client),
                "signature": encode(&signature),
                "userHandle": encode(&self.user),
            },
            "clientExtensionResults": {},
        })
    }

    fn client(&self, kind: &str, options: &Value) -> Vec<u8> {
        let data =
            json!({"type": kind, "challenge": options["challenge"], "origin": self.origin, "crossOrigin": false});
        data.to_string().into_bytes()
    }

    fn data(&self, more: u8) -> Vec<u8> {
        let flags = 0x01 | more | if self.verifies { 0x04 } else { 0 } | if self.synced { 0x18 } else { 0 };
        [digest(&SHA256, self.party.as_bytes()).as_ref(), &[flags], &self.counter.to_be_bytes()].concat()
    }
}

/// A P-256 key (`04 ‖ x ‖ y`) as COSE writes it: `{1: 2, 3: -7, -1: 1, -2: x, -3: y}`.
fn cose(key: &[u8]) -> Vec<u8> {
    let head = [0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20];
    [&head[..], &key[1..33], &[0x22, 0x58, 0x20], &key[33..]].concat()
}

/// A short text in CBOR.
fn text(text: &str) -> Vec<u8> {
    [&[0x60 | u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

fn encode(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

fn bytes(value: &Value) -> Vec<u8> {
    BASE64URL_NOPAD.decode(value.as_str().unwrap().as_bytes()).unwrap()
}
