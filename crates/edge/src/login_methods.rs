//! Login methods as whoever administers the edge sees them: listed with what a provider has to be told, and tried. Of those
//! without a provider the last login is shown.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tunnel_auth::TrialId;
use tunnel_policy::Attributes;
use tunnel_proto::{EmailAddress, Hostname, Identity, Name, PersonId, UnixTime};

use crate::{
    State, account,
    change::failed,
    login::provider::{self, TrialOutcome},
    snapshot::Snapshot,
    socket::{Answer, problem},
    store::{AuditEvent, AuditRecord, LoginMethod, LoginMethodKind, PersonRecord, SessionRecord},
    trial::PEOPLE_MAX,
};

/// A login method as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginMethodStatus {
    /// Its name.
    pub name: Name,
    /// Its type, as it is declared.
    pub r#type: String,
    /// The addresses that people come back to, to be told to the provider; none when nobody is sent anywhere.
    pub redirect_uris: Vec<String>,
    /// Who vouches for people: the issuer, or where GitHub is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The name by which the provider knows this edge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// What is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// The tenant, at Microsoft Entra ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Whether Microsoft Graph is asked for groups.
    #[serde(default)]
    pub groups: bool,
    /// The domain that accounts must belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosted_domain: Option<Hostname>,
}

/// The login method that something is to be done with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedLoginMethod {
    /// Its name.
    pub name: Name,
}

/// A test that has begun.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginTestBegun {
    /// Its id, by which its result is asked for.
    pub id: String,
    /// The link to be opened, once.
    pub url: String,
    /// How long both work, in seconds.
    pub seconds: u64,
}

impl std::fmt::Debug for LoginTestBegun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginTestBegun").field("seconds", &self.seconds).finish_non_exhaustive()
    }
}

/// The test whose result is asked for.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginTestQuery {
    /// Its id.
    pub id: String,
}

impl std::fmt::Debug for LoginTestQuery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LoginTestQuery(…)")
    }
}

/// What came of a test, so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoginTestResult {
    /// What came of it; nothing yet when absent.
    pub outcome: Option<TrialOutcome>,
}

/// The last login by a method that sends nobody anywhere, so that there is nothing to try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastLogin {
    /// The method.
    pub method: Name,
    /// Where people log in by it.
    pub url: String,
    /// Who it was, if anybody is remembered.
    pub who: Option<LoggedIn>,
}

/// Somebody who logged in, as policies saw them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedIn {
    /// The person.
    pub person: PersonId,
    /// Who vouches.
    pub issuer: String,
    /// What the issuer calls the person.
    pub subject: String,
    /// The address.
    pub email: EmailAddress,
    /// How they authenticated.
    pub amr: Vec<String>,
    /// When.
    pub at: UnixTime,
}

/// How long a question for a result waits for it.
const WAIT: Duration = Duration::from_secs(20);

/// Every declared method, in its order.
pub(crate) fn list(state: &State) -> Vec<LoginMethodStatus> {
    let snapshot = state.snapshot.load();
    snapshot.declared.login_methods.iter().map(|method| status(state, method)).collect()
}

fn status(state: &State, method: &LoginMethod) -> LoginMethodStatus {
    let mut status = LoginMethodStatus {
        name: method.name.clone(),
        r#type: method.kind.as_str().to_owned(),
        redirect_uris: Vec::new(),
        issuer: method.kind.authority().map(str::to_owned),
        client_id: None,
        scopes: Vec::new(),
        tenant: None,
        groups: false,
        hosted_domain: None,
    };
    let words = |words: Vec<&str>| words.into_iter().map(str::to_owned).collect();
    match &method.kind {
        LoginMethodKind::OneTimePin | LoginMethodKind::Passkey(_) => return status,
        LoginMethodKind::OpenId(openid) => {
            status.client_id = Some(openid.client_id.clone());
            status.scopes = words(provider::scopes(openid));
            status.tenant = openid.tenant().map(str::to_owned);
            status.groups = openid.groups;
            status.hosted_domain = openid.hosted_domain.clone();
        }
        LoginMethodKind::Github(github) => {
            status.client_id = Some(github.client_id.clone());
            status.scopes = words(tunnel_auth::github::SCOPES.to_vec());
        }
    }
    let (config, path) = (&state.config, provider::callback_path(&method.name));
    status.redirect_uris.push(config.visit_url(&config.login_host, &path));
    if config.quick_start {
        // Visitors come by either.
        status.redirect_uris.push(format!("{}{path}", state.issuer));
    }
    status
}

/// Begins a test of a method: a link for whoever asks.
pub(crate) fn begin_test(state: &State, request: &NamedLoginMethod) -> Answer<LoginTestBegun> {
    let snapshot = state.snapshot.load();
    let method = named(&snapshot, &request.name)?;
    if method.kind.authority().is_none() {
        let text = format!("`{}` sends nobody anywhere, so there is nothing to test: log in by it", method.name);
        return Err(problem("bad_request", text));
    }
    let id = state.providers.trials().begin(method.name.clone(), state.now());
    let id = id.ok_or_else(|| problem("too_many", "too many tests are under way; wait for one to end"))?;
    state.audit.record(AuditRecord {
        actor: Some("local".to_owned()),
        object: Some(format!("login method `{}`", method.name)),
        detail: Some("a test was begun".to_owned()),
        ..AuditRecord::new(state.now(), AuditEvent::LoginTried)
    });
    let id = id.reveal().to_string();
    let url = state.config.visit_url(&state.config.login_host, &format!("/.access/login-test?id={id}"));
    Ok(LoginTestBegun { id, url, seconds: provider::TRIAL_LIFE.as_secs() })
}

