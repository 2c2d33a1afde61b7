//! What a visitor is told when something is in the way.

use std::sync::Arc;

use tunnel_tests::{
    Canary, Connector, EdgeConfig, Reply, Stage, Visitor,
    canary::After,
    edge::ACCESS,
    html::words,
    run,
    stage::{STAFF, WWW},
};

#[track_caller]
pub(super) fn assert_safe_page(reply: &Reply) {
    let csp = reply.header("content-security-policy").unwrap_or_default();
    for part in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"] {
        assert!(csp.contains(part), "{part} in {csp:?} of {}", reply.url);
    }
    assert!(!csp.contains("unsafe"), "{csp}");
    assert!(reply.header("cache-control").unwrap_or_default().contains("no-store"), "H11: {}", reply.url);
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(reply.header("referrer-policy"), Some("no-referrer"));
    let text = reply.text();
    assert!(!text.contains("<script") && !text.contains(" style=") && !text.contains("<style"), "{text}");
    assert!(text.contains("<html lang=\"en\"") || text.contains("<html lang=\"ja\""), "{text}");
}

#[track_caller]
pub(super) fn assert_reference(reply: &Reply) {
    let reference = regex::Regex::new(r"[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{4}").unwrap();
    assert!(reference.is_match(&words(&reply.text())), "a reference on {}: {}", reply.url, words(&reply.text()));
}

/// F6: who meets a failure that may pass is told when to ask again, as a person and as a program. Nothing internal is told.
#[track_caller]
fn assert_trouble(reply: &Reply, status: u16) {
    assert_eq!(reply.status(), status, "{}", reply.url);
    let seconds = reply.header("retry-after").and_then(|seconds| seconds.parse::<u32>().ok());
    assert!(seconds.is_some_and(|seconds| seconds > 0), "{}: {:?}", reply.url, reply.answer.headers);
    assert!(!reply.text().contains("127.0.0.1"), "{}: {}", reply.url, reply.text());
}

/// The same in both forms: a page, and what programs read, with `code`.
async fn assert_both_forms(visitor: &mut Visitor, url: &str, status: u16, code: &str) -> anyhow::Result<()> {
    let page = visitor.get(url).await?;
    assert_trouble(&page, status);
    assert_safe_page(&page);
    assert_reference(&page);
    let json = visitor.ask("GET", url, &[("Accept", "application/json")], b"").await?;
    assert_trouble(&json, status);
    assert_eq!(json.header("content-type"), Some("application/json"), "{url}");
    let said: serde_json::Value = serde_json::from_str(&json.text())?;
    assert_eq!(said["error"], code, "{url}: {said}");
    assert!(said["message"].is_string() && said["reference"].is_string(), "{url}: {said}");
    Ok(())
}

