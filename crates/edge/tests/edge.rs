//! The edge from its public face, over a real database, in one program: what many would link is linked once.

#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)] // helpers of tests, outside of `#[test]` functions

mod client_login;
mod common;
mod declare;
mod enrolment;
mod gate;
mod passkeys;
mod providers;
#[cfg(unix)]
mod socket;
mod store;
