//! The installation's certificate authority, and the requests it signs.

use std::{fmt, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use rustls::{
    pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer};
use zeroize::Zeroizing;

use super::{CA_DAYS, CLOCK_SKEW_SECS, CSR_MAX, CertRole, SERVER_DAYS, peer::is_p256, provider};
use crate::{HostPattern, Hostname, UnixTime};

/// The certificate authority of one installation.
pub struct Ca {
    zone: Hostname,
    certificate: CertificateDer<'static>,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    /// A new authority for `zone`, good for ten years.
    pub fn generate(zone: &Hostname, now: UnixTime) -> Result<Self, CaError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut params = validity(now, CA_DAYS)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        // A common name has at most 64 characters (RFC 5280 appendix A.1).
        let name: String = format!("Tunnel CA of {zone}").chars().take(64).collect();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key)?;
        Self::assemble(zone, certificate.der().clone(), certificate.pem(), key)
    }

    /// The authority whose certificate and key were kept.
    pub fn from_pem(zone: &Hostname, certificate_pem: &str, key_pem: &str) -> Result<Self, CaError> {
        let der = CertificateDer::from_pem_slice(certificate_pem.as_bytes()).map_err(|_| CaError::Certificate)?;
        let key = KeyPair::from_pem(key_pem).map_err(|_| CaError::Key)?;
        {
            let (rest, parsed) = x509_parser::parse_x509_certificate(&der).map_err(|_| CaError::Certificate)?;
            if !rest.is_empty() || !parsed.is_ca() {
                return Err(CaError::Certificate);
            }
            if parsed.public_key().subject_public_key.data.as_ref() != key.der_bytes() {
                return Err(CaError::Mismatch);
            }
        }
        Self::assemble(zone, der, certificate_pem.to_owned(), key)
    }

    fn assemble(zone: &Hostname, der: CertificateDer<'static>, pem: String, key: KeyPair) -> Result<Self, CaError> {
        let issuer = Issuer::from_ca_cert_der(&der, key)?;
        Ok(Self { zone: zone.clone(), certificate: der, pem, issuer })
    }

    /// The zone whose identities it signs.
    pub fn zone(&self) -> &Hostname {
        &self.zone
    }

    /// The certificate, which peers trust.
    pub fn certificate_pem(&self) -> &str {
        &self.pem
    }

    /// The certificate in DER.
    pub fn certificate_der(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The private key, for keeping sealed.
    pub fn key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.issuer.key().serialize_pem())
    }

    /// Certifies the key of a signing request for `role`. Whatever else the request asks for is not granted.
    ///
    /// Costs one verification and one signature with P-256 (well under a millisecond).
    pub fn issue(&self, csr_pem: &str, role: CertRole, now: UnixTime) -> Result<Issued, CaError> {
        let key = requested_key(csr_pem)?;
        let mut params = validity(now, role.days())?;
        let serial = serial()?;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.subject_alt_names = vec![SanType::URI(role.uri(&self.zone).try_into()?)];
        params.extended_key_usages = match role {
            CertRole::Connector(_) | CertRole::Operator(_) => vec![ExtendedKeyUsagePurpose::ClientAuth],
            CertRole::Edge(_) => vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth],
        };
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued {
            certificate_pem: certificate.pem(),
            serial_hex: data_encoding::HEXLOWER.encode(&serial),
            expires: now.plus(days(role.days())),
        })
    }

    /// A key and certificate with which the edge answers for `names`, good for [`SERVER_DAYS`].
    ///
    /// A pattern must be a hostname or begin with the one label `*`; that is all that TLS clients understand.
    pub fn server_certificate(&self, names: &[HostPattern], now: UnixTime) -> Result<CertifiedKey, CaError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut params = validity(now, SERVER_DAYS)?;
        params.serial_number = Some(SerialNumber::from_slice(&serial()?));
        for name in names {
            let exact = name.as_str().strip_prefix("*.").unwrap_or(name.as_str());
            if exact.contains('*') {
                return Err(CaError::Name(name.clone()));
            }
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
        }
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let private = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let signing = provider().key_provider.load_private_key(private).map_err(|_| CaError::Key)?;
        Ok(CertifiedKey::new(vec![certificate.der().clone(), self.certificate.clone()], signing))
    }
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ca").field("zone", &self.zone).finish_non_exhaustive()
    }
}

