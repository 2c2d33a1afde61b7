//! Versions of the protocol, and what each one allows.

use std::fmt;

use crate::{frame::FrameType, message::Role};

/// A version of the protocol within `tunnel/1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u16);

/// The versions that this program speaks, the best first.
pub const SUPPORTED: &[Version] = &[Version::V1];

impl Version {
    /// The first version.
    pub const V1: Self = Self(1);

    /// The best version that both sides speak.
    pub fn negotiate(offered: &[u16]) -> Option<Self> {
        SUPPORTED.iter().copied().find(|version| offered.contains(&version.0))
    }

    /// Whether `kind` is part of this version. Reserved frames are part of none.
    pub fn lists(self, kind: FrameType) -> bool {
        self.listed().contains(&kind)
    }

    /// The frames of this version.
    pub const fn listed(self) -> &'static [FrameType] {
        match self {
            Self::V1 => &V1,
            _ => &[],
        }
    }

    /// Whether a peer in this role may send `kind` at this place.
    ///
    /// The role is the sender's own: what an edge says is listed under [`Role::Edge`].
    pub fn allows(self, kind: FrameType, sender: Role, place: Place) -> bool {
        use FrameType as F;
        let fits = match place {
            Place::Greeting => matches!(kind, F::Hello),
            Place::Reply => matches!(kind, F::Welcome | F::Refuse),
            Place::Control(other) => match (sender, other) {
                _ if matches!(kind, F::Ping | F::Pong | F::Drain) => true,
                (Role::Connector, Role::Edge) => matches!(kind, F::Table | F::Renew),
                (Role::Edge, Role::Connector) => {
                    matches!(kind, F::TableAccepted | F::TableRefused | F::Renewed | F::Problem)
                }
                (Role::Operator, Role::Edge) => {
                    matches!(kind, F::CreateTunnel | F::Route | F::List | F::Delete | F::Rotate)
                }
                (Role::Edge, Role::Operator) => {
                    matches!(kind, F::TunnelCreated | F::Tunnels | F::Renewed | F::Done | F::Problem)
                }
                (Role::Access, Role::Edge) => matches!(kind, F::Present),
                (Role::Edge, Role::Access) => matches!(kind, F::Granted | F::Refused | F::Revoked | F::Cut),
                _ => false,
            },
            Place::StreamOpening if sender == Role::Access => matches!(kind, F::OpenGrant),
            Place::StreamOpening => matches!(kind, F::Open),
            Place::StreamAnswer => matches!(kind, F::Accepted | F::StreamRefused),
        };
        fits && self.lists(kind)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where in a link a frame stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The first frame of the control stream.
    Greeting,
    /// The answer to it.
    Reply,
    /// The control stream after that, received by a peer in this role.
    Control(Role),
    /// The first frame of any other stream.
    StreamOpening,
    /// The answer to it.
    StreamAnswer,
}

const V1: [FrameType; 29] = [
    FrameType::Hello,
    FrameType::Welcome,
    FrameType::Refuse,
    FrameType::Ping,
    FrameType::Pong,
    FrameType::Drain,
    FrameType::Table,
    FrameType::TableAccepted,
    FrameType::TableRefused,
    FrameType::Renew,
    FrameType::Renewed,
    FrameType::CreateTunnel,
    FrameType::TunnelCreated,
    FrameType::Route,
    FrameType::List,
    FrameType::Tunnels,
    FrameType::Delete,
    FrameType::Rotate,
    FrameType::Done,
    FrameType::Problem,
    FrameType::Present,
    FrameType::Granted,
    FrameType::Refused,
    FrameType::Revoked,
    FrameType::Cut,
    FrameType::Open,
    FrameType::Accepted,
    FrameType::StreamRefused,
    FrameType::OpenGrant,
];
