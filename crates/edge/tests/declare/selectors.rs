//! Every selector by itself: what was applied is exported as it is read again, and what is wrong is refused where it stands.

use crate::declare::desk::Desk;

/// What rules refer to.
const BASE: &str = "\
login_methods:
  - {name: pin, type: one_time_pin}
email_lists:
  - {name: partners, emails: [Ann@example.org, bob@example.org]}
ip_lists:
  - {name: offices, ips: [192.0.2.0/24, \"2001:db8::1\"]}
groups:
  - {name: staff, include: [{email_domain: tnkeng.work}]}
";

/// A rule as it is written, and as it is exported when that is another way.
const GOOD: &[(&str, &str)] = &[
    ("email: Ann@Example.com", "email: ann@example.com"),
    ("email_domain: example.com", ""),
    ("email_list: partners", ""),
    ("ip: 203.0.113.9/24", "ip: 203.0.113.0/24"),
    ("ip_list: offices", ""),
    ("country: jp", "country: JP"),
    ("country: NO", ""),
    ("everyone: true", ""),
    ("everyone", "everyone: true"),
    ("login_method: pin", ""),
    ("auth_method: mfa", ""),
    ("idp_group: Domain Admins", ""),
    ("idp_group: {name: Domain Admins}", "idp_group: Domain Admins"),
    ("idp_group: {name: Domain Admins, login_method: pin}", ""),
    ("idp_group: \"true\"", ""),
    ("github: ACME", "github: acme"),
    ("github: {organization: Acme, team: Ops}", "github: {organization: acme, team: ops}"),
    ("github: {organization: acme}", "github: acme"),
    ("github: {organization: acme, login_method: pin}", ""),
    ("github: {organization: acme, team: ops, login_method: pin}", ""),
    ("oidc_claim: {name: department, value: \"R&D: all\"}", ""),
    (
        "oidc_claim: {name: level, value: 7, login_method: pin}",
        "oidc_claim: {name: level, value: \"7\", login_method: pin}",
    ),
    ("oidc_claim: {name: share, value: 1.0}", "oidc_claim: {name: share, value: \"1.0\"}"),
    ("oidc_claim: {name: manager, value: true}", "oidc_claim: {name: manager, value: \"true\"}"),
    ("time_of_week: {days: [mon-fri], from: \"09:00\", to: \"18:00\", zone: Asia/Tokyo}", ""),
    (
        "time_of_week: {days: [sat, SUN, mon, tue], from: 22:00, to: 6:00, zone: europe/berlin}",
        "time_of_week: {days: [mon, tue, sat, sun], from: \"22:00\", to: \"06:00\", zone: Europe/Berlin}",
    ),
    ("time_of_week: {days: [mon-sun], from: \"00:00\", to: \"24:00\", zone: UTC}", ""),
    ("external_evaluation: {evaluate_url: \"https://e.example/ask?x=1\", keys_url: \"https://e.example/keys\"}", ""),
    (
        "external_evaluation: {evaluate_url: \"http://10.0.0.1/ask\", keys_url: \"http://10.0.0.1/keys\", danger_allow_private_address: true}",
        "",
    ),
    (
        "external_evaluation: {evaluate_url: \"https://e.example/a\", keys_url: \"https://e.example/k\", danger_allow_private_address: false}",
        "external_evaluation: {evaluate_url: \"https://e.example/a\", keys_url: \"https://e.example/k\"}",
    ),
    ("group: staff", ""),
];

#[tokio::test]
async fn every_selector_is_exported_as_it_is_applied() {
    let desk = Desk::configured().await;
    desk.apply(BASE).await;
    for (rule, exported) in GOOD {
        let exported = if exported.is_empty() { rule } else { exported };
        let file = |rule: &str| {
            let rule = if rule == "everyone" { rule.to_owned() } else { format!("{{{rule}}}") };
            format!(
                "policies:\n  - {{name: p, action: allow, include: [everyone], require: [{rule}], exclude: [{rule}]}}\n"
            )
        };
        desk.apply(&file(rule)).await;
        assert_eq!(desk.apply(&file(rule)).await.to_string().lines().last(), Some("no changes"), "{rule}");
        // The other way of writing it is the same.
        assert_eq!(desk.apply(&file(exported)).await.to_string().lines().last(), Some("no changes"), "{exported}");
        let export = desk.export().await;
        assert_eq!(desk.prune(&export).await.changes, vec![], "{export}");
        // And it is what a person would write: no other key, no other value.
        let (other, again) = (Desk::configured().await, format!("{BASE}{}", file(exported)));
        other.apply(&again).await;
        assert_eq!(other.export().await, export, "{rule}");
    }
}

#[tokio::test]
async fn rules_about_machines_and_about_nobody_are_exported_too() {
    let desk = Desk::configured().await;
    let file = format!(
        "{BASE}policies:
  - {{name: machines, action: service_auth, include: [any_service_token], require: [{{ip_list: offices}}]}}
  - {{name: open, action: bypass, include: [{{ip_list: offices}}], exclude: [{{country: JP}}]}}
applications:
  - {{name: www, hostnames: [www.tnkeng.work], policies: [open, machines]}}
"
    );
    desk.apply(&file).await;
    let export = desk.export().await;
    assert_eq!(desk.prune(&export).await.changes, vec![], "{export}");
    assert_eq!(desk.prune(&file).await.changes, vec![], "{export}");
}

/// A rule, and the message about it: it stands in line 4 from column 9 on.
const WRONG: &[(&str, &str)] = &[
    ("country: Japan", "4:18: `Japan`: a country is two letters, such as `JP`"),
    ("country: UK", "4:18: `UK` is not the code of a country (ISO 3166-1, two letters); did you mean `GB`?"),
    ("country: ZZ", "4:18: `ZZ` is not the code of a country (ISO 3166-1, two letters)"),
    ("country: [JP, US]", "4:18: `country` takes one value: write one rule for each, `- country: …`"),
    ("contry: JP", "4:9: unknown selector `contry`; did you mean `country`?"),
    ("email_list: partner", "4:21: there is no e-mail list `partner`; did you mean `partners`?"),
    ("email_list: offices", "4:21: there is no e-mail list `offices`"),
    ("ip_list: office", "4:18: there is no IP list `office`; did you mean `offices`?"),
    ("auth_method: \"\"", "4:22: `` is not an authentication method: write a word of RFC 8176, such as `mfa` or `hwk`"),
    (
        "auth_method: two words",
        "4:22: `two words` is not an authentication method: write a word of RFC 8176, such as `mfa` or `hwk`",
    ),
    ("idp_group: \"\"", "4:20: an empty text is compared with nothing: write what it must be"),
    ("idp_group: 7", "4:20: `idp_group` is text: put it in quotes, \"7\""),
    (
        "idp_group: {nam: x}",
        "4:20: idp_group without `name`\naccess.yaml:4:21: unknown key of idp_group `nam`; did you mean `name`?",
    ),
    ("idp_group: {name: x, login_method: pim}", "4:20: there is no login method `pim`; did you mean `pin`?"),
    (
        "idp_group: {name: x, login_method: P}",
        "4:44: `P`: not a name: use 1 to 64 of a-z, 0-9, `-`, `_` and `.`, beginning with a letter or digit",
    ),
    ("github: acme/ops", "4:17: `acme/ops`: write `{organization: acme, team: ops}`"),
    ("github: a b", "4:17: `a b` is not an organisation at GitHub: write its login name, as in github.com/NAME"),
    (
        "github: {organization: acme, team: \"a b\"}",
        "4:44: `a b` is not a team at GitHub: write its slug, as in github.com/orgs/NAME/teams/SLUG",
    ),
    ("github: {team: ops}", "4:17: github without `organization`"),
    ("github: {organization: a, login_method: pim}", "4:17: there is no login method `pim`; did you mean `pin`?"),
    ("oidc_claim: {name: department}", "4:21: oidc_claim without `value`"),
    ("oidc_claim: {name: department, value: [a]}", "4:47: `value` is one value: write one rule for each"),
    (
        "oidc_claim: {name: department, value: \"\"}",
        "4:47: an empty text is compared with nothing: write what it must be",
    ),
    ("oidc_claim: department", "4:21: oidc_claim: a map such as `{name: …}` is wanted, not text"),
    ("oidc_claim: {name: a, value: b, login_method: pim}", "4:21: there is no login method `pim`; did you mean `pin`?"),
    ("time_of_week: {days: [mon], from: \"09:00\", to: \"18:00\"}", "4:23: time_of_week without `zone`"),
    (
        "time_of_week: {days: [], from: \"09:00\", to: \"18:00\", zone: UTC}",
        "4:30: `days` names no day: write for example `[mon-fri]`, or `[mon-sun]` for all",
    ),
    (
        "time_of_week: {days: mon, from: \"09:00\", to: \"18:00\", zone: UTC}",
        "4:30: `days` is a list, not text: write `[…]`",
    ),
    (
        "time_of_week: {days: [mon, funday], from: \"09:00\", to: \"18:00\", zone: UTC}",
        "4:36: `funday`: not a day: write `mon`, `tue`, `wed`, `thu`, `fri`, `sat` or `sun`, or a range such as `mon-fri`",
    ),
    (
        "time_of_week: {days: [mon], from: 9am, to: \"18:00\", zone: UTC}",
        "4:43: `9am`: not a time of day: write hours and minutes, such as `09:00`, up to `24:00`",
    ),
    ("time_of_week: {days: [mon], from: 9, to: \"18:00\", zone: UTC}", "4:43: `from` is text: put it in quotes, \"9\""),
    (
        "time_of_week: {days: [mon], from: \"09:00\", to: \"9:00\", zone: UTC}",
        "4:43: `time_of_week`: it begins when it ends; a whole day is from `00:00` to `24:00`",
    ),
    (
        "time_of_week: {days: [mon], from: \"24:00\", to: \"9:00\", zone: UTC}",
        "4:43: `time_of_week`: it begins at `24:00`; write `00:00` of the day after",
    ),
    (
        "time_of_week: {days: [mon], from: \"09:00\", to: \"18:00\", zone: Tokyo}",
        "4:71: `Tokyo`: not a time zone of the IANA database: write for example `Asia/Tokyo` or `UTC`; did you mean \
         `Asia/Tokyo`?",
    ),
    (
        "time_of_week: {days: [mon], from: \"09:00\", to: \"18:00\", zone: Europe/Berln}",
        "4:71: `Europe/Berln`: not a time zone of the IANA database: write for example `Asia/Tokyo` or `UTC`; did you \
         mean `Europe/Berlin`?",
    ),
    (
        "external_evaluation: {evaluate_url: \"http://e.example/\", keys_url: \"https://e.example/\"}",
        "4:45: `http://e.example/`: a service is asked by https; plain http needs `danger_allow_private_address: true`",
    ),
    (
        "external_evaluation: {evaluate_url: \"https://e.example/\", keys_url: \"https://10.0.0.1/\"}",
        "4:77: `https://10.0.0.1/`: a private address is asked only with `danger_allow_private_address: true`",
    ),
    (
        "external_evaluation: {evaluate_url: e.example/ask, keys_url: \"https://e.example/\"}",
        "4:45: `e.example/ask` is not an address of the form `https://HOST/PATH`",
    ),
    (
        "external_evaluation: {evaluate_url: \"https://e.example/\", keys_url: \"https://e.example/\", danger_allow_private_address: 1}",
        "4:129: `danger_allow_private_address` is true or false, not a number",
    ),
    ("external_evaluation: {evaluate_url: \"https://e.example/\"}", "4:30: external_evaluation without `keys_url`"),
    (
        "external_evaluation: true",
        "4:30: external_evaluation: a map such as `{evaluate_url: …}` is wanted, not true or false",
    ),
    ("certificate: true", "4:9: selector `certificate` is not built yet"),
    ("common_name: x", "4:9: selector `common_name` is not built yet"),
    ("saml_attribute: x", "4:9: selector `saml_attribute` is not built yet"),
    ("google_group: x", "4:9: selector `google_group` is not built yet"),
    ("okta: x", "4:9: selector `okta` is not built yet"),
    ("device_posture: x", "4:9: selector `device_posture` is not built yet"),
    ("linked_app_token: x", "4:9: selector `linked_app_token` is not built yet"),
    ("auth_context: x", "4:9: selector `auth_context` is not built yet"),
];

#[tokio::test]
async fn every_wrong_value_is_refused_where_it_stands() {
    let desk = Desk::configured().await;
    desk.apply(BASE).await;
    let mut wrong = Vec::new();
    for (rule, message) in WRONG {
        let text = format!("groups:\n  - name: g\n    include:\n      - {rule}\n");
        let (refusal, expected) = (desk.refusal(&text).await, format!("access.yaml:{message}"));
        if refusal != expected {
            wrong.push(format!("{rule}\n  {refusal}\n  {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

// A rule that could never be true is refused, and so is one that would never block.
#[tokio::test]
async fn a_country_needs_a_file_that_says_where_addresses_are() {
    let mut desk = Desk::configured().await;
    desk.countries = false;
    let why = "a `country` rule needs a file that says where addresses are, and this edge has none: name one by `country_file` in edge.toml first";
    let file = "groups:\n  - name: g\n    include:\n      - country: JP\n";
    assert_eq!(desk.refusal(file).await, format!("access.yaml:4:18: {why}"));
    let blocks = "policies:\n  - {name: p, action: block, include: [{country: JP}]}\n";
    assert_eq!(desk.refusal(blocks).await, format!("access.yaml:2:50: {why}"));
    // What was declared while there was one stays, and nothing is applied or served until it is there again or the rule gone.
    desk.countries = true;
    desk.apply(blocks).await;
    desk.countries = false;
    let other = desk.refusal("groups:\n  - {name: g, include: [everyone]}\n").await;
    assert_eq!(other, format!("access.yaml: policy `p`: {why}"));
    let stored = tunnel_edge::declare::check(&desk.store, &desk.ground()).await.unwrap_err().to_string();
    assert_eq!(stored, format!("the stored configuration: policy `p`: {why}"));
    desk.apply("policies:\n  - {name: p, action: block, include: [everyone]}\n").await;
}
