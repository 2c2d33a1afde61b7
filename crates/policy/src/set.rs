//! Everything declared, checked and indexed.

use std::{collections::HashMap, net::IpAddr};

use tunnel_proto::{AppId, EmailAddress, Hostname, Name};

use crate::{Application, Decision, DenyReason, Group, Policy, Subject, Trace, Verdict};

/// Groups, policies and applications, checked against each other and indexed. Immutable; replaced whole.
#[derive(Debug)]
pub struct PolicySet {
    applications: Vec<Application>,
    by_id: HashMap<AppId, usize>,
}

impl PolicySet {
    /// Checks and indexes.
    pub fn new(_: &[Group], _: &[Policy], applications: &[Application]) -> Result<Self, PolicySetError> {
        let by_id = applications.iter().enumerate().map(|(at, app)| (app.id, at)).collect();
        Ok(Self { applications: applications.to_vec(), by_id })
    }

    /// The application with this id.
    pub fn application(&self, id: &AppId) -> Option<&Application> {
        self.by_id.get(id).and_then(|at| self.applications.get(*at))
    }

    /// Every application that any plausible reading of the path falls under.
    pub fn applications_for(&self, _: &Hostname, _raw_path: &str) -> Matched<'_> {
        Matched { raw: None, others: Vec::new(), uncovered: true }
    }

    /// Judges.
    pub fn decide(&self, application: &Application, subject: &Subject<'_>) -> Decision {
        let trace = Trace {
            application: application.name.clone(),
            logged_in: subject.identity.is_some(),
            policies: Vec::new(),
            groups: Vec::new(),
            not_reached: Vec::new(),
        };
        Decision { verdict: Verdict::Deny { reason: DenyReason::NothingMatched }, trace }
    }

    /// Whether a PIN may be sent to this address.
    pub fn eligible(&self, _: &Application, _: &EmailAddress, _source: IpAddr, _method: &Name) -> bool {
        false
    }

    /// Whether no login could ever admit from this address.
    pub fn hopeless(&self, _: &Application, _source: IpAddr) -> bool {
        true
    }
}

/// The applications that the readings of a path fall under. **All** of them must admit.
#[derive(Clone, Debug)]
#[must_use]
pub struct Matched<'a> {
    /// The application of the raw reading: the audience of assertions, and the one that people log in to. `None` means
    /// that the request is refused.
    pub raw: Option<&'a Application>,
    /// The applications of the other readings, without `raw`, each once.
    pub others: Vec<&'a Application>,
    /// Whether some reading falls under no application at all: the default for what nobody declared is to refuse.
    pub uncovered: bool,
}

/// Whether any plausible reading of the path is one that the edge itself answers.
pub fn is_reserved(_raw_path: &str) -> bool {
    false
}

/// Why a set was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicySetError {
    /// Two things of one kind have the same name.
    #[error("there are two {kind} named `{name}`")]
    Duplicate {
        /// The kind, in the plural.
        kind: &'static str,
        /// The name.
        name: Name,
    },
}
