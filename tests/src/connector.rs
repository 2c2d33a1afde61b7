//! The connector program.

use anyhow::{Result, bail};
use tokio::process::Command;

use crate::{Lab, Process, process::program};

/// What the connector writes once its first link is up.
pub const UP: &str = r"(?m)^Ready\.";

/// A running connector.
#[derive(Debug)]
pub struct Connector {
    /// The program.
    pub process: Process,
}

impl Connector {
    /// Publishes `hostname` from `url` over the socket of the edge in this lab, and waits until it is up.
    ///
    /// # Errors
    /// It ended or did not come up in time.
    pub async fn publish(lab: &Lab, hostname: &str, url: &str) -> Result<Self> {
        let mut command = Self::command(lab)?;
        command.args(["--hostname", hostname, "--url", url]);
        Self::start(&format!("connector {hostname}"), command).await
    }

    /// Starts a connector command and waits until it is up.
    ///
    /// # Errors
    /// It ended or did not come up in time.
    pub async fn start(name: &str, command: Command) -> Result<Self> {
        let process = Process::start(name, command)?;
        if let Err(error) = process.log.wait_for(UP).await {
            bail!("{name} did not come up: {error}");
        }
        Ok(Self { process })
    }

    /// The connector program with the data directory of the lab's edge.
    ///
    /// # Errors
    /// It has not been built.
    pub fn command(lab: &Lab) -> Result<Command> {
        let mut command = lab.command(program("connector")?);
        command.arg("--data-dir").arg(lab.path("edge")).arg("--config-dir").arg(lab.path("connector"));
        Ok(command)
    }
}
