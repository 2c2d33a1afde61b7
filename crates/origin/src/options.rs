//! How a service is reached, beyond its address: by which TLS, under which name, in which time.

use std::time::Duration;

use http::uri::Authority;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tunnel_proto::{
    HostPattern,
    message::{HttpOptions, LABEL_TEXT_MAX, ServiceKind},
};

use crate::service::Service;

/// How a service is reached, beyond its address. The default is what is right for most: certificates are verified by what
/// this machine trusts, for the name in the service's address, and HTTP/1.1 is spoken.
///
/// ```
/// # fn example(ca_pem: &str) -> Result<(), tunnel_origin::OptionsError> {
/// use tunnel_origin::ServiceOptions;
///
/// let options = ServiceOptions::new().ca_pool(ca_pem)?.server_name("nas.internal");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct ServiceOptions {
    pub(crate) ca_pool: Vec<CertificateDer<'static>>,
    pub(crate) unverified: bool,
    server_name: Option<String>,
    match_sni_to_host: bool,
    pub(crate) http2: bool,
    host_header: Option<String>,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) tls_timeout: Option<Duration>,
}

impl ServiceOptions {
    /// The default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts these certificates (PEM) as well as those that this machine trusts: of CAs, or the service's own. May be
    /// repeated.
    pub fn ca_pool(mut self, pem: &str) -> Result<Self, OptionsError> {
        let before = self.ca_pool.len();
        let mut judge = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate = certificate.map_err(|error| OptionsError::CaPool { reason: error.to_string() })?;
            judge.add(certificate.clone()).map_err(|error| OptionsError::CaPool { reason: error.to_string() })?;
            self.ca_pool.push(certificate);
        }
        match self.ca_pool.len() > before {
            true => Ok(self),
            false => Err(OptionsError::CaPool { reason: "there is no certificate in it".to_owned() }),
        }
    }

    /// Believes whatever certificate the service shows. Whoever can put themselves between this machine and the service can
    /// read and change everything. Said in the log when a connector starts.
    pub fn danger_no_tls_verify(mut self) -> Self {
        self.unverified = true;
        self
    }

    /// The name that the service is asked for (SNI) and that its certificate has to carry, instead of the one in its
    /// address. An IP address is one of the certificate's addresses, and is not asked for.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Asks the service for the hostname of the rule, which its certificate then has to carry.
    pub fn match_sni_to_host(mut self) -> Self {
        self.match_sni_to_host = true;
        self
    }

    /// Speaks HTTP/2 to the service and nothing else: agreed upon in the TLS handshake, or without asking where there is no
    /// TLS. gRPC needs it.
    pub fn http2(mut self) -> Self {
        self.http2 = true;
        self
    }

    /// The `Host` that the service sees instead of the visitor's.
    pub fn host_header(mut self, host: impl Into<String>) -> Self {
        self.host_header = Some(host.into());
        self
    }

    /// How long the service may take to accept a connection, instead of the connector's
    /// [limit](crate::Builder::service_connect_limit).
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = Some(limit);
        self
    }

    /// How long the TLS handshake may take after that; [`SERVICE_TLS_LIMIT`](crate::SERVICE_TLS_LIMIT) by default.
    pub fn tls_timeout(mut self, limit: Duration) -> Self {
        self.tls_timeout = Some(limit);
        self
    }

    /// Whether these options make sense for `service`, published at `hostname`. A connector checks it when it starts.
    pub fn check(&self, hostname: &HostPattern, service: &Service) -> Result<(), OptionsError> {
        let is_web = service.kind() == ServiceKind::Http;
        let is_handler = matches!(service, Service::Handler { .. });
        for (is_set, fits, option, needed) in [
            (!self.ca_pool.is_empty(), service.has_tls(), "ca_pool (--origin-ca-pool)", TLS),
            (self.unverified, service.has_tls(), "no_tls_verify (--no-tls-verify)", TLS),
            (self.server_name.is_some(), service.has_tls(), "server_name (--origin-server-name)", TLS),
            (self.match_sni_to_host, service.has_tls(), "match_sni_to_host (--match-sni-to-host)", TLS),
            (self.tls_timeout.is_some(), service.has_tls(), "tls_timeout (--proxy-tls-timeout)", TLS),
            (self.host_header.is_some(), is_web, "host_header (--http-host-header)", WEB),
            (self.http2, is_web && !is_handler, "http2 (--http2-origin)", WEB_SERVER),
            (self.connect_timeout.is_some(), !is_handler, "connect_timeout (--proxy-connect-timeout)", DIALLED),
        ] {
            if is_set && !fits {
                return Err(OptionsError::Unfit { option, service: service.to_string(), needed });
            }
        }
        if self.unverified && !self.ca_pool.is_empty() {
            return Err(OptionsError::Both {
                one: "no_tls_verify (--no-tls-verify)",
                other: "ca_pool (--origin-ca-pool)",
            });
        }
        if self.match_sni_to_host && self.server_name.is_some() {
            return Err(OptionsError::Both {
                one: "match_sni_to_host (--match-sni-to-host)",
                other: "server_name (--origin-server-name)",
            });
        }
        for (limit, option) in [(self.connect_timeout, "connect_timeout"), (self.tls_timeout, "tls_timeout")] {
            if limit.is_some_and(|limit| limit.is_zero()) {
                return Err(OptionsError::NoTime { option });
            }
        }
        if let Some(host) = self.host_header.as_deref().filter(|host| !is_host(host)) {
            return Err(OptionsError::HostHeader { host: host.to_owned() });
        }
        self.tls_name(hostname, service).map(drop)
    }

    /// The name in the certificate of `service`, if it has one.
    pub(crate) fn tls_name(
        &self,
        hostname: &HostPattern,
        service: &Service,
    ) -> Result<Option<ServerName<'static>>, OptionsError> {
        let of_rule = || hostname.exact().map(|hostname| hostname.to_string());
        let name = match (service, &self.server_name) {
            (service, _) if !service.has_tls() => return Ok(None),
            (_, Some(name)) => name.clone(),
            _ if self.match_sni_to_host => {
                of_rule().ok_or_else(|| OptionsError::Wildcard { hostname: hostname.clone() })?
            }
            (Service::Https(target), None) => target.host().to_owned(),
            // A socket has no name; it stands for what is published.
            _ => of_rule().ok_or_else(|| OptionsError::Nameless { hostname: hostname.clone() })?,
        };
        ServerName::try_from(name.clone()).map(Some).map_err(|_| OptionsError::ServerName { name })
    }

    /// What streams of `service` carry towards the edge.
    pub(crate) const fn kind(&self, service: &Service) -> ServiceKind {
        if self.http2 { ServiceKind::H2c } else { service.kind() }
    }

    /// What the edge is told about `service`.
    pub(crate) fn http(&self, service: &Service) -> HttpOptions {
        HttpOptions { host_header: self.host_header.clone(), tls: service.has_tls() }
    }
}

