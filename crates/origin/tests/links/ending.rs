//! How links come up, go down and end.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tunnel_origin::{Connector, CredentialStore, Credentials, EdgeAddress, Error, Service, Status};
use tunnel_proto::{
    HostPattern, RuleId, TunnelId,
    identity::CertRole,
    link::{LinkEnd, OpenError},
    message::{
        DrainReason, Limits, LinkRefusal, Message, Renewed, StreamRefusal, StreamRefused, TableAccepted, TableRefusal,
        TableRefused,
    },
};

use super::edge::{Edge, now, open, opening, target};

fn www() -> HostPattern {
    "www.localhost".parse().unwrap()
}

fn hello() -> Service {
    tunnel_origin::hello::service()
}

#[tokio::test]
async fn a_connector_is_online_when_all_its_links_are_up() {
    let edge = Edge::start().await;
    let connector = edge.connector().service(www(), hello()).connections(3).start().unwrap();
    let mut status = connector.status();
    assert_eq!(*status.borrow(), Status::Connecting { problem: None });
    let first = edge.link().await;
    status.wait_for(|status| matches!(status, Status::Degraded { links: 1, .. })).await.unwrap();
    let (second, third) = (edge.link().await, edge.link().await);
    status.wait_for(|status| *status == Status::Online { links: 3 }).await.unwrap();
    assert_eq!(first.hello.instance, second.hello.instance);
    drop((second, third));
    status.wait_for(|status| status.links() < 3).await.unwrap();
}

// F4, F9
#[tokio::test]
async fn a_link_that_is_cut_comes_back() {
    let edge = Edge::start().await;
    let connector = edge.connector().service(www(), hello()).start().unwrap();
    for round in 1..=3 {
        let link = edge.link().await;
        connector.status().wait_for(Status::is_ready).await.unwrap();
        assert_eq!(connector.counters().links_established, round);
        // Everything of this side is gone: the peer sees the end of the connection.
        drop(link);
    }
}

#[tokio::test]
async fn a_refusal_for_good_ends_the_connector_with_the_edges_reason() {
    let edge = Edge::start().await;
    let mut connector = edge.connector().service(www(), hello()).connections(2).start().unwrap();
    let (greeting, _) = edge.greeting().await;
    greeting.refuse(LinkRefusal::Revoked, "the tunnel was revoked", false).await;
    let error = connector.ended().await.unwrap_err();
    assert!(matches!(error, Error::Refused { code: LinkRefusal::Revoked, .. }) && !error.is_retryable(), "{error}");
    assert!(error.to_string().contains("the tunnel was revoked"), "{error}");
    assert_eq!(*connector.status().borrow(), Status::Ended);
}

#[tokio::test]
async fn a_refusal_for_now_is_tried_again() {
    let edge = Edge::start().await;
    let connector = edge.connector().service(www(), hello()).start().unwrap();
    let (greeting, _) = edge.greeting().await;
    greeting.refuse(LinkRefusal::Draining, "shutting down", true).await;
    let _link = edge.link().await;
    connector.status().wait_for(Status::is_ready).await.unwrap();
}

// T2
#[tokio::test]
async fn a_hostname_that_is_not_routed_here_is_named() {
    let edge = Edge::start().await;
    let mut connector = edge.connector().service(www(), hello()).start().unwrap();
    let (link, table) = edge.announced().await;
    let text = "it is not routed to this tunnel".to_owned();
    let refused = TableRefused { revision: table.revision, rule: Some(RuleId(0)), code: TableRefusal::NotRouted, text };
    link.control.send(refused).await.unwrap();
    let error = connector.ended().await.unwrap_err();
    assert!(matches!(error, Error::Table { code: TableRefusal::NotRouted, .. }), "{error}");
    assert!(error.to_string().contains("`www.localhost`"), "{error}");
}

// T9
#[tokio::test]
async fn an_edge_with_another_ca_gets_no_greeting() {
    let edge = Edge::start().await;
    let other = Edge::start().await;
    let builder = Connector::builder().edge(edge.address()).credentials(other.credentials_at(now()));
    let mut connector = builder.service(www(), hello()).connections(1).start().unwrap();
    let tcp = edge.accept_tcp().await;
    let (ended, _served) = tokio::join!(connector.ended(), edge.acceptor().accept(tcp));
    let error = ended.unwrap_err();
    assert!(matches!(error, Error::Untrusted { .. }) && !error.is_retryable(), "{error}");
}

