//! An HTTP proxy on the way: what it is, for whom it is used, and how it is asked for a connection.

use std::{fmt, net::IpAddr, str::FromStr};

use data_encoding::BASE64;
use http::{Request, StatusCode, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tunnel_proto::{
    dial::{SocketTarget, dial_edge},
    link::LinkSocket,
};
use url::Url;
use zeroize::Zeroizing;

use crate::{carrier::BoxIo, error::Error};

/// The port of a proxy that names none.
const PROXY_PORT: u16 = 80;

/// An HTTP proxy that connections are asked of (`CONNECT`).
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    target: SocketTarget,
    /// The value of `Proxy-Authorization`.
    credentials: Option<Zeroizing<String>>,
    direct: Vec<Exception>,
}

impl Proxy {
    /// This proxy, but not for what `list` names: hostnames, `.domains`, addresses and `*`, separated by commas, each
    /// perhaps with a port (the form of `NO_PROXY`). What cannot be understood in it is passed over, as everywhere.
    #[must_use]
    pub fn except(mut self, list: &str) -> Self {
        self.direct = list.split(',').filter_map(|item| Exception::read(item.trim())).collect();
        self
    }

    /// Whether connections to `target` go through it. This machine is reached directly.
    pub(crate) fn is_for(&self, target: &SocketTarget) -> bool {
        let host = target.host();
        let here = host == "localhost"
            || host.ends_with(".localhost")
            || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        !here && !self.direct.iter().any(|exception| exception.covers(target))
    }

    /// Asks for a connection to `target`.
    pub(crate) async fn connect(&self, target: &SocketTarget) -> Result<BoxIo, Error> {
        let said = |reason: String| Error::Proxy { proxy: self.to_string(), at: target.to_string(), reason };
        let tcp = dial_edge(&self.target).await.map_err(|error| said(error.to_string()))?;
        let (status, io) = self.ask(tcp, target).await.map_err(|error| said(error.to_string()))?;
        match io {
            Some(io) => Ok(io),
            // Some say 401 to a wrong password.
            None if matches!(status, StatusCode::PROXY_AUTHENTICATION_REQUIRED | StatusCode::UNAUTHORIZED) => {
                let given =
                    if self.credentials.is_some() { "another user or password" } else { "a user and a password" };
                Err(said(format!("it wants {given}: http://USER:PASSWORD@HOST:PORT")))
            }
            None => Err(said(format!("it answered HTTP {status}"))),
        }
    }

    async fn ask(&self, tcp: LinkSocket, target: &SocketTarget) -> hyper::Result<(StatusCode, Option<BoxIo>)> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(tcp)).await?;
        // Ends with the connection, which the caller holds.
        tokio::spawn(connection.with_upgrades());
        let authority = target.to_string();
        let mut request = Request::connect(authority.as_str()).header(header::HOST, authority.as_str());
        if let Some(credentials) = &self.credentials
            && let Ok(mut value) = header::HeaderValue::from_str(credentials)
        {
            value.set_sensitive(true);
            request = request.header(header::PROXY_AUTHORIZATION, value);
        }
        let Ok(request) = request.body(Empty::<bytes::Bytes>::new()) else {
            return Ok((StatusCode::BAD_REQUEST, None));
        };
        let response = sender.send_request(request).await?;
        let status = response.status();
        if !status.is_success() {
            return Ok((status, None));
        }
        Ok((status, Some(Box::new(TokioIo::new(hyper::upgrade::on(response).await?)))))
    }
}

impl FromStr for Proxy {
    type Err = Error;

    /// Reads `http://[USER:PASSWORD@]HOST[:PORT]`, or `HOST:PORT`.
    fn from_str(text: &str) -> Result<Self, Error> {
        // The text may hold a password, and is not repeated.
        let bad = |what: &str| Error::Usage { what: format!("the proxy cannot be used: {what}") };
        let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let url = Url::parse(&whole).map_err(|_| bad("write http://HOST:PORT"))?;
        if url.scheme() != "http" {
            return Err(bad("only proxies that are spoken to by plain HTTP are, http://HOST:PORT"));
        }
        let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let target = SocketTarget::new(host, url.port().unwrap_or(PROXY_PORT));
        let target = target.map_err(|_| bad("write http://HOST:PORT"))?;
        let credentials = match (url.username(), url.password()) {
            ("", None) => None,
            (user, password) => {
                let decoded = |text: &str| Zeroizing::new(percent_decoded(text));
                let (user, password) = (decoded(user), decoded(password.unwrap_or_default()));
                let both = Zeroizing::new([user.as_slice(), b":", password.as_slice()].concat());
                Some(Zeroizing::new(format!("Basic {}", BASE64.encode(&both))))
            }
        };
        Ok(Self { target, credentials, direct: Vec::new() })
    }
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'%').then(|| after.split_first_chunk::<2>()).flatten().and_then(|(digits, after)| {
            let byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
            Some((byte, after))
        });
        let (byte, after) = escaped.unwrap_or((*first, after));
        bytes.push(byte);
        rest = after;
    }
    bytes
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.target)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is reached without the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Exception {
    /// A name, which covers the names below it; an address; or nothing for everything.
    host: Option<String>,
    port: Option<u16>,
}

impl Exception {
    fn read(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self { host: None, port: None });
        }
        let (host, port) = match text.parse::<IpAddr>() {
            Ok(_) => (text, None),
            Err(_) => match text.rsplit_once(':') {
                Some((host, port)) => (host, Some(port.parse().ok()?)),
                None => (text, None),
            },
        };
        let host = host.trim_start_matches("*.").trim_matches(['.', '[', ']']).to_ascii_lowercase();
        (!host.is_empty()).then_some(Self { host: Some(host), port })
    }

    fn covers(&self, target: &SocketTarget) -> bool {
        let named = self.host.as_deref().is_none_or(|host| {
            target.host().strip_suffix(host).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        });
        named && self.port.is_none_or(|port| port == target.port())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> SocketTarget {
        text.parse().unwrap()
    }

    #[test]
    fn a_proxys_password_is_used_and_not_shown() {
        let proxy: Proxy = "http://ann:p%40ss@proxy.example:3128".parse().unwrap();
        assert_eq!(proxy.credentials.as_ref().unwrap().as_str(), "Basic YW5uOnBAc3M=");
        assert_eq!(
            (proxy.to_string(), format!("{proxy:?}")),
            ("http://proxy.example:3128".to_owned(), "http://proxy.example:3128".to_owned())
        );
        for text in ["https://ann:secret@proxy.example", "socks5://ann:secret@h:1", "http://ann:secret@", "a b:secret"]
        {
            let error = text.parse::<Proxy>().unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn exceptions_are_read_as_other_programs_read_them() {
        let proxy: Proxy = "proxy.example:3128".parse().unwrap();
        let proxy = proxy.except("internal.example, .corp.example,192.0.2.1,odd.example:8443, *.star.example");
        for (host, used) in [
            ("www.example.com:443", true),
            ("internal.example:443", false),
            ("a.internal.example:443", false),
            ("notinternal.example:443", true),
            ("x.corp.example:443", false),
            ("192.0.2.1:443", false),
            ("192.0.2.10:443", true),
            ("odd.example:443", true),
            ("odd.example:8443", false),
            ("x.star.example:1", false),
            ("access.localhost:8443", false),
            ("127.0.0.1:8443", false),
        ] {
            assert_eq!(proxy.is_for(&target(host)), used, "{host}");
        }
        assert!(!proxy.except("*").is_for(&target("www.example.com:443")));
    }
}
