//! What an edge process is started with: `edge.toml`, checked once, or the quick start's own values.

mod acme;
mod brand;
mod raw;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::IpNet;
use tunnel_proto::{EmailAddress, Hostname, Name};
use url::Url;

use crate::backup::KEPT;

pub use self::brand::Brand;
use self::raw::RawConfig;

pub use self::acme::{Acme, ChallengeKind, DIRECTORY, DNS_WAIT, Dns, DnsBy, ExternalAccount};

/// A checked configuration: nothing in it is invalid.
#[derive(Clone, Debug)]
pub struct Config {
    /// The domain whose names the edge serves.
    pub zone: Hostname,
    /// Where people log in and links arrive: `access.ZONE`.
    pub login_host: Hostname,
    /// Whether this is the quick start: zone `localhost`, loopback only, plain HTTP served.
    pub quick_start: bool,
    /// Listeners for HTTPS and links.
    pub listen: Vec<SocketAddr>,
    /// Listeners for plain HTTP: redirects, except in the quick start.
    pub http_listen: Vec<SocketAddr>,
    /// Further listeners for links.
    pub tunnel_listen: Vec<SocketAddr>,
    /// Peers that may say where a request came from (`X-Forwarded-For`).
    pub trusted_proxies: Vec<IpNet>,
    /// How many connections visitors may have open at a time in all, as far as the system gives descriptors.
    pub connections: usize,
    /// How many connections visitors of one network may have open at a time: an IPv4 address, or what one customer has of IPv6.
    pub connections_per_network: usize,
    /// Where state is kept.
    pub data_dir: PathBuf,
    /// How many hourly copies of the database are kept; none are made when it is 0.
    pub backups: usize,
    /// Where certificates for visitors come from.
    pub tls: Tls,
    /// The mail server.
    pub smtp: Option<Smtp>,
    /// Administrators by configuration.
    pub administrators: Vec<EmailAddress>,
    /// The login methods by which administrators log in; any when there is none.
    pub administrator_methods: Vec<Name>,
    /// How long a service may take until the head of its answer.
    pub response_timeout: Duration,
    /// How long HTTP requests and WebSockets may go on in a process that was replaced.
    pub drain_http: Duration,
    /// How long other streams may.
    pub drain_tcp: Duration,
    /// How much memory this process is to make do with, in bytes, beside what the system limits.
    pub memory: Option<u64>,
    /// How many threads whoever starts the edge gives to its connections ([`Edge::start_on`]), if not as many as usual. The edge
    /// itself starts none.
    ///
    /// [`Edge::start_on`]: crate::Edge::start_on
    pub threads: Option<NonZeroUsize>,
    /// Which country an address is in: a file in MaxMind's format.
    pub country_file: Option<PathBuf>,
    /// What pages and mails show of the operator.
    pub brand: Brand,
}

/// Where certificates for visitors come from.
#[derive(Clone, Debug)]
pub enum Tls {
    /// The edge's own CA.
    Internal,
    /// Files: certificate chain and key, PEM.
    Files(Vec<CertificateFiles>),
    /// An authority that gives certificates by ACME.
    Acme(Box<Acme>),
}

/// A certificate chain and its key.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// The mail server.
#[derive(Clone, Debug)]
pub struct Smtp {
    /// `smtps://[user@]host[:port]` or `smtp://…` (STARTTLS required, except to loopback).
    pub url: Url,
    /// The file that holds the password.
    pub password_file: Option<PathBuf>,
    /// The sender, for example `Access <no-reply@example.com>`.
    pub from: String,
    /// Further certificates (PEM) that the mail server's may be signed by.
    pub ca_file: Option<PathBuf>,
}