#[tokio::test]
async fn a_certificate_that_the_edge_does_not_accept_is_said_to_be_so() {
    let edge = Edge::start().await;
    let other = Edge::start().await;
    let strange = other.credentials_at(now());
    // Trusts the edge, but shows what another CA signed.
    let mixed = Credentials::new(
        super::edge::zone(),
        edge.ca.certificate_pem(),
        strange.certificate_pem(),
        strange.key_pem().to_owned().into(),
    );
    let builder = Connector::builder().edge(edge.address()).credentials(mixed.unwrap());
    let mut connector = builder.service(www(), hello()).connections(1).start().unwrap();
    let tcp = edge.accept_tcp().await;
    let (ended, served) = tokio::join!(connector.ended(), edge.acceptor().accept(tcp));
    assert!(served.is_err());
    let error = ended.unwrap_err();
    assert!(matches!(error, Error::Certificate { .. }), "{error:?}");
}

#[tokio::test]
async fn what_is_no_edge_is_said_to_be_none() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let edge = Edge::start().await;
    let address = EdgeAddress::parse(&format!("https://access.localhost:{port}"), None).unwrap();
    let mut connector = edge.connector().edge(address).service(www(), hello()).start().unwrap();
    let (mut tcp, _) = listener.accept().await.unwrap();
    tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    let error = connector.ended().await.unwrap_err();
    assert!(matches!(error, Error::NotAnEdge { .. }), "{error:?}");
}

#[tokio::test]
async fn an_edge_that_is_away_is_waited_for() {
    let edge = Edge::start().await;
    let address = edge.address();
    let port = address.target().port();
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nowhere = gone.local_addr().unwrap().port();
    drop(gone);
    assert_ne!(port, nowhere);
    let address = EdgeAddress::parse(&format!("https://access.localhost:{nowhere}"), None).unwrap();
    let connector = edge.connector().edge(address).service(www(), hello()).start().unwrap();
    let mut status = connector.status();
    let away = |status: &Status| matches!(status, Status::Connecting { problem: Some(problem) } if problem.contains("refused"));
    status.wait_for(away).await.unwrap();
    connector.stop().await.unwrap();
}

#[tokio::test]
async fn when_the_edge_drains_the_next_link_comes_first_and_live_streams_end_in_peace() {
    let edge = Edge::start().await;
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connector = edge.connector().service(www(), Service::Http(target(&service))).start().unwrap();
    let old = edge.link().await;
    let mut visitor = open(&old.link, 0).await;
    visitor.write_all(b"x").await.unwrap();
    let (mut origin, _) = service.accept().await.unwrap();
    origin.read_u8().await.unwrap();
    old.link.drain(DrainReason::Shutdown, Duration::from_secs(60));
    let new = edge.link().await;
    connector.status().wait_for(Status::is_ready).await.unwrap();
    // The old link still carries what it carried.
    origin.write_all(b"answer").await.unwrap();
    drop(origin);
    let mut answer = String::new();
    visitor.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "answer");
    visitor.shutdown().await.unwrap();
    drop(visitor);
    assert_eq!(old.link.closed().await, LinkEnd::PeerClosed);
    assert!(!new.link.is_draining());
}

// F3
#[tokio::test]
async fn a_link_that_is_handed_on_serves_until_the_edge_says_that_no_more_will_come() {
    let edge = Edge::start().await;
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connector = edge.connector().service(www(), Service::Http(target(&service))).start().unwrap();
    let old = edge.link().await;
    old.link.hand_on(Duration::from_secs(60));
    // The next link comes, and the old one is as good as before, also after it was idle.
    let new = edge.link().await;
    connector.status().wait_for(Status::is_ready).await.unwrap();
    for _ in 0..2 {
        let mut visitor = open(&old.link, 0).await;
        visitor.accepted().await.unwrap();
        let (origin, _) = service.accept().await.unwrap();
        drop((visitor, origin));
        old.link.idle().await;
        assert!(
            tokio::time::timeout(Duration::from_secs(1), old.link.closed()).await.is_err(),
            "ended while it is held"
        );
    }
    old.link.drain(DrainReason::Shutdown, Duration::ZERO);
    assert_eq!(old.link.closed().await, LinkEnd::PeerClosed);
    assert!(!new.link.is_draining());
}

