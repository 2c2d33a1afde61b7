//! Turns: who sends much shares, who sends little does not wait.

use std::task::{Context, Poll, Waker};

use tunnel_proto::mux::{Batch, Engine, FRAME_PAYLOAD, HEADER, Header, Mode};

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
            let update = Header { kind: tunnel_proto::mux::Kind::WindowUpdate, flags: 0, stream: *id, len: 64 * 1024 };
            engine.receive(&update.bytes(), tokio::time::Instant::now()).unwrap();
        }
    }
    let (least, most) = (sent.values().min().unwrap(), sent.values().max().unwrap());
    assert_eq!(sent.len(), 8);
    assert!(*most <= least + 6 * FRAME_PAYLOAD, "{sent:?}");
    drop(batch);
}

/// What the peer does not take of answers is bounded, however much it asks.
#[test]
fn whoever_takes_no_answers_is_not_read_for_ever() {
    let mut engine = Engine::new(Mode::Server, LIMITS, tokio::time::Instant::now());
    let now = tokio::time::Instant::now();
    let mut asked = 0;
    while !engine.is_stuffed() {
        // A stream too many each time: it is answered by a reset.
        let opening = Header { kind: tunnel_proto::mux::Kind::Data, flags: 1, stream: 1 + 2 * asked, len: 0 };
        engine.receive(&opening.bytes(), now + std::time::Duration::from_millis(u64::from(asked))).unwrap();
        asked += 1;
        assert!(asked < 100_000);
    }
    let mut batch = Batch::default();
    engine.poll_output(&mut batch, &mut Context::from_waker(Waker::noop()));
    assert!(batch.urgent.len() < 512 * 1024 && !engine.is_stuffed());
}
