//! Logins that count only as long as their provider vouches for them.
//!
//! A login method may say how often its provider is asked (`revalidate`). Nobody's request waits for that: a round every
//! few seconds asks about the logins that are due, a few at a time ([`Round::run`]). A provider that refuses ends the login
//! and everything that came from it. One that cannot be asked is asked again, with pauses that grow; a login that it has
//! not vouched for within the interval and a time of grace ends as well, and counts no more from that moment on, whether a
//! round comes to it or not (`limit`). A passkey is no way around that: a refusal ends what was begun by the person's
//! passkeys too, and they count for as long after a login as it would without its provider's word (`span`).

use std::{
    cmp::Ordering,
    collections::HashMap,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use futures::StreamExt;
use tokio::{sync::watch, time::Instant};
use tunnel_proto::{EmailAddress, Name, PersonId, Revision, UnixTime};

use crate::{
    Clock,
    audit::Audit,
    keys::Keys,
    login::provider::{
        Failure, Providers,
        again::{Again, NoWord},
    },
    session::{Sessions, Standing, Vouched},
    snapshot::Snapshot,
    store::{AuditEvent, AuditRecord, ISSUER_INVITED, LoginMethodKind, SecretHash, Store},
};

/// How often it is looked who is due.
pub const EVERY: Duration = Duration::from_secs(5);
/// The longest time for which a login goes on while its provider cannot be asked, beyond the interval.
pub const GRACE_MAX: Duration = Duration::from_secs(24 * 3600);
/// How long a login may be unused and still be asked about, where the interval is not longer.
pub const IN_USE: Duration = Duration::from_secs(24 * 3600);
/// How long a failure is left alone: at first, and at most.
const RETRY_FIRST: Duration = Duration::from_secs(10);
const RETRY_MAX: Duration = Duration::from_secs(10 * 60);
/// How many questions each provider is asked at a time.
const AT_A_TIME: usize = 4;
/// How long a round begins questions: one slow provider must not keep another from being asked in the next.
const ROUND_MAX: Duration = Duration::from_secs(30);
/// The parts of the interval, in percent, after which a login is due: a little before it is over, and not all at once.
const DUE_FIRST: u64 = 80;
const DUE_SPREAD: u64 = 11;

/// What a round needs of the edge.
#[derive(Clone, Copy)]
pub struct Round<'a> {
    /// What is declared.
    pub snapshot: &'a Snapshot,
    /// Where it is kept by what logins are confirmed.
    pub store: &'a dyn Store,
    /// What opens it.
    pub keys: &'a Keys,
    /// Who is logged in.
    pub sessions: &'a Sessions,
    /// Who is asked.
    pub providers: &'a Providers,
    /// The append-only record.
    pub audit: &'a Audit,
    /// The wall clock.
    pub clock: &'a Clock,
    /// Told when something else is said about somebody: those who keep streams judge them again.
    pub changed: &'a watch::Sender<Revision>,
}

/// A login about which its provider is to be asked.
struct Due {
    login: SecretHash,
    person: PersonId,
    email: EmailAddress,
    method: Name,
    every: Duration,
    confirmed: UnixTime,
}

/// What is to be done about a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Nothing yet.
    Wait,
    /// Its provider is asked.
    Ask,
    /// It ends.
    End(&'static str),
}

const UNASKABLE: &str = "its provider cannot be asked again: it gave no refresh token";
const UNUSED: &str = "it was not used, and its provider not asked";

/// What is to be done at `now` about a login whose provider is asked `every` so often.
fn step(every: Duration, standing: &Standing, now: UnixTime) -> Step {
    match standing.vouched {
        Vouched::Once(_) if now >= limit(every, standing.vouched) => Step::End(UNASKABLE),
        Vouched::Once(_) => Step::Wait,
        Vouched::Last(at) if now < due(every, at, &standing.login).max(standing.retry) => Step::Wait,
        Vouched::Last(_) if now.since(standing.used) > every.max(IN_USE) => Step::End(UNUSED),
        Vouched::Last(_) => Step::Ask,
    }
}

