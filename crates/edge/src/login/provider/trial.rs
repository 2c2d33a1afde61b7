//! Trying a login method: an administrator opens a link, logs in at the provider, and is told what is made of them. Nobody
//! is logged in by it, and nothing is kept.
//!
//! Whoever has the edge's socket reads what the provider says of whoever follows the link. So the link leads to a page that
//! says this, and only its button leads on: a provider where somebody is logged in asks nothing more.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::body::Body;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Notify;
use tunnel_auth::TrialId;
use tunnel_policy::GithubOrganization;
use tunnel_proto::{EmailAddress, Name, UnixTime};

use super::{Failure, Found, Manner, label, pending::Purpose, way};
use crate::{
    Response,
    login::{Answer, Ask, Desk, form, login_of},
    pages::{Form, Leaving, LoginTrial, TrialAsk, TrialLapsed},
    session::cookie::{self, LOGIN_COOKIE, LOGIN_LIFE},
    store::{AuditEvent, AuditRecord, LoginMethod, SecretHash},
};

/// How long a link works, and its result is kept.
pub const LIFE: Duration = Duration::from_secs(10 * 60);
/// The most trials at a time.
const TRIALS_MAX: usize = 32;
const PATH: &str = "/.access/login-test";
const FORM: &str = "login-test";

/// What came of a trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialOutcome {
    /// The method.
    pub method: Name,
    /// Who vouches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// What the issuer calls the person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The address that policies would see.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<EmailAddress>,
    /// Where it stood.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_claim: Option<String>,
    /// Why it is believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_accepted: Option<String>,
    /// The groups.
    pub groups: Vec<String>,
    /// Organisations and teams at GitHub.
    pub github: Vec<GithubOrganization>,
    /// How they authenticated.
    pub amr: Vec<String>,
    /// The claims that are kept.
    pub claims: BTreeMap<String, Value>,
    /// Why nobody would be logged in by this; empty when somebody would.
    pub refused: Vec<String>,
}

/// Trials under way.
#[derive(Default)]
pub struct Trials {
    all: Mutex<Vec<Trial>>,
    finished: Notify,
}

struct Trial {
    id: SecretHash,
    method: Name,
    expires: UnixTime,
    /// Whether somebody went on from the link's page: it works once.
    opened: bool,
    outcome: Option<TrialOutcome>,
}

impl Trials {
    /// A trial of a method; `None` when there are too many.
    pub fn begin(&self, method: Name, now: UnixTime) -> Option<TrialId> {
        let mut all = self.lock(now);
        if all.len() >= TRIALS_MAX {
            return None;
        }
        let id = TrialId::from_random(crate::random());
        all.push(Trial { id: id.hash(), method, expires: now.plus(LIFE), opened: false, outcome: None });
        Some(id)
    }

    /// The method that the link with this id tries, if it still does. Looking uses nothing up.
    fn waiting(&self, id: &SecretHash, now: UnixTime) -> Option<Name> {
        let all = self.lock(now);
        Some(all.iter().find(|trial| trial.id == *id && !trial.opened)?.method.clone())
    }

    /// The same, once.
    fn open(&self, id: &SecretHash, now: UnixTime) -> Option<Name> {
        let mut all = self.lock(now);
        let trial = all.iter_mut().find(|trial| trial.id == *id && !trial.opened)?;
        trial.opened = true;
        Some(trial.method.clone())
    }

    /// Keeps what came of a trial, for whoever waits.
    fn finish(&self, id: &SecretHash, outcome: &TrialOutcome, now: UnixTime) {
        let mut all = self.lock(now);
        all.iter_mut().filter(|trial| trial.id == *id).for_each(|trial| trial.outcome = Some(outcome.clone()));
        drop(all);
        self.finished.notify_waiters();
    }

    /// What came of a trial, waiting for it at most so long: `None` when there is no such trial any more, `Some(None)` when
    /// nothing came of it yet.
    pub async fn wait(&self, id: &TrialId, now: UnixTime, patience: Duration) -> Option<Option<TrialOutcome>> {
        let id = id.hash();
        let look = || Some(self.lock(now).iter().find(|trial| trial.id == id)?.outcome.clone());
        let waiting = async {
            loop {
                let finished = self.finished.notified();
                tokio::pin!(finished);
                // What ends between looking and waiting is noticed.
                finished.as_mut().enable();
                match look() {
                    Some(None) => finished.await,
                    done => return done,
                }
            }
        };
        tokio::time::timeout(patience, waiting).await.unwrap_or_else(|_| look())
    }

    fn lock(&self, now: UnixTime) -> MutexGuard<'_, Vec<Trial>> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|trial| trial.expires > now);
        all
    }
}

impl std::fmt::Debug for Trials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Trials")
    }
}

/// `GET /.access/login-test?id=…`: says who will read what, and asks. Previews of links open it, too.
pub(crate) async fn show(desk: &Desk<'_>, ask: &Ask<'_>) -> Answer<Response> {
    crate::faults::at("login test");
    let lapsed = || Box::new(TrialLapsed.render(&desk.context(ask)));
    let text = ask.parameter("id");
    let id = TrialId::parse(&text).ok_or_else(lapsed)?.hash();
    let name = desk.providers.trials().waiting(&id, ask.visit.now).ok_or_else(lapsed)?;
    let method = find(desk, &name).ok_or_else(lapsed)?;
    let login = login_of(ask.headers);
    let page = TrialAsk {
        method: name,
        label: label(desk, method),
        form: Form::new(form::token(desk.keys, FORM, &login.hash())).with("id", text),
    };
    let mut response = page.render(&desk.context(ask));
    cookie::set(response.headers_mut(), LOGIN_COOKIE, &login.reveal(), LOGIN_LIFE);
    Ok(response)
}

