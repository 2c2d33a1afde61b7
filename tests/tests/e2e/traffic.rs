//! Bytes: events at once, WebSockets, big bodies in flat memory, `unix:` origins.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper::{Request, body::Frame};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest, protocol::frame::coding::CloseCode};
use tokio_util::task::AbortOnDropHandle;
use tunnel_tests::{
    Canary, Connector, Edge, EdgeConfig, Lab, Smtp, Visitor,
    canary::page,
    edge::ACCESS,
    origin::{CHECKSUM_START, Streams, block, checksum},
    process::{ends_within, long},
    raw::{Tls, find},
    run,
    stage::{STAFF, WWW},
    visitor::login,
};

struct Flow {
    _smtp: Smtp,
    edge: Edge,
    connector: Connector,
    streams: Streams,
    visitor: Visitor,
}

async fn flow(lab: &Lab) -> anyhow::Result<Flow> {
    let streams = Streams::start().await?;
    let smtp = Smtp::start(lab).await?;
    let edge = Edge::with_access(lab, EdgeConfig::with_mail(&smtp), ACCESS).await?;
    let connector = Connector::publish(lab, WWW, &streams.url()).await?;
    let visitor = login(&edge.ca().await?, &smtp, WWW, STAFF).await?;
    Ok(Flow { _smtp: smtp, edge, connector, streams, visitor })
}

async fn tls(visitor: &Visitor, alpn: &str) -> anyhow::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let door = visitor.door("https", WWW)?.offering(&[alpn]);
    let Some(Tls { sni, alpn, config }) = door.tls else { anyhow::bail!("TLS") };
    let mut config = rustls::ClientConfig::clone(&config);
    config.alpn_protocols = alpn;
    let tcp = TcpStream::connect(door.address).await?;
    Ok(TlsConnector::from(std::sync::Arc::new(config)).connect(sni.try_into()?, tcp).await?)
}

/// An event arrives before the next one is even made, over both versions of HTTP.
#[test]
fn events_arrive_one_by_one() {
    run("sse", async |lab| {
        let flow = flow(&lab).await?;
        let session = flow.visitor.session(WWW)?;
        let mut raw = flow.visitor.door("https", WWW)?.open().await?;
        raw.send(format!("GET /events HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\n\r\n").as_bytes()).await?;
        let mut got = Vec::new();
        while find(&got, b": open").is_none() {
            got.extend(raw.read().await?);
        }
        for n in 0..20 {
            assert_eq!(flow.streams.say(&format!("event {n}")), 1);
            let wanted = format!("data: event {n}\n\n");
            while find(&got, wanted.as_bytes()).is_none() {
                got.extend(raw.read().await?);
            }
        }
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls(&flow.visitor, "h2").await?))
                .await?;
        tokio::spawn(connection);
        let request = Request::get(format!("https://{WWW}/events")).header("cookie", session).body(String::new())?;
        let mut body = sender.send_request(request).await?.into_body();
        let mut got = Vec::new();
        for n in 0..20 {
            // The first event is said once the stream is known to be open.
            let wanted = if n == 0 { ": open".to_owned() } else { format!("data: event {n}\n\n") };
            if n > 0 {
                flow.streams.say(&format!("event {n}"));
            }
            while find(&got, wanted.as_bytes()).is_none() {
                let frame = tokio::time::timeout(tunnel_tests::PATIENCE, body.frame()).await?.unwrap()?;
                got.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
            }
        }
        Ok(())
    });
}

/// A WebSocket, by a client that checks the handshake.
#[test]
fn a_websocket_carries_messages_both_ways() {
    run("websocket", async |lab| {
        let flow = flow(&lab).await?;
        let mut request = format!("wss://{WWW}/ws").into_client_request()?;
        request.headers_mut().insert("cookie", flow.visitor.session(WWW)?.parse()?);
        request.headers_mut().insert("origin", format!("https://{WWW}").parse()?);
        let (mut socket, answer) =
            tokio_tungstenite::client_async(request, tls(&flow.visitor, "http/1.1").await?).await?;
        assert_eq!(answer.status(), 101);
        for size in [0, 1, 125, 126, 65_535, 65_536, 1_000_000] {
            let message = Message::binary(vec![7; size]);
            socket.send(message.clone()).await?;
            let echoed = tokio::time::timeout(tunnel_tests::PATIENCE, socket.next()).await?.unwrap()?;
            assert_eq!(echoed, message, "{size} bytes come back");
        }
        socket.close(None).await?;
        Ok(())
    });
}

