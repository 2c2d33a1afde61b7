//! The one door: nothing is forwarded without a [`Permit`], and [`admit`] alone makes them.
//!
//! The decision, identity rules included, is made for every request from the identity stored at login. A decision is
//! remembered by application, credential (and its epoch), policy revision, source address, its country and, for a bastion's
//! stream, the destination, until a rule about time could change it; an ended session or a changed configuration therefore never meets
//! an old one.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{HeaderMap, header};
use moka::sync::Cache;
use tunnel_auth::ClientToken;
use tunnel_policy::{Application, AssertionAlgorithm, Circumstances, Country, Matched, Subject, Verdict};
use tunnel_proto::{AppId, Hostname, Revision, TunnelId, UnixTime};

use crate::{
    Visit,
    audit::Audit,
    holder::{Holder, HolderKey, Machine},
    login::destination::counts_for,
    session::{Session, Sessions},
    snapshot::Snapshot,
    store::{AuditEvent, AuditRecord, Decided},
};

/// Remembered decisions.
const DECISIONS_MAX: u64 = 100_000;
/// How long a decision is remembered without being asked for.
const DECISION_IDLE: Duration = Duration::from_secs(10 * 60);

/// What the gate needs of the edge.
#[derive(Clone, Copy)]
pub struct Gate<'a> {
    /// Who may go where.
    pub snapshot: &'a Arc<Snapshot>,
    /// Who is logged in.
    pub sessions: &'a Sessions,
    /// Decisions made before.
    pub decisions: &'a Decisions,
    /// The append-only record.
    pub audit: &'a Audit,
    /// The host that is never an application's.
    pub login_host: &'a Hostname,
}

/// What is asked for.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// Where the request came from and to which host.
    pub visit: &'a Visit,
    /// Its path as it came, without query.
    pub path: &'a str,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// By what the visitor is to be known.
    pub credential: &'a Presented,
    /// Whether it asks for a WebSocket, which `SameSite` cookies do not protect among the hosts of one zone.
    pub websocket: bool,
    /// The other protocol that it asks for; it counts as a WebSocket does where the application lists it, and nowhere else.
    pub upgrade: Option<&'a str>,
}

/// A credential as it was presented, not yet judged. Never printed.
#[derive(Clone)]
pub enum Presented {
    /// The cookies of a browser's request.
    Cookies,
    /// An access client's token.
    ClientToken(ClientToken),
    /// A machine's service token.
    ServiceToken {
        /// Its id.
        id: String,
        /// Its secret.
        secret: zeroize::Zeroizing<String>,
    },
    /// Something that cannot be one.
    Malformed,
}

impl Presented {
    /// A client token, or what cannot be one.
    pub fn client_token(text: &str) -> Self {
        ClientToken::parse(text).map_or(Self::Malformed, Self::ClientToken)
    }
}

/// Leave to forward one request, or to keep one stream. Made by [`admit`] and its like for streams only; forwarding takes it by
/// value.
pub struct Permit {
    app: AppId,
    compatible_headers: bool,
    assertion: AssertionAlgorithm,
    upgrades: Vec<String>,
    tunnel: Option<TunnelId>,
    holder: Holder,
    until: UnixTime,
    claim: Claim,
}

/// What was admitted, to be judged again while a stream lives.
struct Claim {
    host: Hostname,
    reach: Reach,
    source: IpAddr,
    country: Option<Country>,
    destination: Option<SocketAddr>,
    /// The newest configuration by which it was judged.
    revision: AtomicU64,
    /// The epoch of the session as which the holder was judged last.
    epoch: AtomicU64,
    /// When a rule about time asks for another judgement.
    holds_until: AtomicU64,
}

/// How much of a host is opened.
#[derive(Clone, Debug)]
enum Reach {
    /// What lies at this path, in any reading.
    Path(String),
    /// Everything: a stream has no path, so every application of the host has a word.
    Whole,
}

impl Reach {
    fn applications<'a>(&self, snapshot: &'a Snapshot, host: &Hostname) -> Matched<'a> {
        match self {
            Self::Path(path) => snapshot.policies.applications_for(host, path),
            Self::Whole => snapshot.policies.applications_of(host),
        }
    }
}

impl Permit {
    /// The application of the raw reading: the audience of the assertion.
    pub const fn app(&self) -> AppId {
        self.app
    }

