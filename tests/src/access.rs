//! The access client program, on a machine of its own as far as it can tell: an empty home, and a browser that only notes
//! where it was sent.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use anyhow::{Context, Result, bail};
use regex::Regex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
    time::timeout,
};

use crate::{
    Lab, PATIENCE, Process, Smtp, Visitor,
    html::form_with,
    process::program,
    visitor::{Reply, press},
};

/// A home directory of somebody with an access client.
#[derive(Clone, Debug)]
pub struct Home {
    lab: Lab,
    folder: PathBuf,
    ca: PathBuf,
}

impl Home {
    /// An empty home called `name`; the edge's CA (PEM) lies beside it.
    ///
    /// # Errors
    /// The system refused.
    pub fn new(lab: &Lab, name: &str, ca: &str) -> Result<Self> {
        let folder = lab.path(name);
        fs::create_dir_all(&folder)?;
        let ca = lab.write(&format!("{name}.ca.pem"), ca)?;
        let home = Self { lab: lab.clone(), folder, ca };
        let browser = format!("#!/bin/sh\nprintf '%s\\n' \"$1\" >> {}\n", home.note().display());
        fs::write(home.browser(), browser)?;
        fs::set_permissions(home.browser(), fs::Permissions::from_mode(0o755))?;
        Ok(home)
    }

    /// The folder.
    pub fn folder(&self) -> &PathBuf {
        &self.folder
    }

    fn browser(&self) -> PathBuf {
        self.folder.with_extension("browser")
    }

    fn note(&self) -> PathBuf {
        self.folder.with_extension("opened")
    }

    /// The addresses that the browser was sent to so far.
    pub fn opened(&self) -> Vec<String> {
        fs::read_to_string(self.note()).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// The program with `args`, this home, this browser and the edge's CA.
    ///
    /// # Errors
    /// It has not been built.
    pub fn command(&self, args: &[&str]) -> Result<Command> {
        let mut command = self.lab.command(program("access")?);
        command.args(args).env("HOME", &self.folder).env("BROWSER", self.browser()).env("TUNNEL_EDGE_CA", &self.ca);
        command.current_dir(&self.folder);
        Ok(command)
    }

    /// Starts the program and waits until it listens.
    ///
    /// # Errors
    /// It ended, or did not listen in time.
    pub async fn forward(&self, args: &[&str], port: u16) -> Result<Process> {
        let mut process = Process::start(&format!("access {}", args.join(" ")), self.command(args)?)?;
        listening(&mut process, port).await?;
        Ok(process)
    }

    /// Waits for the browser to be sent somewhere, at least `count` times; gives the last address.
    ///
    /// # Errors
    /// It was not.
    pub async fn sent_to(&self, count: usize) -> Result<String> {
        let waiting = async {
            loop {
                let opened = self.opened();
                if opened.len() >= count {
                    return opened.last().cloned().unwrap_or_default();
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, waiting)
            .await
            .with_context(|| format!("the browser was opened {} times", self.opened().len()))
    }
}

/// Waits until a program listens on a port, without connecting to it: a connection would begin a login.
///
/// # Errors
/// It ended, or did not listen in time.
pub async fn listening(process: &mut Process, port: u16) -> Result<()> {
    let wanted = format!(":{port:04X}");
    let waiting = async {
        loop {
            let table = fs::read_to_string("/proc/thread-self/net/tcp").unwrap_or_default()
                + &fs::read_to_string("/proc/thread-self/net/tcp6").unwrap_or_default();
            let listens = |line: &str| {
                let mut fields = line.split_whitespace().skip(1);
                fields.next().is_some_and(|local| local.ends_with(&wanted)) && fields.nth(1) == Some("0A")
            };
            if table.lines().any(listens) {
                return Ok(());
            }
            if let Some(status) = process.ended()? {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                bail!("the program ended with {status}:\n{}", process.log.text());
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, waiting).await.with_context(|| format!("nothing listens on {port}:\n{}", process.log.text()))?
}

/// Opens the address that the client's browser was sent to, logs in by PIN if asked, and approves; gives the page that the
/// browser ends on. `code` is what the terminal shows, for the page of a client without a browser.
///
/// # Errors
/// A page was not as expected.
pub async fn approve(visitor: &mut Visitor, smtp: &Smtp, url: &str, email: &str, code: Option<&str>) -> Result<Reply> {
    let page = open_consent(visitor, smtp, url, email).await?;
    let mut form = press(form_with(&page.text(), "answer")?, "answer", "approve");
    if let Some(code) = code {
        form = form.with("code", code);
    }
    let reply = visitor.submit(&page.url, &form).await?;
    finish(visitor, reply).await
}

/// The page on which a person decides, after a login by PIN if there was none.
///
/// # Errors
/// A page was not as expected.
pub async fn open_consent(visitor: &mut Visitor, smtp: &Smtp, url: &str, email: &str) -> Result<Reply> {
    let mut page = visitor.browse(url).await?;
    if form_with(&page.text(), "email").is_ok() {
        page = visitor.login(smtp, url, email).await?;
    }
    Ok(page)
}

/// Follows an answer to the loopback address, where the client waits.
///
/// # Errors
/// Nobody waits there.
pub async fn finish(visitor: &mut Visitor, reply: Reply) -> Result<Reply> {
    let location = reply.leads().unwrap_or_default().to_owned();
    let there = Regex::new(r"^http://(127\.0\.0\.1|\[::1\]):(\d+)(/\S*)$")?;
    let Some(found) = there.captures(&location) else { return visitor.follow(reply).await };
    let (host, port, path) = (&found[1], &found[2], &found[3]);
    let mut tcp = TcpStream::connect(format!("{host}:{port}")).await?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: text/html\r\nConnection: close\r\n\r\n");
    tcp.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    timeout(PATIENCE, tcp.read_to_end(&mut answer)).await??;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let body = text.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned());
    Ok(Reply { url: location, answer: crate::raw::Answer { status, headers: Vec::new(), body: body.into_bytes() } })
}
