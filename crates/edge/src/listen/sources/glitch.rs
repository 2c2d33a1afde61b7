//! What is held against whoever does it.

use tunnel_proto::link::{AcceptError, LinkEnd};

use super::TURNED_AWAY;

/// What no honest program does often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Glitch {
    /// A TLS handshake that came to nothing, as no browser's does.
    Handshake,
    /// What cannot be understood, and no browser sends.
    Malformed,
    /// A request without a good credential, or one that comes to nothing and that any page can have a browser send.
    TurnedAway,
    /// A connection that ended for the requests that were given up on it; any page can have a browser do that, too.
    GivenUp,
    /// A body that was begun and did not come.
    Late,
    /// More of something than a connection may send.
    Flood,
}

impl Glitch {
    /// A link whose greeting came to nothing.
    pub(crate) fn of_a_greeting(error: &AcceptError) -> Self {
        match error {
            AcceptError::Lost(end) => Self::of_an_end(end).unwrap_or(Self::Handshake),
            _ => Self::Handshake,
        }
    }

    /// A link that is over. Honest ones break, too, in the middle of a frame as anywhere else.
    pub(crate) const fn of_an_end(end: &LinkEnd) -> Option<Self> {
        match end {
            LinkEnd::Protocol(_) | LinkEnd::OverBudget => Some(Self::Flood),
            LinkEnd::Late(_) => Some(Self::Late),
            _ => None,
        }
    }

    /// What it counts. Four floods in a row are borne, and twenty connections on which requests are given up.
    pub(super) const fn points(self) -> u32 {
        match self {
            Self::Handshake | Self::Malformed | Self::TurnedAway | Self::Late => 1,
            Self::Flood => 25,
            Self::GivenUp => TURNED_AWAY.burst / 20,
        }
    }
}
