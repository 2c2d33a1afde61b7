//! When a login stops counting: by its limits, by an administrator, by the time of the week.

use tunnel_edge::{
    gate::{Presented, Turnaway},
    session::Sessions,
};
use tunnel_policy::Attributes;

use super::scene::Scene;

const WWW: &str = "www.example.com";

fn access(more: &str) -> String {
    format!(
        "login_methods:\n  - {{name: pin, type: one_time_pin}}\npolicies:\n  - {{name: staff, action: allow, include: [{{email_domain: example.com}}]}}\n{more}"
    )
}

const APP: &str = "applications:\n  - {name: www, hostnames: [www.example.com], policies: [staff]}\n";

// S5
#[tokio::test]
async fn a_session_that_nobody_uses_lapses_and_one_that_is_used_does_not() {
    let app = APP.replace("policies: [staff]", "policies: [staff], session_idle: 10m");
    let scene = Scene::declared(&access(&app)).await;
    let ann = scene.log_in("ann@example.com", "pin", WWW, Attributes::default()).await;
    for _ in 0..5 {
        scene.pass(600);
        assert!(scene.opens(&ann, WWW, "/").is_ok(), "used every ten minutes");
    }
    scene.pass(601);
    assert!(matches!(scene.opens(&ann, WWW, "/"), Err(Turnaway::Login(_))), "one second too late");
    // The login itself has no such limit, so that the way back is short.
    assert!(scene.snapshot.declared.sessions.idle.is_none());
}

// S5
#[tokio::test]
async fn a_stream_that_is_open_is_in_use() {
    let app = APP.replace("policies: [staff]", "policies: [staff], session_idle: 10m");
    let scene = Scene::declared(&access(&app)).await;
    let ann = scene.log_in("ann@example.com", "pin", WWW, Attributes::default()).await;
    let permit = scene.opens(&ann, WWW, "/").unwrap();
    for _ in 0..10 {
        scene.pass(500);
        assert!(permit.still_holds(scene.gate(), scene.now()));
    }
    assert!(scene.opens(&ann, WWW, "/").is_ok());
}

// S5
#[tokio::test]
async fn an_idle_login_takes_everything_with_it_and_any_use_keeps_it() {
    let two = "sessions: {idle: 30m}\napplications:\n  - {name: www, hostnames: [www.example.com], policies: [staff]}\n  - {name: app, hostnames: [app.example.com], policies: [staff]}\n";
    let scene = Scene::declared(&access(two)).await;
    let ann = scene.log_in("ann@example.com", "pin", WWW, Attributes::default()).await;
    for _ in 0..4 {
        scene.pass(1700);
        assert!(scene.opens(&ann, WWW, "/").is_ok());
    }
    // After a restart it is still known when it was used.
    scene.sessions.write_uses().await.unwrap();
    let again = Sessions::load(scene.store.clone(), scene.now()).await.unwrap();
    assert!(again.list(scene.now()).iter().any(|session| session.seen() == scene.now()));
    scene.pass(1801);
    assert!(matches!(scene.opens(&ann, WWW, "/"), Err(Turnaway::Login(_))));
}

// S5
#[tokio::test]
async fn who_is_banned_has_no_session_from_that_moment() {
    let mut scene = Scene::declared(&access(APP)).await;
    let ann = scene.log_in("ann@example.com", "pin", WWW, Attributes::default()).await;
    let bob = scene.log_in("bob@example.com", "pin", WWW, Attributes::default()).await;
    let permit = scene.opens(&ann, WWW, "/").unwrap();
    let token = scene.token(&ann).await;
    scene.ban("ann@example.com").await;
    assert!(scene.opens(&ann, WWW, "/").is_err());
    assert!(!permit.still_holds(scene.gate(), scene.now()), "what is open ends");
    let visit = scene.visit(WWW);
    assert!(matches!(scene.ask(&visit, "/", &Presented::ClientToken(token), &[]), Err(Turnaway::BadCredential)));
    assert!(scene.opens(&bob, WWW, "/").is_ok());
}

// S5
#[tokio::test]
async fn an_application_that_is_revoked_counts_later_logins_only() {
    let mut scene = Scene::declared(&access(APP)).await;
    let ann = scene.log_in("ann@example.com", "pin", WWW, Attributes::default()).await;
    let permit = scene.opens(&ann, WWW, "/").unwrap();
    scene.pass(10);
    let now = scene.now();
    scene.change(|declared| declared.applications[0].since = Some(now)).await;
    assert!(matches!(scene.opens(&ann, WWW, "/"), Err(Turnaway::Login(_))));
    assert!(!permit.still_holds(scene.gate(), scene.now()));
    scene.pass(1);
    let again = scene.log_in("ann@example.com", "pin", WWW, Attributes::default()).await;
    assert!(scene.opens(&again, WWW, "/").is_ok());
}

#[tokio::test]
async fn a_rule_about_the_time_of_the_week_opens_and_closes_on_time() {
    let office = "  - {name: office, action: allow, include: [{email_domain: example.com}], require: [{time_of_week: {days: [mon-fri], from: \"09:00\", to: \"18:00\", zone: UTC}}]}\napplications:\n  - {name: www, hostnames: [www.example.com], policies: [office]}\n";
    let scene = Scene::declared(&access(office)).await;
    let ann = scene.log_in("ann@example.com", "pin", WWW, Attributes::default()).await;
    let permit = scene.opens(&ann, WWW, "/").unwrap();
    scene.pass(9 * 3600 - 1);
    assert!(scene.opens(&ann, WWW, "/").is_ok(), "17:59:59");
    assert!(permit.still_holds(scene.gate(), scene.now()));
    scene.pass(1);
    assert!(scene.opens(&ann, WWW, "/").is_err(), "18:00:00, though it was decided before");
    assert!(!permit.still_holds(scene.gate(), scene.now()), "and what is open ends");
}

#[tokio::test]
async fn a_rule_about_the_country_looks_at_where_the_request_comes_from() {
    let japan = "  - {name: japan, action: allow, include: [{email_domain: example.com}], require: [{country: JP}]}\napplications:\n  - {name: www, hostnames: [www.example.com], policies: [japan]}\n";
    let scene = Scene::declared(&access(japan)).await;
    let ann = scene.log_in("ann@example.com", "pin", WWW, Attributes::default()).await;
    let ask = |visit| scene.ask(&visit, "/", &Presented::Cookies, &[&ann.cookie]);
    assert!(ask(scene.visit_from(WWW, "JP")).is_ok());
    // The same person from the same address, were it elsewhere: a decision does not outlive the file it was made with.
    let mut elsewhere = scene.visit_from(WWW, "US");
    elsewhere.source = [198, 51, 100, 1].into();
    assert!(ask(elsewhere).is_err());
}
