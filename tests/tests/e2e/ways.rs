//! The ways by which the access client gets through, and the browser in which a person lets it in.

use std::{fs, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
    time::timeout,
};
use tunnel_tests::{
    Browser, Connector, Echo, Edge, EdgeConfig, Firewall, Lab, PATIENCE, Process, Smtp, access::Home,
    browser::BrowserOptions, edge::listens, process::finish, run, stage::STAFF,
};

const DB: &str = "db.example.test";

const ACCESS: &str = "\
login_methods:
  - {name: pin, type: one_time_pin}
policies:
  - {name: staff-only, action: allow, include: [{email_domain: example.test}]}
  - {name: machines, action: service_auth, include: [{service_token: robot}]}
applications:
  - {name: db, hostnames: [db.example.test], policies: [staff-only, machines]}
";

struct Site {
    smtp: Smtp,
    edge: Edge,
    home: Home,
    id: String,
    secret: String,
    _echo: Echo,
    _connector: Connector,
}

async fn site(lab: &Lab) -> anyhow::Result<Site> {
    let smtp = Smtp::start(lab).await?;
    let edge = Edge::start(lab, EdgeConfig::with_mail(&smtp)).await?;
    let made = edge.run(&["admin", "service-token", "create", "robot", "--json"]).await?.ok()?;
    let made: serde_json::Value = serde_json::from_str(&made)?;
    edge.apply(ACCESS).await?;
    let echo = Echo::start().await?;
    let connector = Connector::publish(lab, DB, &echo.url()).await?;
    let home = Home::new(lab, "robot", &edge.ca().await?)?;
    let text = |name: &str| made[name].as_str().unwrap_or_default().to_owned();
    Ok(Site { smtp, edge, home, id: text("id"), secret: text("secret"), _echo: echo, _connector: connector })
}

impl Site {
    /// A client on standard input and output, as the machine.
    fn machine(&self, more: &[&str]) -> anyhow::Result<Command> {
        let mut command = self.home.command(&["tcp", "--hostname", DB, "--loglevel", "debug"])?;
        command.args(more).env("TUNNEL_SERVICE_TOKEN_ID", &self.id).env("TUNNEL_SERVICE_TOKEN_SECRET", &self.secret);
        Ok(command)
    }
}

