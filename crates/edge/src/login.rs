//! Logging in, from the first redirect to the session at the application's host.
//!
//! 1. [`Desk::begin`]: at the application's host a visitor without session gets a login cookie and is sent to the login
//!    host with a sealed `Request`.
//! 2. `page`: the login host ties the request to a login cookie of its own. Who is logged in there already is judged at
//!    once; others ask for a code and type it (`pin`), use a passkey (`passkey`), or log in at a provider and come back
//!    ([`provider`]).
//! 3. `handover`: services that the application's policies name are asked about the person (`evaluated`), and who is admitted
//!    is sent back with a code that lives for seconds and counts only beside the first login cookie.
//! 4. The application's host redeems it for a session, and returns to where the visitor wanted to go.
//!
//! Nothing here says whether an address is admitted: what a stranger sees and how long it takes depends on what was typed
//! only by its form. Whether a mail is sent is decided elsewhere and later ([`decision`]).

pub mod decision;
pub(crate) mod destination;
pub(crate) mod evaluated;
pub(crate) mod form;
pub(crate) mod handover;
mod limits;
pub(crate) mod offer;
pub(crate) mod page;
pub(crate) mod passkey;
pub(crate) mod pin;
pub(crate) mod proven;
pub mod provider;
pub(crate) mod request;
pub(crate) mod setup;

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tunnel_auth::LoginId;
use tunnel_policy::Application;
use tunnel_proto::{EmailAddress, Hostname};

use crate::{
    Response, Visit,
    audit::Audit,
    countries::Countries,
    evaluations::Evaluations,
    keys::Keys,
    pages::{
        Denied, EdgeFault, LoginRequired, Look, NoAdministrator, Onward, Opening, PageContext, StartAgain, is_grpc,
        wants_json,
    },
    renewal,
    session::{
        Session, Sessions,
        cookie::{self, LOGIN_COOKIE, LOGIN_LIFE},
    },
    snapshot::Snapshot,
    store::{AuditEvent, AuditRecord, LoginMethodKind, Store},
};

use self::{decision::PinQueue, destination::Destination, provider::Providers, request::Request};

/// What logging in and out needs of the edge.
#[derive(Clone, Copy)]
pub struct Desk<'a> {
    /// The zone.
    pub zone: &'a Hostname,
    /// Where people log in: `access.ZONE`.
    pub login_host: &'a Hostname,
    /// What the edge calls itself in what it signs: `https://access.ZONE[:port]`.
    pub issuer: &'a str,
    /// Whom pages name when something lasts.
    pub contact: Option<&'a EmailAddress>,
    /// Whether this is the quick start.
    pub quick_start: bool,
    /// Whether mail is late; said to everybody alike.
    pub mail_delayed: bool,
    /// Where challenges and codes are kept.
    pub store: &'a dyn Store,
    /// What seals and hashes.
    pub keys: &'a Keys,
    /// Who is logged in.
    pub sessions: &'a Sessions,
    /// Who may go where.
    pub snapshot: &'a Snapshot,
    /// Which country an address is in.
    pub countries: &'a Countries,
    /// The append-only record.
    pub audit: &'a Audit,
    /// Codes that were asked for.
    pub pins: &'a PinQueue,
    /// What is known of providers.
    pub providers: &'a Providers,
    /// Services that are asked about people.
    pub evaluations: &'a Evaluations,
    /// What pages look like.
    pub look: &'a Arc<Look>,
}

/// A request to a page of ours, without its body.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    /// Where it came from and to which host.
    pub visit: &'a Visit,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Whether it sends nothing (GET, HEAD), so that its page can be fetched again.
    pub get: bool,
    /// Its path.
    pub path: &'a str,
    /// Its query, without `?`; empty when there is none.
    pub query: &'a str,
}

impl Ask<'_> {
    /// The first value of a parameter of the query; empty when there is none.
    pub(crate) fn parameter(&self, name: &str) -> String {
        let mut pairs = url::form_urlencoded::parse(self.query.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
    }

    /// Path and query of a page that can be fetched again.
    fn back(&self) -> Option<String> {
        let target = if self.query.is_empty() { self.path.to_owned() } else { format!("{}?{}", self.path, self.query) };
        self.get.then_some(target)
    }

    /// Whether a parameter stands in the query once or not at all.
    pub(crate) fn has_at_most_one(&self, name: &str) -> bool {
        url::form_urlencoded::parse(self.query.as_bytes()).filter(|(key, _)| key == name).count() <= 1
    }
}