    /// Whether the origin also gets the `Cf-Access-*` headers.
    pub const fn compatible_headers(&self) -> bool {
        self.compatible_headers
    }

    /// How the assertion is signed.
    pub const fn assertion(&self) -> AssertionAlgorithm {
        self.assertion
    }

    /// Whether every application concerned lists a protocol for upgrades.
    pub fn lists_upgrade(&self, protocol: &str) -> bool {
        self.upgrades.iter().any(|listed| listed.eq_ignore_ascii_case(protocol))
    }

    /// The tunnel that the host is routed to, if any.
    pub const fn tunnel(&self) -> Option<TunnelId> {
        self.tunnel
    }

    /// Who was admitted.
    pub const fn holder(&self) -> &Holder {
        &self.holder
    }

    /// Whether whoever asks is admitted: nothing is known of the visitor.
    pub const fn is_public(&self) -> bool {
        matches!(self.holder, Holder::Anybody)
    }

    /// When the permit ends by itself.
    pub const fn until(&self) -> UnixTime {
        self.until
    }

    /// When it has to be looked at again: it ends, a rule about time may have it end, or nobody vouches for the person any more.
    pub fn judged_until(&self, snapshot: &Snapshot) -> UnixTime {
        let lapses = self.holder.latest().lapses(snapshot).unwrap_or(NEVER);
        self.until.min(UnixTime(self.claim.holds_until.load(Relaxed))).min(lapses)
    }

    /// Whether what was admitted would still be, for a stream that goes on. Cheap while nothing changed.
    pub fn still_holds(&self, gate: Gate<'_>, now: UnixTime) -> bool {
        let holder = self.holder.latest();
        if now >= self.until || holder.until(gate.snapshot, now).is_none() {
            return false;
        }
        let (Revision(revision), epoch) = (gate.snapshot.revision, holder.epoch());
        // A stream that is open is in use.
        holder.touch(now);
        let same = revision == self.claim.revision.load(Relaxed) && epoch == self.claim.epoch.load(Relaxed);
        if same && now.0 < self.claim.holds_until.load(Relaxed) {
            return true;
        }
        let matched = self.claim.reach.applications(gate.snapshot, &self.claim.host);
        let Some((_, required)) = matched.required() else { return false };
        let here = Circumstances { source: self.claim.source, country: self.claim.country, now };
        let subject = Subject { caller: holder.caller(), here, destination: self.claim.destination };
        let mut holds_until = NEVER;
        let tunnel = gate.snapshot.tunnel_for(&self.claim.host);
        let holds = tunnel == self.tunnel
            && required.into_iter().all(|app| {
                let decision = gate.snapshot.policies.decide(app, &subject);
                holds_until = holds_until.min(decision.holds_until.unwrap_or(NEVER));
                let public = matches!(decision.verdict, Verdict::Bypass { .. });
                public || (opens(gate.snapshot, &holder, app, now).is_some() && decision.is_allow())
            });
        if holds {
            self.claim.holds_until.store(holds_until.0, Relaxed);
            self.claim.revision.store(revision, Relaxed);
            self.claim.epoch.store(epoch, Relaxed);
        }
        holds
    }
}

/// Not admitted, and what to answer.
#[derive(Debug)]
pub enum Turnaway {
    /// No application has this host and path. Also what is said of the login host's other pages.
    Unknown,
    /// Nobody is logged in for this application, and somebody might be.
    Login(AppId),
    /// A token was presented that is not good here.
    BadCredential,
    /// The policy says no: to this person, or to anybody from here.
    Denied(Option<Arc<Session>>),
    /// A WebSocket opened by a page of another origin with this visitor's cookie.
    ForeignOrigin,
}

/// What must admit.
struct Required<'a> {
    /// The application of the raw reading.
    front: &'a Application,
    /// Those that are not public under these circumstances; all of them must admit the holder.
    closed: Vec<&'a Application>,
    /// The protocols for upgrades that each of them lists, public or not.
    upgrades: Vec<String>,
    /// When a rule about time may close what is public.
    holds_until: UnixTime,
}

