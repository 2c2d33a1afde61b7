//! The task of a link: it moves bytes between the socket and the multiplexer for as long as the link lives, and keeps its clocks.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncBufRead, AsyncWrite},
    sync::{OwnedSemaphorePermit, mpsc, oneshot},
    time::{Instant, Sleep, sleep_until},
};

use super::{LinkEnd, MOMENT, Shared, liveness::Verdict, pipe::Pipe};
use crate::{
    message::{Message, StreamRefusal, StreamRefused},
    mux,
};

/// How often we send and then receive in one turn, before others of the same thread have theirs.
const ROUNDS_PER_TURN: usize = 16;
/// Pieces that are received before it is looked for what to send again.
const PIECES_PER_ROUND: usize = 4;
/// A piece is what the connection below hands over at a time, a record of TLS; of what has more in one, a WebSocket, so much.
/// Others wait for the multiplexer meanwhile.
const PIECE_MAX: usize = 16 * 1024;

/// A stream that the peer opened, with its place under the limit.
pub(super) type Opened = (mux::Stream, OwnedSemaphorePermit);

pub(super) struct Driver<T> {
    pipe: Pipe<T>,
    shared: Arc<Shared>,
    /// Takes the control stream, on the side that was connected to.
    control: Option<oneshot::Sender<mux::Stream>>,
    opened: mpsc::Sender<Opened>,
    sleep: Pin<Box<Sleep>>,
    closing: Option<(LinkEnd, Pin<Box<Sleep>>)>,
}

impl<T: AsyncBufRead + AsyncWrite + Unpin> Driver<T> {
    pub(super) fn new(
        io: T,
        shared: Arc<Shared>,
        control: Option<oneshot::Sender<mux::Stream>>,
        opened: mpsc::Sender<Opened>,
    ) -> Self {
        let sleep = Box::pin(sleep_until(Instant::now()));
        Self { pipe: Pipe::new(io), shared, control, opened, sleep, closing: None }
    }

