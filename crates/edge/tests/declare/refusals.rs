//! What is refused, by name and position; after each refusal nothing may have changed.

use crate::declare::desk::{ACCESS, Desk};

/// Files with one fault each, and the whole message.
const TABLE: &[(&str, &str)] = &[
    // unknown words, and words of later
    ("polices: []\n", "1:1: unknown key of the file `polices`; did you mean `policies`?"),
    ("service_tokens: []\n", "1:1: key of the file `service_tokens` is not built yet"),
    (
        "zebra: 1\n",
        "1:1: unknown key of the file `zebra`; known: sessions, login_methods, email_lists, ip_lists, groups, policies, applications, tunnels",
    ),
    (
        "groups:\n  - name: g\n    include:\n      - emial: a@b.example\n",
        "4:9: unknown selector `emial`; did you mean `email`?",
    ),
    ("groups:\n  - name: g\n    include: [{certificate: true}]\n", "3:16: selector `certificate` is not built yet"),
    ("groups:\n  - name: g\n    include: [{service_token: x}]\n", "3:31: there is no service token `x`"),
    (
        "groups:\n  - name: g\n    include: [{zebra: x}]\n",
        "3:16: unknown selector `zebra`; known: email, email_domain, email_list, ip, ip_list, country, everyone, login_method, auth_method, idp_group, github, oidc_claim, service_token, any_service_token, time_of_week, external_evaluation, group",
    ),
    (
        "policies:\n  - {name: p, action: bypass, include: [{email: a@b.example}]}\n",
        "2:49: policy `p` (bypass) names email `a@b.example`, which nobody is asked for under a bypass: people belong into \
         `allow` policies, service tokens into `service_auth` policies",
    ),
    (
        "policies:\n  - {name: p, action: bypass, include: [everyone], require: [{group: staff}]}\n",
        "2:12: policy `p` (bypass) names email_domain `tnkeng.work`, which nobody is asked for under a bypass: people \
         belong into `allow` policies, service tokens into `service_auth` policies",
    ),
    (
        "policies:\n  - {name: p, action: bypass, include: [everyone], destinations: [\"10.0.0.0/8:22\"], session_duration: 1h}\n",
        "2:66: policy `p` is a bypass, which asks nobody who they are: `destinations` means nothing there\n\
         access.yaml:2:103: policy `p` is a bypass, which asks nobody who they are: `session_duration` means nothing there",
    ),
    (
        "policies:\n  - {name: p, action: service_auth, include: [{email: a@b.example}]}\n",
        "2:55: policy `p` (service_auth) names email `a@b.example`, which service tokens do not have: people belong into \
         `allow` policies",
    ),
    (
        "policies:\n  - {name: p, action: allow, include: [{any_service_token: true}]}\n",
        "2:60: policy `p` (allow) names any_service_token, which people do not have: service tokens belong into \
         `service_auth` policies",
    ),
    (
        "policies:\n  - {name: p, action: service_auth, include: [{any_service_token: x}]}\n",
        "2:67: `any_service_token` takes no value: write `{any_service_token: true}`",
    ),
    (
        "policies:\n  - {name: p, action: deny, include: [{everyone: true}]}\n",
        "2:23: unknown action `deny`; known: allow, block, bypass, service_auth",
    ),
    (
        "policies:\n  - {name: p, action: alow, include: [{everyone: true}]}\n",
        "2:23: unknown action `alow`; did you mean `allow`?",
    ),
    (
        "policies:\n  - {name: p, action: allow, include: [{everyone: true}], destinations: [\"10.0.0.0/8\"]}\n",
        "2:74: `10.0.0.0/8`: not a range of destinations: write CIDR:PORT, for example 192.168.1.0/24:3389",
    ),
    (
        "policies:\n  - {name: p, action: allow, incude: [], include: [{everyone: true}]}\n",
        "2:30: unknown key of policy `incude`; did you mean `include`?",
    ),
    ("login_methods:\n  - {name: okta, type: saml}\n", "2:24: login method type `saml` is not built yet"),
    (
        "login_methods:\n  - {name: x, type: one_time_pim}\n",
        "2:21: unknown login method type `one_time_pim`; did you mean `one_time_pin`?",
    ),
    (
        "tunnels:\n  - {name: t, hostname: x.example}\n",
        "2:15: unknown key of tunnel `hostname`; did you mean `hostnames`?",
    ),
    // what is missing or of the wrong kind
    ("groups:\n  - {include: [{everyone: true}]}\n", "2:5: group without `name`"),
    ("login_methods:\n  - {name: x}\n", "2:5: login method without `type`"),
    ("policies:\n  - {name: p, include: [{everyone: true}]}\n", "2:5: policy without `action`"),
    ("applications:\n  - {name: a, policies: []}\n", "2:5: application without `hostnames`"),
    ("applications:\n  - {name: a, hostnames: [a.example]}\n", "2:5: application without `policies`"),
    ("applications:\n  - {name: a, hostnames: [], policies: []}\n", "2:26: an application has at least one hostname"),
    ("groups:\n  - {name: g}\n", "2:5: group `g` without an `include` rule would match nobody: say whom it is about"),
    (
        "groups:\n  - {name: g, include: []}\n",
        "2:24: group `g` without an `include` rule would match nobody: say whom it is about",
    ),
    ("groups: {}\n", "1:9: `groups` is a list, not a map: write `[…]`"),
    ("groups:\n", "1:7: `groups` is empty: write a list, or `[]` for an empty one"),
    ("groups: [g]\n", "1:10: group: a map such as `{name: …}` is wanted, not text"),
    ("groups:\n  - {name: 7, include: [{everyone: true}]}\n", "2:12: `name` is text: put it in quotes, \"7\""),
    ("groups:\n  - {name: true, include: [{everyone: true}]}\n", "2:12: `name` is text: put it in quotes, \"true\""),
    (
        "groups:\n  - {name: Big, include: [{everyone: true}]}\n",
        "2:12: `Big`: not a name: use 1 to 64 of a-z, 0-9, `-`, `_` and `.`, beginning with a letter or digit",
    ),
    (
        "groups:\n  - {name: {file: x}, include: [{everyone: true}]}\n",
        "2:12: `{file: …}` stands for a secret, and `name` is not one; write it here",
    ),
    (
        "groups:\n  - {name: g, include: [{email: {env: X}}]}\n",
        "2:33: `{env: …}` stands for a secret, and `email` is not one; write it here",
    ),
    (
        "groups:\n  - {name: g, include: [{email: [a@b.example]}]}\n",
        "2:33: `email` takes one value: write one rule for each, `- email: …`",
    ),
    (
        "groups:\n  - {name: g, include: [{email: a@b.example, ip: 192.0.2.1}]}\n",
        "2:46: a rule is a map with one key; write `ip` as a rule of its own",
    ),
    (
        "groups:\n  - {name: g, include: [a@b.example]}\n",
        "2:25: a rule is a map with one key, such as `{email: ann@example.com}`, not text",
    ),
    (
        "groups:\n  - {name: g, include: [{everyone: false}]}\n",
        "2:36: `everyone` takes no value: write `{everyone: true}`",
    ),
    (
        "applications:\n  - {name: a, hostnames: [a.example], policies: [], compatible_headers: \"no\"}\n",
        "2:73: `compatible_headers` is true or false, not text",
    ),
    // values
    (
        "groups:\n  - {name: g, include: [{email: a@evil@corp.com}]}\n",
        "2:33: `a@evil@corp.com`: not an e-mail address of the form name@example.com",
    ),
    (
        "groups:\n  - {name: g, include: [{email_domain: \"@corp.com\"}]}\n",
        "2:40: `@corp.com`: write the domain without the `@`: `corp.com`",
    ),
    (
        "groups:\n  - {name: g, include: [{email_domain: \"*.corp.com\"}]}\n",
        "2:40: `*.corp.com`: an e-mail domain is exact; name each domain in a rule of its own",
    ),
    (
        "groups:\n  - {name: g, include: [{ip: 203.0.113.0/33}]}\n",
        "2:30: `203.0.113.0/33` is not an address or range: write `203.0.113.7` or `203.0.113.0/24`",
    ),
    (
        "policies:\n  - {name: p, action: allow, include: [{everyone: true}], session_duration: 1y}\n",
        "2:77: `1y` is not a duration: write for example `30m`, `24h` or `7d`",
    ),
    (
        "policies:\n  - {name: p, action: allow, include: [{everyone: true}], session_duration: 24}\n",
        "2:77: `session_duration` is text: put it in quotes, \"24\"",
    ),
    (
        "policies:\n  - {name: p, action: allow, include: [{everyone: true}], session_duration: 5s}\n",
        "2:77: `5s` is out of range: a session lasts from 1m to 31d",
    ),
    (
        "applications:\n  - {name: a, hostnames: [\"https://a.example\"], policies: []}\n",
        "2:27: `https://a.example`: write the hostname without `https://`: `a.example`",
    ),
    (
        "applications:\n  - {name: a, hostnames: [\"a.example:8443\"], policies: []}\n",
        "2:27: `a.example:8443`: write the hostname without the port `:8443`: `a.example`",
    ),
    (
        "applications:\n  - {name: a, hostnames: [192.0.2.1], policies: []}\n",
        "2:27: `192.0.2.1` is not a hostname: an address is not a hostname",
    ),
    (
        "applications:\n  - {name: a, hostnames: [a.example/x%2fy], policies: []}\n",
        "2:27: `a.example/x%2fy`: a path pattern is written plainly, without '%' (no percent-encoding, query, fragment or parameters)",
    ),
    (
        "applications:\n  - {name: a, hostnames: [a.example], policies: [], websocket_origins: [b.example]}\n",
        "2:73: `b.example` is not an origin: write `https://HOST` or `https://HOST:PORT`",
    ),
    (
        "applications:\n  - {name: a, hostnames: [a.example], policies: [], upgrades: [websocket]}\n",
        "2:64: WebSockets pass without being listed: leave `websocket` out",
    ),
    (
        "applications:\n  - {name: a, hostnames: [a.example], policies: [], upgrades: [h2c]}\n",
        "2:64: `h2c` cannot be listed: what it carries are requests that the edge could not judge",
    ),
    (
        "applications:\n  - {name: a, hostnames: [a.example], policies: [], upgrades: [tcp, TCP]}\n",
        "2:69: `upgrades` has this twice",
    ),
    (
        "applications:\n  - {name: a, hostnames: [a.example], policies: [], upgrades: [a, b, c, d, e, f, g, h, i]}\n",
        "2:63: `upgrades` has more than 8 protocols",
    ),
    (
        "tunnels:\n  - {name: t, hostnames: [a.example/x]}\n",
        "2:27: `a.example/x`: a tunnel serves whole hostnames; paths belong to applications",
    ),
    // what other sites may do (H9, S4)
    (
        "applications:\n  - {name: a, hostnames: [a.example], policies: [], cors: {}}\n",
        "2:59: cors without `allowed_origins`",
    ),
    (
        "applications:\n  - {name: a, hostnames: [a.example], policies: [], cors: {allowed_origins: []}}\n",
        "2:77: `allowed_origins` without an origin allows nothing: leave `cors` out",
    ),
    (
        "applications:\n  - {name: a, hostnames: [a.example], policies: [], cors: {allowed_origins: [\"*\"]}}\n",
        "2:78: `*` stands for pages of anybody: write each origin out, `https://HOST`",
    ),
    (
        "applications:\n  - {name: a, hostnames: [a.example], policies: [], cors: {allowed_origins: [\"null\"]}}\n",
        "2:78: `null` stands for pages of anybody: write each origin out, `https://HOST`",
    ),
    (
        "applications:\n  - {name: a, hostnames: [a.example], policies: [], cors: {allowed_origins: [d.example]}}\n",
        "2:78: `d.example` is not an origin: write `https://HOST` or `https://HOST:PORT`",
    ),
    (
        "applications:\n  - {name: a, hostnames: [a.example], policies: [], cors: {allowed_origins: [\"http://d.example\"]}}\n",
        "2:78: `http://d.example`: whoever is on the way could be that page; write `https://`",
    ),
    (
        "applications:\n  - {name: a, hostnames: [a.example], policies: [], cors: {allowed_origins: [\"https://d.example\"], allowed_methods: [put]}}\n",
        "2:118: `put`: methods are written in capitals, `PUT`",
    ),
    (
        "applications:\n  - {name: a, hostnames: [a.example], policies: [], cors: {allowed_origins: [\"https://d.example\"], allowed_methods: [TRACE]}}\n",
        "2:118: `TRACE` is a method that browsers let no page use",
    ),
    (
        "applications:\n  - {name: a, hostnames: [a.example], policies: [], cors: {allowed_origins: [\"https://d.example\"], allowed_methods: [PUT, PUT]}}\n",
        "2:123: `allowed_methods` has this twice",
    ),
    (
        "applications:\n  - {name: a, hostnames: [a.example], policies: [], cors: {allowed_origins: [\"https://d.example\"], allowed_headers: [\"*\"]}}\n",
        "2:118: `*` is not a header: write each out, for example `X-Api-Version`",
    ),
    (
        "applications:\n  - {name: a, hostnames: [a.example], policies: [], cors: {allowed_origins: [\"https://d.example\"], allow_credentials: maybe}}\n",
        "2:119: `allow_credentials` is true or false, not text",
    ),
    (
        "applications:\n  - {name: a, hostnames: [a.example], policies: [], cors: {allowed_origins: [\"https://d.example\"], max_age: 25h}}\n",
        "2:109: `25h` is out of range: browsers remember for 24h at most",
    ),
    (
        "applications:\n  - {name: a, hostnames: [a.example], policies: [], same_site: off}\n",
        "2:64: unknown same_site `off`; known: lax, strict, none",
    ),
    // how long, and how it is signed
    ("sessions: []\n", "1:11: sessions: a map such as `{duration: …}` is wanted, not a list"),
    ("sessions: {lifetime: 1h}\n", "1:12: unknown key of sessions `lifetime`; known: duration, idle"),
    ("sessions: {duration: 5m}\n", "1:22: `5m` is out of range: a login lasts from 15m to 31d"),
    ("sessions: {duration: 32d}\n", "1:22: `32d` is out of range: a login lasts from 15m to 31d"),
    ("sessions: {idle: 4m59s}\n", "1:18: `4m59s` is out of range: a session lasts without use from 5m to 31d"),
    (
        "sessions: {duration: 1h, idle: 2h}\n",
        "1:32: `idle`: after 2h without use nothing is left to end, since it lasts 1h",
    ),
    (
        "applications:\n  - {name: a, hostnames: [a.example], policies: [], session_duration: 1h, session_idle: 61m}\n",
        "2:89: `session_idle`: after 1h1m without use nothing is left to end, since it lasts 1h",
    ),
    (
        "applications:\n  - {name: a, hostnames: [a.example], policies: [], session_duration: 59s}\n",
        "2:71: `59s` is out of range: a session lasts from 1m to 31d",
    ),
    (
        "applications:\n  - {name: a, hostnames: [a.example], policies: [], assertion: hs256}\n",
        "2:64: unknown assertion `hs256`; did you mean `es256`?",
    ),
    // lists
    ("email_lists:\n  - {name: l}\n", "2:5: e-mail list without `emails`"),
    ("ip_lists:\n  - {name: l}\n", "2:5: IP list without `ips`"),
    (
        "email_lists:\n  - {name: l, emails: [a@b.example, \"@b.example\"]}\n",
        "2:37: `@b.example`: not an e-mail address of the form name@example.com",
    ),
    ("email_lists:\n  - {name: l, emails: [a@b.example, A@B.example]}\n", "2:37: `emails` has this twice"),
    ("ip_lists:\n  - {name: l, ips: [192.0.2.1/24, 192.0.2.0/24]}\n", "2:35: `ips` has this twice"),
    (
        "ip_lists:\n  - {name: l, ips: [x]}\n",
        "2:21: `x` is not an address or range: write `203.0.113.7` or `203.0.113.0/24`",
    ),
    (
        "ip_lists:\n  - {name: l, ips: []}\n  - {name: l, ips: []}\n",
        "3:12: there is an IP list named `l` already, on line 2",
    ),
    // what is the edge's own
    (
        "applications:\n  - {name: a, hostnames: [Access.TNKeng.work.], policies: []}\n",
        "2:27: `access.tnkeng.work` is where people log in and cannot be published; choose another hostname",
    ),
    (
        "applications:\n  - {name: a, hostnames: [access.tnkeng.work/x], policies: []}\n",
        "2:27: `access.tnkeng.work` is where people log in and cannot be published; choose another hostname",
    ),
    (
        "tunnels:\n  - {name: t, hostnames: [access.tnkeng.work]}\n",
        "2:27: `access.tnkeng.work` is where people log in and cannot be published; choose another hostname",
    ),
    (
        "applications:\n  - {name: a, hostnames: [a.example/.Access/login], policies: []}\n",
        "2:27: `a.example/.Access/login`: the path `/.Access/login` belongs to the edge itself and cannot be declared",
    ),
    (
        "applications:\n  - {name: a, hostnames: [a.example/cdn-cgi/access], policies: []}\n",
        "2:27: `a.example/cdn-cgi/access`: the path `/cdn-cgi/access` belongs to the edge itself and cannot be declared",
    ),
    (
        "groups:\n  - {name: administrators, include: [{everyone: true}]}\n",
        "2:12: the group `administrators` is built in and cannot be declared; choose another name",
    ),
    (
        "policies:\n  - {name: administrators, action: allow, include: [{everyone: true}]}\n",
        "2:12: the policy `administrators` is built in and cannot be declared; choose another name",
    ),
    // what one thing says about another
    (
        "groups:\n  - {name: g, include: [{everyone: true}]}\n  - {name: g, include: [{everyone: true}]}\n",
        "3:12: there is a group named `g` already, on line 2",
    ),
    (
        "policies:\n  - {name: p, action: allow, include: [{group: staf}]}\n",
        "2:48: there is no group `staf`; did you mean `staff`?",
    ),
    (
        "policies:\n  - {name: p, action: allow, include: [{login_method: pim}]}\n",
        "2:55: there is no login method `pim`; did you mean `pin`?",
    ),
    (
        "applications:\n  - {name: a, hostnames: [a.example], policies: [staff_only]}\n",
        "2:50: there is no policy `staff_only`; did you mean `staff-only`?",
    ),
    (
        "applications:\n  - {name: a, hostnames: [a.example], policies: [], login_methods: [pen]}\n",
        "2:69: there is no login method `pen`; did you mean `pin`?",
    ),
    (
        "applications:\n  - {name: a, hostnames: [a.example], policies: [staff-only, staff-only]}\n",
        "2:62: `policies` names `staff-only` twice",
    ),
    (
        "applications:\n  - {name: a, hostnames: [a.example/x, a.example/x/], policies: []}\n",
        "2:40: `a.example/x` belongs to application `a` already, on line 2",
    ),
    (
        "applications:\n  - {name: a, hostnames: [www.tnkeng.work], policies: []}\n",
        "2:12: `www.tnkeng.work` is claimed by application `www` and by `a`",
    ),
    (
        "groups:\n  - {name: one, include: [{group: two}]}\n  - {name: two, include: [{group: one}]}\n",
        "3:12: groups refer to each other in a circle: `one` → `two` → `one`",
    ),
    (
        "tunnels:\n  - {name: t, hostnames: [a.example, A.example]}\n",
        "2:38: tunnel `t` lists `a.example` twice, first on line 2",
    ),
];

