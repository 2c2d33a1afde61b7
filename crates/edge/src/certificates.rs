//! What visitors are shown: by the edge's own CA, from files, or by ACME.

use std::{
    path::PathBuf,
    sync::{Arc, Weak},
};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, pem::PemObject as _},
    server::ResolvesServerCert,
};
use serde::{Deserialize, Serialize};
use tunnel_proto::{HostPattern, UnixTime};

use crate::{
    Clock, Config, State,
    acme::{self, Acme},
    config::Tls,
    edge::StartError,
    listen::Challenges,
    socket::{Answer, problem},
    store::{Store, VisitorCertificate},
    tls,
};

/// Where certificates for visitors come from, as it is configured.
pub struct Certificates(pub(crate) Source);

/// The three ways.
pub(crate) enum Source {
    /// The edge's own CA.
    Internal,
    /// Files.
    Files(Arc<tls::Files>),
    /// An authority.
    Acme(Arc<Acme>),
}

impl Certificates {
    /// Reads what the configuration names.
    pub(crate) fn load(config: &Config, clock: Clock) -> Result<Self, StartError> {
        Ok(Self(match &config.tls {
            Tls::Internal => Source::Internal,
            Tls::Files(files) => Source::Files(Arc::new(tls::Files::load(files)?)),
            Tls::Acme(settings) => Source::Acme(Arc::new(Acme::new(config, settings, clock)?)),
        }))
    }

    /// Chooses the certificate for a handshake.
    pub(crate) fn resolver(&self, state: Weak<State>) -> Arc<dyn ResolvesServerCert> {
        match &self.0 {
            Source::Internal => Arc::new(tls::Internal::new(state)),
            Source::Files(files) => files.clone(),
            Source::Acme(acme) => acme.clone(),
        }
    }

    /// The certificates by ACME, if that is where they come from.
    pub(crate) fn acme(&self) -> Option<&Arc<Acme>> {
        match &self.0 {
            Source::Acme(acme) => Some(acme),
            _ => None,
        }
    }

    /// What handshakes of an authority, and those that come too early, need.
    pub(crate) fn challenges(&self) -> Result<Option<Challenges>, rustls::Error> {
        let challenges = |acme: &Arc<Acme>| {
            let tls: Arc<ServerConfig> = Arc::new(tls::for_challenges(acme.answers.clone())?);
            Ok(Challenges { acme: acme.clone(), tls })
        };
        self.acme().map(challenges).transpose()
    }

    /// The certificates there are. None are listed of the edge's own CA, which makes them when they are asked for.
    pub(crate) fn list(&self, stored: &[VisitorCertificate]) -> Vec<CertificateStatus> {
        match &self.0 {
            Source::Internal => Vec::new(),
            Source::Files(files) => {
                files.each().into_iter().zip(files.faults()).map(|(one, fault)| of_file(one, fault)).collect()
            }
            Source::Acme(_) => stored.iter().map(of_store).collect(),
        }
    }
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let source = match &self.0 {
            Source::Internal => "internal",
            Source::Files(_) => "files",
            Source::Acme(_) => "acme",
        };
        f.debug_tuple("Certificates").field(&source).finish()
    }
}

/// A certificate for visitors as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// The names it is for, or will be.
    pub names: Vec<HostPattern>,
    /// The file it is read from, if it is.
    pub file: Option<PathBuf>,
    /// Who signed it; nothing while there is none.
    pub issuer: Option<String>,
    /// From when it is good.
    pub since: Option<UnixTime>,
    /// Until when it is good.
    pub until: Option<UnixTime>,
    /// When it is renewed or, after a failure, tried again. Files are renewed by somebody else.
    pub next: Option<UnixTime>,
    /// Why it could not be had, the last time; of a file, why what lies in its place now is not shown.
    pub error: Option<String>,
}

/// The certificate that is to be renewed now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewCertificate {
    /// Its first name, as it is listed.
    pub name: HostPattern,
}

/// Has a certificate by ACME renewed by whatever edge looks next.
pub(crate) async fn renew(store: &dyn Store, request: &RenewCertificate) -> Answer<()> {
    let renewed = store.renew_visitor_certificate(&request.name).await;
    if renewed.map_err(|error| problem("internal", error.to_string()))? {
        return Ok(());
    }
    let text =
        format!("there is no certificate by ACME for `{}`; `edge admin certificate list` names them", request.name);
    Err(problem("unknown_certificate", text))
}

/// A certificate that is kept, or wished for.
pub(crate) fn of_store(stored: &VisitorCertificate) -> CertificateStatus {
    let held = stored.held.as_ref();
    let leaf = held.and_then(|held| CertificateDer::from_pem_slice(held.chain.as_bytes()).ok());
    let named = leaf.and_then(|leaf| tls::named(&leaf).ok());
    let renewed = held.map(|held| acme::renews(&stored.name, held.issued, held.expires, None));
    let again = (stored.failures > 0).then_some(stored.next);
    CertificateStatus {
        names: named.as_ref().map_or_else(|| vec![stored.name.clone()], |named| named.names.clone()),
        file: None,
        issuer: named.map(|named| named.issuer),
        since: held.map(|held| held.issued),
        until: held.map(|held| held.expires),
        next: again.or(renewed),
        error: stored.error.clone(),
    }
}

fn of_file((path, named): (PathBuf, tls::Named), fault: Option<String>) -> CertificateStatus {
    CertificateStatus {
        names: named.names,
        file: Some(path),
        issuer: Some(named.issuer),
        since: Some(named.begins),
        until: Some(named.ends),
        next: None,
        error: fault,
    }
}
