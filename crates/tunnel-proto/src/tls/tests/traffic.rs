//! What honest peers do.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use proptest::prelude::*;
use rustls::{CipherSuite, NamedGroup, crypto::cipher::OutboundChunks};
use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex, split,
};

use super::{BoxIo, Io, configs, every_pair, name, ours, pattern, their_client, their_server};
use crate::tls::{Arrival, READ_MAX, TlsStream, WRITE_MAX, accept, connect, records::RECORD_MAX};

/// Sends `there` from one end and `back` from the other at once, in pieces of these sizes, and shuts both directions down.
async fn exchange(near: BoxIo, far: BoxIo, there: &[u8], back: &[u8], piece: usize) {
    let one = |io: BoxIo, sends: Vec<u8>, expects: Vec<u8>| async move {
        let (mut reader, mut writer) = split(io);
        let writing = async {
            for piece in sends.chunks(piece) {
                writer.write_all(piece).await.unwrap();
            }
            writer.flush().await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let reading = async {
            let mut got = Vec::new();
            reader.read_to_end(&mut got).await.unwrap();
            assert!(got == expects, "{} of {} bytes", got.len(), expects.len());
        };
        tokio::join!(writing, reading);
    };
    tokio::join!(one(near, there.to_vec(), back.to_vec()), one(far, back.to_vec(), there.to_vec()));
}

#[tokio::test]
async fn bulk_passes_both_ways_at_once_whoever_is_at_the_other_end() {
    let (there, back) = (pattern(3_000_001, 1), pattern(2_000_003, 2));
    for (who, near, far) in every_pair(256 * 1024).await {
        println!("{who}");
        exchange(near, far, &there, &back, 64 * 1024).await;
    }
    for (who, near, far) in every_pair(256 * 1024).await {
        println!("{who}, in big pieces");
        exchange(near, far, &there, &back, 1024 * 1024).await;
    }
}

#[tokio::test]
async fn narrow_pipes_and_tiny_pieces_change_nothing() {
    let (there, back) = (pattern(40_000, 1), pattern(30_000, 2));
    for (pipe, piece) in [(13, 64 * 1024), (64 * 1024, 3), (1000, 17_000)] {
        for (who, near, far) in every_pair(pipe).await {
            println!("{who}, a pipe of {pipe} bytes, pieces of {piece}");
            exchange(near, far, &there, &back, piece).await;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn what_is_written_is_read_however_it_is_cut(
        pieces in prop::collection::vec(prop::collection::vec(0_usize..40_000, 0..4), 1..12),
        reads in prop::collection::vec(1_usize..50_000, 1..8),
        pipe in 1_usize..100_000,
        by_place in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut client, mut server) = ours(pipe).await;
            let total: usize = pieces.iter().flatten().sum();
            let all = pattern(total, 5);
            let writing = async {
                let mut rest = all.as_slice();
                for piece in &pieces {
                    // As a vectored write, until all of it is taken.
                    let mut slices: Vec<&[u8]> = Vec::new();
                    for length in piece {
                        let (one, after) = rest.split_at(*length);
                        slices.push(one);
                        rest = after;
                    }
                    while slices.iter().any(|slice| !slice.is_empty()) {
                        let vectored: Vec<_> = slices.iter().map(|slice| io::IoSlice::new(slice)).collect();
                        let mut taken = client.write_vectored(&vectored).await.unwrap();
                        assert!(taken > 0);
                        for slice in &mut slices {
                            let from_this = taken.min(slice.len());
                            *slice = &slice[from_this..];
                            taken -= from_this;
                        }
                    }
                }
                client.shutdown().await.unwrap();
            };
            let reading = async {
                let mut got = Vec::new();
                for length in reads.iter().cycle() {
                    let before = got.len();
                    if by_place {
                        let there = server.fill_buf().await.unwrap();
                        let taken = there.len().min(*length);
                        got.extend_from_slice(&there[..taken]);
                        server.consume(taken);
                    } else {
                        let mut space = vec![0; *length];
                        let taken = server.read(&mut space).await.unwrap();
                        got.extend_from_slice(&space[..taken]);
                    }
                    if got.len() == before {
                        break;
                    }
                }
                got
            };
            let ((), got) = tokio::join!(writing, reading);
            assert!(got == all);
        });
    }
}

