//! A certificate around a key for RS256: some verifiers for other products want one. It proves nothing that the key does not.

use rcgen::{CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256};
use rustls::pki_types::PrivatePkcs8KeyDer;
use tunnel_auth::SecretBytes;
use tunnel_proto::UnixTime;

/// How long it says that it is good, in days. The key is gone long before.
const DAYS: i64 = 365;

/// Makes the self-signed certificate (PEM) of the key kept as `pkcs8`.
pub(super) fn make(pkcs8: &SecretBytes, now: UnixTime) -> Result<String, rcgen::Error> {
    let pkcs8 = PrivatePkcs8KeyDer::from(pkcs8.expose());
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &PKCS_RSA_SHA256)?;
    let mut params = CertificateParams::default();
    let begin = i64::try_from(now.0).ok().and_then(|now| time::OffsetDateTime::from_unix_timestamp(now).ok());
    let begin = begin.ok_or(rcgen::Error::Time)?;
    params.not_before = begin;
    params.not_after = begin.checked_add(time::Duration::days(DAYS)).ok_or(rcgen::Error::Time)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Tunnel assertions");
    Ok(params.self_signed(&key)?.pem())
}
