//! What each selector holds of.

use std::collections::BTreeMap;

use serde_json::json;
use tunnel_policy::{Attributes, Circumstances, Country, Evaluation, GithubOrganization, Subject};
use tunnel_proto::{Name, UnixTime};

use crate::declare::{app, at, evaluation, person, policy, selector, set_of};

/// Of whom everything is known.
fn known() -> Attributes {
    Attributes {
        amr: vec!["pwd".to_owned(), "mfa".to_owned()],
        groups: vec!["Admins".to_owned(), "3f9c".to_owned()],
        github: vec![
            GithubOrganization { name: "acme".to_owned(), teams: vec!["ops".to_owned()] },
            GithubOrganization { name: "other".to_owned(), teams: vec![] },
        ],
        claims: BTreeMap::from([
            ("department".to_owned(), json!("R&D")),
            ("level".to_owned(), json!(7)),
            ("share".to_owned(), json!(0.5)),
            ("manager".to_owned(), json!(true)),
            ("roles".to_owned(), json!(["reader", 7, null, ["deep"]])),
            ("nothing".to_owned(), json!(null)),
            ("address".to_owned(), json!({"city": "Tsukuba"})),
        ]),
        evaluations: vec![evaluation("yes.example").key(&app("app", "app.example", &["p"]).id)],
    }
}

/// Whether a policy that includes `rules` admits somebody of whom everything is known, who logged in by `entra`.
fn admits(rules: &str) -> bool {
    let app = app("app", "app.example", &["p"]);
    let set = set_of(&[], &[policy("p", rules)], std::slice::from_ref(&app)).expect("a good set");
    let mut identity = person("ann@corp.com");
    identity.method = "entra".parse().expect("a name");
    set.decide(&app, &Subject::person(&identity, &known(), at("192.0.2.1"))).is_allow()
}

#[test]
fn what_the_login_method_said_is_compared_exactly() {
    let table = [
        ("amr:mfa", true),
        ("amr:MFA", false),
        ("amr:mf", false),
        ("amr:hwk", false),
        ("idp:Admins", true),
        ("idp:admins", false),
        ("idp:Admin", false),
        ("idp:3f9c", true),
        ("idp:Admins@entra", true),
        ("idp:Admins@okta", false),
        ("idp:Users@entra", false),
        ("claim:department=R&D", true),
        ("claim:department=R&D@entra", true),
        ("claim:department=R&D@okta", false),
        ("claim:department=r&d", false),
        ("claim:department=R&", false),
        ("claim:department=", false),
        ("claim:Department=R&D", false),
        ("claim:level=7", true),
        ("claim:level=7.0", false),
        ("claim:share=0.5", true),
        ("claim:manager=true", true),
        ("claim:manager=1", false),
        ("claim:roles=reader", true),
        ("claim:roles=7", true),
        ("claim:roles=null", false),
        ("claim:roles=deep", false),
        ("claim:roles=reader,7", false),
        ("claim:nothing=null", false),
        ("claim:address=Tsukuba", false),
        ("claim:city=Tsukuba", false),
        ("eval:yes.example", true),
        ("eval:no.example", false),
    ];
    for (rules, admitted) in table {
        assert_eq!(admits(rules), admitted, "{rules}");
    }
}

#[test]
fn an_organisation_at_github_is_the_same_in_any_case() {
    let table = [
        ("github:acme", true),
        ("github:ACME", true),
        ("github:acme/ops", true),
        ("github:Acme/OPS", true),
        ("github:acme/op", false),
        ("github:acm", false),
        ("github:other", true),
        ("github:other/ops", false),
        ("github:ops", false),
        ("github:acme@entra", true),
        ("github:acme/ops@entra", true),
        ("github:acme@ghes", false),
        ("github:acme/ops@ghes", false),
        ("github:acm@entra", false),
    ];
    for (rules, admitted) in table {
        assert_eq!(admits(rules), admitted, "{rules}");
    }
}

// An answer that was signed by other keys, or by none, says nothing.
#[test]
fn an_evaluation_is_known_by_both_of_its_addresses_and_for_one_application() {
    let asked = evaluation("yes.example");
    let app = app("app", "app.example", &["p"]);
    let set = set_of(&[], &[policy("p", "eval:yes.example")], std::slice::from_ref(&app)).unwrap();
    let (ann, here) = (person("ann@corp.com"), at("192.0.2.1"));
    let other = crate::declare::app("other", "other.example", &["p"]);
    let private = Evaluation { danger_allow_private_address: true, ..asked.clone() };
    for (key, admitted) in [
        (asked.key(&app.id), true),
        (asked.key(&other.id), false),
        (private.key(&app.id), false),
        (format!("{} {}", asked.evaluate_url, asked.keys_url), false),
        (format!("{} {}", app.id, asked.evaluate_url), false),
        (format!("{} {} ", app.id, asked.evaluate_url), false),
        (format!("{} {} https://evil.example/keys", app.id, asked.evaluate_url), false),
        (format!("{} {}{}", app.id, asked.evaluate_url, asked.keys_url), false),
        (format!("{} x", asked.key(&app.id)), false),
        (String::new(), false),
    ] {
        let attributes = Attributes { evaluations: vec![key.clone()], ..Attributes::new() };
        assert_eq!(set.decide(&app, &Subject::person(&ann, &attributes, here)).is_allow(), admitted, "{key}");
    }
}

