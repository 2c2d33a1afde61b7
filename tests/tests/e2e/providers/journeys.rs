//! A person logs in at a certified provider, in a real browser, and comes back to where they were going.

use anyhow::Result;
use serde_json::{Value, json};
use tunnel_tests::{
    Browser, Lab, Provider, ProviderConfig, Stage,
    browser::BrowserOptions,
    canary::SONG,
    edge::LOGIN_HOST,
    html::words,
    provider::{Account, sign_in},
    run,
    stage::{APP, WWW},
    visitor::origin_of,
};

use super::{
    DEEP, HERE, access, assert_arrived, assert_failed, asserted, audited, declared, logged_in, method, oidc, pin, set,
    stranger,
};

/// The tenant of the provider that is like Entra.
pub(super) const TENANT: &str = "0a1b2c3d-0000-4000-8000-00000000beef";
/// The group whose members are admitted.
pub(super) const GROUP: &str = "5a5a5a5a-1111-4000-8000-00000000cafe";
/// Another group.
pub(super) const OTHER_GROUP: &str = "5a5a5a5a-2222-4000-8000-00000000f00d";

/// A provider like Entra ID: nobody has an e-mail claim, everybody a `upn`, some are in too many groups.
pub(super) fn entra() -> ProviderConfig {
    let person = |upn: &str| json!({"upn": upn, "preferred_username": upn, "oid": format!("oid-{upn}"), "tid": TENANT, "name": "Ann Example"});
    let mut ann = person("ann@example.test");
    ann["groups"] = json!([OTHER_GROUP, GROUP]);
    let mut bob = person("bob@example.test");
    bob["groups"] = json!([OTHER_GROUP]);
    ProviderConfig::entra(13000, 13001, TENANT, "entra")
        .with("ann", Account::saying(&ann).by(&["pwd", "mfa"]))
        .with("bob", Account::saying(&bob).by(&["pwd"]))
        .with("many", Account::saying(&person("many@example.test")).in_too_many_groups(&[OTHER_GROUP, GROUP]))
        .with("other", Account::saying(&person("other@example.test")).in_too_many_groups(&[OTHER_GROUP]))
}

/// The login method for it.
pub(super) fn entra_method(lab: &Lab) -> Result<String> {
    let more = format!(
        "tenant: {TENANT}, groups: true, authority: \"http://127.0.0.1:13000\", graph: \"http://127.0.0.1:13001\", {HERE}"
    );
    method(lab, "entra", "entra", &more)
}

/// A policy that admits the members of [`GROUP`].
pub(super) fn group_policy() -> String {
    format!("  - {{name: members, action: allow, include: [{{idp_group: {GROUP}}}]}}\n")
}

async fn browser(lab: &Lab, stage: &Stage) -> Result<Browser> {
    Browser::start(lab, BrowserOptions { ca: Some(stage.ca.clone()), ..Default::default() }).await
}

/// What the browser's console said about policies of ours that its pages broke.
async fn violations(browser: &mut Browser) -> Result<Vec<String>> {
    Ok(browser.complaints().await?.into_iter().filter(|complaint| complaint.contains("Security Policy")).collect())
}

