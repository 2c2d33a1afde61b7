//! A small HTTP server of the test's own that keeps every request it gets: what a provider is told, and by whom.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use data_encoding::BASE64;
use futures::{future::BoxFuture, stream};
use http::{HeaderMap, Method, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    Request, Response,
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use serde_json::Value;
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;
use url::form_urlencoded;

/// A running server; it and its connections end when dropped.
#[derive(Debug)]
pub struct Loopback {
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

/// The body of an answer.
pub type Body = BoxBody<Bytes, Infallible>;

/// How a server answers.
pub type Answers = Arc<dyn Fn(Asked) -> BoxFuture<'static, Response<Body>> + Send + Sync>;

impl Loopback {
    /// Listens at `address`.
    ///
    /// # Errors
    /// It cannot be had.
    pub async fn start(address: SocketAddr, answers: Answers) -> Result<Self> {
        Self::secure(address, None, answers).await
    }

    /// [`Loopback::start`] by HTTPS, if there is something to prove it by.
    ///
    /// # Errors
    /// The address cannot be had.
    pub async fn secure(address: SocketAddr, tls: Option<Arc<ServerConfig>>, answers: Answers) -> Result<Self> {
        let listener = TcpListener::bind(address).await.with_context(|| format!("listening at {address}"))?;
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let kept = asked.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                let (kept, answers) = (kept.clone(), answers.clone());
                let service = service_fn(move |request| {
                    let (kept, answers) = (kept.clone(), answers.clone());
                    async move {
                        let asked = Asked::read(request).await;
                        kept.lock().unwrap().push(asked.clone());
                        Ok::<_, Infallible>(answers(asked).await)
                    }
                });
                let tls = tls.clone().map(TlsAcceptor::from);
                connections.spawn(async move {
                    let http = http1::Builder::new();
                    let _ = match tls {
                        None => http.serve_connection(TokioIo::new(stream), service).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => http.serve_connection(TokioIo::new(stream), service).await,
                            Err(_) => Ok(()),
                        },
                    };
                });
            }
        });
        Ok(Self { asked, task })
    }

    /// Every request so far, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Every request for a path so far, in order.
    pub fn asked_for(&self, path: &str) -> Vec<Asked> {
        self.asked().into_iter().filter(|asked| asked.path == path).collect()
    }

    /// Forgets the requests.
    pub fn forget(&self) {
        self.asked.lock().unwrap().clear();
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its method.
    pub method: Method,
    /// The path of its target.
    pub path: String,
    /// The query of its target, without `?`.
    pub query: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: String,
}

impl Asked {
    async fn read(request: Request<Incoming>) -> Self {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        Self {
            method: parts.method,
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: parts.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        }
    }

    /// A header, if it is there and readable.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The first value of a parameter of the query.
    pub fn parameter(&self, name: &str) -> Option<String> {
        value_of(&self.query, name)
    }

    /// The first value of a field of the form that is the body.
    pub fn field(&self, name: &str) -> Option<String> {
        value_of(&self.body, name)
    }

    /// What a bearer of a token says it is.
    pub fn bearer(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }

    /// The client's id and secret, by either way that RFC 6749 §2.3.1 has.
    pub fn client(&self) -> Option<(String, String)> {
        let Some(basic) = self.header("authorization").and_then(|value| value.strip_prefix("Basic ")) else {
            return Some((self.field("client_id")?, self.field("client_secret")?));
        };
        let text = String::from_utf8(BASE64.decode(basic.as_bytes()).ok()?).ok()?;
        let (id, secret) = text.split_once(':')?;
        // Both are form-encoded before they are put together.
        let plain = |text: &str| value_of(&format!("x={text}"), "x");
        Some((plain(id)?, plain(secret)?))
    }

    /// Whether a word stands anywhere in the request, as it is or in the encodings that clients use.
    pub fn mentions(&self, word: &str) -> bool {
        let encoded: String = form_urlencoded::byte_serialize(word.as_bytes()).collect();
        let mut places = vec![self.path.clone(), self.query.clone(), self.body.clone()];
        for value in self.headers.values() {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            let basic = value.strip_prefix("Basic ").and_then(|basic| BASE64.decode(basic.as_bytes()).ok());
            places.extend(basic.map(|plain| String::from_utf8_lossy(&plain).into_owned()));
            places.push(value);
        }
        places.iter().any(|place| place.contains(word) || place.contains(&encoded))
    }
}

/// The first value of a name in `a=b&c=d`.
pub fn value_of(pairs: &str, name: &str) -> Option<String> {
    form_urlencoded::parse(pairs.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// `a=b&c=d` of names and values.
pub fn encoded<N: AsRef<str>, V: AsRef<str>>(pairs: &[(N, V)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// An answer with a text.
pub fn text(status: u16, kind: &str, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(text.into()).boxed());
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    response.headers_mut().insert(header::CONTENT_TYPE, kind.parse().expect("a type"));
    response
}

/// An answer with JSON.
pub fn json(status: u16, value: &Value) -> Response<Body> {
    text(status, "application/json", value.to_string())
}

/// Go there.
pub fn redirect(to: &str) -> Response<Body> {
    let mut response = text(302, "text/plain", "elsewhere");
    response.headers_mut().insert(header::LOCATION, to.parse().expect("an address"));
    response
}

/// A JSON document that never ends: `piece` again and again, with `pause` in between.
pub fn endless(piece: &'static str, pause: Duration) -> Response<Body> {
    let pieces = stream::unfold((), move |()| async move {
        tokio::time::sleep(pause).await;
        Some((Ok(Frame::data(Bytes::from_static(piece.as_bytes()))), ()))
    });
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(pieces)));
    response.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().expect("a type"));
    response
}
