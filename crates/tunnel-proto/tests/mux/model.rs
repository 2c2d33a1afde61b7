//! Two engines, whatever their users do and in whatever pieces bytes arrive, against a model that is a queue for each direction.

use std::{
    collections::HashMap,
    task::{Context, Poll, Waker},
    time::Duration,
};

use proptest::prelude::*;
use tokio::time::Instant;
use tunnel_proto::mux::{Batch, Broken, Engine, Limits, Mode};

use crate::LIMITS;

#[derive(Clone, Debug)]
enum Step {
    /// This side opens a stream.
    Open(usize),
    /// This side takes what the other opened.
    Accept(usize),
    /// This side writes so many bytes to the n-th of its streams.
    Write(usize, usize, usize),
    /// This side reads from the n-th of its streams, at most so often.
    Read(usize, usize, usize),
    /// This side ends its direction of the n-th of its streams.
    Finish(usize, usize),
    /// This side drops the n-th of its streams.
    Drop(usize, usize),
    /// What this side wants to say is put on its way.
    Send(usize),
    /// So many bytes arrive at this side, so many milliseconds later.
    Arrive(usize, usize, u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    let (side, stream) = (0..2_usize, 0..8_usize);
    prop_oneof![
        1 => side.clone().prop_map(Step::Open),
        2 => side.clone().prop_map(Step::Accept),
        6 => (side.clone(), stream.clone(), prop_oneof![1..200_usize, 1..100_000_usize])
            .prop_map(|(side, stream, len)| Step::Write(side, stream, len)),
        6 => (side.clone(), stream.clone(), 1..8_usize).prop_map(|(side, stream, times)| Step::Read(side, stream, times)),
        1 => (side.clone(), stream.clone()).prop_map(|(side, stream)| Step::Finish(side, stream)),
        1 => (side.clone(), stream).prop_map(|(side, stream)| Step::Drop(side, stream)),
        6 => side.clone().prop_map(Step::Send),
        8 => (side, prop_oneof![1..40_usize, 1..200_000_usize], 0..100_u64)
            .prop_map(|(side, len, ms)| Step::Arrive(side, len, ms)),
    ]
}

/// What one side said on one stream.
#[derive(Default)]
struct Said {
    written: u64,
    finished: bool,
    dropped: bool,
    read: u64,
}

struct World {
    engines: [Engine; 2],
    /// On their way to each side.
    wires: [Vec<u8>; 2],
    /// The streams that each side has in hands.
    held: [Vec<u32>; 2],
    said: [HashMap<u32, Said>; 2],
    now: Instant,
}

impl World {
    fn new(limits: Limits) -> Self {
        let now = Instant::now();
        Self {
            engines: [Engine::new(Mode::Client, limits, now), Engine::new(Mode::Server, limits, now)],
            wires: Default::default(),
            held: Default::default(),
            said: Default::default(),
            now,
        }
    }

    fn nth(&self, side: usize, n: usize) -> Option<u32> {
        let held = &self.held[side];
        (!held.is_empty()).then(|| held[n % held.len()])
    }

    fn step(&mut self, step: &Step) {
        let mut cx = Context::from_waker(Waker::noop());
        match *step {
            Step::Open(side) => {
                if self.held[side].len() < 20 {
                    let id = self.engines[side].open().unwrap();
                    self.held[side].push(id);
                }
            }
            Step::Accept(side) => self.held[side].extend(self.engines[side].accept()),
            Step::Write(side, n, len) => {
                let Some(id) = self.nth(side, n) else { return };
                let said = self.said[side].entry(id).or_default();
                let bytes: Vec<u8> = (said.written..said.written + len as u64).map(|at| byte(side, id, at)).collect();
                match self.engines[side].poll_write(id, &bytes, &mut cx) {
                    Poll::Ready(Ok(count)) => said.written += count as u64,
                    Poll::Ready(Err(Broken::Ended)) => assert!(said.finished),
                    Poll::Ready(Err(Broken::Reset)) => assert!(self.said[1 - side].entry(id).or_default().dropped),
                    Poll::Pending => {}
                }
            }
            Step::Read(side, n, times) => {
                if let Some(id) = self.nth(side, n) {
                    (0..times).for_each(|_| self.read(side, id));
                }
            }
            Step::Finish(side, n) => {
                if let Some(id) = self.nth(side, n)
                    && self.engines[side].finish(id).is_ok()
                {
                    self.said[side].entry(id).or_default().finished = true;
                }
            }
            Step::Drop(side, n) => {
                if let Some(id) = self.nth(side, n) {
                    self.held[side].retain(|held| *held != id);
                    self.said[side].entry(id).or_default().dropped = true;
                    self.engines[side].release(id);
                }
            }
            Step::Send(side) => {
                let mut batch = Batch::default();
                self.engines[side].poll_output(&mut batch, &mut cx);
                self.wires[1 - side].extend_from_slice(&batch.urgent);
                self.wires[1 - side].extend_from_slice(&batch.bulk);
            }
            Step::Arrive(side, len, ms) => {
                self.now += Duration::from_millis(ms);
                let wire = &mut self.wires[side];
                let bytes: Vec<u8> = wire.drain(..len.min(wire.len())).collect();
                self.engines[side].receive(&bytes, self.now).unwrap();
            }
        }
    }

