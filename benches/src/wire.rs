//! The way of one stream: an edge's end of a link, a real connector, a TCP service. No HTTP, no policy.

use std::{sync::Arc, time::SystemTime};

use anyhow::{Context, Result, bail};
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};
use tokio_rustls::TlsAcceptor;
use tunnel_origin::{Connector, Credentials, EdgeAddress, Service, Stream};
use tunnel_proto::{
    HostPattern, Hostname, LinkId, Revision, RuleId, TunnelId, UnixTime,
    identity::{Ca, CertRole, KeyAndCsr, link_server_config, peer_identity},
    link::{self, Link, Settings},
    message::{Limits, Message, Open, TableAccepted},
};

use crate::{bulk, role::Role};

/// A link that is up. Dropped, everything ends.
#[derive(Debug)]
pub struct Wire {
    /// The edge's handle.
    pub link: Link,
    /// The TCP service.
    pub service: bulk::Service,
    /// Where the edge's work is done, and with it that of whoever calls: in earnest the relay of an access client's stream.
    pub edge: Runtime,
    _connector: Connector,
    _connector_runtime: Runtime,
}

#[derive(Debug)]
struct One(Arc<CertifiedKey>);

impl ResolvesServerCert for One {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

impl Wire {
    /// Starts everything.
    ///
    /// # Errors
    /// A part does not start.
    pub fn start() -> Result<Self> {
        let (edge, connector_runtime) = (Role::Edge.runtime()?, Role::Connector.runtime()?);
        let service = bulk::Service::start()?;
        let zone = Hostname::parse("localhost")?;
        let now = UnixTime(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs());
        let ca = Ca::generate(&zone, now)?;
        let certificate = ca.server_certificate(&["access.localhost".parse()?], now)?;
        let tls = TlsAcceptor::from(Arc::new(link_server_config(&ca, Arc::new(One(Arc::new(certificate))))?));
        let listener = edge.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let key = KeyAndCsr::generate()?;
        let tunnel = TunnelId::from_random([9; 16]);
        let issued = ca.issue(&key.csr_pem, CertRole::Connector(tunnel), now)?;
        let credentials = Credentials::new(zone.clone(), ca.certificate_pem(), &issued.certificate_pem, key.key_pem)?;
        let port = listener.local_addr()?.port();
        let connector = Connector::builder()
            .edge(EdgeAddress::parse(&format!("https://access.localhost:{port}"), None)?)
            .credentials(credentials)
            .service("bench.localhost".parse::<HostPattern>()?, Service::Tcp(service.address.to_string().parse()?))
            .connections(1);
        let connector = connector_runtime.block_on(async { connector.start() })?;
        // In a task of the edge's runtime, like everything of the edge.
        let link = edge.block_on(edge.spawn(greet(listener, tls, zone)))??;
        Ok(Self { link, service, edge, _connector: connector, _connector_runtime: connector_runtime })
    }

    /// Opens a stream to the service over a link, and waits until the connector has connected it.
    ///
    /// # Errors
    /// The link has ended, or the connector refuses.
    pub async fn open(link: &Link) -> Result<bulk::Caller<Stream>> {
        let open = Open::new(Revision(1), RuleId(0), [127, 0, 0, 1].into(), [5; 16]);
        let mut stream = link.open(open).await?;
        stream.accepted().await?;
        Ok(bulk::Caller::new(stream))
    }

    /// Connects straight to the service.
    ///
    /// # Errors
    /// It does not listen.
    pub async fn connect(service: std::net::SocketAddr) -> Result<bulk::Caller<TcpStream>> {
        let socket = TcpStream::connect(service).await?;
        socket.set_nodelay(true)?;
        Ok(bulk::Caller::new(socket))
    }
}

/// The edge's part until a link serves: TLS, the greeting, the connector's table.
async fn greet(listener: TcpListener, tls: TlsAcceptor, zone: Hostname) -> Result<Link> {
    let socket = listener.accept().await?.0;
    socket.set_nodelay(true)?;
    let tls = tls.accept(socket).await?;
    let certificates = tls.get_ref().1.peer_certificates().context("a certificate")?;
    let peer = peer_identity(&zone, certificates.first().context("a certificate")?)?;
    let greeting = link::accept(tls, peer.role.role(), Settings::for_edge()).await?;
    let mut welcomed = greeting.welcome(LinkId::from_random([7; 16]), Limits::default(), Vec::new()).await?;
    let Some(Message::Table(table)) = welcomed.control.next().await else { bail!("no table") };
    welcomed.control.send(TableAccepted { revision: table.revision }).await?;
    let link = welcomed.link.clone();
    // Answers pings for as long as there is a link.
    tokio::spawn(async move { while welcomed.control.next().await.is_some() {} });
    Ok(link)
}
