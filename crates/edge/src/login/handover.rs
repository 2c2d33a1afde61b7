//! From the login host to the application's: a code that lives for seconds, counts once, and only in one browser.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, header};
use serde::{Deserialize, Serialize};
use tunnel_auth::{HandOverCode, SessionId};
use tunnel_policy::{Attributes, SameSite};
use tunnel_proto::{AppId, Hostname, Identity, UnixTime};

use crate::{
    Response,
    mail::software,
    pages::{ComeIn, Onward, StartAgain},
    renewal::writer,
    session::{Session, StartError, cookie},
    store::{AuditEvent, AuditRecord, Grant, OnceKind, OneTime, SecretHash, SessionKind, SessionRecord},
};

use super::{
    Answer, Ask, Desk,
    destination::{Destination, Judged},
    evaluated, passkey, pin,
    request::Request,
    see_other,
};

/// How long a code lives.
const CODE_LIFE: Duration = Duration::from_secs(30);
const PURPOSE: &str = "hand-over";

/// What a code stands for.
#[derive(Serialize, Deserialize)]
struct HandOver {
    app: AppId,
    name: String,
    host: Hostname,
    login: SecretHash,
    identity: Identity,
    issuer: String,
    attributes: Attributes,
    target: String,
    grant: UnixTime,
}

/// Judges whoever `session` is against what they want to open, and sends them there or turns them away.
pub(super) async fn proceed(
    desk: &Desk<'_>,
    ask: &Ask<'_>,
    destination: Destination<'_>,
    request: &Request,
    session: &Session,
) -> Answer<Response> {
    let here = request.here(ask.visit.now);
    // Nobody is told of people whom nothing could admit.
    if let Judged::Denied(reason) = destination.prospect(desk.snapshot, session.who(), here) {
        return Ok(desk.denied(ask, request.named(), Some(session), &reason));
    }
    let Destination::Application(app) = destination else {
        // The login itself is the session here.
        return Ok(see_other(&request.url(&request.target)));
    };
    if !desk.snapshot.policies.evaluations_of(app).is_empty() {
        let person = session.identity().person;
        pin::within(desk, ask, evaluated::OF_A_PERSON, person.as_bytes(), &evaluated::PER_PERSON).await?;
    }
    let attributes = evaluated::attributes(desk, ask, app, session.who(), here).await;
    let life = match destination.judge(desk.snapshot, (session.identity(), &attributes), here) {
        Judged::Admitted(life) => life,
        Judged::Denied(reason) => return Ok(desk.denied(ask, request.named(), Some(session), &reason)),
    };
    let code = HandOverCode::from_random(crate::random());
    let key = code.hash();
    let hand_over = HandOver {
        app: request.app,
        name: destination.name().to_owned(),
        host: request.host.clone(),
        login: *session.id(),
        identity: session.identity().clone(),
        issuer: session.issuer().to_owned(),
        attributes,
        target: request.target.clone(),
        grant: ask.visit.now.plus(life),
    };
    let plain = serde_json::to_vec(&hand_over).map_err(|error| desk.fault(ask, &error))?;
    let thing = OneTime {
        kind: OnceKind::HandOver,
        key,
        bind: request.login,
        payload: desk.keys.seal(PURPOSE, &key, &plain),
        expires: ask.visit.now.plus(CODE_LIFE),
    };
    desk.store.put_once(&thing).await.map_err(|error| desk.fault(ask, &error))?;
    let url = request.url(&format!("/.access/authorized?code={}", *code.reveal()));
    Ok(desk.lead(ask, Onward::Page(request.named().clone()), url))
}

/// `GET /.access/authorized` at the application's host: redeems the code beside the login cookie it was bound to.
pub(crate) async fn redeem(desk: &Desk<'_>, ask: &Ask<'_>) -> Answer<Response> {
    crate::faults::at("hand-over");
    let again = || {
        desk.audit.refused(AuditRecord {
            detail: Some("a code that leads nowhere, or without its cookie".to_owned()),
            ..desk.record(ask, AuditEvent::Refused)
        });
        let (host, link) = (Some(ask.visit.host.clone()), Some("/".to_owned()));
        let page = StartAgain { host, link, reference: ask.visit.reference, at: ask.visit.now };
        Box::new(page.render(&desk.context(ask)))
    };
    let code = HandOverCode::parse(&ask.parameter("code")).ok_or_else(again)?;
    let hand_over = take(desk, ask, &code).await?.filter(|found| found.host == ask.visit.host).ok_or_else(again)?;
    let (session, id) = match start(desk, ask, &hand_over).await {
        Ok(started) => started,
        Err(StartError::LoginEnded) => return Err(again()),
        Err(StartError::Store(error)) => return Err(desk.fault(ask, &error)),
    };
    desk.audit.record(AuditRecord {
        actor: Some(session.identity().email.to_string()),
        object: Some(hand_over.name.clone()),
        detail: Some("session begun".to_owned()),
        ..desk.record(ask, AuditEvent::Login)
    });
    let same_site = desk.snapshot.policies.same_site_at(&ask.visit.host);
    let url = ask.visit.url(&ask.visit.host, &hand_over.target);
    let mut response = match same_site {
        // The browser would go on without the cookie: to a login, and here again, and so on.
        SameSite::Strict if !is_of_this_site(ask.headers) => {
            let mut context = desk.context(ask);
            context.back = None;
            ComeIn { host: ask.visit.host.clone(), url }.render(&context)
        }
        _ => see_other(&url),
    };
    let life = session.expires().since(ask.visit.now).as_secs();
    cookie::set_session(response.headers_mut(), &id.reveal(), life, same_site, ask.visit.https);
    writer::remember(response.headers_mut(), desk.keys, session.host(), &session.identity().email, life);
    Ok(response)
}

