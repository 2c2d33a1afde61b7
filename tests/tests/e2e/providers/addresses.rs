//! What is made of the e-mail address that a provider tells.

use anyhow::Result;
use serde_json::json;
use tunnel_tests::{
    Stage, Visitor,
    edge::LOGIN_HOST,
    hostile::{ADDRESSES, GOOD_ADDRESSES},
    html::words,
    run,
    stage::{APP, STAFF},
};

use super::{
    DEEP, HERE, assert_arrived, assert_failed, asserted, audited, declared, failures, hostile, logged_in, method, oidc,
    set, stranger,
};

/// What stands in the declaration beside the policy that admits the whole domain.
const ONE_PERSON: &str = "  - {name: one-person, action: allow, include: [{email: staff@example.test}]}\n";

/// O5: an address counts only if the provider verified it and it is one by the strictest reading; whole table, one edge.
#[test]
fn an_address_that_is_not_verified_or_not_plain_admits_nobody() {
    run("addresses", async |lab| {
        let provider = hostile(13000, "good").await?;
        let apps = [("www", "", "staff-only"), ("app", "", "one-person")];
        let stage = set(&lab, &declared(&[oidc(&lab, "hostile", provider.issuer())?], ONE_PERSON, &apps)).await?;
        let mut wrong = Vec::new();
        for (name, claims) in ADDRESSES {
            provider.behave(|ways| ways.say(claims));
            for url in [DEEP.to_owned(), format!("https://{APP}/")] {
                let mut visitor = stranger(&stage)?;
                let reply = visitor.browse(&url).await?;
                let heard = stage.www.bytes() + stage.app.bytes();
                if !(400..600).contains(&reply.status()) || heard > 0 {
                    wrong.push(format!("{name}: {} at {}: {}", reply.status(), reply.url, words(&reply.text())));
                    stage.www.forget();
                    stage.app.forget();
                }
            }
        }
        assert!(wrong.is_empty(), "{} of {} were taken:\n{}", wrong.len(), ADDRESSES.len(), wrong.join("\n"));
        for (name, claims, email) in GOOD_ADDRESSES {
            provider.behave(|ways| ways.say(claims));
            let mut visitor = stranger(&stage)?;
            let reply = visitor.browse(DEEP).await?;
            assert_eq!(reply.url, DEEP, "{name}: {}", words(&reply.text()));
            assert_arrived(&reply, DEEP);
            let claims = asserted(&stage, email).await?;
            assert_eq!(claims["email"], *email, "{name}");
            // A rule about one address is about that one.
            let reply = visitor.browse(&format!("https://{APP}/")).await?;
            assert_eq!(reply.status() == 200, *email == STAFF, "{name}: {}", words(&reply.text()));
        }
        Ok(())
    });
}

/// O5: whose address is not verified reads so, and the record says so too; a method that is told to trust a domain needs no
/// verification for addresses there, and for no others.
#[test]
fn an_unverified_address_has_a_page_of_its_own_unless_the_domain_is_the_providers() {
    run("unverified", async |lab| {
        let provider = hostile(13000, "good").await?;
        let issuer = provider.issuer();
        let trusting = format!("issuer: \"{issuer}\", {HERE}, authoritative_for: [example.test]");
        let methods = [oidc(&lab, "hostile", issuer)?, method(&lab, "trusted", "oidc", &trusting)?];
        let both = "  - {name: two-domains, action: allow, include: [{email_domain: example.test}, {email_domain: example.com}]}\n";
        let apps = [("www", "hostile", "two-domains"), ("app", "trusted", "two-domains")];
        let stage = set(&lab, &declared(&methods, both, &apps)).await?;
        provider.behave(|ways| ways.say(r#"{"email_verified": false}"#));
        let mut visitor = stranger(&stage)?;
        let reply = visitor.browse(DEEP).await?;
        assert_failed(&visitor, &reply, &[400, 401, 403], "hostile");
        let said = words(&reply.text());
        assert!(said.contains("verif") || said.contains("confirm"), "the page says what is missing: {said}");
        let record = audited(&stage.edge, 0, "hostile", &["verif"]).await?;
        assert!(said.contains(record["reference"].as_str().unwrap_or("none")), "{record} for {said}");
        let app = format!("https://{APP}/");
        for unverified in [r#"{"email_verified": false}"#, r#"{"email_verified": "(absent)"}"#] {
            provider.behave(|ways| ways.say(unverified));
            assert_arrived(&stranger(&stage)?.browse(&app).await?, &app);
        }
        for elsewhere in [
            r#"{"email_verified": false, "email": "ann@example.com"}"#,
            r#"{"email_verified": false, "email": "ann@sub.example.test"}"#,
            r#"{"email_verified": false, "email": "ann@example.com@example.test"}"#,
        ] {
            provider.behave(|ways| ways.say(elsewhere));
            let mut visitor = stranger(&stage)?;
            let reply = visitor.browse(&app).await?;
            assert!((400..500).contains(&reply.status()) && !logged_in(&visitor), "{elsewhere}: {}", reply.status());
        }
        provider.behave(|ways| ways.say(r#"{"email": "ann@example.com"}"#));
        assert_arrived(&stranger(&stage)?.browse(&app).await?, &app);
        assert!(failures(&stage.edge).await?.len() >= 4);
        Ok(())
    });
}

/// O5, O6: a person is who the provider says by `iss` and `sub`; an address that moves to somebody else brings nothing along,
/// and one that changes leaves the person who they are.
#[test]
fn a_person_is_the_subject_and_not_the_address() {
    run("subjects", async |lab| {
        let provider = hostile(13000, "good").await?;
        let apps = [("www", "", "staff-only"), ("app", "", "staff-only")];
        let stage = set(&lab, &declared(&[oidc(&lab, "hostile", provider.issuer())?], "", &apps)).await?;
        let ann =
            subject(&stage, &provider, r#"{"sub": "ann", "email": "ann@example.test"}"#, "ann@example.test").await?;
        let again = subject(&stage, &provider, r#"{"sub": "ann", "email": "ann@example.test"}"#, "ann@example.test");
        assert_eq!(again.await?, ann, "the same person at the next login");
        let married = subject(&stage, &provider, r#"{"sub": "ann", "email": "new@example.test"}"#, "new@example.test");
        assert_eq!(married.await?, ann, "under another address, too");
        let other = subject(&stage, &provider, r#"{"sub": "bob", "email": "ann@example.test"}"#, "ann@example.test");
        assert_ne!(other.await?, ann, "who gets an address that another had is not the other");
        for (sub, why) in [("ANN", "the case counts"), ("ann ", "so does space")] {
            let claims = json!({"sub": sub, "email": "ann@example.test"}).to_string();
            let other = subject(&stage, &provider, &claims, "ann@example.test").await?;
            assert_ne!(other, ann, "{why}");
        }
        Ok(())
    });
}

async fn subject(stage: &Stage, provider: &tunnel_tests::Hostile, claims: &str, email: &str) -> Result<String> {
    provider.behave(|ways| ways.say(claims));
    let mut visitor: Visitor = stranger(stage)?;
    assert_arrived(&visitor.browse(DEEP).await?, DEEP);
    visitor.session(LOGIN_HOST)?;
    let claims = asserted(stage, email).await?;
    Ok(claims["sub"].as_str().unwrap_or_default().to_owned())
}
