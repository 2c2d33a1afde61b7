//! What is allowed, but seldom meant, as only somebody sees who knows the declared login methods.

use tunnel_policy::{Action, Selector};
use tunnel_proto::Name;

use crate::store::{Declared, LoginMethodKind};

/// Rules about what a provider said that name no login method, where more than one could have said it: anybody may have made
/// an organisation or a group of that name at the other.
pub(super) fn unnamed(declared: &Declared) -> Vec<String> {
    let methods = |is: fn(&LoginMethodKind) -> bool| -> Vec<&Name> {
        declared.login_methods.iter().filter(|method| is(&method.kind)).map(|method| &method.name).collect()
    };
    let openid = methods(|kind| matches!(kind, LoginMethodKind::OpenId(_)));
    let github = methods(|kind| matches!(kind, LoginMethodKind::Github(_)));
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
            let methods = match selector {
                Selector::Github(_) => &github,
                Selector::IdpGroup(_) | Selector::OidcClaim(_) => &openid,
                _ => continue,
            };
            if selector.login_method().is_some() || methods.len() < 2 {
                continue;
            }
            let methods = methods.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let warning = format!(
                "{kind} `{name}`: {selector} holds by the word of any of {methods}; name the one that is meant by \
                 `login_method`"
            );
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
    }
    warnings
}