fn mebibytes() -> u64 {
    if long() { 1024 } else { 64 }
}

/// Big bodies, without a size limit, both ways and over both versions, in flat memory of both programs.
#[test]
fn big_bodies_stream_in_flat_memory() {
    run("big", async |lab| {
        let flow = flow(&lab).await?;
        let session = flow.visitor.session(WWW)?;
        let size = mebibytes() * 1024 * 1024;
        let mut expected = CHECKSUM_START;
        for _ in 0..size / block().len() as u64 {
            expected = checksum(expected, &block());
        }
        // Warm up, so that what is measured is the body and not the first use of anything.
        flow.visitor.clone().get(&format!("https://{WWW}/bytes/1000000")).await?;
        let before = [flow.edge.process.rss_kib()?, flow.connector.process.rss_kib()?];
        for version in ["http/1.1", "h2"] {
            let io = TokioIo::new(tls(&flow.visitor, version).await?);
            let upload = futures::stream::unfold(0, move |sent| async move {
                (sent < size)
                    .then(|| (Ok::<_, std::convert::Infallible>(Frame::data(block())), sent + block().len() as u64))
            });
            let upload = BodyExt::boxed_unsync(StreamBody::new(upload));
            let down =
                Request::get(format!("https://{WWW}/bytes/{size}")).header("cookie", &session).header("host", WWW);
            let up = Request::post(format!("https://{WWW}/upload")).header("cookie", &session).header("host", WWW);
            let empty = BodyExt::boxed_unsync(http_body_util::Empty::<Bytes>::new());
            let (got, answer) = if version == "h2" {
                let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
                tokio::spawn(connection);
                let down = sender.send_request(down.version(http::Version::HTTP_2).body(empty)?.without_host()).await?;
                let got = drain(down.into_body()).await?;
                sender.ready().await?;
                let up = sender.send_request(up.body(upload)?.without_host()).await?;
                (got, up)
            } else {
                let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
                tokio::spawn(connection);
                let down = sender.send_request(down.body(empty)?.origin_form()).await?;
                let got = drain(down.into_body()).await?;
                // The connection's own task must have seen the end of the download before it takes the next request.
                sender.ready().await?;
                let up = sender.send_request(up.body(upload)?.origin_form()).await?;
                (got, up)
            };
            assert_eq!(got, (size, expected), "the download over {version} is whole");
            assert_eq!(answer.status(), 200);
            let said = answer.into_body().collect().await?.to_bytes();
            assert_eq!(
                String::from_utf8_lossy(&said),
                format!("{size} {expected:016x}"),
                "the upload over {version} is whole"
            );
        }
        let after = [flow.edge.process.peak_rss_kib()?, flow.connector.process.peak_rss_kib()?];
        for (name, before, after) in [("edge", before[0], after[0]), ("connector", before[1], after[1])] {
            let grown = after.saturating_sub(before) / 1024;
            assert!(grown <= 24, "the {name} grew by {grown} MiB for bodies of {} MiB", mebibytes());
        }
        Ok(())
    });
}

/// Readers that stop.
const STALLED: u64 = 40;
/// What they may cost: the first window of each stream, 256 KiB; as much again for what HTTP and TLS hold of each; and what
/// the windows of the connector's four links may have grown together before they stopped, 16 MiB a link.
const STALLED_MIB: u64 = (STALLED * 2 * 256) / 1024 + 4 * 16;

