//! Applications in a browser when their session has ended: forms that are kept, scripts that are told.

use serde_json::{Value, json};
use tunnel_tests::{
    Browser, Canary, Reply, Stage, Visitor,
    browser::BrowserOptions,
    canary::{After, SONG},
    edge::{ACCESS, LOGIN_HOST},
    html::forms,
    run,
    stage::{STAFF, WWW},
};

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");
const PAGE: [(&str, &str); 2] = [("Accept", "text/html"), ("Sec-Fetch-Mode", "navigate")];

async fn send(visitor: &mut Visitor, target: &str, from: &[(&str, &str)], body: &[u8]) -> anyhow::Result<Reply> {
    let headers = [&PAGE[..], from].concat();
    visitor.ask("POST", &format!("https://{WWW}{target}"), &headers, body).await
}

/// A1: what a page of the application itself sent is kept, in order, and nothing is sent by itself; what comes from
/// anywhere else is not turned into something that the application's own page sends.
#[test]
fn a_form_of_the_applications_own_page_is_kept_and_no_other() {
    run("forms", async |lab| {
        let stage = Stage::set(&lab).await?;
        let mut visitor = stage.stranger()?;
        let body = "b=2&a=%22%3E%3Cscript%3Ealert(1)%3C/script%3E&b=3&t=%E4%BE%8B%0D%0A+x&form_token=mine";
        let same = ("Sec-Fetch-Site", "same-origin");
        let (origin, other) = (format!("https://{WWW}"), format!("https://{LOGIN_HOST}"));
        for from in [&[FORM, same][..], &[FORM, ("Origin", origin.as_str())]] {
            let page = send(&mut visitor, "/save?x=1&y", from, body.as_bytes()).await?;
            assert_eq!(page.status(), 401, "{}", page.text());
            let text = page.text();
            assert!(!text.contains("<script"), "{text}");
            let kept = forms(&text).into_iter().find(|form| form.action == format!("https://{WWW}/save?x=1&y"));
            let kept = kept.unwrap_or_else(|| panic!("no form in {text}"));
            let fields: Vec<_> = kept.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let script = "\"><script>alert(1)</script>";
            assert_eq!(fields, [("b", "2"), ("a", script), ("b", "3"), ("t", "例\r\n x"), ("form_token", "mine")]);
            assert!(text.contains("target=\"_blank\" rel=\"noopener\""), "{text}");
            assert_eq!(page.header("refresh"), None, "nothing goes on by itself");
            let policy = page.header("content-security-policy").unwrap_or_default();
            assert!(policy.contains("default-src 'none'") && !policy.contains("script-src"), "{policy}");
            assert!(page.header("cache-control").is_some_and(|kept| kept.contains("no-store")), "H11");
        }
        // A path that alone names another host.
        let page = send(&mut visitor, "//evil.test/x", &[FORM, same], b"a=1").await?;
        assert!(page.status() == 401 || page.status() == 400, "{}", page.status());
        let actions: Vec<_> = forms(&page.text()).into_iter().map(|form| form.action).collect();
        assert!(actions.iter().all(|action| action.starts_with(&format!("https://{WWW}/"))), "{actions:?}");
        for from in [
            &[FORM, ("Sec-Fetch-Site", "cross-site")][..],
            &[FORM, ("Sec-Fetch-Site", "same-site"), ("Origin", other.as_str())],
            &[FORM, ("Sec-Fetch-Site", "cross-site"), ("Origin", origin.as_str())],
            &[FORM, ("Sec-Fetch-Site", "none")],
            &[FORM, ("Origin", "https://evil.test")],
            &[FORM, ("Origin", "null")],
            &[FORM],
        ] {
            let reply = send(&mut visitor, "/save", from, b"secret=kept").await?;
            assert_eq!(reply.status(), 303, "{from:?}: {}", reply.text());
            let to = reply.header("location").unwrap_or_default();
            assert!(to.starts_with(&format!("https://{LOGIN_HOST}/.access/login?")), "{to}");
            assert!(!reply.text().contains("secret"));
        }
        // What a page cannot repeat is not kept, and it says what to do.
        let large = format!("a={}", "x".repeat(64 * 1024));
        for (kind, body) in [
            (
                "multipart/form-data; boundary=b",
                "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nsecret\r\n--b--\r\n",
            ),
            ("text/plain", "a=secret"),
            ("application/x-www-form-urlencoded; charset=Shift_JIS", "a=secret"),
            (FORM.1, "a=%83%65%83secret"),
            (FORM.1, large.as_str()),
        ] {
            let page = send(&mut visitor, "/save", &[("Content-Type", kind), same], body.as_bytes()).await?;
            let text = page.text();
            assert!(page.status() == 401 && !text.contains("secret") && !text.contains("xxxx"), "{kind}: {text}");
            assert!(forms(&text).is_empty() && text.contains("/.access/signed-in?path=%2Fsave"), "{kind}: {text}");
        }
        stage.assert_silence("nobody logged in");
        Ok(())
    });
}

