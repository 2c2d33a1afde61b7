//! What is allowed, but seldom meant, as only somebody sees who knows the declared login methods.

use std::collections::HashSet;

use tunnel_policy::{Action, Application, Policy, Rules, SameSite, Selector};
use tunnel_proto::Name;

use crate::store::{Declared, LoginMethod, LoginMethodKind};

/// What passkeys and one-time PINs say about how somebody authenticated (RFC 8176).
const SAID_BY_PASSKEY: [&str; 4] = ["hwk", "swk", "user", "mfa"];
const SAID_BY_PIN: &str = "otp";

/// Everything that an administrator should look at twice.
pub(super) fn all(declared: &Declared) -> Vec<String> {
    let mut warnings = unnamed(declared);
    warnings.extend(unreached(declared));
    warnings.extend(cross_site(declared));
    warnings
}

/// Applications whose session goes with what other sites have a browser ask.
fn cross_site(declared: &Declared) -> Vec<String> {
    let mut warnings = Vec::new();
    for app in declared.applications.iter().filter(|app| app.same_site == SameSite::None) {
        warnings.push(format!(
            "application `{}`: with `same_site: none` a visitor's session goes with whatever any other site has their browser \
             send here, forms included: its service must tell by itself what its own pages sent",
            app.name
        ));
        let shares = |other: &&Application| {
            let hosts = || app.targets.iter().map(|target| &target.host);
            other.same_site < app.same_site
                && other.targets.iter().any(|target| hosts().any(|host| *host == target.host))
        };
        if let Some(other) = declared.applications.iter().find(shares) {
            warnings.push(format!(
                "application `{}`: `same_site: none` means nothing where application `{}` has the same hostname and does not \
                 say so: they share one session cookie",
                app.name, other.name
            ));
        }
    }
    warnings
}

