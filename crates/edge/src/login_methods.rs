//! Login methods as whoever administers the edge sees them: listed with what a provider has to be told, and tried.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tunnel_auth::TrialId;
use tunnel_proto::{Hostname, Name};

use crate::{
    State,
    login::provider::{self, TrialOutcome},
    socket::{Answer, problem},
    store::{AuditEvent, AuditRecord, LoginMethod, LoginMethodKind},
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
    let method = snapshot.declared.login_methods.iter().find(|method| method.name == request.name);
    let unknown = || {
        let text = format!(
            "there is no login method `{}`; `edge admin login-method list` shows those there are",
            request.name
        );
        problem("unknown_login_method", text)
    };
    let method = method.ok_or_else(unknown)?;
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

fn gone() -> tunnel_proto::enrol::EnrolProblem {
    problem("unknown_test", "nobody came back within ten minutes, or the edge was restarted; begin the test anew")
}
