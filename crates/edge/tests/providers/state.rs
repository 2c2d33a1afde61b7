use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use axum::body::Body;
use http::Request;
use tunnel_edge::session::cookie::SESSION_COOKIE;

use crate::providers::{
    provider::Provider,
    site::{Browser, LOGIN_HOST, Site, WWW, openid, pin},
};

// O1
#[tokio::test]
async fn a_state_counts_once_in_its_browser_and_for_a_while() {
    let provider = Provider::start().await;
    let site = Site::open(|keys| vec![openid(keys, "work", &provider), pin()]).await;
    let mut browser = Browser::default();
    let location = site.sent(&mut browser, "work").await;
    let query = provider.lets_in(&location);
    let state = query.split_once("state=").unwrap().1;
    let damaged = format!("code=CODE&state={}A", &state[..42]);
    for (what, mut other, query) in [
        ("another browser's", Browser::default(), query.as_str()),
        ("no state", browser.clone(), "code=CODE"),
        ("an empty state", browser.clone(), "code=CODE&state="),
        ("a made-up state", browser.clone(), "code=CODE&state=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        ("a damaged state", browser.clone(), &damaged),
    ] {
        let refused = site.back(&mut other, "work", query).await;
        assert_eq!(refused.status, 400, "{what}");
        assert!(!site.is_logged_in(&other) && refused.cookie("__Host-access").is_none(), "{what}");
        // Whither is not known, and no button leads where nothing is.
        assert!(refused.body.contains("open the page that you wanted"), "{what}: {}", refused.body);
        assert!(!refused.body.contains("class=\"btn"), "{what}: {}", refused.body);
    }
    assert_eq!(provider.asked("token"), 0, "nobody asked about any of it");
    // None of this used it up.
    assert_eq!(site.back(&mut browser, "work", &query).await.status, 303);
    let mut late = Browser::default();
    let location = site.sent(&mut late, "work").await;
    let query = provider.lets_in(&location);
    site.clock.advance(Duration::from_secs(601));
    let refused = site.back(&mut late, "work", &query).await;
    assert_eq!(refused.status, 400, "ten minutes are over");
    assert!(!site.is_logged_in(&late));
    assert!(refused.body.contains("https://www.example.com/x?y=z"), "it leads to the beginning: {}", refused.body);
    let other = site.back(&mut Browser::default(), "work", &query).await;
    assert!(other.status == 400 && !other.body.contains("www.example.com"), "nobody else is told: {}", other.body);
}

// O1: the back button, a second submit
#[tokio::test]
async fn whoever_goes_back_after_a_login_goes_on_and_nobody_else_does() {
    let provider = Provider::start().await;
    let site = Site::open(|keys| vec![openid(keys, "work", &provider), pin()]).await;
    let mut browser = Browser::default();
    let location = site.sent(&mut browser, "work").await;
    let query = provider.lets_in(&location);
    assert_eq!(site.back(&mut browser, "work", &query).await.status, 303);
    let again = site.back(&mut browser, "work", &query).await;
    assert!(again.location().starts_with("https://www.example.com/.access/authorized?code="), "{}", again.location());
    assert_eq!(provider.asked("token"), 1, "the code is not asked about again");
    assert_eq!(site.back(&mut Browser::default(), "work", &query).await.status, 400, "the address alone opens nothing");
    // A browser that only has the login cookie is not logged in by it.
    let login = browser.cookie(LOGIN_HOST, "__Host-access-login").unwrap().clone();
    site.sessions
        .end(&site.sessions.list(site.clock.now()).iter().map(|one| *one.id()).collect::<Vec<_>>())
        .await
        .unwrap();
    let ended = site.back(&mut browser, "work", &query).await;
    assert_eq!(ended.status, 400, "{login}");
    assert!(ended.body.contains("https://www.example.com/x?y=z"), "it leads to the beginning: {}", ended.body);
}

// O1
#[tokio::test]
async fn of_200_that_come_back_at_once_one_is_logged_in() {
    let provider = Provider::start().await;
    let site = Arc::new(Site::open(|keys| vec![openid(keys, "work", &provider), pin()]).await);
    let mut browser = Browser::default();
    let location = site.sent(&mut browser, "work").await;
    let query = provider.lets_in(&location);
    let mut all = tokio::task::JoinSet::new();
    for network in 0..200 {
        let (site, mut browser, query) = (site.clone(), browser.clone(), query.clone());
        // Each from another network, so that no limit helps.
        browser.source = std::net::Ipv4Addr::new(198, 51, network, 7).into();
        all.spawn(async move {
            let answer = site.back(&mut browser, "work", &query).await;
            // However close behind the first, nobody is left without a way on.
            let way_on = answer.status == 303 || answer.body.contains("https://www.example.com/x?y=z");
            assert!(way_on, "{}: {}", answer.status, answer.body);
            site.is_logged_in(&browser)
        });
    }
    let logged_in = all.join_all().await.into_iter().filter(|in_| *in_).count();
    assert_eq!((logged_in, provider.asked("token")), (1, 1));
}

// P4
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_200_that_bring_one_hand_over_code_at_once_one_has_a_session() {
    let provider = Provider::start().await;
    let site = Arc::new(Site::open(|keys| vec![openid(keys, "work", &provider), pin()]).await);
    let mut browser = Browser::default();
    let handed = site.log_in(&mut browser, "work", &provider).await;
    let address = handed.location().to_owned();
    assert!(address.starts_with("https://www.example.com/.access/authorized?code="), "{address}");
    let before = site.sessions.list(site.clock.now()).len();
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let (site, mut browser, address) = (site.clone(), browser.clone(), address.clone());
        all.spawn(async move {
            let answer = site.get(&mut browser, &address).await;
            let opens = site.opens(&browser).is_ok();
            assert_eq!(browser.cookie(WWW, SESSION_COOKIE).is_some(), opens, "{}", answer.body);
            assert_eq!(answer.status, if opens { 303 } else { 400 }, "{}", answer.body);
            opens
        });
    }
    let opened = all.join_all().await.into_iter().filter(|opens| *opens).count();
    assert_eq!((opened, site.sessions.list(site.clock.now()).len()), (1, before + 1));
}

