//! The shape of `edge.toml`, before it is checked.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroUsize,
    ops::Range,
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;
use serde::Deserialize;
use tunnel_proto::{EmailAddress, Hostname, Name};
use url::Url;

use super::{
    CONNECTIONS, CONNECTIONS_LEAST, CONNECTIONS_MOST, CONNECTIONS_PER_NETWORK, CONNECTIONS_PER_NETWORK_MAX,
    CONNECTIONS_PER_NETWORK_MIN, CertificateFiles, Config, DRAIN_HTTP, DRAIN_MAX, DRAIN_TCP, MEMORY_MAX, MEMORY_MIN,
    RESPONSE_TIMEOUT, RESPONSE_TIMEOUT_MAX, Smtp, THREADS_MAX, Tls, acme::RawAcme, brand::RawBrand,
};
use crate::backup::{KEPT, KEPT_MAX};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConfig {
    zone: Hostname,
    #[serde(default = "https")]
    listen: Vec<SocketAddr>,
    #[serde(default)]
    http_listen: Vec<SocketAddr>,
    #[serde(default)]
    tunnel_listen: Vec<SocketAddr>,
    #[serde(default)]
    trusted_proxies: Vec<Network>,
    connections: Option<usize>,
    connections_per_network: Option<usize>,
    data_dir: Option<PathBuf>,
    backups: Option<usize>,
    database: Option<String>,
    response_timeout: Option<u64>,
    drain_http: Option<u64>,
    drain_tcp: Option<u64>,
    memory: Option<u64>,
    threads: Option<usize>,
    country_file: Option<PathBuf>,
    tls: RawTls,
    smtp: Option<RawSmtp>,
    #[serde(default)]
    admin: RawAdmin,
    #[serde(default)]
    brand: RawBrand,
}

