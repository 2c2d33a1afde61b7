//! Logging out: GET asks, POST acts. It ends the login and every session that came from it, at every host.

use axum::body::Body;

use crate::{
    Response,
    keys::Keys,
    login::{Answer, Ask, Desk, form},
    pages::{Form, LoggedOut, LogoutAsk},
    renewal::writer,
    session::{
        Session,
        cookie::{self, OUT_COOKIE, OUT_LIFE},
    },
    store::{AuditEvent, AuditRecord},
};

const PATH: &str = "/.access/logout";
const FORM: &str = "logout";

/// What `POST /.access/logout` needs to end `session`; for any page of its host.
pub fn form(keys: &Keys, session: &Session) -> Form {
    Form::new(form::token(keys, FORM, session.id()))
}

/// Asks.
pub(crate) fn ask(desk: &Desk<'_>, ask: &Ask<'_>) -> Response {
    crate::faults::at("logout page");
    let context = desk.context(ask);
    match desk.session(ask) {
        Some(session) => {
            let signed_in = Some(session.identity().email.clone());
            LogoutAsk { signed_in, form: form(desk.keys, &session) }.render(&context)
        }
        // There is nothing to end, and nothing that the form could be bound to.
        None => LogoutAsk { signed_in: None, form: Form::new(String::new()) }.render(&context),
    }
}

/// Acts. Without a session it only clears cookies.
pub(crate) async fn act(desk: &Desk<'_>, ask: &Ask<'_>, body: Body) -> Answer<Response> {
    crate::faults::at("logout");
    if let Some(session) = desk.session(ask) {
        form::bound_to(desk, ask, body, FORM, PATH, &[*session.id()]).await?;
        let login = session.parent().unwrap_or(session.id());
        desk.sessions.end(&[*login, *session.id()]).await.map_err(|error| desk.fault(ask, &error))?;
        desk.audit.record(AuditRecord {
            actor: Some(session.identity().email.to_string()),
            object: Some(ask.visit.host.to_string()),
            ..desk.record(ask, AuditEvent::Logout)
        });
    } else if !form::is_same_origin(ask.visit, ask.headers) {
        return Err(Box::new(form::refused(desk, ask, PATH)));
    }
    // An application, or the launcher.
    let mut response = LoggedOut { again: Some("/".to_owned()) }.render(&desk.context(ask));
    cookie::clear(response.headers_mut());
    if ask.visit.host == *desk.login_host {
        cookie::set(response.headers_mut(), OUT_COOKIE, "1", OUT_LIFE);
    } else {
        writer::forget(response.headers_mut(), desk.keys, &ask.visit.host);
    }
    Ok(response)
}
