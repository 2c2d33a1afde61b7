//! Who is logged in: sessions in memory for every request, and in the store for the next start.
//!
//! A login at the login host is a session without parent; each application host has a session of its own, whose parent is
//! the login it came from. So has each token of the access client, which is a session of a kind of its own: neither is
//! accepted in the place of the other. Ending a login ends them all. A session never changes: a new login makes a new one,
//! and where a provider says something else about the person later, another takes its place under the same id
//! (`confirmed.rs`).

mod confirmed;
pub mod cookie;
mod follow;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fmt,
    hash::Hash,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use http::HeaderValue;
use tokio_util::sync::CancellationToken;
use tunnel_auth::ClientToken;
use tunnel_policy::Attributes;
use tunnel_proto::{AppId, Hostname, Identity, PersonId, UnixTime};

use crate::store::{FUTURE, SecretHash, SessionKind, SessionRecord, Store, StoreError};

pub(crate) use self::{
    confirmed::{Anew, Standing, Vouched},
    follow::Followed,
};
use self::{
    confirmed::{Latest, Login},
    follow::Changes,
};

/// A session that counts now.
pub struct Session {
    record: SessionRecord,
    epoch: u64,
    ended: CancellationToken,
    /// When it was last used.
    seen: Arc<Seen>,
    /// What it shares with everything that came from the same login.
    login: Arc<Login>,
    /// What it is now.
    latest: Arc<Latest>,
}

/// A moment of last use, and as far as it is written down.
#[derive(Default)]
struct Seen {
    at: AtomicU64,
    written: AtomicU64,
}

impl Seen {
    fn new(at: UnixTime) -> Arc<Self> {
        Arc::new(Self { at: AtomicU64::new(at.0), written: AtomicU64::new(at.0) })
    }

    fn touch(&self, now: UnixTime) {
        // Many requests of one second write once.
        if self.at.load(Relaxed) < now.0 {
            self.at.fetch_max(now.0, Relaxed);
        }
    }

    /// Takes back what a clock that was wrong noted, after `latest`: a limit on idleness would count from then.
    fn take_back(&self, now: UnixTime, latest: UnixTime) {
        if self.at.load(Relaxed) > latest.0 {
            self.at.store(now.0, Relaxed);
            self.written.store(now.0, Relaxed);
        }
    }
}

impl Session {
    /// The hash that names it.
    pub const fn id(&self) -> &SecretHash {
        &self.record.id
    }

    /// The login that it came from; `None` for a login itself.
    pub const fn parent(&self) -> Option<&SecretHash> {
        self.record.parent.as_ref()
    }

    /// The host that it counts on.
    pub const fn host(&self) -> &Hostname {
        &self.record.host
    }

    /// Who logged in.
    pub const fn identity(&self) -> &Identity {
        &self.record.identity
    }

    /// Who vouched for them.
    pub fn issuer(&self) -> &str {
        &self.record.issuer
    }

    /// Who logged in, as policies judge them.
    pub const fn who(&self) -> (&Identity, &Attributes) {
        (&self.record.identity, &self.record.attributes)
    }

    /// What the login method said about them.
    pub const fn attributes(&self) -> &Attributes {
        &self.record.attributes
    }

    /// When it began.
    pub const fn created(&self) -> UnixTime {
        self.record.created
    }

    /// When it was last used.
    pub fn seen(&self) -> UnixTime {
        UnixTime(self.seen.at.load(Relaxed))
    }

    /// It is in use: so is the login that it came from.
    pub fn touch(&self, now: UnixTime) {
        self.seen.touch(now);
        self.login.used.touch(now);
    }

    /// Whether it was not used for longer than `limit` at `now`.
    pub fn is_idle(&self, limit: Option<Duration>, now: UnixTime) -> bool {
        limit.is_some_and(|limit| now.since(self.seen()) > limit)
    }

    /// Whether nothing that came from its login was used for longer than `limit` at `now`.
    pub fn is_login_idle(&self, limit: Option<Duration>, now: UnixTime) -> bool {
        limit.is_some_and(|limit| now.since(self.login.used()) > limit)
    }

