//! What an administrator writes: groups, policies and applications, as checked values.

use std::{fmt, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tunnel_proto::{AppId, DestinationRange, EmailAddress, HostPattern, Hostname, Name};

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

/// One condition. Written as a map with one key, for example `email_domain: example.com`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Selector {
    /// This e-mail address.
    Email(EmailAddress),
    /// E-mail addresses whose domain is exactly this one.
    EmailDomain(Hostname),
    /// Source addresses in this range.
    Ip(IpNet),
    /// Everyone.
    Everyone,
    /// People who logged in by this method.
    LoginMethod(Name),
    /// Machines with the service token of this name.
    ServiceToken(Name),
    /// Machines with any service token.
    AnyServiceToken,
    /// People and places that this group's rules match.
    Group(Name),
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
    /// Admit machines by their service token, before any other policy is asked. People are not admitted by it.
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
    /// Whether the origin also gets the `Cf-Access-*` headers.
    #[serde(default = "yes")]
    pub compatible_headers: bool,
    /// Whether a program may ask for a login that is approved on another device.
    #[serde(default = "yes")]
    pub device_login: bool,
    /// Made by the quick start when the hostname was published; gives way to any application declared for that hostname.
    #[serde(default)]
    pub provisional: bool,
}

fn yes() -> bool {
    true
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Block => "block",
            Self::ServiceAuth => "service_auth",
        })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Email(email) => write!(f, "email `{email}`"),
            Self::EmailDomain(domain) => write!(f, "email_domain `{domain}`"),
            Self::Ip(range) => write!(f, "ip `{range}`"),
            Self::Everyone => f.write_str("everyone"),
            Self::LoginMethod(method) => write!(f, "login_method `{method}`"),
            Self::ServiceToken(token) => write!(f, "service_token `{token}`"),
            Self::AnyServiceToken => f.write_str("any_service_token"),
            Self::Group(group) => write!(f, "group `{group}`"),
        }
    }
}
