//! A real mail server (aiosmtpd) that keeps what it is given in a Maildir.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use data_encoding::BASE64_MIME_PERMISSIVE;
use regex::Regex;

use crate::{Lab, Netns, PATIENCE, Process, edge::listens_in, process::tool};

/// A running mail server.
#[derive(Debug)]
pub struct Smtp {
    _process: Process,
    port: u16,
    maildir: PathBuf,
}

/// One mail as it was received.
#[derive(Clone, Debug)]
pub struct Mail {
    /// The recipient of the envelope.
    pub to: String,
    /// The whole message.
    pub raw: String,
    /// The text part, decoded.
    pub text: String,
    /// The HTML part, decoded.
    pub html: String,
}

impl Mail {
    /// The code in the text part, without the space.
    ///
    /// # Errors
    /// There is none.
    pub fn pin(&self) -> Result<String> {
        let code = Regex::new(r"(?m)^\s*(\d{4}) ?(\d{4})\s*$")?;
        let found = code.captures(&self.text).with_context(|| format!("no code in:\n{}", self.text))?;
        Ok(format!("{}{}", &found[1], &found[2]))
    }
}

impl Smtp {
    /// A mail server on 127.0.0.1:1025 of the lab.
    ///
    /// # Errors
    /// It did not start; or `tests/run` has not installed it.
    pub async fn start(lab: &Lab) -> Result<Self> {
        Self::start_in(lab, lab.net()).await
    }

    /// A mail server on 127.0.0.1:1025 of another namespace.
    ///
    /// # Errors
    /// As [`Smtp::start`].
    pub async fn start_in(lab: &Lab, net: &Netns) -> Result<Self> {
        let maildir = lab.path("mail");
        let port = 1025;
        let mut command = lab.dress(net.command(tool("venv")?.join("bin/python")));
        command.args(["-m", "aiosmtpd", "-n", "-l", &format!("127.0.0.1:{port}"), "-c", "aiosmtpd.handlers.Mailbox"]);
        command.arg(&maildir);
        let mut process = Process::start("aiosmtpd", command)?;
        listens_in(net, &mut process, format!("127.0.0.1:{port}").parse()?).await?;
        Ok(Self { _process: process, port, maildir })
    }

    /// Its address for `edge.toml`.
    pub fn url(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.port)
    }

    /// All mails received so far, oldest first.
    ///
    /// # Errors
    /// The Maildir could not be read.
    pub fn mails(&self) -> Result<Vec<Mail>> {
        let mut found = Vec::new();
        let Ok(entries) = fs::read_dir(self.maildir.join("new")) else { return Ok(Vec::new()) };
        for entry in entries {
            let entry = entry?;
            let Ok(raw) = fs::read(entry.path()) else { continue };
            found.push((entry.metadata()?.modified()?, parse(&String::from_utf8_lossy(&raw))?));
        }
        found.sort_by_key(|(time, _)| *time);
        Ok(found.into_iter().map(|(_, mail)| mail).collect())
    }

    /// Mails to `address`, oldest first.
    ///
    /// # Errors
    /// The Maildir could not be read.
    pub fn mails_to(&self, address: &str) -> Result<Vec<Mail>> {
        Ok(self.mails()?.into_iter().filter(|mail| mail.to.contains(address)).collect())
    }

    /// Waits until `count` mails to `address` have come, and gives the newest.
    ///
    /// # Errors
    /// They did not come in time.
    pub async fn mail_to(&self, address: &str, count: usize) -> Result<Mail> {
        let end = tokio::time::Instant::now() + PATIENCE;
        while tokio::time::Instant::now() < end {
            let mut mails = self.mails_to(address)?;
            if mails.len() >= count {
                return mails.pop().context("at least one");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("{count} mails to {address} did not come; there are {:?}", self.mails()?)
    }
}

fn parse(raw: &str) -> Result<Mail> {
    let raw = raw.replace("\r\n", "\n");
    let (head, _) = raw.split_once("\n\n").context("a mail has a head")?;
    let to = Regex::new(r"(?mi)^(?:X-RcptTo|To): *(.*)$")?.captures(head).map(|c| c[1].to_owned()).unwrap_or_default();
    let part = |kind: &str| -> Result<String> {
        // A part begins at its own Content-Type and ends at the next boundary line.
        let begin = Regex::new(&format!(r"(?i)Content-Type: *{kind}"))?;
        let Some(found) = begin.find(&raw) else { return Ok(String::new()) };
        let before = raw[..found.start()].rfind("\n--").map_or(0, |at| at + 1);
        let section = &raw[before..];
        let (fields, body) = section.split_once("\n\n").context("a part has a body")?;
        let body = body.find("\n--").map_or(body, |end| &body[..end]);
        let fields = fields.to_lowercase();
        Ok(if fields.contains("content-transfer-encoding: base64") {
            let compact: String = body.split_whitespace().collect();
            String::from_utf8_lossy(&BASE64_MIME_PERMISSIVE.decode(compact.as_bytes())?).into_owned()
        } else if fields.contains("quoted-printable") {
            quoted_printable(body)
        } else {
            body.to_owned()
        })
    };
    Ok(Mail { to, text: part("text/plain")?.replace("\r\n", "\n"), html: part("text/html")?, raw: raw.clone() })
}

fn quoted_printable(body: &str) -> String {
    let joined = body.replace("=\n", "");
    let bytes = joined.as_bytes();
    let (mut out, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let hex = (bytes[at] == b'=').then(|| joined.get(at + 1..at + 3)).flatten();
        match hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_parts_of_a_mail_are_decoded() {
        let mail = parse(
            "X-RcptTo: a@example.test\r\nContent-Type: multipart/alternative; boundary=\"b\"\r\n\r\n--b\r\nContent-Type: text/plain; \
             charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nH=C3=A9\r\n\r\n    4829 1305\r\n\r\n-- =\r\nx\r\n--b\r\nContent-Type: \
             text/html\r\nContent-Transfer-Encoding: base64\r\n\r\nPGI+\r\n--b--\r\n",
        )
        .unwrap();
        assert_eq!(mail.pin().unwrap(), "48291305");
        assert_eq!(mail.html, "<b>");
        assert!(mail.text.starts_with("Hé"));
    }
}
