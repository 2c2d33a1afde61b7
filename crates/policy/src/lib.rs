//! Who may reach what: the pure policy engine of Tunnel.
//!
//! An administrator declares [`EmailList`]s and [`IpList`]s, [`Group`]s, [`Policy`]s and [`Application`]s; a [`PolicySet`] checks them against each other
//! once and then answers, for every request: which applications does this host and path fall under
//! ([`PolicySet::applications_for`]), and is this person admitted to them from this address at this time
//! ([`PolicySet::decide`]), with a [`Trace`] that says why. What nobody declared is refused, and nobody is admitted without
//! having logged in or having shown a service token, unless a policy says [`Action::Bypass`].
//!
//! No sockets, files, clock or randomness: whoever calls says who asks, where and when. Authenticating people is not done
//! here, nor is anything remembered between two calls.
//!
//! ```
//! use tunnel_policy::{
//!     Action, Application, Attributes, Circumstances, Declarations, Policy, PolicySet, Rules, Selector, Subject, Target,
//! };
//! use tunnel_proto::{AppId, Hostname, Identity, PersonId, UnixTime};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let staff = Policy {
//!     name: "staff".parse()?,
//!     action: Action::Allow,
//!     rules: Rules { include: vec![Selector::EmailDomain("example.com".parse()?)], ..Rules::default() },
//!     session_duration: None,
//!     destinations: vec![],
//! };
//! let target = Target { host: "wiki.example.com".parse()?, path: None };
//! let wiki = Application::new(AppId::from_bytes([7; 32]), "wiki".parse()?, vec![target], vec![staff.name.clone()]);
//! let set = PolicySet::new(Declarations { policies: &[staff], applications: &[wiki], ..Declarations::default() })?;
//!
//! let host = Hostname::parse("wiki.example.com")?;
//! let matched = set.applications_for(&host, "/start");
//! let (wiki, all) = matched.required().ok_or("no such application")?;
//! assert_eq!(wiki.name.as_str(), "wiki");
//!
//! let identity = Identity {
//!     person: PersonId::from_random([1; 16]),
//!     email: "ann@example.com".parse()?,
//!     method: "pin".parse()?,
//!     authenticated: UnixTime(0),
//! };
//! let attributes = Attributes::default();
//! let here = Circumstances { source: "203.0.113.9".parse()?, country: None, now: UnixTime(1_800_000_000) };
//! let subject = Subject::person(&identity, &attributes, here);
//! for application in all {
//!     let decision = set.decide(application, &subject);
//!     assert!(decision.is_allow(), "{}", decision.trace);
//! }
//! # Ok(())
//! # }
//! ```

mod attributes;
mod cross_site;
mod decision;
mod facts;
mod judge;
mod lists;
mod model;
mod path;
mod readings;
mod selector;
mod set;
mod time;
mod trace;
mod warning;

pub use attributes::{Attributes, Country, CountryError, GithubOrganization};
pub use cross_site::{Cors, SameSite};
pub use decision::{Caller, Circumstances, Decision, DenyReason, Subject, Verdict};
pub use lists::{EmailList, IpList};
pub use model::{Action, Application, AssertionAlgorithm, Group, Policy, Rules, Target};
pub use path::{PATTERN_MAX, PathPattern, PathPatternError};
pub use selector::{ClaimValue, Evaluation, GithubTeam, ProviderGroup, Selector};
pub use set::{Declarations, Matched, PolicySet, PolicySetError, is_reserved};
pub use time::{DayError, Days, TimeOfDay, TimeOfDayError, TimeOfWeek, TimeOfWeekError, Zone, ZoneError};
pub use trace::{CallerKind, GroupTrace, Outcome, PolicyTrace, RuleTrace, RulesTrace, Trace};
pub use warning::Warning;