/// Either what was asked for, or the page that is the answer instead.
pub type Answer<T> = Result<T, Box<Response>>;

impl<'a> Desk<'a> {
    /// The context of a page that answers `ask`.
    pub fn context(&self, ask: &Ask<'_>) -> PageContext {
        let mut context = PageContext::new(self.zone.clone(), ask.visit.lang);
        context.look = self.look.clone();
        context.admin_contact = self.contact.cloned();
        context.no_administrator_yet = !self.snapshot.has_administrator();
        context.grpc = is_grpc(ask.headers);
        context.json = context.grpc || wants_json(ask.headers);
        context.back = ask.back();
        context
    }

    /// Step one of a login: sends a visitor without session to the login host, to come back to `target` (path and query of
    /// the request). What is not a person's navigation gets 401 and is sent nowhere.
    pub fn begin(&self, ask: &Ask<'_>, app: &Application, target: &str) -> Response {
        self.begin_at(ask, Destination::Application(app), target, |request| request)
    }

    /// The same at the login host, for whoever is to let the access client in to `app` at `host`.
    pub(crate) fn begin_client(&self, ask: &Ask<'_>, app: &Application, host: &Hostname, target: &str) -> Response {
        self.begin_at(ask, Destination::Client(app), target, |request| Request { named: Some(host.clone()), ..request })
    }

    fn begin_at(
        &self,
        ask: &Ask<'_>,
        destination: Destination<'_>,
        target: &str,
        more: impl FnOnce(Request) -> Request,
    ) -> Response {
        let context = self.context(ask);
        if context.json {
            // No redirect, which a script could not follow to another origin: an address to open in a window of its own.
            let login = match destination {
                Destination::Application(_) => renewal::sign_in(target),
                _ => target.to_owned(),
            };
            let login = Some(ask.visit.url(&ask.visit.host, &login));
            return LoginRequired { login, reference: ask.visit.reference }.render(&context);
        }
        let app = destination.id(self.login_host);
        let login = login_of(ask.headers);
        let request = more(Request::new(app, ask.visit, target, login.hash())).seal(self.keys);
        let path = format!("/.access/login?app={app}&request={request}");
        let mut response = see_other(&ask.visit.url(self.login_host, &path));
        cookie::set(response.headers_mut(), LOGIN_COOKIE, &login.reveal(), LOGIN_LIFE);
        response
    }

    /// The session of whoever is logged in at the login host and is an administrator; else the page that says so, or the
    /// way to log in and come back to `target`. Counts at the login host only.
    pub fn require_administrator(&self, ask: &Ask<'_>, target: &str) -> Answer<Arc<Session>> {
        let context = self.context(ask);
        if !self.snapshot.has_administrator() {
            return Err(Box::new(NoAdministrator { quick_start: self.quick_start }.render(&context)));
        }
        let visit = ask.visit;
        let session = self.session(ask).filter(|session| visit.host == *self.login_host && session.parent().is_none());
        match session {
            Some(session) if !self.snapshot.is_administrator(&session.identity().email) => {
                Err(Box::new(self.denied(ask, self.login_host, Some(&session), "not an administrator")))
            }
            Some(session)
                if Destination::Administration.accepts(self.snapshot, session.identity(), session.issuer()) =>
            {
                Ok(session)
            }
            // Nobody, or an administrator by another way than administrators are to come by.
            _ => Err(Box::new(self.begin_at(ask, Destination::Administration, target, |request| request))),
        }
    }

    /// The session of whoever is logged in at the login host; else the way to log in and come back to
    /// `target`. With `recent`, a login from longer ago does not do. Counts at the login host only.
    pub(crate) fn require_member(&self, ask: &Ask<'_>, target: &str, recent: Option<Duration>) -> Answer<Arc<Session>> {
        let visit = ask.visit;
        let session = self.session(ask).filter(|session| visit.host == *self.login_host && session.parent().is_none());
        let Some(session) = session else {
            return Err(Box::new(self.begin_at(ask, Destination::Account, target, |request| request)));
        };
        if recent.is_some_and(|recent| visit.now.since(session.identity().authenticated) > recent) {
            let fresh = |request| Request { fresh: true, ..request };
            return Err(Box::new(self.begin_at(ask, Destination::Account, target, fresh)));
        }
        Ok(session)
    }

