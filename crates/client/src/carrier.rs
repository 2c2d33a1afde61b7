//! Getting through to an edge: TCP, perhaps by a proxy, then TLS, then the link as it is or inside a WebSocket.

mod websocket;

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use http::Method;
use rustls::{ClientConfig, client::Resumption, pki_types::ServerName};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncBufRead, AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tunnel_proto::{
    dial::{AskError, EdgeAddress, SocketTarget, Trust, dial_edge, exchange_within},
    enrol::ENROL_BODY_MAX,
    identity::ALPN_ACCESS,
    link::{self, ConnectError, Connected, Settings},
    message::Hello,
    tls,
};

use crate::{error::Error, header::ExtraHeader, proxy::Proxy};

/// Time to connect and to finish the TLS handshake.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// Time for one question over HTTPS, connecting included.
const ASK_LIMIT: Duration = Duration::from_secs(30);
/// Edges of which it is kept how to resume a session.
const SESSIONS_MAX: usize = 32;
/// What the ways are called.
const NATIVE: &str = "tls";
const WEBSOCKET: &str = "websocket";
/// How long a network is taken for one that spoils native links: a laptop is carried to others.
const SPOILT: Duration = Duration::from_secs(10 * 60);
/// The ALPN name of HTTPS.
const ALPN_HTTP: &[u8] = b"http/1.1";

/// Any byte stream.
pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A connection, whatever it goes through.
pub(crate) type BoxIo = Box<dyn Io>;

/// The way out of this machine.
pub(crate) struct Carrier {
    http: Arc<ClientConfig>,
    native: Arc<ClientConfig>,
    proxy: Option<Proxy>,
    /// For requests that open a WebSocket.
    headers: Vec<ExtraHeader>,
    /// When a WebSocket was needed for an edge, because the native link could not be had.
    spoilt: Mutex<HashMap<EdgeAddress, Instant>>,
}

impl Carrier {
    pub(crate) fn new(trust: &Trust, proxy: Option<Proxy>, headers: Vec<ExtraHeader>) -> Result<Self, Error> {
        let mut http = trust.client_config()?;
        http.alpn_protocols = vec![ALPN_HTTP.to_vec()];
        let native = Arc::new(native(trust)?);
        Ok(Self { http: Arc::new(http), native, proxy, headers, spoilt: Mutex::default() })
    }

