//! From the tree of a file to what it declares. Everything wrong is reported, not only the first thing.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    time::Duration,
};

use ipnet::IpNet;
use tunnel_policy::{Action, AssertionAlgorithm, Cors, PolicySetError, SameSite, Target};
use tunnel_proto::{DestinationRange, EmailAddress, HostPattern, Name};

use super::{
    cors,
    fields::{At, Fields, Keys, Reader},
    methods::{self, MethodText},
    problem::Problem,
    rules::{RulesText, rules},
    scalar, sessions,
    yaml::{self, Node, Place, Value},
};
use crate::store::SessionSettings;

/// What a file declares. A section that the file does not have is `None`.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) sessions: Option<SessionSettings>,
    pub(super) login_methods: Option<Vec<Item<MethodText>>>,
    pub(super) email_lists: Option<Vec<Item<Vec<EmailAddress>>>>,
    pub(super) ip_lists: Option<Vec<Item<Vec<IpNet>>>>,
    pub(super) groups: Option<Vec<Item<RulesText>>>,
    pub(super) policies: Option<Vec<Item<PolicyText>>>,
    pub(super) applications: Option<Vec<Item<ApplicationText>>>,
    pub(super) tunnels: Option<Vec<Item<TunnelText>>>,
}

/// A named thing and where its name stands.
#[derive(Debug)]
pub(super) struct Item<T> {
    pub(super) name: At<Name>,
    pub(super) body: T,
}

#[derive(Debug)]
pub(super) struct PolicyText {
    pub(super) action: Action,
    pub(super) rules: RulesText,
    pub(super) session_duration: Option<Duration>,
    pub(super) destinations: Vec<DestinationRange>,
}

#[derive(Debug)]
pub(super) struct ApplicationText {
    pub(super) targets: Vec<At<Target>>,
    pub(super) login_methods: Vec<At<Name>>,
    pub(super) policies: Vec<At<Name>>,
    pub(super) websocket_origins: Vec<String>,
    pub(super) upgrades: Vec<String>,
    pub(super) compatible_headers: bool,
    pub(super) device_login: bool,
    pub(super) session_duration: Option<Duration>,
    pub(super) session_idle: Option<Duration>,
    pub(super) assertion: AssertionAlgorithm,
    pub(super) same_site: SameSite,
    pub(super) cors: Option<Cors>,
}

#[derive(Debug)]
pub(super) struct TunnelText {
    /// `None` leaves the routes as they are.
    pub(super) hostnames: Option<Vec<At<HostPattern>>>,
}

const SECTIONS: Keys = Keys {
    known: &["sessions", "login_methods", "email_lists", "ip_lists", "groups", "policies", "applications", "tunnels"],
    later: &["service_tokens"],
};
const EMAIL_LIST: Keys = Keys { known: &["name", "emails"], later: &[] };
const IP_LIST: Keys = Keys { known: &["name", "ips"], later: &[] };
const GROUP: Keys = Keys { known: &["name", "include", "require", "exclude"], later: &[] };
const POLICY: Keys = Keys {
    known: &["name", "action", "include", "require", "exclude", "session_duration", "destinations"],
    later: &["purpose_justification", "approval_required", "mfa"],
};
const APPLICATION: Keys = Keys {
    known: &[
        "name",
        "hostnames",
        "login_methods",
        "policies",
        "websocket_origins",
        "upgrades",
        "compatible_headers",
        "device_login",
        "session_duration",
        "session_idle",
        "assertion",
        "same_site",
        "cors",
    ],
    later: &["service_tokens"],
};
/// The most protocols that an application may list.
const UPGRADES_MAX: usize = 8;
const TUNNEL: Keys = Keys { known: &["name", "hostnames"], later: &["rules", "services"] };

/// Reads a file.
pub(super) fn file(text: &str) -> Result<File, Vec<Problem>> {
    let tree = yaml::read(text).map_err(|(at, said)| vec![Problem::new(at, format!("this is not YAML: {said}"))])?;
    let mut read = Reader::default();
    let file = read.file(&tree).unwrap_or_default();
    if read.problems.is_empty() { Ok(file) } else { Err(read.problems) }
}

impl File {
    /// Gives a problem that has no place the place of what it names in backticks, the last one that the file declares.
    pub(super) fn locate(&self, problem: Problem) -> Problem {
        let named = |name: &At<Name>| problem.text.contains(&format!("`{}`", name.value)).then_some(name.at);
        let email_lists = self.email_lists.iter().flatten().map(|item| &item.name);
        let lists = email_lists.chain(self.ip_lists.iter().flatten().map(|item| &item.name));
        let groups = self.groups.iter().flatten().map(|item| &item.name);
        let policies = self.policies.iter().flatten().map(|item| &item.name);
        let applications = self.applications.iter().flatten().map(|item| &item.name);
        let tunnels = self.tunnels.iter().flatten().map(|item| &item.name);
        let place = match problem.at {
            Some(_) => None,
            None => lists.chain(groups).chain(policies).chain(applications).chain(tunnels).filter_map(named).max(),
        };
        place.map(|place| Problem::at(place, problem.text.clone())).unwrap_or(problem)
    }
}