    /// One turn: everything that can be done now. Returns the reason when the link is over.
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<LinkEnd> {
        for _ in 0..ROUNDS_PER_TURN {
            // Whether or not all could leave: what comes in may be what the peer waits for.
            let sent = self.pipe.poll_send(cx, &self.shared);
            // But not from one that only asks, and takes no answers.
            if sent.is_pending() && self.shared.mux.with(|engine| engine.is_stuffed()) {
                return Poll::Pending;
            }
            for piece in 0..PIECES_PER_ROUND {
                match self.receive(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(end)) => return Poll::Ready(end),
                    Poll::Pending if piece == 0 => {
                        self.note_unfinished();
                        return Poll::Pending;
                    }
                    // What came may have left something to be sent.
                    Poll::Pending => break,
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Why nothing more comes.
    fn ended(&self) -> LinkEnd {
        match self.pipe.broken {
            Some(error) => LinkEnd::Lost(error.to_string()),
            None if self.shared.mux.with(|engine| engine.is_between_frames()) => LinkEnd::PeerClosed,
            None => LinkEnd::Lost(io::ErrorKind::UnexpectedEof.to_string()),
        }
    }

    /// Receives a piece.
    fn receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkEnd>> {
        let bytes = match ready!(self.pipe.poll_fill(cx)) {
            Ok([]) => return Poll::Ready(Err(self.ended())),
            Ok(bytes) => bytes.get(..PIECE_MAX).unwrap_or(bytes),
            Err(error) => return Poll::Ready(Err(LinkEnd::Lost(error.to_string()))),
        };
        let (now, count) = (Instant::now(), bytes.len());
        let received = self.shared.mux.with(|engine| {
            let payload = engine.receive(bytes, now)?;
            Ok((payload, engine.frames(), engine.shortest_round_trip()))
        });
        self.pipe.consume(count);
        let (payload, frames, shortest) = match received {
            Ok(received) => received,
            Err(end) => return Poll::Ready(Err(end)),
        };
        if let Some(shortest) = shortest {
            let micros = u64::try_from(shortest.as_micros()).unwrap_or(u64::MAX);
            self.shared.shortest_micros.store(micros, Ordering::Relaxed);
        }
        {
            let mut pulse = self.shared.pulse();
            pulse.note_received(now);
            pulse.frames = frames;
            if payload {
                pulse.note_payload();
            }
        }
        while let Some(stream) = self.shared.mux.accept() {
            self.inbound(stream, cx);
        }
        Poll::Ready(Ok(()))
    }

    /// Notes since when a frame lacks its end.
    fn note_unfinished(&self) {
        if self.shared.mux.with(|engine| engine.is_between_frames()) {
            return;
        }
        let mut pulse = self.shared.pulse();
        if pulse.stuck_since().is_none() {
            pulse.partial = Some((pulse.frames, Instant::now()));
        }
    }

    fn inbound(&mut self, mut stream: mux::Stream, cx: &mut Context<'_>) {
        if let Some(control) = self.control.take() {
            // Nobody waits for it: the stream is reset, and the link ends.
            let _ = control.send(stream);
            return;
        }
        let code = if self.shared.drains_itself() {
            StreamRefusal::Draining
        } else {
            match self.shared.inbound.clone().try_acquire_owned() {
                Err(_) => StreamRefusal::TooManyStreams,
                Ok(permit) => {
                    // Where nobody takes streams any more, it is reset.
                    let _ = self.opened.try_send((stream, permit));
                    return;
                }
            }
        };
        let text = "no more streams on this link".to_owned();
        let answer = Message::StreamRefused(StreamRefused { code, text }).encode().unwrap_or_default();
        // A new stream has room for the answer and its end; if not, the reset alone must do.
        if let Poll::Ready(Ok(_)) = Pin::new(&mut stream).poll_write(cx, &answer) {
            let _ = Pin::new(&mut stream).poll_shutdown(cx);
        }
    }

    /// Keeps the clocks; returns the reason when one has run out.
    fn tick(&mut self, cx: &mut Context<'_>) -> Poll<LinkEnd> {
        loop {
            let now = Instant::now();
            let (verdict, stuck, untaken, owed, doubts) = {
                let pulse = self.shared.pulse();
                let verdict = self.shared.settings.liveness.judge(&pulse, now);
                (verdict, pulse.stuck_since(), pulse.untaken, pulse.owed_since(), pulse.is_asked_for_itself())
            };
            let mut next = match verdict {
                Verdict::Dead => return Poll::Ready(LinkEnd::PeerSilent),
                Verdict::Ask => {
                    if doubts {
                        self.shared.doubted.notify_waiters();
                    }
                    self.shared.pulse().note_asked(now);
                    self.shared.ask(now);
                    continue;
                }
                Verdict::Wait(until) => until,
            };
            if let Some(since) = owed {
                let due = since + MOMENT;
                if now >= due {
                    self.shared.pulse().note_said();
                    self.shared.give_a_sign();
                    continue;
                }
                next = next.min(due);
            }
            if let Some(since) = stuck {
                let deadline = since + self.shared.settings.frame_deadline;
                if now >= deadline {
                    return Poll::Ready(LinkEnd::Late("a frame was begun and not finished".to_owned()));
                }
                next = next.min(deadline);
            }
            if let Some(since) = untaken {
                let deadline = since + self.shared.settings.write_deadline;
                if now >= deadline {
                    return Poll::Ready(LinkEnd::Late("nothing was taken of what is sent".to_owned()));
                }
                next = next.min(deadline);
            }
            // Deadlines mostly move away; the timer is left to fire early rather than set anew each turn.
            if self.sleep.is_elapsed() || self.sleep.deadline() > next {
                self.sleep.as_mut().reset(next);
            }
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn close(&mut self, cx: &mut Context<'_>) -> Poll<LinkEnd> {
        let Some((end, patience)) = &mut self.closing else { return Poll::Pending };
        let over = Instant::now() >= patience.deadline() || patience.as_mut().poll(cx).is_ready();
        if over || self.pipe.poll_close(cx, &self.shared).is_ready() {
            return Poll::Ready(end.clone());
        }
        Poll::Pending
    }
}

impl<T: AsyncBufRead + AsyncWrite + Unpin> Future for Driver<T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.shared.waker.register(cx.waker());
        crate::faults::at("link");
        if this.closing.is_none() {
            let over = match this.shared.asked_to_end() {
                Some(end) => Poll::Ready(end),
                None => match this.turn(cx) {
                    Poll::Ready(end) => Poll::Ready(end),
                    Poll::Pending => this.tick(cx),
                },
            };
            let Poll::Ready(end) = over else { return Poll::Pending };
            if end.deserves_a_goodbye() {
                let patience = Box::pin(sleep_until(Instant::now() + this.shared.settings.close_patience));
                // What is queued is sent, and nothing more is taken.
                this.shared.mux.with(|engine| {
                    engine.go_away();
                    engine.cut();
                });
                this.closing = Some((end, patience));
            } else {
                this.shared.finish(end);
                return Poll::Ready(());
            }
        }
        match this.close(cx) {
            Poll::Ready(end) => {
                this.shared.finish(end);
                Poll::Ready(())
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<T> Drop for Driver<T> {
    fn drop(&mut self) {
        // Only a panic, or a runtime that stops, gets here without a reason.
        self.shared.finish(LinkEnd::Aborted);
        self.shared.mux.with(|engine| engine.cut());
    }
}
