//! Services that are no web pages, used with the programs that people already have, through the access client.

use std::{
    collections::HashMap,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};
use tunnel_tests::{
    Connector, Echo, Edge, EdgeConfig, Lab, PATIENCE, Process, Smtp, Visitor,
    access::{Home, approve},
    origin::Nginx,
    process::finish,
    run,
    services::{Desktop, Postgres, Samba, Sshd, freerdp, iperf3, picture, redis, used},
    stage::STAFF,
};

const WWW: &str = "www.example.test";
const APP: &str = "app.example.test";
const DB: &str = "db.example.test";
const RDP: &str = "rdp.example.test";
const SSH: &str = "ssh.example.test";
const SMB: &str = "smb.example.test";

const ACCESS: &str = "\
login_methods:
  - {name: pin, type: one_time_pin}
groups:
  - {name: staff, include: [{email_domain: example.test}]}
policies:
  - {name: staff-only, action: allow, include: [{group: staff}]}
  - name: desktops
    action: allow
    include: [{group: staff}]
    destinations: [\"127.0.0.1:3389\", \"192.0.2.0/24:*\"]
applications:
  - {name: app, hostnames: [app.example.test], policies: [staff-only]}
  - {name: db, hostnames: [db.example.test], policies: [staff-only]}
  - {name: ssh, hostnames: [ssh.example.test], policies: [staff-only]}
  - {name: smb, hostnames: [smb.example.test], policies: [staff-only]}
  - {name: rdp, hostnames: [rdp.example.test], policies: [desktops]}
";

struct Site {
    smtp: Smtp,
    edge: Edge,
    visitor: Visitor,
    home: Home,
}

async fn site(lab: &Lab) -> anyhow::Result<Site> {
    let smtp = Smtp::start(lab).await?;
    let edge = Edge::with_access(lab, EdgeConfig::with_mail(&smtp), ACCESS).await?;
    let ca = edge.ca().await?;
    let (visitor, home) = (Visitor::new(&ca)?, Home::new(lab, "laptop", &ca)?);
    Ok(Site { smtp, edge, visitor, home })
}

impl Site {
    /// Lets the client in that has just opened the browser for the `count`th time.
    async fn let_in(&mut self, count: usize) -> anyhow::Result<()> {
        self.let_in_as(count, STAFF).await
    }

    async fn let_in_as(&mut self, count: usize, email: &str) -> anyhow::Result<()> {
        let url = self.home.sent_to(count).await?;
        let page = approve(&mut self.visitor, &self.smtp, &url, email, None).await?;
        anyhow::ensure!(page.status() == 200, "{} at {}:\n{}", page.status(), page.url, page.text());
        Ok(())
    }

    /// Logs in at a host by the command for it.
    async fn log_in(&mut self, host: &str) -> anyhow::Result<()> {
        let before = self.home.opened().len();
        let mut login = Process::start("access login", self.home.command(&["login", &format!("https://{host}")])?)?;
        self.let_in(before + 1).await?;
        anyhow::ensure!(login.wait().await?.success(), "{}", login.log.text());
        Ok(())
    }
}

async fn say(tcp: &mut TcpStream, bytes: &[u8]) -> anyhow::Result<()> {
    tcp.write_all(bytes).await?;
    let mut got = vec![0; bytes.len()];
    timeout(PATIENCE, tcp.read_exact(&mut got)).await??;
    anyhow::ensure!(got == bytes);
    Ok(())
}

/// What iPerf3 says after a second. Its server takes one at a time, and notices a little later than whoever ended it.
async fn measured(lab: &Lab, port: &str, extra: &[&str]) -> anyhow::Result<serde_json::Value> {
    let args = [&["-c", "127.0.0.1", "-p", port, "-t", "1", "--json"], extra].concat();
    let measuring = async {
        loop {
            let finished = used(lab, "iperf3", &args).await?;
            if !finished.said().contains("the server is busy") {
                return Ok(serde_json::from_str(&finished.ok()?)?);
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, measuring).await.context("the server is busy for ever")?
}

/// The story: an empty home, no certificate; the first connection is held while the browser logs in, once for all.
#[test]
fn iperf3_runs_through_the_tunnel_after_one_login() {
    run("iperf", async |lab| {
        let mut site = site(&lab).await?;
        let _server = iperf3(&lab, 5201).await?;
        let _connector = Connector::publish(&lab, APP, "tcp://localhost:5201").await?;
        let client = site.home.forward(&["tcp", "--hostname", APP, "--url", "127.0.0.1:5202"], 5202).await?;
        assert!(site.home.opened().is_empty(), "nobody logs in before it is needed");
        let mut command = lab.command("iperf3");
        command.args(["-c", "127.0.0.1", "-p", "5202", "-t", "1"]);
        let first = tokio::spawn(finish(command));
        site.let_in(1).await?;
        first.await??.ok()?;
        for extra in [&["-P", "8"][..], &["-R"], &["-R", "-P", "8"]] {
            let report = measured(&lab, "5202", extra).await?;
            let bytes = report["end"]["sum_received"]["bytes"].as_u64().unwrap_or_default();
            assert!(bytes > 1024 * 1024, "{extra:?}: {report}");
        }
        // Told apart at the far end by the order in which they come.
        for _ in 0..4 {
            let both = measured(&lab, "5202", &["--bidir"]).await?;
            for direction in ["sum_received", "sum_received_bidir_reverse"] {
                assert!(both["end"][direction]["bytes"].as_u64() > Some(1024 * 1024), "{direction}: {both}");
            }
        }
        assert_eq!(site.home.opened().len(), 1, "one login for all");

        // Another process with the same home needs none.
        let other = site.home.forward(&["tcp", "--hostname", APP, "--url", "127.0.0.1:5203"], 5203).await?;
        measured(&lab, "5203", &[]).await?;
        assert_eq!(site.home.opened().len(), 1);
        // What is kept is the owner's alone.
        use std::os::unix::fs::PermissionsExt;
        let kept = std::fs::metadata(site.home.folder().join(format!(".config/tunnel/access/{APP}.json")))?;
        assert_eq!(kept.permissions().mode() & 0o777, 0o600);
        let said = format!("{}{}", client.log.text(), other.log.text());
        let token = std::fs::read_to_string(site.home.folder().join(format!(".config/tunnel/access/{APP}.json")))?;
        let token: serde_json::Value = serde_json::from_str(&token)?;
        let secret = find_token(&token).expect("the file holds a token");
        assert!(!said.contains(&secret), "no secret in what it says");
        Ok(())
    });
}

/// The first text of 43 characters in a JSON value.
fn find_token(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::String(text) if text.len() == 43 => Some(text.clone()),
        serde_json::Value::Object(map) => map.values().find_map(find_token),
        serde_json::Value::Array(list) => list.iter().find_map(find_token),
        _ => None,
    }
}

#[test]
fn without_a_browser_another_device_lets_the_client_in() {
    run("device", async |lab| {
        let mut site = site(&lab).await?;
        let echo = Echo::start().await?;
        let _connector = Connector::publish(&lab, DB, &echo.url()).await?;
        let args = ["tcp", "--hostname", DB, "--url", "127.0.0.1:7001", "--no-browser"];
        let client = site.home.forward(&args, 7001).await?;
        let mut tcp = TcpStream::connect("127.0.0.1:7001").await?;
        tcp.write_all(b"held").await?;
        let url = client.log.wait_for(r"https://access\.example\.test/\.access/cli\S*").await?.remove(0);
        let code = client.log.wait_for(r"(?m)^    ([0-9A-Z]{4}-[0-9A-Z]{4})$").await?.remove(1);
        // Who was only sent the link does not see the terminal.
        let wrong = if code == "2222-2222" { "2222-2223" } else { "2222-2222" };
        let page = approve(&mut site.visitor, &site.smtp, &url, STAFF, Some(wrong)).await?;
        assert_eq!(page.status(), 422, "{}", page.text());
        assert!(!page.text().contains(&code), "{}", page.text());
        let page = approve(&mut site.visitor, &site.smtp, &url, STAFF, Some(&code)).await?;
        assert_eq!(page.status(), 200, "{}", page.text());
        let mut got = [0; 4];
        timeout(PATIENCE, tcp.read_exact(&mut got)).await??;
        assert_eq!(&got, b"held");
        assert!(site.home.opened().is_empty());
        Ok(())
    });
}

/// Half-close, both ways, over standard input and output and over a port; a reset stays a reset.
#[test]
fn ends_and_resets_are_carried_as_they_are() {
    run("ends", async |lab| {
        let mut site = site(&lab).await?;
        let echo = Echo::start().await?;
        let _connector = Connector::publish(&lab, DB, &echo.url()).await?;
        site.log_in(DB).await?;
        for n in 0..3 {
            let mut command = site.home.command(&["tcp", "--hostname", DB])?;
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
            let mut child = command.spawn()?;
            child.stdin.take().unwrap().write_all(format!("line {n}\n").as_bytes()).await?;
            let output = timeout(PATIENCE, child.wait_with_output()).await??;
            assert_eq!(String::from_utf8_lossy(&output.stdout), format!("line {n}\n"));
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        let _client = site.home.forward(&["tcp", "--hostname", DB, "--url", "127.0.0.1:7001"], 7001).await?;
        let rounds = 1000;
        let block = vec![7; 100_000];
        for n in 0..rounds {
            let mut tcp = TcpStream::connect("127.0.0.1:7001").await?;
            let len = 1 + (n * 977) % block.len();
            let (mut read, mut write) = tcp.split();
            let sending = async {
                write.write_all(&block[..len]).await?;
                write.shutdown().await
            };
            let mut got = Vec::new();
            let (sent, received) = tokio::join!(sending, timeout(PATIENCE, read.read_to_end(&mut got)));
            sent?;
            assert_eq!(received??, len, "round {n}: the answer comes after our end");
        }
        // A service that resets: nothing listens behind it any more.
        drop(echo);
        let reached = async { TcpStream::connect("127.0.0.1:7001").await?.read(&mut [0; 1]).await };
        // It may be over before the system has told of the connection.
        let ended = timeout(PATIENCE, reached).await?;
        assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset, "a refusal is no orderly end");
        Ok(())
    });
}

#[test]
fn a_desktop_is_seen_through_the_bastion_and_nothing_else_is() {
    run("rdp", async |lab| {
        let mut site = site(&lab).await?;
        let _desktop = Desktop::start(&lab, "127.0.0.1:3389".parse()?, 11).await?;
        let (echo, secret) = (Echo::at("127.0.0.1:3390".parse()?).await?, Echo::at("127.0.0.2:3389".parse()?).await?);
        let mut command = Connector::command(&lab)?;
        command.args(["--hostname", RDP, "--bastion", "--allow", "127.0.0.1:3389-3390", "--allow", "192.0.2.7:22"]);
        let _connector = Connector::start("bastion", command).await?;
        site.log_in(RDP).await?;
        let args = ["rdp", "--hostname", RDP, "--url", "localhost:2244", "--destination", "127.0.0.1:3389"];
        let _client = site.home.forward(&args, 2244).await?;
        let picture = picture(&lab, freerdp(&lab, 2244), 12, "desktop.png").await?;
        assert!(std::fs::metadata(picture)?.len() > 100);

        // Either side alone is not enough, and each refusal says whose it is.
        for (destination, whose) in [
            ("127.0.0.1:3390", "the edge's policy"),
            ("127.0.0.2:3389", "the edge's policy"),
            ("169.254.169.254:80", "the edge's policy"),
            ("[::ffff:127.0.0.2]:3389", "the edge's policy"),
            ("192.0.2.9:22", "the connector"),
            ("db.example.test:3390", "the edge's policy"),
            ("localhost:3390", "the connector"),
        ] {
            let mut command = site.home.command(&["rdp", "--hostname", RDP, "--destination", destination])?;
            command.stdin(Stdio::null());
            let refused = finish(command).await?;
            assert_eq!(refused.code, 3, "{destination}: {}", refused.said());
            assert!(refused.stderr.contains(whose), "{destination}: {}", refused.stderr);
        }
        for (destination, what) in [("nowhere.example.test:22", "name"), ("127.1:22", "destination")] {
            let refused = finish(site.home.command(&["rdp", "--hostname", RDP, "--destination", destination])?).await?;
            assert_ne!(refused.code, 0);
            assert!(refused.stderr.contains(what), "{destination}: {}", refused.stderr);
        }
        let none = finish(site.home.command(&["rdp", "--hostname", RDP])?).await?;
        assert!(none.code != 0 && none.stderr.contains("destination"), "{}", none.said());
        let audit = site.edge.run(&["admin", "audit", "-n", "200"]).await?.ok()?;
        assert!(audit.contains("127.0.0.1:3390") && audit.contains("by the connector: destination_denied"), "{audit}");
        drop((echo, secret));
        Ok(())
    });
}

#[test]
fn ssh_scp_rsync_and_git_work_by_the_lines_that_ssh_config_prints() {
    run("ssh", async |lab| {
        let mut site = site(&lab).await?;
        let sshd = Sshd::start(&lab, "127.0.0.1:2022".parse()?, &lab.path("root")).await?;
        let _connector = Connector::publish(&lab, SSH, "ssh://127.0.0.1:2022").await?;
        site.log_in(SSH).await?;
        // What is said to the command must reach `ssh`, which has neither this home nor these variables.
        let ca = lab.write("it's 100%h of \"$HOME\"/ca.pem", &site.edge.ca().await?)?;
        let logins = site.home.folder().join(".config/tunnel");
        let mut block = site.home.command(&["ssh-config", "--hostname", SSH, "--no-browser"])?;
        block.arg("--edge-ca").arg(&ca).arg("--config-dir").arg(&logins);
        let block = finish(block).await?.ok()?;
        let config = format!(
            "{block}  User root\n  IdentityFile {}\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  \
             LogLevel ERROR\n",
            sshd.key.display()
        );
        let config = lab.write("ssh_config", &config)?;
        let config = config.to_str().unwrap();
        let echoed = used(&lab, "ssh", &["-F", config, SSH, "echo through; exit 7"]).await?;
        assert_eq!((echoed.code, echoed.stdout.trim()), (7, "through"), "{}", echoed.stderr);
        let block: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        let file = lab.path("block");
        std::fs::write(&file, &block)?;
        let (there, back) = (lab.path("there"), lab.path("back"));
        let remote = format!("{SSH}:{}", there.display());
        used(&lab, "scp", &["-q", "-F", config, file.to_str().unwrap(), &remote]).await?.ok()?;
        assert!(std::fs::read(&there)? == block);
        let shell = format!("ssh -F {config}");
        used(&lab, "rsync", &["-e", &shell, "-z", &remote, back.to_str().unwrap()]).await?.ok()?;
        assert!(std::fs::read(&back)? == block);
        let (repository, clone) = (lab.path("repository"), lab.path("clone"));
        for args in [
            &["init", "-q", repository.to_str().unwrap()][..],
            &[
                "-C",
                repository.to_str().unwrap(),
                "-c",
                "user.name=a",
                "-c",
                "user.email=a@b.c",
                "commit",
                "-q",
                "--allow-empty",
                "-m",
                "first",
            ],
            &[
                "-c",
                &format!("core.sshCommand={shell}"),
                "clone",
                "-q",
                &format!("{SSH}:{}", repository.display()),
                clone.to_str().unwrap(),
            ],
        ] {
            used(&lab, "git", args).await?.ok()?;
        }
        assert!(used(&lab, "git", &["-C", clone.to_str().unwrap(), "log", "--oneline"]).await?.ok()?.contains("first"));
        Ok(())
    });
}

#[test]
fn files_databases_and_caches_are_used_through_local_ports() {
    run("nas", async |lab| {
        let mut site = site(&lab).await?;
        let samba = Samba::start(&lab, "127.0.0.1:1445".parse()?).await?;
        let postgres = Postgres::start(&lab, 15432).await?;
        let _redis = redis(&lab, 16379).await?;
        let _smb = Connector::publish(&lab, SMB, "smb://127.0.0.1:1445").await?;
        let _db = Connector::publish(&lab, DB, "tcp://127.0.0.1:15432").await?;
        let _cache = Connector::publish(&lab, APP, "tcp://127.0.0.1:16379").await?;
        for host in [SMB, DB, APP] {
            site.log_in(host).await?;
        }
        // One process, many forwards.
        let forwards = "forwards:\n  - {hostname: smb.example.test, url: \"127.0.0.2:445\"}\n  - {hostname: db.example.test, url: \"127.0.0.1:5432\"}\n  - {hostname: app.example.test, url: \"127.0.0.1:6379\"}\n";
        let file = lab.write("forwards.yaml", forwards)?;
        let client = site.home.forward(&["forward", "-f", file.to_str().unwrap()], 6379).await?;

        let block: Vec<u8> = (0..500_000_u32).flat_map(u32::to_le_bytes).collect();
        let (here, back) = (lab.path("block"), lab.path("back"));
        std::fs::write(&here, &block)?;
        let orders = format!("put {} there.bin; ls; get there.bin {}", here.display(), back.display());
        let listed = used(&lab, "smbclient", &["//127.0.0.2/nas", "-p", "445", "-N", "-c", &orders]).await?.ok()?;
        assert!(listed.contains("there.bin"), "{listed}");
        assert!(std::fs::read(samba.folder.join("there.bin"))? == block && std::fs::read(&back)? == block);

        let psql = postgres.programs.join("psql");
        let query = [
            "-h",
            "127.0.0.1",
            "-p",
            "5432",
            "-U",
            "app",
            "postgres",
            "-Atc",
            "select sum(n) from generate_series(1, 100000) n",
        ];
        assert_eq!(used(&lab, psql.to_str().unwrap(), &query).await?.ok()?.trim(), "5000050000");
        let cli = |words: &'static [&'static str]| used(&lab, "redis-cli", words);
        assert_eq!(cli(&["-p", "6379", "set", "k", "v"]).await?.ok()?.trim(), "OK");
        assert_eq!(cli(&["-p", "6379", "get", "k"]).await?.ok()?.trim(), "v");
        drop(client);
        Ok(())
    });
}

/// Within a second of its right, a connection ends, and the reason is told.
#[test]
fn connections_end_with_the_right_to_them() {
    run("revoked", async |lab| {
        let mut site = site(&lab).await?;
        let echo = Echo::start().await?;
        let _connector = Connector::publish(&lab, DB, &echo.url()).await?;
        let client = site.home.forward(&["tcp", "--hostname", DB, "--url", "127.0.0.1:7001"], 7001).await?;
        site.log_in(DB).await?;
        let mut logins = site.home.opened().len();

        let second = Duration::from_secs(1);
        async fn cut(tcp: &mut TcpStream, since: Instant) -> anyhow::Result<Duration> {
            let ended = timeout(PATIENCE, tcp.read(&mut [0; 1])).await?;
            anyhow::ensure!(
                ended.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset),
                "{ended:?}"
            );
            Ok(since.elapsed())
        }
        // The administrator ends the person's sessions.
        let mut tcp = TcpStream::connect("127.0.0.1:7001").await?;
        say(&mut tcp, b"first").await?;
        site.edge.run(&["admin", "session", "revoke", STAFF]).await?.ok()?;
        let took = cut(&mut tcp, Instant::now()).await?;
        assert!(took < second, "{took:?} after the command");
        client.log.wait_for(r"(?i)ended").await?;

        // The next connection logs in anew, and that very connection goes on.
        let mut tcp = TcpStream::connect("127.0.0.1:7001").await?;
        tcp.write_all(b"again").await?;
        logins += 1;
        // Another person: one address gets its codes not as often as this.
        site.let_in_as(logins, "other@example.test").await?;
        let mut got = [0; 5];
        timeout(PATIENCE, tcp.read_exact(&mut got)).await??;

        // The policy changes.
        site.edge.apply(&ACCESS.replace("{email_domain: example.test}", "{email_domain: example.org}")).await?;
        let took = cut(&mut tcp, Instant::now()).await?;
        assert!(took < second, "{took:?} after the change");
        client.log.wait_for(r"(?i)admit").await?;
        site.edge.apply(ACCESS).await?;

        // The person logs out, in the browser in which it was let in.
        let mut tcp = TcpStream::connect("127.0.0.1:7001").await?;
        say(&mut tcp, b"third").await?;
        let page = site.visitor.browse("https://access.example.test/.access/logout").await?;
        let form = tunnel_tests::html::forms(&page.text()).into_iter().next_back().unwrap();
        site.visitor.submit(&page.url, &form).await?;
        let took = cut(&mut tcp, Instant::now()).await?;
        assert!(took < second, "{took:?} after the logout");
        Ok(())
    });
}

