use proptest::prelude::*;
use serde_json::{Value, json};
use tunnel_proto::{EmailAddress, Hostname};

use crate::oidc::{
    CLAIMS_SIZE_MAX, Claims, Email, GROUPS_MAX, Reading, Refusal, Resolution, Trust, Userinfo, UserinfoError,
    graph_groups,
};

const TENANT: &str = "8f0b6b1e-5c1d-4c0a-9d39-1f2f3a4b5c6d";

fn generic() -> Reading<'static> {
    Reading {
        tenant: None,
        email_claim: None,
        groups_claim: None,
        groups_by_userinfo: false,
        hosted_domain: None,
        authoritative_for: &[],
        claims: &[],
    }
}

fn entra() -> Reading<'static> {
    Reading { tenant: Some(TENANT), ..generic() }
}

fn claims(value: Value) -> Claims {
    Claims::of(value.as_object().unwrap().clone())
}

fn resolve(reading: &Reading<'_>, said: Value) -> Resolution {
    reading.resolve(&claims(said), None)
}

fn email(text: &str) -> EmailAddress {
    text.parse().unwrap()
}

fn found(resolution: &Resolution) -> Option<(&str, &str, Trust)> {
    resolution.email.as_ref().map(|Email { address, claim, trust }| (address.as_str(), claim.as_str(), *trust))
}

// O5
#[test]
fn an_address_counts_only_when_the_provider_calls_it_verified_with_a_boolean() {
    let good = resolve(&generic(), json!({"email": "Ann@Corp.Example", "email_verified": true}));
    assert_eq!(found(&good), Some(("ann@corp.example", "email", Trust::Verified)));
    assert_eq!(good.refusals, []);
    for doubt in [json!(false), json!("true"), json!("false"), json!(1), json!([true]), json!({}), Value::Null] {
        let said = json!({"email": "ann@corp.example", "email_verified": doubt});
        assert_eq!(resolve(&generic(), said).refusals, [Refusal::Unverified(email("ann@corp.example"))], "{doubt}");
    }
    let silent = resolve(&generic(), json!({"email": "ann@corp.example", "verified_email": true}));
    assert_eq!(silent.refusals, [Refusal::Unverified(email("ann@corp.example"))]);
}

// O5
#[test]
fn what_is_no_plain_address_is_nobodys() {
    for text in [
        "a@evil@corp.example",
        "\"a@evil\"@corp.example",
        "a(c)@corp.example",
        "a@corp.example.",
        "a@corp.example ",
        " a@corp.example",
        "a@corp.example\n",
        "a@corp.example\u{0}",
        "\u{212a}im@corp.example",
        "a\u{ff20}corp.example",
        "Ann <a@corp.example>",
        "a@[127.0.0.1]",
        "a",
        "@corp.example",
        "a@",
    ] {
        let said = json!({"email": text, "email_verified": true});
        assert_eq!(resolve(&generic(), said).refusals, [Refusal::NotAnAddress("email".into())], "{text:?}");
    }
    for value in [json!(7), json!(["a@corp.example"]), json!({"value": "a@corp.example"}), json!(true)] {
        let said = json!({"email": value, "email_verified": true});
        assert_eq!(resolve(&generic(), said).refusals, [Refusal::NotAnAddress("email".into())], "{value}");
    }
    for nothing in [
        json!({}),
        json!({"email": null}),
        json!({"email": ""}),
        json!({"upn": "a@corp.example", "email_verified": true}),
    ] {
        assert_eq!(resolve(&generic(), nothing).refusals, [Refusal::NoEmail("email".into())]);
    }
    // A name that only ends like it is another domain, whatever it begins with.
    let other = resolve(&generic(), json!({"email": "evil@corp.example.evil.tld", "email_verified": true}));
    assert_eq!(found(&other).unwrap().0, "evil@corp.example.evil.tld");
}

