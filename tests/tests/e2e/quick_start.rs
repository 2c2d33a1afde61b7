//! The first five minutes: `edge demo`, and `edge` with no configuration beside one `connector` command.

use tunnel_tests::{
    Browser, Connector, Lab, Process, Visitor,
    browser::BrowserOptions,
    edge::listens,
    html::words,
    origin::Nginx,
    process::{program, signal},
    run,
};

async fn quick(lab: &Lab, args: &[&str]) -> anyhow::Result<Process> {
    let mut command = lab.command(program("edge")?);
    command.args(args).arg("--data-dir").arg(lab.path("edge"));
    let mut process = Process::start("edge", command)?;
    listens(&mut process, "127.0.0.1:8080".parse()?).await?;
    listens(&mut process, "127.0.0.1:8443".parse()?).await?;
    Ok(process)
}

/// Types an address and, from the terminal, its code.
async fn log_in(browser: &mut Browser, edge: &Process, email: &str) -> anyhow::Result<()> {
    browser.fill("email", email).await?;
    browser.press("button[value=pin]").await?;
    let code = edge.log.wait_for(r"(?m)^ +(\d{4}) (\d{4})$").await?;
    browser.fill("code", &format!("{}{}", code[1], code[2])).await?;
    browser.press("form:has([name=code]) button").await
}

/// The demo: a URL, a login page, the PIN in the terminal, the page; no warning, no configuration.
#[test]
fn the_demo_shows_a_page_after_a_pin_from_the_terminal() {
    run("demo", async |lab| {
        let edge = quick(&lab, &["demo"]).await?;
        let url = edge.log.wait_for(r"http://hello\.localhost:8080\S*").await?.remove(0);
        edge.log.wait_for(r"https://hello\.localhost:8443").await?;
        let mut browser = Browser::start(&lab, BrowserOptions::default()).await?;
        assert_eq!(browser.open(&url).await?, 200);
        assert!(
            browser.url().await?.starts_with("http://access.localhost:8080/.access/login"),
            "{}",
            browser.url().await?
        );
        log_in(&mut browser, &edge, "somebody@example.com").await?;
        browser.arrives("http://hello.localhost:8080/**").await?;
        assert!(browser.text().await?.contains("Hello"), "{}", browser.text().await?);
        // It says what to type next, and a mail file holds the code for whoever missed it.
        edge.log.wait_for("connector --hostname").await?;
        Ok(())
    });
}

/// Two commands, no click between them; the setup page makes the first administrator.
#[test]
fn the_quick_start_is_two_commands_and_a_setup_page() {
    run("quick", async |lab| {
        let nginx = Nginx::start(&lab, 3000, "<h1>My page</h1>").await?;
        let edge = quick(&lab, &[]).await?;
        let setup = edge.log.wait_for(r"http://access\.localhost:8080/\.access/setup\S*").await?.remove(0);
        let _connector = Connector::publish(&lab, "www.localhost", "http://localhost:3000").await?;
        let mut visitor = Visitor::plain("127.0.0.1:8080".parse()?);
        let before = visitor.browse("http://www.localhost:8080/").await?;
        assert!(
            words(&before.text()).contains("no administrator yet"),
            "every page says so: {}",
            words(&before.text())
        );
        let mut browser = Browser::start(&lab, BrowserOptions::default()).await?;
        assert_eq!(browser.open(&setup).await?, 200);
        browser.fill("email", "me@example.com").await?;
        browser.press("form:has([name=email]) button").await?;
        let code = edge.log.wait_for(r"(?m)^ +(\d{4}) (\d{4})$").await?;
        browser.fill("code", &format!("{}{}", code[1], code[2])).await?;
        browser.press("form:has([name=code]) button").await?;
        let done = browser.text().await?;
        assert!(done.contains("connector"), "the next command is on the page: {done}");
        // The link worked once.
        let mut other = Browser::start(&lab, BrowserOptions::default()).await?;
        let status = other.open(&setup).await?;
        assert!(status >= 400, "a used setup link: {status} {}", other.text().await?);
        browser.open("http://www.localhost:8080/deep/page?x=1").await?;
        if browser.url().await?.contains("/.access/login") {
            browser.fill("email", "me@example.com").await?;
            browser.press("button[value=pin]").await?;
            let code = edge.log.wait_for(r"(?ms)^ +\d{4} \d{4}$.*^ +(\d{4}) (\d{4})$").await?;
            browser.fill("code", &format!("{}{}", code[1], code[2])).await?;
            browser.press("form:has([name=code]) button").await?;
        }
        browser.arrives("http://www.localhost:8080/deep/page?x=1").await?;
        assert_eq!(browser.text().await?, "My page");
        assert!(nginx.access_log()?.contains("/deep/page?x=1"));
        Ok(())
    });
}

/// The quick start listens on loopback only, and its files are the owner's.
#[test]
fn the_quick_start_is_for_this_machine_and_this_user_only() {
    run("quick-safe", async |lab| {
        use std::os::unix::fs::PermissionsExt;
        let mut edge = quick(&lab, &["run", "--admin", "me@example.com"]).await?;
        edge.log.wait_for("The edge is ready").await?;
        edge.log.wait_for("Administrators: me@example.com").await?;
        assert!(!edge.log.text().contains("/.access/setup"), "--admin skips the setup link");
        let mut sockets = lab.command("ss");
        sockets.args(["-Hltn"]);
        let listening = tunnel_tests::process::finish(sockets).await?.ok()?;
        for line in listening.lines() {
            let local = line.split_whitespace().nth(3).unwrap_or_default();
            assert!(local.starts_with("127.") || local.starts_with("[::1]"), "{local} is not loopback");
        }
        for file in ["edge.sock", "master.key"] {
            let mode = std::fs::metadata(lab.path("edge").join(file))?.permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{file}");
        }
        for entry in std::fs::read_dir(lab.path("edge"))? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                assert_eq!(
                    entry.metadata()?.permissions().mode() & 0o077,
                    0,
                    "{} is the owner's only",
                    entry.path().display()
                );
            }
        }
        // Stopped, it leaves one file that is whole by itself: what a backup copies.
        signal(edge.pid(), "TERM").await?;
        assert!(edge.wait().await?.success(), "{}", edge.log.text());
        assert!(lab.path("edge/edge.db").exists() && !lab.path("edge/edge.db-wal").exists());
        Ok(())
    });
}
