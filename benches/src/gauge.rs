//! What was measured, kept beside criterion: for the percentiles, the processor time and the table at the end.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    plan::MIB,
    role::{Cpu, Others},
};

/// The measurements of one thing on one way.
#[derive(Debug, Default)]
pub struct Gauge {
    times: Vec<Duration>,
    cpu: Option<Cpu>,
}

impl Gauge {
    /// Lets `run` do something so many times; it gives the time of each. Their sum is for criterion.
    pub fn measure(&mut self, iterations: u64, run: impl FnOnce(u64) -> Vec<Duration>) -> Duration {
        let before = Cpu::now();
        let times = run(iterations);
        if let (Some(before), Some(after)) = (before, Cpu::now()) {
            *self.cpu.get_or_insert_default() += after - before;
        }
        let sum = times.iter().sum();
        self.times.extend(times);
        sum
    }

    /// Leaves the processor time out: it was not only this that used it.
    pub fn without_cpu(self) -> Self {
        Self { cpu: None, ..self }
    }

    /// The time that a share of the runs did not exceed.
    pub fn percentile(&self, share: f64) -> Duration {
        let mut times = self.times.clone();
        times.sort_unstable();
        // Truncation is what is wanted: the index of a time that was measured.
        let index = (times.len() as f64 * share) as usize;
        times.get(index.min(times.len().saturating_sub(1))).copied().unwrap_or_default()
    }
}

/// Does something so many times, one after the other; the time of each.
///
/// # Errors
/// It failed once.
pub async fn times(iterations: u64, mut once: impl AsyncFnMut() -> Result<()>) -> Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(usize::try_from(iterations)?);
    for _ in 0..iterations {
        let begun = Instant::now();
        once().await?;
        times.push(begun.elapsed());
    }
    Ok(times)
}

/// The memory that this process has resident now, in bytes; 0 where the system does not say (elsewhere than on Linux).
pub fn resident() -> u64 {
    of_status("VmRSS:")
}

/// The most that it ever had resident, the same.
pub fn most_resident() -> u64 {
    of_status("VmHWM:")
}

/// A line of `/proc/self/status` that is in KiB, in bytes.
fn of_status(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()).unwrap_or_default() * 1024
}

/// What one run of a bench does.
#[derive(Clone, Copy, Debug)]
pub enum Amount {
    /// It carries bytes.
    Bytes(u64),
    /// It asks so many times, at once.
    Requests(usize),
    /// It waits for one answer.
    Answer,
}

/// The table at the end.
#[derive(Debug)]
pub struct Report {
    lines: Vec<Line>,
    notes: Vec<String>,
    others: Others,
}

#[derive(Debug)]
struct Line {
    what: String,
    amount: Amount,
    path: Gauge,
    bare: Option<usize>,
}

impl Report {
    /// An empty table.
    pub fn begin() -> Self {
        Self { lines: Vec::new(), notes: Vec::new(), others: Others::watch() }
    }

    /// Enters what was measured straight to the service; the number is for [`Report::path`].
    pub fn bare(&mut self, what: impl Into<String>, amount: Amount, gauge: Gauge) -> usize {
        self.lines.push(Line { what: what.into(), amount, path: gauge, bare: None });
        self.lines.len() - 1
    }

    /// Enters what was measured over the path, to be held against `bare`.
    pub fn path(&mut self, what: impl Into<String>, amount: Amount, gauge: Gauge, bare: usize) {
        self.lines.push(Line { what: what.into(), amount, path: gauge, bare: Some(bare) });
    }

    /// Enters what is no time.
    pub fn note(&mut self, line: String) {
        self.notes.push(line);
    }

    /// Prints what was measured, unless this was only a test that the benches run.
    pub fn print(&self) {
        if std::env::args().any(|argument| argument == "--bench") {
            let cores = std::thread::available_parallelism().map_or(0, usize::from);
            let others =
                self.others.cores().map_or_else(String::new, |others| format!(" ({others:.1} used by others)"));
            println!("On {cores} cores{others}, all roles in one process:\n{self}");
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            let Some(bare) = line.bare.and_then(|bare| self.lines.get(bare)) else { continue };
            if line.path.times.is_empty() || bare.path.times.is_empty() {
                continue;
            }
            let (path, bare) = (&line.path, &bare.path);
            let ratio = bare.percentile(0.5).as_secs_f64() / path.percentile(0.5).as_secs_f64();
            let (shown_path, shown_bare) = (line.amount.show(path), line.amount.show(bare));
            match line.amount {
                Amount::Answer => {
                    let added = path.percentile(0.5).saturating_sub(bare.percentile(0.5));
                    writeln!(
                        f,
                        "{}: path {shown_path}, loopback {shown_bare}, path adds {}",
                        line.what,
                        micros(added)
                    )?;
                }
                _ => writeln!(f, "{}: path {shown_path}, loopback {shown_bare}, ratio {ratio:.2}", line.what)?,
            }
            if let (Some(path), Some(bare)) = (line.amount.cpu(path), line.amount.cpu(bare)) {
                writeln!(f, "    CPU: path {path}; loopback {bare}")?;
            }
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "{note}"))
    }
}

impl Amount {
    /// The median, in the unit that suits.
    fn show(self, gauge: &Gauge) -> String {
        let median = gauge.percentile(0.5);
        match self {
            Self::Bytes(bytes) => format!("{:.0} MiB/s", bytes as f64 / MIB as f64 / median.as_secs_f64()),
            Self::Requests(requests) => format!("{:.0} requests/s", requests as f64 / median.as_secs_f64()),
            Self::Answer => format!("p50 {} p99 {}", micros(median), micros(gauge.percentile(0.99))),
        }
    }

    /// The processor time, by role.
    fn cpu(self, gauge: &Gauge) -> Option<String> {
        let cpu = gauge.cpu?;
        let runs = gauge.times.len() as f64;
        let used = match self {
            Self::Bytes(bytes) => cpu.per(runs * bytes as f64 / 1e9, "s/GB"),
            Self::Requests(requests) => cpu.per(runs * requests as f64 / 1e6, "µs each"),
            Self::Answer => cpu.per(runs / 1e6, "µs each"),
        };
        // Less than there are: something waits rather than works, or other programs are in the way.
        let cores = cpu.total().as_secs_f64() / gauge.times.iter().sum::<Duration>().as_secs_f64();
        Some(format!("{used} on {cores:.1} cores"))
    }
}

fn micros(time: Duration) -> String {
    format!("{:.0} µs", time.as_secs_f64() * 1e6)
}