    /// When it ends.
    pub const fn expires(&self) -> UnixTime {
        self.record.expires
    }

    /// Until when it opens `app`; `None` when it does not at `now`.
    pub fn grant(&self, app: &AppId, now: UnixTime) -> Option<UnixTime> {
        let grant = self.record.grants.iter().find(|grant| grant.app == *app && grant.expires > now)?;
        Some(grant.expires.min(self.record.expires))
    }

    /// Whether it counts at `now` when it comes to `host` in the way of `kind`.
    fn counts(&self, kind: SessionKind, host: &Hostname, now: UnixTime) -> bool {
        self.record.kind == kind && self.record.host == *host && self.record.expires > now
    }

    /// What is stored of it.
    pub const fn record(&self) -> &SessionRecord {
        &self.record
    }

    /// A number that no other session of this process has or had: what was concluded for one is never used for another.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Waits until the session is ended by somebody; its own expiry is for the caller to watch.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Whether somebody ended it.
    pub fn is_ended(&self) -> bool {
        self.ended.is_cancelled()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("host", &self.record.host).field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

/// The table of sessions. Looking one up takes a short lock and no query.
pub struct Sessions {
    store: Arc<dyn Store>,
    table: RwLock<Table>,
    /// What this process is changing.
    changes: Changes,
}

#[derive(Default)]
struct Table {
    sessions: HashMap<SecretHash, Arc<Session>>,
    /// What came from each login, and what is whose: what ends one person's must not look at everybody's.
    children: Many<SecretHash>,
    people: Many<PersonId>,
    /// What those share that came from one login, by its id.
    logins: HashMap<SecretHash, Arc<Login>>,
    epochs: u64,
    /// Those that somebody ended last.
    ended: VecDeque<SecretHash>,
}

/// Sessions by something that several have.
#[derive(Debug)]
struct Many<K>(HashMap<K, HashSet<SecretHash>>);

impl<K> Default for Many<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Many<K> {
    fn add(&mut self, key: K, id: SecretHash) {
        self.0.entry(key).or_default().insert(id);
    }

    fn take(&mut self, key: &K, id: &SecretHash) {
        if let Some(ids) = self.0.get_mut(key) {
            ids.remove(id);
            if ids.is_empty() {
                self.0.remove(key);
            }
        }
    }

    fn of<'a>(&'a self, key: &K) -> impl Iterator<Item = &'a SecretHash> + use<'a, K> {
        self.0.get(key).into_iter().flatten()
    }
}

/// How many ended sessions are remembered.
const ENDED_MAX: usize = 4096;

impl Table {
    fn insert(&mut self, record: SessionRecord) -> Arc<Session> {
        self.epochs = self.epochs.saturating_add(1);
        let seen = Seen::new(record.seen);
        let login = self.logins.entry(record.parent.unwrap_or(record.id)).or_default().clone();
        login.used.touch(record.seen);
        let (ended, latest) = (CancellationToken::new(), Arc::default());
        self.put(Session { record, epoch: self.epochs, ended, seen, login, latest })
    }

    /// Puts a session in, or in the place of what it was.
    fn put(&mut self, session: Session) -> Arc<Session> {
        let session = Arc::new(session);
        session.latest.set(&session);
        if let Some(before) = self.sessions.insert(*session.id(), session.clone()) {
            self.unlist(&before);
        }
        if let Some(parent) = session.parent() {
            self.children.add(*parent, *session.id());
        }
        self.people.add(session.identity().person, *session.id());
        session
    }

    fn unlist(&mut self, session: &Session) {
        if let Some(parent) = session.parent() {
            self.children.take(parent, session.id());
        }
        self.people.take(&session.identity().person, session.id());
    }

    /// The sessions of a person.
    fn of_person(&self, person: PersonId) -> impl Iterator<Item = &Arc<Session>> {
        self.people.of(&person).filter_map(move |id| self.sessions.get(id))
    }

    /// What came from a login.
    fn children(&self, login: &SecretHash) -> impl Iterator<Item = &Arc<Session>> {
        self.children.of(login).filter_map(move |id| self.sessions.get(id))
    }

