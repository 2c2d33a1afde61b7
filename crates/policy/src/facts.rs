//! What a rule is held against, and whether it holds as far as is known.

use std::net::IpAddr;

use tunnel_proto::{AppId, EmailAddress, Name, UnixTime};

use crate::{Attributes, Caller, Circumstances, Country, GithubTeam, Selector, Subject, lists};

/// What is known for certain, what is not yet known, and what is ruled out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tri {
    No,
    Maybe,
    Yes,
}

impl From<bool> for Tri {
    fn from(known: bool) -> Self {
        if known { Self::Yes } else { Self::No }
    }
}

impl std::ops::Not for Tri {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Maybe => Self::Maybe,
            Self::Yes => Self::No,
        }
    }
}

/// What a rule is held against.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) email: Fact<&'a EmailAddress>,
    pub(crate) method: Fact<&'a Name>,
    /// What the login method said, but for the evaluations.
    pub(crate) said: Fact<&'a Attributes>,
    /// Evaluations are made when somebody who has logged in, by whatever method, opens an application: for that one.
    pub(crate) evaluations: Fact<(AppId, &'a [String])>,
    /// The service token of a machine; people have none.
    pub(crate) service: Option<&'a Name>,
    pub(crate) source: Source,
    pub(crate) country: Option<Country>,
    pub(crate) now: Fact<UnixTime>,
    /// Methods that an unknown login could still be by; any when empty.
    pub(crate) methods: &'a [Name],
}

/// Something that is known, cannot be, or may turn out.
#[derive(Clone, Copy)]
pub(crate) enum Fact<T> {
    Known(T),
    Absent,
    Unknown,
}

impl<T> Fact<T> {
    pub(crate) fn is(self, test: impl FnOnce(T) -> bool) -> Tri {
        match self {
            Self::Known(fact) => test(fact).into(),
            Self::Absent => Tri::No,
            Self::Unknown => Tri::Maybe,
        }
    }
}

/// Where somebody is.
#[derive(Clone, Copy)]
pub(crate) enum Source {
    /// At this address, in its canonical form.
    At(IpAddr),
    /// Somewhere among all IPv4 addresses, in none of the ranges that anybody would write down.
    SomewhereV4,
    /// Somewhere among all IPv6 addresses.
    SomewhereV6,
}

impl Source {
    pub(crate) fn is_in(self, ranges: &lists::Ranges) -> bool {
        match self {
            Self::At(address) => ranges.contains(address),
            Self::SomewhereV4 => ranges.has_all_v4(),
            Self::SomewhereV6 => ranges.has_all_v6(),
        }
    }
}

impl<'a> Facts<'a> {
    /// Everything is known of whoever asks for `app`.
    pub(crate) fn of(subject: &Subject<'a>, app: AppId) -> Self {
        let (email, method, said, service) = match subject.caller {
            Caller::Person(identity, attributes) => {
                (Fact::Known(&identity.email), Fact::Known(&identity.method), Fact::Known(attributes), None)
            }
            Caller::Nobody => (Fact::Absent, Fact::Absent, Fact::Absent, None),
            Caller::Service(name) => (Fact::Absent, Fact::Absent, Fact::Absent, Some(name)),
        };
        let evaluations = match said {
            Fact::Known(attributes) => Fact::Known((app, attributes.evaluations.as_slice())),
            Fact::Absent | Fact::Unknown => Fact::Absent,
        };
        Self { email, method, said, evaluations, service, ..Self::at(subject.here) }
    }

    /// Whoever would log in with this address by this method, about whom it would say this.
    pub(crate) fn of_address(
        email: &'a EmailAddress,
        method: &'a Name,
        said: &'a Attributes,
        here: Circumstances,
    ) -> Self {
        Self { email: Fact::Known(email), method: Fact::Known(method), said: Fact::Known(said), ..Self::at(here) }
    }

    /// Whoever could log in by one of these methods.
    pub(crate) fn of_stranger(methods: &'a [Name], here: Circumstances) -> Self {
        Self { methods, ..Self::at(here) }
    }

    /// Anybody here.
    fn at(here: Circumstances) -> Self {
        Self {
            email: Fact::Unknown,
            method: Fact::Unknown,
            said: Fact::Unknown,
            evaluations: Fact::Unknown,
            service: None,
            source: Source::At(here.source.to_canonical()),
            country: here.country,
            now: Fact::Known(here.now),
            methods: &[],
        }
    }

    /// Whether a rule holds that refers to nothing else.
    pub(crate) fn holds(&self, selector: &Selector) -> Tri {
        match selector {
            Selector::Email(email) => self.email.is(|known| known == email),
            Selector::EmailDomain(domain) => self.email.is(|known| known.is_at(domain)),
            Selector::Ip(range) => match self.source {
                Source::At(address) => lists::contains(range, address).into(),
                elsewhere => elsewhere.is_in(&lists::Ranges::new(std::slice::from_ref(range))).into(),
            },
            Selector::Country(country) => (self.country == Some(*country)).into(),
            Selector::Everyone => Tri::Yes,
            Selector::LoginMethod(method) => self.by(Some(method)),
            Selector::AuthMethod(value) => self.said.is(|said| said.amr.contains(value)),
            Selector::IdpGroup(group) => {
                let method = self.by(group.login_method.as_ref());
                method.min(self.said.is(|said| said.groups.contains(&group.name)))
            }
            Selector::Github(team) => {
                let method = self.by(team.login_method.as_ref());
                method.min(self.said.is(|said| is_in(said, team)))
            }
            Selector::OidcClaim(claim) => {
                let method = self.by(claim.login_method.as_ref());
                method.min(self.said.is(|said| said.claims.get(&claim.name).is_some_and(|value| claim.is(value))))
            }
            Selector::ServiceToken(name) => (self.service == Some(name)).into(),
            Selector::AnyServiceToken => self.service.is_some().into(),
            Selector::TimeOfWeek(time) => self.now.is(|now| time.holds(now)),
            Selector::ExternalEvaluation(evaluation) => {
                self.evaluations.is(|(app, known)| known.contains(&evaluation.key(&app)))
            }
            // The judge resolves what refers to something else.
            Selector::Group(_) | Selector::EmailList(_) | Selector::IpList(_) => Tri::No,
        }
    }

    /// What was there instead, for rules of which it cannot be guessed.
    pub(crate) fn found(&self, selector: &Selector) -> Option<String> {
        match (selector, self.now) {
            (Selector::Country(_), _) => {
                Some(self.country.map_or_else(|| "not known".to_owned(), |country| country.to_string()))
            }
            (Selector::TimeOfWeek(time), Fact::Known(now)) => Some(time.shown(now)),
            (Selector::ExternalEvaluation(_), _)
                if matches!(self.evaluations, Fact::Known(_)) && self.holds(selector) != Tri::Yes =>
            {
                Some("it did not say yes, or was not asked".to_owned())
            }
            _ => None,
        }
    }

    /// Whether the login was by this method; without one, by any.
    fn by(&self, method: Option<&Name>) -> Tri {
        let Some(method) = method else { return Tri::Yes };
        let possible = self.methods.is_empty() || self.methods.contains(method);
        if possible { self.method.is(|known| known == method) } else { Tri::No }
    }
}

fn is_in(said: &Attributes, team: &GithubTeam) -> bool {
    said.github.iter().any(|organization| {
        let within = |team: &String| organization.teams.iter().any(|one| one.eq_ignore_ascii_case(team));
        organization.name.eq_ignore_ascii_case(&team.organization) && team.team.as_ref().is_none_or(within)
    })
}
