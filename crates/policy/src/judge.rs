//! Judging: who is admitted, who could be, and why.

use std::collections::{HashMap, HashSet};

use tunnel_proto::{EmailAddress, Name, UnixTime};

use crate::{
    Action, Application, Attributes, Caller, CallerKind, Circumstances, Decision, DenyReason, Evaluation, GroupTrace,
    Outcome, PolicySet, PolicyTrace, RuleTrace, RulesTrace, Subject, Trace, Verdict,
    facts::{Fact, Facts, Tri},
    set::{Checked, CheckedPolicy, Referent, Rule},
};

impl PolicySet {
    /// Judges a request for `application`: its `service_auth` and `bypass` policies first, then `allow` and `block`, each
    /// kind in the order of the list. The first that matches decides, and nothing is admitted that no policy matches.
    ///
    /// A `bypass` admits whoever asks, also somebody who has not logged in. Beside that nobody is admitted without an
    /// identity, whatever the rules say: `service_auth` admits machines only, and `allow` people only.
    ///
    /// On the way to a destination, a policy matches only if it lists the destination as well; a block policy that lists
    /// none blocks all of them, an admitting one that lists none leads nowhere, and a bypass has no say.
    ///
    /// The application is looked up by its id; one that is not in this set has no policies.
    pub fn decide(&self, application: &Application, subject: &Subject<'_>) -> Decision {
        let mut judge = Judge::new(self, Facts::of(subject, application.id));
        let mut policies = self.policies_in_order(&application.id);
        let mut judged = Vec::new();
        let mut verdict = None;
        for policy in policies.by_ref() {
            let matched = judge.holds(&policy.rules) == Tri::Yes;
            let outcome = outcome(policy, matched, subject);
            judged.push((policy, matched, outcome));
            let name = || policy.rules.name.clone();
            verdict = match outcome {
                Outcome::Bypassed => Some(Verdict::Bypass { policy: name() }),
                Outcome::Allowed => Some(Verdict::Allow { policy: name(), session: policy.session }),
                Outcome::Blocked => Some(deny(DenyReason::Blocked { policy: name() })),
                Outcome::NoDestinations => Some(deny(DenyReason::NoDestinations { policy: name() })),
                _ => continue,
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
            policies: judged.iter().map(|(policy, matched, how)| judge.explain(policy, *matched, *how)).collect(),
            not_reached: policies.map(|policy| policy.rules.name.clone()).collect(),
        };
        let verdict = match (verdict, subject.caller) {
            (Some(verdict @ Verdict::Bypass { .. }), _) => verdict,
            (Some(verdict), Caller::Person(..) | Caller::Service(_)) => verdict,
            (None, Caller::Person(..) | Caller::Service(_)) => deny(DenyReason::NothingMatched),
            (_, Caller::Nobody) if self.hopeless(application, subject.here) => deny(DenyReason::Hopeless),
            (_, Caller::Nobody) => deny(DenyReason::LoginRequired),
        };
        Decision { verdict, holds_until: self.holds_until(application, subject.here.now), trace }
    }

    /// The next moment at which a rule about time that the application's policies have, or the groups that they refer to,
    /// could change.
    fn holds_until(&self, application: &Application, now: UnixTime) -> Option<UnixTime> {
        let times = self.policies_of(&application.id).flat_map(|policy| &policy.times);
        times.filter_map(|time| time.next_change(now)).min()
    }

    /// Whether an application has a policy by which it may be public: for others nobody has to ask.
    pub fn may_bypass(&self, application: &Application) -> bool {
        self.policies_of(&application.id).any(|policy| policy.action == Action::Bypass)
    }

    /// The evaluations that the application's policies ask for, or the groups that they refer to, each once. They are made
    /// when a person opens the application, and those that say yes are kept among the [`Attributes`].
    pub fn evaluations_of(&self, application: &Application) -> Vec<Evaluation> {
        let mut found: Vec<Evaluation> = Vec::new();
        for evaluation in self.policies_of(&application.id).flat_map(|policy| &policy.evaluations) {
            if !found.contains(evaluation) {
                found.push(evaluation.clone());
            }
        }
        found
    }

    /// Whether this person could be admitted once the application's [evaluations](Self::evaluations_of) are made, whatever
    /// they say: of others nobody needs to be asked. What they said before does not count.
    pub fn may_admit(&self, application: &Application, subject: &Subject<'_>) -> bool {
        let facts = Facts { evaluations: Fact::Unknown, ..Facts::of(subject, application.id) };
        self.could_admit(application, facts)
    }

    /// Whether any admitting policy that matches lists some destination at this port: for others a name is not even looked
    /// up.
    pub fn may_lead(&self, application: &Application, subject: &Subject<'_>, port: u16) -> bool {
        let mut judge = Judge::new(self, Facts::of(subject, application.id));
        self.policies_of(&application.id).any(|policy| {
            matches!(policy.action, Action::Allow | Action::ServiceAuth)
                && policy.destinations.iter().any(|range| range.has_port(port))
                && judge.holds(&policy.rules) == Tri::Yes
        })
    }

    /// Whether a PIN may be sent to this address: the application offers the method, some allow policy could be true of
    /// the address by what a PIN alone can prove, and no block before it certainly applies. A bypass has no say: who is
    /// admitted by it needs no PIN.
    pub fn eligible(
        &self,
        application: &Application,
        email: &EmailAddress,
        here: Circumstances,
        method: &Name,
    ) -> bool {
        let said = Attributes::of_pin();
        application.offers(method) && self.could_admit(application, Facts::of_address(email, method, &said, here))
    }

    /// Whether no login could admit under these circumstances, where no bypass makes one unnecessary; such a visitor is told
    /// so before being asked to log in.
    pub fn hopeless(&self, application: &Application, here: Circumstances) -> bool {
        let facts = Facts::of_stranger(&application.login_methods, here);
        let mut judge = Judge::new(self, facts);
        let bypasses = self.policies_of(&application.id).filter(|policy| policy.action == Action::Bypass);
        let open = bypasses.map(|policy| judge.holds(&policy.rules)).any(|known| known != Tri::No);
        !open && !self.could_admit(application, facts)
    }

    fn could_admit(&self, application: &Application, facts: Facts<'_>) -> bool {
        let mut judge = Judge::new(self, facts);
        for policy in self.policies_of(&application.id) {
            match (policy.action, judge.holds(&policy.rules)) {
                (Action::Allow, Tri::Yes | Tri::Maybe) => return true,
                (Action::Block, Tri::Yes) if !policy.blocks_some() => return false,
                // Neither is about logging in.
                (Action::ServiceAuth | Action::Bypass, _) => {}
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

/// What comes of a policy whose rules match or do not.
fn outcome(policy: &CheckedPolicy, matched: bool, subject: &Subject<'_>) -> Outcome {
    let listed = subject.destination.map(|to| policy.destinations.iter().any(|range| range.contains(to)));
    // A list of destinations narrows what the policy is about; an admitting policy without one leads nowhere.
    let bare = listed.is_some() && policy.destinations.is_empty();
    match (policy.action, subject.caller) {
        _ if !matched => Outcome::NoMatch,
        (Action::Bypass, _) if listed.is_some() => Outcome::LeadsNowhere,
        // One that blocks some destinations says nothing where there is none yet, or never will be.
        _ if listed.is_none() && policy.blocks_some() => Outcome::ForDestinations,
        _ if listed == Some(false) && !bare => Outcome::OtherDestination,
        (Action::Bypass, _) => Outcome::Bypassed,
        (Action::Block, _) => Outcome::Blocked,
        (Action::Allow, Caller::Nobody) => Outcome::NeedsLogin,
        (Action::Allow, Caller::Service(_)) => Outcome::ForPeople,
        (Action::ServiceAuth, Caller::Nobody | Caller::Person(..)) => Outcome::ForMachines,
        (Action::Allow, Caller::Person(..)) | (Action::ServiceAuth, Caller::Service(_)) if bare => {
            Outcome::NoDestinations
        }
        (Action::Allow, Caller::Person(..)) | (Action::ServiceAuth, Caller::Service(_)) => Outcome::Allowed,
    }
}

/// Holds rules against facts, each group at most once: groups that refer to groups would else multiply.
pub(crate) struct Judge<'a> {
    set: &'a PolicySet,
    facts: Facts<'a>,
    /// Those that were looked at, by their place in the set: of many groups a decision needs few.
    groups: HashMap<usize, Tri>,
}

impl<'a> Judge<'a> {
    pub(crate) fn new(set: &'a PolicySet, facts: Facts<'a>) -> Self {
        Self { set, facts, groups: HashMap::new() }
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
        match rule.refers {
            Some(Referent::Group(at)) => self.groups.get(&at).copied().unwrap_or(Tri::No),
            Some(Referent::Emails(at)) => {
                let listed = |email| self.set.email_lists.get(at).is_some_and(|list| list.contains(email));
                self.facts.email.is(listed)
            }
            Some(Referent::Ranges(at)) => {
                self.set.ip_lists.get(at).is_some_and(|ranges| self.facts.source.is_in(ranges)).into()
            }
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
                self.groups.insert(at, known);
                stack.pop();
            } else {
                stack.extend(before);
            }
        }
    }

    fn unsettled(&self, rules: &Checked) -> Vec<usize> {
        let open = |group: &usize| !self.groups.contains_key(group);
        rules.groups().filter(open).collect()
    }

    fn explain(&self, policy: &CheckedPolicy, matched: bool, outcome: Outcome) -> PolicyTrace {
        let rules = self.explain_rules(&policy.rules, matched);
        PolicyTrace { policy: policy.rules.name.clone(), action: policy.action, outcome, rules }
    }

    fn explain_groups<'b>(&self, rules: impl Iterator<Item = &'b Checked>) -> Vec<GroupTrace> {
        let mut order: Vec<usize> = Vec::new();
        let mut seen = HashSet::new();
        let mut mention =
            |order: &mut Vec<usize>, rules: &Checked| order.extend(rules.groups().filter(|group| seen.insert(*group)));
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
            let explain = |rule: &Rule| RuleTrace {
                rule: rule.selector.clone(),
                held: self.rule(rule) == Tri::Yes,
                found: self.facts.found(&rule.selector),
            };
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