    /// Whether the login with this id counts at `now`.
    fn is_live(&self, id: &SecretHash, now: UnixTime) -> bool {
        self.sessions.get(id).is_some_and(|session| session.expires() > now)
    }

    /// Removes what `ends` names and tells whoever waits.
    fn remove(&mut self, ends: impl Fn(&Session) -> bool) -> Vec<Arc<Session>> {
        let ended: Vec<_> = self.sessions.extract_if(|_, session| ends(session)).map(|(_, session)| session).collect();
        self.over(&ended);
        ended
    }

    /// Removes these, as far as there are such, and tells whoever waits.
    fn remove_these(&mut self, ids: impl IntoIterator<Item = SecretHash>) -> Vec<Arc<Session>> {
        let ended: Vec<_> = ids.into_iter().filter_map(|id| self.sessions.remove(&id)).collect();
        self.over(&ended);
        ended
    }

    fn over(&mut self, ended: &[Arc<Session>]) {
        for session in ended {
            self.unlist(session);
            session.ended.cancel();
        }
    }
}

/// Why a session did not begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The login it would have come from was ended meanwhile.
    #[error("the login was ended meanwhile")]
    LoginEnded,
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Sessions {
    /// The sessions that `store` holds and that count at `now`.
    pub async fn load(store: Arc<dyn Store>, now: UnixTime) -> Result<Self, StoreError> {
        let mut table = Table::default();
        for record in store.sessions(now).await? {
            table.insert(record);
        }
        for kept in store.revalidations().await? {
            table.logins.get(&kept.login).into_iter().for_each(|login| login.confirm(kept.confirmed));
        }
        Ok(Self { store, table: RwLock::new(table), changes: Changes::default() })
    }

    /// The session at `host` that the `Cookie` headers name. Of several cookies of our name the first that counts does.
    pub fn find<'a>(
        &self,
        host: &Hostname,
        cookies: impl IntoIterator<Item = &'a HeaderValue>,
        now: UnixTime,
    ) -> Option<Arc<Session>> {
        let counts = |session: &&Arc<Session>| session.counts(SessionKind::Browser, host, now);
        // The table is locked for each look at it, and not while one is hashed.
        let mut hashes = cookie::sessions(cookies).into_iter().map(|id| id.hash());
        hashes.find_map(|hash| self.read().sessions.get(&hash).filter(counts).cloned())
    }

    /// The session at `host` that this token of the access client stands for.
    pub fn find_client(&self, host: &Hostname, token: &ClientToken, now: UnixTime) -> Option<Arc<Session>> {
        let counts = |session: &&Arc<Session>| session.counts(SessionKind::Client, host, now);
        self.read().sessions.get(&token.hash()).filter(counts).cloned()
    }

    /// The session that this token of the access client stands for, at whatever host; for ending it, not for admitting.
    pub(crate) fn of_client(&self, token: &ClientToken) -> Option<Arc<Session>> {
        let client = |session: &&Arc<Session>| session.record.kind == SessionKind::Client;
        self.read().sessions.get(&token.hash()).filter(client).cloned()
    }

