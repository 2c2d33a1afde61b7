//! The task that orders and renews.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Weak, atomic::Ordering::Relaxed},
    time::Duration,
};

use instant_acme::{Account, CertificateIdentifier};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use tokio::{task::JoinSet, time::MissedTickBehavior};
use tunnel_proto::{HostPattern, UnixTime};

use super::{
    Acme,
    order::Failure,
    plan::{self, CLAIM, Cause, Wish, Wishes},
};
use crate::{
    State,
    store::{AuditEvent, AuditRecord, HeldCertificate, OrderFailed, StoreError, VisitorCertificate},
    task,
};

/// Orders under way at a time.
const ORDERS_MAX: usize = 2;
/// How often everything is looked at, whatever happens.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How soon again at the earliest.
const LOOK_SOONEST: Duration = Duration::from_millis(500);
/// How often a claim is made again while an order lasts.
const CLAIM_EVERY: Duration = Duration::from_secs(30);
/// How often at most and at least an authority is asked when it would have a certificate renewed.
const SUGGESTED_MIN: Duration = Duration::from_secs(3600);
const SUGGESTED_MAX: Duration = Duration::from_secs(24 * 3600);
/// Questions of that kind in one look.
const QUESTIONS_MAX: usize = 10;

/// How long they may hold up everything else.
const QUESTIONS_PATIENCE: Duration = Duration::from_secs(20);

/// What the task remembers between looks.
#[derive(Default)]
struct Memory {
    /// What visitors were shown, and until when it is good.
    served: Vec<(HostPattern, UnixTime)>,
    /// What the authority suggests for a certificate (by name and beginning), and until when that counts.
    suggested: HashMap<(HostPattern, UnixTime), (Option<UnixTime>, UnixTime)>,
    /// What was told to be out of reach.
    beyond: BTreeSet<HostPattern>,
}

