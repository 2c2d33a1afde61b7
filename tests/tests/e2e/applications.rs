//! Web applications that people use, in a real browser, through the tunnel: nothing is set up for them but a hostname.

use std::fs;

use anyhow::Result;
use serde_json::{Value, json};
use tunnel_tests::{
    Browser, Canary, Connector, Edge, EdgeConfig, Lab, Process, Smtp, Stage,
    browser::BrowserOptions,
    edge::{ACCESS, LOGIN_HOST, listens},
    origin::Streams,
    process::tool,
    run,
    stage::{APP, STAFF, WWW},
};

/// A person's browser, logged in at `url` by PIN, with what is there on the page.
async fn open(lab: &Lab, edge: &Edge, smtp: &Smtp, url: &str) -> Result<Browser> {
    let mut browser = Browser::start(lab, BrowserOptions { ca: Some(edge.ca().await?), ..Default::default() }).await?;
    log_in(&mut browser, smtp, url).await?;
    Ok(browser)
}

async fn log_in(browser: &mut Browser, smtp: &Smtp, url: &str) -> Result<()> {
    let mails = smtp.mails_to(STAFF)?.len();
    browser.open(url).await?;
    assert!(browser.url().await?.starts_with(&format!("https://{LOGIN_HOST}/")), "{}", browser.url().await?);
    browser.fill("email", STAFF).await?;
    browser.press("button[value=pin]").await?;
    let code = smtp.mail_to(STAFF, mails.saturating_add(1)).await?.pin()?;
    browser.fill("code", &code).await?;
    browser.press("form:has([name=code]) button").await?;
    browser.arrives(&format!("{url}**")).await
}

