//! Services with TLS of their own: whom the connector believes there, and how such a connection ends.

use std::{
    io::{self, ErrorKind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tunnel_origin::{Connector, Service, ServiceKind, ServiceOptions};
use tunnel_proto::{
    HostPattern,
    identity::provider,
    link::{Link, Stream},
    message::{StreamRefusal, StreamRefused, TableAccepted},
};

use super::edge::{Edge, open, target};

fn www() -> HostPattern {
    "www.localhost".parse().unwrap()
}

/// A CA of the services' own.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let name = format!("CA {} of the services", COUNT.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// What does TLS with a certificate for these names.
    fn acceptor(&self, names: &[&str], alpn: &[&str]) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let certificate = named(names).signed_by(&key, &self.issuer).unwrap();
        acceptor(certificate.der().clone(), &key, alpn)
    }

    fn options(&self) -> ServiceOptions {
        ServiceOptions::new().ca_pool(&self.pem).unwrap()
    }
}

fn named(names: &[&str]) -> CertificateParams {
    CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap()
}

fn acceptor(certificate: CertificateDer<'static>, key: &KeyPair, alpn: &[&str]) -> TlsAcceptor {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let mut config = builder.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

/// A service with TLS at a port of this machine, published by a connector.
struct Place {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    link: Link,
    kind: ServiceKind,
    _connector: Connector,
    _edge: Edge,
}

impl Place {
    async fn new(acceptor: TlsAcceptor, options: ServiceOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let service = Service::Https(target(&listener));
        let edge = Edge::start().await;
        let connector = edge.connector().service_with(www(), service, options).start().unwrap();
        let (up, table) = edge.announced().await;
        up.control.send(TableAccepted { revision: table.revision }).await.unwrap();
        let kind = table.rules[0].kind;
        Self { listener, acceptor, link: up.link, kind, _connector: connector, _edge: edge }
    }

    /// A stream of a visitor, and the service's side of its connection.
    async fn visited(&self) -> (Stream, io::Result<TlsStream<TcpStream>>) {
        let visitor = open(&self.link, 0).await;
        let (tcp, _) = self.listener.accept().await.unwrap();
        (visitor, self.acceptor.accept(tcp).await)
    }

    /// What the connector says about a service that it does not take.
    async fn refused(&self) -> StreamRefused {
        let (mut visitor, _) = self.visited().await;
        let error = visitor.accepted().await.unwrap_err();
        error.get_ref().unwrap().downcast_ref::<StreamRefused>().unwrap().clone()
    }

    /// Asks and answers; gives the service's side, to look at.
    async fn carries(&self) -> TlsStream<TcpStream> {
        let (mut visitor, service) = self.visited().await;
        let mut service = service.unwrap();
        there_and_back(&mut visitor, &mut service).await;
        service
    }
}

async fn there_and_back(visitor: &mut Stream, service: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let mut bytes = [0; 4];
    visitor.write_all(b"ping").await.unwrap();
    service.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"ping");
    service.write_all(b"pong").await.unwrap();
    service.flush().await.unwrap();
    visitor.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"pong");
}

