//! Doors for benches: hot functions inside, called as a request calls them. No part of the library's face, and free to change;
//! each only passes on what it is given.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use http::{HeaderMap, request::Parts};
use tokio::io::{AsyncRead, ReadBuf};

use crate::{
    State, Visit, forward,
    gate::Permit,
    strict::{HEAD_MAX, Pace, Strict},
};

/// A visitor's connection of HTTP/1 on which the same head comes again and again, each answered before the next one comes.
pub struct Heads {
    strict: Strict<Again>,
    pace: Arc<Pace>,
    room: Vec<u8>,
}

/// What comes always, whole.
struct Again(Vec<u8>);

impl AsyncRead for Again {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        buf.put_slice(&self.0);
        Poll::Ready(Ok(()))
    }
}

impl Heads {
    /// One on which `head` comes.
    pub fn new(head: Vec<u8>) -> Self {
        let pace = Arc::<Pace>::default();
        Self { strict: Strict::new(Again(head), Some(pace.clone())), pace, room: vec![0; HEAD_MAX] }
    }

    /// Follows and judges the next one; how many of its bytes may be read.
    pub fn read(&mut self) -> usize {
        let mut room = ReadBuf::new(&mut self.room);
        let read = Pin::new(&mut self.strict).poll_read(&mut Context::from_waker(Waker::noop()), &mut room);
        self.pace.answer(false);
        if matches!(read, Poll::Ready(Ok(()))) { room.filled().len() } else { 0 }
    }
}

/// The fields that a service sees of an admitted request.
pub fn outgoing(state: &State, visit: &Visit, permit: &Permit, parts: &Parts) -> HeaderMap {
    forward::fields(state, visit, permit, parts).unwrap_or_default()
}
