//! First contact over HTTPS, and the link of an operator.

use std::sync::Arc;

use rustls::ServerConfig;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;
use tunnel_origin::{
    Credentials, EdgeAddress,
    enrol::{EnrolClient, EnrolError, Pin, Trust},
    operator::{OperatorError, OperatorLink},
};
use tunnel_proto::{
    LinkId, OperatorId, TunnelId,
    enrol::{CreateTunnel, EnrolAnswer, EnrolProblem, EnrolRequest, TunnelCreated},
    identity::{CertRole, KeyAndCsr, provider},
    message::{Done, Limits, Message, TunnelEntry, Tunnels},
};

use super::edge::{Edge, now, zone};

const ANSWER: &str = r#"{"answer":"pending"}"#;

/// A web server with a certificate of the edge's CA, which answers one request and tells what it was.
async fn answer_once(edge: &Edge, listener: &TcpListener) -> Option<String> {
    let certified = edge.ca.server_certificate(&["access.localhost".parse().unwrap()], now()).unwrap();
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    #[derive(Debug)]
    struct One(Arc<rustls::sign::CertifiedKey>);
    impl rustls::server::ResolvesServerCert for One {
        fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<rustls::sign::CertifiedKey>> {
            Some(self.0.clone())
        }
    }
    let config = builder.with_no_client_auth().with_cert_resolver(Arc::new(One(Arc::new(certified))));
    let (tcp, _) = listener.accept().await.unwrap();
    let mut tls = TlsAcceptor::from(Arc::new(config)).accept(tcp).await.ok()?;
    let mut request = Vec::new();
    while !request.ends_with(b"}") {
        let mut chunk = [0; 1024];
        let count = tls.read(&mut chunk).await.ok().filter(|count| *count > 0)?;
        request.extend_from_slice(&chunk[..count]);
    }
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{ANSWER}", ANSWER.len());
    tls.write_all(answer.as_bytes()).await.ok()?;
    tls.shutdown().await.ok()?;
    Some(String::from_utf8(request).unwrap())
}

async fn ask(edge: &Edge, name: &str, trust: &Trust) -> (Result<EnrolAnswer, EnrolError>, Option<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://{name}:{}", listener.local_addr().unwrap().port());
    let client = EnrolClient::new(EdgeAddress::parse(&address, None).unwrap(), trust).unwrap();
    let poll = EnrolRequest::Poll { secret: "s".to_owned() };
    tokio::join!(client.ask(&poll), answer_once(edge, &listener))
}

#[tokio::test]
async fn an_edge_is_asked_over_https_that_its_ca_vouches_for() {
    let edge = Edge::start().await;
    let trust = Trust::Ca(edge.ca.certificate_pem().to_owned());
    let (answer, request) = ask(&edge, "access.localhost", &trust).await;
    assert_eq!(answer.unwrap(), EnrolAnswer::Pending);
    let request = request.unwrap();
    assert!(request.starts_with("POST /.access/enroll HTTP/1.1\r\n"), "{request}");
    assert!(request.ends_with(r#"{"request":"poll","secret":"s"}"#), "{request}");
}

// T9
#[tokio::test]
async fn a_stranger_is_told_nothing() {
    let (edge, other) = (Edge::start().await, Edge::start().await);
    let ours = Trust::Ca(edge.ca.certificate_pem().to_owned());
    for (name, trust) in [
        ("access.localhost", Trust::Ca(other.ca.certificate_pem().to_owned())),
        ("access.localhost", Trust::Web),
        ("access.localhost", Trust::Pin(Pin::of(other.ca.certificate_der()))),
        ("elsewhere.localhost", ours),
        ("elsewhere.localhost", Trust::Pin(Pin::of(edge.ca.certificate_der()))),
    ] {
        let (answer, request) = ask(&edge, name, &trust).await;
        assert!(matches!(answer, Err(EnrolError::Tls(_))), "{name} {trust:?}: {answer:?}");
        assert_eq!(request, None);
    }
}

#[tokio::test]
async fn the_ca_of_an_edge_can_be_pinned() {
    let edge = Edge::start().await;
    let trust = Trust::Pin(Pin::of(edge.ca.certificate_der()));
    assert_eq!(ask(&edge, "access.localhost", &trust).await.0.unwrap(), EnrolAnswer::Pending);
}

fn operator(edge: &Edge) -> Credentials {
    let key = KeyAndCsr::generate().unwrap();
    let role = CertRole::Operator(OperatorId::from_random([4; 16]));
    let certificate = edge.ca.issue(&key.csr_pem, role, now()).unwrap().certificate_pem;
    Credentials::new(zone(), edge.ca.certificate_pem(), &certificate, key.key_pem).unwrap()
}

#[tokio::test]
async fn an_operator_creates_lists_and_deletes_tunnels() {
    let edge = Edge::start().await;
    let tunnel = TunnelId::from_random([6; 16]);
    let serving = async {
        let (greeting, _) = edge.greeting().await;
        let mut link = greeting.welcome(LinkId::from_random([1; 16]), Limits::default(), vec![]).await.unwrap();
        while let Some(message) = link.control.next().await {
            let answer: Message = match message {
                Message::CreateTunnel(asked) if asked.name.as_str() == "taken" => {
                    EnrolProblem { code: "name_taken".to_owned(), message: "it is taken".to_owned() }.into()
                }
                Message::CreateTunnel(asked) => TunnelCreated {
                    tunnel,
                    name: asked.name,
                    certificate: "c".to_owned(),
                    ca: "a".to_owned(),
                    hostnames: asked.hostnames,
                    urls: vec![],
                }
                .into(),
                Message::List(_) => {
                    let name = "office".parse().unwrap();
                    Tunnels { tunnels: vec![TunnelEntry { tunnel, name, hostnames: vec![], links: 4 }] }.into()
                }
                Message::Delete(asked) if asked.tunnel == tunnel => Done {}.into(),
                other => panic!("{other:?}"),
            };
            link.control.send(answer).await.unwrap();
        }
    };
    let asking = async {
        let mut link = OperatorLink::connect(edge.address(), &operator(&edge), "test").await.unwrap();
        let create = |name: &str| CreateTunnel {
            name: name.parse().unwrap(),
            hostnames: vec!["www.localhost".parse().unwrap()],
            csr: "csr".to_owned(),
        };
        let error = link.create(create("taken")).await.unwrap_err();
        assert!(matches!(&error, OperatorError::Refused(problem) if problem.code == "name_taken"), "{error}");
        assert_eq!(link.create(create("office")).await.unwrap().tunnel, tunnel);
        assert_eq!(link.list().await.unwrap()[0].links, 4);
        link.delete(tunnel).await.unwrap();
        link.close().await;
    };
    tokio::join!(serving, asking);
}

#[tokio::test]
async fn the_credentials_of_one_role_are_not_those_of_another() {
    let edge = Edge::start().await;
    let connector = edge.credentials_at(now());
    assert!(OperatorLink::connect(edge.address(), &connector, "test").await.is_err());
    let builder = edge.connector().credentials(operator(&edge));
    assert!(
        builder
            .service("www.localhost".parse::<tunnel_proto::HostPattern>().unwrap(), tunnel_origin::hello::service())
            .start()
            .is_err()
    );
}
