//! Passkeys, with Chromium and its virtual authenticator.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tunnel_tests::{
    Browser, Canary, Connector, Edge, EdgeConfig, Lab, Process, Stage,
    browser::BrowserOptions,
    canary::{After, Head, SONG, page},
    edge::{LOGIN_HOST, listens},
    process::{finish, program},
    run,
    stage::{APP, STAFF, WWW},
};

const GUEST: &str = "guest@example.test";

/// Nobody but who has a passkey, and no mail server.
const ONLY_PASSKEYS: &str = "\
login_methods:
  - {name: passkey, type: passkey}
policies:
  - name: everybody-here
    action: allow
    include: [{email_domain: example.test}]
applications:
  - {name: www, hostnames: [www.example.test], policies: [everybody-here]}
";

/// One application for everybody, and one for whoever comes by a passkey.
const BOTH: &str = "\
login_methods:
  - {name: pin, type: one_time_pin}
  - {name: passkey, type: passkey}
policies:
  - name: everybody-here
    action: allow
    include: [{email_domain: example.test}]
  - name: by-passkey
    action: allow
    include: [{email_domain: example.test}]
    require: [{login_method: passkey}]
applications:
  - {name: www, hostnames: [www.example.test], policies: [everybody-here]}
  - {name: app, hostnames: [app.example.test], policies: [by-passkey]}
";

async fn browser(lab: &Lab, ca: &str) -> Result<Browser> {
    Browser::start(lab, BrowserOptions { ca: Some(ca.to_owned()), ..Default::default() }).await
}

/// Plugs an authenticator into the browser's page, which makes sure of its user; gives what names it.
async fn plug_in(browser: &mut Browser, options: Value) -> Result<String> {
    let script = "
        globalThis.cdp ??= await context.newCDPSession(page);
        await cdp.send('WebAuthn.enable');
        const options = { protocol: 'ctap2', transport: 'internal', hasResidentKey: true, hasUserVerification: true,
            isUserVerified: true, ...args };
        return (await cdp.send('WebAuthn.addVirtualAuthenticator', { options })).authenticatorId";
    let id = browser.script(script, options).await?;
    Ok(id.as_str().context("an authenticator")?.to_owned())
}

async fn devtools(browser: &mut Browser, method: &str, params: Value) -> Result<Value> {
    let script =
        "globalThis.cdp ??= await context.newCDPSession(page); return await cdp.send(args.method, args.params)";
    browser.script(script, json!({"method": method, "params": params})).await
}

async fn forget_cookies(browser: &mut Browser) -> Result<()> {
    browser.script("await context.clearCookies()", Value::Null).await.map(drop)
}

/// Presses the button of the passkey form, and waits until the address shown matches.
pub(super) async fn use_passkey(browser: &mut Browser, arrives: &str) -> Result<()> {
    let script = "await page.locator('form[data-passkey] button, form[data-passkey-add] button').click();
        await page.waitForURL(args.url)";
    browser.script(script, json!({"url": arrives})).await.map(drop)
}

/// Presses it, and gives what the page says instead of going on.
async fn refused(browser: &mut Browser) -> Result<String> {
    let script = "await page.locator('form[data-passkey] button, form[data-passkey-add] button').click();
        return await page.locator('[role=status] .error').innerText()";
    Ok(browser.script(script, Value::Null).await?.as_str().unwrap_or_default().to_owned())
}

/// Logs in by a code, from the login page that `url` leads to.
async fn log_in_by_pin(browser: &mut Browser, stage: &Stage, url: &str) -> Result<()> {
    browser.open(url).await?;
    browser.fill("email", STAFF).await?;
    browser.press("button[value=pin]").await?;
    let code = stage.smtp.mail_to(STAFF, 1).await?.pin()?;
    browser.fill("code", &code).await?;
    browser.press("form:has([name=code]) button").await?;
    browser.arrives(url).await
}

pub(super) async fn no_policy_was_violated(browser: &mut Browser) -> Result<()> {
    let complaints = browser.complaints().await?;
    let of_policy: Vec<_> = complaints.iter().filter(|text| text.contains("Security Policy")).collect();
    assert!(of_policy.is_empty(), "{of_policy:?}");
    Ok(())
}

/// The link that a command prints, alone on standard output.
async fn link(edge: &Edge, words: &[&str]) -> Result<String> {
    let printed = edge.run(words).await?.ok()?.trim().to_owned();
    assert!(printed.starts_with(&format!("https://{LOGIN_HOST}/.access/invite?token=")), "{printed}");
    Ok(printed)
}

