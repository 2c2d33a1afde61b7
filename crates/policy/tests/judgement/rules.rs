//! What policies mean: include, require, exclude, order, groups, foresight.

use std::time::Duration;

use tunnel_policy::{Application, DenyReason, Group, Policy, PolicySet, Subject, Verdict};

use crate::declare::{admits, app, asks, at, group, person, policy, set_of};

fn set(groups: &[Group], policies: &[Policy], app: &Application) -> PolicySet {
    set_of(groups, policies, std::slice::from_ref(app)).expect("a good set")
}

#[test]
fn an_ip_range_is_judged_on_the_address_in_either_family() {
    let table = [
        ("ip:203.0.113.0/24", "203.0.113.7", true),
        ("ip:203.0.113.0/24", "203.0.112.255", false),
        ("ip:203.0.113.0/24", "::ffff:203.0.113.7", true),
        ("ip:203.0.113.0/24", "2001:db8::1", false),
        ("ip:::ffff:203.0.113.0/120", "203.0.113.7", true),
        ("ip:::ffff:203.0.113.0/120", "203.0.114.7", false),
        ("ip:2001:db8::/32", "2001:db8:ffff::1", true),
        ("ip:2001:db8::/32", "2001:db9::1", false),
        ("ip:::/0", "203.0.113.7", false),
        ("ip:0.0.0.0/0", "2001:db8::1", false),
        ("ip:0.0.0.0/0", "::ffff:198.51.100.1", true),
    ];
    for (range, source, admitted) in table {
        assert_eq!(admits(range, "a@corp.com", source), admitted, "{range} {source}");
    }
}

// The order of evaluation.
#[test]
fn include_is_any_require_is_all_and_exclude_is_none() {
    let table = [
        ("email:a@corp.com email:b@corp.com", true),
        ("email:b@corp.com", false),
        ("everyone & domain:corp.com ip:192.0.2.0/24", true),
        ("everyone & domain:corp.com ip:198.51.100.0/24", false),
        ("everyone & domain:corp.com domain:corp.org", false),
        ("domain:corp.com - email:b@corp.com", true),
        ("domain:corp.com - email:b@corp.com email:a@corp.com", false),
        ("everyone & domain:corp.com - everyone", false),
        ("method:pin", true),
        ("method:entra", false),
    ];
    for (rules, admitted) in table {
        assert_eq!(admits(rules, "a@corp.com", "192.0.2.1"), admitted, "{rules}");
    }
}

#[test]
fn the_first_policy_that_matches_decides() {
    let policies =
        [policy("staff", "domain:corp.com"), policy("block-eve", "email:eve@corp.com"), policy("all", "everyone")];
    let verdict = |order: &[&str], email: &str| {
        let app = app("app", "app.example.com", order);
        let set = set(&[], &policies, &app);
        set.decide(&app, &asks(&person(email), at("192.0.2.1"))).verdict
    };
    let allow = |name: &str| Verdict::Allow { policy: name.parse().expect(name), session: None };
    let deny = |reason| Verdict::Deny { reason };
    let blocked = || deny(DenyReason::Blocked { policy: "block-eve".parse().expect("a name") });
    assert_eq!(verdict(&["staff", "block-eve"], "eve@corp.com"), allow("staff"));
    assert_eq!(verdict(&["block-eve", "staff"], "eve@corp.com"), blocked());
    assert_eq!(verdict(&["block-eve", "staff", "all"], "bob@corp.org"), allow("all"));
    assert_eq!(verdict(&["block-eve", "staff"], "bob@corp.org"), deny(DenyReason::NothingMatched));
    assert_eq!(verdict(&[], "bob@corp.org"), deny(DenyReason::NothingMatched));
}

#[test]
fn nobody_is_admitted_without_having_logged_in() {
    let app = app("app", "app.example.com", &["all"]);
    let set = set(&[], &[policy("all", "everyone")], &app);
    let decision = set.decide(&app, &Subject::nobody(at("192.0.2.1")));
    assert_eq!(decision.verdict, Verdict::Deny { reason: DenyReason::LoginRequired });
}

#[test]
fn an_application_of_another_set_is_denied() {
    let known = app("app", "app.example.com", &["all"]);
    let set = set(&[], &[policy("all", "everyone")], &known);
    let stranger = app("other", "other.example.com", &["all"]);
    assert!(!set.decide(&stranger, &asks(&person("a@corp.com"), at("192.0.2.1"))).is_allow());
}

#[test]
fn the_session_duration_is_that_of_the_policy_that_admits() {
    let mut short = policy("short", "email:a@corp.com");
    short.session_duration = Some(Duration::from_secs(900));
    let app = app("app", "app.example.com", &["short", "staff"]);
    let set = set(&[], &[policy("staff", "domain:corp.com"), short], &app);
    let session = |email: &str| match set.decide(&app, &asks(&person(email), at("192.0.2.1"))).verdict {
        Verdict::Allow { session, .. } => session,
        other => panic!("{other:?}"),
    };
    assert_eq!(session("a@corp.com"), Some(Duration::from_secs(900)));
    assert_eq!(session("b@corp.com"), None);
}

