//! A person's own passkeys and sessions.

use std::net::IpAddr;

use askama::Template;
use http::StatusCode;
use tunnel_proto::{EmailAddress, Hostname, UnixTime};

use super::{
    Form, Moment, PageContext, reply,
    words::{Phrase, plain},
};
use crate::Response;

/// A person's own page.
#[derive(Clone, Debug)]
pub struct Account {
    /// Who is logged in.
    pub email: EmailAddress,
    /// By what, as people read it; by a code from a mail when nothing is said.
    pub by: Option<String>,
    /// Since when.
    pub since: UnixTime,
    /// Their passkeys.
    pub passkeys: Vec<PasskeyLine>,
    /// Whether one may be added: there is a login method for them.
    pub may_add: bool,
    /// Where they are logged in, this browser first.
    pub sessions: Vec<AccountSession>,
    /// What `POST /.access/account` needs; the page adds `session` or `all`.
    pub form: Form,
    /// What `POST /.access/logout` needs.
    pub logout: Form,
}

/// A passkey as it is listed.
#[derive(Clone, Debug)]
pub struct PasskeyLine {
    /// Its number.
    pub id: String,
    /// What the person calls it.
    pub label: String,
    /// When it was added.
    pub created: UnixTime,
    /// When it was last used.
    pub used: Option<UnixTime>,
}

/// A session as it is listed.
#[derive(Clone, Debug)]
pub struct AccountSession {
    /// Its number.
    pub id: String,
    /// What kind of browser it is, or what the computer of the access client calls itself.
    pub device: Option<String>,
    /// Whether it is the access client's.
    pub client: bool,
    /// What is open there.
    pub hosts: Vec<Hostname>,
    /// By what the person logged in, as people read it; by a code from a mail when nothing is said.
    pub by: Option<String>,
    /// Where it was begun from.
    pub source: Option<IpAddr>,
    /// When it began.
    pub created: UnixTime,
    /// When it was last used.
    pub seen: UnixTime,
    /// When it ends.
    pub expires: UnixTime,
    /// Whether it is this browser's.
    pub here: bool,
}

impl Account {
    /// The page: 200.
    pub fn render(&self, context: &PageContext) -> Response {
        let moment = |at| Moment::new(at, context.lang);
        let passkeys = self.passkeys.iter().map(|one| (one, moment(one.created), one.used.map(moment)));
        let template = AccountPage {
            c: context,
            p: self,
            since: moment(self.since),
            passkeys: passkeys.collect(),
            sessions: session_lines(context, &self.sessions),
        };
        reply::page(context, StatusCode::OK, template.render())
    }
}

/// Sessions as `sessions.html` lists them.
pub(super) fn session_lines<'a>(context: &PageContext, sessions: &'a [AccountSession]) -> Vec<SessionLine<'a>> {
    let moment = |at| Moment::new(at, context.lang);
    let line = |session: &'a AccountSession| SessionLine {
        session,
        device: device(context, session),
        created: moment(session.created),
        seen: moment(session.seen),
        expires: moment(session.expires),
    };
    sessions.iter().map(line).collect()
}

fn device(context: &PageContext, session: &AccountSession) -> String {
    let lang = context.lang;
    match &session.device {
        Some(device) if session.client => plain(lang, "session-client", &[("device", device)]),
        None if session.client => plain(lang, "session-client-unnamed", &[]),
        Some(device) => device.clone(),
        None => plain(lang, "session-browser", &[]),
    }
}

pub(super) struct SessionLine<'a> {
    pub(super) session: &'a AccountSession,
    pub(super) device: String,
    pub(super) created: Moment,
    pub(super) seen: Moment,
    pub(super) expires: Moment,
}

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage<'a> {
    c: &'a PageContext,
    p: &'a Account,
    since: Moment,
    passkeys: Vec<(&'a PasskeyLine, Moment, Option<Moment>)>,
    sessions: Vec<SessionLine<'a>>,
}

impl AccountPage<'_> {
    /// Who it is, since when, and by what.
    fn who(&self) -> Phrase {
        let phrase = match &self.p.by {
            Some(by) => self.c.say("account-text-by").with("method", by),
            None => self.c.say("account-text"),
        };
        let phrase = phrase.with("email", &self.p.email);
        phrase.with("time", self.since.minute()).with("machine", self.since.machine())
    }
}

/// Add a passkey, after a login from a moment ago.
#[derive(Clone, Debug)]
pub struct AddPasskey {
    /// For whom.
    pub email: EmailAddress,
    /// What it may be called.
    pub label: String,
    /// What `POST /.access/passkey/register` needs, beside the token in its header; the page adds `label`.
    pub form: Form,
}

impl AddPasskey {
    /// The page: 200.
    pub fn render(&self, context: &PageContext) -> Response {
        let html = AddPasskeyPage { c: context, p: self }.render();
        reply::with_script(reply::page(context, StatusCode::OK, html))
    }
}

#[derive(Template)]
#[template(path = "add_passkey.html")]
struct AddPasskeyPage<'a> {
    c: &'a PageContext,
    p: &'a AddPasskey,
}

/// Delete this passkey?
#[derive(Clone, Debug)]
pub struct DeletePasskey {
    /// The passkey.
    pub passkey: PasskeyLine,
    /// Whether the person has no other.
    pub last: bool,
    /// What `POST /.access/account/delete` needs.
    pub form: Form,
}

impl DeletePasskey {
    /// The page: 200.
    pub fn render(&self, context: &PageContext) -> Response {
        reply::page(context, StatusCode::OK, DeletePasskeyPage { c: context, p: self }.render())
    }
}

#[derive(Template)]
#[template(path = "delete_passkey.html")]
struct DeletePasskeyPage<'a> {
    c: &'a PageContext,
    p: &'a DeletePasskey,
}
