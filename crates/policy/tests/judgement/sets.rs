//! What is refused when written, and what is warned about.

use tunnel_policy::{Group, Policy, PolicySetError};

use crate::declare::{app, group, policy, set_of};

fn refusal(groups: &[Group], policies: &[Policy], apps: &[tunnel_policy::Application]) -> String {
    set_of(groups, policies, apps).expect_err("refused").to_string()
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let staff = || policy("staff", "everyone");
    let table: Vec<(String, &str)> = vec![
        (refusal(&[group("g", "everyone"), group("g", "everyone")], &[], &[]), "two groups named `g`"),
        (refusal(&[], &[staff(), staff()], &[]), "two policies named `staff`"),
        (
            refusal(&[], &[], &[app("a", "x.example.com", &[]), app("a", "y.example.com", &[])]),
            "two applications named `a`",
        ),
        (refusal(&[], &[policy("p", "group:nope")], &[]), "policy `p` refers to group `nope`"),
        (refusal(&[group("g", "everyone - group:nope")], &[], &[]), "group `g` refers to group `nope`"),
        (refusal(&[], &[], &[app("a", "x.example.com", &["nope"])]), "application `a` refers to policy `nope`"),
        (refusal(&[], &[staff()], &[app("a", "x.example.com", &["staff", "staff"])]), "names policy `staff` twice"),
        (refusal(&[], &[policy("p", "")], &[]), "policy `p` has no include rule"),
        (refusal(&[], &[], &[app("a", "", &[])]), "application `a` has no hostname"),
        (refusal(&[group("g", "group:g")], &[], &[]), "in a circle: `g` → `g`"),
        (
            refusal(
                &[group("a", "group:b"), group("b", "everyone & group:c"), group("c", "everyone - group:b")],
                &[],
                &[],
            ),
            "in a circle: `b` → `c` → `b`",
        ),
        (
            refusal(&[], &[], &[app("a", "x.example.com/y", &[]), app("b", "x.example.com/y/", &[])]),
            "`x.example.com/y` is claimed by application `a` and by `b`",
        ),
        (
            refusal(&[], &[], &[app("a", "x.example.com", &[]), app("b", "x.example.com/", &[])]),
            "`x.example.com` is claimed by application `a` and by `b`",
        ),
        (
            refusal(&[], &[], &[app("a", "x.example.com/.access/login", &[])]),
            "`/.access/login`, which belongs to the edge",
        ),
        (refusal(&[], &[], &[app("a", "x.example.com/CDN-cgi/Access", &[])]), "belongs to the edge itself"),
    ];
    for (message, part) in table {
        assert!(message.contains(part), "{message} / {part}");
    }
    let mut twin = app("b", "y.example.com", &[]);
    twin.id = app("a", "", &[]).id;
    let twins = set_of(&[], &[], &[app("a", "x.example.com", &[]), twin]);
    assert!(matches!(twins, Err(PolicySetError::SameId { .. })));
}

#[test]
fn foot_guns_are_warned_about() {
    let groups =
        [group("anybody", "everyone method:pin"), group("both", "everyone & email:a@corp.com email:b@corp.com")];
    let policies = [
        policy("all", "everyone"),
        policy("nested", "group:anybody - email:eve@corp.com"),
        policy("by-pin", "method:pin"),
        policy("fine", "everyone & domain:corp.com"),
        policy("office", "everyone & ip:192.0.2.0/24"),
        policy("staff-by-pin", "domain:corp.com & method:pin"),
        policy("block-all", "everyone"),
        policy("by-mfa", "amr:mfa"),
        policy("by-mfa-here", "amr:mfa & ip:192.0.2.0/24"),
        policy("in-hours", "everyone & time:mon-fri/09:00-18:00/UTC"),
        policy("anywhere", "ip:0.0.0.0/0"),
        policy("two-places", "everyone & country:JP country:US"),
        policy("two-methods", "everyone & method:pin idp:admins@entra"),
        policy("no-time", "everyone & time:mon-fri/09:00-18:00/UTC time:sat,sun/09:00-18:00/UTC"),
        policy("some-time", "email:a@corp.com & time:mon-fri/09:00-18:00/UTC time:fri-sun/17:00-02:00/UTC"),
        policy("other-zones", "email:a@corp.com & time:mon/09:00-10:00/UTC time:tue/09:00-10:00/Asia/Tokyo"),
        policy("bypass-all", "everyone"),
        policy("bypass-v6", "ip:::/0"),
        policy("bypass-hours", "everyone & time:mon-fri/09:00-18:00/UTC"),
        policy("bypass-office", "everyone & ip:192.0.2.0/24"),
        policy("bypass-here", "country:JP"),
    ];
    let apps = [
        app("closed", "x.example.com", &["block-all"]),
        app("open", "y.example.com", &["fine"]),
        app("public", "z.example.com", &["fine", "bypass-all"]),
        app("nearly", "v.example.com", &["bypass-v6", "bypass-office", "bypass-here"]),
        app("hourly", "w.example.com", &["bypass-hours"]),
    ];
    let set = set_of(&groups, &policies, &apps).expect("a good set");
    let said: Vec<String> = set.warnings().iter().map(ToString::to_string).collect();
    let expected = [
        "policy `all` admits everyone who can log in at all",
        "policy `nested` admits everyone who can log in at all",
        "policy `by-pin` admits everyone who logs in by `pin`",
        "policy `by-mfa` admits everyone who authenticates by `mfa`",
        "policy `in-hours` admits everyone who can log in at all",
        "policy `anywhere` admits everyone who can log in at all",
        "policy `no-time` admits everyone who can log in at all",
        "group `both` requires several e-mail addresses",
        "policy `two-places` requires several countries at once and so matches nobody",
        "policy `two-methods` requires several login methods at once",
        "policy `no-time` requires several times of the week that do not overlap at once",
        "application `closed` has no policy that admits",
        "application `public` is public: policy `bypass-all` lets everybody in, without a login",
        "application `nearly` is public: policy `bypass-v6` lets everybody in",
        "application `hourly` is public: policy `bypass-hours` lets everybody in",
    ];
    assert_eq!(said.len(), expected.len(), "{said:#?}");
    for (said, expected) in said.iter().zip(expected) {
        assert!(said.starts_with(expected), "{said} / {expected}");
    }
}
