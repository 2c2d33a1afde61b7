//! Services that are down: one opening a second tries whether they still are, fewer the more tries are not answered, and the others
//! are answered at once (F6). What a connector cannot reach may be reached by another one, so that it is remembered for each of
//! them. So is, for a moment, that a connector was short of something.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tunnel_proto::{
    InstanceId, Revision, RuleId, TunnelId,
    message::{ServiceKind, StreamRefusal, StreamRefused},
};

use crate::registry::Candidate;

/// Openings in a row that have to fail, and for how long at least: a service that is just being restarted refuses some.
const FAILURES: u32 = 3;
const LASTS: Duration = Duration::from_secs(1);
/// How often a service that is down is tried, and for each try that is not answered yet, how much less often.
const TRY_EVERY: Duration = Duration::from_secs(1);
/// Tries without an answer that put off the next one. A try is over before there are as many.
const UNANSWERED_MAX: u32 = 30;
/// For how long a service comes after others when its connector had no descriptor, port or memory for a connection.
const SHORT: Duration = Duration::from_secs(1);
/// How long a failure is remembered after which nobody wanted anything, and how long a success: longer than any try takes.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Services that failures are remembered of, and as many successes and shortages. Beyond, each opening tries by itself.
const SERVICES_MAX: usize = 16_384;

/// One rule of one connector of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Service {
    tunnel: TunnelId,
    connector: InstanceId,
    revision: Revision,
    rule: RuleId,
}

impl Service {
    /// The one that a candidate leads to. None for a bastion, whose destinations say nothing about each other.
    pub(super) fn of(candidate: &Candidate) -> Option<Self> {
        let (uplink, rule) = (&candidate.uplink, &candidate.rule);
        (rule.kind != ServiceKind::Bastion).then_some(Self {
            tunnel: uplink.tunnel,
            connector: uplink.instance,
            revision: candidate.revision,
            rule: rule.id,
        })
    }
}

/// What is known of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing bad.
    Fine,
    /// Nothing bad, but its connector was short of something a moment ago.
    Short,
    /// It was not reached when it was tried last.
    Failing,
    /// The same, and whoever is told so is to have it tried again: nobody else is for a second.
    Doubtful,
    /// It is down, and whoever is told so is to have it tried: nobody else is for a second. What was said when it was tried last.
    Due(StreamRefused),
    /// It is down. What was said when it was tried last.
    Down(StreamRefused),
}

impl Standing {
    /// Whether whoever is told so is to have it tried.
    pub(super) const fn is_to_be_tried(&self) -> bool {
        matches!(self, Self::Doubtful | Self::Due(_))
    }

    /// Whether it was not reached when it was tried last, without being known to be down.
    pub(super) const fn is_failing(&self) -> bool {
        matches!(self, Self::Doubtful | Self::Failing)
    }
}

/// Failures of a service without a success between them.
struct Outage {
    failures: u32,
    first: Instant,
    last: Instant,
    /// When it may be tried again.
    next: Instant,
    refused: StreamRefused,
    /// Held by each try beside that is not answered yet.
    trying: Arc<()>,
}

impl Outage {
    fn is_down(&self) -> bool {
        self.failures >= FAILURES && self.last.saturating_duration_since(self.first) >= LASTS
    }

    /// The next may try it a second from now, or later the more tries are not answered: those of a service that is silent for long
    /// are few, and when it is back it is not the oldest of them that has to find out.
    fn put_off(&mut self, now: Instant) {
        let unanswered = Arc::strong_count(&self.trying).saturating_sub(1);
        self.next = now + TRY_EVERY * u32::try_from(unanswered).unwrap_or(u32::MAX).clamp(1, UNANSWERED_MAX);
    }
}

/// What is known of all services.
#[derive(Default)]
struct Known {
    /// Those that failed when they were tried last.
    failed: HashMap<Service, Outage>,
    /// When those that were reached were reached last.
    reached: HashMap<Service, Instant>,
    /// When the connectors of those were short of something last.
    short: HashMap<Service, Instant>,
}

/// Remembers it where there is room.
fn remember<T>(all: &mut HashMap<Service, T>, service: Service, what: T) {
    if all.len() < SERVICES_MAX || all.contains_key(&service) {
        all.insert(service, what);
    }
}

/// The services that failed, and what else is known of services.
#[derive(Default)]
pub(super) struct Outages(Mutex<Known>);

/// Whether a refusal says that there is no connection to the service. Whatever else is said is not about the service.
const fn is_outage(code: StreamRefusal) -> bool {
    matches!(
        code,
        StreamRefusal::ServiceRefused
            | StreamRefusal::ServiceUnreachable
            | StreamRefusal::ServiceTimeout
            | StreamRefusal::ServiceTls
    )
}

