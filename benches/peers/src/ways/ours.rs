//! Our own programs.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{System, Tools};
use crate::process::{finish, free};

/// Our programs find names below `localhost` on this machine.
const ZONE: &str = "bench.localhost";

/// `localhost` itself for the web, because wrk asks the system what names mean.
const ACCESS: &str = "\
policies: [{name: machines, action: service_auth, include: [{service_token: bench}]}]
applications:
  - {name: web, hostnames: [localhost], policies: [machines]}
  - {name: tcp, hostnames: [tcp.bench.localhost], policies: [machines]}
";

struct Token {
    id: String,
    secret: String,
}

impl System {
    pub(super) async fn tunnel(&mut self, bin: &Path, links: Option<u32>) -> Result<()> {
        let service = self.service().await?;
        let (at, config, door) = (free()?, self.path("connector"), self.door.to_string());
        let beside = std::env::current_exe()?.with_file_name("door");
        // One that was built with the programs, or else ours for our own ones.
        let program =
            [bin.join("door"), beside].into_iter().find(|file| file.is_file()).context("door is not built")?;
        self.run("door", &program, |command| command.arg(door).arg(at.to_string()).arg(&config))?;
        self.until_said(0, "ready").await?;
        self.run("connector", &bin.join("connector"), |command| {
            command.args(["run", "bench", "--url", &format!("tcp://{service}"), "--config-dir"]).arg(&config);
            quiet(command, links)
        })?;
        self.until_said(0, &format!("link {}", links.unwrap_or(4))).await?;
        self.until_carried().await
    }

    pub(super) async fn access(&mut self, bin: &Path, links: Option<u32>) -> Result<()> {
        let service = self.service().await?;
        let (edge, token) = self.edge(bin).await?;
        self.connector(bin, "tcp.bench.localhost", &format!("tcp://{service}"), links).await?;
        let (door, home) = (self.door.to_string(), self.path("access"));
        let secret = self.write("secret", &token.secret)?;
        std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        let ca = self.ca.clone();
        self.run("access", &bin.join("access"), |command| {
            command.args(["tcp", "--hostname", &format!("tcp.{ZONE}:{}", edge.port()), "--url", &door]);
            command.args(["--edge", &format!("https://access.{ZONE}:{}", edge.port()), "--edge-ca"]).arg(ca);
            command.args(["--service-token-id", &token.id, "--service-token-secret-file"]).arg(secret);
            command.args(["--loglevel", "warn", "--no-browser", "--config-dir"]).arg(home)
        })?;
        self.until_carried().await
    }

    pub(super) async fn https(&mut self, bin: &Path, tools: &Tools) -> Result<()> {
        let origin = self.origin(tools).await?;
        let (edge, token) = self.edge(bin).await?;
        self.connector(bin, "localhost", &format!("http://{origin}"), None).await?;
        self.url = format!("https://localhost:{}", edge.port());
        self.headers =
            vec![format!("Cf-Access-Client-Id: {}", token.id), format!("Cf-Access-Client-Secret: {}", token.secret)];
        self.until_served().await?;
        // It is the policy that admits.
        let status = self.ask("small", &[], &self.path("refused"))?;
        ensure!(["401", "403"].contains(&&*status), "without its token a request got {status}");
        Ok(())
    }

    /// An edge with the policy above.
    async fn edge(&mut self, bin: &Path) -> Result<(SocketAddr, Token)> {
        let (at, data) = (free()?, self.path("edge"));
        let config = format!(
            "zone = \"{ZONE}\"\nlisten = [\"{at}\"]\ndata_dir = {data:?}\n[tls]\nmode = \"internal\"\n\
             [admin]\nemails = [\"admin@example.test\"]\n"
        );
        let config = self.write("edge.toml", &config)?;
        let program = bin.join("edge");
        let configured = config.clone();
        self.run("edge", &program, |command| command.args(["run", "--loglevel", "warn", "--config"]).arg(configured))?;
        self.until("the edge listens", async |_| std::net::TcpStream::connect(at).map(drop).map_err(Into::into))
            .await?;
        let admin = |arguments: &[&str]| {
            let mut command = Command::new(&program);
            command.args(arguments).arg("--config").arg(&config);
            finish(command)
        };
        let made: Value = serde_json::from_str(&admin(&["admin", "service-token", "create", "bench", "--json"])?)?;
        let text = |name: &str| made.get(name).and_then(Value::as_str).map(str::to_owned).context("a service token");
        let access: PathBuf = self.write("access.yaml", ACCESS)?;
        admin(&["apply", "-f", &access.to_string_lossy()])?;
        self.ca = self.write("ca.pem", &admin(&["ca"])?)?;
        Ok((at, Token { id: text("id")?, secret: text("secret")? }))
    }

    async fn connector(&mut self, bin: &Path, hostname: &str, url: &str, links: Option<u32>) -> Result<()> {
        let (data, config) = (self.path("edge"), self.path("connector"));
        self.run("connector", &bin.join("connector"), |command| {
            command.args(["--hostname", hostname, "--url", url, "--data-dir"]).arg(data);
            command.arg("--config-dir").arg(config);
            quiet(command, links)
        })?;
        self.until_said(self.programs.len() - 1, "Ready.").await
    }
}

fn quiet(command: &mut Command, links: Option<u32>) -> &mut Command {
    command.args(["--loglevel", "warn"]);
    match links {
        Some(links) => command.args(["--connections", &links.to_string()]),
        None => command,
    }
}
