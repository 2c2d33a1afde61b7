//! What changes, and how it is told.

use tunnel_edge::{
    declare::{Report, What},
    store::{AuditEvent, Store},
};
use tunnel_proto::Revision;

use crate::declare::desk::{ACCESS, Desk};

#[tokio::test]
async fn a_first_file_adds_everything_and_says_so() {
    let desk = Desk::configured().await;
    let report = desk.apply(ACCESS).await;
    let expected = "\
+ login method `pin`
    type: one_time_pin
+ group `staff`
    include: email_domain tnkeng.work
+ policy `staff-only`
    action: allow
    include: group staff
    require: ip 203.0.113.0/24
    exclude: email guest@tnkeng.work
    session_duration: 24h
+ application `www`
    hostnames: www.tnkeng.work
    login_methods: pin
    policies: staff-only
+ tunnel `office`
    hostnames: rdp.tnkeng.work, www.tnkeng.work
5 changes applied (revision 1)";
    assert_eq!(report.to_string(), expected);
}

#[tokio::test]
async fn a_second_file_tells_field_by_field_and_keeps_ids() {
    let desk = Desk::configured().await;
    desk.apply(ACCESS).await;
    let before = desk.declared().await;
    let second = ACCESS
        .replace("    require: [{ip: 203.0.113.0/24}]\n", "")
        .replace("24h", "8h")
        .replace("[www.tnkeng.work], login", "[www.tnkeng.work, tnkeng.work/wiki], login")
        .replace(
            "{name: pin, type: one_time_pin}",
            "{name: pin, type: one_time_pin}\n  - {name: pin2, type: one_time_pin}",
        );
    let report = desk.apply(&second).await;
    let expected = "\
+ login method `pin2`
    type: one_time_pin
~ policy `staff-only`
    session_duration: 24h → 8h
    require: ip 203.0.113.0/24 → (none)
~ application `www`
    hostnames: www.tnkeng.work → www.tnkeng.work, tnkeng.work/wiki
3 changes applied (revision 2)";
    assert_eq!(report.to_string(), expected);
    let after = desk.declared().await;
    assert_eq!(after.applications[0].id, before.applications[0].id);
    assert_eq!(after.tunnels, before.tunnels);
}

#[tokio::test]
async fn the_same_file_again_changes_and_writes_nothing() {
    let desk = Desk::configured().await;
    desk.apply(ACCESS).await;
    let (before, audit) = (desk.store.declared().await.unwrap(), desk.audit().await);
    for text in
        [ACCESS.to_owned(), ACCESS.replace("www.tnkeng.work, rdp.tnkeng.work", "rdp.tnkeng.work, WWW.tnkeng.work")]
    {
        let report = desk.prune(&text).await;
        assert_eq!(report.to_string(), "no changes");
        assert_eq!(report.revision, None);
    }
    assert_eq!((desk.store.declared().await.unwrap(), desk.audit().await), (before, audit));
}

#[tokio::test]
async fn a_dry_run_tells_and_writes_nothing() {
    let desk = Desk::configured().await;
    let report = desk.ask(ACCESS, true, false).await.unwrap();
    assert!(report.to_string().ends_with("5 changes; nothing was written (--dry-run)"), "{report}");
    assert_eq!(desk.store.declared().await.unwrap().0, Revision(0));
    assert!(desk.audit().await.is_empty());
}

// S4
#[tokio::test]
async fn a_session_that_goes_with_what_other_sites_ask_is_warned_of() {
    let desk = Desk::configured().await;
    let file = "\
policies:
  - {name: staff, action: allow, include: [{email_domain: tnkeng.work}]}
applications:
  - {name: pay, hostnames: [shop.tnkeng.work/pay], policies: [staff], same_site: none}
  - {name: shop, hostnames: [shop.tnkeng.work], policies: [staff]}
";
    let warnings = |report: Report| -> Vec<String> {
        report.warnings.into_iter().filter(|warning| warning.contains("same_site: none")).collect()
    };
    let found = warnings(desk.apply(file).await);
    assert!(found.len() == 2 && found[0].starts_with("application `pay`: with"), "{found:?}");
    assert!(found[1].contains("application `shop` has the same hostname"), "{found:?}");
    let both = file.replace("policies: [staff]}", "policies: [staff], same_site: none}");
    let report = desk.apply(&both).await;
    assert!(report.to_string().contains("~ application `shop`\n    same_site: none\n"), "{report}");
    let found = warnings(report);
    assert!(found.len() == 2 && found[1].starts_with("application `shop`: with"), "{found:?}");
    assert!(desk.export().await.contains("same_site"), "{}", desk.export().await);
    let strict = both.replace("same_site: none", "same_site: strict");
    assert_eq!(warnings(desk.apply(&strict).await), [""; 0]);
}

