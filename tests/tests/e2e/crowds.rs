//! Many at once: mails that one mailbox gets however often they are asked for, people who log in at the same time, and
//! tunnels beside a greedy one.

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use futures::future::{join_all, try_join_all};
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};
use tunnel_tests::{
    Apart, Canary, Connector, Door, Edge, EdgeConfig, PATIENCE, Raw, Smtp, Stage,
    canary::SONG,
    edge::ACCESS,
    html::form_with,
    origin::{Streams, block},
    process::{long, many_sockets},
    run,
    stage::{APP, STAFF, WWW},
    visitor::{login, press},
};

/// An edge that believes the harness about where people come from.
fn trusting(config: EdgeConfig) -> EdgeConfig {
    EdgeConfig { extra: "trusted_proxies = [\"127.0.0.1\"]".into(), ..config }
}

/// The network number `n`, as one of its addresses.
fn network(n: usize) -> String {
    format!("20.{}.{}.1", n / 250 % 250, n % 250)
}

/// How often a code is wanted for each mailbox.
fn wishes() -> usize {
    if long() { 2500 } else { 40 }
}

/// P3, R16: whoever asks from however many networks and browsers, and however the address is spelt, a mailbox gets one mail
/// in thirty seconds and five in an hour.
#[test]
fn a_mailbox_gets_few_mails_however_often_and_in_whatever_spelling_they_are_wanted() {
    run("mail-flood", async |lab| {
        let stage = Stage::configured(&lab, trusting, ACCESS, Canary::start().await?).await?;
        let mailboxes: [[&str; 4]; 4] = [
            ["bob", "Bob", "b.o.b", "bob+1"],
            ["eve", "EVE", "e.ve", "eve+news"],
            ["ann", "aNN", "an.n", "ann+a+b"],
            ["kim", "KIM", "k.im", "kim+x"],
        ];
        let begun = Instant::now();
        let (mut accepted, mut refused) = ([0_u64; 4], 0_usize);
        for n in 0..wishes() {
            let mut visitor = stage.stranger()?;
            visitor.forwarded_for = Some(network(n));
            let page = visitor.browse(&format!("https://{WWW}/")).await?;
            let form = press(form_with(&page.text(), "email")?, "method", "pin");
            for (mailbox, spellings) in mailboxes.iter().enumerate() {
                let email = format!("{}@example.test", spellings[n % spellings.len()]);
                let reply = visitor.submit(&page.url, &form.clone().with("email", &email)).await?;
                match reply.status() {
                    303 => accepted[mailbox] += 1,
                    429 => refused += 1,
                    other => anyhow::bail!("{other} for {email}: {}", reply.text()),
                }
            }
        }
        let most = (1 + begun.elapsed().as_secs() / 30).min(5);
        for (mailbox, count) in accepted.iter().enumerate() {
            assert!((1..=most).contains(count), "{count} codes for {:?}, {most} at most", mailboxes[mailbox]);
        }
        assert!(refused > 3 * wishes(), "{refused} were refused, {accepted:?} accepted");
        // A mail that is asked for last comes after any that were asked for before.
        let mut last = stage.stranger()?;
        last.forwarded_for = Some("20.251.0.1".into());
        last.ask_for_code(&format!("https://{WWW}/"), "last@example.test").await?;
        stage.smtp.mail_to("last@example.test", 1).await?;
        let mails = stage.smtp.mails()?;
        let sent = mails.len() as u64;
        // Of several codes for one mailbox in one browser only the newest is worth a mail.
        assert!(sent <= accepted.iter().sum::<u64>() + 1, "{sent} mails for {accepted:?} codes");
        assert!(sent >= 5, "each mailbox got its mail: {mails:?}");
        println!("{} wishes: {accepted:?} codes, {sent} mails, in {:?}", 4 * wishes(), begun.elapsed());
        Ok(())
    });
}

/// How many people log in at a time.
fn people() -> usize {
    if long() { 150 } else { 20 }
}

