//! Logging in at identity providers: the certified one in several guises, one like GitHub, and hostile ones of our own.

mod addresses;
mod choice;
mod forged;
mod github;
mod gone;
mod journeys;
mod mixup;
mod outside;
mod passkey;
mod policies;
mod removed;
mod state;
mod trouble;

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tunnel_tests::{
    Canary, Edge, EdgeConfig, Hostile, Lab, Reply, Stage, Visitor,
    canary::SONG,
    edge::LOGIN_HOST,
    hostile::AUTHORIZE,
    html::{pressed, words},
    provider::{CLIENT_ID, CLIENT_SECRET, callback},
    stage::WWW,
    visitor::{origin_of, resolve},
};

use super::pages::{assert_reference, assert_safe_page};

/// The id and secret that every provider here knows the edge by.
const CLIENT: (&str, &str) = (CLIENT_ID, CLIENT_SECRET);
/// The page of the first application that tests want to come back to.
const DEEP: &str = "https://www.example.test/deep/page?from=mail&n=1";
/// Says that the provider is here, by plain HTTP.
const HERE: &str = "danger_allow_private_address: true";

/// A login method as a line of the declaration: `kind` is its type, `more` what else belongs to it.
fn method(lab: &Lab, name: &str, kind: &str, more: &str) -> Result<String> {
    let secret = lab.write("client-secret", &format!("{CLIENT_SECRET}\n"))?;
    let client = format!("client_id: {CLIENT_ID}, client_secret: {{file: {secret:?}}}");
    Ok(format!("  - {{name: {name}, type: {kind}, {client}, {more}}}\n"))
}

/// A generic OpenID method for a provider here.
fn oidc(lab: &Lab, name: &str, issuer: &str) -> Result<String> {
    method(lab, name, "oidc", &format!("issuer: \"{issuer}\", {HERE}"))
}

/// A declaration of login methods, and of two applications that admit whoever has an address at `example.test`.
fn access(methods: &[String]) -> String {
    declared(methods, "", &[("www", "", "staff-only"), ("app", "", "staff-only")])
}

/// A declaration with further policies, and applications: name (and first label of the hostname), methods, policies.
fn declared(methods: &[String], policies: &str, applications: &[(&str, &str, &str)]) -> String {
    let mut text = format!("login_methods:\n{}", methods.concat());
    text += "policies:\n  - {name: staff-only, action: allow, include: [{email_domain: example.test}]}\n";
    text += policies;
    text += "applications:\n";
    for (name, methods, policies) in applications {
        let methods = if methods.is_empty() { String::new() } else { format!("login_methods: [{methods}], ") };
        let _ =
            writeln!(text, "  - {{name: {name}, hostnames: [{name}.example.test], {methods}policies: [{policies}]}}");
    }
    text
}

/// The one-time PIN as a login method.
fn pin() -> String {
    "  - {name: pin, type: one_time_pin}\n".into()
}

/// The scene with an edge that believes the harness about where people come from.
async fn set(lab: &Lab, access: &str) -> Result<Stage> {
    let trusting = |config| EdgeConfig { extra: "trusted_proxies = [\"127.0.0.1\"]".into(), ..config };
    Stage::configured(lab, trusting, access, Canary::start().await?).await
}

/// Somebody new.
fn stranger(stage: &Stage) -> Result<Visitor> {
    let mut visitor = stage.stranger()?;
    visitor.forwarded_for = Some(network());
    Ok(visitor)
}

/// An address in a network where nobody was before, so that nobody is counted together with others.
fn network() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Relaxed);
    format!("20.{}.{}.1", n / 250, n % 250)
}

/// A hostile provider at a port.
async fn hostile(port: u16, name: &str) -> Result<Hostile> {
    Hostile::start(([127, 0, 0, 1], port).into(), name, CLIENT).await
}

/// On the edge's login page: presses the button of a method, and follows to the end.
async fn choose(visitor: &mut Visitor, page: &Reply, method: &str) -> Result<Reply> {
    let reply = visitor.submit(&page.url, &pressed(&page.text(), "method", method)?).await?;
    visitor.follow(reply).await
}

/// The way of somebody without session to a hostile provider, and back: the callback's address, not yet opened.
async fn to_callback(visitor: &mut Visitor, url: &str, hostile: &Hostile) -> Result<String> {
    let provider = visitor.led_to(url, &format!("{}{AUTHORIZE}", hostile.issuer())).await?;
    back(visitor, &provider).await
}

/// The way back from the provider's address: the callback's, not yet opened.
async fn back(visitor: &mut Visitor, provider: &str) -> Result<String> {
    visitor.led_to(provider, &callback("")).await
}

/// Whether somebody is logged in anywhere.
fn logged_in(visitor: &Visitor) -> bool {
    visitor.session(LOGIN_HOST).is_ok() || visitor.session(WWW).is_ok()
}

/// The end of a login that worked: the application's page, at the address that was asked for.
#[track_caller]
fn assert_arrived(reply: &Reply, url: &str) {
    let at = (reply.status(), reply.url.as_str());
    assert_eq!(at, (200, url), "{}", words(&reply.text()));
    assert_eq!(reply.text(), SONG);
}

