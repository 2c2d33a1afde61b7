//! What stands between the multiplexer and the bytes: big writes, late flushes, and an eye on every frame.
//!
//! yamux writes header and body apart and flushes after every frame; under TLS each would be a record and a system call of
//! its own. Here writes are gathered, `flush` does nothing, and what was gathered leaves when the multiplexer turns to
//! reading, as it always does before it waits.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::meter::{Meter, MuxHeader, YAMUX_HEADER};

/// Gathered bytes from which on a write is tried: four full TLS records.
const WRITE_AT: usize = 64 * 1024;
/// Gathered bytes from which on no more are taken until some are gone.
const WRITE_MAX: usize = 128 * 1024;
/// The most read at once.
const READ_MAX: usize = 64 * 1024;

pub(super) struct Socket<T> {
    io: T,
    meter: Arc<Meter>,
    out: BytesMut,
    out_frame: Progress,
    input: BytesMut,
    in_frame: Progress,
    in_end: Option<u32>,
    in_payload: bool,
    /// The socket takes nothing any more. What the peer sent before it went is read all the same.
    broken: Option<io::ErrorKind>,
    shut: bool,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Socket<T> {
    pub(super) fn new(io: T, meter: Arc<Meter>) -> Self {
        Self {
            io,
            meter,
            out: BytesMut::new(),
            out_frame: Progress::default(),
            input: BytesMut::new(),
            in_frame: Progress::default(),
            in_end: None,
            in_payload: false,
            broken: None,
            shut: false,
        }
    }

    /// Takes bytes of the multiplexer, frame by frame.
    fn gather(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (taken, header) = self.out_frame.advance(bytes);
            let (head, rest) = bytes.split_at(taken.min(bytes.len()));
            match header {
                Step::Header(header) => self.out.extend_from_slice(&self.meter.outbound(header).bytes()),
                Step::PartOfHeader => {}
                Step::Body => self.out.extend_from_slice(head),
            }
            bytes = rest;
            self.inject();
        }
    }

    /// Adds the resets that the multiplexer would not send, between two frames.
    fn inject(&mut self) {
        if self.out_frame.is_between() {
            for reset in self.meter.take_injections() {
                self.out.extend_from_slice(&reset.bytes());
            }
        }
    }

    /// Writes what was gathered; done as well when the socket is broken.
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.out.is_empty() {
            match Pin::new(&mut self.io).poll_write(cx, &self.out) {
                Poll::Ready(Ok(count @ 1..)) => {
                    self.out.advance(count.min(self.out.len()));
                    let mut pulse = self.meter.pulse();
                    if pulse.untaken.take().is_some() {
                        pulse.note_moved(Instant::now());
                    }
                }
                Poll::Ready(Ok(0)) => self.give_up(io::ErrorKind::WriteZero),
                Poll::Ready(Err(error)) => self.give_up(error.kind()),
                Poll::Pending => {
                    let mut pulse = self.meter.pulse();
                    pulse.queued.get_or_insert_with(Instant::now);
                    pulse.untaken.get_or_insert_with(Instant::now);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(())
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.drain(cx));
        let flushed = match Pin::new(&mut self.io).poll_flush(cx) {
            _ if self.broken.is_some() => Poll::Ready(()),
            Poll::Ready(Ok(())) => Poll::Ready(()),
            Poll::Ready(Err(error)) => {
                self.give_up(error.kind());
                Poll::Ready(())
            }
            Poll::Pending => Poll::Pending,
        };
        let mut pulse = self.meter.pulse();
        if flushed.is_pending() {
            pulse.queued.get_or_insert_with(Instant::now);
        } else {
            if pulse.queued.is_some() && self.broken.is_none() {
                pulse.note_moved(Instant::now());
            }
            pulse.queued = None;
        }
        flushed
    }

    fn give_up(&mut self, error: io::ErrorKind) {
        self.out.clear();
        self.meter.pulse().untaken = None;
        self.broken.get_or_insert(error);
    }

    fn fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.input.resize(READ_MAX, 0);
        let mut buffer = ReadBuf::new(&mut self.input);
        let result = Pin::new(&mut self.io).poll_read(cx, &mut buffer);
        let count = buffer.filled().len();
        self.input.truncate(count);
        match result {
            Poll::Ready(Ok(())) => {
                if count > 0 {
                    self.meter.pulse().note_received(Instant::now());
                }
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                if !self.in_frame.is_between() {
                    let mut pulse = self.meter.pulse();
                    if pulse.stuck_since().is_none() {
                        pulse.partial = Some((pulse.frames, Instant::now()));
                    }
                }
                Poll::Pending
            }
        }
    }

