//! Logging in by PIN, as a person does it.

use anyhow::Result;
use serde_json::json;
use tunnel_tests::{
    Browser, Canary, Connector, Edge, EdgeConfig, Smtp, Stage, Visitor,
    browser::BrowserOptions,
    canary::SONG,
    edge::{ACCESS, LOGIN_HOST},
    html::{form_with, forms, words},
    origin::Nginx,
    process::long,
    run,
    stage::{APP, STAFF, WWW},
    visitor::press,
};

/// The main journey, with nginx, real mail and a real browser that trusts our CA and checks certificates.
#[test]
fn a_person_logs_in_by_pin_and_comes_back_to_the_deep_link() {
    run("main-journey", async |lab| {
        let nginx = Nginx::start(&lab, 3000, "<h1>The private page</h1>").await?;
        let smtp = Smtp::start(&lab).await?;
        let edge = Edge::with_access(&lab, EdgeConfig::with_mail(&smtp), ACCESS).await?;
        let _connector = Connector::publish(&lab, WWW, &nginx.url()).await?;
        let mut browser =
            Browser::start(&lab, BrowserOptions { ca: Some(edge.ca().await?), ..Default::default() }).await?;
        let deep = format!("https://{WWW}/deep/page?from=mail&n=%E3%81%82#part");
        assert_eq!(browser.open(&deep).await?, 200);
        assert!(
            browser.url().await?.starts_with(&format!("https://{LOGIN_HOST}/.access/login")),
            "{}",
            browser.url().await?
        );
        assert!(browser.text().await?.contains("Sign in"), "{}", browser.text().await?);
        assert_eq!(nginx.access_log()?, "", "the origin has heard nothing yet");
        browser.fill("email", STAFF).await?;
        browser.press("button[value=pin]").await?;
        let mail = smtp.mail_to(STAFF, 1).await?;
        assert!(mail.text.contains(WWW) && mail.html.contains(WWW), "{mail:?}");
        assert!(!mail.raw.contains("http://") && !mail.text.contains("https://"), "no link in the mail: {}", mail.text);
        browser.fill("code", &mail.pin()?).await?;
        browser.press("form:has([name=code]) button").await?;
        browser.arrives("**/deep/page*").await?;
        let url = browser.url().await?;
        assert!(url.starts_with(&format!("https://{WWW}/deep/page?from=mail&n=%E3%81%82")), "{url}");
        assert_eq!(browser.text().await?, "The private page");
        let log = nginx.access_log()?;
        assert!(log.contains("GET /deep/page?from=mail&n=%E3%81%82 HTTP/1.1"), "{log}");
        assert!(log.lines().all(|line| line.starts_with("127.0.0.1 ")), "the origin sees only the connector: {log}");
        // Another application of the zone needs no second code.
        let cookies = browser.script("return await context.cookies()", json!(null)).await?;
        for cookie in cookies.as_array().unwrap() {
            assert_eq!(
                (&cookie["httpOnly"], &cookie["secure"], &cookie["sameSite"]),
                (&json!(true), &json!(true), &json!("Lax")),
                "{cookie}"
            );
        }
        let complaints: Vec<_> =
            browser.complaints().await?.into_iter().filter(|c| c.contains("Security Policy")).collect();
        assert!(complaints.is_empty(), "no policy was violated: {complaints:?}");
        Ok(())
    });
}

/// Japanese by the browser's language, and by the link on the page.
#[test]
fn a_japanese_browser_reads_japanese_pages_and_mail() {
    run("japanese", async |lab| {
        let stage = Stage::set(&lab).await?;
        let options = BrowserOptions { ca: Some(stage.ca.clone()), language: "ja-JP".into(), ..Default::default() };
        let mut browser = Browser::start(&lab, options).await?;
        browser.open(&format!("https://{WWW}/")).await?;
        let lang = browser
            .script(
                "return document_lang = await page.locator('html').getAttribute('lang')"
                    .replace("document_lang = ", "")
                    .as_str(),
                json!(null),
            )
            .await?;
        assert_eq!(lang, "ja");
        assert!(browser.text().await?.contains("サインイン"), "{}", browser.text().await?);
        browser.fill("email", STAFF).await?;
        browser.press("button[value=pin]").await?;
        assert!(browser.text().await?.contains("確認コード"), "{}", browser.text().await?);
        let mail = stage.smtp.mail_to(STAFF, 1).await?;
        assert!(mail.text.contains("の確認コード") && mail.html.contains("確認コード"), "{mail:?}");
        browser.fill("code", &mail.pin()?).await?;
        browser.press("form:has([name=code]) button").await?;
        browser.arrives(&format!("https://{WWW}/")).await?;
        assert_eq!(browser.text().await?, SONG);
        let mut english =
            Browser::start(&lab, BrowserOptions { ca: Some(stage.ca.clone()), ..Default::default() }).await?;
        english.open(&format!("https://{WWW}/")).await?;
        english.press("a[hreflang=ja]").await?;
        assert!(
            english.text().await?.contains("サインイン"),
            "the link changes the language: {}",
            english.text().await?
        );
        Ok(())
    });
}

