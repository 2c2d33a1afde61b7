use std::{sync::Arc, time::Duration};

use crate::{
    provider::Provider,
    site::{Browser, LOGIN_HOST, Site, openid, pin},
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
    }
    assert_eq!(provider.asked("token"), 0, "nobody asked about any of it");
    // None of this used it up.
    assert_eq!(site.back(&mut browser, "work", &query).await.status, 303);
    let mut late = Browser::default();
    let location = site.sent(&mut late, "work").await;
    let query = provider.lets_in(&location);
    site.clock.advance(Duration::from_secs(601));
    assert_eq!(site.back(&mut late, "work", &query).await.status, 400, "ten minutes are over");
    assert!(!site.is_logged_in(&late));
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
            site.back(&mut browser, "work", &query).await;
            site.is_logged_in(&browser)
        });
    }
    let logged_in = all.join_all().await.into_iter().filter(|in_| *in_).count();
    assert_eq!((logged_in, provider.asked("token")), (1, 1));
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
        assert_eq!(site.press(&mut browser, &page, &[("method", "work")]).await.status, 303);
    }
    assert_eq!(site.press(&mut browser, &page, &[("method", "work")]).await.status, 429);
    let made_up = "code=C&state=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let mut last = site.back(&mut browser, "work", made_up).await;
    for _ in 0..120 {
        last = site.back(&mut browser, "work", made_up).await;
    }
    assert_eq!(last.status, 429);
}
