//! Tunnels and routes: who may publish what, and how that is changed.
//!
//! Every way to change them (the local socket, an operator's link, an administrator's page) comes here as a [`Principal`]
//! with its rights. [`Desk`] decides on the newest configuration and stores whole changes, with their audit.

mod certificate;
mod change;
mod desk;
mod problem;
mod provisional;
mod rights;

use std::fmt;

use tunnel_proto::{Name, TunnelId};

pub use desk::Desk;
pub use problem::Problem;
pub use rights::Principal;
pub(crate) use rights::served_by;

/// Which tunnel is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TunnelRef {
    /// By its identity.
    Id(TunnelId),
    /// By its name.
    Name(Name),
}

impl fmt::Display for TunnelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}