#[tokio::test]
async fn every_fault_is_refused_by_name_and_position() {
    let desk = Desk::configured().await;
    desk.apply(ACCESS).await;
    let mut wrong = Vec::new();
    for (text, message) in TABLE {
        let (refusal, expected) = (desk.refusal(text).await, format!("access.yaml:{message}"));
        if refusal != expected {
            wrong.push(format!("{text}  {refusal}\n  {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn what_is_not_yaml_is_refused_with_its_place() {
    let desk = Desk::configured().await;
    for text in [
        "groups: [",
        "groups: 'x",
        "groups: []\ngroups: []\n",
        "a: b: c\n",
        "groups:\n\t- x\n",
        "groups: *x\n",
        "groups: []\n---\ngroups: []\n",
    ] {
        let refusal = desk.refusal(text).await;
        let place = refusal.strip_prefix("access.yaml:").and_then(|rest| rest.split_once(": "));
        let numbers = place.is_some_and(|(place, _)| place.split(':').all(|number| number.parse::<u32>().is_ok()));
        assert!(numbers && !refusal.contains('\n') && refusal.contains("this is not YAML: "), "{text:?}: {refusal}");
    }
    assert_eq!(desk.refusal("").await, "access.yaml:1:1: the file declares nothing");
    assert_eq!(desk.refusal("# nothing\n").await.split_once(": ").unwrap().1, "the file declares nothing");
}

#[tokio::test]
async fn all_faults_are_told_from_the_top_down() {
    let desk = Desk::configured().await;
    let text = "applications:\n  - {name: a, hostnames: [\"a:1\"], polices: [x]}\ngroups:\n  - {name: g, include: [{emial: x}, {ip: y}]}\n";
    let expected = "\
access.yaml:2:5: application without `policies`
access.yaml:2:27: `a:1`: write the hostname without the port `:1`: `a`
access.yaml:2:35: unknown key of application `polices`; did you mean `policies`?
access.yaml:4:26: unknown selector `emial`; did you mean `email`?
access.yaml:4:42: `y` is not an address or range: write `203.0.113.7` or `203.0.113.0/24`";
    assert_eq!(desk.refusal(text).await, expected);
}

#[tokio::test]
async fn a_file_that_is_good_but_for_its_last_line_changes_nothing() {
    let desk = Desk::configured().await;
    let text = format!("{ACCESS}  - {{name: other, hostnames: [www.tnkeng.work]}}\n");
    let refusal = desk.refusal(&text).await;
    assert!(refusal.contains("is routed to tunnel `office` (line 15) and to tunnel `other`"), "{refusal}");
}

#[tokio::test]
async fn a_pin_method_needs_mail_outside_of_the_quick_start() {
    let mut desk = Desk::configured().await;
    desk.mail = false;
    let refusal = desk.refusal(ACCESS).await;
    assert_eq!(
        refusal,
        "access.yaml:2:12: login method `pin` sends mail, and this edge cannot: add `[smtp]` to edge.toml first"
    );
    desk.built_in.quick_start = true;
    desk.apply(ACCESS).await;
}

#[tokio::test]
async fn an_alias_bomb_is_refused() {
    let desk = Desk::configured().await;
    let mut text = "groups: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let before = n - 1;
        text += &format!(
            "k{n}: &a{n} [*a{before}, *a{before}, *a{before}, *a{before}, *a{before}, *a{before}, *a{before}, *a{before}]\n"
        );
    }
    assert!(desk.refusal(&text).await.contains("this is not YAML: "));
}
