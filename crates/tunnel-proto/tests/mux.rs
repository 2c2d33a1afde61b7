//! The multiplexer's engine: against another implementation of the same protocol, against a model, and in whatever order tasks run.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

#[path = "mux/interop.rs"]
mod interop;
#[path = "mux/model.rs"]
mod model;
#[path = "mux/orders.rs"]
mod orders;
#[path = "mux/turns.rs"]
mod turns;

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Buf;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::Instant,
};
use tunnel_proto::mux::{Batch, End, Limits, Mux};

/// What a link allows its peer.
pub(crate) const LIMITS: Limits = Limits { takes_streams: true, streams: 2049, memory: 64 << 20, stranger: false };

/// Moves bytes between an engine and `io` until either ends; why.
pub(crate) async fn drive<T: AsyncRead + AsyncWrite + Unpin>(mux: Arc<Mux>, mut io: T) -> Option<End> {
    let (mut batch, mut input) = (Batch::default(), vec![0; 64 * 1024]);
    let end = poll_fn(|cx| turn(&mux, &mut io, &mut batch, &mut input, cx)).await;
    mux.with(|engine| engine.cut());
    end
}

pub(crate) fn turn<T: AsyncRead + AsyncWrite + Unpin>(
    mux: &Mux,
    io: &mut T,
    batch: &mut Batch,
    input: &mut [u8],
    cx: &mut Context<'_>,
) -> Poll<Option<End>> {
    loop {
        while !batch.is_empty() || mux.with(|engine| engine.poll_output(batch, cx)) {
            let bytes = if batch.urgent.is_empty() { &mut batch.bulk } else { &mut batch.urgent };
            match Pin::new(&mut *io).poll_write(cx, bytes) {
                Poll::Ready(Ok(count)) => bytes.advance(count),
                Poll::Ready(Err(_)) => *batch = Batch::default(),
                Poll::Pending => break,
            }
        }
        let mut space = ReadBuf::new(input);
        match Pin::new(&mut *io).poll_read(cx, &mut space) {
            Poll::Ready(Ok(())) if space.filled().is_empty() => return Poll::Ready(None),
            Poll::Ready(Err(_)) => return Poll::Ready(None),
            Poll::Ready(Ok(())) => {
                if let Err(end) = mux.with(|engine| engine.receive(space.filled(), Instant::now())) {
                    return Poll::Ready(Some(end));
                }
            }
            Poll::Pending => return Poll::Pending,
        }
    }
}

/// Bytes that tell every position and stream apart.
pub(crate) fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Sends one pattern and receives the other, whole and to its end, at the same time.
pub(crate) async fn exchange<S: AsyncRead + AsyncWrite>(stream: S, ours: u64, theirs: u64, len: usize) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let write = async {
        for piece in pattern(ours, len).chunks(10_007) {
            writer.write_all(piece).await.unwrap();
        }
        writer.shutdown().await.unwrap();
    };
    let read = async {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).await.unwrap();
        assert!(all == pattern(theirs, len), "the pattern {theirs} arrives whole beside {ours}");
    };
    tokio::join!(write, read);
}
