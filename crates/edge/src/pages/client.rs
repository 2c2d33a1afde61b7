//! A program asks to open an application in a person's name, and the person answers.

use std::net::IpAddr;

use askama::Template;
use http::StatusCode;
use tunnel_proto::{EmailAddress, Hostname, Name, UnixTime};

use super::{Form, Moment, PageContext, enroll::spelled, reply, short};
use crate::{Reference, Response};

/// Let the access client in?
#[derive(Clone, Debug)]
pub struct ApproveClient {
    /// The host that it wants to open.
    pub host: Hostname,
    /// The application there.
    pub app: Name,
    /// In whose name: who is logged in here.
    pub email: EmailAddress,
    /// How the person shows that the program's terminal is in front of them.
    pub code: ClientCode,
    /// What its computer calls itself; its own claim.
    pub computer: String,
    /// The command that was typed; its own claim.
    pub command: String,
    /// Where it asked from, as the edge saw it.
    pub address: IpAddr,
    /// Whether this browser comes from the same address, if it was not this browser that brought the wish.
    pub same: Option<bool>,
    /// Since when it waits; `None` when it sent this browser here itself.
    pub waiting: Option<Waiting>,
    /// Until when it would be let in.
    pub until: UnixTime,
    /// What `POST /.access/cli` needs; the page adds `answer` (`approve` or `refuse`).
    pub form: Form,
}

/// How a person shows that a program's terminal is in front of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientCode {
    /// By comparing this code, for example `7492`, to the one there.
    Compare(String),
    /// By typing the code from there, which the page does not show; whether what was typed last was another one.
    Type {
        /// What was typed was not the code.
        wrong: bool,
    },
}

/// How long a program waits on another device.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// When it asked.
    pub asked: UnixTime,
    /// When its wish lapses.
    pub lapses: UnixTime,
    /// Now.
    pub now: UnixTime,
}

impl ApproveClient {
    /// The page: 200, or 422 when another code was typed.
    pub fn render(&self, context: &PageContext) -> Response {
        let moment = |at| Moment::new(at, context.lang);
        let template = ApprovePage {
            c: context,
            p: self,
            short: short(&self.host, &context.zone),
            until: moment(self.until),
            times: self.waiting.map(|waiting| (moment(waiting.asked), moment(waiting.lapses), waiting)),
        };
        let wrong = self.code == ClientCode::Type { wrong: true };
        let status = if wrong { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
        reply::page(context, status, template.render())
    }
}

#[derive(Template)]
#[template(path = "approve_client.html")]
struct ApprovePage<'a> {
    c: &'a PageContext,
    p: &'a ApproveClient,
    short: &'a str,
    until: Moment,
    times: Option<(Moment, Moment, Waiting)>,
}

impl ApprovePage<'_> {
    fn spelled(&self, code: &str) -> String {
        spelled(code)
    }

    fn minutes_ago(&self, waiting: &Waiting) -> u64 {
        waiting.now.since(waiting.asked).as_secs() / 60
    }
}

/// What became of a program's wish that came from another device.
#[derive(Clone, Debug)]
pub enum ClientResult {
    /// It is let in.
    Approved {
        /// What its computer calls itself.
        computer: String,
        /// What it may open.
        host: Hostname,
        /// Until when.
        until: UnixTime,
    },
    /// It is refused.
    Refused,
    /// Other codes were typed too often.
    Guessed {
        /// What to quote.
        reference: Reference,
        /// When.
        at: UnixTime,
    },
    /// Too late, answered already, or never asked.
    Lapsed,
}

impl ClientResult {
    /// The page: 200, 404 when lapsed, or 429 after too many codes.
    pub fn render(&self, context: &PageContext) -> Response {
        let status = match self {
            Self::Approved { .. } | Self::Refused => StatusCode::OK,
            Self::Guessed { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Lapsed => StatusCode::NOT_FOUND,
        };
        reply::page(context, status, ResultPage { c: context, p: self }.render())
    }
}

#[derive(Template)]
#[template(path = "client_result.html")]
struct ResultPage<'a> {
    c: &'a PageContext,
    p: &'a ClientResult,
}

impl ResultPage<'_> {
    fn moment(&self, at: &UnixTime) -> Moment {
        Moment::new(*at, self.c.lang)
    }
}
