//! HTTP/1.1: a connection for each request, and connections that are kept between requests.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use anyhow::{Result, bail, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
};
use tokio_rustls::client::TlsStream;

use super::{Page, Trip};
use crate::raw::{Door, find};

/// Connections that are kept at least, each of a visitor who comes back. Used in turn, so that none is idle for long.
const KEPT_LEAST: usize = 32;
/// Requests at a time, each on its connection. What is due beyond that waits, and is late.
const AT_ONCE: usize = 100;
/// What a good answer begins with.
const GOOD: &[u8] = b"HTTP/1.1 200 ";
/// Room for an answer.
const ANSWER: usize = 8 * 1024;

/// One of the connections that are open, counted until it is dropped.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn one(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Relaxed);
        Self(count.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// What became of a request on a connection.
enum Fate {
    /// The right answer; whether it was the last one there.
    Answered { last: bool },
    /// The end of the connection, before a byte of the answer.
    Closed,
}

/// A connection.
struct One {
    io: TlsStream<TcpStream>,
    got: Vec<u8>,
}

impl One {
    async fn open(door: &Door) -> Result<Self> {
        Ok(Self { io: door.secured().await?, got: Vec::with_capacity(ANSWER) })
    }

    /// Asks, and waits for an answer with this ending: the end of its head, and the body.
    async fn ask(&mut self, request: &[u8], ending: &[u8], trip: &mut Trip<'_>) -> Result<Fate> {
        // A peer that has closed already may have said something before.
        let _ = self.io.write_all(request).await;
        let _ = self.io.flush().await;
        trip.sent();
        self.got.clear();
        while !self.got.ends_with(ending) {
            match self.io.read_buf(&mut self.got).await {
                Ok(1..) => {}
                _ if self.got.is_empty() => return Ok(Fate::Closed),
                ended => bail!("the answer was cut ({ended:?}): {}", String::from_utf8_lossy(&self.got)),
            }
            let begin = &self.got[..self.got.len().min(GOOD.len())];
            ensure!(GOOD.starts_with(begin), "another answer: {}", String::from_utf8_lossy(&self.got));
        }
        let head = &self.got[..self.got.len() - ending.len()];
        Ok(Fate::Answered { last: find(head, b"onnection: close").is_some() })
    }
}

/// Connections that are kept.
pub(super) struct Kept {
    door: Door,
    request: Vec<u8>,
    only_request: Vec<u8>,
    ending: Vec<u8>,
    open: Arc<AtomicUsize>,
    idle: Mutex<VecDeque<(One, Open)>>,
    room: Semaphore,
}

impl Kept {
    pub(super) fn new(page: &Page) -> Self {
        Self {
            door: page.door.offering(&["http/1.1"]),
            request: page.request(""),
            only_request: page.request("Connection: close\r\n"),
            ending: format!("\r\n\r\n{}", page.body).into_bytes(),
            open: Arc::default(),
            idle: Mutex::default(),
            room: Semaphore::new(AT_ONCE),
        }
    }

    /// Asks on a connection of its own.
    pub(super) async fn anew(&self, trip: &mut Trip<'_>) -> Result<()> {
        let mut one = One::open(&self.door).await?;
        let fate = one.ask(&self.only_request, &self.ending, trip).await?;
        ensure!(matches!(fate, Fate::Answered { .. }), "a new connection was closed without an answer");
        Ok(())
    }

    /// Asks on a connection that is idle, or a new one. One that turns out to be closed is none, as for a browser (RFC 9112
    /// §9.3.1).
    pub(super) async fn ask(&self, trip: &mut Trip<'_>) -> Result<()> {
        let _room = self.room.acquire().await?;
        if let Some((one, open)) = self.idle() {
            if self.on(one, open, trip).await? {
                return Ok(());
            }
            trip.tally.closed();
        }
        let open = Open::one(&self.open);
        let one = One::open(&self.door).await?;
        ensure!(self.on(one, open, trip).await?, "a new connection was closed without an answer");
        Ok(())
    }

    /// The one that has been idle the longest, once there are as many as there are to be.
    fn idle(&self) -> Option<(One, Open)> {
        if self.open.load(Relaxed) < KEPT_LEAST {
            return None;
        }
        self.idle.lock().unwrap().pop_front()
    }

    /// Asks on a connection, and keeps it if it may be used again; whether there was an answer.
    async fn on(&self, mut one: One, open: Open, trip: &mut Trip<'_>) -> Result<bool> {
        match one.ask(&self.request, &self.ending, trip).await? {
            Fate::Closed => return Ok(false),
            Fate::Answered { last: true } => {}
            Fate::Answered { last: false } => self.idle.lock().unwrap().push_back((one, open)),
        }
        Ok(true)
    }
}
