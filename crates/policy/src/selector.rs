//! One condition of a rule list.

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tunnel_proto::{AppId, EmailAddress, Hostname, Name};

use crate::{Action, Country, TimeOfWeek};

/// One condition. Written as a map with one key, for example `email_domain: example.com`.
///
/// What is asked about a person holds of people only: never of a machine, and never of somebody who has not logged in.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Selector {
    /// This e-mail address.
    Email(EmailAddress),
    /// E-mail addresses whose domain is exactly this one.
    EmailDomain(Hostname),
    /// E-mail addresses of this list.
    EmailList(Name),
    /// Source addresses in this range.
    Ip(IpNet),
    /// Source addresses in a range of this list.
    IpList(Name),
    /// Source addresses in this country. One whose country is not known is in none.
    Country(Country),
    /// Everyone.
    Everyone,
    /// People who logged in by this method.
    LoginMethod(Name),
    /// People who authenticated this way, by a value of RFC 8176 that the login method reported.
    AuthMethod(String),
    /// People in a group of the login method's provider.
    IdpGroup(ProviderGroup),
    /// People in an organisation at GitHub.
    Github(GithubTeam),
    /// People of whom the provider claims this.
    OidcClaim(ClaimValue),
    /// Machines with the service token of this name.
    ServiceToken(Name),
    /// Machines with any service token.
    AnyServiceToken,
    /// Requests at certain times of the week.
    TimeOfWeek(TimeOfWeek),
    /// People of whom a service elsewhere said yes when they opened the application.
    ExternalEvaluation(Evaluation),
    /// People and places that this group's rules match.
    Group(Name),
}

/// A group of a login method's provider, as the provider writes it: compared letter by letter.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderGroup {
    /// The group, by name or id.
    pub name: String,
    /// Only people who logged in by this method; a group of another provider may have the same name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_method: Option<Name>,
}

/// An organisation at GitHub, or one of its teams. Case does not matter, as it does not at GitHub.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GithubTeam {
    /// The organisation's login name.
    pub organization: String,
    /// The team, by slug; without one, every member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// Only people who logged in by this method: at another server anybody may have made an organisation of the same name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_method: Option<Name>,
}

/// A claim of a provider and the value that it must have. Of a list, any element may have it. Texts are compared whole;
/// numbers and booleans as JSON writes them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimValue {
    /// The claim.
    pub name: String,
    /// The value.
    pub value: String,
    /// Only of people who logged in by this method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_method: Option<Name>,
}

impl ClaimValue {
    /// Whether a claim with this value is what is asked for.
    pub(crate) fn is(&self, claimed: &serde_json::Value) -> bool {
        let equal = |one: &serde_json::Value| match one {
            serde_json::Value::String(text) => *text == self.value,
            serde_json::Value::Number(number) => number.to_string() == self.value,
            serde_json::Value::Bool(truth) => truth.to_string() == self.value,
            serde_json::Value::Null | serde_json::Value::Array(_) | serde_json::Value::Object(_) => false,
        };
        match claimed {
            serde_json::Value::Array(list) => list.iter().any(equal),
            one => equal(one),
        }
    }
}

/// A service elsewhere that is asked about a person who opens an application.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// Where it is asked.
    pub evaluate_url: String,
    /// Where the keys are that sign its answers.
    pub keys_url: String,
    /// Whether it may be at a private, local or special address, and be asked there by plain HTTP.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub danger_allow_private_address: bool,
}

impl Evaluation {
    /// What names its yes for `app` among a person's [`Attributes::evaluations`](crate::Attributes::evaluations). All that
    /// was asked and believed is part of it: what was said for another application says nothing here, nor does what others
    /// signed, nor what could be said from a private address before that was ruled out.
    pub fn key(&self, app: &AppId) -> String {
        let private = if self.danger_allow_private_address { " private" } else { "" };
        format!("{app} {} {}{private}", self.evaluate_url, self.keys_url)
    }
}

/// Whom a selector asks something about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    Person,
    Machine,
    /// The request, whoever makes it; or a group, whose own rules say.
    Anybody,
}

impl Action {
    /// Whether a policy with this action may ask this: people have no service token, machines nothing else, and of whom a
    /// bypass is about nobody asks who they are. Of a group, its own rules say.
    pub const fn may_ask(self, selector: &Selector) -> bool {
        match selector.about() {
            About::Person => matches!(self, Self::Allow | Self::Block),
            About::Machine => matches!(self, Self::ServiceAuth),
            About::Anybody => true,
        }
    }
}

impl Selector {
    const fn about(&self) -> About {
        match self {
            Self::Email(_)
            | Self::EmailDomain(_)
            | Self::EmailList(_)
            | Self::LoginMethod(_)
            | Self::AuthMethod(_)
            | Self::IdpGroup(_)
            | Self::Github(_)
            | Self::OidcClaim(_)
            | Self::ExternalEvaluation(_) => About::Person,
            Self::ServiceToken(_) | Self::AnyServiceToken => About::Machine,
            Self::Ip(_)
            | Self::IpList(_)
            | Self::Country(_)
            | Self::Everyone
            | Self::TimeOfWeek(_)
            | Self::Group(_) => About::Anybody,
        }
    }

    /// The login method that it names, by which a person must have logged in.
    pub const fn login_method(&self) -> Option<&Name> {
        match self {
            Self::LoginMethod(method)
            | Self::IdpGroup(ProviderGroup { login_method: Some(method), .. })
            | Self::Github(GithubTeam { login_method: Some(method), .. })
            | Self::OidcClaim(ClaimValue { login_method: Some(method), .. }) => Some(method),
            _ => None,
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Email(email) => write!(f, "email `{email}`"),
            Self::EmailDomain(domain) => write!(f, "email_domain `{domain}`"),
            Self::EmailList(list) => write!(f, "email_list `{list}`"),
            Self::Ip(range) => write!(f, "ip `{range}`"),
            Self::IpList(list) => write!(f, "ip_list `{list}`"),
            Self::Country(country) => write!(f, "country `{country}`"),
            Self::Everyone => f.write_str("everyone"),
            Self::LoginMethod(method) => write!(f, "login_method `{method}`"),
            Self::AuthMethod(value) => write!(f, "auth_method `{value}`"),
            Self::IdpGroup(group) => write!(f, "idp_group `{}`{}", group.name, By(group.login_method.as_ref())),
            Self::Github(GithubTeam { organization, team, login_method }) => {
                let within = team.as_ref().map(|team| format!("/{team}")).unwrap_or_default();
                write!(f, "github `{organization}{within}`{}", By(login_method.as_ref()))
            }
            Self::OidcClaim(claim) => {
                write!(f, "oidc_claim `{}` = `{}`{}", claim.name, claim.value, By(claim.login_method.as_ref()))
            }
            Self::ServiceToken(token) => write!(f, "service_token `{token}`"),
            Self::AnyServiceToken => f.write_str("any_service_token"),
            Self::TimeOfWeek(time) => write!(f, "time_of_week `{time}`"),
            Self::ExternalEvaluation(evaluation) => write!(f, "external_evaluation `{}`", evaluation.evaluate_url),
            Self::Group(group) => write!(f, "group `{group}`"),
        }
    }
}

struct By<'a>(Option<&'a Name>);

impl fmt::Display for By<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |method| write!(f, " by `{method}`"))
    }
}
