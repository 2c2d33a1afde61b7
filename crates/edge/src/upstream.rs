//! Streams to services: opened on the least busy link (`upstream/opening.rs`), kept while they are certainly in step, used again.
//!
//! A stream carries the requests of many visitors, one after the other, and no identity of its own. It is used again only
//! when its request was sent whole and its answer read whole and hyper agrees; one that saw NTLM or Negotiate, by which
//! services authenticate the connection, serves the session that it saw and no other (S1c); while the service waits for the answer
//! to a challenge, only the visitor's connection that got it. Where the service speaks HTTP/2,
//! a stream carries many requests at a time (`upstream/shared.rs`).

mod opening;
mod order;
mod outages;
mod shared;
mod unheard;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use futures::future::Either;
use http::Request;
use hyper::{
    body::Incoming,
    client::conn::{
        TrySendError,
        http1::{self, SendRequest},
    },
};
use hyper_util::rt::TokioIo;
use tunnel_proto::{
    LinkId, Revision, RuleId,
    link::Link,
    message::{Open, ServiceKind},
};

use crate::{Visit, listen::Place, pages::Failure, registry::Candidate, store::SecretHash};

pub(crate) use self::opening::{NotOpened, open};

use self::{
    outages::Outages,
    shared::{Seat, Shared},
    unheard::{Counted, Unheard},
};
use super::forward::RequestBody;

/// Idle streams kept for one rule of one link.
const IDLE_PER_RULE: usize = 32;
/// And for all rules and sessions of one link, far below the streams that it may carry: those are for requests. As many
/// connections that speak HTTP/2 are kept beside them.
const KEPT_PER_LINK: usize = 128;
/// How long an idle stream is kept; shorter than most services close theirs.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// How long one may have been idle for a request that is not sent again: a service that closes it meanwhile would cost the
/// request, and many keep theirs for a few seconds only.
const IDLE_MAX_ONCE: Duration = Duration::from_secs(2);
/// How long a stream may take to be ready for its next request after its answer was read.
const READY_PATIENCE: Duration = Duration::from_secs(1);
/// The largest head of an answer, in bytes (T11).
const HEAD_MAX: usize = 64 * 1024;

/// Connections kept for one rule of one link that speak HTTP/2.
const SHARED_PER_RULE: usize = 8;

/// A stream that speaks HTTP/1.1.
struct Sender {
    http: SendRequest<RequestBody>,
    unheard: Arc<Unheard>,
}

/// Streams that can be used again: idle ones that speak HTTP/1.1, and all that speak HTTP/2.
#[derive(Default)]
pub struct Pool {
    idle: Mutex<Kept<Idle<Sender, Place>>>,
    shared: Mutex<Kept<Arc<Shared>>>,
    outages: Outages,
}

/// What is kept for each link: by what it may be used for, what was used last behind the others.
type Kept<T> = HashMap<LinkId, HashMap<Key, Vec<T>>>;

/// A stream that nobody uses.
struct Idle<S, P> {
    stream: S,
    since: Instant,
    /// The visitor's connection that a service has challenged by it: it knows the answer by nothing but the stream.
    awaits: Option<Weak<P>>,
}

impl<S, P> Idle<S, P> {
    fn awaited(&self) -> Option<Arc<P>> {
        self.awaits.as_ref().and_then(Weak::upgrade)
    }

    /// Whether it waits for the answer of this very connection.
    fn awaits(&self, visitor: Option<&Arc<P>>) -> bool {
        self.awaited().is_some_and(|awaited| visitor.is_some_and(|visitor| Arc::ptr_eq(visitor, &awaited)))
    }

    /// Whether a request of this connection disturbs nobody on it.
    fn is_for(&self, visitor: Option<&Arc<P>>) -> bool {
        self.awaited().is_none() || self.awaits(visitor)
    }
}

/// Takes the stream that was used last of those that fit and still work, if it has not been idle for too long.
fn pick<S, P>(
    kept: &mut Vec<Idle<S, P>>,
    idle_max: Duration,
    fits: impl Fn(&Idle<S, P>) -> bool,
    works: impl Fn(&S) -> bool,
) -> Option<S> {
    let now = Instant::now();
    loop {
        let (at, newest) = kept.iter().enumerate().rev().find(|(_, idle)| fits(idle))?;
        if works(&newest.stream) {
            // Those before it have been idle for longer.
            let is_fresh = now.saturating_duration_since(newest.since) < idle_max;
            return is_fresh.then(|| kept.remove(at).stream);
        }
        kept.remove(at);
    }
}

