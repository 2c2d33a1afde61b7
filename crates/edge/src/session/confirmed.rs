//! Which logins depend on their provider's word, and what becomes of sessions when that changes.
//!
//! What is kept for asking a provider again is in the store; here is only when it last vouched, shared by all sessions that
//! came from one login. What it says anew makes another session under the same id, so that nothing that was concluded
//! before is used again. Whoever holds the session as it was finds it as it is ([`Session::latest`]).

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use serde_json::Value;
use tunnel_policy::Attributes;
use tunnel_proto::{EmailAddress, Name, PersonId, UnixTime};

use super::{Seen, Session, Sessions, Table};
use crate::store::{Revalidation, SecretHash, SessionRecord, StoreError, Told};

/// What sessions share that came from one login.
#[derive(Default)]
pub(super) struct Login {
    /// When anything of it was last used.
    pub(super) used: Seen,
    /// When its provider last vouched for it; zero when there is nothing by which it could be asked again.
    confirmed: AtomicU64,
    /// How often asking failed since.
    tries: AtomicU32,
    /// When it may be asked again.
    retry: AtomicU64,
}

impl Login {
    pub(super) fn used(&self) -> UnixTime {
        UnixTime(self.used.at.load(Relaxed))
    }

    pub(super) fn confirm(&self, now: UnixTime) {
        self.tries.store(0, Relaxed);
        self.retry.store(0, Relaxed);
        self.confirmed.store(now.0, Relaxed);
    }

    /// What is stored of when its provider last vouched for it.
    pub(super) fn follow(&self, confirmed: Option<UnixTime>) {
        if self.confirmed() != confirmed {
            self.confirm(confirmed.unwrap_or(UnixTime(0)));
        }
    }

    /// Takes back what a clock that was wrong noted, after `latest`: until then its provider would not be asked.
    pub(super) fn take_back(&self, now: UnixTime, latest: UnixTime) {
        self.used.take_back(now, latest);
        if self.confirmed.load(Relaxed) > latest.0 {
            self.confirm(now);
        }
        if self.retry.load(Relaxed) > latest.0 {
            self.retry.store(0, Relaxed);
        }
    }

    fn confirmed(&self) -> Option<UnixTime> {
        Some(UnixTime(self.confirmed.load(Relaxed))).filter(|at| at.0 > 0)
    }
}

/// A session as it is now, for those who hold it as it was.
#[derive(Default)]
pub(super) struct Latest(Mutex<Weak<Session>>);

impl Latest {
    pub(super) fn set(&self, session: &Arc<Session>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(session);
    }
}

/// When somebody last vouched for a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vouched {
    /// At the login, and never again: there is nothing by which the provider could be asked.
    Once(UnixTime),
    /// At this time; the provider can be asked again.
    Last(UnixTime),
}

impl Session {
    /// When somebody last vouched for the login that it came from.
    pub(crate) fn vouched(&self) -> Vouched {
        self.login.confirmed().map_or(Vouched::Once(self.record.identity.authenticated), Vouched::Last)
    }

    /// The session as it is now: somebody who keeps it for long may hold what it was before its provider said something
    /// else about the person.
    pub(crate) fn latest(self: &Arc<Self>) -> Arc<Self> {
        let latest = self.latest.0.lock().unwrap_or_else(PoisonError::into_inner);
        latest.upgrade().unwrap_or_else(|| self.clone())
    }

    /// The method of the login that it came from, and by whose word.
    fn by(&self) -> (&Name, &str) {
        (&self.identity().method, self.issuer())
    }

    /// The login that it came from, or is.
    pub(crate) fn login_id(&self) -> &SecretHash {
        self.parent().unwrap_or(self.id())
    }
}

/// What came from one login by one method, as far as it depends on the provider's word.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    /// The login.
    pub(crate) login: SecretHash,
    /// The method.
    pub(crate) method: Name,
    /// The person.
    pub(crate) person: PersonId,
    /// The address of the person, at the login.
    pub(crate) email: EmailAddress,
    /// When somebody last vouched for it.
    pub(crate) vouched: Vouched,
    /// When anything of it was last used.
    pub(crate) used: UnixTime,
    /// When the provider may be asked again after a failure.
    pub(crate) retry: UnixTime,
    /// The sessions.
    pub(crate) sessions: Vec<SecretHash>,
}

/// What a provider says about somebody anew.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Anew {
    /// How they authenticated, where it says so: that is as of the login.
    pub(crate) amr: Option<Vec<String>>,
    /// The groups, where it says something about them.
    pub(crate) groups: Option<Vec<String>>,
    /// The claims that are kept.
    pub(crate) claims: BTreeMap<String, Value>,
    /// Whether that is all of them, so that others are gone.
    pub(crate) whole: bool,
}

