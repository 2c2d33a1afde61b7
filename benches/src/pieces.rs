//! The hot pieces of the path, one by one: `cargo bench -- piece` times them, and the suite counts their instructions.
//!
//! A piece is what one request, one stream or one frame costs in one place, with everything else made before. The last one is
//! the whole way of a request, all roles on one thread.

use std::{hint::black_box, rc::Rc, sync::Arc};

use anyhow::{Context, Result, ensure};
use futures::FutureExt as _;
use http::{HeaderMap, Request, Version, request::Parts};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::Runtime,
};
use tunnel_auth::{Algorithm, AssertionClaims, Jwks, SigningKey};
use tunnel_edge::{
    Lang, Reference, State, Visit,
    benching::{self, Heads},
    fuzzing,
    gate::{self, Asked, Permit, Presented, Turnaway},
    request,
};
use tunnel_origin::{ASSERTION_HEADER, Verifier};
use tunnel_policy::{
    Action, Application, Attributes, Circumstances, Declarations, Policy, PolicySet, Rules, Selector, Subject, Target,
};
use tunnel_proto::{
    AppId, Hostname, Identity, InstanceId, LinkId, PersonId, Revision, RuleId, UnixTime,
    link::{self, Connected, Settings, Welcomed},
    message::{Accepted, Hello, Limits, Message, Open, Role},
    version::Version as LinkVersion,
};

use crate::{Site, Visitor, plan::SMALL};

/// One piece. What it needs is made before, so that running it does nothing else.
pub struct Piece {
    /// What it is called, also in `instructions.toml`.
    pub name: &'static str,
    /// How often it is run at once where its instructions are counted: few where one takes long.
    pub times: u64,
    run: Box<dyn FnMut()>,
}

impl Piece {
    fn new(name: &'static str, times: u64, run: impl FnMut() + 'static) -> Self {
        Self { name, times, run: Box::new(run) }
    }

    /// Runs it once.
    pub fn run(&mut self) {
        (self.run)();
    }

    /// Runs it so many times. Whoever counts instructions counts those of this function, which therefore stands by itself.
    #[inline(never)]
    pub fn counted(&mut self, times: u64) {
        for _ in 0..times {
            (self.run)();
        }
    }
}

/// What they are called, in their order.
pub const NAMES: [&str; 17] = [
    "frame: Open written",
    "frame: Open read",
    "frame: Accepted written",
    "frame: Accepted read",
    "policy decision",
    "policy decision, 1000 applications",
    "assertion signed",
    "assertion checked",
    "head followed",
    "head checked",
    "gate",
    "head to the service",
    "visitor's fields kept",
    "head of the answer",
    "stream of a link, both ends",
    "64 KiB on a link, both ends",
    "request, all roles",
];

/// All of them; those of a link run on `links`, a runtime of one thread.
///
/// # Errors
/// A part of the path does not start.
pub fn all(links: Runtime) -> Result<Vec<Piece>> {
    let (site, runtime) = Site::on_one_thread()?;
    let (site, links) = (Rc::new(site), Arc::new(links));
    let mut pieces = frames()?;
    pieces.extend([decision("policy decision", 1)?, decision("policy decision, 1000 applications", 1000)?]);
    pieces.extend(assertions()?);
    pieces.extend(heads(&site)?);
    pieces.push(stream(&links)?);
    pieces.push(bulk(&links)?);
    pieces.push(request(&site, &runtime)?);
    ensure!(pieces.iter().map(|piece| piece.name).eq(NAMES), "not the pieces that are listed");
    Ok(pieces)
}

