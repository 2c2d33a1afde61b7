//! The wire between an edge, its connectors and its access clients.

mod cbor;
pub mod email;
pub mod enrol;
pub mod frame;
pub mod hostname;
#[cfg(feature = "identity")]
pub mod identity;
pub mod ids;
#[cfg(feature = "io")]
pub mod link;
pub mod message;
pub mod name;
pub mod version;

pub use email::EmailAddress;
pub use hostname::{HostPattern, Hostname};
pub use ids::{AppId, EdgeId, InstanceId, LinkId, OperatorId, PersonId, Revision, RuleId, TunnelId, UnixTime};
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
