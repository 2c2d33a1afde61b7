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
    /// The policies in the order in which they were judged; the last one may have decided.
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

/// What comes of a policy for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// Its rules do not match.
    NoMatch,
    /// They do, but it does not list the destination.
    OtherDestination,
    /// They do, but it is about some destinations only, and the request is for none.
    ForDestinations,
    /// They do, but it leads to no destination: it is a bypass.
    LeadsNowhere,
    /// They do, but it is for people who are logged in.
    NeedsLogin,
    /// They do, but it is for people.
    ForPeople,
    /// They do, but it is for machines.
    ForMachines,
    /// It decides: refused, since it lists no destinations and one was asked for.
    NoDestinations,
    /// It decides: admitted.
    Allowed,
    /// It decides: admitted without asking who it is.
    Bypassed,
    /// It decides: refused.
    Blocked,
}

impl Outcome {
    /// Whether it decides, so that no later policy is asked.
    pub const fn decides(self) -> bool {
        matches!(self, Self::NoDestinations | Self::Allowed | Self::Bypassed | Self::Blocked)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoMatch => "does not match",
            Self::OtherDestination => "would match, but does not list the destination",
            Self::ForDestinations => "would match, but is about destinations only",
            Self::LeadsNowhere => "would match, but a bypass leads to no destination",
            Self::NeedsLogin => "would match, but nobody is logged in",
            Self::ForPeople => "would match, but is for people",
            Self::ForMachines => "would match, but is for service tokens",
            Self::NoDestinations => "matches, but lists no destinations: refused",
            Self::Allowed => "matches: allowed",
            Self::Bypassed => "matches: open to everybody",
            Self::Blocked => "matches: blocked",
        })
    }
}

/// One policy of a [`Trace`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyTrace {
    /// The policy.
    pub policy: Name,
    /// What it does when it matches.
    pub action: Action,
    /// What comes of it.
    pub outcome: Outcome,
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
    /// What was there instead, for rules about country and time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "application `{}`", self.application)?;
        let bypassed = |policy: &PolicyTrace| policy.outcome == Outcome::Bypassed;
        if self.caller == CallerKind::Nobody && !self.policies.iter().any(bypassed) {
            f.write_str("\n  nobody is logged in, and allow policies admit only people who are")?;
        }
        if self.policies.is_empty() {
            f.write_str("\n  it has no policies")?;
        }
        for PolicyTrace { policy, action, outcome, rules } in &self.policies {
            write!(f, "\n  policy `{policy}` ({action}) {outcome}{}", Lines(rules))?;
        }
        for group in &self.groups {
            let outcome = if group.rules.matched { "matches" } else { "does not match" };
            write!(f, "\n  group `{}` {outcome}{}", group.group, Lines(&group.rules))?;
        }
        for policy in &self.not_reached {
            write!(f, "\n  policy `{policy}` was not reached")?;
        }
        if !self.policies.iter().any(|policy| policy.outcome.decides()) {
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
            for RuleTrace { rule, held, found } in rules {
                write!(f, "\n    {list} {rule}: {}", if *held { "yes" } else { "no" })?;
                found.iter().try_for_each(|found| write!(f, " ({found})"))?;
            }
        }
        Ok(())
    }
}
