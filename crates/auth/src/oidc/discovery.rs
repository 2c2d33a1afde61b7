//! What a provider says about itself (OpenID Connect Discovery 1.0).

use serde_json::{Map, Value};
use url::Url;

use super::json;

/// Where a provider is asked what, as it says itself; checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// The issuer, exactly as it was declared.
    pub issuer: String,
    /// Where visitors are sent.
    pub authorization: String,
    /// Where a code is exchanged.
    pub token: String,
    /// Where the keys are.
    pub keys: String,
    /// Where more is told about a person, if anywhere.
    pub userinfo: Option<String>,
    /// How the client's secret is shown.
    pub authentication: ClientAuthentication,
    /// Whether every answer names the issuer (RFC 9207), so that one without it is not from this provider.
    pub names_itself: bool,
}

/// How a client shows its secret (RFC 6749 §2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// In a header.
    Basic,
    /// In the form.
    Post,
}

/// Why what a provider says about itself cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiscoveryError {
    /// It is not an object.
    #[error("the discovery document is {0}")]
    Json(#[from] super::JsonError),
    /// It is about somebody else.
    #[error("the provider calls itself {}, and not exactly as declared", shown(found.as_deref()))]
    Issuer {
        /// What it calls itself, if that is an address: anything else could be made to look like a line of a record.
        found: Option<String>,
    },
    /// Something is missing.
    #[error("the discovery document has no `{0}`")]
    Missing(&'static str),
    /// An address of its own that is none to be used.
    #[error("the provider's `{0}` is not an https address")]
    Address(&'static str),
    /// It has no code flow.
    #[error("the provider does not offer the response type `code`")]
    NoCode,
    /// It refuses what protects a code.
    #[error("the provider does not offer PKCE with S256")]
    NoPkce,
    /// It takes the secret in no way that is known here.
    #[error("the provider takes a client's secret neither by client_secret_basic nor by client_secret_post")]
    NoAuthentication,
}

/// The longest address that is used, in bytes.
const ADDRESS_MAX: usize = 2048;
/// The longest name of itself that is repeated.
const SHOWN_MAX: usize = 256;

impl Discovery {
    /// Where the document of an issuer is (§4).
    pub fn address(issuer: &str) -> String {
        format!("{}/.well-known/openid-configuration", issuer.strip_suffix('/').unwrap_or(issuer))
    }

    /// Reads the document that was found there. `plain` lets addresses be `http://`.
    pub fn read(bytes: &[u8], issuer: &str, plain: bool) -> Result<Self, DiscoveryError> {
        let document = json::object(bytes)?;
        let found = text(&document, "issuer")?;
        if found != issuer {
            let found = is_address(found, true).then(|| found.chars().take(SHOWN_MAX).collect());
            return Err(DiscoveryError::Issuer { found });
        }
        let address = |name: &'static str| {
            let address = text(&document, name)?;
            if is_address(address, plain) { Ok(address.to_owned()) } else { Err(DiscoveryError::Address(name)) }
        };
        if !words(&document, "response_types_supported").is_some_and(|types| types.contains(&"code")) {
            return Err(DiscoveryError::NoCode);
        }
        // Who does not say may still have it (Entra does), and everybody is asked for it.
        if words(&document, "code_challenge_methods_supported").is_some_and(|methods| !methods.contains(&"S256")) {
            return Err(DiscoveryError::NoPkce);
        }
        Ok(Self {
            issuer: issuer.to_owned(),
            authorization: address("authorization_endpoint")?,
            token: address("token_endpoint")?,
            keys: address("jwks_uri")?,
            userinfo: match document.get("userinfo_endpoint") {
                None | Some(Value::Null) => None,
                Some(_) => Some(address("userinfo_endpoint")?),
            },
            authentication: authentication(&document)?,
            names_itself: document.get("authorization_response_iss_parameter_supported") == Some(&Value::Bool(true)),
        })
    }
}

/// The first way that the provider names and that is known here; who names none means the header.
fn authentication(document: &Map<String, Value>) -> Result<ClientAuthentication, DiscoveryError> {
    let Some(methods) = words(document, "token_endpoint_auth_methods_supported") else {
        return Ok(ClientAuthentication::Basic);
    };
    let known = |method: &&str| match *method {
        "client_secret_basic" => Some(ClientAuthentication::Basic),
        "client_secret_post" => Some(ClientAuthentication::Post),
        _ => None,
    };
    methods.iter().find_map(known).ok_or(DiscoveryError::NoAuthentication)
}

fn shown(found: Option<&str>) -> String {
    found.map_or_else(|| "something that is no address".to_owned(), |address| format!("`{address}`"))
}

fn text<'a>(document: &'a Map<String, Value>, name: &'static str) -> Result<&'a str, DiscoveryError> {
    document.get(name).and_then(Value::as_str).ok_or(DiscoveryError::Missing(name))
}

fn words<'a>(document: &'a Map<String, Value>, name: &str) -> Option<Vec<&'a str>> {
    Some(document.get(name)?.as_array()?.iter().filter_map(Value::as_str).collect())
}

