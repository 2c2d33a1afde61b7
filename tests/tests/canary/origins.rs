//! Origins with bad intentions, or broken ones: what they answer concerns whoever asked, and nobody who asks next.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock},
};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tunnel_tests::{
    Canary, Connector, Door, Stage,
    canary::{After, Head, page},
    edge::ACCESS,
    process::long,
    raw::find,
    run,
    stage::{STAFF, WWW},
};

const BOB: &str = "bob@example.test";
/// The host of an origin without manners.
const RUDE: &str = "db.example.test";
/// The host of an origin that speaks HTTP/2, in another test.
const HTTP_2: &str = "db.example.test";
/// What must reach nobody.
const STRAY: &str = "stray-answer";

/// An answer that is good, and closes nothing.
fn good(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Method, name, answer, and the statuses that whoever asked may get; 0 is an answer that is cut.
type Row = (&'static str, &'static str, String, &'static [u16]);

static TABLE: LazyLock<Vec<Row>> = LazyLock::new(table);

fn table() -> Vec<Row> {
    let stray = good(STRAY);
    let first = good("first");
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\n\r\n";
    let fields = |fields: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n{body}");
    let bad = |chunks: &str| fields("Transfer-Encoding: chunked\r\n", &format!("5\r\nfirst\r\n{chunks}{stray}"));
    let informational = |line: &str, count: usize| format!("HTTP/1.1 {line}\r\n\r\n").repeat(count);
    const BROKEN: &[u16] = &[502];
    const CUT: &[u16] = &[0, 200, 502];
    vec![
        ("GET", "two", format!("{first}{stray}"), &[200]),
        ("GET", "many", format!("{first}{}", stray.repeat(50)), &[200]),
        ("GET", "surplus", format!("{first}{STRAY}"), &[200]),
        ("GET", "line", format!("{first}\r\n\r\n{stray}"), &[200]),
        ("GET", "chunked-two", format!("{chunked}{stray}"), &[200]),
        ("GET", "chunked-surplus", format!("{chunked}{STRAY}"), &[200]),
        ("HEAD", "head-body", format!("{}{stray}", fields("Content-Length: 5\r\n", "first")), &[200]),
        ("HEAD", "head-chunked", format!("{chunked}{stray}"), &[200]),
        (
            "GET",
            "no-content",
            format!("HTTP/1.1 204 No Content\r\nContent-Length: 12\r\n\r\n{STRAY}{stray}"),
            &[204, 502],
        ),
        (
            "GET",
            "not-modified",
            format!("HTTP/1.1 304 Not Modified\r\nContent-Length: 12\r\n\r\n{STRAY}{stray}"),
            &[304, 502],
        ),
        (
            "GET",
            "reset-content",
            format!("HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n{stray}"),
            &[205, 502],
        ),
        ("POST", "early", first.clone(), &[200, 502]),
        ("POST", "early-two", format!("{first}{stray}"), &[200, 502]),
        (
            "POST",
            "early-refusal",
            format!("HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nfirst{stray}"),
            &[413, 502],
        ),
        ("GET", "continue-flood", format!("{}{first}", informational("100 Continue", 2000)), BROKEN),
        ("GET", "hints-flood", format!("{}{first}", informational("103 Early Hints\r\nLink: </x>", 100)), BROKEN),
        ("GET", "nine", format!("{}{first}", informational("103 Early Hints", 9)), BROKEN),
        ("GET", "eight", format!("{}{first}", informational("103 Early Hints", 8)), &[200]),
        ("GET", "endless-continue", informational("100 Continue", 100_000), BROKEN),
        (
            "GET",
            "hint-with-body",
            format!("HTTP/1.1 103 Early Hints\r\nContent-Length: 12\r\n\r\n{STRAY}{first}"),
            BROKEN,
        ),
        (
            "GET",
            "switch",
            format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n{stray}"),
            BROKEN,
        ),
        ("GET", "switch-plain", format!("HTTP/1.1 101 Switching Protocols\r\n\r\n{stray}"), BROKEN),
        ("GET", "lengths", fields("Content-Length: 5\r\nContent-Length: 12\r\n", &format!("first{stray}")), BROKEN),
        ("GET", "length-list", fields("Content-Length: 5, 12\r\n", &format!("first{stray}")), BROKEN),
        ("GET", "length-sign", fields("Content-Length: +5\r\n", &format!("first{stray}")), BROKEN),
        ("GET", "length-word", fields("Content-Length: five\r\n", &format!("first{stray}")), BROKEN),
        (
            "GET",
            "both",
            fields("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", &format!("5\r\nfirst\r\n0\r\n\r\n{stray}")),
            BROKEN,
        ),
        (
            "GET",
            "both-too",
            fields("Transfer-Encoding: chunked\r\nContent-Length: 999\r\n", &format!("5\r\nfirst\r\n0\r\n\r\n{stray}")),
            BROKEN,
        ),
        (
            "GET",
            "coding",
            fields("Transfer-Encoding: gzip, chunked\r\n", &format!("5\r\nfirst\r\n0\r\n\r\n{stray}")),
            BROKEN,
        ),
        ("GET", "length-twice", fields("Content-Length: 5\r\nContent-Length: 5\r\n", &format!("first{stray}")), BROKEN),
        ("GET", "chunk-word", bad("stray\r\n"), CUT),
        ("GET", "chunk-sign", bad("-1\r\n"), CUT),
        ("GET", "chunk-short", bad("2\r\nabc\r\n"), CUT),
        ("GET", "chunk-huge", bad("ffffffffffffffffff\r\n"), CUT),
        ("GET", "field", format!("HTTP/1.1 200 OK\r\nX\r\nContent-Length: 5\r\n\r\nfirst{stray}"), BROKEN),
        ("GET", "folded", fields("X: y\r\n z\r\nContent-Length: 5\r\n", &format!("first{stray}")), BROKEN),
        ("GET", "nul", fields("X: \0\r\nContent-Length: 5\r\n", &format!("first{stray}")), BROKEN),
        ("GET", "split", fields(&format!("X: a\rY: b\r\nContent-Length: {}\r\n", STRAY.len()), STRAY), BROKEN),
        ("GET", "bare-lines", "HTTP/1.1 200 OK\nContent-Length: 5\n\nfirst".to_owned(), &[200, 502]),
        ("GET", "status", format!("HTTP/1.1 99 Low\r\n\r\n{stray}"), BROKEN),
        ("GET", "status-word", format!("HTTP/1.1 OK\r\n\r\n{stray}"), BROKEN),
        ("GET", "version", format!("HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nfirst{stray}"), BROKEN),
        ("GET", "protocol", format!("ICY 200 OK\r\nContent-Length: 5\r\n\r\nfirst{stray}"), BROKEN),
        ("GET", "noise", format!("\u{0}\u{1}\u{2}{stray}"), BROKEN),
        ("GET", "large-head", fields(&format!("X: {}\r\nContent-Length: 5\r\n", "x".repeat(70_000)), "first"), BROKEN),
        ("GET", "many-fields", fields(&format!("{}Content-Length: 5\r\n", "X: y\r\n".repeat(200)), "first"), BROKEN),
        (
            "GET",
            "cookie",
            fields("Set-Cookie: __Host-access=x; Path=/; Secure\r\nContent-Length: 5\r\n", "first"),
            &[200],
        ),
        (
            "GET",
            "hop",
            fields("Connection: X-Y, close\r\nX-Y: z\r\nKeep-Alive: 9\r\nTrailer: X\r\nContent-Length: 5\r\n", "first"),
            &[200],
        ),
    ]
}

/// An origin that answers each head at once with what the table has for its target, whatever follows the head.
struct Rude {
    url: String,
    task: JoinHandle<()>,
}

impl Drop for Rude {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Rude {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream));
            }
        });
        Ok(Self { url, task })
    }
}

