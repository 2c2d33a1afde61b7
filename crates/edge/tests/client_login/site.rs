//! The reserved paths of an edge over a database of its own, with two applications, `rdp` and `db`.

use std::{net::IpAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use axum::body::Body;
use data_encoding::BASE64URL_NOPAD;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use serde::Serialize;
use tunnel_auth::{ClientToken, SessionId};
use tunnel_edge::{
    Clock, Lang, Reference, Visit,
    audit::Audit,
    countries::Countries,
    evaluations::Evaluations,
    keys::Keys,
    login::{
        self,
        decision::{self, PinOffice, PinQueue, PinWorker},
        provider::Providers,
    },
    mail::{PasskeyMail, PinMail, QueueError},
    pages::FORM_TOKEN,
    reserved::{self, Reserved},
    session::{Session, Sessions, cookie::SESSION_COOKIE},
    setup::{self, MadeBy},
    snapshot::{BuiltIn, Snapshot},
    store::{
        AuditEvent, AuditRecord, Declared, ISSUER_MAILBOX, LoginMethod, LoginMethodKind, SessionKind, SessionRecord,
        Store, sqlite::SqliteStore,
    },
    tunnels,
};
use tunnel_policy::{Action, Application, Attributes, Policy, Rules, Selector, Target};
use tunnel_proto::{
    AppId, Hostname, Identity, PersonId, Revision, UnixTime,
    access::{
        AuthorizeQuery, CLI_DEVICE_PATH, CLI_PATH, CLI_TOKEN_PATH, DeviceRequest, DeviceStarted, TokenAnswer,
        TokenIssued, TokenRequest,
    },
    identity::Ca,
    message::ServiceKind,
};

pub(crate) use crate::common::answer::Answer;

pub(crate) const NOW: UnixTime = UnixTime(1_800_000_000);
/// Where people are.
pub(crate) const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7));
/// Where nobody is admitted from.
pub(crate) const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 9));
/// How long a policy lets people in to the applications.
pub(crate) const LIFE: u64 = 3600;
pub(crate) const LOGIN_HOST: &str = "access.example.com";
pub(crate) const REDIRECT: &str = "http://127.0.0.1:4711/abcdefghijklmnopqrst";
pub(crate) const VERIFIER: &str = "verifier-verifier-verifier-verifier-verifier";

pub(crate) struct Site {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) sessions: Sessions,
    pub(crate) clock: Clock,
    pub(crate) keys: Keys,
    countries: Countries,
    pub(crate) audit: Audit,
    pub(crate) mails: std::sync::Mutex<Vec<(Hostname, String)>>,
    pub(crate) told: std::sync::Mutex<Vec<PasskeyMail>>,
    declared: std::sync::Mutex<Declared>,
    snapshot: std::sync::Mutex<Arc<Snapshot>>,
    ca: Ca,
    zone: Hostname,
    login_host: Hostname,
    pins: PinQueue,
    providers: Providers,
    evaluations: Evaluations,
    _worker: std::sync::Mutex<Option<PinWorker>>,
    _folder: tempfile::TempDir,
}

pub(crate) fn host(name: &str) -> Hostname {
    format!("{name}.example.com").parse().unwrap()
}

/// The application called `name`.
pub(crate) fn app(name: &str) -> AppId {
    AppId::from_bytes([name.as_bytes()[0]; 32])
}

fn snapshot(declared: Declared) -> Arc<Snapshot> {
    Arc::new(Snapshot::new(Revision(1), declared, &BuiltIn::default()).unwrap())
}

fn declared() -> Declared {
    let application = |name: &str| {
        let targets = vec![Target { host: host(name).as_str().parse().unwrap(), path: None }];
        Application::new(app(name), name.parse().unwrap(), targets, vec!["staff".parse().unwrap()])
    };
    let rules = Rules {
        include: vec![
            Selector::Email("ann@example.com".parse().unwrap()),
            Selector::Email("bob@example.com".parse().unwrap()),
        ],
        exclude: vec![Selector::Ip("203.0.113.0/24".parse().unwrap())],
        ..Rules::default()
    };
    let staff = Policy {
        name: "staff".parse().unwrap(),
        action: Action::Allow,
        rules,
        session_duration: Some(Duration::from_secs(LIFE)),
        destinations: vec![],
    };
    Declared {
        login_methods: vec![LoginMethod { name: "pin".parse().unwrap(), kind: LoginMethodKind::OneTimePin }],
        policies: vec![staff],
        applications: vec![application("rdp"), application("db")],
        administrators: vec!["admin@example.com".parse().unwrap()],
        ..Declared::default()
    }
}