/// P2: a stranger's address gets the same page and status, and no mail.
#[test]
fn an_address_that_is_not_admitted_gets_the_same_page_and_no_mail() {
    run("not-admitted", async |lab| {
        let stage = Stage::set(&lab).await?;
        let mut pages = Vec::new();
        let addresses = [
            "staff@example.test",
            "evil@example.com",
            "a@evilexample.test",
            "a@sub.example.test",
            "guest@example.test",
        ];
        for email in addresses {
            let mut visitor = stage.stranger()?;
            let page = visitor.ask_for_code(&format!("https://{WWW}/x"), email).await?;
            let shape: Vec<_> =
                page.answer.headers.iter().map(|(name, _)| name.clone()).filter(|n| n != "date").collect();
            let text = words(&page.text()).replace(email, "EMAIL");
            pages.push((
                page.status(),
                shape,
                text,
                page.text().len() - page.text().matches(email).count() * email.len(),
            ));
        }
        for (page, email) in pages.iter().zip(addresses) {
            assert_eq!(page.0, pages[0].0, "{email}");
            assert_eq!(page.1, pages[0].1, "{email}");
            assert_eq!(page.2, pages[0].2, "{email}");
        }
        stage.smtp.mail_to("staff@example.test", 1).await?;
        // A second admitted person's mail is behind any that might have been sent to the others.
        let mut last = stage.stranger()?;
        last.ask_for_code(&format!("https://{WWW}/x"), "last@example.test").await?;
        stage.smtp.mail_to("last@example.test", 1).await?;
        assert_eq!(stage.smtp.mails()?.len(), 2, "{:?}", stage.smtp.mails()?);
        Ok(())
    });
}

/// P2: how long the answer takes says no more than its words. Of many answers to admitted and to other addresses, in an
/// order that is shuffled, the means differ by less than chance would explain (Welch's t).
#[test]
fn the_answer_for_an_address_that_is_not_admitted_takes_as_long() {
    run("timing", async |lab| {
        let trusting = |config: EdgeConfig| EdgeConfig { extra: "trusted_proxies = [\"127.0.0.1\"]".into(), ..config };
        let stage = Stage::configured(&lab, trusting, ACCESS, Canary::start().await?).await?;
        let rounds = if long() { 90 } else { 40 };
        let mut taken = [Vec::new(), Vec::new()];
        for round in 0..2 * rounds {
            // Pairs in both orders: what one leaves behind meets both kinds alike.
            let kind = (round % 2) ^ (round / 2 % 2);
            let email = format!("person{round:03}@{}", ["example.test", "example.hole"][kind]);
            let mut visitor = stage.stranger()?;
            visitor.forwarded_for = Some(format!("198.51.{round}.1"));
            let login = visitor.browse(&format!("https://{WWW}/")).await?;
            let form = press(form_with(&login.text(), "email")?.with("email", &email), "method", "pin");
            let begun = std::time::Instant::now();
            let answer = visitor.submit(&login.url, &form).await?;
            let time = begun.elapsed().as_secs_f64();
            assert_eq!(answer.status(), 303, "{}", answer.text());
            // The first few warm everything up.
            if round >= 8 {
                taken[kind].push(time);
            }
        }
        let moments = |times: &[f64]| {
            let mean = times.iter().sum::<f64>() / times.len() as f64;
            let variance = times.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (times.len() - 1) as f64;
            (mean, variance / times.len() as f64)
        };
        let ([admitted, other], t) = {
            let [(one, one_variance), (other, other_variance)] = [moments(&taken[0]), moments(&taken[1])];
            ([one, other], (one - other) / (one_variance + other_variance).sqrt())
        };
        println!("admitted {:.2} ms, not admitted {:.2} ms, t = {t:.2}", admitted * 1e3, other * 1e3);
        assert!(t.abs() < 4.5, "the time tells who is admitted: {admitted} s and {other} s, t = {t}");
        // The difference that there is happened behind the answers.
        stage.smtp.mail_to("person008@example.test", 1).await?;
        assert!(stage.smtp.mails()?.iter().all(|mail| !format!("{mail:?}").contains("example.hole")));
        Ok(())
    });
}

