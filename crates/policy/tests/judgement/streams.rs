//! Machines with service tokens, and where bastions lead.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tunnel_policy::{Circumstances, DenyReason, Policy, PolicySetError, Subject, Verdict};
use tunnel_proto::UnixTime;

use crate::declare::{app, asks, at, group, person, policy, set_of};

const HERE: Circumstances =
    Circumstances { source: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), country: None, now: UnixTime(1_800_000_000) };

fn judge(policies: &[Policy], subject: &Subject<'_>) -> Result<String, DenyReason> {
    let names: Vec<&str> = policies.iter().map(|policy| policy.name.as_str()).collect();
    let app = app("app", "app.example", &names);
    let set = set_of(&[], policies, std::slice::from_ref(&app)).expect("a good set");
    match set.decide(&app, subject).verdict {
        Verdict::Allow { policy, .. } | Verdict::Bypass { policy } => Ok(policy.to_string()),
        Verdict::Deny { reason } => Err(reason),
    }
}

fn to(policy: Policy, ranges: &[&str]) -> Policy {
    Policy { destinations: ranges.iter().map(|range| range.parse().expect(range)).collect(), ..policy }
}

#[test]
fn a_service_token_is_admitted_by_service_auth_alone_and_before_anything_else() {
    let (backup, other) = ("backup".parse().unwrap(), "other".parse().unwrap());
    let policies = [
        policy("staff", "everyone"),
        policy("block-all", "everyone"),
        policy("machines", "token:backup & ip:192.0.2.0/24"),
    ];
    assert_eq!(judge(&policies, &Subject::service(&backup, HERE)), Ok("machines".to_owned()));
    assert!(judge(&policies, &Subject::service(&other, HERE)).is_err());
    assert!(judge(&policies, &Subject::service(&backup, at("198.51.100.1"))).is_err());
    assert_eq!(judge(&policies, &asks(&person("a@corp.com"), HERE)), Ok("staff".to_owned()));
    let only = [policy("machines", "any-token")];
    assert_eq!(judge(&only, &Subject::service(&other, HERE)), Ok("machines".to_owned()));
    assert_eq!(judge(&only, &asks(&person("a@corp.com"), HERE)), Err(DenyReason::NothingMatched));
    assert_eq!(judge(&[policy("machines", "everyone")], &Subject::nobody(HERE)), Err(DenyReason::Hopeless));
}

#[test]
fn rules_that_could_never_hold_are_refused() {
    for (groups, policies) in [
        (vec![], vec![policy("staff", "any-token")]),
        (vec![], vec![policy("block-backup", "token:backup")]),
        (vec![], vec![policy("machines", "any-token & domain:corp.com")]),
        (vec![group("g", "any-token"), group("h", "group:g")], vec![policy("staff", "group:h")]),
        (vec![group("g", "email:a@corp.com")], vec![policy("machines", "group:g")]),
    ] {
        let refused = set_of(&groups, &policies, &[]);
        assert!(matches!(refused, Err(PolicySetError::WrongCaller { .. })), "{refused:?}");
    }
    assert!(set_of(&[group("g", "any-token")], &[policy("machines", "group:g - ip:10.0.0.0/8")], &[]).is_ok());
}

// T8
#[test]
fn a_bastion_leads_only_where_the_policy_that_matches_says() {
    let desktops = to(policy("desktops", "domain:corp.com"), &["192.168.1.0/24:3389", "127.0.0.1:22"]);
    let servers = to(policy("servers", "email:root@corp.com"), &["192.168.1.0/24:22"]);
    let policies = [desktops, servers];
    let (ann, root) = (person("ann@corp.com"), person("root@corp.com"));
    let ask = |who, address: &str| {
        let address: SocketAddr = address.parse().expect(address);
        judge(&policies, &asks(who, HERE).to(address))
    };
    assert_eq!(ask(&ann, "192.168.1.29:3389"), Ok("desktops".to_owned()));
    assert_eq!(ask(&ann, "[::ffff:192.168.1.29]:3389"), Ok("desktops".to_owned()));
    assert_eq!(ask(&ann, "127.0.0.1:22"), Ok("desktops".to_owned()), "written out");
    for elsewhere in ["192.168.1.29:22", "192.168.2.29:3389", "127.0.0.2:22", "169.254.169.254:80"] {
        assert_eq!(ask(&ann, elsewhere), Err(DenyReason::NothingMatched), "{elsewhere}");
    }
    assert_eq!(
        ask(&root, "192.168.1.29:22"),
        Ok("servers".to_owned()),
        "a policy that does not list it is passed over"
    );
    // A login, or a service that is no bastion: the rules alone.
    assert_eq!(judge(&policies, &asks(&ann, HERE)), Ok("desktops".to_owned()));
}

#[test]
fn an_admitting_policy_without_destinations_leads_nowhere_and_a_blocking_one_blocks_all() {
    let ann = person("ann@corp.com");
    let subject = asks(&ann, HERE).to("192.168.1.29:3389".parse().unwrap());
    let wide = to(policy("wide", "everyone"), &["192.168.0.0/16:*"]);
    let bare = policy("bare", "domain:corp.com");
    let refused = Err(DenyReason::NoDestinations { policy: "bare".parse().unwrap() });
    assert_eq!(judge(&[bare, wide.clone()], &subject), refused);
    let all = [policy("block-ann", "email:ann@corp.com"), wide.clone()];
    assert!(matches!(judge(&all, &subject), Err(DenyReason::Blocked { .. })));
    let some = [to(policy("block-some", "everyone"), &["192.168.1.0/28:*"]), wide];
    assert_eq!(judge(&some, &subject), Ok("wide".to_owned()));
    let low = asks(&ann, HERE).to("192.168.1.5:3389".parse().unwrap());
    assert!(matches!(judge(&some, &low), Err(DenyReason::Blocked { .. })));
    // Where no destination is known yet, what blocks some of them blocks nobody.
    assert_eq!(judge(&some, &asks(&ann, HERE)), Ok("wide".to_owned()));
    let app = app("app", "app.example", &["block-some", "wide"]);
    let set = set_of(&[], &some, std::slice::from_ref(&app)).unwrap();
    assert!(!set.hopeless(&app, HERE));
    assert!(set.may_lead(&app, &asks(&ann, HERE), 22));
    let narrow = [to(policy("narrow", "domain:corp.com"), &["192.168.0.0/16:22"])];
    let app = crate::declare::app("app", "app.example", &["narrow"]);
    let set = set_of(&[], &narrow, std::slice::from_ref(&app)).unwrap();
    assert!(!set.may_lead(&app, &asks(&ann, HERE), 23));
    assert!(!set.may_lead(&app, &asks(&person("eve@else.com"), HERE), 22));
}

// A stream reaches everything at its host, so every application there has a word.
#[test]
fn what_is_opened_whole_falls_under_every_application_of_the_host() {
    let apps =
        [app("front", "app.example", &[]), app("admin", "app.example/admin", &[]), app("other", "b.example", &[])];
    let set = set_of(&[], &[], &apps).unwrap();
    let host = tunnel_proto::Hostname::parse("app.example").unwrap();
    let matched = set.applications_of(&host);
    let (first, all) = matched.required().unwrap();
    let mut all: Vec<_> = all.map(|app| app.name.as_str()).collect();
    all.sort_unstable();
    assert_eq!((first.name.as_str(), all), ("front", vec!["admin", "front"]));
    assert!(set.applications_of(&tunnel_proto::Hostname::parse("c.example").unwrap()).required().is_none());
}