impl Anew {
    /// What is known of somebody by it, of whom this was known before.
    pub(crate) fn over(&self, before: &Attributes) -> Attributes {
        let mut after = before.clone();
        self.amr.iter().for_each(|amr| after.amr.clone_from(amr));
        self.groups.iter().for_each(|groups| after.groups.clone_from(groups));
        if self.whole {
            after.claims.clear();
        }
        after.claims.extend(self.claims.clone());
        after
    }
}

impl Table {
    /// Puts in the place of a session the same one about whom something else is said.
    fn retell(&mut self, id: &SecretHash, attributes: Attributes) {
        let Some(before) = self.sessions.get(id).cloned() else { return };
        self.epochs = self.epochs.saturating_add(1);
        let record = SessionRecord { attributes, ..before.record.clone() };
        let (ended, seen) = (before.ended.clone(), before.seen.clone());
        let (login, latest) = (before.login.clone(), before.latest.clone());
        self.put(Session { record, epoch: self.epochs, ended, seen, login, latest });
    }

    /// The sessions of a login by a method and its issuer's word about which something else is said now.
    fn others(&self, login: &SecretHash, by: (&Name, &str), anew: &Anew) -> Vec<(SecretHash, Attributes)> {
        let of = |session: &&Arc<Session>| session.by() == by;
        let other = |session: &Arc<Session>| {
            let after = anew.over(session.attributes());
            (after != *session.attributes()).then(|| (*session.id(), after))
        };
        // One that has the place of the login is one without a parent.
        let itself = self.sessions.get(login).filter(|session| session.parent().is_none());
        itself.into_iter().chain(self.children(login)).filter(of).filter_map(other).collect()
    }

    /// Whose they are: one login's, and so one person's.
    fn person(&self, others: &[(SecretHash, Attributes)]) -> Option<PersonId> {
        let (id, _) = others.first()?;
        self.sessions.get(id).map(|session| session.identity().person)
    }
}

/// What is stored of what a provider says anew.
fn told<'a>(person: Option<PersonId>, method: &'a Name, sessions: &'a [(SecretHash, Attributes)]) -> Option<Told<'a>> {
    let (_, attributes) = sessions.first()?;
    Some(Told { person: person?, method, attributes, sessions })
}

impl Sessions {
    /// A session that begins is judged by what the provider says of its login now: what it was begun by may be some moments
    /// old.
    pub(super) fn tell(&self, record: &mut SessionRecord) {
        let table = self.read();
        let parent = record.parent.and_then(|parent| table.sessions.get(&parent));
        let by = (&record.identity.method, record.issuer.as_str());
        let Some(parent) = parent.filter(|parent| parent.login.confirmed().is_some() && parent.by() == by) else {
            return;
        };
        let evaluations = std::mem::take(&mut record.attributes.evaluations);
        record.attributes = Attributes { evaluations, ..parent.attributes().clone() };
    }

    /// Keeps by what a login is confirmed later. Nothing is kept when it has ended meanwhile.
    pub(crate) async fn keep(&self, login: &Session, kept: &Revalidation) -> Result<(), StoreError> {
        let _change = self.changes.begin();
        if self.store.put_revalidation(kept).await? {
            login.login.confirm(kept.confirmed);
        }
        Ok(())
    }

    /// What counts at `now` and depends on a provider's word: by a method that `wanted` is true of, or because something is
    /// kept by which it could be asked.
    pub(crate) fn standings(&self, now: UnixTime, wanted: impl Fn(&Name) -> bool) -> Vec<Standing> {
        let mut all: HashMap<(SecretHash, Name), Standing> = HashMap::new();
        let table = self.read();
        for session in table.sessions.values().filter(|session| session.expires() > now) {
            let identity = session.identity();
            if session.login.confirmed().is_none() && !wanted(&identity.method) {
                continue;
            }
            let login = *session.login_id();
            let standing = all.entry((login, identity.method.clone())).or_insert_with(|| Standing {
                login,
                method: identity.method.clone(),
                person: identity.person,
                email: identity.email.clone(),
                vouched: session.vouched(),
                used: session.login.used(),
                retry: UnixTime(session.login.retry.load(Relaxed)),
                sessions: Vec::new(),
            });
            // The later of two logins, where one took over what came from the other.
            if let (Vouched::Once(one), Vouched::Once(other)) = (standing.vouched, session.vouched()) {
                standing.vouched = Vouched::Once(one.max(other));
            }
            standing.sessions.push(*session.id());
        }
        all.into_values().collect()
    }

