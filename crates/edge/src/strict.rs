//! What stands before the HTTP library on an HTTP/1 connection: it follows every byte, and lets through what has one reading
//! only.
//!
//! The library is lenient where an edge must not be: it cuts a fragment off, takes a length beside a coding, codings that it
//! does not know, bare line feeds, and anything in the extensions of chunks. So heads are held back until they are whole
//! and judged ([`head`]), and bodies are followed to their end ([`chunks`]). What is not understood here to the letter is
//! never handed on, so that the library cannot read it in another way:
//!
//! - In the place of a head that is refused the library gets [`STAND_IN`], which nobody admits; it is answered in its turn,
//!   and the connection closes.
//! - A body that is refused ends there, which is an error for whoever reads it.
//! - The end of what a visitor sends is kept back while an answer is under way ([`end`]).
//!
//! What follows a request is judged once that has its answer: only then is it known to be a head, and not a WebSocket's
//! bytes, which are nothing to look at.

mod chunks;
mod end;
mod head;
mod pace;
#[cfg(test)]
mod tests;

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};
use tokio_util::io::poll_read_buf;

use self::{
    chunks::{Chunks, Seen},
    end::End,
    head::{Framing, Search},
    pace::Answered,
};
pub(crate) use self::{
    head::{FIELDS_MAX, HEAD_MAX},
    pace::{Going, Pace},
};
use crate::request::Malformed;

/// What is read in the place of a head that is refused: it has no host, and a target that only `OPTIONS` may have.
const STAND_IN: &[u8] = b"GET * HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n";
/// How much is read at a time while a head comes in pieces.
const PIECE: usize = 4 * 1024;
/// How much is read away, and for how long, of a request that was answered before its end: a socket that is closed with
/// something unread takes back what it has sent.
const LINGER_MAX: usize = 1024 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(2);

/// What comes next on a connection.
enum Reading {
    /// A head.
    Head(Search),
    /// So many bytes of a body.
    Body(u64),
    Chunks(Box<Chunks>),
    /// Whatever it is, after the answer to what was asked.
    Answer,
    /// Anything.
    Raw,
    /// Nothing: in the place of a head that was refused comes [`STAND_IN`].
    RefusedHead,
    /// Nothing: a body was refused.
    RefusedBody,
}

/// Follows what comes, and says how much of it may be read.
struct Inspector {
    reading: Reading,
    pace: Arc<Pace>,
}

impl Inspector {
    /// How many of `bytes` may be read. The others come again, with more behind them, unless they are refused.
    fn release(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0_usize;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            match &mut self.reading {
                Reading::Head(search) => {
                    let end = match search.end(rest) {
                        Ok(None) => return at,
                        Ok(Some(end)) => end,
                        Err(fault) => return self.refuse_head(at, rest, fault),
                    };
                    let framing = match head::judge(rest.get(..end).unwrap_or_default()) {
                        Ok(framing) => framing,
                        Err(fault) => return self.refuse_head(at, rest.get(..end).unwrap_or_default(), fault),
                    };
                    self.pace.ask();
                    at = at.saturating_add(end);
                    self.reading = match framing {
                        Framing::Length(0) => Reading::Answer,
                        Framing::Length(length) => Reading::Body(length),
                        Framing::Chunked => Reading::Chunks(Box::new(Chunks::new())),
                    };
                }
                Reading::Body(left) => {
                    let some = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left = left.saturating_sub(some as u64);
                    at = at.saturating_add(some);
                    if *left > 0 {
                        return at;
                    }
                    self.reading = Reading::Answer;
                }
                Reading::Chunks(chunks) => {
                    let (used, seen) = chunks.follow(rest);
                    at = at.saturating_add(used);
                    match seen {
                        Seen::More => return at,
                        Seen::End => self.reading = Reading::Answer,
                        Seen::Broken => return self.refuse(at, Reading::RefusedBody, Malformed::Framing),
                    }
                }
                Reading::Answer => {
                    self.reading = match self.pace.answered() {
                        None => return at,
                        Some(Answered::Plainly) => Reading::Head(Search::default()),
                        Some(Answered::BySwitching) => Reading::Raw,
                    };
                }
                Reading::Raw => return bytes.len(),
                Reading::RefusedHead | Reading::RefusedBody => return at,
            }
        }
    }

    /// Refuses a head that begins with `head`; what it says of its reader is kept for the answer.
    fn refuse_head(&mut self, at: usize, head: &[u8], fault: Malformed) -> usize {
        let mut asker = head::asker(head);
        let mut target = None;
        if fault == Malformed::HeadTooLarge {
            asker.extend(head::cookies(head));
            target = head::target(head);
        }
        self.pace.is_asked_by(asker, target);
        self.refuse(at, Reading::RefusedHead, fault)
    }

    fn refuse(&mut self, at: usize, reading: Reading, fault: Malformed) -> usize {
        self.pace.refuse(fault);
        self.reading = reading;
        at
    }
}

