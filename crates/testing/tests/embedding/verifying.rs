//! A server that is not in the process of its connector finds out who sends its requests.

use std::net::SocketAddr;

use axum::{Extension, Router, routing::get};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tunnel_edge::{
    keys::RotateKeys,
    socket::{Administration as _, Client, CreateServiceToken, ServiceTokenIssued},
};
use tunnel_origin::{
    ASSERTION_HEADER, COMPATIBLE_HEADER, Identity, Published, Sender, SocketTarget, Verifier, verify::AssertionLayer,
};
use tunnel_proto::{AppId, dial::Trust};
use tunnel_testing::{Edge, Visitor};

use crate::keys::{assertion, audience, key_of};

const HOST: &str = "app.localhost";

/// An edge, and a web server at a port which a connector publishes.
struct Place {
    edge: Edge,
    office: Client,
    address: SocketAddr,
    _published: Published,
}

impl Place {
    /// `layer` is made of the edge and the application.
    async fn open(layer: impl FnOnce(&Edge, AppId) -> AssertionLayer) -> Self {
        let edge = Edge::start().await.unwrap();
        edge.admit(HOST, &["ann@example.com"]).await.unwrap();
        let office = Client::find(&edge.inner().state().config.data_dir).await.unwrap().unwrap();
        let layer = layer(&edge, audience(&edge).await);
        let app = Router::new()
            .route("/", get(async |who: Identity| who.email().to_string()))
            .route("/assertion", get(assertion))
            .route("/extension", get(async |Extension(who): Extension<Identity>| who.person().to_string()))
            .route("/sender", get(async |who: Sender| sender(&who)))
            .layer(layer);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        let origin = edge.origin().connect().await.unwrap();
        let published = origin.http(HOST).forward(&format!("http://{address}")).await.unwrap();
        Self { edge, office, address, _published: published }
    }

