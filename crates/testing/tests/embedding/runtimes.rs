//! The roles run in whichever runtime a program has.

use std::{
    collections::HashSet,
    io::ErrorKind,
    num::NonZeroUsize,
    sync::{Arc, Mutex},
};

use axum::{Router, routing::get};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Handle, Id},
};
use tunnel_origin::{Connector, Credentials, EdgeAddress, Opening, Service, ServiceKind};
use tunnel_proto::{
    HostPattern, cores::Cores, dial::LocalEdge, enrol::CreateTunnel, identity::KeyAndCsr, link::Stream,
};
use tunnel_testing::Edge;

/// What a visitor, and a program of somebody else, reach by every role in this runtime. A mailbox gets one code at a time.
async fn every_role(edge: &Edge) {
    edge.admit("www.localhost", &["ann@example.com"]).await.unwrap();
    edge.admit("db.localhost", &["ben@example.com"]).await.unwrap();
    let origin = edge.origin().connect().await.unwrap();
    let _www = origin.http("www.localhost").serve(Router::new().route("/", get(async || "hello"))).await.unwrap();
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _db = origin.tcp("db.localhost").forward(&service.local_addr().unwrap().to_string()).await.unwrap();

    let mut ann = edge.login_as("www.localhost", "ann@example.com").await.unwrap();
    let answer = ann.get(&edge.url("www.localhost", "/")).await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, &b"hello"[..]));

    let client = edge.client("ben@example.com").build().unwrap();
    let mut stream = client.tcp(&edge.host("db.localhost")).connect().await.unwrap();
    let (mut accepted, _) = service.accept().await.unwrap();
    stream.write_all(b"ping").await.unwrap();
    let mut four = [0; 4];
    accepted.read_exact(&mut four).await.unwrap();
    assert_eq!(&four, b"ping");
}

#[test]
fn every_role_runs_in_a_runtime_of_one_thread_and_in_one_of_several() {
    for mut runtime in [Builder::new_current_thread(), Builder::new_multi_thread()] {
        runtime.enable_all().build().unwrap().block_on(async {
            let edge = Edge::start().await.unwrap();
            every_role(&edge).await;
            let here = Handle::current().id();
            assert!(edge.inner().state().registry.all().iter().all(|uplink| uplink.home == here));
            edge.stop().await;
        });
    }
}

#[tokio::test]
async fn an_edge_and_a_connector_deal_their_links_out_to_the_runtimes_that_they_are_given() {
    const LINKS: usize = 4;
    let [near, far] = ["near", "far"].map(|name| Cores::start(name, NonZeroUsize::new(2).unwrap()).unwrap());
    let of = |cores: &Cores| cores.handles().iter().map(Handle::id).collect::<HashSet<_>>();
    let edge = Edge::start_on(near.handles()).await.unwrap();
    edge.admit_everyone("seen.localhost").await.unwrap();
    let seen = Arc::<Mutex<HashSet<Id>>>::default();
    let noted = seen.clone();
    let service = Service::handler(ServiceKind::Tcp, move |mut stream: Stream, _: Opening| {
        noted.lock().unwrap().insert(Handle::current().id());
        async move { stream.write_all(b"x").await }
    });
    let connector = connector(&edge, "seen.localhost", service).await.connections(LINKS).cores(far.handles());
    let connector = connector.connect().await.unwrap();
    connector.status().wait_for(|status| status.links() == LINKS).await.unwrap();
    let homes: Vec<_> = edge.inner().state().registry.all().iter().map(|uplink| uplink.home).collect();
    assert_eq!(homes.len(), LINKS);
    assert_eq!(homes.iter().copied().collect::<HashSet<_>>(), of(&near), "{homes:?}");

    let client = edge.client("cid@example.com").build().unwrap();
    let mut streams = Vec::new();
    for _ in 0..8 {
        let mut stream = client.tcp(&edge.host("seen.localhost")).connect().await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'x');
        streams.push(stream);
    }
    let seen = seen.lock().unwrap().clone();
    assert!(!seen.is_empty() && seen.is_subset(&of(&far)), "a service is served where its link lives: {seen:?}");
    every_role(&edge).await;

    drop(streams);
    let listening = edge.inner().listening().to_vec();
    connector.stop().await.unwrap();
    edge.stop().await;
    let refused = TcpStream::connect(listening[0]).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

/// A connector of a tunnel of its own that publishes `service` at `host`.
async fn connector(edge: &Edge, host: &str, service: Service) -> tunnel_origin::Builder {
    let config = &edge.inner().state().config;
    let key = KeyAndCsr::generate().unwrap();
    let hostnames = vec![host.parse().unwrap()];
    let wish = CreateTunnel { name: "own".parse().unwrap(), hostnames, csr: key.csr_pem.clone() };
    let created = LocalEdge::find(&config.data_dir).unwrap().create_tunnel(&wish).await.unwrap();
    let credentials = Credentials::new(config.zone.clone(), &created.ca, &created.certificate, key.key_pem).unwrap();
    Connector::builder()
        .edge(EdgeAddress::parse(&edge.inner().state().issuer, None).unwrap())
        .credentials(credentials)
        .service(host.parse::<HostPattern>().unwrap(), service)
}