// H9
#[tokio::test]
async fn the_pages_that_may_call_an_application_are_told_and_exported() {
    let desk = Desk::configured().await;
    desk.apply(ACCESS).await;
    let cors = "cors: {allowed_origins: [\"https://desk.tnkeng.work\"], allowed_headers: [X-Api], allow_credentials: true, max_age: 1h}";
    let file = ACCESS.replace("login_methods: [pin],", &format!("login_methods: [pin], {cors},"));
    let report = desk.apply(&file).await;
    let told = "~ application `www`\n    cors: allow_credentials allowed_headers x-api allowed_origins https://desk.tnkeng.work max_age 1h\n";
    assert!(report.to_string().starts_with(told), "{report}");
    let exported = desk.export().await;
    for line in ["  cors:\n    allowed_origins:\n", "    allow_credentials: true\n", "    max_age: 1h\n"] {
        assert!(exported.contains(line), "{exported}");
    }
    assert_eq!(desk.prune(&exported).await.changes, vec![]);
}

#[tokio::test]
async fn what_the_file_does_not_mention_goes_only_by_pruning_and_only_from_its_sections() {
    let desk = Desk::configured().await;
    desk.apply(ACCESS).await;
    let shorter = "groups: []\npolicies:\n  - {name: all, action: allow, include: [{everyone: true}]}\napplications:\n  - {name: www, hostnames: [www.tnkeng.work], policies: [all]}\n";
    let kept = desk.apply(shorter).await;
    assert!(kept.changes.iter().all(|change| change.what != What::Removed), "{kept}");
    let pruned = desk.prune(shorter).await;
    let expected = "\
- group `staff`
- policy `staff-only`
warning: policy `all` admits everyone who can log in at all: anybody with an e-mail address
2 changes applied (revision 3)";
    assert_eq!(pruned.to_string(), expected);
    let left = desk.declared().await;
    assert_eq!((left.login_methods.len(), left.tunnels.len(), left.routes.len()), (1, 1, 2));
}

#[tokio::test]
async fn pruning_what_something_else_needs_is_refused() {
    let desk = Desk::configured().await;
    desk.apply(ACCESS).await;
    let refusal = desk.refusal_of("groups: []\n", true).await;
    assert!(refusal.contains("policy `staff-only` refers to group `staff`, which does not exist"), "{refusal}");
    let refusal = desk.refusal_of("login_methods: []\n", true).await;
    assert!(refusal.contains("application `www` refers to login method `pin`, which would not exist"), "{refusal}");
}

#[tokio::test]
async fn every_change_is_audited_with_what_changed() {
    let desk = Desk::configured().await;
    desk.apply(ACCESS).await;
    desk.apply(&ACCESS.replace("24h", "8h")).await;
    let audit = desk.audit().await;
    assert_eq!(audit.len(), 6);
    let newest = &audit[0];
    assert_eq!(newest.event, AuditEvent::ConfigurationChanged);
    assert_eq!(newest.actor.as_deref(), Some("local"));
    assert_eq!(newest.object.as_deref(), Some("policy `staff-only`"));
    assert_eq!(newest.detail.as_deref(), Some("changed: session_duration: 24h → 8h"));
}

#[tokio::test]
async fn the_order_in_which_login_methods_are_shown_is_that_of_the_file() {
    let desk = Desk::configured().await;
    let file = |one: &str, two: &str| {
        format!("login_methods:\n  - {{name: {one}, type: one_time_pin}}\n  - {{name: {two}, type: one_time_pin}}\n")
    };
    desk.apply(&file("a", "b")).await;
    let report = desk.apply(&file("b", "a")).await;
    assert!(report.to_string().contains("~ login method `b`\n    place: 2 → 1"), "{report}");
    let names: Vec<_> = desk.declared().await.login_methods.iter().map(|method| method.name.to_string()).collect();
    assert_eq!(names, ["b", "a"]);
}

#[tokio::test]
async fn a_report_survives_the_journey_over_the_socket() {
    let desk = Desk::configured().await;
    let report = desk.apply(ACCESS).await;
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
    assert!(json.contains(r#"{"kind":"group","name":"staff","what":"added","fields":[{"field":"include","from":null,"to":"email_domain tnkeng.work"}]}"#), "{json}");
}
