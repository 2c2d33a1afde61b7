//! PEM files that hold several things: a key, its certificate, the CA.

use tunnel_proto::Hostname;
use zeroize::Zeroizing;

use crate::credentials::Credentials;

/// Key, certificate and CA as one text.
pub fn join(credentials: &Credentials) -> Zeroizing<String> {
    let parts = [credentials.key_pem(), credentials.certificate_pem(), credentials.ca_pem()];
    Zeroizing::new(parts.iter().map(|part| format!("{}\n", part.trim_end())).collect())
}

/// Reads back what [`join`] wrote.
pub fn credentials(zone: Hostname, text: &str) -> Result<Credentials, String> {
    let key = sections(text, "PRIVATE KEY").next().ok_or("it holds no private key")?;
    with_key(zone, text, Zeroizing::new(key.to_owned()))
}

/// Credentials from a certificate followed by the CA, and the key from elsewhere.
pub fn with_key(zone: Hostname, certificates: &str, key: Zeroizing<String>) -> Result<Credentials, String> {
    let mut certificates = sections(certificates, "CERTIFICATE");
    let certificate = certificates.next().ok_or("it holds no certificate")?;
    let ca = certificates.next().ok_or("it holds no CA certificate after the first one")?;
    Credentials::new(zone, ca, certificate, key).map_err(|error| error.to_string())
}

/// The sections of a PEM text (RFC 7468) with this label, each with its lines of begin and end.
fn sections<'a>(text: &'a str, label: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let mut rest = text;
    std::iter::from_fn(move || {
        let from = rest.get(rest.find(&begin)?..)?;
        let (section, after) = from.split_at_checked(from.find(&end)?.checked_add(end.len())?)?;
        rest = after;
        Some(section)
    })
}

#[cfg(test)]
mod tests {
    use tunnel_proto::{
        TunnelId, UnixTime,
        identity::{Ca, CertRole, KeyAndCsr},
    };

    use super::*;

    #[test]
    fn what_is_joined_is_read_back() {
        let zone = Hostname::parse("example.com").unwrap();
        let now = UnixTime(1_790_000_000);
        let ca = Ca::generate(&zone, now).unwrap();
        let key = KeyAndCsr::generate().unwrap();
        let role = CertRole::Connector(TunnelId::from_random([3; 16]));
        let certificate = ca.issue(&key.csr_pem, role, now).unwrap().certificate_pem;
        let made = Credentials::new(zone.clone(), ca.certificate_pem(), &certificate, key.key_pem.clone()).unwrap();
        let text = join(&made);
        let read = credentials(zone.clone(), &text).unwrap();
        assert_eq!((read.role(), read.key_pem().trim_end()), (role, made.key_pem().trim_end()));
        assert!(credentials(zone.clone(), "").is_err());
        assert!(credentials(zone.clone(), &text[..text.len() / 2]).is_err());
        assert!(with_key(zone, &certificate, key.key_pem).unwrap_err().contains("CA"));
    }
}
