//! Web applications that people use, in a real browser, through the tunnel: nothing is set up for them but a hostname.

use std::fs;

use anyhow::Result;
use serde_json::{Value, json};
use tunnel_tests::{
    Browser, Canary, Connector, Edge, EdgeConfig, Lab, Process, Smtp, Stage,
    browser::BrowserOptions,
    edge::{ACCESS, LOGIN_HOST, listens},
    origin::{Streams, block},
    process::{finish, tool},
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

/// `www` for staff, and `app` for programs on this machine that cannot log in: npm can be told no header of a service token.
const REGISTRY_ACCESS: &str = "\
login_methods:
  - {name: pin, type: one_time_pin}
policies:
  - {name: staff-only, action: allow, include: [{email_domain: example.test}]}
  - {name: builds, action: bypass, include: [{ip: 127.0.0.1/32}]}
applications:
  - {name: www, hostnames: [www.example.test], policies: [staff-only]}
  - {name: app, hostnames: [app.example.test], policies: [builds]}
";

/// Whatever it has, it gives to those who have logged in to it, and to nobody else.
const REGISTRY_CONFIG: &str = "\
storage: ./storage
auth: {htpasswd: {file: ./htpasswd}}
uplinks: {}
packages: {'**': {access: $authenticated, publish: $authenticated}}
security: {api: {legacy: false, jwt: {sign: {expiresIn: 1h}}}}
log: {type: stdout, format: json, level: warn}
";

const REGISTRY: &str = "127.0.0.1:4873";

/// A registry of npm packages (verdaccio) with a web page, on [`REGISTRY`]; it keeps its things in `verdaccio` of the lab.
async fn registry(lab: &Lab) -> Result<Process> {
    let config = lab.write("verdaccio/config.yaml", REGISTRY_CONFIG)?;
    let mut command = lab.command("node");
    command.arg(tool("node/node_modules/verdaccio")?.join("bin/verdaccio")).arg("--config").arg(config);
    command.args(["--listen", REGISTRY]).current_dir(lab.path("verdaccio"));
    let mut registry = Process::start("verdaccio", command)?;
    listens(&mut registry, REGISTRY.parse()?).await?;
    Ok(registry)
}

/// npm in a folder of the lab, run to its end.
async fn npm(lab: &Lab, folder: &str, args: &[&str]) -> Result<String> {
    let mut command = lab.command("npm");
    command.args(args).current_dir(lab.path(folder));
    finish(command).await?.ok()
}

/// A single page that knows people by a log-in of its own, beside the edge's: its scripts ask its service with an
/// `Authorization` of theirs, and hear its own refusals; its deep links can be opened; and what npm publishes at one hostname
/// is what the page at the other one shows and gives.
#[test]
fn verdaccio_keeps_packages_behind_a_log_in_of_its_own() {
    run("verdaccio", async |lab| {
        let _registry = registry(&lab).await?;
        let smtp = Smtp::start(&lab).await?;
        let edge = Edge::with_access(&lab, EdgeConfig::with_mail(&smtp), REGISTRY_ACCESS).await?;
        let _www = Connector::publish(&lab, WWW, &format!("http://{REGISTRY}")).await?;
        let _app = Connector::publish(&lab, APP, &format!("http://{REGISTRY}")).await?;
        let mut browser = open(&lab, &edge, &smtp, &format!("https://{WWW}/")).await?;
        let nothing = "await page.getByText('No Package Published Yet').waitFor()";
        browser.script(nothing, json!(null)).await?;
        let password = "correct horse battery staple";
        let join = "return await page.evaluate(async (password) => { \
            const r = await fetch('/-/user/org.couchdb.user:ann', {method: 'PUT', \
                headers: {'content-type': 'application/json'}, body: JSON.stringify({name: 'ann', password})}); \
            return {status: r.status, text: await r.text()} }, args.password)";
        let joined = browser.script(join, json!({"password": password})).await?;
        assert_eq!(joined["status"], 201, "{joined}");
        let told: Value = serde_json::from_str(joined["text"].as_str().unwrap_or_default())?;
        let token = told["token"].as_str().unwrap_or_default();

        let ca = lab.write("registry-ca.pem", &edge.ca().await?)?;
        let settings = format!(
            "registry=https://{APP}/\n//{APP}/:_authToken={token}\ncafile={}\nupdate-notifier=false\naudit=false\n",
            ca.display()
        );
        lab.write("home/.npmrc", &settings)?;
        lab.write("minutes/package.json", r#"{"name": "@lab/minutes", "version": "1.0.0", "main": "data.bin"}"#)?;
        lab.write("minutes/README.md", "# What was said\n")?;
        let data = block().repeat(16);
        fs::write(lab.path("minutes/data.bin"), &data)?;
        let published = npm(&lab, "minutes", &["publish"]).await?;
        assert!(published.contains("+ @lab/minutes@1.0.0"), "{published}");
        lab.write("user/package.json", "{}")?;
        npm(&lab, "user", &["install", "--ignore-scripts", "@lab/minutes"]).await?;
        assert!(fs::read(lab.path("user/node_modules/@lab/minutes/data.bin"))? == data, "npm got what was published");

        // To whom the registry does not know it says so by its own answer, which is none of the edge's.
        let deep = format!("https://{WWW}/-/web/detail/@lab/minutes");
        let unknown = "const asked = page.waitForResponse((one) => one.url().includes('/-/verdaccio/data/sidebar/')); \
            await page.goto(args.url); \
            await page.getByText('you need credentials').waitFor(); \
            const answer = await asked; \
            return {status: answer.status(), text: await answer.text()}";
        let unknown = browser.script(unknown, json!({"url": deep})).await?;
        assert_eq!(unknown["status"], 401, "{unknown}");
        assert!(unknown["text"].as_str().is_some_and(|text| text.contains("authorization required")), "{unknown}");
        let log_in = "await page.goto(args.url); \
            await page.locator('[data-testid=header--button-login]').click(); \
            await page.locator('[name=username]').fill('ann'); \
            await page.locator('[name=password]').fill(args.password); \
            await page.locator('[data-testid=login-dialog-form-login-button]').click(); \
            await page.locator('[data-testid=package-title]').first().click(); \
            await page.getByText('What was said').first().waitFor(); \
            return page.url()";
        let start = format!("https://{WWW}/");
        assert_eq!(browser.script(log_in, json!({"url": start, "password": password})).await?, json!(deep));
        let reload = "const answer = await page.reload(); \
            await page.getByText('What was said').first().waitFor(); \
            return answer.status()";
        assert_eq!(browser.script(reload, json!(null)).await?, 200);
        let download = "const [file] = await Promise.all([page.waitForEvent('download'), \
                page.locator('[data-testid=download-tarball-btn]').click()]); \
            await file.saveAs(args.path); \
            return file.suggestedFilename()";
        let path = lab.path("downloaded.tgz");
        assert_eq!(browser.script(download, json!({"path": path})).await?, "minutes-1.0.0.tgz");
        let kept = fs::read(lab.path("verdaccio/storage/@lab/minutes/minutes-1.0.0.tgz"))?;
        assert!(fs::read(&path)? == kept, "the page gave what the registry keeps");
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
