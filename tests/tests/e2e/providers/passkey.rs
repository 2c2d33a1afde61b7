//! A passkey beside the provider at which somebody is known: it says that they are there, and nothing that the provider says.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tunnel_tests::{
    Browser, Provider, ProviderConfig, Stage, browser::BrowserOptions, canary::SONG, edge::LOGIN_HOST,
    provider::Account, run, stage::APP,
};

use super::super::passkeys::{no_policy_was_violated, use_passkey};
use super::{DEEP, asserted, declared, policies::trusted_groups, set};

const ANN: &str = "ann@example.test";

/// The claims of the newest assertion that the second application's origin got.
async fn asserted_to_app(stage: &Stage) -> Result<Value> {
    let heads = stage.app.heads();
    stage.certs().await?.admits(heads.last().context("the origin heard something")?, ANN)
}

/// Whoever is known by a provider adds a passkey, logs out, and comes back by it: the same person, let in where a passkey is
/// asked for, and not where the provider's groups are. O9.
#[test]
fn who_is_known_by_a_provider_comes_back_by_a_passkey_as_the_same_person_and_without_its_groups() {
    run("provider-passkey", async |lab| {
        let ann = json!({"email": ANN, "email_verified": true, "groups": ["admins"]});
        let config = ProviderConfig::new(13000, "trusted").with("ann", Account::saying(&ann));
        let mut provider = Provider::start(&lab, config).await?;
        let methods = [trusted_groups(&lab, provider.issuer())?, "  - {name: passkey, type: passkey}\n".to_owned()];
        let policies = "  - {name: admins, action: allow, include: [{idp_group: admins}]}\n  \
             - {name: by-passkey, action: allow, include: [{email_domain: example.test}], \
             require: [{login_method: passkey}]}\n";
        let stage =
            set(&lab, &declared(&methods, policies, &[("www", "", "admins"), ("app", "", "by-passkey")])).await?;
        let mut browser =
            Browser::start(&lab, BrowserOptions { ca: Some(stage.ca.clone()), ..Default::default() }).await?;
        browser.add_authenticator(true).await?;

        // By the provider: its groups open the one application, and the other asks for more than its word.
        browser.open(DEEP).await?;
        browser.press("button[name=method][value=trusted]").await?;
        browser.fill("account", "ann").await?;
        browser.press("[value=login]").await?;
        browser.arrives(DEEP).await?;
        assert_eq!(browser.text().await?, SONG);
        let by_provider = asserted(&stage, ANN).await?;
        stage.app.forget();
        assert_eq!(browser.open(&format!("https://{APP}/")).await?, 403, "a provider is not what the policy asks for");
        stage.app.assert_heard_nothing("not by the provider");

        let account = format!("https://{LOGIN_HOST}/.access/account");
        browser.open(&account).await?;
        browser.press("a[href*='/.access/account/passkey']").await?;
        browser.fill("label", "My laptop").await?;
        use_passkey(&mut browser, &account).await?;
        let text = browser.text().await?;
        assert!(text.contains(ANN) && text.contains("My laptop"), "{text}");
        browser.open(&format!("https://{LOGIN_HOST}/.access/logout")).await?;
        browser.press("form[action*='/.access/logout'] button").await?;
        assert!(browser.text().await?.contains("signed out"), "{}", browser.text().await?);

        // By the passkey, without the provider.
        let asked = provider.requests("/token").await?;
        assert_eq!(asked, 1);
        browser.open(&format!("https://{APP}/x")).await?;
        assert!(browser.url().await?.starts_with(&format!("https://{LOGIN_HOST}/.access/login")), "logged out");
        use_passkey(&mut browser, &format!("https://{APP}/x")).await?;
        assert_eq!(browser.text().await?, SONG);
        let by_passkey = asserted_to_app(&stage).await?;
        assert!(
            by_provider["sub"].is_string() && by_passkey["sub"] == by_provider["sub"],
            "the same person: {by_passkey}"
        );
        assert_eq!(provider.requests("/token").await?, asked, "the provider was not asked");
        stage.www.forget();
        assert_eq!(browser.open(DEEP).await?, 403, "a passkey is in no group");
        stage.www.assert_heard_nothing("the groups were the provider's word, and it was not asked");
        no_policy_was_violated(&mut browser).await
    });
}
