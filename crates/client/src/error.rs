//! Why something did not work, from the side of whoever wanted to reach a service.

use tunnel_proto::{
    dial::{AskError, DialError, TrustError},
    link::LinkEnd,
    message::{GrantRefusal, LinkRefusal, RevokedReason, StreamRefusal},
};

use crate::token::StoreError;

/// Why a service was not reached, or is not any more.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What should be reached is not written as it must be.
    #[error("{what}")]
    Usage {
        /// What is wrong, and how it is written.
        what: String,
    },
    /// No connection.
    #[error("cannot reach {at}: {reason}")]
    Unreachable {
        /// Where it was tried.
        at: String,
        /// What happened.
        reason: String,
    },
    /// No answer in time.
    #[error("{at} did not answer in time")]
    Late {
        /// Where it was tried.
        at: String,
    },
    /// It was asked too often.
    #[error("{at} answers no more questions for now: {reason}")]
    TooMany {
        /// Who was asked.
        at: String,
        /// Why, in its words.
        reason: String,
    },
    /// The proxy on the way does not let us through.
    #[error("the proxy {proxy} does not connect to {at}: {reason}")]
    Proxy {
        /// The proxy, without its credentials.
        proxy: String,
        /// Where to.
        at: String,
        /// What it said.
        reason: String,
    },
    /// What answered did not prove who it is.
    #[error("{at} did not prove who it is: {reason}")]
    Untrusted {
        /// Where it was tried.
        at: String,
        /// What is wrong with its certificate.
        reason: String,
    },
    /// What answered would be believed at another time: a clock is wrong, here or there.
    #[error("{at} shows what is not valid now, by the clock of this machine: {reason}")]
    Clock {
        /// What shows it.
        at: String,
        /// What is not valid.
        reason: String,
    },
    /// What should be trusted cannot be used.
    #[error("{reason}")]
    Trust {
        /// What is wrong with it.
        reason: String,
    },
    /// There is no application at this hostname, or no edge.
    #[error("there is no application at `{host}`: {reason}")]
    NoApplication {
        /// The hostname.
        host: String,
        /// What answered.
        reason: String,
    },
    /// What the hostname says about itself is not vouched for.
    #[error("what `{host}` says about itself is not to be believed: {reason}")]
    Descriptor {
        /// The hostname.
        host: String,
        /// What is wrong.
        reason: String,
    },
    /// The hostname belongs to another edge than at the first login.
    #[error("`{host}` belongs to the edge {known}, as is known here, and now says {found}")]
    OtherEdge {
        /// The hostname.
        host: String,
        /// The edge that is remembered.
        known: String,
        /// The edge that it names now.
        found: String,
    },
    /// A service token was not shown: nothing says that the edge is the host's own.
    #[error("`{host}` names the edge {found}, which may be anybody's: the service token was not shown to it")]
    UnknownEdge {
        /// The hostname.
        host: String,
        /// The edge that it names.
        found: String,
    },
    /// The connections that were asked for are for the hosts of one edge, and this one is of another.
    #[error("`{host}` belongs to the edge {found}, and only hosts of {known} are connected to here")]
    ForeignEdge {
        /// The hostname.
        host: String,
        /// The edge whose hosts are connected to.
        known: String,
        /// The edge that it belongs to.
        found: String,
    },
    /// There is no login, and nobody was asked for one.
    #[error("there is no login for `{host}`")]
    NoLogin {
        /// The hostname.
        host: String,
    },
    /// The login was refused.
    #[error("the login for `{host}` was refused: {reason}")]
    LoginRefused {
        /// The hostname.
        host: String,
        /// Why, in the edge's words.
        reason: String,
    },
    /// Nobody logged in in time.
    #[error("nobody logged in to `{host}` in time")]
    LoginLapsed {
        /// The hostname.
        host: String,
    },
    /// The edge does not let this credential in.
    #[error("the edge does not admit to `{host}` ({code}): {text}")]
    Refused {
        /// The hostname.
        host: String,
        /// The stable code.
        code: GrantRefusal,
        /// Why, in the edge's words.
        text: String,
    },
    /// The connection was refused.
    #[error("{} refused the connection to `{host}` ({code}): {text}", refuser(*code))]
    Stream {
        /// The hostname.
        host: String,
        /// The stable code.
        code: StreamRefusal,
        /// Why, in the words of who refused.
        text: String,
    },
    /// The right to be connected ended while the connection lived.
    #[error("the edge ended the access to `{host}`: {}", revoked(*reason))]
    Revoked {
        /// The hostname.
        host: String,
        /// Why.
        reason: RevokedReason,
    },
    /// The edge does not take a link.
    #[error("the edge refused the link ({code}): {text}")]
    Link {
        /// The stable code.
        code: LinkRefusal,
        /// Why, in the edge's words.
        text: String,
        /// Whether trying again later can help.
        retryable: bool,
    },
    /// The connection was cut, and the link that it was on goes on: by the service, or by somebody on the way to it.
    #[error("the connection to `{host}` was cut before both sides had ended it: {reason}")]
    Cut {
        /// The hostname.
        host: String,
        /// What happened.
        reason: String,
    },
    /// The link was lost.
    #[error("the link to the edge was lost: {0}")]
    Lost(#[source] LinkEnd),
    /// What answered speaks another protocol.
    #[error("{at} speaks another protocol: {reason}")]
    Protocol {
        /// Where it was tried.
        at: String,
        /// What happened.
        reason: String,
    },
    /// Tokens cannot be kept or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A local port cannot be listened at.
    #[error("cannot listen at {address}: {reason}")]
    Listen {
        /// The address.
        address: String,
        /// What happened.
        reason: String,
    },
    /// What the bytes come from here, or go to, does not work any more.
    #[error("{what} failed: {reason}")]
    Local {
        /// What it is.
        what: String,
        /// What happened.
        reason: String,
    },
    /// Something is wrong with this program or the system it runs on.
    #[error("internal error: {reason}")]
    Internal {
        /// What happened.
        reason: String,
    },
}

