//! The page that an invitation's link leads to. Opening it uses nothing up; the passkey that is made there does.

use tunnel_proto::UnixTime;

use crate::{
    Response,
    login::{Answer, Ask, Desk, form, login_of},
    pages::{Form, Invitation, InvitationClosed},
    session::cookie::{self, LOGIN_COOKIE, LOGIN_LIFE},
    store::InvitationRecord,
    users,
};

use super::passkeys;

/// The longest secret that is looked at; ours have 43 characters.
const SECRET_MAX: usize = 64;

/// `GET /.access/invite?token=…`.
pub(crate) async fn show(desk: &Desk<'_>, ask: &Ask<'_>) -> Answer<Response> {
    crate::faults::at("invitation");
    let secret = ask.parameter("token");
    let found = find(desk, ask, &secret).await?;
    let context = desk.context(ask);
    let Some(invitation) = found else { return Ok(InvitationClosed::Gone.render(&context)) };
    if passkeys::method(desk).is_none() {
        return Ok(InvitationClosed::NoMethod.render(&context));
    }
    let login = login_of(ask.headers);
    let form = Form::new(form::token(desk.keys, passkeys::JOIN, &login.hash())).with("invitation", secret);
    let page = Invitation { email: invitation.email, name: invitation.name, expires: invitation.expires, form };
    let mut response = page.render(&context);
    cookie::set(response.headers_mut(), LOGIN_COOKIE, &login.reveal(), LOGIN_LIFE);
    Ok(response)
}

/// The invitation with this secret, if it may still be used.
pub(super) async fn find(desk: &Desk<'_>, ask: &Ask<'_>, secret: &str) -> Answer<Option<InvitationRecord>> {
    if secret.len() > SECRET_MAX {
        return Ok(None);
    }
    let now: UnixTime = ask.visit.now;
    desk.store.invitation(&users::key(secret), now).await.map_err(|error| desk.fault(ask, &error))
}
