//! Origins that go on being evil for longer than one answer (H10, T11): whoever asked them gets a clean end, others at the same
//! service and at another one notice nothing, and neither the edge nor the connector is the worse for it.

use std::{
    net::SocketAddr,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedWriteHalf},
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tunnel_tests::{
    Canary, Connector, Door, EdgeConfig, Flood, Lab, PATIENCE, Pulse, Stage, Windows,
    edge::ACCESS,
    http2::{Http2, block, frame},
    raw::find,
    run,
    stage::{APP, STAFF},
};

use super::floods::{COLD, memory_comes_back};

/// The host of the evil origin that speaks HTTP/1, and that of the one that speaks HTTP/2.
const EVIL: &str = "db.example.test";
const EVIL_2: &str = "cache.example.test";
/// What must reach nobody.
const STRAY: &str = "stray-answer";
/// What everybody gets who is not to suffer.
const FINE: &str = "fine";
/// Who asks with a field of this length is who is to suffer: a block of fields is not to be decoded for that.
const LONG_FIELD: usize = 8_000;
/// A block of fields with that is longer than this in any coding, and every other is shorter.
const LONG_BLOCK: usize = 5_000;
/// Bytes that are sent at once of what has no end.
const AT_ONCE: usize = 16 * 1024;
/// What the edge may take at most while it is dealt with like this, in KiB beyond what it took before.
const PEAK: u64 = 96 * 1024;
/// How soon a connection ends on which something was said that nobody asked for.
const NOTICED_IN: Duration = Duration::from_secs(5);
/// Requests that are given up at once.
const GIVEN_UP: usize = 40;
/// Answers of one window by which others are judged.
const BEATS: usize = 5;
/// Below this nobody can say, by so few answers, whether others at another service wait because of an evil one.
const ELSEWHERE: Duration = Duration::from_millis(250);
/// The same of those at the evil service itself: what they ask is asked anew when their connection is lost.
const AT_THE_SAME: Duration = Duration::from_secs(1);
/// How many deeds of one test are done once more at most, because others may have waited for them.
const ONCE_MORE: usize = 50;

/// What whoever asked gets.
#[derive(Clone, Copy)]
enum Gets {
    /// 502.
    Broken,
    /// 502, or an answer that is seen to be cut.
    Cut,
    /// 504.
    Slow,
    /// 200 with this.
    Whole(&'static str),
    /// Nothing, until they go away.
    Nothing,
}

impl Gets {
    fn check(self, name: &str, answer: &str) -> Result<()> {
        ensure!(!answer.contains(STRAY), "{name}: {answer}");
        let status = answer.get(9..12).unwrap_or_default();
        let is_good = match self {
            Self::Broken => status == "502" && is_whole(answer),
            Self::Cut => status == "502" || !is_whole(answer),
            Self::Slow => status == "504" && is_whole(answer),
            Self::Whole(body) => status == "200" && is_whole(answer) && answer.ends_with(body),
            Self::Nothing => !is_whole(answer),
        };
        ensure!(is_good, "{name} was answered {answer:?}");
        Ok(())
    }
}

/// Whether an answer is as long as it says.
fn is_whole(answer: &str) -> bool {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return false };
    let head = head.to_ascii_lowercase();
    match head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()) {
        Some(length) => length.parse() == Ok(body.len()),
        None => body.ends_with("0\r\n\r\n"),
    }
}

/// What an origin does that speaks HTTP/2: on the stream of whoever asked, once, and then without end.
struct Trick {
    name: &'static str,
    begin: fn(u32) -> Vec<u8>,
    piece: Option<fn(u32, u32) -> Vec<u8>>,
    /// Whether it closes its direction after what it does once.
    closes: bool,
    gets: Gets,
}

impl Trick {
    fn once(name: &'static str, begin: fn(u32) -> Vec<u8>) -> Self {
        Self { name, begin, piece: None, closes: false, gets: Gets::Broken }
    }

    fn storm(name: &'static str, piece: fn(u32, u32) -> Vec<u8>) -> Self {
        Self { piece: Some(piece), ..Self::once(name, |_| Vec::new()) }
    }

    fn after(self, begin: fn(u32) -> Vec<u8>) -> Self {
        Self { begin, ..self }
    }

