//! Carrying bytes between a stream of the link and a connection to a service, both ways at once.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};
use tokio_util::io::poll_read_buf;

/// What is read at once begins this small, since most connections are short or idle.
const BUFFER_START: usize = 8 * 1024;
/// A buffer that is filled by one read doubles, up to this: four frames of a link, each exactly one TLS record.
const BUFFER_MAX: usize = 4 * crate::link::FRAME_PAYLOAD;
/// What a side said before it was cut is for the other one, for as long as it takes some of it from us now and then: as often as this.
/// What TLS or the system still holds of it does not count, and is lost with the reset that then follows.
const LINGER: Duration = Duration::from_secs(300);

/// Bytes carried so far, in both directions.
#[derive(Debug, Default)]
pub struct Carried {
    /// Towards the service.
    pub to_service: AtomicU64,
    /// Towards the edge.
    pub from_service: AtomicU64,
}

/// Which side broke a relay.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The side of the edge, before it had said all that it was about to, or before it had it all delivered.
    #[error("the edge's side ended: {0}")]
    Edge(#[source] io::Error),
    /// The side of the service.
    #[error("the service's side ended: {0}")]
    Service(#[source] io::Error),
    /// The side of the edge had said all, which was delivered, and was cut before the service had ended: to the service that is whoever
    /// does not wait for an answer. What the service says from then on is lost.
    #[error("the edge's side left before the service had ended: {0}")]
    Left(#[source] io::Error),
}

/// What bytes are carried between: it is read from where its bytes lie, and written to.
pub trait Side: AsyncBufRead + AsyncWrite + Unpin {
    /// Whether its end is one in order also where it cannot be written to any more: whoever was reset may tell that to whoever writes, and
    /// afterwards to whoever reads that it has ended.
    const END_IS_SURE: bool;

    /// Waits, while nothing of it is read, until it is known to be cut: nobody takes what is written to it. Where that shows in reading
    /// and writing only, for ever.
    fn poll_cut(&self, cx: &Context<'_>) -> Poll<()>;
}

/// Carries bytes until both directions have ended in order, each half-closed by itself; or until one side breaks,
/// upon which the caller must break the other, since an orderly end would make a cut body look whole.
///
/// What a side that breaks has said before is carried to its end, as long as some of it moves. A direction reads only when all it
/// read before was taken, so a slow side slows the other one down. What comes on a stream of a link is written from where it
/// lies; for what the service says there is memory only while there is some of it.
pub async fn relay<E, S>(edge: &mut E, service: &mut S, carried: &Carried) -> Result<(), RelayError>
where
    E: Side,
    S: AsyncRead + AsyncWrite + Unpin,
{
    join(edge, &mut OnDemand::new(service), carried).await
}

/// The same between two streams of links.
pub async fn join<E, S>(edge: &mut E, service: &mut S, carried: &Carried) -> Result<(), RelayError>
where
    E: Side,
    S: Side,
{
    let mut inward = Direction::new();
    let mut outward = Direction::new();
    poll_fn(|cx| {
        inward.poll(cx, edge, service, &mut outward.phase, &carried.to_service).map_err(RelayError::Edge)?;
        outward.poll(cx, service, edge, &mut inward.phase, &carried.from_service).map_err(RelayError::Service)?;
        if inward.is_done() && outward.is_done() {
            return Poll::Ready(Ok(()));
        }
        if let Poll::Ready((said_all, why)) = inward.poll_cut(cx, edge, &mut outward.phase) {
            return Poll::Ready(Err(if said_all { RelayError::Left(why) } else { RelayError::Edge(why) }));
        }
        if let Poll::Ready((_, why)) = outward.poll_cut(cx, service, &mut inward.phase) {
            return Poll::Ready(Err(RelayError::Service(why)));
        }
        Poll::Pending
    })
    .await
}

/// One direction: read, write what was read, flush when there is nothing to read, shut down at the end.
struct Direction {
    phase: Phase,
    unflushed: bool,
    /// The writer took nothing of what there is.
    full: bool,
    /// How long nothing may move, once the reader was cut.
    linger: Option<Pin<Box<Sleep>>>,
}

enum Phase {
    Copying,
    ShuttingDown,
    /// The reader was cut. What came before is not all on its way.
    Ending(io::Error),
    Done,
    /// The writer takes nothing any more.
    Failed(io::Error),
}

impl Phase {
    /// Why the writer takes nothing any more.
    fn failure(&mut self) -> Option<io::Error> {
        match self {
            Self::Failed(error) => Some(std::mem::replace(error, io::ErrorKind::ConnectionReset.into())),
            _ => None,
        }
    }
}

impl Direction {
    const fn new() -> Self {
        Self { phase: Phase::Copying, unflushed: false, full: false, linger: None }
    }

    const fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Done)
    }

    /// Carries what there is. An error is that of the reader; one of the writer ends this direction only, for what the writer has
    /// said goes the other way, `back`. If that failed, the reader was known to be cut, and by which error.
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        back: &mut Phase,
        count: &AtomicU64,
    ) -> io::Result<()>
    where
        R: Side,
        W: Side,
    {
        let is_sure = R::END_IS_SURE || !matches!(back, Phase::Failed(_));
        match self.poll_copy(cx, reader, writer, is_sure, count) {
            Poll::Ready(Err(Broken::Read(error))) => return Err(back.failure().unwrap_or(error)),
            Poll::Ready(Err(Broken::Write(error))) => self.phase = Phase::Failed(error),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        Ok(())
    }

    /// `is_sure` says whether the reader's end is one in order.
    fn poll_copy<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        is_sure: bool,
        count: &AtomicU64,
    ) -> Poll<Result<(), Broken>>
    where
        R: Side,
        W: Side,
    {
        loop {
            match &mut self.phase {
                Phase::Done | Phase::Failed(_) => return Poll::Ready(Ok(())),
                Phase::ShuttingDown => {
                    ready!(Pin::new(&mut *writer).poll_shutdown(cx)).map_err(Broken::Write)?;
                    self.phase = Phase::Done;
                }
                Phase::Ending(error) => {
                    if self.unflushed {
                        // Whether it can be or not, there is no more.
                        let _ = ready!(Pin::new(&mut *writer).poll_flush(cx));
                    }
                    let error = std::mem::replace(error, io::ErrorKind::ConnectionReset.into());
                    return Poll::Ready(Err(Broken::Read(error)));
                }
                Phase::Copying => {
                    let Poll::Ready(there) = Pin::new(&mut *reader).poll_fill_buf(cx) else {
                        self.full = false;
                        if self.unflushed {
                            ready!(Pin::new(&mut *writer).poll_flush(cx)).map_err(Broken::Write)?;
                            self.unflushed = false;
                        }
                        return Poll::Pending;
                    };
                    let there = match there {
                        Ok([]) if is_sure => {
                            self.phase = Phase::ShuttingDown;
                            continue;
                        }
                        Ok([]) => {
                            self.phase = Phase::Ending(io::ErrorKind::ConnectionReset.into());
                            continue;
                        }
                        Ok(there) => there,
                        Err(error) => {
                            self.phase = Phase::Ending(error);
                            continue;
                        }
                    };
                    let written = Pin::new(&mut *writer).poll_write(cx, there);
                    self.full = written.is_pending();
                    let taken = ready!(written).map_err(Broken::Write)?;
                    self.linger = None;
                    if taken == 0 {
                        return Poll::Ready(Err(Broken::Write(io::ErrorKind::WriteZero.into())));
                    }
                    Pin::new(&mut *reader).consume(taken);
                    self.unflushed = true;
                    count.fetch_add(u64::try_from(taken).unwrap_or(u64::MAX), Ordering::Relaxed);
                }
            }
        }
    }

    /// Waits until the reader was cut, and nothing of what it said is to be carried any more, or none of it moves: whether it had said
    /// all, and all of it was delivered, and why it was cut. `back` is the direction towards it.
    fn poll_cut<R: Side>(&mut self, cx: &mut Context<'_>, reader: &R, back: &mut Phase) -> Poll<(bool, io::Error)> {
        let is_known = matches!(back, Phase::Failed(_)) || matches!(self.phase, Phase::Ending(_));
        // Whoever waits for the reader hears of it by reading.
        let reads = matches!(self.phase, Phase::Copying) && !self.full;
        if !is_known && (reads || reader.poll_cut(cx).is_pending()) {
            return Poll::Pending;
        }
        if matches!(self.phase, Phase::Copying | Phase::ShuttingDown | Phase::Ending(_)) {
            ready!(self.linger.get_or_insert_with(|| Box::pin(sleep(LINGER))).as_mut().poll(cx));
        }
        let why = back.failure().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into());
        Poll::Ready((self.is_done(), why))
    }
}

