//! Services that are down, as their visitors see them (F6).

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    process::Command,
    task::JoinHandle,
};
use tunnel_tests::{
    Connector, PATIENCE, Stage, Visitor,
    process::finish,
    run,
    stage::{APP, STAFF, WWW},
};

/// For how long a service fails until it counts as down, for how long it then stays so, and how many ask for it meanwhile at least.
const FAILS: Duration = Duration::from_millis(1500);
const DOWN: Duration = Duration::from_secs(3);
const ASKED: usize = 60;
/// Tries that may just have begun at either end of that time.
const AROUND: usize = 2;

/// What a service says, if nothing else.
const FINE: &str = "fine";

/// A service that says one word once on each connection.
struct Service(JoinHandle<()>);

impl Drop for Service {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Service {
    async fn at(address: SocketAddr) -> Result<Self> {
        Self::saying(FINE, address).await
    }

    async fn saying(word: &'static str, address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self(tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 8192];
                if stream.read(&mut head).await.is_ok() {
                    let length = word.len();
                    let answer =
                        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{word}");
                    stream.write_all(answer.as_bytes()).await.ok();
                }
            }
        })))
    }
}

/// An address where nothing listens.
async fn nowhere() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?)
}

async fn status(visitor: &mut Visitor, host: &str) -> Result<u16> {
    Ok(visitor.get(&format!("https://{host}/")).await?.status())
}

/// Asks for as long as a service has to fail until it counts as down.
async fn ask_until_down(visitor: &mut Visitor, host: &str) -> Result<()> {
    ask_for_long(visitor, &[(host, 502)]).await
}

/// The same at several hosts, each of which answers with its status all the while.
async fn ask_for_long(visitor: &mut Visitor, hosts: &[(&str, u16)]) -> Result<()> {
    let begun = Instant::now();
    let mut asked = 0_usize;
    while begun.elapsed() < FAILS || asked < 5 {
        for (host, expected) in hosts {
            let told = status(visitor, host).await?;
            ensure!(told == *expected, "{told} at {host}, and not {expected}");
        }
        asked += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// F6: of all who ask for a service that is down one a second tries it. All are told so, and all are served once it is back.
#[test]
fn one_request_a_second_tries_a_service_that_is_down() {
    run("down", async |lab| {
        let mut stage = Stage::set(&lab).await?;
        let mut visitor = stage.somebody(WWW, STAFF).await?;
        visitor.browse(&format!("https://{APP}/")).await?;
        stage.connectors.clear();

        // One that takes connections and speaks no TLS: there each try can be counted.
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let broken = format!("https://{}", listener.local_addr()?);
        let tries = Arc::<AtomicUsize>::default();
        let counted = tries.clone();
        let counting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Relaxed);
                drop(stream);
            }
        });
        let _broken = Connector::publish(&lab, WWW, &broken).await?;
        ask_until_down(&mut visitor, WWW).await?;
        let before = tries.load(Relaxed);
        let (begun, mut asked) = (Instant::now(), 0_usize);
        while begun.elapsed() < DOWN || asked < ASKED {
            let told = status(&mut visitor, WWW).await?;
            ensure!(told == 502, "{told} of a service that is down");
            asked += 1;
            ensure!(begun.elapsed() < PATIENCE, "{asked} were answered");
        }
        let (tried, seconds) = (tries.load(Relaxed) - before, usize::try_from(begun.elapsed().as_secs())?);
        println!("F6: of {asked} requests in {seconds} s, {tried} tried the service");
        ensure!(tried <= seconds + AROUND, "{tried} of {asked} requests tried the service in {seconds} s");
        ensure!(tried > 0, "nobody tries the service any more");
        counting.abort();

        // One that comes back.
        let address = nowhere().await?;
        let _back = Connector::publish(&lab, APP, &format!("http://{address}")).await?;
        ask_until_down(&mut visitor, APP).await?;
        let _service = Service::at(address).await?;
        let begun = Instant::now();
        while status(&mut visitor, APP).await? != 200 {
            ensure!(begun.elapsed() < PATIENCE, "a service that is back is not tried");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for _ in 0..20 {
            let told = status(&mut visitor, APP).await?;
            ensure!(told == 200, "{told} of a service that is back");
        }
        Ok(())
    });
}

/// How many ask at once for a service that is there: if it counted as down, one of them would have it tried, and others be told so.
const AT_ONCE: usize = 20;