    /// Whether the `Cookie` headers name a session that somebody ended a while ago, by logging out for example. For what is
    /// shown, not for what is admitted: it is forgotten in time.
    pub(crate) fn has_ended<'a>(&self, cookies: impl IntoIterator<Item = &'a HeaderValue>) -> bool {
        let named: Vec<SecretHash> = cookie::sessions(cookies).iter().map(tunnel_auth::SessionId::hash).collect();
        let table = self.read();
        named.iter().any(|id| table.ended.contains(id))
    }

    /// Every session that counts at `now`, oldest first.
    pub fn list(&self, now: UnixTime) -> Vec<Arc<Session>> {
        let mut all: Vec<_> = self.read().sessions.values().filter(|one| one.expires() > now).cloned().collect();
        all.sort_by_key(|session| (session.created(), session.epoch()));
        all
    }

    /// The sessions of a person that `wanted` is true of.
    pub(crate) fn of_person(&self, person: PersonId, wanted: impl Fn(&Session) -> bool) -> Vec<SecretHash> {
        let table = self.read();
        let theirs = table.of_person(person).filter(|one| wanted(one));
        theirs.map(|one| *one.id()).collect()
    }

    /// Begins a session: stored first, then known. With a parent it begins only if that login is not ended, and is ended
    /// with it however the two cross.
    pub async fn start(&self, mut record: SessionRecord, now: UnixTime) -> Result<Arc<Session>, StartError> {
        let _change = self.changes.begin();
        self.tell(&mut record);
        // Another process may have ended the login, which this one learns later.
        if !self.store.put_session(&record).await? {
            return Err(StartError::LoginEnded);
        }
        let (id, parent) = (record.id, record.parent);
        let begun = {
            let mut table = self.write();
            let live = parent.is_none_or(|parent| table.is_live(&parent, now));
            live.then(|| table.insert(record))
        };
        match begun {
            Some(session) => Ok(session),
            None => {
                self.store.end_sessions(&[id]).await?;
                Err(StartError::LoginEnded)
            }
        }
    }

    /// Puts a new login in the place of an older one in the same browser, ended or not: what came from the old one now
    /// ends with the new one, and what is another person's ends now.
    pub(crate) async fn succeed(&self, old: &SecretHash, new: &Session, now: UnixTime) -> Result<(), StoreError> {
        let _change = self.changes.begin();
        let mine = |child: &&Arc<Session>| child.expires() > now && child.identity().person == new.identity().person;
        let children: Vec<_> = self.read().children(old).filter(mine).cloned().collect();
        for child in children {
            // One that another process ended is not brought back.
            let moved = self.store.move_session(child.id(), new.id()).await?;
            let gone = {
                let mut table = self.write();
                let child = table.sessions.get(child.id()).filter(|_| moved && table.is_live(new.id(), now)).cloned();
                if let Some(child) = &child {
                    // The same session: who waits for its end keeps waiting.
                    let record = SessionRecord { parent: Some(*new.id()), ..child.record.clone() };
                    let (ended, seen, latest) = (child.ended.clone(), child.seen.clone(), child.latest.clone());
                    let login = new.login.clone();
                    login.used.touch(child.seen());
                    table.put(Session { record, epoch: child.epoch, ended, seen, login, latest });
                }
                child.is_none()
            };
            if gone {
                self.end(&[*child.id()]).await?;
            }
        }
        self.end(&[*old]).await
    }

    /// Ends sessions and all that came from them. At once in memory; an error means that they may be back after a restart.
    pub async fn end(&self, ids: &[SecretHash]) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        let _change = self.changes.begin();
        {
            let mut table = self.write();
            let all: Vec<SecretHash> = ids.iter().flat_map(|id| table.children.of(id)).chain(ids).copied().collect();
            table.remove_these(all);
            table.note_ended(ids.iter().copied());
        }
        self.store.end_sessions(ids).await
    }

    /// Ends every session of a person; says how many there were.
    pub async fn end_person(&self, person: PersonId) -> Result<usize, StoreError> {
        let _change = self.changes.begin();
        let ids: Vec<_> = {
            let mut table = self.write();
            let theirs: Vec<SecretHash> = table.people.of(&person).copied().collect();
            let ended = table.remove_these(theirs);
            let ids: Vec<_> = ended.iter().map(|session| *session.id()).collect();
            table.note_ended(ids.iter().copied());
            ids
        };
        self.store.end_sessions(&ids).await?;
        Ok(ids.len())
    }

    /// Writes down when sessions were last used, so that it is known after a restart.
    pub async fn write_uses(&self) -> Result<(), StoreError> {
        let used = |session: &Arc<Session>| {
            let at = session.seen.at.load(Relaxed);
            (at > session.seen.written.load(Relaxed)).then(|| (session.clone(), UnixTime(at)))
        };
        let used: Vec<_> = self.read().sessions.values().filter_map(used).collect();
        if used.is_empty() {
            return Ok(());
        }
        let uses: Vec<_> = used.iter().map(|(session, at)| (*session.id(), *at)).collect();
        self.store.touch_sessions(&uses).await?;
        used.iter().for_each(|(session, at)| session.seen.written.store(at.0, Relaxed));
        Ok(())
    }

    /// Forgets what has expired at `now`, and what a clock that was wrong began after it; the store sweeps its own.
    pub fn sweep(&self, now: UnixTime) {
        let mut table = self.write();
        let latest = now.plus(FUTURE);
        table.remove(|session| session.expires() <= now || session.created() > latest);
        table.sessions.values().for_each(|session| session.seen.take_back(now, latest));
        table.logins.values().for_each(|login| login.take_back(now, latest));
        // What nobody shares any more.
        table.logins.retain(|_, login| Arc::strong_count(login) > 1);
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("count", &self.read().sessions.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tunnel_auth::SessionId;
    use tunnel_proto::{EmailAddress, Identity};

    use super::*;
    use crate::store::{DATABASE_NAME, ISSUER_MAILBOX, sqlite::SqliteStore};

    fn record(id: u8, host: &str, parent: Option<u8>, person: u8, expires: u64) -> SessionRecord {
        SessionRecord {
            id: [id; 32],
            kind: SessionKind::Browser,
            device: None,
            source: None,
            host: host.parse().unwrap(),
            parent: parent.map(|parent| [parent; 32]),
            identity: Identity {
                person: PersonId::from_bytes([person; 16]),
                email: "ann@example.com".parse::<EmailAddress>().unwrap(),
                method: "pin".parse().unwrap(),
                authenticated: UnixTime(0),
            },
            issuer: ISSUER_MAILBOX.to_owned(),
            attributes: Attributes::default(),
            created: UnixTime(0),
            seen: UnixTime(0),
            expires: UnixTime(expires),
            grants: Vec::new(),
        }
    }

    // S1
    #[tokio::test]
    async fn a_cookie_is_no_token_and_a_token_no_cookie_and_each_is_for_one_host() {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&dir.path().join(DATABASE_NAME)).await.unwrap());
        let sessions = Sessions::load(store.clone(), UnixTime(0)).await.unwrap();
        let (a, b): (Hostname, Hostname) = ("a.example.com".parse().unwrap(), "b.example.com".parse().unwrap());
        let now = UnixTime(1);
        let (id, token) = (SessionId::from_random([7; 32]), ClientToken::from_random([7; 32]));
        let cookie = |value: &str| [HeaderValue::try_from(format!("{}={value}", cookie::SESSION_COOKIE)).unwrap()];
        let browser = SessionRecord { id: id.hash(), ..record(1, a.as_str(), None, 1, 10) };
        let client = SessionRecord { id: token.hash(), kind: SessionKind::Client, ..browser.clone() };
        sessions.start(browser.clone(), now).await.unwrap();
        assert!(sessions.find(&a, &cookie(&id.reveal()), now).is_some());
        assert!(sessions.find_client(&a, &token, now).is_none(), "the same bytes hash for one purpose only");
        sessions.start(client.clone(), now).await.unwrap();
        for sessions in [sessions, Sessions::load(store, now).await.unwrap()] {
            assert!(sessions.find_client(&a, &token, now).is_some());
            assert!(sessions.find_client(&b, &token, now).is_none(), "for another host");
            assert!(sessions.find_client(&a, &token, UnixTime(10)).is_none(), "expired");
            // Whatever the hashes say, the kind decides.
            let odd = SessionRecord { id: SessionId::from_random([8; 32]).hash(), ..client.clone() };
            sessions.start(odd, now).await.unwrap();
            assert!(sessions.find(&a, &cookie(&SessionId::from_random([8; 32]).reveal()), now).is_none());
            let odd = SessionRecord { id: ClientToken::from_random([9; 32]).hash(), ..browser.clone() };
            sessions.start(odd, now).await.unwrap();
            assert!(sessions.find_client(&a, &ClientToken::from_random([9; 32]), now).is_none());
        }
    }

    // S10
    #[test]
    fn what_came_from_a_login_and_what_is_whose_is_what_looking_at_every_session_finds() {
        let mut table = Table::default();
        let same = |table: &Table| {
            for one in 0..8_u8 {
                let ids = |found: Vec<&Arc<Session>>| found.iter().map(|one| *one.id()).collect::<HashSet<_>>();
                let all = || table.sessions.values();
                let (login, person) = ([one; 32], PersonId::from_bytes([one; 16]));
                let children = all().filter(|session| session.parent() == Some(&login)).collect();
                assert_eq!(ids(table.children(&login).collect()), ids(children));
                let theirs = all().filter(|session| session.identity().person == person).collect();
                assert_eq!(ids(table.of_person(person).collect()), ids(theirs));
            }
        };
        let mut state = 7_u64;
        let mut next = |most: u8| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            u8::try_from((state >> 40) & 0xff).unwrap() % most
        };
        for _ in 0..2_000 {
            let (id, parent, person) = (next(16), next(8), next(8));
            match next(4) {
                // Also in the place of one that there is, with another login or person.
                0..2 => {
                    drop(table.insert(record(id, "a.example.com", Some(parent).filter(|one| *one > 3), person, 10)))
                }
                2 => drop(table.remove_these([[id; 32], [parent; 32]])),
                _ => drop(table.remove(|session| session.identity().person == PersonId::from_bytes([person; 16]))),
            }
            same(&table);
        }
        table.remove(|_| true);
        assert!(table.children.0.is_empty() && table.people.0.is_empty());
    }

    // F16, S5
    #[tokio::test]
    async fn what_a_clock_that_was_wrong_noted_keeps_nobody_from_being_idle_or_asked_about() {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&dir.path().join(DATABASE_NAME)).await.unwrap());
        let sessions = Sessions::load(store.clone(), UnixTime(0)).await.unwrap();
        let (now, wrong) = (UnixTime(1000), UnixTime(500_000));
        let session = sessions.start(record(1, "access.example.com", None, 1, 900_000), now).await.unwrap();
        session.touch(wrong);
        session.login.confirm(wrong);
        sessions.sweep(wrong);
        assert_eq!((session.seen(), session.vouched()), (wrong, Vouched::Last(wrong)), "while it counts");
        sessions.sweep(now);
        assert_eq!((session.seen(), session.login.used(), session.vouched()), (now, now, Vouched::Last(now)));
        let limit = Some(Duration::from_secs(60));
        assert!(session.is_idle(limit, UnixTime(1061)) && session.is_login_idle(limit, UnixTime(1061)));
        // What is used from then on is written down.
        session.touch(UnixTime(2000));
        sessions.write_uses().await.unwrap();
        assert_eq!(store.sessions(now).await.unwrap()[0].seen, UnixTime(2000));
    }

    // S10
    #[tokio::test]
    async fn what_outlived_its_login_ends_with_the_browsers_next_one() {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&dir.path().join(DATABASE_NAME)).await.unwrap());
        let sessions = Sessions::load(store.clone(), UnixTime(0)).await.unwrap();
        for begun in [
            record(1, "access.example.com", None, 1, 10),
            record(2, "a.example.com", Some(1), 1, 1000),
            record(3, "b.example.com", Some(1), 2, 1000),
        ] {
            sessions.start(begun, UnixTime(1)).await.unwrap();
        }
        // The login has lapsed and is forgotten; the browser's cookie still names it.
        let now = UnixTime(20);
        sessions.sweep(now);
        assert_eq!(sessions.list(now).len(), 2);
        let login = sessions.start(record(9, "access.example.com", None, 1, 1000), now).await.unwrap();
        sessions.succeed(&[1; 32], &login, now).await.unwrap();
        let left: Vec<_> = sessions.list(now).iter().map(|one| (*one.id(), one.parent().copied())).collect();
        assert_eq!(left, [([2; 32], Some([9; 32])), ([9; 32], None)], "another person's ends, one's own follows");
        sessions.end(&[[9; 32]]).await.unwrap();
        assert!(sessions.list(now).is_empty(), "a logout ends it");
        assert!(Sessions::load(store, now).await.unwrap().list(now).is_empty(), "also after a restart");
    }
}