/// `POST /.access/login-test`: whoever read it goes to the provider.
pub(crate) async fn begin(desk: &Desk<'_>, ask: &Ask<'_>, body: Body) -> Answer<Response> {
    let lapsed = || Box::new(TrialLapsed.render(&desk.context(ask)));
    let (login, fields) = form::of_login(desk, ask, body, FORM, PATH).await?;
    let id = TrialId::parse(fields.get("id")).ok_or_else(lapsed)?.hash();
    let name = desk.providers.trials().open(&id, ask.visit.now).ok_or_else(lapsed)?;
    let method = find(desk, &name).ok_or_else(lapsed)?;
    desk.audit.record(AuditRecord {
        object: Some(format!("login method `{name}`")),
        detail: Some("a test was opened in a browser".to_owned()),
        ..desk.record(ask, AuditEvent::LoginTried)
    });
    Ok(match way(desk, ask, &login, method, Purpose::Trial { id }, Manner::Any).await? {
        Ok(url) => Leaving { label: label(desk, method), url }.render(&desk.context(ask)),
        Err(failure) => finish(desk, ask, method, &id, Err(failure)),
    })
}

fn find<'a>(desk: &Desk<'a>, name: &Name) -> Option<&'a LoginMethod> {
    desk.snapshot.declared.login_methods.iter().find(|method| method.name == *name)
}

/// Ends a trial: tells whoever waits, and shows the same.
pub(super) fn finish(
    desk: &Desk<'_>,
    ask: &Ask<'_>,
    method: &LoginMethod,
    id: &SecretHash,
    found: Result<Found, Failure>,
) -> Response {
    let outcome = TrialOutcome::of(method, found);
    let end = match outcome.refused.first() {
        Some(why) => format!("tried: {why}"),
        None => "tried: it works".to_owned(),
    };
    desk.audit.record(AuditRecord {
        actor: outcome.email.as_ref().map(ToString::to_string),
        object: Some(format!("login method `{}`", method.name)),
        detail: Some(end),
        ..desk.record(ask, AuditEvent::LoginTried)
    });
    desk.providers.trials().finish(id, &outcome, ask.visit.now);
    LoginTrial { label: label(desk, method), outcome }.render(&desk.context(ask))
}

impl TrialOutcome {
    fn of(method: &LoginMethod, found: Result<Found, Failure>) -> Self {
        let mut outcome = Self {
            method: method.name.clone(),
            issuer: None,
            subject: None,
            email: None,
            email_claim: None,
            email_accepted: None,
            groups: Vec::new(),
            github: Vec::new(),
            amr: Vec::new(),
            claims: BTreeMap::new(),
            refused: Vec::new(),
        };
        let found = match found {
            Ok(found) => found,
            Err(failure) => {
                outcome.refused.push(failure.to_string());
                return outcome;
            }
        };
        outcome.issuer = Some(found.issuer);
        outcome.subject = Some(found.subject);
        if let Some(email) = found.email {
            outcome.email = Some(email.address);
            outcome.email_claim = Some(email.claim);
            outcome.email_accepted = Some(email.why.to_owned());
        }
        outcome.groups = found.attributes.groups;
        outcome.github = found.attributes.github;
        outcome.amr = found.attributes.amr;
        outcome.claims = found.attributes.claims;
        outcome.refused = found.refusals.iter().map(ToString::to_string).collect();
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> TrialOutcome {
        let method = LoginMethod { name: "kc".parse().unwrap(), kind: crate::store::LoginMethodKind::OneTimePin };
        TrialOutcome::of(&method, Err(Failure::again("x")))
    }

    #[tokio::test]
    async fn a_link_works_once_and_for_ten_minutes_and_who_waits_is_told() {
        let (trials, now) = (Trials::default(), UnixTime(1000));
        let id = trials.begin("kc".parse().unwrap(), now).unwrap();
        assert_eq!(trials.wait(&id, now, Duration::from_millis(1)).await, Some(None));
        for _ in 0..2 {
            assert_eq!(trials.waiting(&id.hash(), now).unwrap().as_str(), "kc", "looking uses nothing up");
        }
        assert_eq!(trials.open(&id.hash(), now).unwrap().as_str(), "kc");
        assert_eq!(trials.open(&id.hash(), now), None, "once");
        assert_eq!(trials.waiting(&id.hash(), now), None);
        let (waited, ()) = tokio::join!(trials.wait(&id, now, Duration::from_secs(20)), async {
            tokio::task::yield_now().await;
            trials.finish(&id.hash(), &outcome(), now);
        });
        assert_eq!(waited, Some(Some(outcome())));
        let other = TrialId::from_random([9; 32]);
        assert_eq!(trials.wait(&other, now, Duration::from_secs(20)).await, None);
        let late = now.plus(LIFE);
        let second = trials.begin("kc".parse().unwrap(), now).unwrap();
        assert_eq!(trials.open(&second.hash(), late), None, "too late");
        assert_eq!(trials.wait(&id, late, Duration::from_secs(20)).await, None);
    }

    #[test]
    fn only_so_many_are_under_way() {
        let (trials, now) = (Trials::default(), UnixTime(1000));
        let begin = || trials.begin("kc".parse().unwrap(), now).is_some();
        assert!((0..TRIALS_MAX).all(|_| begin()));
        assert!(!begin());
    }
}
