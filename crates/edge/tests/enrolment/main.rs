//! Tunnels, enrolment and set-up over a real database: who may do what, how often, and what races leave behind.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test that cannot go on fails")]

mod approvals;
mod desk;
mod operators;
mod provisional;
mod setup;
mod tunnels;
