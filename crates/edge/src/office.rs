//! What the owner of the machine asks over the socket, answered by the edge that runs.

use std::sync::Arc;

use async_trait::async_trait;
use tunnel_proto::{
    HostPattern, TunnelId,
    enrol::{CreateTunnel, EdgeInfo, EnrolProblem, TunnelCreated},
};

use crate::{
    State, declare, service_tokens,
    setup::{self, MadeBy},
    socket::{
        AUDIT_MAX, Administration, Answer, AuditQuery, CreateServiceToken, Exported, NamedOperator, NamedServiceToken,
        NamedTunnel, OperatorRevoked, RotateServiceToken, RouteTunnel, ServiceTokenIssued, ServiceTokenStatus,
        SessionStatus, SessionsEnded, SetupLink, TunnelRoutes, TunnelStatus, WhichSessions, problem,
    },
    store::{AuditEvent, AuditRecord, MailLogEntry, OperatorRecord, Store, StoreError},
    tunnels::{Principal, TunnelRef},
};

/// The edge as its owner sees it.
pub(crate) struct Office {
    state: Arc<State>,
}

impl Office {
    pub(crate) const fn new(state: Arc<State>) -> Self {
        Self { state }
    }

    async fn reload(&self) -> Answer<()> {
        self.state.reload().await.map_err(|error| problem("not_served", error.to_string()))
    }

    fn hostnames(&self, tunnel: TunnelId) -> Vec<HostPattern> {
        let snapshot = self.state.snapshot.load();
        let routes = snapshot.declared.routes.iter().filter(|route| route.tunnel == tunnel);
        routes.map(|route| route.hostname.clone()).collect()
    }
}

fn failed(error: StoreError) -> EnrolProblem {
    problem("store", error.to_string())
}

#[async_trait]
impl Administration for Office {
    async fn info(&self) -> Answer<EdgeInfo> {
        Ok(EdgeInfo {
            zone: self.state.config.zone.clone(),
            edge: self.state.issuer.clone(),
            ca: self.state.ca.certificate_pem().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            quick_start: self.state.config.quick_start,
            visit: self.state.visit_base.clone(),
        })
    }

    async fn create_tunnel(&self, request: CreateTunnel) -> Answer<TunnelCreated> {
        let created = self.state.tunnel_desk(None).create_or_reuse(&Principal::Local, &request).await?;
        self.reload().await?;
        Ok(created)
    }

