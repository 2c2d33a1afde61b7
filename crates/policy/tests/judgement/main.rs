//! The policy engine through its public face: tables from the reference, properties against a slow evaluator.

#![allow(clippy::panic, clippy::indexing_slicing)] // helpers of tests, outside of `#[test]` functions

mod cross_site;
mod declare;
mod emails;
mod language;
mod lists;
mod lookup;
mod order;
mod paths;
mod properties;
mod readings;
mod rules;
mod sets;
mod slow;
mod streams;
mod times;
