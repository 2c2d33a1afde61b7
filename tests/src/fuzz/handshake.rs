//! The beginning of a link over a pipe in memory, by a peer that says anything.

use std::{cell::OnceCell, time::Duration};

use tokio::{
    io::AsyncWriteExt,
    runtime::{Builder, Runtime},
    time::timeout,
};
use tunnel_proto::{
    InstanceId, LinkId,
    link::{self, ConnectError, Settings},
    message::{Hello, Limits, Role},
    version::SUPPORTED,
};

/// What a pipe holds. Less than the longest inputs, so that writing waits for reading.
const PIPE: usize = 16 * 1024;
/// An honest end comes to its end much sooner once the peer is gone.
const PATIENCE: Duration = Duration::from_secs(20);

/// The first byte chooses the side and whether the multiplexer is spoken to, or the frames inside it; the rest is said to it.
pub(super) fn run(data: &[u8]) {
    let Some((choice, said)) = data.split_first() else { return };
    let said = if choice & 2 == 0 { said.to_vec() } else { in_frames(said) };
    with_runtime(|runtime| {
        runtime.block_on(async {
            let ended = timeout(PATIENCE, async {
                if choice & 1 == 0 { accepts(said, *choice).await } else { connects(said).await }
            });
            ended.await.expect("a link that lost its peer comes to its end");
        });
    });
}

/// The bytes as data of the first stream, in pieces.
fn in_frames(said: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    for (n, piece) in said.chunks(1024).enumerate() {
        // Version, kind (data), flags (SYN at first), stream 1, length.
        all.extend([0, 0, 0, u8::from(n == 0), 0, 0, 0, 1]);
        all.extend((piece.len() as u32).to_be_bytes());
        all.extend(piece);
    }
    all
}

const ROLES: [Role; 4] = [Role::Connector, Role::Operator, Role::Edge, Role::Access];

/// An edge is greeted: it takes a greeting of the right role in a version that it speaks, or none.
async fn accepts(said: Vec<u8>, choice: u8) {
    let role = ROLES[usize::from(choice >> 2) % ROLES.len()];
    let (near, far) = tokio::io::duplex(PIPE);
    let peer = tokio::spawn(says(far, said));
    if let Ok(greeting) = link::accept(tokio::io::BufReader::new(near), role, settings()).await {
        assert_eq!(greeting.hello().role, role, "a greeting of another role was taken");
        assert!(greeting.hello().versions.contains(&greeting.version().0), "a version that was not offered");
        assert!(SUPPORTED.contains(&greeting.version()));
        if let Ok(mut welcomed) = greeting.welcome(LinkId::from_random([7; 16]), Limits::default(), vec![]).await {
            while welcomed.control.next().await.is_some() {}
            welcomed.link.closed().await;
            assert!(welcomed.incoming.next().await.is_none(), "an edge was opened a stream");
        }
    }
    peer.await.expect("the peer does not panic");
}

/// A connector is answered: it takes a welcome in a version that it offered, or none.
async fn connects(said: Vec<u8>) {
    let (near, far) = tokio::io::duplex(PIPE);
    let peer = tokio::spawn(says(far, said));
    let hello = Hello::new(Role::Connector, "fuzz 1.0", InstanceId::from_random([1; 16]));
    let offered = hello.versions.clone();
    match link::connect(tokio::io::BufReader::new(near), hello, Settings { accepts_streams: true, ..settings() }).await
    {
        Ok(mut connected) => {
            assert!(offered.contains(&connected.welcome.version), "a version that was not offered");
            let (control, incoming) = (&mut connected.control, &mut connected.incoming);
            // Whatever the peer opens is let go, which refuses it.
            tokio::join!(async { while control.next().await.is_some() {} }, async {
                while incoming.next().await.is_some() {}
            });
            connected.link.closed().await;
        }
        Err(error) => assert!(!matches!(error, ConnectError::Greeting(_)), "{error}: it is ours"),
    }
    peer.await.expect("the peer does not panic");
}

/// The peer: says everything, hears everything, and goes.
async fn says(far: tokio::io::DuplexStream, said: Vec<u8>) {
    let (mut hears, mut speaks) = tokio::io::split(far);
    let speaking = async {
        // Either may end before the other: that is the link's business.
        speaks.write_all(&said).await.ok();
        speaks.shutdown().await.ok();
    };
    let hearing = async {
        tokio::io::copy(&mut hears, &mut tokio::io::sink()).await.ok();
    };
    tokio::join!(speaking, hearing);
}

fn settings() -> Settings {
    let short = Duration::from_millis(200);
    Settings {
        handshake_deadline: short,
        frame_deadline: short,
        close_patience: short,
        memory: 1024 * 1024,
        ..Settings::for_edge()
    }
}

/// One runtime for each thread, whose clock stands still while there is something to do, and leaps when there is not.
fn with_runtime(run: impl FnOnce(&Runtime)) {
    thread_local!(static RUNTIME: OnceCell<Runtime> = const { OnceCell::new() });
    RUNTIME.with(|runtime| {
        run(runtime.get_or_init(|| {
            let mut builder = Builder::new_current_thread();
            builder.enable_time().start_paused(true).build().expect("a runtime")
        }));
    });
}
