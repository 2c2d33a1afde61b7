//! TXT records, made by a name server or by a program.

use std::{path::PathBuf, process::Stdio, time::Duration};

use tokio::{
    io::AsyncReadExt as _,
    process::{ChildStderr, Command},
};

use super::{AcmeError, update::Update};
use crate::{
    config::{Dns, DnsBy},
    platform,
};

/// How long a program may take for one record.
const HOOK_PATIENCE: Duration = Duration::from_secs(60);
/// How long after a program's end what it complained about may take to arrive: what it leaves behind may never be silent.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How much of what a program complains about is kept, in bytes.
const COMPLAINT_MAX: u64 = 1024;
/// Where programs that a program calls are looked for.
const HOOK_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Makes records and takes them away.
pub(super) struct Records {
    by: By,
    /// How long it takes until everybody sees a record.
    pub(super) wait: Duration,
}

enum By {
    Update(Update),
    Hook { program: PathBuf, arguments: Vec<String> },
}

/// What is done with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Add,
    Remove,
}

impl Deed {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Remove => "remove",
        }
    }
}

impl Records {
    pub(super) fn new(dns: &Dns) -> Result<Self, AcmeError> {
        let by = match &dns.by {
            DnsBy::Update { server, zone, key_name, key_file } => {
                By::Update(Update::new(server, zone, key_name, key_file)?)
            }
            DnsBy::Hook { program, arguments } => By::Hook { program: program.clone(), arguments: arguments.clone() },
        };
        Ok(Self { by, wait: dns.wait })
    }

    /// Adds or removes one TXT record. Names have no dot at their end.
    pub(super) async fn change(&self, deed: Deed, name: &str, value: &str) -> Result<(), String> {
        match &self.by {
            By::Update(update) => update.send(deed, name, value).await,
            By::Hook { program, arguments } => {
                let mut command = Command::new(program);
                command.args(arguments).args([deed.as_str(), name, value]);
                run(command, HOOK_PATIENCE)
                    .await
                    .map_err(|error| format!("`{}` {} {name}: {error}", program.display(), deed.as_str()))
            }
        }
    }
}

/// The processes that a program began; ended when dropped.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            platform::kill_group(leader);
        }
    }
}

/// Runs a program with nothing of ours but its arguments, and waits for its end.
async fn run(mut command: Command, patience: Duration) -> Result<(), String> {
    command.env_clear().env("PATH", HOOK_PATH).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    platform::own_group(&mut command);
    let mut child = command.spawn().map_err(|error| format!("cannot be started: {error}"))?;
    let mut group = Group(child.id());
    let complaints = child.stderr.take();
    let mut said = Vec::new();
    let ended = {
        let mut reading = std::pin::pin!(read(complaints, &mut said));
        let mut waiting = std::pin::pin!(tokio::time::timeout(patience, child.wait()));
        let mut is_read = false;
        let ended = loop {
            tokio::select! {
                ended = waiting.as_mut() => break ended,
                () = reading.as_mut(), if !is_read => is_read = true,
            }
        };
        if !is_read && ended.is_ok() {
            tokio::time::timeout(LAST_WORDS, reading).await.ok();
        }
        ended
    };
    let Ok(ended) = ended else { return Err(format!("did not end within {} s", patience.as_secs())) };
    group.0 = None;
    let status = ended.map_err(|error| error.to_string())?;
    if status.success() {
        return Ok(());
    }
    // Whatever it writes stays one line, and moves nobody's cursor.
    let said = String::from_utf8_lossy(&said);
    let words = said.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    Err(format!("ended with {status}: {}", words.collect::<Vec<_>>().join(" ")))
}

async fn read(complaints: Option<ChildStderr>, said: &mut Vec<u8>) {
    let Some(complaints) = complaints else { return };
    let mut complaints = complaints.take(COMPLAINT_MAX);
    complaints.read_to_end(said).await.ok();
    // Read on, so that a talkative program is not held up.
    tokio::io::copy(&mut complaints.into_inner(), &mut tokio::io::sink()).await.ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script, "hook", "add", "_acme-challenge.example.test", "a value;$(id)"]);
        command
    }

    #[tokio::test]
    async fn a_program_gets_its_arguments_as_they_are_and_nothing_of_our_environment() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let script = format!("printf '%s|' \"$@\" > '{}'; env >> '{0}'", out.display());
        run(sh(&script), HOOK_PATIENCE).await.unwrap();
        let said = std::fs::read_to_string(&out).unwrap();
        assert!(said.starts_with("add|_acme-challenge.example.test|a value;$(id)|"), "{said}");
        assert!(!said.contains("HOME=") && !said.contains("CARGO"), "{said}");
    }

    #[tokio::test]
    async fn what_a_program_complains_about_is_told_and_it_may_not_take_for_ever() {
        let error = run(sh("echo 'no such zone' >&2; exit 3"), HOOK_PATIENCE).await.unwrap_err();
        assert!(error.contains('3') && error.contains("no such zone"), "{error}");
        let error = run(sh("printf 'red\\033[31m\\nand\\a two' >&2; exit 1"), HOOK_PATIENCE).await.unwrap_err();
        assert!(error.ends_with("red [31m and two"), "{error:?}");
        let talkative =
            "i=0; while [ $i -lt 5000 ]; do echo 'far too many words of this kind' >&2; i=$((i+1)); done; exit 1";
        let error = run(sh(talkative), HOOK_PATIENCE).await.unwrap_err();
        assert!(error.len() < 2000, "{}", error.len());
        let error = run(sh("exec sleep 600"), Duration::from_millis(50)).await.unwrap_err();
        assert!(error.contains("did not end"), "{error}");
        // What it leaves behind holds up nothing, and what it began ends with it.
        let error = run(sh("sleep 5 & echo 'no such zone' >&2; exit 3"), HOOK_PATIENCE).await.unwrap_err();
        assert!(error.contains("no such zone"), "{error}");
        let dir = tempfile::tempdir().unwrap();
        let number = dir.path().join("number");
        let script = format!("sleep 600 & echo $! > '{}'; wait", number.display());
        run(sh(&script), Duration::from_secs(2)).await.unwrap_err();
        let number = std::fs::read_to_string(&number).unwrap();
        let status = std::path::PathBuf::from(format!("/proc/{}/stat", number.trim()));
        let lives = || std::fs::read_to_string(&status).is_ok_and(|stat| !stat.contains(") Z "));
        for _ in 0..100 {
            if !lives() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(!lives(), "{number}");
        let error = run(Command::new("/nowhere/hook"), HOOK_PATIENCE).await.unwrap_err();
        assert!(error.contains("cannot be started"), "{error}");
    }
}
