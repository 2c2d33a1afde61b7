//! A tunnel as the program `connector` keeps it in a directory: its credentials, and which edge issued them.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::Deserialize;
use tempfile::NamedTempFile;
use tunnel_proto::{
    HostPattern, Hostname, Name,
    dial::{AddressError, EdgeAddress},
};

use crate::{
    credentials::{CredentialStore, Credentials},
    pem,
};

/// The file with key, certificate and CA.
const CREDENTIALS: &str = "credentials.pem";
/// The file that says which edge issued them.
const ABOUT: &str = "tunnel.json";
/// The largest of these files that is read, in bytes.
const FILE_MAX: u64 = 1024 * 1024;

/// A stored tunnel: `tunnels/NAME` in the configuration directory of `connector`, or what `edge admin tunnel create` wrote.
///
/// It keeps renewed credentials: each replaces the one before, whole.
#[derive(Clone, Debug)]
pub struct StoredTunnel {
    dir: PathBuf,
    about: About,
    credentials: Credentials,
}

#[derive(Clone, Debug, Deserialize)]
struct About {
    name: Name,
    zone: Hostname,
    edge: String,
    #[serde(default)]
    hostnames: Vec<HostPattern>,
}

impl StoredTunnel {
    /// Reads the directory `dir`. Blocks for as long as the file system takes.
    pub fn read(dir: impl Into<PathBuf>) -> Result<Self, StoredError> {
        let dir = dir.into();
        let damaged = |path: &Path, reason: String| StoredError::Damaged { path: path.to_owned(), reason };
        let path = dir.join(ABOUT);
        let about: About = serde_json::from_str(&read(&path)?).map_err(|error| damaged(&path, error.to_string()))?;
        let path = dir.join(CREDENTIALS);
        let text = zeroize::Zeroizing::new(read(&path)?);
        let credentials = pem::credentials(about.zone.clone(), &text).map_err(|reason| damaged(&path, reason))?;
        Ok(Self { dir, about, credentials })
    }

    /// The name of the tunnel.
    pub const fn name(&self) -> &Name {
        &self.about.name
    }

    /// Hostnames that were routed to it when it was stored.
    pub fn hostnames(&self) -> &[HostPattern] {
        &self.about.hostnames
    }

    /// Its credentials, as they were when they were read.
    pub const fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The edge that issued them.
    pub fn edge(&self) -> Result<EdgeAddress, StoredError> {
        let path = self.dir.join(ABOUT);
        EdgeAddress::parse(&self.about.edge, None).map_err(|source| StoredError::Edge { path, source })
    }
}

impl CredentialStore for StoredTunnel {
    fn store(&self, credentials: &Credentials) -> io::Result<()> {
        // Only its owner can read the new file, and there is never half of one.
        let mut file = NamedTempFile::new_in(&self.dir)?;
        file.write_all(pem::join(credentials).as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(self.dir.join(CREDENTIALS)).map_err(|error| error.error)?;
        Ok(())
    }
}

fn read(path: &Path) -> Result<String, StoredError> {
    let unreadable = |source| StoredError::Unreadable { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(unreadable)?.len() > FILE_MAX {
        return Err(unreadable(io::ErrorKind::FileTooLarge.into()));
    }
    std::fs::read_to_string(path).map_err(unreadable)
}

/// Why a stored tunnel cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoredError {
    /// A file is not there or cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("`{}` is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The edge's address is none.
    #[error("`{}` names no edge: {source}", path.display())]
    Edge {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: AddressError,
    },
}

#[cfg(test)]
mod tests {
    use tunnel_proto::{
        TunnelId, UnixTime,
        identity::{Ca, CertRole, KeyAndCsr},
    };

    use super::*;

    fn credentials(now: u64) -> Credentials {
        let zone = Hostname::parse("example.com").unwrap();
        let ca = Ca::generate(&zone, UnixTime(now)).unwrap();
        let key = KeyAndCsr::generate().unwrap();
        let role = CertRole::Connector(TunnelId::from_random([3; 16]));
        let certificate = ca.issue(&key.csr_pem, role, UnixTime(now)).unwrap().certificate_pem;
        Credentials::new(zone, ca.certificate_pem(), &certificate, key.key_pem).unwrap()
    }

    const ABOUT_TEXT: &str = r#"{"tunnel":"x","name":"wiki","zone":"example.com","edge":"https://access.example.com",
                                 "hostnames":["wiki.example.com"],"service":"http://localhost:1"}"#;

    #[test]
    fn what_the_connector_keeps_is_read_and_renewed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(ABOUT), ABOUT_TEXT).unwrap();
        let missing = StoredTunnel::read(dir.path()).unwrap_err().to_string();
        assert!(missing.contains(CREDENTIALS), "{missing}");
        let first = credentials(1_790_000_000);
        std::fs::write(dir.path().join(CREDENTIALS), pem::join(&first)).unwrap();
        let stored = StoredTunnel::read(dir.path()).unwrap();
        assert_eq!(
            (stored.name().as_str(), stored.edge().unwrap().url()),
            ("wiki", "https://access.example.com".into())
        );
        assert_eq!(stored.hostnames()[0].as_str(), "wiki.example.com");
        stored.store(&credentials(1_790_000_000 + 86_400)).unwrap();
        let again = StoredTunnel::read(dir.path()).unwrap();
        assert!(again.credentials().expires() > first.expires());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "nothing is left lying about");
    }

    #[test]
    fn what_is_damaged_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(ABOUT), "{").unwrap();
        let error = StoredTunnel::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains(ABOUT) && error.contains("damaged"), "{error}");
    }
}