/// No provider and no mail server: a link, a passkey, the application; and the next time the passkey alone.
#[test]
fn who_is_invited_joins_by_a_passkey_and_comes_back_by_it_until_it_is_deleted() {
    run("invited", async |lab| {
        let edge = Edge::with_access(&lab, EdgeConfig::default(), ONLY_PASSKEYS).await?;
        let www = Canary::start().await?;
        let _connector = Connector::publish(&lab, WWW, &www.url()).await?;
        let invitation = link(&edge, &["admin", "user", "invite", GUEST, "--name", "Gil"]).await?;
        let mut browser = browser(&lab, &edge.ca().await?).await?;
        plug_in(&mut browser, json!({})).await?;
        assert_eq!(browser.open(&invitation).await?, 200);
        let text = browser.text().await?;
        assert!(text.contains("Gil") && text.contains(GUEST), "{text}");
        use_passkey(&mut browser, &format!("https://{LOGIN_HOST}/.access/account")).await?;
        let text = browser.text().await?;
        assert!(text.contains(GUEST) && text.contains("This browser"), "{text}");
        browser.open(&format!("https://{WWW}/deep")).await?;
        assert_eq!(browser.text().await?, SONG, "who has joined is logged in");
        // The link worked once.
        assert_eq!(browser.open(&invitation).await?, 410);
        assert!(browser.text().await?.contains("no longer works"), "{}", browser.text().await?);

        // The next day, in a browser that remembers nothing but the passkey.
        forget_cookies(&mut browser).await?;
        browser.open(&format!("https://{WWW}/deep?x=1")).await?;
        let text = browser.text().await?;
        assert!(text.contains("Sign in with a passkey") && !text.contains("E-mail"), "the one way there is: {text}");
        use_passkey(&mut browser, &format!("https://{WWW}/deep?x=1")).await?;
        assert_eq!(browser.text().await?, SONG);

        let listed = edge.run(&["admin", "user", "list", "--json"]).await?.ok()?;
        let listed: Value = serde_json::from_str(&listed)?;
        assert_eq!((&listed[0]["email"], &listed[0]["passkeys"]), (&json!(GUEST), &json!(1)), "{listed}");
        assert!(listed[0]["used"].is_u64() && listed[0]["invited_until"].is_null(), "{listed}");

        // Deleted by the person, on a page that asks.
        browser.open(&format!("https://{LOGIN_HOST}/.access/account")).await?;
        browser.press("a[href*='/.access/account/delete']").await?;
        assert!(browser.text().await?.contains("only passkey"), "{}", browser.text().await?);
        browser.press("button.bad").await?;
        browser.arrives(&format!("https://{LOGIN_HOST}/.access/account")).await?;
        assert!(browser.text().await?.contains("No passkey on this account yet"), "{}", browser.text().await?);
        forget_cookies(&mut browser).await?;
        www.forget();
        browser.open(&format!("https://{WWW}/")).await?;
        let said = refused(&mut browser).await?;
        assert!(said.contains("not accepted"), "{said}");
        www.assert_heard_nothing("a deleted passkey opens nothing");

        // A new link for the same person; then they are removed, and with them what they had opened.
        let again = link(&edge, &["admin", "user", "reset", GUEST]).await?;
        browser.open(&again).await?;
        use_passkey(&mut browser, &format!("https://{LOGIN_HOST}/.access/account")).await?;
        browser.open(&format!("https://{WWW}/")).await?;
        assert_eq!(browser.text().await?, SONG);
        let removed = edge.run(&["admin", "user", "remove", GUEST]).await?.ok()?;
        assert!(removed.contains("passkeys deleted: 1, sessions ended: 2"), "{removed}");
        www.forget();
        browser.open(&format!("https://{WWW}/")).await?;
        assert!(browser.url().await?.starts_with(&format!("https://{LOGIN_HOST}/.access/login")));
        www.assert_heard_nothing("who was removed is logged out");
        let audit = edge.run(&["admin", "audit", "-n", "1000"]).await?.ok()?;
        for event in ["user_invited", "passkey_added", "passkey_removed", "login_failed", "user_removed"] {
            assert!(audit.contains(event), "{event} in:\n{audit}");
        }
        no_policy_was_violated(&mut browser).await
    });
}

