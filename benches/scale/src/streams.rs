//! Streams through an access client's link and the real connector, which opens a connection to a service for each.

use std::{
    net::SocketAddr,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    process::Command,
    task::JoinSet,
    time::{sleep, timeout},
};
use tunnel_proto::{
    GrantId, InstanceId,
    identity::{ALPN_ACCESS, provider},
    link::{self, Connected, Link, Settings, Stream},
    message::{Credential, Hello, Message, OpenGrant, Present, Role},
};

use crate::{
    Plan,
    ask::{secure, trusting},
    edge::{Edge, LOGIN_HOST, Program, Token, ZONE},
    meter::{self, Times},
    report::{Part, Report},
    say,
};

/// What an idle connection may take at the edge and the connector together, in KiB.
pub(crate) const CONNECTION_MAX: f64 = 20.0;
/// What a program may take that has nothing to do, in MiB.
pub(crate) const PROGRAM_MAX: f64 = 25.0;
/// How long opening a stream or an echo may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Streams that are opened at a time.
const AT_A_TIME: usize = 64;

/// An edge, the real connector and a service that sends back what it gets.
pub(crate) struct Site {
    pub(crate) edge: Edge,
    pub(crate) connector: Program,
    token: Token,
    tls: Arc<rustls::ClientConfig>,
}

