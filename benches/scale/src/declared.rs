//! More and more applications, each with a policy, a group and a hostname of its own, behind one connector.

use std::time::Duration;

use anyhow::Result;

use crate::{
    Plan,
    ask::{Visitor, secure, spread, trusting},
    certificates,
    edge::{Edge, ZONE},
    hold::Holder,
    meter::{self, Times},
    report::{Part, Report},
    say,
};

/// Hosts that are asked again and again.
const HOSTS: usize = 64;
/// Hosts that are asked for the first time.
const NEW_HOSTS: usize = 1_000;
/// Hosts whose certificates are asked for.
const SHAKEN: usize = 50;
/// Applications in one file: what is sent to an edge at a time is bounded.
const IN_A_FILE: usize = 2_500;

pub(crate) async fn measure(plan: &Plan, report: &mut Report) -> Result<()> {
    let mut part = Part::new(
        "declared",
        "Applications, policies, groups and hostnames",
        &[
            ("a request, p50", "µs"),
            ("a request, p99", "µs"),
            ("a request, CPU at the edge", "µs"),
            ("the first request of an application, p50", "µs"),
            ("a handshake with a hostname that is new, p50", "µs"),
            ("`edge apply` of everything", "ms"),
            ("`edge apply` of one more", "ms"),
            ("the slowest request meanwhile", "ms"),
            ("the edge starts", "ms"),
            ("the edge at rest", "% of a core"),
            ("memory of the edge", "MiB"),
        ],
    );
    for &count in plan.sizes(&[1, 30, 300], &[1, 100, 1_000, 10_000]) {
        say(format!("declared: {count} applications"));
        let figures = with(plan, count).await?;
        part.row(count, figures.into_iter().map(Some).collect());
    }
    report.add(part);
    Ok(())
}

async fn with(plan: &Plan, count: usize) -> Result<Vec<f64>> {
    let rest = Duration::from_secs(if plan.quick { 1 } else { 5 });
    let edge = Edge::start(plan).await?;
    let token = edge.token("robot").await?;
    let mut applied = Duration::ZERO;
    for file in files(count) {
        applied += edge.apply(&file).await?;
    }
    say(format!("declared: applied within {:.1} s", applied.as_secs_f64()));
    let mut papers = Vec::new();
    let edge = edge
        .again(async |data_dir| {
            papers = certificates::issue(data_dir).await?;
            Ok(())
        })
        .await?;
    let tls = trusting(&edge.ca().await?, b"http/1.1")?;
    // One connector serves everything under the zone.
    for paper in &mut papers {
        paper.hostnames = vec![format!("*.{ZONE}"), format!("*.*.{ZONE}")];
    }
    let mut holder = Holder::start(edge.address, edge.dir(), &papers)?;
    holder.hold(1).await?;
    let all: Vec<String> = (0..count).map(hostname).collect();
    let (hosts, new) = (spread(&all, HOSTS), spread(&all, NEW_HOSTS));
    let mut visitor = Visitor::come(edge.address, &tls, &token).await?;
    let first = visitor.ask_all(new.iter()).await?;
    visitor.ask_all(hosts.iter()).await?;
    let (requests, before) = (plan.pick(200, 4_000), meter::cpu(edge.pid())?);
    let times = visitor.ask_all(hosts.iter().cycle().take(requests)).await?;
    let used = meter::cpu(edge.pid())?.saturating_sub(before);
    let mut shaken = Times::default();
    for host in spread(&all, SHAKEN) {
        let begun = std::time::Instant::now();
        secure(edge.address, &tls, &host).await?;
        shaken.push(begun.elapsed());
    }
    let host = hosts.first().map_or("", String::as_str);
    let (applied_more, meanwhile) = one_more(&edge, count, &mut visitor, host).await?;
    let resting = meter::at_rest(edge.pid(), rest).await?;
    let memory = edge.memory()? as f64 / 1024.0 / 1024.0;
    let began = edge.began;
    holder.process.stop().await?;
    edge.stop().await?;
    Ok(vec![
        times.percentile(0.5),
        times.percentile(0.99),
        used.as_secs_f64() * 1e6 / requests as f64,
        first.percentile(0.5),
        shaken.percentile(0.5),
        applied.as_secs_f64() * 1e3,
        applied_more.as_secs_f64() * 1e3,
        meanwhile.most() / 1e3,
        began.as_secs_f64() * 1e3,
        resting,
        memory,
    ])
}

/// How long it takes to apply one more application, and what requests take meanwhile.
async fn one_more(edge: &Edge, count: usize, visitor: &mut Visitor, host: &str) -> Result<(Duration, Times)> {
    let (more, mut meanwhile) = (section(count, count + 1), Times::default());
    let applying = edge.apply(&more);
    tokio::pin!(applying);
    // A request that has begun is waited for, so that the connection can be used again.
    let mut applied = None;
    while applied.is_none() {
        let (asked, done) = tokio::join!(visitor.ask(host), async {
            tokio::select! {
                biased;
                done = &mut applying => Some(done),
                () = tokio::time::sleep(Duration::from_millis(1)) => None,
            }
        });
        meanwhile.push(asked?);
        applied = done.transpose()?;
    }
    Ok((applied.unwrap_or_default(), meanwhile))
}

/// Every other hostname falls under a wildcard of its own.
fn hostname(number: usize) -> String {
    if number.is_multiple_of(2) { format!("h{number}.{ZONE}") } else { format!("x.h{number}.{ZONE}") }
}

fn pattern(number: usize) -> String {
    if number.is_multiple_of(2) { format!("h{number}.{ZONE}") } else { format!("\"*.h{number}.{ZONE}\"") }
}

/// Applications from one number to another, each with what it needs.
fn section(from: usize, to: usize) -> String {
    let (mut groups, mut policies, mut applications) =
        ("groups:\n".to_owned(), "policies:\n".to_owned(), "applications:\n".to_owned());
    for number in from..to {
        groups += &format!("- {{name: g{number}, include: [{{service_token: robot}}]}}\n");
        policies += &format!("- {{name: p{number}, action: service_auth, include: [{{group: g{number}}}]}}\n");
        applications += &format!("- {{name: a{number}, hostnames: [{}], policies: [p{number}]}}\n", pattern(number));
    }
    groups + &policies + &applications
}

/// Everything, and the routes at the end.
fn files(count: usize) -> Vec<String> {
    let mut files: Vec<_> =
        (0..count).step_by(IN_A_FILE).map(|from| section(from, (from + IN_A_FILE).min(count))).collect();
    let routes: Vec<_> = (0..count).map(pattern).collect();
    files.push(format!("tunnels: [{{name: main, hostnames: [{}]}}]\n", routes.join(", ")));
    files
}