#[tokio::test]
async fn both_ends_know_what_was_agreed_on() {
    let (client, server) = ours(64 * 1024).await;
    for agreed in [client.agreed(), server.agreed()] {
        assert_eq!(agreed.alpn.as_deref(), Some(&b"x/1"[..]));
        assert_eq!(agreed.group, Some(NamedGroup::X25519MLKEM768));
        assert!(matches!(
            agreed.suite,
            Some(CipherSuite::TLS13_AES_128_GCM_SHA256 | CipherSuite::TLS13_CHACHA20_POLY1305_SHA256)
        ));
        assert!(!agreed.resumed);
    }
    assert_eq!((client.agreed().certificates.len(), server.agreed().certificates.len()), (1, 0));
}

#[tokio::test]
async fn a_server_may_choose_when_the_hello_has_come() {
    let (client, server) = configs();
    for lazily in [true, false] {
        let (near, far) = duplex(64 * 1024);
        let serving = async {
            let arrival = Arrival::read(far).await?;
            assert_eq!(arrival.client_hello().server_name(), Some("edge.test"));
            if lazily {
                return Ok::<_, io::Error>(Box::new(arrival.accept(server.clone()).await?) as BoxIo);
            }
            let (accepted, io) = arrival.into_parts();
            let start = tokio_rustls::StartHandshake::from_parts(accepted, io);
            Ok(Box::new(start.into_stream(server.clone()).await?) as BoxIo)
        };
        let (near, far) = tokio::try_join!(connect(client.clone(), name(), near), serving).unwrap();
        exchange(Box::new(near), far, b"there", b"back", 64).await;
    }
}

#[tokio::test]
async fn what_comes_with_the_end_of_the_handshake_is_not_lost() {
    // The client's first words are in the same piece as its last of the handshake; the server's tickets come as well.
    let (client, server) = configs();
    let (near, far) = duplex(1024 * 1024);
    let client = async {
        let mut client = connect(client, name(), near).await.unwrap();
        client.write_all(&pattern(100_000, 3)).await.unwrap();
        client
    };
    let server = async {
        // It has not looked before all of that was there.
        tokio::task::yield_now().await;
        let mut server = accept(server, far).await.unwrap();
        let mut got = vec![0; 100_000];
        server.read_exact(&mut got).await.unwrap();
        assert!(got == pattern(100_000, 3));
        server.write_all(b"answer").await.unwrap();
        server
    };
    let (mut client, _server) = tokio::join!(client, server);
    let mut got = [0; 6];
    client.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"answer");
}

#[tokio::test]
async fn one_direction_may_end_long_before_the_other() {
    for (who, mut near, mut far) in every_pair(64 * 1024).await {
        println!("{who}");
        near.write_all(b"question").await.unwrap();
        near.shutdown().await.unwrap();
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"question");
        assert_eq!(far.read(&mut [0; 1]).await.unwrap(), 0, "the end stays the end");
        assert!(near.write_all(b"more").await.is_err() || near.flush().await.is_err() || who == "their client");
        far.write_all(b"answer").await.unwrap();
        far.shutdown().await.unwrap();
        let mut got = Vec::new();
        near.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"answer");
    }
}

/// Sends and reads once each way.
async fn ping(near: &mut (impl Io + ?Sized), far: &mut (impl Io + ?Sized), text: &[u8]) {
    let mut got = vec![0; text.len()];
    near.write_all(text).await.unwrap();
    near.flush().await.unwrap();
    far.read_exact(&mut got).await.unwrap();
    assert_eq!(got, text);
    far.write_all(text).await.unwrap();
    far.flush().await.unwrap();
    near.read_exact(&mut got).await.unwrap();
    assert_eq!(got, text);
}

#[tokio::test]
async fn a_peer_may_change_its_keys_and_ask_for_ours_to_change() {
    let (mut theirs, mut our) = their_client(64 * 1024).await;
    for round in 0..100_u8 {
        theirs.get_mut().1.refresh_traffic_keys().unwrap();
        ping(&mut theirs, &mut our, &[round; 100]).await;
    }
    let (mut our, mut theirs) = their_server(64 * 1024).await;
    for round in 0..100_u8 {
        theirs.get_mut().1.refresh_traffic_keys().unwrap();
        ping(&mut our, &mut theirs, &[round; 100]).await;
    }
}

#[tokio::test]
async fn our_keys_change_before_a_cipher_has_sealed_too_much_by_them() {
    let (mut our, mut theirs) = their_server(64 * 1024).await;
    let (mut client, mut server) = ours(64 * 1024).await;
    for round in 0..100_u8 {
        // Each change is of new keys, with a limit of its own.
        our.parts().0.limit(3);
        client.parts().0.limit(2);
        ping(&mut our, &mut theirs, &[round; 100]).await;
        ping(&mut client, &mut server, &[round; 100]).await;
    }
}

/// Notes the sizes of writes, takes as much as it may, and gives nothing to read after the handshake.
struct Counting {
    io: DuplexStream,
    writes: Arc<Mutex<Vec<usize>>>,
}

