//! Writes `docs/PERFORMANCE.md` and its charts from a run, and from nothing else but the sections that people wrote.

mod chart;
mod goals;
mod table;

use std::{fmt::Write as _, fs, path::Path};

use anyhow::Result;

use self::{
    chart::{Chart, Row},
    table::{Column, per, spread, table},
};
use crate::{
    plan::What,
    results::{Family, Run, Spread, WayRow},
};

/// Sections that are not measured here, as people wrote them.
const WRITTEN: [&str; 4] = [
    include_str!("report/where-the-time-goes.md"),
    include_str!("report/over-distance.md"),
    include_str!("report/as-work-grows.md"),
    include_str!("report/what-an-attack-costs.md"),
];
const METHOD: &str = include_str!("report/method.md");
const NOT_ESTABLISHED: &str = include_str!("report/not-established.md");

/// A difference of less than this is none.
const ESTABLISHED: f64 = 1.2;

/// The report: its text, and its pictures by name.
#[derive(Debug)]
pub(crate) struct Report {
    /// `docs/PERFORMANCE.md`.
    pub(crate) text: String,
    /// `docs/images/NAME`.
    pub(crate) pictures: Vec<(String, String)>,
}

/// Writes both below `root`.
///
/// # Errors
/// The system refused.
pub(crate) fn write(run: &Run, root: &Path) -> Result<()> {
    let report = make(run)?;
    for (name, picture) in &report.pictures {
        fs::write(root.join("docs/images").join(name), picture)?;
    }
    fs::write(root.join("docs/PERFORMANCE.md"), &report.text)?;
    eprintln!("docs/PERFORMANCE.md and {} charts are written", report.pictures.len());
    Ok(())
}

/// Makes the report.
///
/// # Errors
/// Text could not be put together.
pub(crate) fn make(run: &Run) -> Result<Report> {
    let mut text = String::new();
    let mut pictures = Vec::new();
    head(&mut text, run)?;
    summary(&mut text, run)?;
    goals::write(&mut text, run)?;
    writeln!(text, "{METHOD}")?;
    machine(&mut text, run)?;
    ways(&mut text, run)?;
    for section in SECTIONS {
        write_section(&mut text, &mut pictures, run, section)?;
    }
    failures(&mut text, run)?;
    for written in WRITTEN {
        writeln!(text, "{written}")?;
    }
    write!(text, "{NOT_ESTABLISHED}")?;
    Ok(Report { text, pictures })
}

fn head(text: &mut String, run: &Run) -> Result<()> {
    writeln!(
        text,
        "# Performance\n\nWhat our programs carry and what that costs, beside other programs that do a part of the same, in one \
         run on one machine. Everything between here and [where the time goes](#where-the-time-goes) is written by one command, which \
         also installs what it measures (Debian or Ubuntu, as root):\n\n```sh\nbenches/compare\n```\n"
    )?;
    let minutes = run.seconds / 60.0;
    let rounds = match run.rounds {
        1 => "1 round".to_owned(),
        rounds => format!("the median of {rounds} rounds"),
    };
    writeln!(
        text,
        "This is {rounds}, measured on {} in {minutes:.0} minutes. ± is half of the way from the smallest to the largest of the \
         rounds. `benches/compare --report` writes this page again from what was measured, `--quick` has a look.\n",
        date(run.began)
    )?;
    if run.quick {
        writeln!(
            text,
            "**This is one short round (`--quick`), to show the shape of this page. Its figures are of no worth.**\n"
        )?;
    }
    Ok(())
}

/// What is held against what, by which figure.
struct Ratio {
    what: What,
    figure: Figure,
    ours: &'static str,
    other: &'static str,
    words: &'static str,
}

