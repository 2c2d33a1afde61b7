//! What is allowed, but seldom meant.

use std::{collections::BTreeSet, fmt};

use serde::Serialize;
use tunnel_proto::{DestinationRange, Name};

use crate::{
    Action, PolicySet, Selector,
    judge::{Fact, Facts, Judge, Tri},
    set::Checked,
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
    /// A policy that lets a bastion lead to any address there is.
    LeadsEverywhere {
        /// The policy.
        policy: Name,
    },
    /// Several addresses or domains in `require`, which must all hold at once.
    RequiresContradiction {
        /// `group` or `policy`.
        kind: &'static str,
        /// The group or policy.
        name: Name,
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
            Self::RequiresContradiction { kind, name } => write!(
                f,
                "{kind} `{name}` requires several e-mail addresses or domains at once and so matches nobody; put them \
                 into a group's `include` and require the group"
            ),
            Self::AdmitsNobody { application } => {
                write!(f, "application `{application}` has no policy that admits, so nobody can open it")
            }
        }
    }
}

pub(crate) fn of(set: &PolicySet) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let allows = || set.policies.iter().filter(|policy| policy.action == Action::Allow);
    let methods = login_methods(set);
    // Somebody of whom nothing is known but the method: no address, domain or range that is written down is theirs.
    let admits = |rules: &Checked, method| {
        let facts = Facts { email: Fact::Absent, method, service: None, source: None, methods: &[] };
        Judge::new(set, facts).holds(rules) == Tri::Yes
    };
    for policy in &set.policies {
        if policy.action != Action::Block && policy.destinations.iter().any(DestinationRange::is_everything) {
            warnings.push(Warning::LeadsEverywhere { policy: policy.rules.name.clone() });
        }
    }
    for policy in allows() {
        let name = &policy.rules.name;
        if admits(&policy.rules, Fact::Absent) {
            warnings.push(Warning::AdmitsEveryone { policy: name.clone() });
            continue;
        }
        for method in methods.iter().filter(|method| admits(&policy.rules, Fact::Known(*method))) {
            warnings.push(Warning::AdmitsByMethod { policy: name.clone(), method: (*method).clone() });
        }
    }
    let kinds = set.groups.iter().map(|group| ("group", group));
    for (kind, rules) in kinds.chain(set.policies.iter().map(|policy| ("policy", &policy.rules))) {
        if contradicts(rules) {
            warnings.push(Warning::RequiresContradiction { kind, name: rules.name.clone() });
        }
    }
    for application in set.applications() {
        if !set.policies_of(&application.id).any(|policy| policy.action != Action::Block) {
            warnings.push(Warning::AdmitsNobody { application: application.name.clone() });
        }
    }
    warnings
}

/// Every method that some rule names.
fn login_methods(set: &PolicySet) -> BTreeSet<&Name> {
    let lists = set.groups.iter().chain(set.policies.iter().map(|policy| &policy.rules));
    let rules = lists.flat_map(|list| list.include.iter().chain(&list.require).chain(&list.exclude));
    rules
        .filter_map(|rule| match &rule.selector {
            Selector::LoginMethod(method) => Some(method),
            _ => None,
        })
        .collect()
}

/// Whether no address can satisfy every rule of `require`.
fn contradicts(rules: &Checked) -> bool {
    let selectors = || rules.require.iter().map(|rule| &rule.selector);
    let emails: BTreeSet<_> =
        selectors().filter_map(|s| if let Selector::Email(e) = s { Some(e) } else { None }).collect();
    let domains: BTreeSet<_> =
        selectors().filter_map(|s| if let Selector::EmailDomain(d) = s { Some(d) } else { None }).collect();
    let elsewhere = emails.iter().any(|email| domains.iter().any(|domain| !email.is_at(domain)));
    emails.len() > 1 || domains.len() > 1 || elsewhere
}
