//! Connections on which nobody says anything: streams of access clients, through the edge and the real connector, and
//! connections of browsers.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use tokio::{sync::Semaphore, task::JoinSet, time::sleep};

use crate::{
    Plan,
    ask::{Visitor, trusting},
    edge::{Edge, Token},
    meter::{self, Times},
    report::{Part, Report},
    say,
    streams::{CONNECTION_MAX, PROGRAM_MAX, Site, hear, open_all},
};

/// Streams of one access client's link.
const IN_A_LINK: usize = 1_000;
/// Links of the connector, each for as many.
const CONNECTIONS: usize = 16;
/// Handshakes at a time.
const AT_A_TIME: usize = 64;

pub(crate) async fn streams(plan: &Plan, report: &mut Report) -> Result<()> {
    let sizes = plan.sizes(&[30, 300], &[100, 1_000, 10_000]);
    let rest = Duration::from_secs(if plan.quick { 1 } else { 15 });
    let mut part = Part::new(
        "idle",
        "Idle connections of access clients",
        &[
            ("memory of one, edge and connector", "KiB"),
            ("of that the edge", "KiB"),
            ("of that the connector", "KiB"),
            ("the edge at rest", "% of a core"),
            ("the connector at rest", "% of a core"),
            ("an echo meanwhile, p50", "µs"),
            ("an echo meanwhile, p99", "µs"),
        ],
    )
    .at_most("memory of one, edge and connector", CONNECTION_MAX);
    say("idle: an edge and a connector");
    let site = Site::start(plan, CONNECTIONS).await?;
    let alone = site.memory()?;
    part.note(format!(
        "With {CONNECTIONS} links and no connection the edge takes {:.1} MiB and the connector {:.1} MiB (at most {PROGRAM_MAX:.0} \
         each).",
        alone.0 / 1024.0,
        alone.1 / 1024.0
    ));
    let (mut links, mut held) = (Vec::new(), Vec::new());
    for &count in sizes {
        while held.len() < count {
            let link = site.link().await?;
            held.append(&mut open_all(&link, IN_A_LINK.min(count - held.len())).await?);
            links.push(link);
            say(format!("idle: {} of {count} connections are open", held.len()));
        }
        sleep(Duration::from_secs(1)).await;
        let now = site.memory()?;
        let (edge, connector) = ((now.0 - alone.0) / count as f64, (now.1 - alone.1) / count as f64);
        let (at_edge, at_connector) =
            tokio::try_join!(meter::at_rest(site.edge.pid(), rest), meter::at_rest(site.connector.pid(), rest))?;
        let mut times = Times::default();
        let stream = held.first_mut().context("a stream")?;
        for _ in 0..plan.pick(100, 2_000) {
            times.push(hear(stream).await?);
        }
        let figures = [edge + connector, edge, connector, at_edge, at_connector];
        let echoes = [times.percentile(0.5), times.percentile(0.99)];
        part.row(count, figures.into_iter().chain(echoes).map(Some).collect());
    }
    drop((held, links));
    site.stop().await?;
    report.add(part);
    Ok(())
}

/// Fewer than an edge takes at a time, and so many that they are there before the first ends for being idle.
pub(crate) async fn https(plan: &Plan, report: &mut Report) -> Result<()> {
    let sizes = plan.sizes(&[30, 200], &[100, 1_000, 8_000]);
    let mut part = Part::new(
        "https",
        "Idle connections of browsers (HTTPS, HTTP/1.1, each after one answer)",
        &[
            ("memory of one at the edge", "KiB"),
            ("a connection and its first answer, CPU at the edge", "µs"),
            ("the edge at rest", "% of a core"),
        ],
    );
    say("https: an edge");
    let edge = Edge::start(plan).await?;
    let tls = trusting(&edge.ca().await?, b"http/1.1")?;
    let nobody = Token { id: String::new(), secret: String::new() };
    Visitor::come(edge.address, &tls, &nobody).await?.greet().await?;
    let alone = edge.memory()?;
    part.note(format!("With no connection the edge takes {:.1} MiB.", alone as f64 / 1024.0 / 1024.0));
    for &count in sizes {
        let (used, turns) = (meter::cpu(edge.pid())?, Arc::new(Semaphore::new(AT_A_TIME)));
        let mut coming = JoinSet::new();
        for _ in 0..count {
            let (address, tls, nobody, turns) = (edge.address, tls.clone(), nobody.clone(), turns.clone());
            coming.spawn(async move {
                let _turn = turns.acquire().await?;
                let mut visitor = Visitor::come(address, &tls, &nobody).await?;
                visitor.greet().await?;
                Ok::<_, anyhow::Error>(visitor)
            });
        }
        let mut held = Vec::with_capacity(count);
        while let Some(came) = coming.join_next().await {
            held.push(came??);
        }
        let used = meter::cpu(edge.pid())?.saturating_sub(used);
        say(format!("https: {count} connections are open"));
        let resting = meter::at_rest(edge.pid(), Duration::from_secs(if plan.quick { 1 } else { 10 })).await?;
        let memory = edge.memory()?.saturating_sub(alone) as f64 / 1024.0 / count as f64;
        part.row(count, vec![Some(memory), Some(used.as_secs_f64() * 1e6 / count as f64), Some(resting)]);
        drop(held);
        sleep(Duration::from_secs(1)).await;
    }
    edge.stop().await?;
    report.add(part);
    Ok(())
}
