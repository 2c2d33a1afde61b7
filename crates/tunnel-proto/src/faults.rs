//! Panics on purpose, for tests that see what survives them (F29): of the edge, the connector and the access client. A
//! release has nothing of it: there a site is an empty function, and nothing can arm it.

#[cfg(debug_assertions)]
pub use self::armed::arm_by;

/// A site of a fault: panics if a test has armed it.
#[inline]
pub fn at(site: &'static str) {
    #[cfg(debug_assertions)]
    armed::strike(site);
    #[cfg(not(debug_assertions))]
    let _ = site;
}

#[cfg(debug_assertions)]
mod armed {
    use std::{
        fs,
        path::{Path, PathBuf},
        sync::{Mutex, OnceLock, PoisonError},
    };

    static FILE: OnceLock<PathBuf> = OnceLock::new();
    /// One at a time: a line is for one panic.
    static LOOKING: Mutex<()> = Mutex::new(());

    /// From now on each site panics once for each line of this file that names it, and the line is gone then.
    pub fn arm_by(file: PathBuf) {
        FILE.set(file).ok();
    }

    pub(super) fn strike(site: &str) {
        let Some(file) = FILE.get() else { return };
        let armed = {
            let _alone = LOOKING.lock().unwrap_or_else(PoisonError::into_inner);
            disarm(file, site)
        };
        assert!(!armed, "a fault on purpose at `{site}`");
    }

    /// Takes one line of a site out of the file; whether there was one.
    pub(super) fn disarm(file: &Path, site: &str) -> bool {
        let text = fs::read_to_string(file).unwrap_or_default();
        let mut lines: Vec<&str> = text.lines().collect();
        let Some(at) = lines.iter().position(|line| *line == site) else { return false };
        lines.remove(at);
        // In one step: whoever looks meanwhile must not find it empty, which says that all have struck.
        let next = file.with_extension("next");
        fs::write(&next, lines.join("\n")).and_then(|()| fs::rename(&next, file)).is_ok()
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::{armed::disarm, *};

    // F29
    #[test]
    fn a_site_is_armed_by_name_and_for_once() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "one\ntwo\none\n").unwrap();
        assert!(!disarm(file.path(), "on"));
        assert!(disarm(file.path(), "one") && disarm(file.path(), "one") && !disarm(file.path(), "one"));
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "two");
        at("two");
    }
}
