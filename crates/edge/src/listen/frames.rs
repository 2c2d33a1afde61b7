//! An eye on what a visitor sends in HTTP/2: frames that cost it nothing and the edge something are counted by kind (H14). So
//! are those of a service, which may say more only with what it is asked (T11).
//!
//! The HTTP library bounds streams, windows, header blocks and small DATA, and counts some resets; what it answers without
//! limit is counted here. Only the nine bytes of each frame's header are looked at (RFC 9113 §4.1); payloads pass untouched. Of
//! what the edge answers, the resets are counted for which the client gave a reason: what provokes them may be any frame.
//! Over a budget the connection is asked to go (GOAWAY), which costs an honest client nothing: what is under way ends, what
//! comes next comes on another connection. Far over it, the connection is cut.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use super::{activity::HEAD_TIME, http::H2_RESETS, sources::Glitch};

/// Budgets count for so long.
const SPAN: Duration = Duration::from_secs(10);
/// So many times over a budget, a connection is cut.
const PATIENCE: u32 = 4;
/// SETTINGS, acknowledgements included: an honest client sends two or three in all; each costs an answer.
const SETTINGS_MAX: u32 = 100;
/// PING, acknowledgements included: some clients measure each round trip while they download; each costs an answer.
const PINGS_MAX: u32 = 5_000;
/// PRIORITY and PRIORITY_UPDATE: one or two for each request of a browser.
const PRIORITIES_MAX: u32 = 2_000;
/// RST_STREAM: a page full of pictures that is left before they are there is some dozens.
const RESETS_MAX: u32 = 100;
/// RST_STREAM that the edge sends for what the client did wrong on a stream; no honest client ever has it do so. The connection
/// is only asked to go: where nothing new begins, nothing more is reset.
const PROVOKED_MAX: u32 = 100;
/// DATA of less than [`SMALL`] bytes, and padded DATA. The library has a budget for these; this one is for what it lets
/// through, which is answers to answers: typing, telemetry.
const SMALL_MAX: u32 = 20_000;
const SMALL: u32 = 64;
/// WINDOW_UPDATE: some for nothing, and one for each so many bytes that were sent. Clients with the smallest buffers
/// acknowledge 4 KiB at a time, twice: for the stream and for the connection.
const WINDOW_UPDATES_MAX: u32 = 2_000;
const BYTES_PER_WINDOW_UPDATE: u64 = 1024;
/// Frames that no specification in use knows, which are to be ignored (RFC 9113 §5.5). Browsers send a few, for practice.
const UNKNOWN_MAX: u32 = 1_000;
/// CONTINUATION frames of one header block: the largest block that is read fits nine frames, the first one included.
const CONTINUATIONS_MAX: u32 = 8;
/// So many of these frames with as much as a frame may have (RFC 9113 §4.2) are a head that is too large, as any page elsewhere
/// can have a browser send, and no flood of small ones.
const LARGE_HEAD: u32 = CONTINUATIONS_MAX * 16_384;
const TOO_LARGE: Flood = Flood("CONTINUATION, of a head that is too large");
/// Heads that a service may send for a request: eight informational ones, that of its answer, and one behind the body. The
/// library takes informational ones without end, and says nothing of them.
const HEADS_PER_REQUEST: u32 = 10;

const PREFACE: usize = 24;
const HEADER: usize = 9;
/// What follows the header of RST_STREAM: the reason.
const REASON: usize = 4;

mod kind {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const PRIORITY: u8 = 2;
    pub(super) const RST_STREAM: u8 = 3;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const PING: u8 = 6;
    pub(super) const GOAWAY: u8 = 7;
    pub(super) const WINDOW_UPDATE: u8 = 8;
    pub(super) const CONTINUATION: u8 = 9;
    pub(super) const PRIORITY_UPDATE: u8 = 16;
}

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// Whether a stream is reset by this reason for what the client did, and not because it was given up, refused or broke off.
const fn is_the_clients(reason: h2::Reason) -> bool {
    matches!(
        reason,
        h2::Reason::PROTOCOL_ERROR
            | h2::Reason::FLOW_CONTROL_ERROR
            | h2::Reason::STREAM_CLOSED
            | h2::Reason::FRAME_SIZE_ERROR
            | h2::Reason::ENHANCE_YOUR_CALM
    )
}

