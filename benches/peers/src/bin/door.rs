//! An edge's end of links with a plain TCP port in front: what rathole, bore and `ssh -R` are, made of our wire.
//!
//! `door LISTEN LINKS CONFIG-DIR` makes a CA and credentials for `connector run bench --config-dir CONFIG-DIR`, takes the
//! connector's links at LINKS, and carries each connection at LISTEN on a stream of one of them in turn. There is no policy, no
//! HTTP and no access client: it measures one TLS leg, and is no product.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a harness; nothing here is shipped")]

use std::{
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use anyhow::{Context, Result, bail};
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tunnel_proto::{
    Hostname, LinkId, Revision, RuleId, TunnelId, UnixTime,
    identity::{Ca, CertRole, KeyAndCsr, link_server_config, peer_identity},
    link::{self, Carried, Link, Settings, relay},
    message::{Limits, Message, Open, TableAccepted},
};

const ZONE: &str = "bench.localhost";

/// The links that are up, each with the revision of its connector's table.
type Links = Mutex<Vec<(Link, Revision)>>;

#[derive(Debug)]
struct One(Arc<CertifiedKey>);

impl ResolvesServerCert for One {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

// As the programs have it.
#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, at, config_dir] = &arguments[..] else { bail!("usage: door LISTEN LINKS CONFIG-DIR") };
    let (listen, at): (SocketAddr, SocketAddr) = (listen.parse()?, at.parse()?);
    let zone = Hostname::parse(ZONE)?;
    let now = UnixTime(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs());
    let ca = Ca::generate(&zone, now)?;
    let certificate = ca.server_certificate(&[format!("access.{ZONE}").parse()?], now)?;
    let tls = TlsAcceptor::from(Arc::new(link_server_config(&ca, Arc::new(One(Arc::new(certificate))))?));
    let links: Arc<Links> = Arc::default();
    let (link_listener, listener) = (TcpListener::bind(at).await?, TcpListener::bind(listen).await?);
    enrol(&ca, &zone, now, at, Path::new(config_dir))?;
    println!("ready");
    tokio::spawn(accept_links(link_listener, tls, zone, links.clone()));
    for turn in 0_usize.. {
        let (socket, _) = listener.accept().await?;
        let next = {
            let links = links.lock().map_err(|_| anyhow::anyhow!("a thread panicked"))?;
            links.get(turn % links.len().max(1)).cloned()
        };
        if let Some((link, revision)) = next {
            tokio::spawn(carry(socket, link, revision));
        }
    }
    Ok(())
}

/// What `connector run bench` reads.
fn enrol(ca: &Ca, zone: &Hostname, now: UnixTime, at: SocketAddr, config_dir: &Path) -> Result<()> {
    let (key, tunnel) = (KeyAndCsr::generate()?, TunnelId::from_random([9; 16]));
    let issued = ca.issue(&key.csr_pem, CertRole::Connector(tunnel), now)?;
    let place = config_dir.join("tunnels/bench");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&place)?;
    let about = format!(
        "{{\"tunnel\": \"{tunnel}\", \"name\": \"bench\", \"zone\": \"{zone}\", \"hostnames\": [\"tcp.{ZONE}\"], \
         \"edge\": \"https://access.{ZONE}:{}\"}}\n",
        at.port()
    );
    let credentials = [&key.key_pem, issued.certificate_pem.as_str(), ca.certificate_pem()];
    let credentials: String = credentials.iter().map(|part| format!("{}\n", part.trim_end())).collect();
    for (name, text) in [("tunnel.json", about), ("credentials.pem", credentials)] {
        let file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(place.join(name));
        std::io::Write::write_all(&mut file?, text.as_bytes())?;
    }
    Ok(())
}

async fn accept_links(listener: TcpListener, tls: TlsAcceptor, zone: Hostname, links: Arc<Links>) {
    while let Ok((socket, _)) = listener.accept().await {
        let (tls, zone, links) = (tls.clone(), zone.clone(), links.clone());
        tokio::spawn(async move {
            if let Err(error) = serve_link(socket, tls, zone, &links).await {
                eprintln!("a link: {error:#}");
            }
        });
    }
}

/// One link, from its greeting to its end.
async fn serve_link(socket: TcpStream, tls: TlsAcceptor, zone: Hostname, links: &Links) -> Result<()> {
    socket.set_nodelay(true)?;
    let tls = tls.accept(socket).await?;
    let certificates = tls.get_ref().1.peer_certificates().context("a certificate")?;
    let peer = peer_identity(&zone, certificates.first().context("a certificate")?)?;
    let greeting = link::accept(tls, peer.role.role(), Settings::for_edge()).await?;
    let count = links.lock().map_or(0, |links| links.len());
    let id = LinkId::from_random([u8::try_from(count)?; 16]);
    let mut welcomed = greeting.welcome(id, Limits::default(), Vec::new()).await?;
    let Some(Message::Table(table)) = welcomed.control.next().await else { bail!("no table") };
    let revision = table.revision;
    welcomed.control.send(TableAccepted { revision }).await?;
    links.lock().map_err(|_| anyhow::anyhow!("a thread panicked"))?.push((welcomed.link.clone(), revision));
    println!("link {}", count + 1);
    // Answers pings for as long as there is a link.
    while welcomed.control.next().await.is_some() {}
    Ok(())
}

async fn carry(mut socket: TcpStream, link: Link, revision: Revision) -> Result<()> {
    socket.set_nodelay(true)?;
    let mut stream = link.open(Open::new(revision, RuleId(0), [127, 0, 0, 1].into(), [5; 16])).await?;
    stream.accepted().await?;
    Ok(relay(&mut stream, &mut socket, &Carried::default()).await?)
}
