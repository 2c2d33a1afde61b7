//! Passkeys, and invitations to make the first one.

use serde::{Deserialize, Serialize};
use tunnel_proto::{EmailAddress, Name, PersonId, UnixTime};

use super::SecretHash;

/// The most passkeys of one person.
pub const PASSKEYS_MAX: u32 = 20;

/// A person's passkey. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasskeyRecord {
    /// Hash of what its authenticator calls it.
    pub id: SecretHash,
    /// Whose it is.
    pub person: PersonId,
    /// What the person calls it.
    pub label: String,
    /// Its public key and what goes with it, as `tunnel_auth::passkeys::Passkey` writes it.
    pub credential: String,
    /// When it was added.
    pub created: UnixTime,
    /// When somebody last logged in by it.
    pub used: Option<UnixTime>,
}

/// A passkey with whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldPasskey {
    /// The passkey.
    pub passkey: PasskeyRecord,
    /// The person's address, at the last login that somebody vouched for.
    pub email: EmailAddress,
    /// The method of that login.
    pub method: Name,
    /// Who vouches for the person.
    pub issuer: String,
}

/// What became of a new passkey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasskeyKept {
    /// It is kept.
    Yes,
    /// The person has [`PASSKEYS_MAX`] already.
    TooMany,
    /// It is there already, with this or another person.
    Taken,
    /// There is no such person any more.
    NoPerson,
}

/// An invitation: who opens its link and makes a passkey is this person.
#[derive(Clone, PartialEq, Eq)]
pub struct InvitationRecord {
    /// Hash of the link's secret.
    pub key: SecretHash,
    /// Who it makes.
    pub person: PersonId,
    /// What the edge calls the person as their issuer ([`ISSUER_INVITED`](super::ISSUER_INVITED)).
    pub subject: String,
    /// The address, which the administrator vouches for.
    pub email: EmailAddress,
    /// The person's name, for their authenticator to show.
    pub name: Option<String>,
    /// When it was made.
    pub created: UnixTime,
    /// When it lapses.
    pub expires: UnixTime,
}

/// What becomes of an invitation, with the passkey that was made for it.
#[derive(Clone, Copy, Debug)]
pub struct Joining<'a> {
    /// The invitation's key.
    pub key: &'a SecretHash,
    /// The passkey, of the person that the invitation is for.
    pub passkey: &'a PasskeyRecord,
    /// The login method.
    pub method: &'a Name,
    /// When.
    pub now: UnixTime,
    /// Where from.
    pub source: Option<std::net::IpAddr>,
}

/// Whether an invitation was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// The person is known now, and has the passkey.
    Yes,
    /// The invitation was used, has lapsed, or was withdrawn.
    Gone,
    /// The passkey is there already; the invitation is left as it was.
    Taken,
}
