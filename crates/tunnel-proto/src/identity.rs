//! Certificates: the edge's own CA, signing requests, and who a certificate says its holder is.
//!
//! An installation has one CA, whose certificates are good for links only. A program makes its own key and asks for a
//! signature ([`KeyAndCsr`]); the CA takes the public key from the request and nothing else ([`Ca::issue`]). The holder's
//! identity is one URI in the certificate, read back by [`peer_identity`] after every handshake. The TLS configurations of
//! both ends are [`link_server_config`] and [`link_client_config`].

mod aes;
mod ca;
mod peer;
mod provider;
mod tls;

use std::{fmt, str::FromStr};

pub use ca::{Ca, CaError, Issued, KeyAndCsr};
pub use peer::{PeerError, PeerIdentity, peer_identity};
pub use provider::provider;
pub use tls::{TlsError, link_client_config, link_server_config, speaks_link};

use crate::{EdgeId, Hostname, OperatorId, TunnelId};

/// The ALPN name of links between connectors, operators and edges.
pub const ALPN_LINK: &[u8] = b"tunnel/1";
/// The ALPN name of links from access clients.
pub const ALPN_ACCESS: &[u8] = b"tunnel-access/1";

/// Days for which a connector's certificate is good; renewed over the link at half.
pub const CONNECTOR_DAYS: u64 = 30;
/// Days for which an operator's certificate is good; not renewed.
pub const OPERATOR_DAYS: u64 = 90;
/// Days for which an edge's certificate towards other edges is good.
pub const EDGE_DAYS: u64 = 30;
/// Days for which a server certificate is good; the edge makes a new one long before.
pub const SERVER_DAYS: u64 = 90;
/// Days for which the CA is good.
pub const CA_DAYS: u64 = 3650;
/// Seconds before `now` at which a certificate begins, for peers whose clock is late.
pub const CLOCK_SKEW_SECS: u64 = 3600;
/// The longest signing request, in bytes of PEM.
pub const CSR_MAX: usize = 8 * 1024;

/// Whom a certificate names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CertRole {
    /// A connector of this tunnel.
    Connector(TunnelId),
    /// This operator.
    Operator(OperatorId),
    /// This edge.
    Edge(EdgeId),
}

impl CertRole {
    /// The role as a greeting must state it.
    pub const fn role(&self) -> crate::message::Role {
        use crate::message::Role;
        match self {
            Self::Connector(_) => Role::Connector,
            Self::Operator(_) => Role::Operator,
            Self::Edge(_) => Role::Edge,
        }
    }

    /// The URI in the certificate.
    pub fn uri(&self, zone: &Hostname) -> String {
        format!("tunnel://{zone}/{self}")
    }

    /// Reads the URI back: exactly what [`CertRole::uri`] writes for this zone, and nothing else.
    pub fn from_uri(zone: &Hostname, uri: &str) -> Option<Self> {
        uri.strip_prefix("tunnel://")?.strip_prefix(zone.as_str())?.strip_prefix('/')?.parse().ok()
    }

    const fn days(&self) -> u64 {
        match self {
            Self::Connector(_) => CONNECTOR_DAYS,
            Self::Operator(_) => OPERATOR_DAYS,
            Self::Edge(_) => EDGE_DAYS,
        }
    }
}

impl fmt::Display for CertRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connector(id) => write!(f, "connector/{id}"),
            Self::Operator(id) => write!(f, "operator/{id}"),
            Self::Edge(id) => write!(f, "edge/{id}"),
        }
    }
}

impl FromStr for CertRole {
    type Err = crate::ids::IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some(("connector", id)) => id.parse().map(Self::Connector),
            Some(("operator", id)) => id.parse().map(Self::Operator),
            Some(("edge", id)) => id.parse().map(Self::Edge),
            _ => Err(crate::ids::IdError),
        }
    }
}

/// The SHA-256 fingerprint of a certificate in DER form, as `openssl x509 -fingerprint -sha256` shows it.
pub fn fingerprint(certificate: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate);
    let mut bytes = [0; 32];
    // SHA-256 has 32 bytes.
    bytes.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UnixTime;

    #[test]
    fn an_issued_certificate_names_exactly_its_holder() {
        let zone = Hostname::parse("example.com").unwrap();
        let now = UnixTime(1_790_000_000);
        let ca = Ca::generate(&zone, now).unwrap();
        let ca = Ca::from_pem(&zone, ca.certificate_pem(), &ca.key_pem()).unwrap();
        let request = KeyAndCsr::generate().unwrap();
        for role in [
            CertRole::Connector(TunnelId::from_random([1; 16])),
            CertRole::Operator(OperatorId::from_random([2; 16])),
            CertRole::Edge(EdgeId::from_random([3; 16])),
        ] {
            let issued = ca.issue(&request.csr_pem, role, now).unwrap();
            use rustls::pki_types::pem::PemObject;
            let der = rustls::pki_types::CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).unwrap();
            let peer = peer_identity(&zone, &der).unwrap();
            assert_eq!((peer.role, &peer.serial_hex, peer.expires), (role, &issued.serial_hex, issued.expires));
        }
    }
}
