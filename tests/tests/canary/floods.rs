//! Floods of what costs its sender nothing (H14, T6): each ends its own connection, others are served meanwhile, and memory
//! comes back. The long form floods for thirty seconds each.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::{join_all, try_join_all};
use tunnel_proto::{
    GrantId,
    message::{Credential, Message, Present},
};
use tunnel_tests::{
    Canary, Connector, Edge, EdgeConfig, EvilPeer, Flood, Lab, Netns, PATIENCE, Pulse, Silent, Stage, Windows,
    edge::ACCESS,
    evil_link::{FIN, RST, SYN, data, mux},
    flood::meanwhile,
    http2::{Http2, block, frame},
    netns::cable,
    process::long,
    raw::Door,
    run,
    silent::Counts,
    stage::{APP, STAFF, WWW},
};

/// What an edge may have more of after floods than before anything happened, in KiB.
pub(super) const COLD: u64 = 64 * 1024;
/// What it may have more of than after the first round of the same floods.
const WARM: u64 = 24 * 1024;
/// How long memory may take to come back: what is idle is kept for a minute at most.
const SETTLES_IN: Duration = Duration::from_secs(75);
/// Answers of one window, and windows of each kind, by which others are judged.
const BEATS: usize = 8;
const WINDOWS: usize = 3;
/// How many more are looked at where these say that others wait: so many for each flood, of all floods taken together.
const MORE: usize = 2;
/// Answers in which what a flood has left behind is over.
const AFTERMATH: usize = 2;

/// Somebody else who is logged in, and has nothing to do with a flood.
const OTHER: &str = "another@example.test";
/// The host of a service that answers nothing.
const SILENT: &str = "db.example.test";
/// How soon a service learns that a request is over.
const NOTICED_IN: Duration = Duration::from_secs(5);
/// Requests that are under way at a service when their streams are reset, and how often that is done.
const UNDER_WAY: usize = 20;
const AGAIN: usize = 2;
/// Requests of one connection that thrash its table of fields, each time.
const THRASHED: u32 = 100;
/// How often in a row a peer comes back whose link was ended.
const COMES_BACK: usize = 40;

/// The least time of a window beside a flood: a third of what each flood takes.
fn flooded_for() -> Duration {
    if long() { Duration::from_secs(10) } else { Duration::ZERO }
}

/// Below this nobody can say on a busy machine, by so few answers, whether one took twice as long because of a flood.
fn noticeable() -> Duration {
    Duration::from_millis(if long() { 50 } else { 150 })
}

fn stream(n: u32) -> u32 {
    1 + 2 * n
}

fn credit(stream: u32, bytes: u32) -> Vec<u8> {
    frame(8, 0, stream, &bytes.to_be_bytes())
}

/// A stream that depends on itself, for which it is reset and nothing else (RFC 9113 §5.3.1, RFC 7540 §5.3.1).
fn on_itself(stream: u32) -> Vec<u8> {
    frame(2, 0, stream, &[stream.to_be_bytes().as_slice(), &[16]].concat())
}

/// What whoever floods asks for: as a stranger, or logged in.
#[derive(Clone)]
struct Asker {
    get: Vec<u8>,
    post: Vec<u8>,
}

impl Asker {
    fn at(host: &str, cookie: Option<&str>) -> Self {
        let request = |method: &str| {
            let mut fields = vec![(":method", method), (":scheme", "https"), (":authority", host), (":path", "/held")];
            fields.extend(cookie.map(|cookie| ("cookie", cookie)));
            block(&fields)
        };
        Self { get: request("GET"), post: request("POST") }
    }

    /// A request that has been sent whole.
    fn asks(&self, stream: u32) -> Vec<u8> {
        frame(1, 5, stream, &self.get)
    }
}

