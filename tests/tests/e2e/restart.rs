//! An edge replaced by another process while it is used (F3, F30).

mod load;
mod rate;

use std::{
    fs,
    os::unix::{fs::symlink, net::UnixDatagram},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest},
};
use tunnel_tests::{
    Connector, Echo, Edge, EdgeConfig, Lab, PATIENCE, Process, Raw, Smtp, Visitor,
    access::Home,
    bytecheck::{self, Plan, exchange},
    http2::{Http2, Outcome},
    origin::{CHECKSUM_START, Streams, block, checksum},
    process::{ends_within, finish, long, program, signal},
    raw::find,
    run,
    stage::{STAFF, WWW},
    visitor::login,
};

use self::load::{Load, anew};

const DB: &str = "db.example.test";
const RDP: &str = "rdp.example.test";

const ACCESS: &str = "\
login_methods:
  - {name: pin, type: one_time_pin}
policies:
  - {name: staff-only, action: allow, include: [{email_domain: example.test}]}
  - {name: machines, action: service_auth, include: [{service_token: robot}]}
applications:
  - {name: www, hostnames: [www.example.test], policies: [staff-only]}
  - {name: app, hostnames: [app.example.test], policies: [staff-only]}
  - {name: db, hostnames: [db.example.test], policies: [machines]}
  - {name: rdp, hostnames: [rdp.example.test], policies: [machines]}
";

/// The same without machines.
const ACCESS_WWW: &str = "\
login_methods:
  - {name: pin, type: one_time_pin}
policies:
  - {name: staff-only, action: allow, include: [{email_domain: example.test}]}
applications:
  - {name: www, hostnames: [www.example.test], policies: [staff-only]}
";

/// How often the edge is replaced under load.
fn restarts() -> u32 {
    if long() { 100 } else { 5 }
}

/// The plan of what TCP carries meanwhile.
fn plan() -> Plan {
    let bytes = if long() { 256 << 20 } else { 8 << 20 };
    Plan { seed: 21, streams: 8, bytes, half_close: true }
}

/// What is downloaded slowly: more than all that is taken while the edge is replaced.
fn download() -> u64 {
    (u64::from(restarts()) * SIP).next_multiple_of(64 << 20)
}

/// The longest that the plan may take, on a machine that is busy.
const LIMIT: Duration = Duration::from_secs(900);
/// Requests that have to be answered while a restart goes on.
const MEANWHILE: u64 = 5;
/// How much of the download is taken each time: enough that it does not look stalled.
const SIP: u64 = 2 << 20;

struct Site {
    lab: Lab,
    smtp: Smtp,
    edge: Edge,
    ca: String,
    streams: Streams,
    visitor: Visitor,
    /// Id and secret of the machine.
    robot: (String, String),
    _echo: Echo,
    _connectors: Vec<Connector>,
}

impl Site {
    async fn set(lab: &Lab) -> Result<Self> {
        Self::configured(lab, "").await
    }

    async fn configured(lab: &Lab, extra: &str) -> Result<Self> {
        let smtp = Smtp::start(lab).await?;
        let edge = Edge::start(lab, EdgeConfig { extra: extra.into(), ..EdgeConfig::with_mail(&smtp) }).await?;
        let made = edge.run(&["admin", "service-token", "create", "robot", "--json"]).await?.ok()?;
        let made: serde_json::Value = serde_json::from_str(&made)?;
        let text = |name: &str| made[name].as_str().unwrap_or_default().to_owned();
        let robot = (text("id"), text("secret"));
        edge.apply(ACCESS).await?;
        let ca = edge.ca().await?;
        let (streams, echo) = (Streams::start().await?, Echo::start().await?);
        let connectors =
            vec![Connector::publish(lab, WWW, &streams.url()).await?, Connector::publish(lab, DB, &echo.url()).await?];
        let visitor = login(&ca, &smtp, WWW, STAFF).await?;
        Ok(Self { lab: lab.clone(), smtp, edge, ca, streams, visitor, robot, _echo: echo, _connectors: connectors })
    }

