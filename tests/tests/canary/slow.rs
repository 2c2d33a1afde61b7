//! Whoever is slow on purpose (H13), reads nothing (H14, F22), or takes every descriptor (F20): new visitors are served
//! meanwhile, and memory stays bounded. Where it runs short all the same, nothing new is begun until it is back (F21).

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tunnel_tests::{
    Connector, Edge, EdgeConfig, Lab, PATIENCE, Raw, Smtp, Visitor,
    edge::ACCESS,
    http2::{Http2, block, frame},
    origin::Streams,
    process::{finish, long, many_sockets},
    raw::{Door, find},
    run,
    stage::{STAFF, WWW},
    visitor::login,
};

/// Slow connections by plain HTTP and by HTTPS.
fn slow() -> (u8, usize, usize) {
    if long() { (100, 40, 1000) } else { (34, 50, 300) }
}

/// Handshakes that stall at a time, and how long one is kept at most: five seconds, on a busy machine.
const STALLED: usize = 2000;
const STALLED_AT_MOST: Duration = Duration::from_secs(12);
/// The head of a record, and the beginning of a hello in it.
const HALF_A_HELLO: &[u8] = &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 7, 7, 7];
/// How long a connection may be kept at most on which nothing is asked: a minute, and two looks.
const IDLE_AT_MOST: Duration = Duration::from_secs(95);

/// Visitors who send a body slowly, or take an answer slowly.
const BODIES: usize = 50;
const READERS: usize = 150;
/// What each of them asks for: far more than any buffer on the way.
const ANSWER: u64 = 1 << 30;
/// What a slow reader may cost, in KiB: the first window of its stream, what HTTP has read of it, and what waits for TLS.
const PER_READER: u64 = 512;
/// What the windows of all streams on four links may grow beyond that, in KiB.
const POTS: u64 = 4 * 16 * 1024;
/// Streams of one connection in HTTP/2 that grant nothing.
const HELD: u32 = 90;
/// The memory that an edge is to make do with, in MiB: about twice what it takes when it has little to do.
const LIMIT: u64 = 160;
/// More readers than can fill that.
const READERS_MAX: usize = 1500;

struct Site {
    edge: Edge,
    streams: Streams,
    visitor: Visitor,
    cookie: String,
    _smtp: Smtp,
    _connector: Connector,
}

impl Site {
    async fn new(lab: &Lab, start: impl AsyncFnOnce(EdgeConfig) -> Result<Edge>) -> Result<Self> {
        let streams = Streams::start().await?;
        let smtp = Smtp::start(lab).await?;
        let edge = start(EdgeConfig::with_mail(&smtp)).await?;
        edge.apply(ACCESS).await?;
        let connector = Connector::publish(lab, WWW, &streams.url()).await?;
        let visitor = login(&edge.ca().await?, &smtp, WWW, STAFF).await?;
        let cookie = visitor.session(WWW)?;
        Ok(Self { edge, streams, visitor, cookie, _smtp: smtp, _connector: connector })
    }

    fn door(&self) -> Result<Door> {
        self.visitor.door("https", WWW)
    }

    fn head(&self, method: &str, target: &str, fields: &str) -> String {
        format!("{method} {target} HTTP/1.1\r\nHost: {WWW}\r\nCookie: {}\r\n{fields}\r\n", self.cookie)
    }

    /// Somebody new comes, and is served.
    async fn is_open(&self) -> Result<Duration> {
        let begun = Instant::now();
        let answer = self.door()?.ask(self.head("GET", "/bytes/1000", "Connection: close\r\n").as_bytes()).await?;
        ensure!(answer.status == 200, "{} for somebody new", answer.status);
        Ok(begun.elapsed())
    }
}

/// A connection to the plain port from another address of this machine, on which a head has begun.
async fn slow_head(n: u8) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 1, n), 0)))?;
    let mut tcp = timeout(PATIENCE, socket.connect("127.0.0.1:80".parse()?)).await??;
    tcp.write_all(format!("GET / HTTP/1.1\r\nHost: {WWW}\r\nX-Slow: ").as_bytes()).await?;
    Ok(tcp)
}

