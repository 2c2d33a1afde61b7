//! Administration from the edge's own machine: `DATA-DIR/edge.sock`, HTTP/1.1 with JSON, for the edge's own user and root.
//!
//! [`Administration`] is what can be asked. It is answered by a running edge behind a [`Socket`], by a [`Client`] that
//! passes it on to one, and, as far as that makes sense, by [`Offline`] on the store of an edge that does not run. Who
//! asks is the principal `local`: all rights, but no hostname is moved away from another tunnel.
//!
//! One edge runs on a data directory at a time: it holds `DATA-DIR/edge.lock`.

mod client;
mod lock;
mod offline;
mod server;

use std::{io, path::PathBuf};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tunnel_policy::Application;
use tunnel_proto::{
    AppId, EmailAddress, HostPattern, Hostname, Name, OperatorId, TunnelId, UnixTime,
    enrol::{CreateTunnel, EdgeInfo, EnrolProblem, SOCKET_NAME, TunnelCreated},
};

use crate::{
    declare::{Report, Request},
    store::{
        AuditEvent, AuditRecord, CertificateHolder, Declared, MailLogEntry, OperatorRecord, SessionKind, SessionRecord,
        Store, StoreError,
    },
};

pub use crate::certificates::{CertificateStatus, RenewCertificate};
pub use crate::health::{
    AuditStatus, BackupStatus, CertificateTrouble, ClockStatus, DescriptorStatus, Health, PanicStatus, Running,
    Shortage, UnwritableStatus,
};
pub use crate::users::{InviteUser, NamedUser, UserInvited, UserRemoved, UserStatus};
pub use crate::{
    keys::{KeyStatus, RotateKeys},
    login_methods::{
        LastLogin, LoggedIn, LoginMethodStatus, LoginTestBegun, LoginTestQuery, LoginTestResult, NamedLoginMethod,
    },
    passkeys::{PASSKEY_PREFIX_MIN, PasskeyList, PasskeyStatus, PasskeysRemoved, RemovePasskeys, WhosePasskeys},
    people::{BanPerson, Banned, PersonStatus, UnbanPerson},
    service_tokens::{
        CreateServiceToken, NamedServiceToken, RotateServiceToken, ServiceTokenIssued, ServiceTokenStatus,
    },
    trial::{Explained, ExplainedRecord, PolicyTested, Replayed, TestPolicy, Tested, Who},
};
pub use client::Client;
pub use lock::Lock;
pub use offline::Offline;
pub use server::{Serving, Socket};

/// The longest body of a request, in bytes: a file of ten thousand applications has three million. Only the edge's own account
/// gets as far as sending one.
pub const BODY_MAX: usize = 16 * 1024 * 1024;
/// The longest path of the socket, in bytes; what the kernel takes is a little more (`sun_path`, unix(7)).
pub const PATH_MAX: usize = 100;
/// The most audit records in one answer.
pub const AUDIT_MAX: u32 = 10_000;

/// An answer, or why not, for the person who asked.
pub type Answer<T> = Result<T, EnrolProblem>;

