//! A login at a provider that does not go on, and what came of trying one.

use askama::Template;
use http::{HeaderValue, StatusCode, header};
use tunnel_proto::{Hostname, Name, UnixTime};

use super::{Form, MethodChoice, Moment, PageContext, PasskeyButton, reply, short};
use crate::{Reference, Response, login::provider::TrialOutcome};

/// What the trouble is, as far as a visitor needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The provider does not answer: 503 with `Retry-After`.
    Down,
    /// The administrator must look: 502.
    Setup,
    /// The provider's answer is not believed: 502.
    Answer,
    /// What came back is not the answer to this login: 400.
    Again,
    /// The person or the provider said no: 403.
    Refused,
    /// The person was to prove anew who they are, and it is not said that they have: 403.
    NotRecent,
    /// The address is not verified: 403.
    Unverified,
    /// There is no address: 403.
    NoEmail,
    /// The account is of another organisation: 403.
    Account,
    /// There is more about the person than is kept: 403.
    TooMuch,
}

/// Seconds after which a visitor may try again when a provider is down.
const RETRY_AFTER: u32 = 30;

struct Words {
    code: &'static str,
    title: &'static str,
    text: &'static str,
    error: &'static str,
    /// What stands above the reference.
    heading: &'static str,
    /// Whether another account is the mend.
    another: bool,
}

impl Trouble {
    const fn status(self) -> StatusCode {
        match self {
            Self::Down => StatusCode::SERVICE_UNAVAILABLE,
            Self::Setup | Self::Answer => StatusCode::BAD_GATEWAY,
            Self::Again => StatusCode::BAD_REQUEST,
            Self::Refused | Self::NotRecent | Self::Unverified | Self::NoEmail | Self::Account | Self::TooMuch => {
                StatusCode::FORBIDDEN
            }
        }
    }

    const fn words(self) -> Words {
        match self {
            Self::Down => Words {
                code: "provider_down",
                title: "trouble-down-title",
                text: "trouble-down-text",
                error: "trouble-down-error",
                heading: "if-it-lasts",
                another: false,
            },
            Self::Setup => Words {
                code: "provider_setup",
                title: "trouble-setup-title",
                text: "trouble-setup-text",
                error: "trouble-setup-error",
                heading: "what-you-can-do",
                another: false,
            },
            Self::Answer => Words {
                code: "provider_answer",
                title: "trouble-answer-title",
                text: "trouble-answer-text",
                error: "trouble-answer-error",
                heading: "if-it-happens-again",
                another: false,
            },
            Self::Again => Words {
                code: "login_incomplete",
                title: "again-title",
                text: "trouble-again-text",
                error: "trouble-again-error",
                heading: "if-it-happens-again",
                another: false,
            },
            Self::Refused => Words {
                code: "provider_refused",
                title: "trouble-refused-title",
                text: "trouble-refused-text",
                error: "trouble-refused-error",
                heading: "if-you-need-help",
                another: false,
            },
            Self::NotRecent => Words {
                code: "login_not_repeated",
                title: "trouble-recent-title",
                text: "trouble-recent-text",
                error: "trouble-recent-error",
                heading: "if-it-happens-again",
                another: false,
            },
            Self::Unverified => Words {
                code: "email_unverified",
                title: "trouble-unverified-title",
                text: "trouble-unverified-text",
                error: "trouble-unverified-error",
                heading: "if-you-need-help",
                another: true,
            },
            Self::NoEmail => Words {
                code: "email_missing",
                title: "trouble-email-title",
                text: "trouble-email-text",
                error: "trouble-email-error",
                heading: "if-you-need-help",
                another: true,
            },
            Self::Account => Words {
                code: "other_organization",
                title: "trouble-account-title",
                text: "trouble-account-text",
                error: "trouble-account-error",
                heading: "if-you-need-help",
                another: true,
            },
            Self::TooMuch => Words {
                code: "too_much_told",
                title: "trouble-much-title",
                text: "trouble-much-text",
                error: "trouble-much-error",
                heading: "what-you-can-do",
                another: true,
            },
        }
    }
}

