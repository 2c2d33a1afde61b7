//! Login methods: what is declared, what is refused, and where secrets go.

use tunnel_edge::{
    declare::{Request, SecretText},
    store::{LoginMethodKind, OpenIdMethod, OpenIdPreset},
};

use crate::declare::desk::{ACCESS, Desk};

const TENANT: &str = "8f0b6b1e-5c1d-4c0a-9d39-1f2f3a4b5c6d";

const METHODS: &str = "\
login_methods:
  - name: keycloak
    type: keycloak
    issuer: https://id.example.com/realms/x
    client_id: edge
    client_secret: {file: secrets/keycloak}
    scopes: [groups]
    groups_claim: roles
    claims: [department]
    authoritative_for: [corp.example]
    revalidate: 90m
  - {name: entra, type: entra, tenant: 8F0B6B1E-5C1D-4C0A-9D39-1F2F3A4B5C6D, client_id: c, client_secret: {env: ENTRA}, email_claim: mail, groups: true}
  - {name: google, type: google, client_id: c, client_secret: {env: GOOGLE}, hosted_domain: Corp.example}
  - {name: auth0, type: auth0, issuer: \"https://corp.eu.auth0.com\", client_id: c, client_secret: {env: GOOGLE}}
  - {name: gitlab, type: gitlab, client_id: c, client_secret: {env: GOOGLE}}
  - {name: github, type: github, client_id: c, client_secret: {env: GOOGLE}}
  - {name: ghe, type: github, client_id: c, client_secret: {env: GOOGLE}, authority: \"https://git.corp.example/\"}
  - {name: lab, type: oidc, issuer: \"http://127.0.0.1:3000\", client_id: c, client_secret: {env: GOOGLE}, danger_allow_private_address: true}
  - {name: passkey, type: passkey, renew: 90d}
  - {name: pin, type: one_time_pin}
";

fn request(text: &str, secrets: &[(&str, &str)]) -> Request {
    let secrets = secrets.iter().map(|(key, value)| ((*key).to_owned(), SecretText::new((*value).to_owned())));
    let (file, text) = ("access.yaml".to_owned(), text.to_owned());
    Request { file, text, secrets: secrets.collect(), ..Request::default() }
}

fn all(text: &str) -> Request {
    request(text, &[("file:secrets/keycloak", "kc s3cret"), ("env:ENTRA", "e"), ("env:GOOGLE", "g")])
}

async fn openid(desk: &Desk, name: &str) -> OpenIdMethod {
    let declared = desk.declared().await;
    let method = declared.login_methods.into_iter().find(|method| method.name.as_str() == name).unwrap();
    let LoginMethodKind::OpenId(openid) = method.kind else { panic!("{name}") };
    *openid
}

#[tokio::test]
async fn every_kind_is_declared_kept_in_order_and_found_again() {
    let desk = Desk::configured().await;
    let report = desk.send(&all(METHODS)).await.unwrap();
    assert_eq!(report.changes.len(), 10);
    let declared = desk.declared().await;
    let names: Vec<_> = declared.login_methods.iter().map(|method| method.name.as_str()).collect();
    let order = ["keycloak", "entra", "google", "auth0", "gitlab", "github", "ghe", "lab", "passkey", "pin"];
    assert_eq!(names, order);
    let keycloak = openid(&desk, "keycloak").await;
    assert_eq!(
        (keycloak.preset, keycloak.issuer.as_str()),
        (OpenIdPreset::Keycloak, "https://id.example.com/realms/x")
    );
    assert_eq!((keycloak.groups_claim.as_deref(), keycloak.claims.len()), (Some("roles"), 1));
    assert_eq!(keycloak.revalidate, Some(std::time::Duration::from_secs(5400)));
    let secret = keycloak.client_secret.open(&desk.keys, &"keycloak".parse().unwrap()).unwrap();
    assert_eq!(secret.expose(), b"kc s3cret");
    assert!(keycloak.client_secret.open(&desk.keys, &"entra".parse().unwrap()).is_err(), "sealed for its name");
    let entra = openid(&desk, "entra").await;
    assert_eq!(entra.issuer, format!("https://login.microsoftonline.com/{TENANT}/v2.0"));
    assert_eq!((entra.tenant(), entra.groups, entra.revalidate), (Some(TENANT), true, None));
    assert_eq!(openid(&desk, "google").await.issuer, "https://accounts.google.com");
    assert_eq!(openid(&desk, "auth0").await.issuer, "https://corp.eu.auth0.com/");
    assert_eq!(openid(&desk, "gitlab").await.issuer, "https://gitlab.com");
    let github = |name: &str| {
        let found = declared.login_methods.iter().find(|method| method.name.as_str() == name).unwrap();
        let LoginMethodKind::Github(github) = &found.kind else { panic!("{name}") };
        (github.authority.clone(), github.api.clone())
    };
    assert_eq!(github("github"), ("https://github.com".into(), "https://api.github.com".into()));
    assert_eq!(github("ghe"), ("https://git.corp.example".into(), "https://git.corp.example/api/v3".into()));
}

// A6, A7
#[tokio::test]
async fn a_secret_is_told_nowhere_and_applying_the_same_twice_changes_nothing() {
    let desk = Desk::configured().await;
    let told = desk.send(&all(METHODS)).await.unwrap();
    assert_eq!(desk.send(&all(METHODS)).await.unwrap().changes, []);
    let exported = desk.export().await;
    assert!(exported.contains("unchanged: true"), "{exported}");
    assert_eq!(desk.send(&request(&exported, &[])).await.unwrap().changes, [], "{exported}");
    let mut other = all(METHODS);
    other.secrets.insert("file:secrets/keycloak".into(), SecretText::new("an0ther".into()));
    let report = desk.send(&other).await.unwrap();
    assert!(report.to_string().starts_with("~ login method `keycloak`\n    client_secret: changed\n"), "{report}");
    let keycloak = openid(&desk, "keycloak").await;
    let secret = keycloak.client_secret.open(&desk.keys, &"keycloak".parse().unwrap()).unwrap();
    assert_eq!(secret.expose(), b"an0ther");
    let audit = format!("{:?}", desk.audit().await);
    for text in [&told.to_string(), &exported, &report.to_string(), &audit, &format!("{:?}", desk.declared().await)] {
        assert!(!text.contains("s3cret") && !text.contains("an0ther"), "{text}");
    }
}

#[tokio::test]
async fn what_changes_is_told_field_by_field_and_the_place_with_it() {
    let desk = Desk::configured().await;
    desk.send(&all(METHODS)).await.unwrap();
    let text = "login_methods:\n  - {name: google, type: google, client_id: d, client_secret: {unchanged: true}}\n  - {name: keycloak, \
        type: oidc, issuer: \"https://id.example.com/realms/x\", client_id: edge, client_secret: {unchanged: true}}\n";
    let report = desk.send(&request(text, &[])).await.unwrap().to_string();
    for line in [
        "~ login method `google`\n    place: 3 → 1\n",
        "    client_id: c → d",
        "    hosted_domain: corp.example → (none)",
        "    type: keycloak → oidc",
    ] {
        assert!(report.contains(line), "{line}\n{report}");
    }
}

// A6
#[tokio::test]
async fn a_secret_stays_only_where_it_was_given_for() {
    let desk = Desk::configured().await;
    desk.send(&all(METHODS)).await.unwrap();
    let elsewhere = "login_methods:\n  - {name: keycloak, type: keycloak, issuer: \"https://evil.example\", client_id: edge, \
        client_secret: {unchanged: true}}\n";
    let error = desk.send(&request(elsewhere, &[])).await.unwrap_err().to_string();
    assert!(error.contains("was given for `https://id.example.com/realms/x` and is not sent elsewhere"), "{error}");
    let new = "login_methods:\n  - {name: new, type: gitlab, client_id: c, client_secret: {unchanged: true}}\n";
    let error = desk.send(&request(new, &[])).await.unwrap_err().to_string();
    assert_eq!(error, "access.yaml:2:60: there is no secret of `new` that could stay: name it");
    let pin = "login_methods:\n  - {name: pin, type: gitlab, client_id: c, client_secret: {env: X}}\n";
    let error = desk.send(&request(pin, &[("env:X", "x")])).await.unwrap_err().to_string();
    assert!(error.contains("`pin` is the address at which codes are typed"), "{error}");
}

#[tokio::test]
async fn a_secret_comes_with_the_file_or_not_at_all() {
    let desk = Desk::configured().await;
    let text = "login_methods:\n  - {name: g, type: google, client_id: c, client_secret: {file: x}}\n";
    for (secrets, expected) in [
        (&[][..], "2:58: the value of `{file: x}` did not come with the file: only `edge apply` sends it along"),
        (&[("file:x", "")], "2:58: `{file: x}` is empty"),
        (&[("file:x", "two\nlines")], "2:58: `{file: x}` is not one line of at most 4096 bytes"),
    ] {
        let error = desk.send(&request(text, secrets)).await.unwrap_err().to_string();
        assert_eq!(error, format!("access.yaml:{expected}"));
    }
    let large = "x".repeat(300 * 1024);
    let error = desk.send(&request(text, &[("file:x", &large)])).await.unwrap_err().to_string();
    assert_eq!(error, "access.yaml: the values that came with the file are larger than 262144 bytes");
    assert!(desk.declared().await.login_methods.is_empty());
}

/// Methods with one fault each, after `name: m, `, and what is said of it.
const TABLE: &[(&str, &str)] = &[
    ("type: entra, client_id: c, client_secret: {env: S}", "2:5: login method without `tenant`"),
    (
        "type: entra, tenant: common, client_id: c, client_secret: {env: S}",
        "2:36: `common` would let in people of any organisation: write the id of your own tenant",
    ),
    (
        "type: entra, tenant: Organizations, client_id: c, client_secret: {env: S}",
        "2:36: `Organizations` would let in people of any organisation: write the id of your own tenant",
    ),
    (
        "type: entra, tenant: corp.onmicrosoft.com, client_id: c, client_secret: {env: S}",
        "2:36: `corp.onmicrosoft.com` is not a tenant's id: write the one that Microsoft Entra shows, such as \
         `8f0b6b1e-5c1d-4c0a-9d39-1f2f3a4b5c6d` (its domain does not stand in tokens)",
    ),
    ("type: oidc, client_id: c, client_secret: {env: S}", "2:5: login method without `issuer`"),
    ("type: google, client_secret: {env: S}", "2:5: login method without `client_id`"),
    ("type: google, client_id: c", "2:5: login method without `client_secret`"),
    (
        "type: google, client_id: c, client_secret: hunter2",
        "2:58: `client_secret` is a secret and is not written into this file: put it into a file that only you can read \
         and write `{file: PATH}`, or into an environment variable and write `{env: NAME}`",
    ),
    ("type: google, client_id: c, client_secret: {file: }", "2:58: `file` takes a text: `{file: …}`"),
    ("type: google, client_id: c, client_secret: {env: a-b}", "2:58: `a-b` is not the name of an environment variable"),
    (
        "type: google, client_id: c, client_secret: {unchanged: false}",
        "2:58: write `{unchanged: true}`, or name the secret",
    ),
    (
        "type: google, client_id: c, client_secret: {env: S}, hosted_domian: x",
        "2:68: unknown key of login method `hosted_domian`; did you mean `hosted_domain`?",
    ),
    ("type: one_time_pin, client_id: c", "2:35: unknown key of login method `client_id`; known: name, type"),
    (
        "type: google, client_id: c, client_secret: {env: S}, tenant: x",
        "2:68: unknown key of login method `tenant`; known: name, type, client_id, client_secret, hosted_domain, issuer, \
         scopes, email_claim, groups_claim, claims, authoritative_for, revalidate, ca, danger_allow_private_address",
    ),
    (
        "type: oidc, issuer: id.example.com, client_id: c, client_secret: {env: S}",
        "2:35: `id.example.com`: not an address: write `https://HOST` or `https://HOST/PATH`",
    ),
    (
        "type: oidc, issuer: \"http://id.example.com\", client_id: c, client_secret: {env: S}",
        "2:35: `http://id.example.com`: a provider is asked by https; plain http needs `danger_allow_private_address: true`",
    ),
    (
        "type: oidc, issuer: \"https://10.0.0.1\", client_id: c, client_secret: {env: S}",
        "2:35: `https://10.0.0.1`: a private address is asked only with `danger_allow_private_address: true`",
    ),
    (
        "type: oidc, issuer: \"https://id.example.com?x=y\", client_id: c, client_secret: {env: S}",
        "2:35: `https://id.example.com?x=y`: write it without user, query and fragment",
    ),
    (
        "type: oidc, issuer: \"ftp://id.example.com\", client_id: c, client_secret: {env: S}",
        "2:35: `ftp://id.example.com`: a provider is asked by https",
    ),
    (
        "type: google, client_id: c, client_secret: {env: S}, danger_allow_private_address: \"yes\"",
        "2:98: `danger_allow_private_address` is true or false, not text",
    ),
    (
        "type: google, client_id: c, client_secret: {env: S}, scopes: [\"a b\"]",
        "2:77: `a b` is not a scope: write one word for each",
    ),
    (
        "type: google, client_id: c, client_secret: {env: S}, authoritative_for: [\"@x\"]",
        "2:88: `@x` is not a domain: ",
    ),
    (
        "type: google, client_id: c, client_secret: {env: S}, ca: nothing",
        "2:72: the certificates in `ca` cannot be used: ",
    ),
    (
        "type: google, client_id: c, client_secret: {env: S}, claims: [department, sub]",
        "2:89: `sub` stands in every assertion with a meaning of ours and cannot be kept",
    ),
    (
        "type: google, client_id: c, client_secret: {env: S}, revalidate: 30s",
        "2:80: `30s` is out of range: a provider is asked again every 1m to every 30d",
    ),
    (
        "type: google, client_id: c, client_secret: {env: S}, revalidate: hourly",
        "2:80: `hourly` is not a duration: write for example `30m`, `24h` or `7d`",
    ),
    (
        "type: github, client_id: c, client_secret: {env: S}, revalidate: 1h",
        "2:68: unknown key of login method `revalidate`; ",
    ),
    ("type: passkey, renew: 5m", "2:37: `5m` is out of range: a passkey counts from 1h to 366d without another login"),
    ("type: passkey, renew: soon", "2:37: `soon` is not a duration: write for example `30m`, `24h` or `7d`"),
    ("type: gogle", "2:21: unknown login method type `gogle`; did you mean `google`?"),
    ("type: saml", "2:21: login method type `saml` is not built yet"),
];

#[tokio::test]
async fn each_fault_is_named_with_its_place_and_nothing_is_written() {
    let desk = Desk::configured().await;
    for (rest, expected) in TABLE {
        let text = format!("login_methods:\n  - {{name: m, {rest}}}\n");
        let error = desk.send(&request(&text, &[("env:S", "s")])).await.expect_err(rest).to_string();
        assert!(error.starts_with(&format!("access.yaml:{expected}")), "{rest}\n{error}");
    }
    assert!(desk.declared().await.login_methods.is_empty());
}

#[tokio::test]
async fn certificates_are_kept_as_they_are_and_told_by_what_they_hash_to() {
    let desk = Desk::configured().await;
    let zone = "example.com".parse().unwrap();
    let make = || tunnel_proto::identity::Ca::generate(&zone, tunnel_proto::UnixTime(1_800_000_000)).unwrap();
    let (one, two) = (make(), make());
    let text =
        "login_methods:\n  - {name: g, type: gitlab, client_id: c, client_secret: {env: S}, ca: {file: ca.pem}}\n";
    let with = |pem: &str| request(text, &[("env:S", "s"), ("file:ca.pem", pem)]);
    desk.send(&with(one.certificate_pem())).await.unwrap();
    assert_eq!(desk.send(&with(one.certificate_pem())).await.unwrap().to_string(), "no changes");
    let exported = desk.export().await;
    assert_eq!(desk.send(&request(&exported, &[])).await.unwrap().changes, [], "{exported}");
    let report = desk.send(&with(two.certificate_pem())).await.unwrap().to_string();
    assert!(report.contains("ca: certificates ") && report.len() < 200, "{report}");
}

#[tokio::test]
async fn an_edge_without_mail_takes_every_method_but_pins() {
    let mut desk = Desk::configured().await;
    desk.mail = false;
    let google = "login_methods:\n  - {name: g, type: google, client_id: c, client_secret: {env: S}}\n";
    desk.send(&request(google, &[("env:S", "s")])).await.unwrap();
    let error = desk.send(&request(ACCESS, &[])).await.unwrap_err().to_string();
    assert!(error.contains("login method `pin` sends mail, and this edge cannot: add `[smtp]`"), "{error}");
}

#[tokio::test]
async fn rules_that_any_of_several_providers_could_make_hold_are_warned_about() {
    let rules = "\
groups:
  - {name: ops, include: [{github: {organization: acme, team: ops}}]}
  - {name: ops-there, include: [{github: acme}], require: [{login_method: ghe}]}
policies:
  - {name: staff, action: allow, include: [{idp_group: admins}, {oidc_claim: {name: a, value: b}}, {group: ops}]}
  - {name: named, action: allow, include: [{idp_group: {name: admins, login_method: lab}}, {github: {organization: acme, login_method: ghe}}]}
  - {name: careful, action: allow, include: [{email: a@b.example}], exclude: [{idp_group: contractors}]}
  - {name: out, action: block, include: [{idp_group: contractors}], exclude: [{idp_group: admins}]}
";
    let several = "`keycloak`, `entra`, `google`, `auth0`, `gitlab`, `lab`";
    let warning = |what: &str, methods: &str| {
        format!("{what} holds by the word of any of {methods}; name the one that is meant by `login_method`")
    };
    let expected = [
        warning("group `ops`: github `acme/ops`", "`github`, `ghe`"),
        warning("policy `staff`: idp_group `admins`", several),
        warning("policy `staff`: oidc_claim `a` = `b`", several),
        warning("policy `out`: idp_group `admins`", several),
    ];
    let desk = Desk::configured().await;
    let report = desk.send(&all(&format!("{METHODS}{rules}"))).await.unwrap();
    let found: Vec<_> = report.warnings.iter().filter(|warning| warning.contains("by the word of")).collect();
    assert_eq!(found, expected.iter().collect::<Vec<_>>());
    // Where one method only could have said it, its name need not be.
    let one = "login_methods:\n  - {name: ghe, type: github, client_id: c, client_secret: {env: GOOGLE}}\n";
    let other = Desk::configured().await;
    let report =
        other.send(&all(&format!("{one}groups:\n  - {{name: ops, include: [{{github: acme}}]}}\n"))).await.unwrap();
    assert_eq!(report.warnings, [""; 0]);
}

/// The warnings about a file with `methods`, and `rest` below them, that have this text in them.
async fn warned(methods: &str, rest: &str, what: &str) -> Vec<String> {
    let desk = Desk::configured().await;
    let secrets = [("env:S", "s")];
    let report = desk.send(&request(&format!("login_methods:\n{methods}{rest}"), &secrets)).await.unwrap();
    report.warnings.into_iter().filter(|warning| warning.contains(what)).collect()
}

const GOOGLE: &str = "  - {name: google, type: google, client_id: c, client_secret: {env: S}}\n";
const GITLAB: &str = "  - {name: gitlab, type: gitlab, client_id: c, client_secret: {env: S}}\n";
const GITHUB: &str = "  - {name: github, type: github, client_id: c, client_secret: {env: S}}\n";
const PASSKEY: &str = "  - {name: passkey, type: passkey}\n";
const PIN: &str = "  - {name: pin, type: one_time_pin}\n";

#[tokio::test]
async fn ways_of_authentication_that_a_provider_could_claim_are_warned_about() {
    let both = "`google`, `passkey`";
    for (methods, policy, by) in [
        ([GOOGLE, PASSKEY], "include: [{auth_method: mfa}]", Some(both)),
        ([GOOGLE, PASSKEY], "include: [{email: a@b.example}], require: [{auth_method: hwk}]", Some(both)),
        ([GOOGLE, PASSKEY], "include: [{auth_method: mfa}], require: [{login_method: passkey}]", None),
        ([GOOGLE, PASSKEY], "include: [{auth_method: face}]", None),
        ([GOOGLE, PIN], "include: [{auth_method: otp}]", Some("`google`, `pin`")),
        ([GOOGLE, GITLAB], "include: [{auth_method: mfa}]", Some("`google`, `gitlab`")),
        ([GITHUB, PASSKEY], "include: [{auth_method: mfa}]", None),
        ([PASSKEY, PIN], "include: [{auth_method: mfa}]", None),
    ] {
        let rest = format!("policies:\n  - {{name: strong, action: allow, {policy}}}\n");
        let found = warned(&methods.concat(), &rest, "by the word of").await;
        assert_eq!(found.len(), usize::from(by.is_some()), "{methods:?} {policy}: {found:?}");
        assert!(by.is_none_or(|by| found[0].contains(&format!("any of {by}; "))), "{found:?}");
    }
}

#[tokio::test]
async fn rules_that_keep_nobody_out_who_logs_in_by_something_else_are_warned_about() {
    let groups = "groups:\n  - {name: out, include: [{idp_group: gone}]}\n  - {name: in, include: [everyone], exclude: [{group: out}]}\n";
    let allow = "{name: all, action: allow, include: [{email_domain: b.example}]}";
    let google_only =
        "{name: all, action: allow, include: [{email_domain: b.example}], require: [{login_method: google}]}";
    let block = "{name: deny, action: block, include: [{idp_group: gone}]}";
    let all = [GOOGLE, PASSKEY, PIN].concat();
    for (methods, policies, app, by) in [
        (all.as_str(), [block, allow], "", Some("`passkey`, `pin`")),
        (&all, ["{name: deny, action: block, include: [{group: out}]}", allow], "", Some("`passkey`, `pin`")),
        (
            &all,
            ["{name: deny, action: block, include: [everyone], require: [{idp_group: gone}]}", allow],
            "",
            Some("`passkey`, `pin`"),
        ),
        (&all, ["{name: deny, action: allow, include: [{group: in}]}", allow], "", Some("`passkey`, `pin`")),
        (
            &all,
            ["{name: deny, action: allow, include: [everyone], exclude: [{oidc_claim: {name: a, value: b}}]}", allow],
            "",
            Some("`passkey`, `pin`"),
        ),
        (
            &all,
            ["{name: deny, action: allow, include: [everyone], exclude: [{github: gone}]}", allow],
            "",
            Some("`google`, `passkey`, `pin`"),
        ),
        (&all, [block, allow], "login_methods: [google, pin], ", Some("`pin`")),
        // What is named, or admits nobody else.
        (&all, [block, allow], "login_methods: [google], ", None),
        (&all, [block, google_only], "", None),
        (
            &all,
            ["{name: deny, action: allow, include: [{idp_group: staff}], exclude: [{idp_group: gone}]}", allow],
            "",
            None,
        ),
        (
            &all,
            [
                "{name: deny, action: allow, include: [everyone], require: [{login_method: google}], exclude: [{idp_group: gone}]}",
                allow,
            ],
            "",
            None,
        ),
        // Here it errs to keeping people out.
        (&all, ["{name: deny, action: block, include: [everyone], exclude: [{idp_group: gone}]}", allow], "", None),
        (GOOGLE, [block, allow], "", None),
    ] {
        let rest = format!(
            "{groups}policies:\n  - {}\n  - {}\napplications:\n  - {{name: www, hostnames: [www.tnkeng.work], {app}policies: [deny, all]}}\n",
            policies[0], policies[1]
        );
        let found = warned(methods, &rest, "does not keep out").await;
        assert_eq!(found.len(), usize::from(by.is_some()), "{policies:?} {app}: {found:?}");
        let who = |by: &str| format!("does not keep out whoever logs in by {by}, of whom nobody says such a thing; ");
        assert!(by.is_none_or(|by| found[0].contains(&who(by))), "{found:?}");
    }
}
