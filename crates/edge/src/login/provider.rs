//! Logging in at a provider: the way there, and what comes back.
//!
//! 1. `start`: state, nonce and PKCE verifier are made and kept as a one-time thing (`pending`), bound to the login
//!    cookie of this browser; the browser is sent to the provider.
//! 2. `callback`: the state is consumed beside its cookie, or nothing is written, not even counted. The code is
//!    exchanged, and what the provider says is verified (`openid`, `github`); whoever that is, is logged in like
//!    anybody else.
//! 3. Where the method says so, the provider is asked again later whether it still vouches for them (`again`), which is
//!    nobody's request but the edge's own ([`revalidation`](crate::revalidation)).
//!
//! What goes wrong on the way is a `Failure`: a page that names the method and offers the others, and a record that has
//! the reason. Nothing that a provider says about an error is shown, except a code of plain letters in the record.

pub(crate) mod again;
mod failure;
mod github;
mod known;
mod openid;
mod pending;
pub(crate) mod trial;

use tunnel_auth::{LoginState, oidc};
use tunnel_policy::Attributes;
use tunnel_proto::{EmailAddress, Name, UnixTime};
use zeroize::Zeroizing;

use crate::{
    Response,
    pages::BadRequest,
    store::{AuditEvent, AuditRecord, LoginMethod, LoginMethodKind, RateLimit, SecretHash},
};

use super::{
    Answer, Ask, Desk, form, handover,
    limits::{self, limit},
    offer,
    page::Step,
    pin,
    proven::{self, Proven},
    request::Request,
};

pub(crate) use self::failure::Failure;
use self::{
    known::Entry,
    pending::{Pending, Purpose},
};
pub use self::{
    known::Providers,
    openid::scopes,
    trial::{LIFE as TRIAL_LIFE, TrialOutcome, Trials},
};

/// What is begun here, as its limits name it.
const STARTS: &str = "logins begun";
/// Logins that come back from providers to one source network. Generous, since an office or a carrier's NAT shares one.
const CALLBACKS: [RateLimit; 2] = [limit(120, 60), limit(1200, 3600)];
/// The longest code that is exchanged, in bytes.
const CODE_MAX: usize = 4096;

/// What a browser came back with.
struct Came<'a> {
    code: &'a str,
    redirect_uri: &'a str,
    pending: &'a Pending,
}

/// What a provider said about somebody.
pub(crate) struct Found {
    issuer: String,
    subject: String,
    email: Option<FoundEmail>,
    attributes: Attributes,
    /// By what the provider can be asked again, where that is declared and it gave something.
    refresh: Option<Zeroizing<String>>,
    /// Everything that speaks against them, the most telling first.
    refusals: Vec<Failure>,
}

/// An address and why it is believed.
struct FoundEmail {
    address: EmailAddress,
    claim: String,
    why: &'static str,
}

/// What a provider is asked to do with somebody whom it knows already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// What it likes: mostly it answers at once.
    Any,
    /// To let the person choose an account, where it would otherwise take the last one.
    Choose,
    /// To have the person prove anew who they are, not before this moment.
    Anew(UnixTime),
}

/// The address at the provider of `method` to which the browser is to be sent, or the page that says what is the matter.
/// `other` means another account than the last one; where a login has to be fresh, the person proves anew who they are, with
/// whatever account.
pub(super) async fn start(
    desk: &Desk<'_>,
    ask: &Ask<'_>,
    step: &Step<'_>,
    login: &SecretHash,
    method: &LoginMethod,
    other: bool,
) -> Answer<Result<String, Box<Response>>> {
    limits::begin(desk, ask, STARTS, limits::STARTS_IN_ALL).await?;
    let purpose = Purpose::Login { request: pending::kept(desk, step) };
    let manner = match (step.request.fresh, other) {
        (true, _) => Manner::Anew(step.request.at),
        (false, true) => Manner::Choose,
        (false, false) => Manner::Any,
    };
    let way = way(desk, ask, login, method, purpose, manner).await?;
    Ok(way.map_err(|failure| Box::new(failure::page(desk, ask, step, login, method, &failure))))
}

