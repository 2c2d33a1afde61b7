//! What is stored about a tunnel: its credentials in one file, so that key and certificate always belong together, and what
//! it published last.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tunnel_origin::{CredentialStore, Credentials, pem};
use tunnel_proto::{HostPattern, Hostname, Name, TunnelId};

use crate::{failure::Failure, files, origin::OriginArgs};

const CREDENTIALS: &str = "credentials.pem";
const ABOUT: &str = "tunnel.json";

/// What is known about a tunnel, no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct About {
    pub(crate) tunnel: TunnelId,
    pub(crate) name: Name,
    pub(crate) zone: Hostname,
    /// The edge, as `https://access.ZONE[:port]`.
    pub(crate) edge: String,
    pub(crate) hostnames: Vec<HostPattern>,
    /// Addresses that visitors open.
    #[serde(default)]
    pub(crate) urls: Vec<String>,
    /// The service that was published last.
    #[serde(default)]
    pub(crate) service: Option<String>,
    /// How that service is reached.
    #[serde(default, skip_serializing_if = "OriginArgs::is_default")]
    pub(crate) origin: OriginArgs,
}

/// The directory of one tunnel.
#[derive(Clone, Debug)]
pub(crate) struct TunnelDir {
    path: PathBuf,
}

impl TunnelDir {
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What is stored, if anything is.
    pub(crate) fn load(&self) -> Result<Option<(About, Credentials)>, Failure> {
        let about = self.path.join(ABOUT);
        let Some(text) = files::read(&about)? else { return Ok(None) };
        let damaged = |path: &Path, reason: &dyn std::fmt::Display| {
            Failure::failed(format!(
                "`{}` is damaged ({reason}): remove the directory `{}` and enrol again",
                path.display(),
                self.path.display()
            ))
        };
        let parsed: About = serde_json::from_str(&text).map_err(|error| damaged(&about, &error))?;
        let path = self.path.join(CREDENTIALS);
        let Some(text) = files::read_private(&path)? else { return Ok(None) };
        let credentials = pem::credentials(parsed.zone.clone(), &text).map_err(|reason| damaged(&path, &reason))?;
        Ok(Some((parsed, credentials)))
    }

    /// Stores both. The credentials first: what is told about them is of no use without.
    pub(crate) fn save(&self, about: &About, credentials: &Credentials) -> Result<(), Failure> {
        files::private_dir(&self.path)?;
        let cannot = |error: io::Error| Failure::failed(format!("cannot store the credentials: {error}"));
        self.store(credentials).map_err(cannot)?;
        self.save_about(about)
    }

    /// Stores what is known about the tunnel.
    pub(crate) fn save_about(&self, about: &About) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(about).map_err(Failure::failed)?;
        files::replace(&self.path.join(ABOUT), format!("{text}\n").as_bytes())
            .map_err(|error| Failure::failed(format!("cannot store what is known about the tunnel: {error}")))
    }

    /// Forgets the tunnel.
    pub(crate) fn remove(&self) -> Result<(), Failure> {
        match std::fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Failure::failed(format!("cannot remove `{}`: {error}", self.path.display())))
            }
            _ => Ok(()),
        }
    }
}

impl CredentialStore for TunnelDir {
    fn store(&self, credentials: &Credentials) -> io::Result<()> {
        files::replace(&self.path.join(CREDENTIALS), pem::join(credentials).as_bytes())
    }
}
