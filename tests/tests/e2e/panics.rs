//! A panic costs what it was at, and nothing else (F29): in one edge, one site after the other panics on purpose, and everything
//! goes on.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use tokio::time::sleep;
use tunnel_tests::{
    Connector, Edge, EdgeConfig, Lab, Smtp, Visitor,
    edge::{ACCESS, LOGIN_HOST},
    origin::Streams,
    raw::{Door, Raw},
    run,
    stage::{APP, STAFF, WWW},
    visitor::login,
};

/// Tasks that last as long as the edge, and panic as they begin.
const TASKS: [&str; 7] = ["sweep", "revoked", "follow", "revalidate", "memory", "audit", "mail"];

/// What panics in the middle of a request, and the request that leads there.
const REQUESTS: [(&str, &str, &str, &str); 26] = [
    ("request", WWW, "GET", "/bytes/10"),
    ("gate", WWW, "GET", "/bytes/10"),
    ("decision", WWW, "GET", "/bytes/10"),
    ("forward", WWW, "GET", "/bytes/10"),
    ("malformed request", WWW, "GET", "/%zz"),
    ("hand-over", WWW, "GET", "/.access/authorized?code=x"),
    ("logout page", WWW, "GET", "/.access/logout"),
    ("logout", WWW, "POST", "/.access/logout"),
    ("identity", WWW, "GET", "/.access/identity"),
    ("keys", WWW, "GET", "/.access/certs"),
    ("asset", WWW, "GET", "/.access/assets/tunnel.css"),
    ("language", WWW, "GET", "/.access/language?to=en"),
    ("descriptor", WWW, "GET", "/.access/app"),
    ("launcher", LOGIN_HOST, "GET", "/"),
    ("login page", LOGIN_HOST, "GET", "/.access/login"),
    ("login form", LOGIN_HOST, "POST", "/.access/login"),
    ("code", LOGIN_HOST, "POST", "/.access/callback/pin"),
    ("client page", LOGIN_HOST, "GET", "/.access/cli"),
    ("device", LOGIN_HOST, "POST", "/.access/cli/device"),
    ("token", LOGIN_HOST, "POST", "/.access/cli/token"),
    ("enrolment", LOGIN_HOST, "POST", "/.access/enroll"),
    ("set-up", LOGIN_HOST, "GET", "/.access/setup?token=x"),
    ("account", LOGIN_HOST, "GET", "/.access/account"),
    ("passkey", LOGIN_HOST, "POST", "/.access/passkey/options"),
    ("invitation", LOGIN_HOST, "GET", "/.access/invite?token=x"),
    ("login test", LOGIN_HOST, "GET", "/.access/login-test?id=x"),
];

/// What panics where a connection or a body is carried: whoever has it sees it cut.
const CARRIED: [(&str, &str, &str); 6] = [
    ("accept", "GET", "/bytes/10"),
    ("connection", "GET", "/bytes/10"),
    ("handshake", "GET", "/bytes/10"),
    ("http", "GET", "/bytes/10"),
    ("body of an answer", "GET", "/bytes/10"),
    ("body of a request", "POST", "/upload"),
];

/// An edge with faults, and somebody who is logged in.
struct Site {
    lab: Lab,
    edge: Edge,
    faults: PathBuf,
    smtp: Smtp,
    ca: String,
    streams: Streams,
    visitor: Visitor,
    /// A connection that was there before, and stays.
    beside: Raw,
    _connector: Connector,
}

impl Site {
    async fn new(lab: &Lab) -> Result<Self> {
        let faults = lab.write("faults", &TASKS.join("\n"))?;
        let smtp = Smtp::start(lab).await?;
        let with_faults = |mut command: tokio::process::Command| {
            // Where each panic was is known, and looking it up takes longer than all the rest.
            command.env("TUNNEL_TEST_FAULTS", &faults).env("RUST_BACKTRACE", "0");
            command
        };
        let edge = Edge::start_as(lab, EdgeConfig::with_mail(&smtp), with_faults).await?;
        for task in TASKS {
            edge.process.struck(&faults, task).await?;
        }
        edge.process.log.wait_for("a task panicked, which is a defect of this program").await?;
        edge.apply(ACCESS).await?;
        let (ca, streams) = (edge.ca().await?, Streams::start().await?);
        let connector = Connector::publish(lab, WWW, &streams.url()).await?;
        let visitor = login(&ca, &smtp, WWW, STAFF).await?;
        let beside = visitor.door("https", WWW)?.open().await?;
        let lab = lab.clone();
        Ok(Self { lab, edge, faults, smtp, ca, streams, visitor, beside, _connector: connector })
    }