/// A figure that was measured as it is, or that comes of the processes.
#[derive(Clone, Copy)]
enum Figure {
    /// More is better.
    More(&'static str),
    /// Less is better.
    Less(&'static str),
    /// What all processes together used for each of something; less is better.
    Cost(&'static str),
}

impl Figure {
    fn of(self, run: &Run, way: &str, what: What) -> Option<f64> {
        match self {
            Self::More(name) | Self::Less(name) => Some(run.spread(way, what, name)?.median),
            Self::Cost(unit) => per(run, way, what, unit).map(|spread| spread.median),
        }
    }
}

const RATIOS: &[Ratio] = &[
    ratio("tunnel", "rathole", What::OneDown, Figure::More("gbit"), "Gbit/s, 1 stream down"),
    ratio("tunnel", "rathole", What::EightDown, Figure::More("gbit"), "Gbit/s, 8 streams down"),
    ratio("tunnel", "rathole", What::OneDown, Figure::Cost("gigabytes"), "CPU per GB, 1 stream down"),
    ratio("tunnel", "ssh", What::OneDown, Figure::More("gbit"), "Gbit/s, 1 stream down"),
    ratio("tunnel", "ssh", What::EightDown, Figure::More("gbit"), "Gbit/s, 8 streams down"),
    ratio("tunnel", "ssh", What::OneDown, Figure::Cost("gigabytes"), "CPU per GB, 1 stream down"),
    ratio("tunnel", "stunnel", What::OneDown, Figure::More("gbit"), "Gbit/s, 1 stream down"),
    ratio("tunnel", "stunnel", What::EightDown, Figure::More("gbit"), "Gbit/s, 8 streams down"),
    ratio("tunnel", "haproxy", What::OneDown, Figure::More("gbit"), "Gbit/s, 1 stream down"),
    ratio("tunnel", "haproxy", What::EightDown, Figure::More("gbit"), "Gbit/s, 8 streams down"),
    ratio("tunnel", "bore", What::OneDown, Figure::More("gbit"), "Gbit/s, 1 stream down (bore encrypts nothing)"),
    ratio("tunnel", "rathole", What::Echo, Figure::Less("p50_us"), "echo, median"),
    ratio(
        "tunnel-1",
        "ssh",
        What::Beside,
        Figure::Less("p50_us"),
        "echo beside a bulk stream, median (both share one)",
    ),
    ratio("tunnel", "rathole", What::Beside, Figure::Less("p50_us"), "echo beside a bulk stream, median"),
    ratio("tunnel", "rathole", What::Connect, Figure::More("per_second"), "new connections/s"),
    ratio("tunnel", "ssh", What::Connect, Figure::More("per_second"), "new connections/s"),
    ratio("tunnel", "rathole", What::Idle, Figure::Less("kib_each"), "memory of an idle connection"),
    ratio("access", "rathole", What::OneDown, Figure::More("gbit"), "Gbit/s, 1 stream down (two legs beside one)"),
    ratio("access", "haproxy", What::OneDown, Figure::More("gbit"), "Gbit/s, 1 stream down (two legs beside one)"),
    ratio("access", "rathole", What::Echo, Figure::Less("p50_us"), "echo, median (two legs beside one)"),
    ratio("access", "rathole", What::Connect, Figure::More("per_second"), "new connections/s (two legs beside one)"),
    ratio("https", "haproxy-rathole", What::Small, Figure::More("per_second"), "requests/s, 1 KiB"),
    ratio("https", "haproxy-rathole", What::Small, Figure::Cost("millions"), "CPU of a request, 1 KiB"),
    ratio("https", "haproxy-rathole", What::Large, Figure::More("gbit"), "Gbit/s, 1 MiB"),
    ratio("https", "haproxy-rathole", What::Large, Figure::Cost("gigabytes"), "CPU per GB, 1 MiB"),
    ratio(
        "https",
        "nginx-proxy",
        What::Small,
        Figure::More("per_second"),
        "requests/s, 1 KiB (nginx: no tunnel behind)",
    ),
    ratio("https", "nginx-proxy", What::Large, Figure::More("gbit"), "Gbit/s, 1 MiB (nginx: no tunnel behind)"),
    ratio(
        "https",
        "haproxy-proxy",
        What::Small,
        Figure::More("per_second"),
        "requests/s, 1 KiB (haproxy: no tunnel behind)",
    ),
];

const fn ratio(ours: &'static str, other: &'static str, what: What, figure: Figure, words: &'static str) -> Ratio {
    Ratio { what, figure, ours, other, words }
}

/// How many times better the first is, and in words.
fn verdict(times: f64) -> String {
    match times {
        _ if times >= ESTABLISHED => format!("{times:.2} times better"),
        _ if times <= 1.0 / ESTABLISHED => format!("{:.2} times **worse**", 1.0 / times),
        _ => format!("no difference established ({times:.2})"),
    }
}

fn summary(text: &mut String, run: &Run) -> Result<()> {
    writeln!(text, "## In short\n\n| Ours | beside | | ours is |\n|---|---|---|---|")?;
    for ratio in RATIOS {
        let title = |id: &str| run.ways.iter().find(|way| way.id == id).map(|way| way.title.clone());
        let (Some(ours), Some(other)) = (title(ratio.ours), title(ratio.other)) else { continue };
        let figure = |way| ratio.figure.of(run, way, ratio.what).filter(|value| *value > 0.0);
        let shown = match (figure(ratio.ours), figure(ratio.other)) {
            (Some(mine), Some(its)) => verdict(match ratio.figure {
                Figure::More(_) => mine / its,
                Figure::Less(_) | Figure::Cost(_) => its / mine,
            }),
            _ => "not measured".to_owned(),
        };
        writeln!(text, "| {ours} | {other} | {} | {shown} |", ratio.words)?;
    }
    writeln!(text, "\nLess than {ESTABLISHED} times is taken for no difference.\n")?;
    Ok(())
}

fn machine(text: &mut String, run: &Run) -> Result<()> {
    let machine = &run.machine;
    writeln!(
        text,
        "## Machine and versions\n\n{} cores of {}, {:.0} GiB, {}, Linux {}. In the minute before, {:.1} processes wanted a core on \
         average.\n\n| Program | Version |\n|---|---|",
        machine.cores, machine.processor, machine.memory_gib, machine.system, machine.kernel, machine.load
    )?;
    for (name, version) in &run.versions {
        writeln!(text, "| {name} | {version} |")?;
    }
    writeln!(text)?;
    Ok(())
}

fn ways(text: &mut String, run: &Run) -> Result<()> {
    writeln!(
        text,
        "## What is compared\n\n| Way | What it is | Protected by | Connections share one |\n|---|---|---|---|"
    )?;
    for way in &run.ways {
        writeln!(text, "| {} | {} | {} | {} |", bold(way), way.about, way.protected, way.shared)?;
    }
    writeln!(text)?;
    Ok(())
}

fn bold(way: &WayRow) -> String {
    if way.family == Family::Ours { format!("**{}**", way.title) } else { way.title.clone() }
}

/// A part of the report: a chart and a table.
struct Section {
    title: &'static str,
    words: &'static str,
    picture: &'static str,
    /// What the chart says, and which way is better.
    caption: &'static str,
    /// Bars of each way: name and where the figure comes from. With one name for the parts of processes, they are stacked.
    bars: &'static [(&'static str, Bar)],
    columns: &'static [(&'static str, Column)],
    /// Whether a table of processes follows, of what and by which unit.
    processes: &'static [(&'static str, What, Option<&'static str>)],
}

