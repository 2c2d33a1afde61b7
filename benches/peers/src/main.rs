//! Our programs beside others that do a part of the same, in one run: what `benches/compare` is made of.
//!
//! Every way is set up from configuration files on loopback, checked to carry bytes as they are, measured and ended, and so in
//! turn, round by round. What was measured is kept as JSON (`target/compare`); `docs/PERFORMANCE.md` and its charts are written from
//! that alone.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a harness reports by panicking; nothing here is shipped"
)]

mod machine;
mod measure;
mod plan;
mod process;
mod report;
mod results;
mod run;
mod usage;
mod ways;
mod web;
mod wire;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail, ensure};
use tokio::signal::unix::{SignalKind, signal};

use crate::{plan::Plan, results::Run, ways::Tools};

const USAGE: &str = "\
usage: benches/compare [--quick] [--only NAME[,NAME]] [--bin DIR] [--ours LABEL=DIR] [--report [FILE]] [--list]
  --quick             one short round, to have a look
  --only NAME,NAME    only these ways (see --list); leaves docs/PERFORMANCE.md as it is
  --bin DIR           where our programs are, instead of target/release (also TUNNEL_BIN_DIR)
  --ours LABEL=DIR    measures our programs of another folder beside these
  --report [FILE]     writes docs/PERFORMANCE.md again, from the newest run or from FILE
  --list              the names of the ways";

#[derive(Debug)]
struct Arguments {
    quick: bool,
    only: Vec<String>,
    bin: Option<PathBuf>,
    ours: Vec<(String, PathBuf)>,
    report: Option<Option<PathBuf>>,
    list: bool,
}

fn parse(mut words: std::iter::Peekable<impl Iterator<Item = String>>) -> Result<Arguments> {
    let bin = std::env::var_os("TUNNEL_BIN_DIR").map(PathBuf::from);
    let mut parsed = Arguments { quick: false, only: Vec::new(), bin, ours: Vec::new(), report: None, list: false };
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} wants a value\n{USAGE}"));
        match &*word {
            "--quick" => parsed.quick = true,
            "--list" => parsed.list = true,
            "--help" => bail!("{USAGE}"),
            "--only" => parsed.only.extend(value()?.split(',').map(str::to_owned)),
            "--bin" => parsed.bin = Some(value()?.into()),
            "--ours" => {
                let value = value()?;
                let (label, dir) = value.split_once('=').context("--ours wants LABEL=DIR")?;
                parsed.ours.push((label.to_owned(), fs::canonicalize(dir)?));
            }
            "--report" => parsed.report = Some(words.next_if(|next| !next.starts_with("--")).map(PathBuf::from)),
            _ => bail!("{word}: unknown\n{USAGE}"),
        }
    }
    Ok(parsed)
}

fn main() -> ExitCode {
    match begin() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("benches/compare: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn begin() -> Result<()> {
    // Everything on the thread that starts programs: they are told when it ends.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut words = std::env::args().skip(1).peekable();
    if words.next_if(|word| word == "serve").is_some() {
        let address = words.next().context("serve ADDRESS")?.parse()?;
        return runtime.block_on(wire::serve(address));
    }
    let arguments = parse(words)?;
    // benches/compare goes there.
    let root = std::env::current_dir()?;
    ensure!(root.join("benches/peers").is_dir(), "run it as benches/compare, or from the root of the repository");
    if let Some(file) = &arguments.report {
        let file = file.clone().map_or_else(|| newest(&root), Ok)?;
        return report::write(&Run::read(&file)?, &root);
    }
    runtime.block_on(async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! {
            done = compare(&arguments, &root) => done,
            // Whatever runs ends with what is dropped here.
            _ = interrupt.recv() => bail!("interrupted; all programs were ended"),
            _ = terminate.recv() => bail!("asked to end; all programs were ended"),
        }
    })
}

async fn compare(arguments: &Arguments, root: &Path) -> Result<()> {
    let here = std::env::current_exe()?.parent().context("a folder")?.to_owned();
    let bin = arguments.bin.clone().map_or(Ok(here), fs::canonicalize)?;
    let identity = tempfile::Builder::new().prefix("compare-").tempdir()?;
    ways::make_identity(identity.path())?;
    let mut ours = vec![(String::new(), bin)];
    ours.extend(arguments.ours.clone());
    let peers = std::env::var_os("TUNNEL_PEERS_DIR").map_or_else(|| root.join("target/tools/peers/bin"), PathBuf::from);
    let tools = Tools { ours, peers, identity: identity.path().to_owned() };
    let mut ways = ways::all(&tools);
    if arguments.list {
        ways.iter().for_each(|way| println!("{:18} {}", way.row.id, way.row.title));
        return Ok(());
    }
    if !arguments.only.is_empty() {
        ways.retain(|way| arguments.only.contains(&way.row.id));
        ensure!(!ways.is_empty(), "no way is called {:?}; see --list", arguments.only);
    }
    let plan = if arguments.quick { Plan::QUICK } else { Plan::WHOLE };
    let folder = root.join("target/compare");
    fs::create_dir_all(&folder)?;
    let time = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH)?.as_secs();
    let kind = if arguments.only.is_empty() { "run" } else { "part" };
    let file = folder.join(format!("{kind}-{time}.json"));
    let run = run::run(&ways, &tools, plan, arguments.quick, &file).await?;
    eprintln!("kept in {}; {} measurements, {} failures", file.display(), run.samples.len(), run.failures.len());
    if arguments.only.is_empty() { report::write(&run, root) } else { Ok(()) }
}

/// The newest whole run.
fn newest(root: &Path) -> Result<PathBuf> {
    let mut runs: Vec<PathBuf> = fs::read_dir(root.join("target/compare"))
        .context("nothing was measured yet")?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("run-")))
        .collect();
    runs.sort();
    runs.pop().context("nothing was measured yet: run benches/compare")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(words: &str) -> Result<Arguments> {
        parse(words.split_whitespace().map(str::to_owned).collect::<Vec<_>>().into_iter().peekable())
    }

    #[test]
    fn arguments_are_what_the_usage_says() {
        let parsed = arguments("--quick --only rathole,ssh --ours before=/tmp").unwrap();
        assert!(parsed.quick && parsed.only == ["rathole", "ssh"] && parsed.ours[0].0 == "before");
        assert!(matches!(arguments("--report --quick").unwrap().report, Some(None)));
        assert!(matches!(arguments("--report some.json").unwrap().report, Some(Some(_))));
        assert!(arguments("--fast").is_err() && arguments("--only").is_err());
    }
}
