//! What a program may want to show while connections are made and carried.

use std::net::SocketAddr;

use tunnel_proto::{EmailAddress, Hostname, UnixTime, message::RevokedReason};

use crate::{error::Error, login::Prompt};

/// Something that happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A person has to log in; connections to the host wait for it.
    LoginNeeded(Prompt),
    /// Another process on this machine is logging in to the same host; its token will be used.
    LoginElsewhere {
        /// The host.
        host: Hostname,
    },
    /// A person logged in.
    LoggedIn {
        /// The host.
        host: Hostname,
        /// Who.
        email: EmailAddress,
        /// When the login ends.
        expires: UnixTime,
    },
    /// A link to an edge is up.
    LinkUp {
        /// The edge, as a URL.
        edge: String,
        /// How it is carried.
        carrier: &'static str,
    },
    /// A link to an edge is over; the next connection brings up another one.
    LinkDown {
        /// The edge, as a URL.
        edge: String,
        /// Why.
        reason: String,
    },
    /// The edge ended the access to a host, and its connections.
    Revoked {
        /// The host.
        host: Hostname,
        /// Why.
        reason: RevokedReason,
    },
    /// A login that was asked for came to nothing.
    LoginFailed {
        /// The host.
        host: Hostname,
        /// Why.
        error: Error,
    },
    /// A connection to a forwarded port did not get through, or was cut.
    Failed {
        /// The host.
        host: Hostname,
        /// The local address of the port.
        local: SocketAddr,
        /// Why.
        error: Error,
    },
    /// Another user of this machine tried to use a forwarded port, and was refused.
    Stranger {
        /// The host.
        host: Hostname,
        /// The number of that user.
        user: u32,
    },
}
