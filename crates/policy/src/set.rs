//! Everything declared, checked and indexed.

mod check;
mod cross_site;
mod hosts;

use std::collections::{HashMap, HashSet};

use tunnel_proto::{AppId, DestinationRange, EmailAddress, Hostname, Name};

pub use check::PolicySetError;

use crate::{
    Action, Application, EmailList, Evaluation, Group, IpList, Policy, Rules, Selector, TimeOfWeek, Warning,
    lists::Ranges,
    readings::{Readings, fold, is_plain, readings},
    warning,
};

/// What a [`PolicySet`] is made of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Declarations<'a> {
    /// Reusable lists of e-mail addresses.
    pub email_lists: &'a [EmailList],
    /// Reusable lists of address ranges.
    pub ip_lists: &'a [IpList],
    /// Reusable rule lists.
    pub groups: &'a [Group],
    /// Reusable policies.
    pub policies: &'a [Policy],
    /// What the policies protect.
    pub applications: &'a [Application],
}

/// Lists, groups, policies and applications, checked against each other and indexed. Immutable; replaced whole.
///
/// Looking up an application costs a few hash look-ups by host, however many hosts there are, and a walk over the path
/// patterns declared for that host.
#[derive(Debug)]
pub struct PolicySet {
    pub(crate) email_lists: Vec<HashSet<EmailAddress>>,
    pub(crate) ip_lists: Vec<Ranges>,
    pub(crate) groups: Vec<Checked>,
    pub(crate) policies: Vec<CheckedPolicy>,
    applications: Vec<CheckedApplication>,
    by_id: HashMap<AppId, usize>,
    hosts: hosts::Index,
    /// The groups of providers that any rule names.
    provider_groups: HashSet<String>,
}

/// A named rule list; what it refers to is known to exist, and its groups not to refer to themselves.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) name: Name,
    pub(crate) include: Vec<Rule>,
    pub(crate) require: Vec<Rule>,
    pub(crate) exclude: Vec<Rule>,
}

impl Checked {
    /// The places of the groups that the rules name.
    pub(crate) fn groups(&self) -> impl Iterator<Item = usize> {
        self.all().filter_map(|rule| match rule.refers {
            Some(Referent::Group(at)) => Some(at),
            _ => None,
        })
    }

    /// Every rule of the three lists.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Rule> {
        self.include.iter().chain(&self.require).chain(&self.exclude)
    }
}

/// One rule, and what its selector refers to.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) selector: Selector,
    pub(crate) refers: Option<Referent>,
}

/// Something that a rule refers to, by its place in the set.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Referent {
    Group(usize),
    Emails(usize),
    Ranges(usize),
}

#[derive(Debug)]
pub(crate) struct CheckedPolicy {
    pub(crate) action: Action,
    pub(crate) session: Option<std::time::Duration>,
    pub(crate) destinations: Vec<DestinationRange>,
    pub(crate) rules: Checked,
    /// The rules about time among its own and those of the groups that it refers to, each once.
    pub(crate) times: Vec<TimeOfWeek>,
    /// The evaluations among them, each once.
    pub(crate) evaluations: Vec<Evaluation>,
}

impl CheckedPolicy {
    /// Whether it blocks the way to some destinations, and no more.
    pub(crate) fn blocks_some(&self) -> bool {
        self.action == Action::Block && !self.destinations.is_empty()
    }
}

#[derive(Debug)]
struct CheckedApplication {
    declared: Application,
    policies: Vec<usize>,
}

