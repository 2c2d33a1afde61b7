//! What is built in: the group and policy `administrators`, and how provisional applications give way.

use std::collections::{HashMap, HashSet};

use ipnet::IpNet;
use tunnel_policy::{Action, Application, Group, Policy, PolicySetError, Rules, Selector};
use tunnel_proto::{AppId, EmailAddress, HostMap, HostPattern, Hostname, Name};

use super::proxies;
use crate::store::{Declared, LoginMethod, LoginMethodKind, PasskeyMethod};

/// What the edge adds to whatever is declared.
#[derive(Clone, Debug, Default)]
pub struct BuiltIn {
    /// The administrators of `[admin] emails` and `--admin`.
    pub administrators: Vec<EmailAddress>,
    /// Whether this is the quick start, which has the login methods `pin` and `passkey` without anybody declaring them.
    pub quick_start: bool,
    /// The host that no application may name.
    pub login_host: Option<Hostname>,
    /// The login methods by which administrators log in (`[admin] login_methods`); any when there is none.
    pub administrator_methods: Vec<Name>,
    /// Who may say where a visitor came from (`trusted_proxies`); rules about such addresses are warned of.
    pub trusted_proxies: Vec<IpNet>,
}

/// Why a declared configuration cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// It declares something of a built-in name.
    #[error("the {kind} `administrators` is built in (`[admin] emails`, and those added later); choose another name")]
    BuiltInName {
        /// `group` or `policy`.
        kind: &'static str,
    },
    /// It names the login host.
    #[error("{kind} `{name}`: `{host}` is where people log in and cannot be published; choose another hostname")]
    LoginHost {
        /// `application` or `tunnel`.
        kind: &'static str,
        /// Its name.
        name: Name,
        /// The login host.
        host: Hostname,
    },
    /// A route leads to no tunnel.
    #[error("hostname `{0}` is routed to a tunnel that does not exist")]
    RouteToNowhere(HostPattern),
    /// Two routes of one hostname.
    #[error("hostname `{0}` is routed twice")]
    RoutedTwice(HostPattern),
    /// Its policies make no sense.
    #[error(transparent)]
    Policies(#[from] PolicySetError),
}

/// The name of the built-in group, and of the policy that admits it.
pub fn administrators() -> Name {
    "administrators".parse().expect("it is a name")
}

/// The name of a provisional application that cannot be named after its hostname.
pub(crate) fn provisional_name(id: &AppId) -> Option<Name> {
    format!("provisional-{}", id.to_string().get(..16)?).parse().ok()
}

/// Whether a declared application answers for every host of `pattern`, on whatever paths.
pub(crate) fn answers_for(app: &Application, pattern: &HostPattern) -> bool {
    Answered::by([app]).is(pattern)
}

/// Which hosts some applications answer for.
pub(crate) struct Answered(HostMap<()>);

impl Answered {
    pub(crate) fn by<'a>(applications: impl IntoIterator<Item = &'a Application>) -> Self {
        let targets = applications.into_iter().flat_map(|app| &app.targets);
        Self(targets.map(|target| (target.host.clone(), ())).collect())
    }

    /// Whether one of them answers for every host of `pattern`, on whatever paths.
    pub(crate) fn is(&self, pattern: &HostPattern) -> bool {
        match pattern.exact() {
            Some(host) => self.0.matching(&host).next().is_some(),
            None => self.0.get(pattern).is_some(),
        }
    }
}

impl BuiltIn {
    /// The configuration as it is served. Refuses what takes the place of something built in.
    pub fn complete(&self, mut declared: Declared) -> Result<Declared, SnapshotError> {
        self.check(&declared)?;
        let mut everyone = self.administrators.clone();
        everyone.append(&mut declared.administrators);
        everyone.sort();
        everyone.dedup();
        declared.administrators = everyone;
        let include: Vec<_> = declared.administrators.iter().cloned().map(Selector::Email).collect();
        // Without administrators the group is there all the same, and nobody is in it.
        let rules = match include.is_empty() {
            true => Rules { include: vec![Selector::Everyone], exclude: vec![Selector::Everyone], ..Rules::default() },
            false => Rules { include, ..Rules::default() },
        };
        let name = administrators();
        declared.groups.push(Group { name: name.clone(), rules });
        let include = vec![Selector::Group(name.clone())];
        let rules = Rules { include, ..Rules::default() };
        declared.policies.push(Policy {
            name,
            action: Action::Allow,
            rules,
            session_duration: None,
            destinations: Vec::new(),
        });
        if self.quick_start && declared.login_methods.is_empty() {
            let method = |name: &str, kind| LoginMethod { name: name.parse().expect("it is a name"), kind };
            let passkeys = PasskeyMethod { renew: PasskeyMethod::RENEW_DEFAULT };
            declared.login_methods.push(method("pin", LoginMethodKind::OneTimePin));
            declared.login_methods.push(method("passkey", LoginMethodKind::Passkey(passkeys)));
        }
        give_way(&mut declared);
        Ok(declared)
    }

