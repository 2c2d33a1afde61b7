//! External evaluation: a service of the operator's own says whether somebody is to be admitted, and signs it.

use serde_json::Value;
use tunnel_proto::UnixTime;

use super::{KeySet, LEEWAY, TokenError, id_token::signed};
use crate::secret::same;

/// The longest that an answer may count, in seconds: it is about one question.
pub const ANSWER_LIFE: u64 = 10 * 60;

/// Why an answer does not count. Then the rule does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// It is not signed as it should be.
    #[error("the answer cannot be believed: {0}")]
    Token(#[from] TokenError),
    /// It is the answer to another question.
    #[error("the answer belongs to another question (`nonce`)")]
    Nonce,
    /// It has ended, or has no end that is near.
    #[error("the answer has expired, or is valid for too long")]
    Time,
    /// It says neither yes nor no.
    #[error("the answer has no `success` that is true or false")]
    Unclear,
}

/// What an answer says: yes or no, if one of the service's keys signed it, to the question with this nonce, and just now.
pub fn answer(token: &str, keys: &KeySet, nonce: &str, now: UnixTime) -> Result<bool, EvaluationError> {
    let (claims, _) = signed(token, keys)?;
    let asked = claims.get("nonce").and_then(Value::as_str);
    if !asked.is_some_and(|asked| same(asked.as_bytes(), nonce.as_bytes())) {
        return Err(EvaluationError::Nonce);
    }
    let expires = claims.get("exp").and_then(Value::as_u64).ok_or(EvaluationError::Time)?;
    let latest = now.0.saturating_add(ANSWER_LIFE).saturating_add(LEEWAY);
    if expires <= now.0.saturating_sub(LEEWAY) || expires > latest {
        return Err(EvaluationError::Time);
    }
    claims.get("success").and_then(Value::as_bool).ok_or(EvaluationError::Unclear)
}
