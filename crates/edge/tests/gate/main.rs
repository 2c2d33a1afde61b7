//! The gate over a real store, with a clock in the test's hand: who is admitted where, and for how long.

#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)] // helpers of tests, outside of `#[test]` functions

mod ends;
mod matrix;
mod methods;
mod public;
mod scene;
mod times;
mod trials;
