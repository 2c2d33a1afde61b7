//! The keys that sign assertions, and those that did or will: which does what at a given time, and what is due.
//!
//! Of each algorithm there is a row of keys in the order in which they were made. Each has a moment from which it signs; the
//! last whose moment has come does sign, those before it are previous ones, those after it are next. So nothing has to be
//! written when a key's moment comes.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tunnel_auth::{Algorithm, SecretBytes, SigningKey, assertion::KeyError};
use tunnel_proto::UnixTime;
use zeroize::Zeroizing;

use super::certificate;

/// How long `certs` may be kept by whoever fetched it.
pub const CERTS_LIFE: Duration = Duration::from_secs(5 * 60);
/// How long a key is published before it signs: as long as `certs` may be kept, and what fetching and writing may take.
pub const NEXT_LIFE: Duration = Duration::from_secs(6 * 60);
/// How long a key signs.
pub const SIGNING_LIFE: Duration = Duration::from_secs(6 * 7 * 24 * 3600);
/// How long a key is still published that has stopped signing.
pub const PREVIOUS_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// The most keys of an algorithm: the set of them stays well below what those read who fetch it.
pub const KEYS_MAX: usize = 8;

/// The keys as they are sealed, in the order in which they were made.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Ring {
    keys: Vec<KeptKey>,
}

/// A key as it is sealed.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct KeptKey {
    algorithm: Algorithm,
    kid: String,
    /// PKCS #8 in base64.
    pkcs8: Zeroizing<String>,
    made: UnixTime,
    signs: UnixTime,
    /// For verifiers that want a certificate (PEM); keys for RS256 have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
}

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// It is published, and will sign.
    Next,
    /// It signs.
    Signing,
    /// It has signed, and is still published.
    Previous,
}

impl KeyState {
    /// The state as it is shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Signing => "signing",
            Self::Previous => "previous",
        }
    }
}

/// A key as it is listed. There is nothing secret in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyStatus {
    /// Its id, by which tokens name it.
    pub id: String,
    /// How it signs.
    pub algorithm: Algorithm,
    /// What it does.
    pub state: KeyState,
    /// Since when.
    pub since: UnixTime,
    /// Until when: a next key signs then, a signing one is due to be followed by another, a previous one is forgotten.
    pub until: UnixTime,
}

/// Why keys are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Somebody looked whether something is due.
    Due,
    /// Somebody wants other keys.
    Rotate,
    /// Somebody wants other keys, and none of those there are.
    Revoke,
}

/// What is to be done about the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Keys to make, each with the moment from which it signs.
    pub(super) make: Vec<(Algorithm, UnixTime)>,
    /// Keys to forget, by id.
    pub(super) forget: Vec<String>,
}

impl Plan {
    pub(super) const fn is_empty(&self) -> bool {
        self.make.is_empty() && self.forget.is_empty()
    }
}

/// Why keys are not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotNow {
    /// Other keys are already on their way.
    Underway,
    /// There are too many already.
    TooMany,
}

impl Ring {
    /// The one key of an installation from when there was only one.
    pub(super) fn of_one(pkcs8: &SecretBytes, now: UnixTime) -> Result<Self, KeyError> {
        let key = SigningKey::from_pkcs8(Algorithm::Es256, pkcs8.expose())?;
        Ok(Self { keys: vec![KeptKey::new(&key, pkcs8, None, now, now)] })
    }

    pub(super) fn of_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    pub(super) fn to_bytes(&self) -> Result<SecretBytes, serde_json::Error> {
        serde_json::to_vec(self).map(SecretBytes::new)
    }

    pub(super) fn keys(&self) -> &[KeptKey] {
        &self.keys
    }

    /// Every key with what it does at `now`.
    pub(super) fn status(&self, now: UnixTime) -> Vec<KeyStatus> {
        Algorithm::ALL.into_iter().flat_map(|algorithm| self.row(algorithm, now)).collect()
    }

    fn row(&self, algorithm: Algorithm, now: UnixTime) -> Vec<KeyStatus> {
        let keys: Vec<_> = self.keys.iter().filter(|key| key.algorithm == algorithm).collect();
        let moments: Vec<_> = keys.iter().map(|key| key.signs).collect();
        let signer = signer(&moments, now);
        let status = keys.iter().enumerate().map(|(place, key)| {
            // The first of those after it: an edge whose clock went back may have made it after them.
            let followed = moments.iter().skip(place.saturating_add(1)).min().copied();
            let (state, since, until) = match followed {
                _ if place > signer => (KeyState::Next, key.made, key.signs),
                Some(followed) if place < signer => (KeyState::Previous, followed, followed.plus(PREVIOUS_LIFE)),
                followed => {
                    let due = key.signs.plus(SIGNING_LIFE);
                    (KeyState::Signing, key.signs, followed.unwrap_or(due))
                }
            };
            KeyStatus { id: key.kid.clone(), algorithm, state, since, until }
        });
        status.collect()
    }

