//! Local ports, standard input and output, and how connections end.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tunnel_client::{Auth, Error, Event, Refuser};

use super::{
    edge::{Edge, PATIENCE},
    login::echo,
};

async fn through(address: std::net::SocketAddr, text: &str) -> io::Result<String> {
    let mut tcp = TcpStream::connect(address).await?;
    tcp.write_all(text.as_bytes()).await?;
    tcp.shutdown().await?;
    let mut answer = String::new();
    timeout(PATIENCE, tcp.read_to_string(&mut answer)).await??;
    Ok(answer)
}

#[tokio::test]
async fn the_first_connection_to_a_port_is_held_until_the_login_is_done() {
    let edge = Edge::start().await;
    let client = edge.client().auth(Auth::browser(edge.approving())).build().unwrap();
    let forward = client.tcp(&edge.host("db.localhost")).forward("127.0.0.1:0").await.unwrap();
    assert_eq!(edge.state.logins.load(SeqCst), 0, "nobody is asked before anybody comes");
    let answers = tokio::join!(through(forward.local_addr(), "one"), through(forward.local_addr(), "two"));
    assert_eq!((answers.0.unwrap().as_str(), answers.1.unwrap().as_str()), ("one!", "two!"));
    assert_eq!(edge.state.logins.load(SeqCst), 1);
    let counters = forward.counters();
    assert_eq!((counters.total(), counters.sent(), counters.received()), (2, 6, 8));
    let address = forward.local_addr();
    drop(forward);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(TcpStream::connect(address).await.is_err(), "the port is closed with its handle");
}

