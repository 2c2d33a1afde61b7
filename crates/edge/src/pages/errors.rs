//! What goes wrong: with the address, with the request, on the way to the service, and in the edge itself.

use askama::Template;
use http::{HeaderValue, StatusCode, header};
use tunnel_proto::{
    Hostname, UnixTime,
    message::{StreamRefusal, StreamRefused},
};

use super::{Moment, PageContext, reply, short};
use crate::{Lang, Reference, Response, Visit};

/// A page of one heading, one paragraph, and facts to quote.
#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    c: &'a PageContext,
    title: String,
    text: String,
    /// The address of the primary button, with its words.
    next: Option<(&'a str, &'static str)>,
    facts: Option<Facts<'a>>,
    /// The words above the facts.
    lasts: &'static str,
}

/// What to quote to an administrator.
struct Facts<'a> {
    error: String,
    reference: &'a Reference,
    at: Moment,
}

/// A problem in both of its forms.
struct Simple<'a> {
    status: StatusCode,
    code: &'static str,
    /// The words of its title, its text and its error.
    words: [&'static str; 3],
    /// What stands in the words.
    args: &'a [(&'static str, &'a str)],
    next: Option<(&'a str, &'static str)>,
    quote: Option<(&'a Reference, UnixTime)>,
}

impl Simple<'_> {
    fn render(self, context: &PageContext) -> Response {
        let [title, text, error] = self.words;
        let say = |key| self.args.iter().fold(context.say(key), |phrase, &(name, value)| phrase.with(name, value));
        if context.json {
            let message = super::words::plain(context.lang, text, self.args);
            return reply::problem(
                context,
                self.status,
                self.code,
                message,
                self.quote.map(|(reference, _)| reference),
            );
        }
        let facts = self.quote.map(|(reference, at)| Facts {
            error: say(error).to_string(),
            reference,
            at: Moment::new(at, context.lang),
        });
        let (title, text) = (say(title).to_string(), say(text).to_string());
        let lasts = lasts(self.status);
        let template = ProblemPage { c: context, title, text, next: self.next, facts, lasts };
        reply::page(context, self.status, template.render())
    }
}

/// When somebody is to be told of an answer: not all of it may pass by waiting.
fn lasts(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => "if-it-should",
        StatusCode::METHOD_NOT_ALLOWED | StatusCode::URI_TOO_LONG | StatusCode::LOOP_DETECTED => "if-you-need-help",
        StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            "if-it-happens-again"
        }
        _ => "if-it-lasts",
    }
}

/// What is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// No application, or no route, has this hostname.
    Hostname(Hostname),
    /// The edge has no such page of its own.
    Page,
}

/// Nothing is here.
#[derive(Clone, Debug)]
pub struct NotFound {
    /// What is not there.
    pub missing: Missing,
    /// What to quote.
    pub reference: Reference,
    /// When.
    pub at: UnixTime,
}

impl NotFound {
    /// The page: 404.
    pub fn render(&self, context: &PageContext) -> Response {
        let (code, words, host) = match &self.missing {
            Missing::Hostname(host) => {
                ("unknown_hostname", ["no-host-title", "no-host-text", "no-host-error"], host.as_str())
            }
            Missing::Page => ("not_found", ["no-page-title", "no-page-text", "no-page-error"], ""),
        };
        let quote = Some((&self.reference, self.at));
        Simple { status: StatusCode::NOT_FOUND, code, words, args: &[("host", host)], next: None, quote }
            .render(context)
    }
}

/// The request cannot be read in one way only, or not at all.
#[derive(Clone, Debug)]
pub struct BadRequest {
    /// What to quote.
    pub reference: Reference,
    /// When.
    pub at: UnixTime,
}

impl BadRequest {
    /// The page: 400.
    pub fn render(&self, context: &PageContext) -> Response {
        let words = ["bad-request-title", "bad-request-text", "bad-request-error"];
        let quote = Some((&self.reference, self.at));
        Simple { status: StatusCode::BAD_REQUEST, code: "bad_request", words, args: &[], next: None, quote }
            .render(context)
    }
}

/// The request's head is larger than any that is read.
#[derive(Clone, Debug)]
pub struct TooLong {
    /// Its first line alone is.
    pub of_target: bool,
    /// What to quote.
    pub reference: Reference,
    /// When.
    pub at: UnixTime,
}

