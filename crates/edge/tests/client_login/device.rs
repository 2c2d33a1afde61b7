//! A program without a browser: it waits, a person decides elsewhere, it fetches the answer once.

use futures::future::join_all;
use http::{Request, StatusCode, header};
use tunnel_edge::{pages::FORM_TOKEN, store::AuditEvent};
use tunnel_proto::{
    access::{ACCESS_BODY_MAX, CLI_DEVICE_PATH, CLI_PATH, CLI_TOKEN_PATH, TokenAnswer},
    enrol::EnrolProblem,
};

use crate::client_login::site::{HOME, LOGIN_HOST, NOW, Site, answer, app, host, issued, refused};

// C5
#[tokio::test]
async fn nothing_is_given_before_a_person_approves_and_the_answer_is_fetched_once() {
    let site = Site::open().await;
    let (query, started) = site.begin("db").await;
    assert_eq!((started.interval, started.expires.0), (2, NOW.0 + 300));
    assert!(!started.url.contains(&started.secret) && !started.url.contains(&started.code));
    assert_eq!(answer(&site.poll(&started.secret).await), TokenAnswer::Pending);
    let cookie = site.log_in("ann").await;
    let page = site.get(&format!("{CLI_PATH}?{query}"), &cookie).await;
    for shown in ["db.example.com", "ann@example.com", "build-host", "access tcp", "tag warn", "notice warn"] {
        assert!(page.body.contains(shown), "{shown}");
    }
    assert!(!page.body.contains(&started.secret) && !page.body.contains(&started.code));
    assert_eq!(answer(&site.poll(&started.secret).await), TokenAnswer::Pending, "looking approves nothing");
    let done = site.approve(&query, &cookie, &started.code).await;
    assert_eq!(done.status, StatusCode::OK);
    let token = issued(&site.poll(&started.secret).await);
    assert_eq!((token.app, &token.host), (app("db"), &host("db")));
    assert!(site.opens(&token.token, "db").is_some());
    assert_eq!(site.poll(&started.secret).await.status, StatusCode::GONE);
    assert_eq!(site.get(&format!("{CLI_PATH}?{query}"), &cookie).await.status, StatusCode::NOT_FOUND);
    assert_eq!(site.audited(AuditEvent::ClientAsked).await.len(), 1);
    assert_eq!(site.audited(AuditEvent::ClientApproved).await[0].actor.as_deref(), Some("ann@example.com"));
}

// T3
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_decisions_and_polls_at_a_time_make_one_token() {
    let site = Site::open().await;
    let (query, started) = site.begin("rdp").await;
    let cookie = site.log_in("ann").await;
    let form = site.get(&format!("{CLI_PATH}?{query}"), &cookie).await.field(FORM_TOKEN);
    let decisions = join_all((0..200).map(|_| site.type_code(&form, &query, &cookie, &started.code))).await;
    assert_eq!(decisions.iter().filter(|one| one.status == StatusCode::OK).count(), 1);
    assert!(decisions.iter().all(|one| matches!(one.status.as_u16(), 200 | 404 | 429)));
    let polls = join_all((0..200).map(|_| site.poll(&started.secret))).await;
    let tokens = polls.iter().filter(|one| one.status == StatusCode::OK && one.body.contains("\"token\""));
    assert_eq!(tokens.count(), 1);
    assert_eq!(site.sessions.list(NOW).len(), 2);
    assert_eq!(site.audited(AuditEvent::ClientApproved).await.len(), 1);
}

/// A code as somebody types it.
fn by_hand(code: &str) -> String {
    format!(" {} ", code.to_lowercase().replace('-', ""))
}

