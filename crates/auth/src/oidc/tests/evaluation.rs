//! Answers of a service that evaluates people.

use serde_json::{Value, json};
use tunnel_proto::UnixTime;

use super::{
    super::{EvaluationError, KeySet, TokenError, answer},
    forge::{By, Keys, token},
};

const NOW: UnixTime = UnixTime(1_800_000_000);
const HEADER: &str = r#"{"alg":"RS256","kid":"rsa","typ":"JWT"}"#;

fn good() -> Value {
    json!({"success": true, "nonce": "n0nce", "iat": NOW.0, "exp": NOW.0 + 60})
}

#[test]
fn an_answer_is_yes_or_no_and_signed_for_this_question() {
    let keys = Keys::new();
    let set = KeySet::read(keys.jwks().to_string().as_bytes()).unwrap();
    let says = |claims: Value, by: By<'_>| answer(&token(HEADER, &claims.to_string(), by), &set, "n0nce", NOW);
    let with = |name: &str, value: Value| {
        let mut claims = good();
        claims[name] = value;
        says(claims, By::Rs256(&keys))
    };
    assert_eq!(says(good(), By::Rs256(&keys)), Ok(true));
    assert_eq!(with("success", json!(false)), Ok(false));
    for unclear in [json!("true"), json!(1), json!(null), json!({})] {
        assert_eq!(with("success", unclear), Err(EvaluationError::Unclear));
    }
    for nonce in [json!(""), json!("n0nc"), json!("n0nce "), json!(null), json!(["n0nce"])] {
        assert_eq!(with("nonce", nonce), Err(EvaluationError::Nonce));
    }
    for exp in [json!(NOW.0 - 60), json!(NOW.0 + 661), json!("1800000060"), json!(null), json!(-1), json!(1e30)] {
        assert_eq!(with("exp", exp), Err(EvaluationError::Time));
    }
    assert_eq!(with("exp", json!(NOW.0 - 59)), Ok(true), "two clocks may differ");
    let other = Keys::new();
    assert_eq!(says(good(), By::Rs256(&other)), Err(TokenError::Signature.into()));
    assert_eq!(says(good(), By::Hs256(keys.rsa_der())), Err(TokenError::Signature.into()));
    assert!(answer("", &set, "n0nce", NOW).is_err() && answer("..", &set, "n0nce", NOW).is_err());
    let none = token(r#"{"alg":"none"}"#, &good().to_string(), By::Bytes(b""));
    assert_eq!(answer(&none, &set, "n0nce", NOW), Err(TokenError::Algorithm.into()));
}