// P4
#[tokio::test]
async fn a_hand_over_code_counts_for_thirty_seconds() {
    let provider = Provider::start().await;
    let site = Site::open(|keys| vec![openid(keys, "work", &provider), pin()]).await;
    provider.follow(&site.clock);
    for (after, counts) in [(0, true), (29, true), (30, false), (3600, false)] {
        let mut browser = Browser::default();
        let handed = site.log_in(&mut browser, "work", &provider).await;
        let address = handed.location().to_owned();
        assert!(address.starts_with("https://www.example.com/.access/authorized?code="), "{address}");
        site.clock.advance(Duration::from_secs(after));
        let answer = site.get(&mut browser, &address).await;
        assert_eq!(answer.status, if counts { 303 } else { 400 }, "after {after} s: {}", answer.body);
        assert_eq!(site.opens(&browser).is_ok(), counts, "after {after} s");
        assert_eq!(browser.cookie(WWW, SESSION_COOKIE).is_some(), counts, "after {after} s");
    }
}

#[tokio::test]
async fn a_login_may_take_forty_minutes_from_its_first_step() {
    let provider = Provider::start().await;
    let site = Site::open(|keys| vec![openid(keys, "work", &provider), pin()]).await;
    for (after, goes_on) in [(40 * 60 - 1, true), (40 * 60, false)] {
        let mut browser = Browser::default();
        let url = site.begin(&mut browser);
        let page = site.get(&mut browser, &url).await;
        assert_eq!(page.status, 200, "{}", page.body);
        site.clock.advance(Duration::from_secs(after));
        for answer in [site.get(&mut browser, &url).await, site.press(&mut browser, &page, &[("method", "work")]).await]
        {
            assert_eq!(answer.status, if goes_on { 200 } else { 400 }, "after {after} s: {}", answer.body);
            let leads_back = answer.body.contains("https://www.example.com/x?y=z");
            assert!(goes_on || leads_back, "it leads to the beginning: {}", answer.body);
        }
    }
}

