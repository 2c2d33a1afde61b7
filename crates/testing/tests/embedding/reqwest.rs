//! Programs with reqwest reach what is published, and nothing that is not.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    http::HeaderMap,
    routing::{get, post},
};
use rustls::{ClientConfig, RootCertStore, ServerConfig, crypto::CryptoProvider, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Notify, broadcast::error::RecvError},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, rustls};
use tunnel_client::{Client, Event};
use tunnel_origin::Listener;
use tunnel_testing::Edge;

const PATIENCE: Duration = Duration::from_secs(30);

/// An edge at which ann may reach `api.localhost`, what takes the connections to it, and her client.
async fn edge() -> (Edge, Listener, Client) {
    let edge = Edge::start().await.unwrap();
    edge.admit("api.localhost", &["ann@example.com"]).await.unwrap();
    let listener = edge.origin().connect().await.unwrap().tcp("api.localhost").listen().await.unwrap();
    let client = edge.client("ann@example.com").build().unwrap();
    (edge, listener, client)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A client of reqwest through `client`, with TLS that believes these roots.
async fn web(client: &Client, roots: RootCertStore) -> reqwest::Client {
    let tls = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let tls = tls.with_root_certificates(roots).with_no_client_auth();
    client.reqwest_builder().await.unwrap().tls_backend_preconfigured(tls).build().unwrap()
}

/// Sends back what came, and says whether the proxy's password was with it.
async fn echo(headers: HeaderMap, body: Bytes) -> ([(&'static str, String); 2], Bytes) {
    let number = headers["x-number"].to_str().unwrap().to_owned();
    ([("x-number", number), ("x-password", headers.contains_key("proxy-authorization").to_string())], body)
}

#[tokio::test]
async fn requests_arrive_as_they_were_sent_and_without_the_password_of_the_proxy() {
    let (edge, listener, client) = edge().await;
    let api = Router::new().route("/echo", post(echo));
    tokio::spawn(async move { axum::serve(listener, api).await });
    let web = web(&client, RootCertStore::empty()).await;
    let mut asking = JoinSet::new();
    for number in 0..50_u16 {
        let request = web.post(format!("http://{}/echo", edge.host("api.localhost"))).header("x-number", number);
        asking.spawn(async move {
            let body = vec![b'x'; 1000 * usize::from(number)];
            let answer = request.body(body.clone()).send().await.unwrap();
            let said = ["x-number", "x-password"].map(|name| answer.headers()[name].to_str().unwrap().to_owned());
            assert_eq!((answer.status().as_u16(), said), (200, [number.to_string(), "false".to_owned()]));
            assert!(answer.bytes().await.unwrap() == body, "the body of {number} came back");
        });
    }
    timeout(PATIENCE, asking.join_all()).await.unwrap();
}

#[tokio::test]
async fn https_is_tls_to_the_service_itself() {
    let (edge, mut listener, client) = edge().await;
    let made = rcgen::generate_simple_self_signed(["api.localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let server = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let server = server.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    tokio::spawn(async move {
        let mut tls = TlsAcceptor::from(Arc::new(server)).accept(listener.accept().await.unwrap()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(tls.read_u8().await.unwrap());
        }
        assert!(!String::from_utf8(head).unwrap().to_lowercase().contains("proxy-authorization"));
        tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret").await.unwrap();
        tls.read_u8().await.ok();
    });
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let web = web(&client, roots).await;
    let answer = timeout(PATIENCE, web.get(format!("https://{}/", edge.host("api.localhost"))).send()).await.unwrap();
    assert_eq!(answer.unwrap().text().await.unwrap(), "secret");
    let none = web.get(format!("https://{}/", edge.host("nothing.localhost"))).send().await;
    assert!(none.unwrap_err().is_connect());
}

#[tokio::test]
async fn what_is_not_published_is_answered_by_the_proxy_and_says_so() {
    let (edge, _listener, client) = edge().await;
    let web = web(&client, RootCertStore::empty()).await;
    let answer = web.get(format!("http://{}/", edge.host("nothing.localhost"))).send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["proxy-status"].to_str().unwrap()),
        (502, "tunnel; details=\"no_application\"")
    );
    let reason = answer.text().await.unwrap();
    assert!(reason.contains("there is no application at `nothing.localhost`"), "{reason}");
}

#[tokio::test]
async fn the_proxy_serves_nobody_but_its_own_client() {
    let (edge, _listener, client) = edge().await;
    let mut events = client.events();
    let web = web(&client, RootCertStore::empty()).await;
    assert!(!format!("{web:?}").contains("127.0.0.1"), "the proxy's address and password are not printed: {web:?}");
    let host = edge.host("nothing.localhost");
    web.get(format!("http://{host}/")).send().await.unwrap();
    let proxy = loop {
        if let Event::Failed { local, .. } = timeout(PATIENCE, events.recv()).await.unwrap().unwrap() {
            break local;
        }
    };
    assert!(proxy.ip().is_loopback());
    for given in ["", "Proxy-Authorization: Basic\r\n", "Proxy-Authorization: Basic dHVubmVsOg==\r\n"] {
        for asked in [format!("CONNECT {host}"), format!("GET http://{host}/"), "GET /".to_owned()] {
            let mut tcp = TcpStream::connect(proxy).await.unwrap();
            let request = format!("{asked} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{given}\r\n");
            tcp.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            timeout(PATIENCE, tcp.read_to_string(&mut answer)).await.unwrap().unwrap();
            assert!(answer.starts_with("HTTP/1.1 407 "), "{request}{answer}");
        }
    }
    assert!(events.is_empty(), "nothing was opened for them");
}

#[tokio::test]
async fn an_answer_under_way_outlives_the_client_and_nothing_else_does() {
    let (edge, listener, client) = edge().await;
    let go_on = Arc::new(Notify::new());
    let waiting = go_on.clone();
    let slow = async move || {
        let rest = futures::stream::once(async move {
            waiting.notified().await;
            Ok::<_, std::io::Error>("late")
        });
        Body::from_stream(futures::StreamExt::chain(futures::stream::iter([Ok("early ")]), rest))
    };
    let api = Router::new().route("/", get(slow));
    tokio::spawn(async move { axum::serve(listener, api).await });
    let web = web(&client, RootCertStore::empty()).await;
    let answer = timeout(PATIENCE, web.get(format!("http://{}/", edge.host("api.localhost"))).send()).await.unwrap();
    let mut events = client.events();
    drop((web, client));
    go_on.notify_one();
    assert_eq!(timeout(PATIENCE, answer.unwrap().text()).await.unwrap().unwrap(), "early late");
    let over = async { while !matches!(events.recv().await, Err(RecvError::Closed)) {} };
    timeout(PATIENCE, over).await.expect("the proxy has gone, and the client that it had with it");
}
