//! The multiplexer's engine: whatever a peer sends, in whatever pieces, and whatever our side does meanwhile.

use std::task::{Context, Poll, Waker};

use tokio::time::Instant;
use tunnel_proto::mux::{Batch, Engine, HEADER, Header, Limits, Mode};

/// Streams and bytes that the engine may hold: few, so that an input gets there.
const LIMITS: Limits = Limits { takes_streams: true, streams: 8, memory: 48 * 1024, stranger: false };
/// What may wait for a socket that takes nothing: nothing more is read from 256 KiB on, and one input is shorter.
const OUTPUT_MAX: usize = 1024 * 1024;

/// The first byte says which side we are. Then a byte says what happens next, and the one after it to whom, or how much.
pub(super) fn run(data: &[u8]) {
    let Some((first, mut rest)) = data.split_first() else { return };
    let mode = if first % 2 == 0 { Mode::Client } else { Mode::Server };
    let (now, mut cx) = (Instant::now(), Context::from_waker(Waker::noop()));
    let mut engine = Engine::new(mode, LIMITS, now);
    let mut held = Vec::new();
    while let [what, much, more @ ..] = rest {
        rest = more;
        let one = held.get(usize::from(*much) % held.len().max(1)).copied();
        match (what % 8, one) {
            (0..=2, _) => {
                let (bytes, more) = rest.split_at(usize::from(*much).min(rest.len()));
                rest = more;
                let ended = engine.receive(bytes, now).is_err();
                assert!(engine.held() <= LIMITS.memory, "{} bytes are held", engine.held());
                assert!(engine.streams() <= LIMITS.streams + 1, "{} streams", engine.streams());
                if ended {
                    break;
                }
            }
            (3, _) => held.extend(engine.accept()),
            (4, _) if engine.streams() < LIMITS.streams => held.extend(engine.open()),
            (5, Some(id)) => read(&mut engine, id, &mut cx),
            (6, Some(id)) => drop(engine.poll_write(id, &[7; 3000][..usize::from(*much) * 10], &mut cx)),
            (7, Some(id)) if much % 3 == 0 => drop(engine.finish(id)),
            (7, Some(id)) => {
                engine.release(id);
                held.retain(|kept| *kept != id);
            }
            _ => said(&mut engine, &mut cx),
        }
    }
    engine.cut();
    for id in held {
        read(&mut engine, id, &mut cx);
        engine.release(id);
    }
    said(&mut engine, &mut cx);
    while let Some(id) = engine.accept() {
        engine.release(id);
    }
}

/// Reads all that has come for a stream.
fn read(engine: &mut Engine, id: u32, cx: &mut Context<'_>) {
    let before = engine.held();
    while let Poll::Ready(Ok(Some(piece))) = engine.poll_read(id, cx) {
        assert!(!piece.is_empty(), "a piece is not an end");
    }
    assert!(engine.held() <= before);
}

/// What is said is whole frames, and bounded.
fn said(engine: &mut Engine, cx: &mut Context<'_>) {
    let mut batch = Batch::default();
    engine.poll_output(&mut batch, cx);
    assert!(batch.urgent.len() + batch.bulk.len() <= OUTPUT_MAX);
    for mut bytes in [&batch.urgent[..], &batch.bulk[..]] {
        while !bytes.is_empty() {
            let (header, rest) = bytes.split_first_chunk::<HEADER>().expect("a whole header");
            let header = Header::parse(*header).expect("a frame that there is");
            bytes = &rest[header.body()..];
        }
    }
}
