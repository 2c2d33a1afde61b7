//! Pages of another site, in a browser: what they send with a visitor's session, and what their scripts may read.

use std::sync::Arc;

use serde_json::json;
use tunnel_tests::{
    Browser, Canary, Stage,
    browser::BrowserOptions,
    canary::{After, SONG, page},
    edge::ACCESS,
    run,
    stage::{APP, STAFF, WWW},
};

/// Asks as no page may without being allowed to; gives the status, and where the page's person could log in.
const FETCH: &str = "return await page.evaluate(async (url) => {
    try {
        const answer = await fetch(url, { method: 'PUT', headers: { 'X-Api': '1' } });
        return [answer.status, (await answer.json()).login];
    } catch (error) {
        return [0, String(error)];
    }
}, args.url)";

/// S4, H9: the answer of another site that comes as a form (a payment's, SAML's) arrives whole where the application says so,
/// and as a bare GET after a login elsewhere; scripts of another origin learn only from an application that lists it.
#[test]
fn another_site_sends_forms_and_reads_refusals_only_where_an_application_says_so() {
    run("cross-site", async |lab| {
        let form = format!(
            "<form method=post action=\"https://{WWW}/acs\"><input type=hidden name=answer value=signed><button>Back</button></form>"
        );
        let elsewhere = Canary::answering(Arc::new(move |_: &tunnel_tests::Head| (page(&form), After::Close))).await?;
        let stage = Stage::set(&lab).await?;
        let mut browser =
            Browser::start(&lab, BrowserOptions { ca: Some(stage.ca.clone()), ..Default::default() }).await?;
        browser.open(&format!("https://{WWW}/")).await?;
        browser.fill("email", STAFF).await?;
        browser.press("button[value=pin]").await?;
        browser.fill("code", &stage.smtp.mail_to(STAFF, 1).await?.pin()?).await?;
        browser.press("form:has([name=code]) button").await?;
        browser.arrives(&format!("https://{WWW}/")).await?;
        stage.www.forget();
        browser.open(&elsewhere.url()).await?;
        browser.press("form button").await?;
        browser.arrives(&format!("https://{WWW}/acs")).await?;
        stage.www.wait_until(|www| www.heard("GET /acs ")).await?;
        assert!(!stage.www.heard("POST /acs ") && !stage.www.heard("answer=signed"), "the session did not go with it");
        browser.open(&elsewhere.url()).await?;
        for host in [WWW, APP] {
            let said = browser.script(FETCH, json!({"url": format!("https://{host}/api")})).await?;
            assert_eq!(said[0], 0, "{host}: {said}");
        }
        let cors = format!(
            "cors: {{allowed_origins: [\"{}\"], allowed_methods: [PUT], allowed_headers: [X-Api]}}",
            elsewhere.url()
        );
        let access = ACCESS
            .replace("{name: www,", "{name: www, same_site: none,")
            .replace("{name: app,", &format!("{{name: app, {cors},"));
        let said = stage.edge.apply(&access).await?;
        assert!(said.contains("warning: application `www`: with `same_site: none`"), "{said}");
        // What is declared counts for the cookies that come from now on.
        let forget = "await context.clearCookies({ name: '__Host-access', domain: args.host })";
        browser.script(forget, json!({"host": WWW})).await?;
        browser.open(&format!("https://{WWW}/")).await?;
        browser.arrives(&format!("https://{WWW}/")).await?;
        let cookies =
            browser.script("return await context.cookies(args.url)", json!({"url": format!("https://{WWW}/")}));
        let cookies = cookies.await?;
        let session = cookies.as_array().unwrap().iter().find(|cookie| cookie["name"] == "__Host-access");
        assert_eq!(session.unwrap()["sameSite"], "None", "{cookies}");
        stage.www.forget();
        browser.open(&elsewhere.url()).await?;
        browser.press("form button").await?;
        browser.arrives(&format!("https://{WWW}/acs")).await?;
        stage.www.wait_until(|www| www.heard("answer=signed")).await?;
        assert!(stage.www.heard("POST /acs ") && browser.text().await? == SONG, "{}", browser.text().await?);
        // Nobody is logged in at the other application: its refusal says so, to that page.
        stage.app.forget();
        browser.open(&elsewhere.url()).await?;
        let said = browser.script(FETCH, json!({"url": format!("https://{APP}/api")})).await?;
        assert_eq!(said, json!([401, format!("https://{APP}/.access/signed-in?path=%2Fapi")]));
        let said = browser.script(FETCH, json!({"url": format!("https://{WWW}/api")})).await?;
        assert_eq!(said[0], 0, "{said}");
        stage.app.assert_heard_nothing("neither the preflight nor what followed was let in");
        assert!(!stage.www.heard("/api"), "nor here");
        Ok(())
    });
}