    /// What a change means at `now`.
    pub(super) fn plan(&self, change: Change, now: UnixTime) -> Result<Plan, NotNow> {
        let mut plan = Plan::default();
        let soon = now.plus(NEXT_LIFE);
        for algorithm in Algorithm::ALL {
            let row = self.row(algorithm, now);
            let newest = self.keys.iter().rfind(|key| key.algorithm == algorithm);
            let underway = row.iter().any(|key| key.state == KeyState::Next);
            if change == Change::Revoke {
                plan.forget.extend(row.iter().map(|key| key.id.clone()));
                plan.make.push((algorithm, now));
                continue;
            }
            let over = row.iter().filter(|key| key.state == KeyState::Previous && key.until <= now);
            plan.forget.extend(over.map(|key| key.id.clone()));
            match newest {
                // Nobody has kept a set in which it is missed.
                None => plan.make.push((algorithm, now)),
                // One from the future is of a clock that has been put right since, and would wait for ever.
                Some(newest) if newest.signs.plus(SIGNING_LIFE) <= now || newest.signs > soon.plus(NEXT_LIFE) => {
                    plan.make.push((algorithm, soon));
                }
                Some(_) if change == Change::Rotate && !underway => plan.make.push((algorithm, soon)),
                Some(_) => {}
            }
            let stay: Vec<_> = row.iter().filter(|key| !plan.forget.contains(&key.id)).collect();
            if plan.make.iter().any(|(made, _)| *made == algorithm) && stay.len() >= KEYS_MAX {
                if change == Change::Rotate {
                    return Err(NotNow::TooMany);
                }
                // What is due is done; the oldest has to make room.
                plan.forget.extend(stay.first().map(|key| key.id.clone()));
            }
        }
        if change == Change::Rotate && plan.make.is_empty() { Err(NotNow::Underway) } else { Ok(plan) }
    }

    /// The keys after what was planned is done.
    pub(super) fn after(&self, plan: &Plan, made: Vec<KeptKey>) -> Self {
        let stays = |key: &&KeptKey| !plan.forget.contains(&key.kid);
        Self { keys: self.keys.iter().filter(stays).cloned().chain(made).collect() }
    }
}

/// The place of the key that signs at `now`, among the moments from which keys sign: the last that has come. When none has,
/// the clock went back, and the first is what most know.
pub(super) fn signer(moments: &[UnixTime], now: UnixTime) -> usize {
    moments.iter().rposition(|signs| *signs <= now).unwrap_or(0)
}

impl KeptKey {
    fn new(
        key: &SigningKey,
        pkcs8: &SecretBytes,
        certificate: Option<String>,
        made: UnixTime,
        signs: UnixTime,
    ) -> Self {
        let pkcs8 = Zeroizing::new(data_encoding::BASE64.encode(pkcs8.expose()));
        Self { algorithm: key.algorithm(), kid: key.kid().to_owned(), pkcs8, made, signs, certificate }
    }

    /// A new key. Takes its time for RS256.
    pub(super) fn make(algorithm: Algorithm, now: UnixTime, signs: UnixTime) -> Result<Self, String> {
        let (key, pkcs8) = SigningKey::generate(algorithm).map_err(|error| error.to_string())?;
        let certificate = match algorithm {
            Algorithm::Es256 => None,
            Algorithm::Rs256 => Some(certificate::make(&pkcs8, now).map_err(|error| error.to_string())?),
        };
        Ok(Self::new(&key, &pkcs8, certificate, now, signs))
    }

    pub(super) fn kid(&self) -> &str {
        &self.kid
    }

    pub(super) const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(super) const fn signs(&self) -> UnixTime {
        self.signs
    }

    pub(super) fn certificate(&self) -> Option<&str> {
        self.certificate.as_deref()
    }

