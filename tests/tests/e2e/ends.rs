//! What ends while somebody uses it, and what their terminal tells them.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tunnel_tests::{
    Connector, Echo, Edge, EdgeConfig, Lab, PATIENCE, Process, Smtp, Visitor,
    access::{Home, approve},
    process::{faketime, signal},
    run,
    stage::STAFF,
};

const DB: &str = "db.example.test";
const OTHER: &str = "app.example.test";

const ACCESS: &str = "\
login_methods:
  - {name: pin, type: one_time_pin}
policies:
  - {name: staff-only, action: allow, include: [{email_domain: example.test}], session_duration: 1m}
applications:
  - {name: db, hostnames: [db.example.test], policies: [staff-only]}
  - {name: app, hostnames: [app.example.test], policies: [staff-only]}
";

struct Site {
    smtp: Smtp,
    edge: Edge,
    home: Home,
    visitor: Visitor,
}

/// An edge whose clock is ahead by what stands in the file `ahead`, in seconds.
async fn site(lab: &Lab) -> Result<Site> {
    let smtp = Smtp::start(lab).await?;
    let ahead = lab.write("ahead", "+0\n")?;
    let clock = format!(
        "export LD_PRELOAD=\"$0\" FAKETIME_TIMESTAMP_FILE={} FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1 \
         NO_FAKE_STAT=1",
        ahead.display()
    );
    let library = faketime()?;
    let edge =
        Edge::start_as(lab, EdgeConfig::with_mail(&smtp), |command| lab.privately(&command, &clock, &library)).await?;
    edge.apply(ACCESS).await?;
    let ca = edge.ca().await?;
    let (home, visitor) = (Home::new(lab, "laptop", &ca)?, Visitor::new(&ca)?);
    Ok(Site { smtp, edge, home, visitor })
}

impl Site {
    async fn let_in(&mut self, count: usize) -> Result<()> {
        let url = self.home.sent_to(count).await?;
        let page = approve(&mut self.visitor, &self.smtp, &url, STAFF, None).await?;
        anyhow::ensure!(page.status() == 200, "{} at {}:\n{}", page.status(), page.url, page.text());
        Ok(())
    }
}

async fn said_back(tcp: &mut TcpStream) -> Result<()> {
    tcp.write_all(b"hello").await?;
    let mut got = [0; 5];
    timeout(PATIENCE, tcp.read_exact(&mut got)).await??;
    anyhow::ensure!(&got == b"hello");
    Ok(())
}

/// Waits for the end of a connection; how long it took.
async fn cut(tcp: &mut TcpStream) -> Result<Duration> {
    let begun = Instant::now();
    let ended = timeout(PATIENCE, tcp.read(&mut [0; 1])).await?;
    anyhow::ensure!(ended.is_err(), "a connection that was cut does not look whole: {ended:?}");
    Ok(begun.elapsed())
}

#[test]
fn when_the_time_of_a_session_is_over_its_connections_end_and_the_reason_is_told() {
    run("expired", async |lab| {
        let mut site = site(&lab).await?;
        let echo = Echo::start().await?;
        let _connector = Connector::publish(&lab, DB, &echo.url()).await?;
        let client = site.home.forward(&["tcp", "--hostname", DB, "--url", "127.0.0.1:7001"], 7001).await?;
        let first = tokio::spawn(async {
            let mut tcp = TcpStream::connect("127.0.0.1:7001").await?;
            said_back(&mut tcp).await.map(|()| tcp)
        });
        site.let_in(1).await?;
        let mut tcp = first.await??;
        let mut stdio = Process::start("access ssh", site.home.command(&["ssh", "--hostname", DB])?)?;
        stdio.type_in("before\n").await?;
        stdio.stdout.wait_for("before").await?;

        // Nothing ends before its time, and a minute after the login both do. More than a minute, and the client would find
        // its own clock wrong.
        fs::write(lab.path("ahead"), "+30\n")?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        said_back(&mut tcp).await?;
        fs::write(lab.path("ahead"), "+59\n")?;
        let took = cut(&mut tcp).await?;
        println!("cut {took:?} after the session was over");
        client.log.wait_for(&format!("{DB}.*the login is over")).await?;
        // Waiting for its end would end its input, too.
        stdio.log.wait_for("access: .*the login is over").await?;
        assert_eq!(stdio.wait().await?.code(), Some(3), "{}", stdio.log.text());

        // The next connection asks again, by the same process, and is carried.
        let next = tokio::spawn(async {
            let mut tcp = TcpStream::connect("127.0.0.1:7001").await?;
            said_back(&mut tcp).await
        });
        site.let_in(2).await.with_context(|| client.log.text())?;
        next.await?
    });
}

