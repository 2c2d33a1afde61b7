//! What is published, and the ways to do it: from another place, or from this process.

use std::{error::Error as StdError, future::Future, io, time::Duration};

use http::{Request, Response};
use http_body::Body;
use hyper::{body::Incoming, server::conn::http1, service::Service as _, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::sync::watch;
use tunnel_proto::{HostPattern, hostname::HostnameError, link::Stream, message::ServiceKind};

use crate::{
    connector::Connector,
    error::Error,
    listener::{self, Listener},
    options::ServiceOptions,
    origin::Origin,
    service::{Opening, Service, ServiceError},
    status::{Counters, Status},
    verifier::Verifier,
};

/// Something that is published. Dropping it ends that abruptly.
#[derive(Debug)]
pub struct Published {
    connector: Connector,
    hostname: HostPattern,
}

impl Published {
    pub(crate) const fn new(connector: Connector, hostname: HostPattern) -> Self {
        Self { connector, hostname }
    }

    /// Where people reach it.
    pub const fn hostname(&self) -> &HostPattern {
        &self.hostname
    }

    /// How its links are doing, now and whenever that changes.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.connector.status()
    }

    /// Counters since it was published.
    pub fn counters(&self) -> Counters {
        self.connector.counters()
    }

    /// Waits until it is over: it was drained, or trying again would not help. Cancel safe.
    pub async fn ended(&mut self) -> Result<(), Error> {
        self.connector.ended().await
    }

    /// Stops in order: tells the edge, lets what is in flight end within `grace`, closes the links.
    pub async fn stop(self, grace: Duration) -> Result<(), Error> {
        self.connector.stopper().stop_within(grace);
        self.connector.stop().await
    }
}

/// Publishes a web service. From [`Origin::http`].
#[derive(Debug)]
#[must_use]
pub struct Http {
    origin: Origin,
    hostname: Result<HostPattern, HostnameError>,
    options: ServiceOptions,
}

impl Http {
    pub(crate) fn new(origin: Origin, hostname: Result<HostPattern, HostnameError>) -> Self {
        Self { origin, hostname, options: ServiceOptions::default() }
    }

    /// How the web server is reached, beyond its address.
    pub fn options(mut self, options: ServiceOptions) -> Self {
        self.options = options;
        self
    }

    /// Publishes the web server at `url`: `http://HOST:PORT`, `https://HOST:PORT`, `unix:/PATH` or `unix+tls:/PATH`. Its
    /// requests carry the edge's assertion of who sent them.
    pub async fn forward(self, url: &str) -> Result<Published, Error> {
        let service: Service = url.parse()?;
        if service.kind() != ServiceKind::Http {
            return Err(ServiceError::Scheme { scheme: scheme(url) }.into());
        }
        self.origin.publish_with(self.hostname?, service, self.options).await
    }

    /// Gives the connections to this program, to be served by its own web server, for example `axum::serve`. Each carries
    /// requests of many visitors, one after the other, in HTTP/1.1.
    pub async fn listen(self) -> Result<Listener, Error> {
        listen(self.origin, self.hostname?, ServiceKind::Http, self.options).await
    }

    /// Serves requests with `service`, for example an `axum::Router`, without a socket between. Upgrades work. A
    /// [`Verifier`] for the hostname is among the extensions of each request.
    pub async fn serve<S, B>(self, service: S) -> Result<Published, Error>
    where
        S: tower_service::Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn StdError + Send + Sync>> + 'static,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let hostname = self.hostname?;
        let verifier = self.origin.verifier(&hostname);
        let handler = move |stream: Stream, _: Opening| serve_one(stream, service.clone(), verifier.clone());
        self.origin.publish_with(hostname, Service::handler(ServiceKind::Http, handler), self.options).await
    }
}

fn serve_one<S, B>(
    stream: Stream,
    service: S,
    verifier: Verifier,
) -> impl Future<Output = io::Result<()>> + Send + 'static
where
    S: tower_service::Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn StdError + Send + Sync>> + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(verifier.clone());
        TowerToHyperService::new(service.clone()).call(request)
    });
    let mut server = http1::Builder::new();
    // The edge keeps connections for later requests; it, not we, decides how long.
    server.timer(TokioTimer::new()).header_read_timeout(None).half_close(true);
    let connection = server.serve_connection(TokioIo::new(stream), service).with_upgrades();
    async move { connection.await.map_err(io::Error::other) }
}

/// Publishes a TCP service. From [`Origin::tcp`].
#[derive(Debug)]
#[must_use]
pub struct Tcp {
    origin: Origin,
    hostname: Result<HostPattern, HostnameError>,
}

impl Tcp {
    pub(crate) const fn new(origin: Origin, hostname: Result<HostPattern, HostnameError>) -> Self {
        Self { origin, hostname }
    }

    /// Publishes the service at `target`: `HOST:PORT`, or with a scheme as in `ssh://HOST`.
    pub async fn forward(self, target: &str) -> Result<Published, Error> {
        let service = match target.contains("://") {
            true => target.parse()?,
            false => Service::Tcp(target.parse().map_err(ServiceError::Address)?),
        };
        if service.kind() != ServiceKind::Tcp {
            return Err(ServiceError::Scheme { scheme: scheme(target) }.into());
        }
        self.origin.publish(self.hostname?, service).await
    }

    /// Gives the connections to this program. Each is of one visitor, and says of which.
    pub async fn listen(self) -> Result<Listener, Error> {
        listen(self.origin, self.hostname?, ServiceKind::Tcp, ServiceOptions::default()).await
    }
}

async fn listen(
    origin: Origin,
    hostname: HostPattern,
    kind: ServiceKind,
    options: ServiceOptions,
) -> Result<Listener, Error> {
    let (handler, connections) = listener::pair();
    let verifier = origin.verifier(&hostname);
    let published = origin.publish_with(hostname, Service::handler(kind, handler), options).await?;
    Ok(Listener::new(published, connections, verifier))
}

fn scheme(text: &str) -> String {
    text.split(':').next().unwrap_or_default().to_owned()
}
