//! What can be asked while no edge runs: answered on its store.
//!
//! Reading, ending sessions, revoking certificates and changing keys work; they count from the edge's next start. Whatever
//! needs to know how the edge is configured or reached needs it to run.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use tunnel_proto::enrol::{CreateTunnel, EdgeInfo, EnrolProblem, TunnelCreated};

use super::{
    AUDIT_MAX, Administration, Answer, ApplicationStatus, AuditQuery, BanPerson, Banned, CertificateStatus,
    CreateServiceToken, Explain, Explained, Exported, Health, InviteUser, KeyStatus, LastLogin, Lock,
    LoginMethodStatus, LoginTestBegun, LoginTestQuery, LoginTestResult, NamedLoginMethod, NamedOperator,
    NamedServiceToken, NamedTunnel, NamedUser, OperatorRevoked, PasskeyList, PasskeysRemoved, PersonStatus,
    PolicyTested, RemovePasskeys, RenewCertificate, Replay, Replayed, Restarted, RevokeApplication, RotateKeys,
    RotateServiceToken, RouteTunnel, ServiceTokenIssued, ServiceTokenStatus, SessionStatus, SessionsEnded, SetupLink,
    TestPolicy, TunnelRoutes, TunnelStatus, UnbanPerson, UserInvited, UserRemoved, UserStatus, WhichSessions,
    WhosePasskeys, problem,
};
use crate::{
    Clock, backup, certificates, declare,
    health::accepted,
    keys::Keys,
    passkeys, people, platform, service_tokens,
    store::{
        AuditEvent, AuditRecord, CertificateHolder, DATABASE_NAME, Declared, MailLogEntry, OperatorRecord, Store,
        StoreError, sqlite::SqliteStore,
    },
    users,
};
use tunnel_proto::{HostPattern, TunnelId};

/// The store of an edge that does not run. Holds its data directory's lock.
#[derive(Debug)]
pub struct Offline {
    store: SqliteStore,
    clock: Clock,
    data_dir: PathBuf,
    _lock: Lock,
}

impl Offline {
    /// Opens the store in `data_dir`, which must be there already.
    pub async fn open(data_dir: &Path, clock: Clock) -> Answer<Self> {
        let path = data_dir.join(DATABASE_NAME);
        if !path.exists() {
            let message = format!(
                "no edge runs on `{}`, and it holds no edge's data; give the right directory with `--data-dir`",
                data_dir.display()
            );
            return Err(problem("no_edge", message));
        }
        // Files that root leaves beside the database would keep the edge's own user out.
        if !platform::is_ours(&path).unwrap_or(false) {
            let message = format!("no edge runs, and `{}` is another user's; run this as that user", path.display());
            return Err(problem("no_edge", message));
        }
        let lock = Lock::take(data_dir).map_err(|error| {
            problem(
                "no_edge",
                format!("no edge answers on its socket, but its data is in use ({error}); is it starting?"),
            )
        })?;
        let store = SqliteStore::open(&path).await.map_err(|error| problem("no_edge", error.to_string()))?;
        let passed = store.passed().await.map_err(|error| problem("no_edge", error.to_string()))?;
        let clock = clock.lasting(passed);
        Ok(Self { store, clock, data_dir: data_dir.to_owned(), _lock: lock })
    }

    /// The store.
    pub const fn store(&self) -> &SqliteStore {
        &self.store
    }

    /// The keys, opened by the master key of the data directory.
    async fn signing_keys(&self) -> Answer<Keys> {
        let keys = Keys::load(&self.data_dir, &self.store, self.clock.now()).await;
        keys.map_err(|error| problem("internal", error.to_string()))
    }

    fn record(&self, object: &impl ToString, detail: &str) -> AuditRecord {
        AuditRecord {
            actor: Some("local".to_owned()),
            object: Some(object.to_string()),
            detail: Some(detail.to_owned()),
            ..AuditRecord::new(self.clock.now(), AuditEvent::Revoked)
        }
    }
}

fn failed(error: StoreError) -> EnrolProblem {
    problem("internal", error.to_string())
}

fn needs_edge<T>(what: &str) -> Answer<T> {
    Err(problem("edge_not_running", format!("{what} needs the edge to run; start it with `edge run`")))
}

fn hostnames(declared: &Declared, tunnel: TunnelId) -> Vec<HostPattern> {
    declared.routes.iter().filter(|route| route.tunnel == tunnel).map(|route| route.hostname.clone()).collect()
}

#[async_trait]
impl Administration for Offline {
    async fn info(&self) -> Answer<EdgeInfo> {
        needs_edge("this")
    }

    async fn create_tunnel(&self, _: CreateTunnel) -> Answer<TunnelCreated> {
        needs_edge("creating a tunnel")
    }

