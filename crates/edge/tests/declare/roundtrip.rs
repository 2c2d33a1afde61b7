//! What is exported is what was applied.

use proptest::prelude::*;
use tunnel_edge::declare::{ApplyError, check};

use crate::declare::desk::{ACCESS, Desk};

#[tokio::test]
async fn the_export_is_the_file_in_block_style() {
    let desk = Desk::configured().await;
    desk.apply(ACCESS).await;
    let expected = "\
sessions: {}
login_methods:
- name: pin
  type: one_time_pin
email_lists: []
ip_lists: []
groups:
- name: staff
  include:
  - email_domain: tnkeng.work
policies:
- name: staff-only
  action: allow
  include:
  - group: staff
  require:
  - ip: 203.0.113.0/24
  exclude:
  - email: guest@tnkeng.work
  session_duration: 24h
applications:
- name: www
  hostnames:
  - www.tnkeng.work
  login_methods:
  - pin
  policies:
  - staff-only
tunnels:
- name: office
  hostnames:
  - rdp.tnkeng.work
  - www.tnkeng.work
";
    let exported: String = desk.export().await.lines().map(|line| format!("{line}\n")).collect();
    assert_eq!(exported, expected);
}

#[tokio::test]
async fn an_export_of_nothing_is_a_file_too() {
    let desk = Desk::configured().await;
    let empty = desk.export().await;
    assert_eq!(desk.prune(&empty).await.to_string(), "no changes");
}

#[tokio::test]
async fn an_export_applies_to_another_edge() {
    let (one, two) = (Desk::configured().await, Desk::configured().await);
    one.apply(ACCESS).await;
    two.prune(&one.export().await).await;
    assert_eq!(one.export().await, two.export().await);
}

#[tokio::test]
async fn provisional_applications_are_not_exported_and_survive_pruning() {
    let desk = Desk::configured().await;
    desk.apply(ACCESS).await;
    desk.provisional("hello", "hello.tnkeng.work").await;
    let export = desk.export().await;
    assert!(!export.contains("hello"), "{export}");
    assert_eq!(desk.prune(&export).await.to_string(), "no changes");
    assert!(desk.declared().await.applications.iter().any(|app| app.provisional));
}

#[tokio::test]
async fn a_declared_application_takes_a_provisional_ones_hostname_and_name_without_error() {
    let desk = Desk::configured().await;
    desk.apply(ACCESS).await;
    desk.provisional("hello", "hello.tnkeng.work").await;
    let file = "applications:\n  - {name: hello, hostnames: [hello.tnkeng.work], policies: [administrators]}\n";
    let report = desk.apply(file).await;
    let expected = "\
+ application `hello`
    hostnames: hello.tnkeng.work
    policies: administrators
note: the provisional application of `hello.tnkeng.work` gives way
1 change applied (revision 3)";
    assert_eq!(report.to_string(), expected);
    assert_eq!(desk.apply(file).await.to_string(), "no changes");
}

#[tokio::test]
async fn checking_says_whether_what_is_stored_can_be_served() {
    let mut desk = Desk::configured().await;
    desk.apply(ACCESS).await;
    assert!(check(&desk.store, &desk.ground()).await.unwrap().is_empty());
    desk.mail = false;
    let error = check(&desk.store, &desk.ground()).await.unwrap_err();
    assert!(matches!(error, ApplyError::Refused(_)));
    assert!(error.to_string().contains("login method `pin` sends mail, and this edge cannot"), "{error}");
    desk.built_in.quick_start = true;
    assert!(check(&desk.store, &desk.ground()).await.is_ok());
}