/// A1, A3: the whole way in a browser: the session ends while a form is filled in, the person logs in again beside it and sends
/// it. When somebody else logs in there, it is not sent.
#[test]
fn a_person_logs_in_again_beside_a_form_and_sends_it() {
    run("renew", async |lab| {
        let form = b"<form method=post action=/save><input name=title><textarea name=text></textarea>\
            <input type=hidden name=tag value=1><input type=hidden name=tag value=2><button>Save</button></form>";
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n", form.len());
        let page = [head.as_bytes(), form].concat();
        let manners = move |head: &tunnel_tests::Head| match head.method() {
            "POST" => (tunnel_tests::canary::page(SONG), After::Close),
            _ => (page.clone(), After::KeepAlive),
        };
        let stage = Stage::with(&lab, ACCESS, Canary::answering(std::sync::Arc::new(manners)).await?).await?;
        let mut browser =
            Browser::start(&lab, BrowserOptions { ca: Some(stage.ca.clone()), ..Default::default() }).await?;
        browser.open(&format!("https://{WWW}/edit")).await?;
        browser.fill("email", STAFF).await?;
        browser.press("button[value=pin]").await?;
        browser.fill("code", &stage.smtp.mail_to(STAFF, 1).await?.pin()?).await?;
        browser.press("form:has([name=code]) button").await?;
        browser.arrives(&format!("https://{WWW}/edit")).await?;
        browser.fill("title", "Minutes \"<b>").await?;
        browser.fill("text", "one\ntwo").await?;
        // The session here is over, the login is not.
        let over = "await context.clearCookies({ name: '__Host-access', domain: args.host })";
        browser.script(over, json!({"host": WWW})).await?;
        stage.www.forget();
        browser.press("form button").await?;
        assert!(browser.text().await?.contains("your form is kept"), "{}", browser.text().await?);
        assert!(browser.text().await?.contains(STAFF), "{}", browser.text().await?);
        stage.www.assert_heard_nothing("the session has ended");
        // In a tab of its own, which is closed again; the page with the form stays.
        let beside = "const [tab] = await Promise.all([
                context.waitForEvent('page'), page.locator('main a[target=_blank]').click()
            ]);
            await tab.waitForURL(args.url);
            const text = await tab.locator('body').innerText();
            await tab.close();
            return text";
        let url = format!("https://{WWW}/.access/signed-in?path=%2Fsave");
        let said = browser.script(beside, json!({"url": url})).await?;
        assert!(said.as_str().unwrap_or_default().contains("You can close this tab"), "{said}");
        stage.www.assert_heard_nothing("nobody has sent the form again");
        browser.press("form button").await?;
        stage.www.wait_until(|www| www.heard("tag=2")).await?;
        let heard = String::from_utf8_lossy(&stage.www.everything()).into_owned();
        let body = "title=Minutes+%22%3Cb%3E&text=one%0D%0Atwo&tag=1&tag=2";
        assert!(heard.contains(body), "{heard}");
        assert!(
            heard.to_lowercase().contains(&format!("origin: https://{WWW}")),
            "as if it had been sent at once: {heard}"
        );
        assert_eq!(heard.matches("POST /save ").count(), 1, "{heard}");
        browser.arrives(&format!("https://{WWW}/save")).await?;
        assert_eq!(browser.text().await?, SONG);
        // Another one, and this time the login is over, too.
        browser.open(&format!("https://{WWW}/edit")).await?;
        browser.fill("title", "Minutes").await?;
        let revoked = stage.edge.run(&["admin", "session", "revoke", STAFF]).await?;
        assert_eq!(revoked.code, 0, "{}", revoked.said());
        stage.www.forget();
        browser.press("form button").await?;
        assert!(browser.text().await?.contains("your form is kept"), "{}", browser.text().await?);
        stage.www.assert_heard_nothing("the session has ended");
        let log_in = "const [tab] = await Promise.all([context.waitForEvent('page'), page.locator('main a[target=_blank]').click()]);
            await tab.locator('[name=email]').fill(args.email);
            await tab.locator('button[value=pin]').click();
            await tab.waitForURL('**challenge=*');
            globalThis.tab = tab";
        // As somebody else.
        browser.script(log_in, json!({"email": "again@example.test"})).await?;
        let code = stage.smtp.mail_to("again@example.test", 1).await?.pin()?;
        let enter = "const tab = globalThis.tab;
            await tab.locator('[name=code]').fill(args.code);
            await tab.locator('form:has([name=code]) button').click();
            await tab.waitForURL(args.url);
            const text = await tab.locator('body').innerText();
            await tab.close();
            return text";
        let said = browser.script(enter, json!({"code": code, "url": url})).await?;
        assert!(said.as_str().unwrap_or_default().contains("You can close this tab"), "{said}");
        stage.www.assert_heard_nothing("nobody has sent the form again");
        browser.press("form button").await?;
        let text = browser.text().await?;
        assert!(text.contains("Somebody else filled this form in"), "{text}");
        assert!(text.contains(STAFF) && text.contains("again@example.test"), "{text}");
        stage.www.assert_heard_nothing("nothing is sent in the wrong name");
        Ok(())
    });
}

