//! The pages that people meet: one struct per page, each with `render`.
//!
//! Markup is in `templates/`, words are in `locales/` (English and Japanese, the same keys), the stylesheet and the one
//! script are in `assets/`. Everything here works without script and under [a policy](csp) that allows none, but for making
//! and using a passkey. Words that a stranger chose (hosts, addresses, names of machines) are escaped wherever they are put,
//! and nothing here says whether an address is admitted.
//!
//! ```
//! use tunnel_edge::{Lang, Reference, pages::{Missing, NotFound, PageContext}};
//! use tunnel_proto::{Hostname, UnixTime};
//!
//! let context = PageContext::new(Hostname::parse("tnkeng.work")?, Lang::En);
//! let page = NotFound { missing: Missing::Page, reference: Reference::from_random([7; 6]), at: UnixTime(1_763_874_171) };
//! assert_eq!(page.render(&context).status(), 404);
//! # Ok::<(), tunnel_proto::hostname::HostnameError>(())
//! ```

mod account;
pub mod assets;
mod client;
mod denied;
mod enroll;
mod errors;
mod login;
mod logout;
mod moment;
mod passkey;
mod reply;
mod setup;
mod trouble;
pub(crate) mod words;

#[cfg(test)]
mod tests;

use tunnel_proto::{EmailAddress, Hostname};

use crate::{Lang, Reference};

pub(crate) use self::errors::StreamProblem;
pub use self::{
    account::{Account, AccountSession, AddPasskey, DeletePasskey, PasskeyLine},
    client::{ApproveClient, ClientCode, ClientResult, Waiting},
    denied::Denied,
    enroll::{ApproveConnector, ApproveProblem, EnrolResult, HostChoice},
    errors::{
        BadRequest, EdgeFault, Failure, ForgedForm, LoginRequired, MethodNotAllowed, Missing, NotFound, ServiceError,
        TcpOnly, TooLong, TooManyRequests,
    },
    login::{EmailProblem, Leaving, Login, MethodChoice, Pin, PinProblem, StartAgain},
    logout::{LoggedOut, LogoutAsk},
    moment::Moment,
    passkey::{Invitation, InvitationClosed, PasskeyButton, PasskeyProblem},
    reply::{csp, wants_json},
    setup::{NoAdministrator, SetupDone, SetupEmail, SetupLapsed, SetupPin},
    trouble::{LoginTrial, LoginTrouble, TrialAsk, TrialLapsed, Trouble},
};

use self::words::Phrase;

/// The name of the form field that carries the anti-forgery token.
pub const FORM_TOKEN: &str = "form_token";

/// What every page shows beside its own subject.
#[derive(Clone, Debug)]
pub struct PageContext {
    /// The zone; its name stands at the head and the foot of each page.
    pub zone: Hostname,
    /// The language of the page.
    pub lang: Lang,
    /// The query (without `?`) with which this page can be fetched again by GET in another language; a `lang` in it is
    /// replaced. When the page's address takes none, or the page answers a POST, `None`.
    pub query: Option<String>,
    /// Whom to write to when something lasts.
    pub admin_contact: Option<EmailAddress>,
    /// Nobody is administrator yet; each page says so.
    pub no_administrator_yet: bool,
    /// The request is a program's or a script's, not a person's navigation: failures are JSON (see [`wants_json`]).
    pub json: bool,
}

impl PageContext {
    /// A context without contact, query or notice, for a person's navigation.
    pub fn new(zone: Hostname, lang: Lang) -> Self {
        Self { zone, lang, query: None, admin_contact: None, no_administrator_yet: false, json: false }
    }

    /// The words under `key` in the page's language.
    fn say(&self, key: &'static str) -> Phrase {
        Phrase::new(self.lang, key)
    }

    /// The address of this page in `lang`, relative to itself.
    fn language_link(&self, lang: &str) -> String {
        let kept = self.query.as_deref().unwrap_or_default().split('&');
        let kept = kept.filter(|pair| !pair.is_empty() && !matches!(pair.split('=').next(), Some("lang")));
        let mut link = String::from("?");
        kept.for_each(|pair| {
            link.push_str(pair);
            link.push('&');
        });
        link.push_str("lang=");
        link.push_str(lang);
        link
    }

    /// The address that a form posts to: a language that was chosen by a link stays chosen.
    fn action(&self, path: &str) -> String {
        let mut pairs = self.query.as_deref().unwrap_or_default().split('&');
        if pairs.any(|pair| pair.starts_with("lang=")) {
            format!("{path}?lang={}", self.lang.tag())
        } else {
            path.to_owned()
        }
    }

    /// A `mailto:` address for telling the contact about `subject` and `reference`.
    fn mailto(&self, contact: &EmailAddress, subject: &str, reference: &Reference) -> String {
        use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
        let to = utf8_percent_encode(contact.as_str(), MAILTO);
        let subject = format!("{subject} ({reference})");
        format!("mailto:{to}?subject={}", utf8_percent_encode(&subject, NON_ALPHANUMERIC))
    }
}

/// What an address in a `mailto:` may hold as it is (RFC 6068 §2).
const MAILTO: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'@').remove(b'.').remove(b'-').remove(b'_').remove(b'~').remove(b'+');

/// What a form carries unseen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// The anti-forgery token, in the field [`FORM_TOKEN`].
    pub token: String,
    /// Further hidden fields.
    pub hidden: Vec<(&'static str, String)>,
}

impl Form {
    /// A form with this anti-forgery token.
    pub fn new(token: impl Into<String>) -> Self {
        Self { token: token.into(), hidden: Vec::new() }
    }

    /// Adds a hidden field.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.hidden.push((name, value.into()));
        self
    }
}

/// The short name of a host within its zone, as people say it: `www` for `www.tnkeng.work`.
fn short<'a>(host: &'a Hostname, zone: &Hostname) -> &'a str {
    let head = host.as_str().strip_suffix(zone.as_str()).and_then(|head| head.strip_suffix('.'));
    head.unwrap_or(host.as_str())
}
