//! From a person's word to a token: the code that a browser brings back, what redeems it, and what is given.

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::BASE64URL_NOPAD;
use tunnel_auth::{ClientCode, ClientToken, secret::hash};
use tunnel_proto::access::{TokenAnswer, TokenIssued};

use crate::{
    login::{
        Ask, Desk,
        destination::{Destination, Judged},
        evaluated, passkey,
    },
    session::StartError,
    store::{AuditEvent, AuditRecord, Grant, OnceKind, OneTime, SecretHash, SessionKind, SessionRecord, StoreError},
};

use super::{CODE_LIFE, CONSENT, ClientError, Consent, LAPSED, application, ask::Callback};

/// How long what a challenge was made of may be (RFC 7636 §4.1).
const VERIFIER_LEN: std::ops::RangeInclusive<usize> = 43..=128;

/// The code for `consent` that counts only beside the verifier of the callback's challenge.
pub(super) async fn code_for(
    desk: &Desk<'_>,
    ask: &Ask<'_>,
    consent: &Consent,
    callback: &Callback,
) -> Result<ClientCode, StoreError> {
    let code = ClientCode::from_random(crate::random());
    let key = code.hash();
    let plain = serde_json::to_vec(consent)
        .map_err(|error| StoreError::Corrupt { what: "consent", reason: error.to_string() })?;
    let thing = OneTime {
        kind: OnceKind::ClientCode,
        key,
        bind: bind(&callback.challenge, &callback.redirect_uri),
        payload: desk.keys.seal(CONSENT, &key, &plain),
        expires: ask.visit.now.plus(CODE_LIFE),
    };
    desk.store.put_once(&thing).await?;
    Ok(code)
}

/// Turns a code into a token, once. A wrong verifier or address leaves it as it is.
pub(super) async fn redeem(
    desk: &Desk<'_>,
    ask: &Ask<'_>,
    code: &str,
    verifier: &str,
    redirect_uri: &str,
) -> Result<TokenAnswer, ClientError> {
    let unreserved = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    if !VERIFIER_LEN.contains(&verifier.len()) || !verifier.bytes().all(unreserved) {
        return Err(ClientError::Malformed("the verifier has another form (RFC 7636 §4.1)".to_owned()));
    }
    let gone = || {
        desk.audit.refused(AuditRecord {
            detail: Some("an access client's code that leads nowhere, or without what it is bound to".to_owned()),
            ..desk.record(ask, AuditEvent::Refused)
        });
        ClientError::Gone(LAPSED)
    };
    let key = ClientCode::parse(code).ok_or_else(gone)?.hash();
    let (kind, now) = (OnceKind::ClientCode, ask.visit.now);
    // Made-up codes cost a look, not a write.
    if desk.store.peek_once(kind, &key, now).await?.is_none() {
        return Err(gone());
    }
    let challenge = BASE64URL_NOPAD.encode(digest(&SHA256, verifier.as_bytes()).as_ref());
    let taken = desk.store.take_once(kind, &key, &bind(&challenge, redirect_uri), now).await?;
    let sealed = taken.ok_or_else(gone)?;
    let plain = desk.keys.open(CONSENT, &key, &sealed).map_err(|_| ClientError::Internal)?;
    let consent = serde_json::from_slice(plain.expose()).map_err(|_| ClientError::Internal)?;
    issue(desk, ask, consent).await
}

/// What must be presented beside a code. The challenge has a fixed length, so that no other pair reads alike.
fn bind(challenge: &str, redirect_uri: &str) -> SecretHash {
    hash("client challenge", format!("{challenge} {redirect_uri}").as_bytes())
}

