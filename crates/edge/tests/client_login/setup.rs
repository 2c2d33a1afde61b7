//! The login that ends the set-up.

use std::time::Duration;

use http::StatusCode;
use tunnel_edge::{
    pages::FORM_TOKEN,
    session::cookie::{LOGIN_COOKIE, SESSION_COOKIE},
    store::{ISSUER_MAILBOX, ISSUER_SETUP},
};

use crate::site::{NOW, Site};

const SETUP: &str = "/.access/setup";

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
    let arrived = async {
        loop {
            if let Some((_, code)) = site.mails.lock().unwrap().pop() {
                return code;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let code = tokio::time::timeout(Duration::from_secs(2), arrived).await.unwrap();
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
