//! Tables, in Markdown.

use crate::{
    plan::What,
    results::{Run, Spread, WayRow},
};

/// Where the figures of a column come from; the number is by what they are multiplied.
#[derive(Clone, Copy)]
pub(super) enum Column {
    /// Measured as they are.
    Figure(What, &'static str, f64),
    /// What all processes used, for each of a unit.
    Per(What, &'static str, f64),
    /// All rounds together.
    Sum(&'static [What], &'static str),
}

impl Column {
    fn show(self, run: &Run, way: &WayRow) -> Option<String> {
        match self {
            Self::Figure(what, figure, by) => show(spread(run, &way.id, what, figure)?, by),
            Self::Per(what, unit, by) => show(per(run, &way.id, what, unit)?, by),
            Self::Sum(whats, figure) => {
                let of_it = run.samples.iter().filter(|one| one.way == way.id && whats.contains(&one.what));
                let all: Vec<f64> = of_it.filter_map(|one| one.figures.get(figure).copied()).collect();
                (!all.is_empty()).then(|| format!("{:.0}", all.iter().sum::<f64>()))
            }
        }
    }
}

/// A figure of a way, of all rounds.
pub(super) fn spread(run: &Run, way: &str, what: What, figure: &str) -> Option<Spread> {
    run.spread(way, what, figure)
}

/// What all processes of a way used together for each of a unit, if there are any.
pub(super) fn per(run: &Run, way: &str, what: What, unit: &str) -> Option<Spread> {
    let of_it = run.samples.iter().filter(|one| one.way == way && one.what == what && !one.parts.is_empty());
    let each = |one: &crate::results::Sample| {
        let divisor = one.figures.get(unit).copied().filter(|divisor| *divisor > 0.0)?;
        Some(one.parts.iter().map(|part| part.value).sum::<f64>() / divisor)
    };
    Spread::of(of_it.filter_map(each).collect())
}

fn show(spread: Spread, by: f64) -> Option<String> {
    let (median, half) = (spread.median * by, (spread.most - spread.least) / 2.0 * by);
    let digits = digits(median);
    // One round says nothing about how much they differ.
    let single = (spread.most - spread.least).abs() < f64::EPSILON;
    Some(if single { number(median) } else { format!("{} ± {half:.digits$}", number(median)) })
}

/// Digits behind the point, for three that count.
fn digits(value: f64) -> usize {
    match value.abs() {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    }
}

/// With three digits that count, and thousands apart.
pub(super) fn number(value: f64) -> String {
    let text = format!("{value:.*}", digits(value));
    let (whole, rest) = text.split_once('.').map_or((&*text, None), |(whole, rest)| (whole, Some(rest)));
    let mut apart = String::new();
    for (at, digit) in whole.chars().enumerate() {
        let left = whole.len() - at;
        if at > 0 && left % 3 == 0 && digit.is_ascii_digit() && !apart.ends_with('-') {
            apart.push(',');
        }
        apart.push(digit);
    }
    rest.map_or(apart.clone(), |rest| format!("{apart}.{rest}"))
}

/// A row for each way that has anything of it; what is missing shows a dash.
pub(super) fn table(run: &Run, first: &str, columns: &[(&str, Column)]) -> String {
    let mut text = format!("| {first} |");
    for (name, _) in columns {
        text += &format!(" {name} |");
    }
    text += &format!("\n|---|{}\n", "---:|".repeat(columns.len()));
    for way in &run.ways {
        let cells: Vec<_> = columns.iter().map(|(_, column)| column.show(run, way)).collect();
        if cells.iter().all(Option::is_none) {
            continue;
        }
        text += &format!("| {} |", super::bold(way));
        for cell in cells {
            text += &format!(" {} |", cell.as_deref().unwrap_or("–"));
        }
        text.push('\n');
    }
    text.push('\n');
    text
}

/// The same by process, medians.
pub(super) fn processes(run: &Run, columns: &[(&str, What, Option<&str>)]) -> String {
    let mut text = String::from("By process:\n\n| Way | Process |");
    for (name, _, _) in columns {
        text += &format!(" {name} |");
    }
    text += &format!("\n|---|---|{}\n", "---:|".repeat(columns.len()));
    for way in &run.ways {
        let by_column: Vec<_> = columns.iter().map(|(_, what, unit)| run.parts(&way.id, *what, *unit)).collect();
        let mut names: Vec<&str> = Vec::new();
        for part in by_column.iter().flatten() {
            if !names.contains(&&*part.name) {
                names.push(&part.name);
            }
        }
        for name in names {
            text += &format!("| {} | {name} |", super::bold(way));
            for parts in &by_column {
                let value = parts.iter().find(|part| part.name == name).map(|part| number(part.value));
                text += &format!(" {} |", value.unwrap_or_else(|| "–".into()));
            }
            text.push('\n');
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_that_count() {
        for (value, text) in [
            (0.0, "0.00"),
            (3.456, "3.46"),
            (34.56, "34.6"),
            (345.6, "346"),
            (12_345.6, "12,346"),
            (-1234.0, "-1,234"),
            (-0.5, "-0.50"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