#[test]
fn a_chain_of_a_hundred_thousand_groups_is_judged() {
    let mut groups = vec![group("g0", "domain:corp.com")];
    for n in 1..100_000 {
        groups.push(group(&format!("g{n}"), &format!("group:g{} group:g0", n - 1)));
    }
    let app = app("app", "app.example.com", &["p"]);
    let set = set(&groups, &[policy("p", "group:g99999")], &app);
    assert!(set.decide(&app, &asks(&person("a@corp.com"), at("192.0.2.1"))).is_allow());
}

#[test]
fn a_pin_goes_only_to_an_address_that_could_be_admitted() {
    let groups = [group("staff", "domain:corp.com - email:gone@corp.com")];
    let policies = [
        policy("staff", "group:staff & ip:192.0.2.0/24"),
        policy("by-entra", "domain:partner.com & method:entra"),
        policy("block-eve", "email:eve@corp.com"),
    ];
    let mut app = app("app", "app.example.com", &["block-eve", "staff", "by-entra"]);
    app.login_methods = vec!["pin".parse().expect("a name"), "entra".parse().expect("a name")];
    let set = set(&groups, &policies, &app);
    let table = [
        ("ann@corp.com", "192.0.2.1", "pin", true),
        ("ann@corp.com", "198.51.100.1", "pin", false),
        ("gone@corp.com", "192.0.2.1", "pin", false),
        ("eve@corp.com", "192.0.2.1", "pin", false),
        ("bob@partner.com", "192.0.2.1", "pin", false),
        ("bob@partner.com", "192.0.2.1", "entra", true),
        ("ann@corp.com", "192.0.2.1", "pin2", false),
        ("ann@example.com", "192.0.2.1", "pin", false),
    ];
    for (email, source, method, eligible) in table {
        let method = method.parse().expect(method);
        assert_eq!(set.eligible(&app, &email.parse().expect(email), at(source), &method), eligible, "{email} {source}");
    }
}

#[test]
fn a_visitor_is_hopeless_only_when_no_login_could_help() {
    let hopeless = |policies: &[Policy], source: &str| {
        let order: Vec<&str> = policies.iter().map(|policy| policy.name.as_str()).collect();
        let app = app("app", "app.example.com", &order);
        let set = set(&[], policies, &app);
        let hopeless = set.hopeless(&app, at(source));
        let reason = set.decide(&app, &Subject::nobody(at(source))).verdict;
        let expected = if hopeless { DenyReason::Hopeless } else { DenyReason::LoginRequired };
        assert_eq!(reason, Verdict::Deny { reason: expected });
        hopeless
    };
    let office = || policy("office", "domain:corp.com & ip:192.0.2.0/24");
    assert!(hopeless(&[], "192.0.2.1"));
    assert!(!hopeless(&[office()], "192.0.2.1"));
    assert!(hopeless(&[office()], "198.51.100.1"));
    assert!(hopeless(&[policy("block-range", "ip:198.51.100.0/24"), policy("all", "everyone")], "198.51.100.1"));
    assert!(!hopeless(&[policy("block-range", "ip:198.51.100.0/24"), policy("all", "everyone")], "192.0.2.1"));
    assert!(!hopeless(
        &[policy("block-range", "ip:0.0.0.0/0 - email:a@corp.com"), policy("all", "everyone")],
        "192.0.2.1"
    ));
    assert!(!hopeless(&[policy("block-eve", "email:eve@corp.com"), policy("all", "everyone")], "192.0.2.1"));
}

#[test]
fn the_trace_explains_rule_by_rule() {
    let groups = [group("staff", "domain:corp.com - group:gone"), group("gone", "email:eve@corp.com")];
    let policies = [
        policy("block-range", "ip:198.51.100.0/24"),
        policy("staff", "group:staff & method:pin"),
        policy("all", "everyone"),
    ];
    let app = app("wiki", "wiki.example.com", &["block-range", "staff", "all"]);
    let set = set(&groups, &policies, &app);
    let decision = set.decide(&app, &asks(&person("ann@corp.com"), at("192.0.2.1")));
    let expected = "\
application `wiki`
  policy `block-range` (block) does not match
    include ip `198.51.100.0/24`: no
  policy `staff` (allow) matches: allowed
    include group `staff`: yes
    require login_method `pin`: yes
  group `staff` matches
    include email_domain `corp.com`: yes
    exclude group `gone`: no
  group `gone` does not match
    include email `eve@corp.com`: no
  policy `all` was not reached";
    assert_eq!(decision.trace.to_string(), expected);
    let refused = set.decide(&app, &Subject::nobody(at("198.51.100.1")));
    assert!(refused.trace.to_string().contains("nobody is logged in"), "{}", refused.trace);
}
