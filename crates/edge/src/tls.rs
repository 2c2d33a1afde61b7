//! Certificates for visitors and for links.

use std::{
    collections::HashMap,
    fs,
    path::PathBuf,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use moka::sync::Cache;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tunnel_proto::{
    HostPattern, Hostname, UnixTime,
    identity::{ALPN_ACCESS, Ca, CaError, provider},
};
use x509_parser::{extensions::GeneralName, parse_x509_certificate};

use crate::{State, config::CertificateFiles};

/// Certificates of the internal CA that are kept ready.
const READY_MAX: u64 = 4096;
/// How long one is used; it is good for 90 days.
const READY_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);

/// The configuration for visitors: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1, no early data.
pub(crate) fn for_visitors(certificates: Arc<dyn ResolvesServerCert>) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.max_early_data_size = 0;
    Ok(config)
}

/// The configuration for links of access clients: TLS 1.3, the certificates that browsers get, and no early data.
pub(crate) fn for_access(certificates: Arc<dyn ResolvesServerCert>) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![ALPN_ACCESS.to_vec()];
    config.max_early_data_size = 0;
    Ok(config)
}

/// One certificate, whatever the name: the login host's, for links. Renewed long before it ends.
#[derive(Debug)]
pub(crate) struct Fixed {
    certificate: ArcSwap<CertifiedKey>,
    made: AtomicU64,
}

impl Fixed {
    pub(crate) fn new(ca: &Ca, host: &Hostname, now: UnixTime) -> Result<Self, CaError> {
        let certificate = ArcSwap::from_pointee(ca.server_certificate(&[host.clone().into()], now)?);
        Ok(Self { certificate, made: AtomicU64::new(now.0) })
    }

    /// Makes the next certificate when this one has been used for [`READY_LIFE`].
    pub(crate) fn refresh(&self, ca: &Ca, host: &Hostname, now: UnixTime) -> Result<(), CaError> {
        if now.since(UnixTime(self.made.load(Relaxed))) < READY_LIFE {
            return Ok(());
        }
        self.certificate.store(Arc::new(ca.server_certificate(&[host.clone().into()], now)?));
        self.made.store(now.0, Relaxed);
        tracing::info!("the certificate for links is renewed");
        Ok(())
    }
}

impl ResolvesServerCert for Fixed {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.certificate.load_full())
    }
}

/// Certificates by the edge's own CA, made when a name is first asked for: names of the zone, and those that an
/// application has. Other names get no handshake.
pub(crate) struct Internal {
    state: Weak<State>,
    ready: Cache<Hostname, Arc<CertifiedKey>>,
}

impl std::fmt::Debug for Internal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Internal").finish_non_exhaustive()
    }
}

impl Internal {
    pub(crate) fn new(state: Weak<State>) -> Self {
        Self { state, ready: Cache::builder().max_capacity(READY_MAX).time_to_live(READY_LIFE).build() }
    }
}

impl ResolvesServerCert for Internal {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let state = self.state.upgrade()?;
        let host = match hello.server_name() {
            Some(name) => Hostname::parse(name).ok()?,
            None => state.config.login_host.clone(),
        };
        if let Some(ready) = self.ready.get(&host) {
            return Some(ready);
        }
        if !serves(&state, &host) {
            return None;
        }
        let made = state.ca.server_certificate(&[host.clone().into()], state.now());
        let made = made.inspect_err(|error| tracing::error!(%error, %host, "a certificate cannot be made")).ok()?;
        let made = Arc::new(made);
        self.ready.insert(host, made.clone());
        Some(made)
    }
}

/// Whether the edge has anything to say about a host: it is of the zone, or an application names it.
pub(crate) fn serves(state: &State, host: &Hostname) -> bool {
    host.is_within(&state.config.zone) || {
        let snapshot = state.snapshot.load();
        let mut targets = snapshot.policies.applications().flat_map(|app| &app.targets);
        targets.any(|target| target.host.matches(host))
    }
}

/// Certificates from files, by the names in them.
#[derive(Debug, Default)]
pub(crate) struct Files {
    exact: HashMap<Hostname, Arc<CertifiedKey>>,
    patterns: Vec<(HostPattern, Arc<CertifiedKey>)>,
    first: Option<Arc<CertifiedKey>>,
}

impl Files {
    pub(crate) fn load(files: &[CertificateFiles]) -> Result<Self, CertificateError> {
        let mut all = Self::default();
        for pair in files {
            let (names, key) = load(pair)?;
            all.first.get_or_insert_with(|| key.clone());
            for name in names {
                match name.exact() {
                    Some(host) => drop(all.exact.insert(host, key.clone())),
                    None => all.patterns.push((name, key.clone())),
                }
            }
        }
        Ok(all)
    }
}

impl ResolvesServerCert for Files {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let Some(name) = hello.server_name() else { return self.first.clone() };
        let host = Hostname::parse(name).ok()?;
        let by_pattern = || self.patterns.iter().find(|(pattern, _)| pattern.matches(&host)).map(|(_, key)| key);
        self.exact.get(&host).or_else(by_pattern).cloned()
    }
}

fn load(files: &CertificateFiles) -> Result<(Vec<HostPattern>, Arc<CertifiedKey>), CertificateError> {
    let read =
        |path: &PathBuf| fs::read(path).map_err(|source| CertificateError::Unreadable { path: path.clone(), source });
    let useless = |path: &PathBuf, reason: String| CertificateError::Useless { path: path.clone(), reason };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(&files.certificate)?)
        .collect::<Result<_, _>>()
        .map_err(|error| useless(&files.certificate, error.to_string()))?;
    let leaf = chain.first().ok_or_else(|| useless(&files.certificate, "no certificate in it".to_owned()))?;
    let (_, parsed) =
        parse_x509_certificate(leaf).map_err(|_| useless(&files.certificate, "not a certificate".to_owned()))?;
    let alternatives = parsed.subject_alternative_name().ok().flatten();
    let names: Vec<HostPattern> = alternatives
        .iter()
        .flat_map(|names| &names.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => name.parse().ok(),
            _ => None,
        })
        .collect();
    if names.is_empty() {
        return Err(useless(&files.certificate, "names no host (subject alternative name)".to_owned()));
    }
    let key =
        PrivateKeyDer::from_pem_slice(&read(&files.key)?).map_err(|error| useless(&files.key, error.to_string()))?;
    let key = CertifiedKey::from_der(chain, key, &provider())
        .map_err(|error| useless(&files.key, format!("not the key of `{}`: {error}", files.certificate.display())))?;
    Ok((names, Arc::new(key)))
}

/// Why a certificate from a file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The file cannot be read.
    #[error("`{path}` cannot be read: {source}", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file holds something else.
    #[error("`{path}`: {reason}", path = .path.display())]
    Useless {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}
