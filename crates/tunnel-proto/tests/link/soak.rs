//! Many streams at the edge of their windows, on two threads.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf},
    task::JoinSet,
    time::{Instant, sleep},
};
use tunnel_proto::link::{Settings, Stream};

use crate::{next, open, pair_over};

const STREAMS: u64 = 8;
/// In each of these something moves on every stream, both ways.
const PROGRESS: Duration = Duration::from_secs(5);

/// Lengths and pauses, by a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % most
    }
}

/// What stands at a position.
fn byte(at: u64) -> u8 {
    (at ^ at >> 8 ^ at >> 16) as u8
}

async fn write(mut stream: WriteHalf<Stream>, mut dice: Dice, until: Instant) -> u64 {
    let mut written = 0;
    while Instant::now() < until {
        // Most are short; some are longer than a window.
        let length = if dice.below(50) == 0 { dice.below(400_000) } else { dice.below(5_000) };
        let bytes: Vec<u8> = (written..written + length).map(byte).collect();
        stream.write_all(&bytes).await.unwrap();
        written += length;
    }
    stream.shutdown().await.unwrap();
    written
}

async fn read(mut stream: ReadHalf<Stream>, mut dice: Dice, count: Arc<AtomicU64>) -> u64 {
    let (mut bytes, mut read) = (vec![0; 40_000], 0_u64);
    loop {
        let most = 1 + dice.below(40_000) as usize;
        let got = stream.read(&mut bytes[..most]).await.unwrap();
        if got == 0 {
            return read;
        }
        assert!((read..).zip(&bytes[..got]).all(|(at, got)| byte(at) == *got), "behind {read}");
        read += got as u64;
        count.store(read, Relaxed);
        // So that the writer finds no room.
        if dice.below(40) == 0 {
            sleep(Duration::from_millis(dice.below(20))).await;
        }
    }
}

// R60
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_edge_of_windows_nobody_waits_for_ever() {
    let seconds = if std::env::var_os("TUNNEL_TESTS_LONG").is_some() { 600 } else { 6 };
    let until = Instant::now() + Duration::from_secs(seconds);
    let (near, far) = tokio::io::duplex(10_000);
    let (edge, mut connector) = pair_over(near, far, Settings::for_edge(), Settings::default()).await;
    let (mut counts, mut tasks) = (Vec::new(), JoinSet::new());
    for number in 0..STREAMS {
        let near = edge.link.open(open(0)).await.unwrap();
        let far = next(&mut connector).await.accept().await.unwrap();
        for (side, stream) in [near, far].into_iter().enumerate() {
            let seed = 1 + number * 4 + side as u64 * 2;
            let ((reader, writer), count) = (tokio::io::split(stream), Arc::<AtomicU64>::default());
            counts.push(count.clone());
            tasks.spawn(async move {
                let writing = tokio::spawn(write(writer, Dice(seed << 32), until));
                let read = read(reader, Dice((seed + 1) << 32), count).await;
                (number, read, writing.await.unwrap())
            });
        }
    }
    let watch = async {
        let mut before = vec![0; counts.len()];
        loop {
            sleep(PROGRESS).await;
            if Instant::now() > until {
                // The rest, which may not take for ever either.
                sleep(PROGRESS * 6).await;
                panic!("some do not come to their end");
            }
            for (before, count) in before.iter_mut().zip(&counts) {
                let moved = count.load(Relaxed);
                assert!(moved > *before, "nothing moves behind {before}");
                *before = moved;
            }
        }
    };
    let ended = tokio::select! {
        ended = tasks.join_all() => ended,
        () = watch => unreachable!("it goes on until they end"),
    };
    for number in 0..STREAMS {
        let [one, other] = ended.iter().filter(|end| end.0 == number).collect::<Vec<_>>()[..] else {
            panic!("two ends")
        };
        assert!(one.1 == other.2 && other.1 == one.2 && one.1 > 0, "{one:?} {other:?}");
    }
}
