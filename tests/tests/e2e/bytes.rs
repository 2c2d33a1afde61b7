//! Every byte arrives, once and in its place, whichever way a TCP service is reached.

use std::time::Duration;

use anyhow::{Context, ensure};
use futures::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    net::{TcpListener, TcpStream},
    process::Command,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::{
    Message,
    client::IntoClientRequest,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};
use tunnel_tests::{
    Connector, Edge, EdgeConfig, Firewall, Lab, Process,
    access::{Home, listening},
    bytecheck::{Plan, Service, exchange},
    process::long,
    raw::trusting,
    run,
};

const DB: &str = "db.example.test";
/// Where the access client listens.
const PORT: u16 = 7001;
/// The longest message of the client that people have, and the pieces in which it sends one.
const DOOR_MESSAGE: usize = 16 * 1024;
const DOOR_PIECE: usize = 4096;

const ACCESS: &str = "\
policies:
  - {name: machines, action: service_auth, include: [{service_token: robot}]}
applications:
  - {name: db, hostnames: [db.example.test], policies: [machines]}
";

/// What is carried: some with every seed, or a great deal.
fn plans(half_close: bool) -> Vec<Plan> {
    if long() {
        return vec![Plan { seed: 1, streams: 64, bytes: 8 << 20, half_close }];
    }
    [11, 12].map(|seed| Plan { seed, streams: 16, bytes: 2 << 20, half_close }).into()
}

/// The longest that one plan may take: for a machine that is busy with other things.
const LIMIT: Duration = Duration::from_secs(600);

struct Site {
    edge: Edge,
    home: Home,
    id: String,
    secret: String,
}

async fn site(lab: &Lab) -> anyhow::Result<Site> {
    let edge = Edge::start(lab, EdgeConfig::default()).await?;
    let made = edge.run(&["admin", "service-token", "create", "robot", "--json"]).await?.ok()?;
    let made: serde_json::Value = serde_json::from_str(&made)?;
    edge.apply(ACCESS).await?;
    let home = Home::new(lab, "robot", &edge.ca().await?)?;
    let text = |name: &str| made[name].as_str().unwrap_or_default().to_owned();
    Ok(Site { edge, home, id: text("id"), secret: text("secret") })
}

impl Site {
    /// `access tcp` at the local port, as the machine.
    fn client(&self) -> anyhow::Result<Command> {
        let mut command =
            self.home.command(&["tcp", "--hostname", DB, "--url", "127.0.0.1:7001", "--loglevel", "debug"])?;
        command.env("TUNNEL_SERVICE_TOKEN_ID", &self.id).env("TUNNEL_SERVICE_TOKEN_SECRET", &self.secret);
        Ok(command)
    }
}

/// Carries every plan through a client that listens.
async fn carried_by(lab: &Lab, mut client: Process) -> anyhow::Result<()> {
    listening(&mut client, PORT).await?;
    for plan in plans(true) {
        let service = Service::start(plan).await?;
        let _connector = Connector::publish(lab, DB, &service.url()).await?;
        let carried = exchange(service, LIMIT, |_| async { Ok(TcpStream::connect(("127.0.0.1", PORT)).await?) });
        let bytes = carried.await?;
        assert!(bytes > u64::from(plan.streams) * plan.bytes, "{bytes}");
    }
    Ok(())
}

#[test]
fn every_byte_arrives_over_a_native_link() {
    run("bytes", async |lab| {
        let site = site(&lab).await?;
        let client = Process::start("access", site.client()?)?;
        let log = client.log.clone();
        carried_by(&lab, client).await?;
        assert!(!log.text().contains("WebSocket"), "{}", log.tail(20));
        Ok(())
    });
}

#[test]
fn every_byte_arrives_over_a_websocket_that_carries_the_link() {
    run("wsbytes", async |lab| {
        let site = site(&lab).await?;
        let firewall = Firewall::start().await?;
        let client = Process::start("access", firewall.behind(&lab, &site.client()?, DB)?)?;
        let log = client.log.clone();
        carried_by(&lab, client).await?;
        assert!(log.text().contains("WebSocket"), "{}", log.tail(20));
        Ok(())
    });
}

