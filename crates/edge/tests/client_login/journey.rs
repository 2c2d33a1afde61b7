//! Who is not logged in logs in first, by the login of the application itself, and comes back to the page.

use std::time::Duration;

use axum::body::Body;
use http::{Request, StatusCode};
use tunnel_edge::{
    pages::FORM_TOKEN,
    session::cookie::{LOGIN_COOKIE, SESSION_COOKIE},
};
use tunnel_proto::access::CLI_PATH;

use crate::client_login::site::{Answer, ELSEWHERE, LOGIN_HOST, Site, host, issued, query};

/// Logs in by a code in a mail, from wherever `begun` sends the browser; where it comes back to, and with which cookie.
async fn log_in(site: &Site, begun: &Answer, email: &str) -> Option<(String, String)> {
    let origin = format!("https://{LOGIN_HOST}");
    let login = begun.cookie(LOGIN_COOKIE).unwrap();
    let page = site.get(begun.location().strip_prefix(&origin).unwrap(), &login).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.body.contains("rdp.example.com"), "the page names the application");
    let (token, app, request) = (page.field(FORM_TOKEN), page.field("app"), page.field("request"));
    let fields =
        [(FORM_TOKEN, token.as_str()), ("app", &app), ("request", &request), ("method", "pin"), ("email", email)];
    let asked = site.post("/.access/login", &login, &fields).await;
    let page = site.get(asked.location().strip_prefix(&origin).unwrap(), &login).await;
    let arrived = async {
        loop {
            if let Some(mail) = site.mails.lock().unwrap().pop() {
                return mail;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let (opens, code) = tokio::time::timeout(Duration::from_secs(2), arrived).await.ok()?;
    assert_eq!(opens, host("rdp"), "the mail names the application");
    let (token, challenge) = (page.field(FORM_TOKEN), page.field("challenge"));
    let fields = [
        (FORM_TOKEN, token.as_str()),
        ("app", &app),
        ("request", &request),
        ("challenge", &challenge),
        ("code", &code),
    ];
    let back = site.post("/.access/callback/pin", &login, &fields).await;
    assert_eq!(back.status, StatusCode::SEE_OTHER, "{}", back.body);
    Some((back.location().strip_prefix(&origin).unwrap().to_owned(), back.cookie(SESSION_COOKIE).unwrap()))
}

// C5
#[tokio::test]
async fn who_is_not_logged_in_logs_in_for_the_application_and_comes_back_to_the_page() {
    let site = Site::open().await;
    let asked = query("rdp", |query| query.computer = "事務所のPC".into());
    let begun = site.get(&format!("{CLI_PATH}?{asked}"), "").await;
    assert_eq!(begun.status, StatusCode::SEE_OTHER);
    let (target, cookie) = log_in(&site, &begun, "ann@example.com").await.unwrap();
    assert_eq!(target, format!("{CLI_PATH}?{asked}"), "nothing is approved by logging in");
    let page = site.get(&target, &cookie).await;
    assert!(page.body.contains("事務所のPC"));
    let back = site.decide(&asked, &cookie, "approve").await;
    let code = back.location().split_once("?code=").unwrap().1.split('&').next().unwrap();
    issued(&site.redeem(code).await);
}

#[tokio::test]
async fn a_wish_from_elsewhere_is_come_back_to_as_well() {
    let site = Site::open().await;
    let (query, started) = site.begin("rdp").await;
    let begun = site.get(&format!("{CLI_PATH}?{query}"), "").await;
    let (target, cookie) = log_in(&site, &begun, "bob@example.com").await.unwrap();
    assert_eq!(target, format!("{CLI_PATH}?{query}"));
    assert_eq!(site.approve(&query, &cookie, &started.code).await.status, StatusCode::OK);
    assert_eq!(issued(&site.poll(&started.secret).await).email.as_str(), "bob@example.com");
}

#[tokio::test]
async fn an_address_that_the_application_does_not_admit_gets_no_code_not_even_an_administrators() {
    let site = Site::open().await;
    let begun = site.get(&format!("{CLI_PATH}?{}", query("rdp", |_| ())), "").await;
    assert!(log_in(&site, &begun, "admin@example.com").await.is_none());
}

#[tokio::test]
async fn where_nobody_is_admitted_from_no_login_is_offered_and_a_program_is_sent_nowhere() {
    let site = Site::open().await;
    let target = format!("{CLI_PATH}?{}", query("rdp", |_| ()));
    let request = |mode: &str| Request::get(&target).header("sec-fetch-mode", mode).body(Body::empty()).unwrap();
    let page = site.send(LOGIN_HOST, ELSEWHERE, request("navigate")).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    let program = site.send(LOGIN_HOST, crate::client_login::site::HOME, request("cors")).await;
    assert_eq!(program.status, StatusCode::UNAUTHORIZED);
}
