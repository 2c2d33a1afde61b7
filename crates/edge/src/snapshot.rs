//! What the edge serves from: everything declared, checked and indexed, immutable, replaced whole.

mod builtin;
mod proxies;
mod vouching;

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tunnel_policy::{Declarations, PolicySet};
use tunnel_proto::{AppId, EmailAddress, HostMap, HostPattern, Hostname, Name, PersonId, Revision, TunnelId, UnixTime};

use crate::{
    revalidation,
    session::Session,
    store::{Declared, LoginMethodKind, PasskeyMethod, SESSION_DEFAULT, ServiceTokenRecord, TunnelRecord},
};

pub(crate) use builtin::{Answered, answers_for, provisional_name};
pub use builtin::{BuiltIn, SnapshotError, administrators};
use vouching::Vouching;

/// An immutable view of one revision of the declared configuration.
#[derive(Debug)]
pub struct Snapshot {
    /// The revision.
    pub revision: Revision,
    /// What was declared, with what is built in.
    pub declared: Declared,
    /// The policies, checked and indexed.
    pub policies: PolicySet,
    exact: HashMap<Hostname, TunnelId>,
    /// By wildcards, with the place of each among them: the most specific first.
    patterns: HostMap<(usize, TunnelId)>,
    /// The hostnames that are routed to each tunnel, in the order in which they were declared.
    routed: HashMap<TunnelId, Vec<HostPattern>>,
    /// Places among what is declared, by the ids that links and requests name.
    tunnels: HashMap<TunnelId, usize>,
    service_tokens: HashMap<String, usize>,
    banned_emails: HashSet<EmailAddress>,
    banned_people: HashSet<PersonId>,
    revalidated: HashMap<Name, Duration>,
    /// How long the word counts of issuers that are asked again, by the strictest method of each.
    spans: HashMap<String, Duration>,
    vouching: Vouching,
    /// The same, of the methods by which administrators log in; `None` when that is any.
    administration: Option<Vouching>,
    /// The same, of the methods of each application that lists some.
    applications: HashMap<AppId, Vouching>,
}

impl Snapshot {
    /// Adds what is built in to a declared configuration, checks and indexes it. A configuration that is refused here
    /// changes nothing.
    pub fn new(revision: Revision, declared: Declared, built_in: &BuiltIn) -> Result<Self, SnapshotError> {
        let declared = built_in.complete(declared)?;
        let policies = PolicySet::new(Declarations {
            email_lists: &declared.email_lists,
            ip_lists: &declared.ip_lists,
            groups: &declared.groups,
            policies: &declared.policies,
            applications: &declared.applications,
        })?;
        let (mut exact, mut patterns) = (HashMap::new(), Vec::new());
        let mut routed: HashMap<TunnelId, Vec<HostPattern>> = HashMap::new();
        for route in &declared.routes {
            routed.entry(route.tunnel).or_default().push(route.hostname.clone());
            match route.hostname.exact() {
                Some(host) => drop(exact.insert(host, route.tunnel)),
                None => patterns.push((route.hostname.clone(), route.tunnel)),
            }
        }
        patterns.sort_by_cached_key(|(pattern, _): &(HostPattern, _)| std::cmp::Reverse(pattern.specificity()));
        let patterns = (0..).zip(patterns).map(|(place, (pattern, tunnel))| (pattern, (place, tunnel))).collect();
        let tunnels = (0..).zip(&declared.tunnels).map(|(at, tunnel)| (tunnel.id, at)).collect();
        // Of several with one id, which there are not, the first counts.
        let service_tokens =
            declared.service_tokens.iter().enumerate().rev().map(|(at, token)| (token.id.clone(), at)).collect();
        let banned_emails = declared.bans.iter().map(|ban| ban.email.clone()).collect();
        let banned_people = declared.bans.iter().flat_map(|ban| ban.people.iter().copied()).collect();
        let methods = declared.login_methods.iter();
        let revalidated = methods.filter_map(|method| Some((method.name.clone(), method.kind.revalidate()?))).collect();
        let mut spans: HashMap<String, Duration> = HashMap::new();
        for method in &declared.login_methods {
            if let LoginMethodKind::OpenId(openid) = &method.kind
                && let Some(span) = openid.revalidate.map(revalidation::span)
            {
                let known = spans.entry(openid.issuer.clone()).or_insert(span);
                *known = span.min(*known);
            }
        }
        let vouching = Vouching::of(&declared.login_methods);
        let listed = &built_in.administrator_methods;
        let administration = (!listed.is_empty())
            .then(|| Vouching::of(declared.login_methods.iter().filter(|method| listed.contains(&method.name))));
        let listing = declared.applications.iter().filter(|app| !app.login_methods.is_empty());
        let applications =
            listing.map(|app| (app.id, Vouching::at(&declared.login_methods, &app.login_methods))).collect();
        Ok(Self {
            revision,
            declared,
            policies,
            exact,
            patterns,
            routed,
            tunnels,
            service_tokens,
            banned_emails,
            banned_people,
            vouching,
            administration,
            applications,
            revalidated,
            spans,
        })
    }

    /// The tunnel that an administrator routed `host` to: by its own name, else by the most specific wildcard.
    pub fn tunnel_for(&self, host: &Hostname) -> Option<TunnelId> {
        let by_pattern = || self.patterns.matching(host).map(|(_, found)| *found).min_by_key(|(place, _)| *place);
        self.exact.get(host).copied().or_else(|| by_pattern().map(|(_, tunnel)| tunnel))
    }

