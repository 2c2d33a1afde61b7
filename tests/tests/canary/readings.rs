//! What the edge lets through means the same to the servers that people have as it meant to the edge: host, path, method,
//! body and the end of it.

use anyhow::{Context, Result, bail, ensure};
use futures::future::try_join_all;
use tunnel_tests::{
    Connector, Door, Edge, EdgeConfig, Raw, Smtp, Visitor,
    mutants::{
        Dice,
        words::{PARTS, SEPARATORS, SPELLINGS},
    },
    process::long,
    readers::{Reader, Reading},
    run,
    visitor::login,
};

use super::catalogue::SERVED;

const ACCESS: &str = "\
login_methods:
  - {name: pin, type: one_time_pin}
policies:
  - {name: staff, action: allow, include: [{email_domain: example.test}]}
  - {name: boss, action: allow, include: [{email: boss@example.test}]}
applications:
  - {name: all, hostnames: [www.example.test, app.example.test, db.example.test, rdp.example.test], policies: [staff]}
  - name: admin
    hostnames: [www.example.test/admin, app.example.test/admin, db.example.test/admin, rdp.example.test/admin]
    policies: [boss]
";
/// A host for each server.
const HOSTS: [&str; 4] = ["www.example.test", "app.example.test", "db.example.test", "rdp.example.test"];
const ANN: &str = "ann@example.test";
const BOSS: &str = "boss@example.test";

/// What became of a request.
#[derive(Debug)]
enum Outcome {
    /// The edge turned it away.
    Away,
    /// The server would not have it.
    Refused,
    /// The server read it.
    Read(Reading),
}

/// A visitor of one server, by one connection at a time.
struct Lane<'a> {
    reader: &'a Reader,
    host: &'static str,
    door: Door,
    open: Option<Raw>,
    /// How many requests the server had read when it was last heard of.
    answered: Option<u64>,
}

impl Lane<'_> {
    async fn ask(&mut self, request: &str) -> Result<Outcome> {
        let answer = loop {
            let (mut raw, is_kept) = match self.open.take() {
                Some(raw) => (raw, true),
                None => (self.door.open().await?, false),
            };
            raw.send(request.as_bytes()).await?;
            let answer = raw.answer(true).await?;
            // One that was kept may have been closed after what came before.
            ensure!(answer.status != 0 || is_kept, "no answer");
            if answer.status != 0 {
                self.open = Some(raw).filter(|_| answer.header("connection") != Some("close"));
                break answer;
            }
        };
        let is_the_servers = answer.header("server").is_some_and(|server| server.starts_with(self.reader.server));
        match answer.status {
            200 if is_the_servers => {
                let reading: Reading = serde_json::from_str(&answer.text()).with_context(|| answer.text())?;
                ensure!(reading.host == [self.host], "it was for another host: {reading:?}");
                // What one request leaves behind, another server would take for the next.
                let expected = self.answered.map_or(reading.answered, |before| before + 1);
                ensure!(reading.answered == expected, "{reading:?} after {:?} requests", self.answered);
                self.answered = Some(reading.answered);
                Ok(Outcome::Read(reading))
            }
            400 | 403 | 404 | 405 | 501 if is_the_servers => Ok(Outcome::Refused),
            300..=499 if !is_the_servers => Ok(Outcome::Away),
            _ => bail!("{answer:?}"),
        }
    }

    async fn get(&mut self, path: &str, session: &str) -> Result<Outcome> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nCookie: {session}\r\n\r\n", self.host);
        let outcome = self.ask(&request).await.with_context(|| format!("{} for {path}", self.reader.server))?;
        if let Outcome::Read(reading) = &outcome {
            let as_sent = (reading.method.as_str(), reading.target.as_str(), reading.body.as_str());
            ensure!(as_sent == ("GET", path, ""), "{path} is read as {reading:?}");
        }
        Ok(outcome)
    }

    /// What the edge serves to the letter: one request, and the next one is its own.
    async fn served(&mut self, ann: &str) -> Result<usize> {
        let mut read = 0;
        for (line, more, after, body) in SERVED {
            let line = line.replace("WWW.example.test", self.host).replace("www.example.test", self.host);
            let request = format!("{line}\r\nHost: {}\r\nCookie: {ann}\r\n{more}\r\n{after}", self.host);
            let mut words = line.trim_start().split(' ');
            let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let origin = target.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..]));
            let context = || format!("{}: {request:?}", self.reader.server);
            let (context, target) = (context(), origin.unwrap_or(target));
            self.open = None;
            match self.ask(&request).await.with_context(|| context.clone())? {
                Outcome::Read(reading) => {
                    let as_sent = (reading.method.as_str(), reading.target.as_str(), reading.body.as_str());
                    ensure!(as_sent == (method, target, *body), "{context} is read as {reading:?}");
                    read += 1;
                }
                // Nobody has to know every method.
                Outcome::Refused => ensure!(body.is_empty(), "{context} is refused"),
                Outcome::Away => bail!("{context} did not arrive"),
            }
            let next = self.get("/follow", ann).await.with_context(|| format!("after {context}"))?;
            ensure!(matches!(next, Outcome::Read(_)), "{next:?} after {context}");
        }
        Ok(read)
    }

    /// Spellings of a path: the boss's all arrive, and of Ann's none that this very server reads as the boss's.
    async fn spellings(&mut self, ann: &str, boss: &str) -> Result<()> {
        let (mut arrived, mut read_as_admin, mut away) = (0, 0, 0);
        for path in SPELLINGS {
            match self.get(path, boss).await? {
                Outcome::Away => bail!("{path} is the boss's at {}", self.reader.server),
                Outcome::Refused => {}
                Outcome::Read(reading) => {
                    arrived += 1;
                    read_as_admin += usize::from(is_admin(&reading));
                }
            }
            match self.get(path, ann).await? {
                Outcome::Away => away += 1,
                Outcome::Refused => {}
                Outcome::Read(reading) => {
                    ensure!(!is_admin(&reading), "{} reads Ann's {path} as {reading:?}", self.reader.server);
                }
            }
        }
        let counts = (arrived, read_as_admin, away);
        ensure!(arrived > 30 && read_as_admin > 5 && away > 30, "{}: {counts:?}", self.reader.server);
        let (paths, mut arrived) = (if long() { 5000 } else { 60 }, 0);
        for number in 0..paths {
            let path = path(&mut Dice::new(7, number));
            if let Outcome::Read(reading) = self.get(&path, ann).await? {
                ensure!(!is_admin(&reading), "{} reads Ann's {path} as the boss's: {reading:?}", self.reader.server);
                arrived += 1;
            }
        }
        ensure!(arrived > paths / 30, "{} of {paths} paths arrived at {}", arrived, self.reader.server);
        Ok(())
    }
}

