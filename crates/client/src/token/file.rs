//! Logins in files: one for each host, whole or not there at all, readable by their owner only.

use std::{
    fs, io,
    io::{Read, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tunnel_proto::Hostname;
use zeroize::Zeroizing;

use super::{Entry, LoginLock, StoreError, TokenStore};
use crate::platform;

/// The longest file read here, in bytes: an entry has a tenth of it.
const FILE_MAX: u64 = 16 * 1024;
/// How often a file is looked at anew that was replaced while it was opened.
const ATTEMPTS: u32 = 100;

/// The edge that a service token is shown to for a host.
#[derive(Serialize, Deserialize)]
struct FilePin {
    /// The id of the token, which is no secret.
    token: String,
    host: Hostname,
    issuer: String,
}

/// Keeps each host in `DIRECTORY/HOST.json`.
///
/// The directory is made for its owner only; one that others may enter, a symbolic link and a file of somebody else are
/// refused.
#[derive(Clone, Debug)]
pub struct FileStore {
    directory: PathBuf,
}

impl FileStore {
    /// A store in `directory`, which need not be there yet.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// Where a host is kept. Hostnames hold no separator and do not begin with a dot.
    pub fn path(&self, host: &Hostname) -> PathBuf {
        self.directory.join(format!("{host}.json"))
    }

    /// Makes the directory, or checks the one that is there.
    fn prepare(&self) -> Result<(), StoreError> {
        let failed = |error: io::Error| StoreError::file(&self.directory, &error);
        platform::create_private_dir(&self.directory).map_err(failed)?;
        let metadata = fs::symlink_metadata(&self.directory).map_err(failed)?;
        let exposed = |reason: String| StoreError::Exposed { path: self.directory.clone(), reason };
        if !metadata.is_dir() {
            return Err(exposed("is a link, where logins are to be kept: remove it".to_owned()));
        }
        if !platform::is_ours(&metadata) {
            return Err(exposed("belongs to another user: remove it, or give another --config-dir".to_owned()));
        }
        if platform::is_exposed(&metadata) {
            let path = self.directory.display();
            return Err(exposed(format!("can be entered by others: `chmod 700 {path}`")));
        }
        Ok(())
    }

    /// Reads the file of a host, if it is one that only its owner can have written.
    fn read(path: &Path) -> Result<Option<Zeroizing<String>>, StoreError> {
        let failed = |error: io::Error| StoreError::file(path, &error);
        let exposed = |reason: String| StoreError::Exposed { path: path.to_owned(), reason };
        let mut attempts = 0;
        let (file, opened) = loop {
            let named = match fs::symlink_metadata(path) {
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                    return Ok(None);
                }
                other => other.map_err(failed)?,
            };
            if !named.is_file() || named.len() > FILE_MAX {
                return Err(exposed("is not a file that belongs there: remove it, and log in anew".to_owned()));
            }
            let file = fs::File::open(path).map_err(failed)?;
            let opened = file.metadata().map_err(failed)?;
            // What was looked at is what is read. Another process may have replaced it between the two.
            if platform::is_same(&named, &opened) {
                break (file, opened);
            }
            attempts += 1;
            if attempts == ATTEMPTS {
                return Err(exposed("changes while it is read: try again".to_owned()));
            }
        };
        if !platform::is_ours(&opened) {
            return Err(exposed("belongs to another user: remove it, and log in anew".to_owned()));
        }
        if platform::is_exposed(&opened) {
            return Err(exposed(format!(
                "holds a login and others can read it: `chmod 600 {}`, and log out if somebody may have",
                path.display()
            )));
        }
        let mut text = Zeroizing::new(String::new());
        file.take(FILE_MAX).read_to_string(&mut text).map_err(failed)?;
        Ok(Some(text))
    }

    /// Writes a file about a host, whole or not at all.
    fn place(&self, host: &Hostname, path: &Path, contents: &impl Serialize) -> Result<(), StoreError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        self.prepare()?;
        let failed = |error: io::Error| StoreError::file(path, &error);
        let text = Zeroizing::new(serde_json::to_string_pretty(contents).map_err(|error| failed(error.into()))?);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let temporary = self.directory.join(format!(".{host}.{}-{count}.new", std::process::id()));
        // Left by a process of the same number that was killed.
        let _ = fs::remove_file(&temporary);
        let mut file = platform::create_private(&temporary).map_err(failed)?;
        let written = file.write_all(text.as_bytes()).and_then(|()| file.write_all(b"\n"));
        let placed = written.and_then(|()| file.sync_all()).and_then(|()| fs::rename(&temporary, path));
        placed.inspect_err(|_| drop(fs::remove_file(&temporary))).map_err(failed)?;
        platform::sync_dir(&self.directory).map_err(failed)
    }

    /// Where the edge is kept that a service token is shown to for a host. The token's id may be any text.
    fn pin_path(&self, token: &str, host: &Hostname) -> PathBuf {
        let name = HEXLOWER.encode(digest(&SHA256, token.as_bytes()).as_ref());
        self.directory.join(format!("{host}.{name}.pin"))
    }

    fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, StoreError> {
        serde_json::from_str(text).map_err(|error| StoreError::File {
            path: path.to_owned(),
            // Not the parser's words: they may quote the token.
            reason: format!("cannot be understood (line {}): remove it, and log in anew", error.line()),
        })
    }
}

