//! Who gets past the handshake of a link, and who does not (T1, T4, T5).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose as Eku,
    IsCa, Issuer, KeyPair, SanType,
};
use rustls::{
    ClientConfig, HandshakeKind, RootCertStore, ServerConfig,
    client::ResolvesClientCert,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::ResolvesServerCert,
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tunnel_proto::{
    EdgeId, Hostname, OperatorId, TunnelId, UnixTime,
    identity::{
        ALPN_ACCESS, ALPN_LINK, Ca, CaError, CertRole, KeyAndCsr, PeerIdentity, link_client_config, link_server_config,
        peer_identity, provider, speaks_link,
    },
};

const UUID: &str = "01020304-0506-4708-890a-0b0c0d0e0f10";

fn now() -> UnixTime {
    // Handshakes are judged by the system's clock.
    UnixTime(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs())
}

fn zone() -> Hostname {
    Hostname::parse("example.com").unwrap()
}

fn connector() -> CertRole {
    CertRole::Connector(UUID.parse().unwrap())
}

/// A certificate chain with its key.
type Chain = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

struct Lab {
    ca: Ca,
    server: ServerConfig,
}

impl Lab {
    fn new() -> Self {
        let ca = Ca::generate(&zone(), now()).unwrap();
        let names = ["access.example.com".parse().unwrap(), "*.example.com".parse().unwrap()];
        let certificate = ca.server_certificate(&names, now()).unwrap();
        let server = link_server_config(&ca, Arc::new(Fixed(Arc::new(certificate)))).unwrap();
        Self { ca, server }
    }

    fn issuer(&self) -> Issuer<'static, KeyPair> {
        let key = KeyPair::from_pem(&self.ca.key_pem()).unwrap();
        Issuer::from_ca_cert_pem(self.ca.certificate_pem(), key).unwrap()
    }

    /// What the authority issues to an honest machine.
    fn honest(&self, role: CertRole) -> ClientConfig {
        let request = KeyAndCsr::generate().unwrap();
        let issued = self.ca.issue(&request.csr_pem, role, now()).unwrap();
        link_client_config(self.ca.certificate_pem(), &issued.certificate_pem, &request.key_pem).unwrap()
    }

    /// A client that shows whatever it likes.
    fn client(&self, chain: Option<Chain>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.certificate_der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match chain {
            // Unchecked: the client's own library would not show some of what is tried here.
            Some((chain, key)) => {
                let signing = provider().key_provider.load_private_key(key).unwrap();
                builder.with_client_cert_resolver(Arc::new(Fixed(Arc::new(CertifiedKey::new(chain, signing)))))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![ALPN_LINK.to_vec()];
        config
    }

    async fn admit(&self, client: ClientConfig) -> Result<PeerIdentity, String> {
        let (server, _) = handshake(self.server.clone(), client, "access.example.com").await;
        server
    }
}

#[derive(Debug)]
struct Fixed(Arc<CertifiedKey>);

impl ResolvesServerCert for Fixed {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

impl ResolvesClientCert for Fixed {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Shakes hands, passes a byte each way, and asks what both ends must ask.
async fn handshake(
    server: ServerConfig,
    client: ClientConfig,
    name: &str,
) -> (Result<PeerIdentity, String>, Result<HandshakeKind, String>) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let serve = async {
        let mut stream = TlsAcceptor::from(Arc::new(server)).accept(near).await.map_err(|error| error.to_string())?;
        stream.write_all(b"!").await.map_err(|error| error.to_string())?;
        stream.read_u8().await.map_err(|error| error.to_string())?;
        let (_, state) = stream.get_ref();
        if !speaks_link(state.alpn_protocol()) {
            return Err("no link was agreed on".to_owned());
        }
        peer_identity(&zone(), &state.peer_certificates().unwrap()[0]).map_err(|error| error.to_string())
    };
    let connect = async {
        let connector = TlsConnector::from(Arc::new(client));
        let mut stream = connector.connect(name, far).await.map_err(|error| error.to_string())?;
        stream.write_all(b"?").await.map_err(|error| error.to_string())?;
        stream.read_u8().await.map_err(|error| error.to_string())?;
        let (_, state) = stream.get_ref();
        if !speaks_link(state.alpn_protocol()) {
            return Err("no link was agreed on".to_owned());
        }
        Ok(state.handshake_kind().unwrap())
    };
    tokio::join!(serve, connect)
}

#[tokio::test]
async fn each_role_is_known_by_its_certificate() {
    let lab = Lab::new();
    for role in [
        connector(),
        CertRole::Operator(OperatorId::from_random([2; 16])),
        CertRole::Edge(EdgeId::from_random([3; 16])),
    ] {
        assert_eq!(lab.admit(lab.honest(role)).await.unwrap().role, role);
    }
}

fn names(uris: &[&str]) -> Vec<SanType> {
    uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect()
}

/// Just what the authority itself would sign, to be spoilt in one place.
fn good() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = names(&[&connector().uri(&zone())]);
    params.extended_key_usages = vec![Eku::ClientAuth];
    params.is_ca = IsCa::ExplicitNoCa;
    params.not_before = time::OffsetDateTime::now_utc() - time::Duration::hours(1);
    params.not_after = time::OffsetDateTime::now_utc() + time::Duration::days(1);
    params
}

fn key_of(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::Pkcs8(key.serialize_der().into())
}

fn chain(params: &CertificateParams, issuer: &Issuer<'_, KeyPair>) -> Chain {
    let key = KeyPair::generate().unwrap();
    (vec![params.signed_by(&key, issuer).unwrap().der().clone()], key_of(&key))
}

/// A subject alternative name as raw bytes of one URI, which need not be text.
fn raw_uri(bytes: &[u8]) -> CustomExtension {
    let len = u8::try_from(bytes.len()).unwrap();
    let mut der = vec![0x30, len + 2, 0x86, len];
    der.extend(bytes);
    CustomExtension::from_oid_content(&[2, 5, 29, 17], der)
}

#[tokio::test]
async fn no_spoilt_certificate_gets_in() {
    let lab = Lab::new();
    let issuer = lab.issuer();
    assert!(lab.admit(lab.client(Some(chain(&good(), &issuer)))).await.is_ok(), "the unspoilt one does");

    let mut cases: Vec<(String, Option<Chain>)> = vec![("none at all".to_owned(), None)];
    let mut spoilt = |what: &str, spoil: &dyn Fn(&mut CertificateParams)| {
        let mut params = good();
        spoil(&mut params);
        cases.push((what.to_owned(), Some(chain(&params, &issuer))));
    };

    spoilt("expired", &|p| p.not_after = time::OffsetDateTime::now_utc() - time::Duration::minutes(1));
    spoilt("not yet valid", &|p| p.not_before = time::OffsetDateTime::now_utc() + time::Duration::hours(1));
    spoilt("no extended key usage", &|p| p.extended_key_usages.clear());
    spoilt("for servers", &|p| p.extended_key_usages = vec![Eku::ServerAuth]);
    spoilt("for clients and servers", &|p| p.extended_key_usages = vec![Eku::ClientAuth, Eku::ServerAuth]);
    spoilt("for anything", &|p| p.extended_key_usages = vec![Eku::Any]);
    spoilt("for clients and anything", &|p| p.extended_key_usages = vec![Eku::ClientAuth, Eku::Any]);
    spoilt("for clients and code", &|p| p.extended_key_usages = vec![Eku::ClientAuth, Eku::CodeSigning]);
    spoilt("an edge for clients only", &|p| {
        p.subject_alt_names = names(&[&CertRole::Edge(EdgeId::from_random([3; 16])).uri(&zone())]);
    });
    spoilt("an authority", &|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    spoilt("no name but a subject", &|p| {
        p.subject_alt_names.clear();
        p.distinguished_name.push(DnType::CommonName, connector().uri(&zone()));
    });
    let uri = connector().uri(&zone());
    for (what, sans) in [
        ("two names", names(&[&uri, &uri])),
        ("a second role", names(&[&uri, &format!("tunnel://example.com/operator/{UUID}")])),
        ("a hostname beside", [names(&[&uri]), vec![SanType::DnsName("example.com".try_into().unwrap())]].concat()),
        ("a hostname instead", vec![SanType::DnsName("access.example.com".try_into().unwrap())]),
        ("an address instead", vec![SanType::IpAddress([127, 0, 0, 1].into())]),
        ("an e-mail address instead", vec![SanType::Rfc822Name("a@example.com".try_into().unwrap())]),
    ] {
        spoilt(what, &|p| p.subject_alt_names = sans.clone());
    }
    for bad in [
        format!("tunnel://example.org/connector/{UUID}"),
        format!("tunnel://evil.example.com/connector/{UUID}"),
        format!("tunnel://example.com.evil.org/connector/{UUID}"),
        format!("tunnel://EXAMPLE.com/connector/{UUID}"),
        format!("tunnel://example.com./connector/{UUID}"),
        format!("tunnel://*.com/connector/{UUID}"),
        format!("tunnel://example.com:443/connector/{UUID}"),
        format!("tunnel://x@example.com/connector/{UUID}"),
        format!("https://example.com/connector/{UUID}"),
        format!("TUNNEL://example.com/connector/{UUID}"),
        format!("tunnel:///connector/{UUID}"),
        format!("tunnel://example.com/admin/{UUID}"),
        format!("tunnel://example.com/connector/{}", UUID.to_uppercase()),
        format!("tunnel://example.com/connector/{}", UUID.replace('-', "")),
        format!("tunnel://example.com/connector/{{{UUID}}}"),
        "tunnel://example.com/connector/*".to_owned(),
        format!("tunnel://example.com/connector/{UUID}/"),
        format!("tunnel://example.com//connector/{UUID}"),
        format!("tunnel://example.com/connector/{UUID}?a"),
        format!("tunnel://example.com/connector/{UUID}#a"),
        format!("tunnel://example.com/connector/{UUID},tunnel://example.com/operator/{UUID}"),
        format!(" tunnel://example.com/connector/{UUID}"),
    ] {
        spoilt(&bad, &|p| p.subject_alt_names = names(&[&bad]));
    }
    for (what, bytes) in [
        ("a NUL at the end", format!("{uri}\0").into_bytes()),
        ("a NUL within", format!("tunnel://example.com\0.org/connector/{UUID}").into_bytes()),
        ("a letter that looks like another", format!("tunnel://ex\u{430}mple.com/connector/{UUID}").into_bytes()),
        ("bytes that are no text", [b"tunnel://example.com/connector/".as_slice(), &[0xff; 36]].concat()),
    ] {
        spoilt(what, &|p| {
            p.subject_alt_names.clear();
            p.custom_extensions = vec![raw_uri(&bytes)];
        });
    }
    spoilt("the name twice over", &|p| p.custom_extensions = vec![raw_uri(uri.as_bytes())]);
    spoilt("a critical extension that nobody knows", &|p| {
        let mut unknown = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 55555, 1], vec![5, 0]);
        unknown.set_criticality(true);
        p.custom_extensions = vec![unknown];
    });

    let key = KeyPair::generate().unwrap();
    cases.push(("self-signed".to_owned(), Some((vec![good().self_signed(&key).unwrap().der().clone()], key_of(&key)))));
    let other = Ca::generate(&zone(), now()).unwrap();
    let other_issuer =
        Issuer::from_ca_cert_pem(other.certificate_pem(), KeyPair::from_pem(&other.key_pem()).unwrap()).unwrap();
    cases.push(("another authority of the same name".to_owned(), Some(chain(&good(), &other_issuer))));

    // Below the authority there is exactly one level.
    let key = KeyPair::generate().unwrap();
    let mut below = good();
    below.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    below.distinguished_name.push(DnType::CommonName, "below");
    let below_der = below.signed_by(&key, &issuer).unwrap().der().clone();
    let (mut deep, deep_key) = chain(&good(), &Issuer::from_params(&below, key));
    deep.push(below_der);
    cases.push(("an authority below the authority".to_owned(), Some((deep, deep_key))));
    let key = KeyPair::generate().unwrap();
    let leaf_der = good().signed_by(&key, &issuer).unwrap().der().clone();
    let (mut deep, deep_key) = chain(&good(), &Issuer::from_params(&good(), key));
    deep.push(leaf_der);
    cases.push(("signed by a connector".to_owned(), Some((deep, deep_key))));

    for algorithm in [&rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let der = good().signed_by(&key, &issuer).unwrap().der().clone();
        cases.push((format!("a key of {algorithm:?}"), Some((vec![der], key_of(&key)))));
    }
    let mut server = good();
    server.subject_alt_names = vec![SanType::DnsName("access.example.com".try_into().unwrap())];
    server.extended_key_usages = vec![Eku::ServerAuth];
    cases.push(("the edge's server certificate".to_owned(), Some(chain(&server, &issuer))));

    assert!(cases.len() >= 50, "{}", cases.len());
    for (what, chain) in cases {
        let admitted = lab.admit(lab.client(chain)).await;
        assert!(admitted.is_err(), "{what}: {admitted:?}");
    }
}

#[tokio::test]
async fn a_connector_trusts_no_server_but_its_edge() {
    let lab = Lab::new();
    let issuer = lab.issuer();
    let dns = |name: &str| vec![SanType::DnsName(name.try_into().unwrap())];
    let edge = CertRole::Edge(EdgeId::from_random([3; 16]));
    let mut cases: Vec<(&str, Chain)> = Vec::new();
    let mut spoilt = |what, spoil: &dyn Fn(&mut CertificateParams)| {
        let mut params = good();
        params.subject_alt_names = dns("access.example.com");
        params.extended_key_usages = vec![Eku::ServerAuth];
        spoil(&mut params);
        cases.push((what, chain(&params, &issuer)));
    };
    spoilt("fine", &|_| {});
    spoilt("another name", &|p| p.subject_alt_names = dns("www.example.com"));
    spoilt("expired", &|p| p.not_after = time::OffsetDateTime::now_utc() - time::Duration::minutes(1));
    spoilt("for clients", &|p| p.extended_key_usages = vec![Eku::ClientAuth]);
    spoilt("a connector's", &|p| *p = good());
    spoilt("an edge's identity", &|p| {
        p.subject_alt_names = names(&[&edge.uri(&zone())]);
        p.extended_key_usages = vec![Eku::ClientAuth, Eku::ServerAuth];
    });
    let other = Ca::generate(&zone(), now()).unwrap();
    let other_issuer =
        Issuer::from_ca_cert_pem(other.certificate_pem(), KeyPair::from_pem(&other.key_pem()).unwrap()).unwrap();
    let mut params = good();
    params.subject_alt_names = dns("access.example.com");
    params.extended_key_usages = vec![Eku::ServerAuth];
    cases.push(("another authority's", chain(&params, &other_issuer)));
    let key = KeyPair::generate().unwrap();
    cases.push(("self-signed", (vec![params.self_signed(&key).unwrap().der().clone()], key_of(&key))));

    for (what, (chain, key)) in cases {
        let signing = provider().key_provider.load_private_key(key).unwrap();
        let server = link_server_config(&lab.ca, Arc::new(Fixed(Arc::new(CertifiedKey::new(chain, signing))))).unwrap();
        let (_, client) = handshake(server, lab.honest(connector()), "access.example.com").await;
        assert_eq!(client.is_ok(), what == "fine", "{what}: {client:?}");
    }
}

// T5
#[tokio::test]
async fn nothing_but_the_links_own_protocol_is_agreed_on() {
    let lab = Lab::new();
    for alpn in [vec![], vec![ALPN_ACCESS.to_vec()], vec![b"h2".to_vec()], vec![b"tunnel/2".to_vec()]] {
        let mut client = lab.honest(connector());
        client.alpn_protocols = alpn.clone();
        assert!(lab.admit(client).await.is_err(), "{alpn:?}");
    }
    // And a server that agrees on nothing is left by the client.
    let mut server = lab.server.clone();
    server.alpn_protocols.clear();
    let (_, client) = handshake(server, lab.honest(connector()), "access.example.com").await;
    assert!(client.is_err());
}

// T5
#[tokio::test]
async fn older_tls_is_refused_on_both_sides() {
    let lab = Lab::new();
    let mut roots = RootCertStore::empty();
    roots.add(lab.ca.certificate_der().clone()).unwrap();
    let mut client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![ALPN_LINK.to_vec()];
    let (server, _) = handshake(lab.server.clone(), client, "access.example.com").await;
    assert!(server.is_err());

    let mut params = good();
    params.subject_alt_names = vec![SanType::DnsName("access.example.com".try_into().unwrap())];
    params.extended_key_usages = vec![Eku::ServerAuth];
    let (chain, key) = chain(&params, &lab.issuer());
    let old = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let (_, client) = handshake(old, lab.honest(connector()), "access.example.com").await;
    assert!(client.is_err());
}

// T4
#[tokio::test]
async fn no_session_is_ever_resumed() {
    let lab = Lab::new();
    let mut client = lab.honest(connector());
    // A client that would like to.
    client.resumption = rustls::client::Resumption::in_memory_sessions(8);
    client.enable_early_data = true;
    for _ in 0..3 {
        let (_, kind) = handshake(lab.server.clone(), client.clone(), "access.example.com").await;
        assert_eq!(kind.unwrap(), HandshakeKind::Full);
    }
    assert_eq!((lab.server.send_tls13_tickets, lab.server.max_early_data_size), (0, 0));
    assert!(!lab.server.session_storage.can_cache());
}

#[test]
fn a_request_is_granted_its_key_and_nothing_else() {
    let lab = Lab::new();
    let key = KeyPair::generate().unwrap();
    let mut wishes = good();
    wishes.subject_alt_names = vec![
        SanType::DnsName("access.example.com".try_into().unwrap()),
        SanType::URI(format!("tunnel://example.com/operator/{UUID}").as_str().try_into().unwrap()),
    ];
    wishes.extended_key_usages = vec![Eku::ServerAuth];
    wishes.distinguished_name.push(DnType::CommonName, "access.example.com");
    wishes.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let csr = wishes.serialize_request(&key).unwrap().pem().unwrap();
    let issued = lab.ca.issue(&csr, connector(), now()).unwrap();
    let der = CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).unwrap();
    let identity = peer_identity(&zone(), &der).unwrap();
    assert_eq!((identity.role, identity.serial_hex), (connector(), issued.serial_hex));
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
    assert_eq!(parsed.public_key().raw, rcgen::PublicKeyData::subject_public_key_info(&key));
    assert_eq!(parsed.subject().iter().count(), 0);
}

