//! The exchange of a code for tokens (RFC 6749 §4.1.3), and later of a refresh token for more of them (§6).

use data_encoding::BASE64;
use url::form_urlencoded::byte_serialize;
use zeroize::Zeroizing;

use super::{ClientAuthentication, json};
use crate::secret::SecretBytes;

/// The longest token of either kind that is kept, in bytes.
const TOKEN_MAX: usize = 64 * 1024;
/// The longest refresh token that is kept, in bytes. Those that there are have at most some thousand.
pub const REFRESH_TOKEN_MAX: usize = 16 * 1024;
/// The longest error code that is repeated.
const CODE_MAX: usize = 64;

/// A code to be exchanged, with everything that shows that it is ours.
#[derive(Clone, Copy)]
pub struct CodeExchange<'a> {
    /// What the visitor brought back.
    pub code: &'a str,
    /// Where to.
    pub redirect_uri: &'a str,
    /// What the challenge was made of.
    pub verifier: &'a str,
    /// Who asks.
    pub client_id: &'a str,
    /// The secret that goes with it.
    pub client_secret: &'a SecretBytes,
}

impl std::fmt::Debug for CodeExchange<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CodeExchange").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

impl CodeExchange<'_> {
    /// The value of `Authorization`, where the secret is shown there: both parts are form-encoded first (§2.3.1).
    pub fn authorization(&self, way: ClientAuthentication) -> Option<Zeroizing<String>> {
        authorization(way, self.client_id, self.client_secret)
    }

    /// The form, as it is posted.
    pub fn form(&self, way: ClientAuthentication) -> Zeroizing<String> {
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", self.code),
            ("redirect_uri", self.redirect_uri),
            ("code_verifier", self.verifier),
        ];
        form(way, &fields, self.client_id, self.client_secret)
    }
}

/// A refresh token to be exchanged for others.
#[derive(Clone, Copy)]
pub struct RefreshExchange<'a> {
    /// The token.
    pub refresh_token: &'a str,
    /// Who asks: whom it was given to.
    pub client_id: &'a str,
    /// The secret that goes with it.
    pub client_secret: &'a SecretBytes,
}

impl std::fmt::Debug for RefreshExchange<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RefreshExchange").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

impl RefreshExchange<'_> {
    /// The value of `Authorization`, as for a code.
    pub fn authorization(&self, way: ClientAuthentication) -> Option<Zeroizing<String>> {
        authorization(way, self.client_id, self.client_secret)
    }

    /// The form, as it is posted. No scope is named: what was granted before is meant.
    pub fn form(&self, way: ClientAuthentication) -> Zeroizing<String> {
        let fields = [("grant_type", "refresh_token"), ("refresh_token", self.refresh_token)];
        form(way, &fields, self.client_id, self.client_secret)
    }
}

fn authorization(way: ClientAuthentication, id: &str, secret: &SecretBytes) -> Option<Zeroizing<String>> {
    if way != ClientAuthentication::Basic {
        return None;
    }
    let encoded = |bytes: &[u8]| Zeroizing::new(byte_serialize(bytes).collect::<String>());
    let (id, secret) = (encoded(id.as_bytes()), encoded(secret.expose()));
    let pair = Zeroizing::new(format!("{}:{}", *id, *secret));
    Some(Zeroizing::new(format!("Basic {}", BASE64.encode(pair.as_bytes()))))
}

fn form(way: ClientAuthentication, fields: &[(&str, &str)], id: &str, secret: &SecretBytes) -> Zeroizing<String> {
    let mut form = Zeroizing::new(String::new());
    let mut push = |name: &str, value: &[u8]| {
        let separator = if form.is_empty() { "" } else { "&" };
        form.push_str(separator);
        form.push_str(name);
        form.push('=');
        byte_serialize(value).for_each(|piece| form.push_str(piece));
    };
    fields.iter().for_each(|&(name, value)| push(name, value.as_bytes()));
    if way == ClientAuthentication::Post {
        push("client_id", id.as_bytes());
        push("client_secret", secret.expose());
    }
    form
}