    /// Enters in the books what the multiplexer is handed.
    fn watch(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (taken, step) = self.in_frame.advance(bytes);
            match step {
                Step::Header(header) => {
                    self.meter.inbound(header);
                    self.in_end = header.ends().then_some(header.stream);
                    self.in_payload = header.is_payload();
                }
                Step::Body if self.in_payload => self.meter.pulse().note_payload(),
                Step::Body | Step::PartOfHeader => {}
            }
            if self.in_frame.is_between() {
                self.meter.pulse().frames += 1;
                if let Some(stream) = self.in_end.take() {
                    self.meter.inbound_end(stream);
                }
            }
            bytes = bytes.get(taken..).unwrap_or_default();
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> futures::io::AsyncRead for Socket<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.meter.is_over() || this.meter.is_violated() {
            // The driver looks at the books before it goes on.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if this.input.is_empty() {
            this.inject();
            // Whether or not all could leave: what comes in may be what the peer waits for.
            let _ = this.flush(cx);
            if ready!(this.fill(cx))? == 0 {
                return Poll::Ready(this.broken.map_or(Ok(0), |error| Err(error.into())));
            }
        }
        let count = buf.len().min(this.input.len());
        let bytes = this.input.split_to(count);
        if let Some(target) = buf.get_mut(..count) {
            target.copy_from_slice(&bytes);
        }
        this.watch(&bytes);
        Poll::Ready(Ok(count))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> futures::io::AsyncWrite for Socket<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.out.len() >= WRITE_MAX {
            let drained = this.drain(cx);
            if drained.is_pending() && this.out.len() >= WRITE_MAX {
                this.meter.set_blocked(true);
                return Poll::Pending;
            }
        }
        this.meter.set_blocked(false);
        this.gather(buf);
        if this.broken.is_some() {
            this.out.clear();
        } else if this.out.len() >= WRITE_AT {
            let _ = this.drain(cx);
        }
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.shut {
            ready!(self.flush(cx));
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
            self.shut = true;
        }
        // Until the peer has gone too, or the driver's patience ends: a socket closed over unread bytes is reset, and
        // what we said last would be lost to the peer.
        while ready!(self.fill(cx))? > 0 {}
        Poll::Ready(Ok(()))
    }
}

/// Where in a frame one direction is.
#[derive(Default)]
struct Progress {
    header: [u8; YAMUX_HEADER],
    have: usize,
    body: usize,
}

enum Step {
    PartOfHeader,
    Header(MuxHeader),
    Body,
}

impl Progress {
    /// Takes some of `bytes`: a part of a header, the rest of a header, or a piece of a body; how many.
    fn advance(&mut self, bytes: &[u8]) -> (usize, Step) {
        if self.body > 0 {
            let taken = self.body.min(bytes.len());
            self.body -= taken;
            return (taken, Step::Body);
        }
        let mut taken = 0;
        for (slot, byte) in self.header.iter_mut().skip(self.have).zip(bytes) {
            *slot = *byte;
            taken += 1;
        }
        self.have += taken;
        if self.have < YAMUX_HEADER {
            return (taken, Step::PartOfHeader);
        }
        let header = MuxHeader::parse(self.header);
        self.have = 0;
        self.body = header.body();
        (taken, Step::Header(header))
    }

    fn is_between(&self) -> bool {
        self.have == 0 && self.body == 0
    }
}
