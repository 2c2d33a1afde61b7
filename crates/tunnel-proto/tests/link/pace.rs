//! How much a link writes at once.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tunnel_proto::{
    LinkId,
    link::{self, Settings},
    message::{Limits, Role},
};

use crate::{
    evil::{SYN, data, frame, mux},
    hello, open,
};

/// The data frames in `bytes`: how long each is.
fn frames(mut bytes: &[u8]) -> Vec<usize> {
    let mut all = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<12>() {
        let len = if header[1] == 0 { u32::from_be_bytes(header[8..12].try_into().unwrap()) as usize } else { 0 };
        all.push(len);
        bytes = rest.get(len..).unwrap_or_default();
    }
    all
}

#[tokio::test(start_paused = true)]
async fn where_little_leaves_frames_are_small_and_where_much_does_large_again() {
    let (near, mut far) = tokio::io::duplex(16 * 1024);
    far.write_all(&data(1, SYN, &frame(&hello().into()))).await.unwrap();
    let greeting = link::accept(tokio::io::BufReader::new(near), Role::Connector, Settings::for_edge()).await.unwrap();
    let welcomed = greeting.welcome(LinkId::from_random([7; 16]), Limits::default(), vec![]).await.unwrap();
    let mut stream = welcomed.link.open(open(0)).await.unwrap();
    // Credit for all of it.
    far.write_all(&mux(1, 0, 2, 1 << 30)).await.unwrap();
    tokio::spawn(async move { while stream.write_all(&[7; 64 * 1024]).await.is_ok() {} });
    let mut read = Vec::new();
    // 10 Mbit/s for two seconds, and then 320.
    let mut takes = async |bytes: u32, seconds: u32| {
        let mut piece = vec![0; (bytes / 1000) as usize];
        for _ in 0..1000 * seconds {
            far.read_exact(&mut piece).await.unwrap();
            read.extend_from_slice(&piece);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        read.len()
    };
    let slow = takes(1_250_000, 2).await;
    let fast = takes(40_000_000, 1).await;
    // Where a write of the stream ends, and between data, frames are small anyway: the largest of the second half of each time counts.
    let (mut at, mut largest_slow, mut largest_fast) = (0, 0, 0);
    for len in frames(&read) {
        at += 12 + len;
        if (slow / 2..slow).contains(&at) {
            largest_slow = largest_slow.max(len);
        } else if ((slow + fast) / 2..fast).contains(&at) {
            largest_fast = largest_fast.max(len);
        }
    }
    assert!((1..=4096).contains(&largest_slow), "{largest_slow}");
    assert_eq!(largest_fast, link::FRAME_PAYLOAD);
}