impl<P> Idle<Sender, P> {
    /// Whether it is worth being kept at `now`.
    fn is_kept(&self, now: Instant) -> bool {
        !self.stream.http.is_closed() && now.saturating_duration_since(self.since) < IDLE_MAX
    }
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    link: LinkId,
    revision: Revision,
    rule: RuleId,
    owner: Option<SecretHash>,
}

/// The way back to the pool for a stream that is in use. Dropped, the stream is closed.
pub(crate) struct Lease {
    pool: Arc<Pool>,
    key: Key,
    speaks: Speaks,
    link: Link,
    host_header: Option<String>,
    tls: bool,
    /// Nobody has it after this request.
    is_last: bool,
    /// Whose next request it has to carry first.
    awaits: Option<Weak<Place>>,
}

/// Whose a fresh stream is.
#[derive(Clone, Copy)]
pub(crate) enum Whose {
    /// Everybody's.
    Everybodys,
    /// One session's.
    Only(SecretHash),
    /// This one request's, whoever asks.
    Nobodys,
}

impl Whose {
    /// One that a service may tie to `owner`.
    pub(crate) fn tied_to(owner: Option<SecretHash>) -> Self {
        owner.map_or(Self::Nobodys, Self::Only)
    }
}

/// How a stream is spoken to.
enum Speaks {
    Http1(Sender),
    Http2(Seat),
}

impl Lease {
    fn new(pool: &Arc<Pool>, candidate: &Candidate, key: Key, speaks: Speaks) -> Self {
        let (link, http) = (candidate.uplink.link.clone(), &candidate.rule.http);
        let (host_header, tls) = (http.host_header.clone(), http.tls);
        Self { pool: pool.clone(), key, speaks, link, host_header, tls, is_last: false, awaits: None }
    }

    /// Sends a request. Dropping what this gives resets it.
    pub(crate) fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<http::Response<Incoming>, TrySendError<Request<RequestBody>>>> {
        match &mut self.speaks {
            Speaks::Http1(sender) => {
                sender.unheard.heard();
                Either::Left(sender.http.try_send_request(request))
            }
            Speaks::Http2(seat) => Either::Right(seat.sender.try_send_request(request)),
        }
    }

    /// Some of an answer has come.
    pub(crate) fn heard(&self) {
        if let Speaks::Http1(sender) = &self.speaks {
            sender.unheard.heard();
        }
    }

    /// The stream has changed its protocol.
    pub(crate) fn switch(&self) {
        if let Speaks::Http1(sender) = &self.speaks {
            sender.unheard.switch();
        }
    }

    /// Whether HTTP/2 is spoken on it.
    pub(crate) const fn is_http2(&self) -> bool {
        matches!(self.speaks, Speaks::Http2(_))
    }

    /// The `Host` that the service at its end wants to see, if not the visitor's.
    pub(crate) fn host_header(&self) -> Option<&str> {
        self.host_header.as_deref()
    }

    /// The scheme of the addresses at its service.
    pub(crate) const fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// The link that carries it.
    pub(crate) const fn link(&self) -> &Link {
        &self.link
    }

    /// Ties the stream to a session for good; one that others are using, or that is tied to nobody in particular, takes no more
    /// requests instead. Where the service has `challenged` a connection of the visitor's, that one's answer comes first.
    pub(crate) fn own(&mut self, session: Option<SecretHash>, challenged: Option<&Arc<Place>>) {
        match (&self.speaks, session) {
            (Speaks::Http1(_), Some(_)) => {
                self.key.owner = session;
                self.awaits = challenged.map(Arc::downgrade);
            }
            (Speaks::Http1(_), None) => self.is_last = true,
            (Speaks::Http2(seat), _) if session.is_none() || self.key.owner.is_none() => seat.retire(),
            (Speaks::Http2(_), _) => {}
        }
    }

    /// Gives the stream back once it is ready for another request; closes it when it is not soon.
    pub(crate) fn release(self) {
        let Self { pool, key, speaks, link, is_last, awaits, .. } = self;
        let Speaks::Http1(mut sender) = speaks else { return };
        if is_last {
            return;
        }
        // Mostly whoever has read an answer to its end does so when the stream has.
        if sender.http.is_ready() {
            if !link.is_draining() {
                pool.put(key, sender, awaits);
            }
            return;
        }
        tokio::spawn(async move {
            let ready = tokio::time::timeout(READY_PATIENCE, sender.http.ready()).await;
            if matches!(ready, Ok(Ok(()))) && !link.is_draining() {
                pool.put(key, sender, awaits);
            }
        });
    }
}

