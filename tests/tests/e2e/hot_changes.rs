//! What is declared changes while a hundred things are under way: none of them notices.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tunnel_tests::{
    Connector, Echo, Edge, EdgeConfig, PATIENCE, Process, Raw, Smtp,
    access::{Home, listening},
    origin::Streams,
    process::long,
    raw::find,
    run,
    stage::{STAFF, WWW},
    visitor::login,
};

const DB: &str = "db.example.test";
/// Answers that go on, and connections to a TCP service.
const EVENTS: usize = 70;
const TCP: usize = 30;

/// What is declared: of `n` only such things change as leave in what is under way.
fn access(n: usize) -> String {
    let mut text = format!(
        "login_methods:
  - {{name: pin, type: one_time_pin}}
groups:
  - {{name: others, include: [{{email: other{n}@example.test}}]}}
policies:
  - {{name: staff-only, action: allow, include: [{{email_domain: example.test}}], exclude: [{{email: guest{n}@example.test}}]}}
  - {{name: others, action: allow, include: [{{group: others}}]}}
  - {{name: machines, action: service_auth, include: [{{service_token: robot}}]}}
applications:
  - {{name: www, hostnames: [www.example.test], policies: [staff-only]}}
  - {{name: db, hostnames: [db.example.test], policies: [machines]}}
"
    );
    if n % 2 == 1 {
        text += "  - {name: app, hostnames: [app.example.test], policies: [others]}\n";
    }
    text
}

fn rounds() -> usize {
    if long() { 100 } else { 6 }
}

/// Waits until something of the answer is there.
async fn hears(raw: &mut Raw, wanted: &str) -> Result<()> {
    let mut got = Vec::new();
    while find(&got, wanted.as_bytes()).is_none() {
        let some = raw.read().await?;
        ensure!(!some.is_empty(), "cut before {wanted:?}");
        got.extend(some);
    }
    Ok(())
}

/// R53: applications, groups, policies and tunnels come, change and go; a hundred streams live on, over the same connections.
#[test]
fn nothing_that_is_under_way_is_cut_by_changes_of_something_else() {
    run("hot", async |lab| {
        let (smtp, streams, echo) = (Smtp::start(&lab).await?, Streams::start().await?, Echo::start().await?);
        let edge = Edge::start(&lab, EdgeConfig::with_mail(&smtp)).await?;
        let made = edge.run(&["admin", "service-token", "create", "robot", "--json"]).await?.ok()?;
        let made: serde_json::Value = serde_json::from_str(&made)?;
        let secret = |name: &str| made[name].as_str().unwrap_or_default().to_owned();
        edge.apply(&access(0)).await?;
        let ca = edge.ca().await?;
        let connectors =
            [Connector::publish(&lab, WWW, &streams.url()).await?, Connector::publish(&lab, DB, &echo.url()).await?];
        let links = || connectors.iter().map(|one| one.process.log.text().matches("link up").count()).sum::<usize>();

        let visitor = login(&ca, &smtp, WWW, STAFF).await?;
        let session = visitor.session(WWW)?;
        let mut events = Vec::new();
        for _ in 0..EVENTS {
            let mut raw = visitor.door("https", WWW)?.open().await?;
            raw.send(format!("GET /events HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\n\r\n").as_bytes()).await?;
            hears(&mut raw, ": open").await?;
            events.push(raw);
        }
        let home = Home::new(&lab, "robot", &ca)?;
        let mut command = home.command(&["tcp", "--hostname", DB, "--url", "127.0.0.1:7001"])?;
        command.env("TUNNEL_SERVICE_TOKEN_ID", secret("id")).env("TUNNEL_SERVICE_TOKEN_SECRET", secret("secret"));
        let mut client = Process::start("access", command)?;
        listening(&mut client, 7001).await?;
        let mut connections = Vec::new();
        for _ in 0..TCP {
            connections.push(TcpStream::connect("127.0.0.1:7001").await?);
        }

        let before = links();
        for n in 1..=rounds() {
            edge.apply(&access(n)).await?;
            // Somebody publishes something, and takes it away again with its tunnel.
            let host = format!("new{n}.example.test");
            let other = Connector::publish(&lab, &host, &streams.url()).await?;
            other.process.kill().await?;
            edge.run(&["admin", "tunnel", "delete", &host]).await?.ok()?;
            // Longer than what is open goes without being judged again.
            tokio::time::sleep(Duration::from_millis(300)).await;
            ensure!(streams.say(&format!("round {n}")) == EVENTS, "round {n}: a listener has gone");
            for raw in &mut events {
                hears(raw, &format!("data: round {n}\n\n")).await.with_context(|| format!("round {n}"))?;
            }
            for tcp in &mut connections {
                let said = format!("round {n}");
                tcp.write_all(said.as_bytes()).await?;
                let mut heard = vec![0; said.len()];
                timeout(PATIENCE, tcp.read_exact(&mut heard)).await.context("nothing comes back")??;
                ensure!(heard == said.as_bytes(), "{heard:?}");
            }
        }
        assert_eq!(links(), before, "no link was made anew");
        Ok(())
    });
}