#[tokio::test]
async fn a_service_whose_ca_is_given_is_believed() {
    let ca = Authority::new();
    let place = Place::new(ca.acceptor(&["127.0.0.1"], &["h2", "http/1.1"]), ca.options()).await;
    let service = place.carries().await;
    assert_eq!(place.kind, ServiceKind::Http);
    assert_eq!(service.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    // An address is not asked for by name.
    assert_eq!(service.get_ref().1.server_name(), None);
}

// T9
#[tokio::test]
async fn a_service_whose_ca_nobody_named_is_refused() {
    let (ca, other) = (Authority::new(), Authority::new());
    for options in [ServiceOptions::new(), other.options()] {
        let refused = Place::new(ca.acceptor(&["127.0.0.1"], &[]), options).await.refused().await;
        assert_eq!(refused.code, StreamRefusal::ServiceTls);
        assert!(refused.text.contains("signed by nobody"), "{}", refused.text);
    }
}

// T9
#[tokio::test]
async fn a_service_with_a_certificate_for_another_name_is_refused_until_that_name_is_said() {
    let ca = Authority::new();
    let acceptor = ca.acceptor(&["nas.internal"], &[]);
    let refused = Place::new(acceptor.clone(), ca.options()).await.refused().await;
    assert_eq!(refused.code, StreamRefusal::ServiceTls);
    assert!(refused.text.contains("`nas.internal`, not for `127.0.0.1`"), "{}", refused.text);
    let place = Place::new(acceptor.clone(), ca.options().server_name("nas.internal")).await;
    assert_eq!(place.carries().await.get_ref().1.server_name(), Some("nas.internal"));
    let refused = Place::new(acceptor, ca.options().match_sni_to_host()).await.refused().await;
    assert!(refused.text.contains("not for `www.localhost`"), "{}", refused.text);
    let place = Place::new(ca.acceptor(&["www.localhost"], &[]), ca.options().match_sni_to_host()).await;
    assert_eq!(place.carries().await.get_ref().1.server_name(), Some("www.localhost"));
}

#[tokio::test]
async fn a_certificate_that_signed_itself_is_believed_when_it_is_given_and_not_otherwise() {
    // As `openssl req -x509` makes it.
    let mut params = named(&["127.0.0.1"]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let options = ServiceOptions::new().ca_pool(&certificate.pem()).unwrap();
    let acceptor = acceptor(certificate.der().clone(), &key, &[]);
    Place::new(acceptor.clone(), options.clone()).await.carries().await;
    let refused = Place::new(acceptor.clone(), options.server_name("nas.internal")).await.refused().await;
    assert!(refused.text.contains("not for `nas.internal`"), "{}", refused.text);
    let refused = Place::new(acceptor, Authority::new().options()).await.refused().await;
    assert!(refused.text.contains("signed by nobody"), "{}", refused.text);
}

#[tokio::test]
async fn whoever_asks_for_it_believes_any_certificate() {
    let acceptor = Authority::new().acceptor(&["somebody.else"], &[]);
    Place::new(acceptor, ServiceOptions::new().danger_no_tls_verify()).await.carries().await;
}

#[tokio::test]
async fn http_2_is_agreed_upon_or_refused() {
    let ca = Authority::new();
    let place = Place::new(ca.acceptor(&["127.0.0.1"], &["http/1.1", "h2"]), ca.options().http2()).await;
    assert_eq!(place.kind, ServiceKind::H2c);
    assert_eq!(place.carries().await.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    // One that says no, and one that says nothing.
    for alpn in [&["http/1.1"][..], &[]] {
        let refused = Place::new(ca.acceptor(&["127.0.0.1"], alpn), ca.options().http2()).await.refused().await;
        assert_eq!(refused.code, StreamRefusal::ServiceTls);
        assert!(refused.text.contains("HTTP/2"), "{}", refused.text);
    }
    let refused = Place::new(ca.acceptor(&["127.0.0.1"], &["h2"]), ca.options()).await.refused().await;
    assert!(refused.text.contains("HTTP/1.1"), "{}", refused.text);
}

#[tokio::test]
async fn http_2_without_tls_is_announced_and_its_bytes_are_carried_as_they_are() {
    let edge = Edge::start().await;
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = ServiceOptions::new().http2().host_header("nas.internal");
    let builder = edge.connector().service_with(www(), Service::Http(target(&service)), options);
    let _connector = builder.start().unwrap();
    let (up, table) = edge.announced().await;
    assert_eq!(table.rules[0].kind, ServiceKind::H2c);
    assert_eq!(table.rules[0].http.host_header.as_deref(), Some("nas.internal"));
    up.control.send(TableAccepted { revision: table.revision }).await.unwrap();
    let mut visitor = open(&up.link, 0).await;
    let (mut tcp, _) = service.accept().await.unwrap();
    there_and_back(&mut visitor, &mut tcp).await;
}

#[tokio::test]
async fn what_speaks_no_tls_or_nothing_at_all_is_said_to_do_so() {
    let ca = Authority::new();
    let options = ca.options().tls_timeout(Duration::from_millis(200));
    let place = Place::new(ca.acceptor(&["127.0.0.1"], &[]), options).await;
    let said = async |answer: &'static [u8]| {
        let mut visitor = open(&place.link, 0).await;
        let (mut tcp, _) = place.listener.accept().await.unwrap();
        tcp.write_all(answer).await.unwrap();
        let error = visitor.accepted().await.unwrap_err();
        error.get_ref().unwrap().downcast_ref::<StreamRefused>().unwrap().clone()
    };
    let plain = said(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    assert_eq!(plain.code, StreamRefusal::ServiceTls);
    assert!(plain.text.contains("does not speak TLS"), "{}", plain.text);
    let silent = said(b"").await;
    assert_eq!(silent.code, StreamRefusal::ServiceTimeout);
    assert!(silent.text.contains("200ms"), "{}", silent.text);
}

#[tokio::test]
async fn in_tls_as_well_each_way_ends_by_itself() {
    let ca = Authority::new();
    let place = Place::new(ca.acceptor(&["127.0.0.1"], &[]), ca.options()).await;
    let (mut visitor, service) = place.visited().await;
    let mut service = service.unwrap();
    visitor.write_all(b"question").await.unwrap();
    visitor.shutdown().await.unwrap();
    let mut asked = String::new();
    service.read_to_string(&mut asked).await.unwrap();
    assert_eq!(asked, "question");
    service.write_all(&vec![b'x'; 1 << 20]).await.unwrap();
    service.shutdown().await.unwrap();
    let mut answered = Vec::new();
    visitor.read_to_end(&mut answered).await.unwrap();
    assert_eq!(answered.len(), 1 << 20);
}

// F5
#[tokio::test]
async fn a_tls_stream_that_ends_without_saying_so_is_a_stream_cut_and_not_ended() {
    let ca = Authority::new();
    let place = Place::new(ca.acceptor(&["127.0.0.1"], &[]), ca.options()).await;
    let (mut visitor, service) = place.visited().await;
    let mut service = service.unwrap();
    service.write_all(b"half an ans").await.unwrap();
    service.flush().await.unwrap();
    let mut answered = [0; 11];
    visitor.read_exact(&mut answered).await.unwrap();
    // An orderly end of the connection, and none of TLS: whoever is on the way can make it.
    let (mut tcp, _) = service.into_inner();
    tcp.shutdown().await.unwrap();
    let error = visitor.read(&mut answered).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

// F5
#[tokio::test]
async fn all_that_came_before_a_tls_stream_ended_without_saying_so_is_carried() {
    let ca = Authority::new();
    let place = Place::new(ca.acceptor(&["127.0.0.1"], &[]), ca.options()).await;
    let (mut visitor, service) = place.visited().await;
    let mut service = service.unwrap();
    let ending = tokio::spawn(async move {
        service.write_all(&vec![b'x'; 1 << 20]).await.unwrap();
        service.flush().await.unwrap();
        let (mut tcp, _) = service.into_inner();
        tcp.shutdown().await.unwrap();
        tcp
    });
    let mut answered = Vec::new();
    let error = visitor.read_to_end(&mut answered).await.unwrap_err();
    assert_eq!((error.kind(), answered.len()), (ErrorKind::ConnectionReset, 1 << 20));
    drop(ending.await.unwrap());
}

#[tokio::test]
async fn a_stream_that_the_edge_cuts_is_no_end_of_tls_either() {
    let ca = Authority::new();
    let place = Place::new(ca.acceptor(&["127.0.0.1"], &[]), ca.options()).await;
    let (mut visitor, service) = place.visited().await;
    let mut service = service.unwrap();
    there_and_back(&mut visitor, &mut service).await;
    drop(visitor);
    let error = service.read(&mut [0; 4]).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_with_tls_stands_for_the_hostname_that_is_published() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.sock");
    let socket = tokio::net::UnixListener::bind(&path).unwrap();
    let ca = Authority::new();
    let edge = Edge::start().await;
    let service: Service = format!("unix+tls:{}", path.display()).parse().unwrap();
    let _connector = edge.connector().service_with(www(), service, ca.options()).start().unwrap();
    let up = edge.link().await;
    let acceptor = ca.acceptor(&["www.localhost"], &[]);
    let mut visitor = open(&up.link, 0).await;
    let (unix, _) = socket.accept().await.unwrap();
    let mut service = acceptor.accept(unix).await.unwrap();
    assert_eq!(service.get_ref().1.server_name(), Some("www.localhost"));
    there_and_back(&mut visitor, &mut service).await;
}
