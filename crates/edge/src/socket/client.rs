//! The socket's asking side.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tunnel_proto::enrol::{CreateTunnel, EdgeInfo, EnrolProblem, TunnelCreated};

use super::{
    Administration, Answer, ApplicationStatus, AuditQuery, BanPerson, Banned, CertificateStatus, CreateServiceToken,
    Explain, Explained, Exported, Health, InviteUser, KeyStatus, LastLogin, LoginMethodStatus, LoginTestBegun,
    LoginTestQuery, LoginTestResult, NamedLoginMethod, NamedOperator, NamedServiceToken, NamedTunnel, NamedUser,
    OperatorRevoked, PasskeyList, PasskeysRemoved, PersonStatus, PolicyTested, RemovePasskeys, RenewCertificate,
    Replay, Replayed, Restarted, RevokeApplication, RotateKeys, RotateServiceToken, RouteTunnel, ServiceTokenIssued,
    ServiceTokenStatus, SessionStatus, SessionsEnded, SetupLink, SocketError, TestPolicy, TunnelRoutes, TunnelStatus,
    UnbanPerson, UserInvited, UserRemoved, UserStatus, WhichSessions, WhosePasskeys, path_in, problem,
};
use crate::{
    declare,
    platform::{self, LocalStream},
    store::{AuditRecord, MailLogEntry, OperatorRecord},
};

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest answer that is read: as many audit records as there can be in one.
const ANSWER_MAX: usize = 64 * 1024 * 1024;

/// Asks the edge that runs on a data directory.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
}

impl Client {
    /// A client of the edge that runs on `data_dir`; `None` when none does.
    pub async fn find(data_dir: &Path) -> Result<Option<Self>, SocketError> {
        let path = path_in(data_dir)?;
        match connect(&path).await {
            Ok(_) => Ok(Some(Self { path })),
            Err(error) if is_nobody(&error) => Ok(None),
            Err(source) => Err(SocketError::Io { path, source }),
        }
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Answer<T> {
        let broken =
            |what: String| problem("edge_unreachable", format!("the edge at `{}`: {what}", self.path.display()));
        let body =
            body.map_or_else(|| Ok(Vec::new()), serde_json::to_vec).map_err(|error| broken(error.to_string()))?;
        let asking = async {
            let stream = connect(&self.path).await.map_err(|error| broken(error.to_string()))?;
            exchange(stream, method, path, body).await.map_err(broken)
        };
        let answer = tokio::time::timeout(PATIENCE, asking).await;
        let (good, body) = answer.map_err(|_| broken(format!("no answer within {} s", PATIENCE.as_secs())))??;
        if good {
            return serde_json::from_slice(&body)
                .map_err(|error| broken(format!("the answer cannot be understood ({error}); is it another version?")));
        }
        Err(serde_json::from_slice::<EnrolProblem>(&body)
            .unwrap_or_else(|_| broken("it refused without a reason".to_owned())))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Answer<T> {
        self.ask(Method::GET, path, None::<&()>).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &(impl Serialize + Sync)) -> Answer<T> {
        self.ask(Method::POST, path, Some(body)).await
    }
}

/// Connects, and makes sure that it is the owner's edge that answers.
async fn connect(path: &Path) -> io::Result<LocalStream> {
    let stream = platform::connect_local(path).await?;
    let ours = platform::own_user() == 0 || platform::peer_is_trusted(&stream)?;
    if ours { Ok(stream) } else { Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is another user's")) }
}

fn is_nobody(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotFound, Unsupported};
    matches!(error.kind(), NotFound | ConnectionRefused | Unsupported)
}

async fn exchange(stream: LocalStream, method: Method, path: &str, body: Vec<u8>) -> Result<(bool, Bytes), String> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "edge")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| error.to_string())?;
    let answering = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let good = response.status().is_success();
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await.map_err(|error| error.to_string())?;
        Ok((good, body.to_bytes()))
    };
    tokio::pin!(connection, answering);
    tokio::select! {
        answer = &mut answering => answer,
        _ = &mut connection => answering.await,
    }
}

#[async_trait]
impl Administration for Client {
    async fn info(&self) -> Answer<EdgeInfo> {
        self.get("/v1/info").await
    }

    async fn create_tunnel(&self, request: CreateTunnel) -> Answer<TunnelCreated> {
        self.post("/v1/tunnels", &request).await
    }

    async fn tunnels(&self) -> Answer<Vec<TunnelStatus>> {
        self.get("/v1/tunnels").await
    }

    async fn route(&self, request: RouteTunnel) -> Answer<TunnelRoutes> {
        self.post("/v1/tunnels/route", &request).await
    }

    async fn revoke_tunnel(&self, request: NamedTunnel) -> Answer<TunnelRoutes> {
        self.post("/v1/tunnels/revoke", &request).await
    }

    async fn delete_tunnel(&self, request: NamedTunnel) -> Answer<TunnelRoutes> {
        self.post("/v1/tunnels/delete", &request).await
    }

    async fn operators(&self) -> Answer<Vec<OperatorRecord>> {
        self.get("/v1/operators").await
    }

