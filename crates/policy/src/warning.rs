//! What is allowed, but seldom meant.

use std::{collections::BTreeSet, fmt};

use serde::Serialize;
use tunnel_proto::{DestinationRange, Name};

use crate::{
    Action, Attributes, PolicySet, Selector, TimeOfWeek,
    facts::{Fact, Facts, Source, Tri},
    judge::Judge,
    set::Checked,
    time,
};

/// Something an administrator should look at twice. `Display` says it in English.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "warning")]
#[non_exhaustive]
pub enum Warning {
    /// A policy that admits anybody who can log in at all.
    AdmitsEveryone {
        /// The policy.
        policy: Name,
    },
    /// A policy that admits anybody who can log in by a method; anybody has an e-mail address for a one-time PIN.
    AdmitsByMethod {
        /// The policy.
        policy: Name,
        /// The method.
        method: Name,
    },
    /// A policy that admits anybody who can authenticate in a way, by whatever login method.
    AdmitsByAuthMethod {
        /// The policy.
        policy: Name,
        /// The way, as in RFC 8176.
        auth_method: String,
    },
    /// An application that is open to everybody on the internet: a bypass asks nothing.
    Public {
        /// The application.
        application: Name,
        /// The policy.
        policy: Name,
    },
    /// A policy that lets a bastion lead to any address there is.
    LeadsEverywhere {
        /// The policy.
        policy: Name,
    },
    /// Several rules in `require` that must all hold at once, and cannot.
    RequiresContradiction {
        /// `group` or `policy`.
        kind: &'static str,
        /// The group or policy.
        name: Name,
        /// What the rules are about, in the plural.
        what: &'static str,
    },
    /// An application that no policy can open.
    AdmitsNobody {
        /// The application.
        application: Name,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AdmitsEveryone { policy } => {
                write!(f, "policy `{policy}` admits everyone who can log in at all: anybody with an e-mail address")
            }
            Self::AdmitsByMethod { policy, method } => write!(
                f,
                "policy `{policy}` admits everyone who logs in by `{method}`; for one-time PINs that is anybody with an \
                 e-mail address"
            ),
            Self::LeadsEverywhere { policy } => {
                write!(f, "policy `{policy}` lets bastions lead to every address; name the networks that are meant")
            }
            Self::AdmitsByAuthMethod { policy, auth_method } => write!(
                f,
                "policy `{policy}` admits everyone who authenticates by `{auth_method}`, whoever they are and by whatever \
                 login method"
            ),
            Self::Public { application, policy } => write!(
                f,
                "application `{application}` is public: policy `{policy}` lets everybody in, without a login and without a \
                 record of who they are"
            ),
            Self::RequiresContradiction { kind, name, what } => write!(
                f,
                "{kind} `{name}` requires several {what} at once and so matches nobody; put them into a group's `include` \
                 and require the group"
            ),
            Self::AdmitsNobody { application } => {
                write!(f, "application `{application}` has no policy that admits, so nobody can open it")
            }
        }
    }
}

pub(crate) fn of(set: &PolicySet) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let names = Names::of(set);
    for policy in &set.policies {
        if policy.action != Action::Block && policy.destinations.iter().any(DestinationRange::is_everything) {
            warnings.push(Warning::LeadsEverywhere { policy: policy.rules.name.clone() });
        }
    }
    for policy in set.policies.iter().filter(|policy| policy.action == Action::Allow) {
        let (name, rules) = (&policy.rules.name, &policy.rules);
        if admits(set, rules, Known::default()) {
            warnings.push(Warning::AdmitsEveryone { policy: name.clone() });
            continue;
        }
        for method in names.methods.iter().copied() {
            if admits(set, rules, Known { method: Some(method), said: None }) {
                warnings.push(Warning::AdmitsByMethod { policy: name.clone(), method: method.clone() });
            }
        }
        for way in &names.auth_methods {
            let said = Attributes { amr: vec![(*way).clone()], ..Attributes::new() };
            if admits(set, rules, Known { method: None, said: Some(&said) }) {
                warnings.push(Warning::AdmitsByAuthMethod { policy: name.clone(), auth_method: (*way).clone() });
            }
        }
    }
    let kinds = set.groups.iter().map(|group| ("group", group));
    for (kind, rules) in kinds.chain(set.policies.iter().map(|policy| ("policy", &policy.rules))) {
        for what in contradictions(rules) {
            warnings.push(Warning::RequiresContradiction { kind, name: rules.name.clone(), what });
        }
    }
    for application in set.applications() {
        let policies = || set.policies_of(&application.id);
        let open = |rules: &Checked| admits(set, rules, Known::default());
        let bypasses = policies().filter(|policy| policy.action == Action::Bypass);
        for policy in bypasses.filter(|policy| open(&policy.rules)) {
            let (application, policy) = (application.name.clone(), policy.rules.name.clone());
            warnings.push(Warning::Public { application, policy });
        }
        if !policies().any(|policy| policy.action != Action::Block) {
            warnings.push(Warning::AdmitsNobody { application: application.name.clone() });
        }
    }
    warnings
}

