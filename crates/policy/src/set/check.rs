//! What makes no sense is refused when written.

use std::collections::{HashMap, HashSet};

use tunnel_proto::{HostPattern, Name};

use super::{Checked, CheckedPolicy, Declarations, Referent, Rule, is_reserved, reached};
use crate::{Action, Application, PathPattern, Policy, Rules, Selector};

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
    /// A rule names a list that does not exist.
    #[error("{kind} `{name}` refers to {what} `{list}`, which does not exist")]
    UnknownList {
        /// `group` or `policy`.
        kind: &'static str,
        /// The group or policy with the rule.
        name: Name,
        /// `e-mail list` or `IP list`.
        what: &'static str,
        /// The list that is missing.
        list: Name,
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
    /// A policy for people, or a group that it refers to, names service tokens; one for machines asks who somebody is, or one
    /// for anybody does either.
    #[error("policy `{policy}` ({action}) names {selector}, which {}", .action.cannot_know())]
    WrongCaller {
        /// The policy.
        policy: Name,
        /// What it does.
        action: Action,
        /// The rule.
        selector: Selector,
    },
    /// A bypass says something that makes sense only for those who are known.
    #[error("policy `{policy}` is a bypass, which asks nobody who they are: `{field}` means nothing there")]
    MeaninglessInBypass {
        /// The policy.
        policy: Name,
        /// What it says.
        field: &'static str,
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
            Self::Bypass => {
                "nobody is asked for under a bypass: people belong into `allow` policies, service tokens into `service_auth` \
                 policies"
            }
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

/// Where everything is that a rule may refer to.
pub(super) struct Places<'a> {
    groups: HashMap<&'a Name, usize>,
    email_lists: HashMap<&'a Name, usize>,
    ip_lists: HashMap<&'a Name, usize>,
}

impl<'a> Places<'a> {
    pub(super) fn of(declared: &Declarations<'a>) -> Self {
        Self {
            groups: declared.groups.iter().map(|group| &group.name).zip(0..).collect(),
            email_lists: declared.email_lists.iter().map(|list| &list.name).zip(0..).collect(),
            ip_lists: declared.ip_lists.iter().map(|list| &list.name).zip(0..).collect(),
        }
    }
}

/// Resolves what a rule list refers to.
pub(super) fn rules(
    kind: &'static str,
    name: &Name,
    rules: &Rules,
    places: &Places<'_>,
) -> Result<Checked, PolicySetError> {
    if rules.include.is_empty() {
        return Err(PolicySetError::NoInclude { kind, name: name.clone() });
    }
    let no_group = |group: &Name| PolicySetError::UnknownGroup { kind, name: name.clone(), group: group.clone() };
    let no_list =
        |what, list: &Name| PolicySetError::UnknownList { kind, name: name.clone(), what, list: list.clone() };
    let list = |selectors: &[Selector]| {
        let rule = |selector: &Selector| {
            let at = |places: &HashMap<&Name, usize>, name: &Name| places.get(name).copied();
            let refers = match selector {
                Selector::Group(group) => {
                    Some(Referent::Group(at(&places.groups, group).ok_or_else(|| no_group(group))?))
                }
                Selector::EmailList(list) => {
                    let place = at(&places.email_lists, list).ok_or_else(|| no_list("e-mail list", list))?;
                    Some(Referent::Emails(place))
                }
                Selector::IpList(list) => {
                    let place = at(&places.ip_lists, list).ok_or_else(|| no_list("IP list", list))?;
                    Some(Referent::Ranges(place))
                }
                _ => None,
            };
            Ok(Rule { selector: selector.clone(), refers })
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

/// Refuses what means nothing under a policy's action.
pub(super) fn policy(policy: &Policy, rules: Checked) -> Result<CheckedPolicy, PolicySetError> {
    if policy.action == Action::Bypass {
        let fields = [
            ("destinations", !policy.destinations.is_empty()),
            ("session_duration", policy.session_duration.is_some()),
        ];
        if let Some((field, _)) = fields.into_iter().find(|(_, said)| *said) {
            return Err(PolicySetError::MeaninglessInBypass { policy: policy.name.clone(), field });
        }
    }
    Ok(CheckedPolicy {
        action: policy.action,
        session: policy.session_duration,
        destinations: policy.destinations.clone(),
        rules,
        times: Vec::new(),
        evaluations: Vec::new(),
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
        let wrong = |rule: &&Rule| !policy.action.may_ask(&rule.selector);
        if let Some(rule) = reached(&policy.rules, groups).iter().flat_map(|list| list.all()).find(wrong) {
            let (name, selector) = (policy.rules.name.clone(), rule.selector.clone());
            return Err(PolicySetError::WrongCaller { policy: name, action: policy.action, selector });
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
