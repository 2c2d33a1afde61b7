//! Whether the peer is still there: when to ask, and when to give up.

use std::time::Duration;

use tokio::time::Instant;

use super::MOMENT;

/// The times by which a peer is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Liveness {
    /// Silence after which a quiet link is asked for a sign of life.
    pub idle: Duration,
    /// Silence after which it is asked when something was sent that has not been answered, and between repeated questions.
    pub busy: Duration,
    /// Silence after a question, or after the first byte sent in vain, that ends the link.
    pub dead: Duration,
    /// The same where our own bytes wait for the socket, or had to, since it last took some of them: the path may just be slow.
    pub dead_queued: Duration,
}

impl Default for Liveness {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(10),
            busy: Duration::from_secs(1),
            dead: Duration::from_secs(3),
            dead_queued: Duration::from_secs(10),
        }
    }
}

/// What was heard and said, and when. Any byte received counts as life.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pulse {
    received: Instant,
    /// The first payload or question sent after that.
    unanswered: Option<Instant>,
    /// The last question sent after that.
    asked: Option<Instant>,
    /// Whether it was another link's silence that the first question was for.
    for_another: bool,
    /// Since when our own bytes wait for the socket.
    pub(super) queued: Option<Instant>,
    /// Since when the socket has taken none of them.
    pub(super) untaken: Option<Instant>,
    /// When the socket last took some of what had to wait for it, if nothing was received since.
    moved: Option<Instant>,
    /// Since when the peer has sent payload, and nothing was said to it.
    owed: Option<Instant>,
    /// Whole frames received.
    pub(super) frames: u64,
    /// The frame that has begun and not ended, and since when.
    pub(super) partial: Option<(u64, Instant)>,
}

impl Pulse {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            received: now,
            unanswered: None,
            asked: None,
            for_another: false,
            queued: None,
            untaken: None,
            moved: None,
            owed: None,
            frames: 0,
            partial: None,
        }
    }

    pub(super) fn note_received(&mut self, now: Instant) {
        self.received = now;
        self.unanswered = None;
        self.asked = None;
        self.for_another = false;
        self.moved = None;
    }

    /// Notes that our own bytes wait for the socket.
    pub(super) fn note_waiting(&mut self, now: Instant) {
        self.queued.get_or_insert(now);
        self.untaken.get_or_insert(now);
    }

    /// Notes that the socket took some of what may have had to wait for it. Where that was for more than a moment, it is a sign of
    /// the path: only what has arrived makes room there. Shorter waits are those of a busy machine.
    pub(super) fn note_moved(&mut self, now: Instant) {
        if self.queued.is_some_and(|since| now.saturating_duration_since(since) >= MOMENT) {
            self.moved = Some(now);
        }
    }

    /// Notes that some of the peer's payload has come, for which it is owed a sign of life.
    pub(super) fn note_payload(&mut self) {
        if self.owed.is_none() {
            self.owed = Some(Instant::now());
        }
    }

    /// Since when something was sent that nothing came after, or the socket has taken nothing.
    pub(super) fn silent_since(&self) -> Option<Instant> {
        self.unanswered.into_iter().chain(self.untaken).min()
    }

    /// Notes that something is on its way to the peer, whatever it is.
    pub(super) fn note_said(&mut self) {
        self.owed = None;
    }

    /// Since when the peer is owed a sign of life. While our own bytes wait for the socket, they are sign enough.
    pub(super) fn owed_since(&self) -> Option<Instant> {
        self.owed.filter(|_| self.queued.is_none())
    }

    /// When a byte was last received.
    pub(super) const fn received(&self) -> Instant {
        self.received
    }

    /// Notes a question, unless one waits for its answer already; whether it is to be sent.
    pub(super) fn begin_asking(&mut self, now: Instant) -> bool {
        let first = self.asked.is_none();
        if first {
            self.note_asked(now);
        }
        first
    }

    /// The same for a question that another link's silence is the reason of.
    pub(super) fn begin_asking_for_another(&mut self, now: Instant) -> bool {
        let first = self.begin_asking(now);
        self.for_another |= first;
        first
    }

    /// Whether a question of this link's own waits for its answer. One that another link is the reason of is no reason to ask
    /// on yet others: slow links would go on to doubt each other.
    pub(super) const fn is_asked_for_itself(&self) -> bool {
        self.asked.is_some() && !self.for_another
    }

    pub(super) fn note_sent(&mut self) {
        if self.unanswered.is_none() {
            self.unanswered = Some(Instant::now());
        }
    }

    pub(super) fn note_asked(&mut self, now: Instant) {
        self.unanswered.get_or_insert(now);
        self.asked = Some(now);
    }

    /// Since when the frame being read is incomplete.
    pub(super) fn stuck_since(&self) -> Option<Instant> {
        self.partial.filter(|(frame, _)| *frame == self.frames).map(|(_, since)| since)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Ask now.
    Ask,
    /// Give up.
    Dead,
    /// Nothing to do until then.
    Wait(Instant),
}