/// The quick start's HTTPS port.
pub const QUICK_HTTPS: u16 = 8443;
/// The quick start's plain HTTP port.
pub const QUICK_HTTP: u16 = 8080;
/// How long a service may take until the head of its answer.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);
/// The most that `response_timeout` may be, in seconds: an hour, after which nobody waits.
pub const RESPONSE_TIMEOUT_MAX: u64 = 3600;
/// How long HTTP requests and WebSockets may go on in a process that was replaced.
pub const DRAIN_HTTP: Duration = Duration::from_secs(600);
/// How long other streams may.
pub const DRAIN_TCP: Duration = Duration::from_secs(24 * 3600);
/// The most that either may be, in seconds: a week.
pub const DRAIN_MAX: u64 = 7 * 24 * 3600;
/// Visitors' connections at a time, over all listeners. One on which nothing is asked takes some sixty KiB, one of somebody who
/// means it badly a MiB, which is why there are no more where nobody says so.
pub const CONNECTIONS: usize = 8192;
/// The least that may be, and the most: as many descriptors as a program seldom gets.
pub const CONNECTIONS_LEAST: usize = 256;
/// See [`CONNECTIONS_LEAST`].
pub const CONNECTIONS_MOST: usize = 65_536;
/// Visitors' connections from one network at a time.
pub const CONNECTIONS_PER_NETWORK: usize = 512;
/// The least that may be: what the browsers of one household have open.
pub const CONNECTIONS_PER_NETWORK_MIN: usize = 32;
/// The most that may be, for a /48 of IPv6 as well: half of all there are, so that no network has every place. Where the system
/// gives fewer descriptors, a network has no more than half of the places that these leave, whatever is configured.
pub const CONNECTIONS_PER_NETWORK_MAX: usize = 4096;
/// The least that `memory` may be, in MiB: below, an edge with nothing to do would be short of it.
pub const MEMORY_MIN: u64 = 128;
/// The most that it may be, in MiB: a pebibyte.
pub const MEMORY_MAX: u64 = 1 << 30;
/// The most that `threads` may be: each listener wakes all of them for each connection.
pub const THREADS_MAX: usize = 256;
/// The largest configuration file, in bytes.
pub const CONFIG_MAX: u64 = 1024 * 1024;

impl Config {
    /// The quick start: zone `localhost` on loopback, state in `data_dir`.
    pub fn quick_start(data_dir: PathBuf, administrators: Vec<EmailAddress>) -> Self {
        let zone = Hostname::parse("localhost").expect("a hostname");
        let login_host = Hostname::parse("access.localhost").expect("a hostname");
        let both = |port| vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()];
        Self {
            zone,
            login_host,
            quick_start: true,
            listen: both(QUICK_HTTPS),
            http_listen: both(QUICK_HTTP),
            tunnel_listen: Vec::new(),
            trusted_proxies: Vec::new(),
            connections: CONNECTIONS,
            connections_per_network: CONNECTIONS_PER_NETWORK,
            data_dir,
            backups: KEPT,
            tls: Tls::Internal,
            smtp: None,
            administrators,
            administrator_methods: Vec::new(),
            response_timeout: RESPONSE_TIMEOUT,
            drain_http: DRAIN_HTTP,
            drain_tcp: DRAIN_TCP,
            memory: None,
            threads: None,
            country_file: None,
            brand: Brand::default(),
        }
    }

    /// Reads and checks a configuration file. `data_dir` overrides the file's.
    pub fn load(path: &Path, data_dir: Option<PathBuf>) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
        let length = std::fs::metadata(path).map_err(unreadable)?.len();
        if length > CONFIG_MAX {
            return Err(ConfigError::TooLarge { path: path.to_owned() });
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        Self::parse(&text, path, data_dir)
    }

    /// Checks the text of a configuration file; `path` is named in errors.
    pub fn parse(text: &str, path: &Path, data_dir: Option<PathBuf>) -> Result<Self, ConfigError> {
        let raw = RawConfig::parse(text).map_err(|(place, reason)| ConfigError::Syntax {
            path: path.to_owned(),
            line: place.0,
            column: place.1,
            reason,
        })?;
        let invalid = |key: &'static str, reason: String| ConfigError::Invalid { path: path.to_owned(), key, reason };
        raw.check(data_dir).map_err(|(key, reason)| invalid(key, reason))
    }

    /// Whether it can be told in which country an address is: by a file.
    pub const fn has_countries(&self) -> bool {
        self.country_file.is_some()
    }

    /// What assertions name as their issuer: `https://access.ZONE[:port]`.
    pub fn issuer(&self) -> String {
        format!("https://{}", self.with_port(&self.login_host, self.https_port(), 443))
    }

    /// The port of the first HTTPS listener.
    pub fn https_port(&self) -> u16 {
        self.listen.first().map_or(443, SocketAddr::port)
    }

    /// The base address that visitors use, with `HOST` where the hostname goes: plain HTTP in the quick start.
    pub fn visit(&self) -> String {
        if self.quick_start {
            let port = self.http_listen.first().map_or(80, SocketAddr::port);
            format!("http://{}", self.with_port("HOST", port, 80))
        } else {
            format!("https://{}", self.with_port("HOST", self.https_port(), 443))
        }
    }

    /// The address of `path` on `host`, as [`Config::visit`] has it.
    pub fn visit_url(&self, host: &Hostname, path: &str) -> String {
        format!("{}{path}", self.visit().replacen("HOST", host.as_str(), 1))
    }

    fn with_port(&self, host: impl std::fmt::Display, port: u16, default: u16) -> String {
        if port == default { host.to_string() } else { format!("{host}:{port}") }
    }

    /// The visitor's address: the peer's, or, from a trusted proxy, the last address in `X-Forwarded-For` that is not one.
    /// What stands left of something that is no address (`None`) is nobody's word: then it is the peer's.
    pub fn source(&self, peer: IpAddr, forwarded: impl DoubleEndedIterator<Item = Option<IpAddr>>) -> IpAddr {
        let trusted = |address: &IpAddr| self.trusted_proxies.iter().any(|range| range.contains(address));
        let peer = peer.to_canonical();
        if !trusted(&peer) {
            return peer;
        }
        let mut nearest_first = forwarded.map(|address| address.map(|address| address.to_canonical())).rev();
        nearest_first.find(|address| !address.as_ref().is_some_and(trusted)).flatten().unwrap_or(peer)
    }
}

