//! A group of processes that the system gives so much memory and no more: it ends one of them when that is not enough.

use std::{
    fs,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::process::Command;

use crate::Lab;

/// How often it is tried to take a group away whose processes are about to be gone, and the pause between.
const TRIES: usize = 100;
const PAUSE: Duration = Duration::from_millis(20);

/// The files of a group.
struct Files {
    limit: &'static str,
    /// A limit that counts what was moved out of memory as well, and what it is set to, if not to the same.
    swap: (&'static str, Option<&'static str>),
    peak: &'static str,
    /// Has a line with how many processes were ended for want of memory.
    killed: &'static str,
}

const V1: Files = Files {
    limit: "memory.limit_in_bytes",
    swap: ("memory.memsw.limit_in_bytes", None),
    peak: "memory.max_usage_in_bytes",
    killed: "memory.oom_control",
};
const V2: Files =
    Files { limit: "memory.max", swap: ("memory.swap.max", Some("0")), peak: "memory.peak", killed: "memory.events" };

/// A group (cgroup) with a hard limit, below the one that the test runs in where version 1 of groups has memory, else at the
/// top. It is taken away when dropped; its processes have to be gone by then, or going.
pub struct MemoryGroup {
    path: PathBuf,
    files: &'static Files,
}

impl std::fmt::Debug for MemoryGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryGroup").field("path", &self.path).finish_non_exhaustive()
    }
}

impl MemoryGroup {
    /// A group with so many MiB; `label` is for people who look at it. Needs root.
    ///
    /// # Errors
    /// The system has no such groups, or refused.
    pub fn new(label: &str, mebibytes: u64) -> Result<Self> {
        let (above, files) = place(&fs::read_to_string("/proc/self/cgroup")?);
        sweep(&above);
        let path = above.join(format!("tt-{}-{label}", std::process::id()));
        fs::create_dir(&path)
            .with_context(|| format!("a group with a limit on memory (cgroup): {}", path.display()))?;
        let group = Self { path, files };
        let bytes = (mebibytes << 20).to_string();
        let limit = group.path.join(files.limit);
        fs::write(&limit, &bytes).with_context(|| format!("a limit on memory: {}", limit.display()))?;
        let (swap, most) = files.swap;
        // Not every system counts what was moved out.
        let _ = fs::write(group.path.join(swap), most.unwrap_or(&bytes));
        Ok(group)
    }

    /// The same command, which enters the group before it begins, so that all that it takes is counted.
    pub fn command(&self, lab: &Lab, command: &Command) -> Command {
        let command = command.as_std();
        let mut wrapped = lab.dress(Command::new("sh"));
        wrapped.args(["-c", "echo $$ >\"$0/cgroup.procs\" && exec \"$@\""]).arg(&self.path);
        wrapped.arg(command.get_program()).args(command.get_args());
        wrapped
    }

    /// How many of its processes the system has ended for want of memory.
    ///
    /// # Errors
    /// The system does not say.
    pub fn killed(&self) -> Result<u64> {
        let text = fs::read_to_string(self.path.join(self.files.killed))?;
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        Ok(count.context("no count of what was ended")?.trim().parse()?)
    }

    /// The most memory that it ever took, in MiB.
    ///
    /// # Errors
    /// The system does not say.
    pub fn peak(&self) -> Result<u64> {
        let bytes: u64 = fs::read_to_string(self.path.join(self.files.peak))?.trim().parse()?;
        Ok(bytes >> 20)
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        for _ in 0..TRIES {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            sleep(PAUSE);
        }
    }
}

/// Where a process with these groups makes another one.
fn place(own: &str) -> (PathBuf, &'static Files) {
    let of_memory = own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        controllers.split(',').any(|one| one == "memory").then_some(path)
    });
    match of_memory {
        Some(path) => (Path::new("/sys/fs/cgroup/memory").join(path.trim_start_matches('/')), &V1),
        None => (PathBuf::from("/sys/fs/cgroup"), &V2),
    }
}

/// Takes away groups that a killed run left behind.
fn sweep(above: &Path) {
    let Ok(entries) = fs::read_dir(above) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(pid) = name.strip_prefix("tt-").and_then(|rest| rest.split('-').next()) else { continue };
        if !Path::new("/proc").join(pid).exists() {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_made_where_the_system_has_groups_for_memory() {
        for (own, above) in [
            ("9:name=systemd:/\n4:cpu,memory:/a/b\n0::/\n", "/sys/fs/cgroup/memory/a/b"),
            ("4:memory:/\n0::/a\n", "/sys/fs/cgroup/memory/"),
            ("0::/user.slice/session-1.scope\n", "/sys/fs/cgroup"),
            ("3:memory_of_something_else:/a\n", "/sys/fs/cgroup"),
        ] {
            assert_eq!(place(own).0, Path::new(above), "{own:?}");
        }
    }
}