// F3, F5
#[tokio::test]
async fn a_connector_that_stops_does_not_wait_for_an_edge_that_is_replaced() {
    let edge = Edge::start().await;
    let connector = edge.connector().service(www(), hello()).start().unwrap();
    let old = edge.link().await;
    old.link.hand_on(Duration::from_secs(24 * 3600));
    let new = edge.link().await;
    connector.status().wait_for(Status::is_ready).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), connector.stop()).await.unwrap().unwrap();
    assert_eq!(old.link.closed().await, LinkEnd::PeerClosed);
    assert_eq!(new.link.closed().await, LinkEnd::PeerClosed);
}

// F5
#[tokio::test]
async fn stopping_tells_the_edge_finishes_what_is_in_flight_and_takes_nothing_new() {
    let edge = Edge::start().await;
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connector = edge.connector().service(www(), Service::Http(target(&service))).start().unwrap();
    let mut status = connector.status();
    let link = edge.link().await.link;
    let mut visitor = open(&link, 0).await;
    visitor.write_all(b"x").await.unwrap();
    visitor.shutdown().await.unwrap();
    let (mut origin, _) = service.accept().await.unwrap();
    // A connection closed with something unread is one that was cut.
    origin.read_u8().await.unwrap();
    let stopping = tokio::spawn(connector.stop());
    assert_eq!(link.draining().await, DrainReason::Shutdown);
    assert!(matches!(link.open(opening(0)).await, Err(OpenError::Draining)));
    assert!(!stopping.is_finished());
    assert_eq!(*status.borrow_and_update(), Status::Draining);
    origin.write_all(b"answer").await.unwrap();
    drop(origin);
    let mut answer = String::new();
    visitor.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "answer");
    drop(visitor);
    stopping.await.unwrap().unwrap();
    assert_eq!(link.closed().await, LinkEnd::PeerClosed);
}

