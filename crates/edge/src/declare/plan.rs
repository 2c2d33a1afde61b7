//! What a file makes of what is declared already.

mod refer;
mod route;

use std::collections::{HashMap, HashSet};

use tunnel_policy::{Application, EmailList, Group, IpList, Policy};
use tunnel_proto::{AppId, Name, TunnelId};

use super::{
    Ground, Request, methods,
    problem::Problem,
    read::{ApplicationText, File, Item},
};
use crate::{
    snapshot,
    store::{Declared, LoginMethod, LoginMethodKind, TunnelRecord},
};

/// A configuration that could take the place of the present one.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) after: Declared,
    pub(super) notes: Vec<String>,
}

/// Lays the file over what is declared. `random` gives the bytes of new ids. Everything wrong is reported.
pub(super) fn plan(
    file: &File,
    before: &Declared,
    ground: &Ground<'_>,
    request: &Request,
    random: &mut dyn FnMut() -> [u8; 32],
) -> Result<Plan, Vec<Problem>> {
    let prune = request.prune;
    let mut after = before.clone();
    let mut problems = Vec::new();
    if let Some(items) = &file.login_methods {
        match methods::settle(items, before, ground, &request.secrets) {
            Ok(methods) => after.login_methods = in_file_order(&before.login_methods, methods, |m| &m.name, prune),
            Err(mut found) => problems.append(&mut found),
        }
    }
    if let Some(sessions) = file.sessions {
        after.sessions = sessions;
    }
    if let Some(items) = &file.email_lists {
        let lists = items.iter().map(|item| EmailList { name: item.name.value.clone(), emails: item.body.clone() });
        merge(&mut after.email_lists, lists.collect(), |list| &list.name, prune);
    }
    if let Some(items) = &file.ip_lists {
        let lists = items.iter().map(|item| IpList { name: item.name.value.clone(), ranges: item.body.clone() });
        merge(&mut after.ip_lists, lists.collect(), |list| &list.name, prune);
    }
    if let Some(items) = &file.groups {
        let groups = items.iter().map(|item| Group { name: item.name.value.clone(), rules: item.body.rules() });
        merge(&mut after.groups, groups.collect(), |group| &group.name, prune);
    }
    if let Some(items) = &file.policies {
        let policies = items.iter().map(|item| Policy {
            name: item.name.value.clone(),
            action: item.body.action,
            rules: item.body.rules.rules(),
            session_duration: item.body.session_duration,
            destinations: item.body.destinations.clone(),
        });
        merge(&mut after.policies, policies.collect(), |policy| &policy.name, prune);
    }
    if let Some(items) = &file.applications {
        let (provisional, mut firm): (Vec<_>, Vec<_>) = after.applications.drain(..).partition(|app| app.provisional);
        let known: HashMap<&Name, &Application> = firm.iter().map(|app| (&app.name, app)).collect();
        let apps: Vec<_> = items.iter().map(|item| application(item, &known, random)).collect();
        merge(&mut firm, apps, |app| &app.name, prune);
        after.applications = firm.into_iter().chain(provisional).collect();
    }
    if let Some(items) = &file.tunnels {
        let known: HashMap<&Name, &TunnelRecord> = before.tunnels.iter().map(|one| (&one.name, one)).collect();
        let tunnels: Vec<_> = items.iter().map(|item| tunnel(&item.name.value, &known, ground, random)).collect();
        merge(&mut after.tunnels, tunnels, |tunnel| &tunnel.name, prune);
        route::lay(items, &mut after, &mut problems);
    }
    refer::hosts(file, ground, &mut problems);
    refer::names(file, &after, ground, &mut problems);
    if problems.is_empty() {
        problems = mail(&after, ground);
        for problem in &mut problems {
            *problem = locate_method(file, problem.clone());
        }
        problems.extend(countries(&after, ground));
    }
    if problems.is_empty() { Ok(Plan { notes: notes(before, &after), after }) } else { Err(problems) }
}

/// What needs mail where none can be sent.
pub(super) fn mail(declared: &Declared, ground: &Ground<'_>) -> Vec<Problem> {
    if ground.mail || ground.built_in.quick_start {
        return Vec::new();
    }
    let refuse = |method: &LoginMethod| {
        let name = &method.name;
        let text = format!("login method `{name}` sends mail, and this edge cannot: add `[smtp]` to edge.toml first");
        Problem::new(None, text)
    };
    let pins = declared.login_methods.iter().filter(|method| matches!(method.kind, LoginMethodKind::OneTimePin));
    pins.map(refuse).collect()
}