/// Entra ID: one method, so that no page of ours is in the way; the deep link is kept; `upn` is the address; groups, also
/// those that do not fit into a token, decide.
#[test]
fn a_person_logs_in_at_a_provider_like_entra_and_groups_decide() {
    run("entra", async |lab| {
        let mut provider = Provider::start(&lab, entra()).await?;
        let apps = [("www", "", "members"), ("app", "", "members")];
        let stage = set(&lab, &declared(&[entra_method(&lab)?], &group_policy(), &apps)).await?;
        let mut browser = browser(&lab, &stage).await?;
        let deep = "https://www.example.test/deep/page?from=mail&n=%E3%81%82#part";
        browser.open(deep).await?;
        let url = browser.url().await?;
        assert!(url.starts_with(&format!("{}/interaction/", provider.issuer())), "straight to the provider: {url}");
        stage.assert_silence("nobody is logged in yet");
        browser.fill("account", "ann").await?;
        browser.press("[value=login]").await?;
        browser.arrives("https://www.example.test/deep/page*").await?;
        assert_eq!(browser.text().await?, SONG);
        // Which comes last, the page or its icon, is the browser's to say.
        let heads = stage.www.heads();
        assert!(heads.iter().any(|head| head.target() == "/deep/page?from=mail&n=%E3%81%82"), "{heads:?}");
        let claims = asserted(&stage, "ann@example.test").await?;
        assert!(claims["groups"].is_null(), "groups are for deciding, unless somebody asks for them: {claims}");
        // Another application of the zone asks nobody again.
        assert_eq!(browser.open(&format!("https://{APP}/")).await?, 200);
        assert_eq!(browser.text().await?, SONG);
        assert_eq!(violations(&mut browser).await?, [""; 0], "no policy of our pages was violated");
        let cookies =
            browser.script("return await context.cookies('https://access.example.test/')", Value::Null).await?;
        for cookie in cookies.as_array().unwrap() {
            let flags =
                (&cookie["httpOnly"], &cookie["secure"], cookie["name"].as_str().unwrap().starts_with("__Host-"));
            assert_eq!(flags, (&json!(true), &json!(true), true), "{cookie}");
        }
        assert_eq!(provider.graph_requests().await?, 0, "whose groups are in the token is not asked about");
        // The others without a browser: who is not in the group, and who is in so many that Graph has to be asked.
        for (account, status, asked) in [("bob", 403, 0), ("many", 200, 1), ("other", 403, 2)] {
            stage.www.forget();
            let mut visitor = stranger(&stage)?;
            let page = visitor.browse(DEEP).await?;
            let reply = sign_in(&mut visitor, &page, account).await?;
            assert_eq!(reply.status(), status, "{account}: {}", words(&reply.text()));
            assert_eq!(stage.www.bytes() > 0, status == 200, "{account}");
            assert_eq!(provider.graph_requests().await?, asked, "{account}");
        }
        // Without Graph's answer nobody knows their groups: they get in nowhere that asks, and are told to try again.
        provider.hang("graph-error").await?;
        stage.www.forget();
        let mut visitor = stranger(&stage)?;
        let page = visitor.browse(DEEP).await?;
        let reply = sign_in(&mut visitor, &page, "many").await?;
        assert_failed(&visitor, &reply, &[502, 503], "entra");
        audited(&stage.edge, 0, "entra", &["graph", "group"]).await?;
        assert_eq!(stage.www.bytes(), 0);
        Ok(())
    });
}

/// Entra ID: which claim is the address: the configured one, then `email`, then `upn`, and never a name that people choose.
#[test]
fn the_address_of_a_person_at_entra_is_in_the_claim_that_was_configured() {
    run("entra-claims", async |lab| {
        let both = json!({"upn": "upn@example.test", "email": "mail@example.test", "preferred_username": "name@example.test",
            "mailbox": "box@example.test", "tid": TENANT});
        let without = |names: &[&str]| {
            let mut left = both.clone();
            names.iter().for_each(|name| drop(left.as_object_mut().unwrap().remove(*name)));
            Account::saying(&left)
        };
        let config = ProviderConfig::entra(13000, 13001, TENANT, "entra")
            .with("all", without(&[]))
            .with("upn", without(&["email"]))
            .with("name", without(&["email", "upn"]))
            .with("box", without(&["email", "upn", "preferred_username"]))
            .with("guest", Account::saying(&json!({"tid": TENANT, "acct": 1, "email": "staff@example.test"})))
            .with("social", Account::saying(&json!({"tid": TENANT, "idp": "live.com", "email": "staff@example.test"})))
            .with("stray", Account::saying(&json!({"tid": "another-tenant", "upn": "staff@example.test"})));
        let _provider = Provider::start(&lab, config).await?;
        let plain = entra_method(&lab)?;
        let configured = plain.replace("groups: true", "groups: true, email_claim: mailbox");
        let stage = set(&lab, &access(&[plain])).await?;
        let come = async |account: &str| {
            let mut visitor = stranger(&stage)?;
            let page = visitor.browse(DEEP).await?;
            let reply = sign_in(&mut visitor, &page, account).await?;
            anyhow::Ok((visitor, reply))
        };
        for (account, email) in [("all", "mail"), ("upn", "upn")] {
            let (_, reply) = come(account).await?;
            assert_arrived(&reply, DEEP);
            asserted(&stage, &format!("{email}@example.test")).await?;
        }
        // Nobody has an address in a claim that was not named; a guest's is the word of another organisation; another
        // tenant's people are not this one's.
        for account in ["name", "box", "guest", "social", "stray"] {
            let (visitor, reply) = come(account).await?;
            assert_failed(&visitor, &reply, &[400, 401, 403], "entra");
        }
        stage.edge.apply(&access(&[configured])).await?;
        let (_, reply) = come("all").await?;
        assert_arrived(&reply, DEEP);
        asserted(&stage, "box@example.test").await?;
        let (_, reply) = come("upn").await?;
        assert_arrived(&reply, DEEP);
        Ok(())
    });
}

