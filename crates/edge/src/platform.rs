//! What differs between operating systems: private files and directories. The only module of the edge that names
//! `std::os::unix`.
//!
//! Elsewhere than on Unix (written, untested) files inherit the access list of the directory, which is the user's own
//! under the default data directory.

mod handover;
mod local;
pub(crate) mod memory;

use std::{io, path::Path};

pub use handover::{Channel, HANDLES_MAX, Handle};
pub use local::{LocalListener, LocalStream, connect_local, peer_is_trusted};

/// Makes sure that `path` is a directory that nobody else can write to; creates it (and its parents) for the owner
/// only. An existing directory is left as it is, or refused.
pub fn private_dir(path: &Path) -> io::Result<()> {
    imp::private_dir(path)
}

/// Creates a file that only the owner may read and write, with these contents, and syncs it and its directory to disk.
/// Fails with [`io::ErrorKind::AlreadyExists`] if there is anything at `path`, a dangling link included.
pub fn create_private(path: &Path, contents: &[u8]) -> io::Result<()> {
    use io::Write as _;
    let mut file = imp::private().create_new(true).write(true).open(path)?;
    file.write_all(contents)?;
    file.sync_all()?;
    drop(file);
    imp::sync_parent(path)
}

/// Removes a file, if there is one.
pub(crate) fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Reads a file of at most `max` bytes that only its owner may read; refuses links, other owners and open modes.
pub fn read_private(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let file = imp::private().read(true).open(path)?;
    imp::check_private(&file.metadata()?)?;
    let mut contents = Vec::new();
    let read = file.take(max.saturating_add(1)).read_to_end(&mut contents)?;
    if read as u64 > max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("longer than {max} bytes")));
    }
    Ok(contents)
}

/// Makes sure that there is a plain file at `path` that only its owner may use: creates an empty one, or takes the
/// rights of others away from the one that is there. Refuses links and files of other owners.
pub fn ensure_private(path: &Path) -> io::Result<()> {
    match create_private(path, b"") {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        done => return done,
    }
    let file = imp::private().read(true).write(true).open(path)?;
    imp::tighten(&file)
}

/// Takes the rights of others on `path` away (a socket just bound).
pub fn owner_only(path: &Path) -> io::Result<()> {
    imp::owner_only(path)
}

/// Whether there is such a process; none is known of where no process takes another one's place.
pub(crate) fn process_lives(process: u32) -> bool {
    imp::process_lives(process)
}

/// The user this process acts as, where the system has such numbers.
pub fn own_user() -> u32 {
    imp::own_user()
}

/// Whether a file or directory belongs to this process's user.
pub fn is_ours(path: &Path) -> io::Result<bool> {
    imp::is_ours(path)
}

/// How many descriptors this process may have at a time, where the system says so.
pub(crate) fn descriptors() -> Option<usize> {
    imp::descriptors()
}

/// A descriptor that stands for nothing, to be dropped when another is needed.
pub(crate) fn spare_descriptor() -> Option<std::fs::File> {
    imp::spare_descriptor()
}

/// Has a program begin a group of processes of its own, which [`kill_group`] can end.
pub(crate) fn own_group(command: &mut tokio::process::Command) {
    imp::own_group(command);
}

/// Ends every process of the group that the program with this number began.
pub(crate) fn kill_group(leader: u32) {
    imp::kill_group(leader);
}

/// What tells one content of a file from another that has the same length and time: when anything of it was changed, and its
/// place on disk. Nothing where the system has no such numbers.
pub(crate) fn mark(file: &std::fs::Metadata) -> (i64, i64, u64) {
    imp::mark(file)
}

/// How many bytes an owner may still write where `path` is, where the system says so.
pub(crate) fn free_space(path: &Path) -> Option<u64> {
    imp::free_space(path)
}

/// How many descriptors this process has open, where the system says it.
pub(crate) fn open_descriptors() -> Option<usize> {
    // One is the folder itself.
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1))
}

/// Resident memory of this process in KiB, where the system says it.
pub fn resident_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").trim().parse().ok()
}

#[cfg(unix)]
mod imp {
    use std::{
        fs, io,
        os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
        path::Path,
    };

