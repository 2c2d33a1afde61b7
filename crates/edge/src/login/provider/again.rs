//! Asking a provider again about somebody who logged in a while ago (OpenID Connect Core §12).
//!
//! What it is asked by is a refresh token, sealed for the one login and for whom it was given by: it is never sent to
//! another provider, or as another client. What it answers is verified as at the login. A new token is stored before
//! anything else is done, since the one before may be worth nothing from that moment on.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tunnel_auth::oidc::{
    Expected, Nonce, RefreshExchange, Refusal, TokenAnswer, TokenRefusal, Userinfo, UserinfoError,
};
use tunnel_proto::{EmailAddress, UnixTime};
use zeroize::Zeroizing;

use super::{
    Failure, PATIENCE, Providers,
    known::{Entry, Known, body},
    openid,
};
use crate::{
    keys::Keys,
    login::{Answer, Ask, Desk},
    session::{Anew, Session},
    store::{LoginMethod, LoginMethodKind, OpenIdMethod, Revalidation, SecretHash, Store},
};

/// What refresh tokens are sealed for, beside their login.
const SEALED_FOR: &str = "refresh token";
/// What a provider says when the person would have to be asked (OpenID Connect Core §3.1.2.6; Microsoft Entra ID says so
/// here, too), or may not go on.
const REFUSALS: [&str; 4] = ["interaction_required", "login_required", "consent_required", "access_denied"];
/// What userinfo says about a token whose person may not be known by it any more (RFC 6750 §3.1).
const UNAUTHORIZED: u16 = 401;

/// By what a provider is asked again, and about whom. A secret.
#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    /// Who gave the token, to whom.
    issuer: String,
    client_id: String,
    /// What the issuer calls the person.
    subject: String,
    /// The address at the login.
    email: EmailAddress,
    /// The nonce of the login.
    nonce: String,
    /// The refresh token.
    token: Zeroizing<String>,
}

impl Kept {
    fn seal(&self, keys: &Keys, login: &SecretHash) -> Result<Vec<u8>, serde_json::Error> {
        let plain = serde_json::to_vec(self).map(Zeroizing::new)?;
        Ok(keys.seal(SEALED_FOR, login, &plain))
    }

    fn open(keys: &Keys, kept: &Revalidation) -> Option<Self> {
        let plain = keys.open(SEALED_FOR, &kept.login, &kept.sealed).ok()?;
        serde_json::from_slice(plain.expose()).ok()
    }
}

/// Keeps by what the provider of a login can be asked again about whom it calls `subject`, where that is declared. What it
/// answers then must have the nonce of the login, or none.
pub(super) async fn keep(
    desk: &Desk<'_>,
    ask: &Ask<'_>,
    method: &LoginMethod,
    session: &Session,
    (subject, nonce): (&str, &str),
    token: Option<Zeroizing<String>>,
) -> Answer<()> {
    let LoginMethodKind::OpenId(openid) = &method.kind else { return Ok(()) };
    if openid.revalidate.is_none() {
        return Ok(());
    }
    let Some(token) = token else {
        tracing::warn!(
            method = %method.name,
            "the provider gives no refresh token: it cannot be asked again, and logins end when it should be"
        );
        return Ok(());
    };
    let kept = Kept {
        issuer: openid.issuer.clone(),
        client_id: openid.client_id.clone(),
        subject: subject.to_owned(),
        email: session.identity().email.clone(),
        nonce: nonce.to_owned(),
        token,
    };
    let sealed = kept.seal(desk.keys, session.id()).map_err(|error| desk.fault(ask, &error))?;
    let kept = Revalidation { login: *session.id(), method: method.name.clone(), sealed, confirmed: ask.visit.now };
    desk.sessions.keep(session, &kept).await.map_err(|error| desk.fault(ask, &error))
}

