//! The question to a service that evaluates people: who wants to open what, signed by the edge. It is a token of a type of
//! its own, so that nobody takes it for an assertion, and names the service that it is for.

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tunnel_proto::{AppId, EmailAddress, Name, PersonId, UnixTime};

use super::{AssertionError, Jwks, KeyError, LEEWAY, SigningKey};

/// The type of these tokens (`typ` in the header).
pub const QUESTION_TYPE: &str = "tunnel-evaluation+jwt";
/// How long a question counts, in seconds: it is answered at once or not at all.
pub const QUESTION_LIFE: u64 = 60;
/// The longest question that is looked at, in bytes: somebody may be in many groups.
pub const QUESTION_MAX: usize = 512 * 1024;

/// What a service is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The edge: `https://access.ZONE[:port]`.
    pub iss: String,
    /// The address at which the service is asked.
    pub aud: String,
    /// When it was asked.
    pub iat: UnixTime,
    /// From when it counts.
    pub nbf: UnixTime,
    /// When it ends.
    pub exp: UnixTime,
    /// Comes back in the answer to it, and in no other.
    pub nonce: String,
    /// The person, stable across logins.
    pub sub: PersonId,
    /// What they want to open.
    pub app: QuestionApp,
    /// Who they are.
    pub identity: QuestionIdentity,
}

/// What somebody wants to open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuestionApp {
    /// The id of the application, which is the audience of its assertions.
    pub id: AppId,
    /// Its name.
    pub name: Name,
}

/// Who somebody is, in the words that programs written for Cloudflare Access know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuestionIdentity {
    /// The verified address.
    pub email: EmailAddress,
    /// What the login method calls them, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The person, as in `sub`.
    pub user_uuid: PersonId,
    /// The login method.
    pub idp: QuestionIdp,
    /// Where they are, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geo: Option<QuestionGeo>,
    /// When they logged in.
    pub iat: UnixTime,
    /// Their address.
    pub ip: IpAddr,
    /// How they authenticated (RFC 8176).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<String>,
    /// The groups that the provider named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Organisations at GitHub, each with the teams in it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub github: BTreeMap<String, Vec<String>>,
    /// Claims that the login method was told to keep.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub oidc_fields: BTreeMap<String, Value>,
}

/// A login method.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuestionIdp {
    /// Its name.
    pub id: Name,
    /// Its kind.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// A place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuestionGeo {
    /// The country: two letters (ISO 3166-1).
    pub country: String,
}

impl SigningKey {
    /// The question as it is sent.
    pub fn sign_question(&self, question: &Question) -> Result<String, KeyError> {
        self.sign_typed(QUESTION_TYPE, question)
    }
}

impl Jwks {
    /// Judges a question as the service should that is asked at `aud`: the type, the signature of the edge `iss`, for whom it
    /// is, and the time. That each nonce comes once is the service's to see to, where that matters to it.
    pub fn verify_question(
        &self,
        token: &str,
        iss: &str,
        aud: &str,
        now: UnixTime,
    ) -> Result<Question, AssertionError> {
        let question: Question = self.open_long(token, QUESTION_TYPE, QUESTION_MAX)?;
        let begun = |at: UnixTime| at.0 <= now.0.saturating_add(LEEWAY);
        let lasting = question.exp.0 > question.iat.0 && question.exp.since(question.iat).as_secs() <= QUESTION_LIFE;
        if question.iss != iss {
            Err(AssertionError::Issuer)
        } else if question.aud != aud {
            Err(AssertionError::Audience)
        } else if !begun(question.iat)
            || !begun(question.nbf)
            || !lasting
            || question.exp.0.saturating_add(LEEWAY) <= now.0
        {
            Err(AssertionError::Time)
        } else {
            Ok(question)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        AssertionClaims,
        assertion::{AppError, verify_app},
    };

    const ISS: &str = "https://access.example.com";
    const AUD: &str = "https://e.example/ask";
    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn key() -> SigningKey {
        SigningKey::generate(crate::assertion::Algorithm::Rs256).unwrap().0
    }

    fn question() -> Question {
        let sub = PersonId::from_random([5; 16]);
        Question {
            iss: ISS.into(),
            aud: AUD.into(),
            iat: NOW,
            nbf: NOW,
            exp: UnixTime(NOW.0 + QUESTION_LIFE),
            nonce: "n0nce".into(),
            sub,
            app: QuestionApp { id: AppId::from_bytes([7; 32]), name: "www".parse().unwrap() },
            identity: QuestionIdentity {
                email: "ann@example.com".parse().unwrap(),
                name: None,
                user_uuid: sub,
                idp: QuestionIdp { id: "pin".parse().unwrap(), kind: Some("onetimepin".into()) },
                geo: Some(QuestionGeo { country: "JP".into() }),
                iat: NOW,
                ip: "192.0.2.1".parse().unwrap(),
                amr: vec!["otp".into()],
                groups: vec![],
                github: BTreeMap::new(),
                oidc_fields: BTreeMap::new(),
            },
        }
    }

    #[test]
    fn a_question_says_what_was_asked_to_whom_it_is_for_and_for_a_minute() {
        let key = key();
        let set = Jwks::new([key.public()]);
        let token = key.sign_question(&question()).unwrap();
        let at = |seconds: i64| set.verify_question(&token, ISS, AUD, UnixTime(NOW.0.saturating_add_signed(seconds)));
        assert_eq!(at(0), Ok(question()));
        assert_eq!((at(-61), at(120)), (Err(AssertionError::Time), Err(AssertionError::Time)));
        let judge = |iss: &str, aud: &str| set.verify_question(&token, iss, aud, NOW);
        assert_eq!(judge("https://access.example.org", AUD), Err(AssertionError::Issuer));
        assert_eq!(judge(ISS, "https://evil.example/ask"), Err(AssertionError::Audience));
        let lasting = Question { exp: UnixTime(NOW.0 + QUESTION_LIFE + 1), ..question() };
        let lasting = key.sign_question(&lasting).unwrap();
        assert_eq!(set.verify_question(&lasting, ISS, AUD, NOW), Err(AssertionError::Time));
        let other = Jwks::new([self::key().public()]);
        assert_eq!(other.verify_question(&token, ISS, AUD, NOW), Err(AssertionError::UnknownKey));
    }

    #[test]
    fn a_question_may_be_longer_than_an_assertion() {
        let key = key();
        let mut long = question();
        long.identity.groups = (0..1000).map(|n| format!("group {n}")).collect();
        let token = key.sign_question(&long).unwrap();
        assert!(token.len() > crate::assertion::ASSERTION_MAX);
        assert_eq!(Jwks::new([key.public()]).verify_question(&token, ISS, AUD, NOW), Ok(long));
    }

    // S1, S6
    #[test]
    fn a_question_is_taken_for_nothing_else_and_nothing_else_for_a_question() {
        let key = key();
        let set = Jwks::new([key.public()]);
        let (app, email) = (question().app.id, question().identity.email);
        let token = key.sign_question(&question()).unwrap();
        assert_eq!(set.verify(&token, ISS, &app, NOW), Err(AssertionError::Header));
        let host = "www.example.com".parse().unwrap();
        assert_eq!(verify_app(&token, &set.to_json(), &host, NOW), Err(AppError::Token(AssertionError::Header)));
        let claims = AssertionClaims::new(ISS, app, question().sub, email, "n0nce", NOW);
        let assertion = key.sign(&claims).unwrap();
        assert_eq!(set.verify_question(&assertion, ISS, AUD, NOW), Err(AssertionError::Header));
    }
}
