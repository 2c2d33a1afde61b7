//! Passkeys and invitations at the reserved paths of an edge, with an authenticator in software and a clock that is moved.

mod account;
#[path = "../../auth/tests/passkeys/authenticator.rs"]
mod authenticator;
mod forms;
mod invitations;
mod logins;
mod scene;
pub(crate) use crate::client_login::site;
