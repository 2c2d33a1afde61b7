//! The hostile provider is a good one when left to itself, and what it forges is forged.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use serde_json::{Map, Value, json};
use tunnel_tests::{
    Hostile, Visitor,
    hostile::{
        ADDRESSES, AUTHORIZE, By, DISCOVERY, FORGERIES, Forge, GOOD, GOOD_ADDRESSES, Instead, JWKS, TOKEN, base64,
    },
    loopback::{encoded, value_of},
    provider::{CLIENT_ID, CLIENT_SECRET},
    run,
};

const CLIENT: (&str, &str) = (CLIENT_ID, CLIENT_SECRET);
const BACK: &str = "https://access.example.test/.access/callback/hostile";
const VERIFIER: &str = "abcdefghijklmnopqrstuvwxyz-0123456789-abcdefghijk";

/// A plain relying party: logs in, and gives what the token endpoint answered.
async fn log_in(hostile: &Hostile, nonce: &str) -> Result<Value> {
    let mut visitor = Visitor::plain("127.0.0.1:9".parse()?);
    let challenge = base64(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, VERIFIER.as_bytes()).as_ref());
    let parameters = [
        ("client_id", CLIENT_ID),
        ("redirect_uri", BACK),
        ("state", "a-state"),
        ("nonce", nonce),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
        ("response_type", "code"),
    ];
    let url = format!("{}{AUTHORIZE}?{}", hostile.issuer(), encoded(&parameters));
    let back = visitor.led_to(&url, BACK).await?;
    let query = back.split_once('?').context("a query")?.1;
    assert_eq!(value_of(query, "state").as_deref(), Some("a-state"));
    assert_eq!(value_of(query, "iss").as_deref(), Some(hostile.issuer()));
    let code = value_of(query, "code").context("a code")?;
    let form = [
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("redirect_uri", BACK),
        ("code_verifier", VERIFIER),
        ("client_id", CLIENT_ID),
        ("client_secret", CLIENT_SECRET),
    ];
    let kind = [("Content-Type", "application/x-www-form-urlencoded")];
    let url = format!("{}{TOKEN}", hostile.issuer());
    let reply = visitor.ask("POST", &url, &kind, encoded(&form).as_bytes()).await?;
    serde_json::from_str(&reply.text()).with_context(|| reply.text())
}

/// What a careful reader makes of a token.
fn believe(token: &str, keys: &JwkSet, issuer: &str, nonce: &str) -> Result<Value> {
    let header = decode_header(token)?;
    let key = match header.kid {
        Some(kid) => keys.find(&kid).context("no such key is published")?,
        None => keys.find("good-rsa").context("the first key")?,
    };
    let kind = match header.alg {
        Algorithm::RS256 | Algorithm::ES256 | Algorithm::PS256 | Algorithm::EdDSA => header.alg,
        other => anyhow::bail!("{other:?} is not allowed"),
    };
    let mut validation = Validation::new(kind);
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[CLIENT_ID]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.validate_nbf = true;
    let claims = decode::<Value>(token, &DecodingKey::from_jwk(key)?, &validation)?.claims;
    anyhow::ensure!(claims["nonce"] == nonce, "the nonce in {claims}");
    Ok(claims)
}

/// Those of the published keys that this reader can use.
async fn keys(hostile: &Hostile) -> Result<JwkSet> {
    let mut visitor = Visitor::plain("127.0.0.1:9".parse()?);
    let mut set: Value = serde_json::from_str(&visitor.get(&format!("{}{JWKS}", hostile.issuer())).await?.text())?;
    set["keys"]
        .as_array_mut()
        .context("keys")?
        .retain(|key| ["RSA", "EC", "OKP"].map(Value::from).contains(&key["kty"]));
    Ok(serde_json::from_value(set)?)
}

#[test]
fn a_good_token_of_the_hostile_provider_is_believed() {
    run("hostile-good", async |_| {
        let hostile = Hostile::start("127.0.0.1:13000".parse()?, "good", CLIENT).await?;
        let keys = keys(&hostile).await?;
        for (name, making) in GOOD {
            hostile.behave(|ways| ways.forge(making));
            let answer = log_in(&hostile, "a-nonce").await?;
            let token = answer["id_token"].as_str().with_context(|| answer.to_string())?;
            let claims =
                believe(token, &keys, hostile.issuer(), "a-nonce").with_context(|| format!("{name}: {token}"))?;
            assert_eq!((&claims["email"], &claims["email_verified"]), (&json!("staff@example.test"), &json!(true)));
        }
        // It does not let a code be redeemed twice, by the wrong client, or without the verifier.
        let asked = hostile.asked_for(TOKEN);
        let mut visitor = Visitor::plain("127.0.0.1:9".parse()?);
        let url = format!("{}{TOKEN}", hostile.issuer());
        let reply = visitor.ask("POST", &url, &[], asked[0].body.as_bytes()).await?;
        assert_eq!((reply.status(), reply.text().contains("invalid_grant")), (400, true));
        let other = asked[0].body.replace("client_secret=", "client_secret=x");
        assert_eq!(visitor.ask("POST", &url, &[], other.as_bytes()).await?.status(), 401);
        Ok(())
    });
}

