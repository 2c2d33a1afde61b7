//! The TLS handshake.

use std::{io, sync::Arc, time::Duration};

use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tunnel_proto::identity::{ALPN_ACCESS, ALPN_LINK};

/// Time for a TLS handshake (H13).
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);

/// The TLS handshake: with the configuration for links when the client offers to speak one, with that for access clients
/// when it offers that, else with that for visitors. `None` when it fails, takes too long, or is none.
pub(super) async fn handshake(
    socket: TcpStream,
    public: Option<(Arc<ServerConfig>, Arc<ServerConfig>)>,
    links: Arc<ServerConfig>,
) -> Option<tokio_rustls::server::TlsStream<TcpStream>> {
    let shake = async {
        let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), socket).await?;
        let hello = start.client_hello();
        let offers = |name: &[u8]| hello.alpn().is_some_and(|mut offered| offered.any(|one| one == name));
        let config = match public {
            _ if offers(ALPN_LINK) => links,
            Some((_, access)) if offers(ALPN_ACCESS) => access,
            Some((visitors, _)) => visitors,
            None => return Err(io::Error::other("not a link")),
        };
        start.into_stream(config).await
    };
    match tokio::time::timeout(HANDSHAKE_TIME, shake).await {
        Ok(Ok(tls)) => Some(tls),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
        Err(_) => None,
    }
}
