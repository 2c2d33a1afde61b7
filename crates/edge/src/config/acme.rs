//! `[tls.acme]`: where certificates are ordered, and how the edge proves that a name is its own.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;
use tunnel_proto::{EmailAddress, Hostname};
use url::Url;

/// Let's Encrypt.
pub const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// How long after a record was made the authority is told of it, unless it is configured.
pub const DNS_WAIT: Duration = Duration::from_secs(10);
/// The longest such time, in seconds.
const DNS_WAIT_MAX: u64 = 600;

/// An authority that gives certificates by ACME (RFC 8555).
#[derive(Clone, Debug)]
pub struct Acme {
    /// Whom the authority may write to.
    pub email: Option<EmailAddress>,
    /// Where it is.
    pub directory: Url,
    /// Further certificates (PEM) that the authority's own server may be signed by. With it the authority may be at a private
    /// address.
    pub ca_file: Option<PathBuf>,
    /// The one challenge that is answered; without it, those that can be.
    pub challenge: Option<ChallengeKind>,
    /// How records are made.
    pub dns: Option<Dns>,
    /// The account at the authority that ours is bound to.
    pub external_account: Option<ExternalAccount>,
}

/// How it is proven that a name is the edge's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChallengeKind {
    /// By a certificate on port 443 (RFC 8737).
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    /// By a file on port 80.
    #[serde(rename = "http-01")]
    Http01,
    /// By a record in the zone.
    #[serde(rename = "dns-01")]
    Dns01,
}

impl ChallengeKind {
    /// Its name, as RFC 8555 and RFC 8737 have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Http01 => "http-01",
            Self::Dns01 => "dns-01",
        }
    }
}

/// How TXT records are made.
#[derive(Clone, Debug)]
pub struct Dns {
    /// By whom.
    pub by: DnsBy,
    /// How long after that the authority is told.
    pub wait: Duration,
}

/// Who makes TXT records.
#[derive(Clone, Debug)]
pub enum DnsBy {
    /// A name server, asked by dynamic update (RFC 2136).
    Update {
        /// `HOST:PORT`.
        server: String,
        /// The zone that is updated.
        zone: Hostname,
        /// The name of the key (TSIG, HMAC-SHA-256).
        key_name: String,
        /// The file with the key.
        key_file: PathBuf,
    },
    /// A program.
    Hook {
        /// Its path.
        program: PathBuf,
        /// What comes before our own arguments.
        arguments: Vec<String>,
    },
}

/// External account binding (RFC 8555 §7.3.4).
#[derive(Clone, Debug)]
pub struct ExternalAccount {
    /// The id of the key.
    pub key_id: String,
    /// The file with the key, in base64url.
    pub key_file: PathBuf,
}

