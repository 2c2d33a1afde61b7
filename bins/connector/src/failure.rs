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
