//! Whether the peer is still there: when to ask, and when to give up.

use std::time::Duration;

use tokio::time::Instant;

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
    /// The same while our own bytes still wait for the socket: the path may just be slow.
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
    /// Whether our own bytes wait for the socket.
    pub(super) queued: bool,
    /// Since when the socket has taken none of them.
    pub(super) untaken: Option<Instant>,
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
            queued: false,
            untaken: None,
            frames: 0,
            partial: None,
        }
    }

    pub(super) fn note_received(&mut self, now: Instant) {
        self.received = now;
        self.unanswered = None;
        self.asked = None;
        self.for_another = false;
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
        let patience = if pulse.queued { self.dead_queued } else { self.dead };
        let dead = pulse.unanswered.unwrap_or(asked) + patience;
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
        pulse.queued = true;
        pulse.note_asked(start + ms(9_500));
        assert_eq!(rules.judge(&pulse, start + ms(9_999)), Verdict::Wait(start + ms(10_000)));
        assert_eq!(rules.judge(&pulse, start + ms(10_000)), Verdict::Dead);
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