impl AsyncRead for Counting {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counting {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        if let Poll::Ready(Ok(written)) = &written {
            self.writes.lock().unwrap().push(*written);
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn a_big_write_goes_out_in_one_piece_of_full_records() {
    let (client, server) = configs();
    let (near, far) = duplex(1024 * 1024);
    let writes = Arc::new(Mutex::new(Vec::new()));
    let near = Counting { io: near, writes: writes.clone() };
    let (mut client, _server) = tokio::try_join!(connect(client, name(), near), accept(server, far)).unwrap();
    for (length, records) in [(64 * 1024, 4), (WRITE_MAX, 8), (10, 1), (20_000, 2)] {
        writes.lock().unwrap().clear();
        client.write_all(&vec![1; length]).await.unwrap();
        assert_eq!(*writes.lock().unwrap(), [length + records * 22], "{length} bytes");
    }
}

/// Looks for something to read, which there is not.
async fn finds_nothing<IO: AsyncRead + AsyncWrite + Unpin>(stream: &mut TlsStream<IO>) {
    let found =
        std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut *stream).poll_read(cx, &mut ReadBuf::new(&mut [0]))));
    assert!(found.await.is_pending());
}

#[tokio::test]
async fn an_idle_connection_holds_no_buffer() {
    let (mut client, mut server) = ours(1024 * 1024).await;
    finds_nothing(&mut server).await;
    let text = pattern(500_000, 1);
    client.write_all(&text).await.unwrap();
    let mut got = vec![0; text.len()];
    server.read_exact(&mut got).await.unwrap();
    assert!(got == text);
    let (_, incoming, _) = server.parts();
    assert_eq!(incoming.held(), READ_MAX, "while more may be on its way");
    // So will it be after any silence.
    finds_nothing(&mut server).await;
    finds_nothing(&mut client).await;
    for stream in [&mut server, &mut client] {
        let (_, incoming, outgoing) = stream.parts();
        assert_eq!((incoming.held(), outgoing.waiting()), (0, 0));
    }
}

#[tokio::test]
async fn a_record_that_stops_in_the_middle_is_kept_in_as_much_memory_as_it_needs() {
    let (mut client, mut server) = ours(1024 * 1024).await;
    let (records, _, _) = client.parts();
    let mut outgoing = crate::tls::outgoing::Outgoing::default();
    records.seal(OutboundChunks::Single(&[7; 16_000]), &mut outgoing).unwrap();
    let record: Vec<u8> = outgoing.slices().0[0].to_vec();
    // Not by the stream: in pieces of its own making.
    let (first, rest) = record.split_at(100);
    let io = client.io_for_tests();
    io.write_all(first).await.unwrap();
    finds_nothing(&mut server).await;
    assert_eq!(server.parts().1.held(), 100);
    let (second, last) = rest.split_at(10_000);
    let io = client.io_for_tests();
    io.write_all(second).await.unwrap();
    finds_nothing(&mut server).await;
    assert!(server.parts().1.held() < RECORD_MAX);
    let io = client.io_for_tests();
    io.write_all(last).await.unwrap();
    let mut got = vec![0; 16_000];
    server.read_exact(&mut got).await.unwrap();
    assert!(got == [7; 16_000]);
}

#[tokio::test]
async fn no_more_waits_to_be_sent_than_may_while_the_peer_reads_nothing() {
    let (mut client, mut server) = ours(1000).await;
    let text = pattern(1_000_000, 1);
    let taken = async {
        let mut taken = 0;
        while let Poll::Ready(more) =
            std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut client).poll_write(cx, &text[taken..]))).await
        {
            taken += more.unwrap();
        }
        taken
    };
    let taken = taken.await;
    assert!((WRITE_MAX / 2..=2 * WRITE_MAX).contains(&taken), "{taken} bytes");
    let waiting = client.parts().2.waiting();
    assert!(waiting <= WRITE_MAX + 8 * 22, "{waiting} bytes wait");
    let rest = async {
        client.write_all(&text[taken..]).await.unwrap();
        client.shutdown().await.unwrap();
    };
    let mut got = Vec::new();
    let ((), read) = tokio::join!(rest, server.read_to_end(&mut got));
    read.unwrap();
    assert!(got == text);
}

#[tokio::test]
async fn what_is_read_in_place_is_a_record_at_a_time() {
    let (mut client, mut server) = ours(1024 * 1024).await;
    client.write_all(&[1; 40_000]).await.unwrap();
    for expected in [16_384, 16_384, 7_232] {
        assert_eq!(server.fill_buf().await.unwrap().len(), expected);
        server.consume(expected);
    }
}
