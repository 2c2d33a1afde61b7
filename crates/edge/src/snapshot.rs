//! What the edge serves from: everything declared, checked and indexed, immutable, replaced whole.

use std::collections::HashMap;

use tunnel_policy::PolicySet;
use tunnel_proto::{HostPattern, Hostname, Revision, TunnelId};

use crate::store::Declared;

/// An immutable view of one revision of the declared configuration.
#[derive(Debug)]
pub struct Snapshot {
    /// The revision.
    pub revision: Revision,
    /// What was declared.
    pub declared: Declared,
    /// The policies, checked and indexed.
    pub policies: PolicySet,
    exact: HashMap<Hostname, TunnelId>,
    patterns: Vec<(HostPattern, TunnelId)>,
}

impl Snapshot {
    /// Checks and indexes a declared configuration. A configuration that is refused here changes nothing.
    pub fn new(revision: Revision, declared: Declared) -> Result<Self, tunnel_policy::PolicySetError> {
        let policies = PolicySet::new(&declared.groups, &declared.policies, &declared.applications)?;
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
}
