//! Logins that are at a provider: kept here, sealed, under the hash of their state, for the browser that they were made
//! for. The browser carries nothing but the state.
//!
//! Strangers make these. How large one is, is bounded here; how many there are, by the limits on logins that are begun.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tunnel_auth::{LoginState, oidc};
use tunnel_proto::{Name, UnixTime};
use zeroize::Zeroize;

use super::Manner;
use crate::{
    login::{Answer, Ask, Desk, page::Step, request::Request},
    session::cookie::{self, LOGIN_LIFE},
    store::{LoginMethod, LoginMethodKind, OnceKind, OneTime, SecretHash},
};

/// How long somebody may stay at a provider.
const LIFE: Duration = Duration::from_secs(10 * 60);
/// How long it is known what a state was for, and where it has led: who comes too late or goes back is led on for as long
/// as the browser has its login cookie.
const KEPT: Duration = Duration::from_secs(LOGIN_LIFE);
/// The longest sealed request that is kept, in bytes. The longest address is 4 KiB, a third more when sealed, beside what
/// else is in a request.
const REQUEST_MAX: usize = 7 * 1024;
const PENDING: &str = "provider login";
const DONE: &str = "provider login done";

/// What a login that is at a provider needs when it comes back.
#[derive(Serialize, Deserialize)]
pub(super) struct Pending {
    method: Name,
    /// The browser that it is for.
    login: SecretHash,
    /// Until when an answer counts.
    until: UnixTime,
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
    /// A login by `method` of the browser with this login cookie, which begins now.
    pub(super) fn new(
        method: &LoginMethod,
        login: &SecretHash,
        now: UnixTime,
        purpose: Purpose,
        manner: Manner,
    ) -> Self {
        let (authority, client_id) = names(method);
        Self {
            method: method.name.clone(),
            login: *login,
            until: now.plus(LIFE),
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

    /// Whether an answer still counts.
    pub(super) fn is_live(&self, now: UnixTime) -> bool {
        now < self.until
    }

    /// The hash of the login cookie that it is bound to.
    pub(super) const fn login(&self) -> &SecretHash {
        &self.login
    }

    /// The sealed request, if somebody wants to go somewhere.
    pub(super) fn request(&self) -> Option<&str> {
        match &self.purpose {
            Purpose::Login { request } => Some(request),
            Purpose::Trial { .. } => None,
        }
    }

    /// Keeps it under its state.
    pub(super) async fn keep(&self, desk: &Desk<'_>, ask: &Ask<'_>, state: &LoginState) -> Answer<()> {
        let plain = serde_json::to_vec(self).map(zeroize::Zeroizing::new).map_err(|error| desk.fault(ask, &error))?;
        let key = state.hash();
        let payload = desk.keys.seal(PENDING, &key, &plain);
        let expires = ask.visit.now.plus(KEPT);
        let thing = OneTime { kind: OnceKind::ProviderLogin, key, bind: self.login, payload, expires };
        desk.store.put_once(&thing).await.map_err(|error| desk.fault(ask, &error))
    }

    /// Uses it up; where it has led is known from the same moment on. Of any number that ask, one gets it.
    pub(super) async fn take(&self, desk: &Desk<'_>, ask: &Ask<'_>, state: &LoginState) -> Answer<bool> {
        let (kind, key, now) = (OnceKind::ProviderLogin, state.hash(), ask.visit.now);
        let taken = match self.request() {
            Some(request) => {
                let done = Done { login: self.login, request: request.to_owned() };
                let plain = serde_json::to_vec(&done).map_err(|error| desk.fault(ask, &error))?;
                let payload = desk.keys.seal(DONE, &key, &plain);
                let expires = now.plus(KEPT);
                let done = OneTime { kind: OnceKind::ProviderDone, key, bind: self.login, payload, expires };
                desk.store.exchange_once(kind, &key, &self.login, now, &done).await
            }
            None => desk.store.take_once(kind, &key, &self.login, now).await,
        };
        Ok(taken.map_err(|error| desk.fault(ask, &error))?.is_some())
    }
}

/// The login with this state, if it was this browser that began it. Costs a look and no write, whatever comes.
pub(super) async fn look(desk: &Desk<'_>, ask: &Ask<'_>, state: &LoginState) -> Answer<Option<Pending>> {
    let key = state.hash();
    let sealed = desk.store.peek_once(OnceKind::ProviderLogin, &key, ask.visit.now).await;
    let Some(sealed) = sealed.map_err(|error| desk.fault(ask, &error))? else { return Ok(None) };
    let plain = desk.keys.open(PENDING, &key, &sealed).map_err(|error| desk.fault(ask, &error))?;
    let pending: Pending = serde_json::from_slice(plain.expose()).map_err(|error| desk.fault(ask, &error))?;
    Ok(is_mine(ask, &pending.login).then_some(pending))
}

/// What a state has led to.
#[derive(Serialize, Deserialize)]
struct Done {
    login: SecretHash,
    request: String,
}

/// The sealed request that a used state has led to, if it was this browser that used it. Opens nothing by itself.
pub(super) async fn was_done(desk: &Desk<'_>, ask: &Ask<'_>, state: &LoginState) -> Answer<Option<String>> {
    let key = state.hash();
    let sealed = desk.store.peek_once(OnceKind::ProviderDone, &key, ask.visit.now).await;
    let Some(sealed) = sealed.map_err(|error| desk.fault(ask, &error))? else { return Ok(None) };
    let plain = desk.keys.open(DONE, &key, &sealed).map_err(|error| desk.fault(ask, &error))?;
    let done: Done = serde_json::from_slice(plain.expose()).map_err(|error| desk.fault(ask, &error))?;
    Ok(is_mine(ask, &done.login).then_some(done.request))
}

fn is_mine(ask: &Ask<'_>, login: &SecretHash) -> bool {
    cookie::logins(ask.headers).iter().any(|one| one.hash() == *login)
}

/// What is kept of a login's request: all of it, or, where its address is one that quotes and backslashes blow up, a
/// request that leads to the front page.
pub(super) fn kept(desk: &Desk<'_>, step: &Step<'_>) -> String {
    if step.sealed.len() <= REQUEST_MAX {
        return step.sealed.clone();
    }
    Request { target: "/".to_owned(), ..step.request.clone() }.seal(desk.keys)
}
