//! The wire between an edge, its connectors and its access clients.

pub mod email;
pub mod enrol;
pub mod hostname;
pub mod ids;
pub mod name;

pub use email::EmailAddress;
pub use hostname::{HostPattern, Hostname};
pub use ids::{AppId, EdgeId, InstanceId, LinkId, OperatorId, PersonId, Revision, RuleId, TunnelId, UnixTime};
pub use name::Name;

use serde::{Deserialize, Serialize};

/// Who a person is, as learnt at login. Made by the edge only, after authentication.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// The person, stable across logins.
    pub person: PersonId,
    /// The verified address.
    pub email: EmailAddress,
    /// The login method that authenticated, by its stable name.
    pub method: Name,
    /// When the person authenticated.
    pub authenticated: UnixTime,
}
