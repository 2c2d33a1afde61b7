//! Over a distance: how much of what a direct TCP connection gets passes through the tunnel, by the same way and in the same run.
//!
//! Every figure is held against a direct one that was taken right before it. The short form asks for shares that only a defect
//! misses; the long one for the targets themselves, by medians of rounds that alternate. Both print their tables.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use tokio::time::sleep;
use tunnel_tests::{
    Faraway, Lab, Leg, Load,
    bulk::{Rates, Towards, Waits, median, typing},
    distance::{Passed, Plan, Way},
    process::long,
    run,
};

const MS: Duration = Duration::from_millis(1);
/// After which the streams of one application have begun, and those of another one begin.
const APART: Duration = Duration::from_millis(300);

/// Which leg is the far one.
#[derive(Clone, Copy, Debug)]
enum Far {
    /// Both, by half.
    Both,
    /// The one between home and the edge, which all streams of an access client pass in one link.
    Home,
    /// The one between the edge and the office.
    Office,
}

impl Far {
    fn name(self) -> &'static str {
        match self {
            Self::Both => "both legs",
            Self::Home => "home leg",
            Self::Office => "office leg",
        }
    }
}

/// A network: what is far, and how.
#[derive(Clone, Copy, Debug)]
struct Net {
    far: Far,
    /// Without queues.
    round_trip: Duration,
    mbit: u64,
    /// How long what fills the queue takes to leave it.
    queue: Duration,
    /// Lost packets of a million, each way.
    lost: u32,
    congestion: &'static str,
}

/// What most are like here: a router whose queue takes 40 ms to empty, and the rules for sending that systems come with.
const NET: Net = Net {
    far: Far::Both,
    round_trip: Duration::from_millis(50),
    mbit: 50,
    queue: Duration::from_millis(40),
    lost: 0,
    congestion: "cubic",
};

impl Net {
    fn plan(self, seed: u64) -> Plan {
        let leg = |shares: u32| {
            let way = Way::after(self.round_trip / 2 / shares).through(self.mbit * 1_000_000, self.queue_bytes());
            Leg::even(way.losing(self.lost / shares))
        };
        let near = Leg::default();
        let (home, office) = match self.far {
            Far::Both => (leg(2), leg(2)),
            Far::Home => (leg(1), near),
            Far::Office => (near, leg(1)),
        };
        Plan { home, office, congestion: self.congestion, seed }
    }

    fn queue_bytes(self) -> u64 {
        self.mbit * 125 * u64::try_from(self.queue.as_millis()).unwrap()
    }

    fn name(self) -> String {
        let (far, trip, mbit) = (self.far.name(), self.round_trip.as_millis(), self.mbit);
        let (queue, lost) = (self.queue_bytes() / 1000, f64::from(self.lost) / 10_000.0);
        format!("{far}, {trip} ms, {mbit} Mbit/s, queue {queue} kB, {lost} % lost, {}", self.congestion)
    }
}

/// How long each measurement takes: for windows to have grown, and then.
#[derive(Clone, Copy, Debug)]
struct Times {
    rounds: usize,
    warm: Duration,
    window: Duration,
}

fn times(short: [u32; 2], in_long: [u32; 2]) -> Times {
    let (rounds, [warm, window]) = if long() { (5, in_long) } else { (1, short) };
    Times { rounds, warm: warm * MS, window: window * MS }
}

/// A table, printed line by line, and the shares that were missed.
struct Report {
    remarks: Vec<String>,
    missed: Vec<String>,
}

impl Report {
    fn new(columns: &str) -> Self {
        let rule = columns.chars().map(|c| if c == '|' { '|' } else { '-' }).collect::<String>();
        println!("\n{columns}\n{rule}");
        Self { remarks: Vec::new(), missed: Vec::new() }
    }

    /// Notes that a value is below what it should be.
    fn at_least(&mut self, least: f64, value: f64, what: &str) {
        if value < least || value.is_nan() {
            self.missed.push(format!("{what}: {value:.2} instead of at least {least}"));
        }
    }