/// The address at the provider, with everything kept that the way back needs.
async fn way(
    desk: &Desk<'_>,
    ask: &Ask<'_>,
    login: &SecretHash,
    method: &LoginMethod,
    purpose: Purpose,
    manner: Manner,
) -> Answer<Result<String, Failure>> {
    let pending = Pending::new(method, login, ask.visit.now, purpose, manner);
    let state = LoginState::from_random(crate::random());
    let redirect_uri = redirect_uri(desk, ask, &method.name);
    let url = async {
        let entry = desk.providers.entry(method)?;
        match &method.kind {
            LoginMethodKind::OpenId(openid) => {
                openid::authorization(&entry, openid, &redirect_uri, &state, &pending, manner).await
            }
            LoginMethodKind::Github(at) => {
                github::authorization(&entry, at, &redirect_uri, &state, &pending, manner).await
            }
            LoginMethodKind::OneTimePin | LoginMethodKind::Passkey(_) => {
                Err(Failure::again("nobody is sent anywhere by it"))
            }
        }
    };
    let url = match tokio::time::timeout(PATIENCE, url).await.unwrap_or_else(|_| Err(Failure::late())) {
        Ok(url) => url,
        Err(failure) => return Ok(Err(failure)),
    };
    pending.keep(desk, ask, &state).await?;
    Ok(Ok(url))
}

/// Where the provider sends people back to.
fn redirect_uri(desk: &Desk<'_>, ask: &Ask<'_>, method: &Name) -> String {
    ask.visit.url(desk.login_host, &callback_path(method))
}

/// The path of that.
pub(crate) fn callback_path(method: &Name) -> String {
    format!("/.access/callback/{method}")
}

/// `GET /.access/callback/METHOD`: somebody comes back, or says so.
pub(crate) async fn callback(desk: &Desk<'_>, ask: &Ask<'_>, method: &LoginMethod) -> Answer<Response> {
    // Nobody comes back in a picture or a frame: that is a page elsewhere, knocking in the name of whoever reads it.
    if !form::is_navigation(ask.headers) {
        let page = BadRequest { reference: ask.visit.reference, at: ask.visit.now };
        return Err(Box::new(page.render(&desk.context(ask))));
    }
    // Which of two values counts is nobody's to guess (RFC 6749 §3.1).
    let once = ["state", "code", "iss", "error"].into_iter().all(|name| ask.has_at_most_one(name));
    let state = LoginState::parse(&ask.parameter("state")).filter(|_| once);
    let pending = match &state {
        Some(state) => pending::look(desk, ask, state).await?,
        None => None,
    };
    let (Some(state), Some(pending)) = (&state, pending) else {
        return late(desk, ask, method, state.as_ref(), None).await;
    };
    if !pending.is_live(ask.visit.now) {
        return late(desk, ask, method, Some(state), Some(&pending)).await;
    }
    // Counted only here: whatever else comes waits for nobody who writes, and uses up no network's limit.
    let network = pin::network(ask.visit.source);
    pin::within(desk, ask, "logins come back from a source", &network, &CALLBACKS).await?;
    if !pending.take(desk, ask, state).await? {
        return late(desk, ask, method, Some(state), Some(&pending)).await;
    }
    match &pending.purpose {
        Purpose::Login { request } => {
            let (step, login) = (Step::resume(desk, ask, request)?, pending.login());
            let mut found = came_back(desk, ask, method, &pending).await;
            let refresh = found.as_mut().ok().and_then(|found| found.refresh.take());
            let proven = found.and_then(|found| match step.destination.offers(desk.snapshot, &method.name) {
                true => found.proven(method),
                false => Err(Failure::again("the method is no longer offered")),
            });
            let proven = match proven {
                Ok(proven) => proven,
                Err(failure) => return Ok(failure::page(desk, ask, &step, login, method, &failure)),
            };
            let subject = proven.subject.clone();
            let (session, id) = proven::log_in(desk, ask, proven, step.destination.name()).await?;
            again::keep(desk, ask, method, &session, (&subject, &pending.nonce), refresh).await?;
            let mut response = handover::proceed(desk, ask, step.destination, &step.request, &session).await?;
            proven::set_login(&mut response, &id);
            Ok(response)
        }
        Purpose::Trial { id } => {
            let found = came_back(desk, ask, method, &pending).await;
            Ok(trial::finish(desk, ask, method, id, found))
        }
    }
}

