//! Web applications that people use, in a real browser, through the tunnel: nothing is set up for them but a hostname.

use std::fs;

use anyhow::Result;
use serde_json::json;
use tunnel_tests::{
    Browser, Connector, Edge, EdgeConfig, Lab, Process, Smtp,
    browser::BrowserOptions,
    edge::{ACCESS, LOGIN_HOST, listens},
    process::tool,
    run,
    stage::{STAFF, WWW},
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
