//! A form that arrives when its session has ended.

use askama::Template;
use http::StatusCode;
use tunnel_proto::{EmailAddress, Hostname};

use super::{PageContext, reply, short};
use crate::Response;

/// A form of an application's that was kept, to be sent again after a login.
#[derive(Clone, Debug)]
pub struct FormKept {
    /// The application's host.
    pub host: Hostname,
    /// The address that the form is sent to, scheme and host included.
    pub target: String,
    /// Its fields, in order.
    pub fields: Vec<(String, String)>,
    /// The path at which one logs in, in a window of its own.
    pub sign_in: String,
    /// Who filled it in, where that is known.
    pub writer: Option<EmailAddress>,
    /// Who is logged in meanwhile, and did not.
    pub other: Option<EmailAddress>,
}

impl FormKept {
    /// The page: 401, or 403 for somebody else. Nothing is sent before somebody presses the button.
    pub fn render(&self, context: &PageContext) -> Response {
        let status = if self.other.is_some() { StatusCode::FORBIDDEN } else { StatusCode::UNAUTHORIZED };
        let template = KeptPage { c: context, p: self, short: short(&self.host, &context.zone) };
        reply::with_form_of_application(reply::page(context, status, template.render()))
    }
}

#[derive(Template)]
#[template(path = "form_kept.html")]
struct KeptPage<'a> {
    c: &'a PageContext,
    p: &'a FormKept,
    short: &'a str,
}

/// A form that cannot be kept: it is too large, has a file, or is written in a way that a page cannot repeat; or it may be
/// anybody's.
#[derive(Clone, Debug)]
pub struct FormLost {
    /// The application's host.
    pub host: Hostname,
    /// The path at which one logs in, in a window of its own.
    pub sign_in: String,
    /// Whether it is not kept because somebody has signed out here.
    pub signed_out: bool,
}

impl FormLost {
    /// The page: 401.
    pub fn render(&self, context: &PageContext) -> Response {
        let template = LostPage { c: context, p: self, short: short(&self.host, &context.zone) };
        reply::page(context, StatusCode::UNAUTHORIZED, template.render())
    }
}

#[derive(Template)]
#[template(path = "form_lost.html")]
struct LostPage<'a> {
    c: &'a PageContext,
    p: &'a FormLost,
    short: &'a str,
}
