//! ID tokens that nobody may believe, and those that everybody must.

use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tunnel_tests::{
    Hostile, Stage,
    hostile::{ATTACKER, FORGERIES, GOOD, JWKS, Making, TOKEN, USERINFO, Ways},
    html::words,
    run,
    stage::STAFF,
};

use super::{DEEP, access, assert_arrived, assert_failed, asserted, failures, hostile, logged_in, oidc, set, stranger};

/// O4: every forged token is refused with a page and a record, the good ones in between are not. One edge for the whole
/// table, which trusts two providers and has met the keys of both.
#[test]
fn every_forged_token_is_refused_and_every_good_one_believed() {
    run("forged", async |lab| {
        let (trusted, other) = (hostile(13000, "good").await?, hostile(13001, "other").await?);
        trusted.behave(|ways| ways.other = other.as_other());
        let methods = [oidc(&lab, "hostile", trusted.issuer())?, oidc(&lab, "other", other.issuer())?];
        let only =
            |name: &str| access(&methods).replace("{name: www,", &format!("{{name: www, login_methods: [{name}],"));
        let stage = set(&lab, &only("other")).await?;
        // The keys of both are known to the edge before anybody forges.
        assert_arrived(&stranger(&stage)?.browse(DEEP).await?, DEEP);
        stage.edge.apply(&only("hostile")).await?;
        for (name, making) in GOOD {
            believed(&stage, &trusted, name, *making).await?;
        }
        stage.www.forget();
        let mut wrong = Vec::new();
        for (count, (name, making)) in FORGERIES.iter().enumerate() {
            trusted.behave(|ways| ways.forge(making));
            let mut visitor = stranger(&stage)?;
            let reply = visitor.browse(DEEP).await?;
            let said = words(&reply.text());
            if logged_in(&visitor) || !(400..600).contains(&reply.status()) || stage.www.bytes() > 0 {
                wrong.push(format!("{name}: {} at {}: {said}", reply.status(), reply.url));
                stage.www.forget();
            }
            // The page is looked at now and then; it is the same for all.
            if count % 20 == 0 {
                assert_failed(&visitor, &reply, &[400, 401, 403, 500, 502], "hostile");
            }
        }
        assert!(wrong.is_empty(), "{} of {} were believed:\n{}", wrong.len(), FORGERIES.len(), wrong.join("\n"));
        // The edge has not been talked out of the good ones, nor into asking the attacker for keys.
        believed(&stage, &trusted, "the good one, afterwards", GOOD[0].1).await?;
        let lured: Vec<_> = trusted.asked().into_iter().filter(|asked| asked.path.starts_with(ATTACKER)).collect();
        assert!(lured.is_empty(), "asked the attacker: {lured:?}");
        let keys = trusted.asked_for(JWKS).len();
        assert!(keys <= 3, "an unknown key is looked for once a minute at most, not {keys} times");
        // Every failure is on record, with its reason for the administrator. Equal ones may be counted together.
        let records = failures(&stage.edge).await?;
        let counted: u64 = records.iter().filter_map(|record| record["count"].as_u64()).sum();
        assert!(counted >= FORGERIES.len() as u64, "{counted} of {} are on record", FORGERIES.len());
        let reasons: std::collections::BTreeSet<_> =
            records.iter().map(|record| record["detail"].to_string()).collect();
        assert!(reasons.len() >= 8, "the reasons tell what was wrong: {reasons:?}");
        Ok(())
    });
}

/// The same for what the token endpoint answers beside or instead of a token, and for what stands in for it elsewhere.
#[test]
fn an_answer_without_a_token_logs_nobody_in() {
    run("no-token", async |lab| {
        let trusted = hostile(13000, "good").await?;
        let stage = set(&lab, &access(&[oidc(&lab, "hostile", trusted.issuer())?])).await?;
        type Change = fn(&mut Value);
        let changes: [(&str, Change); 9] = [
            ("no token", |answer| drop(answer.as_object_mut().unwrap().remove("id_token"))),
            ("a token of null", |answer| answer["id_token"] = Value::Null),
            ("a token of a number", |answer| answer["id_token"] = json!(1)),
            ("a list with the token", |answer| answer["id_token"] = json!([answer["id_token"]])),
            ("the token elsewhere", |answer| {
                let token = answer.as_object_mut().unwrap().remove("id_token").unwrap();
                answer["access_token"] = token;
            }),
            ("an error beside the token", |answer| answer["error"] = json!("invalid_grant")),
            ("a list", |answer| *answer = json!([answer.clone()])),
            ("nothing", |answer| *answer = Value::Null),
            ("a text", |answer| *answer = json!("ok")),
        ];
        for (name, change) in changes {
            trusted.repent();
            trusted.behave(|ways| ways.change(TOKEN, change));
            let mut visitor = stranger(&stage)?;
            let reply = visitor.browse(DEEP).await?;
            assert!((400..600).contains(&reply.status()), "{name}: {}", reply.status());
            assert_failed(&visitor, &reply, &[reply.status()], "hostile");
        }
        stage.assert_silence("nobody was logged in");
        trusted.repent();
        assert_arrived(&stranger(&stage)?.browse(DEEP).await?, DEEP);
        Ok(())
    });
}

