//! A certificate authority of a test, in its process: it does as RFC 8555 says, but for what it is told to answer instead.

use std::{
    collections::{HashMap, VecDeque},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use data_encoding::BASE64URL_NOPAD;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer, KeyPair, SanType,
};
use rustls::pki_types::CertificateSigningRequestDer;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;
use tunnel_proto::{Hostname, UnixTime, identity::Ca};

use crate::{Clock, tls};

/// How long what it signs is good.
const LIFE: Duration = Duration::from_secs(90 * 24 * 3600);

/// A running authority.
pub(super) struct Authority {
    directory: String,
    ca_file: PathBuf,
    desk: Arc<Mutex<Desk>>,
    _serving: AbortOnDropHandle<()>,
}

/// An answer: status, headers, body.
pub(super) type Reply = (u16, Vec<(&'static str, String)>, String);

/// What it knows.
pub(super) struct Desk {
    base: String,
    issuer: Issuer<'static, KeyPair>,
    root: String,
    /// The paths that were asked for.
    pub(super) asked: Vec<String>,
    /// What is answered at a path instead, each once.
    pub(super) instead: HashMap<&'static str, VecDeque<Reply>>,
    /// What accounts were asked for with.
    pub(super) accounts: Vec<Value>,
    /// Whether it finds what it looks for.
    pub(super) finds: Finds,
    /// A name that it asks about in the place of those that were ordered.
    pub(super) asks_about: Option<&'static str>,
    /// How many more authorizations it has than names.
    pub(super) too_many: usize,
    /// A name that is not in what it signs, whoever ordered it.
    pub(super) leaves_out: Option<&'static str>,
    names: Vec<String>,
    is_tried: bool,
    chain: Option<String>,
}

/// What it finds where it looks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Finds {
    What,
    SomethingElse,
    /// It never comes to an end.
    Nothing,
}

impl Authority {
    /// Starts it; `dir` is for its files.
    pub(super) async fn start(dir: &Path) -> Self {
        let now = Clock::System.now();
        let host = Hostname::parse("localhost").unwrap();
        let ca = Ca::generate(&host, now).unwrap();
        let ca_file = dir.join("authority.pem");
        std::fs::write(&ca_file, ca.certificate_pem()).unwrap();
        let certificate = tls::Fixed::new(&ca, &host, now).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(tls::for_visitors(Arc::new(certificate)).unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let directory = format!("{base}/dir");
        let desk = Arc::new(Mutex::new(Desk::new(base)));
        let serving = AbortOnDropHandle::new(tokio::spawn(serve(listener, acceptor, desk.clone())));
        Self { directory, ca_file, desk, _serving: serving }
    }

    /// The lines of `edge.toml` from `[tls]` on.
    pub(super) fn toml(&self, rest: &str) -> String {
        let (directory, ca_file) = (&self.directory, &self.ca_file);
        format!(
            "[tls]\nmode = \"acme\"\nemail = \"admin@example.test\"\n[tls.acme]\ndirectory = {directory:?}\n\
             ca_file = {ca_file:?}\n{rest}"
        )
    }

    pub(super) fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap()
    }

    /// How often somebody asked for a path.
    pub(super) fn asked(&self, path: &str) -> usize {
        self.desk().asked.iter().filter(|asked| *asked == path).count()
    }

    /// Answers at a path instead, once more than it was told before.
    pub(super) fn instead(&self, path: &'static str, status: u16, retry_after: Option<&str>, kind: &str) {
        let headers = retry_after.map(|value| ("Retry-After", value.to_owned())).into_iter().collect();
        let kind = format!("urn:ietf:params:acme:error:{kind}");
        let body = json!({ "type": kind, "detail": "as the test wants it" }).to_string();
        self.desk().instead.entry(path).or_default().push_back((status, headers, body));
    }
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, desk: Arc<Mutex<Desk>>) {
    // They end with it.
    let mut answering = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, desk) = (tls.clone(), desk.clone());
        answering.spawn(async move { answer(stream, tls, &desk).await });
    }
}

/// Answers one request. `None` when there was none.
async fn answer(stream: TcpStream, tls: TlsAcceptor, desk: &Mutex<Desk>) -> Option<()> {
    let mut stream = tls.accept(stream).await.ok()?;
    let mut bytes: Vec<u8> = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let mut body = bytes.split_off(end);
    let head = String::from_utf8(bytes).ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") { value.trim().parse::<usize>().ok() } else { None }
    });
    while body.len() < length.unwrap_or(0) {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    let path = head.split(' ').nth(1)?;
    let (status, headers, content) = desk.lock().unwrap().reply(path, &body);
    let content = if head.starts_with("HEAD ") { String::new() } else { content };
    let mut answer = format!("HTTP/1.1 {status} OK\r\nConnection: close\r\nReplay-Nonce: bm9uY2U\r\n");
    for (name, value) in headers {
        answer += &format!("{name}: {value}\r\n");
    }
    answer += &format!("Content-Length: {}\r\n\r\n{content}", content.len());
    stream.write_all(answer.as_bytes()).await.ok()?;
    stream.shutdown().await.ok()
}