#[derive(Clone, Copy)]
enum Bar {
    Figure(What, &'static str),
    /// All processes, one behind the other.
    Processes(What, &'static str),
}

const SECTIONS: &[Section] = &[
    Section {
        title: "Throughput",
        words: "Gbit/s of all streams together; up is to the service. Client, service and everything between share the machine's cores.",
        picture: "compare-throughput.svg",
        caption: "Throughput in Gbit/s (longer is better)",
        bars: &[
            ("1 stream up", Bar::Figure(What::OneUp, "gbit")),
            ("1 stream down", Bar::Figure(What::OneDown, "gbit")),
            ("8 streams up", Bar::Figure(What::EightUp, "gbit")),
            ("8 streams down", Bar::Figure(What::EightDown, "gbit")),
        ],
        columns: &[
            ("1 up", Column::Figure(What::OneUp, "gbit", 1.0)),
            ("1 down", Column::Figure(What::OneDown, "gbit", 1.0)),
            ("8 up", Column::Figure(What::EightUp, "gbit", 1.0)),
            ("8 down", Column::Figure(What::EightDown, "gbit", 1.0)),
        ],
        processes: &[],
    },
    Section {
        title: "Processor time",
        words: "CPU seconds that the programs in between take for a gigabyte, the load and the service not counted: what does not depend on \
                how many cores there are.",
        picture: "compare-cpu.svg",
        caption: "CPU seconds for a GB, 1 stream down, by process (shorter is better)",
        bars: &[("", Bar::Processes(What::OneDown, "gigabytes"))],
        columns: &[
            ("1 up", Column::Per(What::OneUp, "gigabytes", 1.0)),
            ("1 down", Column::Per(What::OneDown, "gigabytes", 1.0)),
            ("8 up", Column::Per(What::EightUp, "gigabytes", 1.0)),
            ("8 down", Column::Per(What::EightDown, "gigabytes", 1.0)),
        ],
        processes: &[
            ("1 up", What::OneUp, Some("gigabytes")),
            ("1 down", What::OneDown, Some("gigabytes")),
            ("8 up", What::EightUp, Some("gigabytes")),
            ("8 down", What::EightDown, Some("gigabytes")),
        ],
    },
    Section {
        title: "HTTPS",
        words: "wrk with one thread, HTTP/1.1, connections that are kept: 64 of them for 1 KiB, 16 for 1 MiB. CPU time of the programs in \
                between, as above; the web server behind is not counted, and where it stands alone it is.",
        picture: "compare-https.svg",
        caption: "Requests in a second, 1 KiB (longer is better)",
        bars: &[("1 KiB", Bar::Figure(What::Small, "per_second"))],
        columns: &[
            ("1 KiB: req/s", Column::Figure(What::Small, "per_second", 1.0)),
            ("p50 ms", Column::Figure(What::Small, "p50_us", 1e-3)),
            ("p99 ms", Column::Figure(What::Small, "p99_us", 1e-3)),
            ("CPU µs each", Column::Per(What::Small, "millions", 1.0)),
            ("1 MiB: Gbit/s", Column::Figure(What::Large, "gbit", 1.0)),
            ("p50 ms", Column::Figure(What::Large, "p50_us", 1e-3)),
            ("p99 ms", Column::Figure(What::Large, "p99_us", 1e-3)),
            ("CPU s/GB", Column::Per(What::Large, "gigabytes", 1.0)),
            ("errors", Column::Sum(&[What::Small, What::Large], "errors")),
        ],
        processes: &[
            ("1 KiB, CPU µs each", What::Small, Some("millions")),
            ("1 MiB, CPU s/GB", What::Large, Some("gigabytes")),
        ],
    },
    Section {
        title: "Latency",
        words: "A byte there and back, one after the other, in µs: while nothing else happens, and beside a connection through the same port \
                that downloads as much as it can. Where all connections share one link, the byte has to pass what waits there; ways that give \
                each connection a link of its own share only the cores. Ours spread over several links, so they are measured with one, too.",
        picture: "compare-latency.svg",
        caption: "Echo beside a bulk stream, µs (shorter is better)",
        bars: &[
            ("median", Bar::Figure(What::Beside, "p50_us")),
            ("99th percentile", Bar::Figure(What::Beside, "p99_us")),
        ],
        columns: &[
            ("idle: p50 µs", Column::Figure(What::Echo, "p50_us", 1.0)),
            ("p99 µs", Column::Figure(What::Echo, "p99_us", 1.0)),
            ("beside bulk: p50 µs", Column::Figure(What::Beside, "p50_us", 1.0)),
            ("p99 µs", Column::Figure(What::Beside, "p99_us", 1.0)),
            ("the bulk's Gbit/s", Column::Figure(What::Beside, "gbit", 1.0)),
        ],
        processes: &[],
    },
    Section {
        title: "New connections",
        words: "Connections that are opened, carry a byte there and back and are closed, 16 at once.",
        picture: "compare-connections.svg",
        caption: "New connections in a second (longer is better)",
        bars: &[("", Bar::Figure(What::Connect, "per_second"))],
        columns: &[
            ("per second", Column::Figure(What::Connect, "per_second", 1.0)),
            ("CPU µs each", Column::Per(What::Connect, "millions", 1.0)),
            ("failed", Column::Sum(&[What::Connect], "failed")),
        ],
        processes: &[],
    },
    Section {
        title: "Memory",
        words: "Of an idle connection: what all programs together have more (Pss) while connections are open that each carried one byte, \
                divided by how many are. Resident: each process as it serves and before it carried anything but the check (RSS, which \
                counts libraries that others use as well).",
        picture: "compare-memory.svg",
        caption: "KiB for an idle connection (shorter is better)",
        bars: &[("", Bar::Figure(What::Idle, "kib_each"))],
        columns: &[
            ("KiB each", Column::Figure(What::Idle, "kib_each", 1.0)),
            ("open", Column::Figure(What::Idle, "open", 1.0)),
            ("of", Column::Figure(What::Idle, "wanted", 1.0)),
            ("resident in all, MiB", Column::Figure(What::Resident, "rss_kib", 1.0 / 1024.0)),
        ],
        processes: &[("idle connection, KiB", What::Idle, None), ("resident, KiB", What::Resident, None)],
    },
];

fn write_section(text: &mut String, pictures: &mut Vec<(String, String)>, run: &Run, section: &Section) -> Result<()> {
    writeln!(text, "## {}\n\n{}\n", section.title, section.words)?;
    let rows = rows(run, section);
    let series: Vec<String> = match section.bars {
        [(_, Bar::Processes(..))] => Vec::new(),
        bars => bars.iter().map(|(name, _)| (*name).to_owned()).collect(),
    };
    let chart = Chart { title: section.caption.to_owned(), series, rows };
    writeln!(text, "<img src=\"images/{}\" alt=\"{}\" width=\"840\">\n", section.picture, chart.in_words())?;
    pictures.push((section.picture.to_owned(), chart.svg()));
    text.push_str(&table(run, "Way", section.columns));
    if !section.processes.is_empty() {
        text.push_str(&table::processes(run, section.processes));
    }
    Ok(())
}

/// The ways that have anything of a chart.
fn rows(run: &Run, section: &Section) -> Vec<Row> {
    let row = |way: &WayRow| {
        let mut parts = Vec::new();
        let values = section.bars.iter().map(|(_, bar)| match bar {
            Bar::Figure(what, figure) => spread(run, &way.id, *what, figure),
            Bar::Processes(what, unit) => {
                parts = run.parts(&way.id, *what, Some(unit));
                per(run, &way.id, *what, unit)
            }
        });
        let values: Vec<Option<Spread>> = values.collect();
        let any = values.iter().flatten().next().is_some();
        any.then(|| Row { title: way.title.clone(), family: way.family, values, parts })
    };
    run.ways.iter().filter_map(row).collect()
}

fn failures(text: &mut String, run: &Run) -> Result<()> {
    writeln!(text, "## What could not be measured\n")?;
    if run.failures.is_empty() {
        writeln!(text, "Nothing: every way was measured in every round.\n")?;
        return Ok(());
    }
    writeln!(text, "| Way | What | Round | Why |\n|---|---|---|---|")?;
    for failure in &run.failures {
        let title = run.ways.iter().find(|way| way.id == failure.way).map_or(&failure.way, |way| &way.title);
        let what = failure.what.map_or("everything: it did not come up", What::words);
        let why = failure.error.replace('|', "/").replace('\n', " ");
        let why: String = why.chars().take(300).collect();
        writeln!(text, "| {title} | {what} | {} | {why} |", failure.round)?;
    }
    writeln!(text)?;
    Ok(())
}

/// The day of a time in seconds since 1970 (civil-from-days, by Howard Hinnant).
fn date(time: u64) -> String {
    let days = time / 86_400 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    format!("{}-{month:02}-{day:02}", year + era * 400 + u64::from(month <= 2))
}

#[cfg(test)]
mod tests;
