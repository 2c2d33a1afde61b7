//! By which methods administrators log in.

use tunnel_edge::snapshot::BuiltIn;

use crate::providers::{
    provider::Provider,
    site::{Browser, Site, openid},
};

const PAGE: &str = "/.access/enroll?id=x";

fn held_to(names: &[&str]) -> BuiltIn {
    BuiltIn { administrator_methods: names.iter().map(|name| name.parse().unwrap()).collect(), ..BuiltIn::default() }
}

// A5
#[tokio::test]
async fn a_provider_that_is_not_named_for_it_makes_nobody_an_administrator() {
    let (one, two) = (Provider::start().await, Provider::start().await);
    let mut site = Site::open(|keys| vec![openid(keys, "one", &one), openid(keys, "two", &two)]).await;
    site.change(&held_to(&["one"]), |_| {});
    // The less trusted one says what it likes.
    let mut browser = Browser::default();
    assert_eq!(site.log_in(&mut browser, "two", &two).await.status, 303);
    assert!(site.is_logged_in(&browser), "for the application it is good enough");
    let asked = site.get(&mut browser, PAGE).await;
    assert_eq!(asked.status, 303);
    assert!(asked.location().starts_with("https://access.example.com/.access/login?"), "{}", asked.location());
    let page = site.get(&mut browser, &format!("{}&choose=1", asked.location())).await;
    assert!(page.body.contains("value=\"one\"") && !page.body.contains("value=\"two\""), "{}", page.body);
    assert_eq!(site.press(&mut browser, &page, &[("method", "two")]).await.status, 400, "nor when it is asked for");
    let sent = site.press(&mut browser, &page, &[("method", "one")]).await;
    let query = one.lets_in(sent.location());
    let back = site.back(&mut browser, "one", &query).await;
    assert_eq!(back.location(), format!("https://access.example.com{PAGE}"));
    assert_ne!(site.get(&mut browser, PAGE).await.status, 303, "an administrator");
    // One who is at the provider while it is taken off the list.
    site.change(&BuiltIn::default(), |_| {});
    let mut other = Browser::default();
    let asked = site.get(&mut other, PAGE).await;
    let page = site.get(&mut other, &format!("{}&choose=1", asked.location())).await;
    let sent = site.press(&mut other, &page, &[("method", "two")]).await;
    let query = two.lets_in(sent.location());
    site.change(&held_to(&["one"]), |_| {});
    assert_eq!(site.back(&mut other, "two", &query).await.status, 400);
    assert!(!site.is_logged_in(&other));
}

// A5
#[tokio::test]
async fn a_list_of_names_that_nothing_has_lets_no_administrator_in() {
    let provider = Provider::start().await;
    let mut site = Site::open(|keys| vec![openid(keys, "one", &provider)]).await;
    let mut browser = Browser::default();
    assert_eq!(site.log_in(&mut browser, "one", &provider).await.status, 303);
    assert_ne!(site.get(&mut browser, PAGE).await.status, 303);
    let built_in = held_to(&["gone"]);
    site.change(&built_in, |_| {});
    let asked = site.get(&mut browser, PAGE).await;
    assert_eq!(asked.status, 303);
    assert_eq!(site.get(&mut browser, asked.location()).await.status, 403);
    let said = built_in.warnings(&site.snapshot.declared);
    assert!(matches!(said.as_slice(), [one] if one.contains("names `gone`")), "{said:?}");
}

#[tokio::test]
async fn several_providers_that_all_make_administrators_are_worth_a_warning() {
    let provider = Provider::start().await;
    let one = Site::open(|keys| vec![openid(keys, "one", &provider)]).await;
    assert!(BuiltIn::default().warnings(&one.snapshot.declared).is_empty());
    let mut two = Site::open(|keys| vec![openid(keys, "one", &provider), openid(keys, "two", &provider)]).await;
    let said = BuiltIn::default().warnings(&two.snapshot.declared);
    assert!(matches!(said.as_slice(), [text] if text.contains("`one`, `two`")), "{said:?}");
    assert!(held_to(&["one"]).warnings(&two.snapshot.declared).is_empty());
    two.change(&BuiltIn::default(), |declared| declared.administrators.clear());
    assert!(BuiltIn::default().warnings(&two.snapshot.declared).is_empty(), "of nobody");
}
