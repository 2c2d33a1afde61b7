//! What changes between two declarations, thing by thing and field by field.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
};

use serde::{Deserialize, Serialize};

use super::view::{self, File, Said};
use crate::store::{Declared, LoginMethod};

/// One thing that is added, changed or removed. `Display` writes it for people: `+`, `~` or `-`, the thing, and a line for
/// each field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// `setting`, `login method`, `e-mail list`, `IP list`, `group`, `policy`, `application` or `tunnel`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What happens to it.
    pub what: What,
    /// The fields that it gets, has changed or loses.
    pub fields: Vec<FieldChange>,
}

/// What happens to a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// It is new.
    Added,
    /// It stays, but differs.
    Changed,
    /// It goes.
    Removed,
}

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// The key in the file; where it is a list that stays, with `added` or `removed`.
    pub field: String,
    /// What it said.
    pub from: Option<String>,
    /// What it says now.
    pub to: Option<String>,
}

impl Change {
    /// The thing, for the audit.
    pub(super) fn object(&self) -> String {
        format!("{} `{}`", self.kind, self.name)
    }

    /// What happens, in one line.
    pub(super) fn summary(&self) -> String {
        let what = match self.what {
            What::Added => "added",
            What::Changed => "changed",
            What::Removed => "removed",
        };
        let fields: Vec<_> = self.fields.iter().map(ToString::to_string).collect();
        if fields.is_empty() { what.to_owned() } else { format!("{what}: {}", fields.join("; ")) }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.what {
            What::Added => '+',
            What::Changed => '~',
            What::Removed => '-',
        };
        write!(f, "{sign} {} `{}`", self.kind, self.name)?;
        let told = if self.what == What::Removed { &[] } else { self.fields.as_slice() };
        told.iter().try_for_each(|field| write!(f, "\n    {field}"))
    }
}

impl fmt::Display for FieldChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, from, to } = self;
        let said = |text: &String| if text.is_empty() { "(none)".to_owned() } else { text.clone() };
        match (from.as_ref().map(said), to.as_ref().map(said)) {
            (Some(from), Some(to)) => write!(f, "{field}: {from} → {to}"),
            (Some(from), None) => write!(f, "{field}: {from} → (none)"),
            (None, Some(to)) => write!(f, "{field}: {to}"),
            (None, None) => write!(f, "{field}"),
        }
    }
}

/// What login methods are called here.
const METHOD: &str = "login method";

