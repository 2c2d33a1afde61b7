//! For programs with reqwest 0.13 (feature `reqwest013`). It takes no connections from others, so there is a proxy in
//! between: at a port of the loopback address, for one client of reqwest, by a password that only that client has.

use std::{
    error::Error as StdError,
    future::Future,
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use data_encoding::{BASE64, BASE64URL_NOPAD};
use http::{
    HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{HeaderName, PROXY_AUTHORIZATION},
};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::service_fn,
    upgrade::{self, Parts},
};
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use reqwest::{ClientBuilder, Proxy};
use subtle::ConstantTimeEq;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tower::Service;
use tunnel_proto::dial::{AbortiveTcp, Carried, random, relay};
use url::Url;

use crate::{client::Client, error::Error, event::Event, http::HttpConnector, platform, stream::Stream};

/// The user that the proxy is asked as.
const USER: &str = "tunnel";
/// Connections at a time; more wait in the system's queue.
const CONNECTIONS_MAX: usize = 4096;
/// The pause after the system could not accept a connection: most often for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a stream to a service waits for its next request, and how many do for one host.
const IDLE_MAX: Duration = Duration::from_secs(30);
const IDLE_PER_HOST: usize = 8;
/// Says that an answer is ours and not the service's (RFC 9209).
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

type Body = BoxBody<Bytes, hyper::Error>;
type BoxError = Box<dyn StdError + Send + Sync>;
/// What is carried once a connection is no longer one of HTTP.
type Carrying = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Client {
    /// A client of reqwest in the making. The host of each request is opened as an application, like those of
    /// [`http_connector`](Self::http_connector): `http://` in clear on the link, which is encrypted, `https://` with TLS
    /// to the service itself. What cannot be opened is answered with status 502 and a `Proxy-Status`, and where it is
    /// `https://`, is an error; [`Event::Failed`] says why.
    ///
    /// A proxy of its own listens at a port of the loopback address until the last client that is made of this is dropped;
    /// what is under way then still ends. Another proxy must not be set. Needs tokio's runtime.
    pub async fn reqwest_builder(&self) -> Result<ClientBuilder, Error> {
        let (door, listener, secret) = Door::open(self.clone()).await?;
        let url = format!("http://{USER}:{secret}@{}", door.local);
        let url: Url = url.parse().map_err(Error::internal)?;
        let over = CancellationToken::new();
        tokio::spawn(accept(listener, Arc::new(door), over.clone()));
        let guard = over.drop_guard();
        // A function and no address: it goes with the client, and shows no password in what is printed of it.
        let proxy = Proxy::custom(move |_| {
            let _lives = &guard;
            Some(url.clone())
        });
        Ok(ClientBuilder::new().proxy(proxy))
    }
}

/// The proxy.
struct Door {
    client: Client,
    connector: HttpConnector,
    http: legacy::Client<HttpConnector, Incoming>,
    local: SocketAddr,
    /// The value of `Proxy-Authorization`.
    authorization: String,
}

