//! Invariant I1 against generated requests: whatever an origin sees matches exactly one decision to let it in, for that host,
//! path, method and person.
//!
//! A failure names its seed; `TUNNEL_TESTS_SEED` makes the same requests again.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use futures::future::try_join_all;
use tokio::time::timeout;
use tunnel_tests::{
    Canary, Certs, Connector, Door, Edge, EdgeConfig, Lab, Raw, Smtp, Visitor,
    canary::{After, Head},
    edge::LOGIN_HOST,
    http2::{Http2, Outcome},
    mutants::{ACCEPT, ACCESS, APP, Credentials, Field, Mark, Meaning, OPEN, Recipe, Streamed, WWW, follow_up, marks},
    process,
    raw::find,
    run,
    visitor::login,
    witness::{ANN, Audiences, BOSS, Witness, leads_home},
};

/// After how much silence a connection is ended by the visitor: what was sent may be half a request.
const QUIET: Duration = Duration::from_millis(500);
/// Requests of one connection between two looks at what arrived.
const ROUND: u64 = 25;
/// How long the long form may take at most.
const LONG_AT_MOST: Duration = Duration::from_secs(75 * 60);

/// What the origin answers: the target that it was asked for, or the switch to a WebSocket.
fn echo(head: &Head) -> (Vec<u8>, After) {
    if !head.all("upgrade").is_empty() {
        let switch = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
        );
        return (switch.into_bytes(), After::Echo);
    }
    let body = format!("<echo {}>", head.target());
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    let body = if head.method() == "HEAD" { String::new() } else { body };
    (format!("{answer}{body}").into_bytes(), After::KeepAlive)
}

struct Site {
    _smtp: Smtp,
    _edge: Edge,
    _connectors: Vec<Connector>,
    canary: Canary,
    ca: String,
    recipe: Recipe,
    witness: Mutex<Witness>,
    /// Requests that the visitor gave up: what is under way then may be overtaken.
    given_up: Mutex<HashSet<u64>>,
}

async fn site(lab: &Lab, seed: u64, canary: Canary) -> Result<Site> {
    let smtp = Smtp::start(lab).await?;
    let edge = Edge::start(lab, EdgeConfig::with_mail(&smtp)).await?;
    let made = edge.run(&["admin", "service-token", "create", "backup", "--json"]).await?.ok()?;
    let made: serde_json::Value = serde_json::from_str(&made)?;
    let token = |name: &str| made[name].as_str().map(str::to_owned).with_context(|| format!("no {name}: {made}"));
    let token = (token("id")?, token("secret")?);
    edge.apply(ACCESS).await?;
    let mut connectors = Vec::new();
    for host in [WWW, APP, OPEN] {
        connectors.push(canary.publish(lab, host).await?);
    }
    let ca = edge.ca().await?;
    let ann = login(&ca, &smtp, WWW, ANN).await?;
    let mut boss = login(&ca, &smtp, WWW, BOSS).await?;
    for url in [format!("https://{WWW}/admin"), format!("https://{APP}/"), format!("https://{WWW}/")] {
        let reply = boss.browse(&url).await?;
        ensure!(reply.status() == 200, "{} at {url}: {}", reply.status(), reply.text());
    }
    let cookies = [ann.session(WWW)?, boss.session(WWW)?, boss.session(APP)?];
    // What an origin is told of each application, learnt from requests that nothing was done to.
    let certs = Certs::fetch(&Visitor::new(&ca)?, LOGIN_HOST, &format!("https://{LOGIN_HOST}")).await?;
    let mut audiences = Vec::new();
    for url in [format!("https://{WWW}/"), format!("https://{WWW}/admin"), format!("https://{APP}/")] {
        canary.forget();
        boss.get(&url).await?;
        let claims = certs.admits(canary.wait_for_heads(1).await?.last().context("a head")?, BOSS)?;
        let audience = claims["aud"].as_str().or_else(|| claims["aud"][0].as_str());
        audiences.push(audience.with_context(|| format!("no audience: {claims}"))?.to_owned());
    }
    let [www, admin, app] = audiences.try_into().map_err(|all| anyhow::anyhow!("three audiences: {all:?}"))?;
    ensure!(www != admin && admin != app && app != www, "three applications");
    canary.take();
    let witness = Witness::new(certs, Audiences { www, admin, app }, &token.0);
    let recipe = Recipe { seed, credentials: Credentials { cookies, token } };
    let (witness, given_up) = (Mutex::new(witness), Mutex::default());
    Ok(Site { _smtp: smtp, _edge: edge, _connectors: connectors, canary, ca, recipe, witness, given_up })
}