/// Whether a browser says that the way here began at this site, or with its person, and left it nowhere.
fn is_of_this_site(headers: &HeaderMap) -> bool {
    let mut said = headers.get_all("sec-fetch-site").iter().peekable();
    said.peek().is_some() && said.all(|site| matches!(site.as_bytes(), b"same-origin" | b"same-site" | b"none"))
}

async fn take(desk: &Desk<'_>, ask: &Ask<'_>, code: &HandOverCode) -> Answer<Option<HandOver>> {
    let key = code.hash();
    // Made-up codes cost a look, not a write.
    let waits = desk.store.peek_once(OnceKind::HandOver, &key, ask.visit.now).await;
    if waits.map_err(|error| desk.fault(ask, &error))?.is_none() {
        return Ok(None);
    }
    for login in cookie::logins(ask.headers) {
        let taken = desk.store.take_once(OnceKind::HandOver, &key, &login.hash(), ask.visit.now).await;
        if let Some(sealed) = taken.map_err(|error| desk.fault(ask, &error))? {
            let plain = desk.keys.open(PURPOSE, &key, &sealed).map_err(|error| desk.fault(ask, &error))?;
            return serde_json::from_slice(plain.expose()).map(Some).map_err(|error| desk.fault(ask, &error));
        }
    }
    Ok(None)
}

/// A new session in the place of the one before; what the same person had opened here stays open.
async fn start(desk: &Desk<'_>, ask: &Ask<'_>, hand_over: &HandOver) -> Result<(Arc<Session>, SessionId), StartError> {
    let now = ask.visit.now;
    let ends = passkey::ends(desk, &hand_over.identity).await?.filter(|ends| *ends > now);
    let ends = ends.ok_or(StartError::LoginEnded)?;
    let before = desk.session(ask);
    let same = before.as_ref().filter(|before| before.identity().person == hand_over.identity.person);
    let mut grants = vec![Grant { app: hand_over.app, expires: hand_over.grant }];
    let mut attributes = hand_over.attributes.clone();
    let other = |grant: &&Grant| grant.app != hand_over.app && grant.expires > now;
    for grant in same.iter().flat_map(|before| &before.record().grants).filter(other) {
        let app = desk.snapshot.policies.application(&grant.app);
        let asked = app.map(|app| desk.snapshot.policies.evaluations_of(app)).unwrap_or_default();
        // What was said when an earlier login opened something counts no more: with this one it has to be opened anew.
        if asked.is_empty() || same.is_some_and(|before| is_of_login(before, hand_over)) {
            let keys = asked.iter().map(|evaluation| evaluation.key(&grant.app));
            let said = |key: &String| same.is_some_and(|before| before.attributes().evaluations.contains(key));
            attributes.evaluations.extend(keys.filter(said));
            grants.push(*grant);
        }
    }
    let id = SessionId::from_random(crate::random());
    let user_agent = ask.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let record = SessionRecord {
        id: id.hash(),
        kind: SessionKind::Browser,
        device: Some(software::summary(user_agent, crate::Lang::En)),
        source: Some(ask.visit.source),
        host: hand_over.host.clone(),
        parent: Some(hand_over.login),
        identity: hand_over.identity.clone(),
        issuer: hand_over.issuer.clone(),
        attributes,
        created: now,
        seen: now,
        expires: grants.iter().map(|grant| grant.expires).max().unwrap_or(now).min(ends),
        grants,
    };
    let session = desk.sessions.start(record, now).await?;
    if let Some(before) = before {
        desk.sessions.end(&[*before.id()]).await?;
    }
    Ok((session, id))
}

/// Whether a session came from the login that is handed over.
fn is_of_login(before: &Session, hand_over: &HandOver) -> bool {
    before.parent() == Some(&hand_over.login) && *before.identity() == hand_over.identity
}
