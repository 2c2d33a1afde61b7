//! The way to a provider and back, in the browser that went and in no other.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::Value;
use tunnel_tests::{
    Hostile, Stage, Visitor,
    edge::LOGIN_HOST,
    hostile::{AUTHORIZE, TOKEN},
    html::{pressed, words},
    loopback::{encoded, value_of},
    provider::{CLIENT_ID, CLIENT_SECRET, callback},
    run,
    stage::{APP, STAFF},
    visitor::SESSION_COOKIE,
};

use super::{
    DEEP, access, again, assert_arrived, assert_start_again, asserted, audited, back, failures, hostile, logged_in,
    network, oidc, pin, set, stranger, to_callback,
};

/// An edge with one hostile provider, which behaves.
async fn scene(lab: &tunnel_tests::Lab) -> Result<(Stage, Hostile)> {
    let provider = hostile(13000, "good").await?;
    let stage = set(lab, &access(&[oidc(lab, "hostile", provider.issuer())?])).await?;
    Ok((stage, provider))
}

fn query_of(url: &str) -> &str {
    url.split_once('?').map_or("", |(_, query)| query)
}

fn one(url: &str, name: &str) -> String {
    value_of(query_of(url), name).unwrap_or_else(|| panic!("no {name} in {url}"))
}

/// O2: what the edge sends: S256 always, everything fresh each time, and the secret only where codes are redeemed.
#[test]
fn the_edge_sends_fresh_values_pkce_and_its_secret_to_one_place() {
    run("pkce", async |lab| {
        let (stage, provider) = scene(&lab).await?;
        const LOGINS: usize = 12;
        for _ in 0..LOGINS {
            assert_arrived(&stranger(&stage)?.browse(DEEP).await?, DEEP);
        }
        let asked = provider.asked_for(AUTHORIZE);
        assert_eq!(asked.len(), LOGINS);
        for (name, bytes) in [("state", 32), ("nonce", 16), ("code_challenge", 32)] {
            let values: BTreeSet<_> = asked.iter().filter_map(|asked| asked.parameter(name)).collect();
            assert_eq!(values.len(), LOGINS, "each {name} is new");
            for value in values {
                assert!(value.len() * 6 >= bytes * 8, "{name} has at least {} bits: {value}", bytes * 8);
            }
        }
        for asked in &asked {
            let parameter = |name: &str| asked.parameter(name).with_context(|| format!("{name} in {}", asked.query));
            assert_eq!(parameter("response_type")?, "code");
            assert_eq!(parameter("code_challenge_method")?, "S256");
            assert_eq!(parameter("code_challenge")?.len(), 43, "SHA-256 in base64url");
            assert_eq!(parameter("client_id")?, CLIENT_ID);
            assert_eq!(parameter("redirect_uri")?, callback("hostile"));
            assert!(parameter("scope")?.split(' ').any(|scope| scope == "openid"));
            for secret in ["client_secret", "code_verifier", "id_token"] {
                assert!(asked.parameter(secret).is_none(), "{secret} in {}", asked.query);
            }
            // The provider need not know where the person is going.
            assert!(!asked.mentions("/deep/page") && !asked.mentions("www.example.test"), "{asked:?}");
            let names: Vec<_> = asked.query.split('&').filter_map(|pair| pair.split('=').next()).collect();
            assert_eq!(names.len(), names.iter().collect::<BTreeSet<_>>().len(), "each parameter once: {names:?}");
        }
        let redeemed = provider.asked_for(TOKEN);
        assert_eq!(redeemed.len(), LOGINS, "the provider compared each verifier with its challenge");
        let verifiers: BTreeSet<_> = redeemed.iter().filter_map(|asked| asked.field("code_verifier")).collect();
        assert_eq!(verifiers.len(), LOGINS);
        for asked in &redeemed {
            assert_eq!(asked.field("grant_type").as_deref(), Some("authorization_code"));
            assert_eq!(asked.client(), Some((CLIENT_ID.into(), CLIENT_SECRET.into())));
            let ways = [asked.header("authorization").is_some(), asked.field("client_secret").is_some()];
            assert_eq!(ways.iter().filter(|way| **way).count(), 1, "by one way, RFC 6749 §2.3");
            assert!(asked.query.is_empty(), "nothing in the address: {}", asked.query);
            let verifier = asked.field("code_verifier").unwrap_or_default();
            assert!((43..=128).contains(&verifier.len()), "RFC 7636 §4.1: {verifier}");
        }
        for asked in provider.asked().iter().filter(|asked| asked.path != TOKEN) {
            assert!(!asked.mentions(CLIENT_SECRET), "the secret was told to {}", asked.path);
            assert!(asked.header("cookie").is_none(), "{asked:?}");
        }
        Ok(())
    });
}

