//! What is between the multiplexer and the bytes below: big writes and reads, and what they tell of the peer.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use tokio::{
    io::{AsyncBufRead, AsyncWrite},
    time::Instant,
};

use super::{Shared, pace::Pace};
use crate::mux::Batch;

pub(super) struct Pipe<T> {
    io: T,
    batch: Batch,
    pace: Pace,
    /// Whether something was written and not flushed.
    unflushed: bool,
    /// The socket takes nothing any more. What the peer sent before it went is read all the same.
    pub(super) broken: Option<io::ErrorKind>,
    shut: bool,
}

impl<T: AsyncBufRead + AsyncWrite + Unpin> Pipe<T> {
    pub(super) fn new(io: T) -> Self {
        Self {
            io,
            batch: Batch::default(),
            pace: Pace::new(Instant::now()),
            unflushed: false,
            broken: None,
            shut: false,
        }
    }

    /// Writes what there is to write, until there is nothing more; done as well when the socket is broken.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>, shared: &Shared) -> Poll<()> {
        loop {
            ready!(self.poll_write(cx, shared));
            // What TLS has not got rid of would stand in front of whatever is urgent.
            ready!(self.poll_flush(cx, shared));
            if !shared.mux.with(|engine| engine.poll_output(&mut self.batch, cx)) {
                self.batch.shrink();
                return Poll::Ready(());
            }
            let mut pulse = shared.pulse();
            pulse.note_said();
            if self.batch.payload {
                pulse.note_sent();
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, shared: &Shared) -> Poll<()> {
        while !self.batch.is_empty() {
            if self.broken.is_some() {
                self.batch = Batch::default();
                break;
            }
            let Batch { urgent, bulk, .. } = &mut self.batch;
            let pieces = [IoSlice::new(urgent), IoSlice::new(bulk)];
            // A writer that takes one piece at a time should not see an empty one first.
            let pieces = if urgent.is_empty() { pieces.get(1..) } else { pieces.get(..) };
            match Pin::new(&mut self.io).poll_write_vectored(cx, pieces.unwrap_or_default()) {
                Poll::Ready(Ok(count @ 1..)) => {
                    let pace = self.pace.note(count, Instant::now);
                    let of_urgent = count.min(urgent.len());
                    urgent.advance(of_urgent);
                    bulk.advance((count - of_urgent).min(bulk.len()));
                    self.unflushed = true;
                    if let Some(pace) = pace {
                        shared.mux.with(|engine| engine.set_pace(pace));
                    }
                    let mut pulse = shared.pulse();
                    if pulse.untaken.take().is_some() {
                        pulse.note_moved(Instant::now());
                    }
                }
                Poll::Ready(Ok(0)) => self.give_up(shared, io::ErrorKind::WriteZero),
                Poll::Ready(Err(error)) => self.give_up(shared, error.kind()),
                Poll::Pending => {
                    shared.pulse().note_waiting(Instant::now());
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, shared: &Shared) -> Poll<()> {
        if !self.unflushed {
            return Poll::Ready(());
        }
        if self.broken.is_none() {
            match Pin::new(&mut self.io).poll_flush(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => self.give_up(shared, error.kind()),
                Poll::Pending => {
                    shared.pulse().note_waiting(Instant::now());
                    return Poll::Pending;
                }
            }
        }
        self.unflushed = false;
        let mut pulse = shared.pulse();
        if pulse.queued.is_some() && self.broken.is_none() {
            pulse.note_moved(Instant::now());
        }
        (pulse.queued, pulse.untaken) = (None, None);
        Poll::Ready(())
    }

    fn give_up(&mut self, shared: &Shared, error: io::ErrorKind) {
        self.batch = Batch::default();
        shared.pulse().untaken = None;
        self.broken.get_or_insert(error);
    }

    /// What has come, where it lies; nothing at the end. It is to be [consumed](Pipe::consume) before the next time.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        Pin::new(&mut self.io).poll_fill_buf(cx)
    }

    /// So many bytes of what had come were taken.
    pub(super) fn consume(&mut self, bytes: usize) {
        Pin::new(&mut self.io).consume(bytes);
    }

    /// Writes what there is, ends our direction, and waits until the peer has gone too, or the caller's patience ends: a socket
    /// closed over unread bytes is reset, and what we said last would be lost to the peer.
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>, shared: &Shared) -> Poll<()> {
        if !self.shut {
            ready!(self.poll_send(cx, shared));
            if ready!(Pin::new(&mut self.io).poll_shutdown(cx)).is_err() {
                return Poll::Ready(());
            }
            self.shut = true;
        }
        while let Ok(bytes @ [_, ..]) = ready!(self.poll_fill(cx)) {
            let count = bytes.len();
            self.consume(count);
        }
        Poll::Ready(())
    }
}
