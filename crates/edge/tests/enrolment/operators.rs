//! What a link with the role operator can do.

use tunnel_edge::{
    operators::{answer, serve},
    store::CertificateHolder,
    tunnels::Principal,
};
use tunnel_proto::{
    OperatorId, TunnelId,
    enrol::{EnrolProblem, Operator},
    identity::{CertRole, PeerIdentity, peer_identity},
    link::{self, Settings},
    message::{Delete, Hello, List, Message, Ping, Role, Rotate, Route},
};

use crate::desk::{Followed, Office, allowed, create, csr, patterns};

const SOURCE: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

struct Link<'a> {
    office: &'a Office,
    peer: PeerIdentity,
}

impl<'a> Link<'a> {
    fn new(office: &'a Office, operator: &Operator) -> Self {
        use rustls::pki_types::{CertificateDer, pem::PemObject};
        let der = CertificateDer::from_pem_slice(operator.certificate.as_bytes()).unwrap();
        Self { office, peer: peer_identity(office.ca.zone(), &der).unwrap() }
    }

    async fn ask(&self, message: impl Into<Message>) -> Message {
        self.office.followed.lock().unwrap().clear();
        answer(self.office, &self.peer, SOURCE, message.into()).await.unwrap()
    }

    async fn refusal(&self, message: impl Into<Message>) -> String {
        match self.ask(message).await {
            Message::Problem(EnrolProblem { code, .. }) => {
                assert_eq!(self.followed(), []);
                code
            }
            other => panic!("{other:?}"),
        }
    }

    fn followed(&self) -> Vec<Followed> {
        self.office.followed.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn an_operator_makes_routes_lists_rotates_and_deletes_its_own() {
    let office = Office::open().await;
    let (operator, _) = office.operator(&allowed(&["*.example.com"])).await;
    let link = Link::new(&office, &operator);
    let Message::TunnelCreated(made) = link.ask(create("nas", &["www.example.com"])).await else { panic!() };
    assert_eq!(link.followed(), [Followed::Reloaded]);
    let tunnel = made.tunnel;
    let more = Route { tunnel, hostnames: patterns(&["ftp.example.com"]) };
    assert!(matches!(link.ask(more).await, Message::Done(_)));
    assert_eq!(link.followed(), [Followed::Reloaded]);
    let Message::Tunnels(list) = link.ask(List {}).await else { panic!() };
    assert_eq!(list.tunnels.len(), 1);
    assert_eq!(list.tunnels[0].hostnames, patterns(&["www.example.com", "ftp.example.com"]));
    assert_eq!(list.tunnels[0].links, 3);
    assert_eq!(link.followed(), []);
    assert!(matches!(link.ask(Rotate { tunnel, csr: csr() }).await, Message::Renewed(_)));
    assert_eq!(link.followed(), [Followed::Reloaded, Followed::Closed(tunnel)]);
    assert!(matches!(link.ask(Delete { tunnel }).await, Message::Done(_)));
    assert_eq!(link.followed(), [Followed::Reloaded, Followed::Closed(tunnel)]);
    assert_eq!(link.refusal(Delete { tunnel }).await, "unknown_tunnel");
}

// T2
#[tokio::test]
async fn an_operator_stays_inside_its_scope() {
    let office = Office::open().await;
    let others = create("office", &["www.example.com"]);
    let others = office.desk().create_or_reuse(&Principal::Local, &others).await.unwrap();
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
async fn a_revoked_or_expired_operator_is_refused_from_the_next_message_on() {
    let office = Office::open().await;
    let (operator, _) = office.operator(&allowed(&["www.example.com"])).await;
    let link = Link::new(&office, &operator);
    assert!(matches!(link.ask(List {}).await, Message::Tunnels(_)));
    let holder = CertificateHolder::Operator(operator.id);
    office.store.revoke_certificates(&holder, office.clock.now()).await.unwrap();
    assert_eq!(link.refusal(List {}).await, "unknown_operator");
    assert_eq!(link.refusal(create("nas", &["www.example.com"])).await, "unknown_operator");
    let (operator, _) = office.operator(&allowed(&["www.example.com"])).await;
    let link = Link::new(&office, &operator);
    office.wait(90 * 86400 - 1);
    assert!(matches!(link.ask(List {}).await, Message::Tunnels(_)));
    office.wait(1);
    assert_eq!(link.refusal(List {}).await, "unknown_operator");
}

// T1
#[tokio::test]
async fn only_a_known_operator_is_served() {
    let office = Office::open().await;
    let (operator, _) = office.operator(&allowed(&["www.example.com"])).await;
    let known = Link::new(&office, &operator).peer;
    let stranger = PeerIdentity { role: CertRole::Operator(OperatorId::from_bytes([9; 16])), ..known.clone() };
    assert_eq!(Link { office: &office, peer: stranger }.refusal(List {}).await, "unknown_operator");
    let connector = PeerIdentity { role: CertRole::Connector(TunnelId::from_bytes([9; 16])), ..known.clone() };
    assert!(answer(&office, &connector, SOURCE, List {}.into()).await.is_none());
    assert!(answer(&office, &known, SOURCE, Ping { nonce: 1 }.into()).await.is_none());
}

#[tokio::test]
async fn an_operators_link_is_served_until_it_ends() {
    let office = Office::open().await;
    let (operator, _) = office.operator(&allowed(&["www.example.com"])).await;
    let peer = Link::new(&office, &operator).peer;
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let edge = async {
        let greeting = link::accept(ours, Role::Operator, Settings::for_edge()).await.unwrap();
        let id = tunnel_proto::LinkId::from_bytes([1; 16]);
        let mut welcomed = greeting.welcome(id, Default::default(), Vec::new()).await.unwrap();
        serve(&office, &mut welcomed.control, &peer, SOURCE).await;
    };
    let machine = async {
        let hello = Hello::new(Role::Operator, "test", tunnel_proto::InstanceId::from_bytes([2; 16]));
        let mut link = link::connect(theirs, hello, Settings::default()).await.unwrap();
        link.control.send(create("nas", &["www.example.com"])).await.unwrap();
        let Some(Message::TunnelCreated(made)) = link.control.next().await else { panic!() };
        assert_eq!(made.hostnames, patterns(&["www.example.com"]));
        link.control.send(List {}).await.unwrap();
        let Some(Message::Tunnels(list)) = link.control.next().await else { panic!() };
        assert_eq!(list.tunnels[0].tunnel, made.tunnel);
        link.link.close();
    };
    tokio::join!(edge, machine);
}
