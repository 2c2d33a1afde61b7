//! Whoever is slow on purpose (H13) or takes every descriptor (F20): new visitors are served meanwhile, and memory stays bounded.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
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

/// Slow heads: by plain HTTP from so many addresses, and so many from each; and more by HTTPS.
fn slow() -> (u8, usize, usize) {
    if long() { (80, 40, 800) } else { (34, 50, 300) }
}

/// How many are slow in each of the other ways, and the connectors behind them: no more of an answer may lie unread on a link
/// than 64 MiB, of which every one takes up to 256 KiB, and the windows that grow 16 MiB.
fn of_each() -> (usize, usize) {
    if long() { (1100, 6) } else { (300, 2) }
}

/// What they take of an answer at a time, each second.
pub(super) const SIP: usize = 1024;
const SECOND: Duration = Duration::from_secs(1);
/// The bytes that a system with a small window takes.
const WINDOW: u32 = 4096;
/// From how many addresses each kind comes, and how many of it come at a time.
const ADDRESSES: usize = 50;
const AT_A_TIME: usize = 16;
/// How soon all are taken, once the last has come.
const TAKEN_IN: Duration = Duration::from_secs(5);
/// What one that is slow with a head or a body may cost, in KiB: the buffers of TLS and of HTTP on both sides of the edge, and
/// what is remembered of a request.
const PER_REQUEST: u64 = 112;

/// How long somebody new waits at most meanwhile, of a hundred 99. Without anybody else it is a few milliseconds.
fn new_visitor() -> Duration {
    if long() { Duration::from_millis(300) } else { Duration::from_secs(1) }
}

/// Handshakes that stall at a time, and how long one is kept at most: five seconds, on a busy machine.
const STALLED: usize = 2000;
const STALLED_AT_MOST: Duration = Duration::from_secs(12);
/// The head of a record, and the beginning of a hello in it.
const HALF_A_HELLO: &[u8] = &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 7, 7, 7];
/// How long a connection may be kept at most on which nothing is asked: a minute, and two looks.
const IDLE_AT_MOST: Duration = Duration::from_secs(95);

/// What each reader asks for: far more than any buffer on the way.
pub(super) const ANSWER: u64 = 1 << 30;
/// What a slow reader may cost, in KiB: the first window of its stream, 64 KiB that HTTP has read of it, as much that waits for
/// TLS, and what any request costs.
pub(super) const PER_READER: u64 = 400;
/// What the windows of all streams on the four links of a connector may grow beyond that, in KiB.
pub(super) const POTS: u64 = 4 * 16 * 1024;
/// Streams of one connection in HTTP/2 that grant hardly anything.
pub(super) const HELD: usize = 90;

/// Lets the system keep little of each connection: segments of loopback have 64 KiB, by which it would keep megabytes, and
/// nobody would see how slow a reader is.
pub(super) fn small_buffers(lab: &Lab) -> Result<()> {
    lab.net().sysctl("net.ipv4.tcp_wmem=4096 32768 65536")?;
    lab.net().sysctl("net.ipv4.tcp_rmem=4096 65536 65536")
}

pub(super) struct Site {
    pub(super) edge: Edge,
    pub(super) streams: Streams,
    visitor: Visitor,
    cookie: String,
    _smtp: Smtp,
    connectors: Vec<Connector>,
}

impl Site {
    pub(super) async fn new(lab: &Lab, start: impl AsyncFnOnce(EdgeConfig) -> Result<Edge>) -> Result<Self> {
        let streams = Streams::start().await?;
        let smtp = Smtp::start(lab).await?;
        let edge = start(EdgeConfig::with_mail(&smtp)).await?;
        edge.apply(ACCESS).await?;
        let connectors = vec![Connector::publish(lab, WWW, &streams.url()).await?];
        let visitor = login(&edge.ca().await?, &smtp, WWW, STAFF).await?;
        let cookie = visitor.session(WWW)?;
        Ok(Self { edge, streams, visitor, cookie, _smtp: smtp, connectors })
    }