    fn closing(self) -> Self {
        Self { closes: true, ..self }
    }

    fn gets(self, gets: Gets) -> Self {
        Self { gets, ..self }
    }
}

/// The head of an answer that says how long it is; `flags` 4 is the end of the head, 1 that of the stream.
fn head(stream: u32, flags: u8, length: &str) -> Vec<u8> {
    frame(1, flags, stream, &block(&[(":status", "200"), ("content-length", length)]))
}

fn data(stream: u32, end: bool, bytes: &[u8]) -> Vec<u8> {
    frame(0, u8::from(end), stream, bytes)
}

fn hint(stream: u32, status: &str, flags: u8) -> Vec<u8> {
    frame(1, flags, stream, &block(&[(":status", status), ("x-hint", "y")]))
}

/// GOAWAY, the last stream that is looked at being this one.
fn goaway(last: u32, code: u32) -> Vec<u8> {
    frame(7, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat())
}

static TRICKS: LazyLock<Vec<Trick>> = LazyLock::new(tricks);

fn tricks() -> Vec<Trick> {
    vec![
        Trick::storm("settings", |_, _| frame(4, 0, 0, &[0, 3, 0, 0, 0, 100])),
        Trick::storm("sizes of the table of fields", |_, n| {
            frame(4, 0, 0, &[&[0_u8, 1][..], &(n % 2 * 4096).to_be_bytes()].concat())
        }),
        Trick::storm("pings", |_, _| frame(6, 0, 0, b"12345678")),
        Trick::storm("resets of what nobody asked", |stream, n| {
            frame(3, 0, stream.saturating_add(1000 + 2 * n), &[0, 0, 0, 8])
        }),
        Trick::storm("resets of the same", |stream, _| frame(3, 0, stream, &[0, 0, 0, 2])),
        Trick::storm("priorities", |stream, _| frame(2, 0, stream, &[0, 0, 0, 0, 16])),
        Trick::storm("credits of one byte", |_, _| frame(8, 0, 0, &[0, 0, 0, 1])),
        Trick::once("credits beyond every window", |_| frame(8, 0, 0, &[0x7f, 0xff, 0xff, 0xff]).repeat(2)),
        Trick::storm("frames of no kind", |_, _| frame(77, 0, 0, b"what is this?")),
        Trick::storm("empty data", |stream, _| data(stream, false, b""))
            .after(|stream| head(stream, 4, "100"))
            .gets(Gets::Cut),
        Trick::storm("a head without end", |stream, _| frame(9, 0, stream, &block(&[("x-filler", "filler")])))
            .after(|stream| head(stream, 0, "5")),
        Trick::once("a head of a mebibyte", |stream| {
            let filler = block(&[("x-filler", &"f".repeat(16_000))]);
            let mut frames = head(stream, 0, "5");
            (0..64).for_each(|_| frames.extend(frame(9, 0, stream, &filler)));
            frames.extend(frame(9, 4, stream, &[]));
            frames
        }),
        Trick::once("a head that is small and says much", |stream| {
            // A field that is put into the table, and is then named by one byte again and again (RFC 7541 §6.2.1, §6.1).
            let mut fields = block(&[("x-bomb", &"b".repeat(3_900))]);
            fields[0] = 0x40;
            let bomb = [block(&[(":status", "200")]), fields, vec![0xbe; 10_000]].concat();
            [frame(1, 4, stream, &bomb), data(stream, true, b"first")].concat()
        }),
        Trick::storm("informational answers without end", |stream, _| hint(stream, "103", 4)),
        Trick::once("an informational answer and the end", |stream| hint(stream, "103", 5)),
        Trick::once("a switch", |stream| [hint(stream, "101", 4), data(stream, true, STRAY.as_bytes())].concat()),
        Trick::once("data before the answer", |stream| data(stream, true, STRAY.as_bytes())),
        Trick::once("less than was said", |stream| [head(stream, 4, "100"), data(stream, true, b"first")].concat())
            .gets(Gets::Cut),
        Trick::once("more than was said", |stream| {
            [head(stream, 4, "3"), data(stream, true, STRAY.as_bytes())].concat()
        })
        .gets(Gets::Cut),
        Trick::once("two lengths", |stream| {
            let fields = [(":status", "200"), ("content-length", "5"), ("content-length", "12")];
            [frame(1, 4, stream, &block(&fields)), data(stream, true, b"first")].concat()
        }),
        Trick::once("a good-bye amid the answer", |stream| {
            let begun = [head(stream, 4, "10"), data(stream, false, b"first")].concat();
            [begun, goaway(stream, 0), data(stream, true, b"later")].concat()
        })
        .gets(Gets::Whole("firstlater")),
        Trick::once("a bad good-bye amid the answer", |stream| {
            [head(stream, 4, "10"), data(stream, false, b"first"), goaway(stream, 2)].concat()
        })
        .closing()
        .gets(Gets::Cut),
        Trick::once("a good-bye that leaves the request out", |_| goaway(0, 0)),
        Trick::once("an end amid the answer", |stream| [head(stream, 4, "10"), data(stream, false, b"first")].concat())
            .closing()
            .gets(Gets::Cut),
        Trick::once("an answer on a stream that nobody opened", |stream| {
            let other = stream + 1000;
            [head(other, 4, "12"), data(other, true, STRAY.as_bytes())].concat()
        }),
        Trick::once("a stream that the origin opens", |_| [head(2, 4, "12"), data(2, true, STRAY.as_bytes())].concat()),
        Trick::once("a push", |stream| {
            let fields = [(":method", "GET"), (":scheme", "https"), (":authority", EVIL_2), (":path", "/")];
            frame(5, 4, stream, &[&[0_u8, 0, 0, 2][..], &block(&fields)].concat())
        }),
        Trick::once("settings of a wrong length", |_| frame(4, 0, 0, &[0; 5])),
        Trick::once("a frame that is larger than any", |stream| {
            [&[0xff_u8, 0xff, 0xff, 0, 0][..], &stream.to_be_bytes(), &[0; 4096]].concat()
        }),
        Trick::once("no HTTP/2", |_| format!("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{STRAY}").into_bytes()),
        Trick::once("silence", |_| Vec::new()).gets(Gets::Slow),
        Trick::storm("data beyond the window", |stream, _| data(stream, false, &[b'x'; 16_000]))
            .after(|stream| frame(1, 4, stream, &[0x88]))
            .gets(Gets::Cut),
    ]
}