/// Anybody who has logged in adds a passkey, and a policy can require one.
#[test]
fn a_passkey_that_was_added_after_a_pin_opens_what_asks_for_one() {
    run("added", async |lab| {
        let stage = Stage::with(&lab, BOTH, Canary::start().await?).await?;
        let mut browser = browser(&lab, &stage.ca).await?;
        // One that is synced, as telephones have it.
        plug_in(&mut browser, json!({"defaultBackupEligibility": true, "defaultBackupState": true})).await?;
        log_in_by_pin(&mut browser, &stage, &format!("https://{WWW}/")).await?;
        stage.app.forget();
        assert_eq!(browser.open(&format!("https://{APP}/")).await?, 403, "a PIN is not what the policy asks for");
        stage.app.assert_heard_nothing("not by PIN");

        browser.open(&format!("https://{LOGIN_HOST}/.access/account")).await?;
        browser.press("a[href*='/.access/account/passkey']").await?;
        browser.fill("label", "My telephone").await?;
        use_passkey(&mut browser, &format!("https://{LOGIN_HOST}/.access/account")).await?;
        let text = browser.text().await?;
        assert!(text.contains("My telephone") && text.contains("never"), "{text}");
        // The same device has it already.
        browser.open(&format!("https://{LOGIN_HOST}/.access/account/passkey")).await?;
        let said = refused(&mut browser).await?;
        assert!(said.contains("has a passkey for this account already"), "{said}");

        forget_cookies(&mut browser).await?;
        browser.open(&format!("https://{APP}/x")).await?;
        let text = browser.text().await?;
        assert!(text.contains("Passkey") && text.contains("or by e-mail"), "{text}");
        use_passkey(&mut browser, &format!("https://{APP}/x")).await?;
        assert_eq!(browser.text().await?, SONG);
        assert!(stage.app.heard(STAFF), "the service knows who it is");
        no_policy_was_violated(&mut browser).await
    });
}

/// An answer that begins, and never ends.
fn endless(head: &Head) -> (Vec<u8>, After) {
    if head.target() != "/endless" {
        return (page(SONG), After::KeepAlive);
    }
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: 1000000\r\n\r\n";
    (format!("{head}{}", "x".repeat(8192)).into_bytes(), After::Silence)
}

/// S5, S10: whoever read a mailbox for a while and left a passkey behind is out, though nobody invited them.
#[test]
fn what_a_passkey_has_open_ends_within_a_second_when_an_administrator_removes_it() {
    run("taken-away", async |lab| {
        let stage = Stage::with(&lab, BOTH, Canary::answering(Arc::new(endless)).await?).await?;
        let mut browser = browser(&lab, &stage.ca).await?;
        plug_in(&mut browser, json!({})).await?;
        let www = format!("https://{WWW}/");
        log_in_by_pin(&mut browser, &stage, &www).await?;
        browser.open(&format!("https://{LOGIN_HOST}/.access/account/passkey")).await?;
        browser.fill("label", "Not hers").await?;
        use_passkey(&mut browser, &format!("https://{LOGIN_HOST}/.access/account")).await?;
        let link = "return await page.locator(\"a[href*='/.access/account/delete']\").getAttribute('href')";
        let link = browser.script(link, Value::Null).await?;
        forget_cookies(&mut browser).await?;
        browser.open(&www).await?;
        use_passkey(&mut browser, &www).await?;
        let read = "
            globalThis.reading = page.evaluate(async () => {
                const reader = (await fetch('/endless')).body.getReader();
                await reader.read();
                globalThis.begun = true;
                try { while (!(await reader.read()).done); return 'whole'; } catch { return 'cut'; }
            });
            await page.waitForFunction(() => globalThis.begun)";
        browser.script(read, Value::Null).await?;

        let listed = stage.edge.run(&["admin", "passkey", "list", STAFF, "--json"]).await?.ok()?;
        let listed: Value = serde_json::from_str(&listed)?;
        assert_eq!(listed["truncated"], json!(false), "{listed}");
        let listed = &listed["passkeys"];
        assert_eq!((&listed[0]["label"], &listed[0]["method"]), (&json!("Not hers"), &json!("pin")), "{listed}");
        assert_eq!((&listed[0]["email"], &listed[0]["issuer"]), (&json!(STAFF), &json!("mailbox")), "{listed}");
        let id = listed[0]["id"].as_str().context("a number")?.to_owned();
        assert!(link.as_str().is_some_and(|link| link.contains(&format!("id={id}"))), "{link} names {id}");
        let prefix = id.get(..12).context("twelve digits")?;
        let removed = stage.edge.run(&["admin", "passkey", "remove", STAFF, prefix]).await?.ok()?;
        assert!(removed.contains("Not hers"), "{removed}");
        assert!(removed.contains("passkeys removed: 1, sessions ended: 2"), "{removed}");
        let late = "return await Promise.race([reading, new Promise((late) => setTimeout(late, 1000, 'open'))])";
        assert_eq!(browser.script(late, Value::Null).await?, json!("cut"), "within a second");

        stage.www.forget();
        browser.open(&www).await?;
        let said = refused(&mut browser).await?;
        assert!(said.contains("not accepted"), "{said}");
        stage.www.assert_heard_nothing("it logs in no more");
        let sessions = stage.edge.run(&["admin", "session", "list", "--json"]).await?.ok()?;
        let sessions: Value = serde_json::from_str(&sessions)?;
        let methods: Vec<_> = sessions.as_array().context("sessions")?.iter().map(|one| &one["method"]).collect();
        assert_eq!(methods, [&json!("pin"), &json!("pin")], "what a code began is ended by another command");
        let again = stage.edge.run(&["admin", "passkey", "remove", STAFF]).await?.ok()?;
        assert!(again.contains("passkeys removed: 0, sessions ended: 0"), "{again}");
        let unknown = stage.edge.run(&["admin", "passkey", "remove", "nobody@example.test"]).await?;
        assert_eq!(unknown.code, 1, "{}", unknown.said());
        let audit = stage.edge.run(&["admin", "audit", "-n", "1000"]).await?.ok()?;
        let record = audit.lines().find(|line| line.contains("passkey_removed")).context("a record")?;
        assert!(record.contains("local") && record.contains(STAFF) && record.contains("`Not hers`"), "{record}");
        no_policy_was_violated(&mut browser).await
    });
}