#[test]
fn a_provider_is_believed_about_domains_that_it_was_declared_authoritative_for() {
    let domains = [Hostname::parse("corp.example").unwrap()];
    let reading = Reading { authoritative_for: &domains, ..generic() };
    let said = |address: &str| json!({"email": address, "email_verified": false});
    assert_eq!(found(&resolve(&reading, said("a@CORP.example"))).unwrap().2, Trust::Declared);
    for other in ["a@sub.corp.example", "a@evilcorp.example", "a@corp.example.evil.tld"] {
        assert_eq!(resolve(&reading, said(other)).refusals, [Refusal::Unverified(email(other))]);
    }
}

#[test]
fn a_declared_claim_comes_first_and_the_word_about_another_address_does_not_count_for_it() {
    let reading = Reading { email_claim: Some("mail"), ..generic() };
    let cases = [
        // Nor does a word about no address at all: `mail` may be what people wrote there themselves.
        (json!({"mail": "m@a.example", "email_verified": true}), None),
        (json!({"mail": "m@a.example", "email": null, "email_verified": true}), None),
        (
            json!({"mail": "m@a.example", "email": "M@A.example", "email_verified": true}),
            Some(("m@a.example", "mail", Trust::Verified)),
        ),
        (json!({"mail": "boss@a.example", "email": "eve@evil.example", "email_verified": true}), None),
        (
            json!({"mail": "", "email": "e@a.example", "email_verified": true}),
            Some(("e@a.example", "email", Trust::Verified)),
        ),
        // What is there and no address is not passed over for something that is one.
        (json!({"mail": "nonsense", "email": "e@a.example", "email_verified": true}), None),
    ];
    for (said, expected) in cases {
        assert_eq!(found(&resolve(&reading, said.clone())), expected, "{said}");
    }
    let domains = [Hostname::parse("a.example").unwrap()];
    let declared = Reading { authoritative_for: &domains, ..reading };
    let said = json!({"mail": "m@a.example", "email_verified": true});
    assert_eq!(found(&resolve(&declared, said)), Some(("m@a.example", "mail", Trust::Declared)));
}

/// The claims of somebody in the tenant, and more of them.
fn member(more: &Value) -> Value {
    let issuer = format!("https://login.microsoftonline.com/{TENANT}/v2.0");
    let mut all = json!({"iss": issuer, "tid": TENANT, "upn": "ann@corp.example"});
    more.as_object().unwrap().iter().for_each(|(name, value)| all[name] = value.clone());
    all
}

// O5
#[test]
fn a_tenant_vouches_for_its_own_people_and_nobody_elses() {
    let said = |more: Value| resolve(&entra(), member(&more));
    for (more, claim, address) in [
        (json!({}), "upn", "ann@corp.example"),
        (json!({"upn": "upn@corp.example", "email": "mail@corp.example"}), "email", "mail@corp.example"),
        (json!({"email": "mail@corp.example", "xms_edov": true}), "email", "mail@corp.example"),
        (json!({"email": "mail@corp.example", "xms_edov": "1"}), "email", "mail@corp.example"),
        (json!({"acct": 0}), "upn", "ann@corp.example"),
        (json!({"email": "mail@corp.example", "acct": 1, "xms_edov": 1}), "email", "mail@corp.example"),
        (json!({"tid": TENANT.to_uppercase()}), "upn", "ann@corp.example"),
        (json!({"preferred_username": "other@corp.example"}), "upn", "ann@corp.example"),
    ] {
        assert_eq!(found(&said(more.clone())), Some((address, claim, Trust::Tenant)), "{more}");
    }
    for doubt in [
        json!({"xms_edov": false}),
        json!({"xms_edov": "0"}),
        json!({"xms_edov": null}),
        json!({"email_verified": false}),
        json!({"email": "ann@corp.example", "email_verified": false}),
        json!({"email": "ann@corp.example", "email_verified": "true"}),
        json!({"acct": 1}),
        json!({"acct": "1"}),
        // `xms_edov` is about `email`, and not about this.
        json!({"acct": 1, "xms_edov": true}),
        json!({"acct": 1, "xms_edov": true, "email": "", "email_verified": null}),
    ] {
        assert_eq!(said(doubt.clone()).refusals, [Refusal::Unverified(email("ann@corp.example"))], "{doubt}");
    }
    for tid in [json!("11111111-2222-3333-4444-555555555555"), json!(""), json!([TENANT]), Value::Null] {
        assert_eq!(said(json!({"tid": tid})).refusals, [Refusal::Tenant], "{tid}");
    }
    let nobody = resolve(&entra(), json!({"tid": TENANT, "preferred_username": "ann@corp.example"}));
    assert_eq!(nobody.refusals, [Refusal::NoEmail("email, upn".into())]);
}