impl Site {
    /// The door for the request of a number, by some server name.
    fn door(&self, number: u64) -> Result<Door> {
        Door::tls("127.0.0.1:443".parse()?, &self.ca, self.recipe.server_name(number), &["http/1.1"])
    }

    /// What an error is about, as it was sent by either HTTP.
    fn sent(&self, error: &anyhow::Error) -> String {
        let Some((_, number)) = marks(format!("{error:#}").as_bytes()).first().copied() else { return String::new() };
        let request = self.recipe.request(number);
        let shown = String::from_utf8_lossy(&request[..request.len().min(SHOWN)]).into_owned();
        let mut streamed = format!("{:?}", self.recipe.streamed(number));
        streamed.truncate(streamed.floor_char_boundary(SHOWN));
        format!("{number} was sent as {shown:?}, or as {streamed}")
    }

    /// Holds what arrived against what was sent. The requests of one visitor's connection arrive in their order.
    fn look(&self, lanes: u64) -> Result<()> {
        let (connections, heads) = self.canary.take();
        let mut witness = self.witness.lock().unwrap();
        for (connection, bytes) in connections.iter().filter(|(_, bytes)| !bytes.is_empty()) {
            witness.looks_at(*connection, bytes).map_err(|error| {
                let sent = self.sent(&error);
                error.context(sent)
            })?;
        }
        let order: Vec<Mark> = heads.iter().filter_map(|head| marks(head.line.as_bytes()).first().copied()).collect();
        let given_up = self.given_up.lock().unwrap();
        for lane in 0..lanes {
            let mine = |mark: &&Mark| mark.1 % lanes == lane && !given_up.contains(&mark.1);
            let numbers: Vec<_> = order.iter().filter(mine).map(|(kind, number)| (*number, *kind == 'f')).collect();
            ensure!(numbers.is_sorted(), "the requests of a connection arrive in another order: {numbers:?}");
        }
        Ok(())
    }
}

/// How many bytes of a request a failure shows.
const SHOWN: usize = 1_000;

/// What became of requests.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    sent: u64,
    arrived: u64,
    followed: u64,
}

/// One visitor's connections, one after the other: sends what is generated, each time with an honest request behind it.
async fn lane(site: &Site, numbers: impl Iterator<Item = u64>, open: &mut Option<Raw>) -> Result<u64> {
    let mut followed = 0;
    for number in numbers {
        let request = site.recipe.request(number);
        let follow = follow_up(number, &site.recipe.credentials);
        {
            let mut witness = site.witness.lock().unwrap();
            witness.expects(('c', number), Meaning::of(&request, &site.recipe.credentials));
            witness.expects(('f', number), Meaning::of(&continued(&request, &follow), &site.recipe.credentials));
        }
        let mut raw = match open.take() {
            Some(raw) => raw,
            None => site.door(number)?.open().await?,
        };
        let sent = [request.as_slice(), &follow].concat();
        raw.send(&sent).await?;
        let wanted = format!("<echo /follow?~f{number}~>");
        let mut got = Vec::new();
        let is_answered = loop {
            if let Some(at) = find(&got, wanted.as_bytes()) {
                let before = String::from_utf8_lossy(&got[..at]);
                let status = before.rsplit("HTTP/1.1 ").next().unwrap_or_default();
                ensure!(status.starts_with("200 "), "the honest request was answered by {status}");
                break true;
            }
            match timeout(QUIET, raw.read()).await {
                Ok(some) => match some? {
                    some if some.is_empty() => break false,
                    some => got.extend(some),
                },
                Err(_) => {
                    site.given_up.lock().unwrap().insert(number);
                    raw.finish().await?;
                    got.extend(raw.rest().await.context("the connection neither answers nor ends")?);
                    break find(&got, wanted.as_bytes()).is_some();
                }
            }
        };
        check_answers(&got, number).and_then(|()| leads_home(&got, &sent)).with_context(|| {
            format!(
                "{number}: {:?} was answered {:?}",
                String::from_utf8_lossy(&request),
                String::from_utf8_lossy(&got)
            )
        })?;
        followed += u64::from(is_answered);
        if is_answered && find(&got.to_ascii_lowercase(), b"connection: close").is_none() {
            *open = Some(raw);
        }
    }
    Ok(followed)
}

