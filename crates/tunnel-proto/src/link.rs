//! Links: one connection carrying many streams, with signs of life, draining and limits.
//!
//! A program that connects calls [`connect`], an edge calls [`accept`]; both get a [`Link`] to open streams on, an
//! [`Incoming`] for those that the peer opens, and a [`Control`] for everything else that is said. Any byte stream will do
//! below: TLS over TCP in earnest ([`crate::tls`]), a pipe in memory in tests. It is read where it keeps what has come, so that one that
//! keeps nothing goes into a [`tokio::io::BufReader`].
//!
//! ```
//! use tunnel_proto::{InstanceId, LinkId, Revision, RuleId, link, message::{Hello, Open, Role}};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (near, far) = tokio::io::duplex(64 * 1024);
//! let edge = tokio::spawn(async move {
//!     let greeting = link::accept(BufReader::new(far), Role::Connector, link::Settings::for_edge()).await?;
//!     greeting.welcome(LinkId::from_random([7; 16]), Default::default(), vec![]).await
//! });
//! let hello = Hello::new(Role::Connector, "example 1.0", InstanceId::from_random([1; 16]));
//! let mut connector = link::connect(BufReader::new(near), hello, link::Settings::default()).await?;
//! let edge = edge.await??;
//!
//! let open = Open::new(Revision(1), RuleId(0), [192, 0, 2, 1].into(), [0; 16]);
//! let mut stream = edge.link.open(open).await?;
//! stream.write_all(b"hello").await?;
//! stream.shutdown().await?;
//!
//! let mut service = connector.incoming.next().await.ok_or("closed")?.accept().await?;
//! let mut text = String::new();
//! service.read_to_string(&mut text).await?;
//! assert_eq!(text, "hello");
//! # Ok(())
//! # }
//! ```

mod control;
mod driver;
mod handshake;
mod incoming;
mod liveness;
mod pace;
mod pipe;
mod platform;
mod relay;
mod socket;
mod stream;

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures::task::AtomicWaker;
use tokio::{
    io::AsyncWriteExt,
    sync::{Notify, Semaphore, mpsc, watch},
    time::Instant,
};

pub use control::{Control, ControlError, ControlSender};
pub use handshake::{AcceptError, ConnectError, Connected, Greeting, Welcomed, accept, connect};
pub use incoming::{Incoming, Pending};
pub use liveness::Liveness;
pub use relay::{Carried, RelayError, Side, join, relay};
pub use socket::{FEATURE_PACED, LinkSocket, UNSENT_MAX, UNSENT_MIN, UNSENT_START};
pub use stream::{OpenError, Stream};

pub use crate::mux::{FAR, FRAME_PAYLOAD};
use crate::{
    LinkId,
    message::{Drain, DrainReason, Message, Opening, Ping, Pong},
    mux::{self, Mux},
};
use control::{OUTGOING_MAX, Roles};
use liveness::Pulse;

/// Streams that either side may have open at a time. One more is refused, and the link goes on.
pub const STREAMS_MAX: usize = 1024;
/// What unread bytes of a link's streams may cost: they are kept in pieces that are hardly larger.
pub const MEMORY_MAX: usize = 64 * 1024 * 1024;
/// Streams that a link opens before it drains. The multiplexer's numbers end at 2^31.
pub const ROTATE_AFTER: u64 = 1 << 30;
/// Streams of both sides that the multiplexer knows at a time, with those that are being refused.
const MUX_STREAMS_MAX: usize = 2 * STREAMS_MAX + 1;

/// How long a peer is waited for before it is asked whether it is there, and how long one that sends payload waits for a sign of
/// life: most answers are faster.
const MOMENT: Duration = Duration::from_millis(250);
/// The nonce of a Pong that answers nothing: questions begin at one.
const NO_QUESTION: u64 = 0;

