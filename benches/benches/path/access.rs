//! A connection through the access client's local port, over an edge, to a TCP service; and one straight to it.

use std::{
    cell::LazyCell,
    time::{Duration, Instant},
};

use anyhow::Result;
use criterion::{Criterion, Throughput};
use futures::future::try_join_all;
use tokio::net::TcpStream;
use tunnel_benches::{
    Gauge, Reach, Report,
    bulk::{Caller, Direction},
    gauge::{Amount, resident},
    plan::{self, LARGE},
};

/// Streams that carry at the same time.
const STREAMS: u64 = 8;
/// Connections that are opened at the same time.
const CROWD: u64 = 32;
/// Connections that are left idle, to weigh them.
const IDLE: u64 = 500;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Loopback,
    Access,
}

const WAYS: [(&str, Way); 2] = [("loopback", Way::Loopback), ("access", Way::Access)];

type Set<'a> = &'a dyn Fn() -> &'a Reach;
type Open = Caller<TcpStream>;

fn open(reach: &Reach, way: Way) -> impl Future<Output = Result<Open>> + use<> {
    let address = if way == Way::Access { reach.port } else { reach.service.address };
    async move { Reach::connect(address).await }
}

pub(crate) fn all(criterion: &mut Criterion, report: &mut Report) {
    // Set when the first bench runs: listing them, as test runners do, starts nothing.
    let reach = LazyCell::new(|| Reach::start().unwrap());
    let reach: Set<'_> = &|| &reach;
    for (what, direction) in [("download", Direction::Down), ("upload", Direction::Up)] {
        bulk(criterion, report, reach, &format!("access {what} 64 MiB"), direction, 1);
        bulk(criterion, report, reach, &format!("access {what} 64 MiB on 8 streams"), direction, STREAMS);
    }
    ping(criterion, report, reach, "access round trip of 1 byte", false);
    ping(criterion, report, reach, "access round trip of 1 byte beside a download", true);
    opening(criterion, report, reach);
    idle(criterion, report, reach);
}

fn bulk(
    criterion: &mut Criterion,
    report: &mut Report,
    reach: Set<'_>,
    what: &str,
    direction: Direction,
    streams: u64,
) {
    let mut group = criterion.benchmark_group(what);
    plan::few(&mut group);
    group.throughput(Throughput::Bytes(LARGE));
    let mut bare = 0;
    for (name, way) in WAYS {
        let mut gauge = Gauge::default();
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let reach = reach();
                gauge.measure(iterations, |iterations| {
                    reach.caller.block_on(async {
                        let mut opened = try_join_all((0..streams).map(|_| open(reach, way))).await.unwrap();
                        let mut times = Vec::new();
                        for _ in 0..iterations {
                            let begun = Instant::now();
                            let carrying = opened.iter_mut().map(|one| one.carry(direction, LARGE / streams, 1));
                            try_join_all(carrying).await.unwrap();
                            times.push(begun.elapsed());
                        }
                        times
                    })
                })
            });
        });
        enter(report, &mut bare, way, what, Amount::Bytes(LARGE), gauge);
    }
}

fn ping(criterion: &mut Criterion, report: &mut Report, reach: Set<'_>, what: &str, beside: bool) {
    let mut group = criterion.benchmark_group(what);
    let mut bare = 0;
    for (name, way) in WAYS {
        let (mut gauge, mut kept): (Gauge, Option<(Open, Option<Load>)>) = (Gauge::default(), None);
        group.bench_function(name, |bencher| {
            let reach = reach();
            kept.get_or_insert_with(|| {
                let one = reach.caller.block_on(open(reach, way)).unwrap();
                (one, beside.then(|| Load::begin(reach, way)))
            });
            bencher.iter_custom(|iterations| {
                let Some((one, _)) = kept.as_mut() else { return Duration::ZERO };
                gauge.measure(iterations, |iterations| reach.caller.block_on(one.ping(iterations)).unwrap())
            });
        });
        drop(kept);
        enter(report, &mut bare, way, what, Amount::Answer, if beside { gauge.without_cpu() } else { gauge });
    }
}

/// A download without end, in a thread of its own.
struct Load(std::sync::Arc<std::sync::atomic::AtomicBool>, Option<std::thread::JoinHandle<()>>);

impl Load {
    fn begin(reach: &Reach, way: Way) -> Self {
        let (stop, opening) = (std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false)), open(reach, way));
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("visitor load".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let mut stream = opening.await.unwrap();
                while !stopped.load(std::sync::atomic::Ordering::Relaxed) && stream.download(LARGE).await.is_ok() {}
            });
        });
        Self(stop, thread.ok())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        if let Some(thread) = self.1.take() {
            thread.join().ok();
        }
    }
}

/// From nothing to the service's first byte and to the end, 32 at a time.
fn opening(criterion: &mut Criterion, report: &mut Report, reach: Set<'_>) {
    let what = "access connections opened, asked once and ended";
    let mut group = criterion.benchmark_group(what);
    group.throughput(Throughput::Elements(CROWD));
    let mut bare = 0;
    for (name, way) in WAYS {
        let mut gauge = Gauge::default();
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let reach = reach();
                gauge.measure(iterations, |iterations| {
                    reach.caller.block_on(async {
                        let mut times = Vec::new();
                        for _ in 0..iterations {
                            let begun = Instant::now();
                            let once = || async {
                                let mut one = open(reach, way).await?;
                                one.ping(1).await?;
                                one.end().await
                            };
                            try_join_all((0..CROWD).map(|_| once())).await.unwrap();
                            times.push(begun.elapsed());
                        }
                        times
                    })
                })
            });
        });
        enter(report, &mut bare, way, what, Amount::Requests(CROWD as usize), gauge);
    }
}

/// What an idle connection weighs, in the client, the edge and the connector together, beside what it weighs at the two
/// ends of a bare one.
fn idle(criterion: &mut Criterion, report: &mut Report, reach: Set<'_>) {
    let mut group = criterion.benchmark_group("access idle connections");
    plan::few(&mut group);
    for (name, way) in WAYS {
        let mut weights = Vec::new();
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let reach = reach();
                let begun = Instant::now();
                for _ in 0..iterations {
                    reach.caller.block_on(async {
                        let before = resident();
                        let mut opened = try_join_all((0..IDLE).map(|_| open(reach, way))).await.unwrap();
                        for one in &mut opened {
                            one.ping(1).await.unwrap();
                        }
                        weights.push(resident().saturating_sub(before) / IDLE);
                        for one in opened {
                            one.end().await.unwrap();
                        }
                    });
                }
                begun.elapsed()
            });
        });
        // Memory that was given back once is used again: the first time tells.
        if let Some(weight) = weights.iter().max() {
            report.note(format!("access idle connection, {name}: {:.1} KiB", *weight as f64 / 1024.0));
        }
    }
}

fn enter(report: &mut Report, bare: &mut usize, way: Way, what: &str, amount: Amount, gauge: Gauge) {
    match way {
        Way::Loopback => *bare = report.bare(what, amount, gauge),
        Way::Access => report.path(what, amount, gauge, *bare),
    }
}
