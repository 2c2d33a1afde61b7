//! The values of selectors that are more than one text.

use tunnel_policy::{ClaimValue, Days, Evaluation, GithubTeam, ProviderGroup, TimeOfWeek, Zone};
use tunnel_proto::Name;

use super::super::{
    fields::{Fields, Keys, Reader},
    problem::suggestion,
    scalar,
    yaml::{Node, Value},
};

const IDP_GROUP: Keys = Keys { known: &["name", "login_method"], later: &[] };
const GITHUB: Keys = Keys { known: &["organization", "team", "login_method"], later: &[] };
const OIDC_CLAIM: Keys = Keys { known: &["name", "value", "login_method"], later: &[] };
const TIME_OF_WEEK: Keys = Keys { known: &["days", "from", "to", "zone"], later: &[] };
const EXTERNAL_EVALUATION: Keys =
    Keys { known: &["evaluate_url", "keys_url", "danger_allow_private_address"], later: &[] };

/// The longest name of a group, a claim, a claim's value.
const TEXT_MAX: usize = 256;
/// The longest login name at GitHub.
const ORGANIZATION_MAX: usize = 39;
/// The longest slug of a team there.
const TEAM_MAX: usize = 100;

pub(super) fn idp_group(read: &mut Reader, node: &Node) -> Option<ProviderGroup> {
    if !matches!(node.value, Value::Map(_)) {
        return Some(ProviderGroup { name: read.with(node, "idp_group", text)?, login_method: None });
    }
    let fields = read.fields(node, "idp_group", &IDP_GROUP)?;
    let name = required(read, &fields, "name", text);
    let login_method = login_method(read, &fields);
    Some(ProviderGroup { name: name?, login_method: login_method? })
}

pub(super) fn github(read: &mut Reader, node: &Node) -> Option<GithubTeam> {
    if !matches!(node.value, Value::Map(_)) {
        let organization = read.with(node, "github", organization)?;
        return Some(GithubTeam { organization, team: None, login_method: None });
    }
    let fields = read.fields(node, "github", &GITHUB)?;
    let organization = required(read, &fields, "organization", organization);
    let team = fields.get("team").map_or(Some(None), |node| read.with(node, "team", team).map(Some));
    let login_method = login_method(read, &fields);
    Some(GithubTeam { organization: organization?, team: team?, login_method: login_method? })
}

pub(super) fn oidc_claim(read: &mut Reader, node: &Node) -> Option<ClaimValue> {
    let fields = read.fields(node, "oidc_claim", &OIDC_CLAIM)?;
    let name = required(read, &fields, "name", text);
    let value = read.required(&fields, "value").and_then(|node| match &node.value {
        // As JSON writes them, which is how the claim is compared.
        Value::Number(number) => Some(number.clone()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::List(_) => read.wrong(node.at, "`value` is one value: write one rule for each"),
        _ => read.with(node, "value", text),
    });
    let login_method = login_method(read, &fields);
    Some(ClaimValue { name: name?, value: value?, login_method: login_method? })
}

pub(super) fn time_of_week(read: &mut Reader, node: &Node) -> Option<TimeOfWeek> {
    let fields = read.fields(node, "time_of_week", &TIME_OF_WEEK)?;
    let days = read.required(&fields, "days").and_then(|node| {
        let many = read.list(node, "days")?.len();
        if many == 0 {
            return read.wrong(node.at, "`days` names no day: write for example `[mon-fri]`, or `[mon-sun]` for all");
        }
        let days =
            read.many(node, "days", |text| text.parse::<Days>().map_err(|error| format!("`{text}`: {error}")))?;
        (days.len() == many).then(|| days.iter().fold(Days::default(), |all, some| all.with(some.value)))
    });
    let from = read.required(&fields, "from").and_then(|node| read.parsed(node, "from"));
    let to = read.required(&fields, "to").and_then(|node| read.parsed(node, "to"));
    let zone = required(read, &fields, "zone", zone);
    let (days, from, to, zone) = (days?, from?, to?, zone?);
    match TimeOfWeek::new(days, from.value, to.value, zone) {
        Ok(time) => Some(time),
        Err(error) => read.wrong(from.at, format!("`time_of_week`: {error}")),
    }
}

pub(super) fn external_evaluation(read: &mut Reader, node: &Node) -> Option<Evaluation> {
    let fields = read.fields(node, "external_evaluation", &EXTERNAL_EVALUATION)?;
    let private = read.switch(&fields, "danger_allow_private_address");
    let address = |text: &str| scalar::evaluation(text, private.unwrap_or(true));
    let evaluate_url = required(read, &fields, "evaluate_url", address);
    let keys_url = required(read, &fields, "keys_url", address);
    Some(Evaluation { evaluate_url: evaluate_url?, keys_url: keys_url?, danger_allow_private_address: private? })
}

/// A value of RFC 8176, or one of those that providers add to them.
pub(super) fn auth_method(text: &str) -> Result<String, String> {
    match text.len() {
        1..=64 if text.bytes().all(|b| b.is_ascii_graphic()) => Ok(text.to_owned()),
        _ => Err(format!("`{text}` is not an authentication method: write a word of RFC 8176, such as `mfa` or `hwk`")),
    }
}

fn required<T>(
    read: &mut Reader,
    fields: &Fields<'_>,
    key: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Option<T> {
    let node = read.required(fields, key)?;
    read.with(node, key, parse)
}

fn login_method(read: &mut Reader, fields: &Fields<'_>) -> Option<Option<Name>> {
    let Some(node) = fields.get("login_method") else { return Some(None) };
    read.parsed(node, "login_method").map(|name| Some(name.value))
}

/// Any text that a provider may have written, but none that is empty.
fn text(text: &str) -> Result<String, String> {
    match text.chars().count() {
        0 => Err("an empty text is compared with nothing: write what it must be".to_owned()),
        1..=TEXT_MAX => Ok(text.to_owned()),
        _ => Err(format!("it is longer than {TEXT_MAX} characters")),
    }
}

fn organization(text: &str) -> Result<String, String> {
    if let Some((organization, team)) = text.split_once('/') {
        return Err(format!("`{text}`: write `{{organization: {organization}, team: {team}}}`"));
    }
    let good = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') && !text.starts_with('-');
    match text.len() {
        1..=ORGANIZATION_MAX if good => Ok(text.to_ascii_lowercase()),
        _ => Err(format!("`{text}` is not an organisation at GitHub: write its login name, as in github.com/NAME")),
    }
}

fn team(text: &str) -> Result<String, String> {
    let good = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    match text.len() {
        1..=TEAM_MAX if good => Ok(text.to_ascii_lowercase()),
        _ => Err(format!("`{text}` is not a team at GitHub: write its slug, as in github.com/orgs/NAME/teams/SLUG")),
    }
}

fn zone(text: &str) -> Result<Zone, String> {
    text.parse().map_err(|error| {
        let names: Vec<String> = Zone::names().collect();
        // People write the city, or the city wrong.
        let city =
            names.iter().find(|name| name.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(text)));
        let near = match city {
            Some(name) => format!("; did you mean `{name}`?"),
            None => suggestion(text, names.iter().map(String::as_str)),
        };
        format!("`{text}`: {error}{near}")
    })
}
