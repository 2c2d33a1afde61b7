//! Logging out: asked by GET, done by POST.

use askama::Template;
use http::StatusCode;
use tunnel_proto::EmailAddress;

use super::{Form, PageContext, reply};
use crate::Response;

/// Do you want to sign out?
#[derive(Clone, Debug)]
pub struct LogoutAsk {
    /// Who is logged in; `None` when nobody is.
    pub signed_in: Option<EmailAddress>,
    /// What `POST /.access/logout` needs.
    pub form: Form,
}

impl LogoutAsk {
    /// The page: 200.
    pub fn render(&self, context: &PageContext) -> Response {
        reply::page(context, StatusCode::OK, LogoutAskPage { c: context, p: self }.render())
    }
}

#[derive(Template)]
#[template(path = "logout_ask.html")]
struct LogoutAskPage<'a> {
    c: &'a PageContext,
    p: &'a LogoutAsk,
}

/// Signed out.
#[derive(Clone, Debug)]
pub struct LoggedOut {
    /// Where to sign in again, for example `/` on an application's host.
    pub again: Option<String>,
}

impl LoggedOut {
    /// The page: 200.
    pub fn render(&self, context: &PageContext) -> Response {
        reply::page(context, StatusCode::OK, LoggedOutPage { c: context, p: self }.render())
    }
}

#[derive(Template)]
#[template(path = "logged_out.html")]
struct LoggedOutPage<'a> {
    c: &'a PageContext,
    p: &'a LoggedOut,
}