    async fn tunnels(&self) -> Answer<Vec<TunnelStatus>> {
        let (_, declared) = self.store.declared().await.map_err(failed)?;
        let status = |tunnel: &crate::store::TunnelRecord| TunnelStatus {
            tunnel: tunnel.id,
            name: tunnel.name.clone(),
            hostnames: hostnames(&declared, tunnel.id),
            links: None,
        };
        let mut all: Vec<_> = declared.tunnels.iter().map(status).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    async fn route(&self, _: RouteTunnel) -> Answer<TunnelRoutes> {
        needs_edge("routing a hostname")
    }

    async fn revoke_tunnel(&self, request: NamedTunnel) -> Answer<TunnelRoutes> {
        let (_, declared) = self.store.declared().await.map_err(failed)?;
        let unknown = || problem("unknown_tunnel", format!("there is no tunnel `{}`", request.name));
        let tunnel = declared.tunnel_named(&request.name).ok_or_else(unknown)?;
        let record = self.record(&request.name, "every certificate of the tunnel");
        self.store.append_audit(&[record]).await.map_err(failed)?;
        let holder = CertificateHolder::Tunnel(tunnel.id);
        self.store.revoke_certificates(&holder, self.clock.now()).await.map_err(failed)?;
        Ok(TunnelRoutes { name: request.name, hostnames: hostnames(&declared, tunnel.id) })
    }

    async fn delete_tunnel(&self, _: NamedTunnel) -> Answer<TunnelRoutes> {
        needs_edge("deleting a tunnel")
    }

    async fn operators(&self) -> Answer<Vec<OperatorRecord>> {
        self.store.operators().await.map_err(failed)
    }

    async fn revoke_operator(&self, request: NamedOperator) -> Answer<OperatorRevoked> {
        super::revoke_operator(&self.store, request.id, self.clock.now()).await
    }

    async fn mail_log(&self, query: AuditQuery) -> Answer<Vec<MailLogEntry>> {
        self.store.mail_log(query.limit.min(AUDIT_MAX)).await.map_err(failed)
    }

    async fn sessions(&self) -> Answer<Vec<SessionStatus>> {
        let sessions = self.store.sessions(self.clock.now()).await.map_err(failed)?;
        Ok(sessions.iter().map(SessionStatus::from).collect())
    }

    async fn end_sessions(&self, which: WhichSessions) -> Answer<SessionsEnded> {
        let sessions = self.store.sessions(self.clock.now()).await.map_err(failed)?;
        let ids = which.among(&sessions)?;
        let ended = sessions.iter().filter(|session| ids.contains(&session.id));
        let records: Vec<_> = ended.map(|session| self.record(&session.identity.email, "session ended")).collect();
        self.store.append_audit(&records).await.map_err(failed)?;
        self.store.end_sessions(&ids).await.map_err(failed)?;
        Ok(SessionsEnded { ended: ids.len() })
    }

    async fn revoke_application(&self, request: RevokeApplication) -> Answer<()> {
        people::revoke_application(&self.store, &request, self.clock.now()).await
    }

    async fn people(&self) -> Answer<Vec<PersonStatus>> {
        let sessions = self.store.sessions(self.clock.now()).await.map_err(failed)?;
        people::list(&self.store, &sessions).await
    }

    async fn ban(&self, request: BanPerson) -> Answer<Banned> {
        let sessions = self.store.sessions(self.clock.now()).await.map_err(failed)?;
        let (banned, ids) = people::ban(&self.store, &request, &sessions, self.clock.now()).await?;
        self.store.end_sessions(&ids).await.map_err(failed)?;
        Ok(banned)
    }

    async fn unban(&self, request: UnbanPerson) -> Answer<()> {
        people::unban(&self.store, &request, self.clock.now()).await
    }

    async fn test_policy(&self, _: TestPolicy) -> Answer<PolicyTested> {
        needs_edge("trying a policy")
    }

    async fn explain(&self, _: Explain) -> Answer<Explained> {
        needs_edge("explaining a decision")
    }

    async fn replay(&self, _: Replay) -> Answer<Replayed> {
        needs_edge("making decisions again")
    }

    async fn service_tokens(&self) -> Answer<Vec<ServiceTokenStatus>> {
        service_tokens::list(&self.store, self.clock.now()).await
    }

    async fn create_service_token(&self, request: CreateServiceToken) -> Answer<ServiceTokenIssued> {
        service_tokens::create(&self.store, &request, self.clock.now()).await
    }

    async fn rotate_service_token(&self, request: RotateServiceToken) -> Answer<ServiceTokenIssued> {
        service_tokens::rotate(&self.store, &request, self.clock.now()).await
    }

    async fn delete_service_token(&self, request: NamedServiceToken) -> Answer<()> {
        service_tokens::delete(&self.store, &request, self.clock.now()).await
    }

    async fn certificates(&self) -> Answer<Vec<CertificateStatus>> {
        let stored = self.store.visitor_certificates().await.map_err(failed)?;
        Ok(stored.iter().map(certificates::of_store).collect())
    }

    async fn renew_certificate(&self, request: RenewCertificate) -> Answer<()> {
        certificates::renew(&self.store, &request).await
    }

    async fn keys(&self) -> Answer<Vec<KeyStatus>> {
        Ok(self.signing_keys().await?.status(self.clock.now()))
    }

    async fn rotate_keys(&self, request: RotateKeys) -> Answer<Vec<KeyStatus>> {
        self.signing_keys().await?.rotate(&self.store, request, self.clock.now()).await
    }

    async fn applications(&self) -> Answer<Vec<ApplicationStatus>> {
        let (_, declared) = self.store.declared().await.map_err(failed)?;
        Ok(ApplicationStatus::all(&declared))
    }

    async fn login_methods(&self) -> Answer<Vec<LoginMethodStatus>> {
        needs_edge("listing login methods with their addresses")
    }

    async fn begin_login_test(&self, _: NamedLoginMethod) -> Answer<LoginTestBegun> {
        needs_edge("a test of a login method")
    }

    async fn login_test(&self, _: LoginTestQuery) -> Answer<LoginTestResult> {
        needs_edge("a test of a login method")
    }

    async fn last_login(&self, _: NamedLoginMethod) -> Answer<LastLogin> {
        needs_edge("a test of a login method")
    }

    async fn users(&self) -> Answer<Vec<UserStatus>> {
        users::list(&self.store, self.clock.now()).await
    }

    async fn invite_user(&self, _: InviteUser) -> Answer<UserInvited> {
        needs_edge("an invitation")
    }

    async fn reset_user(&self, _: NamedUser) -> Answer<UserInvited> {
        needs_edge("an invitation")
    }

    async fn remove_user(&self, request: NamedUser) -> Answer<UserRemoved> {
        let now = self.clock.now();
        let (people, passkeys) = users::remove(&self.store, &request, now).await?;
        let sessions = self.store.sessions(now).await.map_err(failed)?;
        let ids: Vec<_> =
            sessions.iter().filter(|one| people.contains(&one.identity.person)).map(|one| one.id).collect();
        self.store.end_sessions(&ids).await.map_err(failed)?;
        Ok(UserRemoved { email: request.email, passkeys, sessions: ids.len() })
    }

    async fn passkeys(&self, whose: WhosePasskeys) -> Answer<PasskeyList> {
        passkeys::list(&self.store, &whose).await
    }

    async fn remove_passkeys(&self, request: RemovePasskeys) -> Answer<PasskeysRemoved> {
        let now = self.clock.now();
        let (removed, people) = passkeys::remove(&self.store, &request, now).await?;
        let (_, declared) = self.store.declared().await.map_err(failed)?;
        let sessions = self.store.sessions(now).await.map_err(failed)?;
        let ids = passkeys::begun(&sessions, &people, &declared.login_methods);
        self.store.end_sessions(&ids).await.map_err(failed)?;
        Ok(PasskeysRemoved { email: request.email, passkeys: removed, sessions: ids.len() })
    }

    async fn setup_link(&self) -> Answer<SetupLink> {
        needs_edge("a setup link")
    }

    async fn restart(&self) -> Answer<Restarted> {
        needs_edge("a restart")
    }

    async fn health(&self) -> Answer<Health> {
        let backups = backup::status(&self.data_dir.join(backup::FOLDER));
        Ok(Health { clock: self.clock.status(), backups, running: None })
    }

    async fn accept_clock(&self) -> Answer<Health> {
        let before = self.clock.now();
        let record = accepted(before, self.clock.shown());
        // First the record: what is believed without one would be nobody's doing.
        self.store.append_audit(&[record]).await.map_err(failed)?;
        let shown = self.clock.believe();
        self.store.note_passed(shown).await.map_err(failed)?;
        self.store.sweep(shown).await.map_err(failed)?;
        self.health().await
    }

    async fn apply(&self, _: declare::Request) -> Answer<declare::Report> {
        needs_edge("this way of applying a file")
    }

    async fn export(&self) -> Answer<Exported> {
        let text = declare::export(&self.store).await.map_err(failed)?;
        Ok(Exported { text })
    }

    async fn audit(&self, query: AuditQuery) -> Answer<Vec<AuditRecord>> {
        self.store.audit(query.limit.min(AUDIT_MAX)).await.map_err(failed)
    }
}
