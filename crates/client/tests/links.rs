//! The client against an edge that is made of the protocol crate: real sockets, real TLS.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "links/carriers.rs"]
mod carriers;
#[path = "links/edge.rs"]
mod edge;
#[path = "links/forwarding.rs"]
mod forwarding;
#[path = "links/list.rs"]
mod list;
#[path = "links/login.rs"]
mod login;
#[path = "links/patience.rs"]
mod patience;
#[path = "links/stores.rs"]
mod stores;