/// What is known of somebody about whom nothing else is: no address, domain, list or range that is written down is theirs.
#[derive(Clone, Copy, Default)]
struct Known<'a> {
    method: Option<&'a Name>,
    said: Option<&'a Attributes>,
}

/// Whether the rules match whoever that is, at some time, from somewhere in all IPv4 or all IPv6 addresses.
fn admits(set: &PolicySet, rules: &Checked, known: Known<'_>) -> bool {
    [Source::SomewhereV4, Source::SomewhereV6].into_iter().any(|source| {
        let facts = Facts {
            email: Fact::Absent,
            method: known.method.map_or(Fact::Absent, Fact::Known),
            said: known.said.map_or(Fact::Absent, Fact::Known),
            evaluations: Fact::Absent,
            service: None,
            source,
            country: None,
            now: Fact::Unknown,
            methods: &[],
        };
        Judge::new(set, facts).holds(rules) != Tri::No
    })
}

/// Ways to log in that some rule names.
struct Names<'a> {
    methods: BTreeSet<&'a Name>,
    auth_methods: BTreeSet<&'a String>,
}

impl<'a> Names<'a> {
    fn of(set: &'a PolicySet) -> Self {
        let mut names = Self { methods: BTreeSet::new(), auth_methods: BTreeSet::new() };
        let lists = set.groups.iter().chain(set.policies.iter().map(|policy| &policy.rules));
        for rule in lists.flat_map(Checked::all) {
            match &rule.selector {
                Selector::LoginMethod(method) => drop(names.methods.insert(method)),
                Selector::AuthMethod(way) => drop(names.auth_methods.insert(way)),
                _ => {}
            }
        }
        names
    }
}

/// What the rules of `require` are about that cannot all hold.
fn contradictions(rules: &Checked) -> Vec<&'static str> {
    let selectors = || rules.require.iter().map(|rule| &rule.selector);
    let emails: BTreeSet<_> =
        selectors().filter_map(|s| if let Selector::Email(e) = s { Some(e) } else { None }).collect();
    let domains: BTreeSet<_> =
        selectors().filter_map(|s| if let Selector::EmailDomain(d) = s { Some(d) } else { None }).collect();
    let countries: BTreeSet<_> =
        selectors().filter_map(|s| if let Selector::Country(c) = s { Some(c) } else { None }).collect();
    let methods: BTreeSet<_> = selectors().filter_map(Selector::login_method).collect();
    let times: Vec<_> =
        selectors().filter_map(|s| if let Selector::TimeOfWeek(t) = s { Some(t) } else { None }).collect();
    let elsewhere = emails.iter().any(|email| domains.iter().any(|domain| !email.is_at(domain)));
    let found = [
        (emails.len() > 1 || domains.len() > 1 || elsewhere, "e-mail addresses or domains"),
        (countries.len() > 1, "countries"),
        (methods.len() > 1, "login methods"),
        (are_never(&times), "times of the week that do not overlap"),
    ];
    found.into_iter().filter(|(found, _)| *found).map(|(_, what)| what).collect()
}

/// Whether these never hold at once, as far as it is told without asking when clocks are put forward: by those of one zone.
fn are_never(times: &[&TimeOfWeek]) -> bool {
    let zones = times.iter().map(|time| time.zone());
    zones.enumerate().any(|(first, zone)| {
        let there: Vec<_> = times.iter().skip(first).filter(|time| time.zone() == zone).collect();
        there.len() > 1 && !(0..time::WEEK).any(|minute| there.iter().all(|time| time.holds_at(minute)))
    })
}
