//! Reaching the service of a rule, and carrying bytes to and from it.

use std::{io, sync::Arc, time::Duration};

use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use tunnel_proto::{
    dial::{AbortiveTcp, DialError, RelayError, Shortage, UnixStream, connect_unix, dial, relay},
    link::Stream,
    message::StreamRefusal,
};

use crate::{
    bastion,
    service::{Opening, Service, StreamHandler},
    status::Meters,
    tls::{Tls, TlsFailure},
};

/// How long a service may take to accept a connection, unless told otherwise.
pub const SERVICE_CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// How the service of one rule is reached.
pub(crate) struct Way {
    /// How long it may take to accept a connection.
    pub(crate) limit: Duration,
    /// What comes between the connection and the stream.
    pub(crate) tls: Option<Tls>,
}

impl Way {
    /// Connects to `service`: that of the rule, or where a bastion leads.
    pub(crate) async fn connect(&self, service: &Service) -> Result<Connection, Unreached> {
        let socket = match service {
            Service::Handler { handler, .. } => return Ok(Connection::Handler(handler.clone())),
            // Led to a destination before, or refused.
            Service::Bastion(_) => return Err(DialError::Connect(io::ErrorKind::Unsupported.into()).into()),
            other => timeout(self.limit, socket(other)).await.map_err(|_| Unreached::Late { limit: self.limit })??,
        };
        Ok(match &self.tls {
            Some(tls) => Connection::Tls(Box::new(tls.connect(socket).await?)),
            None => Connection::Plain(socket),
        })
    }
}

type Socket = Either<AbortiveTcp, UnixStream>;

async fn socket(service: &Service) -> Result<Socket, DialError> {
    match service {
        Service::Http(target) | Service::Https(target) | Service::Tcp(target) => {
            dial(target).await.map(AbortiveTcp::new).map(Either::Left)
        }
        Service::Unix(path) | Service::UnixTls(path) => {
            connect_unix(path).await.map(Either::Right).map_err(DialError::Connect)
        }
        Service::Handler { .. } | Service::Bastion(_) => Err(DialError::Connect(io::ErrorKind::Unsupported.into())),
    }
}

/// Why a service was not reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreached {
    #[error("{0}")]
    Dial(#[from] DialError),
    #[error("no answer within {limit:?}")]
    Late { limit: Duration },
    #[error("{0}")]
    Tls(#[from] TlsFailure),
}

impl Unreached {
    /// The stable code for the edge.
    pub(crate) fn code(&self) -> StreamRefusal {
        match self {
            Self::Late { .. } | Self::Tls(TlsFailure::Late { .. }) => StreamRefusal::ServiceTimeout,
            Self::Tls(_) => StreamRefusal::ServiceTls,
            // This machine's own trouble, which passes, and not what a service is down for.
            Self::Dial(error) if error.shortage().is_some() => StreamRefusal::TooManyStreams,
            Self::Dial(DialError::Resolve { .. } | DialError::NoAddress { .. }) => StreamRefusal::ServiceUnreachable,
            Self::Dial(DialError::Connect(error)) => match error.kind() {
                // A socket file without a listener, or none yet, is a service that is not running.
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound | io::ErrorKind::ConnectionReset => {
                    StreamRefusal::ServiceRefused
                }
                io::ErrorKind::TimedOut => StreamRefusal::ServiceTimeout,
                _ => StreamRefusal::ServiceUnreachable,
            },
        }
    }

    /// What to do about it, for whoever reads the log.
    pub(crate) fn help(&self) -> &'static str {
        if let Self::Dial(error) = self
            && let Some(shortage) = error.shortage()
        {
            return remedy(shortage);
        }
        match (self, self.code()) {
            (Self::Tls(failure), _) => failure.help(),
            (_, StreamRefusal::ServiceRefused) => "look whether the service runs and listens there",
            (_, StreamRefusal::ServiceTimeout) => {
                "look whether something on the way drops packets; --proxy-connect-timeout gives the service more time"
            }
            _ => "check its address",
        }
    }
}

/// What to do about a shortage that does not pass by itself.
const fn remedy(shortage: Shortage) -> &'static str {
    match shortage {
        Shortage::Descriptors => {
            "no descriptor is free here: raise the limit of this program (LimitNOFILE= in its systemd unit, `ulimit -n` in a \
             shell), or that of the system (fs.file-max)"
        }
        Shortage::Ports => {
            "no local port is free for connections to that address: widen their range (net.ipv4.ip_local_port_range), or reach the \
             service by a Unix socket"
        }
        Shortage::Room => "the system has no room for another connection: look what takes its memory and its sockets",
        Shortage::Moment => {
            "no more is taken at the moment: if that lasts, look whether the service still accepts connections"
        }
    }
}

/// A connection to a service.
pub(crate) enum Connection {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
    Handler(Arc<dyn StreamHandler>),
}

impl Connection {
    /// Whether a bastion's connection has stayed on this machine without leave.
    pub(crate) fn stays_here(&self, service: &Service) -> bool {
        let (Service::Bastion(allow), Self::Plain(Either::Left(tcp))) = (service, self) else { return false };
        match (tcp.tcp().local_addr(), tcp.tcp().peer_addr()) {
            (Ok(local), Ok(peer)) => bastion::stays_here(allow, local, peer),
            // Gone already.
            _ => true,
        }
    }

