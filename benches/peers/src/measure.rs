//! One measurement on a way that is up.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use tokio::time::timeout;

use crate::{
    plan::{Plan, SETTLE, What},
    results::Part,
    usage,
    ways::{FILES, System},
    web,
    wire::{self, Direction},
};

/// The most that one measurement may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// Figures by name, and what each process had of it.
pub(crate) type Measured = (BTreeMap<String, f64>, Vec<Part>);

/// Measures.
///
/// # Errors
/// The load failed, or a program ended.
pub(crate) async fn measure(system: &mut System, what: What, plan: Plan) -> Result<Measured> {
    let measured = timeout(PATIENCE, take(system, what, plan)).await;
    let measured = measured.with_context(|| format!("not within {PATIENCE:?}")).flatten();
    system.lives()?;
    measured
}

async fn take(system: &System, what: What, plan: Plan) -> Result<Measured> {
    let bulk = async |streams, direction| bulk(system, streams, direction, plan).await;
    match what {
        What::Resident => resident(system),
        What::Idle => idle(system, plan.idle).await,
        What::Echo => Ok((echo(wire::ping(system.door, plan.short).await?), Vec::new())),
        What::OneUp => bulk(1, Direction::Up).await,
        What::OneDown => bulk(1, Direction::Down).await,
        What::EightUp => bulk(8, Direction::Up).await,
        What::EightDown => bulk(8, Direction::Down).await,
        What::Beside => {
            let (times, carried) = wire::ping_beside_bulk(system.door, plan.short).await?;
            let mut figures = echo(times);
            figures.insert("gbit".into(), carried.gbit());
            Ok((figures, Vec::new()))
        }
        What::Connect => connect(system, plan).await,
        What::Small => http(system, 0, 64, plan),
        What::Large => http(system, 1, 16, plan),
    }
}

fn figures<const N: usize>(all: [(&str, f64); N]) -> BTreeMap<String, f64> {
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Something of each program of the way.
fn parts<T: Into<f64>>(system: &System, of: impl Fn(u32) -> Result<T>) -> Result<Vec<Part>> {
    let part = |one: &crate::process::Running| Ok(Part { name: one.name.into(), value: of(one.pid())?.into() });
    system.programs.iter().map(part).collect()
}

/// What the programs used since.
fn since(system: &System, before: &[Part]) -> Result<Vec<Part>> {
    let after = parts(system, usage::cpu)?;
    Ok(after
        .into_iter()
        .zip(before)
        .map(|(after, before)| Part { value: after.value - before.value, ..after })
        .collect())
}

fn memory(of: impl Fn(u32) -> Result<u64>) -> impl Fn(u32) -> Result<f64> {
    move |pid| Ok(of(pid)? as f64)
}

fn resident(system: &System) -> Result<Measured> {
    let (rss, pss) = (parts(system, memory(usage::rss_kib))?, parts(system, memory(usage::pss_kib))?);
    let sum = |parts: &[Part]| parts.iter().map(|part| part.value).sum();
    Ok((figures([("rss_kib", sum(&rss)), ("pss_kib", sum(&pss))]), rss))
}

async fn idle(system: &System, count: usize) -> Result<Measured> {
    let before = parts(system, memory(usage::pss_kib))?;
    let open = wire::idle(system.door, count).await?;
    tokio::time::sleep(SETTLE).await;
    let after = parts(system, memory(usage::pss_kib))?;
    let each =
        |(after, before): (Part, &Part)| Part { value: (after.value - before.value) / open.len() as f64, ..after };
    let parts: Vec<Part> = after.into_iter().zip(&before).map(each).collect();
    let sum = parts.iter().map(|part| part.value).sum();
    Ok((figures([("kib_each", sum), ("open", open.len() as f64), ("wanted", count as f64)]), parts))
}

fn echo(mut times: Vec<Duration>) -> BTreeMap<String, f64> {
    times.sort_unstable();
    let at = |hundredths: usize| {
        let index = (times.len() * hundredths / 100).min(times.len().saturating_sub(1));
        times.get(index).copied().unwrap_or_default().as_secs_f64() * 1e6
    };
    figures([("p50_us", at(50)), ("p99_us", at(99)), ("count", times.len() as f64)])
}

async fn bulk(system: &System, streams: usize, direction: Direction, plan: Plan) -> Result<Measured> {
    let before = parts(system, usage::cpu)?;
    let carried = wire::bulk(system.door, streams, direction, plan.bulk).await?;
    let used = since(system, &before)?;
    Ok((figures([("gbit", carried.gbit()), ("gigabytes", carried.bytes as f64 / 1e9)]), used))
}

async fn connect(system: &System, plan: Plan) -> Result<Measured> {
    let before = parts(system, usage::cpu)?;
    let opened = wire::churn(system.door, Plan::CONNECTIONS_AT_ONCE, plan.short, Plan::CONNECTIONS_MAX).await?;
    let used = since(system, &before)?;
    let (count, seconds) = (opened.opened as f64, opened.time.as_secs_f64());
    Ok((figures([("per_second", count / seconds), ("millions", count / 1e6), ("failed", opened.failed as f64)]), used))
}

fn http(system: &System, file: usize, connections: usize, plan: Plan) -> Result<Measured> {
    let (name, length) = FILES[file];
    let before = parts(system, usage::cpu)?;
    let load = web::load(&format!("{}/{name}", system.url), &system.headers, connections, plan.bulk)?;
    let used = since(system, &before)?;
    let gigabytes = load.requests * length as f64 / 1e9;
    let figures = figures([
        ("per_second", load.requests / load.seconds),
        ("gbit", gigabytes * 8.0 / load.seconds),
        ("gigabytes", gigabytes),
        ("millions", load.requests / 1e6),
        ("p50_us", load.p50),
        ("p99_us", load.p99),
        ("errors", load.errors),
    ]);
    Ok((figures, used))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let figures = echo((1..=200).map(Duration::from_micros).collect());
        assert_eq!(figures.get("p50_us").map(|time| time.round()), Some(101.0));
        assert_eq!(figures.get("p99_us").map(|time| time.round()), Some(199.0));
        assert_eq!(echo(Vec::new()).get("count"), Some(&0.0));
    }
}
