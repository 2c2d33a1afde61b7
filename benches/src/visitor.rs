//! Whoever asks: one connection of a browser, or of something that goes straight to the web server.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result, ensure};
use hyper::{
    Method, Request, Response, Version,
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::{
    Site,
    web::{Filler, length},
};

/// HTTP/2 windows as Chromium has them: of a stream, and of the connection.
const STREAM_WINDOW: u32 = 6 << 20;
const CONNECTION_WINDOW: u32 = 15 << 20;

/// A connection that is kept, and what is said in every request on it.
#[derive(Debug)]
pub struct Visitor {
    sender: Sender,
    authority: String,
    cookie: Option<String>,
}

#[derive(Debug)]
enum Sender {
    One(http1::SendRequest<Filler>),
    Two(http2::SendRequest<Filler>),
}

impl Visitor {
    /// Straight to a web server, by plain HTTP/1.1.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn direct(to: SocketAddr) -> Result<Self> {
        let socket = TcpStream::connect(to).await?;
        socket.set_nodelay(true)?;
        Ok(Self { sender: one(socket).await?, authority: to.to_string(), cookie: None })
    }

    /// To the edge by HTTPS, logged in with `cookie` or a stranger.
    ///
    /// # Errors
    /// The edge does not answer, or does not speak this version.
    pub async fn through(site: &Site, version: Version, cookie: Option<&str>) -> Result<Self> {
        let socket = TcpStream::connect(site.address).await?;
        socket.set_nodelay(true)?;
        let two = version == Version::HTTP_2;
        let mut config = site.tls.clone();
        config.alpn_protocols = vec![if two { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        let name = ServerName::try_from(Site::HOST)?;
        let tls = TlsConnector::from(Arc::new(config)).connect(name, socket).await?;
        let sender = if two { two_streams(tls).await? } else { one(tls).await? };
        let authority = format!("{}:{}", Site::HOST, site.address.port());
        Ok(Self { sender, authority, cookie: cookie.map(str::to_owned) })
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// There is none.
    pub async fn ask(&mut self, method: Method, path: &str, body: Filler) -> Result<Response<Incoming>> {
        let mut request = Request::builder().method(method).header("user-agent", "tunnel-benches");
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie);
        }
        Ok(match &mut self.sender {
            Sender::One(sender) => {
                sender.ready().await?;
                sender.send_request(request.header("host", &self.authority).uri(path).body(body)?).await?
            }
            Sender::Two(sender) => {
                sender.ready().await?;
                let uri = format!("https://{}{path}", self.authority);
                sender.send_request(request.uri(uri).body(body)?).await?
            }
        })
    }

    /// Gets a body of this length, to its end.
    ///
    /// # Errors
    /// It was refused or broke off.
    pub async fn download(&mut self, bytes: u64) -> Result<()> {
        let answer = self.ask(Method::GET, &format!("/{bytes}"), Filler::new(0)).await?;
        ensure!(answer.status() == 200, "a download was answered with {}", answer.status());
        ensure!(length(answer.into_body()).await? == bytes, "a download of another length");
        Ok(())
    }

    /// Sends a body of this length.
    ///
    /// # Errors
    /// It was refused or broke off.
    pub async fn upload(&mut self, bytes: u64) -> Result<()> {
        let answer = self.ask(Method::POST, "/", Filler::new(bytes)).await?;
        let received = answer.headers().get("received").context("an upload that was not answered by the web server")?;
        ensure!(received.to_str()? == bytes.to_string(), "an upload of another length");
        length(answer.into_body()).await?;
        Ok(())
    }
}

async fn one(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Sender> {
    let (sender, connection) = http1::handshake(TokioIo::new(io)).await?;
    tokio::spawn(connection);
    Ok(Sender::One(sender))
}

async fn two_streams(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Sender> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
    let (sender, connection) = builder.handshake(TokioIo::new(io)).await?;
    tokio::spawn(connection);
    Ok(Sender::Two(sender))
}