/// O1: a state that is missing, made up, damaged, doubled, used, or another browser's: 400, a page, nobody logged in, and the
/// provider is not even asked.
#[test]
fn a_state_is_of_use_once_and_in_the_browser_it_was_made_for() {
    run("state", async |lab| {
        let (stage, provider) = scene(&lab).await?;
        let mut victim = stranger(&stage)?;
        let url = to_callback(&mut victim, DEEP, &provider).await?;
        let (code, state, iss) = (one(&url, "code"), one(&url, "state"), one(&url, "iss"));
        let at = callback("hostile");
        let with = |pairs: &[(&str, &str)]| format!("{at}?{}", encoded(pairs));
        let long = "x".repeat(8_000);
        let (cut, grown) = (&state[..state.len() - 1], format!("{state}A"));
        let turned: String = state.chars().rev().collect();
        let cases = [
            ("no parameters", at.clone()),
            ("no state", with(&[("code", &code), ("iss", &iss)])),
            ("an empty state", with(&[("code", &code), ("state", ""), ("iss", &iss)])),
            (
                "a made-up state",
                with(&[("code", &code), ("state", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), ("iss", &iss)]),
            ),
            ("a state that was cut", with(&[("code", &code), ("state", cut), ("iss", &iss)])),
            ("a state that grew", with(&[("code", &code), ("state", &grown), ("iss", &iss)])),
            ("a state that was turned round", with(&[("code", &code), ("state", &turned), ("iss", &iss)])),
            ("an endless state", with(&[("code", &code), ("state", &long), ("iss", &iss)])),
            ("two states", with(&[("code", &code), ("state", "x"), ("state", &state), ("iss", &iss)])),
            ("a state of zero bytes", with(&[("code", &code), ("state", "\0\0"), ("iss", &iss)])),
            ("an error and a made-up state", with(&[("error", "access_denied"), ("state", "x"), ("iss", &iss)])),
            ("an error and no state", with(&[("error", "access_denied")])),
        ];
        for (name, url) in cases {
            let mut visitor = victim.clone();
            let reply = visitor.get(&url).await?;
            assert_eq!(reply.status(), 400, "{name}: {}", words(&reply.text()));
            assert_start_again(&visitor, &reply);
        }
        // The right one, in other browsers: one that has never been here, and one with a login of its own under way.
        let mut fresh = stranger(&stage)?;
        let reply = fresh.get(&url).await?;
        assert_start_again(&fresh, &reply);
        let mut busy = stranger(&stage)?;
        to_callback(&mut busy, DEEP, &provider).await?;
        let reply = busy.get(&url).await?;
        assert_start_again(&busy, &reply);
        assert!(provider.asked_for(TOKEN).is_empty(), "a code is not redeemed for a state that is not this browser's");
        // It is still good where it belongs, and then used up: for the same code, and for a new one.
        let mut copy = victim.clone();
        let reply = victim.get(&url).await?;
        assert_arrived(&victim.follow(reply).await?, DEEP);
        let reply = copy.get(&url).await?;
        assert_start_again(&copy, &reply);
        let other = to_callback(&mut stranger(&stage)?, DEEP, &provider).await?;
        let reply = copy.get(&with(&[("code", &one(&other, "code")), ("state", &state), ("iss", &iss)])).await?;
        assert_start_again(&copy, &reply);
        audited(&stage.edge, 0, "hostile", &["state"]).await?;
        Ok(())
    });
}

/// O1: two logins of one browser do not mix: the code of one is of no use with the state of the other.
#[test]
fn a_code_with_the_state_of_another_login_is_refused() {
    run("swapped", async |lab| {
        let (stage, provider) = scene(&lab).await?;
        let mut visitor = stranger(&stage)?;
        let first = to_callback(&mut visitor, DEEP, &provider).await?;
        let second = to_callback(&mut visitor, &format!("https://{APP}/"), &provider).await?;
        let swapped =
            first.replace(&encoded(&[("code", one(&first, "code"))]), &encoded(&[("code", one(&second, "code"))]));
        assert_ne!(first, swapped);
        let reply = visitor.get(&swapped).await?;
        assert!((400..600).contains(&reply.status()), "{}", reply.status());
        assert!(!logged_in(&visitor));
        // An attacker's code in the victim's login: the victim would work in the attacker's account.
        let mut attacker = stranger(&stage)?;
        let theirs = to_callback(&mut attacker, DEEP, &provider).await?;
        let mine = to_callback(&mut visitor, DEEP, &provider).await?;
        let planted =
            mine.replace(&encoded(&[("code", one(&mine, "code"))]), &encoded(&[("code", one(&theirs, "code"))]));
        let reply = visitor.get(&planted).await?;
        assert!((400..600).contains(&reply.status()) && !logged_in(&visitor), "{}", reply.status());
        stage.assert_silence("nobody was logged in");
        Ok(())
    });
}

