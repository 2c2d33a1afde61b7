//! Logging the access client in: a program asks, a person lets it in with their own login, the program gets a token.
//!
//! 1. `descriptor`: what is at a hostname, signed, so that the program knows whom to believe.
//! 2. `page`: the person sees who asks for what, and decides by POST. The program comes by a browser on the same computer
//!    (RFC 8252, RFC 7636), or waits elsewhere (after RFC 8628) while `device` keeps its wish.
//! 3. `token`: the code that the browser brings back, or the polling secret, becomes a token for one application at one
//!    hostname. The token is a session of its own kind, and ends with the login it came from.
//!
//! Nothing is granted by looking, and nothing by a person whom the application's policies do not admit: they are asked when
//! the page is shown, when it is answered, and when the token is made, for the address from which that is asked.

pub(crate) mod ask;
pub(crate) mod descriptor;
mod device;
pub(crate) mod endpoint;
pub(crate) mod list;
pub(crate) mod page;
mod token;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tunnel_policy::{Application, Attributes};
use tunnel_proto::{AppId, Hostname, Identity};

use crate::{
    snapshot::Snapshot,
    store::{SecretHash, StoreError},
};

/// How long the code that a browser brings back counts.
pub const CODE_LIFE: Duration = Duration::from_secs(60);
/// How long a wish from another device waits for a person, and the answer for the program.
pub const DEVICE_LIFE: Duration = Duration::from_secs(5 * 60);
/// Seconds between two polls.
pub const POLL_INTERVAL: u32 = 2;

/// What seals a [`Consent`].
const CONSENT: &str = "client consent";

/// A person's word that a program may open an application as them: what a code or an answer stands for.
#[derive(Serialize, Deserialize)]
struct Consent {
    app: AppId,
    host: Hostname,
    /// The login by which they said so. The token ends with it.
    login: SecretHash,
    identity: Identity,
    /// Who vouched for them.
    issuer: String,
    attributes: Box<Attributes>,
    /// What the computer calls itself.
    computer: String,
    /// Whether the program is on another device than the browser in which they said so.
    elsewhere: bool,
}

/// Why a program's request was not answered.
#[derive(Debug, thiserror::Error)]
enum ClientError {
    /// It cannot be understood.
    #[error("the request was not understood: {0}")]
    Malformed(String),
    /// What it speaks of is not there: never made, used already, or too old.
    #[error("{0}")]
    Gone(&'static str),
    /// The application does not let this be.
    #[error("{0}")]
    Refused(&'static str),
    /// Too many from this network, or in all.
    #[error("too many requests came lately from this network or for this login; wait a minute and try again")]
    TooMany,
    /// The edge is at fault.
    #[error("the edge could not do this; try again, and see its log if it lasts")]
    Internal,
}

impl From<StoreError> for ClientError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "an access client cannot be answered");
        Self::Internal
    }
}

/// What is said of a code or secret that leads nowhere.
const LAPSED: &str = "this login has lapsed or was answered already; log in again";

/// The application that people log in to at the front page of `host`.
fn application_at<'a>(snapshot: &'a Snapshot, host: &Hostname) -> Option<&'a Application> {
    snapshot.policies.applications_for(host, "/").required().map(|(app, _)| app)
}

/// The application `id`, if it is the one at `host`.
fn application<'a>(snapshot: &'a Snapshot, id: &AppId, host: &Hostname) -> Option<&'a Application> {
    application_at(snapshot, host).filter(|app| app.id == *id)
}
