//! Logging in: choosing how, typing the code, starting again.

use askama::Template;
use http::{HeaderValue, StatusCode, header};
use tunnel_proto::{Hostname, Name, UnixTime};

use super::{Form, Moment, PageContext, PasskeyButton, reply, short};
use crate::{Reference, Response};

/// How do you want to log in?
#[derive(Clone, Debug)]
pub struct Login {
    /// The application's host.
    pub host: Hostname,
    /// What `POST /.access/login` needs; the page adds `method`, and `email` for a PIN.
    pub form: Form,
    /// The methods beside a PIN, in their order.
    pub methods: Vec<MethodChoice>,
    /// Whether a code can be sent by e-mail.
    pub pin: bool,
    /// What was typed before, to be corrected.
    pub email: String,
    /// What was the matter with it.
    pub problem: Option<EmailProblem>,
    /// What is needed to offer a passkey; `None` leaves it out.
    pub passkey: Option<PasskeyButton>,
    /// The mail server has not taken any mail for a while; said to everybody alike.
    pub mail_delayed: bool,
}

/// On the way to a provider, after a press of its button.
#[derive(Clone, Debug)]
pub struct Leaving {
    /// Whose it is, in the words that people know.
    pub label: String,
    /// The address at the provider.
    pub url: String,
}

impl Leaving {
    /// The page: 200, which the browser leaves at once. A redirect would be part of the form's answer, and then the page's
    /// policy would have to name every origin to which the provider redirects in turn.
    pub fn render(&self, context: &PageContext) -> Response {
        let mut response = reply::page(context, StatusCode::OK, LeavingPage { c: context, p: self }.render());
        if let Ok(refresh) = HeaderValue::from_str(&format!("0;url={}", self.url)) {
            response.headers_mut().insert(header::REFRESH, refresh);
        }
        response
    }
}

/// On the way back from a form of ours, to an application or to a program.
#[derive(Clone, Debug)]
pub struct Opening {
    /// To whom.
    pub to: Onward,
    /// The address there.
    pub url: String,
}

/// Whoever a form leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Onward {
    /// A private page.
    Page(Hostname),
    /// The access client, which listens on this computer.
    Program,
}

impl Opening {
    /// The page: 200, which the browser leaves at once, like [`Leaving`].
    pub fn render(&self, context: &PageContext) -> Response {
        let short = match &self.to {
            Onward::Page(host) => Some(short(host, &context.zone)),
            Onward::Program => None,
        };
        let html = OpeningPage { c: context, p: self, short }.render();
        let mut response = reply::page(context, StatusCode::OK, html);
        if let Ok(mut refresh) = HeaderValue::from_str(&format!("0;url={}", self.url)) {
            refresh.set_sensitive(true);
            response.headers_mut().insert(header::REFRESH, refresh);
        }
        response
    }
}

#[derive(Template)]
#[template(path = "opening.html")]
struct OpeningPage<'a> {
    c: &'a PageContext,
    p: &'a Opening,
    short: Option<&'a str>,
}

/// Signed in at an application that no other site may open in the person's place: the way there goes on by a press.
#[derive(Clone, Debug)]
pub struct ComeIn {
    /// Where.
    pub host: Hostname,
    /// The address there.
    pub url: String,
}

impl ComeIn {
    /// The page: 200.
    pub fn render(&self, context: &PageContext) -> Response {
        let template = ComeInPage { c: context, p: self, short: short(&self.host, &context.zone) };
        reply::page(context, StatusCode::OK, template.render())
    }
}

#[derive(Template)]
#[template(path = "come_in.html")]
struct ComeInPage<'a> {
    c: &'a PageContext,
    p: &'a ComeIn,
    short: &'a str,
}

/// Signed in, in a window that was opened for that.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// Where.
    pub host: Hostname,
}

impl SignedIn {
    /// The page: 200.
    pub fn render(&self, context: &PageContext) -> Response {
        let template = SignedInPage { c: context, p: self, short: short(&self.host, &context.zone) };
        reply::page(context, StatusCode::OK, template.render())
    }
}

#[derive(Template)]
#[template(path = "signed_in.html")]
struct SignedInPage<'a> {
    c: &'a PageContext,
    p: &'a SignedIn,
    short: &'a str,
}

#[derive(Template)]
#[template(path = "leaving.html")]
struct LeavingPage<'a> {
    c: &'a PageContext,
    p: &'a Leaving,
}

/// A login method at a provider, as a button.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodChoice {
    /// The method.
    pub name: Name,
    /// Whose it is, in the words that people know.
    pub label: String,
}