/// Decides on one request.
pub fn admit(gate: Gate<'_>, asked: Asked<'_>) -> Result<Permit, Turnaway> {
    crate::faults::at("gate");
    let Asked { visit, path, .. } = asked;
    let reach = Reach::Path(path.to_owned());
    let required = gate.required(visit, &reach, None)?;
    let Some(app) = required.closed.first().copied() else {
        return gate.permit(visit, reach, required, Holder::Anybody, None, false);
    };
    let holder = match gate.authenticate(visit, asked.headers, asked.credential) {
        Some(holder) => holder,
        None if matches!(asked.credential, Presented::Cookies) => return Err(gate.stranger(visit, app)),
        None => {
            gate.refused(visit, app, None, "a token that is not good here");
            return Err(Turnaway::BadCredential);
        }
    };
    let by_cookie = matches!(asked.credential, Presented::Cookies);
    let lists = |name: &str| required.upgrades.iter().any(|listed| listed.eq_ignore_ascii_case(name));
    let switches = asked.websocket || asked.upgrade.is_some_and(lists);
    if by_cookie && switches && !own_origin(&asked, &required.closed) {
        gate.refused(visit, app, Some(&holder), "a WebSocket from another origin");
        return Err(Turnaway::ForeignOrigin);
    }
    gate.permit(visit, reach, required, holder, None, by_cookie)
}

/// Decides on a stream that a credential was presented for before, to `destination` where the application is a bastion.
pub fn admit_stream(
    gate: Gate<'_>,
    visit: &Visit,
    holder: &Holder,
    destination: Option<SocketAddr>,
) -> Result<Permit, Turnaway> {
    let required = gate.required(visit, &Reach::Whole, destination)?;
    gate.permit(visit, Reach::Whole, required, holder.latest(), destination, false)
}

/// Decides on a credential for everything at the visit's host that is opened by streams. What it permits is judged again for
/// each of them.
pub fn admit_credential(gate: Gate<'_>, visit: &Visit, credential: &Presented) -> Result<Permit, Turnaway> {
    let required = gate.required(visit, &Reach::Whole, None)?;
    let app = required.closed.first().copied().unwrap_or(required.front);
    let Some(holder) = gate.authenticate(visit, &HeaderMap::new(), credential) else {
        gate.refused(visit, app, None, "a token that is not good here");
        return Err(Turnaway::BadCredential);
    };
    gate.permit(visit, Reach::Whole, required, holder, None, false)
}

/// Whether a name is worth being looked up for `holder`: some policy that admits them lists a destination at this port.
pub fn may_lead(gate: Gate<'_>, visit: &Visit, holder: &Holder, port: u16) -> bool {
    let holder = holder.latest();
    let subject = Subject { caller: holder.caller(), here: visit.here(), destination: None };
    let may = |app: &&Application| gate.snapshot.policies.may_lead(app, &subject, port);
    let required = gate.required(visit, &Reach::Whole, Some((IpAddr::from([0, 0, 0, 0]), port).into()));
    required.is_ok_and(|required| required.closed.iter().all(may))
}

/// A moment that does not come.
pub(crate) const NEVER: UnixTime = UnixTime(u64::MAX);
/// The path by which the rule of a stream is found, which has none.
pub(crate) const STREAM_PATH: &str = "/";

/// Until when a holder may open an application, by its credential alone: a session holds a grant for each, and counts only
/// as long as it is used, and as the application accepts the login that it came from.
fn opens(snapshot: &Snapshot, holder: &Holder, app: &Application, now: UnixTime) -> Option<UnixTime> {
    match holder {
        Holder::Person(session) => granted(snapshot, session, app, now),
        Holder::Machine(_) => Some(NEVER),
        Holder::Anybody => None,
    }
}

/// Until when a session opens an application, if it counts.
pub(crate) fn granted(snapshot: &Snapshot, session: &Session, app: &Application, now: UnixTime) -> Option<UnixTime> {
    session.grant(&app.id, now).filter(|_| {
        counts_for(snapshot, app, session.identity(), session.issuer()) && !session.is_idle(app.session_idle, now)
    })
}

