//! The login host of an edge whose application `www` offers what a test declares.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use axum::body::Body;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::BodyExt;
use tunnel_edge::{
    Clock, Lang, Reference, Visit,
    audit::Audit,
    countries::Countries,
    evaluations::Evaluations,
    gate::{self, Asked, Decisions, Gate, Permit, Presented, Turnaway},
    keys::Keys,
    login::{
        self,
        decision::{self, PinQueue},
        provider::Providers,
    },
    pages::FORM_TOKEN,
    reserved::{self, Reserved},
    revalidation::Round,
    session::{Sessions, cookie::SESSION_COOKIE},
    snapshot::{BuiltIn, Snapshot},
    store::{
        AuditEvent, AuditRecord, Declared, LoginMethod, LoginMethodKind, OpenIdMethod, OpenIdPreset, SealedSecret,
        Store, sqlite::SqliteStore,
    },
    tunnels,
};
use tunnel_policy::{Action, Application, Policy, Rules, Selector, Target};
use tunnel_proto::{AppId, Hostname, Revision, UnixTime, identity::Ca};

use crate::providers::provider::{CLIENT_ID, Provider, SECRET};

pub(crate) use crate::common::answer::Answer;

pub(crate) const NOW: UnixTime = UnixTime(1_800_000_000);
pub(crate) const LOGIN_HOST: &str = "access.example.com";
pub(crate) const WWW: &str = "www.example.com";

pub(crate) struct Site {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) sessions: Sessions,
    pub(crate) clock: Clock,
    pub(crate) keys: Keys,
    pub(crate) providers: Providers,
    evaluations: Evaluations,
    look: Arc<tunnel_edge::pages::Look>,
    countries: Countries,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) changed: tokio::sync::watch::Sender<Revision>,
    declared: Declared,
    decisions: Decisions,
    audit: Audit,
    ca: Ca,
    zone: Hostname,
    login_host: Hostname,
    pins: PinQueue,
    _jobs: decision::PinJobs,
    _folder: tempfile::TempDir,
}

/// A browser: its cookies at each host.
#[derive(Clone)]
pub(crate) struct Browser {
    pub(crate) source: IpAddr,
    cookies: std::collections::BTreeMap<String, std::collections::BTreeMap<String, String>>,
}

impl Default for Browser {
    fn default() -> Self {
        Self { source: Ipv4Addr::new(198, 51, 100, 7).into(), cookies: Default::default() }
    }
}

impl Browser {
    pub(crate) fn cookie(&self, host: &str, name: &str) -> Option<&String> {
        self.cookies.get(host)?.get(name)
    }