/// More of something than a connection may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many frames: {0}")]
pub(super) struct Flood(&'static str);

/// How much of each kind has come.
#[derive(Default)]
struct Counts {
    settings: u32,
    pings: u32,
    priorities: u32,
    resets: u32,
    provoked: u32,
    small: u32,
    window_updates: u32,
    unknown: u32,
    /// Bytes that were sent meanwhile.
    sent: u64,
    /// Requests that a service was asked meanwhile.
    asked: u32,
}

/// Where in its frames the edge is.
#[derive(Default)]
struct Answers {
    frame: [u8; HEADER + REASON],
    have: usize,
    /// Bytes up to the next header.
    skip: usize,
}

impl Answers {
    /// Follows what was sent; how many streams were reset for what the client did.
    fn provoked(&mut self, mut bytes: &[u8]) -> u32 {
        let mut provoked = 0_u32;
        while !bytes.is_empty() {
            if self.skip > 0 {
                let (_, rest) = bytes.split_at(self.skip.min(bytes.len()));
                self.skip -= bytes.len() - rest.len();
                bytes = rest;
                continue;
            }
            let wanted = if self.have < HEADER { HEADER } else { HEADER + REASON };
            let mut taken = 0;
            for (slot, byte) in self.frame.iter_mut().take(wanted).skip(self.have).zip(bytes) {
                *slot = *byte;
                taken += 1;
            }
            self.have += taken;
            bytes = bytes.split_at(taken).1;
            if self.have < wanted {
                return provoked;
            }
            let [a, b, c, kind, _, _, _, _, _, reason @ ..] = self.frame;
            let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(usize::MAX);
            if kind == kind::RST_STREAM && length >= REASON {
                if self.have == HEADER {
                    continue;
                }
                provoked += u32::from(is_the_clients(u32::from_be_bytes(reason).into()));
            }
            self.skip = length.saturating_sub(self.have - HEADER);
            self.have = 0;
        }
        provoked
    }
}

/// Heads that a service may send.
struct Heads {
    left: u32,
    /// Those of as many requests as it is asked at a time.
    most: u32,
}

/// Where in its frames a peer is, and what it has sent of them.
struct Frames {
    header: [u8; HEADER],
    have: usize,
    /// Bytes up to the next header.
    skip: usize,
    since: Instant,
    counts: Counts,
    /// A header block that has begun and not ended: its frames beside the first, and its bytes.
    block: Option<(Instant, u32, u32)>,
    /// Of a service only; a visitor's are bounded by its streams.
    heads: Option<Heads>,
    over: bool,
    answers: Answers,
    /// It has provoked more resets than it may.
    provokes: bool,
}

impl Frames {
    fn new(now: Instant) -> Self {
        let counts = Counts::default();
        let answers = Answers::default();
        Self {
            header: [0; HEADER],
            have: 0,
            skip: PREFACE,
            since: now,
            counts,
            block: None,
            heads: None,
            over: false,
            answers,
            provokes: false,
        }
    }

    /// Those of a service that is asked so many requests at a time.
    fn of_service(now: Instant, requests: u32) -> Self {
        let heads = Heads { left: 0, most: requests.saturating_mul(HEADS_PER_REQUEST) };
        // Here it is the edge that begins with the preface.
        let answers = Answers { skip: PREFACE, ..Answers::default() };
        Self { skip: 0, heads: Some(heads), answers, ..Self::new(now) }
    }

    /// A service is asked one request more.
    fn asks(&mut self) {
        self.counts.asked = self.counts.asked.saturating_add(1);
        if let Some(heads) = &mut self.heads {
            heads.left = heads.left.saturating_add(HEADS_PER_REQUEST).min(heads.most);
        }
    }

    /// Follows what was received.
    fn received(&mut self, mut bytes: &[u8], now: Instant) -> Result<(), Flood> {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let (_, rest) = bytes.split_at(self.skip.min(bytes.len()));
                self.skip -= bytes.len() - rest.len();
                bytes = rest;
                continue;
            }
            let mut taken = 0;
            for (slot, byte) in self.header.iter_mut().skip(self.have).zip(bytes) {
                *slot = *byte;
                taken += 1;
            }
            self.have += taken;
            bytes = bytes.split_at(taken).1;
            if self.have == HEADER {
                self.have = 0;
                let [a, b, c, kind, flags, ..] = self.header;
                let length = u32::from_be_bytes([0, a, b, c]);
                self.skip = usize::try_from(length).unwrap_or(usize::MAX);
                self.frame(kind, flags, length, now)?;
            }
        }
        Ok(())
    }

    fn frame(&mut self, kind: u8, flags: u8, length: u32, now: Instant) -> Result<(), Flood> {
        self.turn(now);
        let counts = &mut self.counts;
        let (count, most, name) = match kind {
            kind::HEADERS | kind::CONTINUATION => return self.block(kind, flags, length, now),
            // An answer in small pieces is its visitor's business; what nobody takes the library counts.
            kind::DATA if self.heads.is_some() => return Ok(()),
            kind::DATA if (length >= SMALL && flags & PADDED == 0) || flags & END_STREAM != 0 => return Ok(()),
            kind::DATA => (&mut counts.small, SMALL_MAX, "DATA with hardly any"),
            kind::PRIORITY | kind::PRIORITY_UPDATE => (&mut counts.priorities, PRIORITIES_MAX, "PRIORITY"),
            kind::RST_STREAM => {
                let most = RESETS_MAX.saturating_add(counts.asked);
                (&mut counts.resets, most, "RST_STREAM")
            }
            kind::SETTINGS => (&mut counts.settings, SETTINGS_MAX, "SETTINGS"),
            kind::PING => (&mut counts.pings, PINGS_MAX, "PING"),
            kind::WINDOW_UPDATE => {
                let earned = u32::try_from(counts.sent / BYTES_PER_WINDOW_UPDATE).unwrap_or(u32::MAX);
                let most = WINDOW_UPDATES_MAX.saturating_add(earned);
                (&mut counts.window_updates, most, "WINDOW_UPDATE")
            }
            kind::GOAWAY => return Ok(()),
            _ => (&mut counts.unknown, UNKNOWN_MAX, "unknown ones"),
        };
        *count = count.saturating_add(1);
        self.over |= *count > most;
        if *count > most.saturating_mul(PATIENCE) { Err(Flood(name)) } else { Ok(()) }
    }

    fn block(&mut self, kind: u8, flags: u8, length: u32, now: Instant) -> Result<(), Flood> {
        let (since, frames, bytes) = match self.block.take() {
            Some((since, frames, bytes)) if kind == kind::CONTINUATION => {
                (since, frames.saturating_add(1), bytes.saturating_add(length))
            }
            _ => (now, 0, length),
        };
        if frames > CONTINUATIONS_MAX {
            return Err(if bytes >= LARGE_HEAD { TOO_LARGE } else { Flood("CONTINUATION") });
        }
        if kind == kind::HEADERS
            && let Some(heads) = &mut self.heads
        {
            heads.left = heads.left.checked_sub(1).ok_or(Flood("HEADERS"))?;
        }
        if flags & END_HEADERS == 0 {
            self.block = Some((since, frames, bytes));
        }
        Ok(())
    }

    /// Follows what was sent.
    fn sent(&mut self, bytes: &[u8], now: Instant) {
        self.turn(now);
        self.counts.sent = self.counts.sent.saturating_add(bytes.len() as u64);
        self.counts.provoked = self.counts.provoked.saturating_add(self.answers.provoked(bytes));
        self.provokes |= self.counts.provoked > PROVOKED_MAX;
        self.over |= self.provokes;
    }

    /// Counts anew when it is time.
    fn turn(&mut self, now: Instant) {
        if now.saturating_duration_since(self.since) >= SPAN {
            (self.since, self.counts) = (now, Counts::default());
        }
    }

    fn is_late(&self, now: Instant) -> bool {
        self.block.is_some_and(|(since, ..)| now.saturating_duration_since(since) > HEAD_TIME)
    }
}