/// Unknown hostname, denied person.
#[test]
fn strangers_and_unknown_hosts_get_a_clear_page() {
    run("pages", async |lab| {
        let stage = Stage::set(&lab).await?;
        let mut visitor = stage.stranger()?;
        visitor.language = "en".into();
        let unknown = visitor.door("https", "nobody.example.test")?;
        let mut raw = unknown.open().await?;
        raw.send(b"GET / HTTP/1.1\r\nHost: nobody.example.test\r\nAccept: text/html\r\nConnection: close\r\n\r\n")
            .await?;
        let reply = Reply { url: "https://nobody.example.test/".into(), answer: raw.answer(true).await? };
        assert_eq!(reply.status(), 404);
        assert_eq!(reply.header("strict-transport-security"), Some("max-age=31536000"));
        assert_safe_page(&reply);
        assert_reference(&reply);
        let plain = format!("GET / HTTP/1.1\r\nHost: {WWW}\r\n\r\n");
        let plain = stage.plain().ask(plain.as_bytes()).await?;
        assert_eq!((plain.status, plain.header("strict-transport-security")), (308, None));
        let login = visitor.browse(&format!("https://{WWW}/")).await?;
        assert_safe_page(&login);
        // A style sheet that the policy allows is really there, on every host.
        let style = regex::Regex::new(r#"<link rel="stylesheet" href="([^"]+)""#)?.captures(&login.text()).unwrap()[1]
            .to_owned();
        let style = visitor.get(&tunnel_tests::visitor::resolve(&login.url, &style)).await?;
        assert_eq!(
            (style.status(), style.header("content-type").map(|t| t.starts_with("text/css"))),
            (200, Some(true))
        );
        // Whose cookies are too large reads so, in their language, though no application is known yet; a program reads JSON.
        for (asker, begins) in [("Accept: text/html\r\nAccept-Language: ja\r\n", "<!doctype html>"), ("", "{")] {
            let head = format!("GET / HTTP/1.1\r\nHost: {WWW}\r\n{asker}Cookie: a={}", "x".repeat(40_000));
            let mut raw = stage.door(WWW)?.open().await?;
            // No more than the edge reads, so that its system has no reason to cut what it answers.
            raw.send(&head.as_bytes()[..32 * 1024 + 1]).await?;
            let reply = Reply { url: format!("https://{WWW}/"), answer: raw.answer(true).await? };
            assert_eq!(reply.status(), 431);
            assert!(reply.text().starts_with(begins), "{asker:?}: {}", reply.text());
            assert_eq!(reply.text().contains("<html lang=\"ja\""), !asker.is_empty());
        }
        stage.assert_silence("nobody logged in");
        Ok(())
    });
}

/// Who is logged in but not admitted reads 403, and why is not told to strangers.
#[test]
fn a_person_who_is_no_longer_admitted_reads_so() {
    run("denied", async |lab| {
        let stage = Stage::set(&lab).await?;
        let mut visitor = stage.somebody(WWW, STAFF).await?;
        assert_eq!(visitor.get(&format!("https://{WWW}/")).await?.status(), 200);
        stage.www.forget();
        // Judged on every request; a change is seen by the next one.
        stage.edge.apply(&ACCESS.replace("guest@example.test", STAFF)).await?;
        let reply = visitor.get(&format!("https://{WWW}/")).await?;
        assert_eq!(reply.status(), 403);
        assert_safe_page(&reply);
        assert_reference(&reply);
        let text = words(&reply.text());
        assert!(text.contains(STAFF) && text.contains("sign-in worked"), "{text}");
        assert!(!text.contains("staff-only"), "policies are not named to visitors: {text}");
        stage.assert_silence("not admitted");
        visitor.language = "ja".into();
        let reply = visitor.get(&format!("https://{WWW}/")).await?;
        assert!(reply.text().contains("lang=\"ja\""));
        stage.edge.apply(ACCESS).await?;
        visitor.language = "en".into();
        assert_eq!(
            visitor.get(&format!("https://{WWW}/")).await?.status(),
            200,
            "and admitted again by the next change"
        );
        Ok(())
    });
}

/// F4, F6, F7: the origin refuses, cuts, is slow; the tunnel is down.
#[test]
fn broken_origins_and_tunnels_have_pages_of_their_own() {
    run("broken", async |lab| {
        let rude = Canary::answering(Arc::new(|head| match head.target() {
            "/cut" => (Vec::new(), After::Close),
            "/nonsense" => (b"NONSENSE\r\n\r\n".to_vec(), After::Close),
            "/lengths" => {
                (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx".to_vec(), After::Close)
            }
            "/slow" => (Vec::new(), After::Silence),
            _ => (tunnel_tests::canary::page("ok"), After::KeepAlive),
        }));
        let mut stage = Stage::with(&lab, ACCESS, rude.await?).await?;
        let mut visitor = stage.somebody(WWW, STAFF).await?;
        for target in ["/cut", "/nonsense", "/lengths"] {
            assert_both_forms(&mut visitor, &format!("https://{WWW}{target}"), 502, "bad_answer").await?;
        }
        // Nothing listens at the service.
        let refusing = stage.app.address();
        let mut app = visitor.clone();
        app.browse("https://app.example.test/").await?;
        stage.app = Canary::start().await?;
        assert_ne!(stage.app.address(), refusing);
        assert_both_forms(&mut app, "https://app.example.test/", 502, "bad_answer").await?;
        // No connector.
        let listed = stage.edge.run(&["admin", "tunnel", "list", "--json"]).await?.ok()?;
        let listed: Vec<serde_json::Value> = serde_json::from_str(&listed)?;
        let is_its = |tunnel: &&serde_json::Value| tunnel["hostnames"].as_array().unwrap().contains(&WWW.into());
        let links = listed.iter().find(is_its).and_then(|tunnel| tunnel["links"].as_u64()).unwrap();
        assert!(links > 0, "{listed:?}");
        stage.connectors.remove(0).process.kill().await?;
        // The system says at once that the connections are gone; whoever asks after that reads so.
        let gone = format!("(?s){}", "a connector's link is down.*".repeat(usize::try_from(links)?));
        stage.edge.process.log.wait_for(&gone).await?;
        assert_both_forms(&mut visitor, &format!("https://{WWW}/"), 530, "no_tunnel").await?;
        let mut stranger = stage.stranger()?;
        assert_eq!(
            stranger.get(&format!("https://{WWW}/")).await?.status(),
            303,
            "a stranger is not told that the tunnel is down"
        );
        // It comes back.
        stage.connectors.push(Connector::publish(&lab, WWW, &stage.www.url()).await?);
        assert_eq!(visitor.get(&format!("https://{WWW}/")).await?.status(), 200);
        Ok(())
    });
}

/// F7: an origin that never answers gives 504 in the configured time.
#[test]
fn an_origin_that_never_answers_gives_504() {
    run("slow", async |lab| {
        let mute = Canary::answering(Arc::new(|_| (Vec::new(), After::Silence))).await?;
        let brisk = |config: EdgeConfig| EdgeConfig { extra: "response_timeout = 1".into(), ..config };
        let stage = Stage::configured(&lab, brisk, ACCESS, mute).await?;
        // The login ends at the origin that never answers, so it is followed only as far as the session.
        let mut visitor = stage.stranger()?;
        let page = visitor.ask_for_code(&format!("https://{WWW}/"), STAFF).await?;
        let code = stage.smtp.mail_to(STAFF, 1).await?.pin()?;
        let handover = visitor.enter_code(&page, &code).await?.leads().unwrap().to_owned();
        visitor.get(&handover).await?;
        assert_both_forms(&mut visitor, &format!("https://{WWW}/slow"), 504, "slow_answer").await
    });
}

/// The plain port sends a browser to HTTPS and does nothing else.
#[test]
fn the_plain_port_redirects() {
    run("redirect", async |lab| {
        let stage = Stage::set(&lab).await?;
        let mut visitor: Visitor = stage.stranger()?;
        let reply = visitor.get(&format!("http://{WWW}/a?b=c")).await?;
        assert!(matches!(reply.status(), 301 | 308), "{}", reply.status());
        assert_eq!(reply.header("location"), Some("https://www.example.test/a?b=c"));
        assert!(visitor.jar.is_empty(), "no cookie over plain HTTP");
        let session = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        let request = format!("GET /x HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\nConnection: close\r\n\r\n");
        let answer = stage.plain().ask(request.as_bytes()).await?;
        assert!(matches!(answer.status, 301 | 308), "{}", answer.status);
        stage.assert_silence("the plain port forwards nothing, session or not");
        Ok(())
    });
}
