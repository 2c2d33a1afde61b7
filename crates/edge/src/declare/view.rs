//! What is declared, in the shape of the file: for `edge export`, and for telling what changed.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Value, json};
use tunnel_policy::{Application, AssertionAlgorithm, EmailList, Group, IpList, Policy, SameSite, Selector};
use tunnel_proto::{DestinationRange, EmailAddress, HostPattern, Name};

use super::{
    cors::CorsView,
    method_view::MethodView,
    scalar::{duration_text, range_text},
};
use crate::store::{Declared, SessionSettings, TunnelRecord};

/// A whole file. Every section is there, also an empty one, so that pruning by the file does what it looks like.
#[derive(Debug, Serialize)]
pub(super) struct File {
    pub(super) sessions: SessionsView,
    pub(super) login_methods: Vec<MethodView>,
    pub(super) email_lists: Vec<EmailListView>,
    pub(super) ip_lists: Vec<IpListView>,
    pub(super) groups: Vec<GroupView>,
    pub(super) policies: Vec<PolicyView>,
    pub(super) applications: Vec<ApplicationView>,
    pub(super) tunnels: Vec<TunnelView>,
}

#[derive(Debug, Serialize)]
pub(super) struct SessionsView {
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idle: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct EmailListView {
    name: Name,
    emails: Vec<EmailAddress>,
}

#[derive(Debug, Serialize)]
pub(super) struct IpListView {
    name: Name,
    ips: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct GroupView {
    name: Name,
    #[serde(flatten)]
    rules: RulesView,
}

#[derive(Debug, Serialize)]
pub(super) struct PolicyView {
    name: Name,
    action: String,
    #[serde(flatten)]
    rules: RulesView,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_duration: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    destinations: Vec<DestinationRange>,
}

#[derive(Debug, Serialize)]
struct RulesView {
    include: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    require: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    exclude: Vec<Value>,
}

#[derive(Debug, Serialize)]
pub(super) struct ApplicationView {
    name: Name,
    hostnames: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    login_methods: Vec<Name>,
    policies: Vec<Name>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    websocket_origins: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    upgrades: Vec<String>,
    #[serde(skip_serializing_if = "is_true")]
    compatible_headers: bool,
    #[serde(skip_serializing_if = "is_true")]
    device_login: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_duration: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_idle: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    assertion: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    same_site: Option<SameSite>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cors: Option<CorsView>,
}

#[derive(Debug, Serialize)]
pub(super) struct TunnelView {
    name: Name,
    hostnames: Vec<HostPattern>,
}

/// The fields in the order in which they are told.
const FIELDS: [&str; 22] = [
    "duration",
    "idle",
    "type",
    "emails",
    "ips",
    "action",
    "hostnames",
    "include",
    "require",
    "exclude",
    "session_duration",
    "session_idle",
    "destinations",
    "login_methods",
    "policies",
    "websocket_origins",
    "upgrades",
    "compatible_headers",
    "device_login",
    "assertion",
    "same_site",
    "cors",
];
/// Fields that are sets and may be long: told by what comes and what goes.
const SETS: [&str; 2] = ["emails", "ips"];

impl File {
    pub(super) fn of(declared: &Declared) -> Self {
        Self {
            sessions: SessionsView::of(&declared.sessions),
            login_methods: declared.login_methods.iter().map(MethodView::of).collect(),
            email_lists: declared.email_lists.iter().map(EmailListView::of).collect(),
            ip_lists: declared.ip_lists.iter().map(IpListView::of).collect(),
            groups: declared.groups.iter().map(GroupView::of).collect(),
            policies: declared.policies.iter().map(PolicyView::of).collect(),
            applications: declared
                .applications
                .iter()
                .filter(|app| !app.provisional)
                .map(ApplicationView::of)
                .collect(),
            tunnels: declared.tunnels.iter().map(|tunnel| TunnelView::of(tunnel, declared)).collect(),
        }
    }
}

impl SessionsView {
    fn of(sessions: &SessionSettings) -> Self {
        Self { duration: sessions.duration.map(duration_text), idle: sessions.idle.map(duration_text) }
    }
}

impl EmailListView {
    fn of(list: &EmailList) -> Self {
        Self { name: list.name.clone(), emails: list.emails.clone() }
    }
}

impl IpListView {
    fn of(list: &IpList) -> Self {
        Self { name: list.name.clone(), ips: list.ranges.iter().map(range_text).collect() }
    }
}

impl GroupView {
    fn of(group: &Group) -> Self {
        Self { name: group.name.clone(), rules: RulesView::of(&group.rules) }
    }
}

impl PolicyView {
    fn of(policy: &Policy) -> Self {
        Self {
            name: policy.name.clone(),
            action: policy.action.to_string(),
            rules: RulesView::of(&policy.rules),
            session_duration: policy.session_duration.map(duration_text),
            destinations: policy.destinations.clone(),
        }
    }
}

impl RulesView {
    fn of(rules: &tunnel_policy::Rules) -> Self {
        let list = |selectors: &[Selector]| selectors.iter().map(selector).collect();
        Self { include: list(&rules.include), require: list(&rules.require), exclude: list(&rules.exclude) }
    }
}

fn selector(selector: &Selector) -> Value {
    match selector {
        Selector::Ip(range) => json!({ "ip": range_text(range) }),
        Selector::Everyone => json!({ "everyone": true }),
        Selector::AnyServiceToken => json!({ "any_service_token": true }),
        Selector::IdpGroup(group) if group.login_method.is_none() => json!({ "idp_group": group.name }),
        Selector::Github(github) if github.team.is_none() && github.login_method.is_none() => {
            json!({ "github": github.organization })
        }
        // The others are written as they are stored.
        other => serde_json::to_value(other).unwrap_or(Value::Null),
    }
}

impl ApplicationView {
    fn of(app: &Application) -> Self {
        let target = |target: &tunnel_policy::Target| match &target.path {
            Some(path) => format!("{}{path}", target.host),
            None => target.host.to_string(),
        };
        Self {
            name: app.name.clone(),
            hostnames: app.targets.iter().map(target).collect(),
            login_methods: app.login_methods.clone(),
            policies: app.policies.clone(),
            websocket_origins: app.websocket_origins.clone(),
            upgrades: app.upgrades.clone(),
            compatible_headers: app.compatible_headers,
            device_login: app.device_login,
            session_duration: app.session_duration.map(duration_text),
            session_idle: app.session_idle.map(duration_text),
            assertion: match app.assertion {
                AssertionAlgorithm::Es256 => None,
                AssertionAlgorithm::Rs256 => Some("rs256"),
            },
            same_site: Some(app.same_site).filter(|said| *said != SameSite::default()),
            cors: app.cors.as_ref().map(CorsView::of),
        }
    }
}

impl TunnelView {
    fn of(tunnel: &TunnelRecord, declared: &Declared) -> Self {
        let mine = declared.routes.iter().filter(|route| route.tunnel == tunnel.id);
        let mut hostnames: Vec<_> = mine.map(|route| route.hostname.clone()).collect();
        hostnames.sort();
        Self { name: tunnel.name.clone(), hostnames }
    }
}

fn is_true(value: &bool) -> bool {
    *value
}

/// What a field says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// A short text.
    Text(String),
    /// The members of a set.
    Set(BTreeSet<String>),
}

/// The fields of a thing but its name, in order.
pub(super) fn fields(thing: &impl Serialize) -> Vec<(&'static str, Said)> {
    fields_of(thing, &FIELDS)
}

/// The same of these fields.
pub(super) fn fields_of(thing: &impl Serialize, names: &[&'static str]) -> Vec<(&'static str, Said)> {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(thing) else { return Vec::new() };
    let said = |field: &str, value: Value| match value {
        Value::Array(list) if SETS.contains(&field) => Said::Set(list.iter().map(short).collect()),
        value => Said::Text(short(&value)),
    };
    names.iter().filter_map(|field| Some((*field, said(field, fields.remove(*field)?)))).collect()
}

fn short(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(short).collect::<Vec<_>>().join(", "),
        Value::Object(map) => {
            let entry = |(key, value): (&String, &Value)| match value {
                Value::Bool(true) => key.clone(),
                value => format!("{key} {}", short(value)),
            };
            map.iter().map(entry).collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}
