//! A connector against an edge made of the protocol crate, over real TLS on loopback.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "links/edge.rs"]
mod edge;
#[path = "links/ending.rs"]
mod ending;
#[path = "links/enrolling.rs"]
mod enrolling;
#[path = "links/secure.rs"]
mod secure;
#[path = "links/serving.rs"]
mod serving;
