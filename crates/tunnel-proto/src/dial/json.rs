//! Questions to an edge and their JSON answers: over verified HTTPS, or over the socket of an edge on this machine.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::{DialError, EdgeAddress, Trust, TrustError, dial_edge, platform};
use crate::enrol::{CreateTunnel, ENROL_BODY_MAX, EdgeInfo, EnrolProblem, SOCKET_NAME, TunnelCreated};

/// How long one question may take, connecting included.
pub const ASK_TIMEOUT: Duration = Duration::from_secs(30);

/// Asks an edge questions over verified HTTPS.
#[derive(Clone)]
pub struct JsonClient {
    edge: EdgeAddress,
    name: ServerName<'static>,
    tls: TlsConnector,
}

impl JsonClient {
    /// A client of `edge`, which must prove who it is by `trust`.
    pub fn new(edge: EdgeAddress, trust: &Trust) -> Result<Self, AskError> {
        let name = ServerName::try_from(edge.name().as_str().to_owned()).map_err(|_| AskError::Name)?;
        let mut config = trust.client_config()?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { edge, name, tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Asks one question by POST.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, question: &impl Serialize) -> Result<T, AskError> {
        let asking = async {
            let tcp = dial_edge(self.edge.target()).await?;
            let tls = self.tls.connect(self.name.clone(), tcp).await.map_err(AskError::Tls)?;
            exchange(tls, Method::POST, &self.edge.authority(), path, Some(json(question)?)).await
        };
        tokio::time::timeout(ASK_TIMEOUT, asking).await.map_err(|_| AskError::Timeout)?
    }
}

/// The socket of an edge on this machine.
#[derive(Clone, Debug)]
pub struct LocalEdge {
    path: PathBuf,
}

impl LocalEdge {
    /// The socket in the edge's data directory, when there is one. Nobody may be listening at it.
    pub fn find(data_dir: &Path) -> Option<Self> {
        let path = data_dir.join(SOCKET_NAME);
        platform::is_socket(&path).then_some(Self { path })
    }

    /// Where the socket is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the edge tells about itself.
    pub async fn info(&self) -> Result<EdgeInfo, AskError> {
        self.ask(Method::GET, "/v1/info", None).await
    }

    /// Creates a tunnel, or reuses the one of that name, and routes the hostnames to it.
    pub async fn create_tunnel(&self, request: &CreateTunnel) -> Result<TunnelCreated, AskError> {
        self.ask(Method::POST, "/v1/tunnels", Some(json(request)?)).await
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<T, AskError> {
        let asking = async {
            let stream = platform::connect_unix(&self.path).await;
            let stream = stream.map_err(|source| AskError::Socket { path: self.path.clone(), source })?;
            exchange(stream, method, "edge", path, body).await
        };
        tokio::time::timeout(ASK_TIMEOUT, asking).await.map_err(|_| AskError::Timeout)?
    }
}

fn json<T: Serialize>(value: &T) -> Result<Bytes, AskError> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|error| AskError::Answer { reason: error.to_string() })
}

/// One request and its JSON answer, of at most [`ENROL_BODY_MAX`] bytes, on a fresh connection. There is no time limit here.
pub async fn exchange<T: DeserializeOwned>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    method: Method,
    host: &str,
    path: &str,
    body: Option<Bytes>,
) -> Result<T, AskError> {
    exchange_within(ENROL_BODY_MAX, stream, method, host, path, body).await
}

/// [`exchange`] for an answer of at most `answer_max` bytes.
pub async fn exchange_within<T: DeserializeOwned>(
    answer_max: usize,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    method: Method,
    host: &str,
    path: &str,
    body: Option<Bytes>,
) -> Result<T, AskError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, host)
        .header(header::ACCEPT, "application/json")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(body.unwrap_or_default()))
        .map_err(|error| AskError::Answer { reason: error.to_string() })?;
    let answering = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), answer_max).collect().await;
        let body = body.map_err(|error| AskError::Answer { reason: error.to_string() })?;
        understand(status, &body.to_bytes())
    };
    tokio::pin!(connection, answering);
    tokio::select! {
        answer = &mut answering => answer,
        ended = &mut connection => {
            ended?;
            answering.await
        }
    }
}

