//! A visitor without manners: exact bytes over a socket, with any SNI and ALPN.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::PATIENCE;

/// Where to knock: an address and, for TLS, what to present there.
#[derive(Clone, Debug)]
pub struct Door {
    /// The address.
    pub address: SocketAddr,
    /// How to do TLS; `None` for the plain port.
    pub tls: Option<Tls>,
}

/// What a TLS client presents.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The server name, which the certificate must fit.
    pub sni: String,
    /// Protocols offered.
    pub alpn: Vec<Vec<u8>>,
    /// What is trusted.
    pub config: Arc<ClientConfig>,
}

impl Tls {
    /// The handshake.
    async fn over(&self, tcp: TcpStream) -> Result<TlsStream<TcpStream>> {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = self.alpn.clone();
        let name = ServerName::try_from(self.sni.clone())?;
        let handshake = TlsConnector::from(Arc::new(config)).connect(name, tcp);
        timeout(PATIENCE, handshake).await.context("the handshake took too long")?.context("the handshake")
    }
}

impl Door {
    /// The plain port.
    pub fn plain(address: SocketAddr) -> Self {
        Self { address, tls: None }
    }

    /// The TLS port, trusting `ca` (PEM), naming `sni` and offering `alpn`.
    ///
    /// # Errors
    /// The CA cannot be read.
    pub fn tls(address: SocketAddr, ca: &str, sni: &str, alpn: &[&str]) -> Result<Self> {
        let alpn = alpn.iter().map(|a| a.as_bytes().to_vec()).collect();
        Ok(Self { address, tls: Some(Tls { sni: sni.into(), alpn, config: trusting(ca)? }) })
    }

    /// The same door, naming another server.
    pub fn naming(&self, sni: &str) -> Self {
        let mut door = self.clone();
        if let Some(tls) = &mut door.tls {
            tls.sni = sni.into();
        }
        door
    }

    /// The same door, offering other protocols.
    pub fn offering(&self, alpn: &[&str]) -> Self {
        let mut door = self.clone();
        if let Some(tls) = &mut door.tls {
            tls.alpn = alpn.iter().map(|a| a.as_bytes().to_vec()).collect();
        }
        door
    }

    /// Opens it.
    ///
    /// # Errors
    /// The connection or the handshake failed.
    pub async fn open(&self) -> Result<Raw> {
        let tcp = timeout(PATIENCE, TcpStream::connect(self.address)).await.context("connecting took too long")??;
        self.enter(tcp).await
    }

    /// Opens it from another address of this machine. With a `window`, hardly more bytes than that come before they are read.
    ///
    /// # Errors
    /// As [`Door::open`], or the address is none of this machine.
    pub async fn open_from(&self, source: Ipv4Addr, window: Option<u32>) -> Result<Raw> {
        let socket = TcpSocket::new_v4()?;
        if let Some(window) = window {
            socket.set_recv_buffer_size(window)?;
        }
        socket.bind(SocketAddr::from((source, 0)))?;
        let connecting = timeout(PATIENCE, socket.connect(self.address));
        self.enter(connecting.await.context("connecting took too long")??).await
    }

    async fn enter(&self, tcp: TcpStream) -> Result<Raw> {
        tcp.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match &self.tls {
            Some(tls) => Box::new(tls.over(tcp).await?),
            None => Box::new(tcp),
        };
        Ok(Raw { stream, kept: Vec::new() })
    }

    /// Opens it by TLS, for whoever speaks there what [`Raw`] does not know.
    ///
    /// # Errors
    /// As [`Door::open`], or it is the plain port.
    pub async fn secured(&self) -> Result<TlsStream<TcpStream>> {
        let tls = self.tls.as_ref().context("the plain port has no TLS")?;
        let tcp = timeout(PATIENCE, TcpStream::connect(self.address)).await.context("connecting took too long")?;
        let tcp = tcp.context("connecting")?;
        tcp.set_nodelay(true)?;
        tls.over(tcp).await
    }

    /// Opens it, sends `request`, and reads one answer.
    ///
    /// # Errors
    /// As [`Door::open`] and [`Raw::answer`].
    pub async fn ask(&self, request: &[u8]) -> Result<Answer> {
        let mut raw = self.open().await?;
        raw.send(request).await?;
        raw.answer(!request.starts_with(b"HEAD ")).await
    }
}

/// A TLS configuration that trusts exactly `ca` (PEM).
///
/// # Errors
/// The CA cannot be read.
pub fn trusting(ca: &str) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        roots.add(certificate?)?;
    }
    if roots.is_empty() {
        bail!("no certificate in the CA file");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// What both a TCP and a TLS stream are.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// An open connection.
pub struct Raw {
    stream: Box<dyn Stream>,
    kept: Vec<u8>,
}

impl std::fmt::Debug for Raw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Raw").finish_non_exhaustive()
    }
}

