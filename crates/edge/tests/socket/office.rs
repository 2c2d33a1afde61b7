//! An office that answers from memory, and notes what it was asked.

use std::sync::Mutex;

use async_trait::async_trait;
use tunnel_auth::Algorithm;
use tunnel_edge::{
    declare::{Report, Request},
    keys::KeyState,
    socket::{
        Administration, Answer, ApplicationStatus, AuditQuery, BackupStatus, BanPerson, Banned, CertificateStatus,
        ClockStatus, CreateServiceToken, Explain, Explained, Exported, Health, InviteUser, KeyStatus, LastLogin,
        LoginMethodStatus, LoginTestBegun, LoginTestQuery, LoginTestResult, NamedLoginMethod, NamedOperator,
        NamedServiceToken, NamedTunnel, NamedUser, OperatorRevoked, PasskeyList, PasskeyStatus, PasskeysRemoved,
        PersonStatus, PolicyTested, RemovePasskeys, RenewCertificate, Replay, Replayed, Restarted, RevokeApplication,
        RotateKeys, RotateServiceToken, RouteTunnel, Running, ServiceTokenIssued, ServiceTokenStatus, SessionStatus,
        SessionsEnded, SetupLink, Shortage, TestPolicy, Tested, TunnelRoutes, TunnelStatus, UnbanPerson, UserInvited,
        UserRemoved, UserStatus, WhichSessions, WhosePasskeys, problem,
    },
    store::{AuditEvent, AuditRecord, MailLogEntry, OperatorRecord, SessionKind},
};
use tunnel_proto::{
    AppId, EmailAddress, Name, OperatorId, PersonId, TunnelId, UnixTime,
    enrol::{CreateTunnel, EdgeInfo, TunnelCreated},
};

#[derive(Default)]
pub(crate) struct Office {
    pub(crate) asked: Mutex<Vec<String>>,
}

impl Office {
    fn note(&self, what: impl std::fmt::Debug) {
        self.asked.lock().unwrap().push(format!("{what:?}"));
    }
}

pub(crate) fn info() -> EdgeInfo {
    EdgeInfo {
        zone: "localhost".parse().unwrap(),
        edge: "https://access.localhost:8443".into(),
        ca: "PEM".into(),
        version: "1".into(),
        quick_start: true,
        visit: "http://HOST:8080".into(),
    }
}

pub(crate) fn issued(name: Name) -> ServiceTokenIssued {
    ServiceTokenIssued { name, id: "ab.access".into(), secret: "SECRET".into(), expires: UnixTime(9) }
}

pub(crate) fn login_method() -> LoginMethodStatus {
    LoginMethodStatus {
        name: "entra".parse().unwrap(),
        r#type: "entra".into(),
        redirect_uris: vec!["https://access.localhost:8443/.access/callback/entra".into()],
        issuer: Some("https://login.microsoftonline.com/T/v2.0".into()),
        client_id: Some("C".into()),
        scopes: vec!["openid".into()],
        tenant: Some("T".into()),
        groups: true,
        hosted_domain: None,
    }
}

pub(crate) fn invited(email: EmailAddress) -> UserInvited {
    UserInvited {
        email,
        url: "https://access.example.com/.access/invite?token=T".into(),
        expires: UnixTime(9),
        warning: None,
    }
}

pub(crate) fn passkey() -> PasskeyStatus {
    PasskeyStatus {
        id: "cd".repeat(32),
        person: PersonId::from_bytes([4; 16]),
        email: "a@example.com".parse().unwrap(),
        method: "pin".parse().unwrap(),
        issuer: "mailbox".into(),
        label: "Laptop".into(),
        created: UnixTime(1),
        used: Some(UnixTime(2)),
    }
}

#[async_trait]
impl Administration for Office {
    async fn info(&self) -> Answer<EdgeInfo> {
        Ok(info())
    }

    async fn create_tunnel(&self, request: CreateTunnel) -> Answer<TunnelCreated> {
        self.note(&request);
        if request.name.as_str() == "taken" {
            return Err(problem("hostname_taken", "`www.localhost` is served by tunnel `office`"));
        }
        let (certificate, ca) = ("C".to_owned(), "PEM".to_owned());
        let tunnel = TunnelId::from_bytes([1; 16]);
        Ok(TunnelCreated { tunnel, name: request.name, certificate, ca, hostnames: request.hostnames, urls: vec![] })
    }

    async fn tunnels(&self) -> Answer<Vec<TunnelStatus>> {
        let tunnel = TunnelId::from_bytes([1; 16]);
        Ok(vec![TunnelStatus { tunnel, name: "office".parse().unwrap(), hostnames: vec![], links: Some(4) }])
    }

