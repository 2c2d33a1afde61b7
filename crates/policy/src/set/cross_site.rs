//! What applications say together about other sites, where several are concerned.

use tunnel_proto::Hostname;

use super::{Matched, PolicySet};
use crate::{Cors, SameSite};

impl PolicySet {
    /// With which requests of other sites the session cookie of a hostname goes: as the strictest says of the applications that
    /// anything there falls under, since they share the cookie.
    pub fn same_site_at(&self, host: &Hostname) -> SameSite {
        let reached = self.hosts.targets(host).reached();
        let said = reached.into_iter().filter_map(|at| self.applications.get(at)).map(|app| app.declared.same_site);
        said.min().unwrap_or_default()
    }
}

impl<'a> Matched<'a> {
    /// What is said of pages of other origins; `None` unless every application that a reading falls under says the same.
    pub fn cors(&self) -> Option<&'a Cors> {
        let (raw, mut all) = self.required()?;
        let cors = raw.cors.as_ref()?;
        all.all(|app| app.cors.as_ref() == Some(cors)).then_some(cors)
    }
}
