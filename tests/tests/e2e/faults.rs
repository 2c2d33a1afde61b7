//! What goes wrong with machines: programs killed, disks full, databases locked, translations of addresses forgotten. What
//! was running goes on or comes back by itself, and what cannot be done is refused in words.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use tunnel_edge::store::{DATABASE_NAME, Store as _, sqlite::SqliteStore};
use tunnel_tests::{
    AccessNetwork, Canary, Connector, Edge, EdgeConfig, Lab, PATIENCE, Process, Pulse, Smtp, Stage, Visitor,
    access_network::EDGE_V4,
    canary::{After, page},
    edge::{ACCESS, LOGIN_HOST},
    flood::median,
    html::form_with,
    process::{finish, long, program, signal},
    run,
    stage::{APP, STAFF, WWW},
};

fn rounds() -> usize {
    if long() { 100 } else { 5 }
}

/// How soon an edge that was killed and started again has its connectors: most times, and always.
const BACK_MOSTLY: Duration = Duration::from_secs(3);
const BACK_AT_MOST: Duration = Duration::from_secs(5);
/// How soon it is known of a connector that it is silent, although it has several links: three seconds, on a busy machine. One
/// link after the other, it would be twelve.
const KNOWN_IN: Duration = Duration::from_secs(6);
/// How soon it is answered what is known: a tenth of a second, on a busy machine.
const SAID_IN: Duration = Duration::from_secs(1);
/// For how long after its start an edge waits for connectors that may be on their way.
const ARRIVALS: Duration = Duration::from_secs(10);
/// What a request that waits may cost, in KiB: the buffers of TLS and of HTTP on both sides, and what is remembered of it. And
/// what an edge may take for the first of them that it has not taken before.
const PER_WAITING: u64 = 80;
const ONCE: u64 = 8 * 1024;
/// How long somebody else waits at most beside them, of a hundred 99.
const NOTICEABLE: Duration = Duration::from_millis(500);

/// How soon an edge that was killed listens again, from the kill on, most times; half a second on a machine that does nothing else.
/// The short form is for slow ones, too.
fn listens_in() -> Duration {
    Duration::from_secs(if long() { 2 } else { 10 })
}

/// How soon a connector is back whose address was changed while it had something to say: three seconds and a half by what it
/// waits for, and more where the machine is busy.
fn moved_in() -> Duration {
    Duration::from_secs(if long() { 5 } else { 10 })
}

