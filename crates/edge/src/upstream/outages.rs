//! Services that are down: one opening a second tries whether they still are, and the others are answered at once (F6). What a
//! connector cannot reach may be reached by another one, so that it is remembered for each of them.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
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
/// How often a service that is down is tried.
const TRY_EVERY: Duration = Duration::from_secs(1);
/// How long a failure is remembered after which nobody wanted anything.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Services that failures are remembered of. Beyond, each opening tries by itself.
const SERVICES_MAX: usize = 4096;

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
}

/// Failures of a service without a success between them.
struct Outage {
    failures: u32,
    first: Instant,
    last: Instant,
    /// When it may be tried again.
    next: Instant,
    refused: StreamRefused,
}

impl Outage {
    fn is_down(&self) -> bool {
        self.failures >= FAILURES && self.last.saturating_duration_since(self.first) >= LASTS
    }
}

/// The services that failed when they were tried last.
#[derive(Default)]
pub(super) struct Outages(Mutex<HashMap<Service, Outage>>);

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
        let mut all = self.all();
        let Some(outage) = all.get_mut(&service) else { return Standing::Fine };
        let is_due = now >= outage.next;
        if is_due {
            outage.next = now + TRY_EVERY;
        }
        match (outage.is_down(), is_due) {
            (false, false) => Standing::Failing,
            (false, true) => Standing::Doubtful,
            (true, false) => Standing::Down(outage.refused.clone()),
            (true, true) => Standing::Due(outage.refused.clone()),
        }
    }

    /// Whether a refusal says that a service was not reached, which is remembered.
    pub(super) fn note_refusal(&self, service: Service, refused: &StreamRefused, now: Instant) -> bool {
        if !is_outage(refused.code) {
            return false;
        }
        let mut all = self.all();
        let (failures, first) = match all.get(&service) {
            Some(outage) => (outage.failures.saturating_add(1), outage.first),
            None if all.len() >= SERVICES_MAX => return true,
            None => (1, now),
        };
        let outage = Outage { failures, first, last: now, next: now + TRY_EVERY, refused: refused.clone() };
        all.insert(service, outage);
        true
    }

    /// A service was reached.
    pub(super) fn note_success(&self, service: Service) {
        self.all().remove(&service);
    }

    /// Forgets what was long ago.
    pub(super) fn sweep(&self, now: Instant) {
        self.all().retain(|_, outage| now.saturating_duration_since(outage.last) < REMEMBERED);
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Service, Outage>> {
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
            assert!(outages.note_refusal(service, &refused(StreamRefusal::ServiceRefused), at));
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
        outages.note_success(one);
        assert!((0..100).all(|_| outages.ask(one, now) == Standing::Fine));
        outages.note_refusal(one, &refused(StreamRefusal::ServiceRefused), now);
        assert_eq!(outages.ask(one, now), Standing::Failing, "it counts anew");
        let later = now + TRY_EVERY;
        assert_eq!([outages.ask(one, later), outages.ask(one, later)], [Standing::Doubtful, Standing::Failing]);
    }

    #[test]
    fn neither_a_moment_nor_a_trouble_of_the_connectors_own_is_an_outage() {
        let (outages, now, one) = (Outages::default(), Instant::now(), service(1, 1));
        (0..100).for_each(|_| assert!(outages.note_refusal(one, &refused(StreamRefusal::ServiceTimeout), now)));
        assert_eq!(outages.ask(one, now), Standing::Failing, "a hundred at once");
        outages.note_refusal(one, &refused(StreamRefusal::ServiceTimeout), now + LASTS);
        assert_eq!(outages.ask(one, now + LASTS), Standing::Down(refused(StreamRefusal::ServiceTimeout)));
        let other = service(1, 2);
        for code in [StreamRefusal::TooManyStreams, StreamRefusal::Draining, StreamRefusal::Internal] {
            assert!(!outages.note_refusal(other, &refused(code), now));
        }
        assert_eq!(outages.ask(other, now), Standing::Fine);
    }

    #[test]
    fn of_so_many_services_failures_are_remembered_and_for_so_long() {
        let (outages, now) = (Outages::default(), Instant::now() + LASTS);
        for number in 0..u32::try_from(SERVICES_MAX).unwrap() + 10 {
            go_down(&outages, service(1, number), now);
        }
        assert_eq!(outages.all().len(), SERVICES_MAX);
        assert!(matches!(outages.ask(service(1, 0), now), Standing::Down(_)));
        outages.sweep(now + REMEMBERED - Duration::from_millis(1));
        assert_eq!(outages.all().len(), SERVICES_MAX);
        outages.sweep(now + REMEMBERED);
        assert_eq!(outages.all().len(), 0);
    }
}
