//! Whom first contact believes: the web's roots, a CA from a file, or one pinned certificate.

use std::{fmt, io, str::FromStr, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use rustls_platform_verifier::BuilderVerifierExt;

use crate::identity;

/// Whom first contact with an edge believes.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Trust {
    /// The roots of this machine, as browsers do.
    #[default]
    Web,
    /// Only these CA certificates (PEM).
    Ca(String),
    /// Only the certificate with this fingerprint, or a CA with it that the edge sends along.
    Pin(Pin),
}

impl Trust {
    /// TLS for first contact: 1.3 only and without a client certificate.
    pub fn client_config(&self) -> Result<ClientConfig, TrustError> {
        let provider = identity::provider();
        let builder = ClientConfig::builder_with_provider(provider.clone());
        let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).map_err(TrustError::Tls)?;
        let builder = match self {
            Self::Web => builder.with_platform_verifier().map_err(TrustError::Tls)?,
            Self::Ca(pem) => builder.with_root_certificates(roots(pem)?),
            Self::Pin(pin) => {
                let verifier = Arc::new(PinVerifier { pin: pin.clone(), provider });
                builder.dangerous().with_custom_certificate_verifier(verifier)
            }
        };
        Ok(builder.with_no_client_auth())
    }
}

fn roots(pem: &str) -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| TrustError::Ca { reason: error.to_string() })?;
        roots.add(certificate).map_err(|error| TrustError::Ca { reason: error.to_string() })?;
    }
    if roots.is_empty() {
        return Err(TrustError::Ca { reason: "there is no certificate in it".to_owned() });
    }
    Ok(roots)
}

/// Why what should be trusted cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// The given CA is none.
    #[error("the CA certificate cannot be used: {reason}")]
    Ca {
        /// What is wrong with it.
        reason: String,
    },
    /// The roots of this machine cannot be used.
    #[error("the certificates this machine trusts cannot be used: {0}")]
    Tls(#[source] TlsError),
}

/// The SHA-256 fingerprint of a certificate (of its DER form, as `openssl x509 -fingerprint -sha256` prints it).
#[derive(Clone, PartialEq, Eq)]
pub struct Pin([u8; 32]);

impl Pin {
    /// The fingerprint of this certificate (DER).
    pub fn of(certificate: &[u8]) -> Self {
        Self(identity::fingerprint(certificate))
    }
}

impl FromStr for Pin {
    type Err = PinError;

    /// Reads `sha256:` and 64 hexadecimal digits, pairs of which may be separated by colons.
    fn from_str(text: &str) -> Result<Self, PinError> {
        let digits = text.strip_prefix("sha256:").ok_or(PinError)?.replace(':', "");
        if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(PinError);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| PinError)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| PinError)?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a [`Pin`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a fingerprint: write sha256: and 64 hexadecimal digits")]
pub struct PinError;

/// Believes the pinned certificate itself, or what a pinned CA in the presented chain vouches for.
#[derive(Debug)]
struct PinVerifier {
    pin: Pin,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        if Pin::of(end_entity) == self.pin {
            return Ok(ServerCertVerified::assertion());
        }
        let Some(ca) = intermediates.iter().find(|certificate| Pin::of(certificate) == self.pin) else {
            let found = Pin::of(end_entity);
            return Err(TlsError::Other(rustls::OtherError(Arc::new(io::Error::other(format!(
                "the edge's certificate has the fingerprint {found}, not the pinned {}",
                self.pin
            ))))));
        };
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone()).build();
        let verifier = verifier.map_err(|error| TlsError::General(error.to_string()))?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_read_with_and_without_colons() {
        let plain = format!("sha256:{}", "0aF1".repeat(16));
        let colons = format!("sha256:{}", vec!["0A"; 32].join(":"));
        assert_eq!(plain.parse::<Pin>().unwrap().to_string(), plain.to_ascii_lowercase());
        assert_eq!(colons.parse::<Pin>().unwrap(), Pin([0x0a; 32]));
        for bad in ["", "sha256:", "sha1:00", &plain[7..], &plain[..70], "sha256:é0"] {
            assert_eq!(bad.parse::<Pin>(), Err(PinError), "{bad}");
        }
    }

    #[test]
    fn a_file_without_a_certificate_is_no_ca() {
        for text in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(matches!(Trust::Ca(text.to_owned()).client_config(), Err(TrustError::Ca { .. })), "{text}");
        }
    }
}