/// How a link is run. The defaults are those of the protocol; tests change the times.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Whether the peer may open streams (other than the control stream).
    pub accepts_streams: bool,
    /// Streams in each direction at a time; at most [`STREAMS_MAX`].
    pub streams: usize,
    /// The memory budget, in bytes: over it the streams with most unread bytes are reset.
    pub memory: usize,
    /// Whether nothing is known of the peer: frames that cost it nothing it may then send a hundredth as often, up to
    /// [`Link::trust`].
    pub stranger: bool,
    /// Streams opened before the link drains by itself.
    pub rotate_after: u64,
    /// When the peer is asked for a sign of life, and given up.
    pub liveness: Liveness,
    /// Time for the whole handshake.
    pub handshake_deadline: Duration,
    /// Time from the first byte of any frame to its last.
    pub frame_deadline: Duration,
    /// How long a peer that gives signs of life may take nothing of what is sent to it.
    pub write_deadline: Duration,
    /// Time for what is still queued when we close the link.
    pub close_patience: Duration,
}

impl Settings {
    /// For an edge towards connectors and operators, and for an access client: whose peer opens no streams.
    pub fn for_edge() -> Self {
        Self { accepts_streams: false, ..Self::default() }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            accepts_streams: true,
            streams: STREAMS_MAX,
            memory: MEMORY_MAX,
            stranger: false,
            rotate_after: ROTATE_AFTER,
            liveness: Liveness::default(),
            handshake_deadline: Duration::from_secs(10),
            frame_deadline: Duration::from_secs(10),
            write_deadline: Duration::from_secs(60),
            close_patience: Duration::from_secs(2),
        }
    }
}

/// A handle to a link; cheap to clone, works from any thread.
///
/// The link closes when the last handle, stream, [`Incoming`] and [`Control`] is dropped.
#[derive(Clone)]
pub struct Link {
    handle: Arc<Handle>,
}

impl Link {
    /// The link's id, the same on both sides.
    pub fn id(&self) -> LinkId {
        self.shared().id()
    }

    /// Opens a stream. Returns when the opening is on its way, not when it is answered: see [`Stream`].
    ///
    /// An error concerns this stream only, except [`OpenError::Closed`]. Waits while the socket takes nothing. Cancel safe: a
    /// stream that is not wanted any more is reset.
    pub async fn open(&self, opening: impl Into<Opening>) -> Result<Stream, OpenError> {
        let shared = self.shared();
        let frame = Message::from(opening.into()).encode().map_err(OpenError::Invalid)?;
        if shared.end.borrow().is_some() {
            return Err(OpenError::Closed);
        }
        if self.is_draining() {
            return Err(OpenError::Draining);
        }
        let permit = shared.outbound.clone().try_acquire_owned().map_err(|_| OpenError::TooManyStreams)?;
        if shared.opened.fetch_add(1, Relaxed).saturating_add(1) >= shared.settings.rotate_after {
            self.drain(DrainReason::Rotation, Duration::ZERO);
        }
        let (version, ..) = shared.roles().ok_or(OpenError::Closed)?;
        let mut raw = shared.mux.open().ok_or(OpenError::Closed)?;
        raw.write_all(&frame).await.map_err(|_| OpenError::Closed)?;
        Ok(Stream::opened(raw, permit, self.handle.clone(), version))
    }

    /// Streams open now, in both directions, without the control stream.
    pub fn streams(&self) -> usize {
        self.shared().streams()
    }

    /// Streams that this side could still open.
    pub fn room(&self) -> usize {
        self.shared().outbound.available_permits()
    }

    /// What keeping the unread bytes of all streams costs now, in bytes.
    pub fn buffered(&self) -> usize {
        self.shared().mux.with(|engine| engine.held())
    }

    /// Sets the memory budget anew ([`Settings::memory`]): what a peer may make this side hold can depend on what it has
    /// shown itself to be.
    pub fn set_memory(&self, bytes: usize) {
        self.shared().mux.with(|engine| engine.set_memory(bytes));
    }

    /// From here on the peer may send what any other may ([`Settings::stranger`]): it has shown who it is.
    pub fn trust(&self) {
        self.shared().mux.with(mux::Engine::trust);
    }

    /// The round-trip time of the last question answered, waiting in queues included. `None` until the first.
    pub fn rtt(&self) -> Option<Duration> {
        match self.shared().rtt_micros.load(Relaxed) {
            u64::MAX => None,
            micros => Some(Duration::from_micros(micros)),
        }
    }

