//! What is done to honest peers.

use std::{io, sync::Arc, task::Poll};

use proptest::prelude::*;
use rustls::{AlertDescription, Error, InvalidMessage, PeerMisbehaved, pki_types::ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::TlsConnector;

use super::{configs, name, ours, their_client, their_server};
use crate::tls::{Arrival, HANDSHAKE_MAX, TlsStream, accept, connect, outgoing::Outgoing};

/// What TLS says of an error.
fn tls(error: &io::Error) -> Option<&Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

/// Reads to the end, which is an error.
async fn failure(stream: &mut TlsStream<DuplexStream>) -> io::Error {
    stream.read_to_end(&mut Vec::new()).await.unwrap_err()
}

#[tokio::test]
async fn an_end_that_nobody_announced_is_an_error() {
    let (mut client, mut server) = ours(64 * 1024).await;
    client.write_all(b"some").await.unwrap();
    drop(client);
    let mut got = Vec::new();
    let error = server.read_to_end(&mut got).await.unwrap_err();
    assert_eq!((error.kind(), got.as_slice()), (io::ErrorKind::UnexpectedEof, &b"some"[..]));
    let error = server.read(&mut [0; 4]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "and stays one");
}

#[tokio::test]
async fn half_a_record_and_then_the_end_is_an_error() {
    let (mut client, mut server) = ours(64 * 1024).await;
    let mut outgoing = Outgoing::default();
    client.parts().0.seal(rustls::crypto::cipher::OutboundChunks::Single(b"hello"), &mut outgoing).unwrap();
    let record = outgoing.slices().0[0].to_vec();
    client.io_for_tests().write_all(&record[..record.len() - 1]).await.unwrap();
    drop(client);
    assert_eq!(failure(&mut server).await.kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn a_spoilt_record_ends_the_connection_and_the_peer_is_told() {
    let (mut theirs, mut our) = their_client(64 * 1024).await;
    theirs.write_all(b"good").await.unwrap();
    let spoilt = [23, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20];
    theirs.get_mut().0.write_all(&spoilt).await.unwrap();
    let mut got = Vec::new();
    let error = our.read_to_end(&mut got).await.unwrap_err();
    assert_eq!((got.as_slice(), tls(&error)), (&b"good"[..], Some(&Error::DecryptError)));
    assert_eq!(tls(&failure(&mut our).await), Some(&Error::DecryptError), "and stays ended");
    assert!(our.write_all(b"more").await.is_err());
    let told = theirs.read(&mut [0; 4]).await.unwrap_err();
    assert_eq!(tls(&told), Some(&Error::AlertReceived(AlertDescription::BadRecordMac)));
}

#[tokio::test]
async fn what_is_no_sealed_record_is_refused_by_its_header() {
    let unsealed = Error::from(InvalidMessage::UnexpectedMessage("a record that is not sealed"));
    for (header, expected) in [
        ([22, 3, 3, 0, 20], unsealed.clone()),
        ([20, 3, 3, 0, 1], unsealed.clone()),
        ([21, 3, 3, 0, 2], unsealed.clone()),
        (*b"GET /", unsealed),
        ([23, 3, 3, 0x41, 0x01], Error::PeerSentOversizedRecord),
        ([23, 3, 3, 0xff, 0xff], Error::PeerSentOversizedRecord),
    ] {
        let (mut client, mut server) = ours(64 * 1024).await;
        client.io_for_tests().write_all(&header).await.unwrap();
        assert_eq!(tls(&failure(&mut server).await), Some(&expected), "{header:?}");
    }
}

#[tokio::test]
async fn an_alert_ends_the_connection_and_says_why() {
    let (mut client, mut server) = ours(64 * 1024).await;
    let mut outgoing = Outgoing::default();
    client.parts().0.complain(&Error::DecryptError, &mut outgoing).unwrap();
    let alert = outgoing.slices().0[0].to_vec();
    client.io_for_tests().write_all(&alert).await.unwrap();
    assert_eq!(tls(&failure(&mut server).await), Some(&Error::AlertReceived(AlertDescription::BadRecordMac)));
}

#[tokio::test]
async fn a_peer_that_does_nothing_but_change_its_keys_is_refused() {
    let (mut our, mut theirs) = their_server(64 * 1024).await;
    for _ in 0..40 {
        theirs.get_mut().1.refresh_traffic_keys().unwrap();
    }
    theirs.write_all(b"x").await.unwrap();
    theirs.flush().await.unwrap();
    let error = our.read(&mut [0; 1]).await.unwrap_err();
    assert_eq!(tls(&error), Some(&Error::PeerMisbehaved(PeerMisbehaved::TooManyKeyUpdateRequests)));
}

/// Sends a record of this type to the server by the client's keys, and gives what the server reads.
async fn sealed(records: &[(u8, Vec<u8>)]) -> Result<Vec<u8>, io::Error> {
    let (mut client, mut server) = ours(1024 * 1024).await;
    for (kind, payload) in records {
        let record = client.parts().0.seal_any(*kind, payload);
        client.io_for_tests().write_all(&record).await?;
    }
    client.shutdown().await?;
    let mut got = Vec::new();
    server.read_to_end(&mut got).await?;
    Ok(got)
}

// RFC 8446 §5.4
#[tokio::test]
async fn a_peer_is_told_that_handshakes_and_alerts_without_anything_in_them_may_not_come() {
    for kind in [21, 22] {
        let (mut client, mut server) = ours(64 * 1024).await;
        let record = client.parts().0.seal_any(kind, b"");
        client.io_for_tests().write_all(&record).await.unwrap();
        assert_eq!(tls(&failure(&mut server).await), Some(&Error::InvalidMessage(InvalidMessage::InvalidEmptyPayload)));
        let told = failure(&mut client).await;
        assert_eq!(
            tls(&told),
            Some(&Error::AlertReceived(AlertDescription::UnexpectedMessage)),
            "a record of type {kind}"
        );
    }
}

#[tokio::test]
async fn sealed_messages_that_mean_nothing_here_are_refused() {
    let (data, alert, handshake) = (23, 21, 22);
    let text = || (data, b"x".to_vec());
    for (what, records) in [
        ("an unknown type", vec![(99, vec![1])]),
        ("no type", vec![(0, vec![0, 0])]),
        ("a change of cipher", vec![(20, vec![1])]),
        ("half an alert", vec![(alert, vec![1])]),
        ("two alerts", vec![(alert, vec![1, 0, 1, 0])]),
        ("a handshake message of no bytes", vec![(handshake, vec![])]),
        ("a ticket from a client", vec![(handshake, vec![4, 0, 0, 1, 0])]),
        ("another hello", vec![(handshake, vec![1, 0, 0, 1, 0])]),
        ("a message that is too long", vec![(handshake, vec![4, 0, 0x41, 0])]),
        ("data inside a message", vec![(handshake, vec![24, 0]), text()]),
        ("new keys in the middle of a record", vec![(handshake, vec![24, 0, 0, 1, 0, 24])]),
        ("new keys of an unknown kind", vec![(handshake, vec![24, 0, 0, 1, 2])]),
        ("new keys of no kind", vec![(handshake, vec![24, 0, 0, 0])]),
        ("five times nothing", vec![(alert, vec![1, 90]); 5]),
    ] {
        let error = sealed(&records).await.unwrap_err();
        assert!(tls(&error).is_some(), "{what}: {error:?}");
    }
}

#[tokio::test]
async fn sealed_messages_that_say_nothing_are_passed_over() {
    let nothing = [(23, vec![]), (21, vec![1, 90]), (23, b"a".to_vec()), (23, vec![]), (23, b"b".to_vec())];
    assert_eq!(sealed(&nothing).await.unwrap(), b"ab");
    // What comes after the end is not looked at.
    let after = [(23, b"a".to_vec()), (21, vec![1, 0]), (23, b"b".to_vec()), (99, vec![1])];
    assert_eq!(sealed(&after).await.unwrap(), b"a");
}

#[tokio::test]
async fn a_handshake_may_be_given_up_at_any_step() {
    let (client, server) = configs();
    for steps in 0..12 {
        let (near, far) = duplex(500);
        let mut serving = Box::pin(accept(server.clone(), far));
        let mut served = None;
        {
            let mut connecting = Box::pin(connect(client.clone(), name(), near));
            for _ in 0..steps {
                if futures::poll!(connecting.as_mut()).is_ready() {
                    break;
                }
                if let Poll::Ready(done) = futures::poll!(serving.as_mut()) {
                    served = Some(done);
                    break;
                }
            }
        }
        // The other end is told by the end of the bytes, in the handshake or after it.
        let served = match served {
            Some(served) => served,
            None => serving.await,
        };
        let error = match served {
            Ok(mut stream) => failure(&mut stream).await,
            Err(error) => error,
        };
        let kinds = [io::ErrorKind::UnexpectedEof, io::ErrorKind::BrokenPipe];
        assert!(kinds.contains(&error.kind()), "{steps} steps: {error:?}");
    }
}

#[tokio::test]
async fn a_handshake_that_fails_tells_both_ends_why() {
    let (client, server) = configs();
    // Another name than the certificate has.
    let (near, far) = duplex(64 * 1024);
    let other = ServerName::try_from("other.test").unwrap();
    let (connected, accepted) = tokio::join!(connect(client.clone(), other, near), accept(server.clone(), far));
    assert!(matches!(tls(&connected.unwrap_err()), Some(Error::InvalidCertificate(_))));
    assert!(matches!(tls(&accepted.unwrap_err()), Some(Error::AlertReceived(AlertDescription::BadCertificate))));
    // Another protocol than is spoken here.
    let mut speaks_other = (*client).clone();
    speaks_other.alpn_protocols = vec![b"y/1".to_vec()];
    let (near, far) = duplex(64 * 1024);
    let connecting = TlsConnector::from(Arc::new(speaks_other)).connect(name(), near);
    let (connected, accepted) = tokio::join!(connecting, accept(server, far));
    assert_eq!(tls(&accepted.unwrap_err()), Some(&Error::NoApplicationProtocol));
    let told = connected.unwrap_err();
    assert_eq!(tls(&told), Some(&Error::AlertReceived(AlertDescription::NoApplicationProtocol)));
}

#[tokio::test]
async fn a_handshake_that_is_too_long_is_refused_before_it_is_held() {
    // A message that says it has a megabyte, in as many records as it takes.
    let (_, server) = configs();
    for at_once in [true, false] {
        let (mut near, far) = duplex(2 * 1024 * 1024);
        let sending = async {
            let mut first = vec![22, 3, 1, 0x40, 0, 1, 0x10, 0, 0];
            first.resize(5 + 16_384, 0);
            let mut sent = near.write_all(&first).await;
            let mut bytes = first.len();
            while sent.is_ok() && bytes < 2 * HANDSHAKE_MAX {
                let mut more = vec![22, 3, 1, 0x40, 0];
                more.resize(5 + 16_384, 0);
                sent = near.write_all(&more).await;
                bytes += more.len();
            }
        };
        let taking = async {
            if at_once { accept(server.clone(), far).await.map(drop) } else { Arrival::read(far).await.map(drop) }
        };
        let ((), taken) = tokio::join!(sending, taking);
        assert_eq!(taken.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_comes_instead_of_a_handshake_is_an_error_and_no_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..2_000),
        record in any::<bool>(),
    ) {
        let mut bytes = bytes;
        if record && bytes.len() > 9 {
            // As if it were one, to get beyond the header.
            let length = u16::try_from(bytes.len() - 5).unwrap().to_be_bytes();
            bytes[..5].copy_from_slice(&[22, 3, 1, length[0], length[1]]);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (client, server) = configs();
            for end in 0..3 {
                let (mut near, far) = duplex(64 * 1024);
                near.write_all(&bytes).await.unwrap();
                near.shutdown().await.unwrap();
                let failed = match end {
                    0 => accept(server.clone(), far).await.is_err(),
                    1 => Arrival::read(far).await.is_err(),
                    _ => connect(client.clone(), name(), far).await.is_err(),
                };
                assert!(failed);
            }
        });
    }

    #[test]
    fn whatever_a_peer_seals_panics_nothing(
        records in prop::collection::vec((prop::sample::select(vec![20_u8, 21, 22, 22, 22, 23]),
            prop::collection::vec(prop::sample::select(vec![0_u8, 1, 2, 4, 5, 24, 255]), 0..40)), 0..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut client, mut server) = ours(64 * 1024).await;
            for (kind, payload) in &records {
                let (there, back) = (client.parts().0.seal_any(*kind, payload), server.parts().0.seal_any(*kind, payload));
                client.io_for_tests().write_all(&there).await.unwrap();
                server.io_for_tests().write_all(&back).await.unwrap();
            }
            client.io_for_tests().shutdown().await.unwrap();
            let _ = server.read_to_end(&mut Vec::new()).await;
            drop(server);
            let _ = client.read_to_end(&mut Vec::new()).await;
        });
    }
}
