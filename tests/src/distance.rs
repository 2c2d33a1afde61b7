//! Three machines far from each other: somebody at home, an edge, and an office with a connector and a service. What lies between
//! them is a [`Leg`] each, made by a thread that moves packets (`tests/distance`).

use std::{
    cmp::Reverse,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tokio::time::sleep;
use tunnel_distance::Device;
pub use tunnel_distance::{Distance, Passed, Way};

use crate::{
    Connector, Edge, EdgeConfig, Lab, Netns, PATIENCE, Process,
    access::{Home, listening},
    bulk::Bulk,
    process::finish,
};

/// The edge's address.
const EDGE: &str = "203.0.113.10";
/// What the office has towards the edge; the connector's machine.
const OFFICE: &str = "192.0.2.2";
/// The applications, both of them the same service, and where an access client of its own listens at home for each.
const APPLICATIONS: [(&str, u16); 2] = [("db.example.test", 7001), ("desk.example.test", 7002)];

const ACCESS: &str = "\
policies:
  - {name: machines, action: service_auth, include: [{service_token: robot}]}
applications:
  - {name: db, hostnames: [db.example.test], policies: [machines]}
  - {name: desk, hostnames: [desk.example.test], policies: [machines]}
";

/// What buffers may grow to, so that it is the network that sets a limit and not the system: half of it is more than 200 Mbit/s ×
/// 200 ms, the widest way that is measured, and its queue.
const BUFFERS: [&str; 2] = ["net.ipv4.tcp_rmem=4096 131072 16777216", "net.ipv4.tcp_wmem=4096 65536 16777216"];

/// What lies between two machines: what packets undergo on their way from the far end to the edge, and from the edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leg {
    /// Towards the edge.
    pub up: Way,
    /// From the edge.
    pub down: Way,
}

impl Leg {
    /// The same both ways.
    pub fn even(way: Way) -> Self {
        Self { up: way, down: way }
    }
}

/// Joins two machines by a leg, as [`crate::netns::cable`] does by a cable; `a` is its far end.
///
/// # Errors
/// The system refused.
pub fn lay(a: (&Netns, &str, &str), b: (&Netns, &str, &str), leg: Leg, seed: u64) -> Result<Distance> {
    let ends = [a, b].map(|(net, device, address)| {
        let made = net.inside(async { Device::new(device) }).with_context(|| format!("a TUN device `{device}`"))?;
        // IPv6 would send packets of its own, and chance is to meet those of the test only.
        net.sysctl(&format!("net.ipv6.conf.{device}.disable_ipv6=1"))?;
        net.ip(&["addr", "add", address, "dev", device])?;
        net.ip(&["link", "set", device, "up"])?;
        anyhow::Ok(made)
    });
    let [far, near] = ends;
    Ok(Distance::between(far?, near?, leg.up, leg.down, seed)?)
}

/// What is far from what, and by which rules TCP sends there.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Between home and the edge.
    pub home: Leg,
    /// Between the office and the edge.
    pub office: Leg,
    /// How TCP decides how much to send, on all machines: `cubic`, `bbr` or another one that the kernel has.
    pub congestion: &'static str,
    /// Decides which packets are lost.
    pub seed: u64,
}

/// The machines, the programs on them, and a service in the office, to which a way through the tunnel leads and a direct one over
/// the same legs.
#[derive(Debug)]
pub struct Faraway {
    /// The service.
    pub service: Bulk,
    /// Where the access client listens.
    pub tunnel: SocketAddr,
    /// Where that of the other application does.
    pub other: SocketAddr,
    /// Where the service is reached without the tunnel.
    pub direct: SocketAddr,
    /// The access clients.
    pub clients: [Process; 2],
    /// The connector.
    pub connector: Connector,
    /// The edge.
    pub edge: Edge,
    legs: [Distance; 2],
    _machines: [Netns; 1],
    office: Lab,
}