/// A WebSocket of its own at the door for the client that people have, as a stream of bytes. Ends whole, never by half.
async fn door(ca: String, id: String, secret: String) -> anyhow::Result<DuplexStream> {
    let tcp = TcpStream::connect("127.0.0.1:443").await?;
    let tls = TlsConnector::from(trusting(&ca)?).connect(DB.to_owned().try_into()?, tcp).await?;
    let mut request = format!("wss://{DB}/").into_client_request()?;
    request.headers_mut().append("cf-access-client-id", id.parse()?);
    request.headers_mut().append("cf-access-client-secret", secret.parse()?);
    let (socket, _) = tokio_tungstenite::client_async(request, tls).await?;
    let (near, far) = duplex(DOOR_MESSAGE);
    tokio::spawn(async move {
        let (mut sink, mut stream) = socket.split();
        let (mut from, mut to) = tokio::io::split(far);
        let sending = async {
            let mut buffer = vec![0; DOOR_MESSAGE];
            while let Ok(n @ 1..) = from.read(&mut buffer).await {
                let pieces: Vec<_> = buffer[..n].chunks(DOOR_PIECE).collect();
                for (nth, piece) in pieces.iter().enumerate() {
                    let code = OpCode::Data(if nth == 0 { Data::Binary } else { Data::Continue });
                    sink.send(Message::Frame(Frame::message(piece.to_vec(), code, nth + 1 == pieces.len()))).await?;
                }
            }
            anyhow::Ok(())
        };
        let receiving = async {
            while let Some(message) = stream.next().await {
                match message? {
                    Message::Binary(bytes) => to.write_all(&bytes).await?,
                    Message::Ping(_) | Message::Pong(_) => {}
                    other => anyhow::bail!("the edge said {other:?}"),
                }
            }
            anyhow::Ok(())
        };
        // Either's end is the end of both.
        let ended = tokio::select! {
            ended = sending => ended,
            ended = receiving => ended,
        };
        if let Err(error) = ended {
            println!("a WebSocket at the door ended: {error:#}");
        }
        // That client has no word for it in WebSocket; it ends TLS and TCP in order.
        sink.reunite(stream)?.get_mut().shutdown().await?;
        anyhow::Ok(())
    });
    Ok(near)
}

#[test]
fn every_byte_arrives_through_the_door_for_the_client_that_people_have() {
    run("doorbytes", async |lab| {
        let site = site(&lab).await?;
        let ca = site.edge.ca().await?;
        for plan in plans(false) {
            let service = Service::start(plan).await?;
            let _connector = Connector::publish(&lab, DB, &service.url()).await?;
            let bytes = exchange(service, LIMIT, |_| door(ca.clone(), site.id.clone(), site.secret.clone())).await?;
            assert!(bytes > u64::from(plan.streams) * plan.bytes, "{bytes}");
        }
        Ok(())
    });
}

/// How often one side ends while the other one still has everything to say, and how much that is.
fn halves() -> u32 {
    if long() { 1000 } else { 20 }
}
const HALF: usize = 8 << 20;

/// Bytes that are others in each round and each way.
fn half(seed: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HALF);
    let mut word = seed.wrapping_mul(0x9e37_79b9);
    while bytes.len() < HALF {
        bytes.extend_from_slice(&word.wrapping_mul(2_654_435_761).to_le_bytes());
        word = word.wrapping_add(1);
    }
    bytes
}

/// R45: a side that has said everything and ended gets all that the other one says only then.
#[test]
fn whoever_has_ended_gets_all_that_the_other_side_has_to_say() {
    run("halves", async |lab| {
        let site = site(&lab).await?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("tcp://{}", listener.local_addr()?);
        let _connector = Connector::publish(&lab, DB, &url).await?;
        let mut client = Process::start("access", site.client()?)?;
        listening(&mut client, PORT).await?;
        for round in 0..halves() {
            let (question, answer) = (half(2 * round), half(2 * round + 1));
            let asking = async {
                let mut tcp = TcpStream::connect(("127.0.0.1", PORT)).await?;
                tcp.write_all(&question).await?;
                tcp.shutdown().await?;
                let mut heard = Vec::new();
                tcp.read_to_end(&mut heard).await.context("the answer")?;
                ensure!(heard == answer, "{} bytes of the answer, or others", heard.len());
                anyhow::Ok(())
            };
            let answering = async {
                let (mut tcp, _) = listener.accept().await?;
                let mut heard = Vec::new();
                tcp.read_to_end(&mut heard).await.context("the question")?;
                ensure!(heard == question, "{} bytes of the question, or others", heard.len());
                tcp.write_all(&answer).await?;
                tcp.shutdown().await?;
                anyhow::Ok(())
            };
            let both = async { tokio::try_join!(asking, answering) };
            timeout(LIMIT, both).await.context("it hangs")?.with_context(|| format!("round {round}"))?;
        }
        Ok(())
    });
}
