//! Goes through the ways, round by round, and says what it does.

use std::{
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use anyhow::Result;

use crate::{
    machine,
    measure::measure,
    plan::{Plan, What},
    results::{Failure, Run, Sample},
    ways::{System, Tools, Way},
};

/// Measures all `ways`; what is there is kept in `file` after each.
///
/// # Errors
/// It cannot be kept. A way that cannot be measured is a [`Failure`] and not an error.
pub(crate) async fn run(ways: &[Way], tools: &Tools, plan: Plan, quick: bool, file: &Path) -> Result<Run> {
    let mut run = Run {
        began: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs(),
        seconds: 0.0,
        quick,
        rounds: plan.rounds,
        machine: machine::machine(),
        versions: machine::versions(tools),
        ways: ways.iter().map(|way| way.row.clone()).collect(),
        samples: Vec::new(),
        failures: Vec::new(),
    };
    let mut progress = Progress::begin(ways, plan);
    for round in 1..=plan.rounds {
        for at in 0..ways.len() {
            // Each round begins with another way, so that none always comes after the same one.
            let Some(way) = ways.get((at + round as usize - 1) % ways.len()) else { continue };
            one(way, tools, plan, round, &mut run, &progress).await;
            progress.done(way);
            run.seconds = progress.begun.elapsed().as_secs_f64();
            run.write(file)?;
        }
    }
    Ok(run)
}

async fn one(way: &Way, tools: &Tools, plan: Plan, round: u32, run: &mut Run, progress: &Progress) {
    let mut failed = |what, error: anyhow::Error| {
        progress.say(round, way, what, &format!("FAILED: {error:#}"));
        run.failures.push(Failure { round, way: way.row.id.clone(), what, error: format!("{error:#}") });
    };
    let mut system = match System::start(way, tools).await {
        Ok(system) => system,
        Err(error) => return failed(None, error),
    };
    for what in way.what.iter().copied() {
        match measure(&mut system, what, plan).await {
            Ok((figures, parts)) => {
                // These are only what others are divided by.
                let told = figures.iter().filter(|(name, _)| !["gigabytes", "millions"].contains(&&***name));
                let shown: Vec<_> = told.map(|(name, value)| format!("{name} {}", short(*value))).collect();
                progress.say(round, way, Some(what), &shown.join(", "));
                run.samples.push(Sample { round, way: way.row.id.clone(), what, figures, parts });
            }
            Err(error) => failed(Some(what), error),
        }
    }
}

fn short(value: f64) -> String {
    if value.abs() < 100.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}

/// How far it has come.
#[derive(Debug)]
struct Progress {
    begun: Instant,
    rounds: u32,
    whole: Duration,
    expected: Duration,
    plan: Plan,
}

impl Progress {
    fn begin(ways: &[Way], plan: Plan) -> Self {
        let round: Duration = ways.iter().map(|way| plan.expected(&way.what)).sum();
        Self { begun: Instant::now(), rounds: plan.rounds, whole: round * plan.rounds, expected: Duration::ZERO, plan }
    }

    fn done(&mut self, way: &Way) {
        self.expected += self.plan.expected(&way.what);
    }

    /// How much longer it takes, if it goes on as it went so far.
    fn left(&self) -> Duration {
        let left = self.whole.saturating_sub(self.expected);
        match self.expected.as_secs_f64() {
            0.0 => left,
            expected => left.mul_f64((self.begun.elapsed().as_secs_f64() / expected).clamp(0.5, 4.0)),
        }
    }

    fn say(&self, round: u32, way: &Way, what: Option<What>, said: &str) {
        eprintln!(
            "[{:4}s] round {round} of {}, about {} min left: {}, {}: {said}",
            self.begun.elapsed().as_secs(),
            self.rounds,
            self.left().as_secs().div_ceil(60),
            way.row.title,
            what.map_or("starting", What::words),
        );
    }
}