/// What the owner of the edge's machine can ask of it.
#[async_trait]
pub trait Administration: Send + Sync + 'static {
    /// What a connector on the same machine needs to know (`GET /v1/info`).
    async fn info(&self) -> Answer<EdgeInfo>;
    /// Creates a tunnel or reuses the one of this name (`POST /v1/tunnels`).
    async fn create_tunnel(&self, request: CreateTunnel) -> Answer<TunnelCreated>;
    /// All tunnels, by name (`GET /v1/tunnels`).
    async fn tunnels(&self) -> Answer<Vec<TunnelStatus>>;
    /// Routes hostnames to a tunnel, all or none (`POST /v1/tunnels/route`).
    async fn route(&self, request: RouteTunnel) -> Answer<TunnelRoutes>;
    /// Revokes every certificate of a tunnel and closes its links; its routes stay (`POST /v1/tunnels/revoke`).
    async fn revoke_tunnel(&self, request: NamedTunnel) -> Answer<TunnelRoutes>;
    /// Deletes a tunnel, its routes and its certificates, and closes its links; answers what was routed to it
    /// (`POST /v1/tunnels/delete`).
    async fn delete_tunnel(&self, request: NamedTunnel) -> Answer<TunnelRoutes>;
    /// The machines that an administrator approved, oldest first (`GET /v1/operators`).
    async fn operators(&self) -> Answer<Vec<OperatorRecord>>;
    /// Withdraws a machine's approval: revokes its certificate and those of its tunnels, and closes their links
    /// (`POST /v1/operators/revoke`).
    async fn revoke_operator(&self, request: NamedOperator) -> Answer<OperatorRevoked>;
    /// What became of the newest mails, newest first (`POST /v1/mail-log`).
    async fn mail_log(&self, query: AuditQuery) -> Answer<Vec<MailLogEntry>>;
    /// Who is logged in, oldest first (`GET /v1/sessions`).
    async fn sessions(&self) -> Answer<Vec<SessionStatus>>;
    /// Ends sessions (`POST /v1/sessions/revoke`).
    async fn end_sessions(&self, which: WhichSessions) -> Answer<SessionsEnded>;
    /// Makes people log in anew for an application (`POST /v1/sessions/revoke-application`).
    async fn revoke_application(&self, request: RevokeApplication) -> Answer<()>;
    /// Everybody who is known, the last first (`GET /v1/people`).
    async fn people(&self) -> Answer<Vec<PersonStatus>>;
    /// Bans an address, and ends the sessions of everybody known by it (`POST /v1/people/ban`).
    async fn ban(&self, request: BanPerson) -> Answer<Banned>;
    /// Lifts a ban (`POST /v1/people/unban`).
    async fn unban(&self, request: UnbanPerson) -> Answer<()>;
    /// Whether somebody would get in, and why (`POST /v1/policy/test`).
    async fn test_policy(&self, request: TestPolicy) -> Answer<PolicyTested>;
    /// What became of a request, by its reference (`POST /v1/policy/explain`).
    async fn explain(&self, request: Explain) -> Answer<Explained>;
    /// What of past decisions would have differed (`POST /v1/policy/replay`).
    async fn replay(&self, request: Replay) -> Answer<Replayed>;
    /// Every service token, by name (`GET /v1/service-tokens`).
    async fn service_tokens(&self) -> Answer<Vec<ServiceTokenStatus>>;
    /// Makes a service token (`POST /v1/service-tokens`).
    async fn create_service_token(&self, request: CreateServiceToken) -> Answer<ServiceTokenIssued>;
    /// Gives a service token another secret (`POST /v1/service-tokens/rotate`).
    async fn rotate_service_token(&self, request: RotateServiceToken) -> Answer<ServiceTokenIssued>;
    /// Deletes a service token (`POST /v1/service-tokens/delete`).
    async fn delete_service_token(&self, request: NamedServiceToken) -> Answer<()>;
    /// The keys that sign assertions, those that will, and those that did (`GET /v1/keys`).
    async fn keys(&self) -> Answer<Vec<KeyStatus>>;
    /// Makes other keys that sign assertions; answers all that there are then (`POST /v1/keys/rotate`).
    async fn rotate_keys(&self, request: RotateKeys) -> Answer<Vec<KeyStatus>>;
    /// Certificates that visitors are shown, by name (`GET /v1/certificates`).
    async fn certificates(&self) -> Answer<Vec<CertificateStatus>>;
    /// Has a certificate by ACME renewed at once (`POST /v1/certificates/renew`).
    async fn renew_certificate(&self, request: RenewCertificate) -> Answer<()>;
    /// What is declared to be protected, by name (`GET /v1/applications`).
    async fn applications(&self) -> Answer<Vec<ApplicationStatus>>;
    /// The declared login methods, in their order (`GET /v1/login-methods`).
    async fn login_methods(&self) -> Answer<Vec<LoginMethodStatus>>;
    /// Begins a test of a login method (`POST /v1/login-methods/test`).
    async fn begin_login_test(&self, request: NamedLoginMethod) -> Answer<LoginTestBegun>;
    /// What came of it, waiting a while for it (`POST /v1/login-methods/test/result`).
    async fn login_test(&self, request: LoginTestQuery) -> Answer<LoginTestResult>;
    /// The last login by a method that has no provider to be tested at (`POST /v1/login-methods/last-login`).
    async fn last_login(&self, request: NamedLoginMethod) -> Answer<LastLogin>;
    /// Everybody who was invited, by address (`GET /v1/users`).
    async fn users(&self) -> Answer<Vec<UserStatus>>;
    /// Makes a link by which somebody joins, once (`POST /v1/users`).
    async fn invite_user(&self, request: InviteUser) -> Answer<UserInvited>;
    /// Makes a new link for somebody who was invited, deletes their passkeys and ends their sessions
    /// (`POST /v1/users/reset`).
    async fn reset_user(&self, request: NamedUser) -> Answer<UserInvited>;
    /// Removes somebody who was invited, with passkeys and sessions (`POST /v1/users/remove`).
    async fn remove_user(&self, request: NamedUser) -> Answer<UserRemoved>;
    /// Passkeys with whose they are, by address (`POST /v1/passkeys`).
    async fn passkeys(&self, whose: WhosePasskeys) -> Answer<PasskeyList>;
    /// Removes passkeys, and ends the sessions of their people that a passkey began (`POST /v1/passkeys/remove`).
    async fn remove_passkeys(&self, request: RemovePasskeys) -> Answer<PasskeysRemoved>;
    /// Makes a link that makes an administrator, once (`POST /v1/setup-link`).
    async fn setup_link(&self) -> Answer<SetupLink>;
    /// Applies a declaration (`POST /v1/apply`).
    async fn apply(&self, request: Request) -> Answer<Report>;
    /// Has the edge replaced by a new process of its program, and waits until that serves (`POST /v1/restart`).
    async fn restart(&self) -> Answer<Restarted>;
    /// How it and its machine do (`GET /v1/health`).
    async fn health(&self) -> Answer<Health>;
    /// Goes by what the clock shows, whatever has passed (`POST /v1/clock/accept`).
    async fn accept_clock(&self) -> Answer<Health>;
    /// What is declared, as a declaration (`GET /v1/export`).
    async fn export(&self) -> Answer<Exported>;
    /// The newest audit records, newest first (`POST /v1/audit`).
    async fn audit(&self, query: AuditQuery) -> Answer<Vec<AuditRecord>>;
}

