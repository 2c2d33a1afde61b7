//! Other programs that carry TCP connections.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use anyhow::Result;

use super::{System, Tools};
use crate::process::{finish, free};

/// What haproxy is told in every use: no limit that would bind, and every core.
pub(super) const HAPROXY: &str = "global\n  maxconn 8000\n\ndefaults\n  maxconn 8000\n  timeout connect 10s\n  timeout client 60s\n  timeout server 60s\n";

impl System {
    pub(super) async fn loopback(&mut self) -> Result<()> {
        self.door = self.service().await?;
        Ok(())
    }

    pub(super) async fn rathole(&mut self, tools: &Tools) -> Result<()> {
        let service = self.service().await?.to_string();
        self.rathole_to(tools, &service, &self.door.to_string())?;
        self.until_carried().await
    }

    /// rathole with `door` in front of `service`.
    pub(super) fn rathole_to(&mut self, tools: &Tools, service: &str, door: &str) -> Result<()> {
        let (between, identity) = (free()?, tools.identity.display());
        let server = format!(
            "[server]\nbind_addr = \"{between}\"\ndefault_token = \"bench\"\n[server.transport]\ntype = \"tls\"\n\
             [server.transport.tls]\npkcs12 = \"{identity}/identity.p12\"\npkcs12_password = \"bench\"\n\
             [server.services.bench]\nbind_addr = \"{door}\"\n"
        );
        let client = format!(
            "[client]\nremote_addr = \"{between}\"\ndefault_token = \"bench\"\n[client.transport]\ntype = \"tls\"\n\
             [client.transport.tls]\ntrusted_root = \"{identity}/cert.pem\"\nhostname = \"localhost\"\n\
             [client.services.bench]\nlocal_addr = \"{service}\"\n"
        );
        let program = tools.find("rathole")?;
        for (name, flag, text) in [("rathole server", "--server", server), ("rathole client", "--client", client)] {
            let file = self.write(&format!("{}.toml", &flag[2..]), &text)?;
            self.run(name, &program, |command| command.arg(flag).arg(file).env("RUST_LOG", "warn"))?;
        }
        Ok(())
    }

    /// Its control port is always 7835.
    pub(super) async fn bore(&mut self, tools: &Tools) -> Result<()> {
        let service = self.service().await?.port().to_string();
        let (program, port) = (tools.find("bore")?, self.door.port().to_string());
        self.run("bore server", &program, |command| {
            command.args(["server", "--bind-addr", "127.0.0.1", "--bind-tunnels", "127.0.0.1"]);
            command.args(["--secret", "bench", "--min-port", &port, "--max-port", &port])
        })?;
        self.until_said(0, "server listening").await?;
        self.run("bore local", &program, |command| {
            command.args(["local", &service, "--local-host", "127.0.0.1", "--to", "127.0.0.1"]);
            command.args(["--secret", "bench", "--port", &port])
        })?;
        self.until_carried().await
    }

    pub(super) async fn ssh(&mut self, tools: &Tools) -> Result<()> {
        const CIPHER: &str = "aes128-gcm@openssh.com";
        let (service, at) = (self.service().await?, free()?);
        for name in ["host", "user"] {
            let mut keygen = Command::new(tools.find("ssh-keygen")?);
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(self.path(name));
            finish(keygen)?;
        }
        // For its unprivileged part, where it runs as root.
        if fs::create_dir("/run/sshd").is_ok() {
            fs::set_permissions("/run/sshd", fs::Permissions::from_mode(0o755))?;
        }
        let place = self.place.path().display().to_string();
        let config = format!(
            "ListenAddress {at}\nHostKey {place}/host\nAuthorizedKeysFile {place}/user.pub\nStrictModes no\n\
             PidFile none\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\nAllowTcpForwarding yes\n\
             Ciphers {CIPHER}\nLogLevel ERROR\n"
        );
        let config = self.write("sshd_config", &config)?;
        let (sshd, ssh) = (tools.find("sshd")?, tools.find("ssh")?);
        self.run("sshd", &sshd, |command| command.args(["-D", "-e", "-f"]).arg(config))?;
        self.until("sshd listens", async |_| std::net::TcpStream::connect(at).map(drop).map_err(Into::into)).await?;
        let user = finish({
            let mut id = Command::new("id");
            id.arg("-un");
            id
        })?;
        let there = format!("{}:{service}", self.door);
        let key = self.path("user");
        self.run("ssh", &ssh, |command| {
            command.args(["-N", "-F", "none", "-c", CIPHER, "-i"]).arg(key).args(["-p", &at.port().to_string()]);
            for option in [
                "IdentitiesOnly=yes",
                "StrictHostKeyChecking=no",
                "UserKnownHostsFile=/dev/null",
                "ExitOnForwardFailure=yes",
                "LogLevel=ERROR",
            ] {
                command.args(["-o", option]);
            }
            command.args(["-R", &there]).arg(format!("{}@127.0.0.1", user.trim()))
        })?;
        self.until_carried().await
    }