/// A token for whoever was let in, if the application's policies admit the person also from where the program is.
pub(super) async fn issue(desk: &Desk<'_>, ask: &Ask<'_>, consent: Consent) -> Result<TokenAnswer, ClientError> {
    let Consent { app, host, login, identity, issuer, attributes, computer, elsewhere } = consent;
    let (visit, email) = (ask.visit, identity.email.clone());
    let refused = |name: &str, why: String, reason: String| {
        desk.audit.refused(AuditRecord {
            actor: Some(email.to_string()),
            object: Some(name.to_owned()),
            detail: Some(why),
            ..desk.record(ask, AuditEvent::Refused)
        });
        Ok(TokenAnswer::Refused { reason: format!("{reason} (reference {})", visit.reference) })
    };
    let Some(found) = application(desk.snapshot, &app, &host) else {
        let why = "the application is no longer at this hostname";
        return refused(host.as_str(), why.to_owned(), format!("{why}; start again"));
    };
    let (destination, name) = (Destination::Client(found), found.name.as_str());
    if !destination.accepts(desk.snapshot, &identity, &issuer) {
        let why = format!("a login by {} does not count for the application any more", identity.method);
        return refused(name, why, "this login no longer counts here; log in again".to_owned());
    }
    if elsewhere && !found.device_login {
        let why = "the application takes no login from another device any more";
        return refused(name, why.to_owned(), why.to_owned());
    }
    let nobody_admits = || {
        let source = visit.source;
        format!("no policy of `{host}` admits {email} from {source}; whoever administers it can see why")
    };
    // Nobody is told of people whom nothing could admit.
    if let Judged::Denied(why) = destination.prospect(desk.snapshot, (&identity, &attributes), visit.here()) {
        return refused(name, why, nobody_admits());
    }
    if !desk.snapshot.policies.evaluations_of(found).is_empty()
        && !evaluated::may_ask(desk, &identity.person, visit.now).await?
    {
        return Err(ClientError::TooMany);
    }
    let attributes = evaluated::attributes(desk, ask, found, (&identity, &attributes), visit.here()).await;
    let life = match destination.judge(desk.snapshot, (&identity, &attributes), visit.here()) {
        Judged::Admitted(life) => life,
        Judged::Denied(why) => return refused(name, why, nobody_admits()),
    };
    let ended = |why: &str| refused(name, why.to_owned(), format!("{why}; log in again"));
    let ends = passkey::ends(desk, &identity).await?.filter(|ends| *ends > visit.now);
    let Some(ends) = ends else { return ended("the passkey of this login counts no more") };
    let token = ClientToken::from_random(crate::random());
    let expires = visit.now.plus(life).min(ends);
    let record = SessionRecord {
        id: token.hash(),
        kind: SessionKind::Client,
        device: Some(computer.clone()),
        source: Some(visit.source),
        host: host.clone(),
        parent: Some(login),
        identity,
        issuer,
        attributes,
        created: visit.now,
        seen: visit.now,
        expires,
        grants: vec![Grant { app, expires }],
    };
    match desk.sessions.start(record, visit.now).await {
        Ok(_) => {}
        Err(StartError::LoginEnded) => return ended("the login was ended meanwhile"),
        Err(StartError::Store(error)) => return Err(error.into()),
    }
    desk.audit.record(AuditRecord {
        actor: Some(email.to_string()),
        object: Some(name.to_owned()),
        detail: Some(format!("client token for {computer}")),
        ..desk.record(ask, AuditEvent::Login)
    });
    let token = token.reveal().to_string();
    Ok(TokenAnswer::Token(TokenIssued { token, host, app, email, expires }))
}

/// Ends a token. Whether there was one makes no difference to who asks.
pub(super) async fn end(desk: &Desk<'_>, ask: &Ask<'_>, token: &str) -> Result<TokenAnswer, ClientError> {
    let session = ClientToken::parse(token).and_then(|token| desk.sessions.of_client(&token));
    if let Some(session) = session {
        desk.sessions.end(&[*session.id()]).await?;
        desk.audit.record(AuditRecord {
            actor: Some(session.identity().email.to_string()),
            object: Some(session.host().to_string()),
            detail: Some("client token ended by its holder".to_owned()),
            ..desk.record(ask, AuditEvent::Logout)
        });
    }
    Ok(TokenAnswer::Ended)
}