/// Whether an address can be asked or shown: visible ASCII, with a host, without a user or a fragment.
fn is_address(text: &str, plain: bool) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    let scheme = url.scheme() == "https" || (plain && url.scheme() == "http");
    let bare = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    scheme && bare && url.has_host() && text.len() <= ADDRESS_MAX && text.bytes().all(|b| matches!(b, 0x21..=0x7e))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://id.example.com/realms/x";

    fn document() -> Value {
        json!({
            "issuer": ISSUER,
            "authorization_endpoint": "https://id.example.com/authorize?tenant=1",
            "token_endpoint": "https://id.example.com/token",
            "jwks_uri": "https://id.example.com/keys",
            "userinfo_endpoint": "https://id.example.com/userinfo",
            "response_types_supported": ["code", "id_token"],
        })
    }

    fn read(document: &Value) -> Result<Discovery, DiscoveryError> {
        Discovery::read(document.to_string().as_bytes(), ISSUER, false)
    }

    #[test]
    fn the_document_is_looked_for_below_the_issuer() {
        for (issuer, address) in [
            ("https://a.example", "https://a.example/.well-known/openid-configuration"),
            ("https://a.example/", "https://a.example/.well-known/openid-configuration"),
            ("https://a.example/x", "https://a.example/x/.well-known/openid-configuration"),
        ] {
            assert_eq!(Discovery::address(issuer), address);
        }
    }

    #[test]
    fn what_a_provider_offers_is_used_and_what_it_leaves_out_has_its_default() {
        let known = read(&document()).unwrap();
        assert_eq!(known.authentication, ClientAuthentication::Basic);
        assert!(!known.names_itself);
        let mut more = document();
        more["token_endpoint_auth_methods_supported"] =
            json!(["private_key_jwt", "client_secret_post", "client_secret_basic"]);
        more["code_challenge_methods_supported"] = json!(["plain", "S256"]);
        more["authorization_response_iss_parameter_supported"] = json!(true);
        let known = read(&more).unwrap();
        assert_eq!((known.authentication, known.names_itself), (ClientAuthentication::Post, true));
        more.as_object_mut().unwrap().remove("userinfo_endpoint");
        assert_eq!(read(&more).unwrap().userinfo, None);
    }

    // O2, O3, O7
    #[test]
    fn a_document_about_somebody_else_or_without_what_is_needed_is_refused() {
        let set = |name: &str, value: Value| {
            let mut document = document();
            document[name] = value;
            read(&document)
        };
        for other in [
            "https://id.example.com/realms/x/",
            "https://id.example.com/realms/X",
            "https://ID.example.com/realms/x",
            "https://id.example.com:443/realms/x",
            "https://evil.example",
        ] {
            let refused = set("issuer", json!(other)).unwrap_err();
            assert_eq!(refused, DiscoveryError::Issuer { found: Some(other.to_owned()) });
            assert!(refused.to_string().contains(&format!("calls itself `{other}`, and not")), "{refused}");
        }
        // What is no address is not repeated: it ends up in records and logs.
        for other in [
            " https://id.example.com/realms/x",
            "",
            "x`\n2026-01-01T00:00:00Z  INFO edge: everything is well",
            "https://evil.example/\nlogged in by",
            "https://evil.example/\u{1b}[2K",
        ] {
            let refused = set("issuer", json!(other)).unwrap_err();
            assert_eq!(refused, DiscoveryError::Issuer { found: None }, "{other:?}");
            assert!(refused.to_string().contains("calls itself something that is no address"), "{refused}");
        }
        for name in ["issuer", "authorization_endpoint", "token_endpoint", "jwks_uri"] {
            assert_eq!(set(name, json!([ISSUER])), Err(DiscoveryError::Missing(name)));
            let mut less = document();
            less.as_object_mut().unwrap().remove(name);
            assert_eq!(read(&less), Err(DiscoveryError::Missing(name)));
        }
        for name in ["authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"] {
            for address in [
                "http://id.example.com/x",
                "javascript:alert(1)",
                "data:text/html,x",
                "file:///etc/passwd",
                "//id.example.com/x",
                "/x",
                "https://",
                "https://user@id.example.com/x",
                "https://user:word@id.example.com/x",
                "https://id.example.com/x#y",
                "https://id.example.com/a b",
                "https://id.example.com/x\r\nA: b",
                "https://id.example.com/é",
                &format!("https://id.example.com/{}", "x".repeat(ADDRESS_MAX)),
            ] {
                assert_eq!(set(name, json!(address)), Err(DiscoveryError::Address(name)), "{address}");
            }
        }
        assert_eq!(set("response_types_supported", json!(["id_token"])), Err(DiscoveryError::NoCode));
        assert_eq!(set("response_types_supported", json!("code")), Err(DiscoveryError::NoCode));
        assert_eq!(set("code_challenge_methods_supported", json!(["plain"])), Err(DiscoveryError::NoPkce));
        let secrets = "token_endpoint_auth_methods_supported";
        assert_eq!(set(secrets, json!(["private_key_jwt", "none"])), Err(DiscoveryError::NoAuthentication));
        assert!(matches!(Discovery::read(b"<html>", ISSUER, false), Err(DiscoveryError::Json(_))));
    }

    #[test]
    fn plain_http_is_for_those_who_say_so() {
        let mut document = document();
        document["jwks_uri"] = json!("http://127.0.0.1:3000/keys");
        assert!(Discovery::read(document.to_string().as_bytes(), ISSUER, true).is_ok());
    }

    proptest! {
        #[test]
        fn no_document_panics(text in "\\PC{0,80}", name in "[a-z_]{0,20}") {
            let mut document = document();
            document[&name] = json!(text);
            let _ = read(&document);
            let _ = Discovery::read(text.as_bytes(), &text, true);
        }
    }
}