    /// The shortest round trip of late, with as little of queues in it as may be. `None` until the first.
    pub fn shortest_round_trip(&self) -> Option<Duration> {
        match self.shared().shortest_micros.load(Relaxed) {
            u64::MAX => self.rtt(),
            micros => Some(Duration::from_micros(micros)),
        }
    }

    /// Whether the peer has left something unanswered, or untaken, for longer than it should need. It may still be there:
    /// [`Settings::liveness`] says when the link is given up.
    pub fn is_doubtful(&self) -> bool {
        // A sign of life may come a moment late.
        let patience = (MOMENT + self.rtt().unwrap_or_default()) * 2;
        self.shared().pulse().silent_since().is_some_and(|since| since.elapsed() >= patience)
    }

    /// Whether either side has asked for no new streams.
    pub fn is_draining(&self) -> bool {
        self.shared().draining.borrow().any().is_some()
    }

    /// Waits until either side asks for no new streams; why.
    pub async fn draining(&self) -> DrainReason {
        let mut draining = self.shared().draining.subscribe();
        loop {
            if let Some(reason) = draining.borrow_and_update().any() {
                return reason;
            }
            if draining.changed().await.is_err() {
                return DrainReason::Unspecified;
            }
        }
    }

    /// Asks the peer for no new streams, and opens none from here on. Live streams go on; those that the peer still opens
    /// are refused as draining. `deadline` is what the peer is told; ending the link is up to the caller:
    /// [`Link::idle`], then [`Link::close`].
    pub fn drain(&self, reason: DrainReason, deadline: Duration) {
        let shared = self.shared();
        let first = shared.draining.send_if_modified(|draining| {
            let first = draining.ours.is_none();
            draining.ours.get_or_insert(reason);
            first
        });
        if first {
            self.say_drain(reason, deadline);
        }
    }

    /// Asks the peer to open the next link and to go on there, because another process takes this side's place. This side
    /// may still open streams here, and takes those that were on their way. Ending the link is up to the caller, who says
    /// before by [`Link::drain`] that no more will come.
    pub fn hand_on(&self, deadline: Duration) {
        self.say_drain(DrainReason::Upgrade, deadline);
    }

    fn say_drain(&self, reason: DrainReason, deadline: Duration) {
        let deadline_secs = u32::try_from(deadline.as_secs()).unwrap_or(u32::MAX);
        if self.shared().try_send(&Drain { reason, deadline_secs }.into()).is_err() {
            self.shared().end(LinkEnd::Lost("control messages cannot be sent any more".to_owned()));
        }
    }

    /// Waits until there is no stream, or no link.
    pub async fn idle(&self) {
        let shared = self.shared();
        let wait = async {
            loop {
                let changed = shared.idle.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if shared.streams() == 0 {
                    return;
                }
                changed.await;
            }
        };
        tokio::select! {
            () = wait => {}
            _ = self.closed() => {}
        }
    }

    /// Ends the link now: what is queued is sent (for two seconds at most), then every stream is cut.
    pub fn close(&self) {
        self.shared().end(LinkEnd::Closed);
    }

    /// Waits until the peer has been silent for `patience` from now on; for ever, if it is heard before. It is asked for a sign
    /// of life if it gives none by itself for a moment. The link goes on: for whoever can do without it, and sooner than by
    /// [`Settings::liveness`].
    pub async fn silence(&self, patience: Duration) {
        let (shared, since) = (self.shared(), Instant::now());
        let moment = (since + MOMENT).min(since + patience);
        for (until, asks) in [(moment, true), (since + patience, false)] {
            tokio::time::sleep_until(until).await;
            if shared.pulse().received() >= since {
                return std::future::pending().await;
            }
            if asks && shared.pulse().begin_asking(until) {
                shared.ask(until);
            }
        }
    }

    /// Waits until the peer has left a question unanswered for so long that it is asked once more, other than those of
    /// [`Link::ask`]. The link goes on: it may be heard yet, and else is given up by [`Settings::liveness`].
    pub async fn doubted(&self) {
        self.shared().doubted.notified().await;
    }