const TLS: &str = "belongs to services with TLS: https://HOST:PORT or unix+tls:/PATH";
const WEB: &str = "belongs to web services";
const WEB_SERVER: &str = "belongs to web servers: http://HOST:PORT, https://HOST:PORT, unix:/PATH or unix+tls:/PATH";
const DIALLED: &str = "belongs to services that are connected to";

/// Whether `host` is a host with or without a port.
fn is_host(host: &str) -> bool {
    let plain = host.len() <= LABEL_TEXT_MAX && !host.contains('@');
    plain && host.parse::<Authority>().is_ok_and(|authority| !authority.host().is_empty())
}

/// Why options cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// An option that means nothing for such a service.
    #[error("the option {option} {needed}; `{service}` is none")]
    Unfit {
        /// The option, with the flag of the program.
        option: &'static str,
        /// The service.
        service: String,
        /// Where the option belongs.
        needed: &'static str,
    },
    /// Two options of which one makes the other meaningless.
    #[error("the options {one} and {other} exclude each other: leave one of them out")]
    Both {
        /// One.
        one: &'static str,
        /// The other.
        other: &'static str,
    },
    /// No time at all.
    #[error("the option {option} leaves no time: give some, for example 30 s")]
    NoTime {
        /// The option.
        option: &'static str,
    },
    /// Not a host.
    #[error("`{host}` is not a Host: write a hostname, with a port or without")]
    HostHeader {
        /// What was written.
        host: String,
    },
    /// Not a name for a certificate.
    #[error("`{name}` is neither a hostname nor an IP address, which a certificate could carry")]
    ServerName {
        /// What was written.
        name: String,
    },
    /// The hostname of the rule shall be asked for, and it stands for many.
    #[error(
        "`{hostname}` stands for many hostnames, so that there is no one to ask the service for: publish each of them by \
         itself, or say which with the option server_name (--origin-server-name)"
    )]
    Wildcard {
        /// The hostname of the rule.
        hostname: HostPattern,
    },
    /// A socket with TLS, published at a hostname that stands for many.
    #[error(
        "`{hostname}` stands for many hostnames, and a socket has no name of its own: say which name its certificate carries \
         with the option server_name (--origin-server-name)"
    )]
    Nameless {
        /// The hostname of the rule.
        hostname: HostPattern,
    },
    /// The certificates to trust are none.
    #[error("the certificates to trust cannot be used: {reason}")]
    CaPool {
        /// What is wrong with them.
        reason: String,
    },
    /// Neither this machine nor the options say whom to trust.
    #[error(
        "the certificates that this machine trusts cannot be used: {reason}; install them (ca-certificates), or give those of \
         the service with the option ca_pool (--origin-ca-pool)"
    )]
    System {
        /// What is wrong with them.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(options: &ServiceOptions, hostname: &str, service: &str) -> Result<(), String> {
        let checked = options.check(&hostname.parse().unwrap(), &service.parse().unwrap());
        checked.map_err(|error| error.to_string())
    }

    fn name(options: &ServiceOptions, hostname: &str, service: &str) -> Option<String> {
        let name = options.tls_name(&hostname.parse().unwrap(), &service.parse().unwrap()).unwrap();
        name.map(|name| name.to_str().into_owned())
    }

    #[test]
    fn a_service_proves_to_be_whom_its_address_names_unless_told_otherwise() {
        let plain = ServiceOptions::new();
        let told = ServiceOptions::new().server_name("nas.internal");
        let matched = ServiceOptions::new().match_sni_to_host();
        assert_eq!(name(&plain, "www.example.com", "http://localhost"), None);
        for (options, hostname, service, expected) in [
            (&plain, "www.example.com", "https://nas.lan:8443", "nas.lan"),
            (&plain, "*.example.com", "https://nas.lan", "nas.lan"),
            (&plain, "www.example.com", "https://192.168.1.5", "192.168.1.5"),
            (&plain, "www.example.com", "https://[fd00::1]:1", "fd00::1"),
            (&plain, "www.example.com", "unix+tls:/x", "www.example.com"),
            (&told, "*.example.com", "unix+tls:/x", "nas.internal"),
            (&told, "www.example.com", "https://192.168.1.5", "nas.internal"),
            (&matched, "www.example.com", "https://192.168.1.5", "www.example.com"),
        ] {
            assert_eq!(name(options, hostname, service).as_deref(), Some(expected), "{service} at {hostname}");
            assert_eq!(checked(options, hostname, service), Ok(()), "{service} at {hostname}");
        }
    }

    #[test]
    fn what_means_nothing_for_the_service_is_refused_by_name() {
        let pool = rcgen::generate_simple_self_signed(["x.example.com".to_owned()]).unwrap().cert.pem();
        let new = ServiceOptions::new;
        let second = Duration::from_secs(1);
        for (options, hostname, service, part) in [
            (new().danger_no_tls_verify(), "a.example.com", "http://localhost:1", "--no-tls-verify"),
            (new().ca_pool(&pool).unwrap(), "a.example.com", "unix:/x", "--origin-ca-pool"),
            (new().server_name("x"), "a.example.com", "tcp://localhost:1", "--origin-server-name"),
            (new().match_sni_to_host(), "a.example.com", "http_status:404", "--match-sni-to-host"),
            (new().tls_timeout(second), "a.example.com", "http://localhost", "--proxy-tls-timeout"),
            (new().http2(), "a.example.com", "ssh://localhost", "--http2-origin"),
            (new().http2(), "a.example.com", "hello_world", "--http2-origin"),
            (new().host_header("x"), "a.example.com", "rdp://localhost", "--http-host-header"),
            (new().connect_timeout(second), "a.example.com", "hello_world", "--proxy-connect-timeout"),
            (new().connect_timeout(Duration::ZERO), "a.example.com", "http://localhost", "no time"),
            (new().host_header("a b"), "a.example.com", "http://localhost", "`a b`"),
            (new().host_header("me@x"), "a.example.com", "http://localhost", "`me@x`"),
            (new().host_header(""), "a.example.com", "http://localhost", "not a Host"),
            (new().server_name("a b"), "a.example.com", "https://localhost", "`a b`"),
            (new().match_sni_to_host(), "*.example.com", "https://localhost", "`*.example.com`"),
            (new(), "*.example.com", "unix+tls:/x", "--origin-server-name"),
            (new().match_sni_to_host().server_name("x"), "a.example.com", "https://localhost", "exclude"),
            (new().ca_pool(&pool).unwrap().danger_no_tls_verify(), "a.example.com", "https://x", "exclude"),
        ] {
            let message = checked(&options, hostname, service).unwrap_err();
            assert!(message.contains(part), "{service} at {hostname}: {message}");
        }
        assert!(checked(&new().host_header("a.example.com:8080").http2(), "a.example.com", "unix:/x").is_ok());
    }

    #[test]
    fn what_is_no_certificate_is_not_trusted() {
        for text in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(matches!(ServiceOptions::new().ca_pool(text), Err(OptionsError::CaPool { .. })), "{text}");
        }
    }

    #[test]
    fn http_2_is_announced_as_such_and_the_host_for_the_service_as_well() {
        let options = ServiceOptions::new().http2().host_header("nas.internal");
        assert_eq!(options.kind(&"https://localhost".parse().unwrap()), ServiceKind::H2c);
        assert_eq!(ServiceOptions::new().kind(&"https://localhost".parse().unwrap()), ServiceKind::Http);
        let told = |service: &str| options.http(&service.parse().unwrap());
        assert_eq!(told("https://localhost").host_header.as_deref(), Some("nas.internal"));
        assert!(told("https://localhost").tls && !told("http://localhost").tls);
    }
}
