use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tunnel_proto::{
    LinkId, Revision,
    link::{self, AcceptError, ConnectError, ControlError, LinkEnd, Settings},
    message::{Hello, LinkRefusal, Message, Role, Table, TableAccepted},
    version::Version,
};

use crate::{evil, hello, pair};

async fn meet(
    hello: Hello,
    certificate: Role,
) -> (Result<link::Greeting, AcceptError>, Result<link::Connected, ConnectError>) {
    let (near, far) = tokio::io::duplex(4096);
    tokio::join!(link::accept(tokio::io::BufReader::new(near), certificate, Settings::for_edge()), async {
        // An honest end drops its side when it is refused; the accepting side must not wait for that.
        link::connect(tokio::io::BufReader::new(far), hello, Settings::default()).await
    })
}

// T5
#[tokio::test]
async fn a_greeting_without_a_common_version_is_refused_and_told_why() {
    let (edge, connector) = meet(Hello { versions: vec![2, 77], ..hello() }, Role::Connector).await;
    assert_eq!(edge.unwrap_err(), AcceptError::Version(vec![2, 77]));
    match connector.unwrap_err() {
        ConnectError::Refused(refuse) => {
            assert_eq!((refuse.code, refuse.retryable), (LinkRefusal::VersionUnsupported, false));
        }
        other => panic!("{other:?}"),
    }
}

// T1, T5
#[tokio::test]
async fn a_role_that_is_not_the_certificates_is_refused() {
    for (certificate, greeting) in [
        (Role::Connector, Role::Operator),
        (Role::Operator, Role::Connector),
        (Role::Connector, Role::Edge),
        (Role::Edge, Role::Connector),
        (Role::Connector, Role::Access),
    ] {
        let (edge, connector) = meet(Hello { role: greeting, ..hello() }, certificate).await;
        assert_eq!(edge.unwrap_err(), AcceptError::Role { certificate, greeting });
        match connector.unwrap_err() {
            ConnectError::Refused(refuse) => assert_eq!(refuse.code, LinkRefusal::RoleMismatch),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn the_edge_can_refuse_after_the_greeting() {
    let (near, far) = tokio::io::duplex(4096);
    let edge = async {
        let greeting =
            link::accept(tokio::io::BufReader::new(near), Role::Connector, Settings::for_edge()).await.unwrap();
        assert_eq!(greeting.version(), Version::V1);
        greeting.refuse(LinkRefusal::Draining, "the edge shuts down", true).await;
    };
    let (_, connector) =
        tokio::join!(edge, link::connect(tokio::io::BufReader::new(far), hello(), Settings::default()));
    match connector.unwrap_err() {
        ConnectError::Refused(refuse) => assert_eq!((refuse.code, refuse.retryable), (LinkRefusal::Draining, true)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_says_nothing_is_dropped_after_ten_seconds() {
    let (near, _far) = tokio::io::duplex(4096);
    assert_eq!(
        link::accept(tokio::io::BufReader::new(near), Role::Connector, Settings::for_edge()).await.unwrap_err(),
        AcceptError::Late
    );
    let (_near, far) = tokio::io::duplex(4096);
    assert_eq!(
        link::connect(tokio::io::BufReader::new(far), hello(), Settings::default()).await.unwrap_err(),
        ConnectError::Late
    );
}

// T5
#[tokio::test]
async fn a_greeting_that_is_none_is_refused() {
    for first in [
        vec![0x42, 0, 0, 0],
        vec![0x01, 0, 0, 1, 0xff],
        vec![0x01, 0xff, 0xff, 0xff],
        evil::frame(&Table { revision: Revision(1), rules: vec![] }.into()),
    ] {
        let (near, mut far) = tokio::io::duplex(4096);
        far.write_all(&evil::data(1, evil::SYN, &first)).await.unwrap();
        let error =
            link::accept(tokio::io::BufReader::new(near), Role::Connector, Settings::for_edge()).await.unwrap_err();
        assert!(matches!(error, AcceptError::Greeting(_)), "{error:?}");
        let mut answer = Vec::new();
        far.read_to_end(&mut answer).await.unwrap();
        assert!(evil::payload(&answer, 1).starts_with(&[0x03]), "told with a Refuse");
    }
}

#[tokio::test]
async fn tables_and_answers_pass_in_order() {
    let (mut edge, mut connector) = pair().await;
    for revision in 1..=3 {
        connector.control.send(Table { revision: Revision(revision), rules: vec![] }).await.unwrap();
        let Some(Message::Table(table)) = edge.control.next().await else { panic!("no table") };
        assert_eq!(table.revision, Revision(revision));
        edge.control.sender().send(TableAccepted { revision: table.revision }).await.unwrap();
        let accepted = connector.control.next().await.unwrap();
        assert_eq!(accepted, TableAccepted { revision: Revision(revision) }.into());
    }
}

#[tokio::test]
async fn a_side_cannot_send_what_is_not_its_to_say() {
    let (edge, connector) = pair().await;
    let error = connector.control.send(TableAccepted { revision: Revision(1) }).await.unwrap_err();
    assert!(matches!(error, ControlError::Invalid(_)));
    let error = edge.control.send(Table { revision: Revision(1), rules: vec![] }).await.unwrap_err();
    assert!(matches!(error, ControlError::Invalid(_)));
    assert_eq!(edge.link.id(), LinkId::from_random([7; 16]));
}

// T6
#[tokio::test]
async fn control_messages_that_nobody_handles_end_the_link_at_last() {
    let (edge, connector) = pair().await;
    for revision in 0..200 {
        if connector.control.send(Table { revision: Revision(revision), rules: vec![] }).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert!(matches!(edge.link.closed().await, LinkEnd::Protocol(_)));
}
