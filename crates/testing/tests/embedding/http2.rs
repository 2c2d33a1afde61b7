//! Services that speak HTTP/2: every request by it, many on one connection, none twice.

use std::{
    convert::Infallible,
    future::poll_fn,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::future::join_all;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::timeout,
};
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

/// Far below the minute that a service has for the beginning of an answer: a request that waits on what has ended takes longer.
const PROMPT: Duration = Duration::from_secs(10);
/// Requests at a time, fewer than one connection carries.
const TOGETHER: usize = 16;

/// How an honest service ends a connection on which nothing is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It closes it.
    Closed,
    /// It says which stream was the last, and closes it.
    GoAway,
    /// It says that it is about to, then which stream was the last, and closes it (RFC 9113 §6.8).
    Announced,
    /// The system cuts it.
    Reset,
    /// The service is stopped, and another one listens in its place.
    Restart,
}

/// A service that answers whatever it is asked, and ends all its connections when it is told how.
struct Ending {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    orders: mpsc::Sender<(End, oneshot::Sender<()>)>,
}

impl Ending {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (orders, ordered) = mpsc::channel(1);
        tokio::spawn(obey(listener, ordered, connections.clone()));
        Self { address, connections, orders }
    }

    /// Ends every connection. Where it can be seen that the edge lets go of it, that is waited for.
    async fn end(&self, end: End) {
        let (done, ended) = oneshot::channel();
        self.orders.send((end, done)).await.unwrap();
        timeout(PROMPT, ended).await.expect("the edge lets go of a connection that has ended").unwrap();
    }
}

async fn obey(
    mut listener: TcpListener,
    mut ordered: mpsc::Receiver<(End, oneshot::Sender<()>)>,
    opened: Arc<AtomicUsize>,
) {
    let address = listener.local_addr().unwrap();
    let (mut tell, mut told) = watch::channel(None);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                opened.fetch_add(1, SeqCst);
                connections.spawn(converse(accepted.unwrap().0, told.clone()));
            }
            order = ordered.recv() => {
                let Some((end, done)) = order else { return };
                tell.send_replace(Some(end));
                if end == End::Restart {
                    drop(listener);
                    while connections.join_next().await.is_some() {}
                    listener = TcpListener::bind(address).await.unwrap();
                }
                while connections.join_next().await.is_some() {}
                (tell, told) = watch::channel(None);
                done.send(()).ok();
            }
        }
    }
}

/// Serves one connection until it is told to end it.
async fn converse(tcp: TcpStream, mut told: watch::Receiver<Option<End>>) -> io::Result<()> {
    let tcp = tcp.into_std()?;
    // The same socket once more, for what the library has no word for.
    let mut socket = TcpStream::from_std(tcp.try_clone()?)?;
    let mut serving = h2::server::handshake(TcpStream::from_std(tcp)?).await.map_err(io::Error::other)?;
    loop {
        tokio::select! {
            accepted = serving.accept() => {
                let Some(Ok((request, respond))) = accepted else { return Ok(()) };
                tokio::spawn(respond_to(request, respond));
            }
            _ = told.changed() => break,
        }
    }
    let end = *told.borrow();
    match end {
        Some(End::Closed) => {}
        Some(End::GoAway) => serving.abrupt_shutdown(h2::Reason::NO_ERROR),
        Some(End::Announced) => serving.graceful_shutdown(),
        Some(End::Reset) => return socket.set_zero_linger(),
        Some(End::Restart) | None => return Ok(()),
    }
    if end != Some(End::Closed) {
        poll_fn(|cx| serving.poll_closed(cx)).await.map_err(io::Error::other)?;
    }
    drop(serving);
    socket.shutdown().await.ok();
    // Until the other side has let go of it, too.
    socket.read_to_end(&mut Vec::new()).await.map(drop)
}

/// Takes a request whole, and answers it.
async fn respond_to(
    request: Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let mut body = request.into_body();
    while let Some(piece) = body.data().await {
        body.flow_control().release_capacity(piece?.len())?;
    }
    let mut send = respond.send_response(Response::new(()), false)?;
    send.send_data(Bytes::from_static(b"served"), true)
}

// T11
#[tokio::test]
async fn no_request_waits_on_a_connection_that_its_service_has_ended() {
    let edge = Edge::start().await.unwrap();
    edge.admit_everyone(HOST).await.unwrap();
    let ending = Ending::start().await;
    let service: Service = format!("http://{}", ending.address).parse().unwrap();
    let origin = edge.origin().connect().await.unwrap();
    let options = ServiceOptions::new().http2();
    let _published = origin.publish_with(HOST.parse().unwrap(), service, options).await.unwrap();
    let (ann, url) = (edge.login_as(HOST, "ann@example.com").await.unwrap(), edge.url(HOST, "/"));
    // The status, if there is an answer in time.
    let ask = |method: &str, body: &'static [u8]| {
        let request = Request::builder().method(method).uri(url.as_str()).body(Bytes::from_static(body)).unwrap();
        let mut ann = ann.clone();
        async move { timeout(PROMPT, ann.send(request)).await.ok().map(|answer| answer.unwrap().status()) }
    };
    assert_eq!(ask("GET", b"").await, Some(StatusCode::OK));
    for end in [End::Closed, End::GoAway, End::Announced, End::Reset, End::Restart] {
        let before = ending.connections.load(SeqCst);
        ending.end(end).await;
        assert_eq!(ask("GET", b"").await, Some(StatusCode::OK), "{end:?}");
        assert!(ending.connections.load(SeqCst) > before, "{end:?}: by another connection");
        ending.end(end).await;
        let all = join_all((0..TOGETHER).map(|_| ask("GET", b""))).await;
        assert!(all.iter().all(|status| *status == Some(StatusCode::OK)), "{end:?}: {all:?}");
        // What may change something is asked once. After a cut the edge need not know of it yet.
        if !matches!(end, End::Reset | End::Restart) {
            ending.end(end).await;
            assert_eq!(ask("POST", b"a body").await, Some(StatusCode::OK), "{end:?}");
        }
    }
}