    async fn revoke_operator(&self, request: NamedOperator) -> Answer<OperatorRevoked> {
        self.post("/v1/operators/revoke", &request).await
    }

    async fn mail_log(&self, query: AuditQuery) -> Answer<Vec<MailLogEntry>> {
        self.post("/v1/mail-log", &query).await
    }

    async fn sessions(&self) -> Answer<Vec<SessionStatus>> {
        self.get("/v1/sessions").await
    }

    async fn end_sessions(&self, which: WhichSessions) -> Answer<SessionsEnded> {
        self.post("/v1/sessions/revoke", &which).await
    }

    async fn revoke_application(&self, request: RevokeApplication) -> Answer<()> {
        self.post("/v1/sessions/revoke-application", &request).await
    }

    async fn people(&self) -> Answer<Vec<PersonStatus>> {
        self.get("/v1/people").await
    }

    async fn ban(&self, request: BanPerson) -> Answer<Banned> {
        self.post("/v1/people/ban", &request).await
    }

    async fn unban(&self, request: UnbanPerson) -> Answer<()> {
        self.post("/v1/people/unban", &request).await
    }

    async fn test_policy(&self, request: TestPolicy) -> Answer<PolicyTested> {
        self.post("/v1/policy/test", &request).await
    }

    async fn explain(&self, request: Explain) -> Answer<Explained> {
        self.post("/v1/policy/explain", &request).await
    }

    async fn replay(&self, request: Replay) -> Answer<Replayed> {
        self.post("/v1/policy/replay", &request).await
    }

    async fn service_tokens(&self) -> Answer<Vec<ServiceTokenStatus>> {
        self.get("/v1/service-tokens").await
    }

    async fn create_service_token(&self, request: CreateServiceToken) -> Answer<ServiceTokenIssued> {
        self.post("/v1/service-tokens", &request).await
    }

    async fn rotate_service_token(&self, request: RotateServiceToken) -> Answer<ServiceTokenIssued> {
        self.post("/v1/service-tokens/rotate", &request).await
    }

    async fn delete_service_token(&self, request: NamedServiceToken) -> Answer<()> {
        self.post("/v1/service-tokens/delete", &request).await
    }

    async fn certificates(&self) -> Answer<Vec<CertificateStatus>> {
        self.get("/v1/certificates").await
    }

    async fn renew_certificate(&self, request: RenewCertificate) -> Answer<()> {
        self.post("/v1/certificates/renew", &request).await
    }

    async fn keys(&self) -> Answer<Vec<KeyStatus>> {
        self.get("/v1/keys").await
    }

    async fn rotate_keys(&self, request: RotateKeys) -> Answer<Vec<KeyStatus>> {
        self.post("/v1/keys/rotate", &request).await
    }

    async fn applications(&self) -> Answer<Vec<ApplicationStatus>> {
        self.get("/v1/applications").await
    }

    async fn login_methods(&self) -> Answer<Vec<LoginMethodStatus>> {
        self.get("/v1/login-methods").await
    }

    async fn begin_login_test(&self, request: NamedLoginMethod) -> Answer<LoginTestBegun> {
        self.post("/v1/login-methods/test", &request).await
    }

    async fn login_test(&self, request: LoginTestQuery) -> Answer<LoginTestResult> {
        self.post("/v1/login-methods/test/result", &request).await
    }

    async fn last_login(&self, request: NamedLoginMethod) -> Answer<LastLogin> {
        self.post("/v1/login-methods/last-login", &request).await
    }

    async fn users(&self) -> Answer<Vec<UserStatus>> {
        self.get("/v1/users").await
    }

    async fn invite_user(&self, request: InviteUser) -> Answer<UserInvited> {
        self.post("/v1/users", &request).await
    }

    async fn reset_user(&self, request: NamedUser) -> Answer<UserInvited> {
        self.post("/v1/users/reset", &request).await
    }

    async fn remove_user(&self, request: NamedUser) -> Answer<UserRemoved> {
        self.post("/v1/users/remove", &request).await
    }

    async fn passkeys(&self, whose: WhosePasskeys) -> Answer<PasskeyList> {
        self.post("/v1/passkeys", &whose).await
    }

    async fn remove_passkeys(&self, request: RemovePasskeys) -> Answer<PasskeysRemoved> {
        self.post("/v1/passkeys/remove", &request).await
    }

    async fn setup_link(&self) -> Answer<SetupLink> {
        self.post("/v1/setup-link", &()).await
    }

    async fn restart(&self) -> Answer<Restarted> {
        self.post("/v1/restart", &()).await
    }

    async fn health(&self) -> Answer<Health> {
        self.get("/v1/health").await
    }

    async fn accept_clock(&self) -> Answer<Health> {
        self.post("/v1/clock/accept", &()).await
    }

    async fn apply(&self, request: declare::Request) -> Answer<declare::Report> {
        self.post("/v1/apply", &request).await
    }

    async fn export(&self) -> Answer<Exported> {
        self.get("/v1/export").await
    }

    async fn audit(&self, query: AuditQuery) -> Answer<Vec<AuditRecord>> {
        self.post("/v1/audit", &query).await
    }
}