    fn header(&self, host: &str) -> String {
        let all = self.cookies.get(host).into_iter().flatten();
        all.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    fn keep(&mut self, host: &str, answer: &Answer) {
        for line in answer.headers.get_all(header::SET_COOKIE) {
            let (pair, rest) = line.to_str().unwrap().split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            let jar = self.cookies.entry(host.to_owned()).or_default();
            if rest.contains("Max-Age=0") {
                jar.remove(name);
            } else {
                jar.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}

/// An OpenID method at a provider.
pub(crate) fn openid(keys: &Keys, name: &str, provider: &Provider) -> LoginMethod {
    let name: tunnel_proto::Name = name.parse().unwrap();
    let method = OpenIdMethod {
        preset: OpenIdPreset::Oidc,
        issuer: provider.issuer.clone(),
        client_id: CLIENT_ID.into(),
        client_secret: SealedSecret::seal(keys, &name, SECRET.as_bytes()),
        scopes: vec![],
        email_claim: None,
        groups_claim: None,
        groups: false,
        graph: None,
        claims: vec!["department".into()],
        hosted_domain: None,
        authoritative_for: vec![],
        revalidate: None,
        private_address: true,
        ca: None,
    };
    LoginMethod { name, kind: LoginMethodKind::OpenId(Box::new(method)) }
}

pub(crate) fn pin() -> LoginMethod {
    LoginMethod { name: "pin".parse().unwrap(), kind: LoginMethodKind::OneTimePin }
}

pub(crate) fn app() -> AppId {
    AppId::from_bytes([7; 32])
}

impl Site {
    /// A site with these login methods, which admits ann and bob of `example.com`; ann is an administrator.
    pub(crate) async fn open(methods: impl FnOnce(&Keys) -> Vec<LoginMethod>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&folder.path().join("edge.db")).await.unwrap());
        let keys = Keys::load(folder.path(), &*store, NOW).await.unwrap();
        let zone: Hostname = "example.com".parse().unwrap();
        let clock = Clock::manual(NOW);
        let people = ["ann@example.com", "bob@example.com"].map(|email| Selector::Email(email.parse().unwrap()));
        let declared = Declared {
            login_methods: methods(&keys),
            policies: vec![Policy {
                name: "staff".parse().unwrap(),
                action: Action::Allow,
                rules: Rules { include: people.into(), ..Rules::default() },
                session_duration: None,
                destinations: vec![],
            }],
            applications: vec![Application::new(
                app(),
                "www".parse().unwrap(),
                vec![Target { host: WWW.parse().unwrap(), path: None }],
                vec!["staff".parse().unwrap()],
            )],
            administrators: vec!["ann@example.com".parse().unwrap()],
            ..Declared::default()
        };
        let (pins, jobs) = decision::queue();
        Self {
            sessions: Sessions::load(store.clone(), NOW).await.unwrap(),
            audit: Audit::start(store.clone(), clock.clone()),
            snapshot: Arc::new(Snapshot::new(Revision(1), declared.clone(), &BuiltIn::default()).unwrap()),
            changed: tokio::sync::watch::Sender::new(Revision(1)),
            declared,
            decisions: Decisions::default(),
            ca: Ca::generate(&zone, NOW).unwrap(),
            login_host: LOGIN_HOST.parse().unwrap(),
            providers: Providers::default(),
            evaluations: Evaluations::default(),
            look: tunnel_edge::pages::Look::plain(),
            countries: Countries::load(None).unwrap(),
            _jobs: jobs,
            _folder: folder,
            store,
            clock,
            keys,
            zone,
            pins,
        }
    }

    /// Changes what is declared, and serves from it.
    pub(crate) fn declare(&mut self, change: impl FnOnce(&mut Declared)) {
        self.change(&BuiltIn::default(), change);
    }

    /// Forgets what is only in memory, as at a restart.
    pub(crate) async fn restart(&mut self) {
        self.sessions.write_uses().await.unwrap();
        self.sessions = Sessions::load(self.store.clone(), self.clock.now()).await.unwrap();
        self.decisions = Decisions::default();
    }

    /// Asks providers about everybody who is due, after some seconds.
    pub(crate) async fn round_after(&self, seconds: u64) {
        self.clock.advance(std::time::Duration::from_secs(seconds));
        self.round().run().await;
    }

    /// A round in which providers are asked, as of now.
    pub(crate) fn round(&self) -> Round<'_> {
        Round {
            snapshot: &self.snapshot,
            store: &*self.store,
            keys: &self.keys,
            sessions: &self.sessions,
            providers: &self.providers,
            audit: &self.audit,
            clock: &self.clock,
            changed: &self.changed,
        }
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

    /// What the gate says to a browser at the application.
    pub(crate) fn opens(&self, browser: &Browser) -> Result<Permit, Turnaway> {
        let visit = self.visit(WWW, browser.source);
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, browser.header(WWW).parse().unwrap());
        let credential = &Presented::Cookies;
        gate::admit(
            self.gate(),
            Asked { visit: &visit, path: "/x", headers: &headers, credential, websocket: false, upgrade: None },
        )
    }

    /// Serves from something else from now on.
    pub(crate) fn change(&mut self, built_in: &BuiltIn, change: impl FnOnce(&mut Declared)) {
        change(&mut self.declared);
        let revision = Revision(self.snapshot.revision.0 + 1);
        self.snapshot = Arc::new(Snapshot::new(revision, self.declared.clone(), built_in).unwrap());
    }

    fn desk(&self) -> login::Desk<'_> {
        login::Desk {
            zone: &self.zone,
            login_host: &self.login_host,
            issuer: "https://access.example.com",
            contact: None,
            quick_start: false,
            mail_delayed: false,
            store: &*self.store,
            keys: &self.keys,
            sessions: &self.sessions,
            snapshot: &self.snapshot,
            countries: &self.countries,
            audit: &self.audit,
            pins: &self.pins,
            providers: &self.providers,
            evaluations: &self.evaluations,
            look: &self.look,
        }
    }

    fn visit(&self, host: &str, source: IpAddr) -> Visit {
        Visit {
            host: host.parse().unwrap(),
            https: true,
            port: None,
            source,
            country: None,
            now: self.clock.now(),
            reference: Reference::from_random([7; 6]),
            lang: Lang::En,
        }
    }

    pub(crate) async fn send(&self, browser: &mut Browser, host: &str, mut request: Request<Body>) -> Answer {
        let cookies = browser.header(host);
        request.headers_mut().insert(header::COOKIE, cookies.parse().unwrap());
        let visit = self.visit(host, browser.source);
        let tunnels = tunnels::Desk {
            store: &*self.store,
            ca: &self.ca,
            login_host: &self.login_host,
            quick_start: false,
            visit: "https://HOST",
            now: visit.now,
            source: None,
        };
        let reload = || -> futures::future::BoxFuture<'_, ()> { Box::pin(async {}) };
        let login = self.desk();
        let reserved =
            Reserved { login, tunnels, configured: &[], in_terminal: false, kind_at: &|_| None, reload: &reload };
        let (parts, body) = reserved::answer(&reserved, &visit, request).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let answer =
            Answer { status: parts.status, headers: parts.headers, body: String::from_utf8(body.to_vec()).unwrap() };
        browser.keep(host, &answer);
        answer
    }

