//! Getting through: natively, inside a WebSocket, by a proxy.

use std::{
    sync::{Arc, Mutex, atomic::Ordering::SeqCst},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tunnel_client::{Auth, Client, EdgeAddress, Error, Event, Proxy};
use tunnel_proto::{Hostname, access::LINK_PATH, dial::SocketTarget};

use super::{
    edge::{Edge, PATIENCE},
    login::echo,
};

#[tokio::test]
async fn where_only_https_gets_through_a_websocket_carries_the_link() {
    let edge = Edge::start().await;
    edge.state.no_native.store(true, SeqCst);
    let client = edge.client().auth(Auth::service_token("robot", "s3cret")).build().unwrap();
    let mut events = client.events();
    let host = edge.host("db.localhost");
    let long = "long ".repeat(100_000);
    assert_eq!(timeout(PATIENCE, echo(&client, &host, &long)).await.unwrap().unwrap(), format!("{long}!"));
    assert!(matches!(events.try_recv(), Ok(Event::LinkUp { carrier: "websocket", .. })));
    assert_eq!(edge.state.seen_websockets.load(SeqCst), 1);
    // What was found out once is not tried again.
    edge.state.links.lock().unwrap()[0].0.close();
    edge.state.no_native.store(false, SeqCst);
    assert_eq!(echo(&client, &host, "x").await.unwrap(), "x!");
    assert_eq!(edge.state.seen_websockets.load(SeqCst), 2);
}

#[tokio::test]
async fn the_next_link_to_an_edge_resumes_the_session_of_the_one_before() {
    let edge = Edge::start().await;
    let client = || edge.client().auth(Auth::service_token("robot", "s3cret")).build().unwrap();
    let (first, host) = (client(), edge.host("db.localhost"));
    for links in 1..=3 {
        assert_eq!(timeout(PATIENCE, echo(&first, &host, "x")).await.unwrap().unwrap(), "x!");
        let up = edge.state.links.lock().unwrap();
        assert_eq!(up.len(), links);
        up[links - 1].0.close();
    }
    // Nothing of it is on a disk, or anybody else's.
    assert_eq!(timeout(PATIENCE, echo(&client(), &host, "x")).await.unwrap().unwrap(), "x!");
    assert_eq!(*edge.state.resumed.lock().unwrap(), [false, true, true, false]);
}

#[tokio::test]
async fn header_fields_for_what_is_in_between_go_with_the_websocket_and_nowhere_else() {
    let edge = Edge::start().await;
    edge.state.no_native.store(true, SeqCst);
    let builder = edge.client().auth(Auth::service_token("robot", "s3cret"));
    let builder = builder.header("X-Gateway: one".parse().unwrap()).header("X-Gateway: two".parse().unwrap());
    assert_eq!(echo(&builder.build().unwrap(), &edge.host("db.localhost"), "x").await.unwrap(), "x!");
    let requests = edge.state.requests.lock().unwrap();
    assert!(requests.len() >= 3, "{requests:?}");
    for (path, headers) in requests.iter() {
        let fields: Vec<_> = headers.get_all("x-gateway").iter().collect();
        let expected = if path == LINK_PATH { &["one", "two"][..] } else { &[] };
        assert_eq!(fields, expected, "{path}");
    }
}

/// A way to `port` of which all connections so far can be made to fall silent.
async fn way(port: u16, silent: tokio::sync::watch::Receiver<u32>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut silent = silent.clone();
            silent.mark_unchanged();
            tokio::spawn(async move {
                let mut far = TcpStream::connect(format!("127.0.0.1:{port}")).await.unwrap();
                tokio::select! {
                    _ = copy_bidirectional(&mut near, &mut far) => {}
                    // Neither end hears anything more, not even an end.
                    _ = silent.changed() => tokio::time::sleep(PATIENCE * 2).await,
                }
            });
        }
    });
    here
}

/// A client that reaches `edge` by a way that falls silent for what is on it whenever the other value changes.
async fn by_a_way(edge: &Edge) -> (Client, tokio::sync::watch::Sender<u32>) {
    let (silence, silent) = tokio::sync::watch::channel(0);
    let target = SocketTarget::new("127.0.0.1", way(edge.state.port, silent).await).unwrap();
    let address = EdgeAddress::new(target, Hostname::parse("access.localhost").unwrap());
    (edge.client().auth(Auth::service_token("robot", "s3cret")).edge(address).build().unwrap(), silence)
}

