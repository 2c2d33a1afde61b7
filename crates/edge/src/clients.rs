//! Links from access clients, from the end of the TLS handshake to their own end.
//!
//! A link is nobody's. What it carries stands on grants, each made from a credential for one application; every stream is
//! judged when it is opened and again whenever something changes, and ends with its grant.

mod links;

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    io::{AsyncBufRead, AsyncWrite},
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tunnel_proto::{
    GrantId, LinkId, UnixTime,
    link::{self, Carried, Control, Incoming, Link, MEMORY_MAX, Pending, RelayError, Settings, Welcomed, join},
    message::{
        Credential, Cut, CutReason, DrainReason, GrantRefusal, Granted, Limits, Message, OpenGrant, Opening, Present,
        Refused, Revoked, RevokedReason, Role, StreamRefusal,
    },
};

pub(crate) use self::links::ClientLinks;
use self::links::{OneLink, Whose};
use crate::{
    Lang, Reference, State, Visit,
    gate::{self, NEVER, Permit, Presented, Turnaway},
    holder::Holder,
    listen::{Glitch, Place},
    tcp,
};

/// Grants of one link at a time.
const GRANTS_MAX: usize = 256;
/// Numbers of grants that one link may use up in all: what is remembered of those that have ended.
const GRANTS_EVER: usize = 4096;
/// Presentations that one link may have refused before it is cut.
pub(crate) const REFUSED_MAX: u32 = 64;
/// How long a link may be without its first grant.
const BEGIN_MAX: Duration = Duration::from_secs(30);
/// How long a link may be without a grant later: what it was for has ended.
const IDLE_MAX: Duration = Duration::from_secs(5 * 60);
/// What a link may make the edge hold before its first grant: nothing that it sends then goes anywhere.
const STRANGER_MEMORY: usize = 256 * 1024;
/// How long a client may take nothing of what is said to it on the control stream.
const SAY_TIME: Duration = Duration::from_secs(2);
/// How often a grant is told at most why its streams were cut.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// How long the end of a connector's link may be behind the end of its streams.
const LINK_LAG: Duration = Duration::from_millis(100);
/// How long a link stays without a stream after its client was sent to the next process: it may not have heard of it.
const HANDED_LINGER: Duration = Duration::from_secs(2);
/// How soon grants and streams are held against the clock again where their time is about to be over.
const LOOK_SOON: Duration = Duration::from_millis(500);
/// How long they trust the time that they have left. Leaps of the clock are told, and everything else is noticed when it happens:
/// this is for what they stand on to count as used, which has to be well within what may be idle.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Takes a link of an access client over any byte stream, and serves it until it ends or `stopping` says so. Its place among
/// the connections is kept once it carries somebody's credential.
pub(crate) async fn serve<T>(
    state: Arc<State>,
    io: T,
    source: IpAddr,
    stopping: CancellationToken,
    place: Option<Arc<Place>>,
) where
    T: AsyncBufRead + AsyncWrite + Unpin + Send + 'static,
{
    crate::faults::at("access client");
    let settings = Settings { memory: STRANGER_MEMORY, stranger: true, ..Settings::default() };
    let greeting = match link::accept(io, Role::Access, settings).await {
        Ok(greeting) => greeting,
        Err(error) => {
            if let Some(place) = &place {
                place.note(Glitch::of_a_greeting(&error));
            }
            return tracing::debug!(%source, %error, "an access client was not greeted");
        }
    };
    let id = LinkId::from_random(crate::random());
    let Ok(welcomed) = greeting.welcome(id, Limits::default(), Vec::new()).await else { return };
    let Welcomed { link, incoming, control, hello } = welcomed;
    tracing::debug!(link = %id, %source, agent = hello.agent, "an access client's link is up");
    let client = Client {
        state,
        source,
        link: link.clone(),
        grants: HashMap::new(),
        used: HashSet::new(),
        ends: FuturesUnordered::new(),
        refused: 0,
        since: Instant::now(),
        begun: false,
        place: place.clone(),
        whose: HashMap::new(),
    };
    client.run(incoming, control, stopping).await;
    let over = link.closed().now_or_never();
    if let (Some(glitch), Some(place)) = (over.as_ref().and_then(Glitch::of_an_end), &place) {
        place.note(glitch);
    }
    link.close();
    tracing::debug!(link = %id, "an access client's link is down");
}

