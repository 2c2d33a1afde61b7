//! Against rustls' own connections at the other end, as tokio-rustls has them, and against ourselves.

mod damage;
mod traffic;

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, ServerName},
    version::TLS13,
};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{TlsStream, accept, connect};
use crate::identity::provider;

/// Configurations that believe each other.
fn configs() -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let made = rcgen::generate_simple_self_signed(["edge.test".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let mut client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    client.alpn_protocols = vec![b"x/1".to_vec()];
    server.alpn_protocols = vec![b"x/1".to_vec()];
    client.enable_secret_extraction = true;
    server.enable_secret_extraction = true;
    (Arc::new(client), Arc::new(server))
}

fn name() -> ServerName<'static> {
    ServerName::try_from("edge.test").unwrap()
}

/// Configurations for a pipe of so many bytes. Where tickets do not fit, a server could not send them before its client reads.
fn configs_for(pipe: usize) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let (client, mut server) = configs();
    if pipe < 4096 {
        Arc::make_mut(&mut server).send_tls13_tickets = 0;
    }
    (client, server)
}

/// Both ends by this module.
async fn ours(pipe: usize) -> (TlsStream<DuplexStream>, TlsStream<DuplexStream>) {
    let (client, server) = configs_for(pipe);
    let (near, far) = duplex(pipe);
    tokio::try_join!(connect(client, name(), near), accept(server, far)).unwrap()
}

/// rustls' own client, and our server.
async fn their_client(pipe: usize) -> (tokio_rustls::client::TlsStream<DuplexStream>, TlsStream<DuplexStream>) {
    let (client, server) = configs_for(pipe);
    let (near, far) = duplex(pipe);
    let client = TlsConnector::from(client);
    tokio::try_join!(client.connect(name(), near), accept(server, far)).unwrap()
}

/// Our client, and rustls' own server.
async fn their_server(pipe: usize) -> (TlsStream<DuplexStream>, tokio_rustls::server::TlsStream<DuplexStream>) {
    let (client, server) = configs_for(pipe);
    let (near, far) = duplex(pipe);
    let server = TlsAcceptor::from(server);
    tokio::try_join!(connect(client, name(), near), server.accept(far)).unwrap()
}

/// Any byte stream.
trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

type BoxIo = Box<dyn Io>;

/// Every pair of ends of which one is ours.
async fn every_pair(pipe: usize) -> Vec<(&'static str, BoxIo, BoxIo)> {
    let (a, b) = ours(pipe).await;
    let (c, d) = their_client(pipe).await;
    let (e, f) = their_server(pipe).await;
    vec![
        ("both ours", Box::new(a), Box::new(b)),
        ("their client", Box::new(c), Box::new(d)),
        ("their server", Box::new(e), Box::new(f)),
    ]
}

/// Bytes that tell where they belong.
fn pattern(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|at| (at / 251).to_le_bytes()[0] ^ at.to_le_bytes()[0] ^ seed).collect()
}