    /// How far the machine had the time for what it measured.
    fn honest(&mut self, far: &Faraway, name: &str) {
        let passed = far.passed();
        let sum = |of: fn(&Passed) -> u64| passed.iter().map(of).sum::<u64>();
        let (all, lost) = (sum(|way| way.packets), sum(|way| way.lost));
        let (dropped, late) = (sum(|way| way.dropped), sum(|way| way.late));
        self.remarks.push(format!(
            "{name}: {all} packets, {late} of them over 2 ms late; {lost} lost by chance, {dropped} by full queues"
        ));
    }

    fn end(self) -> Result<()> {
        println!("\n{}\n", self.remarks.join("\n"));
        ensure!(self.missed.is_empty(), "{}", self.missed.join("\n"));
        Ok(())
    }
}

/// The same load, without the tunnel and through it, so many times in turn.
async fn compared(far: &Faraway, towards: Towards, streams: u32, times: Times) -> Result<[Vec<Rates>; 2]> {
    let mut both = [Vec::new(), Vec::new()];
    for _ in 0..times.rounds {
        for (to, rates) in [far.direct, far.tunnel].into_iter().zip(&mut both) {
            far.quiet().await?;
            let mut load = Load::start(&far.service, to, towards, streams).await?;
            rates.push(load.rates(times.warm, times.window).await?);
        }
    }
    Ok(both)
}

const SPEEDS: &str =
    "| network | streams | direct Mbit/s | tunnel Mbit/s | share | fairness direct | fairness tunnel |";

/// A line of a table for each count of streams; `least` is the share that the tunnel should have.
async fn speeds(
    report: &mut Report,
    far: &Faraway,
    net: Net,
    towards: Towards,
    streams: &[(u32, f64)],
    times: Times,
) -> Result<()> {
    for &(streams, least) in streams {
        let both = compared(far, towards, streams, times).await?;
        let of = |rates: &[Rates], what: fn(&Rates) -> f64| median(rates.iter().map(what).collect());
        let [direct, tunnel] = both.each_ref().map(|rates| of(rates, Rates::mbit));
        let [fair_direct, fair] = both.each_ref().map(|rates| of(rates, Rates::fairness));
        let share = tunnel / direct;
        let name = net.name();
        println!(
            "| {name} | {streams} {towards} | {direct:.1} | {tunnel:.1} | {share:.2} | {fair_direct:.2} | {fair:.2} |"
        );
        report.at_least(least, share, &format!("share, {name}, {streams} {towards}"));
        if streams > 8 {
            // In a short window each has little more than what one window lets pass at a time.
            let fairest = if long() { 0.9 } else { 0.2 };
            report.at_least(fairest, fair, &format!("fairness, {name}, {streams} {towards}"));
        }
    }
    Ok(())
}

/// Whether the system has the rules for sending by which a connector that is far has a link for each service.
fn has_bbr() -> Result<bool> {
    let known = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control")?;
    Ok(known.split_whitespace().any(|name| name == "bbr"))
}

/// What a service that is near sends goes by several links of its connector, and by one where that is far; but only where that one
/// uses the path as well as several do, which the system has to have BBR for.
#[test]
fn streams_to_a_connector_that_is_far_go_by_one_of_its_links() {
    run("together", async |lab| {
        let has_bbr = has_bbr()?;
        for round_trip in [2 * MS, 20 * MS] {
            let site = Faraway::open(&lab, &Net { round_trip, far: Far::Office, mbit: 100, ..NET }.plan(5)).await?;
            let wanted = has_bbr && round_trip > 5 * MS;
            // A machine that is busy takes a near one for far until it has once been answered in time.
            for attempt in 1..=5 {
                let mut load = Load::start(&site.service, site.tunnel, Towards::Client, 8).await?;
                load.rates(500 * MS, 500 * MS).await?;
                let sent = site.sent_by_the_office().await?;
                println!("{round_trip:?}, BBR: {has_bbr}: {sent:?} bytes");
                let &[most, next, ..] = &sent[..] else { bail!("the connector has several links: {sent:?}") };
                let together = next < most / 10;
                if together == wanted {
                    break;
                }
                ensure!(!wanted && attempt < 5, "{round_trip:?}: {sent:?}");
                drop(load);
                site.quiet().await?;
            }
            site.close().await?;
        }
        Ok(())
    });
}