/// A login at a provider does not go on. Names the method, and offers the others.
#[derive(Clone, Debug)]
pub struct LoginTrouble {
    /// What the trouble is.
    pub trouble: Trouble,
    /// The application's host.
    pub host: Hostname,
    /// The method.
    pub method: Name,
    /// Whose it is, in the words that people know.
    pub label: String,
    /// What `POST /.access/login` needs; the page adds `method`.
    pub form: Form,
    /// The same for the method itself; the page adds `account=other` where another account is the mend.
    pub again: Form,
    /// The other methods.
    pub others: Vec<MethodChoice>,
    /// What is needed to offer a passkey; `None` leaves it out.
    pub passkey: Option<PasskeyButton>,
    /// Where to begin anew: an address of the application, made by us.
    pub link: String,
    /// Where a code can be asked for, if it can.
    pub by_code: Option<String>,
    /// What to quote.
    pub reference: Reference,
    /// When.
    pub at: UnixTime,
}

impl LoginTrouble {
    /// The page: see [`Trouble`].
    pub fn render(&self, context: &PageContext) -> Response {
        let (status, words) = (self.trouble.status(), self.trouble.words());
        let mut response = if context.json {
            let message = super::words::plain(context.lang, words.title, &[("method", &self.label)]);
            reply::problem(context, status, words.code, message, Some(&self.reference))
        } else {
            let (short, at) = (short(&self.host, &context.zone), Moment::new(self.at, context.lang));
            let template = TroublePage { c: context, p: self, short, words, at };
            let page = reply::page(context, status, template.render());
            if self.passkey.is_some() { reply::with_script(page) } else { page }
        };
        if self.trouble == Trouble::Down {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER));
        }
        response
    }
}

#[derive(Template)]
#[template(path = "login_trouble.html")]
struct TroublePage<'a> {
    c: &'a PageContext,
    p: &'a LoginTrouble,
    short: &'a str,
    words: Words,
    at: Moment,
}

impl TroublePage<'_> {
    /// Whether a visitor can do nothing but tell somebody.
    fn for_administrator(&self) -> bool {
        self.p.trouble == Trouble::Setup
    }
}

/// What came of trying a login method, for the administrator who did.
#[derive(Clone, Debug)]
pub struct LoginTrial {
    /// Whose it is, in the words that people know.
    pub label: String,
    /// What came of it.
    pub outcome: TrialOutcome,
}

impl LoginTrial {
    /// The page: 200, or 422 when nobody would be logged in.
    pub fn render(&self, context: &PageContext) -> Response {
        let good = self.outcome.refused.is_empty();
        let status = if good { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
        let template = TrialPage { c: context, p: self, o: &self.outcome };
        reply::page(context, status, template.render())
    }
}

#[derive(Template)]
#[template(path = "login_trial.html")]
struct TrialPage<'a> {
    c: &'a PageContext,
    p: &'a LoginTrial,
    o: &'a TrialOutcome,
}

impl TrialPage<'_> {
    /// A reason of the record as a sentence.
    fn sentence(&self, why: &str) -> String {
        let mut letters = why.chars();
        let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
        format!("{first}{}.", letters.as_str())
    }
}

/// Shall a login method be tried? Says who will read what of whoever goes on.
#[derive(Clone, Debug)]
pub struct TrialAsk {
    /// The method.
    pub method: Name,
    /// Whose it is, in the words that people know.
    pub label: String,
    /// What `POST /.access/login-test` needs.
    pub form: Form,
}

impl TrialAsk {
    /// The page: 200.
    pub fn render(&self, context: &PageContext) -> Response {
        let template = TrialAskPage { c: context, p: self };
        reply::page(context, StatusCode::OK, template.render())
    }
}

#[derive(Template)]
#[template(path = "trial_ask.html")]
struct TrialAskPage<'a> {
    c: &'a PageContext,
    p: &'a TrialAsk,
}

/// A link for trying a login method that was opened before, or is too old.
#[derive(Clone, Copy, Debug)]
pub struct TrialLapsed;

impl TrialLapsed {
    /// The page: 404.
    pub fn render(&self, context: &PageContext) -> Response {
        reply::page(context, StatusCode::NOT_FOUND, TrialLapsedPage { c: context }.render())
    }
}

#[derive(Template)]
#[template(path = "trial_lapsed.html")]
struct TrialLapsedPage<'a> {
    c: &'a PageContext,
}