impl PolicySet {
    /// Checks and indexes. The first thing found that makes no sense is the error; nothing is left out silently.
    pub fn new(declared: Declarations<'_>) -> Result<Self, PolicySetError> {
        let Declarations { email_lists, ip_lists, groups, policies, applications } = declared;
        check::names("e-mail lists", email_lists.iter().map(|list| &list.name))?;
        check::names("IP lists", ip_lists.iter().map(|list| &list.name))?;
        check::names("groups", groups.iter().map(|group| &group.name))?;
        check::names("policies", policies.iter().map(|policy| &policy.name))?;
        check::names("applications", applications.iter().map(|application| &application.name))?;
        check::applications(applications)?;
        let places = check::Places::of(&declared);
        let by_policy: HashMap<&Name, usize> = policies.iter().map(|policy| &policy.name).zip(0..).collect();
        let checked = |kind, name: &Name, rules: &Rules| check::rules(kind, name, rules, &places);
        let mut set = Self {
            email_lists: email_lists.iter().map(|list| list.emails.iter().cloned().collect()).collect(),
            ip_lists: ip_lists.iter().map(|list| Ranges::new(&list.ranges)).collect(),
            groups: groups.iter().map(|g| checked("group", &g.name, &g.rules)).collect::<Result<_, _>>()?,
            policies: policies
                .iter()
                .map(|policy| check::policy(policy, checked("policy", &policy.name, &policy.rules)?))
                .collect::<Result<_, _>>()?,
            applications: applications
                .iter()
                .map(|app| {
                    let policies = check::policies(app, &by_policy)?;
                    Ok(CheckedApplication { declared: app.clone(), policies })
                })
                .collect::<Result<_, _>>()?,
            by_id: applications.iter().map(|application| application.id).zip(0..).collect(),
            hosts: hosts::Index::new(applications),
            provider_groups: HashSet::new(),
        };
        check::cycles(&set.groups)?;
        check::callers(&set.groups, &set.policies)?;
        set.gather();
        let rules = set.groups.iter().chain(set.policies.iter().map(|policy| &policy.rules)).flat_map(Checked::all);
        let named = rules.filter_map(|rule| match &rule.selector {
            Selector::IdpGroup(group) => Some(group.name.as_str().to_owned()),
            _ => None,
        });
        set.provider_groups = named.collect();
        Ok(set)
    }

    /// Has every policy know the rules about time and the evaluations that it depends on.
    fn gather(&mut self) {
        for policy in &mut self.policies {
            let reached = reached(&policy.rules, &self.groups);
            for rule in reached.iter().flat_map(|list| list.all()) {
                match &rule.selector {
                    Selector::TimeOfWeek(time) if !policy.times.contains(time) => policy.times.push(time.clone()),
                    Selector::ExternalEvaluation(evaluation) if !policy.evaluations.contains(evaluation) => {
                        policy.evaluations.push(evaluation.clone());
                    }
                    _ => {}
                }
            }
        }
    }

    /// Whether any rule names this group of a provider.
    pub fn names_provider_group(&self, group: &str) -> bool {
        self.provider_groups.contains(group)
    }

    /// Whether an application has anything at a host, on whatever paths.
    pub fn has_host(&self, host: &Hostname) -> bool {
        !self.hosts.targets(host).is_empty()
    }

    /// The same of an application that names the host itself, and not by a wildcard.
    pub fn names_host(&self, host: &Hostname) -> bool {
        self.hosts.targets(host).has_exact()
    }

    /// The application with this id.
    pub fn application(&self, id: &AppId) -> Option<&Application> {
        self.checked(id).map(|app| &app.declared)
    }

    /// Every application, in the order in which they were declared.
    pub fn applications(&self) -> impl Iterator<Item = &Application> {
        self.applications.iter().map(|app| &app.declared)
    }

