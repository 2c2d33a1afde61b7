//! Making tokens, good ones and others, out of any bytes.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value, json};

use super::{By, Keys};

/// What a forger knows while a relying party waits for its token.
#[derive(Clone, Debug)]
pub struct Forge {
    /// The provider's keys, all of which are published.
    pub keys: Arc<Keys>,
    /// Keys that nobody published, except at [`Forge::attacker`].
    pub stolen: Arc<Keys>,
    /// Another provider that the relying party trusts: its issuer and its keys.
    pub other: (String, Arc<Keys>),
    /// The address below which the attacker's own keys are served.
    pub attacker: String,
    /// The provider's issuer.
    pub issuer: String,
    /// The relying party's id and secret.
    pub client: (String, String),
    /// What a good token says.
    pub claims: Map<String, Value>,
    /// The nonce of another login.
    pub other_nonce: String,
    /// The access token that is given beside the ID token.
    pub access_token: String,
}

impl Forge {
    /// A good token.
    pub fn good(&self) -> String {
        self.signed(&self.header("RS256", "rsa"), &Value::Object(self.claims.clone()), By::Rs256(&self.keys))
    }

    /// The header of a token that one of the provider's keys signs.
    pub fn header(&self, alg: &str, kind: &str) -> Value {
        json!({"alg": alg, "kid": self.keys.kid(kind), "typ": "JWT"})
    }

    /// A token in due form.
    pub fn signed(&self, header: &Value, claims: &Value, by: By<'_>) -> String {
        self.raw(&header.to_string(), claims.to_string().as_bytes(), by)
    }

    /// A token of these very bytes.
    pub fn raw(&self, header: &str, claims: &[u8], by: By<'_>) -> String {
        let message = format!("{}.{}", base64(header.as_bytes()), base64(claims));
        let signature = base64(&by.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }

    /// A well signed token about other claims.
    pub fn saying(&self, change: impl FnOnce(&mut Map<String, Value>)) -> String {
        let mut claims = self.claims.clone();
        change(&mut claims);
        self.signed(&self.header("RS256", "rsa"), &Value::Object(claims), By::Rs256(&self.keys))
    }

    /// A well signed token in which one claim is another.
    pub fn claiming(&self, name: &str, value: Value) -> String {
        self.saying(|claims| {
            claims.insert(name.into(), value);
        })
    }

    /// A well signed token without a claim.
    pub fn without(&self, name: &str) -> String {
        self.saying(|claims| {
            claims.remove(name).expect("a good token has it");
        })
    }

    /// A well signed token under another header.
    pub fn headed(&self, change: impl FnOnce(&mut Map<String, Value>)) -> String {
        self.headed_by(By::Rs256(&self.keys), change)
    }

    /// A token with the good claims, and a header and signature of choice.
    pub fn headed_by(&self, by: By<'_>, change: impl FnOnce(&mut Map<String, Value>)) -> String {
        let mut header = self.header("RS256", "rsa");
        change(header.as_object_mut().expect("an object"));
        self.signed(&header, &Value::Object(self.claims.clone()), by)
    }

    /// A well signed token whose claims have one name twice; `before` or after the good value.
    pub fn twice(&self, name: &str, value: &Value, before: bool) -> String {
        let text = doubled(&Value::Object(self.claims.clone()), name, value, before);
        self.raw(&self.header("RS256", "rsa").to_string(), text.as_bytes(), By::Rs256(&self.keys))
    }

    /// A token whose header has one name twice.
    pub fn header_twice(&self, name: &str, value: &Value, before: bool) -> String {
        let text = doubled(&self.header("RS256", "rsa"), name, value, before);
        let claims = Value::Object(self.claims.clone()).to_string();
        self.raw(&text, claims.as_bytes(), By::Rs256(&self.keys))
    }

    /// A well signed token whose claims are the given JSON text in the place of `name`'s value.
    pub fn literally(&self, name: &str, json: &str) -> String {
        let mut claims = self.claims.clone();
        claims.insert(name.into(), Value::String(MARK.into()));
        let text = Value::Object(claims).to_string().replace(&format!("\"{MARK}\""), json);
        self.raw(&self.header("RS256", "rsa").to_string(), text.as_bytes(), By::Rs256(&self.keys))
    }

    /// The three parts of the good token.
    pub fn parts(&self) -> [String; 3] {
        let good = self.good();
        let parts: Vec<_> = good.split('.').map(str::to_owned).collect();
        parts.try_into().expect("three parts")
    }

    /// The `at_hash` that belongs to the access token under an algorithm with SHA-256.
    pub fn at_hash(&self) -> String {
        base64(&digest(&SHA256, self.access_token.as_bytes()).as_ref()[..16])
    }
}

const MARK: &str = "the-place";

fn doubled(object: &Value, name: &str, value: &Value, before: bool) -> String {
    assert!(object.get(name).is_some(), "`{name}` is there once already");
    let text = object.to_string();
    let pair = format!("{}:{value}", Value::from(name));
    let inner = &text[1..text.len() - 1];
    if before { format!("{{{pair},{inner}}}") } else { format!("{{{inner},{pair}}}") }
}

/// Bytes as tokens have them.
pub fn base64(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

/// Seconds since 1970.
///
/// # Panics
/// The clock is from before.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    since.as_secs().try_into().expect("a clock of this age")
}