/// R25: people who log in at the same moment, each in a browser of their own, are each themselves afterwards: to the edge,
/// and to every origin.
#[test]
fn people_who_log_in_at_the_same_moment_are_never_taken_for_each_other() {
    run("at-once", async |lab| {
        let stage = Stage::configured(&lab, trusting, ACCESS, Canary::start().await?).await?;
        let somebody = |n: usize| {
            let mut visitor = stage.stranger()?;
            visitor.forwarded_for = Some(network(n));
            anyhow::Ok((visitor, format!("person{n:03}@example.test")))
        };
        let asked = join_all((0..people()).map(|n| {
            let somebody = somebody(n);
            async move {
                let (mut visitor, email) = somebody?;
                let page = visitor.ask_for_code(&format!("https://{WWW}/of/{email}"), &email).await?;
                anyhow::Ok((visitor, email, page))
            }
        }));
        let mut ready = Vec::new();
        for asked in asked.await {
            let (visitor, email, page) = asked?;
            let code = stage.smtp.mail_to(&email, 1).await?.pin()?;
            ready.push((visitor, email, page, code));
        }
        let entered = ready.into_iter().map(async |(mut visitor, email, page, code)| {
            let reply = visitor.enter_code(&page, &code).await?;
            let reply = visitor.follow(reply).await.with_context(|| email.clone())?;
            ensure!(reply.status() == 200, "{email}: {} at {}", reply.status(), reply.url);
            // And on to the other application, all at once again.
            for round in 0..3 {
                let reply = visitor.browse(&format!("https://{APP}/of/{email}?{round}")).await?;
                ensure!(reply.text() == SONG, "{email}: {} at {}", reply.status(), reply.url);
                for host in [WWW, APP] {
                    let identity = visitor.get(&format!("https://{host}/.access/identity")).await?;
                    let identity: serde_json::Value = serde_json::from_str(&identity.text())?;
                    ensure!(identity["email"] == *email, "{email} is taken for {identity}");
                }
            }
            anyhow::Ok(())
        });
        try_join_all(entered).await?;
        let certs = stage.certs().await?;
        let heads = [stage.www.heads(), stage.app.heads()].concat();
        for head in &heads {
            let path = head.target().split('?').next().unwrap_or_default();
            let whose = path.strip_prefix("/of/").with_context(|| format!("{head:?}"))?;
            certs.admits(head, whose)?;
        }
        assert_eq!(heads.len(), people() * 4, "each came once, and three times to the other");
        Ok(())
    });
}

/// Tunnels that behave, and how much each of their visitors fetches at a time.
fn good() -> (usize, u64) {
    if long() { (50, 16 << 20) } else { (5, 1 << 20) }
}

/// Downloads without end from the tunnel that does not.
const GREEDY: usize = 60;
/// How often each visitor of a good tunnel fetches something.
const FETCHES: usize = 3;
/// A stream of a tunnel that behaves gets at least one part of so many of what a stream of the greedy one gets: both have the
/// same edge, and connecting anew for each fetch takes its part of the time.
const SHARE: u64 = 10;
/// Visitors of good tunnels who connect and ask at a time: more of them only makes each take longer, and the edge ends what
/// takes too long.
const HANDSHAKES: usize = 8;
/// How long all of them may take, on a machine that is busy.
const ALL_SERVED_IN: Duration = Duration::from_secs(300);

/// A download of so many bytes at a door, up to the end of its answer's head.
async fn download(door: Door, head: String, size: u64) -> anyhow::Result<Raw> {
    let mut raw = door.open().await?;
    raw.send(head.as_bytes()).await?;
    let answer = raw.answer(false).await?;
    let length = answer.header("content-length").map(str::to_owned);
    ensure!(answer.status == 200 && length == Some(size.to_string()), "{} with {length:?}", answer.status);
    Ok(raw)
}

/// Reads a download of so many bytes to its end; each has to be the one that was asked for.
async fn is_whole(raw: &mut Raw, size: u64) -> anyhow::Result<()> {
    let (whole, mut at) = (block(), 0);
    while at < size as usize {
        let some = raw.read().await?;
        ensure!(!some.is_empty(), "cut after {at} bytes");
        let mut rest = some.as_slice();
        while !rest.is_empty() {
            let expected = &whole[at % whole.len()..];
            let (piece, behind) = rest.split_at(rest.len().min(expected.len()));
            ensure!(expected.starts_with(piece), "damaged within {} bytes from {at} on", piece.len());
            at += piece.len();
            rest = behind;
        }
    }
    ensure!(at == size as usize, "{at} bytes");
    Ok(())
}

