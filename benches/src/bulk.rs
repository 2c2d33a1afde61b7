//! What is said on a raw stream, the same whether it goes over a link or straight to the service.
//!
//! The caller says a letter and a number (big-endian). `d`: the service sends so many bytes. `u`: the caller sends so many,
//! and the service then one. `e`: so many single bytes go there and come back, one after the other.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};

use crate::role::Role;

/// What is read and written at once.
const PIECE: usize = 64 * 1024;

/// The service: takes connections until it is dropped.
#[derive(Debug)]
pub struct Service {
    /// Where it listens.
    pub address: SocketAddr,
    _runtime: Runtime,
}

impl Service {
    /// Starts it on loopback.
    ///
    /// # Errors
    /// It cannot listen.
    pub fn start() -> Result<Self> {
        let runtime = Role::Origin.runtime()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                // Whoever calls sees what went wrong: the connection ends.
                tokio::spawn(serve(socket));
            }
        });
        Ok(Self { address, _runtime: runtime })
    }
}

async fn serve(mut socket: TcpStream) -> Result<()> {
    socket.set_nodelay(true)?;
    let mut piece = vec![b'x'; PIECE];
    loop {
        let mut command = [0; 1];
        if socket.read(&mut command).await? == 0 {
            return Ok(());
        }
        let count = socket.read_u64().await?;
        match command {
            [b'd'] => send(&mut socket, count, &piece).await?,
            [b'u'] => {
                receive(&mut socket, count, &mut piece).await?;
                socket.write_u8(1).await?;
            }
            [b'e'] => {
                for _ in 0..count {
                    let byte = socket.read_u8().await?;
                    socket.write_u8(byte).await?;
                }
            }
            _ => bail!("not a command"),
        }
    }
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the service to the caller.
    Down,
    /// From the caller to the service.
    Up,
}

/// What a caller can speak on.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Io for S {}

/// The caller's end of a stream.
#[derive(Debug)]
pub struct Caller<S> {
    stream: S,
    piece: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Caller<S> {
    /// Speaks on `stream`.
    pub fn new(stream: S) -> Self {
        Self { stream, piece: vec![b'y'; PIECE] }
    }

    /// The same, whatever it speaks on.
    pub fn boxed(self) -> Caller<Box<dyn Io>>
    where
        S: Send + 'static,
    {
        Caller { stream: Box::new(self.stream), piece: self.piece }
    }

    /// Carries so many bytes, again and again; the time of each.
    ///
    /// # Errors
    /// The stream broke.
    pub async fn carry(&mut self, direction: Direction, bytes: u64, times: u64) -> Result<Vec<Duration>> {
        let mut taken = Vec::with_capacity(usize::try_from(times)?);
        for _ in 0..times {
            let begun = Instant::now();
            match direction {
                Direction::Down => self.download(bytes).await?,
                Direction::Up => self.upload(bytes).await?,
            }
            taken.push(begun.elapsed());
        }
        Ok(taken)
    }

    /// Lets the service send so many bytes.
    ///
    /// # Errors
    /// The stream broke.
    pub async fn download(&mut self, bytes: u64) -> Result<()> {
        self.command(b'd', bytes).await?;
        receive(&mut self.stream, bytes, &mut self.piece).await
    }

    /// Sends so many bytes, until the service has them.
    ///
    /// # Errors
    /// The stream broke.
    pub async fn upload(&mut self, bytes: u64) -> Result<()> {
        self.command(b'u', bytes).await?;
        send(&mut self.stream, bytes, &self.piece).await?;
        self.stream.read_u8().await?;
        Ok(())
    }

    /// Lets so many bytes go there and back, one by one; the time of each.
    ///
    /// # Errors
    /// The stream broke.
    pub async fn ping(&mut self, count: u64) -> Result<Vec<Duration>> {
        self.command(b'e', count).await?;
        let mut times = Vec::with_capacity(usize::try_from(count)?);
        for _ in 0..count {
            let begun = Instant::now();
            self.stream.write_u8(7).await?;
            self.stream.read_u8().await?;
            times.push(begun.elapsed());
        }
        Ok(times)
    }

    /// Ends the stream and waits for the service to do the same.
    ///
    /// # Errors
    /// The stream broke, or the service says more.
    pub async fn end(mut self) -> Result<()> {
        self.stream.shutdown().await?;
        ensure!(self.stream.read(&mut self.piece).await? == 0, "the service says more");
        Ok(())
    }

    async fn command(&mut self, letter: u8, count: u64) -> Result<()> {
        let mut command = [letter; 9];
        command[1..].copy_from_slice(&count.to_be_bytes());
        self.stream.write_all(&command).await?;
        Ok(())
    }
}

async fn send(to: &mut (impl AsyncWrite + Unpin), mut left: u64, piece: &[u8]) -> Result<()> {
    while left > 0 {
        let length = usize::try_from(left)?.min(piece.len());
        to.write_all(&piece[..length]).await?;
        left -= length as u64;
    }
    to.flush().await?;
    Ok(())
}

async fn receive(from: &mut (impl AsyncRead + Unpin), mut left: u64, piece: &mut [u8]) -> Result<()> {
    while left > 0 {
        let most = usize::try_from(left)?.min(piece.len());
        let length = from.read(&mut piece[..most]).await?;
        ensure!(length > 0, "the stream ended early");
        left -= length as u64;
    }
    Ok(())
}