/// The floods of HTTP/2.
fn floods(asker: &Asker) -> Vec<Flood> {
    let of = |name, piece: fn(&Asker, u32) -> Vec<u8>| {
        let asker = asker.clone();
        Flood::of(name, move |n| piece(&asker, n))
    };
    let upload = || frame(1, 4, 1, &asker.post);
    vec![
        of("requests that are reset", |one, n| [one.asks(stream(n)), frame(3, 0, stream(n), &[0, 0, 0, 8])].concat()),
        of("credits of nothing", |one, n| [one.asks(stream(n)), credit(stream(n), 0)].concat()),
        of("credits beyond every window", |one, n| {
            [one.asks(stream(n)), credit(stream(n), 0x7fff_ffff), credit(stream(n), 0x7fff_ffff)].concat()
        }),
        of("data after the end", |one, n| [one.asks(stream(n)), frame(0, 0, stream(n), b"x")].concat()),
        of("requests after their end", |one, n| one.asks(stream(n)).repeat(2)),
        of("streams that depend on themselves", |one, n| [one.asks(stream(n)), on_itself(stream(n))].concat()),
        of("priorities of a wrong length", |one, n| [one.asks(stream(n)), frame(2, 0, stream(n), &[0; 4])].concat()),
        of("a header block without end", |_, _| frame(9, 0, 1, &block(&[("x-filler", "filler")])))
            .after(frame(1, 0, 1, &asker.get)),
        of("header lists of a mebibyte", |one, n| {
            let filler = block(&[("x-filler", &"f".repeat(16_000))]);
            let mut frames = frame(1, 1, stream(n), &one.get);
            (0..64).for_each(|_| frames.extend(frame(9, 0, stream(n), &filler)));
            frames.extend(frame(9, 4, stream(n), &[]));
            frames
        }),
        of("settings", |_, _| frame(4, 0, 0, &[0, 3, 0, 0, 0, 100])),
        of("sizes of the table of fields", |_, n| frame(4, 0, 0, &[0, 1, 0, 0, if n % 2 == 0 { 16 } else { 0 }, 0])),
        // RFC 7541 §6.3: more than was allowed.
        of("a table of fields without end", |one, n| {
            let update = [&[0x3f_u8, 0xff, 0xff, 0xff, 0x07][..], &one.get].concat();
            frame(1, 5, stream(n), &update)
        }),
        of("pings", |_, _| frame(6, 0, 0, b"12345678")),
        of("priorities", |_, n| frame(2, 0, stream(n % 1000), &[0, 0, 0, 0, 16])),
        of("updates of priorities", |_, n| {
            frame(16, 0, 0, &[stream(n % 1000).to_be_bytes().as_slice(), b"u=1"].concat())
        }),
        of("empty data", |_, _| frame(0, 0, 1, &[])).after(upload()),
        of("data of one byte", |_, _| frame(0, 0, 1, b"x")).after(upload()),
        of("padding", |_, _| frame(0, 8, 1, &[[200].as_slice(), &[0; 200]].concat())).after(upload()),
        of("credits of one byte", |_, _| credit(0, 1)),
        of("frames of no kind", |_, _| frame(77, 0, 0, b"what is this?")),
    ]
}

