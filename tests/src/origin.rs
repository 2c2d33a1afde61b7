//! Real origins: nginx, and a small server for events, WebSockets and big bodies.

use std::{convert::Infallible, fs, net::SocketAddr};

use anyhow::Result;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    Request, Response,
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
    upgrade,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, sync::broadcast, task::JoinHandle};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{handshake::derive_accept_key, protocol::Role},
};

use crate::{Lab, Netns, Process, edge::listens};

/// A running nginx with a folder of pages.
#[derive(Debug)]
pub struct Nginx {
    /// The program.
    pub process: Process,
    address: SocketAddr,
    log: std::path::PathBuf,
}

impl Nginx {
    /// Starts nginx on 127.0.0.1:`port` of the lab, serving `index` at `/` and at `/deep/page`.
    ///
    /// # Errors
    /// It did not start.
    pub async fn start(lab: &Lab, port: u16, index: &str) -> Result<Self> {
        let mut nginx = Self::spawn(lab, lab.net(), port, index)?;
        listens(&mut nginx.process, nginx.address).await?;
        Ok(nginx)
    }

    /// Starts nginx on 127.0.0.1:`port` of another namespace, without waiting for it.
    ///
    /// # Errors
    /// It did not start.
    pub fn spawn(lab: &Lab, net: &Netns, port: u16, index: &str) -> Result<Self> {
        let dir = lab.path(format!("nginx-{}-{port}", net.name()));
        fs::create_dir_all(dir.join("pages/deep"))?;
        // The temporary directory is the owner's; nginx reads as root here (`user root`).
        fs::write(dir.join("pages/index.html"), index)?;
        fs::write(dir.join("pages/deep/page"), index)?;
        let (root, log) = (dir.display(), dir.join("access.log"));
        let config = format!(
            "daemon off; master_process off; user root; pid {root}/pid; error_log stderr info;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ default_type text/html; access_log {root}/access.log; client_body_temp_path {root}/b; proxy_temp_path {root}/p; \
             fastcgi_temp_path {root}/f; uwsgi_temp_path {root}/u; scgi_temp_path {root}/s; client_max_body_size 0;\n\
             server {{ listen 127.0.0.1:{port}; root {root}/pages; }} }}\n"
        );
        let file = dir.join("nginx.conf");
        fs::write(&file, config)?;
        let mut command = lab.dress(net.command("/usr/sbin/nginx"));
        command.arg("-c").arg(file);
        let process = Process::start("nginx", command)?;
        Ok(Self { process, address: format!("127.0.0.1:{port}").parse()?, log })
    }

    /// Its address as a service URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its access log so far.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn access_log(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.log)?)
    }
}

/// A small real server: `/events` streams what [`Streams::say`] says, `/ws` echoes messages, `/bytes/N` sends N bytes,
/// and any POST is answered with the length and a checksum of what came.
#[derive(Debug)]
pub struct Streams {
    address: SocketAddr,
    events: broadcast::Sender<String>,
    task: JoinHandle<()>,
}

impl Streams {
    /// Starts it on 127.0.0.1.
    ///
    /// # Errors
    /// No port.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (events, _) = broadcast::channel(64);
        let sender = events.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let sender = sender.clone();
                let service = service_fn(move |request| answer(request, sender.subscribe()));
                let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades();
                tokio::spawn(connection);
            }
        });
        Ok(Self { address, events, task })
    }

    /// Its address as a service URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sends an event to everyone who listens; gives how many do.
    pub fn say(&self, event: &str) -> usize {
        self.events.send(event.to_owned()).unwrap_or(0)
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Body = BoxBody<Bytes, Infallible>;

/// The checksum that [`Streams`] answers an upload with (FNV-1a, 64 bits), continued from `hash`.
pub fn checksum(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// The checksum of nothing.
pub const CHECKSUM_START: u64 = 0xcbf2_9ce4_8422_2325;

/// The block that `/bytes/N` repeats.
pub fn block() -> Bytes {
    (0..64 * 1024u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect::<Vec<_>>().into()
}

async fn answer(
    mut request: Request<Incoming>,
    events: broadcast::Receiver<String>,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    if path == "/events" {
        let stream = futures::stream::unfold(events, |mut events| async move {
            let event = events.recv().await.ok()?;
            Some((Ok(Frame::data(Bytes::from(format!("data: {event}\n\n")))), events))
        });
        // The first comment shows that the stream is open.
        let first = futures::stream::once(async { Ok(Frame::data(Bytes::from_static(b": open\n\n"))) });
        let body = BodyExt::boxed(StreamBody::new(first.chain(stream)));
        return Ok(Response::builder().header("content-type", "text/event-stream").body(body).unwrap());
    }
    if path == "/ws" {
        let Some(key) = request.headers().get("sec-websocket-key").cloned() else {
            return Ok(Response::builder().status(400).body(full("a WebSocket is spoken here")).unwrap());
        };
        let upgraded = upgrade::on(&mut request);
        tokio::spawn(async move {
            let Ok(upgraded) = upgraded.await else { return };
            let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
            while let Some(Ok(message)) = socket.next().await {
                if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
                    return;
                }
            }
        });
        let answer = Response::builder().status(101).header("connection", "Upgrade").header("upgrade", "websocket");
        return Ok(answer.header("sec-websocket-accept", derive_accept_key(key.as_bytes())).body(full("")).unwrap());
    }
    if let Some(count) = path.strip_prefix("/bytes/").and_then(|n| n.parse::<u64>().ok()) {
        let whole = block();
        let stream = futures::stream::unfold(count, move |left| {
            let whole = whole.clone();
            async move {
                let size = left.min(whole.len() as u64);
                (size > 0).then(|| (Ok(Frame::data(whole.slice(..size as usize))), left - size))
            }
        });
        let body = BodyExt::boxed(StreamBody::new(stream));
        return Ok(Response::builder().header("content-length", count).body(body).unwrap());
    }
    let (mut count, mut hash) = (0u64, CHECKSUM_START);
    while let Some(Ok(frame)) = request.body_mut().frame().await {
        if let Some(data) = frame.data_ref() {
            count += data.len() as u64;
            hash = checksum(hash, data);
        }
    }
    Ok(Response::new(full(&format!("{count} {hash:016x}"))))
}

fn full(text: &str) -> Body {
    Full::new(Bytes::from(text.to_owned())).boxed()
}