    /// Asks the peer for a sign of life now, unless a question waits for its answer already: because another link to it is in
    /// doubt, or to know how far it is.
    pub fn ask(&self) {
        let (shared, now) = (self.shared(), Instant::now());
        if shared.pulse().begin_asking_for_another(now) {
            shared.ask(now);
        }
    }

    /// Waits until the link is over; why.
    pub async fn closed(&self) -> LinkEnd {
        let mut end = self.shared().end.subscribe();
        loop {
            if let Some(end) = end.borrow_and_update().clone() {
                return end;
            }
            if end.changed().await.is_err() {
                return LinkEnd::Aborted;
            }
        }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("id", &self.id()).field("streams", &self.streams()).finish_non_exhaustive()
    }
}

/// Why a link is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkEnd {
    /// We closed it.
    #[error("closed by this side")]
    Closed,
    /// The peer closed it.
    #[error("closed by the peer")]
    PeerClosed,
    /// The peer gave no sign of life.
    #[error("the peer gave no sign of life")]
    PeerSilent,
    /// The peer did not go on with what it had begun, or took nothing of what was sent to it. It may be gone, or mean it.
    #[error("the peer was not in time: {0}")]
    Late(String),
    /// The connection broke.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {0}")]
    Protocol(String),
    /// The peer made us hold more than the budget, and resetting streams did not help.
    #[error("the link held more unread bytes than it may")]
    OverBudget,
    /// The link's task stopped: its runtime did, or it panicked.
    #[error("the link's task was stopped")]
    Aborted,
}

impl LinkEnd {
    /// Whether the peer may still want what is queued, and the news.
    fn deserves_a_goodbye(&self) -> bool {
        matches!(self, Self::Closed)
    }
}

impl From<mux::End> for LinkEnd {
    fn from(end: mux::End) -> Self {
        match end {
            mux::End::PeerClosed => Self::PeerClosed,
            mux::End::Protocol(rule) => Self::Protocol(rule.to_owned()),
            mux::End::OverBudget => Self::OverBudget,
        }
    }
}

/// What keeps a link open.
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.end(LinkEnd::Closed);
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle")
    }
}

/// What a link's tasks and handles share.
struct Shared {
    settings: Settings,
    mux: Arc<Mux>,
    pulse: Mutex<Pulse>,
    outbound: Arc<Semaphore>,
    inbound: Arc<Semaphore>,
    control: mpsc::Sender<Vec<u8>>,
    greeted: OnceLock<(LinkId, Roles)>,
    opened: AtomicU64,
    rtt_micros: AtomicU64,
    /// What the multiplexer knows of it.
    shortest_micros: AtomicU64,
    questions: Mutex<Questions>,
    draining: watch::Sender<Draining>,
    idle: Notify,
    /// Told each time that the peer is asked once more.
    doubted: Notify,
    /// What the driver is to end the link with.
    ending: Mutex<Option<LinkEnd>>,
    waker: AtomicWaker,
    end: watch::Sender<Option<LinkEnd>>,
}

#[derive(Default)]
struct Questions {
    nonce: u64,
    open: VecDeque<(u64, Instant)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Draining {
    ours: Option<DrainReason>,
    theirs: Option<DrainReason>,
}

impl Draining {
    fn any(&self) -> Option<DrainReason> {
        self.ours.or(self.theirs)
    }
}

/// Questions remembered to tell the round trip by.
const QUESTIONS_MAX: usize = 16;

impl Shared {
    fn new(mode: mux::Mode, settings: Settings, control: mpsc::Sender<Vec<u8>>) -> Self {
        let settings = Settings { streams: settings.streams.min(STREAMS_MAX), ..settings };
        let limits = mux::Limits {
            takes_streams: settings.accepts_streams,
            streams: MUX_STREAMS_MAX,
            memory: settings.memory,
            stranger: settings.stranger,
        };
        Self {
            settings,
            mux: Mux::new(mode, limits),
            pulse: Mutex::new(Pulse::new(Instant::now())),
            outbound: Arc::new(Semaphore::new(settings.streams)),
            inbound: Arc::new(Semaphore::new(settings.streams)),
            control,
            greeted: OnceLock::new(),
            opened: AtomicU64::new(0),
            rtt_micros: AtomicU64::new(u64::MAX),
            shortest_micros: AtomicU64::new(u64::MAX),
            questions: Mutex::default(),
            draining: watch::Sender::default(),
            idle: Notify::new(),
            doubted: Notify::new(),
            ending: Mutex::new(None),
            waker: AtomicWaker::new(),
            end: watch::Sender::default(),
        }
    }