    /// What the server answers somebody who comes past the edge.
    async fn past_the_edge(&self, path: &str, headers: &[(&str, &str)]) -> (StatusCode, String) {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::get(path).header("host", HOST).body(Empty::<Bytes>::new()).unwrap();
        for (name, value) in headers {
            request.headers_mut().append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let answer = sender.send_request(request).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    /// The assertion that the edge sends about ann now.
    async fn assertion(&self) -> String {
        let mut ann = self.edge.login_as(HOST, "ann@example.com").await.unwrap();
        self.assertion_to(&mut ann).await
    }

    /// The assertion that the edge sends about a visitor now.
    async fn assertion_to(&self, visitor: &mut Visitor) -> String {
        let answer = visitor.get(&self.edge.url(HOST, "/assertion")).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        String::from_utf8(answer.body().to_vec()).unwrap()
    }

    /// A machine that the edge admits.
    async fn machine(&self) -> ServiceTokenIssued {
        let create = CreateServiceToken { name: "robot".parse().unwrap(), life: 3600 };
        let token = self.office.create_service_token(create).await.unwrap();
        let machines = format!(
            "policies: [{{name: machines, action: service_auth, include: [{{service_token: robot}}]}}]\n\
             applications: [{{name: {HOST}, hostnames: [{HOST}], policies: [machines, {HOST}]}}]\n"
        );
        self.edge.declare(&machines).await.unwrap();
        token
    }

    async fn ask_as(&self, token: &ServiceTokenIssued, path: &str) -> (StatusCode, String) {
        let request = Request::get(self.edge.url(HOST, path))
            .header("cf-access-client-id", &token.id)
            .header("cf-access-client-secret", &token.secret);
        let answer = self.edge.visitor().send(request.body(Bytes::new()).unwrap()).await.unwrap();
        (answer.status(), String::from_utf8_lossy(answer.body()).into_owned())
    }
}

fn sender(who: &Sender) -> String {
    match who {
        Sender::Person(person) => person.email().to_string(),
        Sender::Machine(machine) => machine.token().to_owned(),
    }
}

fn verifier(edge: &Edge, app: AppId) -> Verifier {
    let verifier = Verifier::of_issuer(&edge.url("access.localhost", ""), [app]).unwrap();
    verifier.trusting(Trust::Ca(edge.ca_pem().to_owned()))
}

fn persons(edge: &Edge, app: AppId) -> AssertionLayer {
    AssertionLayer::new(verifier(edge, app))
}

// S1
#[tokio::test]
async fn whoever_comes_past_the_edge_is_turned_away() {
    let place = Place::open(persons).await;
    let mut ann = place.edge.login_as(HOST, "ann@example.com").await.unwrap();
    let answer = ann.get(&place.edge.url(HOST, "/")).await.unwrap();
    assert_eq!((answer.status(), &answer.body()[..]), (StatusCode::OK, &b"ann@example.com"[..]));
    let token = place.assertion_to(&mut ann).await;
    let forged = format!("{}x", &token[..token.len() - 1]);
    for headers in [
        &[][..],
        &[("access-user-email", "ann@example.com"), ("cf-access-authenticated-user-email", "ann@example.com")],
        &[(ASSERTION_HEADER, "")],
        &[(ASSERTION_HEADER, "nonsense")],
        &[(ASSERTION_HEADER, &forged)],
        &[("authorization", &token)],
        // Two opinions are none.
        &[(ASSERTION_HEADER, &token), (ASSERTION_HEADER, &token)],
        &[(COMPATIBLE_HEADER, &token), (COMPATIBLE_HEADER, &token)],
        &[(ASSERTION_HEADER, &token), (COMPATIBLE_HEADER, &forged)],
        &[(ASSERTION_HEADER, &forged), (COMPATIBLE_HEADER, &token)],
        &[(ASSERTION_HEADER, ""), (COMPATIBLE_HEADER, &token)],
    ] {
        let (status, body) = place.past_the_edge("/", headers).await;
        assert_eq!((status, body.as_str()), (StatusCode::FORBIDDEN, "It is not known who sent this request.\n"));
    }
    for headers in [
        &[(ASSERTION_HEADER, token.as_str())][..],
        &[(COMPATIBLE_HEADER, &token)],
        &[(ASSERTION_HEADER, &token), (COMPATIBLE_HEADER, &token)],
    ] {
        assert_eq!(place.past_the_edge("/", headers).await, (StatusCode::OK, "ann@example.com".to_owned()));
    }
    let (status, person) = place.past_the_edge("/extension", &[(ASSERTION_HEADER, &token)]).await;
    assert_eq!((status, person.len()), (StatusCode::OK, 36));
}

// S1
#[tokio::test]
async fn an_assertion_is_for_its_application_and_its_edge() {
    let other = AppId::from_bytes([9; 32]);
    let place = Place::open(|edge, _| AssertionLayer::new(verifier(edge, other))).await;
    let mut ann = place.edge.login_as(HOST, "ann@example.com").await.unwrap();
    let answer = ann.get(&place.edge.url(HOST, "/")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    // Any of several is enough.
    let layer = |edge: &Edge, app| {
        let verifier = Verifier::of_issuer(&edge.url("access.localhost", "/"), [other, app]).unwrap();
        AssertionLayer::new(verifier.trusting(Trust::Ca(edge.ca_pem().to_owned())))
    };
    let place = Place::open(layer).await;
    let token = place.assertion().await;
    assert_eq!(place.past_the_edge("/", &[(ASSERTION_HEADER, &token)]).await.0, StatusCode::OK);
    // Whose keys are the same, and whose name is not.
    let keys = place.edge.inner().state().keys.jwks();
    let app = audience(&place.edge).await;
    let mut headers = HeaderMap::new();
    headers.insert(ASSERTION_HEADER, token.parse().unwrap());
    let issuer = place.edge.url("access.localhost", "");
    let given = Verifier::with_keys(&issuer, [app], keys.clone());
    assert_eq!(given.verify(&headers).await.unwrap().email().as_str(), "ann@example.com");
    assert!(given.for_app(other).verify(&headers).await.is_err());
    assert!(Verifier::with_keys("https://access.example.com", [app], keys).verify(&headers).await.is_err());
}

#[tokio::test]
async fn machines_are_let_in_where_the_program_says_so() {
    let place = Place::open(persons).await;
    let token = place.machine().await;
    assert_eq!(place.ask_as(&token, "/sender").await.0, StatusCode::FORBIDDEN);
    let place = Place::open(|edge, app| persons(edge, app).with_machines()).await;
    let token = place.machine().await;
    assert_eq!(place.ask_as(&token, "/sender").await, (StatusCode::OK, token.id.clone()));
    // A handler that wants a person still gets none.
    assert_eq!(place.ask_as(&token, "/").await.0, StatusCode::FORBIDDEN);
    let mut ann = place.edge.login_as(HOST, "ann@example.com").await.unwrap();
    let answer = ann.get(&place.edge.url(HOST, "/sender")).await.unwrap();
    assert_eq!(&answer.body()[..], b"ann@example.com");
}

// S7
#[tokio::test]
async fn after_an_emergency_the_next_request_is_believed_and_what_was_signed_before_is_not() {
    let place = Place::open(persons).await;
    let mut ann = place.edge.login_as(HOST, "ann@example.com").await.unwrap();
    let url = place.edge.url(HOST, "/assertion");
    let before = String::from_utf8(ann.get(&url).await.unwrap().body().to_vec()).unwrap();
    place.office.rotate_keys(RotateKeys { revoke_now: true }).await.unwrap();
    let answer = ann.get(&url).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let after = String::from_utf8(answer.body().to_vec()).unwrap();
    assert_ne!(key_of(&after), key_of(&before), "nothing that was kept is sent again");
    assert_eq!(place.past_the_edge("/", &[(ASSERTION_HEADER, &before)]).await.0, StatusCode::FORBIDDEN);
    assert_eq!(place.past_the_edge("/", &[(ASSERTION_HEADER, &after)]).await.0, StatusCode::OK);
}

#[tokio::test]
async fn without_its_edge_a_server_goes_on_with_the_keys_it_has() {
    let place = Place::open(persons).await;
    let token = place.assertion().await;
    let Place { edge, office, address, _published } = place;
    let lonely = persons(&edge, audience(&edge).await);
    // Nothing answers there.
    let nobody = SocketTarget::new("127.0.0.1", 1).unwrap();
    let never = AssertionLayer::new(verifier(&edge, audience(&edge).await).dialling(nobody));
    edge.stop().await;
    let place = Lonely { address };
    assert_eq!(place.ask(&token).await, StatusCode::OK, "known from before");
    for layer in [lonely, never] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().route("/", get(async || "in")).layer(layer);
        tokio::spawn(async move { axum::serve(listener, app).await });
        assert_eq!(Lonely { address }.ask(&token).await, StatusCode::SERVICE_UNAVAILABLE, "nobody knows yet");
    }
    drop(office);
}

/// A server whose edge has gone.
struct Lonely {
    address: SocketAddr,
}

impl Lonely {
    async fn ask(&self, token: &str) -> StatusCode {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get("/").header("host", HOST).header(ASSERTION_HEADER, token);
        sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap().status()
    }
}