/// Orders what is wanted, and renews it, until the edge is gone.
pub(crate) async fn run(state: Weak<State>, acme: Arc<Acme>) {
    let Some(mut changed) = state.upgrade().map(|state| state.changed.subscribe()) else { return };
    let mut orders = JoinSet::new();
    let mut memory = Memory::default();
    loop {
        let pause = {
            let Some(state) = state.upgrade() else { return };
            look(&state, &acme, &mut orders, &mut memory).await
        };
        tokio::select! {
            told = changed.changed() => if told.is_err() { return },
            Some(_) = orders.join_next(), if !orders.is_empty() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Looks at everything once; says how long that will do.
async fn look(state: &Arc<State>, acme: &Arc<Acme>, orders: &mut JoinSet<()>, memory: &mut Memory) -> Duration {
    let wishes = {
        let snapshot = state.snapshot.load();
        acme.wishes(snapshot.policies.applications().flat_map(|app| &app.targets).map(|target| &target.host))
    };
    tell_beyond(acme, &wishes, memory);
    acme.wanted.store(Arc::new(wishes.wanted.keys().cloned().collect()));
    let stored = match state.store.visitor_certificates().await {
        Ok(stored) => stored,
        Err(error) => {
            tracing::error!(%error, "certificates cannot be read; those that are served go on");
            return LOOK_EVERY;
        }
    };
    let now = state.now();
    let good: Vec<_> = stored.iter().filter_map(|one| Some((one.name.clone(), one.held.as_ref()?.expires))).collect();
    let good: Vec<_> = good.into_iter().filter(|(_, expires)| *expires > now).collect();
    if memory.served != good {
        acme.serve(&stored, &state.keys, now);
        memory.served = good;
    }
    let asking = ask_suggestions(state, acme, &wishes, &stored, memory, now);
    // The library trusts what authorities write, and panics now and then: that must not end what is being ordered.
    tokio::time::timeout(QUESTIONS_PATIENCE, task::contain("renewal information", asking)).await.ok();
    // What ends is not shown any more from then on; another one may be.
    let ends = memory.served.iter().map(|(_, expires)| expires.since(now)).min();
    let mut pause = ends.unwrap_or(LOOK_EVERY).min(LOOK_EVERY);
    let mut all = Vec::new();
    for wish in wishes.wanted.values() {
        let kept = stored.iter().find(|one| one.name == wish.name);
        let suggested = kept.and_then(|kept| suggested(kept, memory));
        let due = plan::due(kept, acme.directory(), suggested.map(|(_, moment)| moment), now);
        if due > now {
            pause = pause.min(due.since(now));
        } else {
            all.push((wish, kept.is_some_and(|kept| kept.held.is_some()), suggested));
        }
    }
    // Where nobody can log in, nothing else is of use; where nobody can connect, that is worse than what ends some day.
    all.sort_by_key(|(wish, has_one, _)| (!plan::covers(&wish.name, &acme.login_host), *has_one));
    if let (false, Some(hold)) = (all.is_empty(), acme.accounts.hold()) {
        return pause.min(hold).max(LOOK_SOONEST);
    }
    if acme.resting.load(Relaxed) {
        return pause.max(LOOK_SOONEST);
    }
    for (wish, _, suggested) in all {
        if orders.len() < ORDERS_MAX && !acme.ordering.borrow().contains(&wish.name) {
            let ordering = Ordering::begin(acme.clone(), wish.name.clone());
            tracing::debug!(name = %wish.name, "a certificate is ordered");
            orders.spawn(carry_out(state.clone(), ordering, wish.clone(), suggested));
        }
    }
    pause.max(LOOK_SOONEST)
}

/// Says once which hostnames there can be no certificate for.
fn tell_beyond(acme: &Acme, wishes: &Wishes, memory: &mut Memory) {
    for host in wishes.beyond.difference(&memory.beyond) {
        let mend = if host.exact().is_some() {
            "records cannot be made for it"
        } else {
            "a wildcard needs `[tls.acme.dns]`, and `*` as its whole first label"
        };
        tracing::warn!(%host, directory = %acme.settings.directory, "no certificate can be had for a hostname: {mend}");
    }
    memory.beyond.clone_from(&wishes.beyond);
}

/// The beginning of a certificate, and when the authority would have it renewed.
fn suggested(kept: &VisitorCertificate, memory: &Memory) -> Option<(UnixTime, UnixTime)> {
    let held = kept.held.as_ref()?;
    let (moment, _) = memory.suggested.get(&(kept.name.clone(), held.issued))?;
    moment.map(|moment| (held.issued, moment))
}

/// Asks the authority when it would have certificates renewed, where that is not known, or not any more.
async fn ask_suggestions(
    state: &State,
    acme: &Acme,
    wishes: &Wishes,
    stored: &[VisitorCertificate],
    memory: &mut Memory,
    now: UnixTime,
) {
    let held: Vec<(HostPattern, &HeldCertificate)> = stored
        .iter()
        .filter(|one| wishes.wanted.contains_key(&one.name))
        .filter_map(|one| Some((one.name.clone(), plan::of_directory(one, acme.directory())?)))
        .collect();
    memory.suggested.retain(|(name, issued), _| held.iter().any(|(one, held)| one == name && held.issued == *issued));
    let due: Vec<_> = held
        .into_iter()
        .filter(|(name, held)| {
            memory.suggested.get(&(name.clone(), held.issued)).is_none_or(|(_, until)| is_over(*until, now))
        })
        .take(QUESTIONS_MAX)
        .collect();
    if due.is_empty() {
        return;
    }
    // Who cannot be reached now is asked later; two thirds of a life are a good moment, too.
    for (name, held) in &due {
        let known = memory.suggested.entry((name.clone(), held.issued)).or_default();
        known.1 = now.plus(SUGGESTED_MIN);
    }
    let account = acme.accounts.account(&*state.store, &state.keys).await.ok();
    for (name, held) in due {
        let told = match &account {
            Some(account) => Acme::suggested(account, &held.chain).await,
            None => None,
        };
        let key = (name, held.issued);
        let before = memory.suggested.get(&key).and_then(|(moment, _)| *moment);
        let (moment, again) = match told {
            Some((start, end, again)) => {
                (Some(plan::moment(before, start, end, u64::from_le_bytes(crate::random()))), again)
            }
            None => (before, SUGGESTED_MAX),
        };
        memory.suggested.insert(key, (moment, now.plus(again.clamp(SUGGESTED_MIN, SUGGESTED_MAX))));
    }
}

/// Whether what the authority suggested counts no more. What counts for longer than it ever does is of a clock that was wrong.
fn is_over(until: UnixTime, now: UnixTime) -> bool {
    until <= now || until.since(now) > SUGGESTED_MAX
}

/// That a certificate is being ordered; handshakes wait for its end.
struct Ordering {
    acme: Arc<Acme>,
    name: HostPattern,
}

impl Ordering {
    fn begin(acme: Arc<Acme>, name: HostPattern) -> Self {
        acme.ordering.send_modify(|names| {
            names.insert(name.clone());
        });
        Self { acme, name }
    }
}

impl Drop for Ordering {
    fn drop(&mut self) {
        self.acme.ordering.send_modify(|names| {
            names.remove(&self.name);
        });
    }
}

/// Orders one certificate and keeps it, or notes why not.
async fn carry_out(state: Arc<State>, ordering: Ordering, wish: Wish, suggested: Option<(UnixTime, UnixTime)>) {
    let acme = &ordering.acme;
    let store = &*state.store;
    let claim = || {
        let now = state.now();
        store.claim_visitor_certificate(&wish.name, &acme.claimant, now, now.plus(CLAIM))
    };
    // As it is now that nobody else orders it: somebody may have done so just before.
    let claimed = async {
        let stored = if claim().await? { store.visitor_certificates().await? } else { Vec::new() };
        Ok::<_, StoreError>(stored.into_iter().find(|one| one.name == wish.name))
    };
    let kept = match claimed.await {
        Ok(Some(kept)) => VisitorCertificate { claimed: UnixTime(0), ..kept },
        Ok(None) => return,
        Err(error) => {
            tracing::error!(%error, name = %wish.name, "a certificate cannot be ordered");
            return tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let issued = kept.held.as_ref().map(|held| held.issued);
    let moment = suggested.filter(|(of, _)| issued == Some(*of)).map(|(_, moment)| moment);
    let now = state.now();
    if plan::due(Some(&kept), acme.directory(), moment, now) > now {
        return;
    }
    let claiming = async {
        let mut tick = tokio::time::interval(CLAIM_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if !matches!(claim().await, Ok(true)) {
                tracing::warn!(name = %wish.name, "the claim to order a certificate cannot be made again");
            }
        }
    };
    let had = tokio::select! {
        had = task::contain("order", have(&state, acme, &wish, &kept)) => had,
        () = claiming => return,
    };
    // Noted like any other failure: what fails for ever is tried ever more seldom.
    let had = had.unwrap_or_else(|| Err(Failure::new(Cause::Refused, "a defect of this program; its log says where")));
    let noted = match &had {
        Ok(held) => keep(&state, acme, &wish, held).await,
        Err(failure) => note(&state, acme, &wish, &kept, failure).await,
    };
    if let Err(error) = noted {
        tracing::error!(%error, name = %wish.name, "what became of an order cannot be stored");
        // Not to be ordered again at once.
        return tokio::time::sleep(LOOK_EVERY).await;
    }
    match store.visitor_certificates().await {
        Ok(stored) => acme.serve(&stored, &state.keys, state.now()),
        Err(error) => tracing::error!(%error, "certificates cannot be read"),
    }
}

/// Tries one kind of challenge. They take turns, so that each failure counts once at the authority.
async fn have(state: &State, acme: &Acme, wish: &Wish, kept: &VisitorCertificate) -> Result<HeldCertificate, Failure> {
    let account: Account = acme.accounts.account(&*state.store, &state.keys).await?;
    let turns = usize::try_from(kept.failures).unwrap_or_default();
    let turn = turns.checked_rem(wish.how.len()).unwrap_or_default();
    let how = wish.how.get(turn).copied();
    let how = how.ok_or_else(|| Failure::new(Cause::Refused, "there is no way to prove that the name is ours"))?;
    // An authority that knows of renewals wants to know; after a failure it is asked without.
    let held = plan::of_directory(kept, acme.directory()).filter(|_| kept.failures == 0);
    let leaf = held.and_then(|held| CertificateDer::from_pem_slice(held.chain.as_bytes()).ok());
    let replaced = leaf.as_ref().and_then(|leaf| CertificateIdentifier::try_from(leaf).ok());
    let mut had = acme.obtain(&account, wish, how, replaced, &state.keys).await;
    if had.as_ref().is_err_and(|failure| failure.text.contains("renewal information")) {
        had = acme.obtain(&account, wish, how, None, &state.keys).await;
    }
    if had.as_ref().is_err_and(|failure| failure.cause == Cause::NoAccount) {
        acme.accounts.forget(&account).await;
    }
    had
}

async fn keep(state: &State, acme: &Acme, wish: &Wish, held: &HeldCertificate) -> Result<(), StoreError> {
    let authority = acme.settings.directory.host_str().unwrap_or_default();
    let record = AuditRecord {
        actor: Some("edge".to_owned()),
        object: Some(wish.name.to_string()),
        detail: Some(format!("for {}, by {authority}", wish.names.join(" and "))),
        ..AuditRecord::new(state.now(), AuditEvent::CertificateIssued)
    };
    let next = state.now().plus(plan::rest(held));
    if state.store.put_visitor_certificate(&wish.name, &acme.claimant, held, next, &[record]).await? {
        tracing::info!(name = %wish.name, authority, "a certificate was issued");
    }
    Ok(())
}

async fn note(
    state: &State,
    acme: &Acme,
    wish: &Wish,
    kept: &VisitorCertificate,
    failure: &Failure,
) -> Result<(), StoreError> {
    let now = state.now();
    let failures = kept.failures.saturating_add(1);
    let [chance] = crate::random::<1>();
    let pause = plan::pause(failure.cause, failures, wish.how.len(), chance);
    let failed = OrderFailed { failures, next: now.plus(pause), error: &failure.text };
    // Once for each time that it begins: when each kind of challenge has had its turn.
    let record = usize::try_from(failures).is_ok_and(|failures| failures == wish.how.len()).then(|| AuditRecord {
        actor: Some("edge".to_owned()),
        object: Some(wish.name.to_string()),
        detail: Some(failure.text.clone()),
        ..AuditRecord::new(now, AuditEvent::CertificateFailed)
    });
    state.store.fail_visitor_certificate(&wish.name, &acme.claimant, &failed, record.as_slice()).await?;
    let good = kept.held.as_ref().map(|held| held.expires).filter(|expires| *expires > now);
    let (name, directory, again) = (&wish.name, &acme.settings.directory, pause.as_secs());
    match good {
        Some(expires) => {
            let days = expires.since(now).as_secs() / (24 * 3600);
            tracing::warn!(
                %name, %directory, reason = failure.text,
                "a certificate cannot be renewed; the present one is good for {days} more days; tried again in {again} s"
            );
        }
        None => tracing::error!(
            %name, %directory, reason = failure.text,
            "a certificate cannot be had, and nobody can connect to the name; tried again in {again} s"
        ),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_wrong_keeps_no_suggestion_for_years() {
        let now = UnixTime(1_800_000_000);
        assert!(is_over(now, now) && !is_over(now.plus(Duration::from_secs(1)), now));
        assert!(!is_over(now.plus(SUGGESTED_MAX), now));
        assert!(is_over(now.plus(SUGGESTED_MAX + Duration::from_secs(1)), now));
    }
}
