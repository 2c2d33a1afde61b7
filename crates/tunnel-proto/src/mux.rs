//! Many streams on one connection: yamux on the wire, with an engine of our own.
//!
//! [`Engine`] is the protocol without sockets or tasks: it is handed the bytes that came and the time, and says what is to be
//! sent; who waits is woken. [`Mux`] is the same behind a lock, for the task that drives a connection and those that use its
//! streams. Locks are held while some kilobytes are copied, and never across a wait.
//!
//! What the engine promises beyond the specification:
//!
//! - Streams take turns, and whoever sends little overtakes whoever sends much (`output.rs`).
//! - A stream's window grows to what the path holds, within a pot for all, and shrinks again (`window.rs`).
//! - An end is an end only if the peer said so; whatever else ends a stream is a reset, for both sides.
//! - What unread bytes cost is bounded for the connection, whatever pieces they come in (`chunks.rs`); over it the streams with
//!   most of them are reset.
//! - What costs a peer nothing to send is counted (`tolerance.rs`).
//! - One stream too many is refused, and the connection goes on.

mod chunks;
mod engine;
mod output;
mod stream;
mod tolerance;
mod window;
mod wire;

use std::{
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::BytesMut;
use tokio::time::Instant;

pub use engine::{Engine, WINDOW_POT};
pub use output::{BULK_MAX, Batch, FRAME_PAYLOAD};
pub use stream::Stream;
pub use window::{FAR, WINDOW_MAX, WINDOW_START};
pub use wire::{HEADER, Header, Kind, flags};

/// Which side of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The side that connected. Its streams have odd numbers.
    Client,
    /// The side that was connected to.
    Server,
}

/// What a peer may make this side do and hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Whether the peer may open streams (other than the first).
    pub takes_streams: bool,
    /// Streams of both sides at a time. One more is reset.
    pub streams: usize,
    /// What unread bytes may cost, in bytes. Windows may grow by half of it together, less one [`WINDOW_START`], and by
    /// [`WINDOW_POT`] at most.
    pub memory: usize,
    /// Whether nothing is known of the peer: it may then send a hundredth of what costs it nothing.
    pub stranger: bool,
}

/// Why a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer said so.
    PeerClosed,
    /// The peer broke a rule.
    Protocol(&'static str),
    /// The peer made us hold more than the budget, and there is nothing to reset.
    OverBudget,
}

/// Why nothing can be read or written on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// It was reset, or its connection is over.
    Reset,
    /// Our direction has ended.
    Ended,
}

/// An [`Engine`] that several tasks use.
#[derive(Debug)]
pub struct Mux {
    engine: Mutex<Engine>,
}

impl Mux {
    /// A new connection.
    pub fn new(mode: Mode, limits: Limits) -> Arc<Self> {
        Arc::new(Self { engine: Mutex::new(Engine::new(mode, limits, Instant::now())) })
    }

    /// Does something with the engine, then wakes whoever is to be woken.
    pub fn with<R>(&self, act: impl FnOnce(&mut Engine) -> R) -> R {
        let (result, wakes) = {
            // The engine is right after each of its steps; a panic elsewhere does not spoil it.
            let mut engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
            let result = act(&mut engine);
            (result, std::mem::take(&mut engine.wakes))
        };
        wakes.into_iter().for_each(std::task::Waker::wake);
        result
    }

    /// Opens a stream; see [`Engine::open`].
    pub fn open(self: &Arc<Self>) -> Option<Stream> {
        Some(Stream::new(self, self.with(Engine::open)?))
    }

    /// Takes the next stream that the peer opened.
    pub fn accept(self: &Arc<Self>) -> Option<Stream> {
        Some(Stream::new(self, self.with(Engine::accept)?))
    }

    /// See [`Engine::poll_read`].
    pub fn poll_read(&self, id: u32, cx: &mut Context<'_>) -> Poll<Result<Option<BytesMut>, Broken>> {
        self.with(|engine| engine.poll_read(id, cx))
    }

    /// See [`Engine::poll_cut`].
    pub fn poll_cut(&self, id: u32, cx: &Context<'_>) -> Poll<()> {
        self.with(|engine| engine.poll_cut(id, cx))
    }

    /// See [`Engine::poll_write`].
    pub fn poll_write(&self, id: u32, payload: &[u8], cx: &mut Context<'_>) -> Poll<Result<usize, Broken>> {
        self.with(|engine| engine.poll_write(id, payload, cx))
    }
}
