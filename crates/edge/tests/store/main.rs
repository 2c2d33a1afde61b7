//! What every store must do, and what the one on SQLite must survive.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // what fails here fails a test

mod backups;
mod conformance;
mod keys;
mod passkeys;
mod rotation;
mod sqlite;
mod visitor_certificates;
