//! `connector login` from a machine of its own: a code, an administrator's approval, a certificate.

use serde_json::json;
use tunnel_tests::{
    AccessNetwork, Browser, Connector, Edge, EdgeConfig, Process, Smtp,
    access_network::EDGE_V4,
    browser::BrowserOptions,
    edge::{ACCESS, LOGIN_HOST},
    process::{finish, program},
    run,
    stage::WWW,
};

/// From behind a NAT, with the administrator's browser elsewhere.
#[test]
fn an_administrator_approves_a_machine_in_the_browser() {
    run("enrol", async |lab| {
        let net = AccessNetwork::behind_nat()?;
        let smtp = Smtp::start_in(&lab, &net.wan).await?;
        let config = EdgeConfig {
            listen: vec![format!("{EDGE_V4}:443")],
            http_listen: vec![format!("{EDGE_V4}:80")],
            ..EdgeConfig::with_mail(&smtp)
        };
        let edge = Edge::start_in(&lab, &net.wan, config).await?;
        edge.apply(ACCESS).await?;
        let ca = edge.ca().await?;
        let ca_file = lab.write("ca.pem", &ca)?;
        let config_dir = lab.path("nas");
        let connector = |args: &[&str]| -> anyhow::Result<tokio::process::Command> {
            let mut command = lab.dress(net.lan.command(program("connector")?));
            command.args(args).arg("--config-dir").arg(&config_dir).arg("--edge-ca").arg(&ca_file);
            Ok(command)
        };
        let edge_url = format!("https://{LOGIN_HOST}");
        let mut waiting =
            Process::start("connector login", connector(&["login", "--edge", &edge_url, "--hostname", WWW])?)?;
        let url = waiting.log.wait_for(r"https://access\.example\.test/\S+").await?.remove(0);
        let code = waiting.log.wait_for(r"\b[A-Z0-9]{4}-[A-Z0-9]{4}\b").await?.remove(0);
        let mut browser = Browser::start_in(
            &lab,
            &net.wan,
            BrowserOptions { ca: Some(ca.clone()), address: EDGE_V4.into(), ..Default::default() },
        )
        .await?;
        browser.open(&url).await?;
        // Who approves has to log in first, and be an administrator.
        assert!(!browser.text().await?.contains(&code), "nothing is shown to a stranger");
        browser.fill("email", "admin@example.test").await?;
        browser.press("button[value=pin]").await?;
        browser.fill("code", &smtp.mail_to("admin@example.test", 1).await?.pin()?).await?;
        browser.press("form:has([name=code]) button").await?;
        browser.arrives("**/.access/enroll**").await?;
        let text = browser.text().await?;
        assert!(
            text.contains(&code) && text.contains(WWW) && text.contains("203.0.113.1"),
            "who asks, for what, from where: {text}"
        );
        assert!(waiting.ended()?.is_none(), "still waiting");
        browser.script("await page.locator('input[name=same]').check()", json!(null)).await?;
        browser.press("button[value=approve]").await?;
        let status = waiting.wait().await?;
        assert!(status.success(), "{}", waiting.log.text());
        for file in ["cert.pem", "key.pem"] {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(config_dir.join(file))?.permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{file}");
        }
        let certificate = std::fs::read(config_dir.join("cert.pem"))?;
        let again = finish(connector(&["login", "--edge", &edge_url])?).await?;
        assert_eq!(again.code, 1, "it refuses to overwrite: {}", again.said());
        assert!(again.stderr.contains("cert.pem"), "{}", again.stderr);
        assert_eq!(std::fs::read(config_dir.join("cert.pem"))?, certificate);
        // With it the machine publishes what was approved, and nothing else.
        let canary = net.lan.inside(async { std::net::TcpListener::bind("127.0.0.1:0") })?;
        let port = canary.local_addr()?.port();
        let other = finish(connector(&[
            "--edge",
            &edge_url,
            "--hostname",
            "app.example.test",
            "--url",
            &format!("http://127.0.0.1:{port}"),
        ])?)
        .await?;
        assert_ne!(other.code, 0, "app was not approved: {}", other.said());
        assert!(other.stderr.contains("app.example.test"), "{}", other.stderr);
        let publish =
            connector(&["--edge", &edge_url, "--hostname", WWW, "--url", &format!("http://127.0.0.1:{port}")])?;
        let mut running = Connector::start("connector", publish).await?;
        // Withdrawn, it publishes nothing any more: what runs ends, and what starts again is refused.
        let list = edge.run(&["admin", "operator", "list", "--json"]).await?.ok()?;
        let list: serde_json::Value = serde_json::from_str(&list)?;
        let id = list[0]["id"].as_str().unwrap();
        let said = edge.run(&["admin", "operator", "revoke", id]).await?.ok()?;
        assert!(said.contains(WWW), "the tunnel that was cut off is named: {said}");
        assert_eq!(running.process.wait().await?.code(), Some(3), "{}", running.process.log.text());
        let again = connector(&["--edge", &edge_url, "--hostname", WWW, "--url", &format!("http://127.0.0.1:{port}")])?;
        assert_ne!(finish(again).await?.code, 0, "a withdrawn machine enrols no more");
        let tunnels = edge.run(&["admin", "tunnel", "list"]).await?.ok()?;
        assert!(tunnels.contains(WWW), "the route stays with the tunnel: {tunnels}");
        Ok(())
    });
}

/// A machine that is refused gets nothing.
#[test]
fn a_refused_machine_gets_nothing() {
    run("enrol-refused", async |lab| {
        let smtp = Smtp::start(&lab).await?;
        let edge = Edge::with_access(&lab, EdgeConfig::with_mail(&smtp), ACCESS).await?;
        let ca = edge.ca().await?;
        let ca_file = lab.write("ca.pem", &ca)?;
        let mut command = lab.command(program("connector")?);
        command
            .args(["login", "--edge", "https://access.example.test", "--hostname", WWW, "--config-dir"])
            .arg(lab.path("nas"));
        command.arg("--edge-ca").arg(ca_file);
        let mut waiting = Process::start("connector login", command)?;
        let url = waiting.log.wait_for(r"https://access\.example\.test/\S+").await?.remove(0);
        // Somebody who is no administrator may not even look.
        let mut staff = tunnel_tests::visitor::login(&ca, &smtp, WWW, "staff@example.test").await;
        if let Ok(staff) = &mut staff {
            let reply = staff.browse(&url).await?;
            assert!(!reply.text().contains("value=\"approve\""), "{}", reply.text());
        }
        let mut browser = Browser::start(&lab, BrowserOptions { ca: Some(ca), ..Default::default() }).await?;
        browser.open(&url).await?;
        browser.fill("email", "admin@example.test").await?;
        browser.press("button[value=pin]").await?;
        browser.fill("code", &smtp.mail_to("admin@example.test", 1).await?.pin()?).await?;
        browser.press("form:has([name=code]) button").await?;
        browser.arrives("**/.access/enroll**").await?;
        browser.press("button[value=refuse]").await?;
        let status = waiting.wait().await?;
        assert_eq!(status.code(), Some(3), "refused by a person: {}", waiting.log.text());
        assert!(!lab.path("nas/cert.pem").exists());
        Ok(())
    });
}
