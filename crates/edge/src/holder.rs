//! Who is at the gate: a person with a session, or a machine with a service token.

use std::sync::Arc;

use tunnel_auth::{ServiceSecret, secret};
use tunnel_policy::Caller;
use tunnel_proto::{Identity, Name, UnixTime};

use crate::{
    session::Session,
    snapshot::Snapshot,
    store::{SecretHash, ServiceTokenRecord},
};

/// Whose credential was found to be good.
#[derive(Clone, Debug)]
pub enum Holder {
    /// A person.
    Person(Arc<Session>),
    /// A machine.
    Machine(Arc<Machine>),
    /// Whoever it is: what they ask for is public.
    Anybody,
}

/// A machine, by the secret that it showed.
#[derive(Clone, Debug)]
pub struct Machine {
    name: Name,
    id: String,
    secret: SecretHash,
}

/// What tells one holder from every other, for what is concluded about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HolderKey {
    /// A session and its epoch.
    Session(SecretHash, u64),
    /// The hash of a service token's secret.
    Machine(SecretHash),
    /// Nobody in particular.
    Anybody,
}

impl Holder {
    /// What tells it from every other.
    pub fn key(&self) -> HolderKey {
        match self {
            Self::Person(session) => HolderKey::Session(*session.id(), session.epoch()),
            Self::Machine(machine) => HolderKey::Machine(machine.secret),
            Self::Anybody => HolderKey::Anybody,
        }
    }

    /// The same as it is now: what is said of a person may be something else by now than when this was found good.
    pub(crate) fn latest(&self) -> Self {
        match self {
            Self::Person(session) => Self::Person(session.latest()),
            Self::Machine(_) | Self::Anybody => self.clone(),
        }
    }

    /// Changes when something else is said of the person.
    pub(crate) fn epoch(&self) -> u64 {
        match self {
            Self::Person(session) => session.epoch(),
            Self::Machine(_) | Self::Anybody => 0,
        }
    }

    /// To whom a stream belongs that a service ties to one visitor. Without an owner it is for nobody after that: those who are
    /// anybody cannot be told apart.
    pub fn owner(&self) -> Option<SecretHash> {
        match self {
            Self::Person(session) => Some(*session.id()),
            Self::Machine(machine) => Some(secret::hash("stream owner", &machine.secret)),
            Self::Anybody => None,
        }
    }

    /// As policies see it.
    pub fn caller(&self) -> Caller<'_> {
        match self {
            Self::Person(session) => Caller::Person(session.identity(), session.attributes()),
            Self::Machine(machine) => Caller::Service(&machine.name),
            Self::Anybody => Caller::Nobody,
        }
    }

    /// As the audit names it.
    pub fn actor(&self) -> String {
        match self {
            Self::Person(session) => session.identity().email.to_string(),
            Self::Machine(machine) => format!("service-token:{}", machine.name),
            Self::Anybody => "anybody".to_owned(),
        }
    }

    /// Who it is, if a person.
    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Person(session) => Some(session.identity()),
            Self::Machine(_) | Self::Anybody => None,
        }
    }

    /// Who vouched for the login, if a person's.
    pub fn issuer(&self) -> Option<&str> {
        match self {
            Self::Person(session) => Some(session.issuer()),
            Self::Machine(_) | Self::Anybody => None,
        }
    }

    /// Which service token it is, if a machine.
    pub fn machine(&self) -> Option<&Machine> {
        match self {
            Self::Person(_) | Self::Anybody => None,
            Self::Machine(machine) => Some(machine),
        }
    }

    /// Until when the credential counts, by what is declared; `None` when it does not at `now`.
    pub fn until(&self, snapshot: &Snapshot, now: UnixTime) -> Option<UnixTime> {
        match self {
            Self::Person(session) => snapshot.counts(session, now).then(|| session.expires()),
            Self::Machine(machine) => machine.until(snapshot, now),
            Self::Anybody => Some(UnixTime(u64::MAX)),
        }
    }

    /// From when on a person's provider has not vouched for them for too long, as far as is known now.
    pub(crate) fn lapses(&self, snapshot: &Snapshot) -> Option<UnixTime> {
        match self {
            Self::Person(session) => snapshot.lapses(session),
            Self::Machine(_) | Self::Anybody => None,
        }
    }

    /// Waits until somebody ends the session. A machine's token ends with a change of what is declared.
    pub async fn ended(&self) {
        match self {
            Self::Person(session) => session.ended().await,
            Self::Machine(_) | Self::Anybody => std::future::pending().await,
        }
    }

    /// A session is in use.
    pub(crate) fn touch(&self, now: UnixTime) {
        if let Self::Person(session) = self {
            session.touch(now);
        }
    }
}

impl Machine {
    /// The machine that shows this id and secret, if both are those of one service token that counts at `now`.
    pub fn authenticate(snapshot: &Snapshot, id: &str, secret: &str, now: UnixTime) -> Option<Self> {
        let secret = ServiceSecret::parse(secret)?.hash();
        let token = snapshot.service_token(id)?;
        let machine = Self { name: token.name.clone(), id: token.id.clone(), secret };
        machine.counts(token, now).map(|_| machine)
    }

    /// The name of its token.
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// The public id of its token.
    pub fn id(&self) -> &str {
        &self.id
    }

    fn until(&self, snapshot: &Snapshot, now: UnixTime) -> Option<UnixTime> {
        let token = snapshot.service_token(&self.id)?;
        self.counts(token, now)
    }

    fn counts(&self, token: &ServiceTokenRecord, now: UnixTime) -> Option<UnixTime> {
        let present = secret::same(&token.secret, &self.secret).then_some(token.expires);
        let previous = token.previous.filter(|previous| secret::same(&previous.secret, &self.secret));
        let previous = previous.map(|previous| previous.until.min(token.expires));
        present.or(previous).filter(|until| *until > now)
    }
}