impl<'a> Gate<'a> {
    /// The application of a host and path, and all that must admit.
    fn required(
        &self,
        visit: &Visit,
        reach: &Reach,
        destination: Option<SocketAddr>,
    ) -> Result<Required<'a>, Turnaway> {
        let reserved = matches!(reach, Reach::Path(path) if tunnel_policy::is_reserved(path));
        if visit.host == *self.login_host || reserved {
            return Err(Turnaway::Unknown);
        }
        let matched = reach.applications(self.snapshot, &visit.host);
        let (front, all) = matched.required().ok_or(Turnaway::Unknown)?;
        let upgrades = front.upgrades.clone();
        let mut required = Required { front, closed: Vec::new(), upgrades, holds_until: NEVER };
        for app in all {
            required.upgrades.retain(|one| app.upgrades.iter().any(|other| one.eq_ignore_ascii_case(other)));
            // A bastion leads nowhere without saying who to.
            match self.is_public(app, visit).filter(|_| destination.is_none()) {
                Some(until) => required.holds_until = required.holds_until.min(until),
                None => required.closed.push(app),
            }
        }
        Ok(required)
    }

    /// Whose credential it is, if it is good at this host. Says nothing about what it opens.
    pub fn authenticate(&self, visit: &Visit, headers: &HeaderMap, credential: &Presented) -> Option<Holder> {
        let (sessions, host, now) = (self.sessions, &visit.host, visit.now);
        match credential {
            Presented::Cookies => sessions.find(host, headers.get_all(header::COOKIE), now).map(Holder::Person),
            Presented::ClientToken(token) => sessions.find_client(host, token, now).map(Holder::Person),
            Presented::ServiceToken { id, secret } => {
                let machine = Machine::authenticate(self.snapshot, id, secret, now)?;
                Some(Holder::Machine(Arc::new(machine)))
            }
            Presented::Malformed => None,
        }
    }

    /// Whether an application admits whoever asks from there, and until when. Not recorded: there is nobody to speak of.
    fn is_public(&self, app: &Application, visit: &Visit) -> Option<UnixTime> {
        if !self.snapshot.policies.may_bypass(app) {
            return None;
        }
        let key = DecisionKey::new(self.snapshot.revision, app.id, HolderKey::Anybody, visit, None);
        let known = self.decisions.0.get(&key).filter(|judged| visit.now < judged.holds_until);
        let judged = known.unwrap_or_else(|| {
            let decision = self.snapshot.policies.decide(app, &Subject::nobody(visit.here()));
            let judged = Judged { admitted: decision.admits(), holds_until: decision.holds_until.unwrap_or(NEVER) };
            self.decisions.0.insert(key, judged);
            judged
        });
        judged.admitted.then_some(judged.holds_until)
    }

    /// The one place where permits are made: when everything that is not public admits the holder.
    fn permit(
        &self,
        visit: &Visit,
        reach: Reach,
        required: Required<'_>,
        holder: Holder,
        destination: Option<SocketAddr>,
        may_log_in: bool,
    ) -> Result<Permit, Turnaway> {
        let denied = |holder: &Holder| match holder {
            Holder::Person(session) => Turnaway::Denied(Some(session.clone())),
            Holder::Machine(_) | Holder::Anybody => Turnaway::Denied(None),
        };
        let Required { front: app, closed, upgrades, mut holds_until } = required;
        let mut until = match holder.until(self.snapshot, visit.now) {
            Some(until) => until,
            None if may_log_in => return Err(self.stranger(visit, closed.first().copied().unwrap_or(app))),
            None => return Err(Turnaway::BadCredential),
        };
        for app in closed {
            match opens(self.snapshot, &holder, app, visit.now) {
                Some(end) => until = until.min(end),
                None if may_log_in => return Err(self.stranger(visit, app)),
                None => {
                    self.refused(visit, app, Some(&holder), "the token is not for this application");
                    return Err(denied(&holder));
                }
            }
            let judged = self.decide(visit, app, &holder, destination);
            if !judged.admitted {
                return Err(denied(&holder));
            }
            holds_until = holds_until.min(judged.holds_until);
        }
        holder.touch(visit.now);
        let host = visit.host.clone();
        let (revision, epoch) = (AtomicU64::new(self.snapshot.revision.0), AtomicU64::new(holder.epoch()));
        Ok(Permit {
            app: app.id,
            compatible_headers: app.compatible_headers,
            assertion: app.assertion,
            upgrades,
            tunnel: self.snapshot.tunnel_for(&visit.host),
            holder,
            until,
            claim: Claim {
                host,
                reach,
                source: visit.source,
                country: visit.country,
                destination,
                revision,
                epoch,
                holds_until: AtomicU64::new(holds_until.0),
            },
        })
    }

    /// Turns away who is not logged in: to the login, unless no login could help from this address.
    fn stranger(&self, visit: &Visit, app: &Application) -> Turnaway {
        if self.snapshot.policies.hopeless(app, visit.here()) {
            self.refused(visit, app, None, "nobody is admitted from this address");
            return Turnaway::Denied(None);
        }
        Turnaway::Login(app.id)
    }

    /// Judges a holder by an application's policies, or remembers how it was judged. A fresh decision is audited.
    fn decide(&self, visit: &Visit, app: &Application, holder: &Holder, destination: Option<SocketAddr>) -> Judged {
        crate::faults::at("decision");
        let key = DecisionKey::new(self.snapshot.revision, app.id, holder.key(), visit, destination);
        let subject = Subject { caller: holder.caller(), here: visit.here(), destination };
        let record = |admitted, why: String| {
            let event = if admitted { AuditEvent::Admitted } else { AuditEvent::Refused };
            let decided = Decided::new(app.id, &subject, self.snapshot.revision, admitted);
            let decided = decided.vouched_by(holder.issuer()).without_idle_groups(&self.snapshot.policies);
            AuditRecord { decided: Some(Box::new(decided)), ..record(visit, app, Some(holder), event, why) }
        };
        if let Some(judged) = self.decisions.0.get(&key).filter(|judged| visit.now < judged.holds_until) {
            if !judged.admitted {
                self.audit.refused(record(false, "refused before, nothing changed".to_owned()));
            }
            return judged;
        }
        let decision = self.snapshot.policies.decide(app, &subject);
        let judged = Judged { admitted: decision.admits(), holds_until: decision.holds_until.unwrap_or(NEVER) };
        self.decisions.0.insert(key, judged);
        let to = destination.map(|to| format!("to {to}: ")).unwrap_or_default();
        let record = record(judged.admitted, format!("{to}{}", decision.trace));
        if judged.admitted {
            self.audit.record(record)
        } else {
            self.audit.refused(record)
        }
        judged
    }

    fn refused(&self, visit: &Visit, app: &Application, holder: Option<&Holder>, why: &str) {
        self.audit.refused(record(visit, app, holder, AuditEvent::Refused, why.to_owned()));
    }
}

