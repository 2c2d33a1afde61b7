//! The socket's answering side.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, FromRequest, Request, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{StatusCode, header};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinHandle,
};
use tunnel_proto::enrol::EnrolProblem;

use super::{AUDIT_MAX, Administration, Answer, AuditQuery, BODY_MAX, Lock, SocketError, path_in, problem};
use crate::platform::{self, Handle, LocalListener, LocalStream};

/// The bound socket, and the lock of its data directory. Connections wait until [`Socket::serve`].
#[derive(Debug)]
pub struct Socket {
    listener: LocalListener,
    file: SocketFile,
}

impl Socket {
    /// Takes the data directory, which must exist, and binds its socket. Do this before anything in it is opened: it is
    /// what keeps a second edge away. What a dead edge left is removed, but only after nobody answered there.
    pub async fn bind(data_dir: &Path) -> Result<Self, SocketError> {
        let path = path_in(data_dir)?;
        let lock = Lock::take(data_dir)?;
        let io = |source| SocketError::Io { path: path.clone(), source };
        match platform::connect_local(&path).await {
            Ok(_) => return Err(SocketError::Running { path: data_dir.to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => remove_socket(&path).map_err(io)?,
            Err(error) => return Err(io(error)),
        }
        let listener = LocalListener::bind(&path).map_err(io)?;
        Ok(Self { listener, file: SocketFile { path, lock, ours: Arc::new(AtomicBool::new(true)) } })
    }

    /// The socket and the lock of an edge whose place this one takes. Both stay that one's until [`Socket::serve`].
    pub(crate) fn adopt(data_dir: &Path, socket: Handle, lock: Handle) -> Result<Self, SocketError> {
        let path = path_in(data_dir)?;
        let listener = LocalListener::adopt(socket).map_err(|source| SocketError::Io { path: path.clone(), source })?;
        Ok(Self { listener, file: SocketFile { path, lock: Lock::adopt(lock), ours: Arc::default() } })
    }

    /// The socket and the lock, for the edge that takes this one's place.
    pub(crate) fn handles(&self) -> io::Result<[Handle; 2]> {
        Ok([self.listener.handle()?, self.file.lock.handle()?])
    }

    /// Where the socket is.
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// Answers with `office` until the handle is stopped or dropped. Needs a tokio runtime.
    pub fn serve(self, office: Arc<dyn Administration>) -> Serving {
        let (stop, stopping) = watch::channel(());
        let ours = self.file.ours.clone();
        ours.store(true, Relaxed);
        Serving { task: Some(tokio::spawn(accept(self, router(office), stopping))), stop, ours }
    }
}

/// A file that is no socket is somebody's: `connect` refuses it in the same words.
fn remove_socket(path: &Path) -> io::Result<()> {
    if std::fs::symlink_metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket is in its place"));
    }
    std::fs::remove_file(path)
}

/// Removes the socket when the edge goes.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    lock: Lock,
    /// Not any more once another edge goes on with it.
    ours: Arc<AtomicBool>,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.ours.load(Relaxed) {
            // Nothing to be done about a failure: the next start removes what is left.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The handle of the serving task. Dropping it cuts what is being answered.
#[derive(Debug)]
pub struct Serving {
    task: Option<JoinHandle<()>>,
    stop: watch::Sender<()>,
    ours: Arc<AtomicBool>,
}

impl Serving {
    /// Whether the socket's file is another edge's, which removes it when it goes.
    pub(crate) fn lend(&self, lent: bool) {
        self.ours.store(!lent, Relaxed);
    }

    /// [`Serving::stop`] for an edge whose place another one took: the socket stays.
    pub(crate) async fn leave(self) {
        self.lend(true);
        self.stop().await;
    }

    /// Accepts no more, answers what was asked, removes the socket.
    pub async fn stop(mut self) {
        self.stop.send_replace(());
        if let Some(task) = self.task.take() {
            let _ = task.await;
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Connections at a time; more wait in the kernel's queue.
const CONNECTIONS: usize = 64;
/// How long a caller may take for the head of its request.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long a connection lives.
const CONNECTION_TIME: Duration = Duration::from_secs(120);
/// How long the listener rests when the system has no descriptors left.
const REST: Duration = Duration::from_millis(100);

async fn accept(socket: Socket, router: Router, mut stopping: watch::Receiver<()>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let accepted = async {
            let place = places.clone().acquire_owned().await;
            (place, socket.listener.accept().await)
        };
        let (place, stream) = tokio::select! {
            accepted = accepted => accepted,
            _ = stopping.changed() => break,
        };
        while connections.try_join_next().is_some() {}
        match stream {
            Ok(stream) => {
                let (router, stopping) = (router.clone(), stopping.clone());
                connections.spawn(async move {
                    let _place = place;
                    answer(stream, router, stopping).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the local socket cannot accept");
                tokio::time::sleep(REST).await;
            }
        }
    }
    while connections.join_next().await.is_some() {}
}

async fn answer(stream: LocalStream, router: Router, mut stopping: watch::Receiver<()>) {
    match platform::peer_is_trusted(&stream) {
        Ok(true) => {}
        refused => {
            tracing::warn!(?refused, "a caller at the local socket is another user");
            return;
        }
    }
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let served = async {
        tokio::select! {
            done = connection.as_mut() => return done,
            _ = stopping.changed() => {}
        }
        connection.as_mut().graceful_shutdown();
        connection.as_mut().await
    };
    if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_TIME, served).await {
        tracing::debug!(%error, "a connection at the local socket broke");
    }
}

type Office = State<Arc<dyn Administration>>;

fn router(office: Arc<dyn Administration>) -> Router {
    Router::new()
        .route("/v1/info", get(async |State(office): Office| json(office.info().await)))
        .route(
            "/v1/tunnels",
            get(async |State(office): Office| json(office.tunnels().await))
                .post(async |State(office): Office, Asked(request)| json(office.create_tunnel(request).await)),
        )
        .route(
            "/v1/tunnels/route",
            post(async |State(office): Office, Asked(request)| json(office.route(request).await)),
        )
        .route(
            "/v1/tunnels/revoke",
            post(async |State(office): Office, Asked(request)| json(office.revoke_tunnel(request).await)),
        )
        .route(
            "/v1/tunnels/delete",
            post(async |State(office): Office, Asked(request)| json(office.delete_tunnel(request).await)),
        )
        .route("/v1/operators", get(async |State(office): Office| json(office.operators().await)))
        .route(
            "/v1/operators/revoke",
            post(async |State(office): Office, Asked(request)| json(office.revoke_operator(request).await)),
        )
        .route(
            "/v1/mail-log",
            post(async |State(office): Office, Asked(AuditQuery { limit })| {
                json(office.mail_log(AuditQuery { limit: limit.min(AUDIT_MAX) }).await)
            }),
        )
        .route("/v1/sessions", get(async |State(office): Office| json(office.sessions().await)))
        .route(
            "/v1/sessions/revoke",
            post(async |State(office): Office, Asked(which)| json(office.end_sessions(which).await)),
        )
        .route(
            "/v1/sessions/revoke-application",
            post(async |State(office): Office, Asked(request)| json(office.revoke_application(request).await)),
        )
        .route("/v1/people", get(async |State(office): Office| json(office.people().await)))
        .route("/v1/people/ban", post(async |State(office): Office, Asked(request)| json(office.ban(request).await)))
        .route(
            "/v1/people/unban",
            post(async |State(office): Office, Asked(request)| json(office.unban(request).await)),
        )
        .route(
            "/v1/policy/test",
            post(async |State(office): Office, Asked(request)| json(office.test_policy(request).await)),
        )
        .route(
            "/v1/policy/explain",
            post(async |State(office): Office, Asked(request)| json(office.explain(request).await)),
        )
        .route(
            "/v1/policy/replay",
            post(async |State(office): Office, Asked(request)| json(office.replay(request).await)),
        )
        .route(
            "/v1/service-tokens",
            get(async |State(office): Office| json(office.service_tokens().await))
                .post(async |State(office): Office, Asked(request)| json(office.create_service_token(request).await)),
        )
        .route(
            "/v1/service-tokens/rotate",
            post(async |State(office): Office, Asked(request)| json(office.rotate_service_token(request).await)),
        )
        .route(
            "/v1/service-tokens/delete",
            post(async |State(office): Office, Asked(request)| json(office.delete_service_token(request).await)),
        )
        .route("/v1/certificates", get(async |State(office): Office| json(office.certificates().await)))
        .route(
            "/v1/certificates/renew",
            post(async |State(office): Office, Asked(request)| json(office.renew_certificate(request).await)),
        )
        .route("/v1/keys", get(async |State(office): Office| json(office.keys().await)))
        .route(
            "/v1/keys/rotate",
            post(async |State(office): Office, Asked(request)| json(office.rotate_keys(request).await)),
        )
        .route("/v1/applications", get(async |State(office): Office| json(office.applications().await)))
        .route("/v1/login-methods", get(async |State(office): Office| json(office.login_methods().await)))
        .route(
            "/v1/login-methods/test",
            post(async |State(office): Office, Asked(request)| json(office.begin_login_test(request).await)),
        )
        .route(
            "/v1/login-methods/test/result",
            post(async |State(office): Office, Asked(request)| json(office.login_test(request).await)),
        )
        .route(
            "/v1/login-methods/last-login",
            post(async |State(office): Office, Asked(request)| json(office.last_login(request).await)),
        )
        .route(
            "/v1/users",
            get(async |State(office): Office| json(office.users().await))
                .post(async |State(office): Office, Asked(request)| json(office.invite_user(request).await)),
        )
        .route(
            "/v1/users/reset",
            post(async |State(office): Office, Asked(request)| json(office.reset_user(request).await)),
        )
        .route(
            "/v1/users/remove",
            post(async |State(office): Office, Asked(request)| json(office.remove_user(request).await)),
        )
        .route("/v1/passkeys", post(async |State(office): Office, Asked(whose)| json(office.passkeys(whose).await)))
        .route(
            "/v1/passkeys/remove",
            post(async |State(office): Office, Asked(request)| json(office.remove_passkeys(request).await)),
        )
        .route("/v1/setup-link", post(async |State(office): Office| json(office.setup_link().await)))
        .route("/v1/apply", post(async |State(office): Office, Asked(request)| json(office.apply(request).await)))
        .route("/v1/restart", post(async |State(office): Office| json(office.restart().await)))
        .route("/v1/health", get(async |State(office): Office| json(office.health().await)))
        .route("/v1/clock/accept", post(async |State(office): Office| json(office.accept_clock().await)))
        .route("/v1/export", get(async |State(office): Office| json(office.export().await)))
        .route(
            "/v1/audit",
            post(async |State(office): Office, Asked(AuditQuery { limit })| {
                json(office.audit(AuditQuery { limit: limit.min(AUDIT_MAX) }).await)
            }),
        )
        .fallback(async || {
            refusal(
                StatusCode::NOT_FOUND,
                &problem("not_found", "the edge's socket knows no such request; is the program as new as the edge?"),
            )
        })
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(office)
}

/// What was asked: a JSON body of the request's type, whatever its content type says.
struct Asked<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Asked<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let body = Bytes::from_request(request, state).await.map_err(|rejection| {
            let status = rejection.status();
            let message = if status == StatusCode::PAYLOAD_TOO_LARGE {
                format!("the request is longer than {BODY_MAX} bytes")
            } else {
                "the request broke off".to_owned()
            };
            refusal(status, &problem("bad_request", message))
        })?;
        serde_json::from_slice(&body).map(Self).map_err(|error| {
            refusal(
                StatusCode::BAD_REQUEST,
                &problem("bad_request", format!("the request cannot be understood: {error}")),
            )
        })
    }
}

fn json<T: Serialize>(answer: Answer<T>) -> Response {
    match answer.map(|answer| serde_json::to_vec(&answer)) {
        Ok(Ok(body)) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Ok(Err(error)) => {
            tracing::error!(%error, "an answer at the local socket cannot be written");
            refusal(StatusCode::INTERNAL_SERVER_ERROR, &problem("internal", "the edge could not write its answer"))
        }
        Err(problem) => refusal(status(&problem), &problem),
    }
}

/// The status of a problem; its code says more.
fn status(problem: &EnrolProblem) -> StatusCode {
    match problem.code.as_str() {
        "internal" => StatusCode::INTERNAL_SERVER_ERROR,
        "bad_request" | "csr_refused" | "too_many" => StatusCode::BAD_REQUEST,
        code if code.starts_with("unknown_") => StatusCode::NOT_FOUND,
        _ => StatusCode::CONFLICT,
    }
}

fn refusal(status: StatusCode, problem: &EnrolProblem) -> Response {
    let body = serde_json::to_vec(problem).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
