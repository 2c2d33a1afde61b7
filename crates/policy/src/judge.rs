//! Judging: who is admitted, who could be, and why.

use std::net::IpAddr;

use ipnet::IpNet;
use tunnel_proto::{EmailAddress, Name};

use crate::{
    Action, Application, Caller, CallerKind, Circumstances, Decision, DenyReason, DestinationTrace, GroupTrace,
    PolicySet, PolicyTrace, RuleTrace, RulesTrace, Selector, Subject, Trace, Verdict,
    set::{Checked, CheckedPolicy, Rule},
};

impl PolicySet {
    /// Judges a request for `application`: its `service_auth` policies first, then the others in their order; the first
    /// that matches decides, and nothing is admitted that no policy matches. Nobody is admitted without an identity,
    /// whatever the rules say; `service_auth` admits machines only, and `allow` people only.
    ///
    /// On the way to a destination, a policy matches only if it lists the destination as well; a block policy that lists
    /// none blocks all of them, and an admitting one that lists none leads nowhere.
    ///
    /// The application is looked up by its id; one that is not in this set has no policies.
    pub fn decide(&self, application: &Application, subject: &Subject<'_>) -> Decision {
        let facts = Facts::of(subject);
        let mut judge = Judge::new(self, facts);
        let mut policies = self.policies_in_order(&application.id);
        let mut judged = Vec::new();
        let mut verdict = None;
        for policy in policies.by_ref() {
            let matched = judge.holds(&policy.rules) == Tri::Yes;
            let listed = subject.destination.map(|to| policy.destinations.iter().any(|range| range.contains(to)));
            judged.push((policy, matched, listed));
            let name = || policy.rules.name.clone();
            // A list of destinations narrows what the policy is about; an admitting policy without one leads nowhere.
            let elsewhere = listed == Some(false);
            let bare = subject.destination.is_some() && policy.destinations.is_empty();
            // One that blocks some destinations says nothing where there is none yet, or never will be.
            let not_about = subject.destination.is_none() && policy.blocks_some();
            verdict = match (policy.action, subject.caller) {
                _ if !matched || not_about || (elsewhere && !bare) => continue,
                (Action::Block, _) => Some(deny(DenyReason::Blocked { policy: name() })),
                (Action::Allow, Caller::Person(..)) | (Action::ServiceAuth, Caller::Service(_)) if bare => {
                    Some(deny(DenyReason::NoDestinations { policy: name() }))
                }
                (Action::Allow, Caller::Person(..)) | (Action::ServiceAuth, Caller::Service(_)) => {
                    Some(Verdict::Allow { policy: name(), session: policy.session })
                }
                (Action::Allow, Caller::Nobody | Caller::Service(_))
                | (Action::ServiceAuth, Caller::Nobody | Caller::Person(..)) => continue,
            };
            break;
        }
        let caller = match subject.caller {
            Caller::Nobody => CallerKind::Nobody,
            Caller::Person(..) => CallerKind::Person,
            Caller::Service(_) => CallerKind::Service,
        };
        let trace = Trace {
            application: application.name.clone(),
            caller,
            groups: judge.explain_groups(judged.iter().map(|(policy, ..)| &policy.rules)),
            policies: judged.iter().map(|(policy, matched, to)| judge.explain(policy, *matched, *to)).collect(),
            not_reached: policies.map(|policy| policy.rules.name.clone()).collect(),
        };
        let verdict = match (verdict, subject.caller) {
            (Some(verdict), Caller::Person(..) | Caller::Service(_)) => verdict,
            (None, Caller::Person(..) | Caller::Service(_)) => deny(DenyReason::NothingMatched),
            (_, Caller::Nobody) if self.hopeless(application, subject.here) => deny(DenyReason::Hopeless),
            (_, Caller::Nobody) => deny(DenyReason::LoginRequired),
        };
        Decision { verdict, holds_until: None, trace }
    }

    /// Whether any admitting policy that matches lists some destination at this port: for others a name is not even looked
    /// up.
    pub fn may_lead(&self, application: &Application, subject: &Subject<'_>, port: u16) -> bool {
        let mut judge = Judge::new(self, Facts::of(subject));
        self.policies_of(&application.id).any(|policy| {
            policy.action != Action::Block
                && policy.destinations.iter().any(|range| range.has_port(port))
                && judge.holds(&policy.rules) == Tri::Yes
        })
    }

