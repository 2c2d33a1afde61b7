//! How the program ends when it does not succeed: one message, and an exit code.

use std::fmt;

/// Something that ends the program, with what a person should read.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What kind of end it is.
    pub(crate) kind: Kind,
    message: String,
}

/// The kinds of end, each with its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It was tried and did not work.
    Failed,
    /// The command line or a setting is wrong.
    Usage,
    /// The edge refused: by policy, scope or login.
    Refused,
}

impl Failure {
    pub(crate) fn failed(message: impl fmt::Display) -> Self {
        Self { kind: Kind::Failed, message: message.to_string() }
    }

    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self { kind: Kind::Usage, message: message.to_string() }
    }

    pub(crate) fn refused(message: impl fmt::Display) -> Self {
        Self { kind: Kind::Refused, message: message.to_string() }
    }

    /// This one, and another one that came with it.
    pub(crate) fn and(self, other: &Self) -> Self {
        Self { message: format!("{}\n{}", self.message, other.message), ..self }
    }

    pub(crate) const fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Failed => 1,
            Kind::Usage => 2,
            Kind::Refused => 3,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<tunnel_client::Error> for Failure {
    fn from(error: tunnel_client::Error) -> Self {
        use tunnel_client::Error as E;
        use tunnel_proto::message::{GrantRefusal, StreamRefusal};
        let mend = match &error {
            E::Unreachable { .. } | E::Late { .. } => "; check the hostname and that the edge runs",
            E::Untrusted { .. } => {
                "; give the edge's CA with --edge-ca (`edge ca` prints it) or its fingerprint with --edge-pin"
            }
            E::Clock { .. } => {
                "; set the clock of this machine right; if it is, the edge's is wrong, or its certificate was not renewed in time"
            }
            E::TooMany { .. } => "; try again in a minute",
            E::OtherEdge { .. } => {
                "; if the edge has really moved, remove the host's files below --config-dir and log in anew"
            }
            E::UnknownEdge { .. } => "; if it is the right one, name it with --edge",
            E::NoLogin { .. } => "; `access login` makes one",
            E::LoginLapsed { .. } => "; run the command again",
            E::Refused { code: GrantRefusal::BadCredential, .. } => "; log in anew, or check the service token",
            E::Refused { code: GrantRefusal::NotAdmitted, .. } | E::Stream { code: StreamRefusal::NotAdmitted, .. } => {
                "; ask an administrator of the edge"
            }
            E::Stream { code: StreamRefusal::DestinationRequired, .. } => "; name it with --destination HOST:PORT",
            E::Stream { code: StreamRefusal::DestinationDenied, .. } => {
                "; whoever runs the connector can allow it with --allow"
            }
            E::Stream { code: StreamRefusal::NoTunnel, .. } => "; start the connector, or wait for it",
            _ => "",
        };
        let message = format!("{error}{mend}");
        match &error {
            E::Usage { .. } => Self::usage(message),
            E::UnknownEdge { .. } => Self::refused(message),
            E::LoginRefused { .. } | E::LoginLapsed { .. } | E::NoLogin { .. } | E::Revoked { .. } => {
                Self::refused(message)
            }
            E::Refused { code, .. } if !matches!(code, GrantRefusal::Internal) => Self::refused(message),
            E::Stream {
                code: StreamRefusal::NotAdmitted | StreamRefusal::DestinationDenied | StreamRefusal::NotGranted,
                ..
            } => Self::refused(message),
            _ => Self::failed(message),
        }
    }
}

impl From<tunnel_client::StoreError> for Failure {
    fn from(error: tunnel_client::StoreError) -> Self {
        Self::failed(format!("logins: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use tunnel_client::Error;

    use super::*;

    #[test]
    fn whoever_is_refused_can_be_told_from_what_failed() {
        let host = || "a.example.com".to_owned();
        let reason = || "no".to_owned();
        for (error, code) in [
            (Error::LoginRefused { host: host(), reason: reason() }, 3),
            (Error::LoginLapsed { host: host() }, 3),
            (Error::NoLogin { host: host() }, 3),
            (Error::Unreachable { at: host(), reason: reason() }, 1),
            (Error::Usage { what: reason() }, 2),
        ] {
            assert_eq!(Failure::from(error.clone()).exit_code(), code, "{error}");
        }
    }
}