    /// The tunnel with this id.
    pub fn tunnel(&self, id: TunnelId) -> Option<&TunnelRecord> {
        self.tunnels.get(&id).and_then(|at| self.declared.tunnels.get(*at))
    }

    /// The hostnames that are routed to a tunnel.
    pub fn hostnames(&self, tunnel: TunnelId) -> &[HostPattern] {
        self.routed.get(&tunnel).map_or(&[], Vec::as_slice)
    }

    /// The service token with this id.
    pub(crate) fn service_token(&self, id: &str) -> Option<&ServiceTokenRecord> {
        self.service_tokens.get(id).and_then(|at| self.declared.service_tokens.get(*at))
    }

    /// Whether an administrator's route gives `tunnel` any name that `announced` stands for.
    pub fn routes(&self, tunnel: TunnelId, announced: &HostPattern) -> bool {
        if let Some(host) = announced.exact() {
            return self.tunnel_for(&host) == Some(tunnel);
        }
        let fits =
            |routed: &HostPattern| routed == announced || routed.exact().is_some_and(|host| announced.matches(&host));
        self.hostnames(tunnel).iter().any(fits)
    }

    /// Whether somebody is not to be let in by anything.
    pub fn is_banned(&self, person: PersonId, email: &EmailAddress) -> bool {
        self.banned_emails.contains(email) || self.banned_people.contains(&person)
    }

    /// Whether nobody with this address is to be let in.
    pub fn is_address_banned(&self, email: &EmailAddress) -> bool {
        self.banned_emails.contains(email)
    }

    /// How often the provider of a login method is asked whether it still vouches for a login; `None` when it is not.
    pub(crate) fn revalidates(&self, method: &Name) -> Option<Duration> {
        self.revalidated.get(method).copied()
    }

    /// How long the word of `issuer` counts for a person without being repeated; `None` where it is not asked again.
    pub(crate) fn word_counts_for(&self, issuer: &str) -> Option<Duration> {
        self.spans.get(issuer).copied()
    }

    /// The terms of the login method of this name, if it is by passkey.
    pub(crate) fn passkeys(&self, method: &Name) -> Option<&PasskeyMethod> {
        self.declared.login_methods.iter().find_map(|one| match &one.kind {
            LoginMethodKind::Passkey(terms) if one.name == *method => Some(terms),
            _ => None,
        })
    }

    /// From when on the provider has not vouched for a session's login for too long, be it that nobody could ask. One by a
    /// passkey is not asked about, and was begun some time after its person's issuer had vouched.
    pub(crate) fn lapses(&self, session: &Session) -> Option<UnixTime> {
        let identity = session.identity();
        if let Some(every) = self.revalidates(&identity.method) {
            return Some(revalidation::limit(every, session.vouched()));
        }
        let span = self.word_counts_for(session.issuer()).filter(|_| self.passkeys(&identity.method).is_some());
        span.map(|span| identity.authenticated.plus(span))
    }

    /// Whether a session counts at all at `now`: not ended, banned, idle for too long, without its
    /// provider's word, or by a method that is gone or is another issuer's now.
    pub(crate) fn counts(&self, session: &Session, now: UnixTime) -> bool {
        let identity = session.identity();
        !session.is_ended()
            && session.expires() > now
            && !session.is_login_idle(self.declared.sessions.idle, now)
            && self.lapses(session).is_none_or(|lapses| now < lapses)
            && !self.is_banned(identity.person, &identity.email)
            && self.stands_by(&identity.method, session.issuer())
    }

    /// Whether a login by the method of this name, for which `issuer` vouched, is one that could be made now.
    pub(crate) fn stands_by(&self, method: &Name, issuer: &str) -> bool {
        self.vouching.counts(method, issuer)
    }

    /// Whether a login method of this name is declared, or built in.
    pub(crate) fn has_login_method(&self, method: &Name) -> bool {
        self.vouching.has(method)
    }

    /// Whether somebody still vouches for the people of `issuer`.
    pub(crate) fn vouches_for(&self, issuer: &str) -> bool {
        self.vouching.vouches_for(issuer)
    }

    /// Whether administrators may log in by this method.
    pub(crate) fn administrators_use(&self, method: &Name) -> bool {
        self.administration.as_ref().is_none_or(|among| among.has(method))
    }

    /// Whether a login by this method, for which `issuer` vouched, counts where administrators only may go. A passkey does
    /// not make more of a login than the one before it was.
    pub(crate) fn administers(&self, method: &Name, issuer: &str) -> bool {
        self.administration.as_ref().is_none_or(|among| among.counts(method, issuer))
    }

    /// Whether a login by a method that an application offers counts there by the word of `issuer`: a passkey does not make
    /// more of a login than the one before it was, unless the application offers passkeys alone.
    pub(crate) fn believes(&self, app: &AppId, method: &Name, issuer: &str) -> bool {
        self.applications.get(app).is_none_or(|among| among.counts(method, issuer))
    }

    /// How long a login at the login host lasts.
    pub fn login_life(&self) -> Duration {
        self.declared.sessions.duration.unwrap_or(SESSION_DEFAULT)
    }

    /// Whether `email` is an administrator.
    pub fn is_administrator(&self, email: &EmailAddress) -> bool {
        self.declared.administrators.contains(email)
    }

    /// Whether there is an administrator at all.
    pub fn has_administrator(&self) -> bool {
        !self.declared.administrators.is_empty()
    }
}
