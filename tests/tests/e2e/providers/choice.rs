//! Which ways to log in a person is offered.

use serde_json::json;
use tunnel_tests::{
    Browser, Provider, ProviderConfig,
    browser::BrowserOptions,
    canary::SONG,
    edge::LOGIN_HOST,
    hostile::{AUTHORIZE, BROKER, Instead},
    html::{form_with, forms, pressed},
    provider::{Account, answer, sign_in},
    run,
    stage::{APP, STAFF, WWW},
};

use super::{
    DEEP, access, assert_arrived, assert_failed, asserted, audited, choose, declared, hostile, oidc, pin, retry, set,
    stranger,
};

/// Two providers and the PIN: each is a button of its own, each works, and one form is not in the other's way.
#[test]
fn several_methods_are_offered_and_the_chosen_one_is_taken() {
    run("choice", async |lab| {
        let (one, two) = (hostile(13000, "one").await?, hostile(13001, "two").await?);
        let methods = [pin(), oidc(&lab, "one", one.issuer())?, oidc(&lab, "two", two.issuer())?];
        let stage = set(&lab, &access(&methods)).await?;
        for (method, provider, other) in [("one", &one, &two), ("two", &two, &one)] {
            let mut visitor = stranger(&stage)?;
            let page = visitor.browse(DEEP).await?;
            assert_eq!(page.status(), 200);
            for offered in ["pin", "one", "two"] {
                pressed(&page.text(), "method", offered)?;
            }
            let before = (provider.asked_for(AUTHORIZE).len(), other.asked_for(AUTHORIZE).len());
            assert_arrived(&choose(&mut visitor, &page, method).await?, DEEP);
            let after = (provider.asked_for(AUTHORIZE).len(), other.asked_for(AUTHORIZE).len());
            assert_eq!(after, (before.0 + 1, before.1), "{method} was asked, and nobody else");
        }
        // The PIN as ever, and beside a provider's login it is another person.
        let by_provider = asserted(&stage, STAFF).await?["sub"].clone();
        let mut visitor = stranger(&stage)?;
        let reply = visitor.login(&stage.smtp, DEEP, STAFF).await?;
        assert_arrived(&reply, DEEP);
        assert_ne!(asserted(&stage, STAFF).await?["sub"], by_provider, "O6: the PIN links no account either");
        // What is not offered is not to be had: a method that there is not, the name in other letters, none at all.
        let page = stranger(&stage)?.browse(DEEP).await?;
        for method in ["three", "ONE", "", "one\0", "../one"] {
            let mut visitor = stranger(&stage)?;
            let page = visitor.browse(&page.url).await?;
            let form = pressed(&page.text(), "method", "one")?.with("method", method);
            let reply = visitor.submit(&page.url, &form).await?;
            assert!(
                (400..500).contains(&reply.status()),
                "`{method}`: {} {:?}",
                reply.status(),
                reply.header("location")
            );
        }
        // And not from another site, nor without the form's token.
        let mut visitor = stranger(&stage)?;
        let page = visitor.browse(DEEP).await?;
        let form = pressed(&page.text(), "method", "one")?;
        let mut bare = form.clone();
        bare.fields.retain(|(name, _)| name == "method" || name == "app" || name == "request");
        let reply = visitor.clone().submit(&page.url, &bare).await?;
        assert!((400..500).contains(&reply.status()), "without its token: {}", reply.status());
        let elsewhere = [
            ("Origin", "https://evil.test"),
            ("Sec-Fetch-Site", "cross-site"),
            ("Content-Type", "application/x-www-form-urlencoded"),
        ];
        let url = format!("https://{LOGIN_HOST}/.access/login");
        let reply = visitor.ask("POST", &url, &elsewhere, form.encoded().as_bytes()).await?;
        assert!((400..500).contains(&reply.status()), "from another site: {}", reply.status());
        Ok(())
    });
}