/// After the edge was away, new connections work again by themselves.
#[test]
fn the_client_comes_back_by_itself() {
    run("back", async |lab| {
        let mut site = site(&lab).await?;
        let echo = Echo::start().await?;
        let _connector = Connector::publish(&lab, DB, &echo.url()).await?;
        site.log_in(DB).await?;
        let client = site.home.forward(&["tcp", "--hostname", DB, "--url", "127.0.0.1:7001"], 7001).await?;
        let mut tcp = TcpStream::connect("127.0.0.1:7001").await?;
        say(&mut tcp, b"before").await?;
        site.edge = site.edge.restart().await?;
        assert!(timeout(PATIENCE, tcp.read(&mut [0; 1])).await?.is_err(), "a cut connection does not look whole");
        let begun = Instant::now();
        loop {
            let again = async {
                // One that cannot be carried may be cut before it is there.
                let mut tcp = TcpStream::connect("127.0.0.1:7001").await?;
                say(&mut tcp, b"after").await
            };
            if again.await.is_ok() {
                break;
            }
            anyhow::ensure!(begun.elapsed() < PATIENCE, "{}", client.log.tail(20));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        println!("a new connection worked {:?} after the edge was back", begun.elapsed());
        assert_eq!(site.home.opened().len(), 1, "the login has outlived it");
        Ok(())
    });
}

// C1
#[test]
fn another_user_of_the_machine_is_refused_at_the_local_port() {
    run("stranger", async |lab| {
        let mut site = site(&lab).await?;
        let echo = Echo::start().await?;
        let _connector = Connector::publish(&lab, DB, &echo.url()).await?;
        site.log_in(DB).await?;
        let client = site.home.forward(&["tcp", "--hostname", DB, "--url", "127.0.0.1:7001"], 7001).await?;
        let mut other = lab.command("setpriv");
        other.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--", "bash", "-c"]);
        other.arg("exec 3<>/dev/tcp/127.0.0.1/7001 && echo hello >&3 && head -c 5 <&3").current_dir("/");
        let refused = finish(other).await?;
        assert!(!refused.stdout.contains("hello"), "{}", refused.said());
        client.log.wait_for(r"65534").await?;
        let mut tcp = TcpStream::connect("127.0.0.1:7001").await?;
        say(&mut tcp, b"own").await?;
        Ok(())
    });
}

/// A web service, a TCP service and a bastion from one machine, each by a command of its own; one that dies takes no other
/// with it.
#[test]
fn three_commands_run_side_by_side() {
    run("three", async |lab| {
        let mut site = site(&lab).await?;
        let (nginx, echo) = (Nginx::start(&lab, 3000, "<h1>The private page</h1>").await?, Echo::start().await?);
        site.edge
            .apply(&format!("{ACCESS}  - {{name: www, hostnames: [www.example.test], policies: [staff-only]}}\n"))
            .await?;
        let (allowed, [www_url, tcp_url]) = (echo.address().to_string(), [nginx.url(), echo.url()]);
        let start = async |host: &str| -> anyhow::Result<Connector> {
            let mut command = Connector::command(&lab)?;
            command.args(["--hostname", host]);
            match host {
                WWW => command.args(["--url", &www_url]),
                DB => command.args(["--url", &tcp_url]),
                _ => command.args(["--bastion", "--allow", &allowed]),
            };
            Connector::start(&format!("connector {host}"), command).await
        };
        let mut running = HashMap::new();
        for host in [WWW, DB, RDP] {
            running.insert(host, start(host).await?);
        }
        let desktops = format!("destinations: [\"{allowed}\"]");
        let policies = ACCESS.replace("destinations: [\"127.0.0.1:3389\", \"192.0.2.0/24:*\"]", &desktops);
        assert!(policies.contains(&allowed), "{policies}");
        site.edge
            .apply(&format!("{policies}  - {{name: www, hostnames: [www.example.test], policies: [staff-only]}}\n"))
            .await?;
        for host in [DB, RDP] {
            site.log_in(host).await?;
        }
        let listed: serde_json::Value =
            serde_json::from_str(&site.edge.run(&["admin", "tunnel", "list", "--json"]).await?.ok()?)?;
        assert_eq!(listed.as_array().map(Vec::len), Some(3), "three commands make three tunnels: {listed}");

        let home = site.home.clone();
        let ask = async |args: &[&str]| -> anyhow::Result<(String, String)> {
            let mut command = home.command(args)?;
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
            let mut child = command.spawn()?;
            child.stdin.take().unwrap().write_all(b"hello\n").await.ok();
            let output = timeout(PATIENCE, child.wait_with_output()).await??;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            Ok((text(&output.stdout), text(&output.stderr)))
        };
        let works = async |visitor: &mut Visitor, host: &str| -> anyhow::Result<(bool, String)> {
            let (said, why) = match host {
                WWW => {
                    let page = visitor.browse("https://www.example.test/").await?;
                    return Ok((page.text().contains("The private page"), page.text()));
                }
                DB => ask(&["tcp", "--hostname", DB]).await?,
                _ => ask(&["rdp", "--hostname", RDP, "--destination", &allowed]).await?,
            };
            anyhow::ensure!(said.is_empty() || said == "hello\n", "{said}");
            Ok((!said.is_empty(), why))
        };
        for dying in [DB, RDP, WWW] {
            for host in [WWW, DB, RDP] {
                let (works, why) = works(&mut site.visitor, host).await?;
                assert!(works, "{host} before {dying} dies: {why}");
            }
            running.remove(dying).unwrap().process.kill().await?;
            for host in [WWW, DB, RDP] {
                let (works, why) = works(&mut site.visitor, host).await?;
                assert_eq!(works, host != dying, "{host} after {dying} has died: {why}");
                assert!(works || host == WWW || why.contains("no connector"), "{why}");
            }
            running.insert(dying, start(dying).await?);
        }
        Ok(())
    });
}