impl Outages {
    /// What is known of a service.
    pub(super) fn ask(&self, service: Service, now: Instant) -> Standing {
        let mut known = self.known();
        let Known { failed, short, .. } = &mut *known;
        let Some(outage) = failed.get_mut(&service) else {
            let is_short = short.get(&service).is_some_and(|last| now.saturating_duration_since(*last) < SHORT);
            return if is_short { Standing::Short } else { Standing::Fine };
        };
        let is_due = now >= outage.next;
        if is_due {
            outage.put_off(now);
        }
        match (outage.is_down(), is_due) {
            (false, false) => Standing::Failing,
            (false, true) => Standing::Doubtful,
            (true, false) => Standing::Down(outage.refused.clone()),
            (true, true) => Standing::Due(outage.refused.clone()),
        }
    }

    /// Whether a service was not reached when it was tried last. Whoever asks this is not to have it tried.
    pub(super) fn has_failed(&self, service: Service) -> bool {
        self.known().failed.contains_key(&service)
    }

    /// A try beside begins: what is given is to be held until it is answered.
    pub(super) fn begin_try(&self, service: Service) -> Option<Arc<()>> {
        self.known().failed.get(&service).map(|outage| outage.trying.clone())
    }

    /// Whether a refusal says that a service was not reached, which is remembered, unless it has been reached since the try began.
    pub(super) fn note_refusal(&self, service: Service, refused: &StreamRefused, began: Instant, now: Instant) -> bool {
        if !is_outage(refused.code) {
            return false;
        }
        let mut known = self.known();
        if known.reached.get(&service).is_some_and(|reached| *reached > began) {
            return true;
        }
        // Tries are a second apart by when they begin, however long they take.
        let soonest = began + TRY_EVERY;
        let refused = refused.clone();
        let outage = match known.failed.remove(&service) {
            Some(before) => Outage {
                failures: before.failures.saturating_add(1),
                last: now,
                next: before.next.max(soonest),
                refused,
                ..before
            },
            None => Outage { failures: 1, first: now, last: now, next: soonest, refused, trying: Arc::default() },
        };
        remember(&mut known.failed, service, outage);
        true
    }

    /// A connector was short of something, which is no failure of its service.
    pub(super) fn note_shortage(&self, service: Service, now: Instant) {
        remember(&mut self.known().short, service, now);
    }

    /// A service was reached.
    pub(super) fn note_success(&self, service: Service, now: Instant) {
        let mut known = self.known();
        known.failed.remove(&service);
        remember(&mut known.reached, service, now);
    }

    /// Forgets what was long ago.
    pub(super) fn sweep(&self, now: Instant) {
        let mut known = self.known();
        let is_recent = |last: Instant| now.saturating_duration_since(last) < REMEMBERED;
        known.failed.retain(|_, outage| is_recent(outage.last));
        known.reached.retain(|_, last| is_recent(*last));
        known.short.retain(|_, last| is_recent(*last));
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::upstream) fn service(tunnel: u8, rule: u32) -> Service {
        Service {
            tunnel: TunnelId::from_bytes([tunnel; 16]),
            connector: InstanceId::from_random([1; 16]),
            revision: Revision(1),
            rule: RuleId(rule),
        }
    }

    pub(in crate::upstream) fn refused(code: StreamRefusal) -> StreamRefused {
        StreamRefused { code, text: "refused".to_owned() }
    }

    /// Fails so often that it is down from now on.
    pub(in crate::upstream) fn go_down(outages: &Outages, service: Service, now: Instant) {
        for n in 0..FAILURES {
            let at = if n == 0 { now.checked_sub(LASTS).unwrap() } else { now };
            assert!(outages.note_refusal(service, &refused(StreamRefusal::ServiceRefused), at, at));
        }
    }

    // F6
    #[test]
    fn one_that_is_down_is_tried_once_a_second_and_by_everybody_when_it_is_back() {
        let (outages, now, one) = (Outages::default(), Instant::now() + LASTS, service(1, 1));
        assert_eq!(outages.ask(one, now), Standing::Fine);
        go_down(&outages, one, now);
        assert_eq!(outages.ask(one, now), Standing::Down(refused(StreamRefusal::ServiceRefused)));
        for other in [service(1, 2), service(2, 1)] {
            assert_eq!(outages.ask(other, now), Standing::Fine, "another one is not down");
        }
        let due = Standing::Due(refused(StreamRefusal::ServiceRefused));
        for second in 1..5 {
            let now = now + TRY_EVERY * second;
            let tried = (0..100).filter(|_| outages.ask(one, now) == due).count();
            assert_eq!(tried, 1, "second {second}");
        }
        outages.note_success(one, now);
        assert!((0..100).all(|_| outages.ask(one, now) == Standing::Fine));
        outages.note_refusal(one, &refused(StreamRefusal::ServiceRefused), now, now);
        assert_eq!(outages.ask(one, now), Standing::Failing, "it counts anew");
        let later = now + TRY_EVERY;
        assert_eq!([outages.ask(one, later), outages.ask(one, later)], [Standing::Doubtful, Standing::Failing]);
    }

