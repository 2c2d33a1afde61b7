//! Requests that the edge makes itself, to addresses that an administrator declared: OpenID providers, GitHub, external
//! evaluations, certificate authorities. Nothing else of the edge opens a connection to the outside by HTTP.
//!
//! Whoever answers there is not trusted: nobody is led elsewhere by a redirect, an answer is small and soon there or none,
//! and a name that leads into the edge's own network is refused where it is resolved, unless the declaration says that this
//! is meant (O7). Where nobody means to go (metadata services, multicast and the like) no declaration leads. No proxy is
//! used, whatever the environment says: a proxy would resolve names in the place of this.

use std::{
    error::Error as StdError,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::{
    Client, RequestBuilder, Response,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect::Policy,
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use tokio::net::TcpStream;
use tunnel_proto::{destination::is_special, identity};
use url::{Host, Url};

/// How long connecting may take.
pub const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// How long a request may take, from the first name that is resolved to the last byte of the answer.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer, in bytes.
pub const ANSWER_MAX: usize = 1024 * 1024;
/// How long [`Outbound::reaches`] tries.
const REACH_PATIENCE: Duration = Duration::from_secs(3);
/// How long an idle connection is kept, and how many to one host.
const IDLE: Duration = Duration::from_secs(30);
const IDLE_MAX: usize = 4;
/// What the edge calls itself. GitHub answers nobody without a name.
const USER_AGENT: &str = concat!("tunnel-edge/", env!("CARGO_PKG_VERSION"));

/// Asks others. Cheap to clone; what was made with the same settings shares connections only with its clones.
#[derive(Clone)]
pub struct Outbound {
    https: Client,
    /// Where plain HTTP is let through: to private addresses only.
    http: Option<Client>,
    patience: Duration,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Its status. Redirects are answers like any other.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, whole.
    pub body: Bytes,
}

/// Why there is no answer. Names no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OutboundError {
    /// The certificates that were declared cannot be used.
    #[error("the certificates in `ca` cannot be used: {0}")]
    Ca(String),
    /// The system's certificates cannot be used.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// It is not an address that is asked.
    #[error("`{0}` is not an https address")]
    Scheme(String),
    /// It leads into a network that nobody is sent to unasked.
    #[error("`{0}` leads to a private, local or special address, and `danger_allow_private_address` is not declared")]
    Private(String),
    /// It leads where nothing that one could ask is, whatever is declared.
    #[error(
        "`{0}` leads to an address that nobody is sent to: of a metadata service, link-local, multicast or the like"
    )]
    Special(String),
    /// Plain HTTP, to somewhere in the world.
    #[error("`{0}` is plain http and not at a private address")]
    PlainPublic(String),
    /// Nobody can be reached there.
    #[error("`{host}` cannot be reached: {reason}")]
    Unreachable {
        /// The host.
        host: String,
        /// What was the matter.
        reason: String,
    },
    /// It takes too long.
    #[error("`{0}` did not answer in time")]
    Slow(String),
    /// The answer is too large.
    #[error("`{0}` answered with more than {ANSWER_MAX} bytes")]
    TooLarge(String),
    /// The connection broke.
    #[error("the connection to `{0}` broke")]
    Broken(String),
}

impl Outbound {
    /// For addresses in the world, by the system's certificates and those of `ca` (PEM). `private` also lets through
    /// private addresses, and plain HTTP to them.
    pub fn new(private: bool, ca: Option<&str>) -> Result<Self, OutboundError> {
        Self::with_patience(private, ca, PATIENCE)
    }

    pub(crate) fn with_patience(private: bool, ca: Option<&str>, patience: Duration) -> Result<Self, OutboundError> {
        let client = |which| client(which, ca, patience);
        let https = client(if private { Which::Any } else { Which::Public })?;
        let http = private.then(|| client(Which::Private)).transpose()?;
        Ok(Self { https, http, patience })
    }

    /// GET, as JSON.
    pub async fn get_json(&self, url: &str, bearer: Option<&str>) -> Result<Fetched, OutboundError> {
        self.get(url, "application/json", bearer).await
    }

    /// GET of what `accept` names.
    pub async fn get(&self, url: &str, accept: &str, bearer: Option<&str>) -> Result<Fetched, OutboundError> {
        self.send(Method::GET, url, |request| authorized(request.header(header::ACCEPT, accept), bearer)).await
    }

