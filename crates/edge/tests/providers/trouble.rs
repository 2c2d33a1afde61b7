use std::{sync::Arc, time::Duration};

use serde_json::json;

use crate::providers::{
    provider::Provider,
    site::{Browser, Site, openid, pin},
};

// O8
#[tokio::test]
async fn a_provider_that_is_not_there_is_named_and_the_others_are_still_offered() {
    let (gone, other) = (Provider::start().await, Provider::start().await);
    let site = Site::open(|keys| vec![openid(keys, "gone", &gone), openid(keys, "other", &other), pin()]).await;
    gone.stop();
    let mut browser = Browser::default();
    let url = site.begin(&mut browser);
    let page = site.get(&mut browser, &url).await;
    let trouble = site.press(&mut browser, &page, &[("method", "gone")]).await;
    assert_eq!(trouble.status, 503);
    assert!(trouble.headers.contains_key("retry-after"));
    for part in ["<code>gone</code>", "value=\"other\"", "choose=1", "0707-0707-0707"] {
        assert!(trouble.body.contains(part), "{part}: {}", trouble.body);
    }
    // Its buttons work.
    let sent = site.press(&mut browser, &trouble, &[("method", "other")]).await;
    let query = other.lets_in(sent.location());
    assert_eq!(site.back(&mut browser, "other", &query).await.status, 303);
    assert!(site.failures().await[0].starts_with("by gone: the provider is down: "), "{:?}", site.failures().await);
}

// O8
#[tokio::test]
async fn what_is_known_of_a_provider_serves_while_it_is_gone_between_login_and_callback() {
    let provider = Provider::start().await;
    let site = Site::open(|keys| vec![openid(keys, "work", &provider), pin()]).await;
    assert_eq!(site.log_in(&mut Browser::default(), "work", &provider).await.status, 303);
    assert_eq!((provider.asked("discovery"), provider.asked("jwks")), (1, 1));
    assert_eq!(site.log_in(&mut Browser::default(), "work", &provider).await.status, 303);
    assert_eq!((provider.asked("discovery"), provider.asked("jwks")), (1, 1), "once for many logins");
    let mut browser = Browser::default();
    let location = site.sent(&mut browser, "work").await;
    let query = provider.lets_in(&location);
    provider.stop();
    let trouble = site.back(&mut browser, "work", &query).await;
    assert_eq!(trouble.status, 503);
    assert!(trouble.body.contains("by e-mail") || trouble.body.contains("E-mail me a code"), "{}", trouble.body);
}

// O4, O8
#[tokio::test]
async fn keys_that_change_between_login_and_callback_are_read_again_at_most_once_a_minute() {
    let provider = Provider::start().await;
    let site = Site::open(|keys| vec![openid(keys, "work", &provider), pin()]).await;
    assert_eq!(site.log_in(&mut Browser::default(), "work", &provider).await.status, 303);
    let mut browser = Browser::default();
    let location = site.sent(&mut browser, "work").await;
    let query = provider.lets_in(&location);
    provider.behave(|ways| ways.kid = "two");
    assert_eq!(site.back(&mut browser, "work", &query).await.status, 303);
    assert_eq!(provider.asked("jwks"), 2);
    provider.behave(|ways| ways.kid = "three");
    let refused = site.log_in(&mut Browser::default(), "work", &provider).await;
    assert_eq!((refused.status.as_u16(), provider.asked("jwks")), (502, 2), "not again within a minute");
}

// O8
#[tokio::test]
async fn everybody_who_comes_back_across_a_change_of_keys_is_logged_in_by_one_reading() {
    let provider = Provider::start().await;
    let site = Arc::new(Site::open(|keys| vec![openid(keys, "work", &provider), pin()]).await);
    let mut coming = Vec::new();
    for _ in 0..20 {
        let mut browser = Browser::default();
        let location = site.sent(&mut browser, "work").await;
        coming.push((browser, provider.lets_in(&location)));
    }
    // None of them learns of the new key before every one has begun with the old one.
    provider.behave(|ways| {
        ways.kid = "two";
        ways.together = Some(Arc::new(tokio::sync::Barrier::new(20)));
    });
    let mut all = tokio::task::JoinSet::new();
    for (mut browser, query) in coming {
        let site = site.clone();
        all.spawn(async move { site.back(&mut browser, "work", &query).await.status.as_u16() });
    }
    assert_eq!(all.join_all().await, [303; 20], "{:?}", site.failures().await);
    assert_eq!(provider.asked("jwks"), 2, "once before, and once for all of them");
}

// O8
#[tokio::test]
async fn keys_that_could_not_be_read_again_are_asked_for_after_a_moment() {
    let provider = Provider::start().await;
    let site = Site::open(|keys| vec![openid(keys, "work", &provider), pin()]).await;
    assert_eq!(site.log_in(&mut Browser::default(), "work", &provider).await.status, 303);
    provider.behave(|ways| (ways.kid, ways.keys_status) = ("two", 503));
    for _ in 0..2 {
        let trouble = site.log_in(&mut Browser::default(), "work", &provider).await;
        assert_eq!(trouble.status, 503);
        assert_eq!(site.last_failure().await, "by work: the provider is down: it answers with status 503");
    }
    assert_eq!(provider.asked("jwks"), 2, "not at once again");
    provider.behave(|ways| ways.keys_status = 200);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(4)).await;
    tokio::time::resume();
    assert_eq!(site.log_in(&mut Browser::default(), "work", &provider).await.status, 303);
}