impl TooLong {
    /// The page: 414 or 431.
    pub fn render(&self, context: &PageContext) -> Response {
        let (status, code, words) = if self.of_target {
            let words = ["target-long-title", "target-long-text", "target-long-error"];
            (StatusCode::URI_TOO_LONG, "target_too_long", words)
        } else {
            let words = ["too-long-title", "too-long-text", "too-long-error"];
            (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large", words)
        };
        let quote = Some((&self.reference, self.at));
        Simple { status, code, words, args: &[], next: None, quote }.render(context)
    }
}

/// The request has passed this edge before: what is published leads back to it.
#[derive(Clone, Debug)]
pub struct Looped {
    /// The host.
    pub host: Hostname,
    /// What to quote.
    pub reference: Reference,
    /// When.
    pub at: UnixTime,
}

impl Looped {
    /// The page: 508.
    pub fn render(&self, context: &PageContext) -> Response {
        let words = ["loop-title", "loop-text", "loop-error"];
        let (args, quote) = ([("host", self.host.as_str())], Some((&self.reference, self.at)));
        Simple { status: StatusCode::LOOP_DETECTED, code: "loop", words, args: &args, next: None, quote }
            .render(context)
    }
}

/// The page is there, but not for this method.
#[derive(Clone, Debug)]
pub struct MethodNotAllowed {
    /// The methods it has, for the header `Allow`.
    pub allow: &'static str,
    /// What to quote.
    pub reference: Reference,
    /// When.
    pub at: UnixTime,
}

impl MethodNotAllowed {
    /// The page: 405.
    pub fn render(&self, context: &PageContext) -> Response {
        let words = ["method-title", "method-text", "method-error"];
        let (status, quote) = (StatusCode::METHOD_NOT_ALLOWED, Some((&self.reference, self.at)));
        let simple = Simple { status, code: "method_not_allowed", words, args: &[], next: None, quote };
        let mut response = simple.render(context);
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(self.allow));
        response
    }
}

/// A form that did not come from our own page, or from one that is too old.
#[derive(Clone, Debug)]
pub struct ForgedForm {
    /// Where the form can be fetched anew, beginning with `/`.
    pub link: String,
    /// What to quote.
    pub reference: Reference,
    /// When.
    pub at: UnixTime,
}

impl ForgedForm {
    /// The page: 403.
    pub fn render(&self, context: &PageContext) -> Response {
        let words = ["form-title", "form-text", "form-error"];
        let (next, quote) = (Some((self.link.as_str(), "form-next")), Some((&self.reference, self.at)));
        Simple { status: StatusCode::FORBIDDEN, code: "form_refused", words, args: &[], next, quote }.render(context)
    }
}

/// Too many requests of this kind from this source. Says nothing about any address.
#[derive(Clone, Debug)]
pub struct TooManyRequests {
    /// Seconds to wait.
    pub retry_after: u32,
    /// What to quote.
    pub reference: Reference,
    /// When.
    pub at: UnixTime,
}

impl TooManyRequests {
    /// The page: 429 with `Retry-After`.
    pub fn render(&self, context: &PageContext) -> Response {
        let words = ["many-title", "many-text", "many-error"];
        let (status, quote) = (StatusCode::TOO_MANY_REQUESTS, Some((&self.reference, self.at)));
        // Whoever sent a form has it yet, one page back.
        let next = context.back.is_some().then_some(("", "try-again"));
        let seconds = self.retry_after.to_string();
        let args = [("seconds", seconds.as_str())];
        let simple = Simple { status, code: "too_many_requests", words, args: &args, next, quote };
        retry_after(simple.render(context), self.retry_after)
    }
}

/// The edge is short of memory.
#[derive(Clone, Debug)]
pub struct Overloaded {
    /// What to quote.
    pub reference: Reference,
    /// When.
    pub at: UnixTime,
}

impl Overloaded {
    /// The page: 503 with `Retry-After`.
    pub fn render(&self, context: &PageContext) -> Response {
        let words = ["overloaded-title", "overloaded-text", "overloaded-error"];
        let (status, quote) = (StatusCode::SERVICE_UNAVAILABLE, Some((&self.reference, self.at)));
        let next = Some(("", "try-again"));
        let simple = Simple { status, code: "overloaded", words, args: &[], next, quote };
        retry_after(simple.render(context), RETRY_AFTER)
    }
}