/// `[tls.acme]`, before it is checked.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAcme {
    directory: Option<Url>,
    ca_file: Option<PathBuf>,
    challenge: Option<ChallengeKind>,
    dns: Option<RawDns>,
    external_account: Option<RawExternalAccount>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDns {
    server: Option<String>,
    zone: Option<Hostname>,
    key_name: Option<String>,
    key_file: Option<PathBuf>,
    hook: Option<Vec<String>>,
    wait: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawExternalAccount {
    key_id: String,
    key_file: PathBuf,
}

impl RawAcme {
    pub(super) fn check(
        self,
        email: Option<EmailAddress>,
        zone: &Hostname,
        plain: bool,
    ) -> Result<Acme, super::raw::Invalid> {
        let directory = match self.directory {
            Some(directory) => directory,
            None => Url::parse(DIRECTORY).expect("an address"),
        };
        if directory.scheme() != "https" || directory.host_str().is_none() {
            return Err(("tls.acme.directory", "write an address that begins with https://".to_owned()));
        }
        let dns = self.dns.map(|dns| dns.check(zone)).transpose()?;
        match self.challenge {
            Some(ChallengeKind::Dns01) if dns.is_none() => {
                return Err(("tls.acme.challenge", "`dns-01` needs `[tls.acme.dns]`; add it".to_owned()));
            }
            Some(ChallengeKind::Http01) if !plain => {
                return Err(("tls.acme.challenge", "`http-01` needs `http_listen`; add it, on port 80".to_owned()));
            }
            Some(other) if other != ChallengeKind::Dns01 && dns.is_some() => {
                let reason = format!(
                    "only with `challenge = \"dns-01\"`, or without `challenge`, not with `{}`",
                    other.as_str()
                );
                return Err(("tls.acme.dns", reason));
            }
            _ => {}
        }
        let external = |raw: RawExternalAccount| ExternalAccount { key_id: raw.key_id, key_file: raw.key_file };
        Ok(Acme {
            email,
            directory,
            ca_file: self.ca_file,
            challenge: self.challenge,
            dns,
            external_account: self.external_account.map(external),
        })
    }
}

impl RawDns {
    fn check(self, zone: &Hostname) -> Result<Dns, super::raw::Invalid> {
        let wait = match self.wait {
            None => DNS_WAIT,
            Some(seconds @ 0..=DNS_WAIT_MAX) => Duration::from_secs(seconds),
            Some(_) => return Err(("tls.acme.dns.wait", format!("write seconds, from 0 to {DNS_WAIT_MAX}"))),
        };
        let by = match (self.hook, self.server) {
            (Some(_), Some(_)) => {
                return Err(("tls.acme.dns", "either `hook` or `server`, not both".to_owned()));
            }
            (None, None) => {
                let mend = "write `server`, `key_name` and `key_file`, or `hook = [\"/path/command\"]`";
                return Err(("tls.acme.dns", format!("says nothing of who makes records; {mend}")));
            }
            (Some(words), None) => {
                if self.zone.is_some() || self.key_name.is_some() || self.key_file.is_some() {
                    return Err(("tls.acme.dns", "`zone`, `key_name` and `key_file` belong to `server`".to_owned()));
                }
                let mut words = words.into_iter();
                let program = words.next().map(PathBuf::from).filter(|program| program.is_absolute());
                let mend = "write the absolute path of a program first, then its arguments, if any";
                let program = program.ok_or_else(|| ("tls.acme.dns.hook", mend.to_owned()))?;
                DnsBy::Hook { program, arguments: words.collect() }
            }
            (None, Some(server)) => {
                let missing = |key| (key, "missing: updates are signed (TSIG, hmac-sha256)".to_owned());
                DnsBy::Update {
                    server: with_port(&server)
                        .ok_or_else(|| ("tls.acme.dns.server", "write HOST, HOST:PORT or [IPV6]:PORT".to_owned()))?,
                    zone: self.zone.unwrap_or_else(|| zone.clone()),
                    key_name: self.key_name.ok_or_else(|| missing("tls.acme.dns.key_name"))?,
                    key_file: self.key_file.ok_or_else(|| missing("tls.acme.dns.key_file"))?,
                }
            }
        };
        Ok(Dns { by, wait })
    }
}

/// `HOST:PORT` of what was written, on the port of DNS when none is named.
fn with_port(text: &str) -> Option<String> {
    if text.parse::<std::net::SocketAddr>().is_ok() {
        return Some(text.to_owned());
    }
    if let Ok(address) = text.parse::<std::net::IpAddr>() {
        return Some(std::net::SocketAddr::new(address, 53).to_string());
    }
    let (host, port) = text.split_once(':').unwrap_or((text, "53"));
    let host = Hostname::parse(host).ok()?;
    Some(format!("{host}:{}", port.parse::<u16>().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Tls};

    fn acme(rest: &str) -> Result<Acme, String> {
        let text = format!(
            "zone = \"example.test\"\ndata_dir = \"/tmp/x\"\nlisten = [\"127.0.0.1:443\"]\n[tls]\nmode = \"acme\"\n{rest}"
        );
        let config =
            Config::parse(&text, std::path::Path::new("edge.toml"), None).map_err(|error| error.to_string())?;
        match config.tls {
            Tls::Acme(acme) => Ok(*acme),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn nothing_more_is_needed_than_the_mode() {
        let acme = acme("email = \"admin@example.test\"\n").unwrap();
        assert_eq!(acme.directory.as_str(), DIRECTORY);
        assert_eq!(acme.email.unwrap().as_str(), "admin@example.test");
        assert!(acme.challenge.is_none() && acme.dns.is_none() && acme.external_account.is_none());
    }

    #[test]
    fn records_are_made_by_a_server_or_by_a_program() {
        let text = "[tls.acme.dns]\nserver = \"192.0.2.53\"\nkey_name = \"edge\"\nkey_file = \"/k\"\n";
        let Some(Dns { by: DnsBy::Update { server, zone, .. }, wait }) = acme(text).unwrap().dns else { panic!() };
        assert_eq!((server.as_str(), zone.as_str(), wait), ("192.0.2.53:53", "example.test", DNS_WAIT));
        let text = "[tls.acme.dns]\nhook = [\"/usr/bin/hook\", \"-v\"]\nwait = 0\n";
        let Some(Dns { by: DnsBy::Hook { program, arguments }, wait }) = acme(text).unwrap().dns else { panic!() };
        assert_eq!((program, arguments, wait), ("/usr/bin/hook".into(), vec!["-v".to_owned()], Duration::ZERO));
    }

    #[test]
    fn what_cannot_work_is_refused_by_its_key() {
        let update = "server = \"ns.example.test\"\nkey_name = \"edge\"\nkey_file = \"/k\"\n";
        for (text, key) in [
            ("[tls.acme]\ndirectory = \"http://ca.example.test/\"\n".to_owned(), "tls.acme.directory"),
            ("[tls.acme]\nchallenge = \"dns-01\"\n".to_owned(), "tls.acme.challenge"),
            ("[tls.acme]\nchallenge = \"http-01\"\n".to_owned(), "tls.acme.challenge"),
            ("[tls.acme]\nchallenge = \"dns-02\"\n".to_owned(), "challenge"),
            (format!("[tls.acme]\nchallenge = \"tls-alpn-01\"\n[tls.acme.dns]\n{update}"), "tls.acme.dns"),
            ("[tls.acme.dns]\n".to_owned(), "tls.acme.dns"),
            (format!("[tls.acme.dns]\nhook = [\"/h\"]\n{update}"), "tls.acme.dns"),
            ("[tls.acme.dns]\nhook = []\n".to_owned(), "tls.acme.dns.hook"),
            ("[tls.acme.dns]\nhook = [\"hook\"]\n".to_owned(), "tls.acme.dns.hook"),
            ("[tls.acme.dns]\nserver = \"ns.example.test\"\n".to_owned(), "tls.acme.dns.key_name"),
            (format!("[tls.acme.dns]\nwait = 601\n{update}"), "tls.acme.dns.wait"),
            (format!("[tls.acme.dns]\n{}", update.replace("ns.example.test", "no server")), "tls.acme.dns.server"),
            ("[tls.acme]\ndirectroy = \"https://ca.example.test/\"\n".to_owned(), "did you mean `directory`"),
            ("email = \"nobody\"\n".to_owned(), "email"),
        ] {
            let error = acme(&text).map(|_| ()).unwrap_err();
            assert!(error.contains(key), "{text}: {error}");
        }
    }
}
