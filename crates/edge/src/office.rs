//! What the owner of the machine asks over the socket, answered by the edge that runs.

use std::sync::Arc;

use async_trait::async_trait;
use tunnel_proto::{
    HostPattern, TunnelId,
    enrol::{CreateTunnel, EdgeInfo, EnrolProblem, TunnelCreated},
};

use crate::{
    State, certificates, declare,
    health::{self, accepted},
    login_methods, passkeys, people, service_tokens,
    session::Session,
    setup::{self, MadeBy},
    socket::{
        AUDIT_MAX, Administration, Answer, ApplicationStatus, AuditQuery, BanPerson, Banned, CertificateStatus,
        CreateServiceToken, Explain, Explained, Exported, Health, InviteUser, KeyStatus, LastLogin, LoginMethodStatus,
        LoginTestBegun, LoginTestQuery, LoginTestResult, NamedLoginMethod, NamedOperator, NamedServiceToken,
        NamedTunnel, NamedUser, OperatorRevoked, PasskeyList, PasskeysRemoved, PersonStatus, PolicyTested,
        RemovePasskeys, RenewCertificate, Replay, Replayed, Restarted, RevokeApplication, RotateKeys,
        RotateServiceToken, RouteTunnel, ServiceTokenIssued, ServiceTokenStatus, SessionStatus, SessionsEnded,
        SetupLink, TestPolicy, TunnelRoutes, TunnelStatus, UnbanPerson, UserInvited, UserRemoved, UserStatus,
        WhichSessions, WhosePasskeys, problem,
    },
    store::{AuditEvent, AuditRecord, MailLogEntry, OperatorRecord, SessionRecord, Store, StoreError},
    trial,
    tunnels::{Principal, TunnelRef},
    users,
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

    /// What a declaration is judged by.
    fn ground(&self) -> declare::Ground<'_> {
        declare::Ground {
            built_in: &self.state.built_in,
            mail: self.state.config.quick_start || self.state.config.smtp.is_some(),
            countries: self.state.config.has_countries(),
            keys: Some(&self.state.keys),
            actor: "local",
            now: self.state.now(),
        }
    }

    /// What is stored of every session that counts now, with its last use.
    fn records(&self) -> Vec<SessionRecord> {
        let record = |session: &Arc<Session>| SessionRecord { seen: session.seen(), ..session.record().clone() };
        self.state.sessions.list(self.state.now()).iter().map(record).collect()
    }

    /// How visitors come to the login host.
    fn login_base(&self) -> String {
        self.state.tunnel_desk(None).visit_url(self.state.login_host())
    }

    fn hostnames(&self, tunnel: TunnelId) -> Vec<HostPattern> {
        self.state.snapshot.load().hostnames(tunnel).to_vec()
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
        crate::faults::at("administration");
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
        Ok(self.records().iter().map(SessionStatus::from).collect())
    }

    async fn end_sessions(&self, which: WhichSessions) -> Answer<SessionsEnded> {
        let records = self.records();
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

    async fn revoke_application(&self, request: RevokeApplication) -> Answer<()> {
        people::revoke_application(&*self.state.store, &request, self.state.now()).await?;
        self.reload().await
    }

    async fn people(&self) -> Answer<Vec<PersonStatus>> {
        people::list(&*self.state.store, &self.records()).await
    }

    async fn ban(&self, request: BanPerson) -> Answer<Banned> {
        if self.state.snapshot.load().is_administrator(&request.email) {
            let text = format!("`{}` is an administrator; take that away first", request.email);
            return Err(problem("in_use", text));
        }
        let (banned, ids) = people::ban(&*self.state.store, &request, &self.records(), self.state.now()).await?;
        self.reload().await?;
        self.state.sessions.end(&ids).await.map_err(failed)?;
        Ok(banned)
    }

    async fn unban(&self, request: UnbanPerson) -> Answer<()> {
        people::unban(&*self.state.store, &request, self.state.now()).await?;
        self.reload().await
    }

    async fn test_policy(&self, request: TestPolicy) -> Answer<PolicyTested> {
        let State { store, countries, .. } = &*self.state;
        trial::test(&**store, &self.state.snapshot.load_full(), countries, &request, self.state.now()).await
    }

    async fn explain(&self, request: Explain) -> Answer<Explained> {
        self.state.audit.flush().await.map_err(|error| problem("audit", error.to_string()))?;
        trial::explain(&*self.state.store, &self.state.snapshot.load_full(), &request.reference).await
    }

    async fn replay(&self, request: Replay) -> Answer<Replayed> {
        self.state.audit.flush().await.map_err(|error| problem("audit", error.to_string()))?;
        let store = &*self.state.store;
        let snapshot = match &request.declaration {
            None => self.state.snapshot.load_full(),
            Some(declaration) => {
                let preview = declare::preview(store, declaration, &self.ground()).await;
                Arc::new(preview.map_err(|error| problem("refused", error.to_string()))?)
            }
        };
        trial::replay(store, &snapshot, request.since).await
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

    async fn certificates(&self) -> Answer<Vec<CertificateStatus>> {
        let stored = self.state.store.visitor_certificates().await.map_err(failed)?;
        Ok(self.state.certificates.list(&stored))
    }

    async fn renew_certificate(&self, request: RenewCertificate) -> Answer<()> {
        certificates::renew(&*self.state.store, &request).await?;
        // Whoever orders looks again.
        self.state.changed.send_modify(|_| ());
        Ok(())
    }

    async fn keys(&self) -> Answer<Vec<KeyStatus>> {
        Ok(self.state.keys.status(self.state.now()))
    }

    async fn rotate_keys(&self, request: RotateKeys) -> Answer<Vec<KeyStatus>> {
        self.state.keys.rotate(&*self.state.store, request, self.state.now()).await
    }

    async fn applications(&self) -> Answer<Vec<ApplicationStatus>> {
        Ok(ApplicationStatus::all(&self.state.snapshot.load().declared))
    }

    async fn login_methods(&self) -> Answer<Vec<LoginMethodStatus>> {
        Ok(login_methods::list(&self.state))
    }

    async fn begin_login_test(&self, request: NamedLoginMethod) -> Answer<LoginTestBegun> {
        login_methods::begin_test(&self.state, &request)
    }

    async fn login_test(&self, request: LoginTestQuery) -> Answer<LoginTestResult> {
        login_methods::test(&self.state, &request).await
    }

    async fn last_login(&self, request: NamedLoginMethod) -> Answer<LastLogin> {
        login_methods::last_login(&self.state, &self.records(), &request).await
    }

    async fn users(&self) -> Answer<Vec<UserStatus>> {
        users::list(&*self.state.store, self.state.now()).await
    }

    async fn invite_user(&self, request: InviteUser) -> Answer<UserInvited> {
        let (base, now) = (self.login_base(), self.state.now());
        let issue = users::invite(&*self.state.store, &request, &base, now).await?;
        issue.store(&*self.state.store, &self.state.snapshot.load().declared, "invited").await
    }

    async fn reset_user(&self, request: NamedUser) -> Answer<UserInvited> {
        let (base, now) = (self.login_base(), self.state.now());
        let issue = users::reset(&*self.state.store, &request, &base, now).await?;
        let (person, what) = (issue.person(), "a new link, in the place of every passkey");
        let invited = issue.store(&*self.state.store, &self.state.snapshot.load().declared, what).await?;
        self.state.sessions.end_person(person).await.map_err(failed)?;
        Ok(invited)
    }

    async fn remove_user(&self, request: NamedUser) -> Answer<UserRemoved> {
        let (people, passkeys) = users::remove(&*self.state.store, &request, self.state.now()).await?;
        let mut sessions = 0usize;
        for person in people {
            let ended = self.state.sessions.end_person(person).await.map_err(failed)?;
            sessions = sessions.saturating_add(ended);
        }
        Ok(UserRemoved { email: request.email, passkeys, sessions })
    }

    async fn passkeys(&self, whose: WhosePasskeys) -> Answer<PasskeyList> {
        passkeys::list(&*self.state.store, &whose).await
    }

    async fn remove_passkeys(&self, request: RemovePasskeys) -> Answer<PasskeysRemoved> {
        let (removed, people) = passkeys::remove(&*self.state.store, &request, self.state.now()).await?;
        // Looked for when the passkeys are gone: a login that is under way sees that its own is.
        let ids = passkeys::begun(&self.records(), &people, &self.state.snapshot.load().declared.login_methods);
        self.state.sessions.end(&ids).await.map_err(failed)?;
        Ok(PasskeysRemoved { email: request.email, passkeys: removed, sessions: ids.len() })
    }

    async fn setup_link(&self) -> Answer<SetupLink> {
        let url = setup::make_link(&self.state.tunnel_desk(None), MadeBy::Command).await;
        Ok(SetupLink { url: url.map_err(|error| problem("setup", error.to_string()))? })
    }

    async fn restart(&self) -> Answer<Restarted> {
        self.state.asks.ask().await
    }

    async fn health(&self) -> Answer<Health> {
        let running = Some(health::look(&self.state).await);
        Ok(Health { clock: self.state.clock.status(), backups: self.state.backups.status(), running })
    }

    async fn accept_clock(&self) -> Answer<Health> {
        let before = self.state.now();
        let record = accepted(before, self.state.clock.shown());
        // First the record: what is believed without one would be nobody's doing.
        self.state.store.append_audit(&[record]).await.map_err(failed)?;
        let shown = self.state.clock.believe();
        self.state.store.note_passed(shown).await.map_err(failed)?;
        self.state.sessions.sweep(shown);
        self.state.store.sweep(shown).await.map_err(failed)?;
        self.health().await
    }

    async fn apply(&self, request: declare::Request) -> Answer<declare::Report> {
        crate::faults::at("declaration");
        let store: &dyn Store = &*self.state.store;
        let report = declare::apply(store, &request, &self.ground())
            .await
            .map_err(|error| problem("refused", error.to_string()))?;
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
