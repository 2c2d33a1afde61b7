//! Requests to the edge, by HTTPS and HTTP/1.1, one after the other on a connection that is kept.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tunnel_proto::identity::provider;

use crate::{
    edge::{LOGIN_HOST, Token},
    meter::Times,
};

/// The answer of our services.
pub(crate) const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Trusts the edge's CA.
pub(crate) fn trusting(ca: &str, alpn: &[u8]) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes())?)?;
    let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(Arc::new(config))
}

/// A TLS connection to the edge, with the certificate of `host`.
pub(crate) async fn secure(to: SocketAddr, tls: &Arc<ClientConfig>, host: &str) -> Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(to).await?;
    socket.set_nodelay(true)?;
    let name = ServerName::try_from(host.to_owned())?;
    let shaken = timeout(PATIENCE, TlsConnector::from(tls.clone()).connect(name, socket)).await;
    shaken.context("a handshake that takes too long")?.context("a handshake")
}

/// A connection to the edge on which is asked.
pub(crate) struct Visitor {
    stream: TlsStream<TcpStream>,
    token: Token,
    read: Vec<u8>,
}

impl Visitor {
    pub(crate) async fn come(to: SocketAddr, tls: &Arc<ClientConfig>, token: &Token) -> Result<Self> {
        Ok(Self { stream: secure(to, tls, LOGIN_HOST).await?, token: token.clone(), read: Vec::new() })
    }

    /// Asks once, and reads the answer, which has to be that of a service; how long it took.
    pub(crate) async fn ask(&mut self, host: &str) -> Result<Duration> {
        let Token { id, secret } = &self.token;
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {host}\r\nUser-Agent: scale\r\nCF-Access-Client-Id: {id}\r\nCF-Access-Client-Secret: \
             {secret}\r\n\r\n"
        );
        let begun = Instant::now();
        self.stream.write_all(request.as_bytes()).await?;
        self.stream.flush().await?;
        let answer = timeout(PATIENCE, self.answer()).await.with_context(|| format!("no answer from {host}"))??;
        let time = begun.elapsed();
        ensure!(answer == b"ok", "another answer than the service's");
        Ok(time)
    }

    /// Asks the edge itself for something, so that the connection is one that was used.
    pub(crate) async fn greet(&mut self) -> Result<()> {
        let request = format!("GET /.access/certs HTTP/1.1\r\nHost: {LOGIN_HOST}\r\nUser-Agent: scale\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await?;
        self.stream.flush().await?;
        timeout(PATIENCE, self.answer()).await.context("no answer from the edge")??;
        self.read = Vec::new();
        Ok(())
    }

    /// The body of the next answer.
    async fn answer(&mut self) -> Result<Vec<u8>> {
        self.read.clear();
        let head = loop {
            if let Some(end) = find(&self.read, b"\r\n\r\n") {
                break end + 4;
            }
            let count = self.stream.read_buf(&mut self.read).await?;
            ensure!(count > 0, "the edge has closed the connection");
        };
        let text = String::from_utf8_lossy(self.read.get(..head).unwrap_or_default()).to_ascii_lowercase();
        if !text.starts_with("http/1.1 200 ") {
            bail!("the edge says `{}`", text.lines().next().unwrap_or_default());
        }
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
        let whole = head + length.context("an answer without a length")?;
        while self.read.len() < whole {
            ensure!(self.stream.read_buf(&mut self.read).await? > 0, "the edge has closed the connection");
        }
        Ok(self.read.get(head..whole).unwrap_or_default().to_vec())
    }

    /// Asks so many times, of one host after the other.
    pub(crate) async fn ask_all<'a>(&mut self, hosts: impl Iterator<Item = &'a String>) -> Result<Times> {
        let mut times = Times::default();
        for host in hosts {
            times.push(self.ask(host).await?);
        }
        Ok(times)
    }
}

/// Where something begins.
pub(crate) fn find(text: &[u8], piece: &[u8]) -> Option<usize> {
    text.windows(piece.len()).position(|window| window == piece)
}

/// As many of `all` as are wanted, from all over.
pub(crate) fn spread<T: Clone>(all: &[T], wanted: usize) -> Vec<T> {
    let step = (all.len() / wanted.max(1)).max(1);
    all.iter().step_by(step).take(wanted).cloned().collect()
}