/// T7: beside a tunnel whose visitors take all that they can get, each of the others serves everything that it is asked for, and
/// no stream of theirs gets a small part only of what one of the greedy tunnel's gets.
#[test]
fn tunnels_beside_a_greedy_one_serve_all_that_they_are_asked_for() {
    run("greedy", async |lab| {
        many_sockets()?;
        let (count, size) = good();
        let hosts: Vec<String> = (0..count).map(|n| format!("good{n}.example.test")).collect();
        let mut access = ACCESS.to_owned();
        for (n, host) in hosts.iter().enumerate() {
            writeln!(access, "  - {{name: good{n}, hostnames: [{host}], policies: [staff-only]}}")?;
        }
        // Who is greedy, and who feeds that, has a thread of its own: it is the edge that is to be fair, not this process.
        let apart = Apart::start()?;
        let (streams, endless) = (Streams::start().await?, apart.run(Streams::start()).await??);
        let smtp = Smtp::start(&lab).await?;
        let edge = Edge::with_access(&lab, EdgeConfig::with_mail(&smtp), &access).await?;
        let mut connectors = vec![Connector::publish(&lab, WWW, &endless.url()).await?];
        for host in &hosts {
            connectors.push(Connector::publish(&lab, host, &streams.url()).await?);
        }
        let mut visitor = login(&edge.ca().await?, &smtp, WWW, STAFF).await?;
        let taken = Arc::new(AtomicU64::new(0));
        let mut greedy = JoinSet::new();
        for _ in 0..GREEDY {
            let (door, session, size) = (visitor.door("https", WWW)?, visitor.session(WWW)?, 1_u64 << 40);
            let head = format!("GET /bytes/{size} HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\n\r\n");
            let mut raw = apart.run(download(door, head, size)).await??;
            let taken = taken.clone();
            let endless = async move {
                loop {
                    match raw.read().await {
                        Ok(some) if !some.is_empty() => taken.fetch_add(some.len() as u64, Relaxed),
                        ended => return ended.map(drop),
                    };
                }
            };
            greedy.spawn_on(endless, apart.handle());
        }
        for host in &hosts {
            ensure!(visitor.browse(&format!("https://{host}/bytes/1")).await?.status() == 200, "{host}");
        }
        let (before, begun) = (taken.load(Relaxed), Instant::now());
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
        let mut fetched = JoinSet::new();
        for host in &hosts {
            let (door, session) = (visitor.door("https", host)?, visitor.session(host)?);
            let head =
                format!("GET /bytes/{size} HTTP/1.1\r\nHost: {host}\r\nCookie: {session}\r\nConnection: close\r\n\r\n");
            let (host, handshakes) = (host.clone(), handshakes.clone());
            // Each in a task of its own, so that none waits for what another one does with its bytes.
            fetched.spawn(async move {
                for _ in 0..FETCHES {
                    let permit = handshakes.acquire().await?;
                    let opened = download(door.clone(), head.clone(), size).await;
                    drop(permit);
                    let mut opened = opened.with_context(|| host.clone())?;
                    is_whole(&mut opened, size).await.with_context(|| host.clone())?;
                }
                anyhow::Ok(begun.elapsed())
            });
        }
        let all = async {
            let mut times = Vec::new();
            while let Some(fetched) = fetched.join_next().await {
                times.push(fetched??);
            }
            anyhow::Ok(times)
        };
        let times = timeout(ALL_SERVED_IN, all).await.context("somebody is not served")??;
        ensure!(times.len() == count, "{} of {count} were served", times.len());
        let (meanwhile, took) = (taken.load(Relaxed) - before, begun.elapsed());
        println!("{count} tunnels served {size} bytes {FETCHES} times within {times:?}");
        println!("the greedy one carried {} MiB in {took:?}", meanwhile >> 20);
        // In bytes of a second, for the slowest of them.
        let slowest = times.iter().max().copied().unwrap_or(took).as_secs_f64();
        let (theirs, greedy_stream) =
            ((size * FETCHES as u64) as f64 / slowest, meanwhile as f64 / GREEDY as f64 / took.as_secs_f64());
        println!("the slowest got {theirs:.0} B/s, a stream of the greedy one {greedy_stream:.0} B/s");
        assert!(theirs * SHARE as f64 >= greedy_stream, "{theirs:.0} B/s beside {greedy_stream:.0} B/s");
        assert!(greedy.try_join_next().is_none(), "a download of the greedy one was cut");
        // It was there all the time, and goes on.
        let goes_on = async {
            while taken.load(Relaxed) == before + meanwhile {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, goes_on).await.context("the greedy one stands still")?;
        assert!(meanwhile > 0, "nobody was greedy");
        Ok(())
    });
}