/// A certificate just made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The certificate (PEM).
    pub certificate_pem: String,
    /// Its serial number in lower-case hexadecimal: what is revoked.
    pub serial_hex: String,
    /// When it ends.
    pub expires: UnixTime,
}

/// A new private key and the request to certify it. The key never leaves the machine.
pub struct KeyAndCsr {
    /// The private key (PKCS #8, PEM).
    pub key_pem: Zeroizing<String>,
    /// The signing request (PEM).
    pub csr_pem: String,
}

impl KeyAndCsr {
    /// A new P-256 key and its request, which asks for nothing but the signature.
    pub fn generate() -> Result<Self, CaError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        Self::of(&key)
    }

    /// A request for the same key again, for a renewal that keeps it.
    pub fn for_key(key_pem: &str) -> Result<Self, CaError> {
        Self::of(&KeyPair::from_pem(key_pem).map_err(|_| CaError::Key)?)
    }

    fn of(key: &KeyPair) -> Result<Self, CaError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let csr_pem = params.serialize_request(key)?.pem()?;
        Ok(Self { key_pem: Zeroizing::new(key.serialize_pem()), csr_pem })
    }
}

impl fmt::Debug for KeyAndCsr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyAndCsr").finish_non_exhaustive()
    }
}

/// The key that a signing request holds, once the request proves that its sender has the private one.
fn requested_key(csr_pem: &str) -> Result<SubjectPublicKeyInfo, CaError> {
    if csr_pem.len() > CSR_MAX {
        return Err(CaError::Request);
    }
    let der = CertificateSigningRequestDer::from_pem_slice(csr_pem.as_bytes()).map_err(|_| CaError::Request)?;
    let (rest, csr) = X509CertificationRequest::from_der(&der).map_err(|_| CaError::Request)?;
    if !rest.is_empty() {
        return Err(CaError::Request);
    }
    let key = &csr.certification_request_info.subject_pki;
    if !is_p256(key) {
        return Err(CaError::Algorithm);
    }
    csr.verify_signature().map_err(|_| CaError::Signature)?;
    SubjectPublicKeyInfo::from_der(key.raw).map_err(|_| CaError::Algorithm)
}

/// Parameters with nothing in them but the time.
fn validity(now: UnixTime, length: u64) -> Result<CertificateParams, CaError> {
    let at = |time: UnixTime| {
        let seconds = i64::try_from(time.0).map_err(|_| CaError::Time)?;
        time::OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| CaError::Time)
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = at(UnixTime(now.0.saturating_sub(CLOCK_SKEW_SECS)))?;
    params.not_after = at(now.plus(days(length)))?;
    Ok(params)
}

/// Sixteen random bytes, positive and without a leading zero, so that DER keeps them as they are.
fn serial() -> Result<[u8; 16], CaError> {
    let mut serial = [0; 16];
    aws_lc_rs::rand::fill(&mut serial).map_err(|_| CaError::Random)?;
    if let Some(first) = serial.first_mut() {
        *first = (*first & 0x7f) | 0x40;
    }
    Ok(serial)
}

const fn days(days: u64) -> Duration {
    Duration::from_secs(days.saturating_mul(24 * 3600))
}

/// Why the authority did not sign, or could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaError {
    /// Not a signing request in PEM, or too long a one.
    #[error("not a certificate signing request in PEM")]
    Request,
    /// The request's signature does not fit its key.
    #[error("the signing request is not signed by its own key")]
    Signature,
    /// The request's key is not on P-256.
    #[error("the key of a signing request must be ECDSA P-256")]
    Algorithm,
    /// The kept certificate is not that of an authority.
    #[error("not the certificate of a certificate authority")]
    Certificate,
    /// The kept key cannot be read.
    #[error("not a private key in PEM")]
    Key,
    /// The kept certificate and key do not belong together.
    #[error("the key does not belong to the certificate")]
    Mismatch,
    /// A name that no TLS client would understand in a certificate.
    #[error("a certificate cannot be made for `{0}`: only a whole first label can be `*`")]
    Name(HostPattern),
    /// The time is out of the range of certificates.
    #[error("the time is out of range")]
    Time,
    /// The system gave no random bytes.
    #[error("no random bytes to be had")]
    Random,
    /// The certificate could not be encoded.
    #[error("the certificate could not be made")]
    Encode(#[from] rcgen::Error),
}
