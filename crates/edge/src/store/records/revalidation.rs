//! By what a login is confirmed later, at the provider that vouched for it.

use tunnel_policy::Attributes;
use tunnel_proto::{Name, PersonId, UnixTime};

use super::SecretHash;

/// What a login is confirmed by. Gone with the login, and kept for longer only by what came from it.
#[derive(Clone, PartialEq, Eq)]
pub struct Revalidation {
    /// The login: the id of its session, or the parent of those that came from it.
    pub login: SecretHash,
    /// The login method.
    pub method: Name,
    /// The refresh token and whom it was given by, sealed by the caller for this login.
    pub sealed: Vec<u8>,
    /// When the provider last vouched for the person.
    pub confirmed: UnixTime,
}

/// What a provider says about somebody now, in the place of what it said at the login.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// The person.
    pub person: PersonId,
    /// The login method.
    pub method: &'a Name,
    /// What is known of the person by it.
    pub attributes: &'a Attributes,
    /// The sessions that are judged by it, and how each is.
    pub sessions: &'a [(SecretHash, Attributes)],
}
