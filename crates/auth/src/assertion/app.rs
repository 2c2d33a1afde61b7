//! The application descriptor: what an edge says, signed, is at a hostname, so that a client sends a token to nobody else.

use serde::Deserialize;
use tunnel_proto::{
    Hostname, UnixTime,
    access::{APP_LIFE, APP_TYPE, AppClaims},
};

use super::{
    ASSERTION_MAX, AssertionError, Jwks, KeyError, LEEWAY, SigningKey,
    jwks::{decode, object},
};

impl SigningKey {
    /// The descriptor that says `claims`.
    pub fn sign_app(&self, claims: &AppClaims) -> Result<String, KeyError> {
        self.sign_typed(APP_TYPE, claims)
    }
}

/// What is at `hostname` by a descriptor that was fetched from there, judged at `now` by the keys of its issuer as
/// `/.access/certs` serves them.
///
/// The issuer is whoever the keys came from: fetch them over verified HTTPS from the host of [`app_issuer`], and compare
/// the issuer with the one of the first login.
pub fn verify_app(
    descriptor: &str,
    jwks_json: &str,
    hostname: &Hostname,
    now: UnixTime,
) -> Result<AppClaims, AppError> {
    let keys = Jwks::from_json(jwks_json).map_err(|_| AppError::Keys)?;
    let claims: AppClaims = keys.open(descriptor, APP_TYPE)?;
    let lasting = claims.exp.0 > claims.iat.0 && claims.exp.since(claims.iat).as_secs() <= APP_LIFE;
    let begun = claims.iat.0 <= now.0.saturating_add(LEEWAY);
    if claims.hostname != *hostname {
        Err(AppError::Hostname { says: claims.hostname })
    } else if !lasting || !begun || claims.exp.0.saturating_add(LEEWAY) <= now.0 {
        Err(AssertionError::Time.into())
    } else {
        Ok(claims)
    }
}

/// The issuer that a descriptor names, before anything in it is verified: good for asking that issuer for its keys, and
/// for nothing else.
pub fn app_issuer(descriptor: &str) -> Result<String, AppError> {
    #[derive(Deserialize)]
    struct Issuer {
        iss: String,
    }
    let mut parts = descriptor.split('.');
    let body = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(_), Some(body), Some(_), None) if descriptor.len() <= ASSERTION_MAX => decode(body)?,
        _ => return Err(AssertionError::Malformed.into()),
    };
    object::<Issuer>(&body).map(|claims| claims.iss).ok_or(AppError::Token(AssertionError::Claims))
}