/// When a provider is asked again about a login for which it last vouched at `confirmed`.
fn due(every: Duration, confirmed: UnixTime, login: &SecretHash) -> UnixTime {
    let spread = login.first().map_or(0, |byte| u64::from(*byte) % DUE_SPREAD);
    let seconds = every.as_secs().saturating_mul(DUE_FIRST.saturating_add(spread)) / 100;
    confirmed.plus(Duration::from_secs(seconds))
}

/// Until when a login counts for which somebody vouched last like this: one interval, and where the provider can be asked
/// again, as long once more, but a day at most.
pub(crate) fn limit(every: Duration, vouched: Vouched) -> UnixTime {
    match vouched {
        Vouched::Once(at) => at.plus(every),
        Vouched::Last(at) => at.plus(span(every)),
    }
}

/// How long a login counts after its provider has vouched for it, when it cannot be asked again.
pub(crate) fn span(every: Duration) -> Duration {
    every.saturating_add(every.min(GRACE_MAX))
}

/// How long a provider is left alone that could not be asked `tries` times before.
fn pause(tries: u32) -> Duration {
    RETRY_FIRST.saturating_mul(2u32.saturating_pow(tries)).min(RETRY_MAX)
}

impl Round<'_> {
    /// Asks about everybody who is due, and ends what its provider does not vouch for any more. Gives how many there was no
    /// time for: they are due in the next round.
    pub async fn run(self) -> usize {
        self.within(ROUND_MAX).await
    }

    /// The same, with questions begun for as long as `patience`.
    pub async fn within(self, patience: Duration) -> usize {
        self.begin(patience, &AtomicBool::new(false)).await
    }

    /// [`Round::run`] that begins no more questions once `rests` is set.
    pub(crate) async fn run_unless(self, rests: &AtomicBool) {
        self.begin(ROUND_MAX, rests).await;
    }

    async fn begin(self, patience: Duration, rests: &AtomicBool) -> usize {
        let (this, left) = (&self, &AtomicUsize::new(0));
        let lanes = self.due().await.into_values().map(|mut lane| async move {
            lane.sort_by_key(|due| due.confirmed);
            let (until, down) = (Instant::now() + patience, &AtomicBool::new(false));
            let asking = futures::stream::iter(lane).for_each_concurrent(AT_A_TIME, move |due| async move {
                if rests.load(Relaxed) {
                    // Another process asks.
                } else if Instant::now() < until {
                    this.one(due, down).await;
                } else {
                    left.fetch_add(1, Relaxed);
                }
            });
            asking.await;
        });
        futures::future::join_all(lanes).await;
        let left = left.load(Relaxed);
        if left > 0 {
            tracing::warn!(left, "providers answer too slowly: there was no time to ask about every login that is due");
        }
        left
    }

    /// Who is due, by method. What cannot be asked about ends or is forgotten.
    async fn due(&self) -> HashMap<Name, Vec<Due>> {
        let now = self.clock.now();
        let all = self.sessions.standings(now, |method| self.snapshot.revalidates(method).is_some());
        let mut logins: HashMap<SecretHash, Vec<Standing>> = HashMap::new();
        all.into_iter().for_each(|standing| logins.entry(standing.login).or_default().push(standing));
        let mut due: HashMap<Name, Vec<Due>> = HashMap::new();
        for (login, standings) in logins {
            let every = standings.iter().map(|one| self.snapshot.revalidates(&one.method));
            let declared: Vec<_> = every.zip(&standings).filter_map(|(every, one)| Some((every?, one))).collect();
            if declared.is_empty() {
                // Nobody is to be asked any more, by what is declared now.
                self.forget(&login).await;
            }
            // What came from one login shares its provider's word, and is asked about once.
            let mut done = false;
            for (every, standing) in declared {
                match (step(every, standing, now), standing.vouched) {
                    (Step::Wait, _) => {}
                    (Step::End(why), Vouched::Once(_)) => self.end(&standing.sessions, standing, why).await,
                    (Step::End(why), Vouched::Last(_)) if !done => {
                        done = true;
                        self.end(&[login], standing, why).await;
                    }
                    (Step::Ask, Vouched::Last(confirmed)) if !done => {
                        done = true;
                        let (email, method) = (standing.email.clone(), standing.method.clone());
                        let person = standing.person;
                        let one = Due { login, person, email, method: method.clone(), every, confirmed };
                        due.entry(method).or_default().push(one);
                    }
                    (Step::End(_) | Step::Ask, _) => {}
                }
            }
        }
        due
    }

    /// Asks about one login, if its provider is there.
    async fn one(&self, due: Due, down: &AtomicBool) {
        let failure = match down.load(Relaxed) {
            true => Some(Failure::Down("it did not answer about others either".to_owned())),
            false => self.ask(&due).await,
        };
        let Some(failure) = failure else { return };
        // Said once, however many there are to be asked about.
        if !(matches!(failure, Failure::Down(_)) && down.swap(true, Relaxed)) {
            tracing::warn!(method = %due.method, %failure, "a provider cannot be asked again about a login");
        }
        let (now, limit) = (self.clock.now(), limit(due.every, Vouched::Last(due.confirmed)));
        match now.cmp(&limit) {
            Ordering::Less => {
                self.sessions.defer(&due.login, now, |tries| pause(tries).min(limit.since(now)));
            }
            Ordering::Equal | Ordering::Greater => {
                self.ended(&[due.login], &due.email, &due.method, &failure.to_string()).await;
            }
        }
    }

    /// Asks about one login, and does what follows; gives the failure when there is no answer.
    async fn ask(&self, due: &Due) -> Option<Failure> {
        let kept = match self.store.revalidation(&due.login).await {
            Ok(Some(kept)) => kept,
            Ok(None) => {
                self.forget(&due.login).await;
                return None;
            }
            Err(error) => return Some(stored(&error)),
        };
        let method = self.snapshot.declared.login_methods.iter().find(|method| method.name == kept.method);
        let asked = method.and_then(|method| match &method.kind {
            LoginMethodKind::OpenId(openid) if openid.revalidate.is_some() => Some((method, openid.issuer.as_str())),
            _ => None,
        });
        let Some((method, issuer)) = asked else {
            self.forget(&due.login).await;
            return None;
        };
        let now = self.clock.now();
        let again = Again { store: self.store, keys: self.keys, providers: self.providers, now };
        match again.ask(&kept, method).await {
            Ok(anew) => match self.sessions.confirm(&due.login, (&kept.method, issuer), anew.as_ref(), now).await {
                Ok(true) => self.changed.send_modify(|_| {}),
                Ok(false) => {}
                Err(error) => return Some(stored(&error)),
            },
            Err(NoWord::Refused(why)) => self.refused(due, &why).await,
            // Nobody has said anything against the person, so that their passkeys go on counting.
            Err(NoWord::Useless(why)) => self.ended(&[due.login], &due.email, &due.method, why).await,
            Err(NoWord::Silent(failure)) => return Some(failure),
            Err(NoWord::Over) => {}
        }
        None
    }

    /// Ends a login whose provider says no, and what the person's passkeys would make of that: they count no more until
    /// the next login, and what was begun by them is over. First the word is taken back, then it is looked what there is:
    /// who logs in by a passkey in this moment looks for the word once more afterwards.
    async fn refused(&self, due: &Due, why: &str) {
        if let Err(error) = self.store.unvouch(due.person).await {
            tracing::error!(%error, "somebody whom the provider refuses may come back by a passkey");
        }
        let by_passkey = self.sessions.of_person(due.person, |session| {
            self.snapshot.passkeys(&session.identity().method).is_some() && session.issuer() != ISSUER_INVITED
        });
        let sessions: Vec<_> = std::iter::once(due.login).chain(by_passkey).collect();
        self.ended(&sessions, &due.email, &due.method, why).await;
    }

    async fn forget(&self, login: &SecretHash) {
        if let Err(error) = self.sessions.unkeep(login).await {
            tracing::error!(%error, "what a login was confirmed by cannot be forgotten");
        }
    }

    async fn end(&self, sessions: &[SecretHash], standing: &Standing, why: &str) {
        self.ended(sessions, &standing.email, &standing.method, why).await;
    }

    /// Ends sessions and everything that came from them, and records it.
    async fn ended(&self, sessions: &[SecretHash], email: &EmailAddress, method: &Name, why: &str) {
        if let Err(error) = self.sessions.end(sessions).await {
            tracing::error!(%error, "a login that ended may be back after a restart, until its provider is asked");
        }
        tracing::info!(%method, why, "a login ended");
        self.audit.record(AuditRecord {
            actor: Some("edge".to_owned()),
            object: Some(email.to_string()),
            detail: Some(format!("session ended: by {method}: {why}")),
            ..AuditRecord::new(self.clock.now(), AuditEvent::Revoked)
        });
    }
}