/// Rules about what a login method said that name none, where more than one could have said it: anybody may have made an
/// organisation or a group of that name at the other, and a provider may claim any way of authentication.
fn unnamed(declared: &Declared) -> Vec<String> {
    let mut warnings = Vec::new();
    let groups = declared.groups.iter().map(|group| ("group", &group.name, &group.rules, None));
    let policies = declared.policies.iter().map(|policy| ("policy", &policy.name, &policy.rules, Some(policy.action)));
    for (kind, name, rules, action) in groups.chain(policies) {
        // Whoever these rules match has logged in by that one.
        if rules.require.iter().any(|selector| selector.login_method().is_some()) {
            continue;
        }
        // Keeping out too many is no danger.
        let (inner, outer) = match action {
            Some(Action::Block) => (false, true),
            Some(_) => (true, false),
            None => (true, true),
        };
        let inner = rules.include.iter().chain(&rules.require).filter(|_| inner);
        for selector in inner.chain(rules.exclude.iter().filter(|_| outer)) {
            let said = |method: &&LoginMethod| could_say(&method.kind, selector);
            let methods: Vec<_> = declared.login_methods.iter().filter(said).collect();
            let provider = methods.iter().any(|method| method.kind.authority().is_some());
            if selector.login_method().is_some() || methods.len() < 2 || !provider {
                continue;
            }
            let warning = format!(
                "{kind} `{name}`: {selector} holds by the word of any of {}; name the one that is meant by \
                 `login_method`",
                names(&methods)
            );
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
    }
    warnings
}

/// Whether a login by this kind of method could make a rule hold that is about what was said there.
fn could_say(kind: &LoginMethodKind, selector: &Selector) -> bool {
    match (selector, kind) {
        (Selector::Github(_), LoginMethodKind::Github(_))
        | (Selector::IdpGroup(_) | Selector::OidcClaim(_) | Selector::AuthMethod(_), LoginMethodKind::OpenId(_)) => {
            true
        }
        (Selector::AuthMethod(way), LoginMethodKind::Passkey(_)) => SAID_BY_PASSKEY.contains(&way.as_str()),
        (Selector::AuthMethod(way), LoginMethodKind::OneTimePin) => way == SAID_BY_PIN,
        _ => false,
    }
}

/// Rules that are to keep people out by what a provider says of them, while others log in by something that says nothing of
/// the kind: those are in no group, so that the rule does not keep them out.
fn unreached(declared: &Declared) -> Vec<String> {
    let mut warnings = Vec::new();
    for policy in &declared.policies {
        for selector in keeping_out(declared, policy) {
            let meant = |method: &LoginMethod| selector.login_method().is_none_or(|name| *name == method.name);
            let passes = |method: &&LoginMethod| {
                !(could_say(&method.kind, selector) && meant(method)) && may_pass(declared, policy, method)
            };
            let methods: Vec<_> = declared.login_methods.iter().filter(passes).collect();
            if methods.is_empty() {
                continue;
            }
            let warning = format!(
                "policy `{}`: {selector} does not keep out whoever logs in by {}, of whom nobody says such a thing; \
                 where people are admitted, require the provider's `login_method`, or name it in the application's \
                 `login_methods`",
                policy.name,
                names(&methods)
            );
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
    }
    warnings
}

/// Whether somebody who logged in by `method` may be admitted where `policy` is, as long as its rules do not keep them out.
fn may_pass(declared: &Declared, policy: &Policy, method: &LoginMethod) -> bool {
    if policy.action == Action::Allow && !could_match(&policy.rules, method) {
        return false;
    }
    // What is built in may admit people by any method.
    let admits = |name: &Name| {
        let found = declared.policies.iter().find(|one| one.name == *name);
        found.is_none_or(|one| one.action == Action::Allow && could_match(&one.rules, method))
    };
    let offers = |app: &Application| app.login_methods.is_empty() || app.login_methods.contains(&method.name);
    let mut apps = declared.applications.iter().filter(|app| app.policies.contains(&policy.name)).peekable();
    // One that is not used yet is looked at as if it were.
    apps.peek().is_none()
        || apps.any(|app| offers(app) && (policy.action == Action::Allow || app.policies.iter().any(admits)))
}

/// Whether rules could match somebody who logged in by `method`, as far as that says.
fn could_match(rules: &Rules, method: &LoginMethod) -> bool {
    let could = |selector: &Selector| match selector {
        _ if selector.login_method().is_some_and(|name| *name != method.name) => false,
        Selector::IdpGroup(_) | Selector::OidcClaim(_) | Selector::Github(_) | Selector::AuthMethod(_) => {
            could_say(&method.kind, selector)
        }
        _ => true,
    };
    rules.include.iter().any(could) && rules.require.iter().all(could)
}

/// The selectors about what a provider says that have to hold of somebody for a policy not to let them in, be it by way of
/// groups.
fn keeping_out<'a>(declared: &'a Declared, policy: &'a Policy) -> Vec<&'a Selector> {
    let mut found = Vec::new();
    // Whether these rules keep out whom they match. Each group is looked at once for either.
    let mut rules = match policy.action {
        Action::Allow => vec![(&policy.rules, false)],
        Action::Block => vec![(&policy.rules, true)],
        _ => Vec::new(),
    };
    let mut seen = HashSet::new();
    while let Some((list, matched)) = rules.pop() {
        let inner = list.include.iter().chain(&list.require).map(|selector| (selector, matched));
        for (selector, out) in inner.chain(list.exclude.iter().map(|selector| (selector, !matched))) {
            match selector {
                Selector::IdpGroup(_) | Selector::OidcClaim(_) | Selector::Github(_) if out => found.push(selector),
                Selector::Group(name) if seen.insert((name, out)) => {
                    let group = declared.groups.iter().find(|group| group.name == *name);
                    rules.extend(group.map(|group| (&group.rules, out)));
                }
                _ => {}
            }
        }
    }
    found
}

fn names(methods: &[&LoginMethod]) -> String {
    methods.iter().map(|method| format!("`{}`", method.name)).collect::<Vec<_>>().join(", ")
}
