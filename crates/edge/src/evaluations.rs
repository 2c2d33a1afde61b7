//! External evaluations: services of the operator's own are asked about a person who opens an application.
//!
//! The edge posts `{"token": "…"}`, a [`Question`] signed by its key for RS256, and believes `{"token": "…"}` if one of the
//! service's published keys signed it, as the answer to this question, just now ([`tunnel_auth::oidc::answer`]). Everything
//! else is a `Silence`, and no yes. They are asked when a session begins and at no other time: never for a request, and
//! nothing that was said before counts for a session that begins later.

mod published;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tunnel_auth::{
    Algorithm,
    assertion::{QUESTION_LIFE, Question, QuestionApp, QuestionGeo, QuestionIdentity, QuestionIdp},
    oidc::{EvaluationError, KeySet, answer},
};
use tunnel_policy::{Application, Attributes, Circumstances, Evaluation};
use tunnel_proto::Identity;

use crate::{
    keys::Keys,
    outbound::{Fetched, Outbound, OutboundError},
};

use self::published::Published;

/// How long everything about one evaluation may take together: a person waits for it.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// The most evaluations that are made when one application is opened; those beyond count as a no.
pub const EVALUATIONS_MAX: usize = 8;
/// The most that are asked at a time in the whole edge; whoever comes beyond waits, for as long as [`PATIENCE`] lasts.
pub const ASKING_MAX: usize = 64;
/// The most that one service is asked at a time: a slow one does not hold every place there is.
pub const ASKING_ONE_MAX: usize = 16;
/// The most services that are told apart, beyond those that are being asked: more than anybody declares.
const SERVICES_MAX: usize = 256;
/// The most addresses of keys that are remembered: more than anybody declares.
const KEYS_AT_MAX: usize = 256;

/// Whoever asks services, and what is known of their keys.
pub struct Evaluations {
    asking: Semaphore,
    /// The places of each service, by where it is asked.
    services: Mutex<HashMap<String, Arc<Semaphore>>>,
    /// For addresses of the world, and for private ones as well.
    outbound: [OnceLock<Outbound>; 2],
    published: Mutex<HashMap<KeysAt, Arc<Published>>>,
}

/// Where keys are, and whether that may be a private address.
type KeysAt = (String, bool);

impl Default for Evaluations {
    fn default() -> Self {
        Self {
            asking: Semaphore::new(ASKING_MAX),
            services: Mutex::default(),
            outbound: Default::default(),
            published: Mutex::default(),
        }
    }
}

/// Whom services are asked about, and by whom.
#[derive(Clone, Copy)]
pub(crate) struct About<'a> {
    /// What signs.
    pub(crate) keys: &'a Keys,
    /// What the edge calls itself.
    pub(crate) issuer: &'a str,
    /// What is to be opened.
    pub(crate) app: &'a Application,
    /// Who wants to open it.
    pub(crate) identity: &'a Identity,
    /// What their login method said.
    pub(crate) attributes: &'a Attributes,
    /// The kind of their login method.
    pub(crate) kind: Option<&'static str>,
    /// Where from, and when.
    pub(crate) here: Circumstances,
}

/// Why a service has said neither yes nor no. Names no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Silence {
    /// The edge has only just begun.
    #[error("the edge has no key for RS256 yet")]
    NoKey,
    /// The question was not signed.
    #[error("the question cannot be signed")]
    Unsigned,
    /// Nobody answers there.
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    /// It answers with something else than 200; a redirect is not followed.
    #[error("it answers with status {0}")]
    Status(u16),
    /// What it answers is not what was asked for.
    #[error("its answer is no object with a `token`")]
    Form,
    /// Its keys cannot be had.
    #[error("its keys: {0}")]
    Keys(String),
    /// Its token does not count.
    #[error(transparent)]
    Answer(#[from] EvaluationError),
    /// It takes too long.
    #[error("it did not answer within {} seconds", PATIENCE.as_secs())]
    Late,
    /// The application asks for more than is asked.
    #[error("it was not asked: an application asks for {EVALUATIONS_MAX} evaluations at most")]
    TooMany,
}

/// What a service answers.
#[derive(Deserialize)]
struct Answered {
    token: String,
}

impl Evaluations {
    /// Asks all of them at once, and says for each what it said.
    pub(crate) async fn ask(&self, about: About<'_>, evaluations: &[Evaluation]) -> Vec<Result<bool, Silence>> {
        let asked = evaluations.iter().take(EVALUATIONS_MAX).map(|evaluation| self.within(about, evaluation));
        // Collected first: nothing of the iterator outlives the line.
        let asked: Vec<_> = asked.collect();
        let mut said = futures::future::join_all(asked).await;
        said.resize(evaluations.len(), Err(Silence::TooMany));
        said
    }

    async fn within(&self, about: About<'_>, evaluation: &Evaluation) -> Result<bool, Silence> {
        let asking = self.one(about, evaluation);
        tokio::time::timeout(PATIENCE, asking).await.unwrap_or(Err(Silence::Late))
    }

