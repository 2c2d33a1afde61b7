//! The explanation of a decision, rule by rule.

use std::fmt;

use serde::Serialize;
use tunnel_proto::Name;

use crate::{Action, Selector};

/// How a decision came about. `Display` writes it in English, several lines, without a final newline; serde for JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trace {
    /// The application that was asked for.
    pub application: Name,
    /// What asked. An allow policy admits people only and a service_auth policy machines only, even when its rules hold.
    pub caller: CallerKind,
    /// The policies in the order in which they were judged; the last one decided, if any matched.
    pub policies: Vec<PolicyTrace>,
    /// Every group that the rules above refer to, each once, in the order of first mention.
    pub groups: Vec<GroupTrace>,
    /// Policies that were not reached because an earlier one decided.
    pub not_reached: Vec<Name>,
}

/// What asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CallerKind {
    /// Somebody who had not logged in.
    Nobody,
    /// A person who had.
    Person,
    /// A machine with a service token.
    Service,
}

/// What a policy's destinations say about the one that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DestinationTrace {
    /// Whether the destination is among them.
    pub listed: bool,
    /// Whether there are any.
    pub any: bool,
}

/// One policy of a [`Trace`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyTrace {
    /// The policy.
    pub policy: Name,
    /// What it does when it matches.
    pub action: Action,
    /// What its destinations say, where one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destinations: Option<DestinationTrace>,
    /// Its rules.
    #[serde(flatten)]
    pub rules: RulesTrace,
}

/// One group of a [`Trace`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupTrace {
    /// The group.
    pub group: Name,
    /// Its rules.
    #[serde(flatten)]
    pub rules: RulesTrace,
}

/// What became of a rule list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RulesTrace {
    /// `ANY(include) AND ALL(require) AND NOT ANY(exclude)`.
    pub matched: bool,
    /// The include rules.
    pub include: Vec<RuleTrace>,
    /// The require rules.
    pub require: Vec<RuleTrace>,
    /// The exclude rules.
    pub exclude: Vec<RuleTrace>,
}

/// What became of one rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleTrace {
    /// The rule.
    pub rule: Selector,
    /// Whether it held.
    pub held: bool,
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "application `{}`", self.application)?;
        if self.caller == CallerKind::Nobody {
            f.write_str("\n  nobody is logged in, and allow policies admit only people who are")?;
        }
        if self.policies.is_empty() {
            f.write_str("\n  it has no policies")?;
        }
        for policy in &self.policies {
            let outcome = match (policy.rules.matched, policy.action, self.caller) {
                (false, ..) => "does not match",
                _ if policy.destinations.is_some_and(|to| to.any && !to.listed) => {
                    "would match, but does not list the destination"
                }
                (true, Action::Allow, CallerKind::Nobody) => "would match, but nobody is logged in",
                (true, Action::Allow, CallerKind::Service) => "would match, but is for people",
                (true, Action::ServiceAuth, CallerKind::Nobody | CallerKind::Person) => {
                    "would match, but is for service tokens"
                }
                (true, Action::Block, _) => "matches: blocked",
                (true, ..) if policy.destinations.is_some_and(|to| !to.any) => {
                    "matches, but lists no destinations: refused"
                }
                (true, Action::Allow | Action::ServiceAuth, _) => "matches: allowed",
            };
            let action = policy.action;
            write!(f, "\n  policy `{}` ({action}) {outcome}{}", policy.policy, Lines(&policy.rules))?;
        }
        for group in &self.groups {
            let outcome = if group.rules.matched { "matches" } else { "does not match" };
            write!(f, "\n  group `{}` {outcome}{}", group.group, Lines(&group.rules))?;
        }
        for policy in &self.not_reached {
            write!(f, "\n  policy `{policy}` was not reached")?;
        }
        let decides =
            |last: &PolicyTrace| last.rules.matched && last.destinations.is_none_or(|to| to.listed || !to.any);
        if self.not_reached.is_empty() && !self.policies.last().is_some_and(decides) {
            f.write_str("\n  no policy matched: denied by default")?;
        }
        Ok(())
    }
}

/// A rule list, one line for each rule.
struct Lines<'a>(&'a RulesTrace);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lists = [("include", &self.0.include), ("require", &self.0.require), ("exclude", &self.0.exclude)];
        for (list, rules) in lists {
            for RuleTrace { rule, held } in rules {
                write!(f, "\n    {list} {rule}: {}", if *held { "yes" } else { "no" })?;
            }
        }
        Ok(())
    }
}
