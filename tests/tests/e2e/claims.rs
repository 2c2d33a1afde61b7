//! A connector that claims what is another tunnel's, again and again, while everything around it changes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tokio::{task::JoinSet, time::timeout};
use tunnel_origin::{EdgeAddress, Service, SocketTarget, StoredTunnel};
use tunnel_proto::HostPattern;
use tunnel_tests::{
    Canary, Connector, Lab, PATIENCE, Stage, Visitor,
    canary::{After, SONG, page},
    edge::{ACCESS, LOGIN_HOST},
    process::long,
    run,
    stage::{APP, STAFF, WWW},
};

/// What the thief's service says.
const CAUGHT: &str = "<p>caught</p>";

/// How long the answers of one part may take.
const ENOUGH_IN: Duration = Duration::from_secs(600);

/// How many requests are answered at the hostname that is claimed.
fn requests() -> usize {
    if long() { 100_000 } else { 600 }
}

/// A connector with the credentials of the tunnel of [`APP`], which says that it serves everything else, too.
fn thief(lab: &Lab, own: &Canary, trap: &Canary) -> Result<tunnel_origin::Connector> {
    let stored = StoredTunnel::read(lab.path("connector/tunnels").join(APP))?;
    let edge = EdgeAddress::new(SocketTarget::new("127.0.0.1", 443)?, LOGIN_HOST.parse()?);
    let (own, trap): (Service, Service) = (own.url().parse()?, trap.url().parse()?);
    let builder = tunnel_origin::Connector::builder().edge(edge).credentials(stored.credentials().clone());
    let builder = builder
        .service(WWW.parse::<HostPattern>()?, trap.clone())
        .service(LOGIN_HOST.parse::<HostPattern>()?, trap.clone())
        .service(APP.parse::<HostPattern>()?, own)
        .service("*.example.test".parse::<HostPattern>()?, trap);
    Ok(builder.start()?)
}

/// The thief, who comes and goes until told to stop; how often it was up.
async fn steal(lab: Lab, own: Arc<Canary>, trap: Arc<Canary>, over: Arc<AtomicBool>) -> Result<usize> {
    let mut times = 0;
    while !over.load(Relaxed) {
        let mut connector = thief(&lab, &own, &trap)?;
        let mut status = connector.status();
        let up = async {
            tokio::select! {
                ready = status.wait_for(tunnel_origin::Status::is_ready) => ready.map(drop).context("it has gone"),
                ended = connector.ended() => bail!("the edge ended it for good: {ended:?}"),
            }
        };
        timeout(PATIENCE, up).await.context("the thief does not come up")??;
        times += 1;
        tokio::time::sleep(Duration::from_millis(150)).await;
        drop(connector);
    }
    Ok(times)
}

/// Whoever asks at [`WWW`], until there were enough answers.
async fn ask(mut visitor: Visitor, answered: Arc<AtomicUsize>) -> Result<()> {
    let mut last = Instant::now();
    while answered.load(Relaxed) < requests() {
        // While the edge is away there is nobody to ask.
        let (status, text) = match visitor.get(&format!("https://{WWW}/mine")).await {
            Ok(reply) => (reply.status(), reply.text()),
            Err(_) => (0, String::new()),
        };
        match status {
            200 => {
                ensure!(text == SONG, "another service answered: {text}");
                answered.fetch_add(1, Relaxed);
                last = Instant::now();
            }
            0 | 502..=504 | 530 => tokio::time::sleep(Duration::from_millis(20)).await,
            other => bail!("{other}: {text}"),
        }
        ensure!(last.elapsed() < PATIENCE, "nobody answers any more; last {status}: {text}");
    }
    Ok(())
}

/// T2: whatever a connector announces, and whatever is killed, declared or started anew meanwhile, no request for a hostname
/// reaches it that no administrator gave to its tunnel.
#[test]
fn what_a_connector_claims_brings_it_no_request() {
    run("claims", async |lab| {
        let mut stage = Stage::set(&lab).await?;
        let (own, trap) = (
            Arc::new(Canary::start().await?),
            Arc::new(Canary::answering(Arc::new(|_| (page(CAUGHT), After::KeepAlive))).await?),
        );
        let mut visitor = stage.somebody(WWW, STAFF).await?;
        let over = Arc::<AtomicBool>::default();
        let thief = tokio::spawn(steal(lab.clone(), own.clone(), trap.clone(), over.clone()));
        let answered = Arc::<AtomicUsize>::default();
        let mut asking = JoinSet::new();
        for _ in 0..4 {
            asking.spawn(ask(visitor.clone(), answered.clone()));
        }
        // Each change after some more answers.
        let reaches = async |part: usize| {
            let enough = async {
                while answered.load(Relaxed) < requests() * part / 8 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            timeout(ENOUGH_IN, enough).await.context("there are no answers")
        };
        reaches(1).await?;
        stage.connectors.remove(0).process.kill().await?;
        let alone = visitor.get(&format!("https://{WWW}/alone")).await?;
        assert_ne!(alone.text(), CAUGHT, "without its own connector a hostname is nobody's");
        stage.connectors.insert(0, Connector::publish(&lab, WWW, &stage.www.url()).await?);
        reaches(3).await?;
        let third = "  - {name: third, hostnames: [third.example.test], policies: [staff-only]}\n";
        stage.edge.apply(&format!("{ACCESS}{third}")).await?;
        reaches(4).await?;
        stage.edge = stage.edge.restart().await?;
        reaches(5).await?;
        stage.edge.apply(ACCESS).await?;
        while let Some(done) = asking.join_next().await {
            done??;
        }
        // At its own hostname it is served, which shows that it is there; what is nobody's stays so.
        let free = visitor.get("https://third.example.test/").await?;
        assert_ne!(free.text(), CAUGHT);
        over.store(true, Relaxed);
        let times = thief.await??;
        println!("{} requests were answered; the thief was there {times} times", answered.load(Relaxed));
        assert!(times > 3, "the thief was there {times} times");
        trap.assert_heard_nothing("it was routed nothing");
        Ok(())
    });
}
