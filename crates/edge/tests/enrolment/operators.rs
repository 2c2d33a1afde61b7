//! What a link with the role operator can do.

use tunnel_edge::{
    operators::{After, answer},
    store::CertificateHolder,
    tunnels::Principal,
};
use tunnel_proto::{
    InstanceId, LinkId, OperatorId, TunnelId,
    enrol::{EnrolProblem, Operator},
    identity::peer_identity,
    link::{self, Settings},
    message::{Delete, Hello, Limits, List, Message, Ping, Role, Rotate, Route},
};

use crate::enrolment::desk::{Office, allowed, create, csr, patterns};

struct Link<'a> {
    office: &'a Office,
    operator: OperatorId,
    serial: String,
}

impl<'a> Link<'a> {
    fn new(office: &'a Office, operator: &Operator) -> Self {
        use rustls::pki_types::{CertificateDer, pem::PemObject};
        let der = CertificateDer::from_pem_slice(operator.certificate.as_bytes()).unwrap();
        let serial = peer_identity(office.ca.zone(), &der).unwrap().serial_hex;
        Self { office, operator: operator.id, serial }
    }

    async fn ask(&self, message: impl Into<Message>) -> Option<(Message, After)> {
        answer(&self.office.desk(), self.operator, &self.serial, message.into(), |_| 3).await
    }

    async fn refusal(&self, message: impl Into<Message>) -> String {
        match self.ask(message).await {
            Some((Message::Problem(EnrolProblem { code, .. }), After::Nothing)) => code,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn an_operator_makes_routes_lists_rotates_and_deletes_its_own() {
    let office = Office::open().await;
    let (operator, _) = office.operator(&allowed(&["*.example.com"])).await;
    let link = Link::new(&office, &operator);
    let Some((Message::TunnelCreated(made), After::Reload)) = link.ask(create("nas", &["www.example.com"])).await
    else {
        panic!()
    };
    let tunnel = made.tunnel;
    let more = Route { tunnel, hostnames: patterns(&["ftp.example.com"]) };
    assert!(matches!(link.ask(more).await, Some((Message::Done(_), After::Reload))));
    let Some((Message::Tunnels(list), After::Nothing)) = link.ask(List {}).await else { panic!() };
    assert_eq!(list.tunnels.len(), 1);
    assert_eq!(list.tunnels[0].hostnames, patterns(&["www.example.com", "ftp.example.com"]));
    assert_eq!(list.tunnels[0].links, 3);
    let rotated = link.ask(Rotate { tunnel, csr: csr() }).await;
    assert!(matches!(rotated, Some((Message::Renewed(_), After::Close(closed))) if closed == tunnel));
    let deleted = link.ask(Delete { tunnel }).await;
    assert!(matches!(deleted, Some((Message::Done(_), After::Close(closed))) if closed == tunnel));
    assert_eq!(link.refusal(Delete { tunnel }).await, "unknown_tunnel");
}

// T2
#[tokio::test]
async fn an_operator_stays_inside_its_scope() {
    let office = Office::open().await;
    let others =
        office.desk().create_or_reuse(&Principal::Local, &create("office", &["www.example.com"])).await.unwrap();
    let (operator, _) = office.operator(&allowed(&["*.example.com"])).await;
    let link = Link::new(&office, &operator);
    assert_eq!(link.refusal(create("nas", &["www.example.com"])).await, "hostname_taken");
    assert_eq!(link.refusal(create("nas", &["www.example.org"])).await, "hostname_out_of_scope");
    assert_eq!(link.refusal(create("nas", &["access.example.com"])).await, "hostname_reserved");
    assert_eq!(link.refusal(create("office", &[])).await, "name_taken");
    for tunnel in [others.tunnel, TunnelId::from_bytes([9; 16])] {
        assert_eq!(link.refusal(Route { tunnel, hostnames: Vec::new() }).await, "unknown_tunnel");
        assert_eq!(link.refusal(Delete { tunnel }).await, "unknown_tunnel");
        assert_eq!(link.refusal(Rotate { tunnel, csr: csr() }).await, "unknown_tunnel");
    }
    assert_eq!(office.declared().await.tunnels.len(), 1);
}

// T4
#[tokio::test]
async fn a_revoked_operator_is_refused_from_the_next_message_on() {
    let office = Office::open().await;
    let (operator, _) = office.operator(&allowed(&["www.example.com"])).await;
    let link = Link::new(&office, &operator);
    assert!(matches!(link.ask(List {}).await, Some((Message::Tunnels(_), _))));
    office.store.revoke_certificates(&CertificateHolder::Operator(operator.id), office.clock.now()).await.unwrap();
    assert_eq!(link.refusal(List {}).await, "unknown_operator");
    assert_eq!(link.refusal(create("nas", &["www.example.com"])).await, "unknown_operator");
    let stranger = Link { office: &office, operator: OperatorId::from_bytes([9; 16]), serial: "00".into() };
    assert_eq!(stranger.refusal(List {}).await, "unknown_operator");
}

#[tokio::test]
async fn a_message_of_another_role_ends_the_link() {
    let office = Office::open().await;
    let (operator, _) = office.operator(&allowed(&["www.example.com"])).await;
    assert!(Link::new(&office, &operator).ask(Ping { nonce: 1 }).await.is_none());
}

#[tokio::test]
async fn requests_and_answers_fit_through_a_link() {
    let office = Office::open().await;
    let (operator, _) = office.operator(&allowed(&["www.example.com"])).await;
    let asks = Link::new(&office, &operator);
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let edge = async {
        let greeting =
            link::accept(tokio::io::BufReader::new(ours), Role::Operator, Settings::for_edge()).await.unwrap();
        let id = LinkId::from_bytes([1; 16]);
        let mut welcomed = greeting.welcome(id, Limits::default(), Vec::new()).await.unwrap();
        while let Some(message) = welcomed.control.next().await {
            let (reply, _) = asks.ask(message).await.unwrap();
            welcomed.control.send(reply).await.unwrap();
        }
    };
    let machine = async {
        let hello = Hello::new(Role::Operator, "test", InstanceId::from_bytes([2; 16]));
        let mut link = link::connect(tokio::io::BufReader::new(theirs), hello, Settings::default()).await.unwrap();
        link.control.send(create("nas", &["www.example.com"])).await.unwrap();
        let Some(Message::TunnelCreated(made)) = link.control.next().await else { panic!() };
        assert_eq!(made.hostnames, patterns(&["www.example.com"]));
        link.control.send(create("nas", &["www.example.org"])).await.unwrap();
        let Some(Message::Problem(problem)) = link.control.next().await else { panic!() };
        assert_eq!(problem.code, "hostname_out_of_scope");
        link.control.send(List {}).await.unwrap();
        let Some(Message::Tunnels(list)) = link.control.next().await else { panic!() };
        assert_eq!(list.tunnels[0].tunnel, made.tunnel);
        link.link.close();
    };
    tokio::join!(edge, machine);
}