impl Faraway {
    /// Everything, up and joined. The lab's own machine is the one at home.
    ///
    /// # Errors
    /// A part did not come up.
    pub async fn open(lab: &Lab, plan: &Plan) -> Result<Self> {
        let (server, office) = (Netns::new("edge")?, lab.beside(Netns::new("office")?));
        for net in [lab.net(), &server, office.net()] {
            net.hosts(&[(EDGE, &format!("access.example.test {} {}", APPLICATIONS[0].0, APPLICATIONS[1].0))])?;
            // What one connection has found out is not told to the next one, which may be the other one's turn.
            net.sysctl("net.ipv4.tcp_no_metrics_save=1")?;
            for setting in BUFFERS {
                net.sysctl(setting)?;
            }
        }
        let legs = [
            lay((lab.net(), "h0", "198.51.100.2/30"), (&server, "e0", "198.51.100.1/30"), plan.home, plan.seed)?,
            lay(
                (office.net(), "o0", &format!("{OFFICE}/30")),
                (&server, "e1", "192.0.2.1/30"),
                plan.office,
                !plan.seed,
            )?,
        ];
        server.ip(&["addr", "add", &format!("{EDGE}/32"), "dev", "lo"])?;
        server.forward()?;
        // By routes: of the rules for sending, a namespace may have some by `sysctl` only where the whole system allows them.
        for (net, to, device) in [
            (lab.net(), "default", "h0"),
            (office.net(), "default", "o0"),
            (&server, "198.51.100.0/30", "e0"),
            (&server, "192.0.2.0/30", "e1"),
        ] {
            net.ip(&["route", "replace", to, "dev", device, "congctl", plan.congestion])?;
        }

        let config = EdgeConfig {
            listen: vec![format!("{EDGE}:443")],
            http_listen: vec![format!("{EDGE}:80")],
            ..EdgeConfig::default()
        };
        let edge = Edge::start_in(lab, &server, config).await?;
        let token = token(lab, &edge).await?;
        edge.apply(ACCESS).await?;
        let service = Bulk::start(office.net())?;
        let mut command = Connector::command(&office)?;
        for (hostname, _) in APPLICATIONS {
            command.args(["--hostname", hostname]);
        }
        command.args(["--url", &format!("tcp://127.0.0.1:{}", service.port())]);
        let connector = Connector::start("connector", command).await?;
        let home = Home::new(lab, "robot", &edge.ca().await?)?;
        let [db, desk] = APPLICATIONS;
        let clients = [client(&home, db, &token).await?, client(&home, desk, &token).await?];
        let [tunnel, other] = APPLICATIONS.map(|(_, port)| SocketAddr::from(([127, 0, 0, 1], port)));
        let direct = SocketAddr::new(OFFICE.parse()?, service.port());
        Ok(Self { service, tunnel, other, direct, clients, connector, edge, legs, _machines: [server], office })
    }

    /// Ends all of it, so that the lab can have another one, with the same data.
    ///
    /// # Errors
    /// The system refused.
    pub async fn close(self) -> Result<()> {
        for client in self.clients {
            client.kill().await?;
        }
        self.connector.process.kill().await?;
        self.edge.process.kill().await
    }

    /// What has become of the packets so far: from home, to home, from the office, to the office.
    pub fn passed(&self) -> [Passed; 4] {
        let [[from_home, to_home], [from_office, to_office]] = self.legs.each_ref().map(Distance::passed);
        [from_home, to_home, from_office, to_office]
    }

    /// What the connector has sent to the edge on each of its connections so far, in bytes, most first.
    ///
    /// # Errors
    /// `ss` failed.
    pub async fn sent_by_the_office(&self) -> Result<Vec<u64>> {
        let mut ask = self.office.command("ss");
        ask.args(["-Htinp", "state", "established", "dst", &format!("{EDGE}:443")]);
        let said = finish(ask).await?.ok()?;
        let sent = said.split_whitespace().filter_map(|word| word.strip_prefix("bytes_sent:")?.parse().ok());
        let mut sent: Vec<u64> = sent.collect();
        sent.sort_by_key(|bytes| Reverse(*bytes));
        Ok(sent)
    }

    /// Waits until what was under way has arrived or was given up: hardly anything passes any more.
    ///
    /// # Errors
    /// Much passes on and on.
    pub async fn quiet(&self) -> Result<()> {
        let bytes = || self.passed().map(|passed| passed.bytes);
        let begun = Instant::now();
        loop {
            let before = bytes();
            sleep(QUIET_FOR).await;
            let after = bytes();
            if after.iter().sum::<u64>() - before.iter().sum::<u64>() < QUIET {
                return Ok(());
            }
            if begun.elapsed() > 4 * PATIENCE {
                bail!("what nobody wants any more passes on and on: in {QUIET_FOR:?} from {before:?} to {after:?}");
            }
        }
    }
}

/// So many bytes are hardly anything, in so long: longer than a round trip, and than the pause after most losses.
const QUIET: u64 = 20_000;
const QUIET_FOR: Duration = Duration::from_millis(600);

/// The machine's credential, which is made once for a lab.
async fn token(lab: &Lab, edge: &Edge) -> Result<serde_json::Value> {
    let file = lab.path("robot.json");
    if !file.is_file() {
        std::fs::write(&file, edge.run(&["admin", "service-token", "create", "robot", "--json"]).await?.ok()?)?;
    }
    Ok(serde_json::from_slice(&std::fs::read(file)?)?)
}

/// An access client at home, as a machine, once it listens.
async fn client(home: &Home, (hostname, port): (&str, u16), token: &serde_json::Value) -> Result<Process> {
    let mut command = home.command(&["tcp", "--hostname", hostname, "--url", &format!("127.0.0.1:{port}")])?;
    for (name, field) in [("TUNNEL_SERVICE_TOKEN_ID", "id"), ("TUNNEL_SERVICE_TOKEN_SECRET", "secret")] {
        command.env(name, token[field].as_str().context("a token has an id and a secret")?);
    }
    let mut client = Process::start(&format!("access {hostname}"), command)?;
    listening(&mut client, port).await?;
    Ok(client)
}
