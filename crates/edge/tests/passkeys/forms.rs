//! What our script sends must come from our own page, in the browser it was made for.

use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::json;
use tunnel_edge::store::AuditEvent;

use crate::passkeys::{
    scene::{
        CALLBACK, OPTIONS, REGISTER, REGISTER_OPTIONS, adding, code, furnished, invite, invited, log_in_by_pin,
        login_page, open, post,
    },
    site::{HOME, LOGIN_HOST},
};

// A1
#[tokio::test]
async fn no_other_page_can_send_what_our_script_sends() {
    let site = open().await;
    invite(&site, "guest", "secret").await;
    let ann = log_in_by_pin(&site, "ann").await;
    let cases = [
        (login_page(&site).await, [OPTIONS, CALLBACK]),
        (adding(&site, &ann).await, [REGISTER_OPTIONS, REGISTER]),
        (invited(&site, "secret").await, [REGISTER_OPTIONS, REGISTER]),
    ];
    let other = login_page(&site).await;
    for (form, paths) in &cases {
        for path in paths {
            let send = |site_header: &'static str, kind: &'static str, token: String| {
                let request = Request::post(*path)
                    .header("accept", "application/json")
                    .header("sec-fetch-mode", "cors")
                    .header("sec-fetch-site", site_header)
                    .header("content-type", kind)
                    .header("x-form-token", token)
                    .header("cookie", form.cookie.as_str());
                site.send(LOGIN_HOST, HOME, request.body(Body::from(form.fields.to_string())).unwrap())
            };
            let (json, good) = ("application/json", form.token.clone());
            for (from, kind, token) in [
                ("cross-site", json, good.clone()),
                ("same-site", json, good.clone()),
                ("none", json, good.clone()),
                ("same-origin", "text/plain", good.clone()),
                ("same-origin", "application/x-www-form-urlencoded", good.clone()),
                ("same-origin", json, String::new()),
                ("same-origin", json, other.token.clone()),
            ] {
                let answer = send(from, kind, token).await;
                assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path} from {from} as {kind}: {}", answer.body);
                assert_eq!(code(&answer), "form_refused");
            }
            // The token in an address or a body is no token in the header.
            let bare = post(&site, &format!("{path}?form_token={good}"), &form.cookie, "", &form.fields).await;
            assert_eq!(bare.status, StatusCode::FORBIDDEN);
        }
    }
    assert!(site.audited(AuditEvent::Refused).await.iter().map(|record| record.count).sum::<u32>() > 0);
}

#[tokio::test]
async fn what_cannot_be_read_or_is_too_long_is_refused_and_uses_nothing_up() {
    let site = open().await;
    let mut key = furnished(&site, "ann").await;
    let form = login_page(&site).await;
    let asked = crate::passkeys::scene::read(&form.ask(&site, OPTIONS).await);
    let good = form.answer(&asked, key.get(&asked["options"]));
    let mut more = good.clone();
    more["admin"] = json!(true);
    let mut long = good.clone();
    long["credential"]["id"] = json!("x".repeat(64 * 1024));
    let mut damaged = good.clone();
    damaged["credential"]["response"]["signature"] = json!("!");
    for bad in [json!(null), json!([]), json!({}), json!("x"), more, long, damaged] {
        let answer = post(&site, CALLBACK, &form.cookie, &form.token, &bad).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.body);
    }
    assert_eq!(post(&site, CALLBACK, &form.cookie, &form.token, &good).await.status, StatusCode::OK);
}

#[tokio::test]
async fn only_posts_at_the_login_host_are_answered() {
    let site = open().await;
    for path in [OPTIONS, CALLBACK, REGISTER, REGISTER_OPTIONS] {
        assert_eq!(site.get(path, "").await.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let elsewhere = site.send("rdp.example.com", HOME, Request::post(path).body(Body::empty()).unwrap()).await;
        assert_eq!(elsewhere.status, StatusCode::NOT_FOUND, "{path}");
        let slash = site.send(LOGIN_HOST, HOME, Request::post(format!("{path}/")).body(Body::empty()).unwrap()).await;
        assert_eq!(slash.status, StatusCode::NOT_FOUND, "{path}/");
    }
}