/// What userinfo says counts for the subject of the token only, and only if somebody vouches for the address there.
#[test]
fn userinfo_about_somebody_else_is_not_believed() {
    run("userinfo", async |lab| {
        let trusted = hostile(13000, "good").await?;
        let stage = set(&lab, &access(&[oidc(&lab, "hostile", trusted.issuer())?])).await?;
        let bare = |ways: &mut Ways| {
            ways.forge(|forge| {
                forge.saying(|claims| {
                    claims.remove("email");
                    claims.remove("email_verified");
                })
            });
        };
        trusted.behave(bare);
        assert_arrived(&stranger(&stage)?.browse(DEEP).await?, DEEP);
        assert_eq!(asserted(&stage, STAFF).await?["email"], STAFF);
        stage.www.forget();
        type Change = fn(&mut Value);
        let changes: [(&str, Change); 8] = [
            ("another sub", |info| info["sub"] = json!("somebody-else")),
            ("no sub", |info| drop(info.as_object_mut().unwrap().remove("sub"))),
            ("a list with the sub", |info| info["sub"] = json!(["somebody"])),
            ("not verified", |info| info["email_verified"] = json!(false)),
            ("the word true", |info| info["email_verified"] = json!("true")),
            ("no word about it", |info| drop(info.as_object_mut().unwrap().remove("email_verified"))),
            ("a list", |info| *info = json!([info.clone()])),
            ("nothing", |info| *info = Value::Null),
        ];
        for (name, change) in changes {
            trusted.repent();
            trusted.behave(bare);
            trusted.behave(|ways| ways.change(USERINFO, change));
            let mut visitor = stranger(&stage)?;
            let reply = visitor.browse(DEEP).await?;
            assert!((400..600).contains(&reply.status()), "{name}: {}", reply.status());
            assert_failed(&visitor, &reply, &[reply.status()], "hostile");
        }
        // The token says that nobody vouches for its address; userinfo's word is about another one.
        trusted.repent();
        trusted.behave(|ways| {
            ways.forge(|forge| forge.claiming("email_verified", json!(false)));
            ways.change(USERINFO, |info| info["email"] = json!("other@example.com"));
        });
        let mut visitor = stranger(&stage)?;
        let reply = visitor.browse(DEEP).await?;
        assert!((400..500).contains(&reply.status()) && !logged_in(&visitor), "{}", reply.status());
        stage.assert_silence("nobody was logged in");
        Ok(())
    });
}

/// S6: a token that a provider signed for the edge opens nothing by itself, wherever it is shown.
#[test]
fn a_good_token_of_a_provider_is_no_credential_at_the_edge() {
    run("token-as-credential", async |lab| {
        let trusted = hostile(13000, "good").await?;
        let kept = Arc::new(std::sync::Mutex::new(String::new()));
        let copy = kept.clone();
        trusted.behave(|ways| {
            ways.forge(move |forge| {
                let token = forge.good();
                copy.lock().unwrap().clone_from(&token);
                token
            });
        });
        let stage = set(&lab, &access(&[oidc(&lab, "hostile", trusted.issuer())?])).await?;
        assert_arrived(&stranger(&stage)?.browse(DEEP).await?, DEEP);
        stage.www.forget();
        let token = kept.lock().unwrap().clone();
        assert_eq!(token.split('.').count(), 3, "{token}");
        let bearer = format!("Bearer {token}");
        for (name, value) in [
            ("Cookie", format!("__Host-access={token}")),
            ("Authorization", bearer),
            ("Access-Token", token.clone()),
            ("Cf-Access-Token", token.clone()),
            ("Access-Jwt-Assertion", token.clone()),
            ("Cf-Access-Jwt-Assertion", token),
        ] {
            let mut visitor = stranger(&stage)?;
            let reply = visitor.ask("GET", DEEP, &[(name, &value), ("Accept", "text/html")], b"").await?;
            assert!(matches!(reply.status(), 303 | 401 | 403), "{name}: {}", reply.status());
        }
        stage.assert_silence("a provider's token is not ours");
        Ok(())
    });
}

async fn believed(stage: &Stage, trusted: &Hostile, name: &str, making: Making) -> Result<()> {
    trusted.behave(|ways| ways.forge(making));
    let reply = stranger(stage)?.browse(DEEP).await?;
    assert_eq!(reply.url, DEEP, "{name}: {} {}", reply.status(), words(&reply.text()));
    assert_arrived(&reply, DEEP);
    asserted(stage, STAFF).await.with_context(|| name.to_owned())?;
    Ok(())
}