// C5: who was sent a link does not see the terminal in which the code stands.
#[tokio::test]
async fn only_the_code_from_the_terminal_lets_a_program_in_and_guessing_ends() {
    let site = Site::open().await;
    let cookie = site.log_in("ann").await;
    let other = |code: &str| if code == "BBBB-BBBB" { "BBBB-BBBC" } else { "BBBB-BBBB" };
    // A slip costs nothing.
    let (query, started) = site.begin("rdp").await;
    let page = site.approve(&query, &cookie, other(&started.code)).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(page.body.contains("aria-invalid") && !page.body.contains(&started.code));
    assert_eq!(answer(&site.poll(&started.secret).await), TokenAnswer::Pending);
    let again = site.type_code(&page.field(FORM_TOKEN), &query, &cookie, &by_hand(&started.code)).await;
    assert_eq!(again.status, StatusCode::OK, "{}", again.body);
    issued(&site.poll(&started.secret).await);

    // The third time is the last, and the program is told at once.
    let (query, started) = site.begin("rdp").await;
    let form = site.get(&format!("{CLI_PATH}?{query}"), &cookie).await.field(FORM_TOKEN);
    for status in [StatusCode::UNPROCESSABLE_ENTITY, StatusCode::UNPROCESSABLE_ENTITY, StatusCode::TOO_MANY_REQUESTS] {
        assert_eq!(answer(&site.poll(&started.secret).await), TokenAnswer::Pending);
        assert_eq!(site.type_code(&form, &query, &cookie, other(&started.code)).await.status, status);
    }
    assert!(refused(&site.poll(&started.secret).await).contains("three times"));

    // Ten thousand at a time are no more than one after the other.
    let (query, started) = site.begin("rdp").await;
    let form = site.get(&format!("{CLI_PATH}?{query}"), &cookie).await.field(FORM_TOKEN);
    assert_eq!(
        site.decide(&query, &cookie, "approve").await.status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "no code at all"
    );
    let guesses = (0..60).map(|n| format!("BBBB-{n:04}")).filter(|guess| *guess != started.code);
    let guesses = join_all(guesses.map(|guess| {
        let (site, form, query, cookie) = (&site, &form, &query, &cookie);
        async move { site.type_code(form, query, cookie, &guess).await.status }
    }));
    let guesses = guesses.await;
    assert_eq!(guesses.iter().filter(|status| **status == StatusCode::UNPROCESSABLE_ENTITY).count(), 1);
    assert!(guesses.contains(&StatusCode::TOO_MANY_REQUESTS));
    // It is over, and whoever waits in front of the terminal is told.
    assert_eq!(site.type_code(&form, &query, &cookie, &started.code).await.status, StatusCode::NOT_FOUND);
    assert!(refused(&site.poll(&started.secret).await).contains("three times"));
    let noted = site.audited(AuditEvent::Refused).await;
    assert!(noted.iter().any(|record| record.detail.as_deref().is_some_and(|why| why.contains("another code"))));
    assert_eq!(site.audited(AuditEvent::ClientApproved).await.len(), 1);
}

#[tokio::test]
async fn an_application_may_take_no_login_from_another_device() {
    let site = Site::open().await;
    let (query, _) = site.begin("db").await;
    site.change(|declared| declared.applications.iter_mut().for_each(|one| one.device_login = one.id != app("db")));
    let answer = site.begin_from("db", HOME).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    let problem: EnrolProblem = serde_json::from_str(&answer.body).unwrap();
    assert!(problem.code == "refused" && problem.message.contains("service token"), "{problem:?}");
    let cookie = site.log_in("ann").await;
    assert_eq!(site.get(&format!("{CLI_PATH}?{query}"), &cookie).await.status, StatusCode::NOT_FOUND);
    // Switched off between a person's word and the token that would come of it.
    let (query, started) = site.begin("rdp").await;
    assert_eq!(site.approve(&query, &cookie, &started.code).await.status, StatusCode::OK);
    site.change(|declared| declared.applications.iter_mut().for_each(|one| one.device_login = false));
    assert!(refused(&site.poll(&started.secret).await).contains("another device"));
    site.code("db").await;
}

#[tokio::test]
async fn a_refusal_is_final() {
    let site = Site::open().await;
    let (query, started) = site.begin("rdp").await;
    let cookie = site.log_in("ann").await;
    let form = site.get(&format!("{CLI_PATH}?{query}"), &cookie).await.field(FORM_TOKEN);
    assert_eq!(site.decide(&query, &cookie, "refuse").await.status, StatusCode::OK);
    assert_eq!(site.type_code(&form, &query, &cookie, &started.code).await.status, StatusCode::NOT_FOUND);
    assert!(refused(&site.poll(&started.secret).await).contains("refused"));
    assert_eq!(site.poll(&started.secret).await.status, StatusCode::GONE);
    assert_eq!(site.audited(AuditEvent::ClientRefused).await.len(), 1);
}

// C5
#[tokio::test]
async fn a_wish_lapses_after_five_minutes_and_an_answer_in_the_last_second_can_be_fetched() {
    let site = Site::open().await;
    let ((late, forgotten), (query, started)) = (site.begin("rdp").await, site.begin("rdp").await);
    let cookie = site.log_in("ann").await;
    site.wait(299);
    assert_eq!(site.approve(&query, &cookie, &started.code).await.status, StatusCode::OK);
    site.wait(1);
    assert_eq!(site.get(&format!("{CLI_PATH}?{late}"), &cookie).await.status, StatusCode::NOT_FOUND);
    assert_eq!(site.poll(&forgotten.secret).await.status, StatusCode::GONE);
    site.wait(60);
    issued(&site.poll(&started.secret).await);
}

