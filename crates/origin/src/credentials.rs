//! What a connector proves itself with, and when that is renewed.

use std::{fmt, io, sync::Arc, time::Duration};

use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, pem::PemObject},
};
use tunnel_proto::{
    Hostname, UnixTime,
    identity::{CONNECTOR_DAYS, CertRole, PeerError, TlsError, link_client_config, peer_identity},
};
use zeroize::Zeroizing;

/// A certificate of the edge's CA, its private key, and the CA: all that a link needs.
#[derive(Clone)]
pub struct Credentials {
    zone: Hostname,
    ca_pem: Arc<str>,
    certificate_pem: Arc<str>,
    key_pem: Arc<Zeroizing<String>>,
    role: CertRole,
    expires: UnixTime,
}

impl Credentials {
    /// Credentials within `zone`, from PEM texts. Fails unless they can be used together.
    pub fn new(
        zone: Hostname,
        ca_pem: &str,
        certificate_pem: &str,
        key_pem: Zeroizing<String>,
    ) -> Result<Self, CredentialsError> {
        link_client_config(ca_pem, certificate_pem, &key_pem)?;
        let der = CertificateDer::from_pem_slice(certificate_pem.as_bytes()).map_err(|_| TlsError::Certificate)?;
        let identity = peer_identity(&zone, &der)?;
        Ok(Self {
            zone,
            ca_pem: ca_pem.into(),
            certificate_pem: certificate_pem.into(),
            key_pem: Arc::new(key_pem),
            role: identity.role,
            expires: identity.expires,
        })
    }

    /// The zone of the edge.
    pub const fn zone(&self) -> &Hostname {
        &self.zone
    }

    /// The edge's own CA (PEM).
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The certificate (PEM).
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The private key (PEM). Keep it where only its owner can read it.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// Whom the certificate names.
    pub const fn role(&self) -> CertRole {
        self.role
    }

    /// When the certificate ends.
    pub const fn expires(&self) -> UnixTime {
        self.expires
    }

    /// How long from `now` until the certificate has lived half its life and should be renewed.
    pub(crate) fn renewal_due_in(&self, now: UnixTime) -> Duration {
        self.expires.since(now).saturating_sub(HALF_LIFE)
    }

    pub(crate) fn client_config(&self) -> Result<ClientConfig, TlsError> {
        link_client_config(&self.ca_pem, &self.certificate_pem, &self.key_pem)
    }
}

const HALF_LIFE: Duration = Duration::from_secs(CONNECTOR_DAYS * 24 * 3600 / 2);

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("role", &self.role).field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// Why credentials cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// A part cannot be read, or the parts do not go together.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The certificate names nobody in this zone.
    #[error(transparent)]
    Peer(#[from] PeerError),
}

/// Keeps renewed credentials, so that the next start of the program has them.
pub trait CredentialStore: Send + Sync + 'static {
    /// Replaces what was kept before, whole. Called off the runtime's threads for tasks, so it may block.
    fn store(&self, credentials: &Credentials) -> io::Result<()>;
}

impl<S: CredentialStore + ?Sized> CredentialStore for Arc<S> {
    fn store(&self, credentials: &Credentials) -> io::Result<()> {
        (**self).store(credentials)
    }
}

#[cfg(test)]
mod tests {
    use tunnel_proto::{
        TunnelId,
        identity::{Ca, KeyAndCsr},
    };

    use super::*;

    const DAY: u64 = 24 * 3600;

    fn issue(zone: &str, now: UnixTime) -> (Ca, String, Zeroizing<String>) {
        let ca = Ca::generate(&Hostname::parse(zone).unwrap(), now).unwrap();
        let key = KeyAndCsr::generate().unwrap();
        let role = CertRole::Connector(TunnelId::from_random([7; 16]));
        let certificate = ca.issue(&key.csr_pem, role, now).unwrap().certificate_pem;
        (ca, certificate, key.key_pem)
    }

    #[test]
    fn renewal_is_due_at_half_the_life_of_the_certificate() {
        let now = UnixTime(1_790_000_000);
        let (ca, certificate, key) = issue("example.com", now);
        let zone = Hostname::parse("example.com").unwrap();
        let credentials = Credentials::new(zone, ca.certificate_pem(), &certificate, key).unwrap();
        let days = |days: u64| UnixTime(now.0 + days * DAY);
        assert_eq!(credentials.renewal_due_in(now), Duration::from_secs(15 * DAY));
        assert_eq!(credentials.renewal_due_in(days(14)), Duration::from_secs(DAY));
        assert_eq!(credentials.renewal_due_in(days(15)), Duration::ZERO);
        assert_eq!(credentials.renewal_due_in(days(40)), Duration::ZERO);
    }

    #[test]
    fn parts_that_do_not_go_together_are_refused() {
        let now = UnixTime(1_790_000_000);
        let (ca, certificate, key) = issue("example.com", now);
        let (_, _, other_key) = issue("example.com", now);
        let zone = Hostname::parse("example.com").unwrap();
        let make = |ca: &str, certificate: &str, key: &Zeroizing<String>| {
            Credentials::new(zone.clone(), ca, certificate, key.clone())
        };
        let ca = ca.certificate_pem();
        assert!(make(ca, &certificate, &key).is_ok());
        assert!(matches!(make("", &certificate, &key), Err(CredentialsError::Tls(TlsError::Ca))));
        assert!(matches!(make(ca, "", &key), Err(CredentialsError::Tls(TlsError::Certificate))));
        assert!(matches!(make(ca, &certificate, &other_key), Err(CredentialsError::Tls(TlsError::Pair(_)))));
        let elsewhere = Hostname::parse("example.org").unwrap();
        let error = Credentials::new(elsewhere, ca, &certificate, key.clone()).unwrap_err();
        assert!(matches!(error, CredentialsError::Peer(PeerError::Name)));
        let shown = format!("{:?}", make(ca, &certificate, &key).unwrap());
        assert!(!shown.contains("PRIVATE"), "{shown}");
    }
}
