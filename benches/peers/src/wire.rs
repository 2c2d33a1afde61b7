//! What is said on a TCP connection, whatever it goes through, and the service that answers.
//!
//! The caller says a letter and a number (big-endian). `d`: the service sends pieces for so many milliseconds. `u`: the caller
//! sends pieces until it says that one is the last; the service then tells how many bytes came. `e`: whatever comes goes back.
//! Each piece has its number, and some are looked at whole, so that nothing can be lost, doubled or changed unnoticed.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

/// Bytes of a piece, which is written at once.
const PIECE: usize = 64 * 1024;
/// Of so many pieces one is looked at byte by byte.
const LOOK_EVERY: u64 = 64;
/// How much longer than it should something may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Serves until the process is ended.
///
/// # Errors
/// It cannot listen.
pub(crate) async fn serve(address: SocketAddr) -> Result<()> {
    let listener = TcpListener::from_std(listen(address)?)?;
    loop {
        // Whoever calls sees what went wrong: the connection ends.
        if let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(answer(socket));
        }
    }
}

fn listen(address: SocketAddr) -> Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address).with_context(|| format!("listening on {address}"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn answer(mut socket: TcpStream) -> Result<()> {
    socket.set_nodelay(true)?;
    let mut letter = [0; 1];
    while socket.read(&mut letter).await? > 0 {
        let number = socket.read_u64().await?;
        match letter {
            [b'd'] => send(&mut socket, Duration::from_millis(number)).await.map(drop)?,
            [b'u'] => {
                let came = receive(&mut socket).await?;
                socket.write_u64(came).await?;
            }
            [b'e'] => return echo(&mut socket).await,
            _ => bail!("not a command"),
        }
    }
    Ok(())
}

async fn echo(socket: &mut TcpStream) -> Result<()> {
    let mut some = [0; 1024];
    loop {
        let length = socket.read(&mut some).await?;
        if length == 0 {
            return Ok(());
        }
        socket.write_all(&some[..length]).await?;
    }
}

/// A piece as it is before it has a number.
fn blank() -> Vec<u8> {
    (0..PIECE).map(|at| (at * 31 % 251) as u8).collect()
}

/// Sends pieces for some time; how many bytes they were.
async fn send(to: &mut TcpStream, time: Duration) -> Result<u64> {
    let (mut piece, end) = (blank(), Instant::now() + time);
    for number in 1.. {
        let last = Instant::now() >= end;
        piece[0] = u8::from(last);
        piece[1..9].copy_from_slice(&u64::to_be_bytes(number));
        to.write_all(&piece).await?;
        if last {
            return Ok(number * PIECE as u64);
        }
    }
    unreachable!("there is a last piece")
}

/// Takes pieces to the last one; how many bytes they were.
async fn receive(from: &mut TcpStream) -> Result<u64> {
    let (whole, mut piece) = (blank(), vec![0; PIECE]);
    for number in 1.. {
        from.read_exact(&mut piece).await?;
        ensure!(piece[1..9] == u64::to_be_bytes(number), "a piece is not the one that was due");
        let last = piece[0] == 1;
        if last || number % LOOK_EVERY == 1 {
            ensure!(piece[9..] == whole[9..], "a piece came changed");
        }
        if last {
            return Ok(number * PIECE as u64);
        }
    }
    unreachable!("there is a last piece")
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the caller to the service.
    Up,
    /// From the service to the caller.
    Down,
}

/// What some streams carried together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Carried {
    /// Bytes of all of them.
    pub(crate) bytes: u64,
    /// From the first byte of the first to the last of the last.
    pub(crate) time: Duration,
}

impl Carried {
    /// Gigabits in a second.
    pub(crate) fn gbit(self) -> f64 {
        self.bytes as f64 * 8.0 / 1e9 / self.time.as_secs_f64()
    }
}

async fn connect(to: SocketAddr) -> Result<TcpStream> {
    let socket = timeout(PATIENCE, TcpStream::connect(to)).await.context("connecting took too long")??;
    socket.set_nodelay(true)?;
    Ok(socket)
}

async fn command(socket: &mut TcpStream, letter: u8, number: u64) -> Result<()> {
    let mut said = [letter; 9];
    said[1..].copy_from_slice(&number.to_be_bytes());
    Ok(socket.write_all(&said).await?)
}

/// A connection whose other end answers.
async fn echoing(to: SocketAddr) -> Result<TcpStream> {
    let mut socket = connect(to).await?;
    command(&mut socket, b'e', 0).await?;
    there_and_back(&mut socket).await?;
    Ok(socket)
}

async fn there_and_back(socket: &mut TcpStream) -> Result<()> {
    let once = async {
        socket.write_u8(7).await?;
        ensure!(socket.read_u8().await? == 7, "another byte came back");
        Ok(())
    };
    timeout(PATIENCE, once).await.context("no byte came back")?
}

/// Carries as much as there is time for, on so many streams at once.
///
/// # Errors
/// A stream broke, hung, or brought something else than was sent.
pub(crate) async fn bulk(to: SocketAddr, streams: usize, direction: Direction, time: Duration) -> Result<Carried> {
    // They are open before the clock begins to run.
    let mut sockets = Vec::new();
    for _ in 0..streams {
        sockets.push(connect(to).await?);
    }
    let begun = Instant::now();
    let mut all: JoinSet<Result<u64>> = JoinSet::new();
    for mut socket in sockets {
        all.spawn(async move {
            timeout(time + PATIENCE, carry(&mut socket, direction, time)).await.context("a stream hangs")?
        });
    }
    let mut bytes = 0;
    while let Some(one) = all.join_next().await {
        bytes += one??;
    }
    Ok(Carried { bytes, time: begun.elapsed() })
}

async fn carry(socket: &mut TcpStream, direction: Direction, time: Duration) -> Result<u64> {
    let milliseconds = u64::try_from(time.as_millis())?;
    match direction {
        Direction::Down => {
            command(socket, b'd', milliseconds).await?;
            receive(socket).await
        }
        Direction::Up => {
            command(socket, b'u', milliseconds).await?;
            let sent = send(socket, time).await?;
            let came = socket.read_u64().await?;
            ensure!(came == sent, "{sent} bytes were sent, and {came} came");
            Ok(came)
        }
    }
}

/// Single bytes there and back, one after the other, for some time; the time of each.
///
/// # Errors
/// The connection broke, or hangs.
pub(crate) async fn ping(to: SocketAddr, time: Duration) -> Result<Vec<Duration>> {
    let mut socket = echoing(to).await?;
    let (mut times, end) = (Vec::new(), Instant::now() + time);
    while Instant::now() < end {
        let begun = Instant::now();
        there_and_back(&mut socket).await?;
        times.push(begun.elapsed());
    }
    Ok(times)
}

/// [`ping`] while another connection is sent as much as it takes.
///
/// # Errors
/// As both.
pub(crate) async fn ping_beside_bulk(to: SocketAddr, time: Duration) -> Result<(Vec<Duration>, Carried)> {
    // The load begins before and ends after what is measured.
    let margin = Duration::from_millis(150);
    let bulk = tokio::spawn(bulk(to, 1, Direction::Down, time + 2 * margin));
    tokio::time::sleep(margin).await;
    let times = ping(to, time).await?;
    Ok((times, bulk.await??))
}

/// What opening connections came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Opened {
    /// So many carried a byte there and back.
    pub(crate) opened: u64,
    /// So many did not.
    pub(crate) failed: u64,
    /// How long all took.
    pub(crate) time: Duration,
}

