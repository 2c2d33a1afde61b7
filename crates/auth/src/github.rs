//! Logging in at GitHub: OAuth 2 without an ID token, so that its programming interface is asked who came.

use serde_json::Value;
use tunnel_proto::EmailAddress;

use crate::oidc::{JsonError, list, object};

/// What is asked for: the number of the account, its addresses, its organisations and teams.
pub const SCOPES: [&str; 3] = ["read:user", "user:email", "read:org"];
/// The most pages of one list.
pub const PAGES_MAX: usize = 20;
/// The most organisations, and teams, of one person. Who has more is turned away.
pub const MEMBERSHIPS_MAX: usize = 1000;
/// The longest name of an organisation or team, in bytes.
const NAME_MAX: usize = 100;

/// The number of an account. It stays when the account gets another name, and is given to nobody else.
pub fn account(bytes: &[u8]) -> Result<u64, GithubError> {
    let user = object(bytes)?;
    user.get("id").and_then(Value::as_u64).filter(|id| *id > 0).ok_or(GithubError::NoAccount)
}

/// The primary address among those of a page, if it is on it.
pub fn primary_email(bytes: &[u8]) -> Result<Option<EmailAddress>, GithubError> {
    let emails = list(bytes)?;
    let is = |email: &Value, name: &str| email.get(name) == Some(&Value::Bool(true));
    let Some(primary) = emails.iter().find(|email| is(email, "primary")) else { return Ok(None) };
    let address = primary.get("email").and_then(Value::as_str).and_then(|text| text.parse().ok());
    let address: EmailAddress = address.ok_or(GithubError::NotAnAddress)?;
    if is(primary, "verified") { Ok(Some(address)) } else { Err(GithubError::Unverified(address)) }
}

/// The organisations of a page, in lower case, as names are compared there.
pub fn organizations(bytes: &[u8]) -> Result<Vec<String>, GithubError> {
    Ok(list(bytes)?.iter().filter_map(|one| name(one.get("login")?)).collect())
}

/// The teams of a page: organisation and slug, in lower case.
pub fn teams(bytes: &[u8]) -> Result<Vec<(String, String)>, GithubError> {
    let team = |one: &Value| Some((name(one.get("organization")?.get("login")?)?, name(one.get("slug")?)?));
    Ok(list(bytes)?.iter().filter_map(team).collect())
}

fn name(value: &Value) -> Option<String> {
    let text = value.as_str().filter(|text| (1..=NAME_MAX).contains(&text.len()))?;
    Some(text.to_ascii_lowercase())
}

/// The address of the next page in the header `Link` (RFC 8288, as GitHub writes it).
pub fn next_page(link: &str) -> Option<&str> {
    link.split(',').find_map(|one| {
        let (address, parameters) = one.trim().strip_prefix('<')?.split_once('>')?;
        let next = |parameter: &str| matches!(parameter.trim(), "rel=\"next\"" | "rel=next");
        parameters.split(';').any(next).then_some(address)
    })
}

/// Why GitHub's word about a person is not enough.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GithubError {
    /// An answer cannot be read.
    #[error("an answer of GitHub's is {0}")]
    Json(#[from] JsonError),
    /// There is no account.
    #[error("GitHub names no account")]
    NoAccount,
    /// There is no primary address.
    #[error("the account has no primary e-mail address")]
    NoEmail,
    /// The primary address is none.
    #[error("the account's primary e-mail address is not of the form name@example.com")]
    NotAnAddress,
    /// The primary address is not verified.
    #[error("the account's primary e-mail address `{0}` is not verified")]
    Unverified(EmailAddress),
    /// There are too many.
    #[error("the account is in more than {MEMBERSHIPS_MAX} organisations or teams, or the lists have no end")]
    TooMany,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_account_is_a_number() {
        assert_eq!(account(br#"{"id":583231,"login":"octocat"}"#), Ok(583_231));
        for bad in ["{}", r#"{"id":"583231"}"#, r#"{"id":-1}"#, r#"{"id":0}"#, r#"{"id":1.5}"#, r#"{"id":null}"#] {
            assert_eq!(account(bad.as_bytes()), Err(GithubError::NoAccount), "{bad}");
        }
        assert_eq!(account(br#"{"id":1,"id":2}"#), Err(GithubError::Json(JsonError)));
    }

    // O5
    #[test]
    fn only_the_primary_address_counts_and_only_when_it_is_verified() {
        let other = r#"{"email":"boss@corp.example","primary":false,"verified":true}"#;
        let primary = |rest: &str| format!(r#"[{other},{{"email":"Ann@Corp.example","primary":true{rest}}}]"#);
        let email: EmailAddress = "ann@corp.example".parse().unwrap();
        assert_eq!(primary_email(primary(r#","verified":true"#).as_bytes()), Ok(Some(email.clone())));
        for rest in ["", r#","verified":false"#, r#","verified":"true""#, r#","verified":1"#] {
            assert_eq!(primary_email(primary(rest).as_bytes()), Err(GithubError::Unverified(email.clone())), "{rest}");
        }
        assert_eq!(primary_email(format!("[{other}]").as_bytes()), Ok(None));
        assert_eq!(
            primary_email(br#"[{"email":"a@b@c","primary":true,"verified":true}]"#),
            Err(GithubError::NotAnAddress)
        );
        assert_eq!(primary_email(b"{}"), Err(GithubError::Json(JsonError)));
    }

    #[test]
    fn memberships_are_in_lower_case() {
        assert_eq!(organizations(br#"[{"login":"GitHub"},{"id":1},{"login":""}]"#), Ok(vec!["github".to_owned()]));
        let page = br#"[{"slug":"Justice-League","organization":{"login":"GitHub"}},{"slug":"x"}]"#;
        assert_eq!(teams(page), Ok(vec![("github".to_owned(), "justice-league".to_owned())]));
    }

    #[test]
    fn the_next_page_is_the_one_called_next() {
        let both = r#"<https://api.github.com/user/orgs?page=2>; rel="next", <https://api.github.com/user/orgs?page=5>; rel="last""#;
        assert_eq!(next_page(both), Some("https://api.github.com/user/orgs?page=2"));
        for none in ["", "<x>; rel=\"last\"", "x; rel=\"next\"", "<x; rel=\"next\"", "<x>; title=\"rel=next\""] {
            assert_eq!(next_page(none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics(text in "[\\[\\]{}<>;,=\":a-z0-9]{0,80}") {
            let bytes = text.as_bytes();
            let _ = (account(bytes), primary_email(bytes), organizations(bytes), teams(bytes), next_page(&text));
        }
    }
}