/// What every stream begins with. What is below these is the multiplexer's, and costs what [`stream`] and [`bulk`] do.
fn frames() -> Result<Vec<Piece>> {
    let open = Message::Open(Open::new(Revision(3), RuleId(1), [192, 0, 2, 7].into(), [5; 16]));
    let accepted = Message::Accepted(Accepted::default());
    let (opened, answered) = (open.encode()?, accepted.encode()?);
    let parse = |bytes: &[u8]| Message::parse(black_box(bytes), LinkVersion::V1).unwrap();
    Ok(vec![
        Piece::new("frame: Open written", 1000, move || drop(black_box(&open).encode().unwrap())),
        Piece::new("frame: Open read", 1000, move || drop(parse(&opened))),
        Piece::new("frame: Accepted written", 1000, move || drop(black_box(&accepted).encode().unwrap())),
        Piece::new("frame: Accepted read", 1000, move || drop(parse(&answered))),
    ])
}

/// Which applications a request falls under, and whether somebody is admitted, with so many of them declared. Not remembered.
fn decision(name: &'static str, applications: u16) -> Result<Piece> {
    let staff = Policy {
        name: "staff".parse()?,
        action: Action::Allow,
        rules: Rules { include: vec![Selector::EmailDomain("example.test".parse()?)], ..Rules::default() },
        session_duration: None,
        destinations: Vec::new(),
    };
    let application = |number: u16| {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&number.to_be_bytes());
        let target = Target { host: format!("app-{number}.example.test").parse()?, path: None };
        let policies = vec![staff.name.clone()];
        anyhow::Ok(Application::new(AppId::from_bytes(id), format!("app-{number}").parse()?, vec![target], policies))
    };
    let applications: Vec<_> = (0..applications).map(application).collect::<Result<_>>()?;
    let policies = [staff.clone()];
    let declared = Declarations { policies: &policies, applications: &applications, ..Declarations::default() };
    let set = PolicySet::new(declared)?;
    let host = Hostname::parse(&format!("app-{}.example.test", applications.len() / 2))?;
    let (identity, attributes) = (somebody()?, Attributes::default());
    Ok(Piece::new(name, 200, move || {
        let here = Circumstances { source: [203, 0, 113, 9].into(), country: None, now: NOW };
        let subject = Subject::person(&identity, &attributes, here);
        let matched = set.applications_for(black_box(&host), "/assets/app.js");
        let (_, all) = matched.required().unwrap();
        all.for_each(|app| assert!(set.decide(app, &subject).is_allow()));
    }))
}

/// A time of day for everything that is judged by one.
const NOW: UnixTime = UnixTime(1_800_000_000);

fn somebody() -> Result<Identity> {
    Ok(Identity {
        person: PersonId::from_random([1; 16]),
        email: "ann@example.test".parse()?,
        method: "pin".parse()?,
        authenticated: NOW,
    })
}

/// What the edge says of somebody, and what a service makes of it.
fn assertions() -> Result<Vec<Piece>> {
    const ISSUER: &str = "https://access.example.test";
    let app = AppId::from_bytes([1; 32]);
    let (key, _) = SigningKey::generate(Algorithm::Es256)?;
    let now = UnixTime(std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH)?.as_secs());
    let claims =
        AssertionClaims::new(ISSUER, app, PersonId::from_random([1; 16]), "ann@example.test".parse()?, "n", now);
    let verifier = Verifier::with_keys(ISSUER, [app], Jwks::new([key.public()]));
    let mut headers = HeaderMap::new();
    headers.insert(ASSERTION_HEADER, key.sign(&claims)?.try_into()?);
    Ok(vec![
        Piece::new("assertion signed", 20, move || drop(key.sign(black_box(&claims)).unwrap())),
        Piece::new("assertion checked", 20, move || {
            verifier.sender(black_box(&headers)).now_or_never().unwrap().unwrap();
        }),
    ])
}

/// What a browser says with each request, without its cookie and host.
const BROWSER: &str = "\
Connection: keep-alive\r
sec-ch-ua: \"Chromium\";v=\"142\", \"Not_A Brand\";v=\"99\"\r
sec-ch-ua-mobile: ?0\r
sec-ch-ua-platform: \"Linux\"\r
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36\r
Accept: image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8\r
Sec-Fetch-Site: same-origin\r
Sec-Fetch-Mode: no-cors\r
Sec-Fetch-Dest: image\r
Referer: https://bench.localhost/wiki/Main_Page\r
Accept-Encoding: gzip, deflate, br, zstd\r
Accept-Language: en-GB,en;q=0.9,de;q=0.8,ja;q=0.7\r
If-None-Match: \"5f3c-1a2b3c4d\"\r
";