    /// Whether a PIN may be sent to this address: the application offers the method, some allow policy could be true of
    /// the address by what an e-mail address alone can decide, and no block before it certainly applies.
    pub fn eligible(
        &self,
        application: &Application,
        email: &EmailAddress,
        here: Circumstances,
        method: &Name,
    ) -> bool {
        application.offers(method) && self.could_admit(application, Facts::of_address(email, here, method))
    }

    /// Whether no login could admit under these circumstances; such a visitor is told so before being asked to log in.
    pub fn hopeless(&self, application: &Application, here: Circumstances) -> bool {
        !self.could_admit(application, Facts::of_stranger(here, &application.login_methods))
    }

    fn could_admit(&self, application: &Application, facts: Facts<'_>) -> bool {
        let mut judge = Judge::new(self, facts);
        for policy in self.policies_of(&application.id) {
            match (policy.action, judge.holds(&policy.rules)) {
                (Action::Allow, Tri::Yes | Tri::Maybe) => return true,
                (Action::Block, Tri::Yes) if !policy.blocks_some() => return false,
                // For machines, which do not log in.
                (Action::ServiceAuth, _) => {}
                (Action::Allow, Tri::No) | (Action::Block, _) => {}
            }
        }
        false
    }
}

impl Application {
    /// Whether people may log in to it by this method.
    pub fn offers(&self, method: &Name) -> bool {
        self.login_methods.is_empty() || self.login_methods.contains(method)
    }
}

fn deny(reason: DenyReason) -> Verdict {
    Verdict::Deny { reason }
}

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
    /// The service token of a machine; people have none.
    pub(crate) service: Option<&'a Name>,
    /// `None`: an address in none of the ranges that anybody would write down.
    pub(crate) source: Option<IpAddr>,
    /// Methods that an unknown login could still be by; any when empty.
    pub(crate) methods: &'a [Name],
}

/// Something about a person that is known, cannot be, or may turn out at login.
#[derive(Clone, Copy)]
pub(crate) enum Fact<T> {
    Known(T),
    Absent,
    Unknown,
}

impl<T> Fact<T> {
    fn is(self, test: impl FnOnce(T) -> bool) -> Tri {
        match self {
            Self::Known(fact) => test(fact).into(),
            Self::Absent => Tri::No,
            Self::Unknown => Tri::Maybe,
        }
    }
}

impl<'a> Facts<'a> {
    fn of(subject: &Subject<'a>) -> Self {
        let (email, method, service) = match subject.caller {
            Caller::Person(identity, _) => (Fact::Known(&identity.email), Fact::Known(&identity.method), None),
            Caller::Nobody => (Fact::Absent, Fact::Absent, None),
            Caller::Service(name) => (Fact::Absent, Fact::Absent, Some(name)),
        };
        Self { email, method, service, source: Some(subject.here.source.to_canonical()), methods: &[] }
    }

    fn of_address(email: &'a EmailAddress, here: Circumstances, method: &'a Name) -> Self {
        let source = Some(here.source.to_canonical());
        Self { email: Fact::Known(email), method: Fact::Known(method), service: None, source, methods: &[] }
    }

    fn of_stranger(here: Circumstances, methods: &'a [Name]) -> Self {
        let source = Some(here.source.to_canonical());
        Self { email: Fact::Unknown, method: Fact::Unknown, service: None, source, methods }
    }

    fn holds(&self, selector: &Selector) -> Tri {
        match selector {
            Selector::Email(email) => self.email.is(|known| known == email),
            Selector::EmailDomain(domain) => self.email.is(|known| known.is_at(domain)),
            Selector::Ip(range) => self.source.is_some_and(|source| contains(range, source)).into(),
            Selector::Everyone => Tri::Yes,
            Selector::LoginMethod(method) => {
                let possible = self.methods.is_empty() || self.methods.contains(method);
                if possible { self.method.is(|known| known == method) } else { Tri::No }
            }
            Selector::ServiceToken(name) => (self.service == Some(name)).into(),
            Selector::AnyServiceToken => self.service.is_some().into(),
            // The judge resolves groups.
            Selector::Group(_) => Tri::No,
        }
    }
}