    pub(super) fn private() -> fs::OpenOptions {
        let mut options = fs::OpenOptions::new();
        // A FIFO put in a file's place must not hang the program.
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        options.mode(0o600).custom_flags(flags.bits().cast_signed());
        options
    }

    pub(super) fn private_dir(path: &Path) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let found = fs::metadata(path)?;
        let mode = found.mode() & 0o777;
        if mode & 0o022 != 0 {
            let message = format!("others may write to it (mode {mode:04o}); `chmod 700` it");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        check_owner(&found)
    }

    pub(super) fn check_private(found: &fs::Metadata) -> io::Result<()> {
        let mode = found.mode() & 0o777;
        if mode & 0o077 != 0 {
            let message = format!("others may use it (mode {mode:04o}); `chmod 600` it");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        if !found.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain file"));
        }
        check_owner(found)
    }

    fn check_owner(found: &fs::Metadata) -> io::Result<()> {
        let own = own_user();
        if found.uid() == own || own == 0 {
            return Ok(());
        }
        let message = format!("it belongs to user {}, not to user {own} who runs this", found.uid());
        Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
    }

    pub(super) fn tighten(file: &fs::File) -> io::Result<()> {
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain file"));
        }
        check_owner(&found)?;
        if found.mode() & 0o077 != 0 {
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
        }
        Ok(())
    }

    pub(super) fn owner_only(path: &Path) -> io::Result<()> {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))
    }

    pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
        match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => fs::File::open(parent)?.sync_all(),
            _ => fs::File::open(".")?.sync_all(),
        }
    }

    pub(super) fn is_ours(path: &Path) -> io::Result<bool> {
        Ok(fs::metadata(path)?.uid() == own_user())
    }

    pub(super) fn descriptors() -> Option<usize> {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        limit.current.map(|most| usize::try_from(most).unwrap_or(usize::MAX))
    }

    pub(super) fn spare_descriptor() -> Option<fs::File> {
        fs::File::open("/dev/null").ok()
    }

    pub(super) fn process_lives(process: u32) -> bool {
        let process = i32::try_from(process).ok().and_then(rustix::process::Pid::from_raw);
        let found = process.map(rustix::process::test_kill_process);
        found.is_some_and(|found| found != Err(rustix::io::Errno::SRCH))
    }

    pub(super) fn own_user() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    pub(super) fn own_group(command: &mut tokio::process::Command) {
        command.process_group(0);
    }

    pub(super) fn kill_group(leader: u32) {
        if let Some(leader) = i32::try_from(leader).ok().and_then(rustix::process::Pid::from_raw) {
            rustix::process::kill_process_group(leader, rustix::process::Signal::KILL).ok();
        }
    }

    pub(super) fn free_space(path: &Path) -> Option<u64> {
        let found = rustix::fs::statvfs(path).ok()?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }

    pub(super) fn mark(file: &fs::Metadata) -> (i64, i64, u64) {
        (file.ctime(), file.ctime_nsec(), file.ino())
    }
}

#[cfg(not(unix))]
mod imp {
    use std::{fs, io, path::Path};

    pub(super) fn private() -> fs::OpenOptions {
        fs::OpenOptions::new()
    }

    pub(super) fn private_dir(path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    pub(super) fn check_private(_: &fs::Metadata) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn tighten(_: &fs::File) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn owner_only(_: &Path) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn sync_parent(_: &Path) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn is_ours(_: &Path) -> io::Result<bool> {
        Ok(true)
    }

    pub(super) fn descriptors() -> Option<usize> {
        None
    }

    pub(super) fn spare_descriptor() -> Option<fs::File> {
        None
    }

    pub(super) fn process_lives(_: u32) -> bool {
        false
    }

    pub(super) fn own_user() -> u32 {
        0
    }

    pub(super) fn own_group(_: &mut tokio::process::Command) {}

    pub(super) fn kill_group(_: u32) {}

    pub(super) fn free_space(_: &Path) -> Option<u64> {
        None
    }

    pub(super) fn mark(_: &fs::Metadata) -> (i64, i64, u64) {
        (0, 0, 0)
    }
}
