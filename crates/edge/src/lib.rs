//! The edge: terminates TLS, makes every visitor log in, judges by policy, and forwards to connectors.

pub mod audit;
pub mod clock;
pub mod config;
pub mod declare;
pub mod enroll;
pub mod identity;
pub mod keys;
pub mod login;
pub mod logout;
pub mod mail;
pub mod operators;
pub mod pages;
pub mod platform;
pub mod reserved;
pub mod session;
pub mod setup;
pub mod snapshot;
pub mod socket;
pub mod store;
pub mod tunnels;
pub mod visit;

pub use clock::Clock;
pub use config::Config;
pub use visit::{Lang, Reference, Visit};

/// A response of the edge.
pub type Response = http::Response<axum::body::Body>;

/// `N` bytes from the system's secure random source.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system's random source works");
    bytes
}