    /// POST of a form that is encoded already. `authorization` is the whole value of that header.
    pub async fn post_form(
        &self,
        url: &str,
        form: &str,
        authorization: Option<&str>,
    ) -> Result<Fetched, OutboundError> {
        let send = |request: RequestBuilder| {
            let request = request
                .header(header::ACCEPT, "application/json")
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form.to_owned());
            match authorization.map(secret) {
                Some(value) => request.header(header::AUTHORIZATION, value),
                None => request,
            }
        };
        self.send(Method::POST, url, send).await
    }

    /// POST of JSON.
    pub async fn post_json(
        &self,
        url: &str,
        value: &serde_json::Value,
        bearer: Option<&str>,
    ) -> Result<Fetched, OutboundError> {
        let send = |request: RequestBuilder| {
            let request = request
                .header(header::ACCEPT, "application/json")
                .header(header::CONTENT_TYPE, "application/json")
                .body(value.to_string());
            authorized(request, bearer)
        };
        self.send(Method::POST, url, send).await
    }

    /// Whatever request a protocol has, with the type of its body.
    pub(crate) async fn exchange(
        &self,
        method: Method,
        url: &str,
        content_type: Option<HeaderValue>,
        body: Bytes,
    ) -> Result<Fetched, OutboundError> {
        let send = |request: RequestBuilder| match content_type {
            Some(kind) => request.header(header::CONTENT_TYPE, kind).body(body),
            None => request,
        };
        self.send(method, url, send).await
    }

    /// Whether anybody listens there, without asking them anything.
    pub async fn reaches(&self, url: &str) -> Result<(), OutboundError> {
        let target = Target::parse(url)?;
        let (_, which) = self.client(&target)?;
        let reaching = async {
            let addresses = match &target.host {
                Host::Domain(name) => resolve(name, which).await.map_err(|error| target.failed(&*error))?,
                Host::Ipv4(v4) => vec![IpAddr::V4(*v4)],
                Host::Ipv6(v6) => vec![IpAddr::V6(*v6)],
            };
            let mut last = io::Error::from(io::ErrorKind::NotFound);
            for address in addresses {
                match TcpStream::connect((address, target.port)).await {
                    Ok(_) => return Ok(()),
                    Err(error) => last = error,
                }
            }
            Err(target.unreachable(&last))
        };
        tokio::time::timeout(REACH_PATIENCE, reaching).await.unwrap_or_else(|_| Err(target.slow()))
    }

    async fn send(
        &self,
        method: Method,
        url: &str,
        fill: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<Fetched, OutboundError> {
        let target = Target::parse(url)?;
        let (client, _) = self.client(&target)?;
        let request = fill(client.request(method, target.url.clone()));
        let exchange = async {
            let response = request.send().await.map_err(|error| target.failed(&error))?;
            read(&target, response).await
        };
        // Names are resolved within it, too, which the client's own limit does not promise.
        tokio::time::timeout(self.patience, exchange).await.unwrap_or_else(|_| Err(target.slow()))
    }

    /// The client for a target, if it may be asked at all. Addresses that are written out are judged here, since nothing
    /// resolves them.
    fn client(&self, target: &Target) -> Result<(&Client, Which), OutboundError> {
        let (client, which) = match (target.url.scheme(), &self.http) {
            ("https", Some(_)) => (&self.https, Which::Any),
            ("https", None) => (&self.https, Which::Public),
            ("http", Some(http)) => (http, Which::Private),
            _ => return Err(OutboundError::Scheme(target.name.clone())),
        };
        let literal = match target.host {
            Host::Domain(_) => None,
            Host::Ipv4(v4) => Some(IpAddr::V4(v4)),
            Host::Ipv6(v6) => Some(IpAddr::V6(v6)),
        };
        if literal.is_some_and(|ip| !which.takes(ip)) {
            return Err(target.refused(which));
        }
        Ok((client, which))
    }
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbound").field("private", &self.http.is_some()).finish_non_exhaustive()
    }
}

fn authorized(request: RequestBuilder, bearer: Option<&str>) -> RequestBuilder {
    match bearer {
        Some(token) => request.header(header::AUTHORIZATION, secret(&format!("Bearer {token}"))),
        None => request,
    }
}

