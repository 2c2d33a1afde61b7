//! An edge replaced under requests that come at fixed times, and wait for no answer.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use tunnel_tests::{
    Connector, Lab, Timetable, Visitor,
    origin::Nginx,
    process::{long, many_sockets},
    run,
    stage::APP,
    timetable::Page,
};

use super::{DB, Living, Site, restarts};

/// What was begun before the first restart has more time than all of them take.
const NOT_CUT: &str = "drain_http = 7200";

/// Requests a second.
fn rate() -> u32 {
    if long() { 1_000 } else { 200 }
}

/// So many of a hundred requests are sent within a second of their time, at least. In the short form the machine may be busy with
/// others, but there is a load.
fn punctual() -> u64 {
    if long() { 95 } else { 10 }
}

/// What nginx answers, which costs the machine the least.
async fn page(lab: &Lab, visitor: &mut Visitor) -> Result<(Nginx, Connector, Page)> {
    let body = "<h1>The private page</h1>".repeat(20);
    let nginx = Nginx::start(lab, 8080, &body).await?;
    let connector = Connector::publish(lab, APP, &nginx.url()).await?;
    let end = visitor.browse(&format!("https://{APP}/")).await?;
    ensure!(end.status() == 200 && end.text() == body, "{}: {}", end.status(), end.text());
    let (door, cookie) = (visitor.door("https", APP)?, visitor.session(APP)?);
    Ok((nginx, connector, Page { door, host: APP.into(), cookie, body }))
}

// F3
#[test]
fn no_request_fails_that_comes_at_its_time_while_the_edge_is_replaced_again_and_again() {
    run("timetable", async |lab| {
        many_sockets()?;
        let mut site = Site::configured(&lab, NOT_CUT).await?;
        let mut visitor = site.visitor.clone();
        let (_nginx, _app, page) = page(&lab, &mut visitor).await?;
        let _db = site.client(DB, 7001).await?;
        let mut living = Living::begin(&site, 7001).await?;
        living.prove(&site, 0).await?;
        let (load, second) = (Timetable::begin(rate(), &page), u64::from(rate()));
        load.goes_on(second).await.context("before the first restart")?;
        for round in 1..=restarts() {
            let begun = Instant::now();
            site.edge.replace().await.with_context(|| format!("restart {round}"))?;
            let took = begun.elapsed();
            load.goes_on(second).await.with_context(|| format!("after restart {round}"))?;
            println!("restart {round} took {took:?}, and {second} answers came within {:?}", begun.elapsed());
            living.prove(&site, round).await.with_context(|| format!("after restart {round}"))?;
        }
        let report = load.end().await?;
        println!("{report}");
        report.all_served()?;
        report.was_punctual(punctual())?;
        living.download.finish().await?;
        living.upload.finish().await?;
        Ok(())
    });
}
