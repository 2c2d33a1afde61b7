//! Services that speak HTTP/2: every request by it, many on one connection, none twice.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use bytes::Bytes;
use futures::future::join_all;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::aws_lc_rs::default_provider, pki_types::PrivateKeyDer},
};
use tunnel_origin::{Opening, Published, Service, ServiceKind, ServiceOptions, Stream};
use tunnel_testing::Edge;

const HOST: &str = "app.localhost";

/// A service that says over which of its connections a request came, by which version, for which authority, and what it
/// brought.
async fn told(connection: usize, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let authority = parts.uri.authority().map(ToString::to_string).unwrap_or_default();
    let host = parts.headers.contains_key("host");
    assert_eq!(parts.version, Version::HTTP_2);
    let said = format!("{connection} {authority} {host} {}", String::from_utf8_lossy(&body));
    let mut response = Response::new(Full::new(Bytes::from(said)));
    if parts.uri.path() == "/challenge" {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        response.headers_mut().insert("www-authenticate", HeaderValue::from_static("Negotiate"));
    }
    Ok(response)
}

async fn publish(edge: &Edge) -> (Published, Arc<AtomicUsize>) {
    edge.admit_everyone(HOST).await.unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    let handler = move |stream: Stream, _: Opening| {
        let connection = counted.fetch_add(1, SeqCst) + 1;
        async move {
            let service = service_fn(move |request| told(connection, request));
            let serving = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
            serving.await.map_err(std::io::Error::other)
        }
    };
    let origin = edge.origin().connect().await.unwrap();
    let service = Service::handler(ServiceKind::H2c, handler);
    (origin.publish(HOST.parse().unwrap(), service).await.unwrap(), connections)
}

#[tokio::test]
async fn a_service_that_speaks_http_2_is_spoken_to_by_it_on_a_connection_for_many() {
    let edge = Edge::start().await.unwrap();
    let (_published, connections) = publish(&edge).await;
    let mut ann = edge.login_as(HOST, "ann@example.com").await.unwrap();
    let request = Request::post(edge.url(HOST, "/x?y")).body(Bytes::from_static(b"a body")).unwrap();
    let answer = ann.send(request).await.unwrap();
    let expected = format!("1 {} false a body", edge.host(HOST));
    assert_eq!((answer.status(), &answer.body()[..]), (StatusCode::OK, expected.as_bytes()));
    let url = edge.url(HOST, "/");
    let many = (0..20).map(|_| {
        let (mut ann, url) = (ann.clone(), url.clone());
        async move { ann.get(&url).await.unwrap().status() }
    });
    assert!(join_all(many).await.into_iter().all(|status| status == StatusCode::OK));
    assert_eq!(connections.load(SeqCst), 1);
}

/// Says which scheme a request was made for.
async fn scheme(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let scheme = request.uri().scheme_str().unwrap_or_default().to_owned();
    Ok(Response::new(Full::new(Bytes::from(scheme))))
}

#[tokio::test]
async fn a_service_is_told_the_scheme_that_it_is_reached_by() {
    let edge = Edge::start().await.unwrap();
    edge.admit_everyone(HOST).await.unwrap();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let tls = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let tls = tls.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let mut tls = tls.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let (acceptor, listener) = (TlsAcceptor::from(Arc::new(tls)), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let service: Service = format!("https://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(tls) = acceptor.accept(tcp).await else { return };
                let serving = http2::Builder::new(TokioExecutor::new());
                serving.serve_connection(TokioIo::new(tls), service_fn(scheme)).await.ok();
            });
        }
    });
    let origin = edge.origin().connect().await.unwrap();
    let options = ServiceOptions::new().danger_no_tls_verify().http2();
    let _published = origin.publish_with(HOST.parse().unwrap(), service, options).await.unwrap();
    let mut ann = edge.login_as(HOST, "ann@example.com").await.unwrap();
    let answer = ann.get(&edge.url(HOST, "/")).await.unwrap();
    assert_eq!((answer.status(), &answer.body()[..]), (StatusCode::OK, &b"https"[..]));
}

// S1c
#[tokio::test]
async fn a_connection_that_a_service_authenticates_is_one_persons() {
    let edge = Edge::start().await.unwrap();
    let (_published, _) = publish(&edge).await;
    let mut ann = edge.login_as(HOST, "ann@example.com").await.unwrap();
    let mut ben = edge.login_as(HOST, "ben@example.com").await.unwrap();
    let on = |answer: tunnel_testing::Answer| -> usize {
        String::from_utf8_lossy(answer.body()).split(' ').next().unwrap().parse().unwrap()
    };
    let url = edge.url(HOST, "/");
    let common = on(ann.get(&url).await.unwrap());
    assert_eq!(on(ben.get(&url).await.unwrap()), common);
    let negotiate = || Request::get(url.as_str()).header("authorization", "Negotiate abc").body(Bytes::new()).unwrap();
    let own = on(ann.send(negotiate()).await.unwrap());
    assert_ne!(own, common);
    assert_eq!(on(ann.send(negotiate()).await.unwrap()), own, "the next step of it");
    assert_eq!(on(ann.get(&url).await.unwrap()), own, "and what follows");
    assert_eq!(on(ben.get(&url).await.unwrap()), common);
    assert!(![own, common].contains(&on(ben.send(negotiate()).await.unwrap())));
    // One on which a challenge was seen takes nobody's requests any more.
    let cid = edge.login_as(HOST, "cid@example.com").await.unwrap();
    let challenged = on(cid.clone().get(&edge.url(HOST, "/challenge")).await.unwrap());
    assert_eq!(challenged, common);
    assert_ne!(on(cid.clone().get(&url).await.unwrap()), common);
}

#[tokio::test]
async fn what_a_service_has_not_begun_with_is_asked_once_more_and_nothing_else() {
    let edge = Edge::start().await.unwrap();
    edge.admit_everyone(HOST).await.unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    // Each connection answers one request and refuses the others: as not begun with, or by breaking them off.
    let handler = move |stream: Stream, _: Opening| {
        let counted = counted.clone();
        async move {
            let mut connection = h2::server::handshake(stream).await.map_err(std::io::Error::other)?;
            let mut first = true;
            while let Some(accepted) = connection.accept().await {
                let Ok((request, mut respond)) = accepted else { break };
                if std::mem::take(&mut first) {
                    let mut send = respond.send_response(Response::new(()), false).map_err(std::io::Error::other)?;
                    send.send_data(Bytes::from_static(b"served"), true).map_err(std::io::Error::other)?;
                    continue;
                }
                counted.fetch_add(1, SeqCst);
                let broken = request.uri().path() == "/broken";
                respond.send_reset(if broken { h2::Reason::INTERNAL_ERROR } else { h2::Reason::REFUSED_STREAM });
            }
            Ok(())
        }
    };
    let origin = edge.origin().connect().await.unwrap();
    let service = Service::handler(ServiceKind::H2c, handler);
    let _published = origin.publish(HOST.parse().unwrap(), service).await.unwrap();
    // The login ends with a request, which the first connection answers.
    let mut ann = edge.login_as(HOST, "ann@example.com").await.unwrap();
    let mut post = async |path: &str| {
        let before = asked.load(SeqCst);
        let request = Request::post(edge.url(HOST, path)).body(Bytes::new()).unwrap();
        let status = ann.send(request).await.unwrap().status();
        (status.as_u16(), asked.load(SeqCst) - before)
    };
    assert_eq!(post("/refused").await, (200, 1), "refused once, then served by a fresh connection");
    assert_eq!(post("/broken").await, (502, 1), "nobody knows how far it got");
}
