//! What processes use, as the kernel counts it (`/proc`).

use std::{collections::BTreeMap, fs};

use anyhow::{Context, Result};

/// A process and everything that it started and that still runs.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let mut parents = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if let Ok(stat) = stat(pid) {
            parents.insert(pid, stat.parent);
        }
    }
    let mut found = vec![root];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        found.extend(parents.iter().filter(|(_, its)| **its == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    found
}

/// Processor seconds that a process and those that it started have used so far.
///
/// # Errors
/// It has gone.
pub(crate) fn cpu(root: u32) -> Result<f64> {
    stat(root)?;
    Ok(tree(root).into_iter().filter_map(|pid| stat(pid).ok()).map(|stat| stat.ticks as f64).sum::<f64>() / TICKS)
}

/// Memory in KiB: what is its own, and its share of what it shares with other processes.
///
/// # Errors
/// It has gone.
pub(crate) fn pss_kib(root: u32) -> Result<u64> {
    sum(root, "smaps_rollup", "Pss:")
}

/// Resident memory in KiB, of programs and libraries also what others use as well.
///
/// # Errors
/// It has gone.
pub(crate) fn rss_kib(root: u32) -> Result<u64> {
    sum(root, "status", "VmRSS:")
}

fn sum(root: u32, file: &str, field: &str) -> Result<u64> {
    field_of(root, file, field)?;
    Ok(tree(root).into_iter().filter_map(|pid| field_of(pid, file, field).ok()).sum())
}

fn field_of(pid: u32, file: &str, field: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)).with_context(|| format!("no {field}"))?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}

/// Clock ticks in a second, which is what Linux shows on every machine of ours (`getconf CLK_TCK`).
const TICKS: f64 = 100.0;

struct Stat {
    parent: u32,
    ticks: u64,
}

fn stat(pid: u32) -> Result<Stat> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat"))?)
}

fn parse(text: &str) -> Result<Stat> {
    // The name stands in parentheses, and may have some itself.
    let rest = text.rsplit_once(')').context("no name")?.1;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let field = |at: usize| fields.get(at).with_context(|| format!("no field {at}"));
    Ok(Stat { parent: field(1)?.parse()?, ticks: field(11)?.parse::<u64>()? + field(12)?.parse::<u64>()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_behind_whatever_name_a_program_has() {
        let stat = parse("7 (a ) (b) S 3 7 7 0 -1 4194560 100 0 0 0 120 30 5 5 20 0 4 0 99").unwrap();
        assert_eq!((stat.parent, stat.ticks), (3, 150));
    }

    #[test]
    fn this_process_has_memory_and_is_in_its_own_tree() {
        let me = std::process::id();
        assert!(tree(me).contains(&me));
        assert!(pss_kib(me).unwrap() > 0 && rss_kib(me).unwrap() > 0);
        assert!(cpu(me).is_ok());
    }
}
