//! A panic in a connector, or in an access client, costs what it was at, and nothing else (F29): one site after the other panics
//! on purpose, and the program goes on serving.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
    time::{sleep, timeout},
};
use tunnel_tests::{
    Connector, Echo, Edge, EdgeConfig, Lab, PATIENCE, Process, Raw, Smtp, Visitor,
    access::{Home, listening},
    edge::ACCESS,
    origin::Streams,
    process::finish,
    raw::find,
    run,
    stage::{STAFF, WWW},
    visitor::login,
};

/// Tasks that last as long as a connector or a link, and panic as they begin.
const TASKS: [&str; 3] = ["supervisor", "renewal", "signs of life"];
/// What panics once a stream comes: the stream, the link that it came by, and what carries that link.
const STREAMS: [&str; 3] = ["stream", "link of a connector", "link"];
/// Streams that are opened at most until one of them has met a fault: some wait for a request already.
const OPENED_MAX: usize = 20;
/// Where the connector tells how it is.
const METRICS: &str = "127.0.0.1:9000";

const DB: &str = "db.example.test";
const ACCESS_DB: &str = "\
login_methods:
  - {name: pin, type: one_time_pin}
policies:
  - {name: machines, action: service_auth, include: [{service_token: robot}]}
applications:
  - {name: db, hostnames: [db.example.test], policies: [machines]}
";

/// With faults by a file. Where each panic was is known, and looking it up takes longer than all the rest.
fn with_faults(mut command: Command, faults: &Path) -> Command {
    command.env("TUNNEL_TEST_FAULTS", faults).env("RUST_BACKTRACE", "0");
    command
}

/// Begins to listen to what a service tells, on a stream of its own; nothing when the answer does not come.
async fn listen(visitor: &Visitor) -> Result<Option<Raw>> {
    let mut raw = visitor.door("https", WWW)?.open().await?;
    let session = visitor.session(WWW)?;
    raw.send(format!("GET /events HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\n\r\n").as_bytes()).await?;
    Ok(raw.answer(false).await.ok().filter(|answer| answer.status == 200).map(|_| raw))
}

