//! Certificates for visitors by ACME (RFC 8555): which are wanted, kept and shown.
//!
//! A certificate is ordered because an application has the hostname, never because somebody asks for a name in a handshake.
//! Orders are made by a task of the edge (`acme/work.rs`), never by a connection. Which edge makes one is settled in the
//! store, where certificates are kept, their keys sealed.

mod account;
mod answers;
mod dns;
mod order;
mod plan;
mod update;
mod work;

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::sync::{Semaphore, watch};
use tokio_util::task::TaskTracker;
use tunnel_proto::{HostPattern, Hostname, UnixTime, identity::provider};

use crate::{
    Clock, Config, config,
    keys::Keys,
    store::{SecretHash, VisitorCertificate},
    tls::{ByName, Named, named_first},
};
use account::Accounts;
use dns::Records;

use answers::Answers;
pub(crate) use plan::renews;
pub(crate) use work::run;

/// What a handshake of the authority offers to speak (RFC 8737), and nothing else.
pub(crate) const ALPN_CHALLENGE: &[u8] = b"acme-tls/1";
/// How long a handshake waits for a certificate that is being ordered.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(3);
/// Handshakes that wait so at a time; more fail at once.
const WAITING_MAX: usize = 64;
/// How long the end of the edge waits until records of orders that were given up are removed.
const CLEAR_PATIENCE: Duration = Duration::from_secs(10);
/// The purpose for which keys of certificates are sealed.
const SEALED: &str = "visitor certificate";

/// Certificates by ACME: those there are, and what it takes to have more.
pub(crate) struct Acme {
    settings: config::Acme,
    zone: Hostname,
    login_host: Hostname,
    /// Whether plain HTTP is served.
    plain: bool,
    accounts: Accounts,
    records: Option<Arc<Records>>,
    clock: Clock,
    /// What the authority will look for.
    pub(crate) answers: Arc<Answers>,
    served: ArcSwap<ByName>,
    /// The names of the certificates that are wanted.
    wanted: ArcSwap<HashSet<HostPattern>>,
    /// What is being ordered here.
    ordering: watch::Sender<HashSet<HostPattern>>,
    waiting: Semaphore,
    /// Nothing more is ordered here: another process is about to.
    resting: AtomicBool,
    /// Orders that may have laid something out, and what takes it away after them.
    clearing: TaskTracker,
    /// By what the store knows this edge from others.
    claimant: SecretHash,
}

impl Acme {
    /// Reads the files that are named.
    pub(crate) fn new(config: &Config, settings: &config::Acme, clock: Clock) -> Result<Self, AcmeError> {
        Ok(Self {
            settings: settings.clone(),
            zone: config.zone.clone(),
            login_host: config.login_host.clone(),
            plain: !config.http_listen.is_empty(),
            accounts: Accounts::new(settings, clock.clone())?,
            records: settings.dns.as_ref().map(Records::new).transpose()?.map(Arc::new),
            clock,
            answers: Arc::default(),
            served: ArcSwap::default(),
            wanted: ArcSwap::default(),
            ordering: watch::Sender::default(),
            waiting: Semaphore::new(WAITING_MAX),
            resting: AtomicBool::new(false),
            clearing: TaskTracker::new(),
            claimant: crate::random(),
        })
    }

    /// Orders nothing more, and waits until what is being ordered is: of two processes with the same listeners, only one has
    /// what the authority will look for. False when that takes longer than `patience`.
    pub(crate) async fn rest(&self, patience: Duration) -> bool {
        self.resting.store(true, Relaxed);
        let mut ordering = self.ordering.subscribe();
        tokio::time::timeout(patience, ordering.wait_for(|names| names.is_empty())).await.is_ok()
    }

    /// Goes on ordering, after [`Acme::rest`].
    pub(crate) fn work(&self) {
        self.resting.store(false, Relaxed);
    }

    /// Waits until nothing is laid out any more, after the task that orders was ended; but not for ever.
    pub(crate) async fn cleared(&self) {
        self.clearing.close();
        if tokio::time::timeout(CLEAR_PATIENCE, self.clearing.wait()).await.is_err() {
            tracing::warn!("records of an order may be left (`_acme-challenge`): removing them took too long");
        }
    }

    /// Whose certificates are wanted.
    fn directory(&self) -> &str {
        self.settings.directory.as_str()
    }