/// What a code or a refresh token was exchanged for. Secrets.
#[derive(Clone)]
pub struct TokenAnswer {
    /// For asking the provider more.
    pub access_token: Option<Zeroizing<String>>,
    /// The statement about the person.
    pub id_token: Option<Zeroizing<String>>,
    /// For asking again later, where the provider gave one of at most [`REFRESH_TOKEN_MAX`] bytes. After a refresh it takes
    /// the place of the one before.
    pub refresh_token: Option<Zeroizing<String>>,
}

impl std::fmt::Debug for TokenAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenAnswer(…)")
    }
}

/// Why a code or a refresh token was not exchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// The provider does not know the client, or its secret is another one.
    #[error("the provider refuses the client: {0}")]
    Client(String),
    /// The code or refresh token counts no more, or was another login's.
    #[error("the provider refuses the code: {0}")]
    Code(String),
    /// The provider is in trouble.
    #[error("the provider is in trouble: {0}")]
    Trouble(String),
    /// The provider refuses for another reason.
    #[error("the provider refuses: {0}")]
    Other(String),
    /// The answer is no answer.
    #[error("the provider's answer to a code is not one")]
    Unreadable,
}

impl TokenAnswer {
    /// Reads what the provider answered. Some say what went wrong with status 200.
    pub fn read(status: u16, body: &[u8]) -> Result<Self, TokenRefusal> {
        if status >= 500 || status == 429 {
            return Err(TokenRefusal::Trouble(format!("status {status}")));
        }
        let Ok(answer) = json::object(body) else {
            return Err(if status == 401 {
                TokenRefusal::Client("status 401".to_owned())
            } else {
                TokenRefusal::Unreadable
            });
        };
        if let Some(error) = answer.get("error") {
            let code = error_code(error.as_str().unwrap_or_default()).to_owned();
            return Err(match code.as_str() {
                "invalid_client" | "unauthorized_client" | "incorrect_client_credentials" => TokenRefusal::Client(code),
                "invalid_grant" | "bad_verification_code" => TokenRefusal::Code(code),
                "temporarily_unavailable" | "server_error" | "slow_down" => TokenRefusal::Trouble(code),
                _ if status == 401 => TokenRefusal::Client(code),
                _ => TokenRefusal::Other(code),
            });
        }
        if !(200..300).contains(&status) {
            return Err(TokenRefusal::Other(format!("status {status}")));
        }
        let token = |name: &str| {
            let text = answer.get(name)?.as_str()?;
            (!text.is_empty() && text.len() <= TOKEN_MAX).then(|| Zeroizing::new(text.to_owned()))
        };
        let answer = Self {
            access_token: token("access_token"),
            id_token: token("id_token"),
            refresh_token: token("refresh_token").filter(|token| token.len() <= REFRESH_TOKEN_MAX),
        };
        if answer.access_token.is_none() && answer.id_token.is_none() {
            return Err(TokenRefusal::Unreadable);
        }
        Ok(answer)
    }
}

