//! Logins that are at a provider: kept here, sealed, under the hash of their state, for the browser that they were made
//! for. The browser carries nothing but the state.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tunnel_auth::{LoginState, oidc};
use tunnel_proto::{Name, UnixTime};
use zeroize::Zeroize;

use super::Manner;
use crate::{
    login::{Answer, Ask, Desk},
    session::cookie,
    store::{LoginMethod, LoginMethodKind, OnceKind, OneTime, SecretHash},
};

/// How long somebody may stay at a provider, and how long going back afterwards is understood.
const LIFE: Duration = Duration::from_secs(10 * 60);
const PENDING: &str = "provider login";
const DONE: &str = "provider login done";

/// What a login that is at a provider needs when it comes back.
#[derive(Serialize, Deserialize)]
pub(super) struct Pending {
    method: Name,
    /// Who was asked, as whom: a method that was declared anew meanwhile is another one.
    authority: String,
    client_id: String,
    pub(super) nonce: String,
    pub(super) verifier: String,
    /// Since when the person must have proven to the provider who they are, where a login before will not do.
    pub(super) since: Option<UnixTime>,
    pub(super) purpose: Purpose,
}

/// What a login is for.
#[derive(Serialize, Deserialize)]
pub(super) enum Purpose {
    /// Somebody wants to go somewhere: the sealed request.
    Login { request: String },
    /// An administrator tries the method: the hash of the trial's id.
    Trial { id: SecretHash },
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.verifier.zeroize();
    }
}

fn names(method: &LoginMethod) -> (&str, &str) {
    match &method.kind {
        LoginMethodKind::OpenId(openid) => (&openid.issuer, &openid.client_id),
        LoginMethodKind::Github(github) => (&github.authority, &github.client_id),
        LoginMethodKind::OneTimePin | LoginMethodKind::Passkey(_) => ("", ""),
    }
}

impl Pending {
    pub(super) fn new(method: &LoginMethod, purpose: Purpose, manner: Manner) -> Self {
        let (authority, client_id) = names(method);
        Self {
            method: method.name.clone(),
            authority: authority.to_owned(),
            client_id: client_id.to_owned(),
            nonce: oidc::nonce(crate::random()),
            verifier: oidc::verifier(crate::random()).to_string(),
            since: match manner {
                Manner::Anew(since) => Some(since),
                Manner::Any | Manner::Choose => None,
            },
            purpose,
        }
    }

    /// Whether it is by this method, as it is declared now.
    pub(super) fn is_of(&self, method: &LoginMethod) -> bool {
        self.method == method.name && (self.authority.as_str(), self.client_id.as_str()) == names(method)
    }

    /// Keeps it for the browser with this login.
    pub(super) async fn keep(
        &self,
        desk: &Desk<'_>,
        ask: &Ask<'_>,
        login: &SecretHash,
        state: &LoginState,
    ) -> Answer<()> {
        let plain = serde_json::to_vec(self).map(zeroize::Zeroizing::new).map_err(|error| desk.fault(ask, &error))?;
        let key = state.hash();
        let payload = desk.keys.seal(PENDING, &key, &plain);
        let expires = ask.visit.now.plus(LIFE);
        let thing = OneTime { kind: OnceKind::ProviderLogin, key, bind: *login, payload, expires };
        desk.store.put_once(&thing).await.map_err(|error| desk.fault(ask, &error))
    }
}

/// Takes the login with this state, if this browser began it. Of any number that ask, one gets it.
pub(super) async fn take(desk: &Desk<'_>, ask: &Ask<'_>, state: &LoginState) -> Answer<Option<(Pending, SecretHash)>> {
    let (key, now) = (state.hash(), ask.visit.now);
    // Made-up states cost a look, not a write.
    let waits = desk.store.peek_once(OnceKind::ProviderLogin, &key, now).await;
    if waits.map_err(|error| desk.fault(ask, &error))?.is_none() {
        return Ok(None);
    }
    for login in cookie::logins(ask.headers) {
        let login = login.hash();
        let taken = desk.store.take_once(OnceKind::ProviderLogin, &key, &login, now).await;
        if let Some(sealed) = taken.map_err(|error| desk.fault(ask, &error))? {
            let plain = desk.keys.open(PENDING, &key, &sealed).map_err(|error| desk.fault(ask, &error))?;
            let pending = serde_json::from_slice(plain.expose()).map_err(|error| desk.fault(ask, &error))?;
            return Ok(Some((pending, login)));
        }
    }
    Ok(None)
}

/// What a state has led to.
#[derive(Serialize, Deserialize)]
struct Done {
    login: SecretHash,
    request: String,
}

/// Remembers for a while where a state has led, so that going back in the browser is understood.
pub(super) async fn done(
    desk: &Desk<'_>,
    ask: &Ask<'_>,
    state: &LoginState,
    login: &SecretHash,
    request: &str,
) -> Answer<()> {
    let done = Done { login: *login, request: request.to_owned() };
    let plain = serde_json::to_vec(&done).map_err(|error| desk.fault(ask, &error))?;
    let key = state.hash();
    let payload = desk.keys.seal(DONE, &key, &plain);
    let expires = ask.visit.now.plus(LIFE);
    let thing = OneTime { kind: OnceKind::ProviderDone, key, bind: *login, payload, expires };
    desk.store.put_once(&thing).await.map_err(|error| desk.fault(ask, &error))
}

/// The sealed request that a used state has led to, if it was this browser that used it. Opens nothing by itself.
pub(super) async fn was_done(desk: &Desk<'_>, ask: &Ask<'_>, state: &LoginState) -> Answer<Option<String>> {
    let key = state.hash();
    let sealed = desk.store.peek_once(OnceKind::ProviderDone, &key, ask.visit.now).await;
    let Some(sealed) = sealed.map_err(|error| desk.fault(ask, &error))? else { return Ok(None) };
    let plain = desk.keys.open(DONE, &key, &sealed).map_err(|error| desk.fault(ask, &error))?;
    let done: Done = serde_json::from_slice(plain.expose()).map_err(|error| desk.fault(ask, &error))?;
    let mine = cookie::logins(ask.headers).iter().any(|login| login.hash() == done.login);
    Ok(mine.then_some(done.request))
}
