//! What was measured, as tables and as JSON.

use std::{fmt, path::Path};

use anyhow::Result;
use serde::Serialize;

/// Everything that was measured.
#[derive(Serialize)]
pub(crate) struct Report {
    quick: bool,
    cores: usize,
    parts: Vec<Part>,
}

/// One thing of which there were more and more.
#[derive(Serialize)]
pub(crate) struct Part {
    name: &'static str,
    title: &'static str,
    columns: Vec<Column>,
    rows: Vec<Row>,
    notes: Vec<String>,
}

/// A figure, of which there is one for each number of things.
#[derive(Clone, Serialize)]
struct Column {
    title: &'static str,
    unit: &'static str,
    /// What it may be at most, with however many.
    most: Option<f64>,
}

#[derive(Serialize)]
struct Row {
    count: usize,
    figures: Vec<Option<f64>>,
}

impl Report {
    pub(crate) fn begin(quick: bool) -> Self {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        Self { quick, cores, parts: Vec::new() }
    }

    pub(crate) fn add(&mut self, part: Part) {
        crate::say(format!("{}:\n{part}", part.name));
        self.parts.push(part);
    }

    /// Writes one file for each part, and the tables as they stand in a document.
    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        std::fs::create_dir_all(dir)?;
        std::fs::write(dir.join("tables.md"), self.to_string())?;
        for part in &self.parts {
            let written = serde_json::json!({ "quick": self.quick, "cores": self.cores, "part": part });
            std::fs::write(dir.join(format!("{}.json", part.name)), serde_json::to_string_pretty(&written)?)?;
        }
        Ok(())
    }
}

impl Part {
    pub(crate) fn new(name: &'static str, title: &'static str, columns: &[(&'static str, &'static str)]) -> Self {
        let columns = columns.iter().map(|(title, unit)| Column { title, unit, most: None }).collect();
        Self { name, title, columns, rows: Vec::new(), notes: Vec::new() }
    }

    /// What a figure may be at most.
    pub(crate) fn at_most(mut self, title: &str, most: f64) -> Self {
        self.columns.iter_mut().filter(|column| column.title == title).for_each(|column| column.most = Some(most));
        self
    }

    pub(crate) fn row(&mut self, count: usize, figures: Vec<Option<f64>>) {
        self.rows.push(Row { count, figures });
    }

    pub(crate) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// By how much a figure grows from the fewest to the most: for each thing, and for ten times as many.
    fn slope(&self, column: usize) -> Option<(f64, f64)> {
        let figure = |row: &Row| Some((row.count as f64, row.figures.get(column).copied().flatten()?));
        let (first, last) = (self.rows.iter().find_map(figure)?, self.rows.iter().rev().find_map(figure)?);
        let (more, grown) = (last.0 - first.0, last.1 - first.1);
        (more > 0.0).then(|| (grown / more, grown / (last.0.max(1.0) / first.0.max(1.0)).log10()))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "On {} cores, every program beside the others:", self.cores)?;
        self.parts.iter().try_for_each(|part| writeln!(f, "\n### {}\n\n{part}", part.title))
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| figure |")?;
        self.rows.iter().try_for_each(|row| write!(f, " {} |", thousands(row.count)))?;
        writeln!(f, " each one more | ten times as many | at most |")?;
        writeln!(f, "|---|{}", "---:|".repeat(self.rows.len() + 3))?;
        for (at, column) in self.columns.iter().enumerate() {
            write!(f, "| {}, {} |", column.title, column.unit)?;
            for row in &self.rows {
                match row.figures.get(at).copied().flatten() {
                    Some(figure) => write!(f, " {} |", short(figure))?,
                    None => write!(f, " |")?,
                }
            }
            match self.slope(at) {
                Some((each, tenfold)) => write!(f, " {} | {} |", signed(each), signed(tenfold))?,
                None => write!(f, " | |")?,
            }
            writeln!(f, " {} |", column.most.map(short).unwrap_or_default())?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "\n{note}"))
    }
}

fn thousands(count: usize) -> String {
    if count < 1000 { count.to_string() } else { format!("{},{:03}", count / 1000, count % 1000) }
}

/// Three figures that count.
fn short(figure: f64) -> String {
    match figure.abs() {
        0.0 => "0".to_owned(),
        size if size >= 100.0 => format!("{figure:.0}"),
        size if size >= 10.0 => format!("{figure:.1}"),
        size if size >= 0.1 => format!("{figure:.2}"),
        size if size >= 0.001 => format!("{figure:.4}"),
        _ => format!("{figure:.1e}"),
    }
}

fn signed(figure: f64) -> String {
    format!("{}{}", if figure > 0.0 { "+" } else { "" }, short(figure))
}