impl Site {
    pub(crate) async fn open() -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(folder.path().join("edge.db")).await.unwrap());
        let zone: Hostname = "example.com".parse().unwrap();
        let clock = Clock::manual(NOW);
        let keys = Keys::load(folder.path(), &*store, NOW).await.unwrap();
        let (pins, jobs) = decision::queue();
        let site = Arc::new(Self {
            sessions: Sessions::load(store.clone(), NOW).await.unwrap(),
            countries: Countries::load(None).unwrap(),
            audit: Audit::start(store.clone(), clock.clone()),
            declared: std::sync::Mutex::new(declared()),
            snapshot: std::sync::Mutex::new(snapshot(declared())),
            ca: Ca::generate(&zone, NOW).unwrap(),
            login_host: LOGIN_HOST.parse().unwrap(),
            mails: std::sync::Mutex::default(),
            told: std::sync::Mutex::default(),
            _worker: std::sync::Mutex::default(),
            _folder: folder,
            store,
            clock,
            keys,
            zone,
            pins,
            providers: Providers::default(),
            evaluations: Evaluations::default(),
        });
        *site._worker.lock().unwrap() = Some(PinWorker::start(jobs, Arc::downgrade(&site)));
        site
    }

    /// Sends a request to a reserved path of a host.
    pub(crate) async fn send(&self, host: &str, source: IpAddr, request: Request<Body>) -> Answer {
        let now = self.clock.now();
        let visit = Visit {
            host: host.parse().unwrap(),
            https: true,
            port: None,
            source,
            country: None,
            now,
            reference: Reference::from_random([7; 6]),
            lang: Lang::En,
        };
        let (snapshot, look) = (PinOffice::snapshot(self), tunnel_edge::pages::Look::plain());
        let login = login::Desk {
            zone: &self.zone,
            login_host: &self.login_host,
            issuer: "https://access.example.com",
            contact: None,
            quick_start: false,
            mail_delayed: false,
            store: &*self.store,
            keys: &self.keys,
            sessions: &self.sessions,
            snapshot: &snapshot,
            countries: &self.countries,
            audit: &self.audit,
            pins: &self.pins,
            providers: &self.providers,
            evaluations: &self.evaluations,
            look: &look,
        };
        let tunnels = self.tunnels(Some(source));
        let reload = || -> futures::future::BoxFuture<'_, ()> { Box::pin(async {}) };
        let kind_at = |host: &Hostname| (host.as_str() == "rdp.example.com").then_some(ServiceKind::Bastion);
        let reserved =
            Reserved { login, tunnels, configured: &[], in_terminal: false, kind_at: &kind_at, reload: &reload };
        let (parts, body) = reserved::answer(&reserved, &visit, request).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    fn tunnels(&self, source: Option<IpAddr>) -> tunnels::Desk<'_> {
        tunnels::Desk {
            store: &*self.store,
            ca: &self.ca,
            login_host: &self.login_host,
            quick_start: false,
            visit: "https://HOST",
            now: self.clock.now(),
            source,
        }
    }

    /// Path and query of a link that makes an administrator.
    pub(crate) async fn setup_link(&self) -> String {
        let url = setup::make_link(&self.tunnels(None), MadeBy::Command).await.unwrap();
        url.strip_prefix("https://access.example.com").unwrap().to_owned()
    }

    /// An administrator changes what is declared.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Declared)) {
        let mut declared = self.declared.lock().unwrap();
        change(&mut declared);
        *self.snapshot.lock().unwrap() = snapshot(declared.clone());
    }

    /// A person navigates to a page of the login host.
    pub(crate) async fn get(&self, target: &str, cookie: &str) -> Answer {
        let request = Request::get(target).header("accept", "text/html").header("sec-fetch-mode", "navigate");
        self.send(LOGIN_HOST, HOME, request.header("cookie", cookie).body(Body::empty()).unwrap()).await
    }

    /// A person sends a form of the login host from a page of it.
    pub(crate) async fn post(&self, path: &str, cookie: &str, fields: &[(&str, &str)]) -> Answer {
        self.post_from(path, cookie, "same-origin", fields).await
    }

    pub(crate) async fn post_from(&self, path: &str, cookie: &str, site: &str, fields: &[(&str, &str)]) -> Answer {
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = Request::post(path)
            .header("accept", "text/html")
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-site", site)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("cookie", cookie);
        self.send(LOGIN_HOST, HOME, request.body(form.into()).unwrap()).await
    }

    /// A program sends JSON to the login host.
    pub(crate) async fn json(&self, path: &str, source: IpAddr, body: impl Into<Body>) -> Answer {
        let request = Request::builder().method(Method::POST).uri(path).header("content-type", "application/json");
        self.send(LOGIN_HOST, source, request.body(body.into()).unwrap()).await
    }

    /// A login of `name@example.com`: its cookie.
    pub(crate) async fn log_in(&self, name: &str) -> String {
        let id = SessionId::from_random(random(name.as_bytes()));
        let now = self.clock.now();
        let record = SessionRecord {
            id: id.hash(),
            kind: SessionKind::Browser,
            device: None,
            source: None,
            host: self.login_host.clone(),
            parent: None,
            identity: Identity {
                person: PersonId::from_bytes([name.as_bytes()[0]; 16]),
                email: format!("{name}@example.com").parse().unwrap(),
                method: "pin".parse().unwrap(),
                authenticated: now,
            },
            issuer: ISSUER_MAILBOX.to_owned(),
            attributes: Attributes::default(),
            created: now,
            seen: now,
            expires: now.plus(Duration::from_secs(86_400)),
            grants: vec![],
        };
        self.sessions.start(record, now).await.unwrap();
        format!("{SESSION_COOKIE}={}", *id.reveal())
    }

    /// The page that `query` leads to, answered by whoever has `cookie`.
    /// Says so for a program elsewhere whose terminal is in front of the person.
    pub(crate) async fn approve(&self, query: &str, cookie: &str, code: &str) -> Answer {
        let page = self.get(&format!("{CLI_PATH}?{query}"), cookie).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.body);
        self.type_code(&page.field(FORM_TOKEN), query, cookie, code).await
    }

    pub(crate) async fn type_code(&self, token: &str, query: &str, cookie: &str, code: &str) -> Answer {
        let fields = [(FORM_TOKEN, token), ("query", query), ("answer", "approve"), ("code", code)];
        self.post(CLI_PATH, cookie, &fields).await
    }

    pub(crate) async fn decide(&self, query: &str, cookie: &str, answer: &str) -> Answer {
        let page = self.get(&format!("{CLI_PATH}?{query}"), cookie).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.body);
        let (token, carried) = (page.field(FORM_TOKEN), page.field("query"));
        self.post(CLI_PATH, cookie, &[(FORM_TOKEN, &token), ("query", &carried), ("answer", answer)]).await
    }

    /// The code that the browser brings back after ann has let a program in to `name`.
    pub(crate) async fn code(&self, name: &str) -> String {
        let cookie = self.log_in("ann").await;
        let answer = self.decide(&query(name, |_| ()), &cookie, "approve").await;
        assert_eq!(answer.status, StatusCode::OK);
        let back = answer.location().strip_prefix(REDIRECT).unwrap().strip_prefix("?code=").unwrap();
        back.split_once(&format!("&state={}", state())).unwrap().0.to_owned()
    }

    pub(crate) async fn token(&self, source: IpAddr, request: &TokenRequest) -> Answer {
        self.json(CLI_TOKEN_PATH, source, serde_json::to_vec(request).unwrap()).await
    }

    pub(crate) async fn redeem(&self, code: &str) -> Answer {
        self.token(HOME, &redeem(code, VERIFIER, REDIRECT)).await
    }

    /// A token of ann's for `name`, by the whole way.
    pub(crate) async fn issued(&self, name: &str) -> TokenIssued {
        let code = self.code(name).await;
        issued(&self.redeem(&code).await)
    }

    /// What a token opens at the host of `name`.
    pub(crate) fn opens(&self, token: &str, name: &str) -> Option<Arc<Session>> {
        self.sessions.find_client(&host(name), &ClientToken::parse(token)?, self.clock.now())
    }

    /// Begins a login that is approved elsewhere, each from an address of its own.
    pub(crate) async fn begin(&self, name: &str) -> (String, DeviceStarted) {
        let answer = self.begin_from(name, next_address()).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        let started: DeviceStarted = serde_json::from_str(&answer.body).unwrap();
        let query = started.url.strip_prefix("https://access.example.com/.access/cli?").unwrap().to_owned();
        (query, started)
    }

    pub(crate) async fn begin_from(&self, name: &str, source: IpAddr) -> Answer {
        let (computer, command) = ("build-host".to_owned(), format!("access tcp --hostname {}", host(name)));
        let request = DeviceRequest { app: app(name), host: host(name), computer, command };
        self.json(CLI_DEVICE_PATH, source, serde_json::to_vec(&request).unwrap()).await
    }

    pub(crate) async fn poll(&self, secret: &str) -> Answer {
        self.token(HOME, &TokenRequest::Poll { secret: secret.to_owned() }).await
    }

    /// What is in the audit of an event.
    pub(crate) async fn audited(&self, event: AuditEvent) -> Vec<AuditRecord> {
        self.audit.flush().await.unwrap();
        let all = self.store.audit(1000).await.unwrap();
        all.into_iter().filter(|record| record.event == event).collect()
    }

    pub(crate) fn wait(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

#[async_trait]
impl PinOffice for Site {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.lock().unwrap().clone()
    }

    fn store(&self) -> &dyn Store {
        &*self.store
    }

    fn keys(&self) -> &Keys {
        &self.keys
    }

    fn login_host(&self) -> &Hostname {
        &self.login_host
    }

    async fn post(&self, mail: PinMail) -> Result<(), QueueError> {
        if !mail.withheld {
            self.mails.lock().unwrap().push((mail.host, mail.pin.grouped().to_string()));
        }
        Ok(())
    }

    async fn tell(&self, mail: PasskeyMail) -> Result<(), QueueError> {
        self.told.lock().unwrap().push(mail);
        Ok(())
    }
}