fn is_admin(reading: &Reading) -> bool {
    let path = reading.path.as_deref().unwrap_or_default().to_lowercase();
    path == "/admin" || path.starts_with("/admin/")
}

fn path(dice: &mut Dice) -> String {
    let mut path = String::new();
    for _ in 0..=dice.below(4) {
        path += dice.of(SEPARATORS);
        path += dice.of(PARTS);
    }
    if path.starts_with('/') { path } else { format!("/{path}") }
}

/// The sessions of a visitor at every host, once each of these paths was visited.
async fn sessions(mut visitor: Visitor, paths: &[&str]) -> Result<[String; 4]> {
    for host in HOSTS {
        for path in paths {
            let reply = visitor.browse(&format!("https://{host}{path}")).await?;
            ensure!(reply.status() == 200, "{} at {}", reply.status(), reply.url);
        }
    }
    let [www, app, db, rdp] = HOSTS.map(|host| visitor.session(host));
    Ok([www?, app?, db?, rdp?])
}

/// H1, H2, H4: nginx, Apache, Node.js and Python.
#[test]
fn real_servers_read_what_is_let_through_as_the_edge_did() {
    run("readings", async |lab| {
        let readers = Reader::all(&lab).await?;
        let smtp = Smtp::start(&lab).await?;
        let edge = Edge::with_access(&lab, EdgeConfig::with_mail(&smtp), ACCESS).await?;
        let mut connectors = Vec::new();
        for (host, reader) in HOSTS.into_iter().zip(&readers) {
            connectors.push(Connector::publish(&lab, host, &reader.url).await?);
        }
        let ca = edge.ca().await?;
        let ann = sessions(login(&ca, &smtp, HOSTS[0], ANN).await?, &["/"]).await?;
        let boss = sessions(login(&ca, &smtp, HOSTS[0], BOSS).await?, &["/", "/admin"]).await?;
        let lanes = readers.iter().zip(HOSTS).zip(ann.iter().zip(&boss)).map(|((reader, host), (ann, boss))| {
            let ca = &ca;
            async move {
                let door = Door::tls("127.0.0.1:443".parse()?, ca, host, &["http/1.1"])?;
                let mut lane = Lane { reader, host, door, open: None, answered: None };
                let read = lane.served(ann).await?;
                // All but methods that a server does not know.
                ensure!(read + 2 >= SERVED.len(), "{} read {read} of {}", reader.server, SERVED.len());
                lane.spellings(ann, boss).await
            }
        });
        try_join_all(lanes).await?;
        Ok(())
    });
}