async fn serve(mut stream: TcpStream) {
    let (mut waiting, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    while let Ok(n @ 1..) = stream.read(&mut buffer).await {
        waiting.extend_from_slice(&buffer[..n]);
        while let Some(end) = find(&waiting, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&waiting[..end]).into_owned();
            waiting.drain(..end + 4);
            let Some(target) = head.split(' ').nth(1).and_then(|target| target.strip_prefix('/')) else { continue };
            let row = TABLE.iter().find(|(_, name, _, _)| *name == target);
            let answer = row.map_or_else(|| good(&format!("own {target}")), |(_, _, answer, _)| answer.clone());
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

/// Asks on a connection of its own; everything that comes back until the connection ends.
async fn all(door: &Door, session: &str, method: &str, target: &str, body: &str) -> Result<String> {
    let mut raw = door.open().await?;
    let length = if body.is_empty() { String::new() } else { "Content-Length: 200000\r\n".to_owned() };
    let head = format!(
        "{method} /{target} HTTP/1.1\r\nHost: {RUDE}\r\nCookie: {session}\r\n{length}Connection: close\r\n\r\n"
    );
    raw.send(format!("{head}{body}").as_bytes()).await?;
    if !body.is_empty() {
        // The rest of the body never comes.
        raw.stirs(tunnel_tests::PATIENCE).await;
        raw.finish().await?;
    }
    Ok(String::from_utf8_lossy(&raw.rest().await?).into_owned())
}

fn status(answer: &str) -> u16 {
    answer.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// H10, T11, R24: whatever the answer, whoever asks next gets an answer of their own.
#[test]
fn a_bad_answer_concerns_whoever_asked_and_nobody_else() {
    run("origins", async |lab| {
        let access = ACCESS.to_owned() + "  - {name: rude, hostnames: [db.example.test], policies: [staff-only]}\n";
        let stage = Stage::with(&lab, &access, Canary::start().await?).await?;
        let rude = Rude::start().await?;
        let _connector = Connector::publish(&lab, RUDE, &rude.url).await?;
        let (ann, bob) =
            (stage.somebody(RUDE, STAFF).await?.session(RUDE)?, stage.somebody(RUDE, BOB).await?.session(RUDE)?);
        let door = stage.door(RUDE)?;
        for (method, name, _, statuses) in TABLE.iter() {
            let body = if *method == "POST" { "the beginning of a body" } else { "" };
            let answer = all(&door, &ann, method, name, body).await?;
            let got = status(&answer);
            // Of an answer that is cut something may have come.
            ensure!(statuses.contains(&got), "{got} for {name}: {answer}");
            ensure!(!answer.contains(STRAY), "{name}: {answer}");
            ensure!(
                !answer.to_lowercase().contains("__host-access=x") && !answer.to_lowercase().contains("x-y:"),
                "{name}: {answer}"
            );
            for n in 0..3 {
                let target = format!("{name}-own-{n}");
                let answer = all(&door, &bob, "GET", &target, "").await?;
                let is_own = status(&answer) == 200 && answer.ends_with(&format!("\r\n\r\nown {target}"));
                ensure!(is_own || status(&answer) == 502, "after {name} somebody else got {answer}");
                ensure!(
                    !answer.contains(STRAY) && !answer.contains("first"),
                    "after {name} somebody else got {answer}"
                );
            }
        }
        // The same three where the visitor would go on: nothing behind an answer that came before the end is a request.
        for (method, name, _, statuses) in TABLE.iter().filter(|(method, ..)| *method == "POST") {
            let mut raw = door.open().await?;
            let head = format!("{method} /{name} HTTP/1.1\r\nHost: {RUDE}\r\nCookie: {ann}\r\n");
            raw.send(format!("{head}Content-Length: 200000\r\n\r\nthe beginning").as_bytes()).await?;
            let answer = raw.answer(true).await?;
            ensure!(statuses.contains(&answer.status), "{} for {name}", answer.status);
            let smuggled = format!("GET /smuggled HTTP/1.1\r\nHost: {RUDE}\r\nCookie: {ann}\r\n\r\n");
            raw.send(smuggled.as_bytes()).await?;
            raw.finish().await?;
            let rest = raw.rest().await.with_context(|| format!("the connection goes on after {name}"))?;
            ensure!(rest.is_empty(), "after {name} came {:?}", String::from_utf8_lossy(&rest));
        }
        Ok(())
    });
}

/// S1c, R25: requests of two people on many connections at once share the connections to an origin, whichever HTTP that
/// speaks, and neither is ever taken for the other.
#[test]
fn two_people_at_once_are_never_taken_for_each_other() {
    run("interleaved", async |lab| {
        let requests = if long() { 10_000 } else { 300 };
        let who = |head: &Head| {
            let body = format!("{} {}", head.one("access-user-email"), head.target());
            (page(&body), After::KeepAlive)
        };
        let access = ACCESS.to_owned() + "  - {name: http2, hostnames: [db.example.test], policies: [staff-only]}\n";
        let stage = Stage::with(&lab, &access, Canary::answering(Arc::new(who)).await?).await?;
        let http2 = Canary::answering_http2(Arc::new(who)).await?;
        let _connector = http2.publish(&lab, HTTP_2).await?;
        let certs = stage.certs().await?;
        let mut visitors = [(STAFF, stage.somebody(WWW, STAFF).await?), (BOB, stage.somebody(WWW, BOB).await?)];
        for (host, canary, version) in [(WWW, &stage.www, "HTTP/1.1"), (HTTP_2, &http2, "HTTP/2")] {
            let mut people = Vec::new();
            for (email, visitor) in &mut visitors {
                visitor.browse(&format!("https://{host}/")).await?;
                people.push((*email, visitor.session(host)?));
            }
            canary.forget();
            let door = stage.door(host)?;
            let lanes = 8;
            let asking = (0..lanes).map(|lane| {
                let ((email, session), door) = (&people[lane % 2], &door);
                async move {
                    let mut raw = door.open().await?;
                    for n in 0..requests / lanes {
                        let (target, body) = (format!("/{email}/{lane}/{n}"), "b".repeat(n % 300));
                        let length = body.len();
                        let head = format!(
                            "POST {target} HTTP/1.1\r\nHost: {host}\r\nCookie: {session}\r\nContent-Length: {length}\r\n\r\n"
                        );
                        raw.send(format!("{head}{body}").as_bytes()).await?;
                        let answer = raw.answer(true).await?;
                        ensure!(answer.status == 200, "{} for {target}", answer.status);
                        ensure!(answer.text() == format!("{email} {target}"), "{target} was answered {}", answer.text());
                    }
                    anyhow::Ok(())
                }
            });
            try_join_all(asking).await?;
            let heads = canary.heads();
            assert_eq!(heads.len(), requests / lanes * lanes);
            let mut shared: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
            for head in &heads {
                assert!(head.line.ends_with(version), "{}", head.line);
                let email = head.target().split('/').nth(1).unwrap_or_default();
                certs.admits(head, email)?;
                shared.entry(head.connection).or_default().insert(email);
            }
            let of_both = shared.values().filter(|people| people.len() == 2).count();
            assert!(of_both > 0, "connections by {version} are shared, or this shows nothing: {shared:?}");
        }
        Ok(())
    });
}