/// A visitor's connection, of which only plain HTTP/1 can be read.
pub(crate) struct Strict<S> {
    io: S,
    inspector: Inspector,
    /// What has come and was not read yet.
    held: BytesMut,
    /// How much of that may be read.
    good: usize,
    /// The stand-in has been put into its place.
    stood_in: bool,
    end: End,
    /// Nothing is sent any more; how much is still read away, and for how long.
    lingers: Option<(usize, Pin<Box<Sleep>>)>,
}

impl<S> Strict<S> {
    /// A connection that speaks HTTP/1 from here on, at the pace of `pace`; without one, anything.
    pub(crate) fn new(io: S, pace: Option<Arc<Pace>>) -> Self {
        let reading = if pace.is_some() { Reading::Head(Search::default()) } else { Reading::Raw };
        let inspector = Inspector { reading, pace: pace.unwrap_or_default() };
        Self { io, inspector, held: BytesMut::new(), good: 0, stood_in: false, end: End::default(), lingers: None }
    }

    /// Takes back what was read and not used; it is read again before anything else.
    pub(crate) fn put_back(&mut self, bytes: &[u8]) {
        let mut held = BytesMut::from(bytes);
        held.extend_from_slice(&self.held);
        self.held = held;
        self.good = self.good.saturating_add(bytes.len());
    }

    /// What follows from the last look: what is refused is never read.
    fn settle(&mut self) {
        match self.inspector.reading {
            Reading::RefusedHead if !self.stood_in => {
                self.held.truncate(self.good);
                self.held.extend_from_slice(STAND_IN);
                self.good = self.held.len();
                self.stood_in = true;
            }
            Reading::RefusedBody => self.held.truncate(self.good),
            _ => {}
        }
        let is_amid_a_head = matches!(self.inspector.reading, Reading::Head(_)) && !self.held.is_empty();
        self.inspector.pace.is_amid_a_head(is_amid_a_head);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Strict<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Reading::Raw = this.inspector.reading
            && this.held.is_empty()
        {
            return Pin::new(&mut this.io).poll_read(cx, buf);
        }
        loop {
            if this.good > 0 {
                let some = this.good.min(buf.remaining());
                buf.put_slice(this.held.get(..some).unwrap_or_default());
                this.held.advance(some);
                this.good = this.good.saturating_sub(some);
                if this.held.is_empty() {
                    this.held = BytesMut::new();
                }
                return Poll::Ready(Ok(()));
            }
            match this.inspector.reading {
                // It is answered, and then the connection is closed, by whoever has read it.
                Reading::RefusedHead if this.stood_in => return Poll::Pending,
                Reading::RefusedBody => return Poll::Ready(Ok(())),
                _ => {}
            }
            if this.held.is_empty() {
                // Bytes of bodies, and whole heads, are read where they are, without being copied.
                let before = buf.filled().len();
                ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
                let new = buf.filled().get(before..).unwrap_or_default();
                if new.is_empty() {
                    if let Reading::Answer = this.inspector.reading {
                        ready!(this.end.poll_told(&this.inspector.pace, cx));
                    }
                    return Poll::Ready(Ok(()));
                }
                let good = this.inspector.release(new);
                this.held.extend_from_slice(new.get(good..).unwrap_or_default());
                buf.set_filled(before.saturating_add(good));
                this.settle();
                if good > 0 {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            this.good = this.inspector.release(&this.held);
            this.settle();
            if this.good > 0 {
                continue;
            }
            match this.inspector.reading {
                Reading::Answer => ready!(this.inspector.pace.poll_answered(cx)),
                Reading::Head(_) => {
                    this.held.reserve(PIECE);
                    if ready!(poll_read_buf(Pin::new(&mut this.io), cx, &mut this.held))? == 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
                _ => {}
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Strict<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(cx, buf);
        this.end.wrote(&written);
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        this.end.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.io).poll_flush(cx);
        this.end.flushed(&flushed);
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingers.is_none() {
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
        }
        if matches!(this.inspector.reading, Reading::Head(_) | Reading::Answer | Reading::Raw) {
            return Poll::Ready(Ok(()));
        }
        let (left, over) = this.lingers.get_or_insert_with(|| (LINGER_MAX, Box::pin(sleep(LINGER_TIME))));
        let mut unread = [0; PIECE];
        while *left > 0 && over.as_mut().poll(cx).is_pending() {
            let mut buf = ReadBuf::new(&mut unread);
            let read = ready!(Pin::new(&mut this.io).poll_read(cx, &mut buf));
            if read.is_err() || buf.filled().is_empty() {
                break;
            }
            *left = left.saturating_sub(buf.filled().len());
        }
        Poll::Ready(Ok(()))
    }
}
