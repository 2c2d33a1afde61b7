//! The edge program, in a temporary directory, on loopback.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::{Plan, meter};

/// The zone that is served.
pub(crate) const ZONE: &str = "scale.test";
/// Where links go.
pub(crate) const LOGIN_HOST: &str = "access.scale.test";
/// How long a program may take for anything.
const PATIENCE: Duration = Duration::from_secs(180);

/// A program that runs. Dropped, it is killed.
pub(crate) struct Program {
    child: Child,
    pid: u32,
}

impl Program {
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let child = command.kill_on_drop(true).spawn().with_context(|| format!("{command:?}"))?;
        let pid = child.id().context("a process")?;
        Ok(Self { child, pid })
    }

    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) const fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Whether it has ended.
    fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("it ended with {status}"),
            None => Ok(()),
        }
    }

    /// Asks it to end, and waits until it has; it is killed if it does not.
    pub(crate) async fn stop(mut self) -> Result<()> {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM)?;
        }
        if timeout(PATIENCE, self.child.wait()).await.is_err() {
            self.child.kill().await?;
        }
        Ok(())
    }
}

/// A running edge.
pub(crate) struct Edge {
    pub(crate) process: Program,
    pub(crate) address: SocketAddr,
    /// How long it took until it listened.
    pub(crate) began: Duration,
    program: PathBuf,
    dir: TempDir,
}

/// The service token by which requests are made.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) id: String,
    pub(crate) secret: String,
}

impl Edge {
    /// Starts one that has nothing declared.
    pub(crate) async fn start(plan: &Plan) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("tunnel-scale-").tempdir()?;
        // Free for the moment; the edge has it a moment later.
        let address = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
        let config = format!(
            "zone = {ZONE:?}\nlisten = [\"{address}\"]\nhttp_listen = []\ndata_dir = {:?}\n[tls]\nmode = \"internal\"\n[admin]\nemails = \
             [\"admin@{ZONE}\"]\n",
            dir.path().join("edge"),
        );
        std::fs::write(dir.path().join("edge.toml"), config)?;
        let program = plan.program("edge")?;
        let (process, began) = run(&program, dir.path(), address).await?;
        Ok(Self { process, address, began, program, dir })
    }

    /// Ends it, lets `between` have its data, and starts it again: what it takes then is what it needs.
    pub(crate) async fn again(self, between: impl AsyncFnOnce(&Path) -> Result<()>) -> Result<Self> {
        let Self { process, address, program, dir, .. } = self;
        process.stop().await?;
        between(&dir.path().join("edge")).await?;
        let (process, began) = run(&program, dir.path(), address).await?;
        Ok(Self { process, address, began, program, dir })
    }

    pub(crate) async fn stop(self) -> Result<()> {
        self.process.stop().await
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// A directory of the same life.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Applies a declaration by `edge apply`; how long that took.
    pub(crate) async fn apply(&self, access: &str) -> Result<Duration> {
        let file = self.dir.path().join("access.yaml");
        std::fs::write(&file, access)?;
        let begun = Instant::now();
        self.command(&["apply", "-f", &file.to_string_lossy()]).await?;
        Ok(begun.elapsed())
    }

    /// Makes a service token.
    pub(crate) async fn token(&self, name: &str) -> Result<Token> {
        let said = self.command(&["admin", "service-token", "create", name, "--json"]).await?;
        let issued: serde_json::Value = serde_json::from_str(&said)?;
        let text = |key: &str| issued.get(key).and_then(|value| value.as_str()).map(str::to_owned);
        Ok(Token { id: text("id").context("an id")?, secret: text("secret").context("a secret")? })
    }

    /// The edge's own CA.
    pub(crate) async fn ca(&self) -> Result<String> {
        self.command(&["ca"]).await
    }

    pub(crate) fn memory(&self) -> Result<u64> {
        meter::memory(self.pid())
    }

    async fn command(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.args(words).arg("--config").arg(self.dir.path().join("edge.toml"));
        let output = timeout(PATIENCE, command.kill_on_drop(true).output()).await;
        let output = output.with_context(|| format!("`edge {}` took too long", words.join(" ")))??;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`edge {}`: {said}", words.join(" "));
        Ok(String::from_utf8(output.stdout)?)
    }
}

/// Whether somebody answers there: it listens before it is ready. What is said is no handshake, which gets an alert or an end.
async fn serves(address: SocketAddr) -> bool {
    let Ok(mut socket) = TcpStream::connect(address).await else { return false };
    let said = async {
        socket.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
        socket.read_u8().await
    };
    timeout(PATIENCE, said).await.is_ok()
}

async fn run(program: &Path, dir: &Path, address: SocketAddr) -> Result<(Program, Duration)> {
    let begun = Instant::now();
    let log = std::fs::File::options().create(true).append(true).open(dir.join("edge.log"))?;
    let mut command = Command::new(program);
    command.arg("run").arg("--config").arg(dir.join("edge.toml"));
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let mut process = Program::start(command)?;
    while !serves(address).await {
        if let Err(error) = process.check() {
            let log = std::fs::read_to_string(dir.join("edge.log")).unwrap_or_default();
            return Err(error.context(log));
        }
        ensure!(begun.elapsed() < PATIENCE, "the edge does not listen");
        sleep(Duration::from_millis(2)).await;
    }
    Ok((process, begun.elapsed()))
}
