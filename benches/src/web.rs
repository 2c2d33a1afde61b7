//! The web server behind the connector: bodies of any length, in both directions.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use anyhow::Result;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    Method, Request, Response,
    body::{Body, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, runtime::Runtime};

/// What a body is made of.
const CHUNK: usize = 64 * 1024;

/// A body of some length, whose bytes do not matter.
#[derive(Debug)]
pub struct Filler {
    left: u64,
    chunk: Bytes,
}

impl Filler {
    /// So many bytes.
    pub fn new(length: u64) -> Self {
        Self { left: length, chunk: Bytes::from(vec![b'x'; CHUNK.min(usize::try_from(length).unwrap_or(CHUNK))]) }
    }
}

impl Body for Filler {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let length = usize::try_from(self.left).unwrap_or(CHUNK).min(self.chunk.len());
        self.left -= length as u64;
        Poll::Ready(Some(Ok(Frame::data(self.chunk.slice(..length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Reads a body to its end; how long it was.
///
/// # Errors
/// It broke off.
pub async fn length(mut body: Incoming) -> Result<u64> {
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        length += frame?.data_ref().map_or(0, |data| data.len() as u64);
    }
    Ok(length)
}

/// A web server that runs until it is dropped. `GET /N` is answered with N bytes, `POST` with the length of what was sent in the
/// field `received`.
#[derive(Debug)]
pub struct Web {
    /// Where it listens.
    pub address: SocketAddr,
    _runtime: Arc<Runtime>,
}

impl Web {
    /// Starts it on loopback.
    ///
    /// # Errors
    /// It cannot listen.
    pub fn start(runtime: Arc<Runtime>) -> Result<Self> {
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                socket.set_nodelay(true).unwrap();
                // A visitor that goes away ends its connection, and nothing else.
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service_fn(answer)));
            }
        });
        Ok(Self { address, _runtime: runtime })
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Filler>> {
    if *request.method() == Method::GET {
        return Ok(Response::new(Filler::new(request.uri().path().trim_start_matches('/').parse()?)));
    }
    let received = length(request.into_body()).await?;
    Ok(Response::builder().header("received", received).body(Filler::new(0))?)
}
