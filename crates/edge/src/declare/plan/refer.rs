//! What one thing says about another: whether that other exists, and whether the place is free.

use std::collections::{BTreeSet, HashMap};

use tunnel_policy::Selector;
use tunnel_proto::{HostPattern, Name};

use super::{
    super::{
        Ground,
        fields::At,
        problem::{Problem, suggestion},
        read::File,
        yaml::Place,
    },
    NO_COUNTRIES,
};
use crate::store::Declared;

/// Refuses hostnames that nobody may claim, and targets claimed twice in the file.
pub(super) fn hosts(file: &File, ground: &Ground<'_>, problems: &mut Vec<Problem>) {
    let login =
        |host: &HostPattern| ground.built_in.login_host.as_ref().filter(|login| host.exact().as_ref() == Some(login));
    let mut check = |at: Place, host: &HostPattern| {
        if let Some(login) = login(host) {
            let text = format!("`{login}` is where people log in and cannot be published; choose another hostname");
            problems.push(Problem::at(at, text));
        }
    };
    let mut claimed: HashMap<_, (Place, &Name)> = HashMap::new();
    let mut twice = Vec::new();
    for app in file.applications.iter().flatten() {
        for target in &app.body.targets {
            check(target.at, &target.value.host);
            if let Some((first, owner)) = claimed.get(&target.value) {
                let path = target.value.path.as_ref().map(ToString::to_string).unwrap_or_default();
                let host = &target.value.host;
                let text = format!("`{host}{path}` belongs to application `{owner}` already, on line {}", first.line);
                twice.push(Problem::at(target.at, text));
            }
            claimed.entry(&target.value).or_insert((target.at, &app.name.value));
        }
    }
    for tunnel in file.tunnels.iter().flatten() {
        tunnel.body.hostnames.iter().flatten().for_each(|host| check(host.at, &host.value));
    }
    problems.append(&mut twice);
}

/// The names that there are of one kind.
type Known<'a> = BTreeSet<&'a Name>;

/// Refuses names of what does not exist: in the file where they stand, and in what the file does not mention when
/// pruning took away what it needs.
pub(super) fn names(file: &File, after: &Declared, ground: &Ground<'_>, problems: &mut Vec<Problem>) {
    let Ok(complete) = ground.built_in.complete(after.clone()) else { return };
    let groups: Known<'_> = complete.groups.iter().map(|group| &group.name).collect();
    let policies: Known<'_> = complete.policies.iter().map(|policy| &policy.name).collect();
    let tokens: Known<'_> = complete.service_tokens.iter().map(|token| &token.name).collect();
    let methods: Known<'_> = complete.login_methods.iter().map(|method| &method.name).collect();
    let email_lists: Known<'_> = complete.email_lists.iter().map(|list| &list.name).collect();
    let ip_lists: Known<'_> = complete.ip_lists.iter().map(|list| &list.name).collect();
    let mut no_country = Vec::new();
    let mut check = |kind: &str, known: &Known<'_>, name: &Name, at: Place| {
        if !known.contains(name) {
            let suggestion = suggestion(name.as_str(), known.iter().map(|name| name.as_str()));
            problems.push(Problem::at(at, format!("there is no {kind} `{name}`{suggestion}")));
        }
    };
    let policy_rules = file.policies.iter().flatten().map(|policy| &policy.body.rules);
    for At { at, value } in
        file.groups.iter().flatten().map(|group| &group.body).chain(policy_rules).flat_map(|r| r.all())
    {
        match value {
            Selector::Group(name) => check("group", &groups, name, *at),
            Selector::EmailList(name) => check("e-mail list", &email_lists, name, *at),
            Selector::IpList(name) => check("IP list", &ip_lists, name, *at),
            Selector::Country(_) if !ground.countries => no_country.push(Problem::at(*at, NO_COUNTRIES)),
            Selector::ServiceToken(name) => check("service token", &tokens, name, *at),
            _ => {}
        }
        value.login_method().into_iter().for_each(|name| check("login method", &methods, name, *at));
    }
    for app in file.applications.iter().flatten() {
        app.body.policies.iter().for_each(|name| check("policy", &policies, &name.value, name.at));
        app.body.login_methods.iter().for_each(|name| check("login method", &methods, &name.value, name.at));
    }
    problems.append(&mut no_country);
    if problems.is_empty() {
        problems.extend(orphans(&complete, &methods));
    }
}

/// Whatever names a login method that does not exist. Groups and policies that are missing are found when the
/// configuration is checked as a whole.
fn orphans(complete: &Declared, methods: &Known<'_>) -> Vec<Problem> {
    let missing = |kind: &str, name: &Name, method: &Name| {
        let text = format!("{kind} `{name}` refers to login method `{method}`, which would not exist any more");
        (!methods.contains(method)).then(|| Problem::new(None, text))
    };
    let groups = complete.groups.iter().map(|group| ("group", &group.name, &group.rules));
    let policies = complete.policies.iter().map(|policy| ("policy", &policy.name, &policy.rules));
    let by_rules = groups.chain(policies).flat_map(|(kind, name, rules)| {
        let method = |selector: &Selector| selector.login_method().and_then(|method| missing(kind, name, method));
        rules.selectors().filter_map(method).collect::<Vec<_>>()
    });
    let by_apps = complete.applications.iter().flat_map(|app| {
        app.login_methods.iter().filter_map(|method| missing("application", &app.name, method)).collect::<Vec<_>>()
    });
    by_rules.chain(by_apps).collect()
}
