//! The first run: somebody becomes administrator.

use askama::Template;
use http::StatusCode;
use tunnel_proto::EmailAddress;

use super::{EmailProblem, Form, PageContext, PinProblem, login::digits, reply};
use crate::Response;

/// Set-up, first step: who are you?
#[derive(Clone, Debug)]
pub struct SetupEmail {
    /// What `POST /.access/setup` needs; the page adds `email`.
    pub form: Form,
    /// What was typed before, to be corrected.
    pub email: String,
    /// What was the matter with it.
    pub problem: Option<EmailProblem>,
}

impl SetupEmail {
    /// The page: 200, or 422 with a problem.
    pub fn render(&self, context: &PageContext) -> Response {
        let status = if self.problem.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
        reply::page(context, status, SetupEmailPage { c: context, p: self }.render())
    }
}

#[derive(Template)]
#[template(path = "setup_email.html")]
struct SetupEmailPage<'a> {
    c: &'a PageContext,
    p: &'a SetupEmail,
}

/// Set-up, second step: type the code.
#[derive(Clone, Debug)]
pub struct SetupPin {
    /// The address as it was understood.
    pub email: EmailAddress,
    /// Whether the code appears in the terminal of the edge rather than in a mailbox.
    pub in_terminal: bool,
    /// What `POST /.access/setup` needs; the page adds `code`.
    pub form: Form,
    /// What `POST /.access/setup` needs to send a new code to the same address.
    pub again: Form,
    /// The link back to the first step.
    pub other: String,
    /// What was typed before, to be corrected.
    pub typed: String,
    /// What was the matter with it.
    pub problem: Option<PinProblem>,
}

impl SetupPin {
    /// The page: 200, or 422 with a problem.
    pub fn render(&self, context: &PageContext) -> Response {
        let status = if self.problem.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
        let template = SetupPinPage { c: context, p: self, typed: digits(&self.typed) };
        reply::page(context, status, template.render())
    }
}

#[derive(Template)]
#[template(path = "setup_pin.html")]
struct SetupPinPage<'a> {
    c: &'a PageContext,
    p: &'a SetupPin,
    typed: String,
}

impl SetupPinPage<'_> {
    fn over(&self) -> bool {
        self.p.problem.is_some_and(PinProblem::is_final)
    }

    fn expired(&self) -> bool {
        self.p.problem == Some(PinProblem::Expired)
    }
}

/// Set-up is done; what to type next.
#[derive(Clone, Debug)]
pub struct SetupDone {
    /// The administrator.
    pub email: EmailAddress,
    /// Commands that publish the first hostname, one a box.
    pub commands: Vec<String>,
}

impl SetupDone {
    /// The page: 200.
    pub fn render(&self, context: &PageContext) -> Response {
        reply::page(context, StatusCode::OK, SetupDonePage { c: context, p: self }.render())
    }
}

#[derive(Template)]
#[template(path = "setup_done.html")]
struct SetupDonePage<'a> {
    c: &'a PageContext,
    p: &'a SetupDone,
}

/// The set-up link is used, too old, or none of ours.
#[derive(Clone, Copy, Debug)]
pub struct SetupLapsed;

impl SetupLapsed {
    /// The page: 404.
    pub fn render(&self, context: &PageContext) -> Response {
        reply::page(context, StatusCode::NOT_FOUND, SetupLapsedPage { c: context }.render())
    }
}

#[derive(Template)]
#[template(path = "setup_lapsed.html")]
struct SetupLapsedPage<'a> {
    c: &'a PageContext,
}

/// Something that needs an administrator, while there is none.
#[derive(Clone, Copy, Debug)]
pub struct NoAdministrator {
    /// The quick start, which printed a link when it started.
    pub quick_start: bool,
}

impl NoAdministrator {
    /// The page: 403.
    pub fn render(&self, context: &PageContext) -> Response {
        if context.json {
            let message = super::words::plain(context.lang, "no-admin-notice-plain", &[]);
            return reply::problem(context, StatusCode::FORBIDDEN, "no_administrator", message, None);
        }
        let template = NoAdministratorPage { c: context, p: self };
        reply::page(context, StatusCode::FORBIDDEN, template.render())
    }
}

#[derive(Template)]
#[template(path = "no_administrator.html")]
struct NoAdministratorPage<'a> {
    c: &'a PageContext,
    p: &'a NoAdministrator,
}
