//! Following another process of the same edge: while one takes the other's place, both have sessions, and each ends and begins
//! some that the other has to know of. What is stored is what counts.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use tunnel_proto::UnixTime;

use super::{ENDED_MAX, Session, Sessions, Table};
use crate::store::{Revalidation, SecretHash, SessionRecord, StoreError};

/// How often what is stored is read anew when it was changed by this process meanwhile.
const TRIES: usize = 3;

/// What came of looking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Followed {
    /// Nothing was different.
    Same,
    /// Sessions came, went, or are others now.
    Changed,
    /// This process kept changing sessions itself: look again.
    Busy,
}

/// Changes by this process that are under way, from the table to the store or from the store to the table.
#[derive(Debug, Default)]
pub(super) struct Changes {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Changes {
    /// Something is changed for as long as the guard lives.
    pub(super) fn begin(&self) -> Change<'_> {
        self.begun.fetch_add(1, SeqCst);
        Change(self)
    }

    /// How many there were; `None` while there is one.
    fn quiet(&self) -> Option<u64> {
        // In this order: one that ends in between does not look ended before it began.
        let ended = self.ended.load(SeqCst);
        let begun = self.begun.load(SeqCst);
        (begun == ended).then_some(begun)
    }
}

/// A change that is under way.
pub(super) struct Change<'a>(&'a Changes);

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, SeqCst);
    }
}

impl Sessions {
    /// Takes over what another process stored: sessions that began or ended there, or that something else is said of. A
    /// change by this process is never taken back: what was read beside one is read again.
    pub(crate) async fn follow(&self, now: UnixTime) -> Result<Followed, StoreError> {
        for _ in 0..TRIES {
            let Some(before) = self.changes.quiet() else {
                tokio::task::yield_now().await;
                continue;
            };
            let records = self.store.sessions(now).await?;
            let kept = self.store.revalidations().await?;
            let mut table = self.write();
            // Whoever changes something from here on waits for the table.
            if self.changes.quiet() == Some(before) {
                return Ok(if table.follow(records, &kept, now) { Followed::Changed } else { Followed::Same });
            }
        }
        Ok(Followed::Busy)
    }
}

impl Table {
    /// Makes the table what is stored; whether it was something else.
    fn follow(&mut self, records: Vec<SessionRecord>, kept: &[Revalidation], now: UnixTime) -> bool {
        let stored: HashSet<SecretHash> = records.iter().map(|record| record.id).collect();
        let ended = self.remove(|session| session.expires() > now && !stored.contains(session.id()));
        self.note_ended(ended.iter().map(|session| *session.id()));
        let mut changed = !ended.is_empty();
        for record in records {
            changed |= self.take(record);
        }
        let confirmed: HashMap<_, _> = kept.iter().map(|kept| (kept.login, kept.confirmed)).collect();
        for (id, login) in &self.logins {
            login.follow(confirmed.get(id).copied());
        }
        changed
    }

    /// Puts in what is stored of a session; whether it is news.
    fn take(&mut self, record: SessionRecord) -> bool {
        let Some(before) = self.sessions.get(&record.id).cloned() else {
            // What was ended here and is still stored, because storing that failed, does not come back.
            let ended =
                self.ended.contains(&record.id) || record.parent.is_some_and(|login| self.ended.contains(&login));
            if !ended {
                self.insert(record);
            }
            return !ended;
        };
        before.seen.touch(record.seen);
        before.login.used.touch(record.seen);
        let same = SessionRecord { seen: before.record.seen, ..record };
        if same == before.record {
            return false;
        }
        self.retake(&before, same);
        true
    }

    /// Puts a session in the place of what it was.
    fn retake(&mut self, before: &Arc<Session>, record: SessionRecord) {
        self.epochs = self.epochs.saturating_add(1);
        let login = self.logins.entry(record.parent.unwrap_or(record.id)).or_default().clone();
        login.used.touch(before.seen());
        let (ended, seen, latest) = (before.ended.clone(), before.seen.clone(), before.latest.clone());
        self.put(Session { record, epoch: self.epochs, ended, seen, login, latest });
    }

