//! The harness of the benches: every role in this process, real sockets on loopback, real TLS, a real policy.
//!
//! `cargo bench` goes three ways. One is that of a browser's request: HTTPS to an edge where somebody is logged in, over a
//! link to a connector, to a web server; it begins with a [`Site`]. The other is that of one stream that an edge opens to a
//! TCP service, without the edge's HTTP around it; it begins with a [`Wire`]. The third is that of a program that connects to the local port of an access client, which
//! begins with a [`Reach`]. Right before each figure of the path the same
//! thing is measured straight to the service. `cargo bench -- 'HTTP upload'` measures only what matches.
//!
//! Each role has a tokio runtime of its own, as it has in the programs, so that nothing passes between roles but bytes on
//! sockets, and so that the processor time can be told apart by role ([`role::Cpu`]). The cores of the machine they share:
//! **read the ratios, not the absolutes**, take no difference of less than a fifth for one, and believe nothing that was
//! measured while other programs were busy. What is left of the processor time then is the steadiest figure.
//!
//! Criterion judges the times; a [`Gauge`] keeps them as well and makes the table at the end. Nothing here fails for being
//! slow. Run as a test (`cargo test --benches`), everything is done once.
//!
//! Apart from these, [`attack`] holds what floods of a link cost their senders against what they cost the link.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a harness reports by panicking; nothing here is shipped"
)]

pub mod attack;
pub mod bulk;
pub mod gauge;
pub mod pieces;
pub mod plan;
pub mod reach;
pub mod role;
pub mod site;
pub mod visitor;
pub mod web;
pub mod wire;

pub use gauge::{Gauge, Report};
pub use reach::Reach;
pub use site::Site;
pub use visitor::Visitor;
pub use wire::Wire;
