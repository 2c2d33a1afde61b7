//! The task of a link: it polls the multiplexer for as long as the link lives, and keeps its clocks.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::io::AsyncWrite as _;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{OwnedSemaphorePermit, mpsc, oneshot},
    time::{Instant, Sleep, sleep_until},
};

use super::{LinkEnd, MOMENT, Shared, liveness::Verdict, meter::Meter, raw::Raw, socket::Socket};
use crate::message::{Message, StreamRefusal, StreamRefused};

/// Streams opened in one turn, before the multiplexer gets to forget those that were dropped.
const OPENS_PER_TURN: usize = 64;

/// Somebody waits for a stream.
pub(super) type OpenRequest = oneshot::Sender<Raw>;
/// A stream that the peer opened, with its place under the limit.
pub(super) type Opened = (Raw, OwnedSemaphorePermit);

pub(super) struct Driver<T> {
    connection: yamux::Connection<Socket<T>>,
    shared: Arc<Shared>,
    meter: Arc<Meter>,
    opens: mpsc::Receiver<OpenRequest>,
    /// The next to be served, while the peer has too many unanswered openings.
    next: Option<OpenRequest>,
    /// Takes the control stream, on the side that was connected to.
    control: Option<oneshot::Sender<Raw>>,
    opened: mpsc::Sender<Opened>,
    sleep: Pin<Box<Sleep>>,
    closing: Option<(LinkEnd, Pin<Box<Sleep>>)>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    pub(super) fn new(
        io: T,
        mode: yamux::Mode,
        shared: Arc<Shared>,
        opens: mpsc::Receiver<OpenRequest>,
        control: Option<oneshot::Sender<Raw>>,
        opened: mpsc::Sender<Opened>,
    ) -> Self {
        let meter = shared.meter.clone();
        let connection = yamux::Connection::new(Socket::new(io, meter.clone()), super::mux_config(), mode);
        let sleep = Box::pin(sleep_until(Instant::now()));
        Self { connection, shared, meter, opens, next: None, control, opened, sleep, closing: None }
    }

    /// One turn: everything that can be done now. Returns the reason when the link is over.
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<LinkEnd> {
        loop {
            loop {
                match self.connection.poll_next_inbound(cx) {
                    Poll::Ready(Some(Ok(stream))) => {
                        if let Err(end) = self.inbound(stream, cx) {
                            return Poll::Ready(end);
                        }
                    }
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(error.into()),
                    Poll::Ready(None) => return Poll::Ready(LinkEnd::PeerClosed),
                    Poll::Pending => break,
                }
            }
            if self.meter.is_violated() {
                return Poll::Ready(LinkEnd::Protocol("the multiplexer's rules were broken".to_owned()));
            }
            let blocked = self.meter.is_blocked();
            if !blocked {
                self.meter.settle();
            }
            if self.meter.enforce() > 0 {
                tracing::debug!("reset the streams with most unread bytes");
                continue;
            }
            // Nothing more is read while the budget is exceeded: waiting would be for ever, and busy.
            if self.meter.is_over() || self.meter.is_hopeless() {
                return Poll::Ready(LinkEnd::OverBudget);
            }
            // Only now is every dropped stream forgotten, and the multiplexer's count no more than ours.
            if blocked {
                return Poll::Pending;
            }
            match self.open_some(cx) {
                Ok(0) => return Poll::Pending,
                Ok(_) => {}
                Err(end) => return Poll::Ready(end),
            }
        }
    }

    fn open_some(&mut self, cx: &mut Context<'_>) -> Result<usize, LinkEnd> {
        let mut count = 0;
        while count < OPENS_PER_TURN {
            let request = match self.next.take() {
                Some(request) => request,
                None => match self.opens.poll_recv(cx) {
                    Poll::Ready(Some(request)) => request,
                    Poll::Ready(None) | Poll::Pending => break,
                },
            };
            if request.is_closed() {
                continue;
            }
            match self.connection.poll_new_outbound(cx) {
                Poll::Ready(Ok(stream)) => {
                    // A requester that has gone meanwhile drops the stream, which resets it.
                    let _ = request.send(Raw::new(stream, &self.meter));
                    count += 1;
                }
                Poll::Ready(Err(error)) => return Err(error.into()),
                Poll::Pending => {
                    self.next = Some(request);
                    break;
                }
            }
        }
        Ok(count)
    }

    fn inbound(&mut self, mut stream: yamux::Stream, cx: &mut Context<'_>) -> Result<(), LinkEnd> {
        if let Some(control) = self.control.take() {
            let _ = control.send(Raw::new(stream, &self.meter));
            return Ok(());
        }
        if !self.shared.settings.accepts_streams {
            return Err(LinkEnd::Protocol("the peer opened a stream, which is not for it to do".to_owned()));
        }
        let code = if self.shared.drains_itself() {
            StreamRefusal::Draining
        } else {
            match self.shared.inbound.clone().try_acquire_owned() {
                Err(_) => StreamRefusal::TooManyStreams,
                Ok(permit) => match self.opened.try_send((Raw::new(stream, &self.meter), permit)) {
                    Ok(()) => return Ok(()),
                    // Nobody takes streams here any more.
                    Err(_) => return Ok(()),
                },
            }
        };
        let text = "no more streams on this link".to_owned();
        let answer = Message::StreamRefused(StreamRefused { code, text }).encode().unwrap_or_default();
        // A new stream has room for the answer and its end; if not, the reset alone must do.
        if let Poll::Ready(Ok(_)) = Pin::new(&mut stream).poll_write(cx, &answer)
            && let Poll::Ready(Ok(())) = Pin::new(&mut stream).poll_close(cx)
        {
            self.meter.account(stream.id().val()).note_shut();
        }
        drop(Raw::new(stream, &self.meter));
        Ok(())
    }

    /// Keeps the clocks; returns the reason when one has run out.
    fn tick(&mut self, cx: &mut Context<'_>) -> Poll<LinkEnd> {
        loop {
            let now = Instant::now();
            let (verdict, stuck, untaken, owed, doubts) = {
                let pulse = self.meter.pulse();
                let verdict = self.shared.settings.liveness.judge(&pulse, now);
                (verdict, pulse.stuck_since(), pulse.untaken, pulse.owed_since(), pulse.is_asked_for_itself())
            };
            let mut next = match verdict {
                Verdict::Dead => return Poll::Ready(LinkEnd::PeerSilent),
                Verdict::Ask => {
                    if doubts {
                        self.shared.doubted.notify_waiters();
                    }
                    self.meter.pulse().note_asked(now);
                    self.shared.ask(now);
                    continue;
                }
                Verdict::Wait(until) => until,
            };
            if let Some(since) = owed {
                let due = since + MOMENT;
                if now >= due {
                    self.meter.pulse().note_said();
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
        if self.connection.poll_close(cx).is_ready() || patience.as_mut().poll(cx).is_ready() {
            return Poll::Ready(end.clone());
        }
        Poll::Pending
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Future for Driver<T> {
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
                this.closing = Some((end, patience));
            } else {
                this.shared.finish(end);
                return Poll::Ready(());
            }
        }
        match this.close(cx) {
            Poll::Ready(end) => {
                this.shared.finish(end);
                this.meter.cut();
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
    }
}
