//! How cost grows with work: real programs on loopback, more and more of everything, and what a request, a byte of memory
//! and a change cost then.
//!
//! `cargo run --release -p tunnel-scale` measures everything and takes some minutes; `--quick` is a small form of it, of
//! under a minute, which shows that it works. It prints tables, and writes the same as JSON below `target/scale`.

mod ask;
mod certificates;
mod connectors;
mod declared;
mod edge;
mod hold;
mod idle;
mod meter;
mod report;
mod streams;

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Resource, getrlimit, setrlimit};

use report::Report;

const USAGE: &str = "\
usage: scale [--quick] [--programs DIR] [--out DIR] [--only PART]...

  --quick          few of everything, in under a minute
  --programs DIR   where `edge` and `connector` are [SCALE_PROGRAMS; default: beside this program]
  --out DIR        where the figures are written [default: target/scale]
  --only PART      declared, connectors, streams, idle or https; may be repeated";

/// What is measured, in this order.
const PARTS: [&str; 5] = ["declared", "connectors", "streams", "idle", "https"];

/// How much is measured, and where the programs are.
struct Plan {
    quick: bool,
    programs: PathBuf,
    out: PathBuf,
    parts: Vec<String>,
}

impl Plan {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let beside = || Some(std::env::current_exe().ok()?.parent()?.to_owned());
        let programs = std::env::var_os("SCALE_PROGRAMS").map(PathBuf::from).or_else(beside);
        let programs = programs.context("a directory with the programs")?;
        let mut plan = Self { quick: false, programs, out: "target/scale".into(), parts: Vec::new() };
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("`{word}` needs a value\n{USAGE}"));
            match word.as_str() {
                "--quick" => plan.quick = true,
                "--programs" => plan.programs = value()?.into(),
                "--out" => plan.out = value()?.into(),
                "--only" => plan.parts.push(value()?),
                _ => bail!("`{word}` is nothing that this knows\n{USAGE}"),
            }
        }
        if let Some(part) = plan.parts.iter().find(|part| !PARTS.contains(&part.as_str())) {
            bail!("there is no part `{part}`\n{USAGE}");
        }
        Ok(plan)
    }

    fn wants(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|wanted| wanted == part)
    }

    /// A program, which must have been built.
    fn program(&self, name: &str) -> Result<PathBuf> {
        let path = self.programs.join(name);
        ensure!(path.is_file(), "there is no `{}`; build it first: cargo build --release", path.display());
        Ok(path)
    }

    /// The few for the quick form, the many otherwise.
    const fn sizes(&self, quick: &'static [usize], whole: &'static [usize]) -> &'static [usize] {
        if self.quick { quick } else { whole }
    }

    const fn pick(&self, quick: usize, whole: usize) -> usize {
        if self.quick { quick } else { whole }
    }
}

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1).peekable();
    raise_descriptors()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    if words.peek().is_some_and(|word| word == hold::COMMAND) {
        return runtime.block_on(hold::run());
    }
    let plan = Plan::parse(words)?;
    runtime.block_on(measure(&plan))
}

async fn measure(plan: &Plan) -> Result<()> {
    let mut report = Report::begin(plan.quick);
    if plan.wants("declared") {
        declared::measure(plan, &mut report).await.context("applications, policies and hostnames")?;
    }
    if plan.wants("connectors") {
        connectors::measure(plan, &mut report).await.context("connectors")?;
    }
    if plan.wants("streams") {
        streams::measure(plan, &mut report).await.context("streams of one link")?;
    }
    if plan.wants("idle") {
        idle::streams(plan, &mut report).await.context("idle streams")?;
    }
    if plan.wants("https") {
        idle::https(plan, &mut report).await.context("idle HTTPS connections")?;
    }
    print!("{report}");
    report.write(&plan.out)
}

/// As many descriptors as the system gives, for this program and those that it starts.
fn raise_descriptors() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("descriptors")
}

/// Says how far it is.
fn say(text: impl AsRef<str>) {
    eprintln!("[{:>7.1} s] {}", meter::since_start().as_secs_f64(), text.as_ref());
}
