//! Every end that is not the peer's own is told apart from one that is.

use std::io::ErrorKind;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tunnel_proto::link::LinkEnd;

use crate::{open, pair, stream};

#[tokio::test]
async fn a_dropped_stream_is_a_reset_for_the_peer_after_what_was_sent() {
    let (edge, mut connector) = pair().await;
    let (near, mut far) = stream(&edge, &mut connector).await;
    far.write_all(b"part of an answer").await.unwrap();
    drop(far);
    let mut near = near;
    let mut all = Vec::new();
    assert_eq!(near.read_to_end(&mut all).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(all, b"part of an answer");
}

// The multiplexer would end such a stream as if it were complete.
#[tokio::test]
async fn an_answer_cut_after_the_question_ended_is_a_reset_too() {
    let (edge, mut connector) = pair().await;
    let (mut near, mut far) = stream(&edge, &mut connector).await;
    near.write_all(b"question").await.unwrap();
    near.shutdown().await.unwrap();
    let mut question = Vec::new();
    far.read_to_end(&mut question).await.unwrap();
    far.write_all(b"half an ans").await.unwrap();
    drop(far);
    let mut all = Vec::new();
    assert_eq!(near.read_to_end(&mut all).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(all, b"half an ans");
}

// The multiplexer would swallow what the peer still sends, and leave it waiting for ever.
#[tokio::test]
async fn a_stream_dropped_after_its_own_end_stops_the_peer_who_still_sends() {
    let (edge, mut connector) = pair().await;
    let (mut near, mut far) = stream(&edge, &mut connector).await;
    far.write_all(b"that is all you get").await.unwrap();
    far.shutdown().await.unwrap();
    drop(far);
    let error = async {
        loop {
            if let Err(error) = near.write_all(&[0; 64 * 1024]).await {
                return error;
            }
        }
    };
    assert_eq!(error.await.kind(), ErrorKind::ConnectionReset);
    let mut all = Vec::new();
    near.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"that is all you get");
}

#[tokio::test]
async fn a_closed_link_cuts_its_streams_and_says_so() {
    let (edge, mut connector) = pair().await;
    let (mut near, mut far) = stream(&edge, &mut connector).await;
    far.write_all(b"begun").await.unwrap();
    let mut begun = [0; 5];
    near.read_exact(&mut begun).await.unwrap();
    connector.link.close();
    assert_eq!(near.read(&mut [0; 1]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(far.read(&mut [0; 1]).await.is_err());
    assert_eq!(connector.link.closed().await, LinkEnd::Closed);
    assert_eq!(edge.link.closed().await, LinkEnd::PeerClosed);
    assert!(edge.link.open(open(0)).await.is_err());
    assert!(connector.incoming.next().await.is_none());
    assert!(connector.control.next().await.is_none());
}

#[tokio::test]
async fn a_link_closes_when_everything_of_it_is_dropped_and_not_before() {
    let (edge, mut connector) = pair().await;
    let (mut near, far) = stream(&edge, &mut connector).await;
    let watching = edge.link.clone();
    drop(connector);
    near.write_all(b"still there").await.unwrap();
    let mut far = far;
    let mut bytes = [0; 11];
    far.read_exact(&mut bytes).await.unwrap();
    drop(far);
    assert_eq!(watching.closed().await, LinkEnd::PeerClosed);
}

#[tokio::test]
async fn a_lost_connection_is_a_reset_and_not_an_end() {
    let (near_io, far_io) = tokio::io::duplex(4096);
    let (cut_a, cut_b) = tokio::io::duplex(4096);
    let relay = tokio::spawn(async move {
        let (mut a, mut b) = (far_io, cut_a);
        tokio::io::copy_bidirectional(&mut a, &mut b).await.ok();
    });
    let settings = (tunnel_proto::link::Settings::for_edge(), tunnel_proto::link::Settings::default());
    let (edge, mut connector) = crate::pair_over(near_io, cut_b, settings.0, settings.1).await;
    let (mut near, mut far) = stream(&edge, &mut connector).await;
    far.write_all(b"begun").await.unwrap();
    let mut begun = [0; 5];
    near.read_exact(&mut begun).await.unwrap();
    relay.abort();
    assert_eq!(near.read(&mut [0; 1]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(far.read(&mut [0; 1]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}
