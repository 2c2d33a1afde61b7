//! Why a login at a provider does not go on, and the page that says so.

use tunnel_auth::{
    github::GithubError,
    oidc::{DiscoveryError, KeySetError, Refusal, TokenError, TokenRefusal, UserinfoError},
};

use super::label;
use crate::{
    Response,
    login::{Ask, Desk, page::Step},
    outbound::OutboundError,
    pages::{LoginTrouble, Trouble},
    store::{AuditEvent, AuditRecord, LoginMethod, SecretHash},
};

/// Why a login at a provider does not go on. The text is for the record, and names no secret.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The provider is not there, too slow, or in trouble.
    #[error("the provider is down: {0}")]
    Down(String),
    /// The provider, or this edge, is not set up as the other expects.
    #[error("an administrator must look: {0}")]
    Setup(String),
    /// What the provider answered is not believed.
    #[error("the provider's answer is not believed: {0}")]
    Answer(String),
    /// What came back is not the answer to what was asked.
    #[error("not the answer to this login: {0}")]
    Again(String),
    /// The person, or the provider, said no.
    #[error("refused at the provider: {0}")]
    Refused(String),
    /// The account will not do.
    #[error("{1}")]
    Account(Trouble, String),
}

impl Failure {
    pub(super) fn again(why: &str) -> Self {
        Self::Again(why.to_owned())
    }

    /// What a provider's error code, brought back by the browser, means (RFC 6749 §4.1.2.1, OpenID Connect Core §3.1.2.6).
    pub(super) fn of_error(code: &str) -> Self {
        let text = code.to_owned();
        match code {
            "access_denied"
            | "consent_required"
            | "interaction_required"
            | "login_required"
            | "account_selection_required" => Self::Refused(text),
            "temporarily_unavailable" | "server_error" => Self::Down(text),
            _ => Self::Setup(text),
        }
    }

    /// The provider took too long in all.
    pub(super) fn late() -> Self {
        Self::Down("it did not answer in time".to_owned())
    }

    /// The same, said of one thing that was asked.
    pub(super) fn of(self, what: &str) -> Self {
        let say = |text: String| format!("{what}: {text}");
        match self {
            Self::Down(text) => Self::Down(say(text)),
            Self::Setup(text) => Self::Setup(say(text)),
            Self::Answer(text) => Self::Answer(say(text)),
            other => other,
        }
    }

    const fn trouble(&self) -> Trouble {
        match self {
            Self::Down(_) => Trouble::Down,
            Self::Setup(_) => Trouble::Setup,
            Self::Answer(_) => Trouble::Answer,
            Self::Again(_) => Trouble::Again,
            Self::Refused(_) => Trouble::Refused,
            Self::Account(trouble, _) => *trouble,
        }
    }
}

/// Records a failure, and shows it: the page names the method and offers the others.
pub(super) fn page(
    desk: &Desk<'_>,
    ask: &Ask<'_>,
    step: &Step<'_>,
    login: &SecretHash,
    method: &LoginMethod,
    failure: &Failure,
) -> Response {
    desk.audit.record(AuditRecord {
        object: Some(step.destination.name().to_owned()),
        detail: Some(format!("by {}: {failure}", method.name)),
        ..desk.record(ask, AuditEvent::LoginFailed)
    });
    if matches!(failure, Failure::Setup(_) | Failure::Answer(_)) {
        tracing::warn!(method = %method.name, %failure, reference = %ask.visit.reference, "a login method does not work");
    }
    let others = step.others(desk, &method.name);
    let mut context = desk.context(ask);
    // The login page: what came back from a provider is used up.
    context.back = Some(step.address_to_choose());
    let page = LoginTrouble {
        trouble: failure.trouble(),
        host: step.request.named().clone(),
        method: method.name.clone(),
        label: label(desk, method),
        form: step.form(desk, "login", login),
        again: step.form(desk, "login", login),
        others,
        passkey: step.passkey_button(desk, login),
        link: step.request.url(&step.request.target),
        by_code: step.destination.pin_method(desk.snapshot).map(|_| step.address_to_choose()),
        reference: ask.visit.reference,
        at: ask.visit.now,
    };
    page.render(&context)
}

impl From<OutboundError> for Failure {
    fn from(error: OutboundError) -> Self {
        match error {
            OutboundError::Unreachable { .. } | OutboundError::Slow(_) | OutboundError::Broken(_) => {
                Self::Down(error.to_string())
            }
            OutboundError::TooLarge(_) => Self::Answer(error.to_string()),
            _ => Self::Setup(error.to_string()),
        }
    }
}

impl From<DiscoveryError> for Failure {
    fn from(error: DiscoveryError) -> Self {
        Self::Setup(error.to_string())
    }
}

impl From<KeySetError> for Failure {
    fn from(error: KeySetError) -> Self {
        Self::Answer(error.to_string())
    }
}

impl From<TokenRefusal> for Failure {
    fn from(refusal: TokenRefusal) -> Self {
        match &refusal {
            TokenRefusal::Client(_) | TokenRefusal::Other(_) => Self::Setup(refusal.to_string()),
            TokenRefusal::Code(_) => Self::Again(refusal.to_string()),
            TokenRefusal::Trouble(_) => Self::Down(refusal.to_string()),
            TokenRefusal::Unreadable => Self::Answer(refusal.to_string()),
        }
    }
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::NotRecent => Self::Account(Trouble::NotRecent, error.to_string()),
            _ => Self::Answer(error.to_string()),
        }
    }
}

impl From<UserinfoError> for Failure {
    fn from(error: UserinfoError) -> Self {
        Self::Answer(error.to_string())
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let trouble = match &refusal {
            Refusal::NoEmail(_) | Refusal::NotAnAddress(_) => Trouble::NoEmail,
            Refusal::Unverified(_) => Trouble::Unverified,
            Refusal::HostedDomain(_) | Refusal::Tenant => Trouble::Account,
            Refusal::TooManyGroups | Refusal::GroupsElsewhere | Refusal::ClaimsTooLarge => Trouble::TooMuch,
            Refusal::NotGroups(_) => return Self::Answer(refusal.to_string()),
        };
        Self::Account(trouble, refusal.to_string())
    }
}

impl From<GithubError> for Failure {
    fn from(error: GithubError) -> Self {
        let text = error.to_string();
        match error {
            GithubError::Json(_) | GithubError::NoAccount => Self::Answer(text),
            GithubError::NoEmail | GithubError::NotAnAddress => Self::Account(Trouble::NoEmail, text),
            GithubError::Unverified(_) => Self::Account(Trouble::Unverified, text),
            GithubError::TooMany => Self::Account(Trouble::TooMuch, text),
        }
    }
}
