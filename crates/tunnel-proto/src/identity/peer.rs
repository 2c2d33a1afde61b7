//! Who a certificate says its holder is.

use rustls::pki_types::CertificateDer;
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY},
    x509::{SubjectPublicKeyInfo, X509Version},
};

use super::CertRole;
use crate::{Hostname, UnixTime};

/// The holder of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// Whom it names.
    pub role: CertRole,
    /// Its serial number in lower-case hexadecimal, to be looked up among the revoked.
    pub serial_hex: String,
    /// When it ends; links live no longer.
    pub expires: UnixTime,
}

/// Reads the identity from a certificate whose signature and time the handshake has verified.
///
/// Strict: the certificate must be just what [`super::Ca::issue`] makes. One alternative name, a URI that names this zone;
/// the key usages of its role and no others; P-256; not an authority. The subject is not looked at.
pub fn peer_identity(zone: &Hostname, certificate: &CertificateDer<'_>) -> Result<PeerIdentity, PeerError> {
    let (rest, certificate) = x509_parser::parse_x509_certificate(certificate).map_err(|_| PeerError::Malformed)?;
    if !rest.is_empty() || certificate.version() != X509Version::V3 {
        return Err(PeerError::Malformed);
    }
    if !is_p256(certificate.public_key()) {
        return Err(PeerError::Algorithm);
    }
    let extensions = Extensions::of(&certificate)?;
    let role = CertRole::from_uri(zone, extensions.uri).ok_or(PeerError::Name)?;
    let allowed = match role {
        CertRole::Connector(_) | CertRole::Operator(_) => (true, false),
        CertRole::Edge(_) => (true, true),
    };
    if extensions.usage != allowed {
        return Err(PeerError::Usage);
    }
    let expires = u64::try_from(certificate.validity().not_after.timestamp()).map_err(|_| PeerError::Malformed)?;
    Ok(PeerIdentity {
        role,
        serial_hex: data_encoding::HEXLOWER.encode(certificate.raw_serial()),
        expires: UnixTime(expires),
    })
}

struct Extensions<'a> {
    uri: &'a str,
    /// For clients, for servers.
    usage: (bool, bool),
}

impl<'a> Extensions<'a> {
    fn of(certificate: &'a X509Certificate<'_>) -> Result<Self, PeerError> {
        let (mut uri, mut usage) = (None, None);
        for extension in certificate.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(names) => match names.general_names.as_slice() {
                    [GeneralName::URI(one)] if uri.is_none() => uri = Some(*one),
                    _ => return Err(PeerError::Name),
                },
                ParsedExtension::ExtendedKeyUsage(eku) => {
                    let others = eku.any
                        || eku.code_signing
                        || eku.email_protection
                        || eku.time_stamping
                        || eku.ocsp_signing
                        || !eku.other.is_empty();
                    if others || usage.is_some() {
                        return Err(PeerError::Usage);
                    }
                    usage = Some((eku.client_auth, eku.server_auth));
                }
                ParsedExtension::BasicConstraints(constraints) if constraints.ca => return Err(PeerError::Authority),
                ParsedExtension::ParseError { .. } => return Err(PeerError::Malformed),
                ParsedExtension::UnsupportedExtension { .. } if extension.critical => return Err(PeerError::Malformed),
                _ => {}
            }
        }
        Ok(Self { uri: uri.ok_or(PeerError::Name)?, usage: usage.ok_or(PeerError::Usage)? })
    }
}

/// Whether the key is ECDSA on P-256, in the uncompressed form that everybody writes.
pub(super) fn is_p256(key: &SubjectPublicKeyInfo<'_>) -> bool {
    let curve = key.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    key.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY
        && curve.is_some_and(|curve| curve == OID_EC_P256)
        && key.subject_public_key.data.len() == 65
        && key.subject_public_key.data.first() == Some(&4)
}

/// Why a certificate names nobody here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// Not an X.509 certificate of version 3, or one with a critical part that is not understood.
    #[error("the certificate cannot be read")]
    Malformed,
    /// Not an ECDSA key on P-256.
    #[error("the certificate's key is not ECDSA P-256")]
    Algorithm,
    /// Not exactly one name, or not one of this zone.
    #[error("the certificate does not name a connector, operator or edge of this zone")]
    Name,
    /// Not the key usages of its role.
    #[error("the certificate's key usages are not those of its role")]
    Usage,
    /// The certificate of an authority.
    #[error("an authority's certificate is nobody's identity")]
    Authority,
}
