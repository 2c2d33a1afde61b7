//! The hostname of an application, as a person writes it.

use std::{fmt, str::FromStr};

use tunnel_proto::{
    Hostname,
    dial::{EDGE_PORT, EdgeAddress, SocketTarget},
};
use url::Url;

use crate::error::Error;

/// Where an application is: a hostname, and the port of the edge that serves it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AppHost {
    hostname: Hostname,
    port: Option<u16>,
}

impl AppHost {
    /// The hostname.
    pub const fn hostname(&self) -> &Hostname {
        &self.hostname
    }

    /// The port, where one was written.
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// This host, with `port` where none was written.
    #[must_use]
    pub fn or_port(self, port: u16) -> Self {
        Self { port: self.port.or(Some(port)), ..self }
    }

    /// Where it is asked for: at the edge that is known, or where its name leads to.
    pub(crate) fn address(&self, edge: Option<&EdgeAddress>) -> Result<EdgeAddress, Error> {
        let target = match edge {
            Some(edge) => edge.target().clone(),
            None => SocketTarget::new(self.hostname.as_str(), self.port.unwrap_or(EDGE_PORT))
                .map_err(|error| Error::Usage { what: error.to_string() })?,
        };
        Ok(EdgeAddress::new(target, self.hostname.clone()))
    }
}

impl FromStr for AppHost {
    type Err = Error;

    /// Reads `db.example.com`, `db.example.com:8443` or `https://db.example.com[:8443]/…`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let bad =
            || Error::Usage { what: format!("`{text}` is not the hostname of an application: write db.example.com") };
        let whole = match text.contains("://") {
            true => text.to_owned(),
            false => format!("https://{text}"),
        };
        let url = Url::parse(&whole).map_err(|_| bad())?;
        if url.scheme() != "https" || !url.username().is_empty() || url.password().is_some() {
            return Err(bad());
        }
        let hostname = Hostname::parse(url.host_str().ok_or_else(bad)?).map_err(|_| bad())?;
        if hostname.as_str().parse::<std::net::IpAddr>().is_ok() {
            return Err(bad());
        }
        Ok(Self { hostname, port: url.port() })
    }
}

impl fmt::Display for AppHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.hostname),
            None => self.hostname.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_as_people_write_them() {
        for (text, shown) in [
            ("db.example.com", "db.example.com"),
            ("DB.example.com:8443", "db.example.com:8443"),
            ("https://db.example.com/some/path", "db.example.com"),
            ("https://db.example.com:8443", "db.example.com:8443"),
            ("db.example.com:443", "db.example.com"),
        ] {
            assert_eq!(text.parse::<AppHost>().unwrap().to_string(), shown);
        }
        for text in ["", "http://db.example.com", "https://a:b@db.example.com", "192.0.2.1", "[::1]:443", "a b", "-"] {
            assert!(text.parse::<AppHost>().is_err(), "{text}");
        }
    }
}