/// Why a configuration is not usable. Each names the file and what to change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration `{path}` cannot be read: {source}", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is larger than any sensible one.
    #[error("configuration `{path}` is larger than {CONFIG_MAX} bytes", path = .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is not TOML, or has a key that there is not.
    #[error("{path}:{line}:{column}: {reason}", path = .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What is wrong.
        reason: String,
    },
    /// A value makes no sense.
    #[error("{path}: `{key}`: {reason}", path = .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// What is wrong, and the mend.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("edge.toml"), None).map_err(|error| error.to_string())
    }

    const GOOD: &str =
        "zone = \"example.test\"\nlisten = [\"127.0.0.1:8443\"]\ndata_dir = \"/tmp/x\"\n[tls]\nmode = \"internal\"\n";

    #[test]
    fn a_small_configuration_is_enough() {
        let config = parse(GOOD).unwrap();
        assert_eq!(config.login_host.as_str(), "access.example.test");
        assert_eq!(config.issuer(), "https://access.example.test:8443");
        assert!(!config.quick_start);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_place_and_the_likely_one() {
        let error = parse(&format!("{GOOD}[admin]\nemials = []\n")).unwrap_err();
        assert!(error.starts_with("edge.toml:7:1:"), "{error}");
        assert!(error.contains("`emials`") && error.contains("did you mean `emails`?"), "{error}");
    }

    #[test]
    fn how_long_a_replaced_process_goes_on_is_configured_in_bounds() {
        let config = parse(GOOD).unwrap();
        assert_eq!((config.drain_http.as_secs(), config.drain_tcp.as_secs()), (600, 86_400));
        let config = parse(&GOOD.replace("[tls]", "drain_http = 5\ndrain_tcp = 604800\n[tls]")).unwrap();
        assert_eq!((config.drain_http.as_secs(), config.drain_tcp.as_secs()), (5, 604_800));
        for wrong in ["drain_http = 0", "drain_tcp = 604801"] {
            let error = parse(&GOOD.replace("[tls]", &format!("{wrong}\n[tls]"))).unwrap_err();
            assert!(error.contains("from 1 to 604800"), "{error}");
        }
    }

    // F18
    #[test]
    fn how_many_backups_are_kept_is_configured_in_bounds() {
        assert_eq!(parse(GOOD).unwrap().backups, 24);
        for (written, kept) in [("backups = 0", 0), ("backups = 168", 168)] {
            assert_eq!(parse(&GOOD.replace("[tls]", &format!("{written}\n[tls]"))).unwrap().backups, kept);
        }
        let error = parse(&GOOD.replace("[tls]", "backups = 1001\n[tls]")).unwrap_err();
        assert!(error.contains("from 0 to 1000"), "{error}");
    }

    // H13
    #[test]
    fn how_many_connections_there_may_be_in_all_is_configured_in_bounds() {
        assert_eq!(parse(GOOD).unwrap().connections, 8192);
        let written = |number: &str| parse(&GOOD.replace("[tls]", &format!("connections = {number}\n[tls]")));
        for (number, many) in [("256", 256), ("10000", 10_000), ("65536", 65_536)] {
            assert_eq!(written(number).unwrap().connections, many);
        }
        for wrong in ["0", "255", "65537"] {
            let error = written(wrong).unwrap_err();
            assert!(error.contains("`connections`") && error.contains("from 256 to 65536"), "{error}");
        }
    }

    // H13
    #[test]
    fn how_many_connections_a_network_may_have_is_configured_in_bounds() {
        assert_eq!(parse(GOOD).unwrap().connections_per_network, 512);
        let written =
            |number: &str| parse(&GOOD.replace("[tls]", &format!("connections_per_network = {number}\n[tls]")));
        for (number, many) in [("32", 32), ("4096", 4096)] {
            assert_eq!(written(number).unwrap().connections_per_network, many);
        }
        for wrong in ["0", "31", "4097"] {
            let error = written(wrong).unwrap_err();
            assert!(error.contains("`connections_per_network`") && error.contains("from 32 to 4096"), "{error}");
        }
    }

    // F21
    #[test]
    fn memory_is_configured_in_mebibytes_and_in_bounds() {
        assert_eq!(parse(GOOD).unwrap().memory, None);
        let config = parse(&GOOD.replace("[tls]", "memory = 512\n[tls]")).unwrap();
        assert_eq!(config.memory, Some(512 * 1024 * 1024));
        for wrong in ["memory = 127", "memory = 1073741825"] {
            let error = parse(&GOOD.replace("[tls]", &format!("{wrong}\n[tls]"))).unwrap_err();
            assert!(error.contains("from 128 to 1073741824"), "{error}");
        }
    }

    #[test]
    fn how_many_threads_connections_have_is_configured_in_bounds() {
        assert_eq!(parse(GOOD).unwrap().threads, None, "as many as usual");
        let written = |number: &str| parse(&GOOD.replace("[tls]", &format!("threads = {number}\n[tls]")));
        for (number, many) in [("1", 1), ("256", 256)] {
            assert_eq!(written(number).unwrap().threads.map(NonZeroUsize::get), Some(many));
        }
        for wrong in ["0", "257"] {
            let error = written(wrong).unwrap_err();
            assert!(error.contains("`threads`") && error.contains("from 1 to 256"), "{error}");
        }
    }

    #[test]
    fn administrators_may_be_held_to_some_login_methods() {
        assert!(parse(GOOD).unwrap().administrator_methods.is_empty(), "any");
        let config = parse(&format!("{GOOD}[admin]\nlogin_methods = [\"entra\", \"passkey\"]\n")).unwrap();
        assert_eq!(config.administrator_methods.iter().map(Name::as_str).collect::<Vec<_>>(), ["entra", "passkey"]);
        assert!(parse(&format!("{GOOD}[admin]\nlogin_methods = [\"No name\"]\n")).is_err());
    }

    // A2
    #[test]
    fn a_brand_is_a_name_a_colour_a_logo_and_a_language_and_nothing_that_adds_to_the_stylesheet() {
        assert_eq!(parse(GOOD).unwrap().brand, Brand::default());
        let all = "[brand]\nname = \"例えば社\"\ncolor = \"#7c3AED\"\nlogo = \"/etc/tunnel/logo.svg\"\nlogo_width = \"7.5rem\"\nlanguage = \"ja\"\ncontact = \"help@example.com\"\n";
        let brand = parse(&format!("{GOOD}{all}")).unwrap().brand;
        assert_eq!((brand.name.as_deref(), brand.language), (Some("例えば社"), crate::Lang::Ja));
        assert_eq!(brand.contact.map(|contact| contact.to_string()).as_deref(), Some("help@example.com"));
        assert!(parse(&format!("{GOOD}[brand]\ncontact = \"nobody\"\n")).is_err());
        for (key, value) in [
            ("name", ""),
            ("name", " x"),
            ("name", "x\\ny"),
            ("color", "7c3aed"),
            ("color", "#7c3ae"),
            ("color", "#7c3aed;}"),
            ("color", "red"),
            ("logo_width", "7"),
            ("logo_width", "7px"),
            ("logo_width", "0rem"),
            ("logo_width", "13rem"),
            ("logo_width", "1e1rem"),
            ("logo_width", "1;rem"),
            ("language", "fr"),
            ("language", "EN"),
        ] {
            let error = parse(&format!("{GOOD}[brand]\n{key} = \"{value}\"\n")).unwrap_err();
            assert!(error.contains(&format!("brand.{key}")), "{error}");
        }
        let error = parse(&format!("{GOOD}[brand]\ncolour = \"#7c3aed\"\n")).unwrap_err();
        assert!(error.contains("did you mean `color`?"), "{error}");
    }

    #[test]
    fn what_is_not_built_yet_is_refused_by_name() {
        let error = parse(&GOOD.replace("[tls]", "database = \"postgres://x\"\n[tls]")).unwrap_err();
        assert!(error.contains("database") && error.contains("not built yet"), "{error}");
    }

    #[test]
    fn only_a_trusted_proxy_says_where_a_request_came_from() {
        // H7
        let mut config = parse(GOOD).unwrap();
        let (peer, visitor, other) =
            ("10.0.0.1".parse().unwrap(), "203.0.113.9".parse().unwrap(), "8.8.8.8".parse().unwrap());
        assert_eq!(config.source(peer, [Some(visitor)].into_iter()), peer);
        config.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
        assert_eq!(config.source(peer, [Some(other), Some(visitor), Some(peer)].into_iter()), visitor);
        assert_eq!(
            config.source(peer, [Some(visitor), None, Some(peer)].into_iter()),
            peer,
            "left of what is no address"
        );
        assert_eq!(config.source(other, [Some(visitor)].into_iter()), other);
        assert_eq!(config.source("::ffff:10.0.0.1".parse().unwrap(), [Some(visitor)].into_iter()), visitor);
    }
}