/// What a connection is told of its frames.
pub(crate) struct Watch {
    frames: Mutex<Frames>,
    over: CancellationToken,
    flooded: Mutex<Option<Flood>>,
}

impl Watch {
    pub(super) fn new() -> Arc<Self> {
        Self::of(Frames::new(Instant::now()))
    }

    /// One for a service that is asked so many requests at a time.
    pub(crate) fn of_service(requests: u32) -> Arc<Self> {
        Self::of(Frames::of_service(Instant::now(), requests))
    }

    fn of(frames: Frames) -> Arc<Self> {
        Arc::new(Self { frames: Mutex::new(frames), over: CancellationToken::new(), flooded: Mutex::new(None) })
    }

    /// A service is asked one request more.
    pub(crate) fn asks(&self) {
        self.frames().asks();
    }

    /// Whether a budget is used up.
    pub(crate) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Whether a header block was begun that does not end.
    pub(super) fn is_late(&self) -> bool {
        self.frames().is_late(Instant::now())
    }

    /// What the connection was cut for, if it was.
    pub(super) fn flooded(&self) -> Option<Flood> {
        *self.flooded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it has given up more requests than may be before they were looked at.
    fn gives_up(&self) -> bool {
        self.frames().counts.resets > H2_RESETS
    }

    /// Whether it was asked to go for the resets that it provoked.
    pub(super) fn provokes(&self) -> bool {
        self.frames().provokes
    }

    fn frames(&self) -> MutexGuard<'_, Frames> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn received(&self, bytes: &[u8]) -> io::Result<()> {
        let (followed, over) = {
            let mut frames = self.frames();
            (frames.received(bytes, Instant::now()), frames.over)
        };
        if over {
            self.over.cancel();
        }
        followed.map_err(|flood| {
            *self.flooded.lock().unwrap_or_else(PoisonError::into_inner) = Some(flood);
            io::Error::other(flood)
        })
    }

