//! Where the edge is, and where a service is: a host and a port, as a person writes them.

use std::{fmt, net::IpAddr, str::FromStr, sync::Arc};

use url::{Host, Url};

use crate::Hostname;

/// The port of an edge when its address names none.
pub const EDGE_PORT: u16 = 443;

/// A host and a port to dial. The host is a hostname or an IP address.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SocketTarget {
    host: Arc<str>,
    port: u16,
}

impl SocketTarget {
    /// The target `host`:`port`; an IPv6 address is given without brackets.
    pub fn new(host: &str, port: u16) -> Result<Self, AddressError> {
        let bad = || AddressError::Host { text: host.to_owned() };
        let host = match host.parse::<IpAddr>() {
            Ok(address) => address.to_string(),
            Err(_) => Hostname::parse(host).map_err(|_| bad())?.into(),
        };
        if port == 0 {
            return Err(AddressError::Port { text: port.to_string() });
        }
        Ok(Self { host: host.into(), port })
    }

    /// The hostname or address, an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// What `url`, which was written as `text`, leads to. The port of its scheme, or `default_port`, where it names none.
    pub fn from_url(url: &Url, text: &str, default_port: Option<u16>) -> Result<Self, AddressError> {
        let no_port = || AddressError::NoPort { text: text.to_owned() };
        let port = url.port().or_else(|| url.port_or_known_default()).or(default_port).ok_or_else(no_port)?;
        match url.host() {
            Some(Host::Domain(name)) => Self::new(name, port),
            Some(Host::Ipv4(address)) => Self::new(&address.to_string(), port),
            Some(Host::Ipv6(address)) => Self::new(&address.to_string(), port),
            None => Err(AddressError::Host { text: text.to_owned() }),
        }
    }
}

impl FromStr for SocketTarget {
    type Err = AddressError;

    /// Reads `host:port`, `127.0.0.1:port` or `[::1]:port`.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let no_port = || AddressError::NoPort { text: text.to_owned() };
        let (host, port) = text.rsplit_once(':').ok_or_else(no_port)?;
        let host = match host.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']').ok_or_else(|| AddressError::Host { text: text.to_owned() })?,
            None if host.contains(':') => return Err(no_port()),
            None => host,
        };
        let port = port.parse().map_err(|_| AddressError::Port { text: port.to_owned() })?;
        Self::new(host, port)
    }
}

impl fmt::Display for SocketTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for SocketTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where the edge is: what to dial, and the name its certificate must carry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EdgeAddress {
    target: SocketTarget,
    name: Hostname,
}

impl EdgeAddress {
    /// The edge behind `target`, which must prove to be `name` (the login host of its zone, `access.ZONE`).
    pub const fn new(target: SocketTarget, name: Hostname) -> Self {
        Self { target, name }
    }

    /// The edge of `zone` where its login host says it is: `access.ZONE`, port [`EDGE_PORT`].
    pub fn of_zone(zone: &Hostname) -> Result<Self, AddressError> {
        let name = zone.child("access").map_err(|_| AddressError::Host { text: zone.to_string() })?;
        Ok(Self { target: SocketTarget::new(name.as_str(), EDGE_PORT)?, name })
    }

    /// Reads `https://access.ZONE[:port]`, or `host:port` when the login host is known from elsewhere.
    pub fn parse(text: &str, login_host: Option<&Hostname>) -> Result<Self, AddressError> {
        if !text.contains("://") {
            let target: SocketTarget = text.parse()?;
            let name = match login_host {
                Some(name) => name.clone(),
                None => Hostname::parse(target.host()).map_err(|_| AddressError::NoName { text: text.to_owned() })?,
            };
            return Ok(Self { target, name });
        }
        let url = Url::parse(text).map_err(|_| AddressError::NotAnEdge { text: text.to_owned() })?;
        let plain = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
        if url.scheme() != "https" || !plain || !url.username().is_empty() || url.password().is_some() {
            return Err(AddressError::NotAnEdge { text: text.to_owned() });
        }
        let target = SocketTarget::from_url(&url, text, Some(EDGE_PORT))?;
        let name = match (Hostname::parse(target.host()), login_host) {
            (Ok(name), _) => name,
            (Err(_), Some(name)) => name.clone(),
            (Err(_), None) => return Err(AddressError::NoName { text: text.to_owned() }),
        };
        Ok(Self { target, name })
    }

