//! The one door: nothing is forwarded without a [`Permit`], and [`admit`] alone makes them.
//!
//! The decision, identity rules included, is made for every request from the identity stored at login. A decision is
//! remembered by application, session (and its epoch), policy revision and source address; an ended session or a changed
//! configuration therefore never meets an old one.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{HeaderMap, header};
use moka::sync::Cache;
use tunnel_policy::{Application, Subject, Verdict};
use tunnel_proto::{AppId, Hostname, Identity, Revision, TunnelId, UnixTime};

use crate::{
    Visit,
    audit::Audit,
    session::{Session, Sessions},
    snapshot::Snapshot,
    store::{AuditEvent, AuditRecord, SecretHash},
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
    /// Whether it asks for a WebSocket, which `SameSite` cookies do not protect among the hosts of one zone.
    pub websocket: bool,
}

/// Leave to forward one request, or to keep one stream. Made by [`admit`] only; forwarding takes it by value.
pub struct Permit {
    app: AppId,
    compatible_headers: bool,
    tunnel: Option<TunnelId>,
    session: Arc<Session>,
    until: UnixTime,
    claim: Claim,
}

/// What was admitted, to be judged again while a stream lives.
struct Claim {
    host: Hostname,
    path: String,
    source: IpAddr,
    /// The newest configuration by which it was judged.
    revision: AtomicU64,
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

    /// The tunnel that the host is routed to, if any.
    pub const fn tunnel(&self) -> Option<TunnelId> {
        self.tunnel
    }

    /// Who was admitted.
    pub fn identity(&self) -> &Identity {
        self.session.identity()
    }

    /// The session that was admitted.
    pub const fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// When the permit ends by itself.
    pub const fn until(&self) -> UnixTime {
        self.until
    }

    /// Whether what was admitted would still be, for a stream that goes on. Cheap while nothing changed.
    pub fn still_holds(&self, gate: Gate<'_>, now: UnixTime) -> bool {
        if self.session.is_ended() || now >= self.until {
            return false;
        }
        let Revision(revision) = gate.snapshot.revision;
        if revision == self.claim.revision.load(Relaxed) {
            return true;
        }
        let matched = gate.snapshot.policies.applications_for(&self.claim.host, &self.claim.path);
        let Some((_, required)) = matched.required() else { return false };
        let subject = Subject::person(self.session.identity(), self.claim.source);
        let tunnel = gate.snapshot.tunnel_for(&self.claim.host);
        let holds = tunnel == self.tunnel
            && required.into_iter().all(|app| {
                let method = &self.session.identity().method;
                self.session.grant(&app.id, now).is_some()
                    && app.offers(method)
                    && gate.snapshot.policies.decide(app, &subject).is_allow()
            });
        if holds {
            self.claim.revision.store(revision, Relaxed);
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
    /// The policy says no: to this person, or to anybody from here.
    Denied(Option<Arc<Session>>),
    /// A WebSocket opened by a page of another origin with this visitor's cookie.
    ForeignOrigin,
}

/// Decides on one request.
pub fn admit(gate: Gate<'_>, asked: Asked<'_>) -> Result<Permit, Turnaway> {
    let Asked { visit, path, .. } = asked;
    if visit.host == *gate.login_host || tunnel_policy::is_reserved(path) {
        return Err(Turnaway::Unknown);
    }
    let policies = &gate.snapshot.policies;
    let matched = policies.applications_for(&visit.host, path);
    let Some((app, required)) = matched.required() else { return Err(Turnaway::Unknown) };
    let required: Vec<&Application> = required.collect();
    let found = gate.sessions.find(&visit.host, asked.headers.get_all(header::COOKIE), visit.now);
    let Some(session) = found else { return Err(gate.stranger(visit, app)) };
    if asked.websocket && !own_origin(&asked, &required) {
        gate.refused(visit, app, Some(&session), "a WebSocket from another origin");
        return Err(Turnaway::ForeignOrigin);
    }
    let mut until = session.expires();
    for app in &required {
        // A grant counts only as long as the application offers the way by which the person logged in.
        match session.grant(&app.id, visit.now).filter(|_| app.offers(&session.identity().method)) {
            Some(end) => until = until.min(end),
            None => return Err(gate.stranger(visit, app)),
        }
        if !gate.decide(visit, app, &session) {
            return Err(Turnaway::Denied(Some(session)));
        }
    }
    let (host, path) = (visit.host.clone(), path.to_owned());
    Ok(Permit {
        app: app.id,
        compatible_headers: app.compatible_headers,
        tunnel: gate.snapshot.tunnel_for(&visit.host),
        session,
        until,
        claim: Claim { host, path, source: visit.source, revision: AtomicU64::new(gate.snapshot.revision.0) },
    })
}

impl Gate<'_> {
    /// Turns away who is not logged in: to the login, unless no login could help from this address.
    fn stranger(&self, visit: &Visit, app: &Application) -> Turnaway {
        if self.snapshot.policies.hopeless(app, visit.source) {
            self.refused(visit, app, None, "nobody is admitted from this address");
            return Turnaway::Denied(None);
        }
        Turnaway::Login(app.id)
    }

    /// Judges a person by an application's policies, or remembers how it was judged. A fresh decision is audited.
    fn decide(&self, visit: &Visit, app: &Application, session: &Arc<Session>) -> bool {
        let key = DecisionKey {
            app: app.id,
            session: *session.id(),
            epoch: session.epoch(),
            revision: self.snapshot.revision,
            source: visit.source,
        };
        if let Some(admitted) = self.decisions.0.get(&key) {
            if !admitted {
                self.refused(visit, app, Some(session), "refused before, nothing changed");
            }
            return admitted;
        }
        let subject = Subject::person(session.identity(), visit.source);
        let decision = self.snapshot.policies.decide(app, &subject);
        let admitted = decision.is_allow();
        self.decisions.0.insert(key, admitted);
        let why = decision.trace.to_string();
        match decision.verdict {
            Verdict::Allow { .. } => self.audit.record(record(visit, app, Some(session), AuditEvent::Admitted, why)),
            Verdict::Deny { .. } => self.refused(visit, app, Some(session), &why),
        }
        admitted
    }

    fn refused(&self, visit: &Visit, app: &Application, session: Option<&Arc<Session>>, why: &str) {
        self.audit.refused(record(visit, app, session, AuditEvent::Refused, why.to_owned()));
    }
}

fn record(
    visit: &Visit,
    app: &Application,
    session: Option<&Arc<Session>>,
    event: AuditEvent,
    why: String,
) -> AuditRecord {
    AuditRecord {
        actor: session.map(|session| session.identity().email.to_string()),
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
pub struct Decisions(Cache<DecisionKey, bool>);

#[derive(Clone, PartialEq, Eq, Hash)]
struct DecisionKey {
    app: AppId,
    session: SecretHash,
    epoch: u64,
    revision: Revision,
    source: IpAddr,
}

impl Default for Decisions {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(DECISIONS_MAX).time_to_idle(DECISION_IDLE).build())
    }
}
