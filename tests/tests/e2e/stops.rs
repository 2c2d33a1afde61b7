//! Connectors that are stopped and started while their service is used (F5): what is under way ends as it would have, and
//! nobody is refused.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use tokio::{task::JoinSet, time::timeout};
use tunnel_tests::{
    Connector, Edge, EdgeConfig, Lab, PATIENCE, Smtp, Visitor,
    edge::ACCESS,
    origin::{CHECKSUM_START, Streams, block, checksum},
    process::{long, signal},
    run,
    stage::{STAFF, WWW},
    visitor::login,
};

/// What is downloaded while the connector stops: whole blocks.
fn download() -> u64 {
    if long() { 1 << 30 } else { 64 << 20 }
}

/// What of it is taken before that.
const FIRST: u64 = 4 << 20;
/// How long a connector gives what is under way, also on a machine that is busy.
const GRACE: &str = "600s";

/// How often each connector is stopped and started.
fn restarts() -> usize {
    if long() { 100 } else { 5 }
}

/// Requests that have to be answered after each of these.
const BETWEEN: usize = 20;

struct Site {
    lab: Lab,
    _smtp: Smtp,
    _edge: Edge,
    streams: Streams,
    visitor: Visitor,
}

impl Site {
    /// With one connector, which is given, too.
    async fn new(lab: &Lab) -> Result<(Self, Connector)> {
        let smtp = Smtp::start(lab).await?;
        let edge = Edge::with_access(lab, EdgeConfig::with_mail(&smtp), ACCESS).await?;
        let streams = Streams::start().await?;
        let connector = connector(lab, &streams, "first").await?;
        let visitor = login(&edge.ca().await?, &smtp, WWW, STAFF).await?;
        Ok((Self { lab: lab.clone(), _smtp: smtp, _edge: edge, streams, visitor }, connector))
    }
}

async fn connector(lab: &Lab, streams: &Streams, name: &str) -> Result<Connector> {
    let mut command = Connector::command(lab)?;
    command.args(["--hostname", WWW, "--url", &streams.url(), "--grace-period", GRACE]);
    Connector::start(name, command).await
}

/// F5: a connector that is told to stop lets a download end that takes longer than that, and then it ends itself.
#[test]
fn a_download_is_whole_although_its_connector_is_stopped_meanwhile() {
    run("stopped", async |lab| {
        let (site, mut connector) = Site::new(&lab).await?;
        let session = site.visitor.session(WWW)?;
        let mut raw = site.visitor.door("https", WWW)?.open().await?;
        let size = download();
        raw.send(format!("GET /bytes/{size} HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\n\r\n").as_bytes()).await?;
        ensure!(raw.answer(false).await?.status == 200);
        let (mut count, mut hash, mut told) = (0, CHECKSUM_START, false);
        while count < size {
            let some = raw.read().await?;
            ensure!(!some.is_empty(), "the download was cut after {count} bytes");
            count += some.len() as u64;
            hash = checksum(hash, &some);
            if count >= FIRST && !told {
                told = true;
                signal(connector.process.pid(), "TERM").await?;
                connector.process.log.wait_for("(?i)stopping").await?;
            }
        }
        let expected = (0..size / block().len() as u64).fold(CHECKSUM_START, |hash, _| checksum(hash, &block()));
        ensure!(count == size && hash == expected, "{count} bytes, damaged");
        let status = connector.process.wait().await?;
        ensure!(status.success(), "{status}: {}", connector.process.log.tail(20));
        Ok(())
    });
}

/// Visitors who go on asking. Each answer has to be whole.
struct Load {
    over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    visitors: JoinSet<Result<()>>,
}

impl Load {
    fn begin(visitor: &Visitor) -> Self {
        let (over, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let mut visitors = JoinSet::new();
        for _ in 0..4 {
            let (mut visitor, over, answered) = (visitor.clone(), over.clone(), answered.clone());
            visitors.spawn(async move {
                while !over.load(Relaxed) {
                    let reply = visitor.get(&format!("https://{WWW}/bytes/5000")).await?;
                    let whole = reply.answer.body == block()[..5000];
                    ensure!(reply.status() == 200 && whole, "{}: {}", reply.status(), reply.text());
                    answered.fetch_add(1, Relaxed);
                }
                Ok(())
            });
        }
        Self { over, answered, visitors }
    }

    /// Waits until some more were answered.
    async fn goes_on(&mut self) -> Result<()> {
        let wanted = self.answered.load(Relaxed) + BETWEEN;
        let more = async {
            while self.answered.load(Relaxed) < wanted {
                if let Some(ended) = self.visitors.try_join_next() {
                    return ended?;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Ok(())
        };
        timeout(PATIENCE, more).await.context("requests are not answered any more")?
    }

    async fn end(mut self) -> Result<usize> {
        self.over.store(true, Relaxed);
        while let Some(ended) = self.visitors.join_next().await {
            ended??;
        }
        Ok(self.answered.load(Relaxed))
    }
}

/// F5: of two replicas one after the other is stopped and started, over and over, and every request is answered.
#[test]
fn connectors_that_are_restarted_one_after_the_other_lose_no_request() {
    run("rolled", async |lab| {
        let (site, first) = Site::new(&lab).await?;
        let second = connector(&lab, &site.streams, "second").await?;
        let mut replicas = [Some(first), Some(second)];
        let mut load = Load::begin(&site.visitor);
        load.goes_on().await?;
        for round in 0..restarts() {
            let place = &mut replicas[round % 2];
            let stopped = place.take().context("a connector")?;
            let begun = Instant::now();
            let status = stopped.process.terminate().await?;
            ensure!(status.success(), "round {round}: {status}");
            load.goes_on().await.with_context(|| format!("round {round}, one is stopped"))?;
            *place = Some(connector(&site.lab, &site.streams, &format!("of round {round}")).await?);
            load.goes_on().await.with_context(|| format!("round {round}, both are there"))?;
            println!("round {round} took {:?}", begun.elapsed());
        }
        println!("{} requests were answered", load.end().await?);
        Ok(())
    });
}