/// P1, P4: five wrong codes void the right one; a used code is used; a GET consumes nothing.
#[test]
fn a_code_works_once_and_five_wrong_ones_void_it() {
    run("tries", async |lab| {
        let stage = Stage::set(&lab).await?;
        let mut visitor = stage.stranger()?;
        let page = visitor.ask_for_code(&format!("https://{WWW}/"), STAFF).await?;
        let code = stage.smtp.mail_to(STAFF, 1).await?.pin()?;
        let wrong = if code.starts_with('1') { "29999999" } else { "19999999" };
        // Scanners and previews open every address they find.
        for path in ["/.access/callback/pin", &format!("/.access/callback/pin?code={code}")] {
            visitor.get(&format!("https://{LOGIN_HOST}{path}")).await?;
        }
        let mut current = page.clone();
        for n in 1..=5 {
            current = visitor.enter_code(&current, wrong).await?;
            assert!((200..500).contains(&current.status()), "wrong code {n}: {}", current.status());
            if forms(&current.text()).iter().all(|form| form.fields.iter().all(|(name, _)| name != "code")) {
                assert_eq!(n, 5, "there is a form for another try until the fifth: {}", current.text());
            }
        }
        let reply = visitor.enter_code(&page, &code).await?;
        assert!(reply.leads().is_none_or(|l| !l.contains("authorized")), "five wrong codes void the right one");
        stage.assert_silence("nobody is logged in");
        // A new login: the space in the code may be typed, the second use is refused.
        let mut other = stage.stranger()?;
        let page = other.ask_for_code(&format!("https://{WWW}/"), "other@example.test").await?;
        let code = stage.smtp.mail_to("other@example.test", 1).await?.pin()?;
        let spaced = format!(" {} {} ", &code[..4], &code[4..]);
        let first = other.enter_code(&page, &spaced).await?;
        assert!(first.leads().is_some_and(|l| l.contains("authorized")), "{}", first.text());
        let mut copy = other.clone();
        let second = copy.enter_code(&page, &code).await?;
        assert_eq!(second.leads(), None, "a code works once: {}", second.text());
        Ok(())
    });
}

/// P5: a code is of use only in the browser that asked for it.
#[test]
fn a_code_from_another_browser_is_refused() {
    run("relay", async |lab| {
        let stage = Stage::set(&lab).await?;
        let mut victim = stage.stranger()?;
        let page = victim.ask_for_code(&format!("https://{WWW}/"), STAFF).await?;
        let code = stage.smtp.mail_to(STAFF, 1).await?.pin()?;
        let mut thief = stage.stranger()?;
        let reply = thief.enter_code(&page, &code).await?;
        assert_eq!(reply.leads(), None, "{}", reply.text());
        let mut thief = stage.stranger()?;
        let own = thief.ask_for_code(&format!("https://{WWW}/"), "thief@example.com").await?;
        let reply = thief.enter_code(&own, &code).await?;
        assert_eq!(reply.leads(), None, "{}", reply.text());
        // It is still good where it belongs, and its hand-over code is good in no other browser.
        let reply = victim.enter_code(&page, &code).await?;
        let handover = reply.leads().unwrap_or_else(|| panic!("{}", reply.text())).to_owned();
        let mut thief = stage.stranger()?;
        let stolen = thief.get(&handover).await?;
        assert!(thief.session(WWW).is_err(), "{:?}", stolen.answer.headers);
        assert!(
            stolen.status() < 500 && stolen.header("location").is_none(),
            "a page with a way to start again, and no loop"
        );
        Ok(())
    });
}

/// How many try at once.
const REDEEMERS: usize = 200;