impl Raw {
    /// Sends bytes. A peer that has closed already is no error: what it answered is still to be read.
    ///
    /// # Errors
    /// It took too long.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let work = async {
            let _ = self.stream.write_all(bytes).await;
            let _ = self.stream.flush().await;
        };
        timeout(PATIENCE, work).await.context("sending took too long")
    }

    /// Ends the sending direction.
    ///
    /// # Errors
    /// It took too long.
    pub async fn finish(&mut self) -> Result<()> {
        let _ = timeout(PATIENCE, self.stream.shutdown()).await.context("closing took too long")?;
        Ok(())
    }

    /// Reads some bytes; empty at the end.
    ///
    /// # Errors
    /// Nothing came in time.
    pub async fn read(&mut self) -> Result<Vec<u8>> {
        if !self.kept.is_empty() {
            return Ok(std::mem::take(&mut self.kept));
        }
        let mut buffer = Vec::with_capacity(64 * 1024);
        // A connection that broke is at its end.
        let _ = timeout(PATIENCE, self.stream.read_buf(&mut buffer)).await.context("nothing came")?;
        Ok(buffer)
    }

    /// Reads so many bytes at most; none at the end.
    ///
    /// # Errors
    /// Nothing came in time, or the connection broke.
    pub async fn sip(&mut self, most: usize) -> Result<Vec<u8>> {
        if !self.kept.is_empty() {
            let count = most.min(self.kept.len());
            return Ok(front(&mut self.kept, count));
        }
        let mut buffer = vec![0; most];
        let count = timeout(PATIENCE, self.stream.read(&mut buffer)).await.context("nothing came")??;
        buffer.truncate(count);
        Ok(buffer)
    }

    /// Whether the peer sends or closes within `patience`; what it sent is kept.
    pub async fn stirs(&mut self, patience: Duration) -> bool {
        let mut buffer = [0; 4096];
        match timeout(patience, self.stream.read(&mut buffer)).await {
            Ok(Ok(n)) => {
                self.kept.extend_from_slice(&buffer[..n]);
                true
            }
            Ok(Err(_)) => true,
            Err(_) => false,
        }
    }

    /// Reads until the end of the connection.
    ///
    /// # Errors
    /// The end did not come in time.
    pub async fn rest(&mut self) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            let some = self.read().await?;
            if some.is_empty() {
                return Ok(all);
            }
            all.extend(some);
        }
    }

    /// Reads until the connection's end, which has to be said: by TLS with a `close_notify`.
    ///
    /// # Errors
    /// The end did not come in time, or the connection was cut.
    pub async fn to_its_end(&mut self) -> Result<Vec<u8>> {
        let mut all = std::mem::take(&mut self.kept);
        timeout(PATIENCE, self.stream.read_to_end(&mut all)).await.context("the end did not come")??;
        Ok(all)
    }

    /// Reads one final answer; 1xx other than 101 are passed over. What follows it stays for the next call.
    ///
    /// # Errors
    /// Nothing came in time, or it was no HTTP/1 answer.
    pub async fn answer(&mut self, with_body: bool) -> Result<Answer> {
        let mut bytes = std::mem::take(&mut self.kept);
        loop {
            let Some(end) = find(&bytes, b"\r\n\r\n") else {
                let some = self.read().await?;
                if some.is_empty() {
                    if bytes.is_empty() {
                        return Ok(Answer::closed());
                    }
                    bail!("the answer was cut: {:?}", String::from_utf8_lossy(&bytes));
                }
                bytes.extend(some);
                continue;
            };
            let mut answer = Answer::parse(&bytes[..end + 2])?;
            bytes.drain(..end + 4);
            if answer.status < 200 && answer.status != 101 {
                continue;
            }
            if with_body && !matches!(answer.status, 101 | 204 | 304) {
                answer.body = self.body(&answer, &mut bytes).await?;
            }
            self.kept = bytes;
            return Ok(answer);
        }
    }

    async fn body(&mut self, answer: &Answer, bytes: &mut Vec<u8>) -> Result<Vec<u8>> {
        if let Some(length) = answer.header("content-length") {
            let length: usize = length.parse()?;
            while bytes.len() < length {
                let some = self.read().await?;
                if some.is_empty() {
                    bail!("the body was cut after {} of {length} bytes", bytes.len());
                }
                bytes.extend(some);
            }
            return Ok(front(bytes, length));
        }
        if answer.header("transfer-encoding").is_some_and(|t| t.eq_ignore_ascii_case("chunked")) {
            let mut chunks = Chunks::default();
            loop {
                if let Some(Chunked { body, used, .. }) = chunks.go_on(bytes)? {
                    bytes.drain(..used);
                    return Ok(body);
                }
                let some = self.read().await?;
                if some.is_empty() {
                    bail!("the chunked body was cut");
                }
                bytes.extend(some);
            }
        }
        let mut body = std::mem::take(bytes);
        body.extend(self.rest().await?);
        Ok(body)
    }
}