/// A state that leads nowhere: used, lapsed, made up, or another browser's. Whoever has just logged in by it, and went back
/// or asked twice, goes on; everybody else starts again, where that is known.
async fn late(
    desk: &Desk<'_>,
    ask: &Ask<'_>,
    method: &LoginMethod,
    state: Option<&LoginState>,
    pending: Option<&Pending>,
) -> Answer<Response> {
    let request = match (pending.and_then(Pending::request), state) {
        (Some(request), _) => Some(request.to_owned()),
        (None, Some(state)) => pending::was_done(desk, ask, state).await?,
        (None, None) => None,
    };
    let step = request.as_deref().and_then(|request| Step::resume(desk, ask, request).ok());
    let session = desk.session(ask).filter(|session| session.parent().is_none());
    if let (Some(step), Some(session)) = (&step, &session)
        && step.destination.accepts(desk.snapshot, session.identity(), session.issuer())
        && step.request.is_served_by(session.identity().authenticated)
    {
        return handover::proceed(desk, ask, step.destination, &step.request, session).await;
    }
    desk.audit.refused(AuditRecord {
        object: Some(method.name.to_string()),
        detail: Some(format!("by {}: a state that leads nowhere, was used, or is another browser's", method.name)),
        ..desk.record(ask, AuditEvent::LoginFailed)
    });
    let request = request.and_then(|request| Request::open(desk.keys, &request));
    Err(desk.start_again(ask, request.as_ref()))
}

/// Who came back, if what came back is the answer to what was asked.
async fn came_back(desk: &Desk<'_>, ask: &Ask<'_>, method: &LoginMethod, pending: &Pending) -> Result<Found, Failure> {
    if !pending.is_of(method) {
        // The answer of one provider to what another was asked (O3), or the method was declared anew meanwhile.
        return Err(Failure::again("the state is another method's, or the method was declared anew"));
    }
    let asking = asked(desk, ask, method, pending);
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| Err(Failure::late()))
}

/// Who the provider says it was that came back.
async fn asked(desk: &Desk<'_>, ask: &Ask<'_>, method: &LoginMethod, pending: &Pending) -> Result<Found, Failure> {
    let entry = desk.providers.entry(method)?;
    let iss = ask.parameter("iss");
    let iss = Some(iss.as_str()).filter(|iss| !iss.is_empty());
    let error = ask.parameter("error");
    if !error.is_empty() {
        // Whoever it is that says no, it must be the one that was asked.
        issuer(&entry, method, iss, false).await?;
        return Err(Failure::of_error(oidc::error_code(&error)));
    }
    issuer(&entry, method, iss, true).await?;
    let (code, redirect_uri) = (ask.parameter("code"), redirect_uri(desk, ask, &method.name));
    if code.is_empty() || code.len() > CODE_MAX || !code.bytes().all(|b| matches!(b, 0x21..=0x7e)) {
        return Err(Failure::again("there is no code"));
    }
    let came = Came { code: &code, redirect_uri: &redirect_uri, pending };
    match &method.kind {
        LoginMethodKind::OpenId(openid) => openid::resolve(desk, ask, &entry, &method.name, openid, &came).await,
        LoginMethodKind::Github(at) => github::resolve(desk, &entry, &method.name, at, &came).await,
        LoginMethodKind::OneTimePin | LoginMethodKind::Passkey(_) => Err(Failure::again("nobody comes back by it")),
    }
}

/// How long all questions to a provider may take together, on the way there and on the way back: a person waits for it.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(8);

/// Whether the answer is from the provider that was asked (RFC 9207 §2.4).
async fn issuer(
    entry: &std::sync::Arc<Entry>,
    method: &LoginMethod,
    iss: Option<&str>,
    whole: bool,
) -> Result<(), Failure> {
    let wrong = || Err(Failure::again("the answer names another issuer (`iss`)"));
    match (&method.kind, iss) {
        (LoginMethodKind::OpenId(openid), Some(iss)) if iss != openid.issuer => wrong(),
        (LoginMethodKind::OpenId(openid), None) if whole => match entry.known(openid).await?.discovery.names_itself {
            true => Err(Failure::again("the answer names no issuer (`iss`), and this provider's always do")),
            false => Ok(()),
        },
        (LoginMethodKind::Github(at), Some(iss))
            if iss != at.authority && iss != format!("{}/login/oauth", at.authority) =>
        {
            wrong()
        }
        _ => Ok(()),
    }
}

impl Found {
    /// The person, if nothing speaks against them.
    fn proven(self, method: &LoginMethod) -> Result<Proven, Failure> {
        if let Some(failure) = self.refusals.into_iter().next() {
            return Err(failure);
        }
        let email = self.email.ok_or_else(|| Failure::Answer("nobody has an address".to_owned()))?.address;
        Ok(Proven {
            issuer: self.issuer,
            subject: self.subject,
            email,
            method: method.name.clone(),
            attributes: self.attributes,
        })
    }
}

/// What people read of a method.
pub(super) fn label(desk: &Desk<'_>, method: &LoginMethod) -> String {
    offer::label(method, &desk.snapshot.declared.login_methods)
}
