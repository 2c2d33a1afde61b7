//! What every store must do, and what the one on SQLite must survive.

mod backups;
mod conformance;
mod keys;
mod passkeys;
mod pins;
mod rotation;
mod sqlite;
mod visitor_certificates;