/// What an origin does that speaks HTTP/1.
enum Then {
    /// The same without end.
    Endless(&'static str),
    /// The same without end, and slowly.
    Drip(&'static str),
    /// An answer that nobody asked for, so many milliseconds after the first.
    Stray(u64),
    /// Nothing.
    Silence,
}

/// The target, what comes at once, and then.
type Tale = (&'static str, &'static str, Then, Gets);

const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst";
const CHUNKS: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n";
const CHUNK: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n5";
const LAST_CHUNK: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\nX: y";

static TALES: [Tale; 13] = [
    ("dripped-head", "HTTP/1.1 200 OK\r\nX: ", Then::Drip("x"), Gets::Slow),
    ("field", "HTTP/1.1 200 OK\r\nX: ", Then::Endless("x"), Gets::Broken),
    ("fields", "HTTP/1.1 200 OK\r\n", Then::Endless("X: y\r\n"), Gets::Broken),
    ("trailer", LAST_CHUNK, Then::Endless("y"), Gets::Cut),
    ("trailers", LAST_CHUNK, Then::Endless("\r\nX: y"), Gets::Cut),
    ("extension", CHUNKS, Then::Endless("5;x"), Gets::Cut),
    ("chunk-size", CHUNKS, Then::Endless("0"), Gets::Cut),
    ("chunk-space", CHUNK, Then::Endless(" "), Gets::Cut),
    ("late-20", ANSWER, Then::Stray(20), Gets::Whole("first")),
    ("late-50", ANSWER, Then::Stray(50), Gets::Whole("first")),
    ("late-100", ANSWER, Then::Stray(100), Gets::Whole("first")),
    ("late-200", ANSWER, Then::Stray(200), Gets::Whole("first")),
    ("silence", "", Then::Silence, Gets::Nothing),
];

/// What an origin was asked that is evil, and how much of it has ended: with its connection or, by HTTP/2, by a reset.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    asked: usize,
    ended: usize,
}

/// Counts what is asked on one connection.
struct Count {
    change: Arc<watch::Sender<Counts>>,
    open: usize,
}

impl Count {
    fn asked(&mut self) {
        self.open += 1;
        self.change.send_modify(|counts| counts.asked += 1);
    }

