//! Logging the access client in over a real database: who gets a token, for what, how often, and when it ends.

mod browser;
mod descriptor;
mod device;
mod evaluations;
mod journey;
mod pages;
mod setup;
pub(crate) mod site;
mod tokens;