#[tokio::test]
async fn what_does_not_end_within_the_grace_period_is_cut() {
    let edge = Edge::start().await;
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let builder = edge.connector().service(www(), Service::Http(target(&service)));
    let connector = builder.grace(Duration::from_millis(50)).start().unwrap();
    let link = edge.link().await.link;
    let mut visitor = open(&link, 0).await;
    visitor.write_all(b"x").await.unwrap();
    let (mut origin, _) = service.accept().await.unwrap();
    visitor.accepted().await.unwrap();
    assert_eq!(origin.read_u8().await.unwrap(), b'x');
    connector.stop().await.unwrap();
    // Cut, and nothing that looks like an orderly end: to neither side.
    assert_eq!(visitor.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(origin.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn an_upload_whose_link_is_lost_does_not_look_whole_to_the_service() {
    for taken in [true, false] {
        let edge = Edge::start().await;
        let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connector = edge.connector().service(www(), Service::Http(target(&service))).start().unwrap();
        let link = edge.link().await.link;
        let mut visitor = open(&link, 0).await;
        visitor.write_all(b"x").await.unwrap();
        let (mut origin, _) = service.accept().await.unwrap();
        assert_eq!(origin.read_u8().await.unwrap(), b'x');
        if !taken {
            // More than there is room for between here and there.
            let filling = async { while visitor.write_all(&[7; 65_536]).await.is_ok() {} };
            tokio::time::timeout(Duration::from_secs(1), filling).await.unwrap_err();
        }
        link.close();
        // It reads on once the connector is done with what it had: what carried the upload did not live to see how it ended.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let mut upload = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(10), origin.read_to_end(&mut upload)).await.unwrap();
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert!(upload.iter().all(|byte| *byte == 7) && upload.is_empty() == taken);
        connector.stop().await.unwrap();
    }
}

#[tokio::test]
async fn openings_on_their_way_when_the_connector_stops_are_refused_as_draining() {
    let edge = Edge::start().await;
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connector = edge.connector().service(www(), Service::Http(target(&service))).start().unwrap();
    let link = edge.link().await.link;
    let mut first = open(&link, 0).await;
    first.accepted().await.unwrap();
    // Before the edge can know of it.
    let stopping = connector.stop();
    let late = open(&link, 0).await;
    let stopping = tokio::spawn(stopping);
    link.draining().await;
    let mut late = late;
    if let Err(error) = late.accepted().await {
        let refused = error.get_ref().and_then(|inner| inner.downcast_ref::<StreamRefused>());
        assert_eq!(refused.map(|refused| refused.code), Some(StreamRefusal::Draining), "{error}");
    }
    drop((first, late));
    stopping.await.unwrap().unwrap();
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Credentials>>>);

impl CredentialStore for Kept {
    fn store(&self, credentials: &Credentials) -> io::Result<()> {
        self.0.lock().unwrap().push(credentials.clone());
        Ok(())
    }
}

#[tokio::test]
async fn a_certificate_is_renewed_at_half_its_life_kept_and_used() {
    let edge = Edge::start().await;
    let kept = Kept::default();
    let old = edge.credentials_at(tunnel_proto::UnixTime(now().0 - 16 * 24 * 3600));
    let builder = edge.connector().credentials(old.clone()).credential_store(kept.clone());
    let connector = builder.service(www(), hello()).start().unwrap();
    let (greeting, first_serial) = edge.greeting().await;
    let mut link =
        greeting.welcome(tunnel_proto::LinkId::from_random([1; 16]), Limits::default(), vec![]).await.unwrap();
    let Some(Message::Table(table)) = link.control.next().await else { panic!("no table") };
    link.control.send(TableAccepted { revision: table.revision }).await.unwrap();
    let Some(Message::Renew(renew)) = link.control.next().await else { panic!("no renewal") };
    let issued = edge.ca.issue(&renew.csr, CertRole::Connector(TunnelId::from_random([9; 16])), now()).unwrap();
    let renewed = Renewed { certificate: issued.certificate_pem, ca: edge.ca.certificate_pem().to_owned() };
    link.control.send(renewed).await.unwrap();
    let status = connector.status();
    while kept.0.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(kept.0.lock().unwrap()[0].expires() > old.expires());
    assert_ne!(kept.0.lock().unwrap()[0].key_pem(), old.key_pem());
    assert!(status.borrow().is_ready());
    drop(link);
    let (_, second_serial) = edge.greeting().await;
    assert_eq!(second_serial, issued.serial_hex);
    assert_ne!(first_serial, second_serial);
}

#[tokio::test]
async fn another_identity_is_not_taken_for_a_renewal() {
    let edge = Edge::start().await;
    let kept = Kept::default();
    let old = edge.credentials_at(tunnel_proto::UnixTime(now().0 - 16 * 24 * 3600));
    let builder = edge.connector().credentials(old).credential_store(kept.clone());
    let _connector = builder.service(www(), hello()).start().unwrap();
    let mut link = edge.link().await;
    let Some(Message::Renew(renew)) = link.control.next().await else { panic!("no renewal") };
    let issued = edge.ca.issue(&renew.csr, CertRole::Connector(TunnelId::from_random([8; 16])), now()).unwrap();
    let renewed = Renewed { certificate: issued.certificate_pem, ca: edge.ca.certificate_pem().to_owned() };
    link.control.send(renewed).await.unwrap();
    // Whatever is said next is heard after it.
    link.link.drain(DrainReason::Rotation, Duration::ZERO);
    let (_, serial) = edge.greeting().await;
    assert_ne!(serial, issued.serial_hex);
    assert!(kept.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_connector_that_is_dropped_is_gone() {
    let edge = Edge::start().await;
    let connector = edge.connector().service(www(), hello()).start().unwrap();
    let link = edge.link().await;
    drop(connector);
    assert_ne!(link.link.closed().await, LinkEnd::Closed);
}

#[test]
fn a_builder_says_what_is_missing() {
    let error = |builder: tunnel_origin::Builder| builder.start().unwrap_err().to_string();
    assert!(error(Connector::builder()).contains("an edge"));
    let address = EdgeAddress::parse("https://access.localhost", None).unwrap();
    assert!(error(Connector::builder().edge(address)).contains("credentials"));
}
