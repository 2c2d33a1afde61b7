//! Rules about addresses that hold of a proxy.

use ipnet::IpNet;
use tunnel_policy::{Action, Selector};

use crate::store::Declared;

/// A warning for each range by which rules let somebody in and in which there is a trusted proxy: what comes by the proxy
/// without saying from where is taken to come from there.
pub(super) fn warnings(proxies: &[IpNet], declared: &Declared) -> Vec<String> {
    let groups = declared.groups.iter().map(|group| ("group", &group.name, &group.rules));
    let policies = declared.policies.iter().filter(|policy| policy.action != Action::Block);
    let policies = policies.map(|policy| ("policy", &policy.name, &policy.rules));
    let mut warnings = Vec::new();
    for (kind, name, rules) in groups.chain(policies) {
        for selector in rules.include.iter().chain(&rules.require) {
            let proxy_in = |range: &IpNet| proxies.iter().find(|proxy| meet(range, proxy));
            if let Some(proxy) = ranges(selector, declared).iter().find_map(proxy_in) {
                warnings.push(format!(
                    "{kind} `{name}`: {selector} holds of the proxy `{proxy}` (`trusted_proxies`), and so of whatever comes \
                     by it without saying from where"
                ));
            }
        }
    }
    warnings
}

/// The ranges that a selector is about.
fn ranges<'a>(selector: &'a Selector, declared: &'a Declared) -> &'a [IpNet] {
    match selector {
        Selector::Ip(range) => std::slice::from_ref(range),
        Selector::IpList(name) => {
            declared.ip_lists.iter().find(|list| list.name == *name).map_or(&[], |list| list.ranges.as_slice())
        }
        _ => &[],
    }
}

/// Whether an address is in both. A range of all addresses is about none in particular, and has a warning of its own.
fn meet(range: &IpNet, proxy: &IpNet) -> bool {
    range.prefix_len() > 0 && (range.contains(proxy) || proxy.contains(range))
}

#[cfg(test)]
mod tests {
    use tunnel_policy::{Group, IpList, Policy, Rules};

    use super::*;

    fn policy(name: &str, action: Action, rules: Rules) -> Policy {
        Policy { name: name.parse().unwrap(), action, rules, session_duration: None, destinations: Vec::new() }
    }

    // R09
    #[test]
    fn a_range_that_lets_in_whatever_comes_by_a_proxy_is_worth_a_warning() {
        let ip = |range: &str| Selector::Ip(range.parse().unwrap());
        let include = |selector: Selector| Rules { include: vec![selector], ..Rules::default() };
        let list = "office".parse().unwrap();
        let declared = Declared {
            ip_lists: vec![IpList { name: "office".parse().unwrap(), ranges: vec!["192.0.2.0/29".parse().unwrap()] }],
            groups: vec![Group { name: "near".parse().unwrap(), rules: include(ip("192.0.2.7/32")) }],
            policies: vec![
                policy("wide", Action::Bypass, include(ip("192.0.0.0/16"))),
                policy("listed", Action::Allow, Rules { require: vec![Selector::IpList(list)], ..Rules::default() }),
                policy("elsewhere", Action::Bypass, include(ip("198.51.100.0/24"))),
                policy("public", Action::Bypass, include(ip("0.0.0.0/0"))),
                policy("out", Action::Block, include(ip("192.0.2.0/24"))),
                policy(
                    "but",
                    Action::Allow,
                    Rules { exclude: vec![ip("192.0.2.0/24")], ..include(Selector::Everyone) },
                ),
            ],
            ..Declared::default()
        };
        let said = warnings(&["192.0.2.0/28".parse().unwrap(), "2001:db8::1/128".parse().unwrap()], &declared);
        let about = |name: &str| said.iter().filter(|text| text.contains(&format!("`{name}`"))).count();
        assert_eq!(["near", "wide", "listed"].map(about), [1, 1, 1], "{said:?}");
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(warnings(&[], &declared).is_empty(), "without a proxy everybody comes from where they come from");
    }
}