/// One HTTP/1 answer; status 0 when the connection was closed without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Names in lower case, and values, in order.
    pub headers: Vec<(String, String)>,
    /// The body, without its transfer coding.
    pub body: Vec<u8>,
}

impl Answer {
    fn closed() -> Self {
        Self { status: 0, headers: Vec::new(), body: Vec::new() }
    }

    fn parse(head: &[u8]) -> Result<Self> {
        let text = String::from_utf8_lossy(head);
        let mut lines = text.split("\r\n").filter(|l| !l.is_empty());
        let first = lines.next().context("an empty head")?;
        let status =
            first.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).context("no status line")?.parse()?;
        let headers = lines
            .map(|l| l.split_once(':').map_or((l.into(), String::new()), |(n, v)| (n.to_lowercase(), v.trim().into())));
        Ok(Self { status, headers: headers.collect(), body: Vec::new() })
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Where `needle` begins in `bytes`.
pub fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

/// Takes the first `count` of them away, at once: byte by byte, as a drain is collected, a big body takes a second here, where
/// nothing is optimised.
fn front(bytes: &mut Vec<u8>, count: usize) -> Vec<u8> {
    let rest = bytes.split_off(count);
    std::mem::replace(bytes, rest)
}

/// A chunked body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunked {
    /// What is in its chunks.
    pub body: Vec<u8>,
    /// The lines behind the last chunk.
    pub trailers: Vec<u8>,
    /// How many bytes all of it took.
    pub used: usize,
}

/// A whole chunked body at the beginning of `bytes`, with what stands behind the last chunk; `None` if incomplete.
///
/// # Errors
/// It is not a chunked body.
pub fn chunked(bytes: &[u8]) -> Result<Option<Chunked>> {
    Chunks::default().go_on(bytes)
}

/// How far a chunked body has been read while it arrives: no chunk is read twice.
#[derive(Default)]
struct Chunks {
    body: Vec<u8>,
    /// Where the first chunk begins that was not whole.
    at: usize,
}

impl Chunks {
    /// The whole body, once it is at the beginning of `bytes`: those of the last call, and what has come since.
    fn go_on(&mut self, bytes: &[u8]) -> Result<Option<Chunked>> {
        loop {
            let Some(line) = find(&bytes[self.at..], b"\r\n") else { return Ok(None) };
            let size = std::str::from_utf8(&bytes[self.at..self.at + line])?;
            let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)
                .with_context(|| format!("chunk size {size:?}"))?;
            let start = self.at + line + 2;
            if size == 0 {
                let rest = &bytes[start..];
                // An end at once, or behind the lines that follow.
                let end =
                    if rest.starts_with(b"\r\n") { Some((0, 2)) } else { find(rest, b"\r\n\r\n").map(|end| (end, 4)) };
                let Some((end, mark)) = end else { return Ok(None) };
                let (body, trailers) = (std::mem::take(&mut self.body), rest[..end].to_vec());
                return Ok(Some(Chunked { body, trailers, used: start + end + mark }));
            }
            if bytes.len() < start + size + 2 {
                return Ok(None);
            }
            self.body.extend_from_slice(&bytes[start..start + size]);
            self.at = start + size + 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunked_body_that_comes_byte_by_byte_is_the_same_as_at_once() {
        for (wire, trailers) in
            [("3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", ""), ("5\r\nabcde\r\n0\r\nA: b\r\n\r\n", "A: b")]
        {
            let (bytes, mut chunks) = (format!("{wire}next").into_bytes(), Chunks::default());
            let expected = Chunked { body: b"abcde".to_vec(), trailers: trailers.into(), used: wire.len() };
            assert_eq!(chunked(&bytes).unwrap(), Some(expected.clone()));
            for end in 0..wire.len() {
                assert_eq!(chunks.go_on(&bytes[..end]).unwrap(), None, "{end} bytes of {wire:?}");
            }
            assert_eq!(chunks.go_on(&bytes[..wire.len()]).unwrap(), Some(expected));
        }
    }
}
