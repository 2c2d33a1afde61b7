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
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use anyhow::{Context, Result, bail};
use rustls::{
    ServerConfig,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Handle,
};
use tunnel_proto::{
    Hostname, LinkId, Revision, RuleId, TunnelId, UnixTime,
    cores::{self, Cores},
    identity::{Ca, CertRole, KeyAndCsr, link_server_config, peer_identity},
    link::{self, Carried, Link, LinkSocket, Settings, relay},
    message::{Limits, Message, Open, TableAccepted},
    tls,
};

const ZONE: &str = "bench.localhost";

/// A link that is up.
#[derive(Clone)]
struct Up {
    link: Link,
    /// Of its connector's table.
    revision: Revision,
    /// The core that it lives on.
    core: usize,
}

/// The links that are up.
#[derive(Default)]
struct Links(Mutex<Vec<Up>>);

impl Links {
    fn all(&self) -> MutexGuard<'_, Vec<Up>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One for a connection of a core: in turn one of those that live there, or of all.
    fn next(&self, core: usize, turn: usize) -> Option<Up> {
        let all = self.all();
        let mut here = all.iter().filter(|up| up.core == core).peekable();
        match here.peek() {
            Some(_) => here.clone().nth(turn % here.count()).cloned(),
            None => all.get(turn % all.len().max(1)).cloned(),
        }
    }
}

#[derive(Debug)]
struct One(Arc<CertifiedKey>);

impl ResolvesServerCert for One {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

// A runtime for each core, as the programs have it.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, at, config_dir] = &arguments[..] else { bail!("usage: door LISTEN LINKS CONFIG-DIR") };
    let (listen, at): (SocketAddr, SocketAddr) = (listen.parse()?, at.parse()?);
    let zone = Hostname::parse(ZONE)?;
    let now = UnixTime(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs());
    let ca = Ca::generate(&zone, now)?;
    let certificate = ca.server_certificate(&[format!("access.{ZONE}").parse()?], now)?;
    let tls = Arc::new(link_server_config(&ca, Arc::new(One(Arc::new(certificate))))?);
    let links = Arc::new(Links::default());
    let (link_listener, listener) = (TcpListener::bind(at).await?, std::net::TcpListener::bind(listen)?);
    listener.set_nonblocking(true)?;
    enrol(&ca, &zone, now, at, Path::new(config_dir))?;
    let cores = Cores::start("core", cores::usual())?;
    for (core, runtime) in cores.handles().iter().enumerate() {
        let (listener, links) = (listener.try_clone()?, links.clone());
        runtime.spawn(async move {
            if let Err(error) = accept(listener, core, &links).await {
                eprintln!("core {core}: {error:#}");
            }
        });
    }
    println!("ready");
    accept_links(link_listener, tls, zone, links, cores.handles()).await
}

/// Takes connections on one core, and carries them.
async fn accept(listener: std::net::TcpListener, core: usize, links: &Links) -> Result<()> {
    let listener = TcpListener::from_std(listener)?;
    for turn in 0_usize.. {
        let (socket, _) = listener.accept().await?;
        if let Some(up) = links.next(core, turn) {
            tokio::spawn(carry(socket, up));
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

/// Takes links, and gives each to the next core.
async fn accept_links(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    zone: Hostname,
    links: Arc<Links>,
    cores: &[Handle],
) -> Result<()> {
    for (core, runtime) in cores.iter().enumerate().cycle() {
        let socket = listener.accept().await?.0.into_std()?;
        let (tls, zone, links) = (tls.clone(), zone.clone(), links.clone());
        runtime.spawn(async move {
            if let Err(error) = serve_link(socket, tls, zone, &links, core).await {
                eprintln!("a link: {error:#}");
            }
        });
    }
    bail!("there is no core")
}

/// One link, from its greeting to its end.
async fn serve_link(
    socket: std::net::TcpStream,
    tls: Arc<ServerConfig>,
    zone: Hostname,
    links: &Links,
    core: usize,
) -> Result<()> {
    let socket = TcpStream::from_std(socket)?;
    socket.set_nodelay(true)?;
    let tls = tls::accept(tls, socket).await?;
    let tls = tls.map_io(LinkSocket::new);
    let peer = peer_identity(&zone, tls.agreed().certificates.first().context("a certificate")?)?;
    let greeting = link::accept(tls, peer.role.role(), Settings::for_edge()).await?;
    let id = LinkId::from_random([u8::try_from(links.all().len())?; 16]);
    let mut welcomed = greeting.welcome(id, Limits::default(), Vec::new()).await?;
    let Some(Message::Table(table)) = welcomed.control.next().await else { bail!("no table") };
    let revision = table.revision;
    welcomed.control.send(TableAccepted { revision }).await?;
    let count = {
        let mut all = links.all();
        all.push(Up { link: welcomed.link.clone(), revision, core });
        all.len()
    };
    println!("link {count}");
    // Answers pings for as long as there is a link.
    while welcomed.control.next().await.is_some() {}
    Ok(())
}

async fn carry(mut socket: TcpStream, up: Up) -> Result<()> {
    socket.set_nodelay(true)?;
    let mut stream = up.link.open(Open::new(up.revision, RuleId(0), [127, 0, 0, 1].into(), [5; 16])).await?;
    stream.accepted().await?;
    Ok(relay(&mut stream, &mut socket, &Carried::default()).await?)
}
