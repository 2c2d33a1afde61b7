//! Why a change of tunnels or routes was not made.

use tunnel_proto::{HostPattern, Name, enrol::EnrolProblem};

use crate::store::StoreError;

/// Why a change of tunnels or routes was not made. The text is for the person who asked; [`Problem::code`] for programs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The hostname belongs to the edge.
    #[error("`{0}` is where people log in and cannot be published; choose another hostname")]
    Reserved(HostPattern),
    /// The operator was not approved for the hostname.
    #[error(
        "this machine may not publish `{0}`; ask for it with `connector login --hostname {0}` (after moving the old \
         cert.pem and key.pem away)"
    )]
    OutOfScope(HostPattern),
    /// Another tunnel serves the hostname.
    #[error("{}", taken(.hostname, .tunnel.as_ref()))]
    Taken {
        /// The hostname.
        hostname: HostPattern,
        /// The tunnel, where the one who asks may know.
        tunnel: Option<Name>,
    },
    /// The tunnel is somebody else's.
    #[error("there is already a tunnel `{0}` that is not this machine's; choose another name with `--name`")]
    NameTaken(Name),
    /// There is no such tunnel, or it is somebody else's.
    #[error("there is no tunnel `{0}` here; `connector list` shows those there are")]
    UnknownTunnel(String),
    /// More than one request may ask for.
    #[error("too many {what}: at most {most}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        most: usize,
    },
    /// The certificate signing request is none, or not for a key that is accepted.
    #[error("the certificate signing request was not accepted: it must be PEM, for a P-256 key, signed by that key")]
    Csr,
    /// The operator is unknown or its approval was withdrawn.
    #[error("this machine's login is not valid here any more; run `connector login` again")]
    UnknownOperator,
    /// The edge could not do it. Details are in its log.
    #[error("the edge could not store the change; its log says why")]
    Internal,
}

fn taken(hostname: &HostPattern, tunnel: Option<&Name>) -> String {
    match tunnel {
        Some(tunnel) => format!(
            "`{hostname}` is served by tunnel `{tunnel}` and is not moved by itself; if it may go, run \
             `edge admin tunnel delete {tunnel}` on the edge's machine or `connector delete {tunnel}` on its own, or \
             choose another hostname"
        ),
        None => format!(
            "`{hostname}` is served by another tunnel; an administrator can move it when approving \
             `connector login --hostname {hostname}`"
        ),
    }
}

impl Problem {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Reserved(_) => "hostname_reserved",
            Self::OutOfScope(_) => "hostname_out_of_scope",
            Self::Taken { .. } => "hostname_taken",
            Self::NameTaken(_) => "name_taken",
            Self::UnknownTunnel(_) => "unknown_tunnel",
            Self::TooMany { .. } => "too_many",
            Self::Csr => "csr_refused",
            Self::UnknownOperator => "unknown_operator",
            Self::Internal => "internal",
        }
    }
}

impl From<Problem> for EnrolProblem {
    fn from(problem: Problem) -> Self {
        Self { code: problem.code().to_owned(), message: problem.to_string() }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "a change was not stored");
        Self::Internal
    }
}