enum Broken {
    Read(io::Error),
    Write(io::Error),
}

/// Reads into memory that it takes when it reads, and gives back when there is nothing to read.
#[derive(Debug)]
struct OnDemand<'a, T> {
    io: &'a mut T,
    buffer: BytesMut,
    /// How much is read at once.
    size: usize,
}

impl<'a, T> OnDemand<'a, T> {
    fn new(io: &'a mut T) -> Self {
        Self { io, buffer: BytesMut::new(), size: BUFFER_START }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Side for OnDemand<'_, T> {
    const END_IS_SURE: bool = false;

    fn poll_cut(&self, _: &Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl<T: AsyncRead + Unpin> AsyncBufRead for OnDemand<'_, T> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        if this.buffer.is_empty() {
            // What was read before is used again, unless more is wanted now.
            this.buffer.clear();
            this.buffer.reserve(this.size);
            match poll_read_buf(Pin::new(&mut *this.io), cx, &mut this.buffer) {
                Poll::Ready(Ok(count)) if count >= this.size => {
                    this.size = this.size.saturating_mul(2).min(BUFFER_MAX);
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    this.buffer = BytesMut::new();
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(&this.buffer))
    }

    fn consume(self: Pin<&mut Self>, count: usize) {
        let this = self.get_mut();
        this.buffer.advance(count.min(this.buffer.len()));
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for OnDemand<'_, T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().io).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for OnDemand<'_, T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn each_direction_is_half_closed_by_itself() {
        let (mut visitor, mut edge) = duplex(64);
        let (mut service, mut origin) = duplex(64);
        let relay =
            tokio::spawn(async move { relay(&mut OnDemand::new(&mut edge), &mut service, &Carried::default()).await });
        visitor.write_all(b"question").await.unwrap();
        visitor.shutdown().await.unwrap();
        let mut asked = Vec::new();
        origin.read_to_end(&mut asked).await.unwrap();
        assert_eq!(asked, b"question");
        assert!(!relay.is_finished(), "the answer may still come");
        origin.write_all(b"answer").await.unwrap();
        drop(origin);
        let mut answered = Vec::new();
        visitor.read_to_end(&mut answered).await.unwrap();
        assert_eq!(answered, b"answer");
        relay.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_slow_reader_holds_the_writer_back() {
        let (mut visitor, mut edge) = duplex(1024);
        let (mut service, origin) = duplex(1024);
        let relay = tokio::spawn(async move {
            let carried = Carried::default();
            relay(&mut OnDemand::new(&mut edge), &mut service, &carried).await.map(|()| carried.to_service.into_inner())
        });
        let writer = tokio::spawn(async move {
            visitor.write_all(&vec![7; 1024 * 1024]).await.unwrap();
            visitor.shutdown().await.unwrap();
            visitor
        });
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!writer.is_finished(), "a MiB does not fit in the buffers between");
        let mut origin = origin;
        let mut got = Vec::new();
        origin.read_to_end(&mut got).await.unwrap();
        drop(origin);
        assert_eq!(got.len(), 1024 * 1024);
        drop(writer.await.unwrap());
        assert_eq!(relay.await.unwrap().unwrap(), 1024 * 1024);
    }

    #[tokio::test]
    async fn a_side_that_breaks_is_named() {
        let mut broken = a_reset_side();
        let (mut service, _origin) = duplex(64);
        let error = relay(&mut OnDemand::new(&mut broken), &mut service, &Carried::default()).await.unwrap_err();
        assert!(matches!(error, RelayError::Edge(_)));
        let (mut edge, _visitor) = duplex(64);
        let mut broken = a_reset_side();
        let error = relay(&mut OnDemand::new(&mut edge), &mut broken, &Carried::default()).await.unwrap_err();
        assert!(matches!(error, RelayError::Service(_)));
    }

    fn a_reset_side() -> impl AsyncRead + AsyncWrite + Unpin {
        struct Reset;
        impl AsyncRead for Reset {
            fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
            }
        }
        impl AsyncWrite for Reset {
            fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
                Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
            }
            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }
            fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }
        }
        Reset
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn every_byte_arrives_once_and_in_order(
            up in prop::collection::vec(any::<u8>(), 0..200_000),
            down in prop::collection::vec(any::<u8>(), 0..200_000),
            pipe in 1_usize..70_000,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let (visitor, mut edge) = duplex(pipe);
                let (mut near, (mut service, origin)) = (OnDemand::new(&mut edge), duplex(pipe));
                let carried = Carried::default();
                let both = async |end: tokio::io::DuplexStream, send: &[u8]| {
                    let (mut read, mut write) = tokio::io::split(end);
                    let mut got = Vec::new();
                    let writing = async { write.write_all(send).await?; write.shutdown().await };
                    let (wrote, read) = tokio::join!(writing, read.read_to_end(&mut got));
                    wrote.unwrap();
                    read.unwrap();
                    got
                };
                let (relayed, at_visitor, at_origin) =
                    tokio::join!(relay(&mut near, &mut service, &carried), both(visitor, &up), both(origin, &down));
                relayed.unwrap();
                assert!(at_visitor == down && at_origin == up);
                assert_eq!(carried.to_service.into_inner(), up.len() as u64);
                assert_eq!(carried.from_service.into_inner(), down.len() as u64);
            });
        }
    }
}
