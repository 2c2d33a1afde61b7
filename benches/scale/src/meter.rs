//! What a process takes, as the system says it.

use std::{
    fs,
    sync::OnceLock,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

/// How long this program has run.
pub(crate) fn since_start() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// The memory of a process in bytes, of pages that others have as well its share (Pss).
pub(crate) fn memory(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("a line `Pss:`")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().context("a number of KiB")?;
    Ok(kib * 1024)
}

/// The processor time that a process has used since it began, as the scheduler counts it.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    let mut used = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread that ends meanwhile has nothing to say.
        let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        let nanoseconds = text.split(' ').next().unwrap_or_default().parse().unwrap_or_default();
        used += Duration::from_nanos(nanoseconds);
    }
    Ok(used)
}

/// The processor time of a process while it is left alone, in per cent of one core.
pub(crate) async fn at_rest(pid: u32, time: Duration) -> Result<f64> {
    let (begun, before) = (Instant::now(), cpu(pid)?);
    tokio::time::sleep(time).await;
    let used = cpu(pid)?.saturating_sub(before);
    Ok(used.as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0)
}

/// Times of the same thing.
#[derive(Debug, Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// The time that a share of them did not exceed, in microseconds.
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        let mut times = self.0.clone();
        times.sort_unstable();
        // Truncation is what is wanted: the index of a time that was measured.
        let index = (times.len() as f64 * share) as usize;
        let time = times.get(index.min(times.len().saturating_sub(1))).copied().unwrap_or_default();
        time.as_secs_f64() * 1e6
    }

    pub(crate) fn most(&self) -> f64 {
        self.percentile(1.0)
    }
}
