//! A client and a server of gRPC, as people have them: every kind of call, its end, and being turned away.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use tokio::{process::Command, time::timeout};
use tunnel_tests::{
    Canary, Connector, Door, Edge, EdgeConfig, Head, Lab, Process, Smtp,
    canary::After,
    http2::Http2,
    process::{ends_within, finish, long, tool},
    run,
};

use super::origins::certificate;

const HOST: &str = "grpc.example.test";
/// Where there is another service, or none.
const AWAY: &str = "away.example.test";
/// Where the server listens.
const PORT: &str = "50051";
/// What its certificate says, if it has one.
const NAME: &str = "grpc.internal";
/// For everything that the client tries, on a machine that is busy with other things.
const LIMIT: Duration = Duration::from_secs(120);
const RST_STREAM: u8 = 3;
const NO_ERROR: u32 = 0;
const CANCEL: u32 = 8;

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

/// Whether the server speaks HTTP/2 without TLS, or by it.
#[derive(Clone, Copy)]
enum Server {
    Clear,
    Tls,
}

async fn site(lab: &Lab) -> anyhow::Result<Site> {
    site_with(lab, "", Server::Clear).await
}

/// A site with more lines in `edge.toml`, and a server of one of both kinds.
async fn site_with(lab: &Lab, extra: &str, kind: Server) -> anyhow::Result<Site> {
    let smtp = Smtp::start(lab).await?;
    let config = EdgeConfig { extra: extra.into(), ..EdgeConfig::with_mail(&smtp) };
    let edge = Edge::start(lab, config).await?;
    let (robot, other) = (token(&edge, &["create", "robot"]).await?, token(&edge, &["create", "other"]).await?);
    edge.apply(ACCESS).await?;
    lab.write("ca.pem", &edge.ca().await?)?;
    let mut server = python(lab, "server.py", include_str!("../../grpc/server.py"))?;
    server.arg(PORT);
    let mut command = Connector::command(lab)?;
    command.args(["--hostname", HOST, "--http2-origin", "--url"]);
    match kind {
        Server::Clear => {
            command.arg(format!("http://127.0.0.1:{PORT}"));
        }
        Server::Tls => {
            let own = certificate(lab, NAME).await?;
            server.arg(lab.path(format!("{NAME}.key"))).arg(&own);
            command.arg(format!("https://127.0.0.1:{PORT}"));
            command.args(["--origin-server-name", NAME, "--origin-ca-pool"]).arg(own);
        }
    }
    let server = Process::start("grpc server", server)?;
    server.log.wait_for(r"(?m)^ready$").await?;
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

/// Metadata, trailers and status, streams of each kind, 300 calls at once, and what the caller gives up.
async fn every_kind_of_call(site: &Site) -> anyhow::Result<()> {
    let mut client = Process::start("grpc client", site.client(Some(&site.robot), &["all"])?)?;
    for word in ["unary", "errors", "streams", "both ways", "many", "ends"] {
        client.log.wait_for(&format!("(?m)^{word}$")).await?;
    }
    assert!(timeout(LIMIT, client.wait()).await??.success());
    for call in ["cancelled", "late"] {
        site.server.log.wait_for(&format!("(?m)^slow ends: {call}$")).await?;
    }
    Ok(())
}

/// H14 at its end: what a caller gives up, or has no more time for, ends at the server.
#[test]
fn every_kind_of_call_arrives_and_ends_as_it_should() {
    run("grpc", async |lab| every_kind_of_call(&site(&lab).await?).await);
}

/// The same where TLS says that it is HTTP/2.
#[test]
fn every_kind_of_call_arrives_and_ends_as_it_should_at_a_server_with_tls() {
    run("grpc-tls", async |lab| every_kind_of_call(&site_with(&lab, "", Server::Tls).await?).await);
}

/// Neither what a service may take for its answer nor what a visitor may wait with a body is for calls: nobody says
/// anything for longer than that, and they go on. Given up, a call ends at its service by RST_STREAM (H14).
#[test]
fn a_call_may_be_silent_and_ends_at_the_service_when_it_is_given_up() {
    run("grpc-silent", async |lab| {
        let site = site_with(&lab, "response_timeout = 1", Server::Clear).await?;
        // In the long form for longer than a body may be silent, too.
        let seconds = if long() { "12" } else { "2" };
        let mut client = Process::start("grpc client", site.client(Some(&site.robot), &["silent", seconds])?)?;
        let manners = |head: &Head| match head.target() {
            "/cut" => (b"HTTP/1.1 200 OK\r\n\r\nhalf".to_vec(), After::Close),
            _ => (Vec::new(), After::Silence),
        };
        let canary = Canary::answering_http2(Arc::new(manners)).await?;
        let _connector = canary.publish(&lab, AWAY).await?;
        let door = Door::tls("127.0.0.1:443".parse()?, &site.edge.ca().await?, AWAY, &["h2"])?;
        let mut h2 = Http2::open(&door).await?;
        let (id, secret) = &site.robot;
        let fields = |path: &'static str, kind: &'static str| {
            let head = [(":method", "POST"), (":scheme", "https"), (":authority", AWAY), (":path", path)];
            let rest = [("content-type", kind), ("te", "trailers"), ("grpc-timeout", "90S")];
            let credential = [("cf-access-client-id", id.as_str()), ("cf-access-client-secret", secret.as_str())];
            [&head[..], &rest[..], &credential[..]].concat()
        };
        let message = [0, 0, 0, 0, 3, b'a', b'b', b'c'];
        let (whole, part, cut) = ("/t.T/Whole", "/t.T/Part", "/t.T/Cut");
        let mut streams = Vec::new();
        for path in [whole, part, cut] {
            let stream = h2.begin(&fields(path, "application/grpc"), false).await?;
            h2.data(stream, &message, path == whole).await?;
            streams.push((path, stream));
        }
        canary.wait_until(|canary| streams.iter().all(|(path, _)| canary.heard(path))).await?;
        canary.wait_for_heads(1).await?;
        assert_eq!(canary.heads()[0].one("grpc-timeout"), "90S");
        // What is no call is not waited for.
        let other = h2.begin(&fields("/other", "application/json"), true).await?;
        assert_eq!(h2.outcome(other).await?.status(), 504);
        canary.wait_until(|canary| canary.given_up() == [("/other".to_owned(), CANCEL)]).await?;
        // However a visitor says that it wants no more: a call that was not ended is not ended in its place.
        for ((path, stream), code) in streams.into_iter().zip([CANCEL, CANCEL, NO_ERROR]) {
            h2.send(RST_STREAM, 0, stream, &code.to_be_bytes()).await?;
            canary.wait_until(|canary| canary.given_up().iter().any(|(target, _)| target == path)).await?;
            let given_up = canary.given_up();
            let (_, said) = given_up.last().context("one more")?;
            assert!(*said == CANCEL || code == NO_ERROR, "{given_up:?}");
        }
        // Nor is an answer whole that the service gave up.
        let mut raw = door.offering(&["http/1.1"]).open().await?;
        let credential = format!("Cf-Access-Client-Id: {id}\r\nCf-Access-Client-Secret: {secret}\r\n");
        raw.send(format!("GET /cut HTTP/1.1\r\nHost: {AWAY}\r\n{credential}Connection: close\r\n\r\n").as_bytes())
            .await?;
        let cut = String::from_utf8_lossy(&raw.rest().await?).into_owned();
        assert!(!cut.contains("\r\n0\r\n"), "{cut}");
        let heads = canary.heads();
        let arrived: Vec<_> = heads.iter().map(Head::target).collect();
        assert!(arrived.starts_with(&[whole, "/other", "/cut"]), "{arrived:?}");
        client.log.wait_for("(?m)^spoken$").await?;
        assert!(timeout(LIMIT, client.wait()).await??.success());
        Ok(())
    });
}

/// S5: a call that is open ends within a second of the right to it.
#[test]
fn a_call_does_not_outlive_the_right_to_it() {
    run("grpc-cut", async |lab| {
        let site = site(&lab).await?;
        let mut client = Process::start("grpc client", site.client(Some(&site.robot), &["stay"])?)?;
        client.log.wait_for("(?m)^open$").await?;
        token(&site.edge, &["rotate", "robot", "--grace", "0s"]).await?;
        timeout(ends_within(), client.log.wait_for("(?m)^cut: ")).await.context("it goes on")??;
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
            (Some(&site.robot), AWAY, "UNAVAILABLE", "no_tunnel"),
        ] {
            let told = finish(site.client(who, &[host, code])?).await?.ok()?;
            assert!(told.contains(said), "{host} {code}: {told}");
        }
        Ok(())
    });
}