/// Most forgeries differ from a good token in what any library looks at; the rest in what only a careful reader does.
/// This one is careless on purpose in the latter, so that the table is seen to have both.
#[test]
fn forgeries_are_forged_and_differ_from_each_other() {
    run("hostile-forged", async |_| {
        let hostile = Hostile::start("127.0.0.1:13000".parse()?, "good", CLIENT).await?;
        let other = Hostile::start("127.0.0.1:13001".parse()?, "other", CLIENT).await?;
        hostile.behave(|ways| ways.other = other.as_other());
        let keys = keys(&hostile).await?;
        log_in(&hostile, "the-nonce-before").await?;
        let (mut tokens, mut believed) = (BTreeSet::new(), Vec::new());
        for (name, making) in FORGERIES {
            hostile.behave(|ways| ways.forge(making));
            let answer = log_in(&hostile, "a-nonce").await?;
            let token = answer["id_token"].as_str().with_context(|| format!("{name}: {answer}"))?.to_owned();
            if believe(&token, &keys, hostile.issuer(), "a-nonce").is_ok() {
                believed.push(*name);
            }
            assert!(tokens.insert(token), "{name} is a token of its own");
        }
        println!("a library believes {} of {}: {believed:?}", believed.len(), FORGERIES.len());
        assert!(believed.len() * 3 < FORGERIES.len(), "{believed:?}");
        Ok(())
    });
}

#[test]
fn names_that_are_there_twice_are_there_twice() {
    let name = |text: &str| text.matches("\"email\"").count();
    let keys = std::sync::Arc::new(tunnel_tests::hostile::Keys::new("good"));
    let claims = json!({"email": "staff@example.test", "sub": "x"});
    let forge = Forge {
        stolen: keys.clone(),
        other: ("https://other.example.com".into(), keys.clone()),
        keys,
        attacker: "http://127.0.0.1:9".into(),
        issuer: "http://127.0.0.1:13000".into(),
        client: (CLIENT_ID.into(), CLIENT_SECRET.into()),
        claims: claims.as_object().unwrap().clone(),
        other_nonce: "x".into(),
        access_token: "x".into(),
    };
    for before in [true, false] {
        let token = forge.twice("email", &json!("guest@example.com"), before);
        let part = token.split('.').nth(1).unwrap();
        let text = String::from_utf8(BASE64URL_NOPAD.decode(part.as_bytes()).unwrap()).unwrap();
        assert_eq!(name(&text), 2, "{text}");
        let last: BTreeMap<String, Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(last["email"] == "staff@example.test", before, "{text}");
    }
    assert_eq!(By::Nobody.sign(b"x"), b"");
}

#[test]
fn every_row_of_the_address_table_is_json_and_differs() {
    let rows = ADDRESSES.iter().map(|(name, claims)| (*name, *claims));
    let good = GOOD_ADDRESSES.iter().map(|(name, claims, _)| (*name, *claims));
    let mut seen = BTreeSet::new();
    for (name, claims) in rows.chain(good) {
        let claims: Map<String, Value> = serde_json::from_str(claims).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(seen.insert(format!("{claims:?}")), "{name} stands there twice");
    }
}

#[test]
fn every_answer_of_the_hostile_provider_can_be_another() {
    run("hostile-ways", async |_| {
        let hostile = Hostile::start("127.0.0.1:13000".parse()?, "good", CLIENT).await?;
        let mut visitor = Visitor::plain("127.0.0.1:9".parse()?);
        let url = format!("{}{DISCOVERY}", hostile.issuer());
        assert!(visitor.get(&url).await?.text().contains(hostile.issuer()));
        hostile.behave(|ways| ways.change(DISCOVERY, |document| document["issuer"] = json!("https://evil.test")));
        assert!(visitor.get(&url).await?.text().contains("https://evil.test"));
        hostile.repent();
        hostile.behave(|ways| ways.answer(DISCOVERY, Instead::Redirect("http://127.0.0.1:13001/".into())));
        assert_eq!(visitor.get(&url).await?.header("location"), Some("http://127.0.0.1:13001/"));
        hostile.behave(|ways| ways.answer(DISCOVERY, Instead::Padded(1 << 20)));
        let reply = visitor.get(&url).await?;
        assert!(reply.answer.body.len() > 1 << 20);
        assert!(serde_json::from_str::<Value>(&reply.text())?["issuer"].is_string(), "too long, but right");
        for endless in [Instead::Endless, Instead::Drip, Instead::Silence] {
            hostile.behave(|ways| ways.answer(DISCOVERY, endless.clone()));
            let waiting = tokio::time::timeout(std::time::Duration::from_millis(500), visitor.get(&url));
            assert!(waiting.await.is_err(), "{endless:?} ends");
        }
        assert!(hostile.asked_for(DISCOVERY).len() >= 6, "it keeps what it is asked");
        Ok(())
    });
}
