//! A machine asks to be let in, and an administrator answers.

use std::net::IpAddr;

use askama::Template;
use http::StatusCode;
use tunnel_proto::{Name, UnixTime};

use super::{Form, Moment, PageContext, reply, words::Phrase};
use crate::Response;

/// Connect this machine?
#[derive(Clone, Debug)]
pub struct ApproveConnector {
    /// The code to compare, for example `KXBT-3MRQ`.
    pub code: String,
    /// Where the machine asked from, as the edge saw it.
    pub address: IpAddr,
    /// What it calls itself; its own claim.
    pub machine: String,
    /// Its program and version; its own claim.
    pub software: String,
    /// When it asked.
    pub asked: UnixTime,
    /// When its wish lapses.
    pub lapses: UnixTime,
    /// Now.
    pub now: UnixTime,
    /// The hostnames it asked for; the page posts the values of the ticked ones as `host`. When empty, the page has a field `hosts` to
    /// type them, separated by spaces.
    pub hosts: Vec<HostChoice>,
    /// What was typed into `hosts` before.
    pub typed: String,
    /// What was the matter with the answer before.
    pub problem: Option<ApproveProblem>,
    /// What `POST /.access/enroll` needs; the page adds `host`…, `hosts`, `same` and `answer` (`approve` or `refuse`).
    pub form: Form,
}

/// A hostname that the machine may be allowed to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostChoice {
    /// The hostname or wildcard.
    pub host: String,
    /// What is posted when it is ticked: the hostname, and what the administrator was told about it.
    pub value: String,
    /// The tunnel that serves it now.
    pub served_by: Option<Name>,
    /// Whether it is ticked.
    pub ticked: bool,
}

/// What is missing in an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApproveProblem {
    /// That the codes are the same was not ticked.
    NotCompared,
    /// No hostname was chosen.
    NoHost,
    /// Something typed is not a hostname of this edge.
    BadHost,
}

impl ApproveConnector {
    /// The page: 200, or 422 with a problem.
    pub fn render(&self, context: &PageContext) -> Response {
        let status = if self.problem.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
        let template = ApprovePage {
            c: context,
            p: self,
            asked: Moment::new(self.asked, context.lang),
            lapses: Moment::new(self.lapses, context.lang),
        };
        reply::page(context, status, template.render())
    }
}

#[derive(Template)]
#[template(path = "approve_connector.html")]
struct ApprovePage<'a> {
    c: &'a PageContext,
    p: &'a ApproveConnector,
    asked: Moment,
    lapses: Moment,
}

impl ApprovePage<'_> {
    fn spelled(&self) -> String {
        spelled(&self.p.code)
    }

    fn minutes_ago(&self) -> u64 {
        self.p.now.since(self.p.asked).as_secs() / 60
    }

    fn not_compared(&self) -> bool {
        self.p.problem == Some(ApproveProblem::NotCompared)
    }

    fn lacks_hosts(&self) -> bool {
        matches!(self.p.problem, Some(ApproveProblem::NoHost | ApproveProblem::BadHost))
    }

    /// What is the matter with the hostnames, if they are lacking.
    fn hosts_problem(&self) -> Phrase {
        match self.p.problem {
            Some(ApproveProblem::BadHost) => self.c.say("approve-bad-host").with("zone", &self.c.zone),
            _ => self.c.say("approve-no-host"),
        }
    }

    /// The first label of a hostname, as people say it.
    fn label<'h>(&self, choice: &'h HostChoice) -> &'h str {
        choice.host.split('.').next().unwrap_or_default()
    }
}

/// A code letter by letter, for screen readers.
pub(super) fn spelled(code: &str) -> String {
    let parts = code.split('-').map(|part| part.chars().map(String::from).collect::<Vec<_>>().join(" "));
    parts.collect::<Vec<_>>().join(", ")
}

/// What became of a machine's wish.
#[derive(Clone, Debug)]
pub enum EnrolResult {
    /// Approved.
    Approved {
        /// What the machine calls itself.
        machine: String,
        /// What it may publish.
        hosts: Vec<String>,
    },
    /// Refused.
    Refused,
    /// Too late, answered already, or never asked.
    Lapsed,
}

impl EnrolResult {
    /// The page: 200, or 404 when lapsed.
    pub fn render(&self, context: &PageContext) -> Response {
        let status = if matches!(self, Self::Lapsed) { StatusCode::NOT_FOUND } else { StatusCode::OK };
        reply::page(context, status, ResultPage { c: context, p: self }.render())
    }
}

#[derive(Template)]
#[template(path = "enrol_result.html")]
struct ResultPage<'a> {
    c: &'a PageContext,
    p: &'a EnrolResult,
}
