//! Bodies on their way: streamed, counted, without trailers.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::{WATCH_EVERY, Watch};
use crate::upstream::Lease;

/// How far a request's body has come.
#[derive(Default)]
pub(super) struct Progress {
    bytes: AtomicU64,
    ended: AtomicBool,
    failed: AtomicBool,
}

impl Progress {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Whether all of it was read.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Relaxed)
    }

    /// Whether the visitor sent what is no body, or went away.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Relaxed)
    }
}

/// A visitor's body. Its trailers are not forwarded: they could spell any header.
pub(crate) struct RequestBody(Option<(Incoming, Arc<Progress>)>);

impl RequestBody {
    pub(super) fn new(body: Incoming, progress: Arc<Progress>) -> Self {
        progress.ended.store(body.is_end_stream(), Relaxed);
        Self(Some((body, progress)))
    }

    pub(super) fn empty() -> Self {
        Self(None)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some((body, progress)) = &mut self.0 else { return Poll::Ready(None) };
        loop {
            return match std::task::ready!(Pin::new(&mut *body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        progress.bytes.fetch_add(data.len() as u64, Relaxed);
                        if body.is_end_stream() {
                            progress.ended.store(true, Relaxed);
                        }
                        Poll::Ready(Some(Ok(Frame::data(data))))
                    }
                    Err(_) => continue,
                },
                Some(Err(error)) => {
                    progress.failed.store(true, Relaxed);
                    Poll::Ready(Some(Err(error)))
                }
                None => {
                    progress.ended.store(true, Relaxed);
                    Poll::Ready(None)
                }
            };
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|(body, _)| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), |(body, _)| body.size_hint())
    }
}

/// A service's body. Gives the stream back when it was read whole, and ends with an error when the visitor is not admitted
/// any more: a cut answer is never taken for a whole one.
pub(super) struct AnswerBody {
    body: Incoming,
    lease: Option<Lease>,
    progress: Arc<Progress>,
    watch: Watch,
    looked: Instant,
    look: Option<Pin<Box<Sleep>>>,
}

impl AnswerBody {
    pub(super) fn new(body: Incoming, lease: Lease, progress: Arc<Progress>, watch: Watch) -> Self {
        let mut answer = Self { body, lease: Some(lease), progress, watch, looked: Instant::now(), look: None };
        if answer.body.is_end_stream() {
            answer.release();
        }
        answer
    }

    /// Whether the visitor is still admitted, judged no more often than [`WATCH_EVERY`].
    fn holds(&mut self) -> bool {
        if self.looked.elapsed() < WATCH_EVERY {
            return true;
        }
        self.looked = Instant::now();
        self.watch.holds()
    }

    /// The answer was read whole. The stream is in step only if the request was sent whole, too.
    fn release(&mut self) {
        if let Some(lease) = self.lease.take()
            && self.progress.has_ended()
        {
            lease.release();
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        let this = &mut *self;
        loop {
            // Before every piece, not only while waiting for one: an answer that always has a next piece is cut, too.
            if !this.holds() {
                this.lease = None;
                return Poll::Ready(Some(Err(AnswerError::Revoked)));
            }
            match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else { continue };
                    if this.body.is_end_stream() {
                        this.release();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Poll::Ready(Some(Err(error))) => {
                    this.lease = None;
                    return Poll::Ready(Some(Err(AnswerError::Service(error))));
                }
                Poll::Ready(None) => {
                    this.release();
                    return Poll::Ready(None);
                }
                Poll::Pending => {}
            }
            let look = this.look.get_or_insert_with(|| Box::pin(tokio::time::sleep(WATCH_EVERY)));
            std::task::ready!(look.as_mut().poll(cx));
            look.as_mut().reset(Instant::now() + WATCH_EVERY);
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Why an answer was cut.
#[derive(Debug, thiserror::Error)]
pub(super) enum AnswerError {
    /// The service's answer broke off.
    #[error("the service's answer broke off")]
    Service(#[source] hyper::Error),
    /// The visitor is not admitted any more.
    #[error("the visitor is not admitted any more")]
    Revoked,
}