/// A header value that is never printed. What cannot stand in one is left out, and refused by whoever asked for it.
fn secret(text: &str) -> HeaderValue {
    let mut value = HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

async fn read(target: &Target, mut response: Response) -> Result<Fetched, OutboundError> {
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| target.failed(&error))? {
        if body.len().saturating_add(chunk.len()) > ANSWER_MAX {
            return Err(OutboundError::TooLarge(target.name.clone()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Fetched { status, headers, body: body.into() })
}

/// Where a request goes.
struct Target {
    url: Url,
    host: Host,
    port: u16,
    /// The host and port, for messages.
    name: String,
}

impl Target {
    fn parse(text: &str) -> Result<Self, OutboundError> {
        let none = || OutboundError::Scheme(text.chars().take(SHOWN_MAX).collect());
        let url = Url::parse(text).map_err(|_| none())?;
        let host = url.host().map(|host| host.to_owned()).ok_or_else(none)?;
        let port = url.port_or_known_default().ok_or_else(none)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(none());
        }
        let name = format!("{host}:{port}");
        Ok(Self { url, host, port, name })
    }

    fn refused(&self, which: Which) -> OutboundError {
        match which {
            Which::Private => OutboundError::PlainPublic(self.name.clone()),
            Which::Public => OutboundError::Private(self.name.clone()),
            Which::Any => OutboundError::Special(self.name.clone()),
        }
    }

    fn slow(&self) -> OutboundError {
        OutboundError::Slow(self.name.clone())
    }

    fn unreachable(&self, reason: &dyn std::fmt::Display) -> OutboundError {
        OutboundError::Unreachable { host: self.name.clone(), reason: reason.to_string() }
    }

    /// What became of a request, without its address: there may be a code in it.
    fn failed(&self, error: &(dyn StdError + 'static)) -> OutboundError {
        let mut deepest = error;
        loop {
            if let Some(Refused(which)) = deepest.downcast_ref() {
                return self.refused(*which);
            }
            match deepest.source() {
                Some(source) => deepest = source,
                None => break,
            }
        }
        match error.downcast_ref::<reqwest::Error>() {
            Some(error) if error.is_timeout() => self.slow(),
            Some(error) if !error.is_connect() => OutboundError::Broken(self.name.clone()),
            _ => self.unreachable(&deepest),
        }
    }
}

/// The longest address that a message repeats.
const SHOWN_MAX: usize = 128;

/// Which addresses are let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    /// Those of the world.
    Public,
    /// Those of one's own machine and networks.
    Private,
    /// Both.
    Any,
}

impl Which {
    fn takes(self, ip: IpAddr) -> bool {
        match self {
            Self::Public => is_public(ip),
            Self::Private => is_private(ip),
            Self::Any => is_public(ip) || is_private(ip),
        }
    }
}

/// Whether an address is one of the world's: not private, not shared by a carrier, not special in any way.
pub(crate) fn is_public(ip: IpAddr) -> bool {
    !is_inner(ip) && !is_special(ip)
}

/// Whether an address is of this machine or of a network that is not the world's, and nothing special there: a cloud's
/// metadata service tells whoever asks what the machine may do.
fn is_private(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback() || (is_inner(ip) && !is_special(ip))
}

fn is_inner(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            let shared = a == 100 && (64..128).contains(&b);
            let protocol = (a, b, c) == (192, 0, 0);
            let benchmark = a == 198 && (b == 18 || b == 19);
            v4.is_private() || shared || protocol || benchmark
        }
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

fn client(which: Which, ca: Option<&str>, patience: Duration) -> Result<Client, OutboundError> {
    let tls = tls(ca)?;
    Client::builder()
        .tls_backend_preconfigured(tls)
        .dns_resolver(Resolver(which))
        .redirect(Policy::none())
        .referer(false)
        .no_proxy()
        .http1_only()
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT_PATIENCE)
        .timeout(patience)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(IDLE_MAX)
        .build()
        .map_err(|error| OutboundError::Tls(error.to_string()))
}

/// TLS by our own provider of cryptography, never the process's.
fn tls(ca: Option<&str>) -> Result<rustls::ClientConfig, OutboundError> {
    let provider = identity::provider();
    let failed = |error: rustls::Error| OutboundError::Tls(error.to_string());
    let roots = CertificateDer::pem_slice_iter(ca.unwrap_or_default().as_bytes());
    let roots: Vec<_> = roots.collect::<Result<_, _>>().map_err(|error| OutboundError::Ca(error.to_string()))?;
    if ca.is_some() && roots.is_empty() {
        return Err(OutboundError::Ca("there is no certificate in it".to_owned()));
    }
    let verifier = rustls_platform_verifier::Verifier::new_with_extra_roots(roots, provider.clone());
    let verifier = verifier.map_err(|error| OutboundError::Ca(error.to_string()))?;
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().map_err(failed)?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    Ok(builder.with_no_client_auth())
}

/// Resolves names, and gives only addresses that are let through.
struct Resolver(Which);

/// None of a name's addresses is let through.
#[derive(Debug, thiserror::Error)]
#[error("the address is not let through")]
struct Refused(Which);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (name, which) = (name.as_str().to_owned(), self.0);
        Box::pin(async move {
            let addresses = resolve(&name, which).await?;
            Ok(Box::new(addresses.into_iter().map(|ip| SocketAddr::new(ip, 0))) as Addrs)
        })
    }
}

async fn resolve(name: &str, which: Which) -> Result<Vec<IpAddr>, Box<dyn StdError + Send + Sync>> {
    let bare = name.strip_suffix('.').unwrap_or(name);
    let found: Vec<IpAddr> =
        if bare.eq_ignore_ascii_case("localhost") || bare.to_ascii_lowercase().ends_with(".localhost") {
            // Not everywhere is it what it says (RFC 6761 §6.3).
            vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
        } else {
            tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect()
        };
    let taken: Vec<_> = found.into_iter().filter(|ip| which.takes(*ip)).collect();
    if taken.is_empty() { Err(Box::new(Refused(which))) } else { Ok(taken) }
}

#[cfg(test)]
mod tests;
