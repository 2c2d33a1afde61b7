//! The assertion: what an origin is told about a visitor, signed, for minutes (RFC 7519, ES256 of RFC 7518 §3.4).
//!
//! It is a statement to the origin and never a credential: the edge accepts none. The same keys sign what is at a hostname,
//! for the access client ([`verify_app`]), as tokens of another type.

mod app;
mod key;

use serde::{Deserialize, Serialize};
use tunnel_proto::{AppId, EmailAddress, PersonId, UnixTime};

pub use app::{AppError, app_issuer, verify_app};
pub use key::{Jwk, Jwks, KeyError, SigningKey};

/// How long an assertion lives, in seconds.
pub const ASSERTION_LIFE: u64 = 5 * 60;
/// The longest token that is looked at.
pub const ASSERTION_MAX: usize = 4096;
/// By how many seconds two clocks may differ.
pub const LEEWAY: u64 = 60;

/// What an assertion says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssertionClaims {
    /// The applications it is for.
    pub aud: Vec<AppId>,
    /// The visitor's verified address.
    pub email: EmailAddress,
    /// When it ends.
    pub exp: UnixTime,
    /// When it was made.
    pub iat: UnixTime,
    /// From when it counts.
    pub nbf: UnixTime,
    /// The edge: `https://access.ZONE[:port]`.
    pub iss: String,
    /// `app`: what kind of token this is.
    #[serde(rename = "type")]
    pub kind: TokenKind,
    /// Differs for each login of the same person.
    pub identity_nonce: String,
    /// The person, stable across logins.
    pub sub: PersonId,
}

/// What kind of token an assertion is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// For one application, about a person.
    App,
}

impl AssertionClaims {
    /// The claims about a person for one application, for [`ASSERTION_LIFE`] from `now`.
    pub fn new(iss: &str, app: AppId, sub: PersonId, email: EmailAddress, identity_nonce: &str, now: UnixTime) -> Self {
        Self {
            aud: vec![app],
            email,
            exp: UnixTime(now.0.saturating_add(ASSERTION_LIFE)),
            iat: now,
            nbf: now,
            iss: iss.to_owned(),
            kind: TokenKind::App,
            identity_nonce: identity_nonce.to_owned(),
            sub,
        }
    }
}

