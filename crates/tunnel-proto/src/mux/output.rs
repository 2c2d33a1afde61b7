//! What is to be sent, and in which order: what is said about streams first, then those that send little, then the others, in
//! turn.
//!
//! Two queues are filled while the driver writes what it took before. `urgent` has what is said about streams and the connection,
//! and whatever a stream sends that has sent next to nothing since the last time; so a keystroke does not wait behind the
//! download of somebody else. `bulk` has everything else, and room for so little that what stands in it is soon gone; who finds
//! no room waits in a line. Of one stream nothing overtakes anything: while some of it is in `bulk`, all of it goes there.
//!
//! How much that is goes by how fast it leaves: four frames, which are written at once, and fewer and smaller ones where those take
//! so long that whatever is urgent would have to wait for them.

use std::{collections::VecDeque, time::Duration};

use bytes::BytesMut;

use super::{
    engine::CONTROL_STREAM,
    wire::{HEADER, Header, Kind},
};

/// The most that a frame of ours carries: with its header, exactly one TLS record.
pub const FRAME_PAYLOAD: usize = 16 * 1024 - HEADER;
/// What may stand in the queue of bulk: four frames, which are written at once; less where those take long to leave.
pub const BULK_MAX: usize = 64 * 1024;
/// The least that may: a frame, which is smaller then.
const BULK_MIN: usize = 4 * 1024;
/// What a frame of bulk takes there.
const BULK_FRAME: usize = FRAME_PAYLOAD + HEADER;
/// What stands in the queue of bulk should leave in so long: a quarter of what the system holds of it, which so can tell whether all
/// of that had left ([`LinkSocket`](crate::link::LinkSocket)).
const BULK_TIME: Duration = Duration::from_micros(1500);
/// How much a stream may send ahead of bulk, each time that the queues are emptied: so much at most, and a part of what may stand
/// in the queue of bulk. In the urgent queue there may be as much payload as in that one: whoever finds more there waits with bulk,
/// which has half of what leaves therefore, however many send little.
const SPARSE_MAX: usize = 4 * 1024;
/// See [`SPARSE_MAX`].
const SPARSE_PART: usize = 8;
/// What may stand there in all before nothing more is read: whoever takes no answers gets none.
const URGENT_HARD: usize = 256 * 1024;

/// What the driver has taken to write.
#[derive(Debug, Default)]
pub struct Batch {
    /// To be written first.
    pub urgent: BytesMut,
    /// To be written after that.
    pub bulk: BytesMut,
    /// Whether there was payload in it, of a stream other than the first.
    pub payload: bool,
}

impl Batch {
    /// Whether all of it was written.
    pub fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.bulk.is_empty()
    }

    /// Gives memory back, after all was written and nothing more is to come for now.
    pub fn shrink(&mut self) {
        // A buffer that was written to its end says that it has no capacity, and holds its memory all the same.
        if self.is_empty() {
            *self = Self::default();
        }
    }
}

/// Where a stream stands with what it sends.
#[derive(Debug, Default)]
pub(super) struct Sender {
    /// When the numbers below are of: [`Output::round`].
    round: u64,
    /// Sent in that round.
    sent: usize,
    /// Whether some of it went to `bulk`.
    in_bulk: bool,
    pub(super) turn: Turn,
}

/// Whether a stream waits for room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Turn {
    #[default]
    None,
    /// It is in the line.
    Waiting,
    /// It came first in the line, and may send whatever else waits.
    Come,
}

/// The queues.
#[derive(Debug)]
pub(super) struct Output {
    urgent: BytesMut,
    bulk: BytesMut,
    /// What may stand in `bulk`: from [`BULK_MIN`] to [`BULK_MAX`].
    bulk_max: usize,
    payload: bool,
    /// How often they were emptied.
    round: u64,
    /// Who waits for room, first come first served.
    line: VecDeque<u32>,
}

impl Default for Output {
    fn default() -> Self {
        let (urgent, bulk, line) = (BytesMut::new(), BytesMut::new(), VecDeque::new());
        Self { urgent, bulk, bulk_max: BULK_MAX, payload: false, round: 0, line }
    }
}