    /// Carries bytes until both directions have ended, or one side has broken. The end of a direction in TLS is its
    /// close_notify; a service that ends without one has broken.
    pub(crate) async fn carry(self, mut stream: Stream, opening: Opening, meters: &Meters) -> io::Result<()> {
        let ended = match self {
            Self::Plain(mut socket) => {
                arm(&socket);
                relay(&mut stream, &mut socket, &meters.carried).await
            }
            Self::Tls(mut tls) => {
                arm(tls.get_ref().0);
                relay(&mut stream, tls.as_mut(), &meters.carried).await
            }
            Self::Handler(handler) => return handler.handle(stream, opening).await,
        };
        // Dropping a stream that has not ended in both directions resets it.
        ended.map_err(io::Error::other)
    }
}

/// What is cut, or goes on when we end, must be no orderly end to the service. A Unix socket has no reset; closing it is all that can be
/// said.
fn arm(socket: &Socket) {
    if let Either::Left(tcp) = socket {
        tcp.arm();
    }
}

/// Whether a service has ended a connection of TLS without saying so. What came before was carried; whether it was all that there
/// is, nobody knows.
pub(crate) fn ended_unsaid(error: &io::Error) -> bool {
    let relayed = error.get_ref().and_then(|inner| inner.downcast_ref::<RelayError>());
    matches!(relayed, Some(RelayError::Service(error)) if error.kind() == io::ErrorKind::UnexpectedEof)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_services_own_end_without_a_word_is_one() {
        // F5
        let ended = |error: RelayError| ended_unsaid(&io::Error::other(error));
        assert!(ended(RelayError::Service(io::ErrorKind::UnexpectedEof.into())));
        assert!(!ended(RelayError::Service(io::ErrorKind::ConnectionReset.into())));
        assert!(!ended(RelayError::Edge(io::ErrorKind::UnexpectedEof.into())));
        assert!(!ended_unsaid(&io::ErrorKind::UnexpectedEof.into()), "a handler's own");
    }

    #[test]
    fn each_failure_to_connect_has_its_code() {
        let connect = |kind: io::ErrorKind| Unreached::Dial(DialError::Connect(kind.into()));
        let number = |number| Unreached::Dial(DialError::Connect(io::Error::from_raw_os_error(number)));
        let resolve = |source| Unreached::Dial(DialError::Resolve { host: "x".to_owned(), source });
        let limit = Duration::from_secs(1);
        for (error, code) in [
            (connect(io::ErrorKind::ConnectionRefused), StreamRefusal::ServiceRefused),
            (connect(io::ErrorKind::NotFound), StreamRefusal::ServiceRefused),
            (connect(io::ErrorKind::TimedOut), StreamRefusal::ServiceTimeout),
            (connect(io::ErrorKind::HostUnreachable), StreamRefusal::ServiceUnreachable),
            (connect(io::ErrorKind::PermissionDenied), StreamRefusal::ServiceUnreachable),
            (connect(io::ErrorKind::NetworkUnreachable), StreamRefusal::ServiceUnreachable),
            (DialError::NoAddress { host: "x".to_owned() }.into(), StreamRefusal::ServiceUnreachable),
            (resolve(io::Error::other("no such name")), StreamRefusal::ServiceUnreachable),
            // This machine's own shortages (F6): descriptors, room for sockets, memory, ports, places in a queue.
            (number(23), StreamRefusal::TooManyStreams),
            (number(24), StreamRefusal::TooManyStreams),
            (number(10_024), StreamRefusal::TooManyStreams),
            (number(55), StreamRefusal::TooManyStreams),
            (number(105), StreamRefusal::TooManyStreams),
            (number(10_055), StreamRefusal::TooManyStreams),
            (connect(io::ErrorKind::OutOfMemory), StreamRefusal::TooManyStreams),
            (connect(io::ErrorKind::AddrNotAvailable), StreamRefusal::TooManyStreams),
            (connect(io::ErrorKind::AddrInUse), StreamRefusal::TooManyStreams),
            (connect(io::ErrorKind::WouldBlock), StreamRefusal::TooManyStreams),
            (resolve(io::Error::from_raw_os_error(23)), StreamRefusal::TooManyStreams),
            (resolve(io::Error::from_raw_os_error(24)), StreamRefusal::TooManyStreams),
            (resolve(io::ErrorKind::OutOfMemory.into()), StreamRefusal::TooManyStreams),
            (resolve(io::ErrorKind::WouldBlock.into()), StreamRefusal::TooManyStreams),
            (Unreached::Late { limit }, StreamRefusal::ServiceTimeout),
            (TlsFailure::Late { limit }.into(), StreamRefusal::ServiceTimeout),
            (TlsFailure::Issuer.into(), StreamRefusal::ServiceTls),
            (TlsFailure::NoHttp2.into(), StreamRefusal::ServiceTls),
        ] {
            assert_eq!(error.code(), code, "{error}");
            assert!(!error.help().is_empty());
        }
    }

    #[test]
    fn a_shortage_is_named_and_what_to_do_about_it() {
        let connect = |error| Unreached::Dial(DialError::Connect(error));
        for (error, word) in [
            (connect(io::Error::from_raw_os_error(24)), "LimitNOFILE"),
            (connect(io::ErrorKind::AddrNotAvailable.into()), "ip_local_port_range"),
            (connect(io::ErrorKind::OutOfMemory.into()), "memory"),
            (connect(io::ErrorKind::WouldBlock.into()), "accepts connections"),
            (connect(io::ErrorKind::NetworkUnreachable.into()), "address"),
        ] {
            assert!(error.help().contains(word), "{error}: {}", error.help());
        }
        let source = io::Error::from_raw_os_error(24);
        let unresolved = Unreached::Dial(DialError::Resolve { host: "x".to_owned(), source });
        assert!(unresolved.help().contains("LimitNOFILE"));
    }
}
