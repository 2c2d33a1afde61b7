//! Providers that are away, slow, or do not know the edge; and people who are told so.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;
use tunnel_tests::{
    Hostile, Provider, ProviderConfig, Reply, Stage, Visitor,
    edge::LOGIN_HOST,
    hostile::{DISCOVERY, Instead, JWKS, TOKEN},
    html::{pressed, words},
    loopback::encoded,
    provider::{Account, callback, sign_in},
    run,
};

use super::{
    DEEP, access, assert_arrived, assert_failed, audited, choose, failures, hostile, logged_in, offers, oidc, pin,
    retry_until, set, stranger, to_callback,
};

/// The longest that somebody waits for a page.
const PATIENCE: Duration = Duration::from_secs(10);

fn keycloak() -> ProviderConfig {
    let ann = json!({"email": "ann@example.test", "email_verified": true});
    ProviderConfig::new(13000, "keycloak").with("ann", Account::saying(&ann))
}

/// An edge with the PIN, and a certified provider.
async fn scene(lab: &tunnel_tests::Lab) -> Result<(Stage, Provider)> {
    let provider = Provider::start(lab, keycloak()).await?;
    let stage = set(lab, &access(&[pin(), oidc(lab, "keycloak", provider.issuer())?])).await?;
    Ok((stage, provider))
}

/// On the way: the provider's page, on which one can say who one is.
async fn at_provider(stage: &Stage) -> Result<(Visitor, Reply)> {
    let mut visitor = stranger(stage)?;
    let page = visitor.browse(DEEP).await?;
    let page = choose(&mut visitor, &page, "keycloak").await?;
    let page = retry_until(&mut visitor, &page, "keycloak", "http://127.0.0.1:13000").await?;
    Ok((visitor, page))
}

/// A page of the edge about a provider that does not answer: 503, for how long, who, and what else there is.
async fn assert_unavailable(visitor: &mut Visitor, reply: &Reply) -> Result<()> {
    assert_failed(visitor, reply, &[503], "keycloak");
    let wait = reply.header("retry-after").and_then(|seconds| seconds.parse::<u32>().ok());
    assert!(wait.is_some_and(|seconds| (1..=600).contains(&seconds)), "{:?}", reply.answer.headers);
    assert!(offers(visitor, reply, "pin").await?, "the PIN is still offered: {}", words(&reply.text()));
    assert!(offers(visitor, reply, "keycloak").await?, "and the provider, for another try");
    Ok(())
}

/// O8: away before and in the middle of a login; back again, at once.
#[test]
fn a_provider_that_is_down_is_named_and_the_others_are_offered() {
    run("down", async |lab| {
        let (stage, mut provider) = scene(&lab).await?;
        provider.stop().await?;
        let mut visitor = stranger(&stage)?;
        let page = visitor.browse(DEEP).await?;
        let reply = choose(&mut visitor, &page, "keycloak").await?;
        assert_unavailable(&mut visitor, &reply).await?;
        audited(&stage.edge, 0, "keycloak", &["connect", "reach", "refused"]).await?;
        visitor.language = "ja".into();
        let page = visitor.browse(&page.url).await?;
        let japanese = choose(&mut visitor, &page, "keycloak").await?;
        assert!(japanese.status() == 503 && japanese.text().contains("lang=\"ja\""), "{}", japanese.text());
        visitor.language = "en".into();
        // The PIN works meanwhile; and the provider soon after it is back, by what the page offers.
        let mut other = stranger(&stage)?;
        assert_arrived(&other.login(&stage.smtp, DEEP, "staff@example.test").await?, DEEP);
        provider.resume().await?;
        let page = retry_until(&mut visitor, &reply, "keycloak", provider.issuer()).await?;
        assert_arrived(&sign_in(&mut visitor, &page, "ann").await?, DEEP);
        // Away when the person comes back from it.
        let (mut visitor, page) = at_provider(&stage).await?;
        let form = pressed(&page.text(), "answer", "login")?.with("account", "ann");
        let reply = visitor.submit(&page.url, &form).await?;
        let url = visitor.leads_to(reply, &callback("keycloak")).await?;
        provider.stop().await?;
        let reply = visitor.get(&url).await?;
        assert_unavailable(&mut visitor, &reply).await?;
        // Whoever is logged in notices nothing.
        assert_arrived(&other.browse(DEEP).await?, DEEP);
        Ok(())
    });
}