/// The share of a direct connection that is asked for.
fn wanted() -> f64 {
    if long() { 0.8 } else { 0.4 }
}

/// What is measured of one round trip: in the long form each leg and both directions at 200 Mbit/s, in the short form one.
async fn over(lab: &Lab, round_trip: Duration, short: (Far, Towards), times: Times) -> Result<()> {
    let mut report = Report::new(SPEEDS);
    let all = [Far::Both, Far::Home, Far::Office];
    let legs = if long() { &all[..] } else { &[short.0][..] };
    for &far in legs {
        let net = Net { far, round_trip, mbit: if long() { 200 } else { 50 }, ..NET };
        let site = Faraway::open(lab, &net.plan(1)).await?;
        for towards in [Towards::Client, Towards::Service] {
            if long() || towards == short.1 {
                speeds(&mut report, &site, net, towards, &[(1, wanted()), (64, wanted())], times).await?;
            }
        }
        report.honest(&site, &net.name());
        site.close().await?;
    }
    report.end()
}

#[test]
fn over_50_ms_a_stream_and_many_are_about_as_fast_as_direct_ones() {
    let times = times([1000, 1500], [3000, 8000]);
    run("far50", async move |lab| over(&lab, 50 * MS, (Far::Both, Towards::Client), times).await);
}

#[test]
fn over_200_ms_a_stream_and_many_are_about_as_fast_as_direct_ones() {
    let times = times([3500, 2000], [6000, 8000]);
    run("far200", async move |lab| over(&lab, 200 * MS, (Far::Office, Towards::Service), times).await);
}

/// One stream through the tunnel against one TCP connection, and eight, which the tunnel carries in one link or two, against
/// eight.
#[test]
fn where_one_packet_of_a_hundred_is_lost_the_tunnel_is_about_as_fast_as_direct_connections() {
    run("lossy", async |lab| {
        let mut report = Report::new(SPEEDS);
        let all = [Far::Home, Far::Office, Far::Both].map(|far| [(far, "cubic"), (far, "bbr")]);
        let nets = if long() { all.as_flattened() } else { &all[0][..1] };
        for &(far, congestion) in nets {
            let net = Net { far, congestion, lost: 10_000, mbit: if long() { 200 } else { 50 }, ..NET };
            let site = Faraway::open(&lab, &net.plan(2)).await?;
            let eight = if long() { 0.8 } else { 0.0 };
            let times = times([1000, 4000], [2000, 12_000]);
            speeds(&mut report, &site, net, Towards::Client, &[(1, wanted()), (8, eight)], times).await?;
            report.honest(&site, &net.name());
            site.close().await?;
        }
        report.end()
    });
}

const ECHOES: &str = "| network | beside | idle, direct | idle, tunnel | direct Mbit/s, echo | tunnel Mbit/s, echo of the network, \
     of another application, of the same |";

/// What half of the echoes take, and 99 of 100, in milliseconds.
struct Percentiles {
    half: f64,
    most: f64,
}

impl Percentiles {
    fn of(waits: &[Waits]) -> Self {
        let median = |percent| median(waits.iter().map(|waits| waits.percentile(percent)).collect());
        Self { half: median(50), most: median(99) }
    }
}

impl std::fmt::Display for Percentiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} / {:.1}", self.half, self.most)
    }
}

/// Echoes beside a load, and what the load gets.
struct Beside {
    /// Both without the tunnel.
    direct: Percentiles,
    direct_mbit: f64,
    /// Beside a load through the tunnel, without it: what the queues of the network are like.
    network: Percentiles,
    /// Both through the tunnel, the echo by another application than the load.
    other: Percentiles,
    /// Both through the tunnel, by one application.
    tunnel: Percentiles,
    tunnel_mbit: f64,
}

