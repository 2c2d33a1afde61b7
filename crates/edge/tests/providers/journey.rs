use std::sync::Arc;

use serde_json::json;
use tunnel_edge::{pages::FORM_TOKEN, session::cookie::SESSION_COOKIE, store::AuditEvent};

use crate::providers::{
    provider::Provider,
    site::{Browser, Site, WWW, openid, pin},
};

#[tokio::test]
async fn a_person_logs_in_at_a_provider_and_comes_to_where_they_wanted_to_go() {
    let provider = Provider::start().await;
    let site = Site::open(|keys| vec![openid(keys, "work", &provider), pin()]).await;
    provider.behave(|ways| {
        ways.claims = json!({"groups": ["g"], "amr": ["pwd", "mfa"], "department": "it", "name": "Ann"})
    });
    let mut browser = Browser::default();
    let handed = site.log_in(&mut browser, "work", &provider).await;
    assert_eq!(handed.status, 303);
    assert!(handed.location().starts_with("https://www.example.com/.access/authorized?code="), "{}", handed.location());
    let there = site.get(&mut browser, handed.location()).await;
    assert_eq!(there.location(), "https://www.example.com/x?y=z");
    assert!(browser.cookie(WWW, SESSION_COOKIE).is_some() && site.is_logged_in(&browser));
    let people = site.store.people(10).await.unwrap();
    let person = &people[0];
    assert_eq!((person.issuer.as_str(), person.subject.as_str()), (provider.issuer.as_str(), "somebody"));
    assert_eq!((person.email.as_str(), person.method.as_str()), ("ann@example.com", "work"));
    assert_eq!((person.attributes.groups.as_slice(), person.attributes.amr.len()), (&["g".to_owned()][..], 2));
    assert_eq!(person.attributes.claims, [("department".to_owned(), json!("it"))].into(), "and no other claim");
    let logins = site.audited(AuditEvent::Login).await;
    assert!(logins.iter().any(|record| record.detail.as_deref() == Some("logged in by work")), "{logins:?}");
}

// O6
#[tokio::test]
async fn one_address_from_two_providers_is_two_people() {
    let (one, two) = (Provider::start().await, Provider::start().await);
    let site = Site::open(|keys| vec![openid(keys, "one", &one), openid(keys, "two", &two)]).await;
    for (method, provider) in [("one", &one), ("two", &two), ("one", &one)] {
        assert_eq!(site.log_in(&mut Browser::default(), method, provider).await.status, 303);
    }
    let people = site.store.people(10).await.unwrap();
    assert_eq!(people.len(), 2);
    assert_ne!(people[0].id, people[1].id);
    assert_eq!(people[0].email, people[1].email);
}

#[tokio::test]
async fn whoever_is_logged_in_there_and_not_admitted_is_told_by_which_way_they_came() {
    let provider = Provider::start().await;
    let site = Site::open(|keys| vec![openid(keys, "work", &provider)]).await;
    provider.behave(|ways| ways.claims = json!({"email": "eve@example.com"}));
    let denied = site.log_in(&mut Browser::default(), "work", &provider).await;
    assert_eq!(denied.status, 403);
    assert!(denied.body.contains("eve@example.com") && denied.body.contains("by work"), "{}", denied.body);
}

#[tokio::test]
async fn userinfo_is_asked_when_the_token_names_no_address_and_must_be_about_the_same_person() {
    let provider = Provider::start().await;
    let site = Site::open(|keys| vec![openid(keys, "work", &provider)]).await;
    let full = json!({"sub": "somebody", "email": "ann@example.com", "email_verified": true, "department": "it"});
    provider.behave(|ways| {
        ways.claims = json!({"email": null, "email_verified": null});
        ways.userinfo = full.clone();
    });
    assert_eq!(site.log_in(&mut Browser::default(), "work", &provider).await.status, 303);
    let mut other = full;
    other["sub"] = json!("somebody-else");
    provider.behave(|ways| ways.userinfo = other);
    let refused = site.log_in(&mut Browser::default(), "work", &provider).await;
    assert_eq!(refused.status, 502);
    assert!(site.failures().await[0].contains("about another person"), "{:?}", site.failures().await);
}

#[tokio::test]
async fn administrators_come_to_their_pages_by_the_same_way() {
    let provider = Provider::start().await;
    let site = Site::open(|keys| vec![openid(keys, "work", &provider)]).await;
    let mut browser = Browser::default();
    let asked = site.get(&mut browser, "/.access/enroll?id=x").await;
    let sent = site.get(&mut browser, asked.location()).await;
    let query = provider.lets_in(sent.location());
    let back = site.back(&mut browser, "work", &query).await;
    assert_eq!(back.location(), "https://access.example.com/.access/enroll?id=x");
    assert!(site.is_logged_in(&browser));
}

