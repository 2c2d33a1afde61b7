//! The wire between an edge, its connectors and its access clients.
//!
//! What goes over it is specified in PROTOCOL.md, in this crate's directory. The crate without features is pure: the shared
//! vocabulary ([`Hostname`], [`EmailAddress`], ids), the frames ([`frame`], [`message`]), and what each [`version`] allows.
//! Features add the rest:
//!
//! - `identity`: certificates. The edge's own CA, signing requests, who a certificate names, the TLS of links.
//! - `io`: the async shell. `link`, one connection that carries many streams, over any byte stream; `cores`, runtimes of one
//!   thread for programs that carry many bytes. With `identity`, `tls` as well: the TLS that links run on.
//! - `dial`: reaching an edge from outside. `dial`, what a connector and an access client do alike before there is a link.
//!
//! It leaves to others: listening, when to reconnect, what a tunnel is, who may do what.
//!
//! Start from [`message::Message`]:
//!
//! ```
//! use tunnel_proto::{message::{Message, Ping}, version::Version};
//!
//! let frame = Message::from(Ping { nonce: 7 }).encode()?;
//! assert_eq!(frame, [0x08, 0, 0, 3, 0xa1, 0x00, 0x07]);
//!
//! let (message, taken) = Message::parse(&frame, Version::V1)?;
//! assert_eq!((message, taken), (Some(Ping { nonce: 7 }.into()), frame.len()));
//! # Ok::<(), tunnel_proto::frame::FrameError>(())
//! ```

pub mod access;
mod cbor;
#[cfg(feature = "io")]
pub mod cores;
pub mod destination;
#[cfg(feature = "dial")]
pub mod dial;
pub mod email;
pub mod enrol;
#[cfg(feature = "io")]
#[doc(hidden)]
pub mod faults;
pub mod frame;
pub mod hostmap;
pub mod hostname;
#[cfg(feature = "identity")]
pub mod identity;
pub mod ids;
#[cfg(feature = "io")]
pub mod link;
pub mod message;
#[cfg(feature = "io")]
#[doc(hidden)]
pub mod mux;
pub mod name;
#[cfg(feature = "io")]
#[doc(hidden)]
pub mod task;
#[cfg(all(feature = "identity", feature = "io"))]
pub mod tls;
pub mod version;

pub use destination::{Destination, DestinationRange};
pub use email::EmailAddress;
pub use hostmap::HostMap;
pub use hostname::{HostPattern, Hostname};
pub use ids::{AppId, EdgeId, GrantId, InstanceId, LinkId, OperatorId, PersonId, Revision, RuleId, TunnelId, UnixTime};
pub use name::Name;

use serde::{Deserialize, Serialize};

/// Who a person is, as learnt at login. Made by the edge only, after authentication.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Identity {
    /// The person, stable across logins.
    #[n(0)]
    pub person: PersonId,
    /// The verified address.
    #[n(1)]
    pub email: EmailAddress,
    /// The login method that authenticated, by its stable name.
    #[n(2)]
    pub method: Name,
    /// When the person authenticated.
    #[n(3)]
    pub authenticated: UnixTime,
}