/// The edge itself is at fault.
#[derive(Clone, Debug)]
pub struct EdgeFault {
    /// What to quote.
    pub reference: Reference,
    /// When.
    pub at: UnixTime,
}

impl EdgeFault {
    /// The page: 500.
    pub fn render(&self, context: &PageContext) -> Response {
        let words = ["fault-title", "fault-text", "fault-error"];
        let (status, quote) = (StatusCode::INTERNAL_SERVER_ERROR, Some((&self.reference, self.at)));
        Simple { status, code: "edge_fault", words, args: &[], next: Some(("", "try-again")), quote }.render(context)
    }
}

/// A program without a session: 401, always JSON, never a redirect.
#[derive(Clone, Debug)]
pub struct LoginRequired {
    /// Where the person behind it can log in, for scripts of pages: an address to open in a window of its own.
    pub login: Option<String>,
    /// What to quote.
    pub reference: Reference,
}

impl LoginRequired {
    /// The answer: 401.
    pub fn render(&self, context: &PageContext) -> Response {
        let message = context.say("login-required").to_string();
        let (error, reference) = ("login_required", Some(self.reference.to_string()));
        let login = self.login.as_deref();
        let problem = reply::Problem { error, message, reference, link: None, link_text: None, login };
        reply::write(context, StatusCode::UNAUTHORIZED, &problem)
    }
}

/// A hostname that is reached with the access client, opened in a browser.
#[derive(Clone, Debug)]
pub struct TcpOnly {
    /// The host.
    pub host: Hostname,
    /// The command that opens it.
    pub command: String,
}

impl TcpOnly {
    /// The page about the host of a visit.
    pub(crate) fn of(visit: &Visit) -> Self {
        Self { host: visit.host.clone(), command: Self::command(&visit.host, visit.port) }
    }

    /// The command that opens what is at a host.
    pub(crate) fn command(host: &Hostname, port: Option<u16>) -> String {
        format!("access tcp --hostname {} --url 127.0.0.1:PORT", at(host, port))
    }

    /// The command that opens what is behind a bastion.
    pub(crate) fn command_to(host: &Hostname, port: Option<u16>) -> String {
        format!("access tcp --hostname {} --destination HOST:PORT --url 127.0.0.1:PORT", at(host, port))
    }

    /// The page: 426 with `Upgrade: websocket`, which is how a program would go on.
    pub fn render(&self, context: &PageContext) -> Response {
        let status = StatusCode::UPGRADE_REQUIRED;
        let mut response = if context.json {
            let text = super::words::plain(context.lang, "tcp-text", &[("host", self.host.as_str())]);
            reply::problem(context, status, "not_http", format!("{text} {}", self.command), None)
        } else {
            reply::page(context, status, TcpPage { c: context, p: self }.render())
        };
        response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        response
    }
}

fn at(host: &Hostname, port: Option<u16>) -> String {
    port.map_or_else(|| host.to_string(), |port| format!("{host}:{port}"))
}

#[derive(Template)]
#[template(path = "tcp_only.html")]
struct TcpPage<'a> {
    c: &'a PageContext,
    p: &'a TcpOnly,
}

/// A stream to a TCP service that was asked for by HTTP and refused. Programs ask, so the answer is theirs: JSON, in the
/// words that say which side refused.
#[derive(Clone, Debug)]
pub(crate) struct StreamProblem {
    /// What was said.
    pub(crate) refused: StreamRefused,
    /// What to quote.
    pub(crate) reference: Reference,
}

