//! Lists that rules name.

use std::{net::IpAddr, time::Instant};

use tunnel_policy::{Declarations, EmailList, IpList, Policy, PolicySet};

use crate::declare::{app, asks, at, person, policy};

fn emails(name: &str, list: &[&str]) -> EmailList {
    EmailList { name: name.parse().expect(name), emails: list.iter().map(|one| one.parse().expect(one)).collect() }
}

fn ips(name: &str, list: &[&str]) -> IpList {
    IpList { name: name.parse().expect(name), ranges: list.iter().map(|one| one.parse().expect(one)).collect() }
}

/// Whether one policy admits.
fn admits(policy: Policy, email_lists: &[EmailList], ip_lists: &[IpList], email: &str, source: &str) -> bool {
    let app = app("app", "app.example", &[policy.name.as_str()]);
    let applications = std::slice::from_ref(&app);
    let declared = Declarations { email_lists, ip_lists, policies: &[policy], applications, ..Declarations::default() };
    let set = PolicySet::new(declared).expect("a good set");
    set.decide(&app, &asks(&person(email), at(source))).is_allow()
}

// O5: whatever the rule, an address is the same one only in its canonical form.
#[test]
fn a_list_of_addresses_holds_of_those_in_it_and_of_no_others() {
    let list = [emails("partners", &["Ann@Corp.com", "bob@b\u{fc}cher.example"])];
    let table = [
        ("ann@corp.com", true),
        ("ANN@CORP.COM", true),
        ("bob@xn--bcher-kva.example", true),
        ("bob@BÜCHER.example", true),
        ("ann+x@corp.com", false),
        ("a.nn@corp.com", false),
        ("ann@sub.corp.com", false),
        ("ann@evilcorp.com", false),
        ("ann@corp.com.evil.com", false),
        ("bob@bucher.example", false),
        ("bob@corp.com", false),
    ];
    for (email, admitted) in table {
        assert_eq!(admits(policy("p", "emails:partners"), &list, &[], email, "192.0.2.1"), admitted, "{email}");
    }
    assert!(!admits(policy("p", "emails:none"), &[emails("none", &[])], &[], "ann@corp.com", "192.0.2.1"));
}

#[test]
fn a_list_of_ranges_holds_where_one_of_them_does() {
    let list = [ips(
        "offices",
        &["203.0.113.0/25", "203.0.113.128/25", "198.51.100.7/32", "2001:db8::/33", "::ffff:192.0.2.0/120", "::1/128"],
    )];
    let table = [
        ("203.0.113.0", true),
        ("203.0.113.255", true),
        ("203.0.114.0", false),
        ("203.0.112.255", false),
        ("198.51.100.7", true),
        ("198.51.100.6", false),
        ("198.51.100.8", false),
        ("::ffff:198.51.100.7", true),
        ("192.0.2.255", true),
        ("192.0.3.0", false),
        ("2001:db8:7fff:ffff:ffff:ffff:ffff:ffff", true),
        ("2001:db8:8000::", false),
        ("::1", true),
        ("::", false),
        ("0.0.0.1", false),
        ("255.255.255.255", false),
    ];
    for (source, admitted) in table {
        assert_eq!(admits(policy("p", "ips:offices"), &[], &list, "a@corp.com", source), admitted, "{source}");
    }
    let ends = [ips("ends", &["0.0.0.0/32", "255.255.255.255/32", "ffff::/16"])];
    for (source, admitted) in [
        ("0.0.0.0", true),
        ("255.255.255.255", true),
        ("255.255.255.254", false),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", true),
        ("fffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", false),
    ] {
        assert_eq!(admits(policy("p", "ips:ends"), &[], &ends, "a@corp.com", source), admitted, "{source}");
    }
}

#[test]
fn a_list_is_refused_that_does_not_exist_or_exists_twice() {
    let refused = |email_lists: &[EmailList], ip_lists: &[IpList], rules: &str| {
        let policies = [policy("p", rules)];
        let declared = Declarations { email_lists, ip_lists, policies: &policies, ..Declarations::default() };
        PolicySet::new(declared).expect_err(rules).to_string()
    };
    let (one, two) = (emails("x", &[]), ips("x", &[]));
    assert_eq!(
        refused(&[], std::slice::from_ref(&two), "emails:x"),
        "policy `p` refers to e-mail list `x`, which does not exist"
    );
    assert_eq!(
        refused(std::slice::from_ref(&one), &[], "everyone - ips:x"),
        "policy `p` refers to IP list `x`, which does not exist"
    );
    assert_eq!(refused(&[one.clone(), one], &[], "everyone"), "there are two e-mail lists named `x`");
    assert_eq!(refused(&[], &[two.clone(), two], "everyone"), "there are two IP lists named `x`");
}

// Not a benchmark: a look-up that walked the lists would take minutes here.
#[test]
fn long_lists_are_looked_up_without_walking_them() {
    let many = 100_000u32;
    let email = |n: u32| format!("person{n}@corp.com");
    let listed =
        EmailList { name: "all".parse().unwrap(), emails: (0..many).map(|n| email(n).parse().unwrap()).collect() };
    // Every other address, so that nothing melts into one.
    let ranges = IpList {
        name: "all".parse().unwrap(),
        ranges: (0..many).map(|n| IpAddr::from((0x0a00_0000 + 2 * n).to_be_bytes()).into()).collect(),
    };
    let policies = [policy("p", "emails:all & ips:all")];
    let app = app("app", "app.example", &["p"]);
    let set = PolicySet::new(Declarations {
        email_lists: &[listed],
        ip_lists: &[ranges],
        policies: &policies,
        applications: std::slice::from_ref(&app),
        ..Declarations::default()
    })
    .unwrap();
    let start = Instant::now();
    for n in 0..many {
        let (who, odd) = (person(&email(n)), n % 2);
        let source = IpAddr::from((0x0a00_0000 + 2 * n + odd).to_be_bytes()).to_string();
        assert_eq!(set.decide(&app, &asks(&who, at(&source))).is_allow(), odd == 0, "{source}");
    }
    assert!(start.elapsed().as_secs() < 30, "{:?}", start.elapsed());
}
