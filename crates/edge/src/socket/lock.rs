//! One edge on a data directory at a time.

use std::{
    fs::{File, TryLockError},
    path::Path,
};

use super::SocketError;
use crate::platform::{self, Handle};

/// The lock's name in the data directory.
const LOCK_NAME: &str = "edge.lock";

/// The right to use a data directory, held until dropped. The system takes it back from a process that dies.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock of `data_dir`, which must exist; never waits.
    pub fn take(data_dir: &Path) -> Result<Self, SocketError> {
        let path = data_dir.join(LOCK_NAME);
        let io = |source| SocketError::Io { path: path.clone(), source };
        platform::ensure_private(&path).map_err(io)?;
        let file = File::options().read(true).write(true).open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file }),
            Err(TryLockError::WouldBlock) => Err(SocketError::Running { path: data_dir.to_owned() }),
            Err(TryLockError::Error(source)) => Err(io(source)),
        }
    }

    /// For the process that goes on with it: it is held until both have let go.
    pub(crate) fn handle(&self) -> std::io::Result<Handle> {
        Handle::of_file(&self.file)
    }

    /// A lock that another process took.
    pub(crate) fn adopt(handle: Handle) -> Self {
        Self { file: handle.into_file() }
    }
}