/// A network, or an address that is a network of its own.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Network(IpNet);

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map(Self).map_err(|_| "neither an address nor a network such as 192.0.2.0/24".to_owned())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTls {
    mode: String,
    #[serde(default)]
    files: Vec<RawFiles>,
    email: Option<EmailAddress>,
    acme: Option<RawAcme>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFiles {
    cert: PathBuf,
    key: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSmtp {
    url: Url,
    password_file: Option<PathBuf>,
    from: String,
    ca_file: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAdmin {
    #[serde(default)]
    emails: Vec<EmailAddress>,
    #[serde(default)]
    login_methods: Vec<Name>,
    listen: Option<SocketAddr>,
}

fn https() -> Vec<SocketAddr> {
    vec![SocketAddr::from(([0, 0, 0, 0], 443)), SocketAddr::from(([0u16; 8], 443))]
}

/// Every key there is, for the suggestion.
const KEYS: [&str; 47] = [
    "zone",
    "listen",
    "http_listen",
    "tunnel_listen",
    "trusted_proxies",
    "connections",
    "connections_per_network",
    "data_dir",
    "backups",
    "database",
    "response_timeout",
    "drain_http",
    "drain_tcp",
    "memory",
    "threads",
    "country_file",
    "tls",
    "mode",
    "files",
    "cert",
    "key",
    "smtp",
    "url",
    "password_file",
    "from",
    "ca_file",
    "admin",
    "emails",
    "login_methods",
    "email",
    "brand",
    "name",
    "color",
    "logo",
    "logo_width",
    "language",
    "acme",
    "directory",
    "challenge",
    "dns",
    "server",
    "key_name",
    "key_file",
    "hook",
    "wait",
    "external_account",
    "key_id",
];

pub(super) type Invalid = (&'static str, String);

impl RawConfig {
    pub(super) fn parse(text: &str) -> Result<Self, ((usize, usize), String)> {
        toml::from_str(text).map_err(|error| {
            let span = error.span().unwrap_or_default();
            let message = explain(error.message());
            (
                place(text, span.start),
                subject(text, span, &message).map_or(message.clone(), |key| format!("{key}: {message}")),
            )
        })
    }

    pub(super) fn check(self, data_dir: Option<PathBuf>) -> Result<Config, Invalid> {
        let login_host = self.zone.child("access").map_err(|error| ("zone", error.to_string()))?;
        if self.zone.as_str() == "localhost" {
            let mend = "belongs to the quick start; run `edge` without `--config`, or name your own domain";
            return Err(("zone", format!("`localhost` {mend}")));
        }
        if self.database.is_some() {
            return Err(("database", "PostgreSQL is not built yet; leave the key out to use SQLite".to_owned()));
        }
        if self.admin.listen.is_some() {
            return Err(("admin.listen", "a listener of its own for administration is not built yet".to_owned()));
        }
        if self.listen.is_empty() {
            return Err(("listen", "name at least one address, for example \"0.0.0.0:443\"".to_owned()));
        }
        let response_timeout = match self.response_timeout {
            None => RESPONSE_TIMEOUT,
            Some(seconds @ 1..=RESPONSE_TIMEOUT_MAX) => Duration::from_secs(seconds),
            Some(_) => return Err(("response_timeout", format!("write seconds, from 1 to {RESPONSE_TIMEOUT_MAX}"))),
        };
        let backups = self.backups.unwrap_or(KEPT);
        if backups > KEPT_MAX {
            return Err(("backups", format!("write how many hourly copies are kept, from 0 to {KEPT_MAX}")));
        }
        let connections = connections(self.connections)?;
        let connections_per_network = connections_per_network(self.connections_per_network)?;
        let data_dir = data_dir.or(self.data_dir);
        let data_dir = data_dir.ok_or(("data_dir", "missing: name a directory, or give `--data-dir`".to_owned()))?;
        let tls = self.tls.check(&self.zone, !self.http_listen.is_empty())?;
        Ok(Config {
            zone: self.zone,
            login_host,
            quick_start: false,
            listen: self.listen,
            http_listen: self.http_listen,
            tunnel_listen: self.tunnel_listen,
            trusted_proxies: self.trusted_proxies.into_iter().map(|network| network.0).collect(),
            connections,
            connections_per_network,
            data_dir,
            backups,
            tls,
            smtp: self.smtp.map(RawSmtp::check).transpose()?,
            administrators: self.admin.emails,
            administrator_methods: self.admin.login_methods,
            response_timeout,
            drain_http: drain("drain_http", self.drain_http, DRAIN_HTTP)?,
            drain_tcp: drain("drain_tcp", self.drain_tcp, DRAIN_TCP)?,
            memory: self.memory.map(memory).transpose()?,
            threads: self.threads.map(threads).transpose()?,
            country_file: self.country_file,
            brand: self.brand.check()?,
        })
    }
}

fn drain(key: &'static str, seconds: Option<u64>, usual: Duration) -> Result<Duration, Invalid> {
    match seconds {
        None => Ok(usual),
        Some(seconds @ 1..=DRAIN_MAX) => Ok(Duration::from_secs(seconds)),
        Some(_) => Err((key, format!("write seconds, from 1 to {DRAIN_MAX}"))),
    }
}

fn connections(many: Option<usize>) -> Result<usize, Invalid> {
    let many = many.unwrap_or(CONNECTIONS);
    if (CONNECTIONS_LEAST..=CONNECTIONS_MOST).contains(&many) {
        return Ok(many);
    }
    let bounds = format!("from {CONNECTIONS_LEAST} to {CONNECTIONS_MOST}");
    Err(("connections", format!("write how many connections visitors may have open in all, {bounds}")))
}

fn connections_per_network(many: Option<usize>) -> Result<usize, Invalid> {
    let many = many.unwrap_or(CONNECTIONS_PER_NETWORK);
    if (CONNECTIONS_PER_NETWORK_MIN..=CONNECTIONS_PER_NETWORK_MAX).contains(&many) {
        return Ok(many);
    }
    let bounds = format!("from {CONNECTIONS_PER_NETWORK_MIN} to {CONNECTIONS_PER_NETWORK_MAX}");
    Err(("connections_per_network", format!("write how many connections an address may have open, {bounds}")))
}

fn memory(mebibytes: u64) -> Result<u64, Invalid> {
    let bytes = (MEMORY_MIN..=MEMORY_MAX).contains(&mebibytes).then(|| mebibytes.saturating_mul(1024 * 1024));
    bytes.ok_or_else(|| ("memory", format!("write MiB, from {MEMORY_MIN} to {MEMORY_MAX}")))
}

fn threads(many: usize) -> Result<NonZeroUsize, Invalid> {
    let many = NonZeroUsize::new(many).filter(|many| many.get() <= THREADS_MAX);
    many.ok_or_else(|| ("threads", format!("write how many threads connections have, from 1 to {THREADS_MAX}")))
}

impl RawTls {
    fn check(self, zone: &Hostname, plain: bool) -> Result<Tls, Invalid> {
        let mode = self.mode.as_str();
        if mode != "files" && !self.files.is_empty() {
            return Err(("tls.files", "only with `mode = \"files\"`".to_owned()));
        }
        if mode != "acme" && self.acme.is_some() {
            return Err(("tls.acme", "only with `mode = \"acme\"`".to_owned()));
        }
        match mode {
            "internal" => Ok(Tls::Internal),
            "files" if self.files.is_empty() => {
                Err(("tls.files", "missing: add `[[tls.files]]` with `cert` and `key`".to_owned()))
            }
            "files" => {
                let pair = |files: RawFiles| CertificateFiles { certificate: files.cert, key: files.key };
                Ok(Tls::Files(self.files.into_iter().map(pair).collect()))
            }
            "acme" => {
                let acme = self.acme.unwrap_or_default().check(self.email, zone, plain)?;
                Ok(Tls::Acme(Box::new(acme)))
            }
            other => Err(("tls.mode", format!("`{other}` is not a mode; use `acme`, `files` or `internal`"))),
        }
    }
}

impl RawSmtp {
    fn check(self) -> Result<Smtp, Invalid> {
        if !matches!(self.url.scheme(), "smtp" | "smtps") || self.url.host_str().is_none() {
            return Err(("smtp.url", "write `smtps://[user@]host[:port]`, or `smtp://…` for STARTTLS".to_owned()));
        }
        if self.url.password().is_some() {
            return Err(("smtp.url", "a password does not belong in the URL; put it into `password_file`".to_owned()));
        }
        Ok(Smtp { url: self.url, password_file: self.password_file, from: self.from, ca_file: self.ca_file })
    }
}

/// Adds the likely key to a message about an unknown one.
fn explain(message: &str) -> String {
    let Some(key) = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next()) else {
        return message.replace('\n', " ");
    };
    let likely = KEYS.iter().map(|known| (strsim::damerau_levenshtein(key, known), *known)).min();
    match likely.filter(|(distance, _)| *distance <= 2) {
        Some((_, known)) => format!("unknown key `{key}`; did you mean `{known}`?"),
        None => format!("unknown key `{key}`"),
    }
}

/// The key whose value is meant, with the value where it may be shown.
fn subject(text: &str, span: Range<usize>, message: &str) -> Option<String> {
    let line_start = text.get(..span.start)?.rfind('\n').map_or(0, |at| at.saturating_add(1));
    let (key, _) = text.get(line_start..)?.lines().next()?.split_once('=')?;
    let key = key.trim();
    let of_a_value = !["unknown key", "missing field", "duplicate key"].iter().any(|other| message.starts_with(other));
    if !of_a_value || !KEYS.contains(&key) {
        return None;
    }
    match text
        .get(span)
        .filter(|value| key != "url" && !value.is_empty() && value.len() <= VALUE_SHOWN_MAX && !value.contains('\n'))
    {
        Some(value) => Some(format!("`{key} = {value}`")),
        None => Some(format!("`{key}`")),
    }
}

/// The longest value that a message repeats, in bytes.
const VALUE_SHOWN_MAX: usize = 128;

/// Line and column, from 1, of a byte offset.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at.saturating_add(1));
    let column = before.get(line_start..).unwrap_or_default().chars().count();
    (before.matches('\n').count().saturating_add(1), column.saturating_add(1))
}