impl StreamProblem {
    /// The answer, with the status that fits best.
    pub(crate) fn render(&self, context: &PageContext) -> Response {
        let code = self.refused.code;
        let (status, later) = match code {
            StreamRefusal::NotGranted => (StatusCode::UNAUTHORIZED, false),
            StreamRefusal::NotAdmitted | StreamRefusal::DestinationDenied => (StatusCode::FORBIDDEN, false),
            StreamRefusal::DestinationRequired | StreamRefusal::WrongKind => (StatusCode::BAD_REQUEST, false),
            StreamRefusal::ServiceTimeout => (Failure::Slow.status(), true),
            StreamRefusal::NoTunnel => (Failure::NoTunnel.status(), true),
            StreamRefusal::TooManyStreams | StreamRefusal::Draining => (Failure::Busy.status(), true),
            _ => (Failure::BadAnswer.status(), true),
        };
        let text = self.refused.text.clone();
        let response = reply::problem(context, status, code.as_str(), text, Some(&self.reference));
        if later { retry_after(response, RETRY_AFTER) } else { response }
    }
}

/// Where the way to the service ends. Each answer has `Retry-After`: none of it is the visitor's fault, and all of it may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The service refused the connection or sent what is no answer: 502.
    BadAnswer,
    /// The service took too long: 504.
    Slow,
    /// No connector that serves the hostname is connected: 530.
    NoTunnel,
    /// The tunnel carries as much as it can: 503.
    Busy,
}

impl Failure {
    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadAnswer => StatusCode::BAD_GATEWAY,
            Self::Slow => StatusCode::GATEWAY_TIMEOUT,
            // Not in the registry, but what people know from the product this replaces.
            Self::NoTunnel => StatusCode::from_u16(530).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    const fn words(self) -> FailureWords {
        match self {
            Self::BadAnswer => FailureWords {
                code: "bad_answer",
                title: "bad-answer-title",
                text: "bad-answer-text",
                last: "bad-answer-last",
                error: "bad-answer-error",
                station: "bad-answer-station",
            },
            Self::Slow => FailureWords {
                code: "slow_answer",
                title: "slow-title",
                text: "slow-text",
                last: "slow-last",
                error: "slow-error",
                station: "slow-station",
            },
            Self::NoTunnel => FailureWords {
                code: "no_tunnel",
                title: "no-tunnel-title",
                text: "no-tunnel-text",
                last: "no-tunnel-last",
                error: "no-tunnel-error",
                station: "no-tunnel-station",
            },
            Self::Busy => FailureWords {
                code: "tunnel_busy",
                title: "busy-title",
                text: "busy-text",
                last: "",
                error: "busy-error",
                station: "busy-station",
            },
        }
    }
}

struct FailureWords {
    code: &'static str,
    title: &'static str,
    text: &'static str,
    /// What else is to be said to whom it does not pass; nothing if empty.
    last: &'static str,
    error: &'static str,
    station: &'static str,
}

/// Seconds after which a visitor may try again when a tunnel or a service is down or busy, or the edge is (F6).
const RETRY_AFTER: u32 = 5;

/// Admitted, but the service did not answer.
#[derive(Clone, Debug)]
pub struct ServiceError {
    /// Where the way ends.
    pub failure: Failure,
    /// The host.
    pub host: Hostname,
    /// What to quote.
    pub reference: Reference,
    /// When.
    pub at: UnixTime,
}

impl ServiceError {
    /// The page: see [`Failure`].
    pub fn render(&self, context: &PageContext) -> Response {
        let (status, words) = (self.failure.status(), self.failure.words());
        let name = short(&self.host, &context.zone);
        let response = if context.json {
            let message = super::words::plain(context.lang, words.title, &[("short", name)]);
            reply::problem(context, status, words.code, message, Some(&self.reference))
        } else {
            let at = Moment::new(self.at, context.lang);
            let template = ServicePage { c: context, p: self, short: name, words, at };
            reply::page(context, status, template.render())
        };
        retry_after(response, RETRY_AFTER)
    }
}

#[derive(Template)]
#[template(path = "service_error.html")]
struct ServicePage<'a> {
    c: &'a PageContext,
    p: &'a ServiceError,
    short: &'a str,
    words: FailureWords,
    at: Moment,
}

impl ServicePage<'_> {
    /// What stands between two sentences.
    fn gap(&self) -> &'static str {
        match self.c.lang {
            Lang::En => " ",
            Lang::Ja => "",
        }
    }

    /// Whether the cut is at the tunnel, so that the service was not reached.
    fn before_service(&self) -> bool {
        matches!(self.p.failure, Failure::NoTunnel | Failure::Busy)
    }
}

fn retry_after(mut response: Response, seconds: u32) -> Response {
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}
