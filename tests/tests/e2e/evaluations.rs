//! A service of the operator's own is asked about people, and its word decides.

use std::sync::Arc;

use anyhow::{Context, Result};
use futures::FutureExt;
use serde_json::{Value, json};
use tunnel_tests::{
    Canary, Stage,
    edge::LOGIN_HOST,
    hostile::{By, Keys, base64, now},
    html::words,
    loopback::{Asked, Loopback, json as json_answer, text},
    run,
    stage::{STAFF, WWW},
};

const AT: &str = "http://127.0.0.1:13100";
const OTHER: &str = "other@example.test";

fn access(address: &str) -> String {
    let rule = format!(
        "{{external_evaluation: {{evaluate_url: \"{address}/ask\", keys_url: \"{address}/keys\", \
         danger_allow_private_address: true}}}}"
    );
    format!(
        "login_methods:\n  - {{name: pin, type: one_time_pin}}\npolicies:\n  \
         - {{name: asked, action: allow, include: [{{email_domain: example.test}}], require: [{rule}]}}\n\
         applications:\n  - {{name: www, hostnames: [www.example.test], policies: [asked]}}\n  \
         - {{name: app, hostnames: [app.example.test], policies: [asked]}}\n"
    )
}

fn claims_of(token: &str) -> Value {
    let body = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&data_encoding::BASE64URL_NOPAD.decode(body.as_bytes()).unwrap()).unwrap()
}

fn question(asked: &Asked) -> String {
    let body: Value = serde_json::from_str(&asked.body).unwrap();
    body["token"].as_str().unwrap().to_owned()
}

/// A service that says yes of [`STAFF`] and no of everybody else.
async fn service() -> Result<Loopback> {
    let keys = Arc::new(Keys::new("evaluator"));
    let answers = move |asked: Asked| {
        let answer = match asked.path.as_str() {
            "/keys" => json_answer(200, &keys.jwks()),
            "/ask" => {
                let claims = claims_of(&question(&asked));
                let success = claims["identity"]["email"] == STAFF;
                let said =
                    json!({"success": success, "nonce": claims["nonce"], "iat": now(), "exp": now() + 60}).to_string();
                let header = json!({"alg": "RS256", "kid": keys.kid("rsa"), "typ": "JWT"}).to_string();
                let message = format!("{}.{}", base64(header.as_bytes()), base64(said.as_bytes()));
                let signature = base64(&By::Rs256(&keys).sign(message.as_bytes()));
                json_answer(200, &json!({"token": format!("{message}.{signature}")}))
            }
            _ => text(404, "text/plain", "nothing"),
        };
        async move { answer }.boxed()
    };
    Loopback::start(AT.strip_prefix("http://").context("a scheme")?.parse()?, Arc::new(answers)).await
}

/// The first key for RS256 takes an edge some moments.
async fn has_keys(stage: &Stage) -> Result<()> {
    let since = std::time::Instant::now();
    loop {
        let certs = stage.stranger()?.get(&format!("https://{LOGIN_HOST}/cdn-cgi/access/certs")).await?;
        if certs.text().contains("RS256") {
            return Ok(());
        }
        anyhow::ensure!(since.elapsed().as_secs() < 30, "no key for RS256: {}", certs.text());
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[test]
fn a_service_lets_in_whom_it_says_yes_of_and_nobody_else() {
    run("evaluations", async |lab| {
        let service = service().await?;
        let stage = Stage::with(&lab, &access(AT), Canary::start().await?).await?;
        has_keys(&stage).await?;
        let url = format!("https://{WWW}/");
        let mut staff = stage.somebody(WWW, STAFF).await?;
        assert_eq!(staff.get(&url).await?.status(), 200);
        let asked = service.asked_for("/ask");
        assert_eq!(asked.len(), 1, "once, when the session begins, and for no request");
        let question = question(&asked[0]);
        let claims = stage.certs().await?.verify(&question)?;
        assert_eq!(claims["aud"], format!("{AT}/ask"));
        assert_eq!((&claims["identity"]["email"], &claims["app"]["name"]), (&STAFF.into(), &"www".into()));
        assert_eq!(claims["identity"]["ip"], "127.0.0.1");

        stage.www.forget();
        let mut other = stage.stranger()?;
        let refused = other.login(&stage.smtp, &url, OTHER).await?;
        assert_eq!(refused.status(), 403, "{}", words(&refused.text()));
        stage.assert_silence("a no keeps people out");
        assert_eq!(service.asked_for("/ask").len(), 2);

        // Nobody is asked for a test: it says what it depends on.
        let test = ["policy", "test", "--application", "www", "--email", STAFF];
        let unknown = stage.edge.run(&test).await?;
        assert_eq!(unknown.code, 3, "{}", unknown.said());
        let depends = format!("as long as `{AT}/ask` does not say yes");
        assert!(unknown.stdout.contains(&depends), "{}", unknown.said());
        let yes = format!("{AT}/ask");
        let known = stage.edge.run(&[&test[..], &["--evaluation", yes.as_str()]].concat()).await?;
        assert_eq!(known.code, 0, "{}", known.said());
        let typo = stage.edge.run(&[&test[..], &["--evaluation", "https://e.example/"]].concat()).await?;
        assert!(typo.code == 1 && typo.stderr.contains(&yes), "{}", typo.said());
        assert_eq!(service.asked_for("/ask").len(), 2);
        // Decisions of the past are made again with what was said then.
        let replayed = stage.edge.run(&["policy", "replay"]).await?.ok()?;
        assert!(replayed.contains("none would have come out otherwise"), "{replayed}");
        let exported = stage.edge.run(&["export"]).await?.ok()?;
        assert!(exported.contains("danger_allow_private_address: true"), "{exported}");

        // When the service is gone nobody new gets in, and the record says why; who is in stays.
        drop(service);
        let mut late = stage.stranger()?;
        let refused = late.login(&stage.smtp, &url, "late@example.test").await?;
        assert_eq!(refused.status(), 403, "{}", words(&refused.text()));
        let audit = stage.edge.run(&["admin", "audit"]).await?.ok()?;
        assert!(audit.contains("evaluation_failed") && audit.contains(&yes), "{audit}");
        assert!(!audit.contains(&question), "no token is recorded");
        assert_eq!(staff.get(&url).await?.status(), 200);
        Ok(())
    });
}