/// How what follows begins for whoever takes the request before it at its word: without its first letters where that one's body
/// is shorter than it says, and behind what is left over where it is longer. Either makes another method of its own.
fn continued(request: &[u8], follow: &[u8]) -> Vec<u8> {
    let Some(end) = find(request, b"\r\n\r\n") else { return follow.to_vec() };
    let (head, body) = (String::from_utf8_lossy(&request[..end]).to_ascii_lowercase(), &request[end + 4..]);
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    let is_chunked = head.contains("transfer-encoding");
    let missing = length.unwrap_or(0).saturating_sub(body.len());
    if !is_chunked && missing > 0 {
        return follow[if missing < "GET".len() { missing } else { 0 }..].to_vec();
    }
    let last = b"0\r\n\r\n";
    let from = if is_chunked { find(body, last).map_or(body.len(), |at| at + last.len()) } else { length.unwrap_or(0) };
    let left = body[from.min(body.len())..].trim_ascii_start();
    let in_method = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    if left.iter().all(in_method) { [left, follow].concat() } else { follow.to_vec() }
}

/// Nobody's answer but its own, each once, and in order.
fn check_answers(got: &[u8], number: u64) -> Result<()> {
    let text = String::from_utf8_lossy(got);
    let echoes: Vec<Mark> = text
        .split("<echo ")
        .skip(1)
        .filter_map(|echo| marks(echo.split('>').next()?.as_bytes()).first().copied())
        .collect();
    match echoes[..] {
        [] => Ok(()),
        [('c' | 'f', n)] if n == number => Ok(()),
        [('c', n), ('f', m)] if n == number && m == number => Ok(()),
        _ => bail!("answers of {echoes:?}"),
    }
}

/// The same over HTTP/2, where a connection outlives what is wrong with one stream, or ends.
async fn lane_h2(site: &Site, numbers: impl Iterator<Item = u64>, open: &mut Option<Http2>) -> Result<u64> {
    let mut followed = 0;
    for number in numbers {
        let made = site.recipe.streamed(number);
        let ann = site.recipe.credentials.cookies[0].as_str();
        let path = format!("/follow?~f{number}~");
        let honest =
            [(":method", "GET"), (":scheme", "https"), (":authority", WWW), (":path", path.as_str()), ("cookie", ann)];
        {
            let owned = honest.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let mut witness = site.witness.lock().unwrap();
            witness.expects(('c', number), Meaning::of_fields(&made.fields, &site.recipe.credentials));
            witness.expects(('f', number), Meaning::of_fields(&owned, &site.recipe.credentials));
        }
        let mut h2 = match open.take() {
            Some(h2) => h2,
            None => Http2::open(&site.door(number)?).await?,
        };
        let (outcome, honestly) = both(&mut h2, &made, &honest).await.with_context(|| format!("{number}: {made:?}"))?;
        ensure!(!(500..600).contains(&outcome.status()), "{outcome:?} for {made:?}");
        ensure!(matches!(honestly.status(), 0 | 200), "{honestly:?} beside {made:?}");
        if !made.body.is_empty() && (made.overtaken || outcome.status() != 200) {
            site.given_up.lock().unwrap().insert(number);
        }
        if honestly.status() == 200 {
            followed += 1;
            *open = Some(h2);
        }
    }
    Ok(followed)
}

