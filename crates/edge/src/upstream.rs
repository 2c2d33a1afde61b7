//! Streams to services: opened on the least busy link, kept while they are certainly in step, used again.
//!
//! A stream carries the requests of many visitors, one after the other, and no identity of its own. It is used again only
//! when its request was sent whole and its answer read whole and hyper agrees; one that saw NTLM or Negotiate, by which
//! services authenticate the connection, serves the session that it saw and no other (S1c).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tunnel_proto::{
    LinkId, Revision, RuleId,
    link::{Link, OpenError, Stream},
    message::{Open, StreamRefusal, StreamRefused},
};

use crate::{Visit, pages::Failure, registry::Candidate, store::SecretHash};

use super::forward::RequestBody;

/// Idle streams kept for one rule of one link.
const IDLE_PER_RULE: usize = 32;
/// How long an idle stream is kept; shorter than most services close theirs.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// How long a stream may take to be ready for its next request after its answer was read.
const READY_PATIENCE: Duration = Duration::from_secs(1);
/// Links that are tried for one request.
const LINKS_TRIED: usize = 4;
/// How long a link may take to have room for another opening, before the next link is tried.
const OPEN_PATIENCE: Duration = Duration::from_secs(5);
/// How long a connector may take to connect to its service and say so; its own limit is 30 s.
const ANSWER_PATIENCE: Duration = Duration::from_secs(35);
/// The largest head of an answer, in bytes (T11).
const HEAD_MAX: usize = 64 * 1024;

/// A stream that speaks HTTP/1.1.
pub(crate) type Sender = SendRequest<RequestBody>;

/// Idle streams.
#[derive(Default)]
pub struct Pool {
    idle: Mutex<HashMap<Key, Vec<(Sender, Instant)>>>,
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
    sender: Sender,
    link: Link,
    host_header: Option<String>,
}

impl Lease {
    /// The stream.
    pub(crate) fn sender(&mut self) -> &mut Sender {
        &mut self.sender
    }

    /// The `Host` that the service at its end wants to see, if not the visitor's.
    pub(crate) fn host_header(&self) -> Option<&str> {
        self.host_header.as_deref()
    }

    /// Ties the stream to a session for good.
    pub(crate) fn own(&mut self, session: SecretHash) {
        self.key.owner = Some(session);
    }

    /// Gives the stream back once it is ready for another request; closes it when it is not soon.
    pub(crate) fn release(mut self) {
        tokio::spawn(async move {
            let ready = tokio::time::timeout(READY_PATIENCE, self.sender.ready()).await;
            if matches!(ready, Ok(Ok(()))) && !self.link.is_draining() {
                self.pool.clone().put(self.key, self.sender);
            }
        });
    }
}

impl Pool {
    /// An idle stream for `candidate`: the session's own if there is one, else a common one.
    pub(crate) fn take(self: &Arc<Self>, candidate: &Candidate, session: &SecretHash) -> Option<Lease> {
        let common = Key::of(candidate);
        let own = Key { owner: Some(*session), ..common.clone() };
        let mut idle = self.idle();
        [own, common].into_iter().find_map(|key| {
            let kept = idle.get_mut(&key)?;
            while let Some((sender, since)) = kept.pop() {
                if sender.is_ready() && since.elapsed() < IDLE_MAX {
                    let (link, host_header) = (candidate.uplink.link.clone(), candidate.rule.http.host_header.clone());
                    return Some(Lease { pool: self.clone(), key, sender, link, host_header });
                }
            }
            idle.remove(&key);
            None
        })
    }

    fn put(&self, key: Key, sender: Sender) {
        let mut idle = self.idle();
        let kept = idle.entry(key).or_default();
        kept.retain(|(sender, since)| !sender.is_closed() && since.elapsed() < IDLE_MAX);
        if kept.len() < IDLE_PER_RULE {
            kept.push((sender, Instant::now()));
        }
    }

    /// Closes every idle stream on a link, which is to end.
    pub(crate) fn forget(&self, link: LinkId) {
        self.idle().retain(|key, _| key.link != link);
    }