    /// Has so many connectors serve the host.
    pub(super) async fn connectors(&mut self, lab: &Lab, count: usize) -> Result<()> {
        while self.connectors.len() < count {
            self.connectors.push(Connector::publish(lab, WWW, &self.streams.url()).await?);
        }
        Ok(())
    }

    pub(super) fn door(&self) -> Result<Door> {
        self.visitor.door("https", WWW)
    }

    pub(super) fn head(&self, method: &str, target: &str, fields: &str) -> String {
        format!("{method} {target} HTTP/1.1\r\nHost: {WWW}\r\nCookie: {}\r\n{fields}\r\n", self.cookie)
    }

    /// A request by HTTP/2.
    pub(super) fn fields<'a>(&'a self, path: &'a str) -> [(&'a str, &'a str); 5] {
        [(":method", "GET"), (":scheme", "https"), (":authority", WWW), (":path", path), ("cookie", &self.cookie)]
    }

    /// A connection of HTTP/2 with [`HELD`] answers that have begun, of each of which no more than `window` bytes are taken.
    pub(super) async fn held(&self, window: u32) -> Result<Http2> {
        let mut held = Http2::open(&self.door()?).await?;
        held.send(4, 0, 0, &[&[0_u8, 4][..], &window.to_be_bytes()].concat()).await?;
        let target = format!("/bytes/{ANSWER}");
        for _ in 0..HELD {
            let stream = held.begin(&self.fields(&target), true).await?;
            ensure!(held.outcome(stream).await?.status() == 200, "an answer does not begin");
        }
        Ok(held)
    }

    /// Somebody new comes, and is served.
    pub(super) async fn is_open(&self) -> Result<Duration> {
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

/// Begins heads by plain HTTP from so many addresses, so many from each, and goes on with every one until it is cut.
async fn slow_heads(addresses: u8, of_each: usize) -> Result<JoinSet<Result<Duration>>> {
    let sources = (1..=addresses).flat_map(move |n| std::iter::repeat_n(n, of_each));
    let mut opening = stream::iter(sources).map(slow_head).buffer_unordered(AT_A_TIME);
    let mut heads = JoinSet::new();
    while let Some(tcp) = opening.try_next().await? {
        heads.spawn(until_cut(tcp));
    }
    Ok(heads)
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

/// A body whose head was sent comes by so many bytes each second; the answer's status.
async fn slow_body(mut raw: Raw, each: usize, count: usize) -> Result<u16> {
    for _ in 0..count {
        raw.send(&vec![b'b'; each]).await?;
        if raw.stirs(SECOND).await {
            break;
        }
    }
    Ok(raw.answer(true).await?.status)
}

/// Takes a little of an answer each second until it is `over`, which is not for the edge to say; how much that was.
pub(super) async fn slow_reader(mut raw: Raw, over: CancellationToken) -> Result<usize> {
    let first = raw.sip(SIP).await?;
    ensure!(first.starts_with(b"HTTP/1.1 200 "), "{:?} for a reader", String::from_utf8_lossy(&first));
    let mut taken = first.len();
    while !over.is_cancelled() {
        sleep(SECOND).await;
        let some = raw.sip(SIP).await?;
        ensure!(!some.is_empty(), "a reader was cut after {taken} bytes");
        taken += some.len();
    }
    Ok(taken)
}

/// Opens so many connections by HTTPS from addresses of 127.0.`net`.0/24, each with a `window` if that is to be small, and sends
/// `begin` on every one.
pub(super) async fn crowd(site: &Site, net: u8, count: usize, window: Option<u32>, begin: &str) -> Result<Vec<Raw>> {
    let door = site.door()?;
    let door = &door;
    let opening = stream::iter(0..count).map(move |n| async move {
        let source = Ipv4Addr::new(127, 0, net, u8::try_from(1 + n % ADDRESSES)?);
        let mut raw = door.open_from(source, window).await?;
        raw.send(begin.as_bytes()).await?;
        anyhow::Ok(raw)
    });
    opening.buffer_unordered(AT_A_TIME).try_collect().await
}

/// The time that 99 of a hundred took at most.
pub(super) fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() * 99 / 100).copied().unwrap_or_default()
}

