//! Floods of what costs its sender nothing (H14, T6): each ends its own connection, others are served meanwhile, and memory
//! comes back. The long form floods for thirty seconds each.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tunnel_tests::{
    Canary, Edge, EdgeConfig, EvilConnector, Flood, Netns, Pulse, Stage,
    edge::ACCESS,
    evil_connector::{FIN, RST, SYN, data, mux},
    http2::{Http2, block, frame},
    netns::cable,
    process::long,
    raw::Door,
    run,
    stage::{APP, STAFF, WWW},
};

/// What an edge may have more of after floods than before, in KiB.
const MEMORY: u64 = 64 * 1024;
/// How long memory may take to come back: what is idle is kept for a minute at most.
const SETTLES_IN: Duration = Duration::from_secs(75);
/// Below this nobody can say on a busy machine whether an answer took twice as long because of a flood.
const NOTICEABLE: Duration = Duration::from_millis(250);

/// Requests of one connection that thrash its table of fields.
const THRASHED: u32 = 200;

fn time() -> Duration {
    if long() { Duration::from_secs(30) } else { Duration::from_secs(1) }
}

fn stream(n: u32) -> u32 {
    1 + 2 * n
}

fn request(method: &str) -> Vec<u8> {
    block(&[(":method", method), (":scheme", "https"), (":authority", WWW), (":path", "/")])
}

/// A request that has been sent whole.
fn asked(stream: u32) -> Vec<u8> {
    frame(1, 5, stream, &request("GET"))
}

/// The floods of HTTP/2.
fn floods() -> Vec<Flood> {
    let credit = |stream: u32, bytes: u32| frame(8, 0, stream, &bytes.to_be_bytes());
    let upload = || frame(1, 4, 1, &request("POST"));
    vec![
        Flood::of("requests that are reset", |n| [asked(stream(n)), frame(3, 0, stream(n), &[0, 0, 0, 8])].concat()),
        Flood::of("credits of nothing", move |n| [asked(stream(n)), credit(stream(n), 0)].concat()),
        Flood::of("credits beyond every window", move |n| {
            [asked(stream(n)), credit(stream(n), 0x7fff_ffff), credit(stream(n), 0x7fff_ffff)].concat()
        }),
        Flood::of("data after the end", |n| [asked(stream(n)), frame(0, 0, stream(n), b"x")].concat()),
        Flood::of("requests after their end", |n| [asked(stream(n)), asked(stream(n))].concat()),
        Flood::of("priorities of a wrong length", |n| [asked(stream(n)), frame(2, 0, stream(n), &[0; 4])].concat()),
        Flood::of("a header block without end", |_| frame(9, 0, 1, &block(&[("x-filler", "filler")]))).after(frame(
            1,
            0,
            1,
            &request("GET"),
        )),
        Flood::of("header lists of a mebibyte", |n| {
            let filler = block(&[("x-filler", &"f".repeat(16_000))]);
            let mut frames = frame(1, 1, stream(n), &request("GET"));
            (0..64).for_each(|_| frames.extend(frame(9, 0, stream(n), &filler)));
            frames.extend(frame(9, 4, stream(n), &[]));
            frames
        }),
        Flood::of("settings", |_| frame(4, 0, 0, &[0, 3, 0, 0, 0, 100])),
        Flood::of("sizes of the table of fields", |n| {
            frame(4, 0, 0, &[0, 1, 0, 0, if n % 2 == 0 { 16 } else { 0 }, 0])
        }),
        // RFC 7541 §6.3: more than was allowed.
        Flood::of("a table of fields without end", |n| {
            let update = [&[0x3f_u8, 0xff, 0xff, 0xff, 0x07][..], &request("GET")].concat();
            frame(1, 5, stream(n), &update)
        }),
        Flood::of("pings", |_| frame(6, 0, 0, b"12345678")),
        Flood::of("priorities", |n| frame(2, 0, stream(n % 1000), &[0, 0, 0, 0, 16])),
        Flood::of("updates of priorities", |n| {
            frame(16, 0, 0, &[stream(n % 1000).to_be_bytes().as_slice(), b"u=1"].concat())
        }),
        Flood::of("empty data", |_| frame(0, 0, 1, &[])).after(upload()),
        Flood::of("data of one byte", |_| frame(0, 0, 1, b"x")).after(upload()),
        Flood::of("padding", |_| frame(0, 8, 1, &[[200].as_slice(), &[0; 200]].concat())).after(upload()),
        Flood::of("credits of one byte", move |_| credit(0, 1)),
        Flood::of("frames of no kind", |_| frame(77, 0, 0, b"what is this?")),
    ]
}

