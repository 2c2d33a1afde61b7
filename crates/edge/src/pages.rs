//! The pages that people meet: one struct per page, each with `render`.
//!
//! Markup is in `templates/`, words are in `locales/` (English and Japanese, the same keys), the stylesheet and the one
//! script are in `assets/`. Everything here works without script and under [a policy](CSP) that allows none, but for making
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
mod client;
mod denied;
mod enroll;
mod errors;
mod language;
mod launcher;
mod login;
mod logout;
pub mod look;
mod moment;
mod passkey;
mod renewal;
mod reply;
mod setup;
mod trouble;
pub(crate) mod words;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use tunnel_proto::{EmailAddress, Hostname};

use crate::{Lang, Reference};

pub(crate) use self::errors::StreamProblem;
pub use self::{
    account::{Account, AccountSession, AddPasskey, DeletePasskey, PasskeyLine},
    client::{ApproveClient, ClientCode, ClientResult, Waiting},
    denied::Denied,
    enroll::{ApproveConnector, ApproveProblem, EnrolResult, HostChoice},
    errors::{
        BadRequest, EdgeFault, Failure, ForgedForm, LoginRequired, Looped, MethodNotAllowed, Missing, NotFound,
        Overloaded, ServiceError, TcpOnly, TooLong, TooManyRequests,
    },
    language::LanguageSet,
    launcher::{Launcher, Tile, TileKind},
    login::{
        ComeIn, EmailProblem, Leaving, Login, MethodChoice, Onward, Opening, Pin, PinProblem, SignedIn, StartAgain,
    },
    logout::{LoggedOut, LogoutAsk},
    look::Look,
    moment::Moment,
    passkey::{Invitation, InvitationClosed, PasskeyButton, PasskeyProblem},
    renewal::{FormKept, FormLost},
    reply::{CSP, is_grpc, wants_json},
    setup::{NoAdministrator, SetupDone, SetupEmail, SetupLapsed, SetupPin},
    trouble::{LoginTrial, LoginTrouble, TrialAsk, TrialLapsed, Trouble},
};

pub(crate) use self::language::way_back;
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
    /// Path and query at which this page can be fetched again by GET, to come back to it in another language. `None` when
    /// it answers a form that cannot be had so.
    pub back: Option<String>,
    /// What pages look like.
    pub look: Arc<Look>,
    /// Whom to write to when something lasts.
    pub admin_contact: Option<EmailAddress>,
    /// Nobody is administrator yet; each page says so.
    pub no_administrator_yet: bool,
    /// The request is a program's or a script's, not a person's navigation: failures are JSON (see [`wants_json`]).
    pub json: bool,
    /// The request is a call of gRPC (see [`is_grpc`]): failures are in its own form.
    pub grpc: bool,
}

impl PageContext {
    /// A context without contact, way back or notice, for a person's navigation, of pages without a brand.
    pub fn new(zone: Hostname, lang: Lang) -> Self {
        let look = Look::plain();
        Self {
            zone,
            lang,
            back: None,
            look,
            admin_contact: None,
            no_administrator_yet: false,
            json: false,
            grpc: false,
        }
    }

    /// What stands at the head of each page: what the organisation calls itself.
    fn name(&self) -> &str {
        self.look.name().unwrap_or(self.zone.as_str())
    }

    /// The words under `key` in the page's language.
    fn say(&self, key: &'static str) -> Phrase {
        Phrase::new(self.lang, key)
    }

    /// The address that sets the language, and leads back here where that can be.
    fn language_link(&self, lang: &str) -> String {
        let back = self.back.as_deref().and_then(language::way_back);
        let back = back.map(|back| {
            let escaped: String = url::form_urlencoded::byte_serialize(back.as_bytes()).collect();
            format!("&back={escaped}")
        });
        format!("{LANGUAGE_PATH}?to={lang}{}", back.unwrap_or_default())
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

/// Where a language is chosen, on every host.
pub(crate) const LANGUAGE_PATH: &str = "/.access/language";

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