#[test]
fn requests_that_prove_nothing_are_refused() {
    let lab = Lab::new();
    let csr = |algorithm| {
        let key = KeyPair::generate_for(algorithm).unwrap();
        CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap()
    };
    let good = KeyAndCsr::generate().unwrap().csr_pem;
    let refused = |csr: &str| lab.ca.issue(csr, connector(), now()).unwrap_err();
    assert!(matches!(refused(&csr(&rcgen::PKCS_ECDSA_P384_SHA384)), CaError::Algorithm));
    assert!(matches!(refused(&csr(&rcgen::PKCS_ED25519)), CaError::Algorithm));
    assert!(matches!(refused(""), CaError::Request));
    assert!(matches!(refused(lab.ca.certificate_pem()), CaError::Request));
    assert!(matches!(refused(&good.repeat(40)), CaError::Request));

    // A bit of the signature, then of the key.
    let der = rustls::pki_types::CertificateSigningRequestDer::from_pem_slice(good.as_bytes()).unwrap().to_vec();
    let pem = |der: &[u8]| {
        let text = data_encoding::BASE64.encode(der);
        format!("-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n")
    };
    assert!(lab.ca.issue(&pem(&der), connector(), now()).is_ok());
    let key = KeyPair::generate().unwrap();
    let mut swapped = der.clone();
    let raw = rcgen::PublicKeyData::der_bytes(&key);
    let at = swapped.windows(2).position(|pair| pair == [0x00, 0x04]).unwrap() + 1;
    swapped[at..at + 65].copy_from_slice(raw);
    assert!(matches!(refused(&pem(&swapped)), CaError::Signature));
    let mut bent = der.clone();
    *bent.last_mut().unwrap() ^= 1;
    assert!(matches!(refused(&pem(&bent)), CaError::Signature));
    let mut longer = der;
    longer.push(0);
    assert!(matches!(refused(&pem(&longer)), CaError::Request));
}