/// Waits until the edge has hardly more memory than `before`.
pub(super) async fn memory_comes_back(edge: &Edge, before: u64) -> Result<()> {
    let begun = Instant::now();
    loop {
        let now = edge.process.rss_kib()?;
        if now <= before + MEMORY {
            eprintln!("the edge had {before} KiB, and has {now} KiB");
            return Ok(());
        }
        ensure!(begun.elapsed() < SETTLES_IN, "{now} KiB of memory, {before} KiB before");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Says how much slower others were served, and in the long form holds it against twice the time.
fn compare(what: &str, alone: Duration, beside: Duration) {
    let ratio = beside.as_secs_f64() / alone.as_secs_f64().max(f64::EPSILON);
    eprintln!("{what}: p99 of others {beside:?}, {alone:?} without, ratio {ratio:.1}");
    assert!(!long() || beside <= (alone * 2).max(NOTICEABLE), "{what}: others wait for {beside:?}, {alone:?} without");
}

/// Memory and p99 before anything happens.
async fn alone(stage: &Stage, cookie: &str) -> Result<(u64, Duration)> {
    let pulse = Pulse::start(&stage.door(WWW)?, WWW, cookie);
    pulse.beats(100).await?;
    let alone = pulse.p99().await?;
    Ok((stage.edge.process.rss_kib()?, alone))
}

/// H14
#[test]
fn floods_of_http_2_end_their_connections_and_others_are_served() {
    run("floods-h2", async |lab| {
        let stage = Stage::set(&lab).await?;
        let cookie = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        let (before, alone) = alone(&stage, &cookie).await?;
        for flood in floods() {
            let pulse = Pulse::start(&stage.door(WWW)?, WWW, &cookie);
            let ended = flood.run(&stage.door(WWW)?, time()).await?;
            pulse.beats(10).await.context(flood.name)?;
            let beside = pulse.p99().await.context(flood.name)?;
            eprintln!("{ended} connections were ended");
            compare(flood.name, alone, beside);
        }
        memory_comes_back(&stage.edge, before).await
    });
}

/// H14, H15: large fields that are put into the table of a connection and throw each other out of it, or are never to be put
/// there, with another size of the table before each.
#[test]
fn fields_that_thrash_the_table_of_a_connection_cost_little() {
    run("floods-table", async |lab| {
        let stage = Stage::set(&lab).await?;
        let cookie = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        let (before, _) = alone(&stage, &cookie).await?;
        let pulse = Pulse::start(&stage.door(WWW)?, WWW, &cookie);
        for (kind, name) in [(0x40, "put there"), (0x10, "never put there")] {
            let mut h2 = Http2::open(&stage.door(WWW)?).await?;
            for n in 0..THRASHED {
                // No table, then one of 4,096 bytes (RFC 7541 §6.3).
                let mut fields = vec![0x20, 0x3f, 0xe1, 0x1f];
                fields.extend(request("GET"));
                for name in ["x-one", "x-two", "x-three"] {
                    let mut field = block(&[(name, &format!("{n:04}").repeat(1000))]);
                    field[0] = kind;
                    fields.extend(field);
                }
                h2.send(1, 5, stream(n), &fields).await?;
                let outcome = h2.outcome(stream(n)).await.with_context(|| format!("{n} fields {name}"))?;
                ensure!((300..500).contains(&outcome.status()), "{outcome:?} for {n} fields {name}");
            }
        }
        pulse.beats(10).await?;
        pulse.p99().await?;
        memory_comes_back(&stage.edge, before).await
    });
}

/// The edge as others see it; loopback is in no network, and bears no penalties.
const OUTSIDE: &str = "198.51.100.1:443";

/// H14: each from a network of its own, which is soon not let in any more; another one is served meanwhile. The long form goes
/// on knocking for thirty seconds each.
#[test]
fn whoever_floods_from_outside_is_soon_not_let_in_and_others_are_served() {
    run("floods-out", async |lab| {
        let wanted = ["requests that are reset", "a header block without end", "settings"];
        let mut sources = Vec::new();
        for (n, name) in wanted.into_iter().enumerate() {
            let flood = floods().into_iter().find(|flood| flood.name == name).context(name)?;
            let (evil, near) = (Netns::new("evil")?, format!("198.51.{}.1", 100 + n));
            let (device, far) = (format!("e{n}"), format!("198.51.{}.2/24", 100 + n));
            cable((lab.net(), device.as_str(), format!("{near}/24").as_str()), (&evil, "v0", far.as_str()))?;
            if n > 0 {
                evil.ip(&["route", "add", "198.51.100.1/32", "via", &near])?;
            }
            sources.push((flood, evil));
        }
        let change = |mut config: EdgeConfig| {
            config.listen.push(OUTSIDE.into());
            config
        };
        let stage = Stage::configured(&lab, change, ACCESS, Canary::start().await?).await?;
        let cookie = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        let (_, alone) = alone(&stage, &cookie).await?;
        let door = Door { address: OUTSIDE.parse()?, ..stage.door(WWW)? };
        for (flood, evil) in &sources {
            let pulse = Pulse::start(&door, WWW, &cookie);
            pulse.beats(10).await.context(flood.name)?;
            let taken = evil.inside(flood.until_shut_out(&door))?;
            ensure!(taken > 1, "{}: a network is not let in after {taken} connections", flood.name);
            eprintln!("{}: {taken} connections were taken, and no more", flood.name);
            if long() {
                evil.inside(flood.run(&door, time()))?;
            }
            pulse.beats(10).await.context(flood.name)?;
            compare(flood.name, alone, pulse.p99().await.context(flood.name)?);
        }
        stage.edge.process.log.wait_for("a network that went on misbehaving is not let in for a while").await?;
        Ok(())
    });
}

/// H4, H14: the same over HTTP/1, where a connection ends with its first mistake.
#[test]
fn floods_of_http_1_end_their_connections_and_others_are_served() {
    run("floods-h1", async |lab| {
        let stage = Stage::set(&lab).await?;
        let cookie = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        let (before, alone) = alone(&stage, &cookie).await?;
        let head = format!("GET / HTTP/1.1\r\nHost: {WWW}\r\n");
        let post = format!("POST / HTTP/1.1\r\nHost: {WWW}\r\nCookie: {cookie}\r\nTransfer-Encoding: chunked\r\n\r\n");
        for (name, begin, piece) in [
            ("a field without end", format!("{head}X-Filler: "), "f".repeat(1024)),
            ("fields without end", head.clone(), "X-Filler: f\r\n".repeat(10)),
            ("a target without end", "GET /".to_owned(), "f".repeat(1024)),
            ("a method without end", String::new(), "M".repeat(1024)),
            ("empty lines without end", String::new(), "\r\n".repeat(512)),
            ("a chunk extension without end", format!("{post}5;"), "e".repeat(1024)),
            ("a chunk size without end", post.clone(), "0".repeat(1024)),
            ("a trailer without end", format!("{post}0\r\nX-Filler: "), "f".repeat(1024)),
        ] {
            let pulse = Pulse::start(&stage.door(WWW)?, WWW, &cookie);
            let (begun, mut ended) = (Instant::now(), 0);
            while begun.elapsed() < time() || ended == 0 {
                let mut raw = stage.door(WWW)?.open().await?;
                raw.send(begin.as_bytes()).await?;
                // More than any limit; what is sent to nobody is lost.
                for _ in 0..512 {
                    raw.send(piece.as_bytes()).await?;
                    if raw.stirs(Duration::from_micros(1)).await {
                        break;
                    }
                }
                raw.rest().await.context(name)?;
                ended += 1;
            }
            pulse.beats(10).await.context(name)?;
            compare(name, alone, pulse.p99().await.context(name)?);
        }
        memory_comes_back(&stage.edge, before).await
    });
}

/// What it is, whether it is sent without end, and the n-th piece of it.
type LinkFlood = (&'static str, bool, fn(u32) -> Vec<u8>);

/// T6: an enrolled connector with bad intentions loses its links; other tunnels go on.
#[test]
fn floods_of_a_connector_end_its_links_and_other_tunnels_go_on() {
    run("floods-links", async |lab| {
        let stage = Stage::set(&lab).await?;
        let cookie = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        let (before, alone) = alone(&stage, &cookie).await?;
        let pulse = Pulse::start(&stage.door(WWW)?, WWW, &cookie);
        let floods: [LinkFlood; 18] = [
            ("an opening, which is not for it to do", false, |_| data(3, SYN, b"x")),
            ("openings that end at once", true, |n| data(3 + 2 * n, SYN | FIN, b"x")),
            ("openings that are reset at once", true, |n| {
                [data(3 + 2 * n, SYN, b"x"), mux(0, RST, 3 + 2 * n, 0)].concat()
            }),
            ("openings with the edge's numbers", true, |n| data(2 + 2 * n, SYN, b"x")),
            ("credits of nothing", true, |_| mux(1, 0, 1, 0)),
            ("credits beyond every window", true, |_| mux(1, 0, 1, u32::MAX)),
            ("pings", true, |n| mux(2, SYN, 0, n)),
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
        let links = floods.map(|(name, endless, piece)| {
            let lab = lab.clone();
            async move {
                let mut link = EvilConnector::connect(&lab, APP).await.context(name)?;
                link.greet().await.context(name)?;
                link.until_it_ends(endless, piece).await.context(name)
            }
        });
        // Together: some are only waited out.
        for ended in futures::future::join_all(links).await {
            ended?;
        }
        // So are those that do not greet, or not as they should.
        let silent = EvilConnector::connect(&lab, APP).await?;
        let rude = EvilConnector::connect(&lab, APP).await?;
        let (silent, rude) = tokio::join!(
            silent.until_it_ends(false, |_| Vec::new()),
            rude.until_it_ends(true, |_| data(1, SYN, b"GET / HTTP/1.1\r\n\r\n")),
        );
        silent.and(rude)?;
        pulse.beats(10).await?;
        compare("floods of links", alone, pulse.p99().await?);
        memory_comes_back(&stage.edge, before).await?;
        // The honest connector of the same tunnel is still there.
        let mut visitor = stage.somebody(APP, "another@example.test").await?;
        assert_eq!(visitor.get(&format!("https://{APP}/")).await?.status(), 200);
        Ok(())
    });
}