impl MethodChoice {
    /// The letter before it.
    pub(super) fn mark(&self) -> String {
        self.label.chars().take(1).flat_map(char::to_uppercase).collect()
    }
}

/// What is the matter with an address that was typed. Nothing here depends on whether it is admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmailProblem {
    /// It is not an e-mail address.
    NotAnAddress,
}

impl Login {
    /// The page: 200, or 422 with a problem.
    pub fn render(&self, context: &PageContext) -> Response {
        let status = if self.problem.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
        let template = LoginPage { c: context, p: self, short: short(&self.host, &context.zone) };
        let response = reply::page(context, status, template.render());
        if self.passkey.is_some() { reply::with_script(response) } else { response }
    }
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    c: &'a PageContext,
    p: &'a Login,
    short: &'a str,
}

impl LoginPage<'_> {
    /// Whether there is no other way.
    fn passkey_alone(&self) -> bool {
        !self.p.pin && self.p.methods.is_empty()
    }
}

/// Type the code from the e-mail. The same for every address, admitted or not.
#[derive(Clone, Debug)]
pub struct Pin {
    /// The application's host.
    pub host: Hostname,
    /// The address as it was understood.
    pub email: String,
    /// What `POST /.access/callback/pin` needs; the page adds `code`.
    pub form: Form,
    /// What `POST /.access/login` needs to send a new code; the page adds `method=pin-again`.
    pub again: Form,
    /// The link back to the login page, beginning with `/`.
    pub other: String,
    /// What was typed before, to be corrected.
    pub typed: String,
    /// What was the matter with it.
    pub problem: Option<PinProblem>,
    /// The mail server has not taken any mail for a while; said to everybody alike.
    pub mail_delayed: bool,
}

/// What is the matter with a code that was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinProblem {
    /// It is not eight digits. Costs no try.
    NotDigits,
    /// It is not the code, and this many tries are left.
    Wrong {
        /// Tries left.
        left: u32,
    },
    /// The code counts no more: too many tries, a newer code was sent, or it was used.
    Void,
    /// Its time is over.
    Expired,
}

impl PinProblem {
    /// Whether no code that is typed here can be the right one any more.
    pub(super) const fn is_final(self) -> bool {
        matches!(self, Self::Void | Self::Expired)
    }
}

impl Pin {
    /// The page: 200, or 422 with a problem.
    pub fn render(&self, context: &PageContext) -> Response {
        let status = if self.problem.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
        let template =
            PinPage { c: context, p: self, typed: digits(&self.typed), short: short(&self.host, &context.zone) };
        reply::page(context, status, template.render())
    }
}

/// What of a typed code is shown again.
pub(super) fn digits(typed: &str) -> String {
    typed.chars().filter(char::is_ascii_digit).take(8).collect()
}

#[derive(Template)]
#[template(path = "pin.html")]
struct PinPage<'a> {
    c: &'a PageContext,
    p: &'a Pin,
    typed: String,
    short: &'a str,
}

impl PinPage<'_> {
    fn over(&self) -> bool {
        self.p.problem.is_some_and(PinProblem::is_final)
    }

    fn expired(&self) -> bool {
        self.p.problem == Some(PinProblem::Expired)
    }
}

/// A login that cannot go on: another browser's, an older one, or one whose cookie is gone. Never a redirect, so never a
/// loop.
#[derive(Clone, Debug)]
pub struct StartAgain {
    /// The application's host, when it is known.
    pub host: Option<Hostname>,
    /// Where to begin anew: an address of the application, made by us. Without one the page says to open it again.
    pub link: Option<String>,
    /// What to quote.
    pub reference: Reference,
    /// When.
    pub at: UnixTime,
}

impl StartAgain {
    /// The page: 400.
    pub fn render(&self, context: &PageContext) -> Response {
        if context.json {
            let words = if self.link.is_some() { "again-text" } else { "again-open-text" };
            let message = context.say(words).to_string();
            return reply::problem(
                context,
                StatusCode::BAD_REQUEST,
                "login_incomplete",
                message,
                Some(&self.reference),
            );
        }
        let at = Moment::new(self.at, context.lang);
        reply::page(context, StatusCode::BAD_REQUEST, StartAgainPage { c: context, p: self, at }.render())
    }
}

#[derive(Template)]
#[template(path = "start_again.html")]
struct StartAgainPage<'a> {
    c: &'a PageContext,
    p: &'a StartAgain,
    at: Moment,
}

impl StartAgainPage<'_> {
    fn name(&self) -> Option<&str> {
        self.p.host.as_ref().map(|host| short(host, &self.c.zone))
    }
}