/// What stands in the callback's address is not said again on our page, and it takes no POST.
#[test]
fn the_callback_repeats_nothing_and_takes_no_form() {
    run("callback", async |lab| {
        let (stage, provider) = scene(&lab).await?;
        let mut visitor = stranger(&stage)?;
        let url = to_callback(&mut visitor, DEEP, &provider).await?;
        let evil = "<script>alert(1)</script> call 0190-123456";
        let pairs = [
            ("error", "server_error"),
            ("error_description", evil),
            ("error_uri", "https://evil.test/"),
            ("state", &one(&url, "state")),
            ("iss", provider.issuer()),
        ];
        let mut copy = visitor.clone();
        let reply = copy.get(&format!("{}?{}", callback("hostile"), encoded(&pairs))).await?;
        assert!((400..600).contains(&reply.status()), "{}", reply.status());
        for word in ["<script", "alert", "0190", "evil.test"] {
            assert!(!reply.text().contains(word), "{word} on {}", reply.text());
        }
        let kind = [
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("Origin", provider.issuer()),
            ("Sec-Fetch-Site", "cross-site"),
        ];
        let mut visitor = stranger(&stage)?;
        let url = to_callback(&mut visitor, DEEP, &provider).await?;
        let reply = visitor.ask("POST", &callback("hostile"), &kind, query_of(&url).as_bytes()).await?;
        assert!((400..500).contains(&reply.status()) && !logged_in(&visitor), "{}", reply.status());
        // Nor is it anywhere but on the login host, or of a method that there is not.
        for elsewhere in [
            url.replace(LOGIN_HOST, APP),
            url.replace("/callback/hostile", "/callback/nobody"),
            url.replace("/callback/hostile", "/callback/HOSTILE"),
            url.replace("/callback/hostile", "/callback/hostile/"),
            url.replace("/callback/hostile", "/callback/"),
            url.replace("/callback/hostile", "/callback/pin"),
        ] {
            let mut copy = visitor.clone();
            let reply = copy.get(&elsewhere).await?;
            assert!((400..500).contains(&reply.status()), "{} at {elsewhere}", reply.status());
            assert!(!logged_in(&copy) && copy.session(APP).is_err());
        }
        let reply = visitor.get(&url).await?;
        assert_arrived(&visitor.follow(reply).await?, DEEP);
        Ok(())
    });
}

/// Two hundred redeemers of one state get one session, and the code is redeemed once.
#[test]
fn two_hundred_redeemers_of_one_state_get_one_session() {
    run("race", async |lab| {
        let (stage, provider) = scene(&lab).await?;
        let mut visitor = stranger(&stage)?;
        let url = to_callback(&mut visitor, DEEP, &provider).await?;
        let tries = (0..200).map(|_| {
            let (mut visitor, url) = (visitor.clone(), url.clone());
            visitor.forwarded_for = Some(network());
            tokio::spawn(async move { visitor.get(&url).await.map(|reply| (visitor, reply)) })
        });
        let mut winners = Vec::new();
        for attempt in tries.collect::<Vec<_>>() {
            let (visitor, reply) = attempt.await??;
            match reply.status() {
                303 => winners.push((visitor, reply)),
                status => assert_eq!(status, 400, "{}", words(&reply.text())),
            }
        }
        assert_eq!(winners.len(), 1, "one redeemer wins");
        assert_eq!(provider.asked_for(TOKEN).len(), 1, "and asks the provider once");
        let (mut winner, reply) = winners.pop().context("a winner")?;
        assert!(winner.session(LOGIN_HOST).is_ok());
        assert_arrived(&winner.follow(reply).await?, DEEP);
        Ok(())
    });
}