impl Output {
    /// Has as much stand in the queue of bulk as fits so many bytes a second that leave.
    pub(super) fn set_pace(&mut self, bytes: f64) {
        // A float that is too large becomes the largest number.
        let leaves = ((bytes * BULK_TIME.as_secs_f64()) as usize).clamp(BULK_MIN, BULK_MAX);
        // Beyond one, whole frames only: there would always be room for a part of one, and that is given whole.
        self.bulk_max = if leaves < BULK_FRAME { leaves } else { leaves / BULK_FRAME * BULK_FRAME };
    }

    /// What a frame of bulk takes.
    fn bulk_frame(&self) -> usize {
        self.bulk_max.min(BULK_FRAME)
    }

    /// How many frames of bulk go at once.
    pub(super) fn bulk_frames(&self) -> usize {
        self.bulk_max / self.bulk_frame()
    }

    /// Empties the queues into `batch`, which is empty; whether there was anything.
    pub(super) fn take(&mut self, batch: &mut Batch) -> bool {
        if self.is_empty() {
            return false;
        }
        std::mem::swap(&mut self.urgent, &mut batch.urgent);
        std::mem::swap(&mut self.bulk, &mut batch.bulk);
        batch.payload = std::mem::take(&mut self.payload);
        self.round += 1;
        true
    }

    pub(super) fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.bulk.is_empty()
    }

    /// Whether the peer takes so little of what answers it that no more should be read of it.
    pub(super) fn is_stuffed(&self) -> bool {
        self.urgent.len() > URGENT_HARD
    }

    /// The next in the line, of as many as there is room for.
    pub(super) fn next(&mut self) -> Option<u32> {
        self.line.pop_front()
    }

    /// Whether somebody waits.
    pub(super) fn has_line(&self) -> bool {
        !self.line.is_empty()
    }

    pub(super) fn forget_line(&mut self) {
        self.line.clear();
    }

    /// Puts in a frame without payload that belongs to no stream, or may overtake what its stream sends.
    pub(super) fn say(&mut self, header: Header) {
        self.urgent.extend_from_slice(&header.bytes());
    }

    /// Puts in a frame without payload behind everything else.
    pub(super) fn say_last(&mut self, header: Header) {
        self.bulk.extend_from_slice(&header.bytes());
    }

    /// Puts in a frame without payload behind everything that its stream has sent.
    pub(super) fn say_after(&mut self, sender: &Sender, header: Header) {
        let queue = if self.is_in_bulk(sender) { &mut self.bulk } else { &mut self.urgent };
        queue.extend_from_slice(&header.bytes());
    }

    fn is_in_bulk(&self, sender: &Sender) -> bool {
        sender.round == self.round && sender.in_bulk
    }

    /// Puts in as much of `payload` as there is room for; how much. Nothing means that the stream waits in the line from now
    /// on. `flags` are those of the first frame.
    pub(super) fn send(&mut self, sender: &mut Sender, id: u32, flags: u16, payload: &[u8]) -> usize {
        if sender.round != self.round {
            (sender.round, sender.sent, sender.in_bulk) = (self.round, 0, false);
        }
        let sent = sender.sent.saturating_add(payload.len());
        let sparse = SPARSE_MAX.min(self.bulk_max / SPARSE_PART);
        if !sender.in_bulk && sent <= sparse && self.urgent.len() < self.bulk_max {
            sender.sent = sent;
            self.payload |= id != CONTROL_STREAM;
            frame(&mut self.urgent, id, flags, payload);
            return payload.len();
        }
        let can = sender.turn == Turn::Come || (self.line.is_empty() && self.bulk.len() < self.bulk_max);
        if !can {
            if sender.turn == Turn::None {
                sender.turn = Turn::Waiting;
                self.line.push_back(id);
            }
            return 0;
        }
        sender.turn = Turn::None;
        sender.in_bulk = true;
        self.payload |= id != CONTROL_STREAM;
        // Alone, it may fill the queue; where others wait, a frame is a turn.
        let frame_max = self.bulk_frame();
        let frames = match self.line.is_empty() {
            true => (self.bulk_max.saturating_sub(self.bulk.len()) / frame_max).max(1),
            false => 1,
        };
        if self.bulk.capacity() == 0 {
            self.bulk.reserve(payload.len().saturating_add(frames * HEADER).min(BULK_MAX));
        }
        let mut taken = 0;
        for piece in payload.chunks(frame_max - HEADER).take(frames) {
            frame(&mut self.bulk, id, if taken == 0 { flags } else { 0 }, piece);
            taken += piece.len();
        }
        sender.sent = sender.sent.saturating_add(taken);
        taken
    }
}

