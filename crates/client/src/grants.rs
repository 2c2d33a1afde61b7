//! One link to an edge, and what may be opened on it.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use tokio::{
    sync::{broadcast, oneshot},
    time::timeout,
};
use tunnel_proto::{
    GrantId, Hostname, UnixTime, faults,
    link::{Connected, Control, ControlSender, Link, LinkEnd},
    message::{Credential, CutReason, DrainReason, Message, Present, Refused, RevokedReason},
};

use crate::{error::Error, event::Event, text::plain};

/// Time for the edge to answer a credential.
const GRANT_LIMIT: Duration = Duration::from_secs(15);
/// Grants that a link remembers to have ended, to tell their streams why.
const ENDED_MAX: usize = 256;
/// How long ago the word of why a stream was cut may have come for it to be about the stream at hand.
const CUT_RECENTLY: Duration = Duration::from_secs(2);
/// By how much two clocks of this machine may part before it must have slept: a link does not outlive a sleep.
const SLEPT: Duration = Duration::from_secs(5);
/// How long an edge may be silent when something is opened. Another link is up in as long, so that all is done in 3 s.
const SILENCE: Duration = Duration::from_millis(1500);
/// Round trips that it may be silent for, on a path on which they take long.
const SLOW_PATH: u32 = 3;

/// A link that is up.
pub(crate) struct LiveLink {
    pub(crate) link: Link,
    sender: ControlSender,
    next: AtomicU32,
    grants: Mutex<Grants>,
    /// When it came up, by the clock that stands still while the machine sleeps and by the one that does not.
    began: (Instant, SystemTime),
}

#[derive(Default)]
struct Grants {
    live: HashMap<Hostname, (GrantId, UnixTime)>,
    waiting: HashMap<GrantId, oneshot::Sender<Result<UnixTime, Refused>>>,
    ended: HashMap<GrantId, RevokedReason>,
    /// What the edge said last about a stream that it cut, and when.
    cut: HashMap<GrantId, (Instant, CutReason)>,
    /// Nothing more is opened here.
    over: bool,
}

impl LiveLink {
    /// Takes a link that has just come up. A task of its own follows what the edge says, until the link is over.
    pub(crate) fn new(connected: Connected, edge: String, events: broadcast::Sender<Event>) -> Arc<Self> {
        let Connected { link, control, .. } = connected;
        let live = Arc::new(Self {
            link,
            sender: control.sender(),
            next: AtomicU32::new(1),
            grants: Mutex::default(),
            began: (Instant::now(), SystemTime::now()),
        });
        // Weak: whoever uses the link keeps it, and not the task, which ends with the link.
        tokio::spawn(follow(Arc::downgrade(&live), live.link.clone(), control, edge, events));
        live
    }

    /// Whether new streams may be opened here.
    pub(crate) fn is_usable(&self) -> bool {
        !self.link.is_draining() && self.link.room() > 0 && !self.grants().over && !self.slept()
    }

    /// Waits until it is plain that the link should not be waited for: the network changed under it, and nobody could tell us.
    /// On a slow path an answer takes its time.
    pub(crate) async fn silence(&self) {
        let patience = self.link.rtt().map_or(SILENCE, |rtt| SILENCE.max(rtt.saturating_mul(SLOW_PATH)));
        self.link.silence(patience).await;
    }

    /// Opens nothing more here. What is open goes on.
    pub(crate) fn leave(&self) {
        self.grants().over = true;
    }

    /// Whether the machine slept since the link came up. The other side has given it up, and nobody could tell us.
    fn slept(&self) -> bool {
        let (monotonic, wall) = self.began;
        slept(monotonic.elapsed(), wall.elapsed().unwrap_or_default())
    }

    /// The grant for a host, if there is one.
    pub(crate) fn grant(&self, host: &Hostname, now: UnixTime) -> Option<GrantId> {
        self.grants().live.get(host).filter(|(_, expires)| *expires > now).map(|(grant, _)| *grant)
    }

    /// Why a grant is over, if it is.
    pub(crate) fn why_ended(&self, grant: GrantId) -> Option<RevokedReason> {
        self.grants().ended.get(&grant).copied()
    }

    /// Why a stream on a grant was cut just now, if the edge said.
    pub(crate) fn why_cut(&self, grant: GrantId) -> Option<CutReason> {
        let grants = self.grants();
        grants.cut.get(&grant).filter(|(said, _)| said.elapsed() < CUT_RECENTLY).map(|(_, reason)| *reason)
    }