impl Pool {
    /// A stream that can be used again: one that waits for this very connection of the `visitor`, else the session's own if there
    /// is one on any link, else a common one. What is `personal` goes on no connection that others use at the same time; what can
    /// be `repeated` may meet a stream's end.
    pub(crate) fn take(
        self: &Arc<Self>,
        candidates: &[Candidate],
        session: Option<SecretHash>,
        personal: bool,
        repeated: bool,
        visitor: Option<&Arc<Place>>,
    ) -> Option<Lease> {
        let own = |candidate: &Candidate| Some(Key { owner: Some(session?), ..Key::of(candidate) });
        let awaiting =
            |candidate: &Candidate| self.take_by(candidate, own(candidate)?, repeated, |idle| idle.awaits(visitor));
        let owned =
            |candidate: &Candidate| self.take_by(candidate, own(candidate)?, repeated, |idle| idle.is_for(visitor));
        let common = |candidate: &Candidate| {
            let alone = candidate.rule.kind != ServiceKind::H2c || !personal;
            if alone { self.take_by(candidate, Key::of(candidate), repeated, |_| true) } else { None }
        };
        let awaiting = candidates.iter().find_map(awaiting);
        awaiting.or_else(|| candidates.iter().find_map(owned)).or_else(|| candidates.iter().find_map(common))
    }

    fn take_by(
        self: &Arc<Self>,
        candidate: &Candidate,
        key: Key,
        repeated: bool,
        fits: impl Fn(&Idle<Sender, Place>) -> bool,
    ) -> Option<Lease> {
        if candidate.rule.kind == ServiceKind::H2c {
            let seat = self.shared().get(&key.link)?.get(&key)?.iter().find_map(Shared::seat)?;
            return Some(Lease::new(self, candidate, key, Speaks::Http2(seat)));
        }
        let idle_max = if repeated { IDLE_MAX } else { IDLE_MAX_ONCE };
        let mut idle = self.idle();
        let of_link = idle.get_mut(&key.link)?;
        let kept = of_link.get_mut(&key)?;
        let taken = pick(kept, idle_max, fits, |stream| stream.http.is_ready());
        // Of those that are not a session's own there will be more in a moment.
        if kept.is_empty() && key.owner.is_some() {
            of_link.remove(&key);
        }
        drop(idle);
        Some(Lease::new(self, candidate, key, Speaks::Http1(taken?)))
    }

    fn put(&self, key: Key, stream: Sender, awaits: Option<Weak<Place>>) {
        let mut idle = self.idle();
        let of_link = idle.entry(key.link).or_default();
        let has_room = has_room(of_link);
        let kept = of_link.entry(key).or_default();
        let now = Instant::now();
        if kept.len() >= IDLE_PER_RULE {
            kept.retain(|idle| idle.is_kept(now));
        }
        if has_room && kept.len() < IDLE_PER_RULE {
            kept.push(Idle { stream, since: now, awaits });
        }
    }

    /// Keeps a connection for others to share.
    fn share(&self, key: Key, connection: Arc<Shared>) {
        let mut shared = self.shared();
        let of_link = shared.entry(key.link).or_default();
        let has_room = has_room(of_link);
        let kept = of_link.entry(key).or_default();
        kept.retain(|connection| connection.is_kept());
        if has_room && kept.len() < SHARED_PER_RULE {
            kept.push(connection);
        }
    }

    /// Closes every idle stream on a link, which is to end.
    pub(crate) fn forget(&self, link: LinkId) {
        self.idle().remove(&link);
        self.shared().remove(&link);
    }

    /// Closes streams that have been idle for long. Called now and then.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        retain(&mut self.idle(), |idle| idle.is_kept(now));
        retain(&mut self.shared(), |connection| connection.is_kept());
        self.outages.sweep(Instant::now());
    }

    fn shared(&self) -> MutexGuard<'_, Kept<Arc<Shared>>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> MutexGuard<'_, Kept<Idle<Sender, Place>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether another stream of a link may be kept beside these.
fn has_room<T>(of_link: &HashMap<Key, Vec<T>>) -> bool {
    of_link.values().map(Vec::len).sum::<usize>() < KEPT_PER_LINK
}

/// Closes what is not `wanted` any more, and leaves no room for what is not there.
fn retain<T>(kept: &mut Kept<T>, wanted: impl Fn(&T) -> bool) {
    kept.retain(|_, of_link| {
        of_link.retain(|_, kept| {
            kept.retain(|one| wanted(one));
            !kept.is_empty()
        });
        !of_link.is_empty()
    });
}