#[test]
fn validity_is_by_role_and_serials_never_repeat() {
    let lab = Lab::new();
    let request = KeyAndCsr::generate().unwrap();
    let again = KeyAndCsr::for_key(&request.key_pem).unwrap();
    let start = now();
    let mut serials = std::collections::HashSet::new();
    for (role, days) in [
        (connector(), 30),
        (CertRole::Operator(OperatorId::from_random([1; 16])), 90),
        (CertRole::Edge(EdgeId::from_random([1; 16])), 30),
        (CertRole::Connector(TunnelId::from_random([9; 16])), 30),
    ] {
        for csr in [&request.csr_pem, &again.csr_pem] {
            let issued = lab.ca.issue(csr, role, start).unwrap();
            assert_eq!(issued.expires.0 - start.0, days * 24 * 3600);
            assert!(serials.insert(issued.serial_hex));
        }
    }
}

#[test]
fn a_kept_authority_must_be_whole() {
    let ca = Ca::generate(&zone(), now()).unwrap();
    let other = Ca::generate(&zone(), now()).unwrap();
    let load = |certificate: &str, key: &str| Ca::from_pem(&zone(), certificate, key).map(drop).unwrap_err();
    assert!(matches!(load(ca.certificate_pem(), &other.key_pem()), CaError::Mismatch));
    assert!(matches!(load("", &ca.key_pem()), CaError::Certificate));
    assert!(matches!(load(ca.certificate_pem(), ""), CaError::Key));
    let request = KeyAndCsr::generate().unwrap();
    let leaf = ca.issue(&request.csr_pem, connector(), now()).unwrap();
    assert!(matches!(load(&leaf.certificate_pem, &request.key_pem), CaError::Certificate));
}

#[test]
fn a_server_certificate_takes_only_names_that_clients_understand() {
    let ca = Ca::generate(&zone(), now()).unwrap();
    let certificate = |names: &[&str]| {
        let names: Vec<_> = names.iter().map(|name| name.parse().unwrap()).collect();
        ca.server_certificate(&names, now())
    };
    assert!(certificate(&["access.example.com", "*.example.com"]).is_ok());
    for bad in ["*test.example.com", "a.*.example.com", "*.*.example.com"] {
        assert!(matches!(certificate(&[bad]).unwrap_err(), CaError::Name(_)), "{bad}");
    }
}