/// Sends a byte each second; how long it takes until the other side ends it.
async fn until_cut(mut tcp: TcpStream) -> Result<Duration> {
    let begun = Instant::now();
    loop {
        let mut buffer = [0; 1024];
        match timeout(Duration::from_secs(1), tcp.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => return Ok(begun.elapsed()),
            Ok(Ok(_)) => {}
            Err(_) => drop(tcp.write_all(b"s").await),
        }
        ensure!(begun.elapsed() < PATIENCE, "a head may take for ever");
    }
}

/// A body that is announced and comes by so many bytes each second; the answer's status.
async fn slow_body(mut raw: Raw, head: String, each: usize, count: usize) -> Result<u16> {
    raw.send(head.as_bytes()).await?;
    for _ in 0..count {
        raw.send(&vec![b'b'; each]).await?;
        if raw.stirs(Duration::from_secs(1)).await {
            break;
        }
    }
    Ok(raw.answer(true).await?.status)
}

/// H13: heads, bodies, readers and ranges.
#[test]
fn thousands_who_are_slow_on_purpose_keep_nobody_out() {
    run("slow", async |lab| {
        many_sockets()?;
        let site = Site::new(&lab, async |config| Edge::start(&lab, config).await).await?;
        let alone = site.is_open().await?;
        let (addresses, of_each, by_tls) = slow();
        let mut heads = JoinSet::new();
        for n in 1..=addresses {
            for _ in 0..of_each {
                let tcp = slow_head(n).await?;
                heads.spawn(until_cut(tcp));
            }
        }
        let mut begun = Vec::new();
        for _ in 0..by_tls {
            let mut raw = site.door()?.open().await?;
            raw.send(format!("GET / HTTP/1.1\r\nHost: {WWW}\r\nX-Slow: ").as_bytes()).await?;
            begun.push(raw);
        }
        let mut bodies = JoinSet::new();
        for _ in 0..BODIES {
            let head = site.head("POST", "/upload", "Content-Length: 1000000\r\n");
            bodies.spawn(slow_body(site.door()?.open().await?, head, 1, 60));
        }
        // Fast enough, and long: nobody's business.
        let steady = site.head("POST", "/upload", "Content-Length: 15360\r\n");
        let steady = tokio::spawn(slow_body(site.door()?.open().await?, steady, 1024, 15));
        let ranges: Vec<String> = (0..3000).map(|n| format!("{n}-")).collect();
        let ranges = format!("Range: bytes={}\r\nConnection: close\r\n", ranges.join(","));
        for _ in 0..BODIES {
            let answer = site.door()?.ask(site.head("GET", "/bytes/1000", &ranges).as_bytes()).await?;
            ensure!(answer.status == 200, "{} for many ranges", answer.status);
        }

        let (mut slowest, mut visits) = (Duration::ZERO, 0);
        while heads.try_join_next().is_none() || visits < 20 {
            slowest = slowest.max(site.is_open().await?);
            visits += 1;
        }
        eprintln!("{visits} visits meanwhile, the slowest {slowest:?}; alone {alone:?}");
        assert!(!long() || slowest < Duration::from_secs(3), "{slowest:?}");
        while let Some(cut) = heads.join_next().await {
            let took = cut??;
            ensure!(took < Duration::from_secs(25), "a head took {took:?}");
        }
        for mut raw in begun {
            raw.rest().await.context("a head by TLS may take for ever")?;
        }
        while let Some(status) = bodies.join_next().await {
            assert_eq!(status??, 408, "a body that does not come");
        }
        assert_eq!(steady.await??, 200, "a body that comes steadily");
        Ok(())
    });
}

/// A browser comes back to its connection after a while; what it asks for then is served on the same one. The long form waits
/// for its end.
async fn is_kept(site: &Site) -> Result<()> {
    let mut raw = site.door()?.open().await?;
    for wait in [Duration::from_secs(12), Duration::ZERO] {
        raw.send(site.head("GET", "/bytes/1000", "").as_bytes()).await?;
        ensure!(raw.answer(true).await?.status == 200, "it is not served");
        tokio::time::sleep(wait).await;
    }
    if long() {
        let begun = Instant::now();
        ensure!(raw.stirs(IDLE_AT_MOST).await, "it is kept for ever");
        ensure!(begun.elapsed() > Duration::from_secs(58), "it was kept for {:?}", begun.elapsed());
    }
    Ok(())
}