#[tokio::test]
async fn a_connection_that_ends_with_its_port_does_not_look_whole() {
    let edge = Edge::start().await;
    let client = edge.client().auth(Auth::browser(edge.approving())).build().unwrap();
    let forward = client.tcp(&edge.host("db.localhost")).forward("127.0.0.1:0").await.unwrap();
    let mut tcp = TcpStream::connect(forward.local_addr()).await.unwrap();
    tcp.write_all(b"one").await.unwrap();
    let carried = async {
        while forward.counters().sent() < 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, carried).await.unwrap();
    drop(forward);
    let end = timeout(PATIENCE, tcp.read_to_end(&mut Vec::new())).await.unwrap();
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_program_that_gives_up_leaves_the_login_to_the_next_one() {
    let edge = Edge::start().await;
    let shown = Arc::new(AtomicUsize::new(0));
    let (approve, count) = (Arc::new(edge.approving()), shown.clone());
    let auth = Auth::browser(move |prompt| {
        count.fetch_add(1, SeqCst);
        let (approve, prompt) = (approve.clone(), prompt.clone());
        tokio::spawn(async move {
            // A person who takes longer than the first program waits.
            tokio::time::sleep(Duration::from_millis(700)).await;
            approve(&prompt);
        });
    });
    let client = edge.client().auth(auth).build().unwrap();
    let forward = client.tcp(&edge.host("db.localhost")).forward("127.0.0.1:0").await.unwrap();
    let first = TcpStream::connect(forward.local_addr()).await.unwrap();
    let asked = async {
        while shown.load(SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, asked).await.unwrap();
    drop(first);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(timeout(PATIENCE, through(forward.local_addr(), "two")).await.unwrap().unwrap(), "two!");
    assert_eq!((shown.load(SeqCst), edge.state.logins.load(SeqCst)), (1, 1));
}

#[tokio::test]
async fn a_program_that_has_nothing_to_say_hears_the_answer() {
    let edge = Edge::start().await;
    let client = edge.client().auth(Auth::service_token("robot", "s3cret")).build().unwrap();
    // At once, and where the service takes a while to be reached.
    for destination in [None, Some("192.0.2.6:22")] {
        let tcp = client.tcp(&edge.host("db.localhost"));
        let tcp = match destination {
            Some(destination) => tcp.destination(destination),
            None => tcp,
        };
        let forward = tcp.forward("127.0.0.1:0").await.unwrap();
        let mut local = TcpStream::connect(forward.local_addr()).await.unwrap();
        local.shutdown().await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, local.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert_eq!(answer, "!", "{destination:?}");
    }
}

#[tokio::test]
async fn a_cut_connection_is_not_taken_for_an_orderly_end() {
    let edge = Edge::start().await;
    let client = edge.client().auth(Auth::service_token("robot", "s3cret")).build().unwrap();
    let tcp = client.tcp(&edge.host("db.localhost")).destination("192.0.2.2:22");
    let forward = tcp.forward("127.0.0.1:0").await.unwrap();
    let mut events = client.events();
    // It may be over before the system has told of the connection.
    let whole = async { TcpStream::connect(forward.local_addr()).await?.read_to_end(&mut Vec::new()).await };
    let error = timeout(PATIENCE, whole).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let told =
        async { while !matches!(events.recv().await.unwrap(), Event::Failed { error: Error::Cut { .. }, .. }) {} };
    timeout(PATIENCE, told).await.unwrap();
    // And why, where the edge knows it.
    let tcp = client.tcp(&edge.host("db.localhost")).destination("192.0.2.7:22");
    let (_open, input) = tokio::io::duplex(64);
    let error = timeout(PATIENCE, tcp.stdio(input, tokio::io::sink())).await.unwrap().unwrap_err();
    assert!(matches!(&error, Error::Cut { reason, .. } if reason.contains("the connector")), "{error}");
}

#[tokio::test]
async fn whoever_is_refused_learns_by_whom_and_the_program_is_not_fooled() {
    let edge = Edge::start().await;
    let client = edge.client().auth(Auth::service_token("robot", "s3cret")).build().unwrap();
    let tcp = client.tcp(&edge.host("db.localhost")).destination("192.0.2.1:22");
    let error = tcp.connect().await.unwrap_err();
    assert_eq!((error.code(), error.refuser()), ("stream_refused", Some(Refuser::Connector)));
    assert!(error.to_string().contains("not on the list"), "{error}");
    let mut events = client.events();
    let forward = tcp.forward("127.0.0.1:0").await.unwrap();
    assert!(through(forward.local_addr(), "x").await.is_err());
    let failed = async {
        loop {
            if let Event::Failed { error, .. } = events.recv().await.unwrap() {
                return error.to_string();
            }
        }
    };
    assert!(timeout(PATIENCE, failed).await.unwrap().contains("the connector refused"));
}

// C1
#[tokio::test]
async fn other_machines_are_not_listened_for_unless_that_is_meant() {
    let edge = Edge::start().await;
    let client = edge.client().auth(Auth::service_token("robot", "s3cret")).build().unwrap();
    let tcp = client.tcp(&edge.host("db.localhost"));
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let error = tcp.forward(address).await.unwrap_err();
        assert!(matches!(&error, Error::Listen { reason, .. } if reason.contains("other machines")), "{error:?}");
    }
    let options = tunnel_client::ForwardOptions::default().dangerously_for_everyone();
    let forward = tcp.forward_with("0.0.0.0:0", options).await.unwrap();
    let address = (std::net::Ipv4Addr::LOCALHOST, forward.local_addr().port()).into();
    assert_eq!(through(address, "x").await.unwrap(), "x!");
}

#[tokio::test]
async fn the_end_of_the_input_is_passed_on_and_the_answer_still_arrives() {
    let edge = Edge::start().await;
    let client = edge.client().auth(Auth::service_token("robot", "s3cret")).build().unwrap();
    let mut output = Vec::new();
    let tcp = client.tcp(&edge.host("db.localhost"));
    timeout(PATIENCE, tcp.stdio(&b"question"[..], &mut output)).await.unwrap().unwrap();
    assert_eq!(output, b"question!");
    // The service ends first: standard input that nobody closes holds nothing up.
    let tcp = tcp.destination("192.0.2.2:22");
    let (_open, input) = tokio::io::duplex(64);
    let ended = timeout(PATIENCE, tcp.stdio(input, &mut output)).await.unwrap();
    assert!(ended.is_err(), "it was cut");
}

#[tokio::test]
async fn a_service_that_has_said_everything_still_hears_the_rest_of_the_input() {
    let edge = Edge::start().await;
    let client = edge.client().auth(Auth::service_token("robot", "s3cret")).build().unwrap();
    let tcp = client.tcp(&edge.host("db.localhost"));
    let (mut input, near) = tokio::io::duplex(64);
    let (far, mut output) = tokio::io::duplex(64);
    let talking = tcp.clone().destination("192.0.2.3:22");
    let talk = tokio::spawn(async move { talking.stdio(near, far).await });
    let mut answer = String::new();
    timeout(PATIENCE, output.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, "first", "the end of the answer is passed on");
    input.write_all(b"late").await.unwrap();
    drop(input);
    timeout(PATIENCE, talk).await.unwrap().unwrap().unwrap();
    let heard = async {
        while *edge.state.heard.lock().unwrap() != b"late" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, heard).await.unwrap();
    // One that does not hear it all is no success.
    let talk = tcp.destination("192.0.2.4:22");
    let ended = timeout(PATIENCE, talk.stdio(tokio::io::repeat(b'x'), tokio::io::sink())).await.unwrap();
    assert!(ended.is_err());
}

#[tokio::test]
async fn what_was_answered_before_a_cut_arrives_although_the_input_fails_first() {
    let edge = Edge::start().await;
    let client = edge.client().auth(Auth::service_token("robot", "s3cret")).build().unwrap();
    let tcp = client.tcp(&edge.host("db.localhost")).destination("192.0.2.2:22");
    // A reader that takes its time, and a service that is cut meanwhile.
    let (far, mut output) = tokio::io::duplex(1);
    let talk = tokio::spawn(async move { tcp.stdio(tokio::io::repeat(b'x'), far).await });
    tokio::time::sleep(Duration::from_millis(700)).await;
    let mut answer = String::new();
    timeout(PATIENCE, output.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, "half");
    assert!(timeout(PATIENCE, talk).await.unwrap().unwrap().is_err());
}

#[tokio::test]
async fn a_lost_link_is_replaced_for_the_next_connection() {
    let edge = Edge::start().await;
    let client = edge.client().auth(Auth::service_token("robot", "s3cret")).build().unwrap();
    let host = edge.host("db.localhost");
    echo(&client, &host, "x").await.unwrap();
    edge.state.links.lock().unwrap()[0].0.close();
    assert_eq!(timeout(Duration::from_secs(3), echo(&client, &host, "y")).await.unwrap().unwrap(), "y!");
    edge.state.links.lock().unwrap()[1].0.drain(tunnel_proto::message::DrainReason::Shutdown, Duration::from_secs(1));
    assert_eq!(timeout(Duration::from_secs(3), echo(&client, &host, "z")).await.unwrap().unwrap(), "z!");
}

#[tokio::test]
async fn a_full_link_gets_another_one_beside_it() {
    let edge = Edge::start().await;
    let client = edge.client().auth(Auth::service_token("robot", "s3cret")).build().unwrap();
    let host = edge.host("db.localhost");
    let mut streams = Vec::new();
    for _ in 0..1030 {
        streams.push(timeout(PATIENCE, client.tcp(&host).connect()).await.unwrap().unwrap());
    }
    assert_eq!(edge.state.links.lock().unwrap().len(), 2);
}

// C3
#[tokio::test]
async fn http_clients_open_the_hosts_of_one_edge() {
    use tower::Service;
    let (first, second) = (Edge::start().await, Edge::start().await);
    let client = first.client_of_both(&second).auth(Auth::service_token("robot", "s3cret")).build().unwrap();
    let uri = |edge: &Edge, name: &str| format!("http://{}/", edge.host(name)).parse::<http::Uri>().unwrap();
    let mut connector = client.http_connector();
    let mut clone = connector.clone();
    connector.call(uri(&first, "db.localhost")).await.unwrap();
    clone.call(uri(&first, "db.localhost")).await.unwrap();
    let error = clone.call(uri(&second, "evil.localhost")).await.unwrap_err();
    assert_eq!(error.code(), "bad_descriptor");
    let error = clone.call(uri(&second, "other.localhost")).await.unwrap_err();
    assert!(matches!(&error, Error::ForeignEdge { found, .. } if *found == second.state.issuer()), "{error:?}");
    assert_eq!(second.state.presented.load(SeqCst), 0);
}

#[tokio::test]
async fn http_clients_open_hosts() {
    use http_body_util::Empty;
    let edge = Edge::start().await;
    let client = edge.client().auth(Auth::service_token("robot", "s3cret")).build().unwrap();
    let http = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .build::<_, Empty<bytes::Bytes>>(client.http_connector());
    let url = format!("http://{}/", edge.host("db.localhost"));
    // The service only echoes, which is no answer; that it got there is what matters.
    let error = timeout(PATIENCE, http.get(url.parse().unwrap())).await.unwrap().unwrap_err();
    assert!(!error.is_connect(), "{error:?}");
    assert_eq!(edge.state.presented.load(SeqCst), 1);
}