    /// Shows visitors what is stored and good at `now`. What cannot be read is left out, and told; so is, untold, a name's own
    /// certificate from before it shared one: nobody renews it.
    pub(crate) fn serve(&self, stored: &[VisitorCertificate], keys: &Keys, now: UnixTime) {
        let mut opened = Vec::new();
        for certificate in stored {
            let Some(held) = certificate.held.as_ref().filter(|held| held.expires > now) else { continue };
            match open(&certificate.name, &held.chain, &held.sealed, keys) {
                Ok((names, key)) => opened.push((names, held.expires, key)),
                Err(reason) => {
                    tracing::error!(name = %certificate.name, reason, "a stored certificate is of no use");
                }
            }
        }
        let shared = opened.iter().filter(|(names, ..)| names.iter().any(|name| name.exact().is_none()));
        let shared: Vec<_> = shared.map(|(names, expires, _)| (names.as_slice(), *expires)).collect();
        let mut all = ByName::default();
        for (names, expires, key) in &opened {
            if !is_outlived(names, *expires, &shared) {
                all.insert(names.clone(), key.clone());
            }
        }
        self.served.store(Arc::new(all));
    }

    /// Whether a certificate for a host is wanted, and not there.
    pub(crate) fn lacks(&self, host: &Hostname) -> bool {
        self.served.load().find(host).is_none() && plan::wants(&self.wanted.load(), host)
    }

    /// Waits a short while when the certificate for a host is just being ordered.
    pub(crate) async fn ready(&self, host: &Hostname) {
        if self.served.load().find(host).is_some() {
            return;
        }
        let ordered = |names: &HashSet<HostPattern>| names.iter().any(|name| plan::covers(name, host));
        let mut ordering = self.ordering.subscribe();
        if !ordered(&ordering.borrow()) {
            return;
        }
        let Ok(_place) = self.waiting.try_acquire() else { return };
        tokio::time::timeout(HANDSHAKE_WAIT, ordering.wait_for(|names| !ordered(names))).await.ok();
    }
}

impl std::fmt::Debug for Acme {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acme").field("directory", &self.settings.directory.as_str()).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Acme {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match hello.server_name() {
            Some(name) => self.served.load().find(&Hostname::parse(name).ok()?),
            None => self.served.load().find(&self.login_host),
        }
    }
}

/// Whether one of the others is for all of these names, too, and good for longer.
fn is_outlived(names: &[HostPattern], expires: UnixTime, others: &[(&[HostPattern], UnixTime)]) -> bool {
    let are_for = |others: &[HostPattern], name: &HostPattern| {
        let host = name.exact();
        others.iter().any(|other| other == name || host.as_ref().is_some_and(|host| other.matches(host)))
    };
    others.iter().any(|(theirs, ends)| *ends > expires && names.iter().all(|name| are_for(theirs, name)))
}

/// The certificate that was stored under a name.
fn open(
    name: &HostPattern,
    chain: &str,
    sealed: &[u8],
    keys: &Keys,
) -> Result<(Vec<HostPattern>, Arc<CertifiedKey>), String> {
    let key = keys.open(SEALED, name.as_str().as_bytes(), sealed).map_err(|error| error.to_string())?;
    let key = PrivateKeyDer::Pkcs8(key.expose().to_vec().into());
    assemble(chain, key).map(|(first, key)| (first.names, key))
}

/// A chain (PEM) with its key, and what stands in it.
fn assemble(chain: &str, key: PrivateKeyDer<'static>) -> Result<(Named, Arc<CertifiedKey>), String> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| format!("not a chain of certificates: {error}"))?;
    let first = named_first(&chain)?;
    let key = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| format!("not its key: {error}"))?;
    Ok((first, Arc::new(key)))
}

/// Why certificates cannot be ordered as it is configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcmeError {
    /// A file cannot be read.
    #[error("`{key}`: `{path}` cannot be read: {source}", path = .path.display())]
    Unreadable {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A value or a file's content is of no use.
    #[error("`{key}`: {reason}")]
    Useless {
        /// The key of the configuration.
        key: &'static str,
        /// Why.
        reason: String,
    },
}

/// Reads a small text file that the configuration names.
fn read(key: &'static str, path: &Path) -> Result<zeroize::Zeroizing<String>, AcmeError> {
    let text = std::fs::read_to_string(path);
    text.map(Into::into).map_err(|source| AcmeError::Unreadable { key, path: path.to_owned(), source })
}

#[cfg(test)]
mod authority;
#[cfg(test)]
mod tests;