#[tokio::test]
async fn whose_groups_are_told_elsewhere_is_not_logged_in_without_them() {
    let provider = Provider::start().await;
    let site = Site::open(|keys| vec![openid(keys, "work", &provider)]).await;
    let overage = "more groups than fit into a token, and nobody asks for them elsewhere: declare `groups: true`";
    for (claims, status, recorded) in [
        (json!({"_claim_names": {"groups": "src1"}}), 403, overage),
        (json!({"hasgroups": true}), 403, overage),
        (json!({"groups": {"contractors": true}}), 502, "the claim `groups` holds no groups"),
    ] {
        provider.behave(|ways| ways.claims = claims.clone());
        let mut browser = Browser::default();
        let page = site.log_in(&mut browser, "work", &provider).await;
        assert_eq!(page.status, status, "{claims}: {}", page.body);
        assert!(!site.is_logged_in(&browser), "{claims}");
        let last = site.last_failure().await;
        assert!(last.contains(recorded), "{claims}: {last}");
    }
}

// A2
#[tokio::test]
async fn each_trouble_has_its_page_and_its_record_and_no_word_of_the_providers_is_shown() {
    let provider = Provider::start().await;
    let site = Site::open(|keys| vec![openid(keys, "work", &provider), pin()]).await;
    let evil = "%3Cscript%3Ealert(1)%3C/script%3E";
    for (error, status, recorded) in [
        ("access_denied", 403, "by work: refused at the provider: access_denied"),
        ("consent_required", 403, "by work: refused at the provider: consent_required"),
        ("temporarily_unavailable", 503, "by work: the provider is down: temporarily_unavailable"),
        ("invalid_scope", 502, "by work: an administrator must look: invalid_scope"),
        (evil, 502, "by work: an administrator must look: an error without a code"),
    ] {
        let mut browser = Browser::default();
        let location = site.sent(&mut browser, "work").await;
        let state = provider.lets_in(&location).replace("code=CODE&", "");
        let query = format!("error={error}&error_description={evil}&error_uri={evil}&{state}");
        let page = site.back(&mut browser, "work", &query).await;
        assert_eq!(page.status, status, "{error}: {}", page.body);
        assert!(!page.body.contains("alert") && !page.body.contains("<script"), "{}", page.body);
        assert!(page.body.contains("0707-0707-0707") && page.body.contains("value=\"work\""), "{}", page.body);
        assert_eq!(site.last_failure().await, recorded);
        assert_eq!(site.back(&mut browser, "work", &query).await.status, 400, "the state is used up");
    }
    for (claims, status, recorded) in [
        (json!({"email_verified": false}), 403, "does not call `ann@example.com` verified"),
        (json!({"email": null}), 403, "names no e-mail address"),
        (json!({"email": "a@evil@example.com"}), 403, "holds no e-mail address"),
        (json!({"iss": "https://evil.example"}), 502, "from another issuer"),
        (json!({"aud": "other"}), 502, "for another client"),
        (json!({"exp": 1}), 502, "has expired"),
    ] {
        provider.behave(|ways| ways.claims = claims.clone());
        let mut browser = Browser::default();
        let page = site.log_in(&mut browser, "work", &provider).await;
        assert_eq!(page.status, status, "{claims}: {}", page.body);
        assert!(!site.is_logged_in(&browser), "{claims}");
        let last = site.last_failure().await;
        assert!(last.contains(recorded), "{claims}: {last}");
    }
    provider.behave(|ways| ways.claims = json!({}));
    for (answer, status, recorded) in [
        (
            (401, json!({"error": "invalid_client", "error_description": "<b>x</b>"})),
            502,
            "refuses the client: invalid_client",
        ),
        ((400, json!({"error": "invalid_grant"})), 400, "refuses the code: invalid_grant"),
        ((503, json!({})), 503, "in trouble: status 503"),
        ((200, json!({"access_token": "A"})), 502, "there is no ID token"),
        ((200, json!({"id_token": "a.b.c"})), 502, "not three parts of base64url"),
        ((302, json!({})), 502, "refuses: status 302"),
    ] {
        provider.behave(|ways| ways.token = Some(answer.clone()));
        let page = site.log_in(&mut Browser::default(), "work", &provider).await;
        assert_eq!(page.status, status, "{answer:?}: {}", page.body);
        assert!(!page.body.contains("<b>x</b>"));
        let last = site.last_failure().await;
        assert!(last.contains(recorded), "{answer:?}: {last}");
    }
    // A7: nothing of all this has told the secret or a code.
    let audit = format!("{:?}", site.store.audit(1000).await.unwrap());
    for secret in ["s3cret", "CODE", "ACCESS"] {
        assert!(!audit.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn another_account_can_be_chosen_where_this_one_will_not_do() {
    let provider = Provider::start().await;
    let site = Site::open(|keys| vec![openid(keys, "work", &provider)]).await;
    provider.behave(|ways| ways.claims = json!({"email_verified": false}));
    let mut browser = Browser::default();
    let page = site.log_in(&mut browser, "work", &provider).await;
    assert!(page.body.contains("name=\"account\" value=\"other\""), "{}", page.body);
    let sent = site.press(&mut browser, &page, &[("account", "other"), ("method", "work")]).await;
    assert!(sent.location().contains("&prompt=login"), "{}", sent.location());
}
