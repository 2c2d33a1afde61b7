//! The certified provider and the one that is like GitHub log somebody in with a plain client of the test's own.

use anyhow::{Context, Result, bail};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use serde_json::{Value, json};
use tunnel_tests::{
    Browser, GitHub, Provider, ProviderConfig, Visitor,
    browser::BrowserOptions,
    github::{Person, Trick},
    hostile::base64,
    html::pressed,
    loopback::{encoded, value_of},
    provider::{Account, CLIENT_ID, CLIENT_SECRET, answer, callback, sign_in},
    run,
};

const VERIFIER: &str = "abcdefghijklmnopqrstuvwxyz-0123456789-abcdefghijk";
const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

fn nobody() -> Visitor {
    Visitor::plain(([127, 0, 0, 1], 9).into())
}

/// A relying party of the test's own.
struct Party {
    visitor: Visitor,
    discovery: Value,
    method: String,
}

impl Party {
    async fn new(issuer: &str, method: &str) -> Result<Self> {
        let mut visitor = nobody();
        let reply = visitor.get(&format!("{issuer}/.well-known/openid-configuration")).await?;
        let discovery: Value = serde_json::from_str(&reply.text()).with_context(|| reply.text())?;
        assert_eq!(discovery["issuer"], issuer);
        Ok(Self { visitor, discovery, method: method.into() })
    }

    fn endpoint(&self, name: &str) -> String {
        self.discovery[name].as_str().unwrap_or_default().to_owned()
    }

    fn authorize(&self, scope: &str) -> String {
        let challenge = base64(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, VERIFIER.as_bytes()).as_ref());
        let parameters = [
            ("client_id", CLIENT_ID),
            ("redirect_uri", &callback(&self.method)),
            ("scope", scope),
            ("state", "a-state"),
            ("nonce", "a-nonce"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            ("response_type", "code"),
        ];
        format!("{}?{}", self.endpoint("authorization_endpoint"), encoded(&parameters))
    }

    /// Goes to the provider, says who one is, and comes back with the parameters of the callback.
    async fn come_back(&mut self, scope: &str, account: &str) -> Result<String> {
        let page = self.visitor.browse(&self.authorize(scope)).await?;
        let form = pressed(&page.text(), "answer", "login")?.with("account", account);
        let reply = self.visitor.submit(&page.url, &form).await?;
        let back = self.visitor.leads_to(reply, &callback(&self.method)).await?;
        Ok(back.split_once('?').context("a query")?.1.to_owned())
    }

    async fn redeem(&mut self, code: &str, basic: bool) -> Result<Value> {
        let back = callback(&self.method);
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &back),
            ("code_verifier", VERIFIER),
        ];
        let encode = |text: &str| encoded(&[("", text)]).trim_start_matches('=').to_owned();
        let both = format!("{}:{}", encode(CLIENT_ID), encode(CLIENT_SECRET));
        let secret = format!("Basic {}", data_encoding::BASE64.encode(both.as_bytes()));
        let mut headers = vec![FORM];
        if basic {
            headers.push(("Authorization", &secret));
        } else {
            form.extend([("client_id", CLIENT_ID), ("client_secret", CLIENT_SECRET)]);
        }
        let url = self.endpoint("token_endpoint");
        let reply = self.visitor.ask("POST", &url, &headers, encoded(&form).as_bytes()).await?;
        serde_json::from_str(&reply.text()).with_context(|| reply.text())
    }

    async fn claims(&mut self, tokens: &Value) -> Result<(Algorithm, Value)> {
        let token = tokens["id_token"].as_str().with_context(|| tokens.to_string())?;
        let keys: JwkSet = serde_json::from_str(&self.visitor.get(&self.endpoint("jwks_uri")).await?.text())?;
        let header = decode_header(token)?;
        let key = keys.find(&header.kid.context("a kid")?).context("the key is published")?;
        let mut validation = Validation::new(header.alg);
        validation.set_audience(&[CLIENT_ID]);
        validation.set_issuer(&[self.endpoint("issuer")]);
        let claims = decode::<Value>(token, &DecodingKey::from_jwk(key)?, &validation)?.claims;
        assert_eq!(claims["nonce"], "a-nonce");
        Ok((header.alg, claims))
    }

    async fn log_in(&mut self, scope: &str, account: &str, basic: bool) -> Result<(Algorithm, Value, Value)> {
        let query = self.come_back(scope, account).await?;
        assert_eq!(value_of(&query, "state").as_deref(), Some("a-state"));
        let tokens = self.redeem(&value_of(&query, "code").context("a code")?, basic).await?;
        let (algorithm, claims) = self.claims(&tokens).await?;
        Ok((algorithm, claims, tokens))
    }
}