#[tokio::test]
async fn whom_no_policy_admits_decides_nothing_and_the_wish_goes_on_waiting() {
    let site = Site::open().await;
    let (query, started) = site.begin("rdp").await;
    let eve = site.log_in("eve").await;
    assert_eq!(site.get(&format!("{CLI_PATH}?{query}"), &eve).await.status, StatusCode::FORBIDDEN);
    assert_eq!(answer(&site.poll(&started.secret).await), TokenAnswer::Pending);
    let ann = site.log_in("ann").await;
    assert_eq!(site.approve(&query, &ann, &started.code).await.status, StatusCode::OK);
    issued(&site.poll(&started.secret).await);
}

// T3
#[tokio::test]
async fn neither_the_id_nor_the_code_stands_in_for_the_secret() {
    let site = Site::open().await;
    let (query, started) = site.begin("rdp").await;
    let id = query.strip_prefix("device=").unwrap();
    for guess in [id, &started.code, "", &"A".repeat(43), &"A".repeat(10_000)] {
        assert_eq!(site.poll(guess).await.status, StatusCode::GONE);
    }
    let cookie = site.log_in("ann").await;
    for other in [&started.code, &started.secret] {
        let page = site.get(&format!("{CLI_PATH}?device={other}"), &cookie).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND);
    }
}

// T3
#[tokio::test]
async fn one_network_begins_only_so_often_and_only_so_many_wait() {
    let site = Site::open().await;
    for _ in 0..5 {
        assert_eq!(site.begin_from("rdp", HOME).await.status, StatusCode::OK);
    }
    let many = site.begin_from("rdp", HOME).await;
    assert_eq!(many.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(serde_json::from_str::<EnrolProblem>(&many.body).unwrap().code, "too_many");
    for _ in 5..200 {
        site.begin("rdp").await;
    }
    let full = site.begin_from("rdp", "192.0.2.77".parse().unwrap()).await;
    assert_eq!(full.status, StatusCode::TOO_MANY_REQUESTS);
    site.wait(301);
    assert_eq!(site.begin_from("rdp", HOME).await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_endpoints_speak_json_and_say_what_they_do_not_understand() {
    let site = Site::open().await;
    let device = |app: &str, host: &str, more: &str| {
        format!(r#"{{"app":"{app}","host":"{host}","computer":"c","command":"x"{more}}}"#)
    };
    let rdp = app("rdp").to_string();
    let large = format!(r#"{{"request":"end","token":"{}"}}"#, "x".repeat(ACCESS_BODY_MAX));
    for (path, body, status, code) in [
        (CLI_DEVICE_PATH, String::new(), 400, "malformed"),
        (CLI_DEVICE_PATH, "{}".into(), 400, "malformed"),
        (CLI_DEVICE_PATH, device(&rdp, "a..b", ""), 400, "malformed"),
        (CLI_DEVICE_PATH, device("x", "rdp.example.com", ""), 400, "malformed"),
        (CLI_DEVICE_PATH, device(&rdp, "rdp.example.com", r#","admin":true"#), 400, "malformed"),
        (CLI_DEVICE_PATH, device(&rdp, "db.example.com", ""), 410, "gone"),
        (CLI_DEVICE_PATH, device(&rdp, "access.example.com", ""), 410, "gone"),
        (CLI_TOKEN_PATH, "[]".into(), 400, "malformed"),
        (CLI_TOKEN_PATH, r#"{"request":"become_root"}"#.into(), 400, "malformed"),
        (CLI_TOKEN_PATH, r#"{"request":"poll","secret":"x","extra":1}"#.into(), 400, "malformed"),
        (CLI_TOKEN_PATH, r#"{"request":"redeem","code":"x"}"#.into(), 400, "malformed"),
        (CLI_TOKEN_PATH, large, 400, "malformed"),
    ] {
        let answer = site.json(path, HOME, body.clone()).await;
        assert_eq!(answer.status, status, "{body}");
        assert_eq!(serde_json::from_str::<EnrolProblem>(&answer.body).unwrap().code, code, "{body}");
        site.wait(60);
    }
    // What a page of another site can send without asking is not read, and what is not POST is not there.
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""] {
        let request = Request::post(CLI_TOKEN_PATH).header("content-type", kind);
        let body = r#"{"request":"end","token":"x"}"#;
        let answer = site.send(LOGIN_HOST, HOME, request.body(body.into()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{kind}");
    }
    let answer = site.get(CLI_TOKEN_PATH, "").await;
    assert_eq!(
        (answer.status, &answer.headers[header::ALLOW]),
        (StatusCode::METHOD_NOT_ALLOWED, &"POST".parse().unwrap())
    );
    // They are at the login host alone.
    for path in [CLI_PATH, CLI_DEVICE_PATH, CLI_TOKEN_PATH] {
        let request = Request::post(path).header("content-type", "application/json");
        let answer = site.send("rdp.example.com", HOME, request.body("{}".into()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
    }
}
