//! What the access client says and does where something is wrong, with its exit code: 1 failed, 2 wrong usage, 3 refused.

use std::process::Stdio;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
    time::timeout,
};
use tunnel_tests::{
    Connector, Echo, Edge, EdgeConfig, Lab, PATIENCE, Process, Smtp, Visitor,
    access::{Home, approve, listening},
    process::{Finished, faketime, finish, signal},
    run,
    stage::STAFF,
};

const APP: &str = "app.example.test";
const DB: &str = "db.example.test";
const RDP: &str = "rdp.example.test";

const ACCESS: &str = "\
login_methods:
  - {name: pin, type: one_time_pin}
policies:
  - {name: staff-only, action: allow, include: [{email_domain: example.test}]}
  - name: machines
    action: service_auth
    include: [{service_token: robot}]
    destinations: [\"127.0.0.0/8:22\"]
applications:
  - {name: app, hostnames: [app.example.test], policies: [machines]}
  - {name: db, hostnames: [db.example.test], policies: [staff-only, machines]}
  - {name: rdp, hostnames: [rdp.example.test], policies: [machines]}
";

struct Site {
    lab: Lab,
    smtp: Smtp,
    edge: Edge,
    home: Home,
    visitor: Visitor,
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
    let ca = edge.ca().await?;
    let (home, visitor) = (Home::new(lab, "laptop", &ca)?, Visitor::new(&ca)?);
    let text = |name: &str| made[name].as_str().unwrap_or_default().to_owned();
    let (id, secret) = (text("id"), text("secret"));
    Ok(Site { lab: lab.clone(), smtp, edge, home, visitor, id, secret, _echo: echo, _connector: connector })
}

impl Site {
    /// A command as the machine.
    fn machine(&self, args: &[&str]) -> anyhow::Result<Command> {
        let mut command = self.home.command(args)?;
        command.env("TUNNEL_SERVICE_TOKEN_ID", &self.id).env("TUNNEL_SERVICE_TOKEN_SECRET", &self.secret);
        Ok(command)
    }

    /// Lets the client in that has opened the browser for the `count`th time.
    async fn let_in(&mut self, count: usize) -> anyhow::Result<()> {
        let url = self.home.sent_to(count).await?;
        let page = approve(&mut self.visitor, &self.smtp, &url, STAFF, None).await?;
        anyhow::ensure!(page.status() == 200, "{} at {}:\n{}", page.status(), page.url, page.text());
        Ok(())
    }

    /// A command whose logins are kept on a disk with room for one page.
    fn on_a_full_disk(&self, args: &[&str]) -> anyhow::Result<Command> {
        let place = self.home.folder().join(".config/tunnel/access");
        std::fs::create_dir_all(&place)?;
        let setup = "mount -t tmpfs -o size=4k,mode=700 full \"$0\" && echo full > \"$0\"/other";
        Ok(self.lab.privately(&self.home.command(args)?, setup, &place))
    }

    /// A command whose clock is wrong by `seconds`.
    fn at_another_time(&self, command: &Command, seconds: i64) -> anyhow::Result<Command> {
        let setup = format!("export LD_PRELOAD=\"$0\" FAKETIME={seconds:+} FAKETIME_DONT_FAKE_MONOTONIC=1");
        Ok(self.lab.privately(command, &setup, &faketime()?))
    }
}

/// # Panics
/// The outcome is not this code with these words in one message.
#[track_caller]
fn assert_told(done: &Finished, code: i32, words: &[&str]) {
    assert_eq!(done.code, code, "{}", done.said());
    for word in words {
        assert!(done.stderr.contains(word), "`{word}` is said: {}", done.stderr);
    }
    assert!(done.stderr.lines().count() <= 4 && !done.stderr.contains("panicked"), "one message: {}", done.stderr);
    assert_eq!(done.stdout, "", "standard output is the service's");
}

/// What a forwarded port gives back of a line.
async fn echoed(port: u16) -> anyhow::Result<String> {
    let mut tcp = TcpStream::connect(("127.0.0.1", port)).await?;
    tcp.write_all(b"through").await?;
    let mut got = vec![0; 7];
    timeout(PATIENCE, tcp.read_exact(&mut got)).await??;
    Ok(String::from_utf8(got)?)
}

#[test]
fn what_cannot_be_opened_is_told_with_its_mend_and_code() {
    run("codes", async |lab| {
        let site = site(&lab).await?;
        let of = async |args: &[&str]| finish(site.machine(args)?).await;
        let tcp = |host: &'static str| ["tcp", "--hostname", host];
        assert_told(&of(&["login", "https://www.example.test"]).await?, 1, &["no application", "www.example.test"]);
        assert_told(&of(&tcp("www.example.test")).await?, 1, &["no application", "www.example.test"]);
        assert_told(&of(&tcp("nowhere.invalid")).await?, 1, &["nowhere.invalid", "check the hostname"]);
        assert_told(&of(&tcp(APP)).await?, 1, &["no connector", "start the connector"]);
        assert_told(&of(&["tcp", "--hostname", DB, "--destination", "127.1:22"]).await?, 2, &["127.1:22"]);
        assert_told(&of(&["tcp", "--hostname", DB, "--url", "127.0.0.1:x"]).await?, 2, &["--url", "127.0.0.1:PORT"]);
        let mut wrong = site.machine(&tcp(DB))?;
        wrong.env("TUNNEL_SERVICE_TOKEN_SECRET", "A".repeat(43));
        assert_told(&finish(wrong).await?, 3, &["service token"]);

        // A service that is not there, and a name that the bastion's connector does not find.
        let closed = Echo::start().await?.url();
        let _connector = Connector::publish(&lab, APP, &closed).await?;
        assert_told(&of(&tcp(APP)).await?, 1, &["the connector refused", "service_refused"]);
        let mut bastion = Connector::command(&lab)?;
        bastion.args(["--hostname", RDP, "--bastion", "--allow", "127.0.0.1:22"]);
        let _bastion = Connector::start("bastion", bastion).await?;
        let to = ["tcp", "--hostname", RDP, "--destination", "nowhere.example.test:22"];
        assert_told(&of(&to).await?, 1, &["the connector refused", "nowhere.example.test"]);

        // Another CA, for the whole of it and not only for want of one.
        let other =
            tunnel_proto::identity::Ca::generate(&"example.test".parse()?, tunnel_proto::UnixTime(1_790_000_000))?;
        let ca = lab.write("wrong-ca.pem", other.certificate_pem())?;
        let mut wrong = site.machine(&tcp(DB))?;
        wrong.env("TUNNEL_EDGE_CA", ca);
        assert_told(&finish(wrong).await?, 1, &["db.example.test", "certificate", "--edge-ca"]);
        assert!(site.home.opened().is_empty(), "nobody was asked to log in");
        Ok(())
    });
}

#[test]
fn a_local_port_that_cannot_be_had_is_told_with_who_has_it() {
    run("ports", async |lab| {
        let site = site(&lab).await?;
        let taken = finish(site.machine(&["tcp", "--hostname", DB, "--url", "127.0.0.1:443"])?).await?;
        let holder = format!("`edge` (process {})", site.edge.process.pid());
        assert_told(&taken, 1, &["127.0.0.1:443", &holder, "--url"]);
        // Without the right that an ordinary user does not have.
        let command = site.machine(&["tcp", "--hostname", DB, "--url", "127.0.0.1:22"])?;
        let without = "set -- setpriv --bounding-set=-net_bind_service -- \"$@\"";
        let refused = finish(lab.privately(&command, without, "sh".as_ref())).await?;
        assert_told(&refused, 1, &["127.0.0.1:22", "ports below 1024", "--url"]);
        Ok(())
    });
}

/// Two hours off, either way, and somewhat less: no login is begun that could not count, and the clock is named.
#[test]
fn a_wrong_clock_is_named_and_nobody_logs_in_for_nothing() {
    run("clock", async |lab| {
        let site = site(&lab).await?;
        for seconds in [7200, -7200, -1800, 1800] {
            let of = |args: &[&str]| site.at_another_time(&site.home.command(args)?, seconds);
            let words = ["db.example.test", "clock of this machine"];
            assert_told(&finish(of(&["login", DB])?).await?, 1, &words);
            let mut stdio = of(&["tcp", "--hostname", DB])?;
            stdio.stdin(Stdio::null());
            assert_told(&finish(stdio).await?, 1, &words);
        }
        let args = ["tcp", "--hostname", DB, "--url", "127.0.0.1:7001"];
        let mut client = Process::start("access", site.at_another_time(&site.home.command(&args)?, 7200)?)?;
        listening(&mut client, 7001).await?;
        for _ in 0..3 {
            assert!(echoed(7001).await.is_err());
        }
        client.log.wait_for("clock of this machine").await?;
        assert!(site.home.opened().is_empty(), "nobody was asked to log in");
        // Half a minute is no matter.
        let machine = site.machine(&["tcp", "--hostname", DB, "--url", "127.0.0.1:7002"])?;
        let mut client = Process::start("access", site.at_another_time(&machine, -30)?)?;
        listening(&mut client, 7002).await?;
        assert_eq!(echoed(7002).await?, "through");
        Ok(())
    });
}

/// The person's login serves the program that asked for it; it is told that no other one will have it.
#[test]
fn a_login_that_the_disk_does_not_take_is_used_and_told() {
    run("full", async |lab| {
        let mut site = site(&lab).await?;
        let command = site.on_a_full_disk(&["tcp", "--hostname", DB, "--url", "127.0.0.1:7001"])?;
        let mut client = Process::start("access", command)?;
        listening(&mut client, 7001).await?;
        let first = tokio::spawn(echoed(7001));
        site.let_in(1).await?;
        assert_eq!(first.await??, "through");
        client.log.wait_for("the disk is full").await?;
        client.log.wait_for("--config-dir").await?;
        // The link and its grant are gone with the edge; the login is still here.
        site.edge = site.edge.restart().await?;
        let again = async {
            while !echoed(7001).await.is_ok_and(|said| said == "through") {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        };
        timeout(PATIENCE, again).await?;
        assert_eq!(site.home.opened().len(), 1, "one login for the whole run");

        // Where keeping it was all that was asked for, it has failed.
        let mut login = Process::start("access login", site.on_a_full_disk(&["login", DB])?)?;
        site.let_in(2).await?;
        let code = login.wait().await?.code();
        login.log.wait_for("the disk is full: make room").await?;
        assert_eq!(code, Some(1), "{}", login.log.text());
        Ok(())
    });
}

#[test]
fn programs_that_start_at_once_share_one_login() {
    run("sharing", async |lab| {
        let mut site = site(&lab).await?;
        let ports = [7001, 7002, 7003];
        let mut clients = Vec::new();
        for port in ports {
            let url = format!("127.0.0.1:{port}");
            let mut command = site.home.command(&["tcp", "--hostname", DB, "--url", &url])?;
            command.arg("--loglevel").arg("debug");
            clients.push(Process::start(&format!("access {port}"), command)?);
        }
        for (client, port) in clients.iter_mut().zip(ports) {
            listening(client, port).await?;
        }
        let connections: Vec<_> = ports.map(|port| tokio::spawn(echoed(port))).into();
        site.home.sent_to(1).await?;
        // All but the one that asks wait for it, and say so.
        let waiting = async {
            let waits = |client: &&Process| client.log.text().contains("another process has begun");
            while clients.iter().filter(waits).count() < 2 {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, waiting).await?;
        site.let_in(1).await?;
        for connection in connections {
            assert_eq!(connection.await??, "through");
        }
        assert_eq!(site.home.opened().len(), 1);
        // And one more, on standard input and output, needs none.
        let mut tcp = Process::start("access tcp", site.home.command(&["tcp", "--hostname", DB])?)?;
        tcp.type_in("later\n").await?;
        tcp.stdout.wait_for("later").await?;
        assert_eq!(site.home.opened().len(), 1);
        Ok(())
    });
}

/// Killed, or there and silent: what was under way fails, and does not look finished.
#[test]
fn an_edge_that_goes_away_ends_what_is_under_way() {
    run("gone", async |lab| {
        let site = site(&lab).await?;
        let pid = site.edge.process.pid();
        for name in ["STOP", "KILL"] {
            let mut tcp = Process::start("access tcp", site.machine(&["tcp", "--hostname", DB])?)?;
            tcp.type_in("before\n").await?;
            tcp.stdout.wait_for("before").await?;
            signal(pid, name).await?;
            let status = tcp.wait().await?;
            assert_eq!(status.code(), Some(1), "{name}: {}", tcp.log.text());
            tcp.log.wait_for("access: the link to the edge was lost").await?;
            signal(pid, "CONT").await.ok();
        }
        Ok(())
    });
}