    async fn route(&self, request: RouteTunnel) -> Answer<TunnelRoutes> {
        self.note(&request);
        Ok(TunnelRoutes { name: request.name, hostnames: request.hostnames })
    }

    async fn revoke_tunnel(&self, request: NamedTunnel) -> Answer<TunnelRoutes> {
        Err(problem("unknown_tunnel", format!("there is no tunnel `{}`", request.name)))
    }

    async fn delete_tunnel(&self, request: NamedTunnel) -> Answer<TunnelRoutes> {
        self.note(&request);
        Ok(TunnelRoutes { name: request.name, hostnames: vec![] })
    }

    async fn operators(&self) -> Answer<Vec<OperatorRecord>> {
        Ok(vec![OperatorRecord {
            id: OperatorId::from_bytes([5; 16]),
            machine: "laptop".into(),
            hostnames: vec!["www.localhost".parse().unwrap()],
            approved_by: "a@example.com".parse().unwrap(),
            approved: UnixTime(3),
        }])
    }

    async fn revoke_operator(&self, request: NamedOperator) -> Answer<OperatorRevoked> {
        self.note(&request);
        Ok(OperatorRevoked { machine: "laptop".into(), tunnels: vec!["office".parse().unwrap()] })
    }

    async fn mail_log(&self, query: AuditQuery) -> Answer<Vec<MailLogEntry>> {
        self.note(query);
        Ok(vec![MailLogEntry {
            id: 1,
            state: "sent".into(),
            at: UnixTime(4),
            domain: "example.com".into(),
            detail: None,
        }])
    }

    async fn sessions(&self) -> Answer<Vec<SessionStatus>> {
        Ok(vec![SessionStatus {
            id: "ab".repeat(32),
            email: "a@example.com".parse().unwrap(),
            method: "pin".parse().unwrap(),
            kind: SessionKind::Browser,
            device: None,
            source: None,
            login: None,
            host: "www.localhost".parse().unwrap(),
            created: UnixTime(1),
            seen: UnixTime(1),
            expires: UnixTime(2),
            applications: vec![AppId::from_bytes([7; 32])],
        }])
    }

    async fn end_sessions(&self, which: WhichSessions) -> Answer<SessionsEnded> {
        self.note(&which);
        Ok(SessionsEnded { ended: 2 })
    }

    async fn revoke_application(&self, request: RevokeApplication) -> Answer<()> {
        self.note(&request);
        Ok(())
    }

    async fn people(&self) -> Answer<Vec<PersonStatus>> {
        Ok(vec![PersonStatus {
            person: PersonId::from_bytes([4; 16]),
            email: "a@example.com".parse().unwrap(),
            method: "pin".parse().unwrap(),
            issuer: "mailbox".into(),
            groups: vec!["staff".into()],
            created: UnixTime(1),
            seen: UnixTime(2),
            sessions: 3,
            banned: None,
        }])
    }

    async fn ban(&self, request: BanPerson) -> Answer<Banned> {
        self.note(&request);
        Ok(Banned { email: request.email, people: 1, ended: 2 })
    }

    async fn unban(&self, request: UnbanPerson) -> Answer<()> {
        self.note(&request);
        Ok(())
    }

    async fn test_policy(&self, request: TestPolicy) -> Answer<PolicyTested> {
        self.note(&request);
        let tested = Tested {
            who: "a@example.com by pin".into(),
            known: true,
            source: [192, 0, 2, 1].into(),
            admitted: true,
            why: "policy `staff` admits".into(),
            explanation: "application `www`".into(),
            trace: serde_json::Value::Null,
        };
        Ok(PolicyTested { application: request.application, admitted: 1, tested: vec![tested] })
    }

    async fn explain(&self, request: Explain) -> Answer<Explained> {
        self.note(&request);
        Ok(Explained { records: vec![] })
    }

    async fn replay(&self, request: Replay) -> Answer<Replayed> {
        self.note(&request);
        Ok(Replayed { since: request.since, decisions: 5, gone: 1, differences: vec![] })
    }

    async fn service_tokens(&self) -> Answer<Vec<ServiceTokenStatus>> {
        Ok(vec![ServiceTokenStatus {
            name: "backup".parse().unwrap(),
            id: "ab.access".into(),
            created: UnixTime(1),
            expires: UnixTime(9),
            previous_until: None,
        }])
    }

    async fn create_service_token(&self, request: CreateServiceToken) -> Answer<ServiceTokenIssued> {
        self.note(&request);
        Ok(issued(request.name))
    }

    async fn rotate_service_token(&self, request: RotateServiceToken) -> Answer<ServiceTokenIssued> {
        self.note(&request);
        Ok(issued(request.name))
    }

