//! The gate over a configuration of its own: what it remembers, and for how long.

#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)] // helpers of tests, outside of `#[test]` functions

mod times;
