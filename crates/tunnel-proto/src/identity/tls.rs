//! The TLS of links: version 1.3, both sides with certificates of the installation's CA, nothing resumed.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig,
    SignatureScheme,
    client::{Resumption, WebPkiServerVerifier, danger::HandshakeSignatureValid},
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
    server::{
        NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    version::TLS13,
};

use super::{ALPN_LINK, Ca, peer_identity, provider};
use crate::Hostname;

/// The edge's side of a link. A client certificate of the CA is required; sessions are not resumed, since resuming would
/// skip its verification; there is no early data.
///
/// A certificate that [`peer_identity`] would not read is refused in the handshake already. Read the peer with it
/// afterwards, and look its serial up among the revoked.
pub fn link_server_config(ca: &Ca, certificate: Arc<dyn ResolvesServerCert>) -> Result<ServerConfig, TlsError> {
    let roots = roots(ca.certificate_der().clone())?;
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build().map_err(|_| TlsError::Ca)?;
    let verifier = Arc::new(OneOfOurs { zone: ca.zone().clone(), inner: verifier });
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![ALPN_LINK.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    // Records are sealed by `crate::tls`.
    config.enable_secret_extraction = true;
    Ok(config)
}

/// The other side: trusts the installation's CA and no other, and shows its own certificate. The name to connect with is
/// the edge's login host, `access.ZONE`.
pub fn link_client_config(ca_pem: &str, certificate_pem: &str, key_pem: &str) -> Result<ClientConfig, TlsError> {
    let ca = CertificateDer::from_pem_slice(ca_pem.as_bytes()).map_err(|_| TlsError::Ca)?;
    let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes()).map_err(|_| TlsError::Certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|_| TlsError::Key)?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots(ca)?), provider())
        .build()
        .map_err(|_| TlsError::Ca)?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_webpki_verifier(verifier)
        .with_client_auth_cert(vec![certificate], key)
        .map_err(TlsError::Pair)?;
    config.alpn_protocols = vec![ALPN_LINK.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    // Records are sealed by `crate::tls`.
    config.enable_secret_extraction = true;
    Ok(config)
}

/// Whether the handshake agreed on a link. A peer that names no protocol at all is let through by TLS; both sides ask this.
pub fn speaks_link(alpn: Option<&[u8]>) -> bool {
    alpn == Some(ALPN_LINK)
}

/// Asks more than that the CA signed: directly, and for somebody of this zone.
#[derive(Debug)]
struct OneOfOurs {
    zone: Hostname,
    inner: Arc<dyn ClientCertVerifier>,
}

impl ClientCertVerifier for OneOfOurs {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        // The path length in the CA's own certificate is not looked at by the verifier: it trusts a key, not a certificate.
        if !intermediates.is_empty() {
            return Err(CertificateError::UnknownIssuer.into());
        }
        let verified = self.inner.verify_client_cert(certificate, intermediates, now)?;
        peer_identity(&self.zone, certificate).map_err(|_| CertificateError::ApplicationVerificationFailure)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

fn roots(ca: CertificateDer<'static>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add(ca).map_err(|_| TlsError::Ca)?;
    Ok(roots)
}

/// Why the TLS of a link could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The CA's certificate cannot be read or trusted.
    #[error("the edge's CA certificate cannot be used")]
    Ca,
    /// The own certificate cannot be read.
    #[error("the certificate cannot be read")]
    Certificate,
    /// The own key cannot be read.
    #[error("the private key cannot be read")]
    Key,
    /// The own certificate and key do not go together.
    #[error("the certificate and the private key cannot be used together")]
    Pair(#[source] rustls::Error),
    /// The provider does not do TLS 1.3.
    #[error("TLS 1.3 is not available")]
    Version(#[from] rustls::Error),
}