    /// `access tcp` at a local port, as the machine.
    async fn client(&self, host: &str, port: u16) -> Result<Process> {
        let home = Home::new(&self.lab, &format!("robot-{port}"), &self.ca)?;
        let mut command = home.command(&["tcp", "--hostname", host, "--url", &format!("127.0.0.1:{port}")])?;
        command.env("TUNNEL_SERVICE_TOKEN_ID", &self.robot.0).env("TUNNEL_SERVICE_TOKEN_SECRET", &self.robot.1);
        let mut client = Process::start(&format!("access {host}"), command)?;
        tunnel_tests::access::listening(&mut client, port).await?;
        Ok(client)
    }

    /// A request by HTTP/1.1 on a connection that may be used again.
    fn request(&self, target: &str) -> Result<Vec<u8>> {
        let session = self.visitor.session(WWW)?;
        Ok(format!("GET {target} HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\n\r\n").into_bytes())
    }

    async fn open(&self, target: &str) -> Result<Raw> {
        let mut raw = self.visitor.door("https", WWW)?.open().await?;
        raw.send(&self.request(target)?).await?;
        Ok(raw)
    }
}

/// A big body that is taken little by little.
struct Download {
    raw: Raw,
    count: u64,
    hash: u64,
}

impl Download {
    async fn begin(site: &Site) -> Result<Self> {
        let mut raw = site.open(&format!("/bytes/{}", download())).await?;
        let answer = raw.answer(false).await?;
        ensure!(answer.status == 200, "{}", answer.status);
        Ok(Self { raw, count: 0, hash: CHECKSUM_START })
    }

    async fn take(&mut self, until: u64) -> Result<()> {
        while self.count < until {
            let some = self.raw.read().await?;
            ensure!(!some.is_empty(), "the download was cut after {} bytes", self.count);
            self.count += some.len() as u64;
            self.hash = checksum(self.hash, &some);
        }
        Ok(())
    }

    /// Takes the rest; it is whole.
    async fn finish(mut self) -> Result<()> {
        self.take(download()).await?;
        let blocks = download() / block().len() as u64;
        let expected = (0..blocks).fold(CHECKSUM_START, |hash, _| checksum(hash, &block()));
        ensure!(self.count == download() && self.hash == expected, "{} bytes, damaged", self.count);
        Ok(())
    }
}

/// A big body that is sent little by little, in chunks and without a length.
struct Upload {
    raw: Raw,
    count: u64,
    hash: u64,
}

impl Upload {
    async fn begin(site: &Site) -> Result<Self> {
        let mut raw = site.visitor.door("https", WWW)?.open().await?;
        let session = site.visitor.session(WWW)?;
        let head =
            format!("POST /upload HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\nTransfer-Encoding: chunked\r\n\r\n");
        raw.send(head.as_bytes()).await?;
        Ok(Self { raw, count: 0, hash: CHECKSUM_START })
    }

    async fn send(&mut self, until: u64) -> Result<()> {
        let block = block();
        while self.count < until {
            self.raw.send(&[format!("{:x}\r\n", block.len()).as_bytes(), &block[..], &b"\r\n"[..]].concat()).await?;
            self.count += block.len() as u64;
            self.hash = checksum(self.hash, &block);
        }
        Ok(())
    }

    /// Ends it; it arrived whole.
    async fn finish(mut self) -> Result<()> {
        self.raw.send(b"0\r\n\r\n").await?;
        let answer = self.raw.answer(true).await?;
        let expected = format!("{} {:016x}", self.count, self.hash);
        ensure!(
            answer.status == 200 && answer.text() == expected,
            "{} {}, not {expected}",
            answer.status,
            answer.text()
        );
        Ok(())
    }
}

/// What was begun before the first restart, and has to live.
struct Living {
    download: Download,
    upload: Upload,
    events: Raw,
    websocket: WebSocketStream<TlsStream<TcpStream>>,
    tcp: TcpStream,
}

