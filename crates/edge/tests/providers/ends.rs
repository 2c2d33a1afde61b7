//! Providers that are removed, or whose name is given to another one.

use tunnel_edge::snapshot::BuiltIn;

use crate::providers::{
    provider::Provider,
    site::{Browser, Site, openid, pin},
};

// S5, O6
#[tokio::test]
async fn a_login_knows_who_vouched_and_counts_only_while_its_method_names_them() {
    let (one, two) = (Provider::start().await, Provider::start().await);
    let mut site = Site::open(|keys| vec![openid(keys, "work", &one)]).await;
    let mut browser = Browser::default();
    let handed = site.log_in(&mut browser, "work", &one).await;
    site.get(&mut browser, handed.location()).await;
    let sessions = site.sessions.list(site.clock.now());
    let issuers: Vec<_> = sessions.iter().map(|session| session.issuer()).collect();
    assert_eq!(issuers, [&one.issuer, &one.issuer], "the login, and what it was handed over to");
    let url = site.begin(&mut browser);
    let through = site.get(&mut browser, &url).await;
    assert!(through.location().starts_with("https://www.example.com/.access/authorized?"), "{}", through.location());
    // The same name, another issuer.
    let anew = openid(&site.keys, "work", &two);
    site.change(&BuiltIn::default(), |declared| declared.login_methods = vec![anew]);
    let url = site.begin(&mut browser);
    let sent = site.get(&mut browser, &url).await;
    assert!(sent.location().starts_with(&format!("{}/authorize?", two.issuer)), "{}", sent.location());
    let query = two.lets_in(sent.location());
    assert_eq!(site.back(&mut browser, "work", &query).await.status, 303);
    // None of that name.
    site.change(&BuiltIn::default(), |declared| declared.login_methods = vec![pin()]);
    let url = site.begin(&mut browser);
    assert_eq!(site.get(&mut browser, &url).await.status, 200, "the page on which one logs in");
}