// O5
#[test]
fn who_was_let_in_by_another_provider_than_the_tenant_is_its_guest() {
    let said = |idp: Value| resolve(&entra(), member(&json!({"email": "boss@corp.example", "idp": idp})));
    let issuer = format!("https://login.microsoftonline.com/{TENANT}/v2.0");
    for own in [json!(issuer), json!(format!("https://sts.windows.net/{TENANT}/")), Value::Null] {
        assert_eq!(found(&said(own.clone())), Some(("boss@corp.example", "email", Trust::Tenant)), "{own}");
    }
    for other in [
        json!("https://sts.windows.net/11111111-2222-3333-4444-555555555555/"),
        json!("live.com"),
        json!("google.com"),
        json!("mail"),
        json!(""),
        json!([issuer]),
    ] {
        assert_eq!(said(other.clone()).refusals, [Refusal::Unverified(email("boss@corp.example"))], "{other}");
    }
    // A member by the word of `acct` is one only if nothing else says otherwise.
    let both = json!({"email": "boss@corp.example", "idp": "live.com", "acct": 0});
    assert_eq!(resolve(&entra(), member(&both)).refusals, [Refusal::Unverified(email("boss@corp.example"))]);
    let checked = json!({"email": "eve@evil.example", "idp": "live.com", "xms_edov": true});
    assert_eq!(found(&resolve(&entra(), member(&checked))), Some(("eve@evil.example", "email", Trust::Tenant)));
}