/// Whether the range holds the address; a range of IPv4 addresses in IPv6 clothes (`::ffff:0:0/96`) counts as IPv4.
fn contains(range: &IpNet, source: IpAddr) -> bool {
    if let (IpNet::V6(net), IpAddr::V4(v4)) = (range, source) {
        return net.prefix_len() >= 96 && net.contains(&v4.to_ipv6_mapped());
    }
    range.contains(&source)
}

/// Holds rules against facts, each group at most once: groups that refer to groups would else multiply.
pub(crate) struct Judge<'a> {
    set: &'a PolicySet,
    facts: Facts<'a>,
    groups: Vec<Option<Tri>>,
}

impl<'a> Judge<'a> {
    pub(crate) fn new(set: &'a PolicySet, facts: Facts<'a>) -> Self {
        Self { set, facts, groups: vec![None; set.groups.len()] }
    }

    /// `ANY(include) AND ALL(require) AND NOT ANY(exclude)`, of what is known.
    pub(crate) fn holds(&mut self, rules: &Checked) -> Tri {
        self.settle_groups(rules);
        self.known(rules)
    }

    /// As `holds`, once every group that the rules name is settled.
    fn known(&self, rules: &Checked) -> Tri {
        let any = |list: &[Rule]| list.iter().map(|rule| self.rule(rule)).max().unwrap_or(Tri::No);
        let all = |list: &[Rule]| list.iter().map(|rule| self.rule(rule)).min().unwrap_or(Tri::Yes);
        any(&rules.include).min(all(&rules.require)).min(!any(&rules.exclude))
    }

    fn rule(&self, rule: &Rule) -> Tri {
        match rule.group {
            Some(group) => self.groups.get(group).copied().flatten().unwrap_or(Tri::No),
            None => self.facts.holds(&rule.selector),
        }
    }

    /// Judges the groups that the rules name, those they name first. No recursion: chains of groups may be long.
    fn settle_groups(&mut self, rules: &Checked) {
        let mut stack: Vec<usize> = self.unsettled(rules);
        while let Some(at) = stack.last().copied() {
            let Some(group) = self.set.groups.get(at) else { return };
            let before = self.unsettled(group);
            if before.is_empty() {
                let known = self.known(group);
                if let Some(settled) = self.groups.get_mut(at) {
                    *settled = Some(known);
                }
                stack.pop();
            } else {
                stack.extend(before);
            }
        }
    }

    fn unsettled(&self, rules: &Checked) -> Vec<usize> {
        let open = |group: &usize| self.groups.get(*group).is_some_and(Option::is_none);
        rules.groups().filter(open).collect()
    }

    fn explain(&self, policy: &CheckedPolicy, matched: bool, listed: Option<bool>) -> PolicyTrace {
        let rules = self.explain_rules(&policy.rules, matched);
        let destinations = listed.map(|listed| DestinationTrace { listed, any: !policy.destinations.is_empty() });
        PolicyTrace { policy: policy.rules.name.clone(), action: policy.action, destinations, rules }
    }

    fn explain_groups<'b>(&self, rules: impl Iterator<Item = &'b Checked>) -> Vec<GroupTrace> {
        let mut order: Vec<usize> = Vec::new();
        let mut seen = vec![false; self.groups.len()];
        let mut mention = |order: &mut Vec<usize>, rules: &Checked| {
            for group in rules.groups() {
                if let Some(seen) = seen.get_mut(group).filter(|seen| !**seen) {
                    *seen = true;
                    order.push(group);
                }
            }
        };
        rules.for_each(|rules| mention(&mut order, rules));
        let mut traces = Vec::new();
        let mut next = 0usize;
        while let Some(group) = order.get(next).and_then(|at| self.set.groups.get(*at)) {
            next = next.saturating_add(1);
            mention(&mut order, group);
            let rules = self.explain_rules(group, self.known(group) == Tri::Yes);
            traces.push(GroupTrace { group: group.name.clone(), rules });
        }
        traces
    }

    fn explain_rules(&self, rules: &Checked, matched: bool) -> RulesTrace {
        let list = |rules: &[Rule]| {
            let explain = |rule: &Rule| RuleTrace { rule: rule.selector.clone(), held: self.rule(rule) == Tri::Yes };
            rules.iter().map(explain).collect()
        };
        RulesTrace {
            matched,
            include: list(&rules.include),
            require: list(&rules.require),
            exclude: list(&rules.exclude),
        }
    }
}