/// What a new connection may take on a network that has just changed; a busy machine gets some more.
const NEW_CONNECTION: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_way_that_falls_silent_is_left_for_a_new_one_within_three_seconds() {
    let edge = Edge::start().await;
    let (client, silence) = by_a_way(&edge).await;
    assert_eq!(echo(&client, "db.localhost", "a").await.unwrap(), "a!");
    let mut live = client.tcp("db.localhost").connect().await.unwrap();
    live.write_all(b"x").await.unwrap();
    live.read_exact(&mut [0]).await.unwrap();
    // One application that has been opened on the link, and then one that has not.
    for host in ["db.localhost", "other.localhost"] {
        silence.send_modify(|count| *count += 1);
        let began = Instant::now();
        let many = futures::future::join_all((0..5).map(|_| echo(&client, host, "b")));
        let answers = timeout(NEW_CONNECTION * 2, many).await.unwrap();
        let took = began.elapsed();
        println!("{host}: {took:?}");
        assert!(answers.iter().all(|answer| answer.as_deref().ok() == Some("b!")), "{answers:?}");
        assert!(took < NEW_CONNECTION, "{host}: {took:?}");
    }
    assert_eq!(edge.state.links.lock().unwrap().len(), 3, "one new link each time, for all who waited");
    assert!(timeout(PATIENCE, live.read_u8()).await.unwrap().is_err(), "what was on the old one is cut");
}

#[tokio::test]
async fn a_service_that_takes_its_time_is_no_reason_to_leave_a_link() {
    let edge = Edge::start().await;
    let (client, _silence) = by_a_way(&edge).await;
    let slow = client.tcp("db.localhost").destination("192.0.2.5:22");
    for _ in 0..2 {
        timeout(PATIENCE, slow.connect()).await.unwrap().unwrap();
    }
    assert_eq!(edge.state.links.lock().unwrap().len(), 1);
}

/// A proxy of a few lines, which leads every name to this machine. What it was asked is noted.
async fn proxy(asked: Arc<Mutex<Vec<String>>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let asked = asked.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(tcp.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let target = head.split(' ').nth(1).unwrap().to_owned();
                asked.lock().unwrap().push(head.clone());
                if !head.to_ascii_lowercase().contains("proxy-authorization: basic yw5uonbhc3m=") {
                    let answer = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
                    return tcp.write_all(answer).await.unwrap();
                }
                let port = target.rsplit_once(':').unwrap().1;
                let mut far = TcpStream::connect(format!("127.0.0.1:{port}")).await.unwrap();
                tcp.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
                copy_bidirectional(&mut tcp, &mut far).await.ok();
            });
        }
    });
    port
}

/// This edge, at a name that only a proxy finds.
fn elsewhere(edge: &Edge) -> EdgeAddress {
    let target = SocketTarget::new("edge.example", edge.state.port).unwrap();
    EdgeAddress::new(target, Hostname::parse("access.localhost").unwrap())
}

#[tokio::test]
async fn a_proxy_is_asked_for_everything_natively_and_for_websockets() {
    for no_native in [false, true] {
        let edge = Edge::start().await;
        edge.state.no_native.store(no_native, SeqCst);
        let asked = Arc::new(Mutex::new(Vec::new()));
        let through: Proxy = format!("http://ann:pass@127.0.0.1:{}", proxy(asked.clone()).await).parse().unwrap();
        let builder = edge.client().auth(Auth::service_token("robot", "s3cret")).edge(elsewhere(&edge));
        let client = builder.proxy(through).build().unwrap();
        assert_eq!(timeout(PATIENCE, echo(&client, "db.localhost", "p")).await.unwrap().unwrap(), "p!");
        let asked = asked.lock().unwrap();
        assert!(asked.len() >= 3 && asked.iter().all(|head| head.starts_with("CONNECT edge.example:")), "{asked:?}");
    }
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named_without_its_password() {
    let edge = Edge::start().await;
    let through: Proxy = format!("http://ann:wrong@127.0.0.1:{}", proxy(Arc::default()).await).parse().unwrap();
    let builder = edge.client().auth(Auth::service_token("robot", "s3cret")).edge(elsewhere(&edge));
    let client = builder.proxy(through.clone()).build().unwrap();
    let error = echo(&client, "db.localhost", "p").await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("http://127.0.0.1:") && text.contains("another user or password"), "{text}");
    assert!(!text.contains("wrong"), "{text}");
    // And what is excepted does not go there.
    let builder = edge.client().auth(Auth::service_token("robot", "s3cret")).edge(elsewhere(&edge));
    let client = builder.proxy(through.except("edge.example")).build().unwrap();
    let direct = timeout(Duration::from_secs(15), echo(&client, "db.localhost", "p")).await.unwrap().unwrap_err();
    assert!(matches!(direct, Error::Unreachable { .. }) && !direct.to_string().contains("proxy"), "{direct:?}");
}