// O5
#[test]
fn what_the_token_says_against_somebody_counts_also_for_an_address_of_userinfo() {
    let names = ["department".to_owned()];
    let reading = Reading { claims: &names, ..entra() };
    let info = json!({"sub": "somebody", "email": "boss@corp.example", "department": "it"});
    let info = Userinfo::read(info.to_string().as_bytes(), "somebody").unwrap();
    let said = |more: Value| {
        let token = claims(member(&more));
        assert!(reading.wants_userinfo(&token), "{more}");
        reading.resolve(&token, Some(&info))
    };
    assert_eq!(found(&said(json!({}))), Some(("boss@corp.example", "email", Trust::Tenant)));
    for against in [
        json!({"acct": 1}),
        json!({"acct": 1, "xms_edov": true}),
        json!({"idp": "live.com"}),
        json!({"xms_edov": false}),
        json!({"email_verified": false}),
    ] {
        assert_eq!(said(against.clone()).refusals, [Refusal::Unverified(email("boss@corp.example"))], "{against}");
    }
    // And what userinfo itself says against them.
    let guest = Userinfo::read(br#"{"sub":"somebody","acct":1,"email":"boss@corp.example"}"#, "somebody").unwrap();
    let thin = reading.resolve(&claims(json!({"tid": TENANT})), Some(&guest));
    assert_eq!(thin.refusals, [Refusal::Unverified(email("boss@corp.example"))]);
}

// O5
#[test]
fn a_name_that_people_choose_is_an_address_only_if_declared_and_of_a_member() {
    let reading = Reading { email_claim: Some("preferred_username"), ..entra() };
    let said = |more: Value| {
        let mut all = member(&more);
        all["preferred_username"] = json!("boss@corp.example");
        resolve(&reading, all)
    };
    let trusted = Some(("boss@corp.example", "preferred_username", Trust::Tenant));
    assert_eq!(found(&said(json!({"acct": 0}))), trusted);
    for doubt in [json!({}), json!({"acct": 1}), json!({"acct": null}), json!({"acct": 0, "idp": "live.com"})] {
        assert_eq!(said(doubt.clone()).refusals, [Refusal::Unverified(email("boss@corp.example"))], "{doubt}");
    }
}

#[test]
fn an_account_of_another_hosted_domain_is_refused() {
    let domain = Hostname::parse("corp.example").unwrap();
    let reading = Reading { hosted_domain: Some(&domain), ..generic() };
    let said = |hd: Value| resolve(&reading, json!({"email": "a@corp.example", "email_verified": true, "hd": hd}));
    assert_eq!(said(json!("Corp.example")).refusals, []);
    for other in [json!("evil.example"), json!("sub.corp.example"), json!(""), Value::Null, json!(["corp.example"])] {
        assert_eq!(said(other.clone()).refusals, [Refusal::HostedDomain(domain.clone())], "{other}");
    }
    let personal = resolve(&reading, json!({"email": "a@corp.example", "email_verified": true}));
    assert_eq!(personal.refusals, [Refusal::HostedDomain(domain.clone())]);
}

#[test]
fn groups_are_texts_and_too_many_of_them_are_an_end() {
    let said = |groups: Value| {
        resolve(&generic(), json!({"email": "a@corp.example", "email_verified": true, "groups": groups}))
    };
    let long = "g".repeat(257);
    let mixed = json!(["staff", 7, {"id": "x"}, "", null, ["y"], long, "Domain Admins"]);
    assert_eq!(said(mixed).groups, ["staff", "Domain Admins"]);
    assert_eq!(said(json!("contractors")).groups, ["contractors"], "one text is a list of one");
    for none in [Value::Null, json!([]), json!("")] {
        let nothing = said(none.clone());
        assert_eq!((nothing.groups.len(), nothing.refusals), (0, vec![]), "{none}");
    }
    // Groups that no rule would see are none to go on with: somebody is kept out by them, perhaps.
    for unread in [json!({"staff": true}), json!(7), json!(true)] {
        let refused = said(unread.clone());
        assert_eq!(
            (refused.groups.len(), refused.refusals),
            (0, vec![Refusal::NotGroups("groups".into())]),
            "{unread}"
        );
    }
    let many = |count: usize| json!((0..count).map(|n| format!("g{n}")).collect::<Vec<_>>());
    assert_eq!(said(many(GROUPS_MAX)).groups.len(), GROUPS_MAX);
    let over = said(many(GROUPS_MAX + 1));
    assert_eq!((over.groups.len(), over.refusals), (0, vec![Refusal::TooManyGroups]));
    let named = Reading { groups_claim: Some("roles"), ..generic() };
    let roles =
        resolve(&named, json!({"email": "a@b.example", "email_verified": true, "groups": ["g"], "roles": ["r"]}));
    assert_eq!(roles.groups, ["r"]);
}

#[test]
fn groups_that_do_not_fit_are_asked_for_elsewhere() {
    let base = || json!({"tid": TENANT, "email": "a@corp.example"});
    let mut claimed = base();
    claimed["_claim_names"] = json!({"groups": "src1"});
    let mut flagged = base();
    flagged["hasgroups"] = json!(true);
    assert!(resolve(&entra(), claimed).overage && resolve(&entra(), flagged).overage);
    assert!(!resolve(&entra(), base()).overage);
    // What does not fit is that claim, and no other.
    let roles = Reading { groups_claim: Some("roles"), ..entra() };
    let mut named = base();
    named["_claim_names"] = json!({"roles": "src1"});
    assert!(resolve(&roles, named.clone()).overage && !resolve(&entra(), named).overage);
    assert_eq!(graph_groups(br#"{"@odata.context":"x","value":["a","b"]}"#), Some(Ok(vec!["a".into(), "b".into()])));
    let more = br#"{"@odata.nextLink":"https://evil.example","value":["a"]}"#;
    assert_eq!(graph_groups(more), Some(Err(Refusal::TooManyGroups)));
    for bad in ["{}", "[]", "", r#"{"value":{}}"#, r#"{"error":{"code":"x"}}"#] {
        assert_eq!(graph_groups(bad.as_bytes()), None, "{bad}");
    }
}

#[test]
fn only_the_claims_that_were_asked_for_are_kept_and_only_so_many() {
    let names = ["department".to_owned(), "absent".to_owned()];
    let reading = Reading { claims: &names, ..generic() };
    let base = json!({"email": "a@b.example", "email_verified": true, "name": "Ann", "amr": ["pwd", "mfa", 7], "department": ["it"]});
    let resolution = resolve(&reading, base.clone());
    assert_eq!(resolution.claims.into_iter().collect::<Vec<_>>(), [("department".to_owned(), json!(["it"]))]);
    assert_eq!(resolution.amr, ["pwd", "mfa"]);
    let mut large = base;
    large["department"] = json!("x".repeat(CLAIMS_SIZE_MAX));
    let resolution = resolve(&reading, large);
    assert!(resolution.claims.is_empty());
    assert_eq!(resolution.refusals, [Refusal::ClaimsTooLarge]);
}

#[test]
fn userinfo_fills_in_what_the_token_leaves_out_and_overrides_nothing() {
    let thin = claims(json!({}));
    let info = |value: Value| Userinfo::read(value.to_string().as_bytes(), "somebody").unwrap();
    assert!(generic().wants_userinfo(&thin));
    let full = info(json!({"sub": "somebody", "email": "a@b.example", "email_verified": true, "groups": ["g"]}));
    let resolution = generic().resolve(&thin, Some(&full));
    assert_eq!(found(&resolution), Some(("a@b.example", "email", Trust::Verified)));
    assert_eq!(resolution.groups, ["g"]);
    let null = claims(json!({"email": "a@b.example", "email_verified": true, "groups": null}));
    assert_eq!(generic().resolve(&null, Some(&full)).groups, ["g"]);
    // The token's word that something is verified is not about what userinfo says, and the other way round.
    let flag = claims(json!({"email_verified": true}));
    let address = info(json!({"sub": "somebody", "email": "boss@b.example"}));
    assert_eq!(generic().resolve(&flag, Some(&address)).refusals, [Refusal::Unverified(email("boss@b.example"))]);
    let token = claims(json!({"email": "a@b.example"}));
    assert!(!generic().wants_userinfo(&token));
    let flag = info(json!({"sub": "somebody", "email": "boss@b.example", "email_verified": true}));
    assert_eq!(generic().resolve(&token, Some(&flag)).refusals, [Refusal::Unverified(email("a@b.example"))]);
    for other in [json!({"sub": "other"}), json!({}), json!({"sub": ["somebody"]})] {
        let read = Userinfo::read(other.to_string().as_bytes(), "somebody");
        assert_eq!(read, Err(UserinfoError::Subject), "{other}");
    }
    assert!(matches!(Userinfo::read(br#"{"sub":"somebody","sub":"x"}"#, "somebody"), Err(UserinfoError::Json(_))));
}

#[test]
fn userinfo_is_asked_only_for_what_is_wanted() {
    let has_email = claims(json!({"email": "a@b.example"}));
    let names = ["department".to_owned()];
    assert!(!generic().wants_userinfo(&has_email));
    assert!(Reading { claims: &names, ..generic() }.wants_userinfo(&has_email));
    assert!(Reading { groups_claim: Some("roles"), ..generic() }.wants_userinfo(&has_email));
    assert!(Reading { groups_by_userinfo: true, ..generic() }.wants_userinfo(&has_email));
    assert!(Reading { email_claim: Some("mail"), ..generic() }.wants_userinfo(&has_email));
    assert!(!entra().wants_userinfo(&claims(json!({"upn": "a@b.example"}))));
    assert!(entra().wants_userinfo(&claims(json!({"preferred_username": "a@b.example"}))));
    assert!(entra().wants_userinfo(&claims(json!({}))));
}

// O9
#[test]
fn userinfo_alone_says_something_only_about_what_stands_in_it() {
    let names = ["department".to_owned(), "level".to_owned()];
    let reading = Reading { claims: &names, ..generic() };
    let told = |value: Value| reading.told_anew(&Userinfo::read(value.to_string().as_bytes(), "somebody").unwrap());
    let nothing = told(json!({"sub": "somebody", "salary": 3})).unwrap();
    assert!(nothing.email.is_none() && nothing.groups.is_none() && nothing.claims.is_empty());
    let some = told(json!({"sub": "somebody", "groups": ["a"], "level": 3})).unwrap();
    assert_eq!((some.groups, some.claims.len()), (Some(vec!["a".to_owned()]), 1));
    assert_eq!(told(json!({"sub": "somebody", "groups": []})).unwrap().groups, Some(vec![]), "in none any more");
    let many: Vec<_> = (0..=GROUPS_MAX).map(|n| n.to_string()).collect();
    assert_eq!(told(json!({"sub": "somebody", "groups": many})), Err(Refusal::TooManyGroups));
    let long = "x".repeat(CLAIMS_SIZE_MAX);
    assert_eq!(told(json!({"sub": "somebody", "level": long})), Err(Refusal::ClaimsTooLarge));
}

// O5, O9
#[test]
fn userinfo_alone_says_no_more_against_somebody_than_at_the_login_and_no_less() {
    let corp = Hostname::parse("corp.example").unwrap();
    let hosted = Reading { hosted_domain: Some(&corp), ..generic() };
    let domains = [corp.clone()];
    let declared = Reading { authoritative_for: &domains, ..generic() };
    let named = Reading { email_claim: Some("mail"), ..generic() };
    let ann = || email("ann@corp.example");
    let unverified = || Err(Refusal::Unverified(ann()));
    for (reading, said, expected) in [
        (generic(), json!({}), Ok(None)),
        (generic(), json!({"email": null}), Ok(None)),
        (generic(), json!({"email_verified": false}), Ok(None)),
        (generic(), json!({"email": "Ann@corp.example"}), Ok(Some(ann()))),
        (generic(), json!({"email": "ann@corp.example", "email_verified": true}), Ok(Some(ann()))),
        (generic(), json!({"email": "ann@corp.example", "email_verified": false}), unverified()),
        (generic(), json!({"email": "ann@corp.example", "email_verified": "true"}), unverified()),
        (declared, json!({"email": "ann@corp.example", "email_verified": false}), Ok(Some(ann()))),
        (generic(), json!({"email": ["ann@corp.example"]}), Err(Refusal::NotAnAddress("email".to_owned()))),
        (named, json!({"mail": "ann@corp.example", "email": "a@b.example"}), Ok(Some(ann()))),
        (named, json!({"mail": 3}), Err(Refusal::NotAnAddress("mail".to_owned()))),
        (hosted, json!({}), Ok(None)),
        (hosted, json!({"hd": "Corp.example"}), Ok(None)),
        (hosted, json!({"hd": "other.example"}), Err(Refusal::HostedDomain(corp.clone()))),
        (hosted, json!({"hd": ["corp.example"]}), Err(Refusal::HostedDomain(corp.clone()))),
        (entra(), json!({"tid": TENANT.to_uppercase(), "upn": "ann@corp.example"}), Ok(Some(ann()))),
        (entra(), json!({"tid": "00000000-0000-0000-0000-000000000000"}), Err(Refusal::Tenant)),
        (entra(), json!({"email": "ann@corp.example", "xms_edov": false}), unverified()),
    ] {
        let mut info = said.clone();
        info["sub"] = json!("somebody");
        let info = Userinfo::read(info.to_string().as_bytes(), "somebody").unwrap();
        assert_eq!(reading.told_anew(&info).map(|told| told.email), expected, "{said}");
    }
}

proptest! {
    #[test]
    fn whatever_a_provider_says_nobody_is_both_refused_and_whole(
        address in "\\PC{0,30}", verified in any::<bool>(), other in "[a-z@.]{0,20}", tid in "[0-9a-f-]{0,36}",
    ) {
        let said = json!({"email": address, "email_verified": verified, "upn": other, "tid": tid});
        for reading in [generic(), entra()] {
            let resolution = resolve(&reading, said.clone());
            prop_assert!(resolution.email.is_some() || !resolution.refusals.is_empty());
            if let Some(email) = resolution.email.filter(|email| email.trust == Trust::Verified) {
                prop_assert!(verified && address.parse() == Ok(email.address));
            }
        }
    }

    // O5
    #[test]
    fn an_unverified_address_is_never_believed_without_a_reason(local in "[a-z]{1,8}", domain in "[a-z]{1,8}") {
        let said = json!({"email": format!("{local}@{domain}.example"), "email_verified": false});
        prop_assert!(resolve(&generic(), said).email.is_none());
    }
}
