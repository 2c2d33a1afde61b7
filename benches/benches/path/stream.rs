//! One stream over a link, from the edge's end to a TCP service behind a connector; and a connection straight to it.

use std::{
    cell::LazyCell,
    time::{Duration, Instant},
};

use anyhow::Result;
use criterion::{Criterion, Throughput};
use tunnel_benches::{
    Gauge, Report, Wire,
    bulk::{Caller, Direction, Io},
    gauge::Amount,
    plan::{self, LARGE},
};

/// A stream of either kind.
type Stream = Caller<Box<dyn Io>>;

/// How a stream comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Loopback,
    Link,
}

const WAYS: [(&str, Way); 2] = [("loopback", Way::Loopback), ("link", Way::Link)];

/// Does something in a task of the edge's runtime, where streams of links are carried in earnest.
fn run<T: Send + 'static>(wire: &Wire, work: impl Future<Output = Result<T>> + Send + 'static) -> T {
    wire.edge.block_on(wire.edge.spawn(work)).unwrap().unwrap()
}

fn open(wire: &Wire, way: Way) -> impl Future<Output = Result<Stream>> + Send + use<> {
    let (link, service) = (wire.link.clone(), wire.service.address);
    async move {
        Ok(match way {
            Way::Link => Wire::open(&link).await?.boxed(),
            Way::Loopback => Wire::connect(service).await?.boxed(),
        })
    }
}

type Set<'a> = &'a dyn Fn() -> &'a Wire;

pub(crate) fn all(criterion: &mut Criterion, report: &mut Report) {
    // Set when the first bench runs: listing them, as test runners do, starts nothing.
    let wire = LazyCell::new(|| Wire::start().unwrap());
    let wire: Set<'_> = &|| &wire;
    bulk(criterion, report, wire, "download 64 MiB", Direction::Down);
    bulk(criterion, report, wire, "upload 64 MiB", Direction::Up);
    ping(criterion, report, wire);
    ping_beside_bulk(criterion, report, wire);
    opening(criterion, report, wire);
}

fn bulk(criterion: &mut Criterion, report: &mut Report, wire: Set<'_>, what: &str, direction: Direction) {
    let mut group = criterion.benchmark_group(format!("stream {what}"));
    plan::few(&mut group);
    group.throughput(Throughput::Bytes(LARGE));
    let mut bare = 0;
    for (name, way) in WAYS {
        let (mut gauge, mut kept) = (Gauge::default(), None);
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let mut stream = kept.take().unwrap_or_else(|| run(wire(), open(wire(), way)));
                gauge.measure(iterations, |iterations| {
                    let (stream, times) = run(wire(), async move {
                        let times = stream.carry(direction, LARGE, iterations).await?;
                        Ok((stream, times))
                    });
                    kept = Some(stream);
                    times
                })
            });
        });
        enter(report, &mut bare, way, &format!("stream {what}"), Amount::Bytes(LARGE), gauge);
    }
}

fn ping(criterion: &mut Criterion, report: &mut Report, wire: Set<'_>) {
    let mut group = criterion.benchmark_group("stream round trip of 1 byte");
    let mut bare = 0;
    for (name, way) in WAYS {
        let (mut gauge, mut kept) = (Gauge::default(), None);
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| pings(wire(), way, &mut kept, &mut gauge, iterations));
        });
        enter(report, &mut bare, way, "stream round trip of 1 byte", Amount::Answer, gauge);
    }
}

/// The same while another stream of the same link (or another connection) downloads without end.
fn ping_beside_bulk(criterion: &mut Criterion, report: &mut Report, wire: Set<'_>) {
    let what = "stream round trip of 1 byte beside a download";
    let mut group = criterion.benchmark_group(what);
    let mut bare = 0;
    for (name, way) in WAYS {
        let (mut gauge, mut kept, mut download) = (Gauge::default(), None, None);
        group.bench_function(name, |bencher| {
            download.get_or_insert_with(|| {
                let mut stream = run(wire(), open(wire(), way));
                wire().edge.spawn(async move { while stream.download(LARGE).await.is_ok() {} })
            });
            bencher.iter_custom(|iterations| pings(wire(), way, &mut kept, &mut gauge, iterations));
        });
        if let Some(download) = download {
            download.abort();
        }
        enter(report, &mut bare, way, what, Amount::Answer, gauge.without_cpu());
    }
}

fn pings(wire: &Wire, way: Way, kept: &mut Option<Stream>, gauge: &mut Gauge, iterations: u64) -> Duration {
    let mut stream = kept.take().unwrap_or_else(|| run(wire, open(wire, way)));
    gauge.measure(iterations, |iterations| {
        let (stream, times) = run(wire, async move {
            let times = stream.ping(iterations).await?;
            Ok((stream, times))
        });
        *kept = Some(stream);
        times
    })
}

/// From nothing to the service's first byte, and to the end of the stream.
fn opening(criterion: &mut Criterion, report: &mut Report, wire: Set<'_>) {
    let what = "stream opened, asked once and ended";
    let mut group = criterion.benchmark_group(what);
    let mut bare = 0;
    for (name, way) in WAYS {
        let mut gauge = Gauge::default();
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                gauge.measure(iterations, |iterations| {
                    let opens: Vec<_> = (0..iterations).map(|_| open(wire(), way)).collect();
                    run(wire(), async move {
                        let mut times = Vec::with_capacity(opens.len());
                        for open in opens {
                            let begun = Instant::now();
                            let mut stream = open.await?;
                            stream.ping(1).await?;
                            stream.end().await?;
                            times.push(begun.elapsed());
                        }
                        Ok(times)
                    })
                })
            });
        });
        enter(report, &mut bare, way, what, Amount::Answer, gauge);
    }
}

fn enter(report: &mut Report, bare: &mut usize, way: Way, what: &str, amount: Amount, gauge: Gauge) {
    match way {
        Way::Loopback => *bare = report.bare(what, amount, gauge),
        Way::Link => report.path(what, amount, gauge, *bare),
    }
}