impl Living {
    async fn begin(site: &Site, port: u16) -> Result<Self> {
        let mut request = format!("wss://{WWW}/ws").into_client_request()?;
        request.headers_mut().insert("cookie", site.visitor.session(WWW)?.parse()?);
        request.headers_mut().insert("origin", format!("https://{WWW}").parse()?);
        let io = site.visitor.door("https", WWW)?.secured().await?;
        let (websocket, _) = tokio_tungstenite::client_async(request, io).await?;
        let mut events = site.open("/events").await?;
        let mut opened = Vec::new();
        while find(&opened, b": open").is_none() {
            opened.extend(events.read().await?);
        }
        let download = Download::begin(site).await?;
        let upload = Upload::begin(site).await?;
        let tcp = TcpStream::connect(("127.0.0.1", port)).await?;
        Ok(Self { download, upload, events, websocket, tcp })
    }

    /// Each still carries.
    async fn prove(&mut self, site: &Site, round: u32) -> Result<()> {
        let word = format!("round {round}");
        self.websocket.send(Message::text(word.clone())).await?;
        let echoed = timeout(PATIENCE, self.websocket.next()).await?.context("the WebSocket ended")??;
        ensure!(echoed == Message::text(word.clone()), "{echoed:?}");
        self.tcp.write_all(word.as_bytes()).await?;
        let mut echoed = vec![0; word.len()];
        timeout(PATIENCE, self.tcp.read_exact(&mut echoed)).await?.context("the TCP stream")?;
        ensure!(echoed == word.as_bytes(), "{echoed:?}");
        ensure!(site.streams.say(&word) > 0, "nobody listens to the events");
        let (mut heard, wanted) = (Vec::new(), format!("data: {word}\n\n"));
        while find(&heard, wanted.as_bytes()).is_none() {
            let some = self.events.read().await?;
            ensure!(!some.is_empty(), "the events ended: {}", String::from_utf8_lossy(&heard));
            heard.extend(some);
        }
        self.upload.send(u64::from(round.saturating_add(1)) * SIP).await?;
        self.download.take(u64::from(round) * SIP).await
    }
}

// F3
#[test]
fn nobody_is_refused_and_nothing_is_cut_while_the_edge_is_replaced_again_and_again() {
    run("replaced", async |lab| {
        let mut site = Site::set(&lab).await?;
        let service = bytecheck::Service::start(plan()).await?;
        let _checked = Connector::publish(&lab, RDP, &service.url()).await?;
        let (_db, _rdp) = (site.client(DB, 7001).await?, site.client(RDP, 7002).await?);
        let mut living = Living::begin(&site, 7001).await?;
        living.prove(&site, 0).await?;
        let mut load = Load::begin(&site)?;
        let carried =
            tokio::spawn(exchange(service, LIMIT, |_| async { Ok(TcpStream::connect(("127.0.0.1", 7002)).await?) }));
        load.goes_on().await?;
        for round in 1..=restarts() {
            let (begun, before) = (Instant::now(), load.asked.load(Relaxed));
            site.edge.replace().await.with_context(|| format!("restart {round}"))?;
            let (took, meanwhile) = (begun.elapsed(), load.asked.load(Relaxed) - before);
            ensure!(meanwhile >= MEANWHILE, "{meanwhile} requests were answered in the {took:?} of restart {round}");
            load.goes_on().await.with_context(|| format!("after restart {round}"))?;
            let (all, since) = (load.asked.load(Relaxed) - before, begun.elapsed());
            println!("restart {round} took {took:?}: {meanwhile} answers meanwhile, {all} within {since:?}");
            living.prove(&site, round).await.with_context(|| format!("after restart {round}"))?;
        }
        println!("{} requests were answered", load.end().await?);
        living.download.finish().await?;
        living.upload.finish().await?;
        let bytes = carried.await??;
        ensure!(bytes > u64::from(plan().streams) * plan().bytes, "{bytes}");
        Ok(())
    });
}

/// What the process before may go on with, in the test of it.
const HTTP_TIME: Duration = Duration::from_secs(4);
const TCP_TIME: Duration = Duration::from_secs(10);
/// How much later than that things may be seen to end, on a machine that is busy: less than there is between the two.
const LATER: Duration = Duration::from_secs(5);

