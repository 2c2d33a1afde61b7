//! The state of one connection: told what came and what time it is, it says what is to be sent and who is to be woken.

use std::{
    collections::{HashMap, VecDeque},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::BytesMut;
use foldhash::fast::RandomState;
use tokio::time::Instant;

use super::{
    Broken, End, Limits, Mode,
    chunks::Chunks,
    output::{Batch, Output, Sender, Turn},
    tolerance::Tolerance,
    window::{RoundTrip, WINDOW_START, Window},
    wire::{Header, Kind, Place, flags},
};

/// The stream that the connecting side opens first: never taken away, and its window does not grow.
pub(super) const CONTROL_STREAM: u32 = 1;
/// A frame's payload, as received. What is longer than any window is refused before.
const FRAME_MAX: usize = 1024 * 1024;
/// What the windows of all streams may grow by together.
pub const WINDOW_POT: usize = 32 * 1024 * 1024;
/// How often the round trip is measured while payload comes.
const MEASURE_EVERY: Duration = Duration::from_secs(5);
/// How often windows of idle streams are looked for when others want to grow.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// One connection.
#[derive(Debug)]
pub struct Engine {
    limits: Limits,
    /// By their numbers, which the peer chooses: the hash has a seed of its own, and there are few streams.
    streams: HashMap<u32, Stream, RandomState>,
    next: u32,
    /// Streams that the peer opened and nobody has taken yet.
    opened: VecDeque<u32>,
    place: Place,
    frame: Frame,
    tolerance: Tolerance,
    output: Output,
    /// What keeping unread bytes costs, of all streams.
    held: usize,
    /// What windows have grown by, of all streams.
    grown: usize,
    swept: Instant,
    round_trip: RoundTrip,
    ping: Option<(u32, Instant)>,
    pings: u32,
    pinged: Option<Instant>,
    frames: u64,
    payload: bool,
    over: bool,
    driver: Option<Waker>,
    pub(super) wakes: Vec<Waker>,
}

/// The frame whose payload is being received.
#[derive(Debug, Default)]
struct Frame {
    stream: u32,
    ends: bool,
}

#[derive(Debug)]
struct Stream {
    unread: Chunks,
    window: Window,
    /// The peer has ended its direction, and everything before the end has arrived.
    fin_received: bool,
    /// It was reset by the peer, or by us for what it held.
    broken: bool,
    reader: Option<Waker>,
    /// Who reads nothing now and wants to know of a cut all the same.
    watcher: Option<Waker>,
    credit: u32,
    sender: Sender,
    fin_sent: bool,
    /// What the next frame of ours has to say besides: that the stream is opened, or acknowledged.
    greeting: u16,
    writer: Option<Waker>,
}

impl Stream {
    fn new(greeting: u16) -> Self {
        Self {
            unread: Chunks::default(),
            window: Window::new(),
            fin_received: false,
            broken: false,
            reader: None,
            watcher: None,
            // Below 2^32.
            credit: WINDOW_START as u32,
            sender: Sender::default(),
            fin_sent: false,
            greeting,
            writer: None,
        }
    }

    fn is_announced(&self) -> bool {
        self.greeting & flags::SYN == 0
    }

    /// Whoever waits for it, now that it was cut.
    fn waiting(&mut self) -> impl Iterator<Item = Waker> {
        [self.reader.take(), self.watcher.take(), self.writer.take()].into_iter().flatten()
    }
}

impl Engine {
    /// A new connection.
    pub fn new(mode: Mode, limits: Limits, now: Instant) -> Self {
        Self {
            streams: HashMap::default(),
            next: match mode {
                Mode::Client => 1,
                Mode::Server => 2,
            },
            opened: VecDeque::new(),
            place: Place::default(),
            frame: Frame::default(),
            tolerance: Tolerance::new(limits.stranger, now),
            output: Output::default(),
            held: 0,
            grown: 0,
            swept: now,
            round_trip: RoundTrip::new(now),
            ping: None,
            pings: 0,
            pinged: None,
            frames: 0,
            payload: false,
            over: false,
            driver: None,
            wakes: Vec::new(),
            limits,
        }
    }

    /// Opens a stream. The peer learns of it with the first frame. `None` when the connection is over, or all numbers are used.
    pub fn open(&mut self) -> Option<u32> {
        if self.over {
            return None;
        }
        let id = self.next;
        self.next = id.checked_add(2)?;
        self.streams.insert(id, Stream::new(flags::SYN));
        Some(id)
    }

    /// Takes the next stream that the peer opened.
    pub fn accept(&mut self) -> Option<u32> {
        self.opened.pop_front()
    }

    /// What has come for a stream: a piece, or `None` at its clean end.
    ///
    /// # Errors
    /// The stream or the connection was cut.
    pub fn poll_read(&mut self, id: u32, cx: &mut Context<'_>) -> Poll<Result<Option<BytesMut>, Broken>> {
        let room = self.pot().saturating_sub(self.grown);
        let Some(stream) = self.streams.get_mut(&id) else { return Poll::Ready(Err(Broken::Reset)) };
        let before = stream.unread.cost();
        let Some(piece) = stream.unread.pop() else {
            return match () {
                () if stream.fin_received => Poll::Ready(Ok(None)),
                () if stream.broken || self.over => Poll::Ready(Err(Broken::Reset)),
                () => {
                    keep(&mut stream.reader, cx);
                    Poll::Pending
                }
            };
        };
        self.held = (self.held + stream.unread.cost()).saturating_sub(before);
        if !(stream.fin_received || stream.broken || self.over) {
            let now = Instant::now();
            let room = if id == CONTROL_STREAM { 0 } else { room };
            if let Some(given) = stream.window.read(stream.unread.len(), now, self.round_trip.shortest(), room) {
                self.grown = (self.grown + given.grown).saturating_sub(given.grown_before);
                if given.credit > 0 {
                    // At most `WINDOW_MAX`.
                    let len = u32::try_from(given.credit).unwrap_or(u32::MAX);
                    let flags = std::mem::take(&mut stream.greeting);
                    self.output.say(Header { kind: Kind::WindowUpdate, flags, stream: id, len });
                    self.wake_driver();
                }
                if room < WINDOW_START {
                    self.sweep(now);
                }
            }
        }
        Poll::Ready(Ok(Some(piece)))
    }

    /// Waits, without reading, until a stream is cut: nobody takes what is sent on it, and no more comes than has come.
    pub fn poll_cut(&mut self, id: u32, cx: &Context<'_>) -> Poll<()> {
        match self.streams.get_mut(&id) {
            Some(stream) if !(stream.broken || self.over) => {
                keep(&mut stream.watcher, cx);
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    /// Sends some of `payload` on a stream; how much.
    ///
    /// # Errors
    /// The stream or the connection was cut, or our direction has ended.
    pub fn poll_write(&mut self, id: u32, payload: &[u8], cx: &mut Context<'_>) -> Poll<Result<usize, Broken>> {
        let Some(stream) = self.streams.get_mut(&id) else { return Poll::Ready(Err(Broken::Reset)) };
        if stream.fin_sent {
            return Poll::Ready(Err(Broken::Ended));
        }
        if stream.broken || self.over {
            return Poll::Ready(Err(Broken::Reset));
        }
        let credit = usize::try_from(stream.credit).unwrap_or(usize::MAX);
        let payload = payload.get(..credit).unwrap_or(payload);
        let sent = match payload {
            [] => 0,
            _ => self.output.send(&mut stream.sender, id, stream.greeting, payload),
        };
        if sent == 0 {
            keep(&mut stream.writer, cx);
            return Poll::Pending;
        }
        stream.greeting = 0;
        stream.credit = stream.credit.saturating_sub(u32::try_from(sent).unwrap_or(u32::MAX));
        self.wake_driver();
        Poll::Ready(Ok(sent))
    }

    /// Ends our direction of a stream, behind all that was sent.
    ///
    /// # Errors
    /// The stream or the connection was cut before.
    pub fn finish(&mut self, id: u32) -> Result<(), Broken> {
        let stream = self.streams.get_mut(&id).ok_or(Broken::Reset)?;
        if stream.fin_sent {
            return Ok(());
        }
        if stream.broken || self.over {
            return Err(Broken::Reset);
        }
        stream.fin_sent = true;
        let flags = std::mem::take(&mut stream.greeting) | flags::FIN;
        self.output.say_after(&stream.sender, Header { kind: Kind::Data, flags, stream: id, len: 0 });
        self.wake_driver();
        Ok(())
    }

    /// Lets go of a stream. Unless both directions have ended, the peer learns of a reset.
    pub fn release(&mut self, id: u32) {
        let Some(stream) = self.streams.remove(&id) else { return };
        self.held = self.held.saturating_sub(stream.unread.cost());
        self.grown = self.grown.saturating_sub(stream.window.grown());
        if stream.sender.turn != Turn::None {
            // Somebody else may send in its place.
            self.wake_driver();
        }
        let ended = stream.fin_sent && stream.fin_received;
        if !(ended || stream.broken || self.over) && stream.is_announced() {
            let flags = stream.greeting | flags::RST;
            self.output.say_after(&stream.sender, Header { kind: Kind::Data, flags, stream: id, len: 0 });
            self.wake_driver();
        }
    }

    /// Takes what came; whether some of it was payload of a stream other than the first. Whoever calls this looks for output
    /// afterwards, and is not woken for it.
    ///
    /// # Errors
    /// The connection is over: the peer said so, broke a rule, or has made us hold too much.
    pub fn receive(&mut self, mut bytes: &[u8], now: Instant) -> Result<bool, End> {
        self.driver = None;
        self.tolerance.tick(now);
        while !bytes.is_empty() {
            if self.place.body > 0 {
                let (payload, rest) = bytes.split_at(self.place.body.min(bytes.len()));
                bytes = rest;
                self.place.body -= payload.len();
                self.payload(payload)?;
            } else if let Some(header) = self.place.take_header(&mut bytes) {
                let header = Header::parse(header).ok_or(End::Protocol("a frame that there is not"))?;
                self.header(header, now)?;
                self.place.body = header.body();
            } else {
                break;
            }
            if self.place.is_between() {
                self.end_of_frame();
            }
        }
        let payload = std::mem::take(&mut self.payload);
        if payload {
            self.measure(now);
        }
        Ok(payload)
    }

    fn header(&mut self, header: Header, now: Instant) -> Result<(), End> {
        self.frame = Frame::default();
        let known = self.streams.contains_key(&header.stream);
        if !self.tolerance.bears(header, known) {
            return Err(End::Protocol("more frames in a second than anybody needs"));
        }
        match header.kind {
            Kind::Data | Kind::WindowUpdate => self.of_a_stream(header, known, now),
            Kind::Ping if header.has(flags::ACK) => self.pong(header.len, now),
            Kind::Ping => {
                self.output.say(Header { kind: Kind::Ping, flags: flags::ACK, stream: 0, len: header.len });
                self.wake_driver();
                Ok(())
            }
            Kind::GoAway => Err(End::PeerClosed),
        }
    }

    fn of_a_stream(&mut self, header: Header, known: bool, now: Instant) -> Result<(), End> {
        if header.has(flags::SYN) {
            if known || header.stream == 0 || header.stream % 2 == self.next % 2 {
                return Err(End::Protocol("a stream was opened that cannot be"));
            }
            if !self.limits.takes_streams && header.stream != CONTROL_STREAM {
                return Err(End::Protocol("the peer opened a stream, which is not for it to do"));
            }
            self.opened(header);
        }
        if header.body() > FRAME_MAX {
            return Err(End::Protocol("a frame was longer than any may be"));
        }
        let round_trip = self.round_trip.shortest();
        let Some(stream) = self.streams.get_mut(&header.stream) else { return Ok(()) };
        if header.kind == Kind::Data {
            if !stream.window.spend(header.body(), now, round_trip) {
                return Err(End::Protocol("more was sent on a stream than its window allows"));
            }
            if stream.fin_received && header.body() > 0 {
                return Err(End::Protocol("something was sent on a stream after its end"));
            }
            self.frame.stream = header.stream;
        } else {
            let credit = stream.credit.checked_add(header.len);
            stream.credit = credit.ok_or(End::Protocol("more credit was given than can be counted"))?;
            self.wakes.extend(stream.writer.take_if(|_| stream.credit > 0 && stream.sender.turn != Turn::Waiting));
        }
        if header.has(flags::RST) {
            // If it waited to send, whoever looks for output now calls on the next.
            stream.broken = true;
            self.wakes.extend(stream.waiting());
        } else if header.has(flags::FIN) {
            (self.frame.stream, self.frame.ends) = (header.stream, true);
        }
        Ok(())
    }

    fn opened(&mut self, header: Header) {
        if self.streams.len() >= self.limits.streams {
            // That one only.
            self.output.say(Header { kind: Kind::Data, flags: flags::RST, stream: header.stream, len: 0 });
        } else {
            self.streams.insert(header.stream, Stream::new(flags::ACK));
            self.opened.push_back(header.stream);
        }
        self.wake_driver();
    }

    fn payload(&mut self, payload: &[u8]) -> Result<(), End> {
        self.payload |= self.frame.stream != CONTROL_STREAM;
        let Some(stream) = self.streams.get_mut(&self.frame.stream) else { return Ok(()) };
        if stream.broken {
            return Ok(());
        }
        let before = stream.unread.cost();
        stream.unread.push(payload);
        self.held = self.held.saturating_add(stream.unread.cost()).saturating_sub(before);
        self.wakes.extend(stream.reader.take());
        self.keep_to_the_budget()
    }

    fn end_of_frame(&mut self) {
        self.frames = self.frames.wrapping_add(1);
        if self.frame.ends
            && let Some(stream) = self.streams.get_mut(&self.frame.stream)
        {
            // What was thrown away is no part of a whole.
            stream.fin_received = !stream.broken;
            self.wakes.extend(stream.reader.take());
        }
        self.frame = Frame::default();
    }

    /// Resets the streams with most unread bytes until the others keep to the budget.
    fn keep_to_the_budget(&mut self) -> Result<(), End> {
        while self.held > self.limits.memory {
            let others = self.streams.iter_mut().filter(|(id, _)| **id != CONTROL_STREAM);
            let most = others.max_by_key(|(_, stream)| stream.unread.cost());
            let Some((&id, stream)) = most.filter(|(_, stream)| !stream.unread.is_empty()) else {
                return Err(End::OverBudget);
            };
            tracing::debug!(stream = id, bytes = stream.unread.len(), "reset the stream with most unread bytes");
            self.held = self.held.saturating_sub(stream.unread.cost());
            stream.unread.clear();
            (stream.broken, stream.fin_received) = (true, false);
            self.wakes.extend(stream.waiting());
            let flags = stream.greeting | flags::RST;
            self.output.say_after(&stream.sender, Header { kind: Kind::Data, flags, stream: id, len: 0 });
            self.wake_driver();
        }
        Ok(())
    }

    /// What windows may grow by: with what the largest began with, half of the budget, so that no stream is reset for having a
    /// large one.
    fn pot(&self) -> usize {
        (self.limits.memory / 2).saturating_sub(WINDOW_START).min(WINDOW_POT)
    }

    /// Gives back what windows of idle streams have grown by, so that others may grow.
    fn sweep(&mut self, now: Instant) {
        if now.saturating_duration_since(self.swept) < SWEEP_EVERY {
            return;
        }
        self.swept = now;
        for stream in self.streams.values_mut().filter(|stream| stream.window.is_idle(now) && stream.unread.is_empty())
        {
            self.grown = self.grown.saturating_sub(stream.window.grown());
            stream.window.reset();
        }
    }

    /// Asks how long the way is, once in a while.
    fn measure(&mut self, now: Instant) {
        let recently = self.pinged.is_some_and(|at| now.saturating_duration_since(at) < MEASURE_EVERY);
        if self.ping.is_some() || recently {
            return;
        }
        self.pings = self.pings.wrapping_add(1);
        (self.ping, self.pinged) = (Some((self.pings, now)), Some(now));
        self.output.say(Header { kind: Kind::Ping, flags: flags::SYN, stream: 0, len: self.pings });
        self.wake_driver();
    }

    fn pong(&mut self, number: u32, now: Instant) -> Result<(), End> {
        let asked = self.ping.take_if(|(asked, _)| *asked == number);
        let (_, at) = asked.ok_or(End::Protocol("a ping was answered that nobody sent"))?;
        self.round_trip.note(now.saturating_duration_since(at), now);
        Ok(())
    }

    /// So many bytes leave in a second, where enough is sent: what stands in front of whatever is urgent goes by that.
    pub fn set_pace(&mut self, bytes: f64) {
        self.output.set_pace(bytes);
    }

    /// The shortest round trip of late, once it is known.
    pub const fn shortest_round_trip(&self) -> Option<Duration> {
        self.round_trip.shortest()
    }

    /// Says that nothing more will be said.
    pub fn go_away(&mut self) {
        self.output.say_last(Header { kind: Kind::GoAway, flags: 0, stream: 0, len: 0 });
    }

    /// Cuts every stream. What has come can still be read.
    pub fn cut(&mut self) {
        self.over = true;
        self.opened.clear();
        self.output.forget_line();
        for stream in self.streams.values_mut() {
            self.wakes.extend(stream.waiting());
        }
    }

    /// Takes what is to be sent into `batch`, which is empty. If there is nothing, the task is woken when there is.
    pub fn poll_output(&mut self, batch: &mut Batch, cx: &mut Context<'_>) -> bool {
        let any = self.output.take(batch);
        self.call_on();
        if !any {
            keep(&mut self.driver, cx);
            if self.output.has_line() {
                // Should those who were called on not want to send any more, the next are.
                cx.waker().wake_by_ref();
            }
        }
        any
    }

    /// Lets as many of those who wait in the line send as there is room for. Who cannot send any more, or for want of credit, takes
    /// nobody's place: it asks again when it can.
    fn call_on(&mut self) {
        let mut called = 0;
        while called < self.output.bulk_frames() {
            let Some(id) = self.output.next() else { return };
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            let can = stream.credit > 0 && !stream.broken && !stream.fin_sent && stream.writer.is_some();
            stream.sender.turn = if can { Turn::Come } else { Turn::None };
            if can || stream.broken {
                self.wakes.extend(stream.writer.take());
            }
            called += usize::from(can);
        }
    }

    fn wake_driver(&mut self) {
        self.wakes.extend(self.driver.take());
    }

    /// What keeping unread bytes costs now, in bytes.
    pub const fn held(&self) -> usize {
        self.held
    }

    /// Streams that there are, in both directions.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Whole frames received.
    pub const fn frames(&self) -> u64 {
        self.frames
    }

    /// Whether no frame has begun that has not ended.
    pub const fn is_between_frames(&self) -> bool {
        self.place.is_between()
    }

    /// Whether the peer takes so little of what answers it that no more should be read of it.
    pub fn is_stuffed(&self) -> bool {
        self.output.is_stuffed()
    }

    /// The budget for unread bytes from here on.
    pub const fn set_memory(&mut self, bytes: usize) {
        self.limits.memory = bytes;
    }

    /// The peer may send what any other may.
    pub const fn trust(&mut self) {
        self.tolerance.trust();
    }
}

/// Keeps the waker of a task that waits.
fn keep(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) if waker.will_wake(cx.waker()) => {}
        _ => *slot = Some(cx.waker().clone()),
    }
}
