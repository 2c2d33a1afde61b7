//! What happens to one stream.

use std::io::ErrorKind;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tunnel_origin::{Service, ServiceKind, Stream};
use tunnel_proto::{
    HostPattern, Revision,
    link::Link,
    message::{Open, StreamRefusal, StreamRefused},
};

use super::edge::{Edge, open, opening, target};

fn www() -> HostPattern {
    "www.localhost".parse().unwrap()
}

async fn refusal(link: &Link, open: Open) -> StreamRefusal {
    refused(link, open).await.code
}

async fn refused(link: &Link, open: Open) -> StreamRefused {
    let mut stream = link.open(open).await.unwrap();
    let error = stream.accepted().await.unwrap_err();
    error.get_ref().unwrap().downcast_ref::<StreamRefused>().unwrap().clone()
}

fn to(destination: &str, resolve: bool) -> Open {
    Open { destination: Some(destination.to_owned()), resolve, ..opening(0) }
}

#[tokio::test]
async fn the_table_names_hostnames_and_kinds_in_order() {
    let edge = Edge::start().await;
    let db: HostPattern = "*.db.localhost".parse().unwrap();
    let builder = edge.connector().service(www(), "http://127.0.0.1:1".parse().unwrap());
    let _connector = builder.service(db.clone(), Service::Tcp("127.0.0.1:2".parse().unwrap())).start().unwrap();
    let (_, table) = edge.announced().await;
    let rules: Vec<_> = table.rules.into_iter().map(|rule| (rule.id.0, rule.hostname, rule.kind)).collect();
    assert_eq!(rules, [(0, www(), ServiceKind::Http), (1, db, ServiceKind::Tcp)]);
}

#[tokio::test]
async fn bytes_go_both_ways_and_each_way_ends_by_itself() {
    let edge = Edge::start().await;
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let builder = edge.connector().service(www(), Service::Http(target(&service)));
    let connector = builder.start().unwrap();
    let link = edge.link().await.link;
    let mut visitor = open(&link, 0).await;
    // Sent before the answer is there.
    visitor.write_all(b"question").await.unwrap();
    visitor.shutdown().await.unwrap();
    let (mut origin, _) = service.accept().await.unwrap();
    let mut asked = String::new();
    origin.read_to_string(&mut asked).await.unwrap();
    assert_eq!(asked, "question");
    origin.write_all(&vec![b'x'; 1 << 20]).await.unwrap();
    origin.shutdown().await.unwrap();
    let mut answered = Vec::new();
    visitor.read_to_end(&mut answered).await.unwrap();
    assert_eq!(answered.len(), 1 << 20);
    drop(visitor);
    link.idle().await;
    let counters = connector.counters();
    assert_eq!((counters.streams, counters.bytes_to_services, counters.bytes_from_services), (1, 8, 1 << 20));
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_is_a_web_server_like_any_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.sock");
    let service = tokio::net::UnixListener::bind(&path).unwrap();
    let edge = Edge::start().await;
    let _connector = edge.connector().service(www(), Service::Unix(path)).start().unwrap();
    let link = edge.link().await.link;
    let mut visitor = open(&link, 0).await;
    visitor.write_all(b"ping").await.unwrap();
    let (mut origin, _) = service.accept().await.unwrap();
    let mut asked = [0; 4];
    origin.read_exact(&mut asked).await.unwrap();
    origin.write_all(&asked).await.unwrap();
    visitor.read_exact(&mut asked).await.unwrap();
    assert_eq!(&asked, b"ping");
    drop(service);
    assert_eq!(refusal(&link, opening(0)).await, StreamRefusal::ServiceRefused);
}

// F6
#[tokio::test]
async fn what_cannot_be_served_is_refused_with_its_reason() {
    let edge = Edge::start().await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refusing = target(&gone);
    drop(gone);
    let builder = edge.connector().service(www(), Service::Http(refusing));
    let builder =
        builder.service("none.localhost".parse::<HostPattern>().unwrap(), "unix:/nonexistent/x".parse().unwrap());
    let name = "http://name.invalid:80".parse().unwrap();
    let connector = builder.service("name.localhost".parse::<HostPattern>().unwrap(), name).start().unwrap();
    let link = edge.link().await.link;
    assert_eq!(refusal(&link, opening(0)).await, StreamRefusal::ServiceRefused);
    assert_eq!(refusal(&link, opening(1)).await, StreamRefusal::ServiceRefused);
    assert_eq!(refusal(&link, opening(2)).await, StreamRefusal::ServiceUnreachable);
    assert_eq!(refusal(&link, opening(3)).await, StreamRefusal::UnknownRule);
    assert_eq!(refusal(&link, Open { revision: Revision(2), ..opening(0) }).await, StreamRefusal::StaleTable);
    let elsewhere = Open { destination: Some("127.0.0.1:22".to_owned()), ..opening(0) };
    assert_eq!(refusal(&link, elsewhere).await, StreamRefusal::WrongKind);
    assert_eq!((connector.counters().refused, connector.counters().streams), (6, 0));
}

