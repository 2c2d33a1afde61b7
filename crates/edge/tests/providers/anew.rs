//! Logins that have to be made anew, whatever the provider remembers.

use std::time::Duration;

use serde_json::json;

use crate::providers::{
    provider::Provider,
    site::{Browser, NOW, Site, openid},
};

const ADD: &str = "/.access/account/passkey";

// O9
#[tokio::test]
async fn before_a_passkey_is_added_the_provider_has_to_say_that_the_person_signed_in_again() {
    let provider = Provider::start().await;
    let site = Site::open(|keys| vec![openid(keys, "work", &provider)]).await;
    let mut browser = Browser::default();
    let first = site.sent(&mut browser, "work").await;
    assert!(!first.contains("prompt=") && !first.contains("max_age="), "{first}");
    let query = provider.lets_in(&first);
    assert_eq!(site.back(&mut browser, "work", &query).await.status, 303);
    let there = site.get(&mut browser, ADD).await;
    assert_eq!(there.location(), "https://access.example.com/.access/account", "it was a moment ago: no passkeys here");
    site.clock.advance(Duration::from_secs(16 * 60));
    let now = site.clock.now().0;
    for (said, good) in [
        (json!({}), false),
        // It remembers the person, and answers at once.
        (json!({"auth_time": NOW.0}), false),
        (json!({"auth_time": now - 61}), false),
        (json!({"auth_time": now.to_string()}), false),
        (json!({"auth_time": now}), true),
    ] {
        let mut claims = said.clone();
        (claims["iat"], claims["exp"]) = (json!(now), json!(now + 300));
        provider.behave(|ways| ways.claims = claims);
        let asked = site.get(&mut browser, ADD).await;
        let sent = site.get(&mut browser, asked.location()).await;
        let location = sent.location();
        assert!(location.contains("&prompt=login") && location.contains("&max_age=0"), "{location}");
        let query = provider.lets_in(location);
        let back = site.back(&mut browser, "work", &query).await;
        if good {
            assert_eq!(back.location(), format!("https://access.example.com{ADD}"), "{said}");
        } else {
            assert_eq!(back.status, 403, "{said}: {}", back.body);
            assert!(back.body.contains("did not ask again who you are"), "{said}: {}", back.body);
            let failure = site.last_failure().await;
            assert!(failure.contains("auth_time"), "{said}: {failure}");
            // Whoever goes back with it is not taken for somebody who has just logged in by it.
            assert_eq!(site.back(&mut browser, "work", &query).await.status, 400, "{said}");
        }
    }
}