    /// Opens an address of ours.
    pub(crate) async fn get(&self, browser: &mut Browser, url: &str) -> Answer {
        let (host, path) = match url.strip_prefix("https://") {
            Some(rest) => rest.split_at(rest.find('/').unwrap()),
            None => (LOGIN_HOST, url),
        };
        let request = Request::get(path).header("accept", "text/html").header("sec-fetch-mode", "navigate");
        self.send(browser, host, request.body(Body::empty()).unwrap()).await
    }

    /// Presses a button of a page that was shown.
    pub(crate) async fn press(&self, browser: &mut Browser, page: &Answer, more: &[(&str, &str)]) -> Answer {
        let hidden = [FORM_TOKEN, "app", "request"].map(|name| (name, page.field(name)));
        let hidden = hidden.iter().map(|(name, value)| (*name, value.as_str()));
        let fields: Vec<_> = hidden.chain(more.iter().copied()).collect();
        self.post(browser, "/.access/login", &fields).await
    }

    /// Opens the link of a test of a method, and goes on from its page.
    pub(crate) async fn try_out(&self, browser: &mut Browser, link: &str) -> Answer {
        let page = self.get(browser, link).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.body);
        let (token, id) = (page.field(FORM_TOKEN), page.field("id"));
        self.post(browser, "/.access/login-test", &[(FORM_TOKEN, &token), ("id", &id)]).await
    }

    /// Sends a form as a page of ours does.
    pub(crate) async fn post(&self, browser: &mut Browser, path: &str, fields: &[(&str, &str)]) -> Answer {
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = Request::post(path)
            .header("accept", "text/html")
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/x-www-form-urlencoded");
        self.send(browser, LOGIN_HOST, request.body(form.into()).unwrap()).await
    }

    /// The address of the login page for somebody who wants to go to `/x` of the application, without a session.
    pub(crate) fn begin(&self, browser: &mut Browser) -> String {
        self.begin_at(browser, "/x?y=z")
    }

    /// The same for another address of the application.
    pub(crate) fn begin_at(&self, browser: &mut Browser, target: &str) -> String {
        let visit = self.visit(WWW, browser.source);
        let headers: HeaderMap =
            [("accept", "text/html"), ("sec-fetch-mode", "navigate"), ("cookie", &browser.header(WWW))]
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .into_iter()
                .collect();
        let ask = login::Ask { visit: &visit, headers: &headers, get: true, path: "/", query: "" };
        let response = self.desk().begin(&ask, self.snapshot.policies.application(&app()).unwrap(), target);
        let answer = Answer { status: response.status(), headers: response.headers().clone(), body: String::new() };
        browser.keep(WWW, &answer);
        answer.location().to_owned()
    }

    /// The address at the provider to which somebody is sent who presses the button of `method`.
    pub(crate) async fn sent(&self, browser: &mut Browser, method: &str) -> String {
        let url = self.begin(browser);
        let page = self.get(browser, &format!("{url}&choose=1")).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.body);
        self.press(browser, &page, &[("method", method)]).await.location().to_owned()
    }

    /// Comes back from the provider of `method`.
    pub(crate) async fn back(&self, browser: &mut Browser, method: &str, query: &str) -> Answer {
        self.get(browser, &format!("/.access/callback/{method}?{query}")).await
    }

    /// The whole way to the provider and back.
    pub(crate) async fn log_in(&self, browser: &mut Browser, method: &str, provider: &Provider) -> Answer {
        let location = self.sent(browser, method).await;
        let query = provider.lets_in(&location);
        self.back(browser, method, &query).await
    }

    /// Whether a browser is logged in at the login host.
    pub(crate) fn is_logged_in(&self, browser: &Browser) -> bool {
        let Some(value) = browser.cookie(LOGIN_HOST, SESSION_COOKIE) else { return false };
        let cookie = http::HeaderValue::try_from(format!("{SESSION_COOKIE}={value}")).unwrap();
        self.sessions.find(&self.login_host, [&cookie], self.clock.now()).is_some()
    }

    pub(crate) async fn audited(&self, event: AuditEvent) -> Vec<AuditRecord> {
        self.audit.flush().await.unwrap();
        let mut all = self.store.audit(1000).await.unwrap();
        all.retain(|record| record.event == event);
        all
    }

    /// The reasons in the record of logins that failed.
    pub(crate) async fn failures(&self) -> Vec<String> {
        self.audited(AuditEvent::LoginFailed).await.into_iter().filter_map(|record| record.detail).collect()
    }

    /// The last of them. States that are used again are counted, and recorded when that ends.
    pub(crate) async fn last_failure(&self) -> String {
        let all = self.failures().await;
        all.into_iter().find(|failure| !failure.contains("a state that leads nowhere")).unwrap_or_default()
    }
}
