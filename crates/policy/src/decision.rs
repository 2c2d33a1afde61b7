//! What a judgement is asked about and what it answers.

use std::{net::IpAddr, time::Duration};

use serde::Serialize;
use tunnel_proto::{Identity, Name};

use crate::Trace;

/// Who asks, and from where.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Who logged in, if anybody has. Nobody is ever admitted without.
    pub identity: Option<&'a Identity>,
    /// The true source address of the request; an IPv4 address in IPv6 clothes counts as IPv4.
    pub source: IpAddr,
}

/// A verdict and how it came about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[must_use]
pub struct Decision {
    /// The verdict.
    pub verdict: Verdict,
    /// Rule by rule, why.
    pub trace: Trace,
}

impl Decision {
    /// Whether the verdict is to admit.
    pub fn is_allow(&self) -> bool {
        matches!(self.verdict, Verdict::Allow { .. })
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
    /// No policy matched: the default.
    NothingMatched,
    /// Nobody is logged in; somebody who were might be admitted.
    LoginRequired,
    /// Nobody is logged in, and no login could help from this address ([`PolicySet::hopeless`](crate::PolicySet::hopeless)).
    Hopeless,
}