fn frame(queue: &mut BytesMut, stream: u32, flags: u16, payload: &[u8]) {
    // At most `FRAME_PAYLOAD`, by the callers.
    let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    queue.reserve(payload.len().saturating_add(HEADER));
    queue.extend_from_slice(&Header { kind: Kind::Data, flags, stream, len }.bytes());
    queue.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The streams of frames, with how much each carries.
    type Frames = Vec<(u32, usize)>;

    /// The frames in a queue.
    fn frames(mut queue: &[u8]) -> Frames {
        let mut all = Vec::new();
        while let Some((header, rest)) = queue.split_first_chunk::<HEADER>() {
            let header = Header::parse(*header).unwrap();
            all.push((header.stream, header.body()));
            queue = &rest[header.body()..];
        }
        all
    }

    fn taken(output: &mut Output) -> (Frames, Frames) {
        let mut batch = Batch::default();
        output.take(&mut batch);
        (frames(&batch.urgent), frames(&batch.bulk))
    }

    #[test]
    fn a_stream_that_sends_little_overtakes_those_that_send_much() {
        let (mut output, mut download, mut shell) = (Output::default(), Sender::default(), Sender::default());
        assert_eq!(output.send(&mut download, 1, 0, &[0; 100_000]), 4 * FRAME_PAYLOAD);
        assert_eq!(output.send(&mut shell, 3, 0, b"key"), 3);
        let (urgent, bulk) = taken(&mut output);
        assert_eq!(urgent, [(3, 3)]);
        assert_eq!(bulk, [(1, FRAME_PAYLOAD); 4]);
    }

    #[test]
    fn nothing_overtakes_what_the_same_stream_has_sent() {
        let (mut output, mut one) = (Output::default(), Sender::default());
        assert_eq!(output.send(&mut one, 1, 0, &[0; 10_000]), 10_000);
        assert_eq!(output.send(&mut one, 1, 0, b"after"), 5);
        let reset = Header { kind: Kind::Data, flags: super::super::wire::flags::RST, stream: 1, len: 0 };
        output.say_after(&one, reset);
        assert_eq!(taken(&mut output), (vec![], vec![(1, 10_000), (1, 5), (1, 0)]));
        assert_eq!(output.send(&mut one, 1, 0, b"now it may"), 10);
        assert_eq!(taken(&mut output), (vec![(1, 10)], vec![]));
    }

    #[test]
    fn a_stream_overtakes_others_with_four_kibibytes_at_a_time_only() {
        let (mut output, mut one) = (Output::default(), Sender::default());
        for _ in 0..6 {
            assert_eq!(output.send(&mut one, 1, 0, &[0; 1024]), 1024);
        }
        assert_eq!(taken(&mut output), (vec![(1, 1024); 4], vec![(1, 1024); 2]));
    }

    #[test]
    fn whoever_finds_no_room_waits_in_a_line_and_takes_turns_of_one_frame() {
        let (mut output, payload) = (Output::default(), [0; 100_000]);
        let (mut first, mut second, mut third) = (Sender::default(), Sender::default(), Sender::default());
        assert_eq!(output.send(&mut first, 1, 0, &payload), 4 * FRAME_PAYLOAD);
        assert_eq!(output.send(&mut second, 3, 0, &payload), 0);
        assert_eq!(output.send(&mut second, 3, 0, &payload), 0, "in the line once");
        taken(&mut output);
        // There is room again, and a line.
        assert_eq!(output.send(&mut third, 5, 0, &payload), 0);
        assert_eq!((output.next(), second.turn), (Some(3), Turn::Waiting));
        second.turn = Turn::Come;
        assert_eq!(output.send(&mut second, 3, 0, &payload), FRAME_PAYLOAD);
        assert_eq!(output.send(&mut first, 1, 0, &payload), 0);
        assert_eq!((output.next(), output.next(), output.next()), (Some(5), Some(1), None));
    }

    #[test]
    fn where_frames_take_long_to_leave_there_is_one_at_a_time_and_a_small_one() {
        let (mut output, mut download, mut shell) = (Output::default(), Sender::default(), Sender::default());
        // 10 Mbit/s.
        output.set_pace(1.25e6);
        assert_eq!(output.send(&mut download, 1, 0, &[0; 100_000]), BULK_MIN - HEADER);
        assert_eq!(output.send(&mut download, 1, 0, &[0; 100_000]), 0, "it waits");
        assert_eq!(output.send(&mut shell, 3, 0, b"key"), 3);
        // 120 Mbit/s: more than a frame leaves in the time, and not two.
        output.set_pace(15e6);
        taken(&mut output);
        assert_eq!((output.next(), output.bulk_frames()), (Some(1), 1));
        download.turn = Turn::Come;
        assert_eq!(output.send(&mut download, 1, 0, &[0; 100_000]), FRAME_PAYLOAD);
        assert_eq!(output.send(&mut download, 1, 0, &[0; 100_000]), 0, "it waits");
        output.set_pace(1e9);
        taken(&mut output);
        assert_eq!((output.next(), output.bulk_frames()), (Some(1), 4));
    }

    /// What one stream that sends a lot gets of all that leaves in a while, beside 16 that have four kibibytes whenever there is
    /// room for them, and the most that is urgent in front of what comes after it.
    fn share_of_bulk(pace: f64) -> (f64, usize) {
        let mut output = Output::default();
        output.set_pace(pace);
        let mut senders: Vec<_> = (0..17).map(|_| Sender::default()).collect();
        let (mut of_one, mut all, mut urgent) = (0, 0, 0);
        for _ in 0..1000 {
            for (id, sender) in (0..).zip(&mut senders) {
                if sender.turn != Turn::Waiting {
                    output.send(sender, id, 0, if id == 0 { &[0; 100_000] } else { &[0; 4096] });
                }
            }
            let mut batch = Batch::default();
            output.take(&mut batch);
            urgent = urgent.max(batch.urgent.len());
            for (stream, bytes) in frames(&batch.urgent).into_iter().chain(frames(&batch.bulk)) {
                all += bytes;
                of_one += if stream == 0 { bytes } else { 0 };
            }
            for _ in 0..output.bulk_frames() {
                if let Some(id) = output.next() {
                    senders[id as usize].turn = Turn::Come;
                }
            }
        }
        (f64::from(of_one as u32) / f64::from(all as u32), urgent)
    }

    #[test]
    fn where_little_leaves_whoever_sends_little_leaves_some_for_those_who_send_much() {
        // Each has his turn: a seventeenth or more.
        for pace in [3e5, 1.25e6, 2e7, 1e9] {
            let (share, urgent) = share_of_bulk(pace);
            assert!(share > 0.05, "{share} of {pace}");
            assert!(pace > 2e6 || urgent <= 2 * BULK_MIN, "{urgent} at {pace}");
        }
    }

    #[test]
    fn payload_fills_the_urgent_queue_only_so_far() {
        let mut output = Output::default();
        let mut senders: Vec<_> = (0..1000).map(|_| Sender::default()).collect();
        let sent: usize = senders.iter_mut().map(|sender| output.send(sender, 1, 0, &[0; 1024])).sum();
        assert!(output.urgent.len() < BULK_MAX + 2048 && output.bulk.len() < BULK_MAX + 2048, "{sent}");
        assert!(!output.is_stuffed() && !output.line.is_empty());
    }
}
