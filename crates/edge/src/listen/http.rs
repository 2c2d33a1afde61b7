//! HTTP on a visitor's connection: its limits, and how it ends.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, future::Either, stream::FuturesUnordered};
use http::{HeaderValue, Request, StatusCode, header};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_io_timeout::TimeoutWriter;

use super::{
    Connections, Glitch, Place,
    activity::{Counted, HEAD_TIME},
    answers::{Answer, Streams},
    frames::{self, Watch, Watched},
    switch::{Switch, ToItsEnd},
};
use crate::{
    front::{self, Door},
    strict::{FIELDS_MAX, HEAD_MAX, Pace, Strict},
};

/// How long a visitor may take nothing of what waits for it.
pub(super) const STALL_TIME: Duration = Duration::from_secs(120);
/// How soon it is looked again whether an answer is over, behind which a head has taken too long.
const BUSY_LOOK: Duration = Duration::from_secs(1);
/// HTTP/2: streams, windows and budgets of one connection (H14); [`frames`] has those that the library lacks.
pub(super) const H2_STREAMS: u32 = 100;
/// Larger than the 64 KiB that proxies like to give: by those, an upload over 100 ms of distance would crawl at 5 Mbit/s. What
/// a connection may have on its way in all bounds the memory, whatever a stream may.
const H2_STREAM_WINDOW: u32 = 256 * 1024;
const H2_CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Four times [`HEAD_MAX`], by which heads are judged when they have come: what is larger than this the library refuses by
/// itself, without a page, and without a way for browsers to lose the cookies that are too many.
const H2_HEADER_LIST: u32 = 128 * 1024;
/// What waits for a visitor who reads slowly, for each stream (F22).
const H2_SEND_BUFFER: usize = 128 * 1024;
/// Requests that are given up before they were looked at.
pub(super) const H2_RESETS: u32 = 20;
/// What the library resets by itself for what a visitor did wrong, over the whole life of a connection, so that a few would end
/// honest ones that last. [`frames`] counts them by time, and is far stricter.
const H2_LOCAL_RESETS: usize = 1024;
const H2_PING: Duration = Duration::from_secs(20);

impl Connections {
    pub(super) async fn http(
        self,
        io: impl AsyncRead + AsyncWrite + Send + 'static,
        h2: bool,
        door: Door,
        place: Arc<Place>,
    ) {
        crate::faults::at("http");
        let watch = h2.then(Watch::new);
        let io = stalls(Watched::new(Box::pin(io), watch.clone()));
        let pace = Arc::<Pace>::default();
        let io = TokioIo::new(Strict::new(Box::pin(io), (!h2).then(|| pace.clone())));
        let state = self.state.clone();
        let activity = place.activity();
        let (active, paced) = (activity.clone(), pace.clone());
        let seat = place.clone();
        let switch = Arc::<Switch>::default();
        let noted = switch.clone();
        let _http = seat.room.speaks_http();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(place.clone());
            if !h2 {
                noted.note(&mut request);
            }
            if let Some(fault) = paced.refused() {
                request.extensions_mut().insert(fault);
                // The head that stands for it says nothing of whoever reads the answer.
                request.headers_mut().extend(paced.asker());
                if let Some(target) = paced.target() {
                    *request.uri_mut() = target;
                }
            }
            let (busy, paced) = (active.begin(), paced.clone());
            // Of its own, so that a connection on which nothing is asked keeps no room for it.
            let serving = Box::pin(front::serve(state.clone(), door, request));
            let replaced = state.replaced.clone();
            async move {
                let mut response = serving.await?;
                // The next request is for the process that took this one's place.
                if !h2 && replaced.is_cancelled() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                paced.answer(response.status() == StatusCode::SWITCHING_PROTOCOLS);
                let (answer, going) = (Answer::current(), paced.going());
                let counted = |body| Counted { body, _busy: busy, answer, _going: going };
                Ok::<_, Infallible>(response.map(counted))
            }
        });
        // By what TLS agreed on and nothing else: whoever agreed on HTTP/2 and spoke HTTP/1.1 would be read by no `Strict`.
        let mut connection = match h2 {
            true => Either::Right(Box::pin(http2().serve_connection(io, service))),
            false => Either::Left(ToItsEnd::new(http1().serve_connection(io, service), switch)),
        };
        // A request that has begun to come is still taken, for as long as a head may take.
        let stop = async {
            self.stopping.cancelled().await;
            pace.whole_head().await;
        };
        let late = async {
            loop {
                pace.late_head(HEAD_TIME).await;
                // It has begun before the answer to the one before it was over, which is not to be cut.
                if !activity.is_busy() {
                    return;
                }
                tokio::time::sleep(BUSY_LOOK).await;
            }
        };
        tokio::pin!(stop, late);
        let (mut stopping, mut leaving, mut asked, mut sent_away) = (false, false, false, false);
        let mut idle = tokio::time::interval(HEAD_TIME);
        loop {
            // Nothing of this happens while things go well, and each look at it takes locks that all connections share.
            let told = when_woken(async {
                tokio::select! {
                    () = &mut stop, if !stopping => Told::Stop,
                    // By HTTP/1.1 a request may be on its way already; it is answered, and is the last one.
                    () = self.state.replaced.cancelled(), if h2 && !stopping => Told::Stop,
                    () = self.cut_http.cancelled() => Told::Cut,
                    () = &mut late => Told::Late,
                    () = seat.lost() => Told::Lost,
                    () = seat.asked_to_go(), if !sent_away => Told::ToGo,
                    () = frames::over(watch.as_deref()), if !asked => Told::Over,
                    _ = idle.tick() => Told::Look,
                }
            });
            let told = tokio::select! {
                ended = &mut connection => {
                    if let Err(error) = ended {
                        tracing::debug!(peer = %door.peer, %error, "a visitor's connection ended");
                        if let Some(glitch) = frames::fault(&error, watch.as_deref()) {
                            seat.note(glitch);
                        }
                    }
                    return;
                }
                told = told => told,
            };
            let leave = match told {
                Told::Stop => {
                    stopping = true;
                    true
                }
                Told::Cut => return,
                Told::Late => {
                    return tracing::debug!(peer = %door.peer, "a head was begun and not finished in time");
                }
                Told::Lost => return tracing::debug!(peer = %door.peer, "a visitor's connection lost its place"),
                Told::ToGo => {
                    sent_away = true;
                    tracing::debug!(peer = %door.peer, "a visitor's connection is asked to go: its network is shut");
                    true
                }
                Told::Over => {
                    asked = true;
                    if watch.as_ref().is_some_and(|watch| watch.provokes()) {
                        seat.note(Glitch::Malformed);
                    }
                    tracing::debug!(peer = %door.peer, "a visitor's connection is asked to go: it has used up a budget");
                    true
                }
                Told::Look => {
                    if watch.as_ref().is_some_and(|watch| watch.is_late()) {
                        return tracing::debug!(peer = %door.peer, "a head was begun and not finished in time");
                    }
                    let over = activity.idle_for_too_long(Instant::now());
                    // Asked to go, it is gone by the next look at the latest.
                    if over && leaving {
                        return;
                    }
                    leaving = over;
                    over && !stopping
                }
            };
            match &mut connection {
                _ if !leave => {}
                Either::Left(one) => one.graceful_shutdown(),
                Either::Right(two) => two.as_mut().graceful_shutdown(),
            }
        }
    }
}

