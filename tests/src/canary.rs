//! The canary: an origin that keeps every byte it receives, so that a test can say exactly what got through.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use crate::{
    Connector, Lab, PATIENCE,
    raw::{chunked, find},
};

mod http2;

/// What stands on the canary's page, and nowhere else in the world.
pub const SONG: &str = "tweet-4c1f0e-the-private-page";

/// A listening canary; it and its connections end when dropped.
#[derive(Debug)]
pub struct Canary {
    address: SocketAddr,
    http2: bool,
    seen: Arc<Mutex<Seen>>,
    changed: watch::Receiver<()>,
    /// Accepts, and owns every connection.
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Seen {
    /// By number: what came on a connection or, of HTTP/2, on a stream.
    heard: BTreeMap<usize, Vec<u8>>,
    /// The next number.
    next: usize,
    heads: Vec<Head>,
    peers: Vec<SocketAddr>,
    given_up: Vec<(String, u32)>,
}

/// By which connections tell what they hear.
#[derive(Clone)]
struct Ears {
    seen: Arc<Mutex<Seen>>,
    change: Arc<watch::Sender<()>>,
}

impl Ears {
    /// The number of another connection, or of another stream.
    fn number(&self) -> usize {
        let mut seen = self.seen.lock().unwrap();
        let number = seen.next;
        seen.next += 1;
        seen.heard.insert(number, Vec::new());
        number
    }

    fn hears(&self, number: usize, bytes: &[u8]) {
        self.seen.lock().unwrap().heard.entry(number).or_default().extend_from_slice(bytes);
        self.change.send_replace(());
    }

    fn understands(&self, head: Head) {
        self.seen.lock().unwrap().heads.push(head);
        self.change.send_replace(());
    }

    fn loses(&self, target: &str, code: u32) {
        self.seen.lock().unwrap().given_up.push((target.to_owned(), code));
        self.change.send_replace(());
    }
}

/// How a canary answers: given the request head, the bytes of the answer, and whether it closes afterwards.
pub type Manners = Arc<dyn Fn(&Head) -> (Vec<u8>, After) + Send + Sync>;

/// What the canary does with the connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Reads the next request.
    KeepAlive,
    /// Closes.
    Close,
    /// Records what comes and sends it back, whatever it is.
    Echo,
    /// Says nothing more, and goes on recording.
    Silence,
}

impl Canary {
    /// A canary on 127.0.0.1 that answers every request with its page.
    ///
    /// # Errors
    /// No port.
    pub async fn start() -> Result<Self> {
        Self::answering(Arc::new(|_| (page(SONG), After::KeepAlive))).await
    }

    /// A canary with manners of its own.
    ///
    /// # Errors
    /// No port.
    pub async fn answering(manners: Manners) -> Result<Self> {
        Self::speaking(manners, false).await
    }

    /// A canary that speaks HTTP/2 without TLS, and nothing else. Its manners are those of HTTP/1, each for one stream:
    /// after [`After::Close`] that is reset, before its end, with no error.
    ///
    /// # Errors
    /// No port.
    pub async fn answering_http2(manners: Manners) -> Result<Self> {
        Self::speaking(manners, true).await
    }