fn stored(error: &dyn std::fmt::Display) -> Failure {
    Failure::Setup(format!("the edge's own store: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const AT: UnixTime = UnixTime(1_800_000_000);

    fn standing(vouched: Vouched, used: UnixTime) -> Standing {
        Standing {
            login: [7; 32],
            method: "work".parse().unwrap(),
            person: PersonId::from_bytes([1; 16]),
            email: "ann@example.com".parse().unwrap(),
            vouched,
            used,
            retry: UnixTime(0),
            sessions: vec![[7; 32]],
        }
    }

    // O9
    #[test]
    fn a_login_is_asked_about_before_the_interval_is_over_and_ends_with_the_grace() {
        let last = |passed: u64, used: u64| {
            let standing = standing(Vouched::Last(AT), UnixTime(AT.0 + used));
            step(HOUR, &standing, UnixTime(AT.0 + passed))
        };
        assert_eq!((last(0, 0), last(2879, 0)), (Step::Wait, Step::Wait));
        assert_eq!((last(3240, 0), last(3600, 0), last(86_400, 0)), (Step::Ask, Step::Ask, Step::Ask));
        assert_eq!(last(86_401, 0), Step::End(UNUSED));
        assert_eq!(last(86_401, 1), Step::Ask);
        let waits = Standing { retry: UnixTime(AT.0 + 4000), ..standing(Vouched::Last(AT), AT) };
        assert_eq!(step(HOUR, &waits, UnixTime(AT.0 + 3999)), Step::Wait);
        assert_eq!(step(HOUR, &waits, UnixTime(AT.0 + 4000)), Step::Ask);
        let once = standing(Vouched::Once(AT), AT);
        assert_eq!(step(HOUR, &once, UnixTime(AT.0 + 3599)), Step::Wait);
        assert_eq!(step(HOUR, &once, UnixTime(AT.0 + 3600)), Step::End(UNASKABLE));
    }

    #[test]
    fn everybody_is_due_before_the_interval_is_over_and_not_all_at_once() {
        let due: Vec<_> = (0..=255).map(|byte| due(HOUR, AT, &[byte; 32]).since(AT)).collect();
        assert!(due.iter().all(|due| *due >= HOUR * 8 / 10 && *due <= HOUR * 9 / 10), "{due:?}");
        assert!(due.iter().max() > due.iter().min());
    }

    #[test]
    fn the_grace_is_another_interval_and_a_day_at_most() {
        let day = HOUR * 24;
        for (every, whole) in [(HOUR, HOUR * 2), (day, day * 2), (day * 7, day * 8)] {
            assert_eq!(limit(every, Vouched::Last(AT)), AT.plus(whole));
            assert_eq!(limit(every, Vouched::Once(AT)), AT.plus(every));
        }
    }

    #[test]
    fn pauses_grow_and_stay_within_reason() {
        assert_eq!([0, 1, 2].map(|tries| pause(tries).as_secs()), [10, 20, 40]);
        assert_eq!((pause(6), pause(u32::MAX)), (RETRY_MAX, RETRY_MAX));
    }
}