#[tokio::test]
async fn a_stream_that_the_edge_cuts_is_a_connection_cut_and_not_ended() {
    let edge = Edge::start().await;
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _connector = edge.connector().service(www(), Service::Http(target(&service))).start().unwrap();
    let link = edge.link().await.link;
    let mut visitor = open(&link, 0).await;
    visitor.write_all(b"half a requ").await.unwrap();
    let (mut origin, _) = service.accept().await.unwrap();
    let mut asked = [0; 11];
    origin.read_exact(&mut asked).await.unwrap();
    drop(visitor);
    let error = origin.read(&mut asked).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

// F5
#[tokio::test]
async fn a_connection_that_the_service_cuts_is_a_stream_cut_and_not_ended() {
    let edge = Edge::start().await;
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _connector = edge.connector().service(www(), Service::Http(target(&service))).start().unwrap();
    let link = edge.link().await.link;
    let mut visitor = open(&link, 0).await;
    visitor.write_all(b"x").await.unwrap();
    let (mut origin, _) = service.accept().await.unwrap();
    origin.read_u8().await.unwrap();
    origin.write_all(b"half an ans").await.unwrap();
    let mut answered = [0; 11];
    visitor.read_exact(&mut answered).await.unwrap();
    origin.set_zero_linger().unwrap();
    drop(origin);
    let error = visitor.read(&mut answered).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_handler_in_this_process_gets_the_stream_and_who_opened_it() {
    let edge = Edge::start().await;
    let echo = Service::handler(ServiceKind::Tcp, |mut stream: Stream, opening: tunnel_origin::Opening| async move {
        let line = format!("{} from {}\n", opening.rule, opening.source);
        stream.write_all(line.as_bytes()).await?;
        stream.shutdown().await?;
        // The visitor's side has its end as well.
        stream.read_to_end(&mut Vec::new()).await.map(drop)
    });
    let _connector = edge.connector().service(www(), echo).start().unwrap();
    let link = edge.link().await.link;
    let mut visitor = open(&link, 0).await;
    let mut line = String::new();
    visitor.read_to_string(&mut line).await.unwrap();
    assert_eq!(line, "www.localhost from 192.0.2.7\n");
}

#[tokio::test]
async fn the_hello_page_keeps_a_connection_for_the_next_request() {
    let edge = Edge::start().await;
    let _connector = edge.connector().service(www(), tunnel_origin::hello::service()).start().unwrap();
    let link = edge.link().await.link;
    let mut visitor = open(&link, 0).await;
    for email in ["a@example.com", "b@example.com"] {
        let request = format!("GET / HTTP/1.1\r\nHost: www.localhost\r\nAccess-User-Email: {email}\r\n\r\n");
        visitor.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        while !answer.ends_with("</html>\n") {
            let mut chunk = [0; 4096];
            let count = visitor.read(&mut chunk).await.unwrap();
            assert_ne!(count, 0, "{answer}");
            answer.push_str(std::str::from_utf8(&chunk[..count]).unwrap());
        }
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains(email), "{answer}");
    }
}

// T8
#[tokio::test]
async fn a_bastion_leads_where_its_own_list_says_and_nowhere_else() {
    let edge = Edge::start().await;
    let (inside, outside) = (TcpListener::bind("127.0.0.1:0").await, TcpListener::bind("127.0.0.1:0").await);
    let (inside, outside) = (inside.unwrap(), outside.unwrap());
    let (allowed, other) = (target(&inside).to_string(), target(&outside).to_string());
    let allow = [allowed.parse().unwrap(), "10.0.0.0/8:22".parse().unwrap()];
    let connector = edge.connector().service(www(), Service::Bastion(allow.into())).start().unwrap();
    let link = edge.link().await.link;
    let mut visitor = link.open(to(&allowed, false)).await.unwrap();
    visitor.write_all(b"ping").await.unwrap();
    let (mut origin, _) = inside.accept().await.unwrap();
    let mut asked = [0; 4];
    origin.read_exact(&mut asked).await.unwrap();
    origin.write_all(&asked).await.unwrap();
    visitor.read_exact(&mut asked).await.unwrap();
    assert_eq!(&asked, b"ping");
    let denied = refused(&link, to(&other, false)).await;
    assert_eq!(denied.code, StreamRefusal::DestinationDenied);
    assert!(denied.text.contains("--allow") && denied.text.contains(&other), "{}", denied.text);
    assert_eq!(refusal(&link, to("169.254.169.254:80", false)).await, StreamRefusal::DestinationDenied);
    assert_eq!(refusal(&link, to("localhost:22", false)).await, StreamRefusal::WrongKind);
    assert_eq!(refusal(&link, to("2130706433:22", false)).await, StreamRefusal::Malformed);
    assert_eq!(refusal(&link, opening(0)).await, StreamRefusal::WrongKind);
    assert_eq!((connector.counters().refused, connector.counters().streams), (5, 1));
}

// T8
#[tokio::test]
async fn a_bastion_says_which_addresses_a_name_has_if_all_are_allowed() {
    let edge = Edge::start().await;
    let allow = ["127.0.0.1:22".parse().unwrap(), "[::1]:22".parse().unwrap()];
    let connector = edge.connector().service(www(), Service::Bastion(allow.into())).start().unwrap();
    let link = edge.link().await.link;
    let addresses = link.open(to("localhost:22", true)).await.unwrap().resolved().await.unwrap();
    assert!(!addresses.is_empty() && addresses.iter().all(std::net::IpAddr::is_loopback), "{addresses:?}");
    assert_eq!(
        link.open(to("127.0.0.1:22", true)).await.unwrap().resolved().await.unwrap(),
        ["127.0.0.1".parse::<std::net::IpAddr>().unwrap()]
    );
    assert_eq!(refusal(&link, to("localhost:23", true)).await, StreamRefusal::DestinationDenied);
    assert_eq!(refusal(&link, to("name.invalid:22", true)).await, StreamRefusal::ServiceUnreachable);
    assert_eq!(connector.counters().streams, 0);
}
