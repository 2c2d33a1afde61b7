//! Client tokens, and where they are kept.

mod file;
mod memory;

use std::{fmt, io, path::PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tunnel_proto::{AppId, EmailAddress, Hostname, UnixTime};
use zeroize::Zeroizing;

pub use file::FileStore;
pub use memory::MemoryStore;

/// What a client token may weigh, in bytes: it travels in one part of a credential.
const TOKEN_MAX: usize = 256;

/// A client token: opens one application at one hostname. Wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Zeroizing<String>);

impl Token {
    /// Takes what an edge issued; `None` for what cannot be a token.
    pub fn new(text: String) -> Option<Self> {
        let text = Zeroizing::new(text);
        let plain = !text.is_empty() && text.len() <= TOKEN_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
        plain.then_some(Self(text))
    }

    /// The text. A secret.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).ok_or_else(|| serde::de::Error::custom("not a token"))
    }
}

/// What is remembered about a host: the edge that it belongs to, which stays, and the login, which ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The hostname.
    pub host: Hostname,
    /// The port of the edge, where one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The edge that it belongs to since the first login: `https://LOGIN-HOST[:port]`.
    pub issuer: String,
    /// The login, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
}

/// A login to one application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// The token.
    pub token: Token,
    /// The application.
    pub app: AppId,
    /// Who logged in.
    pub email: EmailAddress,
    /// When it ends.
    pub expires: UnixTime,
}

/// Keeps what is known about hosts. Implementations may block for as long as a file takes.
pub trait TokenStore: Send + Sync + 'static {
    /// What is known about a host.
    fn load(&self, host: &Hostname) -> Result<Option<Entry>, StoreError>;

    /// Remembers it, in the place of what was known before.
    fn save(&self, entry: &Entry) -> Result<(), StoreError>;

    /// Everything known, in the order of hostnames, but for what cannot be used.
    fn list(&self) -> Result<Vec<Entry>, StoreError>;

    /// The edge that a service token is shown to for a host, if it was used for it before.
    fn pinned(&self, token: &str, host: &Hostname) -> Result<Option<String>, StoreError>;

    /// Remembers that edge, from the first use on.
    fn pin(&self, token: &str, host: &Hostname, issuer: &str) -> Result<(), StoreError>;

    /// The right to log in to a host: `None` while another process has it. Given back when dropped.
    fn lock(&self, host: &Hostname) -> Result<Option<LoginLock>, StoreError>;
}

/// The right to log in to a host, among the processes that share a store.
#[derive(Debug)]
pub struct LoginLock(#[allow(dead_code, reason = "held, not read")] Option<std::fs::File>);

impl LoginLock {
    /// A lock on `file`, which the system gives back when the process ends, in whatever way.
    pub const fn file(file: std::fs::File) -> Self {
        Self(Some(file))
    }

    /// For a store that no other process shares.
    pub const fn none() -> Self {
        Self(None)
    }
}

/// Why tokens cannot be kept or read.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A file or directory cannot be used.
    #[error("`{}`: {reason}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What happened.
        reason: String,
    },
    /// A file or directory is not as it must be for secrets.
    #[error("`{}` {reason}", path.display())]
    Exposed {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it, and how to mend it.
        reason: String,
    },
}

impl StoreError {
    fn file(path: &std::path::Path, error: &io::Error) -> Self {
        let reason = match error.kind() {
            io::ErrorKind::StorageFull => "the disk is full: make room, or give another --config-dir".to_owned(),
            _ => error.to_string(),
        };
        Self::File { path: path.to_owned(), reason }
    }
}
