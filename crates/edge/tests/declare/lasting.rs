//! Lists, and how long logins last.

use std::time::Duration;

use tunnel_edge::store::{SessionSettings, Store};
use tunnel_policy::AssertionAlgorithm;
use tunnel_proto::UnixTime;

use crate::declare::desk::{ACCESS, Desk};

#[tokio::test]
async fn a_list_is_told_by_who_comes_and_who_goes() {
    let desk = Desk::configured().await;
    let file = |emails: &str, ips: &str| {
        format!(
            "email_lists:\n  - {{name: partners, emails: [{emails}]}}\nip_lists:\n  - {{name: offices, ips: [{ips}]}}\n"
        )
    };
    let report = desk.apply(&file("b@x.example, A@x.example", "192.0.2.9/24, \"2001:db8::1\"")).await;
    let expected = "\
+ e-mail list `partners`
    emails: a@x.example, b@x.example
+ IP list `offices`
    ips: 192.0.2.0/24, 2001:db8::1
2 changes applied (revision 1)";
    assert_eq!(report.to_string(), expected);
    let report = desk.apply(&file("c@x.example, a@x.example", "\"2001:db8::1\"")).await;
    let expected = "\
~ e-mail list `partners`
    emails added: c@x.example
    emails removed: b@x.example
~ IP list `offices`
    ips removed: 192.0.2.0/24
2 changes applied (revision 2)";
    assert_eq!(report.to_string(), expected);
    // The order says nothing.
    let report = desk.apply(&file("a@x.example, c@x.example", "\"2001:DB8::1/128\"")).await;
    assert_eq!(report.to_string(), "no changes");
    let long = (0..200).map(|n| format!("p{n:03}@x.example")).collect::<Vec<_>>().join(", ");
    let report = desk.apply(&file(&long, "")).await.to_string();
    assert!(report.contains("    emails added: p000@x.example, p001@x.example, "), "{report}");
    assert!(report.contains("p009@x.example and 190 more\n    emails removed: a@x.example, c@x.example\n"), "{report}");
    let export = desk.export().await;
    assert_eq!(desk.prune(&export).await.to_string(), "no changes");
    let pruned = desk.prune("email_lists: []\n").await;
    assert_eq!(pruned.to_string(), "- e-mail list `partners`\n1 change applied (revision 4)");
    assert_eq!(desk.declared().await.ip_lists.len(), 1);
}

#[tokio::test]
async fn a_list_that_something_needs_is_not_pruned() {
    let desk = Desk::configured().await;
    desk.apply("email_lists:\n  - {name: l, emails: []}\nip_lists:\n  - {name: m, ips: []}\ngroups:\n  - {name: g, include: [{email_list: l}, {ip_list: m}]}\n").await;
    let refusal = desk.refusal_of("email_lists: []\n", true).await;
    assert_eq!(refusal, "access.yaml: group `g` refers to e-mail list `l`, which does not exist");
    let refusal = desk.refusal_of("ip_lists: []\n", true).await;
    assert_eq!(refusal, "access.yaml: group `g` refers to IP list `m`, which does not exist");
}

#[tokio::test]
async fn how_long_logins_last_is_a_setting() {
    let desk = Desk::configured().await;
    let report = desk.apply("sessions: {duration: 12h, idle: 30m}\n").await;
    assert_eq!(
        report.to_string(),
        "~ setting `sessions`\n    duration: 12h\n    idle: 30m\n1 change applied (revision 1)"
    );
    let (hour, minute) = (Duration::from_secs(3600), Duration::from_secs(60));
    let expected = SessionSettings { duration: Some(12 * hour), idle: Some(30 * minute) };
    assert_eq!(desk.declared().await.sessions, expected);
    // A file that does not mention it leaves it, also when it prunes; one that does says all of it.
    desk.prune(ACCESS).await;
    assert_eq!(desk.declared().await.sessions, expected);
    let export = desk.export().await;
    assert!(export.starts_with("sessions:\n  duration: 12h\n  idle: 30m\n"), "{export}");
    let report = desk.apply("sessions: {duration: 1d}\n").await;
    let expected =
        "~ setting `sessions`\n    duration: 12h → 24h\n    idle: 30m → (none)\n1 change applied (revision 3)";
    assert_eq!(report.to_string(), expected);
    desk.apply("sessions: {}\n").await;
    assert_eq!(desk.declared().await.sessions, SessionSettings::default());
    let export = desk.export().await;
    assert_eq!(desk.prune(&export).await.to_string(), "no changes");
}

#[tokio::test]
async fn an_application_may_say_how_long_and_how_its_assertions_are_signed() {
    let desk = Desk::configured().await;
    desk.apply(ACCESS).await;
    let file = |more: &str| ACCESS.replace("policies: [staff-only]}", &format!("policies: [staff-only]{more}}}"));
    let report = desk.apply(&file(", session_duration: 2h, session_idle: 20m, assertion: rs256")).await;
    let expected = "\
~ application `www`
    session_duration: 2h
    session_idle: 20m
    assertion: rs256
1 change applied (revision 2)";
    assert_eq!(report.to_string(), expected);
    let app = desk.declared().await.applications[0].clone();
    assert_eq!(app.session_duration, Some(Duration::from_secs(7200)));
    assert_eq!(app.session_idle, Some(Duration::from_secs(1200)));
    assert_eq!(app.assertion, AssertionAlgorithm::Rs256);
    let export = desk.export().await;
    assert_eq!(desk.prune(&export).await.to_string(), "no changes");
    // Said or not, it is the same.
    let report = desk.apply(&file(", assertion: es256")).await;
    assert!(report.to_string().contains("assertion: rs256 → (none)"), "{report}");
    assert_eq!(desk.apply(ACCESS).await.to_string(), "no changes");
}

#[tokio::test]
async fn since_when_logins_count_is_kept_by_every_apply_and_in_no_file() {
    let desk = Desk::configured().await;
    desk.apply(ACCESS).await;
    let (revision, mut declared) = desk.store.declared().await.unwrap();
    declared.applications[0].since = Some(UnixTime(1_700_000_000));
    desk.store.replace_declared(revision, &declared, &[]).await.unwrap();
    let export = desk.export().await;
    assert!(!export.contains("since"), "{export}");
    assert_eq!(desk.prune(&export).await.to_string(), "no changes");
    desk.apply(&ACCESS.replace("[www.tnkeng.work], login", "[www.tnkeng.work, tnkeng.work], login")).await;
    let app = desk.declared().await.applications[0].clone();
    assert_eq!((app.targets.len(), app.since), (2, Some(UnixTime(1_700_000_000))));
    // A new application of that name is another one.
    desk.prune("applications: []\n").await;
    desk.apply(ACCESS).await;
    assert_eq!(desk.declared().await.applications[0].since, None);
}