impl Reader {
    fn file(&mut self, tree: &Node) -> Option<File> {
        if matches!(tree.value, Value::Null) {
            return self.wrong(tree.at, "the file declares nothing");
        }
        let fields = self.fields(tree, "the file", &SECTIONS)?;
        Some(File {
            sessions: sessions::sessions(self, &fields),
            login_methods: self.section(&fields, "login_methods", "login method", methods::read),
            email_lists: self.section(&fields, "email_lists", "e-mail list", Self::email_list),
            ip_lists: self.section(&fields, "ip_lists", "IP list", Self::ip_list),
            groups: self.section(&fields, "groups", "group", Self::group),
            policies: self.section(&fields, "policies", "policy", Self::policy),
            applications: self.section(&fields, "applications", "application", Self::application),
            tunnels: self.section(&fields, "tunnels", "tunnel", Self::tunnel),
        })
    }

    fn section<T>(
        &mut self,
        file: &Fields<'_>,
        key: &str,
        what: &str,
        item: impl Fn(&mut Self, &Node, &str) -> Option<Item<T>>,
    ) -> Option<Vec<Item<T>>> {
        let nodes = self.list(file.get(key)?, key)?;
        let (mut items, mut first): (Vec<Item<T>>, HashMap<Name, Place>) = Default::default();
        for node in nodes {
            let Some(item) = item(self, node, what) else { continue };
            if let Some(Place { line, .. }) = first.get(&item.name.value) {
                let article = if what.starts_with(['a', 'e', 'I']) { "an" } else { "a" };
                let text = format!("there is {article} {what} named `{}` already, on line {line}", item.name.value);
                self.problems.push(Problem::at(item.name.at, text));
            } else {
                first.insert(item.name.value.clone(), item.name.at);
            }
            items.push(item);
        }
        Some(items)
    }

    fn email_list(&mut self, node: &Node, what: &str) -> Option<Item<Vec<EmailAddress>>> {
        let fields = self.fields(node, what, &EMAIL_LIST)?;
        let (name, emails) = (self.name(&fields), self.required(&fields, "emails"));
        let emails = self.once(emails?, "emails", |text| text.parse().map_err(|error| format!("`{text}`: {error}")));
        Some(Item { name: name?, body: emails? })
    }

    fn ip_list(&mut self, node: &Node, what: &str) -> Option<Item<Vec<IpNet>>> {
        let fields = self.fields(node, what, &IP_LIST)?;
        let (name, ips) = (self.name(&fields), self.required(&fields, "ips"));
        let ranges = self.once(ips?, "ips", scalar::range);
        Some(Item { name: name?, body: ranges? })
    }

    /// The values of a list that may be long, each of which stands there once.
    pub(super) fn once<T: Clone + Eq + Hash>(
        &mut self,
        node: &Node,
        what: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let values = self.many(node, what, read)?;
        let mut seen = HashSet::new();
        for At { at, value } in &values {
            if !seen.insert(value) {
                self.problems.push(Problem::at(*at, format!("`{what}` has this twice")));
            }
        }
        Some(values.iter().map(|value| value.value.clone()).collect())
    }

    fn group(&mut self, node: &Node, what: &str) -> Option<Item<RulesText>> {
        let fields = self.fields(node, what, &GROUP)?;
        let (name, body) = (self.own_name(&fields, what), rules(self, &fields));
        Some(Item { name: name?, body: body? })
    }

    fn policy(&mut self, node: &Node, what: &str) -> Option<Item<PolicyText>> {
        let fields = self.fields(node, what, &POLICY)?;
        let name = self.own_name(&fields, what);
        let action = self.required(&fields, "action").and_then(|node| {
            let text = self.text(node, "action")?;
            match text {
                "allow" => Some(Action::Allow),
                "block" => Some(Action::Block),
                "bypass" => Some(Action::Bypass),
                "service_auth" => Some(Action::ServiceAuth),
                other => self.choice(node.at, "action", other, &["allow", "block", "bypass", "service_auth"], &[]),
            }
        });
        let rules = rules(self, &fields);
        let session_duration = sessions::optional(self, &fields, "session_duration", scalar::session);
        let destinations = fields.get("destinations");
        let destinations =
            destinations.map_or(Some(Vec::new()), |node| self.many(node, "destinations", scalar::destinations));
        if let (Some(name), Some(action), Some(rules)) = (&name, action, &rules) {
            self.policy_makes_sense(&name.value, action, rules, &fields);
        }
        Some(Item {
            name: name?,
            body: PolicyText {
                action: action?,
                rules: rules?,
                session_duration: session_duration?,
                destinations: destinations?.into_iter().map(|range| range.value).collect(),
            },
        })
    }

