//! Whoever is gone at the provider is gone here.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tunnel_tests::{
    Connector, Edge, EdgeConfig, Lab, Provider, ProviderConfig, Visitor,
    origin::Streams,
    provider::{Account, answer, sign_in},
    run,
    stage::WWW,
};

use super::{HERE, declared, method, network};

/// How often the provider is asked in this test: the shortest time that can be declared.
const INTERVAL: Duration = Duration::from_secs(60);

/// Somebody who is asked for consent, as the provider has to ask for what it can be asked again by, and comes in.
async fn enter(ca: &str, account: &str) -> Result<Visitor> {
    let mut visitor = Visitor::new(ca)?;
    visitor.forwarded_for = Some(network());
    let page = visitor.browse(&format!("https://{WWW}/bytes/1")).await?;
    let page = sign_in(&mut visitor, &page, account).await?;
    let reply = answer(&mut visitor, &page, "allow").await?;
    assert_eq!((reply.status(), reply.answer.body.len()), (200, 1), "{}", reply.text());
    Ok(visitor)
}

/// What the edge recorded about sessions that ended.
async fn ends(edge: &Edge) -> Result<Vec<Value>> {
    let text = edge.run(&["admin", "audit", "-n", "2000", "--json"]).await?.ok()?;
    let records: Vec<Value> = serde_json::from_str(&text).with_context(|| text.clone())?;
    Ok(records.into_iter().filter(|record| record["event"] == "revoked").collect())
}

async fn scene(lab: &Lab) -> Result<(Provider, Streams, Edge, Connector)> {
    let person = |email: &str| Account::saying(&json!({"email": email, "email_verified": true}));
    let config = ProviderConfig::new(13000, "work")
        .with("ann", person("ann@example.test"))
        .with("bob", person("bob@example.test"));
    let provider = Provider::start(lab, config).await?;
    let more = format!("issuer: \"{}\", revalidate: 1m, {HERE}", provider.issuer());
    let access = declared(&[method(lab, "work", "oidc", &more)?], "", &[("www", "", "staff-only")]);
    let trusting = EdgeConfig { extra: "trusted_proxies = [\"127.0.0.1\"]".into(), ..EdgeConfig::default() };
    let edge = Edge::with_access(lab, trusting, &access).await?;
    let streams = Streams::start().await?;
    let connector = Connector::publish(lab, WWW, &streams.url()).await?;
    Ok((provider, streams, edge, connector))
}

/// O9: an account that is disabled at the provider ends the login here within the interval, and with it a stream that is
/// open all the time. Somebody else goes on by a refresh token that was given once and used once.
#[test]
fn a_person_whose_account_is_disabled_is_out_within_the_interval_with_what_they_have_open() {
    run("gone", async |lab| {
        let (mut provider, streams, edge, _connector) = scene(&lab).await?;
        let ca = edge.ca().await?;
        let (mut ann, mut bob) = (enter(&ca, "ann").await?, enter(&ca, "bob").await?);
        let mut open = ann.door("https", WWW)?.open().await?;
        let session = ann.session(WWW)?;
        open.send(format!("GET /events HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\n\r\n").as_bytes()).await?;
        assert!(open.read().await?.starts_with(b"HTTP/1.1 200"));
        assert_eq!(provider.requests("/token").await?, 2, "one code each");
        provider.disable("ann").await?;
        let begun = Instant::now();
        // There is always a next event, until the edge ends it.
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            streams.say("still here");
            if open.read().await.map_or(true, |piece| piece.is_empty()) {
                break;
            }
            assert!(begun.elapsed() <= INTERVAL, "somebody whose account is gone still reads");
        }
        println!("out {:?} after the account was disabled", begun.elapsed());
        assert_ne!(ann.get(&format!("https://{WWW}/bytes/1")).await?.status(), 200);
        let ends = ends(&edge).await?;
        let told = ends.iter().map(|record| format!("{} {}", record["object"], record["detail"])).collect::<Vec<_>>();
        let why = "session ended: by work: its provider refuses: invalid_grant";
        assert!(told.len() == 1 && told[0].contains("ann@example.test") && told[0].contains(why), "{told:?}");
        // The provider was asked about the other one as well, by now or soon, and vouched.
        while provider.requests("/token").await? < 4 {
            assert!(begun.elapsed() <= INTERVAL + Duration::from_secs(10), "not everybody was asked about");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(bob.get(&format!("https://{WWW}/bytes/1")).await?.status(), 200);
        // After a restart it goes on by what was kept.
        let edge = edge.restart().await?;
        let identity = format!("https://{WWW}/.access/identity");
        assert_eq!((bob.get(&identity).await?.status(), ann.get(&identity).await?.status()), (200, 401));
        assert!(!edge.process.log.text().contains("refresh_token"), "{}", edge.process.log.tail(20));
        Ok(())
    });
}