/// The end of one that did not: a page with one of these statuses that says so, names the method, has a reference and a
/// way to go on; nobody is logged in.
#[track_caller]
fn assert_failed(visitor: &Visitor, reply: &Reply, statuses: &[u16], method: &str) {
    let said = words(&reply.text());
    assert!(statuses.contains(&reply.status()), "{} at {}: {said}", reply.status(), reply.url);
    assert_eq!(origin_of(&reply.url), format!("https://{LOGIN_HOST}"), "{said}");
    assert_safe_page(reply);
    assert_reference(reply);
    assert!(said.to_lowercase().contains(method), "{method} is named: {said}");
    assert!(said.contains("again") || said.contains("administrator"), "what to do is said: {said}");
    assert!(!logged_in(visitor), "{:?}", visitor.jar);
}

/// A login that cannot go on because it is not this browser's, or is over: 400, a page with a link, nobody logged in.
#[track_caller]
fn assert_start_again(visitor: &Visitor, reply: &Reply) {
    assert_failed(visitor, reply, &[400], "");
    let said = words(&reply.text()).to_lowercase();
    assert!(["start again", "try again"].iter().any(|one| said.contains(one)), "{said}");
}

/// Whether the other method can be chosen on this page, or on a page of the login host that it links to.
async fn offers(visitor: &mut Visitor, reply: &Reply, method: &str) -> Result<bool> {
    if pressed(&reply.text(), "method", method).is_ok() {
        return Ok(true);
    }
    for link in links(reply) {
        let page = visitor.browse(&link).await?;
        if pressed(&page.text(), "method", method).is_ok() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The links of a page that lead on, languages and style sheets left out.
fn links(reply: &Reply) -> Vec<String> {
    let link = regex::Regex::new(r#"<a\b([^>]*)href="([^"]*)"([^>]*)>"#).expect("a pattern");
    let text = reply.text();
    let found = link.captures_iter(&text).filter(|found| !found[0].contains("hreflang") && !found[2].starts_with('#'));
    found.map(|found| resolve(&reply.url, &found[2].replace("&#38;", "&").replace("&amp;", "&"))).collect()
}

/// The link of a page that starts again.
fn again(reply: &Reply) -> Result<String> {
    links(reply).into_iter().next().with_context(|| format!("no link on {}:\n{}", reply.url, reply.text()))
}

/// Another try at a method, by what a page of the edge offers: its button, or the link to a page that has it. Gives the page
/// to which that leads.
async fn retry(visitor: &mut Visitor, page: &Reply, method: &str) -> Result<Reply> {
    if pressed(&page.text(), "method", method).is_ok() {
        return choose(visitor, page, method).await;
    }
    let next = visitor.browse(&again(page)?).await?;
    match pressed(&next.text(), "method", method) {
        Ok(_) => choose(visitor, &next, method).await,
        Err(_) => Ok(next),
    }
}

/// [`retry`] until it leads to an address beginning with `to`: a provider that failed may be left alone for a moment.
async fn retry_until(visitor: &mut Visitor, page: &Reply, method: &str, to: &str) -> Result<Reply> {
    let end = tokio::time::Instant::now() + tunnel_tests::PATIENCE / 2;
    let mut reply = page.clone();
    while !reply.url.starts_with(to) {
        if tokio::time::Instant::now() > end {
            bail!("{} at {} instead of {to}: {}", reply.status(), reply.url, words(&reply.text()));
        }
        reply = retry(visitor, &reply, method).await?;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    Ok(reply)
}

/// The newest records of logins that failed, newest last.
async fn failures(edge: &Edge) -> Result<Vec<Value>> {
    let text = edge.run(&["admin", "audit", "-n", "2000", "--json"]).await?.ok()?;
    let records: Vec<Value> = serde_json::from_str(&text).with_context(|| text.clone())?;
    Ok(records.into_iter().filter(|record| record["event"] == "login_failed").collect())
}

/// Waits for the record of a login by `method` that failed for a reason with one of these words, after the first `known`
/// failures.
async fn audited(edge: &Edge, known: usize, method: &str, reasons: &[&str]) -> Result<Value> {
    let end = tokio::time::Instant::now() + tunnel_tests::PATIENCE / 3;
    loop {
        let found = failures(edge).await?;
        for record in found.iter().skip(known) {
            let text = format!("{} {}", record["object"], record["detail"]).to_lowercase();
            if text.contains(method) && reasons.iter().any(|reason| text.contains(reason)) {
                assert!(record["reference"].is_string() && record["source"].is_string(), "{record}");
                return Ok(record.clone());
            }
        }
        if tokio::time::Instant::now() > end {
            bail!("no login by {method} failed because of {reasons:?}; there is {:?}", found.get(known..));
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// The claims of the newest assertion that the first application's origin got.
async fn asserted(stage: &Stage, email: &str) -> Result<Value> {
    let heads = stage.www.heads();
    stage.certs().await?.admits(heads.last().context("the origin heard something")?, email)
}