    /// Every application that any plausible reading of the path falls under. `raw_path` is the path of the request as it
    /// came, without query. For each reading the most specific host pattern decides, then the most specific path pattern;
    /// nothing is inherited from a less specific application. Applications equally specific are all named.
    pub fn applications_for(&self, host: &Hostname, raw_path: &str) -> Matched<'_> {
        let targets = self.hosts.targets(host);
        let mut all = self.hosts.best(&targets, |path| path.covers(raw_path));
        let raw = all.first().copied();
        // Nearly every path has one reading, and nearly every host is one application's.
        if !targets.have_paths() && is_plain(raw_path.as_bytes()) {
            return self.matched(raw, all, raw.is_none());
        }
        let Readings::All(readings) = readings(raw_path.as_bytes()) else {
            return self.matched(raw, targets.applications(), true);
        };
        let mut uncovered = false;
        for reading in &readings {
            let folded = fold(reading);
            let exact = self.hosts.best(&targets, |path| path.covers_bytes(reading));
            let any_case = self.hosts.best(&targets, |path| path.covers_bytes(reading) || path.covers_folded(&folded));
            uncovered |= exact.is_empty();
            all.extend(exact.into_iter().chain(any_case));
        }
        self.matched(raw, all, uncovered)
    }

    /// Every application that anything at the host falls under: for what is opened whole and has no path. The one to log in
    /// to is that of `/`.
    pub fn applications_of(&self, host: &Hostname) -> Matched<'_> {
        let targets = self.hosts.targets(host);
        let front = self.hosts.best(&targets, |path| path.covers("/"));
        self.matched(front.first().copied(), targets.applications(), false)
    }

    fn matched(&self, raw: Option<usize>, mut all: Vec<usize>, uncovered: bool) -> Matched<'_> {
        let declared = |at: usize| self.applications.get(at).map(|app| &app.declared);
        all.sort_unstable();
        all.dedup();
        let others = all.into_iter().filter(|at| Some(*at) != raw).filter_map(declared).collect();
        Matched { raw: raw.and_then(declared), others, uncovered }
    }

    /// What an administrator should look at twice: what is allowed, but seldom meant.
    pub fn warnings(&self) -> Vec<Warning> {
        warning::of(self)
    }

    /// The policies of an application in the order in which they are judged: those first that ask nobody to log in.
    pub(crate) fn policies_in_order(&self, id: &AppId) -> impl Iterator<Item = &CheckedPolicy> {
        let first = |policy: &&CheckedPolicy| matches!(policy.action, Action::ServiceAuth | Action::Bypass);
        self.policies_of(id).filter(first).chain(self.policies_of(id).filter(move |policy| !first(policy)))
    }

    pub(crate) fn policies_of(&self, id: &AppId) -> impl Iterator<Item = &CheckedPolicy> {
        let policies = self.checked(id).map(|app| app.policies.as_slice()).unwrap_or_default();
        policies.iter().filter_map(|at| self.policies.get(*at))
    }

    fn checked(&self, id: &AppId) -> Option<&CheckedApplication> {
        self.by_id.get(id).and_then(|at| self.applications.get(*at))
    }
}

/// The rule list itself, and those of the groups that it refers to, directly or by way of others, each once.
fn reached<'a>(rules: &'a Checked, groups: &'a [Checked]) -> Vec<&'a Checked> {
    let mut seen = HashSet::new();
    let mut lists = vec![rules];
    let mut next = 0usize;
    while let Some(list) = lists.get(next).copied() {
        next = next.saturating_add(1);
        lists.extend(list.groups().filter(|group| seen.insert(*group)).filter_map(|group| groups.get(group)));
    }
    lists
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
    /// Whether some reading falls under no application at all. Such a request is refused like one without an
    /// application: a server that reads it so would serve what nobody declared.
    pub uncovered: bool,
}

impl<'a> Matched<'a> {
    /// The application to log in to, and every application that must admit (it included); `None` when the request must be
    /// refused because some reading of it falls under no application.
    pub fn required(&self) -> Option<(&'a Application, impl Iterator<Item = &'a Application>)> {
        let raw = self.raw.filter(|_| !self.uncovered)?;
        Some((raw, std::iter::once(raw).chain(self.others.iter().copied())))
    }
}

/// Whether any plausible reading of the path is `/.access`, `/cdn-cgi/access` or below: what the edge answers itself on
/// every host. A path with too many readings to tell counts as reserved.
pub fn is_reserved(raw_path: &str) -> bool {
    let reserved = |reading: &Vec<u8>| {
        let folded = fold(reading);
        RESERVED
            .iter()
            .any(|prefix| folded.strip_prefix(*prefix).is_some_and(|rest| rest.first().is_none_or(|b| *b == b'/')))
    };
    let raw = raw_path.as_bytes();
    if is_plain(raw) {
        // Its one reading is itself, and its letters are those of ASCII.
        let is_below = |prefix: &&[u8]| {
            let (head, rest) = raw.split_at_checked(prefix.len()).unwrap_or_default();
            head.eq_ignore_ascii_case(prefix) && rest.first().is_none_or(|b| *b == b'/')
        };
        return RESERVED.iter().any(is_below);
    }
    match readings(raw) {
        Readings::All(all) => all.iter().any(reserved),
        Readings::Anything => true,
    }
}

/// The paths that the edge answers itself, in folded case.
const RESERVED: [&[u8]; 2] = [b"/.access", b"/cdn-cgi/access"];