    fn reset(&mut self) {
        let ended = self.open.min(1);
        self.open -= ended;
        self.change.send_modify(|counts| counts.ended += ended);
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.change.send_modify(|counts| counts.ended += self.open);
    }
}

/// A listening origin. It and its connections end when dropped.
struct Evil {
    address: SocketAddr,
    http2: bool,
    /// Which of the tricks is played.
    trick: Arc<AtomicUsize>,
    counts: watch::Receiver<Counts>,
    task: JoinHandle<()>,
}

impl Drop for Evil {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Evil {
    async fn start(http2: bool) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let trick = Arc::<AtomicUsize>::default();
        let (change, counts) = watch::channel(Counts::default());
        let (change, tricks) = (Arc::new(change), trick.clone());
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                let (count, tricks) = (Count { change: change.clone(), open: 0 }, tricks.clone());
                connections.spawn(async move {
                    // However it ends.
                    let _ = if http2 { serve_http2(stream, count, &tricks).await } else { serve(stream, count).await };
                });
            }
        });
        Ok(Self { address, http2, trick, counts, task })
    }

    fn host(&self) -> &'static str {
        if self.http2 { EVIL_2 } else { EVIL }
    }

    async fn publish(&self, lab: &Lab) -> Result<Connector> {
        let mut command = Connector::command(lab)?;
        command.args(["--hostname", self.host(), "--url", &format!("http://{}", self.address)]);
        if self.http2 {
            command.arg("--http2-origin");
        }
        Connector::start("connector evil", command).await
    }

    fn counts(&self) -> Counts {
        *self.counts.borrow()
    }

    /// Waits for what was asked and has ended.
    async fn until(&self, patience: Duration, wanted: impl Fn(Counts) -> bool) -> Result<()> {
        let mut counts = self.counts.clone();
        let waiting = timeout(patience, counts.wait_for(|counts| wanted(*counts))).await;
        waiting.with_context(|| format!("still {:?}", self.counts()))??;
        Ok(())
    }
}

