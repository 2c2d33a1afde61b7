//! The TLS handshake.

use std::{io, sync::Arc, time::Duration};

use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tunnel_proto::{
    Hostname,
    identity::{ALPN_ACCESS, ALPN_LINK},
};

use super::Challenges;
use crate::acme::ALPN_CHALLENGE;

/// Time for a TLS handshake (H13).
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);

/// Why there was no handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// By whoever connects.
    Theirs,
    /// There is no certificate yet for a name that is served.
    Ours,
}

/// The configurations for who is not a link of a connector: visitors, access clients, authorities.
pub(super) type Public = (Arc<ServerConfig>, Arc<ServerConfig>, Option<Challenges>);

/// The TLS handshake: with the configuration for links when the client offers to speak one, with that for access clients
/// when it offers that, with that for authorities when it offers that and nothing else, else with that for visitors. One that
/// takes too long, or is none, has failed.
pub(super) async fn handshake(
    socket: TcpStream,
    public: Option<Public>,
    links: Arc<ServerConfig>,
) -> Result<tokio_rustls::server::TlsStream<TcpStream>, Failed> {
    crate::faults::at("handshake");
    let mut failed = Failed::Theirs;
    let shake = async {
        let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), socket).await?;
        let (config, early) = {
            let hello = start.client_hello();
            let offers = |name: &[u8]| hello.alpn().is_some_and(|mut offered| offered.any(|one| one == name));
            let only = |name: &[u8]| hello.alpn().is_some_and(|mut offered| offered.all(|one| one == name));
            match public {
                _ if offers(ALPN_LINK) => (links, None),
                Some((_, access, challenges)) if offers(ALPN_ACCESS) => (access, challenges),
                Some((.., Some(challenges))) if only(ALPN_CHALLENGE) => (challenges.tls, None),
                Some((visitors, _, challenges)) => (visitors, challenges),
                None => return Err(io::Error::other("not a link")),
            }
        };
        if let Some(Challenges { acme, .. }) = early {
            let host = start.client_hello().server_name().and_then(|name| Hostname::parse(name).ok());
            if let Some(host) = host {
                acme.ready(&host).await;
                if acme.lacks(&host) {
                    failed = Failed::Ours;
                }
            }
        }
        start.into_stream(config).await
    };
    let shaken = tokio::time::timeout(HANDSHAKE_TIME, shake).await;
    match shaken {
        Ok(Ok(tls)) => Ok(tls),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            Err(failed)
        }
        Err(_) => Err(Failed::Theirs),
    }
}