#[test]
fn who_could_be_admitted_by_what_an_evaluation_says_is_foreseen() {
    let app = app("app", "app.example", &["p"]);
    let here = at("192.0.2.1");
    for (rules, could) in [
        ("eval:yes.example", true),
        ("email:ann@corp.com & eval:yes.example", true),
        ("email:ann@corp.com - eval:yes.example", true),
        ("everyone & eval:yes.example domain:corp.com", true),
        ("everyone & eval:yes.example domain:other.com", false),
        ("email:bob@corp.com & eval:yes.example", false),
        ("eval:yes.example - email:ann@corp.com", false),
    ] {
        let set = set_of(&[], &[policy("p", rules)], std::slice::from_ref(&app)).unwrap();
        for evaluations in [vec![], vec![evaluation("yes.example").key(&app.id)]] {
            let said = Attributes { evaluations, ..Attributes::new() };
            let ann = person("ann@corp.com");
            assert_eq!(set.may_admit(&app, &Subject::person(&ann, &said, here)), could, "{rules}");
        }
    }
}

#[test]
fn the_evaluations_that_an_application_needs_are_told_each_once_and_through_groups() {
    let groups = [
        crate::declare::group("a", "eval:one.example"),
        crate::declare::group("b", "everyone - group:a eval:two.example"),
    ];
    let policies = [policy("p", "group:b"), policy("block-q", "eval:one.example"), policy("r", "eval:three.example")];
    let (some, none) = (app("some", "some.example", &["block-q", "p"]), app("none", "none.example", &[]));
    let set = set_of(&groups, &policies, &[some.clone(), none.clone()]).unwrap();
    assert_eq!(set.evaluations_of(&some), [evaluation("one.example"), evaluation("two.example")]);
    assert_eq!(set.evaluations_of(&none), []);
}

#[test]
fn an_address_whose_country_is_not_known_is_in_none() {
    let app = app("app", "app.example", &["p"]);
    let admits = |rules: &str, country: Option<&str>| {
        let set = set_of(&[], &[policy("p", rules)], std::slice::from_ref(&app)).unwrap();
        let country: Option<Country> = country.map(|country| country.parse().unwrap());
        let here = Circumstances { country, ..at("192.0.2.1") };
        set.decide(&app, &crate::declare::asks(&person("ann@corp.com"), here)).is_allow()
    };
    assert!(admits("country:JP", Some("JP")));
    assert!(admits("country:jp", Some("jp")));
    assert!(!admits("country:JP", Some("US")));
    assert!(!admits("country:JP", None));
    assert!(admits("country:US country:JP", Some("JP")));
    // Several values in `require` are several rules.
    assert!(!admits("everyone & country:US country:JP", Some("JP")));
    assert!(admits("everyone - country:KP", Some("JP")));
    assert!(admits("everyone - country:KP", None), "what is excluded must be known to hold");
}

#[test]
fn what_is_asked_about_a_person_holds_of_no_machine_and_of_nobody() {
    let rules = [
        "email:a@corp.com",
        "domain:corp.com",
        "method:pin",
        "amr:otp",
        "idp:admins",
        "github:acme",
        "claim:a=b",
        "eval:yes.example",
    ];
    let app = app("app", "app.example", &["block"]);
    let backup: Name = "backup".parse().unwrap();
    let here = at("192.0.2.1");
    for rule in rules {
        let set = set_of(&[], &[policy("block", rule)], std::slice::from_ref(&app)).unwrap();
        for subject in [Subject::nobody(here), Subject::service(&backup, here)] {
            let decision = set.decide(&app, &subject);
            assert!(!decision.trace.policies[0].rules.include[0].held, "{rule}: {}", decision.trace);
        }
    }
}

// P8: a PIN proves a mailbox and nothing else.
#[test]
fn no_code_is_sent_to_an_address_that_would_not_be_admitted_by_a_code_alone() {
    let app = app("app", "app.example", &["p"]);
    let eligible = |rules: &str| {
        let set = set_of(&[], &[policy("p", rules)], std::slice::from_ref(&app)).unwrap();
        set.eligible(&app, &"ann@corp.com".parse().unwrap(), at("192.0.2.1"), &"pin".parse().unwrap())
    };
    let table = [
        ("domain:corp.com", true),
        ("domain:corp.com & amr:otp", true),
        ("domain:corp.com & amr:mfa", false),
        ("domain:corp.com - amr:otp", false),
        ("everyone & idp:admins", false),
        ("everyone & github:acme", false),
        ("everyone & claim:a=b", false),
        ("everyone - idp:admins", true),
        ("domain:corp.com & eval:yes.example", true),
        ("domain:else.com & eval:yes.example", false),
        ("domain:corp.com & country:JP", false),
        ("domain:corp.com & time:mon-sun/00:00-24:00/UTC", true),
    ];
    for (rules, sent) in table {
        assert_eq!(eligible(rules), sent, "{rules}");
    }
}