    async fn tunnels(&self) -> Answer<Vec<TunnelStatus>> {
        let snapshot = self.state.snapshot.load_full();
        let mut all: Vec<_> = snapshot
            .declared
            .tunnels
            .iter()
            .map(|tunnel| TunnelStatus {
                tunnel: tunnel.id,
                name: tunnel.name.clone(),
                hostnames: self.hostnames(tunnel.id),
                links: Some(self.state.registry.links(tunnel.id)),
            })
            .collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    async fn route(&self, request: RouteTunnel) -> Answer<TunnelRoutes> {
        let name = request.name.clone();
        let desk = self.state.tunnel_desk(None);
        desk.route(&Principal::Local, &TunnelRef::Name(request.name), &request.hostnames).await?;
        self.reload().await?;
        let tunnel = self.state.snapshot.load().declared.tunnel_named(&name).map(|tunnel| tunnel.id);
        Ok(TunnelRoutes { hostnames: tunnel.map(|id| self.hostnames(id)).unwrap_or_default(), name })
    }

    async fn revoke_tunnel(&self, request: NamedTunnel) -> Answer<TunnelRoutes> {
        let desk = self.state.tunnel_desk(None);
        let id = desk.revoke(&Principal::Local, &TunnelRef::Name(request.name.clone())).await?;
        self.reload().await?;
        self.state.registry.close_tunnel(id);
        Ok(TunnelRoutes { name: request.name, hostnames: self.hostnames(id) })
    }

    async fn delete_tunnel(&self, request: NamedTunnel) -> Answer<TunnelRoutes> {
        let snapshot = self.state.snapshot.load_full();
        let tunnel = snapshot.declared.tunnel_named(&request.name);
        let hostnames = tunnel.map(|tunnel| self.hostnames(tunnel.id)).unwrap_or_default();
        let desk = self.state.tunnel_desk(None);
        let id = desk.delete(&Principal::Local, &TunnelRef::Name(request.name.clone())).await?;
        self.reload().await?;
        self.state.registry.close_tunnel(id);
        Ok(TunnelRoutes { name: request.name, hostnames })
    }

    async fn operators(&self) -> Answer<Vec<OperatorRecord>> {
        self.state.store.operators().await.map_err(failed)
    }

    async fn revoke_operator(&self, request: NamedOperator) -> Answer<OperatorRevoked> {
        let revoked = crate::socket::revoke_operator(&*self.state.store, request.id, self.state.now()).await?;
        // Closes the links of what is revoked now.
        self.reload().await?;
        Ok(revoked)
    }

    async fn mail_log(&self, query: AuditQuery) -> Answer<Vec<MailLogEntry>> {
        self.state.store.mail_log(query.limit.min(AUDIT_MAX)).await.map_err(failed)
    }

    async fn sessions(&self) -> Answer<Vec<SessionStatus>> {
        let sessions = self.state.sessions.list(self.state.now());
        Ok(sessions.iter().map(|session| SessionStatus::from(session.record())).collect())
    }

    async fn end_sessions(&self, which: WhichSessions) -> Answer<SessionsEnded> {
        let sessions = self.state.sessions.list(self.state.now());
        let records: Vec<_> = sessions.iter().map(|session| session.record().clone()).collect();
        let ids = which.among(&records)?;
        let ended = records.iter().filter(|session| ids.contains(&session.id));
        let audit: Vec<_> = ended
            .map(|session| AuditRecord {
                actor: Some("local".to_owned()),
                object: Some(session.identity.email.to_string()),
                detail: Some("session ended".to_owned()),
                ..AuditRecord::new(self.state.now(), AuditEvent::Revoked)
            })
            .collect();
        self.state.store.append_audit(&audit).await.map_err(failed)?;
        self.state.sessions.end(&ids).await.map_err(failed)?;
        Ok(SessionsEnded { ended: ids.len() })
    }

    async fn service_tokens(&self) -> Answer<Vec<ServiceTokenStatus>> {
        service_tokens::list(&*self.state.store, self.state.now()).await
    }

    async fn create_service_token(&self, request: CreateServiceToken) -> Answer<ServiceTokenIssued> {
        let issued = service_tokens::create(&*self.state.store, &request, self.state.now()).await?;
        self.reload().await?;
        Ok(issued)
    }

    async fn rotate_service_token(&self, request: RotateServiceToken) -> Answer<ServiceTokenIssued> {
        let issued = service_tokens::rotate(&*self.state.store, &request, self.state.now()).await?;
        self.reload().await?;
        Ok(issued)
    }

    async fn delete_service_token(&self, request: NamedServiceToken) -> Answer<()> {
        service_tokens::delete(&*self.state.store, &request, self.state.now()).await?;
        self.reload().await
    }

    async fn setup_link(&self) -> Answer<SetupLink> {
        let url = setup::make_link(&self.state.tunnel_desk(None), MadeBy::Command).await;
        Ok(SetupLink { url: url.map_err(|error| problem("setup", error.to_string()))? })
    }

    async fn apply(&self, request: declare::Request) -> Answer<declare::Report> {
        let ground = declare::Ground {
            built_in: &self.state.built_in,
            mail: self.state.config.quick_start || self.state.config.smtp.is_some(),
            countries: self.state.config.has_countries(),
            actor: "local",
            now: self.state.now(),
        };
        let store: &dyn Store = &*self.state.store;
        let report =
            declare::apply(store, &request, &ground).await.map_err(|error| problem("refused", error.to_string()))?;
        self.reload().await?;
        Ok(report)
    }

    async fn export(&self) -> Answer<Exported> {
        let text = declare::export(&*self.state.store).await.map_err(failed)?;
        Ok(Exported { text })
    }

    async fn audit(&self, query: AuditQuery) -> Answer<Vec<AuditRecord>> {
        self.state.audit.flush().await.map_err(|error| problem("audit", error.to_string()))?;
        self.state.store.audit(query.limit.min(AUDIT_MAX)).await.map_err(failed)
    }
}
