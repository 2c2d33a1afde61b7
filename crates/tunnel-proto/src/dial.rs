//! Reaching an edge from outside: what a connector and an access client do alike.
//!
//! An [`EdgeAddress`] is where an edge is and who it must prove to be, [`Trust`] by whose word. [`JsonClient`] asks it
//! questions over HTTPS, [`LocalEdge`] over the socket of an edge on this machine. [`dial()`] and [`dial_edge`] open
//! connections, [`Shortage`] is what this machine may lack for one, [`relay()`] carries bytes between two of them,
//! [`AbortiveTcp`] is one that does not end in order by accident, and [`Backoff`] says when to try again.

mod abortive;
mod address;
mod backoff;
mod connect;
mod json;
mod platform;
mod shortage;
mod trust;

pub use crate::link::{Carried, RelayError, Side, relay};
pub use abortive::AbortiveTcp;
pub use address::{AddressError, EDGE_PORT, EdgeAddress, SocketTarget};
pub use backoff::{Backoff, FIRST_RETRY_JITTER, RETRY_BASE, RETRY_CAP};
pub use connect::{DialError, dial, dial_edge};
pub use json::{ASK_TIMEOUT, AskError, JsonClient, LocalEdge, exchange, exchange_within};
pub use platform::{UnixStream, connect_unix};
pub use shortage::Shortage;
pub use trust::{Pin, PinError, Trust, TrustError};

use std::io;

use crate::identity::provider;

/// Random bytes from the cryptography provider.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    provider().secure_random.fill(&mut bytes).map_err(|_| io::Error::other("the system has no random bytes"))?;
    Ok(bytes)
}
