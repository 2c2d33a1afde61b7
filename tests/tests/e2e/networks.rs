//! The connector behind the access networks that people really have; and what can be seen on the way.

use anyhow::Result;
use tunnel_tests::{
    AccessNetwork, Connector, Edge, EdgeConfig, Lab, Process, Smtp, Visitor,
    access_network::{EDGE_V4, EDGE_V6},
    edge::{ACCESS, LOGIN_HOST},
    html::form_with,
    origin::Nginx,
    process::program,
    raw::find,
    run,
    stage::{STAFF, WWW},
};

/// What nginx serves here; no byte sequence of it may be seen on the way.
const SECRET: &str = "plaintext-that-nobody-on-the-way-may-read-0123456789";

/// The whole journey across `net`: connector and nginx inside, edge and visitor outside, everything captured.
async fn journey(lab: &Lab, net: &AccessNetwork, edge_address: &str, size: usize) -> Result<()> {
    let bracketed = if edge_address.contains(':') { format!("[{edge_address}]") } else { edge_address.to_owned() };
    let capture = net.capture(lab).await?;
    let smtp = Smtp::start_in(lab, &net.wan).await?;
    let config = EdgeConfig {
        listen: vec![format!("{bracketed}:443")],
        http_listen: vec![format!("{bracketed}:80")],
        ..EdgeConfig::with_mail(&smtp)
    };
    let edge = Edge::start_in(lab, &net.wan, config).await?;
    edge.apply(ACCESS).await?;
    let page = format!("{SECRET}{}", "x".repeat(size));
    let nginx = Nginx::spawn(lab, &net.lan, 3000, &page)?;
    // The machine enrols across the network too: nothing but packets joins the two sides.
    let ca = edge.ca().await?;
    let ca_file = lab.write("ca.pem", &ca)?;
    let connector = |args: &[&str]| -> Result<tokio::process::Command> {
        let mut command = lab.dress(net.lan.command(program("connector")?));
        command.args(args).args(["--edge", &format!("https://{LOGIN_HOST}"), "--hostname", WWW]);
        command.arg("--edge-ca").arg(&ca_file).arg("--config-dir").arg(lab.path("nas"));
        Ok(command)
    };
    let address = |port: u16| format!("{bracketed}:{port}").parse();
    let mut visitor = Visitor::at(&ca, address(443)?, address(80)?)?;
    let mut waiting = Process::start("connector login", connector(&["login"])?)?;
    let approval = waiting.log.wait_for(r"https://access\.example\.test/\S+").await?.remove(0);
    let mut administrator = visitor.clone();
    net.wan.inside(async {
        let page = administrator.login(&smtp, &approval, "admin@example.test").await?;
        let form = form_with(&page.text(), "answer")?.with("same", "on").with("answer", "approve");
        let done = administrator.submit(&page.url, &form).await?;
        let done = administrator.follow(done).await?;
        anyhow::ensure!(done.status() == 200, "{} after approving: {}", done.status(), done.text());
        anyhow::Ok(())
    })?;
    let status = waiting.wait().await?;
    anyhow::ensure!(status.success(), "connector login: {}", waiting.log.text());
    let _connector = Connector::start("connector", connector(&["--url", "http://127.0.0.1:3000"])?).await?;
    let reply = net.wan.inside(async {
        let mut visitor = visitor.clone();
        let reply = visitor.login(&smtp, &format!("https://{WWW}/deep/page?x=1"), STAFF).await?;
        // Several at once, and a body of some size up the other way.
        for _ in 0..5 {
            let again = visitor.get(&format!("https://{WWW}/")).await?;
            anyhow::ensure!(again.status() == 200, "{}", again.status());
        }
        anyhow::Ok((visitor, reply))
    });
    let (logged_in, reply) = reply?;
    visitor = logged_in;
    assert_eq!(reply.status(), 200, "{}", reply.text());
    assert_eq!(reply.text(), page);
    // The origin sees only the connector.
    let log = nginx.access_log()?;
    assert!(log.contains("GET /deep/page?x=1"), "{log}");
    assert!(log.lines().all(|line| line.starts_with("127.0.0.1 ")), "{log}");
    // What crossed the network tells the server's name and nothing else.
    let seen = capture.stop().await?;
    assert!(seen.len() > page.len() * 5, "the capture has the traffic: {} bytes", seen.len());
    assert!(find(&seen, LOGIN_HOST.as_bytes()).is_some(), "the names in ClientHello are seen, so the capture is right");
    let session = visitor.session(WWW)?;
    for plain in [SECRET, STAFF, "GET /", "HTTP/1.1", "deep/page", session.split_once('=').unwrap().1] {
        assert!(find(&seen, plain.as_bytes()).is_none(), "`{plain}` was seen on the way");
    }
    Ok(())
}

#[test]
fn behind_a_nat_that_lets_nothing_in() {
    run("nat", async |lab| journey(&lab, &AccessNetwork::behind_nat()?, EDGE_V4, 300_000).await);
}

#[test]
fn on_an_uplink_with_ipv6_only() {
    run("ipv6", async |lab| journey(&lab, &AccessNetwork::ipv6_only()?, EDGE_V6, 300_000).await);
}

#[test]
fn behind_ds_lite() {
    run("dslite", async |lab| journey(&lab, &AccessNetwork::ds_lite()?, EDGE_V4, 300_000).await);
}

#[test]
fn doubly_natted_with_few_ports() {
    run("map-e", async |lab| journey(&lab, &AccessNetwork::map_e()?, EDGE_V4, 300_000).await);
}

/// A path that swallows packets of more than 1280 bytes, without a word.
#[test]
fn behind_a_path_that_swallows_big_packets() {
    run("hole", async |lab| journey(&lab, &AccessNetwork::black_hole(1280)?, EDGE_V4, 300_000).await);
}
