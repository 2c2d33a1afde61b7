//! Logging in at OpenID providers: the edge's pages over a database, and a provider of a few lines at the loopback address.

mod administration;
mod anew;
mod ends;
mod evaluations;
pub(crate) mod evaluator;
mod journey;
mod page;
mod provider;
mod revalidation;
mod site;
mod state;
mod trouble;