fn understand<T: DeserializeOwned>(status: StatusCode, body: &[u8]) -> Result<T, AskError> {
    if status.is_success() {
        return serde_json::from_slice(body).map_err(|error| AskError::Answer { reason: error.to_string() });
    }
    match serde_json::from_slice::<EnrolProblem>(body) {
        Ok(problem) => Err(AskError::Refused(problem)),
        Err(_) => Err(AskError::Status { status }),
    }
}

/// Why a question got no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The edge said no, and why.
    #[error("{}", .0.message)]
    Refused(EnrolProblem),
    /// No connection to the edge.
    #[error("{message}")]
    Unreachable {
        /// What happened.
        message: String,
    },
    /// The edge did not prove who it is, or the connection broke during the handshake.
    #[error("the secure connection failed: {0}")]
    Tls(#[source] std::io::Error),
    /// The socket of the edge on this machine does not answer.
    #[error("no answer at `{}`: {source}", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What happened.
        source: std::io::Error,
    },
    /// No answer in time.
    #[error("no answer within {} s", ASK_TIMEOUT.as_secs())]
    Timeout,
    /// Something answered that is not an edge of a known version.
    #[error("the answer was HTTP {status}, not that of an edge")]
    Status {
        /// The status.
        status: StatusCode,
    },
    /// The answer cannot be understood.
    #[error("the answer cannot be understood: {reason}")]
    Answer {
        /// What is wrong with it.
        reason: String,
    },
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Http(#[from] hyper::Error),
    /// What should be trusted cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The edge's name cannot be verified.
    #[error("the name of the edge cannot be checked against a certificate")]
    Name,
}

impl AskError {
    /// Whether the same question may succeed a little later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Timeout | Self::Http(_) | Self::Socket { .. } => true,
            Self::Refused(problem) => matches!(problem.code.as_str(), "too_many" | "internal"),
            // Something in front of an edge that is not there just now.
            Self::Status { status } => status.is_server_error(),
            _ => false,
        }
    }
}

impl From<DialError> for AskError {
    fn from(error: DialError) -> Self {
        Self::Unreachable { message: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edges_own_words_are_passed_on() {
        let body = br#"{"code":"hostname_taken","message":"`www.localhost` belongs to the tunnel `other`"}"#;
        let error = understand::<EdgeInfo>(StatusCode::CONFLICT, body).unwrap_err();
        assert_eq!(error.to_string(), "`www.localhost` belongs to the tunnel `other`");
        assert!(matches!(error, AskError::Refused(problem) if problem.code == "hostname_taken"));
    }

    #[test]
    fn what_is_not_an_edge_is_said_to_be_none() {
        let error = understand::<EdgeInfo>(StatusCode::NOT_FOUND, b"<html>").unwrap_err();
        assert_eq!(error.to_string(), "the answer was HTTP 404 Not Found, not that of an edge");
        let error = understand::<EdgeInfo>(StatusCode::OK, b"<html>").unwrap_err();
        assert!(error.to_string().contains("cannot be understood"), "{error}");
    }

    #[tokio::test]
    async fn a_data_directory_without_an_edge_has_no_socket() {
        let dir = tempfile::tempdir().unwrap();
        assert!(LocalEdge::find(dir.path()).is_none());
        std::fs::write(dir.path().join(SOCKET_NAME), b"a file").unwrap();
        assert!(LocalEdge::find(dir.path()).is_none());
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn the_local_edge_is_asked_over_its_socket() {
        use tokio::{
            io::{AsyncReadExt, AsyncWriteExt},
            net::UnixListener,
        };

        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join(SOCKET_NAME)).unwrap();
        let edge = LocalEdge::find(dir.path()).unwrap();
        let answering = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 4096];
            let length = stream.read(&mut asked).await.unwrap();
            let asked = String::from_utf8_lossy(&asked[..length]).into_owned();
            let info = r#"{"zone":"localhost","edge":"https://access.localhost:8443","ca":"PEM","version":"1",
                "quick_start":true,"visit":"http://HOST:8080"}"#;
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{info}", info.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
            asked
        };
        let (info, asked) = tokio::join!(edge.info(), answering);
        assert!(asked.starts_with("GET /v1/info HTTP/1.1\r\n"), "{asked}");
        assert_eq!(info.unwrap().edge, "https://access.localhost:8443");
        drop(listener);
        assert!(matches!(edge.info().await, Err(AskError::Socket { .. })));
    }
}