    fn begin(&self, id: LinkId, roles: Roles) {
        // Called once, by the handshake.
        let _ = self.greeted.set((id, roles));
    }

    fn id(&self) -> LinkId {
        self.greeted.get().map_or(LinkId::from_bytes([0; 16]), |(id, _)| *id)
    }

    /// Version, our role, their role.
    fn roles(&self) -> Option<Roles> {
        self.greeted.get().map(|(_, roles)| *roles)
    }

    fn streams(&self) -> usize {
        let free = self.outbound.available_permits().saturating_add(self.inbound.available_permits());
        self.settings.streams.saturating_mul(2).saturating_sub(free)
    }

    fn pulse(&self) -> MutexGuard<'_, Pulse> {
        lock(&self.pulse)
    }

    /// Hands a control message over without waiting.
    fn try_send(&self, message: &Message) -> Result<(), ()> {
        let frame = message.encode().map_err(|_| ())?;
        self.control.try_send(frame).map_err(|_| ())
    }

    /// Asks for a sign of life.
    fn ask(&self, now: Instant) {
        let nonce = {
            let mut questions = lock(&self.questions);
            questions.nonce = questions.nonce.wrapping_add(1);
            let nonce = questions.nonce;
            questions.open.push_back((nonce, now));
            if questions.open.len() > QUESTIONS_MAX {
                questions.open.pop_front();
            }
            nonce
        };
        self.say_if_there_is_room(&Ping { nonce }.into());
    }

    /// Tells the peer, whose payload has come and may still be coming slowly, that somebody is there.
    fn give_a_sign(&self) {
        self.say_if_there_is_room(&Pong { nonce: NO_QUESTION }.into());
    }

    /// Where half of what may wait does already, there are signs of life enough on their way; the rest is for answers.
    fn say_if_there_is_room(&self, message: &Message) {
        if self.control.capacity() > OUTGOING_MAX / 2 {
            // It may just have been taken by others.
            let _ = self.try_send(message);
        }
    }

    fn answered(&self, nonce: u64, now: Instant) {
        let mut questions = lock(&self.questions);
        let asked = questions.open.iter().find(|(open, _)| *open == nonce).map(|(_, at)| *at);
        if let Some(asked) = asked {
            let micros = u64::try_from(now.duration_since(asked).as_micros()).unwrap_or(u64::MAX);
            self.rtt_micros.store(micros, Relaxed);
            questions.open.retain(|(open, _)| *open > nonce);
        }
    }

    fn drains_itself(&self) -> bool {
        self.draining.borrow().ours.is_some()
    }

    fn drained_by_peer(&self, reason: DrainReason) {
        self.draining.send_modify(|draining| draining.theirs = draining.theirs.or(Some(reason)));
    }

    /// Has the driver end the link. The first reason stays.
    fn end(&self, end: LinkEnd) {
        lock(&self.ending).get_or_insert(end);
        self.waker.wake();
    }

    fn asked_to_end(&self) -> Option<LinkEnd> {
        lock(&self.ending).clone()
    }

    /// The link is over.
    fn finish(&self, end: LinkEnd) {
        self.end.send_if_modified(|over| {
            let first = over.is_none();
            over.get_or_insert(end);
            first
        });
    }

    fn how_it_ended(&self) -> LinkEnd {
        self.end.borrow().clone().unwrap_or(LinkEnd::PeerClosed)
    }
}

/// What is locked here are plain values, right after every statement; a panic elsewhere does not spoil them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
