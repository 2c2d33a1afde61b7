//! What other sites may do to an application: which cookies go with what they ask, and what their scripts may read.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use axum::Router;
use bytes::Bytes;
use http::{Request, header};
use tunnel_origin::Published;
use tunnel_testing::{Answer, Edge, Visitor};

const API: &str = "api.localhost";
const PLAIN: &str = "plain.localhost";
const DESK: &str = "https://desk.example.com";
const ANN: &str = "ann@example.com";

/// An edge with applications, and a service at [`API`] and [`PLAIN`] that counts what it is asked.
struct Place {
    edge: Edge,
    asked: Arc<AtomicUsize>,
    _published: [Published; 2],
}

impl Place {
    async fn open(applications: &str) -> Self {
        let edge = Edge::start().await.unwrap();
        let policies = "policies: [{name: all, action: allow, include: [everyone]}]";
        edge.declare(&format!("{policies}\napplications:\n{applications}")).await.unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let counting = asked.clone();
        let answer = move || {
            counting.fetch_add(1, SeqCst);
            async { "the service" }
        };
        let app = Router::new().fallback(answer);
        let origin = edge.origin().connect().await.unwrap();
        let api = origin.http(API).serve(app.clone()).await.unwrap();
        let plain = origin.http(PLAIN).serve(app).await.unwrap();
        Self { edge, asked, _published: [api, plain] }
    }

    /// Asks as a script of a page does.
    async fn script(
        &self,
        who: &mut Visitor,
        method: &str,
        (host, path): (&str, &str),
        fields: &[(&str, &str)],
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(self.edge.url(host, path));
        request = request.header("accept", "*/*").header("sec-fetch-mode", "cors");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        who.send(request.body(Bytes::new()).unwrap()).await.unwrap()
    }

    fn asked(&self) -> usize {
        self.asked.load(SeqCst)
    }
}