fn borrowed(fields: &[Field]) -> Vec<(&str, &str)> {
    fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// What becomes of a request, and of the honest one beside it.
async fn both(h2: &mut Http2, made: &Streamed, honest: &[(&str, &str)]) -> Result<(Outcome, Outcome)> {
    let (fields, trailers) = (borrowed(&made.fields), borrowed(&made.trailers));
    let stream = h2.begin(&fields, made.body.is_empty()).await?;
    let mut honestly = None;
    for (n, piece) in made.body.iter().enumerate() {
        let is_last = n + 1 == made.body.len();
        h2.data(stream, piece, is_last && made.ends && trailers.is_empty()).await?;
        if n == 0 && made.overtaken {
            honestly = Some(h2.ask(honest, None).await?);
        }
    }
    let outcome = if made.ends {
        if !trailers.is_empty() {
            h2.trailers(stream, &trailers).await?;
        }
        h2.outcome(stream).await?
    } else {
        // NO_ERROR or CANCEL: neither is an end.
        let code: u32 = if made.body.len() > 2 { 0 } else { 8 };
        h2.send(3, 0, stream, &code.to_be_bytes()).await?;
        Outcome::Reset(code)
    };
    match honestly {
        Some(honestly) => Ok((outcome, honestly)),
        None => Ok((outcome, h2.ask(honest, None).await?)),
    }
}

async fn generated(site: Site, lanes: u64, rounds: u64) -> Result<()> {
    let site = &site;
    let began = Instant::now();
    let mut tally = Tally::default();
    let mut connections: Vec<(Option<Raw>, Option<Http2>)> = (0..lanes).map(|_| (None, None)).collect();
    for round in 0..rounds {
        ensure!(
            began.elapsed() < LONG_AT_MOST,
            "{} of {} requests were sent in {LONG_AT_MOST:?}",
            tally.sent,
            rounds * ROUND * lanes
        );
        let first = round * ROUND * lanes;
        let working = connections.iter_mut().zip(0..).map(move |((raw, h2), lane_number)| {
            let numbers = (0..ROUND).map(move |n| first + n * lanes + lane_number);
            async move {
                // Every fourth speaks HTTP/2.
                if lane_number % 4 == 3 { lane_h2(site, numbers, h2).await } else { lane(site, numbers, raw).await }
            }
        });
        tally.followed += try_join_all(working).await?.into_iter().sum::<u64>();
        tally.sent += ROUND * lanes;
        site.look(lanes)?;
        let mut witness = site.witness.lock().unwrap();
        tally.arrived += (first..first + ROUND * lanes).filter(|n| witness.has_seen(('c', *n))).count() as u64;
        // What was cut off may still come, but not for ever.
        let oldest = first.saturating_sub(40 * ROUND * lanes);
        witness.forget_before(oldest);
        site.given_up.lock().unwrap().retain(|number| *number >= oldest);
        drop(witness);
        if tally.sent.is_multiple_of(50 * ROUND * lanes) {
            println!("{tally:?}, {:.0} a second", tally.sent as f64 / began.elapsed().as_secs_f64());
        }
    }
    site.look(lanes)?;
    println!("{tally:?}, {:.0} a second", tally.sent as f64 / began.elapsed().as_secs_f64());
    // Some of everything, or the requests mean nothing.
    ensure!(tally.arrived * 8 > tally.sent && tally.arrived * 10 < tally.sent * 9, "{tally:?}");
    ensure!(tally.followed * 5 > tally.sent, "{tally:?}");
    Ok(())
}

/// A seed: the one that was asked for, or any.
fn seed() -> u64 {
    let given = std::env::var("TUNNEL_TESTS_SEED").ok().map(|seed| seed.parse().unwrap());
    let seed: u64 = given.unwrap_or_else(|| {
        let mut bytes = [0; 8];
        aws_lc_rs::rand::fill(&mut bytes).unwrap();
        u64::from_le_bytes(bytes) >> 1
    });
    println!("TUNNEL_TESTS_SEED={seed}");
    seed
}

/// Lanes, and requests of all of them.
fn extent(short: u64, long: u64) -> (u64, u64) {
    if process::long() { (16, long) } else { (4, short) }
}

/// I1, H1 to H10, H12, H15, R01 to R04, R07, R15, R20, R21, R24, R31.
#[test]
fn whatever_an_origin_sees_was_let_in_for_that_host_path_method_and_person() {
    let ((lanes, requests), seed) = (extent(2_400, 1_000_000), seed());
    run("generated", async move |lab| {
        let site = site(&lab, seed, Canary::answering(Arc::new(echo)).await?).await?;
        let done = generated(site, lanes, requests / (ROUND * lanes)).await;
        done.with_context(|| format!("again by TUNNEL_TESTS_SEED={seed}"))
    });
}

/// The same where the origin speaks HTTP/2, to which there is another way: I1, H1 to H7, H9, H10, H15.
#[test]
fn whatever_an_origin_sees_by_http_2_was_let_in_in_the_same_way() {
    let ((lanes, requests), seed) = (extent(800, 250_000), seed());
    run("generated-h2", async move |lab| {
        let mut site = site(&lab, seed, Canary::answering_http2(Arc::new(echo)).await?).await?;
        site.witness = Mutex::new(site.witness.into_inner().unwrap().of_http2());
        let done = generated(site, lanes, requests / (ROUND * lanes)).await;
        done.with_context(|| format!("again by TUNNEL_TESTS_SEED={seed}"))
    });
}