#[test]
fn a_login_that_could_still_prove_something_is_not_hopeless() {
    let mut app = app("app", "app.example", &["p"]);
    let hopeless = |app: &tunnel_policy::Application, rules: &str| {
        let set = set_of(&[], &[policy("p", rules)], std::slice::from_ref(app)).unwrap();
        set.hopeless(app, at("192.0.2.1"))
    };
    for rules in ["amr:mfa", "idp:admins", "idp:admins@entra", "github:acme", "claim:a=b@entra", "eval:yes.example"] {
        assert!(!hopeless(&app, rules), "{rules}");
    }
    app.login_methods = vec!["pin".parse().unwrap()];
    for rules in ["idp:admins@entra", "github:acme@hub", "claim:a=b@entra", "method:entra", "everyone & country:JP"] {
        assert!(hopeless(&app, rules), "{rules}");
    }
    assert!(!hopeless(&app, "idp:admins@pin"));
}

#[test]
fn every_selector_is_stored_and_read_again_and_says_in_a_line_what_it_is() {
    let table = [
        ("email:A@corp.com", r#"{"email":"a@corp.com"}"#, "email `a@corp.com`"),
        ("domain:corp.com", r#"{"email_domain":"corp.com"}"#, "email_domain `corp.com`"),
        ("emails:partners", r#"{"email_list":"partners"}"#, "email_list `partners`"),
        ("ip:192.0.2.0/24", r#"{"ip":"192.0.2.0/24"}"#, "ip `192.0.2.0/24`"),
        ("ips:offices", r#"{"ip_list":"offices"}"#, "ip_list `offices`"),
        ("country:jp", r#"{"country":"JP"}"#, "country `JP`"),
        ("everyone", r#""everyone""#, "everyone"),
        ("method:pin", r#"{"login_method":"pin"}"#, "login_method `pin`"),
        ("amr:mfa", r#"{"auth_method":"mfa"}"#, "auth_method `mfa`"),
        ("idp:admins", r#"{"idp_group":{"name":"admins"}}"#, "idp_group `admins`"),
        (
            "idp:admins@entra",
            r#"{"idp_group":{"name":"admins","login_method":"entra"}}"#,
            "idp_group `admins` by `entra`",
        ),
        ("github:acme", r#"{"github":{"organization":"acme"}}"#, "github `acme`"),
        ("github:acme/ops", r#"{"github":{"organization":"acme","team":"ops"}}"#, "github `acme/ops`"),
        (
            "github:acme/ops@hub",
            r#"{"github":{"organization":"acme","team":"ops","login_method":"hub"}}"#,
            "github `acme/ops` by `hub`",
        ),
        ("claim:a=b", r#"{"oidc_claim":{"name":"a","value":"b"}}"#, "oidc_claim `a` = `b`"),
        ("token:backup", r#"{"service_token":"backup"}"#, "service_token `backup`"),
        ("any-token", r#""any_service_token""#, "any_service_token"),
        (
            "time:fri,mon-wed,sat/22:00-6:00/asia/tokyo",
            r#"{"time_of_week":{"days":["mon-wed","fri","sat"],"from":"22:00","to":"06:00","zone":"Asia/Tokyo"}}"#,
            "time_of_week `mon-wed,fri,sat 22:00-06:00 Asia/Tokyo`",
        ),
        (
            "eval:e.example",
            r#"{"external_evaluation":{"evaluate_url":"https://e.example/evaluate","keys_url":"https://e.example/keys"}}"#,
            "external_evaluation `https://e.example/evaluate`",
        ),
        ("group:staff", r#"{"group":"staff"}"#, "group `staff`"),
    ];
    for (text, stored, said) in table {
        let selector = selector(text);
        let json = serde_json::to_string(&selector).unwrap();
        assert_eq!((json.as_str(), selector.to_string().as_str()), (stored, said));
        assert_eq!(serde_json::from_str::<tunnel_policy::Selector>(&json).unwrap(), selector);
    }
}

#[test]
fn the_trace_says_what_was_there_instead_of_a_country_or_a_time() {
    let app = app("app", "app.example", &["p"]);
    let rules = "everyone & country:JP time:mon-fri/09:00-18:00/Asia/Tokyo";
    let set = set_of(&[], &[policy("p", rules)], std::slice::from_ref(&app)).unwrap();
    // A Saturday in Tokyo: 2026-09-05 09:30 UTC.
    let now = UnixTime(1_788_600_600);
    let trace = |country: Option<Country>| {
        let here = Circumstances { country, now, ..at("192.0.2.1") };
        set.decide(&app, &crate::declare::asks(&person("ann@corp.com"), here)).trace.to_string()
    };
    let expected = "\
application `app`
  policy `p` (allow) does not match
    include everyone: yes
    require country `JP`: no (US)
    require time_of_week `mon-fri 09:00-18:00 Asia/Tokyo`: no (Sat 18:30 there)
  no policy matched: denied by default";
    assert_eq!(trace(Some("US".parse().unwrap())), expected);
    assert!(trace(None).contains("require country `JP`: no (not known)"));
}
