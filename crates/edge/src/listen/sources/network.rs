//! What an address is counted with.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::NETWORKS_PER_WIDE;

/// The network that an address is counted with: itself, or the /56 of an IPv6 address (RFC 6177).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Network {
    V4([u8; 4]),
    V6([u8; 7]),
    /// The /48 that a network of IPv6 is in, which whoever asks for one gets (RFC 6177).
    Wide([u8; 6]),
}

impl Network {
    /// The network itself, and then the wide one that it is in.
    pub(super) fn with_wide(self) -> impl Iterator<Item = Self> {
        let wide = match self {
            Self::V6([a, b, c, d, e, f, _]) => Some(Self::Wide([a, b, c, d, e, f])),
            Self::V4(_) | Self::Wide(_) => None,
        };
        std::iter::once(self).chain(wide)
    }

    /// As how many networks it counts.
    pub(super) const fn networks(self) -> u32 {
        match self {
            Self::V4(_) | Self::V6(_) => 1,
            Self::Wide(_) => NETWORKS_PER_WIDE,
        }
    }
}

impl From<IpAddr> for Network {
    fn from(peer: IpAddr) -> Self {
        match peer {
            IpAddr::V4(v4) => Self::V4(v4.octets()),
            IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, g, ..] = v6.octets();
                Self::V6([a, b, c, d, e, f, g])
            }
        }
    }
}