#[test]
fn a_person_logs_in_at_a_provider_like_entra_and_graph_tells_the_groups() {
    run("entra-like", async |lab| {
        let groups = ["11111111-0000-4000-8000-000000000001", "11111111-0000-4000-8000-000000000002"];
        let ann = json!({"upn": "ann@example.test", "oid": "o-1", "tid": "a-tenant", "groups": groups});
        let config = ProviderConfig::entra(13000, 13001, "a-tenant", "entra")
            .with("ann", Account::saying(&ann).by(&["pwd", "mfa"]))
            .with("bob", Account::saying(&json!({"upn": "bob@example.test"})).in_too_many_groups(&groups));
        let mut provider = Provider::start(&lab, config).await?;
        assert_eq!(provider.issuer(), "http://127.0.0.1:13000/a-tenant/v2.0");
        let mut party = Party::new(provider.issuer(), "entra").await?;
        let scope = "openid profile email User.Read";
        let (algorithm, claims, _) = party.log_in(scope, "ann", true).await?;
        assert_eq!(algorithm, Algorithm::RS256);
        assert_eq!((&claims["sub"], &claims["upn"]), (&json!("ann"), &json!("ann@example.test")));
        assert_eq!((&claims["groups"], &claims["amr"]), (&json!(groups), &json!(["pwd", "mfa"])));
        assert_eq!((&claims["email"], &claims["tid"]), (&Value::Null, &json!("a-tenant")));
        // Whose groups are too many is told only where to ask.
        party.visitor.jar.clear();
        let (_, claims, tokens) = party.log_in(scope, "bob", true).await?;
        assert_eq!((&claims["groups"], &claims["_claim_names"]["groups"]), (&Value::Null, &json!("src1")));
        let graph = "http://127.0.0.1:13001/v1.0/me/getMemberObjects";
        let bearer = format!("Bearer {}", tokens["access_token"].as_str().context("a token")?);
        let body = br#"{"securityEnabledOnly":false}"#;
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
        let reply = party.visitor.ask("POST", graph, &headers, body).await?;
        assert_eq!(serde_json::from_str::<Value>(&reply.text())?["value"], json!(groups));
        assert_eq!(party.visitor.ask("POST", graph, &headers[1..], body).await?.status(), 401);
        assert_eq!(provider.graph_requests().await?, 2);
        // A new key, while somebody is on the way.
        party.visitor.jar.clear();
        let query = party.come_back(scope, "ann").await?;
        let kids = provider.rotate_keys(false).await?;
        let tokens = party.redeem(&value_of(&query, "code").context("a code")?, true).await?;
        let token = tokens["id_token"].as_str().context("a token")?;
        assert_eq!((kids.len(), decode_header(token)?.kid.as_ref()), (1, kids.first()));
        party.claims(&tokens).await?;
        assert_eq!(provider.rotate_keys(true).await?.len(), 2);
        Ok(())
    });
}

