//! Links over pipes in memory: honest ends, limits, signs of life, draining, and peers that mean harm.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

#[path = "link/ends.rs"]
mod ends;
#[path = "link/evil.rs"]
mod evil;
#[path = "link/floods.rs"]
mod floods;
#[path = "link/greeting.rs"]
mod greeting;
#[path = "link/life.rs"]
mod life;
#[path = "link/limits.rs"]
mod limits;
#[path = "link/pace.rs"]
mod pace;
#[path = "link/relays.rs"]
mod relays;
#[path = "link/soak.rs"]
mod soak;
#[path = "link/streams.rs"]
mod streams;

use tokio::io::{AsyncRead, AsyncWrite};
use tunnel_proto::{
    InstanceId, LinkId, Revision, RuleId,
    link::{self, Connected, Pending, Settings, Stream, Welcomed},
    message::{Hello, Limits, Open, Opening, Role},
};

pub(crate) fn hello() -> Hello {
    Hello::new(Role::Connector, "test 1.0", InstanceId::from_random([1; 16]))
}

pub(crate) fn open(rule: u32) -> Open {
    Open::new(Revision(1), RuleId(rule), [192, 0, 2, 1].into(), [9; 16])
}

/// The rule that an edge's opening names.
pub(crate) fn rule_of(pending: &Pending) -> u32 {
    match &pending.opening {
        Opening::Service(open) => open.rule.0,
        Opening::Grant(_) => panic!("an edge opens services"),
    }
}

/// An edge and a connector over `near` and `far`.
pub(crate) async fn pair_over<T, U>(near: T, far: U, edge: Settings, connector: Settings) -> (Welcomed, Connected)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    U: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let accepting = async {
        let greeting = link::accept(tokio::io::BufReader::new(near), Role::Connector, edge).await.unwrap();
        greeting.welcome(LinkId::from_random([7; 16]), Limits::default(), vec![]).await.unwrap()
    };
    let (edge, connector) = tokio::join!(accepting, link::connect(tokio::io::BufReader::new(far), hello(), connector));
    (edge, connector.unwrap())
}

pub(crate) async fn pair_with(edge: Settings, connector: Settings) -> (Welcomed, Connected) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    pair_over(near, far, edge, connector).await
}

pub(crate) async fn pair() -> (Welcomed, Connected) {
    pair_with(Settings::for_edge(), Settings::default()).await
}

/// A stream from the edge to the connector, accepted.
pub(crate) async fn stream(edge: &Welcomed, connector: &mut Connected) -> (Stream, Stream) {
    let near = edge.link.open(open(0)).await.unwrap();
    (near, next(connector).await.accept().await.unwrap())
}

pub(crate) async fn next(connector: &mut Connected) -> Pending {
    connector.incoming.next().await.unwrap()
}

/// Waits until a link without streams holds nothing for them.
pub(crate) async fn empty(link: &link::Link) {
    while link.buffered() > 0 {
        tokio::task::yield_now().await;
    }
}

/// Bytes that tell every position and stream apart.
pub(crate) fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