/// What asks for a country where none can be told.
pub(super) fn countries(declared: &Declared, ground: &Ground<'_>) -> Option<Problem> {
    let (kind, name) = declared.named_country().filter(|_| !ground.countries)?;
    Some(Problem::new(None, format!("{kind} `{name}`: {NO_COUNTRIES}")))
}

/// Why a rule about a country is refused.
const NO_COUNTRIES: &str = "a `country` rule needs a file that says where addresses are, and this edge has none: name \
                             one by `country_file` in edge.toml first";

fn locate_method(file: &File, problem: Problem) -> Problem {
    let named = |item: &&Item<_>| problem.text.contains(&format!("`{}`", item.name.value));
    let found = file.login_methods.iter().flatten().find(named);
    found.map(|item| Problem::at(item.name.at, problem.text.clone())).unwrap_or(problem)
}

fn application(
    item: &Item<ApplicationText>,
    known: &HashMap<&Name, &Application>,
    random: &mut dyn FnMut() -> [u8; 32],
) -> Application {
    let name = item.name.value.clone();
    let before = known.get(&name);
    let id = before.map(|app| app.id).unwrap_or_else(|| AppId::from_bytes(random()));
    let targets = item.body.targets.iter().map(|target| target.value.clone()).collect();
    let policies = item.body.policies.iter().map(|name| name.value.clone()).collect();
    Application {
        login_methods: item.body.login_methods.iter().map(|name| name.value.clone()).collect(),
        websocket_origins: item.body.websocket_origins.clone(),
        upgrades: item.body.upgrades.clone(),
        compatible_headers: item.body.compatible_headers,
        device_login: item.body.device_login,
        session_duration: item.body.session_duration,
        session_idle: item.body.session_idle,
        since: before.and_then(|app| app.since),
        assertion: item.body.assertion,
        same_site: item.body.same_site,
        cors: item.body.cors.clone(),
        ..Application::new(id, name, targets, policies)
    }
}

fn tunnel(
    name: &Name,
    known: &HashMap<&Name, &TunnelRecord>,
    ground: &Ground<'_>,
    random: &mut dyn FnMut() -> [u8; 32],
) -> TunnelRecord {
    let known = known.get(name).map(|tunnel| (*tunnel).clone());
    known.unwrap_or_else(|| {
        let mut id = [0; 16];
        id.iter_mut().zip(random()).for_each(|(byte, random)| *byte = random);
        TunnelRecord { id: TunnelId::from_random(id), name: name.clone(), created: ground.now, owner: None }
    })
}

/// Puts the things of the file in the place of those with their names, new ones at the end.
fn merge<T>(kept: &mut Vec<T>, declared: Vec<T>, name: impl Fn(&T) -> &Name, prune: bool) {
    if prune {
        let stay: HashSet<Name> = declared.iter().map(|new| name(new).clone()).collect();
        kept.retain(|old| stay.contains(name(old)));
    }
    let mut places: HashMap<Name, usize> = kept.iter().map(|old| name(old).clone()).zip(0..).collect();
    for new in declared {
        match places.get(name(&new)).and_then(|at| kept.get_mut(*at)) {
            Some(old) => *old = new,
            None => {
                places.insert(name(&new).clone(), kept.len());
                kept.push(new);
            }
        }
    }
}

/// The things of the file in its order, then those it does not mention.
fn in_file_order<T: Clone>(before: &[T], declared: Vec<T>, name: impl Fn(&T) -> &Name, prune: bool) -> Vec<T> {
    let unmentioned = |old: &&T| !prune && !declared.iter().any(|new| name(new) == name(old));
    let rest: Vec<T> = before.iter().filter(unmentioned).cloned().collect();
    declared.into_iter().chain(rest).collect()
}

/// What is good to know, but changes nothing that is declared.
fn notes(before: &Declared, after: &Declared) -> Vec<String> {
    let firm =
        |declared: &Declared| snapshot::Answered::by(declared.applications.iter().filter(|app| !app.provisional));
    let answered = |by: &snapshot::Answered, app: &Application| app.targets.iter().all(|target| by.is(&target.host));
    let (before, now) = (firm(before), firm(after));
    let provisional = after.applications.iter().filter(|app| app.provisional);
    provisional
        .filter(|app| answered(&now, app) && !answered(&before, app))
        .flat_map(|app| &app.targets)
        .map(|target| format!("the provisional application of `{}` gives way", target.host))
        .collect()
}
