//! Who sent a request is told to the service, and never told wrongly.

use axum::{Router, http::HeaderMap, routing::get};
use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};
use tunnel_origin::{ASSERTION_HEADER, Identity, IdentityError};
use tunnel_proto::dial::Trust;
use tunnel_testing::{Edge, Visitor};

/// Requests of each of two people.
const EACH: usize = 5_000;
/// Connections of each, at once.
const CONNECTIONS: usize = 8;

async fn who(who: Identity) -> String {
    who.email().to_string()
}

async fn assertion(headers: HeaderMap) -> String {
    headers.get(ASSERTION_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// One connection of a browser that asks the same thing over and over.
async fn ask_often(address: std::net::SocketAddr, ca: String, cookie: String, times: usize, expected: &'static str) {
    let mut config = Trust::Ca(ca).client_config().unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("app.localhost").unwrap();
    let tls = TlsConnector::from(std::sync::Arc::new(config)).connect(name, tcp).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(tls)).await.unwrap();
    let driving = tokio::spawn(connection);
    for _ in 0..times {
        let request = Request::get("/")
            .header(header::HOST, format!("app.localhost:{}", address.port()))
            .header(header::COOKIE, &cookie)
            .body(Empty::<Bytes>::new())
            .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(std::str::from_utf8(&body).unwrap(), expected);
    }
    driving.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_identities_of_ten_thousand_interleaved_requests_never_cross() {
    let edge = Edge::start().await.unwrap();
    edge.admit_everyone("app.localhost").await.unwrap();
    let app = Router::new().route("/", get(who));
    let published = edge.origin().connect().await.unwrap().http("app.localhost").serve(app).await.unwrap();
    let mut asking = JoinSet::new();
    for email in ["ann@example.com", "bob@example.com"] {
        let visitor: Visitor = edge.login_as("app.localhost", email).await.unwrap();
        for _ in 0..CONNECTIONS {
            let (ca, cookie) = (edge.ca_pem().to_owned(), visitor.cookie("app.localhost"));
            asking.spawn(ask_often(edge.inner().listening()[0], ca, cookie, EACH / CONNECTIONS, email));
        }
    }
    while let Some(ended) = asking.join_next().await {
        ended.unwrap();
    }
    // They shared streams; otherwise nothing was shown.
    let streams = published.counters().streams;
    assert!(streams < 1_000, "{streams} streams for {} requests", 2 * EACH);
}

// S1
#[tokio::test]
async fn an_assertion_for_one_application_is_nothing_at_another() {
    let edge = Edge::start().await.unwrap();
    let origin = edge.origin().connect().await.unwrap();
    let (one, other) = ("one.localhost", "other.localhost");
    let mut published = Vec::new();
    for host in [one, other] {
        edge.admit_everyone(host).await.unwrap();
        published.push(origin.http(host).serve(Router::new().route("/", get(assertion))).await.unwrap());
    }
    let mut ann = edge.login_as(one, "ann@example.com").await.unwrap();
    let answer = ann.get(&edge.url(one, "/")).await.unwrap();
    let token = HeaderValue::from_bytes(answer.body()).unwrap();
    let [here, there] = [one, other].map(|host| origin.verifier(&host.parse().unwrap()));
    let headers = |tokens: &[&HeaderValue]| {
        tokens.iter().map(|token| (ASSERTION_HEADER.parse().unwrap(), (*token).clone())).collect::<HeaderMap>()
    };
    let known = here.verify(&headers(&[&token])).await.unwrap();
    assert_eq!(known.email().as_str(), "ann@example.com");
    let refused = there.verify(&headers(&[&token])).await.unwrap_err();
    assert!(matches!(refused, IdentityError::Assertion(_)), "{refused}");
    let missing = here.verify(&headers(&[])).await.unwrap_err();
    assert!(matches!(missing, IdentityError::Missing), "{missing}");
    let mut twice = headers(&[&token]);
    twice.append(ASSERTION_HEADER, token.clone());
    assert!(matches!(here.verify(&twice).await.unwrap_err(), IdentityError::Missing));
    let text = token.to_str().unwrap();
    let forged = HeaderValue::from_str(&format!("{}x", &text[..text.len() - 1])).unwrap();
    assert!(here.verify(&headers(&[&forged])).await.is_err());
    assert!(here.for_app(known.app()).verify(&headers(&[&token])).await.is_ok());
}

#[tokio::test]
async fn fields_that_an_application_calls_its_own_reach_it() {
    const OWN: [&str; 5] = ["x-access-token", "x_access_token", "x-user", "x-user-email", "x-host"];
    let edge = Edge::start().await.unwrap();
    edge.admit_everyone("app.localhost").await.unwrap();
    let said = async |headers: HeaderMap| {
        let values = OWN.iter().filter_map(|name| headers.get(*name)?.to_str().ok());
        values.collect::<Vec<_>>().join(" ")
    };
    let app = Router::new().route("/", get(said));
    let _published = edge.origin().connect().await.unwrap().http("app.localhost").serve(app).await.unwrap();
    let mut ann = edge.login_as("app.localhost", "ann@example.com").await.unwrap();
    let request = OWN.iter().fold(Request::get(edge.url("app.localhost", "/")), |it, name| it.header(*name, *name));
    let answer = ann.send(request.body(Bytes::new()).unwrap()).await.unwrap();
    assert_eq!(String::from_utf8_lossy(answer.body()), OWN.join(" "));
}

#[tokio::test]
async fn what_a_visitor_says_of_itself_reaches_no_service() {
    let edge = Edge::start().await.unwrap();
    edge.admit_everyone("app.localhost").await.unwrap();
    let app = Router::new().route("/", get(who));
    let _published = edge.origin().connect().await.unwrap().http("app.localhost").serve(app).await.unwrap();
    let mut ann = edge.login_as("app.localhost", "ann@example.com").await.unwrap();
    let request = Request::get(edge.url("app.localhost", "/"))
        .header(ASSERTION_HEADER, "nonsense")
        .header("access-user-email", "bob@example.com")
        .body(Bytes::new())
        .unwrap();
    let answer = ann.send(request).await.unwrap();
    assert_eq!(&answer.body()[..], b"ann@example.com");
}