/// With one method that is a provider no page is in the way; with the PIN alone there is one, as ever.
#[test]
fn one_provider_alone_is_not_asked_about() {
    run("one", async |lab| {
        let one = hostile(13000, "one").await?;
        let (pin, method) = (pin(), oidc(&lab, "one", one.issuer())?);
        let stage = set(&lab, &access(&[pin.clone(), method.clone()])).await?;
        let only = |name: &str| {
            declared(&[pin.clone(), method.clone()], "", &[("www", name, "staff-only"), ("app", "", "staff-only")])
        };
        stage.edge.apply(&only("one")).await?;
        let mut visitor = stranger(&stage)?;
        let url = visitor.led_to(DEEP, &format!("{}{AUTHORIZE}", one.issuer())).await?;
        assert!(url.contains("state="), "{url}");
        stage.edge.apply(&only("pin")).await?;
        let page = stranger(&stage)?.browse(DEEP).await?;
        form_with(&page.text(), "email")?;
        assert!(pressed(&page.text(), "method", "one").is_err(), "{}", page.text());
        // A script is sent to no provider.
        stage.edge.apply(&only("one")).await?;
        let reply = stranger(&stage)?.ask("GET", DEEP, &[("Accept", "application/json")], b"").await?;
        assert_eq!((reply.status(), reply.header("location")), (401, None));
        Ok(())
    });
}

/// Each application may restrict its methods: a login by another one is not enough there, and the other one is not offered.
#[test]
fn an_application_takes_only_logins_by_its_own_methods() {
    run("restricted", async |lab| {
        let (one, two) = (hostile(13000, "one").await?, hostile(13001, "two").await?);
        let methods = [oidc(&lab, "one", one.issuer())?, oidc(&lab, "two", two.issuer())?];
        let apps = [("www", "one", "staff-only"), ("app", "two", "staff-only")];
        let stage = set(&lab, &declared(&methods, "", &apps)).await?;
        let app = format!("https://{APP}/");
        let mut visitor = stranger(&stage)?;
        assert_arrived(&visitor.browse(DEEP).await?, DEEP);
        assert!(two.asked().is_empty());
        // Logged in by one, the other application sends them to two, by itself.
        assert_arrived(&visitor.browse(&app).await?, &app);
        assert_eq!((one.asked_for(AUTHORIZE).len(), two.asked_for(AUTHORIZE).len()), (1, 1));
        // The form of one application is no way to the other's method.
        let apps = [("www", "one, two", "staff-only"), ("app", "two", "staff-only")];
        stage.edge.apply(&declared(&methods, "", &apps)).await?;
        let mut visitor = stranger(&stage)?;
        let page = visitor.browse(DEEP).await?;
        let form = pressed(&page.text(), "method", "one")?;
        let mut elsewhere = visitor.clone();
        let login = elsewhere.led_to(&app, &format!("https://{LOGIN_HOST}/.access/login")).await?;
        let (_, query) = login.split_once('?').unwrap();
        let value = |name: &str| tunnel_tests::loopback::value_of(query, name).unwrap_or_default();
        let crossed = form.with("app", &value("app")).with("request", &value("request"));
        let reply = elsewhere.submit(&page.url, &crossed).await?;
        assert!((400..500).contains(&reply.status()), "{} {:?}", reply.status(), reply.header("location"));
        // Narrowed afterwards: a session by the method that no longer counts opens nothing more.
        let mut visitor = stranger(&stage)?;
        let page = visitor.browse(DEEP).await?;
        assert_arrived(&choose(&mut visitor, &page, "one").await?, DEEP);
        let apps = [("www", "two", "staff-only"), ("app", "two", "staff-only")];
        stage.edge.apply(&declared(&methods, "", &apps)).await?;
        stage.www.forget();
        stage.app.forget();
        let reply = visitor.get(DEEP).await?;
        assert_ne!(reply.status(), 200, "a login by one counts no longer");
        stage.assert_silence("narrowed");
        Ok(())
    });
}