    async fn speaking(manners: Manners, http2: bool) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let seen = Arc::<Mutex<Seen>>::default();
        let (change, changed) = watch::channel(());
        let ears = Ears { seen: seen.clone(), change: Arc::new(change) };
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, peer)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                let number = ears.number();
                ears.seen.lock().unwrap().peers.push(peer);
                if http2 {
                    connections.spawn(http2::sing(stream, number, ears.clone(), manners.clone()));
                } else {
                    connections.spawn(sing(stream, number, ears.clone(), manners.clone()));
                }
            }
        });
        Ok(Self { address, http2, seen, changed, task })
    }

    /// Publishes it at a hostname of the edge in this lab, as speaking what it speaks.
    ///
    /// # Errors
    /// As [`Connector::start`].
    pub async fn publish(&self, lab: &Lab, hostname: &str) -> Result<Connector> {
        let mut command = Connector::command(lab)?;
        command.args(["--hostname", hostname, "--url", &self.url()]);
        if self.http2 {
            command.arg("--http2-origin");
        }
        Connector::start(&format!("connector {hostname}"), command).await
    }

    /// Its address as a service URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many bytes it has received in all.
    pub fn bytes(&self) -> usize {
        self.seen.lock().unwrap().heard.values().map(Vec::len).sum()
    }

    /// Every byte it has received, by connection; of HTTP/2 by stream, as HTTP/1 would have it.
    pub fn connections(&self) -> Vec<Vec<u8>> {
        self.seen.lock().unwrap().heard.values().cloned().collect()
    }

    /// Every byte it has received, connection after connection.
    pub fn everything(&self) -> Vec<u8> {
        self.connections().concat()
    }

    /// Whether `needle` is among the bytes it received, in any letter case.
    pub fn heard(&self, needle: &str) -> bool {
        let all = self.everything().to_ascii_lowercase();
        find(&all, needle.to_ascii_lowercase().as_bytes()).is_some()
    }

    /// Every request head it has understood, in order.
    pub fn heads(&self) -> Vec<Head> {
        self.seen.lock().unwrap().heads.clone()
    }

    /// Who connected.
    pub fn peers(&self) -> Vec<SocketAddr> {
        self.seen.lock().unwrap().peers.clone()
    }

    /// Streams of HTTP/2 that were reset: their target, and the code.
    pub fn given_up(&self) -> Vec<(String, u32)> {
        self.seen.lock().unwrap().given_up.clone()
    }

    /// Forgets the heads (the bytes of connections stay counted from here on, too).
    pub fn forget(&self) {
        let mut seen = self.seen.lock().unwrap();
        seen.heads.clear();
        seen.heard.clear();
    }

    /// What it has received since the last call: every byte, by the number of its connection (of HTTP/2, of its stream), and
    /// every head that it has understood.
    pub fn take(&self) -> (BTreeMap<usize, Vec<u8>>, Vec<Head>) {
        let mut seen = self.seen.lock().unwrap();
        (std::mem::take(&mut seen.heard), std::mem::take(&mut seen.heads))
    }

    /// Waits for at least `count` heads.
    ///
    /// # Errors
    /// They did not come in time.
    pub async fn wait_for_heads(&self, count: usize) -> Result<Vec<Head>> {
        self.wait_until(|canary| canary.heads().len() >= count).await.context("heads")?;
        Ok(self.heads())
    }

    /// Waits until `condition` holds; it is looked at whenever bytes come.
    ///
    /// # Errors
    /// It did not hold in time.
    pub async fn wait_until(&self, condition: impl Fn(&Self) -> bool) -> Result<()> {
        let mut changed = self.changed.clone();
        let waiting = async {
            loop {
                changed.borrow_and_update();
                if condition(self) {
                    return Ok(());
                }
                changed.changed().await?;
            }
        };
        match timeout(PATIENCE, waiting).await {
            Ok(result) => result,
            Err(_) => bail!("the canary waited in vain; it heard: {}", String::from_utf8_lossy(&self.everything())),
        }
    }

    /// # Panics
    /// It has received a byte.
    #[track_caller]
    pub fn assert_heard_nothing(&self, because: &str) {
        let bytes = self.bytes();
        assert_eq!(bytes, 0, "{because}: the canary heard {}", String::from_utf8_lossy(&self.everything()));
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One request head as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The request line.
    pub line: String,
    /// Names and values exactly as received, in order.
    pub headers: Vec<(String, String)>,
    /// The body, without its transfer coding.
    pub body: Vec<u8>,
    /// The fields behind it.
    pub trailers: Vec<(String, String)>,
    /// The number of the connection that it came by.
    pub connection: usize,
}

impl Head {
    /// The target of the request line.
    pub fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    /// The method of the request line.
    pub fn method(&self) -> &str {
        self.line.split(' ').next().unwrap_or_default()
    }

    /// Every value of a header, in any letter case.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }

    /// The only value of a header.
    ///
    /// # Panics
    /// There is not exactly one.
    #[track_caller]
    pub fn one(&self, name: &str) -> &str {
        let all = self.all(name);
        assert_eq!(all.len(), 1, "exactly one {name} in {self:?}");
        all[0]
    }
}

/// An answer of 200 with `body` as HTML.
pub fn page(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

async fn sing(mut stream: TcpStream, number: usize, ears: Ears, manners: Manners) {
    let mut waiting: Vec<u8> = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut mode = After::KeepAlive;
    while let Ok(n @ 1..) = stream.read(&mut buffer).await {
        ears.hears(number, &buffer[..n]);
        match mode {
            After::Echo => {
                if stream.write_all(&buffer[..n]).await.is_err() {
                    return;
                }
                continue;
            }
            After::Silence => continue,
            After::KeepAlive | After::Close => waiting.extend_from_slice(&buffer[..n]),
        }
        while let Some((head, used)) = parse(&waiting, number) {
            waiting.drain(..used);
            let (answer, after) = manners(&head);
            ears.understands(head);
            if stream.write_all(&answer).await.is_err() {
                return;
            }
            mode = after;
            match after {
                After::Close => return,
                After::KeepAlive => {}
                After::Echo | After::Silence => break,
            }
        }
    }
}

/// The request at the beginning of what a connection has sent, and how many bytes it took. What came by HTTP/2 is chunked
/// without saying so.
fn parse(bytes: &[u8], connection: usize) -> Option<(Head, usize)> {
    let end = find(bytes, b"\r\n\r\n")?;
    let text = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = text.split("\r\n");
    let line = lines.next().unwrap_or_default().to_owned();
    let headers = lines.map(field).collect();
    let mut head = Head { line, headers, body: Vec::new(), trailers: Vec::new(), connection };
    let body = &bytes[end + 4..];
    let codings = head.all("transfer-encoding");
    if head.line.ends_with(" HTTP/2") || codings.iter().any(|v| v.to_ascii_lowercase().contains("chunked")) {
        let whole = chunked(body).ok()??;
        let trailers = String::from_utf8_lossy(&whole.trailers);
        head.trailers = trailers.split("\r\n").filter(|line| !line.is_empty()).map(field).collect();
        head.body = whole.body;
        return Some((head, end + 4 + whole.used));
    }
    let length: usize = head.all("content-length").first().and_then(|v| v.parse().ok()).unwrap_or(0);
    if body.len() < length {
        return None;
    }
    head.body = body[..length].to_vec();
    Some((head, end + 4 + length))
}

fn field(line: &str) -> (String, String) {
    line.split_once(':').map_or((line.to_owned(), String::new()), |(n, v)| (n.to_owned(), v.trim().to_owned()))
}