/// What is to become of a connection, or is to be looked at.
enum Told {
    /// No new request is taken.
    Stop,
    /// It is over.
    Cut,
    /// A head takes too long.
    Late,
    /// Its place is somebody else's.
    Lost,
    /// It is asked to go.
    ToGo,
    /// A budget of HTTP/2 is used up.
    Over,
    /// Whether anything is asked on it.
    Look,
}

/// The same future, which is looked at when it was woken and not whenever what it is waited for beside was.
async fn when_woken<F: Future>(future: F) -> F::Output {
    let mut alone = FuturesUnordered::from_iter([future]);
    alone.next().await.expect("it ends once, and is not asked again")
}

/// A connection on which writing fails once nothing of it was taken for [`STALL_TIME`].
fn stalls<T: AsyncRead + AsyncWrite>(io: T) -> TimeoutWriter<T> {
    let mut io = TimeoutWriter::new(io);
    io.set_timeout(Some(STALL_TIME));
    io
}

fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    // The library's own limit runs on idle connections, too; a head that has begun is timed by [`Pace`].
    builder.timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(HEAD_MAX).max_headers(FIELDS_MAX);
    builder
}

fn http2() -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(Streams);
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(H2_PING)
        .max_concurrent_streams(H2_STREAMS)
        .initial_stream_window_size(H2_STREAM_WINDOW)
        .initial_connection_window_size(H2_CONNECTION_WINDOW)
        .max_header_list_size(H2_HEADER_LIST)
        .max_send_buf_size(H2_SEND_BUFFER)
        .max_pending_accept_reset_streams(H2_RESETS as usize)
        .max_local_error_reset_streams(H2_LOCAL_RESETS);
    builder
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt as _, time::Instant};

    use super::*;

    #[tokio::test]
    async fn what_is_waited_for_beside_is_looked_at_only_when_it_was_woken() {
        let (wake, woken) = tokio::sync::oneshot::channel::<u8>();
        let (looks, counted) = (std::cell::Cell::new(0), tokio::sync::Notify::new());
        tokio::pin!(woken);
        let beside = when_woken(std::future::poll_fn(|cx| {
            looks.set(looks.get() + 1);
            woken.as_mut().poll(cx)
        }));
        tokio::pin!(beside);
        for _ in 0..100 {
            counted.notify_one();
            tokio::select! {
                biased;
                _ = &mut beside => panic!("nobody has woken it"),
                () = counted.notified() => {}
            }
        }
        assert_eq!(looks.get(), 1);
        wake.send(7).unwrap();
        assert_eq!((beside.await, looks.get()), (Ok(7), 2));
    }

    // H14
    #[tokio::test(start_paused = true)]
    async fn whoever_takes_nothing_of_what_is_written_loses_the_connection() {
        let (io, _nobody_reads) = tokio::io::duplex(1024);
        let mut io = Box::pin(stalls(io));
        let begun = Instant::now();
        let written = io.write_all(&vec![b'x'; 64 * 1024]).await;
        assert_eq!(written.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= STALL_TIME && begun.elapsed() < STALL_TIME * 2, "{:?}", begun.elapsed());
    }
}