/// Google: an unverified address is refused with a page, a verified one of the hosted domain admitted, others not, in a real
/// browser, beside the PIN; and back in the browser's history nothing breaks.
#[test]
fn a_person_logs_in_at_a_provider_like_google_if_the_address_is_verified_and_the_domain_right() {
    run("google", async |lab| {
        let person = |email: &str, verified: bool, hd: Option<&str>| {
            let mut claims = json!({"email": email, "email_verified": verified});
            if let Some(hd) = hd {
                claims["hd"] = json!(hd);
            }
            Account::saying(&claims)
        };
        let config = ProviderConfig::google(13000, "google")
            .with("ann", person("ann@example.test", true, Some("example.test")))
            .with("unverified", person("unverified@example.test", false, Some("example.test")))
            .with("elsewhere", person("elsewhere@example.test", true, Some("example.com")))
            .with("private", person("private@example.test", true, None))
            .with("case", person("case@example.test", true, Some("Example.Test")))
            .with("longer", person("longer@example.test", true, Some("example.test.evil.test")));
        let provider = Provider::start(&lab, config).await?;
        let google = format!("issuer: \"{}\", hosted_domain: example.test, {HERE}", provider.issuer());
        let stage = set(&lab, &access(&[pin(), method(&lab, "google", "google", &google)?])).await?;
        let mut browser = browser(&lab, &stage).await?;
        browser.open(DEEP).await?;
        assert!(browser.url().await?.starts_with(&format!("https://{LOGIN_HOST}/.access/login")), "two ways: a page");
        // The form for the PIN beside it must not stand in the way.
        browser.press("button[name=method][value=google]").await?;
        browser.arrives("http://127.0.0.1:13000/interaction/*").await?;
        // Changes their mind, twice.
        browser.script("await page.goBack()", Value::Null).await?;
        assert!(browser.url().await?.starts_with(&format!("https://{LOGIN_HOST}/.access/login")));
        browser.press("button[name=method][value=google]").await?;
        browser.fill("account", "unverified").await?;
        browser.press("[value=login]").await?;
        browser.arrives("https://access.example.test/**").await?;
        let text = browser.text().await?;
        assert!(text.to_lowercase().contains("google") && text.contains("verif"), "{text}");
        stage.assert_silence("not verified");
        // At the provider that account is remembered; the other one signs in in a fresh browser.
        browser.script("await context.clearCookies()", Value::Null).await?;
        browser.open(DEEP).await?;
        browser.press("button[name=method][value=google]").await?;
        browser.fill("account", "ann").await?;
        browser.press("[value=login]").await?;
        browser.arrives("https://www.example.test/deep/page*").await?;
        assert_eq!(browser.text().await?, SONG);
        asserted(&stage, "ann@example.test").await?;
        // The login page in the history leads on to the application, and the callback of before does no harm.
        browser.script("await page.goBack()", Value::Null).await?;
        browser.open(&format!("https://{WWW}/")).await?;
        assert_eq!(browser.text().await?, SONG);
        assert_eq!(violations(&mut browser).await?, [""; 0], "no policy of our pages was violated");
        for (account, admitted) in [
            ("ann", true),
            ("case", true),
            ("elsewhere", false),
            ("private", false),
            ("longer", false),
            ("unverified", false),
        ] {
            stage.www.forget();
            let mut visitor = stranger(&stage)?;
            let page = visitor.browse(DEEP).await?;
            let page = super::choose(&mut visitor, &page, "google").await?;
            let reply = sign_in(&mut visitor, &page, account).await?;
            if admitted {
                assert_arrived(&reply, DEEP);
            } else {
                assert_failed(&visitor, &reply, &[400, 401, 403], "google");
            }
            assert_eq!(stage.www.bytes() > 0, admitted, "{account}");
        }
        audited(&stage.edge, 0, "google", &["verif"]).await?;
        audited(&stage.edge, 0, "google", &["domain", "hd"]).await?;
        Ok(())
    });
}

