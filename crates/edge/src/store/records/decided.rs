//! What a decision was made of, so that it can be explained, and made again by other policies.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use tunnel_policy::{Attributes, Caller, Circumstances, Country, PolicySet, Subject};
use tunnel_proto::{AppId, Identity, Name, Revision, UnixTime};

/// A decision about one application, with everything that it was made of but the policies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// The application.
    pub app: AppId,
    /// Who asked.
    pub caller: DecidedCaller,
    /// Who vouched for a person's login; not known of decisions from before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
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

/// The longest list of groups that is kept as it is, in bytes: a record of a decision is made for each new way somebody
/// comes, and kept for good.
const GROUPS_KEPT: usize = 4096;

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
        Self { app, caller, issuer: None, source, country, at: now, destination, revision, admitted }
    }

    /// The same, by the word of an issuer.
    #[must_use]
    pub fn vouched_by(self, issuer: Option<&str>) -> Self {
        Self { issuer: issuer.map(str::to_owned), ..self }
    }

    /// The same, of somebody in many groups without those that no policy names.
    #[must_use]
    pub fn without_idle_groups(mut self, policies: &PolicySet) -> Self {
        if let DecidedCaller::Person { attributes, .. } = &mut self.caller
            && attributes.groups.iter().map(String::len).sum::<usize>() > GROUPS_KEPT
        {
            attributes.groups.retain(|group| policies.names_provider_group(group));
        }
        self
    }

    /// The question, to be asked again as of then.
    pub fn subject(&self) -> Subject<'_> {
        let here = Circumstances { source: self.source, country: self.country, now: self.at };
        Subject { caller: self.caller.caller(), here, destination: self.destination }
    }
}

#[cfg(test)]
mod tests {
    use tunnel_policy::{Action, Declarations, Policy, ProviderGroup, Rules, Selector};
    use tunnel_proto::PersonId;

    use super::*;

    #[test]
    fn of_somebody_in_many_groups_those_are_kept_that_a_policy_names() {
        let staff = Selector::IdpGroup(ProviderGroup { name: "staff".into(), login_method: None });
        let rules = Rules { include: vec![staff], ..Rules::default() };
        let policies = [Policy {
            name: "staff".parse().unwrap(),
            action: Action::Allow,
            rules,
            session_duration: None,
            destinations: Vec::new(),
        }];
        let policies = PolicySet::new(Declarations { policies: &policies, ..Declarations::default() }).unwrap();
        let identity = Identity {
            person: PersonId::from_bytes([1; 16]),
            email: "ann@example.com".parse().unwrap(),
            method: "entra".parse().unwrap(),
            authenticated: UnixTime(1),
        };
        for (others, kept) in [(3, 4), (1000, 1)] {
            let mut groups: Vec<_> = (0..others).map(|n| format!("group {n}")).collect();
            groups.push("staff".to_owned());
            let attributes = Attributes { groups, ..Attributes::default() };
            let here = Circumstances { source: [192, 0, 2, 1].into(), country: None, now: UnixTime(2) };
            let subject = Subject::person(&identity, &attributes, here);
            let decided = Decided::new(AppId::from_bytes([1; 32]), &subject, Revision(1), true);
            let decided = decided.without_idle_groups(&policies);
            let Caller::Person(_, attributes) = decided.caller.caller() else { unreachable!("a person asked") };
            assert_eq!(attributes.groups.len(), kept);
            assert!(attributes.groups.contains(&"staff".to_owned()));
        }
    }
}