pub(crate) fn redeem(code: &str, verifier: &str, redirect_uri: &str) -> TokenRequest {
    let (code, verifier, redirect_uri) = (code.to_owned(), verifier.to_owned(), redirect_uri.to_owned());
    TokenRequest::Redeem { code, verifier, redirect_uri }
}

pub(crate) fn answer(answer: &Answer) -> TokenAnswer {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.headers[header::CACHE_CONTROL], HeaderValue::from_static("no-store"));
    assert!(!answer.headers.contains_key(header::SET_COOKIE));
    serde_json::from_str(&answer.body).unwrap()
}

pub(crate) fn issued(from: &Answer) -> TokenIssued {
    match answer(from) {
        TokenAnswer::Token(issued) => issued,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn refused(from: &Answer) -> String {
    match answer(from) {
        TokenAnswer::Refused { reason } => reason,
        other => panic!("{other:?}"),
    }
}

/// The query of a program on the same computer.
pub(crate) fn query(name: &str, change: impl FnOnce(&mut AuthorizeQuery)) -> String {
    let mut query = AuthorizeQuery {
        app: app(name),
        host: host(name),
        redirect_uri: REDIRECT.to_owned(),
        code_challenge: BASE64URL_NOPAD.encode(digest(&SHA256, VERIFIER.as_bytes()).as_ref()),
        code_challenge_method: "S256".to_owned(),
        state: state(),
        code: "7492".to_owned(),
        computer: "ann-laptop".to_owned(),
        command: format!("access rdp --hostname {}", host(name)),
    };
    change(&mut query);
    encoded(&query)
}

fn encoded(query: &impl Serialize) -> String {
    let value = serde_json::to_value(query).unwrap();
    let pairs = value.as_object().unwrap().iter().map(|(name, value)| (name, value.as_str().unwrap()));
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

pub(crate) fn state() -> String {
    BASE64URL_NOPAD.encode(&[5; 32])
}

/// An address that nobody else has.
fn next_address() -> IpAddr {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0x0a00_0001);
    std::net::Ipv4Addr::from(NEXT.fetch_add(1, Ordering::Relaxed)).into()
}

/// Random for each call, whatever the seed.
fn random(seed: &[u8]) -> [u8; 32] {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mut bytes = seed.to_vec();
    bytes.extend_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    digest(&SHA256, &bytes).as_ref().try_into().unwrap()
}
