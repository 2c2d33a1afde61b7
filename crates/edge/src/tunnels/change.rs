//! Making, routing and deleting tunnels.

use std::collections::{HashMap, HashSet};

use tunnel_proto::{
    AppId, HostPattern, Name, TunnelId,
    enrol::{CreateTunnel, TunnelCreated},
    message::TunnelEntry,
};

use crate::store::{AuditEvent, CertificateHolder, Declared, RouteRecord, TunnelRecord};

use super::{
    Principal, Problem, TunnelRef,
    desk::{Change, Desk},
    provisional,
    rights::{Claim, claim},
};

/// The most hostnames in one request.
const HOSTNAMES_MAX: usize = tunnel_proto::message::HOSTNAMES_MAX;
/// The most tunnels of one operator: far more than a machine has services, far less than would burden the edge.
const OPERATOR_TUNNELS_MAX: usize = 256;
/// Hostnames routed to all tunnels of one operator: the list of them fits into one frame, however long they are.
const OPERATOR_ROUTES_MAX: usize = 400;

impl Desk<'_> {
    /// Makes a tunnel, or takes the one with this name if `principal` may act on it; routes the hostnames to it, all or
    /// none; certifies the connector's key.
    pub async fn create_or_reuse(
        &self,
        principal: &Principal,
        request: &CreateTunnel,
    ) -> Result<TunnelCreated, Problem> {
        let candidate = TunnelId::from_random(crate::random());
        let created = self.change(|declared| {
            let (id, made) = self.tunnel_for(declared, principal, &request.name, candidate)?;
            let (certificate, record) = self.certify(&request.csr, CertificateHolder::Tunnel(id))?;
            let routed = self.route_all(declared, principal, id, &request.hostnames)?;
            let actor = || principal.actor();
            let mut audit = Vec::new();
            if made || !routed.is_empty() {
                let mut change = self.record(AuditEvent::ConfigurationChanged, actor(), &request.name);
                let what = if made { "tunnel created" } else { "tunnel reused" };
                change.detail = Some(routed.iter().fold(what.to_owned(), |all, one| format!("{all}; {one}")));
                audit.push(change);
            }
            let mut issued = self.record(AuditEvent::CertificateIssued, actor(), &request.name);
            issued.detail = Some(format!("serial {}", record.serial));
            audit.push(issued);
            let answer = TunnelCreated {
                tunnel: id,
                name: request.name.clone(),
                certificate,
                ca: self.ca.certificate_pem().to_owned(),
                hostnames: hostnames(declared, id),
                urls: request.hostnames.iter().filter_map(HostPattern::exact).map(|h| self.visit_url(&h)).collect(),
            };
            Ok(Change { answer, audit, certificate: Some(record) })
        });
        created.await
    }

    /// Routes hostnames to a tunnel, all or none. Answers with every hostname that is routed to it now.
    pub async fn route(
        &self,
        principal: &Principal,
        tunnel: &TunnelRef,
        wanted: &[HostPattern],
    ) -> Result<Vec<HostPattern>, Problem> {
        let routed = self.change(|declared| {
            let TunnelRecord { id, name, .. } = find(declared, principal, tunnel)?.clone();
            let routed = self.route_all(declared, principal, id, wanted)?;
            let mut change = self.record(AuditEvent::ConfigurationChanged, principal.actor(), &name);
            change.detail = Some(routed.join("; "));
            let audit = if routed.is_empty() { Vec::new() } else { vec![change] };
            Ok(Change { answer: hostnames(declared, id), audit, certificate: None })
        });
        routed.await
    }

    /// The tunnels that `principal` may act on, by name; `links` tells how many links each has.
    pub async fn list(
        &self,
        principal: &Principal,
        links: impl Fn(TunnelId) -> u32 + Send,
    ) -> Result<Vec<TunnelEntry>, Problem> {
        let (_, declared) = self.store.declared().await?;
        let mut routed: HashMap<TunnelId, Vec<HostPattern>> = HashMap::new();
        for route in &declared.routes {
            routed.entry(route.tunnel).or_default().push(route.hostname.clone());
        }
        let mine = declared.tunnels.iter().filter(|tunnel| principal.may_act_on(tunnel));
        let entry = |tunnel: &TunnelRecord| TunnelEntry {
            tunnel: tunnel.id,
            name: tunnel.name.clone(),
            hostnames: routed.get(&tunnel.id).cloned().unwrap_or_default(),
            links: links(tunnel.id),
        };
        let mut entries: Vec<_> = mine.map(entry).collect();
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(entries)
    }

    /// Deletes a tunnel, its routes and its certificates. The caller closes its links.
    pub async fn delete(&self, principal: &Principal, tunnel: &TunnelRef) -> Result<TunnelId, Problem> {
        let id = self
            .change(|declared| {
                let TunnelRecord { id, name, .. } = find(declared, principal, tunnel)?.clone();
                let free = hostnames(declared, id);
                declared.tunnels.retain(|tunnel| tunnel.id != id);
                declared.routes.retain(|route| route.tunnel != id);
                declared.promises.retain(|promise| promise.from != id);
                provisional::withdraw(declared, &free);
                let mut change = self.record(AuditEvent::Revoked, principal.actor(), &name);
                let free: Vec<_> = free.iter().map(ToString::to_string).collect();
                change.detail = Some(format!("tunnel deleted; was routed: {}", free.join(", ")));
                Ok(Change { answer: id, audit: vec![change], certificate: None })
            })
            .await?;
        self.store.revoke_certificates(&CertificateHolder::Tunnel(id), self.now).await?;
        Ok(id)
    }

    fn tunnel_for(
        &self,
        declared: &mut Declared,
        principal: &Principal,
        name: &Name,
        candidate: TunnelId,
    ) -> Result<(TunnelId, bool), Problem> {
        if let Some(tunnel) = declared.tunnel_named(name) {
            let mine = principal.may_act_on(tunnel);
            return if mine { Ok((tunnel.id, false)) } else { Err(Problem::NameTaken(name.clone())) };
        }
        let owner = principal.operator();
        let owned = declared.tunnels.iter().filter(|tunnel| owner.is_some() && tunnel.owner == owner).count();
        if owned >= OPERATOR_TUNNELS_MAX {
            return Err(Problem::TooMany { what: "tunnels of one machine", most: OPERATOR_TUNNELS_MAX });
        }
        declared.tunnels.push(TunnelRecord { id: candidate, name: name.clone(), created: self.now, owner });
        Ok((candidate, true))
    }

    /// Routes what is not routed yet; answers with what was done, in words for the audit.
    fn route_all(
        &self,
        declared: &mut Declared,
        principal: &Principal,
        tunnel: TunnelId,
        wanted: &[HostPattern],
    ) -> Result<Vec<String>, Problem> {
        if wanted.len() > HOSTNAMES_MAX {
            return Err(Problem::TooMany { what: "hostnames in one request", most: HOSTNAMES_MAX });
        }
        let mut done = Vec::new();
        for hostname in wanted {
            let from = match claim(declared, self.login_host, principal, hostname, tunnel)? {
                Claim::Held => None,
                Claim::Free => {
                    done.push(format!("`{hostname}` routed"));
                    None
                }
                Claim::Taken { from } => {
                    let name = declared.tunnel(from).map_or_else(|| from.to_string(), |t| t.name.to_string());
                    done.push(format!("`{hostname}` moved from tunnel `{name}`"));
                    Some(from)
                }
            };
            if let Some(from) = from {
                let moved = |route: &RouteRecord| route.hostname == *hostname && route.tunnel == from;
                declared.routes.retain(|route| !moved(route));
                // Used up, and worthless to whoever else was promised it from the same tunnel.
                declared.promises.retain(|promise| !(promise.hostname == *hostname && promise.from == from));
            }
            if !declared.routes.iter().any(|route| route.hostname == *hostname) {
                declared.routes.push(RouteRecord { hostname: hostname.clone(), tunnel });
            }
            if self.quick_start {
                provisional::offer(declared, self.ca.zone(), hostname, AppId::from_bytes(crate::random()));
            }
        }
        let owner = principal.operator();
        let own: HashSet<TunnelId> =
            declared.tunnels.iter().filter(|tunnel| tunnel.owner == owner).map(|tunnel| tunnel.id).collect();
        let routes = || declared.routes.iter().filter(|route| own.contains(&route.tunnel)).count();
        if owner.is_some() && !done.is_empty() && routes() > OPERATOR_ROUTES_MAX {
            return Err(Problem::TooMany { what: "hostnames of one machine", most: OPERATOR_ROUTES_MAX });
        }
        Ok(done)
    }
}

/// The tunnel that is meant, if `principal` may act on it. One that is somebody else's is as unknown as none.
pub(super) fn find<'a>(
    declared: &'a Declared,
    principal: &Principal,
    tunnel: &TunnelRef,
) -> Result<&'a TunnelRecord, Problem> {
    let found = match tunnel {
        TunnelRef::Id(id) => declared.tunnel(*id),
        TunnelRef::Name(name) => declared.tunnel_named(name),
    };
    found.filter(|tunnel| principal.may_act_on(tunnel)).ok_or_else(|| Problem::UnknownTunnel(tunnel.to_string()))
}

/// The hostnames routed to a tunnel.
fn hostnames(declared: &Declared, tunnel: TunnelId) -> Vec<HostPattern> {
    declared.routes.iter().filter(|route| route.tunnel == tunnel).map(|route| route.hostname.clone()).collect()
}
