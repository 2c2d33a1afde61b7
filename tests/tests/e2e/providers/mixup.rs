//! Two providers, of which one would like to be taken for the other.

use std::sync::Arc;

use serde_json::json;
use tunnel_tests::{
    edge::LOGIN_HOST,
    hostile::{AUTHORIZE, DISCOVERY, Parameters, Returned, TOKEN},
    html::words,
    loopback::{encoded, value_of},
    provider::callback,
    run,
    stage::{APP, STAFF, WWW},
};

use super::{
    DEEP, access, assert_arrived, assert_start_again, asserted, audited, back, choose, declared, hostile, logged_in,
    oidc, set, stranger, to_callback,
};

/// O3: an answer counts only at the callback of the method that was chosen, and only if it says, where providers say so
/// (RFC 9207), that it is from there. The code is told to neither.
#[test]
fn an_answer_of_one_provider_is_refused_at_the_callback_of_another() {
    run("mix-up", async |lab| {
        let (one, two) = (hostile(13000, "one").await?, hostile(13001, "two").await?);
        let methods = [oidc(&lab, "one", one.issuer())?, oidc(&lab, "two", two.issuer())?];
        let stage = set(&lab, &access(&methods)).await?;
        let start = async || {
            let mut visitor = stranger(&stage)?;
            let page = visitor.browse(DEEP).await?;
            let form = tunnel_tests::html::pressed(&page.text(), "method", "one")?;
            let reply = visitor.submit(&page.url, &form).await?;
            let at = visitor.leads_to(reply, &format!("{}{AUTHORIZE}", one.issuer())).await?;
            anyhow::Ok((visitor, at))
        };
        // The way back leads to the other's callback.
        let (mut visitor, at) = start().await?;
        let url = back(&mut visitor, &at).await?;
        let moved = url.replace("/callback/one", "/callback/two");
        for moved in [moved.clone(), moved.replace("13000", "13001")] {
            let mut copy = visitor.clone();
            let reply = copy.get(&moved).await?;
            assert_start_again(&copy, &reply);
        }
        // The attacker's provider sends the person on to the honest one, with its own state: the answer comes to the honest
        // one's callback, or, with the attacker's redirect address, to the attacker's, naming who really answered.
        let (mut visitor, at) = start().await?;
        let honest = at.replace(one.issuer(), two.issuer());
        let url = back(&mut visitor, &honest).await?;
        assert_eq!(value_of(url.split_once('?').unwrap().1, "iss").as_deref(), Some(two.issuer()));
        let mut copy = visitor.clone();
        let reply = copy.get(&url).await?;
        assert_refused(&copy, &reply);
        let mut copy = visitor.clone();
        let reply = copy.get(&url.replace("/callback/one", "/callback/two")).await?;
        assert_refused(&copy, &reply);
        // The parameter itself: left out though it was promised, empty, almost, twice.
        let issuer = one.issuer().to_owned();
        let other = two.issuer().to_owned();
        let set_iss = |value: String| {
            move |pairs: &mut Parameters| {
                pairs.iter_mut().for_each(|(name, old)| {
                    if name == "iss" {
                        old.clone_from(&value);
                    }
                })
            }
        };
        let (twice, before) = (other.clone(), other.clone());
        let ways: Vec<(&str, Returned)> = vec![
            ("none", Arc::new(|pairs: &mut Parameters| pairs.retain(|(name, _)| name != "iss"))),
            ("empty", Arc::new(set_iss(String::new()))),
            ("the other's", Arc::new(set_iss(other))),
            ("with a slash", Arc::new(set_iss(format!("{issuer}/")))),
            ("in upper case", Arc::new(set_iss(issuer.to_uppercase()))),
            (
                "twice, the wrong one last",
                Arc::new(move |pairs: &mut Parameters| pairs.push(("iss".into(), twice.clone()))),
            ),
            (
                "twice, the wrong one first",
                Arc::new(move |pairs: &mut Parameters| pairs.insert(0, ("iss".into(), before.clone()))),
            ),
        ];
        for (name, way) in ways {
            one.behave(|ways| ways.returned = way);
            let mut visitor = stranger(&stage)?;
            let page = visitor.browse(DEEP).await?;
            let reply = choose(&mut visitor, &page, "one").await?;
            assert_refused(&visitor, &reply);
            assert!(words(&reply.text()).contains("again"), "iss {name}: {}", words(&reply.text()));
            one.repent();
        }
        assert!(one.asked_for(TOKEN).is_empty() && two.asked_for(TOKEN).is_empty(), "no code was told to anybody");
        audited(&stage.edge, 0, "one", &["iss"]).await?;
        let mut visitor = stranger(&stage)?;
        let page = visitor.browse(DEEP).await?;
        assert_arrived(&choose(&mut visitor, &page, "one").await?, DEEP);
        Ok(())
    });
}

