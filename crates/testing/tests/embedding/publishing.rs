//! Publishing, and ending it.

use std::time::Duration;

use axum::{Router, routing::get};
use futures::StreamExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::timeout,
};
use tunnel_origin::{Origin, Status, pem};
use tunnel_proto::{dial::LocalEdge, enrol::CreateTunnel, identity::KeyAndCsr};
use tunnel_testing::Edge;

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_tcp_service_beside_the_program_is_reached_through_the_client() {
    let edge = Edge::start().await.unwrap();
    edge.admit("db.localhost", &["ann@example.com"]).await.unwrap();
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = service.local_addr().unwrap().to_string();
    let origin = edge.origin().connect().await.unwrap();
    let published = origin.tcp("db.localhost").forward(&target).await.unwrap();
    let client = edge.client("ann@example.com").build().unwrap();
    let mut stream = client.tcp(&edge.host("db.localhost")).connect().await.unwrap();
    let (mut accepted, _) = timeout(PATIENCE, service.accept()).await.unwrap().unwrap();
    stream.write_all(b"ping").await.unwrap();
    let mut four = [0; 4];
    accepted.read_exact(&mut four).await.unwrap();
    accepted.write_all(b"pong").await.unwrap();
    stream.read_exact(&mut four).await.unwrap();
    assert_eq!((&four, published.counters().streams), (b"pong", 1));
}

#[tokio::test]
async fn a_listener_is_a_stream_of_connections() {
    let edge = Edge::start().await.unwrap();
    edge.admit_everyone("raw.localhost").await.unwrap();
    let mut listener = edge.origin().connect().await.unwrap().tcp("raw.localhost").listen().await.unwrap();
    let client = edge.client("ann@example.com").build().unwrap();
    let mut stream = client.tcp(&edge.host("raw.localhost")).connect().await.unwrap();
    let mut conn = timeout(PATIENCE, listener.next()).await.unwrap().unwrap();
    assert_eq!((conn.hostname().as_str(), conn.client_addr().is_loopback()), ("raw.localhost", true));
    assert_eq!(listener.counters().streams_open, 1);
    conn.write_all(b"x").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'x');
    // Dropped and not shut down: cut, and nothing that looks like an end.
    drop(conn);
    assert!(timeout(PATIENCE, stream.read_u8()).await.unwrap().is_err());
}

#[tokio::test]
async fn draining_lets_what_is_in_flight_end() {
    let edge = Edge::start().await.unwrap();
    edge.admit_everyone("slow.localhost").await.unwrap();
    let origin = edge.origin().connect().await.unwrap();
    let (begun, mut waiting) = tokio::sync::mpsc::channel::<()>(1);
    let slow = async move || {
        begun.send(()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        "done"
    };
    let fast = Router::new().route("/", get(async || "fast")).route("/slow", get(slow));
    let mut published = origin.http("slow.localhost").serve(fast).await.unwrap();
    let mut ann = edge.login_as("slow.localhost", "ann@example.com").await.unwrap();
    let url = edge.url("slow.localhost", "/slow");
    let asking = tokio::spawn(async move { ann.get(&url).await });
    waiting.recv().await.unwrap();
    let mut status = origin.status();
    assert!(status.borrow_and_update().is_ready());
    timeout(PATIENCE, origin.drain(Duration::from_secs(10))).await.unwrap();
    let answer = asking.await.unwrap().unwrap();
    assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, &b"done"[..]));
    assert_eq!(*status.borrow_and_update(), Status::Ended);
    published.ended().await.unwrap();
}

#[tokio::test]
async fn what_is_dropped_is_published_no_more() {
    let edge = Edge::start().await.unwrap();
    edge.admit_everyone("app.localhost").await.unwrap();
    let origin = edge.origin().connect().await.unwrap();
    let published = origin.http("app.localhost").serve(Router::new().route("/", get(async || "here"))).await.unwrap();
    let mut ann = edge.login_as("app.localhost", "ann@example.com").await.unwrap();
    let url = edge.url("app.localhost", "/");
    assert_eq!(ann.get(&url).await.unwrap().status(), 200);
    drop(published);
    let gone = async {
        while ann.get(&url).await.unwrap().status().is_success() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, gone).await.unwrap();
    origin.status().wait_for(|status| !status.is_ready()).await.unwrap();
}

#[tokio::test]
async fn a_stored_tunnel_publishes_what_is_routed_to_it_and_nothing_else() {
    let edge = Edge::start().await.unwrap();
    edge.admit_everyone("wiki.localhost").await.unwrap();
    let local = LocalEdge::find(&edge.inner().state().config.data_dir).unwrap();
    let info = local.info().await.unwrap();
    let key = KeyAndCsr::generate().unwrap();
    let hostnames = vec!["wiki.localhost".parse().unwrap()];
    let request = CreateTunnel { name: "wiki".parse().unwrap(), hostnames, csr: key.csr_pem };
    let made = local.create_tunnel(&request).await.unwrap();
    let credentials = tunnel_origin::Credentials::new(info.zone, &made.ca, &made.certificate, key.key_pem).unwrap();
    let dir = edge.dir().join("wiki");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("credentials.pem"), pem::join(&credentials)).unwrap();
    let about = format!(r#"{{"name":"wiki","zone":"localhost","edge":"{}"}}"#, info.edge);
    std::fs::write(dir.join("tunnel.json"), about).unwrap();
    let origin = Origin::builder().stored(&dir).connect().await.unwrap();
    let _published = origin.http("wiki.localhost").serve(Router::new().route("/", get(async || "page"))).await.unwrap();
    let mut ann = edge.login_as("wiki.localhost", "ann@example.com").await.unwrap();
    assert_eq!(&ann.get(&edge.url("wiki.localhost", "/")).await.unwrap().body()[..], b"page");
    let error = origin.http("other.localhost").forward("http://127.0.0.1:1").await.unwrap_err();
    assert!(error.code() == "table_refused" && !error.is_retryable(), "{error}");
}

#[tokio::test]
async fn what_is_written_wrongly_is_refused_before_anything_is_published() {
    let edge = Edge::start().await.unwrap();
    let origin = edge.origin().connect().await.unwrap();
    for (code, refused) in [
        ("hostname", origin.http("not a host").forward("http://127.0.0.1:1").await),
        ("service", origin.http("www.localhost").forward("127.0.0.1:1").await),
        ("service", origin.http("www.localhost").forward("tcp://127.0.0.1:1").await),
        ("service", origin.tcp("www.localhost").forward("http://127.0.0.1:1").await),
        ("service", origin.tcp("www.localhost").forward("nowhere").await),
    ] {
        assert_eq!(refused.unwrap_err().code(), code);
    }
}
