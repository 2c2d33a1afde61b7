//! Logging in at OpenID providers: the edge's pages over a database, and a provider of a few lines at the loopback address.

#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)] // helpers of tests, outside of `#[test]` functions

mod administration;
mod anew;
mod ends;
mod evaluations;
mod evaluator;
mod journey;
mod page;
mod provider;
mod revalidation;
mod site;
mod state;
mod trouble;
