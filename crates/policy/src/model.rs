//! What an administrator writes: groups, policies and applications, as checked values.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use tunnel_proto::{AppId, DestinationRange, HostPattern, Name, UnixTime};

use crate::{Cors, SameSite, Selector};

/// A rule list: `ANY(include) AND ALL(require) AND NOT ANY(exclude)`. A list whose `include` is empty matches nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// One of these must hold.
    #[serde(default)]
    pub include: Vec<Selector>,
    /// All of these must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub require: Vec<Selector>,
    /// None of these may hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<Selector>,
}

impl Rules {
    /// Every selector of the three lists.
    pub fn selectors(&self) -> impl Iterator<Item = &Selector> {
        self.include.iter().chain(&self.require).chain(&self.exclude)
    }
}

/// A reusable rule list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its stable name.
    pub name: Name,
    /// Its rules.
    #[serde(flatten)]
    pub rules: Rules,
}

/// What a matching policy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// Admit.
    Allow,
    /// Turn away, whatever later policies say.
    Block,
    /// Admit whoever asks, without a login and before any policy for people is asked. What it opens is public for those whom
    /// its rules match; they cannot ask who somebody is.
    Bypass,
    /// Admit machines by their service token, before any policy for people is asked. People are not admitted by it.
    ServiceAuth,
}

/// A reusable policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Its stable name.
    pub name: Name,
    /// What it does when its rules match.
    pub action: Action,
    /// When it matches.
    #[serde(flatten)]
    pub rules: Rules,
    /// How long a login lasts for an application that this policy admitted to (whole seconds), if not the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_duration: Option<Duration>,
    /// Where a bastion may lead those whom the policy matches, beside its rules. Says nothing about other applications.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub destinations: Vec<DestinationRange>,
}

/// Where an application lives: a hostname pattern and, optionally, a path pattern below it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Target {
    /// The hostnames.
    pub host: HostPattern,
    /// The paths; without one, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<crate::PathPattern>,
}

/// An application: what policies protect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Application {
    /// Its id, which is also the audience of its assertions; stable for its life.
    pub id: AppId,
    /// Its stable name.
    pub name: Name,
    /// Where it lives.
    pub targets: Vec<Target>,
    /// The login methods it offers; all of them when empty.
    #[serde(default)]
    pub login_methods: Vec<Name>,
    /// Its policies, in the order in which they are judged.
    pub policies: Vec<Name>,
    /// Further origins (`https://HOST[:PORT]`) whose pages may open WebSockets to it with the visitor's cookie.
    #[serde(default)]
    pub websocket_origins: Vec<String>,
    /// Protocols other than WebSocket that a connection to it may be upgraded to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upgrades: Vec<String>,
    /// Whether the origin also gets the `Cf-Access-*` headers.
    #[serde(default = "yes")]
    pub compatible_headers: bool,
    /// Whether a program may ask for a login that is approved on another device.
    #[serde(default = "yes")]
    pub device_login: bool,
    /// Made by the quick start when the hostname was published; gives way to any application declared for that hostname.
    #[serde(default)]
    pub provisional: bool,
    /// How long a login lasts for it (whole seconds), where the policy that admits does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_duration: Option<Duration>,
    /// How long a login lasts for it without being used (whole seconds).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_idle: Option<Duration>,
    /// Logins before this moment do not count for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<UnixTime>,
    /// How its assertions are signed.
    #[serde(default, skip_serializing_if = "AssertionAlgorithm::is_default")]
    pub assertion: AssertionAlgorithm,
    /// With which requests of other sites its session cookie goes.
    #[serde(default, skip_serializing_if = "SameSite::is_default")]
    pub same_site: SameSite,
    /// Which pages of other origins may call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
}

impl Application {
    /// An application with these targets and policies, and everything else as it is when nobody says otherwise.
    pub fn new(id: AppId, name: Name, targets: Vec<Target>, policies: Vec<Name>) -> Self {
        Self {
            id,
            name,
            targets,
            login_methods: Vec::new(),
            policies,
            websocket_origins: Vec::new(),
            upgrades: Vec::new(),
            compatible_headers: true,
            device_login: true,
            provisional: false,
            session_duration: None,
            session_idle: None,
            since: None,
            assertion: AssertionAlgorithm::Es256,
            same_site: SameSite::default(),
            cors: None,
        }
    }
}

/// How the assertions are signed that an application's service gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AssertionAlgorithm {
    /// ECDSA on P-256 (RFC 7518 §3.4).
    #[default]
    Es256,
    /// RSA (RFC 7518 §3.3), for services that know nothing else.
    Rs256,
}

impl AssertionAlgorithm {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

fn yes() -> bool {
    true
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Block => "block",
            Self::Bypass => "bypass",
            Self::ServiceAuth => "service_auth",
        })
    }
}