/// JupyterLab as it comes from its registry: a single page of many assets, and WebSockets to a kernel that counts.
#[test]
fn jupyterlab_runs_a_notebook_in_the_browser() {
    run("jupyter", async |lab| {
        let notebooks = lab.path("notebooks");
        fs::create_dir_all(&notebooks)?;
        let mut command = lab.command(tool("venv")?.join("bin/jupyter-lab"));
        command.args(["--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=8888", "--ServerApp.token="]);
        // It looks at the hostname that a visitor came by, which is not `localhost`.
        command.args(["--ServerApp.allow_remote_access=True", "--LabApp.collaborative=False"]);
        command.arg(format!("--ServerApp.root_dir={}", notebooks.display()));
        let mut jupyter = Process::start("jupyter", command)?;
        listens(&mut jupyter, "127.0.0.1:8888".parse()?).await?;
        let smtp = Smtp::start(&lab).await?;
        let edge = Edge::with_access(&lab, EdgeConfig::with_mail(&smtp), ACCESS).await?;
        let _connector = Connector::publish(&lab, WWW, "http://127.0.0.1:8888").await?;
        let mut browser = open(&lab, &edge, &smtp, &format!("https://{WWW}/lab")).await?;
        let notebook = "\
            await page.locator('.jp-LauncherCard[data-category=Notebook]').first().click(); \
            await page.getByText('| Idle').waitFor(); \
            const cell = page.locator('.jp-Notebook .jp-CodeCell .cm-content').first(); \
            await cell.click(); \
            await page.keyboard.type('print(6 * 7, \"through the tunnel\")'); \
            await page.keyboard.press('Shift+Enter'); \
            const output = page.locator('.jp-OutputArea-output').first(); \
            await output.waitFor(); \
            return await output.innerText()";
        let output = browser.script(notebook, json!(null)).await?;
        assert_eq!(output.as_str().map(str::trim), Some("42 through the tunnel"));
        // The notebook is saved by the page's own requests.
        let save = "\
            await page.locator('[data-jp-item-name=save]').first().click(); \
            await page.locator('.jp-Dialog button.jp-mod-accept').click()";
        browser.script(save, json!(null)).await?;
        let saved = || fs::read_to_string(notebooks.join("Untitled.ipynb")).unwrap_or_default();
        let end = tokio::time::Instant::now() + tunnel_tests::PATIENCE;
        while !saved().contains("42 through the tunnel") {
            assert!(tokio::time::Instant::now() < end, "the notebook was not saved: {}", saved());
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        drop(browser);
        jupyter.terminate().await?;
        Ok(())
    });
}

/// A single page whose session ends under it: its requests are answered so that its script can tell, and nothing of the page
/// is lost. Signed in again beside it, it goes on.
#[test]
fn a_page_goes_on_after_its_session_lapsed_and_was_renewed_beside_it() {
    run("lapse", async |lab| {
        let stage = Stage::set(&lab).await?;
        let page = format!("https://{WWW}/");
        let mut browser = open(&lab, &stage.edge, &stage.smtp, &page).await?;
        let ask = "return await page.evaluate(async () => { \
            const r = await fetch('/api/things', {headers: {accept: 'application/json'}}); \
            return {status: r.status, type: r.headers.get('content-type'), text: await r.text(), url: r.url} })";
        assert_eq!(browser.script(ask, json!(null)).await?["status"], 200);
        stage.edge.run(&["admin", "session", "revoke", STAFF]).await?.ok()?;
        stage.www.forget();
        let lapsed = browser.script(ask, json!(null)).await?;
        assert_eq!((&lapsed["status"], &lapsed["type"]), (&json!(401), &json!("application/json")), "{lapsed}");
        assert_eq!(lapsed["url"], format!("https://{WWW}/api/things"), "no redirect to another origin");
        let told: Value = serde_json::from_str(lapsed["text"].as_str().unwrap_or_default())?;
        let login = told["login"].as_str().unwrap_or_default();
        assert!(login.starts_with(&page), "where to sign in again: {told}");
        stage.assert_silence("the session has ended");
        // The person signs in again in another tab; the first one stays as it is.
        let beside = "const other = await context.newPage(); await other.goto(args.login); \
            await other.locator('[name=email]').fill(args.email); await other.locator('button[value=pin]').click(); \
            globalThis.beside = other; await other.locator('[name=code]').waitFor()";
        // By another address: nobody is sent two codes within half a minute.
        browser.script(beside, json!({"login": login, "email": "again@example.test"})).await?;
        let code = stage.smtp.mail_to("again@example.test", 1).await?.pin()?;
        let enter = "const other = globalThis.beside; await other.locator('[name=code]').fill(args.code); \
            await other.locator('form:has([name=code]) button').first().click(); await other.waitForURL(args.page + '**')";
        browser.script(enter, json!({"code": code, "page": page})).await?;
        assert_eq!(browser.script(ask, json!(null)).await?["status"], 200, "the page goes on where it was");
        Ok(())
    });
}

/// H8: a cookie that a browser adds by itself opens no WebSocket for a page of a sibling, which is the same site to the
/// browser. On a zone of two labels, since `localhost` is a site of its own kind.
#[test]
fn a_page_of_a_sibling_opens_no_websocket_with_the_visitors_cookie() {
    run("sibling", async |lab| {
        let streams = Streams::start().await?;
        let app = Canary::start().await?;
        let smtp = Smtp::start(&lab).await?;
        let edge = Edge::with_access(&lab, EdgeConfig::with_mail(&smtp), ACCESS).await?;
        let _www = Connector::publish(&lab, WWW, &streams.url()).await?;
        let _app = Connector::publish(&lab, APP, &app.url()).await?;
        let mut browser = open(&lab, &edge, &smtp, &format!("https://{WWW}/events-of-nothing")).await?;
        let echo = "return await page.evaluate((host) => new Promise((done) => { \
            const socket = new WebSocket(`wss://${host}/ws`); \
            socket.onopen = () => socket.send('hello'); \
            socket.onmessage = (message) => done(message.data); \
            socket.onclose = () => done('closed') }), args.host)";
        assert_eq!(browser.script(echo, json!({"host": WWW})).await?, "hello", "its own page may");
        browser.open(&format!("https://{APP}/")).await?;
        browser.arrives(&format!("https://{APP}/")).await?;
        assert_eq!(browser.script(echo, json!({"host": WWW})).await?, "closed", "a sibling's page may not");
        Ok(())
    });
}
