//! Services that are down, as their visitors see them (F6).

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};
use tunnel_tests::{
    Connector, PATIENCE, Stage, Visitor, run,
    stage::{APP, STAFF, WWW},
};

/// For how long a service stays down, and how many ask for it meanwhile at least.
const DOWN: Duration = Duration::from_secs(3);
const ASKED: usize = 60;
/// Failures that make a service count as down, and tries that may just have begun at either end.
const BEFORE: usize = 3;
const AROUND: usize = 2;

/// A service that says `fine` once on each connection.
struct Service(JoinHandle<()>);

impl Drop for Service {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Service {
    async fn at(address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self(tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 8192];
                if stream.read(&mut head).await.is_ok() {
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfine";
                    stream.write_all(answer).await.ok();
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
        let (begun, mut asked) = (Instant::now(), 0_usize);
        while begun.elapsed() < DOWN || asked < ASKED {
            let told = status(&mut visitor, WWW).await?;
            ensure!(told == 502, "{told} of a service that is down");
            asked += 1;
            ensure!(begun.elapsed() < PATIENCE, "{asked} were answered");
        }
        let (tried, seconds) = (tries.load(Relaxed), usize::try_from(begun.elapsed().as_secs())?);
        println!("F6: of {asked} requests in {seconds} s, {tried} tried the service");
        ensure!(tried <= BEFORE + seconds + AROUND, "{tried} of {asked} requests tried the service in {seconds} s");
        ensure!(tried > BEFORE, "nobody tries the service any more");
        counting.abort();

        // One that comes back.
        let address = nowhere().await?;
        let _back = Connector::publish(&lab, APP, &format!("http://{address}")).await?;
        for _ in 0..2 * BEFORE {
            let told = status(&mut visitor, APP).await?;
            ensure!(told == 502, "{told} of a service that is down");
        }
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

/// F6: what one connector cannot reach another one may: nobody is told of the first one's trouble.
#[test]
fn a_service_that_one_connector_cannot_reach_is_asked_for_at_another() {
    run("half-down", async |lab| {
        let mut stage = Stage::set(&lab).await?;
        let mut visitor = stage.somebody(WWW, STAFF).await?;
        let address = nowhere().await?;
        let gone = Connector::publish(&lab, WWW, &format!("http://{address}")).await?;
        for n in 0..20 {
            let told = status(&mut visitor, WWW).await?;
            ensure!(told == 200, "{told} for the {n}th who asks");
        }
        // And without the one that reaches it, they are told.
        stage.connectors.remove(0).process.kill().await?;
        let begun = Instant::now();
        loop {
            match status(&mut visitor, WWW).await? {
                502 => break,
                other => ensure!(begun.elapsed() < PATIENCE, "{other} where no connector reaches the service"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        drop(gone);
        Ok(())
    });
}