impl TokenStore for FileStore {
    fn load(&self, host: &Hostname) -> Result<Option<Entry>, StoreError> {
        let path = self.path(host);
        let Some(text) = Self::read(&path)? else { return Ok(None) };
        let entry: Entry = Self::parse(&path, &text)?;
        if entry.host != *host {
            let reason = format!("is about `{}`: remove it, and log in anew", entry.host);
            return Err(StoreError::Exposed { path, reason });
        }
        Ok(Some(entry))
    }

    fn save(&self, entry: &Entry) -> Result<(), StoreError> {
        self.place(&entry.host, &self.path(&entry.host), entry)
    }

    fn list(&self) -> Result<Vec<Entry>, StoreError> {
        let failed = |error: io::Error| StoreError::file(&self.directory, &error);
        let files = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(failed)?,
        };
        let mut entries = Vec::new();
        for file in files {
            let name = file.map_err(failed)?.file_name();
            let host = name.to_str().and_then(|name| name.strip_suffix(".json")).map(Hostname::parse);
            let Some(Ok(host)) = host else { continue };
            match self.load(&host) {
                Ok(entry) => entries.extend(entry),
                // One file that cannot be used hides no other.
                Err(error) => tracing::warn!("a login is left out: {error}"),
            }
        }
        entries.sort_by(|a, b| a.host.as_str().cmp(b.host.as_str()));
        Ok(entries)
    }

    fn pinned(&self, token: &str, host: &Hostname) -> Result<Option<String>, StoreError> {
        let path = self.pin_path(token, host);
        let Some(text) = Self::read(&path)? else { return Ok(None) };
        let pin: FilePin = Self::parse(&path, &text)?;
        if pin.token != token || pin.host != *host {
            let reason = format!("is about `{}` and `{}`: remove it", pin.token.escape_debug(), pin.host);
            return Err(StoreError::Exposed { path, reason });
        }
        Ok(Some(pin.issuer))
    }

    fn pin(&self, token: &str, host: &Hostname, issuer: &str) -> Result<(), StoreError> {
        if self.pinned(token, host)?.is_some() {
            return Ok(());
        }
        let pin = FilePin { token: token.to_owned(), host: host.clone(), issuer: issuer.to_owned() };
        self.place(host, &self.pin_path(token, host), &pin)
    }

    fn lock(&self, host: &Hostname) -> Result<Option<LoginLock>, StoreError> {
        self.prepare()?;
        let path = self.directory.join(format!("{host}.lock"));
        let failed = |error: io::Error| StoreError::file(&path, &error);
        let mut file = platform::open_private(&path).map_err(failed)?;
        let opened = file.metadata().map_err(failed)?;
        let named = fs::symlink_metadata(&path).map_err(failed)?;
        if !platform::is_same(&named, &opened) || !platform::is_ours(&opened) {
            let reason = "is not a lock of this user: remove it".to_owned();
            return Err(StoreError::Exposed { path, reason });
        }
        // The system's lock, and not the file, says who has it: it ends with its process, killed or not.
        match file.try_lock() {
            Ok(()) => {
                // For people who look; it is a lock without it, too, as on a full disk.
                let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
                Ok(Some(LoginLock::file(file)))
            }
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}
