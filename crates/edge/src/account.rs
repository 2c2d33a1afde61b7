//! The page at the login host about a person's own passkeys and sessions.
//!
//! Everything here is about whoever is logged in: what a form names is looked for among their own things alone (A3).

pub(crate) mod invitation;
pub(crate) mod passkeys;

use std::sync::Arc;

use axum::body::Body;
use http::header;
use tunnel_proto::{Name, PersonId, UnixTime};

use crate::{
    Response, launcher,
    login::{Answer, Ask, Desk, form, offer, see_other},
    pages::{Account, AccountSession, Form, LoggedOut, PasskeyLine, words::plain},
    session::{Session, cookie},
    store::{AuditEvent, AuditRecord, LoginMethodKind, PasskeyRecord, SecretHash, SessionKind},
};

/// Where the page is.
pub(crate) const PATH: &str = "/.access/account";
/// The forms on it, and on the page that asks before a passkey is deleted.
const FORM: &str = "account";
/// The field that says which page a form was on, and what it says when that was the launcher.
pub(crate) const FROM: &str = "from";
pub(crate) const LAUNCHER: &str = "launcher";

/// `GET /.access/account`.
pub(crate) async fn show(desk: &Desk<'_>, ask: &Ask<'_>) -> Answer<Response> {
    crate::faults::at("account");
    let session = desk.require_member(ask, PATH, None)?;
    let identity = session.identity();
    let held = desk.store.passkeys(identity.person).await.map_err(|error| desk.fault(ask, &error))?;
    let page = Account {
        email: identity.email.clone(),
        by: by(desk, ask, &identity.method),
        since: identity.authenticated,
        passkeys: held.iter().map(line).collect(),
        may_add: passkeys::method(desk).is_some(),
        sessions: sessions(desk, ask, &session),
        form: form(desk, &session),
        logout: crate::logout::form(desk.keys, &session),
    };
    Ok(page.render(&desk.context(ask)))
}

/// What the forms about sessions need.
pub(crate) fn form(desk: &Desk<'_>, session: &Session) -> Form {
    Form::new(form::token(desk.keys, FORM, session.id()))
}

/// Where a person is logged in, this browser first.
pub(crate) fn sessions(desk: &Desk<'_>, ask: &Ask<'_>, session: &Session) -> Vec<AccountSession> {
    let by = |name: &Name| by(desk, ask, name);
    lines(&of_person(desk, session.identity().person, ask.visit.now), session, &by)
}

/// What people read of the method that they logged in by; nothing of codes from mails, which pages have words for.
fn by(desk: &Desk<'_>, ask: &Ask<'_>, name: &Name) -> Option<String> {
    let all = &desk.snapshot.declared.login_methods;
    match all.iter().find(|method| method.name == *name) {
        Some(method) => match method.kind {
            LoginMethodKind::OneTimePin => None,
            LoginMethodKind::Passkey(_) => Some(plain(ask.visit.lang, "passkey", &[])),
            _ => Some(offer::label(method, all)),
        },
        // It is not declared any more.
        None => Some(name.to_string()),
    }
}

/// `POST /.access/account`: ends one session (`session`), or all (`all`).
pub(crate) async fn submit(desk: &Desk<'_>, ask: &Ask<'_>, body: Body) -> Answer<Response> {
    let session = desk.session(ask).ok_or_else(|| Box::new(form::refused(desk, ask, PATH)))?;
    let (_, fields) = form::bound_to(desk, ask, body, FORM, PATH, &[*session.id()]).await?;
    let session = desk.require_member(ask, PATH, None)?;
    let person = session.identity().person;
    let note = |host: String, what: &str| {
        desk.audit.record(AuditRecord {
            actor: Some(session.identity().email.to_string()),
            object: Some(host),
            detail: Some(what.to_owned()),
            ..desk.record(ask, AuditEvent::Logout)
        });
    };
    if !fields.get("all").is_empty() {
        desk.sessions.end_person(person).await.map_err(|error| desk.fault(ask, &error))?;
        note(ask.visit.host.to_string(), "every session, by the person");
        return Ok(logged_out(desk, ask));
    }
    let from = if fields.get(FROM) == LAUNCHER { launcher::PATH } else { PATH };
    let back = || see_other(&ask.visit.url(desk.login_host, from));
    let number = fields.get("session");
    let mine = of_person(desk, person, ask.visit.now);
    let Some(ended) = mine.iter().find(|one| self::number(one.id()) == number) else {
        // It has ended by itself.
        return Ok(back());
    };
    desk.sessions.end(&[*ended.id()]).await.map_err(|error| desk.fault(ask, &error))?;
    note(ended.host().to_string(), "one session, by the person");
    if ended.id() == session.id() {
        return Ok(logged_out(desk, ask));
    }
    Ok(back())
}

fn logged_out(desk: &Desk<'_>, ask: &Ask<'_>) -> Response {
    let mut response = LoggedOut { again: Some(launcher::PATH.to_owned()) }.render(&desk.context(ask));
    cookie::clear(response.headers_mut());
    response
}

/// The number by which forms name a session or a passkey: a hash, of no use as a credential.
fn number(id: &SecretHash) -> String {
    data_encoding::HEXLOWER.encode(id)
}

fn line(passkey: &PasskeyRecord) -> PasskeyLine {
    PasskeyLine { id: number(&passkey.id), label: passkey.label.clone(), created: passkey.created, used: passkey.used }
}

fn of_person(desk: &Desk<'_>, person: PersonId, now: UnixTime) -> Vec<Arc<Session>> {
    let mut sessions = desk.sessions.list(now);
    sessions.retain(|session| session.identity().person == person);
    sessions
}

/// A line for each login, with the hosts that were opened from it, and for each program that was let in; `here` is this
/// browser's login.
fn lines(mine: &[Arc<Session>], here: &Session, by: &dyn Fn(&Name) -> Option<String>) -> Vec<AccountSession> {
    let is_login = |id: &SecretHash| mine.iter().any(|one| one.id() == id && one.parent().is_none());
    // A browser's session at an application ends with its login, and is shown with it.
    let has_own_line = |one: &&Arc<Session>| {
        one.record().kind == SessionKind::Client || one.parent().is_none_or(|parent| !is_login(parent))
    };
    let line = |one: &Arc<Session>| {
        let record = one.record();
        let children = mine.iter().filter(|child| child.parent() == Some(one.id()));
        let browsers = children.filter(|child| child.record().kind == SessionKind::Browser);
        let own = one.parent().is_some().then_some(one);
        AccountSession {
            id: number(one.id()),
            device: record.device.clone(),
            client: record.kind == SessionKind::Client,
            hosts: own.into_iter().chain(browsers).map(|session| session.host().clone()).collect(),
            by: by(&record.identity.method),
            source: record.source,
            created: one.created(),
            seen: one.seen(),
            expires: one.expires(),
            here: one.id() == here.id(),
        }
    };
    let mut lines: Vec<_> = mine.iter().filter(has_own_line).map(line).collect();
    // This browser first, then whatever was used last.
    lines.sort_by_key(|line| (!line.here, std::cmp::Reverse(line.seen)));
    lines
}

/// What kind of browser asks, to name something after it.
fn browser(ask: &Ask<'_>) -> String {
    crate::mail::software::summary(user_agent(ask), ask.visit.lang)
}

fn user_agent<'a>(ask: &Ask<'a>) -> &'a str {
    ask.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