/// Why an assertion was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AssertionError {
    /// Not three parts of canonical base64url in at most 4 KiB.
    #[error("not a signed token")]
    Malformed,
    /// The header has another algorithm or type, lacks one, or says something that is not understood.
    #[error("the token's header is not that of an assertion")]
    Header,
    /// Signed by a key that is not in the set.
    #[error("signed by an unknown key")]
    UnknownKey,
    /// The signature is not that of these contents.
    #[error("the signature does not fit")]
    Signature,
    /// The contents are not those of an assertion.
    #[error("the contents are not those of an assertion")]
    Claims,
    /// From another issuer.
    #[error("from another issuer")]
    Issuer,
    /// For another application.
    #[error("for another application")]
    Audience,
    /// Ended, or not yet begun.
    #[error("not valid at this time")]
    Time,
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64URL_NOPAD as B64;
    use proptest::prelude::*;

    use super::*;

    const ISS: &str = "https://access.example.com";
    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn app() -> AppId {
        AppId::from_bytes([0xab; 32])
    }

    fn key() -> SigningKey {
        SigningKey::generate().unwrap().0
    }

    fn claims() -> AssertionClaims {
        let sub = PersonId::from_random([5; 16]);
        AssertionClaims::new(ISS, app(), sub, "ann@example.com".parse().unwrap(), "n0nce", NOW)
    }

    fn verify(key: &SigningKey, token: &str) -> Result<AssertionClaims, AssertionError> {
        Jwks::new([key.public()]).verify(token, ISS, &app(), NOW)
    }

    #[test]
    fn an_assertion_says_what_was_signed() {
        let key = key();
        assert_eq!(verify(&key, &key.sign(&claims()).unwrap()), Ok(claims()));
    }

    #[test]
    fn a_key_survives_being_stored() {
        let (key, pkcs8) = SigningKey::generate().unwrap();
        let again = SigningKey::from_pkcs8(pkcs8.expose()).unwrap();
        assert_eq!(again.kid(), key.kid());
        assert!(verify(&key, &again.sign(&claims()).unwrap()).is_ok());
        assert!(SigningKey::from_pkcs8(b"nonsense").is_err());
    }

    #[test]
    fn an_independent_implementation_accepts_it() {
        use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
        let key = key();
        let token = key.sign(&claims()).unwrap();
        let set: jsonwebtoken::jwk::JwkSet = serde_json::from_str(&Jwks::new([key.public()]).to_json()).unwrap();
        let decoding = DecodingKey::from_jwk(set.find(key.kid()).unwrap()).unwrap();
        let mut rules = Validation::new(Algorithm::ES256);
        rules.set_audience(&[app().to_string()]);
        rules.set_issuer(&[ISS]);
        rules.validate_exp = false;
        let decoded = decode::<serde_json::Value>(&token, &decoding, &rules).unwrap();
        assert_eq!(decoded.header.typ.as_deref(), Some("JWT"));
        assert_eq!(decoded.claims["type"], "app");
        assert_eq!(decoded.claims["aud"], serde_json::json!([app().to_string()]));
        assert_eq!(decoded.claims["exp"], NOW.0 + 300);
    }

    #[test]
    fn the_key_set_comes_back_from_its_text() {
        let key = key();
        let set = Jwks::from_json(&Jwks::new([key.public()]).to_json()).unwrap();
        assert!(set.verify(&key.sign(&claims()).unwrap(), ISS, &app(), NOW).is_ok());
        assert!(Jwks::from_json("{}").is_err());
    }

    // S7
    #[test]
    fn what_the_previous_key_signed_is_accepted_while_it_is_published() {
        let (old, new) = (key(), key());
        let token = old.sign(&claims()).unwrap();
        assert!(Jwks::new([new.public(), old.public()]).verify(&token, ISS, &app(), NOW).is_ok());
        let only_new = Jwks::new([new.public()]);
        assert_eq!(only_new.verify(&token, ISS, &app(), NOW), Err(AssertionError::UnknownKey));
    }

    // S1, S8
    #[test]
    fn issuer_audience_and_time_must_be_right() {
        let key = key();
        let set = Jwks::new([key.public()]);
        let token = key.sign(&claims()).unwrap();
        let at = |iss: &str, app: [u8; 32], now: i64| {
            let now = UnixTime(NOW.0.saturating_add_signed(now));
            set.verify(&token, iss, &AppId::from_bytes(app), now).map(drop)
        };
        let good = [0xab; 32];
        assert_eq!(at(ISS, good, 0), Ok(()));
        assert_eq!(at(ISS, good, 359), Ok(()));
        assert_eq!(at(ISS, good, 360), Err(AssertionError::Time));
        assert_eq!(at(ISS, good, -60), Ok(()));
        assert_eq!(at(ISS, good, -61), Err(AssertionError::Time));
        assert_eq!(at("https://access.example.com/", good, 0), Err(AssertionError::Issuer));
        assert_eq!(at(ISS, [0xac; 32], 0), Err(AssertionError::Audience));
    }

    // S6
    #[test]
    fn forged_tokens_are_refused() {
        let key = key();
        let kid = key.kid().to_owned();
        let body = serde_json::to_string(&claims()).unwrap();
        let good = format!(r#"{{"alg":"ES256","kid":"{kid}","typ":"JWT"}}"#);
        let signed = |header: &str, body: &str| key.sign_raw(header.as_bytes(), body.as_bytes()).unwrap();
        assert!(verify(&key, &signed(&good, &body)).is_ok());

        let headers = [
            format!(r#"{{"alg":"none","kid":"{kid}","typ":"JWT"}}"#),
            format!(r#"{{"alg":"None","kid":"{kid}","typ":"JWT"}}"#),
            format!(r#"{{"alg":"HS256","kid":"{kid}","typ":"JWT"}}"#),
            format!(r#"{{"alg":"RS256","kid":"{kid}","typ":"JWT"}}"#),
            format!(r#"{{"alg":"ES384","kid":"{kid}","typ":"JWT"}}"#),
            format!(r#"{{"alg":"es256","kid":"{kid}","typ":"JWT"}}"#),
            format!(r#"{{"alg":"","kid":"{kid}","typ":"JWT"}}"#),
            format!(r#"{{"alg":["ES256"],"kid":"{kid}","typ":"JWT"}}"#),
            format!(r#"{{"kid":"{kid}","typ":"JWT"}}"#),
            format!(r#"{{"alg":"ES256","kid":"{kid}"}}"#),
            format!(r#"{{"alg":"ES256","kid":"{kid}","typ":null}}"#),
            format!(r#"{{"alg":"ES256","kid":"{kid}","typ":"at+jwt"}}"#),
            format!(r#"{{"alg":"ES256","kid":"{kid}","typ":"logout+jwt"}}"#),
            format!(r#"{{"alg":"ES256","kid":"{kid}","typ":"jwt"}}"#),
            r#"{"alg":"ES256","typ":"JWT"}"#.into(),
            format!(r#"{{"alg":"ES256","kid":"{kid}","typ":"JWT","alg":"none"}}"#),
            format!(r#"{{"alg":"none","kid":"{kid}","typ":"JWT","alg":"ES256"}}"#),
            format!(r#"{{"alg":"ES256","kid":"x","kid":"{kid}","typ":"JWT"}}"#),
            format!(r#"{{"alg":"ES256","kid":"{kid}","typ":"JWT","zip":"DEF"}}"#),
            format!(r#"{{"alg":"ES256","kid":"{kid}","typ":"JWT","crit":["exp"]}}"#),
            format!(r#"{{"alg":"ES256","kid":"{kid}","typ":"JWT","b64":false}}"#),
            format!(r#"{{"alg":"ES256","kid":"{kid}","typ":"JWT","enc":"A256GCM"}}"#),
            format!(r#"{{"alg":"ES256","kid":"{kid}","typ":"JWT","jku":"https://evil.example/keys"}}"#),
            format!(r#"{{"alg":"ES256","kid":"{kid}","typ":"JWT","x5u":"https://evil.example/cert"}}"#),
            format!(r#"{{"alg":"ES256","kid":"{kid}","typ":"JWT","jwk":{{"kty":"EC"}}}}"#),
            format!(r#"[{{"alg":"ES256","kid":"{kid}","typ":"JWT"}}]"#),
            format!(r#"["ES256","{kid}","JWT"]"#),
            format!("{good} "),
            "\"ES256\"".into(),
            String::from("{}"),
        ];
        for header in &headers {
            let result = verify(&key, &signed(header, &body));
            // White space after the value is still the same header; everything else is refused.
            if header.ends_with(' ') {
                assert!(result.is_ok());
            } else {
                assert_eq!(result, Err(AssertionError::Header), "{header}");
            }
        }
        for kid in ["", "x", "../../../etc/passwd", "' OR 1=1 --"] {
            let header = format!(r#"{{"alg":"ES256","kid":"{kid}","typ":"JWT"}}"#);
            assert_eq!(verify(&key, &signed(&header, &body)), Err(AssertionError::UnknownKey), "{kid}");
        }

        let bodies = [
            body.replace(r#""type":"app""#, r#""type":"org""#),
            body.replace(r#","type":"app""#, ""),
            body.replace(r#""iss":"#, r#""iss":"https://evil.example","iss":"#),
            body.replace(r#""aud":"#, r#""aud":[],"aud":"#),
            body.replace(r#""email":"ann@example.com""#, r#""email":"ann@example.com\r\nBcc:x""#),
            body.replace(r#""exp":1800000300"#, r#""exp":"1800000300""#),
            body.replace(r#""exp":1800000300"#, r#""exp":1800000300.5"#),
            body.replace(r#""exp":1800000300,"#, ""),
            body.replace(r#""exp":1800000300"#, r#""exp":-1"#),
            "null".into(),
            "[]".into(),
        ];
        for forged in &bodies {
            assert_ne!(forged, &body);
            assert_eq!(verify(&key, &signed(&good, forged)), Err(AssertionError::Claims), "{forged}");
        }
        let endless = body.replace(r#""exp":1800000300"#, r#""exp":18446744073709551615"#);
        assert_eq!(verify(&key, &signed(&good, &endless)), Err(AssertionError::Time));
    }

    // S6
    #[test]
    fn damaged_tokens_are_refused() {
        let key = key();
        let token = key.sign(&claims()).unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        let (h, b, s) = (parts[0], parts[1], parts[2]);
        let other_body = B64.encode(serde_json::to_string(&claims()).unwrap().replace("ann@", "eve@").as_bytes());
        let zero = B64.encode(&[0; 64]);
        let mut der = vec![0x30, 0x44];
        der.extend_from_slice(&[1; 68]);
        let other = SigningKey::generate().unwrap().0.sign(&claims()).unwrap();
        let foreign = other.rsplit('.').next().unwrap();
        for (forged, expected) in [
            (String::new(), AssertionError::Malformed),
            ("..".into(), AssertionError::Malformed),
            (format!("{h}.{b}"), AssertionError::Malformed),
            (format!("{h}.{b}."), AssertionError::Malformed),
            (format!("{h}..{s}"), AssertionError::Malformed),
            (format!(".{b}.{s}"), AssertionError::Malformed),
            (format!("{token}.{s}"), AssertionError::Malformed),
            (format!("{token}="), AssertionError::Malformed),
            (format!("{token} "), AssertionError::Malformed),
            (format!(" {token}"), AssertionError::Malformed),
            (format!("{h}.{b}.{}", &s[..s.len() - 4]), AssertionError::Malformed),
            (format!("{h}.{b}.{s}AAAA"), AssertionError::Malformed),
            (format!("{h}.{b}.{}", B64.encode(&der)), AssertionError::Malformed),
            (format!("{h}.{b}.{}", "A".repeat(ASSERTION_MAX)), AssertionError::Malformed),
            (format!("{h}.{b}.{zero}"), AssertionError::Signature),
            (format!("{h}.{other_body}.{s}"), AssertionError::Signature),
            (format!("{h}.{b}.{foreign}"), AssertionError::Signature),
        ] {
            assert_eq!(verify(&key, &forged), Err(expected), "{forged}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_none_is_accepted(text in "[A-Za-z0-9_.=-]{0,300}") {
            prop_assert!(Jwks::new([]).verify(&text, ISS, &app(), NOW).is_err());
        }
    }
}
