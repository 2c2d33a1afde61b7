//! Turned away by policy.

use askama::Template;
use http::StatusCode;
use tunnel_proto::{EmailAddress, Hostname, UnixTime};

use super::{Form, Moment, PageContext, reply, short};
use crate::{Reference, Response};

/// No policy admits this visit. Says who one is, when it was and the reference; never which rule.
#[derive(Clone, Debug)]
pub struct Denied {
    /// The application's host.
    pub host: Hostname,
    /// Who is logged in; `None` when nobody could be admitted from this network address, so that no login is offered.
    pub signed_in: Option<EmailAddress>,
    /// By which method, unless it was a code.
    pub by: Option<String>,
    /// What `POST /.access/logout` on this host needs, to log in with another address; `None` leaves the button out.
    pub form: Option<Form>,
    /// What to quote.
    pub reference: Reference,
    /// When.
    pub at: UnixTime,
}

impl Denied {
    /// The page for a visitor of whom no more is to be said.
    pub(crate) fn of(visit: &crate::Visit) -> Self {
        Self {
            host: visit.host.clone(),
            signed_in: None,
            by: None,
            form: None,
            reference: visit.reference,
            at: visit.now,
        }
    }

    /// The page: 403.
    pub fn render(&self, context: &PageContext) -> Response {
        if context.json {
            let message = context.say("denied-text-plain").with("host", &self.host).to_string();
            return reply::problem(context, StatusCode::FORBIDDEN, "not_admitted", message, Some(&self.reference));
        }
        let template = DeniedPage {
            c: context,
            p: self,
            short: short(&self.host, &context.zone),
            at: Moment::new(self.at, context.lang),
        };
        reply::page(context, StatusCode::FORBIDDEN, template.render())
    }
}

#[derive(Template)]
#[template(path = "denied.html")]
struct DeniedPage<'a> {
    c: &'a PageContext,
    p: &'a Denied,
    short: &'a str,
    at: Moment,
}