/// Whether a word that the service says is still heard.
async fn hears(raw: &mut Raw, streams: &Streams, word: &str) -> Result<bool> {
    streams.say(word);
    let mut heard = Vec::new();
    while find(&heard, format!("data: {word}\n\n").as_bytes()).is_none() {
        match raw.read().await {
            Ok(some) if !some.is_empty() => heard.extend(some),
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// Asks until the answer is right: a link that was lost is up again in a moment.
async fn answered(visitor: &mut Visitor) -> Result<()> {
    let asking = async {
        loop {
            if visitor.get(&format!("https://{WWW}/bytes/10")).await.is_ok_and(|reply| reply.status() == 200) {
                return;
            }
            sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, asking).await.context("requests are not answered any more")
}

/// How many links the connector says are up.
async fn links_up() -> Result<String> {
    let mut tcp = TcpStream::connect(METRICS).await?;
    tcp.write_all(b"GET /ready HTTP/1.1\r\nHost: metrics\r\nConnection: close\r\n\r\n").await?;
    let mut said = String::new();
    timeout(PATIENCE, tcp.read_to_string(&mut said)).await??;
    Ok(said)
}

async fn all_links_are_up() -> Result<()> {
    let waiting = async {
        while !links_up().await.is_ok_and(|said| said.contains("\"readyConnections\":4")) {
            sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, waiting).await.context("a link does not come back")
}

// F29
#[test]
fn a_panic_in_a_connector_costs_what_it_was_at_and_nothing_else() {
    run("panics-connector", async |lab| {
        let faults = lab.write("faults", &TASKS.join("\n"))?;
        let smtp = Smtp::start(&lab).await?;
        let edge = Edge::with_access(&lab, EdgeConfig::with_mail(&smtp), ACCESS).await?;
        let streams = Streams::start().await?;
        let mut command = with_faults(Connector::command(&lab)?, &faults);
        command.args(["--hostname", WWW, "--url", &streams.url(), "--metrics", METRICS]);
        let mut connector = Connector::start("connector", command).await?;
        for task in TASKS {
            connector.process.struck(&faults, task).await?;
        }
        connector.process.log.wait_for("a task panicked, which is a defect of this program").await?;
        all_links_are_up().await.context("after tasks panicked as they began")?;
        let mut visitor = login(&edge.ca().await?, &smtp, WWW, STAFF).await?;
        answered(&mut visitor).await?;

        fs::write(&faults, "metrics")?;
        let _ = links_up().await;
        connector.process.struck(&faults, "metrics").await?;
        for site in STREAMS {
            let mut held = Vec::new();
            for _ in 0..4 {
                held.extend(listen(&visitor).await?);
            }
            fs::write(&faults, site)?;
            let mut opened = Vec::new();
            while opened.len() < OPENED_MAX && !fs::read_to_string(&faults)?.is_empty() {
                opened.push(listen(&visitor).await?);
            }
            connector.process.struck(&faults, site).await?;
            answered(&mut visitor).await.with_context(|| format!("after {site}"))?;
            if site == "stream" {
                for raw in &mut held {
                    ensure!(
                        hears(raw, &streams, "still there").await?,
                        "a stream beside the one that panicked was cut"
                    );
                }
            }
            all_links_are_up().await.with_context(|| format!("after {site}"))?;
        }
        ensure!(connector.process.ended()?.is_none(), "the connector has ended");
        Ok(())
    });
}

/// A connection to the service that comes back, or does not.
async fn echo(word: &[u8]) -> Result<TcpStream> {
    let mut tcp = TcpStream::connect("127.0.0.1:7001").await?;
    say(&mut tcp, word).await.map(|()| tcp)
}

async fn say(tcp: &mut TcpStream, word: &[u8]) -> Result<()> {
    tcp.write_all(word).await?;
    let mut got = vec![0; word.len()];
    timeout(PATIENCE, tcp.read_exact(&mut got)).await.context("no echo")??;
    ensure!(got == word, "{got:?}");
    Ok(())
}

async fn robot(lab: &Lab, edge: &Edge, faults: &Path) -> Result<Process> {
    let made = edge.run(&["admin", "service-token", "create", "robot", "--json"]).await?.ok()?;
    let made: serde_json::Value = serde_json::from_str(&made)?;
    let text = |name: &str| made[name].as_str().unwrap_or_default().to_owned();
    edge.apply(ACCESS_DB).await?;
    let home = Home::new(lab, "robot", &edge.ca().await?)?;
    let command = home.command(&["tcp", "--hostname", DB, "--url", "127.0.0.1:7001"])?;
    let mut command = with_faults(command, faults);
    command.env("TUNNEL_SERVICE_TOKEN_ID", text("id")).env("TUNNEL_SERVICE_TOKEN_SECRET", text("secret"));
    let mut client = Process::start("access", command)?;
    listening(&mut client, 7001).await?;
    Ok(client)
}

// F29
#[test]
fn a_panic_in_an_access_client_costs_what_it_was_at_and_nothing_else() {
    run("panics-client", async |lab| {
        let faults = lab.write("faults", "")?;
        let smtp = Smtp::start(&lab).await?;
        let edge = Edge::start(&lab, EdgeConfig::with_mail(&smtp)).await?;
        let mut client = robot(&lab, &edge, &faults).await?;
        let service = Echo::start().await?;
        let _connector = Connector::publish(&lab, DB, &service.url()).await?;
        let mut beside = echo(b"beside").await?;

        fs::write(&faults, "local connection")?;
        ensure!(echo(b"lost").await.is_err(), "a connection that panicked carries on");
        client.struck(&faults, "local connection").await?;
        say(&mut beside, b"still there").await.context("the connection beside")?;
        echo(b"next").await.context("the next connection")?;

        // What all connections of a port, or of a link, stand on: these end with it, and new ones come through.
        for sites in [&["local port"][..], &["link", "grants"], &["link", "signs of life"]] {
            fs::write(&faults, sites.join("\n"))?;
            let met = async {
                while !fs::read_to_string(&faults).unwrap_or_default().is_empty() {
                    // Tried anew by the client itself where nothing was sent yet.
                    let _ = echo(b"on the way").await;
                }
            };
            timeout(PATIENCE, met).await.with_context(|| format!("{sites:?} are never reached"))?;
            for site in sites {
                client.struck(&faults, site).await?;
            }
            let mut next = echo(b"next").await.with_context(|| format!("after {sites:?}"))?;
            say(&mut next, b"and on").await?;
        }
        ensure!(client.ended()?.is_none(), "the access client has ended");
        finish(lab.command("true")).await?.ok().map(drop)
    });
}