/// An error code of a provider's, if it has the form of one; nothing else that it says is repeated.
pub fn error_code(text: &str) -> &str {
    let form = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-' | b'.');
    if !text.is_empty() && text.len() <= CODE_MAX && text.bytes().all(form) { text } else { "an error without a code" }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_secret_is_shown_as_the_provider_wants_it_and_nowhere_else() {
        let secret = SecretBytes::new(b"s3cret +/=%:&~".to_vec());
        let exchange = CodeExchange {
            code: "a b&c",
            redirect_uri: "https://access.example.com/.access/callback/kc",
            verifier: "VERIFIER",
            client_id: "edge:client",
            client_secret: &secret,
        };
        let common = "grant_type=authorization_code&code=a+b%26c\
            &redirect_uri=https%3A%2F%2Faccess.example.com%2F.access%2Fcallback%2Fkc&code_verifier=VERIFIER";
        assert_eq!(exchange.form(ClientAuthentication::Basic).as_str(), common);
        let header = exchange.authorization(ClientAuthentication::Basic).unwrap();
        let pair = BASE64.decode(header.strip_prefix("Basic ").unwrap().as_bytes()).unwrap();
        assert_eq!(pair, b"edge%3Aclient:s3cret+%2B%2F%3D%25%3A%26%7E");
        let form = exchange.form(ClientAuthentication::Post);
        assert_eq!(*form, format!("{common}&client_id=edge%3Aclient&client_secret=s3cret+%2B%2F%3D%25%3A%26%7E"));
        assert!(exchange.authorization(ClientAuthentication::Post).is_none());
        assert!(!format!("{exchange:?}").contains("s3cret"));
    }

    // O9
    #[test]
    fn a_refresh_shows_the_secret_in_the_same_ways_and_prints_nothing() {
        let secret = SecretBytes::new(b"s3cret".to_vec());
        let exchange = RefreshExchange { refresh_token: "r&t=1", client_id: "edge", client_secret: &secret };
        let common = "grant_type=refresh_token&refresh_token=r%26t%3D1";
        assert_eq!(exchange.form(ClientAuthentication::Basic).as_str(), common);
        assert_eq!(
            exchange.form(ClientAuthentication::Post).as_str(),
            format!("{common}&client_id=edge&client_secret=s3cret")
        );
        assert!(exchange.authorization(ClientAuthentication::Basic).is_some());
        assert!(exchange.authorization(ClientAuthentication::Post).is_none());
        assert!(!format!("{exchange:?}").contains("r&t") && !format!("{exchange:?}").contains("s3cret"));
        let read = |token: &str| {
            let body = format!(r#"{{"access_token":"a","refresh_token":"{token}"}}"#);
            let answer = TokenAnswer::read(200, body.as_bytes()).unwrap();
            assert_eq!(format!("{answer:?}"), "TokenAnswer(…)");
            answer.refresh_token.map(|token| token.len())
        };
        assert_eq!(
            (read(""), read("r"), read(&"r".repeat(REFRESH_TOKEN_MAX))),
            (None, Some(1), Some(REFRESH_TOKEN_MAX))
        );
        assert_eq!(read(&"r".repeat(REFRESH_TOKEN_MAX + 1)), None, "too long to be kept");
    }

    #[test]
    fn an_answer_has_a_token_or_a_reason() {
        use TokenRefusal::{Client, Code, Other, Trouble, Unreadable};
        let read = |status, body: &str| TokenAnswer::read(status, body.as_bytes());
        let good = read(200, r#"{"access_token":"a","id_token":"i","token_type":"Bearer"}"#).unwrap();
        assert_eq!((good.access_token.unwrap().as_str(), good.id_token.unwrap().as_str()), ("a", "i"));
        for (status, body, refusal) in [
            (401, r#"{"error":"invalid_client"}"#, Client("invalid_client".into())),
            (400, r#"{"error":"invalid_client","error_description":"<script>"}"#, Client("invalid_client".into())),
            (200, r#"{"error":"incorrect_client_credentials"}"#, Client("incorrect_client_credentials".into())),
            (401, "no", Client("status 401".into())),
            (400, r#"{"error":"invalid_grant"}"#, Code("invalid_grant".into())),
            (200, r#"{"error":"bad_verification_code"}"#, Code("bad_verification_code".into())),
            (400, r#"{"error":"invalid_scope"}"#, Other("invalid_scope".into())),
            (400, r#"{"error":"<script>alert(1)</script>"}"#, Other("an error without a code".into())),
            (400, r#"{"error":{"a":1}}"#, Other("an error without a code".into())),
            (404, r#"{"id_token":"i"}"#, Other("status 404".into())),
            (503, r#"{"id_token":"i"}"#, Trouble("status 503".into())),
            (429, "", Trouble("status 429".into())),
            (200, "access_token=a&id_token=i", Unreadable),
            (200, r#"{"id_token":"a","id_token":"b"}"#, Unreadable),
            (200, r#"{"id_token":7}"#, Unreadable),
            (200, "{}", Unreadable),
        ] {
            assert_eq!(read(status, body).unwrap_err(), refusal, "{body}");
        }
        let long = format!(r#"{{"id_token":"{}"}}"#, "x".repeat(TOKEN_MAX + 1));
        assert_eq!(read(200, &long).unwrap_err(), Unreadable);
    }

    proptest! {
        // A2
        #[test]
        fn nothing_but_a_plain_code_is_repeated(text in "\\PC{0,80}") {
            let said = error_code(&text);
            prop_assert!(said == "an error without a code" || (said == text && said.bytes().all(|b| !b"<>&\"' ".contains(&b))));
        }

        #[test]
        fn no_answer_panics(status: u16, body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = TokenAnswer::read(status, &body);
        }
    }
}