/// O8: the keys change while somebody is at the provider, and keys that are known serve when the provider cannot be asked.
#[test]
fn keys_that_changed_on_the_way_are_looked_up_and_known_ones_need_no_asking() {
    run("rotated", async |lab| {
        let (stage, mut provider) = scene(&lab).await?;
        let (mut visitor, page) = at_provider(&stage).await?;
        assert_arrived(&sign_in(&mut visitor, &page, "ann").await?, DEEP);
        let asked = provider.requests("/jwks").await?;
        // Known keys: nobody is asked again, be it that nobody would answer.
        provider.hang("/jwks").await?;
        provider.hang("openid-configuration").await?;
        let (mut visitor, page) = at_provider(&stage).await?;
        assert_arrived(&sign_in(&mut visitor, &page, "ann").await?, DEEP);
        assert_eq!(provider.requests("/jwks").await?, asked, "keys are kept");
        provider.recover().await?;
        // The old key is gone between the way there and the way back.
        let (mut visitor, page) = at_provider(&stage).await?;
        provider.rotate_keys(false).await?;
        assert_arrived(&sign_in(&mut visitor, &page, "ann").await?, DEEP);
        assert_eq!(provider.requests("/jwks").await?, asked + 1, "once more, for the key that was not known");
        Ok(())
    });
}