/// Everything that is sent on a connection: what is owed to the honest before what is evil. An empty message is the end.
async fn write(
    mut to: OwnedWriteHalf,
    mut honest: mpsc::UnboundedReceiver<Vec<u8>>,
    mut evil: mpsc::Receiver<Vec<u8>>,
) {
    loop {
        let bytes = tokio::select! {
            biased;
            Some(bytes) = honest.recv() => bytes,
            Some(bytes) = evil.recv() => bytes,
            else => return,
        };
        if bytes.is_empty() || to.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

async fn serve_http2(stream: TcpStream, mut count: Count, trick: &AtomicUsize) -> Result<()> {
    let (mut from, to) = stream.into_split();
    let (honestly, honest) = mpsc::unbounded_channel();
    let (evilly, evil) = mpsc::channel(1);
    let mut tasks = JoinSet::new();
    tasks.spawn(write(to, honest, evil));
    honestly.send(frame(4, 0, 0, &[]))?;
    from.read_exact(&mut [0; 24]).await?;
    loop {
        let mut header = [0; 9];
        from.read_exact(&mut header).await?;
        let [a, b, c, kind, flags, id @ ..] = header;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let (stream, mut payload) = (u32::from_be_bytes(id), vec![0; length]);
        from.read_exact(&mut payload).await?;
        match (kind, flags & 1) {
            (1, _) if length > LONG_BLOCK => {
                if let Some(trick) = TRICKS.get(trick.load(Relaxed)) {
                    count.asked();
                    tasks.spawn(play(trick, stream, evilly.clone()));
                }
            }
            (1, _) => {
                let length = FINE.len().to_string();
                honestly.send([head(stream, 4, &length), data(stream, true, FINE.as_bytes())].concat())?;
            }
            (3, _) => count.reset(),
            (4, 0) => honestly.send(frame(4, 1, 0, &[]))?,
            (6, 0) => honestly.send(frame(6, 1, 0, &payload))?,
            _ => {}
        }
    }
}

async fn play(trick: &'static Trick, stream: u32, to: mpsc::Sender<Vec<u8>>) {
    let begin = (trick.begin)(stream);
    if !begin.is_empty() && to.send(begin).await.is_err() {
        return;
    }
    if trick.closes {
        to.send(Vec::new()).await.ok();
    }
    let Some(piece) = trick.piece else { return };
    let mut n = 0;
    loop {
        let mut pieces = Vec::new();
        while pieces.len() < AT_ONCE {
            pieces.extend(piece(stream, n));
            n += 1;
        }
        if to.send(pieces).await.is_err() {
            return;
        }
    }
}

/// Tells the tale that is asked for; what has none is answered honestly.
async fn serve(mut stream: TcpStream, mut count: Count) -> Result<()> {
    let (mut waiting, mut buffer) = (Vec::new(), vec![0; 16 * 1024]);
    while let n @ 1.. = stream.read(&mut buffer).await? {
        waiting.extend_from_slice(&buffer[..n]);
        while let Some(end) = find(&waiting, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&waiting[..end]).into_owned();
            waiting.drain(..end + 4);
            let target = head.split(' ').nth(1).and_then(|target| target.strip_prefix('/')).unwrap_or_default();
            let Some((_, begin, then, _)) = TALES.iter().find(|(name, ..)| *name == target) else {
                let body = format!("{FINE} {target}");
                let length = body.len();
                stream
                    .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}").as_bytes())
                    .await?;
                continue;
            };
            count.asked();
            stream.write_all(begin.as_bytes()).await?;
            match then {
                Then::Endless(piece) => {
                    let pieces = piece.repeat(AT_ONCE / piece.len());
                    loop {
                        stream.write_all(pieces.as_bytes()).await?;
                    }
                }
                Then::Drip(piece) => loop {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    stream.write_all(piece.as_bytes()).await?;
                },
                Then::Stray(after) => {
                    tokio::time::sleep(Duration::from_millis(*after)).await;
                    let stray = format!("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{STRAY}");
                    stream.write_all(stray.as_bytes()).await?;
                }
                Then::Silence => {}
            }
        }
    }
    Ok(())
}

/// A request on a connection that ends with it.
fn request(host: &str, session: &str, target: &str, fields: &str) -> Vec<u8> {
    format!("GET /{target} HTTP/1.1\r\nHost: {host}\r\nCookie: {session}\r\n{fields}Connection: close\r\n\r\n")
        .into_bytes()
}

async fn asked(door: &Door, request: &[u8]) -> Result<String> {
    let mut raw = door.open().await?;
    raw.send(request).await?;
    Ok(String::from_utf8_lossy(&raw.rest().await?).into_owned())
}

/// A stage with another application for evil origins. A service may take three seconds to answer.
async fn stage(lab: &Lab) -> Result<Stage> {
    let evil = "  - {name: evil, hostnames: [db.example.test, cache.example.test], policies: [staff-only]}\n";
    let access = format!("{ACCESS}{evil}");
    let change = |config: EdgeConfig| EdgeConfig { extra: "response_timeout = 3".into(), ..config };
    Stage::configured(lab, change, &access, Canary::start().await?).await
}

/// Who is to notice nothing of what an evil service does: somebody at the same one, and somebody at another one.
struct Others {
    beside: Pulse,
    elsewhere: Pulse,
    /// How many deeds have been done once more.
    again: AtomicUsize,
}

impl Others {
    fn new(beside: Pulse, elsewhere: Pulse) -> Self {
        Self { beside, elsewhere, again: AtomicUsize::new(0) }
    }

    /// Does something evil, and once more while it might be why others wait.
    async fn notice_nothing(&self, what: &str, deed: impl AsyncFn() -> Result<()>) -> Result<()> {
        let (mut beside, mut elsewhere) = (Windows::default(), Windows::default());
        loop {
            let without = tokio::try_join!(
                self.beside.window(BEATS, Duration::ZERO),
                self.elsewhere.window(BEATS, Duration::ZERO),
            );
            let without = without.with_context(|| format!("before {what}"))?;
            self.beside.open_window();
            self.elsewhere.open_window();
            deed().await?;
            let served = tokio::try_join!(self.beside.beats(3), self.elsewhere.beats(3));
            served.with_context(|| format!("beside {what}"))?;
            beside.add(without.0, self.beside.close_window()?);
            elsewhere.add(without.1, self.elsewhere.close_window()?);
            let others_wait = beside.want_more(1, AT_THE_SAME) || elsewhere.want_more(1, ELSEWHERE);
            if !others_wait || self.again.fetch_add(1, Relaxed) >= ONCE_MORE {
                break;
            }
        }
        beside.check(&format!("{what}, at the same service"), AT_THE_SAME)?;
        elsewhere.check(&format!("{what}, elsewhere"), ELSEWHERE)
    }
}