/// What a command answers to a line.
async fn echoed(mut command: Command) -> anyhow::Result<(String, String, i32)> {
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    command.stderr(std::process::Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    child.stdin.take().unwrap().write_all(b"through\n").await.ok();
    let output = timeout(PATIENCE, child.wait_with_output()).await??;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((text(&output.stdout), text(&output.stderr), output.status.code().unwrap_or(-1)))
}

/// An HTTP proxy that wants a name and a password.
async fn proxy(lab: &Lab) -> anyhow::Result<Process> {
    let log = lab.path("proxy.log");
    let config = format!(
        "Port 3128\nListen 127.0.0.1\nTimeout 60\nLogFile \"{}\"\nLogLevel Connect\nMaxClients 50\nConnectPort 443\n\
         BasicAuth somebody let-me-out\n",
        log.display()
    );
    fs::write(&log, "")?;
    fs::set_permissions(&log, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
    let file = lab.write("tinyproxy.conf", &config)?;
    let mut command = lab.command("tinyproxy");
    command.args(["-d", "-c"]).arg(file);
    let mut proxy = Process::start("tinyproxy", command)?;
    listens(&mut proxy, "127.0.0.1:3128".parse()?).await?;
    Ok(proxy)
}

#[test]
fn the_client_goes_by_an_http_proxy_with_its_name_and_password() {
    run("proxy", async |lab| {
        let site = site(&lab).await?;
        let proxy = proxy(&lab).await?;
        let by = |proxy: &str| -> anyhow::Result<Command> {
            let mut command = site.machine(&[])?;
            command.env("HTTPS_PROXY", proxy);
            Ok(command)
        };
        let (said, log, code) = echoed(by("http://somebody:let-me-out@127.0.0.1:3128")?).await?;
        assert_eq!((said.as_str(), code), ("through\n", 0), "{log}");
        assert!(!log.contains("let-me-out"), "the password is said nowhere");
        let seen = fs::read_to_string(lab.path("proxy.log"))? + &proxy.log.text();
        assert!(seen.contains("db.example.test:443") && seen.contains("access.example.test:443"), "{seen}");
        for wrong in ["http://somebody:else@127.0.0.1:3128", "http://127.0.0.1:3128"] {
            let (said, log, code) = echoed(by(wrong)?).await?;
            assert_eq!((said.as_str(), code), ("", 1), "{log}");
            assert!(log.contains("proxy") && log.contains("password"), "{log}");
        }
        let mut direct = by("http://127.0.0.1:9")?;
        direct.env("NO_PROXY", ".example.test");
        assert_eq!(echoed(direct).await?.0, "through\n");
        Ok(())
    });
}

#[test]
fn where_the_native_link_is_spoilt_a_websocket_carries_it() {
    run("spoilt", async |lab| {
        let site = site(&lab).await?;
        let firewall = Firewall::start().await?;
        let behind = |command: Command| firewall.behind(&lab, &command, DB);
        let (said, log, code) = echoed(behind(site.machine(&[])?)?).await?;
        assert_eq!((said.as_str(), code), ("through\n", 0), "{log}");
        assert!(log.contains("WebSocket"), "{log}");

        // A good many bytes, both ways at once, over a port.
        let mut command = behind(site.machine(&["--url", "127.0.0.1:7001"])?)?;
        command.current_dir("/");
        let client = Process::start("access", command)?;
        let mut tcp = None;
        for _ in 0..200 {
            match TcpStream::connect("127.0.0.1:7001").await {
                Ok(connected) => tcp = Some(connected),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
            if tcp.is_some() {
                break;
            }
        }
        let Some(tcp) = tcp else { anyhow::bail!("{}", client.log.text()) };
        let block: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let (mut read, mut write) = tcp.into_split();
        let sent = block.clone();
        let sending = tokio::spawn(async move {
            write.write_all(&sent).await?;
            write.shutdown().await
        });
        let mut got = Vec::new();
        timeout(PATIENCE, read.read_to_end(&mut got)).await??;
        sending.await??;
        assert!(got == block, "{} bytes of {}", got.len(), block.len());
        Ok(())
    });
}

#[test]
fn a_person_lets_the_client_in_with_a_real_browser() {
    run("consent", async |lab| {
        let site = site(&lab).await?;
        let mut browser =
            Browser::start(&lab, BrowserOptions { ca: Some(site.edge.ca().await?), ..Default::default() }).await?;
        let mut command = site.home.command(&["tcp", "--hostname", DB])?;
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut client = Process::start("access tcp", command)?;
        client.type_in("held\n").await?;
        let url = site.home.sent_to(1).await?;
        assert!(url.starts_with("https://access.example.test/.access/cli?"), "{url}");
        browser.open(&url).await?;
        browser.fill("email", STAFF).await?;
        browser.press("button[value=pin]").await?;
        browser.fill("code", &site.smtp.mail_to(STAFF, 1).await?.pin()?).await?;
        browser.press("form:has([name=code]) button").await?;
        let page = browser.text().await?;
        for said in ["db.example.test", STAFF, "access tcp --hostname db.example.test", "127.0.0.1"] {
            assert!(page.contains(said), "`{said}` is on the page:\n{page}");
        }
        // The code in the terminal is the one on the page.
        let digits =
            browser.script("return await page.locator('.match [aria-hidden]').innerText()", serde_json::json!(null));
        let digits = digits.await?.as_str().unwrap_or_default().to_owned();
        assert_eq!(digits.len(), 4, "{digits}");
        client.log.wait_for(&format!(r"\b{digits}\b")).await?;
        browser.press("button[name=answer][value=approve]").await?;
        client.stdout.wait_for("held").await?;
        browser.arrives("http://127.0.0.1:*/**").await?;
        assert!(browser.complaints().await?.is_empty(), "{:?}", browser.complaints().await?);

        // From another device, the code in the terminal is typed, as people type.
        let elsewhere = ["login", "https://db.example.test", "--config-dir", "elsewhere", "--no-browser"];
        let mut elsewhere = Process::start("access login", site.home.command(&elsewhere)?)?;
        let url = elsewhere.log.wait_for(r"https://access\.example\.test/\.access/cli\S*").await?.remove(0);
        let code = elsewhere.log.wait_for(r"(?m)^    (\w{4}-\w{4})$").await?.remove(1);
        browser.open(&url).await?;
        browser.fill("code", &format!(" {} ", code.to_lowercase().replace('-', " "))).await?;
        browser.press("button[name=answer][value=approve]").await?;
        let status = elsewhere.wait().await?;
        assert_eq!(status.code(), Some(0), "{}", elsewhere.log.text());

        // Refused, it gets nothing, and says so.
        let refused = site.home.command(&["login", "https://db.example.test", "--config-dir", "other"])?;
        let mut refused = Process::start("access login", refused)?;
        let url = site.home.sent_to(2).await?;
        browser.open(&url).await?;
        browser.press("button[name=answer][value=refuse]").await?;
        let status = refused.wait().await?;
        assert_eq!(status.code(), Some(3), "{}", refused.log.text());
        Ok(())
    });
}

#[test]
fn the_commands_around_it_say_what_they_did() {
    run("around", async |lab| {
        let site = site(&lab).await?;
        let none = finish(site.home.command(&["token", "--app", "https://db.example.test"])?).await?;
        assert_eq!(none.code, 3, "{}", none.said());
        let wrong_file = "forwards:\n  - {hostname: db.example.test, url: \"127.0.0.1:7003\", port: 7003}\n";
        let wrong_file = lab.write("wrong.yaml", wrong_file)?;
        for (args, words, code) in [
            (&["tcp", "--hostname", "nothing.example.test"][..], "nothing.example.test", 1),
            (&["login", "https://nowhere.invalid"], "nowhere.invalid", 1),
            (&["tcp", "--hostname", DB, "--url", "0.0.0.0:7003"], "other machines", 1),
            (&["tcp", "--hostname", DB, "--url", "127.0.0.1:443"], "443", 1),
            (&["forward", "-f", "/nowhere.yaml"], "/nowhere.yaml", 2),
            (&["forward", "-f", wrong_file.to_str().unwrap()], "port", 2),
        ] {
            let done = finish(site.home.command(args)?).await?;
            assert_eq!(done.code, code, "{args:?}: {}", done.said());
            assert!(done.stderr.contains(words), "{args:?} says `{words}`: {}", done.stderr);
        }
        let mut wrong = site.home.command(&["tcp", "--hostname", DB])?;
        wrong.env_remove("TUNNEL_EDGE_CA").stdin(std::process::Stdio::null());
        let wrong = finish(wrong).await?;
        assert_eq!(wrong.code, 1, "{}", wrong.said());
        assert!(wrong.stderr.contains("--edge-ca"), "another CA is told with the mend: {}", wrong.stderr);
        Ok(())
    });
}
