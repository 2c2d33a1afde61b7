//! Passkeys and invitations at the reserved paths of an edge, with an authenticator in software and a clock that is moved.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // what fails here fails a test

mod account;
#[path = "../../../auth/tests/passkeys/authenticator.rs"]
mod authenticator;
mod forms;
mod invitations;
mod logins;
mod scene;
#[allow(dead_code, reason = "the scene of another suite, which needs more of it")]
#[path = "../client_login/site.rs"]
mod site;
