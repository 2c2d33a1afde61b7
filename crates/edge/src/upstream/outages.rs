//! Services that are down: one opening a second tries whether they still are, and the others are answered at once (F6). What a
//! connector cannot reach may be reached by another one, so that it is remembered for each of them.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tunnel_proto::{
    InstanceId, Revision, RuleId,
    message::{StreamRefusal, StreamRefused},
};

use crate::registry::Candidate;

/// Openings in a row that have to fail: a service that is just being restarted refuses one or two.
const FAILURES: u32 = 3;
/// How often a service that is down is tried.
const TRY_EVERY: Duration = Duration::from_secs(1);
/// How long a failure is remembered after which nobody wanted anything.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Services that failures are remembered of. Beyond, each opening tries by itself.
const SERVICES_MAX: usize = 4096;

/// One rule of one connector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Service {
    connector: InstanceId,
    revision: Revision,
    rule: RuleId,
}

impl Service {
    pub(super) fn of(candidate: &Candidate) -> Self {
        Self { connector: candidate.uplink.instance, revision: candidate.revision, rule: candidate.rule.id }
    }
}

/// What is known of a service that failed.
struct Outage {
    failures: u32,
    refused: StreamRefused,
    since: Instant,
    /// When it may be tried again.
    next: Instant,
}

/// The services that failed when they were tried last.
#[derive(Default)]
pub(super) struct Outages(Mutex<HashMap<Service, Outage>>);

/// Whether a refusal says that there is no connection to the service. Whatever else is said is not about the service.
pub(super) const fn is_outage(code: StreamRefusal) -> bool {
    matches!(
        code,
        StreamRefusal::ServiceRefused
            | StreamRefusal::ServiceUnreachable
            | StreamRefusal::ServiceTimeout
            | StreamRefusal::ServiceTls
    )
}

impl Outages {
    /// Whether to try a service; if not, what whoever tried it last was told. Of those who ask about one that is down, one a
    /// second is to try.
    pub(super) fn ask(&self, service: Service, now: Instant) -> Result<(), StreamRefused> {
        match self.all().get_mut(&service) {
            Some(outage) if outage.failures >= FAILURES => {
                if now < outage.next {
                    return Err(outage.refused.clone());
                }
                outage.next = now + TRY_EVERY;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A service was tried in vain.
    pub(super) fn note_failure(&self, service: Service, refused: &StreamRefused, now: Instant) {
        let mut all = self.all();
        let failures = match all.get(&service) {
            Some(outage) => outage.failures.saturating_add(1),
            None if all.len() >= SERVICES_MAX => return,
            None => 1,
        };
        all.insert(service, Outage { failures, refused: refused.clone(), since: now, next: now + TRY_EVERY });
    }

    /// A service was reached.
    pub(super) fn note_success(&self, service: Service) {
        self.all().remove(&service);
    }

    /// Forgets what was long ago.
    pub(super) fn sweep(&self, now: Instant) {
        self.all().retain(|_, outage| now.saturating_duration_since(outage.since) < REMEMBERED);
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Service, Outage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(number: u32) -> Service {
        Service { connector: InstanceId::from_random([1; 16]), revision: Revision(1), rule: RuleId(number) }
    }

    fn refused() -> StreamRefused {
        StreamRefused { code: StreamRefusal::ServiceRefused, text: "refused".to_owned() }
    }

    // F6
    #[test]
    fn one_that_is_down_is_tried_once_a_second_and_by_everybody_when_it_is_back() {
        let (outages, now, one) = (Outages::default(), Instant::now(), service(1));
        for _ in 0..FAILURES {
            assert_eq!(outages.ask(one, now), Ok(()));
            outages.note_failure(one, &refused(), now);
        }
        assert_eq!(outages.ask(one, now), Err(refused()));
        assert_eq!(outages.ask(service(2), now), Ok(()), "another one is not down");
        for second in 1..5 {
            let now = now + TRY_EVERY * second;
            let tried = (0..100).filter(|_| outages.ask(one, now).is_ok()).count();
            assert_eq!(tried, 1, "second {second}");
        }
        outages.note_success(one);
        assert!((0..100).all(|_| outages.ask(one, now).is_ok()));
        outages.note_failure(one, &refused(), now);
        assert_eq!(outages.ask(one, now), Ok(()), "it counts anew");
    }

    #[test]
    fn of_so_many_services_failures_are_remembered_and_for_so_long() {
        let (outages, now) = (Outages::default(), Instant::now());
        for number in 0..u32::try_from(SERVICES_MAX).unwrap() + 10 {
            (0..FAILURES).for_each(|_| outages.note_failure(service(number), &refused(), now));
        }
        assert_eq!(outages.all().len(), SERVICES_MAX);
        assert_eq!(outages.ask(service(0), now), Err(refused()));
        outages.sweep(now + REMEMBERED - Duration::from_millis(1));
        assert_eq!(outages.all().len(), SERVICES_MAX);
        outages.sweep(now + REMEMBERED);
        assert_eq!(outages.all().len(), 0);
    }
}