    fn arm(&self, site: &str) -> Result<()> {
        Ok(fs::write(&self.faults, site)?)
    }

    fn door(&self, host: &str) -> Result<Door> {
        self.visitor.door("https", host)
    }

    fn request(&self, host: &str, method: &str, target: &str, last: bool) -> Result<String> {
        let cookie = self.visitor.session(host)?;
        let body =
            if method == "POST" { "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}" } else { "\r\n" };
        let close = if last { "Connection: close\r\n" } else { "" };
        Ok(format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n{close}{body}"))
    }

    /// The status of an answer that came whole; 0 for any that did not.
    async fn ask(&self, host: &str, method: &str, target: &str) -> Result<u16> {
        let request = self.request(host, method, target, true)?;
        Ok(self.door(host)?.ask(request.as_bytes()).await.map_or(0, |answer| answer.status))
    }

    /// The beginning of a WebSocket, and its status.
    async fn websocket(&self) -> Result<(Raw, u16)> {
        let cookie = self.visitor.session(WWW)?;
        let mut raw = self.door(WWW)?.open().await?;
        let head = format!(
            "GET /ws HTTP/1.1\r\nHost: {WWW}\r\nCookie: {cookie}\r\nOrigin: https://{WWW}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        raw.send(head.as_bytes()).await?;
        let status = raw.answer(true).await?.status;
        Ok((raw, status))
    }

    /// Asks for a code in vain: what is on the way there panics.
    async fn ask_for_code(&self, email: &str) -> Result<()> {
        let _ = Visitor::new(&self.ca)?.ask_for_code(&format!("https://{WWW}/"), email).await;
        Ok(())
    }

    /// The site has panicked, and whoever was there before and whoever comes now is served.
    async fn goes_on(&mut self, site: &str) -> Result<()> {
        self.edge.process.struck(&self.faults, site).await?;
        let request = self.request(WWW, "GET", "/bytes/10", false)?;
        self.beside.send(request.as_bytes()).await?;
        let beside = self.beside.answer(true).await.with_context(|| format!("beside {site}"))?.status;
        let new = self.ask(WWW, "GET", "/bytes/10").await?;
        ensure!((beside, new) == (200, 200), "after {site}: {beside} for who was there, {new} for who comes");
        Ok(())
    }
}

#[test]
fn a_panic_anywhere_costs_what_it_was_at_and_nothing_else() {
    run("panics", async |lab| {
        let mut site = Site::new(&lab).await?;
        for (name, host, method, target) in REQUESTS {
            site.arm(name)?;
            let status = site.ask(host, method, target).await?;
            ensure!(status == 500, "{status} where {name} panics");
            site.goes_on(name).await?;
        }
        let jobs = site.edge.process.log.text().matches("a job panicked").count();
        ensure!(jobs >= REQUESTS.len(), "each is told of: {jobs}");
        site.arm("redirect")?;
        let plain = Door::plain(([127, 0, 0, 1], 80).into());
        let status = plain.ask(site.request(WWW, "GET", "/", true)?.as_bytes()).await?.status;
        ensure!(status == 500, "{status} where a redirect panics");
        site.goes_on("redirect").await?;

        for (name, method, target) in CARRIED {
            site.arm(name)?;
            let status = site.ask(WWW, method, target).await?;
            ensure!(status != 200, "{status} where {name} panics");
            site.goes_on(name).await?;
        }
        site.arm("stream to a service")?;
        let (_, status) = site.websocket().await?;
        ensure!(status == 500, "{status} where a stream to a service panics");
        site.goes_on("stream to a service").await?;
        site.arm("websocket")?;
        let (mut raw, _) = site.websocket().await?;
        raw.rest().await.context("a WebSocket that is carried by nobody ends")?;
        site.goes_on("websocket").await?;
        let (_open, status) = site.websocket().await?;
        ensure!(status == 101, "{status} for another WebSocket");

        // Links, each of which a program opens anew.
        site.arm("access client")?;
        site.door(LOGIN_HOST)?.offering(&["tunnel-access/1"]).open().await?.rest().await?;
        site.goes_on("access client").await?;
        for name in ["connector", "control stream", "table"] {
            site.arm(name)?;
            let connector = Connector::publish(&site.lab, APP, &site.streams.url()).await.context(name)?;
            site.goes_on(name).await?;
            connector.process.kill().await?;
        }

        // What is done behind requests.
        for name in ["pins", "letter", "store"] {
            site.arm(name)?;
            site.ask_for_code(&format!("{name}@example.test")).await?;
            site.goes_on(name).await?;
        }
        let file = site.lab.write("access.yaml", ACCESS)?.to_string_lossy().into_owned();
        let apply = ["apply", "-f", file.as_str()];
        for (name, command) in [("administration", ["admin", "tunnel", "list"]), ("declaration", apply)] {
            site.arm(name)?;
            let failed = site.edge.run(&command).await?;
            ensure!(failed.code != 0, "{name} broke, and nobody is told: {}", failed.said());
            site.goes_on(name).await?;
            site.edge.run(&command).await?.ok().context(name)?;
        }

        // Mails, the record and sessions are still looked after.
        login(&site.ca, &site.smtp, WWW, "last@example.test").await?;
        let record = site.edge.run(&["admin", "audit", "-n", "200"]).await?.ok()?;
        ensure!(record.contains("last@example.test"), "the record goes on: {record}");
        ensure!(site.edge.process.ended()?.is_none(), "the edge has ended");

        // Its owner is told, and whoever watches it.
        let told = site.edge.run(&["admin", "health", "--json"]).await?;
        ensure!(told.code == 3, "{}", told.said());
        let health: serde_json::Value = serde_json::from_str(&told.stdout)?;
        let panics = &health["running"]["panics"];
        let least = (TASKS.len() + REQUESTS.len() + CARRIED.len()) as u64;
        ensure!(panics["count"].as_u64().is_some_and(|count| count >= least), "{panics}, not {least}");
        ensure!(panics["recent"] == true && panics["last"].is_u64(), "{panics}");
        let words = site.edge.run(&["admin", "health"]).await?;
        ensure!(words.code == 3 && words.stdout.contains("HAPPENED since the edge was started"), "{}", words.said());
        Ok(())
    });
}

/// How long the watchdog looks, and some time for a machine that is busy.
const STANDSTILL_SEEN: Duration = Duration::from_secs(30);

// F29
#[test]
fn an_edge_in_which_nothing_moves_ends_to_be_started_again() {
    run("standstill", async |lab| {
        let faults = lab.write("faults", "")?;
        let smtp = Smtp::start(&lab).await?;
        let with_faults = |mut command: tokio::process::Command| {
            command.env("TUNNEL_TEST_FAULTS", &faults);
            command
        };
        let mut edge = Edge::start_as(&lab, EdgeConfig::with_mail(&smtp), with_faults).await?;
        edge.run(&["admin", "tunnel", "list"]).await?.ok()?;
        ensure!(edge.process.ended()?.is_none(), "it has ended while all moved");
        // The heart of the runtime beats no more.
        fs::write(&faults, "heartbeat")?;
        edge.process.struck(&faults, "heartbeat").await?;
        let begun = Instant::now();
        while edge.process.ended()?.is_none() {
            ensure!(begun.elapsed() < STANDSTILL_SEEN, "nobody sees that nothing moves");
            sleep(Duration::from_millis(100)).await;
        }
        edge.process.log.wait_for("nothing has moved for 10 seconds").await?;
        let ended = edge.process.ended()?.context("it has ended")?;
        ensure!(!ended.success() && ended.code().is_none(), "{ended}: a supervisor starts again what was aborted");
        // What it held is free for the next one.
        Edge::start(&lab, EdgeConfig::with_mail(&smtp)).await?;
        Ok(())
    });
}