/// H10, T11
#[test]
fn an_evil_origin_that_speaks_http_2_hurts_nobody_but_whoever_asked_it() {
    run("evil-h2", async |lab| {
        let stage = stage(&lab).await?;
        let evil = Evil::start(true).await?;
        let mut connector = evil.publish(&lab).await?;
        let session = stage.somebody(EVIL_2, STAFF).await?.session(EVIL_2)?;
        let app = stage.somebody(APP, "another@example.test").await?.session(APP)?;
        let door = stage.door(EVIL_2)?;
        let (beside, elsewhere) =
            (Pulse::of_a_bad_service(&door, EVIL_2, &session), Pulse::start(&stage.door(APP)?, APP, &app));
        beside.beats(50).await?;
        let others = Others::new(beside, elsewhere);
        let (before, peak) = (stage.edge.process.rss_kib()?, stage.edge.process.peak_rss_kib()?);
        let long = format!("X-Long: {}\r\n", "x".repeat(LONG_FIELD));
        for (n, trick) in TRICKS.iter().enumerate() {
            evil.trick.store(n, Relaxed);
            // They have a connection on which something was asked before: whatever is lost with that is asked anew.
            let deed = async || {
                let mut raw = door.open().await?;
                raw.send(&request(EVIL_2, &session, "evil", &long)).await?;
                // Whoever takes nothing for a while leaves all of it lying.
                if trick.piece.is_some() && matches!(trick.gets, Gets::Cut) {
                    others.elsewhere.beats(50).await.with_context(|| format!("beside {}", trick.name))?;
                }
                let answer = timeout(PATIENCE, raw.rest()).await.context(trick.name)?.context(trick.name)?;
                trick.gets.check(trick.name, &String::from_utf8_lossy(&answer))
            };
            others.notice_nothing(trick.name, deed).await?;
            let answer = asked(&door, &request(EVIL_2, &session, "", "")).await?;
            Gets::Whole(FINE).check(trick.name, &answer)?;
        }
        others.beside.end().await?;
        others.elsewhere.end().await?;
        ensure!(connector.process.ended()?.is_none(), "the connector has ended");
        let most = stage.edge.process.peak_rss_kib()?.saturating_sub(peak);
        ensure!(most < PEAK, "{most} KiB more were taken");
        memory_comes_back(&stage.edge, before + COLD).await
    });
}

