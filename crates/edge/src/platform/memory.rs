//! Limits on the memory of this process and those beside it, where the system has any: groups of cgroup v2.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A group of processes with a limit on the memory that they take together.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Group(PathBuf);

/// Every group that this process is in and that has a limit now.
pub(crate) fn limited_groups() -> Vec<Group> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    groups(&own, Path::new("/sys/fs/cgroup"))
}

fn groups(own: &str, root: &Path) -> Vec<Group> {
    let Some(path) = own.lines().find_map(|line| line.strip_prefix("0::/")) else { return Vec::new() };
    // Seen from inside of a namespace, a group above it has a name that leads nowhere.
    if path.split('/').any(|part| part == "..") {
        return Vec::new();
    }
    let above = root.join(path);
    let all = above.ancestors().take_while(|group| group.starts_with(root));
    all.map(|group| Group(group.to_owned())).filter(|group| group.usage().is_some()).collect()
}

impl Group {
    /// The bytes that the group has taken, without what the system keeps of files and can let go; and its limit. `None` where
    /// it has none.
    pub(crate) fn usage(&self) -> Option<(u64, u64)> {
        let number = |name: &str| fs::read_to_string(self.0.join(name)).ok()?.trim().parse::<u64>().ok();
        // Without a limit it is the word `max`.
        let (limit, taken) = (number("memory.max")?, number("memory.current")?);
        let stat = fs::read_to_string(self.0.join("memory.stat")).unwrap_or_default();
        // What was read twice counts as active, and goes as well before anything is ended: backups alone make much of it.
        let files = stat.lines().filter_map(|line| {
            let (name, bytes) = line.split_once(' ')?;
            let is_of_files = matches!(name, "inactive_file" | "active_file");
            bytes.trim().parse::<u64>().ok().filter(|_| is_of_files)
        });
        Some((files.fold(taken, u64::saturating_sub), limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // F21
    #[test]
    fn the_limits_of_every_group_above_are_found_and_files_that_can_go_do_not_count() {
        let root = tempfile::tempdir().unwrap();
        let group = |name: &str, limit: &str| {
            let dir = root.path().join(name);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("memory.max"), limit).unwrap();
            fs::write(dir.join("memory.current"), "1000\n").unwrap();
            let stat = "anon 500\nfile 500\nfile_mapped 90\ninactive_anon 70\nactive_file 100\ninactive_file 300\n";
            fs::write(dir.join("memory.stat"), stat).unwrap();
            Group(dir)
        };
        let (above, _, own) =
            (group("system", "5000\n"), group("system/unlimited", "max\n"), group("system/unlimited/edge", "2000\n"));
        let found = groups("1:name=systemd:/x\n0::/system/unlimited/edge\n", root.path());
        assert_eq!(found.iter().map(Group::usage).collect::<Vec<_>>(), [Some((600, 2000)), Some((600, 5000))]);
        assert_eq!(found, [own, above]);
    }

    #[test]
    fn where_there_is_no_group_there_is_no_limit() {
        let root = tempfile::tempdir().unwrap();
        for own in ["", "4:memory:/x\n", "0::/\n", "0::/../other\n", "0::/nowhere\n"] {
            assert!(groups(own, root.path()).is_empty(), "{own:?}");
        }
    }
}
