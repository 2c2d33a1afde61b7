//! What a rule publishes, and how a person writes it.

use std::{fmt, future::Future, io, net::IpAddr, path::PathBuf, str::FromStr, sync::Arc};

use futures::future::BoxFuture;
use tunnel_proto::{
    Destination, DestinationRange, Identity, Name,
    destination::DestinationRangeError,
    dial::{AddressError, SocketTarget},
    link::Stream,
    message::ServiceKind,
};
use url::Url;

use crate::hello;

/// What a rule publishes.
#[derive(Clone)]
#[non_exhaustive]
pub enum Service {
    /// A web server at a host and port, spoken to in clear.
    Http(SocketTarget),
    /// A web server at a host and port, spoken to in TLS. [`ServiceOptions`](crate::ServiceOptions) say whom to believe.
    Https(SocketTarget),
    /// A web server at a Unix socket.
    Unix(PathBuf),
    /// A web server at a Unix socket, spoken to in TLS.
    UnixTls(PathBuf),
    /// A TCP service at a host and port: bytes as they are.
    Tcp(SocketTarget),
    /// A gateway: the visitor names the destination, and it must be in one of these ranges. What the edge admits and the
    /// list does not hold is refused all the same.
    Bastion(Arc<[DestinationRange]>),
    /// Something in this process; each stream is handed to it.
    Handler {
        /// What its streams carry: [`ServiceKind::Http`] for a handler that speaks HTTP/1.1.
        kind: ServiceKind,
        /// Who takes the streams.
        handler: Arc<dyn StreamHandler>,
    },
}

impl Service {
    /// A handler in this process whose streams carry `kind`.
    pub fn handler(kind: ServiceKind, handler: impl StreamHandler) -> Self {
        Self::Handler { kind, handler: Arc::new(handler) }
    }

    /// What streams of this service carry, unless [options](crate::ServiceOptions::http2) say otherwise.
    pub const fn kind(&self) -> ServiceKind {
        match self {
            Self::Http(_) | Self::Https(_) | Self::Unix(_) | Self::UnixTls(_) => ServiceKind::Http,
            Self::Tcp(_) => ServiceKind::Tcp,
            Self::Bastion(_) => ServiceKind::Bastion,
            Self::Handler { kind, .. } => *kind,
        }
    }

    /// Whether the connector does TLS with it.
    pub const fn has_tls(&self) -> bool {
        matches!(self, Self::Https(_) | Self::UnixTls(_))
    }
}

impl FromStr for Service {
    type Err = ServiceError;

    /// Reads `http://host[:port]`, `https://host[:port]`, `unix:/path`, `unix+tls:/path`, `tcp://host:port`, `ssh://host`,
    /// `rdp://host`, `smb://host`, `bastion:RANGE[,RANGE…]`, `http_status:NNN` or `hello_world`. The schemes of TCP services
    /// mean the same and differ in the port that is used when none is written. `ws://` and `wss://` mean `http://` and
    /// `https://`.
    fn from_str(text: &str) -> Result<Self, ServiceError> {
        let owned = || text.to_owned();
        if matches!(text, "hello_world" | "hello-world") {
            return Ok(hello::service());
        }
        if let Some(code) = text.strip_prefix("http_status:") {
            let code = code.parse().ok().and_then(|code| http::StatusCode::from_u16(code).ok());
            let code =
                code.filter(|code| code.as_u16() >= 200).ok_or_else(|| ServiceError::Status { text: owned() })?;
            return Ok(hello::status(code));
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(absolute(path).ok_or_else(|| ServiceError::Path { text: owned() })?));
        }
        if let Some(path) = text.strip_prefix("unix+tls:") {
            return Ok(Self::UnixTls(absolute(path).ok_or_else(|| ServiceError::Path { text: owned() })?));
        }
        if let Some(ranges) = text.strip_prefix("bastion") {
            return bastion(ranges.strip_prefix(':').unwrap_or_default());
        }
        let Some((scheme, _)) = text.split_once("://") else {
            // The words of other programs have no `//`.
            let word = text.split(':').next().unwrap_or_default();
            return match NOT_YET.contains(&word) {
                true => Err(ServiceError::NotYet { scheme: word.to_owned() }),
                false => Err(ServiceError::NoScheme { text: owned() }),
            };
        };
        if NOT_YET.contains(&scheme) {
            return Err(ServiceError::NotYet { scheme: scheme.to_owned() });
        }
        let web: Option<fn(SocketTarget) -> Self> = match scheme {
            "http" | "ws" => Some(Self::Http),
            "https" | "wss" => Some(Self::Https),
            _ => None,
        };
        let port = TCP_SCHEMES.iter().find(|(name, _)| *name == scheme);
        if web.is_none() && port.is_none() {
            return Err(ServiceError::Scheme { scheme: scheme.to_owned() });
        }
        // Before anything else is said about the address: what stands before an `@` is not echoed, it holds a password.
        if text.contains('@') {
            return Err(ServiceError::Userinfo);
        }
        let url = Url::parse(text).map_err(|error| ServiceError::Url { text: owned(), reason: error.to_string() })?;
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(ServiceError::Beyond { text: owned() });
        }
        let target = SocketTarget::from_url(&url, text, port.and_then(|(_, port)| *port))?;
        Ok(web.unwrap_or(Self::Tcp)(target))
    }
}