/// RFC 9207: a provider that does not promise the parameter need not send it. Google is one.
#[test]
fn a_provider_that_never_says_who_answers_is_believed_without() {
    run("no-iss", async |lab| {
        let provider = hostile(13000, "good").await?;
        provider.behave(|ways| {
            ways.change(DISCOVERY, |document| {
                drop(document.as_object_mut().unwrap().remove("authorization_response_iss_parameter_supported"));
            });
            ways.returned = Arc::new(|pairs| pairs.retain(|(name, _)| name != "iss"));
        });
        let stage = set(&lab, &access(&[oidc(&lab, "hostile", provider.issuer())?])).await?;
        assert_arrived(&stranger(&stage)?.browse(DEEP).await?, DEEP);
        // What it says without having promised still has to be right.
        provider.behave(|ways| {
            ways.returned = Arc::new(|pairs| {
                pairs
                    .iter_mut()
                    .filter(|(name, _)| name == "iss")
                    .for_each(|(_, iss)| "https://evil.test".clone_into(iss));
            });
        });
        let mut visitor = stranger(&stage)?;
        let reply = visitor.browse(DEEP).await?;
        assert_refused(&visitor, &reply);
        Ok(())
    });
}

/// O6: the same address from two providers is two people. What one may open the other may not, and neither sees the other's
/// sessions as theirs.
#[test]
fn the_same_address_from_two_providers_is_two_people() {
    run("linking", async |lab| {
        let (one, two) = (hostile(13000, "one").await?, hostile(13001, "two").await?);
        // Even the same subject: it is one only within its issuer.
        let methods = [oidc(&lab, "one", one.issuer())?, oidc(&lab, "two", two.issuer())?];
        let policies = "  - {name: by-one, action: allow, include: [{email: staff@example.test}], require: [{login_method: one}]}\n";
        let apps = [("www", "", "staff-only"), ("app", "", "by-one")];
        let stage = set(&lab, &declared(&methods, policies, &apps)).await?;
        let mut subjects = Vec::new();
        for (method, may) in [("one", true), ("two", false)] {
            let mut visitor = stranger(&stage)?;
            let page = visitor.browse(DEEP).await?;
            assert_arrived(&choose(&mut visitor, &page, method).await?, DEEP);
            subjects.push(asserted(&stage, STAFF).await?["sub"].clone());
            let app = visitor.browse(&format!("https://{APP}/")).await?;
            assert_eq!(app.status(), if may { 200 } else { 403 }, "{method}: {}", words(&app.text()));
            assert_eq!(stage.app.bytes() > 0, may, "{method}");
            stage.app.forget();
            let identity = visitor.get(&format!("https://{WWW}/.access/identity")).await?;
            let identity: serde_json::Value = serde_json::from_str(&identity.text())?;
            assert_eq!(identity["email"], STAFF);
            assert!(identity.to_string().contains(&format!("\"{method}\"")), "it says by which method: {identity}");
        }
        assert_ne!(subjects[0], subjects[1], "no account is linked by its address");
        // The one who may not does not get there by being the one who may at the same provider's other door.
        let mut visitor = stranger(&stage)?;
        let page = visitor.browse(&format!("https://{APP}/")).await?;
        let reply = choose(&mut visitor, &page, "two").await?;
        assert_eq!(reply.status(), 403, "{}", words(&reply.text()));
        assert!(visitor.session(LOGIN_HOST).is_ok(), "logged in, and not admitted");
        Ok(())
    });
}

