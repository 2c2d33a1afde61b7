//! The owner's socket: who gets in, what is said when not, and what can be asked without an edge.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // what fails here fails a test

mod clock;
mod doors;
mod office;
mod offline;
