//! Ways to log in, as they are kept.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use tunnel_auth::{OpenError, SecretBytes};
use tunnel_proto::{Hostname, Name};

use crate::keys::Keys;

/// A way to log in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginMethod {
    /// Its stable name.
    pub name: Name,
    /// What it is.
    pub kind: LoginMethodKind,
}

/// The kinds of login method.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LoginMethodKind {
    /// A one-time PIN by e-mail.
    OneTimePin,
    /// A passkey of somebody who was invited, or who added it after another login.
    Passkey(PasskeyMethod),
    /// An OpenID provider.
    OpenId(Box<OpenIdMethod>),
    /// GitHub.
    Github(Box<GithubMethod>),
}

impl LoginMethodKind {
    /// The kind as it is written in a declaration.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::OneTimePin => "one_time_pin",
            Self::Passkey(_) => "passkey",
            Self::OpenId(method) => method.preset.as_str(),
            Self::Github(_) => "github",
        }
    }

    /// Who vouches for people there, and gets the secret: the issuer, or where GitHub is.
    pub fn authority(&self) -> Option<&str> {
        match self {
            Self::OneTimePin | Self::Passkey(_) => None,
            Self::OpenId(method) => Some(&method.issuer),
            Self::Github(method) => Some(&method.authority),
        }
    }

    /// The secret that the edge shows there.
    pub fn client_secret(&self) -> Option<&SealedSecret> {
        match self {
            Self::OneTimePin | Self::Passkey(_) => None,
            Self::OpenId(method) => Some(&method.client_secret),
            Self::Github(method) => Some(&method.client_secret),
        }
    }

    pub(crate) fn client_secret_mut(&mut self) -> Option<&mut SealedSecret> {
        match self {
            Self::OneTimePin | Self::Passkey(_) => None,
            Self::OpenId(method) => Some(&mut method.client_secret),
            Self::Github(method) => Some(&mut method.client_secret),
        }
    }

    /// How often its provider is asked whether it still vouches for a login.
    pub fn revalidate(&self) -> Option<Duration> {
        match self {
            Self::OpenId(method) => method.revalidate,
            Self::OneTimePin | Self::Passkey(_) | Self::Github(_) => None,
        }
    }

    /// Certificates that vouch for it beside the system's.
    pub fn ca(&self) -> Option<&String> {
        match self {
            Self::OneTimePin | Self::Passkey(_) => None,
            Self::OpenId(method) => method.ca.as_ref(),
            Self::Github(method) => method.ca.as_ref(),
        }
    }

    pub(crate) fn ca_mut(&mut self) -> Option<&mut Option<String>> {
        match self {
            Self::OneTimePin | Self::Passkey(_) => None,
            Self::OpenId(method) => Some(&mut method.ca),
            Self::Github(method) => Some(&mut method.ca),
        }
    }
}

/// A secret of a login method, sealed for its name by the edge's own keys. Never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SealedSecret(#[serde(with = "base64")] pub Vec<u8>);

/// What the secrets of login methods are sealed for, beside the name of the method.
const SEALED_FOR: &str = "login method secret";

impl SealedSecret {
    /// Seals a secret for the method called `name`.
    pub fn seal(keys: &Keys, name: &Name, plain: &[u8]) -> Self {
        Self(keys.seal(SEALED_FOR, name.as_str().as_bytes(), plain))
    }

    /// The secret that was sealed for the method called `name`.
    pub fn open(&self, keys: &Keys, name: &Name) -> Result<SecretBytes, OpenError> {
        keys.open(SEALED_FOR, name.as_str().as_bytes(), &self.0)
    }
}

impl fmt::Debug for SealedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedSecret(…)")
    }
}

mod base64 {
    use data_encoding::BASE64;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        BASE64.decode(String::deserialize(deserializer)?.as_bytes()).map_err(D::Error::custom)
    }
}

/// Passkeys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasskeyMethod {
    /// How long a passkey that was added after another login counts without that login being repeated: somebody who left
    /// the company is gone from its provider, but still has the key.
    pub renew: Duration,
}

impl PasskeyMethod {
    /// How long a passkey counts unless something else is declared.
    pub const RENEW_DEFAULT: Duration = Duration::from_secs(30 * 24 * 3600);
}

/// An OpenID provider, and how its word is understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenIdMethod {
    /// Which provider it is.
    pub preset: OpenIdPreset,
    /// The issuer, exactly as the provider writes it.
    pub issuer: String,
    /// The name by which the provider knows this edge.
    pub client_id: String,
    /// The secret that goes with it.
    pub client_secret: SealedSecret,
    /// Scopes asked for beside `openid`, `email` and `profile`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// The claim that holds the address, where it is not the preset's own choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email_claim: Option<String>,
    /// The claim that holds the groups, where it is not `groups`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups_claim: Option<String>,
    /// Whether the provider's directory is asked for groups that do not fit into a token (Microsoft Graph).
    #[serde(default)]
    pub groups: bool,
    /// The base address of that directory, where it is not the preset's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graph: Option<String>,
    /// Claims that are kept, for rules and for services.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<String>,
    /// The domain that accounts must belong to (`hd` at Google).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosted_domain: Option<Hostname>,
    /// Domains whose addresses the provider need not call verified.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authoritative_for: Vec<Hostname>,
    /// How often the provider is asked whether it still vouches for a login (whole seconds); never when it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revalidate: Option<Duration>,
    /// Whether the provider may live at a private address, or speak plain HTTP there.
    #[serde(default)]
    pub private_address: bool,
    /// Certificates (PEM) that vouch for the provider beside the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

impl OpenIdMethod {
    /// The shortest time after which a provider is asked again: each login is a request to it.
    pub const REVALIDATE_MIN: Duration = Duration::from_secs(60);
    /// The longest: no login lasts for much longer.
    pub const REVALIDATE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

    /// The tenant that the issuer speaks for, at Microsoft Entra ID.
    pub fn tenant(&self) -> Option<&str> {
        if self.preset != OpenIdPreset::Entra {
            return None;
        }
        self.issuer.strip_suffix("/v2.0")?.rsplit('/').next()
    }
}

/// Which OpenID provider a method is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OpenIdPreset {
    /// Any.
    Oidc,
    /// Microsoft Entra ID, once Azure AD.
    Entra,
    /// Google.
    Google,
    /// Okta.
    Okta,
    /// Keycloak.
    Keycloak,
    /// Auth0.
    Auth0,
    /// GitLab.
    Gitlab,
}

impl OpenIdPreset {
    /// Every preset.
    pub const ALL: [Self; 7] =
        [Self::Oidc, Self::Entra, Self::Google, Self::Okta, Self::Keycloak, Self::Auth0, Self::Gitlab];

    /// The preset as it is written in a declaration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Oidc => "oidc",
            Self::Entra => "entra",
            Self::Google => "google",
            Self::Okta => "okta",
            Self::Keycloak => "keycloak",
            Self::Auth0 => "auth0",
            Self::Gitlab => "gitlab",
        }
    }
}

/// GitHub, or an enterprise server of its kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GithubMethod {
    /// The name by which GitHub knows this edge.
    pub client_id: String,
    /// The secret that goes with it.
    pub client_secret: SealedSecret,
    /// Where people log in: `https://github.com`, or an enterprise server.
    pub authority: String,
    /// Where the programming interface is: `https://api.github.com`, or an enterprise server's.
    pub api: String,
    /// Whether it may live at a private address, or speak plain HTTP there.
    #[serde(default)]
    pub private_address: bool,
    /// Certificates (PEM) that vouch for it beside the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}