/// What an authenticator does wrong, or does not do, is said on the page, and lets nobody in.
#[test]
fn an_authenticator_that_proves_nothing_lets_nobody_in_and_the_page_says_so() {
    run("wrong-key", async |lab| {
        let edge = Edge::with_access(&lab, EdgeConfig::default(), ONLY_PASSKEYS).await?;
        let www = Canary::start().await?;
        let _connector = Connector::publish(&lab, WWW, &www.url()).await?;
        let mut browser = browser(&lab, &edge.ca().await?).await?;
        let key = plug_in(&mut browser, json!({})).await?;
        browser.open(&link(&edge, &["admin", "user", "invite", GUEST]).await?).await?;
        use_passkey(&mut browser, &format!("https://{LOGIN_HOST}/.access/account")).await?;
        forget_cookies(&mut browser).await?;
        www.forget();
        browser.open(&format!("https://{WWW}/")).await?;
        for wrong in ["isBogusSignature", "isBadUV", "isBadUP"] {
            let mut bits = json!({"authenticatorId": key});
            bits[wrong] = json!(true);
            devtools(&mut browser, "WebAuthn.setResponseOverrideBits", bits).await?;
            let said = refused(&mut browser).await?;
            assert!(said.contains("not accepted"), "{wrong}: {said}");
        }
        devtools(&mut browser, "WebAuthn.setResponseOverrideBits", json!({"authenticatorId": key})).await?;
        // The person thinks better of it; there is no passkey; there is no such browser.
        devtools(&mut browser, "WebAuthn.setUserVerified", json!({"authenticatorId": key, "isUserVerified": false}))
            .await?;
        let said = refused(&mut browser).await?;
        assert!(said.contains("No passkey was used"), "{said}");
        devtools(&mut browser, "WebAuthn.setUserVerified", json!({"authenticatorId": key, "isUserVerified": true}))
            .await?;
        www.assert_heard_nothing("nobody has proven who they are");
        use_passkey(&mut browser, &format!("https://{WWW}/")).await?;
        assert_eq!(browser.text().await?, SONG, "the same page works when the authenticator does");
        no_policy_was_violated(&mut browser).await
    });
}

