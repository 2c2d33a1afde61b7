//! What makes no sense is refused when written.

use std::collections::{HashMap, HashSet};

use tunnel_proto::{HostPattern, Name};

use super::{Checked, CheckedPolicy, Rule, is_reserved};
use crate::{Action, Application, PathPattern, Rules, Selector};

/// Why a set was refused. The configuration is at fault; every variant names where.
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
    /// Two applications have the same id.
    #[error("applications `{first}` and `{second}` have the same id")]
    SameId {
        /// One application.
        first: Name,
        /// The other one.
        second: Name,
    },
    /// A rule names a group that does not exist.
    #[error("{kind} `{name}` refers to group `{group}`, which does not exist")]
    UnknownGroup {
        /// `group` or `policy`.
        kind: &'static str,
        /// The group or policy with the rule.
        name: Name,
        /// The group that is missing.
        group: Name,
    },
    /// An application names a policy that does not exist.
    #[error("application `{application}` refers to policy `{policy}`, which does not exist")]
    UnknownPolicy {
        /// The application.
        application: Name,
        /// The policy that is missing.
        policy: Name,
    },
    /// An application names a policy twice.
    #[error("application `{application}` names policy `{policy}` twice")]
    RepeatedPolicy {
        /// The application.
        application: Name,
        /// The policy.
        policy: Name,
    },
    /// A group refers to itself, directly or by way of others.
    #[error("groups refer to each other in a circle: {}", Circle(.0))]
    Circle(Vec<Name>),
    /// A policy for people, or a group that it refers to, names service tokens, or one for machines asks who somebody is.
    #[error("policy `{policy}` ({action}) names {selector}, which {}", .action.cannot_know())]
    WrongCaller {
        /// The policy.
        policy: Name,
        /// What it does.
        action: Action,
        /// The rule.
        selector: Selector,
    },
    /// A rule list without include rules matches nobody.
    #[error("{kind} `{name}` has no include rule and so would match nobody")]
    NoInclude {
        /// `group` or `policy`.
        kind: &'static str,
        /// The group or policy.
        name: Name,
    },
    /// An application without a hostname.
    #[error("application `{0}` has no hostname")]
    NoTarget(Name),
    /// Two applications, or one twice, claim the same hostname and path.
    #[error("`{host}{}` is claimed by application `{first}` and by `{second}`", .path.as_ref().map(PathPattern::as_str).unwrap_or_default())]
    Claimed {
        /// The hostnames.
        host: HostPattern,
        /// The paths.
        path: Option<PathPattern>,
        /// The application declared first.
        first: Name,
        /// The application declared second; the same one, when it names the target twice.
        second: Name,
    },
    /// An application names a path that the edge answers itself.
    #[error("application `{application}` names `{path}`, which belongs to the edge itself")]
    Reserved {
        /// The application.
        application: Name,
        /// The path.
        path: PathPattern,
    },
}

/// Names in a circle, the first one again at the end.
struct Circle<'a>(&'a [Name]);

impl std::fmt::Display for Circle<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|name| write!(f, "`{name}` → "))?;
        self.0.first().map_or(Ok(()), |first| write!(f, "`{first}`"))
    }
}

impl Action {
    const fn cannot_know(self) -> &'static str {
        match self {
            Self::Allow | Self::Block => "people do not have: service tokens belong into `service_auth` policies",
            Self::ServiceAuth => "service tokens do not have: people belong into `allow` policies",
        }
    }
}

/// Refuses two equal names.
pub(super) fn names<'a>(kind: &'static str, names: impl Iterator<Item = &'a Name>) -> Result<(), PolicySetError> {
    let mut seen = HashSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(PolicySetError::Duplicate { kind, name: name.clone() });
        }
    }
    Ok(())
}

/// Refuses applications that share an id or a target, have none, or reach for what is the edge's own.
pub(super) fn applications(applications: &[Application]) -> Result<(), PolicySetError> {
    let mut ids = HashMap::new();
    let mut targets = HashMap::new();
    for app in applications {
        if let Some(first) = ids.insert(app.id, &app.name) {
            return Err(PolicySetError::SameId { first: first.clone(), second: app.name.clone() });
        }
        if app.targets.is_empty() {
            return Err(PolicySetError::NoTarget(app.name.clone()));
        }
        for target in &app.targets {
            let path = target.path.as_ref().filter(|path| !path.is_root());
            if let Some(path) = path.filter(|path| is_reserved(path.as_str())) {
                return Err(PolicySetError::Reserved { application: app.name.clone(), path: path.clone() });
            }
            if let Some(first) = targets.insert((&target.host, path), &app.name) {
                return Err(PolicySetError::Claimed {
                    host: target.host.clone(),
                    path: path.cloned(),
                    first: first.clone(),
                    second: app.name.clone(),
                });
            }
        }
    }
    Ok(())
}