    async fn one(&self, about: About<'_>, evaluation: &Evaluation) -> Result<bool, Silence> {
        let _places = self.places(&evaluation.evaluate_url).await.map_err(|_| Silence::Late)?;
        let key = about.keys.signing(Algorithm::Rs256, about.here.now).ok_or(Silence::NoKey)?;
        let nonce = BASE64URL_NOPAD.encode(&crate::random::<32>());
        let question = about.question(evaluation, nonce.clone());
        let token = key.sign_question(&question).map_err(|_| Silence::Unsigned)?;
        let outbound = self.outbound(evaluation.danger_allow_private_address)?;
        let fetched = outbound.post_json(&evaluation.evaluate_url, &json!({ "token": token }), None).await?;
        let answered: Answered = serde_json::from_slice(body(&fetched)?).map_err(|_| Silence::Form)?;
        let published = self.published(evaluation);
        let judged = |keys: &KeySet| answer(&answered.token, keys, &nonce, about.here.now);
        let keys = published.known(&outbound).await?;
        match judged(&keys) {
            Err(EvaluationError::Token(error)) if error.may_be_new_key() => {
                match published.newer(&outbound, &keys).await? {
                    Some(keys) => Ok(judged(&keys)?),
                    None => Err(EvaluationError::Token(error).into()),
                }
            }
            said => Ok(said?),
        }
    }

    /// A place among those of the service at `url`, and one of everybody's: in this order, so that who waits for a slow
    /// service takes none from others.
    async fn places(&self, url: &str) -> Result<(OwnedSemaphorePermit, SemaphorePermit<'_>), AcquireError> {
        let own = self.service(url).acquire_owned().await?;
        Ok((own, self.asking.acquire().await?))
    }

    fn service(&self, url: &str) -> Arc<Semaphore> {
        let mut all = lock(&self.services);
        if all.len() >= SERVICES_MAX && !all.contains_key(url) {
            all.retain(|_, places| Arc::strong_count(places) > 1);
        }
        all.entry(url.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(ASKING_ONE_MAX))).clone()
    }

    fn outbound(&self, private: bool) -> Result<Outbound, OutboundError> {
        let [public, any] = &self.outbound;
        let kept = if private { any } else { public };
        if let Some(outbound) = kept.get() {
            return Ok(outbound.clone());
        }
        let made = Outbound::new(private, None)?;
        Ok(kept.get_or_init(|| made).clone())
    }

    fn published(&self, evaluation: &Evaluation) -> Arc<Published> {
        let at = (evaluation.keys_url.clone(), evaluation.danger_allow_private_address);
        let mut all = lock(&self.published);
        if all.len() >= KEYS_AT_MAX && !all.contains_key(&at) {
            all.clear();
        }
        let published = all.entry(at).or_insert_with(|| Arc::new(Published::at(evaluation.keys_url.clone())));
        published.clone()
    }
}

impl About<'_> {
    fn question(&self, evaluation: &Evaluation, nonce: String) -> Question {
        let Self { identity, attributes, here, .. } = self;
        let github = attributes.github.iter().map(|one| (one.name.clone(), one.teams.clone()));
        Question {
            iss: self.issuer.to_owned(),
            aud: evaluation.evaluate_url.clone(),
            iat: here.now,
            nbf: here.now,
            exp: here.now.plus(Duration::from_secs(QUESTION_LIFE)),
            nonce,
            sub: identity.person,
            app: QuestionApp { id: self.app.id, name: self.app.name.clone() },
            identity: QuestionIdentity {
                email: identity.email.clone(),
                name: attributes.claims.get("name").and_then(Value::as_str).map(str::to_owned),
                user_uuid: identity.person,
                idp: QuestionIdp { id: identity.method.clone(), kind: self.kind.map(str::to_owned) },
                geo: here.country.map(|country| QuestionGeo { country: country.to_string() }),
                iat: identity.authenticated,
                ip: here.source.to_canonical(),
                amr: attributes.amr.clone(),
                groups: attributes.groups.clone(),
                github: github.collect::<BTreeMap<_, _>>(),
                oidc_fields: attributes.claims.clone(),
            },
        }
    }
}

/// The body of an answer with status 200.
fn body(fetched: &Fetched) -> Result<&[u8], Silence> {
    match fetched.status.as_u16() {
        200 => Ok(&fetched.body),
        other => Err(Silence::Status(other)),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Evaluations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Evaluations").field("keys", &lock(&self.published).len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_slow_service_holds_its_own_places_and_nobody_elses() {
        let evaluations = Evaluations::default();
        let place = |url| evaluations.places(url).now_or_never().map(Result::unwrap);
        let slow: Vec<_> = (0..ASKING_ONE_MAX).map(|_| place("https://slow.example").unwrap()).collect();
        assert!(place("https://slow.example").is_none());
        let other = place("https://other.example").unwrap();
        drop(slow);
        assert!(place("https://slow.example").is_some());
        drop(other);
        // All together have no more than there are.
        let urls: Vec<_> = (0..ASKING_MAX).map(|one| format!("https://{one}.example")).collect();
        let all: Vec<_> = urls.iter().map(|url| evaluations.places(url).now_or_never().unwrap().unwrap()).collect();
        assert!(place("https://slow.example").is_none());
        drop(all);
        assert!(place("https://slow.example").is_some());
    }

    #[test]
    fn services_that_nobody_asks_are_forgotten() {
        let evaluations = Evaluations::default();
        let kept = evaluations.service("https://asked.example");
        for one in 0..=SERVICES_MAX {
            evaluations.service(&format!("https://{one}.example"));
        }
        assert!(lock(&evaluations.services).len() <= SERVICES_MAX);
        assert!(Arc::ptr_eq(&kept, &evaluations.service("https://asked.example")));
    }
}