/// Why a provider does not vouch for somebody again.
pub(crate) enum NoWord {
    /// It says no, or speaks of somebody else. Why, for the record.
    Refused(String),
    /// It cannot be asked, or what it answers is no answer: later perhaps.
    Silent(Failure),
    /// It is not asked: what the edge has to ask by is of no use any more. Why, for the record.
    Useless(&'static str),
    /// The login has ended meanwhile.
    Over,
}

impl From<Failure> for NoWord {
    fn from(failure: Failure) -> Self {
        Self::Silent(failure)
    }
}

fn refused(why: &str) -> NoWord {
    NoWord::Refused(why.to_owned())
}

/// What asking again needs of the edge.
#[derive(Clone, Copy)]
pub(crate) struct Again<'a> {
    pub(crate) store: &'a dyn Store,
    pub(crate) keys: &'a Keys,
    pub(crate) providers: &'a Providers,
    pub(crate) now: UnixTime,
}

impl Again<'_> {
    /// Asks the provider of `method` whether it still vouches for a login, and what it says of the person now; nothing when
    /// it says no more than that.
    pub(crate) async fn ask(self, of: &Revalidation, method: &LoginMethod) -> Result<Option<Anew>, NoWord> {
        let LoginMethodKind::OpenId(openid) = &method.kind else { return Err(NoWord::Useless(DECLARED_ANEW)) };
        let kept = Kept::open(self.keys, of).ok_or(NoWord::Useless("its refresh token cannot be opened"))?;
        if (&kept.issuer, &kept.client_id) != (&openid.issuer, &openid.client_id) {
            return Err(NoWord::Useless(DECLARED_ANEW));
        }
        let entry = self.providers.entry(method)?;
        let (known, answer) = patiently(self.redeem(&entry, method, openid, &kept)).await?;
        if let Some(token) = &answer.refresh_token
            && *token != kept.token
        {
            self.rotate(of, Kept { token: token.clone(), ..kept.clone() }).await?;
        }
        patiently(self.word(&entry, &known, openid, &kept, &answer)).await
    }

    async fn redeem(
        self,
        entry: &Arc<Entry>,
        method: &LoginMethod,
        openid: &OpenIdMethod,
        kept: &Kept,
    ) -> Result<(Arc<Known>, TokenAnswer), NoWord> {
        let known = entry.known(openid).await?;
        let secret = openid.client_secret.open(self.keys, &method.name);
        let secret = secret.map_err(|error| Failure::Setup(format!("its secret cannot be opened: {error}")))?;
        let exchange =
            RefreshExchange { refresh_token: &kept.token, client_id: &openid.client_id, client_secret: &secret };
        let way = known.discovery.authentication;
        let (form, authorization) = (exchange.form(way), exchange.authorization(way));
        let authorization = authorization.as_ref().map(|value| value.as_str());
        let asked = entry.post_form(&known.discovery.token, &form, authorization).await;
        let fetched = asked.inspect_err(|_| entry.doubt())?;
        match TokenAnswer::read(fetched.status.as_u16(), &fetched.body) {
            Ok(answer) => Ok((known, answer)),
            Err(TokenRefusal::Code(code)) => Err(NoWord::Refused(format!("its provider refuses: {code}"))),
            Err(TokenRefusal::Other(code)) if REFUSALS.contains(&code.as_str()) => {
                Err(NoWord::Refused(format!("its provider refuses: {code}")))
            }
            Err(refusal) => {
                entry.doubt();
                Err(Failure::from(refusal).into())
            }
        }
    }

    /// Stores the token that takes the place of the one that was redeemed. Not interrupted by anybody's impatience.
    async fn rotate(self, of: &Revalidation, next: Kept) -> Result<(), NoWord> {
        let lost = |error: &dyn std::fmt::Display| {
            tracing::error!(%error, "a refresh token is lost, and with it the next word about a login");
            NoWord::Silent(Failure::Setup("its new refresh token cannot be kept".to_owned()))
        };
        let sealed = next.seal(self.keys, &of.login).map_err(|error| lost(&error))?;
        match self.store.rotate_revalidation(&of.login, &sealed).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(NoWord::Over),
            Err(error) => Err(lost(&error)),
        }
    }

    /// What the answer says about the person.
    async fn word(
        self,
        entry: &Entry,
        known: &Arc<Known>,
        openid: &OpenIdMethod,
        kept: &Kept,
        answer: &TokenAnswer,
    ) -> Result<Option<Anew>, NoWord> {
        let access = answer.access_token.as_ref().map(|token| token.as_str());
        let asked = known.discovery.userinfo.as_deref().zip(access);
        let reading = openid::reading(openid);
        let Some(token) = &answer.id_token else {
            let Some((url, access)) = asked else { return Ok(None) };
            let userinfo = userinfo(entry, url, access, &kept.subject).await?;
            let told = reading.told_anew(&userinfo).map_err(|refusal| NoWord::Refused(refusal.to_string()))?;
            is_as_before(told.email.as_ref(), kept)?;
            return Ok(Some(Anew { groups: told.groups, claims: told.claims, ..Anew::default() }));
        };
        let expected = Expected {
            issuer: &openid.issuer,
            client_id: &openid.client_id,
            nonce: Nonce::IfAny(&kept.nonce),
            access_token: access,
            authenticated_since: None,
            now: self.now,
        };
        let claims = match openid::verified(entry, known, token, &expected).await? {
            Ok(claims) if claims.subject() == kept.subject => claims,
            Ok(_) => return Err(refused("its provider speaks of another person")),
            Err(error) if error.is_about_another() => return Err(NoWord::Refused(error.to_string())),
            Err(error) => return Err(Failure::from(error).into()),
        };
        let userinfo = match asked {
            Some((url, access)) if reading.wants_userinfo(&claims) => {
                Some(userinfo(entry, url, access, &kept.subject).await?)
            }
            _ => None,
        };
        let mut resolution = reading.resolve(&claims, userinfo.as_ref());
        openid::complete(entry, openid, access, &mut resolution).await?;
        // A provider need not name the address again.
        let telling = resolution.refusals.iter().find(|refusal| !matches!(refusal, Refusal::NoEmail(_)));
        if let Some(refusal) = telling {
            return Err(NoWord::Refused(refusal.to_string()));
        }
        is_as_before(resolution.email.as_ref().map(|email| &email.address), kept)?;
        Ok(Some(Anew {
            // As of the login: a refresh is none, and many say nothing about it.
            amr: claims.get("amr").is_some().then_some(resolution.amr),
            groups: Some(resolution.groups),
            claims: resolution.claims,
            whole: true,
        }))
    }
}