    /// What to dial.
    pub const fn target(&self) -> &SocketTarget {
        &self.target
    }

    /// The name that the edge's certificate must carry, and that is sent as SNI.
    pub const fn name(&self) -> &Hostname {
        &self.name
    }

    /// The address as a URL of the login host.
    pub fn url(&self) -> String {
        format!("https://{}", self.authority())
    }

    /// The login host, with the port where it is not [`EDGE_PORT`]: what `Host` says.
    pub fn authority(&self) -> String {
        match self.target.port() {
            EDGE_PORT => self.name.to_string(),
            port => format!("{}:{port}", self.name),
        }
    }
}

impl fmt::Display for EdgeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.target, f)
    }
}

/// Why a text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// No port where one is needed.
    #[error("`{text}` names no port: write host:port")]
    NoPort {
        /// What was written.
        text: String,
    },
    /// Not a port from 1 to 65535.
    #[error("`{text}` is not a port: use 1 to 65535")]
    Port {
        /// What was written.
        text: String,
    },
    /// Neither a hostname nor an IP address.
    #[error("`{text}` is neither a hostname nor an IP address")]
    Host {
        /// What was written.
        text: String,
    },
    /// An edge given by IP address only, so that its certificate could not be checked.
    #[error("`{text}` is an IP address: give the edge by the name of its login host, https://access.ZONE[:port]")]
    NoName {
        /// What was written.
        text: String,
    },
    /// Not of the form of an edge's address.
    #[error("`{text}` is not an edge: write https://access.ZONE[:port] or host:port")]
    NotAnEdge {
        /// What was written.
        text: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_as_people_write_them() {
        for (text, host, port, again) in [
            ("localhost:3000", "localhost", 3000, "localhost:3000"),
            ("LOCALHOST:80", "localhost", 80, "localhost:80"),
            ("127.0.0.1:1", "127.0.0.1", 1, "127.0.0.1:1"),
            ("[::1]:65535", "::1", 65535, "[::1]:65535"),
            ("[0:0::1]:22", "::1", 22, "[::1]:22"),
        ] {
            let target: SocketTarget = text.parse().unwrap();
            assert_eq!((target.host(), target.port(), target.to_string().as_str()), (host, port, again));
        }
    }

    #[test]
    fn what_is_not_a_target_is_refused_by_name() {
        for text in
            ["", "localhost", "localhost:", "localhost:0", "localhost:65536", "::1:80", "[::1:80", "a b:80", ":80"]
        {
            assert!(text.parse::<SocketTarget>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_edge_is_dialled_where_it_says_and_named_by_its_login_host() {
        let known = Hostname::parse("access.example.com").unwrap();
        for (text, login_host, target, name) in [
            ("https://access.example.com", None, "access.example.com:443", "access.example.com"),
            ("https://access.localhost:8443/", None, "access.localhost:8443", "access.localhost"),
            ("access.example.com:7000", None, "access.example.com:7000", "access.example.com"),
            ("192.0.2.1:443", Some(&known), "192.0.2.1:443", "access.example.com"),
            ("https://192.0.2.1:8443", Some(&known), "192.0.2.1:8443", "access.example.com"),
        ] {
            let edge = EdgeAddress::parse(text, login_host).unwrap();
            assert_eq!((edge.target().to_string().as_str(), edge.name().as_str()), (target, name), "{text}");
        }
    }

    #[test]
    fn an_edge_that_could_not_be_verified_is_refused() {
        for text in [
            "192.0.2.1:443",
            "https://192.0.2.1",
            "http://access.example.com",
            "https://user@access.example.com",
            "https://access.example.com/x",
            "https://access.example.com?x",
            "access.example.com",
            "",
        ] {
            assert!(EdgeAddress::parse(text, None).is_err(), "{text}");
        }
    }
}