    /// One question over HTTPS and its JSON answer.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        at: &EdgeAddress,
        path: &str,
        question: Option<&impl Serialize>,
    ) -> Result<T, AskError> {
        self.ask_within(ENROL_BODY_MAX, at, path, question).await
    }

    /// The same for an answer of at most `answer_max` bytes.
    pub(crate) async fn ask_within<T: DeserializeOwned>(
        &self,
        answer_max: usize,
        at: &EdgeAddress,
        path: &str,
        question: Option<&impl Serialize>,
    ) -> Result<T, AskError> {
        let asking = async {
            let unreachable = |error| match error {
                Error::Unreachable { reason, .. } => AskError::Unreachable { message: reason },
                other => AskError::Unreachable { message: other.to_string() },
            };
            let io = self.tcp(at.target()).await.map_err(unreachable)?;
            let name = ServerName::try_from(at.name().as_str().to_owned()).map_err(|_| AskError::Name)?;
            let tls = TlsConnector::from(self.http.clone()).connect(name, io).await.map_err(AskError::Tls)?;
            let body = question.map(serde_json::to_vec).transpose();
            let body = body.map_err(|error| AskError::Answer { reason: error.to_string() })?;
            let method = if body.is_some() { Method::POST } else { Method::GET };
            exchange_within(answer_max, tls, method, &at.authority(), path, body.map(bytes::Bytes::from)).await
        };
        timeout(ASK_LIMIT, asking).await.map_err(|_| AskError::Timeout)?
    }

    /// Brings up a link: as it is, or inside a WebSocket where something in between spoils that. Says which.
    pub(crate) async fn link(&self, edge: &EdgeAddress, hello: Hello) -> Result<(Connected, &'static str), Error> {
        let spoilt = self.spoilt().get(edge).is_some_and(|since| since.elapsed() < SPOILT);
        if spoilt {
            match self.websocket(edge, hello.clone()).await {
                Ok(connected) => return Ok((connected, WEBSOCKET)),
                Err(Trouble::Final(error)) => return Err(error),
                // The network may be another one by now.
                Err(Trouble::Spoilt(error)) => tracing::debug!(%error, "no WebSocket; trying a native link again"),
            }
        }
        let first = match self.native(edge, hello.clone()).await {
            Ok(connected) => {
                self.spoilt().remove(edge);
                return Ok((connected, NATIVE));
            }
            Err(Trouble::Final(error)) => return Err(error),
            Err(Trouble::Spoilt(error)) => error,
        };
        if spoilt {
            return Err(first);
        }
        tracing::debug!(error = %first, "no native link; trying a WebSocket");
        match self.websocket(edge, hello).await {
            Ok(connected) => {
                self.spoilt().insert(edge.clone(), Instant::now());
                Ok((connected, WEBSOCKET))
            }
            Err(Trouble::Final(error)) => Err(error),
            // What the better way met says more.
            Err(Trouble::Spoilt(_)) => Err(first),
        }
    }

    fn spoilt(&self) -> MutexGuard<'_, HashMap<EdgeAddress, Instant>> {
        self.spoilt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn native(&self, edge: &EdgeAddress, hello: Hello) -> Result<Connected, Trouble> {
        let config = self.native.clone();
        let tls = self.secure(edge, |name, io| tls::connect(config, name, io)).await?;
        tracing::debug!(resumed = tls.agreed().resumed, "secure");
        if tls.agreed().alpn.as_deref() != Some(ALPN_ACCESS) {
            let reason = "it does not take links of access clients".to_owned();
            return Err(Trouble::Spoilt(Error::Protocol { at: edge.to_string(), reason }));
        }
        greet(edge, tls, hello).await
    }

    async fn websocket(&self, edge: &EdgeAddress, hello: Hello) -> Result<Connected, Trouble> {
        let config = TlsConnector::from(self.http.clone());
        let tls = self.secure(edge, |name, io| config.connect(name, io)).await?;
        let opened = timeout(CONNECT_LIMIT, websocket::open(edge, tls, &self.headers)).await;
        let socket = opened.map_err(|_| Trouble::Spoilt(Error::Late { at: edge.to_string() }))?;
        greet(edge, socket.map_err(Trouble::Spoilt)?, hello).await
    }

    /// Connects, and has `shake` do the handshake of TLS.
    async fn secure<T, F>(
        &self,
        edge: &EdgeAddress,
        shake: impl FnOnce(ServerName<'static>, BoxIo) -> F,
    ) -> Result<T, Trouble>
    where
        F: Future<Output = io::Result<T>>,
    {
        let secure = async {
            let io = self.tcp(edge.target()).await.map_err(Trouble::Final)?;
            let name = ServerName::try_from(edge.name().as_str().to_owned());
            let name = name.map_err(|error| Trouble::Final(Error::internal(error)))?;
            shake(name, io).await.map_err(|error| match Error::handshake(&edge.to_string(), &error) {
                untrusted @ (Error::Untrusted { .. } | Error::Clock { .. }) => Trouble::Final(untrusted),
                other => Trouble::Spoilt(other),
            })
        };
        timeout(CONNECT_LIMIT, secure).await.map_err(|_| Trouble::Spoilt(Error::Late { at: edge.to_string() }))?
    }

    async fn tcp(&self, target: &SocketTarget) -> Result<BoxIo, Error> {
        match self.proxy.as_ref().filter(|proxy| proxy.is_for(target)) {
            Some(proxy) => proxy.connect(target).await,
            None => {
                let tcp = dial_edge(target).await.map_err(|error| Error::dial(&target.to_string(), &error))?;
                Ok(Box::new(tcp))
            }
        }
    }
}

/// The TLS of links: the next one to the same edge resumes what this process knows of an earlier one.
fn native(trust: &Trust) -> Result<ClientConfig, Error> {
    let mut config = trust.client_config()?;
    config.alpn_protocols = vec![ALPN_ACCESS.to_vec()];
    config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
    // What is sent before the handshake is over could be sent again by anybody.
    config.enable_early_data = false;
    // Records are sealed by `tunnel_proto::tls`.
    config.enable_secret_extraction = true;
    Ok(config)
}

/// Why a way did not work: whether another one may.
enum Trouble {
    /// No other way would do better.
    Final(Error),
    /// Something in between may have spoilt it.
    Spoilt(Error),
}

async fn greet(edge: &EdgeAddress, io: impl AsyncBufRead + Io + 'static, hello: Hello) -> Result<Connected, Trouble> {
    let at = edge.to_string();
    link::connect(io, hello, Settings::for_edge()).await.map_err(|error| match error {
        ConnectError::Refused(refuse) => {
            Trouble::Final(Error::Link { code: refuse.code, text: refuse.text, retryable: refuse.retryable })
        }
        ConnectError::Late => Trouble::Spoilt(Error::Late { at }),
        ConnectError::Lost(end) => Trouble::Spoilt(Error::Lost(end)),
        ConnectError::Answer(error) => Trouble::Spoilt(Error::Protocol { at, reason: error.to_string() }),
        other => Trouble::Final(Error::Protocol { at, reason: other.to_string() }),
    })
}