/// A head that is begun after a request that was answered, where a connection may rest for a minute.
async fn a_later_head_is_late(site: &Site) -> Result<()> {
    let mut raw = site.door()?.open().await?;
    raw.send(site.head("GET", "/bytes/1000", "").as_bytes()).await?;
    ensure!(raw.answer(true).await?.status == 200, "it is not served");
    let begun = Instant::now();
    raw.send(b"GET / HTTP/1.1\r\nX-Slow: ").await?;
    raw.rest().await.context("a later head may take for ever")?;
    ensure!(begun.elapsed() < Duration::from_secs(20), "a later head took {:?}", begun.elapsed());
    Ok(())
}

/// A block of HTTP/2 that does not end, beside a stream on which something goes on.
async fn a_block_is_late(site: &Site) -> Result<()> {
    let mut raw = site.door()?.offering(&["h2"]).open().await?;
    let events = frame(1, 5, 1, &block(&site.fields("/events")));
    raw.send(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frame(4, 0, 0, &[]), &events].concat()).await?;
    until_it_says(&mut raw, &mut Vec::new(), ": open").await?;
    let begun = Instant::now();
    raw.send(&frame(1, 0, 3, &block(&site.fields("/bytes/1000")))).await?;
    // Signs of life are asked for meanwhile, and not given: they would be none within a block.
    raw.rest().await.context("a block may take for ever")?;
    ensure!(begun.elapsed() < Duration::from_secs(30), "a block took {:?}", begun.elapsed());
    Ok(())
}

/// H13
#[test]
fn a_connection_is_kept_for_longer_than_a_head_may_take() {
    run("idle", async |lab| {
        let site = Site::new(&lab, async |config| Edge::start(&lab, config).await).await?;
        tokio::try_join!(is_kept(&site), a_later_head_is_late(&site), a_block_is_late(&site))?;
        Ok(())
    });
}

/// A connection to the TLS port that says nothing, or half a hello; how long it is kept.
async fn stalled(half: bool) -> Result<Duration> {
    let mut tcp = timeout(PATIENCE, TcpStream::connect("127.0.0.1:443")).await??;
    let begun = Instant::now();
    if half {
        tcp.write_all(HALF_A_HELLO).await.ok();
    }
    let ended = timeout(PATIENCE, tcp.read_to_end(&mut Vec::new())).await;
    ensure!(ended.is_ok(), "a handshake may take for ever");
    Ok(begun.elapsed())
}

