//! Whoever goes on misbehaving is not let in for a while, and nobody else suffers for it (H13, H14).

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tunnel_tests::{
    Canary, Netns, PATIENCE, Stage,
    edge::ACCESS,
    http2::Http2,
    netns::cable,
    raw::Door,
    run,
    stage::{STAFF, WWW},
};

/// The edge as others see it.
const OUTSIDE: &str = "198.51.100.1:443";
/// Faults between two looks, and how often it is looked: a hundred points at once are what a network may do wrong.
const FAULTS: usize = 30;
const LOOKS: usize = 10;

/// Connections of HTTP/2, and bodies that are begun on each: more at once than a network may do wrong, and what leaks meanwhile.
const CONNECTIONS: usize = 2;
const BODIES: usize = 90;

/// A record of TLS with a ClientHello in it that is none. What is no TLS at all any page can have a browser send.
const NO_HELLO: [u8; 9] = [22, 3, 1, 0, 4, 1, 0, 0, 0];

/// Sends what no browser does, and waits for the end.
async fn knock() -> Result<()> {
    let mut tcp = timeout(PATIENCE, TcpStream::connect(OUTSIDE)).await??;
    tcp.write_all(&NO_HELLO).await.ok();
    timeout(PATIENCE, async { while let Ok(1..) = tcp.read(&mut [0; 64]).await {} }).await?;
    Ok(())
}

/// Begins bodies of which nothing comes, until each is given up.
async fn begin_bodies(door: &Door, cookie: &str) -> Result<()> {
    let fields = [(":method", "POST"), (":scheme", "https"), (":authority", WWW), (":path", "/"), ("cookie", cookie)];
    let fields = [&fields[..], &[("content-length", "5")]].concat();
    let mut all = Vec::new();
    for _ in 0..CONNECTIONS {
        let (mut h2, mut streams) = (Http2::open(door).await?, Vec::new());
        for _ in 0..BODIES {
            streams.push(h2.begin(&fields, false).await?);
        }
        all.push((h2, streams));
    }
    for (mut h2, streams) in all {
        for stream in streams {
            let outcome = h2.outcome(stream).await?;
            ensure!(outcome.status() == 408, "{outcome:?} for a body that does not come");
        }
    }
    Ok(())
}

#[test]
fn a_source_that_goes_on_misbehaving_is_not_let_in_for_a_while_and_others_are() {
    run("sources", async |lab| {
        let (evil, good) = (Netns::new("evil")?, Netns::new("good")?);
        cable((lab.net(), "e0", "198.51.100.1/25"), (&evil, "v0", "198.51.100.2/25"))?;
        cable((lab.net(), "e1", "198.51.100.129/25"), (&good, "v1", "198.51.100.130/25"))?;
        good.ip(&["route", "add", "198.51.100.1/32", "via", "198.51.100.129"])?;
        let change = |mut config: tunnel_tests::EdgeConfig| {
            config.listen.push(OUTSIDE.into());
            config
        };
        let stage = Stage::configured(&lab, change, ACCESS, Canary::start().await?).await?;
        let cookie = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        let door = Door { address: OUTSIDE.parse()?, ..stage.door(WWW)? };
        let request = format!("GET / HTTP/1.1\r\nHost: {WWW}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n");
        let served = async || Ok::<_, anyhow::Error>(door.ask(request.as_bytes()).await?.status);
        ensure!(evil.inside(served())? == 200, "the way is there");

        let mut looks = 0;
        while evil.inside(served()).is_ok() {
            looks += 1;
            ensure!(looks <= LOOKS, "nothing was shut out after {} faults", looks * FAULTS);
            evil.inside(async {
                for _ in 0..FAULTS {
                    knock().await?;
                }
                Ok::<_, anyhow::Error>(())
            })?;
        }
        ensure!(looks > 1, "a few faults are nothing");
        // Others are not concerned, nor is this machine.
        ensure!(good.inside(served())? == 200, "another network is served");
        ensure!(stage.door(WWW)?.ask(request.as_bytes()).await?.status == 200, "this machine is served");
        // Not for ever.
        let begun = Instant::now();
        while evil.inside(served()).is_err() {
            ensure!(begun.elapsed() < PATIENCE, "not let in again");
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        // Bodies that do not come are what no browser makes, too. Once the last connection of somebody who was admitted is gone,
        // nobody is let in.
        evil.inside(begin_bodies(&door, &cookie))?;
        let begun = Instant::now();
        while evil.inside(served()).is_ok() {
            ensure!(begun.elapsed() < PATIENCE, "let in after {} bodies that did not come", CONNECTIONS * BODIES);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    });
}