/// Who refused a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refuser {
    /// The edge: its policy, or for want of a connector.
    Edge,
    /// The connector, or the service behind it.
    Connector,
}

impl Error {
    /// A stable name, for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Usage { .. } => "usage",
            Self::Unreachable { .. } => "unreachable",
            Self::Late { .. } => "late",
            Self::TooMany { .. } => "too_many",
            Self::Proxy { .. } => "proxy",
            Self::Untrusted { .. } => "untrusted",
            Self::Clock { .. } => "clock",
            Self::Trust { .. } => "trust",
            Self::NoApplication { .. } => "no_application",
            Self::Descriptor { .. } => "bad_descriptor",
            Self::OtherEdge { .. } => "other_edge",
            Self::UnknownEdge { .. } => "unknown_edge",
            Self::ForeignEdge { .. } => "foreign_edge",
            Self::NoLogin { .. } => "no_login",
            Self::LoginRefused { .. } => "login_refused",
            Self::LoginLapsed { .. } => "login_lapsed",
            Self::Refused { .. } => "not_admitted",
            Self::Stream { .. } => "stream_refused",
            Self::Revoked { .. } => "revoked",
            Self::Link { .. } => "link_refused",
            Self::Cut { .. } => "cut",
            Self::Lost(_) => "lost",
            Self::Protocol { .. } => "protocol",
            Self::Store(_) => "store",
            Self::Listen { .. } => "listen",
            Self::Local { .. } => "local",
            Self::Internal { .. } => "internal",
        }
    }

    /// Whether the same may succeed later without anything being changed here.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Late { .. }
            | Self::Proxy { .. }
            | Self::TooMany { .. }
            | Self::Cut { .. }
            | Self::Lost(_) => true,
            Self::Link { retryable, .. } => *retryable,
            Self::Refused { code, .. } => matches!(code, GrantRefusal::Internal),
            Self::Stream { code, .. } => matches!(
                code,
                StreamRefusal::ServiceRefused
                    | StreamRefusal::ServiceTimeout
                    | StreamRefusal::ServiceUnreachable
                    | StreamRefusal::StaleTable
                    | StreamRefusal::Draining
                    | StreamRefusal::TooManyStreams
                    | StreamRefusal::NoTunnel
                    | StreamRefusal::Internal
            ),
            _ => false,
        }
    }

    /// Who refused, when somebody on the other side did.
    pub const fn refuser(&self) -> Option<Refuser> {
        match self {
            Self::Stream { code, .. } if by_connector(*code) => Some(Refuser::Connector),
            Self::Stream { .. }
            | Self::Refused { .. }
            | Self::LoginRefused { .. }
            | Self::Revoked { .. }
            | Self::Link { .. } => Some(Refuser::Edge),
            _ => None,
        }
    }

    pub(crate) fn ask(at: &str, error: AskError) -> Self {
        match error {
            AskError::Tls(source) => Self::handshake(at, &source),
            AskError::Timeout => Self::Late { at: at.to_owned() },
            AskError::Trust(error) => error.into(),
            AskError::Unreachable { message } => Self::Unreachable { at: at.to_owned(), reason: message },
            AskError::Refused(problem) if problem.code == "too_many" => {
                Self::TooMany { at: at.to_owned(), reason: problem.message }
            }
            AskError::Refused(problem) if problem.code == "internal" => {
                Self::Unreachable { at: at.to_owned(), reason: problem.message }
            }
            AskError::Status { status } if status.is_server_error() => {
                Self::Unreachable { at: at.to_owned(), reason: format!("the answer was HTTP {status}") }
            }
            AskError::Http(error) => Self::Unreachable { at: at.to_owned(), reason: error.to_string() },
            other => Self::Protocol { at: at.to_owned(), reason: other.to_string() },
        }
    }

    /// A TLS handshake that failed: because of the certificate, or of the connection.
    pub(crate) fn handshake(at: &str, error: &std::io::Error) -> Self {
        let (at, reason) = (at.to_owned(), error.to_string());
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        use rustls::CertificateError as Bad;
        match inner {
            Some(rustls::Error::InvalidCertificate(
                Bad::NotValidYet | Bad::NotValidYetContext { .. } | Bad::Expired | Bad::ExpiredContext { .. },
            )) => Self::Clock { at, reason },
            Some(rustls::Error::InvalidCertificate(_) | rustls::Error::Other(_)) => Self::Untrusted { at, reason },
            _ => Self::Unreachable { at, reason: format!("the secure connection failed: {reason}") },
        }
    }

    pub(crate) fn dial(at: &str, error: &DialError) -> Self {
        Self::Unreachable { at: at.to_owned(), reason: error.to_string() }
    }

    pub(crate) fn internal(error: impl std::fmt::Display) -> Self {
        Self::Internal { reason: error.to_string() }
    }
}

impl From<TrustError> for Error {
    fn from(error: TrustError) -> Self {
        Self::Trust { reason: error.to_string() }
    }
}

/// What an edge passes on of what a connector said; every other code it says itself.
const fn by_connector(code: StreamRefusal) -> bool {
    matches!(
        code,
        StreamRefusal::ServiceRefused
            | StreamRefusal::ServiceTimeout
            | StreamRefusal::ServiceUnreachable
            | StreamRefusal::DestinationDenied
    )
}

const fn refuser(code: StreamRefusal) -> &'static str {
    if by_connector(code) { "the connector" } else { "the edge" }
}

const fn revoked(reason: RevokedReason) -> &'static str {
    match reason {
        RevokedReason::Expired => "the login is over; the next connection asks for a new one",
        RevokedReason::Ended => "it was ended by a logout or by an administrator",
        RevokedReason::NotAdmitted => "the policy does not admit any more",
        RevokedReason::Unspecified => "no reason was given",
    }
}
