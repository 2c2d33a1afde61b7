//! A client and a server of gRPC, as people have them: every kind of call, its end, and being turned away.

use std::time::Duration;

use anyhow::Context;
use tokio::{process::Command, time::timeout};
use tunnel_tests::{
    Connector, Edge, EdgeConfig, Lab, Process, Smtp,
    process::{finish, tool},
    run,
};

const HOST: &str = "grpc.example.test";
/// Where the server listens.
const PORT: &str = "50051";
/// For everything that the client tries, on a machine that is busy with other things.
const LIMIT: Duration = Duration::from_secs(120);

const ACCESS: &str = "\
login_methods:
  - {name: pin, type: one_time_pin}
policies:
  - {name: staff-only, action: allow, include: [{email_domain: example.test}]}
  - {name: machines, action: service_auth, include: [{service_token: robot}]}
applications:
  - {name: grpc, hostnames: [grpc.example.test], policies: [staff-only, machines]}
  - {name: away, hostnames: [away.example.test], policies: [staff-only, machines]}
";

struct Site {
    lab: Lab,
    edge: Edge,
    server: Process,
    _smtp: Smtp,
    _connector: Connector,
    robot: (String, String),
    other: (String, String),
}

async fn site(lab: &Lab) -> anyhow::Result<Site> {
    let smtp = Smtp::start(lab).await?;
    let edge = Edge::start(lab, EdgeConfig::with_mail(&smtp)).await?;
    let (robot, other) = (token(&edge, &["create", "robot"]).await?, token(&edge, &["create", "other"]).await?);
    edge.apply(ACCESS).await?;
    lab.write("ca.pem", &edge.ca().await?)?;
    let mut server = python(lab, "server.py", include_str!("../../grpc/server.py"))?;
    server.arg(PORT);
    let server = Process::start("grpc server", server)?;
    server.log.wait_for(r"(?m)^ready$").await?;
    let mut command = Connector::command(lab)?;
    command.args(["--hostname", HOST, "--url", &format!("http://127.0.0.1:{PORT}"), "--http2-origin"]);
    let connector = Connector::start("connector of gRPC", command).await?;
    Ok(Site { lab: lab.clone(), edge, server, _smtp: smtp, _connector: connector, robot, other })
}

/// What a command about a service token gives: id and secret.
async fn token(edge: &Edge, words: &[&str]) -> anyhow::Result<(String, String)> {
    let args: Vec<&str> =
        ["admin", "service-token"].into_iter().chain(words.iter().copied()).chain(["--json"]).collect();
    let said: serde_json::Value = serde_json::from_str(&edge.run(&args).await?.ok()?)?;
    let field = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
    Ok((field("id"), field("secret")))
}

fn python(lab: &Lab, name: &str, script: &str) -> anyhow::Result<Command> {
    let mut python = lab.command(tool("venv")?.join("bin/python"));
    python.arg(lab.write(name, script)?);
    Ok(python)
}

impl Site {
    fn client(&self, who: Option<&(String, String)>, words: &[&str]) -> anyhow::Result<Command> {
        let mut client = python(&self.lab, "client.py", include_str!("../../grpc/client.py"))?;
        client.args(words).env("EDGE_CA", self.lab.path("ca.pem"));
        if let Some((id, secret)) = who {
            client.env("TOKEN_ID", id).env("TOKEN_SECRET", secret);
        }
        Ok(client)
    }
}

/// H14 at its end: what a caller gives up, or has no more time for, ends at the server.
#[test]
fn every_kind_of_call_arrives_and_ends_as_it_should() {
    run("grpc", async |lab| {
        let site = site(&lab).await?;
        let mut client = Process::start("grpc client", site.client(Some(&site.robot), &["all"])?)?;
        for word in ["unary", "errors", "streams", "both ways", "many", "ends"] {
            client.log.wait_for(&format!("(?m)^{word}$")).await?;
        }
        assert!(timeout(LIMIT, client.wait()).await??.success());
        for call in ["cancelled", "late"] {
            site.server.log.wait_for(&format!("(?m)^slow ends: {call}$")).await?;
        }
        Ok(())
    });
}

/// A call that is open ends within a second of the right to it.
#[test]
fn a_call_does_not_outlive_the_right_to_it() {
    run("grpc-cut", async |lab| {
        let site = site(&lab).await?;
        let mut client = Process::start("grpc client", site.client(Some(&site.robot), &["stay"])?)?;
        client.log.wait_for("(?m)^open$").await?;
        token(&site.edge, &["rotate", "robot", "--grace", "0s"]).await?;
        timeout(Duration::from_secs(5), client.log.wait_for("(?m)^cut: ")).await.context("it goes on")??;
        assert!(client.wait().await?.success());
        Ok(())
    });
}

#[test]
fn a_client_that_is_turned_away_is_told_in_its_own_way() {
    run("grpc-away", async |lab| {
        let site = site(&lab).await?;
        let unknown = (site.robot.0.clone(), site.other.1.clone());
        for (who, host, code, said) in [
            (None, HOST, "UNAUTHENTICATED", "login_required"),
            (Some(&unknown), HOST, "UNAUTHENTICATED", "login_required"),
            (Some(&site.other), HOST, "PERMISSION_DENIED", "("),
            (Some(&site.robot), "away.example.test", "UNAVAILABLE", "no_tunnel"),
        ] {
            let told = finish(site.client(who, &[host, code])?).await?.ok()?;
            assert!(told.contains(said), "{host} {code}: {told}");
        }
        Ok(())
    });
}
