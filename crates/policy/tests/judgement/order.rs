//! The order of policies, and what each action does (§2.3 of the reference).

use tunnel_policy::{DenyReason, Policy, Subject, Verdict};

use crate::declare::{app, asks, at, group, person, policy, set_of};

/// How each caller fares: nobody, `ann@corp.com`, and the machine `backup`, all from 192.0.2.1.
fn fares(policies: &[Policy]) -> [String; 3] {
    let names: Vec<&str> = policies.iter().map(|policy| policy.name.as_str()).collect();
    let app = app("app", "app.example", &names);
    let set = set_of(&[], policies, std::slice::from_ref(&app)).expect("a good set");
    let (ann, backup, here) = (person("ann@corp.com"), "backup".parse().expect("a name"), at("192.0.2.1"));
    [Subject::nobody(here), asks(&ann, here), Subject::service(&backup, here)].map(|subject| {
        let decision = set.decide(&app, &subject);
        let text = match &decision.verdict {
            Verdict::Allow { policy, .. } => format!("allow {policy}"),
            Verdict::Bypass { policy } => format!("bypass {policy}"),
            Verdict::Deny { reason: DenyReason::Blocked { policy } } => format!("block {policy}"),
            Verdict::Deny { reason } => format!("{reason:?}"),
        };
        assert_eq!(decision.admits(), !matches!(decision.verdict, Verdict::Deny { .. }), "{text}");
        assert_eq!(decision.is_allow(), text.starts_with("allow"), "{text}");
        text
    })
}

// The example of the reference: Allow A, Block B, ServiceAuth C, Bypass D, Allow E are judged as C, D, A, B, E.
#[test]
fn policies_for_nobody_in_particular_come_first_and_each_kind_keeps_its_order() {
    let policies = [
        policy("a", "email:else@corp.com"),
        policy("block-b", "ip:198.51.100.0/24"),
        policy("machines-c", "token:else"),
        policy("bypass-d", "ip:198.51.100.0/24"),
        policy("e", "email:else@corp.com"),
    ];
    let names: Vec<&str> = policies.iter().map(|policy| policy.name.as_str()).collect();
    let app = app("app", "app.example", &names);
    let set = set_of(&[], &policies, std::slice::from_ref(&app)).expect("a good set");
    let order = |from: &str| {
        let decision = set.decide(&app, &asks(&person("ann@corp.com"), at(from)));
        let judged: Vec<_> = decision.trace.policies.iter().map(|one| one.policy.to_string()).collect();
        let left: Vec<_> = decision.trace.not_reached.iter().map(ToString::to_string).collect();
        (judged, left)
    };
    let all = ["machines-c", "bypass-d", "a", "block-b", "e"].map(str::to_owned);
    assert_eq!(order("192.0.2.1"), (all.to_vec(), vec![]));
    assert_eq!(order("198.51.100.1"), (all[..2].to_vec(), all[2..].to_vec()));
}

#[test]
fn a_bypass_admits_everybody_whom_its_rules_match_before_anything_is_asked() {
    let all = || policy("all", "everyone");
    let open = ["bypass bypass", "bypass bypass", "bypass bypass"].map(str::to_owned);
    assert_eq!(fares(&[policy("block-all", "everyone"), all(), policy("bypass", "ip:192.0.2.0/24")]), open);
    let elsewhere = fares(&[policy("bypass", "ip:198.51.100.0/24"), all()]);
    assert_eq!(elsewhere, ["LoginRequired", "allow all", "NothingMatched"]);
    // Of the two kinds that come first, the list decides.
    let machines = || policy("machines", "any-token");
    let bypass = || policy("bypass", "everyone");
    assert_eq!(fares(&[machines(), bypass()]), ["bypass bypass", "bypass bypass", "allow machines"]);
    assert_eq!(fares(&[bypass(), machines()]), open);
    assert_eq!(fares(&[policy("block-all", "everyone"), all()]), ["Hopeless", "block block-all", "block block-all"]);
    assert_eq!(fares(&[]), ["Hopeless", "NothingMatched", "NothingMatched"]);
}