    /// Closes streams that have been idle for long. Called now and then.
    pub(crate) fn sweep(&self) {
        self.idle().retain(|_, kept| {
            kept.retain(|(sender, since)| !sender.is_closed() && since.elapsed() < IDLE_MAX);
            !kept.is_empty()
        });
    }

    fn idle(&self) -> MutexGuard<'_, HashMap<Key, Vec<(Sender, Instant)>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Key {
    fn of(candidate: &Candidate) -> Self {
        Self { link: candidate.uplink.link.id(), revision: candidate.revision, rule: candidate.rule.id, owner: None }
    }
}

/// A fresh stream to the service, on the first of `candidates` that takes it, spoken to in HTTP/1.1.
pub(crate) async fn connect(pool: &Arc<Pool>, candidates: &[Candidate], visit: &Visit) -> Result<Lease, Failure> {
    let opening = |on: &Candidate| Open::new(on.revision, on.rule.id, visit.source, crate::random());
    let (candidate, stream) = open(candidates, opening).await?;
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_MAX)
        // A buffer of that size may come to hold a head that is larger.
        .max_header_size(HEAD_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_| Failure::BadAnswer)?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a stream to a service ended");
        }
    });
    let (link, host_header) = (candidate.uplink.link.clone(), candidate.rule.http.host_header.clone());
    Ok(Lease { pool: pool.clone(), key: Key::of(candidate), sender, link, host_header })
}

/// Why no stream to a service was opened.
#[derive(Debug)]
pub(crate) enum NotOpened {
    /// No link takes it.
    NoTunnel,
    /// Every link carries as many streams as it may.
    Busy,
    /// The connector or its service did not answer in time.
    Slow,
    /// Something is wrong with the edge itself.
    Broken,
    /// The connector refused.
    Refused(StreamRefused),
}

impl From<NotOpened> for Failure {
    fn from(not_opened: NotOpened) -> Self {
        match not_opened {
            NotOpened::NoTunnel => Self::NoTunnel,
            NotOpened::Busy => Self::Busy,
            NotOpened::Slow => Self::Slow,
            NotOpened::Refused(refused) if refused.code == StreamRefusal::ServiceTimeout => Self::Slow,
            NotOpened::Broken | NotOpened::Refused(_) => Self::BadAnswer,
        }
    }
}

/// Opens a stream on the first of `candidates` that takes it, and waits for the connector's answer. `opening` says what
/// the stream is for on a given link.
pub(crate) async fn open(
    candidates: &[Candidate],
    opening: impl Fn(&Candidate) -> Open,
) -> Result<(&Candidate, Stream), NotOpened> {
    let mut failure = NotOpened::NoTunnel;
    for candidate in candidates.iter().take(LINKS_TRIED) {
        let opened = tokio::time::timeout(OPEN_PATIENCE, candidate.uplink.link.open(opening(candidate))).await;
        let mut stream = match opened.unwrap_or(Err(OpenError::TooManyStreams)) {
            Ok(stream) => stream,
            Err(OpenError::TooManyStreams) => {
                failure = NotOpened::Busy;
                continue;
            }
            Err(OpenError::Closed | OpenError::Draining) => continue,
            Err(error) => {
                tracing::error!(%error, "a stream cannot be opened");
                return Err(NotOpened::Broken);
            }
        };
        match tokio::time::timeout(ANSWER_PATIENCE, stream.accepted()).await {
            Ok(Ok(())) => return Ok((candidate, stream)),
            Err(_) => return Err(NotOpened::Slow),
            Ok(Err(error)) => match refusal(&error) {
                None => {}
                Some(refused) => {
                    tracing::debug!(code = %refused.code, tunnel = %candidate.uplink.tunnel, "a stream was refused");
                    match refused.code {
                        StreamRefusal::TooManyStreams => failure = NotOpened::Busy,
                        StreamRefusal::Draining | StreamRefusal::StaleTable | StreamRefusal::UnknownRule => {}
                        _ => return Err(NotOpened::Refused(refused.clone())),
                    }
                }
            },
        }
    }
    Err(failure)
}

fn refusal(error: &std::io::Error) -> Option<&StreamRefused> {
    error.get_ref()?.downcast_ref()
}