/// Takes connections until the client is gone, and serves those that there are to their end.
async fn accept(listener: TcpListener, door: Arc<Door>, over: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = over.cancelled() => break,
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((tcp, _)) => {
                    connections.spawn(door.clone().serve(tcp));
                }
                Err(error) => {
                    tracing::debug!(%error, "a local connection cannot be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

impl Door {
    async fn open(client: Client) -> Result<(Self, TcpListener, String), Error> {
        let failed = |error: io::Error| Error::Listen { address: "127.0.0.1:0".to_owned(), reason: error.to_string() };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        let secret = BASE64URL_NOPAD.encode(&random::<32>().map_err(Error::internal)?);
        let connector = client.http_connector();
        let door = Self {
            http: legacy::Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE_MAX)
                .pool_max_idle_per_host(IDLE_PER_HOST)
                .build(connector.clone()),
            connector,
            client,
            local: listener.local_addr().map_err(failed)?,
            authorization: format!("Basic {}", BASE64.encode(format!("{USER}:{secret}").as_bytes())),
        };
        Ok((door, listener, secret))
    }

    async fn serve(self: Arc<Self>, tcp: TcpStream) {
        let ours = tcp.peer_addr().and_then(|peer| platform::foreign_user(self.local, peer));
        if !matches!(ours, Ok(None)) {
            tracing::debug!(?ours, "a local connection was refused");
            return;
        }
        tcp.set_nodelay(true).ok();
        let next = Mutex::new(None);
        let service = service_fn(|request| self.answer(request, &next));
        let served = http1::Builder::new().serve_connection(TokioIo::new(tcp), service).with_upgrades().await;
        if let Err(error) = served {
            tracing::debug!(%error, "a local connection was cut");
        }
        let carrying = next.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(carrying) = carrying {
            carrying.await;
        }
    }

    async fn answer(
        &self,
        mut request: Request<Incoming>,
        next: &Mutex<Option<Carrying>>,
    ) -> Result<Response<Body>, hyper::Error> {
        let given = request.headers_mut().remove(PROXY_AUTHORIZATION);
        if !given.is_some_and(|given| bool::from(given.as_bytes().ct_eq(self.authorization.as_bytes()))) {
            return Ok(ours(StatusCode::PROXY_AUTHENTICATION_REQUIRED, "This proxy is not for you."));
        }
        let here = upgrade::on(&mut request);
        let set = |carrying: Carrying| *next.lock().unwrap_or_else(PoisonError::into_inner) = Some(carrying);
        let uri = request.uri().clone();
        if request.method() == Method::CONNECT {
            return Ok(match self.connector.clone().call(uri.clone()).await {
                Ok(stream) => {
                    set(Box::pin(carry(async { Ok((stream.into_inner(), Bytes::new())) }, here)));
                    Response::new(empty())
                }
                Err(error) => self.failed(&uri, &error),
            });
        }
        if uri.scheme_str() != Some("http") {
            return Ok(ours(StatusCode::BAD_REQUEST, "This is a proxy."));
        }
        let mut response = match self.http.request(request).await {
            Ok(response) => response,
            Err(error) => return Ok(self.failed(&uri, &error)),
        };
        // Only what this says itself is said by it.
        response.headers_mut().remove(PROXY_STATUS);
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let there = upgrade::on(&mut response);
            let there = async {
                let there = there.await?.downcast::<TokioIo<Stream>>();
                let Parts { io, read_buf, .. } = there.map_err(|_| "an upgrade of no connection of ours")?;
                Ok((io.into_inner(), read_buf))
            };
            set(Box::pin(carry(there, here)));
        }
        Ok(response.map(BodyExt::boxed))
    }

    /// Tells why a host could not be reached.
    fn failed(&self, uri: &Uri, error: &(dyn StdError + 'static)) -> Response<Body> {
        let known = known(error);
        let reason = known.map_or_else(|| error.to_string(), ToString::to_string);
        if let Some(host) = uri.host().and_then(|host| host.parse().ok()) {
            let unknown = || Error::Cut { host: uri.host().unwrap_or_default().to_owned(), reason: reason.clone() };
            let error = known.cloned().unwrap_or_else(unknown);
            self.client.tell(Event::Failed { host, local: self.local, error });
        }
        let mut response = ours(StatusCode::BAD_GATEWAY, &reason);
        let status = format!("{USER}; details=\"{}\"", known.map_or("lost", Error::code));
        if let Ok(status) = HeaderValue::from_str(&status) {
            response.headers_mut().insert(PROXY_STATUS, status);
        }
        response
    }
}

/// Our own error, where one is the cause.
fn known<'a>(mut error: &'a (dyn StdError + 'static)) -> Option<&'a Error> {
    loop {
        if let Some(known) = error.downcast_ref() {
            return Some(known);
        }
        error = error.source()?;
    }
}

/// Carries bytes between what was opened, of which some has been read, and the program, once the latter has its answer.
async fn carry(there: impl Future<Output = Result<(Stream, Bytes), BoxError>>, here: upgrade::OnUpgrade) {
    let cut = |error: &dyn std::fmt::Display| tracing::debug!(%error, "a connection through the proxy was cut");
    let here = match here.await {
        Ok(here) => here,
        Err(error) => return cut(&error),
    };
    // Nothing else is served here.
    let Ok(Parts { io, read_buf, .. }) = here.downcast::<TokioIo<TcpStream>>() else { return };
    let mut tcp = AbortiveTcp::new(io.into_inner());
    // The program must not take what was cut for an orderly end.
    tcp.arm();
    let carried = async {
        let (mut there, said) = there.await?;
        tcp.write_all(&said).await?;
        there.write_all(&read_buf).await?;
        Ok::<_, BoxError>(relay(&mut there, &mut tcp, &Carried::default()).await?)
    };
    if let Err(error) = carried.await {
        cut(&error);
    }
}

fn ours(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Full::from(text.to_owned()).map_err(|never| match never {}).boxed());
    *response.status_mut() = status;
    response
}

fn empty() -> Body {
    Full::default().map_err(|never| match never {}).boxed()
}