/// Asks until the page is there; how long that took.
async fn comes_back(visitor: &mut Visitor, host: &str) -> Result<Duration> {
    let since = Instant::now();
    loop {
        if let Ok(reply) = visitor.get(&format!("https://{host}/")).await
            && reply.status() == 200
        {
            return Ok(since.elapsed());
        }
        ensure!(since.elapsed() < PATIENCE, "{host} did not come back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// F2: killed under load and started again, over and over: the connectors are back by themselves, whoever was logged in
/// still is, and nothing in the database is spoilt.
#[test]
fn an_edge_that_is_killed_comes_back_with_its_tunnels_and_its_logins() {
    run("killed", async |lab| {
        let stage = Stage::set(&lab).await?;
        let mut visitor = stage.somebody(WWW, STAFF).await?;
        let Stage { smtp, mut edge, ca: _, www: _www, app: _app, connectors: _connectors, .. } = stage;
        let over = Arc::new(AtomicBool::new(false));
        let mut load = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let (mut visitor, over) = (visitor.clone(), over.clone());
            load.spawn(async move {
                let mut answered = 0usize;
                while !over.load(Relaxed) {
                    match visitor.get(&format!("https://{WWW}/load")).await {
                        // Nobody is sent to log in again because the edge was away.
                        Ok(reply) if reply.status() != 0 => {
                            assert!(matches!(reply.status(), 200 | 502 | 503 | 504 | 530), "{}", reply.status());
                            answered += usize::from(reply.status() == 200);
                        }
                        _ => tokio::time::sleep(Duration::from_millis(20)).await,
                    }
                }
                answered
            });
        }
        let (mut times, mut starts) = (Vec::new(), Vec::new());
        for round in 0..rounds() {
            let killed = Instant::now();
            edge.process.kill().await?;
            edge = Edge::start(&lab, EdgeConfig::with_mail(&smtp)).await?;
            starts.push(killed.elapsed());
            times.push(comes_back(&mut visitor, WWW).await?);
            // And what an administrator does is kept, whatever moment the next kill finds it in.
            let access = ACCESS.replace("guest@", &format!("guest{round}@"));
            edge.apply(&access).await?;
            ensure!(edge.run(&["export"]).await?.ok()?.contains(&format!("guest{round}@")), "round {round}");
        }
        over.store(true, Relaxed);
        let answered: usize = load.join_all().await.into_iter().sum();
        let (middle, listens, most) = (median(&times), median(&starts), times.iter().max());
        println!(
            "F2: listens after {listens:?}, back after {middle:?} (medians), {most:?}; {answered} answers between"
        );
        assert!(middle <= BACK_MOSTLY && most.is_some_and(|most| *most <= BACK_AT_MOST), "connectors: {times:?}");
        assert!(listens <= listens_in(), "the listener: {starts:?}");
        assert!(answered > rounds(), "there was load: {answered}");
        // Nothing of the record was lost in the middle or changed, whatever moment each kill found it in.
        ensure!(edge.process.terminate().await?.success());
        let store = SqliteStore::open(lab.path("edge").join(DATABASE_NAME)).await?;
        let records = store.verify_audit().await?;
        ensure!(records > rounds() as u64, "{records} records");
        store.close().await;
        Ok(())
    });
}

/// F4: one of two replicas is killed again and again; whoever asks meanwhile, or after that, is answered by the other one.
#[test]
fn a_connector_that_is_killed_leaves_its_visitors_to_the_other_one() {
    run("replica", async |lab| {
        let stage = Stage::set(&lab).await?;
        let mut visitor = stage.somebody(WWW, STAFF).await?;
        let replica = |number: usize| {
            let lab = lab.clone();
            let url = stage.www.url();
            async move {
                let mut command = Connector::command(&lab)?;
                command.args(["--hostname", WWW, "--url", &url]);
                Connector::start(&format!("replica {number}"), command).await
            }
        };
        let over = Arc::new(AtomicBool::new(false));
        let mut load = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let (mut visitor, over) = (visitor.clone(), over.clone());
            load.spawn(async move {
                let mut answered = 0usize;
                while !over.load(Relaxed) {
                    let reply = visitor.get(&format!("https://{WWW}/load")).await?;
                    ensure!(
                        reply.status() == 200,
                        "{} for what a connector died with: {}",
                        reply.status(),
                        reply.text()
                    );
                    answered += 1;
                }
                anyhow::Ok(answered)
            });
        }
        let mut asked = 0usize;
        for round in 0..rounds() {
            let killed = replica(round).await?;
            // So that streams of both are in use and idle.
            for _ in 0..20 {
                ensure!(visitor.get(&format!("https://{WWW}/")).await?.status() == 200);
            }
            killed.process.kill().await?;
            for _ in 0..20 {
                let reply = visitor.get(&format!("https://{WWW}/")).await?;
                assert_eq!(reply.status(), 200, "round {round}, after {asked} requests: {}", reply.text());
                asked += 1;
            }
        }
        over.store(true, Relaxed);
        while let Some(answered) = load.join_next().await {
            ensure!(answered?? > rounds(), "there was load");
        }
        Ok(())
    });
}

/// What a page of [`WWW`] is answered with, and how long that took.
async fn asked(visitor: &mut Visitor) -> Result<(u16, Duration)> {
    let since = Instant::now();
    let status = visitor.get(&format!("https://{WWW}/")).await?.status();
    Ok((status, since.elapsed()))
}

/// F4: a connector that is frozen ends no connection, and says nothing. Where there is another one, that is asked; where there is
/// none, it is said once it is known, and then at once. It comes back by itself.
#[test]
fn a_connector_that_is_frozen_is_known_to_be_within_seconds_and_comes_back() {
    run("frozen", async |lab| {
        let begun = Instant::now();
        let stage = Stage::set(&lab).await?;
        let mut visitor = stage.somebody(WWW, STAFF).await?;
        let frozen = &stage.connectors[0].process;
        let links = || frozen.log.text().matches("link up").count();
        let mut command = Connector::command(&lab)?;
        command.args(["--hostname", WWW, "--url", &stage.www.url()]);
        let other = Connector::start("another connector", command).await?;

        // One of two. The first has streams that were used, which are taken again.
        let before = links();
        ensure!(asked(&mut visitor).await?.0 == 200);
        signal(frozen.pid(), "STOP").await?;
        let mut crowd = tokio::task::JoinSet::new();
        for _ in 0..12 {
            let mut visitor = visitor.clone();
            crowd.spawn(async move { asked(&mut visitor).await });
        }
        let mut slowest = Duration::ZERO;
        while let Some(answered) = crowd.join_next().await {
            let (status, took) = answered??;
            ensure!(status == 200, "{status} although there is another connector");
            slowest = slowest.max(took);
        }
        println!("F4: a page took {slowest:?} while one of two connectors was frozen");
        ensure!(slowest > SAID_IN, "the frozen one was asked nothing");
        ensure!(slowest <= KNOWN_IN, "{slowest:?} until the other connector was asked");
        for _ in 0..20 {
            let (status, took) = asked(&mut visitor).await?;
            ensure!(status == 200 && took <= SAID_IN, "{status} after {took:?}");
        }
        signal(frozen.pid(), "CONT").await?;
        let since = Instant::now();
        while links() == before {
            ensure!(since.elapsed() < PATIENCE, "it does not come back: {}", frozen.log.tail(5));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        println!("F4: back {:?} after it went on", since.elapsed());
        other.process.kill().await?;
        comes_back(&mut visitor, WWW).await?;

        // The only one. Until some time after the edge's start, none that is gone is said to be.
        tokio::time::sleep((ARRIVALS + SAID_IN).saturating_sub(begun.elapsed())).await;
        ensure!(asked(&mut visitor).await?.0 == 200);
        signal(frozen.pid(), "STOP").await?;
        let (status, took) = asked(&mut visitor).await?;
        println!("F4: {status} after {took:?} from the only connector, frozen");
        ensure!(status == 530 && took <= KNOWN_IN, "{status} after {took:?}");
        for _ in 0..5 {
            let (status, took) = asked(&mut visitor).await?;
            ensure!(status == 530 && took <= SAID_IN, "{status} after {took:?}, although it is known");
        }
        signal(frozen.pid(), "CONT").await?;
        let took = comes_back(&mut visitor, WWW).await?;
        println!("F4: served again {took:?} after it went on");
        Ok(())
    });
}

/// F7: a service takes requests and answers none. What waits is cheap, and others notice nothing.
#[test]
fn requests_that_wait_for_a_silent_service_cost_little_and_hold_up_nobody() {
    run("stuck", async |lab| {
        let silent = Canary::answering(Arc::new(|head| match head.target() {
            "/silent" => (Vec::new(), After::Silence),
            _ => (page("ok"), After::KeepAlive),
        }));
        let stage = Stage::with(&lab, ACCESS, silent.await?).await?;
        let mut visitor = stage.somebody(APP, STAFF).await?;
        let mut stuck = visitor.clone();
        stuck.browse(&format!("https://{WWW}/")).await?;
        let session = stuck.session(WWW)?;
        ensure!(visitor.get(&format!("https://{APP}/")).await?.status() == 200);
        let before = stage.edge.process.rss_kib()?;
        let count = if rounds() > 5 { 2000 } else { 400 };
        let mut waiting = Vec::new();
        for _ in 0..count {
            let mut raw = stuck.door("https", WWW)?.open().await?;
            raw.send(format!("GET /silent HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\n\r\n").as_bytes()).await?;
            waiting.push(raw);
        }
        stage
            .www
            .wait_until(|www| www.heads().iter().filter(|head| head.target() == "/silent").count() >= count)
            .await?;
        let pulse = Pulse::start(&stage.door(APP)?, APP, &visitor.session(APP)?);
        let slowest = pulse.window(200, Duration::ZERO).await?;
        pulse.end().await?;
        let grown = stage.edge.process.rss_kib()?.saturating_sub(before);
        println!(
            "F7: {count} requests wait; the edge has grown by {grown} KiB; others are answered within {slowest:?}"
        );
        assert!(slowest < NOTICEABLE, "others wait for {slowest:?}");
        assert!(grown < count as u64 * PER_WAITING + ONCE, "{grown} KiB for {count} requests");
        Ok(())
    });
}

/// The address of the NAT, and the one that it gets instead.
const FIRST_V4: &str = "203.0.113.1/24";
const SECOND_V4: &str = "203.0.113.77/24";

/// A service that says a few words at `/`, and at `/drip` a letter five times a second without end.
const DRIPPING: &str = "\
import http.server, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        if self.path != '/drip':
            self.send_header('Content-Length', '12')
        self.end_headers()
        self.wfile.write(b'behind a NAT')
        while self.path == '/drip':
            time.sleep(0.2)
            self.wfile.write(b'.')
server = http.server.ThreadingHTTPServer(('127.0.0.1', 3000), Handler)
print('listening', flush=True)
server.serve_forever()
";

/// F8: a NAT forgets connections that are silent for fifteen seconds. Links are never silent so long, and one that was cut
/// without a word is replaced.
#[test]
fn a_nat_that_forgets_quickly_forgets_no_link() {
    run("forgetful", async |lab| {
        let net = AccessNetwork::behind_nat()?;
        let nat = &net.routers[0];
        nat.sysctl("net.netfilter.nf_conntrack_tcp_loose=0")?;
        let smtp = Smtp::start_in(&lab, &net.wan).await?;
        let config = EdgeConfig {
            listen: vec![format!("{EDGE_V4}:443")],
            http_listen: vec![format!("{EDGE_V4}:80")],
            ..EdgeConfig::with_mail(&smtp)
        };
        let edge = Edge::start_in(&lab, &net.wan, config).await?;
        edge.apply(ACCESS).await?;
        let mut service = lab.dress(net.lan.command("python3"));
        service.args(["-c", DRIPPING]);
        let service = Process::start("service", service)?;
        service.log.wait_for("listening").await?;
        let ca = edge.ca().await?;
        let ca_file = lab.write("ca.pem", &ca)?;
        let machine = |args: &[&str]| -> Result<tokio::process::Command> {
            let mut command = lab.dress(net.lan.command(program("connector")?));
            command.args(args).args(["--edge", &format!("https://{LOGIN_HOST}"), "--hostname", WWW]);
            command.arg("--edge-ca").arg(&ca_file).arg("--config-dir").arg(lab.path("machine"));
            Ok(command)
        };
        let mut visitor = Visitor::at(&ca, format!("{EDGE_V4}:443").parse()?, format!("{EDGE_V4}:80").parse()?)?;
        let mut waiting = Process::start("connector login", machine(&["login"])?)?;
        let approval = waiting.log.wait_for(r"https://access\.example\.test/\S+").await?.remove(0);
        net.wan.inside(async {
            let page = visitor.login(&smtp, &approval, "admin@example.test").await?;
            let form = form_with(&page.text(), "answer")?.with("same", "on").with("answer", "approve");
            let done = visitor.submit(&page.url, &form).await?;
            visitor.follow(done).await
        })?;
        ensure!(waiting.wait().await?.success(), "connector login: {}", waiting.log.text());
        // Only now: what was forgotten before would be enrolment's.
        nat.sysctl("net.netfilter.nf_conntrack_tcp_timeout_established=15")?;
        let connector = Connector::start("connector", machine(&["--url", "http://127.0.0.1:3000"])?).await?;
        net.wan.inside(async { visitor.browse(&format!("https://{WWW}/")).await })?;
        let log = connector.process.log.clone();
        let ups = || log.text().matches("link up").count();
        let first = ups();
        // Longer than the NAT remembers anything that is silent.
        tokio::time::sleep(Duration::from_secs(20)).await;
        let reply = net.wan.inside(async { visitor.get(&format!("https://{WWW}/")).await })?;
        assert_eq!((reply.status(), reply.text().as_str()), (200, "behind a NAT"));
        assert_eq!(ups(), first, "no link had to be made anew: {}", log.text());
        // F9: the address changes, and everything is forgotten with it. No end of a link is told of it; the connector has
        // something to say, and notices.
        let mut forget = nat.command("conntrack");
        forget.arg("-F");
        let (door, session) = (visitor.door("https", WWW)?, visitor.session(WWW)?);
        let took = net.wan.inside(async {
            let mut drip = door.open().await?;
            let request = format!("GET /drip HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\n\r\n");
            drip.send(request.as_bytes()).await?;
            ensure!(drip.answer(false).await?.status == 200, "no drip");
            nat.ip(&["addr", "del", FIRST_V4, "dev", "n1"])?;
            nat.ip(&["addr", "add", SECOND_V4, "dev", "n1"])?;
            finish(forget).await?.ok()?;
            let since = Instant::now();
            loop {
                let status = visitor.get(&format!("https://{WWW}/")).await?.status();
                if status == 200 && ups() > first {
                    return anyhow::Ok(since.elapsed());
                }
                ensure!(since.elapsed() < PATIENCE, "no new link: {}", log.text());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })?;
        println!("F9: a new link serves {took:?} after the address was another one");
        ensure!(took <= moved_in(), "{took:?} until a connector whose address was changed serves again");
        let second = SECOND_V4.split('/').next().unwrap_or_default();
        edge.process.log.wait_for(&format!("a connector's link is up.*source={}", regex::escape(second))).await?;
        drop(service);
        Ok(())
    });
}

/// A small disk at the place of the edge's data directory; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(lab: &Lab, mebibytes: usize) -> Result<Self> {
        let path = lab.path("edge");
        fs::create_dir_all(&path)?;
        let options = format!("size={mebibytes}m,mode=700");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "small"]).arg(&path).output()?;
        ensure!(done.status.success(), "mount: {}", String::from_utf8_lossy(&done.stderr));
        Ok(Self(path))
    }

    fn filler(&self) -> PathBuf {
        self.0.join("something-else")
    }

    /// Fills what is left to the last byte.
    fn fill(&self) -> Result<()> {
        use std::io::Write;
        let mut file = fs::OpenOptions::new().create(true).append(true).open(self.filler())?;
        while file.write_all(&[0; 4096]).is_ok() {}
        while file.write_all(&[0]).is_ok() {}
        Ok(())
    }

    fn free(&self) -> Result<()> {
        Ok(fs::remove_file(self.filler())?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// Somebody new begins to log in: either a code is asked for, or a page says in words that it does not work now. Gives the
/// page's status.
async fn begin_login(stage: &Stage, email: &str) -> Result<u16> {
    let page = stage.stranger()?.ask_for_code(&format!("https://{APP}/"), email).await?;
    super::pages::assert_safe_page(&page);
    if page.status() != 200 {
        ensure!(page.status() >= 500, "{} at {}", page.status(), page.url);
        super::pages::assert_reference(&page);
    }
    Ok(page.status())
}

/// F17: the disk of the edge is full. Whoever is logged in works on; what would have to be written is refused in words, by
/// programs and by pages, and works again once there is room.
#[test]
fn on_a_full_disk_whoever_is_logged_in_works_on_and_changes_are_refused() {
    run("full", async |lab| {
        let disk = SmallDisk::mount(&lab, 8)?;
        let stage = Stage::set(&lab).await?;
        let mut visitor = stage.somebody(WWW, STAFF).await?;
        disk.fill()?;
        for _ in 0..50 {
            let reply = visitor.get(&format!("https://{WWW}/")).await?;
            assert_eq!(reply.status(), 200, "{}", reply.text());
        }
        // Many words, so that it fits into no page that is already there.
        let many: String =
            (0..2000).map(|n| format!("  - {{name: group-{n}, include: [{{email: a{n}@example.test}}]}}\n")).collect();
        let bigger = ACCESS.replace("policies:\n", &format!("{many}policies:\n"));
        let file = lab.write("bigger.yaml", &bigger)?;
        let refused = stage.edge.run(&["apply", "-f", &file.to_string_lossy()]).await?;
        assert_eq!(refused.code, 1, "{}", refused.said());
        let said = refused.said().to_lowercase();
        assert!(said.contains("full") || said.contains("space"), "it says why: {said}");
        let health = stage.edge.run(&["admin", "health"]).await?;
        assert_eq!(health.code, 3, "{}", health.said());
        for told in ["store: CANNOT BE WRITTEN since", "disk: FULL"] {
            assert!(health.stdout.contains(told), "{told}: {}", health.said());
        }
        begin_login(&stage, "stranger@example.test").await?;
        assert_eq!(visitor.get(&format!("https://{WWW}/")).await?.status(), 200);
        disk.free()?;
        stage.edge.apply(&bigger).await?;
        let health = stage.edge.run(&["admin", "health"]).await?;
        assert!(health.stdout.contains("store: it can be written"), "{}", health.said());
        let mut another = stage.stranger()?;
        let reply = another.login(&stage.smtp, &format!("https://{APP}/"), "another@example.test").await?;
        assert_eq!(reply.status(), 200, "logins are written again");
        Ok(())
    });
}

/// F18: a damaged database is not served, and none is made in the place of one that is gone; what to do is said, with the
/// newest backup.
#[test]
fn an_edge_with_a_damaged_database_does_not_start_and_names_the_newest_backup() {
    run("damaged", async |lab| {
        let smtp = Smtp::start(&lab).await?;
        let edge = Edge::start(&lab, EdgeConfig::with_mail(&smtp)).await?;
        let health = edge.run(&["admin", "health"]).await?.ok()?;
        ensure!(health.contains("as it should") && health.contains("backups: none yet"), "{health}");
        ensure!(edge.process.terminate().await?.success());
        let database = lab.path("edge/edge.db");
        let mut bytes = fs::read(&database)?;
        bytes[4096..8192].fill(0xa5);
        fs::write(&database, &bytes)?;
        for name in ["edge-20260102T030405Z.db", "edge-20260102T020405Z.db", "other.db"] {
            lab.write(&format!("edge/backups/{name}"), "")?;
        }
        let mut refused = Process::start("damaged", Edge::command(&lab, &["run"])?)?;
        assert_eq!(refused.wait().await?.code(), Some(1), "{}", refused.log.text());
        refused.log.wait_for("backups/edge-20260102T030405Z.db").await?;
        ensure!(fs::read(&database)? == bytes, "it is left as it is");

        // One that is gone is not begun anew.
        fs::remove_file(&database)?;
        let mut refused = Process::start("gone", Edge::command(&lab, &["run"])?)?;
        assert_eq!(refused.wait().await?.code(), Some(1), "{}", refused.log.text());
        refused.log.wait_for("is gone or empty.*begin anew.*backups/edge-20260102T030405Z.db").await?;
        ensure!(!database.exists(), "one was made in its place");
        Ok(())
    });
}

/// F18: another program holds the database. What is read is in memory, so visitors notice nothing; a change waits for some
/// seconds and is refused in words.
#[test]
fn while_the_database_is_locked_visitors_work_on_and_changes_are_refused() {
    run("locked", async |lab| {
        let stage = Stage::set(&lab).await?;
        let mut visitor = stage.somebody(WWW, STAFF).await?;
        let database = fs::read_dir(lab.path("edge"))?.filter_map(|entry| Some(entry.ok()?.path())).find(|path| {
            path.extension().is_some_and(|ending| ending == "db" || ending == "sqlite" || ending == "sqlite3")
        });
        let database = database.expect("a database in the data directory");
        let script = "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1], isolation_level=None)\nc.execute('BEGIN EXCLUSIVE')\nprint('locked', flush=True)\nsys.stdin.read()\n";
        let mut command = lab.command("python3");
        command.args(["-c", script]).arg(&database).stdin(Stdio::piped());
        let lock = Process::start("lock", command)?;
        lock.log.wait_for("locked").await?;
        let answered = Arc::new(AtomicUsize::new(0));
        let over = Arc::new(AtomicBool::new(false));
        let asking = {
            let (mut visitor, answered, over) = (visitor.clone(), answered.clone(), over.clone());
            tokio::spawn(async move {
                while !over.load(Relaxed) {
                    let reply = visitor.get(&format!("https://{WWW}/")).await?;
                    ensure!(reply.status() == 200, "{}", reply.status());
                    answered.fetch_add(1, Relaxed);
                }
                anyhow::Ok(())
            })
        };
        let file = lab.write("other.yaml", &ACCESS.replace("guest@", "visitor@"))?;
        let refused = stage.edge.run(&["apply", "-f", &file.to_string_lossy()]).await?;
        assert_eq!(refused.code, 1, "{}", refused.said());
        assert!(refused.said().to_lowercase().contains("locked"), "it says why: {}", refused.said());
        let health = stage.edge.run(&["admin", "health"]).await?;
        assert_eq!(health.code, 3, "{}", health.said());
        assert!(health.stdout.contains("store: CANNOT BE WRITTEN since"), "{}", health.said());
        ensure!(begin_login(&stage, "stranger@example.test").await? >= 500, "nothing can be written");
        over.store(true, Relaxed);
        asking.await??;
        assert!(answered.load(Relaxed) > 10, "visitors were answered meanwhile");
        lock.kill().await?;
        stage.edge.apply(&ACCESS.replace("guest@", "visitor@")).await?;
        let health = stage.edge.run(&["admin", "health"]).await?;
        assert!(health.stdout.contains("store: it can be written"), "{}", health.said());
        assert_eq!(visitor.get(&format!("https://{WWW}/")).await?.status(), 200);
        Ok(())
    });
}
