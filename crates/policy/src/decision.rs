//! What a judgement is asked about and what it answers.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use serde::Serialize;
use tunnel_proto::{Identity, Name, UnixTime};

use crate::{Attributes, Country, Trace};

/// Where and when a request is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Circumstances {
    /// The true source address of the request; an IPv4 address in IPv6 clothes counts as IPv4.
    pub source: IpAddr,
    /// The country of that address, if it is known. One that is not is none of those that rules name.
    pub country: Option<Country>,
    /// When the request is made.
    pub now: UnixTime,
}

/// Who asks, where and when, and for a bastion where to.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Who it is.
    pub caller: Caller<'a>,
    /// Where and when it asks.
    pub here: Circumstances,
    /// Where a stream of a bastion is to lead, resolved. Without one, the rules alone decide.
    pub destination: Option<SocketAddr>,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub enum Caller<'a> {
    /// Somebody who has not logged in: admitted by a bypass only.
    Nobody,
    /// A person who logged in, and what the login method said about it.
    Person(&'a Identity, &'a Attributes),
    /// A machine with the service token of this name.
    Service(&'a Name),
}

impl<'a> Subject<'a> {
    /// Somebody who has not logged in.
    pub const fn nobody(here: Circumstances) -> Self {
        Self { caller: Caller::Nobody, here, destination: None }
    }

    /// A person who logged in.
    pub const fn person(identity: &'a Identity, attributes: &'a Attributes, here: Circumstances) -> Self {
        Self { caller: Caller::Person(identity, attributes), here, destination: None }
    }

    /// A machine with the service token `name`.
    pub const fn service(name: &'a Name, here: Circumstances) -> Self {
        Self { caller: Caller::Service(name), here, destination: None }
    }

    /// The same, on the way to `destination`.
    #[must_use]
    pub const fn to(self, destination: SocketAddr) -> Self {
        Self { destination: Some(destination), ..self }
    }
}

/// A verdict and how it came about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[must_use]
pub struct Decision {
    /// The verdict.
    pub verdict: Verdict,
    /// The next moment at which a rule about time could change the verdict; `None` when time plays no part. Until then the
    /// same question has the same answer, as long as nothing else changes.
    pub holds_until: Option<UnixTime>,
    /// Rule by rule, why.
    pub trace: Trace,
}

impl Decision {
    /// Whether this person or this machine is admitted as who they are. A bypass does not say who anybody is.
    pub fn is_allow(&self) -> bool {
        matches!(self.verdict, Verdict::Allow { .. })
    }

    /// Whether the request is admitted: as somebody's, or by a bypass.
    pub fn admits(&self) -> bool {
        matches!(self.verdict, Verdict::Allow { .. } | Verdict::Bypass { .. })
    }
}

/// Admit, or turn away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Admit.
    Allow {
        /// The policy that admits.
        policy: Name,
        /// How long a login lasts for the application by that policy, if it says so.
        session: Option<Duration>,
    },
    /// Admit whoever asks: what lies there is public under these circumstances.
    Bypass {
        /// The policy that says so.
        policy: Name,
    },
    /// Turn away.
    Deny {
        /// Why.
        reason: DenyReason,
    },
}

/// Why a subject is turned away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DenyReason {
    /// A block policy matched, and no policy before it.
    Blocked {
        /// That policy.
        policy: Name,
    },
    /// An allowing policy matched, but it names no destinations, and a bastion leads nowhere without.
    NoDestinations {
        /// That policy.
        policy: Name,
    },
    /// No policy matched: the default.
    NothingMatched,
    /// Nobody is logged in; somebody who were might be admitted.
    LoginRequired,
    /// Nobody is logged in, and no login could help from this address ([`PolicySet::hopeless`](crate::PolicySet::hopeless)).
    Hopeless,
}
