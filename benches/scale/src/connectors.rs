//! More and more connectors, each with a tunnel, a certificate and a link of its own, in a process beside the edge.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::{
    Plan,
    ask::{Visitor, spread, trusting},
    certificates,
    edge::{Edge, ZONE},
    hold::Holder,
    meter,
    report::{Part, Report},
    say,
};

/// What an idle tunnel may take at the edge, in KiB.
const TUNNEL_MAX: f64 = 64.0;
/// Hosts that are asked.
const HOSTS: usize = 64;

pub(crate) async fn measure(plan: &Plan, report: &mut Report) -> Result<()> {
    let sizes = plan.sizes(&[1, 30, 300], &[1, 100, 1_000, 10_000]);
    let (requests, rest) = (plan.pick(200, 4_000), Duration::from_secs(if plan.quick { 1 } else { 15 }));
    let most = sizes.iter().copied().max().unwrap_or_default();
    let mut part = Part::new(
        "connectors",
        "Connectors, one link each",
        &[
            ("a request, p50", "µs"),
            ("a request, p99", "µs"),
            ("a request, CPU at the edge", "µs"),
            ("a link comes up, CPU at the edge", "ms"),
            ("memory of an idle link at the edge", "KiB"),
            ("memory of an idle link at its other end", "KiB"),
            ("the edge at rest", "% of a core"),
            ("`edge apply` of one application", "ms"),
        ],
    )
    .at_most("memory of an idle link at the edge", TUNNEL_MAX);
    say(format!("connectors: an edge with {most} tunnels"));
    let edge = Edge::start(plan).await?;
    let token = edge.token("robot").await?;
    let applied = edge.apply(&access(most)).await?;
    part.note(format!("`edge apply` of {most} tunnels and hostnames: {:.2} s.", applied.as_secs_f64()));
    let mut papers = Vec::new();
    let edge = edge
        .again(async |data_dir| {
            papers = certificates::issue(data_dir).await?;
            Ok(())
        })
        .await?;
    part.note(format!("The edge with them starts within {:.2} s.", edge.began.as_secs_f64()));
    let tls = trusting(&edge.ca().await?, b"http/1.1")?;
    let mut holder = Holder::start(edge.address, edge.dir(), &papers)?;
    // What everything needs once, whatever there is.
    holder.hold(0).await?;
    Visitor::come(edge.address, &tls, &token).await?;
    let (at_edge, at_holder) = (edge.memory()?, meter::memory(holder.process.pid())?);
    let mut up = 0;
    for &links in sizes {
        let (begun, before) = (Instant::now(), meter::cpu(edge.pid())?);
        holder.hold(links).await?;
        let came = meter::cpu(edge.pid())?.saturating_sub(before);
        say(format!("connectors: {links} links are up after {:.1} s", begun.elapsed().as_secs_f64()));
        tokio::time::sleep(Duration::from_millis(500)).await;
        let kib = |now: u64, before: u64| now.saturating_sub(before) as f64 / 1024.0 / links as f64;
        let memory = (kib(edge.memory()?, at_edge), kib(meter::memory(holder.process.pid())?, at_holder));
        let resting = meter::at_rest(edge.pid(), rest).await?;
        let up_now: Vec<_> = papers.iter().take(links).flat_map(|paper| paper.hostnames.clone()).collect();
        let hosts = spread(&up_now, HOSTS);
        let mut visitor = Visitor::come(edge.address, &tls, &token).await?;
        // Streams are there, and everything is looked up.
        visitor.ask_all(hosts.iter()).await?;
        let (asked, before) = (Instant::now(), meter::cpu(edge.pid())?);
        let times = visitor.ask_all(hosts.iter().cycle().take(requests)).await?;
        // What the links cost meanwhile is told apart.
        let beside = asked.elapsed().mul_f64(resting / 100.0);
        let used = meter::cpu(edge.pid())?.saturating_sub(before).saturating_sub(beside);
        let applied = edge.apply(&one_more(links)).await?;
        part.row(
            links,
            vec![
                Some(times.percentile(0.5)),
                Some(times.percentile(0.99)),
                Some(used.as_secs_f64() * 1e6 / requests as f64),
                Some(came.as_secs_f64() * 1e3 / (links - up).max(1) as f64),
                // One alone is less than what the programs take and give back meanwhile.
                (links > 1).then_some(memory.0),
                (links > 1).then_some(memory.1),
                Some(resting),
                Some(applied.as_secs_f64() * 1e3),
            ],
        );
        up = links;
    }
    holder.process.stop().await?;
    edge.stop().await?;
    report.add(part);
    Ok(())
}

/// Tunnels, each with a hostname of its own, and one application for all.
fn access(tunnels: usize) -> String {
    let mut text = format!(
        "policies: [{{name: robots, action: service_auth, include: [{{service_token: robot}}]}}]\napplications: [{{name: all, \
         hostnames: [\"*.{ZONE}\"], policies: [robots]}}]\ntunnels:\n"
    );
    (0..tunnels).for_each(|number| text += &format!("- {{name: t{number}, hostnames: [t{number}.{ZONE}]}}\n"));
    text
}

fn one_more(number: usize) -> String {
    format!("applications: [{{name: more{number}, hostnames: [\"more{number}.{ZONE}\"], policies: [robots]}}]\n")
}