/// Two hundred tries at once redeem a code once (P4); the same for the hand-over.
#[test]
fn many_redeemers_at_once_get_one_session() {
    run("race", async |lab| {
        let stage = Stage::set(&lab).await?;
        let mut visitor = stage.stranger()?;
        let page = visitor.ask_for_code(&format!("https://{WWW}/"), STAFF).await?;
        let code = stage.smtp.mail_to(STAFF, 1).await?.pin()?;
        let tries = (0..REDEEMERS).map(|_| {
            let (mut visitor, page, code) = (visitor.clone(), page.clone(), code.clone());
            tokio::spawn(async move { visitor.enter_code(&page, &code).await.map(|reply| (visitor, reply)) })
        });
        let mut winners = Vec::new();
        for attempt in tries.collect::<Vec<_>>() {
            let (visitor, reply) = attempt.await??;
            if reply.leads().is_some() {
                winners.push((visitor, reply));
            }
        }
        assert_eq!(winners.len(), 1, "one redeemer wins");
        let (visitor, reply) = winners.pop().unwrap();
        let url = reply.leads().unwrap().to_owned();
        let tries = (0..REDEEMERS).map(|_| {
            let (mut visitor, url) = (visitor.clone(), url.clone());
            tokio::spawn(async move { visitor.get(&url).await.map(|_| visitor.session(WWW).is_ok()) })
        });
        let mut sessions = 0;
        for attempt in tries.collect::<Vec<_>>() {
            sessions += usize::from(attempt.await??);
        }
        assert_eq!(sessions, 1, "one hand-over wins");
        Ok(())
    });
}

/// A restart of the edge logs nobody out, and keeps the keys that origins know.
#[test]
fn sessions_survive_a_restart_of_the_edge() {
    run("restart", async |lab| {
        let mut stage = Stage::set(&lab).await?;
        let mut visitor = stage.somebody(WWW, STAFF).await?;
        let before = stage.certs().await?;
        stage.edge = stage.edge.restart().await?;
        // The connectors come back by themselves.
        let reply = until_up(&mut visitor, &format!("https://{WWW}/")).await?;
        assert_eq!((reply.0, reply.1.as_str()), (200, SONG));
        before.admits(stage.www.heads().last().unwrap(), STAFF)?;
        let single = visitor.browse(&format!("https://{APP}/")).await?;
        assert!(single.url.starts_with(&format!("https://{APP}/")), "single sign-on survives: {}", single.url);
        Ok(())
    });
}

/// `identity` tells who; `logout` asks by GET, acts by POST with its token, and ends every session of the login.
#[test]
fn identity_and_logout_do_what_they_say() {
    run("logout", async |lab| {
        let stage = Stage::set(&lab).await?;
        let mut visitor = stage.somebody(WWW, STAFF).await?;
        visitor.browse(&format!("https://{APP}/")).await?;
        for path in ["/.access/identity", "/cdn-cgi/access/get-identity"] {
            let reply = visitor.get(&format!("https://{WWW}{path}")).await?;
            assert_eq!(reply.status(), 200, "{path}");
            let identity: serde_json::Value = serde_json::from_str(&reply.text())?;
            assert_eq!((&identity["email"], &identity["idp"]["type"]), (&STAFF.into(), &"onetimepin".into()));
            assert_eq!(identity["user_uuid"].as_str().map(str::len), Some(36), "{identity}");
            assert_eq!(reply.header("cache-control"), Some("no-store"), "{path}");
            let mut stranger = stage.stranger()?;
            let reply = stranger.ask("GET", &format!("https://{WWW}{path}"), &[], b"").await?;
            assert_eq!(reply.status(), 401, "{path}");
        }
        let ask = visitor.get(&format!("https://{WWW}/.access/logout")).await?;
        assert_eq!(ask.status(), 200);
        assert_eq!(visitor.get(&format!("https://{WWW}/")).await?.status(), 200, "asking is not acting");
        let form = forms(&ask.text()).into_iter().find(|form| form.method == "post").unwrap();
        // Without the token, or from another site, nothing happens.
        let mut bare = form.clone();
        bare.fields.clear();
        let refused = visitor.clone().submit(&ask.url, &bare).await?;
        assert!((400..500).contains(&refused.status()), "{}", refused.status());
        let cross = [
            ("Origin", "https://evil.test"),
            ("Sec-Fetch-Site", "cross-site"),
            ("Content-Type", "application/x-www-form-urlencoded"),
        ];
        let refused = visitor
            .clone()
            .ask("POST", &format!("https://{WWW}/.access/logout"), &cross, form.encoded().as_bytes())
            .await?;
        assert!((400..500).contains(&refused.status()), "{}", refused.status());
        assert_eq!(visitor.get(&format!("https://{WWW}/")).await?.status(), 200, "still logged in");
        let before = visitor.clone();
        let done = visitor.submit(&ask.url, &form).await?;
        assert!(done.status() < 400, "{}", done.text());
        // S10: the old cookies are worth nothing, at any host of the login.
        for host in [WWW, APP] {
            let reply = before.clone().get(&format!("https://{host}/")).await?;
            assert!(matches!(reply.status(), 302 | 303 | 401), "{} at {host} after logout", reply.status());
        }
        let page = before.clone().browse(&format!("https://{APP}/")).await?;
        assert!(
            page.url.contains(LOGIN_HOST) && words(&page.text()).contains("Sign in"),
            "logged out everywhere: {}",
            page.url
        );
        Ok(())
    });
}