    fn read(&mut self, side: usize, id: u32) {
        let mut cx = Context::from_waker(Waker::noop());
        let is_cut = self.engines[side].poll_cut(id, &cx).is_ready();
        let read = self.engines[side].poll_read(id, &mut cx);
        let theirs = self.said[1 - side].entry(id).or_default();
        assert!(!is_cut || theirs.dropped, "only who drops a stream cuts it");
        match read {
            Poll::Ready(Ok(Some(piece))) => {
                assert!(!piece.is_empty());
                for got in piece {
                    assert_eq!(got, byte(1 - side, id, theirs.read), "at {} of {id}", theirs.read);
                    theirs.read += 1;
                }
                assert!(theirs.read <= theirs.written);
            }
            Poll::Ready(Ok(None)) => assert!(theirs.finished && theirs.read == theirs.written, "an end is all of it"),
            Poll::Ready(Err(_)) => assert!(theirs.dropped, "only who drops a stream resets it"),
            Poll::Pending => {}
        }
    }

    /// Everything arrives and is read, until nothing moves any more.
    fn settle(&mut self) {
        loop {
            let before = (self.total(), self.wires.iter().map(Vec::len).sum::<usize>());
            for side in [0, 1] {
                self.step(&Step::Send(side));
                self.step(&Step::Arrive(1 - side, usize::MAX, 1));
                (0..200).for_each(|_| self.step(&Step::Accept(1 - side)));
                for id in self.held[1 - side].clone() {
                    (0..20).for_each(|_| self.read(1 - side, id));
                }
            }
            if before == (self.total(), 0) && self.wires.iter().all(Vec::is_empty) {
                return;
            }
        }
    }

    fn total(&self) -> u64 {
        self.said.iter().flat_map(HashMap::values).map(|said| said.read).sum()
    }
}

/// What stands at a position.
fn byte(side: usize, id: u32, at: u64) -> u8 {
    (at.wrapping_mul(31) ^ at >> 8 ^ u64::from(id) << 3 ^ (side as u64) << 7) as u8
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_their_users_do_two_engines_carry_exactly_what_was_written(
        steps in prop::collection::vec(any_step(), 1..200),
    ) {
        let mut world = World::new(LIMITS);
        for step in &steps {
            world.step(step);
        }
        world.settle();
        for side in [0, 1] {
            for id in world.held[side].clone() {
                let (ours, theirs) = (&world.said[side], &world.said[1 - side]);
                let both = !ours.get(&id).is_some_and(|said| said.dropped) && world.held[1 - side].contains(&id);
                if let (true, Some(theirs)) = (both, theirs.get(&id)) {
                    prop_assert_eq!(theirs.read, theirs.written, "all arrives on {}", id);
                }
                let all_said = [ours, theirs].iter().all(|said| said.get(&id).is_some_and(|said| said.finished));
                if !all_said && theirs.get(&id).is_some_and(|said| said.dropped) {
                    let cut = world.engines[side].poll_cut(id, &Context::from_waker(Waker::noop()));
                    prop_assert!(cut.is_ready(), "{} was cut", id);
                }
            }
            prop_assert_eq!(world.engines[side].held(), 0);
        }
        for side in [0, 1] {
            for id in std::mem::take(&mut world.held[side]) {
                world.engines[side].release(id);
            }
        }
        world.settle();
        for side in [0, 1] {
            for id in std::mem::take(&mut world.held[side]) {
                world.engines[side].release(id);
            }
        }
        world.settle();
        for engine in &mut world.engines {
            while let Some(id) = engine.accept() {
                engine.release(id);
            }
            prop_assert_eq!((engine.streams(), engine.held()), (0, 0));
        }
    }

    // T6
    #[test]
    fn whatever_a_peer_sends_the_budget_is_kept(
        pieces in prop::collection::vec((1..60_u32, 0..16_u16, prop_oneof![0..3_usize, 0..5000_usize]), 0..300),
        memory in 1_usize..200_000,
    ) {
        use tunnel_proto::mux::{Header, Kind};
        let now = Instant::now();
        let mut engine = Engine::new(Mode::Server, Limits { memory, ..LIMITS }, now);
        for (id, flags, len) in pieces {
            let mut bytes = Header { kind: Kind::Data, flags, stream: id, len: len as u32 }.bytes().to_vec();
            bytes.resize(bytes.len() + len, 7);
            if engine.receive(&bytes, now).is_err() {
                break;
            }
            prop_assert!(engine.held() <= memory);
        }
    }
}

// T6
#[test]
fn what_was_thrown_away_does_not_look_whole() {
    use tunnel_proto::mux::{Header, Kind};
    const SYN: u16 = 1;
    const FIN: u16 = 4;
    let frame = |stream, flags, len: usize| {
        let mut bytes = Header { kind: Kind::Data, flags, stream, len: len as u32 }.bytes().to_vec();
        bytes.resize(bytes.len() + len, 7);
        bytes
    };
    let mut cx = Context::from_waker(Waker::noop());
    for ends_before in [true, false] {
        let now = Instant::now();
        let mut engine = Engine::new(Mode::Server, Limits { memory: 200_000, ..LIMITS }, now);
        engine.receive(&frame(3, SYN, 60_000), now).unwrap();
        if ends_before {
            engine.receive(&frame(3, FIN, 0), now).unwrap();
        }
        // Others, with less each, until the largest has to go.
        for other in (5..25).step_by(2) {
            engine.receive(&frame(other, SYN, 20_000), now).unwrap();
        }
        assert!(engine.poll_cut(3, &cx).is_ready());
        if !ends_before {
            engine.receive(&frame(3, FIN, 0), now).unwrap();
        }
        assert!(matches!(engine.poll_read(3, &mut cx), Poll::Ready(Err(Broken::Reset))));
    }
}