    /// Refuses where it stands what would be refused of the policy as a whole.
    fn policy_makes_sense(&mut self, name: &Name, action: Action, rules: &RulesText, fields: &Fields<'_>) {
        for At { at, value } in rules.all().filter(|rule| !action.may_ask(&rule.value)) {
            let error = PolicySetError::WrongCaller { policy: name.clone(), action, selector: value.clone() };
            self.problems.push(Problem::at(*at, error.to_string()));
        }
        for field in ["destinations", "session_duration"].into_iter().filter(|_| action == Action::Bypass) {
            if let Some(node) = fields.get(field) {
                let error = PolicySetError::MeaninglessInBypass { policy: name.clone(), field };
                self.problems.push(Problem::at(node.at, error.to_string()));
            }
        }
    }

    fn application(&mut self, node: &Node, what: &str) -> Option<Item<ApplicationText>> {
        let fields = self.fields(node, what, &APPLICATION)?;
        let name = self.name(&fields);
        let hostnames = self.required(&fields, "hostnames");
        let targets = hostnames.map(|node| self.many(node, "hostnames", scalar::target));
        if let Some(Node { at, value: Value::List(list) }) = hostnames
            && list.is_empty()
        {
            self.problems.push(Problem::at(*at, "an application has at least one hostname"));
        }
        let policies = self.required(&fields, "policies").and_then(|node| self.names(node, "policies"));
        let login_methods =
            fields.get("login_methods").map_or(Some(Vec::new()), |node| self.names(node, "login_methods"));
        let origins = fields.get("websocket_origins");
        let origins = origins.map_or(Some(Vec::new()), |node| self.many(node, "websocket_origins", scalar::origin));
        let upgrades = fields.get("upgrades").map_or(Some(Vec::new()), |node| self.upgrades(node));
        let mut switch = |name: &str| {
            fields.get(name).map_or(Some(true), |node| match node.value {
                Value::Bool(value) => Some(value),
                _ => self.wrong(node.at, format!("`{name}` is true or false, not {}", node.value.kind())),
            })
        };
        let (compatible_headers, device_login) = (switch("compatible_headers"), switch("device_login"));
        let session_duration = sessions::optional(self, &fields, "session_duration", scalar::session);
        let session_idle = sessions::idle(self, &fields, "session_idle", session_duration.flatten());
        let assertion = fields.get("assertion").map_or(Some(AssertionAlgorithm::default()), |node| {
            match self.text(node, "assertion")? {
                "es256" => Some(AssertionAlgorithm::Es256),
                "rs256" => Some(AssertionAlgorithm::Rs256),
                other => self.choice(node.at, "assertion", other, &["es256", "rs256"], &[]),
            }
        });
        let same_site =
            fields.get("same_site").map_or(Some(SameSite::default()), |node| match self.text(node, "same_site")? {
                "lax" => Some(SameSite::Lax),
                "strict" => Some(SameSite::Strict),
                "none" => Some(SameSite::None),
                other => self.choice(node.at, "same_site", other, &["lax", "strict", "none"], &[]),
            });
        let cors = cors::cors(self, &fields);
        Some(Item {
            name: name?,
            body: ApplicationText {
                targets: targets??,
                login_methods: login_methods?,
                policies: policies?,
                websocket_origins: origins?.into_iter().map(|origin| origin.value).collect(),
                upgrades: upgrades?,
                compatible_headers: compatible_headers?,
                device_login: device_login?,
                session_duration: session_duration?,
                session_idle: session_idle?,
                assertion: assertion?,
                same_site: same_site?,
                cors: cors?,
            },
        })
    }

    fn upgrades(&mut self, node: &Node) -> Option<Vec<String>> {
        let mut upgrades: Vec<String> = Vec::new();
        for At { at, value } in self.many(node, "upgrades", scalar::upgrade)? {
            if upgrades.iter().any(|other| other.eq_ignore_ascii_case(&value)) {
                return self.wrong(at, "`upgrades` has this twice");
            }
            upgrades.push(value);
        }
        match upgrades.len() > UPGRADES_MAX {
            true => self.wrong(node.at, format!("`upgrades` has more than {UPGRADES_MAX} protocols")),
            false => Some(upgrades),
        }
    }

    fn tunnel(&mut self, node: &Node, what: &str) -> Option<Item<TunnelText>> {
        let fields = self.fields(node, what, &TUNNEL)?;
        let name = self.name(&fields);
        let hostname = |text: &str| match text.contains('/') && !text.contains("://") {
            true => Err(format!("`{text}`: a tunnel serves whole hostnames; paths belong to applications")),
            false => scalar::host_pattern(text),
        };
        let hostnames = fields.get("hostnames").map(|node| self.many(node, "hostnames", hostname));
        let hostnames = hostnames.map_or(Some(None), |read| read.map(Some));
        Some(Item { name: name?, body: TunnelText { hostnames: hostnames? } })
    }

    /// The name of something that also exists built in, under one name.
    fn own_name(&mut self, fields: &Fields<'_>, what: &str) -> Option<At<Name>> {
        let name = self.name(fields)?;
        if name.value != crate::snapshot::administrators() {
            return Some(name);
        }
        self.wrong(
            name.at,
            format!("the {what} `administrators` is built in and cannot be declared; choose another name"),
        )
    }

    pub(super) fn name(&mut self, fields: &Fields<'_>) -> Option<At<Name>> {
        let node = self.required(fields, "name")?;
        self.parsed(node, "name")
    }
}
