//! A service that answers nothing but `GET /`, at which a login ends, and knows what else it is asked and how much of that has
//! ended.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use crate::raw::find;

/// What a service was asked, and how much of it has ended: by HTTP/1, each with its connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests whose head has come.
    pub asked: usize,
    /// Those of them that are over.
    pub ended: usize,
}

/// A listening service. It and its connections end when dropped.
#[derive(Debug)]
pub struct Silent {
    address: SocketAddr,
    counts: watch::Receiver<Counts>,
    task: JoinHandle<()>,
}

impl Silent {
    /// Starts it on 127.0.0.1.
    ///
    /// # Errors
    /// No port.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (change, counts) = watch::channel(Counts::default());
        let change = Arc::new(change);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                connections.spawn(hear(stream, change.clone()));
            }
        });
        Ok(Self { address, counts, task })
    }

    /// Its address as a service URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it was asked so far.
    pub fn counts(&self) -> Counts {
        *self.counts.borrow()
    }

    /// Waits for what was asked and has ended.
    ///
    /// # Errors
    /// It was not, or had not, in time.
    pub async fn until(&self, patience: Duration, wanted: impl Fn(Counts) -> bool) -> Result<()> {
        let mut counts = self.counts.clone();
        let waiting = timeout(patience, counts.wait_for(|counts| wanted(*counts))).await;
        waiting.with_context(|| format!("still {:?}", self.counts()))??;
        Ok(())
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A request that is open, until dropped.
struct Open(Arc<watch::Sender<Counts>>);

impl Open {
    fn new(change: Arc<watch::Sender<Counts>>) -> Self {
        change.send_modify(|counts| counts.asked += 1);
        Self(change)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|counts| counts.ended += 1);
    }
}

/// Reads to the end, whatever it is.
async fn hear(mut stream: TcpStream, change: Arc<watch::Sender<Counts>>) {
    let (mut head, mut buffer, mut open) = (Vec::new(), vec![0; 64 * 1024], None);
    while let Ok(n @ 1..) = stream.read(&mut buffer).await {
        if open.is_some() {
            continue;
        }
        head.extend_from_slice(&buffer[..n]);
        let Some(end) = find(&head, b"\r\n\r\n") else { continue };
        if head.starts_with(b"GET / ") {
            head.drain(..end + 4);
            if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await.is_err() {
                return;
            }
        } else {
            open = Some(Open::new(change.clone()));
        }
    }
}
