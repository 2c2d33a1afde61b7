//! A program under test: its output is captured, its end is certain.

use std::{
    path::Path,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use regex::{Captures, Regex};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
    sync::watch,
    time::timeout,
};

use crate::PATIENCE;

/// What a program wrote so far; cheap to clone.
#[derive(Clone, Debug)]
pub struct Log {
    text: Arc<Mutex<String>>,
    seen: watch::Receiver<usize>,
}

impl Log {
    /// Everything written so far.
    pub fn text(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    /// The last `lines` lines.
    pub fn tail(&self, lines: usize) -> String {
        let text = self.text();
        let all: Vec<_> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Waits until `pattern` matches what was written; gives the groups of the first match (0 is the whole).
    ///
    /// # Errors
    /// The program ended or nothing matched in time.
    pub async fn wait_for(&self, pattern: &str) -> Result<Vec<String>> {
        let regex = Regex::new(pattern)?;
        let groups = |found: Captures<'_>| found.iter().map(|g| g.map_or("", |g| g.as_str()).to_owned()).collect();
        let mut seen = self.seen.clone();
        let matched = async {
            loop {
                seen.borrow_and_update();
                if let Some(found) = regex.captures(&self.text()) {
                    return Ok(groups(found));
                }
                if seen.changed().await.is_err() {
                    return match regex.captures(&self.text()) {
                        Some(found) => Ok(groups(found)),
                        None => bail!("the output ended without `{pattern}`; last lines:\n{}", self.tail(20)),
                    };
                }
            }
        };
        match timeout(PATIENCE, matched).await {
            Ok(result) => result,
            Err(_) => bail!("`{pattern}` did not appear within {PATIENCE:?}; last lines:\n{}", self.tail(20)),
        }
    }
}

/// What the programs of this test wrote, by name, for when it fails with an error: by then they are gone.
static STARTED: Mutex<Vec<(String, Log)>> = Mutex::new(Vec::new());

/// How many lines of each program's output a failing test shows.
const LINES_SHOWN: usize = 60;

/// Prints the last lines of every program that this test started.
pub fn print_last_lines() {
    for (name, log) in STARTED.lock().unwrap().iter() {
        eprintln!("--- {name} (last lines) ---\n{}\n", log.tail(LINES_SHOWN));
    }
}

/// A running program. Dropping it kills it (by its own pid); when a test fails, the tail of its output is printed.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    /// Standard output and standard error as they came, mixed.
    pub log: Log,
    /// Standard output alone.
    pub stdout: Log,
    quiet: bool,
}

impl Process {
    /// Starts `command` with its output captured. `name` is for messages.
    ///
    /// # Errors
    /// The program could not be started.
    pub fn start(name: &str, mut command: Command) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("starting {name}: {command:?}"))?;
        let (all, all_seen) = Sink::new();
        let (out, out_seen) = Sink::new();
        let log = Log { text: all.text.clone(), seen: all_seen };
        let stdout = Log { text: out.text.clone(), seen: out_seen };
        tokio::spawn(copy(child.stdout.take().context("stdout is piped")?, vec![all.clone(), out]));
        tokio::spawn(copy(child.stderr.take().context("stderr is piped")?, vec![all]));
        STARTED.lock().unwrap().push((name.to_owned(), log.clone()));
        Ok(Self { name: name.to_owned(), child, log, stdout, quiet: false })
    }

    /// The process id.
    ///
    /// # Panics
    /// The process was already waited for.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("the process runs")
    }

    /// Types `text` into the program.
    ///
    /// # Errors
    /// The program no longer reads.
    pub async fn type_in(&mut self, text: &str) -> Result<()> {
        let stdin = self.child.stdin.as_mut().context("stdin is open")?;
        stdin.write_all(text.as_bytes()).await?;
        Ok(stdin.flush().await?)
    }

    /// Waits until a site has panicked that the file `faults` armed, and that is not armed any more.
    ///
    /// # Errors
    /// It was not reached in time, or is still armed.
    pub async fn struck(&self, faults: &Path, site: &str) -> Result<()> {
        let said = self.log.wait_for(&format!("a fault on purpose at `{site}`")).await;
        said.with_context(|| format!("{site} is never reached"))?;
        let armed = std::fs::read_to_string(faults)?;
        ensure!(!armed.lines().any(|line| line == site), "{site} is still armed");
        Ok(())
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// It did not end in time.
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        match timeout(PATIENCE, self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => bail!("{} did not end within {PATIENCE:?}; last lines:\n{}", self.name, self.log.tail(20)),
        }
    }

    /// Whether it has ended, and how.
    ///
    /// # Errors
    /// The system does not know the process.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Errors
    /// It did not end in time.
    pub async fn terminate(mut self) -> Result<ExitStatus> {
        signal(self.pid(), "TERM").await?;
        self.wait().await
    }

    /// Sends SIGKILL and waits for the end.
    ///
    /// # Errors
    /// The system refused.
    pub async fn kill(mut self) -> Result<()> {
        self.quiet = true;
        Ok(self.child.kill().await?)
    }

    /// Resident memory in KiB, as the kernel counts it now.
    ///
    /// # Errors
    /// The process has gone.
    pub fn rss_kib(&self) -> Result<u64> {
        self.memory("VmRSS:")
    }

    /// The most resident memory it ever had, in KiB.
    ///
    /// # Errors
    /// The process has gone.
    pub fn peak_rss_kib(&self) -> Result<u64> {
        self.memory("VmHWM:")
    }

    fn memory(&self, field: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|l| l.strip_prefix(field)).context("no such field")?;
        Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.quiet {
            eprintln!("--- {} (last lines) ---\n{}\n", self.name, self.log.tail(LINES_SHOWN));
        }
    }
}