/// A tunnel as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelStatus {
    /// Its identity.
    pub tunnel: TunnelId,
    /// Its name.
    pub name: Name,
    /// Hostnames routed to it.
    pub hostnames: Vec<HostPattern>,
    /// Links it has now; `None` when no edge runs.
    pub links: Option<u32>,
}

/// Asks for hostnames to be routed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteTunnel {
    /// The tunnel.
    pub name: Name,
    /// The hostnames.
    pub hostnames: Vec<HostPattern>,
}

/// The tunnel that something is to be done with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedTunnel {
    /// The tunnel.
    pub name: Name,
}

/// The machine that something is to be done with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedOperator {
    /// Its identity.
    pub id: OperatorId,
}

/// What a machine lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorRevoked {
    /// The machine, by its own word.
    pub machine: String,
    /// Tunnels whose certificates were revoked with its own; their routes stay.
    pub tunnels: Vec<Name>,
}

/// A tunnel and what is routed to it now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelRoutes {
    /// Its name.
    pub name: Name,
    /// Hostnames routed to it.
    pub hostnames: Vec<HostPattern>,
}

/// An application as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplicationStatus {
    /// Its name.
    pub name: Name,
    /// Its id: the audience (`aud`) of assertions for it.
    pub id: AppId,
    /// Its hostnames.
    pub hostnames: Vec<HostPattern>,
}

impl ApplicationStatus {
    /// All that are declared, by name.
    pub(crate) fn all(declared: &Declared) -> Vec<Self> {
        let status = |app: &Application| {
            let mut hostnames: Vec<_> = app.targets.iter().map(|target| target.host.clone()).collect();
            hostnames.dedup();
            Self { name: app.name.clone(), id: app.id, hostnames }
        };
        let mut all: Vec<_> = declared.applications.iter().map(status).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }
}

/// A session as it is listed. Its number identifies it, and is of no use as a credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionStatus {
    /// Its number: the hexadecimal hash of its secret.
    pub id: String,
    /// Who logged in.
    pub email: EmailAddress,
    /// By which method.
    pub method: Name,
    /// What carries it.
    pub kind: SessionKind,
    /// What the computer of an access client calls itself, or what kind of browser it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Where it was begun from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<std::net::IpAddr>,
    /// The number of the login that it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    /// The host it counts on.
    pub host: Hostname,
    /// When it began.
    pub created: UnixTime,
    /// When it was last used.
    pub seen: UnixTime,
    /// When it ends.
    pub expires: UnixTime,
    /// The applications it opens.
    pub applications: Vec<AppId>,
}

impl From<&SessionRecord> for SessionStatus {
    fn from(session: &SessionRecord) -> Self {
        Self {
            id: data_encoding::HEXLOWER.encode(&session.id),
            email: session.identity.email.clone(),
            method: session.identity.method.clone(),
            kind: session.kind,
            device: session.device.clone(),
            source: session.source,
            login: session.parent.map(|login| data_encoding::HEXLOWER.encode(&login)),
            host: session.host.clone(),
            created: session.created,
            seen: session.seen,
            expires: session.expires,
            applications: session.grants.iter().map(|grant| grant.app).collect(),
        }
    }
}

/// The application for which people are to log in anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeApplication {
    /// The application.
    pub application: Name,
}

/// The request that is to be explained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explain {
    /// Its reference, as pages and the audit record show it.
    pub reference: String,
}

/// Which decisions are to be made again, and by what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// A declaration that is laid over what is declared; without one, what is declared now.
    pub declaration: Option<Request>,
    /// Since when.
    pub since: UnixTime,
}

/// Which sessions to end. Those that came from them end too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhichSessions {
    /// The one whose number begins so (at least [`SESSION_PREFIX_MIN`] digits, and only one does).
    Id(String),
    /// All of this person.
    Email(EmailAddress),
}