/// Opens connections for some time, so many at once, at most `most`; each carries a byte there and back and is closed.
///
/// # Errors
/// Nothing at all could be opened.
pub(crate) async fn churn(to: SocketAddr, at_once: usize, time: Duration, most: u64) -> Result<Opened> {
    let (begun, mut all) = (Instant::now(), JoinSet::new());
    for _ in 0..at_once {
        all.spawn(async move {
            let mut mine = Opened::default();
            while begun.elapsed() < time && mine.opened + mine.failed < most / at_once as u64 {
                match echoing(to).await {
                    Ok(_) => mine.opened += 1,
                    Err(_) => mine.failed += 1,
                }
            }
            mine
        });
    }
    let mut sum = Opened::default();
    while let Some(one) = all.join_next().await {
        let one = one?;
        sum.opened += one.opened;
        sum.failed += one.failed;
    }
    sum.time = begun.elapsed();
    ensure!(sum.opened > 0, "no connection could be opened");
    Ok(sum)
}

/// Connections that are open and say nothing, after each carried a byte there and back. They close when dropped.
///
/// # Errors
/// Not one could be opened.
pub(crate) async fn idle(to: SocketAddr, count: usize) -> Result<Vec<TcpStream>> {
    const AT_ONCE: usize = 32;
    let (mut open, mut all, mut begun) = (Vec::new(), JoinSet::new(), 0);
    while open.len() < count {
        while begun < count && all.len() < AT_ONCE {
            all.spawn(echoing(to));
            begun += 1;
        }
        let Some(one) = all.join_next().await else { break };
        if let Ok(socket) = one? {
            open.push(socket);
        }
    }
    ensure!(!open.is_empty(), "no connection could be opened");
    Ok(open)
}

/// Whether the way leads to the service by now: a byte comes back, and pieces come as they were sent, both ways.
///
/// # Errors
/// It does not.
pub(crate) async fn check(to: SocketAddr) -> Result<()> {
    timeout(Duration::from_secs(2), echoing(to)).await.context("no byte came back")??;
    for direction in [Direction::Up, Direction::Down] {
        bulk(to, 2, direction, Duration::from_millis(20)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_sent_is_what_comes_both_ways() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(answer(socket));
            }
        });
        check(address).await.unwrap();
        let short = Duration::from_millis(10);
        assert!(!ping(address, short).await.unwrap().is_empty());
        assert!(churn(address, 2, short, 8).await.unwrap().opened <= 8);
        assert_eq!(idle(address, 3).await.unwrap().len(), 3);
    }

    #[tokio::test]
    async fn a_piece_that_was_changed_is_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut there = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut here, _) = listener.accept().await.unwrap();
        let mut piece = blank();
        piece[0] = 1;
        piece[1..9].copy_from_slice(&1_u64.to_be_bytes());
        piece[PIECE - 1] ^= 1;
        let sending = tokio::spawn(async move { there.write_all(&piece).await });
        assert!(receive(&mut here).await.is_err());
        sending.await.unwrap().unwrap();
    }
}
