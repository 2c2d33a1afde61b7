//! The launcher, the language of pages, and the page for whoever logs in again in another window.

use axum::body::Body;
use http::{Request, StatusCode, header};
use tunnel_edge::{
    pages::FORM_TOKEN,
    session::cookie::{LANGUAGE_COOKIE, SESSION_COOKIE},
};

use crate::client_login::site::{Answer, ELSEWHERE, HOME, LOGIN_HOST, NOW, Site};

const LAUNCHER: &str = "/";

async fn at(site: &Site, host: &str, target: &str) -> Answer {
    let request = Request::get(target).header("accept", "text/html").header("sec-fetch-mode", "navigate");
    site.send(host, HOME, request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn the_launcher_lists_what_the_policies_let_a_person_open_and_no_more() {
    let site = Site::open().await;
    let ann = site.log_in("ann").await;
    let page = site.get(LAUNCHER, &ann).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    // No connector of `db` is there; `rdp` is a bastion.
    for shown in [
        "ann@example.com",
        "href=\"https://db.example.com/\"",
        "access tcp <span class=\"whole\">--hostname</span> rdp.example.com",
        "<span class=\"whole\">--destination</span> HOST:PORT",
        "href=\"/.access/account#passkeys\"",
    ] {
        assert!(page.body.contains(shown), "{shown} in {}", page.body);
    }
    assert!(!page.body.contains("href=\"https://rdp.example.com/\""), "a browser has no use for it");
    let found = site.get("/?find=RD", &ann).await;
    assert!(found.body.contains("rdp.example.com") && !found.body.contains("db.example.com"), "{}", found.body);
    let found = site.get("/?find=%3Cb%3E", &ann).await;
    assert!(found.body.contains("class=\"empty\"") && !found.body.contains("<b>”"), "{}", found.body);
    // Whom nothing admits sees their own things, and what would be there; so does everybody from elsewhere.
    let eve = site.log_in("eve").await;
    for (cookie, source) in [(&eve, HOME), (&ann, ELSEWHERE)] {
        let request = Request::get(LAUNCHER).header("accept", "text/html").header("sec-fetch-mode", "navigate");
        let page = site.send(LOGIN_HOST, source, request.header("cookie", cookie).body(Body::empty()).unwrap()).await;
        assert!(page.status == StatusCode::OK && page.body.contains("class=\"empty\""), "{}", page.body);
        assert!(!page.body.contains("db.example.com") && !page.body.contains("rdp.example.com"));
    }
}

#[tokio::test]
async fn whoever_is_not_logged_in_logs_in_and_comes_back_to_the_launcher() {
    let site = Site::open().await;
    let asked = site.get(LAUNCHER, "").await;
    assert_eq!(asked.status, StatusCode::SEE_OTHER);
    let target = asked.location().strip_prefix("https://access.example.com").unwrap().to_owned();
    assert!(target.starts_with("/.access/login?"), "{target}");
    let ann = site.log_in("ann").await;
    let back = site.get(&target, &ann).await;
    assert_eq!((back.status, back.location()), (StatusCode::SEE_OTHER, "https://access.example.com/"));
    // A script is sent nowhere, and told where a person would go; a token of a program is no login.
    let request = Request::get(LAUNCHER).header("sec-fetch-mode", "cors").body(Body::empty()).unwrap();
    let refused = site.send(LOGIN_HOST, HOME, request).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let problem: serde_json::Value = serde_json::from_str(&refused.body).unwrap();
    assert_eq!(problem["login"], "https://access.example.com/");
    // It is at the login host only.
    assert_eq!(at(&site, "rdp.example.com", LAUNCHER).await.status, StatusCode::NOT_FOUND);
}

// A1, S10
#[tokio::test]
async fn a_session_is_ended_from_the_launcher_at_once() {
    let site = Site::open().await;
    let (here, there, bob) = (site.log_in("ann").await, site.log_in("ann").await, site.log_in("bob").await);
    let page = site.get(LAUNCHER, &here).await;
    let sessions: Vec<_> = page.body.match_indices("name=\"session\" value=\"").collect();
    assert_eq!(sessions.len(), 2, "one's own and no other's: {}", page.body);
    let form = page.body.split("action=\"/.access/account\"").last().unwrap();
    let value = |name: &str| {
        let rest = form.split_once(&format!("name=\"{name}\" value=\"")).unwrap().1;
        rest.split('"').next().unwrap().to_owned()
    };
    let (token, from, number) = (value(FORM_TOKEN), value("from"), value("session"));
    let fields = [(FORM_TOKEN, token.as_str()), ("from", &from), ("session", &number)];
    assert_eq!(site.post_from("/.access/account", &here, "cross-site", &fields).await.status, StatusCode::FORBIDDEN);
    assert_eq!(site.post("/.access/account", &bob, &fields).await.status, StatusCode::FORBIDDEN);
    let ended = site.post("/.access/account", &here, &fields).await;
    assert_eq!((ended.status, ended.location()), (StatusCode::SEE_OTHER, "https://access.example.com/"));
    assert_eq!(site.get(LAUNCHER, &there).await.status, StatusCode::SEE_OTHER, "it is over");
    assert_eq!(site.get(LAUNCHER, &here).await.status, StatusCode::OK);
    // A form says where to go back to by a word, not by an address.
    let fields = [(FORM_TOKEN, token.as_str()), ("from", "//evil.example/"), ("session", &number)];
    let ended = site.post("/.access/account", &here, &fields).await;
    assert_eq!(ended.location(), "https://access.example.com/.access/account");
    let everywhere = site.post("/.access/account", &here, &[(FORM_TOKEN, token.as_str()), ("all", "1")]).await;
    assert_eq!(everywhere.status, StatusCode::OK);
    let left = site.sessions.list(NOW);
    assert!(left.len() == 1 && left[0].identity().email.as_str() == "bob@example.com", "{left:?}");
}

#[tokio::test]
async fn one_login_looks_at_the_launcher_sixty_times_a_minute() {
    let site = Site::open().await;
    let ann = site.log_in("ann").await;
    for _ in 0..60 {
        assert_eq!(site.get(LAUNCHER, &ann).await.status, StatusCode::OK);
    }
    let page = site.get(LAUNCHER, &ann).await;
    assert!(page.status == StatusCode::TOO_MANY_REQUESTS && page.headers.contains_key(header::RETRY_AFTER));
    assert_eq!(site.get(LAUNCHER, &site.log_in("ann").await).await.status, StatusCode::OK, "another login");
    site.wait(61);
    assert_eq!(site.get(LAUNCHER, &ann).await.status, StatusCode::OK);
}

// H12, S4
#[tokio::test]
async fn a_language_is_chosen_for_one_host_and_one_comes_back_to_a_path_of_it() {
    let site = Site::open().await;
    for host in [LOGIN_HOST, "rdp.example.com", "unknown.example.com"] {
        let chosen = at(&site, host, "/.access/language?to=ja&back=%2Fa%3Fb%3Dc%26d").await;
        assert_eq!(
            (chosen.status, chosen.location()),
            (StatusCode::SEE_OTHER, format!("https://{host}/a?b=c&d").as_str())
        );
        let set: Vec<_> = chosen.headers.get_all(header::SET_COOKIE).iter().collect();
        let life = 365 * 24 * 3600;
        let line = format!("{LANGUAGE_COOKIE}=ja; Path=/; Max-Age={life}; Secure; HttpOnly; SameSite=Lax");
        assert_eq!(set, [line.as_str()]);
    }
    for back in [
        "https%3A%2F%2Fevil.example%2F",
        "%2F%2Fevil.example",
        "%2F%5Cevil.example",
        "%2Fa%0D%0ASet-Cookie%3A%20x%3Dy",
        "evil",
        "%2Fa%23b",
        "%2F.access%2Flanguage%3Fto%3Den",
        "%2Fa&back=%2Fb",
    ] {
        let page = at(&site, LOGIN_HOST, &format!("/.access/language?to=ja&back={back}")).await;
        assert!(page.status == StatusCode::OK && !page.headers.contains_key(header::LOCATION), "{back}");
        assert!(page.body.contains("<html lang=\"ja\">"), "a page says so, in the language: {}", page.body);
    }
    for odd in ["", "?to=fr", "?to=JA", "?to=ja&to=en", "?to=ja%3B%20Domain%3Dexample.com"] {
        let page = at(&site, LOGIN_HOST, &format!("/.access/language{odd}")).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{odd}");
        assert!(!page.headers.contains_key(header::SET_COOKIE), "{odd}");
    }
}

#[tokio::test]
async fn whoever_logs_in_again_in_another_window_is_led_to_a_page_that_says_so() {
    let site = Site::open().await;
    let asked = at(&site, "rdp.example.com", "/.access/signed-in?path=%2Fsave").await;
    assert_eq!(asked.status, StatusCode::SEE_OTHER);
    assert!(asked.location().starts_with("https://access.example.com/.access/login?app="), "{}", asked.location());
    for odd in ["%2F%2Fevil.example", "https%3A%2F%2Fevil.example", "", "%2Fa%3Fb"] {
        let asked = at(&site, "rdp.example.com", &format!("/.access/signed-in?path={odd}")).await;
        assert!(asked.location().starts_with("https://access.example.com/"), "{odd}: {}", asked.location());
    }
    // Where there is nothing to log in to, there is no such page; nor is a login of the login host one at a host.
    for host in ["unknown.example.com", LOGIN_HOST] {
        assert_eq!(at(&site, host, "/.access/signed-in?path=%2F").await.status, StatusCode::NOT_FOUND, "{host}");
    }
    let request = Request::get("/.access/signed-in?path=%2F").header("accept", "text/html");
    let request = request.header("sec-fetch-mode", "navigate").header("cookie", site.log_in("ann").await);
    let page = site.send("rdp.example.com", HOME, request.body(Body::empty()).unwrap()).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER);
    assert!(page.cookie(SESSION_COOKIE).is_none());
}