/// Both carry a word: it comes back by the stream, and has been said to whoever listens to the events.
async fn carry(tcp: &mut TcpStream, events: &mut Raw, word: &str) -> Result<()> {
    tcp.write_all(word.as_bytes()).await?;
    let mut echoed = vec![0; word.len()];
    timeout(PATIENCE, tcp.read_exact(&mut echoed)).await.context("the stream")??;
    let (mut heard, wanted) = (Vec::new(), format!("{word}\n\n"));
    while find(&heard, wanted.as_bytes()).is_none() {
        let some = events.read().await?;
        ensure!(!some.is_empty(), "the events ended before {word:?}");
        heard.extend(some);
    }
    Ok(())
}

// F3
#[test]
fn whoever_keeps_a_connection_is_sent_on_and_what_goes_on_has_its_time_and_no_more() {
    run("sent-on", async |lab| {
        let extra = format!("drain_http = {}\ndrain_tcp = {}", HTTP_TIME.as_secs(), TCP_TIME.as_secs());
        let mut site = Site::configured(&lab, &extra).await?;
        let _client = site.client(DB, 7001).await?;
        let mut tcp = TcpStream::connect(("127.0.0.1", 7001)).await?;
        let mut events = site.open("/events").await?;
        let mut kept = site.open("/bytes/10").await?;
        let first = kept.answer(true).await?;
        ensure!(first.status == 200 && first.header("connection").is_none(), "{:?}", first.headers);
        let mut second = Http2::open(&site.visitor.door("https", WWW)?).await?;
        let session = site.visitor.session(WWW)?;
        let fields = [(":method", "GET"), (":scheme", "https"), (":authority", WWW), (":path", "/bytes/10")];
        let fields = [&fields[..], &[("cookie", session.as_str())]].concat();
        ensure!(second.ask(&fields, None).await?.status() == 200);
        carry(&mut tcp, &mut events, ": open").await?;

        site.edge.replace().await?;
        let begun = Instant::now();
        let told = timeout(HTTP_TIME / 2, second.outcome(u32::MAX >> 1)).await;
        ensure!(told.context("by HTTP/2 nobody is told")?? == Outcome::Gone(0), "it does not end in order");
        kept.send(&site.request("/bytes/10")?).await?;
        let last = kept.answer(true).await?;
        ensure!(last.status == 200 && last.header("connection") == Some("close"), "{:?}", last.headers);
        ensure!(kept.rest().await?.is_empty(), "something follows the last answer");
        site.streams.say("still there");
        carry(&mut tcp, &mut events, "still there").await?;

        ensure!(find(&events.rest().await?, b"data").is_none(), "nothing was said");
        let took = begun.elapsed();
        ensure!(took > HTTP_TIME / 2 && took < HTTP_TIME + LATER, "the events ended after {took:?}");
        tcp.write_all(b"on").await?;
        let goes_on = timeout(PATIENCE, tcp.read_exact(&mut [0; 2])).await.context("the stream stands still")?;
        goes_on.context("the stream was cut with the events")?;
        let ended = timeout(PATIENCE, tcp.read(&mut [0; 1])).await.context("the stream goes on")?;
        ensure!(!matches!(ended, Ok(1..)), "{ended:?}");
        let took = begun.elapsed();
        ensure!(took > HTTP_TIME && took < TCP_TIME + LATER, "the stream ended after {took:?}");
        let status = site.edge.process.wait().await?;
        ensure!(status.success(), "{status}: {}", site.edge.process.log.tail(20));
        Ok(())
    });
}