/// H13: heads, bodies, readers, and many ranges or streams into small windows; all of them at the same time.
#[test]
fn thousands_who_are_slow_on_purpose_keep_nobody_out() {
    run("slow", async |lab| {
        many_sockets()?;
        small_buffers(&lab)?;
        let mut site = Site::new(&lab, async |config| Edge::start(&lab, config).await).await?;
        let (each, connectors) = of_each();
        site.connectors(&lab, connectors).await?;
        let alone = site.is_open().await?;
        let before = site.edge.process.rss_kib()?;
        // Fast enough, and long: nobody's business.
        let mut steady = site.door()?.open().await?;
        steady.send(site.head("POST", "/upload", "Content-Length: 15360\r\n").as_bytes()).await?;
        let steady = tokio::spawn(slow_body(steady, 1024, 15));

        // Those whose time is the longest begin, so that all are there at the end.
        let (mut readers, over) = (JoinSet::new(), CancellationToken::new());
        let target = format!("/bytes/{ANSWER}");
        for raw in crowd(&site, 2, each, None, &site.head("GET", &target, "")).await? {
            readers.spawn(slow_reader(raw, over.clone()));
        }
        let ranges: Vec<String> = (0..3000).map(|n| format!("{n}-")).collect();
        let ranges = site.head("GET", &target, &format!("Range: bytes={}\r\n", ranges.join(",")));
        let ranged = crowd(&site, 3, each, Some(WINDOW), &ranges).await?;
        let mut windows = Vec::new();
        while windows.len() * HELD < each {
            windows.push(site.held(1).await?);
        }
        let mut bodies = JoinSet::new();
        for raw in crowd(&site, 4, each, None, &site.head("POST", "/upload", "Content-Length: 1000000\r\n")).await? {
            bodies.spawn(slow_body(raw, 1, 60));
        }
        let (addresses, of_address, by_tls) = slow();
        // All of them at once: a head lives for ten seconds.
        let head = format!("GET / HTTP/1.1\r\nHost: {WWW}\r\nX-Slow: ");
        let (begun, mut heads) =
            tokio::try_join!(crowd(&site, 5, by_tls, None, &head), slow_heads(addresses, of_address))?;
        let (answers, requests) =
            (readers.len() + ranged.len() + windows.len() * HELD, bodies.len() + by_tls + heads.len());
        let held = readers.len() + ranged.len() + windows.len() + requests;
        let all = async {
            while site.descriptors().is_ok_and(|open| open.len() < held) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(TAKEN_IN, all).await.with_context(|| format!("{held} connections are not held at the same time"))?;
        let grown = site.edge.process.rss_kib()?.saturating_sub(before);

        let mut visits = Vec::new();
        while heads.try_join_next().is_none() || visits.len() < 100 {
            visits.push(site.is_open().await?);
        }
        let (count, slowest) = (visits.len(), p99(visits));
        eprintln!("{held} slow connections with {answers} answers cost {grown} KiB");
        eprintln!("{count} visits meanwhile, of a hundred 99 within {slowest:?}; alone {alone:?}");
        ensure!(slowest < new_visitor(), "somebody new waits for {slowest:?}");
        let most = answers as u64 * PER_READER + requests as u64 * PER_REQUEST + connectors as u64 * POTS;
        ensure!(grown < most, "{grown} KiB, and {most} at most");
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
        over.cancel();
        while let Some(taken) = readers.join_next().await {
            ensure!(taken?? > SIP, "a reader got nothing more");
        }
        for mut raw in ranged {
            let answer = raw.answer(false).await?;
            ensure!(answer.status == 200, "{} for many ranges", answer.status);
        }
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

/// Waits until `text` has come, and fails if the stream ends first.
pub(super) async fn until_it_says(raw: &mut Raw, got: &mut Vec<u8>, text: &str) -> Result<()> {
    while find(got, text.as_bytes()).is_none() {
        let some = raw.read().await?;
        ensure!(!some.is_empty(), "the stream is cut before {text:?}");
        got.extend(some);
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