/// A script is told where its person can log in: an address at its own host, which leads to a page that can be closed.
#[test]
fn a_script_is_told_where_its_person_logs_in() {
    run("script", async |lab| {
        let stage = Stage::set(&lab).await?;
        let mut visitor = stage.stranger()?;
        let cors = [("Sec-Fetch-Mode", "cors"), ("Origin", "https://evil.test"), ("Accept", "*/*")];
        for method in ["GET", "POST"] {
            let reply = visitor.ask(method, &format!("https://{WWW}/api/x?y=z"), &cors, b"").await?;
            assert_eq!(reply.status(), 401);
            let allowed = reply.answer.headers.iter().any(|(name, _)| name.starts_with("access-control-"));
            assert!(!allowed, "no other origin reads it: {:?}", reply.answer.headers);
            let problem: Value = serde_json::from_str(&reply.text())?;
            assert_eq!(problem["login"], format!("https://{WWW}/.access/signed-in?path=%2Fapi%2Fx"));
        }
        let login = format!("https://{WWW}/.access/signed-in?path=%2Fapi%2Fx");
        let page = visitor.login(&stage.smtp, &login, STAFF).await?;
        assert_eq!((page.status(), page.url.as_str()), (200, login.as_str()));
        assert!(page.text().contains("You are signed in"), "{}", page.text());
        stage.assert_silence("the page is the edge's");
        let reply = visitor.ask("GET", &format!("https://{WWW}/api/x?y=z"), &cors, b"").await?;
        assert_eq!(reply.status(), 200);
        Ok(())
    });
}

/// S2, T11: the language is chosen on a page of an application's host, stays there, and is no business of the origin's.
#[test]
fn a_language_that_was_chosen_stays_and_no_origin_hears_of_it() {
    run("language", async |lab| {
        let setting = b"HTTP/1.1 200 OK\r\nSet-Cookie: __Host-access-language=en; Path=/; Secure\r\n\
            Set-Cookie: own=1\r\nContent-Length: 2\r\n\r\nok";
        let manners = move |_: &tunnel_tests::Head| (setting.to_vec(), After::KeepAlive);
        let stage = Stage::with(&lab, ACCESS, Canary::answering(std::sync::Arc::new(manners)).await?).await?;
        let mut visitor = stage.somebody(WWW, STAFF).await?;
        let missing = format!("https://{WWW}/.access/nothing?a=b");
        let page = visitor.get(&missing).await?;
        assert_eq!(page.status(), 404);
        let link = regex::Regex::new(r#"hreflang="ja" href="([^"]+)""#)?.captures(&page.text()).unwrap()[1].to_owned();
        let link = tunnel_tests::visitor::resolve(&missing, &link.replace("&#38;", "&"));
        let reply = visitor.get(&link).await?;
        assert_eq!((reply.status(), reply.header("location")), (303, Some(missing.as_str())));
        let back = visitor.follow(reply).await?;
        assert!(back.text().contains("<html lang=\"ja\""), "{}", back.text());
        let reply = visitor.get(&format!("https://{WWW}/")).await?;
        assert_eq!(reply.status(), 200);
        let set: Vec<_> = reply.answer.headers.iter().filter(|(name, _)| name == "set-cookie").collect();
        assert!(set.len() == 1 && set[0].1.starts_with("own="), "{set:?}");
        let heads = stage.www.wait_for_heads(1).await?;
        assert!(heads.iter().all(|head| !head.all("cookie").join("; ").contains("access")), "{heads:?}");
        Ok(())
    });
}
