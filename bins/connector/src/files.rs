//! Files that hold secrets: owner-only, whole or not there at all.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::{failure::Failure, platform};

/// The longest file read here, in bytes; more is not a certificate or a key.
const FILE_MAX: u64 = 256 * 1024;

/// Writes `contents` to `path`, replacing what is there, so that a reader sees the old or the new and never a part.
pub(crate) fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let staged = Staged::write(path, contents)?;
    fs::rename(&staged.temporary, path)?;
    platform::sync_dir(parent(path))
}

/// Writes all of `files`, or none of them; refuses if one is there already.
pub(crate) fn create_all(files: &[(&Path, &[u8])]) -> io::Result<()> {
    let mut staged = Vec::new();
    for (path, contents) in files {
        staged.push(Staged::write(path, contents)?);
    }
    let mut placed: Vec<&Path> = Vec::new();
    for (staged, (path, contents)) in staged.iter().zip(files) {
        if let Err(error) = place(&staged.temporary, path, contents) {
            placed.iter().for_each(|path| drop(fs::remove_file(path)));
            return Err(io::Error::new(error.kind(), format!("`{}`: {error}", path.display())));
        }
        placed.push(path);
    }
    files.iter().try_for_each(|(path, _)| platform::sync_dir(parent(path)))
}

/// A link, unlike a rename, never replaces what is there.
fn place(temporary: &Path, path: &Path, contents: &[u8]) -> io::Result<()> {
    match fs::hard_link(temporary, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            // A file system without links.
            let mut file = platform::create_private(path)?;
            let written = file.write_all(contents).and_then(|()| file.sync_all());
            written.inspect_err(|_| drop(fs::remove_file(path)))
        }
        other => other,
    }
}

/// A complete file beside its place, removed when dropped.
struct Staged {
    temporary: PathBuf,
}

impl Staged {
    fn write(path: &Path, contents: &[u8]) -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let named = |error: io::Error| io::Error::new(error.kind(), format!("`{}`: {error}", path.display()));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let temporary = parent(path).join(format!(".{name}.{}-{count}.new", std::process::id()));
        // Left by a process of the same number that was killed.
        let _ = fs::remove_file(&temporary);
        let mut file = platform::create_private(&temporary).map_err(named)?;
        let staged = Self { temporary };
        file.write_all(contents).and_then(|()| file.sync_all()).map_err(named)?;
        Ok(staged)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.temporary);
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Reads a small text file; `None` when there is none.
pub(crate) fn read(path: &Path) -> Result<Option<String>, Failure> {
    let cannot = |error: io::Error| Failure::failed(format!("cannot read `{}`: {error}", path.display()));
    let metadata = match fs::metadata(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        other => other.map_err(cannot)?,
    };
    if !metadata.is_file() || metadata.len() > FILE_MAX {
        return Err(Failure::failed(format!("`{}` is not a file that belongs there", path.display())));
    }
    fs::read_to_string(path).map(Some).map_err(cannot)
}

/// Reads a small text file that holds a private key; refuses one that others can read.
pub(crate) fn read_private(path: &Path) -> Result<Option<String>, Failure> {
    if let Ok(metadata) = fs::metadata(path)
        && metadata.is_file()
        && platform::is_exposed(&metadata)
    {
        let path = path.display();
        return Err(Failure::failed(format!(
            "`{path}` holds a private key and others can read it: `chmod 600 {path}`, and enrol again if somebody may have"
        )));
    }
    read(path)
}

/// Creates a directory that only its owner can enter.
pub(crate) fn private_dir(path: &Path) -> Result<(), Failure> {
    platform::create_private_dir(path)
        .map_err(|error| Failure::failed(format!("cannot create the directory `{}`: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_private_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.pem");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(read_private(&path).unwrap().as_deref(), Some("two"));
        assert!(!platform::is_exposed(&fs::metadata(&path).unwrap()));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn nothing_is_overwritten_and_nothing_is_half_written() {
        let dir = tempfile::tempdir().unwrap();
        let (key, cert) = (dir.path().join("key.pem"), dir.path().join("cert.pem"));
        fs::write(&cert, "there already").unwrap();
        let error = create_all(&[(&key, b"key"), (&cert, b"cert")]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert!(!key.exists());
        assert_eq!(fs::read_to_string(&cert).unwrap(), "there already");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        fs::remove_file(&cert).unwrap();
        create_all(&[(&key, b"key"), (&cert, b"cert")]).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        fs::write(&path, "key").unwrap();
        platform::set_mode(&path, 0o644);
        assert!(read_private(&path).unwrap_err().to_string().contains("chmod 600"));
        assert!(read_private(&dir.path().join("none")).unwrap().is_none());
    }
}