fn absolute(path: &str) -> Option<PathBuf> {
    Some(PathBuf::from(path)).filter(|path| path.is_absolute())
}

fn bastion(ranges: &str) -> Result<Service, ServiceError> {
    if ranges.is_empty() {
        return Err(ServiceError::Bastion);
    }
    let ranges = ranges
        .split(',')
        .map(|range| range.trim().parse().map_err(|reason| ServiceError::Range { text: range.to_owned(), reason }));
    ranges.collect::<Result<_, _>>().map(Service::Bastion)
}

/// Schemes of TCP services, and the port that each means when none is written.
const TCP_SCHEMES: &[(&str, Option<u16>)] =
    &[("tcp", None), ("ssh", Some(22)), ("rdp", Some(3389)), ("smb", Some(445))];

/// Schemes of the compared product that a later version will publish.
const NOT_YET: &[&str] = &["socks-proxy"];

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(target) => write!(f, "http://{target}"),
            Self::Https(target) => write!(f, "https://{target}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::UnixTls(path) => write!(f, "unix+tls:{}", path.display()),
            Self::Tcp(target) => write!(f, "tcp://{target}"),
            Self::Bastion(allow) => {
                let ranges: Vec<_> = allow.iter().map(ToString::to_string).collect();
                write!(f, "bastion:{}", ranges.join(","))
            }
            Self::Handler { .. } => f.write_str("a built-in service"),
        }
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not a service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// Nothing says how to speak to it.
    #[error("`{text}` has no scheme: write http://HOST:PORT, https://HOST:PORT or unix:/PATH")]
    NoScheme {
        /// What was written.
        text: String,
    },
    /// A scheme nobody knows.
    #[error(
        "`{scheme}` is not a kind of service: use http://HOST:PORT, https://HOST:PORT, unix:/PATH, unix+tls:/PATH, \
             tcp://HOST:PORT, ssh://HOST, rdp://HOST, smb://HOST, http_status:NNN or hello_world"
    )]
    Scheme {
        /// The scheme.
        scheme: String,
    },
    /// A scheme that is planned.
    #[error("services of kind `{scheme}` cannot be published yet: use http://HOST:PORT or unix:/PATH")]
    NotYet {
        /// The scheme.
        scheme: String,
    },
    /// A bastion that says nothing of where it may lead.
    #[error("a bastion needs the destinations that it may lead to, for example 192.168.1.0/24:3389")]
    Bastion,
    /// Not a range of destinations.
    #[error("`{text}` is {reason}")]
    Range {
        /// What was written.
        text: String,
        /// What is wrong with it.
        reason: DestinationRangeError,
    },
    /// Not a URL.
    #[error("`{text}` is not a service address: {reason}")]
    Url {
        /// What was written.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A user name or password in the URL.
    #[error("a service address holds no user name and no password")]
    Userinfo,
    /// A path, query or fragment: requests are passed on as they are.
    #[error(
        "`{text}` goes beyond host and port: a request's path and query are passed on untouched, so name none here"
    )]
    Beyond {
        /// What was written.
        text: String,
    },
    /// A relative socket path.
    #[error("`{text}` is not an absolute path: write unix:/PATH or unix+tls:/PATH")]
    Path {
        /// What was written.
        text: String,
    },
    /// Not a final HTTP status.
    #[error("`{text}` is not a final HTTP status: use http_status:200 to http_status:999")]
    Status {
        /// What was written.
        text: String,
    },
    /// The host or port is wrong.
    #[error(transparent)]
    Address(#[from] AddressError),
}

/// What is known about a stream that a visitor's request or connection opened.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The hostname of the rule that the stream was opened for.
    pub rule: tunnel_proto::HostPattern,
    /// The address that the visitor came from, as the edge saw it.
    pub source: IpAddr,
    /// Who it is: for TCP services only. A stream of an `http` rule is shared by visitors; there the identity is in each
    /// request's assertion.
    pub identity: Option<Identity>,
    /// The service token that opened it, by its name, where a machine did and no person: for TCP services only.
    pub service_token: Option<Name>,
    /// Where to, for a handler of kind [`ServiceKind::Bastion`], which must judge it.
    pub destination: Option<Destination>,
    /// The edge's trace id.
    pub trace: [u8; 16],
}

