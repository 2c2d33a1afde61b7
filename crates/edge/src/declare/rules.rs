//! The rules of groups and policies, selector by selector.

mod values;

use tunnel_policy::{Rules, Selector};

use super::{
    countries,
    fields::{At, Fields, Reader},
    scalar,
    yaml::{Node, Value},
};

/// Rule lists whose selectors know where they stand.
#[derive(Debug)]
pub(super) struct RulesText {
    pub(super) include: Vec<At<Selector>>,
    pub(super) require: Vec<At<Selector>>,
    pub(super) exclude: Vec<At<Selector>>,
}

impl RulesText {
    pub(super) fn all(&self) -> impl Iterator<Item = &At<Selector>> {
        self.include.iter().chain(&self.require).chain(&self.exclude)
    }

    pub(super) fn rules(&self) -> Rules {
        let list = |list: &[At<Selector>]| list.iter().map(|selector| selector.value.clone()).collect();
        Rules { include: list(&self.include), require: list(&self.require), exclude: list(&self.exclude) }
    }
}

/// Selectors that are built, as keys of one-key maps.
const KNOWN: [&str; 17] = [
    "email",
    "email_domain",
    "email_list",
    "ip",
    "ip_list",
    "country",
    "everyone",
    "login_method",
    "auth_method",
    "idp_group",
    "github",
    "oidc_claim",
    "service_token",
    "any_service_token",
    "time_of_week",
    "external_evaluation",
    "group",
];

/// Selectors that will be.
const LATER: [&str; 8] = [
    "auth_context",
    "google_group",
    "okta",
    "saml_attribute",
    "linked_app_token",
    "certificate",
    "common_name",
    "device_posture",
];

/// Reads `include`, `require` and `exclude`.
pub(super) fn rules(read: &mut Reader, fields: &Fields<'_>) -> Option<RulesText> {
    let mut list = |key: &str| {
        let Some(node) = fields.get(key) else { return Some(Vec::new()) };
        let nodes = read.list(node, key)?;
        let selectors: Vec<_> = nodes.iter().map(|node| selector(read, node)).collect();
        selectors.into_iter().collect::<Option<Vec<_>>>()
    };
    let (include, require, exclude) = (list("include"), list("require"), list("exclude"));
    let (include, require, exclude) = (include?, require?, exclude?);
    if include.is_empty() {
        let at = fields.get("include").map_or(fields.place(), |node| node.at);
        let text = format!("{} without an `include` rule would match nobody: say whom it is about", fields.named());
        return read.wrong(at, text);
    }
    Some(RulesText { include, require, exclude })
}

fn selector(read: &mut Reader, node: &Node) -> Option<At<Selector>> {
    let at = node.at;
    let (key, value) = match &node.value {
        Value::Map(entries) => match entries.as_slice() {
            [(key, value)] => (key, value),
            [] => return read.wrong(at, "a rule is a map with one key, such as `{email: ann@example.com}`"),
            [_, (second, _), ..] => {
                let text = format!("a rule is a map with one key; write `{}` as a rule of its own", second.text);
                return read.wrong(second.at, text);
            }
        },
        Value::Text(word) if word == "everyone" => return Some(At { at, value: Selector::Everyone }),
        Value::Text(word) if word == "any_service_token" => return Some(At { at, value: Selector::AnyServiceToken }),
        other => {
            let kind = other.kind();
            return read
                .wrong(at, format!("a rule is a map with one key, such as `{{email: ann@example.com}}`, not {kind}"));
        }
    };
    if KNOWN.contains(&key.text.as_str())
        && let Value::List(_) = value.value
    {
        let text = format!("`{}` takes one value: write one rule for each, `- {}: …`", key.text, key.text);
        return read.wrong(value.at, text);
    }
    let what = key.text.as_str();
    // What a rule says about something else stands in its value.
    let at = value.at;
    let value = match what {
        "email" => Selector::Email(read.parsed(value, what)?.value),
        "email_domain" => Selector::EmailDomain(read.with(value, what, domain)?),
        "email_list" => Selector::EmailList(read.parsed(value, what)?.value),
        "ip" => Selector::Ip(read.with(value, what, scalar::range)?),
        "ip_list" => Selector::IpList(read.parsed(value, what)?.value),
        "country" => Selector::Country(read.with(value, what, countries::country)?),
        "login_method" => Selector::LoginMethod(read.parsed(value, what)?.value),
        "auth_method" => Selector::AuthMethod(read.with(value, what, values::auth_method)?),
        "idp_group" => Selector::IdpGroup(values::idp_group(read, value)?),
        "github" => Selector::Github(values::github(read, value)?),
        "oidc_claim" => Selector::OidcClaim(values::oidc_claim(read, value)?),
        "time_of_week" => Selector::TimeOfWeek(values::time_of_week(read, value)?),
        "external_evaluation" => Selector::ExternalEvaluation(values::external_evaluation(read, value)?),
        "group" => Selector::Group(read.parsed(value, what)?.value),
        "service_token" => Selector::ServiceToken(read.parsed(value, what)?.value),
        "everyone" | "any_service_token" => match &value.value {
            Value::Map(entries) if !entries.is_empty() => return bare(read, value, what),
            Value::Null | Value::Bool(true) | Value::Map(_) if what == "everyone" => Selector::Everyone,
            Value::Null | Value::Bool(true) | Value::Map(_) => Selector::AnyServiceToken,
            _ => return bare(read, value, what),
        },
        word => return read.choice(key.at, "selector", word, &KNOWN, &LATER),
    };
    Some(At { at, value })
}

fn bare<T>(read: &mut Reader, value: &Node, what: &str) -> Option<T> {
    read.wrong(value.at, format!("`{what}` takes no value: write `{{{what}: true}}`"))
}

fn domain(text: &str) -> Result<tunnel_proto::Hostname, String> {
    if let Some((_, domain)) = text.split_once('@') {
        return Err(format!("`{text}`: write the domain without the `@`: `{domain}`"));
    }
    if text.contains('*') {
        return Err(format!("`{text}`: an e-mail domain is exact; name each domain in a rule of its own"));
    }
    text.parse().map_err(|error| format!("`{text}` is not a domain: {error}"))
}
