//! Passkeys on pages, the invitation to make the first one, and what our script tells people.

use askama::Template;
use http::StatusCode;
use tunnel_proto::{EmailAddress, Name, UnixTime};

use super::{Form, Moment, PageContext, reply, words::plain};
use crate::{Reference, Response};

/// What the login page needs to offer a login by passkey: `passkey_button.html`, with this as `button`. The page's answer
/// must allow the script.
#[derive(Clone, Debug)]
pub struct PasskeyButton {
    /// The login method.
    pub name: Name,
    /// What `POST /.access/passkey/options` needs, beside the token in its header.
    pub form: Form,
}

/// What our script tells a person instead of going on.
#[derive(Clone, Debug)]
pub enum PasskeyProblem {
    /// The passkey proves nothing here.
    Refused,
    /// What was asked was answered already, too late, or in another browser.
    Void,
    /// The login that the passkey was added after has to be repeated.
    Renew {
        /// The method of that login.
        method: Name,
    },
    /// The passkey is of somebody whom no method made known that counts there.
    Elsewhere {
        /// The methods that do.
        methods: Vec<Name>,
    },
    /// A passkey is added after a recent login only.
    SignInAgain {
        /// Where that is done.
        link: &'static str,
    },
    /// The person has as many as there may be.
    TooMany,
    /// The new passkey is not accepted.
    NotMade,
    /// The authenticator did not keep it where it finds it by itself.
    NotKept,
    /// No login method by passkey is declared.
    NoMethod,
    /// The invitation was used, lapsed, or was replaced.
    InvitationGone,
}

impl PasskeyProblem {
    /// The answer to our script, always JSON: 403, 409 when something is there already or has changed, 410 when it is over.
    pub fn render(&self, context: &PageContext, reference: &Reference) -> Response {
        let lang = context.lang;
        let account = "/.access/account";
        let (status, error, message, link) = match self {
            Self::Refused => (StatusCode::FORBIDDEN, "passkey_refused", plain(lang, "passkey-refused", &[]), None),
            Self::Void => (StatusCode::GONE, "passkey_void", plain(lang, "passkey-void", &[]), None),
            Self::Renew { method } => {
                let message = plain(lang, "passkey-renew", &[("method", method.as_str())]);
                let link = (account, plain(lang, "passkey-renew-link", &[]));
                (StatusCode::FORBIDDEN, "passkey_renew", message, Some(link))
            }
            Self::Elsewhere { methods } => {
                let methods = methods.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
                let message = plain(lang, "passkey-elsewhere", &[("methods", methods.as_str())]);
                (StatusCode::FORBIDDEN, "passkey_elsewhere", message, None)
            }
            Self::SignInAgain { link } => {
                let link = (*link, plain(lang, "sign-in-again", &[]));
                (StatusCode::FORBIDDEN, "sign_in_again", plain(lang, "passkey-again", &[]), Some(link))
            }
            Self::TooMany => {
                let link = (account, plain(lang, "account-back", &[]));
                (StatusCode::CONFLICT, "passkeys_many", plain(lang, "passkey-too-many", &[]), Some(link))
            }
            Self::NotMade => (StatusCode::FORBIDDEN, "passkey_not_made", plain(lang, "passkey-not-made", &[]), None),
            Self::NotKept => (StatusCode::FORBIDDEN, "passkey_not_kept", plain(lang, "passkey-not-kept", &[]), None),
            Self::NoMethod => (StatusCode::CONFLICT, "no_method", plain(lang, "passkey-no-method", &[]), None),
            Self::InvitationGone => {
                (StatusCode::GONE, "invitation_gone", plain(lang, "invitation-gone-plain", &[]), None)
            }
        };
        let (link, link_text) = link.unzip();
        let problem =
            reply::Problem { error, message, reference: Some(reference.to_string()), link, link_text, login: None };
        reply::write(context, status, &problem)
    }
}

/// Somebody is invited: make a passkey.
#[derive(Clone, Debug)]
pub struct Invitation {
    /// The address that they are invited as.
    pub email: EmailAddress,
    /// Their name, as the administrator wrote it.
    pub name: Option<String>,
    /// Until when the invitation counts.
    pub expires: UnixTime,
    /// What `POST /.access/passkey/register` needs, beside the token in its header.
    pub form: Form,
}

impl Invitation {
    /// The page: 200.
    pub fn render(&self, context: &PageContext) -> Response {
        let template = InvitationPage { c: context, p: self, expires: Moment::new(self.expires, context.lang) };
        reply::with_script(reply::page(context, StatusCode::OK, template.render()))
    }
}

#[derive(Template)]
#[template(path = "invitation.html")]
struct InvitationPage<'a> {
    c: &'a PageContext,
    p: &'a Invitation,
    expires: Moment,
}

/// An invitation that cannot be used.
#[derive(Clone, Copy, Debug)]
pub enum InvitationClosed {
    /// It was used, has lapsed, or was replaced by another.
    Gone,
    /// No login method by passkey is declared; it is left as it is.
    NoMethod,
}

impl InvitationClosed {
    /// The page: 410, or 503 while there is no login method for it.
    pub fn render(&self, context: &PageContext) -> Response {
        let status = match self {
            Self::Gone => StatusCode::GONE,
            Self::NoMethod => StatusCode::SERVICE_UNAVAILABLE,
        };
        reply::page(context, status, ClosedPage { c: context, p: self }.render())
    }
}

#[derive(Template)]
#[template(path = "invitation_closed.html")]
struct ClosedPage<'a> {
    c: &'a PageContext,
    p: &'a InvitationClosed,
}
