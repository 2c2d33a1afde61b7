//! Carrying bytes between a stream of the link and a connection to a service, both ways at once.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The buffer of each direction begins this small, since most streams are short or idle.
const BUFFER_START: usize = 8 * 1024;
/// A buffer that is filled by one read doubles, up to this: four frames of a link, each exactly one TLS record.
const BUFFER_MAX: usize = 4 * crate::link::FRAME_PAYLOAD;

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
    /// The side of the edge.
    #[error("the edge's side ended: {0}")]
    Edge(#[source] io::Error),
    /// The side of the service.
    #[error("the service's side ended: {0}")]
    Service(#[source] io::Error),
}

/// Carries bytes until both directions have ended in order, each half-closed by itself; or until one side breaks,
/// upon which the caller must break the other, since an orderly end would make a cut body look whole.
///
/// A direction reads only when all it read before was taken, so a slow side slows the other one down.
pub async fn relay<E, S>(edge: &mut E, service: &mut S, carried: &Carried) -> Result<(), RelayError>
where
    E: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut inward = Direction::new();
    let mut outward = Direction::new();
    poll_fn(|cx| {
        let to_service = inward.poll(cx, edge, service, &carried.to_service).map_err(|broken| match broken {
            Broken::Read(error) => RelayError::Edge(error),
            Broken::Write(error) => RelayError::Service(error),
        })?;
        let from_service = outward.poll(cx, service, edge, &carried.from_service).map_err(|broken| match broken {
            Broken::Read(error) => RelayError::Service(error),
            Broken::Write(error) => RelayError::Edge(error),
        })?;
        ready!(to_service);
        ready!(from_service);
        Poll::Ready(Ok(()))
    })
    .await
}

enum Broken {
    Read(io::Error),
    Write(io::Error),
}

/// One direction: read, write what was read, flush when there is nothing to read, shut down at the end.
struct Direction {
    buffer: Vec<u8>,
    filled: usize,
    written: usize,
    phase: Phase,
    unflushed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Copying,
    ShuttingDown,
    Done,
}

impl Direction {
    const fn new() -> Self {
        Self { buffer: Vec::new(), filled: 0, written: 0, phase: Phase::Copying, unflushed: false }
    }

    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        count: &AtomicU64,
    ) -> Poll<Result<(), Broken>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            match self.phase {
                Phase::Done => return Poll::Ready(Ok(())),
                Phase::ShuttingDown => {
                    ready!(Pin::new(&mut *writer).poll_shutdown(cx)).map_err(Broken::Write)?;
                    self.phase = Phase::Done;
                    self.buffer = Vec::new();
                }
                Phase::Copying => {
                    if self.written == self.filled {
                        match self.poll_fill(cx, reader) {
                            Poll::Ready(more) => {
                                if !more.map_err(Broken::Read)? {
                                    self.phase = Phase::ShuttingDown;
                                    continue;
                                }
                            }
                            Poll::Pending => {
                                if self.unflushed {
                                    ready!(Pin::new(&mut *writer).poll_flush(cx)).map_err(Broken::Write)?;
                                    self.unflushed = false;
                                }
                                return Poll::Pending;
                            }
                        }
                    }
                    ready!(self.poll_drain(cx, writer, count)).map_err(Broken::Write)?;
                }
            }
        }
    }

    /// Reads once; false at the end of what there is to read.
    fn poll_fill<R: AsyncRead + Unpin>(&mut self, cx: &mut Context<'_>, reader: &mut R) -> Poll<io::Result<bool>> {
        if self.buffer.is_empty() {
            self.buffer.resize(BUFFER_START, 0);
        } else if self.filled == self.buffer.len() && self.filled < BUFFER_MAX {
            self.buffer.resize(self.filled.saturating_mul(2).min(BUFFER_MAX), 0);
        }
        let mut space = ReadBuf::new(&mut self.buffer);
        ready!(Pin::new(reader).poll_read(cx, &mut space))?;
        self.filled = space.filled().len();
        self.written = 0;
        Poll::Ready(Ok(self.filled > 0))
    }

    /// Writes all that was read.
    fn poll_drain<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        writer: &mut W,
        count: &AtomicU64,
    ) -> Poll<io::Result<()>> {
        while let Some(rest) = self.buffer.get(self.written..self.filled).filter(|rest| !rest.is_empty()) {
            let taken = ready!(Pin::new(&mut *writer).poll_write(cx, rest))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written = self.written.saturating_add(taken);
            self.unflushed = true;
            count.fetch_add(u64::try_from(taken).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
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
        let relay = tokio::spawn(async move { relay(&mut edge, &mut service, &Carried::default()).await });
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
            relay(&mut edge, &mut service, &carried).await.map(|()| carried.to_service.into_inner())
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
        let error = relay(&mut broken, &mut service, &Carried::default()).await.unwrap_err();
        assert!(matches!(error, RelayError::Edge(_)));
        let (mut edge, _visitor) = duplex(64);
        let mut broken = a_reset_side();
        let error = relay(&mut edge, &mut broken, &Carried::default()).await.unwrap_err();
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
                let (mut service, origin) = duplex(pipe);
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
                    tokio::join!(relay(&mut edge, &mut service, &carried), both(visitor, &up), both(origin, &down));
                relayed.unwrap();
                assert!(at_visitor == down && at_origin == up);
                assert_eq!(carried.to_service.into_inner(), up.len() as u64);
                assert_eq!(carried.from_service.into_inner(), down.len() as u64);
            });
        }
    }
}
