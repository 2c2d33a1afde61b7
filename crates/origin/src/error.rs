//! Why a connector could not be made, or ended.

use std::{io, path::PathBuf, time::Duration};

use tunnel_proto::{
    dial::{DialError, EdgeAddress},
    hostname::HostnameError,
    link::{ConnectError, LinkEnd},
    message::{LinkRefusal, TableRefusal},
};

use crate::{
    credentials::CredentialsError, enrol::EnrolError, options::OptionsError, service::ServiceError, stored::StoredError,
};

/// Why a connector could not be made, could not reach its edge, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something that a connector needs was not given.
    #[error("a connector needs {what}")]
    Incomplete {
        /// What is missing.
        what: &'static str,
    },
    /// More is asked for than a connector does.
    #[error("{what}")]
    Limit {
        /// What is too much, and how much there may be.
        what: String,
    },
    /// The credentials cannot be used.
    #[error("the credentials cannot be used: {0}")]
    Credentials(#[from] CredentialsError),
    /// No connection to the edge.
    #[error("cannot reach the edge at {edge}: {reason}")]
    Unreachable {
        /// Where it was tried.
        edge: String,
        /// What happened.
        reason: String,
    },
    /// No answer in time.
    #[error("the edge at {edge} did not answer within {} s", limit.as_secs())]
    Late {
        /// Where it was tried.
        edge: String,
        /// How long was waited.
        limit: Duration,
    },
    /// What answered did not prove to be the edge whose CA is known.
    #[error("what answers at {edge} is not the edge that issued these credentials: {reason}")]
    Untrusted {
        /// Where it was tried.
        edge: String,
        /// What is wrong with its certificate.
        reason: String,
    },
    /// What answered is no edge, or does not take links there.
    #[error("what answers at {edge} does not take links of connectors: {reason}")]
    NotAnEdge {
        /// Where it was tried.
        edge: String,
        /// What happened.
        reason: String,
    },
    /// The edge does not accept the certificate.
    #[error("the edge at {edge} does not accept this certificate: {reason}")]
    Certificate {
        /// Where it was tried.
        edge: String,
        /// What the edge said.
        reason: String,
    },
    /// The edge refused the link.
    #[error("the edge refused ({code}): {text}")]
    Refused {
        /// The stable code.
        code: LinkRefusal,
        /// Why, in the edge's words.
        text: String,
        /// Whether trying again later can help.
        retryable: bool,
    },
    /// The edge refused what would be published.
    #[error("the edge refused to publish{} ({code}): {text}", hostname.as_ref().map(|h| format!(" `{h}`")).unwrap_or_default())]
    Table {
        /// The stable code.
        code: TableRefusal,
        /// Why, in the edge's words.
        text: String,
        /// The hostname at fault, when one is.
        hostname: Option<String>,
    },
    /// The link was lost while it was being established.
    #[error("the link was lost: {0}")]
    Lost(#[source] LinkEnd),
    /// The edge said something that this program does not understand.
    #[error("the edge at {edge} speaks another protocol: {reason}")]
    Protocol {
        /// Where it was tried.
        edge: String,
        /// What happened.
        reason: String,
    },
    /// What should be published is written wrongly: its hostname.
    #[error(transparent)]
    Hostname(#[from] HostnameError),
    /// What should be published is written wrongly: its service.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// How a service should be reached makes no sense.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// No edge runs on this machine for this user.
    #[error("no edge has its socket in `{}`: start one there, or name the data directory of the one that runs", data_dir.display())]
    NoLocalEdge {
        /// Where it was looked for.
        data_dir: PathBuf,
    },
    /// The edge on this machine gave no credentials.
    #[error("the edge on this machine gave no credentials: {0}")]
    Enrol(#[source] EnrolError),
    /// What is stored of a tunnel cannot be used.
    #[error(transparent)]
    Stored(#[from] StoredError),
    /// Something is wrong with this program or the system it runs on.
    #[error("internal error: {reason}")]
    Internal {
        /// What happened.
        reason: String,
    },
}

impl Error {
    /// A stable name of the kind of error, for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Incomplete { .. } => "incomplete",
            Self::Limit { .. } => "limit",
            Self::Credentials(_) => "credentials",
            Self::Unreachable { .. } => "unreachable",
            Self::Late { .. } => "late",
            Self::Untrusted { .. } => "untrusted",
            Self::NotAnEdge { .. } => "not_an_edge",
            Self::Certificate { .. } => "certificate",
            Self::Refused { .. } => "refused",
            Self::Table { .. } => "table_refused",
            Self::Lost(_) => "lost",
            Self::Protocol { .. } => "protocol",
            Self::Hostname(_) => "hostname",
            Self::Service(_) => "service",
            Self::Options(_) => "options",
            Self::NoLocalEdge { .. } => "no_local_edge",
            Self::Enrol(_) => "enrol",
            Self::Stored(_) => "stored",
            Self::Internal { .. } => "internal",
        }
    }

    /// Whether the same may succeed later without anything being changed here.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Late { .. } | Self::Lost(_) | Self::NoLocalEdge { .. } => true,
            Self::Enrol(error) => {
                matches!(error, EnrolError::Socket { .. } | EnrolError::Timeout | EnrolError::Http(_))
            }
            Self::Refused { retryable, .. } => *retryable,
            Self::Table { code, .. } => matches!(code, TableRefusal::Internal | TableRefusal::StaleRevision),
            _ => false,
        }
    }

    /// Whether to give up, given that some link was up before or none. Once the configuration has proven to be right,
    /// a strange answer is more likely a passing trouble of the network or the edge, and giving up would not be mended
    /// by itself.
    pub(crate) const fn is_final(&self, was_up: bool) -> bool {
        match self {
            Self::Refused { retryable, .. } => !*retryable,
            _ => !was_up && !self.is_retryable(),
        }
    }

    pub(crate) fn dial(edge: &EdgeAddress, error: DialError) -> Self {
        Self::Unreachable { edge: edge.to_string(), reason: error.to_string() }
    }

    pub(crate) fn handshake(edge: &EdgeAddress, error: &io::Error) -> Self {
        let edge = edge.to_string();
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let Some(tls) = tls else {
            return Self::Unreachable { edge, reason: format!("the TLS handshake failed: {error}") };
        };
        use rustls::{AlertDescription as Alert, Error as Tls};
        let reason = tls.to_string();
        match tls {
            Tls::InvalidCertificate(_) => Self::Untrusted { edge, reason },
            Tls::AlertReceived(Alert::NoApplicationProtocol | Alert::ProtocolVersion) | Tls::InvalidMessage(_) => {
                Self::NotAnEdge { edge, reason }
            }
            Tls::AlertReceived(alert) if is_about_certificate(*alert) => Self::Certificate { edge, reason },
            _ => Self::Unreachable { edge, reason: format!("the TLS handshake failed: {reason}") },
        }
    }

    pub(crate) fn greeting(edge: &EdgeAddress, error: ConnectError) -> Self {
        let name = edge.to_string();
        match error {
            ConnectError::Refused(refuse) => {
                Self::Refused { code: refuse.code, text: refuse.text, retryable: refuse.retryable }
            }
            ConnectError::Late => Self::Late { edge: name, limit: Duration::from_secs(10) },
            // In TLS 1.3 the other side judges our certificate after our handshake is done (RFC 8446 §4.4.2).
            ConnectError::Lost(LinkEnd::Lost(reason)) if reason.contains("received fatal alert") => {
                Self::Certificate { edge: name, reason }
            }
            ConnectError::Lost(end) => Self::Lost(end),
            other => Self::Protocol { edge: name, reason: other.to_string() },
        }
    }
}

const fn is_about_certificate(alert: rustls::AlertDescription) -> bool {
    use rustls::AlertDescription as Alert;
    matches!(
        alert,
        Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::CertificateRequired
            | Alert::AccessDenied
            | Alert::DecryptError
    )
}