/// The fewest digits by which a session is named.
pub const SESSION_PREFIX_MIN: usize = 8;

impl WhichSessions {
    /// The sessions that are meant, of those there are.
    pub fn among(&self, sessions: &[SessionRecord]) -> Answer<Vec<crate::store::SecretHash>> {
        let unknown = |what: &str| problem("unknown_session", format!("there is no session {what}"));
        let found: Vec<_> = sessions
            .iter()
            .filter(|session| match self {
                Self::Id(prefix) => data_encoding::HEXLOWER.encode(&session.id).starts_with(prefix.as_str()),
                Self::Email(email) => session.identity.email == *email,
            })
            .map(|session| session.id)
            .collect();
        match (self, found.len()) {
            (Self::Id(prefix), _) if prefix.len() < SESSION_PREFIX_MIN => Err(problem(
                "bad_request",
                format!("give at least {SESSION_PREFIX_MIN} digits of the session's number"),
            )),
            (Self::Id(prefix), 0) => {
                Err(unknown(&format!("`{prefix}`; `edge admin session list` shows those there are")))
            }
            (Self::Email(email), 0) => Err(unknown(&format!("of `{email}`"))),
            (Self::Id(prefix), 2..) => {
                Err(problem("bad_request", format!("more than one session begins with `{prefix}`; give more digits")))
            }
            _ => Ok(found),
        }
    }
}

/// How many sessions were named and ended; those that came from them are not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionsEnded {
    /// The number.
    pub ended: usize,
}

/// A setup link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupLink {
    /// Its address, which is the only copy of its secret.
    pub url: String,
}

/// An edge that was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restarted {
    /// The number of the process that serves now.
    pub process: u32,
    /// The number of the one before, which goes on with what it has begun.
    pub before: u32,
    /// How many connections of visitors are left to that one.
    pub connections: usize,
    /// Its resident memory in KiB, where the system says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_kib: Option<u64>,
}

/// What is declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exported {
    /// The text of the file.
    pub text: String,
}

/// Which audit records are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// At most so many (up to [`AUDIT_MAX`]).
    pub limit: u32,
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// Another edge has the data directory.
    #[error("an edge already runs on this data directory (`{path}`); stop it first, or use another `--data-dir`", path = .path.display())]
    Running {
        /// The data directory.
        path: PathBuf,
    },
    /// The path is longer than sockets may have.
    #[error(
        "the path of the edge's socket, `{path}`, is longer than {PATH_MAX} bytes, which sockets cannot have; use a \
         shorter `--data-dir`",
        path = .path.display()
    )]
    TooLong {
        /// The path.
        path: PathBuf,
    },
    /// Something else is where the socket should be, or it cannot be made.
    #[error("the edge's socket `{path}`: {source}", path = .path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The socket of a data directory, if its path is not too long for one.
pub(crate) fn path_in(data_dir: &std::path::Path) -> Result<PathBuf, SocketError> {
    let path = data_dir.join(SOCKET_NAME);
    if path.as_os_str().len() > PATH_MAX { Err(SocketError::TooLong { path }) } else { Ok(path) }
}

/// A problem with a stable code and a sentence for a person.
pub fn problem(code: &str, message: impl Into<String>) -> EnrolProblem {
    EnrolProblem { code: code.to_owned(), message: message.into() }
}

/// Revokes the certificate of a machine and those of the tunnels that are its own. The caller closes links.
pub(crate) async fn revoke_operator(store: &dyn Store, id: OperatorId, now: UnixTime) -> Answer<OperatorRevoked> {
    let failed = |error: StoreError| problem("store", error.to_string());
    let operator = store.operator(id).await.map_err(failed)?;
    let operator = operator.ok_or_else(|| {
        problem(
            "unknown_operator",
            format!("there is no machine `{id}`; `edge admin operator list` shows those there are"),
        )
    })?;
    let (_, declared) = store.declared().await.map_err(failed)?;
    let tunnels: Vec<_> = declared.tunnels.iter().filter(|tunnel| tunnel.owner == Some(id)).collect();
    let record = AuditRecord {
        actor: Some("local".to_owned()),
        object: Some(operator.machine.clone()),
        detail: Some(format!("the machine {id} and every certificate of its {} tunnels", tunnels.len())),
        ..AuditRecord::new(now, AuditEvent::Revoked)
    };
    store.append_audit(&[record]).await.map_err(failed)?;
    store.revoke_certificates(&CertificateHolder::Operator(id), now).await.map_err(failed)?;
    for tunnel in &tunnels {
        store.revoke_certificates(&CertificateHolder::Tunnel(tunnel.id), now).await.map_err(failed)?;
    }
    Ok(OperatorRevoked {
        machine: operator.machine,
        tunnels: tunnels.iter().map(|tunnel| tunnel.name.clone()).collect(),
    })
}
