//! The edge program, configured for a test zone or left to its quick start.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use tokio::{net::TcpStream, process::Command, time::timeout};

use crate::{
    Lab, Netns, PATIENCE, Process, Smtp,
    process::{Finished, finish, program},
};

/// The zone of configured edges in tests.
pub const ZONE: &str = "example.test";
/// The host at which people log in there.
pub const LOGIN_HOST: &str = "access.example.test";

/// What is written into `edge.toml`.
#[derive(Clone, Debug)]
pub struct EdgeConfig {
    /// Addresses for HTTPS and links.
    pub listen: Vec<String>,
    /// Addresses for plain HTTP.
    pub http_listen: Vec<String>,
    /// The mail server, if any.
    pub smtp: Option<String>,
    /// The administrators.
    pub admins: Vec<String>,
    /// Further lines, before the first table.
    pub extra: String,
    /// The `[tls]` table's lines.
    pub tls: String,
}

impl Default for EdgeConfig {
    fn default() -> Self {
        Self {
            listen: vec!["127.0.0.1:443".into()],
            http_listen: vec!["127.0.0.1:80".into()],
            smtp: None,
            admins: vec!["admin@example.test".into()],
            extra: String::new(),
            tls: "mode = \"internal\"".into(),
        }
    }
}

impl EdgeConfig {
    /// The default with mail going to `smtp`.
    pub fn with_mail(smtp: &Smtp) -> Self {
        Self { smtp: Some(smtp.url()), ..Self::default() }
    }

    /// The text of `edge.toml`.
    pub fn toml(&self, data_dir: &std::path::Path) -> String {
        let mut text = format!(
            "zone = \"{ZONE}\"\nlisten = {:?}\nhttp_listen = {:?}\ndata_dir = {data_dir:?}\n{}\n[tls]\n{}\n",
            self.listen, self.http_listen, self.extra, self.tls
        );
        if let Some(url) = &self.smtp {
            text += &format!("[smtp]\nurl = \"{url}\"\nfrom = \"Access <no-reply@{ZONE}>\"\n");
        }
        text += &format!("[admin]\nemails = {:?}\n", self.admins);
        text
    }
}

/// Processes that an edge started itself, by their numbers. They are killed with the test.
#[derive(Debug, Default)]
pub struct Successors(Vec<u32>);

impl Successors {
    /// One more.
    pub fn note(&mut self, pid: u32) {
        self.0.push(pid);
    }
}

impl Drop for Successors {
    fn drop(&mut self) {
        for pid in &self.0 {
            // Most have ended by themselves.
            let mut kill = std::process::Command::new("kill");
            let _ = kill.args(["-KILL", &pid.to_string()]).stderr(std::process::Stdio::null()).status();
        }
    }
}

/// A running edge with a configuration file.
#[derive(Debug)]
pub struct Edge {
    /// The program.
    pub process: Process,
    /// Processes that took its place since.
    pub successors: Successors,
    config: EdgeConfig,
    lab: Lab,
}

impl Edge {
    /// Writes `edge.toml`, starts the edge and waits until it accepts connections.
    ///
    /// # Errors
    /// It ended or did not listen in time.
    pub async fn start(lab: &Lab, config: EdgeConfig) -> Result<Self> {
        Self::start_as(lab, config, |command| command).await
    }

    /// [`Edge::start`] by another command, made of the usual one.
    ///
    /// # Errors
    /// It ended or did not listen in time.
    pub async fn start_as(lab: &Lab, config: EdgeConfig, by: impl FnOnce(Command) -> Command) -> Result<Self> {
        lab.write("edge.toml", &config.toml(&lab.path("edge")))?;
        let mut process = Process::start("edge", by(Self::command(lab, &["run"])?))?;
        listens(&mut process, config.listen.first().context("a listener")?.parse()?).await?;
        Ok(Self { process, successors: Successors::default(), config, lab: lab.clone() })
    }

    /// [`Edge::start`] in another namespace.
    ///
    /// # Errors
    /// It ended or did not listen in time.
    pub async fn start_in(lab: &Lab, net: &Netns, config: EdgeConfig) -> Result<Self> {
        lab.write("edge.toml", &config.toml(&lab.path("edge")))?;
        let mut command = lab.dress(net.command(program("edge")?));
        command.arg("run").arg("--config").arg(lab.path("edge.toml"));
        let mut process = Process::start("edge", command)?;
        listens_in(net, &mut process, config.listen.first().context("a listener")?.parse()?).await?;
        Ok(Self { process, successors: Successors::default(), config, lab: lab.clone() })
    }