// F3, S10
#[test]
fn what_ends_in_the_process_that_serves_ends_in_the_one_before() {
    run("followed", async |lab| {
        let mut site = Site::set(&lab).await?;
        let _client = site.client(DB, 7001).await?;
        let mut living = Living::begin(&site, 7001).await?;
        living.prove(&site, 0).await?;
        // Somebody else's login is under way.
        let (mut other, address) = (Visitor::new(&site.ca)?, "other@example.test");
        let page = other.ask_for_code(&format!("https://{WWW}/"), address).await?;
        site.edge.replace().await?;
        living.prove(&site, 1).await?;
        let code = site.smtp.mail_to(address, 1).await?.pin()?;
        let entered = other.enter_code(&page, &code).await?;
        let end = other.follow(entered).await?;
        ensure!(end.status() == 200, "a login that was begun before the restart: {}", end.status());

        // A session.
        site.edge.run(&["admin", "session", "revoke", STAFF]).await?.ok()?;
        let begun = Instant::now();
        let ended = timeout(ends_within(), async {
            loop {
                match site.streams.say("still there?") {
                    0 => return,
                    _ => sleep(Duration::from_millis(20)).await,
                }
            }
        });
        ended.await.context("the events of a session that was ended go on")?;
        println!("the events ended {:?} after the session", begun.elapsed());
        let websocket = timeout(ends_within(), async { while let Some(Ok(_)) = living.websocket.next().await {} });
        websocket.await.context("the WebSocket of a session that was ended goes on")?;

        // What a machine is admitted by, which its TCP stream stands on.
        living.tcp.write_all(b"here").await?;
        living.tcp.read_exact(&mut [0; 4]).await?;
        site.edge.run(&["admin", "service-token", "rotate", "robot", "--grace", "0s"]).await?.ok()?;
        let begun = Instant::now();
        let cut = timeout(ends_within(), living.tcp.read(&mut [0; 1])).await;
        let cut = cut.context("the stream of a machine that is not admitted any more goes on")?;
        ensure!(!matches!(cut, Ok(1..)), "{cut:?}");
        println!("the stream was cut {:?} after the secret was another one", begun.elapsed());
        Ok(())
    });
}

// F3, F30
#[test]
fn a_restart_that_cannot_be_leaves_everything_as_it_was_and_says_why() {
    run("unreplaced", async |lab| {
        let mut site = Site::set(&lab).await?;
        let config = fs::read_to_string(lab.path("edge.toml"))?;
        // Without the file, so that it is the new process that reads it.
        let restart = || -> Result<_> {
            let mut command = lab.command(program("edge")?);
            command.arg("restart").arg("--data-dir").arg(lab.path("edge"));
            Ok(finish(command))
        };
        let taken = TcpListener::bind("127.0.0.1:445").await?;
        let listening = |more: &str| config.replace("[\"127.0.0.1:443\"]", &format!("[\"127.0.0.1:443\", \"{more}\"]"));
        for (broken, why) in [
            (config.replacen("\nlisten =", "\nlisden =", 1), "did you mean `listen`?"),
            (listening("127.0.0.1:445"), "cannot listen on 127.0.0.1:445"),
        ] {
            lab.write("edge.toml", &broken)?;
            let refused = restart()?.await?;
            ensure!(refused.code == 1 && refused.stderr.contains(why), "{why}: {}", refused.said());
            ensure!(site.edge.process.ended()?.is_none(), "the edge is gone");
            anew(&site.visitor).await?;
        }
        drop(taken);

        // A listener that is new is opened, one that is not named any more is closed, and the others are never shut.
        lab.write("edge.toml", &listening("127.0.0.1:445"))?;
        site.edge.replace().await?;
        TcpStream::connect("127.0.0.1:445").await.context("the new listener")?;
        anew(&site.visitor).await?;
        lab.write("edge.toml", &config)?;
        site.edge.replace().await?;
        let closed = async {
            while TcpStream::connect("127.0.0.1:445").await.is_ok() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, closed).await.context("a listener that is not named any more")?;
        anew(&site.visitor).await?;
        Ok(())
    });
}