impl Desk {
    fn new(base: String) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority of a test");
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().pem();
        Self {
            base,
            issuer: Issuer::new(params, key),
            root,
            asked: Vec::new(),
            instead: HashMap::new(),
            accounts: Vec::new(),
            finds: Finds::What,
            asks_about: None,
            too_many: 0,
            leaves_out: None,
            names: Vec::new(),
            is_tried: false,
            chain: None,
        }
    }

    fn reply(&mut self, path: &str, body: &[u8]) -> Reply {
        self.asked.push(path.to_owned());
        if let Some(reply) = self.instead.get_mut(path).and_then(VecDeque::pop_front) {
            return reply;
        }
        let at = |place: &str| format!("{}{place}", self.base);
        let ok = |body: Value| (200, Vec::new(), body.to_string());
        match path {
            "/dir" => ok(json!({
                "newNonce": at("/nonce"), "newAccount": at("/account"), "newOrder": at("/order"),
                "revokeCert": at("/revoke"), "keyChange": at("/change"),
            })),
            "/nonce" => (200, Vec::new(), String::new()),
            "/account" => {
                let location = vec![("Location", at("/account/1"))];
                self.accounts.push(payload(body));
                (201, location, json!({ "status": "valid" }).to_string())
            }
            "/account/1" => ok(json!({ "status": "valid" })),
            "/order" => {
                let location = vec![("Location", at("/order/1"))];
                let asked = payload(body);
                let names = asked["identifiers"].as_array().unwrap().iter();
                self.names = names.map(|name| name["value"].as_str().unwrap().to_owned()).collect();
                (self.is_tried, self.chain) = (false, None);
                (201, location, self.order().to_string())
            }
            "/order/1" => ok(self.order()),
            "/challenge" => {
                self.is_tried = true;
                ok(self.challenge("http-01", false))
            }
            "/finalize" => {
                let request = payload(body)["csr"].as_str().unwrap().to_owned();
                self.chain = Some(self.sign(&request));
                ok(self.order())
            }
            "/certificate" => (200, Vec::new(), self.chain.clone().unwrap_or_default()),
            other => match other.strip_prefix("/authorization/").and_then(|number| number.parse().ok()) {
                Some(number) => ok(self.authorization(number)),
                None => (404, Vec::new(), json!({ "detail": "there is nothing here" }).to_string()),
            },
        }
    }

    fn order(&self) -> Value {
        let status = match (&self.chain, self.is_tried, self.finds) {
            (Some(_), ..) => "valid",
            (None, true, Finds::What) => "ready",
            (None, true, Finds::SomethingElse) => "invalid",
            (None, ..) => "pending",
        };
        let authorizations = 0..self.names.len() + self.too_many;
        let authorizations: Vec<_> =
            authorizations.map(|number| format!("{}/authorization/{number}", self.base)).collect();
        let certificate = self.chain.as_ref().map(|_| format!("{}/certificate", self.base));
        json!({
            "status": status, "authorizations": authorizations, "finalize": format!("{}/finalize", self.base),
            "certificate": certificate,
        })
    }

    fn authorization(&self, number: usize) -> Value {
        let name = self.names.get(number).map_or("", String::as_str);
        let base = name.strip_prefix("*.").unwrap_or(name);
        let failed = self.is_tried && self.finds == Finds::SomethingElse;
        let challenges: Vec<_> =
            ["http-01", "tls-alpn-01", "dns-01"].iter().map(|kind| self.challenge(kind, failed)).collect();
        json!({
            "identifier": { "type": "dns", "value": self.asks_about.unwrap_or(base) },
            "status": if failed { "invalid" } else { "pending" },
            "wildcard": base != name,
            "challenges": challenges,
        })
    }

    fn challenge(&self, kind: &str, failed: bool) -> Value {
        let error = json!({ "type": "urn:ietf:params:acme:error:unauthorized", "detail": "something else is there" });
        json!({
            "type": kind, "url": format!("{}/challenge", self.base), "token": "token", "status": "pending",
            "error": if failed { error } else { Value::Null },
        })
    }

    /// The chain for what a request (RFC 8555 §7.4) names.
    fn sign(&self, request: &str) -> String {
        let der = CertificateSigningRequestDer::from(BASE64URL_NOPAD.decode(request.as_bytes()).unwrap());
        let mut request = CertificateSigningRequestParams::from_der(&der).unwrap();
        let left_out =
            |name: &SanType| matches!(name, SanType::DnsName(name) if Some(name.as_str()) == self.leaves_out);
        request.params.subject_alt_names.retain(|name| !left_out(name));
        let now = Clock::System.now();
        let moment = |at: UnixTime| time::OffsetDateTime::from_unix_timestamp(at.0.cast_signed()).unwrap();
        request.params.not_before = moment(UnixTime(now.0 - 60));
        request.params.not_after = moment(now.plus(LIFE));
        request.signed_by(&self.issuer).unwrap().pem() + &self.root
    }
}

/// What a request says (RFC 7515); its signature is believed.
fn payload(body: &[u8]) -> Value {
    let signed: Value = serde_json::from_slice(body).unwrap();
    let payload = BASE64URL_NOPAD.decode(signed["payload"].as_str().unwrap().as_bytes()).unwrap();
    serde_json::from_slice(&payload).unwrap()
}
