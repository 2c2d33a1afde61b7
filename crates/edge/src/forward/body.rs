//! Bodies on their way: streamed, counted, with those trailers that may go on.

use std::{
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{WATCH_EVERY, Watch, pace::Pace, trailers::Trailers};
use crate::{
    listen::{HeldUp, OneHeldUp},
    upstream::Lease,
};

/// How far a request's body has come.
#[derive(Default)]
pub(super) struct Progress {
    /// Counts its bytes, and its end.
    steps: AtomicU64,
    /// The service would take more, and the visitor has not sent it yet.
    awaited: AtomicBool,
    ended: AtomicBool,
    failed: AtomicBool,
    late: AtomicBool,
    answered: AtomicBool,
    /// Who looks whether the visitor is still admitted, from the answer's head on.
    watch: OnceLock<Arc<Watch>>,
}

impl Progress {
    /// Grows whenever some of it has come, and when it ends.
    pub(super) fn steps(&self) -> u64 {
        self.steps.load(Relaxed)
    }

    /// Whether it is the visitor who is waited for.
    pub(super) fn is_awaited(&self) -> bool {
        self.awaited.load(Relaxed)
    }

    /// All of it has come.
    pub(super) fn end(&self) {
        self.steps.fetch_add(1, Relaxed);
        self.ended.store(true, Relaxed);
    }

    /// Whether all of it was read.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Relaxed)
    }

    /// From now on the request is judged beside its answer, and after it.
    pub(super) fn watch(&self, watch: Arc<Watch>) {
        self.watch.set(watch).ok();
    }

    /// Whether the visitor sent what is no body, or went away.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Relaxed)
    }

    /// Whether the visitor has kept us waiting for too long.
    pub(super) fn is_late(&self) -> bool {
        self.late.load(Relaxed)
    }

    /// The service has begun to answer: from here on it is between the two of them how fast they speak.
    pub(super) fn note_answer(&self) {
        self.answered.store(true, Relaxed);
    }
}

/// A visitor's body. It is cut when the visitor is not admitted any more, also if its answer was over before it, and when
/// it does not come. Small, since the HTTP library makes room for 32 requests beside each stream.
pub(crate) struct RequestBody(Option<Box<Upload>>);

struct Upload {
    body: Incoming,
    progress: Arc<Progress>,
    trailers: Trailers,
    http2: bool,
    looked: Instant,
    /// How slowly it may come; however it likes, if there is none.
    pace: Option<Pace>,
    late: Option<Pin<Box<Sleep>>>,
    /// The bodies of the same connection that wait for us, and this one among them.
    held_up: Arc<HeldUp>,
    waits: Option<OneHeldUp>,
}

impl RequestBody {
    pub(super) fn new(
        body: Incoming,
        progress: Arc<Progress>,
        trailers: Trailers,
        held_up: Arc<HeldUp>,
        http2: bool,
        paced: bool,
    ) -> Self {
        progress.ended.store(body.is_end_stream(), Relaxed);
        let (looked, pace) = (Instant::now(), paced.then(Pace::new));
        let upload = Upload { body, progress, trailers, http2, looked, pace, late: None, held_up, waits: None };
        Self(Some(Box::new(upload)))
    }

    pub(super) fn empty() -> Self {
        Self(None)
    }
}

impl Upload {
    /// Something has come, and is on its way to the service until more is asked for.
    fn arrived(&mut self, bytes: usize) {
        self.progress.steps.fetch_add(bytes as u64, Relaxed);
        if let Some(pace) = &mut self.pace {
            pace.arrived(bytes, Instant::now());
        }
        if self.body.is_end_stream() {
            self.progress.end();
        } else {
            self.waits = Some(self.held_up.one());
        }
    }