/// The outcome of a program that was run to its end.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; -1 after a signal.
    pub code: i32,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Finished {
    /// Standard output, once the program has succeeded.
    ///
    /// # Errors
    /// It failed; the message has what it said.
    pub fn ok(self) -> Result<String> {
        if self.code != 0 {
            bail!("exit code {}\nstdout:\n{}\nstderr:\n{}", self.code, self.stdout, self.stderr);
        }
        Ok(self.stdout)
    }

    /// Both outputs.
    pub fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// Runs `command` to its end.
///
/// # Errors
/// It could not be started or did not end in time.
pub async fn finish(command: Command) -> Result<Finished> {
    finish_reading(command, Stdio::null()).await
}

/// [`finish`] with something to read on standard input.
///
/// # Errors
/// It could not be started or did not end in time.
pub async fn finish_reading(mut command: Command, stdin: Stdio) -> Result<Finished> {
    command.stdin(stdin).kill_on_drop(true);
    let shown = format!("{command:?}");
    match timeout(PATIENCE, command.output()).await {
        Ok(output) => {
            let output = output.with_context(|| format!("running {shown}"))?;
            Ok(Finished {
                code: output.status.code().unwrap_or(-1),
                stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
                stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            })
        }
        Err(_) => bail!("{shown} did not end within {PATIENCE:?}"),
    }
}

/// Sends a signal to one process.
///
/// # Errors
/// The process has gone.
pub async fn signal(pid: u32, name: &str) -> Result<()> {
    let mut kill = Command::new("kill");
    kill.args([format!("-{name}"), pid.to_string()]);
    finish(kill).await?.ok().map(|_| ())
}

/// The executable `name` that was built beside this test.
///
/// # Errors
/// It has not been built.
pub fn program(name: &str) -> Result<std::path::PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test.parent().and_then(|deps| deps.parent()).context("a test sits in target/PROFILE/deps")?;
    let path = folder.join(name);
    if !path.is_file() {
        bail!("{} has not been built: run `cargo build --workspace` first (tests/run does)", path.display());
    }
    Ok(path)
}

/// Lets this process open as many sockets as the system gives it.
///
/// # Errors
/// The system refused.
pub fn many_sockets() -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

/// Whether the long forms of tests were asked for.
pub fn long() -> bool {
    std::env::var_os("TUNNEL_TESTS_LONG").is_some()
}

/// How soon something has ended that is promised to end within a second: a machine that is busy may take another one, and in the
/// short form, which slow machines have to pass with two tests at once, four.
pub fn ends_within() -> Duration {
    Duration::from_secs(if long() { 2 } else { 5 })
}

/// The library that gives a program another time, for programs of several threads.
///
/// # Errors
/// `tests/run` has not installed it.
pub fn faketime() -> Result<std::path::PathBuf> {
    let mut found = std::fs::read_dir("/usr/lib")?.filter_map(|entry| {
        let path = entry.ok()?.path().join("faketime/libfaketimeMT.so.1");
        path.is_file().then_some(path)
    });
    found.next().context("libfaketime is missing: `tests/run --tools`")
}

/// A file or folder that `tests/run` put under target/tools.
///
/// # Errors
/// It is not there.
pub fn tool(name: &str) -> Result<std::path::PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools").join(name);
    if !path.exists() {
        bail!("{} is missing: `tests/run --tools` installs it", path.display());
    }
    Ok(path.canonicalize()?.parent().context("has a parent")?.join(path.file_name().context("has a name")?))
}

#[derive(Clone)]
struct Sink {
    text: Arc<Mutex<String>>,
    seen: Arc<watch::Sender<usize>>,
}

impl Sink {
    fn new() -> (Self, watch::Receiver<usize>) {
        let (seen, receiver) = watch::channel(0);
        (Self { text: Arc::default(), seen: Arc::new(seen) }, receiver)
    }
}

async fn copy(mut from: impl AsyncRead + Unpin, to: Vec<Sink>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
        for sink in &to {
            sink.text.lock().unwrap().push_str(&text);
            sink.seen.send_modify(|count| *count += n);
        }
    }
}
