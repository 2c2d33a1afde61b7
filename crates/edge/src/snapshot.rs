//! What the edge serves from: everything declared, checked and indexed, immutable, replaced whole.

mod builtin;

use std::collections::HashMap;

use tunnel_policy::{Declarations, PolicySet};
use tunnel_proto::{HostPattern, Hostname, Revision, TunnelId};

use crate::store::Declared;

pub use builtin::{BuiltIn, SnapshotError, administrators};
pub(crate) use builtin::{answers_for, provisional_name};

/// An immutable view of one revision of the declared configuration.
#[derive(Debug)]
pub struct Snapshot {
    /// The revision.
    pub revision: Revision,
    /// What was declared, with what is built in.
    pub declared: Declared,
    /// The policies, checked and indexed.
    pub policies: PolicySet,
    exact: HashMap<Hostname, TunnelId>,
    patterns: Vec<(HostPattern, TunnelId)>,
}

impl Snapshot {
    /// Adds what is built in to a declared configuration, checks and indexes it. A configuration that is refused here
    /// changes nothing.
    pub fn new(revision: Revision, declared: Declared, built_in: &BuiltIn) -> Result<Self, SnapshotError> {
        let declared = built_in.complete(declared)?;
        let policies = PolicySet::new(Declarations {
            email_lists: &declared.email_lists,
            ip_lists: &declared.ip_lists,
            groups: &declared.groups,
            policies: &declared.policies,
            applications: &declared.applications,
        })?;
        let mut exact = HashMap::new();
        let mut patterns = Vec::new();
        for route in &declared.routes {
            match route.hostname.exact() {
                Some(host) => drop(exact.insert(host, route.tunnel)),
                None => patterns.push((route.hostname.clone(), route.tunnel)),
            }
        }
        patterns.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.specificity()));
        Ok(Self { revision, declared, policies, exact, patterns })
    }

    /// The tunnel that an administrator routed `host` to: by its own name, else by the most specific wildcard.
    pub fn tunnel_for(&self, host: &Hostname) -> Option<TunnelId> {
        let by_pattern = || self.patterns.iter().find(|(pattern, _)| pattern.matches(host)).map(|(_, tunnel)| *tunnel);
        self.exact.get(host).copied().or_else(by_pattern)
    }

    /// Whether an administrator's route gives `tunnel` any name that `announced` stands for.
    pub fn routes(&self, tunnel: TunnelId, announced: &HostPattern) -> bool {
        if let Some(host) = announced.exact() {
            return self.tunnel_for(&host) == Some(tunnel);
        }
        let mut routes = self.declared.routes.iter().filter(|route| route.tunnel == tunnel);
        routes.any(|route| {
            route.hostname == *announced || route.hostname.exact().is_some_and(|host| announced.matches(&host))
        })
    }

    /// Whether `email` is an administrator.
    pub fn is_administrator(&self, email: &tunnel_proto::EmailAddress) -> bool {
        self.declared.administrators.contains(email)
    }

    /// Whether there is an administrator at all.
    pub fn has_administrator(&self) -> bool {
        !self.declared.administrators.is_empty()
    }
}