    /// Follows the first `count` bytes of `pieces`.
    fn sent<'a>(&self, pieces: impl Iterator<Item = &'a [u8]>, count: usize) {
        let over = {
            let (mut frames, now, mut left) = (self.frames(), Instant::now(), count);
            for piece in pieces {
                let piece = piece.get(..left).unwrap_or(piece);
                left = left.saturating_sub(piece.len());
                frames.sent(piece, now);
            }
            frames.over
        };
        if over {
            self.over.cancel();
        }
    }
}

/// A connection whose frames are watched, if it speaks in frames.
pub(crate) struct Watched<T> {
    io: T,
    watch: Option<Arc<Watch>>,
}

impl<T> Watched<T> {
    pub(crate) fn new(io: T, watch: Option<Arc<Watch>>) -> Self {
        Self { io, watch }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let received = buf.filled().get(before..).unwrap_or_default();
        Poll::Ready(self.watch.as_ref().map_or(Ok(()), |watch| watch.received(received)))
    }
}

impl<T: AsyncWrite + Unpin> Watched<T> {
    fn sent<'a>(&self, pieces: impl Iterator<Item = &'a [u8]>, count: usize) -> usize {
        if let Some(watch) = &self.watch {
            watch.sent(pieces, count);
        }
        count
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.io).poll_write(cx, buf))?;
        Poll::Ready(Ok(self.sent(std::iter::once(buf), count)))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, bufs))?;
        Poll::Ready(Ok(self.sent(bufs.iter().map(|piece| &**piece), count)))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

