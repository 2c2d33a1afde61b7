//! The TLS handshake.

use std::{io, sync::Arc, time::Duration};

use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio_rustls::{StartHandshake, server};
use tunnel_proto::{
    Hostname,
    identity::{ALPN_ACCESS, ALPN_LINK},
    tls::{Arrival, TlsStream},
};

use super::Challenges;
use crate::acme::ALPN_CHALLENGE;

/// Time for a TLS handshake (H13).
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);

/// Why there was no handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// By whoever connects, as no browser does.
    Theirs,
    /// As any page elsewhere can have its readers' browsers do.
    ABrowsers,
    /// There is no certificate yet for a name that is served.
    Ours,
}

/// A connection whose handshake is over.
pub(super) enum Secure {
    /// A link of a connector, an operator or an access client.
    Link(Box<TlsStream<TcpStream>>),
    /// A visitor's, or an authority's.
    Public(Box<server::TlsStream<TcpStream>>),
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
) -> Result<Secure, Failed> {
    crate::faults::at("handshake");
    let mut failed = Failed::Theirs;
    let shake = async {
        let arrival = Arrival::read(socket).await?;
        let (config, is_link, early) = {
            let hello = arrival.client_hello();
            let offers = |name: &[u8]| hello.alpn().is_some_and(|mut offered| offered.any(|one| one == name));
            let only = |name: &[u8]| hello.alpn().is_some_and(|mut offered| offered.all(|one| one == name));
            match public {
                _ if offers(ALPN_LINK) => (links, true, None),
                Some((_, access, challenges)) if offers(ALPN_ACCESS) => (access, true, challenges),
                Some((.., Some(challenges))) if only(ALPN_CHALLENGE) => (challenges.tls, false, None),
                Some((visitors, _, challenges)) => (visitors, false, challenges),
                None => return Err(io::Error::other("not a link")),
            }
        };
        if let Some(Challenges { acme, .. }) = early {
            let host = arrival.client_hello().server_name().and_then(|name| Hostname::parse(name).ok());
            if let Some(host) = host {
                acme.ready(&host).await;
                if acme.lacks(&host) {
                    failed = Failed::Ours;
                }
            }
        }
        if is_link {
            return arrival.accept(config).await.map(|tls| Secure::Link(Box::new(tls)));
        }
        let (accepted, socket) = arrival.into_parts();
        let start = StartHandshake::from_parts(accepted, socket);
        start.into_stream(config).await.map(|tls| Secure::Public(Box::new(tls)))
    };
    let shaken = tokio::time::timeout(HANDSHAKE_TIME, shake).await;
    match shaken {
        Ok(Ok(tls)) => Ok(tls),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            Err(if failed == Failed::Theirs && is_a_browsers(&error) { Failed::ABrowsers } else { failed })
        }
        Err(_) => Err(Failed::Theirs),
    }
}

/// Whether a page elsewhere can bring a browser to fail like this: by names and addresses that the certificate is not for, by a
/// request that is given up, or by one of another protocol.
fn is_a_browsers(error: &io::Error) -> bool {
    use rustls::{Error, InvalidMessage};
    match error.get_ref().and_then(|error| error.downcast_ref::<Error>()) {
        // The connection ended, or did not offer what is spoken there.
        None => true,
        Some(error) => matches!(
            error,
            Error::AlertReceived(_)
                | Error::PeerIncompatible(_)
                | Error::NoApplicationProtocol
                // No certificate for the name.
                | Error::General(_)
                // No TLS at all, as `http://HOST:443/` is none.
                | Error::InvalidMessage(InvalidMessage::InvalidContentType)
        ),
    }
}

#[cfg(test)]
mod tests {
    use rustls::{AlertDescription, Error, InvalidMessage, PeerMisbehaved};

    use super::*;

    // H13
    #[test]
    fn what_a_page_elsewhere_has_a_browser_do_is_told_from_what_no_browser_does() {
        let tls = |error: Error| io::Error::new(io::ErrorKind::InvalidData, error);
        for error in [
            tls(Error::AlertReceived(AlertDescription::UnknownCA)),
            tls(Error::AlertReceived(AlertDescription::CertificateUnknown)),
            tls(Error::General("no server certificate chain resolved".to_owned())),
            tls(Error::InvalidMessage(InvalidMessage::InvalidContentType)),
            io::ErrorKind::UnexpectedEof.into(),
            io::ErrorKind::ConnectionReset.into(),
            io::Error::other("not a link"),
        ] {
            assert!(is_a_browsers(&error), "{error:?}");
        }
        for error in [
            Error::InvalidMessage(InvalidMessage::MissingKeyExchange),
            Error::PeerMisbehaved(PeerMisbehaved::MissingKeyShare),
            Error::DecryptError,
            Error::NoCertificatesPresented,
        ] {
            assert!(!is_a_browsers(&tls(error)));
        }
    }
}
