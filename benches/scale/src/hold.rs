//! Holds links, one for each tunnel, as a process of its own: each stands for a connector, and its services answer `ok`.
//!
//! Whoever started it says by lines how many links are to be up, and is told when they are.

use std::{net::SocketAddr, path::Path, process::Stdio, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpStream,
    process::{ChildStdin, ChildStdout, Command},
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tunnel_proto::{
    InstanceId, Revision, RuleId,
    identity::{link_client_config, provider},
    link::{self, Connected, Settings, Stream},
    message::{Hello, HttpOptions, Message, Role, Rule, ServiceKind, Table},
};

use crate::{
    ask,
    certificates::{self, Paper},
    edge::{LOGIN_HOST, Program},
};

/// The word by which this program is one that holds links.
pub(crate) const COMMAND: &str = "hold-links";
/// Links that are brought up at a time.
const AT_A_TIME: usize = 32;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest head of a request to a service.
const HEAD_MAX: usize = 64 * 1024;

/// The other process, as whoever measures sees it.
pub(crate) struct Holder {
    pub(crate) process: Program,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Holder {
    /// Starts one whose links are those of `papers`, for as long as it lives.
    pub(crate) fn start(edge: SocketAddr, dir: &Path, papers: &[Paper]) -> Result<Self> {
        let path = dir.join("certificates.jsonl");
        certificates::write(&path, papers)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(COMMAND).arg(edge.to_string()).arg(&path);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Program::start(command)?;
        let orders = process.child().stdin.take().context("its input")?;
        let answers = BufReader::new(process.child().stdout.take().context("its output")?).lines();
        Ok(Self { process, orders, answers })
    }

    /// Has so many links up.
    pub(crate) async fn hold(&mut self, links: usize) -> Result<()> {
        self.orders.write_all(format!("{links}\n").as_bytes()).await?;
        let said = self.answers.next_line().await?;
        ensure!(said.as_deref() == Some(&*links.to_string()), "links are not up: {said:?}");
        Ok(())
    }
}

/// The other process itself.
pub(crate) async fn run() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(2).collect();
    let [edge, path] = words.as_slice() else { bail!("this is started by the program itself") };
    let (edge, papers): (SocketAddr, _) = (edge.parse()?, certificates::read(Path::new(path))?);
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    let (mut up, turns) = (0, Arc::new(Semaphore::new(AT_A_TIME)));
    // Ends with whoever started it.
    while let Some(order) = orders.next_line().await? {
        let wanted: usize = order.parse()?;
        let mut coming = JoinSet::new();
        for paper in papers.get(up..wanted).context("as many certificates")? {
            let (paper, turns) = (paper.clone(), turns.clone());
            coming.spawn(async move {
                let _turn = turns.acquire().await?;
                timeout(PATIENCE, connect(edge, &paper)).await.context("a link that takes too long")?
            });
        }
        while let Some(came) = coming.join_next().await {
            came??;
        }
        up = wanted;
        println!("{up}");
    }
    Ok(())
}

/// Brings up a link, announces its hostnames, and serves it.
async fn connect(edge: SocketAddr, paper: &Paper) -> Result<()> {
    let config = Arc::new(link_client_config(&paper.ca, &paper.certificate, &paper.key)?);
    let socket = TcpStream::connect(edge).await?;
    socket.set_nodelay(true)?;
    let tls = TlsConnector::from(config).connect(ServerName::try_from(LOGIN_HOST)?, socket).await?;
    let mut id = [0; 16];
    provider().secure_random.fill(&mut id).ok().context("random bytes")?;
    let hello = Hello::new(Role::Connector, "scale", InstanceId::from_random(id));
    let Connected { link, mut incoming, mut control, .. } = link::connect(tls, hello, Settings::default()).await?;
    let rule = |(id, hostname): (u32, &String)| {
        let (hostname, http) = (hostname.parse()?, HttpOptions::default());
        Ok(Rule { id: RuleId(id), hostname, path: None, kind: ServiceKind::Http, http })
    };
    let rules = (0..).zip(&paper.hostnames).map(rule).collect::<Result<_>>()?;
    control.send(Table { revision: Revision(1), rules }).await?;
    let answer = control.next().await;
    ensure!(matches!(answer, Some(Message::TableAccepted(_))), "the table is not taken: {answer:?}");
    tokio::spawn(async move {
        let _link = link;
        loop {
            tokio::select! {
                pending = incoming.next() => match pending {
                    Some(pending) => drop(tokio::spawn(async move { serve(pending.accept().await?).await })),
                    None => return,
                },
                said = control.next() => if said.is_none() { return },
            }
        }
    });
    Ok(())
}

/// Answers every request on a stream.
async fn serve(mut stream: Stream) -> Result<()> {
    let mut read = Vec::new();
    loop {
        while let Some(end) = ask::find(&read, b"\r\n\r\n") {
            read.drain(..end + 4);
            stream.write_all(ask::ANSWER).await?;
            stream.flush().await?;
        }
        ensure!(read.len() < HEAD_MAX, "a head without end");
        // Nothing is kept for whoever asks nothing.
        if read.is_empty() {
            read = Vec::new();
        }
        if stream.read_buf(&mut read).await? == 0 {
            return Ok(());
        }
    }
}