/// Double submit, back button, reload: nothing breaks, nobody is logged out, and the page says how to go on.
#[test]
fn submitting_twice_and_going_back_end_at_a_page_that_leads_on() {
    run("back-button", async |lab| {
        let provider = hostile(13000, "good").await?;
        let stage = set(&lab, &access(&[pin(), oidc(&lab, "hostile", provider.issuer())?])).await?;
        let mut visitor = stranger(&stage)?;
        let page = visitor.browse(DEEP).await?;
        let form = pressed(&page.text(), "method", "hostile")?;
        // A double click: two ways to the provider, of which the browser follows the second.
        let at = format!("{}{AUTHORIZE}", provider.issuer());
        let reply = visitor.submit(&page.url, &form).await?;
        let first = visitor.leads_to(reply, &at).await?;
        let reply = visitor.submit(&page.url, &form).await?;
        let second = visitor.leads_to(reply, &at).await?;
        let (first, second) = (back(&mut visitor, &first).await?, back(&mut visitor, &second).await?);
        let reply = visitor.get(&second).await?;
        assert_arrived(&visitor.follow(reply).await?, DEEP);
        // The answer to the first click is no harm, whichever way it ends.
        let reply = visitor.get(&first).await?;
        assert!(matches!(reply.status(), 303 | 400), "{}: {}", reply.status(), words(&reply.text()));
        let session = visitor.session(LOGIN_HOST)?;
        // Reloading the callback, and going back to the provider, which sends the person on with a new code: whoever is
        // logged in goes on, or reads where to.
        let provider_again = format!("{at}?{}", provider.asked_for(AUTHORIZE)[1].query);
        let returned = back(&mut visitor, &provider_again).await?;
        let redeemed = provider.asked_for(TOKEN).len();
        for url in [&second, &returned] {
            let reply = visitor.get(url).await?;
            if reply.status() == 400 {
                let next = again(&reply)?;
                let reply = visitor.browse(&next).await?;
                assert_eq!(reply.status(), 200, "the page leads on: {} at {}", reply.status(), reply.url);
            } else {
                assert_arrived(&visitor.follow(reply).await?, DEEP);
            }
        }
        assert_eq!(provider.asked_for(TOKEN).len(), redeemed, "a used state redeems nothing");
        assert_eq!(visitor.session(LOGIN_HOST)?, session, "the same login as before");
        assert_arrived(&visitor.browse(DEEP).await?, DEEP);
        // The login page itself, from the history: who is logged in goes on.
        let reply = visitor.browse(&page.url).await?;
        assert_arrived(&reply, DEEP);
        Ok(())
    });
}

/// Each tab comes back to where it was going, in whichever order.
#[test]
fn two_tabs_log_in_each_to_its_own_page() {
    run("tabs", async |lab| {
        let (stage, provider) = scene(&lab).await?;
        let addresses =
            ["https://www.example.test/a?n=1", "https://www.example.test/b?n=2", "https://app.example.test/c"];
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
            let mut visitor = stranger(&stage)?;
            let mut tabs = Vec::new();
            for url in addresses {
                tabs.push(to_callback(&mut visitor, url, &provider).await?);
            }
            for tab in order {
                let reply = visitor.get(&tabs[tab]).await?;
                let reply = visitor.follow(reply).await?;
                assert_arrived(&reply, addresses[tab]);
            }
        }
        let claims = asserted(&stage, STAFF).await?;
        assert!(claims["sub"].is_string());
        Ok(())
    });
}

/// S1b: logging in gives the browser a new session at the login host; what it had before is worth nothing afterwards, and an
/// attacker's cookie that it had is not taken over.
#[test]
fn a_login_by_a_provider_begins_a_session_of_its_own() {
    run("fixation", async |lab| {
        let (stage, provider) = scene(&lab).await?;
        let mut attacker = stranger(&stage)?;
        provider.behave(|ways| ways.say(r#"{"sub": "attacker", "email": "attacker@example.test"}"#));
        assert_arrived(&attacker.browse(DEEP).await?, DEEP);
        let planted = attacker.jar[LOGIN_HOST][SESSION_COOKIE].clone();
        provider.repent();
        let mut victim: Visitor = stranger(&stage)?;
        victim.jar.entry(LOGIN_HOST.into()).or_default().insert(SESSION_COOKIE.into(), "A".repeat(43));
        let reply = victim.browse(DEEP).await?;
        assert_arrived(&reply, DEEP);
        let own = victim.jar[LOGIN_HOST][SESSION_COOKIE].clone();
        assert!(own != "A".repeat(43) && own != planted);
        let who: Value = serde_json::from_str(&victim.get(&format!("https://{APP}/.access/identity")).await?.text())
            .unwrap_or(Value::Null);
        assert_ne!(who["email"], "attacker@example.test");
        assert_eq!(asserted(&stage, STAFF).await?["email"], STAFF);
        assert!(failures(&stage.edge).await?.is_empty());
        Ok(())
    });
}