/// Asks at once, all of whom are served.
async fn ask_at_once(visitor: &Visitor, host: &str) -> Result<()> {
    let asking = (0..AT_ONCE).map(|_| {
        let mut visitor = visitor.clone();
        async move { status(&mut visitor, host).await }
    });
    let told = try_join_all(asking).await?;
    ensure!(told == [200; AT_ONCE], "{told:?} of a service that was there all the while");
    Ok(())
}

/// What a connector writes each time that it has tried a service and not reached it.
const NOT_REACHED: &str = "the service cannot be reached";

/// The word of the service that serves whoever asks now. Whoever asks is served.
async fn word(visitor: &mut Visitor, asked: &mut usize) -> Result<String> {
    let reply = visitor.get(&format!("https://{WWW}/")).await?;
    ensure!(reply.status() == 200, "{} for whoever came after {asked}", reply.status());
    *asked += 1;
    Ok(reply.text())
}

/// F6: what one connector cannot reach another one may: nobody is told of the first one's trouble, whoever is asked first, and it
/// is tried once a second. Back, it is used again, and nobody notices that either, nor that it goes once more.
#[test]
fn a_service_that_one_connector_cannot_reach_is_asked_for_at_another() {
    run("half-down", async |lab| {
        let mut stage = Stage::set(&lab).await?;
        let mut visitor = stage.somebody(WWW, STAFF).await?;
        stage.connectors.clear();
        // They close each connection, so that each request is a new one.
        let (here, away) = (nowhere().await?, nowhere().await?);
        let _service = Service::at(here).await?;
        let mut command = Connector::command(&lab)?;
        command.args(["--hostname", WWW, "--url", &format!("http://{away}"), "--loglevel", "debug"]);
        // First, since of links that are equally busy the first one is asked.
        let bad = Connector::start("connector bad", command).await?;
        let good = Connector::publish(&lab, WWW, &format!("http://{here}")).await?;
        let (begun, mut asked) = (Instant::now(), 0_usize);
        while begun.elapsed() < DOWN || asked < ASKED {
            let served = word(&mut visitor, &mut asked).await?;
            ensure!(served == FINE, "{served}");
        }
        bad.process.log.wait_for(NOT_REACHED).await?;
        let tried = bad.process.log.text().matches(NOT_REACHED).count();
        let seconds = usize::try_from(begun.elapsed().as_secs())?;
        println!("F6: of {asked} requests in {seconds} s, {tried} tried the service that is down");
        ensure!(tried <= seconds + AROUND, "{tried} of {asked} requests tried the service in {seconds} s");

        // Back.
        let back = Service::saying("back", away).await?;
        let begun = Instant::now();
        while word(&mut visitor, &mut asked).await? != "back" {
            ensure!(begun.elapsed() < PATIENCE, "a service that is back is not used");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        println!("F6: {} ms until a service that is back is used", begun.elapsed().as_millis());
        let mut used = 0_usize;
        for _ in 0..20 {
            used += usize::from(word(&mut visitor, &mut asked).await? == "back");
        }
        ensure!(used > 0, "a service that is back was used once");
        // And gone once more.
        drop(back);
        for _ in 0..20 {
            word(&mut visitor, &mut asked).await?;
        }

        // And without the one that reaches it, they are told.
        good.process.kill().await?;
        let begun = Instant::now();
        loop {
            match status(&mut visitor, WWW).await? {
                502 => break,
                other => ensure!(begun.elapsed() < PATIENCE, "{other} where no connector reaches the service"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    });
}

/// F6: whoever goes away while a service that is down is tried for them keeps it down for nobody: what came of it counts.
#[test]
fn whoever_gives_up_keeps_no_service_down() {
    run("given-up-down", async |lab| {
        let mut stage = Stage::set(&lab).await?;
        let mut visitor = stage.somebody(WWW, STAFF).await?;
        stage.connectors.clear();
        let address = nowhere().await?;
        let _connector = Connector::publish(&lab, WWW, &format!("http://{address}")).await?;
        ask_until_down(&mut visitor, WWW).await?;
        let (door, session) = (stage.door(WWW)?, visitor.session(WWW)?);
        let request = format!("GET / HTTP/1.1\r\nHost: {WWW}\r\nCookie: {session}\r\n\r\n");
        let hasty = tokio::spawn(async move {
            loop {
                let mut raw = door.open().await?;
                raw.send(request.as_bytes()).await?;
                drop(raw);
            }
            #[allow(unreachable_code, reason = "says what it gives")]
            anyhow::Ok(())
        });
        let _service = Service::at(address).await?;
        let begun = Instant::now();
        while status(&mut visitor, WWW).await? != 200 {
            ensure!(begun.elapsed() < PATIENCE, "a service that is back is down for whoever waits");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        ensure!(!hasty.is_finished(), "others went on giving up");
        hasty.abort();
        Ok(())
    });
}

/// Has the system give a program that runs no descriptor from this number on.
async fn limit_descriptors(connector: &Connector, most: usize) -> Result<()> {
    let mut limit = Command::new("prlimit");
    limit.args(["--pid", &connector.process.pid().to_string(), &format!("--nofile={most}:")]);
    finish(limit).await?.ok().map(drop)
}

/// Fewer descriptors than any program has open, and enough for any.
const NO_DESCRIPTOR: usize = 3;
const DESCRIPTORS: usize = 1024;

/// F6: a connector without descriptors neither looks up nor reaches anything, which says nothing about its services: they are
/// served as soon as it has some.
#[test]
fn a_connector_without_descriptors_says_nothing_about_its_services() {
    run("no-descriptor", async |lab| {
        let mut stage = Stage::set(&lab).await?;
        let mut visitor = stage.somebody(WWW, STAFF).await?;
        visitor.browse(&format!("https://{APP}/")).await?;
        stage.connectors.clear();
        // It closes each connection, so that each request is a new one.
        let address = nowhere().await?;
        let _service = Service::at(address).await?;
        let reached = Connector::publish(&lab, WWW, &format!("http://{address}")).await?;
        let named = Connector::publish(&lab, APP, "http://service.invalid:80").await?;
        let told = status(&mut visitor, WWW).await?;
        ensure!(told == 200, "{told} of a service that is there");

        for connector in [&reached, &named] {
            limit_descriptors(connector, NO_DESCRIPTOR).await?;
        }
        ask_for_long(&mut visitor, &[(WWW, 503), (APP, 503)]).await?;
        for connector in [&reached, &named] {
            connector.process.log.wait_for("LimitNOFILE").await?;
            limit_descriptors(connector, DESCRIPTORS).await?;
        }
        ask_at_once(&visitor, WWW).await
    });
}

/// Local ports that there are, few enough to be taken.
const PORTS: &str = "40000 40499";

/// F6: that every local port is taken says nothing about a service, and that this machine has no address to go there from does,
/// though systems say the same of both.
#[test]
fn a_connector_without_ports_says_nothing_about_its_service() {
    run("no-port", async |lab| {
        let mut stage = Stage::set(&lab).await?;
        let mut visitor = stage.somebody(WWW, STAFF).await?;
        visitor.browse(&format!("https://{APP}/")).await?;
        stage.connectors.clear();
        let crowded = TcpSocket::new_v4()?;
        crowded.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        // More than there are ports wait to be accepted; none ever is.
        let crowded = crowded.listen(1024)?;
        let address = crowded.local_addr()?;
        let reached = Connector::publish(&lab, WWW, &format!("http://{address}")).await?;
        let _elsewhere = Connector::publish(&lab, APP, "http://[2001:db8::1]:80").await?;

        lab.net().sysctl("net.ipv6.conf.all.disable_ipv6=1")?;
        let error = TcpStream::connect("[2001:db8::1]:80").await.err().map(|error| error.kind());
        ensure!(error == Some(ErrorKind::AddrNotAvailable), "{error:?} without IPv6");
        lab.net().sysctl(&format!("net.ipv4.ip_local_port_range={PORTS}"))?;
        let mut held = Vec::new();
        let error = loop {
            match TcpStream::connect(address).await {
                Ok(stream) => held.push(stream),
                Err(error) => break error.kind(),
            }
        };
        ensure!(error == ErrorKind::AddrNotAvailable, "{error} after {} connections", held.len());
        ask_for_long(&mut visitor, &[(WWW, 503), (APP, 502)]).await?;
        reached.process.log.wait_for("ip_local_port_range").await?;

        drop((crowded, held));
        let _service = Service::at(address).await?;
        ask_at_once(&visitor, WWW).await
    });
}
