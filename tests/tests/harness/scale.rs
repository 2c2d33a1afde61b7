//! The program that measures how cost grows: it works, and what one more of everything takes is bounded. No time is judged.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::{process::Command, time::timeout};
use tunnel_tests::{process::program, run};

/// The small form takes half a minute where nothing else goes on.
const PATIENCE: Duration = Duration::from_secs(180);
/// Figures that are memory of one thing, and what they may be in KiB: four times what they are to be, for a few things only are
/// measured, by programs that are not optimised.
const MOST: [(&str, &str, f64); 4] = [
    ("connectors", "memory of an idle link at the edge", 256.0),
    ("streams", "memory of an idle stream at the edge", 160.0),
    ("idle", "memory of one, edge and connector", 160.0),
    ("https", "memory of one at the edge", 320.0),
];

/// The figures of a part with the most things, by title.
fn last_row(text: &str) -> Result<BTreeMap<String, f64>> {
    let told: Value = serde_json::from_str(text)?;
    let columns = told["part"]["columns"].as_array().context("columns")?;
    let row = told["part"]["rows"].as_array().and_then(|rows| rows.last()).context("rows")?;
    let figures = row["figures"].as_array().context("figures")?;
    let named = columns
        .iter()
        .zip(figures)
        .filter_map(|(column, figure)| Some((column["title"].as_str()?.to_owned(), figure.as_f64()?)));
    Ok(named.collect())
}

#[test]
fn what_measures_how_cost_grows_works_and_one_more_of_anything_takes_little_memory() {
    run("scale", async |lab| {
        let (out, mut command) = (lab.path("scale"), Command::new(program("scale")?));
        command.arg("--quick").arg("--out").arg(&out).kill_on_drop(true);
        let output = timeout(PATIENCE, command.output()).await.context("it does not end")??;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{said}");
        let tables = String::from_utf8(output.stdout)?;
        assert_eq!(tables.matches("\n### ").count(), 5, "{tables}");
        for part in ["declared", "connectors", "streams", "idle", "https"] {
            let text = std::fs::read_to_string(out.join(format!("{part}.json")))?;
            let figures = last_row(&text)?;
            assert!(figures.len() >= 3, "{part}: {text}");
            for (_, title, most) in MOST.iter().filter(|(of, ..)| *of == part) {
                let figure = figures.get(*title).with_context(|| format!("{part} has no `{title}`"))?;
                assert!(figure <= most, "{part}: {title}: {figure} KiB\n{tables}");
            }
        }
        Ok(())
    });
}