/// What came of a test; waits a while for it.
pub(crate) async fn test(state: &State, request: &LoginTestQuery) -> Answer<LoginTestResult> {
    let id = TrialId::parse(&request.id).ok_or_else(gone)?;
    let outcome = state.providers.trials().wait(&id, state.now(), WAIT).await.ok_or_else(gone)?;
    Ok(LoginTestResult { outcome })
}

/// The last login by a method that cannot be tried. `sessions` are those that count now.
pub(crate) async fn last_login(
    state: &State,
    sessions: &[SessionRecord],
    request: &NamedLoginMethod,
) -> Answer<LastLogin> {
    let method = &request.name;
    if named(&state.snapshot.load(), method)?.kind.authority().is_some() {
        return Err(problem("bad_request", format!("`{method}` sends people to a provider: test it there")));
    }
    let people = state.store.people(PEOPLE_MAX).await.map_err(failed)?;
    let logins = sessions.iter().map(|session| (&session.identity, &session.attributes));
    let who = latest(method, logins, &people);
    let url = state.config.visit_url(&state.config.login_host, account::PATH);
    Ok(LastLogin { method: method.clone(), url, who })
}

fn named<'a>(snapshot: &'a Snapshot, name: &Name) -> Answer<&'a LoginMethod> {
    snapshot.declared.login_methods.iter().find(|method| method.name == *name).ok_or_else(|| {
        let text = format!("there is no login method `{name}`; `edge admin login-method list` shows those there are");
        problem("unknown_login_method", text)
    })
}

/// The last login by a method: of those that still count, or of people who are known by theirs.
fn latest<'a>(
    method: &Name,
    logins: impl Iterator<Item = (&'a Identity, &'a Attributes)>,
    people: &[PersonRecord],
) -> Option<LoggedIn> {
    let who = |person: &PersonRecord, email: &EmailAddress, attributes: &Attributes, at: UnixTime| LoggedIn {
        person: person.id,
        issuer: person.issuer.clone(),
        subject: person.subject.clone(),
        email: email.clone(),
        amr: attributes.amr.clone(),
        at,
    };
    let login = logins.filter(|(identity, _)| identity.method == *method);
    let login = login.max_by_key(|(identity, _)| identity.authenticated).and_then(|(identity, attributes)| {
        let person = people.iter().find(|person| person.id == identity.person)?;
        Some(who(person, &identity.email, attributes, identity.authenticated))
    });
    let known =
        people.iter().filter(|person| person.method == *method && person.seen.0 > 0).max_by_key(|person| person.seen);
    let known = known.map(|person| who(person, &person.email, &person.attributes, person.seen));
    login.into_iter().chain(known).max_by_key(|login| login.at)
}

fn gone() -> tunnel_proto::enrol::EnrolProblem {
    problem("unknown_test", "nobody came back within ten minutes, or the edge was restarted; begin the test anew")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(id: u8, method: &str, seen: u64) -> PersonRecord {
        let email: EmailAddress = format!("p{id}@example.com").parse().unwrap();
        PersonRecord {
            id: PersonId::from_bytes([id; 16]),
            issuer: "mailbox".into(),
            subject: email.to_string(),
            email,
            method: method.parse().unwrap(),
            attributes: Attributes { amr: vec!["otp".into()], ..Attributes::default() },
            created: UnixTime(1),
            seen: UnixTime(seen),
            source: None,
        }
    }

    fn login(id: u8, method: &str, at: u64) -> (Identity, Attributes) {
        let (email, method) = (format!("p{id}@example.com").parse().unwrap(), method.parse().unwrap());
        let identity = Identity { person: PersonId::from_bytes([id; 16]), email, method, authenticated: UnixTime(at) };
        (identity, Attributes { amr: vec!["hwk".into()], ..Attributes::default() })
    }

    #[test]
    fn the_last_login_is_that_of_a_session_or_of_whoever_is_known_by_the_method() {
        let people = [person(1, "pin", 10), person(2, "pin", 30), person(3, "work", 50)];
        // Somebody who is known by another method logged in by a passkey.
        let logins = [login(3, "passkey", 40), login(1, "passkey", 20), login(1, "pin", 25), login(9, "pin", 60)];
        let last = |method: &str| {
            let logins = logins.iter().map(|(identity, attributes)| (identity, attributes));
            let found = latest(&method.parse().unwrap(), logins, &people)?;
            Some((found.subject, found.amr.join(" "), found.at.0))
        };
        assert_eq!(last("passkey"), Some(("p3@example.com".into(), "hwk".into(), 40)));
        // Nothing is made up about somebody who is not known.
        assert_eq!(last("pin"), Some(("p2@example.com".into(), "otp".into(), 30)));
        assert_eq!(last("other"), None);
    }
}