#[test]
fn the_provider_can_refuse_be_slow_silent_and_away() {
    run("provider-trouble", async |lab| {
        let account = Account::saying(&json!({"email": "ann@example.test", "email_verified": true, "name": "Ann"}));
        let mut config = ProviderConfig::new(13000, "keycloak").with("ann", account);
        config.consent = true;
        config.algorithm = "ES256".into();
        config.claims_by_userinfo = true;
        config.client_authentication = "client_secret_post".into();
        let mut provider = Provider::start(&lab, config).await?;
        let mut party = Party::new(provider.issuer(), "keycloak").await?;
        // Consent is asked for; refused, the person comes back with nothing but that.
        let scope = "openid email";
        let page = party.visitor.browse(&party.authorize(scope)).await?;
        let unknown = sign_in(&mut party.visitor, &page, "nobody").await?;
        assert_eq!(unknown.status(), 403);
        let page = sign_in(&mut party.visitor, &page, "ann").await?;
        let form = pressed(&page.text(), "answer", "refuse")?;
        let reply = party.visitor.submit(&page.url, &form).await?;
        let back = party.visitor.leads_to(reply, &callback("keycloak")).await?;
        assert_eq!(value_of(back.split_once('?').unwrap().1, "error").as_deref(), Some("access_denied"));
        // Given, it logs in; claims are then told by userinfo.
        party.visitor.jar.clear();
        let page = party.visitor.browse(&party.authorize(scope)).await?;
        let page = sign_in(&mut party.visitor, &page, "ann").await?;
        let form = pressed(&page.text(), "answer", "allow")?;
        let reply = party.visitor.submit(&page.url, &form).await?;
        let back = party.visitor.leads_to(reply, &callback("keycloak")).await?;
        let code = value_of(back.split_once('?').unwrap().1, "code").context("a code")?;
        let tokens = party.redeem(&code, false).await?;
        let (algorithm, claims) = party.claims(&tokens).await?;
        assert_eq!((algorithm, &claims["email"]), (Algorithm::ES256, &Value::Null));
        let bearer = format!("Bearer {}", tokens["access_token"].as_str().context("a token")?);
        let url = party.endpoint("userinfo_endpoint");
        let more = party.visitor.ask("GET", &url, &[("Authorization", &bearer)], b"").await?;
        let more: Value = serde_json::from_str(&more.text())?;
        assert_eq!((&more["email"], &more["email_verified"]), (&json!("ann@example.test"), &json!(true)));
        // Late, silent, away, back.
        let jwks = party.endpoint("jwks_uri");
        provider.slow_down("/jwks", 300).await?;
        let begun = std::time::Instant::now();
        assert_eq!(party.visitor.get(&jwks).await?.status(), 200);
        assert!(begun.elapsed().as_millis() >= 300);
        provider.hang("/jwks").await?;
        let waiting = tokio::time::timeout(std::time::Duration::from_millis(500), party.visitor.get(&jwks));
        assert!(waiting.await.is_err());
        provider.stop().await?;
        assert!(party.visitor.get(&jwks).await.is_err());
        provider.recover().await?;
        provider.resume().await?;
        assert_eq!(party.visitor.get(&jwks).await?.status(), 200);
        assert_eq!(provider.requests("/jwks").await?, 4);
        Ok(())
    });
}

#[test]
fn every_algorithm_that_providers_sign_by_is_there_and_a_browser_can_log_in() {
    run("provider-algorithms", async |lab| {
        for (port, name, algorithm) in
            [(13000, "PS256", Algorithm::PS256), (13001, "EdDSA", Algorithm::EdDSA), (13002, "ES256", Algorithm::ES256)]
        {
            let mut config = ProviderConfig::google(port, "google");
            config.algorithm = name.into();
            let ann = json!({"email": "ann@example.test", "email_verified": false, "hd": "example.test"});
            let provider = Provider::start(&lab, config.with("ann", Account::saying(&ann))).await?;
            let mut party = Party::new(provider.issuer(), "google").await?;
            let (used, claims, _) = party.log_in("openid email", "ann", true).await?;
            assert_eq!((used, &claims["email_verified"], &claims["hd"]), (algorithm, &json!(false), &ann["hd"]));
            if algorithm == Algorithm::ES256 {
                let mut browser = Browser::start(&lab, BrowserOptions::default()).await?;
                browser.open(&party.authorize("openid")).await?;
                browser.fill("account", "ann").await?;
                // Nobody listens where the person is sent back to; what matters is that the provider sends them.
                let script = "const asked = page.waitForRequest(/access\\.example\\.test/); \
                    await page.locator('[value=login]').click({ noWaitAfter: true }); return (await asked).url()";
                let url = browser.script(script, Value::Null).await?;
                assert!(
                    url.as_str().is_some_and(|url| url.starts_with(&callback("google")) && url.contains("code=")),
                    "{url}"
                );
            }
        }
        Ok(())
    });
}