impl Liveness {
    pub(super) fn judge(&self, pulse: &Pulse, now: Instant) -> Verdict {
        let Some(asked) = pulse.asked else {
            let idle = pulse.received + self.idle;
            let ask = pulse.unanswered.map_or(idle, |sent| idle.min(sent + self.busy));
            return if now >= ask { Verdict::Ask } else { Verdict::Wait(ask) };
        };
        // What moves on, slowly, is sign enough that the path is there; the answer may still be behind all of it.
        let is_slow = pulse.queued.is_some() || pulse.moved.is_some();
        let patience = if is_slow { self.dead_queued } else { self.dead };
        let first = pulse.unanswered.unwrap_or(asked);
        let dead = pulse.moved.map_or(first, |moved| moved.max(first)) + patience;
        let again = asked + self.busy;
        match () {
            () if now >= dead => Verdict::Dead,
            () if now >= again => Verdict::Ask,
            () => Verdict::Wait(again.min(dead)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    // F8
    #[test]
    fn a_quiet_link_is_asked_after_ten_seconds_and_given_up_three_later() {
        let (rules, start) = (Liveness::default(), Instant::now());
        let mut pulse = Pulse::new(start);
        assert_eq!(rules.judge(&pulse, start + ms(9_999)), Verdict::Wait(start + ms(10_000)));
        assert_eq!(rules.judge(&pulse, start + ms(10_000)), Verdict::Ask);
        pulse.note_asked(start + ms(10_000));
        assert_eq!(rules.judge(&pulse, start + ms(10_500)), Verdict::Wait(start + ms(11_000)));
        assert_eq!(rules.judge(&pulse, start + ms(11_000)), Verdict::Ask);
        pulse.note_asked(start + ms(12_000));
        assert_eq!(rules.judge(&pulse, start + ms(12_900)), Verdict::Wait(start + ms(13_000)));
        assert_eq!(rules.judge(&pulse, start + ms(13_000)), Verdict::Dead);
    }

    // F8
    #[test]
    fn a_link_that_sends_in_vain_is_given_up_after_three_seconds() {
        let (rules, start) = (Liveness::default(), Instant::now());
        let mut pulse = Pulse::new(start);
        pulse.unanswered = Some(start);
        assert_eq!(rules.judge(&pulse, start + ms(999)), Verdict::Wait(start + ms(1_000)));
        assert_eq!(rules.judge(&pulse, start + ms(1_000)), Verdict::Ask);
        pulse.note_asked(start + ms(2_000));
        assert_eq!(rules.judge(&pulse, start + ms(2_999)), Verdict::Wait(start + ms(3_000)));
        assert_eq!(rules.judge(&pulse, start + ms(3_000)), Verdict::Dead);
    }

    // F8
    #[test]
    fn a_full_queue_earns_ten_seconds_of_patience() {
        let (rules, start) = (Liveness::default(), Instant::now());
        let mut pulse = Pulse::new(start);
        pulse.unanswered = Some(start);
        pulse.queued = Some(start);
        pulse.note_asked(start + ms(9_500));
        assert_eq!(rules.judge(&pulse, start + ms(9_999)), Verdict::Wait(start + ms(10_000)));
        assert_eq!(rules.judge(&pulse, start + ms(10_000)), Verdict::Dead);
    }

    // F8
    #[test]
    fn bytes_that_leave_after_they_had_to_wait_earn_ten_seconds_more_until_the_peer_is_heard() {
        let (rules, start) = (Liveness::default(), Instant::now());
        let mut pulse = Pulse::new(start);
        pulse.unanswered = Some(start);
        pulse.queued = Some(start + ms(4_000));
        pulse.note_asked(start + ms(4_500));
        pulse.note_moved(start + ms(5_000));
        pulse.queued = None;
        assert_eq!(rules.judge(&pulse, start + ms(5_000)), Verdict::Wait(start + ms(5_500)));
        pulse.note_asked(start + ms(14_500));
        assert_eq!(rules.judge(&pulse, start + ms(14_999)), Verdict::Wait(start + ms(15_000)));
        assert_eq!(rules.judge(&pulse, start + ms(15_000)), Verdict::Dead);
        pulse.note_received(start + ms(14_999));
        pulse.note_asked(start + ms(15_000));
        assert_eq!(rules.judge(&pulse, start + ms(18_000)), Verdict::Dead);
    }

    // F8
    #[test]
    fn what_waits_for_less_than_a_moment_says_nothing_of_the_path() {
        let (rules, start) = (Liveness::default(), Instant::now());
        let mut pulse = Pulse::new(start);
        pulse.unanswered = Some(start);
        pulse.note_asked(start + ms(1_000));
        pulse.queued = Some(start);
        pulse.note_moved(start + ms(249));
        pulse.queued = None;
        assert_eq!(rules.judge(&pulse, start + ms(3_000)), Verdict::Dead);
        pulse.queued = Some(start);
        pulse.note_moved(start + ms(250));
        pulse.queued = None;
        assert!(matches!(rules.judge(&pulse, start + ms(3_000)), Verdict::Ask | Verdict::Wait(_)));
    }

    // F8
    #[test]
    fn payload_is_owed_a_sign_of_life_until_something_is_said_or_bytes_wait_that_are_one() {
        let mut pulse = Pulse::new(Instant::now());
        assert!(pulse.owed_since().is_none());
        pulse.note_payload();
        let since = pulse.owed_since();
        assert!(since.is_some());
        pulse.note_payload();
        assert_eq!(pulse.owed_since(), since);
        pulse.queued = Some(Instant::now());
        assert!(pulse.owed_since().is_none());
        pulse.queued = None;
        pulse.note_said();
        assert!(pulse.owed_since().is_none());
    }

    // F8
    #[test]
    fn any_byte_counts_as_life() {
        let (rules, start) = (Liveness::default(), Instant::now());
        let mut pulse = Pulse::new(start);
        pulse.note_asked(start + ms(10_000));
        pulse.note_received(start + ms(12_999));
        assert_eq!(rules.judge(&pulse, start + ms(13_000)), Verdict::Wait(start + ms(22_999)));
    }

    // F4
    #[test]
    fn a_question_for_another_link_is_none_of_this_one_until_it_is_answered() {
        let (start, second) = (Instant::now(), ms(1_000));
        let mut pulse = Pulse::new(start);
        assert!(pulse.begin_asking_for_another(start));
        assert!(!pulse.begin_asking(start + second));
        pulse.note_asked(start + second);
        assert!(!pulse.is_asked_for_itself());
        pulse.note_received(start + second);
        pulse.note_asked(start + second * 2);
        assert!(!pulse.begin_asking_for_another(start + second * 2));
        assert!(pulse.is_asked_for_itself());
    }
}
