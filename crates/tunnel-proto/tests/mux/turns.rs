//! Turns: who sends much shares, who sends little does not wait.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Wake, Waker},
};

use tunnel_proto::mux::{Batch, Engine, FRAME_PAYLOAD, HEADER, Header, Kind, Mode, Mux, flags};

use crate::LIMITS;

/// The streams of the frames in `bytes`, with how much each carries.
fn frames(mut bytes: &[u8]) -> Vec<(u32, usize)> {
    let mut all = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() {
        let header = Header::parse(*header).unwrap();
        all.push((header.stream, header.body()));
        bytes = &rest[header.body()..];
    }
    all
}

/// Greedy streams and one that sends a key now and then, in front of a socket that takes one batch after the other.
#[test]
fn greedy_streams_share_alike_and_a_key_goes_with_the_next_batch() {
    let mut engine = Engine::new(Mode::Client, LIMITS, tokio::time::Instant::now());
    let mut cx = Context::from_waker(Waker::noop());
    let shell = engine.open().unwrap();
    let greedy: Vec<u32> = (0..8).map(|_| engine.open().unwrap()).collect();
    let (mut batch, mut sent) = (Batch::default(), std::collections::HashMap::new());
    for round in 0..100 {
        for id in &greedy {
            // As a task does: until there is no room.
            while let Poll::Ready(Ok(_)) = engine.poll_write(*id, &[7; 64 * 1024], &mut cx) {}
        }
        assert_eq!(engine.poll_write(shell, b"k", &mut cx), Poll::Ready(Ok(1)), "in round {round}");
        batch = Batch::default();
        assert!(engine.poll_output(&mut batch, &mut cx));
        assert_eq!(frames(&batch.urgent).last(), Some(&(shell, 1)));
        assert!(batch.bulk.len() <= 8 * (FRAME_PAYLOAD + HEADER));
        for (id, len) in frames(&batch.bulk) {
            *sent.entry(id).or_insert(0) += len;
        }
        // The other end reads everything.
        for id in &greedy {
            let update = Header { kind: Kind::WindowUpdate, flags: 0, stream: *id, len: 64 * 1024 };
            engine.receive(&update.bytes(), tokio::time::Instant::now()).unwrap();
        }
    }
    let (least, most) = (sent.values().min().unwrap(), sent.values().max().unwrap());
    assert_eq!(sent.len(), 8);
    assert!(*most <= least + 6 * FRAME_PAYLOAD, "{sent:?}");
    drop(batch);
}

/// Counts how often it is woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// Who waits in the line behind others that are gone, by a reset of the peer, by our own hand, or without a word.
#[test]
fn whoever_waits_behind_those_that_are_gone_comes_first() {
    for gone in ["reset", "dropped", "silent"] {
        let now = tokio::time::Instant::now();
        let mux = Mux::new(Mode::Client, LIMITS);
        let (driver, writer) = (Arc::<Count>::default(), Arc::<Count>::default());
        let (driving, writing) = (Waker::from(driver.clone()), Waker::from(writer.clone()));
        let mut silent = Context::from_waker(Waker::noop());
        let waiting: Vec<u32> = (0..50).map(|_| mux.with(Engine::open).unwrap()).collect();
        // Each has opened, and sent as much as the socket takes for now.
        for id in &waiting {
            assert!(mux.poll_write(*id, &[7; 100], &mut silent).is_ready());
        }
        let mut batch = Batch::default();
        assert!(mux.with(|engine| engine.poll_output(&mut batch, &mut silent)));
        let first = mux.with(Engine::open).unwrap();
        while mux.poll_write(first, &[7; 64 * 1024], &mut silent).is_ready() {}
        let (last, others) = waiting.split_last().unwrap();
        for id in others {
            assert!(mux.poll_write(*id, &[7; 50_000], &mut silent).is_pending());
        }
        assert!(mux.poll_write(*last, &[7; 50_000], &mut Context::from_waker(&writing)).is_pending());
        for id in others {
            match gone {
                "reset" => {
                    let reset = Header { kind: Kind::Data, flags: flags::RST, stream: *id, len: 0 };
                    mux.with(|engine| engine.receive(&reset.bytes(), now)).unwrap();
                }
                "dropped" => mux.with(|engine| engine.release(*id)),
                _ => {}
            }
        }
        // As the driver does: again whenever it is woken.
        for _ in 0..50 {
            let before = driver.0.load(Relaxed);
            let mut batch = Batch::default();
            let any = mux.with(|engine| engine.poll_output(&mut batch, &mut Context::from_waker(&driving)));
            if !any && driver.0.load(Relaxed) == before {
                break;
            }
        }
        assert!(writer.0.load(Relaxed) > 0, "nobody called on the one behind those that are {gone}");
    }
}

/// What the peer does not take of answers is bounded, however much it asks.
#[test]
fn whoever_takes_no_answers_is_not_read_for_ever() {
    let mut engine = Engine::new(Mode::Server, LIMITS, tokio::time::Instant::now());
    let now = tokio::time::Instant::now();
    let mut asked = 0;
    while !engine.is_stuffed() {
        // A stream too many each time: it is answered by a reset.
        let opening = Header { kind: Kind::Data, flags: 1, stream: 1 + 2 * asked, len: 0 };
        engine.receive(&opening.bytes(), now + std::time::Duration::from_millis(u64::from(asked))).unwrap();
        asked += 1;
        assert!(asked < 100_000);
    }
    let mut batch = Batch::default();
    engine.poll_output(&mut batch, &mut Context::from_waker(Waker::noop()));
    assert!(batch.urgent.len() < 512 * 1024 && !engine.is_stuffed());
}
