//! People, as login methods made them known, and those who are banned.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use tunnel_policy::Attributes;
use tunnel_proto::{EmailAddress, Name, PersonId, UnixTime};

/// The issuer of those who are known by a mailbox that they could read: a one-time PIN proves no more.
pub const ISSUER_MAILBOX: &str = "mailbox";
/// The issuer of those whom an administrator invited.
pub const ISSUER_INVITED: &str = "invited";
/// Who vouches for the login that ends the set-up: the edge itself, by the link. Never a person's issuer.
pub const ISSUER_SETUP: &str = "set-up";

/// A login, to be remembered with the person that it is about. Two issuers never speak of the same person, whatever
/// address they name (O6).
#[derive(Clone, Copy, Debug)]
pub struct Met<'a> {
    /// Who vouches: an OpenID provider's issuer, or one of the constants here.
    pub issuer: &'a str,
    /// What the issuer calls the person; never given to another one.
    pub subject: &'a str,
    /// The verified address, at this login.
    pub email: &'a EmailAddress,
    /// The login method.
    pub method: &'a Name,
    /// What else the method said.
    pub attributes: &'a Attributes,
    /// The id of somebody who was never seen before.
    pub candidate: PersonId,
    /// When.
    pub now: UnixTime,
    /// Where from.
    pub source: Option<IpAddr>,
}

/// Somebody who has logged in, or was invited to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersonRecord {
    /// The person, stable across logins.
    pub id: PersonId,
    /// Who vouches.
    pub issuer: String,
    /// What the issuer calls the person.
    pub subject: String,
    /// The address at the last login.
    pub email: EmailAddress,
    /// The method of the last login that the issuer vouched for.
    pub method: Name,
    /// What it said.
    #[serde(default)]
    pub attributes: Attributes,
    /// When the person was first seen.
    pub created: UnixTime,
    /// When the issuer last vouched, at a login; zero since it has refused to.
    pub seen: UnixTime,
    /// Where from.
    pub source: Option<IpAddr>,
}

/// Somebody who is not let in by anything, kept with what is declared so that a ban counts at once everywhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// The address.
    pub email: EmailAddress,
    /// Everybody who was known by it then; another address does not help them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub people: Vec<PersonId>,
    /// Since when.
    pub since: UnixTime,
    /// Why, in an administrator's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Ban {
    /// Whether it is about somebody.
    pub fn covers(&self, person: PersonId, email: &EmailAddress) -> bool {
        self.email == *email || self.people.contains(&person)
    }
}