    /// Nothing is there. Ready when that has lasted for too long.
    fn is_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(pace) = &mut self.pace else { return Poll::Pending };
        loop {
            let until = pace.waits(Instant::now());
            let late = self.late.get_or_insert_with(|| Box::pin(sleep_until(until)));
            if late.deadline() != until {
                late.as_mut().reset(until);
            }
            std::task::ready!(late.as_mut().poll(cx));
            if self.progress.answered.load(Relaxed) {
                self.pace = None;
                return Poll::Pending;
            }
            if !self.held_up.any() {
                return Poll::Ready(());
            }
            pace.let_off(Instant::now());
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RequestError>>> {
        crate::faults::at("body of a request");
        let Some(upload) = &mut self.0 else { return Poll::Ready(None) };
        upload.waits = None;
        let polled = Pin::new(&mut upload.body).poll_frame(cx);
        upload.progress.awaited.store(polled.is_pending(), Relaxed);
        let frame = match polled {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                std::task::ready!(upload.is_late(cx));
                upload.progress.late.store(true, Relaxed);
                upload.progress.failed.store(true, Relaxed);
                return Poll::Ready(Some(Err(RequestError::Late)));
            }
        };
        if frame.is_some() && upload.looked.elapsed() >= WATCH_EVERY {
            upload.looked = Instant::now();
            if upload.progress.watch.get().is_some_and(|watch| !watch.holds()) {
                return Poll::Ready(Some(Err(RequestError::Revoked)));
            }
        }
        match frame.map(|frame| frame.map(Frame::into_data)) {
            Some(Ok(Ok(data))) => {
                upload.arrived(data.len());
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            // Trailers, behind which nothing comes.
            Some(Ok(Err(frame))) => {
                upload.progress.end();
                let picked = frame.into_trailers().ok().and_then(|fields| upload.trailers.pick(fields));
                Poll::Ready(picked.map(|fields| Ok(Frame::trailers(fields))))
            }
            Some(Err(error)) => {
                upload.progress.failed.store(true, Relaxed);
                Poll::Ready(Some(Err(RequestError::Visitor(error))))
            }
            None if is_cut(&upload.body, upload.http2) => {
                upload.progress.failed.store(true, Relaxed);
                Poll::Ready(Some(Err(RequestError::Cut)))
            }
            None => {
                upload.progress.end();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|upload| upload.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), |upload| upload.body.size_hint())
    }
}

/// Whether a body that has come to its end was given up instead: the library takes a reset of HTTP/2 that names no error for
/// the end.
fn is_cut(body: &Incoming, http2: bool) -> bool {
    http2 && !body.is_end_stream()
}

/// Why a request was cut.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// The visitor sent what is no body, or went away.
    #[error("the visitor's request broke off")]
    Visitor(#[source] hyper::Error),
    /// The visitor gave it up.
    #[error("the visitor gave the request up")]
    Cut,
    /// The visitor keeps us waiting.
    #[error("the visitor's body does not come")]
    Late,
    /// The visitor is not admitted any more.
    #[error("the visitor is not admitted any more")]
    Revoked,
}

/// A service's body. Gives the stream back when it was read whole, and ends with an error when the visitor is not admitted
/// any more: a cut answer is never taken for a whole one.
pub(super) struct AnswerBody {
    body: Incoming,
    lease: Option<Lease>,
    http2: bool,
    progress: Arc<Progress>,
    watch: Arc<Watch>,
    trailers: Trailers,
    looked: Instant,
    look: Option<Pin<Box<Sleep>>>,
    /// Why the service's answer broke off, and until when that is kept back.
    broken: Option<(hyper::Error, Pin<Box<Sleep>>)>,
}

/// How long the end of an answer that broke off is kept back: whoever sends it drops with the error what it has not sent.
const BROKEN_TIME: Duration = Duration::from_millis(50);

impl AnswerBody {
    pub(super) fn new(
        body: Incoming,
        lease: Lease,
        progress: Arc<Progress>,
        watch: Arc<Watch>,
        trailers: Trailers,
    ) -> Self {
        let (looked, http2, lease) = (Instant::now(), lease.is_http2(), Some(lease));
        let mut answer = Self { body, lease, http2, progress, watch, trailers, looked, look: None, broken: None };
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
        crate::faults::at("body of an answer");
        let this = &mut *self;
        loop {
            // Before every piece, not only while waiting for one: an answer that always has a next piece is cut, too.
            if !this.holds() {
                this.lease = None;
                return Poll::Ready(Some(Err(AnswerError::Revoked)));
            }
            if let Some((_, until)) = &mut this.broken {
                std::task::ready!(until.as_mut().poll(cx));
            }
            if let Some((error, _)) = this.broken.take() {
                return Poll::Ready(Some(Err(AnswerError::Service(error))));
            }
            match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    if let Some(lease) = &this.lease {
                        lease.heard();
                    }
                    let data = match frame.into_data() {
                        Ok(data) => data,
                        // Trailers, behind which nothing comes.
                        Err(frame) => {
                            this.release();
                            let picked = frame.into_trailers().ok().and_then(|fields| this.trailers.pick(fields));
                            return Poll::Ready(picked.map(|fields| Ok(Frame::trailers(fields))));
                        }
                    };
                    if this.body.is_end_stream() {
                        this.release();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Poll::Ready(Some(Err(error))) => {
                    this.lease = None;
                    this.broken = Some((error, Box::pin(tokio::time::sleep(BROKEN_TIME))));
                    continue;
                }
                Poll::Ready(None) if is_cut(&this.body, this.http2) => {
                    this.lease = None;
                    return Poll::Ready(Some(Err(AnswerError::Cut)));
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
    /// The service gave it up.
    #[error("the service gave its answer up")]
    Cut,
    /// The visitor is not admitted any more.
    #[error("the visitor is not admitted any more")]
    Revoked,
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use hyper::{server::conn::http1, service::service_fn};
    use hyper_util::rt::TokioIo;
    use tokio::{
        io::{AsyncWriteExt as _, DuplexStream},
        sync::mpsc,
        time::timeout,
    };

    use super::*;

    const HALF: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf";

    /// A body of which a part has come, on a connection that stays, beside others of the same visitor.
    async fn half(held_up: &Arc<HeldUp>) -> (RequestBody, DuplexStream) {
        let (mut visitor, edge) = tokio::io::duplex(64 * 1024);
        let (give, mut given) = mpsc::channel(1);
        tokio::spawn(async move {
            let service = service_fn(move |request: http::Request<Incoming>| {
                let give = give.clone();
                async move {
                    give.send(request).await.ok();
                    std::future::pending::<Result<http::Response<axum::body::Body>, std::convert::Infallible>>().await
                }
            });
            http1::Builder::new().serve_connection(TokioIo::new(edge), service).await
        });
        visitor.write_all(HALF).await.unwrap();
        let (parts, body) = given.recv().await.unwrap().into_parts();
        let trailers = Trailers::of_request(&parts, true);
        let mut body = RequestBody::new(body, Arc::default(), trailers, held_up.clone(), false, true);
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first, "half");
        (body, visitor)
    }

    // H13
    #[tokio::test(start_paused = true)]
    async fn an_upload_that_its_service_does_not_take_excuses_the_others_of_its_connection() {
        let held_up = Arc::<HeldUp>::default();
        let (mut one, _visitor) = half(&held_up).await;
        // More is asked for, so that this one waits for its visitor from here on.
        assert!(timeout(Duration::from_millis(1), one.frame()).await.is_err());
        assert!(!held_up.any());
        let (other, _visitor) = half(&held_up).await;
        assert!(held_up.any(), "its service has not asked for more");
        let patient = timeout(Duration::from_secs(60), one.frame()).await;
        assert!(patient.is_err(), "the window of the connection may be full of the other one");
        drop(other);
        let begun = Instant::now();
        assert!(matches!(one.frame().await, Some(Err(RequestError::Late))));
        assert!(begun.elapsed() <= Duration::from_secs(10), "{:?}", begun.elapsed());
    }
}