/// Resolves the groups that a rule list names.
pub(super) fn rules(
    kind: &'static str,
    name: &Name,
    rules: &Rules,
    groups: &HashMap<&Name, usize>,
) -> Result<Checked, PolicySetError> {
    if rules.include.is_empty() {
        return Err(PolicySetError::NoInclude { kind, name: name.clone() });
    }
    let list = |selectors: &[Selector]| {
        let rule = |selector: &Selector| {
            let group = match selector {
                Selector::Group(group) => Some(*groups.get(group).ok_or_else(|| PolicySetError::UnknownGroup {
                    kind,
                    name: name.clone(),
                    group: group.clone(),
                })?),
                _ => None,
            };
            Ok(Rule { selector: selector.clone(), group })
        };
        selectors.iter().map(rule).collect::<Result<Vec<_>, PolicySetError>>()
    };
    Ok(Checked {
        name: name.clone(),
        include: list(&rules.include)?,
        require: list(&rules.require)?,
        exclude: list(&rules.exclude)?,
    })
}

/// Resolves the policies that an application names.
pub(super) fn policies(app: &Application, policies: &HashMap<&Name, usize>) -> Result<Vec<usize>, PolicySetError> {
    let mut seen = HashSet::new();
    let place = |policy: &Name| {
        let application = app.name.clone();
        if !seen.insert(policy.clone()) {
            return Err(PolicySetError::RepeatedPolicy { application, policy: policy.clone() });
        }
        policies
            .get(policy)
            .copied()
            .ok_or_else(|| PolicySetError::UnknownPolicy { application, policy: policy.clone() })
    };
    app.policies.iter().map(place).collect()
}

/// Refuses policies whose rules, or those of a group that they refer to, can never hold of whom the policy is about.
pub(super) fn callers(groups: &[Checked], policies: &[CheckedPolicy]) -> Result<(), PolicySetError> {
    for policy in policies {
        let mut seen = HashSet::new();
        let mut lists = vec![&policy.rules];
        while let Some(list) = lists.pop() {
            for rule in list.include.iter().chain(&list.require).chain(&list.exclude) {
                let wrong = match &rule.selector {
                    Selector::ServiceToken(_) | Selector::AnyServiceToken => policy.action != Action::ServiceAuth,
                    Selector::Email(_) | Selector::EmailDomain(_) | Selector::LoginMethod(_) => {
                        policy.action == Action::ServiceAuth
                    }
                    Selector::Ip(_) | Selector::Everyone | Selector::Group(_) => false,
                };
                if wrong {
                    let (name, selector) = (policy.rules.name.clone(), rule.selector.clone());
                    return Err(PolicySetError::WrongCaller { policy: name, action: policy.action, selector });
                }
            }
            lists.extend(list.groups().filter(|group| seen.insert(*group)).filter_map(|group| groups.get(group)));
        }
    }
    Ok(())
}

/// Refuses groups that refer to themselves. The walk keeps its own stack: a long chain of groups must not exhaust ours.
pub(super) fn cycles(groups: &[Checked]) -> Result<(), PolicySetError> {
    let referred = |at: usize| -> Vec<usize> { groups.get(at).into_iter().flat_map(Checked::groups).collect() };
    let mut done = HashSet::new();
    for start in 0..groups.len() {
        let mut path = vec![(start, referred(start))];
        while let Some((at, left)) = path.last_mut() {
            let at = *at;
            match left.pop() {
                None => {
                    done.insert(at);
                    path.pop();
                }
                Some(next) if done.contains(&next) => {}
                Some(next) => {
                    if let Some(from) = path.iter().position(|(on_path, _)| *on_path == next) {
                        let circle = path.iter().skip(from).filter_map(|(at, _)| groups.get(*at));
                        return Err(PolicySetError::Circle(circle.map(|group| group.name.clone()).collect()));
                    }
                    path.push((next, referred(next)));
                }
            }
        }
    }
    Ok(())
}