/// Waits until a budget is used up: the connection is to go, politely.
pub(super) async fn over(watch: Option<&Watch>) {
    match watch {
        Some(watch) => watch.over.cancelled().await,
        None => std::future::pending().await,
    }
}

/// What the end of a connection says about its source, if it says anything: that a peer goes away is nobody's fault.
pub(super) fn fault(error: &(dyn std::error::Error + 'static), watch: Option<&Watch>) -> Option<Glitch> {
    if let Some(flood) = watch.and_then(Watch::flooded) {
        return Some(if flood == TOO_LARGE { Glitch::TurnedAway } else { Glitch::Flood });
    }
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
            return Some(Glitch::Malformed);
        }
        if let Some(error) = error.downcast_ref::<h2::Error>().filter(|error| error.is_library()) {
            return Some(match error.reason() {
                Some(h2::Reason::ENHANCE_YOUR_CALM) if watch.is_some_and(Watch::gives_up) => Glitch::GivenUp,
                Some(h2::Reason::ENHANCE_YOUR_CALM) => Glitch::Flood,
                _ => Glitch::Malformed,
            });
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let [_, a, b, c] = u32::try_from(payload).unwrap().to_be_bytes();
        [&[a, b, c, kind, flags, 0, 0, 0, 1], vec![0xff; payload].as_slice()].concat()
    }

    fn after(frames: &[Vec<u8>], now: Instant) -> (Result<(), Flood>, bool) {
        let mut watched = Frames::new(now);
        watched.received(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", now).unwrap();
        let outcome = frames.iter().try_for_each(|frame| watched.received(frame, now));
        (outcome, watched.over)
    }

    // H14
    #[test]
    fn each_kind_of_frame_has_its_budget() {
        let now = Instant::now();
        for (kind, flags, payload, most) in [
            (kind::SETTINGS, 0, 6, SETTINGS_MAX),
            (kind::PING, 0, 8, PINGS_MAX),
            (kind::PRIORITY, 0, 5, PRIORITIES_MAX),
            (kind::PRIORITY_UPDATE, 0, 8, PRIORITIES_MAX),
            (kind::RST_STREAM, 0, 4, RESETS_MAX),
            (kind::WINDOW_UPDATE, 0, 4, WINDOW_UPDATES_MAX),
            (kind::DATA, 0, 0, SMALL_MAX),
            (kind::DATA, 0, 1, SMALL_MAX),
            (kind::DATA, PADDED, 200, SMALL_MAX),
            (77, 0, 3, UNKNOWN_MAX),
        ] {
            let many = |count: u32| vec![frame(kind, flags, payload); usize::try_from(count).unwrap()];
            assert_eq!(after(&many(most), now), (Ok(()), false), "{kind}");
            assert_eq!(after(&many(most + 1), now), (Ok(()), true), "{kind}: asked to go");
            assert_eq!(after(&many(most * PATIENCE), now), (Ok(()), true), "{kind}");
            assert!(after(&many(most * PATIENCE + 1), now).0.is_err(), "{kind}: cut");
        }
    }

    #[test]
    fn whole_data_and_ends_cost_nothing_and_time_gives_all_back() {
        let start = Instant::now();
        let honest = [frame(kind::DATA, 0, 1024), frame(kind::DATA, END_STREAM, 0), frame(kind::HEADERS, 5, 30)];
        assert_eq!(after(&honest.into_iter().cycle().take(300_000).collect::<Vec<_>>(), start), (Ok(()), false));
        let mut watched = Frames::new(start);
        watched.skip = 0;
        for second in 0..60 {
            let now = start + Duration::from_secs(second);
            (0..9).for_each(|_| watched.received(&frame(kind::RST_STREAM, 0, 4), now).unwrap());
        }
        assert!(!watched.over);
    }

    // T11
    #[test]
    fn a_service_sends_so_many_heads_for_each_request_and_data_as_it_likes() {
        let now = Instant::now();
        let after = |asked: u32, sent: &[u8], count: u32| {
            let mut watched = Frames::of_service(now, 2);
            (0..asked).for_each(|_| watched.asks());
            ((0..count).try_for_each(|_| watched.received(sent, now)), watched.over)
        };
        let head = frame(kind::HEADERS, END_HEADERS, 10);
        for (asked, most) in [(0, 0), (1, HEADS_PER_REQUEST), (2, 2 * HEADS_PER_REQUEST), (9, 2 * HEADS_PER_REQUEST)] {
            assert_eq!(after(asked, &head, most), (Ok(()), false), "{asked}");
            assert_eq!(after(asked, &head, most + 1), (Err(Flood("HEADERS")), false), "{asked}");
        }
        assert_eq!(after(1, &frame(kind::DATA, 0, 1), SMALL_MAX * PATIENCE + 1), (Ok(()), false));
        // A service may reset what it is asked.
        let reset = frame(kind::RST_STREAM, 0, 4);
        assert_eq!(after(5_000, &reset, RESETS_MAX + 5_000), (Ok(()), false));
        assert_eq!(after(5_000, &reset, RESETS_MAX + 5_001), (Ok(()), true));
        assert_eq!(after(1, &frame(kind::SETTINGS, 0, 6), SETTINGS_MAX + 1), (Ok(()), true));
    }

    #[test]
    fn whoever_downloads_may_say_so() {
        let now = Instant::now();
        let mut watched = Frames::new(now);
        watched.skip = 0;
        // 100 MiB in ten seconds, acknowledged 4 KiB at a time, for the stream and for the connection.
        for _ in 0..25_600 {
            watched.sent(&frame(kind::DATA, 0, 4096 - HEADER), now);
            (0..2).for_each(|_| watched.received(&frame(kind::WINDOW_UPDATE, 0, 4), now).unwrap());
        }
        assert!(!watched.over);
    }

    // H14: resets that the edge is made to send.
    #[test]
    fn a_client_provokes_so_many_resets_and_is_asked_to_go() {
        let reset = |reason: h2::Reason| {
            let mut reset = frame(kind::RST_STREAM, 0, REASON);
            reset[HEADER..].copy_from_slice(&u32::from(reason).to_be_bytes());
            reset
        };
        let after = |resets: u32, reason: h2::Reason, apart: Duration, cut: usize| {
            let (mut watched, mut now) = (Frames::new(Instant::now()), Instant::now());
            for _ in 0..resets {
                let answers =
                    [frame(kind::DATA, 0, 300), reset(reason), frame(kind::HEADERS, END_HEADERS, 20)].concat();
                answers.chunks(cut).for_each(|piece| watched.sent(piece, now));
                now += apart;
            }
            watched.over && watched.provokes
        };
        for cut in [1, 4, 11, 10_000] {
            for reason in [h2::Reason::FLOW_CONTROL_ERROR, h2::Reason::PROTOCOL_ERROR, h2::Reason::STREAM_CLOSED] {
                assert!(!after(PROVOKED_MAX, reason, Duration::ZERO, cut), "{reason:?}");
                assert!(after(PROVOKED_MAX + 1, reason, Duration::ZERO, cut), "{reason:?}");
                assert!(!after(5 * PROVOKED_MAX, reason, Duration::from_secs(1), cut), "time gives them back");
            }
            // What a visitor gives up, what a service breaks off, and what comes when there is no room.
            for reason in
                [h2::Reason::NO_ERROR, h2::Reason::CANCEL, h2::Reason::INTERNAL_ERROR, h2::Reason::REFUSED_STREAM]
            {
                assert!(!after(10 * PROVOKED_MAX, reason, Duration::ZERO, cut), "{reason:?}");
            }
        }
    }

    // H14: endless header blocks.
    #[test]
    fn a_header_block_ends_after_a_few_frames_and_in_time() {
        let now = Instant::now();
        let block = |count: usize, last: u8| {
            let mut frames = vec![frame(kind::HEADERS, 0, 10)];
            frames.extend(vec![frame(kind::CONTINUATION, 0, 10); count - 1]);
            frames.push(frame(kind::CONTINUATION, last, 10));
            frames
        };
        let most = usize::try_from(CONTINUATIONS_MAX).unwrap();
        let many = vec![block(most, END_HEADERS); 100].concat();
        assert!(after(&many, now).0.is_ok());
        assert_eq!(after(&block(most + 1, 0), now).0, Err(Flood("CONTINUATION")));
        let mut watched = Frames::new(now);
        watched.skip = 0;
        watched.received(&frame(kind::HEADERS, 0, 10), now).unwrap();
        watched.received(&frame(kind::CONTINUATION, 0, 1), now + HEAD_TIME).unwrap();
        assert!(!watched.is_late(now + HEAD_TIME));
        assert!(watched.is_late(now + HEAD_TIME + Duration::from_millis(1)));
        watched.received(&frame(kind::CONTINUATION, END_HEADERS, 1), now + HEAD_TIME).unwrap();
        assert!(!watched.is_late(now + HEAD_TIME * 2));
    }

    // H14
    #[test]
    fn a_head_that_is_too_large_and_requests_that_are_given_up_are_no_floods_where_a_browser_may_send_them() {
        let anything = io::Error::other("ended");
        let ends = |frames: &[Vec<u8>]| {
            let watch = Watch::new();
            watch.frames().skip = 0;
            let ended = frames.iter().try_for_each(|frame| watch.received(frame));
            (ended.is_err(), fault(&anything, Some(&watch)), watch.gives_up())
        };
        let head = |payload: usize| {
            let mut frames = vec![frame(kind::HEADERS, 0, payload)];
            frames.extend(vec![frame(kind::CONTINUATION, 0, payload); usize::try_from(CONTINUATIONS_MAX).unwrap() + 1]);
            ends(&frames)
        };
        assert_eq!(head(16_384), (true, Some(Glitch::TurnedAway), false));
        assert_eq!(head(1_000), (true, Some(Glitch::Flood), false));
        let resets = |count: u32| ends(&vec![frame(kind::RST_STREAM, 0, 4); usize::try_from(count).unwrap()]);
        assert_eq!(resets(H2_RESETS), (false, None, false));
        assert_eq!(resets(RESETS_MAX * PATIENCE), (false, None, true));
        assert_eq!(resets(RESETS_MAX * PATIENCE + 1), (true, Some(Glitch::Flood), true));
    }

    proptest! {
        // However the bytes are cut, the same frames are seen.
        #[test]
        fn where_reads_end_means_nothing(
            frames in proptest::collection::vec((0..18_u8, any::<u8>(), 0..40_usize), 0..60),
            cuts in proptest::collection::vec(1..30_usize, 1..20),
        ) {
            let now = Instant::now();
            let bytes: Vec<u8> = frames.iter().flat_map(|(kind, flags, payload)| frame(*kind, *flags, *payload)).collect();
            let (mut whole, mut cut) = (Frames::new(now), Frames::new(now));
            (whole.skip, cut.skip) = (0, 0);
            let expected = whole.received(&bytes, now);
            let (mut rest, mut sizes) = (bytes.as_slice(), cuts.into_iter().cycle());
            let mut got = Ok(());
            while !rest.is_empty() && got.is_ok() {
                let (head, tail) = rest.split_at(sizes.next().unwrap().min(rest.len()));
                got = cut.received(head, now);
                rest = tail;
            }
            prop_assert_eq!(expected, got);
            prop_assert_eq!(whole.counts.resets, cut.counts.resets);
            prop_assert_eq!(whole.block.is_some(), cut.block.is_some());
        }
    }
}
