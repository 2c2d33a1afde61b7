//! What an edge and the process that takes its place say to each other.
//!
//! The edge starts its program again, and hands the new process the lock of the data directory, the owner's socket and every
//! listener: none is closed in between. The new one gets everything ready, and says so; only then does the old one rest what
//! two must not do at a time. Once the new one serves, the old one accepts no more. Until that last word the old one serves
//! on, whatever becomes of the new one.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    process::Child,
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use crate::{
    listen::Known,
    platform::{Channel, HANDLES_MAX, Handle},
    socket::{Answer, Restarted, Socket, SocketError, problem},
};

/// How long a new process may take until its next word: first that it is ready, then that it serves.
pub(crate) const REPLACE_TIME: Duration = Duration::from_secs(30);
/// How long an ask waits for somebody to answer asks: the owner's socket serves a moment earlier.
const LISTEN_TIME: Duration = Duration::from_secs(1);
/// How long the end of a process that was given up is waited for.
const END_TIME: Duration = Duration::from_secs(2);
/// The lock and the owner's socket come before the listeners.
const LISTENERS_MAX: usize = HANDLES_MAX - 2;

/// What the old process hands over, beside the handles: the lock, the owner's socket, and the listeners in this order.
#[derive(Serialize, Deserialize)]
struct Offer {
    data_dir: PathBuf,
    /// As they stood in the configuration that they were bound by.
    listeners: Vec<SocketAddr>,
    /// Who is not let in, and where somebody was admitted lately; nobody where the old process does not say.
    #[serde(flatten)]
    known: Known,
}

/// What else is said.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    /// The new process has everything ready.
    Ready,
    /// The old process rests what two must not do at a time.
    Go,
    /// The new process serves.
    Serving,
    /// The new process does not, and why.
    Failed(String),
}

