//! Whoever has proven who they are: a person, and a login at the login host.

use std::sync::Arc;

use http::header;
use tunnel_auth::SessionId;
use tunnel_policy::Attributes;
use tunnel_proto::{EmailAddress, Identity, Name, PersonId, UnixTime};

use crate::{
    Response,
    gate::NEVER,
    mail::software,
    session::{
        Session, StartError,
        cookie::{self, OUT_COOKIE, SESSION_COOKIE},
    },
    store::{AuditEvent, AuditRecord, ISSUER_MAILBOX, ISSUER_SETUP, Met, SESSION_MAX, SessionKind, SessionRecord},
};

use super::{Answer, Ask, Desk};

/// What a login method has established.
pub(crate) struct Proven {
    /// Who vouches.
    pub(crate) issuer: String,
    /// What the issuer calls the person.
    pub(crate) subject: String,
    /// The verified address.
    pub(crate) email: EmailAddress,
    /// The login method.
    pub(crate) method: Name,
    /// What else it said.
    pub(crate) attributes: Attributes,
}

impl Proven {
    /// Somebody who could read a mailbox (`otp` in RFC 8176).
    pub(crate) fn mailbox(email: EmailAddress, method: Name) -> Self {
        let attributes = Attributes { amr: vec!["otp".to_owned()], ..Attributes::default() };
        Self { issuer: ISSUER_MAILBOX.to_owned(), subject: email.to_string(), email, method, attributes }
    }
}

/// A new login at the login host, for what is called `name`. It takes the place of the browser's login before. Who is
/// banned gets the page that says no, and an end to what there was.
pub(crate) async fn log_in(
    desk: &Desk<'_>,
    ask: &Ask<'_>,
    proven: Proven,
    name: &str,
) -> Answer<(Arc<Session>, SessionId)> {
    let issuer = proven.issuer.clone();
    vouched(desk, ask, proven, &issuer, name).await
}

/// The login that ends the set-up. It counts whatever is declared, since nothing may be declared yet.
pub(crate) async fn set_up(
    desk: &Desk<'_>,
    ask: &Ask<'_>,
    email: EmailAddress,
    method: Name,
) -> Answer<(Arc<Session>, SessionId)> {
    vouched(desk, ask, Proven::mailbox(email, method), ISSUER_SETUP, "set-up").await
}

/// A login of somebody whom their issuer makes known, by the word of `voucher`.
async fn vouched(
    desk: &Desk<'_>,
    ask: &Ask<'_>,
    proven: Proven,
    voucher: &str,
    name: &str,
) -> Answer<(Arc<Session>, SessionId)> {
    let Proven { issuer, subject, email, method, attributes } = proven;
    let met = Met {
        issuer: &issuer,
        subject: &subject,
        email: &email,
        method: &method,
        attributes: &attributes,
        candidate: PersonId::from_random(crate::random()),
        now: ask.visit.now,
        source: Some(ask.visit.source),
    };
    let person = desk.store.meet(&met).await.map_err(|error| desk.fault(ask, &error))?;
    begin(desk, ask, (person, voucher), (email, method, attributes), name, NEVER).await
}

/// The same for a person that is known, and who vouches for them. It lasts until `until` at most.
pub(crate) async fn begin(
    desk: &Desk<'_>,
    ask: &Ask<'_>,
    (person, issuer): (PersonId, &str),
    (email, method, attributes): (EmailAddress, Name, Attributes),
    name: &str,
    until: UnixTime,
) -> Answer<(Arc<Session>, SessionId)> {
    let now = ask.visit.now;
    if desk.snapshot.is_banned(person, &email) {
        desk.audit.record(AuditRecord {
            actor: Some(email.to_string()),
            object: Some(name.to_owned()),
            detail: Some(format!("by {method}: banned")),
            ..desk.record(ask, AuditEvent::LoginFailed)
        });
        return Err(Box::new(desk.banned(ask)));
    }
    let id = SessionId::from_random(crate::random());
    let user_agent = ask.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let record = SessionRecord {
        id: id.hash(),
        kind: SessionKind::Browser,
        device: Some(software::summary(user_agent, crate::Lang::En)),
        source: Some(ask.visit.source),
        host: desk.login_host.clone(),
        parent: None,
        identity: Identity { person, email, method, authenticated: now },
        issuer: issuer.to_owned(),
        attributes,
        created: now,
        seen: now,
        expires: now.plus(desk.snapshot.login_life()).min(until),
        grants: Vec::new(),
    };
    let session = desk.sessions.start(record, now).await.map_err(|error| match error {
        StartError::LoginEnded => desk.start_again(ask, None),
        StartError::Store(error) => desk.fault(ask, &error),
    })?;
    // Also a login that has lapsed: what came from it may live longer, and ends with this browser's next logout.
    for before in cookie::sessions(ask.headers.get_all(header::COOKIE)) {
        let succeeded = desk.sessions.succeed(&before.hash(), &session, now).await;
        succeeded.map_err(|error| desk.fault(ask, &error))?;
    }
    desk.audit.record(AuditRecord {
        actor: Some(session.identity().email.to_string()),
        object: Some(name.to_owned()),
        detail: Some(format!("logged in by {}", session.identity().method)),
        ..desk.record(ask, AuditEvent::Login)
    });
    Ok((session, id))
}

/// Gives the browser its login. It is remembered for as long as anything that comes from it may last.
pub(crate) fn set_login(response: &mut Response, id: &SessionId) {
    cookie::set(response.headers_mut(), SESSION_COOKIE, &id.reveal(), SESSION_MAX.as_secs());
    // Whoever is back has not left.
    cookie::set(response.headers_mut(), OUT_COOKIE, "", 0);
}