/// F22: somebody who does not read holds back the origin, and costs little memory.
#[test]
fn a_reader_who_does_not_read_costs_little() {
    run("slow-readers", async |lab| {
        let flow = flow(&lab).await?;
        let session = flow.visitor.session(WWW)?;
        flow.visitor.clone().get(&format!("https://{WWW}/bytes/1000000")).await?;
        let before = flow.edge.process.rss_kib()?;
        let mut held = Vec::new();
        for _ in 0..STALLED {
            let mut raw = flow.visitor.door("https", WWW)?.open().await?;
            raw.send(format!("GET /bytes/100000000 HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\n\r\n").as_bytes())
                .await?;
            let first = raw.read().await?;
            assert!(first.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&first[..40]));
            held.push(raw);
        }
        // Others are served meanwhile.
        let reply = flow.visitor.clone().get(&format!("https://{WWW}/bytes/500000")).await?;
        assert_eq!(reply.answer.body.len(), 500_000);
        let grown = flow.edge.process.rss_kib()?.saturating_sub(before) / 1024;
        assert!(grown <= STALLED_MIB, "forty stalled readers of 100 MB each cost {grown} MiB");
        Ok(())
    });
}

/// S5, H8: whoever ends a session ends what it has open, also a download that is always under way and a quiet WebSocket, whose
/// visitor is told.
#[test]
fn ending_a_session_ends_its_downloads_and_websockets() {
    run("cut-off", async |lab| {
        let flow = flow(&lab).await?;
        let session = flow.visitor.session(WWW)?;
        let mut request = format!("wss://{WWW}/ws").into_client_request()?;
        request.headers_mut().insert("cookie", session.parse()?);
        request.headers_mut().insert("origin", format!("https://{WWW}").parse()?);
        let (mut socket, _) = tokio_tungstenite::client_async(request, tls(&flow.visitor, "http/1.1").await?).await?;
        // Frames of every kind of length have passed.
        for size in [1, 126, 65_536] {
            let message = Message::binary(vec![7; size]);
            socket.send(message.clone()).await?;
            let echoed = tokio::time::timeout(tunnel_tests::PATIENCE, socket.next()).await?.unwrap()?;
            assert_eq!(echoed, message, "{size} bytes come back");
        }
        let size = 1 << 40;
        let mut raw = flow.visitor.door("https", WWW)?.open().await?;
        raw.send(format!("GET /bytes/{size} HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\n\r\n").as_bytes()).await?;
        assert!(raw.read().await?.starts_with(b"HTTP/1.1 200"));
        flow.edge.run(&["admin", "session", "revoke", STAFF]).await?.ok()?;
        let begun = Instant::now();
        // Read on as fast as can be: there is always a next piece, until the edge looks again.
        let mut more = 0;
        let download = async {
            loop {
                let piece = raw.read().await.unwrap_or_default();
                if piece.is_empty() {
                    return begun.elapsed();
                }
                more += piece.len();
            }
        };
        let websocket = async { (socket.next().await, begun.elapsed()) };
        let (download, (ended, websocket)) =
            tokio::time::timeout(tunnel_tests::PATIENCE, async { tokio::join!(download, websocket) }).await?;
        assert!(more < size / 2, "the download ended before its end: {more}");
        assert!(download < ends_within(), "the download ended {download:?} after the session");
        assert!(websocket < ends_within(), "the WebSocket ended {websocket:?} after the session");
        let Some(Ok(Message::Close(Some(close)))) = ended else { anyhow::bail!("{ended:?}") };
        assert_eq!((close.code, close.reason.as_str()), (CloseCode::Policy, "not admitted any more"));
        let after = tokio::time::timeout(tunnel_tests::PATIENCE, socket.next()).await?;
        assert!(!matches!(after, Some(Ok(_))), "that was the last word: {after:?}");
        Ok(())
    });
}

/// A service that says when a request came and when its connection ended. `/silent` gets no answer, `/early` one that does not
/// wait for the request's body.
struct Patient {
    address: SocketAddr,
    asked: mpsc::UnboundedReceiver<String>,
    /// All that came on the connection.
    ended: mpsc::UnboundedReceiver<Vec<u8>>,
    _connections: AbortOnDropHandle<()>,
}