#[test]
fn a_bypass_cannot_ask_who_somebody_is() {
    let groups = [
        group("people", "domain:corp.com"),
        group("nested", "everyone - group:people"),
        group("tokens", "any-token"),
        group("place", "ip:192.0.2.0/24 country:JP time:mon-fri/09:00-18:00/UTC"),
    ];
    for rules in [
        "email:a@corp.com",
        "everyone & domain:corp.com",
        "everyone - method:pin",
        "amr:mfa",
        "idp:admins",
        "github:acme",
        "claim:a=b",
        "eval:one.example",
        "any-token",
        "token:backup",
        "group:people",
        "everyone - group:nested",
        "group:tokens",
    ] {
        let refused = set_of(&groups, &[policy("bypass", rules)], &[]).expect_err(rules).to_string();
        assert!(refused.starts_with("policy `bypass` (bypass) names "), "{rules}: {refused}");
        assert!(refused.contains("which nobody is asked for under a bypass"), "{rules}: {refused}");
    }
    assert!(set_of(&groups, &[policy("bypass", "group:place & everyone")], &[]).is_ok());
    let destined = Policy { destinations: vec!["10.0.0.0/8:22".parse().unwrap()], ..policy("bypass", "everyone") };
    let lasting = Policy { session_duration: Some(std::time::Duration::from_secs(60)), ..policy("bypass", "everyone") };
    for (policy, field) in [(destined, "destinations"), (lasting, "session_duration")] {
        let refused = set_of(&[], &[policy], &[]).expect_err(field).to_string();
        assert_eq!(
            refused,
            format!("policy `bypass` is a bypass, which asks nobody who they are: `{field}` means nothing there")
        );
    }
}

// T8
#[test]
fn a_bypass_leads_to_no_destination() {
    let desktops =
        Policy { destinations: vec!["192.168.1.0/24:3389".parse().unwrap()], ..policy("desktops", "everyone") };
    let policies = [policy("bypass", "everyone"), desktops];
    let app = app("app", "app.example", &["bypass", "desktops"]);
    let set = set_of(&[], &policies, std::slice::from_ref(&app)).unwrap();
    let (ann, to) = (person("ann@corp.com"), "192.168.1.29:3389".parse().unwrap());
    let nobody = set.decide(&app, &Subject::nobody(at("192.0.2.1")).to(to));
    assert_eq!(nobody.verdict, Verdict::Deny { reason: DenyReason::LoginRequired });
    assert!(
        nobody.trace.to_string().contains("policy `bypass` (bypass) would match, but a bypass leads to no destination")
    );
    let led = set.decide(&app, &asks(&ann, at("192.0.2.1")).to(to));
    assert_eq!(led.verdict, Verdict::Allow { policy: "desktops".parse().unwrap(), session: None });
    assert!(!set.may_lead(&app, &Subject::nobody(at("192.0.2.1")), 22));
}

#[test]
fn where_a_bypass_applies_no_login_is_hopeless_and_no_code_is_sent_for_it() {
    let policies = [policy("bypass-office", "ip:192.0.2.0/24"), policy("staff", "domain:corp.com & ip:192.0.2.0/24")];
    let app = app("app", "app.example", &["bypass-office", "staff"]);
    let set = set_of(&[], &policies, std::slice::from_ref(&app)).unwrap();
    let eligible =
        |email: &str, from: &str| set.eligible(&app, &email.parse().unwrap(), at(from), &"pin".parse().unwrap());
    assert!(!set.hopeless(&app, at("192.0.2.1")));
    assert!(set.hopeless(&app, at("198.51.100.1")));
    assert!(eligible("ann@corp.com", "192.0.2.1"));
    assert!(!eligible("eve@else.com", "192.0.2.1"), "a bypass makes nobody eligible for mail");
}