/// Waits until the edge has no more memory than this, in KiB.
pub(super) async fn memory_comes_back(edge: &Edge, most: u64) -> Result<()> {
    let begun = Instant::now();
    loop {
        let now = edge.process.rss_kib()?;
        if now <= most {
            eprintln!("the edge has {now} KiB, and may have {most} KiB");
            return Ok(());
        }
        ensure!(begun.elapsed() < SETTLES_IN, "{now} KiB of memory, where {most} KiB are enough");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Floods, one after the other and round after round, each by `once` with its number, which fails where nothing can be sent, for
/// as long as somebody who is logged in is looked at; nobody waits for it, and memory comes back to what there was after the first
/// round.
async fn hold_out<F>(stage: &Stage, cookie: &str, names: &[&str], once: impl Fn(usize) -> F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    let pulse = Pulse::start(&stage.door(WWW)?, WWW, cookie);
    pulse.beats(BEATS).await?;
    let cold = stage.edge.process.rss_kib()?;
    let (mut warm, mut all) = (cold, vec![Windows::default(); names.len()]);
    let mut more = MORE * names.len();
    for round in 0..Windows::MOST {
        for (n, windows) in all.iter_mut().enumerate().filter(|(_, windows)| windows.want_more(WINDOWS, noticeable())) {
            if round >= WINDOWS {
                let Some(left) = more.checked_sub(1) else { break };
                more = left;
            }
            pulse.beats(AFTERMATH).await.context(names[n].to_owned())?;
            let without = pulse.window(BEATS, Duration::ZERO).await.context(names[n].to_owned())?;
            let flooded = meanwhile(|| once(n), pulse.window(BEATS, flooded_for())).await;
            let (_, beside) = flooded.context(names[n].to_owned())?;
            windows.add(without, beside);
        }
        if round == 0 {
            warm = stage.edge.process.rss_kib()?;
        }
    }
    for (name, windows) in names.iter().zip(&all) {
        windows.check(name, noticeable())?;
    }
    pulse.end().await?;
    memory_comes_back(&stage.edge, (cold + COLD).min(warm + WARM)).await
}

/// H14
#[test]
fn floods_of_http_2_end_their_connections_and_others_are_served() {
    run("floods-h2", async |lab| {
        let stage = Stage::set(&lab).await?;
        let cookie = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        let (door, floods) = (stage.door(WWW)?, floods(&Asker::at(WWW, None)));
        let names: Vec<&str> = floods.iter().map(|flood| flood.name).collect();
        hold_out(&stage, &cookie, &names, |n| floods[n].once(&door)).await
    });
}

/// A stage with a service beside it that answers nothing.
async fn beside_a_silent_service(lab: &Lab) -> Result<(Stage, Silent, Connector)> {
    let access = format!("{ACCESS}  - {{name: silent, hostnames: [{SILENT}], policies: [staff-only]}}\n");
    let stage = Stage::with(lab, &access, Canary::start().await?).await?;
    let silent = Silent::start().await?;
    let connector = Connector::publish(lab, SILENT, &silent.url()).await?;
    Ok((stage, silent, connector))
}

/// H14: the same by somebody who is admitted, so that each leaves work behind at a service, which ends.
#[test]
fn floods_of_somebody_who_is_admitted_leave_nothing_behind_at_the_service() {
    run("floods-in", async |lab| {
        let (stage, silent, _connector) = beside_a_silent_service(&lab).await?;
        let session = stage.somebody(SILENT, STAFF).await?.session(SILENT)?;
        let cookie = stage.somebody(WWW, OTHER).await?.session(WWW)?;
        let (door, floods) = (stage.door(SILENT)?, floods(&Asker::at(SILENT, Some(&session))));
        let all_ended = |now: Counts| now.ended == now.asked;
        for name in ["empty data", "data of one byte", "padding"] {
            let flood = floods.iter().find(|flood| flood.name == name).context(name)?;
            let asked = silent.counts().asked;
            flood.beside(&door, silent.until(PATIENCE, |now| now.asked > asked)).await.context(name)?;
            silent.until(NOTICED_IN, all_ended).await.with_context(|| format!("ends after {name}"))?;
        }
        let names: Vec<&str> = floods.iter().map(|flood| flood.name).collect();
        hold_out(&stage, &cookie, &names, |n| floods[n].once(&door)).await?;
        eprintln!("the service was asked: {:?}", silent.counts());
        silent.until(NOTICED_IN, all_ended).await.context("ends after all of them")
    });
}

/// What is sent to have a stream reset, and whether that is one of an upload which has begun.
type Provocation = (&'static str, bool, fn(u32) -> Vec<u8>);

/// H14: what is under way at a service ends there, whatever its visitor has the edge reset it by (`MadeYouReset`).
#[test]
fn what_a_visitor_has_the_edge_reset_ends_at_its_service() {
    run("provoked", async |lab| {
        let (stage, silent, _connector) = beside_a_silent_service(&lab).await?;
        let session = stage.somebody(SILENT, STAFF).await?.session(SILENT)?;
        let door = stage.door(SILENT)?;
        let provocations: [Provocation; 8] = [
            ("a reset", false, |stream| frame(3, 0, stream, &[0, 0, 0, 8])),
            ("credits beyond every window", false, |stream| credit(stream, 0x7fff_ffff).repeat(2)),
            ("a stream that depends on itself", false, on_itself),
            ("credits of nothing", false, |stream| credit(stream, 0)),
            ("a priority of a wrong length", false, |stream| frame(2, 0, stream, &[0; 4])),
            ("data after the end", false, |stream| frame(0, 0, stream, b"x")),
            ("more than was announced", true, |stream| frame(0, 0, stream, b"more than that")),
            ("less than was announced", true, |stream| frame(0, 1, stream, b"x")),
        ];
        for (name, uploads, provoke) in provocations {
            for _ in 0..AGAIN {
                let Counts { asked, ended } = silent.counts();
                let mut h2 = Http2::open(&door).await?;
                let mut provoked = Vec::new();
                for _ in 0..UNDER_WAY {
                    let method = if uploads { "POST" } else { "GET" };
                    let mut fields =
                        vec![(":method", method), (":scheme", "https"), (":authority", SILENT), (":path", "/held")];
                    fields.push(("cookie", session.as_str()));
                    fields.extend(uploads.then_some(("content-length", "5")));
                    let stream = h2.begin(&fields, !uploads).await?;
                    if uploads {
                        h2.data(stream, b"x", false).await?;
                    }
                    provoked.extend(provoke(stream));
                }
                silent.until(PATIENCE, |now| now.asked >= asked + UNDER_WAY).await.context(name)?;
                ensure!(silent.counts().ended == ended, "{name}: {:?} before anything was reset", silent.counts());
                h2.send_raw(&provoked).await?;
                let over = silent.until(NOTICED_IN, |now| now.ended >= ended + UNDER_WAY).await;
                over.with_context(|| format!("ends after {name}"))?;
            }
        }
        Ok(())
    });
}

/// H14, H15: large fields that are put into the table of a connection and throw each other out of it, or are never to be put
/// there, with another size of the table before each.
#[test]
fn fields_that_thrash_the_table_of_a_connection_cost_little() {
    run("floods-table", async |lab| {
        let stage = Stage::set(&lab).await?;
        let cookie = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        let door = stage.door(WWW)?;
        let kinds = ["fields that are put into the table", "fields that are never put there"];
        hold_out(&stage, &cookie, &kinds, |n| thrash(&door, if n == 0 { 0x40 } else { 0x10 })).await
    });
}

/// Thrashes the table of one connection by fields of this kind.
async fn thrash(door: &Door, kind: u8) -> Result<()> {
    let mut h2 = Http2::open(door).await?;
    let asker = Asker::at(WWW, None);
    for n in 0..THRASHED {
        // No table, then one of 4,096 bytes (RFC 7541 §6.3).
        let mut fields = vec![0x20, 0x3f, 0xe1, 0x1f];
        fields.extend(&asker.get);
        for name in ["x-one", "x-two", "x-three"] {
            let mut field = block(&[(name, &format!("{n:04}").repeat(1000))]);
            field[0] = kind;
            fields.extend(field);
        }
        h2.send(1, 5, stream(n), &fields).await?;
        let outcome = h2.outcome(stream(n)).await.with_context(|| format!("{n} fields of {kind:#x}"))?;
        ensure!((300..500).contains(&outcome.status()), "{outcome:?} for {n} fields of {kind:#x}");
    }
    Ok(())
}

/// The edge as others see it; loopback is in no network, and bears no penalties.
const OUTSIDE: &str = "198.51.100.1:443";

/// H14, T6: each from a network of its own, which is soon not let in any more; another one is served meanwhile, also while it goes
/// on knocking, in the long form for thirty seconds each.
#[test]
fn whoever_floods_from_outside_is_soon_not_let_in_and_others_are_served() {
    run("floods-out", async |lab| {
        let names =
            ["requests that are reset", "a header block without end", "settings", "links without a certificate"];
        let mut networks = Vec::new();
        for n in 0..names.len() {
            let (evil, near) = (Netns::new("evil")?, format!("198.51.{}.1", 100 + n));
            let (device, far) = (format!("e{n}"), format!("198.51.{}.2/24", 100 + n));
            cable((lab.net(), device.as_str(), format!("{near}/24").as_str()), (&evil, "v0", far.as_str()))?;
            if n > 0 {
                evil.ip(&["route", "add", "198.51.100.1/32", "via", &near])?;
            }
            networks.push(evil);
        }
        let change = |mut config: EdgeConfig| {
            config.listen.push(OUTSIDE.into());
            config
        };
        let stage = Stage::configured(&lab, change, ACCESS, Canary::start().await?).await?;
        let cookie = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        let door = Door { address: OUTSIDE.parse()?, ..stage.door(WWW)? };
        let links = EvilPeer::access(&stage.ca)?.at(OUTSIDE.parse()?);
        let floods = floods(&Asker::at(WWW, None));
        for (name, evil) in names.into_iter().zip(&networks) {
            let flood = floods.iter().find(|flood| flood.name == name);
            let (pulse, mut windows) = (Pulse::start(&door, WWW, &cookie), Windows::default());
            let without = pulse.window(BEATS, Duration::ZERO).await.context(name)?;
            pulse.open_window();
            let taken = match flood {
                Some(flood) => evil.inside(flood.until_shut_out(&door)),
                None => evil.inside(links.until_shut_out(pings)),
            };
            let taken = taken.context(name)?;
            ensure!(taken > 1, "{name}: a network is not let in after {taken} connections");
            eprintln!("{name}: {taken} connections were taken, and no more");
            pulse.beats(BEATS).await.context(name)?;
            windows.add(without, pulse.close_window()?);
            while windows.want_more(WINDOWS, noticeable()) {
                let without = pulse.window(BEATS, Duration::ZERO).await.context(name)?;
                let others = pulse.window(BEATS, flooded_for());
                let (_, beside) = match flood {
                    Some(flood) => evil.inside(meanwhile(|| flood.knock(&door), others)),
                    None => evil.inside(meanwhile(|| knock(&links), others)),
                }
                .context(name)?;
                windows.add(without, beside);
            }
            windows.check(name, noticeable())?;
            pulse.end().await.context(name)?;
        }
        stage.edge.process.log.wait_for("a network that went on misbehaving is not let in for a while").await?;
        Ok(())
    });
}

fn pings(n: u32) -> Vec<u8> {
    mux(2, SYN, 0, n)
}

/// Floods another link, if there is one to be had.
async fn knock(peer: &EvilPeer) -> Result<()> {
    match peer.greeted().await {
        Ok(link) => link.until_it_ends(true, pings).await,
        Err(_) => Ok(()),
    }
}

/// What is sent on a connection first, and then again and again.
type H1Flood = (&'static str, String, String);

/// H4, H14: the same over HTTP/1, where a connection ends with its first mistake.
#[test]
fn floods_of_http_1_end_their_connections_and_others_are_served() {
    run("floods-h1", async |lab| {
        let stage = Stage::set(&lab).await?;
        let cookie = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        let head = format!("GET / HTTP/1.1\r\nHost: {WWW}\r\n");
        let post = format!("POST / HTTP/1.1\r\nHost: {WWW}\r\nCookie: {cookie}\r\nTransfer-Encoding: chunked\r\n\r\n");
        let floods: [H1Flood; 8] = [
            ("a field without end", format!("{head}X-Filler: "), "f".repeat(1024)),
            ("fields without end", head.clone(), "X-Filler: f\r\n".repeat(10)),
            ("a target without end", "GET /".to_owned(), "f".repeat(1024)),
            ("a method without end", String::new(), "M".repeat(1024)),
            ("empty lines without end", String::new(), "\r\n".repeat(512)),
            ("a chunk extension without end", format!("{post}5;"), "e".repeat(1024)),
            ("a chunk size without end", post.clone(), "0".repeat(1024)),
            ("a trailer without end", format!("{post}0\r\nX-Filler: "), "f".repeat(1024)),
        ];
        let (door, names) = (stage.door(WWW)?, floods.each_ref().map(|flood| flood.0));
        hold_out(&stage, &cookie, &names, |n| floods_once(&door, &floods[n])).await
    });
}

async fn floods_once(door: &Door, (name, begin, piece): &H1Flood) -> Result<()> {
    let mut raw = door.open().await?;
    raw.send(begin.as_bytes()).await?;
    // More than any limit; what is sent to nobody is lost.
    for _ in 0..512 {
        raw.send(piece.as_bytes()).await?;
        if raw.stirs(Duration::from_micros(1)).await {
            break;
        }
    }
    raw.rest().await.context(*name)?;
    Ok(())
}

/// What it is, whether it is sent without end, and the n-th piece of it.
type LinkFlood = (&'static str, bool, fn(u32) -> Vec<u8>);

/// What only a connector may not do.
const AN_OPENING: LinkFlood = ("an opening, which is not for it to do", false, |_| data(3, SYN, b"x"));

/// What no peer may.
const LINK_FLOODS: [LinkFlood; 17] = [
    ("openings that end at once", true, |n| data(3 + 2 * n, SYN | FIN, b"x")),
    ("openings that are reset at once", true, |n| [data(3 + 2 * n, SYN, b"x"), mux(0, RST, 3 + 2 * n, 0)].concat()),
    ("openings with the edge's numbers", true, |n| data(2 + 2 * n, SYN, b"x")),
    ("credits of nothing", true, |_| mux(1, 0, 1, 0)),
    ("credits beyond every window", true, |_| mux(1, 0, 1, u32::MAX)),
    ("pings", true, pings),
    ("pongs that nobody asked for", true, |n| mux(2, 2, 0, n)),
    ("an end, and then more", true, |n| if n == 0 { mux(3, 0, 0, 0) } else { data(1, 0, b"x") }),
    ("data for streams that there are not", true, |n| data(1001 + 2 * (n % 1000), 0, &[7; 40])),
    ("credits for them", true, |n| mux(1, 0, 1001 + 2 * (n % 1000), 1)),
    ("resets of them", true, |n| mux(0, RST, 1001 + 2 * (n % 1000), 0)),
    ("more than a window", true, |_| data(1, 0, &[0; 16_000])),
    ("control data one byte at a time", true, |_| data(1, 0, &[0x7f])),
    ("frames of no kind", true, |_| mux(9, 0, 1, 0)),
    ("another version", true, |_| vec![1; 12]),
    ("a mebibyte that is announced and does not come", false, |_| mux(0, 0, 1, 1 << 20)),
    ("half a header", false, |_| vec![0, 0, 0]),
];

/// What somebody without a certificate can do besides: credentials that open nothing.
const CREDENTIALS: LinkFlood = ("credentials that are none", true, |n| {
    let credential = Credential::ClientToken(format!("{n:043}"));
    let hostname = WWW.parse().expect("a hostname");
    let present = Message::Present(Present { grant: GrantId(n), hostname, credential });
    data(1, 0, &present.encode().expect("a message"))
});

async fn flood_a_link(peer: &EvilPeer, (name, endless, piece): LinkFlood) -> Result<()> {
    let link = peer.greeted().await.context(name)?;
    link.until_it_ends(endless, piece).await.context(name)
}

/// All of them at once, each on a link of its own; or, as the second kind, one whose sender comes back whenever its link was
/// ended.
async fn flood_by_links(peer: &EvilPeer, floods: &[LinkFlood], kind: usize) -> Result<()> {
    if kind == 0 {
        return try_join_all(floods.iter().map(|flood| flood_a_link(peer, *flood))).await.map(drop);
    }
    for n in 0..COMES_BACK {
        flood_a_link(peer, ("pings", true, pings)).await.with_context(|| format!("link {n}"))?;
    }
    Ok(())
}

/// Whatever a peer does on its links, these end, and others' visitors are served.
async fn links_hold_out(stage: &Stage, cookie: &str, peer: &EvilPeer, floods: &[LinkFlood]) -> Result<()> {
    let (endless, once): (Vec<LinkFlood>, Vec<LinkFlood>) =
        floods.iter().copied().partition(|(_, endless, _)| *endless);
    // These are waited out, meanwhile; so are those that do not greet, or not as they should.
    let waited = async {
        let (silent, rude) = (peer.connect().await?, peer.connect().await?);
        let (silent, rude, ended) = tokio::join!(
            silent.until_it_ends(false, |_| Vec::new()),
            rude.until_it_ends(true, |_| data(1, SYN, b"GET / HTTP/1.1\r\n\r\n")),
            join_all(once.iter().map(|flood| flood_a_link(peer, *flood))),
        );
        silent.context("one that says nothing")?;
        rude.context("one that greets with something else")?;
        ended.into_iter().collect::<Result<()>>()
    };
    let names = ["floods of links", "a flood whose sender comes back"];
    let flooded = hold_out(stage, cookie, &names, |n| flood_by_links(peer, &endless, n));
    tokio::try_join!(waited, flooded).map(drop)
}

/// T6: an enrolled connector with bad intentions loses its links; other tunnels go on.
#[test]
fn floods_of_a_connector_end_its_links_and_other_tunnels_go_on() {
    run("floods-links", async |lab| {
        let stage = Stage::set(&lab).await?;
        let cookie = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        let floods = [&LINK_FLOODS[..], &[AN_OPENING]].concat();
        links_hold_out(&stage, &cookie, &EvilPeer::connector(&lab, APP)?, &floods).await?;
        // The honest connector of the same tunnel is still there.
        let mut visitor = stage.somebody(APP, OTHER).await?;
        assert_eq!(visitor.get(&format!("https://{APP}/")).await?.status(), 200);
        Ok(())
    });
}

/// T6: so does whoever has no certificate and calls itself an access client.
#[test]
fn floods_of_links_without_a_certificate_end_them_and_others_are_served() {
    run("floods-access", async |lab| {
        let stage = Stage::set(&lab).await?;
        let cookie = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        let peer = EvilPeer::access(&stage.ca)?;
        let floods = [&LINK_FLOODS[..], &[CREDENTIALS]].concat();
        links_hold_out(&stage, &cookie, &peer, &floods).await?;
        peer.greeted().await.context("another access client").map(drop)
    });
}