// F3
#[test]
fn the_new_file_is_started_the_manager_is_told_and_the_process_before_ends_by_itself() {
    run("upgraded", async |lab| {
        let smtp = Smtp::start(&lab).await?;
        let (file, real) = (lab.path("bin/edge"), program("edge")?);
        fs::create_dir_all(lab.path("bin"))?;
        symlink(&real, &file)?;
        let manager = UnixDatagram::bind(lab.path("notify"))?;
        manager.set_read_timeout(Some(PATIENCE))?;
        let manager = Arc::new(manager);
        let told = async || -> Result<String> {
            let manager = manager.clone();
            let heard = tokio::task::spawn_blocking(move || {
                let mut buffer = [0; 256];
                manager.recv(&mut buffer).map(|count| String::from_utf8_lossy(&buffer[..count]).into_owned())
            });
            heard.await?.context("the manager hears nothing")
        };
        let mut command = lab.command(&file);
        command.arg("run").arg("--config").arg(lab.path("edge.toml")).env("NOTIFY_SOCKET", lab.path("notify"));
        let mut edge = Edge::start_as(&lab, EdgeConfig::with_mail(&smtp), |_| command).await?;
        ensure!(told().await? == "READY=1");

        // Another file in its place, which leaves a mark before it does the same.
        let mark = lab.path("mark");
        lab.write(
            "bin/next",
            &format!("#!/bin/sh\necho \"$@\" > {}\nexec {} \"$@\"\n", mark.display(), real.display()),
        )?;
        fs::set_permissions(lab.path("bin/next"), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        fs::rename(lab.path("bin/next"), &file)?;
        signal(edge.process.pid(), "HUP").await?;
        let said = edge.process.log.wait_for(r"another process serves in this one's place process=(\d+)").await?;
        let pid: u32 = said[1].parse()?;
        edge.successors.note(pid);
        ensure!(fs::read_to_string(&mark)?.starts_with("run --config"), "the new file was not started as the old one");
        ensure!(told().await? == format!("MAINPID={pid}"));

        // Nothing is left to go on with; what both had stays.
        let status = edge.process.wait().await?;
        ensure!(status.success(), "{status}: {}", edge.process.log.text());
        ensure!(edge.run(&["admin", "tunnel", "list"]).await?.code == 0, "the socket went with the process before");
        ensure!(TcpStream::connect("127.0.0.1:443").await.is_ok());
        let second = Process::start("second edge", Edge::command(&lab, &["run"])?)?;
        second.log.wait_for("already runs on this data directory").await?;

        // The last one is stopped as ever.
        signal(pid, "TERM").await?;
        let gone = async {
            while lab.path("edge/edge.sock").exists() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, gone).await.context("the socket of an edge that was stopped")?;
        Ok(())
    });
}

// F5
#[test]
fn an_answer_that_a_stopping_connector_cuts_looks_cut_and_has_nothing_added() {
    run("cut-answer", async |lab| {
        let smtp = Smtp::start(&lab).await?;
        let edge = Edge::with_access(&lab, EdgeConfig::with_mail(&smtp), ACCESS_WWW).await?;
        let streams = Streams::start().await?;
        let mut command = Connector::command(&lab)?;
        command.args(["--hostname", WWW, "--url", &streams.url(), "--grace-period", "1s"]);
        let connector = Connector::start("connector", command).await?;
        let visitor = login(&edge.ca().await?, &smtp, WWW, STAFF).await?;
        let mut raw = visitor.door("https", WWW)?.open().await?;
        let session = visitor.session(WWW)?;
        raw.send(format!("GET /events HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\n\r\n").as_bytes()).await?;
        let mut got = Vec::new();
        while find(&got, b": open\n\n").is_none() {
            got.extend(raw.read().await?);
        }
        signal(connector.process.pid(), "TERM").await?;
        // What is in flight goes on within the time of grace.
        streams.say("last");
        while find(&got, b"data: last\n\n").is_none() {
            let some = raw.read().await?;
            ensure!(!some.is_empty(), "cut before the time of grace was over");
            got.extend(some);
        }
        got.extend(raw.rest().await?);
        let head = find(&got, b"\r\n\r\n").context("a head")? + 4;
        let body = String::from_utf8_lossy(&got[head..]).into_owned();
        ensure!(!body.ends_with("0\r\n\r\n"), "it looks whole: {body:?}");
        let said: Vec<_> = body.split("\r\n").filter(|line| !line.is_empty() && line.len() > 2).collect();
        ensure!(said == [": open\n\n", "data: last\n\n"], "something was added: {said:?}");
        Ok(())
    });
}