impl Beside {
    /// A direct load and one through the tunnel, so many times in turn.
    async fn measured(site: &Faraway, towards: Towards, streams: u32, times: Times) -> Result<Self> {
        let [mut direct, mut network, mut other, mut tunnel] = [const { Vec::new() }; 4];
        let [mut direct_mbit, mut tunnel_mbit] = [Vec::new(), Vec::new()];
        let echo = |to| typing(to, times.warm, times.window);
        for _ in 0..times.rounds {
            site.quiet().await?;
            let mut load = Load::start(&site.service, site.direct, towards, streams).await?;
            let (waits, rates) = tokio::try_join!(echo(site.direct), load.rates(times.warm, times.window))?;
            direct.push(waits);
            direct_mbit.push(rates.mbit());
            drop(load);
            site.quiet().await?;
            let mut load = Load::start(&site.service, site.tunnel, towards, streams).await?;
            sleep(APART).await;
            let (bare, beside, through, rates) = tokio::try_join!(
                echo(site.direct),
                echo(site.other),
                echo(site.tunnel),
                load.rates(times.warm, times.window)
            )?;
            network.push(bare);
            other.push(beside);
            tunnel.push(through);
            tunnel_mbit.push(rates.mbit());
        }
        let [direct, network, other, tunnel] = [direct, network, other, tunnel].map(|waits| Percentiles::of(&waits));
        let [direct_mbit, tunnel_mbit] = [direct_mbit, tunnel_mbit].map(median);
        Ok(Self { direct, direct_mbit, network, other, tunnel, tunnel_mbit })
    }
}

/// A line of a table: how long an echo takes by itself, and beside so many streams.
async fn echoes(site: &Faraway, name: &str, towards: Towards, streams: u32, times: Times) -> Result<Beside> {
    let idle = times.window / 4;
    let by_itself = [
        Percentiles::of(&[typing(site.direct, Duration::ZERO, idle).await?]),
        Percentiles::of(&[typing(site.tunnel, Duration::ZERO, idle).await?]),
    ];
    let all = Beside::measured(site, towards, streams, times).await?;
    let Beside { direct, direct_mbit, network, other, tunnel, tunnel_mbit } = &all;
    let [idle_direct, idle_tunnel] = by_itself;
    println!(
        "| {name} | {streams} {towards} | {idle_direct} | {idle_tunnel} | {direct_mbit:.1}, {direct} | \
         {tunnel_mbit:.1}, {network}, {other}, {tunnel} |"
    );
    Ok(all)
}

/// The network's queue is 5 ms, so that what else an echo waits for is ours; and, in the long form, 40 ms as well.
#[test]
fn an_echo_beside_eight_bulk_streams_takes_hardly_longer_than_the_network_does() {
    run("echoes", async |lab| {
        let mut report = Report::new(ECHOES);
        let all = [Far::Both, Far::Home, Far::Office].map(|far| [(far, 5), (far, 40)]);
        let nets = if long() { all.as_flattened() } else { &all[0][..1] };
        let times = times([1500, 3000], [3000, 6000]);
        for &(far, queue) in nets {
            let net = Net { far, queue: queue * MS, mbit: if long() { 200 } else { 50 }, ..NET };
            let name = net.name();
            let site = Faraway::open(&lab, &net.plan(3)).await?;
            let Beside { direct, network, other, tunnel, .. } = echoes(&site, &name, Towards::Client, 8, times).await?;
            report.honest(&site, &name);
            site.close().await?;
            if long() {
                // The round trip is what the network makes of it while it carries our load.
                let limit = network.most + 10.0;
                for (of, echo) in [("another application", other), ("the same", tunnel)] {
                    let what = format!("{limit:.0} ms over p99 of the echo, {name}, {of}");
                    report.at_least(1.0, limit / echo.most, &what);
                }
            } else {
                for echo in [other, tunnel] {
                    report.at_least(0.2, direct.most / echo.most, &format!("direct p99 over the tunnel's, {name}"));
                }
            }
        }
        report.end()
    });
}

/// A home connection of today: little up, much down, 10 ms away, and a queue that takes a tenth of a second to empty.
fn uplink() -> Plan {
    let up = Way::after(10 * MS).through(10_000_000, 128 * 1024);
    let down = Way::after(10 * MS).through(100_000_000, 512 * 1024);
    Plan { home: Leg::default(), office: Leg { up, down }, congestion: "cubic", seed: 4 }
}