// O3
#[tokio::test]
async fn an_answer_counts_only_for_the_provider_that_was_asked() {
    let (one, two) = (Provider::start().await, Provider::start().await);
    let site = Site::open(|keys| vec![openid(keys, "one", &one), openid(keys, "two", &two)]).await;
    let mut browser = Browser::default();
    let location = site.sent(&mut browser, "one").await;
    let query = one.lets_in(&location);
    // The other provider sends the browser to its own address with the first one's state.
    assert_eq!(site.back(&mut browser, "two", &query).await.status, 400);
    assert_eq!((one.asked("token"), two.asked("token")), (0, 0), "no code is told to anybody");
    for (names_itself, iss, status) in [
        (false, Some(two.issuer.as_str()), 400),
        (false, Some("https://evil.example"), 400),
        (false, None, 303),
        (false, Some(one.issuer.as_str()), 303),
        (true, None, 400),
        (true, Some(one.issuer.as_str()), 303),
    ] {
        one.behave(|ways| ways.names_itself = names_itself);
        let site = Site::open(|keys| vec![openid(keys, "one", &one), pin()]).await;
        let mut browser = Browser::default();
        let location = site.sent(&mut browser, "one").await;
        let mut query = one.lets_in(&location);
        iss.into_iter().for_each(|iss| query = format!("{query}&iss={iss}"));
        assert_eq!(site.back(&mut browser, "one", &query).await.status, status, "{names_itself} {iss:?}");
        // Nor does an error count that somebody else sends.
        let mut browser = Browser::default();
        let location = site.sent(&mut browser, "one").await;
        let state = one.lets_in(&location).replace("code=CODE&", "");
        let error =
            site.back(&mut browser, "one", &format!("error=access_denied&{state}&iss=https://evil.example")).await;
        assert_eq!(error.status, 400);
    }
}

// O2, O4
#[tokio::test]
async fn a_token_for_another_login_is_refused() {
    let provider = Provider::start().await;
    let site = Site::open(|keys| vec![openid(keys, "work", &provider)]).await;
    provider.behave(|ways| ways.other_nonce = true);
    let mut browser = Browser::default();
    assert_eq!(site.log_in(&mut browser, "work", &provider).await.status, 502);
    assert!(!site.is_logged_in(&browser));
    assert!(site.failures().await[0].contains("belongs to another login (`nonce`)"), "{:?}", site.failures().await);
}

// O1
#[tokio::test]
async fn no_network_begins_logins_without_end() {
    let provider = Provider::start().await;
    let site = Site::open(|keys| vec![openid(keys, "work", &provider), pin()]).await;
    let mut browser = Browser::default();
    let url = site.begin(&mut browser);
    let page = site.get(&mut browser, &url).await;
    for _ in 0..60 {
        assert_eq!(site.press(&mut browser, &page, &[("method", "work")]).await.status, 200);
    }
    assert_eq!(site.press(&mut browser, &page, &[("method", "work")]).await.status, 429);
}

// O1
#[tokio::test]
async fn not_even_many_networks_begin_logins_without_end() {
    let provider = Provider::start().await;
    let site = Site::open(|keys| vec![openid(keys, "work", &provider), pin()]).await;
    let mut browser = Browser::default();
    let url = site.begin(&mut browser);
    let page = site.get(&mut browser, &url).await;
    for wide in 0..2 {
        for narrow in 0..5 {
            browser.source = Ipv6Addr::new(0x2001, 0xdb8, wide, narrow << 8, 0, 0, 0, 1).into();
            for _ in 0..60 {
                assert_ne!(site.press(&mut browser, &page, &[("method", "work")]).await.status, 429);
            }
        }
        browser.source = Ipv6Addr::new(0x2001, 0xdb8, wide, 0xff00, 0, 0, 0, 1).into();
        assert_eq!(
            site.press(&mut browser, &page, &[("method", "work")]).await.status,
            429,
            "one /48 has 300 a minute"
        );
    }
    browser.source = Ipv4Addr::new(198, 51, 100, 7).into();
    assert_eq!(site.press(&mut browser, &page, &[("method", "work")]).await.status, 429, "the edge keeps 600 a minute");
    site.clock.advance(Duration::from_secs(60));
    assert_ne!(site.press(&mut browser, &page, &[("method", "work")]).await.status, 429);
}

