//! Keys that sign assertions come and go: by themselves, or because somebody says so.

use serde::{Deserialize, Serialize};
use tunnel_proto::{UnixTime, enrol::EnrolProblem};

use super::{
    Keys, KeysError, SIGNING_KEY,
    live::Live,
    ring::{Change, KEYS_MAX, KeptKey, KeyState, KeyStatus, NotNow, Plan, Ring},
};
use crate::{
    socket::{Answer, problem},
    store::{AuditEvent, AuditRecord, Store},
};

/// How often a change is begun anew because another edge came first.
const TRIES: u32 = 5;

/// Asks for other keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateKeys {
    /// Whether those there are vanish at once, and the new ones sign at once: because one is in the wrong hands.
    pub revoke_now: bool,
}

impl Keys {
    /// Does what is due at `now`: makes the keys that are missing or to follow, forgets those that have been published long
    /// enough, and takes over what another edge did.
    pub async fn tend(&self, store: &dyn Store, now: UnixTime) -> Result<(), KeysError> {
        // Nothing that is due is refused.
        self.change(store, Change::Due, "edge", now).await.map(drop)
    }

    /// Makes other keys, for every algorithm; gives all that there are then.
    pub async fn rotate(&self, store: &dyn Store, request: RotateKeys, now: UnixTime) -> Answer<Vec<KeyStatus>> {
        let change = if request.revoke_now { Change::Revoke } else { Change::Rotate };
        let done = self.change(store, change, "local", now).await;
        match done.map_err(|error| problem("internal", error.to_string()))? {
            Ok(()) => Ok(self.status(now)),
            Err(refusal) => Err(refused(refusal)),
        }
    }

    async fn change(
        &self,
        store: &dyn Store,
        change: Change,
        actor: &str,
        now: UnixTime,
    ) -> Result<Result<(), NotNow>, KeysError> {
        let _one = self.changing.lock().await;
        for _ in 0..TRIES {
            let gone = || KeysError::Useless { name: SIGNING_KEY, reason: "it is gone".to_owned() };
            let sealed = store.secret(SIGNING_KEY).await?.ok_or_else(gone)?;
            let ring = self.unsealed(&sealed)?;
            let plan = match ring.plan(change, now) {
                Ok(plan) => plan,
                Err(refusal) => return Ok(Err(refusal)),
            };
            if plan.is_empty() {
                self.follow(sealed, ring, now)?;
                return Ok(Ok(()));
            }
            let made = make(&plan, now).await?;
            let after = ring.after(&plan, made);
            let records = records(&plan, &ring, &after, actor, now);
            let replaced = self.sealed(&after)?;
            if store.replace_secret(SIGNING_KEY, &sealed, &replaced, &records).await? {
                self.follow(replaced, after, now)?;
                return Ok(Ok(()));
            }
        }
        Err(KeysError::Useless { name: SIGNING_KEY, reason: "other edges keep changing it".to_owned() })
    }

    /// From now on, these are the keys.
    fn follow(&self, sealed: Vec<u8>, ring: Ring, now: UnixTime) -> Result<(), KeysError> {
        let useless = |reason| KeysError::Useless { name: SIGNING_KEY, reason };
        let live = self.live.load();
        if live.is_outdated(&sealed, now) {
            self.live.store(Live::new(sealed, ring, now).map_err(useless)?.into());
        }
        Ok(())
    }
}

async fn make(plan: &Plan, now: UnixTime) -> Result<Vec<KeptKey>, KeysError> {
    let useless = |reason| KeysError::Useless { name: SIGNING_KEY, reason };
    let wanted = plan.make.clone();
    // A key for RS256 keeps a processor busy for a while.
    let making = tokio::task::spawn_blocking(move || {
        wanted.into_iter().map(|(algorithm, signs)| KeptKey::make(algorithm, now, signs)).collect()
    });
    let made: Result<_, String> = making.await.map_err(|error| useless(error.to_string()))?;
    made.map_err(useless)
}

/// What is recorded of a change: each key that came, each that went.
fn records(plan: &Plan, before: &Ring, after: &Ring, actor: &str, now: UnixTime) -> Vec<AuditRecord> {
    let record = |key: &KeptKey, what: String| AuditRecord {
        actor: Some(actor.to_owned()),
        object: Some(key.kid().to_owned()),
        detail: Some(format!("{}: {what}", key.algorithm())),
        ..AuditRecord::new(now, AuditEvent::KeysRotated)
    };
    let known = |key: &&KeptKey| before.keys().iter().all(|old| old.kid() != key.kid());
    let came = after.keys().iter().filter(known).map(|key| match key.signs().since(now).as_secs() {
        0 => record(key, "a new key, signs at once".to_owned()),
        seconds => record(key, format!("a new key, signs in {seconds} s")),
    });
    let gone = before.keys().iter().filter(|key| plan.forget.iter().any(|id| id == key.kid()));
    came.chain(gone.map(|key| record(key, "published no more".to_owned()))).collect()
}

fn refused(refusal: NotNow) -> EnrolProblem {
    match refusal {
        NotNow::Underway => problem(
            "keys_underway",
            format!(
                "a new key is on its way already (`{}` in `edge admin keys list`): it is published for some minutes before \
                 it signs; if the present ones are in the wrong hands, `edge admin keys rotate --revoke-now`",
                KeyState::Next.as_str()
            ),
        ),
        NotNow::TooMany => problem(
            "too_many",
            format!(
                "there are {KEYS_MAX} keys already, each published until a week after it last signed; wait for the oldest to \
                 go, or `edge admin keys rotate --revoke-now`"
            ),
        ),
    }
}