/// Takes the streams of a service in this process. Implemented by every closure of the same shape.
pub trait StreamHandler: Send + Sync + 'static {
    /// Serves one stream. The stream is reset if it is dropped before it was shut down, or upon an error.
    fn handle(&self, stream: Stream, opening: Opening) -> BoxFuture<'static, io::Result<()>>;
}

impl<F, T> StreamHandler for F
where
    F: Fn(Stream, Opening) -> T + Send + Sync + 'static,
    T: Future<Output = io::Result<()>> + Send + 'static,
{
    fn handle(&self, stream: Stream, opening: Opening) -> BoxFuture<'static, io::Result<()>> {
        Box::pin(self(stream, opening))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_read_as_people_write_them() {
        for (text, kind, again) in [
            ("http://localhost:3000", ServiceKind::Http, "http://localhost:3000"),
            ("http://localhost", ServiceKind::Http, "http://localhost:80"),
            ("http://[::1]:8000/", ServiceKind::Http, "http://[::1]:8000"),
            ("https://nas.lan", ServiceKind::Http, "https://nas.lan:443"),
            ("https://192.168.1.5:8443/", ServiceKind::Http, "https://192.168.1.5:8443"),
            ("https://[fd00::1]", ServiceKind::Http, "https://[fd00::1]:443"),
            ("ws://localhost:8000", ServiceKind::Http, "http://localhost:8000"),
            ("ws://localhost", ServiceKind::Http, "http://localhost:80"),
            ("wss://localhost", ServiceKind::Http, "https://localhost:443"),
            ("unix:/run/app.sock", ServiceKind::Http, "unix:/run/app.sock"),
            ("unix+tls:/run/app.sock", ServiceKind::Http, "unix+tls:/run/app.sock"),
            ("tcp://127.0.0.1:5432", ServiceKind::Tcp, "tcp://127.0.0.1:5432"),
            ("ssh://localhost", ServiceKind::Tcp, "tcp://localhost:22"),
            ("ssh://localhost:2222", ServiceKind::Tcp, "tcp://localhost:2222"),
            ("rdp://192.168.1.29", ServiceKind::Tcp, "tcp://192.168.1.29:3389"),
            ("smb://[fd00::1]/", ServiceKind::Tcp, "tcp://[fd00::1]:445"),
            ("bastion:10.0.0.5:22", ServiceKind::Bastion, "bastion:10.0.0.5:22"),
            ("bastion:10.0.0.0/8:22, [fd00::/8]:*", ServiceKind::Bastion, "bastion:10.0.0.0/8:22,[fd00::/8]:*"),
            ("http_status:404", ServiceKind::Http, "a built-in service"),
            ("hello_world", ServiceKind::Http, "a built-in service"),
        ] {
            let service: Service = text.parse().unwrap();
            assert_eq!((service.kind(), service.to_string().as_str()), (kind, again), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_service_is_refused_by_name() {
        for (text, part) in [
            ("", "no scheme"),
            ("localhost:3000", "no scheme"),
            ("foo://host:1", "`foo`"),
            ("socks-proxy", "`socks-proxy` cannot be published yet"),
            ("ssh://root@localhost", "no user name"),
            ("rdp://host/x", "untouched"),
            ("bastion", "needs the destinations"),
            ("bastion:", "needs the destinations"),
            ("bastion://10.0.0.1:22", "not a range"),
            ("bastion:10.0.0.0/8", "not a range"),
            ("unix:relative", "absolute"),
            ("unix+tls:relative", "absolute"),
            ("https://nas.lan/path", "untouched"),
            ("wss://u:secret@nas.lan", "no password"),
            ("https://", "not a service address"),
            ("http://localhost:3000/path", "untouched"),
            ("http://localhost:3000?q", "untouched"),
            ("http://u:secret@localhost", "no password"),
            ("http://u:secret@localhost:99999", "no password"),
            ("tcp://u:secret@", "no password"),
            ("http://", "not a service address"),
            ("http://a b", "not a service address"),
            ("http://localhost:99999", "not a service address"),
            ("http://localhost:0", "not a port"),
            ("tcp://localhost", "no port"),
            ("http_status:101", "final"),
            ("http_status:x", "final"),
        ] {
            let message = text.parse::<Service>().unwrap_err().to_string();
            assert!(message.contains(part), "{text}: {message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }
}