/// Comes back as a browser with these headers would.
async fn knock(site: &Site, browser: &mut Browser, query: &str, headers: &[(&str, &str)]) -> u16 {
    let mut request = Request::get(format!("/.access/callback/work?{query}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    site.send(browser, LOGIN_HOST, request.body(Body::empty()).unwrap()).await.status.as_u16()
}

// O1: a page elsewhere knocks in the name of whoever reads it, or a stranger does
#[tokio::test]
async fn what_comes_back_to_no_login_keeps_nobody_out() {
    let provider = Provider::start().await;
    let site = Site::open(|keys| vec![openid(keys, "work", &provider), pin()]).await;
    let mut browser = Browser::default();
    let location = site.sent(&mut browser, "work").await;
    let query = provider.lets_in(&location);
    let made_up = "code=C&state=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let picture = [("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image"), ("sec-fetch-site", "cross-site")];
    let frame = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe"), ("sec-fetch-site", "cross-site")];
    for _ in 0..130 {
        assert_eq!(knock(&site, &mut browser.clone(), made_up, &[]).await, 400);
        assert_eq!(knock(&site, &mut browser.clone(), "state=x", &picture).await, 400);
        assert_eq!(knock(&site, &mut Browser::default(), &query, &[]).await, 400, "another browser's state");
        // Not even the right one, in its browser, where nobody can see what becomes of it.
        assert_eq!(knock(&site, &mut browser.clone(), &query, &picture).await, 400);
        assert_eq!(knock(&site, &mut browser.clone(), &query, &frame).await, 400);
    }
    assert!(site.audited(tunnel_edge::store::AuditEvent::LoginFailed).await.len() < 10, "counted, not listed");
    assert_eq!(provider.asked("token"), 0);
    let page = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"), ("sec-fetch-site", "cross-site")];
    assert_eq!(knock(&site, &mut browser, &query, &page).await, 303);
    assert!(site.is_logged_in(&browser));
}

// O1
#[tokio::test]
async fn no_network_comes_back_from_logins_without_end() {
    let provider = Provider::start().await;
    let site = Site::open(|keys| vec![openid(keys, "work", &provider), pin()]).await;
    let back = Browser::default().source;
    for number in 0..=120u8 {
        let mut browser = Browser::default();
        browser.source = Ipv4Addr::new(203, 0, number / 50, 7).into();
        let location = site.sent(&mut browser, "work").await;
        let query = provider.lets_in(&location).replace("code=CODE", "error=access_denied");
        browser.source = back;
        let status = site.back(&mut browser, "work", &query).await.status;
        assert_eq!(status, if number < 120 { 403 } else { 429 }, "{number}");
        if status == 429 {
            site.clock.advance(Duration::from_secs(60));
            assert_eq!(site.back(&mut browser, "work", &query).await.status, 403, "it was not used up");
        }
    }
}

// O1
#[tokio::test]
async fn an_address_comes_back_whole_unless_it_was_made_to_fill_the_store() {
    let provider = Provider::start().await;
    let site = Site::open(|keys| vec![openid(keys, "work", &provider), pin()]).await;
    let (long, blown_up) = (format!("/?{}", "x".repeat(4090)), format!("/?{}", "\"".repeat(4090)));
    for (target, there) in [(long.as_str(), long.as_str()), (&blown_up, "/")] {
        let mut browser = Browser::default();
        let url = site.begin_at(&mut browser, target);
        let page = site.get(&mut browser, &url).await;
        let sent = site.press(&mut browser, &page, &[("method", "work")]).await;
        let query = provider.lets_in(sent.location());
        let handed = site.back(&mut browser, "work", &query).await;
        let arrived = site.get(&mut browser, handed.location()).await;
        assert_eq!(arrived.location(), format!("https://www.example.com{there}"));
    }
}