/// What becomes of a head at the edge, from its bytes to what the service sees.
fn heads(site: &Rc<Site>) -> Result<Vec<Piece>> {
    let cookie = format!("theme=dark; {}; cart=3f2a77c1-19aa-4f9e", site.cookie);
    let head =
        format!("GET /assets/logo.png?v=17 HTTP/1.1\r\nHost: {}\r\n{BROWSER}Cookie: {cookie}\r\n\r\n", Site::HOST);
    let parts = Rc::new(parsed(&head)?);
    let stage = Rc::new(Stage::new(site.clone(), parts.clone())?);
    let mut following = Heads::new(head.into_bytes());
    let (checked, kept, admitted, sent) = (parts.clone(), parts, stage.clone(), stage);
    let permit = sent.admit().ok().context("somebody who is admitted")?;
    let mut answer = HeaderMap::new();
    for (name, value) in [
        ("server", "nginx"),
        ("date", "Tue, 01 Sep 2026 17:59:00 GMT"),
        ("content-type", "image/png"),
        ("content-length", "1024"),
        ("connection", "keep-alive"),
        ("etag", "\"5f3c-1a2b3c4d\""),
        ("cache-control", "max-age=600"),
        ("accept-ranges", "bytes"),
    ] {
        answer.insert(name, value.try_into()?);
    }
    Ok(vec![
        Piece::new("head followed", 200, move || assert!(following.read() > 0)),
        Piece::new("head checked", 200, move || drop(request::check(black_box(&checked), true).unwrap())),
        Piece::new("gate", 200, move || assert!(admitted.admit().is_ok())),
        Piece::new("head to the service", 200, move || {
            assert!(!benching::outgoing(sent.state(), &sent.visit, &permit, &sent.parts).is_empty());
        }),
        Piece::new("visitor's fields kept", 200, move || drop(fuzzing::to_origin(black_box(&kept.headers)))),
        Piece::new("head of the answer", 200, move || drop(fuzzing::to_visitor(black_box(&answer)))),
    ])
}

/// A head as the HTTP library has it.
fn parsed(head: &str) -> Result<Parts> {
    let mut lines = head.trim_end().split("\r\n");
    let target = lines.next().and_then(|line| line.split(' ').nth(1)).context("a target")?;
    let mut request = Request::builder().uri(target).version(Version::HTTP_11);
    for line in lines {
        let (name, value) = line.split_once(": ").context("a field")?;
        request = request.header(name, value);
    }
    Ok(request.body(())?.into_parts().0)
}

/// A request before the gate.
struct Stage {
    site: Rc<Site>,
    parts: Rc<Parts>,
    visit: Visit,
}

impl Stage {
    fn new(site: Rc<Site>, parts: Rc<Parts>) -> Result<Self> {
        let visit = Visit {
            host: Hostname::parse(Site::HOST)?,
            https: true,
            port: None,
            source: [203, 0, 113, 9].into(),
            country: None,
            now: site.state().now(),
            reference: Reference::from_random([7; 6]),
            lang: Lang::En,
        };
        Ok(Self { site, parts, visit })
    }

    fn state(&self) -> &Arc<State> {
        self.site.state()
    }

    fn admit(&self) -> Result<Permit, Turnaway> {
        let snapshot = self.state().snapshot.load_full();
        let asked = Asked {
            visit: &self.visit,
            path: self.parts.uri.path(),
            headers: &self.parts.headers,
            credential: &Presented::Cookies,
            websocket: false,
            upgrade: None,
        };
        gate::admit(self.state().gate(&snapshot), asked)
    }
}