/// Why a descriptor was not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppError {
    /// What should be the issuer's keys is not.
    #[error("the issuer's keys cannot be read")]
    Keys,
    /// It is no descriptor of that issuer, or not for now.
    #[error(transparent)]
    Token(#[from] AssertionError),
    /// It describes another hostname: somebody passes on what another host said.
    #[error("it describes `{says}`")]
    Hostname {
        /// That one.
        says: Hostname,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tunnel_proto::{AppId, PersonId};

    use super::*;
    use crate::{AssertionClaims, assertion::Algorithm};

    const ISS: &str = "https://access.example.com";
    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn key() -> SigningKey {
        SigningKey::generate(Algorithm::Es256).unwrap().0
    }

    fn host(text: &str) -> Hostname {
        text.parse().unwrap()
    }

    fn claims() -> AppClaims {
        AppClaims {
            iss: ISS.into(),
            aud: AppId::from_bytes([0xab; 32]),
            hostname: host("rdp.example.com"),
            name: "rdp".parse().unwrap(),
            iat: NOW,
            exp: UnixTime(NOW.0 + APP_LIFE),
        }
    }

    fn verify(key: &SigningKey, descriptor: &str, at: u64) -> Result<AppClaims, AppError> {
        verify_app(descriptor, &Jwks::new([key.public()]).to_json(), &host("rdp.example.com"), UnixTime(at))
    }

    #[test]
    fn a_descriptor_says_what_was_signed_and_names_its_issuer() {
        let key = key();
        let descriptor = key.sign_app(&claims()).unwrap();
        assert_eq!(verify(&key, &descriptor, NOW.0), Ok(claims()));
        assert_eq!(app_issuer(&descriptor).as_deref(), Ok(ISS));
    }

    // C3
    #[test]
    fn what_another_host_or_another_edge_said_is_not_believed() {
        let (key, other) = (key(), key());
        let descriptor = key.sign_app(&claims()).unwrap();
        let keys = Jwks::new([key.public()]).to_json();
        let copied = verify_app(&descriptor, &keys, &host("evil.example.com"), NOW);
        assert_eq!(copied, Err(AppError::Hostname { says: host("rdp.example.com") }));
        assert_eq!(verify(&other, &descriptor, NOW.0), Err(AssertionError::UnknownKey.into()));
        for keys in ["", "{}", "[]", r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#] {
            assert_eq!(verify_app(&descriptor, keys, &host("rdp.example.com"), NOW), Err(AppError::Keys), "{keys}");
        }
    }

    // S1, S6
    #[test]
    fn neither_an_assertion_nor_a_descriptor_is_taken_for_the_other() {
        let key = key();
        let set = Jwks::new([key.public()]);
        let app = claims().aud;
        let descriptor = key.sign_app(&claims()).unwrap();
        assert_eq!(set.verify(&descriptor, ISS, &app, NOW), Err(AssertionError::Header));
        let email = "ann@example.com".parse().unwrap();
        let said = AssertionClaims::new(ISS, app, PersonId::from_random([5; 16]), email, "n0nce", NOW);
        let assertion = key.sign(&said).unwrap();
        assert_eq!(verify(&key, &assertion, NOW.0), Err(AssertionError::Header.into()));
    }

    #[test]
    fn a_descriptor_counts_for_ten_minutes_and_none_for_longer() {
        let key = key();
        let descriptor = key.sign_app(&claims()).unwrap();
        let late = AppError::from(AssertionError::Time);
        for (at, good) in [(-61, false), (-60, true), (0, true), (659, true), (660, false)] {
            let answer = verify(&key, &descriptor, NOW.0.saturating_add_signed(at));
            assert_eq!(answer, if good { Ok(claims()) } else { Err(late.clone()) }, "{at}");
        }
        for exp in [NOW.0, NOW.0 - 1, NOW.0 + APP_LIFE + 1, u64::MAX] {
            let odd = key.sign_app(&AppClaims { exp: UnixTime(exp), ..claims() }).unwrap();
            assert_eq!(verify(&key, &odd, NOW.0), Err(late.clone()), "{exp}");
        }
    }

    // S6
    #[test]
    fn damaged_descriptors_are_refused() {
        let key = key();
        let descriptor = key.sign_app(&claims()).unwrap();
        for cut in 0..descriptor.len() {
            assert!(verify(&key, &descriptor[..cut], NOW.0).is_err());
        }
        let body = serde_json::to_string(&claims()).unwrap();
        for (from, to) in
            [("rdp.example.com", "RDP..com"), (r#","exp":"#, r#","exp":1,"exp":"#), (r#""iss":"#, r#""isz":"#)]
        {
            let forged = body.replace(from, to);
            assert_ne!(forged, body);
            let header = format!(r#"{{"alg":"ES256","kid":"{}","typ":"{APP_TYPE}"}}"#, key.kid());
            let forged = key.sign_raw(header.as_bytes(), forged.as_bytes()).unwrap();
            assert_eq!(verify(&key, &forged, NOW.0), Err(AssertionError::Claims.into()));
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_none_is_accepted(text in "[A-Za-z0-9_.=-]{0,300}") {
            prop_assert!(verify(&key(), &text, NOW.0).is_err());
            let _ = app_issuer(&text);
        }
    }
}