/// One link and what stands on it.
struct Client {
    state: Arc<State>,
    source: IpAddr,
    link: Link,
    grants: HashMap<GrantId, Grant>,
    used: HashSet<GrantId>,
    /// Sessions that somebody ended.
    ends: FuturesUnordered<BoxFuture<'static, GrantId>>,
    refused: u32,
    /// Since when there is no grant.
    since: Instant,
    /// Whether there ever was one.
    begun: bool,
    /// Among the connections.
    place: Option<Arc<Place>>,
    /// Whose link this is, by those who have a grant on it.
    whose: HashMap<Whose, OneLink>,
}

/// A credential that was found good.
struct Grant {
    holder: Holder,
    visit: Visit,
    permit: Permit,
    over: CancellationToken,
    /// When it was last told why its streams were cut.
    told: Option<Instant>,
}

impl Client {
    async fn run(mut self, mut incoming: Incoming, mut control: Control, stopping: CancellationToken) {
        let mut streams = JoinSet::new();
        let mut changed = self.state.changed.subscribe();
        let (mut leaving, mut handed, mut used) = (false, false, Instant::now());
        let mut next = self.next_look(handed);
        loop {
            let (mut looks, mut looked) = (true, false);
            let said: Vec<Message> = tokio::select! {
                message = control.next() => match message {
                    Some(Message::Present(present)) => match self.present(&present) {
                        Some(answer) => vec![answer],
                        None => return,
                    },
                    // The link itself takes notice.
                    Some(Message::Drain(_)) => Vec::new(),
                    Some(_) | None => return,
                },
                pending = incoming.next() => match pending {
                    Some(pending) => {
                        looks = false;
                        self.open(pending, &mut streams);
                        Vec::new()
                    }
                    None => return,
                },
                Some(ended) = streams.join_next(), if !streams.is_empty() => {
                    looks = false;
                    match ended {
                        Ok(cut) => cut.and_then(|cut| self.tell(cut)).into_iter().collect(),
                        Err(error) => {
                            tracing::warn!(%error, "a stream's task failed");
                            Vec::new()
                        }
                    }
                }
                Some(grant) = self.ends.next(), if !self.ends.is_empty() => {
                    self.end(grant, RevokedReason::Ended).into_iter().collect()
                }
                _ = changed.changed() => self.review(),
                () = sleep_until(next) => {
                    looked = true;
                    let most = if self.begun { IDLE_MAX } else { BEGIN_MAX };
                    if self.grants.is_empty() && self.since.elapsed() > most {
                        return;
                    }
                    if self.link.streams() > 0 {
                        used = Instant::now();
                    } else if handed && used.elapsed() > HANDED_LINGER {
                        return;
                    }
                    self.review()
                }
                () = self.state.replaced.cancelled(), if !handed => {
                    (handed, used) = (true, Instant::now());
                    self.link.hand_on(self.state.config.drain_tcp);
                    Vec::new()
                }
                () = stopping.cancelled(), if !leaving => {
                    leaving = true;
                    self.link.drain(DrainReason::Shutdown, crate::edge::DRAIN_PATIENCE);
                    Vec::new()
                }
                () = self.link.idle(), if leaving => return,
                _ = self.link.closed() => return,
            };
            // What only opens or ends a stream leaves the grants as they are. Nothing that the peer says puts a look off.
            if looked {
                next = self.next_look(handed);
            } else if looks {
                next = next.min(self.next_look(handed));
            }
            // Whoever does not listen must not hold up what ends grants.
            for message in said {
                if !matches!(timeout(SAY_TIME, control.send(message)).await, Ok(Ok(()))) {
                    return;
                }
            }
        }
    }

    /// When the link is to be looked at again, if nothing happens before.
    fn next_look(&self, handed: bool) -> Instant {
        let now = Instant::now();
        if handed {
            // Its client may not have heard that it is to go.
            return now + LOOK_SOON;
        }
        if self.grants.is_empty() {
            let most = if self.begun { IDLE_MAX } else { BEGIN_MAX };
            return (self.since + most).max(now) + LOOK_SOON;
        }
        let snapshot = self.state.snapshot.load();
        let until = self.grants.values().map(|grant| grant.permit.judged_until(&snapshot)).min();
        now + left(until.unwrap_or(NEVER), self.state.now())
    }