impl Patient {
    async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let ((asks, asked), (ends, ended)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let connections = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(Self::serve(tcp, asks.clone(), ends.clone()));
            }
        });
        Ok(Self { address, asked, ended, _connections: AbortOnDropHandle::new(connections) })
    }

    async fn serve(mut tcp: TcpStream, asks: mpsc::UnboundedSender<String>, ends: mpsc::UnboundedSender<Vec<u8>>) {
        let (mut all, mut waits) = (Vec::new(), false);
        while let Ok(1..) = tcp.read_buf(&mut all).await {
            if waits || find(&all, b"\r\n\r\n").is_none() {
                continue;
            }
            let target = String::from_utf8_lossy(&all).split(' ').nth(1).unwrap_or_default().to_owned();
            waits = matches!(target.as_str(), "/silent" | "/early");
            if target != "/silent" && tcp.write_all(&page("ok")).await.is_err() {
                break;
            }
            asks.send(target).ok();
            if !waits {
                all.clear();
            }
        }
        if waits {
            ends.send(all).ok();
        }
    }

    async fn wait_for(&mut self, target: &str) -> anyhow::Result<()> {
        let waiting = async { while self.asked.recv().await.is_some_and(|asked| asked != target) {} };
        Ok(tokio::time::timeout(tunnel_tests::PATIENCE, waiting).await?)
    }
}

/// An edge, a service of that kind, and somebody who is logged in.
async fn patient(lab: &Lab) -> anyhow::Result<(Edge, Smtp, Connector, Patient, Visitor)> {
    let service = Patient::start().await?;
    let smtp = Smtp::start(lab).await?;
    let edge = Edge::with_access(lab, EdgeConfig::with_mail(&smtp), ACCESS).await?;
    let connector = Connector::publish(lab, WWW, &format!("http://{}", service.address)).await?;
    let visitor = login(&edge.ca().await?, &smtp, WWW, STAFF).await?;
    Ok((edge, smtp, connector, service, visitor))
}

/// S5: nobody waits for an answer that a session which was ended will not get, and the service learns that it is given up.
#[test]
fn a_request_that_is_not_answered_yet_ends_with_its_session() {
    run("unanswered", async |lab| {
        let (edge, _smtp, _connector, mut service, visitor) = patient(&lab).await?;
        let session = visitor.session(WWW)?;
        let mut raw = visitor.door("https", WWW)?.open().await?;
        raw.send(format!("GET /silent HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\n\r\n").as_bytes()).await?;
        service.wait_for("/silent").await?;
        edge.run(&["admin", "session", "revoke", STAFF]).await?.ok()?;
        let begun = Instant::now();
        let answer = raw.answer(true).await?;
        assert_eq!((answer.status, answer.header("connection")), (403, Some("close")), "{}", answer.text());
        let given_up = tokio::time::timeout(tunnel_tests::PATIENCE, service.ended.recv()).await?;
        assert!(given_up.is_some_and(|all| all.starts_with(b"GET /silent")), "the service was asked something else");
        assert!(begun.elapsed() < ends_within(), "{:?}", begun.elapsed());
        assert!(raw.rest().await?.is_empty(), "something follows");
        Ok(())
    });
}