/// O8: a provider that takes the question and does not answer costs a person seconds, and gets a page.
#[test]
fn a_provider_that_hangs_gives_a_page_in_ten_seconds() {
    run("hung", async |lab| {
        let (stage, mut provider) = scene(&lab).await?;
        provider.hang("openid-configuration").await?;
        let mut visitor = stranger(&stage)?;
        let page = visitor.browse(DEEP).await?;
        let begun = Instant::now();
        let reply = choose(&mut visitor, &page, "keycloak").await?;
        assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
        assert_unavailable(&mut visitor, &reply).await?;
        audited(&stage.edge, 0, "keycloak", &["time", "answer"]).await?;
        // Others who come meanwhile do not wait for it.
        let slow = tokio::spawn({
            let (mut visitor, page) = (stranger(&stage)?, page.clone());
            async move {
                let page = visitor.browse(&page.url).await?;
                choose(&mut visitor, &page, "keycloak").await
            }
        });
        let begun = Instant::now();
        let page = stranger(&stage)?.browse(DEEP).await?;
        assert!(page.status() == 200 && begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        slow.await??;
        provider.recover().await?;
        provider.slow_down("/token", 1500).await?;
        let (mut visitor, page) = at_provider(&stage).await?;
        assert_arrived(&sign_in(&mut visitor, &page, "ann").await?, DEEP);
        provider.recover().await?;
        provider.hang("/token").await?;
        let (mut visitor, page) = at_provider(&stage).await?;
        let begun = Instant::now();
        let reply = sign_in(&mut visitor, &page, "ann").await?;
        assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
        assert_unavailable(&mut visitor, &reply).await?;
        Ok(())
    });
}

/// A secret that the provider does not know is the administrator's matter: the page says so, and the record what to mend.
#[test]
fn a_wrong_secret_is_told_to_the_administrator_and_not_to_the_visitor() {
    run("wrong-secret", async |lab| {
        let (mut methods, mut providers) = (Vec::new(), Vec::new());
        for (port, name, authentication) in
            [(13000, "header", "client_secret_basic"), (13001, "form", "client_secret_post")]
        {
            let mut config = ProviderConfig { port, ..keycloak() };
            config.redirect_uris = vec![callback(name)];
            config.client_secret = "another one, for the next twelve months".into();
            config.client_authentication = authentication.into();
            methods.push(oidc(&lab, name, &config.issuer())?);
            providers.push((name, Provider::start(&lab, config).await?));
        }
        let stage = set(&lab, &access(&methods)).await?;
        for (name, provider) in &providers {
            let mut visitor = stranger(&stage)?;
            let page = visitor.browse(DEEP).await?;
            let page = choose(&mut visitor, &page, name).await?;
            assert!(page.url.starts_with(provider.issuer()), "{}", page.url);
            let reply = sign_in(&mut visitor, &page, "ann").await?;
            assert_failed(&visitor, &reply, &[500, 502, 503], name);
            let said = words(&reply.text());
            assert!(said.contains("administrator must look"), "{said}");
            assert!(!said.contains("secret") && !said.contains("invalid_client"), "not the visitor's matter: {said}");
            audited(&stage.edge, 0, name, &["secret", "invalid_client"]).await?;
        }
        Ok(())
    });
}

/// What providers answer in the place of a code: each has a page and a record, and leads on.
#[test]
fn errors_that_a_provider_sends_a_person_back_with_have_a_page() {
    run("errors", async |lab| {
        let provider = hostile(13000, "good").await?;
        let stage = set(&lab, &access(&[pin(), oidc(&lab, "keycloak", provider.issuer())?])).await?;
        for (error, statuses) in [
            ("access_denied", &[400, 401, 403][..]),
            ("login_required", &[400, 401, 403]),
            ("consent_required", &[400, 401, 403]),
            ("temporarily_unavailable", &[502, 503]),
            ("server_error", &[500, 502, 503]),
            ("invalid_scope", &[400, 500, 502, 503]),
            ("unauthorized_client", &[400, 403, 500, 502, 503]),
            ("something <b>unheard</b> of", &[400, 500, 502, 503]),
        ] {
            let known = failures(&stage.edge).await?.len();
            provider.behave(|ways| {
                ways.returned = std::sync::Arc::new(move |pairs| pairs[0] = ("error".into(), error.into()));
            });
            let mut visitor = stranger(&stage)?;
            let page = visitor.browse(DEEP).await?;
            let reply = choose(&mut visitor, &page, "keycloak").await?;
            assert_failed(&visitor, &reply, statuses, "keycloak");
            assert!(!reply.text().contains("<b>unheard"), "{}", reply.text());
            assert!(offers(&mut visitor, &reply, "pin").await?, "{error}");
            let reason = if error.contains('<') { "" } else { error };
            audited(&stage.edge, known, "keycloak", &[reason]).await?;
        }
        assert!(provider.asked_for(TOKEN).is_empty());
        // An error beside a code is an error.
        provider.behave(|ways| {
            ways.returned = std::sync::Arc::new(|pairs| pairs.push(("error".into(), "access_denied".into())))
        });
        let mut visitor = stranger(&stage)?;
        let page = visitor.browse(DEEP).await?;
        let reply = choose(&mut visitor, &page, "keycloak").await?;
        assert!((400..600).contains(&reply.status()) && !logged_in(&visitor), "{}", reply.status());
        Ok(())
    });
}

/// A clock that is wrong by an hour is said to be, to whoever can set it.
#[test]
fn a_clock_that_is_wrong_is_named_in_the_record() {
    run("clock", async |lab| {
        let (stage, provider) = one_hostile(&lab).await?;
        let now = tunnel_tests::hostile::now;
        for (iat, exp) in [(now() + 3600, now() + 7200), (now() - 7200, now() - 3600)] {
            let known = failures(&stage.edge).await?.len();
            provider.behave(|ways| {
                ways.forge(move |forge| {
                    forge.saying(|claims| {
                        claims.insert("iat".into(), json!(iat));
                        claims.insert("exp".into(), json!(exp));
                    })
                });
            });
            let mut visitor = stranger(&stage)?;
            let reply = visitor.browse(DEEP).await?;
            assert_failed(&visitor, &reply, &[400, 401, 403, 500, 502, 503], "hostile");
            audited(&stage.edge, known, "hostile", &["clock", "expired", "from now"]).await?;
        }
        Ok(())
    });
}

/// A storm: many people at once while the provider is slow get their turn, and the provider is asked for its document and keys
/// once, not once for each.
#[test]
fn many_people_at_once_ask_a_slow_provider_once_for_what_they_share() {
    run("storm", async |lab| {
        let (stage, provider) = one_hostile(&lab).await?;
        provider.behave(|ways| {
            ways.answer(DISCOVERY, Instead::Late(Duration::from_millis(700)));
            ways.answer(JWKS, Instead::Late(Duration::from_millis(700)));
        });
        let people = (0..40).map(|_| stranger(&stage)).collect::<Result<Vec<_>>>()?;
        let tries = people.into_iter().map(|mut visitor| tokio::spawn(async move { visitor.browse(DEEP).await }));
        for attempt in tries.collect::<Vec<_>>() {
            assert_arrived(&attempt.await??, DEEP);
        }
        assert_eq!(provider.asked_for(TOKEN).len(), 40);
        let shared = (provider.asked_for(DISCOVERY).len(), provider.asked_for(JWKS).len());
        assert!(shared.0 <= 4 && shared.1 <= 4, "asked for documents {shared:?} times");
        Ok(())
    });
}

/// A person who fails a hundred times is told so by the same page, fills no memory, and keeps nobody else out.
#[test]
fn failing_again_and_again_keeps_nobody_else_out() {
    run("again-and-again", async |lab| {
        let (stage, provider) = one_hostile(&lab).await?;
        let mut pest = stranger(&stage)?;
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let reply =
                pest.get(&format!("{}?{}", callback("hostile"), encoded(&[("state", "x"), ("code", "y")]))).await?;
            seen.insert(reply.status());
        }
        assert!(seen.iter().all(|status| matches!(status, 400 | 429)), "{seen:?}");
        let mut other = stranger(&stage)?;
        let url = to_callback(&mut other, DEEP, &provider).await?;
        let reply = other.get(&url).await?;
        assert_arrived(&other.follow(reply).await?, DEEP);
        assert!(other.session(LOGIN_HOST).is_ok());
        Ok(())
    });
}

async fn one_hostile(lab: &tunnel_tests::Lab) -> Result<(Stage, Hostile)> {
    let provider = hostile(13000, "good").await?;
    let stage = set(lab, &access(&[oidc(lab, "hostile", provider.issuer())?])).await?;
    Ok((stage, provider))
}
