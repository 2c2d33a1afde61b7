//! The policy engine through its public face: tables from the reference, properties against a slow evaluator.

#![allow(clippy::panic, clippy::indexing_slicing)] // helpers of tests, outside of `#[test]` functions

mod declare;
mod emails;
mod lookup;
mod paths;
mod properties;
mod rules;
mod sets;
mod slow;
mod streams;