/// S5: what somebody still sends after the session was ended does not reach the service, also where its answer was over long
/// before.
#[test]
fn an_upload_that_was_answered_already_ends_with_its_session() {
    run("uploading", async |lab| {
        let (edge, _smtp, _connector, mut service, visitor) = patient(&lab).await?;
        let session = visitor.session(WWW)?;
        let mut raw = visitor.door("https", WWW)?.open().await?;
        let head =
            format!("POST /early HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\nTransfer-Encoding: chunked\r\n\r\n");
        raw.send(head.as_bytes()).await?;
        let piece = |text: String| format!("{:x}\r\n{text}\r\n", text.len());
        raw.send(piece("first ".into()).as_bytes()).await?;
        let answer = raw.answer(true).await?;
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
        for n in 0..5 {
            raw.send(piece(format!("before {n} ")).as_bytes()).await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(service.ended.try_recv().is_err(), "an upload may go on after its answer");
        edge.run(&["admin", "session", "revoke", STAFF]).await?.ok()?;
        let begun = Instant::now();
        let arrived = loop {
            match tokio::time::timeout(Duration::from_millis(100), service.ended.recv()).await {
                Ok(arrived) => break arrived.unwrap_or_default(),
                Err(_) => raw.send(piece(format!("after {} ms ", begun.elapsed().as_millis())).as_bytes()).await?,
            }
            assert!(begun.elapsed() < tunnel_tests::PATIENCE, "the upload goes on");
        };
        let took = begun.elapsed();
        assert!(took < ends_within(), "the upload ended {took:?} after the session");
        let arrived = String::from_utf8_lossy(&arrived).into_owned();
        assert!(arrived.contains("before 4"), "what was sent before is there: {arrived}");
        Ok(())
    });
}

/// An origin behind a Unix socket.
#[test]
fn a_unix_socket_is_an_origin() {
    run("unix", async |lab| {
        let canary = Canary::start().await?;
        let path = lab.path("service.sock");
        let listener = tokio::net::UnixListener::bind(&path)?;
        let address = canary.address();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut to = TcpStream::connect(address).await?;
                    tokio::io::copy_bidirectional(&mut stream, &mut to).await
                });
            }
        });
        let smtp = Smtp::start(&lab).await?;
        let edge = Edge::with_access(&lab, EdgeConfig::with_mail(&smtp), ACCESS).await?;
        let _connector = Connector::publish(&lab, WWW, &format!("unix:{}", path.display())).await?;
        let mut visitor = login(&edge.ca().await?, &smtp, WWW, STAFF).await?;
        assert_eq!(visitor.get(&format!("https://{WWW}/")).await?.status(), 200);
        assert_eq!(canary.heads().last().unwrap().one("host"), WWW);
        Ok(())
    });
}

/// A body that the origin cuts is seen to be cut, never completed by us (F5).
#[test]
fn a_cut_body_is_seen_to_be_cut() {
    run("cut", async |lab| {
        let cutting = Canary::answering(std::sync::Arc::new(|head| match head.target() {
            "/length" => {
                (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf".to_vec(), tunnel_tests::canary::After::Close)
            }
            "/chunked" => (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n".to_vec(),
                tunnel_tests::canary::After::Close,
            ),
            _ => (tunnel_tests::canary::page("ok"), tunnel_tests::canary::After::KeepAlive),
        }));
        let stage = tunnel_tests::Stage::with(&lab, ACCESS, cutting.await?).await?;
        let session = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        for target in ["/length", "/chunked"] {
            let mut raw = stage.door(WWW)?.open().await?;
            raw.send(format!("GET {target} HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\n\r\n").as_bytes()).await?;
            let all = String::from_utf8_lossy(&raw.rest().await?).into_owned();
            assert!(all.contains("half") || all.starts_with("HTTP/1.1 502"), "{all}");
            assert!(!all.ends_with("0\r\n\r\n"), "a cut body is not ended politely: {all}");
            assert!(
                !all.contains("Bad Gateway") || all.starts_with("HTTP/1.1 502"),
                "no text is put behind a body: {all}"
            );
        }
        Ok(())
    });
}

async fn drain(mut body: hyper::body::Incoming) -> anyhow::Result<(u64, u64)> {
    let (mut count, mut hash) = (0, CHECKSUM_START);
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            count += data.len() as u64;
            hash = checksum(hash, &data);
        }
    }
    Ok((count, hash))
}

trait Forms {
    fn origin_form(self) -> Self;
    fn without_host(self) -> Self;
}

impl<B> Forms for Request<B> {
    fn origin_form(mut self) -> Self {
        *self.uri_mut() = self.uri().path().parse().unwrap();
        self
    }

    fn without_host(mut self) -> Self {
        self.headers_mut().remove("host");
        self
    }
}