/// Who refuses at the provider is told so and may try again; nobody is sent there by force, and nothing goes in circles.
#[test]
fn after_a_refusal_or_a_logout_the_page_waits_to_be_asked() {
    run("refused", async |lab| {
        let ann = Account::saying(&json!({"email": "ann@example.test", "email_verified": true}));
        let mut config = ProviderConfig::new(13000, "keycloak").with("ann", ann);
        config.consent = true;
        let provider = Provider::start(&lab, config).await?;
        let stage = set(&lab, &access(&[oidc(&lab, "keycloak", provider.issuer())?])).await?;
        // Refused at once, and after having said who they are.
        for signed_in in [false, true] {
            let mut visitor = stranger(&stage)?;
            let mut page = visitor.browse(DEEP).await?;
            if signed_in {
                page = sign_in(&mut visitor, &page, "ann").await?;
            }
            let reply = answer(&mut visitor, &page, "refuse").await?;
            assert_failed(&visitor, &reply, &[400, 401, 403], "keycloak");
            audited(&stage.edge, usize::from(signed_in), "keycloak", &["denied", "refused", "consent"]).await?;
            // The page's way on leads to the provider again, with the deep link kept.
            let page = retry(&mut visitor, &reply, "keycloak").await?;
            let page = if signed_in { page } else { sign_in(&mut visitor, &page, "ann").await? };
            assert_arrived(&answer(&mut visitor, &page, "allow").await?, DEEP);
        }
        // After a logout there is a page, which does not lead back in by itself, though the provider would; its link does.
        let mut visitor = stranger(&stage)?;
        let page = visitor.browse(DEEP).await?;
        let page = sign_in(&mut visitor, &page, "ann").await?;
        assert_arrived(&answer(&mut visitor, &page, "allow").await?, DEEP);
        let ask = visitor.get(&format!("https://{WWW}/.access/logout")).await?;
        let form = forms(&ask.text()).into_iter().find(|form| form.method == "post").unwrap();
        let done = visitor.submit(&ask.url, &form).await?;
        let done = visitor.follow(done).await?;
        assert!(done.status() == 200 && done.url.contains(".example.test/"), "{} {}", done.status(), done.url);
        assert!(visitor.session(WWW).is_err());
        for host in [WWW, APP] {
            let reply = visitor.get(&format!("https://{host}/")).await?;
            assert!(matches!(reply.status(), 302 | 303 | 401), "{} at {host} after a logout", reply.status());
        }
        let mut page = retry(&mut visitor, &done, "keycloak").await?;
        if page.url.starts_with(provider.issuer()) {
            // It may well be asked to ask again who is there.
            page = sign_in(&mut visitor, &page, "ann").await?;
        }
        if page.url.starts_with(provider.issuer()) {
            page = answer(&mut visitor, &page, "allow").await?;
        }
        assert_eq!((page.status(), page.text().as_str()), (200, SONG), "{}", page.url);
        Ok(())
    });
}

/// In a real browser: the page after a refusal is shown once, its link works, and the history has no trap.
#[test]
fn a_browser_that_was_refused_tries_again_by_the_link() {
    run("refused-browser", async |lab| {
        let ann = Account::saying(&json!({"email": "ann@example.test", "email_verified": true}));
        let provider = Provider::start(&lab, ProviderConfig::new(13000, "keycloak").with("ann", ann)).await?;
        let stage = set(&lab, &access(&[oidc(&lab, "keycloak", provider.issuer())?])).await?;
        let options = BrowserOptions { ca: Some(stage.ca.clone()), ..Default::default() };
        let mut browser = Browser::start(&lab, options).await?;
        browser.open(DEEP).await?;
        browser.press("[value=refuse]").await?;
        browser.arrives("https://access.example.test/**").await?;
        let url = browser.url().await?;
        assert!(url.starts_with(&format!("https://{LOGIN_HOST}/")), "{url}");
        assert!(browser.text().await?.to_lowercase().contains("keycloak"), "{}", browser.text().await?);
        browser.script("await page.reload()", json!(null)).await?;
        assert!(browser.url().await?.starts_with(&format!("https://{LOGIN_HOST}/")), "{}", browser.url().await?);
        let on = "main a:not([hreflang]), main button[name=method][value=keycloak]";
        browser.press(on).await?;
        if browser.url().await?.starts_with(&format!("https://{LOGIN_HOST}/")) {
            browser.press(on).await?;
        }
        browser.fill("account", "ann").await?;
        browser.press("[value=login]").await?;
        browser.arrives("https://www.example.test/deep/page*").await?;
        Ok(())
    });
}

/// In a real browser, a provider that sends people on to somebody else at once is reached from a page with several buttons:
/// redirects that answer a form are held against the page's policy, so none does.
#[test]
fn a_browser_follows_a_provider_that_sends_it_on_to_another() {
    run("brokered", async |lab| {
        let (one, two) = (hostile(13000, "one").await?, hostile(13001, "two").await?);
        let broker = two.issuer().to_owned();
        one.behave(|ways| ways.answer(AUTHORIZE, Instead::Through(broker)));
        let methods = [pin(), oidc(&lab, "one", one.issuer())?, oidc(&lab, "two", two.issuer())?];
        let stage = set(&lab, &access(&methods)).await?;
        let options = BrowserOptions { ca: Some(stage.ca.clone()), ..Default::default() };
        let mut browser = Browser::start(&lab, options).await?;
        browser.open(DEEP).await?;
        browser.press("[name=method][value=one]").await?;
        browser.arrives("https://www.example.test/deep/page*").await?;
        assert_eq!(two.asked_for(BROKER).len(), 1);
        Ok(())
    });
}