/// A client of the server that is like GitHub: gives the token's answer.
async fn token(visitor: &mut Visitor, github: &GitHub, account: &str, scope: &str) -> Result<Value> {
    let challenge = base64(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, VERIFIER.as_bytes()).as_ref());
    let parameters = [
        ("client_id", CLIENT_ID),
        ("redirect_uri", &callback("github")),
        ("scope", scope),
        ("state", "a-state"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    let page = visitor.get(&format!("{}/login/oauth/authorize?{}", github.url(), encoded(&parameters))).await?;
    let form = pressed(&page.text(), "answer", "login")?.with("account", account);
    let reply = visitor.submit(&page.url, &form).await?;
    let back = visitor.leads_to(reply, &callback("github")).await?;
    let code = value_of(back.split_once('?').context("a query")?.1, "code").context("a code")?;
    let form = [
        ("client_id", CLIENT_ID),
        ("client_secret", CLIENT_SECRET),
        ("code", &code),
        ("redirect_uri", &callback("github")),
        ("code_verifier", VERIFIER),
    ];
    let url = format!("{}/login/oauth/access_token", github.url());
    let reply = visitor.ask("POST", &url, &[FORM, ("Accept", "application/json")], encoded(&form).as_bytes()).await?;
    Ok(serde_json::from_str(&reply.text())?)
}

#[test]
fn a_person_logs_in_at_a_server_like_github_whose_lists_have_pages() {
    run("github-like", async |_| {
        let github = GitHub::start("127.0.0.1:13002".parse()?, (CLIENT_ID, CLIENT_SECRET)).await?;
        let organizations: Vec<_> = (0..5).map(|n| format!("org-{n}")).collect();
        let person = Person {
            id: 4711,
            name: "Ann".into(),
            emails: vec![
                ("ann@old.example".into(), false, false),
                ("ann@example.test".into(), true, true),
                ("ann@more.example".into(), false, true),
            ],
            organizations: organizations.clone(),
            teams: vec![("org-4".into(), "ops".into())],
        };
        github.person("ann", person);
        let mut visitor = nobody();
        let tokens = token(&mut visitor, &github, "ann", "read:user user:email read:org").await?;
        let bearer = format!("Bearer {}", tokens["access_token"].as_str().with_context(|| tokens.to_string())?);
        let headers = [("Authorization", bearer.as_str())];
        let me = visitor.ask("GET", &format!("{}/user", github.api()), &headers, b"").await?;
        assert_eq!(serde_json::from_str::<Value>(&me.text())?["id"], 4711);
        // Page after page, by the links.
        let (mut url, mut seen, mut pages) = (format!("{}/user/orgs", github.api()), Vec::new(), 0);
        loop {
            let reply = visitor.ask("GET", &url, &headers, b"").await?;
            let list: Vec<Value> = serde_json::from_str(&reply.text())?;
            seen.extend(list.iter().map(|one| one["login"].as_str().unwrap_or_default().to_owned()));
            pages += 1;
            let next = reply.header("link").and_then(|link| link.split(',').find(|one| one.contains("rel=\"next\"")));
            match next.and_then(|link| link.split(['<', '>']).nth(1)) {
                Some(next) => url = next.to_owned(),
                None => break,
            }
            if pages > 9 {
                bail!("there is no end to {url}");
            }
        }
        assert_eq!((pages, seen), (3, organizations));
        let teams = visitor.ask("GET", &format!("{}/user/teams?per_page=100", github.api()), &headers, b"").await?;
        assert_eq!(serde_json::from_str::<Value>(&teams.text())?[0]["organization"]["login"], "org-4");
        assert!(teams.header("link").is_none());
        // What was not asked for is not told; what does not fit is not taken.
        let less = token(&mut visitor, &github, "ann", "read:user").await?;
        let bearer = format!("Bearer {}", less["access_token"].as_str().context("a token")?);
        let emails = format!("{}/user/emails", github.api());
        assert_eq!(visitor.ask("GET", &emails, &[("Authorization", &bearer)], b"").await?.status(), 404);
        assert_eq!(visitor.ask("GET", &emails, &[], b"").await?.status(), 401);
        let asked = github.asked_for("/login/oauth/access_token");
        let url = format!("{}/login/oauth/access_token", github.url());
        let again = visitor.ask("POST", &url, &[FORM], asked[0].body.as_bytes()).await?;
        assert_eq!((again.status(), again.text().contains("error=bad_verification_code")), (200, true));
        github.trick(Trick::Endless);
        let reply = visitor.ask("GET", &format!("{}/user/orgs?page=99", github.api()), &headers, b"").await?;
        assert!(reply.header("link").is_some_and(|link| link.contains("page=100")));
        // Who refuses comes back with that.
        let back = "redirect_uri=http://127.0.0.1:13002/back";
        let url = format!("{}/login/oauth/authorize?client_id={CLIENT_ID}&{back}", github.url());
        let page = visitor.get(&url).await?;
        let reply = answer(&mut visitor, &page, "refuse").await?;
        assert!(reply.url.contains("error=access_denied"), "{}", reply.url);
        Ok(())
    });
}