/// Why an edge was not replaced. It serves on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplaceError {
    /// The program could not be started.
    #[error("the program cannot be started again: {0}")]
    Start(#[source] io::Error),
    /// There is more than a message can carry.
    #[error("{0} listeners are more than the {LISTENERS_MAX} that can be handed over")]
    TooMany(usize),
    /// The new process says why it does not serve.
    #[error("the new process does not serve: {0}")]
    Refused(String),
    /// The new process ended.
    #[error("the new process ended before it served ({0}); its log says why")]
    Ended(String),
    /// The new process took too long.
    #[error("the new process said nothing for {} s and was ended", REPLACE_TIME.as_secs())]
    Late,
    /// This process was told to stop before the new one served.
    #[error("the edge was told to stop meanwhile")]
    Stopped,
    /// The two do not understand each other.
    #[error("the other process says what this one does not understand; stop the edge and start it")]
    Confused,
    /// The other process is gone.
    #[error("the edge that was to be replaced is gone")]
    Alone,
    /// What was handed over is another edge's.
    #[error("the data directory was `{before}`; to move it, stop the edge and start it", before = .0.display())]
    Moved(PathBuf),
    /// The way between the two broke.
    #[error("between the old process and the new one: {0}")]
    Io(#[from] io::Error),
    /// The owner's socket cannot be gone on with.
    #[error(transparent)]
    Socket(#[from] SocketError),
}

async fn say(channel: &Channel, what: &impl Serialize, handles: &[Handle]) -> Result<(), ReplaceError> {
    let mut line = serde_json::to_vec(what).map_err(io::Error::from)?;
    line.push(b'\n');
    Ok(channel.send(&line, handles).await?)
}

/// Somebody who asked for the edge to be replaced, and waits for what comes of it.
pub type Ask = oneshot::Sender<Answer<Restarted>>;

/// Where an edge is asked to be replaced. Only a program can start itself again: nobody is there to be asked until it says so.
#[derive(Debug, Default)]
pub struct Asks(watch::Sender<Option<mpsc::Sender<Ask>>>);

impl Asks {
    /// From now on, asks are answered.
    pub(crate) fn listen(&self) -> mpsc::Receiver<Ask> {
        let (sender, asks) = mpsc::channel(1);
        // The first listener is the one.
        self.0.send_if_modified(|known| {
            let first = known.is_none();
            if first {
                *known = Some(sender);
            }
            first
        });
        asks
    }

    /// Asks, and waits until it is done.
    pub(crate) async fn ask(&self) -> Answer<Restarted> {
        let nobody = || {
            problem(
                "not_restarted",
                "this edge is part of another program, or a demo, which cannot be restarted so; stop it and start it",
            )
        };
        let mut listener = self.0.subscribe();
        let asks = {
            let listening = timeout(LISTEN_TIME, listener.wait_for(Option::is_some)).await;
            listening.ok().and_then(Result::ok).and_then(|asks| asks.clone())
        };
        let asks = asks.ok_or_else(nobody)?;
        let (ask, answer) = oneshot::channel();
        asks.try_send(ask).map_err(|_| problem("not_restarted", "the edge is being restarted already, or stops"))?;
        answer.await.map_err(|_| problem("not_restarted", "the edge stopped meanwhile"))?
    }
}

/// The edge whose place this process takes.
#[derive(Debug)]
pub struct Predecessor {
    channel: Channel,
}

/// What it handed over.
pub(crate) struct Taken {
    pub(crate) socket: Socket,
    /// The address that each was asked for by, and the listener.
    pub(crate) listeners: Vec<(SocketAddr, TcpListener)>,
    /// What it knew of the networks that connect.
    pub(crate) known: Known,
}

impl Predecessor {
    /// The edge that started this process to take its place, if one did. To be asked once, early: it takes the standard input.
    /// Needs a tokio runtime.
    pub fn find() -> io::Result<Option<Self>> {
        Ok(Channel::found()?.map(|channel| Self { channel }))
    }

    /// Takes over what the edge on `data_dir` has open.
    pub(crate) async fn take(&mut self, data_dir: &Path) -> Result<Taken, ReplaceError> {
        let (line, handles) = self.channel.receive().await?.ok_or(ReplaceError::Alone)?;
        let offer: Offer = serde_json::from_slice(&line).map_err(|_| ReplaceError::Confused)?;
        if offer.data_dir != data_dir {
            return Err(ReplaceError::Moved(offer.data_dir));
        }
        let mut handles = handles.into_iter();
        let mut next = || handles.next().ok_or(ReplaceError::Confused);
        let (lock, socket) = (next()?, next()?);
        let socket = Socket::adopt(data_dir, socket, lock)?;
        let mut listeners = Vec::with_capacity(offer.listeners.len());
        for wanted in offer.listeners {
            listeners.push((wanted, next()?.into_listener()?));
        }
        Ok(Taken { socket, listeners, known: offer.known })
    }

    /// Everything is ready; waits until the old process rests.
    pub(crate) async fn ready(&mut self) -> Result<(), ReplaceError> {
        say(&self.channel, &Word::Ready, &[]).await?;
        match hear(&mut self.channel).await? {
            Some(Word::Go) => Ok(()),
            Some(_) => Err(ReplaceError::Confused),
            None => Err(ReplaceError::Alone),
        }
    }

    /// This process serves. The old one may have gone by now, which changes nothing.
    pub(crate) async fn serving(&mut self) {
        if let Err(error) = say(&self.channel, &Word::Serving, &[]).await {
            tracing::warn!(%error, "the edge before this one was not told that this one serves");
        }
    }

    /// This process does not serve, for a reason that whoever asked for the restart is told.
    pub async fn failed(&mut self, why: &str) {
        if let Err(error) = say(&self.channel, &Word::Failed(why.to_owned()), &[]).await {
            tracing::warn!(%error, "the edge before this one was not told why this one does not serve");
        }
    }
}

async fn hear(channel: &mut Channel) -> Result<Option<Word>, ReplaceError> {
    let received = match channel.receive().await {
        // It ended with something unread.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => None,
        received => received?,
    };
    let Some((line, _)) = received else { return Ok(None) };
    serde_json::from_slice(&line).map(Some).map_err(|_| ReplaceError::Confused)
}

/// The process that takes this one's place.
pub(crate) struct Successor {
    channel: Channel,
    child: Child,
}

impl Successor {
    /// Starts it. Needs a tokio runtime.
    pub(crate) fn start(mut program: Command) -> Result<Self, ReplaceError> {
        let channel = Channel::to(&mut program).map_err(ReplaceError::Start)?;
        let child = tokio::process::Command::from(program).spawn().map_err(ReplaceError::Start)?;
        Ok(Self { channel, child })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Hands everything over, and waits until it is ready.
    pub(crate) async fn offer(
        &mut self,
        data_dir: &Path,
        [socket, lock]: [Handle; 2],
        listeners: Vec<(SocketAddr, Handle)>,
        known: Known,
    ) -> Result<(), ReplaceError> {
        if listeners.len() > LISTENERS_MAX {
            return Err(ReplaceError::TooMany(listeners.len()));
        }
        let (addresses, listeners): (Vec<_>, Vec<_>) = listeners.into_iter().unzip();
        let offer = Offer { data_dir: data_dir.to_owned(), listeners: addresses, known };
        let handles: Vec<Handle> = [lock, socket].into_iter().chain(listeners).collect();
        say(&self.channel, &offer, &handles).await?;
        self.expect(|word| matches!(word, Word::Ready)).await
    }

    /// Lets it begin, and waits until it serves. Until it is given up, the owner's socket is its own.
    pub(crate) async fn go(&mut self) -> Result<(), ReplaceError> {
        say(&self.channel, &Word::Go, &[]).await?;
        self.expect(|word| matches!(word, Word::Serving)).await
    }

    async fn expect(&mut self, wanted: impl Fn(&Word) -> bool) -> Result<(), ReplaceError> {
        match hear(&mut self.channel).await? {
            Some(word) if wanted(&word) => Ok(()),
            Some(Word::Failed(why)) => Err(ReplaceError::Refused(why)),
            Some(_) => Err(ReplaceError::Confused),
            None => {
                let status = tokio::time::timeout(END_TIME, self.child.wait()).await;
                let told = |status: ExitStatus| status.to_string();
                Err(ReplaceError::Ended(status.ok().and_then(Result::ok).map_or_else(|| "no status".to_owned(), told)))
            }
        }
    }

    /// Ends it: it does not take this process's place.
    pub(crate) async fn give_up(mut self) {
        drop(self.channel);
        if tokio::time::timeout(END_TIME, self.child.wait()).await.is_err()
            && let Err(error) = self.child.kill().await
        {
            tracing::error!(%error, "a process that was to take this one's place cannot be ended");
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use tunnel_proto::Revision;

    use super::*;
    use crate::{
        Clock, Config, Edge,
        backup::FOLDER,
        edge::{Screen, StartError},
        store::{DATABASE_NAME, Declared, LoginMethod, LoginMethodKind, Store as _, sqlite::SqliteStore},
    };

    async fn offered(dir: &Path) -> (Channel, Predecessor, SocketAddr, Socket) {
        offered_with(dir, Known::default()).await
    }

    async fn offered_with(dir: &Path, known: Known) -> (Channel, Predecessor, SocketAddr, Socket) {
        let (near, far) = Channel::pair().unwrap();
        let socket = Socket::bind(dir).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let [local, lock] = socket.handles().unwrap();
        let offer = Offer { data_dir: dir.to_owned(), listeners: vec!["127.0.0.1:0".parse().unwrap()], known };
        say(&near, &offer, &[lock, local, Handle::of_listener(&listener).unwrap()]).await.unwrap();
        (near, Predecessor { channel: far }, address, socket)
    }

    // F3
    #[tokio::test]
    async fn the_lock_the_socket_and_every_listener_go_from_hand_to_hand() {
        let dir = tempfile::tempdir().unwrap();
        let (mut near, mut predecessor, address, socket) = offered(dir.path()).await;
        let taken = predecessor.take(dir.path()).await.unwrap();
        let addresses: Vec<_> = taken.listeners.iter().map(|(_, one)| one.local_addr().unwrap()).collect();
        assert_eq!(addresses, [address]);
        let told = tokio::spawn(async move {
            assert!(matches!(hear(&mut near).await, Ok(Some(Word::Ready))));
            say(&near, &Word::Go, &[]).await.unwrap();
            matches!(hear(&mut near).await, Ok(Some(Word::Serving)))
        });
        predecessor.ready().await.unwrap();
        predecessor.serving().await;
        assert!(told.await.unwrap());
        drop((taken, socket));
        Socket::bind(dir.path()).await.unwrap();
    }

    // F3
    #[tokio::test]
    async fn one_that_does_not_serve_leaves_the_socket_and_the_lock_to_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let (near, mut predecessor, _, socket) = offered(dir.path()).await;
        drop(predecessor.take(dir.path()).await.unwrap());
        assert!(socket.path().exists());
        assert!(matches!(Socket::bind(dir.path()).await, Err(SocketError::Running { .. })));
        // The one before went while it was waited for.
        drop(near);
        assert!(matches!(predecessor.ready().await, Err(ReplaceError::Alone | ReplaceError::Io(_))));
    }

    // F3, F19, F30
    #[tokio::test]
    async fn one_that_cannot_serve_what_is_declared_leaves_the_schema_to_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(DATABASE_NAME);
        let store = SqliteStore::open(&path).await.unwrap();
        let pin = LoginMethod { name: "pin".parse().unwrap(), kind: LoginMethodKind::OneTimePin };
        let declared = Declared { login_methods: vec![pin], ..Declared::default() };
        store.replace_declared(Revision(0), &declared, &[]).await.unwrap();
        store.close().await;
        // As an older program has it.
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
        let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
        sqlx::raw_sql("DROP TABLE clock; UPDATE schema_version SET version = 7").execute(&pool).await.unwrap();
        pool.close().await;

        let (_near, mut predecessor, _, _socket) = offered(dir.path()).await;
        let text = "zone = \"example.test\"\nlisten = [\"127.0.0.1:0\"]\n[tls]\nmode = \"internal\"\n";
        let config = Config::parse(text, Path::new("edge.toml"), Some(dir.path().to_owned())).unwrap();
        let screen = Screen::new(io::sink());
        let started = Edge::start_after(Some(&mut predecessor), &[], config, Clock::System, screen).await;
        assert!(matches!(started.err(), Some(StartError::NoMail)));
        assert_eq!(SqliteStore::check_backup(&path).await.unwrap(), 7);
        assert!(!dir.path().join(FOLDER).exists());
    }

    // F3, H13
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whom_the_one_before_does_not_let_in_and_whom_it_admitted_is_told_to_the_one_after_as_well() {
        let dir = tempfile::tempdir().unwrap();
        SqliteStore::open(&dir.path().join(DATABASE_NAME)).await.unwrap().close().await;
        let [network, office] = [1, 2].map(|last| serde_json::json!({ "V4": [192, 0, 2, last] }));
        let shut = serde_json::json!([{ "network": network, "times": 2, "millis": 60_000 }]);
        let known = serde_json::from_value(serde_json::json!({ "penalties": shut, "admitted": [[office, 1_000]] }));
        let (mut near, mut predecessor, _, _socket) = offered_with(dir.path(), known.unwrap()).await;
        let before = tokio::spawn(async move {
            assert!(matches!(hear(&mut near).await, Ok(Some(Word::Ready))));
            say(&near, &Word::Go, &[]).await.unwrap();
            assert!(matches!(hear(&mut near).await, Ok(Some(Word::Serving))));
        });
        let mut config = Config::quick_start(dir.path().to_owned(), Vec::new());
        config.listen = vec!["127.0.0.1:0".parse().unwrap()];
        config.http_listen = vec!["127.0.0.1:0".parse().unwrap()];
        let screen = Screen::new(io::sink());
        let edge = Edge::start_after(Some(&mut predecessor), &[], config, Clock::System, screen).await.unwrap();
        before.await.unwrap();
        // One that writes down what it is told, and goes.
        let told = dir.path().join("told");
        let mut program = Command::new("/bin/sh");
        program.args(["-c", "head -n 1 > \"$1\"", "sh"]).arg(&told);
        let replaced = edge.replace(program, std::future::pending()).await;
        assert!(matches!(replaced, Err(ReplaceError::Ended(_))), "{:?}", replaced.err());
        let told: serde_json::Value = serde_json::from_slice(&std::fs::read(&told).unwrap()).unwrap();
        let [penalty] = told["penalties"].as_array().unwrap().as_slice() else { panic!("{told}") };
        assert_eq!((&penalty["network"], penalty["times"].as_u64()), (&network, Some(2)));
        assert!(penalty["millis"].as_u64().is_some_and(|left| (1..=60_000).contains(&left)), "{penalty}");
        let [admitted] = told["admitted"].as_array().unwrap().as_slice() else { panic!("{told}") };
        assert!(admitted[0] == office && admitted[1].as_u64().is_some_and(|ago| ago >= 1_000), "{admitted}");
        edge.stop(Duration::ZERO).await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_before_anybody_listens_is_answered_and_who_asks_nobody_is_told() {
        let asks = Asks::default();
        assert!(asks.ask().await.is_err(), "nobody listens");
        let (asked, mut listener) = tokio::join!(timeout(LISTEN_TIME, asks.ask()), async {
            tokio::task::yield_now().await;
            asks.listen()
        });
        assert!(asked.is_err(), "it waits for what comes of it");
        drop(listener.recv().await.unwrap());
        drop(listener);
        assert!(asks.ask().await.is_err(), "nobody listens any more");
    }

    #[tokio::test]
    async fn another_edges_sockets_are_not_taken_for_ones_own() {
        let dir = tempfile::tempdir().unwrap();
        let (_near, mut predecessor, _, _socket) = offered(dir.path()).await;
        let elsewhere = predecessor.take(Path::new("/elsewhere")).await;
        assert!(matches!(elsewhere, Err(ReplaceError::Moved(before)) if before == dir.path()));
    }
}