/// What is said of a login whose method is another one by now.
const DECLARED_ANEW: &str = "the login method was declared anew, for another provider or client";

/// Whether an address that a provider names is that of the login. It need not name any.
fn is_as_before(named: Option<&EmailAddress>, kept: &Kept) -> Result<(), NoWord> {
    match named {
        Some(address) if *address != kept.email => Err(refused("its provider names another address")),
        _ => Ok(()),
    }
}

/// What userinfo says about whom the provider calls `subject`.
async fn userinfo(entry: &Entry, url: &str, access: &str, subject: &str) -> Result<Userinfo, NoWord> {
    let fetched = entry.get(url, Some(access)).await.inspect_err(|_| entry.doubt())?;
    if fetched.status.as_u16() == UNAUTHORIZED {
        return Err(refused("its provider refuses: userinfo answers with status 401"));
    }
    let bytes = body(&fetched).inspect_err(|_| entry.doubt()).map_err(|failure| failure.of("userinfo"))?;
    Userinfo::read(bytes, subject).map_err(|error| match error {
        UserinfoError::Subject => refused("its provider speaks of another person"),
        UserinfoError::Json(_) => Failure::from(error).into(),
    })
}

/// Waits no longer for a provider than a login would.
async fn patiently<T>(asking: impl Future<Output = Result<T, NoWord>>) -> Result<T, NoWord> {
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| Err(Failure::late().into()))
}