    // F6
    #[test]
    fn the_more_tries_are_unanswered_the_longer_the_next_one_waits() {
        let (outages, now, one) = (Outages::default(), Instant::now() + LASTS, service(1, 1));
        go_down(&outages, one, now);
        let mut unanswered = Vec::new();
        let mut tried = Vec::new();
        for second in 1..=30 {
            if outages.ask(one, now + TRY_EVERY * second).is_to_be_tried() {
                unanswered.push(outages.begin_try(one).unwrap());
                tried.push(second);
            }
        }
        assert_eq!(tried, [1, 2, 3, 5, 8, 12, 17, 23, 30]);
        // The first of them is answered at last: that is no reason to wait for longer.
        unanswered.remove(0);
        let timeout = refused(StreamRefusal::ServiceTimeout);
        outages.note_refusal(one, &timeout, now + TRY_EVERY, now + TRY_EVERY * 31);
        assert_eq!(outages.ask(one, now + TRY_EVERY * 37), Standing::Down(timeout.clone()));
        assert_eq!(outages.ask(one, now + TRY_EVERY * 38), Standing::Due(timeout.clone()));
        unanswered.clear();
        for second in 60..65 {
            assert_eq!(outages.ask(one, now + TRY_EVERY * second), Standing::Due(timeout.clone()), "second {second}");
        }
    }

    // F6
    #[test]
    fn a_try_that_began_before_a_service_was_reached_says_nothing_about_it() {
        let (outages, begun, one) = (Outages::default(), Instant::now(), service(1, 1));
        let timeout = refused(StreamRefusal::ServiceTimeout);
        let back = begun + TRY_EVERY * 20;
        outages.note_success(one, back);
        for second in 0..20 {
            let began = begun + TRY_EVERY * second;
            assert!(outages.note_refusal(one, &timeout, began, began + TRY_EVERY * 30), "another one is asked");
        }
        assert_eq!(outages.ask(one, back + TRY_EVERY * 30), Standing::Fine);
        let late = back + TRY_EVERY * 30;
        outages.note_refusal(one, &timeout, back, late);
        assert!(outages.ask(one, late).is_failing(), "one that began later counts");
        assert!(outages.has_failed(one) && !outages.has_failed(service(1, 2)));
    }

    // F6
    #[test]
    fn what_a_connector_is_short_of_puts_its_service_behind_others_for_a_moment_and_never_down() {
        let (outages, now, one) = (Outages::default(), Instant::now(), service(1, 1));
        for moment in 0..100 {
            let now = now + SHORT / 10 * moment;
            outages.note_shortage(one, now);
            assert_eq!(outages.ask(one, now), Standing::Short);
        }
        let last = now + SHORT / 10 * 99;
        assert_eq!(outages.ask(service(1, 2), last), Standing::Fine, "another one");
        assert_eq!(outages.ask(one, last + SHORT), Standing::Fine);
        outages.note_shortage(one, last);
        outages.note_refusal(one, &refused(StreamRefusal::ServiceRefused), last, last);
        assert_eq!(outages.ask(one, last), Standing::Failing, "what is worse is said");
    }

    #[test]
    fn neither_a_moment_nor_a_trouble_of_the_connectors_own_is_an_outage() {
        let (outages, now, one) = (Outages::default(), Instant::now(), service(1, 1));
        let timeout = refused(StreamRefusal::ServiceTimeout);
        (0..100).for_each(|_| assert!(outages.note_refusal(one, &timeout, now, now)));
        assert_eq!(outages.ask(one, now), Standing::Failing, "a hundred at once");
        outages.note_refusal(one, &timeout, now + LASTS, now + LASTS);
        assert_eq!(outages.ask(one, now + LASTS), Standing::Down(timeout));
        let other = service(1, 2);
        for code in [StreamRefusal::TooManyStreams, StreamRefusal::Draining, StreamRefusal::Internal] {
            assert!(!outages.note_refusal(other, &refused(code), now, now));
        }
        assert_eq!(outages.ask(other, now), Standing::Fine);
    }

    #[test]
    fn of_so_many_services_failures_are_remembered_and_for_so_long() {
        let (outages, now) = (Outages::default(), Instant::now() + LASTS);
        for number in 0..u32::try_from(SERVICES_MAX).unwrap() + 10 {
            go_down(&outages, service(1, number), now);
            outages.note_success(service(2, number), now);
            outages.note_shortage(service(3, number), now);
        }
        let remembered = || {
            let known = outages.known();
            [known.failed.len(), known.reached.len(), known.short.len()]
        };
        assert_eq!(remembered(), [SERVICES_MAX; 3]);
        assert!(matches!(outages.ask(service(1, 0), now), Standing::Down(_)));
        outages.sweep(now + REMEMBERED - Duration::from_millis(1));
        assert_eq!(remembered(), [SERVICES_MAX; 3]);
        outages.sweep(now + REMEMBERED);
        assert_eq!(remembered(), [0; 3]);
    }
}
