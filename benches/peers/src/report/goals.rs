//! What was aimed at, and how far it was reached.

use std::fmt::Write as _;

use anyhow::Result;

use super::{Figure, table::number};
use crate::{plan::What, results::Run};

/// Something that was aimed at: a figure of a way, alone or held against that of another way.
struct Goal {
    words: &'static str,
    way: &'static str,
    what: What,
    figure: Figure,
    bound: Bound,
}

#[derive(Clone, Copy)]
enum Bound {
    /// So many times better than the other way, at least.
    Times(&'static str, f64),
    /// The figure itself, which is multiplied by the second number first.
    Itself(f64, f64),
    /// The same of one process.
    Of(&'static str, f64, f64),
    /// The same of some processes together.
    Together(&'static [&'static str], f64),
}

const GOALS: &[Goal] = &[
    goal("1 stream down, Gbit/s: times rathole's", "tunnel", What::OneDown, GBIT, Bound::Times("rathole", 1.8)),
    goal(
        "1 stream down, CPU per GB: times less than rathole's",
        "tunnel",
        What::OneDown,
        CPU,
        Bound::Times("rathole", 2.0),
    ),
    goal("1 stream down, Gbit/s: times ssh's", "tunnel", What::OneDown, GBIT, Bound::Times("ssh", 1.0)),
    goal(
        "1 stream down, Gbit/s: times the haproxy pair's",
        "tunnel",
        What::OneDown,
        GBIT,
        Bound::Times("haproxy", 1.0),
    ),
    goal("8 streams down, Gbit/s: times ssh's", "tunnel", What::EightDown, GBIT, Bound::Times("ssh", 1.0)),
    goal(
        "8 streams down, Gbit/s: times the haproxy pair's",
        "tunnel",
        What::EightDown,
        GBIT,
        Bound::Times("haproxy", 1.0),
    ),
    goal("1 stream down, CPU s/GB", "access", What::OneDown, CPU, Bound::Itself(3.1, 1.0)),
    goal("8 streams down, CPU s/GB", "access", What::EightDown, CPU, Bound::Itself(3.1, 1.0)),
    goal("1 stream down, Gbit/s: times rathole's one leg", "access", What::OneDown, GBIT, Bound::Times("rathole", 1.0)),
    goal(
        "8 streams down, Gbit/s: times rathole's one leg",
        "access",
        What::EightDown,
        GBIT,
        Bound::Times("rathole", 1.0),
    ),
    goal("1 KiB, requests/s", "https", What::Small, SECOND, Bound::Itself(15_000.0, 1.0)),
    goal(
        "1 KiB, requests/s: times nginx' without a tunnel",
        "https",
        What::Small,
        SECOND,
        Bound::Times("nginx-proxy", 1.0),
    ),
    goal(
        "1 KiB, requests/s: times haproxy's without a tunnel",
        "https",
        What::Small,
        SECOND,
        Bound::Times("haproxy-proxy", 1.0),
    ),
    goal(
        "1 KiB, requests/s: times haproxy + rathole's",
        "https",
        What::Small,
        SECOND,
        Bound::Times("haproxy-rathole", 2.2),
    ),
    goal("1 MiB, Gbit/s: times haproxy + rathole's", "https", What::Large, GBIT, Bound::Times("haproxy-rathole", 2.0)),
    goal("an echo alone, p50, µs", "access", What::Echo, P50, Bound::Itself(100.0, 1.0)),
    goal(
        "an echo beside a download in the same link, p50, ms",
        "access-1",
        What::Beside,
        P50,
        Bound::Itself(1.0, 1e-3),
    ),
    goal(
        "an echo beside a download in the same link, p99, ms",
        "access-1",
        What::Beside,
        P99,
        Bound::Itself(3.0, 1e-3),
    ),
    goal("new connections/s", "tunnel", What::Connect, SECOND, Bound::Itself(4000.0, 1.0)),
    goal("new connections/s", "access", What::Connect, SECOND, Bound::Itself(4000.0, 1.0)),
    goal(
        "memory of an idle connection, edge and connector, KiB",
        "access",
        What::Idle,
        KIB,
        Bound::Together(&["edge", "connector"], 20.0),
    ),
    goal("the edge, resident, MiB", "access", What::Resident, KIB, Bound::Of("edge", 25.0, 1.0 / 1024.0)),
    goal("the connector, resident, MiB", "access", What::Resident, KIB, Bound::Of("connector", 25.0, 1.0 / 1024.0)),
];
const GBIT: Figure = Figure::More("gbit");
const SECOND: Figure = Figure::More("per_second");
const CPU: Figure = Figure::Cost("gigabytes");
const P50: Figure = Figure::Less("p50_us");
const P99: Figure = Figure::Less("p99_us");
const KIB: Figure = Figure::Less("kib_each");

const fn goal(words: &'static str, way: &'static str, what: What, figure: Figure, bound: Bound) -> Goal {
    Goal { words, way, what, figure, bound }
}

impl Goal {
    fn is_more_better(&self) -> bool {
        matches!((self.figure, self.bound), (Figure::More(_), _) | (_, Bound::Times(..)))
    }

    fn aim(&self) -> f64 {
        match self.bound {
            Bound::Times(_, aim) | Bound::Itself(aim, _) | Bound::Of(_, aim, _) | Bound::Together(_, aim) => aim,
        }
    }

    fn reached(&self, run: &Run) -> Option<f64> {
        let of = |way| self.figure.of(run, way, self.what).filter(|value| *value > 0.0);
        let parts = |names: &[&str]| {
            let parts = run.parts(self.way, self.what, None);
            let of_them = parts.iter().filter(|part| names.contains(&&*part.name)).map(|part| part.value);
            Some(of_them.sum()).filter(|sum: &f64| *sum > 0.0)
        };
        match self.bound {
            Bound::Times(other, _) => {
                let (mine, its) = (of(self.way)?, of(other)?);
                Some(if matches!(self.figure, Figure::More(_)) { mine / its } else { its / mine })
            }
            Bound::Itself(_, by) => Some(of(self.way)? * by),
            Bound::Of(name, _, by) => Some(parts(&[name])? * by),
            Bound::Together(names, _) => parts(names),
        }
    }
}

/// A row for each.
pub(super) fn write(text: &mut String, run: &Run) -> Result<()> {
    writeln!(text, "## What was aimed at\n\n| Way | What | aim | here | |\n|---|---|---:|---:|---|")?;
    for goal in GOALS {
        let Some(way) = run.ways.iter().find(|way| way.id == goal.way) else { continue };
        let (sign, reached) = (if goal.is_more_better() { "≥" } else { "≤" }, goal.reached(run));
        let verdict = match reached {
            Some(reached) if (reached >= goal.aim()) == goal.is_more_better() => "reached",
            Some(_) => "**missed**",
            None => "not measured",
        };
        let shown = reached.map_or_else(|| "–".to_owned(), number);
        writeln!(text, "| {} | {} | {sign} {} | {shown} | {verdict} |", way.title, goal.words, number(goal.aim()))?;
    }
    writeln!(
        text,
        "\nWhat was aimed at over distances, and what of that is missed, stands [there](#over-distance).\n"
    )?;
    Ok(())
}
