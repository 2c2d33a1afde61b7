//! The end of what a visitor sends, which need not be the end of what it listens to (RFC 9112 §9.6). The library takes the one
//! for the other, and so hears of it when nothing is under way any more.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep};

use super::Pace;

/// How long the end is kept back, from then on or from the last of an answer that was taken. A visitor who is gone looks no
/// different from one who waits, until something is sent to it.
const HELD: Duration = Duration::from_secs(10);

/// Whether the end may be told.
#[derive(Default)]
pub(super) struct End {
    held: Option<Pin<Box<Sleep>>>,
    /// Something was written that is not on its way.
    unsent: bool,
    reader: Option<Waker>,
}

impl End {
    /// Waits, once the end has come behind a whole request, until its answer is gone: for as long as that makes progress.
    pub(super) fn poll_told(&mut self, pace: &Pace, cx: &mut Context<'_>) -> Poll<()> {
        if pace.poll_gone(cx).is_ready() && !self.unsent {
            return Poll::Ready(());
        }
        self.reader = Some(cx.waker().clone());
        self.held.get_or_insert_with(|| Box::pin(sleep(HELD))).as_mut().poll(cx)
    }

    /// Something was written, or is to be.
    pub(super) fn wrote(&mut self, written: &Poll<io::Result<usize>>) {
        self.unsent = true;
        if let (Poll::Ready(Ok(_)), Some(held)) = (written, &mut self.held) {
            held.as_mut().reset(Instant::now() + HELD);
        }
    }

    /// Nothing is left to be written, once that has worked.
    pub(super) fn flushed(&mut self, flushed: &Poll<io::Result<()>>) {
        // Only when something has left: the library flushes whenever it is woken, and would wake itself without end.
        if flushed.is_ready()
            && std::mem::take(&mut self.unsent)
            && let Some(reader) = self.reader.take()
        {
            reader.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, sync::Arc};

    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::{BodyExt, Full};
    use hyper::{body::Incoming, server::conn::http1, service::service_fn};
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;
    use crate::strict::Strict;

    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    const CHUNKS: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";

    fn connection() -> (DuplexStream, Strict<DuplexStream>, Arc<Pace>) {
        let (visitor, edge) = duplex(1 << 20);
        let pace = Arc::<Pace>::default();
        (visitor, Strict::new(edge, Some(pace.clone())), pace)
    }

    /// How long it takes until everything was read, the end included.
    async fn told_after(strict: &mut Strict<DuplexStream>) -> Duration {
        let since = Instant::now();
        while strict.read(&mut [0; 1024]).await.unwrap() > 0 {}
        since.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_is_told_at_once_inside_of_a_request_and_between_two() {
        for sent in ["", "GET / HT", &POST[..POST.len() - 1], CHUNKS, &format!("{CHUNKS}0\r\nX: y\r\n")] {
            let (mut visitor, mut strict, _pace) = connection();
            visitor.write_all(sent.as_bytes()).await.unwrap();
            visitor.shutdown().await.unwrap();
            assert_eq!(told_after(&mut strict).await, Duration::ZERO, "{sent}");
        }
        for sent in [GET, POST, &format!("{CHUNKS}0\r\n\r\n")] {
            let (mut visitor, mut strict, pace) = connection();
            visitor.write_all(sent.as_bytes()).await.unwrap();
            let mut head = [0; 1024];
            assert_eq!(strict.read(&mut head).await.unwrap(), sent.len());
            visitor.shutdown().await.unwrap();
            let answer = pace.going();
            pace.answer(false);
            assert!(tokio::time::timeout(HELD / 2, strict.read(&mut head)).await.is_err(), "{sent}");
            drop(answer);
            assert_eq!(told_after(&mut strict).await, Duration::ZERO, "{sent}");
        }
    }

    /// What a visitor gets who says `sent`, ends its side and reads at a pace, of a service that takes `time` for answers of `size`
    /// bytes; and after which time its connection ends.
    async fn gets(sent: &str, time: Duration, size: usize, rest: Duration) -> (usize, Duration) {
        let (mut visitor, strict, pace) = connection();
        let service = service_fn(move |request: Request<Incoming>| {
            let pace = pace.clone();
            async move {
                request.into_body().collect().await.unwrap();
                sleep(time).await;
                let going = pace.going();
                pace.answer(false);
                let body = Full::new(Bytes::from(vec![b'x'; size])).map_frame(move |frame| {
                    let _kept = &going;
                    frame
                });
                Ok::<_, Infallible>(Response::new(body))
            }
        });
        let mut server = http1::Builder::new();
        server.header_read_timeout(None);
        let serving = tokio::spawn(server.serve_connection(TokioIo::new(strict), service));
        visitor.write_all(sent.as_bytes()).await.unwrap();
        visitor.shutdown().await.unwrap();
        let (since, mut got, mut piece) = (Instant::now(), Vec::new(), vec![0; 256 * 1024]);
        loop {
            match visitor.read(&mut piece).await.unwrap() {
                0 => break,
                some => got.extend_from_slice(&piece[..some]),
            }
            sleep(rest).await;
        }
        serving.abort();
        (got.iter().filter(|byte| **byte == b'x').count(), since.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_said_all_is_answered_if_it_does_not_take_long() {
        let within = |time: Duration, expected: u64| {
            time >= Duration::from_secs(expected) && time < Duration::from_secs(expected + 1)
        };
        let (none, second) = (Duration::ZERO, Duration::from_secs(1));
        for sent in [GET, POST, &format!("{CHUNKS}0\r\n\r\n")] {
            let (got, time) = gets(sent, second * 5, 100, none).await;
            assert!(got == 100 && within(time, 5), "{got} after {time:?} for {sent}");
        }
        let (got, time) = gets(&format!("{GET}{POST}{GET}"), second * 5, 100, none).await;
        assert!(got == 300 && within(time, 15), "{got} after {time:?}");
        let (got, time) = gets(GET, second * 60, 100, none).await;
        assert!(got == 0 && within(time, 10), "{got} after {time:?}");
        // Whoever takes its time with a large answer gets it whole.
        let (got, time) = gets(GET, second, 8 << 20, second * 2).await;
        assert!(got == 8 << 20 && time > HELD * 3, "{got} after {time:?}");
    }
}
