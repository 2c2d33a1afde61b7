//! The set of public keys that origins check assertions with, and the checking.

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tunnel_proto::{AppId, UnixTime};

use super::{
    ASSERTION_LIFE, ASSERTION_MAX, Algorithm, AssertionClaims, AssertionError, Claims, Jwk, KeyError, LEEWAY,
    ServiceClaims,
    key::{Header, TYP},
};

/// The most keys of a set that are looked at.
pub const KEYS_MAX: usize = 64;

/// The public keys that are valid now: those that sign, those that will, and those that signed what has not ended yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Jwks {
    keys: Vec<Jwk>,
}

impl Jwks {
    /// The set of these keys.
    pub fn new(keys: impl IntoIterator<Item = Jwk>) -> Self {
        Self { keys: keys.into_iter().collect() }
    }

    /// The keys.
    pub fn keys(&self) -> &[Jwk] {
        &self.keys
    }

    /// The set as `/.access/certs` serves it.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings and lists only")
    }

    /// The set as it was fetched from `/.access/certs`.
    ///
    /// Keys of other kinds are for others, and are left out; so are keys that are too weak, and a second one of the same id.
    /// A set without any key that is left is an error: nothing could ever be verified by it.
    pub fn from_json(text: &str) -> Result<Self, KeyError> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let set: Set = serde_json::from_str(text).map_err(|_| KeyError::NotAKey)?;
        let mut keys: Vec<Jwk> = Vec::new();
        for value in set.keys.into_iter().take(KEYS_MAX) {
            let Ok(key) = serde_json::from_value::<Jwk>(value) else { continue };
            if key.is_usable() && keys.iter().all(|known| known.kid() != key.kid()) {
                keys.push(key);
            }
        }
        if keys.is_empty() { Err(KeyError::NotAKey) } else { Ok(Self { keys }) }
    }

    /// Judges a token about a person strictly: see [`Jwks::verify_any`]. One about a machine is refused.
    pub fn verify(
        &self,
        token: &str,
        iss: &str,
        app: &AppId,
        now: UnixTime,
    ) -> Result<AssertionClaims, AssertionError> {
        match self.verify_any(token, iss, std::slice::from_ref(app), now)? {
            Claims::Person(claims) => Ok(claims),
            Claims::Machine(_) => Err(AssertionError::Claims),
        }
    }

    /// Judges a token strictly: exactly the header that we write, a known key and the algorithm that is this key's, the
    /// signature, and then issuer, audience (one of `apps`) and times (with [`LEEWAY`]). Nothing of the contents is believed
    /// before the signature is.
    pub fn verify_any(&self, token: &str, iss: &str, apps: &[AppId], now: UnixTime) -> Result<Claims, AssertionError> {
        let body = self.opened(token, TYP, ASSERTION_MAX)?;
        let claims = match object::<AssertionClaims>(&body) {
            Some(claims) => Claims::Person(claims),
            None => {
                let claims = object::<ServiceClaims>(&body).filter(|claims| claims.sub.is_empty());
                Claims::Machine(claims.ok_or(AssertionError::Claims)?)
            }
        };
        judge(&claims, iss, apps, now)?;
        Ok(claims)
    }

    /// What a token of the type `typ` says, if a key of the set signed it. Neither of these types is accepted as another.
    pub(super) fn open<T: DeserializeOwned>(&self, token: &str, typ: &str) -> Result<T, AssertionError> {
        self.open_long(token, typ, ASSERTION_MAX)
    }

    /// The same of a token of up to `max` bytes.
    pub(super) fn open_long<T: DeserializeOwned>(
        &self,
        token: &str,
        typ: &str,
        max: usize,
    ) -> Result<T, AssertionError> {
        object(&self.opened(token, typ, max)?).ok_or(AssertionError::Claims)
    }

    fn opened(&self, token: &str, typ: &str, max: usize) -> Result<Vec<u8>, AssertionError> {
        if token.len() > max {
            return Err(AssertionError::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(AssertionError::Malformed)?;
        let (header, body) = signed.split_once('.').ok_or(AssertionError::Malformed)?;
        let [header, body, signature] = [decode(header)?, decode(body)?, decode(signature)?];
        let header: Header = object(&header).ok_or(AssertionError::Header)?;
        let algorithm: Algorithm = header.alg.parse().map_err(|_| AssertionError::Header)?;
        if header.typ != typ {
            return Err(AssertionError::Header);
        }
        let key = self.keys.iter().find(|key| key.kid() == header.kid).ok_or(AssertionError::UnknownKey)?;
        // What the token says of its algorithm is compared with the key's, and never chosen by.
        if key.algorithm() != algorithm {
            return Err(AssertionError::Header);
        }
        key.check(signed.as_bytes(), &signature)?;
        Ok(body)
    }
}

fn judge(claims: &Claims, iss: &str, apps: &[AppId], now: UnixTime) -> Result<(), AssertionError> {
    let (said, aud, [iat, nbf, exp]) = match claims {
        Claims::Person(claims) => (&claims.iss, &claims.aud, [claims.iat, claims.nbf, claims.exp]),
        Claims::Machine(claims) => (&claims.iss, &claims.aud, [claims.iat, claims.nbf, claims.exp]),
    };
    let begun = |at: UnixTime| at.0 <= now.0.saturating_add(LEEWAY);
    let lasting = exp.0 > iat.0 && exp.since(iat).as_secs() <= ASSERTION_LIFE;
    if said != iss {
        Err(AssertionError::Issuer)
    } else if !apps.iter().any(|app| aud.contains(app)) {
        Err(AssertionError::Audience)
    } else if !begun(iat) || !begun(nbf) || !lasting || exp.0.saturating_add(LEEWAY) <= now.0 {
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