#[test]
fn an_uplink_of_10_mbit_is_filled_and_an_echo_beside_that_waits_about_as_long_as_without_the_tunnel() {
    run("uplink", async |lab| {
        let site = Faraway::open(&lab, &uplink()).await?;
        let name = "office leg, 20 ms, 10 Mbit/s up, 100 down, queue 131 kB up, cubic";
        let mut report = Report::new(ECHOES);
        let times = times([1500, 3000], [3000, 8000]);
        // What the office sends is what the client gets.
        let ways = [Towards::Client, Towards::Service];
        for &towards in if long() { &ways[..] } else { &ways[..1] } {
            let beside = echoes(&site, name, towards, 1, times).await?;
            // Of the worst BBR's look at the shortest way is a part: every ten seconds, for 200 ms in which next to nothing goes.
            let [half, worst] = if long() { [1.0, 0.5] } else { [0.3, 0.1] };
            for (of, echo) in [("another application", &beside.other), ("the same", &beside.tunnel)] {
                let ratio = beside.direct.half / echo.half;
                report.at_least(half, ratio, &format!("direct p50 over the tunnel's, 1 {towards}, {of}"));
                let ratio = beside.direct.most / echo.most;
                report.at_least(worst, ratio, &format!("direct p99 over the tunnel's, 1 {towards}, {of}"));
            }
            report.at_least(wanted(), beside.tunnel_mbit / beside.direct_mbit, &format!("share, 1 {towards}"));
        }
        report.honest(&site, name);
        report.end()
    });
}

/// Two TCP services of one connector, each of which has a link of its own.
#[test]
fn two_applications_that_both_carry_much_fill_the_way_and_leave_each_other_some() {
    run("shared", async |lab| {
        let columns = "| network | streams | direct Mbit/s | tunnel Mbit/s, of each | share | echo of the network |";
        let mut report = Report::new(columns);
        let (times, bbr) = (times([1500, 3000], [3000, 8000]), has_bbr()?);
        for &far in if long() { &[Far::Both, Far::Office][..] } else { &[Far::Office][..] } {
            let net = Net { far, mbit: if long() { 200 } else { 50 }, ..NET };
            let site = Faraway::open(&lab, &net.plan(6)).await?;
            let [mut direct, mut one, mut other] = [const { Vec::new() }; 3];
            let mut echoes = Vec::new();
            for _ in 0..times.rounds {
                site.quiet().await?;
                let mut load = Load::start(&site.service, site.direct, Towards::Client, 8).await?;
                direct.push(load.rates(times.warm, times.window).await?.mbit());
                drop(load);
                site.quiet().await?;
                let mut first = Load::start(&site.service, site.tunnel, Towards::Client, 4).await?;
                sleep(APART).await;
                let mut second = Load::start(&site.service, site.other, Towards::Client, 4).await?;
                let (first, second, echo) = tokio::try_join!(
                    first.rates(times.warm, times.window),
                    second.rates(times.warm, times.window),
                    typing(site.direct, times.warm, times.window)
                )?;
                one.push(first.mbit());
                other.push(second.mbit());
                echoes.push(echo);
            }
            let [direct, one, other] = [direct, one, other].map(median);
            let (name, share, echo) = (net.name(), (one + other) / direct, Percentiles::of(&echoes));
            println!("| {name} | 4 + 4 down | {direct:.1} | {one:.1} + {other:.1} | {share:.2} | {echo} |");
            report.at_least(wanted(), share, &format!("share, {name}"));
            let least = if long() { 0.2 } else { 0.05 };
            report.at_least(least, one.min(other) / one.max(other), &format!("evenness, {name}"));
            let sent = site.sent_by_the_office().await?;
            let &[most, next, third, ..] = &sent[..] else { bail!("the connector has several links: {sent:?}") };
            if bbr {
                report.at_least(
                    10.0,
                    next as f64 / third as f64,
                    &format!("two links of {most}, {next}, {third}, {name}"),
                );
            }
            report.honest(&site, &name);
            site.close().await?;
        }
        report.end()
    });
}
