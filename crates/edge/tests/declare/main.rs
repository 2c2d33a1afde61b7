//! `edge apply`, `edge export` and `edge check` over a real database: what is written, what is refused and how it reads.

#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)] // helpers of tests, outside of `#[test]` functions

mod changes;
mod desk;
mod lasting;
mod methods;
mod refusals;
mod roundtrip;
mod selectors;
mod tunnels;