/// Every algorithm that providers sign by, secrets shown either way, and claims that only userinfo tells.
#[test]
fn providers_differ_and_people_log_in_all_the_same() {
    run("kinds", async |lab| {
        let ann = Account::saying(&json!({"email": "ann@example.test", "email_verified": true, "groups": ["staff"]}));
        let mut methods = Vec::new();
        let mut providers = Vec::new();
        for (port, kind, algorithm, authentication, by_userinfo) in [
            (13010, "keycloak", "RS256", "client_secret_basic", false),
            (13011, "okta", "ES256", "client_secret_post", false),
            (13012, "auth0", "PS256", "client_secret_post", true),
            (13013, "gitlab", "EdDSA", "client_secret_basic", true),
        ] {
            let mut config = ProviderConfig::new(port, kind).with("ann", ann.clone());
            config.algorithm = algorithm.into();
            config.client_authentication = authentication.into();
            config.claims_by_userinfo = by_userinfo;
            if kind == "auth0" {
                // It writes its issuer with a slash at the end.
                config.path = "/".into();
            }
            let provider = Provider::start(&lab, config).await?;
            methods.push(method(&lab, kind, kind, &format!("issuer: \"{}\", {HERE}", provider.issuer()))?);
            providers.push((kind, provider));
        }
        let stage = set(&lab, &access(&methods)).await?;
        for (kind, provider) in &providers {
            let mut visitor = stranger(&stage)?;
            let page = visitor.browse(DEEP).await?;
            let page = super::choose(&mut visitor, &page, kind).await?;
            assert!(
                page.url.starts_with(&origin_of(provider.issuer())),
                "{kind}: {} {}",
                page.url,
                words(&page.text())
            );
            let reply = sign_in(&mut visitor, &page, "ann").await?;
            assert_eq!(reply.url, DEEP, "{kind}: {}", words(&reply.text()));
            assert_arrived(&reply, DEEP);
            asserted(&stage, "ann@example.test").await?;
            let identity = visitor.get(&format!("https://{WWW}/.access/identity")).await?;
            assert!(identity.text().contains(&format!("\"{kind}\"")), "{}", identity.text());
        }
        Ok(())
    });
}

/// A secret may come from the environment of whoever declares; what cannot be read is an error there.
#[test]
fn the_secret_comes_from_a_file_or_the_environment_of_whoever_applies() {
    run("secret", async |lab| {
        let ann = Account::saying(&json!({"email": "ann@example.test", "email_verified": true}));
        let provider = Provider::start(&lab, ProviderConfig::new(13000, "keycloak").with("ann", ann)).await?;
        let by_file = oidc(&lab, "keycloak", provider.issuer())?;
        let stage = set(&lab, &access(std::slice::from_ref(&by_file))).await?;
        let start = by_file.find("{file:").unwrap();
        let end = start + by_file[start..].find('}').unwrap() + 1;
        let by_env = format!("{}{{env: KEYCLOAK_SECRET}}{}", &by_file[..start], &by_file[end..]);
        let file = lab.write("env.yaml", &access(&[by_env]))?;
        let arguments = ["apply", "-f", &file.to_string_lossy()];
        let refused = stage.edge.run(&arguments).await?;
        assert!(refused.code != 0 && refused.said().contains("KEYCLOAK_SECRET"), "{}", refused.said());
        let mut command = tunnel_tests::Edge::command(&lab, &arguments)?;
        command.env("KEYCLOAK_SECRET", tunnel_tests::provider::CLIENT_SECRET);
        let applied = tunnel_tests::process::finish(command).await?;
        assert_eq!(applied.code, 0, "{}", applied.said());
        let mut visitor = stranger(&stage)?;
        let page = visitor.browse(DEEP).await?;
        assert_arrived(&sign_in(&mut visitor, &page, "ann").await?, DEEP);
        assert!(logged_in(&visitor));
        // Nothing says it again: what was applied, what is exported, what is logged, what lies on disk in the clear.
        let exported = stage.edge.run(&["export"]).await?.ok()?;
        let secret = tunnel_tests::provider::CLIENT_SECRET;
        for said in [applied.said(), exported.clone(), stage.edge.process.log.text()] {
            assert!(!said.contains(secret), "{said}");
        }
        for entry in std::fs::read_dir(stage.edge.data_dir())? {
            let path = entry?.path();
            if path.is_file() {
                let bytes = std::fs::read(&path)?;
                assert!(tunnel_tests::raw::find(&bytes, secret.as_bytes()).is_none(), "{}", path.display());
            }
        }
        // What is exported can be applied again, and the secret stays what it was.
        assert!(exported.contains("unchanged: true"), "{exported}");
        stage.edge.apply(&exported).await?;
        let mut visitor = stranger(&stage)?;
        let page = visitor.browse(DEEP).await?;
        assert_arrived(&sign_in(&mut visitor, &page, "ann").await?, DEEP);
        Ok(())
    });
}
