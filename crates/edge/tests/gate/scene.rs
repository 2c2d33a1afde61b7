//! What the gate needs, and people and machines to stand before it.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderValue};
use tempfile::TempDir;
use tunnel_auth::{ClientToken, ServiceSecret, SessionId};
use tunnel_edge::{
    Clock, Lang, Reference, Visit,
    audit::Audit,
    declare::{self, Ground, Request},
    gate::{self, Asked, Decisions, Gate, Permit, Presented, Turnaway},
    session::{Sessions, cookie::SESSION_COOKIE},
    snapshot::{BuiltIn, Snapshot},
    store::{
        Ban, Declared, Grant, ISSUER_MAILBOX, ServiceTokenRecord, SessionKind, SessionRecord, Store,
        sqlite::SqliteStore,
    },
};
use tunnel_policy::{Attributes, Country};
use tunnel_proto::{Hostname, Identity, PersonId, UnixTime};

/// A Thursday, 2027-01-14 09:00 UTC.
pub(crate) const START: UnixTime = UnixTime(1_799_917_200);
pub(crate) const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 9));

pub(crate) struct Scene {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Clock,
    pub(crate) sessions: Sessions,
    pub(crate) snapshot: Arc<Snapshot>,
    decisions: Decisions,
    pub(crate) audit: Audit,
    login_host: Hostname,
    built_in: BuiltIn,
    next: AtomicU8,
    _dir: TempDir,
}

/// Somebody with a login, and a session at a host.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) login: SessionRecord,
    pub(crate) session: SessionRecord,
    /// The cookie of the session, and the one of the login at the login host.
    pub(crate) cookie: String,
    pub(crate) login_cookie: String,
}

