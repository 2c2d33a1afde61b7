//! What a decision was made of, so that it can be explained, and made again by other policies.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use tunnel_policy::{Attributes, Caller, Circumstances, Country, Subject};
use tunnel_proto::{AppId, Identity, Name, Revision, UnixTime};

/// A decision about one application, with everything that it was made of but the policies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// The application.
    pub app: AppId,
    /// Who asked.
    pub caller: DecidedCaller,
    /// Where from.
    pub source: IpAddr,
    /// The country of that address, as far as it was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<Country>,
    /// When.
    pub at: UnixTime,
    /// Where a bastion's stream was to lead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<SocketAddr>,
    /// By which configuration.
    pub revision: Revision,
    /// Whether it was to admit.
    pub admitted: bool,
}

/// Who asked for a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecidedCaller {
    /// Nobody who was logged in.
    Nobody,
    /// A person.
    Person {
        /// Who.
        identity: Box<Identity>,
        /// What the login method said.
        #[serde(default)]
        attributes: Box<Attributes>,
    },
    /// A machine, by the name of its token.
    Service(Name),
}

impl DecidedCaller {
    /// What policies were asked about.
    pub fn of(caller: Caller<'_>) -> Self {
        match caller {
            Caller::Nobody => Self::Nobody,
            Caller::Person(identity, attributes) => {
                Self::Person { identity: Box::new(identity.clone()), attributes: Box::new(attributes.clone()) }
            }
            Caller::Service(name) => Self::Service(name.clone()),
        }
    }

    /// As policies see it.
    pub fn caller(&self) -> Caller<'_> {
        match self {
            Self::Nobody => Caller::Nobody,
            Self::Person { identity, attributes } => Caller::Person(identity, attributes),
            Self::Service(name) => Caller::Service(name),
        }
    }
}

impl Decided {
    /// What is known of a question and its answer.
    pub fn new(app: AppId, subject: &Subject<'_>, revision: Revision, admitted: bool) -> Self {
        let Subject { caller, here, destination } = *subject;
        let Circumstances { source, country, now } = here;
        let caller = DecidedCaller::of(caller);
        Self { app, caller, source, country, at: now, destination, revision, admitted }
    }

    /// The question, to be asked again as of then.
    pub fn subject(&self) -> Subject<'_> {
        let here = Circumstances { source: self.source, country: self.country, now: self.at };
        Subject { caller: self.caller.caller(), here, destination: self.destination }
    }
}