    /// The key itself.
    pub(super) fn open(&self) -> Result<Arc<SigningKey>, String> {
        let pkcs8 = data_encoding::BASE64.decode(self.pkcs8.as_bytes()).map_err(|error| error.to_string())?;
        let pkcs8 = SecretBytes::new(pkcs8);
        let key = SigningKey::from_pkcs8(self.algorithm, pkcs8.expose()).map_err(|error| error.to_string())?;
        if key.kid() == self.kid { Ok(Arc::new(key)) } else { Err("a key has another's id".to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: UnixTime = UnixTime(1_800_000_000);
    const WEEK: u64 = 7 * 24 * 3600;

    fn at(seconds: u64) -> UnixTime {
        UnixTime(T0.0 + seconds)
    }

    /// Does what is planned, with keys that are none.
    fn done(ring: &Ring, change: Change, now: UnixTime) -> Ring {
        let plan = ring.plan(change, now).unwrap();
        let made = plan.make.iter().map(|(algorithm, signs)| KeptKey {
            algorithm: *algorithm,
            kid: format!("{algorithm} {} {}", now.0 - T0.0, ring.keys.len()),
            pkcs8: Zeroizing::default(),
            made: now,
            signs: *signs,
            certificate: None,
        });
        ring.after(&plan, made.collect())
    }

    fn states(ring: &Ring, now: UnixTime) -> Vec<KeyState> {
        ring.row(Algorithm::Es256, now).iter().map(|key| key.state).collect()
    }

    use KeyState::{Next, Previous, Signing};

    // S7
    #[test]
    fn a_key_is_published_then_signs_then_stays_published() {
        let ring = done(&Ring::default(), Change::Due, T0);
        assert_eq!(states(&ring, T0), [Signing], "the first signs at once: nobody knows another");
        let due = 6 * WEEK;
        assert!(ring.plan(Change::Due, at(due - 1)).unwrap().is_empty());
        let ring = done(&ring, Change::Due, at(due));
        let signs = due + NEXT_LIFE.as_secs();
        assert!(NEXT_LIFE > CERTS_LIFE, "whoever kept the set has it before its new key signs");
        for (now, expected) in [
            (due, [Signing, Next]),
            (signs - 1, [Signing, Next]),
            (signs, [Previous, Signing]),
            (signs + WEEK - 1, [Previous, Signing]),
        ] {
            assert_eq!(states(&ring, at(now)), expected, "{now}");
            assert!(ring.plan(Change::Due, at(now)).unwrap().is_empty(), "{now}");
        }
        let ring = done(&ring, Change::Due, at(signs + WEEK));
        assert_eq!(states(&ring, at(signs + WEEK)), [Signing]);
        assert_eq!(ring.keys.len(), 2, "one of each algorithm");
    }

    #[test]
    fn what_is_listed_says_since_when_and_until_when() {
        let ring = done(&Ring::default(), Change::Due, T0);
        let ring = done(&ring, Change::Rotate, at(100));
        let signs = at(100).plus(NEXT_LIFE);
        let row = |now| {
            let row = ring.row(Algorithm::Es256, now);
            row.iter().map(|key| (key.state, key.since, key.until)).collect::<Vec<_>>()
        };
        assert_eq!(row(at(100)), [(Signing, T0, signs), (Next, at(100), signs)]);
        let later = [(Previous, signs, signs.plus(PREVIOUS_LIFE)), (Signing, signs, signs.plus(SIGNING_LIFE))];
        assert_eq!(row(signs), later);
    }

    // S7
    #[test]
    fn in_an_emergency_nothing_that_was_stays() {
        let ring = done(&done(&Ring::default(), Change::Due, T0), Change::Rotate, at(100));
        let after = done(&ring, Change::Revoke, at(200));
        let listed = after.status(at(200));
        assert!(listed.iter().all(|key| key.state == Signing && key.since == at(200)), "{listed:?}");
        assert_eq!(listed.iter().map(|key| key.algorithm).collect::<Vec<_>>(), Algorithm::ALL);
        assert!(ring.keys.iter().all(|old| after.keys.iter().all(|new| new.kid != old.kid)));
    }

    #[test]
    fn a_second_rotation_waits_for_the_first_and_there_are_never_too_many_keys() {
        let mut ring = done(&Ring::default(), Change::Due, T0);
        let mut now = 1000;
        ring = done(&ring, Change::Rotate, at(now));
        assert_eq!(ring.plan(Change::Rotate, at(now + NEXT_LIFE.as_secs() - 1)), Err(NotNow::Underway));
        while ring.keys.len() < 2 * KEYS_MAX {
            now += NEXT_LIFE.as_secs();
            ring = done(&ring, Change::Rotate, at(now));
        }
        now += NEXT_LIFE.as_secs();
        assert_eq!(ring.plan(Change::Rotate, at(now)), Err(NotNow::TooMany));
        assert!(ring.plan(Change::Revoke, at(now)).is_ok());
    }

    // S8
    #[test]
    fn a_clock_that_leaps_leaves_a_key_that_signs_and_one_that_will_follow() {
        let year = 365 * 24 * 3600;
        let ring = done(&Ring::default(), Change::Due, at(2 * year));
        for back in [2 * year, year, 3600] {
            let now = 2 * year - back;
            let back = done(&ring, Change::Due, at(now));
            assert_eq!(states(&back, at(now)).iter().filter(|state| **state == Signing).count(), 1);
            let signs = now + NEXT_LIFE.as_secs();
            assert_eq!(states(&back, at(signs)), [Previous, Signing], "the newest takes over in time");
            assert!(back.plan(Change::Due, at(signs)).unwrap().is_empty(), "and is not followed at once");
        }
        // A year on: the key signs until the next one has been published for a while.
        let on = done(&ring, Change::Due, at(3 * year));
        assert_eq!(states(&on, at(3 * year)), [Signing, Next]);
        // A few seconds are no leap.
        assert!(ring.plan(Change::Due, at(2 * year - 30)).unwrap().is_empty());
    }
}