/// A file with names and values from a small world, as a program would write it.
fn files() -> impl Strategy<Value = String> {
    let selector = prop_oneof![
        Just("email: ann@example.com"),
        Just("email_domain: \"b\u{fc}cher.example\""),
        Just("ip: 203.0.113.9/24"),
        Just("ip: \"2001:db8::1\""),
        Just("everyone: {}"),
        Just("login_method: \"1\""),
        Just("group: base"),
        Just("email_list: \"1\""),
        Just("ip_list: \"1\""),
        Just("country: NO"),
        Just("auth_method: \"1\""),
        Just("idp_group: {name: \"1e3\", login_method: \"1\"}"),
        Just("idp_group: \"~\""),
        Just("github: {organization: \"1\", team: \"2\"}"),
        Just("github: {organization: \"1\", login_method: \"1\"}"),
        Just("oidc_claim: {name: \"null\", value: 1.0}"),
        Just("time_of_week: {days: [sat-mon], from: \"22:00\", to: 6:00, zone: utc}"),
        Just("external_evaluation: {evaluate_url: \"https://e.example/?a=b\", keys_url: \"https://e.example\"}"),
        Just(
            "external_evaluation: {evaluate_url: \"http://[::1]/\", keys_url: \"https://e.example\", danger_allow_private_address: true}"
        ),
    ];
    let list = || {
        prop::collection::vec(selector.clone(), 1..4)
            .prop_map(|l| format!("[{}]", l.iter().map(|s| format!("{{{s}}}")).collect::<Vec<_>>().join(", ")))
    };
    let policy = (list(), list(), list(), prop::sample::select(vec!["allow", "block"]), 60..2_678_400u32);
    let path = prop::sample::select(vec!["", "/", "/admin", "/caf\u{e9}/", "/a*/b"]);
    (list(), prop::collection::vec(policy, 1..4), prop::collection::vec(path, 0..3)).prop_map(|(group, policies, paths)| {
        let mut text = format!("sessions: {{idle: 1h}}\nlogin_methods: [{{name: \"1\", type: one_time_pin}}]\nemail_lists: [{{name: \"1\", emails: [B@b.example, a@b.example]}}]\nip_lists: [{{name: \"1\", ips: [192.0.2.9/24]}}]\ngroups:\n  - {{name: base, include: [{{everyone: true}}]}}\n  - {{name: \"true\", include: {group}}}\npolicies:\n");
        for (n, (include, require, exclude, action, seconds)) in policies.iter().enumerate() {
            text += &format!("  - {{name: \"{n}\", action: {action}, include: {include}, require: {require}, exclude: {exclude}, session_duration: {seconds}s}}\n");
        }
        text += "applications:\n";
        for (n, path) in paths.iter().enumerate() {
            text += &format!("  - {{name: app-{n}, hostnames: [\"h{n}.example.com{path}\", \"*.h{n}.example.com\"], policies: [\"0\"], compatible_headers: false, device_login: false, session_idle: 1h, assertion: rs256, same_site: none, cors: {{allowed_origins: [\"https://x.example:8443\", \"http://127.0.0.1:3000\"], allowed_methods: [PUT], allowed_headers: [X-Api], allow_credentials: true, max_age: 600}}, websocket_origins: [\"https://x.example:8443\"], upgrades: [tcp, SPDY/3.1]}}\n");
        }
        if paths.is_empty() { text.replace("applications:\n", "applications: []\n") } else { text }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn whatever_was_applied_is_exported_so_that_it_changes_nothing(file in files()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let desk = Desk::configured().await;
            desk.apply(&file).await;
            assert_eq!(desk.apply(&file).await.changes, vec![], "{file}");
            let export = desk.export().await;
            assert_eq!(desk.prune(&export).await.changes, vec![], "{export}");
        });
    }
}

#[tokio::test]
async fn a_passkey_method_says_how_long_it_counts_unless_it_is_as_usual() {
    for (written, exported) in [
        ("{name: key, type: passkey, renew: 7d}", "- name: key\n  type: passkey\n  renew: 7d\n"),
        ("{name: key, type: passkey, renew: 30d}", "- name: key\n  type: passkey\n"),
        ("{name: key, type: passkey}", "- name: key\n  type: passkey\n"),
    ] {
        let desk = Desk::configured().await;
        desk.apply(&format!("login_methods:\n  - {written}\n")).await;
        let export = desk.export().await;
        assert!(export.contains(&format!("login_methods:\n{exported}email_lists:")), "{export}");
    }
}
