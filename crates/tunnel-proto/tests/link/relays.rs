//! What a relay does with a stream that was cut while the other side takes nothing.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    task::JoinHandle,
    time::{Instant, sleep},
};
use tunnel_proto::link::{Carried, RelayError, Stream, relay};

use crate::{pair, stream};

/// What is sent before the cut, in bytes: more than the service has room for.
const SENT: usize = 8 * 1024;
const SECOND: Duration = Duration::from_secs(1);

/// Carries between a stream and a service with room for a KiB.
fn carry(mut stream: Stream) -> (DuplexStream, JoinHandle<Result<(), RelayError>>) {
    let (mut near, far) = tokio::io::duplex(1024);
    (far, tokio::spawn(async move { relay(&mut stream, &mut near, &Carried::default()).await }))
}

#[track_caller]
fn assert_reset_by_the_edge(ended: Result<(), RelayError>) {
    let Err(RelayError::Edge(error)) = ended else { panic!("{ended:?}") };
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_takes_nothing_does_not_keep_what_was_cut() {
    for link_is_over in [false, true] {
        let (edge, mut connector) = pair().await;
        let (mut near, far) = stream(&edge, &mut connector).await;
        let (_service, relaying) = carry(far);
        near.write_all(&[7; SENT]).await.unwrap();
        sleep(600 * SECOND).await;
        assert!(!relaying.is_finished(), "nothing was cut");
        let began = Instant::now();
        let kept = if link_is_over {
            edge.link.close();
            Some(near)
        } else {
            drop(near);
            None
        };
        assert_reset_by_the_edge(relaying.await.unwrap());
        assert!((30..40).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
        drop(kept);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_service_gets_all_that_came_before_a_cut() {
    let (edge, mut connector) = pair().await;
    let (mut near, far) = stream(&edge, &mut connector).await;
    let (mut service, relaying) = carry(far);
    near.write_all(&[7; SENT]).await.unwrap();
    drop(near);
    let mut got = [0; SENT];
    for part in got.chunks_mut(512) {
        sleep(20 * SECOND).await;
        service.read_exact(part).await.unwrap();
    }
    assert_eq!(got, [7; SENT]);
    assert_reset_by_the_edge(relaying.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_service_may_take_nothing_for_long_where_all_was_said() {
    let (edge, mut connector) = pair().await;
    let (mut near, far) = stream(&edge, &mut connector).await;
    let (mut service, _relaying) = carry(far);
    near.write_all(&[7; SENT]).await.unwrap();
    near.shutdown().await.unwrap();
    drop(near);
    sleep(600 * SECOND).await;
    let mut got = Vec::new();
    service.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, [7; SENT]);
}