/// Without script the other ways are there, and nothing is offered that would not work.
#[test]
fn without_script_the_other_ways_to_log_in_work() {
    run("no-script", async |lab| {
        let stage = Stage::with(&lab, BOTH, Canary::start().await?).await?;
        let mut browser = browser(&lab, &stage.ca).await?;
        devtools(&mut browser, "Emulation.setScriptExecutionDisabled", json!({"value": true})).await?;
        browser.open(&format!("https://{WWW}/")).await?;
        let text = browser.text().await?;
        assert!(!text.to_lowercase().contains("passkey") && !text.contains("or by e-mail"), "{text}");
        browser.fill("email", STAFF).await?;
        browser.press("button[value=pin]").await?;
        let code = stage.smtp.mail_to(STAFF, 1).await?.pin()?;
        browser.fill("code", &code).await?;
        browser.press("form:has([name=code]) button").await?;
        browser.arrives(&format!("https://{WWW}/")).await?;
        assert_eq!(browser.text().await?, SONG);
        browser.open(&format!("https://{LOGIN_HOST}/.access/account/passkey")).await?;
        let text = browser.text().await?;
        assert!(text.contains("Passkeys need script") && !text.contains("Create a passkey"), "{text}");
        // Sessions are ended without script.
        browser.open(&format!("https://{LOGIN_HOST}/.access/account")).await?;
        browser.press("button[name=all]").await?;
        assert!(browser.text().await?.contains("signed out"), "{}", browser.text().await?);
        stage.www.forget();
        browser.open(&format!("https://{WWW}/")).await?;
        stage.www.assert_heard_nothing("every session has ended");
        Ok(())
    });
}

/// The quick start has no mail: an invitation makes its administrator.
#[test]
fn in_the_quick_start_an_invitation_makes_the_administrator() {
    run("quick-invited", async |lab| {
        let mut command = lab.command(program("edge")?);
        command.args(["run", "--admin", "me@example.com", "--data-dir"]).arg(lab.path("edge"));
        let mut edge = Process::start("edge", command)?;
        listens(&mut edge, "127.0.0.1:8080".parse()?).await?;
        let admin = async |words: &[&str]| {
            let mut command = lab.command(program("edge")?);
            command.arg("admin").args(words).arg("--data-dir").arg(lab.path("edge"));
            finish(command).await
        };
        let invited = admin(&["user", "invite", "me@example.com"]).await?;
        assert!(!invited.stderr.contains("Note:"), "a method by passkey is built in: {}", invited.stderr);
        let invitation = invited.ok()?.trim().to_owned();
        assert!(invitation.starts_with("http://access.localhost:8080/.access/invite?token="), "{invitation}");
        let mut browser = Browser::start(&lab, BrowserOptions::default()).await?;
        plug_in(&mut browser, json!({})).await?;
        browser.open(&invitation).await?;
        use_passkey(&mut browser, "http://access.localhost:8080/.access/account").await?;
        // A page for administrators, which finds nothing to approve.
        browser.open("http://access.localhost:8080/.access/enroll?id=none").await?;
        assert!(browser.text().await?.contains("nothing to approve"), "{}", browser.text().await?);
        let taken = admin(&["user", "invite", "me@example.com"]).await?;
        assert_eq!(taken.code, 3, "{}", taken.said());
        assert!(taken.stderr.contains("edge admin user reset"), "{}", taken.stderr);
        let unknown = admin(&["user", "remove", "nobody@example.com"]).await?;
        assert_eq!(unknown.code, 1, "{}", unknown.said());
        no_policy_was_violated(&mut browser).await
    });
}

/// Without a method there is nothing that an invitation could lead to: the command says what to declare, and so does the
/// page, which leaves the invitation as it is.
#[test]
fn an_invitation_without_a_method_says_what_is_missing() {
    run("no-method", async |lab| {
        let edge = Edge::start(&lab, EdgeConfig::default()).await?;
        let invited = edge.run(&["admin", "user", "invite", GUEST]).await?;
        assert!(invited.stderr.contains("{name: passkey, type: passkey}"), "{}", invited.stderr);
        let invitation = invited.ok()?.trim().to_owned();
        let mut browser = browser(&lab, &edge.ca().await?).await?;
        assert_eq!(browser.open(&invitation).await?, 503);
        edge.apply(ONLY_PASSKEYS).await?;
        assert_eq!(browser.open(&invitation).await?, 200);
        assert!(browser.text().await?.contains(GUEST));
        // The person is known before the first passkey, and withdrawn.
        let listed = edge.run(&["admin", "user", "list"]).await?.ok()?;
        assert!(listed.contains(GUEST), "{listed}");
        edge.run(&["admin", "user", "remove", GUEST]).await?.ok()?;
        assert_eq!(browser.open(&invitation).await?, 410);
        Ok(())
    });
}
