//! Programs that are started for a measurement, and surely ended after it.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::usage;

/// How long a program may take to end when it is asked to.
const FAREWELL: Duration = Duration::from_millis(1500);

/// A running program. Dropped, it is asked to end, then made to, and so is whatever it started.
#[derive(Debug)]
pub(crate) struct Running {
    /// What it is called in tables.
    pub(crate) name: &'static str,
    child: std::process::Child,
    log: PathBuf,
}

impl Running {
    /// Starts `program` with what it writes going to a file in `place`. Should this process die, it is asked to end by the
    /// system (`setpriv`).
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start(
        place: &Path,
        name: &'static str,
        program: &Path,
        set: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Result<Self> {
        let log = place.join(format!("{}.log", name.replace(' ', "-")));
        let out = fs::File::create(&log)?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "--"]).arg(program);
        set(&mut command);
        command.current_dir(place).stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let child = command.spawn().with_context(|| format!("starting {}", program.display()))?;
        Ok(Self { name, child, log })
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// An error if it has ended, with what it said.
    ///
    /// # Errors
    /// It has.
    pub(crate) fn lives(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended with {status}: {}", self.name, self.said()),
        }
    }

    /// The last lines that it wrote.
    pub(crate) fn said(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(6)..].join(" | ")
    }

    /// Whether it wrote this.
    pub(crate) fn has_said(&self, what: &str) -> bool {
        fs::read_to_string(&self.log).is_ok_and(|text| text.contains(what))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let all = usage::tree(self.pid());
        // By its own number, which is not given to another process before it was waited for.
        signal(self.pid(), Signal::TERM);
        let end = Instant::now() + FAREWELL;
        while Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(5));
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            // Those it started first: afterwards nobody would know whose they were.
            for pid in usage::tree(self.pid()).into_iter().rev() {
                signal(pid, Signal::KILL);
            }
        }
        let _ = self.child.wait();
        // What it left behind, if that still is what it was.
        for pid in all.into_iter().filter(|pid| *pid != self.child.id() && is_orphan(*pid)) {
            signal(pid, Signal::KILL);
        }
    }
}

/// Whether a process that was a child of ours has lost its parent.
fn is_orphan(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("PPid:").is_some_and(|parent| parent.trim() == "1"))
}

fn signal(pid: u32, which: Signal) {
    // Gone is as good.
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, which);
    }
}

/// Ports that were given out.
static GIVEN: Mutex<Vec<u16>> = Mutex::new(Vec::new());

/// A port on loopback that nothing listens on, another one each time.
///
/// # Errors
/// There is none.
pub(crate) fn free() -> Result<SocketAddr> {
    let mut given = GIVEN.lock().map_err(|_| anyhow::anyhow!("a thread panicked"))?;
    for _ in 0..100 {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        if !given.contains(&address.port()) {
            given.push(address.port());
            return Ok(address);
        }
    }
    bail!("no port is free")
}

/// Runs a program to its end; what it wrote to standard output.
///
/// # Errors
/// It failed; the message has what it said.
pub(crate) fn finish(command: Command) -> Result<String> {
    let mut command = bounded(&command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("running {command:?}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(output.status.success(), "{command:?}: {} {}", text(&output.stdout), text(&output.stderr));
    Ok(text(&output.stdout))
}

/// The same, ended after a minute (`timeout`).
fn bounded(command: &Command) -> Command {
    let mut bounded = Command::new("timeout");
    bounded.arg("60").arg(command.get_program()).args(command.get_args());
    if let Some(place) = command.get_current_dir() {
        bounded.current_dir(place);
    }
    bounded
}

/// A program by its name, where Debian or we put such.
///
/// # Errors
/// It is not installed.
pub(crate) fn find(name: &str, more: &Path) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), more.to_owned()]);
    let found = places.map(|place| place.join(name)).find(|file| file.is_file());
    found.with_context(|| format!("{name} is missing: benches/compare installs it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_ends_with_what_it_started_when_it_is_dropped() {
        let place = tempfile::tempdir().unwrap();
        let shell = find("sh", Path::new("/bin")).unwrap();
        let script = "trap \'\' TERM; echo up; sleep 600 & wait; wait";
        let running = Running::start(place.path(), "shell", &shell, |command| command.args(["-c", script])).unwrap();
        let end = Instant::now() + Duration::from_secs(10);
        while usage::tree(running.pid()).len() < 2 {
            assert!(Instant::now() < end, "{}", running.said());
            std::thread::sleep(Duration::from_millis(5));
        }
        let all = usage::tree(running.pid());
        drop(running);
        std::thread::sleep(Duration::from_millis(50));
        let left: Vec<_> = all.iter().filter(|pid| usage::rss_kib(**pid).is_ok()).collect();
        assert!(left.is_empty(), "{left:?} of {all:?}");
    }

    #[test]
    fn free_ports_differ() {
        assert_ne!(free().unwrap(), free().unwrap());
    }
}
