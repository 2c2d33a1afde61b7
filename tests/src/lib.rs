//! The harness of the end-to-end tests: real programs, real protocols, one network namespace per test.
//!
//! A test begins with [`run`], which gives it a [`Lab`]: a temporary directory, a network namespace of its own in which
//! every port is free, and the programs started in it. Everything is taken down when the lab is dropped, and the tail of
//! every program's output is printed when the test failed.
//!
//! What must be installed is put in place by `tests/run`; a missing part is an error that names it, never a skipped test.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a harness reports by panicking; nothing here is shipped"
)]

pub mod access;
pub mod access_network;
pub mod apart;
pub mod assertion;
pub mod authority;
pub mod browser;
pub mod bulk;
pub mod bytecheck;
pub mod canary;
pub mod connector;
pub mod distance;
pub mod echo;
pub mod edge;
pub mod evil_link;
pub mod firewall;
pub mod flood;
pub mod fuzz;
pub mod gallery;
pub mod github;
pub mod guide;
pub mod hostile;
pub mod html;
pub mod http2;
pub mod lab;
pub mod loopback;
pub mod memory_group;
pub mod mutants;
pub mod netns;
pub mod office;
pub mod origin;
pub mod process;
pub mod provider;
pub mod raw;
pub mod readers;
pub mod services;
pub mod silent;
pub mod smtp;
pub mod stage;
pub mod timetable;
pub mod told;
pub mod visitor;
pub mod witness;

pub use access_network::AccessNetwork;
pub use apart::Apart;
pub use assertion::Certs;
pub use authority::{Authority, AuthorityConfig};
pub use browser::Browser;
pub use bulk::{Bulk, Load};
pub use canary::{Canary, Head};
pub use connector::Connector;
pub use distance::{Faraway, Leg};
pub use echo::Echo;
pub use edge::{Edge, EdgeConfig};
pub use evil_link::EvilPeer;
pub use firewall::Firewall;
pub use flood::{Flood, Pulse, Windows};
pub use github::GitHub;
pub use hostile::Hostile;
pub use lab::{Lab, run};
pub use memory_group::MemoryGroup;
pub use netns::Netns;
pub use office::Office;
pub use process::{Log, Process};
pub use provider::{Provider, ProviderConfig};
pub use raw::{Door, Raw};
pub use silent::Silent;
pub use smtp::Smtp;
pub use stage::Stage;
pub use timetable::Timetable;
pub use visitor::{Reply, Visitor};

/// How long the harness waits for something that ought to happen at once; generous, because machines are busy.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);