    /// The session that the request's cookies name at its host.
    pub fn session(&self, ask: &Ask<'_>) -> Option<Arc<Session>> {
        let session = self.sessions.find(&ask.visit.host, ask.headers.get_all(header::COOKIE), ask.visit.now);
        session.filter(|session| self.snapshot.counts(session, ask.visit.now))
    }

    /// Turned away from `host`: the page, and the record with its reason.
    pub(crate) fn denied(&self, ask: &Ask<'_>, host: &Hostname, session: Option<&Session>, reason: &str) -> Response {
        let visit = ask.visit;
        self.audit.refused(AuditRecord {
            actor: session.map(|session| session.identity().email.to_string()),
            object: Some(host.to_string()),
            detail: Some(reason.to_owned()),
            ..self.record(ask, AuditEvent::Refused)
        });
        let form = session.map(|session| crate::logout::form(self.keys, session));
        let signed_in = session.map(|session| session.identity().email.clone());
        let by = session.and_then(|session| self.label_of(&session.identity().method));
        Denied { host: host.clone(), signed_in, by, form, reference: visit.reference, at: visit.now }
            .render(&self.context(ask))
    }

    /// Turned away whoever they are; the record is the caller's.
    pub(crate) fn banned(&self, ask: &Ask<'_>) -> Response {
        let visit = ask.visit;
        let (host, reference, at) = (visit.host.clone(), visit.reference, visit.now);
        Denied { host, signed_in: None, by: None, form: None, reference, at }.render(&self.context(ask))
    }

    /// What people read of a method, unless it is a PIN.
    pub(crate) fn label_of(&self, name: &tunnel_proto::Name) -> Option<String> {
        let all = &self.snapshot.declared.login_methods;
        let method = all.iter().find(|method| method.name == *name);
        let method = method.filter(|method| !matches!(method.kind, LoginMethodKind::OneTimePin))?;
        Some(offer::label(method, all))
    }

    /// Sends on to somebody else's origin: by a page that the browser leaves at once where a form is answered, since a
    /// redirect would be part of that, and held against the policy of the page with the form, as would be every redirect
    /// that follows.
    pub(crate) fn lead(&self, ask: &Ask<'_>, to: Onward, url: String) -> Response {
        if ask.get { see_other(&url) } else { Opening { to, url }.render(&self.context(ask)) }
    }

    /// An audit record of something that happens in this request.
    pub(crate) fn record(&self, ask: &Ask<'_>, event: AuditEvent) -> AuditRecord {
        AuditRecord {
            source: Some(ask.visit.source),
            reference: Some(ask.visit.reference.to_string()),
            ..AuditRecord::new(ask.visit.now, event)
        }
    }

    /// The edge is at fault: logged, and said without detail.
    pub(crate) fn fault(&self, ask: &Ask<'_>, error: &dyn std::fmt::Display) -> Box<Response> {
        tracing::error!(%error, reference = %ask.visit.reference, "a login cannot go on");
        let page = EdgeFault { reference: ask.visit.reference, at: ask.visit.now };
        Box::new(page.render(&self.context(ask)))
    }

    /// A login that cannot go on: a page with a link where it is known whither, never a redirect.
    pub(crate) fn start_again(&self, ask: &Ask<'_>, request: Option<&Request>) -> Box<Response> {
        let (host, link) = match request {
            Some(request) => (Some(request.host.clone()), Some(request.url(&request.target))),
            // Nothing is at the login host that would do for everybody.
            None => (None, None),
        };
        let (reference, at) = (ask.visit.reference, ask.visit.now);
        Box::new(StartAgain { host, link, reference, at }.render(&self.context(ask)))
    }
}

/// The login that the browser is in, or a new one.
pub(crate) fn login_of(headers: &HeaderMap) -> LoginId {
    cookie::logins(headers).into_iter().next().unwrap_or_else(|| LoginId::from_random(crate::random()))
}

/// Go there by GET. The address never holds more than visible ASCII.
pub(crate) fn see_other(url: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    if let Ok(mut url) = HeaderValue::from_str(url) {
        url.set_sensitive(true);
        headers.insert(header::LOCATION, url);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