    /// What is to be said about the login methods of administrators, and about proxies; `declared` is the configuration as it
    /// is served.
    pub fn warnings(&self, declared: &Declared) -> Vec<String> {
        let unknown = |name: &&Name| !declared.login_methods.iter().any(|method| method.name == **name);
        let unknown = self.administrator_methods.iter().filter(unknown).map(|name| {
            format!(
                "`[admin] login_methods` names `{name}`, but there is no such login method: nobody administers by it"
            )
        });
        let mut warnings: Vec<_> = unknown.collect();
        let elsewhere = declared.login_methods.iter().filter(|method| method.kind.authority().is_some());
        let elsewhere: Vec<_> = elsewhere.map(|method| format!("`{}`", method.name)).collect();
        let open = self.administrator_methods.is_empty() && !declared.administrators.is_empty();
        // The quick start has no file in which it could be said.
        if open && elsewhere.len() > 1 && !self.quick_start {
            warnings.push(format!(
                "each of {} makes whoever it gives an administrator's address an administrator: name those that may in \
                 `[admin] login_methods` of edge.toml",
                elsewhere.join(", ")
            ));
        }
        warnings.extend(proxies::warnings(&self.trusted_proxies, declared));
        warnings
    }

    fn check(&self, declared: &Declared) -> Result<(), SnapshotError> {
        let name = administrators();
        let groups = declared.groups.iter().map(|group| ("group", &group.name));
        let policies = declared.policies.iter().map(|policy| ("policy", &policy.name));
        if let Some((kind, _)) = groups.chain(policies).find(|(_, taken)| **taken == name) {
            return Err(SnapshotError::BuiltInName { kind });
        }
        let names: HashMap<_, _> = declared.tunnels.iter().map(|tunnel| (tunnel.id, &tunnel.name)).collect();
        let mut routed = HashSet::new();
        for route in &declared.routes {
            let tunnel = names.get(&route.tunnel);
            let tunnel = tunnel.ok_or_else(|| SnapshotError::RouteToNowhere(route.hostname.clone()))?;
            self.check_host("tunnel", tunnel, &route.hostname)?;
            if !routed.insert(&route.hostname) {
                return Err(SnapshotError::RoutedTwice(route.hostname.clone()));
            }
        }
        let targets =
            |app: &Application| app.targets.iter().try_for_each(|t| self.check_host("application", &app.name, &t.host));
        declared.applications.iter().try_for_each(targets)
    }

    fn check_host(&self, kind: &'static str, name: &Name, pattern: &HostPattern) -> Result<(), SnapshotError> {
        match (&self.login_host, pattern.exact()) {
            (Some(login), Some(host)) if *login == host => {
                Err(SnapshotError::LoginHost { kind, name: name.clone(), host })
            }
            _ => Ok(()),
        }
    }
}

/// Leaves provisional applications out where a declared one answers for the hostname, and names the others apart from
/// declared ones.
fn give_way(declared: &mut Declared) {
    let (mut provisional, firm): (Vec<_>, Vec<_>) = declared.applications.drain(..).partition(|app| app.provisional);
    if provisional.is_empty() {
        declared.applications = firm;
        return;
    }
    let answered = Answered::by(&firm);
    provisional.retain(|app| !app.targets.iter().any(|target| answered.is(&target.host)));
    let names: HashSet<&Name> = firm.iter().map(|app| &app.name).collect();
    for app in &mut provisional {
        if names.contains(&app.name) {
            app.name = provisional_name(&app.id).unwrap_or_else(|| app.name.clone());
        }
    }
    declared.applications = firm;
    declared.applications.append(&mut provisional);
}

#[cfg(test)]
mod tests {
    use tunnel_policy::Target;

    use super::*;

    #[test]
    fn what_is_answered_for_is_what_looking_at_every_target_finds() {
        let texts = ["a.test", "b.a.test", "*.test", "*.a.test", "x*.test", "xa.test", "*.*.test"];
        let patterns = texts.map(|text| text.parse::<HostPattern>().unwrap());
        for chosen in 0..1_u32 << patterns.len() {
            let hosts = patterns.iter().enumerate().filter(|(at, _)| chosen & (1 << at) != 0).map(|(_, host)| host);
            let apps: Vec<_> = hosts
                .map(|host| {
                    let target = Target { host: host.clone(), path: None };
                    Application::new(AppId::from_bytes([1; 32]), "app".parse().unwrap(), vec![target], Vec::new())
                })
                .collect();
            let answered = Answered::by(&apps);
            for pattern in &patterns {
                let slow = apps.iter().flat_map(|app| &app.targets).any(|target| match pattern.exact() {
                    Some(host) => target.host.matches(&host),
                    None => target.host == *pattern,
                });
                assert_eq!(answered.is(pattern), slow, "{pattern} by {chosen:b}");
            }
        }
    }
}