/// A request that is no navigation gets 401 JSON and is sent nowhere.
#[test]
fn a_script_without_a_session_gets_json_and_no_redirect() {
    run("json-401", async |lab| {
        let stage = Stage::set(&lab).await?;
        let mut visitor = stage.stranger()?;
        for headers in [
            &[("Accept", "application/json")][..],
            &[("Sec-Fetch-Mode", "cors"), ("Accept", "*/*")],
            &[("X-Requested-With", "XMLHttpRequest"), ("Accept", "text/html")],
        ] {
            let reply = visitor.ask("GET", &format!("https://{WWW}/api"), headers, b"").await?;
            assert_eq!(reply.status(), 401, "{headers:?}");
            assert!(reply.header("location").is_none());
            let problem: serde_json::Value = serde_json::from_str(&reply.text())?;
            assert!(
                problem["error"].is_string() && problem["message"].is_string() && problem["reference"].is_string(),
                "{problem}"
            );
        }
        let reply = visitor.get(&format!("https://{WWW}/")).await?;
        assert_eq!(reply.status(), 303);
        assert_eq!(reply.header("cache-control").map(|c| c.contains("no-store")), Some(true), "H11");
        Ok(())
    });
}

/// H12: the way back is never taken from the query.
#[test]
fn nobody_is_sent_to_another_site_after_a_login() {
    run("open-redirect", async |lab| {
        let stage = Stage::set(&lab).await?;
        for target in [
            "//evil.test/",
            "/\\evil.test",
            "/%0d%0aLocation:%20https://evil.test",
            "//evil.test@www.example.test/",
            "/%2f%2fevil.test",
        ] {
            let mut visitor = stage.stranger()?;
            let n = target.len();
            let email = format!("person{n}@example.test");
            let begun = visitor.get(&format!("https://{WWW}{target}")).await?;
            if begun.status() == 400 {
                continue;
            }
            let page = visitor.ask_for_code(&format!("https://{WWW}{target}"), &email).await?;
            let code = stage.smtp.mail_to(&email, 1).await?.pin()?;
            let mut reply = visitor.enter_code(&page, &code).await?;
            while let Some(location) = reply.leads().map(str::to_owned) {
                let next = tunnel_tests::visitor::resolve(&reply.url, &location);
                assert!(!location.starts_with("//") && !location.starts_with("/\\"), "{location} for {target}");
                assert_eq!(
                    tunnel_tests::visitor::origin_of(&next),
                    format!("https://{WWW}"),
                    "{location} for {target}"
                );
                reply = visitor.get(&next).await?;
            }
        }
        let mut visitor = stage.stranger()?;
        let login = visitor.browse(&format!("https://{WWW}/home")).await?;
        for (name, value) in
            [("redirect_url", "https://evil.test/"), ("return_to", "//evil.test"), ("next", "https://evil.test")]
        {
            let page = visitor.get(&format!("{}&{name}={value}", login.url)).await?;
            assert!(!page.text().contains("evil.test") || page.status() >= 400, "{name}");
        }
        Ok(())
    });
}

async fn until_up(visitor: &mut Visitor, url: &str) -> Result<(u16, String)> {
    let end = tokio::time::Instant::now() + tunnel_tests::PATIENCE;
    loop {
        let reply = visitor.get(url).await?;
        if reply.status() != 530 || tokio::time::Instant::now() > end {
            return Ok((reply.status(), reply.text()));
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}