    /// Remembers for a while that these were ended.
    pub(super) fn note_ended(&mut self, ids: impl Iterator<Item = SecretHash>) {
        self.ended.extend(ids);
        let surplus = self.ended.len().saturating_sub(ENDED_MAX);
        self.ended.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use tunnel_policy::Attributes;
    use tunnel_proto::{Identity, PersonId};

    use super::*;
    use crate::{
        session::StartError,
        store::{DATABASE_NAME, SessionKind, Store, sqlite::SqliteStore},
    };

    fn record(id: u8, parent: Option<u8>) -> SessionRecord {
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
                method: "pin".parse().unwrap(),
                authenticated: UnixTime(1),
            },
            issuer: "mailbox".to_owned(),
            attributes: Attributes::default(),
            created: UnixTime(1),
            seen: UnixTime(1),
            expires: UnixTime(1000),
            grants: Vec::new(),
        }
    }

    async fn open(dir: &std::path::Path) -> Arc<dyn Store> {
        Arc::new(SqliteStore::open(&dir.join(DATABASE_NAME)).await.unwrap())
    }

    fn ids(sessions: &Sessions, now: UnixTime) -> Vec<u8> {
        let mut ids: Vec<_> = sessions.list(now).iter().map(|one| one.id()[0]).collect();
        ids.sort_unstable();
        ids
    }

    // F3
    #[tokio::test]
    async fn each_of_two_processes_learns_what_began_and_ended_in_the_other() {
        let (dir, now) = (tempfile::tempdir().unwrap(), UnixTime(10));
        let (first, second) = (open(dir.path()).await, open(dir.path()).await);
        let mut known = first.data_version().await.unwrap();
        let old = Sessions::load(first.clone(), now).await.unwrap();
        let login = old.start(record(1, None), now).await.unwrap();
        assert_eq!(first.data_version().await.unwrap(), known, "one's own writing is no news");
        let new = Sessions::load(second.clone(), now).await.unwrap();
        assert_eq!(new.follow(now).await.unwrap(), Followed::Same);

        // Begun in the old process after the new one had read.
        old.start(record(2, Some(1)), now).await.unwrap();
        assert_eq!(new.follow(now).await.unwrap(), Followed::Changed);
        assert_eq!(ids(&new, now), [1, 2]);
        assert_eq!(new.follow(now).await.unwrap(), Followed::Same);

        // Ended in the new one: whoever waits in the old one is told.
        new.end(&[[1; 32]]).await.unwrap();
        assert_ne!(std::mem::replace(&mut known, first.data_version().await.unwrap()), known);
        let waiting = tokio::spawn(async move { login.ended().await });
        assert_eq!(old.follow(now).await.unwrap(), Followed::Changed);
        waiting.await.unwrap();
        assert!(ids(&old, now).is_empty());
        assert_eq!(old.follow(now).await.unwrap(), Followed::Same);
    }

    // F3, S10
    #[tokio::test]
    async fn nothing_begins_from_a_login_that_another_process_ended_and_nothing_comes_back() {
        let (dir, now) = (tempfile::tempdir().unwrap(), UnixTime(10));
        let old = Sessions::load(open(dir.path()).await, now).await.unwrap();
        for begun in [record(1, None), record(2, Some(1))] {
            old.start(begun, now).await.unwrap();
        }
        let store = open(dir.path()).await;
        let new = Sessions::load(store.clone(), now).await.unwrap();
        new.end(&[[1; 32]]).await.unwrap();
        // The old one has not looked since.
        let late = old.start(record(3, Some(1)), now).await;
        assert!(matches!(late, Err(StartError::LoginEnded)));
        // Nor does the browser's next login take over what was ended there.
        let next = old.start(record(9, None), now).await.unwrap();
        old.succeed(&[1; 32], &next, now).await.unwrap();
        assert_eq!(ids(&old, now), [9]);
        for sessions in [&old, &new, &Sessions::load(store, now).await.unwrap()] {
            sessions.follow(now).await.unwrap();
            assert_eq!(ids(sessions, now), [9]);
        }
    }

    // F3
    #[tokio::test]
    async fn what_another_process_says_of_a_session_is_told_to_those_who_hold_it() {
        let (dir, now) = (tempfile::tempdir().unwrap(), UnixTime(10));
        let (first, second) = (open(dir.path()).await, open(dir.path()).await);
        let old = Sessions::load(first, now).await.unwrap();
        let held = old.start(record(1, None), now).await.unwrap();
        let attributes = Attributes { groups: vec!["staff".into()], ..Attributes::default() };
        second.put_session(&SessionRecord { attributes, seen: UnixTime(9), ..record(1, None) }).await.unwrap();
        assert_eq!(old.follow(now).await.unwrap(), Followed::Changed);
        assert_eq!(held.latest().attributes().groups, ["staff"]);
        assert_eq!(held.seen(), UnixTime(9), "used in one, used in both");
        assert_ne!(held.latest().epoch(), held.epoch(), "nothing concluded before is used again");
        assert!(!held.is_ended());
    }

    #[tokio::test]
    async fn what_was_ended_here_does_not_come_back() {
        let (dir, now) = (tempfile::tempdir().unwrap(), UnixTime(10));
        let store = open(dir.path()).await;
        let sessions = Sessions::load(store.clone(), now).await.unwrap();
        sessions.start(record(1, None), now).await.unwrap();
        sessions.end(&[[1; 32]]).await.unwrap();
        for stays in [record(1, None), record(2, Some(1))] {
            store.put_session(&stays).await.unwrap();
        }
        assert_eq!(sessions.follow(now).await.unwrap(), Followed::Same);
        assert!(ids(&sessions, now).is_empty());
    }

    #[tokio::test]
    async fn what_is_read_beside_a_change_of_ones_own_is_not_taken_over() {
        let (dir, now) = (tempfile::tempdir().unwrap(), UnixTime(10));
        let store = open(dir.path()).await;
        let sessions = Sessions::load(store.clone(), now).await.unwrap();
        store.put_session(&record(1, None)).await.unwrap();
        let change = sessions.changes.begin();
        assert_eq!(sessions.follow(now).await.unwrap(), Followed::Busy);
        drop(change);
        assert_eq!(sessions.follow(now).await.unwrap(), Followed::Changed);
    }
}