impl Site {
    pub(crate) async fn start(plan: &Plan, connections: usize) -> Result<Self> {
        let edge = Edge::start(plan).await?;
        let token = edge.token("robot").await?;
        edge.apply(&format!(
            "policies: [{{name: robots, action: service_auth, include: [{{service_token: robot}}]}}]\napplications: [{{name: tcp, \
             hostnames: [{}], policies: [robots]}}]\n",
            host()
        ))
        .await?;
        let service = echo().await?;
        let mut command = Command::new(plan.program("connector")?);
        command.args(["--hostname", &host(), "--url", &format!("tcp://{service}")]);
        command.args(["--connections", &connections.to_string(), "--edge", &edge.address.to_string()]);
        command.arg("--data-dir").arg(edge.dir().join("edge")).arg("--config-dir").arg(edge.dir().join("connector"));
        let log = std::fs::File::create(edge.dir().join("connector.log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let connector = Program::start(command)?;
        let tls = trusting(&edge.ca().await?, ALPN_ACCESS)?;
        let site = Self { edge, connector, token, tls };
        site.wait().await?;
        // Every link is up a moment after the first.
        sleep(Duration::from_secs(2)).await;
        Ok(site)
    }

    /// Waits until a stream can be opened.
    async fn wait(&self) -> Result<()> {
        let begun = Instant::now();
        // A grant from before the hostname was routed ends with that, so that each try has its own.
        while let Err(error) = async { open(&self.link().await?).await }.await {
            let log = || std::fs::read_to_string(self.edge.dir().join("connector.log")).unwrap_or_default();
            ensure!(begun.elapsed() < PATIENCE, "the connector does not come up: {error:#}\n{}", log());
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Another link of an access client, with a grant for the application.
    pub(crate) async fn link(&self) -> Result<Link> {
        let stream = secure(self.edge.address, &self.tls, LOGIN_HOST).await?;
        let mut id = [0; 16];
        provider().secure_random.fill(&mut id).ok().context("random bytes")?;
        let hello = Hello::new(Role::Access, "scale", InstanceId::from_random(id));
        let Connected { link, incoming, mut control, .. } = link::connect(stream, hello, Settings::for_edge()).await?;
        let Token { id, secret } = self.token.clone();
        let credential = Credential::ServiceToken { id, secret };
        control.send(Present { grant: GRANT, hostname: host().parse()?, credential }).await?;
        match control.next().await {
            Some(Message::Granted(_)) => {}
            other => bail!("no grant: {other:?}"),
        }
        tokio::spawn(async move {
            let _incoming = incoming;
            while control.next().await.is_some() {}
        });
        Ok(link)
    }

    pub(crate) async fn stop(self) -> Result<()> {
        self.connector.stop().await?;
        self.edge.stop().await
    }

    /// What both programs take, in KiB.
    pub(crate) fn memory(&self) -> Result<(f64, f64)> {
        let kib = |bytes: u64| bytes as f64 / 1024.0;
        Ok((kib(self.edge.memory()?), kib(meter::memory(self.connector.pid())?)))
    }
}

const GRANT: GrantId = GrantId(1);

fn host() -> String {
    format!("tcp.{ZONE}")
}

/// A TCP service that sends back what it gets, and keeps nothing for whoever says nothing.
async fn echo() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = [0; 64];
                socket.set_nodelay(true).ok();
                while let Ok(count @ 1..) = socket.read(&mut bytes).await {
                    let said = bytes.get(..count).unwrap_or_default();
                    if socket.write_all(said).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok(address)
}

/// Opens a stream, and hears the service once.
pub(crate) async fn open(link: &Link) -> Result<Stream> {
    let opening = async {
        let mut stream = link.open(OpenGrant { grant: GRANT, destination: None }).await?;
        stream.accepted().await?;
        hear(&mut stream).await?;
        Ok(stream)
    };
    timeout(PATIENCE, opening).await.context("a stream that takes too long")?
}

/// Sends something and waits for it to come back; how long that took.
pub(crate) async fn hear(stream: &mut Stream) -> Result<Duration> {
    let (begun, mut bytes) = (Instant::now(), [0; 16]);
    stream.write_all(b"here and back...").await?;
    stream.flush().await?;
    timeout(PATIENCE, stream.read_exact(&mut bytes)).await.context("an echo that takes too long")??;
    Ok(begun.elapsed())
}

/// Opens so many streams on a link, some at a time.
pub(crate) async fn open_all(link: &Link, count: usize) -> Result<Vec<Stream>> {
    let mut streams = Vec::with_capacity(count);
    let (mut begun, mut opening) = (0, JoinSet::new());
    while streams.len() < count {
        while begun < count && opening.len() < AT_A_TIME {
            let link = link.clone();
            opening.spawn(async move { open(&link).await });
            begun += 1;
        }
        streams.push(opening.join_next().await.context("a stream")???);
    }
    Ok(streams)
}

pub(crate) async fn measure(plan: &Plan, report: &mut Report) -> Result<()> {
    let sizes = plan.sizes(&[1, 10, 100], &[1, 10, 100, 1_000]);
    let (echoes, rest) = (plan.pick(200, 4_000), Duration::from_secs(if plan.quick { 1 } else { 5 }));
    let mut part = Part::new(
        "streams",
        "Streams in one link, from an access client by way of the edge to one link of the connector",
        &[
            ("an echo, p50", "µs"),
            ("an echo, p99", "µs"),
            ("an echo, CPU at the edge", "µs"),
            ("another stream opens and is heard, p50", "µs"),
            ("memory of an idle stream at the edge", "KiB"),
            ("memory of an idle stream at the connector", "KiB"),
            ("edge and connector at rest", "% of a core"),
        ],
    );
    say("streams: an edge and a connector");
    let site = Site::start(plan, 1).await?;
    let link = site.link().await?;
    let (before, mut streams) = (site.memory()?, Vec::new());
    for &count in sizes {
        streams.append(&mut open_all(&link, count - streams.len()).await?);
        say(format!("streams: {count} are open"));
        sleep(Duration::from_millis(500)).await;
        let memory = site.memory()?;
        let each = |now: f64, before: f64| (count > 1).then_some((now - before).max(0.0) / count as f64);
        let (edge, connector) = (site.edge.pid(), site.connector.pid());
        let resting = tokio::try_join!(meter::at_rest(edge, rest), meter::at_rest(connector, rest))?;
        let (mut times, used) = (Times::default(), meter::cpu(edge)?);
        for _ in 0..echoes.div_ceil(count) {
            for stream in streams.iter_mut().take(echoes) {
                times.push(hear(stream).await?);
            }
        }
        let used = meter::cpu(edge)?.saturating_sub(used);
        let mut opened = Times::default();
        // One more than there are may be open meanwhile.
        for _ in 0..plan.pick(20, 200) {
            let begun = Instant::now();
            open(&link).await?;
            opened.push(begun.elapsed());
        }
        let made = echoes.div_ceil(count) * count.min(echoes);
        part.row(
            count,
            vec![
                Some(times.percentile(0.5)),
                Some(times.percentile(0.99)),
                Some(used.as_secs_f64() * 1e6 / made as f64),
                Some(opened.percentile(0.5)),
                each(memory.0, before.0),
                each(memory.1, before.1),
                Some(resting.0 + resting.1),
            ],
        );
    }
    drop((streams, link));
    site.stop().await?;
    report.add(part);
    Ok(())
}