    /// Judges a credential. `None` when the link has presented too much that opens nothing.
    fn present(&mut self, present: &Present) -> Option<Message> {
        let judged = self.judge(present);
        if judged.is_err() {
            self.refused = self.refused.saturating_add(1);
            // Whoever guesses opens the next link; its network is counted over all of them, as for requests.
            if let Some(place) = &self.place {
                place.note(Glitch::TurnedAway);
            }
            if self.refused > REFUSED_MAX {
                return None;
            }
        }
        Some(match judged {
            Ok(granted) => granted.into(),
            Err(refused) => refused.into(),
        })
    }

    fn judge(&mut self, present: &Present) -> Result<Granted, Refused> {
        let grant = present.grant;
        let refuse = |code, text: &str| Refused { grant, code, text: text.to_owned() };
        let new = self.used.len() < GRANTS_EVER && self.used.insert(grant);
        if !new || self.grants.len() >= GRANTS_MAX {
            let text = "the link has as many grants as it may; open another link";
            return Err(refuse(GrantRefusal::TooManyGrants, text));
        }
        let visit = self.visit(present);
        let credential = match &present.credential {
            Credential::ClientToken(token) => Presented::client_token(token),
            Credential::ServiceToken { id, secret } => {
                Presented::ServiceToken { id: id.clone(), secret: zeroize::Zeroizing::new(secret.clone()) }
            }
        };
        let snapshot = self.state.snapshot.load_full();
        let admitted = gate::admit_credential(self.state.gate(&snapshot), &visit, &credential);
        let permit = admitted.map_err(|turnaway| match (turnaway, &present.credential) {
            (Turnaway::Unknown, _) => {
                refuse(GrantRefusal::UnknownHostname, "the edge has no application with this hostname")
            }
            (Turnaway::BadCredential | Turnaway::Login(_), Credential::ClientToken(_)) => {
                let text = "the login has ended, or is for another application: log in again";
                refuse(GrantRefusal::BadCredential, text)
            }
            (Turnaway::BadCredential | Turnaway::Login(_), Credential::ServiceToken { .. }) => {
                let text = "the service token is not known, has expired, or its secret is another one";
                refuse(GrantRefusal::BadCredential, text)
            }
            (Turnaway::Denied(_) | Turnaway::ForeignOrigin, _) => {
                refuse(GrantRefusal::NotAdmitted, "the edge's policy does not admit you here")
            }
        })?;
        let (holder, expires) = (permit.holder().clone(), permit.until());
        if let Some(whose) = Whose::of(&holder)
            && !self.whose.contains_key(&whose)
        {
            let Some(one) = self.state.client_links.another(whose.clone()) else {
                let text = "you have as many links to this edge as one may have; end some of your clients";
                return Err(refuse(GrantRefusal::TooManyGrants, text));
            };
            self.whose.insert(whose, one);
        }
        // Presented anew, it takes the place of the grant before. Streams of that one go on: each is judged for itself.
        let key = holder.key();
        self.grants.retain(|_, other| other.visit.host != visit.host || other.holder.latest().key() != key);
        let waits = holder.clone();
        self.ends.push(Box::pin(async move {
            waits.ended().await;
            grant
        }));
        self.grants.insert(grant, Grant { holder, visit, permit, over: CancellationToken::new(), told: None });
        // Somebody's from here on: it may carry what a link carries.
        self.begun = true;
        self.link.set_memory(MEMORY_MAX);
        self.link.trust();
        if let Some(place) = &self.place {
            place.keep();
        }
        Ok(Granted { grant, expires })
    }

    fn visit(&self, present: &Present) -> Visit {
        Visit {
            host: present.hostname.clone(),
            https: true,
            port: None,
            source: self.source,
            country: self.state.countries.of(self.source),
            now: self.state.now(),
            reference: Reference::from_random(crate::random()),
            lang: Lang::default(),
        }
    }

    /// Serves an opening in a task of its own.
    fn open(&self, pending: Pending, streams: &mut JoinSet<Option<Cut>>) {
        let asked = match &pending.opening {
            Opening::Grant(asked) => asked.clone(),
            // Not let through by the link.
            Opening::Service(_) => return,
        };
        let Some(grant) = self.grants.get(&asked.grant) else {
            streams.spawn(async move {
                pending.refuse(StreamRefusal::NotGranted, "the link has no such grant, or it has ended").await;
                None
            });
            return;
        };
        let reference = Reference::from_random(crate::random());
        let visit = Visit { now: self.state.now(), reference, ..grant.visit.clone() };
        let (state, holder, over) = (self.state.clone(), grant.holder.clone(), grant.over.clone());
        streams.spawn(async move {
            tokio::select! {
                cut = stream(state, visit, holder, pending, asked) => return cut,
                // Dropping what is under way resets it, on both sides.
                () = over.cancelled() => {}
            }
            None
        });
    }