    /// [`Edge::start`], then `edge apply` of `access`.
    ///
    /// # Errors
    /// As [`Edge::start`], or the declaration was refused.
    pub async fn with_access(lab: &Lab, config: EdgeConfig, access: &str) -> Result<Self> {
        let edge = Self::start(lab, config).await?;
        edge.apply(access).await?;
        Ok(edge)
    }

    /// The `edge` program with `args` and the lab's `edge.toml`.
    ///
    /// # Errors
    /// It has not been built.
    pub fn command(lab: &Lab, args: &[&str]) -> Result<Command> {
        let mut command = lab.command(program("edge")?);
        command.args(args).arg("--config").arg(lab.path("edge.toml"));
        Ok(command)
    }

    /// Runs an `edge` subcommand to its end.
    ///
    /// # Errors
    /// It did not end in time. A failing exit code is not an error here.
    pub async fn run(&self, args: &[&str]) -> Result<Finished> {
        finish(Self::command(&self.lab, args)?).await
    }

    /// Applies a declaration.
    ///
    /// # Errors
    /// It was refused; the message has what the program said.
    pub async fn apply(&self, access: &str) -> Result<String> {
        let file = self.lab.write("access.yaml", access)?;
        self.run(&["apply", "-f", &file.to_string_lossy()]).await?.ok()
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.lab.path("edge")
    }

    /// The edge's own CA, as `edge ca` prints it.
    ///
    /// # Errors
    /// The command failed.
    pub async fn ca(&self) -> Result<String> {
        self.run(&["ca"]).await?.ok()
    }

    /// Has it replaced (`edge restart`), and gives the number of the process that serves then. It writes to the log of the
    /// first one.
    ///
    /// # Errors
    /// It was not; the message has what the command said.
    pub async fn replace(&mut self) -> Result<u32> {
        let said = self.run(&["restart", "--json"]).await?.ok()?;
        let restarted: serde_json::Value = serde_json::from_str(&said)?;
        let pid = restarted["process"].as_u64().and_then(|pid| u32::try_from(pid).ok());
        let pid = pid.with_context(|| format!("no process in {said}"))?;
        self.successors.note(pid);
        Ok(pid)
    }

    /// Stops it (SIGTERM), then starts it again on the same data.
    ///
    /// # Errors
    /// It did not stop cleanly or did not come back.
    pub async fn restart(self) -> Result<Self> {
        let status = self.process.terminate().await?;
        if !status.success() {
            bail!("the edge ended with {status} when asked to stop");
        }
        Self::start(&self.lab, self.config).await
    }
}

/// A declaration with one staff policy (addresses of the zone, but not the guest's) and the applications `www` and `app`.
pub const ACCESS: &str = "\
login_methods:
  - {name: pin, type: one_time_pin}
groups:
  - {name: staff, include: [{email_domain: example.test}]}
policies:
  - name: staff-only
    action: allow
    include: [{group: staff}]
    exclude: [{email: guest@example.test}]
applications:
  - {name: www, hostnames: [www.example.test], policies: [staff-only]}
  - {name: app, hostnames: [app.example.test], policies: [staff-only]}
";

/// Waits until `address` accepts a connection, as long as `process` lives.
///
/// # Errors
/// The process ended, or nothing listens in time.
pub async fn listens(process: &mut Process, address: SocketAddr) -> Result<()> {
    accepting(process, address, || async move { TcpStream::connect(address).await.is_ok() }).await
}

/// [`listens`] for an address in another namespace.
///
/// # Errors
/// The process ended, or nothing listens in time.
pub async fn listens_in(net: &Netns, process: &mut Process, address: SocketAddr) -> Result<()> {
    accepting(process, address, || async move { net.inside(async move { TcpStream::connect(address).await.is_ok() }) })
        .await
}

async fn accepting<F: Future<Output = bool>>(
    process: &mut Process,
    address: SocketAddr,
    knock: impl Fn() -> F,
) -> Result<()> {
    let waiting = async {
        loop {
            if knock().await {
                return Ok(());
            }
            if let Some(status) = process.ended()? {
                tokio::time::sleep(Duration::from_millis(50)).await;
                bail!("the program ended with {status}:\n{}", process.log.text());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match timeout(PATIENCE, waiting).await {
        Ok(result) => result,
        Err(_) => bail!("nothing listens on {address}; last lines:\n{}", process.log.tail(20)),
    }
}
