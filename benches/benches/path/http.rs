//! HTTP over the whole path: HTTPS to an edge, its gate, a link, a connector, a web server; and the web server alone.

use std::cell::LazyCell;

use anyhow::Result;
use criterion::{Criterion, Throughput};
use hyper::Version;
use tokio::{runtime::Runtime, task::JoinSet};
use tunnel_benches::{
    Gauge, Report, Site, Visitor,
    gauge::{Amount, times},
    plan::{self, CROWD, LARGE, ROUND, SMALL},
    role::Role,
};

/// The ways that are measured; the first is what the others are held against.
const WAYS: [(&str, Option<Version>); 3] =
    [("loopback", None), ("HTTP/1.1", Some(Version::HTTP_11)), ("HTTP/2", Some(Version::HTTP_2))];

struct Stage {
    site: Site,
    visitor: Runtime,
}

impl Stage {
    fn set() -> Result<Self> {
        Ok(Self { site: Site::start()?, visitor: Role::Visitor.runtime()? })
    }

    fn connect(&self, way: Option<Version>) -> Visitor {
        let connecting = async {
            match way {
                None => Visitor::direct(self.site.web.address).await,
                Some(version) => Visitor::through(&self.site, version, Some(&self.site.cookie)).await,
            }
        };
        self.visitor.block_on(connecting).unwrap()
    }
}

pub(crate) fn all(criterion: &mut Criterion, report: &mut Report) {
    // Set when the first bench runs: listing them, as test runners do, starts nothing.
    let stage = LazyCell::new(|| Stage::set().unwrap());
    one_by_one(criterion, report, &stage, "download 64 MiB", Amount::Bytes(LARGE), async |visitor| {
        visitor.download(LARGE).await
    });
    one_by_one(criterion, report, &stage, "upload 64 MiB", Amount::Bytes(LARGE), async |visitor| {
        visitor.upload(LARGE).await
    });
    one_by_one(criterion, report, &stage, "GET 1 KiB", Amount::Answer, async |visitor| visitor.download(SMALL).await);
    crowd(criterion, report, &stage);
}

/// One connection that is kept, one request after the other.
fn one_by_one(
    criterion: &mut Criterion,
    report: &mut Report,
    stage: &LazyCell<Stage, impl FnOnce() -> Stage>,
    what: &str,
    amount: Amount,
    mut once: impl AsyncFnMut(&mut Visitor) -> Result<()>,
) {
    let mut group = criterion.benchmark_group(format!("HTTP {what}"));
    if let Amount::Bytes(bytes) = amount {
        plan::few(&mut group);
        group.throughput(Throughput::Bytes(bytes));
    }
    let mut bare = 0;
    for (name, way) in WAYS {
        let (mut gauge, mut visitor) = (Gauge::default(), None);
        group.bench_function(name, |bencher| {
            let visitor = visitor.get_or_insert_with(|| stage.connect(way));
            bencher.iter_custom(|iterations| {
                gauge.measure(iterations, |iterations| {
                    stage.visitor.block_on(times(iterations, async || once(visitor).await)).unwrap()
                })
            });
        });
        match way {
            None => bare = report.bare(what, amount, gauge),
            Some(_) => report.path(format!("{name} {what}"), amount, gauge, bare),
        }
    }
}

/// Many connections at the same time.
fn crowd(criterion: &mut Criterion, report: &mut Report, stage: &LazyCell<Stage, impl FnOnce() -> Stage>) {
    let what = format!("GET 1 KiB on {CROWD} connections");
    let mut group = criterion.benchmark_group(format!("HTTP {what}"));
    plan::few(&mut group);
    group.throughput(Throughput::Elements(ROUND as u64));
    let mut bare = 0;
    for (name, way) in WAYS {
        let (mut gauge, mut visitors) = (Gauge::default(), None);
        group.bench_function(name, |bencher| {
            let visitors = visitors.get_or_insert_with(|| (0..CROWD).map(|_| stage.connect(way)).collect());
            bencher.iter_custom(|iterations| {
                gauge.measure(iterations, |iterations| {
                    stage.visitor.block_on(times(iterations, async || round(visitors).await)).unwrap()
                })
            });
        });
        match way {
            None => bare = report.bare(&what, Amount::Requests(ROUND), gauge),
            Some(_) => report.path(format!("{name} {what}"), Amount::Requests(ROUND), gauge, bare),
        }
    }
}

async fn round(visitors: &mut Vec<Visitor>) -> Result<()> {
    let mut asking = JoinSet::new();
    for mut visitor in visitors.drain(..) {
        asking.spawn(async move {
            for _ in 0..ROUND / CROWD {
                visitor.download(SMALL).await?;
            }
            anyhow::Ok(visitor)
        });
    }
    while let Some(asked) = asking.join_next().await {
        visitors.push(asked??);
    }
    Ok(())
}