    /// Looks at every grant again; what has ended is said.
    fn review(&mut self) -> Vec<Message> {
        let snapshot = self.state.snapshot.load_full();
        let now = self.state.now();
        let over: Vec<(GrantId, RevokedReason)> = self
            .grants
            .iter()
            .filter(|(_, grant)| !grant.permit.still_holds(self.state.gate(&snapshot), now))
            .map(|(id, grant)| {
                let reason = match grant.holder.latest().until(&snapshot, now) {
                    Some(_) if now < grant.permit.until() => RevokedReason::NotAdmitted,
                    None if now < grant.permit.until() => RevokedReason::Ended,
                    Some(_) | None => RevokedReason::Expired,
                };
                (*id, reason)
            })
            .collect();
        over.into_iter().filter_map(|(grant, reason)| self.end(grant, reason)).collect()
    }

    /// What is said about a stream that was cut: once for all that are cut with it.
    fn tell(&mut self, cut: Cut) -> Option<Message> {
        let grant = self.grants.get_mut(&cut.grant)?;
        if grant.told.is_some_and(|told| told.elapsed() < TELL_EVERY) {
            return None;
        }
        grant.told = Some(Instant::now());
        Some(cut.into())
    }

    fn end(&mut self, grant: GrantId, reason: RevokedReason) -> Option<Message> {
        let ended = self.grants.remove(&grant)?;
        ended.over.cancel();
        self.since = Instant::now();
        tracing::debug!(link = %self.link.id(), %reason, "a grant ended");
        Some(Revoked { grant, reason }.into())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.grants.values().for_each(|grant| grant.over.cancel());
    }
}

/// One stream, from its opening to its end, and why it was cut, where that is known.
async fn stream(state: Arc<State>, visit: Visit, holder: Holder, pending: Pending, asked: OpenGrant) -> Option<Cut> {
    let opened = match tcp::open(&state, &visit, &holder, asked.destination.as_deref()).await {
        Ok(opened) => opened,
        Err(refused) => {
            pending.refuse(refused.code, refused.text).await;
            return None;
        }
    };
    let tcp::Opened { stream: mut service, permit, connector } = opened;
    let mut client = pending.accept().await.ok()?;
    let carried = Carried::default();
    let ended = tokio::select! {
        ended = join(&mut client, &mut service, &carried) => ended,
        () = turned_away(&state, &permit) => {
            tracing::debug!(host = %visit.host, "a stream is not admitted any more");
            return None;
        }
    };
    let error = ended.err()?;
    tracing::debug!(host = %visit.host, %error, "a stream was cut");
    // Broken on one side, it is dropped on both, which resets what has not ended.
    drop((client, service));
    let gone = matches!(error, RelayError::Service(_)) && timeout(LINK_LAG, connector.closed()).await.is_ok();
    gone.then_some(Cut { grant: asked.grant, reason: CutReason::ConnectorGone })
}

/// Waits until a permit does not hold any more: a change of what is declared, the end of the session, or of its time.
pub(crate) async fn turned_away(state: &State, permit: &Permit) {
    let mut changed = state.changed.subscribe();
    loop {
        let snapshot = state.snapshot.load_full();
        let now = state.now();
        if !permit.still_holds(state.gate(&snapshot), now) {
            return;
        }
        let left = left(permit.judged_until(&snapshot), now);
        tokio::select! {
            () = permit.holder().ended() => return,
            _ = changed.changed() => {}
            () = sleep(left) => {}
        }
    }
}

/// How long whatever holds `until` then can be left alone.
fn left(until: UnixTime, now: UnixTime) -> Duration {
    // Both are in whole seconds: whoever slept them all might be late by one.
    until.since(now).saturating_sub(LOOK_SOON).clamp(LOOK_SOON, LOOK_AGAIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    // T6
    #[test]
    fn what_holds_for_long_is_looked_at_seldom_and_what_is_about_to_end_soon() {
        let now = UnixTime(1_000);
        let left = |until| left(UnixTime(until), now);
        assert_eq!([u64::MAX, 2_000, 1_061].map(left), [LOOK_AGAIN; 3]);
        assert_eq!([1_059, 1_002].map(|until| left(until).as_millis()), [58_500, 1_500]);
        assert_eq!([1_001, 1_000, 0].map(left), [LOOK_SOON; 3]);
    }
}
