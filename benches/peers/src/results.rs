//! What was measured, as it is kept in `target/compare`: every figure of every round, so that the report can be written again.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::plan::What;

/// One run of `benches/compare`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    /// When it began, in seconds since 1970.
    pub(crate) began: u64,
    /// How long it took, in seconds.
    pub(crate) seconds: f64,
    /// Whether it was one short round, only to have a look.
    pub(crate) quick: bool,
    /// How many rounds there were.
    pub(crate) rounds: u32,
    /// What it ran on.
    pub(crate) machine: Machine,
    /// Programs and their versions.
    pub(crate) versions: BTreeMap<String, String>,
    /// The ways, in the order of tables.
    pub(crate) ways: Vec<WayRow>,
    /// Every measurement.
    pub(crate) samples: Vec<Sample>,
    /// What could not be measured.
    pub(crate) failures: Vec<Failure>,
}

/// What a run was made on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// The processor, as it names itself.
    pub(crate) processor: String,
    /// How many of them.
    pub(crate) cores: usize,
    /// Memory in GiB.
    pub(crate) memory_gib: f64,
    /// The kernel.
    pub(crate) kernel: String,
    /// The distribution.
    pub(crate) system: String,
    /// How many processes wanted a core on average in the minute before.
    pub(crate) load: f64,
}

/// A way, as tables show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WayRow {
    /// By this samples name it.
    pub(crate) id: String,
    /// By this tables do.
    pub(crate) title: String,
    /// Whose it is.
    pub(crate) family: Family,
    /// What is measured, in a few words.
    pub(crate) about: String,
    /// What protects the bytes on the way.
    pub(crate) protected: String,
    /// Whether all connections share some, or each has its own.
    pub(crate) shared: String,
}

/// Whose a way is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Family {
    /// Nothing in between.
    Bare,
    /// Ours.
    Ours,
    /// Another program.
    Peer,
}

/// One measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Counted from 1.
    pub(crate) round: u32,
    /// The way's id.
    pub(crate) way: String,
    /// What was measured.
    pub(crate) what: What,
    /// The figures, by name; the unit is part of the name.
    pub(crate) figures: BTreeMap<String, f64>,
    /// The same by process: CPU seconds, or KiB for memory.
    pub(crate) parts: Vec<Part>,
}

/// What one process had of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// The process, as tables name it.
    pub(crate) name: String,
    /// How much.
    pub(crate) value: f64,
}

/// A measurement that there is not.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// Counted from 1.
    pub(crate) round: u32,
    /// The way's id.
    pub(crate) way: String,
    /// What should have been measured; nothing where the way could not even be set up.
    pub(crate) what: Option<What>,
    /// Why it was not.
    pub(crate) error: String,
}

impl Run {
    /// Reads one.
    ///
    /// # Errors
    /// It is not there, or is something else.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no run of this version", file.display()))
    }

    /// Keeps it.
    ///
    /// # Errors
    /// The system refused.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        Ok(fs::write(file, serde_json::to_string_pretty(self)?)?)
    }

    /// A figure of a way, of all rounds.
    pub(crate) fn spread(&self, way: &str, what: What, figure: &str) -> Option<Spread> {
        let of_it = self.samples.iter().filter(|one| one.way == way && one.what == what);
        Spread::of(of_it.filter_map(|one| one.figures.get(figure).copied()).collect())
    }

    /// What each process of a way had, for each unit of `per`, by the medians of the rounds.
    pub(crate) fn parts(&self, way: &str, what: What, per: Option<&str>) -> Vec<Part> {
        let mut all: Vec<(String, Vec<f64>)> = Vec::new();
        for one in self.samples.iter().filter(|one| one.way == way && one.what == what) {
            let Some(divisor) = per.map_or(Some(1.0), |per| one.figures.get(per).copied()) else { continue };
            for part in &one.parts {
                match all.iter_mut().find(|(name, _)| *name == part.name) {
                    Some((_, values)) => values.push(part.value / divisor),
                    None => all.push((part.name.clone(), vec![part.value / divisor])),
                }
            }
        }
        let part = |(name, values)| Some(Part { name, value: Spread::of(values)?.median });
        all.into_iter().filter_map(part).collect()
    }
}

/// A figure over the rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// The middle one.
    pub(crate) median: f64,
    /// The smallest.
    pub(crate) least: f64,
    /// The largest.
    pub(crate) most: f64,
}

impl Spread {
    /// Of some figures, if there are any.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = match values.len() {
            0 => return None,
            even if even % 2 == 0 => f64::midpoint(values[middle - 1], values[middle]),
            _ => values[middle],
        };
        Some(Self { median, least: *values.first()?, most: *values.last()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_or_between_two() {
        let of = |values: &[f64]| Spread::of(values.to_vec());
        assert_eq!(of(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, least: 1.0, most: 3.0 }));
        assert_eq!(of(&[4.0, 1.0]).map(|spread| spread.median), Some(2.5));
        assert_eq!(of(&[]), None);
    }
}
