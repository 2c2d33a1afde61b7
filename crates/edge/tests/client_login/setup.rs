//! The login that ends the set-up.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use futures::future::join_all;
use http::{Request, StatusCode};
use tunnel_edge::{
    pages::FORM_TOKEN,
    session::cookie::{LOGIN_COOKIE, SESSION_COOKIE},
    store::{AuditEvent, ISSUER_MAILBOX, ISSUER_SETUP},
};

use crate::client_login::site::{Answer, LOGIN_HOST, NOW, Site};

const SETUP: &str = "/.access/setup";

/// The code of the next mail.
async fn mailed(site: &Site) -> String {
    let arrived = async {
        loop {
            if let Some((_, code)) = site.mails.lock().unwrap().pop() {
                return code;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(2), arrived).await.unwrap()
}

/// Sends the form of the set-up from somewhere.
async fn submit(site: &Site, source: IpAddr, cookie: &str, fields: &[(&str, &str)]) -> Answer {
    let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let request = Request::post(SETUP)
        .header("accept", "text/html")
        .header("sec-fetch-mode", "navigate")
        .header("sec-fetch-site", "same-origin")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("cookie", cookie);
    site.send(LOGIN_HOST, source, request.body(form.into()).unwrap()).await
}

// S5
#[tokio::test]
async fn who_ends_the_set_up_is_logged_in_while_no_login_method_is_declared() {
    let site = Site::open().await;
    site.change(|declared| declared.login_methods.clear());
    let page = site.get(&site.setup_link().await, "").await;
    let login = page.cookie(LOGIN_COOKIE).unwrap();
    let (form, link) = (page.field(FORM_TOKEN), page.field("token"));
    let fields = [(FORM_TOKEN, form.as_str()), ("token", &link), ("email", "ann@example.com")];
    let page = site.post(SETUP, &login, &fields).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    let code = mailed(&site).await;
    let (form, challenge) = (page.field(FORM_TOKEN), page.field("challenge"));
    let fields = [(FORM_TOKEN, form.as_str()), ("token", &link), ("challenge", &challenge), ("code", &code)];
    let done = site.post(SETUP, &login, &fields).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.body);
    let cookie = done.cookie(SESSION_COOKIE).unwrap();
    assert_eq!(site.get("/.access/account", &cookie).await.status, StatusCode::OK);
    let sessions = site.sessions.list(NOW);
    assert_eq!(sessions.iter().map(|session| session.issuer()).collect::<Vec<_>>(), [ISSUER_SETUP]);
    // Who comes back by the same mailbox is the same person.
    let people = site.store.people(10).await.unwrap();
    assert_eq!(people.iter().map(|person| person.issuer.as_str()).collect::<Vec<_>>(), [ISSUER_MAILBOX]);
}

// P4, A8
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_200_parallel_holders_of_one_link_exactly_one_becomes_administrator_and_is_logged_in() {
    let site = Site::open().await;
    let address = site.setup_link().await;
    let mut ready = Vec::new();
    for n in 0..200 {
        // Each has proven an address of their own, from a network of their own: only the link is left to be used up.
        if n % 50 == 49 {
            site.wait(60);
        }
        let source = IpAddr::V4(Ipv4Addr::new(10, 0, n, 1));
        let page = site.get(&address, "").await;
        let login = page.cookie(LOGIN_COOKIE).unwrap();
        let (form, link, email) = (page.field(FORM_TOKEN), page.field("token"), format!("person{n}@example.com"));
        let fields = [(FORM_TOKEN, form.as_str()), ("token", link.as_str()), ("email", email.as_str())];
        let page = submit(&site, source, &login, &fields).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.body);
        ready.push((source, login, page.field(FORM_TOKEN), link, page.field("challenge"), mailed(&site).await));
    }
    let all = ready.into_iter().map(|(source, login, form, link, challenge, code)| {
        let site = site.clone();
        tokio::spawn(async move {
            let fields = [
                (FORM_TOKEN, form.as_str()),
                ("token", link.as_str()),
                ("challenge", challenge.as_str()),
                ("code", code.as_str()),
            ];
            submit(&site, source, &login, &fields).await
        })
    });
    let all: Vec<_> = join_all(all).await.into_iter().map(Result::unwrap).collect();
    let (good, bad): (Vec<_>, Vec<_>) = all.iter().partition(|answer| answer.status == StatusCode::OK);
    assert_eq!(good.len(), 1, "exactly one");
    assert!(good[0].cookie(SESSION_COOKIE).is_some());
    let told = |answer: &&Answer| answer.status == StatusCode::NOT_FOUND && answer.cookie(SESSION_COOKIE).is_none();
    assert!(bad.iter().all(told), "the others are told that the link is used up");
    assert_eq!(site.store.declared().await.unwrap().1.administrators.len(), 1);
    let sessions = site.sessions.list(site.clock.now());
    assert_eq!(sessions.iter().map(|session| session.issuer()).collect::<Vec<_>>(), [ISSUER_SETUP]);
    assert_eq!(site.audited(AuditEvent::SetUp).await.len(), 1);
    assert_eq!(site.get(&address, "").await.status, StatusCode::NOT_FOUND);
}
