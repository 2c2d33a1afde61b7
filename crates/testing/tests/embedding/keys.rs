//! Keys come and go, and no service notices.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{Router, http::HeaderMap, routing::get};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use tunnel_auth::Jwks;
use tunnel_edge::{
    Clock,
    keys::{NEXT_LIFE, PREVIOUS_LIFE, RotateKeys, SIGNING_LIFE},
    socket::{Administration as _, Client},
};
use tunnel_origin::ASSERTION_HEADER;
use tunnel_proto::{AppId, UnixTime};
use tunnel_testing::{Edge, Visitor};

const HOST: &str = "app.localhost";
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Answers with the assertion of the request.
pub(crate) async fn assertion(headers: HeaderMap) -> String {
    headers.get(ASSERTION_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// The id of the application at the one hostname of a test.
pub(crate) async fn audience(edge: &Edge) -> AppId {
    let office = Client::find(&edge.inner().state().config.data_dir).await.unwrap().unwrap();
    let all = office.applications().await.unwrap();
    all.iter().find(|app| app.hostnames.iter().any(|host| host.as_str() == HOST)).unwrap().id
}

pub(crate) fn key_of(token: &str) -> String {
    let header = data_encoding::BASE64URL_NOPAD.decode(token.split('.').next().unwrap().as_bytes()).unwrap();
    let header: serde_json::Value = serde_json::from_slice(&header).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

/// A service that keeps the keys for as long as it is told, and asks for no others meanwhile, whatever it meets.
#[derive(Default)]
struct Service {
    keys: Jwks,
    tag: Option<String>,
    stale: UnixTime,
    asked: usize,
    unchanged: usize,
}

impl Service {
    async fn keys(&mut self, edge: &Edge, now: UnixTime) -> &Jwks {
        if self.stale <= now {
            let mut request = Request::get(plain(edge, "access.localhost", "/.access/certs"));
            if let Some(tag) = &self.tag {
                request = request.header(header::IF_NONE_MATCH, tag);
            }
            let answer = edge.visitor().send(request.body(Bytes::new()).unwrap()).await.unwrap();
            let text = |name| answer.headers()[name].to_str().unwrap().to_owned();
            self.asked += 1;
            let life = text(header::CACHE_CONTROL).strip_prefix("public, max-age=").unwrap().parse().unwrap();
            self.stale = now.plus(Duration::from_secs(life));
            if answer.status() == StatusCode::NOT_MODIFIED {
                self.unchanged += 1;
                assert!(answer.body().is_empty() && self.tag == Some(text(header::ETAG)));
            } else {
                self.tag = Some(text(header::ETAG));
                self.keys = Jwks::from_json(std::str::from_utf8(answer.body()).unwrap()).unwrap();
            }
        }
        &self.keys
    }
}

/// An address without TLS: the edge's certificates follow its clock, which is not the one of who visits.
fn plain(edge: &Edge, host: &str, path: &str) -> String {
    format!("http://{host}:{}{path}", edge.inner().plain()[0].port())
}

/// Somebody who asks, day after day, and services that check who.
struct Weeks {
    edge: Edge,
    clock: Clock,
    issuer: String,
    app: AppId,
    ann: Visitor,
    login: UnixTime,
    services: Vec<Service>,
    /// What the services got lately.
    lately: Vec<(UnixTime, String)>,
    signers: BTreeSet<String>,
    refused: Vec<String>,
    judged: usize,
}

impl Weeks {
    async fn ask(&mut self) {
        let now = self.clock.now();
        if now.since(self.login) > DAY / 2 {
            self.ann = self.edge.visitor();
            self.ann.login(&plain(&self.edge, HOST, "/"), "ann@example.com").await.unwrap();
            self.login = now;
        }
        let answer = self.ann.get(&plain(&self.edge, HOST, "/")).await.unwrap();
        let token = String::from_utf8(answer.body().to_vec()).unwrap();
        self.signers.insert(key_of(&token));
        self.lately.push((now, token));
        // What is sent may have been made two minutes before; three of its five are the service's.
        self.lately.retain(|(at, _)| now.since(*at) < Duration::from_secs(3 * 60));
        for (number, service) in self.services.iter_mut().enumerate() {
            let keys = service.keys(&self.edge, now).await;
            for (at, token) in &self.lately {
                self.judged += 1;
                if let Err(error) = keys.verify(token, &self.issuer, &self.app, now) {
                    self.refused.push(format!("service {number} at {now:?}, of {at:?}: {error}"));
                }
            }
        }
    }

    /// Goes on for `time` in steps of `step`, looking after the keys every minute as the edge does.
    async fn go_on(&mut self, time: Duration, step: Duration) {
        let until = self.clock.now().plus(time);
        while self.clock.now() < until {
            self.clock.advance(step);
            let state = self.edge.inner().state();
            if self.clock.now().0.is_multiple_of(60) {
                state.keys.tend(&*state.store, self.clock.now()).await.unwrap();
            }
            self.ask().await;
        }
    }
}

// S7
#[tokio::test(flavor = "multi_thread")]
async fn over_months_no_service_that_keeps_the_keys_as_told_refuses_anybody() {
    let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().next_multiple_of(60);
    let clock = Clock::manual(UnixTime(start));
    let edge = Edge::start_at(clock.clone()).await.unwrap();
    edge.admit_everyone(HOST).await.unwrap();
    let app = Router::new().route("/", get(assertion));
    let _published = edge.origin().connect().await.unwrap().http(HOST).serve(app).await.unwrap();
    let state = edge.inner().state();
    state.keys.tend(&*state.store, clock.now()).await.unwrap();
    let mut weeks = Weeks {
        issuer: state.issuer.clone(),
        app: audience(&edge).await,
        ann: edge.visitor(),
        login: UnixTime(0),
        services: Vec::new(),
        lately: Vec::new(),
        signers: BTreeSet::new(),
        refused: Vec::new(),
        judged: 0,
        edge,
        clock,
    };
    // They fetch at other moments each, all over the five minutes.
    for _ in 0..10 {
        weeks.services.push(Service::default());
        weeks.go_on(Duration::from_secs(30), Duration::from_secs(30)).await;
    }
    let mut begun = start;
    for _ in 0..2 {
        let around = Duration::from_secs(12 * 60);
        // Up to the change, over it in small steps, and over the moment at which the old key goes.
        let due = UnixTime(begun).plus(SIGNING_LIFE);
        while weeks.clock.now().plus(DAY + around) < due {
            weeks.go_on(DAY, DAY).await;
        }
        let rest = due.since(weeks.clock.now()).saturating_sub(around);
        weeks.go_on(rest, rest).await;
        weeks.go_on(NEXT_LIFE + 2 * around, Duration::from_secs(30)).await;
        weeks.go_on(PREVIOUS_LIFE - DAY, DAY).await;
        weeks.go_on(DAY - around, DAY - around).await;
        weeks.go_on(NEXT_LIFE + 2 * around, Duration::from_secs(30)).await;
        let signing = weeks.edge.inner().state().keys.status(weeks.clock.now());
        begun = signing[0].since.0;
    }
    assert_eq!(weeks.refused, [""; 0], "of {}", weeks.judged);
    assert_eq!(weeks.signers.len(), 3, "the keys did change");
    assert_eq!(weeks.edge.inner().state().keys.jwks().keys().len(), 2, "and the old ones went");
    for service in &weeks.services {
        assert!(service.unchanged > 50 && service.asked - service.unchanged >= 5, "most answers are short");
    }
    assert!(weeks.judged > 10_000, "{}", weeks.judged);
}

// S7
#[tokio::test]
async fn keys_are_rotated_over_the_socket_and_shown_by_the_next_answer() {
    let edge = Edge::start().await.unwrap();
    let state = edge.inner().state().clone();
    state.keys.tend(&*state.store, state.now()).await.unwrap();
    let office = Client::find(&state.config.data_dir).await.unwrap().unwrap();
    let certs = async |tag: Option<&str>| {
        let mut request = Request::get(edge.url("access.localhost", "/.access/certs"));
        if let Some(tag) = tag {
            request = request.header(header::IF_NONE_MATCH, tag);
        }
        edge.visitor().send(request.body(Bytes::new()).unwrap()).await.unwrap()
    };
    let first = certs(None).await;
    let tag = first.headers()[header::ETAG].to_str().unwrap().to_owned();
    assert!(tag.starts_with('"') && tag.ends_with('"'), "a strong one: {tag}");
    assert_eq!(first.headers()[header::CACHE_CONTROL], "public, max-age=300");
    for known in [tag.clone(), format!("\"x\", {tag}"), format!("W/{tag}"), "*".to_owned()] {
        let answer = certs(Some(&known)).await;
        assert_eq!((answer.status(), answer.body().len()), (StatusCode::NOT_MODIFIED, 0), "{known}");
        assert_eq!(answer.headers()[header::ETAG], *tag);
        assert_eq!(answer.headers()[header::CACHE_CONTROL], "public, max-age=300");
    }
    for unknown in ["\"x\"", "", "x", &tag[1..]] {
        assert_eq!(certs(Some(unknown)).await.status(), StatusCode::OK, "{unknown}");
    }
    let before = office.keys().await.unwrap();
    office.rotate_keys(RotateKeys { revoke_now: false }).await.unwrap();
    let second = certs(Some(&tag)).await;
    assert_eq!(second.status(), StatusCode::OK, "there is something new");
    let text = String::from_utf8_lossy(second.body()).into_owned();
    assert!(before.iter().all(|key| text.contains(&key.id)));
    office.rotate_keys(RotateKeys { revoke_now: true }).await.unwrap();
    let text = String::from_utf8_lossy(certs(Some(&tag)).await.body()).into_owned();
    assert!(before.iter().all(|key| !text.contains(&key.id)), "at once");
    assert_eq!(office.keys().await.unwrap().len(), 2);
}