fn record(visit: &Visit, app: &Application, holder: Option<&Holder>, event: AuditEvent, why: String) -> AuditRecord {
    AuditRecord {
        actor: holder.map(Holder::actor),
        source: Some(visit.source),
        object: Some(app.name.to_string()),
        detail: Some(why),
        reference: Some(visit.reference.to_string()),
        ..AuditRecord::new(visit.now, event)
    }
}

/// Whether a WebSocket is opened by a page of the request's own origin, or of one that every application concerned lists.
/// Without `Origin` it is no browser's, and a cookie does not count.
fn own_origin(asked: &Asked<'_>, required: &[&Application]) -> bool {
    let mut origins = asked.headers.get_all(header::ORIGIN).iter();
    let (Some(origin), None) = (origins.next().and_then(|value| value.to_str().ok()), origins.next()) else {
        return false;
    };
    origin == asked.visit.origin(&asked.visit.host)
        || required.iter().all(|app| app.websocket_origins.iter().any(|listed| listed == origin))
}

/// Decisions made before, for as long as they hold.
pub struct Decisions(Cache<DecisionKey, Judged>);

/// A decision, and how long it holds by the rules about time.
#[derive(Clone, Copy)]
struct Judged {
    admitted: bool,
    holds_until: UnixTime,
}

/// Everything that a decision depends on beside the time.
#[derive(Clone, PartialEq, Eq, Hash)]
struct DecisionKey {
    app: AppId,
    holder: HolderKey,
    revision: Revision,
    source: IpAddr,
    /// Another one by a newer file of countries.
    country: Option<Country>,
    destination: Option<SocketAddr>,
}

impl DecisionKey {
    const fn new(
        revision: Revision,
        app: AppId,
        holder: HolderKey,
        visit: &Visit,
        destination: Option<SocketAddr>,
    ) -> Self {
        Self { app, holder, revision, source: visit.source, country: visit.country, destination }
    }
}

impl Default for Decisions {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(DECISIONS_MAX).time_to_idle(DECISION_IDLE).build())
    }
}