/// O6: a subject and an address that were chosen so that a careless key of both runs together.
#[test]
fn issuer_and_subject_do_not_run_together() {
    run("key", async |lab| {
        let (one, two) = (hostile(13000, "one").await?, hostile(13001, "two").await?);
        let methods = [oidc(&lab, "one", one.issuer())?, oidc(&lab, "two", two.issuer())?];
        let stage = set(&lab, &access(&methods)).await?;
        let mut subjects = std::collections::BTreeSet::new();
        for (provider, method, sub) in [
            (&one, "one", "x".to_owned()),
            (&two, "two", format!("{}|x", one.issuer())),
            (&two, "two", format!("{}#x", one.issuer())),
            (&one, "one", "|x".into()),
            (&one, "one", "/x".into()),
            (&one, "one", "two|x".into()),
            (&one, "one", "staff@example.test".into()),
        ] {
            provider.behave(|ways| ways.say(&json!({"sub": sub}).to_string()));
            let mut visitor = stranger(&stage)?;
            let page = visitor.browse(DEEP).await?;
            assert_arrived(&choose(&mut visitor, &page, method).await?, DEEP);
            assert!(
                subjects.insert(asserted(&stage, STAFF).await?["sub"].to_string()),
                "{method} {sub} is taken for another"
            );
        }
        Ok(())
    });
}

/// O3: the state of a method that was taken out of the declaration meanwhile leads nowhere.
#[test]
fn a_method_that_is_gone_takes_no_answers() {
    run("gone", async |lab| {
        let (one, two) = (hostile(13000, "one").await?, hostile(13001, "two").await?);
        let (first, second) = (oidc(&lab, "one", one.issuer())?, oidc(&lab, "two", two.issuer())?);
        let stage = set(&lab, &access(&[first])).await?;
        let mut visitor = stranger(&stage)?;
        let url = to_callback(&mut visitor, DEEP, &one).await?;
        let file = lab.write("without.yaml", &access(std::slice::from_ref(&second)))?;
        stage.edge.run(&["apply", "-f", &file.to_string_lossy(), "--prune"]).await?.ok()?;
        let reply = visitor.get(&url).await?;
        assert!(matches!(reply.status(), 400 | 404) && !logged_in(&visitor), "{}", words(&reply.text()));
        // The name means another provider now: what the old one answers is not for it.
        let renamed = second.replace("name: two", "name: one");
        let file = lab.write("renamed.yaml", &access(&[renamed]))?;
        stage.edge.run(&["apply", "-f", &file.to_string_lossy(), "--prune"]).await?.ok()?;
        let reply = visitor.get(&url).await?;
        assert!((400..600).contains(&reply.status()) && !logged_in(&visitor), "{}", words(&reply.text()));
        let pairs = [("code", "x"), ("state", "y"), ("iss", two.issuer())];
        let reply = visitor.get(&format!("{}?{}", callback("one"), encoded(&pairs))).await?;
        assert_eq!(reply.status(), 400);
        Ok(())
    });
}

/// Not taken for an answer of the provider that was asked.
#[track_caller]
fn assert_refused(visitor: &tunnel_tests::Visitor, reply: &tunnel_tests::Reply) {
    let said = words(&reply.text());
    assert!((400..500).contains(&reply.status()) && !logged_in(visitor), "{} at {}: {said}", reply.status(), reply.url);
}