    /// Presents a credential for a host.
    pub(crate) async fn present(&self, host: &Hostname, credential: Credential) -> Result<GrantId, Error> {
        let grant = GrantId(self.next.fetch_add(1, Ordering::Relaxed));
        let (sender, answer) = oneshot::channel();
        self.grants().waiting.insert(grant, sender);
        let asking = async {
            let present = Present { grant, hostname: host.clone(), credential };
            if self.sender.send(present).await.is_err() {
                return Err(Error::Lost(self.link.closed().await));
            }
            match answer.await {
                Ok(Ok(expires)) => Ok(expires),
                Ok(Err(refused)) => {
                    Err(Error::Refused { host: host.to_string(), code: refused.code, text: plain(&refused.text) })
                }
                Err(_) => Err(Error::Lost(self.link.closed().await)),
            }
        };
        let answered = timeout(GRANT_LIMIT, asking).await;
        let mut grants = self.grants();
        grants.waiting.remove(&grant);
        let expires = answered.map_err(|_| Error::Late { at: "the edge".to_owned() })??;
        grants.live.insert(host.clone(), (grant, expires));
        Ok(grant)
    }

    /// Forgets a grant that the edge does not know any more.
    pub(crate) fn forget(&self, host: &Hostname, grant: GrantId) {
        let mut grants = self.grants();
        if grants.live.get(host).is_some_and(|(live, _)| *live == grant) {
            grants.live.remove(host);
        }
    }

    fn said(&self, message: Message, events: &broadcast::Sender<Event>) {
        let mut grants = self.grants();
        match message {
            Message::Granted(granted) => {
                if let Some(waiting) = grants.waiting.remove(&granted.grant) {
                    // Whoever waited may have given up.
                    let _ = waiting.send(Ok(granted.expires));
                }
            }
            Message::Refused(refused) => {
                if let Some(waiting) = grants.waiting.remove(&refused.grant) {
                    let _ = waiting.send(Err(refused));
                }
            }
            Message::Revoked(revoked) => {
                let host = grants.live.iter().find(|(_, (grant, _))| *grant == revoked.grant);
                let Some(host) = host.map(|(host, _)| host.clone()) else { return };
                grants.live.remove(&host);
                if grants.ended.len() < ENDED_MAX {
                    grants.ended.insert(revoked.grant, revoked.reason);
                }
                let _ = events.send(Event::Revoked { host, reason: revoked.reason });
            }
            Message::Cut(cut) if grants.live.values().any(|(grant, _)| *grant == cut.grant) => {
                if grants.cut.len() >= ENDED_MAX {
                    grants.cut.retain(|_, (said, _)| said.elapsed() < CUT_RECENTLY);
                }
                if grants.cut.len() < ENDED_MAX {
                    grants.cut.insert(cut.grant, (Instant::now(), cut.reason));
                }
            }
            // Drain is the link's own business.
            _ => {}
        }
    }

    fn grants(&self) -> MutexGuard<'_, Grants> {
        self.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a machine slept, by the time that passed on the clock that stands still meanwhile and on the other one.
fn slept(awake: Duration, wall: Duration) -> bool {
    wall.saturating_sub(awake) > SLEPT
}

impl Drop for LiveLink {
    fn drop(&mut self) {
        self.link.close();
    }
}

async fn follow(
    live: Weak<LiveLink>,
    link: Link,
    mut control: Control,
    edge: String,
    events: broadcast::Sender<Event>,
) {
    let over = Over(live.clone());
    faults::at("grants");
    while let Some(message) = control.next().await {
        let Some(live) = live.upgrade() else { break };
        live.said(message, &events);
    }
    let end = link.closed().await;
    drop(over);
    // An edge that sent us to the process in its place ends the link once nothing is left on it: nobody misses it.
    let moved = end == LinkEnd::PeerClosed && link.is_draining() && link.draining().await == DrainReason::Upgrade;
    if end != LinkEnd::Closed && !moved {
        let _ = events.send(Event::LinkDown { edge, reason: end.to_string() });
    }
}

/// Ends a link once nobody follows what the edge says there, also after a panic: nothing more is opened on it.
struct Over(Weak<LiveLink>);

impl Drop for Over {
    fn drop(&mut self) {
        let Some(live) = self.0.upgrade() else { return };
        {
            let mut grants = live.grants();
            grants.over = true;
            grants.live.clear();
            // Whoever waits for an answer learns that there will be none.
            grants.waiting.clear();
        }
        live.link.close();
    }
}

impl fmt::Debug for LiveLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveLink").field("link", &self.link).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_slept_if_one_clock_stood_still() {
        let seconds = Duration::from_secs;
        for (awake, wall, expected) in [
            (seconds(0), seconds(0), false),
            (seconds(100), seconds(104), false),
            (seconds(100), seconds(106), true),
            (seconds(1), seconds(3600), true),
            // A clock that was set back says nothing.
            (seconds(100), seconds(0), false),
        ] {
            assert_eq!(slept(awake, wall), expected, "{awake:?} {wall:?}");
        }
    }
}
