//! A TCP service that sends back what it gets, and ends when its peer has.

use std::net::SocketAddr;

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};

/// A listening echo; it and its connections end when dropped.
#[derive(Debug)]
pub struct Echo {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Echo {
    /// An echo on 127.0.0.1.
    ///
    /// # Errors
    /// No port.
    pub async fn start() -> Result<Self> {
        Self::at("127.0.0.1:0".parse()?).await
    }

    /// An echo at an address.
    ///
    /// # Errors
    /// It cannot be had.
    pub async fn at(address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut socket, _)) = listener.accept().await {
                connections.spawn(async move {
                    let mut buffer = vec![0; 16 * 1024];
                    let (mut read, mut write) = socket.split();
                    while let Ok(n) = read.read(&mut buffer).await {
                        if n == 0 || write.write_all(&buffer[..n]).await.is_err() {
                            break;
                        }
                    }
                    write.shutdown().await.ok();
                });
            }
        });
        Ok(Self { address, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The service as a connector publishes it.
    pub fn url(&self) -> String {
        format!("tcp://{}", self.address)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.task.abort();
    }
}
