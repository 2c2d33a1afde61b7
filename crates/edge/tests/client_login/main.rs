//! Logging the access client in over a real database: who gets a token, for what, how often, and when it ends.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test that cannot go on fails")]

mod browser;
mod descriptor;
mod device;
mod evaluations;
#[path = "../providers/evaluator.rs"]
#[allow(dead_code, reason = "other tests want more of it")]
mod evaluator;
mod journey;
mod pages;
mod setup;
mod site;
mod tokens;
