//! What a login is for, sealed into the addresses and forms that carry it, so that nothing is stored for a stranger.

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tunnel_auth::ChallengeId;
use tunnel_policy::{Circumstances, Country};
use tunnel_proto::{AppId, EmailAddress, Hostname, UnixTime};

use crate::{Visit, keys::Keys, session::cookie::LOGIN_LIFE, store::SecretHash};

/// The longest path and query that a login returns to.
pub(crate) const TARGET_MAX: usize = 4096;
/// The longest sealed text that is looked at.
const SEALED_MAX: usize = 16 * 1024;

/// Where a visitor wants to go: the ID of the hand-over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Request {
    /// The application.
    pub(crate) app: AppId,
    /// Its host.
    pub(crate) host: Hostname,
    /// The host that pages and mails name, when it is not the one to return to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) named: Option<Hostname>,
    /// The scheme that the visitor came by.
    pub(crate) https: bool,
    /// The port, unless it is the scheme's own.
    pub(crate) port: Option<u16>,
    /// Path and query to return to; checked by [`target`].
    pub(crate) target: String,
    /// Hash of the login cookie at the application's host.
    pub(crate) login: SecretHash,
    /// The visitor's address there, by which policies are judged: the login host may be reached by another.
    pub(crate) source: std::net::IpAddr,
    /// The country of that address, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) country: Option<Country>,
    /// When it began.
    pub(crate) at: UnixTime,
    /// Whether it needs a login that is begun after this, whoever is logged in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) fresh: bool,
}

const REQUEST: &str = "login request";

impl Request {
    /// The request as text for an address.
    pub(crate) fn seal(&self, keys: &Keys) -> String {
        seal(keys, REQUEST, &[], self)
    }

    /// The request that was sealed, however old.
    pub(crate) fn open(keys: &Keys, text: &str) -> Option<Self> {
        open(keys, REQUEST, &[], text)
    }

    /// The host that pages and mails name.
    pub(crate) fn named(&self) -> &Hostname {
        self.named.as_ref().unwrap_or(&self.host)
    }

    /// Whether the login may still go on.
    pub(crate) fn is_live(&self, now: UnixTime) -> bool {
        now.since(self.at).as_secs() < LOGIN_LIFE
    }

    /// Whether a login of this moment is good enough for it.
    pub(crate) fn is_served_by(&self, authenticated: UnixTime) -> bool {
        !self.fresh || authenticated >= self.at
    }

    /// Where the visitor is, as policies see it at `now`.
    pub(crate) fn here(&self, now: UnixTime) -> Circumstances {
        Circumstances { source: self.source, country: self.country, now }
    }

    /// The address of `path` at the application's host.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin())
    }

    /// The origin of the application, as the visitor came to it.
    pub(crate) fn origin(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        match self.port {
            Some(port) => format!("{scheme}://{}:{port}", self.host),
            None => format!("{scheme}://{}", self.host),
        }
    }

    /// A request to go to `raw` at the visited host.
    pub(crate) fn new(app: AppId, visit: &Visit, raw: &str, login: SecretHash) -> Self {
        Self {
            app,
            host: visit.host.clone(),
            named: None,
            https: visit.https,
            port: visit.port,
            target: target(raw).to_owned(),
            login,
            source: visit.source,
            country: visit.country,
            at: visit.now,
            fresh: false,
        }
    }
}

/// A PIN challenge as the pages carry it: bound to the login cookie, so another browser cannot use it (P5).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Challenge {
    id: String,
    /// The address that was typed.
    pub(crate) email: EmailAddress,
    /// The application.
    pub(crate) app: AppId,
}

const CHALLENGE: &str = "pin challenge";

impl Challenge {
    /// A challenge for an address.
    pub(crate) fn new(id: &ChallengeId, email: EmailAddress, app: AppId) -> Self {
        Self { id: id.reveal().to_string(), email, app }
    }

    /// The hash that names it in the store.
    pub(crate) fn hash(&self) -> Option<SecretHash> {
        ChallengeId::parse(&self.id).map(|id| id.hash())
    }

    /// The challenge as text for an address or form of the browser with this login.
    pub(crate) fn seal(&self, keys: &Keys, login: &SecretHash) -> String {
        seal(keys, CHALLENGE, login, self)
    }

    /// The challenge that was sealed for this browser.
    pub(crate) fn open(keys: &Keys, login: &SecretHash, text: &str) -> Option<Self> {
        open(keys, CHALLENGE, login, text)
    }
}

/// Path and query of `raw`, the request target as it came, if one can return there; else its path, else `/`.
///
/// What follows is always put behind an origin of our own making, so that no spelling of it names another one (H12).
pub(crate) fn target(raw: &str) -> &str {
    let good = |text: &str| {
        text.starts_with('/') && text.len() <= TARGET_MAX && text.bytes().all(|b| matches!(b, 0x21..=0x7e) && b != b'#')
    };
    let path = raw.split('?').next().unwrap_or_default();
    [raw, path].into_iter().find(|text| good(text)).unwrap_or("/")
}

fn seal(keys: &Keys, purpose: &str, aad: &[u8], value: &impl Serialize) -> String {
    // Strings and numbers always serialise; an empty text opens as nothing.
    let plain = serde_json::to_vec(value).unwrap_or_default();
    BASE64URL_NOPAD.encode(&keys.seal(purpose, aad, &plain))
}

fn open<T: DeserializeOwned>(keys: &Keys, purpose: &str, aad: &[u8], text: &str) -> Option<T> {
    if text.len() > SEALED_MAX {
        return None;
    }
    let sealed = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
    let plain = keys.open(purpose, aad, &sealed).ok()?;
    serde_json::from_slice(plain.expose()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // H12
    #[test]
    fn a_login_returns_to_a_path_or_to_the_front_page() {
        let long = format!("/{}", "x".repeat(TARGET_MAX));
        let long_query = format!("/a?{}", "x".repeat(TARGET_MAX));
        for (raw, expected) in [
            ("/", "/"),
            ("/a/b?c=d&e=%0d%0a", "/a/b?c=d&e=%0d%0a"),
            ("//evil.example/x", "//evil.example/x"),
            ("/\\evil.example", "/\\evil.example"),
            ("", "/"),
            ("*", "/"),
            ("https://evil.example/", "/"),
            ("https:evil.example", "/"),
            ("javascript:alert(1)", "/"),
            ("@evil.example/", "/"),
            (".evil.example/", "/"),
            (":8443/", "/"),
            ("/a b", "/"),
            ("/a\r\nX: y", "/"),
            ("/a\tb", "/"),
            ("/a#b", "/"),
            ("/é", "/"),
            ("/a?é", "/a"),
            (&long, "/"),
            (&long_query, "/a"),
        ] {
            assert_eq!(target(raw), expected, "{raw}");
        }
    }

    proptest! {
        #[test]
        fn no_target_leads_to_another_origin(raw in "[/\\\\@:.?#a-z%0-9 \t\r\n]{0,24}") {
            let url = url::Url::parse(&format!("https://www.example.com:8443{}", target(&raw))).unwrap();
            prop_assert_eq!(url.origin().ascii_serialization(), "https://www.example.com:8443");
        }
    }
}