    async fn delete_service_token(&self, request: NamedServiceToken) -> Answer<()> {
        self.note(&request);
        Ok(())
    }

    async fn certificates(&self) -> Answer<Vec<CertificateStatus>> {
        Ok(vec![])
    }

    async fn renew_certificate(&self, request: RenewCertificate) -> Answer<()> {
        self.note(&request);
        Ok(())
    }

    async fn keys(&self) -> Answer<Vec<KeyStatus>> {
        let (since, until) = (UnixTime(1), UnixTime(2));
        Ok(vec![KeyStatus { id: "kid".into(), algorithm: Algorithm::Rs256, state: KeyState::Previous, since, until }])
    }

    async fn rotate_keys(&self, request: RotateKeys) -> Answer<Vec<KeyStatus>> {
        self.note(request);
        self.keys().await
    }

    async fn applications(&self) -> Answer<Vec<ApplicationStatus>> {
        let (id, hostnames) = (AppId::from_bytes([7; 32]), vec!["*.localhost".parse().unwrap()]);
        Ok(vec![ApplicationStatus { name: "www".parse().unwrap(), id, hostnames }])
    }

    async fn login_methods(&self) -> Answer<Vec<LoginMethodStatus>> {
        Ok(vec![login_method()])
    }

    async fn begin_login_test(&self, request: NamedLoginMethod) -> Answer<LoginTestBegun> {
        self.note(&request);
        let url = "https://access.localhost:8443/.access/login-test?id=ID".to_owned();
        Ok(LoginTestBegun { id: "ID".into(), url, seconds: 600 })
    }

    async fn login_test(&self, request: LoginTestQuery) -> Answer<LoginTestResult> {
        self.note(&request);
        Ok(LoginTestResult { outcome: None })
    }

    async fn last_login(&self, request: NamedLoginMethod) -> Answer<LastLogin> {
        self.note(&request);
        Ok(LastLogin { method: request.name, url: "https://access.localhost:8443/.access/account".into(), who: None })
    }

    async fn users(&self) -> Answer<Vec<UserStatus>> {
        let email = "a@example.com".parse().unwrap();
        let (joined, used) = (Some(UnixTime(1)), Some(UnixTime(2)));
        Ok(vec![UserStatus { email, joined, passkeys: 1, used, invited_until: None }])
    }

    async fn invite_user(&self, request: InviteUser) -> Answer<UserInvited> {
        self.note(&request);
        Ok(invited(request.email))
    }

    async fn reset_user(&self, request: NamedUser) -> Answer<UserInvited> {
        self.note(&request);
        Ok(invited(request.email))
    }

    async fn remove_user(&self, request: NamedUser) -> Answer<UserRemoved> {
        self.note(&request);
        Ok(UserRemoved { email: request.email, passkeys: 1, sessions: 2 })
    }

    async fn passkeys(&self, whose: WhosePasskeys) -> Answer<PasskeyList> {
        self.note(&whose);
        Ok(PasskeyList { passkeys: vec![passkey()], truncated: true })
    }

    async fn remove_passkeys(&self, request: RemovePasskeys) -> Answer<PasskeysRemoved> {
        self.note(&request);
        Ok(PasskeysRemoved { email: request.email, passkeys: vec![passkey()], sessions: 2 })
    }

    async fn setup_link(&self) -> Answer<SetupLink> {
        Ok(SetupLink { url: "http://access.localhost:8080/.access/setup?token=T".into() })
    }

    async fn restart(&self) -> Answer<Restarted> {
        Ok(Restarted { process: 2, before: 1, connections: 3, memory_kib: None })
    }

    async fn health(&self) -> Answer<Health> {
        let (shown, now, passed) = (UnixTime(1), UnixTime(2), UnixTime(3));
        let running = Some(Running { memory: Shortage::Severe, ..Running::default() });
        Ok(Health { clock: ClockStatus { shown, now, passed }, backups: BackupStatus::default(), running })
    }

    async fn accept_clock(&self) -> Answer<Health> {
        self.note("clock");
        self.health().await
    }

    async fn apply(&self, request: Request) -> Answer<Report> {
        self.note(&request);
        Ok(Report { changes: vec![], warnings: vec![], notes: vec![], dry_run: request.dry_run, revision: None })
    }

    async fn export(&self) -> Answer<Exported> {
        Ok(Exported { text: "x".repeat(2_000_000) })
    }

    async fn audit(&self, query: AuditQuery) -> Answer<Vec<AuditRecord>> {
        self.note(query);
        Ok(vec![AuditRecord::new(UnixTime(1), AuditEvent::Login)])
    }
}