impl Key {
    fn of(candidate: &Candidate) -> Self {
        Self { link: candidate.uplink.link.id(), revision: candidate.revision, rule: candidate.rule.id, owner: None }
    }
}

/// A fresh stream to the service, on the first of `candidates` that takes it, spoken to as its rule says, and `whose` from the
/// beginning.
pub(crate) async fn connect(
    pool: &Arc<Pool>,
    candidates: &[Candidate],
    visit: &Visit,
    whose: Whose,
) -> Result<Lease, Failure> {
    let opening = |on: &Candidate| Open::new(on.revision, on.rule.id, visit.source, crate::random());
    let (candidate, stream) = open(pool, candidates, opening).await?;
    let (owner, is_last) = match whose {
        Whose::Everybodys => (None, false),
        Whose::Only(owner) => (Some(owner), false),
        Whose::Nobodys => (None, true),
    };
    let key = Key { owner, ..Key::of(&candidate) };
    if candidate.rule.kind == ServiceKind::H2c {
        let connection = Shared::begin(stream).await.map_err(|_| Failure::BadAnswer)?;
        let seat = connection.seat().ok_or(Failure::BadAnswer)?;
        if !is_last {
            pool.share(key.clone(), connection);
        }
        return Ok(Lease { is_last, ..Lease::new(pool, &candidate, key, Speaks::Http2(seat)) });
    }
    let unheard = Arc::<Unheard>::default();
    let (http, connection) = http1::Builder::new()
        .max_buf_size(HEAD_MAX)
        // A buffer of that size may come to hold a head that is larger.
        .max_header_size(HEAD_MAX)
        .handshake(TokioIo::new(Counted::new(stream, unheard.clone())))
        .await
        .map_err(|_| Failure::BadAnswer)?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a stream to a service ended");
        }
    });
    let speaks = Speaks::Http1(Sender { http, unheard });
    Ok(Lease { is_last, ..Lease::new(pool, &candidate, key, speaks) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_an_answer_is_for_the_connection_that_was_challenged_while_that_lasts() {
        // S1c
        let (one, other) = (Arc::new(()), Arc::new(()));
        let idle = |stream, awaits: Option<&Arc<()>>| Idle {
            stream,
            since: Instant::now(),
            awaits: awaits.map(Arc::downgrade),
        };
        let mut kept = vec![idle("free", None), idle("one's", Some(&one)), idle("the other's", Some(&other))];
        let long = Duration::from_secs(600);
        let works = |_: &&str| true;
        assert_eq!(pick(&mut kept, long, |idle| idle.awaits(None), works), None);
        assert_eq!(pick(&mut kept, long, |idle| idle.awaits(Some(&one)), works), Some("one's"));
        assert_eq!(pick(&mut kept, long, |idle| idle.awaits(Some(&one)), works), None);
        assert_eq!(pick(&mut kept, Duration::ZERO, |idle| idle.is_for(Some(&one)), works), None, "idle for too long");
        assert_eq!(pick(&mut kept, long, |idle| idle.is_for(Some(&one)), works), Some("free"));
        assert_eq!(pick(&mut kept, long, |idle| idle.is_for(Some(&one)), works), None);
        drop(other);
        assert_eq!(
            pick(&mut kept, long, |idle| idle.is_for(Some(&one)), works),
            Some("the other's"),
            "nobody will answer"
        );
    }

    #[test]
    fn what_is_kept_leaves_a_link_room_for_requests() {
        // S1c
        let key = |owner| Key {
            link: LinkId::from_bytes([1; 16]),
            revision: Revision(1),
            rule: RuleId(0),
            owner: Some([owner; 32]),
        };
        let mut kept: HashMap<Key, Vec<()>> = (0..127).map(|owner| (key(owner), vec![()])).collect();
        assert!(has_room(&kept));
        kept.insert(key(127), vec![()]);
        assert!(!has_room(&kept));
    }

    #[test]
    fn what_has_ended_is_passed_over_and_forgotten() {
        let idle = |stream| Idle::<_, ()> { stream, since: Instant::now(), awaits: None };
        let mut kept = vec![idle("old"), idle("ended"), idle("works"), idle("ended")];
        let mut next = || pick(&mut kept, Duration::from_secs(600), |_| true, |stream| *stream != "ended");
        assert_eq!([next(), next(), next()], [Some("works"), Some("old"), None]);
        assert!(kept.is_empty());
    }
}