    /// The provider vouched for a login at `now`, and perhaps says something else about the person. Says whether it does.
    pub(crate) async fn confirm(
        &self,
        login: &SecretHash,
        by: (&Name, &str),
        anew: Option<&Anew>,
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        let _change = self.changes.begin();
        let (others, person) = {
            let table = self.read();
            let others = anew.map(|anew| table.others(login, by, anew)).unwrap_or_default();
            let person = table.person(&others);
            (others, person)
        };
        self.store.confirm_login(login, now, told(person, by.0, &others)).await?;
        let (changed, later, person) = {
            let mut table = self.write();
            let all = anew.map(|anew| table.others(login, by, anew)).unwrap_or_default();
            // Those that began meanwhile as well.
            let later: Vec<_> = all.iter().filter(|one| !others.contains(one)).cloned().collect();
            let (changed, person) = (!all.is_empty(), table.person(&later));
            all.into_iter().for_each(|(id, attributes)| table.retell(&id, attributes));
            table.logins.get(login).into_iter().for_each(|login| login.confirm(now));
            (changed, later, person)
        };
        if !later.is_empty() {
            self.store.confirm_login(login, now, told(person, by.0, &later)).await?;
        }
        Ok(changed)
    }

    /// The provider could not be asked about a login; it may be again when `pause` is over, which is told how often it
    /// could not be before.
    pub(crate) fn defer(&self, login: &SecretHash, now: UnixTime, pause: impl FnOnce(u32) -> Duration) {
        let table = self.read();
        let Some(login) = table.logins.get(login) else { return };
        let tries = login.tries.fetch_add(1, Relaxed);
        login.retry.store(now.plus(pause(tries)).0, Relaxed);
    }

    /// Forgets by what a login could be confirmed.
    pub(crate) async fn unkeep(&self, login: &SecretHash) -> Result<(), StoreError> {
        let _change = self.changes.begin();
        self.read().logins.get(login).into_iter().for_each(|login| login.confirm(UnixTime(0)));
        self.store.forget_revalidation(login).await
    }
}

#[cfg(test)]
mod tests {
    use tunnel_proto::Identity;

    use super::*;
    use crate::store::{DATABASE_NAME, SessionKind, Store, sqlite::SqliteStore};

    const A: &str = "https://a.example";
    const B: &str = "https://b.example";

    fn record(id: u8, parent: Option<u8>, issuer: &str) -> SessionRecord {
        SessionRecord {
            id: [id; 32],
            kind: SessionKind::Browser,
            device: None,
            source: None,
            host: "access.example.com".parse().unwrap(),
            parent: parent.map(|parent| [parent; 32]),
            identity: Identity {
                person: PersonId::from_bytes([1; 16]),
                email: "ann@example.com".parse().unwrap(),
                method: "work".parse().unwrap(),
                authenticated: UnixTime(1),
            },
            issuer: issuer.to_owned(),
            attributes: Attributes { groups: vec!["before".into()], ..Attributes::default() },
            created: UnixTime(1),
            seen: UnixTime(1),
            expires: UnixTime(1000),
            grants: Vec::new(),
        }
    }

    // O6, O9
    #[tokio::test]
    async fn what_a_provider_says_anew_is_said_of_sessions_by_its_own_word_only() {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&dir.path().join(DATABASE_NAME)).await.unwrap());
        let (now, method): (_, Name) = (UnixTime(10), "work".parse().unwrap());
        let sessions = Sessions::load(store.clone(), now).await.unwrap();
        let login = sessions.start(record(1, None, A), now).await.unwrap();
        // The method had another issuer when the third began, which the login took over.
        for begun in [record(2, Some(1), A), record(3, Some(1), B)] {
            sessions.start(begun, now).await.unwrap();
        }
        let kept = Revalidation { login: [1; 32], method: method.clone(), sealed: vec![1], confirmed: now };
        sessions.keep(&login, &kept).await.unwrap();
        let anew = Anew { groups: Some(vec!["after".into()]), ..Anew::default() };
        assert!(sessions.confirm(&[1; 32], (&method, A), Some(&anew), now).await.unwrap());
        // Those that begin with what was known before.
        for begun in [record(4, Some(1), A), record(5, Some(1), B)] {
            sessions.start(begun, now).await.unwrap();
        }
        for sessions in [sessions, Sessions::load(store, now).await.unwrap()] {
            let mut groups: Vec<_> =
                sessions.list(now).iter().map(|one| (one.id()[0], one.attributes().groups[0].clone())).collect();
            groups.sort();
            let groups: Vec<_> = groups.iter().map(|(id, group)| (*id, group.as_str())).collect();
            assert_eq!(groups, [(1, "after"), (2, "after"), (3, "before"), (4, "after"), (5, "before")]);
        }
    }
}