/// H10, T11. What is said on a connection while that is somebody else's already cannot be told from an answer by anybody; what is
/// said while it is nobody's ends it.
#[test]
fn an_evil_origin_that_speaks_http_1_hurts_nobody_but_whoever_asked_it() {
    run("evil-h1", async |lab| {
        let stage = stage(&lab).await?;
        let evil = Evil::start(false).await?;
        let mut connector = evil.publish(&lab).await?;
        let session = stage.somebody(EVIL, STAFF).await?.session(EVIL)?;
        let app = stage.somebody(APP, "another@example.test").await?.session(APP)?;
        let door = stage.door(EVIL)?;
        let (beside, elsewhere) = (Pulse::start(&door, EVIL, &session), Pulse::start(&stage.door(APP)?, APP, &app));
        beside.beats(50).await?;
        let others = Others::new(beside, elsewhere);
        let (before, peak) = (stage.edge.process.rss_kib()?, stage.edge.process.peak_rss_kib()?);
        let is_stray = |tale: &&Tale| matches!(tale.2, Then::Stray(_));
        for (name, _, _, gets) in TALES.iter().filter(|tale| !is_stray(tale)) {
            let deed = async || {
                let mut raw = door.open().await?;
                let Counts { asked, ended } = evil.counts();
                raw.send(&request(EVIL, &session, name, "")).await?;
                if !matches!(gets, Gets::Nothing) {
                    let answer = timeout(PATIENCE, raw.rest()).await.context(*name)?.context(*name)?;
                    return gets.check(name, &String::from_utf8_lossy(&answer));
                }
                evil.until(PATIENCE, |now| now.asked > asked).await.context(*name)?;
                others.beside.beats(20).await.with_context(|| format!("beside {name}"))?;
                ensure!(evil.counts().ended == ended, "{name} was given up");
                drop(raw);
                evil.until(NOTICED_IN, |now| now.ended > ended).await.context(*name)
            };
            others.notice_nothing(name, deed).await?;
        }
        others.beside.end().await?;
        for (name, _, _, gets) in TALES.iter().filter(is_stray) {
            let ended = evil.counts().ended;
            gets.check(name, &asked(&door, &request(EVIL, &session, name, "")).await?)?;
            evil.until(NOTICED_IN, |now| now.ended > ended).await.with_context(|| format!("{name} goes unnoticed"))?;
            for n in 0..3 {
                let target = format!("{name}-{n}");
                let answer = asked(&door, &request(EVIL, &session, &target, "")).await?;
                ensure!(is_whole(&answer) && answer.ends_with(&format!("{FINE} {target}")), "after {name}: {answer}");
            }
        }
        others.elsewhere.end().await?;
        ensure!(connector.process.ended()?.is_none(), "the connector has ended");
        let most = stage.edge.process.peak_rss_kib()?.saturating_sub(peak);
        ensure!(most < PEAK, "{most} KiB more were taken");
        memory_comes_back(&stage.edge, before + COLD).await
    });
}

/// H14: what somebody who is logged in asks and gives up at once ends at its service, whichever HTTP that speaks, and so does a
/// flood of it, with its connection; others are served meanwhile.
#[test]
fn what_a_visitor_gives_up_ends_at_its_service_and_a_flood_of_it_too() {
    run("given-up", async |lab| {
        let stage = stage(&lab).await?;
        for (evil, person) in [(Evil::start(false).await?, STAFF), (Evil::start(true).await?, "another@example.test")] {
            let host = evil.host();
            let _connector = evil.publish(&lab).await?;
            evil.trick.store(TRICKS.iter().position(|trick| trick.name == "silence").context("a trick")?, Relaxed);
            let session = stage.somebody(host, person).await?.session(host)?;
            let door = stage.door(host)?;
            let pulse = Pulse::start(&door, host, &session);
            pulse.beats(10).await?;
            let long = "x".repeat(LONG_FIELD);
            let fields = [
                (":method", "GET"),
                (":scheme", "https"),
                (":authority", host),
                (":path", "/silence"),
                ("cookie", session.as_str()),
                ("x-long", long.as_str()),
            ];
            let mut h2 = Http2::open(&door).await?;
            let mut streams = Vec::new();
            for _ in 0..GIVEN_UP {
                streams.push(h2.begin(&fields, true).await?);
            }
            evil.until(PATIENCE, |now| now.asked >= GIVEN_UP).await.context("requests")?;
            for stream in streams {
                h2.send(3, 0, stream, &[0, 0, 0, 8]).await?;
            }
            evil.until(NOTICED_IN, |now| now.ended >= GIVEN_UP).await.context("ends")?;
            pulse.beats(10).await?;

            let block = block(&fields);
            let flood = Flood::of("requests that are reset", move |n| {
                let stream = 1 + 2 * n;
                [frame(1, 5, stream, &block), frame(3, 0, stream, &[0, 0, 0, 8])].concat()
            });
            let mut windows = Windows::default();
            while windows.want_more(3, AT_THE_SAME) {
                let without = pulse.window(BEATS, Duration::ZERO).await?;
                let others = pulse.window(BEATS, Duration::from_millis(100));
                let (connections, beside) = flood.beside(&door, others).await?;
                eprintln!("{host}: {connections} connections were ended, {:?}", evil.counts());
                evil.until(PATIENCE, |now| now.ended == now.asked).await.context("ends after the flood")?;
                windows.add(without, beside);
            }
            windows.check(host, AT_THE_SAME)?;
            pulse.end().await?;
        }
        Ok(())
    });
}
