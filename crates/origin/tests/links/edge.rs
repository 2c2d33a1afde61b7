//! An edge made of the protocol crate.

use std::{
    sync::{Arc, Mutex},
    time::SystemTime,
};

use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tunnel_origin::{Builder, Connector, Credentials, EdgeAddress, SocketTarget};
use tunnel_proto::{
    Hostname, LinkId, Revision, RuleId, TunnelId, UnixTime,
    identity::{Ca, CertRole, KeyAndCsr, link_server_config, peer_identity},
    link::{self, Greeting, Link, Settings, Stream, Welcomed},
    message::{Limits, Message, Open, Role, Table, TableAccepted},
};

pub(crate) struct Edge {
    pub(crate) ca: Ca,
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

#[derive(Debug)]
struct One(Arc<CertifiedKey>);

impl ResolvesServerCert for One {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

pub(crate) fn zone() -> Hostname {
    Hostname::parse("localhost").unwrap()
}

pub(crate) fn now() -> UnixTime {
    UnixTime(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs())
}

impl Edge {
    pub(crate) async fn start() -> Self {
        let ca = Ca::generate(&zone(), now()).unwrap();
        let certificate = ca.server_certificate(&["access.localhost".parse().unwrap()], now()).unwrap();
        let config = link_server_config(&ca, Arc::new(One(Arc::new(certificate)))).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { ca, listener, acceptor: TlsAcceptor::from(Arc::new(config)) }
    }

    pub(crate) fn address(&self) -> EdgeAddress {
        let port = self.listener.local_addr().unwrap().port();
        EdgeAddress::parse(&format!("https://access.localhost:{port}"), None).unwrap()
    }

    /// Credentials of a tunnel, issued at `issued`.
    pub(crate) fn credentials_at(&self, issued: UnixTime) -> Credentials {
        let key = KeyAndCsr::generate().unwrap();
        let role = CertRole::Connector(TunnelId::from_random([9; 16]));
        let certificate = self.ca.issue(&key.csr_pem, role, issued).unwrap().certificate_pem;
        Credentials::new(zone(), self.ca.certificate_pem(), &certificate, key.key_pem).unwrap()
    }

    /// A connector of one link to this edge.
    pub(crate) fn connector(&self) -> Builder {
        Connector::builder().edge(self.address()).credentials(self.credentials_at(now())).connections(1)
    }

    pub(crate) async fn accept_tcp(&self) -> TcpStream {
        self.listener.accept().await.unwrap().0
    }

    pub(crate) fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }

    pub(crate) async fn accept_tls(&self) -> TlsStream<TcpStream> {
        let tcp = self.accept_tcp().await;
        self.acceptor.accept(tcp).await.unwrap()
    }

    /// The next greeting, and the serial number of the certificate that came with it.
    pub(crate) async fn greeting(&self) -> (Greeting, String) {
        let tls = self.accept_tls().await;
        let peer = peer_identity(&zone(), &tls.get_ref().1.peer_certificates().unwrap()[0]).unwrap();
        (link::accept(tls, peer.role.role(), Settings::for_edge()).await.unwrap(), peer.serial_hex)
    }

    /// The next link, with the table that it announced, which is not answered yet.
    pub(crate) async fn announced(&self) -> (Welcomed, Table) {
        let (greeting, _) = self.greeting().await;
        assert_eq!(greeting.hello().role, Role::Connector);
        let mut edge = greeting.welcome(link_id(), Limits::default(), vec![]).await.unwrap();
        let Some(Message::Table(table)) = edge.control.next().await else { panic!("no table") };
        (edge, table)
    }

    /// The next link, its table accepted.
    pub(crate) async fn link(&self) -> Welcomed {
        let (edge, table) = self.announced().await;
        edge.control.send(TableAccepted { revision: table.revision }).await.unwrap();
        edge
    }
}

fn link_id() -> LinkId {
    static COUNT: Mutex<u8> = Mutex::new(0);
    let mut count = COUNT.lock().unwrap();
    *count = count.wrapping_add(1);
    LinkId::from_random([*count; 16])
}

pub(crate) fn opening(rule: u32) -> Open {
    Open::new(Revision(1), RuleId(rule), [192, 0, 2, 7].into(), [5; 16])
}

pub(crate) async fn open(link: &Link, rule: u32) -> Stream {
    link.open(opening(rule)).await.unwrap()
}

/// The service at a listener of the test.
pub(crate) fn target(listener: &TcpListener) -> SocketTarget {
    listener.local_addr().unwrap().to_string().parse().unwrap()
}