/// H13: handshakes that do not go on end in time, however many there are, and keep nobody out for longer than that.
#[test]
fn thousands_of_handshakes_that_stall_end_in_time() {
    run("stalled", async |lab| {
        many_sockets()?;
        let site = Site::new(&lab, async |config| Edge::start(&lab, config).await).await?;
        let alone = tokio::try_join!(stalled(false), stalled(true))?;
        ensure!(alone.0.min(alone.1) > Duration::from_secs(3), "whoever is slow gets {alone:?}");
        ensure!(alone.0.max(alone.1) < STALLED_AT_MOST, "a handshake took {alone:?}");
        let mut crowd = JoinSet::new();
        for n in 0..STALLED {
            crowd.spawn(stalled(n % 2 == 0));
        }
        let begun = Instant::now();
        while site.is_open().await.is_err() {
            ensure!(begun.elapsed() < STALLED_AT_MOST, "nobody is let in");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        eprintln!("somebody new was served after {:?}", begun.elapsed());
        while let Some(took) = crowd.join_next().await {
            let took = took??;
            ensure!(took < STALLED_AT_MOST, "a handshake took {took:?}");
        }
        for _ in 0..20 {
            site.is_open().await.context("after all are gone")?;
        }
        Ok(())
    });
}

/// F22, H14: who reads nothing holds a window of each thing on the way, and no more.
#[test]
fn whoever_reads_nothing_costs_little() {
    run("readers", async |lab| {
        many_sockets()?;
        let site = Site::new(&lab, async |config| Edge::start(&lab, config).await).await?;
        site.is_open().await?;
        let before = site.edge.process.rss_kib()?;
        let mut readers = Vec::new();
        for _ in 0..READERS {
            let mut raw = site.door()?.open().await?;
            raw.send(site.head("GET", &format!("/bytes/{ANSWER}"), "").as_bytes()).await?;
            ensure!(raw.stirs(PATIENCE).await, "an answer begins");
            readers.push(raw);
        }
        // No window at all: answers are there, and nothing may be sent.
        let mut held = Http2::open(&site.door()?).await?;
        held.send(4, 0, 0, &[0, 4, 0, 0, 0, 0]).await?;
        let target = format!("/bytes/{ANSWER}");
        let fields: [(&str, &str); 5] = [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", WWW),
            (":path", &target),
            ("cookie", &site.cookie),
        ];
        for _ in 0..HELD {
            let stream = held.begin(&fields, true).await?;
            assert_eq!(held.outcome(stream).await?.status(), 200);
        }
        for _ in 0..20 {
            site.is_open().await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let count = READERS as u64 + u64::from(HELD);
        let grown = site.edge.process.rss_kib()?.saturating_sub(before);
        eprintln!("{count} readers who read nothing cost {grown} KiB, {} KiB each", grown / count);
        assert!(grown < count * PER_READER + POTS, "{grown} KiB for {count} readers");
        drop((readers, held));
        site.is_open().await?;
        Ok(())
    });
}

/// Descriptors that the system gives an edge, and those that are for everything that is no connection.
const DESCRIPTORS: usize = 256;
const KEPT_BACK: usize = 32;
/// How soon somebody is turned away: long before whoever says nothing is.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Starts an edge with hardly any descriptors.
async fn with_few_descriptors(lab: &Lab, config: EdgeConfig) -> Result<Edge> {
    let few = |command: tokio::process::Command| {
        let command = command.as_std();
        // What comes before the program enters the namespace.
        let inner = command.get_args().skip_while(|word| *word != "--").skip(1);
        let mut wrapped = lab.command("prlimit");
        wrapped.arg(format!("--nofile={DESCRIPTORS}:{DESCRIPTORS}")).args(inner);
        wrapped
    };
    Edge::start_as(lab, config, few).await
}

impl Site {
    /// The numbers of the edge's descriptors.
    fn descriptors(&self) -> Result<Vec<usize>> {
        let folder = std::fs::read_dir(format!("/proc/{}/fd", self.edge.process.pid()))?;
        let number = |entry: std::io::Result<std::fs::DirEntry>| -> Result<usize> {
            Ok(entry?.file_name().to_string_lossy().parse::<usize>()?)
        };
        folder.map(number).collect()
    }

    /// Has the system give the edge none from this number on.
    async fn limit_descriptors(&self, most: usize) -> Result<()> {
        let mut limit = tokio::process::Command::new("prlimit");
        limit.args(["--pid", &self.edge.process.pid().to_string(), &format!("--nofile={most}:{DESCRIPTORS}")]);
        finish(limit).await?.ok().map(drop)
    }
}

/// F20: with hardly any descriptors, what is open stays open, and who comes finds room sooner or later.
#[test]
fn an_edge_without_descriptors_goes_on_and_recovers() {
    run("descriptors", async |lab| {
        many_sockets()?;
        let site = Site::new(&lab, async |config| with_few_descriptors(&lab, config).await).await?;
        let mut events = site.door()?.open().await?;
        events.send(site.head("GET", "/events", "").as_bytes()).await?;
        let mut got = Vec::new();
        while find(&got, b": open").is_none() {
            got.extend(events.read().await?);
        }
        let mut crowd = JoinSet::new();
        for n in 0..1000_u32 {
            let to: SocketAddr = if n % 2 == 0 { "127.0.0.1:443".parse()? } else { "127.0.0.1:80".parse()? };
            crowd.spawn(async move {
                let tcp = TcpStream::connect(to).await;
                tokio::time::sleep(PATIENCE).await;
                drop(tcp);
            });
        }
        // Connections take their share only.
        for _ in 0..10 {
            let open = site.descriptors()?.len();
            ensure!(open <= DESCRIPTORS - KEPT_BACK, "{open} descriptors are open");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // What is open goes on.
        for n in 0..20 {
            ensure!(site.streams.say(&format!("event {n}")) == 1, "the stream is cut");
            let wanted = format!("data: event {n}\n\n");
            while find(&got, wanted.as_bytes()).is_none() {
                let some = events.read().await?;
                ensure!(!some.is_empty(), "the stream is cut");
                got.extend(some);
            }
        }
        // Whoever only holds a place loses it to whoever comes.
        let begun = Instant::now();
        while let Err(error) = site.is_open().await {
            if begun.elapsed() > PATIENCE {
                bail!("nobody is let in: {error:#}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        eprintln!("somebody new was let in after {:?}", begun.elapsed());
        crowd.shutdown().await;
        let begun = Instant::now();
        while site.is_open().await.is_err() {
            ensure!(begun.elapsed() < PATIENCE, "the edge does not recover");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        for _ in 0..20 {
            site.is_open().await.context("after all are gone")?;
        }
        let begun = Instant::now();
        loop {
            let open = site.descriptors()?.len();
            if open < 128 {
                break;
            }
            ensure!(begun.elapsed() < PATIENCE, "{open} descriptors are still open");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }

        // Where accepting itself meets the end, nobody waits for somebody else to go.
        let open = site.descriptors()?;
        let free = (0..DESCRIPTORS).filter(|number| !open.contains(number)).nth(2).context("there are free ones")?;
        site.limit_descriptors(free).await?;
        let mut crowd = Vec::new();
        for _ in 0..20 {
            crowd.push(timeout(PATIENCE, TcpStream::connect("127.0.0.1:80")).await??);
        }
        let (begun, mut turned_away) = (Instant::now(), 0);
        for tcp in &mut crowd {
            let left = AT_ONCE.saturating_sub(begun.elapsed());
            turned_away += usize::from(matches!(timeout(left, tcp.read(&mut [0; 1])).await, Ok(Ok(0) | Err(_))));
        }
        ensure!(turned_away >= 15, "{turned_away} of 20 were turned away at once");
        site.limit_descriptors(DESCRIPTORS).await?;
        drop(crowd);
        let begun = Instant::now();
        while site.is_open().await.is_err() {
            ensure!(begun.elapsed() < PATIENCE, "the edge does not recover");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    });
}

/// More strangers than there are places when there are few descriptors.
const STRANGERS: usize = 110;
/// What opens a WebSocket, and a message on it, there and back.
const WEBSOCKET: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: https://www.example.test\r\n";
const HELLO: [u8; 8] = [0x81, 0x82, 0, 0, 0, 0, b'h', b'i'];
const HELLO_BACK: [u8; 4] = [0x81, 2, b'h', b'i'];

/// H13: whoever was admitted keeps the place, also where nothing is said for long; strangers make room for each other.
#[test]
fn a_crowd_that_is_turned_away_takes_no_place_from_somebody_who_was_admitted() {
    run("places", async |lab| {
        many_sockets()?;
        let site = Site::new(&lab, async |config| with_few_descriptors(&lab, config).await).await?;
        let mut quiet = site.door()?.open().await?;
        quiet.send(site.head("GET", "/ws", WEBSOCKET).as_bytes()).await?;
        ensure!(quiet.answer(false).await?.status == 101, "a WebSocket");
        let request = format!("GET / HTTP/1.1\r\nHost: {WWW}\r\n\r\n");
        let mut crowd = Vec::new();
        for n in 0..STRANGERS {
            // Whoever has just come is spared for a second.
            if n == STRANGERS / 2 {
                tokio::time::sleep(Duration::from_millis(1100)).await;
            }
            let mut raw = site.door()?.open().await.with_context(|| format!("stranger {n}"))?;
            raw.send(request.as_bytes()).await?;
            ensure!(raw.answer(true).await?.status == 401, "stranger {n} is not sent to log in");
            crowd.push(raw);
        }
        ensure!(crowd[0].stirs(PATIENCE).await, "there was room for all of them");
        quiet.send(&HELLO).await?;
        let mut said = Vec::new();
        while said.len() < HELLO_BACK.len() {
            let some = quiet.read().await?;
            ensure!(!some.is_empty(), "the WebSocket lost its place");
            said.extend(some);
        }
        ensure!(said == HELLO_BACK, "{said:?}");
        Ok(())
    });
}

impl Site {
    /// What somebody gets who is not logged in; 0 for a closed door.
    async fn for_strangers(&self) -> Result<u16> {
        let request = format!("GET / HTTP/1.1\r\nHost: {WWW}\r\nConnection: close\r\n\r\n");
        Ok(self.door()?.ask(request.as_bytes()).await.map_or(0, |answer| answer.status))
    }

    /// A request by HTTP/2.
    fn fields<'a>(&'a self, path: &'a str) -> [(&'a str, &'a str); 5] {
        [(":method", "GET"), (":scheme", "https"), (":authority", WWW), (":path", path), ("cookie", &self.cookie)]
    }

    /// Another reader who takes nothing; `None` when nothing new is begun.
    async fn reader(&self) -> Result<Option<Raw>> {
        let Ok(mut raw) = self.door()?.open().await else { return Ok(None) };
        raw.send(self.head("GET", &format!("/bytes/{ANSWER}"), "").as_bytes()).await?;
        let begun = raw.answer(false).await.is_ok_and(|answer| answer.status == 200);
        Ok(begun.then_some(raw))
    }
}

/// Waits until `text` has come, and fails if the stream ends first.
async fn until_it_says(raw: &mut Raw, got: &mut Vec<u8>, text: &str) -> Result<()> {
    while find(got, text.as_bytes()).is_none() {
        let some = raw.read().await?;
        ensure!(!some.is_empty(), "the stream is cut before {text:?}");
        got.extend(some);
    }
    Ok(())
}

/// F21: first strangers are refused, then whatever is new; what is open goes on, and all is served again once there is memory.
#[test]
fn an_edge_that_is_short_of_memory_begins_nothing_new_and_recovers() {
    run("memory", async |lab| {
        many_sockets()?;
        let limited = async |config: EdgeConfig| {
            let extra = format!("memory = {LIMIT}");
            Edge::start(&lab, EdgeConfig { extra, ..config }).await
        };
        let site = Site::new(&lab, limited).await?;
        let log = &site.edge.process.log;
        let mut events = site.door()?.open().await?;
        events.send(site.head("GET", "/events", "").as_bytes()).await?;
        let mut got = Vec::new();
        until_it_says(&mut events, &mut got, ": open").await?;
        // A connection that is in use, for what is asked on it later.
        let mut held = Http2::open(&site.door()?).await?;
        let target = format!("/bytes/{ANSWER}");
        assert_eq!(held.ask(&site.fields(&target), None).await?.status(), 200);
        ensure!(site.for_strangers().await? == 401, "strangers are sent to log in");

        let (mut readers, mut strangers) = (Vec::new(), true);
        while let Some(reader) = site.reader().await? {
            readers.push(reader);
            // By and by, so that every step is seen.
            tokio::time::sleep(Duration::from_millis(5)).await;
            if strangers && site.for_strangers().await? == 503 {
                strangers = false;
                site.is_open().await.context("whoever is logged in is served for longer than strangers")?;
            }
            let taken = site.edge.process.rss_kib()? / 1024;
            ensure!(readers.len() < READERS_MAX, "nobody is refused, with {taken} MiB of {LIMIT}");
        }
        ensure!(!strangers, "strangers were served until the end");
        eprintln!("{} readers, {} MiB", readers.len(), site.edge.process.rss_kib()? / 1024);
        log.wait_for("memory is short: less is begun.*Severe|Severe.*memory is short: less is begun").await?;
        let begun = Instant::now();
        while held.ask(&site.fields("/bytes/1000"), None).await?.status() != 503 {
            ensure!(begun.elapsed() < PATIENCE, "a request on an open connection is served");
        }
        // What is open goes on.
        for n in 0..20 {
            ensure!(site.streams.say(&format!("event {n}")) == 1, "the stream is cut");
            until_it_says(&mut events, &mut got, &format!("data: event {n}\n\n")).await?;
        }
        let peak = site.edge.process.peak_rss_kib()? / 1024;
        ensure!(peak < LIMIT + 64, "it grew on to {peak} MiB");

        drop((readers, held));
        let begun = Instant::now();
        while site.is_open().await.is_err() || site.for_strangers().await? != 401 {
            ensure!(begun.elapsed() < PATIENCE, "the edge does not recover: {}", log.tail(5));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        for _ in 0..20 {
            site.is_open().await.context("after all are gone")?;
        }
        ensure!(site.streams.say("the last event") == 1, "the stream is cut");
        until_it_says(&mut events, &mut got, "data: the last event\n\n").await
    });
}