/// The fields by which a browser decides what a page may read or send.
fn allowed(answer: &Answer) -> Vec<String> {
    let line =
        |(name, value): (&header::HeaderName, &http::HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
    let mut lines: Vec<_> =
        answer.headers().iter().filter(|(name, _)| name.as_str().starts_with("access-control-")).map(line).collect();
    lines.sort();
    lines
}

// H9
#[tokio::test(flavor = "multi_thread")]
async fn only_pages_of_listed_origins_may_ask_and_read_and_no_preflight_reaches_a_service() {
    let cors = format!(
        "cors: {{allowed_origins: [\"{DESK}\"], allowed_methods: [PUT], allowed_headers: [X-Api], allow_credentials: true, max_age: 600}}"
    );
    let place = Place::open(&format!(
        "  - {{name: api, hostnames: [{API}], policies: [all], {cors}}}\n\
         \x20 - {{name: quiet, hostnames: [{API}/quiet], policies: [all]}}\n\
         \x20 - {{name: plain, hostnames: [{PLAIN}], policies: [all]}}\n"
    ))
    .await;
    let asks = ("access-control-request-method", "PUT");
    let readable = ["access-control-allow-credentials: true", "access-control-allow-origin: https://desk.example.com"];
    let mut ann = place.edge.login_as(API, ANN).await.unwrap();
    let before = place.asked();
    // With a session, which browsers do not send along, and without one.
    for mut who in [place.edge.visitor(), ann.clone()] {
        let answer = place.script(&mut who, "OPTIONS", (API, "/x?y"), &[("origin", DESK), asks]).await;
        assert_eq!(answer.status(), 204);
        let expected = [
            "access-control-allow-credentials: true",
            "access-control-allow-headers: x-api",
            "access-control-allow-methods: PUT",
            "access-control-allow-origin: https://desk.example.com",
            "access-control-max-age: 600",
        ];
        assert_eq!(allowed(&answer), expected);
        assert_eq!(answer.headers()[header::VARY], "Origin");
        assert!(answer.body().is_empty() && !answer.headers().contains_key(header::SET_COOKIE));
    }
    let mut nobody = place.edge.visitor();
    let own = format!("https://{}", place.edge.host(PLAIN));
    for (at, fields, readers) in [
        ((API, "/"), &[("origin", "https://evil.test"), asks][..], &[] as &[&str]),
        ((API, "/"), &[("origin", "null"), asks], &[]),
        ((API, "/"), &[("origin", "http://desk.example.com"), asks], &[]),
        ((API, "/"), &[("origin", "https://desk.example.com.evil.test"), asks], &[]),
        ((API, "/"), &[("origin", DESK), ("origin", "https://evil.test"), asks], &[]),
        ((API, "/"), &[asks], &[]),
        // None by what it asks, and so turned away like anything else; that may be read.
        ((API, "/"), &[("origin", DESK)], &readable),
        ((API, "/"), &[("origin", DESK), asks, asks], &readable),
        // Another application, and a path that could be either's.
        ((API, "/quiet"), &[("origin", DESK), asks], &[]),
        ((API, "/quiet/../x"), &[("origin", DESK), asks], &[]),
        ((API, "/x/%2e%2e/quiet"), &[("origin", DESK), asks], &[]),
        ((PLAIN, "/"), &[("origin", DESK), asks], &[]),
        ((PLAIN, "/"), &[("origin", own.as_str()), asks], &[]),
    ] {
        let answer = place.script(&mut nobody, "OPTIONS", at, fields).await;
        assert_eq!(answer.status(), 401, "{at:?} {fields:?}");
        assert!(!answer.headers().contains_key(header::LOCATION), "{at:?} {fields:?}");
        assert_eq!(allowed(&answer), readers, "{at:?} {fields:?}");
    }
    // Also where it does not look like a script's.
    let request = Request::builder().method("OPTIONS").uri(place.edge.url(PLAIN, "/"));
    let request = request.header("accept", "text/html").header("origin", DESK).header(asks.0, asks.1);
    let answer = nobody.send(request.body(Bytes::new()).unwrap()).await.unwrap();
    assert!(answer.status() == 401 && !answer.headers().contains_key(header::LOCATION), "{answer:?}");
    // What is the edge's own is for its own pages.
    let answer = place.script(&mut nobody, "OPTIONS", (API, "/.access/identity"), &[("origin", DESK), asks]).await;
    assert_eq!(allowed(&answer), [""; 0]);
    assert_eq!(place.asked(), before, "nothing of all this reaches the service");
    for (origin, readers) in [(DESK, &readable[..]), ("https://evil.test", &[][..])] {
        let answer = place.script(&mut nobody, "PUT", (API, "/x"), &[("origin", origin)]).await;
        assert_eq!(answer.status(), 401, "{origin}");
        assert_eq!(allowed(&answer), readers, "{origin}");
        let answer = place.script(&mut nobody, "PUT", (PLAIN, "/x"), &[("origin", origin)]).await;
        assert_eq!((answer.status().as_u16(), allowed(&answer).len()), (401, 0), "{origin}");
    }
    assert_eq!(place.asked(), before);
    // Who may read what the service says is the service's to say.
    let answer = place.script(&mut ann, "PUT", (API, "/x"), &[("origin", DESK)]).await;
    assert_eq!((answer.status().as_u16(), allowed(&answer).len(), place.asked()), (200, 0, before + 1));
}

/// Follows redirects of an address, as a browser that says where the way began, up to the answer that begins a session; gives
/// that and the line of its cookie.
async fn let_in(visitor: &mut Visitor, url: &str, site: Option<&str>) -> (Answer, String) {
    let mut at = url.to_owned();
    for _ in 0..5 {
        let mut request = Request::get(&at).header("accept", "text/html").header("sec-fetch-mode", "navigate");
        if let Some(site) = site {
            request = request.header("sec-fetch-site", site);
        }
        let answer = visitor.send(request.body(Bytes::new()).unwrap()).await.unwrap();
        let mut lines = answer.headers().get_all(header::SET_COOKIE).iter().map(|line| line.to_str().unwrap());
        let line = lines.find(|line| line.starts_with("__Host-access=")).map(str::to_owned);
        if let Some(line) = line {
            return (answer, line);
        }
        at = answer.headers()[header::LOCATION].to_str().unwrap().to_owned();
    }
    panic!("no session begins at {url}");
}

// S4
#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_with_what_other_sites_ask_as_its_application_says_and_strictness_makes_no_circle() {
    let place = Place::open(&format!(
        "  - {{name: first, hostnames: [first.localhost], policies: [all]}}\n\
         \x20 - {{name: api, hostnames: [{API}], policies: [all], same_site: none}}\n\
         \x20 - {{name: plain, hostnames: [{PLAIN}], policies: [all], same_site: strict}}\n"
    ))
    .await;
    // Nothing is published there; the login is good for what follows.
    let mut ann = place.edge.login_as("first.localhost", ANN).await.unwrap();
    let (answer, line) = let_in(&mut ann, &place.edge.url(API, "/x"), None).await;
    assert_eq!(answer.status(), 303);
    assert!(line.ends_with("; Secure; HttpOnly; SameSite=None"), "{line}");
    // By plain HTTP it goes with no more than followed links.
    let plain = |host: &str| format!("http://{host}:{}/x", place.edge.inner().plain()[0].port());
    let mut careless = place.edge.visitor();
    careless.login(&plain("first.localhost"), "careless@example.com").await.unwrap();
    let (_, line) = let_in(&mut careless, &plain(API), None).await;
    assert!(line.ends_with("; Secure; HttpOnly; SameSite=Lax"), "{line}");
    let asked = place.asked();
    let target = place.edge.url(PLAIN, "/pay?to=x&sum=1");
    for (site, goes_on) in [
        (None, false),
        (Some("cross-site"), false),
        (Some("same-site"), true),
        (Some("same-origin"), true),
        (Some("none"), true),
    ] {
        let mut who = ann.clone();
        let (answer, line) = let_in(&mut who, &target, site).await;
        assert!(line.ends_with("; Secure; HttpOnly; SameSite=Strict"), "{line}");
        let location = answer.headers().get(header::LOCATION).map(|value| value.to_str().unwrap());
        if goes_on {
            assert_eq!((answer.status().as_u16(), location), (303, Some(target.as_str())), "{site:?}");
            continue;
        }
        // A page that is left by a press alone.
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        assert_eq!((answer.status().as_u16(), location), (200, None), "{site:?}");
        assert!(!answer.headers().contains_key(header::REFRESH), "{site:?}");
        assert!(text.contains(&format!("href=\"{}\"", target.replace('&', "&#38;"))), "{text}");
        assert_eq!(who.get(&target).await.unwrap().status(), 200);
    }
    assert_eq!(place.asked(), asked + 2, "the page itself asks nothing");
}