    pub(super) async fn stunnel(&mut self, tools: &Tools) -> Result<()> {
        let (service, between) = (self.service().await?, free()?);
        let (identity, door) = (tools.identity.display(), self.door);
        let common = "foreground = yes\npid =\ndebug = err\nsocket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n";
        let server = format!(
            "{common}[bench]\naccept = {between}\nconnect = {service}\ncert = {identity}/cert.pem\nkey = {identity}/key.pem\n"
        );
        let client = format!(
            "{common}[bench]\nclient = yes\naccept = {door}\nconnect = {between}\nCAfile = {identity}/cert.pem\n\
             verifyChain = yes\ncheckHost = localhost\n"
        );
        let program = tools.find("stunnel4")?;
        for (name, text) in [("stunnel server", server), ("stunnel client", client)] {
            let file = self.write(&format!("{name}.conf"), &text)?;
            self.run(name, &program, |command| command.arg(file))?;
        }
        self.until_carried().await
    }

    pub(super) async fn haproxy(&mut self, tools: &Tools) -> Result<()> {
        let (service, between) = (self.service().await?, free()?);
        let (identity, door) = (tools.identity.display(), self.door);
        let server = format!(
            "{HAPROXY}  mode tcp\n\nlisten bench\n  bind {between} ssl crt {identity}/both.pem\n  server bench {service}\n"
        );
        let client = format!(
            "{HAPROXY}  mode tcp\n\nlisten bench\n  bind {door}\n  server bench {between} ssl verify required ca-file \
             {identity}/cert.pem verifyhost localhost sni str(localhost)\n"
        );
        for (name, text) in [("haproxy server", server), ("haproxy client", client)] {
            self.run_haproxy(tools, name, &text)?;
        }
        self.until_carried().await
    }

    pub(super) fn run_haproxy(&mut self, tools: &Tools, name: &'static str, text: &str) -> Result<()> {
        let (file, program) = (self.write(&format!("{name}.cfg"), text)?, tools.find("haproxy")?);
        self.run(name, &program, |command| command.args(["-db", "-f"]).arg(file))
    }
}

/// Makes a certificate for `localhost`, in the forms in which the programs want it.
///
/// # Errors
/// openssl failed.
pub(super) fn make_identity(place: &Path) -> Result<()> {
    let openssl = |arguments: &[&str]| {
        let mut command = Command::new("openssl");
        command.args(arguments).current_dir(place);
        finish(command)
    };
    openssl(&[
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost,IP:127.0.0.1",
        "-keyout",
        "key.pem",
        "-out",
        "cert.pem",
    ])?;
    openssl(&[
        "pkcs12",
        "-export",
        "-passout",
        "pass:bench",
        "-inkey",
        "key.pem",
        "-in",
        "cert.pem",
        "-out",
        "identity.p12",
    ])?;
    let both = fs::read_to_string(place.join("cert.pem"))? + &fs::read_to_string(place.join("key.pem"))?;
    Ok(fs::write(place.join("both.pem"), both)?)
}