// F16, S8
#[test]
fn a_clock_that_is_set_back_does_not_revive_a_session_that_is_over() {
    run("set-back", async |lab| {
        let mut site = site(&lab).await?;
        let opens = async |site: &Site| -> Result<bool> {
            let listed = site.edge.run(&["admin", "session", "list", "--json"]).await?.ok()?;
            let listed: Vec<serde_json::Value> = serde_json::from_str(&listed)?;
            Ok(listed.iter().any(|session| session["host"] == OTHER))
        };
        site.visitor.login(&site.smtp, &format!("https://{OTHER}/"), STAFF).await?;
        anyhow::ensure!(opens(&site).await?, "nobody is logged in");
        fs::write(lab.path("ahead"), "+59\n")?;
        let over = async {
            while opens(&site).await? {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            anyhow::Ok(())
        };
        timeout(PATIENCE, over).await.context("the session is not over after a minute")??;

        fs::write(lab.path("ahead"), "-3600\n")?;
        anyhow::ensure!(!opens(&site).await?, "the session is back");
        let health = site.edge.run(&["admin", "health"]).await?;
        anyhow::ensure!(health.code == 3, "{}", health.said());
        anyhow::ensure!(health.stdout.contains("before time that has passed already"), "{}", health.said());
        // Whoever comes now is served, and set right the clock is as ever.
        let page = site.visitor.get(&format!("https://{OTHER}/")).await?;
        anyhow::ensure!(page.status() < 500 || page.status() == 530, "{}", page.status());
        fs::write(lab.path("ahead"), "+60\n")?;
        let health = site.edge.run(&["admin", "health"]).await?.ok()?;
        anyhow::ensure!(health.contains("as it should"), "{health}");
        Ok(())
    });
}

#[test]
fn when_a_connector_is_drained_its_connections_end_as_cut_and_the_next_one_is_told_why() {
    run("drained", async |lab| {
        let mut site = site(&lab).await?;
        let echo = Echo::start().await?;
        let mut command = Connector::command(&lab)?;
        command.args(["--hostname", DB, "--url", &echo.url(), "--grace-period", "1s"]);
        let connector = Connector::start("connector", command).await?;
        let client = site.home.forward(&["tcp", "--hostname", DB, "--url", "127.0.0.1:7001"], 7001).await?;
        let first = tokio::spawn(async {
            let mut tcp = TcpStream::connect("127.0.0.1:7001").await?;
            said_back(&mut tcp).await.map(|()| tcp)
        });
        site.let_in(1).await?;
        let mut tcp = first.await??;
        let mut stdio = Process::start("access ssh", site.home.command(&["ssh", "--hostname", DB])?)?;
        stdio.type_in("before\n").await?;
        stdio.stdout.wait_for("before").await?;

        signal(connector.process.pid(), "TERM").await?;
        let took = cut(&mut tcp).await?;
        println!("cut {took:?} after the connector was told to stop, with a second's grace");
        // A cut does not look finished to anybody.
        let told = format!("{DB}.*was cut before both sides had ended it: the connector that leads to it stopped");
        client.log.wait_for(&told).await?;
        stdio.log.wait_for(&format!("access: .*{told}")).await?;
        assert_eq!(stdio.wait().await?.code(), Some(1), "{}", stdio.log.text());
        // However many it had: what leads elsewhere goes on, and so does the link.
        let mut command = Connector::command(&lab)?;
        command.args(["--hostname", DB, "--url", &echo.url()]);
        let connector = Connector::start("connector", command).await?;
        let _other = Connector::publish(&lab, OTHER, &echo.url()).await?;
        let file = lab.write(
            "forwards.yaml",
            &format!(
                "forwards:\n  - {{hostname: {DB}, url: \"127.0.0.1:7002\"}}\n  - {{hostname: {OTHER}, url: \"127.0.0.1:7003\"}}\n"
            ),
        )?;
        let both = site.home.forward(&["forward", "-f", &file.display().to_string()], 7003).await?;
        let bystander = tokio::spawn(async {
            let mut tcp = TcpStream::connect("127.0.0.1:7003").await?;
            said_back(&mut tcp).await.map(|()| tcp)
        });
        site.let_in(2).await.with_context(|| both.log.text())?;
        let mut bystander = bystander.await??;
        let mut many = Vec::new();
        for _ in 0..200 {
            let mut tcp = TcpStream::connect("127.0.0.1:7002").await?;
            said_back(&mut tcp).await?;
            many.push(tcp);
        }
        signal(connector.process.pid(), "KILL").await?;
        for tcp in &mut many {
            cut(tcp).await?;
        }
        both.log.wait_for(&told).await?;
        said_back(&mut bystander).await.with_context(|| both.log.text())?;
        // Whoever tries again is told what is missing.
        let later = async { TcpStream::connect("127.0.0.1:7001").await?.read(&mut [0; 1]).await };
        assert!(timeout(PATIENCE, later).await?.is_err());
        client.log.wait_for("no connector").await?;
        Ok(())
    });
}
