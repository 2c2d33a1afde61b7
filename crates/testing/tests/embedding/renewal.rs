//! A form that arrives when its session has ended is sent as the person who filled it in, or not at all.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{Router, routing::post};
use bytes::Bytes;
use http::{Request, header};
use tunnel_edge::Clock;
use tunnel_origin::Identity;
use tunnel_proto::UnixTime;
use tunnel_testing::{Answer, Edge, Visitor};

const HOST: &str = "app.localhost";
const ANN: &str = "ann@example.com";
const BOB: &str = "bob@example.com";
/// Longer than a session lasts.
const LAPSE: Duration = Duration::from_secs(3600);
const FORM: &str = "title=Minutes&tag=2&tag=1";

async fn send(visitor: &mut Visitor, url: &str, site: &str) -> Answer {
    let request = Request::post(url)
        .header(header::ACCEPT, "text/html")
        .header("sec-fetch-mode", "navigate")
        .header("sec-fetch-site", site)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    visitor.send(request.body(Bytes::from_static(FORM.as_bytes())).unwrap()).await.unwrap()
}

fn text(page: &Answer) -> String {
    String::from_utf8_lossy(page.body()).into_owned()
}

/// Where the page sends the form that it keeps.
fn action(page: &Answer) -> String {
    let text = text(page);
    let (_, action) =
        text.split_once("<form class=\"stack\" method=\"post\" action=\"").unwrap_or_else(|| panic!("{text}"));
    action.split('"').next().unwrap().to_owned()
}

// A1, A3
#[tokio::test(flavor = "multi_thread")]
async fn a_kept_form_is_sent_as_who_filled_it_in_and_as_nobody_else() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    // An hour ago: when the session has lapsed it is now, to the service as well.
    let clock = Clock::manual(UnixTime(now - LAPSE.as_secs()));
    let edge = Edge::start_at(clock.clone()).await.unwrap();
    let declaration = format!(
        "policies: [{{name: app, action: allow, include: [everyone], session_duration: 15m}}]\n\
         applications: [{{name: app, hostnames: [{HOST}], policies: [app]}}]\n"
    );
    edge.declare(&declaration).await.unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = heard.clone();
    let save = move |who: Identity, body: String| {
        let hears = hears.clone();
        async move {
            hears.lock().unwrap().push(format!("{}: {body}", who.email()));
            "saved"
        }
    };
    let app = Router::new().route("/save", post(save));
    let _published = edge.origin().connect().await.unwrap().http(HOST).serve(app).await.unwrap();
    let mut ann = edge.login_as(HOST, ANN).await.unwrap();
    clock.advance(LAPSE);
    let target = edge.url(HOST, "/save?x=1");
    let kept = send(&mut ann, &target, "same-origin").await;
    assert!(kept.status() == 401 && text(&kept).contains(ANN), "{}", text(&kept));
    let to = action(&kept);
    assert!(to.starts_with(&edge.url(HOST, "/.access/form?kept=")), "{to}");
    // Nobody is logged in yet: it stays.
    let still = send(&mut ann, &to, "same-origin").await;
    assert!(still.status() == 401 && text(&still).contains("value=\"Minutes\""), "{}", text(&still));
    // Somebody else is, in the same browser so to speak.
    let mut bob = edge.login_as(HOST, BOB).await.unwrap();
    let other = send(&mut bob, &to, "same-origin").await;
    let said = text(&other);
    assert!(other.status() == 403 && said.contains(ANN) && said.contains(BOB), "{said}");
    assert!(said.contains("value=\"Minutes\"") && action(&other).contains("/.access/form?kept="), "{said}");
    assert!(heard.lock().unwrap().is_empty(), "nothing was sent as somebody else");
    let mut ann = edge.login_as(HOST, ANN).await.unwrap();
    let made_up = edge.url(HOST, "/.access/form?kept=AAAA");
    for (url, site) in [(&to, "cross-site"), (&to, "same-site"), (&to, "none"), (&made_up, "same-origin")] {
        let refused = send(&mut ann, url, site).await;
        assert!(refused.status() == 403 && !text(&refused).contains("Minutes"), "{site}: {}", text(&refused));
    }
    let sent = send(&mut ann, &to, "same-origin").await;
    let leads = |name: &str| sent.headers().get(name).map(|value| value.to_str().unwrap());
    assert_eq!((sent.status().as_u16(), leads("location")), (307, Some(target.as_str())));
    assert_eq!(leads("referrer-policy"), Some("same-origin"), "an application may ask where its form comes from");
    let saved = send(&mut ann, &target, "same-origin").await;
    assert_eq!((saved.status().as_u16(), text(&saved).as_str()), (200, "saved"));
    assert_eq!(*heard.lock().unwrap(), [format!("{ANN}: {FORM}")]);
}

// A1, A3
#[tokio::test(flavor = "multi_thread")]
async fn whoever_signs_out_leaves_no_name_behind_and_no_form_that_the_next_person_would_send() {
    let edge = Edge::start().await.unwrap();
    edge.admit_everyone(HOST).await.unwrap();
    let mut browser = edge.login_as(HOST, ANN).await.unwrap();
    let (logout, save) = (edge.url(HOST, "/.access/logout"), edge.url(HOST, "/save"));
    let asked = text(&browser.get(&logout).await.unwrap());
    let (_, token) = asked.split_once("name=\"form_token\" value=\"").unwrap_or_else(|| panic!("{asked}"));
    let out = format!("form_token={}", token.split('"').next().unwrap());
    let request = Request::post(&logout)
        .header(header::ACCEPT, "text/html")
        .header("sec-fetch-site", "same-origin")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let gone = browser.send(request.body(Bytes::from(out)).unwrap()).await.unwrap();
    assert_eq!(gone.status(), 200, "{}", text(&gone));
    // Whoever sits there now sends what is still on the screen.
    let lost = send(&mut browser, &save, "same-origin").await;
    let said = text(&lost);
    assert!(lost.status() == 401 && said.contains("signed out"), "{said}");
    assert!(!said.contains(ANN) && !said.contains("Minutes") && !said.contains("/.access/form"), "{said}");
    // With the next login it is known again.
    browser.login(&edge.url(HOST, "/"), BOB).await.unwrap();
    let session = edge.inner().state().sessions.list(edge.inner().state().now());
    edge.inner().state().sessions.end(&session.iter().map(|one| *one.id()).collect::<Vec<_>>()).await.unwrap();
    let kept = send(&mut browser, &save, "same-origin").await;
    assert!(text(&kept).contains(BOB) && action(&kept).contains("/.access/form?kept="), "{}", text(&kept));
}