/// The two ends of a link that is up, with nothing between them but memory.
fn link(runtime: &Runtime) -> Result<(Welcomed, Connected)> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    runtime.block_on(async {
        let accepting = async {
            let greeting = link::accept(tokio::io::BufReader::new(near), Role::Connector, Settings::for_edge()).await?;
            anyhow::Ok(greeting.welcome(LinkId::from_random([7; 16]), Limits::default(), Vec::new()).await?)
        };
        let hello = Hello::new(Role::Connector, "bench", InstanceId::from_random([3; 16]));
        let (edge, connector) =
            tokio::join!(accepting, link::connect(tokio::io::BufReader::new(far), hello, Settings::default()));
        Ok((edge?, connector?))
    })
}

/// What a stream is opened for.
pub(crate) fn opening() -> Open {
    Open::new(Revision(1), RuleId(0), [192, 0, 2, 7].into(), [5; 16])
}

/// A link ends for more than 20,000 streams in a second, and a fast machine opens many more one after the other: after so many the
/// next link has its turn.
const STREAMS: usize = 10_000;
/// So many links take turns.
const LINKS: usize = 32;

/// A stream: opened, accepted, a byte there and back, ended.
fn stream(runtime: &Arc<Runtime>) -> Result<Piece> {
    let mut links = (0..LINKS).map(|_| link(runtime)).collect::<Result<Vec<_>>>()?;
    let (runtime, mut opened) = (runtime.clone(), 0_usize);
    Ok(Piece::new("stream of a link, both ends", 50, move || {
        let (edge, connector) = &mut links[opened / STREAMS % LINKS];
        opened += 1;
        let serving = async {
            let mut stream = connector.incoming.next().await.unwrap().accept().await.unwrap();
            let byte = stream.read_u8().await.unwrap();
            stream.write_u8(byte).await.unwrap();
            stream.shutdown().await.unwrap();
            assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
        };
        let asking = async {
            let mut stream = edge.link.open(opening()).await.unwrap();
            stream.write_u8(7).await.unwrap();
            stream.accepted().await.unwrap();
            assert_eq!(stream.read_u8().await.unwrap(), 7);
            stream.shutdown().await.unwrap();
            assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
        };
        runtime.block_on(async { tokio::join!(serving, asking) });
    }))
}

/// Bytes on a stream that stays open, from the service's end to the edge's.
fn bulk(runtime: &Arc<Runtime>) -> Result<Piece> {
    let (edge, mut connector) = link(runtime)?;
    let runtime = runtime.clone();
    let (mut from, mut to) = runtime.block_on(async {
        let (opened, pending) = tokio::join!(edge.link.open(opening()), connector.incoming.next());
        let (mut to, from) = (opened?, pending.context("a stream")?.accept().await?);
        to.accepted().await?;
        anyhow::Ok((from, to))
    })?;
    let (sent, mut received) = (vec![b'x'; 64 * 1024], vec![0; 64 * 1024]);
    Ok(Piece::new("64 KiB on a link, both ends", 50, move || {
        let _up = (&edge, &connector);
        let carrying = async {
            let sending = async {
                from.write_all(&sent).await?;
                from.flush().await
            };
            tokio::join!(sending, to.read_exact(&mut received))
        };
        let (sending, receiving) = runtime.block_on(carrying);
        sending.unwrap();
        receiving.unwrap();
    }))
}

/// A request of 1 KiB on a connection that is kept, and its answer: visitor, edge, connector and web server.
fn request(site: &Rc<Site>, runtime: &Arc<Runtime>) -> Result<Piece> {
    let mut visitor = runtime.block_on(Visitor::through(site, Version::HTTP_11, Some(&site.cookie)))?;
    let (runtime, site) = (runtime.clone(), site.clone());
    Ok(Piece::new("request, all roles", 20, move || {
        let _running = &site;
        runtime.block_on(visitor.download(SMALL)).unwrap();
    }))
}
