//! Service tokens: made, rotated and deleted by whoever administers the edge. The secret is shown once; its hash is kept.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tunnel_auth::ServiceSecret;
use tunnel_policy::Selector;
use tunnel_proto::{Name, UnixTime};

use crate::{
    change::{change, failed},
    socket::{Answer, problem},
    store::{Declared, PreviousSecret, ServiceTokenRecord, Store},
};

/// How long a token counts unless told otherwise: a year.
pub const LIFE_DEFAULT: Duration = Duration::from_secs(365 * 24 * 3600);
/// The longest that a token counts: ten years.
pub const LIFE_MAX: Duration = Duration::from_secs(3650 * 24 * 3600);
/// How long a rotated secret goes on counting unless told otherwise: a day.
pub const GRACE_DEFAULT: Duration = Duration::from_secs(24 * 3600);
/// The longest that it does.
pub const GRACE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// The most tokens there are.
const TOKENS_MAX: usize = 10_000;

/// Asks for a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateServiceToken {
    /// Its name.
    pub name: Name,
    /// Seconds that it counts, at most [`LIFE_MAX`].
    pub life: u64,
}

/// Asks for another secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateServiceToken {
    /// The token.
    pub name: Name,
    /// Seconds that the present secret goes on counting, at most [`GRACE_MAX`].
    pub grace: u64,
    /// Seconds that the token counts from now on; `None` leaves its end where it is.
    pub life: Option<u64>,
}

/// The token that something is to be done with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedServiceToken {
    /// Its name.
    pub name: Name,
}

/// A token with its secret: the only time that it is seen.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceTokenIssued {
    /// Its name.
    pub name: Name,
    /// Its id, sent as `Cf-Access-Client-Id`.
    pub id: String,
    /// Its secret, sent as `Cf-Access-Client-Secret`.
    pub secret: String,
    /// When it ends.
    pub expires: UnixTime,
}

impl std::fmt::Debug for ServiceTokenIssued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceTokenIssued").field("name", &self.name).field("id", &self.id).finish_non_exhaustive()
    }
}

/// A token as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceTokenStatus {
    /// Its name.
    pub name: Name,
    /// Its id.
    pub id: String,
    /// When it was made.
    pub created: UnixTime,
    /// When it ends.
    pub expires: UnixTime,
    /// Until when the secret before the last rotation counts, if it still does.
    pub previous_until: Option<UnixTime>,
}

/// Every token, by name.
pub(crate) async fn list(store: &dyn Store, now: UnixTime) -> Answer<Vec<ServiceTokenStatus>> {
    let (_, declared) = store.declared().await.map_err(failed)?;
    let status = |token: &ServiceTokenRecord| ServiceTokenStatus {
        name: token.name.clone(),
        id: token.id.clone(),
        created: token.created,
        expires: token.expires,
        previous_until: token.previous.map(|previous| previous.until).filter(|until| *until > now),
    };
    let mut all: Vec<_> = declared.service_tokens.iter().map(status).collect();
    all.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(all)
}

/// Makes a token.
pub(crate) async fn create(
    store: &dyn Store,
    request: &CreateServiceToken,
    now: UnixTime,
) -> Answer<ServiceTokenIssued> {
    let secret = ServiceSecret::from_random(crate::random());
    let id = format!("{}.access", data_encoding::HEXLOWER.encode(&crate::random::<16>()));
    let expires = end(now, request.life)?;
    let name = &request.name;
    change(store, name.as_str(), "service token created", now, |declared| {
        if declared.service_tokens.iter().any(|token| token.name == *name) {
            let text = format!("there is a service token `{name}` already; `edge admin service-token rotate {name}` gives it another secret");
            return Err(problem("name_taken", text));
        }
        if declared.service_tokens.len() >= TOKENS_MAX {
            return Err(problem("too_many", format!("there are {TOKENS_MAX} service tokens; delete some first")));
        }
        declared.service_tokens.push(ServiceTokenRecord {
            name: name.clone(),
            id: id.clone(),
            secret: secret.hash(),
            previous: None,
            created: now,
            expires,
        });
        Ok(())
    })
    .await?;
    Ok(ServiceTokenIssued { name: name.clone(), id, secret: secret.reveal().to_string(), expires })
}

/// Gives a token another secret; the present one goes on counting for a while.
pub(crate) async fn rotate(
    store: &dyn Store,
    request: &RotateServiceToken,
    now: UnixTime,
) -> Answer<ServiceTokenIssued> {
    if request.grace > GRACE_MAX.as_secs() {
        let days = GRACE_MAX.as_secs() / 86400;
        return Err(problem("bad_request", format!("a rotated secret goes on counting for {days} days at most")));
    }
    let secret = ServiceSecret::from_random(crate::random());
    let life = request.life.map(|life| end(now, life)).transpose()?;
    let name = &request.name;
    let (id, expires) = change(store, name.as_str(), "service token rotated", now, |declared| {
        let token = find(declared, name)?;
        let until = now.plus(Duration::from_secs(request.grace));
        token.previous = (request.grace > 0).then_some(PreviousSecret { secret: token.secret, until });
        token.secret = secret.hash();
        token.expires = life.unwrap_or(token.expires);
        Ok((token.id.clone(), token.expires))
    })
    .await?;
    Ok(ServiceTokenIssued { name: name.clone(), id, secret: secret.reveal().to_string(), expires })
}

/// Deletes a token: it opens nothing any more, and what it opened ends. One that a policy or group names stays.
pub(crate) async fn delete(store: &dyn Store, request: &NamedServiceToken, now: UnixTime) -> Answer<()> {
    let name = &request.name;
    change(store, name.as_str(), "service token deleted", now, |declared| {
        find(declared, name)?;
        let names = |rules: &tunnel_policy::Rules| {
            rules.selectors().any(|selector| matches!(selector, Selector::ServiceToken(named) if named == name))
        };
        let policy =
            declared.policies.iter().find(|policy| names(&policy.rules)).map(|policy| ("policy", &policy.name));
        let group = declared.groups.iter().find(|group| names(&group.rules)).map(|group| ("group", &group.name));
        if let Some((kind, by)) = policy.or(group) {
            let text = format!(
                "{kind} `{by}` names the service token `{name}`; take it out of there first, or cut the token off with \
                 `edge admin service-token rotate {name} --grace 0s`"
            );
            return Err(problem("in_use", text));
        }
        declared.service_tokens.retain(|token| token.name != *name);
        Ok(())
    })
    .await
}

fn end(now: UnixTime, life: u64) -> Answer<UnixTime> {
    if (1..=LIFE_MAX.as_secs()).contains(&life) {
        return Ok(now.plus(Duration::from_secs(life)));
    }
    Err(problem("bad_request", format!("a service token counts for {} days at most", LIFE_MAX.as_secs() / 86400)))
}

fn find<'a>(declared: &'a mut Declared, name: &Name) -> Answer<&'a mut ServiceTokenRecord> {
    let unknown = || {
        let text = format!("there is no service token `{name}`; `edge admin service-token list` shows those there are");
        problem("unknown_service_token", text)
    };
    declared.service_tokens.iter_mut().find(|token| token.name == *name).ok_or_else(unknown)
}
