//! The edge: terminates TLS, makes every visitor log in, judges by policy, and forwards to connectors.

mod account;
mod acme;
mod assertions;
pub mod audit;
pub mod backup;
#[doc(hidden)]
pub mod benching;
pub mod certificates;
mod certs;
mod change;
pub mod client_login;
mod clients;
pub mod clock;
pub mod config;
mod connectors;
mod cookie_glut;
mod cors;
pub mod countries;
pub mod declare;
pub mod edge;
pub mod enroll;
pub mod evaluations;
mod forward;
mod front;
#[doc(hidden)]
pub mod fuzzing;
pub mod gate;
pub mod health;
pub mod holder;
pub mod identity;
pub mod keys;
mod known;
mod language;
mod launcher;
mod listen;
pub mod login;
pub mod login_methods;
pub mod logout;
pub mod mail;
mod memory;
mod office;
pub mod operators;
pub mod outbound;
pub mod pages;
pub mod panics;
pub mod passkeys;
pub mod people;
pub mod platform;
pub mod registry;
mod renewal;
pub mod replace;
pub mod request;
pub mod reserved;
pub mod revalidation;
pub mod service_tokens;
pub mod session;
pub mod setup;
pub mod snapshot;
pub mod socket;
pub mod state;
pub mod store;
mod strict;
mod task;
mod tcp;
mod tls;
pub mod trial;
pub mod tunnels;
pub mod upstream;
pub mod users;
pub mod visit;
mod websocket;

pub use clock::Clock;
pub use config::Config;
pub use edge::Edge;
pub use state::State;
pub use visit::{Lang, Reference, Visit};

// For all modules, each of which has places that tests have panic.
use tunnel_proto::faults;

/// A response of the edge.
pub type Response = http::Response<axum::body::Body>;

/// `N` bytes from the system's secure random source.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system's random source works");
    bytes
}
