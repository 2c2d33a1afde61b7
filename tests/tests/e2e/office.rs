//! From a third network into an office behind a NAT; and from one network at home to another.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};
use tunnel_tests::{
    Lab, Office, PATIENCE, Process,
    office::{DESKS, EDGE, HOME, HOME_DEVICE, OTHER_HOME},
    process::finish,
    run,
    services::{Desktop, Sshd, freerdp, picture, redis},
};

const DB: &str = "db.example.test";
const JUMP: &str = "jump.example.test";

const ACCESS: &str = "\
login_methods:
  - {name: pin, type: one_time_pin}
policies:
  - name: staff-only
    action: allow
    include: [{email_domain: example.test}]
    destinations: [\"192.168.1.0/24:*\"]
applications:
  - {name: db, hostnames: [db.example.test], policies: [staff-only]}
  - {name: jump, hostnames: [jump.example.test], policies: [staff-only]}
";

async fn office(lab: &Lab) -> Result<Office> {
    Office::open(lab, &[DB, JUMP], ACCESS).await
}

#[test]
fn a_bastion_leads_to_another_machine_of_the_office_from_a_third_network() {
    run("office", async |lab| {
        let mut office = office(&lab).await?;
        let desktop = DESKS[0];
        let _desktop = Desktop::start(&office.desk, format!("{desktop}:3389").parse()?, 41).await?;
        let sshd = Sshd::start(&office.desk, format!("{desktop}:22").parse()?, &lab.path("root-of-desk")).await?;
        let allow = ["--allow", "192.168.1.0/24:3389", "--allow", "192.168.1.0/24:22"];
        let _bastion = office.publish(&[&["--hostname", JUMP, "--bastion"], &allow[..]].concat()).await?;
        for port in [22, 3389] {
            let direct = timeout(Duration::from_secs(2), TcpStream::connect((desktop, port))).await;
            assert!(!matches!(direct, Ok(Ok(_))), "nothing but the tunnel leads to the office");
        }
        office.log_in(JUMP).await?;

        let to = format!("{desktop}:3389");
        let args = ["rdp", "--hostname", JUMP, "--url", "localhost:2244", "--destination", &to];
        let _forward = office.home.forward(&args, 2244).await?;
        picture(&lab, freerdp(&lab, 2244), 42, "office.png").await?;

        let to = format!("{desktop}:22");
        let mut ssh =
            Process::start("access ssh", office.home.command(&["ssh", "--hostname", JUMP, "--destination", &to])?)?;
        ssh.stdout.wait_for("SSH-2.0-").await?;
        ssh.type_in("not what is spoken here\n").await?;
        ssh.wait().await?;
        // To the desk, it is the connector's machine that comes.
        sshd.process.log.wait_for(r"192\.168\.1\.10 port").await?;

        // What the connector does not allow, it refuses, although the policy would have it.
        let to = format!("{desktop}:23");
        let refused = finish(office.home.command(&["tcp", "--hostname", JUMP, "--destination", &to])?).await?;
        assert_eq!(refused.code, 3, "{}", refused.said());
        assert!(refused.stderr.contains("the connector"), "{}", refused.stderr);
        Ok(())
    });
}

/// A connection to Redis through the local port that has answered.
async fn connected(port: u16) -> Result<TcpStream> {
    let mut tcp = TcpStream::connect(("127.0.0.1", port)).await?;
    tcp.write_all(b"PING\r\n").await?;
    let mut answer = [0; 7];
    tcp.read_exact(&mut answer).await?;
    ensure!(&answer == b"+PONG\r\n", "{answer:?}");
    Ok(tcp)
}

/// Runs a client with a live connection, changes something about the network beneath it, and holds it to what it must do.
fn survives(label: &str, change: impl AsyncFnOnce(&Lab, &Office) -> Result<()> + Send + 'static) {
    let what = label.to_owned();
    run(label, async move |lab| {
        let mut office = office(&lab).await?;
        let _redis = redis(&office.machine, 6379).await?;
        let _connector = office.publish(&["--hostname", DB, "--url", "tcp://localhost:6379"]).await?;
        office.log_in(DB).await?;
        let client = office.home.forward(&["tcp", "--hostname", DB, "--url", "127.0.0.1:7001"], 7001).await?;
        let mut old = connected(7001).await?;
        change(&lab, &office).await?;

        let begun = Instant::now();
        let ended = tokio::spawn(async move { (old.read(&mut [0; 1]).await, begun.elapsed()) });
        let again = async {
            while connected(7001).await.is_err() {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, again).await.map_err(|_| anyhow::anyhow!("no connection again:\n{}", client.log.tail(20)))?;
        let took = begun.elapsed();
        let (read, end) = timeout(PATIENCE, ended).await??;
        println!("{what}: the old connection ended after {end:?}, a new one worked after {took:?}");
        assert!(read.is_err(), "a connection that was cut does not look whole: {read:?}");
        assert!(took < Duration::from_secs(10), "{took:?}");
        assert_eq!(office.home.opened().len(), 1, "the login has outlived it");
        client.log.wait_for("the link is over|the link to the edge was lost").await?;
        Ok(())
    });
}

#[test]
fn a_client_that_changes_its_network_goes_on_by_itself() {
    survives("moved", async |lab, _| {
        let net = lab.net();
        net.ip(&["addr", "del", &format!("{}/24", HOME.0), "dev", HOME_DEVICE])?;
        net.ip(&["addr", "add", &format!("{}/24", OTHER_HOME.0), "dev", HOME_DEVICE])?;
        net.ip(&["route", "replace", "default", "via", OTHER_HOME.1])
    });
}

#[test]
fn a_client_whose_link_goes_silently_dead_goes_on_by_itself() {
    survives("silent", async |lab, office| {
        let mut ask = lab.command("ss");
        ask.args(["-Htn", "state", "established", "dst", &format!("{EDGE}:443")]);
        let links = finish(ask).await?.ok()?;
        let ports: Vec<_> =
            links.lines().filter_map(|line| line.split_whitespace().nth(2)?.rsplit(':').next()).collect();
        ensure!(!ports.is_empty(), "the client has a link: {links}");
        office.internet.nft(&format!(
            "table ip hole {{
  chain forw {{ type filter hook forward priority 0; policy accept; ip saddr {home} tcp sport {{ {ports} }} drop; ip daddr {home} tcp dport {{ {ports} }} drop; }}
}}
",
            home = HOME.0,
            ports = ports.join(", ")
        ))
    });
}