impl Scene {
    pub(crate) async fn declared(access: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&dir.path().join("edge.db")).await.unwrap());
        let clock = Clock::manual(START);
        let login_host: Hostname = "access.example.com".parse().unwrap();
        let built_in = BuiltIn { login_host: Some(login_host.clone()), ..BuiltIn::default() };
        let sessions = Sessions::load(store.clone(), START).await.unwrap();
        let audit = Audit::start(store.clone(), clock.clone());
        let snapshot = Arc::new(Snapshot::new(tunnel_proto::Revision(0), Declared::default(), &built_in).unwrap());
        let mut scene = Self {
            store,
            clock,
            sessions,
            snapshot,
            decisions: Decisions::default(),
            audit,
            login_host,
            built_in,
            next: AtomicU8::new(1),
            _dir: dir,
        };
        scene.apply(access).await;
        scene
    }

    /// Applies a declaration and serves from it.
    pub(crate) async fn apply(&mut self, access: &str) {
        let request = Request { file: "access.yaml".into(), text: access.into(), ..Request::default() };
        let ground = Ground {
            built_in: &self.built_in,
            mail: true,
            countries: true,
            keys: None,
            actor: "local",
            now: self.now(),
        };
        declare::apply(&*self.store, &request, &ground).await.unwrap();
        self.change(|_| {}).await;
    }

    /// Changes what is declared and serves from it.
    pub(crate) async fn change(&mut self, change: impl FnOnce(&mut Declared)) {
        let (revision, mut declared) = self.store.declared().await.unwrap();
        change(&mut declared);
        let revision = self.store.replace_declared(revision, &declared, &[]).await.unwrap();
        self.snapshot = Arc::new(Snapshot::new(revision, declared, &self.built_in).unwrap());
    }

    pub(crate) async fn ban(&mut self, email: &str) {
        let ban = Ban { email: email.parse().unwrap(), people: vec![], since: self.now(), reason: None };
        self.change(|declared| declared.bans.push(ban)).await;
    }

    /// A service token: its id and secret.
    pub(crate) async fn machine(&mut self, name: &str) -> (String, String) {
        let secret = ServiceSecret::from_random([7; 32]);
        let record = ServiceTokenRecord {
            name: name.parse().unwrap(),
            id: format!("{name}.access"),
            secret: secret.hash(),
            previous: None,
            created: START,
            expires: START.plus(Duration::from_secs(86_400)),
        };
        let id = record.id.clone();
        self.change(|declared| declared.service_tokens.push(record)).await;
        (id, secret.reveal().to_string())
    }

    pub(crate) fn now(&self) -> UnixTime {
        self.clock.now()
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub(crate) fn gate(&self) -> Gate<'_> {
        Gate {
            snapshot: &self.snapshot,
            sessions: &self.sessions,
            decisions: &self.decisions,
            audit: &self.audit,
            login_host: &self.login_host,
        }
    }

    /// Random enough: no two of a scene are alike.
    pub(crate) fn fresh(&self) -> [u8; 32] {
        [self.next.fetch_add(1, Ordering::SeqCst); 32]
    }

    /// Somebody who logged in by a mailbox, with a session at `host` for every application there.
    pub(crate) async fn log_in(&self, email: &str, method: &str, host: &str, attributes: Attributes) -> Person {
        self.vouched(email, (method, ISSUER_MAILBOX), host, attributes).await
    }

    /// The same by a method for which `issuer` vouched.
    pub(crate) async fn vouched(
        &self,
        email: &str,
        (method, issuer): (&str, &str),
        host: &str,
        attributes: Attributes,
    ) -> Person {
        let (login, session) = (SessionId::from_random(self.fresh()), SessionId::from_random(self.fresh()));
        let now = self.now();
        let host: Hostname = host.parse().unwrap();
        let expires = now.plus(Duration::from_secs(86_400));
        let at_host = |app: &&tunnel_policy::Application| app.targets.iter().any(|target| target.host.matches(&host));
        let grants = self.snapshot.policies.applications().filter(at_host).map(|app| Grant { app: app.id, expires });
        let mut person = [0; 16];
        person.iter_mut().zip(email.bytes().chain(method.bytes())).for_each(|(to, from)| *to = from);
        let record = SessionRecord {
            id: login.hash(),
            kind: SessionKind::Browser,
            device: None,
            source: Some(HERE),
            host: self.login_host.clone(),
            parent: None,
            identity: Identity {
                person: PersonId::from_random(person),
                email: email.parse().unwrap(),
                method: method.parse().unwrap(),
                authenticated: now,
            },
            issuer: issuer.to_owned(),
            attributes,
            created: now,
            seen: now,
            expires,
            grants: vec![],
        };
        let child = SessionRecord {
            id: session.hash(),
            host: host.clone(),
            parent: Some(record.id),
            grants: grants.collect(),
            ..record.clone()
        };
        self.sessions.start(record.clone(), now).await.unwrap();
        self.sessions.start(child.clone(), now).await.unwrap();
        let (cookie, login_cookie) = (session.reveal().to_string(), login.reveal().to_string());
        Person { login: record, session: child, cookie, login_cookie }
    }

    /// A token of the access client for what a person's session opens.
    pub(crate) async fn token(&self, person: &Person) -> ClientToken {
        let token = ClientToken::from_random(self.fresh());
        let record = SessionRecord { id: token.hash(), kind: SessionKind::Client, ..person.session.clone() };
        self.sessions.start(record, self.now()).await.unwrap();
        token
    }

    pub(crate) fn visit(&self, host: &str) -> Visit {
        Visit {
            host: host.parse().unwrap(),
            https: true,
            port: None,
            source: HERE,
            country: None,
            now: self.now(),
            reference: Reference::from_random([1; 6]),
            lang: Lang::En,
        }
    }

    pub(crate) fn visit_from(&self, host: &str, country: &str) -> Visit {
        Visit { country: Some(country.parse::<Country>().unwrap()), ..self.visit(host) }
    }

    /// What the gate says to a request with this credential.
    pub(crate) fn ask(
        &self,
        visit: &Visit,
        path: &str,
        credential: &Presented,
        cookies: &[&str],
    ) -> Result<Permit, Turnaway> {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            let value = HeaderValue::try_from(format!("{SESSION_COOKIE}={cookie}")).unwrap();
            headers.append(http::header::COOKIE, value);
        }
        gate::admit(self.gate(), Asked { visit, path, headers: &headers, credential, websocket: false, upgrade: None })
    }

    /// What it says to a person's browser.
    pub(crate) fn opens(&self, person: &Person, host: &str, path: &str) -> Result<Permit, Turnaway> {
        self.ask(&self.visit(host), path, &Presented::Cookies, &[&person.cookie])
    }
}