#[tokio::test]
async fn a_link_tries_a_method_once_and_logs_nobody_in() {
    let provider = Provider::start().await;
    let site = Site::open(|keys| vec![openid(keys, "work", &provider)]).await;
    let trials = site.providers.trials();
    let now = site.clock.now();
    let id = trials.begin("work".parse().unwrap(), now).unwrap();
    let link = format!("/.access/login-test?id={}", *id.reveal());
    let mut browser = Browser::default();
    let sent = site.try_out(&mut browser, &link).await;
    let query = provider.lets_in(sent.location());
    assert_eq!(site.get(&mut Browser::default(), &link).await.status, 404, "the link works once");
    assert_eq!(site.back(&mut Browser::default(), "work", &query).await.status, 400, "another browser");
    let shown = site.back(&mut browser, "work", &query).await;
    assert_eq!(shown.status, 200);
    assert!(shown.body.contains("ann@example.com") && shown.body.contains("somebody"), "{}", shown.body);
    assert!(!site.is_logged_in(&browser) && site.store.people(10).await.unwrap().is_empty());
    let outcome = trials.wait(&id, now, std::time::Duration::ZERO).await.flatten().unwrap();
    assert_eq!((outcome.subject.as_deref(), outcome.refused.len()), (Some("somebody"), 0));
    // What would be refused says why, beside what was found.
    provider.behave(|ways| ways.claims = json!({"email_verified": false}));
    let id = trials.begin("work".parse().unwrap(), now).unwrap();
    let sent = site.try_out(&mut browser, &format!("/.access/login-test?id={}", *id.reveal())).await;
    let query = provider.lets_in(sent.location());
    let shown = site.back(&mut browser, "work", &query).await;
    assert_eq!(shown.status, 422);
    let outcome = trials.wait(&id, now, std::time::Duration::ZERO).await.flatten().unwrap();
    assert_eq!((outcome.subject.as_deref(), outcome.email), (Some("somebody"), None));
    assert!(outcome.refused[0].contains("does not call `ann@example.com` verified"), "{:?}", outcome.refused);
    let tried = site.audited(AuditEvent::LoginTried).await;
    let opened = tried.iter().filter(|record| record.detail.as_deref() == Some("a test was opened in a browser"));
    assert_eq!((opened.count(), tried.len()), (2, 4));
    assert!(
        tried.iter().all(|record| record.object.as_deref() == Some("login method `work`") && record.source.is_some())
    );
}

#[tokio::test]
async fn the_link_of_a_test_says_who_reads_what_before_anybody_is_sent_anywhere() {
    let provider = Provider::start().await;
    let site = Site::open(|keys| vec![openid(keys, "work", &provider)]).await;
    let trials = site.providers.trials();
    let id = trials.begin("work".parse().unwrap(), site.clock.now()).unwrap();
    let link = format!("/.access/login-test?id={}", *id.reveal());
    // A preview of the link, and whoever is lured to it, see a page and nothing more.
    for mut looks in [Browser::default(), Browser::default()] {
        let page = site.get(&mut looks, &link).await;
        assert_eq!(page.status, 200);
        for word in ["Who will read it", "e-mail address, groups", "Go on only if you began this test yourself"] {
            assert!(page.body.contains(word), "{word}: {}", page.body);
        }
        assert!(!page.headers.contains_key("refresh"), "nobody is sent anywhere");
    }
    assert_eq!(provider.asked("token"), 0);
    // The button counts in the browser that it was shown in, and from our own page.
    let mut browser = Browser::default();
    let page = site.get(&mut browser, &link).await;
    let (token, id) = (page.field(FORM_TOKEN), page.field("id"));
    let fields = [(FORM_TOKEN, token.as_str()), ("id", id.as_str())];
    let mut other = Browser::default();
    site.get(&mut other, &link).await;
    assert_eq!(site.post(&mut other, "/.access/login-test", &fields).await.status, 403, "another browser");
    assert_eq!(site.post(&mut browser, "/.access/login-test", &fields[1..]).await.status, 403, "no token");
    let made_up = [fields[0], ("id", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")];
    assert_eq!(site.post(&mut browser, "/.access/login-test", &made_up).await.status, 404, "no such test");
    assert!(site.audited(AuditEvent::LoginTried).await.is_empty());
    let sent = site.post(&mut browser, "/.access/login-test", &fields).await;
    assert!(sent.location().starts_with(&provider.issuer), "{}", sent.location());
    assert_eq!(site.post(&mut browser, "/.access/login-test", &fields).await.status, 404, "once");
}

// P4
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_200_that_go_on_from_one_link_of_a_test_at_once_one_is_sent_to_the_provider() {
    let provider = Provider::start().await;
    let site = Arc::new(Site::open(|keys| vec![openid(keys, "work", &provider)]).await);
    let now = site.clock.now();
    let id = site.providers.trials().begin("work".parse().unwrap(), now).unwrap();
    let link = format!("/.access/login-test?id={}", *id.reveal());
    let mut all = tokio::task::JoinSet::new();
    let mut ready = Vec::new();
    for network in 0..200 {
        // Each in a browser and a network of its own, so that nothing but the link stands in the way of a second.
        let mut browser = Browser::default();
        browser.source = std::net::Ipv4Addr::new(198, 51, network, 7).into();
        let page = site.get(&mut browser, &link).await;
        assert_eq!(page.status, 200, "{}", page.body);
        ready.push((browser, page.field(FORM_TOKEN), page.field("id")));
    }
    for (mut browser, token, id) in ready {
        let site = site.clone();
        all.spawn(async move {
            let fields = [(FORM_TOKEN, token.as_str()), ("id", id.as_str())];
            let sent = site.post(&mut browser, "/.access/login-test", &fields).await;
            (browser, sent)
        });
    }
    let (mut good, bad): (Vec<_>, Vec<_>) = all.join_all().await.into_iter().partition(|(_, sent)| sent.status == 200);
    assert_eq!((good.len(), bad.len()), (1, 199));
    assert!(bad.iter().all(|(_, refused)| refused.status == 404), "the others are told that it is over");
    let (mut browser, sent) = good.remove(0);
    let query = provider.lets_in(sent.location());
    assert_eq!(site.back(&mut browser, "work", &query).await.status, 200);
    let outcome = site.providers.trials().wait(&id, now, std::time::Duration::ZERO).await.flatten().unwrap();
    assert_eq!(outcome.subject.as_deref(), Some("somebody"));
    let tried = site.audited(AuditEvent::LoginTried).await;
    assert_eq!(tried.len(), 2, "opened once, and tried once: {tried:?}");
}
