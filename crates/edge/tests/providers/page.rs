use axum::body::Body;
use http::Request;
use tunnel_edge::pages::FORM_TOKEN;

use crate::providers::{
    provider::Provider,
    site::{Browser, LOGIN_HOST, Site, openid, pin},
};

#[tokio::test]
async fn every_method_is_offered_in_its_order_and_the_policy_of_the_page_names_nobody() {
    let (one, two) = (Provider::start().await, Provider::start().await);
    let site = Site::open(|keys| vec![openid(keys, "two", &two), openid(keys, "one", &one), pin()]).await;
    let mut browser = Browser::default();
    let url = site.begin(&mut browser);
    let page = site.get(&mut browser, &url).await;
    let places: Vec<_> =
        ["value=\"two\"", "value=\"one\"", "value=\"pin\""].map(|button| page.body.find(button).expect(button)).into();
    assert!(places.is_sorted(), "{places:?}");
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("form-action 'self';"), "{policy}");
    // What the press is answered with is a page: redirects would be held against the policy, those of the provider as well.
    let pressed = site.press(&mut browser, &page, &[("method", "one")]).await;
    assert_eq!(pressed.status, 200);
    assert!(pressed.location().starts_with(&one.issuer), "{}", pressed.location());
    // A button of a method that is not offered leads nowhere.
    for method in ["three", "passkey", "", "pin-agai"] {
        assert_eq!(site.press(&mut browser, &page, &[("method", method)]).await.status, 400, "{method}");
    }
}

#[tokio::test]
async fn with_one_method_the_page_is_passed_over_once_and_never_when_it_was_asked_for() {
    let provider = Provider::start().await;
    let site = Site::open(|keys| vec![openid(keys, "work", &provider)]).await;
    let mut browser = Browser::default();
    let url = site.begin(&mut browser);
    let path = url.strip_prefix("https://access.example.com").unwrap().to_owned();
    let head = Request::head(&path).header("accept", "text/html").header("sec-fetch-mode", "navigate");
    let head = site.send(&mut browser, LOGIN_HOST, head.body(Body::empty()).unwrap()).await;
    assert_eq!(head.status, 200, "whoever only looks is sent nowhere");
    let script = Request::get(&path).header("sec-fetch-mode", "cors").body(Body::empty()).unwrap();
    assert_eq!(site.send(&mut browser, LOGIN_HOST, script).await.status, 200, "nor is a script");
    let frame = Request::get(&path).header("accept", "text/html").header("sec-fetch-mode", "navigate");
    let frame = frame.header("sec-fetch-dest", "iframe").body(Body::empty()).unwrap();
    assert_eq!(site.send(&mut browser, LOGIN_HOST, frame).await.status, 200, "nor a frame");
    assert_eq!(site.get(&mut browser, &format!("{url}&choose=1")).await.status, 200, "nor who asks for the page");
    let sent = site.get(&mut browser, &url).await;
    let query = provider.lets_in(sent.location());
    let again = site.get(&mut browser, &url).await;
    assert_eq!(again.status, 200, "the second time the page is there, so that nobody goes in circles");
    assert!(again.body.contains("value=\"work\""), "{}", again.body);
    assert_eq!(site.back(&mut browser, "work", &query).await.status, 303);
}

// S10
#[tokio::test]
async fn whoever_has_logged_out_is_not_sent_back_in_at_once() {
    let provider = Provider::start().await;
    let site = Site::open(|keys| vec![openid(keys, "work", &provider)]).await;
    for at_login_host in [true, false] {
        let mut browser = Browser::default();
        let handed = site.log_in(&mut browser, "work", &provider).await;
        site.get(&mut browser, handed.location()).await;
        let host = if at_login_host { LOGIN_HOST } else { "www.example.com" };
        let asked = site.get(&mut browser, &format!("https://{host}/.access/logout")).await;
        let form = format!("{FORM_TOKEN}={}", asked.field(FORM_TOKEN));
        let logout = Request::post("/.access/logout")
            .header("accept", "text/html")
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/x-www-form-urlencoded");
        assert_eq!(site.send(&mut browser, host, logout.body(form.into()).unwrap()).await.status, 200);
        let url = site.begin(&mut browser);
        let page = site.get(&mut browser, &url).await;
        assert_eq!(page.status, 200, "logged out at {host}");
        let sent = site.press(&mut browser, &page, &[("method", "work")]).await;
        assert!(sent.location().contains("prompt=login"), "the provider asks again: {}", sent.location());
    }
}