/// A thing by name, with its fields.
type Thing = (String, Vec<(&'static str, Said)>);

/// How many members of a set are named.
const MEMBERS_MAX: usize = 10;

/// What changes from one declaration to the other.
pub(crate) fn changes(before: &Declared, after: &Declared) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    // What of login methods is no field of the file: their place, and that a secret is another one.
    for (name, field) in moved(before, after).into_iter().chain(secrets(before, after)) {
        put(&mut changes, Change { kind: METHOD.to_owned(), name, what: What::Changed, fields: vec![field] });
    }
    let (before, after) = (things(before), things(after));
    for ((kind, before), (_, after)) in before.iter().zip(&after) {
        let mut fresh = Vec::new();
        between(kind, before, after, &mut fresh);
        match *kind == METHOD {
            true => fresh.into_iter().for_each(|change| put(&mut changes, change)),
            // Of these nothing was told yet.
            false => changes.append(&mut fresh),
        }
    }
    changes
}

/// Adds a change; what is told of one thing twice is one change.
fn put(changes: &mut Vec<Change>, change: Change) {
    match changes.iter_mut().find(|other| other.kind == change.kind && other.name == change.name) {
        Some(other) => other.fields.extend(change.fields),
        None => changes.push(change),
    }
}

/// Login methods whose secret is another one. Nothing else is told of secrets.
fn secrets(before: &Declared, after: &Declared) -> Vec<(String, FieldChange)> {
    let changed = |method: &LoginMethod| {
        let old = before.login_methods.iter().find(|other| other.name == method.name)?.kind.client_secret()?;
        (method.kind.client_secret()? != old).then(|| {
            let field = "client_secret".to_owned();
            (method.name.to_string(), FieldChange { field, from: None, to: Some("changed".to_owned()) })
        })
    };
    after.login_methods.iter().filter_map(changed).collect()
}

/// Login methods that stay, but are shown in another order: their places among those that stay.
fn moved(before: &Declared, after: &Declared) -> Vec<(String, FieldChange)> {
    let names = |declared: &Declared| declared.login_methods.iter().map(|m| m.name.to_string()).collect::<Vec<_>>();
    let (mut old, mut new) = (names(before), names(after));
    old.retain(|name| new.contains(name));
    new.retain(|name| old.contains(name));
    let place = |place: usize| Some(place.saturating_add(1).to_string());
    let change = |(to, name): (usize, &String)| {
        let from = old.iter().position(|other| other == name).filter(|from| *from != to)?;
        Some((name.clone(), FieldChange { field: "place".to_owned(), from: place(from), to: place(to) }))
    };
    new.iter().enumerate().filter_map(change).collect()
}

/// The things of each kind.
fn things(declared: &Declared) -> [(&'static str, Vec<Thing>); 8] {
    fn named<T: Serialize>(list: &[T], names: Vec<String>) -> Vec<Thing> {
        names.into_iter().zip(list.iter().map(view::fields)).collect()
    }
    let file = File::of(declared);
    let declared_apps = declared.applications.iter().filter(|app| !app.provisional);
    [
        // There are always some, said or not.
        ("setting", vec![("sessions".to_owned(), view::fields(&file.sessions))]),
        (
            METHOD,
            declared
                .login_methods
                .iter()
                .zip(&file.login_methods)
                .map(|(method, view)| (method.name.to_string(), view.fields()))
                .collect(),
        ),
        ("e-mail list", named(&file.email_lists, declared.email_lists.iter().map(|l| l.name.to_string()).collect())),
        ("IP list", named(&file.ip_lists, declared.ip_lists.iter().map(|l| l.name.to_string()).collect())),
        ("group", named(&file.groups, declared.groups.iter().map(|g| g.name.to_string()).collect())),
        ("policy", named(&file.policies, declared.policies.iter().map(|p| p.name.to_string()).collect())),
        ("application", named(&file.applications, declared_apps.map(|app| app.name.to_string()).collect())),
        ("tunnel", named(&file.tunnels, declared.tunnels.iter().map(|t| t.name.to_string()).collect())),
    ]
}

fn between(kind: &str, before: &[Thing], after: &[Thing], changes: &mut Vec<Change>) {
    let (old, new) = (by_name(before), by_name(after));
    let mut push = |name: &str, what, fields: Vec<FieldChange>| {
        changes.push(Change { kind: kind.to_owned(), name: name.to_owned(), what, fields });
    };
    for (name, fields) in after {
        match old.get(name.as_str()) {
            None => push(name, What::Added, differences(&[], fields)),
            Some(old) => {
                let differing = differences(old, fields);
                if !differing.is_empty() {
                    push(name, What::Changed, differing);
                }
            }
        }
    }
    for (name, fields) in before {
        if !new.contains_key(name.as_str()) {
            push(name, What::Removed, differences(fields, &[]));
        }
    }
}

/// The fields of each; of several with one name, which there are not, the first counts.
fn by_name(list: &[Thing]) -> HashMap<&str, &[(&'static str, Said)]> {
    list.iter().rev().map(|(name, fields)| (name.as_str(), fields.as_slice())).collect()
}

fn differences(before: &[(&'static str, Said)], after: &[(&'static str, Said)]) -> Vec<FieldChange> {
    let value = |list: &[(&'static str, Said)], field: &str| {
        list.iter().find(|(key, _)| *key == field).map(|(_, said)| said.clone())
    };
    let mut seen = BTreeSet::new();
    let keys = after.iter().chain(before).map(|(key, _)| *key);
    keys.filter(|key| seen.insert(*key))
        .map(|field| (field, value(before, field), value(after, field)))
        .filter(|(_, from, to)| from != to)
        .flat_map(|(field, from, to)| match (from, to) {
            (Some(Said::Set(from)), Some(Said::Set(to))) => members(field, &from, &to),
            (from, to) => {
                let told = |said: Option<Said>| said.map(|said| tell(&said));
                vec![FieldChange { field: field.to_owned(), from: told(from), to: told(to) }]
            }
        })
        .collect()
}

/// What comes into a set, and what goes.
fn members(field: &str, from: &BTreeSet<String>, to: &BTreeSet<String>) -> Vec<FieldChange> {
    let change = |what: &str, members: BTreeSet<String>| {
        let field = format!("{field} {what}");
        (!members.is_empty()).then(|| FieldChange { field, from: None, to: Some(tell(&Said::Set(members))) })
    };
    let (added, removed) = (to.difference(from).cloned().collect(), from.difference(to).cloned().collect());
    change("added", added).into_iter().chain(change("removed", removed)).collect()
}

fn tell(said: &Said) -> String {
    let set = match said {
        Said::Text(text) => return text.clone(),
        Said::Set(set) => set,
    };
    let named: Vec<_> = set.iter().take(MEMBERS_MAX).map(String::as_str).collect();
    match set.len().saturating_sub(named.len()) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}
